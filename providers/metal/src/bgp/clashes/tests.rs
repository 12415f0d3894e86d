use causeway_api::OwnObject;
use rstest::rstest;
use serde_json::{Value, json};

use super::super::fixtures::{ad, aged, config, labels, objects, own, peer, peer_with, summary, with};
use super::*;

fn clashes(list: Vec<OwnObject>, place: Where) -> Vec<Problem> {
    let (pools, _) = Pools::new(&objects(list.clone()));
    config(list).0.clashes(&pools, place)
}

fn selecting(rack: &str) -> Value {
    json!({"nodeSelectors": [{"matchLabels": {"rack": rack}}]})
}

#[rstest]
#[case::everywhere(peer("b", "192.0.2.1"), true, true)]
#[case::other_router(peer("b", "192.0.2.2"), false, false)]
#[case::other_nodes(peer_with("b", "192.0.2.1", selecting("b")), false, true)]
#[case::same_nodes(peer_with("b", "192.0.2.1", selecting("a")), true, true)]
#[case::other_port(peer_with("b", "192.0.2.1", json!({"peerPort": 1179})), true, true)]
#[case::same_address_otherwise_written(peer("b", "::ffff:192.0.2.1"), true, true)]
fn two_peers_with_one_router(#[case] other: OwnObject, #[case] on_the_node: bool, #[case] anywhere: bool) {
    // The older one is everywhere.
    let list = vec![aged(other, 2), aged(peer("a", "192.0.2.1"), 1)];
    let node = labels("rack=a");
    for (place, expected) in [(Where::Node(&node), on_the_node), (Where::Anywhere, anywhere)] {
        let problems = clashes(list.clone(), place);
        let expected: &[&str] = if expected { &["error BGPPeer b: spec.peerAddress"] } else { &[] };
        assert_eq!(summary(&problems), expected, "{place:?}");
        assert!(problems.iter().all(|p| p.message.contains("BGPPeer metallb-system/a")), "{problems:?}");
    }
}

#[test]
fn peers_of_disjoint_nodes_may_have_one_router() {
    let list = vec![peer_with("a", "192.0.2.1", selecting("a")), peer_with("b", "192.0.2.1", selecting("b"))];
    assert_eq!(clashes(list.clone(), Where::Anywhere), []);
    assert_eq!(clashes(list, Where::Node(&labels("rack=a"))), []);
}

#[test]
fn unnumbered_peers_of_one_interface() {
    let unnumbered = |name: &str, interface: &str| {
        own("BGPPeer", name, json!({"myASN": 1, "peerASN": 2, "interface": interface}))
    };
    let list = vec![unnumbered("a", "eth0"), unnumbered("b", "eth0"), unnumbered("c", "eth1")];
    assert_eq!(summary(&clashes(list, Where::Anywhere)), ["error BGPPeer b: spec.interface"]);
}

#[rstest]
#[case(json!({"routerID": "10.0.0.1"}), json!({"routerID": "10.0.0.1"}), &[])]
#[case(json!({"routerID": "10.0.0.1"}), json!({"routerID": "10.0.0.2"}), &["warning BGPPeer b: spec.routerID"])]
#[case(json!({"routerID": "10.0.0.1"}), json!({}), &["warning BGPPeer b: spec.routerID"])]
#[case(json!({}), json!({"myASN": 64999}), &["warning BGPPeer b: spec.myASN"])]
#[case(json!({}), json!({"myASN": 64999, "nodeSelectors": [{"matchLabels": {"rack": "b"}}]}), &[])]
fn who_the_node_is(#[case] first: Value, #[case] second: Value, #[case] expected: &[&str]) {
    let list = vec![peer_with("a", "192.0.2.1", first), peer_with("b", "192.0.2.2", second)];
    assert_eq!(summary(&clashes(list.clone(), Where::Node(&labels("rack=a")))), expected);
    // Which peers share a node is not known there.
    assert_eq!(clashes(list, Where::Anywhere), []);
}

fn pools() -> Vec<OwnObject> {
    vec![
        own("IPAddressPool", "v4", json!({"addresses": ["192.0.2.0/24"]})),
        own("IPAddressPool", "v6", json!({"addresses": ["2001:db8::/64"]})),
        own("IPAddressPool", "dual", json!({"addresses": ["198.51.100.0/24", "2001:db8:1::/64"]})),
        peer("tor", "192.0.2.1"),
        peer("spine", "192.0.2.2"),
    ]
}

