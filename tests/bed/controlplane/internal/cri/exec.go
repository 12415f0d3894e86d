package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"controlplane/internal/launch"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg"
	remotecommandserver "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// ExecSync runs a command in a container and returns what it writes, at most 16 MiB of each stream; a timeout of zero
// waits for ever. The errors are those of the kubelet's own client of a runtime, which probes tell apart.
func (r *Runtime) ExecSync(ctx context.Context, id string, argv []string, timeout time.Duration) ([]byte, []byte, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var out, errs limited
	code, err := r.execute(ctx, id, argv, nil, &out, &errs, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, nil, fmt.Errorf("%w: %q timed out after %s", cri.ErrCommandTimedOut, strings.Join(argv, " "), timeout)
	}
	if err == nil && code != 0 {
		err = utilexec.CodeExitError{
			Err: fmt.Errorf("command '%s' exited with %d: %s", strings.Join(argv, " "), code, errs.Bytes()), Code: int(code),
		}
	}
	return out.Bytes(), errs.Bytes(), err
}

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

// Write never fails.
func (l *limited) Write(text []byte) (int, error) {
	if room := 16<<20 - l.Len(); room > 0 {
		l.Buffer.Write(text[:min(room, len(text))])
	}
	return len(text), nil
}

// execute runs a command in all namespaces of a running container, as its user and with its capabilities, and returns its
// exit code. terminal, when it is not nil, is given to the process instead of the streams.
func (r *Runtime) execute(ctx context.Context, id string, argv []string, in io.Reader, out, errs io.Writer, terminal *terminal) (int32, error) {
	spec, namespaces, within, err := r.inside(id, argv, terminal != nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, file := range append(namespaces, within) {
			file.Close()
		}
	}()
	command := &exec.Cmd{SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	var outputs sync.WaitGroup
	var children []*os.File
	var input *os.File
	if terminal != nil {
		command.Stdin, command.Stdout, command.Stderr = terminal.slave, terminal.slave, terminal.slave
		command.SysProcAttr.Setctty = true
		children = []*os.File{terminal.slave}
		input = terminal.master
		outputs.Go(func() { _, _ = io.Copy(out, terminal.master) })
	} else {
		for _, stream := range []struct {
			to io.Writer
			of *io.Writer
		}{{out, &command.Stdout}, {errs, &command.Stderr}} {
			if stream.to == nil {
				continue
			}
			read, write, err := os.Pipe()
			if err != nil {
				return 0, err
			}
			*stream.of = write
			children = append(children, write)
			outputs.Go(func() {
				_, _ = io.Copy(stream.to, read)
				read.Close()
			})
		}
		if in != nil {
			read, write, err := os.Pipe()
			if err != nil {
				return 0, err
			}
			command.Stdin, input = read, write
			children = append(children, read)
		}
	}
	process, err := r.launch(spec, namespaces, within, command)
	for _, file := range children {
		file.Close()
	}
	if err != nil {
		outputs.Wait()
		return 0, fmt.Errorf("executing in container %s: %w", id, err)
	}
	if in != nil {
		go func() {
			_, _ = io.Copy(input, in)
			if terminal == nil {
				input.Close()
			}
		}()
	}
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-finished:
		default:
			// The whole session, not only its first process: a shell's children would hold the pipes.
			_ = unix.Kill(-command.Process.Pid, unix.SIGKILL)
			_ = command.Process.Kill()
		}
	})
	defer stop()
	_ = command.Wait()
	close(finished)
	process.lifeline.Close()
	if ctx.Err() == nil {
		// A process left in the background may hold the streams open; as in other runtimes the caller waits for it.
		outputs.Wait()
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return exitCode(command.ProcessState), nil
}

// inside describes a process of a running container, with the namespaces it enters. The PID namespace comes apart, because
// it is entered before the fork.
func (r *Runtime) inside(id string, argv []string, terminal bool) (launch.Spec, []*os.File, *os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return launch.Spec{}, nil, nil, notFound("container", id)
	}
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return launch.Spec{}, nil, nil, fmt.Errorf("container %s is not running", id)
	}
	spec := c.spec
	spec.Root, spec.Command, spec.DieWithParent = nil, argv, false
	spec.Join = []launch.Namespace{launch.NamespaceNet, launch.NamespaceIPC, launch.NamespaceUTS, launch.NamespaceMount}
	if terminal {
		spec.Environment = append([]string{"TERM=xterm"}, spec.Environment...)
	}
	var files []*os.File
	for _, kind := range append(spec.Join, launch.NamespacePID) {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", c.process.command.Process.Pid, kind))
		if err != nil {
			for _, file := range files {
				file.Close()
			}
			return launch.Spec{}, nil, nil, fmt.Errorf("container %s: %w", id, err)
		}
		files = append(files, file)
	}
	last := len(files) - 1
	return spec, files[:last:last], files[last], nil
}

// terminal is a pseudo-terminal whose slave side a process gets.
type terminal struct{ master, slave *os.File }

// openTerminal opens a pseudo-terminal of the machine.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	return master, slave, nil
}

// resize applies window sizes until the channel is closed.
func resize(master *os.File, sizes <-chan remotecommandserver.TerminalSize) {
	for size := range sizes {
		_ = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	}
}
