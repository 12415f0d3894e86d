// Package cri is a container runtime of the test bed's own, for the kubelet that runs in the same process: it implements
// the runtime and image services of the Container Runtime Interface without containers' usual machinery. A sandbox is a
// set of namespaces kept open by file descriptors; a container is a process that container-init builds (package launch);
// an image is an entry of a table (images.go).
//
// Invariants: every process started here dies with this process, also when that is killed; nothing survives a restart, so
// nothing is stored; no cgroup is used, so resource limits are recorded and not enforced.
//
// I/O: processes, namespaces, mounts, log files, netlink.
package cri

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Config is what a Runtime needs to know of its node.
type Config struct {
	// StateDir holds scratch folders of containers; it is emptied by whoever starts the agent.
	StateDir string
	// Init is the path of the program container-init.
	Init string
	// Images is the table of images.
	Images *Images
	// Network connects the pods; its namespace is the one of this process.
	Network *Network
}

// Runtime is the state of all sandboxes and containers of one node.
type Runtime struct {
	config  Config
	spawner *spawner
	streams *streams

	// mu guards the maps and every mutable field of what they hold.
	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
	// stopping refuses new processes while Shutdown kills the old ones.
	stopping bool
}

var _ internalapi.RuntimeService = (*Runtime)(nil)

// New makes a runtime and starts its server for exec, attach and port-forward on a loopback port of this network namespace.
func New(config Config) (*Runtime, error) {
	runtime := &Runtime{
		config:     config,
		spawner:    newSpawner(),
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
	}
	if err := os.MkdirAll(filepath.Join(config.StateDir, "containers"), 0o711); err != nil {
		return nil, err
	}
	var err error
	runtime.streams, err = serveStreams(runtime)
	return runtime, err
}

// Shutdown kills every container and returns when all are gone.
func (r *Runtime) Shutdown() {
	r.mu.Lock()
	r.stopping = true
	running := make([]*container, 0, len(r.containers))
	for _, container := range r.containers {
		if container.state == runtimeapi.ContainerState_CONTAINER_RUNNING {
			running = append(running, container)
		}
	}
	r.mu.Unlock()
	for _, container := range running {
		container.kill()
	}
	for _, container := range running {
		<-container.done
	}
}

func newID() string {
	var bytes [32]byte
	// crypto/rand.Read never fails: it ends the program instead.
	_, _ = rand.Read(bytes[:])
	return hex.EncodeToString(bytes[:])
}

// Version names this runtime; the kubelet reports it in the Node's status.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "causeway-bed", RuntimeVersion: "1.0.0", RuntimeApiVersion: "v1",
	}, nil
}

// Status says that the runtime and its network are ready: both are, once New has returned.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: runtimeapi.RuntimeReady, Status: true},
			{Type: runtimeapi.NetworkReady, Status: true},
		}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{Name: "", Features: &runtimeapi.RuntimeHandlerFeatures{}}},
	}, nil
}

// UpdateRuntimeConfig is told the node's pod CIDR, which this runtime already has from its configuration.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.RuntimeConfig) error { return nil }

// RuntimeConfig names a cgroup driver because it must; no cgroup is made.
func (r *Runtime) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{
		Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS},
	}, nil
}

// Close has nothing to close: containers live as long as the process.
func (r *Runtime) Close(context.Context) error { return nil }

// UpdateContainerResources accepts what it cannot enforce, as there is no cgroup.
func (r *Runtime) UpdateContainerResources(context.Context, string, *runtimeapi.ContainerResources) error {
	return nil
}

// UpdatePodSandboxResources accepts what it cannot enforce, as there is no cgroup.
func (r *Runtime) UpdatePodSandboxResources(context.Context, *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// CheckpointContainer is not offered.
func (r *Runtime) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) error {
	return fmt.Errorf("the test bed's runtime cannot checkpoint containers")
}

// GetContainerEvents is not offered; the kubelet looks for changes itself.
func (r *Runtime) GetContainerEvents(context.Context, chan *runtimeapi.ContainerEventResponse, func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	return fmt.Errorf("the test bed's runtime sends no container events")
}

// ContainerStats has no cgroup to read and reports the container without figures.
func (r *Runtime) ContainerStats(_ context.Context, id string) (*runtimeapi.ContainerStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	container, ok := r.containers[id]
	if !ok {
		return nil, notFound("container", id)
	}
	return container.stats(), nil
}

// ListContainerStats reports the running containers without figures.
func (r *Runtime) ListContainerStats(_ context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.ContainerStats
	for _, container := range r.containers {
		if container.state == runtimeapi.ContainerState_CONTAINER_RUNNING &&
			matches(filter.GetId(), container.id) && matches(filter.GetPodSandboxId(), container.sandbox.id) &&
			selects(filter.GetLabelSelector(), container.config.GetLabels()) {
			list = append(list, container.stats())
		}
	}
	return list, nil
}

// PodSandboxStats reports a sandbox without figures.
func (r *Runtime) PodSandboxStats(_ context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sandbox, ok := r.sandboxes[id]
	if !ok {
		return nil, notFound("sandbox", id)
	}
	return sandbox.stats(), nil
}

// ListPodSandboxStats reports sandboxes without figures.
func (r *Runtime) ListPodSandboxStats(_ context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.PodSandboxStats
	for _, sandbox := range r.sandboxes {
		if matches(filter.GetId(), sandbox.id) && selects(filter.GetLabelSelector(), sandbox.config.GetLabels()) {
			list = append(list, sandbox.stats())
		}
	}
	return list, nil
}

// ListMetricDescriptors offers no metrics.
func (r *Runtime) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics offers no metrics.
func (r *Runtime) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}

// matches says whether a filter's field, where empty means any, admits a value.
func matches(want, have string) bool { return want == "" || want == have }

func selects(selector, labels map[string]string) bool {
	for name, value := range selector {
		if labels[name] != value {
			return false
		}
	}
	return true
}

func now() int64 { return time.Now().UnixNano() }