#[rstest]
#[case::same(json!({}), json!({"localPref": 200}), true)]
#[case::equal(json!({"localPref": 200}), json!({"localPref": 200}), false)]
#[case::unset_is_a_value(json!({"localPref": 0}), json!({"localPref": 200}), true)]
#[case::other_pools(json!({"ipAddressPools": ["v4"]}), json!({"localPref": 200, "ipAddressPools": ["v6"]}), false)]
#[case::shared_pool(json!({"ipAddressPools": ["v4", "dual"]}), json!({"localPref": 200, "ipAddressPools": ["v6", "dual"]}), true)]
#[case::unknown_pool(json!({"ipAddressPools": ["gone"]}), json!({"localPref": 200, "ipAddressPools": ["gone"]}), false)]
#[case::other_v4_length(
    json!({"ipAddressPools": ["v4"], "aggregationLength": 26}), json!({"localPref": 200, "ipAddressPools": ["v4"]}), false
)]
#[case::v6_length_does_not_matter_for_v4(
    json!({"ipAddressPools": ["v4"], "aggregationLengthV6": 64}), json!({"localPref": 200, "ipAddressPools": ["v4"]}), true
)]
#[case::other_v6_length(
    json!({"ipAddressPools": ["v6"], "aggregationLengthV6": 64}), json!({"localPref": 200, "ipAddressPools": ["v6"]}), false
)]
#[case::one_length_of_a_dual_pool(
    json!({"ipAddressPools": ["dual"], "aggregationLength": 26}), json!({"localPref": 200, "ipAddressPools": ["dual"]}), true
)]
#[case::both_lengths_of_a_dual_pool(
    json!({"ipAddressPools": ["dual"], "aggregationLength": 26, "aggregationLengthV6": 64}), json!({"localPref": 200, "ipAddressPools": ["dual"]}), false
)]
#[case::other_peers(json!({"peers": ["tor"]}), json!({"localPref": 200, "peers": ["spine"]}), false)]
#[case::subset_of_peers(json!({"peers": ["tor"]}), json!({"localPref": 200, "peers": ["spine", "tor"]}), true)]
#[case::all_peers(json!({"peers": ["tor"]}), json!({"localPref": 200}), true)]
#[case::other_nodes(selecting("a"), json!({"localPref": 200, "nodeSelectors": [{"matchLabels": {"rack": "b"}}]}), false)]
#[case::same_nodes(selecting("a"), json!({"localPref": 200, "nodeSelectors": [{"matchLabels": {"rack": "a"}}]}), true)]
#[case::all_nodes(selecting("a"), json!({"localPref": 200}), true)]
#[case::some_services(json!({"serviceSelectors": [{"matchLabels": {"a": "b"}}]}), json!({"localPref": 200}), false)]
fn local_preferences(#[case] one: Value, #[case] two: Value, #[case] clash: bool) {
    let mut list = pools();
    list.extend([ad("a", one), ad("b", two)]);
    let expected: &[&str] = if clash {
        &["error BGPAdvertisement a: spec.localPref", "error BGPAdvertisement b: spec.localPref"]
    } else {
        &[]
    };
    for place in [Where::Node(&labels("rack=a")), Where::Anywhere] {
        let problems = clashes(list.clone(), place);
        assert_eq!(summary(&problems), expected, "{place:?} {problems:?}");
    }
}

#[test]
fn nodes_that_are_known_are_looked_at() {
    let mut list = pools();
    let both = json!([{"matchLabels": {"rack": "a"}}, {"matchLabels": {"tier": "front"}}]);
    list.extend([
        ad("a", json!({"nodeSelectors": both})),
        ad("b", json!({"localPref": 9, "nodeSelectors": [{"matchLabels": {"rack": "b"}}]})),
    ]);
    assert_eq!(clashes(list.clone(), Where::Anywhere), []);
    assert_eq!(clashes(list.clone(), Where::Node(&labels("rack=a"))), []);
    assert_eq!(clashes(list, Where::Node(&labels("rack=b,tier=front"))).len(), 2);
}

#[rstest]
#[case("med", "5", "metadata.annotations[causeway.io/med]")]
#[case("as-path-prepend", "1", "metadata.annotations[causeway.io/as-path-prepend]")]
#[case("link-bandwidth", "1Gbit", "metadata.annotations[causeway.io/link-bandwidth]")]
fn other_attributes_must_agree_too(#[case] name: &str, #[case] value: &str, #[case] field: &str) {
    let mut list = pools();
    list.extend([ad("a", json!({})), with(ad("b", json!({})), name, value)]);
    let problems = clashes(list, Where::Anywhere);
    assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), [field, field]);
    assert!(problems[0].message.contains("BGPAdvertisement metallb-system/b"), "{}", problems[0]);
    assert!(problems[1].message.contains("BGPAdvertisement metallb-system/a"), "{}", problems[1]);
}

#[test]
fn communities_may_differ() {
    let mut list = pools();
    list.extend([ad("a", json!({"communities": ["1:1"]})), ad("b", json!({"communities": ["1:2"]}))]);
    assert_eq!(clashes(list, Where::Anywhere), []);
}
