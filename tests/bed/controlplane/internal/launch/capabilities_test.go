package launch

import (
	"slices"
	"testing"
)

func TestCapabilities(t *testing.T) {
	for _, test := range []struct {
		name       string
		privileged bool
		add, drop  []string
		want       []string
	}{
		{name: "default", want: defaultCapabilities},
		{name: "dropping one", drop: []string{"NET_RAW"}, want: without(defaultCapabilities, "NET_RAW")},
		{name: "dropping all", drop: []string{"ALL"}, want: []string{}},
		{name: "adding after dropping all", add: []string{"NET_RAW", "CAP_NET_ADMIN"}, drop: []string{"all"}, want: []string{"NET_ADMIN", "NET_RAW"}},
		{name: "a name both added and dropped is dropped", add: []string{"NET_ADMIN"}, drop: []string{"NET_ADMIN"}, want: defaultCapabilities},
		{name: "adding all but one", add: []string{"ALL"}, drop: []string{"SYS_ADMIN"}, want: without(AllCapabilities(), "SYS_ADMIN")},
		{name: "privileged ignores the rest", privileged: true, drop: []string{"ALL"}, want: AllCapabilities()},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Capabilities(test.privileged, test.add, test.drop)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestUnknownCapabilityIsRefused(t *testing.T) {
	if got, err := Capabilities(false, []string{"NET_ADMIM"}, nil); err == nil {
		t.Errorf("a misspelt capability gave %v", got)
	}
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(have string) bool { return have == name })
}
