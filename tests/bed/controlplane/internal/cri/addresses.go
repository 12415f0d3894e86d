package cri

import (
	"fmt"
	"net/netip"
)

// addressPool hands out the addresses of a prefix, each once until it is given back, and takes the one longest unused: a
// client that still has an old pod's address meets nobody instead of another pod.
//
// Pure.
type addressPool struct {
	prefix netip.Prefix
	last   netip.Addr
	used   map[netip.Addr]bool
}

func newAddressPool(prefix netip.Prefix) *addressPool {
	prefix = prefix.Masked()
	// The first two addresses are the network's and, by custom, the gateway's.
	return &addressPool{prefix: prefix, last: prefix.Addr().Next(), used: map[netip.Addr]bool{}}
}

func (p *addressPool) take() (netip.Addr, error) {
	wrapped := false
	for address := p.last.Next(); ; address = address.Next() {
		if !p.usable(address) {
			if wrapped {
				return netip.Addr{}, fmt.Errorf("no free pod address in %s", p.prefix)
			}
			wrapped = true
			address = p.prefix.Addr().Next()
			continue
		}
		if !p.used[address] {
			p.used[address] = true
			p.last = address
			return address, nil
		}
	}
}

// usable says whether an address lies in the prefix and is not the broadcast address.
func (p *addressPool) usable(address netip.Addr) bool {
	return p.prefix.Contains(address) && (address.Is6() || p.prefix.Contains(address.Next()))
}

func (p *addressPool) giveBack(address netip.Addr) {
	delete(p.used, address)
}
