//! What goes: a whole stack, one that is broken, or single things. Pure.

use std::collections::BTreeSet;

use causeway_api::{LintContext, Mark, Plan};

use super::{Change, FIXED, Op, noun, told};
use crate::observe::{Observed, Part, SeenLoadBalancer, State};
use crate::stack::{LOAD_BALANCER, OctaviaStack, ResourceType, SECURITY_GROUP};

/// The order in which things go: what depends on another goes before it. But a policy goes before its rules, with which it takes fewer requests than without.
pub(super) const ORDER: [ResourceType; 8] = [
    ResourceType::L7Policy,
    ResourceType::L7Rule,
    ResourceType::Listener,
    ResourceType::HealthMonitor,
    ResourceType::Pool,
    ResourceType::FloatingIp,
    ResourceType::Secret,
    ResourceType::SecurityGroupRule,
];

/// One thing goes.
pub(super) fn one(part: &Part, kept: &BTreeSet<String>) -> Change {
    let id = part.resource.as_deref().unwrap_or_default();
    let id = id.split_once('/').map_or(id, |(_, rest)| rest);
    if part.kind == ResourceType::FloatingIp && kept.contains(&part.id) {
        let op = Op::Release { id: part.id.clone() };
        return Change::new(part.kind, id, op, format!("leave the floating IP {}", part.id));
    }
    let op = Op::Delete { id: part.id.clone(), cascade: false, marks: Vec::new(), replaced: None };
    Change::new(part.kind, id, op, format!("delete {} {id}", noun(part.kind)))
}

/// Marks of what belongs to the load balancer.
fn marks(have: &Observed) -> Vec<Mark> {
    let octavia = |p: &&Part| {
        matches!(
            p.kind,
            ResourceType::Listener
                | ResourceType::Pool
                | ResourceType::HealthMonitor
                | ResourceType::L7Policy
                | ResourceType::L7Rule
        )
    };
    let mark = |p: &Part| if p.resource.is_some() { Mark::Ours } else { Mark::Foreign };
    have.parts.iter().filter(octavia).map(mark).collect()
}

/// Everything goes that carries the mark: with the load balancer in one call, or one by one before it.
pub(super) fn all(have: &Observed, cascade: bool) -> Plan<Change> {
    let context = LintContext { keeps_hash: true, exists: have.load_balancer.is_some(), removes: true };
    let mut changes = Vec::new();
    let marks = marks(have);
    let own = have.load_balancer.as_ref().filter(|lb| lb.mark == Mark::Ours);
    let whole = own.is_some() && marks.iter().all(|m| *m == Mark::Ours);
    // Of one in state ERROR nothing else can be deleted.
    let cascade = cascade || own.is_some_and(|lb| lb.state == State::Error);
    if !whole || !cascade {
        // Where others have something on it, or it is not ours itself, what is ours goes one by one.
        for kind in &ORDER[..5] {
            let ours = have.of(*kind).filter(|p| p.resource.is_some());
            changes.extend(ours.map(|p| one(p, &have.kept_floating_ips)));
        }
    }
    if let (true, Some(lb)) = (whole, own) {
        let marks = if cascade { marks } else { Vec::new() };
        changes.push(load_balancer(&lb.id, marks, None, cascade));
    }
    for id in &have.surplus {
        changes.push(load_balancer(id, Vec::new(), None, true));
    }
    for kind in [ResourceType::FloatingIp, ResourceType::Secret] {
        let ours = have.of(kind).filter(|p| p.resource.is_some());
        changes.extend(ours.map(|p| one(p, &have.kept_floating_ips)));
    }
    changes.extend(group(have));
    Plan { changes, problems: Vec::new(), context }
}

/// The security group goes, with its rules, once no port has it.
pub(super) fn group(have: &Observed) -> Vec<Change> {
    let mut changes = Vec::new();
    let ours: Vec<&Part> = have.of(ResourceType::SecurityGroup).filter(|p| p.resource.is_some()).collect();
    if !ours.is_empty() && !have.group_ports.is_empty() {
        let leave: Vec<String> = have.group_ports.iter().cloned().collect();
        let summary = format!("take the security group off {} ports of nodes", leave.len());
        let op = Op::Group { join: Vec::new(), leave };
        changes.push(Change::new(ResourceType::SecurityGroup, SECURITY_GROUP, op, summary));
    }
    changes.extend(ours.into_iter().map(|p| one(p, &have.kept_floating_ips)));
    changes
}

fn load_balancer(id: &str, marks: Vec<Mark>, replaced: Option<(u32, String)>, cascade: bool) -> Change {
    let summary = match replaced {
        Some(_) => "delete the load balancer, which is made anew".to_owned(),
        None if cascade => format!("delete load balancer {id} with all that belongs to it"),
        None => format!("delete load balancer {id}"),
    };
    let op = Op::Delete { id: id.to_owned(), cascade, marks, replaced };
    Change::new(ResourceType::LoadBalancer, LOAD_BALANCER, op, summary)
}

/// A load balancer in state ERROR can only be deleted: another takes its place, with the same floating IP.
pub(super) fn broken(want: &OctaviaStack, have: &Observed, lb: &SeenLoadBalancer) -> Plan<Change> {
    let marks = marks(have);
    if marks.contains(&Mark::Foreign) {
        let what = "its load balancer is in state ERROR, and others have listeners on it, so that it is not made anew: delete theirs, or have it mended";
        return Plan { problems: told(want, "metadata", FIXED, what), ..Plan::default() };
    }
    let reason = "it is in state ERROR, in which nothing of it can be changed".to_owned();
    let context = LintContext { keeps_hash: true, exists: true, removes: true };
    Plan {
        changes: vec![load_balancer(&lb.id, marks, Some((60, reason)), true)],
        problems: Vec::new(),
        context,
    }
}
