//! Services to the stack of one NLB. Pure.
//!
//! One Service, or several of one namespace that name one group. What is wrong with a setting of one Service leaves that Service as it is; what is wrong with the
//! load balancer leaves the whole of it; a port that cannot be served is said on that port, and the rest is served.

pub mod actions;
mod front;
mod listeners;
mod member;
mod networking;
mod target_groups;

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{
    Listener, LoadBalancer, Owner, PortStatus, Problem, Protocol, References, ServicePort, Severity, names,
};

use self::front::Groups;
use self::listeners::{Builder, Failed, errors, slots};
use self::member::{Served, exclusive};
use crate::annotations::{reasons, service, value};
use crate::facts::Facts;
use crate::naming;
use crate::security::{self, Sources};
use crate::stack::{
    AwsStack, LOAD_BALANCER, MANAGED_SECURITY_GROUP, MemberPart, OnOff, SecurityGroupSpec, TargetType,
};
use crate::targets::{self, Instances};

/// The stack of the Services of one key.
#[must_use]
pub fn desired(
    lb: &LoadBalancer,
    wanted: &[Listener],
    facts: &Facts,
    instances: &Instances,
) -> (AwsStack, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut stack =
        AwsStack { cluster: facts.cluster.id.clone(), owner: lb.key.owner_tag(), ..AwsStack::default() };
    let mut members: Vec<Served<'_>> =
        lb.members.iter().filter_map(|member| Served::read(member, &mut problems)).collect();
    for served in &members {
        check(served, &mut problems);
    }
    let Some(front) = agreed(lb, &mut members, wanted, facts, &mut problems) else {
        stack.frozen = !lb.members.is_empty();
        stack.members = members.iter().map(|m| part(m, &[], Some(errors::NOT_SERVED), &stack)).collect();
        return (stack, problems);
    };

    let downtime = exclusive(&members, &service::ALLOW_DOWNTIME, &mut problems);
    stack.allow_downtime = downtime.and_then(|(_, text)| value::bool(text)) == Some(true);
    let mut failed: Vec<Failed> = Vec::new();
    let slots = slots(&members, &ports(&members, wanted), facts, &mut problems, &mut failed);
    let mut builder = Builder {
        facts,
        front: &front,
        members: &members,
        instances,
        room: targets::nlb_room(facts, slots.len(), front.cross_zone),
        owner: &lb.key.owner_tag(),
        group: match &lb.key.owner {
            Owner::Object(_) => None,
            Owner::Group(name) => Some(name),
        },
        stack: &mut stack,
        problems: &mut problems,
        failed: &mut failed,
    };
    for slot in &slots {
        builder.listener(slot);
    }
    if stack.target_groups.values().any(|group| group.target_type == TargetType::Instance) {
        problems.extend(instances.problems.iter().cloned());
    }
    if front.groups == Groups::Managed {
        let spec = managed_group(lb, &members, &slots, &front, facts, &mut problems);
        stack.security_groups.insert(MANAGED_SECURITY_GROUP.to_owned(), spec);
    }
    if front.makes_backend {
        stack.shared.backend_group = security::backend(facts).1;
    }
    let refused = members.iter().filter(|served| served.settings.refused);
    stack.kept = refused
        .flat_map(|served| served.service.ports.iter().map(|p| p.port.to_string()))
        .filter(|port| !stack.listeners.contains_key(port))
        .collect();
    // A load balancer without listener serves nobody; one that is there stays as it is.
    stack.frozen = stack.listeners.is_empty();
    let addresses = front.addresses.clone();
    stack.load_balancers.insert(LOAD_BALANCER.to_owned(), front.spec);
    let told = |(index, served): (usize, &Served<'_>)| {
        let mut own: Vec<(u16, Protocol, &str)> =
            failed.iter().filter(|f| f.0 == index).map(|f| (f.1, f.2, f.3)).collect();
        // What is no listener at all is another's, which was said where the members were brought together.
        let listened = |p: &&ServicePort| wanted.iter().any(|l| l.member == index && l.port == **p);
        let others = served.service.ports.iter().filter(|p| p.protocol != Protocol::Sctp && !listened(p));
        own.extend(others.map(|p| (p.port, p.protocol, errors::PORT_CONFLICT)));
        let all = served.settings.refused.then_some(errors::NOT_SERVED);
        let addresses = if all.is_some() { Vec::new() } else { addresses.clone() };
        MemberPart { addresses, ..part(served, &own, all, &stack) }
    };
    stack.members = members.iter().enumerate().map(told).collect();
    // A port that is not served is an error only of a Service that has none.
    let of_ports =
        [errors::PORT_CONFLICT, errors::NODE_PORT_MISSING, errors::NOT_MERGED, errors::FAMILY, errors::QUOTA];
    for problem in problems.iter_mut().filter(|p| of_ports.contains(&p.reason.as_str())) {
        let served = stack.members.iter().any(|m| m.object == problem.object && !m.listeners.is_empty());
        problem.severity = if served { Severity::Warning } else { Severity::Error };
    }
    // What is said of each listener is said once.
    let mut said = std::collections::HashSet::new();
    problems.retain(|problem| said.insert(format!("{problem:?}")));
    if stack.frozen {
        let members = std::mem::take(&mut stack.members);
        stack = AwsStack {
            cluster: stack.cluster,
            owner: stack.owner,
            frozen: true,
            members,
            ..AwsStack::default()
        };
    }
    (stack, problems)
}

