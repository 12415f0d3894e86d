//! A small OpenStack in memory, for tests of plans.
//!
//! It refuses what the real services refuse: a change of a load balancer that is pending, a fixed field in a PUT, a second listener on a port, a second
//! monitor of a pool, a pool that is in use, a group that is on a port.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::AppliedHash;
use serde_json::{Value, json};

use super::fields::fixed;
use super::{Change, Op};
use crate::observe::{Observed, Part, SeenLoadBalancer, State};
use crate::ownership::{Mark, resource};
use crate::stack::{FLOATING_IP, MemberSpec, ResourceType, SECURITY_GROUP};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thing {
    pub(super) kind: ResourceType,
    pub(super) body: Value,
    pub(super) tags: Vec<String>,
    pub(super) state: State,
    /// Looks until it is active again.
    pub(super) pending: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct World {
    pub(super) things: BTreeMap<String, Thing>,
    pub(super) members: BTreeMap<String, Vec<MemberSpec>>,
    pub(super) group_ports: BTreeSet<String>,
    pub(super) released: BTreeSet<String>,
    /// What a peer made.
    pub(super) theirs: BTreeSet<String>,
    kept: BTreeSet<String>,
    pub(super) next: u32,
    pub(super) calls: u32,
}

pub(super) fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn udp(body: &Value) -> bool {
    matches!(text(body, "protocol"), "UDP" | "SCTP")
}

impl World {
    pub(super) fn id(&mut self, what: &str) -> String {
        self.next += 1;
        format!("{what}-{:04}", self.next)
    }

    pub(super) fn of(&self, kind: ResourceType) -> impl Iterator<Item = (&String, &Thing)> {
        self.things.iter().filter(move |(_, t)| t.kind == kind)
    }

    pub(super) fn ours(mark: &Mark, thing: &Thing) -> bool {
        let prefix = format!("{}:", mark.description_prefix());
        match thing.kind {
            ResourceType::Secret => text(&thing.body, "name").starts_with(&prefix),
            ResourceType::SecurityGroupRule => !text(&thing.body, "security_group_id").starts_with("foreign"),
            ResourceType::FloatingIp | ResourceType::SecurityGroup => {
                text(&thing.body, "description").starts_with(&prefix)
            }
            _ => thing.tags.iter().any(|t| *t == format!("causeway.io/owner={}", mark.owner)),
        }
    }

    pub(super) fn resource(mark: &Mark, thing: &Thing) -> Option<String> {
        if !Self::ours(mark, thing) {
            return None;
        }
        let tag =
            || thing.tags.iter().find_map(|t| t.strip_prefix("causeway.io/resource=")).map(str::to_owned);
        match thing.kind {
            ResourceType::FloatingIp => Some(resource(thing.kind, FLOATING_IP)),
            ResourceType::SecurityGroup => Some(resource(thing.kind, SECURITY_GROUP)),
            ResourceType::SecurityGroupRule => {
                let b = &thing.body;
                let id = format!(
                    "{}-{}-{}",
                    text(b, "protocol"),
                    b["port_range_min"],
                    text(b, "remote_ip_prefix")
                );
                Some(resource(thing.kind, &id))
            }
            ResourceType::Secret => Some("Secret".to_owned()),
            _ => tag(),
        }
    }

    /// Looks; time goes by.
    pub(super) fn observe(&mut self, mark: &Mark, attached: Option<&str>) -> Observed {
        for thing in self.things.values_mut().filter(|t| t.state == State::Pending) {
            thing.pending = thing.pending.saturating_sub(1);
            if thing.pending == 0 {
                thing.state = State::Active;
            }
        }
        let on = || {
            let own = self
                .things
                .values()
                .filter(|t| t.kind == ResourceType::Listener || t.kind == ResourceType::Pool);
            own.filter(|t| Self::ours(mark, t)).find_map(|t| self.load_balancer_of(&t.body))
        };
        let none = self.of(ResourceType::LoadBalancer).all(|(_, t)| !Self::ours(mark, t));
        let attached = attached.map(str::to_owned).or_else(|| if none { on() } else { None });
        let mut ours: Vec<(&String, &Thing)> = self
            .of(ResourceType::LoadBalancer)
            .filter(|(id, t)| attached.as_ref().map_or(Self::ours(mark, t), |a| *id == a))
            .collect();
        ours.sort_by_key(|(id, _)| *id);
        let mut ours = ours.into_iter();
        let load_balancer = ours.next().map(|(id, thing)| SeenLoadBalancer {
            id: id.clone(),
            mark: if attached.is_some() { causeway_api::Mark::UserNamed } else { causeway_api::Mark::Ours },
            state: thing.state,
            addresses: vec!["10.6.0.9".parse().expect("an address")],
            vip_port_id: format!("vip-{id}"),
            adopted: crate::adopt::is_adopted(&thing.tags),
            floating_address: None,
            applied: thing
                .tags
                .iter()
                .find_map(|t| t.strip_prefix("causeway.io/applied="))
                .map_or(AppliedHash::Dirty, |t| t.parse().expect("never fails")),
            body: thing.body.clone(),
        });
        let of_lb = |t: &Thing| {
            let lb = load_balancer.as_ref().map(|lb| lb.id.as_str());
            self.load_balancer_of(&t.body).as_deref() == lb || Self::ours(mark, t)
        };
        let parts = self
            .things
            .iter()
            .filter(|(_, t)| t.kind != ResourceType::LoadBalancer)
            .filter(|(_, t)| of_lb(t) || t.kind == ResourceType::FloatingIp)
            .map(|(id, t)| Part {
                kind: t.kind,
                id: id.clone(),
                resource: Self::resource(mark, t),
                body: t.body.clone(),
            })
            .collect();
        Observed {
            surplus: ours.map(|(id, _)| id.clone()).collect(),
            load_balancer,
            parts,
            members: self.members.clone(),
            group_ports: self.group_ports.clone(),
            kept_floating_ips: self.kept.clone(),
            theirs: self.theirs.clone(),
            peer: None,
            settled: false,
            stuck: false,
        }
    }

    /// The load balancer that something belongs to.
    pub(super) fn load_balancer_of(&self, body: &Value) -> Option<String> {
        if let Some(id) = body.get("loadbalancer_id").and_then(Value::as_str) {
            return Some(id.to_owned());
        }
        let parent = ["pool_id", "listener_id", "l7policy_id"].iter().find_map(|f| body.get(*f)?.as_str())?;
        self.load_balancer_of(&self.things.get(parent)?.body)
    }

    /// References to what is there.
    pub(super) fn resolve(&self, mark: &Mark, value: &Value) -> Value {
        match value {
            Value::Object(map) => match map.get("$ref").and_then(Value::as_str) {
                Some(path) => {
                    let (kind, rest) =
                        path.strip_prefix("#/resources/").and_then(|p| p.split_once('/')).expect("a path");
                    let (id, field) = rest.rsplit_once('/').expect("a field");
                    let found =
                        self.things.iter().rev().filter(|(_, t)| t.kind.as_str() == kind).find(|(_, t)| {
                            match t.kind {
                                ResourceType::Secret => {
                                    Self::ours(mark, t) && text(&t.body, "payload").contains(id)
                                }
                                k => Self::resource(mark, t).as_deref() == Some(resource(k, id).as_str()),
                            }
                        });
                    let (id, _) = found.unwrap_or_else(|| panic!("nothing is there of {path}"));
                    json!(if field == "vip_port_id" { format!("vip-{id}") } else { id.clone() })
                }
                None => map
                    .iter()
                    .map(|(k, v)| (k.clone(), self.resolve(mark, v)))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            },
            Value::Array(all) => all.iter().map(|v| self.resolve(mark, v)).collect(),
            other => other.clone(),
        }
    }

    pub(super) fn add(&mut self, kind: ResourceType, mut body: Value) -> String {
        let id = self.id(kind.short());
        let tags: Vec<String> = body
            .as_object_mut()
            .and_then(|m| m.remove("tags"))
            .and_then(|t| serde_json::from_value(t).ok())
            .unwrap_or_default();
        match kind {
            ResourceType::Listener => {
                let lb = text(&body, "loadbalancer_id").to_owned();
                let twice = self.of(kind).any(|(_, t)| {
                    text(&t.body, "loadbalancer_id") == lb
                        && t.body["protocol_port"] == body["protocol_port"]
                        && udp(&t.body) == udp(&body)
                });
                assert!(!twice, "409: another listener has the port");
            }
            ResourceType::HealthMonitor => {
                let twice = self.of(kind).any(|(_, t)| t.body["pool_id"] == body["pool_id"]);
                assert!(!twice, "409: the pool has a monitor");
            }
            ResourceType::FloatingIp => {
                let twice = self.of(kind).any(|(_, t)| t.body["port_id"] == body["port_id"]);
                assert!(!twice, "409: the port has a floating IP");
            }
            ResourceType::L7Policy => self.move_policies(&body, &id),
            _ => {}
        }
        self.things.insert(id.clone(), Thing { kind, body, tags, state: State::Active, pending: 0 });
        id
    }

    /// A policy comes to a position: those behind it move.
    pub(super) fn move_policies(&mut self, body: &Value, id: &str) {
        let (listener, position) = (body["listener_id"].clone(), body["position"].as_u64().unwrap_or(1));
        for (other, thing) in self
            .things
            .iter_mut()
            .filter(|(_, t)| t.kind == ResourceType::L7Policy && t.body["listener_id"] == listener)
        {
            let at = thing.body["position"].as_u64().unwrap_or(1);
            if other != id && at >= position {
                thing.body["position"] = json!(at + 1);
            }
        }
    }

    /// Positions are those from 1, without gaps.
    pub(super) fn close_positions(&mut self) {
        let mut by_listener: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for (id, thing) in self.of(ResourceType::L7Policy) {
            let at = thing.body["position"].as_u64().unwrap_or(1);
            by_listener.entry(thing.body["listener_id"].to_string()).or_default().push((at, id.clone()));
        }
        for mut all in by_listener.into_values() {
            all.sort();
            for (place, (_, id)) in all.into_iter().enumerate() {
                if let Some(thing) = self.things.get_mut(&id) {
                    thing.body["position"] = json!(place + 1);
                }
            }
        }
    }

    pub(super) fn populate(&mut self, mark: &Mark, mut body: Value) {
        let take = |body: &mut Value, field: &str| {
            body.as_object_mut().and_then(|m| m.remove(field)).unwrap_or(json!([]))
        };
        let (pools, listeners) = (take(&mut body, "pools"), take(&mut body, "listeners"));
        let lb = self.add(ResourceType::LoadBalancer, body);
        let mut by_name: BTreeMap<String, String> = BTreeMap::new();
        for mut pool in pools.as_array().cloned().unwrap_or_default() {
            let (members, monitor) = (take(&mut pool, "members"), take(&mut pool, "healthmonitor"));
            pool["loadbalancer_id"] = json!(lb);
            let name = text(&pool, "name").to_owned();
            let id = self.add(ResourceType::Pool, pool);
            assert_eq!(by_name.insert(name, id.clone()), None, "400: two pools have one name");
            self.members.insert(id.clone(), members.as_array().into_iter().flatten().map(member).collect());
            if monitor.is_object() {
                let mut monitor = monitor;
                monitor["pool_id"] = json!(id);
                self.add(ResourceType::HealthMonitor, monitor);
            }
        }
        for mut listener in listeners.as_array().cloned().unwrap_or_default() {
            let (pool, policies) = (take(&mut listener, "default_pool"), take(&mut listener, "l7policies"));
            listener["loadbalancer_id"] = json!(lb);
            if pool.is_object() {
                listener["default_pool_id"] = json!(by_name[text(&pool, "name")]);
            }
            let listener = self.resolve(mark, &listener);
            let id = self.add(ResourceType::Listener, listener);
            for mut policy in policies.as_array().cloned().unwrap_or_default() {
                let (pool, rules) = (take(&mut policy, "redirect_pool"), take(&mut policy, "rules"));
                policy["listener_id"] = json!(id);
                if pool.is_object() {
                    policy["redirect_pool_id"] = json!(by_name[text(&pool, "name")]);
                }
                let policy = self.add(ResourceType::L7Policy, policy);
                for mut rule in rules.as_array().cloned().unwrap_or_default() {
                    rule["l7policy_id"] = json!(policy);
                    self.add(ResourceType::L7Rule, rule);
                }
            }
        }
        self.lock(&lb);
    }

    pub(super) fn lock(&mut self, lb: &str) {
        if let Some(thing) = self.things.get_mut(lb) {
            assert_eq!(thing.state, State::Active, "409: load balancer {lb} is immutable");
            thing.state = State::Pending;
            thing.pending = 2;
        }
    }

    /// Deletes a thing with all that belongs to it.
    pub(super) fn delete(&mut self, id: &str) {
        self.things.remove(id);
        self.kept.remove(id);
        self.members.remove(id);
        let fields = ["loadbalancer_id", "pool_id", "listener_id", "l7policy_id", "security_group_id"];
        let children: Vec<String> = self
            .things
            .iter()
            .filter(|(_, t)| fields.iter().any(|f| text(&t.body, f) == id))
            .map(|(id, _)| id.clone())
            .collect();
        for child in children {
            self.delete(&child);
        }
        for thing in self.things.values_mut().filter(|t| text(&t.body, "port_id") == format!("vip-{id}")) {
            thing.body["port_id"] = Value::Null;
        }
        self.close_positions();
    }

    pub(super) fn apply(&mut self, mark: &Mark, change: &Change) {
        self.calls += 1;
        match &change.op {
            Op::Post { body, .. } if change.kind == ResourceType::LoadBalancer => {
                self.populate(mark, body.clone())
            }
            Op::Post { body, .. } => {
                let body = self.resolve(mark, body);
                if let Some(lb) = self.load_balancer_of(&body) {
                    self.lock(&lb);
                }
                self.add(change.kind, body);
            }
            Op::Put { target, body } => {
                let id = self.resolve(mark, target).as_str().expect("an id").to_owned();
                let body = self.resolve(mark, body);
                let fields = body.as_object().expect("fields");
                assert!(
                    fields.keys().all(|f| !fixed(change.kind).contains(&f.as_str())),
                    "400: a fixed field: {change:?}"
                );
                let there = self.things.get(&id).unwrap_or_else(|| panic!("404 {id}")).body.clone();
                if change.kind == ResourceType::LoadBalancer {
                    self.lock(&id);
                } else if let Some(lb) = self.load_balancer_of(&there) {
                    self.lock(&lb);
                }
                if change.kind == ResourceType::L7Policy && body.get("position").is_some() {
                    let mut moved = there.clone();
                    moved["position"] = body["position"].clone();
                    self.move_policies(&moved, &id);
                }
                if let Some(map) = self.things.get_mut(&id).and_then(|t| t.body.as_object_mut()) {
                    for (field, value) in fields {
                        map.insert(field.clone(), value.clone());
                    }
                }
                self.close_positions();
            }
            Op::Delete { id, cascade, .. } => {
                let there = self.things.get(id).unwrap_or_else(|| panic!("404 {id}")).clone();
                assert!(
                    Self::ours(mark, &there) || self.theirs.contains(id),
                    "what is not ours is deleted: {there:?}"
                );
                if there.kind == ResourceType::LoadBalancer && !cascade {
                    let children = self.things.values().any(|t| text(&t.body, "loadbalancer_id") == id);
                    assert!(!children, "400: the load balancer has children");
                }
                if there.kind == ResourceType::Pool {
                    let used = self.things.values().any(|t| {
                        ["default_pool_id", "redirect_pool_id"].iter().any(|f| text(&t.body, f) == id)
                    });
                    assert!(!used, "409: pool {id} is in use");
                }
                assert!(
                    there.kind != ResourceType::SecurityGroup || self.group_ports.is_empty(),
                    "409: the group is in use"
                );
                if there.kind != ResourceType::LoadBalancer
                    && let Some(lb) = self.load_balancer_of(&there.body)
                {
                    self.lock(&lb);
                }
                self.delete(id);
            }
            Op::PutMembers { pool, members, .. } => {
                let pool = self.resolve(mark, pool).as_str().expect("an id").to_owned();
                let lb = text(&self.things[&pool].body, "loadbalancer_id").to_owned();
                self.lock(&lb);
                self.members.insert(pool, members.iter().map(member).collect());
            }
            Op::Group { join, leave } => {
                self.group_ports.extend(join.iter().cloned());
                self.group_ports.retain(|p| !leave.contains(p));
            }
            Op::Keep { target, keep } => {
                let id = self.resolve(mark, target).as_str().expect("an id").to_owned();
                if *keep {
                    self.kept.insert(id)
                } else {
                    self.kept.remove(&id)
                };
            }
            Op::Release { id } => {
                self.released.insert(id.clone());
                if let Some(thing) = self.things.get_mut(id) {
                    thing.body["description"] = json!("");
                    thing.body["port_id"] = Value::Null;
                }
            }
            Op::Adopt { id, name, peer } => {
                assert_eq!(text(&self.things[id].body, "name"), name);
                self.lock(id);
                if let Some(thing) = self.things.get_mut(id) {
                    thing
                        .tags
                        .extend(mark.octavia_tags(ResourceType::LoadBalancer, crate::stack::LOAD_BALANCER));
                    thing.tags.push(crate::adopt::mark(peer));
                }
            }
            Op::Await | Op::MarkDirty { already: true, .. } => self.calls -= 1,
            Op::MarkDirty { id, .. } => self.tag(id, "dirty"),
            Op::MarkApplied { applied } => {
                let id = {
                    let mut ours = self.of(ResourceType::LoadBalancer).filter(|(_, t)| Self::ours(mark, t));
                    ours.next().map(|(id, _)| id.clone()).expect("a load balancer")
                };
                self.tag(&id, applied);
            }
        }
    }

    pub(super) fn tag(&mut self, id: &str, applied: &str) {
        self.lock(id);
        if let Some(thing) = self.things.get_mut(id) {
            thing.tags.retain(|t| !t.starts_with("causeway.io/applied="));
            thing.tags.push(format!("causeway.io/applied={applied}"));
        }
    }
}

pub(super) fn member(value: &Value) -> MemberSpec {
    MemberSpec {
        name: text(value, "name").to_owned(),
        address: text(value, "address").parse().expect("an address"),
        protocol_port: u16::try_from(value["protocol_port"].as_u64().expect("a port")).expect("a port"),
        subnet_id: value["subnet_id"].as_str().map(str::to_owned),
        monitor_port: value["monitor_port"].as_u64().and_then(|p| u16::try_from(p).ok()),
    }
}
