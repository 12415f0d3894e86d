package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"controlplane/internal/clusterdns"
	"controlplane/internal/cri"
	"controlplane/internal/kubelet"
	"controlplane/internal/noderecord"

	"github.com/vishvananda/netlink"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The addresses of the DNS servers, on the node's loopback device: the same on every node, each node asks itself. Pods of
// the cluster's DNS policy ask the first; the node and pods with dnsPolicy Default ask the second, which knows no Services.
var (
	clusterResolver = netip.MustParseAddr("169.254.20.10")
	nodeResolver    = netip.MustParseAddr("169.254.20.11")
)

// run is the node until ctx ends; then it kills the pods.
func run(ctx context.Context, node *node) error {
	config, err := clientcmd.BuildConfigFromFlags("", node.kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	config.UserAgent = "node-agent/" + node.NodeName
	images, err := cri.LoadImages(node.images)
	if err != nil {
		return fmt.Errorf("--images: %w", err)
	}
	if err := emptyFolder(node.StateDir); err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("the node's loopback device: %w", err)
	}
	network, err := cri.NewNetwork(node.podCIDRs)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime, err := cri.New(cri.Config{
		StateDir: node.StateDir, Init: filepath.Join(filepath.Dir(program), "container-init"), Images: images, Network: network,
	})
	if err != nil {
		return err
	}
	defer runtime.Shutdown()
	if err := serveDNS(node, config); err != nil {
		return err
	}
	if err := kubelet.Run(ctx, node.Options, config, runtime, images); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := noderecord.Complete(ctx, client, node.NodeName, node.podCIDRs); err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// emptyFolder leaves a folder that exists and is empty. Whoever used it before is dead, and so are its mounts.
func emptyFolder(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(path, 0o755)
}

func loopbackUp() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	for _, address := range []netip.Addr{clusterResolver, nodeResolver} {
		single := &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(32, 32)}
		if err := netlink.AddrReplace(loopback, &netlink.Addr{IPNet: single}); err != nil {
			return err
		}
	}
	return nil
}

func serveDNS(node *node, config *rest.Config) error {
	hosts := map[string][]netip.Addr{"localhost": {netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := (&clusterdns.Server{Client: client, Hosts: hosts, HostsFile: node.hostsFile}).Serve(netip.AddrPortFrom(clusterResolver, 53)); err != nil {
		return err
	}
	if err := (&clusterdns.Server{Hosts: hosts, HostsFile: node.hostsFile}).Serve(netip.AddrPortFrom(nodeResolver, 53)); err != nil {
		return err
	}
	node.ClusterDNS = []netip.Addr{clusterResolver}
	node.ResolvConf = filepath.Join(node.StateDir, "resolv.conf")
	return os.WriteFile(node.ResolvConf, []byte("nameserver "+nodeResolver.String()+"\n"), 0o644)
}
