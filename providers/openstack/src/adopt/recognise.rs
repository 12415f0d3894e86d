//! What belongs to a load balancer that was taken over carries the peer's names and no mark of ours: which resource of the stack it is, is told from what it
//! is. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use causeway_api::Layer;
use serde_json::{Value, json};

use crate::observe::{Observed, Part};
use crate::ownership::resource;
use crate::stack::{FLOATING_IP, L7PolicySpec, OctaviaStack, ResourceType, Token};

fn text<'a>(part: &'a Part, field: &str) -> &'a str {
    part.body.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Id of a listener in the stack.
fn listener_id(part: &Part) -> String {
    let protocol = match text(part, "protocol") {
        udp @ ("UDP" | "SCTP") => udp,
        _ => "TCP",
    };
    format!("{protocol}-{}", part.body.get("protocol_port").and_then(Value::as_u64).unwrap_or_default())
}

/// What is there, with what the peer made told by what it is. What is not wanted is still ours: it goes as all that is no longer wanted.
#[must_use]
pub fn recognised<'a>(want: &OctaviaStack, have: &'a Observed) -> Cow<'a, Observed> {
    if have.theirs.is_empty() {
        return Cow::Borrowed(have);
    }
    let unmarked = |part: &&Part| part.resource.is_none() && have.theirs.contains(&part.id);
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    for part in have.parts.iter().filter(unmarked) {
        let known = match part.kind {
            ResourceType::Listener => Some(listener_id(part)),
            ResourceType::FloatingIp => Some(FLOATING_IP.to_owned()),
            _ => None,
        };
        ids.extend(known.map(|id| (part.id.as_str(), id)));
    }
    for part in have.of(ResourceType::Pool).filter(unmarked) {
        ids.insert(&part.id, pool_id(want, have, &ids, part));
    }
    for part in have.of(ResourceType::HealthMonitor).filter(unmarked) {
        let pool = text(part, "pool_id");
        ids.insert(&part.id, ids.get(pool).cloned().unwrap_or_else(|| pool.to_owned()));
    }
    policies(want, have, &mut ids, &unmarked);
    let mut known = have.clone();
    for part in &mut known.parts {
        if let Some(id) = ids.get(part.id.as_str()) {
            part.resource = Some(resource(part.kind, id));
        }
    }
    Cow::Owned(known)
}

/// A pool of a Service is that of its listener; one of an Ingress is told by the port of the nodes that it sends to.
fn pool_id(want: &OctaviaStack, have: &Observed, ids: &BTreeMap<&str, String>, part: &Part) -> String {
    if layer(want) != Some(Layer::L7) {
        let of = |listener: &&Part| text(listener, "default_pool_id") == part.id;
        let listener = have.of(ResourceType::Listener).find(of);
        let id = listener.and_then(|l| ids.get(l.id.as_str()).cloned());
        return id.unwrap_or_else(|| part.id.clone());
    }
    let port = have.members.get(&part.id).and_then(|members| members.first()).map(|m| m.protocol_port);
    let same = |id: &&String| {
        let members = want.members.get(*id).and_then(|members| members.values().next());
        port.is_some() && members.map(|m| m.protocol_port) == port
    };
    // Of several with one port one is enough.
    let free = |id: &&String| !ids.values().any(|known| known == *id);
    want.pools.keys().filter(same).find(free).unwrap_or(&part.id).clone()
}

fn layer(want: &OctaviaStack) -> Option<Layer> {
    causeway_api::LbKey::of_owner_tag(&want.mark.owner).map(|key| key.layer)
}

/// A rule, without its policy.
fn rule(body: &Value) -> Vec<Value> {
    let mut fields: Vec<Value> =
        ["type", "compare_type", "value"].iter().map(|f| body.get(*f).cloned().unwrap_or_default()).collect();
    fields.push(json!(body.get("invert").and_then(Value::as_bool).unwrap_or_default()));
    fields
}

/// Policies of the same listener with the same rules are the same.
fn policies<'a>(
    want: &OctaviaStack,
    have: &'a Observed,
    ids: &mut BTreeMap<&'a str, String>,
    unmarked: &dyn Fn(&&Part) -> bool,
) {
    let wanted_rules = |policy: &str| {
        let of = Token::of(ResourceType::L7Policy, policy);
        want.l7_rules.iter().filter(move |(_, r)| r.l7policy_id == of).map(|(id, r)| (id, rule(&json!(r))))
    };
    let mut left: Vec<(&String, &L7PolicySpec)> = want.l7_policies.iter().collect();
    left.sort_by_key(|(_, policy)| policy.position);
    let mut there: Vec<&Part> = have.of(ResourceType::L7Policy).filter(|p| unmarked(p)).collect();
    there.sort_by_key(|p| p.body.get("position").and_then(Value::as_u64));
    for part in there {
        let rules: Vec<&Part> =
            have.of(ResourceType::L7Rule).filter(|r| text(r, "l7policy_id") == part.id).collect();
        let mut have_rules: Vec<Vec<Value>> = rules.iter().map(|r| rule(&r.body)).collect();
        have_rules.sort_by_key(|r| json!(r).to_string());
        let listener = ids.get(text(part, "listener_id")).cloned().unwrap_or_default();
        let same = |(id, policy): &(&String, &L7PolicySpec)| {
            let mut rules: Vec<Vec<Value>> = wanted_rules(id).map(|(_, r)| r).collect();
            rules.sort_by_key(|r| json!(r).to_string());
            policy.listener_id == Token::of(ResourceType::Listener, listener.as_str()) && rules == have_rules
        };
        let place = left.iter().position(same);
        let id = place.map_or_else(|| part.id.clone(), |at| left.remove(at).0.clone());
        for r in rules.into_iter().filter(|r| unmarked(r)) {
            let own =
                wanted_rules(&id).find(|(_, wanted)| *wanted == rule(&r.body)).map(|(id, _)| id.clone());
            ids.insert(&r.id, own.unwrap_or_else(|| r.id.clone()));
        }
        ids.insert(&part.id, id);
    }
}
