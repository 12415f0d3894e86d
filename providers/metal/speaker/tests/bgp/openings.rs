//! What a peer may say wrong, and when: the answer, and that it costs this session alone.

use std::net::SocketAddr;
use std::sync::Arc;

use causeway_metal::bgp::Families;
use causeway_speaker::bgp::{
    Capabilities, ConnId, Ends, Family, Input, NextHops, Notification, Open, Output, Reason, Session,
    Settings, State, keepalive, notification,
};
use causeway_speaker::moment::Moment;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::BgpCapability;
use proptest::prelude::*;
use rstest::rstest;

use crate::heard;
use crate::wire::{address, seconds, settings};

fn at(second: u64) -> Moment {
    Moment::after_origin(seconds(second))
}

/// A session of ours with its connection, to be talked to by hand.
struct Alone {
    session: Session,
    conn: ConnId,
    now: Moment,
}

fn ends(ipv6: bool) -> Ends {
    let end = |side| SocketAddr::new(address(side, ipv6), 179);
    let next_hops = NextHops { ipv4: Some([192, 0, 2, 1].into()), ..NextHops::default() };
    Ends { local: end(0), remote: end(1), next_hops }
}

impl Alone {
    fn connected(settings: Settings, ipv6: bool) -> (Self, Vec<u8>) {
        let mut session = Session::new(settings, at(0), 1);
        let outputs = session.handle(Input::Tick, at(0));
        let Some(Output::Connect { conn }) = outputs.first() else { panic!("{outputs:?}") };
        let conn = *conn;
        let outputs = session.handle(Input::Connected { conn, ends: ends(ipv6) }, at(0));
        let Some(Output::Send { octets, .. }) = outputs.first() else { panic!("{outputs:?}") };
        let octets = octets.clone();
        session.handle(Input::Writable { conn }, at(0));
        (Alone { session, conn, now: at(0) }, octets)
    }

    fn in_state(state: State) -> Self {
        let (mut alone, _open) = Self::connected(settings(0), false);
        if state >= State::OpenConfirm {
            alone.say(&open().encode());
        }
        if state >= State::Established {
            alone.say(&keepalive());
        }
        assert_eq!(alone.session.state(), state);
        alone
    }

    fn say(&mut self, octets: &[u8]) -> Vec<Output> {
        let outputs = self.session.handle(Input::Octets { conn: self.conn, octets }, self.now);
        self.session.handle(Input::Writable { conn: self.conn }, self.now);
        outputs
    }
}

fn open() -> Open {
    Open {
        asn: 65002,
        hold: 90,
        identifier: [192, 0, 2, 2].into(),
        capabilities: Capabilities {
            families: [Family::V4].into(),
            multiprotocol: true,
            four_octet_asn: Some(65002),
            route_refresh: true,
            ..Capabilities::default()
        },
    }
}

/// The NOTIFICATION that was sent before the connection was closed.
fn answer(outputs: &[Output]) -> Option<Notification> {
    let [Output::Send { octets, conn }, Output::Close { conn: closed }, ..] = outputs else { return None };
    assert_eq!(conn, closed);
    let BgpMessage::Notification(_) = heard::read(octets, false) else { return None };
    Some(Notification::with(Reason(octets[19], octets[20]), &octets[21..]))
}

fn changed(change: impl FnOnce(&mut Open)) -> Vec<u8> {
    let mut open = open();
    change(&mut open);
    open.encode()
}

fn with_version(version: u8) -> Vec<u8> {
    let mut octets = open().encode();
    octets[19] = version;
    octets
}

fn with_parameters(parameters: &[u8]) -> Vec<u8> {
    let mut octets = open().encode()[..28].to_vec();
    octets.push(parameters.len() as u8);
    octets.extend_from_slice(parameters);
    octets[17] = octets.len() as u8;
    octets
}

fn with_marker(octet: u8) -> Vec<u8> {
    let mut octets = open().encode();
    octets[7] = octet;
    octets
}

