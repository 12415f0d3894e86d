//! Whether load balancers reach the nodes: the ports of health checks and of traffic, through the nodes' security groups. Pure.
//!
//! Judged are the load balancers of this cluster that are there, by the target groups that they send to. Where their shared group is one of theirs the controller
//! makes the rules itself, when it changes a load balancer; else they are the user's.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::Finding;
use causeway_api::check::Outcome;
use ipnet::IpNet;

use super::Seen;
use crate::cloud::records::{LoadBalancer, SecurityGroup, TargetGroup};
use crate::facts::Facts;
use crate::inventory::tag;
use crate::plan::tokens::literal;
use crate::security;
use crate::stack::{ElbProtocol, IpPermission, PortOrName, TargetType};

/// From where a load balancer speaks to its targets.
struct Sources<'a> {
    /// Its security groups.
    groups: BTreeSet<&'a str>,
    /// The networks of its subnets.
    networks: Vec<IpNet>,
}

/// A port that has to be open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Needed {
    protocol: &'static str,
    port: u16,
    what: &'static str,
}

/// What a target group needs open for its load balancer; nothing for targets that are no instances. Traffic may come from the clients themselves where the load
/// balancer has no groups (`with_traffic` is false then), health checks never do.
fn needed(group: &TargetGroup, with_traffic: bool) -> Vec<Needed> {
    if group.spec.target_type != TargetType::Instance {
        return Vec::new();
    }
    let traffic = group.spec.port;
    let health = match group.spec.health_check_config.port {
        PortOrName::Number(port) => port,
        PortOrName::Name(_) => traffic,
    };
    let mut all = vec![Needed { protocol: "tcp", port: health, what: "the health check" }];
    if !with_traffic {
        return all;
    }
    let (tcp, udp) = match group.spec.protocol {
        ElbProtocol::Udp | ElbProtocol::Quic => (false, true),
        ElbProtocol::TcpUdp | ElbProtocol::TcpQuic => (true, true),
        _ => (true, false),
    };
    if tcp && traffic != health {
        all.push(Needed { protocol: "tcp", port: traffic, what: "the NodePort" });
    }
    if udp {
        all.push(Needed { protocol: "udp", port: traffic, what: "the NodePort" });
    }
    all
}

fn covers(rule: &IpPermission, needed: &Needed) -> bool {
    let protocol = rule.ip_protocol == "-1" || rule.ip_protocol.eq_ignore_ascii_case(needed.protocol);
    let ports = rule.from_port.unwrap_or(0)..=rule.to_port.unwrap_or(u16::MAX);
    protocol && (rule.ip_protocol == "-1" || ports.contains(&needed.port))
}

/// Whether a group lets a load balancer in. What stands in a prefix list is not known, so it counts.
fn lets_in(group: &SecurityGroup, needed: &Needed, from: &Sources<'_>) -> bool {
    let rules = || group.spec.ingress.iter().filter(|rule| covers(rule, needed));
    let by_group = rules().flat_map(|r| &r.group_pairs).any(|p| from.groups.contains(literal(&p.group_id)));
    let by_list = rules().any(|rule| !rule.prefix_lists.is_empty());
    let networks: Vec<IpNet> = rules()
        .flat_map(|r| r.ip_ranges.iter().map(|r| &r.cidr).chain(r.ipv6_ranges.iter().map(|r| &r.cidr)))
        .filter_map(|cidr| cidr.parse().ok())
        .collect();
    let by_network = !from.networks.is_empty()
        && from.networks.iter().all(|network| networks.iter().any(|allowed| allowed.contains(network)));
    by_group || by_list || by_network
}

fn sources<'a>(lb: &'a LoadBalancer, facts: &Facts) -> Sources<'a> {
    let ids: BTreeSet<&str> = lb.spec.subnet_mappings.iter().map(|m| m.subnet_id.as_str()).collect();
    let all = facts.aws.describe_subnets.iter().flat_map(|answer| &answer.subnets);
    let networks =
        all.filter(|s| ids.contains(s.subnet_id.as_str())).filter_map(|s| s.cidr_block.parse().ok());
    Sources { groups: lb.spec.security_groups.iter().map(literal).collect(), networks: networks.collect() }
}

