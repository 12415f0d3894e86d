//! What an owner may keep of what it has. A second family is added or dropped as its request wants, and an address that cannot stay is
//! replaced alone where that is possible.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Family, FamilyPolicy};

use super::search::allowed;
use super::{AllocError, Allocator, Families, Happened, OutsidePools, Request};
use crate::pool::Pool;

impl Allocator {
    /// What the owner may keep of what it holds. `Err` says why it must give everything back.
    pub(super) fn keep(
        &mut self,
        request: &Request,
        held: &[IpAddr],
        happened: &mut Vec<Happened>,
    ) -> Result<Vec<IpAddr>, String> {
        let mut kept = held.to_vec();
        let have = Families::of(&kept).ok_or("its addresses are not of different families")?;
        if let (Families::Both, Families::One(family)) = (have, request.families) {
            kept.retain(|a| Family::of(a) == family);
            happened.extend(kept.first().map(|a| Happened::Narrowed(*a)));
        } else if let (Families::One(_), Families::One(_)) = (have, request.families)
            && have != request.families
        {
            return Err(format!("the Service is {}, its address is {have}", request.families));
        }
        for address in &kept {
            self.uses
                .check(*address, &request.owner, &request.key, &request.ports)
                .map_err(|e| e.to_string())?;
        }
        self.still_its_pool(request, &kept)?;
        if !request.addresses.is_empty() && !same_set(&kept, &request.addresses) {
            return Err("the Service asks for other addresses".into());
        }
        self.leave_strangers(request, &mut kept, happened)?;
        self.leave_no_pool(request, &mut kept, happened)?;
        if let (&[only], Families::Both) = (kept.as_slice(), request.families) {
            self.add_family(request, only, &mut kept, happened)?;
        }
        Ok(kept)
    }

    /// The pool is still one for this Service, and the one that it asks for. A pool asked for that is gone, or refused, takes nothing away.
    fn still_its_pool(&self, request: &Request, kept: &[IpAddr]) -> Result<(), String> {
        let pool = self.pools.of(kept);
        let each = kept.iter().filter_map(|address| self.pools.of(&[*address]));
        for pool in each.chain(pool).filter(|pool| !pool.refused) {
            if !allowed(pool, request) {
                return Err(AllocError::PoolSetAside { pool: pool.name.clone() }.to_string());
            }
        }
        let recorded = self.held.get(&request.owner).and_then(|h| h.pool.as_deref());
        if let Some(wanted) = &request.pool
            && pool.map(|p| p.name.as_str()).or(recorded) != Some(wanted.as_str())
            && self.pools.get(wanted).is_some_and(|pool| !pool.refused)
        {
            return Err(format!("the Service asks for pool {wanted}"));
        }
        Ok(())
    }

    /// An address on which a stranger was met before it was announced is left to him.
    fn leave_strangers(
        &mut self,
        request: &Request,
        kept: &mut [IpAddr],
        happened: &mut Vec<Happened>,
    ) -> Result<(), String> {
        let strangers = |taken: &&crate::closed::Taken| taken.before_use();
        let met = kept.iter().find_map(|a| Some((*a, self.closed.get(*a).filter(strangers)?.clone())));
        let Some((address, taken)) = met else { return Ok(()) };
        let why = AllocError::Closed { address, taken: Box::new(taken) }.to_string();
        let rest: Vec<IpAddr> = kept.iter().copied().filter(|a| *a != address).collect();
        let rest_is_met = rest.iter().any(|a| self.closed.get(*a).as_ref().is_some_and(strangers));
        // One asked for by name is asked for again, and denied as long as the stranger is there.
        if rest.is_empty() || rest_is_met || !request.addresses.is_empty() {
            return Err(why);
        }
        let new = self.beside(request, &rest, address).ok_or_else(|| why.clone())?;
        replace(kept, address, new);
        happened.extend([Happened::Cleared(why), Happened::Assigned(vec![new])]);
        Ok(())
    }

    /// Addresses that no pool holds any more: see [`OutsidePools`].
    fn leave_no_pool(
        &mut self,
        request: &Request,
        kept: &mut Vec<IpAddr>,
        happened: &mut Vec<Happened>,
    ) -> Result<(), String> {
        let outside: Vec<IpAddr> =
            kept.iter().copied().filter(|address| self.pools.of(&[*address]).is_none()).collect();
        let why = || AllocError::OutsidePools { addresses: outside.clone() }.to_string();
        if self.outside == OutsidePools::Reallocate && self.pools.of(kept).is_none() {
            return Err(why());
        }
        // What is asked for by name cannot be replaced by something else.
        if outside.is_empty() || self.outside != OutsidePools::Move || !request.addresses.is_empty() {
            return Ok(());
        }
        let inside: Vec<IpAddr> = kept.iter().copied().filter(|a| !outside.contains(a)).collect();
        let (&[left], &[gone]) = (inside.as_slice(), outside.as_slice()) else {
            return if self.find(request).is_ok() { Err(why()) } else { Ok(()) };
        };
        if let Some(new) = self.beside(request, &inside, gone) {
            replace(kept, gone, new);
            happened.extend([Happened::Cleared(why()), Happened::Assigned(vec![new])]);
        } else if self.find(request).is_ok_and(|(found, _)| found.len() == kept.len()) {
            return Err(why());
        } else if request.policy == FamilyPolicy::PreferDualStack {
            kept.retain(|address| *address == left);
            happened.push(Happened::Lost { gone, left });
        }
        Ok(())
    }

    /// The second family, out of the pool of the first.
    fn add_family(
        &mut self,
        request: &Request,
        only: IpAddr,
        kept: &mut Vec<IpAddr>,
        happened: &mut Vec<Happened>,
    ) -> Result<(), String> {
        let missing = if Family::of(&only) == Family::V4 { Family::V6 } else { Family::V4 };
        match self.out_of_its_pool(request, only, missing) {
            Some(address) => {
                happened.push(Happened::Additional(address));
                kept.push(address);
                Ok(())
            }
            None if request.policy == FamilyPolicy::PreferDualStack => Ok(()),
            None => Err(format!(
                "the Service needs both families, and the pool of {only} has no address of the other"
            )),
        }
    }

    /// An address in place of `gone`, out of the pool of those that stay.
    fn beside(&mut self, request: &Request, stay: &[IpAddr], gone: IpAddr) -> Option<IpAddr> {
        self.out_of_its_pool(request, *stay.first()?, Family::of(&gone))
    }

    fn out_of_its_pool(&mut self, request: &Request, address: IpAddr, family: Family) -> Option<IpAddr> {
        let pool: Arc<Pool> = Arc::clone(self.pools.of(&[address])?);
        if pool.refused {
            return None;
        }
        self.candidate(&pool.name, family, request)
    }
}

fn replace(kept: &mut [IpAddr], old: IpAddr, new: IpAddr) {
    for address in kept.iter_mut().filter(|address| **address == old) {
        *address = new;
    }
}

fn same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    let set = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_canonical).collect::<BTreeSet<_>>();
    set(a) == set(b)
}
