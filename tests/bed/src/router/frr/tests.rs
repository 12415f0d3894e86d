use super::*;
use crate::router::example::{address, plain, prefix, route};

/// Every kind of neighbour, and a route that says all it can.
fn everything() -> RouterConfig {
    let bfd = Bfd { echo: Some(50), passive: true, minimum_ttl: Some(250), ..Bfd::every(100) };
    plain()
        .neighbour(Neighbour::range(prefix("10.77.0.0/16"), RemoteAsn::External).bfd(bfd))
        .neighbour(Neighbour::behind("to-node1", RemoteAsn::Internal).ttl_security(1))
        .neighbour(Neighbour::at(address("198.51.100.9"), 64700).multihop(3))
        .advertise(route())
}

const EVERYTHING: &str = "\
ip nht resolve-via-default
ipv6 nht resolve-via-default
bfd
 profile bfd-in-10-77-0-0-16
  detect-multiplier 3
  receive-interval 100
  transmit-interval 100
  echo transmit-interval 50
  echo receive-interval 50
  echo-mode
  passive-mode
  minimum-ttl 250
 exit
exit
route-map to-203-0-113-0-24 permit 10
 set ip next-hop 10.77.0.99
 set community 64512:1 65535:0
 set large-community 64512:1:2
 set local-preference 200
 set metric 7
 set extcommunity bandwidth 100
 set as-path prepend 64512 64512
exit
router bgp 64512
 bgp router-id 10.77.0.254
 bgp log-neighbor-changes
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp bestpath as-path multipath-relax
 neighbor 10.77.0.11 remote-as 64601
 neighbor 10.77.0.11 timers 3 9
 neighbor 10.77.0.11 timers connect 1
 neighbor 10.77.0.11 update-source 10.77.0.254
 neighbor 10.77.0.11 password abc
 neighbor fd77::12 remote-as 64602
 neighbor fd77::12 timers 3 9
 neighbor fd77::12 timers connect 1
 neighbor fd77::12 update-source fd77::254
 neighbor fd77::12 passive
 neighbor fd77::12 graceful-restart-disable
 neighbor in-10-77-0-0-16 peer-group
 neighbor in-10-77-0-0-16 remote-as external
 neighbor in-10-77-0-0-16 timers 3 9
 neighbor in-10-77-0-0-16 timers connect 1
 neighbor in-10-77-0-0-16 bfd
 neighbor in-10-77-0-0-16 bfd profile bfd-in-10-77-0-0-16
 bgp listen range 10.77.0.0/16 peer-group in-10-77-0-0-16
 neighbor to-node1 interface remote-as internal
 neighbor to-node1 timers 3 9
 neighbor to-node1 timers connect 1
 neighbor to-node1 ttl-security hops 1
 neighbor to-node1 capability extended-nexthop
 neighbor 198.51.100.9 remote-as 64700
 neighbor 198.51.100.9 timers 3 9
 neighbor 198.51.100.9 timers connect 1
 neighbor 198.51.100.9 ebgp-multihop 3
exit
router bgp 64512
 address-family ipv4 unicast
  maximum-paths 64
  maximum-paths ibgp 64
  neighbor 10.77.0.11 activate
  neighbor in-10-77-0-0-16 activate
  neighbor to-node1 activate
  neighbor 198.51.100.9 activate
  network 203.0.113.0/24 route-map to-203-0-113-0-24
 exit
exit
router bgp 64512
 address-family ipv6 unicast
  maximum-paths 64
  maximum-paths ibgp 64
  neighbor 10.77.0.11 activate
  neighbor fd77::12 activate
  neighbor in-10-77-0-0-16 activate
  neighbor to-node1 activate
  neighbor 198.51.100.9 activate
  network 2001:db8:7::/64
 exit
exit
";

#[test]
fn everything_is_rendered() {
    assert_eq!(render(&everything()).expect("a configuration"), EVERYTHING);
}

