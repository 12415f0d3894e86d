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
        let all = [script(&nodes), second_router(), far_router(), cable("router", "node1")].concat();
        for line in all.lines().filter(|line| line.starts_with("ip ")) {
            assert!(line.starts_with("ip -n ") || line.starts_with("ip netns add "), "{line}");
        }
    }
}
