// Package clusterdns answers DNS queries for Services of the cluster, as the cluster's DNS does, from the API server and on
// demand: a node asks for the few names that its pods use and watches nothing.
//
// Records: A and AAAA of NAME.NAMESPACE.svc.DOMAIN for Services with an address; of headless Services, the addresses of
// their ready endpoints; CNAME of ExternalName Services; names given by hand; and those of a file, which may come and
// change at any time. Everything else does not exist: the bed has no other DNS.
//
// I/O: UDP and TCP sockets, the Kubernetes API, the file. parse and answer are pure.
package clusterdns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	domain = "cluster.local"
	// ttl is short, in seconds: tests delete Services and make them again.
	ttl = 1
	// patience is how long one look-up at the API server may take.
	patience = 3 * time.Second
)

// Server answers for Services if it has a client, and for the names of Hosts and HostsFile always.
type Server struct {
	Client kubernetes.Interface
	// Hosts maps lower-case names without the final dot to addresses.
	Hosts map[string][]netip.Addr
	// HostsFile has the form of /etc/hosts. It is read at each look-up: its writer tells nobody. Empty: there is none.
	HostsFile string

	mu    sync.Mutex
	cache map[string]cached
}

type cached struct {
	records records
	until   time.Time
}

// records is what is known of a name. A name without records that exists is not the same as one that does not.
type records struct {
	exists    bool
	addresses []netip.Addr
	alias     string
}

// Serve answers on an address until the process ends.
func (s *Server) Serve(address netip.AddrPort) error {
	packets, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
	if err != nil {
		packets.Close()
		return fmt.Errorf("DNS: %w", err)
	}
	go s.servePackets(packets)
	go s.serveConnections(listener)
	return nil
}

func (s *Server) servePackets(packets *net.UDPConn) {
	buffer := make([]byte, 4096)
	for {
		n, from, err := packets.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		query := slices.Clone(buffer[:n])
		go func() {
			if reply := s.reply(query); reply != nil {
				// A lost reply is asked for again.
				_, _ = packets.WriteToUDPAddrPort(reply, from)
			}
		}()
	}
}

func (s *Server) serveConnections(listener *net.TCPListener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			for {
				_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
				var size [2]byte
				if _, err := io.ReadFull(connection, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(connection, query); err != nil {
					return
				}
				reply := s.reply(query)
				if reply == nil {
					return
				}
				if _, err := connection.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
					return
				}
			}
		}()
	}
}

// reply returns nil for what is no query.
func (s *Server) reply(query []byte) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil || header.Response {
		return nil
	}
	question, err := parser.Question()
	if err != nil {
		return nil
	}
	found, err := s.lookUp(strings.ToLower(strings.TrimSuffix(question.Name.String(), ".")))
	reply, err := answer(header, question, found, err)
	if err != nil {
		return nil
	}
	return reply
}

// answer builds a reply; failure is why the name could not be looked up.
func answer(header dnsmessage.Header, question dnsmessage.Question, found records, failure error) ([]byte, error) {
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, OpCode: header.OpCode, Authoritative: true,
			RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{question},
	}
	switch {
	case failure != nil:
		reply.RCode = dnsmessage.RCodeServerFailure
	case !found.exists:
		reply.RCode = dnsmessage.RCodeNameError
	}
	head := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: ttl}
	if found.alias != "" {
		alias, err := dnsmessage.NewName(strings.TrimSuffix(found.alias, ".") + ".")
		if err != nil {
			return nil, err
		}
		head.Type = dnsmessage.TypeCNAME
		reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: alias}})
	}
	for _, address := range found.addresses {
		switch {
		case address.Is4() && question.Type == dnsmessage.TypeA:
			head.Type = dnsmessage.TypeA
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: address.As4()}})
		case address.Is6() && question.Type == dnsmessage.TypeAAAA:
			head.Type = dnsmessage.TypeAAAA
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}})
		}
	}
	return reply.Pack()
}

func (s *Server) lookUp(name string) (records, error) {
	if addresses, ok := s.Hosts[name]; ok {
		return records{exists: true, addresses: addresses}, nil
	}
	if s.HostsFile != "" {
		hosts, err := readHosts(s.HostsFile)
		if err != nil {
			return records{}, err
		}
		if addresses, ok := hosts[name]; ok {
			return records{exists: true, addresses: addresses}, nil
		}
	}
	service, namespace, ok := parse(name)
	if !ok || s.Client == nil {
		return records{}, nil
	}
	s.mu.Lock()
	known, ok := s.cache[name]
	s.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.records, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found, err := s.fetch(ctx, service, namespace)
	if err != nil {
		return records{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil || len(s.cache) > 1000 {
		s.cache = map[string]cached{}
	}
	s.cache[name] = cached{found, time.Now().Add(ttl * time.Second)}
	return found, nil
}

// parse takes the name of a Service apart.
func parse(name string) (service, namespace string, ok bool) {
	rest, ok := strings.CutSuffix(name, ".svc."+domain)
	if !ok {
		return "", "", false
	}
	service, namespace, ok = strings.Cut(rest, ".")
	if !ok || service == "" || namespace == "" || strings.Contains(namespace, ".") {
		return "", "", false
	}
	return service, namespace, true
}

func (s *Server) fetch(ctx context.Context, name, namespace string) (records, error) {
	service, err := s.Client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return records{}, nil
	}
	if err != nil {
		return records{}, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return records{exists: true, alias: service.Spec.ExternalName}, nil
	}
	found := records{exists: true}
	if service.Spec.ClusterIP != corev1.ClusterIPNone {
		for _, text := range service.Spec.ClusterIPs {
			if address, err := netip.ParseAddr(text); err == nil {
				found.addresses = append(found.addresses, address)
			}
		}
		return found, nil
	}
	slices, err := s.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + name,
	})
	if err != nil {
		return records{}, err
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready && !service.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, text := range endpoint.Addresses {
				if address, err := netip.ParseAddr(text); err == nil {
					found.addresses = append(found.addresses, address)
				}
			}
		}
	}
	return found, nil
}
