//! One session: how it comes up, what it says, how it ends.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::{Families, RemoteAsn, RibOut, RouteAttributes};
use causeway_speaker::bgp::{
    Family, GracefulRestart, Input, Notification, Reason, Settings, State, StopReason, notification,
};
use ipnet::IpNet;
use rstest::rstest;

use crate::heard::expected;
use crate::wire::{Wire, address, ms, seconds, settings};
use crate::{many, plain};

fn pair(change: impl Fn(&mut Settings)) -> Wire {
    let [mut one, mut two] = [settings(0), settings(1)];
    change(&mut one);
    change(&mut two);
    Wire::new([one, two], 1)
}

fn graceful(settings: &mut Settings) {
    settings.graceful_restart = Some(GracefulRestart { time: seconds(120) });
}

/// Routes of both families with all that can be said of them, and some with less.
fn rich() -> RibOut {
    let all = RouteAttributes {
        local_pref: Some(200),
        med: Some(7),
        prepend: 2,
        communities: [0xffff_ff01, 65001 << 16 | 80].into(),
        large: [[4_200_000_001, 1, 2], [1, 2, 3]].into(),
        bandwidth: Some(125_000_000),
    };
    let routes = [
        ("10.1.0.0/24", all.clone()),
        ("10.1.1.128/25", all.clone()),
        ("10.9.9.9/32", RouteAttributes::default()),
        ("2001:db8:9::/48", all),
        ("2001:db8:9::5/128", RouteAttributes { med: Some(0), ..RouteAttributes::default() }),
    ];
    routes.into_iter().map(|(prefix, route)| (prefix.parse().expect("a prefix"), Arc::new(route))).collect()
}

/// Whether side 1 has exactly these, of these families.
fn has(wire: &Wire, routes: &RibOut, families: &[Family]) -> bool {
    let told = routes.keys().filter(|prefix| families.contains(&Family::of(&prefix.addr())));
    wire.up() && wire.heard(1).table.keys().eq(told)
}

#[rstest]
fn every_pair_of_features(
    #[values(false, true)] ipv6: bool,
    #[values(false, true)] both: bool,
    #[values(false, true)] internal: bool,
    #[values(65001, 4_200_000_001)] asn: u32,
    #[values(false, true)] restart: bool,
    #[values(0, 90)] hold: u64,
) {
    let [mut one, mut two] = [settings(0), settings(1)];
    one.asn = asn;
    two.asn = if internal { asn } else { 65002 };
    one.remote = RemoteAsn::Is(two.asn);
    two.remote = RemoteAsn::Is(one.asn);
    for settings in [&mut one, &mut two] {
        settings.hold = seconds(hold);
        settings.families = if both { Families::Both } else { Families::OfSession };
        if restart {
            graceful(settings);
        }
    }
    let mut wire = Wire::new([one, two], 1);
    wire.ipv6 = ipv6;
    wire.routes(0, &rich());
    wire.come_up(seconds(2));
    let families = match (both, ipv6) {
        (true, _) => &[Family::V4, Family::V6][..],
        (false, false) => &[Family::V4],
        (false, true) => &[Family::V6],
    };
    wire.run_until(seconds(2), |wire| has(wire, &rich(), families));
    wire.run_for(seconds(1));
    for (prefix, route) in &wire.heard(1).table {
        let next_hop = address(0, Family::of(&prefix.addr()) == Family::V6);
        assert_eq!(*route, expected(&rich()[prefix], asn, internal, next_hop), "{prefix}");
    }
    assert_eq!(wire.heard(1).end_of_rib, if restart { families } else { &[] });
    // It stays up, and says nothing more than signs of life.
    let updates = wire.heard(1).updates;
    wire.run_for(seconds(600));
    assert!(wire.up());
    assert_eq!((wire.connections, wire.heard(1).updates), (1, updates));
    let keepalives = wire.heard(1).others.len();
    assert!(if hold == 0 { keepalives < 4 } else { (20..=30).contains(&keepalives) }, "{keepalives} others");
}

