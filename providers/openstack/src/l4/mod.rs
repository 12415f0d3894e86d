//! Services to the stack of one load balancer. Pure.
//!
//! One Service, or several of one namespace that name one group. What is wrong with a setting of one Service leaves that Service as it is; what is wrong
//! with the load balancer leaves the whole of it; a port that cannot be served is said on that port, and the rest is served.

mod front;
pub mod listeners;

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{Listener, LoadBalancer, PortStatus, Problem, References, ServicePort, Severity, names};

use self::listeners::{Builder, Failed, errors};
use crate::annotations::{Scope, reasons, service, value};
use crate::facts::Facts;
use crate::member::Served;
use crate::naming;
use crate::nodes::Nodes;
use crate::ownership::Mark;
use crate::quotas;
use crate::security::{Opened, secure};
use crate::stack::{MemberPart, OctaviaStack, Shown};

/// The stack of the Services of one key.
#[must_use]
pub fn desired(
    lb: &LoadBalancer,
    wanted: &[Listener],
    facts: &Facts,
    nodes: &Nodes,
) -> (OctaviaStack, Vec<Problem>) {
    let mut problems = Vec::new();
    let mark = Mark { cluster: facts.cluster.id.clone(), owner: lb.key.owner_tag() };
    let mut stack = OctaviaStack {
        mark: mark.clone(),
        serial_calls: facts.options.serial_calls,
        cascade_delete: facts.options.cascade_delete,
        ..OctaviaStack::default()
    };
    let mut members: Vec<Served<'_>> =
        lb.members.iter().map(|member| Served::read(Scope::Service, member, &mut problems)).collect();
    for served in &mut members {
        check(served, &mut problems);
    }
    // Without them nothing that is made could be known again.
    let can = facts.options.enabled && !facts.cluster.id.is_empty();
    let Some(front) =
        can.then(|| agreed(lb, &mut members, wanted, facts, nodes, &mark, &mut problems)).flatten()
    else {
        stack.frozen = !lb.members.is_empty();
        stack.told = members.iter().map(|m| told(m, &|_| None, Some(errors::NOT_SERVED), facts)).collect();
        return (stack, once(problems));
    };

    let mut failed: Vec<Failed> = Vec::new();
    let mut builder = Builder {
        facts,
        front: &front,
        members: &members,
        nodes,
        stack: &mut stack,
        problems: &mut problems,
        failed: &mut failed,
        opened: Opened::default(),
    };
    for (member, port) in ports(&members, wanted) {
        builder.port(member, port);
    }
    let opened = builder.opened;
    problems.extend(nodes.problems.iter().cloned());
    stack.load_balancer = front.spec;
    stack.attached = front.attached;
    stack.floating_ip = front.floating_ip;
    stack.former_address = front.former_address;
    stack.peer_tag = facts.kept.is_some().then(|| naming::load_balancer(&facts.cluster.name, &lb.key));
    if facts.options.manage_security_groups {
        secure(&mut stack, &lb.key, facts, opened);
    }
    let refused = members.iter().filter(|served| served.settings.refused);
    stack.kept = refused
        .filter_map(Served::service)
        .flat_map(|s| s.ports.iter().map(|p| listeners::id(p.protocol, p.port)))
        .filter(|id| !stack.listeners.contains_key(id))
        .collect();
    stack.told = members
        .iter()
        .enumerate()
        .map(|(index, served)| {
            // What is no listener at all is another's, which was said where the members were brought together.
            let listened = |p: &ServicePort| wanted.iter().any(|l| l.member == index && l.port == *p);
            let error = |p: &ServicePort| {
                let same = |f: &&Failed| (f.member, f.port, f.protocol) == (index, p.port, p.protocol);
                let own = || failed.iter().find(same).map(|f| f.reason);
                if listened(p) { own() } else { Some(errors::PORT_CONFLICT) }
            };
            let ports = served.service().map_or(&[][..], |s| &s.ports);
            let all = served.settings.refused.then_some(errors::NOT_SERVED);
            let part = told(served, &error, all, facts);
            let listeners = ports
                .iter()
                .zip(&part.ports)
                .filter(|(_, status)| status.error.is_none())
                .map(|(p, _)| listeners::id(p.protocol, p.port))
                .collect();
            MemberPart { listeners, ..part }
        })
        .collect();
    if let Some(oldest) = lb.members.first() {
        problems.extend(quotas::exceeded(&stack, facts, &oldest.object));
    }
    severities(&stack, &mut problems);
    // A load balancer without listener serves nobody; one that is there stays as it is.
    if stack.listeners.is_empty() {
        stack = OctaviaStack { mark: stack.mark, told: stack.told, frozen: true, ..OctaviaStack::default() };
    }
    (stack, once(problems))
}

