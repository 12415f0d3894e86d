//! Which load balancer has which address. Pure: in memory, single-threaded, no clock.
//!
//! The rules are those of MetalLB's controller, so that what it gave stays and what it would give is given; where it takes an address away
//! without need, this keeps it: when a Service gains or loses a family, the other family's address stays.
//!
//! Invariants:
//! - An address is held by one owner, or by several that may share it (`Uses`).
//! - An address that an owner gives up stays closed to others until [`Allocator::settle`] says that the owner's status does not show it any more: a
//!   crash in between would otherwise leave two statuses with one address.
//! - What an owner has changes only when its own request stops fitting, or its pool does; never because of another owner.
//! - Asking again for the same thing gives the same answer and changes nothing.
//! - Same reservations, pools and request: same answer, in every process. MetalLB tries pools of equal rank in random order; here it is by name.
//!
//! Order for one request (reference: MetalLB `controller/service.go`): keep what is held if it still fits; else exactly the addresses asked for; else the pool
//! asked for; else pools that are set aside for the Service, by rank; else pools that are not set aside for anybody. Inside a pool: ranges in the order of
//! the spec, lowest address first that is free or may be shared.

mod free;
mod request;
mod uses;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Family, FamilyPolicy, LbKey};

use crate::kinds::IPAddressPoolStatus;
use crate::pool::{Pool, Pools};
use crate::range::{address, number};
use free::Free;
use uses::Uses;

pub use request::{AllocError, Assignment, Denied, Families, Happened, Port, Request, SharingKey, field};

/// What becomes of addresses that no pool holds any more, neither a serving nor a refused one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutsidePools {
    /// They stay until the Service asks for something else. Nobody announces them meanwhile, but they work again as soon as the pool is back.
    #[default]
    Keep,
    /// They are taken back, and others given: MetalLB's rule.
    Reallocate,
}

#[derive(Clone, Debug, Default)]
struct Reservation {
    /// What the owner has; empty while it has only something to give up.
    addresses: Vec<IpAddr>,
    /// What it gave up and its status may still show; disjoint from `addresses`.
    former: Vec<IpAddr>,
    /// Why it gave up what it had.
    cleared: Option<String>,
    pool: Option<String>,
    key: SharingKey,
    ports: Vec<Port>,
    happened: Vec<Happened>,
}

/// Free addresses of one pool, per family.
#[derive(Clone, Debug)]
struct PoolSpace {
    four: Free,
    six: Free,
}

impl PoolSpace {
    fn of(&mut self, family: Family) -> &mut Free {
        match family {
            Family::V4 => &mut self.four,
            Family::V6 => &mut self.six,
        }
    }
}

/// The allocator.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    pools: Arc<Pools>,
    outside: OutsidePools,
    /// Serving pools only.
    space: HashMap<String, PoolSpace>,
    uses: Uses,
    held: HashMap<LbKey, Reservation>,
    /// Number of addresses in use, by pool: IPv4 and IPv6.
    used: HashMap<String, [i64; 2]>,
    /// Owners that asked in vain.
    waiting: BTreeSet<LbKey>,
    /// Something became free since the waiting ones were told last.
    freed: bool,
}

impl Allocator {
    /// An allocator over these pools, with every address free.
    #[must_use]
    pub fn new(pools: Arc<Pools>, outside: OutsidePools) -> Self {
        let mut allocator = Self { outside, ..Self::default() };
        allocator.set_pools(pools);
        allocator
    }

    /// Changes the pools. Nothing is taken from anybody here: whoever does not fit any more is told when it asks next.
    pub fn set_pools(&mut self, pools: Arc<Pools>) {
        if *self.pools == *pools {
            return;
        }
        self.pools = pools;
        self.space = self
            .pools
            .iter()
            .filter(|pool| !pool.refused)
            .map(|pool| {
                let space = PoolSpace { four: Free::new(pool, Family::V4), six: Free::new(pool, Family::V6) };
                (pool.name.clone(), space)
            })
            .collect();
        self.used.clear();
        self.uses.withdraw_all();
        for address in self.uses.addresses().collect::<Vec<_>>() {
            self.occupy(address);
            self.offer(address);
        }
        for reservation in self.held.values_mut() {
            if let Some(pool) = self.pools.of(&reservation.addresses) {
                reservation.pool = Some(pool.name.clone());
            }
        }
        self.freed = true;
    }

