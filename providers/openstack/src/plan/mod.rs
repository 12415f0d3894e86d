//! From what is there to what shall be: an ordered list of changes, complete before the first id is known. Pure.
//!
//! Order: mark dirty; the security group; secrets; the load balancer, which is made with all that belongs to it in one POST where its provider takes that;
//! pools with members and monitors; listeners; policies, each made disabled, given its rules, then enabled, as one with its first rule only would take the
//! requests of others; the floating IP; what is stale, the dependent first; the hash. So nothing is sent to what does not serve, and nothing goes before its
//! successor is there, but for what cannot stand beside it (a listener of another protocol on the same port), which is said as a replacement.
//!
//! A change of anything that belongs to a load balancer locks the whole of it: whoever applies the plan sends the first such change, drops the rest, and has
//! the plan made anew when the load balancer is active again. So a plan never looks back, and one that was cut off at any place is taken up by the next.

mod change;
mod fields;
mod members;
mod network;
mod policies;
mod populated;
mod remove;

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::names::TAG_APPLIED;
use causeway_api::{AppliedHash, LintContext, Mark, Plan, Problem};
use serde_json::{Value, json};

pub use change::{Change, Op};
pub use fields::changed as fields_changed;

use crate::adopt;
use crate::observe::{Observed, Part, SeenLoadBalancer, State};
use crate::ownership::{resource, tag};
use crate::stack::{LOAD_BALANCER, OctaviaStack, ResourceType};
use crate::stubborn;

/// Reason of a problem with a setting that cannot be changed.
pub const FIXED: &str = "CannotChange";
/// Reason of a problem with a port that another has.
pub const PORT_TAKEN: &str = "PortConflict";
/// Reason of a problem with a load balancer that is busy for ever.
pub const STUCK: &str = "StuckPending";

/// What leads from `have` to `want`.
#[must_use]
pub fn plan(want: &OctaviaStack, have: &Observed) -> Plan<Change> {
    let mut plan = match (&want.adopt, &have.peer) {
        (Some(adopted), Some(peer)) if have.load_balancer.is_none() && !want.frozen => {
            adopt::take(want, adopted, peer, &changes(want, &adopt::recognised(want, &peer.then)))
        }
        _ => changes(want, &adopt::recognised(want, have)),
    };
    for change in &mut plan.changes {
        change.owner.clone_from(&want.mark.owner);
        change.blame = want.told.first().map(|member| member.object.clone());
    }
    plan
}

fn changes(want: &OctaviaStack, have: &Observed) -> Plan<Change> {
    let lb = have.load_balancer.as_ref();
    if want.frozen || have.settled {
        return Plan::default();
    }
    match lb.map(|lb| lb.state) {
        Some(State::Pending) => {
            let what = "wait until the load balancer may be changed".to_owned();
            let mut change = Change::new(ResourceType::LoadBalancer, LOAD_BALANCER, Op::Await, what);
            change.mark = lb.map_or(Mark::Ours, |lb| lb.mark);
            let id = lb.map_or("", |lb| lb.id.as_str());
            let problems =
                if have.stuck { told(want, "spec", STUCK, &stubborn::busy(id)) } else { Vec::new() };
            return Plan { changes: vec![change], problems, ..Plan::default() };
        }
        Some(State::Error) if want.attached.is_some() => {
            let problems = told(
                want,
                "metadata.annotations[loadbalancer.openstack.org/load-balancer-id]",
                FIXED,
                "the load balancer that it names is in state ERROR, in which nothing of it can be changed: mend it, or name another",
            );
            return Plan { problems, ..Plan::default() };
        }
        _ => {}
    }
    if want.is_empty() {
        return remove::all(have, want.cascade_delete);
    }
    if let Some(lb) = lb.filter(|lb| lb.state == State::Error) {
        return remove::broken(want, have, lb);
    }
    Draft::new(want, have).build()
}

