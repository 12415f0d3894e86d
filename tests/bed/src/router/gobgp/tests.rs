use super::*;
use crate::router::config::{Bfd, RouterConfig};
use crate::router::example::{address, plain, prefix, route};

const EVERYTHING: &str = r#"[global.config]
as = 64512
router-id = "10.77.0.254"
port = 179
[[neighbors]]
[neighbors.config]
neighbor-address = "10.77.0.11"
peer-as = 64601
auth-password = "abc"
[neighbors.timers.config]
hold-time = 9
keepalive-interval = 3
connect-retry = 1
idle-hold-time-after-reset = 1
[neighbors.transport.config]
passive-mode = false
local-address = "10.77.0.254"
[neighbors.graceful-restart.config]
enabled = true
restart-time = 120
helper-only = true
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
[[peer-groups]]
[peer-groups.config]
peer-group-name = "10.77.0.0/16"
peer-as = 64512
[peer-groups.timers.config]
hold-time = 9
keepalive-interval = 3
connect-retry = 1
idle-hold-time-after-reset = 1
[peer-groups.transport.config]
passive-mode = false
[peer-groups.ttl-security.config]
enabled = true
ttl-min = 254
[[peer-groups.afi-safis]]
[peer-groups.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[peer-groups.afi-safis.mp-graceful-restart.config]
enabled = false
[[dynamic-neighbors]]
[dynamic-neighbors.config]
prefix = "10.77.0.0/16"
peer-group = "10.77.0.0/16"
"#;

#[test]
fn everything_is_rendered() {
    let mut config = plain();
    config.neighbours.pop();
    let range = Neighbour::range(prefix("10.77.0.0/16"), RemoteAsn::Internal)
        .ttl_security(2)
        .families(crate::router::Families::V4)
        .graceful_restart(GracefulRestart::Off);
    assert_eq!(render(&config.neighbour(range)).expect("a configuration"), EVERYTHING);
}

#[test]
fn what_gobgp_cannot_do_is_refused() {
    let refusals = [
        (plain().every(|n| n.bfd(Bfd::default())), "no BFD"),
        (RouterConfig::top_of_rack(64512), "number of a neighbour's AS"),
        (
            plain().neighbour(Neighbour::range(prefix("10.77.0.0/16"), RemoteAsn::Is(1)).password("abc")),
            "no password",
        ),
    ];
    for (config, reason) in refusals {
        let error = render(&config).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(announcement(&route(), 64512, true).is_err(), "a link bandwidth");
}

#[test]
fn an_announcement_is_a_command() {
    let route = Advertised { bandwidth: None, ..route() };
    let words = announcement(&route, 64512, true).expect("words").join(" ");
    assert_eq!(
        words,
        "global rib -a ipv4 add 203.0.113.0/24 origin igp nexthop 10.77.0.99 med 7 local-pref 200 aspath 64512,64512 \
         community 64512:1,65535:0 large-community 64512:1:2"
    );
    let words = announcement(&prefix("2001:db8::/64").into(), 64512, false).expect("words").join(" ");
    assert_eq!(words, "global rib -a ipv6 del 2001:db8::/64");
}

/// As GoBGP 3.10 answers, shortened.
const NEIGHBOURS: &str = r#"[{"conf":{"local_asn":64513,"neighbor_address":"10.77.0.254","peer_asn":64512,"type":1},
  "state":{"neighbor_address":"10.77.0.254","peer_asn":64512,"session_state":6,"router_id":"10.77.0.254"},
  "timers":{"state":{"keepalive_interval":3,"negotiated_hold_time":9,"uptime":{"seconds":1795829108}}}},
 {"conf":{"local_asn":64513,"neighbor_interface":"up0","peer_asn":64512},
  "state":{"neighbor_address":"fe80::1%up0","peer_asn":64512,"session_state":3},"timers":{"state":{}}}]"#;

