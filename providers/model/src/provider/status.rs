//! What is said of each member. Pure.

use causeway_api::{Condition, Family, IngressPoint, IpMode, Kind, MemberStatus, PortStatus, names};

use super::desired::{MemberPart, ModelStack};
use super::observe::Observed;
use super::plan::current;

/// Status of every member, by object.
///
/// An address is told as soon as it is known, also while the load balancer is still being provisioned: that is what users of such clouds
/// rely on. Its packets reach a node addressed to the node, so kube-proxy must not bind it: `ipMode: Proxy`.
#[must_use]
pub fn status(stack: &ModelStack, have: &Observed) -> Vec<MemberStatus> {
    let (current, others) = current(stack, have);
    // While a successor is made, or what is asked for is not understood, the old one serves on.
    let serving = current.or_else(|| if stack.members.is_empty() { None } else { others.first().copied() });
    stack
        .members
        .iter()
        .map(|member| {
            let nothing = stack.spec.is_none() && !stack.frozen;
            let ingress = match serving {
                _ if nothing || unserved(member) => Some(Vec::new()),
                Some(lb) => Some(points(member, &lb.addresses)),
                None => None,
            };
            MemberStatus {
                object: member.object.clone(),
                ingress,
                conditions: ports_error(member).into_iter().collect(),
                annotations: std::collections::BTreeMap::new(),
                peer_finalizers: Vec::new(),
                problems: Vec::new(),
                notes: Vec::new(),
            }
        })
        .collect()
}

/// Whether no port of a Service is served.
fn unserved(member: &MemberPart) -> bool {
    member.object.kind == Kind::Service && member.ports.iter().all(|p| p.error.is_some())
}

fn points(member: &MemberPart, addresses: &[std::net::IpAddr]) -> Vec<IngressPoint> {
    let service = member.object.kind == Kind::Service;
    let broken = member.ports.iter().any(|p| p.error.is_some());
    let of = |family: &Family| addresses.iter().find(|a| Family::of(a) == *family);
    let found = member.families.iter().filter_map(of);
    found
        .map(|address| IngressPoint {
            ip: Some(*address),
            hostname: None,
            ip_mode: service.then_some(IpMode::Proxy),
            ports: if broken { member.ports.clone() } else { Vec::new() },
        })
        .collect()
}

fn ports_error(member: &MemberPart) -> Option<Condition> {
    let broken: Vec<&PortStatus> = member.ports.iter().filter(|p| p.error.is_some()).collect();
    let reason = broken.first()?.error.clone()?;
    let list: Vec<String> = broken
        .iter()
        .map(|p| format!("{}/{} ({})", p.port, p.protocol.as_str(), p.error.as_deref().unwrap_or_default()))
        .collect();
    let message = format!("not served: {}; see the Events for what to do", list.join(", "));
    Some(Condition { kind: names::CONDITION_PORTS_ERROR.to_owned(), status: true, reason, message })
}
