//! A BGP peer that says anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::{Families, RemoteAsn, RibOut, RouteAttributes};
use causeway_speaker::bgp::{
    BATCH, Capabilities, ConnId, Ends, FAMILIES, GracefulRestart, Input, MAX_LENGTH, Message, NextHops, Open,
    Output, Reader, Session, Settings, State, keepalive,
};
use causeway_speaker::moment::Moment;

/// A session with a connection, and what it said so far.
pub struct Peering {
    /// Ours.
    pub session: Session,
    /// The connection.
    pub conn: ConnId,
    /// All octets.
    pub said: Vec<u8>,
}

fn now() -> Moment {
    Moment::after_origin(Duration::from_secs(100))
}

fn settings() -> Settings {
    Settings {
        name: "router".into(),
        asn: 65001,
        remote: RemoteAsn::External,
        local_asn: None,
        router_id: [192, 0, 2, 1].into(),
        hold: Duration::from_secs(90),
        keepalive: Duration::from_secs(30),
        connect: Duration::from_secs(1),
        connect_max: Duration::from_secs(120),
        passive: false,
        families: Families::Both,
        graceful_restart: Some(GracefulRestart { time: Duration::from_secs(120) }),
        unnumbered: false,
    }
}

fn routes() -> RibOut {
    let attributes = Arc::new(RouteAttributes { communities: [1, 2].into(), ..RouteAttributes::default() });
    ["192.0.2.0/28", "203.0.113.7/32", "2001:db8::7/128"]
        .map(|prefix| (prefix.parse().expect("a prefix"), Arc::clone(&attributes)))
        .into()
}

/// The peer's OPEN as it would fit.
pub fn open() -> Open {
    Open {
        asn: 65002,
        hold: 9,
        identifier: [192, 0, 2, 2].into(),
        capabilities: Capabilities {
            families: FAMILIES.into(),
            multiprotocol: true,
            extended_next_hop: true,
            route_refresh: true,
            four_octet_asn: Some(65002),
            graceful_restart: Some(Default::default()),
            others: Default::default(),
        },
    }
}

impl Peering {
    fn say(&mut self, octets: &[u8]) -> Vec<Output> {
        let outputs = self.session.handle(Input::Octets { conn: self.conn, octets }, now());
        for output in &outputs {
            if let Output::Send { octets, .. } = output {
                self.said.extend_from_slice(octets);
            }
        }
        let mut all = outputs;
        let more = self.session.handle(Input::Writable { conn: self.conn }, now());
        for output in &more {
            if let Output::Send { octets, .. } = output {
                self.said.extend_from_slice(octets);
            }
        }
        all.extend(more);
        all
    }
}

/// Our OPEN is sent.
pub fn open_sent() -> Peering {
    let mut session = Session::new(settings(), now(), 1);
    session.handle(Input::Routes(Arc::new(routes())), now());
    let outputs = session.handle(Input::Tick, now());
    let Some(&Output::Connect { conn }) = outputs.first() else { panic!("no call: {outputs:?}") };
    let end = |last: u8| SocketAddr::new([192, 0, 2, last].into(), 179);
    let next_hops = NextHops { ipv4: Some([192, 0, 2, 1].into()), ipv6: None, link_local: None };
    let ends = Ends { local: end(1), remote: end(2), next_hops };
    session.handle(Input::Connected { conn, ends }, now());
    session.handle(Input::Writable { conn }, now());
    Peering { session, conn, said: Vec::new() }
}

/// Its OPEN fits.
pub fn confirmed() -> Peering {
    let mut peering = open_sent();
    peering.say(&open().encode());
    assert_eq!(peering.session.state(), State::OpenConfirm);
    peering
}

/// It is established.
pub fn established() -> Peering {
    let mut peering = confirmed();
    peering.say(&keepalive());
    assert_eq!(peering.session.state(), State::Established);
    peering
}

/// Octets of a peer, in each state that it can be in, at once and in pieces.
pub fn bgp(octets: &[u8]) {
    for begin in [open_sent, confirmed, established] {
        let mut whole = begin();
        let outputs = whole.say(octets);
        answers_are_sound(&whole, &outputs);
        let mut pieces = begin();
        for piece in octets.chunks(7) {
            pieces.say(piece);
        }
        assert_eq!(pieces.session.state(), whole.session.state());
        assert_eq!(received(&pieces.session), received(&whole.session));
    }
}

fn received(session: &Session) -> u64 {
    session.counters().received()
}

fn answers_are_sound(peering: &Peering, outputs: &[Output]) {
    let mut reader = Reader::default();
    let mut rest = peering.said.as_slice();
    let mut ended = false;
    while let Some(message) = reader.next(&mut rest) {
        assert!(!ended, "something was said after the end");
        ended = matches!(message.expect("what we say is sound"), Message::Notification(_));
    }
    assert!(rest.is_empty());
    let closed = outputs.iter().filter(|output| matches!(output, Output::Close { .. })).count();
    assert!(closed <= 1 && (closed == 1 || !ended));
    // However often it asks, the routes are said again once.
    assert!(peering.said.len() < 8 * MAX_LENGTH && peering.said.len() < BATCH);
    let snapshot = peering.session.snapshot(now());
    assert_eq!(snapshot.state, peering.session.state());
    // RFC 4271 §4.2: a peer may ask for no timers at all.
    let timeless = snapshot.state == State::Established && snapshot.negotiated.is_some_and(|n| n.hold == 0);
    assert!(timeless || peering.session.next_deadline().is_some(), "it goes on, or tries again");
}