const NEIGHBOUR: &str = "\
BGP neighbor is 10.77.0.254, remote AS 64512
  BGP state = ESTABLISHED, up for 00:00:07
  Neighbor capabilities:
    multiprotocol:
        ipv4-unicast:	advertised and received
        ipv6-unicast:	advertised
    route-refresh:	advertised and received
    extended-nexthop:	advertised
        Local:  nlri: ipv4-unicast, nexthop: ipv6
    graceful-restart:	received
        Remote: restart time 120 sec, restart flag set, notification flag set
	    ipv4-unicast, forward flag set
	    ipv6-unicast
    4-octet-as:	advertised and received
    fqdn:	advertised and received
      Local:
         name: vm, domain: 
  Message statistics:
                         Sent       Rcvd
    Opens:                  4          1
";

const LOG: &str = r#"
{"Code":6,"Communicated-Reason":"maintenance is now","Data":"","Key":"10.77.0.254","Subcode":2,"Topic":"Peer","level":"warning","msg":"received notification"}
{"Key":"10.77.0.254","Reason":"notification-received code 6(cease) subcode 2(administrative shutdown)","Topic":"Peer","msg":"Peer Down"}
{"Code":4,"Communicated-Reason":"","Data":null,"Key":"fe80::1","State":"BGP_FSM_ESTABLISHED","Subcode":0,"Topic":"Peer","msg":"sent notification"}
"#;

#[test]
fn sessions_are_read() {
    assert_eq!(peers(NEIGHBOURS).expect("peers"), ["10.77.0.254", "up0"]);
    let texts = BTreeMap::from([("10.77.0.254".to_owned(), NEIGHBOUR.to_owned())]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_829_118);
    let sessions = sessions(NEIGHBOURS, &texts, LOG, now).expect("sessions");
    let session = &sessions[0];
    assert_eq!((session.state, session.remote_asn, session.hold), (State::Established, 64512, Some(9)));
    assert_eq!(session.up_for, Some(Duration::from_secs(10)));
    let offers = &session.offers;
    assert_eq!(offers.families, [Family::V4].into());
    assert!(offers.route_refresh && offers.four_octet_asn && !offers.extended_next_hop);
    let restart = offers.graceful_restart.as_ref().expect("graceful restart");
    assert_eq!((restart.time, restart.restarted), (120, true));
    assert_eq!(restart.families, BTreeMap::from([(Family::V4, true), (Family::V6, false)]));
    let end = session.end.as_ref().expect("an end");
    assert_eq!((end.code, end.subcode, end.text.as_str()), (6, 2, "maintenance is now"));

    let other = &sessions[1];
    assert_eq!((other.peer.as_str(), other.state), ("up0", State::Active));
    assert_eq!(other.address, Some(address("fe80::1")));
    assert!(other.end.as_ref().is_some_and(|end| end.code == 4 && !end.received), "{other:?}");
}

/// As GoBGP 3.10 answers.
const ROUTES: &str = r#"{"203.0.113.0/24":[{"nlri":{"prefix":"203.0.113.0/24"},"age":1795829109,"best":true,"attrs":[{"type":1,"value":0},
  {"type":2,"as_paths":[{"segment_type":2,"num":3,"asns":[64512,64512,64512]}]},{"type":3,"nexthop":"10.77.0.254"},{"type":4,"metric":7},
  {"type":5,"value":200},{"type":8,"communities":[4227858433,4294901760]},{"type":32,"value":[{"ASN":64512,"LocalData1":1,"LocalData2":2}]},
  {"type":16,"value":[{"type":64,"subtype":4,"asn":64512,"bandwidth":12500000}]}],"stale":true,"neighbor-ip":"10.77.0.254"}]}"#;

#[test]
fn routes_are_read() {
    let table = routes(ROUTES).expect("routes");
    let expected = Path {
        from: Some(address("10.77.0.254")),
        next_hop: Some(address("10.77.0.254")),
        as_path: vec![64512; 3],
        local_pref: Some(200),
        med: Some(7),
        communities: [(64512, 1), (65535, 0)].into(),
        large: [[64512, 1, 2]].into(),
        bandwidth: Some(12_500_000),
        used: true,
        stale: true,
    };
    assert_eq!(table[&prefix("203.0.113.0/24")], [expected]);
    assert!(routes("Network not in table\n").expect("no routes").is_empty());
}
