//! The body that makes a load balancer with all that belongs to it in one call. Pure.
//!
//! Pools stand beside the listeners, and listeners and policies name them: so several may send to one. Where a body has no place for a reference, the parts
//! are nested instead: members and monitor in their pool, policies in their listener, rules in their policy.

use serde_json::{Map, Value, json};

use crate::stack::{OctaviaStack, PolicyAction, ResourceType, Token};

/// The members of a pool.
pub(super) fn members(want: &OctaviaStack, pool: &str) -> Vec<Value> {
    want.members.get(pool).into_iter().flat_map(|m| m.values()).map(|m| json!(m)).collect()
}

/// Puts all that belongs to the load balancer into its body.
pub(super) fn fill(want: &OctaviaStack, body: &mut Value) {
    let pools: Vec<Value> = want
        .pools
        .iter()
        .map(|(id, pool)| {
            let mut value = part(want, ResourceType::Pool, id, json!(pool), &["loadbalancer_id"]);
            value["members"] = json!(members(want, id));
            if let Some(monitor) = want.health_monitors.get(id) {
                value["healthmonitor"] =
                    part(want, ResourceType::HealthMonitor, id, json!(monitor), &["pool_id"]);
            }
            value
        })
        .collect();
    let listeners: Vec<Value> = want
        .listeners
        .iter()
        .map(|(id, listener)| {
            let drop = ["loadbalancer_id", "default_pool_id"];
            let mut value = part(want, ResourceType::Listener, id, json!(listener), &drop);
            if let Some(pool) = listener.default_pool_id.as_ref().and_then(|t| named(want, t)) {
                value["default_pool"] = pool;
            }
            let policies = policies(want, id);
            if !policies.is_empty() {
                value["l7policies"] = json!(policies);
            }
            value
        })
        .collect();
    body["pools"] = json!(pools);
    body["listeners"] = json!(listeners);
}

fn policies(want: &OctaviaStack, listener: &str) -> Vec<Value> {
    let of = Token::of(ResourceType::Listener, listener);
    let mut own: Vec<_> = want.l7_policies.iter().filter(|(_, p)| p.listener_id == of).collect();
    own.sort_by_key(|(_, p)| p.position);
    own.into_iter()
        .map(|(id, policy)| {
            let drop = ["listener_id", "redirect_pool_id"];
            let mut value = part(want, ResourceType::L7Policy, id, json!(policy), &drop);
            if let PolicyAction::RedirectToPool { redirect_pool_id } = &policy.action
                && let Some(pool) = named(want, redirect_pool_id)
            {
                value["redirect_pool"] = pool;
            }
            let of = Token::of(ResourceType::L7Policy, id.as_str());
            let rules: Vec<Value> = want
                .l7_rules
                .iter()
                .filter(|(_, r)| r.l7policy_id == of)
                .map(|(id, r)| part(want, ResourceType::L7Rule, id, json!(r), &["l7policy_id"]))
                .collect();
            value["rules"] = json!(rules);
            value
        })
        .collect()
}

/// A pool of the same body, by its name.
fn named(want: &OctaviaStack, token: &Token) -> Option<Value> {
    match token {
        Token::Ref { id, .. } => want.pools.get(id).map(|pool| json!({ "name": pool.name })),
        Token::Literal(_) => None,
    }
}

/// A part with its tags, without what its place says already.
fn part(want: &OctaviaStack, kind: ResourceType, id: &str, spec: Value, drop: &[&str]) -> Value {
    let mut map: Map<String, Value> = match spec {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for field in drop {
        map.remove(*field);
    }
    map.insert("tags".to_owned(), json!(want.mark.octavia_tags(kind, id)));
    Value::Object(map)
}

/// What is made, for people.
pub(super) fn summary(want: &OctaviaStack) -> String {
    let Some(spec) = &want.load_balancer else { return String::new() };
    let members: usize = want.members.values().map(std::collections::BTreeMap::len).sum();
    let mut parts = vec![
        counted(want.listeners.len(), "listener"),
        counted(want.pools.len(), "pool"),
        counted(members, "member"),
    ];
    if !want.health_monitors.is_empty() {
        parts.push(counted(want.health_monitors.len(), "health monitor"));
    }
    if !want.l7_policies.is_empty() {
        parts.push(counted(want.l7_policies.len(), "L7 policy").replace("policys", "policies"));
    }
    format!("make load balancer {} ({}) with {}", spec.name, spec.provider, parts.join(", "))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
