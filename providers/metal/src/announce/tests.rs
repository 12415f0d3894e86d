use super::*;
use causeway_api::{EndpointsPerNode, Layer, OwnObject, OwnObjects};
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn own(kind: &str, name: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, "metallb-system", name, spec)
}

/// Nodes node1…node5 (node5 is labelled zone=b), one pool, the advertisements given.
fn world(advertisements: &[Value]) -> World {
    let mut objects = vec![own("IPAddressPool", "pool", json!({"addresses": ["192.0.2.0/24"]}))];
    for (index, spec) in advertisements.iter().enumerate() {
        objects.push(own("L2Advertisement", &format!("ad{index}"), spec.clone()));
    }
    let objects = OwnObjects { objects, ..OwnObjects::default() };
    let (pools, problems) = Pools::new(&objects);
    assert_eq!(problems, Vec::new());
    let (ads, problems) = L2Advertisement::parse_all(&objects);
    assert_eq!(problems, Vec::new());
    let nodes = (1..=5).map(|n| {
        let zone = if n == 5 { "b" } else { "a" };
        let labels = Labels::from([("zone".to_owned(), zone.to_owned())]);
        (format!("node{n}"), NodeFacts { labels, ..NodeFacts::default() })
    });
    World {
        pools: Arc::new(pools),
        advertisements: Arc::new(ads),
        nodes: Arc::new(nodes.collect()),
        ..World::default()
    }
}

fn service(address: &str, when: When, endpoints: &[(&str, u32, u32)]) -> Announcement {
    let object = ObjectRef::service("default", "web", "u1");
    Announcement {
        key: LbKey::object(Layer::L4, object.clone()),
        object,
        addresses: vec![address.parse().expect("an address")],
        labels: Labels::from([("app".to_owned(), "web".to_owned())]),
        shares_address: false,
        when,
        endpoints: Endpoints {
            by_node: endpoints
                .iter()
                .map(|(n, ready, serving)| {
                    ((*n).into(), EndpointsPerNode { ready: *ready, serving: *serving })
                })
                .collect(),
            ..Endpoints::default()
        },
        single_announcer: false,
    }
}

fn cluster(address: &str) -> Announcement {
    service(address, When::ClusterEndpoints, &[("node3", 1, 0)])
}

fn one(world: &World, lb: Announcement, me: &str, live: &LiveSet) -> Decision {
    let mut world = world.clone();
    world.announcements.insert(lb.key.clone(), Arc::new(lb));
    announcements(&world, me, live).pop().expect("one decision")
}

fn live(nodes: &[&str]) -> LiveSet {
    LiveSet::Nodes(nodes.iter().map(|n| (*n).to_owned()).collect())
}

// The orders by hash are those of the test in `election`.
#[rstest]
#[case(LiveSet::Everyone, "192.0.2.10", "node2")]
#[case(live(&["node1", "node3", "node5"]), "192.0.2.10", "node1")]
#[case(live(&["node5"]), "192.0.2.11", "node5")]
fn the_first_live_node_by_hash_announces(#[case] live: LiveSet, #[case] address: &str, #[case] who: &str) {
    let world = world(&[json!({})]);
    let mut announcing = Vec::new();
    for me in world.nodes.keys() {
        let decision = one(&world, cluster(address), me, &live);
        assert_eq!(decision.elected.as_deref(), Some(who));
        assert_eq!(decision.pool.as_deref(), Some("pool"));
        match decision.verdict {
            Verdict::Announce(interfaces) => {
                assert_eq!(interfaces, Interfaces::All);
                announcing.push(me.clone());
            }
            Verdict::Silent(Silence::NotElected) => assert!(live.contains(me)),
            Verdict::Silent(Silence::NotCandidate(WhyNot::NotAlive)) => assert!(!live.contains(me)),
            Verdict::Silent(other) => panic!("{me}: {other:?}"),
        }
    }
    assert_eq!(announcing, [who]);
}

#[test]
fn nodes_without_network_or_with_the_exclude_label_are_passed_over() {
    let mut world = world(&[json!({})]);
    let nodes = Arc::make_mut(&mut world.nodes);
    nodes.get_mut("node2").expect("there").network_unavailable = true;
    // Any value of the label counts.
    let label = causeway_api::names::LABEL_EXCLUDE_NODE.to_owned();
    nodes.get_mut("node1").expect("there").labels.insert(label, "false".into());
    let decision = one(&world, cluster("192.0.2.10"), "node1", &LiveSet::Everyone);
    assert_eq!(decision.elected.as_deref(), Some("node3"));
    assert_eq!(decision.verdict, Verdict::Silent(Silence::NotCandidate(WhyNot::ExcludedByLabel)));
    let decision = one(&world, cluster("192.0.2.10"), "node2", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Silent(Silence::NotCandidate(WhyNot::NetworkUnavailable)));
    world.ignore_exclude_label = true;
    let decision = one(&world, cluster("192.0.2.10"), "node1", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Announce(Interfaces::All));
}

