//! What is known of all stacks. Pure.
//!
//! Invariants: what a write did is in here as soon as it is answered; from the moment a write begins until it has ended well, its stack is doubtful, and
//! whoever asks must look; what no list showed and nobody wrote does not exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use causeway_api::LbKey;
use causeway_api::names::TAG_OWNER;

use super::{Observed, SharedHave};
use crate::adopt::{PeerStack, StackName};
use crate::cloud::records::{Health, Healths, Listener, LoadBalancer, Rule, SecurityGroup, TargetGroup};
use crate::cloud::{Answer, Attributed, Call};
use crate::plan::defaults::merge;
use crate::plan::marks::{TAG_RETIRED, TAG_TARGETS, moved, owner, targets_digest};
use crate::plan::tokens::literal;
use crate::stack::{Action, Tags, Target, Token};

/// What is known of one stack.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// What is there.
    pub tree: Observed,
    /// Something may have happened that is not in there.
    pub doubtful: bool,
    /// What this process made, by what stands for it.
    pub made: BTreeMap<Token, String>,
    /// Since when something is waited for, by ARN; the time is the caller's.
    pub since: BTreeMap<String, Duration>,
    /// Targets that AWS would not take, by target group; kept among the targets, so that they are not tried again at once.
    pub refused: BTreeMap<String, BTreeSet<Target>>,
    /// [`Known::clock`] when the last write began or ended.
    pub touched: u64,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Known {
    /// The inventory was taken: what is not in here does not exist.
    pub complete: bool,
    /// Counts writes, so that what was read meanwhile does not undo them.
    pub clock: u64,
    entries: BTreeMap<String, Entry>,
    /// What is shared.
    pub shared: SharedHave,
    /// Stacks of the peer's that may be taken over.
    pub peers: BTreeMap<StackName, PeerStack>,
    /// Sets of targets by their digest, with the default port of the target group that they were read from.
    sets: HashMap<String, (u16, BTreeSet<Target>)>,
    /// Names of load balancers and target groups that may be taken: listed, or tried without an answer.
    names: BTreeSet<String>,
}

/// The targets that count: those that leave are gone.
#[must_use]
pub fn standing(healths: &Healths) -> BTreeSet<Target> {
    healths.iter().filter(|(_, h)| **h != Health::Draining).map(|(t, _)| t.clone()).collect()
}

impl Known {
    /// What is known of a stack, if anything is.
    #[must_use]
    pub fn entry(&self, owner: &str) -> Option<&Entry> {
        self.entries.get(owner)
    }

    /// What is known of a stack, to add to it.
    pub fn entry_mut(&mut self, owner: &str) -> &mut Entry {
        self.entries.entry(owner.to_owned()).or_default()
    }