    /// The pools in use.
    #[must_use]
    pub fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// Takes over addresses that an owner has already, from its status: they need fit neither pools nor request, only not be another's.
    /// `from_pool` is the pool they came from, for those that no pool holds now. Where several owners claim one address, the caller lets the
    /// oldest come first.
    ///
    /// # Errors
    /// Another owner has one of the addresses and may not share it; then nothing is taken over, and the owner gets something else when it asks.
    pub fn adopt(
        &mut self,
        request: &Request,
        current: &[IpAddr],
        from_pool: Option<&str>,
    ) -> Result<(), AllocError> {
        let addresses: Vec<IpAddr> = current.iter().map(IpAddr::to_canonical).collect();
        if Families::of(&addresses).is_none() {
            return Ok(());
        }
        for address in &addresses {
            if let Err(error) = self.uses.check(*address, &request.owner, &request.key, &request.ports) {
                let held = self.held.entry(request.owner.clone()).or_default();
                held.cleared = Some(error.to_string());
                return Err(error);
            }
        }
        let pool = self.pools.of(&addresses).map(|pool| pool.name.clone());
        let pool = pool.or_else(|| from_pool.map(str::to_owned));
        self.reserve(request, addresses, pool, Vec::new());
        Ok(())
    }

    /// What an owner has.
    #[must_use]
    pub fn assignment(&self, owner: &LbKey) -> Option<Assignment> {
        let held = self.held.get(owner).filter(|held| !held.addresses.is_empty())?;
        Some(Assignment {
            addresses: held.addresses.clone(),
            pool: held.pool.clone(),
            outside: self.pools.of(&held.addresses).is_none(),
            lacks: None,
            happened: held.happened.clone(),
        })
    }

    /// Whether an owner has something, or has given up something since it was settled last.
    #[must_use]
    pub fn knows(&self, owner: &LbKey) -> bool {
        self.held.contains_key(owner)
    }

    /// All owners that have something or are giving it up, in no order.
    pub fn owners(&self) -> impl Iterator<Item = &LbKey> {
        self.held.keys()
    }

    /// Gives an owner what it asks for: what it has, if that still fits, and otherwise something else.
    ///
    /// # Errors
    /// Nothing fits. What the owner had is free then, and the owner is told by [`Allocator::take_waiting`] when it may try again.
    pub fn assign(&mut self, request: &Request) -> Result<Assignment, Denied> {
        let mut result = self.assign_or_free(request);
        if let Ok(assignment) = &mut result {
            assignment.lacks = lacking(request, &assignment.addresses);
        }
        match &result {
            Ok(assignment) if assignment.lacks.is_none() => self.waiting.remove(&request.owner),
            _ => self.waiting.insert(request.owner.clone()),
        };
        result
    }

    /// Takes back what an owner has, and forgets that it waits. Free for others after [`Allocator::settle`].
    pub fn release(&mut self, owner: &LbKey) {
        self.waiting.remove(owner);
        self.give_up(owner, None);
    }

    /// The status of an owner shows what it has, and nothing else: what it gave up is free now.
    pub fn settle(&mut self, owner: &LbKey) {
        let Some(held) = self.held.get_mut(owner) else { return };
        held.cleared = None;
        let former = std::mem::take(&mut held.former);
        if held.addresses.is_empty() {
            self.held.remove(owner);
        }
        for address in former {
            self.leave(address, owner);
        }
    }

    /// Owners that asked in vain and may have better luck now: all of them, once after each time that something became free.
    pub fn take_waiting(&mut self) -> Vec<LbKey> {
        if std::mem::take(&mut self.freed) { self.waiting.iter().cloned().collect() } else { Vec::new() }
    }

    /// Counters of a pool, as its status has them. Zero for an unknown pool.
    #[must_use]
    pub fn status(&self, pool: &str) -> IPAddressPoolStatus {
        let [four, six] = self.used.get(pool).copied().unwrap_or_default();
        let available = |family, used: i64| {
            self.pools.get(pool).map_or(0, |pool| pool.capacity(family).saturating_sub(used).max(0))
        };
        IPAddressPoolStatus {
            assigned_ipv4: four,
            assigned_ipv6: six,
            available_ipv4: available(Family::V4, four),
            available_ipv6: available(Family::V6, six),
        }
    }

