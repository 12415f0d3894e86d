package cri

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"controlplane/internal/launch"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// toolsFolder is where the tools that come with the agent appear in an image whose root is the machine's.
const toolsFolder = "/usr/local/bed"

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// container is one run of a container: the kubelet makes another one to restart it.
type container struct {
	id      string
	sandbox *sandbox
	config  *runtimeapi.ContainerConfig
	image   *Image
	// imageName is what the pod calls the image.
	imageName string
	logPath   string
	spec      launch.Spec

	// Guarded by Runtime.mu.
	state                            runtimeapi.ContainerState
	createdAt, startedAt, finishedAt int64
	exitCode                         int32
	reason, message                  string
	process                          *launched

	log *logFile
	// output passes on to whoever is attached; input is the process's standard input or nil.
	output *broadcast
	input  io.WriteCloser
	// terminal is the master side of the container's terminal or nil.
	terminal *os.File
	// done is closed once the process is gone and its output is written.
	done     chan struct{}
	killOnce sync.Once
}

// CreateContainer prepares a container: everything that can be refused without running it is refused here.
func (r *Runtime) CreateContainer(_ context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	name := config.GetImage().GetUserSpecifiedImage()
	if name == "" {
		name = config.GetImage().GetImage()
	}
	image, err := r.config.Images.find(name)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	box, ok := r.sandboxes[sandboxID]
	if !ok {
		return "", notFound("sandbox", sandboxID)
	}
	made := &container{
		id: newID(), sandbox: box, config: config, image: image, imageName: name, createdAt: now(),
		state:   runtimeapi.ContainerState_CONTAINER_CREATED,
		logPath: filepath.Join(sandboxConfig.GetLogDirectory(), config.GetLogPath()),
		output:  newBroadcast(), done: make(chan struct{}),
	}
	if made.spec, err = r.specify(made); err != nil {
		return "", err
	}
	r.containers[made.id] = made
	return made.id, nil
}

// specify turns the kubelet's wishes into a launch.Spec.
func (r *Runtime) specify(c *container) (launch.Spec, error) {
	security := c.config.GetLinux().GetSecurityContext()
	capabilities, err := launch.Capabilities(security.GetPrivileged(),
		security.GetCapabilities().GetAddCapabilities(), security.GetCapabilities().GetDropCapabilities())
	if err != nil {
		return launch.Spec{}, err
	}
	options := security.GetNamespaceOptions()
	if options.GetPid() == runtimeapi.NamespaceMode_TARGET {
		return launch.Spec{}, fmt.Errorf("sharing the process namespace of another container is not offered by the test bed's runtime")
	}
	user := c.image.User
	group := c.image.Group
	if security.GetRunAsUser() != nil {
		user = security.GetRunAsUser().GetValue()
		// A user that is not the image's has no known primary group.
		group = 0
	}
	if security.GetRunAsGroup() != nil {
		group = security.GetRunAsGroup().GetValue()
	}
	groups := []uint32{uint32(group)}
	for _, extra := range security.GetSupplementalGroups() {
		groups = append(groups, uint32(extra))
	}
	root, err := r.root(c, security)
	if err != nil {
		return launch.Spec{}, err
	}
	directory := c.config.GetWorkingDir()
	if directory == "" {
		directory = c.image.WorkingDir
	}
	return launch.Spec{
		Root:        root,
		Environment: environment(c.image, c.config.GetEnvs(), c.sandbox.config.GetHostname(), user, c.config.GetTty()),
		Command:     command(c.image, c.config.GetCommand(), c.config.GetArgs()),
		Directory:   directory,
		Identity: launch.Identity{
			User: uint32(user), Group: uint32(group), Groups: groups, Capabilities: capabilities, NoNewPrivs: security.GetNoNewPrivs(),
		},
		DieWithParent: true,
	}, nil
}

