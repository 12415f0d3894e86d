// Package kubelet runs the kubelet of Kubernetes itself, with the test bed's container runtime in the same process and
// without what a machine of its own would need: cgroups, cAdvisor, eviction, image garbage collection. So Pods live and
// die here by the very code that runs them in a cluster: order of containers, probes, hooks, grace periods, volumes,
// tokens, status, restarts.
//
// I/O: all of the kubelet's.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	noop "go.opentelemetry.io/otel/trace/noop"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	internalapi "k8s.io/cri-api/pkg/apis"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	kubecontainer "k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/kubelet/util"
	"k8s.io/kubernetes/pkg/util/oom"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/configmap"
	"k8s.io/kubernetes/pkg/volume/downwardapi"
	"k8s.io/kubernetes/pkg/volume/emptydir"
	"k8s.io/kubernetes/pkg/volume/hostpath"
	"k8s.io/kubernetes/pkg/volume/projected"
	"k8s.io/kubernetes/pkg/volume/secret"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
	"k8s.io/kubernetes/pkg/volume/util/subpath"
	"k8s.io/mount-utils"
)

// Options are the properties of one node.
type Options struct {
	NodeName   string
	NodeIPs    []netip.Addr
	Labels     map[string]string
	ProviderID string
	Port       int
	MaxPods    int
	StateDir   string
	// ServerCert, ServerKey and ClientCA are files: the identity of the kubelet's server, and who may use it.
	ServerCert, ServerKey, ClientCA string
	// ClusterDNS is the name server of pods; ResolvConf is the file for pods that use the node's.
	ClusterDNS []netip.Addr
	ResolvConf string
	// CPUs and MemoryBytes are the capacity that the node claims to have.
	CPUs        int
	MemoryBytes uint64
}

// features differ from Kubernetes' defaults: a crashing container is restarted after one second at first, since a test
// waits for it.
var features = map[string]bool{"ReduceDefaultCrashLoopBackOffDecay": true}

// Run starts the kubelet, which goes on running until the process ends, and returns when it has started.
func Run(ctx context.Context, node Options, client *rest.Config, runtime internalapi.RuntimeService, images internalapi.ImageManagerService) error {
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(features); err != nil {
		return err
	}
	config, err := configuration(node)
	if err != nil {
		return err
	}
	flags := flags(node)
	if err := options.ValidateKubeletServer(&options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *config}); err != nil {
		return err
	}
	dependencies, err := dependencies(ctx, node, flags, config, client, runtime, images)
	if err != nil {
		return err
	}
	return kubeletapp.RunKubelet(ctx, &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *config}, dependencies)
}

func flags(node Options) *options.KubeletFlags {
	flags := options.NewKubeletFlags()
	flags.RootDirectory = filepath.Join(node.StateDir, "kubelet")
	flags.CertDirectory = filepath.Join(node.StateDir, "pki")
	flags.HostnameOverride = node.NodeName
	addresses := make([]string, 0, len(node.NodeIPs))
	for _, address := range node.NodeIPs {
		addresses = append(addresses, address.String())
	}
	flags.NodeIP = strings.Join(addresses, ",")
	flags.NodeLabels = node.Labels
	flags.MaxContainerCount = -1
	// More dead containers than the default of one are kept, so that "logs --previous" does not race with a crash loop.
	flags.MaxPerPodContainerCount = 3
	return flags
}

