//! Listeners, rules and target groups of a load balancer by what must be done to them, within the quotas. Pure.

use std::collections::BTreeSet;

use super::desired::ModelStack;
use super::limits::{self, Quotas};
use super::naming;
use crate::cloud::{Action, Listener, ListenerProtocol, Spec, Tags, quota};

/// A part that is ours and no longer wanted.
#[derive(Clone, Copy)]
pub(super) struct Stale<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
}

/// Listeners, rules and target groups by what must be done to them.
pub(super) struct Parts<'a> {
    pub(super) new_groups: Vec<&'a str>,
    pub(super) changed_groups: Vec<&'a str>,
    pub(super) kept_groups: Vec<&'a str>,
    pub(super) new_listeners: Vec<&'a str>,
    pub(super) changed_listeners: Vec<&'a str>,
    pub(super) new_rules: Vec<&'a str>,
    pub(super) changed_rules: Vec<&'a str>,
    pub(super) foreign_rules: BTreeSet<&'a str>,
    /// Target groups that have a wanted name and are not ours.
    foreign_groups: BTreeSet<&'a str>,
    /// Deleted before anything is made, where a quota leaves no other way.
    pub(super) early: Vec<Stale<'a>>,
    /// Deleted last.
    pub(super) late: Vec<Stale<'a>>,
    /// Wanted places that somebody else holds.
    taken: Vec<(&'static str, &'a str)>,
    have: &'a Spec,
    want: &'a Spec,
}

impl<'a> Parts<'a> {
    pub(super) fn compare(stack: &ModelStack, want: &'a Spec, have: &'a Spec) -> Self {
        let ours = |tags: &Tags| naming::marked(tags, &stack.cluster);
        let mut parts = Self {
            new_groups: Vec::new(),
            changed_groups: Vec::new(),
            kept_groups: Vec::new(),
            new_listeners: Vec::new(),
            changed_listeners: Vec::new(),
            new_rules: Vec::new(),
            changed_rules: Vec::new(),
            foreign_rules: have
                .rules
                .iter()
                .filter(|(_, r)| !ours(&r.tags))
                .map(|(n, _)| n.as_str())
                .collect(),
            foreign_groups: BTreeSet::new(),
            early: Vec::new(),
            late: Vec::new(),
            taken: Vec::new(),
            have,
            want,
        };
        for (name, group) in &want.target_groups {
            match have.target_groups.get(name) {
                None => parts.new_groups.push(name),
                Some(held) if !ours(&held.tags) || held.protocol != group.protocol => {
                    parts.taken.push(("target group", name));
                    parts.foreign_groups.insert(name);
                }
                Some(held) => {
                    parts.kept_groups.push(name);
                    let same =
                        (&held.health, held.affinity_seconds) == (&group.health, group.affinity_seconds);
                    if !same {
                        parts.changed_groups.push(name);
                    }
                }
            }
        }
        for (name, listener) in &want.listeners {
            let clash = |other: &&Listener| {
                let udp = |l: &Listener| l.protocol == ListenerProtocol::Udp;
                !ours(&other.tags) && other.port == listener.port && udp(other) == udp(listener)
            };
            match have.listeners.get(name) {
                _ if have.listeners.values().any(|l| clash(&l)) => parts.taken.push(("listener", name)),
                None => parts.new_listeners.push(name),
                Some(held) => {
                    let same = held.default_action == listener.default_action
                        && held.source_ranges == listener.source_ranges
                        && held.certificates == listener.certificates;
                    if !same {
                        parts.changed_listeners.push(name);
                    }
                }
            }
        }
        for (name, rule) in &want.rules {
            match have.rules.get(name) {
                None => parts.new_rules.push(name),
                Some(held) if !ours(&held.tags) => parts.taken.push(("rule", name)),
                Some(held) if held.action != rule.action => parts.changed_rules.push(name),
                Some(_) => {}
            }
        }
        parts.stale(&ours);
        parts
    }

    /// What is ours, not wanted, and may go: a listener with somebody's rule, or a group that somebody forwards to, stays.
    fn stale(&mut self, ours: &dyn Fn(&Tags) -> bool) {
        let (have, want) = (self.have, self.want);
        let mut left = have.clone();
        for (name, rule) in &have.rules {
            if ours(&rule.tags) && !want.rules.contains_key(name) {
                self.late.push(Stale { kind: "Rule", name });
                left.rules.remove(name);
            }
        }
        for (name, listener) in &have.listeners {
            let with_rules = left.rules.values().any(|r| r.listener == *name);
            if ours(&listener.tags) && !want.listeners.contains_key(name) && !with_rules {
                self.late.push(Stale { kind: "Listener", name });
                left.listeners.remove(name);
            }
        }
        // What is ours and stays will forward to wanted groups only.
        let others: BTreeSet<&str> = {
            let listeners =
                left.listeners.iter().filter(|(n, l)| !ours(&l.tags) || !want.listeners.contains_key(*n));
            let rules = left.rules.values().filter(|r| !ours(&r.tags));
            let actions = listeners.map(|(_, l)| &l.default_action).chain(rules.map(|r| &r.action));
            actions
                .filter_map(|a| match a {
                    Action::Forward(group) => have.target_groups.get_key_value(group),
                    Action::Fixed(_) => None,
                })
                .map(|(name, _)| name.as_str())
                .collect()
        };
        for (name, group) in &have.target_groups {
            if ours(&group.tags) && !want.target_groups.contains_key(name) && !others.contains(name.as_str())
            {
                self.late.push(Stale { kind: "TargetGroup", name });
            }
        }
    }