func (r *Runtime) root(c *container, security *runtimeapi.LinuxContainerSecurityContext) (*launch.Root, error) {
	root := &launch.Root{
		Image: c.image.Rootfs, Scratch: filepath.Join(r.config.StateDir, "containers", c.id),
		ReadOnly: security.GetReadonlyRootfs(),
		OwnPIDs:  security.GetNamespaceOptions().GetPid() != runtimeapi.NamespaceMode_NODE,
	}
	if !security.GetPrivileged() {
		root.MaskedPaths, root.ReadOnlyPaths = security.GetMaskedPaths(), security.GetReadonlyPaths()
	}
	if c.image.Rootfs == "host" {
		root.Image = "/"
		// What programs of the machine write or keep private is no part of an image.
		root.EmptyDirs = []string{"/tmp", "/var/tmp", "/run", "/var/log"}
		tools := filepath.Join(filepath.Dir(r.config.Init), "tools")
		if status, err := os.Stat(tools); err == nil && status.IsDir() {
			root.Mounts = append(root.Mounts, launch.Mount{Source: tools, Target: toolsFolder, ReadOnly: true})
		}
	}
	root.Mounts = append(root.Mounts,
		launch.Mount{Source: c.sandbox.resolvConf, Target: "/etc/resolv.conf", ReadOnly: security.GetReadonlyRootfs()},
		launch.Mount{Source: c.sandbox.hostname, Target: "/etc/hostname", ReadOnly: security.GetReadonlyRootfs()})
	for target, source := range c.image.Binds {
		root.Mounts = append(root.Mounts, launch.Mount{Source: source, Target: target, ReadOnly: true})
	}
	for _, mount := range c.config.GetMounts() {
		if mount.GetImage() != nil {
			return nil, fmt.Errorf("volume at %s: image volumes are not offered by the test bed's runtime", mount.GetContainerPath())
		}
		if mount.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL {
			return nil, fmt.Errorf("volume at %s: Bidirectional mount propagation is not offered by the test bed's runtime", mount.GetContainerPath())
		}
		root.Mounts = append(root.Mounts, launch.Mount{
			Source: mount.GetHostPath(), Target: mount.GetContainerPath(), ReadOnly: mount.GetReadonly(),
			FollowHost: mount.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
		})
	}
	// A volume mounted inside another one must come after it.
	slices.SortStableFunc(root.Mounts, func(a, b launch.Mount) int {
		return strings.Count(filepath.Clean(a.Target), "/") - strings.Count(filepath.Clean(b.Target), "/")
	})
	return root, nil
}

// command combines an image's entrypoint and arguments with a container's, by the rules of Pod.spec.containers.
func command(image *Image, entrypoint, args []string) []string {
	switch {
	case len(entrypoint) > 0:
		return slices.Concat(entrypoint, args)
	case len(args) > 0:
		return slices.Concat(image.Command, args)
	default:
		return slices.Concat(image.Command, image.Args)
	}
}

