//! What leads from what is there to the stack: an ordered list of calls, complete before the first id is known. Pure.
//!
//! Order within an existing load balancer: mark dirty; target groups, targets, listeners, rules are made; rules are put in order at once;
//! what is stale goes, rules first, target groups last; targets leave; another load balancer of ours goes; the hash is written. So nothing is
//! ever forwarded to what does not exist, and nothing goes before its successor serves, unless a quota leaves no other way.
//!
//! The whole tree is compared at every time; the hash of what was applied tells only whether a plan was carried through. Parts that do not
//! carry our mark are never touched: where one takes a wanted place, the member is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::{
    AppliedHash, ChangeInfo, LbKey, Limit, LintContext, Mark, ObjectRef, Plan, PlannedChange, Problem,
    Target, Verb, names,
};
use serde::Serialize;

use super::desired::ModelStack;
use super::limits;
use super::naming;
use super::observe::Observed;
use super::parts::{Parts, Stale};
use crate::cloud::{
    Differences, LoadBalancer, NodeSets, Nodes, Request, SetId, Spec, Status, Tags, TargetDelta, Targets,
    quota,
};

/// Which load balancer a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum LbRef {
    /// One that exists.
    Id(String),
    /// The one of this name that an earlier change of the plan makes.
    Named(String),
}

/// One change: one call, or none if it has taken effect already.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Whose load balancer.
    pub key: LbKey,
    /// Which load balancer.
    pub load_balancer: LbRef,
    /// The call; its `id` is filled in when it is made.
    pub request: Request,
    /// Nothing may follow before the load balancer serves.
    pub awaits_active: bool,
    /// Whom to tell if the cloud refuses it.
    pub blame: ObjectRef,
    /// What it is, for everybody else.
    pub info: ChangeInfo,
}

impl PlannedChange for Change {
    fn info(&self) -> ChangeInfo {
        self.info.clone()
    }
}

/// The hash of a stack, without targets, marks, and what does not tell one load balancer from its successor.
#[must_use]
pub fn hash(spec: &Spec) -> AppliedHash {
    AppliedHash::of(&(
        (&spec.layer, &spec.scheme, &spec.families, &spec.requested_address),
        (&spec.listeners, &spec.rules, &spec.target_groups),
    ))
}

fn applied(tags: &Tags) -> AppliedHash {
    match tags.get(names::TAG_APPLIED).map(|t| t.parse()) {
        Some(Ok(hash)) => hash,
        None => AppliedHash::Dirty,
    }
}

/// Whether a load balancer is what the stack asks for, in all that cannot be changed.
fn fits(spec: &Spec, have: &LoadBalancer) -> bool {
    let address = spec.requested_address.is_none_or(|a| have.addresses.contains(&a));
    have.spec.layer == spec.layer && have.spec.scheme == spec.scheme && address
}

/// The load balancer that serves the stack, and the others that carry its mark. Of several that fit the oldest is kept: after a lost answer
/// there may be two.
pub(super) fn current<'a>(
    stack: &ModelStack,
    have: &'a Observed,
) -> (Option<&'a LoadBalancer>, Vec<&'a LoadBalancer>) {
    let mut ours: Vec<_> = have
        .load_balancers
        .iter()
        .filter(|lb| naming::marked(&lb.spec.tags, &stack.cluster) && lb.status != Status::PendingDelete)
        .collect();
    ours.sort_by_key(|lb| (lb.created, &lb.id));
    let chosen = match &stack.spec {
        Some(spec) => {
            let fit = ours.iter().position(|lb| fits(spec, lb));
            if stack.frozen { fit.or((!ours.is_empty()).then_some(0)) } else { fit }
        }
        None => None,
    };
    (chosen.map(|i| ours.remove(i)), ours)
}