/// What is shut, of load balancers that are there; what will be open, where there are none.
pub(super) fn judge(seen: &Seen, facts: &Facts) -> Vec<Finding> {
    let about = "Security groups of the nodes";
    let mut findings = Vec::from_iter(ambiguous(facts));
    if seen.node_groups.is_empty() {
        let why = "none could be read, so whether load balancers reach the nodes is not known";
        findings.push(Finding::warning(about, why));
        return findings;
    }
    let ids: Vec<&str> = seen.node_groups.iter().map(|group| group.id.as_str()).collect();
    let opens = |permission: &str| {
        let tried = seen.writes.iter().find(|tried| tried.permission == permission);
        tried.is_some_and(|tried| tried.outcome == Outcome::Allowed)
    };
    let may_open = opens("ec2:AuthorizeSecurityGroupIngress");
    let shared = security::backend(facts).0;
    let shared = literal(&shared);

    // By group and port: the load balancers that do not get through.
    let mut shut: BTreeMap<(&str, Needed, bool), Vec<&LoadBalancer>> = BTreeMap::new();
    let mut looked = 0;
    for lb in seen.load_balancers.iter().flatten().filter(|lb| seen.ours.contains(&lb.arn)) {
        let from = sources(lb, facts);
        let managed = from.groups.is_empty() || from.groups.contains(shared);
        let behind = seen.target_groups.iter().flatten().filter(|g| g.load_balancers.contains(&lb.arn));
        looked += 1;
        for needed in behind.flat_map(|group| needed(group, !from.groups.is_empty())) {
            for group in seen.node_groups.iter().filter(|group| !lets_in(group, &needed, &from)) {
                shut.entry((group.id.as_str(), needed.clone(), managed)).or_default().push(lb);
            }
        }
    }
    if shut.is_empty() {
        let (first, last) = facts.options.node_ports;
        let what = match (looked, may_open) {
            (1.., _) => {
                format!("let the {looked} load balancers of this cluster reach NodePorts and health checks")
            }
            (_, true) => format!(
                "{}: the controller opens NodePorts {first} to {last} and the ports of health checks to its load balancers, with the first of them",
                ids.join(", ")
            ),
            (_, false) => {
                let what = "has to be opened to load balancers, and may not be: see the permissions";
                findings.push(Finding::error(about, format!("{}: {what}", ids.join(", "))));
                return findings;
            }
        };
        findings.push(Finding::ok(about, what));
    }
    for ((group, Needed { protocol, port, what }, managed), mut lbs) in shut {
        lbs.dedup_by(|a, b| a.arn == b.arn);
        let names: Vec<&str> = lbs.iter().map(|lb| lb.spec.name.as_str()).collect();
        let about = format!("Security group {group}");
        let text =
            format!("{protocol} port {port} of {what} is shut for load balancers {}", names.join(", "));
        let groups = lbs.iter().flat_map(|lb| &lb.spec.security_groups).map(literal);
        let source = groups.clone().find(|id| *id == shared).or_else(|| groups.clone().next());
        let from = source
            .map_or_else(|| "--cidr NETWORK-OF-A-SUBNET".to_owned(), |id| format!("--source-group {id}"));
        let command = format!(
            "aws ec2 authorize-security-group-ingress --group-id {group} --protocol {protocol} --port {port} {from}"
        );
        let why = match (managed, may_open) {
            (true, true) => "which the controller opens with the next change of one of them, and not before",
            (true, false) => "and the controller may not open it: see the permissions",
            (false, _) => "whose rules are yours",
        };
        findings.push(Finding::error(about, format!("{text}, {why}. To open it now: {command}")));
    }
    findings
}

/// Instances of which it is not said which of their groups is the nodes'.
fn ambiguous(facts: &Facts) -> Option<Finding> {
    let key = format!("kubernetes.io/cluster/{}", facts.cluster.name);
    let known = facts.aws.describe_security_groups.iter().flat_map(|answer| &answer.security_groups);
    let tagged: BTreeSet<&str> =
        known.filter(|g| tag(&g.tags, &key).is_some()).map(|g| g.group_id.as_str()).collect();
    let instances = facts.aws.describe_instances.iter().flat_map(|answer| answer.instances());
    let unclear: Vec<&str> = instances
        .filter(|instance| {
            let primary = instance.network_interfaces.iter().min_by_key(|i| i.attachment.device_index);
            let groups = primary.map(|i| i.groups.as_slice()).unwrap_or_default();
            groups.len() > 1 && groups.iter().filter(|g| tagged.contains(g.group_id.as_str())).count() != 1
        })
        .map(|instance| instance.instance_id.as_str())
        .collect();
    (!unclear.is_empty()).then(|| {
        Finding::warning(
            "Security groups of the nodes",
            format!(
                "{} instances, such as {}, have several, of which not exactly one carries the tag {key}: the first by id is opened. Tag the one that is meant",
                unclear.len(),
                unclear.first().copied().unwrap_or_default()
            ),
        )
    })
}
