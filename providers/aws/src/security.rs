//! Security groups: the one in front of each load balancer, the one that all share towards their targets, and the constant number of rules that the
//! nodes' groups need. Pure.
//!
//! A load balancer with groups carries two: its own, which says who may come in, and the shared one, from which the nodes' groups let traffic in: NodePorts
//! as one range for each protocol, the port of the health check, and for pods as targets all ports. So the number of the nodes' rules does not depend on the
//! number of load balancers, ports or client networks. An NLB without groups (as the classic cloud provider makes them) needs rules for each client network
//! and port, which only such load balancers pay for.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::facts::Facts;
use crate::inventory::{Missing, tag};
use crate::naming;
use crate::stack::{
    GroupPair, IpPermission, IpRange, Ipv6Range, Networking, NetworkingPort, Peer, PortOrName, PrefixList,
    ResourceType, SecurityGroupSpec, Shared, TargetType, Token,
};

/// Id of the shared group, among what stacks share.
pub const BACKEND_GROUP: &str = "BackendSecurityGroup";
/// Value of the tag [`causeway_api::names::TAG_RESOURCE`] of the shared group.
pub const BACKEND_RESOURCE: &str = "SecurityGroup/BackendSecurityGroup";
/// Most inbound rules of a security group, by AWS's default quota.
pub const MOST_RULES: usize = 60;
/// Description of a group that is made for a load balancer; the peer's.
pub const MANAGED_DESCRIPTION: &str = "[k8s] Managed SecurityGroup for LoadBalancer";
/// Description of the shared group; the peer's.
const BACKEND_DESCRIPTION: &str = "[k8s] Shared Backend SecurityGroup for LoadBalancer";
/// Description of the nodes' rules.
const NODE_RULE: &str = "causeway.io: load balancers of the cluster";
/// Description of those for a NodePort that one load balancer alone needs: whose they are stands after it. Such rules go when it needs them no more.
pub(crate) const OWNED_RULE: &str = "causeway.io/owner: ";

/// The same of cloud-provider-aws, whose rules name the load balancer; see [`crate::adopt`].
const CPA_RULES: [&str; 2] = ["kubernetes.io/rule/nlb/client=", "kubernetes.io/rule/nlb/health="];

/// Why a security group cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// What AWS holds is not known.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A named one is not there.
    #[error("there is no security group {0:?} in VPC {1}: name one of that VPC by id or Name tag")]
    NotFound(String, String),
    /// Several have one name.
    #[error("security groups {1} all have the Name tag {0:?}: name one by id")]
    Ambiguous(String, String),
}

/// Ids of groups that are named by id or Name tag, in this order.
///
/// # Errors
/// See [`GroupError`]. Ids alone need no inventory.
pub fn resolve(facts: &Facts, names: &[&str]) -> Result<Vec<Token>, GroupError> {
    let vpc = &facts.cluster.vpc_id;
    let mut out = Vec::new();
    for name in names {
        if name.starts_with("sg-") {
            let known = facts.aws.describe_security_groups.as_ref();
            if known.is_some_and(|a| !a.security_groups.iter().any(|g| g.group_id == *name)) {
                return Err(GroupError::NotFound((*name).to_owned(), vpc.clone()));
            }
            out.push(Token::literal(*name));
            continue;
        }
        let all = facts.aws.security_groups()?.iter().filter(|g| g.vpc_id == *vpc);
        let mut found: Vec<&str> =
            all.filter(|g| tag(&g.tags, "Name") == Some(name)).map(|g| g.group_id.as_str()).collect();
        found.sort_unstable();
        match found[..] {
            [] => return Err(GroupError::NotFound((*name).to_owned(), vpc.clone())),
            [id] => out.push(Token::literal(id)),
            _ => return Err(GroupError::Ambiguous((*name).to_owned(), found.join(", "))),
        }
    }
    Ok(out)
}

/// The shared group: the one of the options, the one that is there, or one to be made.
#[must_use]
pub fn backend(facts: &Facts) -> (Token, Option<SecurityGroupSpec>) {
    if let Some(id) = &facts.options.backend_security_group {
        return (Token::literal(id.as_str()), None);
    }
    let id = &facts.cluster.id;
    let ours = |g: &&crate::inventory::SecurityGroup| {
        use causeway_api::names::{TAG_CLUSTER, TAG_RESOURCE};
        g.vpc_id == facts.cluster.vpc_id
            && tag(&g.tags, TAG_CLUSTER) == Some(id)
            && tag(&g.tags, TAG_RESOURCE) == Some(BACKEND_RESOURCE)
    };
    let known = facts.aws.describe_security_groups.iter().flat_map(|a| &a.security_groups);
    match known.filter(ours).min_by_key(|g| &g.group_id) {
        Some(group) => (Token::literal(group.group_id.as_str()), None),
        None => {
            let spec = SecurityGroupSpec {
                group_name: naming::backend_security_group(id),
                description: BACKEND_DESCRIPTION.to_owned(),
                tags: facts.options.default_tags.clone(),
                ingress: Vec::new(),
            };
            (Token::shared(ResourceType::SecurityGroup, BACKEND_GROUP), Some(spec))
        }
    }
}