/// Makes the plan.
#[must_use]
pub fn plan(
    stack: &ModelStack,
    have: &Observed,
    populate_rules: bool,
    differences: &Differences,
) -> Plan<Change> {
    let (current, others) = current(stack, have);
    let mut draft = Draft {
        stack,
        differences,
        load_balancer: LbRef::Named(String::new()),
        changes: Vec::new(),
        problems: Vec::new(),
    };
    let mut context = LintContext { keeps_hash: true, exists: current.is_some(), removes: false };
    match (&stack.spec, current) {
        (None, _) => {
            // What is not understood is no reason to take away what serves.
            if !stack.frozen || stack.members.is_empty() {
                context.removes = true;
                others.iter().for_each(|lb| draft.remove(lb));
            }
        }
        (Some(spec), None) => draft.create(spec, &others, populate_rules),
        (Some(spec), Some(lb)) => draft.change(spec, lb, &others, have),
    }
    Plan { changes: draft.changes, problems: draft.problems, context }
}

struct Draft<'a> {
    stack: &'a ModelStack,
    /// Only speed: what is in it follows from the sets.
    differences: &'a Differences,
    load_balancer: LbRef,
    changes: Vec<Change>,
    problems: Vec<Problem>,
}

/// How a change reads to everybody else.
struct Words<'a> {
    verb: Verb,
    mark: Mark,
    kind: &'a str,
    id: &'a str,
    summary: String,
}

