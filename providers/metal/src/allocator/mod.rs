//! Which load balancer has which address. Pure: in memory, single-threaded, no clock.
//!
//! The rules are those of MetalLB's controller, so that what it gave stays and what it would give is given; where it takes an address away
//! without need, this keeps it: when a Service gains or loses a family, the other family's address stays.
//!
//! Invariants:
//! - An address is held by one owner, or by several that may share it (`Uses`).
//! - An address that an owner gives up stays closed to others until [`Allocator::settle`] says that the owner's status does not show it any more: a
//!   crash in between would otherwise leave two statuses with one address.
//! - The same holds for an address that an owner's status shows although it is another's, or not to be adopted.
//! - What an owner has changes only when its own request stops fitting, or its pool does, or when a stranger is found on its address before it is
//!   announced; never because of another owner.
//! - An address that is closed ([`Closed`]) is given to nobody, neither on its own nor by request. Whoever has it keeps it, but for that stranger.
//! - Asking again for the same thing gives the same answer and changes nothing.
//! - Same reservations, pools and request: same answer, in every process. MetalLB tries pools of equal rank in random order; here it is by name.
//!
//! Order for one request (reference: MetalLB `controller/service.go`): keep what is held if it still fits; else exactly the addresses asked for; else the pool
//! asked for; else pools that are set aside for the Service, by rank; else pools that are not set aside for anybody. Inside a pool: ranges in the order of
//! the spec, lowest address first that is free or may be shared.

mod free;
mod keep;
mod request;
mod search;
mod uses;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Family, LbKey};

use crate::closed::Closed;
use crate::kinds::IPAddressPoolStatus;
use crate::pool::Pools;
use crate::range::number;
use free::Free;
use uses::Uses;

pub use request::{AllocError, Assignment, Denied, Families, Happened, Port, Request, SharingKey, field};

/// What becomes of addresses that no pool holds any more, neither a serving nor a refused one. Nobody announces such an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutsidePools {
    /// Others are given as soon as there are some; until then they stay, and work again if the pool comes back.
    #[default]
    Move,
    /// They stay until the Service asks for something else, and work again if the pool comes back.
    Keep,
    /// They are taken back at once, and others given if there are some: MetalLB's rule.
    Reallocate,
}

#[derive(Clone, Debug, Default)]
struct Reservation {
    /// What the owner has; empty while it has only something to give up.
    addresses: Vec<IpAddr>,
    /// What it gave up and its status may still show; disjoint from `addresses`.
    former: Vec<IpAddr>,
    /// What its status shows and it never had here.
    disputed: Vec<IpAddr>,
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
    closed: Arc<Closed>,
    outside: OutsidePools,
    /// Serving pools only.
    space: HashMap<String, PoolSpace>,
    uses: Uses,
    /// Addresses that the status of somebody shows who does not have them here.
    disputed: HashMap<IpAddr, BTreeSet<LbKey>>,
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
        let closed = Arc::clone(&self.closed);
        let disputed: Vec<IpAddr> = self.disputed.keys().copied().collect();
        for address in closed.iter().map(|(address, _)| address).chain(disputed) {
            self.take(address);
        }
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

