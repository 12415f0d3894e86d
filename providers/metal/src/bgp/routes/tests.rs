use causeway_api::OwnObject;
use rstest::rstest;
use serde_json::{Value, json};

use super::super::fixtures::{
    Cluster, ad, aged, cluster, heard, labels, net, own, peer, peer_with, service, web, with,
};
use super::*;
use When::{ClusterEndpoints, LocalEndpoints, LocalListener};

/// Two routers in other ASes, one over each family, and one advertisement of everything.
fn simple() -> Cluster {
    cluster(vec![peer("tor", "10.0.0.1"), peer("tor6", "2001:db8:ff::1"), ad("all", json!({}))])
}

/// The decision about the Service `web`.
fn decision(routing: &Routing) -> &RouteDecision {
    let decisions = routing.decisions.values();
    decisions.into_iter().find(|decision| decision.announcement.object.name == "web").expect("a decision")
}

fn silence(cluster: &Cluster, node: &str) -> Option<RouteSilence> {
    decision(&cluster.routes(node)).silent
}

fn attributes(routing: &Routing, peer: &str, prefix: &str) -> RouteAttributes {
    RouteAttributes::clone(&routing.peers[peer][&net(prefix)])
}

#[test]
fn without_services_the_peers_are_there_with_nothing() {
    let routing = simple().routes("n1");
    assert_eq!(routing.peers.keys().collect::<Vec<_>>(), ["tor", "tor6"]);
    assert!(routing.peers.values().all(BTreeMap::is_empty) && routing.decisions.is_empty());
}

#[rstest]
#[case::v4("192.0.2.1", &["192.0.2.1/32"], &[], &["tor"])]
#[case::v6("2001:db8::1", &[], &["2001:db8::1/128"], &["tor6"])]
#[case::dual("198.51.100.1,2001:db8:1::1", &["198.51.100.1/32"], &["2001:db8:1::1/128"], &["tor", "tor6"])]
#[case::mapped("::ffff:192.0.2.1", &["192.0.2.1/32"], &[], &["tor"])]
fn a_session_carries_its_own_family(
    #[case] addresses: &str,
    #[case] v4: &[&str],
    #[case] v6: &[&str],
    #[case] peers: &[&str],
) {
    for node in ["n1", "n2", "n3"] {
        let routing = simple().service(web(addresses)).routes(node);
        assert_eq!(
            (heard(&routing, "tor"), heard(&routing, "tor6")),
            (v4.iter().map(ToString::to_string).collect(), v6.iter().map(ToString::to_string).collect())
        );
        let decision = decision(&routing);
        assert_eq!(
            (decision.silent, decision.peers.iter().map(String::as_str).collect::<Vec<_>>()),
            (None, peers.to_vec())
        );
        assert_eq!(decision.conflicts, []);
    }
}

#[test]
fn both_families_over_one_session() {
    let both = json!({"dualStackAddressFamily": true});
    let unnumbered = own("BGPPeer", "link", json!({"myASN": 1, "peerASN": 2, "interface": "eth0"}));
    let routing = cluster(vec![peer_with("tor", "10.0.0.1", both), unnumbered, ad("all", json!({}))])
        .service(web("198.51.100.1,2001:db8:1::1"))
        .routes("n1");
    for peer in ["tor", "link"] {
        assert_eq!(heard(&routing, peer), ["198.51.100.1/32", "2001:db8:1::1/128"]);
    }
    assert!(decision(&routing).withheld.is_empty());
}

#[rstest]
// Endpoints by node, ready and serving; which nodes announce with Cluster, and which with Local.
#[case::none(&[], &[], &[])]
#[case::counted_but_none(&[("n1", 0, 0)], &[], &[])]
#[case::one(&[("n1", 1, 0)], &["n1", "n2", "n3"], &["n1"])]
#[case::two(&[("n1", 1, 0), ("n3", 2, 1)], &["n1", "n2", "n3"], &["n1", "n3"])]
#[case::without_node(&[("", 1, 0)], &["n1", "n2", "n3"], &[])]
#[case::elsewhere(&[("n9", 1, 0)], &["n1", "n2", "n3"], &[])]
// A terminating endpoint that still serves counts while there is no ready one.
#[case::last_one_terminates(&[("n1", 0, 1)], &["n1", "n2", "n3"], &["n1"])]
#[case::all_terminate(&[("n1", 0, 1), ("n2", 0, 3)], &["n1", "n2", "n3"], &["n1", "n2"])]
#[case::one_terminates(&[("n1", 0, 1), ("n2", 1, 0)], &["n1", "n2", "n3"], &["n2"])]
#[case::ready_beside_terminating(&[("n1", 1, 1), ("n2", 0, 1)], &["n1", "n2", "n3"], &["n1"])]
// A ready one that no node could announce lets nobody step back.
#[case::ready_without_node(&[("n1", 0, 1), ("", 1, 0)], &["n1", "n2", "n3"], &["n1"])]
fn where_the_endpoints_are(
    #[case] endpoints: &[(&str, u32, u32)],
    #[case] by_cluster: &[&str],
    #[case] by_local: &[&str],
) {
    for (when, expected) in [(ClusterEndpoints, by_cluster), (LocalEndpoints, by_local)] {
        let cluster = simple().service(service("web", "192.0.2.1", when, endpoints));
        assert_eq!(cluster.announcing(), expected, "{when:?}");
    }
}

