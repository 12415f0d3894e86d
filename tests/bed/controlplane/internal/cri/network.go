package cri

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The gateways that pods see: addresses at the node's end of every pod's link, the same for all.
var (
	gateway4 = netip.MustParseAddr("169.254.1.1")
	gateway6 = netip.MustParseAddr("fe80::1")
)

// Network connects pods to the node's network namespace, which is the one of this process: a veth pair for each pod, the
// pod's addresses as /32 and /128 and a default route to a link-local gateway. Neighbours are entered by hand: the kernel
// has one neighbour table for all namespaces of the machine, and permanent entries do not fill it.
type Network struct {
	mu    sync.Mutex
	pools []*addressPool
}

// podLink is a pod's connection.
type podLink struct {
	name      string
	addresses []netip.Addr
}

// NewNetwork makes this network namespace a router for pods with addresses from the prefixes given, the first of which
// gives a pod's primary address.
func NewNetwork(prefixes []netip.Prefix) (*Network, error) {
	network := &Network{}
	for _, prefix := range prefixes {
		network.pools = append(network.pools, newAddressPool(prefix))
	}
	for name, value := range map[string]string{
		"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1",
		// A pod's packets come in by links that have no route back to other nodes' addresses.
		"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0",
		"net.ipv6.conf.default.accept_dad": "0",
	} {
		if err := writeSysctl(name, value); err != nil {
			return nil, err
		}
	}
	return network, nil
}

func (n *Network) connect(id string, namespace *os.File) (*podLink, error) {
	link := &podLink{name: "pod" + id[:11]}
	n.mu.Lock()
	for _, pool := range n.pools {
		address, err := pool.take()
		if err != nil {
			n.mu.Unlock()
			n.disconnect(link)
			return nil, err
		}
		link.addresses = append(link.addresses, address)
	}
	n.mu.Unlock()
	if err := wire(link, namespace); err != nil {
		n.disconnect(link)
		return nil, fmt.Errorf("connecting the pod: %w", err)
	}
	return link, nil
}

// disconnect removes a pod's link and gives its addresses back; what is not there any more is no error.
func (n *Network) disconnect(link *podLink) {
	if veth, err := netlink.LinkByName(link.name); err == nil {
		_ = netlink.LinkDel(veth)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, address := range link.addresses {
		n.pools[i].giveBack(address)
	}
	link.addresses = nil
}

func wire(link *podLink, namespace *os.File) error {
	err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: link.name, Flags: net.FlagUp}, PeerName: "eth0",
		PeerNamespace: netlink.NsFd(int(namespace.Fd())),
	})
	if err != nil {
		return fmt.Errorf("making a veth pair: %w", err)
	}
	pod, err := netlink.NewHandleAt(netns.NsHandle(int(namespace.Fd())))
	if err != nil {
		return err
	}
	defer pod.Close()
	node, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer node.Close()
	loopback, err := pod.LinkByName("lo")
	if err != nil {
		return err
	}
	inside, err := pod.LinkByName("eth0")
	if err != nil {
		return err
	}
	outside, err := node.LinkByName(link.name)
	if err != nil {
		return err
	}
	for _, up := range []struct {
		handle *netlink.Handle
		link   netlink.Link
	}{{pod, loopback}, {pod, inside}, {node, outside}} {
		if err := up.handle.LinkSetUp(up.link); err != nil {
			return err
		}
	}
	for _, address := range link.addresses {
		if err := route(node, pod, outside, inside, address); err != nil {
			return fmt.Errorf("address %s: %w", address, err)
		}
	}
	return nil
}

// route gives one address to a pod.
func route(node, pod *netlink.Handle, outside, inside netlink.Link, address netip.Addr) error {
	gateway, own, all := gateway4, single(address), "0.0.0.0/0"
	if address.Is6() {
		gateway, all = gateway6, "::/0"
	}
	everything, err := netlink.ParseIPNet(all)
	if err != nil {
		return err
	}
	// The gateway's address is on every pod's link; with no duplicate address detection it works at once.
	if err := node.AddrAdd(outside, &netlink.Addr{IPNet: single(gateway), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if err := pod.AddrAdd(inside, &netlink.Addr{IPNet: own, Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("adding: %w", err)
	}
	for _, neighbour := range []struct {
		handle  *netlink.Handle
		link    netlink.Link
		address netip.Addr
		at      net.HardwareAddr
	}{
		{node, outside, address, inside.Attrs().HardwareAddr},
		{pod, inside, gateway, outside.Attrs().HardwareAddr},
	} {
		if err := neighbour.handle.NeighSet(&netlink.Neigh{
			LinkIndex: neighbour.link.Attrs().Index, IP: neighbour.address.AsSlice(), HardwareAddr: neighbour.at,
			State: netlink.NUD_PERMANENT,
		}); err != nil {
			return fmt.Errorf("neighbour %s: %w", neighbour.address, err)
		}
	}
	if err := node.RouteReplace(&netlink.Route{LinkIndex: outside.Attrs().Index, Dst: own, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to the pod: %w", err)
	}
	return pod.RouteAdd(&netlink.Route{
		LinkIndex: inside.Attrs().Index, Dst: everything, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
	})
}

func single(address netip.Addr) *net.IPNet {
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())}
}
