package launch

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilityNumbers maps the names of capabilities(7), without the prefix CAP_, to their bits.
var capabilityNumbers = map[string]uintptr{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
	"FOWNER": unix.CAP_FOWNER, "FSETID": unix.CAP_FSETID, "KILL": unix.CAP_KILL, "SETGID": unix.CAP_SETGID,
	"SETUID": unix.CAP_SETUID, "SETPCAP": unix.CAP_SETPCAP, "LINUX_IMMUTABLE": unix.CAP_LINUX_IMMUTABLE,
	"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "NET_BROADCAST": unix.CAP_NET_BROADCAST, "NET_ADMIN": unix.CAP_NET_ADMIN,
	"NET_RAW": unix.CAP_NET_RAW, "IPC_LOCK": unix.CAP_IPC_LOCK, "IPC_OWNER": unix.CAP_IPC_OWNER,
	"SYS_MODULE": unix.CAP_SYS_MODULE, "SYS_RAWIO": unix.CAP_SYS_RAWIO, "SYS_CHROOT": unix.CAP_SYS_CHROOT,
	"SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_PACCT": unix.CAP_SYS_PACCT, "SYS_ADMIN": unix.CAP_SYS_ADMIN,
	"SYS_BOOT": unix.CAP_SYS_BOOT, "SYS_NICE": unix.CAP_SYS_NICE, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
	"SYS_TIME": unix.CAP_SYS_TIME, "SYS_TTY_CONFIG": unix.CAP_SYS_TTY_CONFIG, "MKNOD": unix.CAP_MKNOD,
	"LEASE": unix.CAP_LEASE, "AUDIT_WRITE": unix.CAP_AUDIT_WRITE, "AUDIT_CONTROL": unix.CAP_AUDIT_CONTROL,
	"SETFCAP": unix.CAP_SETFCAP, "MAC_OVERRIDE": unix.CAP_MAC_OVERRIDE, "MAC_ADMIN": unix.CAP_MAC_ADMIN,
	"SYSLOG": unix.CAP_SYSLOG, "WAKE_ALARM": unix.CAP_WAKE_ALARM, "BLOCK_SUSPEND": unix.CAP_BLOCK_SUSPEND,
	"AUDIT_READ": unix.CAP_AUDIT_READ, "PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF,
	"CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE,
}

// defaultCapabilities is what containerd leaves to a container that says nothing.
var defaultCapabilities = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
	"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// CapabilityNumber returns the bit of a capability named without its prefix.
func CapabilityNumber(name string) (uintptr, bool) {
	number, ok := capabilityNumbers[name]
	return number, ok
}

// AllCapabilities lists every capability that this package knows, sorted.
func AllCapabilities() []string {
	all := make([]string, 0, len(capabilityNumbers))
	for name := range capabilityNumbers {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Capabilities computes the bounding set of a container in containerd's order: ALL in add, then ALL in drop, then the names
// added, then the names dropped. Names may carry the prefix CAP_ and any case; an unknown name is an error.
func Capabilities(privileged bool, add, drop []string) ([]string, error) {
	if privileged {
		return AllCapabilities(), nil
	}
	add, err := normal(add)
	if err != nil {
		return nil, err
	}
	drop, err = normal(drop)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	start := defaultCapabilities
	if slices.Contains(add, "ALL") {
		start = AllCapabilities()
	}
	if slices.Contains(drop, "ALL") {
		start = nil
	}
	for _, name := range start {
		set[name] = true
	}
	for _, name := range add {
		if name != "ALL" {
			set[name] = true
		}
	}
	for _, name := range drop {
		delete(set, name)
	}
	result := make([]string, 0, len(set))
	for name := range set {
		result = append(result, name)
	}
	slices.Sort(result)
	return result, nil
}

func normal(names []string) ([]string, error) {
	result := make([]string, 0, len(names))
	for _, name := range names {
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if _, ok := capabilityNumbers[short]; !ok && short != "ALL" {
			return nil, fmt.Errorf("unknown capability %q", name)
		}
		result = append(result, short)
	}
	return result, nil
}