/// Who may come in on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Networks.
    pub networks: Vec<IpNet>,
    /// Prefix lists.
    pub prefix_lists: Vec<String>,
    /// Lets ICMP in from the networks, for path MTU discovery.
    pub path_mtu: bool,
}

fn from_network(protocol: &str, ports: (u16, u16), network: &IpNet) -> IpPermission {
    let permission = IpPermission {
        ip_protocol: protocol.to_owned(),
        from_port: Some(ports.0),
        to_port: Some(ports.1),
        ..IpPermission::default()
    };
    match network {
        IpNet::V4(_) => IpPermission {
            ip_ranges: vec![IpRange { cidr: network.to_string(), description: String::new() }],
            ..permission
        },
        IpNet::V6(_) => IpPermission {
            ipv6_ranges: vec![Ipv6Range { cidr: network.to_string(), description: String::new() }],
            ..permission
        },
    }
}

/// "Fragmentation needed", or "packet too big".
fn path_mtu(network: &IpNet) -> IpPermission {
    match network {
        IpNet::V4(_) => from_network("icmp", (3, 4), network),
        IpNet::V6(_) => from_network("icmpv6", (2, 0), network),
    }
}

/// Rules of a load balancer's own group: for each port (`tcp` or `udp`) those who may come in. In the order of ports, none twice.
#[must_use]
pub fn frontend_rules(ports: &[(&str, u16, &Sources)]) -> Vec<IpPermission> {
    let mut rules: Vec<IpPermission> = Vec::new();
    let mut push = |rule: IpPermission| {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    };
    for (protocol, port, sources) in ports {
        for network in &sources.networks {
            push(from_network(protocol, (*port, *port), network));
            if sources.path_mtu {
                push(path_mtu(network));
            }
        }
        for list in &sources.prefix_lists {
            push(IpPermission {
                ip_protocol: (*protocol).to_owned(),
                from_port: Some(*port),
                to_port: Some(*port),
                prefix_lists: vec![PrefixList { id: list.clone() }],
                ..IpPermission::default()
            });
        }
    }
    rules
}

/// The security groups of the nodes, as far as the inventory has their instances: of each instance's primary interface the group with the cluster's tag,
/// else the first by id.
#[must_use]
pub fn node_groups(facts: &Facts) -> BTreeSet<String> {
    let key = format!("kubernetes.io/cluster/{}", facts.cluster.name);
    let known = facts.aws.describe_security_groups.iter().flat_map(|a| &a.security_groups);
    let tagged: BTreeSet<&str> =
        known.filter(|g| tag(&g.tags, &key).is_some()).map(|g| g.group_id.as_str()).collect();
    let instances = facts.aws.describe_instances.iter().flat_map(|a| a.instances());
    instances
        .filter_map(|instance| {
            let primary = instance.network_interfaces.iter().min_by_key(|i| i.attachment.device_index)?;
            let mut groups: Vec<&str> = primary.groups.iter().map(|g| g.group_id.as_str()).collect();
            groups.sort_unstable_by_key(|id| (!tagged.contains(id), *id));
            groups.first().map(|id| (*id).to_owned())
        })
        .collect()
}

/// What a target group needs opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// What its targets are.
    pub target_type: TargetType,
    /// Whether its traffic is TCP, and whether UDP.
    pub tcp: bool,
    /// See `tcp`.
    pub udp: bool,
    /// Port of the health check.
    pub health: &'a PortOrName,
}

