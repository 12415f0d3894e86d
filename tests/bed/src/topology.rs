//! The bed's network as one shell script. Pure: data in, text out; `bed` runs it inside the bed's mount namespace.
//!
//! Namespace `lan` holds the segment's bridge `br0`; every other namespace on the segment has a NIC `eth0` whose other end is a port of
//! that bridge named after the namespace. `router` joins the segment to a second bridge `wan` with the clients behind it. No link leads to
//! the root namespace. Nodes have routes to one another's Pods, and masquerade Pods that talk to anything but Pods, as simple CNI
//! plugins do. Duplicate address detection is off, so that addresses work at once.

use std::fmt::Write;

use crate::addresses::*;

const SYSCTLS: &str = "net/ipv6/conf/all/accept_dad=0 net/ipv6/conf/default/accept_dad=0 \
    net/ipv6/conf/all/dad_transmits=0 net/ipv6/conf/default/dad_transmits=0 \
    net/ipv6/conf/all/accept_ra=0 net/ipv6/conf/default/accept_ra=0 \
    net/ipv4/conf/all/rp_filter=0 net/ipv4/conf/default/rp_filter=0";

const FORWARDING: &str =
    "net/ipv4/ip_forward=1 net/ipv6/conf/all/forwarding=1 net/ipv6/conf/default/forwarding=1";

/// Collects the commands of one namespace for `ip -batch`.
struct Script {
    text: String,
}

impl Script {
    fn new() -> Script {
        Script {
            text: "set -e\nnet() { ns=$1; shift; nsenter --net=/run/netns/$ns sh -c \
                   'for s; do echo ${s#*=} >/proc/sys/${s%%=*}; done' sh \"$@\"; }\n"
                .to_owned(),
        }
    }

    fn namespace(&mut self, name: &str, forwards: bool) {
        let forwarding = if forwards { FORWARDING } else { "" };
        let _ = writeln!(self.text, "ip netns add {name}\nnet {name} {SYSCTLS} {forwarding}");
        let _ = writeln!(self.text, "ip -n {name} link set lo up");
    }

    fn ip(&mut self, namespace: &str, commands: &str) {
        let _ = writeln!(self.text, "ip -n {namespace} -batch - <<'END'");
        for line in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let _ = writeln!(self.text, "{line}");
        }
        let _ = writeln!(self.text, "END");
    }

    fn nft(&mut self, namespace: &str, rules: &str) {
        let _ = writeln!(self.text, "nsenter --net=/run/netns/{namespace} nft -f - <<'END'\n{rules}\nEND");
    }
}

/// The commands that give a node its NIC, in namespace `lan` and then in the node's: also used to plug a NIC in again.
pub fn node_nic(node: &NodeAddresses, all: &[NodeAddresses]) -> (String, String) {
    let NodeAddresses { name, mac, v4, v6, .. } = node;
    let lan = format!(
        "link add {name} type veth peer name eth0 address {mac} netns {name}
         link set {name} master br0 up"
    );
    let mut inside = format!(
        "link set eth0 up
         addr add {v4}/16 brd + dev eth0
         addr add {v6}/64 dev eth0 nodad
         route add default via {ROUTER} dev eth0
         route add 10.78.0.0/16 dev eth0
         route add default via {ROUTER_V6} dev eth0\n"
    );
    for other in all.iter().filter(|other| other.number != node.number) {
        let NodeAddresses { v4, v6, pods_v4, pods_v6, .. } = other;
        let _ = writeln!(inside, "route add {pods_v4} via {v4}\nroute add {pods_v6} via {v6}");
    }
    (lan, inside)
}

