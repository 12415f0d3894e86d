package hollow

import (
	"encoding/json"
	"testing"
	"time"
)

func TestNodeIsAsLargeAsARealOne(t *testing.T) {
	options := Options{Prefix: "hollow-", Images: 50}
	text, err := json.Marshal(options.node(7, time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < 14_000 || len(text) > 22_000 {
		t.Errorf("the node has %d bytes", len(text))
	}
}

func TestNodesDoNotShareAddresses(t *testing.T) {
	options := Options{Prefix: "n"}
	owner := map[string]string{}
	for index := range 10_000 {
		node := options.node(index, time.Unix(0, 0))
		values := node.Spec.PodCIDRs
		for _, address := range node.Status.Addresses {
			values = append(values, address.Address)
		}
		for _, value := range values {
			if other, taken := owner[value]; taken {
				t.Fatalf("%s and %s share %s", other, node.Name, value)
			}
			owner[value] = node.Name
		}
	}
}

func TestProviderID(t *testing.T) {
	if id := (Options{Prefix: "n", ProviderID: "aws:///bed-a/i-%s"}).node(3, time.Unix(0, 0)).Spec.ProviderID; id != "aws:///bed-a/i-n3" {
		t.Errorf("got %q", id)
	}
}
