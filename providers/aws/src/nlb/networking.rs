//! Who may reach the targets of an NLB. Pure.
//!
//! With security groups it is the shared one; without, it is the clients themselves where targets see their addresses, else the load balancer's subnets, which
//! health checks always come from.

use causeway_api::Problem;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::front::{Front, Groups};
use super::member::Served;
use crate::annotations::service;
use crate::facts::Facts;
use crate::security::{self, Opening};
use crate::stack::{
    ElbProtocol, IpAddressType, Networking, NetworkingPort, NetworkingRule, Peer, PortOrName, Scheme, Shared,
    TargetFamily, TargetType, Token,
};

/// All of IPv4.
pub(super) const ALL_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0));
/// All of IPv6.
pub(super) const ALL_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0));

/// How targets are reached.
pub(super) struct Reached {
    pub target_type: TargetType,
    pub protocol: ElbProtocol,
    pub family: TargetFamily,
    /// Number, or name of a container's port.
    pub port: PortOrName,
    /// Port of the health check.
    pub health: PortOrName,
    /// Targets see clients' addresses.
    pub preserves_client: bool,
}

impl Reached {
    fn checks_traffic_port(&self) -> bool {
        self.health == PortOrName::traffic() || self.health == self.port
    }
}

fn tcp(port: Option<PortOrName>) -> NetworkingPort {
    NetworkingPort { protocol: "TCP", port }
}

fn udp(port: Option<PortOrName>) -> NetworkingPort {
    NetworkingPort { protocol: "UDP", port }
}

/// Networks of clients that a Service names, in spec or annotation; `None`: none are named.
pub(super) fn named_sources(served: &Served<'_>, problems: &mut Vec<Problem>) -> Option<Vec<IpNet>> {
    if !served.service.source_ranges.is_empty() {
        return Some(served.service.source_ranges.clone());
    }
    // The usual prefix was read with the spec; this is for the other one.
    let list = served.settings.list(&service::SOURCE_RANGES).filter(|list| !list.is_empty())?;
    let mut networks = Vec::new();
    for text in list {
        match text.parse::<IpNet>() {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => problems.push(served.warn(
                &service::SOURCE_RANGES,
                "InvalidSourceRange",
                format!(
                    "{text:?} is not a network, so no client is let in by it: write such as 192.0.2.0/24"
                ),
            )),
        }
    }
    networks.sort();
    networks.dedup();
    Some(networks)
}

/// Networks that may come in through a load balancer's own group.
pub(super) fn frontend_sources(
    served: &Served<'_>,
    families: IpAddressType,
    problems: &mut Vec<Problem>,
) -> Vec<IpNet> {
    let Some(networks) = named_sources(served, problems) else {
        if served.settings.text(&service::PREFIX_LISTS).is_some() {
            return Vec::new();
        }
        return if families.needs_ipv6() { vec![ALL_V4, ALL_V6] } else { vec![ALL_V4] };
    };
    let (usable, unusable): (Vec<IpNet>, Vec<IpNet>) =
        networks.into_iter().partition(|n| families.needs_ipv6() || matches!(n, IpNet::V4(_)));
    // The unspecified address alone stands for "nobody", of both families.
    for network in unusable.iter().filter(|n| !n.addr().is_unspecified()) {
        problems.push(served.warn(
            &service::SOURCE_RANGES,
            "InvalidSourceRange",
            format!("{network} lets nobody in: the load balancer has no IPv6; set aws-load-balancer-ip-address-type to dualstack, or take it away"),
        ));
    }
    usable
}

/// Who may reach the targets, as the peer's binding says it; `None` where that is not ours to say.
pub(super) fn build(
    facts: &Facts,
    front: &Front,
    served: &Served<'_>,
    reached: &Reached,
    problems: &mut Vec<Problem>,
) -> Option<Networking> {
    if front.groups == Groups::None {
        return front.manages_networks.then(|| by_networks(facts, front, served, reached, problems));
    }
    let from = front.backend.clone()?;
    Some(by_group(facts, from, reached))
}

fn by_group(facts: &Facts, from: Token, reached: &Reached) -> Networking {
    let traffic = || Some(reached.port.clone());
    let mut ports = Vec::new();
    if facts.options.unrestricted_rules {
        ports.push(tcp(None));
        if reached.protocol.has_udp() {
            ports.push(udp(None));
        }
    } else {
        if reached.protocol.has_udp() {
            ports.push(udp(traffic()));
        }
        // Checks of UDP on the traffic port are TCP.
        if reached.protocol.has_tcp() || reached.checks_traffic_port() {
            ports.push(tcp(traffic()));
        }
        if !reached.checks_traffic_port() {
            ports.push(tcp(Some(reached.health.clone())));
        }
    }
    Networking { ingress: vec![NetworkingRule { from: vec![Peer::SecurityGroup(from)], ports }] }
}

