package main

import (
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"controlplane/internal/kubelet"
)

// node is the configuration of one node, checked.
type node struct {
	kubelet.Options
	kubeconfig string
	images     string
	hostsFile  string
	podCIDRs   []netip.Prefix
}

func parseFlags(flags *flag.FlagSet, args []string) (*node, error) {
	node := &node{}
	flags.StringVar(&node.kubeconfig, "kubeconfig", "", "file with the node's access to the API server")
	flags.StringVar(&node.NodeName, "node-name", "", "name of the Node object")
	ips := flags.String("node-ips", "", "addresses of the node, the primary one first, one per family: 10.77.0.11,fd77::11")
	cidrs := flags.String("pod-cidrs", "", "prefixes of the node's pods, one per family: 10.244.1.0/24,fd00:10:244:1::/64")
	flags.StringVar(&node.images, "images", "", "file with the table of images")
	flags.StringVar(&node.StateDir, "state-dir", "", "folder for volumes, logs and scratch files; it is emptied at the start")
	flags.StringVar(&node.hostsFile, "hosts-file", "", "file like /etc/hosts with names that pods and the node can look up; read at each look-up, it may come later")
	flags.StringVar(&node.ServerCert, "server-cert", "", "certificate of the kubelet's server; a self-signed one is made when empty")
	flags.StringVar(&node.ServerKey, "server-key", "", "key of the certificate")
	flags.StringVar(&node.ClientCA, "client-ca", "", "certificate authority of those who may use the kubelet's server")
	labels := flags.String("labels", "", "labels of the Node, such as zone=a,rack=1")
	flags.StringVar(&node.ProviderID, "provider-id", "", "spec.providerID of the Node")
	flags.IntVar(&node.Port, "port", 10250, "port of the kubelet's server")
	flags.IntVar(&node.MaxPods, "max-pods", 110, "most pods on the node")
	flags.IntVar(&node.CPUs, "cpus", 8, "processors that the node claims to have")
	memory := flags.Int("memory-gib", 32, "memory that the node claims to have, in GiB")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for name, value := range map[string]string{
		"kubeconfig": node.kubeconfig, "node-name": node.NodeName, "node-ips": *ips, "pod-cidrs": *cidrs,
		"images": node.images, "state-dir": node.StateDir, "client-ca": node.ClientCA,
	} {
		if value == "" {
			return nil, fmt.Errorf("--%s is needed", name)
		}
	}
	if (node.ServerCert == "") != (node.ServerKey == "") {
		return nil, fmt.Errorf("--server-cert and --server-key are needed both or neither")
	}
	node.MemoryBytes = uint64(*memory) << 30
	var err error
	if node.StateDir, err = filepath.Abs(node.StateDir); err != nil {
		return nil, err
	}
	for _, text := range strings.Split(*ips, ",") {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--node-ips: %w", err)
		}
		node.NodeIPs = append(node.NodeIPs, address)
	}
	for _, text := range strings.Split(*cidrs, ",") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--pod-cidrs: %w", err)
		}
		node.podCIDRs = append(node.podCIDRs, prefix)
	}
	node.Labels, err = parseLabels(*labels)
	return node, err
}

func parseLabels(text string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range strings.Split(text, ",") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--labels: %q is not NAME=VALUE", pair)
		}
		labels[name] = value
	}
	return labels, nil
}