// environment lays the container's variables over the image's and those that every container has. The order is stable.
func environment(image *Image, own []*runtimeapi.KeyValue, hostname string, user int64, terminal bool) []string {
	values := map[string]string{"PATH": defaultPath, "HOSTNAME": hostname, "HOME": "/"}
	if image.Rootfs == "host" {
		values["PATH"] = toolsFolder + ":" + defaultPath
	}
	if user == 0 {
		values["HOME"] = "/root"
	}
	if terminal {
		values["TERM"] = "xterm"
	}
	for name, value := range image.Env {
		values[name] = value
	}
	for _, pair := range own {
		values[pair.GetKey()] = string(pair.GetValue())
	}
	list := make([]string, 0, len(values))
	for name, value := range values {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// StartContainer runs a created container; an error means that its command could not be executed.
func (r *Runtime) StartContainer(_ context.Context, id string) error {
	r.mu.Lock()
	c, ok := r.containers[id]
	if !ok {
		r.mu.Unlock()
		return notFound("container", id)
	}
	if c.state != runtimeapi.ContainerState_CONTAINER_CREATED || !c.sandbox.ready || r.stopping {
		r.mu.Unlock()
		return fmt.Errorf("container %s cannot be started: it is %s, and its sandbox %s", id, c.state, c.sandbox.state())
	}
	spec, namespaces := c.spec, []*os.File{}
	for _, kind := range []launch.Namespace{launch.NamespaceNet, launch.NamespaceIPC, launch.NamespaceUTS} {
		if file, ok := c.sandbox.namespaces[kind]; ok {
			spec.Join = append(spec.Join, kind)
			namespaces = append(namespaces, file)
		}
	}
	r.mu.Unlock()

	process, streams, err := r.run(c, spec, namespaces)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.startedAt = now()
	if err != nil {
		c.state, c.finishedAt, c.exitCode = runtimeapi.ContainerState_CONTAINER_EXITED, now(), 128
		c.reason, c.message = "StartError", err.Error()
		close(c.done)
		return err
	}
	c.state, c.process = runtimeapi.ContainerState_CONTAINER_RUNNING, process
	go r.attend(c, streams)
	if r.stopping || !c.sandbox.ready {
		c.kill()
	}
	return nil
}

// run starts the process with its log and streams. The wait group ends when all output has been copied.
func (r *Runtime) run(c *container, spec launch.Spec, namespaces []*os.File) (*launched, *sync.WaitGroup, error) {
	if err := os.MkdirAll(spec.Root.Scratch, 0o700); err != nil {
		return nil, nil, err
	}
	var err error
	if c.log, err = openLog(c.logPath); err != nil {
		return nil, nil, err
	}
	command := &exec.Cmd{SysProcAttr: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS, Setsid: true, Pdeathsig: syscall.SIGKILL,
	}}
	if spec.Root.OwnPIDs {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWPID
	}
	streams, err := c.connect(command)
	if err != nil {
		c.log.Close()
		return nil, nil, err
	}
	process, err := r.launch(spec, namespaces, nil, command)
	// The child has its own copies, or there is no child.
	for _, file := range []any{command.Stdin, command.Stdout, command.Stderr} {
		if file, ok := file.(*os.File); ok && file != nil {
			file.Close()
		}
	}
	if err != nil {
		streams.Wait()
		c.log.Close()
		return nil, nil, err
	}
	return process, streams, nil
}

// connect gives the process pipes or a terminal and copies what comes out into the log and to those attached.
func (c *container) connect(command *exec.Cmd) (*sync.WaitGroup, error) {
	var streams sync.WaitGroup
	copyOut := func(from *os.File, name string) {
		streams.Go(func() {
			sink := c.log.stream(name)
			_, _ = io.Copy(io.MultiWriter(sink, c.output.stream(name)), from)
			sink.flush()
			if from != c.terminal {
				from.Close()
			}
		})
	}
	if c.config.GetTty() {
		master, slave, err := openTerminal()
		if err != nil {
			return nil, err
		}
		command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
		command.SysProcAttr.Setctty = true
		c.terminal = master
		if c.config.GetStdin() {
			c.input = master
		}
		copyOut(master, "stdout")
		return &streams, nil
	}
	var opened []*os.File
	pipe := func() (read, write *os.File, err error) {
		if read, write, err = os.Pipe(); err == nil {
			opened = append(opened, read, write)
		}
		return read, write, err
	}
	outRead, outWrite, err := pipe()
	if err == nil {
		var errRead, errWrite *os.File
		if errRead, errWrite, err = pipe(); err == nil {
			if c.config.GetStdin() {
				var inRead *os.File
				if inRead, c.input, err = pipe(); err == nil {
					command.Stdin = inRead
				}
			}
			if err == nil {
				command.Stdout, command.Stderr = outWrite, errWrite
				copyOut(outRead, "stdout")
				copyOut(errRead, "stderr")
				return &streams, nil
			}
		}
	}
	for _, file := range opened {
		file.Close()
	}
	return nil, err
}

// attend waits for the end of a container and records it.
func (r *Runtime) attend(c *container, streams *sync.WaitGroup) {
	// Only a process that was killed before exec makes Wait fail, and that one has a state too.
	_ = c.process.command.Wait()
	c.process.lifeline.Close()
	// With its first process the whole PID namespace is dead, so the pipes end.
	streams.Wait()
	c.log.Close()
	c.output.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.terminal != nil {
		c.terminal.Close()
	} else if c.input != nil {
		c.input.Close()
	}
	c.state, c.finishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, now()
	c.exitCode = exitCode(c.process.command.ProcessState)
	c.reason = "Completed"
	if c.exitCode != 0 {
		c.reason = "Error"
	}
	close(c.done)
}

// kill ends the process at once. Wait has not returned while done is open, so the process is still ours to signal.
func (c *container) kill() {
	c.killOnce.Do(func() { _ = c.process.command.Process.Kill() })
}

// StopContainer asks a container to end and kills it after timeout seconds.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	r.mu.Lock()
	c, ok := r.containers[id]
	running := ok && c.state == runtimeapi.ContainerState_CONTAINER_RUNNING
	if ok && c.state == runtimeapi.ContainerState_CONTAINER_CREATED {
		c.state, c.finishedAt, c.exitCode, c.reason = runtimeapi.ContainerState_CONTAINER_EXITED, now(), 137, "Error"
		close(c.done)
	}
	r.mu.Unlock()
	if !running {
		return nil
	}
	if timeout > 0 {
		_ = c.process.command.Process.Signal(stopSignal(c.config.GetStopSignal()))
		timer := time.NewTimer(time.Duration(timeout) * time.Second)
		defer timer.Stop()
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	c.kill()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func stopSignal(signal runtimeapi.Signal) syscall.Signal {
	if number := unix.SignalNum(signal.String()); number != 0 {
		return number
	}
	return syscall.SIGTERM
}

// RemoveContainer forgets a container and its log, killing it first if need be.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.containers[id]; ok {
		r.forget(c)
	}
	return nil
}

