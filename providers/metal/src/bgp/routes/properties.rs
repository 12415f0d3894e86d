//! What holds of every cluster.

use causeway_api::OwnObject;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Value, json};

use super::super::fixtures::{Cluster, ad, cluster, labels, own, peer_with, service, with};
use super::*;

const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn selectors() -> impl Strategy<Value = Value> {
    subsequence(NODES.to_vec(), 0..=3).prop_map(|nodes| {
        json!(nodes.iter().map(|n| json!({"matchLabels": {"node": n}})).collect::<Vec<_>>())
    })
}

fn any_peer(name: &'static str, v4: &'static str, v6: &'static str) -> impl Strategy<Value = OwnObject> {
    (any::<bool>(), any::<bool>(), selectors()).prop_map(move |(six, both, on)| {
        peer_with(
            name,
            if six { v6 } else { v4 },
            json!({"dualStackAddressFamily": both, "nodeSelectors": on}),
        )
    })
}

/// Each has a community of its own, so that it can be told whose attributes a route carries.
fn any_ad(number: usize) -> impl Strategy<Value = OwnObject> {
    let length = prop_oneof![2 => Just((32, 128)), 1 => Just((28, 112)), 1 => Just((24, 64))];
    let peers = subsequence(vec!["a", "b", "c"], 0..=3);
    let pools = subsequence(vec!["p4", "p6", "dual"], 0..=3);
    let services = prop_oneof![2 => Just(None), 1 => select(vec!["web", "api"]).prop_map(Some)];
    (length, peers, pools, selectors(), services, 0..2_u32, any::<bool>(), any::<bool>()).prop_map(
        move |((v4, v6), peers, pools, on, app, preference, local, weigh)| {
            let mut spec = json!({
                "communities": [format!("1:{number}")], "peers": peers, "ipAddressPools": pools, "nodeSelectors": on, "localPref": preference * 100
            });
            if let Some(app) = app {
                spec["serviceSelectors"] = json!([{"matchLabels": {"app": app}}]);
            } else {
                spec["aggregationLength"] = json!(v4);
                spec["aggregationLengthV6"] = json!(v6);
            }
            let mut object = ad(&format!("ad{number}"), spec);
            if local {
                object = with(object, "aggregate-local", "true");
            }
            if weigh {
                object = with(object, "link-bandwidth", "100");
            }
            object
        },
    )
}

fn any_service(number: usize) -> impl Strategy<Value = Announcement> {
    let address = (1..6_u8).prop_flat_map(|n| {
        select(vec![
            format!("192.0.2.{n}"),
            format!("2001:db8::{n}"),
            format!("198.51.100.{n},2001:db8:1::{n}"),
            "203.0.113.1".to_owned(),
        ])
    });
    let when = select(vec![When::ClusterEndpoints, When::LocalEndpoints, When::LocalListener]);
    let endpoints = prop::collection::vec((select(vec!["n1", "n2", "n3", ""]), 0..3_u32, 0..2_u32), 0..4);
    (address, when, endpoints, select(vec!["app=web", "app=api", ""]), any::<bool>()).prop_map(
        move |(address, when, endpoints, text, single)| Announcement {
            labels: labels(text),
            single_announcer: single,
            ..service(&format!("s{number}"), &address, when, &endpoints)
        },
    )
}