/// Blocks of the load balancer's subnets.
fn subnet_blocks(front: &Front, family: TargetFamily) -> Vec<String> {
    let of = |subnet: &crate::inventory::Subnet| match family {
        TargetFamily::Ipv4 => vec![subnet.cidr_block.clone()],
        TargetFamily::Ipv6 => subnet.ipv6_blocks().map(str::to_owned).collect(),
    };
    front.subnets.iter().flat_map(of).collect()
}

/// Who may come where nobody is named: everybody, or the VPC for an internal load balancer.
fn default_sources(facts: &Facts, front: &Front, family: TargetFamily) -> Result<Vec<String>, String> {
    if front.spec.scheme == Scheme::InternetFacing {
        return Ok(vec![match family {
            TargetFamily::Ipv4 => ALL_V4.to_string(),
            TargetFamily::Ipv6 => ALL_V6.to_string(),
        }]);
    }
    let id = &facts.cluster.vpc_id;
    let vpc = facts.aws.vpc(id).map_err(|missing| missing.to_string())?;
    let vpc = vpc.ok_or_else(|| {
        format!("the inventory's DescribeVpcs has no VPC {id}: give the answer for that VPC")
    })?;
    Ok(match family {
        TargetFamily::Ipv4 => vpc.ipv4_blocks().map(str::to_owned).collect(),
        TargetFamily::Ipv6 => vpc.ipv6_blocks().map(str::to_owned).collect(),
    })
}

fn by_networks(
    facts: &Facts,
    front: &Front,
    served: &Served<'_>,
    reached: &Reached,
    problems: &mut Vec<Problem>,
) -> Networking {
    let subnets = subnet_blocks(front, reached.family);
    let mut default_used = false;
    let mut sources = subnets.clone();
    if reached.preserves_client {
        sources = match named_sources(served, problems) {
            Some(networks) => networks.iter().map(ToString::to_string).collect(),
            None => {
                default_used = true;
                default_sources(facts, front, reached.family).unwrap_or_else(|why| {
                    problems.push(Problem::error(served.object(), "", crate::facts::NOT_KNOWN, why));
                    Vec::new()
                })
            }
        };
    }
    let peers = |cidrs: &[String]| cidrs.iter().cloned().map(Peer::IpBlock).collect();
    let traffic = || Some(reached.port.clone());
    let mut ports = Vec::new();
    if reached.protocol.has_tcp() {
        ports.push(tcp(traffic()));
    }
    if reached.protocol.has_udp() {
        ports.push(udp(traffic()));
    }
    let mut ingress = vec![NetworkingRule { from: peers(&sources), ports }];
    // Health checks come from the subnets, which the traffic's own rule may let in already.
    let open = |cidr: &String| *cidr == ALL_V4.to_string() || *cidr == ALL_V6.to_string();
    let covered = reached.protocol.has_tcp()
        && reached.checks_traffic_port()
        && (!reached.preserves_client || default_used || sources.iter().any(open));
    if !covered {
        let port =
            if reached.health == PortOrName::traffic() { traffic() } else { Some(reached.health.clone()) };
        ingress.push(NetworkingRule { from: peers(&subnets), ports: vec![tcp(port)] });
    }
    Networking { ingress }
}

/// Notes the rules that the nodes' groups need.
pub(super) fn open(
    facts: &Facts,
    front: &Front,
    reached: &Reached,
    networking: Option<&Networking>,
    shared: &mut Shared,
) {
    match (networking, &front.backend) {
        (None, _) => {}
        (Some(_), Some(from)) => {
            let opening = Opening {
                target_type: reached.target_type,
                tcp: reached.protocol.has_tcp(),
                udp: reached.protocol.has_udp(),
                health: &reached.health,
            };
            security::open(facts, from, opening, shared);
            if let (TargetType::Instance, PortOrName::Number(port)) = (reached.target_type, &reached.port) {
                // Checks of UDP on the traffic port are TCP.
                let tcp = opening.tcp || reached.checks_traffic_port();
                security::open_stray(facts, from, *port, tcp, opening.udp, shared);
            }
        }
        (Some(networking), None) => security::open_networks(facts, networking, shared),
    }
}
