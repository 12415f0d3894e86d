//! Which addresses are in use, by whom, and who may join. Pure.
//!
//! Invariants: the users of one address have the same key, and where there are two or more, it allows sharing; no two of them have a port in
//! common.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use causeway_api::{Family, LbKey};

use super::free::Position;
use super::request::{AllocError, Port, SharingKey};

#[derive(Clone, Debug, Default)]
struct Use {
    key: SharingKey,
    users: BTreeMap<LbKey, Vec<Port>>,
}

/// A pool, a family and a key: where an address that may be shared is looked for.
type Shareable = (String, Family, SharingKey);

#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    by_address: HashMap<IpAddr, Use>,
    /// Addresses that are in use and may be shared, in the order of allocation.
    shareable: HashMap<Shareable, BTreeSet<Position>>,
}

impl Uses {
    /// May this owner be on that address? The rule of MetalLB: a lone user may change its key freely; otherwise sharing and backend keys must
    /// be equal, and no port taken.
    pub(super) fn check(
        &self,
        address: IpAddr,
        owner: &LbKey,
        key: &SharingKey,
        ports: &[Port],
    ) -> Result<(), AllocError> {
        let Some(used) = self.by_address.get(&address) else { return Ok(()) };
        let others = || used.users.iter().filter(|(user, _)| *user != owner);
        if others().next().is_none() {
            return Ok(());
        }
        if let Some(why) = apart(&used.key, key) {
            let users: Vec<_> = others().map(|(user, _)| user.id()).collect();
            return Err(AllocError::NotShared { service: owner.id(), address, users: users.join(","), why });
        }
        for port in ports {
            if let Some((user, _)) = others().find(|(_, theirs)| theirs.contains(port)) {
                let (protocol, port) = *port;
                return Err(AllocError::PortTaken { address, protocol, port, user: user.id() });
            }
        }
        Ok(())
    }

    /// Adds a user that was checked. True if the address was unused.
    pub(super) fn join(&mut self, address: IpAddr, owner: &LbKey, key: &SharingKey, ports: &[Port]) -> bool {
        let used = self.by_address.entry(address).or_default();
        let unused = used.users.is_empty();
        used.key = key.clone();
        used.users.insert(owner.clone(), ports.to_vec());
        unused
    }

    /// Removes a user. True if the address is unused now.
    pub(super) fn leave(&mut self, address: IpAddr, owner: &LbKey) -> bool {
        let Some(used) = self.by_address.get_mut(&address) else { return false };
        let was = used.users.remove(owner).is_some();
        let unused = used.users.is_empty();
        if unused {
            self.by_address.remove(&address);
        }
        was && unused
    }

    pub(super) fn key(&self, address: IpAddr) -> Option<&SharingKey> {
        self.by_address.get(&address).map(|used| &used.key)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().copied()
    }

    /// Remembers that an address of a pool may be shared.
    pub(super) fn offer(&mut self, pool: &str, family: Family, key: &SharingKey, position: Position) {
        if !key.sharing.is_empty() {
            self.shareable.entry((pool.to_owned(), family, key.clone())).or_default().insert(position);
        }
    }

    /// Forgets it.
    pub(super) fn withdraw(&mut self, pool: &str, family: Family, key: &SharingKey, position: Position) {
        let at = (pool.to_owned(), family, key.clone());
        if let Some(positions) = self.shareable.get_mut(&at) {
            positions.remove(&position);
            if positions.is_empty() {
                self.shareable.remove(&at);
            }
        }
    }

    pub(super) fn withdraw_all(&mut self) {
        self.shareable.clear();
    }

    /// Addresses of a pool that a key may share, in the order of allocation.
    pub(super) fn offers(
        &self,
        pool: &str,
        family: Family,
        key: &SharingKey,
    ) -> impl Iterator<Item = Position> {
        let found = if key.sharing.is_empty() {
            None
        } else {
            self.shareable.get(&(pool.to_owned(), family, key.clone()))
        };
        found.into_iter().flatten().copied()
    }
}

/// What keeps two keys from one address.
fn apart(existing: &SharingKey, new: &SharingKey) -> Option<String> {
    if existing.sharing.is_empty() {
        Some("existing service does not allow sharing".into())
    } else if new.sharing.is_empty() {
        Some("new service does not allow sharing".into())
    } else if existing.sharing != new.sharing {
        Some(format!(
            "sharing key {:?} does not match existing sharing key {:?}",
            new.sharing, existing.sharing
        ))
    } else if existing.backend != new.backend {
        Some(
            "their externalTrafficPolicy differs, or is Local with different selectors, so that no node is sure to have endpoints of both"
                .into(),
        )
    } else {
        None
    }
}