    /// All stacks.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(owner, entry)| (owner.as_str(), entry))
    }

    /// What is there of a stack, if that is known for sure. `now` in seconds since the epoch.
    #[must_use]
    pub fn sure(&mut self, owner: &str, now: u64) -> Option<Observed> {
        self.shared.alone = self.is_alone(owner);
        let Some(entry) = self.entries.get_mut(owner) else {
            let nothing = Observed { whole: true, shared: self.shared.clone(), ..Observed::default() };
            return self.complete.then_some(nothing);
        };
        if entry.doubtful {
            return None;
        }
        let held = &mut entry.tree;
        for group in &held.target_groups {
            if held.targets.contains_key(&group.arn) {
                continue;
            }
            let noted = group.spec.tags.get(TAG_TARGETS).and_then(|digest| self.sets.get(digest));
            if let Some((port, targets)) = noted {
                // Kept: the note changes as soon as they do.
                held.targets.insert(group.arn.clone(), moved(*port, group.spec.port, targets));
            }
        }
        let mut tree = entry.tree.clone();
        tree.shared = self.shared.clone();
        for lb in &tree.load_balancers {
            if let Some(at) = lb.spec.tags.get(TAG_RETIRED).and_then(|t| t.parse::<u64>().ok()) {
                tree.retired.insert(lb.arn.clone(), Duration::from_secs(now.saturating_sub(at)));
            }
        }
        Some(tree)
    }

    /// Whether no other stack is there, as far as anybody knows.
    #[must_use]
    pub fn is_alone(&self, owner: &str) -> bool {
        self.complete
            && self.entries.iter().all(|(other, e)| other == owner || (e.tree.is_empty() && !e.doubtful))
    }

    /// Takes over what a whole look showed.
    pub fn seen(&mut self, owner: &str, tree: Observed) {
        self.clock += 1;
        let touched = self.clock;
        for group in &tree.target_groups {
            if let Some(targets) = tree.targets.get(&group.arn) {
                self.learn(group.spec.port, targets);
            }
        }
        let entry = self.entry_mut(owner);
        entry.tree = Observed { shared: SharedHave::default(), ..tree };
        entry.doubtful = false;
        entry.refused.clear();
        entry.touched = touched;
    }

    /// Takes over a first list.
    pub fn listed(&mut self, owner: &str, tree: Observed) {
        self.clock += 1;
        self.entries.insert(owner.to_owned(), Entry { tree, touched: self.clock, ..Entry::default() });
    }

    /// Keeps a set of targets under its digest.
    pub fn learn(&mut self, port: u16, targets: &BTreeSet<Target>) {
        // A cluster has few sets of nodes at a time; that of each moment would pile up.
        if self.sets.len() > 256 {
            self.sets.clear();
        }
        self.sets.insert(targets_digest(port, targets), (port, targets.clone()));
    }

    /// Whether the set behind a digest is known.
    #[must_use]
    pub fn knows_set(&self, digest: &str) -> bool {
        self.sets.contains_key(digest)
    }

    /// A name may be taken.
    pub fn suspect(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// A name is free, or taken by what is known.
    pub fn clear(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Whether a name may be taken by what is not known.
    #[must_use]
    pub fn suspects(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// A write begins: until it has ended well nothing is sure. Answers whether it was not before either.
    pub fn begin(&mut self, owner: &str) -> bool {
        self.clock += 1;
        let clock = self.clock;
        let complete = self.complete;
        let known = self.entries.contains_key(owner);
        let entry = self.entry_mut(owner);
        let was = entry.doubtful || (!known && !complete);
        if !known && complete {
            // That nothing is there is everything.
            entry.tree.whole = true;
        }
        entry.doubtful = true;
        entry.touched = clock;
        was
    }

    /// A write ended; `sure` if what it did is in here, or it did nothing.
    pub fn end(&mut self, owner: &str, sure: bool, was: bool) {
        self.clock += 1;
        let clock = self.clock;
        let entry = self.entry_mut(owner);
        entry.touched = clock;
        entry.doubtful = was || !sure;
    }

    /// A stack must be looked at.
    pub fn doubt(&mut self, owner: &str) {
        self.entry_mut(owner).doubtful = true;
    }

    /// What a call did.
    pub fn wrote(&mut self, owner: &str, call: &Call, answer: &Answer) {
        let entry = self.entry_mut(owner);
        edit(&mut entry.tree, call, answer);
        if let Call::AuthorizeSecurityGroupIngress { group, rules } = call {
            self.shared.add_node_rules(group, rules);
        }
        if let Call::AddTags { arns, tags } = call {
            // Calls for several stacks are made at once.
            for other in self.entries.values_mut() {
                edit(&mut other.tree, &Call::AddTags { arns: arns.clone(), tags: tags.clone() }, answer);
            }
        }
    }

    /// Forgets stacks of which nothing is there.
    pub fn forget_empty(&mut self) {
        self.entries.retain(|_, e| !e.tree.is_empty() || e.doubtful);
    }

    /// The keys of stacks of which something is there.
    pub fn keys(&self) -> impl Iterator<Item = LbKey> + '_ {
        let there = self.entries.iter().filter(|(_, e)| !e.tree.is_empty() || e.doubtful);
        there.filter_map(|(owner, _)| LbKey::of_owner_tag(owner))
    }
}

/// Sorts a list by owner: of load balancers and target groups with their tags, and security groups of which only the tags are known.
#[must_use]
pub fn by_owner(
    load_balancers: Vec<LoadBalancer>,
    target_groups: Vec<TargetGroup>,
    security_groups: Vec<SecurityGroup>,
) -> BTreeMap<String, Observed> {
    let mut found: BTreeMap<String, Observed> = BTreeMap::new();
    for lb in load_balancers {
        if let Some(owner) = owner(&lb.spec.tags).map(str::to_owned) {
            found.entry(owner).or_default().load_balancers.push(lb);
        }
    }
    for group in target_groups {
        if let Some(owner) = owner(&group.spec.tags).map(str::to_owned) {
            found.entry(owner).or_default().target_groups.push(group);
        }
    }
    for group in security_groups {
        if let Some(owner) = group.spec.tags.get(TAG_OWNER).cloned() {
            found.entry(owner).or_default().security_groups.push(group);
        }
    }
    found
}

fn forwards(actions: &[Action]) -> impl Iterator<Item = &str> {
    actions
        .iter()
        .flat_map(|action| match action {
            Action::Forward(forward) => forward.target_groups.as_slice(),
            _ => &[],
        })
        .map(|group| literal(&group.target_group_arn))
}

/// Which load balancers send to which target groups follows from listeners and rules.
pub fn associate(tree: &mut Observed) {
    if !tree.whole {
        return;
    }
    let mut senders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |lb: &str, actions: &[Action]| {
        for group in forwards(actions) {
            senders.entry(group.to_owned()).or_default().insert(lb.to_owned());
        }
    };
    for listener in &tree.listeners {
        let lb = literal(&listener.spec.load_balancer_arn);
        add(lb, &listener.spec.default_actions);
        for rule in tree.rules.iter().filter(|r| literal(&r.spec.listener_arn) == listener.arn) {
            add(lb, &rule.spec.actions);
        }
    }
    for group in &mut tree.target_groups {
        group.load_balancers = senders.remove(&group.arn).unwrap_or_default();
    }
}

fn tags_of<'a>(tree: &'a mut Observed, arn: &str) -> Option<&'a mut Tags> {
    if let Some(lb) = tree.load_balancers.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut lb.spec.tags);
    }
    if let Some(group) = tree.target_groups.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut group.spec.tags);
    }
    if let Some(listener) = tree.listeners.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut listener.spec.tags);
    }
    if let Some(rule) = tree.rules.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut rule.spec.tags);
    }
    tree.security_groups.iter_mut().find(|x| x.id == arn).map(|g| &mut g.spec.tags)
}