/// A port that is not served is an error only of a Service that has none that is.
fn severities(stack: &OctaviaStack, problems: &mut [Problem]) {
    let of_ports = [errors::UNSUPPORTED, errors::SOURCES, errors::CERTIFICATE];
    for problem in problems.iter_mut().filter(|p| of_ports.contains(&p.reason.as_str())) {
        let served = stack.told.iter().any(|m| m.object == problem.object && !m.listeners.is_empty());
        problem.severity = if served { Severity::Warning } else { Severity::Error };
    }
}

/// What is said of each pool is said once.
pub(crate) fn once(mut problems: Vec<Problem>) -> Vec<Problem> {
    let mut said = std::collections::HashSet::new();
    problems.retain(|problem| said.insert(format!("{problem:?}")));
    problems
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
    nodes: &Nodes,
    mark: &Mark,
    problems: &mut Vec<Problem>,
) -> Option<front::Front> {
    loop {
        if ports(members, wanted).is_empty() {
            return None;
        }
        let mut found = Vec::new();
        match front::build(&lb.key, members, facts, nodes, mark, &mut found) {
            Ok(front) => {
                problems.append(&mut found);
                return Some(front);
            }
            Err(fault) => {
                problems.push(fault.problem);
                let holder = members.iter_mut().find(|m| m.member.object == fault.holder)?;
                holder.settings.refused = true;
                if !holder.forget(fault.wish) {
                    return None;
                }
            }
        }
    }
}

/// What the annotations of a Service refer to: the Secret with its certificate.
#[must_use]
pub fn references(annotations: &BTreeMap<String, String>) -> References {
    let secret = annotations.get(service::TLS_SECRET.key).map(|t| t.trim()).filter(|t| !t.is_empty());
    References { secrets: secret.map(str::to_owned).into_iter().collect(), ..References::default() }
}

/// What is wrong with a Service besides single values.
fn check(served: &mut Served<'_>, problems: &mut Vec<Problem>) {
    if let Some(Err(why)) = served.member.group() {
        problems.push(Problem::error(
            served.object(),
            format!("metadata.annotations[{}]", names::ANNOTATION_GROUP),
            reasons::INVALID,
            format!("{why}; it has a load balancer of its own"),
        ));
    }
    let headers = [&service::X_FORWARDED_FOR, &service::X_FORWARDED_PORT, &service::X_FORWARDED_PROTO];
    let header = headers.into_iter().find(|a| served.settings.bool(a) == Some(true));
    if let (Some(header), Some(_)) = (header, listeners::proxy(served)) {
        problems.push(served.error(
            &service::PROXY_PROTOCOL,
            format!(
                "pods are told the client's address either so or by {}: take one of the two away; until then nothing of this object is made or changed",
                header.key
            ),
        ));
        served.settings.refused = true;
    }
    if let (Some(list), Some(service)) = (served.settings.text(&service::TLS_PORTS), served.service()) {
        let known = |item: &&str| {
            service
                .ports
                .iter()
                .any(|p| p.port.to_string() == **item || (!p.name.is_empty() && p.name == **item))
        };
        let unknown: Vec<&str> = value::list(list).into_iter().filter(|item| !known(item)).collect();
        if !unknown.is_empty() {
            problems.push(served.warn(
                &service::TLS_PORTS,
                reasons::INVALID,
                format!(
                    "the Service has no port {}: write names or numbers of its ports",
                    unknown.join(", ")
                ),
            ));
        }
    }
}

/// What a member is told.
fn told(
    served: &Served<'_>,
    own: &dyn Fn(&ServicePort) -> Option<&'static str>,
    all: Option<&'static str>,
    facts: &Facts,
) -> MemberPart {
    let error = |port: &ServicePort| all.or_else(|| own(port)).map(str::to_owned);
    let ports = served.service().map_or(&[][..], |s| &s.ports);
    let shown = match served.settings.text(&service::HOSTNAME) {
        Some(name) => Shown::Hostname(name.to_owned()),
        None if facts.options.ingress_hostname && listeners::proxy(served).is_some() => {
            Shown::Suffix(facts.options.ingress_hostname_suffix.clone())
        }
        None => Shown::Addresses,
    };
    MemberPart {
        object: served.object(),
        ports: ports
            .iter()
            .map(|p| PortStatus { port: p.port, protocol: p.protocol, error: error(p) })
            .collect(),
        shown,
        listeners: BTreeSet::new(),
        refused: all.is_some(),
    }
}

#[cfg(test)]
mod tests;