#[test]
fn a_change_is_said_at_once_and_alone() {
    let mut wire = Wire::pair();
    wire.routes(0, &plain(&["10.0.0.1/32", "10.0.0.2/32"]));
    wire.come_up(seconds(2));
    wire.run_until(seconds(1), |wire| wire.heard(1).table.len() == 2);
    let before = wire.now;
    wire.routes(0, &plain(&["10.0.0.2/32", "10.0.0.3/32"]));
    wire.run_until(seconds(1), |wire| {
        !wire.heard(1).table.contains_key(&"10.0.0.1/32".parse().expect("a prefix"))
    });
    assert!(wire.now.saturating_since(before) <= ms(2), "no timer was waited for");
    let order: Vec<(String, bool)> =
        wire.heard(1).order[2..].iter().map(|(prefix, told)| (prefix.to_string(), *told)).collect();
    // New before gone: what replaces something leaves no gap.
    assert_eq!(order, [("10.0.0.3/32".to_owned(), true), ("10.0.0.1/32".to_owned(), false)]);
    // The same again is nothing.
    let updates = wire.heard(1).updates;
    wire.routes(0, &plain(&["10.0.0.2/32", "10.0.0.3/32"]));
    wire.run_for(seconds(1));
    assert_eq!(wire.heard(1).updates, updates);
}

#[test]
fn equal_attributes_share_messages_of_up_to_4096_octets() {
    let mut wire = Wire::pair();
    wire.routes(0, &many(5000));
    wire.come_up(seconds(2));
    wire.run_until(seconds(1), |wire| wire.heard(1).table.len() == 5000);
    // 5 octets each, and some 40 around them.
    assert_eq!(wire.heard(1).updates, 7);
    assert!(wire.heard(1).lengths.iter().filter(|length| **length > 4090).count() == 6);
    wire.routes(0, &RibOut::new());
    wire.run_until(seconds(1), |wire| wire.heard(1).table.is_empty());
    assert_eq!(wire.heard(1).updates, 14);
}

/// A route whose communities fill a message is told; with one more it is not, and costs nothing else.
#[test]
fn what_does_not_fit_into_a_message_is_left_out_and_said() {
    let with = |count: u32| {
        Arc::new(RouteAttributes { communities: (0..count).collect(), ..RouteAttributes::default() })
    };
    let prefix: IpNet = "10.7.0.0/16".parse().expect("a prefix");
    let most = (0..2000).rev().find(|count| {
        let mut wire = Wire::pair();
        wire.routes(0, &RibOut::from([(prefix, with(*count))]));
        wire.come_up(seconds(2));
        wire.run_for(seconds(1));
        !wire.heard(1).table.is_empty()
    });
    // 4096 less 19, 4, attributes before (4 + 9 + 7), 4 around the communities, and 17 for a prefix.
    assert_eq!(most, Some((4096 - 19 - 4 - 20 - 4 - 17) / 4));
    let mut wire = Wire::pair();
    let mut routes = plain(&["10.0.0.1/32"]);
    routes.insert(prefix, with(10));
    wire.routes(0, &routes);
    wire.come_up(seconds(2));
    wire.run_until(seconds(1), |wire| wire.heard(1).table.len() == 2);
    // What it has of it is out of date: it goes.
    routes.insert(prefix, with(2000));
    wire.routes(0, &routes);
    wire.run_until(seconds(1), |wire| wire.heard(1).table.len() == 1);
    let snapshot = wire.sides[0].session.snapshot(wire.now);
    let route = snapshot.routes.iter().find(|route| route.prefix == prefix).expect("it is shown");
    assert!(!route.told && route.unsent.is_some_and(|why| why.contains("communities")), "{route:?}");
    assert_eq!(wire.sides[0].session.prefixes().pending, 1);
}

