package cri

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"controlplane/internal/launch"

	"golang.org/x/sys/unix"
)

// spawner starts processes from one thread that lives as long as this program. The kernel sends a parent death signal
// when the *thread* that forked ends, and Go ends threads when it likes.
type spawner struct {
	work chan func()
}

func newSpawner() *spawner {
	spawner := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for work := range spawner.work {
			work()
		}
	}()
	return spawner
}

// start starts command on the spawner's thread.
func (s *spawner) start(command *exec.Cmd) error {
	result := make(chan error, 1)
	s.work <- func() { result <- command.Start() }
	return <-result
}

// launched is a process that container-init has turned into a container's command.
type launched struct {
	command *exec.Cmd
	// lifeline is held open as long as this program lives; see package launch.
	lifeline *os.File
}

// launch runs container-init and returns when it has executed the command of spec, or with its error. namespaces are the
// open namespaces of spec.Join; within is the PID namespace that the process is to be in, or nil to make one by flags.
func (r *Runtime) launch(spec launch.Spec, namespaces []*os.File, within *os.File, command *exec.Cmd) (*launched, error) {
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer specRead.Close()
	defer specWrite.Close()
	lifeRead, lifeWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lifeRead.Close()
	errorRead, errorWrite, err := os.Pipe()
	if err != nil {
		lifeWrite.Close()
		return nil, err
	}
	defer errorRead.Close()
	defer errorWrite.Close()

	command.Path = r.config.Init
	command.Args = []string{"container-init"}
	command.Env = []string{}
	command.Dir = "/"
	command.ExtraFiles = append([]*os.File{specRead, lifeRead, errorWrite}, namespaces...)
	if within == nil {
		err = r.spawner.start(command)
	} else {
		err = startWithin(within, command)
	}
	if err != nil {
		lifeWrite.Close()
		return nil, fmt.Errorf("starting container-init: %w", err)
	}
	specRead.Close()
	errorWrite.Close()
	encodeErr := json.NewEncoder(specWrite).Encode(spec)
	specWrite.Close()
	// End of file without a byte is success: the pipe's other end was closed by exec.
	message, err := io.ReadAll(errorRead)
	if err == nil && len(message) == 0 && encodeErr == nil {
		return &launched{command: command, lifeline: lifeWrite}, nil
	}
	lifeWrite.Close()
	_ = command.Process.Kill()
	_ = command.Wait()
	if len(message) > 0 {
		return nil, errors.New(string(message))
	}
	return nil, fmt.Errorf("container-init did not start: %w", errors.Join(err, encodeErr))
}

// startWithin forks command into a PID namespace that exists. The thread that did so is of no further use and is ended by
// returning with the lock held; no parent death signal may depend on it.
func startWithin(namespace *os.File, command *exec.Cmd) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWPID); err != nil {
			result <- fmt.Errorf("entering the pid namespace: %w", err)
			return
		}
		result <- command.Start()
	}()
	return <-result
}

// exitCode is what a container runtime reports: the code, or 128 and the number of the signal.
func exitCode(state *os.ProcessState) int32 {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return 255
	}
	if status.Signaled() {
		return 128 + int32(status.Signal())
	}
	return int32(status.ExitStatus())
}
