package main

import (
	"fmt"

	"controlplane/internal/launch"

	"golang.org/x/sys/unix"
)

// lastCapability is past every capability of today's kernels; dropping one that the kernel does not know answers EINVAL.
const lastCapability = 63

// assume gives up everything that identity does not grant. The order is forced: the bounding set can only be cut while
// CAP_SETPCAP is there, groups only be set before the user changes.
func assume(identity launch.Identity) error {
	keep := map[uintptr]bool{}
	for _, name := range identity.Capabilities {
		number, ok := launch.CapabilityNumber(name)
		if !ok {
			return fmt.Errorf("unknown capability %q", name)
		}
		keep[number] = true
	}
	for number := uintptr(0); number <= lastCapability; number++ {
		if keep[number] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("dropping capability %d: %w", number, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	if err := clearInheritable(); err != nil {
		return err
	}
	if identity.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no_new_privs: %w", err)
		}
	}
	return become(identity)
}

// become changes this thread only; the raw calls are wanted, since package syscall's would tell every thread, and those of
// a command executed in a container are in other namespaces.
func become(identity launch.Identity) error {
	if err := setGroups(identity.Groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	group, user := uintptr(identity.Group), uintptr(identity.User)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, group, group, group); errno != 0 {
		return fmt.Errorf("setting group %d: %w", identity.Group, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, user, user, user); errno != 0 {
		return fmt.Errorf("setting user %d: %w", identity.User, errno)
	}
	unix.Umask(0o022)
	return nil
}

// clearInheritable leaves the bounding set as the only source of capabilities at exec.
func clearInheritable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("clearing inheritable capabilities: %w", err)
	}
	return nil
}
