use super::*;
use crate::router::example::{address, plain, prefix, route};

const EVERYTHING: &str = r#"log stderr all;
router id 10.77.0.254;
protocol device { scan time 1; }
protocol bfd { }
protocol kernel kernel4 { ipv4 { import none; export where source = RTS_BGP; }; merge paths on limit 64; }
protocol static own4 { ipv4;
  route 203.0.113.0/24 blackhole;
}
protocol kernel kernel6 { ipv6 { import none; export where source = RTS_BGP; }; merge paths on limit 64; }
protocol static own6 { ipv6;
  route 2001:db8:7::/64 blackhole;
}
filter announced {
  if source = RTS_STATIC && net = 203.0.113.0/24 then { bgp_next_hop = 10.77.0.99; bgp_path.prepend(64512); bgp_path.prepend(64512); bgp_local_pref = 200; bgp_med = 7; bgp_community.add((64512,1)); bgp_community.add((65535,0)); bgp_large_community.add((64512,1,2)); bgp_ext_community.add((generic, 0x4fc00, 0x4b3ebc20)); }
  if source ~ [ RTS_STATIC, RTS_BGP ] then accept;
  reject;
}
protocol bgp peer1 {
  local 10.77.0.254 port 179 as 64512;
  neighbor 10.77.0.11 as 64601;
  direct;
  hold time 9; keepalive time 3;
  connect delay time 1; connect retry time 1; error wait time 1,2;
  password "abc";
  graceful restart aware;
  ipv4 { import all; export filter announced; };
  ipv6 { import all; export filter announced; };
}
protocol bgp peer2 {
  local fd77::254 port 179 as 64512;
  neighbor fd77::12 as 64602;
  direct;
  hold time 9; keepalive time 3;
  connect delay time 1; connect retry time 1; error wait time 1,2;
  passive on;
  graceful restart off;
  ipv6 { import all; export filter announced; };
}
protocol bgp peer3 {
  local port 179 as 64512;
  neighbor range fe80::/10 internal; interface "to-node1";
  direct;
  ttl security on;
  hold time 9; keepalive time 3;
  connect delay time 1; connect retry time 1; error wait time 1,2;
  graceful restart aware;
  bfd { min rx interval 300 ms; min tx interval 300 ms; idle tx interval 1000 ms; multiplier 3; passive; };
  ipv4 { import all; export filter announced; extended next hop on; };
  ipv6 { import all; export filter announced; };
}
protocol bgp peer4 {
  local port 179 as 64512;
  neighbor range 10.77.0.0/16 external;
  multihop 3;
  hold time 9; keepalive time 3;
  connect delay time 1; connect retry time 1; error wait time 1,2;
  graceful restart aware;
  ipv4 { import all; export filter announced; };
  ipv6 { import all; export filter announced; };
}
"#;

#[test]
fn everything_is_rendered() {
    let passive = Bfd { passive: true, ..Bfd::default() };
    let config = plain()
        .neighbour(Neighbour::behind("to-node1", RemoteAsn::Internal).ttl_security(1).bfd(passive))
        .neighbour(Neighbour::range(prefix("10.77.0.0/16"), RemoteAsn::External).multihop(3))
        .advertise(route());
    assert_eq!(render(&config).expect("a configuration"), EVERYTHING);
}

