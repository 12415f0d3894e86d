//! Properties of the engine's rules, shown on the model cloud: whatever the world, the cloud's manners, its faults, and the moment at which the
//! process dies, it converges, leaks nothing, and touches nothing that is not ours.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_api::{CloudProvider, Fence, LoadBalancer, NodeSet, Permit, names};
use causeway_model::InMemory;
use causeway_model::cloud::{Action, LoadBalancer as Held, Spec, Tags};
use causeway_model::provider::naming;
use causeway_model::transport::Death;
use common::{
    CLUSTER, Process, World, cloud, faulty, held, late, load_balancers, now, settings, world, worlds,
};
use proptest::prelude::*;

fn quick(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Somebody else's load balancers: another cluster's with the very same owners, and nobody's.
fn plant_foreign(way: &InMemory) {
    let key = causeway_api::LbKey::object(
        causeway_api::Layer::L4,
        causeway_api::ObjectRef::service("ns", "s0", "uid-s0"),
    );
    let foreign = |name: &str, tags: Tags| Spec {
        name: name.into(),
        layer: key.layer,
        scheme: Default::default(),
        families: vec![causeway_api::Family::V4],
        requested_address: None,
        tags,
        listeners: BTreeMap::new(),
        rules: BTreeMap::new(),
        target_groups: BTreeMap::new(),
        targets: BTreeMap::new(),
    };
    way.with(|cloud, now| {
        cloud.plant(now, foreign("other-cluster", naming::tags("cluster-2", &key)), BTreeMap::new()).unwrap();
        let mut unmarked = naming::tags(CLUSTER, &key);
        unmarked.remove(names::TAG_CLUSTER);
        cloud.plant(now, foreign("of-nobody", unmarked), BTreeMap::new()).unwrap();
    });
    way.advance(10_000);
}

/// Makes the cloud what `world` asks for, by a process of its own.
fn reach(way: &InMemory, world: &World, populate: bool) {
    let process = Process::start(&way.reborn(), populate);
    let pass = process.settle(world);
    assert_eq!(pass.errors, [], "{world:#?}");
    way.advance(10_000);
    assert_eq!(held(way, true), process.expect(world));
}

proptest! {
    #![proptest_config(quick(200))]

    /// After applying, planning gives nothing; nothing is called for it, neither now nor after a restart, beyond the list of the start.
    #[test]
    fn plan_after_apply_is_empty(settings in settings(), worlds in worlds(3), populate in any::<bool>()) {
        let way = cloud(&settings);
        plant_foreign(&way);
        let foreign = held(&way, false);
        let process = Process::start(&way, populate);
        for world in &worlds {
            let pass = process.settle(world);
            prop_assert_eq!(pass.errors, []);
            way.advance(10_000);
            prop_assert_eq!(held(&way, true), process.expect(world));
            // What was provisioning is looked at once more by the audit in `settle`.
            let writes = way.writes();
            prop_assert_eq!(process.settle(world).changes, 0);
            let stacks = process.stacks(world);
            way.with(|cloud, _| cloud.reset_calls());
            for (key, stack) in &stacks {
                let have = now(process.model.observe(key)).unwrap();
                prop_assert!(process.model.plan(stack, &have).is_empty());
            }
            prop_assert_eq!(way.with(|cloud, _| cloud.calls().clone()), BTreeMap::new());
            let next = Process::start(&way.reborn(), populate);
            prop_assert_eq!(next.settle(world).changes, 0);
            prop_assert_eq!(way.writes(), writes);
        }
        prop_assert_eq!(held(&way, false), foreign);
    }

    /// Deleting everything leaves nothing of ours, and everything of others.
    #[test]
    fn deletes_leave_nothing(settings in settings(), world in world(), populate in any::<bool>()) {
        let way = cloud(&settings);
        plant_foreign(&way);
        let foreign = held(&way, false);
        reach(&way, &world, populate);
        reach(&way, &World::default(), populate);
        prop_assert_eq!(held(&way, true), []);
        prop_assert_eq!(held(&way, false), foreign);
    }

    /// Random throttles, 5xx and lost answers, before and after the effect, and effects that come late: it converges all the same.
    #[test]
    fn faults_only_delay(
        settings in settings(), worlds in worlds(2), seed in any::<u64>(), skip in 0..12u64, after in 1..9_000u64,
    ) {
        let way = cloud(&settings);
        plant_foreign(&way);
        let foreign = held(&way, false);
        faulty(&way, 200, seed, vec![late(skip, after)]);
        let process = Process::start(&way, false);
        for world in &worlds {
            prop_assert_eq!(process.settle(world).errors, []);
        }
        faulty(&way, 0, 0, Vec::new());
        // A late effect is drift: the audit of the next pass finds it, by the same process.
        way.advance(20_000);
        prop_assert_eq!(process.settle(&worlds[1]).errors, []);
        way.advance(10_000);
        prop_assert_eq!(held(&way, true), process.expect(&worlds[1]));
        prop_assert_eq!(held(&way, false), foreign);
    }

    /// What somebody does by hand is found by the audit and put right.
    #[test]
    fn drift_is_repaired(settings in settings(), world in world(), victim in any::<prop::sample::Index>(), how in 0..6u8) {
        let way = cloud(&settings);
        let process = Process::start(&way, true);
        process.settle(&world);
        way.advance(10_000);
        let ids: Vec<String> = way.with(|c, now| c.snapshot(now).load_balancers.into_iter().map(|lb| lb.id).collect());
        if ids.is_empty() {
            return Ok(());
        }
        let id = victim.get(&ids);
        way.with(|cloud, _| match how {
            0 => cloud.destroy(id),
            _ => {
                cloud.tamper(id, |lb: &mut Held, sets| tamper(lb, sets, how));
            }
        });
        prop_assert_eq!(process.settle(&world).errors, []);
        way.advance(10_000);
        prop_assert_eq!(held(&way, true), process.expect(&world));
    }

    /// A fence that closes at any moment: nothing is written after it, and the next leader converges.
    #[test]
    fn a_stale_epoch_cannot_write(settings in settings(), worlds in worlds(2), open in 0..30u64) {
        let way = cloud(&settings);
        reach(&way, &worlds[0], false);
        let mut process = Process::start(&way, false);
        let script = Arc::new(Script { left: AtomicU64::new(open) });
        struct Closing(Arc<Script>);
        impl Permit for Closing {
            fn epoch(&self) -> u64 { 1 }
            fn remaining(&self) -> Duration { self.0.ask() }
        }
        process.fence = Fence::new(Closing(Arc::clone(&script)));
        let before = way.writes();
        let pass = process.settle(&worlds[1]);
        // A call is preceded by at least one question of its own that was answered with yes.
        prop_assert!(way.writes() - before <= open);
        if script.left.load(Ordering::SeqCst) == 0 {
            let writes = way.writes();
            let again = process.settle(&worlds[1]);
            prop_assert_eq!(way.writes(), writes, "{:?}", (pass, again));
        }
        reach(&way, &worlds[1], false);
    }

    /// The order in which members, listeners and nodes come does not matter.
    #[test]
    fn order_does_not_matter(world in world(), seed in any::<u64>()) {
        // Quotas that do not do for all: who has it must not depend on the order either.
        let quotas = [(causeway_model::cloud::quota::LISTENERS.to_owned(), 2)].into();
        let process = Process::start_with(&cloud(&Default::default()), true, &quotas);
        for lb in load_balancers(&process.model, &world) {
            let turned = turn(&lb, seed);
            prop_assert_eq!(process.model.desired(&lb, &process.facts), process.model.desired(&turned, &process.facts));
        }
    }

    /// Small quotas: no plan passes one, the cloud never refuses for a per-load-balancer quota, and what fits is served.
    #[test]
    fn quotas_are_kept(settings in settings(), worlds in worlds(2), l in 1..4u64, r in 0..6u64, g in 1..4u64, t in 1..5u64) {
        use causeway_model::cloud::quota;
        let names = [quota::LISTENERS, quota::RULES, quota::TARGET_GROUPS, quota::TARGETS];
        let quotas: BTreeMap<String, u64> =
            names.iter().zip([l.max(2), r, g, t]).map(|(n, v)| ((*n).to_owned(), v)).collect();
        let mut settings = settings;
        settings.quotas = quotas.clone();
        let way = cloud(&settings);
        let process = Process::start_with(&way, false, &quotas);
        for world in &worlds {
            prop_assert_eq!(process.settle(world).errors, []);
        }
        // An empty cloud has room for all that is desired.
        let fresh = cloud(&settings);
        let other = Process::start_with(&fresh, false, &quotas);
        prop_assert_eq!(other.settle(&worlds[1]).errors, []);
        fresh.advance(10_000);
        prop_assert_eq!(held(&fresh, true), other.expect(&worlds[1]));
    }
}

proptest! {
    #![proptest_config(quick(20))]

    /// Killed at every single write of a change, before and after its effect; then the user goes on, goes back, or wants something else.
    #[test]
    fn killing_anywhere_converges(
        settings in settings(), worlds in worlds(3), populate in any::<bool>(), then in 0..3usize,
    ) {
        let writes = {
            let way = cloud(&settings);
            reach(&way, &worlds[0], populate);
            let before = way.writes();
            reach(&way, &worlds[1], populate);
            way.writes() - before
        };
        for at in 0..writes {
            for after_effect in [false, true] {
                let way = cloud(&settings);
                plant_foreign(&way);
                let foreign = held(&way, false);
                reach(&way, &worlds[0], populate);
                let mortal = way.reborn();
                mortal.die(Death { writes: at, after_effect });
                Process::start(&mortal, populate).settle(&worlds[1]);
                prop_assert!(mortal.is_dead());
                reach(&way, &worlds[then], populate);
                prop_assert_eq!(held(&way, false), foreign);
            }
        }
    }

    /// What both the old and the new world ask for is served without a gap: its listener, and the targets that stay.
    #[test]
    fn what_stays_is_served_throughout(worlds in worlds(2)) {
        let way = cloud(&Default::default());
        reach(&way, &worlds[0], false);
        let process = Process::start(&way, false);
        let before = by_slot(&way);
        let wanted: Vec<_> = process.stacks(&worlds[1]).into_iter().filter_map(|(_, s)| s.spec).collect();
        let mut broken = Vec::new();
        process.settle_watched(&worlds[1], &mut |change| {
            let held = by_slot(&way);
            for spec in &wanted {
                let Some(old) = before.get(&slot(&spec.tags)) else { continue };
                let one_serves = |lb: &Held, listener: &String, nodes: bool| match lb.spec.listeners.get(listener) {
                    None => false,
                    Some(l) => match &l.default_action {
                        Action::Forward(group) => !nodes || lb.spec.targets.contains_key(group),
                        Action::Fixed(_) => true,
                    },
                };
                let serves = |listener: &String, nodes: bool| {
                    held.get(&slot(&spec.tags)).is_some_and(|all| all.iter().any(|lb| one_serves(lb, listener, nodes)))
                };
                for listener in spec.listeners.keys().filter(|l| old[0].spec.listeners.contains_key(*l)) {
                    let stay = worlds[0].nodes.intersection(&worlds[1].nodes).next().is_some();
                    if !serves(listener, stay) {
                        broken.push((listener.clone(), change.clone()));
                    }
                }
            }
        });
        prop_assert_eq!(broken, []);
    }
}

type Slot = (Option<String>, Option<String>);

fn slot(tags: &Tags) -> Slot {
    (tags.get(names::TAG_OWNER).cloned(), tags.get(names::TAG_RESOURCE).cloned())
}

fn by_slot(way: &InMemory) -> BTreeMap<Slot, Vec<Held>> {
    let mut all: BTreeMap<Slot, Vec<Held>> = BTreeMap::new();
    for lb in way.with(|cloud, now| cloud.snapshot(now)).load_balancers {
        all.entry(slot(&lb.spec.tags)).or_default().push(lb);
    }
    all
}

struct Script {
    left: AtomicU64,
}

impl Script {
    fn ask(&self) -> Duration {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() { Duration::from_secs(1) } else { Duration::ZERO }
    }
}

fn tamper(lb: &mut Held, sets: &mut causeway_model::cloud::NodeSets, how: u8) {
    let spec = &mut lb.spec;
    match how {
        1 => spec.targets.clear(),
        2 => {
            spec.rules.clear();
            spec.listeners.clear();
        }
        3 => {
            let nodes = ["10.9.9.9".parse().unwrap()].into_iter().collect();
            let set = sets.intern(nodes).unwrap();
            for group in spec.target_groups.keys() {
                spec.targets.entry(group.clone()).or_default().insert(9, set.clone());
            }
        }
        4 => {
            for listener in spec.listeners.values_mut() {
                listener.source_ranges = vec!["203.0.113.0/24".parse().unwrap()];
            }
        }
        _ => {
            spec.tags.insert(names::TAG_APPLIED.into(), "v0:whatever".into());
            for rule in spec.rules.values_mut() {
                rule.position += 100;
            }
        }
    }
}

/// The same load balancer with everything in another order.
fn turn(lb: &LoadBalancer, seed: u64) -> LoadBalancer {
    let count = lb.members.len();
    let by = usize::try_from(seed % 7).unwrap();
    let place = |i: usize| (count - 1 - i + by) % count;
    let mut turned = lb.clone();
    for (i, member) in lb.members.iter().enumerate() {
        turned.members[place(i)] = member.clone();
    }
    match &mut turned.body {
        causeway_api::Body::L4(listeners) => {
            listeners.iter_mut().for_each(|l| l.member = place(l.member));
            listeners.reverse();
        }
        causeway_api::Body::L7(http) => {
            http.routes.iter_mut().for_each(|r| r.member = place(r.member));
            if let Some((member, _)) = &mut http.default_backend {
                *member = place(*member);
            }
            http.certificates.iter_mut().for_each(|c| c.member = place(c.member));
            http.certificates.reverse();
        }
    }
    let mut nodes: NodeSet = (*lb.nodes).clone();
    nodes.nodes.reverse();
    turned.nodes = Arc::new(nodes);
    turned
}