#[rstest]
#[case::dual_stack_over_ipv6(Some([192, 0, 2, 1].into()), false, "192.0.2.1")]
#[case::no_ipv4_address(None, false, "2001:db8::1")]
#[case::unnumbered(Some([192, 0, 2, 1].into()), true, "fe80::1")]
fn next_hops_of_ipv4_over_ipv6(
    #[case] ipv4: Option<std::net::Ipv4Addr>,
    #[case] unnumbered: bool,
    #[case] next_hop: &str,
) {
    let mut wire = pair(|settings| {
        settings.families = Families::Both;
        settings.unnumbered = unnumbered;
    });
    wire.ipv6 = true;
    wire.sides[0].next_hops.ipv4 = ipv4;
    wire.routes(0, &plain(&["10.0.0.1/32", "2001:db8:9::1/128"]));
    wire.come_up(seconds(2));
    wire.run_until(seconds(1), |wire| wire.heard(1).table.len() == 2);
    let of = |wire: &Wire, prefix: &str| {
        wire.heard(1).table[&prefix.parse().expect("a prefix")].next_hop.expect("it has one").to_string()
    };
    assert_eq!(of(&wire, "10.0.0.1/32"), next_hop);
    assert_eq!(of(&wire, "2001:db8:9::1/128"), if unnumbered { "fe80::1" } else { "2001:db8::1" });
    wire.routes(0, &RibOut::new());
    wire.run_until(seconds(1), |wire| wire.heard(1).table.is_empty());
}

#[test]
fn without_a_next_hop_a_route_waits_for_the_address() {
    let mut wire = pair(|settings| settings.families = Families::Both);
    wire.sides[0].next_hops.ipv6 = None;
    wire.routes(0, &plain(&["10.0.0.1/32", "2001:db8:9::1/128"]));
    wire.come_up(seconds(2));
    wire.run_for(seconds(1));
    assert_eq!(wire.heard(1).table.len(), 1);
    let snapshot = wire.sides[0].session.snapshot(wire.now);
    assert!(snapshot.routes.iter().any(|route| route.unsent.is_some_and(|why| why.contains("next hop"))));
    // The interface gets one; then another.
    let local: Ipv6Addr = "2001:db8::77".parse().expect("an address");
    for ipv6 in [Some(local), Some("2001:db8::78".parse().expect("an address"))] {
        let next_hops = causeway_speaker::bgp::NextHops { ipv6, ..wire.sides[0].next_hops };
        let conn = wire.conn(0);
        wire.input(0, Input::NextHops { conn, next_hops });
        wire.run_until(seconds(1), |wire| {
            let table = &wire.heard(1).table;
            table.len() == 2 && table.values().any(|route| route.next_hop == ipv6.map(Into::into))
        });
    }
    // And loses it.
    let next_hops = causeway_speaker::bgp::NextHops { ipv6: None, ..wire.sides[0].next_hops };
    let conn = wire.conn(0);
    wire.input(0, Input::NextHops { conn, next_hops });
    wire.run_until(seconds(1), |wire| wire.heard(1).table.len() == 1);
}

#[test]
fn local_asn_stands_in_open_and_path_alone() {
    let [mut one, mut two] = [settings(0), settings(1)];
    one.local_asn = Some(64999);
    two.remote = RemoteAsn::Is(64999);
    let mut wire = Wire::new([one, two], 1);
    wire.routes(0, &plain(&["10.0.0.1/32"]));
    wire.come_up(seconds(2));
    wire.run_until(seconds(1), |wire| wire.heard(1).table.values().any(|route| route.path == [64999]));
}

#[rstest]
#[case(RemoteAsn::Internal, 65001, true)]
#[case(RemoteAsn::External, 65001, false)]
#[case(RemoteAsn::External, 65002, true)]
#[case(RemoteAsn::Internal, 65002, false)]
fn dynamic_asn(#[case] mode: RemoteAsn, #[case] asn: u32, #[case] fits: bool) {
    let [mut one, mut two] = [settings(0), settings(1)];
    one.remote = mode;
    two.asn = asn;
    two.remote = RemoteAsn::Is(65001);
    let mut wire = Wire::new([one, two], 1);
    if fits {
        wire.come_up(seconds(2));
    } else {
        wire.run_until(seconds(2), |wire| wire.why(1).contains("Bad Peer AS"));
        assert!(wire.why(0).contains("NOTIFICATION sent: OPEN Message Error/Bad Peer AS (2/2)"));
    }
}