#[rstest]
#[case::marker(with_marker(0), Reason::NOT_SYNCHRONIZED, &[])]
#[case::version(with_version(5), Reason::BAD_VERSION, &[0, 4])]
#[case::peer_as(changed(|open| { open.asn = 65009; open.capabilities.four_octet_asn = Some(65009); }), Reason::BAD_PEER_AS, &[0xfd, 0xf1])]
#[case::as_zero(changed(|open| open.capabilities.four_octet_asn = Some(0)), Reason::BAD_PEER_AS, &[0xfd, 0xea])]
#[case::identifier(changed(|open| open.identifier = [0; 4].into()), Reason::BAD_IDENTIFIER, &[0; 4])]
#[case::hold(changed(|open| open.hold = 2), Reason::BAD_HOLD_TIME, &[0, 2])]
#[case::parameter(with_parameters(&[1, 1, 0]), Reason::BAD_PARAMETER, &[])]
#[case::overrun(with_parameters(&[2, 9, 0]), Reason::BAD_OPEN, &[])]
#[case::family(changed(|open| open.capabilities.families = [Family::V6].into()), Reason::NO_CAPABILITY, &[1, 4, 0, 1, 0, 1])]
fn a_bad_open_is_answered(#[case] octets: Vec<u8>, #[case] reason: Reason, #[case] data: &[u8]) {
    let mut alone = Alone::in_state(State::OpenSent);
    let outputs = alone.say(&octets);
    assert_eq!(answer(&outputs), Some(Notification::with(reason, data)));
    assert!(
        matches!(outputs.last(), Some(Output::Changed { state: State::Idle, why: Some(why) }) if why.contains("NOTIFICATION sent"))
    );
    // And there is another attempt.
    assert!(alone.session.next_deadline().is_some_and(|at| at <= Moment::after_origin(seconds(1))));
}

fn refresh() -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend([0, 23, 5, 0, 1, 0, 1]);
    octets
}

fn update() -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend([0, 23, 2, 0xff, 0xff, 0xff, 0xff]);
    octets
}

#[rstest]
#[case(State::OpenSent, keepalive(), Reason::IN_OPEN_SENT)]
#[case(State::OpenSent, update(), Reason::IN_OPEN_SENT)]
#[case(State::OpenSent, refresh(), Reason::IN_OPEN_SENT)]
#[case(State::OpenConfirm, open().encode(), Reason::IN_OPEN_CONFIRM)]
#[case(State::OpenConfirm, update(), Reason::IN_OPEN_CONFIRM)]
#[case(State::OpenConfirm, refresh(), Reason::IN_OPEN_CONFIRM)]
#[case(State::Established, open().encode(), Reason::IN_ESTABLISHED)]
#[case(State::Established, vec![0; 19], Reason::NOT_SYNCHRONIZED)]
fn out_of_place(#[case] state: State, #[case] octets: Vec<u8>, #[case] reason: Reason) {
    let mut alone = Alone::in_state(state);
    assert_eq!(answer(&alone.say(&octets)).map(|answer| answer.reason), Some(reason));
}

#[rstest]
fn a_notification_ends_it_in_any_state(
    #[values(State::OpenSent, State::OpenConfirm, State::Established)] state: State,
    #[values((1, 1), (2, 2), (3, 1), (4, 0), (5, 3), (6, 2), (6, 4), (6, 8), (7, 1), (8, 0), (99, 99))] code: (u8, u8),
) {
    let mut alone = Alone::in_state(state);
    let said = Notification::new(Reason(code.0, code.1));
    let outputs = alone.say(&notification(&said));
    let [Output::Close { .. }, Output::Changed { state: State::Idle, why: Some(why) }] = &outputs[..] else {
        panic!("never answered by another: {outputs:?}")
    };
    assert_eq!(*why, format!("NOTIFICATION received: {said}"));
}

#[test]
fn malformed_updates_are_no_matter() {
    let mut alone = Alone::in_state(State::Established);
    for _ in 0..1000 {
        assert_eq!(alone.say(&update()), []);
    }
    assert_eq!(alone.session.state(), State::Established);
    assert_eq!(alone.session.counters().updates_received, 1000);
}