#[rstest]
#[case(&[("node4", 1, 0), ("node5", 1, 0)], Some("node4"))]
#[case(&[("node5", 1, 0)], Some("node5"))]
// Terminating endpoints that still serve are better than none, and worse than ready ones.
#[case(&[("node1", 0, 1), ("node5", 1, 0)], Some("node5"))]
#[case(&[("node1", 0, 1), ("node5", 0, 0)], Some("node1"))]
#[case(&[("gone", 1, 0)], None)]
fn local_policy_wants_local_endpoints(#[case] endpoints: &[(&str, u32, u32)], #[case] who: Option<&str>) {
    let world = world(&[json!({})]);
    let lb = service("192.0.2.10", When::LocalEndpoints, endpoints);
    let decision = one(&world, lb, "node2", &LiveSet::Everyone);
    assert_eq!(decision.elected.as_deref(), who);
    let why = WhyNot::NoLocalEndpoint;
    let silence = if who.is_some() { Silence::NotCandidate(why) } else { Silence::NoCandidate(why) };
    assert_eq!(decision.verdict, Verdict::Silent(silence));
}

#[test]
fn a_node_whose_endpoints_terminate_says_so() {
    let world = world(&[json!({})]);
    let lb = service("192.0.2.10", When::LocalEndpoints, &[("node1", 0, 1), ("node5", 1, 0)]);
    let decision = one(&world, lb, "node1", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Silent(Silence::NotCandidate(WhyNot::OnlyTerminatingEndpoints)));
}

#[rstest]
#[case(When::ClusterEndpoints, &[], None)]
#[case(When::ClusterEndpoints, &[("node1", 0, 0)], None)]
#[case(When::ClusterEndpoints, &[("", 1, 0)], Some("node2"))] // an endpoint without a node
#[case(When::ClusterEndpoints, &[("node1", 0, 1)], Some("node2"))]
#[case(When::LocalEndpoints, &[], None)]
#[case(When::LocalListener, &[], Some("node2"))]
fn no_usable_endpoint_no_announcement(
    #[case] when: When,
    #[case] endpoints: &[(&str, u32, u32)],
    #[case] who: Option<&str>,
) {
    let decision =
        one(&world(&[json!({})]), service("192.0.2.10", when, endpoints), "node3", &LiveSet::Everyone);
    assert_eq!(decision.elected.as_deref(), who);
    if who.is_none() {
        assert_eq!(decision.verdict, Verdict::Silent(Silence::NoEndpoint));
    }
}

#[rstest]
#[case(json!({"nodeSelectors": [{"matchLabels": {"zone": "b"}}]}), Some("node5"))]
#[case(json!({"nodeSelectors": [{"matchLabels": {"zone": "c"}}]}), None)]
#[case(json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]}), Some("node2"))]
#[case(json!({"preferredNodeSelectors": [{"weight": 5, "preference": {"matchLabels": {"zone": "b"}}}]}), Some("node5"))]
#[case(json!({"preferredNodeSelectors": [{"weight": 5, "preference": {}}]}), Some("node2"))]
fn advertisements_choose_nodes(#[case] ad: Value, #[case] who: Option<&str>) {
    let decision = one(&world(&[ad]), cluster("192.0.2.10"), "node4", &LiveSet::Everyone);
    assert_eq!(decision.elected.as_deref(), who);
}

#[rstest]
#[case(&[])]
#[case(&[json!({"ipAddressPools": ["other"]})])]
#[case(&[json!({"serviceSelectors": [{"matchLabels": {"app": "db"}}]})])]
fn no_advertisement_no_announcement(#[case] ads: &[Value]) {
    let decision = one(&world(ads), cluster("192.0.2.10"), "node2", &LiveSet::Everyone);
    assert_eq!(decision.elected, None);
    assert_eq!(decision.verdict, Verdict::Silent(Silence::NoAdvertisement));
}