/// Does to what is known what a call did in AWS.
pub fn edit(tree: &mut Observed, call: &Call, answer: &Answer) {
    match (call, answer) {
        (Call::CreateLoadBalancer { spec }, Answer::LoadBalancer(lb)) => {
            tree.load_balancers.retain(|x| x.arn != lb.arn);
            tree.load_balancers.push(LoadBalancer { spec: (**spec).clone(), ..(**lb).clone() });
        }
        (Call::CreateTargetGroup { vpc, spec }, Answer::Made(arn)) => {
            tree.target_groups.retain(|x| x.arn != *arn);
            tree.target_groups.push(TargetGroup {
                arn: arn.clone(),
                vpc_id: vpc.clone(),
                load_balancers: BTreeSet::new(),
                spec: (**spec).clone(),
            });
            tree.targets.insert(arn.clone(), BTreeSet::new());
        }
        (Call::CreateListener { spec }, Answer::Made(arn)) => {
            tree.listeners.push(Listener { arn: arn.clone(), spec: (**spec).clone() });
        }
        (Call::CreateRule { spec }, Answer::Made(arn)) => {
            tree.rules.push(Rule { arn: arn.clone(), spec: (**spec).clone() });
        }
        (Call::CreateSecurityGroup { vpc, spec }, Answer::Made(id)) => {
            tree.security_groups.push(SecurityGroup {
                id: id.clone(),
                vpc_id: vpc.clone(),
                spec: (**spec).clone(),
            });
        }
        (call, _) => change(tree, call),
    }
    associate(tree);
}