impl Draft<'_> {
    fn push(&mut self, request: Request, words: Words<'_>) -> &mut Change {
        let (verb, mark) = (words.verb, words.mark);
        let target = Target { kind: format!("Model::{}", words.kind), id: words.id.to_owned() };
        let blame = self.stack.sources.get(words.id).cloned().unwrap_or_else(|| self.stack.blame());
        let info = ChangeInfo {
            verb,
            target,
            mark,
            cascade: Vec::new(),
            limits: Vec::new(),
            default_action: None,
            summary: words.summary,
        };
        let index = self.changes.len();
        self.changes.push(Change {
            key: self.stack.key.clone(),
            load_balancer: self.load_balancer.clone(),
            request,
            awaits_active: false,
            blame,
            info,
        });
        &mut self.changes[index]
    }

    fn child(&mut self, request: Request, verb: Verb, kind: &str, id: &str) -> &mut Change {
        let mark = if verb == Verb::Create { Mark::New } else { Mark::Ours };
        let summary = format!("{verb:?} {kind} {id} of {}", self.stack.key);
        self.push(request, Words { verb, mark, kind, id, summary })
    }

    fn mark(&mut self, verb: Verb, value: &AppliedHash) {
        let tags = Tags::from([(names::TAG_APPLIED.to_owned(), value.to_string())]);
        let summary = format!("mark the load balancer of {} {value}", self.stack.key);
        let request = Request::SetTags { id: String::new(), tags };
        let words = Words { verb, mark: Mark::Ours, kind: "LoadBalancer", id: "LoadBalancer", summary };
        self.push(request, words);
    }

    fn limit(&self, name: &str, after: usize) -> Limit {
        limits::limit(&self.stack.quotas, name, after)
    }

    fn max(&self, name: &str) -> usize {
        usize::try_from(limits::max(&self.stack.quotas, name)).unwrap_or(usize::MAX)
    }

    fn tell(&mut self, source: &str, reason: &str, message: String) {
        let object = self.stack.sources.get(source).cloned().unwrap_or_else(|| self.stack.blame());
        let problem = Problem::error(object, "", reason, message);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// A new load balancer: one call where nothing else is to be done.
    fn create(&mut self, spec: &Spec, others: &[&LoadBalancer], populate_rules: bool) {
        let mut first = spec.clone();
        if !populate_rules {
            first.rules.clear();
        }
        let later = first.rules.len() < spec.rules.len();
        let value = if later || !others.is_empty() { AppliedHash::Dirty } else { hash(spec) };
        first.tags.insert(names::TAG_APPLIED.to_owned(), value.to_string());
        let limits = vec![
            self.limit(quota::LISTENERS, spec.listeners.len()),
            self.limit(quota::TARGET_GROUPS, spec.target_groups.len()),
            self.limit(quota::RULES, first.rules.len()),
        ];
        let summary = format!(
            "create load balancer {} of {} with {} listeners and {} target groups",
            spec.name,
            self.stack.key,
            spec.listeners.len(),
            spec.target_groups.len()
        );
        let request = Request::CreateLoadBalancer { spec: Box::new(first), sets: self.stack.sets.clone() };
        self.load_balancer = LbRef::Named(spec.name.clone());
        let words =
            Words { verb: Verb::Create, mark: Mark::New, kind: "LoadBalancer", id: "LoadBalancer", summary };
        let change = self.push(request, words);
        change.info.limits = limits;
        change.info.default_action = Some(true);
        change.awaits_active = !others.is_empty();
        if later {
            for (count, (name, rule)) in spec.rules.iter().enumerate() {
                let limit = self.limit(quota::RULES, count + 1);
                let request =
                    Request::CreateRule { id: String::new(), name: name.clone(), rule: rule.clone() };
                self.child(request, Verb::Create, "Rule", name).info.limits.push(limit);
            }
        }
        let new = self.load_balancer.clone();
        others.iter().for_each(|lb| self.remove(lb));
        self.load_balancer = new;
        if value == AppliedHash::Dirty {
            self.mark(Verb::MarkApplied, &hash(spec));
        }
    }

    /// Deletes a load balancer of ours with what is in it, or what in it is ours.
    fn remove(&mut self, lb: &LoadBalancer) {
        let spec = &lb.spec;
        let cluster = &self.stack.cluster;
        let ours = |tags: &Tags| naming::marked(tags, cluster);
        self.load_balancer = LbRef::Id(lb.id.clone());
        let children = spec.listeners.values().map(|l| &l.tags).chain(spec.rules.values().map(|r| &r.tags));
        let children = children.chain(spec.target_groups.values().map(|g| &g.tags));
        let marks: Vec<Mark> = children.map(|t| if ours(t) { Mark::Ours } else { Mark::Foreign }).collect();
        if !marks.contains(&Mark::Foreign) {
            let summary = format!("delete load balancer {} of {}", lb.id, self.stack.key);
            let request = Request::DeleteLoadBalancer { id: String::new(), cascade: true };
            let words = Words {
                verb: Verb::Delete,
                mark: Mark::Ours,
                kind: "LoadBalancer",
                id: "LoadBalancer",
                summary,
            };
            self.push(request, words).info.cascade = marks;
            return;
        }
        let foreign_rules: BTreeSet<&str> =
            spec.rules.values().filter(|r| !ours(&r.tags)).map(|r| r.listener.as_str()).collect();
        let rules: Vec<_> = spec.rules.iter().filter(|(_, r)| ours(&r.tags)).map(|(n, _)| n).collect();
        let listeners: Vec<_> = spec
            .listeners
            .iter()
            .filter(|(n, l)| ours(&l.tags) && !foreign_rules.contains(n.as_str()))
            .map(|(n, _)| n)
            .collect();
        for name in &rules {
            let request = Request::DeleteRule { id: String::new(), name: (*name).clone() };
            self.child(request, Verb::Delete, "Rule", name);
        }
        for name in &listeners {
            let request = Request::DeleteListener { id: String::new(), name: (*name).clone() };
            self.child(request, Verb::Delete, "Listener", name);
        }
        let mut left = spec.clone();
        left.rules.retain(|n, _| !rules.contains(&n));
        left.listeners.retain(|n, _| !listeners.contains(&n));
        let used: BTreeSet<&str> = left.used_groups().collect();
        for (name, group) in &spec.target_groups {
            if ours(&group.tags) && !used.contains(name.as_str()) {
                let request = Request::DeleteTargetGroup { id: String::new(), name: name.clone() };
                self.child(request, Verb::Delete, "TargetGroup", name);
            }
        }
        let text = format!(
            "load balancer {} is not deleted: somebody else made a part of it; delete that part",
            lb.id
        );
        self.tell("", "ForeignResource", text);
    }

    /// Changes a load balancer in place.
    fn change(&mut self, want: &Spec, lb: &LoadBalancer, others: &[&LoadBalancer], have: &Observed) {
        self.load_balancer = LbRef::Id(lb.id.clone());
        let missing_tags: Tags = want
            .tags
            .iter()
            .filter(|(k, v)| lb.spec.tags.get(*k) != Some(*v))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !missing_tags.is_empty() {
            let words = Words {
                verb: Verb::Update,
                mark: Mark::Ours,
                kind: "LoadBalancer",
                id: "LoadBalancer",
                summary: format!("put the tags of load balancer {} back", lb.id),
            };
            self.push(Request::SetTags { id: String::new(), tags: missing_tags }, words);
        }
        if want.families != lb.spec.families {
            let words = Words {
                verb: Verb::Update,
                mark: Mark::Ours,
                kind: "LoadBalancer",
                id: "LoadBalancer",
                summary: format!("set the address families of load balancer {}", lb.id),
            };
            self.push(Request::SetFamilies { id: String::new(), families: want.families.clone() }, words);
        }
        let mut parts = Parts::compare(self.stack, want, &lb.spec);
        let quotas = &self.stack.quotas;
        parts.fit_quotas(quotas, &mut |source, reason, text| self.tell(source, reason, text));
        self.parts(&parts, want, lb, have);
        let new = self.load_balancer.clone();
        if matches!(lb.status, Status::Active) {
            others.iter().for_each(|other| self.remove(other));
        }
        self.load_balancer = new;
        let mutates = self.changes.iter().any(|c| !matches!(c.info.verb, Verb::Register | Verb::Deregister));
        let value = hash(want);
        if mutates || applied(&lb.spec.tags) != value {
            if !self.changes.is_empty() {
                self.mark(Verb::MarkDirty, &AppliedHash::Dirty);
                self.changes.rotate_right(1);
            }
            self.mark(Verb::MarkApplied, &value);
        }
    }

    fn parts(&mut self, parts: &Parts<'_>, want: &Spec, lb: &LoadBalancer, have: &Observed) {
        let id = String::new;
        let mut counts = Counts::of(&lb.spec);
        parts.early.iter().for_each(|stale| self.delete(stale, &mut counts));
        let (registered, deregistered) = self.target_changes(parts, want, lb, have);
        let squeezed = self.squeezed(&registered, lb, have);
        if squeezed {
            self.retarget(&deregistered, Verb::Deregister);
        }
        for name in &parts.new_groups {
            let group = want.target_groups[*name].clone();
            let nodes =
                |set: &SetId| self.stack.sets.get(set).map(|n| n.iter().collect()).unwrap_or_default();
            let targets = want.targets.get(*name).into_iter().flatten();
            let targets = targets.map(|(port, set)| (*port, nodes(set))).collect();
            counts.groups += 1;
            let limit = self.limit(quota::TARGET_GROUPS, counts.groups);
            let request = Request::CreateTargetGroup { id: id(), name: (*name).to_owned(), group, targets };
            self.child(request, Verb::Create, "TargetGroup", name).info.limits.push(limit);
        }
        for name in &parts.changed_groups {
            let group = want.target_groups[*name].clone();
            let request = Request::ModifyTargetGroup { id: id(), name: (*name).to_owned(), group };
            self.child(request, Verb::Update, "TargetGroup", name);
        }
        self.retarget(&registered, Verb::Register);
        for name in &parts.new_listeners {
            let listener = want.listeners[*name].clone();
            counts.listeners += 1;
            let limit = self.limit(quota::LISTENERS, counts.listeners);
            let info = &mut self
                .child(Request::CreateListener { id: id(), listener }, Verb::Create, "Listener", name)
                .info;
            info.limits.push(limit);
            info.default_action = Some(true);
        }
        for name in &parts.changed_listeners {
            let l = want.listeners[*name].clone();
            let request = Request::ModifyListener {
                id: id(),
                name: (*name).to_owned(),
                default_action: l.default_action,
                source_ranges: l.source_ranges,
                certificates: l.certificates,
                tags: l.tags,
            };
            self.child(request, Verb::Update, "Listener", name).info.default_action = Some(true);
        }
        self.rules(parts, want, lb, &mut counts);
        parts.late.iter().for_each(|stale| self.delete(stale, &mut counts));
        if !squeezed {
            self.retarget(&deregistered, Verb::Deregister);
        }
    }

    /// New rules first go behind all others, then all get their place at once.
    fn rules(&mut self, parts: &Parts<'_>, want: &Spec, lb: &LoadBalancer, counts: &mut Counts) {
        let gone: BTreeSet<&str> = parts.early.iter().filter(|s| s.kind == "Rule").map(|s| s.name).collect();
        let mut places: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
        for (name, rule) in &lb.spec.rules {
            if !gone.contains(name.as_str()) {
                places.entry(&rule.listener).or_default().insert(name, rule.position);
            }
        }
        for name in &parts.new_rules {
            let mut rule = want.rules[*name].clone();
            let held = places.entry(&want.rules[*name].listener).or_default();
            if held.values().any(|p| *p == rule.position) {
                let behind = held.values().copied().max().unwrap_or(0);
                let wanted = want.rules.values().filter(|r| r.listener == rule.listener).count();
                rule.position = behind.max(u32::try_from(wanted).unwrap_or(u32::MAX - 1)) + 1;
            }
            held.insert(name, rule.position);
            counts.rules += 1;
            let limit = self.limit(quota::RULES, counts.rules);
            let request = Request::CreateRule { id: String::new(), name: (*name).to_owned(), rule };
            self.child(request, Verb::Create, "Rule", name).info.limits.push(limit);
        }
        for name in &parts.changed_rules {
            let rule = &want.rules[*name];
            let request = Request::ModifyRule {
                id: String::new(),
                name: (*name).to_owned(),
                rule_action: rule.action.clone(),
                tags: rule.tags.clone(),
            };
            self.child(request, Verb::Update, "Rule", name);
        }
        for (listener, held) in &places {
            let positions = arrange(held, want, parts, lb);
            if !positions.is_empty() {
                let request = Request::SetRulePositions {
                    id: String::new(),
                    listener: (*listener).to_owned(),
                    positions,
                };
                self.child(request, Verb::Update, "RulePositions", listener);
            }
        }
    }

    fn delete(&mut self, stale: &Stale<'_>, counts: &mut Counts) {
        let (id, name) = (String::new(), stale.name.to_owned());
        let request = match stale.kind {
            "Rule" => {
                counts.rules -= 1;
                Request::DeleteRule { id, name }
            }
            "Listener" => {
                counts.listeners -= 1;
                Request::DeleteListener { id, name }
            }
            _ => {
                counts.groups -= 1;
                Request::DeleteTargetGroup { id, name }
            }
        };
        self.child(request, Verb::Delete, stale.kind, stale.name);
    }

    /// Targets to add to and to take from the target groups that stay.
    fn target_changes(
        &self,
        parts: &Parts<'_>,
        want: &Spec,
        lb: &LoadBalancer,
        have: &Observed,
    ) -> (Vec<TargetDelta>, Vec<TargetDelta>) {
        let (mut add, mut take) = (Vec::new(), Vec::new());
        let none = Targets::new();
        for name in &parts.kept_groups {
            let wanted = want.targets.get(*name).unwrap_or(&none);
            let held = lb.spec.targets.get(*name).unwrap_or(&none);
            let ports: BTreeSet<u16> = wanted.keys().chain(held.keys()).copied().collect();
            for port in ports {
                let (w, h) = (wanted.get(&port), held.get(&port));
                if w == h {
                    continue;
                }
                let difference = self.differences.between((h, w), || {
                    let new = w.and_then(|s| self.stack.sets.get(s)).cloned().unwrap_or_default();
                    let old = h.and_then(|s| have.sets.get(s)).cloned().unwrap_or_default();
                    (old, new)
                });
                let delta = |nodes: &[IpAddr]| TargetDelta {
                    target_group: (*name).to_owned(),
                    port,
                    nodes: nodes.to_vec(),
                };
                if !difference.more.is_empty() {
                    add.push(delta(&difference.more));
                }
                if !difference.less.is_empty() {
                    take.push(delta(&difference.less));
                }
            }
        }
        (add, take)
    }

    /// Whether targets must leave before others come, because a target group may not hold both.
    fn squeezed(&self, add: &[TargetDelta], lb: &LoadBalancer, have: &Observed) -> bool {
        let held = |group: &str| -> usize {
            let sets = lb.spec.targets.get(group).into_iter().flatten();
            sets.map(|(_, s)| have.sets.get(s).map_or(0, Nodes::len)).sum()
        };
        let more = |group: &str| -> usize {
            add.iter().filter(|d| d.target_group == group).map(|d| d.nodes.len()).sum()
        };
        let max = self.max(quota::TARGETS);
        add.iter().any(|d| held(&d.target_group) + more(&d.target_group) > max)
    }

    /// One call for all target groups of the load balancer.
    fn retarget(&mut self, deltas: &[TargetDelta], verb: Verb) {
        if deltas.is_empty() {
            return;
        }
        let targets = deltas.to_vec();
        let count: usize = targets.iter().map(|d| d.nodes.len()).sum();
        let request = if verb == Verb::Register {
            Request::RegisterTargets { id: String::new(), targets }
        } else {
            Request::DeregisterTargets { id: String::new(), targets }
        };
        let summary = format!("{verb:?} {count} targets of {}", self.stack.key);
        self.push(request, Words { verb, mark: Mark::Ours, kind: "Targets", id: "Targets", summary });
    }
}