    fn assign_or_free(&mut self, request: &Request) -> Result<Assignment, Denied> {
        let mut happened = Vec::new();
        let held = self.held.get(&request.owner).map(|held| held.addresses.clone());
        if let Some(addresses) = held.filter(|addresses| !addresses.is_empty()) {
            match self.keep(request, &addresses, &mut happened) {
                Ok(kept) => {
                    // Events belong to the last change; asking again must not repeat or lose them.
                    let (pool, before) = self
                        .held
                        .get(&request.owner)
                        .map(|held| (held.pool.clone(), held.happened.clone()))
                        .unwrap_or_default();
                    let happened = if kept == addresses { before } else { happened };
                    self.reserve(request, kept, pool, happened);
                    return Ok(self.answer(&request.owner));
                }
                Err(why) => self.give_up(&request.owner, Some(why)),
            }
        }
        let cleared = self.held.get(&request.owner).and_then(|held| held.cleared.clone());
        let (addresses, pool) =
            self.find(request).map_err(|error| Denied { error, cleared: cleared.clone() })?;
        let mut happened: Vec<_> = cleared.map(Happened::Cleared).into_iter().collect();
        happened.push(Happened::Assigned(addresses.clone()));
        self.reserve(request, addresses, Some(pool), happened);
        Ok(self.answer(&request.owner))
    }

    fn answer(&self, owner: &LbKey) -> Assignment {
        self.assignment(owner).unwrap_or(Assignment {
            addresses: Vec::new(),
            pool: None,
            outside: false,
            lacks: None,
            happened: Vec::new(),
        })
    }

    /// What the owner may keep of what it holds, with a second family added or dropped as the request wants. `Err` says why it must
    /// give everything back.
    fn keep(
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
        let pool = self.pools.of(&kept).cloned();
        match &pool {
            None if self.outside == OutsidePools::Reallocate => {
                return Err(AllocError::OutsidePools { addresses: kept }.to_string());
            }
            Some(pool) if !pool.refused && !allowed(pool, request) => {
                return Err(AllocError::PoolSetAside { pool: pool.name.clone() }.to_string());
            }
            _ => {}
        }
        let pool_name = pool.as_ref().map(|p| p.name.as_str());
        let recorded = self.held.get(&request.owner).and_then(|h| h.pool.as_deref());
        if let Some(wanted) = &request.pool
            && pool_name.or(recorded) != Some(wanted.as_str())
        {
            return Err(format!("the Service asks for pool {wanted}"));
        }
        if !request.addresses.is_empty() && !same_set(&kept, &request.addresses) {
            return Err("the Service asks for other addresses".into());
        }
        if let (&[only], Families::Both) = (kept.as_slice(), request.families) {
            let missing = if Family::of(&only) == Family::V4 { Family::V6 } else { Family::V4 };
            let found = pool
                .filter(|pool| !pool.refused)
                .and_then(|pool| self.candidate(&pool.name, missing, request));
            match found {
                Some(address) => {
                    happened.push(Happened::Additional(address));
                    kept.push(address);
                }
                None if request.policy == FamilyPolicy::PreferDualStack => {}
                None => {
                    return Err(format!(
                        "the Service needs both families, and the pool of {only} has no address of the other"
                    ));
                }
            }
        }
        Ok(kept)
    }

    /// Addresses for an owner that has none, and their pool.
    fn find(&mut self, request: &Request) -> Result<(Vec<IpAddr>, String), AllocError> {
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
        pinned.sort_by_key(|pool| pool.set_aside.as_ref().map(crate::pool::SetAside::rank));
        self.find_best(request, &pinned).or_else(|| self.find_best(request, &open)).ok_or(exhausted)
    }

