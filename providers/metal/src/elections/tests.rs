use super::*;
use crate::advertisement::L2Advertisement;
use crate::candidates::{LiveSet, NodeFacts};
use crate::fleet::{Statement, Unfit, Uplink};
use crate::pool::Pools;
use crate::selector::Labels;
use causeway_api::{Endpoints, EndpointsPerNode, Layer, ObjectRef, OwnObject, OwnObjects};
use proptest::prelude::*;
use serde_json::{Value, json};

fn own(kind: &str, name: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, "metallb-system", name, spec)
}

fn node(index: usize) -> String {
    format!("node{index}")
}

fn announcement(index: usize, address: &str, local: Option<&[(usize, u32, u32)]>) -> Arc<Announcement> {
    let object = ObjectRef::service("default", format!("web{index}"), format!("u{index}"));
    let everywhere = [(1, 1, 0)];
    let endpoints = local.unwrap_or(&everywhere).iter();
    Arc::new(Announcement {
        key: LbKey::object(Layer::L4, object.clone()),
        object,
        addresses: vec![address.parse().expect("an address")],
        labels: Labels::new(),
        shares_address: false,
        when: if local.is_some() { When::LocalEndpoints } else { When::ClusterEndpoints },
        endpoints: Endpoints {
            by_node: endpoints
                .map(|(n, ready, serving)| (node(*n), EndpointsPerNode { ready: *ready, serving: *serving }))
                .collect(),
            ..Endpoints::default()
        },
        single_announcer: false,
    })
}

/// Nodes node1 to nodeN, of which node1 has the label `first`, and one pool.
fn world(nodes: usize, ads: &[Value], announcements: impl IntoIterator<Item = Arc<Announcement>>) -> World {
    let mut objects =
        vec![own("IPAddressPool", "pool", json!({"addresses": ["192.0.2.0/24", "10.0.0.0/8"]}))];
    objects
        .extend(ads.iter().enumerate().map(|(n, ad)| own("L2Advertisement", &format!("ad{n}"), ad.clone())));
    let objects = OwnObjects { objects, ..OwnObjects::default() };
    let (ads, problems) = L2Advertisement::parse_all(&objects);
    assert_eq!(problems, []);
    let facts = |n: usize| NodeFacts {
        labels: if n == 1 { [("first".to_owned(), String::new())].into() } else { Labels::new() },
        ..NodeFacts::default()
    };
    World {
        pools: Arc::new(Pools::new(&objects).0),
        advertisements: Arc::new(ads),
        nodes: Arc::new((1..=nodes).map(|n| (node(n), facts(n))).collect()),
        announcements: announcements.into_iter().map(|lb| (lb.key.clone(), lb)).collect(),
        ..World::default()
    }
}

fn fleet(live: &[usize]) -> Fleet {
    Fleet::of(LiveSet::Nodes(live.iter().map(|n| node(*n)).collect()))
}

fn say(fleet: &mut Fleet, who: usize, statement: Statement) {
    fleet.statements.insert(node(who), Arc::new(statement));
}

fn holding(address: &str, term: u32) -> Statement {
    Statement { holds: [(address.parse().expect("an address"), term)].into(), ..Statement::default() }
}

fn uplink(name: &str, network: &str) -> Statement {
    let uplink =
        Uplink { name: name.into(), mac: [0; 6], networks: vec![network.parse().expect("a network")] };
    Statement { uplinks: Some(vec![uplink]), ..Statement::default() }
}

fn elected(world: &World, fleet: &Fleet, rules: Rules) -> Option<String> {
    let mut elections = Elections::new("node9".into(), rules);
    elections.update(&Arc::new(world.clone()), fleet.clone());
    elections.into_decisions().pop().expect("one").elected
}

fn as_seen_by(me: usize, world: &World, fleet: &Fleet) -> Verdict {
    let mut elections = Elections::new(node(me), Rules::default());
    elections.update(&Arc::new(world.clone()), fleet.clone());
    elections.into_decisions().pop().expect("one").verdict
}