func (r *Runtime) forget(c *container) {
	delete(r.containers, c.id)
	// The folder is empty: what was in it was mounted in a namespace that is gone.
	_ = os.Remove(c.spec.Root.Scratch)
}

// ReopenContainerLog opens the log again after the kubelet has moved the file away.
func (r *Runtime) ReopenContainerLog(_ context.Context, id string) error {
	r.mu.Lock()
	c, ok := r.containers[id]
	running := ok && c.state == runtimeapi.ContainerState_CONTAINER_RUNNING
	r.mu.Unlock()
	if !running {
		return fmt.Errorf("container %s is not running", id)
	}
	return c.log.reopen()
}

// ListContainers lists the containers that a filter admits, newest first.
func (r *Runtime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.Container
	for _, c := range r.containers {
		if !matches(filter.GetId(), c.id) || !matches(filter.GetPodSandboxId(), c.sandbox.id) ||
			!selects(filter.GetLabelSelector(), c.config.GetLabels()) ||
			filter.GetState() != nil && filter.GetState().GetState() != c.state {
			continue
		}
		digest := c.image.digest(c.imageName)
		list = append(list, &runtimeapi.Container{
			Id: c.id, PodSandboxId: c.sandbox.id, Metadata: c.config.GetMetadata(), State: c.state, CreatedAt: c.createdAt,
			Image: c.config.GetImage(), ImageRef: digest, ImageId: digest,
			Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
		})
	}
	slices.SortFunc(list, func(a, b *runtimeapi.Container) int { return int(b.CreatedAt - a.CreatedAt) })
	return list, nil
}

// ContainerStatus describes a container.
func (r *Runtime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, notFound("container", id)
	}
	digest := c.image.digest(c.imageName)
	identity := c.spec.Identity
	groups := make([]int64, 0, len(identity.Groups))
	for _, group := range identity.Groups {
		groups = append(groups, int64(group))
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: id, Metadata: c.config.GetMetadata(), State: c.state, CreatedAt: c.createdAt, StartedAt: c.startedAt,
		FinishedAt: c.finishedAt, ExitCode: c.exitCode, Reason: c.reason, Message: c.message,
		Image: &runtimeapi.ImageSpec{Image: c.imageName}, ImageRef: digest, ImageId: digest,
		Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(), Mounts: c.config.GetMounts(), LogPath: c.logPath,
		User: &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{
			Uid: int64(identity.User), Gid: int64(identity.Group), SupplementalGroups: groups,
		}},
		StopSignal: c.config.GetStopSignal(),
	}}, nil
}

func (c *container) stats() *runtimeapi.ContainerStats {
	return &runtimeapi.ContainerStats{Attributes: &runtimeapi.ContainerAttributes{
		Id: c.id, Metadata: c.config.GetMetadata(), Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
	}}
}