fn change(tree: &mut Observed, call: &Call) {
    match call {
        Call::ModifyAttributes { of, arn, attributes } => {
            let have = match of {
                Attributed::LoadBalancer => tree
                    .load_balancers
                    .iter_mut()
                    .find(|x| x.arn == *arn)
                    .map(|x| &mut x.spec.load_balancer_attributes),
                Attributed::TargetGroup => tree
                    .target_groups
                    .iter_mut()
                    .find(|x| x.arn == *arn)
                    .map(|x| &mut x.spec.target_group_attributes),
                Attributed::Listener => {
                    tree.listeners.iter_mut().find(|x| x.arn == *arn).map(|x| &mut x.spec.listener_attributes)
                }
            };
            if let Some(have) = have {
                merge(have, attributes);
            }
        }
        Call::ModifyTargetGroup { arn, health } => {
            if let Some(group) = tree.target_groups.iter_mut().find(|x| x.arn == *arn) {
                group.spec.health_check_config = (**health).clone();
            }
        }
        Call::DeleteTargetGroup { arn } => {
            tree.target_groups.retain(|x| x.arn != *arn);
            tree.targets.remove(arn);
        }
        Call::DeleteLoadBalancer { arn } => {
            let gone: BTreeSet<String> = tree
                .listeners
                .iter()
                .filter(|l| literal(&l.spec.load_balancer_arn) == arn)
                .map(|l| l.arn.clone())
                .collect();
            tree.load_balancers.retain(|x| x.arn != *arn);
            tree.listeners.retain(|x| !gone.contains(&x.arn));
            tree.rules.retain(|x| !gone.contains(literal(&x.spec.listener_arn)));
            tree.target_groups.iter_mut().for_each(|g| {
                g.load_balancers.remove(arn);
            });
        }
        Call::ModifyListener { arn, spec } => {
            if let Some(listener) = tree.listeners.iter_mut().find(|x| x.arn == *arn) {
                let old = &mut listener.spec;
                let mut certificates = spec.certificates.first().cloned().into_iter().collect::<Vec<_>>();
                certificates.extend(old.certificates.iter().skip(1).cloned());
                *old = crate::stack::ListenerSpec {
                    certificates,
                    tags: std::mem::take(&mut old.tags),
                    listener_attributes: std::mem::take(&mut old.listener_attributes),
                    ..(**spec).clone()
                };
            }
        }
        Call::DeleteListener { arn } => {
            tree.listeners.retain(|x| x.arn != *arn);
            tree.rules.retain(|x| literal(&x.spec.listener_arn) != arn);
        }
        Call::AddListenerCertificates { listener, certificates }
        | Call::RemoveListenerCertificates { listener, certificates } => {
            let adds = matches!(call, Call::AddListenerCertificates { .. });
            if let Some(listener) = tree.listeners.iter_mut().find(|x| x.arn == *listener) {
                let all = &mut listener.spec.certificates;
                let mut further = all.split_off(all.len().min(1));
                further.retain(|c| !certificates.contains(&c.certificate_arn));
                if adds {
                    let new = certificates.iter().cloned();
                    further.extend(
                        new.map(|certificate_arn| crate::stack::ListenerCertificate { certificate_arn }),
                    );
                }
                all.extend(further);
            }
        }
        Call::ModifyRule { arn, spec } => {
            if let Some(rule) = tree.rules.iter_mut().find(|x| x.arn == *arn) {
                rule.spec.actions.clone_from(&spec.actions);
                rule.spec.conditions.clone_from(&spec.conditions);
                rule.spec.transforms.clone_from(&spec.transforms);
            }
        }
        Call::SetRulePriorities { priorities } => {
            for rule in &mut tree.rules {
                if let Some(priority) = priorities.get(&rule.arn) {
                    rule.spec.priority = *priority;
                }
            }
        }
        Call::DeleteRule { arn } => tree.rules.retain(|x| x.arn != *arn),
        Call::RegisterTargets { group, targets } => {
            if let Some(held) = tree.targets.get_mut(group) {
                held.extend(targets.iter().cloned());
            }
        }
        Call::DeregisterTargets { group, targets } => {
            if let Some(held) = tree.targets.get_mut(group) {
                targets.iter().for_each(|t| {
                    held.remove(t);
                });
            }
        }
        Call::AddTags { arns, tags } => {
            for arn in arns {
                if let Some(have) = tags_of(tree, arn) {
                    have.extend(tags.clone());
                }
            }
        }
        Call::CreateTags { ids, tags } => {
            for id in ids {
                if let Some(have) = tags_of(tree, id) {
                    have.extend(tags.clone());
                }
            }
        }
        Call::RemoveTags { arns: ids, keys } | Call::DeleteTags { ids, keys } => {
            for id in ids {
                if let Some(have) = tags_of(tree, id) {
                    have.retain(|k, _| !keys.contains(k));
                }
            }
        }
        Call::DeleteSecurityGroup { id } => tree.security_groups.retain(|x| x.id != *id),
        Call::AuthorizeSecurityGroupIngress { group, rules } => {
            if let Some(have) = tree.security_groups.iter_mut().find(|x| x.id == *group) {
                have.spec.ingress.extend(rules.iter().cloned());
            }
        }
        Call::RevokeSecurityGroupIngress { group, rules } => {
            if let Some(have) = tree.security_groups.iter_mut().find(|x| x.id == *group) {
                let gone: BTreeSet<_> = rules.iter().map(crate::plan::bare).collect();
                have.spec.ingress.retain(|r| !gone.contains(&crate::plan::bare(r)));
            }
        }
        _ => change_load_balancer(tree, call),
    }
}

