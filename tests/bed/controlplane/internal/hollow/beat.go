package hollow

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// patience bounds one request: a node that hangs must not hold up a worker for ever.
const patience = 10 * time.Second

// Nodes are the nodes that one process keeps.
type Nodes struct {
	options Options
	client  kubernetes.Interface
	log     func(format string, arguments ...any)
}

// New prepares nodes; nothing is written yet.
func New(options Options, client kubernetes.Interface, log func(format string, arguments ...any)) *Nodes {
	return &Nodes{options: options, client: client, log: log}
}

// Create makes the nodes and their leases; those that exist are taken over. It returns the errors of all nodes.
func (n *Nodes) Create(ctx context.Context) error {
	return n.each(ctx, func(ctx context.Context, index int) error {
		want := n.options.node(index, time.Now())
		made, err := n.client.CoreV1().Nodes().Create(ctx, want, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			made, err = n.takeOver(ctx, want)
		}
		if err != nil {
			return err
		}
		lease := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Name: want.Name, Namespace: corev1.NamespaceNodeLease,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: made.Name, UID: made.UID}},
			},
			Spec: leaseSpec(want.Name, time.Now()),
		}
		_, err = n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, lease, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return n.renew(ctx, index)
		}
		return err
	})
}

// takeOver gives a node that an earlier process made the status of a fresh one.
func (n *Nodes) takeOver(ctx context.Context, want *corev1.Node) (*corev1.Node, error) {
	var have *corev1.Node
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var err error
		if have, err = n.client.CoreV1().Nodes().Get(ctx, want.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		have.Status = want.Status
		_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, have, metav1.UpdateOptions{})
		return err
	})
	return have, err
}

// Delete deletes the nodes; their leases go with them.
func (n *Nodes) Delete(ctx context.Context) error {
	return n.each(ctx, func(ctx context.Context, index int) error {
		err := n.client.CoreV1().Nodes().Delete(ctx, n.options.name(index), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// each does something for every node, as many at a time as there are workers.
func (n *Nodes) each(ctx context.Context, do func(context.Context, int) error) error {
	indices := make(chan int)
	var mu sync.Mutex
	var failures []error
	var workers sync.WaitGroup
	for range n.options.Workers {
		workers.Go(func() {
			for index := range indices {
				ctx, cancel := context.WithTimeout(ctx, 3*patience)
				err := do(ctx, index)
				cancel()
				if err != nil {
					mu.Lock()
					failures = append(failures, fmt.Errorf("%s: %w", n.options.name(index), err))
					mu.Unlock()
				}
			}
		})
	}
	for index := range n.options.Count {
		indices <- index
	}
	close(indices)
	workers.Wait()
	return errors.Join(failures...)
}

func leaseSpec(holder string, now time.Time) coordinationv1.LeaseSpec {
	seconds, renewed := int32(leaseSeconds), metav1.NewMicroTime(now)
	return coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed}
}

// renew writes the lease's time as a patch: one request without a read before it.
func (n *Nodes) renew(ctx context.Context, index int) error {
	name := n.options.name(index)
	body, err := json.Marshal(map[string]any{"spec": leaseSpec(name, time.Now())})
	if err != nil {
		return err
	}
	_, err = n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{})
	return err
}

// report writes the heartbeat of the conditions. It leaves the times of their last change, and whatever a test has changed
// of the rest.
func (n *Nodes) report(ctx context.Context, index int) error {
	body, err := json.Marshal(heartbeat(time.Now()))
	if err != nil {
		return err
	}
	_, err = n.client.CoreV1().Nodes().Patch(ctx, n.options.name(index), types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	return err
}

func heartbeat(now time.Time) map[string]any {
	var list []map[string]any
	for _, condition := range conditions(now, now) {
		list = append(list, map[string]any{"type": condition.Type, "lastHeartbeatTime": condition.LastHeartbeatTime})
	}
	return map[string]any{"status": map[string]any{"conditions": list}}
}

// beat is one write that is due.
type beat struct {
	due    time.Time
	index  int
	status bool
}

type schedule []beat

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(value any)    { *s = append(*s, value.(beat)) }
func (s *schedule) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}

// Keep renews and reports until ctx ends, with one timer and a fixed number of workers whatever the number of nodes. A
// node that was deleted is left alone.
func (n *Nodes) Keep(ctx context.Context) {
	if n.options.Count == 0 {
		<-ctx.Done()
		return
	}
	due := make(schedule, 0, 2*n.options.Count)
	start := time.Now()
	for index := range n.options.Count {
		due = append(due,
			beat{start.Add(rand.N(n.options.LeaseInterval)), index, false}, beat{start.Add(rand.N(n.options.StatusInterval)), index, true})
	}
	heap.Init(&due)
	beats := make(chan beat, n.options.Workers)
	var workers sync.WaitGroup
	for range n.options.Workers {
		workers.Go(func() {
			for beat := range beats {
				n.write(ctx, beat)
			}
		})
	}
	defer workers.Wait()
	defer close(beats)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(due[0].due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := heap.Pop(&due).(beat)
		select {
		case <-ctx.Done():
			return
		case beats <- next:
		}
		interval := n.options.LeaseInterval
		if next.status {
			interval = n.options.StatusInterval
		}
		next.due = next.due.Add(interval - interval/10 + rand.N(interval/5))
		// After a pause, of this process or of the API server, what was missed is not made up for.
		if now := time.Now(); next.due.Before(now) {
			next.due = now.Add(rand.N(interval))
		}
		heap.Push(&due, next)
	}
}

func (n *Nodes) write(ctx context.Context, beat beat) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	if beat.status {
		err = n.report(ctx, beat.index)
	} else {
		err = n.renew(ctx, beat.index)
	}
	if err != nil && !apierrors.IsNotFound(err) && !errors.Is(err, context.Canceled) {
		n.log("%s: %v", n.options.name(beat.index), err)
	}
}