/// The whole network for these nodes.
pub fn script(nodes: &[NodeAddresses]) -> String {
    let mut script = Script::new();
    for (name, forwards) in [
        ("lan", false),
        ("cp", false),
        ("client", false),
        ("router", true),
        ("remote", false),
        ("e2e", false),
    ] {
        script.namespace(name, forwards);
    }
    for node in nodes {
        script.namespace(&node.name, true);
    }
    let mut lan =
        "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n".to_owned();
    for (name, mac) in
        [("cp", "02:77:00:00:01:01"), ("client", "02:77:00:00:01:02"), ("router", "02:77:00:00:01:03")]
    {
        let _ = writeln!(lan, "link add {name} type veth peer name eth0 address {mac} netns {name}");
        let _ = writeln!(lan, "link set {name} master br0 up");
    }
    for node in nodes {
        lan.push_str(&node_nic(node, nodes).0);
        lan.push('\n');
    }
    script.ip("lan", &lan);

    let mut cp = format!(
        "link set eth0 up
         addr add {CONTROL_PLANE}/16 brd + dev eth0
         addr add {CONTROL_PLANE_V6}/64 dev eth0 nodad
         route add default via {ROUTER}
         route add default via {ROUTER_V6}\n"
    );
    // The API server reaches Pods, for webhooks and `kubectl proxy`.
    for NodeAddresses { v4, v6, pods_v4, pods_v6, .. } in nodes {
        let _ = writeln!(cp, "route add {pods_v4} via {v4}\nroute add {pods_v6} via {v6}");
    }
    script.ip("cp", &cp);
    script.ip(
        "client",
        &format!(
            "link set eth0 up
             addr add {CLIENT}/16 brd + dev eth0
             addr add {CLIENT_FOREIGN}/16 brd + dev eth0
             addr add {CLIENT_V6}/64 dev eth0 nodad
             route add default via {ROUTER}
             route add default via {ROUTER_V6}"
        ),
    );
    script.ip(
        "router",
        &format!(
            "link set eth0 up
             addr add {ROUTER}/16 brd + dev eth0
             addr add {ROUTER_V6}/64 dev eth0 nodad
             link add wan type bridge stp_state 0 forward_delay 0 mcast_snooping 0
             link set wan up
             addr add 198.51.100.1/24 brd + dev wan
             addr add 2001:db8:51::1/64 dev wan nodad
             link add remote type veth peer name eth0 address 02:77:00:00:02:07 netns remote
             link add e2e type veth peer name eth0 address 02:77:00:00:02:08 netns e2e
             link set remote master wan up
             link set e2e master wan up"
        ),
    );
    for (name, v4, v6) in
        [("remote", REMOTE, REMOTE_V6.to_string()), ("e2e", E2E, "2001:db8:51::8".to_owned())]
    {
        script.ip(
            name,
            &format!(
                "link set eth0 up
                 addr add {v4}/24 brd + dev eth0
                 addr add {v6}/64 dev eth0 nodad
                 route add default via 198.51.100.1
                 route add default via 2001:db8:51::1"
            ),
        );
    }
    // The upstream suite takes silence for "closed" but an ICMP "host unreachable" for an error of its own, and a router says just that of
    // an address that nobody answers for any more.
    script.nft(
        "e2e",
        "table inet bed { chain input { type filter hook input priority 0;
           icmp type destination-unreachable icmp code { 0, 1 } drop
           icmpv6 type destination-unreachable icmpv6 code { 0, 3 } drop; }; }",
    );
    for node in nodes {
        script.ip(&node.name, &node_nic(node, nodes).1);
        let NodeAddresses { pods_v4, pods_v6, .. } = node;
        let (cluster_v4, cluster_v6) = POD_RANGES.split_once(',').unwrap_or_default();
        script.nft(
            &node.name,
            &format!(
                "table inet bed {{ chain postrouting {{ type nat hook postrouting priority srcnat + 10;
                   oifname \"eth0\" ip saddr {pods_v4} ip daddr != {cluster_v4} masquerade
                   oifname \"eth0\" ip6 saddr {pods_v6} ip6 daddr != {cluster_v6} masquerade; }}; }}"
            ),
        );
    }
    script.text
}

/// Name of the second router's namespace.
pub const SECOND_ROUTER: &str = "router2";
/// Name of the namespace of the router behind the router.
pub const FAR_ROUTER: &str = "far";

