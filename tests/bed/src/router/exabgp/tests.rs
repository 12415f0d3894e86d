use super::*;
use crate::router::config::Bfd;
use crate::router::example::{address, plain, prefix, route};

const EVERYTHING: &str = "\
process log {
  run /run/bed/routers/node1/helper;
  encoder json;
}
neighbor 10.77.0.11 {
  router-id 10.77.0.254;
  local-address 10.77.0.254;
  local-as 64512;
  peer-as 64601;
  hold-time 9;
  md5-password \"abc\";
  family { ipv4 unicast; }
  capability { graceful-restart 120; route-refresh enable; nexthop enable; }
  nexthop { ipv4 unicast ipv6; }
  api { processes [ log ]; neighbor-changes; receive { packets; parsed; open; update; notification; refresh; } }
  static {
    route 203.0.113.0/24 next-hop 10.77.0.99 as-path [ 64512 64512 64512 ] med 7 local-preference 200 community [ 64512:1 65535:0 ] large-community [ 64512:1:2 ] extended-community [ bandwidth:64512:12500000 ];
  }
}
neighbor fd77::12 {
  router-id 10.77.0.254;
  local-address fd77::254;
  local-as 64512;
  peer-as 64602;
  hold-time 9;
  passive true;
  listen 179;
  outgoing-ttl 255;
  incoming-ttl 255;
  family { ipv6 unicast; }
  capability { route-refresh enable; }
  api { processes [ log ]; neighbor-changes; receive { packets; parsed; open; update; notification; refresh; } }
  static {
    route 2001:db8:7::/64 next-hop fd77::254;
  }
}
";

#[test]
fn everything_is_rendered() {
    let mut config = plain().advertise(route());
    config.neighbours[0] =
        config.neighbours[0].clone().extended_next_hop().families(crate::router::Families::V4);
    config.neighbours[1] = config.neighbours[1].clone().ttl_security(1);
    assert_eq!(render(&config, "/run/bed/routers/node1/helper").expect("a configuration"), EVERYTHING);
}

#[test]
fn what_exabgp_cannot_do_is_refused() {
    let no_source = |mut neighbour: Neighbour| {
        neighbour.source = None;
        neighbour
    };
    let refusals = [
        (plain().every(|n| n.bfd(Bfd::default())), "no BFD"),
        (plain().every(no_source), "address to speak from"),
        (
            RouterConfig::top_of_rack(1).every(|_| Neighbour::behind("eth1", RemoteAsn::Internal)),
            "by address only",
        ),
        // An IPv6 route over an IPv4 session.
        (plain(), "told a next hop"),
    ];
    for (config, reason) in refusals {
        let error = render(&config, "x").expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// As exabgp 4.2 writes them, shortened.
const MESSAGES: [&str; 9] = [
    r#"{ "type": "state", "neighbor": { "address": { "local": "10.77.0.254", "peer": "10.77.0.11" }, "asn": { "local": 64512, "peer": 64601 } , "state": "connected" } }"#,
    r#"{ "type": "open", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "direction": "receive", "message": { "category": 1, "body": "0x04FC" } } }"#,
    r#"{ "type": "open", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "direction": "receive", "open": { "version": 4, "asn": 64601, "hold_time": 30, "router_id": "10.77.0.11", "capabilities": { "1": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] }, "2": { "name": "route-refresh" }, "5": {"name":"nexthop"}, "65": { "name": "asn4", "asn4": 64601 }, "64": { "name": "graceful restart", "time": 120, "address-family-flags": { "ipv4/unicast": [ "restart" ] , "ipv6/unicast": [ ] }, "restart-flags": [ "forwarding" ] } } } } }"#,
    r#"{ "type": "state", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "state": "up" } }"#,
    r#"{ "type": "update", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "direction": "receive", "message": { "update": { "attribute": { "origin": "igp", "as-path": [ 64601, 64601 ], "confederation-path": [], "med": 7, "local-preference": 200, "community": [ [ 64601, 1 ], [ 65535, 0 ] ], "extended-community": [ { "value": 1402978099444768, "string": "" } ], "large-community": [ [ 64601, 1 , 2 ] ] }, "announce": { "ipv4 unicast": { "10.77.0.11": [ { "nlri": "192.0.2.1/32" }, { "nlri": "192.0.2.2/32" } ] } } } } } }"#,
    r#"{ "type": "update", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "direction": "receive", "message": { "update": { "attribute": { "as-path": [ 64601 ] }, "announce": { "ipv6 unicast": { "fd77::11": [ { "nlri": "2001:db8:2::1/128" } ], "fe80::11": [ { "nlri": "2001:db8:2::1/128" } ] } } } } } }"#,
    r#"{ "type": "update", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "direction": "receive", "message": { "update": { "withdraw": { "ipv4 unicast": [ { "nlri": "192.0.2.2/32" } ] } } } } }"#,
    r#"{ "type": "notification", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "direction": "receive", "message": { "category": 3, "body": "0x060203627965" } } }"#,
    r#"{ "type": "state", "neighbor": { "address": { "peer": "10.77.0.11" }, "asn": { "peer": 64601 } , "state": "down", "reason": "peer reset" } }"#,
];

#[test]
fn what_was_heard_is_put_together() {
    let config = plain();
    let heard_of = |messages: usize| heard(&config, &MESSAGES[..messages].join("\n")).expect("messages");
    let first = heard_of(0);
    assert!(
        first.sessions.iter().all(|session| session.state == State::Idle && session.established == Some(0))
    );
    let Heard { sessions, table } = heard_of(7);
    let session = &sessions[0];
    assert_eq!(
        (session.address, session.remote_id),
        (Some(address("10.77.0.11")), "10.77.0.11".parse().ok())
    );
    // The lesser of both offers.
    assert_eq!((session.state, session.hold, session.established), (State::Established, Some(9), Some(1)));
    let offers = &session.offers;
    assert!(offers.route_refresh && offers.four_octet_asn && offers.extended_next_hop);
    let restart = offers.graceful_restart.as_ref().expect("graceful restart");
    assert!(
        restart.restarted && restart.families[&Family::V4] && !restart.families[&Family::V6],
        "{restart:?}"
    );

    let expected = Path {
        from: Some(address("10.77.0.11")),
        next_hop: Some(address("10.77.0.11")),
        as_path: vec![64601; 2],
        local_pref: Some(200),
        med: Some(7),
        communities: [(64601, 1), (65535, 0)].into(),
        large: [[64601, 1, 2]].into(),
        bandwidth: Some(12_500_000),
        used: true,
        stale: false,
    };
    assert_eq!(table[&prefix("192.0.2.1/32")], [expected]);
    assert!(!table.contains_key(&prefix("192.0.2.2/32")), "it was withdrawn");
    assert_eq!(table[&prefix("2001:db8:2::1/128")][0].next_hop, Some(address("fd77::11")));

    let Heard { sessions, table } = heard_of(9);
    assert!(table.is_empty() && !sessions[0].is_established());
    let end = sessions[0].end.as_ref().expect("an end");
    assert_eq!((end.code, end.subcode, end.received, end.text.as_str()), (6, 2, true, "bye"));
}

#[test]
fn half_a_message_is_left_for_later() {
    let text = format!("{}\n{{ \"type\": \"sta", MESSAGES[0]);
    assert_eq!(heard(&plain(), &text).expect("messages").sessions[0].state, State::OpenSent);
}
