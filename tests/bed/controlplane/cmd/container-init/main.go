// Command container-init turns itself into a container's process: it enters namespaces, builds the root file system, gives
// up privileges and executes the container's command. The node agent starts it and says by package launch what to do.
//
// It is a program of its own, not a part of the agent, because it runs once per container and per executed command: it
// starts in a millisecond or two, the agent in a hundred.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"controlplane/internal/launch"

	"golang.org/x/sys/unix"
)

// Namespaces, credentials and the parent death signal belong to a thread; exec makes the thread that calls it the process.
func init() {
	runtime.LockOSThread()
}

func main() {
	failures := os.NewFile(launch.FileError, "error pipe")
	err := run()
	// Only a failure comes here: run ends in exec.
	fmt.Fprint(failures, err)
	os.Exit(128)
}

func run() error {
	var spec launch.Spec
	file := os.NewFile(launch.FileSpec, "spec pipe")
	if err := json.NewDecoder(file).Decode(&spec); err != nil {
		return fmt.Errorf("reading the container's specification: %w", err)
	}
	for number := launch.FileSpec; number < launch.FileNamespaces+len(spec.Join); number++ {
		unix.CloseOnExec(number)
	}
	if len(spec.Command) == 0 {
		return fmt.Errorf("no command: neither the container nor its image names one")
	}
	if err := join(spec.Join); err != nil {
		return err
	}
	if spec.Root != nil {
		if err := enterRoot(spec.Root); err != nil {
			return err
		}
	}
	if err := changeDirectory(spec.Directory, spec.Root != nil); err != nil {
		return err
	}
	if err := assume(spec.Identity); err != nil {
		return err
	}
	path, err := lookPath(spec.Command[0], spec.Environment)
	if err != nil {
		return err
	}
	if spec.DieWithParent {
		if err := dieWithParent(); err != nil {
			return err
		}
	}
	if err := unix.Exec(path, spec.Command, spec.Environment); err != nil {
		return fmt.Errorf("exec %s: %w", path, err)
	}
	return nil
}

func join(namespaces []launch.Namespace) error {
	for i, namespace := range namespaces {
		if namespace == launch.NamespaceMount {
			// The threads of a process share their root and working directory, and setns refuses such a thread.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unsharing the working directory: %w", err)
			}
		}
		if err := unix.Setns(launch.FileNamespaces+i, 0); err != nil {
			return fmt.Errorf("entering the %s namespace: %w", namespace, err)
		}
	}
	return nil
}

// dieWithParent comes last, since the kernel clears the death signal whenever credentials change.
func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("asking to die with the agent: %w", err)
	}
	// The agent may have died before that took effect. It holds the other end of this pipe, and it alone.
	lifeline := []unix.PollFd{{Fd: launch.FileLifeline, Events: unix.POLLIN}}
	if n, err := unix.Poll(lifeline, 0); err == nil && n > 0 {
		return fmt.Errorf("the agent is gone")
	}
	return nil
}

func changeDirectory(directory string, create bool) error {
	if directory == "" {
		directory = "/"
	}
	if create {
		// As container runtimes do. A read-only root shows itself as the error of Chdir.
		_ = os.MkdirAll(directory, 0o755)
	}
	if err := unix.Chdir(directory); err != nil {
		return fmt.Errorf("working directory %s: %w", directory, err)
	}
	return nil
}

// lookPath finds a program as execvp does, but in the container's PATH, not in this program's.
func lookPath(program string, environment []string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	for _, folder := range filepath.SplitList(variable(environment, "PATH")) {
		if folder == "" {
			folder = "."
		}
		path := filepath.Join(folder, program)
		if status, err := os.Stat(path); err == nil && !status.IsDir() && status.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", program)
}

func variable(environment []string, name string) string {
	value := ""
	for _, entry := range environment {
		if rest, ok := strings.CutPrefix(entry, name+"="); ok {
			value = rest
		}
	}
	return value
}