/// A problem of every member.
fn told(want: &OctaviaStack, field: &str, reason: &str, message: &str) -> Vec<Problem> {
    want.told.iter().map(|m| Problem::error(m.object.clone(), field, reason, message)).collect()
}

/// What is found for a resource of the stack.
enum Match<'a> {
    /// It is there.
    Found(&'a Part),
    /// It is there with something fixed that is otherwise.
    Stuck(&'a Part),
    /// It is not there.
    Absent,
}

/// A plan that is being made.
struct Draft<'a> {
    want: &'a OctaviaStack,
    have: &'a Observed,
    /// Ids of what is there and stays, by `TYPE/ID` of the stack.
    known: BTreeMap<String, String>,
    /// Ids of what stays, or is replaced in a change of its own.
    handled: BTreeSet<&'a str>,
    changes: Vec<Change>,
    problems: Vec<Problem>,
}

impl<'a> Draft<'a> {
    fn new(want: &'a OctaviaStack, have: &'a Observed) -> Self {
        Self {
            want,
            have,
            known: BTreeMap::new(),
            handled: BTreeSet::new(),
            changes: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn build(mut self) -> Plan<Change> {
        let lb = self.have.load_balancer.as_ref();
        self.group();
        self.all(ResourceType::Secret);
        match lb {
            Some(lb) => self.load_balancer(lb),
            None if self.want.attached.is_some() => {
                // Whoever named it is told when it is looked for; here it has just gone.
                return Plan::default();
            }
            None => self.make(),
        }
        if lb.is_some() || self.want.serial_calls {
            for kind in [ResourceType::Pool, ResourceType::HealthMonitor, ResourceType::Listener] {
                self.all(kind);
            }
            self.policies();
        }
        self.floating_ip();
        self.stale();
        self.finish()
    }

    /// A value with the ids of what is known.
    fn resolved(&self, value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                if let Some(path) = map.get("$ref").and_then(Value::as_str) {
                    return self.reference(path).map_or_else(|| value.clone(), |id| json!(id));
                }
                map.iter()
                    .map(|(k, v)| (k.clone(), self.resolved(v)))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }
            Value::Array(all) => all.iter().map(|v| self.resolved(v)).collect(),
            other => other.clone(),
        }
    }

    fn reference(&self, path: &str) -> Option<&str> {
        let (resource, field) = path.strip_prefix("#/resources/")?.rsplit_once('/')?;
        if field == "vip_port_id" {
            return self.have.load_balancer.as_ref().map(|lb| lb.vip_port_id.as_str());
        }
        self.known.get(resource).map(String::as_str)
    }

    fn know(&mut self, kind: ResourceType, id: &str, is: &str) {
        self.known.insert(format!("{kind}/{id}"), is.to_owned());
    }

