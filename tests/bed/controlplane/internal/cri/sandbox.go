package cri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"controlplane/internal/launch"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox is what the containers of a pod share: namespaces, an address, a name.
type sandbox struct {
	id        string
	config    *runtimeapi.PodSandboxConfig
	createdAt int64
	ready     bool
	// namespaces are open files that keep the namespaces alive. A kind that is missing is the node's.
	namespaces map[launch.Namespace]*os.File
	// link is nil when the pod uses the node's network.
	link *podLink
	// resolvConf is the file mounted at /etc/resolv.conf, and hostname the one at /etc/hostname.
	resolvConf, hostname string
}

// RunPodSandbox makes the namespaces of a pod and connects it.
func (r *Runtime) RunPodSandbox(_ context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if handler != "" {
		return "", fmt.Errorf("there is no runtime handler %q", handler)
	}
	security := config.GetLinux().GetSecurityContext()
	options := security.GetNamespaceOptions()
	if options.GetPid() == runtimeapi.NamespaceMode_POD {
		return "", fmt.Errorf("shareProcessNamespace is not offered by the test bed's runtime")
	}
	if options.GetUsernsOptions().GetMode() == runtimeapi.NamespaceMode_POD {
		return "", fmt.Errorf("user namespaces (hostUsers: false) are not offered by the test bed's runtime")
	}
	box := &sandbox{id: newID(), config: config, createdAt: now(), ready: true, namespaces: map[launch.Namespace]*os.File{}}
	if err := r.setUp(box, options); err != nil {
		r.tearDown(box)
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		r.tearDown(box)
		return "", fmt.Errorf("the node is shutting down")
	}
	r.sandboxes[box.id] = box
	return box.id, nil
}

func (r *Runtime) setUp(box *sandbox, options *runtimeapi.NamespaceOption) error {
	if err := box.writeFiles(filepath.Join(r.config.StateDir, "sandboxes", box.id)); err != nil {
		return err
	}
	ownNetwork := options.GetNetwork() != runtimeapi.NamespaceMode_NODE
	kinds := []launch.Namespace{launch.NamespaceUTS}
	if ownNetwork {
		kinds = append(kinds, launch.NamespaceNet)
	}
	if options.GetIpc() != runtimeapi.NamespaceMode_NODE {
		kinds = append(kinds, launch.NamespaceIPC)
	}
	var err error
	if box.namespaces, err = newNamespaces(kinds, box.config.GetHostname(), box.sysctls(ownNetwork)); err != nil {
		return err
	}
	if !ownNetwork {
		return nil
	}
	box.link, err = r.config.Network.connect(box.id, box.namespaces[launch.NamespaceNet])
	return err
}

func (b *sandbox) writeFiles(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	b.resolvConf = filepath.Join(folder, "resolv.conf")
	if err := os.WriteFile(b.resolvConf, []byte(resolvConf(b.config.GetDnsConfig())), 0o644); err != nil {
		return err
	}
	b.hostname = filepath.Join(folder, "hostname")
	return os.WriteFile(b.hostname, []byte(b.config.GetHostname()+"\n"), 0o644)
}

// sysctls are the pod's and, as containerd does, ports below 1024 for everybody in a network of the pod's own.
func (b *sandbox) sysctls(ownNetwork bool) map[string]string {
	sysctls := map[string]string{}
	if ownNetwork {
		sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
		sysctls["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	for name, value := range b.config.GetLinux().GetSysctls() {
		sysctls[name] = value
	}
	return sysctls
}

// tearDown gives back what setUp took; it may be called for a sandbox half set up, and again.
func (r *Runtime) tearDown(box *sandbox) {
	if box.link != nil {
		r.config.Network.disconnect(box.link)
		box.link = nil
	}
	for _, file := range box.namespaces {
		file.Close()
	}
	box.namespaces = nil
}

// StopPodSandbox kills what runs in a sandbox and takes its network away.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	box, ok := r.sandboxes[id]
	if !ok {
		r.mu.Unlock()
		return nil
	}
	box.ready = false
	var running []*container
	for _, container := range r.containers {
		if container.sandbox == box && container.state == runtimeapi.ContainerState_CONTAINER_RUNNING {
			running = append(running, container)
		}
	}
	r.mu.Unlock()
	for _, container := range running {
		container.kill()
		<-container.done
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tearDown(box)
	return nil
}

// RemovePodSandbox forgets a sandbox and its containers.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	if err := r.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, container := range r.containers {
		if container.sandbox.id == id {
			r.forget(container)
		}
	}
	delete(r.sandboxes, id)
	return os.RemoveAll(filepath.Join(r.config.StateDir, "sandboxes", id))
}