func configuration(node Options) (*kubeletconfig.KubeletConfiguration, error) {
	config, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	config.Address = "0.0.0.0"
	config.Port = int32(node.Port)
	config.ReadOnlyPort = 0
	config.HealthzPort = 0
	config.TLSCertFile, config.TLSPrivateKeyFile = node.ServerCert, node.ServerKey
	config.Authentication.X509.ClientCAFile = node.ClientCA
	config.Authentication.Anonymous.Enabled = false
	// Whoever has a certificate of the client CA may do everything: the API server is the only one who has.
	config.Authentication.Webhook.Enabled = false
	config.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeAlwaysAllow
	config.ProviderID = node.ProviderID
	config.PodLogsDir = filepath.Join(node.StateDir, "logs")
	config.VolumePluginDir = filepath.Join(node.StateDir, "plugins")
	config.ResolverConfig = node.ResolvConf
	config.ClusterDomain = "cluster.local"
	for _, server := range node.ClusterDNS {
		config.ClusterDNS = append(config.ClusterDNS, server.String())
	}
	config.MaxPods = int32(node.MaxPods)

	// Nothing here has cgroups, and the machine's kernel settings are not ours to change.
	config.CgroupsPerQOS = false
	config.EnforceNodeAllocatable = nil
	config.FailCgroupV1 = false
	config.FailSwapOn = false
	config.MakeIPTablesUtilChains = false
	config.LocalStorageCapacityIsolation = false
	config.EvictionHard = map[string]string{}
	config.ImageGCHighThresholdPercent = 100
	// Zero would be replaced by the default.
	config.VolumeStatsAggPeriod = metav1.Duration{Duration: -time.Second}

	// Status every 10 s keeps the node fresh for node-lifecycle-controller, and changes of ConfigMaps reach volumes as fast.
	config.NodeStatusUpdateFrequency = metav1.Duration{Duration: 10 * time.Second}
	config.NodeStatusReportFrequency = metav1.Duration{Duration: 10 * time.Second}
	config.SyncFrequency = metav1.Duration{Duration: 10 * time.Second}
	config.CrashLoopBackOff.MaxContainerRestartPeriod = &metav1.Duration{Duration: 30 * time.Second}
	return config, nil
}

func dependencies(ctx context.Context, node Options, flags *options.KubeletFlags, config *kubeletconfig.KubeletConfiguration,
	client *rest.Config, runtime internalapi.RuntimeService, images internalapi.ImageManagerService) (*kubelet.Dependencies, error) {
	tls, err := kubeletapp.InitializeTLS(ctx, flags, config)
	if err != nil {
		return nil, fmt.Errorf("the kubelet's certificate: %w", err)
	}
	unhurried := rest.CopyConfig(client)
	unhurried.QPS = -1
	// Node status and leases must not wait behind other requests, nor for a stuck connection.
	heartbeat := rest.CopyConfig(unhurried)
	heartbeat.Timeout = config.NodeStatusUpdateFrequency.Duration
	kube, err := kubernetes.NewForConfig(unhurried)
	events, err2 := kubernetes.NewForConfig(unhurried)
	beats, err3 := kubernetes.NewForConfig(heartbeat)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	auth, reload, err := kubeletapp.BuildAuth(types.NodeName(node.NodeName), kube, *config)
	if err != nil {
		return nil, err
	}
	reload(ctx.Done())
	// mount.New would run mounts under a systemd of the machine, which is none of the bed's.
	mounter := mount.NewWithoutSystemd("")
	return &kubelet.Dependencies{
		Auth: auth, KubeClient: kube, HeartbeatClient: beats, EventClient: events.CoreV1(), TLSOptions: tls,
		RemoteRuntimeService: runtime, RemoteImageService: images,
		CAdvisorInterface: machine{node: node}, ContainerManager: cm.NewStubContainerManager(),
		OSInterface: kubecontainer.RealOS{}, OOMAdjuster: oom.NewFakeOOMAdjuster(),
		VolumePlugins: volumePlugins(), Mounter: mounter, Subpather: subpath.New(mounter), HostUtil: hostutil.NewHostUtil(),
		PodStartupLatencyTracker: util.NewPodStartupLatencyTracker(), NodeStartupLatencyTracker: util.NewNodeStartupLatencyTracker(),
		TracerProvider: noop.NewTracerProvider(),
	}, nil
}

// volumePlugins are the kinds of volumes that need nothing but this machine.
func volumePlugins() []volume.VolumePlugin {
	var plugins []volume.VolumePlugin
	plugins = append(plugins, emptydir.ProbeVolumePlugins()...)
	plugins = append(plugins, hostpath.ProbeVolumePlugins(volume.VolumeConfig{})...)
	plugins = append(plugins, secret.ProbeVolumePlugins()...)
	plugins = append(plugins, configmap.ProbeVolumePlugins()...)
	plugins = append(plugins, downwardapi.ProbeVolumePlugins()...)
	plugins = append(plugins, projected.ProbeVolumePlugins()...)
	return plugins
}
