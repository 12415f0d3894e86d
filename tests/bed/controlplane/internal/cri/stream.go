package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"sync"

	"controlplane/internal/launch"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	remotecommandserver "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// streams serves exec, attach and port-forward: the kubelet sends a client's connection on to a URL of this server, good
// for one use.
type streams struct {
	streaming.Server
}

func serveStreams(runtime *Runtime) (*streams, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serving streams (is lo up?): %w", err)
	}
	config := streaming.DefaultConfig
	config.Addr = listener.Addr().String()
	config.BaseURL = &url.URL{Scheme: "http", Host: config.Addr}
	server, err := streaming.NewServer(config, streamRuntime{runtime})
	if err != nil {
		listener.Close()
		return nil, err
	}
	// Ends with the process.
	go func() { _ = http.Serve(listener, server) }()
	return &streams{server}, nil
}

// Exec prepares a connection to a new process in a container.
func (r *Runtime) Exec(_ context.Context, request *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if _, err := r.running(request.GetContainerId()); err != nil {
		return nil, err
	}
	return r.streams.GetExec(request)
}

// Attach prepares a connection to the first process of a container.
func (r *Runtime) Attach(_ context.Context, request *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if _, err := r.running(request.GetContainerId()); err != nil {
		return nil, err
	}
	return r.streams.GetAttach(request)
}

// PortForward prepares connections to ports of a pod.
func (r *Runtime) PortForward(_ context.Context, request *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return r.streams.GetPortForward(request)
}

func (r *Runtime) running(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, notFound("container", id)
	}
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, fmt.Errorf("container %s is not running", id)
	}
	return c, nil
}

// streamRuntime does what the server is asked for.
type streamRuntime struct{ *Runtime }

// Exec runs a command with the client's streams. A code other than zero is an error that carries it.
func (s streamRuntime) Exec(ctx context.Context, id string, argv []string, in io.Reader, out, errs io.WriteCloser, tty bool, sizes <-chan remotecommandserver.TerminalSize) error {
	var console *terminal
	if tty {
		master, slave, err := openTerminal()
		if err != nil {
			return err
		}
		defer master.Close()
		console = &terminal{master, slave}
		go resize(master, sizes)
	}
	code, err := s.execute(ctx, id, argv, in, writer(out), writer(errs), console)
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: int(code)}
	}
	return nil
}

// writer makes a missing stream a nil interface, which an interface holding a nil pointer is not.
func writer(stream io.WriteCloser) io.Writer {
	if stream == nil {
		return nil
	}
	return stream
}

// Attach connects the client to a running container until one of them ends.
func (s streamRuntime) Attach(ctx context.Context, id string, in io.Reader, out, errs io.WriteCloser, _ bool, sizes <-chan remotecommandserver.TerminalSize) error {
	c, err := s.running(id)
	if err != nil {
		return err
	}
	ended, detach := c.output.attach(writer(out), writer(errs))
	defer detach()
	if c.terminal != nil {
		go resize(c.terminal, sizes)
	}
	if in != nil && c.input != nil {
		go func() {
			_, _ = io.Copy(c.input, in)
			if c.config.GetStdinOnce() && c.terminal == nil {
				c.input.Close()
			}
		}()
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// PortForward copies between a stream and a port on the loopback address of a pod.
func (s streamRuntime) PortForward(_ context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	s.mu.Lock()
	box, ok := s.sandboxes[id]
	if !ok || !box.ready {
		s.mu.Unlock()
		return notFound("sandbox", id)
	}
	namespace := -1
	if file, own := box.namespaces[launch.NamespaceNet]; own {
		// A copy, so the sandbox may end meanwhile.
		var err error
		if namespace, err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			s.mu.Unlock()
			return err
		}
		defer unix.Close(namespace)
	}
	s.mu.Unlock()
	connection, err := dialIn(namespace, int(port))
	if err != nil {
		return err
	}
	defer connection.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(connection, stream)
		_ = connection.CloseWrite()
	})
	both.Go(func() {
		_, _ = io.Copy(stream, connection)
		stream.Close()
	})
	both.Wait()
	return nil
}

// dialIn connects to a loopback port in a network namespace, IPv4 first; -1 is this process's own. A socket belongs to the
// namespace that its thread is in when it is made.
func dialIn(namespace, port int) (*net.TCPConn, error) {
	type result struct {
		connection *net.TCPConn
		err        error
	}
	results := make(chan result, 1)
	go func() {
		if namespace >= 0 {
			// Never unlocked: the thread ends here.
			runtime.LockOSThread()
			if err := unix.Setns(namespace, unix.CLONE_NEWNET); err != nil {
				results <- result{nil, err}
				return
			}
		}
		connection, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			var err6 error
			if connection, err6 = net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv6loopback, Port: port}); err6 != nil {
				results <- result{nil, errors.Join(err, err6)}
				return
			}
		}
		results <- result{connection, nil}
	}()
	outcome := <-results
	return outcome.connection, outcome.err
}
