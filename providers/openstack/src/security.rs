//! The security group that opens nodes to one load balancer: to the subnets from which it reaches them, and where clients come with their own addresses, to
//! these. Pure.

use std::collections::BTreeSet;

use causeway_api::{Family, LbKey, ObjectRef, Problem, Protocol};
use ipnet::IpNet;

use crate::facts::{Facts, NOT_KNOWN};
use crate::inventory::Subnet;
use crate::naming;
use crate::stack::{
    OctaviaStack, ResourceType, SECURITY_GROUP, SecurityGroupRuleSpec, SecurityGroupSpec, Token,
};

/// What is opened on nodes for one load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    rules: BTreeSet<(Protocol, u16, IpNet)>,
    /// The nodes' ports.
    pub ports: BTreeSet<String>,
}

/// What is opened for one pool.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// Whose it is.
    pub object: &'a ObjectRef,
    /// Protocol.
    pub protocol: Protocol,
    /// NodePort.
    pub node_port: u16,
    /// Port of the health monitor.
    pub monitor_port: Option<u16>,
    /// Families by which nodes are reached.
    pub families: &'a [Family],
    /// Networks of clients, where nodes see their addresses.
    pub clients: &'a [IpNet],
}

impl Opened {
    /// Opens nodes for a pool, to the load balancer in these subnets.
    pub fn pool<'s>(
        &mut self,
        facts: &Facts,
        pool: Pool<'_>,
        subnets: impl Iterator<Item = &'s String>,
        problems: &mut Vec<Problem>,
    ) {
        let of_families = |net: &IpNet| pool.families.contains(&Family::of(&net.addr()));
        let mut from: BTreeSet<IpNet> = BTreeSet::new();
        for id in subnets {
            match facts.cloud.subnet(id).and_then(Subnet::net) {
                Some(net) => {
                    from.insert(net);
                }
                None => problems.push(Problem::error(
                    pool.object.clone(),
                    "spec",
                    NOT_KNOWN,
                    format!("the range of subnet {id} is not known, nodes are not opened to it: the inventory needs it in the answer to \"GET /v2.0/subnets\""),
                )),
            }
        }
        from.retain(of_families);
        if let Some(port) = pool.monitor_port {
            self.rules.extend(from.iter().map(|net| (Protocol::Tcp, port, *net)));
        }
        from.extend(pool.clients.iter().copied().filter(of_families));
        self.rules.extend(from.into_iter().map(|net| (pool.protocol, pool.node_port, net)));
    }
}

/// Puts the group into a stack.
pub fn secure(stack: &mut OctaviaStack, key: &LbKey, facts: &Facts, opened: Opened) {
    let described = format!("Security group for {} of cluster {}", key.id(), facts.cluster.name);
    let description = stack.mark.description(&described);
    stack.security_group = Some(SecurityGroupSpec { name: naming::security_group(key), description });
    stack.node_ports = opened.ports;
    for (protocol, port, net) in opened.rules {
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        let spec = SecurityGroupRuleSpec {
            security_group_id: Token::of(ResourceType::SecurityGroup, SECURITY_GROUP),
            direction: "ingress",
            ethertype: if net.addr().is_ipv4() { "IPv4" } else { "IPv6" },
            protocol,
            port_range_min: port,
            port_range_max: port,
            remote_ip_prefix: net,
        };
        stack.security_group_rules.insert(format!("{protocol}-{port}-{net}"), spec);
    }
}