/// A second router: on the nodes' segment and on the clients' network as the first one is. Nobody's default route leads to it.
pub fn second_router() -> String {
    let mut script = Script::new();
    script.namespace(SECOND_ROUTER, true);
    script.ip(
        "lan",
        &format!(
            "link add {SECOND_ROUTER} type veth peer name eth0 address 02:77:00:00:01:04 netns {SECOND_ROUTER}
             link set {SECOND_ROUTER} master br0 up"
        ),
    );
    script.ip(
        "router",
        &format!(
            "link add {SECOND_ROUTER} type veth peer name wan address 02:77:00:00:02:03 netns {SECOND_ROUTER}
             link set {SECOND_ROUTER} master wan up"
        ),
    );
    script.ip(
        SECOND_ROUTER,
        &format!(
            "link set eth0 up
             addr add {ROUTER_2}/16 brd + dev eth0
             addr add {ROUTER_2_V6}/64 dev eth0 nodad
             link set wan up
             addr add 198.51.100.3/24 brd + dev wan
             addr add 2001:db8:51::3/64 dev wan nodad"
        ),
    );
    script.text
}

/// A router among the clients behind the router: it reaches the nodes, and they it, in two hops.
pub fn far_router() -> String {
    let mut script = Script::new();
    script.namespace(FAR_ROUTER, true);
    script.ip(
        "router",
        &format!(
            "link add {FAR_ROUTER} type veth peer name eth0 address 02:77:00:00:02:09 netns {FAR_ROUTER}
             link set {FAR_ROUTER} master wan up"
        ),
    );
    script.ip(
        FAR_ROUTER,
        &format!(
            "link set eth0 up
             addr add {FAR}/24 brd + dev eth0
             addr add {FAR_V6}/64 dev eth0 nodad
             route add default via 198.51.100.1
             route add default via 2001:db8:51::1"
        ),
    );
    script.text
}

/// Name of the namespace of a cloud: its API and its load balancers.
pub const CLOUD_NAMESPACE: &str = "cloud";
const CLOUD_MAC: &str = "02:77:00:00:01:05";

/// A cloud: on the nodes' segment, where its API is and from where its load balancers reach nodes, and among the clients behind the router, where its load balancers are
/// reached. It forwards nothing itself.
pub fn cloud() -> String {
    let mut script = Script::new();
    script.namespace(CLOUD_NAMESPACE, false);
    // Whatever comes in by eth0 is its own, answers to clients whose addresses it takes among it; it must not say so to those who ask for neighbours.
    let _ = writeln!(script.text, "net {CLOUD_NAMESPACE} net/ipv4/conf/all/arp_ignore=1");
    script.ip(
        "lan",
        &format!(
            "link add {CLOUD_NAMESPACE} type veth peer name eth0 address {CLOUD_MAC} netns {CLOUD_NAMESPACE}
             link set {CLOUD_NAMESPACE} master br0 up"
        ),
    );
    script.ip(
        "router",
        &format!(
            "link add {CLOUD_NAMESPACE} type veth peer name wan address 02:77:00:00:02:05 netns {CLOUD_NAMESPACE}
             link set {CLOUD_NAMESPACE} master wan up"
        ),
    );
    script.ip(
        CLOUD_NAMESPACE,
        &format!(
            "link set eth0 up
             addr add {CLOUD}/16 brd + dev eth0
             link set wan up
             addr add {CLOUD_OUTSIDE}/24 brd + dev wan
             route add default via {ROUTER}
             route add 10.78.0.0/16 dev eth0
             route add local default dev lo table {KEPT}
             rule add iif eth0 lookup {KEPT}"
        ),
    );
    script.text
}

/// Name of the namespace of an OpenStack: its services and its load balancers.
pub const OPENSTACK_NAMESPACE: &str = "openstack";

