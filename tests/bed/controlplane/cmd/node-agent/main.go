// Command node-agent is one node of the test bed: the kubelet of Kubernetes with a container runtime that makes processes
// and namespaces of this machine (packages kubelet and cri), and the DNS server of its pods (clusterdns).
//
// It is started in the network namespace of its node. It makes a mount namespace for itself, so nothing that it mounts is
// seen outside, and everything that it starts dies with it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
)

func main() {
	klog.InitFlags(flag.CommandLine)
	node, err := parseFlags(flag.CommandLine, os.Args[1:])
	if err == nil {
		err = ownMountNamespace()
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = run(ctx, node)
	}
	klog.Flush()
	if err != nil {
		fmt.Fprintf(os.Stderr, "node-agent: %v\n", err)
		os.Exit(1)
	}
}