const STAYS: Rules = Rules { failback: false, any_network: false };
const FAILBACK: Rules = Rules { failback: true, any_network: false };
const METALLB: Rules = Rules { failback: true, any_network: true };

// The order by hash for this address is node2, node1, node3, node4, node5 (see the test in `election`).
const VIP: &str = "192.0.2.10";

fn one() -> World {
    world(5, &[json!({})], [announcement(0, VIP, None)])
}

#[test]
fn a_live_holder_keeps_the_address_unless_failback_is_asked_for() {
    let mut all = fleet(&[1, 2, 3, 4, 5]);
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node2"));
    say(&mut all, 4, holding(VIP, 1));
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node4"));
    assert_eq!(elected(&one(), &all, FAILBACK).as_deref(), Some("node2"));
    all.live = LiveSet::Nodes([node(1), node(3)].into());
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node1"), "the dead hold nothing");
}

#[test]
fn one_that_may_just_be_starting_stands_for_what_nobody_holds() {
    let mut some = fleet(&[1, 3]);
    some.expected = [node(2), node(4)].into();
    assert_eq!(elected(&one(), &some, STAYS).as_deref(), Some("node2"), "the first in order");
    assert_eq!(as_seen_by(1, &one(), &some), Verdict::Silent(Silence::NotElected));
    // What is held, by whomever, does not wait for it.
    say(&mut some, 3, holding(VIP, 1));
    for rules in [STAYS, FAILBACK] {
        assert_ne!(elected(&one(), &some, rules).as_deref(), Some("node2"));
    }
    some.live = LiveSet::Nodes([node(1)].into());
    assert_eq!(elected(&one(), &some, STAYS).as_deref(), Some("node2"), "the dead hold nothing");
    some.expected.clear();
    assert_eq!(elected(&one(), &some, STAYS).as_deref(), Some("node1"));
}

#[test]
fn of_two_holders_the_later_term_wins_then_the_order() {
    let mut all = fleet(&[1, 2, 3, 4, 5]);
    say(&mut all, 1, holding(VIP, 3));
    say(&mut all, 5, holding(VIP, 4));
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node5"));
    say(&mut all, 3, holding(VIP, 4));
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node3"));
}

#[test]
fn a_holder_that_does_not_hear_us_wins() {
    let mut all = fleet(&[1, 2, 3, 4, 5]);
    say(&mut all, 2, holding(VIP, 9));
    say(&mut all, 5, holding(VIP, 1));
    all.deaf.insert(node(5));
    for rules in [STAYS, FAILBACK] {
        assert_eq!(elected(&one(), &all, rules).as_deref(), Some("node5"));
    }
    // One that holds nothing has nothing to yield.
    all.statements.remove(&node(5));
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node2"));
}

#[test]
fn preference_goes_before_holding() {
    let preferred = json!({"preferredNodeSelectors": [{"weight": 5, "preference": {"matchExpressions": [{"key": "first", "operator": "Exists"}]}}]});
    let world = world(5, &[preferred], [announcement(0, VIP, None)]);
    let mut all = fleet(&[1, 2, 3, 4, 5]);
    say(&mut all, 4, holding(VIP, 1));
    assert_eq!(elected(&world, &all, STAYS).as_deref(), Some("node1"));
    all.live = LiveSet::Nodes((2..=5).map(node).collect());
    assert_eq!(elected(&world, &all, STAYS).as_deref(), Some("node4"));
}