#[test]
fn a_listener_of_our_own_needs_no_endpoint() {
    let cluster = simple().service(service("web", "192.0.2.1", LocalListener, &[]));
    assert_eq!(cluster.announcing(), ["n1", "n2", "n3"]);
}

#[rstest]
#[case::no_endpoint(service("web", "192.0.2.1", ClusterEndpoints, &[]), RouteSilence::NoEndpoint)]
#[case::none_here(service("web", "192.0.2.1", LocalEndpoints, &[("n2", 1, 0)]), RouteSilence::NoLocalEndpoint)]
#[case::terminating(service("web", "192.0.2.1", LocalEndpoints, &[("n1", 0, 1), ("n2", 1, 0)]), RouteSilence::OnlyTerminatingEndpoints)]
#[case::no_pool(web("203.0.113.1"), RouteSilence::NoPool)]
#[case::no_address(Announcement { addresses: Vec::new(), ..web("192.0.2.1") }, RouteSilence::NoAddress)]
fn reasons_of_the_service(#[case] service: Announcement, #[case] why: RouteSilence) {
    let cluster = simple().service(service);
    let routing = cluster.routes("n1");
    assert_eq!(decision(&routing).silent, Some(why));
    assert!(decision(&routing).peers.is_empty() && routing.peers.values().all(BTreeMap::is_empty));
}

#[rstest]
#[case::network(|n: &mut NodeFacts| n.network_unavailable = true, RouteSilence::NetworkUnavailable)]
#[case::excluded(
    |n: &mut NodeFacts| n.labels = labels("node.kubernetes.io/exclude-from-external-load-balancers=x"), RouteSilence::ExcludedByLabel
)]
#[case::leaving(|n: &mut NodeFacts| n.leaving = true, RouteSilence::Leaving)]
fn reasons_of_the_node(#[case] change: fn(&mut NodeFacts), #[case] why: RouteSilence) {
    let cluster = simple().service(web("192.0.2.1")).node("n1", change);
    assert_eq!(silence(&cluster, "n1"), Some(why));
    assert_eq!(cluster.announcing(), ["n2", "n3"]);
    // Its sessions stay.
    assert_eq!(cluster.routes("n1").peers.len(), 2);
}

#[test]
fn the_label_may_be_ignored() {
    let cluster = simple()
        .service(web("192.0.2.1"))
        .node("n1", |n| n.labels = labels("node.kubernetes.io/exclude-from-external-load-balancers="));
    let world = World { ignore_exclude_label: true, ..cluster.world() };
    assert_eq!(heard(&routes(&world, &cluster.fleet, "n1", &BTreeSet::new()), "tor"), ["192.0.2.1/32"]);
}

#[test]
fn a_cordoned_node_goes_on() {
    let cluster = simple().service(web("192.0.2.1")).node("n1", |n| n.cordoned = true);
    assert_eq!(cluster.announcing(), ["n1", "n2", "n3"]);
}

#[test]
fn without_its_node_a_speaker_keeps_sessions_and_announces_nothing() {
    let cluster = simple().service(web("192.0.2.1"));
    let routing = cluster.routes("n4");
    assert_eq!(decision(&routing).silent, Some(RouteSilence::UnknownNode));
    assert_eq!(routing.peers.len(), 2);
}

#[test]
fn beside_metallb_there_are_no_sessions() {
    let mut cluster = simple().service(web("192.0.2.1"));
    cluster.standby = true;
    let routing = cluster.routes("n1");
    assert_eq!((routing.peers.len(), decision(&routing).silent), (0, Some(RouteSilence::Standby)));
}