#[test]
fn preferences_add_up_over_advertisements_but_only_where_the_node_matches() {
    let world = world(&[
        json!({"preferredNodeSelectors": [{"weight": 60, "preference": {"matchLabels": {"zone": "a"}}}]}),
        json!({"preferredNodeSelectors": [{"weight": 30, "preference": {"matchLabels": {"zone": "b"}}},
                                          {"weight": 31, "preference": {}}]}),
        // Does not match node5, so its preference for it does not count.
        json!({"nodeSelectors": [{"matchLabels": {"zone": "a"}}],
               "preferredNodeSelectors": [{"weight": 100, "preference": {"matchLabels": {"zone": "b"}}}]}),
    ]);
    // Zone a has 60 + 31, zone b has 30 + 31.
    let decision = one(&world, cluster("192.0.2.10"), "node5", &LiveSet::Everyone);
    assert_eq!(decision.elected.as_deref(), Some("node2"));
}

#[test]
fn interfaces_are_the_union_of_the_advertisements_of_this_node() {
    let ads = [
        json!({"interfaces": ["eth1"]}),
        json!({"interfaces": ["eth2", "eth1"]}),
        json!({"interfaces": ["eth9"], "nodeSelectors": [{"matchLabels": {"zone": "b"}}]}),
    ];
    let decision = one(&world(&ads), cluster("192.0.2.10"), "node2", &LiveSet::Everyone);
    let names = BTreeSet::from(["eth1".to_owned(), "eth2".to_owned()]);
    assert_eq!(decision.verdict, Verdict::Announce(Interfaces::Only(names)));
    // One advertisement that names none means all.
    let mut ads = ads.to_vec();
    ads.push(json!({}));
    let decision = one(&world(&ads), cluster("192.0.2.10"), "node2", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Announce(Interfaces::All));
}

#[test]
fn shared_address_and_service_selector_exclude_each_other() {
    let mut lb = cluster("192.0.2.10");
    lb.shares_address = true;
    let ads = [json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]}), json!({})];
    let decision = one(&world(&ads), lb.clone(), "node2", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Silent(Silence::SharedAddressWithServiceSelector));
    let decision = one(&world(&ads[1..]), lb, "node2", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Announce(Interfaces::All));
}

#[test]
fn addresses_in_no_pool_and_no_addresses() {
    let decision = one(&world(&[json!({})]), cluster("198.51.100.1"), "node2", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Silent(Silence::NoPool));
    let mut lb = cluster("192.0.2.10");
    lb.addresses.clear();
    let decision = one(&world(&[json!({})]), lb, "node2", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Silent(Silence::NoAddress));
}

#[test]
fn a_node_that_does_not_exist_is_silent() {
    let decision = one(&world(&[json!({})]), cluster("192.0.2.10"), "stranger", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Silent(Silence::NotCandidate(WhyNot::UnknownNode)));
}

#[test]
fn what_a_refused_pool_gave_out_goes_on_being_announced() {
    let objects = OwnObjects {
        objects: vec![own("IPAddressPool", "pool", json!({"addresses": ["192.0.2.0/24", "oops"]}))],
        ..OwnObjects::default()
    };
    let mut world = world(&[json!({"ipAddressPools": ["pool"]})]);
    world.pools = Arc::new(Pools::new(&objects).0);
    let decision = one(&world, cluster("192.0.2.10"), "node2", &LiveSet::Everyone);
    assert_eq!(decision.verdict, Verdict::Announce(Interfaces::All));
}

#[test]
fn a_thousand_services_over_five_hundred_nodes_spread_and_have_one_owner_each() {
    let mut world = world(&[json!({})]);
    world.nodes = Arc::new((0..500).map(|n| (format!("worker-{n}"), NodeFacts::default())).collect());
    for n in 0..1000u32 {
        let mut lb = cluster("192.0.2.10");
        lb.object = ObjectRef::service("default", format!("web{n}"), format!("u{n}"));
        lb.key = LbKey::object(Layer::L4, lb.object.clone());
        lb.addresses = vec![IpAddr::V4((0xc000_0200 + n % 256).into())];
        world.announcements.insert(lb.key.clone(), Arc::new(lb));
    }
    let decisions = announcements(&world, "worker-7", &LiveSet::Everyone);
    let mut by_address: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for decision in decisions {
        let owner = decision.elected.expect("somebody");
        assert_eq!(owner == "worker-7", matches!(decision.verdict, Verdict::Announce(_)));
        by_address.entry(decision.announcement.addresses[0]).or_default().insert(owner);
    }
    assert_eq!(by_address.len(), 256);
    assert!(by_address.values().all(|owners| owners.len() == 1), "Services on one address meet on one node");
    let distinct: BTreeSet<_> = by_address.values().flatten().collect();
    assert!(distinct.len() > 150, "256 addresses over 500 nodes should hardly collide: {}", distinct.len());
}
