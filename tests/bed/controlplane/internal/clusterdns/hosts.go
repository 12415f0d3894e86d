package clusterdns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// ParseHosts reads the form of /etc/hosts: an address and its names on a line, # begins a comment.
func ParseHosts(text string) (map[string][]netip.Addr, error) {
	hosts := map[string][]netip.Addr{}
	for number, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		address, err := netip.ParseAddr(fields[0])
		if err != nil || len(fields) == 1 {
			return nil, fmt.Errorf("line %d: an address and at least one name are needed", number+1)
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(name)
			hosts[name] = append(hosts[name], address)
		}
	}
	return hosts, nil
}

// readHosts reads a file of that form; one that does not exist holds no names.
func readHosts(path string) (map[string][]netip.Addr, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	hosts, err := ParseHosts(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return hosts, nil
}