#[test]
fn only_nodes_in_the_network_of_the_address_stand_if_there_are_any() {
    let mut all = fleet(&[1, 2, 3, 4, 5]);
    say(&mut all, 2, uplink("eth0", "198.51.100.2/24"));
    say(&mut all, 1, uplink("eth0", "198.51.100.1/24"));
    say(&mut all, 4, uplink("eth0", "192.0.2.4/24"));
    say(&mut all, 5, uplink("eth0", "192.0.2.5/24"));
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node3"), "of which nothing is known");
    say(&mut all, 3, uplink("eth0", "198.51.100.3/24"));
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node4"));
    assert_eq!(elected(&one(), &all, METALLB).as_deref(), Some("node2"));
    assert_eq!(as_seen_by(2, &one(), &all), Verdict::Silent(Silence::NotCandidate(WhyNot::OtherNetwork)));
    // If nobody's network fits, all stand.
    all.live = LiveSet::Nodes((1..=3).map(node).collect());
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node2"));
}

#[test]
fn nodes_without_the_interface_that_is_named_do_not_stand() {
    let world = world(5, &[json!({"interfaces": ["eth1"]})], [announcement(0, VIP, None)]);
    let mut all = fleet(&[1, 2, 3, 4, 5]);
    for n in 1..=5 {
        say(&mut all, n, uplink(if n >= 4 { "eth1" } else { "eth0" }, "192.0.2.4/24"));
    }
    assert_eq!(elected(&world, &all, STAYS).as_deref(), Some("node4"));
    assert_eq!(as_seen_by(2, &world, &all), Verdict::Silent(Silence::NotCandidate(WhyNot::NoInterface)));
    // It lost its carrier.
    say(&mut all, 4, Statement { uplinks: Some(Vec::new()), ..holding(VIP, 1) });
    assert_eq!(elected(&world, &all, STAYS).as_deref(), Some("node5"));
}

#[test]
fn the_unfit_and_those_about_to_go_are_relieved_unless_nobody_else_is_left() {
    let mut all = fleet(&[1, 2, 3]);
    let unfit = Statement { unfit: [Unfit::KubeProxy].into(), ..holding(VIP, 1) };
    say(&mut all, 2, unfit);
    assert_eq!(elected(&one(), &all, STAYS).as_deref(), Some("node1"));
    assert_eq!(
        as_seen_by(2, &one(), &all),
        Verdict::Silent(Silence::NotCandidate(WhyNot::Unfit(Unfit::KubeProxy)))
    );
    let mut world = one();
    let mut nodes = BTreeMap::clone(&world.nodes);
    nodes.get_mut("node1").expect("there").leaving = true;
    world.nodes = Arc::new(nodes);
    assert_eq!(elected(&world, &all, STAYS).as_deref(), Some("node3"));
    all.live = LiveSet::Nodes([node(1), node(2)].into());
    assert_eq!(elected(&world, &all, STAYS).as_deref(), Some("node2"), "it holds it");
    all.live = LiveSet::Nodes([node(1)].into());
    assert_eq!(elected(&world, &all, STAYS).as_deref(), Some("node1"));
}

#[test]
fn with_local_a_holder_without_ready_endpoint_is_relieved_by_one_with() {
    let mut all = fleet(&[1, 2, 3]);
    say(&mut all, 2, holding(VIP, 1));
    let local =
        |endpoints: &[(usize, u32, u32)]| world(5, &[json!({})], [announcement(0, VIP, Some(endpoints))]);
    assert_eq!(elected(&local(&[(2, 1, 1), (3, 1, 1)]), &all, STAYS).as_deref(), Some("node2"));
    assert_eq!(elected(&local(&[(2, 0, 1), (3, 1, 1)]), &all, STAYS).as_deref(), Some("node3"));
    assert_eq!(elected(&local(&[(2, 0, 1), (3, 0, 1)]), &all, STAYS).as_deref(), Some("node2"));
    // One that is fit but terminating goes before one that is ready but unfit: traffic to that gets nowhere.
    say(&mut all, 3, Statement { unfit: [Unfit::KubeProxy].into(), ..Statement::default() });
    assert_eq!(elected(&local(&[(2, 0, 1), (3, 1, 1)]), &all, STAYS).as_deref(), Some("node2"));
}

