package cri

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestCommand(t *testing.T) {
	image := &Image{Command: []string{"/entry"}, Args: []string{"default"}}
	for _, test := range []struct {
		name             string
		entrypoint, args []string
		want             []string
	}{
		{"nothing given", nil, nil, []string{"/entry", "default"}},
		{"arguments replace the image's", nil, []string{"a", "b"}, []string{"/entry", "a", "b"}},
		{"a command replaces both", []string{"/other"}, nil, []string{"/other"}},
		{"command and arguments", []string{"/other"}, []string{"a"}, []string{"/other", "a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := command(image, test.entrypoint, test.args); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestEnvironmentOfContainerWinsOverImage(t *testing.T) {
	image := &Image{Rootfs: "/image", Env: map[string]string{"A": "image", "B": "image"}}
	own := []*runtimeapi.KeyValue{{Key: "B", Value: []byte("own")}, {Key: "HOME", Value: []byte("/elsewhere")}}
	got := environment(image, own, "name", 0, false)
	want := []string{"A=image", "B=own", "HOME=/elsewhere", "HOSTNAME=name", "PATH=" + defaultPath}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestToolsComeFirstOnTheMachinesRoot(t *testing.T) {
	got := environment(&Image{Rootfs: "host"}, nil, "", 1, false)
	if !slices.Contains(got, "PATH="+toolsFolder+":"+defaultPath) {
		t.Errorf("got %v", got)
	}
}

func TestAddressesAreNotReusedAtOnce(t *testing.T) {
	pool := newAddressPool(netip.MustParsePrefix("10.0.0.0/29"))
	var seen []string
	for range 2 {
		address, err := pool.take()
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, address.String())
		pool.giveBack(address)
	}
	if want := []string{"10.0.0.2", "10.0.0.3"}; !slices.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
}

func TestPoolEndsWithAnErrorAndGoesOnWhenOneIsGivenBack(t *testing.T) {
	pool := newAddressPool(netip.MustParsePrefix("10.0.0.0/29"))
	taken := map[netip.Addr]bool{}
	for range 5 {
		address, err := pool.take()
		if err != nil {
			t.Fatal(err)
		}
		taken[address] = true
	}
	if len(taken) != 5 {
		t.Errorf("an address was given twice: %v", taken)
	}
	if address, err := pool.take(); err == nil {
		t.Errorf("an exhausted pool gave %s", address)
	}
	back := netip.MustParseAddr("10.0.0.4")
	pool.giveBack(back)
	if address, err := pool.take(); err != nil || address != back {
		t.Errorf("got %s, %v, want %s", address, err, back)
	}
}

func TestPoolOfIPv6(t *testing.T) {
	pool := newAddressPool(netip.MustParsePrefix("fd00:10:244:1::/64"))
	if address, err := pool.take(); err != nil || address.String() != "fd00:10:244:1::2" {
		t.Errorf("got %s, %v", address, err)
	}
}

func TestLogEntries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	stream := log.stream("stdout")
	for _, part := range []string{"one\ntw", "o\n", strings.Repeat("x", longestEntry+1), "\nend"} {
		if _, err := stream.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	stream.flush()
	log.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		_, rest, _ := strings.Cut(line, " ")
		if len(rest) > 100 {
			rest = rest[:len("stdout P ")] + "..."
		}
		got = append(got, rest)
	}
	want := []string{"stdout F one", "stdout F two", "stdout P ...", "stdout F x", "stdout P end"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestImagesTable(t *testing.T) {
	for name, text := range map[string]string{
		"no match":         `[{"rootfs": "host"}]`,
		"bad expression":   `[{"match": "(", "rootfs": "host"}]`,
		"relative root":    `[{"match": "a", "rootfs": "folder"}]`,
		"not a list":       `{}`,
		"wrong type":       `[{"match": "a", "rootfs": "host", "user": "root"}]`,
		"rootfs forgotten": `[{"match": "a"}]`,
	} {
		if table, err := parseImages([]byte(text)); err == nil {
			t.Errorf("%s was accepted: %v", name, table)
		}
	}
	path := filepath.Join(t.TempDir(), "images.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"match": "^known:", "rootfs": "host"}]`)
	images, err := LoadImages(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := images.find("known:1"); err != nil {
		t.Error(err)
	}
	if _, err := images.find("other:1"); err == nil {
		t.Error("an unknown image was found")
	}
	write(`[{"match": "^known:", "rootfs": "host"}, {"match": "^other:", "rootfs": "host"}]`)
	if _, err := images.find("other:1"); err != nil {
		t.Errorf("the changed table was not read: %v", err)
	}
}
