//! Two sessions that call each other over a network in virtual time, which delays, refuses, swallows and breaks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::{Families, RemoteAsn, RibOut};
use causeway_speaker::bgp::{ConnId, Ends, Input, NextHops, Output, Session, Settings, State, StopReason};
use causeway_speaker::jitter::Jitter;
use causeway_speaker::moment::Moment;

use crate::heard::Heard;

/// What the kernel takes of a peer that does not read.
const WINDOW: usize = 16 * 1024;

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Settings of the side with this index: AS 65001 and 65002, identifiers in the same order.
pub fn settings(side: usize) -> Settings {
    let number = side as u8 + 1;
    Settings {
        name: format!("peer-of-{side}"),
        asn: 65001 + side as u32,
        remote: RemoteAsn::Is(65002 - side as u32),
        local_asn: None,
        router_id: [192, 0, 2, number].into(),
        hold: seconds(90),
        keepalive: seconds(30),
        connect: seconds(1),
        connect_max: seconds(120),
        passive: side == 1,
        families: Families::OfSession,
        graceful_restart: None,
        unnumbered: false,
    }
}

/// An address of a side, IPv4 or IPv6.
pub fn address(side: usize, ipv6: bool) -> std::net::IpAddr {
    let number = side as u8 + 1;
    if ipv6 { [0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()].into() } else { [192, 0, 2, number].into() }
}

pub struct Side {
    pub session: Session,
    /// What was told of the session's state.
    pub changes: Vec<(Moment, State, Option<String>)>,
    pub reads: bool,
    pub next_hops: NextHops,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// The first packet of a connection arrives.
    Call,
    /// It is answered.
    Answered,
    Refused,
    Octets(Vec<u8>),
    Fin,
    Writable,
}

/// When, in which order, on which link, to which side, what.
type Scheduled = Reverse<(Moment, u64, usize, usize, Event)>;

struct Link {
    /// By side; of the one that is called, once it knows.
    conns: [Option<ConnId>; 2],
    opener: usize,
    /// Nothing later to this side may arrive earlier.
    arrival: [Moment; 2],
    /// What waits for a side that does not read, and whether the other waits for it to.
    unread: [Vec<u8>; 2],
    blocked: [bool; 2],
    broken: bool,
    /// What each side was told over it.
    heard: [Heard; 2],
}

pub struct Wire {
    pub now: Moment,
    pub sides: [Side; 2],
    links: Vec<Link>,
    events: BinaryHeap<Scheduled>,
    number: u64,
    pub ipv6: bool,
    /// Packets are swallowed.
    pub cut: bool,
    /// Nobody listens.
    pub refused: bool,
    /// Up to how long a packet takes.
    pub delay: Duration,
    pub dice: Jitter,
    pub connections: usize,
    /// AS numbers in UPDATEs have two octets.
    pub two_octets: bool,
}

