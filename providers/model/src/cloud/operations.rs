//! What each call does to the state, or why it is refused. A refused call changes nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::{Family, Layer};

use super::node_sets::{NodeSets, Nodes, SetId};
use super::records::{
    ListenerProtocol, LoadBalancer, Spec, Status, Tags, TargetDelta, Targets, listener_name,
};
use super::request::{Answer, Code, Refusal, Request};
use super::state::{Cloud, Style, quota};

type Refusable<T> = Result<T, Refusal>;

fn refuse<T>(code: Code, message: impl Into<String>) -> Refusable<T> {
    Err(Refusal::new(code, message))
}

impl Cloud {
    /// Executes a call, without counting it and without faults.
    pub(super) fn perform(&mut self, now: u64, request: &Request) -> Refusable<Answer> {
        match request {
            Request::DescribeQuotas => Ok(Answer::Quotas { quotas: self.settings.all_quotas() }),
            Request::ListLoadBalancers { tags, after } => Ok(self.list(tags, after.as_deref())),
            Request::GetLoadBalancer { id } => {
                let items = vec![self.existing(id)?.clone()];
                let sets = self.sets_of(items.iter().map(|lb| &lb.spec));
                Ok(Answer::LoadBalancers { items, sets, next: None })
            }
            Request::CreateLoadBalancer { spec, sets } => self.create(now, spec, sets),
            Request::DeleteLoadBalancer { id, cascade } => self.delete(now, id, *cascade),
            other => {
                let id = other.load_balancer().unwrap_or_default();
                self.change(now, id, other)
            }
        }
    }

    fn existing(&self, id: &str) -> Refusable<&LoadBalancer> {
        match self.load_balancers.get(id) {
            Some(lb) => Ok(lb),
            None => refuse(Code::NotFound, format!("load balancer {id} does not exist")),
        }
    }

    /// The load balancer if it may be changed now.
    fn unlocked(&self, id: &str) -> Refusable<&LoadBalancer> {
        let lb = self.existing(id)?;
        if lb.status.locked() {
            let text = format!("load balancer {id} is immutable while {:?}", lb.status);
            return Err(Refusal::new(Code::Locked, text).after(self.settings.change_pending.clamp(20, 1000)));
        }
        Ok(lb)
    }

    fn list(&self, tags: &Tags, after: Option<&str>) -> Answer {
        let page = if self.settings.page == 0 { 1000 } else { self.settings.page };
        let from = match after {
            Some(id) => std::ops::Bound::Excluded(id.to_owned()),
            None => std::ops::Bound::Unbounded,
        };
        let mut found = self
            .load_balancers
            .range((from, std::ops::Bound::Unbounded))
            .map(|(_, lb)| lb)
            .filter(|lb| tags.iter().all(|(k, v)| lb.spec.tags.get(k) == Some(v)));
        let items: Vec<_> = found.by_ref().take(page).cloned().collect();
        let next = if found.next().is_some() { items.last().map(|lb| lb.id.clone()) } else { None };
        let sets = self.sets_of(items.iter().map(|lb| &lb.spec));
        Answer::LoadBalancers { items, sets, next }
    }