#[rstest]
#[case::kube_proxy(Unfit::KubeProxy, "kubeProxyUnhealthy")]
#[case::drained(Unfit::Drained, "drained")]
fn an_unfit_node_steps_back_while_another_can(#[case] why: Unfit, #[case] label: &str) {
    let cluster = simple().service(web("192.0.2.1")).unfit("n1", why);
    assert_eq!(silence(&cluster, "n1").map(RouteSilence::as_str), Some(label));
    assert_eq!(cluster.announcing(), ["n2", "n3"]);
    let all = cluster.clone().unfit("n2", why).unfit("n3", why);
    assert_eq!(all.announcing(), ["n1", "n2", "n3"]);
    let dead = cluster.clone().dead("n2").dead("n3");
    assert_eq!(silence(&dead, "n1"), None);
    let gone = cluster.node("n2", |n| n.leaving = true).node("n3", |n| n.network_unavailable = true);
    assert_eq!(gone.announcing(), ["n1", "n2"]);
}

#[rstest]
// With Local: endpoints, whether n1 is unfit, and who announces.
#[case::other_fit(&[("n1", 1, 0), ("n2", 1, 0)], true, &["n2"])]
#[case::only_one(&[("n1", 1, 0)], true, &["n1"])]
// A fit node whose endpoint is terminating goes before an unfit one with a ready endpoint.
#[case::fit_terminating(&[("n1", 1, 0), ("n2", 0, 1)], true, &["n2"])]
#[case::fit_terminating_and_ready(&[("n1", 1, 0), ("n2", 0, 1), ("n3", 1, 0)], true, &["n3"])]
#[case::none_unfit(&[("n1", 1, 0), ("n2", 0, 1), ("n3", 1, 0)], false, &["n1", "n3"])]
fn fitness_goes_before_readiness(
    #[case] endpoints: &[(&str, u32, u32)],
    #[case] unfit: bool,
    #[case] expected: &[&str],
) {
    let mut cluster = simple().service(service("web", "192.0.2.1", LocalEndpoints, endpoints));
    if unfit {
        cluster = cluster.unfit("n1", Unfit::KubeProxy);
    }
    assert_eq!(cluster.announcing(), expected);
}

#[test]
fn a_node_counts_on_others_only_where_they_speak_with_a_router() {
    let rack = |name: &str, address: &str, node: &str| {
        peer_with(name, address, json!({"nodeSelectors": [{"matchLabels": {"node": node}}]}))
    };
    let base = |more: Vec<OwnObject>| {
        let mut objects = vec![rack("a", "10.0.0.1", "n1"), ad("all", json!({}))];
        objects.extend(more);
        cluster(objects).service(web("192.0.2.1")).unfit("n1", Unfit::Drained)
    };
    assert_eq!(silence(&base(vec![]), "n1"), None, "nobody else has a router");
    assert_eq!(
        silence(&base(vec![rack("b", "10.0.0.2", "n2")]), "n1"),
        Some(RouteSilence::Unfit(Unfit::Drained))
    );
    assert_eq!(silence(&base(vec![rack("b", "10.0.0.2", "n2")]), "n3"), Some(RouteSilence::NoPeer));
}

#[test]
fn advertisements_and_peers_select_nodes() {
    let on = |node: &str| json!([{"matchLabels": {"node": node}}]);
    let cluster = cluster(vec![
        peer_with(
            "tor",
            "10.0.0.1",
            json!({"nodeSelectors": [{"matchLabels": {"node": "n1"}}, {"matchLabels": {"node": "n2"}}]}),
        ),
        ad("one", json!({"nodeSelectors": on("n1")})),
        ad("other", json!({"nodeSelectors": on("n3")})),
    ])
    .service(web("192.0.2.1"));
    assert_eq!(silence(&cluster, "n1"), None);
    assert_eq!(silence(&cluster, "n2"), Some(RouteSilence::NodeNotSelected));
    assert_eq!(silence(&cluster, "n3"), Some(RouteSilence::NoPeer));
    assert_eq!(cluster.routes("n2").peers.keys().collect::<Vec<_>>(), ["tor"]);
    assert!(cluster.routes("n3").peers.is_empty());
    // The labels change.
    let moved = cluster.node("n2", |n| n.labels = labels("node=n1"));
    assert_eq!(silence(&moved, "n2"), None);
}