fn any_cluster() -> impl Strategy<Value = Cluster> {
    let peers = (
        any_peer("a", "10.0.0.1", "2001:db8:ff::1"),
        any_peer("b", "10.0.0.2", "2001:db8:ff::2"),
        any_peer("c", "10.0.0.3", "2001:db8:ff::3"),
    );
    let ads = (any_ad(0), any_ad(1), any_ad(2));
    let services = (any_service(0), any_service(1), any_service(2), any_service(3));
    let states = prop::collection::vec(0..8_u8, 3);
    (peers, ads, services, states, 0..=3_usize).prop_map(|(peers, ads, services, states, used)| {
        let mut objects = vec![peers.0, peers.1, peers.2];
        objects.extend([ads.0, ads.1, ads.2].into_iter().take(used));
        let mut cluster = cluster(objects);
        for service in [services.0, services.1, services.2, services.3] {
            cluster = cluster.service(service);
        }
        for (node, state) in NODES.into_iter().zip(states) {
            cluster = match state {
                0 => cluster.node(node, |n| n.network_unavailable = true),
                1 => cluster.node(node, |n| n.leaving = true),
                2 => cluster.unfit(node, Unfit::Drained),
                3 => cluster.dead(node),
                _ => cluster,
            };
        }
        cluster
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Checks what every route rests on, from the decisions and the objects.
    #[test]
    fn every_route_rests_on_a_service_and_its_advertisements(cluster in any_cluster()) {
        let world = cluster.world();
        for node in NODES {
            let routing = cluster.routes(node);
            let labels = &world.nodes[node].labels;
            for (name, rib) in &routing.peers {
                let peer = &world.bgp.peers[name];
                prop_assert!(peer.matches_node(labels));
                for (prefix, attributes) in rib {
                    let family = if prefix.addr().is_ipv4() { Family::V4 } else { Family::V6 };
                    prop_assert!(peer.carries(family));
                    let behind: Vec<_> = routing
                        .decisions
                        .values()
                        .filter(|d| d.peers.contains(name) && d.announcement.addresses.iter().any(|a| prefix.contains(a)))
                        .collect();
                    prop_assert!(!behind.is_empty(), "{prefix} of {name} rests on nothing");
                    // A community tells its advertisement.
                    prop_assert!(!attributes.communities.is_empty());
                    let mut expected = Vec::new();
                    for community in &attributes.communities {
                        let number = community & 0xffff;
                        let object = format!("ad{number}");
                        let ad = world.bgp.advertisements.iter().find(|ad| ad.object.name == object).expect("there");
                        prop_assert!(ad.names(name) && ad.matches_node(labels));
                        let lbs: Vec<_> = behind
                            .iter()
                            .filter(|d| ad.matches_service(&d.announcement.labels))
                            .filter(|d| world.pools.get(d.pool.as_deref().unwrap_or_default()).is_some_and(|p| ad.matches_pool(p)))
                            .collect();
                        prop_assert!(!lbs.is_empty(), "{object} matches nothing behind {prefix}");
                        expected.push((ad.attributes.local_pref, ad.attributes.med, ad.attributes.prepend));
                    }
                    for one in expected {
                        prop_assert_eq!(one, (attributes.local_pref, attributes.med, attributes.prepend));
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_announced_without_endpoints(cluster in any_cluster()) {
        let mut cluster = cluster;
        for service in &mut cluster.services {
            service.endpoints.by_node.clear();
            if service.when == When::LocalListener {
                service.when = When::ClusterEndpoints;
            }
        }
        for node in NODES {
            let routing = cluster.routes(node);
            prop_assert!(routing.peers.values().all(BTreeMap::is_empty));
            prop_assert!(routing.decisions.values().all(|d| d.silent.is_some() && d.peers.is_empty()));
        }
    }

    #[test]
    fn a_local_service_is_announced_where_an_endpoint_is(cluster in any_cluster()) {
        for node in NODES {
            for decision in cluster.routes(node).decisions.values().filter(|d| d.silent.is_none()) {
                let lb = &decision.announcement;
                if lb.when == When::LocalEndpoints {
                    prop_assert!(crate::candidates::usable_on(&lb.endpoints, node));
                }
            }
        }
    }

    #[test]
    fn decisions_say_what_is_sent(cluster in any_cluster()) {
        for node in NODES {
            let routing = cluster.routes(node);
            prop_assert_eq!(routing.decisions.len(), cluster.services.len());
            for decision in routing.decisions.values() {
                prop_assert_eq!(decision.silent.is_none(), !decision.peers.is_empty());
                if decision.silent == Some(RouteSilence::Conflict) {
                    prop_assert!(!decision.conflicts.is_empty());
                }
                for conflict in &decision.conflicts {
                    prop_assert!(!routing.peers[&conflict.peer].contains_key(&conflict.prefix));
                }
                for peer in decision.peers.iter() {
                    let covered = |address: &IpAddr| routing.peers[peer].keys().any(|prefix| prefix.contains(address));
                    prop_assert!(decision.announcement.addresses.iter().any(covered));
                }
            }
        }
    }

    #[test]
    fn a_single_announcer_is_alone(cluster in any_cluster()) {
        // Where everybody is alive and knows it.
        let mut cluster = cluster;
        cluster.fleet = Fleet::of(crate::candidates::LiveSet::Everyone);
        let mut announcing: BTreeMap<LbKey, usize> = BTreeMap::new();
        for node in NODES {
            for (key, decision) in cluster.routes(node).decisions {
                if decision.announcement.single_announcer && decision.silent.is_none() {
                    *announcing.entry(key).or_default() += 1;
                }
            }
        }
        prop_assert!(announcing.values().all(|nodes| *nodes == 1), "{announcing:?}");
    }

    #[test]
    fn stepping_back_leaves_somebody(cluster in any_cluster()) {
        // The same cluster where nobody is reluctant: what any live node announces there, one announces here.
        let mut eager = cluster.clone();
        eager.fleet.statements.clear();
        eager.nodes.values_mut().for_each(|node| node.leaving = false);
        let announced = |cluster: &Cluster| -> BTreeSet<LbKey> {
            let live = NODES.into_iter().filter(|node| cluster.fleet.live.contains(node));
            let decisions: Vec<_> = live.flat_map(|node| cluster.routes(node).decisions).collect();
            // Contradictions are another matter.
            let sound = decisions.iter().filter(|(_, d)| d.silent.is_none() || d.silent == Some(RouteSilence::Conflict));
            sound.map(|(key, _)| key.clone()).collect()
        };
        prop_assert_eq!(announced(&eager), announced(&cluster));
    }

    #[test]
    fn the_order_of_objects_and_services_does_not_matter(cluster in any_cluster(), seed in any::<Index>()) {
        let world = cluster.world();
        let mut other = cluster.clone();
        let by = seed.index(other.services.len());
        other.services.rotate_left(by);
        other.services.reverse();
        other.turn();
        prop_assert_eq!(&world, &other.world());
        for node in NODES {
            prop_assert_eq!(cluster.routes(node), other.routes(node));
        }
    }

    #[test]
    fn communities_of_all_that_match_are_united(which in subsequence(vec![1_u32, 2, 3, 4, 5], 1..=5), local in any::<bool>()) {
        let mut objects: Vec<OwnObject> =
            which.iter().map(|n| ad(&format!("ad{n}"), json!({"communities": [format!("1:{n}"), "1:0"]}))).collect();
        objects.push(own("BGPPeer", "tor", json!({"myASN": 1, "peerASN": 2, "peerAddress": "10.0.0.1"})));
        let when = if local { When::LocalEndpoints } else { When::ClusterEndpoints };
        let routing = cluster(objects).service(service("web", "192.0.2.1", when, &[("n1", 1, 0)])).routes("n1");
        let attributes = routing.peers["tor"].values().next().expect("a route");
        let expected: BTreeSet<u32> = which.iter().chain([&0]).map(|n| 1 << 16 | n).collect();
        prop_assert_eq!(&attributes.communities, &expected);
    }
}