    fn create(&mut self, now: u64, spec: &Spec, sets: &BTreeMap<SetId, Nodes>) -> Refusable<Answer> {
        if self.settings.style == Style::Open
            && let Some(same) = self.load_balancers.values().find(|lb| lb.spec.name == spec.name)
        {
            if same.spec == *spec {
                return Ok(Answer::Created { load_balancer: Box::new(bare(same)) });
            }
            return refuse(
                Code::Duplicate,
                format!("load balancer {} exists with other settings", spec.name),
            );
        }
        let max = self.settings.quota(quota::LOAD_BALANCERS);
        if self.load_balancers.len() as u64 >= max {
            return Err(Refusal::quota(quota::LOAD_BALANCERS, max));
        }
        for (id, nodes) in sets {
            if self.sets.get(Some(id)).as_ref() != Some(nodes) && nodes.id() != *id {
                return refuse(Code::Validation, "a node set does not have the name of its content");
            }
            self.sets.insert(id.clone(), nodes.clone());
        }
        let known = |id: &SetId| self.sets.get(Some(id)).is_some();
        if !spec.targets.values().flat_map(|t| t.values()).all(known) {
            return refuse(Code::Validation, "a node set is named, but not given");
        }
        self.valid(spec)?;
        let mut addresses = Vec::new();
        for family in &spec.families {
            let requested = spec.requested_address.filter(|a| Family::of(a) == *family);
            match self.allot(*family, requested) {
                Ok(address) => addresses.push(address),
                Err(refusal) => {
                    self.release(&addresses);
                    return Err(refusal);
                }
            }
        }
        self.last_id += 1;
        let id = format!("lb-{:08}", self.last_id);
        let status = match self.settings.style {
            Style::Open => Status::Provisioning,
            Style::Locking => Status::PendingCreate,
        };
        let lb = LoadBalancer { id: id.clone(), status, created: now, addresses, spec: spec.clone() };
        self.load_balancers.insert(id.clone(), lb);
        self.pend(&id, status, now, self.settings.create_pending);
        Ok(Answer::Created { load_balancer: Box::new(bare(self.existing(&id)?)) })
    }

    fn release(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            self.addresses.remove(address);
        }
    }

    fn delete(&mut self, now: u64, id: &str, cascade: bool) -> Refusable<Answer> {
        let gone = Answer::Changed { status: None, addresses: Vec::new() };
        if !self.load_balancers.contains_key(id) {
            return match self.settings.style {
                Style::Open => Ok(gone),
                Style::Locking => refuse(Code::NotFound, format!("load balancer {id} does not exist")),
            };
        }
        let spec = &self.unlocked(id)?.spec;
        let empty = spec.listeners.is_empty() && spec.target_groups.is_empty();
        if !cascade && !empty {
            return refuse(Code::InUse, format!("load balancer {id} has children"));
        }
        match self.settings.style {
            Style::Open => self.remove(id),
            Style::Locking => self.pend(id, Status::PendingDelete, now, self.settings.change_pending),
        }
        let status = self.load_balancers.get(id).map(|lb| lb.status);
        Ok(Answer::Changed { status, addresses: Vec::new() })
    }

    /// All changes of an existing load balancer: made to a copy of its spec, checked, then kept.
    fn change(&mut self, now: u64, id: &str, request: &Request) -> Refusable<Answer> {
        let lb = self.unlocked(id)?;
        let mut spec = lb.spec.clone();
        let (old, mut addresses) = (lb.spec.families.clone(), lb.addresses.clone());
        edit(&mut spec, &mut self.sets, request)?;
        self.valid(&spec)?;
        if spec.families != old {
            let held: BTreeMap<Family, IpAddr> = addresses.iter().map(|a| (Family::of(a), *a)).collect();
            let mut new = Vec::new();
            let mut fresh = Vec::new();
            for family in &spec.families {
                let address = match held.get(family) {
                    Some(address) => *address,
                    None => match self.allot(*family, None) {
                        Ok(address) => {
                            fresh.push(address);
                            address
                        }
                        Err(refusal) => {
                            self.release(&fresh);
                            return Err(refusal);
                        }
                    },
                };
                new.push(address);
            }
            let left: Vec<_> = addresses.iter().copied().filter(|a| !new.contains(a)).collect();
            self.release(&left);
            addresses = new;
        }
        if let Some(lb) = self.load_balancers.get_mut(id) {
            lb.spec = spec;
            lb.addresses = addresses;
        }
        if self.settings.style == Style::Locking {
            self.pend(id, Status::PendingUpdate, now, self.settings.change_pending);
        }
        self.forget_sets();
        let lb = self.existing(id)?;
        Ok(Answer::Changed { status: Some(lb.status), addresses: lb.addresses.clone() })
    }

    /// Whether a load balancer may be like this.
    pub(super) fn valid(&self, spec: &Spec) -> Refusable<()> {
        if spec.name.is_empty() || spec.name.len() > 32 {
            return refuse(Code::Validation, format!("name {:?} must have 1 to 32 characters", spec.name));
        }
        let families: BTreeSet<_> = spec.families.iter().collect();
        if families.is_empty() || families.len() != spec.families.len() {
            return refuse(Code::Validation, "one or two different families are needed");
        }
        if spec.requested_address.is_some_and(|a| !families.contains(&Family::of(&a))) {
            return refuse(Code::Validation, "the requested address is of another family");
        }
        self.within(quota::LISTENERS, spec.listeners.len())?;
        self.within(quota::RULES, spec.rules.len())?;
        self.within(quota::TARGET_GROUPS, spec.target_groups.len())?;
        let mut ports = BTreeSet::new();
        for (name, listener) in &spec.listeners {
            let http = matches!(listener.protocol, ListenerProtocol::Http | ListenerProtocol::Https);
            if http != (spec.layer == Layer::L7) {
                return refuse(Code::Validation, format!("listener {name} does not fit the layer"));
            }
            if *name != listener_name(listener.protocol, listener.port) || listener.port == 0 {
                return refuse(Code::Validation, format!("listener {name} has another protocol or port"));
            }
            if !ports.insert((listener.protocol == ListenerProtocol::Udp, listener.port)) {
                return refuse(
                    Code::Duplicate,
                    format!("port {} is taken by another listener", listener.port),
                );
            }
            if listener.certificates.is_empty() == (listener.protocol == ListenerProtocol::Https) {
                return refuse(
                    Code::Validation,
                    format!("listener {name}: exactly HTTPS needs certificates"),
                );
            }
            Self::valid_action(spec, listener, &listener.default_action)?;
        }
        let mut positions = BTreeSet::new();
        for (name, rule) in &spec.rules {
            let Some(listener) = spec.listeners.get(&rule.listener) else {
                return refuse(Code::NotFound, format!("listener {} does not exist", rule.listener));
            };
            if rule.position == 0 || !positions.insert((&rule.listener, rule.position)) {
                return refuse(
                    Code::Duplicate,
                    format!("rule {name}: position {} is not free", rule.position),
                );
            }
            Self::valid_action(spec, listener, &rule.action)?;
        }
        for (name, targets) in &spec.targets {
            if !spec.target_groups.contains_key(name) {
                return refuse(Code::NotFound, format!("target group {name} does not exist"));
            }
            let count = targets.values().map(|s| self.sets.get(Some(s)).map_or(0, |n| n.len())).sum();
            self.within(quota::TARGETS, count)?;
        }
        Ok(())
    }

    fn within(&self, name: &str, count: usize) -> Refusable<()> {
        let max = self.settings.quota(name);
        if count as u64 > max { Err(Refusal::quota(name, max)) } else { Ok(()) }
    }
}

