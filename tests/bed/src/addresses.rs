//! Every address of the bed's network. Pure: a node's addresses are a function of its number.
//!
//! ```text
//!   cp .1   client .100   node1 .11   node2 .12  ...        remote 198.51.100.7   e2e 198.51.100.8
//!    |          |            |           |                        |                    |
//!    +----------+-----+------+-----------+--- lan: br0            +--- wan ---+--------+
//!                     | 10.77.0.254                                           | 198.51.100.1
//!                     +------------------------- router ----------------------+
//! ```
//! Addresses of load balancers lie on the nodes' segment (`10.77.100.0/24`, `fd77::100:0/112`), so every host of the segment,
//! the router too, asks for them by ARP and NDP. IPv6 counterparts end in the same digits: `10.77.0.11` and `fd77::11`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Most nodes a bed can have; more are Node objects without a data plane ("hollow").
pub const MAX_NODES: usize = 50;
/// The control plane, seen from nodes and clients.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The control plane's IPv6 address.
pub const CONTROL_PLANE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// TCP port of the API server.
pub const API_PORT: u16 = 6443;
/// The client on the nodes' segment.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// A second address of that client, outside the nodes' /16; nodes reach it without the router.
pub const CLIENT_FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 100);
/// IPv6 address of the client on the nodes' segment.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100);
/// The router's address on the nodes' segment, their default gateway.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// The router's IPv6 address on the nodes' segment.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x254);
/// A second router between the same two networks, if a test asks for it.
pub const ROUTER_2: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 253);
/// IPv6 address of the second router on the nodes' segment.
pub const ROUTER_2_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x253);
/// A router behind the router, two hops from the nodes, if a test asks for it.
pub const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// IPv6 address of the router behind the router.
pub const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 9);
/// The client behind the router.
pub const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// IPv6 address of the client behind the router.
pub const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 7);
/// Where the upstream e2e suite runs: behind the router too, ICMP "unreachable" from there is dropped (see `topology`).
pub const E2E: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
/// The clouds of the bed on the nodes' segment: their API, and the side from which their load balancers reach nodes.
pub const CLOUD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 240);
/// The clouds of the bed among the clients behind the router. Their load balancers have 198.51.100.32 to 198.51.100.254.
pub const CLOUD_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The OpenStack of the bed on the nodes' segment: its APIs, and the side from which its load balancers reach nodes. Their own addresses are 10.77.128.0 to 10.77.191.250 and
/// fd77::1:0:0 to fd77::1:ffff:ffff.
pub const OPENSTACK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 241);
/// IPv6 address of the OpenStack of the bed on the nodes' segment.
pub const OPENSTACK_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x241);
/// The OpenStack of the bed among the clients behind the router: the way to its floating IPs.
pub const OPENSTACK_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 4);
/// IPv6 address of the OpenStack of the bed among the clients behind the router.
pub const OPENSTACK_OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 4);
/// The external network of the OpenStack of the bed.
pub const OPENSTACK_PUBLIC: [&str; 3] = ["203.0.113.0/24", "198.18.0.0/16", "2001:db8:113::/64"];
/// Prefixes of which a test may take load balancer addresses.
pub const LB_RANGES: [&str; 2] = ["10.77.100.0/24", "fd77::100:0/112"];
/// Prefixes of which a test may take load balancer addresses that lie on no segment: only a route leads there.
pub const ROUTED_RANGES: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/64"];
/// Service cluster IPs.
pub const SERVICE_RANGES: &str = "10.96.0.0/16,fd00:10:96::/112";
/// Cluster IP of the `kubernetes` Service.
pub const API_CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// All Pod addresses of the cluster.
pub const POD_RANGES: &str = "10.244.0.0/16,fd00:10:244::/48";

/// What a node is called and how it is reached.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// 1-based number.
    pub number: usize,
    /// Name of the Node object, of the network namespace and of the port on the segment's bridge.
    pub name: String,
    /// MAC address of its NIC `eth0`: `02:77:00:00:00:<number>`.
    pub mac: String,
    /// Address on the segment.
    pub v4: Ipv4Addr,
    /// IPv6 address on the segment.
    pub v6: Ipv6Addr,
    /// Its Pods' addresses, CIDR.
    pub pods_v4: String,
    /// Its Pods' IPv6 addresses, CIDR.
    pub pods_v6: String,
}

impl NodeAddresses {
    /// The addresses of node `number` (1 to [`MAX_NODES`]).
    pub fn of(number: usize) -> NodeAddresses {
        debug_assert!((1..=MAX_NODES).contains(&number));
        let last = 10 + number.min(MAX_NODES);
        // The digits of the IPv4 address read as hexadecimal ones: 11 becomes ::11.
        let low = u16::from_str_radix(&last.to_string(), 16).unwrap_or_default();
        NodeAddresses {
            number,
            name: format!("node{number}"),
            mac: format!("02:77:00:00:00:{number:02x}"),
            v4: Ipv4Addr::new(10, 77, 0, last as u8),
            v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, low),
            pods_v4: format!("10.244.{number}.0/24"),
            pods_v6: format!("fd00:10:244:{number:x}::/64"),
        }
    }

    /// Both addresses, as `--node-ips` wants them.
    pub fn ips(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_addresses_follow_its_number() {
        let node = NodeAddresses::of(1);
        assert_eq!(node.v4.to_string(), "10.77.0.11");
        assert_eq!(node.v6.to_string(), "fd77::11");
        assert_eq!(node.pods_v6, "fd00:10:244:1::/64");
        let last = NodeAddresses::of(MAX_NODES);
        assert_eq!(last.v4.to_string(), "10.77.0.60");
        assert_eq!(last.v6.to_string(), "fd77::60");
        assert_eq!(last.mac, "02:77:00:00:00:32");
    }
}
