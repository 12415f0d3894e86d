package clusterdns

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestParse(t *testing.T) {
	for name, want := range map[string][2]string{
		"web.default.svc.cluster.local":       {"web", "default"},
		"web.default.svc":                     {},
		"pod.web.default.svc.cluster.local":   {},
		"default.svc.cluster.local":           {},
		".default.svc.cluster.local":          {},
		"web.default.svc.cluster.local.other": {},
	} {
		service, namespace, ok := parse(name)
		if got := [2]string{service, namespace}; got != want || ok != (want[0] != "") {
			t.Errorf("%s: got %v, %v", name, got, ok)
		}
	}
}

func TestAnswerHoldsOnlyTheFamilyAskedFor(t *testing.T) {
	found := records{exists: true, addresses: []netip.Addr{netip.MustParseAddr("10.96.0.7"), netip.MustParseAddr("fd00::7")}}
	reply := ask(t, dnsmessage.TypeAAAA, found)
	if len(reply.Answers) != 1 || reply.RCode != dnsmessage.RCodeSuccess {
		t.Fatalf("got %v", reply)
	}
	if body, ok := reply.Answers[0].Body.(*dnsmessage.AAAAResource); !ok || netip.AddrFrom16(body.AAAA) != found.addresses[1] {
		t.Errorf("got %v", reply.Answers[0])
	}
}

func TestNameWithoutRecordOfTheTypeIsNotAnUnknownName(t *testing.T) {
	found := records{exists: true, addresses: []netip.Addr{netip.MustParseAddr("10.96.0.7")}}
	if reply := ask(t, dnsmessage.TypeAAAA, found); reply.RCode != dnsmessage.RCodeSuccess || len(reply.Answers) != 0 {
		t.Errorf("got %v", reply)
	}
	if reply := ask(t, dnsmessage.TypeAAAA, records{}); reply.RCode != dnsmessage.RCodeNameError {
		t.Errorf("got %v", reply)
	}
}

func ask(t *testing.T, kind dnsmessage.Type, found records) dnsmessage.Message {
	t.Helper()
	question := dnsmessage.Question{Name: dnsmessage.MustNewName("web.default.svc.cluster.local."), Type: kind, Class: dnsmessage.ClassINET}
	bytes, err := answer(dnsmessage.Header{ID: 9}, question, found, nil)
	if err != nil {
		t.Fatal(err)
	}
	var reply dnsmessage.Message
	if err := reply.Unpack(bytes); err != nil {
		t.Fatal(err)
	}
	if reply.ID != 9 || !reply.Response {
		t.Errorf("not a reply to the question: %v", reply.Header)
	}
	return reply
}

func TestParseHosts(t *testing.T) {
	hosts, err := ParseHosts("# comment\n192.0.2.1 One two # more\n\n2001:db8::1 one\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(hosts["one"]) != 2 || len(hosts["two"]) != 1 || len(hosts) != 2 {
		t.Errorf("got %v", hosts)
	}
	for _, bad := range []string{"192.0.2.1", "name 192.0.2.1"} {
		if hosts, err := ParseHosts(bad); err == nil {
			t.Errorf("%q gave %v", bad, hosts)
		}
	}
}

func TestNamesOfAFileAreThoseItHoldsNow(t *testing.T) {
	server := Server{HostsFile: filepath.Join(t.TempDir(), "names")}
	if found, err := server.lookUp("web.example"); err != nil || found.exists {
		t.Errorf("before there is a file: got %v, %v", found, err)
	}
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		if err := os.WriteFile(server.HostsFile, []byte(address+" web.example\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		found, err := server.lookUp("web.example")
		if err != nil || len(found.addresses) != 1 || found.addresses[0] != netip.MustParseAddr(address) {
			t.Errorf("got %v, %v", found, err)
		}
	}
	if err := os.WriteFile(server.HostsFile, []byte("web.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if found, err := server.lookUp("web.example"); err == nil {
		t.Errorf("a file that cannot be read gave %v", found)
	}
}
