// Package noderecord writes the parts of a Node object that the kubelet leaves to others: in a cluster, to
// kube-controller-manager's IPAM and to the network plugin.
//
// I/O: the Kubernetes API.
package noderecord

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// Complete waits until the kubelet has registered the node, then sets its pod CIDRs and the condition NetworkUnavailable.
// It tries until ctx ends: the API server may be away.
func Complete(ctx context.Context, client kubernetes.Interface, name string, podCIDRs []netip.Prefix) error {
	cidrs := make([]string, 0, len(podCIDRs))
	for _, prefix := range podCIDRs {
		cidrs = append(cidrs, prefix.String())
	}
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, nil
		}
		if len(node.Spec.PodCIDRs) == 0 {
			err := patch(ctx, client, name, map[string]any{"spec": map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs}})
			// Once set the field is immutable: the node was here before with other prefixes, which is worth an error.
			if apierrors.IsInvalid(err) {
				return false, err
			}
			if err != nil {
				return false, nil
			}
		}
		now := metav1.Now()
		err = patch(ctx, client, name, map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
			Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "RouteCreated",
			Message: "the test bed has routes to the node's pods", LastHeartbeatTime: now, LastTransitionTime: now,
		}}}}, "status")
		return err == nil, nil
	})
}

func patch(ctx context.Context, client kubernetes.Interface, name string, body map[string]any, subresources ...string) error {
	bytes, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, bytes, metav1.PatchOptions{}, subresources...)
	return err
}