/// The ports that are to be served.
fn ports<'l>(members: &[Served<'_>], wanted: &'l [Listener]) -> Vec<(usize, &'l ServicePort)> {
    let served = |l: &&Listener| members.get(l.member).is_some_and(|m| !m.settings.refused);
    wanted.iter().filter(served).map(|l| (l.member, &l.port)).collect()
}

/// The load balancer on which the members agree. A member that asks it for something that cannot be is not served, and that one wish does not count, so that
/// the others are; nothing is left where it is the only one, or where nobody's wish is to blame.
fn agreed(
    lb: &LoadBalancer,
    members: &mut [Served<'_>],
    wanted: &[Listener],
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Option<front::Front> {
    loop {
        let ports = ports(members, wanted);
        if ports.is_empty() {
            return None;
        }
        let has_udp = ports.iter().any(|(_, port)| port.protocol == Protocol::Udp);
        let mut found = Vec::new();
        match front::build(&lb.key, members, facts, has_udp, &mut found) {
            Ok(front) => {
                problems.append(&mut found);
                return Some(front);
            }
            Err(fault) => {
                problems.push(fault.problem);
                let holder = members.iter_mut().find(|m| m.member.object == fault.holder)?;
                holder.settings.refused = true;
                if !holder.settings.forget(fault.annotation) {
                    return None;
                }
            }
        }
    }
}

/// What the annotations of a Service refer to: the Services that share its connections, and its own pods, which are targets where it says so.
#[must_use]
pub fn references(annotations: &BTreeMap<String, String>, pods_by_default: bool) -> References {
    let mut references =
        References { endpoints: wants_pods(annotations, pods_by_default), ..References::default() };
    for (key, text) in annotations {
        let suffix = [service::PREFIX, service::ALTERNATIVE_PREFIX].iter().find_map(|p| key.strip_prefix(p));
        let action = suffix.is_some_and(|s| s.starts_with(service::ACTIONS.suffix) && s.contains('.'));
        let Some(forward) = action.then(|| actions::parse(text).ok()).flatten() else { continue };
        references.services.extend(forward.shares.into_iter().filter_map(|share| match share.receiver {
            actions::Receiver::Service { name, port, .. } => Some((name, port)),
            actions::Receiver::TargetGroup(_) => None,
        }));
    }
    references
}

/// Whether pods are targets, or may be.
fn wants_pods(annotations: &BTreeMap<String, String>, by_default: bool) -> bool {
    let said = |annotation: &crate::annotations::Annotation| {
        [service::PREFIX, service::ALTERNATIVE_PREFIX]
            .iter()
            .find_map(|prefix| annotations.get(&format!("{prefix}{}", annotation.suffix)))
            .map(String::as_str)
    };
    match (said(&service::TYPE), said(&service::TARGET_TYPE)) {
        (Some(service::TYPE_NLB_IP), _) => true,
        (_, Some(target_type)) => target_type == "ip",
        (_, None) => by_default,
    }
}

/// What is wrong with a Service besides single values.
fn check(served: &Served<'_>, problems: &mut Vec<Problem>) {
    if let Some(Err(why)) = served.member.group() {
        problems.push(Problem::error(
            served.object(),
            format!("metadata.annotations[{}]", names::ANNOTATION_GROUP),
            reasons::INVALID,
            format!("{why}; it has a load balancer of its own"),
        ));
    }
    if let Some(address) = &served.service.requested_address {
        problems.push(Problem::warning(
            served.object(),
            "spec.loadBalancerIP",
            names::events::UNSUPPORTED,
            format!(
                "{address} is not used: write aws-load-balancer-private-ipv4-addresses for an internal load balancer, aws-load-balancer-eip-allocations for an \
                 internet-facing one"
            ),
        ));
    }
    for annotation in [&service::TLS_PORTS, &service::QUIC_PORTS] {
        let list = served.settings.list(annotation).unwrap_or_default();
        let unknown = served.unknown_ports(&list);
        if !unknown.is_empty() {
            problems.push(served.warn(
                annotation,
                reasons::INVALID,
                format!(
                    "the Service has no port {}: write names or numbers of its ports",
                    unknown.join(", ")
                ),
            ));
        }
    }
    for annotation in [&service::LISTENER_ATTRIBUTES, &service::ACTIONS] {
        for (parameter, _) in served.settings.all_of(annotation) {
            let number = parameter.rsplit('-').next().unwrap_or_default();
            if !served.service.ports.iter().any(|p| p.port.to_string() == number) {
                problems.push(Problem::warning(
                    served.object(),
                    served.settings.field_of(annotation, parameter),
                    reasons::INVALID,
                    format!("the Service has no port {number}: name one of its ports, or take it away"),
                ));
            }
        }
    }
}

/// The security group that is made for the load balancer.
fn managed_group(
    lb: &LoadBalancer,
    members: &[Served<'_>],
    slots: &[listeners::Slot<'_>],
    front: &front::Front,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> SecurityGroupSpec {
    let sources: BTreeMap<usize, Sources> = members
        .iter()
        .enumerate()
        .map(|(index, served)| {
            let lists = served.settings.list(&service::PREFIX_LISTS).unwrap_or_default();
            let sources = Sources {
                networks: networking::frontend_sources(served, front.spec.ip_address_type, problems),
                prefix_lists: lists.into_iter().map(str::to_owned).collect(),
                path_mtu: served.settings.on_off(&service::PATH_MTU) == Some(OnOff::On),
            };
            (index, sources)
        })
        .collect();
    let mut ports: Vec<(&str, u16, &Sources)> = Vec::new();
    // In the order of the Service's ports, as the peer has them.
    for (index, served) in members.iter().enumerate() {
        let slot = |port: &&ServicePort| slots.iter().any(|s| s.member == index && s.ports.contains(port));
        for port in served.service.ports.iter().filter(slot) {
            let protocol = if port.protocol == Protocol::Udp { "udp" } else { "tcp" };
            if let Some(sources) = sources.get(&index) {
                ports.push((protocol, port.port, sources));
            }
        }
    }
    let ingress = security::frontend_rules(&ports);
    let cluster = &facts.cluster.id;
    let group_name = match &lb.key.owner {
        Owner::Object(o) => naming::security_group(cluster, &o.namespace, &o.name, &o.uid),
        Owner::Group(group) => naming::group_security_group(cluster, group),
    };
    if ingress.len() > security::MOST_RULES
        && let Some(served) = members.first()
    {
        problems.push(served.warn(
            &service::SOURCE_RANGES,
            "TooManyRules",
            format!(
                "the security group needs {} rules (ports times networks), and AWS allows {} unless the quota \"inbound rules per security group\" is raised: use \
                 fewer networks, or aws-load-balancer-security-group-prefix-lists",
                ingress.len(),
                security::MOST_RULES
            ),
        ));
    }
    SecurityGroupSpec {
        group_name,
        description: security::MANAGED_DESCRIPTION.to_owned(),
        tags: front.spec.tags.clone(),
        ingress,
    }
}

/// What a member is told.
fn part(
    served: &Served<'_>,
    failed: &[(u16, Protocol, &str)],
    all: Option<&str>,
    stack: &AwsStack,
) -> MemberPart {
    let error = |port: &ServicePort| {
        let own =
            failed.iter().find(|(number, protocol, _)| (*number, *protocol) == (port.port, port.protocol));
        let sctp = (port.protocol == Protocol::Sctp).then_some(names::REASON_MIXED_PROTOCOL);
        all.or(own.map(|f| f.2)).or(sctp).map(str::to_owned)
    };
    let ports: Vec<PortStatus> = served
        .service
        .ports
        .iter()
        .map(|p| PortStatus { port: p.port, protocol: p.protocol, error: error(p) })
        .collect();
    let listeners: BTreeSet<String> = ports
        .iter()
        .filter(|p| p.error.is_none())
        .map(|p| p.port.to_string())
        .filter(|id| stack.listeners.contains_key(id))
        .collect();
    MemberPart {
        object: served.object(),
        ports,
        addresses: Vec::new(),
        listeners,
        current: served.member.current.clone(),
    }
}

#[cfg(test)]
mod tests;
