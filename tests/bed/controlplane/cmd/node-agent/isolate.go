package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// isolated marks the second life of the process.
const isolated = "CAUSEWAY_BED_NODE_ISOLATED"

// ownMountNamespace executes this program again in a mount namespace of its own: a Go program cannot move all of its
// threads there. The kubelet keeps links to logs under /var/log/containers whatever it is told, so that is made private.
func ownMountNamespace() error {
	if os.Getenv(isolated) != "" {
		return os.Unsetenv(isolated)
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace (root is needed): %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/var/log", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting /var/log: %w", err)
	}
	// By its path, not /proc/self/exe: the process keeps its name.
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := unix.Exec(program, os.Args, append(os.Environ(), isolated+"=1")); err != nil {
		return fmt.Errorf("executing itself: %w", err)
	}
	return nil
}
