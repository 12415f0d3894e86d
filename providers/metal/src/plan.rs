//! From what is wanted and what is there to changes: an address is reserved here, and committed by applying the change. Deterministic, and idempotent: planning
//! again gives the same.

use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{
    ChangeInfo, LbKey, LintContext, Mark, ObjectRef, Plan, PlannedChange, Problem, Target, Verb,
};
use serde::Serialize;

use crate::allocator::{Denied, Request};
use crate::desired::{Ask, MetalStack, Wanted};
use crate::names::events;
use crate::observe::{Held, State};

/// A change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Change {
    /// Gives addresses, or changes with whom they may be shared.
    Assign {
        /// The load balancer.
        key: LbKey,
        /// What it has afterwards.
        held: Held,
        /// What it had before.
        before: Vec<IpAddr>,
    },
    /// Takes all addresses back.
    Release {
        /// The load balancer.
        key: LbKey,
        /// What it had before.
        before: Vec<IpAddr>,
        /// Nobody wants it any more; otherwise it waits for other addresses.
        unwanted: bool,
    },
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl PlannedChange for Change {
    fn info(&self) -> ChangeInfo {
        let (key, verb, summary) = match self {
            Self::Assign { key, held, before } => {
                let from = held.pool.as_deref().map(|pool| format!(" of pool {pool}")).unwrap_or_default();
                let given = list(&held.addresses);
                if before.is_empty() {
                    (key, Verb::Create, format!("assign {given}{from} to {key}"))
                } else if before.iter().all(|address| held.addresses.contains(address)) {
                    (key, Verb::Update, format!("keep {} for {key}, now {given}{from}", list(before)))
                } else {
                    let reason = format!("{} does not fit any more", list(before));
                    let verb = Verb::Replace { gap_seconds: 1, reason };
                    (key, verb, format!("assign {given}{from} to {key} instead of {}", list(before)))
                }
            }
            Self::Release { key, before, .. } => {
                (key, Verb::Delete, format!("take {} back from {key}", list(before)))
            }
        };
        ChangeInfo {
            mark: if verb == Verb::Create { Mark::New } else { Mark::Ours },
            verb,
            target: Target { kind: "Metal::Address".into(), id: key.id() },
            cascade: Vec::new(),
            limits: Vec::new(),
            default_action: None,
            summary,
        }
    }
}

impl State {
    pub(crate) fn plan(&mut self, want: &MetalStack, have: &Held) -> Plan<Change> {
        if want.facts.generation > self.generation {
            self.generation = want.facts.generation;
            self.allocator.set_pools(Arc::clone(&want.facts.pools));
            self.allocator.set_closed(Arc::clone(&want.facts.closed));
        }
        let mut plan = Plan {
            context: LintContext {
                keeps_hash: false,
                exists: !have.addresses.is_empty(),
                removes: want.wanted.is_none(),
            },
            ..Plan::default()
        };
        let asked = match &want.wanted {
            Some(wanted) => self.reserve(want, wanted, &mut plan.problems),
            None => None,
        };
        match asked {
            Some(held) => {
                want.reserved.set(Some((held.addresses.clone(), held.pool.clone())));
                if held != *have {
                    plan.changes.push(Change::Assign {
                        key: want.key.clone(),
                        held,
                        before: have.addresses.clone(),
                    });
                }
            }
            None => {
                want.reserved.set(None);
                let waits = want.wanted.as_ref().is_some_and(|w| matches!(w.ask, Ask::Addresses(_)));
                let reserved = self.allocator.assignment(&want.key).is_some();
                if reserved || !have.addresses.is_empty() {
                    plan.changes.push(Change::Release {
                        key: want.key.clone(),
                        before: have.addresses.clone(),
                        unwanted: !waits,
                    });
                }
            }
        }
        plan
    }

    /// What the load balancer shall have; `None` for nothing.
    fn reserve(&mut self, want: &MetalStack, wanted: &Wanted, problems: &mut Vec<Problem>) -> Option<Held> {
        let (Ask::Addresses(request) | Ask::Keep(request)) = &wanted.ask else { return None };
        if !self.allocator.knows(&want.key) {
            self.adopt(wanted, request);
        }
        let assignment = if let Ask::Keep(_) = wanted.ask {
            self.allocator.assignment(&want.key)?
        } else {
            match self.allocator.assign(request) {
                Ok(assignment) => assignment,
                Err(denied) => {
                    problems.push(denied_problem(&wanted.object, request, &denied));
                    return None;
                }
            }
        };
        Some(Held::new(request, &assignment))
    }
}

fn denied_problem(object: &ObjectRef, request: &Request, denied: &Denied) -> Problem {
    let mut message = format!("Failed to allocate IP for {:?}: {}", object.path(), denied.error);
    if let Some(cleared) = &denied.cleared {
        message.push_str(&format!(" (it had to give back what it had: {cleared})"));
    }
    Problem::error(object.clone(), denied.error.field(request), events::ALLOCATION_FAILED, message)
}