#[test]
fn a_silent_peer_is_dropped_at_hold_time() {
    let mut wire = pair(|settings| {
        settings.hold = seconds(9);
        settings.keepalive = seconds(3);
    });
    wire.come_up(seconds(2));
    wire.run_for(seconds(100));
    assert!(wire.up(), "signs of life are enough");
    let last = wire.now;
    wire.cut = true;
    wire.run_until(seconds(20), |wire| wire.state(0) != State::Established);
    let time = wire.now.saturating_since(last);
    assert!((seconds(6)..=seconds(9)).contains(&time), "{time:?}");
    assert_eq!(wire.why(0), "NOTIFICATION sent: Hold Timer Expired (4/0)");
}

#[test]
fn the_smaller_hold_time_holds_and_zero_is_none() {
    let [mut one, two] = [settings(0), settings(1)];
    one.hold = seconds(3);
    let mut wire = Wire::new([one.clone(), two.clone()], 1);
    wire.come_up(seconds(2));
    let of = |wire: &Wire| wire.sides[1].session.snapshot(wire.now).negotiated.expect("up").hold;
    assert_eq!(of(&wire), 3);
    let before = wire.heard(1).others.len();
    wire.run_for(seconds(60));
    // One in 0.75 to 1 second.
    assert!((60..=80).contains(&(wire.heard(1).others.len() - before)));
    assert!(wire.up());
    one.hold = Duration::ZERO;
    let mut wire = Wire::new([one, two], 1);
    wire.come_up(seconds(2));
    wire.cut = true;
    wire.run_for(seconds(7200));
    assert!(wire.up(), "without a hold time silence means nothing");
}

#[test]
fn a_slow_reader_costs_a_bounded_number_of_octets_and_hears_the_latest() {
    // Or it would notice itself that it hears nothing.
    let mut wire = pair(|settings| settings.hold = Duration::ZERO);
    wire.come_up(seconds(2));
    wire.sides[1].reads = false;
    let before = wire.sides[0].session.counters().updates_sent;
    for round in 0..20 {
        let mut routes = many(20_000);
        routes.retain(|prefix, _| (prefix.addr().to_string().len() + round) % 3 != 0);
        wire.routes(0, &routes);
        wire.run_for(ms(50));
    }
    let sent = wire.sides[0].session.counters().updates_sent - before;
    assert!(sent <= 40, "{sent} UPDATEs for a peer that reads none");
    wire.routes(0, &plain(&["10.0.0.7/32"]));
    assert!(wire.up());
    wire.read_again(1);
    wire.run_until(seconds(5), |wire| wire.heard(1).table.len() == 1);
    // Long enough, and it is dropped (RFC 9687).
    wire.sides[1].reads = false;
    wire.routes(0, &many(40_000));
    let start = wire.now;
    wire.run_until(seconds(600), |wire| wire.state(0) != State::Established);
    assert_eq!(wire.now.saturating_since(start).as_secs(), 480);
    assert!(wire.why(0).contains("Send Hold Timer Expired (8/0)"), "{}", wire.why(0));
}

