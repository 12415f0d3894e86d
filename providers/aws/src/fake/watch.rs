//! What serves, before and after a write.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_api::names::TAG_OWNER;

use super::{Settings, World};
use crate::cloud::Call;
use crate::cloud::records::Health;
use crate::plan::tokens::literal;
use crate::stack::Action;

/// What serves: load balancers, listeners and rules, and for each whose it is.
pub type Serving = BTreeMap<String, String>;

impl World {
    fn actions_serve(&self, actions: &[Action], now: Duration, settings: &Settings) -> bool {
        match actions.last() {
            Some(Action::Forward(forward)) => {
                let single = forward.target_groups.len() == 1;
                forward.target_groups.iter().any(|t| {
                    let weighs = single || t.weight.unwrap_or(1) > 0;
                    let healths = self.healths(literal(&t.target_group_arn), now, settings);
                    weighs && healths.values().any(|h| *h == Health::Healthy)
                })
            }
            _ => false,
        }
    }

    pub(super) fn serving(&self, now: Duration, settings: &Settings) -> Serving {
        let mut serving = Serving::new();
        for listener in self.listeners.values() {
            let lb = literal(&listener.spec.load_balancer_arn);
            // What is nobody's may become ours.
            let Some(owner) = self.tags(lb).and_then(|t| t.get(TAG_OWNER).cloned()) else { continue };
            if self.actions_serve(&listener.spec.default_actions, now, settings) {
                serving.insert(listener.arn.clone(), owner.clone());
                serving.insert(lb.to_owned(), owner.clone());
            }
            for rule in self.rules.values().filter(|r| literal(&r.spec.listener_arn) == listener.arn) {
                if self.actions_serve(&rule.spec.actions, now, settings) {
                    serving.insert(rule.arn.clone(), owner.clone());
                    serving.insert(lb.to_owned(), owner.clone());
                }
            }
        }
        serving
    }

    pub(super) fn note_gaps(&mut self, before: &Serving, now: Duration, settings: &Settings, call: &Call) {
        let after = self.serving(now, settings);
        for (arn, owner) in before {
            let there = self.listeners.contains_key(arn) || self.rules.contains_key(arn);
            // A load balancer may go if another of the same owner serves; that a user takes a port or a rule away is no gap.
            // Nor is it that all nodes are others now: those that come need some time.
            let taken = match call {
                Call::DeleteListener { .. } | Call::DeleteRule { .. } => true,
                Call::DeregisterTargets { group, .. } => {
                    self.registered(group).values().any(|h| *h != Health::Draining)
                }
                _ => false,
            };
            let stopped = there && !after.contains_key(arn) && !taken;
            let gone = !taken && arn.contains(":loadbalancer/") && !after.values().any(|o| o == owner);
            if stopped || gone {
                self.gaps.push(format!("{arn} of {owner} stopped by {call:?}"));
            }
        }
    }
}
