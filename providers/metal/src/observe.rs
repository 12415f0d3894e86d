//! What a load balancer has: what was reserved for it and committed. Pure; the truth is the status of the Services, from which it is taken over
//! once, when leadership begins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{LbKey, LoadBalancer, Member, Note};
use serde::Serialize;

use crate::allocator::{Allocator, Assignment, OutsidePools, Port, Request, SharingKey};
use crate::desired::{Ask, Facts, Wanted, desired};
use crate::pool::Pools;

/// What a load balancer has. Without addresses: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its addresses, in the order of its status.
    pub addresses: Vec<IpAddr>,
    /// The pool they come from, or came from if no pool holds them now.
    pub pool: Option<String>,
    /// With whom it may share them.
    pub key: SharingKey,
    /// What it listens to.
    pub ports: Vec<Port>,
    /// Events of its last change.
    pub notes: Vec<Note>,
}

impl Held {
    pub(crate) fn new(request: &Request, assignment: &Assignment) -> Self {
        let notes = assignment
            .happened
            .iter()
            .map(|h| Note { reason: h.reason().to_owned(), message: h.to_string() })
            .collect();
        Self {
            addresses: assignment.addresses.clone(),
            pool: assignment.pool.clone(),
            key: request.key.clone(),
            ports: request.ports.clone(),
            notes,
        }
    }
}

/// Everything that changes: the allocator, and what of it is committed.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) allocator: Allocator,
    pub(crate) outside: OutsidePools,
    /// Generation of the facts that the allocator's pools are from.
    pub(crate) generation: u64,
    pub(crate) committed: HashMap<LbKey, Held>,
}

impl State {
    /// Starts over, from what the Services have by their status: the oldest first, so that of two claims to one address the older one
    /// stands, in whatever order they are listed.
    pub(crate) fn take_over(&mut self, all: &[LoadBalancer], facts: &Facts) {
        self.allocator = Allocator::new(Arc::clone(&facts.pools), self.outside);
        self.allocator.set_closed(Arc::clone(&facts.closed));
        self.generation = facts.generation;
        self.committed.clear();
        let mut members: Vec<(&LoadBalancer, &Member)> =
            all.iter().flat_map(|lb| lb.members.iter().map(move |member| (lb, member))).collect();
        members.sort_by(|(_, a), (_, b)| a.age().cmp(&b.age()));
        for (lb, _) in members {
            let (stack, _) = desired(lb, facts);
            let Some(wanted) = &stack.wanted else { continue };
            let (Ask::Addresses(request) | Ask::Keep(request)) = &wanted.ask else { continue };
            if self.adopt(wanted, request)
                && let Some(assignment) = self.allocator.assignment(&stack.key)
            {
                self.committed.insert(stack.key, Held::new(request, &assignment));
            }
        }
    }

    /// Takes over what a Service has by its status. False if that is nothing, or another's.
    pub(crate) fn adopt(&mut self, wanted: &Wanted, request: &Request) -> bool {
        if wanted.current.is_empty() || !self.adoptable(self.allocator.pools(), wanted) {
            return false;
        }
        self.allocator.adopt(request, &wanted.current, wanted.from_pool.as_deref()).is_ok()
            && self.allocator.assignment(&request.owner).is_some()
    }

    /// An address in no pool is taken over only if the annotation says that it came from one: anything else was given by somebody else, such as
    /// the load balancer controller of a cloud.
    fn adoptable(&self, pools: &Pools, wanted: &Wanted) -> bool {
        pools.of(&wanted.current).is_some()
            || (self.outside != OutsidePools::Reallocate && wanted.from_pool.is_some())
    }

    /// What is committed for a key.
    pub(crate) fn held(&self, key: &LbKey) -> Held {
        self.committed.get(key).cloned().unwrap_or_default()
    }
}
