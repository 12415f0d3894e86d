//! What the controller says of Services that are announced by BGP.

use super::tests::{annotate, own, pool, service, spec, sync};
use super::*;
use causeway_api::{Condition, OwnObject, Severity};
use rstest::rstest;
use serde_json::{Value, json};

use crate::names::CONDITION_SESSION_AFFINITY;

fn tor(name: &str, address: &str) -> OwnObject {
    own("BGPPeer", name, json!({"myASN": 64500, "peerASN": 64501, "peerAddress": address}))
}

fn ad(name: &str, spec: Value) -> OwnObject {
    own("BGPAdvertisement", name, spec)
}

fn l2() -> OwnObject {
    own("L2Advertisement", "lan", json!({}))
}

fn facts(metal: &Metal, more: Vec<OwnObject>) -> Facts {
    let mut objects = vec![pool("p", &["192.0.2.0/29"])];
    objects.extend(more);
    metal.facts(&OwnObjects { objects, ..OwnObjects::default() }, &()).0
}

/// Reasons of the problems, and whether they are errors.
fn problems(objects: Vec<OwnObject>, change: impl Fn(&mut Member)) -> Vec<(String, bool)> {
    let metal = Metal::default();
    let facts = facts(&metal, objects);
    let mut web = service("web", 1);
    change(&mut web);
    let outcomes = sync(&metal, &mut web, &facts);
    assert_eq!(outcomes.addresses(), ["192.0.2.0"]);
    outcomes.problems.into_iter().map(|p| (p.reason, p.severity == Severity::Error)).collect()
}

#[rstest]
#[case::nobody(vec![], &[("NotAnnounced", true)])]
#[case::by_bgp(vec![ad("ad", json!({})), tor("tor", "10.0.0.1")], &[])]
#[case::by_both(vec![ad("ad", json!({})), tor("tor", "10.0.0.1"), l2()], &[])]
#[case::no_peer(vec![ad("ad", json!({}))], &[("NotAnnounced", true)])]
#[case::no_peer_of_that_name(vec![ad("ad", json!({"peers": ["gone"]})), tor("tor", "10.0.0.1")], &[("NotAnnounced", true)])]
#[case::peer_of_the_other_family(vec![ad("ad", json!({})), tor("tor", "2001:db8::1")], &[("NotAnnounced", true)])]
#[case::bad_peer(vec![ad("ad", json!({})), tor("tor", "nowhere")], &[("NotAnnounced", true)])]
#[case::no_peer_but_l2(vec![ad("ad", json!({})), l2()], &[("NotAnnounced", false)])]
#[case::other_pool(vec![ad("ad", json!({"ipAddressPools": ["q"]})), tor("tor", "10.0.0.1")], &[("NotAnnounced", true)])]
#[case::refused_pool(vec![ad("ad", json!({"aggregationLength": 24})), tor("tor", "10.0.0.1")], &[("NotAnnounced", true)])]
#[case::other_service(
    vec![ad("ad", json!({"serviceSelectors": [{"matchLabels": {"app": "x"}}]})), tor("tor", "10.0.0.1")], &[("NotAnnounced", true)]
)]
#[case::contradiction(
    vec![ad("a", json!({})), ad("b", json!({"localPref": 9})), tor("tor", "10.0.0.1")], &[("ConflictingAdvertisements", true)]
)]
#[case::contradiction_with_l2(
    vec![ad("a", json!({})), ad("b", json!({"localPref": 9})), tor("tor", "10.0.0.1"), l2()], &[("ConflictingAdvertisements", false)]
)]
#[case::contradiction_elsewhere(
    vec![
        ad("a", json!({"nodeSelectors": [{"matchLabels": {"rack": "a"}}]})),
        ad("b", json!({"localPref": 9, "nodeSelectors": [{"matchLabels": {"rack": "b"}}]})),
        tor("tor", "10.0.0.1")
    ],
    &[]
)]
fn who_announces(#[case] objects: Vec<OwnObject>, #[case] expected: &[(&str, bool)]) {
    let expected: Vec<_> = expected.iter().map(|(reason, error)| ((*reason).to_owned(), *error)).collect();
    assert_eq!(problems(objects, |_| ()), expected);
}

