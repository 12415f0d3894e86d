//! Rules of an ALB's listeners. Pure.
//!
//! Rules are known by what they match. A new one gets its priority at once where that is free, else one behind all others; then all get their places by one
//! call, which AWS makes at once; then what is stale goes.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::Verb;

use super::tokens::literal;
use super::{Draft, Op, forward, secrets, short};
use crate::cloud::records::{Listener, Rule};
use crate::plan::marks::resource_id;
use crate::stack::{ListenerRuleSpec, ResourceType, Token};

const KIND: ResourceType = ResourceType::ListenerRule;
/// The last priority.
const LAST: u32 = 50_000;

impl Draft<'_> {
    /// Makes, changes, orders and deletes the rules of a listener.
    pub(super) fn rules(&mut self, listener_id: &str, listener: Option<&Listener>) {
        let token = Token::of(ResourceType::Listener, listener_id);
        let all = self.want.listener_rules.iter().filter(|(_, r)| r.listener_arn == token);
        let mut want: Vec<(&String, ListenerRuleSpec)> = all.map(|(id, r)| (id, self.resolve(r))).collect();
        if let Some(listener) = listener {
            want.iter_mut().for_each(|(_, rule)| rule.listener_arn = Token::literal(listener.arn.as_str()));
        }
        want.sort_by_key(|(id, r)| (r.priority, (*id).clone()));
        let here = |r: &&Rule| listener.is_some_and(|l| literal(&r.spec.listener_arn) == l.arn);
        let have: Vec<&Rule> = self.have.rules.iter().filter(here).collect();
        let (foreign, mut ours): (Vec<&Rule>, Vec<&Rule>) =
            have.into_iter().partition(|r| resource_id(&r.spec.tags, KIND).is_none());
        ours.sort_by_key(|r| r.spec.priority);
        for rule in &foreign {
            self.follow(&super::forward::Step::default(), &rule.spec.actions);
        }
        // Each wanted rule takes the first one that matches the same.
        let mut free: Vec<&Rule> = ours;
        let mut pairs: Vec<(&String, ListenerRuleSpec, Option<&Rule>)> = Vec::new();
        for (id, spec) in want {
            let same =
                |r: &&Rule| r.spec.conditions == spec.conditions && r.spec.transforms == spec.transforms;
            let at = free.iter().position(same);
            let rule = at.map(|at| free.remove(at));
            if self.locked(&spec.actions) {
                // One that is there stays, in its place; one that is not there is not made.
                let Some(rule) = rule else { continue };
                self.note_used(&rule.spec.actions);
                pairs.push((id, ListenerRuleSpec { actions: rule.spec.actions.clone(), ..spec }, Some(rule)));
                continue;
            }
            pairs.push((id, spec, rule));
        }
        let stale = free;
        let taken: BTreeSet<u32> = foreign.iter().map(|r| r.spec.priority).collect();
        let places = places(&pairs, &taken);
        let mut held: BTreeSet<u32> = taken.iter().copied().collect();
        held.extend(stale.iter().map(|r| r.spec.priority));
        held.extend(pairs.iter().filter_map(|(_, _, r)| Some(r.as_ref()?.spec.priority)));
        let mut behind = held.iter().chain(&places).copied().max().unwrap_or(0).min(LAST - 1000);
        let protocol = self.want.listeners.get(listener_id).map(|l| l.protocol);
        let mut moves: Vec<(Token, u32)> = Vec::new();
        for ((id, spec, rule), place) in pairs.iter().zip(&places) {
            match rule {
                Some(rule) => {
                    self.change_rule(id, spec, rule, protocol);
                    if rule.spec.priority != *place {
                        moves.push((Token::literal(rule.arn.as_str()), *place));
                    }
                }
                None => {
                    let mut made = spec.clone();
                    made.priority = *place;
                    if held.contains(place) {
                        behind += 1;
                        made.priority = behind;
                        moves.push((Token::of(KIND, (*id).clone()), *place));
                    }
                    held.insert(made.priority);
                    made.tags = secrets::tagged(self.tags(KIND, id, &made.tags), &made.actions);
                    self.follow(&super::forward::Step::default(), &spec.actions);
                    let op = Op::CreateRule { id: (*id).clone(), spec: Box::new(made) };
                    self.push(op, Verb::Create, KIND, id, format!("make rule {id}"));
                }
            }
        }
        // A stale rule in a place that another gets moves behind all until it goes.
        let wanted: BTreeSet<u32> = moves.iter().map(|(_, place)| *place).collect();
        for rule in stale.iter().filter(|r| wanted.contains(&r.spec.priority)) {
            behind += 1;
            moves.push((Token::literal(rule.arn.as_str()), behind));
        }
        if !moves.is_empty() {
            let summary = format!("put {} rules of listener {listener_id} in order", moves.len());
            let op = Op::SetRulePriorities { priorities: moves };
            self.push(op, Verb::Update, KIND, &format!("{listener_id}:order"), summary);
        }
        for rule in stale {
            let id = resource_id(&rule.spec.tags, KIND).unwrap_or_default();
            // Its id may be that of a rule that was just made: the slot is named by what it is.
            let slot = format!("{id} ({})", short(&Token::literal(rule.arn.as_str())));
            let op = Op::Delete { kind: KIND, at: rule.arn.clone() };
            self.push(op, Verb::Delete, KIND, &slot, format!("delete rule {id}"));
        }
    }

    fn change_rule(
        &mut self,
        id: &str,
        want: &ListenerRuleSpec,
        have: &Rule,
        protocol: Option<crate::stack::ElbProtocol>,
    ) {
        let Some(protocol) = protocol else { return };
        let step = self.step(&want.actions, &have.spec.actions, protocol);
        let mut set = want.clone();
        set.actions = step.set.clone().unwrap_or_else(|| forward::checked(&want.actions, &have.spec.actions));
        if step.set.is_some() {
            let op = Op::ModifyRule { rule: have.arn.clone(), spec: Box::new(set.clone()) };
            self.push(op, Verb::Update, KIND, id, format!("change rule {id}"));
        }
        self.follow(&step, &set.actions);
        let mut tags = secrets::tagged(self.tags(KIND, id, &want.tags), &want.actions);
        // Which number it had when it was made does not matter: moving is one call, tagging would be one for each.
        tags.remove(causeway_api::names::TAG_RESOURCE);
        self.retag(KIND, id, &have.arn, tags, &have.spec.tags);
    }
}

/// The priority of each wanted rule: its own, or the next one that nobody else's rule holds.
fn places(pairs: &[(&String, ListenerRuleSpec, Option<&Rule>)], taken: &BTreeSet<u32>) -> Vec<u32> {
    let mut last = 0;
    let mut all = Vec::new();
    let mut by: BTreeMap<u32, ()> = BTreeMap::new();
    for (_, spec, _) in pairs {
        let mut place = spec.priority.max(last + 1);
        while taken.contains(&place) || by.contains_key(&place) {
            place += 1;
        }
        by.insert(place, ());
        last = place;
        all.push(place);
    }
    all
}
