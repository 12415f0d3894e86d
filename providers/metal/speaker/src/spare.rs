//! The addresses that will be given next, as if somebody had them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Endpoints, Family, Layer, LbKey, ObjectRef};
use causeway_metal::announce::{Announcement, When, World};
use causeway_metal::pool::Pool;
use causeway_metal::range;

/// With so many conflicts in one pool and family no further addresses of it are asked for ahead: then somebody answers for everything, such as a router with
/// proxy ARP, and all of the pool would be marked, one address after the other.
const TOO_MANY: usize = 32;

/// A world in which load balancers have the next `ahead` free addresses of each pool and family, in the order of allocation, and those in conflict that nobody has. Elections in it
/// say which node asks for which. They have no labels: an address of which only Services with certain labels are announced is asked for at its first use.
#[must_use]
pub fn world(world: &World, used: &BTreeSet<IpAddr>, conflicts: &BTreeSet<IpAddr>, ahead: usize) -> World {
    let mut announcements = BTreeMap::new();
    for pool in world.pools.iter().filter(|pool| !pool.refused) {
        for family in [Family::V4, Family::V6] {
            let of_pool = |address: &&IpAddr| range::number(**address).0 == family && pool.holds(**address);
            let conflicts: BTreeSet<IpAddr> = conflicts.iter().filter(of_pool).copied().collect();
            let ahead = if conflicts.len() < TOO_MANY { ahead } else { 0 };
            let next =
                next_free(pool, family, |address| used.contains(&address) || conflicts.contains(&address));
            let unused = conflicts.iter().filter(|address| !used.contains(address)).copied();
            for address in next.take(ahead).chain(unused) {
                let lb = announcement(address);
                announcements.insert(lb.key.clone(), Arc::new(lb));
            }
        }
    }
    World { announcements, ..world.clone() }
}

fn next_free(pool: &Pool, family: Family, taken: impl Fn(IpAddr) -> bool) -> impl Iterator<Item = IpAddr> {
    pool.ranges
        .iter()
        .filter(move |range| range.family == family)
        .flat_map(move |range| (range.first..=range.last).map(move |number| range::address(family, number)))
        .filter(move |address| pool.holds(*address) && !taken(*address))
}

fn announcement(address: IpAddr) -> Announcement {
    let object = ObjectRef::service("", address.to_string(), "");
    Announcement {
        key: LbKey::object(Layer::L4, object.clone()),
        object,
        addresses: vec![address],
        labels: BTreeMap::new(),
        shares_address: false,
        when: When::LocalListener,
        endpoints: Endpoints::default(),
        single_announcer: false,
    }
}
