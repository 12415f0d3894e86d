//! Addresses for an owner that has none: where they are looked for, and in which order.

use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Family, FamilyPolicy};

use super::{AllocError, Allocator, Families, Request};
use crate::pool::{Pool, SetAside};
use crate::range::address;

/// Addresses and the name of their pool.
pub(super) type Found = (Vec<IpAddr>, String);

impl Allocator {
    /// Addresses for an owner that has none, and their pool. Changes nothing.
    pub(super) fn find(&mut self, request: &Request) -> Result<Found, AllocError> {
        if self.pools.is_empty() {
            return Err(AllocError::NoPools);
        }
        if !request.addresses.is_empty() {
            return self.find_exactly(request);
        }
        if let Some(name) = &request.pool {
            return self.find_in_pool(request, name);
        }
        let exhausted = AllocError::Exhausted { families: request.families };
        let mut pinned: Vec<Arc<Pool>> = Vec::new();
        let mut open: Vec<Arc<Pool>> = Vec::new();
        for pool in self.pools.iter().filter(|p| p.auto_assign && !p.refused) {
            match &pool.set_aside {
                None => open.push(Arc::clone(pool)),
                Some(_) if allowed(pool, request) => pinned.push(Arc::clone(pool)),
                Some(_) => {}
            }
        }
        // By name within a rank, since the sort is stable.
        pinned.sort_by_key(|pool| pool.set_aside.as_ref().map(SetAside::rank));
        self.find_best(request, &pinned).or_else(|| self.find_best(request, &open)).ok_or(exhausted)
    }

    fn find_exactly(&self, request: &Request) -> Result<Found, AllocError> {
        let addresses: Vec<IpAddr> = request.addresses.iter().map(IpAddr::to_canonical).collect();
        if Families::of(&addresses) != Some(request.families) {
            return Err(AllocError::FamilyMismatch { addresses, families: request.families });
        }
        let Some(pool) = self.pools.of(&addresses) else {
            let left_out = addresses.iter().find_map(|a| Some((*a, self.pools.serving_at(*a)?)));
            return Err(match left_out {
                Some((address, pool)) if !pool.holds(address) => {
                    AllocError::LeftOut { address, pool: pool.name.clone() }
                }
                _ => AllocError::OutsidePools { addresses },
            });
        };
        if pool.refused {
            return Err(AllocError::PoolRefused { pool: pool.name.clone() });
        }
        if !allowed(pool, request) {
            return Err(AllocError::PoolSetAside { pool: pool.name.clone() });
        }
        if let Some(wanted) = &request.pool
            && *wanted != pool.name
        {
            return Err(AllocError::PoolDisagrees { addresses, pool: wanted.clone() });
        }
        for address in &addresses {
            if let Some(taken) = self.closed.get(*address) {
                return Err(AllocError::Closed { address: *address, taken: Box::new(taken.clone()) });
            }
            self.uses.check(*address, &request.owner, &request.key, &request.ports)?;
            if let Some(other) = self.disputed_by_another(*address, &request.owner) {
                return Err(AllocError::NotShared {
                    service: request.owner.id(),
                    address: *address,
                    users: other.id(),
                    why: "its status still shows the address".into(),
                });
            }
        }
        Ok((addresses, pool.name.clone()))
    }

    fn find_in_pool(&mut self, request: &Request, name: &str) -> Result<Found, AllocError> {
        let Some(pool) = self.pools.get(name) else {
            let known: Vec<_> = self.pools.iter().map(|p| p.name.as_str()).collect();
            return Err(AllocError::UnknownPool { pool: name.to_owned(), known: known.join(", ") });
        };
        if pool.refused {
            return Err(AllocError::PoolRefused { pool: name.to_owned() });
        }
        if !allowed(pool, request) {
            return Err(AllocError::PoolSetAside { pool: name.to_owned() });
        }
        let found = self.candidates(name, request);
        let dual_enough = found.len() == 2 || request.policy == FamilyPolicy::PreferDualStack;
        if found.is_empty() || (request.families == Families::Both && !dual_enough) {
            return Err(AllocError::PoolExhausted { pool: name.to_owned(), families: request.families });
        }
        Ok((found, name.to_owned()))
    }

    /// The first pool that has all families; for `PreferDualStack` else the first that has the primary one, else the first that has any.
    fn find_best(&mut self, request: &Request, pools: &[Arc<Pool>]) -> Option<Found> {
        let mut primary = None;
        let mut secondary = None;
        for pool in pools {
            let found = self.candidates(&pool.name, request);
            if found.len() == request.families.each().len() {
                return Some((found, pool.name.clone()));
            }
            let Some(only) = found.first() else { continue };
            let slot = if Family::of(only) == request.primary { &mut primary } else { &mut secondary };
            slot.get_or_insert_with(|| (found.clone(), pool.name.clone()));
        }
        if request.families == Families::Both && request.policy == FamilyPolicy::PreferDualStack {
            primary.or(secondary)
        } else {
            None
        }
    }

    /// One address per family wanted, as far as the pool has them; IPv4 first.
    fn candidates(&mut self, pool: &str, request: &Request) -> Vec<IpAddr> {
        let families = request.families.each();
        families.iter().filter_map(|family| self.candidate(pool, *family, request)).collect()
    }

    /// The address of a pool that comes first and is free or may be shared.
    pub(super) fn candidate(&mut self, pool: &str, family: Family, request: &Request) -> Option<IpAddr> {
        let free = self.space.get_mut(pool)?.of(family).first();
        let shared = self
            .uses
            .offers(pool, family, &request.key)
            .take_while(|position| free.is_none_or(|free| *position < free))
            .find(|(_, number)| {
                let address = address(family, *number);
                self.closed.get(address).is_none()
                    && self.disputed_by_another(address, &request.owner).is_none()
                    && self.uses.check(address, &request.owner, &request.key, &request.ports).is_ok()
            });
        shared.or(free).map(|(_, number)| address(family, number))
    }
}

/// Whether a pool is for this Service.
pub(super) fn allowed(pool: &Pool, request: &Request) -> bool {
    pool.set_aside
        .as_ref()
        .is_none_or(|s| s.matches(&request.namespace, &request.namespace_labels, &request.labels))
}
