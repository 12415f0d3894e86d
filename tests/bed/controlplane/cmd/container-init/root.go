package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"controlplane/internal/launch"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// enterRoot builds the root file system in this process's own mount namespace and makes it "/". What the machine has
// mounted is gone afterwards but for what the container was given.
func enterRoot(root *launch.Root) error {
	// Nothing done here may travel back to the agent's mount namespace.
	if err := mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	place, err := overlay(root)
	if err != nil {
		return err
	}
	if err := system(place, root); err != nil {
		return err
	}
	for _, folder := range root.EmptyDirs {
		target, err := target(place, folder, true)
		if err != nil {
			return err
		}
		if err := mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
			return err
		}
	}
	for _, entry := range root.Mounts {
		if err := bind(place, entry); err != nil {
			return err
		}
	}
	for _, path := range root.ReadOnlyPaths {
		if err := protect(filepath.Join(place, path)); err != nil {
			return err
		}
	}
	for _, path := range root.MaskedPaths {
		if err := mask(filepath.Join(place, path)); err != nil {
			return err
		}
	}
	return pivot(place, root.ReadOnly)
}

// overlay puts a writable layer in memory over the image, so mount points can be made in an image that holds nothing but a
// program, and the image stays as it is.
func overlay(root *launch.Root) (string, error) {
	if strings.ContainsAny(root.Image+root.Scratch, ":,\\") {
		return "", fmt.Errorf("the paths %q and %q must not contain a colon, comma or backslash", root.Image, root.Scratch)
	}
	if err := mount("tmpfs", root.Scratch, "tmpfs", 0, "mode=755"); err != nil {
		return "", err
	}
	for _, folder := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(root.Scratch, folder), 0o755); err != nil {
			return "", err
		}
	}
	place := filepath.Join(root.Scratch, "root")
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", root.Image, root.Scratch, root.Scratch)
	if err := mount("overlay", place, "overlay", 0, options); err != nil {
		return "", err
	}
	return place, nil
}

// system mounts what every container has: /proc, /dev, /sys.
func system(place string, root *launch.Root) error {
	const harmless = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	proc, err := target(place, "/proc", true)
	if err != nil {
		return err
	}
	if root.OwnPIDs {
		err = mount("proc", proc, "proc", harmless, "")
	} else {
		err = mount("/proc", proc, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err != nil {
		return err
	}
	sys, err := target(place, "/sys", true)
	if err != nil {
		return err
	}
	if err := mount("sysfs", sys, "sysfs", harmless|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	return devices(place)
}

func devices(place string) error {
	dev, err := target(place, "/dev", true)
	if err != nil {
		return err
	}
	if err := mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID|unix.MS_STRICTATIME, "mode=755,size=65536k"); err != nil {
		return err
	}
	// The process's mask must not take write access to these away.
	defer unix.Umask(unix.Umask(0))
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := unix.Mknod(filepath.Join(dev, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("making /dev/%s: %w", name, err)
		}
	}
	if err := unix.Mknod(filepath.Join(dev, "tty"), unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))); err != nil {
		return fmt.Errorf("making /dev/tty: %w", err)
	}
	for link, to := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(to, filepath.Join(dev, link)); err != nil {
			return err
		}
	}
	for folder, options := range map[string][2]string{
		"shm": {"tmpfs", "mode=1777,size=65536k"},
		"pts": {"devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"},
	} {
		path := filepath.Join(dev, folder)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := mount(options[0], path, options[0], unix.MS_NOSUID|unix.MS_NOEXEC, options[1]); err != nil {
			return err
		}
	}
	return nil
}

func bind(place string, entry launch.Mount) error {
	status, err := os.Stat(entry.Source)
	if err != nil {
		return fmt.Errorf("mounting into %s: %w", entry.Target, err)
	}
	target, err := target(place, entry.Target, status.IsDir())
	if err != nil {
		return err
	}
	if err := mount(entry.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if entry.FollowHost {
		if err := mount("", target, "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	if entry.ReadOnly {
		return mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

// target resolves a path as the container will see it, symbolic links included, and makes the folder or file that a mount
// needs to stand on.
func target(place, path string, folder bool) (string, error) {
	full, err := securejoin.SecureJoin(place, path)
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	if folder {
		if err := os.MkdirAll(full, 0o755); err != nil {
			return "", fmt.Errorf("mount point %s: %w", path, err)
		}
		return full, nil
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	file, err := os.OpenFile(full, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w", path, err)
	}
	return full, file.Close()
}

func protect(path string) error {
	err := mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func mask(path string) error {
	status, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if status.IsDir() {
		return mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "size=0k")
	}
	return mount("/dev/null", path, "", unix.MS_BIND, "")
}

// pivot makes place the root. Both arguments of pivot_root may be the same folder (pivot_root(2)): the old root then lies
// on top of the new one and is taken off.
func pivot(place string, readOnly bool) error {
	if err := unix.Chdir(place); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the machine's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if readOnly {
		return mount("", "/", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return &fs.PathError{Op: "mount " + source, Path: target, Err: err}
	}
	return nil
}