    /// Changes which addresses are closed. Nothing is taken from anybody here either.
    pub fn set_closed(&mut self, closed: Arc<Closed>) {
        let before = std::mem::replace(&mut self.closed, closed);
        if *before == *self.closed {
            return;
        }
        for (address, _) in Arc::clone(&self.closed).iter() {
            self.take(address);
        }
        for (address, _) in before.iter() {
            if self.uses.key(address).is_none() && self.put(address) {
                self.freed = true;
            }
        }
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
            self.dispute(&request.owner, addresses, None);
            return Ok(());
        }
        for address in &addresses {
            if let Err(error) = self.uses.check(*address, &request.owner, &request.key, &request.ports) {
                self.dispute(&request.owner, addresses, Some(error.to_string()));
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
        let content = |assignment: &Assignment| {
            assignment.lacks.is_none() && !(assignment.outside && self.outside == OutsidePools::Move)
        };
        match &result {
            Ok(assignment) if content(assignment) => self.waiting.remove(&request.owner),
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
        let disputed = std::mem::take(&mut held.disputed);
        if held.addresses.is_empty() {
            self.held.remove(owner);
        }
        for address in former {
            self.leave(address, owner);
        }
        for address in disputed {
            self.agree(address, owner);
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
        let shut = self.shut(pool);
        let available = |family, used: i64| {
            let capacity = self.pools.get(pool).map_or(0, |pool| pool.capacity(family));
            capacity.saturating_sub(used).saturating_sub(shut[slot(family)]).max(0)
        };
        IPAddressPoolStatus {
            assigned_ipv4: four,
            assigned_ipv6: six,
            available_ipv4: available(Family::V4, four),
            available_ipv6: available(Family::V6, six),
        }
    }

    /// How many owners have addresses of each pool; pools of which nobody has any are missing.
    #[must_use]
    pub fn services(&self) -> BTreeMap<String, i64> {
        let mut services = BTreeMap::new();
        for held in self.held.values().filter(|held| !held.addresses.is_empty()) {
            if let Some(pool) = &held.pool {
                *services.entry(pool.clone()).or_default() += 1;
            }
        }
        services
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
                    let pool = self.pools.of(&kept).map(|pool| pool.name.clone()).or(pool);
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
        let (mut former, disputed) = self
            .held
            .get(&request.owner)
            .map(|held| (held.former.clone(), held.disputed.clone()))
            .unwrap_or_default();
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
                disputed,
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

    /// An address is not free any more.
    fn take(&mut self, address: IpAddr) {
        let (family, n) = number(address);
        if let Some(pool) = self.pools.serving_at(address)
            && let Some(space) = self.space.get_mut(&pool.name)
        {
            space.of(family).take(n);
        }
    }

    /// An address that nobody has any more is free again, unless it is closed, or a status still shows it.
    fn put(&mut self, address: IpAddr) -> bool {
        let barred = self.closed.get(address).is_some() || self.disputed.contains_key(&address);
        let (family, n) = number(address);
        if !barred
            && let Some(pool) = self.pools.serving_at(address)
            && let Some(space) = self.space.get_mut(&pool.name)
        {
            space.of(family).put(n);
        }
        !barred
    }

    /// The status of an owner shows addresses that are not its own here.
    fn dispute(&mut self, owner: &LbKey, addresses: Vec<IpAddr>, why: Option<String>) {
        for address in &addresses {
            self.disputed.entry(*address).or_default().insert(owner.clone());
            self.take(*address);
        }
        let held = self.held.entry(owner.clone()).or_default();
        held.disputed = addresses;
        held.cleared = why;
    }

    /// It does not show it any more.
    fn agree(&mut self, address: IpAddr, owner: &LbKey) {
        if let Some(owners) = self.disputed.get_mut(&address) {
            owners.remove(owner);
            if owners.is_empty() {
                self.disputed.remove(&address);
            }
        }
        if self.uses.key(address).is_none() {
            self.put(address);
        }
        self.freed = true;
    }

    /// Somebody else's status shows an address that is not his.
    fn disputed_by_another(&self, address: IpAddr, owner: &LbKey) -> Option<&LbKey> {
        self.disputed.get(&address)?.iter().find(|other| *other != owner)
    }

    /// How many addresses of a pool are closed and in nobody's use, per family.
    fn shut(&self, pool: &str) -> [i64; 2] {
        let mut shut = [0; 2];
        for (address, _) in self.closed.iter().filter(|(address, _)| self.uses.key(*address).is_none()) {
            if self.pools.serving_at(address).is_some_and(|p| p.name == pool && p.holds(address)) {
                shut[slot(number(address).0)] += 1;
            }
        }
        shut
    }

    /// An address is in use now: not free, and counted for its pool.
    fn occupy(&mut self, address: IpAddr) {
        self.take(address);
        let (family, _) = number(address);
        if let Some(pool) = self.pools.of(&[address]) {
            self.used.entry(pool.name.clone()).or_default()[slot(family)] += 1;
        }
    }

    fn vacate(&mut self, address: IpAddr) {
        self.put(address);
        let (family, _) = number(address);
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

/// What a request for both families did not get.
fn lacking(request: &Request, addresses: &[IpAddr]) -> Option<Family> {
    let have = |family: &Family| addresses.iter().any(|a| Family::of(a) == *family);
    request.families.each().iter().copied().find(|family| !have(family))
}

#[cfg(test)]
mod changes_tests;
#[cfg(test)]
mod closed_tests;
#[cfg(test)]
mod metallb_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
