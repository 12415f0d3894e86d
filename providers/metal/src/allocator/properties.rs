//! Invariants under random sequences of requests, releases and changes of pools.

use super::tests::{addresses, pools, service};
use super::*;
use causeway_api::Protocol;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Assign(Box<Request>),
    Release(u8),
    Pools(u8),
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
        1 => (0u8..4).prop_map(Step::Pools),
    ]
}

fn may_share(a: &Request, b: &Request) -> bool {
    !a.key.sharing.is_empty() && a.key == b.key && !a.ports.iter().any(|p| b.ports.contains(p))
}

/// What every owner holds, and with what request.
type Held = BTreeMap<LbKey, (Request, Vec<IpAddr>)>;

fn check(allocator: &Allocator, held: &Held) -> Result<(), TestCaseError> {
    let all: Vec<_> = held.values().collect();
    for (index, (a, mine)) in all.iter().enumerate() {
        let assigned = allocator.assignment(&a.owner).map(|a| a.addresses);
        prop_assert_eq!(assigned.as_ref(), Some(mine));
        for (b, theirs) in &all[index + 1..] {
            let common = mine.iter().any(|address| theirs.contains(address));
            prop_assert!(!common || may_share(a, b), "{} and {} on one address", a.owner, b.owner);
        }
    }
    prop_assert_eq!(allocator.owners().count(), held.len());
    // Counters are those of a recount.
    for pool in allocator.pools().iter() {
        let distinct: BTreeSet<IpAddr> = held
            .values()
            .flat_map(|(_, addresses)| addresses)
            .filter(|a| allocator.pools().of(&[**a]).is_some_and(|p| p.name == pool.name))
            .copied()
            .collect();
        let status = allocator.status(&pool.name);
        let used = status.assigned_ipv4 + status.assigned_ipv6;
        prop_assert_eq!(used, i64::try_from(distinct.len()).unwrap_or(i64::MAX));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_address_twice_and_nobody_moves_for_another(steps in proptest::collection::vec(step(), 1..60)) {
        let mut allocator = Allocator::new(pool_set(0), OutsidePools::Reallocate);
        let mut held = Held::new();
        for step in steps {
            match step {
                Step::Assign(request) => match allocator.assign(&request) {
                    Ok(assignment) => {
                        let again = allocator.assign(&request);
                        prop_assert_eq!(again.as_ref(), Ok(&assignment), "asking again gives the same");
                        let pool = allocator.pools().of(&assignment.addresses).cloned();
                        let pool = pool.expect("never outside the pools");
                        prop_assert_eq!(Some(&pool.name), assignment.pool.as_ref());
                        held.insert(request.owner.clone(), (*request, assignment.addresses));
                    }
                    Err(_) => { held.remove(&request.owner); }
                },
                Step::Release(name) => {
                    let owner = service(&name.to_string()).owner;
                    allocator.release(&owner);
                    held.remove(&owner);
                }
                Step::Pools(which) => allocator.set_pools(pool_set(which)),
            }
            check(&allocator, &held)?;
        }
        // Everything given back: as new.
        for owner in held.keys() {
            allocator.release(owner);
        }
        allocator.set_pools(pool_set(3));
        allocator.set_pools(pool_set(0));
        prop_assert_eq!(allocator.assign(&service("x")).map(|a| a.addresses), Ok(vec![super::tests::ip("192.0.2.0")]));
    }

    #[test]
    fn a_restart_keeps_every_address_whatever_the_order(
        requests in proptest::collection::vec(request(), 1..12),
        seed in any::<prop::sample::Index>(),
        which in 0u8..4,
    ) {
        let mut before = Allocator::new(pool_set(0), OutsidePools::Keep);
        let mut held = Held::new();
        for request in requests {
            match before.assign(&request) {
                Ok(assignment) => { held.insert(request.owner.clone(), (request, assignment.addresses)); }
                Err(_) => { held.remove(&request.owner); }
            }
        }
        // The new process may find other pools than the old one had: nothing moves by adoption.
        let mut list: Vec<_> = held.values().cloned().collect();
        if !list.is_empty() {
            let middle = seed.index(list.len());
            list.rotate_left(middle);
        }
        let mut after = Allocator::new(pool_set(which), OutsidePools::Keep);
        for (request, addresses) in &list {
            prop_assert_eq!(after.adopt(request, addresses, None), Ok(()));
        }
        check(&after, &held)?;
        if which == 0 {
            // With the same pools every request keeps what it had, and one that was content with a single family may gain the
            // other: just as if there had been no restart.
            for (request, addresses) in &list {
                let again = after.assign(request).map(|a| a.addresses);
                prop_assert!(again.as_ref().is_ok_and(|again| again.starts_with(addresses)), "{:?}", again);
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