#[test]
fn routes_are_said_again_to_who_asks_but_not_as_often_as_he_likes() {
    let mut wire = Wire::pair();
    wire.routes(0, &many(100));
    wire.come_up(seconds(2));
    wire.run_until(seconds(1), |wire| wire.heard(1).table.len() == 100);
    let ask = |wire: &mut Wire, afi: u8| {
        let mut octets = vec![0xff; 16];
        octets.extend([0, 23, 5, 0, afi, 0, 1]);
        let conn = wire.conn(0);
        wire.input(0, Input::Octets { conn, octets: &octets });
    };
    let said = |wire: &Wire| wire.heard(1).order.len();
    ask(&mut wire, 1);
    wire.run_for(ms(500));
    assert_eq!(said(&wire), 200);
    for _ in 0..1000 {
        ask(&mut wire, 1);
    }
    wire.run_for(seconds(5));
    assert_eq!(said(&wire), 300);
    // Of a family that is not spoken, or does not exist, there is nothing to say.
    ask(&mut wire, 2);
    ask(&mut wire, 77);
    wire.run_for(seconds(5));
    assert_eq!(said(&wire), 300);
    // What went between the question and the answer is withdrawn, not forgotten.
    ask(&mut wire, 1);
    wire.run_for(ms(100));
    ask(&mut wire, 1);
    wire.routes(0, &many(50));
    wire.run_for(seconds(5));
    assert_eq!(wire.heard(1).table.len(), 50);
}

#[test]
fn waits_between_attempts_grow_and_end() {
    let mut wire = Wire::pair();
    wire.refused = true;
    let mut attempts = vec![wire.now];
    while attempts.len() < 14 {
        let count = wire.sides[0].changes.iter().filter(|(_, state, _)| *state == State::Connect).count();
        if count > attempts.len() {
            attempts.push(wire.now);
        }
        wire.run_for(ms(50));
    }
    let waits: Vec<f64> =
        attempts.windows(2).map(|pair| pair[1].saturating_since(pair[0]).as_secs_f64()).collect();
    let wanted = [1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0, 120.0, 120.0, 120.0];
    for (wait, wanted) in waits[1..].iter().zip(&wanted[1..]) {
        assert!(*wait > wanted * 0.74 && *wait < wanted + 0.2, "{waits:?}");
    }
    assert!(wire.why(0).contains("Connection refused"));
    wire.refused = false;
    wire.come_up(seconds(121));
    // It was up for long: the next attempt comes at once.
    wire.run_for(seconds(60));
    wire.break_all();
    wire.come_up(ms(400));
    // It was not: waits grow again.
    wire.break_all();
    let start = wire.now;
    wire.come_up(seconds(3));
    assert!(wire.now.saturating_since(start) > ms(700));
}

#[test]
fn a_call_that_nobody_answers_is_given_up() {
    let mut wire = Wire::pair();
    wire.cut = true;
    wire.run_for(seconds(11));
    assert!(wire.why(0).contains("no answer within 10 s"), "{}", wire.why(0));
    wire.cut = false;
    // The next has set out already.
    wire.come_up(seconds(13));
}

#[test]
fn who_takes_the_call_and_says_nothing_is_given_up() {
    let mut wire = Wire::pair();
    wire.sides[1].reads = false;
    wire.sides[0].reads = false;
    wire.run_until(seconds(70), |wire| wire.why(0).contains("Hold Timer Expired"));
    assert_eq!(wire.now.saturating_since(Default::default()).as_secs(), 60);
}

#[test]
fn after_an_error_the_peer_is_refused_for_a_while() {
    let [one, mut two] = [settings(0), settings(1)];
    two.remote = RemoteAsn::Is(1);
    let mut wire = Wire::new([one, two], 1);
    wire.run_until(seconds(1), |wire| wire.state(1) == State::Idle);
    wire.run_for(seconds(600));
    // Not more than the waits allow, though both sides could.
    assert!(wire.connections < 14, "{} connections", wire.connections);
    let rejected = Notification::new(Reason::REJECTED).to_string();
    assert!(wire.sides[0].changes.iter().any(|(_, _, why)| {
        why.as_ref().is_some_and(|why| why.contains(&rejected) || why.contains("Bad Peer AS"))
    }));
}