    fn find_exactly(&self, request: &Request) -> Result<(Vec<IpAddr>, String), AllocError> {
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
            self.uses.check(*address, &request.owner, &request.key, &request.ports)?;
        }
        Ok((addresses, pool.name.clone()))
    }

    fn find_in_pool(&mut self, request: &Request, name: &str) -> Result<(Vec<IpAddr>, String), AllocError> {
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
    fn find_best(&mut self, request: &Request, pools: &[Arc<Pool>]) -> Option<(Vec<IpAddr>, String)> {
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
    fn candidate(&mut self, pool: &str, family: Family, request: &Request) -> Option<IpAddr> {
        let free = self.space.get_mut(pool)?.of(family).first();
        let shared = self
            .uses
            .offers(pool, family, &request.key)
            .take_while(|position| free.is_none_or(|free| *position < free))
            .find(|(_, number)| {
                let address = address(family, *number);
                self.uses.check(address, &request.owner, &request.key, &request.ports).is_ok()
            });
        shared.or(free).map(|(_, number)| address(family, number))
    }

    fn reserve(
        &mut self,
        request: &Request,
        addresses: Vec<IpAddr>,
        pool: Option<String>,
        happened: Vec<Happened>,
    ) {
        let unchanged = self.held.get(&request.owner).is_some_and(|held| {
            held.addresses == addresses && held.key == request.key && held.ports == request.ports
        });
        let mut former = self.held.get(&request.owner).map(|h| h.former.clone()).unwrap_or_default();
        if !unchanged {
            if let Some(held) = self.held.get(&request.owner) {
                former.extend(held.addresses.iter().copied());
                // A port or a key may have become free for one that waits.
                self.freed = true;
            }
            former.retain(|a| !addresses.contains(a));
            for address in &addresses {
                self.join(*address, request);
            }
        }
        self.held.insert(
            request.owner.clone(),
            Reservation {
                addresses,
                former,
                cleared: None,
                pool,
                key: request.key.clone(),
                ports: request.ports.clone(),
                happened,
            },
        );
    }

    fn give_up(&mut self, owner: &LbKey, why: Option<String>) {
        if let Some(held) = self.held.get_mut(owner) {
            held.former.append(&mut held.addresses);
            held.pool = None;
            held.happened.clear();
            held.cleared = why;
        }
    }

    fn join(&mut self, address: IpAddr, request: &Request) {
        let before = self.uses.key(address).cloned();
        if before.is_some() && before.as_ref() != Some(&request.key) {
            self.withdraw(address);
        }
        if self.uses.join(address, &request.owner, &request.key, &request.ports) {
            self.occupy(address);
        }
        self.offer(address);
    }

    fn leave(&mut self, address: IpAddr, owner: &LbKey) {
        let key = self.uses.key(address).cloned();
        if self.uses.leave(address, owner) {
            if let Some(key) = key
                && let Some((pool, family, position)) = self.position(address)
            {
                self.uses.withdraw(&pool, family, &key, position);
            }
            self.vacate(address);
        }
        self.freed = true;
    }

    fn position(&mut self, address: IpAddr) -> Option<(String, Family, free::Position)> {
        let (family, n) = number(address);
        let pool = self.pools.serving_at(address)?.name.clone();
        let position = self.space.get_mut(&pool)?.of(family).position(n)?;
        Some((pool, family, position))
    }

    fn offer(&mut self, address: IpAddr) {
        if let Some((pool, family, position)) = self.position(address)
            && let Some(key) = self.uses.key(address).cloned()
        {
            self.uses.offer(&pool, family, &key, position);
        }
    }

    fn withdraw(&mut self, address: IpAddr) {
        if let Some((pool, family, position)) = self.position(address)
            && let Some(key) = self.uses.key(address).cloned()
        {
            self.uses.withdraw(&pool, family, &key, position);
        }
    }

    /// An address is in use now: not free, and counted for its pool.
    fn occupy(&mut self, address: IpAddr) {
        let (family, n) = number(address);
        if let Some(pool) = self.pools.serving_at(address)
            && let Some(space) = self.space.get_mut(&pool.name)
        {
            space.of(family).take(n);
        }
        if let Some(pool) = self.pools.of(&[address]) {
            self.used.entry(pool.name.clone()).or_default()[slot(family)] += 1;
        }
    }

    fn vacate(&mut self, address: IpAddr) {
        let (family, n) = number(address);
        if let Some(pool) = self.pools.serving_at(address)
            && let Some(space) = self.space.get_mut(&pool.name)
        {
            space.of(family).put(n);
        }
        if let Some(pool) = self.pools.of(&[address])
            && let Some(used) = self.used.get_mut(&pool.name)
        {
            used[slot(family)] -= 1;
        }
    }
}

fn slot(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

fn allowed(pool: &Pool, request: &Request) -> bool {
    pool.set_aside
        .as_ref()
        .is_none_or(|s| s.matches(&request.namespace, &request.namespace_labels, &request.labels))
}

fn same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    let set = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_canonical).collect::<BTreeSet<_>>();
    set(a) == set(b)
}

/// What a request for both families did not get.
fn lacking(request: &Request, addresses: &[IpAddr]) -> Option<Family> {
    let have = |family: &Family| addresses.iter().any(|a| Family::of(a) == *family);
    request.families.each().iter().copied().find(|family| !have(family))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