impl Wire {
    pub fn new(settings: [Settings; 2], seed: u64) -> Self {
        let [one, two] = settings;
        let mut seed_of = seed;
        let mut side = |number: u8, settings| {
            seed_of = seed_of.wrapping_add(u64::from(number) << 32);
            Side {
                session: Session::new(settings, Moment::default(), seed_of),
                changes: Vec::new(),
                reads: true,
                next_hops: NextHops {
                    ipv4: Some([192, 0, 2, number].into()),
                    ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()].into()),
                    link_local: Some([0xfe80, 0, 0, 0, 0, 0, 0, number.into()].into()),
                },
            }
        };
        Wire {
            now: Moment::default(),
            sides: [side(1, one), side(2, two)],
            links: Vec::new(),
            events: BinaryHeap::new(),
            number: 0,
            ipv6: false,
            cut: false,
            refused: false,
            delay: ms(2),
            dice: Jitter::new(seed),
            connections: 0,
            two_octets: false,
        }
    }

    /// One side, and the sessions between.
    pub fn pair() -> Self {
        Self::new([settings(0), settings(1)], 1)
    }

    pub fn state(&self, side: usize) -> State {
        self.sides[side].session.state()
    }

    pub fn up(&self) -> bool {
        (0..2).all(|side| self.state(side) == State::Established)
    }

    /// Until both are up, within a time.
    pub fn come_up(&mut self, limit: Duration) {
        self.run_until(limit, Wire::up);
    }

    /// Until that is so, within a time.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Wire) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            let log = || (&self.sides[0].changes, &self.sides[1].changes);
            assert!(self.now < end, "not within {limit:?}: {:?}", log());
            if !self.step(end) {
                assert!(
                    holds(self),
                    "not within {limit:?}: {:?}",
                    (&self.sides[0].changes, &self.sides[1].changes)
                );
                return;
            }
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    pub fn routes(&mut self, side: usize, routes: &RibOut) {
        self.input(side, Input::Routes(Arc::new(routes.clone())));
    }

    pub fn stop(&mut self, side: usize, reason: StopReason) {
        self.input(side, Input::Stop(reason));
    }

    /// The next thing that happens, if it does before `end`.
    fn step(&mut self, end: Moment) -> bool {
        let timers = [0, 1].map(|side| self.sides[side].session.next_deadline());
        let arrival = self.events.peek().map(|Reverse((at, ..))| *at);
        let Some(next) = timers.into_iter().flatten().chain(arrival).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let Some(Reverse((_, _, link, to, event))) = self.events.pop() else { return false };
            self.arrive(link, to, event);
        } else {
            let side = usize::from(timers[0] != Some(next));
            self.input(side, Input::Tick);
            let again = self.sides[side].session.next_deadline();
            assert!(again.is_none_or(|at| at > self.now), "a timer that is due after its tick");
        }
        true
    }

    fn arrive(&mut self, link: usize, to: usize, event: Event) {
        let other = 1 - to;
        match event {
            Event::Call if self.refused => self.later(link, other, Event::Refused),
            Event::Call => {
                self.connections += 1;
                let conn = self.sides[to].session.accept();
                self.links[link].conns[to] = Some(conn);
                self.later(link, other, Event::Answered);
                let ends = self.ends(to);
                self.input(to, Input::Accepted { conn, ends });
            }
            Event::Answered => {
                if let Some(conn) = self.links[link].conns[to] {
                    let ends = self.ends(to);
                    self.input(to, Input::Connected { conn, ends });
                }
            }
            Event::Refused => {
                if let Some(conn) = self.links[link].conns[to].take() {
                    self.input(to, Input::ConnectFailed { conn, why: "Connection refused" });
                }
            }
            Event::Octets(octets) => {
                if !self.sides[to].reads {
                    self.links[link].unread[to].extend(octets);
                    return;
                }
                self.deliver(link, to, &octets);
            }
            Event::Fin => {
                if let Some(conn) = self.links[link].conns[to].take() {
                    self.input(to, Input::Closed { conn, why: "closed by the peer" });
                }
            }
            Event::Writable => {
                if let Some(conn) = self.links[link].conns[to] {
                    self.input(to, Input::Writable { conn });
                }
            }
        }
    }

    fn deliver(&mut self, link: usize, to: usize, octets: &[u8]) {
        if let Some(conn) = self.links[link].conns[to] {
            self.links[link].heard[to].two_octets = self.two_octets;
            self.links[link].heard[to].hear(octets);
            self.input(to, Input::Octets { conn, octets });
        }
    }

    /// A side begins to read again.
    pub fn read_again(&mut self, side: usize) {
        self.sides[side].reads = true;
        for link in 0..self.links.len() {
            let unread = std::mem::take(&mut self.links[link].unread[side]);
            self.deliver(link, side, &unread);
            if std::mem::take(&mut self.links[link].blocked[1 - side]) {
                self.later(link, 1 - side, Event::Writable);
            }
        }
    }

    /// All connections break, and neither side is told by the other.
    pub fn break_all(&mut self) {
        for link in 0..self.links.len() {
            self.links[link].broken = true;
            for side in 0..2 {
                if let Some(conn) = self.links[link].conns[side].take() {
                    self.input(side, Input::Closed { conn, why: "Connection reset by peer" });
                }
            }
        }
    }

    fn ends(&self, side: usize) -> Ends {
        let end = |side| SocketAddr::new(address(side, self.ipv6), 179);
        Ends { local: end(side), remote: end(1 - side), next_hops: self.sides[side].next_hops }
    }

    /// Something arrives at a side.
    fn later(&mut self, link: usize, to: usize, event: Event) {
        if self.cut && event != Event::Writable {
            return;
        }
        let delay = self.dice.scale(self.delay, 0.0, 1.0);
        let mut at = self.now;
        if event != Event::Writable {
            let arrival = &mut self.links[link].arrival[to];
            *arrival = (*arrival).max(self.now + delay);
            at = *arrival;
        }
        self.number += 1;
        self.events.push(Reverse((at, self.number, link, to, event)));
    }

    pub fn input(&mut self, side: usize, input: Input<'_>) {
        let outputs = self.sides[side].session.handle(input, self.now);
        for output in outputs {
            self.put_out(side, output);
        }
    }

    fn put_out(&mut self, side: usize, output: Output) {
        let other = 1 - side;
        match output {
            Output::Connect { conn } => {
                let mut conns = [None, None];
                conns[side] = Some(conn);
                self.links.push(Link {
                    conns,
                    opener: side,
                    arrival: [self.now; 2],
                    unread: Default::default(),
                    blocked: [false; 2],
                    broken: false,
                    heard: Default::default(),
                });
                self.later(self.links.len() - 1, other, Event::Call);
            }
            Output::Send { conn, octets } => {
                let link = self.link(side, conn);
                assert!(octets.len() <= 64 * 1024 + 2 * 4096, "{} octets at a time", octets.len());
                if self.links[link].broken {
                    return;
                }
                let octets_waiting = self.links[link].unread[other].len() + octets.len();
                self.later(link, other, Event::Octets(octets));
                if !self.sides[other].reads && (self.links[link].blocked[side] || octets_waiting > WINDOW) {
                    self.links[link].blocked[side] = true;
                } else {
                    self.later(link, side, Event::Writable);
                }
            }
            Output::Close { conn } => {
                let link = self.link(side, conn);
                self.links[link].conns[side] = None;
                self.later(link, other, Event::Fin);
            }
            Output::Changed { state, why } => {
                self.sides[side].changes.push((self.now, state, why));
            }
        }
    }

    fn link(&self, side: usize, conn: ConnId) -> usize {
        let found = self.links.iter().position(|link| link.conns[side] == Some(conn));
        found.unwrap_or_else(|| panic!("side {side} has no connection {conn:?}"))
    }

    /// What a side was told over the last connection that both ends had.
    pub fn heard(&self, side: usize) -> &Heard {
        let link = self.links.iter().rfind(|link| link.conns.iter().all(Option::is_some));
        &link.or(self.links.last()).expect("there was a connection").heard[side]
    }

    /// Over all connections.
    pub fn all_heard(&self, side: usize) -> impl Iterator<Item = &Heard> {
        self.links.iter().map(move |link| &link.heard[side])
    }

    /// Who opened the connections that both ends have.
    pub fn openers(&self) -> Vec<usize> {
        let whole = self.links.iter().filter(|link| link.conns.iter().all(Option::is_some));
        whole.map(|link| link.opener).collect()
    }

    /// Why a side's session ended last.
    pub fn why(&self, side: usize) -> String {
        let mut changes = self.sides[side].changes.iter().rev();
        changes.find_map(|(_, _, why)| why.clone()).unwrap_or_default()
    }
}