#[test]
fn those_that_stand_are_the_holder_and_the_next_and_watch_each_other() {
    let mut all = fleet(&[1, 2, 3, 4, 5]);
    say(&mut all, 4, holding(VIP, 1));
    let companions = |me: usize, fleet: &Fleet| {
        let mut elections = Elections::new(node(me), STAYS);
        elections.update(&Arc::new(one()), fleet.clone());
        elections.companions().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(companions(4, &all), ["node1", "node2"]);
    assert_eq!(companions(1, &all), ["node2", "node4"]);
    assert_eq!(companions(5, &all), [""; 0]);
    // Who took it over goes on sending to the dead holder.
    all.live = LiveSet::Nodes([1, 2, 3, 5].map(node).into());
    say(&mut all, 2, holding(VIP, 2));
    assert_eq!(companions(2, &all), ["node1", "node3", "node4"]);
    assert_eq!(companions(1, &all), ["node2", "node3"]);
}

/// Both must come to the same: elections that went through the change, and fresh ones.
fn same_after(mut before: Elections, world: &World, fleet: &Fleet) -> Decision {
    let world = Arc::new(world.clone());
    let mut fresh = Elections::new(before.me().to_owned(), before.rules);
    before.update(&world, fleet.clone());
    fresh.update(&world, fleet.clone());
    let decision = fresh.into_decisions().pop().expect("one");
    assert_eq!(before.into_decisions().pop().as_ref(), Some(&decision));
    decision
}

#[test]
fn the_death_of_a_holder_that_may_not_stand_lets_those_stand_that_are_expected() {
    let world = world(5, &[json!({})], [announcement(0, VIP, Some(&[(1, 1, 1), (2, 1, 1)]))]);
    let mut some = fleet(&[1, 4]);
    some.expected.insert(node(2));
    // It has no endpoint any more, and still says that it holds the address.
    say(&mut some, 4, holding(VIP, 1));
    let mut elections = Elections::new(node(1), STAYS);
    elections.update(&Arc::new(world.clone()), some.clone());
    assert_eq!(elections.decisions().next().expect("one").elected, Some(node(1)));
    some.live = LiveSet::Nodes([node(1)].into());
    let decision = same_after(elections, &world, &some);
    assert_eq!(decision.elected, Some(node(2)));
}

#[test]
fn why_this_node_is_silent_is_said_anew_when_it_changes() {
    let first = json!({"nodeSelectors": [{"matchLabels": {"first": ""}}]});
    let world = world(5, &[first], [announcement(0, VIP, None)]);
    let mut elections = Elections::new(node(2), STAYS);
    elections.update(&Arc::new(world.clone()), fleet(&[1]));
    let verdict = |why| Verdict::Silent(Silence::NotCandidate(why));
    assert_eq!(elections.decisions().next().expect("one").verdict, verdict(WhyNot::NotAlive));
    let decision = same_after(elections, &world, &fleet(&[1, 2]));
    assert_eq!(decision.verdict, verdict(WhyNot::NoAdvertisement));
}

/// `services` Services with an address each, on `nodes` nodes that all live.
fn large(nodes: usize, services: usize) -> (World, Fleet) {
    let lbs = (0..services).map(|n| announcement(n, &format!("10.0.{}.{}", n / 250, n % 250), None));
    (world(nodes, &[json!({})], lbs), fleet(&(1..=nodes).collect::<Vec<_>>()))
}

#[test]
fn elections_are_held_only_where_something_changed() {
    let (mut world, mut fleet) = large(100, 1000);
    let mut elections = Elections::new(node(7), STAYS);
    let mut timed = |world: &World, fleet: &Fleet, what: &str| {
        let world = Arc::new(world.clone());
        let start = std::time::Instant::now();
        let held = elections.update(&world, fleet.clone());
        println!("1,000 Services x 100 nodes, {what}: {held} elections, {:?}", start.elapsed());
        held
    };
    assert_eq!(timed(&world, &fleet, "at first"), 1000);
    assert_eq!(timed(&world, &fleet, "nothing new"), 0);
    let changed = announcement(3, "10.0.99.99", None);
    world.announcements.insert(changed.key.clone(), changed);
    assert_eq!(timed(&world, &fleet, "one Service changed"), 1);
    say(&mut fleet, 5, holding("10.0.0.4", 1));
    assert_eq!(timed(&world, &fleet, "one address taken"), 1);
    let local = announcement(5, "10.0.0.5", Some(&[(8, 1, 1), (9, 1, 1)]));
    world.announcements.insert(local.key.clone(), local.clone());
    assert_eq!(timed(&world, &fleet, "one Service became local"), 1);
    // Only where it is among the three that stand: of 1,000 addresses about 30.
    fleet.live = LiveSet::Nodes((1..=99).map(node).collect());
    let with_it = timed(&world, &fleet, "one node died");
    assert!((15..60).contains(&with_it), "{with_it}");
    assert_eq!(timed(&world, &fleet, "nothing new"), 0);
    fleet.live = LiveSet::Nodes((1..=99).filter(|n| *n != 8).map(node).collect());
    let with_it = timed(&world, &fleet, "another one, with an endpoint of the local Service");
    assert!((15..60).contains(&with_it), "{with_it}");
    fleet.live = LiveSet::Nodes((1..=100).map(node).collect());
    let with_them = timed(&world, &fleet, "both are back");
    assert!((30..120).contains(&with_them), "{with_them}");
    say(&mut fleet, 50, Statement { unfit: [Unfit::KubeProxy].into(), ..Statement::default() });
    let with_it = timed(&world, &fleet, "one is unfit");
    assert!((15..60).contains(&with_it), "{with_it}");
    let mut nodes = BTreeMap::clone(&world.nodes);
    nodes.get_mut("node9").expect("there").cordoned = true;
    world.nodes = Arc::new(nodes);
    assert_eq!(timed(&world, &fleet, "one node cordoned"), 0);
    let mut nodes = BTreeMap::clone(&world.nodes);
    nodes.insert("node101".into(), NodeFacts::default());
    world.nodes = Arc::new(nodes);
    assert_eq!(timed(&world, &fleet, "one node added"), 1000);
    world.announcements.remove(&local.key);
    assert_eq!(timed(&world, &fleet, "one Service deleted"), 1);
}

/// One change of world or fleet.
#[derive(Debug, Clone)]
enum Change {
    Lives(usize, bool),
    Expected(usize, bool),
    Exists(usize, bool),
    Leaving(usize, bool),
    Says(usize, Option<u8>, u32, bool, u8),
    Deaf(usize, bool),
    Service(usize, u8, Option<Vec<(usize, u32, u32)>>),
    Gone(usize),
}

fn changes() -> impl Strategy<Value = Change> {
    let who = 1usize..10;
    let endpoints = proptest::collection::vec((1usize..10, 0u32..2, 0u32..2), 0..4);
    prop_oneof![
        (who.clone(), any::<bool>()).prop_map(|(n, is)| Change::Lives(n, is)),
        (who.clone(), any::<bool>()).prop_map(|(n, is)| Change::Expected(n, is)),
        (who.clone(), any::<bool>()).prop_map(|(n, is)| Change::Exists(n, is)),
        (who.clone(), any::<bool>()).prop_map(|(n, is)| Change::Leaving(n, is)),
        (who.clone(), proptest::option::of(0u8..4), 1u32..4, proptest::bool::weighted(0.8), 0u8..8)
            .prop_map(|(n, holds, term, fit, uplink)| Change::Says(n, holds, term, fit, uplink)),
        (who, any::<bool>()).prop_map(|(n, is)| Change::Deaf(n, is)),
        (0usize..6, 0u8..4, proptest::option::of(endpoints)).prop_map(|(n, a, e)| Change::Service(n, a, e)),
        (0usize..6).prop_map(Change::Gone),
    ]
}

fn apply(change: Change, world: &mut World, fleet: &mut Fleet) {
    let mut nodes = BTreeMap::clone(&world.nodes);
    let LiveSet::Nodes(live) = &mut fleet.live else { unreachable!("it has a list") };
    match change {
        Change::Lives(n, true) => drop(live.insert(node(n))),
        Change::Lives(n, false) => drop(live.remove(&node(n))),
        Change::Expected(n, true) => drop(fleet.expected.insert(node(n))),
        Change::Expected(n, false) => drop(fleet.expected.remove(&node(n))),
        Change::Exists(n, true) => drop(nodes.entry(node(n)).or_default()),
        Change::Exists(n, false) => drop(nodes.remove(&node(n))),
        Change::Leaving(n, is) => nodes.entry(node(n)).or_default().leaving = is,
        Change::Deaf(n, true) => drop(fleet.deaf.insert(node(n))),
        Change::Deaf(n, false) => drop(fleet.deaf.remove(&node(n))),
        Change::Says(n, holds, term, fit, uplinks) => {
            let mut statement = holds.map(|a| holding(&format!("192.0.2.{a}"), term)).unwrap_or_default();
            statement.uplinks = match uplinks {
                0 => Some(Vec::new()),
                1 => uplink("eth0", "198.51.100.1/24").uplinks,
                2 => uplink("eth1", "192.0.2.1/24").uplinks,
                3..6 => uplink("eth0", "192.0.2.1/24").uplinks,
                _ => None,
            };
            statement.unfit.extend((!fit).then_some(Unfit::KubeProxy));
            say(fleet, n, statement);
        }
        Change::Service(n, a, endpoints) => {
            let lb = announcement(n, &format!("192.0.2.{a}"), endpoints.as_deref());
            world.announcements.insert(lb.key.clone(), lb);
        }
        Change::Gone(n) => {
            world.announcements.remove(&announcement(n, VIP, None).key);
        }
    }
    if *world.nodes != nodes {
        world.nodes = Arc::new(nodes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn step_by_step_comes_to_the_same_as_at_once(
        changes in proptest::collection::vec(changes(), 1..60),
        every in 1usize..4,
        failback in any::<bool>(),
    ) {
        let rules = Rules { failback, any_network: false };
        let somewhere = json!({"nodeSelectors": [{"matchLabels": {"first": ""}}], "interfaces": ["eth0"]});
        let mut world = world(8, &[json!({}), somewhere.clone()], []);
        // Who prefers all alike prefers nobody, but then all nodes have to be looked at.
        let alike = json!({"preferredNodeSelectors": [{"weight": 7, "preference": {}}]});
        let thorough = super::tests::world(0, &[alike, somewhere], []).advertisements;
        let mut fleet = fleet(&[1, 2, 3, 4, 5, 6]);
        let mut elections = Elections::new(node(2), rules);
        for (step, change) in changes.into_iter().enumerate() {
            apply(change, &mut world, &mut fleet);
            if step % every == 0 {
                // Most changes come without a change of the Nodes.
                let shown = Arc::new(world.clone());
                elections.update(&shown, fleet.clone());
                let at_once = |world: &Arc<World>, me: usize| {
                    let mut fresh = Elections::new(node(me), rules);
                    fresh.update(world, fleet.clone());
                    fresh
                };
                let thorough = Arc::new(World { advertisements: Arc::clone(&thorough), ..world.clone() });
                for fresh in [at_once(&shown, 2), at_once(&thorough, 2)] {
                    prop_assert_eq!(elections.companions(), fresh.companions());
                    for key in world.announcements.keys() {
                        prop_assert_eq!(elections.standing(key), fresh.standing(key));
                    }
                    prop_assert!(elections.decisions().eq(fresh.decisions()));
                }
                // Everybody comes to the same.
                let of = |elections: &Elections| elections.decisions().map(|d| d.elected.clone()).collect::<Vec<_>>();
                prop_assert_eq!(of(&elections), of(&at_once(&shown, 1)));
            }
        }
    }
}