#[test]
fn what_frr_cannot_do_is_refused() {
    let both = plain().every(|neighbour| neighbour.multihop(2).ttl_security(2));
    assert!(render(&both).expect_err("both").to_string().contains("not both"));
    let mut odd = route();
    odd.bandwidth = Some(12_500_001);
    assert!(render(&plain().advertise(odd)).expect_err("odd").to_string().contains("megabits"));
    let other = RouterConfig { asn: 64513, ..plain() };
    assert!(change(&plain(), &other).expect_err("another AS").to_string().contains("started anew"));
}

#[test]
fn no_change_is_no_command() {
    assert_eq!(change(&everything(), &everything()).expect("a change"), "");
}

#[test]
fn a_change_undoes_what_is_gone_and_says_what_is_new() {
    let old = plain().advertise(route());
    let mut new = plain();
    new.neighbours[0].password = None;
    new.neighbours[0].timers.hold = 30;
    new.neighbours[0].bfd = Some(Bfd::every(50));
    new.neighbours[1].families = crate::router::Families::Both;
    new.advertise = vec![prefix("203.0.113.0/24").into()];
    let expected = "\
router bgp 64512
 address-family ipv6 unicast
  no network 2001:db8:7::/64
 exit
exit
router bgp 64512
 no neighbor 10.77.0.11 password abc
exit
no route-map to-203-0-113-0-24 permit 10
bfd
 profile bfd-10-77-0-11
  detect-multiplier 3
  receive-interval 50
  transmit-interval 50
 exit
exit
router bgp 64512
 neighbor 10.77.0.11 timers 3 30
 neighbor 10.77.0.11 bfd
 neighbor 10.77.0.11 bfd profile bfd-10-77-0-11
exit
router bgp 64512
 address-family ipv4 unicast
  neighbor fd77::12 activate
  network 203.0.113.0/24
 exit
exit
";
    assert_eq!(change(&old, &new).expect("a change"), expected);
}

#[test]
fn a_neighbour_of_another_as_is_another_neighbour() {
    let mut new = plain();
    new.neighbours.remove(0);
    new.neighbours[0].remote = RemoteAsn::External;
    let text = change(&plain(), &new).expect("a change");
    assert!(
        text.starts_with("router bgp 64512\n no neighbor 10.77.0.11\n no neighbor fd77::12\nexit\n"),
        "{text}"
    );
    assert!(
        text.contains("\n neighbor fd77::12 remote-as external\n neighbor fd77::12 timers 3 9\n"),
        "{text}"
    );
    assert!(text.contains("\n  neighbor fd77::12 activate\n"), "{text}");
    let range =
        plain().neighbour(Neighbour::range(prefix("10.77.0.0/16"), RemoteAsn::External).bfd(Bfd::default()));
    let text = change(&range, &plain()).expect("a change");
    assert_eq!(
        text,
        "router bgp 64512\n no bgp listen range 10.77.0.0/16 peer-group in-10-77-0-0-16\n \
         no neighbor in-10-77-0-0-16 peer-group\nexit\nbfd\n no profile bfd-in-10-77-0-0-16\nexit\n"
    );
}

/// As FRR 8.4 answers, shortened.
const NEIGHBOURS: &str = r#"{
  "10.77.0.12":{"remoteAs":64514,"remoteRouterId":"10.77.0.12","bgpState":"Established","bgpTimerUpMsec":28000,
    "bgpTimerHoldTimeMsecs":9000,
    "neighborCapabilities":{"4byteAs":"advertisedAndReceived","extendedMessage":"advertised",
      "routeRefresh":"advertisedAndReceivedNew","extendedNexthop":"advertisedAndReceived",
      "multiprotocolExtensions":{"ipv4Unicast":{"advertisedAndReceived":true},"ipv6Unicast":{"advertised":true}},
      "gracefulRestart":"advertisedAndReceived","gracefulRestartRemoteTimerMsecs":60000,
      "addressFamiliesByPeer":{"ipv4Unicast":{"preserved":true},"ipv6Unicast":{}}},
    "gracefulRestartInfo":{"localGrMode":"Helper*","remoteGrMode":"Restart","rBit":true},
    "peerBfdInfo":{"type":"single hop","status":"Up"}},
  "to-node1":{"remoteAs":0,"bgpState":"Idle","remoteRouterId":"0.0.0.0","bgpTimerHoldTimeMsecs":9000,
    "lastResetDueTo":"Waiting for Peer IPv6 LLA","hostForeign":"Unknown"}
}"#;

