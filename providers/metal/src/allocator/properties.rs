//! Invariants under random sequences of requests, releases and changes of pools.

use super::tests::{addresses, pools, service};
use super::*;
use causeway_api::{FamilyPolicy, OwnObject, OwnObjects, Protocol};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Assign(Box<Request>),
    Release(u8),
    /// The status of this owner is written.
    Written(u8),
    Pools(u8),
    /// Strangers are on these addresses, and were met before use or not.
    Strangers(Vec<(u8, bool)>),
}

fn pool_set(which: u8) -> Arc<Pools> {
    match which {
        0 => pools(&[
            ("p", addresses(&["192.0.2.0/30", "2001:db8::/126"])),
            ("q", addresses(&["198.51.100.0/31"])),
        ]),
        1 => pools(&[("p", addresses(&["192.0.2.2-192.0.2.6"])), ("q", addresses(&["192.0.2.4/30"]))]),
        2 => pools(&[(
            "p",
            json!({"addresses": ["192.0.2.0/29"], "serviceAllocation": {"priority": 1, "namespaces": ["x"]}}),
        )]),
        _ => pools(&[]),
    }
}

fn request() -> impl Strategy<Value = Request> {
    (0u8..8, 0u8..3, 0u8..3, 0u8..3, 0u16..3, 0u8..12, 0u8..3).prop_map(
        |(name, families, key, backend, port, want, pool)| {
            let mut r = service(&name.to_string());
            r.families = match families {
                0 => Families::One(Family::V4),
                1 => Families::One(Family::V6),
                _ => Families::Both,
            };
            r.policy =
                if name % 2 == 0 { FamilyPolicy::PreferDualStack } else { FamilyPolicy::RequireDualStack };
            r.key.sharing = ["", "k", "l"][usize::from(key)].into();
            r.key.backend = ["", "", "app=a"][usize::from(backend)].into();
            r.ports = vec![(Protocol::Tcp, 80 + port)];
            if want < 4 && families == 0 {
                r = r.want(&[["192.0.2.1", "192.0.2.4", "198.51.100.1", "203.0.113.1"][usize::from(want)]]);
            }
            r.pool = (pool == 1).then(|| "p".into());
            r
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => request().prop_map(|r| Step::Assign(Box::new(r))),
        2 => (0u8..8).prop_map(Step::Release),
        4 => (0u8..8).prop_map(Step::Written),
        1 => (0u8..4).prop_map(Step::Pools),
        1 => proptest::collection::vec((0u8..8, any::<bool>()), 0..3).prop_map(Step::Strangers),
    ]
}

fn outside() -> impl Strategy<Value = OutsidePools> {
    prop_oneof![Just(OutsidePools::Move), Just(OutsidePools::Keep), Just(OutsidePools::Reallocate)]
}

fn strangers(list: &[(u8, bool)], pools: &Pools) -> Closed {
    let object = |(n, before): &(u8, bool)| {
        let address = format!("192.0.2.{n}");
        let spec = json!({"address": &address, "mac": "m", "node": "n", "interface": "i",
            "phase": if *before { "Probe" } else { "Announced" }});
        OwnObject::new("AddressConflict", "metallb-system", &address, spec)
    };
    let objects = OwnObjects { objects: list.iter().map(object).collect(), ..OwnObjects::default() };
    let (closed, problems) = Closed::new(&objects, pools);
    assert_eq!(problems, []);
    closed
}

fn may_share(a: &Request, b: &Request) -> bool {
    !a.key.sharing.is_empty() && a.key == b.key && !a.ports.iter().any(|p| b.ports.contains(p))
}

/// One owner as the outside sees it.
#[derive(Clone, Debug)]
struct Seen {
    /// What it asked for last.
    request: Request,
    /// What it was given, and its status will show.
    given: Vec<IpAddr>,
    /// What its status may show besides, and the request that this was given for.
    shown: Vec<(IpAddr, Request)>,
}

impl Seen {
    fn all(&self) -> impl Iterator<Item = (IpAddr, &Request)> {
        let given = self.given.iter().map(|address| (*address, &self.request));
        given.chain(self.shown.iter().map(|(address, request)| (*address, request)))
    }

    fn written(&mut self) {
        self.shown = self.given.iter().map(|address| (*address, self.request.clone())).collect();
    }

    fn give_up(&mut self) {
        let given = std::mem::take(&mut self.given);
        self.shown.extend(given.into_iter().map(|address| (address, self.request.clone())));
    }
}

type World = BTreeMap<LbKey, Seen>;

fn check(allocator: &Allocator, world: &World) -> Result<(), TestCaseError> {
    let all: Vec<_> = world.values().collect();
    for (index, a) in all.iter().enumerate() {
        let assigned = allocator.assignment(&a.request.owner).map(|a| a.addresses).unwrap_or_default();
        prop_assert_eq!(&assigned, &a.given);
        for b in &all[index + 1..] {
            for (address, mine) in a.all() {
                for (_, theirs) in b.all().filter(|(theirs, _)| *theirs == address) {
                    prop_assert!(may_share(mine, theirs), "{} and {} on {address}", mine.owner, theirs.owner);
                }
            }
        }
    }
    Ok(())
}

/// Counters are those of a recount, once every status is written.
fn check_counters(allocator: &Allocator, world: &World) -> Result<(), TestCaseError> {
    for pool in allocator.pools().iter() {
        let distinct: BTreeSet<IpAddr> = world
            .values()
            .flat_map(|seen| &seen.given)
            .filter(|a| allocator.pools().of(&[**a]).is_some_and(|p| p.name == pool.name))
            .copied()
            .collect();
        let status = allocator.status(&pool.name);
        let used = status.assigned_ipv4 + status.assigned_ipv6;
        prop_assert_eq!(used, i64::try_from(distinct.len()).unwrap_or(i64::MAX));
    }
    let holding = world.values().filter(|seen| !seen.given.is_empty()).count();
    prop_assert_eq!(allocator.owners().count(), holding);
    Ok(())
}

fn written(allocator: &mut Allocator, world: &mut World, owner: &LbKey) {
    allocator.settle(owner);
    if let Some(seen) = world.get_mut(owner) {
        seen.written();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_address_twice_and_nobody_moves_for_another(
        steps in proptest::collection::vec(step(), 1..60),
        outside in outside(),
    ) {
        let mut allocator = Allocator::new(pool_set(0), outside);
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Assign(request) => {
                    let owner = request.owner.clone();
                    let shown = world.get(&owner).map(|seen| seen.shown.clone()).unwrap_or_default();
                    match allocator.assign(&request) {
                        Ok(assignment) => {
                            let again = allocator.assign(&request);
                            prop_assert_eq!(again.as_ref(), Ok(&assignment), "asking again gives the same");
                            let pool = allocator.pools().of(&assignment.addresses).cloned();
                            prop_assert!(pool.is_some() || outside != OutsidePools::Reallocate);
                            if let Some(pool) = pool {
                                prop_assert_eq!(Some(&pool.name), assignment.pool.as_ref());
                            }
                            let given = assignment.addresses;
                            let had = world.get(&owner).map(|seen| seen.given.clone()).unwrap_or_default();
                            for address in &given {
                                let taken = allocator.closed.get(*address);
                                prop_assert!(taken.is_none_or(|taken| had.contains(address) && !taken.before_use()));
                                let pooled = allocator.pools().of(&[*address]).is_some();
                                prop_assert!(pooled || had.contains(address), "new, and in no pool");
                            }
                            // What it keeps it holds by its new request from now on.
                            let mut shown = shown;
                            if let Some(seen) = world.get(&owner) {
                                shown.extend(seen.given.iter().map(|a| (*a, seen.request.clone())));
                            }
                            shown.retain(|(address, _)| !given.contains(address));
                            world.insert(owner, Seen { request: *request, given, shown });
                        }
                        Err(_) => {
                            if let Some(seen) = world.get_mut(&owner) {
                                seen.give_up();
                            }
                        }
                    }
                }
                Step::Release(name) => {
                    let owner = service(&name.to_string()).owner;
                    allocator.release(&owner);
                    if let Some(seen) = world.get_mut(&owner) {
                        seen.give_up();
                    }
                }
                Step::Written(name) => {
                    let owner = service(&name.to_string()).owner;
                    written(&mut allocator, &mut world, &owner);
                }
                Step::Pools(which) => allocator.set_pools(pool_set(which)),
                Step::Strangers(list) => {
                    let closed = strangers(&list, allocator.pools());
                    allocator.set_closed(Arc::new(closed));
                }
            }
            check(&allocator, &world)?;
        }
        for owner in world.keys().cloned().collect::<Vec<_>>() {
            written(&mut allocator, &mut world, &owner);
        }
        check(&allocator, &world)?;
        check_counters(&allocator, &world)?;
        // Everything given back: as new.
        for owner in world.keys() {
            allocator.release(owner);
            allocator.settle(owner);
        }
        allocator.set_closed(Arc::default());
        allocator.set_pools(pool_set(3));
        allocator.set_pools(pool_set(0));
        let first = allocator.assign(&service("x")).map(|a| a.addresses);
        prop_assert_eq!(first, Ok(vec![super::tests::ip("192.0.2.0")]));
    }

    #[test]
    fn a_restart_keeps_every_address_whatever_the_order(
        requests in proptest::collection::vec(request(), 1..12),
        seed in any::<prop::sample::Index>(),
        which in 0u8..4,
        outside in outside(),
        met in proptest::collection::vec((0u8..8, any::<bool>()), 0..3),
    ) {
        let mut before = Allocator::new(pool_set(0), OutsidePools::Keep);
        let mut world = World::new();
        for request in requests {
            let given = before.assign(&request).map(|a| a.addresses).unwrap_or_default();
            before.settle(&request.owner);
            world.insert(request.owner.clone(), Seen { request, given, shown: Vec::new() });
        }
        world.retain(|_, seen| !seen.given.is_empty());
        // The new process may find other pools than the old one had: nothing moves by adoption.
        let mut list: Vec<_> = world.values().cloned().collect();
        if !list.is_empty() {
            let middle = seed.index(list.len());
            list.rotate_left(middle);
        }
        let mut after = Allocator::new(pool_set(which), outside);
        for seen in &list {
            prop_assert_eq!(after.adopt(&seen.request, &seen.given, None), Ok(()));
        }
        check(&after, &world)?;
        check_counters(&after, &world)?;
        // Pools and strangers may become known in either order.
        let (mut one, mut other) = (after.clone(), after.clone());
        let closed = Arc::new(strangers(&met, &pool_set(1)));
        one.set_closed(Arc::clone(&closed));
        one.set_pools(pool_set(1));
        other.set_pools(pool_set(1));
        other.set_closed(closed);
        for request in list.iter().map(|seen| &seen.request).chain([&service("newcomer")]) {
            prop_assert_eq!(one.assign(request).ok(), other.assign(request).ok());
        }
        prop_assert_eq!(one.status("p"), other.status("p"));
        if which == 0 {
            // With the same pools every request keeps what it had, and one that was content with a single family may gain the
            // other: just as if there had been no restart.
            for Seen { request, given, .. } in &list {
                let again = after.assign(request).map(|a| a.addresses);
                prop_assert!(again.as_ref().is_ok_and(|again| again.starts_with(given)), "{:?}", again);
                prop_assert_eq!(again, before.assign(request).map(|a| a.addresses));
            }
            // And a newcomer gets the same from both.
            let newcomer = service("newcomer");
            prop_assert_eq!(
                after.assign(&newcomer).map(|a| a.addresses).ok(),
                before.assign(&newcomer).map(|a| a.addresses).ok()
            );
        }
    }
}