/// A load balancer without its children, as a create answers it.
fn bare(lb: &LoadBalancer) -> LoadBalancer {
    let spec = Spec {
        listeners: BTreeMap::new(),
        rules: BTreeMap::new(),
        target_groups: BTreeMap::new(),
        targets: BTreeMap::new(),
        ..lb.spec.clone()
    };
    LoadBalancer { spec, ..lb.clone() }
}

/// Makes a change to a spec. The provider keeps its knowledge up to date by the same function.
///
/// # Errors
/// What the change is about does not exist, exists already, or is in use; the spec may be half changed then.
#[allow(clippy::too_many_lines, reason = "one arm per call, each of them plain")]
pub fn edit(spec: &mut Spec, sets: &mut NodeSets, request: &Request) -> Refusable<()> {
    fn missing<T>(what: &str, name: &str) -> Refusable<T> {
        refuse(Code::NotFound, format!("{what} {name} does not exist"))
    }
    match request {
        Request::SetTags { tags, .. } => spec.tags.extend(tags.clone()),
        Request::SetFamilies { families, .. } => spec.families.clone_from(families),
        Request::CreateTargetGroup { name, group, targets, .. } => {
            if spec.target_groups.contains_key(name) {
                return refuse(Code::Duplicate, format!("target group {name} exists"));
            }
            spec.target_groups.insert(name.clone(), group.clone());
            let held: Targets = targets
                .iter()
                .filter_map(|(port, nodes)| Some((*port, sets.intern(nodes.iter().copied().collect())?)))
                .collect();
            if !held.is_empty() {
                spec.targets.insert(name.clone(), held);
            }
        }
        Request::ModifyTargetGroup { name, group, .. } => match spec.target_groups.get_mut(name) {
            None => return missing("target group", name),
            Some(held) if held.protocol != group.protocol => {
                return refuse(Code::Validation, format!("target group {name} cannot change its protocol"));
            }
            Some(held) => {
                let tags = std::mem::take(&mut held.tags);
                *held = group.clone();
                held.tags = tags;
                held.tags.extend(group.tags.clone());
            }
        },
        Request::DeleteTargetGroup { name, .. } => {
            if spec.used_groups().any(|g| g == name) {
                return refuse(Code::InUse, format!("target group {name} is in use"));
            }
            if spec.target_groups.remove(name).is_none() {
                return missing("target group", name);
            }
            spec.targets.remove(name);
        }
        Request::CreateListener { listener, .. } => {
            let name = listener_name(listener.protocol, listener.port);
            if spec.listeners.contains_key(&name) {
                return refuse(Code::Duplicate, format!("listener {name} exists"));
            }
            spec.listeners.insert(name, listener.clone());
        }
        Request::ModifyListener { name, default_action, source_ranges, certificates, tags, .. } => {
            let Some(held) = spec.listeners.get_mut(name) else { return missing("listener", name) };
            held.default_action = default_action.clone();
            held.source_ranges.clone_from(source_ranges);
            held.certificates.clone_from(certificates);
            held.tags.extend(tags.clone());
        }
        Request::DeleteListener { name, .. } => {
            if spec.listeners.remove(name).is_none() {
                return missing("listener", name);
            }
            spec.rules.retain(|_, rule| rule.listener != *name);
        }
        Request::CreateRule { name, rule, .. } => {
            if spec.rules.contains_key(name) {
                return refuse(Code::Duplicate, format!("rule {name} exists"));
            }
            spec.rules.insert(name.clone(), rule.clone());
        }
        Request::ModifyRule { name, rule_action, tags, .. } => {
            let Some(held) = spec.rules.get_mut(name) else { return missing("rule", name) };
            held.action = rule_action.clone();
            held.tags.extend(tags.clone());
        }
        Request::SetRulePositions { listener, positions, .. } => {
            for (name, position) in positions {
                match spec.rules.get_mut(name) {
                    Some(rule) if rule.listener == *listener => rule.position = *position,
                    _ => return missing("rule", name),
                }
            }
        }
        Request::DeleteRule { name, .. } => {
            if spec.rules.remove(name).is_none() {
                return missing("rule", name);
            }
        }
        Request::RegisterTargets { targets, .. } => retarget(spec, sets, targets, true)?,
        Request::DeregisterTargets { targets, .. } => retarget(spec, sets, targets, false)?,
        Request::ListLoadBalancers { .. }
        | Request::GetLoadBalancer { .. }
        | Request::DescribeQuotas
        | Request::CreateLoadBalancer { .. }
        | Request::DeleteLoadBalancer { .. } => {
            return refuse(Code::Validation, "not a change of a load balancer");
        }
    }
    Ok(())
}

fn retarget(spec: &mut Spec, sets: &mut NodeSets, deltas: &[TargetDelta], add: bool) -> Refusable<()> {
    for delta in deltas {
        let name = &delta.target_group;
        if !spec.target_groups.contains_key(name) {
            return refuse(Code::NotFound, format!("target group {name} does not exist"));
        }
        let held = spec.targets.entry(name.clone()).or_default();
        match sets.step(held.get(&delta.port), &delta.nodes, add) {
            Some(set) => {
                held.insert(delta.port, set);
            }
            None => {
                held.remove(&delta.port);
            }
        }
        if held.is_empty() {
            spec.targets.remove(name);
        }
    }
    Ok(())
}