const LOG: &str = r#"
2026/11/28 01:35:09 BGP: [N9HHH-F8H1M] %ADJCHANGE: neighbor 10.77.0.12(Unknown) in vrf default Up
2026/11/28 01:34:29 BGP: [H7QV4-WR3ZD] %NOTIFICATION: received from neighbor 10.77.0.12 6/2 (Cease/Administrative Shutdown) "bye now"
2026/11/28 01:34:29 BGP: [PXVXG-TFNNT] %ADJCHANGE: neighbor 10.77.0.12(Unknown) in vrf default Down BGP Notification received
2026/11/28 01:35:09 BGP: [N9HHH-F8H1M] %ADJCHANGE: neighbor 10.77.0.12(Unknown) in vrf default Up
2026/11/28 02:23:53 BGP: [HZN6M-XRM1G] %NOTIFICATION(Hard Reset): received from neighbor 198.51.100.9 6/3 (Cease/Peer De-configured) 0 bytes 
2026/11/28 02:23:53 BGP: [HZN6M-XRM1G] %NOTIFICATION: sent to neighbor fd77::12 4/0 (Hold Timer Expired) 0 bytes 
"#;

#[test]
fn sessions_are_read() {
    let sessions = sessions(NEIGHBOURS, LOG).expect("sessions");
    let session = &sessions[0];
    assert_eq!((session.peer.as_str(), session.address), ("10.77.0.12", Some(address("10.77.0.12"))));
    assert_eq!((session.state, session.remote_asn, session.hold), (State::Established, 64514, Some(9)));
    assert_eq!(session.up_for, Some(Duration::from_secs(28)));
    assert_eq!(session.established, Some(2));
    assert_eq!(session.bfd, Some(true));
    let end = session.end.as_ref().expect("an end");
    assert_eq!((end.code, end.subcode, end.received, end.text.as_str()), (6, 2, true, "bye now"));
    let offers = &session.offers;
    assert_eq!(offers.families, BTreeSet::from([Family::V4]));
    assert!(offers.four_octet_asn && offers.route_refresh && offers.extended_next_hop);
    let restart = offers.graceful_restart.as_ref().expect("graceful restart");
    assert_eq!((restart.time, restart.restarted), (60, true));
    assert_eq!(restart.families, BTreeMap::from([(Family::V4, true), (Family::V6, false)]));

    let waiting = &sessions[1];
    assert_eq!((waiting.peer.as_str(), waiting.address, waiting.state), ("to-node1", None, State::Idle));
    assert_eq!((waiting.remote_id, waiting.hold, waiting.established), (None, None, Some(0)));
}

#[test]
fn the_log_tells_of_hard_resets_and_of_what_was_sent() {
    let past = past(LOG);
    let end = |peer: &str| past[peer].end.clone().expect("an end");
    let notification =
        |code, subcode, received| Notification { code, subcode, received, text: String::new() };
    assert_eq!(end("198.51.100.9"), notification(6, 3, true));
    assert_eq!(end("fd77::12"), notification(4, 0, false));
}