    /// Drops what has no place, and deletes early where old and new do not fit together.
    pub(super) fn fit_quotas(&mut self, quotas: &Quotas, tell: &mut dyn FnMut(&str, &str, String)) {
        let max = |name: &str| usize::try_from(limits::max(quotas, name)).unwrap_or(usize::MAX);
        for (what, name) in std::mem::take(&mut self.taken) {
            let text = format!(
                "{what} {name} is there already and not ours: delete it in the cloud, or choose another port or path"
            );
            tell(name, "ForeignResource", text);
            if what == "listener" {
                self.new_rules.retain(|r| self.want.rules[*r].listener != name);
            }
        }
        let tight = self.have.rules.len() + self.new_rules.len() > max(quota::RULES)
            || self.have.listeners.len() + self.new_listeners.len() > max(quota::LISTENERS)
            || self.have.target_groups.len() + self.new_groups.len() > max(quota::TARGET_GROUPS);
        if tight {
            self.hurry();
        }
        let early = |kind| self.early.iter().filter(|s| s.kind == kind).count();
        let room = |name, have: usize, kind| max(name).saturating_sub(have - early(kind));
        let rules = room(quota::RULES, self.have.rules.len(), "Rule");
        let listeners = room(quota::LISTENERS, self.have.listeners.len(), "Listener");
        let groups = room(quota::TARGET_GROUPS, self.have.target_groups.len(), "TargetGroup");
        let mut cut = Vec::new();
        for (list, room, name) in [
            (&mut self.new_groups, groups, quota::TARGET_GROUPS),
            (&mut self.new_listeners, listeners, quota::LISTENERS),
            (&mut self.new_rules, rules, quota::RULES),
        ] {
            cut.extend(list.split_off(list.len().min(room)).into_iter().map(|part| (part, name)));
        }
        for (part, name) in cut {
            let text = format!(
                "{part} is not made yet: quota {name} ({}) leaves no room beside what is there; have it raised",
                max(name)
            );
            tell(part, "QuotaExceeded", text);
        }
        self.drop_unfounded(tell);
    }

    /// Moves to the front what can be deleted before its successor is made.
    fn hurry(&mut self) {
        let rules: BTreeSet<&str> = self.late.iter().filter(|s| s.kind == "Rule").map(|s| s.name).collect();
        let listeners: BTreeSet<&str> =
            self.late.iter().filter(|s| s.kind == "Listener").map(|s| s.name).collect();
        let mut left = self.have.clone();
        left.rules.retain(|n, _| !rules.contains(n.as_str()));
        left.listeners.retain(|n, _| !listeners.contains(n.as_str()));
        let used: BTreeSet<&str> = left.used_groups().collect();
        (self.early, self.late) =
            self.late.iter().partition(|stale| stale.kind != "TargetGroup" || !used.contains(stale.name));
    }

    /// Listeners and rules whose target group or listener cannot be made are not made or changed either.
    fn drop_unfounded(&mut self, tell: &mut dyn FnMut(&str, &str, String)) {
        let (want, have) = (self.want, self.have);
        let early = |kind: &str, name: &str| self.early.iter().any(|s| s.kind == kind && s.name == name);
        let group_there = |name: &str| {
            let stays = have.target_groups.contains_key(name) && !early("TargetGroup", name);
            self.new_groups.contains(&name) || (stays && !self.foreign_groups.contains(name))
        };
        let founded = |action: &Action| match action {
            Action::Forward(group) => group_there(group),
            Action::Fixed(_) => true,
        };
        let mut dropped = Vec::new();
        let mut keep = |name: &str, good: bool| {
            if !good {
                dropped.push(name.to_owned());
            }
            good
        };
        let mut new_listeners = self.new_listeners.clone();
        new_listeners.retain(|n| keep(n, founded(&want.listeners[*n].default_action)));
        let mut changed_listeners = self.changed_listeners.clone();
        changed_listeners.retain(|n| keep(n, founded(&want.listeners[*n].default_action)));
        let listener_there = |n: &str| new_listeners.contains(&n) || have.listeners.contains_key(n);
        let mut new_rules = self.new_rules.clone();
        new_rules
            .retain(|n| keep(n, founded(&want.rules[*n].action) && listener_there(&want.rules[*n].listener)));
        let mut changed_rules = self.changed_rules.clone();
        changed_rules.retain(|n| keep(n, founded(&want.rules[*n].action)));
        let (kept_groups, late) = (&mut self.kept_groups, &mut self.late);
        kept_groups.retain(|n| want.target_groups.contains_key(*n));
        if !dropped.is_empty() {
            // What they still forward to must stay.
            late.retain(|s| s.kind != "TargetGroup");
        }
        (self.new_listeners, self.changed_listeners) = (new_listeners, changed_listeners);
        (self.new_rules, self.changed_rules) = (new_rules, changed_rules);
        for name in dropped {
            let text = format!("{name} is not made or changed: its target group or listener cannot be made");
            tell(&name, "NotMade", text);
        }
    }
}