fn change_load_balancer(tree: &mut Observed, call: &Call) {
    let (Call::ModifyCapacityReservation { arn, .. }
    | Call::SetSubnets { arn, .. }
    | Call::SetSecurityGroups { arn, .. }
    | Call::SetIpAddressType { arn, .. }) = call
    else {
        return;
    };
    let Some(lb) = tree.load_balancers.iter_mut().find(|x| x.arn == *arn) else { return };
    match call {
        Call::ModifyCapacityReservation { capacity, .. } => {
            lb.spec.minimum_load_balancer_capacity = Some(*capacity);
        }
        Call::SetSubnets { mappings, family, source_nat, .. } => {
            lb.spec.subnet_mappings.clone_from(mappings);
            lb.spec.ip_address_type = *family;
            lb.spec.enable_prefix_for_ipv6_source_nat =
                source_nat.or(lb.spec.enable_prefix_for_ipv6_source_nat);
        }
        Call::SetSecurityGroups { groups, private_link, .. } => {
            lb.spec.security_groups = groups.iter().map(|id| Token::literal(id.as_str())).collect();
            lb.spec.security_groups_inbound_rules_on_private_link =
                private_link.or(lb.spec.security_groups_inbound_rules_on_private_link);
        }
        Call::SetIpAddressType { family, .. } => lb.spec.ip_address_type = *family,
        _ => {}
    }
}

impl Known {
    /// What a look at a load balancer's state showed.
    pub fn set_state(
        &mut self,
        arn: &str,
        state: crate::cloud::records::State,
        dns_name: &str,
        zone_id: &str,
    ) {
        for entry in self.entries.values_mut() {
            if let Some(lb) = entry.tree.load_balancers.iter_mut().find(|lb| lb.arn == arn) {
                lb.state = state;
                dns_name.clone_into(&mut lb.dns_name);
                zone_id.clone_into(&mut lb.zone_id);
            }
        }
    }
}