#[test]
fn an_old_speaker_gets_a_path_of_two_octets() {
    let [mut ours, _] = [settings(0), settings(1)];
    ours.asn = 4_200_000_001;
    let (mut alone, _open) = Alone::connected(ours, false);
    alone.say(&changed(|open| open.capabilities = Capabilities::default()));
    alone.say(&keepalive());
    assert_eq!(alone.session.state(), State::Established);
    let mut routes = crate::plain(&["10.0.0.1/32"]);
    let with_bandwidth = causeway_metal::bgp::RouteAttributes { prepend: 1, ..Default::default() };
    routes.insert("10.0.0.2/32".parse().expect("a prefix"), Arc::new(with_bandwidth));
    let outputs = alone.session.handle(Input::Routes(Arc::new(routes)), at(1));
    let [Output::Send { octets, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let mut heard = heard::Heard { two_octets: true, ..Default::default() };
    heard.hear(octets);
    let route = |prefix: &str| &heard.table[&prefix.parse().expect("a prefix")];
    assert_eq!(route("10.0.0.1/32").path, [23456]);
    assert_eq!(route("10.0.0.1/32").path_of_four_octets, Some(vec![4_200_000_001]));
    assert_eq!(route("10.0.0.2/32").path, [23456, 23456]);
    assert_eq!(route("10.0.0.2/32").path_of_four_octets, Some(vec![4_200_000_001; 2]));
}

#[rstest]
#[case::ipv4(false, Families::OfSession, false, 1, false)]
#[case::ipv6(true, Families::OfSession, false, 1, false)]
#[case::both_over_ipv4(false, Families::Both, false, 2, false)]
#[case::both_over_ipv6(true, Families::Both, false, 2, true)]
#[case::unnumbered(true, Families::OfSession, true, 2, true)]
fn what_is_offered(
    #[case] ipv6: bool,
    #[case] families: Families,
    #[case] unnumbered: bool,
    #[case] count: usize,
    #[case] extended_next_hop: bool,
) {
    let (_, octets) = Alone::connected(Settings { families, unnumbered, ..settings(0) }, ipv6);
    let BgpMessage::Open(open) = heard::read(&octets, false) else { panic!("no OPEN") };
    assert_eq!((open.my_as(), open.my_asn4(), open.hold_time()), (65001, 65001, 90));
    let capabilities = open.capabilities();
    let of = |wanted: fn(&BgpCapability) -> bool| {
        capabilities.iter().filter(|capability| wanted(capability)).count()
    };
    assert_eq!(of(|found| matches!(found, BgpCapability::MultiProtocolExtensions(_))), count);
    assert_eq!(of(|found| matches!(found, BgpCapability::RouteRefresh)), 1);
    assert_eq!(of(|found| matches!(found, BgpCapability::FourOctetAs(_))), 1);
    let extended = of(|found| matches!(found, BgpCapability::ExtendedNextHopEncoding(_)));
    assert_eq!(extended, usize::from(extended_next_hop));
    assert_eq!(of(|found| matches!(found, BgpCapability::GracefulRestartCapability(_))), 0);
}

proptest! {
    #[test]
    fn arbitrary_octets_cost_only_the_session(
        octets in proptest::collection::vec(any::<u8>(), 0..400),
        kind in 1u8..6,
        state in 0usize..3,
    ) {
        let state = [State::OpenSent, State::OpenConfirm, State::Established][state];
        for framed in [false, true] {
            let mut said = octets.clone();
            if framed {
                let length = (19 + said.len()) as u16;
                said = [&[0xff; 16][..], &length.to_be_bytes(), &[kind], &said].concat();
            }
            let mut alone = Alone::in_state(state);
            let outputs = alone.say(&said);
            prop_assert!(outputs.len() < 8);
            for output in outputs {
                if let Output::Send { octets, .. } = output {
                    heard::read(&octets[..usize::from(u16::from_be_bytes([octets[16], octets[17]]))], false);
                }
            }
            // It goes on, or tries again.
            prop_assert!(alone.session.next_deadline().is_some());
            alone.session.snapshot(at(1));
        }
    }
}
