use rstest::rstest;
use serde_json::{Value, json};

use super::super::fixtures::{aged, config, config_with, labels, own, peer, peer_with, summary, with};
use super::*;
use causeway_api::Severity;

/// The only peer, or what is wrong with it.
fn read(object: OwnObject) -> Result<Peer, Vec<String>> {
    let (config, problems) = config(vec![object]);
    match config.peers.into_values().next() {
        Some(peer) => {
            assert_eq!(summary(&problems), Vec::<String>::new());
            Ok(Peer::clone(&peer))
        }
        None => Err(problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect()),
    }
}

fn spec(spec: Value) -> OwnObject {
    own("BGPPeer", "tor", spec)
}

fn good(more: Value) -> Peer {
    read(peer_with("tor", "192.0.2.1", more)).expect("valid")
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_minimal_peer() {
    let peer = good(json!({}));
    assert_eq!((peer.name.as_str(), peer.object.to_string().as_str()), ("tor", "BGPPeer metallb-system/tor"));
    assert_eq!((peer.asn, peer.remote, peer.local_asn), (64500, RemoteAsn::Is(64501), None));
    assert_eq!(peer.to, PeerTo::Address("192.0.2.1".parse().expect("an address")));
    assert_eq!((peer.source, peer.port, peer.router_id), (None, 179, None));
    assert_eq!((peer.hold, peer.keepalive, peer.connect), (seconds(90), seconds(30), seconds(1)));
    assert_eq!((peer.password, peer.bfd, peer.ttl_security), (None, None, None));
    assert_eq!(
        (peer.graceful_restart, peer.multihop, peer.passive, peer.families),
        (false, false, false, Families::OfSession)
    );
    assert!(peer.node_selectors.is_empty());
}

#[test]
fn a_peer_with_everything() {
    let object = peer_with(
        "tor",
        "2001:db8::1",
        json!({
            "localASN": 64999, "sourceAddress": "2001:db8::2", "peerPort": 1179, "holdTime": "9s", "keepaliveTime": "3s", "connectTime": "5s",
            "routerID": "10.0.0.1", "nodeSelectors": [{"matchLabels": {"rack": "a"}}], "password": "secret", "enableGracefulRestart": true,
            "ebgpMultiHop": true, "dualStackAddressFamily": true
        }),
    );
    let peer = read(with(object, "passive", "true")).expect("valid");
    assert_eq!((peer.local_asn, peer.shown_asn()), (Some(64999), 64999));
    assert_eq!(peer.source, Some("2001:db8::2".parse().expect("an address")));
    assert_eq!(
        (peer.port, peer.hold, peer.keepalive, peer.connect),
        (1179, seconds(9), seconds(3), seconds(5))
    );
    assert_eq!(peer.router_id, Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert!(peer.matches_node(&labels("rack=a")) && !peer.matches_node(&labels("rack=b")));
    assert_eq!(peer.password, Some(Password::new(b"secret")));
    assert!(peer.graceful_restart && peer.multihop && peer.passive);
    assert_eq!(peer.families, Families::Both);
}

#[rstest]
#[case::no_numbers(json!({"peerAddress": "192.0.2.1"}), "spec")]
#[case::no_own(json!({"myASN": 0, "peerASN": 1, "peerAddress": "192.0.2.1"}), "spec.myASN")]
#[case::too_large(json!({"myASN": 4_294_967_296_i64, "peerASN": 1, "peerAddress": "192.0.2.1"}), "spec.myASN")]
#[case::negative(json!({"myASN": 1, "peerASN": -2, "peerAddress": "192.0.2.1"}), "spec.peerASN")]
#[case::no_remote(json!({"myASN": 1, "peerAddress": "192.0.2.1"}), "spec.peerASN")]
#[case::two_remotes(json!({"myASN": 1, "peerASN": 2, "dynamicASN": "external", "peerAddress": "192.0.2.1"}), "spec.dynamicASN")]
#[case::other_mode(json!({"myASN": 1, "dynamicASN": "any", "peerAddress": "192.0.2.1"}), "spec.dynamicASN")]
#[case::nowhere(json!({"myASN": 1, "peerASN": 2}), "spec.peerAddress")]
#[case::two_places(json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "interface": "eth0"}), "spec.interface")]
#[case::no_spec(Value::Null, "spec")]
#[case::not_a_map(json!("tor"), "spec")]
fn who_and_where(#[case] object: Value, #[case] field: &str) {
    let problems = read(spec(object)).expect_err("invalid");
    assert!(problems[0].starts_with(&format!("{field}: ")), "{problems:?}");
}

#[rstest]
#[case("192.0.2", "is not an IP address")]
#[case("router.example", "is not an IP address")]
#[case("0.0.0.0", "not the address of one host")]
#[case("224.0.0.5", "not the address of one host")]
#[case("::", "not the address of one host")]
#[case("fe80::1", "give the interface instead")]
fn bad_addresses(#[case] address: &str, #[case] says: &str) {
    let problems = read(peer("tor", address)).expect_err("invalid");
    assert!(problems[0].starts_with("spec.peerAddress: ") && problems[0].contains(says), "{problems:?}");
}

#[rstest]
#[case::wrong_source(json!({"sourceAddress": "eth0"}), "spec.sourceAddress")]
#[case::other_family(json!({"sourceAddress": "2001:db8::1"}), "spec.sourceAddress")]
#[case::port(json!({"peerPort": 16385}), "spec.peerPort")]
#[case::negative_port(json!({"peerPort": -1}), "spec.peerPort")]
#[case::identifier(json!({"routerID": "2001:db8::1"}), "spec.routerID")]
#[case::no_identifier(json!({"routerID": "0.0.0.0"}), "spec.routerID")]
#[case::vrf(json!({"vrf": "red"}), "spec.vrf")]
#[case::both_families(json!({"disableMP": true, "dualStackAddressFamily": true}), "spec.disableMP")]
#[case::ibgp_multihop(json!({"peerASN": 64500, "ebgpMultiHop": true}), "spec.ebgpMultiHop")]
#[case::local_is_theirs(json!({"localASN": 64501}), "spec.localASN")]
#[case::local_too_large(json!({"localASN": 4_294_967_296_i64}), "spec.localASN")]
#[case::selector(json!({"nodeSelectors": [{"matchExpressions": [{"key": "k", "operator": "Near", "values": ["a"]}]}]}), "spec.nodeSelectors[0]")]
#[case::selector_without_operator(json!({"nodeSelectors": [{"matchExpressions": [{"key": "k", "operator": ""}]}]}), "spec.nodeSelectors[0]")]
#[case::selector_without_key(json!({"nodeSelectors": [{"matchExpressions": [{"key": "", "operator": "Exists"}]}]}), "spec.nodeSelectors[0]")]
#[case::selector_twice(json!({"nodeSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]}), "spec.nodeSelectors[1]")]
#[case::two_passwords(json!({"password": "a", "passwordSecret": {"name": "b"}}), "spec.passwordSecret")]
#[case::long_password(json!({"password": "x".repeat(81)}), "spec.password")]
#[case::no_profile(json!({"bfdProfile": "fast"}), "spec.bfdProfile")]
#[case::connect_long(json!({"connectTime": "65536s"}), "spec.connectTime")]
#[case::connect_short(json!({"connectTime": "0s"}), "spec.connectTime")]
#[case::connect_uneven(json!({"connectTime": "1500ms"}), "spec.connectTime")]
#[case::connect_text(json!({"connectTime": "soon"}), "spec.connectTime")]
#[case::wrong_type(json!({"peerPort": "179"}), "spec")]
fn faults_name_their_field(#[case] more: Value, #[case] field: &str) {
    let problems = read(peer_with("tor", "192.0.2.1", more)).expect_err("invalid");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with(&format!("{field}: ")), "{problems:?}");
}

#[test]
fn all_faults_are_said_at_once_and_hide_no_other_peer() {
    let bad = peer_with("bad", "192.0.2.1", json!({"vrf": "red", "holdTime": "1s", "bfdProfile": "gone"}));
    let (config, problems) = config(vec![bad, peer("good", "192.0.2.2")]);
    assert_eq!(config.peers.keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(
        summary(&problems),
        [
            "error BGPPeer bad: spec.vrf",
            "error BGPPeer bad: spec.holdTime",
            "error BGPPeer bad: spec.bfdProfile"
        ]
    );
}

#[rstest]
#[case::none("", "", 90, 30_000)]
#[case::hold_only("30s", "", 30, 10_000)]
#[case::keepalive_only("", "5s", 15, 5_000)]
#[case::both("30s", "20s", 30, 20_000)]
#[case::equal("3s", "3s", 3, 3_000)]
#[case::thirds("10s", "", 10, 3_333)]
#[case::minutes("1m30s", "", 90, 30_000)]
#[case::never("0s", "", 0, 0)]
#[case::never_both("0s", "0s", 0, 0)]
#[case::never_by_keepalive("", "0s", 0, 0)]
// As MetalLB stored peers that were written in its old version.
#[case::converted("30s", "0s", 30, 10_000)]
#[case::whole_seconds("3.9s", "3.5s", 3, 3_000)]
#[case::longest("65535s", "", 65535, 21_845_000)]
fn timers_as_given(#[case] hold: &str, #[case] keepalive: &str, #[case] s: u64, #[case] ms: u64) {
    let peer = good(json!({"holdTime": hold, "keepaliveTime": keepalive}));
    assert_eq!((peer.hold, peer.keepalive.as_millis()), (seconds(s), ms.into()));
}

#[rstest]
#[case("1s", "", "spec.holdTime")]
#[case("2.999s", "", "spec.holdTime")]
#[case("500ms", "", "spec.holdTime")]
#[case("65536s", "", "spec.holdTime")]
#[case("-3s", "", "spec.holdTime")]
#[case("90", "", "spec.holdTime")]
#[case("", "900ms", "spec.keepaliveTime")]
#[case("30s", "31s", "spec.keepaliveTime")]
#[case("30s", "999ms", "spec.keepaliveTime")]
#[case("0s", "1s", "spec.keepaliveTime")]
#[case("30s", "x", "spec.keepaliveTime")]
#[case("", "99999999h", "spec.keepaliveTime")]
fn timers_that_cannot_be(#[case] hold: &str, #[case] keepalive: &str, #[case] field: &str) {
    let object = peer_with("tor", "192.0.2.1", json!({"holdTime": hold, "keepaliveTime": keepalive}));
    let problems = read(object).expect_err("invalid");
    assert!(problems[0].starts_with(&format!("{field}: ")), "{problems:?}");
}

#[rstest]
#[case::dynamic(json!({"myASN": 1, "dynamicASN": "internal", "peerAddress": "192.0.2.1"}), RemoteAsn::Internal)]
#[case::external(json!({"myASN": 1, "peerASN": 0, "dynamicASN": "external", "peerAddress": "192.0.2.1"}), RemoteAsn::External)]
#[case::four_octets(json!({"myASN": 1, "peerASN": u32::MAX, "peerAddress": "192.0.2.1"}), RemoteAsn::Is(u32::MAX))]
fn remote_numbers(#[case] object: Value, #[case] expected: RemoteAsn) {
    assert_eq!(read(spec(object)).expect("valid").remote, expected);
}

#[rstest]
#[case("internal")]
fn an_internal_router_takes_neither_another_number_nor_ebgp_multihop(#[case] mode: &str) {
    let object = json!({"myASN": 1, "dynamicASN": mode, "localASN": 2, "ebgpMultiHop": true, "peerAddress": "192.0.2.1"});
    let problems = read(spec(object)).expect_err("invalid");
    assert!(
        problems[0].starts_with("spec.localASN") && problems[1].starts_with("spec.ebgpMultiHop"),
        "{problems:?}"
    );
}

#[rstest]
#[case::v4("192.0.2.1", json!({}), true, false)]
#[case::v6("2001:db8::1", json!({}), false, true)]
#[case::v4_both("192.0.2.1", json!({"dualStackAddressFamily": true}), true, true)]
#[case::v6_both("2001:db8::1", json!({"dualStackAddressFamily": true}), true, true)]
#[case::deprecated("192.0.2.1", json!({"disableMP": true}), true, false)]
#[case::mapped("::ffff:192.0.2.1", json!({}), true, false)]
fn families(#[case] address: &str, #[case] more: Value, #[case] v4: bool, #[case] v6: bool) {
    let peer = read(peer_with("tor", address, more)).expect("valid");
    assert_eq!((peer.carries(Family::V4), peer.carries(Family::V6)), (v4, v6));
}

#[test]
fn an_unnumbered_session_carries_both_families() {
    let peer = read(spec(json!({"myASN": 1, "peerASN": 2, "interface": "eth1"}))).expect("valid");
    assert_eq!((&peer.to, peer.families), (&PeerTo::Interface("eth1".into()), Families::Both));
    assert!(peer.carries(Family::V4) && peer.carries(Family::V6));
    let problems =
        read(spec(json!({"myASN": 1, "peerASN": 2, "interface": "eth1", "sourceAddress": "192.0.2.9"})))
            .expect_err("invalid");
    assert!(problems[0].starts_with("spec.sourceAddress"), "{problems:?}");
}

#[test]
fn port_0_of_old_manifests_is_the_default() {
    assert_eq!(good(json!({"peerPort": 0})).port, 179);
}

#[rstest]
#[case::sound(Some(PeerSecret::Password(Password::new(b"secret"))), None)]
#[case::wrong_type(Some(PeerSecret::WrongType("Opaque".into())), Some("make one of type kubernetes.io/basic-auth"))]
#[case::empty(Some(PeerSecret::NoPassword), Some("under the key password"))]
#[case::absent(None, Some("there is no Secret pw"))]
#[case::too_long(Some(PeerSecret::Password(Password::new(&[b'x'; 81]))), Some("81 octets"))]
fn passwords_out_of_secrets(#[case] secret: Option<PeerSecret>, #[case] says: Option<&str>) {
    let object = peer_with(
        "tor",
        "192.0.2.1",
        json!({"passwordSecret": {"name": "pw", "namespace": "metallb-system"}}),
    );
    let secrets: Vec<_> = secret.into_iter().map(|secret| ("pw", secret)).collect();
    let (config, problems) = config_with(vec![object], &secrets);
    match says {
        None => {
            assert_eq!(summary(&problems), Vec::<String>::new());
            assert_eq!(config.peers["tor"].password, Some(Password::new(b"secret")));
        }
        Some(says) => {
            assert!(config.peers.is_empty());
            assert_eq!(summary(&problems), ["error BGPPeer tor: spec.passwordSecret"]);
            assert!(problems[0].message.contains(says), "{}", problems[0]);
        }
    }
    assert!(!format!("{config:?} {problems:?}").contains("secret\""));
}

#[test]
fn secrets_of_other_namespaces_are_not_read() {
    let object =
        peer_with("tor", "192.0.2.1", json!({"passwordSecret": {"name": "pw", "namespace": "kube-system"}}));
    let secret = ("pw", PeerSecret::Password(Password::new(b"secret")));
    let (config, problems) = config_with(vec![object], &[secret]);
    assert!(config.peers.is_empty());
    assert_eq!(summary(&problems), ["error BGPPeer tor: spec.passwordSecret.namespace"]);
}

#[test]
fn who_reads_no_secrets_does_not_judge_them() {
    let object = peer_with("tor", "192.0.2.1", json!({"passwordSecret": {"name": "pw"}}));
    let objects = OwnObjects { objects: vec![object], ..OwnObjects::default() };
    let (config, problems) = super::super::BgpConfig::without_secrets(&objects);
    assert_eq!(problems, []);
    assert_eq!(config.peers["tor"].password, None);
}

#[rstest]
#[case::plain("192.0.2.1", json!({}), true, None)]
#[case::graceful_restart("192.0.2.1", json!({"enableGracefulRestart": true}), true, Some("spec.enableGracefulRestart"))]
#[case::v6("2001:db8::1", json!({}), false, Some("spec.bfdProfile"))]
#[case::several_hops("192.0.2.1", json!({"ebgpMultiHop": true}), false, Some("spec.bfdProfile"))]
fn bfd_with_echo(
    #[case] address: &str,
    #[case] mut more: Value,
    #[case] echo: bool,
    #[case] warning: Option<&str>,
) {
    more["bfdProfile"] = "fast".into();
    let profile = own("BFDProfile", "fast", json!({"echoMode": true, "receiveInterval": 50}));
    let (config, problems) = config(vec![peer_with("tor", address, more), profile]);
    let bfd = config.peers["tor"].bfd.clone().expect("settings");
    assert_eq!((bfd.receive, bfd.echo.is_some()), (Duration::from_millis(50), echo));
    let found: Vec<_> = problems.iter().map(|p| (p.severity, p.field.as_str())).collect();
    let expected: Vec<_> = warning.into_iter().map(|field| (Severity::Warning, field)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_bad_profile_is_the_peers_fault_too() {
    let profile = own("BFDProfile", "fast", json!({"receiveInterval": 1}));
    let (config, problems) =
        config(vec![peer_with("tor", "192.0.2.1", json!({"bfdProfile": "fast"})), profile]);
    assert!(config.peers.is_empty());
    assert_eq!(
        summary(&problems),
        ["error BFDProfile fast: spec.receiveInterval", "error BGPPeer tor: spec.bfdProfile"]
    );
}

#[rstest]
#[case("passive", "yes", "metadata.annotations[causeway.io/passive]")]
#[case("ttl-security", "0", "metadata.annotations[causeway.io/ttl-security]")]
#[case("ttl-security", "255", "metadata.annotations[causeway.io/ttl-security]")]
fn bad_annotations(#[case] name: &str, #[case] value: &str, #[case] field: &str) {
    let problems = read(with(peer("tor", "192.0.2.1"), name, value)).expect_err("invalid");
    assert!(problems[0].starts_with(field), "{problems:?}");
}

#[test]
fn ttl_security_excludes_ebgp_multihop() {
    assert_eq!(
        read(with(peer("tor", "192.0.2.1"), "ttl-security", "1")).expect("valid").ttl_security,
        Some(1)
    );
    let object = peer_with("tor", "192.0.2.1", json!({"ebgpMultiHop": true}));
    let problems = read(with(object, "ttl-security", "3")).expect_err("invalid");
    assert!(problems[0].contains("remove ebgpMultiHop"), "{problems:?}");
}

#[test]
fn a_misspelt_annotation_is_said() {
    let (config, problems) = config(vec![with(peer("tor", "192.0.2.1"), "pasive", "true")]);
    assert_eq!(summary(&problems), ["warning BGPPeer tor: metadata.annotations[causeway.io/pasive]"]);
    assert!(!config.peers["tor"].passive);
}

#[test]
fn of_peers_with_one_router_the_oldest_is_spoken_with() {
    let (config, _) = config(vec![
        aged(peer("a", "192.0.2.1"), 2),
        aged(peer("b", "192.0.2.1"), 1),
        aged(peer_with("c", "192.0.2.1", json!({"nodeSelectors": [{"matchLabels": {"rack": "x"}}]})), 0),
        peer("d", "192.0.2.2"),
    ]);
    let of =
        |text| config.peers_of(&labels(text)).into_iter().map(|peer| peer.name.clone()).collect::<Vec<_>>();
    assert_eq!(of(""), ["b", "d"]);
    assert_eq!(of("rack=x"), ["c", "d"]);
}
