package cri

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Image says what stands for the container images whose names match.
type Image struct {
	// Match is a regular expression that the name of the image, as the pod gives it, must match somewhere.
	Match string `json:"match"`
	// Rootfs is the folder of an unpacked image, or "host" for the machine's own root file system, which is only read and
	// whose changing folders (/tmp, /run, /root …) are empty.
	Rootfs string `json:"rootfs"`
	// Command is the image's entrypoint, used when the container gives no command, and Args its default arguments, used when
	// the container gives neither.
	Command []string `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Env is the image's environment; the container's comes over it.
	Env map[string]string `json:"env,omitempty"`
	// User and Group the process runs as, unless the pod says otherwise.
	User  int64 `json:"user,omitempty"`
	Group int64 `json:"group,omitempty"`
	// WorkingDir is "/" when empty.
	WorkingDir string `json:"workingDir,omitempty"`
	// Binds maps paths in the container to files or folders of the machine, read-only.
	Binds map[string]string `json:"binds,omitempty"`

	expression *regexp.Regexp
}

// Images is the table of images: a JSON file that is read again when it changes, so a test can add an image while the node
// runs.
type Images struct {
	path string

	mu       sync.Mutex
	modified time.Time
	size     int64
	table    []*Image
}

var _ internalapi.ImageManagerService = (*Images)(nil)

// LoadImages reads the table and fails when it cannot be used.
func LoadImages(path string) (*Images, error) {
	images := &Images{path: path}
	_, err := images.current()
	return images, err
}

func (i *Images) current() ([]*Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	status, err := os.Stat(i.path)
	if err != nil {
		return nil, err
	}
	if i.table != nil && status.ModTime().Equal(i.modified) && status.Size() == i.size {
		return i.table, nil
	}
	bytes, err := os.ReadFile(i.path)
	if err != nil {
		return nil, err
	}
	table, err := parseImages(bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.path, err)
	}
	i.table, i.modified, i.size = table, status.ModTime(), status.Size()
	return table, nil
}

func parseImages(text []byte) ([]*Image, error) {
	table := []*Image{}
	if err := json.Unmarshal(text, &table); err != nil {
		return nil, err
	}
	for index, image := range table {
		var err error
		if image.Match == "" || image.Rootfs == "" {
			return nil, fmt.Errorf("entry %d: match and rootfs are needed", index)
		}
		if image.expression, err = regexp.Compile(image.Match); err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		if image.Rootfs != "host" && image.Rootfs[0] != '/' {
			return nil, fmt.Errorf("entry %d: rootfs %q is neither \"host\" nor an absolute path", index, image.Rootfs)
		}
	}
	return table, nil
}

// find returns the first entry that matches a name.
func (i *Images) find(name string) (*Image, error) {
	table, err := i.current()
	if err != nil {
		return nil, err
	}
	for _, image := range table {
		if image.expression.MatchString(name) {
			return image, nil
		}
	}
	return nil, fmt.Errorf("image %q is not in the test bed's table %s: nothing here downloads images", name, i.path)
}

// digest stands for the image's: the same name and entry give the same.
func (image *Image) digest(name string) string {
	sum := sha256.Sum256([]byte(name + "\x00" + image.Match + "\x00" + image.Rootfs))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ListImages lists nothing: there is nothing that the kubelet could collect.
func (i *Images) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return nil, nil
}

// ImageStatus describes an image of the table. An unknown one is not an error but absent, and is then "pulled".
func (i *Images) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	image, err := i.find(spec.GetImage())
	if err != nil {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{
		Id: image.digest(spec.GetImage()), RepoTags: []string{spec.GetImage()}, Size: 1, Uid: &runtimeapi.Int64Value{Value: image.User},
		Spec: spec, Pinned: true,
	}}, nil
}

// PullImage finds the image in the table or says that it is not there.
func (i *Images) PullImage(_ context.Context, spec *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	image, err := i.find(spec.GetImage())
	if err != nil {
		return "", err
	}
	return image.digest(spec.GetImage()), nil
}

// RemoveImage removes nothing: the table is not the kubelet's.
func (i *Images) RemoveImage(context.Context, *runtimeapi.ImageSpec) error { return nil }

// ImageFsInfo reports no file systems.
func (i *Images) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}

// Close has nothing to close.
func (i *Images) Close(context.Context) error { return nil }
