// Package launch is the contract between the node agent and container-init, the small program that turns itself into a
// container's process.
//
// The agent forks container-init and hands it open files in a fixed order: FileSpec carries a Spec as JSON, FileLifeline is
// the read end of a pipe whose other end only the agent holds, FileError takes the text of the first error, and the
// namespaces of Spec.Join follow from FileNamespaces on. A successful exec closes FileError without a byte written; that
// is how the agent knows that the container runs.
//
// Pure: types and computations only.
package launch

// Numbers of the files that container-init inherits.
const (
	FileSpec = iota + 3
	FileLifeline
	FileError
	FileNamespaces
)

// Spec says what container-init does before it executes Command.
type Spec struct {
	// Join lists the namespaces to enter, in order; file FileNamespaces+i belongs to Join[i].
	Join []Namespace
	// Root makes the root file system. It is nil for a command executed inside a running container, whose mount namespace
	// is among Join.
	Root *Root
	// Hostname and Environment, as the process sees them. Environment is complete: nothing is inherited.
	Environment []string
	Command     []string
	// Directory is the working directory; it is created when Root is given.
	Directory string
	Identity  Identity
	// DieWithParent asks the kernel to kill the process when the agent ends, however it ends.
	DieWithParent bool
}

// Namespace names a kind of namespace as /proc/PID/ns does.
type Namespace string

// The kinds of namespaces that a container shares or owns.
const (
	NamespaceNet   Namespace = "net"
	NamespaceIPC   Namespace = "ipc"
	NamespaceUTS   Namespace = "uts"
	NamespaceMount Namespace = "mnt"
	NamespacePID   Namespace = "pid"
)

// Root describes a root file system: an image under a writable layer in memory, and what is mounted into it.
type Root struct {
	// Image is the folder that holds the image; "/" is the machine's own root file system. It is never written to.
	Image string
	// Scratch is an empty folder where the writable layer and the mount point are made, in memory and seen by nobody else.
	Scratch string
	// EmptyDirs are folders of the image that the container sees empty, in memory.
	EmptyDirs []string
	Mounts    []Mount
	// MaskedPaths are made empty and ReadOnlyPaths unwritable, where they exist.
	MaskedPaths   []string
	ReadOnlyPaths []string
	ReadOnly      bool
	// OwnPIDs says that the process is the first of its PID namespace, so /proc must be mounted anew. It always is, but
	// with hostPID.
	OwnPIDs bool
}

// Mount is a file or folder of the machine bound into the container.
type Mount struct {
	Source   string
	Target   string
	ReadOnly bool
	// FollowHost lets mounts that the machine makes later under Source appear in the container (HostToContainer).
	FollowHost bool
}

// Identity is who the process is. Capabilities is the bounding set: with it root gets exactly these at exec, and any other
// user gets none, as in a container runtime, where added capabilities do not become effective for non-root users.
type Identity struct {
	User         uint32
	Group        uint32
	Groups       []uint32
	Capabilities []string
	NoNewPrivs   bool
}