#[test]
fn bfd_down_ends_it_at_once_and_bfd_up_ends_the_wait() {
    let mut wire = Wire::pair();
    wire.routes(0, &plain(&["10.0.0.1/32"]));
    wire.come_up(seconds(2));
    wire.run_for(seconds(1));
    wire.refused = true;
    wire.input(0, Input::BfdDown);
    assert_ne!(wire.state(0), State::Established);
    wire.run_for(ms(5));
    assert_eq!(wire.why(1), "NOTIFICATION received: Cease/BFD Down (6/10)");
    assert_eq!(wire.why(0), "NOTIFICATION sent: Cease/BFD Down (6/10)");
    wire.run_for(seconds(300));
    wire.refused = false;
    wire.input(0, Input::BfdUp);
    wire.come_up(ms(50));
    // While nothing is agreed upon there is nothing to end.
    wire.run_for(seconds(20));
    wire.break_all();
    wire.cut = true;
    wire.run_until(seconds(2), |wire| wire.state(0) == State::Connect);
    wire.input(0, Input::BfdDown);
    assert_eq!(wire.state(0), State::Connect);
}

#[test]
fn notifications_of_the_peer_are_shown_in_words() {
    let mut wire = Wire::pair();
    wire.come_up(seconds(2));
    let octets = notification(&Notification::telling(Reason::SHUTDOWN, "new cables, ticket 7"));
    let conn = wire.conn(0);
    wire.input(0, Input::Octets { conn, octets: &octets });
    assert_eq!(
        wire.why(0),
        "NOTIFICATION received: Cease/Administrative Shutdown (6/2): \"new cables, ticket 7\""
    );
    let snapshot = wire.sides[0].session.snapshot(wire.now);
    assert!(snapshot.last_error.is_some_and(|why| why.contains("ticket 7")));
    assert_eq!(snapshot.counters.notifications_received, 1);
}

#[test]
fn a_session_tells_of_itself() {
    let mut wire = pair(graceful);
    wire.routes(0, &plain(&["10.0.0.1/32", "2001:db8:9::1/128"]));
    wire.come_up(seconds(2));
    wire.run_for(seconds(5));
    let snapshot = wire.sides[0].session.snapshot(wire.now);
    let text = serde_json::to_value(&snapshot).expect("plain data");
    for (path, value) in [
        ("/peer", "peer-of-0"),
        ("/state", "established"),
        ("/remote", "192.0.2.2:179"),
        ("/routerId", "192.0.2.1"),
        ("/negotiated/remoteId", "192.0.2.2"),
        ("/ipv4NextHop", "192.0.2.1"),
        ("/routes/0/prefix", "10.0.0.1/32"),
        ("/routes/1/unsent", "the peer does not speak this address family in this session"),
    ] {
        assert_eq!(text.pointer(path).and_then(|found| found.as_str()), Some(value), "{path} of {text}");
    }
    assert_eq!(text.pointer("/negotiated/gracefulRestart"), Some(&true.into()));
    assert_eq!(text.pointer("/negotiated/hold"), Some(&90.into()));
    assert_eq!(snapshot.keepalive_ms, Some(30_000));
    assert!(snapshot.hold_left_ms.is_some_and(|left| (80_000..=90_000).contains(&left)));
    let families: BTreeSet<Family> = snapshot.negotiated.expect("up").families;
    assert_eq!(families, [Family::V4].into());
    let counters = wire.sides[0].session.counters();
    assert_eq!((counters.opens_sent, counters.opens_received), (1, 1));
    assert_eq!(counters.sent(), wire.sides[1].session.counters().received());
}

#[test]
fn a_stopped_session_stays_stopped() {
    let mut wire = Wire::pair();
    wire.come_up(seconds(2));
    wire.stop(0, StopReason::Deconfigured);
    assert!(wire.sides[0].session.is_finished());
    wire.run_for(ms(5));
    assert_eq!(wire.why(1), "NOTIFICATION received: Cease/Peer De-configured (6/3)");
    wire.run_for(seconds(600));
    assert_eq!(wire.state(0), State::Idle);
    assert_eq!(wire.connections, 1);
    assert_eq!(wire.sides[0].session.next_deadline(), None);
}
