package kubelet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	cadvisor "github.com/google/cadvisor/info/v1"
	cadvisor2 "github.com/google/cadvisor/info/v2"
	"golang.org/x/sys/unix"
)

// machine tells the kubelet about the node what cAdvisor would tell: a capacity that is only claimed, and no usage.
//
// Pure but for the kernel's version.
type machine struct {
	node Options
}

func (machine) Start() error { return nil }

// MachineInfo gives every node identifiers of its own that stay the same across restarts.
func (m machine) MachineInfo() (*cadvisor.MachineInfo, error) {
	sum := sha256.Sum256([]byte(m.node.NodeName))
	id := hex.EncodeToString(sum[:16])
	return &cadvisor.MachineInfo{
		NumCores: m.node.CPUs, NumPhysicalCores: m.node.CPUs, NumSockets: 1, MemoryCapacity: m.node.MemoryBytes,
		MachineID: id, SystemUUID: id, BootID: id, InstanceID: cadvisor.InstanceID(m.node.NodeName),
		// Topology is read when huge pages and sockets are counted.
		Topology: []cadvisor.Node{{Id: 0, Memory: m.node.MemoryBytes}},
	}, nil
}

func (machine) VersionInfo() (*cadvisor.VersionInfo, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	kernel, _, _ := strings.Cut(string(name.Release[:]), "\x00")
	return &cadvisor.VersionInfo{KernelVersion: kernel, ContainerOsVersion: "Causeway test bed"}, nil
}

func (machine) ContainerInfoV2(string, cadvisor2.RequestOptions) (map[string]cadvisor2.ContainerInfo, error) {
	return map[string]cadvisor2.ContainerInfo{}, nil
}

func (machine) GetRequestedContainersInfo(string, cadvisor2.RequestOptions) (map[string]*cadvisor.ContainerInfo, error) {
	return map[string]*cadvisor.ContainerInfo{}, nil
}

func (machine) ImagesFsInfo(context.Context) (cadvisor2.FsInfo, error) {
	return cadvisor2.FsInfo{}, nil
}
func (machine) RootFsInfo() (cadvisor2.FsInfo, error) { return cadvisor2.FsInfo{}, nil }
func (machine) ContainerFsInfo(context.Context) (cadvisor2.FsInfo, error) {
	return cadvisor2.FsInfo{}, nil
}
func (machine) GetDirFsInfo(string) (cadvisor2.FsInfo, error) { return cadvisor2.FsInfo{}, nil }