/// Adds to what is shared the rules that let the shared group reach targets.
pub fn open(facts: &Facts, from: &Token, opening: Opening<'_>, shared: &mut Shared) {
    let all = (0, u16::MAX);
    let traffic = match opening.target_type {
        TargetType::Instance if !facts.options.unrestricted_rules => facts.options.node_ports,
        TargetType::Instance | TargetType::Ip | TargetType::Alb => all,
    };
    let mut rule = |protocol: &str, ports: (u16, u16)| {
        shared.node_rules.insert(IpPermission {
            ip_protocol: protocol.to_owned(),
            from_port: Some(ports.0),
            to_port: Some(ports.1),
            group_pairs: vec![GroupPair { group_id: from.clone(), description: NODE_RULE.to_owned() }],
            ..IpPermission::default()
        });
    };
    // Health checks of UDP go to the traffic port by TCP, unless they have their own.
    let traffic_checked = !matches!(opening.health, PortOrName::Number(_));
    if opening.tcp || traffic_checked {
        rule("tcp", traffic);
    }
    if opening.udp {
        rule("udp", traffic);
    }
    if let PortOrName::Number(port) = opening.health
        && !((opening.tcp || traffic_checked) && (traffic.0..=traffic.1).contains(port))
    {
        // Ports of healthCheckNodePort are NodePorts: one rule for all of them.
        let node_ports = facts.options.node_ports;
        let in_range =
            opening.target_type == TargetType::Instance && (node_ports.0..=node_ports.1).contains(port);
        rule("tcp", if in_range { node_ports } else { (*port, *port) });
    }
    shared.node_groups.extend(node_groups(facts));
}

/// Adds to what is shared the rules for a NodePort that lies outside the range of NodePorts: it was given while the range was another one.
pub fn open_stray(facts: &Facts, from: &Token, port: u16, tcp: bool, udp: bool, shared: &mut Shared) {
    let (first, last) = facts.options.node_ports;
    if facts.options.unrestricted_rules || (first..=last).contains(&port) {
        return;
    }
    for (protocol, _) in [("tcp", tcp), ("udp", udp)].into_iter().filter(|(_, wanted)| *wanted) {
        shared.node_rules.insert(IpPermission {
            ip_protocol: protocol.to_owned(),
            from_port: Some(port),
            to_port: Some(port),
            group_pairs: vec![GroupPair { group_id: from.clone(), description: NODE_RULE.to_owned() }],
            ..IpPermission::default()
        });
    }
}

/// A rule for networks as it is made for an owner: one that he alone needs says so.
#[must_use]
pub fn signed(rule: IpPermission, owner: &str) -> IpPermission {
    let mut rule = rule;
    let of_rule = rule.ip_ranges.iter_mut().map(|r| &mut r.description);
    for text in of_rule.chain(rule.ipv6_ranges.iter_mut().map(|r| &mut r.description)) {
        if text == OWNED_RULE {
            text.push_str(owner);
        }
    }
    rule
}

/// Whether a rule lets in a group, and nobody else.
#[must_use]
pub fn comes_from(rule: &IpPermission, group: &str) -> bool {
    !rule.group_pairs.is_empty()
        && rule.group_pairs.iter().all(|pair| matches!(&pair.group_id, Token::Literal(id) if **id == *group))
}

/// A rule that lets the shared group in, with the description it was made with.
#[must_use]
pub fn described(mut rule: IpPermission) -> IpPermission {
    rule.group_pairs.iter_mut().for_each(|pair| NODE_RULE.clone_into(&mut pair.description));
    rule
}

/// The only owner that needs a rule of the nodes' groups, if there is one; of a rule that was taken over with a load balancer the name of that.
#[must_use]
pub fn signer(rule: &IpPermission) -> Option<&str> {
    let of_rule = rule.ip_ranges.iter().map(|r| &r.description);
    let mut texts = of_rule.chain(rule.ipv6_ranges.iter().map(|r| &r.description));
    let text = texts.next()?;
    text.strip_prefix(OWNED_RULE).or_else(|| CPA_RULES.iter().find_map(|prefix| text.strip_prefix(prefix)))
}

/// Adds to what is shared the rules of a load balancer without groups: exactly its networking, with the traffic port's number.
pub fn open_networks(facts: &Facts, networking: &Networking, shared: &mut Shared) {
    for rule in &networking.ingress {
        for NetworkingPort { protocol, port } in &rule.ports {
            let Some(PortOrName::Number(port)) = port else { continue };
            for peer in &rule.from {
                let Peer::IpBlock(cidr) = peer else { continue };
                if let Ok(network) = cidr.parse() {
                    let protocol = protocol.to_ascii_lowercase();
                    let mut rule = from_network(&protocol, (*port, *port), &network);
                    // A NodePort is one Service's. Other ports may be many load balancers', as that of kube-proxy's health is.
                    let (first, last) = facts.options.node_ports;
                    let text = if (first..=last).contains(port) { OWNED_RULE } else { NODE_RULE };
                    rule.ip_ranges.iter_mut().for_each(|r| text.clone_into(&mut r.description));
                    rule.ipv6_ranges.iter_mut().for_each(|r| text.clone_into(&mut r.description));
                    shared.node_rules.insert(rule);
                }
            }
        }
    }
    shared.node_groups.extend(node_groups(facts));
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod tests;