/// As FRR 8.4 answers, shortened: the first entry of each list is no path.
const ROUTES: &str = r#"{"vrfId": 0, "routes": { "192.0.2.1/32": [{"prefix":"192.0.2.1/32","version":3},
  {"aspath":{"string":"64515","segments":[{"type":"as-sequence","list":[64515]}],"length":1},"origin":"IGP","valid":true,
   "bestpath":{"bestpathFromAs":64515},"nexthops":[{"ip":"10.77.0.13","afi":"ipv4","used":true}],"peer":{"peerId":"10.77.0.13"}},
  {"aspath":{"string":"64514 64514","segments":[{"type":"as-sequence","list":[64514,64514]}],"length":2},"stale":true,"origin":"IGP",
   "metric":50,"locPrf":0,"valid":true,"bestpath":{"bestpathFromAs":64514,"overall":true,"selectionReason":"First path received"},
   "community":{"string":"64514:10 no-export graceful-shutdown","list":["64514:10","noExport","gracefulShutdown"]},
   "extendedCommunity":{"string":"LB:64514:125000000 (1.000 Gbps)"},"largeCommunity":{"string":"64514:1:2","list":["64514:1:2"]},
   "nexthops":[{"ip":"10.77.0.12","afi":"ipv4","used":true}],"peer":{"peerId":"10.77.0.12"}}]
,"2001:db8::/64": {"prefix":"2001:db8::/64","paths":[{"aspath":{"string":"","segments":[]},"multipath":true,
   "nexthops":[{"ip":"fe80::1","afi":"ipv6","scope":"link-local","used":true},{"ip":"fd77::12","afi":"ipv6","scope":"global"}],
   "peer":{"peerId":"fd77::12"}}]}
,"203.0.113.0/24": [{"prefix":"203.0.113.0/24"},{"aspath":{"string":"","segments":[]},"sourced":true,
   "bestpath":{"overall":true},"nexthops":[{"ip":"0.0.0.0","afi":"ipv4"}],"peer":{"peerId":"0.0.0.0"}}]
}}"#;

#[test]
fn routes_are_read_the_best_path_first() {
    let table = routes(ROUTES).expect("routes");
    let paths = &table[&prefix("192.0.2.1/32")];
    let expected = Path {
        from: Some(address("10.77.0.12")),
        next_hop: Some(address("10.77.0.12")),
        as_path: vec![64514, 64514],
        local_pref: Some(0),
        med: Some(50),
        communities: [(64514, 10), (65535, 65281), (65535, 0)].into(),
        large: [[64514, 1, 2]].into(),
        bandwidth: Some(125_000_000),
        used: true,
        stale: true,
    };
    assert_eq!(paths[0], expected);
    assert_eq!((paths[1].used, paths[1].med), (false, None));
    let v6 = &table[&prefix("2001:db8::/64")][0];
    assert_eq!((v6.next_hop, v6.used), (Some(address("fd77::12")), true));
    let own = &table[&prefix("203.0.113.0/24")][0];
    assert_eq!((own.from, own.next_hop, own.used), (None, None, true));
}

#[test]
fn one_route_is_read_and_none() {
    let text = r#"{"prefix":"192.0.2.1/32","paths":[{"nexthops":[{"ip":"10.77.0.13"}],"peer":{"peerId":"10.77.0.13"}}]}"#;
    assert_eq!(paths(text).expect("a path").len(), 1);
    assert_eq!(paths("{}").expect("no path"), []);
}

#[test]
fn bfd_sessions_are_read() {
    let text = r#"[{"multihop":false,"peer":"10.77.0.13","status":"up","diagnostic":"ok","receive-interval":300,
        "transmit-interval":300,"detect-multiplier":3,"remote-receive-interval":50,"remote-transmit-interval":400,
        "remote-detect-multiplier":5}]"#;
    let session = &bfd(text).expect("sessions")[0];
    assert_eq!((session.address, session.up, session.multihop), (address("10.77.0.13"), true, false));
    assert_eq!(session.transmit, Duration::from_millis(300));
    assert_eq!(session.detection, Duration::from_millis(2000));
}
