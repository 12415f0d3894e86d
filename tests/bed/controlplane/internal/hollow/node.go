// Package hollow makes Node objects that no machine stands behind and keeps them as fresh as kubelets do: what a load
// balancer controller sees of a large cluster, at the price of its API objects only.
//
// node.go is pure; beat.go talks to the API server.
package hollow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Options describe the nodes.
type Options struct {
	// Count nodes are named Prefix and a number from zero.
	Count  int
	Prefix string
	// Images is how many container images each node lists; 50, as kubelets report, make a node of about 19 kB.
	Images int
	// ProviderID is a format with one %s for the node's name, or empty for none.
	ProviderID string
	// LeaseInterval and StatusInterval are the times between two renewals and two reports of each node; both vary by up to a
	// tenth, and nodes begin at different times.
	LeaseInterval, StatusInterval time.Duration
	// Workers is how many requests are made at once.
	Workers int
}

// leaseSeconds is the kubelet's nodeLeaseDurationSeconds.
const leaseSeconds = 40

func (o Options) name(index int) string { return fmt.Sprintf("%s%d", o.Prefix, index) }

// node describes one node. Addresses and pod prefixes are distinct for the first 65,536 nodes and lie outside those of the
// bed's real nodes: 10.128.0.0/9 holds the addresses, 100.64.0.0/10 the pods of the first 16,384, in /24s as usual.
func (o Options) node(index int, now time.Time) *corev1.Node {
	name := o.name(index)
	high, low := (index>>8)&0xff, index&0xff
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:16])
	address := fmt.Sprintf("10.128.%d.%d", high, low)
	pods := []string{
		fmt.Sprintf("100.%d.%d.0/24", 64+(high&0x3f), low), prefix6(index),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
				"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64",
				"node.kubernetes.io/instance-type": "m7i.2xlarge", "beta.kubernetes.io/instance-type": "m7i.2xlarge",
				"topology.kubernetes.io/region": "bed", "topology.kubernetes.io/zone": fmt.Sprintf("bed-%c", 'a'+index%3),
				"causeway.io/hollow": "true", "node.kubernetes.io/pool": "workers", "example.org/team": "platform",
			},
			Annotations: map[string]string{
				"node.alpha.kubernetes.io/ttl":                           "0",
				"volumes.kubernetes.io/controller-managed-attach-detach": "true",
			},
		},
		Spec: corev1.NodeSpec{
			PodCIDR: pods[0], PodCIDRs: pods,
			// No Pod may be scheduled to a machine that is not there.
			Taints: []corev1.Taint{{Key: "causeway.io/hollow", Value: "true", Effect: corev1.TaintEffectNoSchedule}},
		},
	}
	if o.ProviderID != "" {
		node.Spec.ProviderID = fmt.Sprintf(o.ProviderID, name)
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
		"hugepages-1Gi": resource.MustParse("0"), "hugepages-2Mi": resource.MustParse("0"),
	}
	node.Status = corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity, Conditions: conditions(now, now),
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: address},
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("fd78::%x", index+1)},
			{Type: corev1.NodeHostName, Address: name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: id, SystemUUID: id, BootID: id, KernelVersion: "6.12.0", OSImage: "Hollow", OperatingSystem: "linux",
			Architecture: "amd64", ContainerRuntimeVersion: "containerd://2.1.4", KubeletVersion: "v1.36.4",
		},
		Images: images(o.Images),
	}
	return node
}

// prefix6 writes a prefix in the canonical form, which leaves out the number zero.
func prefix6(index int) string {
	return netip.MustParsePrefix(fmt.Sprintf("fd00:10:64:%x::/64", index)).String()
}

// images lists images with a digest and a tag each, as long as real ones.
func images(count int) []corev1.ContainerImage {
	list := make([]corev1.ContainerImage, 0, count)
	for index := range count {
		sum := sha256.Sum256([]byte{byte(index), byte(index >> 8)})
		repository := fmt.Sprintf("registry.example.org/platform/team-%02d/component-with-a-long-name-%04d", index%10, index)
		list = append(list, corev1.ContainerImage{
			Names:     []string{repository + "@sha256:" + hex.EncodeToString(sum[:]), repository + ":v1.27." + fmt.Sprint(index)},
			SizeBytes: int64(20+index) << 20,
		})
	}
	return list
}

// conditions are those of a healthy node: since is when they last changed, now when they were last reported.
func conditions(since, now time.Time) []corev1.NodeCondition {
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, Message: message,
			LastTransitionTime: metav1.NewTime(since), LastHeartbeatTime: metav1.NewTime(now),
		}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeNetworkUnavailable, corev1.ConditionFalse, "RouteCreated", "the node has no network that could fail"),
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
	}
}