// PodSandboxStatus describes a sandbox; the addresses are the pod's.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	box, ok := r.sandboxes[id]
	if !ok {
		return nil, notFound("sandbox", id)
	}
	network := &runtimeapi.PodSandboxNetworkStatus{}
	if box.link != nil {
		for i, address := range box.link.addresses {
			if i == 0 {
				network.Ip = address.String()
			} else {
				network.AdditionalIps = append(network.AdditionalIps, &runtimeapi.PodIP{Ip: address.String()})
			}
		}
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{
		Id: id, Metadata: box.config.GetMetadata(), State: box.state(), CreatedAt: box.createdAt, Network: network,
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
			Options: box.config.GetLinux().GetSecurityContext().GetNamespaceOptions(),
		}},
		Labels: box.config.GetLabels(), Annotations: box.config.GetAnnotations(),
	}}, nil
}

// ListPodSandbox lists the sandboxes that a filter admits, newest first.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.PodSandbox
	for _, box := range r.sandboxes {
		if !matches(filter.GetId(), box.id) || !selects(filter.GetLabelSelector(), box.config.GetLabels()) {
			continue
		}
		if filter.GetState() != nil && filter.GetState().GetState() != box.state() {
			continue
		}
		list = append(list, &runtimeapi.PodSandbox{
			Id: box.id, Metadata: box.config.GetMetadata(), State: box.state(), CreatedAt: box.createdAt,
			Labels: box.config.GetLabels(), Annotations: box.config.GetAnnotations(),
		})
	}
	slices.SortFunc(list, func(a, b *runtimeapi.PodSandbox) int { return int(b.CreatedAt - a.CreatedAt) })
	return list, nil
}

func (b *sandbox) state() runtimeapi.PodSandboxState {
	if b.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func (b *sandbox) stats() *runtimeapi.PodSandboxStats {
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: b.id, Metadata: b.config.GetMetadata(), Labels: b.config.GetLabels(), Annotations: b.config.GetAnnotations(),
		},
		Linux: &runtimeapi.LinuxPodSandboxStats{},
	}
}

// newNamespaces makes namespaces on a thread of their own, which ends here, and returns them open.
func newNamespaces(kinds []launch.Namespace, hostname string, sysctls map[string]string) (map[launch.Namespace]*os.File, error) {
	type result struct {
		files map[launch.Namespace]*os.File
		err   error
	}
	results := make(chan result, 1)
	go func() {
		// Never unlocked, so the thread and its namespaces end with this goroutine.
		runtime.LockOSThread()
		files, err := unshare(kinds, hostname, sysctls)
		results <- result{files, err}
	}()
	outcome := <-results
	return outcome.files, outcome.err
}

func unshare(kinds []launch.Namespace, hostname string, sysctls map[string]string) (map[launch.Namespace]*os.File, error) {
	flags := map[launch.Namespace]int{
		launch.NamespaceNet: unix.CLONE_NEWNET, launch.NamespaceIPC: unix.CLONE_NEWIPC, launch.NamespaceUTS: unix.CLONE_NEWUTS,
	}
	all := 0
	for _, kind := range kinds {
		all |= flags[kind]
	}
	if err := unix.Unshare(all); err != nil {
		return nil, fmt.Errorf("making namespaces %v: %w", kinds, err)
	}
	if hostname != "" {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return nil, fmt.Errorf("host name %q: %w", hostname, err)
		}
	}
	for name, value := range sysctls {
		if err := writeSysctl(name, value); err != nil {
			return nil, err
		}
	}
	files := map[launch.Namespace]*os.File{}
	for _, kind := range kinds {
		file, err := os.Open("/proc/thread-self/ns/" + string(kind))
		if err != nil {
			for _, file := range files {
				file.Close()
			}
			return nil, err
		}
		files[kind] = file
	}
	return files, nil
}

// writeSysctl sets a kernel variable in the namespaces of the calling thread. Which ones a pod may set is checked by the
// kubelet; only those that belong to a namespace come here.
func writeSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	return nil
}

func resolvConf(dns *runtimeapi.DNSConfig) string {
	var text strings.Builder
	if len(dns.GetSearches()) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(dns.GetSearches(), " "))
	}
	for _, server := range dns.GetServers() {
		fmt.Fprintf(&text, "nameserver %s\n", server)
	}
	if len(dns.GetOptions()) > 0 {
		fmt.Fprintf(&text, "options %s\n", strings.Join(dns.GetOptions(), " "))
	}
	return text.String()
}