#[test]
fn what_layer_2_may_not_announce_bgp_may() {
    let selecting = || own("L2Advertisement", "lan", json!({"serviceSelectors": [{}]}));
    let share = |web: &mut Member| annotate(web, "metallb.io/allow-shared-ip", "key");
    let not_announced = |error| vec![("NotAnnounced".to_owned(), error)];
    assert_eq!(problems(vec![selecting()], share), not_announced(true));
    let both = vec![selecting(), ad("ad", json!({})), tor("tor", "10.0.0.1")];
    assert_eq!(problems(both, share), not_announced(false));
}

#[test]
fn contradictions_name_both_advertisements() {
    let metal = Metal::default();
    let objects = vec![ad("a", json!({})), ad("b", json!({"localPref": 9})), tor("tor", "10.0.0.1")];
    let facts = facts(&metal, objects);
    let text = sync(&metal, &mut service("web", 1), &facts).problems[0].to_string();
    for part in [
        "BGPAdvertisement metallb-system/a",
        "BGPAdvertisement metallb-system/b",
        "localPref",
        "not set",
        "9",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn best_effort(objects: Vec<OwnObject>, change: impl Fn(&mut Member)) -> Option<Condition> {
    let metal = Metal::default();
    let facts = facts(&metal, objects);
    let mut web = service("web", 1);
    change(&mut web);
    let status = sync(&metal, &mut web, &facts).status.expect("a status");
    status.conditions.into_iter().find(|condition| condition.kind == CONDITION_SESSION_AFFINITY)
}

#[test]
fn affinity_to_an_endpoint_is_best_effort_where_several_nodes_announce() {
    let by_bgp = || vec![ad("ad", json!({})), tor("tor", "10.0.0.1")];
    let affine = |web: &mut Member| spec(web).affinity_seconds = Some(10800);
    let condition = best_effort(by_bgp(), affine).expect("a condition");
    assert_eq!((condition.status, condition.reason.as_str()), (true, "SeveralAnnouncers"));
    assert!(condition.message.contains("causeway.io/single-announcer"), "{}", condition.message);
    assert_eq!(best_effort(by_bgp(), |_| ()), None);
    assert_eq!(best_effort(vec![l2()], affine), None);
    assert_eq!(best_effort(vec![l2(), ad("ad", json!({}))], affine), None);
    let single = |web: &mut Member| {
        affine(web);
        annotate(web, "causeway.io/single-announcer", "true");
    };
    assert_eq!(best_effort(by_bgp(), single), None);
}

#[test]
fn a_meaningless_annotation_is_a_warning() {
    let objects = vec![ad("ad", json!({})), tor("tor", "10.0.0.1")];
    let found = problems(objects, |web| annotate(web, "causeway.io/single-announcer", "yes"));
    assert_eq!(found, [("InvalidAnnotation".to_owned(), false)]);
}

#[test]
fn what_is_wrong_with_bgp_objects_is_said_of_them() {
    let metal = Metal::default();
    let objects = vec![
        pool("p", &["192.0.2.0/29"]),
        tor("a", "10.0.0.1"),
        tor("b", "10.0.0.1"),
        tor("c", "nowhere"),
        ad("ad", json!({"communities": ["gone"]})),
        own("BFDProfile", "fast", json!({"receiveInterval": 1})),
        own("Community", "names", json!({"communities": [{"name": "x", "value": "y"}]})),
        own(
            "BGPPeer",
            "d",
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "10.0.0.4", "passwordSecret": {"name": "unread"}}),
        ),
    ];
    let (_, problems) = metal.facts(&OwnObjects { objects, ..OwnObjects::default() }, &());
    let mut found: Vec<_> = problems.iter().map(|p| (p.object.name.as_str(), p.reason.as_str())).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("ad", "InvalidAdvertisement"),
            ("b", "DuplicatePeer"),
            ("c", "InvalidPeer"),
            ("fast", "InvalidBFDProfile"),
            ("names", "InvalidCommunity")
        ]
    );
}