#[test]
fn advertisements_select_pools_and_services() {
    let cluster = cluster(vec![
        peer("tor", "10.0.0.1"),
        ad(
            "web",
            json!({"ipAddressPools": ["p4"], "serviceSelectors": [{"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "api"}}]}),
        ),
        ad("dual", json!({"ipAddressPools": ["dual"]})),
    ]);
    let labelled = |name: &str, address: &str, text: &str| Announcement {
        labels: labels(text),
        ..service(name, address, ClusterEndpoints, &[("n1", 1, 0)])
    };
    let cluster = cluster
        .service(labelled("web", "192.0.2.1", "app=db"))
        .service(labelled("a", "192.0.2.2", "app=web"))
        .service(labelled("b", "192.0.2.3", "app=api,tier=front"))
        .service(labelled("c", "198.51.100.1", ""));
    assert_eq!(heard(&cluster.routes("n1"), "tor"), ["192.0.2.2/32", "192.0.2.3/32", "198.51.100.1/32"]);
    assert_eq!(silence(&cluster, "n1"), Some(RouteSilence::NoAdvertisement));
}

#[test]
fn an_advertisement_names_its_peers() {
    let routing = cluster(vec![
        peer("a", "10.0.0.1"),
        peer("b", "10.0.0.2"),
        peer("c", "2001:db8:ff::1"),
        ad("one", json!({"peers": ["a", "c"], "communities": ["1:1"]})),
    ])
    .service(web("192.0.2.1"))
    .routes("n1");
    assert_eq!(
        (heard(&routing, "a").len(), heard(&routing, "b").len(), heard(&routing, "c").len()),
        (1, 0, 0)
    );
    let decision = decision(&routing);
    assert_eq!(decision.peers.iter().map(String::as_str).collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        *decision.withheld,
        [("b".to_owned(), Withheld::OtherPeers), ("c".to_owned(), Withheld::Family(Family::V4))].into()
    );
}

#[rstest]
#[case::none_of_the_node(vec![ad("one", json!({"peers": ["elsewhere"]}))], RouteSilence::NoPeer)]
#[case::of_the_other_family(vec![ad("one", json!({"peers": ["tor6"]}))], RouteSilence::FamilyNotCarried)]
fn nobody_to_hear_it(#[case] mut objects: Vec<OwnObject>, #[case] why: RouteSilence) {
    objects.extend([
        peer("tor", "10.0.0.1"),
        peer("tor6", "2001:db8:ff::1"),
        peer_with("elsewhere", "10.0.0.3", json!({"nodeSelectors": [{"matchLabels": {"node": "n3"}}]})),
    ]);
    assert_eq!(silence(&cluster(objects).service(web("192.0.2.1")), "n1"), Some(why));
}

#[rstest]
#[case::alone(json!({"aggregationLength": 24}), ClusterEndpoints, false, "192.0.2.0/24")]
#[case::middle(json!({"aggregationLength": 26}), ClusterEndpoints, false, "192.0.2.64/26")]
#[case::listener(json!({"aggregationLength": 26}), LocalListener, false, "192.0.2.64/26")]
// A node with a local endpoint must not draw the traffic of other addresses.
#[case::local(json!({"aggregationLength": 24}), LocalEndpoints, false, "192.0.2.77/32")]
#[case::local_as_metallb(json!({"aggregationLength": 24}), LocalEndpoints, true, "192.0.2.0/24")]
fn prefix_lengths(
    #[case] mut spec: Value,
    #[case] when: When,
    #[case] aggregate_local: bool,
    #[case] prefix: &str,
) {
    spec["ipAddressPools"] = json!(["p4"]);
    let mut advertisement = ad("all", spec);
    if aggregate_local {
        advertisement = with(advertisement, "aggregate-local", "true");
    }
    let routing = cluster(vec![peer("tor", "10.0.0.1"), advertisement])
        .service(service("web", "192.0.2.77", when, &[("n1", 1, 0)]))
        .routes("n1");
    assert_eq!(heard(&routing, "tor"), [prefix]);
}

#[test]
fn ipv6_is_cut_too() {
    let advertisement = ad("all", json!({"ipAddressPools": ["p6"], "aggregationLengthV6": 112}));
    let objects = vec![peer("tor6", "2001:db8:ff::1"), advertisement];
    let make = |when| service("web", "2001:db8::1:2:3", when, &[("n1", 1, 0)]);
    let of = |when| heard(&cluster(objects.clone()).service(make(when)).routes("n1"), "tor6");
    assert_eq!(of(ClusterEndpoints), ["2001:db8::1:2:0/112"]);
    assert_eq!(of(LocalEndpoints), ["2001:db8::1:2:3/128"]);
}

#[test]
fn several_services_of_one_aggregate_are_one_route() {
    let advertisement = ad("all", json!({"ipAddressPools": ["p4"], "aggregationLength": 24}));
    let routing = cluster(vec![peer("tor", "10.0.0.1"), advertisement])
        .service(web("192.0.2.1"))
        .service(service("api", "192.0.2.2", ClusterEndpoints, &[("n1", 1, 0)]))
        .service(service("idle", "192.0.2.3", ClusterEndpoints, &[]))
        .routes("n1");
    assert_eq!(heard(&routing, "tor"), ["192.0.2.0/24"]);
    assert_eq!(routing.decisions.values().filter(|decision| decision.silent.is_none()).count(), 2);
}

#[test]
fn several_advertisements_of_different_lengths() {
    let routing = cluster(vec![
        peer("tor", "10.0.0.1"),
        ad("a", json!({"ipAddressPools": ["p4"], "aggregationLength": 24, "localPref": 50, "communities": ["1:24"]})),
        ad("b", json!({"ipAddressPools": ["p4"], "localPref": 100, "communities": ["1:32"]})),
    ])
    .service(web("192.0.2.1"))
    .routes("n1");
    let of = |prefix| {
        let attributes = attributes(&routing, "tor", prefix);
        (attributes.local_pref, attributes.communities)
    };
    assert_eq!(heard(&routing, "tor"), ["192.0.2.0/24", "192.0.2.1/32"]);
    assert_eq!(of("192.0.2.0/24"), (Some(50), [1 << 16 | 24].into()));
    assert_eq!(of("192.0.2.1/32"), (Some(100), [1 << 16 | 32].into()));
}

/// As routers would have followed the longest of the prefixes, its advertisement gives the attributes of the single address.
#[test]
fn of_aggregates_that_are_made_single_the_longest_counts() {
    let objects = vec![
        peer("tor", "10.0.0.1"),
        peer("spine", "10.0.0.2"),
        ad(
            "a",
            json!({"ipAddressPools": ["p4"], "aggregationLength": 24, "localPref": 50, "communities": ["1:24"]}),
        ),
        ad(
            "b",
            json!({"ipAddressPools": ["p4"], "aggregationLength": 26, "localPref": 100, "communities": ["1:26"], "peers": ["tor"]}),
        ),
        ad(
            "c",
            json!({"ipAddressPools": ["p4"], "aggregationLength": 26, "localPref": 100, "communities": ["1:99"], "peers": ["tor"]}),
        ),
    ];
    let routing =
        cluster(objects).service(service("web", "192.0.2.1", LocalEndpoints, &[("n1", 1, 0)])).routes("n1");
    let of = |peer| {
        let attributes = attributes(&routing, peer, "192.0.2.1/32");
        (attributes.local_pref, attributes.communities)
    };
    assert_eq!(of("tor"), (Some(100), [1 << 16 | 26, 1 << 16 | 99].into()));
    assert_eq!(of("spine"), (Some(50), [1 << 16 | 24].into()));
    assert_eq!(decision(&routing).conflicts, []);
}

#[test]
fn communities_are_united_and_attributes_are_those_of_the_advertisement() {
    let everything = with(
        with(
            ad("a", json!({"localPref": 7, "communities": ["1:1", "large:1:2:3"], "peers": ["tor"]})),
            "med",
            "9",
        ),
        "as-path-prepend",
        "2",
    );
    let more = with(
        with(
            ad("b", json!({"localPref": 7, "communities": ["1:2", "no-export"], "peers": ["tor"]})),
            "med",
            "9",
        ),
        "as-path-prepend",
        "2",
    );
    let routing = cluster(vec![
        peer("tor", "10.0.0.1"),
        peer("spine", "10.0.0.2"),
        everything,
        more,
        ad("c", json!({"peers": ["spine"]})),
    ])
    .service(web("192.0.2.1"))
    .routes("n1");
    assert_eq!(
        attributes(&routing, "tor", "192.0.2.1/32"),
        RouteAttributes {
            local_pref: Some(7),
            med: Some(9),
            prepend: 2,
            communities: [1 << 16 | 1, 1 << 16 | 2, 0xffff_ff01].into(),
            large: [[1, 2, 3]].into(),
            bandwidth: None,
        }
    );
    assert_eq!(attributes(&routing, "spine", "192.0.2.1/32"), RouteAttributes::default());
}

#[rstest]
#[case::local_pref(ad("b", json!({"localPref": 200})), Attribute::LocalPref, "not set", "200")]
#[case::med(with(ad("b", json!({})), "med", "1"), Attribute::Med, "not set", "1")]
#[case::prepend(with(ad("b", json!({})), "as-path-prepend", "1"), Attribute::Prepend, "0", "1")]
#[case::bandwidth(with(ad("b", json!({})), "link-bandwidth", "8"), Attribute::Bandwidth, "not set", "8")]
fn advertisements_that_contradict_each_other(
    #[case] other: OwnObject,
    #[case] attribute: Attribute,
    #[case] one: &str,
    #[case] two: &str,
) {
    let cluster = cluster(vec![
        peer("tor", "10.0.0.1"),
        peer("spine", "10.0.0.2"),
        ad("a", json!({"peers": ["tor"]})),
        other,
    ]);
    let routing = cluster.service(web("192.0.2.1")).routes("n1");
    // Only where they meet is nothing announced.
    assert_eq!((heard(&routing, "tor").len(), heard(&routing, "spine").len()), (0, 1));
    let decision = decision(&routing);
    assert_eq!(
        (decision.silent, decision.peers.iter().map(String::as_str).collect::<Vec<_>>()),
        (None, vec!["spine"])
    );
    let [conflict] = decision.conflicts.as_slice() else { panic!("{:?}", decision.conflicts) };
    assert_eq!(
        (conflict.attribute, conflict.peer.as_str(), conflict.prefix),
        (attribute, "tor", net("192.0.2.1/32"))
    );
    assert_eq!((conflict.one.1.as_str(), conflict.other.1.as_str()), (one, two));
    let problems = decision.problems();
    assert_eq!((problems.len(), problems[0].object.to_string().as_str()), (1, "Service shop/web"));
    for part in
        ["192.0.2.1/32", "tor", "BGPAdvertisement metallb-system/a", "BGPAdvertisement metallb-system/b"]
    {
        assert!(problems[0].message.contains(part), "{part}: {}", problems[0]);
    }
}

#[test]
fn a_contradiction_about_every_route_makes_silent() {
    let cluster = cluster(vec![
        peer("tor", "10.0.0.1"),
        peer("spine", "10.0.0.2"),
        ad("a", json!({"localPref": 100})),
        ad("b", json!({"localPref": 200, "serviceSelectors": [{"matchLabels": {"app": "web"}}]})),
    ])
    .service(Announcement { labels: labels("app=web"), ..web("192.0.2.1") })
    .service(service("api", "192.0.2.2", ClusterEndpoints, &[("n1", 1, 0)]));
    let routing = cluster.routes("n1");
    assert_eq!(decision(&routing).silent, Some(RouteSilence::Conflict));
    assert!(decision(&routing).peers.is_empty());
    assert_eq!((decision(&routing).conflicts.len(), decision(&routing).problems().len()), (2, 1));
    // The other Service does not suffer.
    assert_eq!(
        (heard(&routing, "tor"), heard(&routing, "spine")),
        (vec!["192.0.2.2/32".to_owned()], vec!["192.0.2.2/32".to_owned()])
    );
}

#[test]
fn services_that_share_an_address_are_one_route() {
    let select = |app: &str| json!([{"matchLabels": {"app": app}}]);
    let labelled = |name: &str, app: &str| Announcement {
        labels: labels(&format!("app={app}")),
        shares_address: true,
        ..service(name, "192.0.2.1", ClusterEndpoints, &[("n1", 1, 0)])
    };
    let make = |preference: u32| {
        cluster(vec![
            peer("tor", "10.0.0.1"),
            peer("spine", "10.0.0.2"),
            ad("a", json!({"communities": ["1:1"], "serviceSelectors": select("web")})),
            ad("b", json!({"communities": ["1:2"], "localPref": preference, "peers": ["tor"], "serviceSelectors": select("api")})),
        ])
        .service(labelled("web", "web"))
        .service(labelled("api", "api"))
    };
    let routing = make(0).routes("n1");
    assert_eq!(attributes(&routing, "tor", "192.0.2.1/32").communities, [1 << 16 | 1, 1 << 16 | 2].into());
    assert_eq!(attributes(&routing, "spine", "192.0.2.1/32").communities, [1 << 16 | 1].into());
    // Their advertisements contradict each other: both hear of it, and what is left is announced.
    let routing = make(200).routes("n1");
    assert_eq!((heard(&routing, "tor").len(), heard(&routing, "spine").len()), (0, 1));
    let of =
        |name: &str| routing.decisions.values().find(|d| d.announcement.object.name == name).expect("there");
    assert_eq!((of("web").silent, of("web").conflicts.len()), (None, 1));
    assert_eq!((of("api").silent, of("api").conflicts.len()), (Some(RouteSilence::Conflict), 1));
    assert_eq!(of("web").conflicts, of("api").conflicts);
    // One of them goes, and the other is announced again.
    let mut alone = make(200);
    alone.services.pop();
    assert_eq!(heard(&alone.routes("n1"), "tor"), ["192.0.2.1/32"]);
}

#[rstest]
#[case::one(&[("n1", 1, 0)], LocalEndpoints, Some(100))]
#[case::three(&[("n1", 3, 1), ("n2", 9, 0)], LocalEndpoints, Some(300))]
#[case::terminating(&[("n1", 0, 2)], LocalEndpoints, Some(200))]
// Any node sends to all endpoints: there is nothing to weigh.
#[case::cluster(&[("n1", 3, 0)], ClusterEndpoints, None)]
#[case::listener(&[], LocalListener, None)]
fn bandwidth_goes_by_endpoints(
    #[case] endpoints: &[(&str, u32, u32)],
    #[case] when: When,
    #[case] bandwidth: Option<u64>,
) {
    let objects = vec![peer("tor", "10.0.0.1"), with(ad("all", json!({})), "link-bandwidth", "100")];
    let routing = cluster(objects).service(service("web", "192.0.2.1", when, endpoints)).routes("n1");
    assert_eq!(attributes(&routing, "tor", "192.0.2.1/32").bandwidth, bandwidth);
}

#[test]
fn bandwidth_of_a_shared_route_is_the_sum() {
    let aggregate =
        with(ad("all", json!({"ipAddressPools": ["p4"], "aggregationLength": 24})), "link-bandwidth", "100");
    let objects = vec![peer("tor", "10.0.0.1"), with(aggregate, "aggregate-local", "true")];
    let local =
        |name: &str, address: &str, ready: u32| service(name, address, LocalEndpoints, &[("n1", ready, 0)]);
    let cluster =
        cluster(objects).service(local("web", "192.0.2.1", 2)).service(local("api", "192.0.2.2", 3));
    assert_eq!(attributes(&cluster.routes("n1"), "tor", "192.0.2.0/24").bandwidth, Some(500));
    // Of one whose weight says nothing, the sum says nothing either.
    let mixed = cluster.service(service("any", "192.0.2.3", ClusterEndpoints, &[("n1", 1, 0)]));
    assert_eq!(attributes(&mixed.routes("n1"), "tor", "192.0.2.0/24").bandwidth, None);
}

#[test]
fn equal_attributes_are_one_allocation() {
    let objects = vec![
        peer("a", "10.0.0.1"),
        peer("b", "10.0.0.2"),
        with(ad("all", json!({"communities": ["1:1"]})), "link-bandwidth", "100"),
    ];
    let mut cluster = cluster(objects);
    for n in 1..9 {
        let endpoints: &[(&str, u32, u32)] = &[("n1", 1 + n % 2, 0)];
        cluster =
            cluster.service(service(&format!("s{n}"), &format!("192.0.2.{n}"), LocalEndpoints, endpoints));
    }
    let routing = cluster.routes("n1");
    let distinct: BTreeSet<_> = routing.peers.values().flat_map(BTreeMap::values).map(Arc::as_ptr).collect();
    assert_eq!((routing.peers["a"].len(), distinct.len()), (8, 2));
}

fn single(mut service: Announcement) -> Announcement {
    service.single_announcer = true;
    service
}

#[rstest]
#[case("192.0.2.10")]
#[case("192.0.2.11")]
#[case("192.0.2.12")]
#[case("192.0.2.13")]
fn a_single_announcer_is_the_first_by_hash(#[case] address: &str) {
    let cluster = simple().service(single(web(address)));
    let candidates = ["n1", "n2", "n3"].map(|node| crate::election::Candidate { node, preference: 0 });
    let first = crate::election::winner(candidates, address.parse().expect("an address")).expect("some");
    assert_eq!(cluster.announcing(), [first]);
    for node in ["n1", "n2", "n3"].into_iter().filter(|node| *node != first) {
        assert_eq!(silence(&cluster, node), Some(RouteSilence::NotElected));
    }
    // It goes, one way or another, and exactly one other takes over.
    let next: Vec<_> = cluster.clone().dead(first).announcing().into_iter().filter(|n| n != first).collect();
    assert_eq!(next.len(), 1);
    let left = cluster.node(first, |n| n.leaving = true);
    assert_eq!(left.announcing(), next);
}

#[rstest]
#[case::all(&[("n1", 1, 0), ("n2", 1, 0), ("n3", 1, 0)], &["n1", "n2", "n3"])]
#[case::two(&[("n1", 1, 0), ("n3", 1, 0)], &["n1", "n3"])]
#[case::one(&[("n2", 1, 0)], &["n2"])]
#[case::ready_first(&[("n1", 0, 1), ("n2", 1, 0), ("n3", 0, 1)], &["n2"])]
#[case::all_terminating(&[("n1", 0, 1), ("n3", 0, 1)], &["n1", "n3"])]
fn a_single_announcer_with_local_has_an_endpoint(
    #[case] endpoints: &[(&str, u32, u32)],
    #[case] among: &[&str],
) {
    for n in 1..20 {
        let lb = single(service("web", &format!("192.0.2.{n}"), LocalEndpoints, endpoints));
        let announcing = simple().service(lb).announcing();
        assert_eq!(announcing.len(), 1);
        assert!(among.contains(&announcing[0].as_str()), "{announcing:?}");
    }
}

#[test]
fn a_single_announcer_speaks_with_a_router() {
    let on = json!({"nodeSelectors": [{"matchLabels": {"node": "n2"}}]});
    let objects = vec![peer_with("tor", "10.0.0.1", on), ad("all", json!({}))];
    for n in 1..20 {
        let cluster = cluster(objects.clone()).service(single(web(&format!("192.0.2.{n}"))));
        assert_eq!(cluster.announcing(), ["n2"]);
    }
}

#[test]
fn addresses_of_a_refused_pool_go_on_being_announced() {
    let objects = vec![
        peer("tor", "10.0.0.1"),
        ad("all", json!({})),
        aged(own("IPAddressPool", "young", json!({"addresses": ["192.0.2.128-203.0.113.9"]})), 9),
    ];
    let mut cluster = cluster(vec![]);
    let world = {
        let objects = super::super::fixtures::objects(
            [vec![own("IPAddressPool", "p4", json!({"addresses": ["192.0.2.0/24"]}))], objects].concat(),
        );
        let (bgp, _) = crate::bgp::BgpConfig::new(&objects, &BTreeMap::new());
        cluster.services.push(web("203.0.113.1"));
        World { pools: Arc::new(crate::pool::Pools::new(&objects).0), bgp: Arc::new(bgp), ..cluster.world() }
    };
    assert!(world.pools.get("young").is_some_and(|pool| pool.refused));
    let routing = routes(&world, &cluster.fleet, "n1", &BTreeSet::new());
    assert_eq!(heard(&routing, "tor"), ["203.0.113.1/32"]);
}

#[test]
fn a_duplicate_peer_gets_no_session() {
    let routing =
        cluster(vec![aged(peer("b", "10.0.0.1"), 1), aged(peer("a", "10.0.0.1"), 2), ad("all", json!({}))])
            .service(web("192.0.2.1"))
            .routes("n1");
    assert_eq!(routing.peers.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn every_reason_has_a_label_and_a_text_of_its_own() {
    let all = [
        RouteSilence::Standby,
        RouteSilence::NoAddress,
        RouteSilence::NoPool,
        RouteSilence::NoAdvertisement,
        RouteSilence::NodeNotSelected,
        RouteSilence::UnknownNode,
        RouteSilence::NetworkUnavailable,
        RouteSilence::ExcludedByLabel,
        RouteSilence::NoEndpoint,
        RouteSilence::NoLocalEndpoint,
        RouteSilence::OnlyTerminatingEndpoints,
        RouteSilence::Unfit(Unfit::KubeProxy),
        RouteSilence::Unfit(Unfit::Drained),
        RouteSilence::Leaving,
        RouteSilence::NotElected,
        RouteSilence::NoPeer,
        RouteSilence::FamilyNotCarried,
        RouteSilence::Conflict,
    ];
    let names: BTreeSet<_> = all.iter().map(|why| why.as_str()).collect();
    let texts: BTreeSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!((names.len(), texts.len()), (all.len(), all.len()));
}