#[test]
fn what_bird_cannot_do_is_refused() {
    let refusals = [
        (plain().every(|n| n.bfd(Bfd { echo: Some(50), ..Bfd::default() })), "no echo"),
        (plain().every(|n| n.bfd(Bfd { minimum_ttl: Some(250), ..Bfd::default() })), "minimum TTL"),
        (plain().every(|n| n.password("a\"b")), "quote"),
        (plain().every(|n| n.multihop(2).ttl_security(2)), "one of them"),
    ];
    for (config, reason) in refusals {
        let error = render(&config).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// As BIRD 2.0 answers, shortened.
const PROTOCOLS: &str = "\
BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     01:24:59.648
peer1      BGP        ---        up     01:25:01.852  Established
  BGP state:          Established
    Neighbor address: 10.77.0.254
    Neighbor AS:      64512
    Local AS:         64515
    Neighbor ID:      10.77.0.254
    Local capabilities
      Multiprotocol
        AF announced: ipv4 ipv6
      Extended next hop
        IPv6 nexthop: ipv4
    Neighbor capabilities
      Multiprotocol
        AF announced: ipv4
      Route refresh
      Graceful restart
        Restart time: 120
        Restart recovery
        AF supported: ipv4 ipv6
        AF preserved: ipv6
      4-octet AS numbers
      Hostname: r
    Session:          external AS4
    Hold timer:       6.368/9
  Channel ipv4
    State:          UP
peer2      BGP        ---        start  01:25:01.852  Active        Socket: Connection refused
  BGP state:          Active
    Neighbor address: fe80::1%eth0
    Neighbor AS:      64513
    Local AS:         64515
    Neighbor graceful restart active
peer3      BGP        ---        start  01:25:01.852  Passive
  BGP state:          Passive
    Neighbor range:   10.77.0.0/16
";

const LOG: &str = "\
2026-11-28 01:34:23.439 <RMT> peer1: Received: Hold timer expired
2026-11-28 01:34:23.439 <RMT> peer1: Received: Administrative shutdown: \"maintenance is now\"
2026-11-28 01:34:23.707 <RMT> bfd1: Bad packet from 10.77.0.254 - unknown session id (2066082247)
2026-11-28 01:34:23.440 <RMT> peer2: Error: Bad peer AS: 64513
";

#[test]
fn sessions_are_read() {
    let bfd = bfd(
        "BIRD 2.0.12 ready.\nbfd1:\nIP address                Interface  State      Since         Interval  Timeout\n\
                   10.77.0.254               eth0       Up         01:25:01.159    0.300    0.900\n",
    );
    assert_eq!((bfd[0].transmit, bfd[0].detection), (Duration::from_millis(300), Duration::from_millis(900)));
    let sessions = sessions(PROTOCOLS, &bfd, LOG);
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    let session = &sessions[0];
    assert_eq!((session.state, session.remote_asn, session.hold), (State::Established, 64512, Some(9)));
    assert_eq!(session.bfd, Some(true));
    let offers = &session.offers;
    assert_eq!(offers.families, [Family::V4].into());
    assert!(offers.route_refresh && offers.four_octet_asn && !offers.extended_next_hop);
    let restart = offers.graceful_restart.as_ref().expect("graceful restart");
    assert_eq!((restart.time, restart.restarted), (120, true));
    assert_eq!(restart.families, BTreeMap::from([(Family::V4, false), (Family::V6, true)]));
    let end = session.end.as_ref().expect("an end");
    assert_eq!((end.code, end.subcode, end.text.as_str()), (6, 2, "maintenance is now"));

    let other = &sessions[1];
    assert_eq!((other.peer.as_str(), other.address), ("fe80::1%eth0", Some(address("fe80::1"))));
    let end = other.end.as_ref().expect("an end");
    assert_eq!((end.code, end.subcode, end.received), (2, 2, false));
    assert_eq!(protocol(PROTOCOLS, address("10.77.0.254")), Some("peer1"));
    assert_eq!(protocol(PROTOCOLS, address("10.77.0.1")), None);
}

/// As BIRD 2.0 answers, shortened.
const ROUTES: &str = "\
BIRD 2.0.12 ready.
Table master4:
192.0.2.1/32         blackhole [own4 01:24:59.648] * (200)
\tType: static univ
192.0.2.2/32         unicast [peer1 01:25:02.952] * (100) [AS64512i]
\tvia 10.77.0.254 on eth0
\tType: BGP univ
\tBGP.origin: IGP
\tBGP.as_path: 64512 64512 64512
\tBGP.next_hop: 10.77.0.254
\tBGP.med: 7
\tBGP.local_pref: 100
\tBGP.community: (64512,1) (64512,2)
\tBGP.ext_community: (rt, 1, 2) (unknown 0x4, 64512, 1262402592)
\tBGP.large_community: (64512, 1, 2) (64512, 3, 4)
                     unicast [peer2 01:25:02.952] (100) [AS64513i]
\tvia 10.77.0.13 on eth0
\tType: BGP univ
\tBGP.next_hop: 10.77.0.13

Table master6:
2001:db8:192::1/128  unicast [peer1 01:25:02.952 from 10.77.0.254] * (100) [AS64514i]
\tvia fd77::254 on eth0
\tType: BGP univ
\tBGP.next_hop: fd77::254 fe80::9c2b:50ff:fea2:40c
";

#[test]
fn routes_are_read() {
    let table = routes(ROUTES, PROTOCOLS).expect("routes");
    let own = &table[&prefix("192.0.2.1/32")][0];
    assert_eq!((own.from, own.next_hop, own.used), (None, None, true));
    let paths = &table[&prefix("192.0.2.2/32")];
    let expected = Path {
        from: Some(address("10.77.0.254")),
        next_hop: Some(address("10.77.0.254")),
        as_path: vec![64512; 3],
        local_pref: Some(100),
        med: Some(7),
        communities: [(64512, 1), (64512, 2)].into(),
        large: [[64512, 1, 2], [64512, 3, 4]].into(),
        bandwidth: Some(12_500_000),
        used: true,
        stale: false,
    };
    assert_eq!(paths[0], expected);
    assert_eq!(
        (paths[1].next_hop, paths[1].used, paths[1].stale),
        (Some(address("10.77.0.13")), false, true)
    );
    let v6 = &table[&prefix("2001:db8:192::1/128")][0];
    assert_eq!((v6.from, v6.next_hop), (Some(address("10.77.0.254")), Some(address("fd77::254"))));
}