    fn find(&self, kind: ResourceType, id: &str, want: &Value) -> Match<'a> {
        let tag = resource(kind, id);
        let mut best = Match::Absent;
        let mut candidates: Vec<&Part> = self
            .have
            .of(kind)
            .filter(|p| match kind {
                ResourceType::Secret => p.resource.is_some() && p.body.get("name") == want.get("name"),
                _ => p.resource.as_deref() == Some(tag.as_str()),
            })
            .collect();
        candidates.sort_by(|a, b| a.id.cmp(&b.id));
        for part in candidates {
            if fields::stuck(kind, want, &part.body).is_empty() {
                return Match::Found(part);
            }
            if matches!(best, Match::Absent) {
                best = Match::Stuck(part);
            }
        }
        best
    }

    /// Everything of a type that is wanted.
    fn all(&mut self, kind: ResourceType) {
        for (_, id, spec) in self.want.posted().into_iter().filter(|(k, _, _)| *k == kind) {
            self.one(kind, id, &spec);
            if kind == ResourceType::Pool {
                self.members(id);
            }
        }
    }

    /// One resource: found, changed, replaced or made.
    fn one(&mut self, kind: ResourceType, id: &str, spec: &Value) {
        let want = self.resolved(spec);
        match self.find(kind, id, &want) {
            Match::Found(part) => {
                // A secret is called by its URL.
                let known = part.body.get("secret_ref").and_then(Value::as_str).unwrap_or(&part.id);
                self.know(kind, id, known);
                self.handled.insert(&part.id);
                let mut body = fields::changed(kind, &want, &part.body);
                if self.have.theirs.contains(&part.id) {
                    body.remove("name");
                }
                if !body.is_empty() {
                    let names: Vec<&str> = body.keys().map(String::as_str).collect();
                    let summary = format!("change {} {id}: {}", noun(kind), names.join(", "));
                    let op = Op::Put { target: json!(part.id), body: body.clone().into() };
                    self.changes.push(Change::new(kind, id, op, summary));
                }
                return;
            }
            Match::Stuck(part) if replaced_in_place(kind) && self.parent_stays(kind, &want, part) => {
                self.handled.insert(&part.id);
                let stuck = fields::stuck(kind, &want, &part.body).join(", ");
                let (gap, reason) = match kind {
                    ResourceType::HealthMonitor => {
                        (0, format!("a pool has one monitor, and {stuck} is fixed"))
                    }
                    _ => (5, format!("no two can stand on one port, and {stuck} is fixed")),
                };
                let summary = format!("delete {} {id}, which is made anew", noun(kind));
                let op = Op::Delete {
                    id: part.id.clone(),
                    cascade: false,
                    marks: Vec::new(),
                    replaced: Some((gap, reason)),
                };
                self.changes.push(Change::new(kind, id, op, summary));
                self.goes_with(part);
            }
            Match::Stuck(_) | Match::Absent => {}
        }
        if kind == ResourceType::Listener && self.taken(id, &want) {
            return;
        }
        let mut body = want;
        tagged(self.want, kind, id, &mut body);
        let summary =
            format!("make {} {}", noun(kind), body.get("name").and_then(Value::as_str).unwrap_or(id));
        self.changes.push(Change::new(kind, id, Op::Post { body, otherwise: Vec::new() }, summary));
    }

    /// Whether what it belongs to is the same; if not, it goes with that.
    fn parent_stays(&self, kind: ResourceType, want: &Value, part: &Part) -> bool {
        let field = match kind {
            ResourceType::HealthMonitor => "pool_id",
            _ => return true,
        };
        want.get(field) == part.body.get(field)
    }

    /// What belongs to something that is deleted goes with it.
    fn goes_with(&mut self, gone: &'a Part) {
        let field = match gone.kind {
            ResourceType::Listener => "listener_id",
            ResourceType::L7Policy => "l7policy_id",
            ResourceType::Pool => "pool_id",
            ResourceType::SecurityGroup => "security_group_id",
            _ => return,
        };
        let of = |p: &&Part| p.body.get(field).and_then(Value::as_str) == Some(gone.id.as_str());
        let parts: Vec<&'a Part> = self.have.parts.iter().filter(of).collect();
        for part in parts {
            self.handled.insert(&part.id);
            self.goes_with(part);
        }
    }

    /// Whether a listener of somebody else has the port, which is said.
    fn taken(&mut self, id: &str, want: &Value) -> bool {
        let udp = |body: &Value| matches!(body.get("protocol").and_then(Value::as_str), Some("UDP" | "SCTP"));
        let holds = |p: &&Part| {
            p.resource.is_none()
                && p.body.get("protocol_port") == want.get("protocol_port")
                && udp(&p.body) == udp(want)
        };
        let Some(holder) = self.have.of(ResourceType::Listener).find(holds) else { return false };
        let message = format!(
            "port {id} is not served: listener {} of the load balancer has it, and is not ours; take another port, or another load balancer",
            holder.id
        );
        for member in self.want.told.iter().filter(|m| m.listeners.contains(id)) {
            self.problems.push(Problem::error(
                member.object.clone(),
                "spec.ports",
                PORT_TAKEN,
                message.clone(),
            ));
        }
        true
    }

    /// The load balancer that is there: what can be changed of it, and what cannot.
    fn load_balancer(&mut self, lb: &'a SeenLoadBalancer) {
        let kind = ResourceType::LoadBalancer;
        self.know(kind, LOAD_BALANCER, &lb.id);
        let Some(spec) = &self.want.load_balancer else { return };
        let want = json!(spec);
        let stuck = fields::stuck(kind, &want, &lb.body);
        if !stuck.is_empty() {
            let message = format!(
                "Octavia cannot change {} of a load balancer that is there, it stays as it is: set it back, or delete the object and make it anew, by which it \
                 gets another address",
                stuck.join(", ")
            );
            self.problems.extend(told(self.want, "spec", FIXED, &message));
        }
        let mut body = fields::changed(kind, &want, &lb.body);
        if lb.adopted {
            ["name", "description"].iter().for_each(|field| drop(body.remove(*field)));
        }
        if !body.is_empty() {
            let names: Vec<&str> = body.keys().map(String::as_str).collect();
            let summary = format!("change the load balancer: {}", names.join(", "));
            let op = Op::Put { target: json!(lb.id), body: body.clone().into() };
            self.changes.push(Change::new(kind, LOAD_BALANCER, op, summary));
        }
    }

    /// The load balancer that is not there.
    fn make(&mut self) {
        let Some(spec) = &self.want.load_balancer else { return };
        let kind = ResourceType::LoadBalancer;
        let mut body = json!(spec);
        tagged(self.want, kind, LOAD_BALANCER, &mut body);
        let mut summary = format!("make load balancer {} ({})", spec.name, spec.provider);
        if !self.want.serial_calls {
            populated::fill(self.want, &mut body);
            body = self.resolved(&body);
            if self.want.floating_ip.is_none()
                && let Some(tags) = body["tags"].as_array_mut()
            {
                // Nothing is left to do after this call, so that it is whole from the beginning.
                tags.push(json!(tag(TAG_APPLIED, &self.want.applied().to_string())));
            }
            summary = populated::summary(self.want);
        }
        let mut otherwise = Vec::new();
        if let Some(address) = self.want.former_address {
            // It asks for the address that it had, and where that is taken for any.
            otherwise.push(body.clone());
            body["vip_address"] = json!(address);
        }
        self.changes.push(Change::new(kind, LOAD_BALANCER, Op::Post { body, otherwise }, summary));
    }

    fn members(&mut self, pool: &str) {
        let kind = ResourceType::Pool;
        let known = self.known.get(&format!("{kind}/{pool}"));
        let have: &[crate::stack::MemberSpec] =
            known.and_then(|id| self.have.members.get(id)).map_or(&[], Vec::as_slice);
        let theirs = known.is_some_and(|id| self.have.theirs.contains(id));
        let want = self.want.members.get(pool).into_iter().flat_map(BTreeMap::values);
        let want: Vec<_> =
            want.map(|member| if theirs { members::kept(member, have) } else { member.clone() }).collect();
        let Some(batch) = members::batch(want.iter(), have) else { return };
        let (come, change, go) = batch.counts;
        let id = known.map_or_else(|| json!(crate::stack::Token::of(kind, pool)), |id| json!(id));
        let summary = format!("members of pool {pool}: {come} come, {change} change, {go} go");
        let op = Op::PutMembers { pool: id, members: batch.members, fewer: come == 0 && go > 0 };
        self.changes.push(Change::new(ResourceType::Member, pool, op, summary));
    }

    /// What is ours and no longer wanted, the dependent first; what belongs to a listener that is kept stays.
    fn stale(&mut self) {
        let kept = self.kept();
        if self.want.security_group.is_none() {
            self.changes.extend(remove::group(self.have));
            let groups: Vec<&'a Part> = self.have.of(ResourceType::SecurityGroup).collect();
            groups.into_iter().for_each(|group| self.goes_with(group));
        }
        for kind in remove::ORDER {
            let stale: Vec<&'a Part> = self
                .have
                .of(kind)
                .filter(|p| {
                    p.resource.is_some() && !self.handled.contains(p.id.as_str()) && !kept.contains(&p.id)
                })
                .collect();
            for part in stale {
                if self.handled.contains(part.id.as_str()) {
                    continue;
                }
                self.handled.insert(&part.id);
                self.goes_with(part);
                self.changes.push(remove::one(part, &self.have.kept_floating_ips));
            }
        }
        for id in &self.have.surplus {
            let op = Op::Delete { id: id.clone(), cascade: true, marks: Vec::new(), replaced: None };
            let summary = format!("delete load balancer {id}, which a lost answer left");
            self.changes.push(Change::new(ResourceType::LoadBalancer, id, op, summary));
        }
    }

    /// Ids of what belongs to listeners that stay as they are.
    fn kept(&self) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        for id in &self.want.kept {
            for kind in [ResourceType::Listener, ResourceType::Pool, ResourceType::HealthMonitor] {
                let tag = resource(kind, id);
                let own = self.have.of(kind).filter(|p| p.resource.as_deref() == Some(tag.as_str()));
                kept.extend(own.map(|p| p.id.clone()));
            }
        }
        if !self.want.kept.is_empty() {
            // Which certificate a listener has that stays is not looked at.
            kept.extend(self.have.of(ResourceType::Secret).map(|p| p.id.clone()));
        }
        kept
    }

    fn finish(mut self) -> Plan<Change> {
        let lb = self.have.load_balancer.as_ref();
        let keeps_hash = self.want.attached.is_none();
        let context = LintContext { keeps_hash, exists: lb.is_some(), removes: false };
        let targets = |c: &Change| matches!(c.op, Op::PutMembers { .. });
        let applied = self.want.applied();
        let clean = lb.is_some_and(|lb| lb.applied == applied);
        if keeps_hash && !(self.changes.iter().all(targets) && clean) {
            if let Some(lb) = lb
                && !self.changes.iter().all(targets)
            {
                let already = lb.applied == AppliedHash::Dirty;
                let what = "note that a change was begun".to_owned();
                let op = Op::MarkDirty { id: lb.id.clone(), already };
                self.changes.insert(0, Change::new(ResourceType::LoadBalancer, LOAD_BALANCER, op, what));
            }
            let applied = applied.to_string();
            let summary = format!("note that {applied} is applied");
            let op = Op::MarkApplied { applied };
            self.changes.push(Change::new(ResourceType::LoadBalancer, LOAD_BALANCER, op, summary));
        }
        Plan { changes: self.changes, problems: self.problems, context }
    }
}