/// An OpenStack: on the nodes' segment as [`cloud`] is, and the next hop to its external network. It forwards: datagrams for load balancers go through its kernel. haproxy may listen at
/// an address before the namespace has it.
pub fn openstack() -> String {
    let mut script = Script::new();
    let name = OPENSTACK_NAMESPACE;
    script.namespace(name, true);
    let _ = writeln!(script.text, "net {name} net/ipv4/ip_nonlocal_bind=1 net/ipv6/ip_nonlocal_bind=1");
    script.ip(
        "lan",
        &format!(
            "link add {name} type veth peer name eth0 address 02:77:00:00:01:06 netns {name}
             link set {name} master br0 up"
        ),
    );
    let [first, second, v6] = OPENSTACK_PUBLIC;
    script.ip(
        "router",
        &format!(
            "link add {name} type veth peer name wan address 02:77:00:00:02:06 netns {name}
             link set {name} master wan up
             route add {first} via {OPENSTACK_OUTSIDE}
             route add {second} via {OPENSTACK_OUTSIDE}
             route add {v6} via {OPENSTACK_OUTSIDE_V6}"
        ),
    );
    script.ip(
        name,
        &format!(
            "link set eth0 up
             addr add {OPENSTACK}/16 brd + dev eth0
             addr add {OPENSTACK_V6}/64 dev eth0 nodad
             link set wan up
             addr add {OPENSTACK_OUTSIDE}/24 brd + dev wan
             addr add {OPENSTACK_OUTSIDE_V6}/64 dev wan nodad
             route add default via {ROUTER}
             route add default via {ROUTER_V6}
             route add 10.78.0.0/16 dev eth0"
        ),
    );
    script.text
}

/// Routing table and packet mark of connections that keep their clients' addresses on the way through a cloud's load balancer.
const KEPT: u32 = 165;

/// What makes a node send answers back to the load balancer that a connection came through, whatever the client's address: a cloud's network does this where load
/// balancers keep those addresses. In the cloud's namespace all that comes from the segment is its own (see [`cloud`]).
pub fn answers_through_cloud(node: &NodeAddresses) -> String {
    let name = &node.name;
    let mut script = Script::new();
    // A second time it replaces what the first one made.
    let _ = writeln!(script.text, "ip -n {name} rule del fwmark {KEPT} 2>/dev/null || true");
    script.ip(
        name,
        &format!(
            "rule add fwmark {KEPT} lookup {KEPT}
             route replace default via {CLOUD} dev eth0 table {KEPT}"
        ),
    );
    script.nft(
        name,
        &format!(
            "add table ip cloud
             delete table ip cloud
             table ip cloud {{
               chain arriving {{ type filter hook prerouting priority mangle;
                 iifname \"eth0\" ether saddr {CLOUD_MAC} ct direction original ct mark set {KEPT}
                 ct direction reply ct mark {KEPT} meta mark set {KEPT}; }}
               chain leaving {{ type route hook output priority mangle;
                 ct direction reply ct mark {KEPT} meta mark set {KEPT}; }}
             }}"
        ),
    );
    script.text
}

/// The names of the NICs at the ends of a [`cable`].
pub fn cable_ends(left: &str, right: &str) -> (String, String) {
    (format!("to-{right}"), format!("to-{left}"))
}

/// A link of their own between two namespaces, with no addresses but link-local ones: what unnumbered BGP runs over.
pub fn cable(left: &str, right: &str) -> String {
    let (at_left, at_right) = cable_ends(left, right);
    let mut script = Script::new();
    script.ip(
        left,
        &format!(
            "link add {at_left} type veth peer name {at_right} netns {right}
             link set {at_left} up"
        ),
    );
    script.ip(right, &format!("link set {at_right} up"));
    script.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_the_way_to_the_other_nodes_pods_but_not_to_its_own() {
        let nodes: Vec<NodeAddresses> = (1..=3).map(NodeAddresses::of).collect();
        let (_, inside) = node_nic(&nodes[1], &nodes);
        assert!(inside.contains("route add 10.244.1.0/24 via 10.77.0.11"));
        assert!(inside.contains("route add fd00:10:244:3::/64 via fd77::13"));
        assert!(!inside.contains("10.244.2.0/24"));
    }

    #[test]
    fn no_link_is_made_outside_of_a_namespace() {
        let nodes: Vec<NodeAddresses> = (1..=2).map(NodeAddresses::of).collect();
        let answers = answers_through_cloud(&nodes[0]);
        let on_demand = [second_router(), far_router(), cloud(), openstack(), cable("router", "node1")];
        let all = [answers, script(&nodes), on_demand.concat()].concat();
        for line in all.lines().filter(|line| line.starts_with("ip ")) {
            assert!(line.starts_with("ip -n ") || line.starts_with("ip netns add "), "{line}");
        }
    }
}