impl Wire {
    /// The number of a side's only connection.
    pub fn conn(&self, side: usize) -> ConnId {
        let mut conns = self.links.iter().filter_map(|link| link.conns[side]);
        let conn = conns.next().expect("there is a connection");
        assert_eq!(conns.next(), None, "there is one");
        conn
    }
}

impl Wire {
    /// A side starts anew; the other is not told.
    pub fn replace(&mut self, side: usize, settings: Settings) {
        for link in &mut self.links {
            link.conns[side] = None;
        }
        self.sides[side].session = Session::new(settings, self.now, 99);
        self.sides[side].changes.clear();
    }

    /// Time passes during which a side is not run.
    pub fn hold_back(&mut self, side: usize, milliseconds: u64) {
        let end = self.now + ms(milliseconds);
        let other = 1 - side;
        loop {
            let timer = self.sides[other].session.next_deadline();
            let arrival = self.events.peek().map(|Reverse((at, ..))| *at);
            match timer.into_iter().chain(arrival).min().filter(|at| *at <= end) {
                None => break,
                Some(next) if arrival == Some(next) => {
                    self.now = self.now.max(next);
                    if let Some(Reverse((_, _, link, to, event))) = self.events.pop() {
                        self.arrive(link, to, event);
                    }
                }
                Some(next) => {
                    self.now = self.now.max(next);
                    self.input(other, Input::Tick);
                }
            }
        }
        self.now = end;
    }
}