/// Whether another cannot stand beside it.
fn replaced_in_place(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Listener | ResourceType::HealthMonitor)
}

/// Puts the tags into a body, of what takes them with its POST.
fn tagged(want: &OctaviaStack, kind: ResourceType, id: &str, body: &mut Value) {
    let octavia = !matches!(
        kind,
        ResourceType::FloatingIp
            | ResourceType::SecurityGroup
            | ResourceType::SecurityGroupRule
            | ResourceType::Secret
    );
    if octavia {
        let mut tags = want.mark.octavia_tags(kind, id);
        // The peer takes a listener without it for somebody else's.
        tags.extend(want.peer_tag.clone().filter(|_| kind == ResourceType::Listener));
        body["tags"] = json!(tags);
    }
}

/// What a type is called.
fn noun(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::LoadBalancer => "load balancer",
        ResourceType::Listener => "listener",
        ResourceType::Pool => "pool",
        ResourceType::Member => "member",
        ResourceType::HealthMonitor => "health monitor",
        ResourceType::L7Policy => "L7 policy",
        ResourceType::L7Rule => "L7 rule",
        ResourceType::FloatingIp => "floating IP",
        ResourceType::SecurityGroup => "security group",
        ResourceType::SecurityGroupRule => "rule of the security group",
        ResourceType::Secret => "secret",
    }
}

#[cfg(test)]
mod adoption;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod known;
#[cfg(test)]
mod simulation;