/// How many of what there are as the plan proceeds.
struct Counts {
    groups: usize,
    listeners: usize,
    rules: usize,
}

impl Counts {
    fn of(spec: &Spec) -> Self {
        Self { groups: spec.target_groups.len(), listeners: spec.listeners.len(), rules: spec.rules.len() }
    }
}

/// New positions of the rules of one listener; empty if they are in order. Those of others keep their places.
fn arrange(
    held: &BTreeMap<&str, u32>,
    want: &Spec,
    parts: &Parts<'_>,
    lb: &LoadBalancer,
) -> BTreeMap<String, u32> {
    let foreign = |name: &str| parts.foreign_rules.contains(name) && lb.spec.rules.contains_key(name);
    let taken: BTreeSet<u32> = held.iter().filter(|(n, _)| foreign(n)).map(|(_, p)| *p).collect();
    let mut wanted: Vec<(u32, &str)> = held
        .keys()
        .filter(|n| !foreign(n))
        .filter_map(|n| Some((want.rules.get(*n)?.position, *n)))
        .collect();
    wanted.sort_unstable();
    // Stale rules keep their order, behind all others, until they are deleted.
    let mut stale: Vec<(u32, &str)> = held
        .iter()
        .filter(|(n, _)| !foreign(n) && !want.rules.contains_key(**n))
        .map(|(n, p)| (*p, *n))
        .collect();
    stale.sort_unstable();
    let ordered: Vec<u32> = wanted.iter().map(|(_, n)| held[n]).collect();
    let last = ordered.last().copied().unwrap_or(0);
    if ordered.is_sorted() && stale.iter().all(|(p, _)| *p > last || ordered.is_empty()) {
        let canonical = wanted.iter().all(|(p, n)| held[n] == *p);
        if canonical || !taken.is_empty() {
            return BTreeMap::new();
        }
    }
    let mut free = (1..).filter(|p| !taken.contains(p));
    let all = wanted.iter().chain(&stale).map(|(_, n)| *n);
    all.filter_map(|n| Some((n.to_owned(), free.next()?))).filter(|(n, p)| held[n.as_str()] != *p).collect()
}

/// The sets that load balancers name, out of many.
pub(super) fn sets_of(load_balancers: &[LoadBalancer], sets: &NodeSets) -> BTreeMap<SetId, Nodes> {
    let named = load_balancers.iter().flat_map(|lb| lb.spec.targets.values()).flat_map(|t| t.values());
    named.filter_map(|id| Some((id.clone(), sets.get(Some(id))?))).collect()
}
