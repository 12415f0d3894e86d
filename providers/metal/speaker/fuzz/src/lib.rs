//! What must hold whatever octets come from the network. Each target takes one frame or datagram, and panics where an invariant breaks.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::BfdSettings;
use causeway_speaker::bfd::{
    self, Arrival, Discarded, Hops, Output, Packet, Path, Paths, Session, Start, State,
};
use causeway_speaker::l2::{
    Frame, Kin, MacAddr, Outcome, Probing, Segment, Timing, Verdict, arp as arp_packets, ndp as ndp_packets,
};
use causeway_speaker::membership::{Input, Keys, Membership, Message, Settings};
use causeway_speaker::moment::Moment;
use causeway_sys::Addressed;
use ring::hmac;

/// The interface's own hardware address.
pub const OURS: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
/// Another speaker's.
pub const PEER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x02]);
/// Announced.
pub const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Announced.
pub const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// Asked for.
pub const WANTED_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
/// Asked for.
pub const WANTED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);
/// The key of the heartbeats.
pub const KEY: [u8; 32] = [7; 32];

/// The payload of a frame that says it is ARP, and the frame as an interface takes it.
pub fn arp(frame: &[u8]) {
    if let Ok(packet) = arp_packets::parse(frame.get(14..).unwrap_or_default())
        && packet.operation == arp_packets::Operation::Request
    {
        let answer = arp_packets::reply(OURS, &packet);
        let read = arp_packets::parse(&answer.as_slice()[14..]).expect("our own answer is sound");
        assert_eq!((read.sender_address, read.target_mac), (packet.target_address, packet.sender_mac));
    }
    receive(frame);
}

/// The same for neighbour discovery.
pub fn ndp(frame: &[u8]) {
    if let Ok(packet) = ndp_packets::parse(frame.get(14..).unwrap_or_default()) {
        assert!(!packet.target.is_multicast());
        let answer = ndp_packets::reply(OURS, &packet, PEER);
        let read = ndp_packets::parse(&answer.as_slice()[14..]);
        // Whoever asks from a group is not answered: see `receive`.
        assert!(read.is_ok_and(|read| read.target == packet.target) || packet.source.is_multicast());
    }
    receive(frame);
}

fn receive(frame: &[u8]) {
    let at = |seconds| Moment::after_origin(Duration::from_secs(seconds));
    let mut segment = Segment::new(OURS, Timing::default(), Probing::default(), 1);
    segment.set_kin(Arc::new(Kin { stations: HashSet::from([PEER]), complete: true }));
    let announced = BTreeSet::from([IpAddr::V4(V4), IpAddr::V6(V6)]);
    segment.announce(&announced, at(0));
    let wanted = [IpAddr::V4(WANTED_V4), IpAddr::V6(WANTED_V6)];
    for address in wanted {
        segment.probe(address, at(0));
    }
    for addressed in [
        Addressed::Host,
        Addressed::Broadcast,
        Addressed::Multicast,
        Addressed::OtherHost,
        Addressed::Outgoing,
    ] {
        match segment.receive(frame, addressed, at(60)) {
            Verdict::Reply { address, frame: answer } => {
                assert!(announced.contains(&address));
                goes_to_one_or_all_nodes(&answer);
            }
            Verdict::Defend { address, frames } => {
                assert!(announced.contains(&address));
                assert!((1..=2).contains(&frames.iter().count()));
            }
            Verdict::Dropped(_) => {}
        }
        assert!(announced.iter().all(|address| segment.announces(*address)));
    }
    let mut told = 0;
    while let Some(finding) = segment.next_finding() {
        told += 1;
        let (Outcome::InUse(mac) | Outcome::Contested(mac)) = finding.outcome else {
            panic!("a frame shows nothing to be free")
        };
        assert!(mac.is_station() && mac != OURS && mac != PEER);
        assert!(announced.contains(&finding.address) || wanted.contains(&finding.address));
    }
    assert!(told <= 2, "one frame says something about two addresses at most");
}

fn goes_to_one_or_all_nodes(answer: &Frame) {
    let octets = answer.as_slice();
    assert!(octets[0] & 1 == 0 || octets[..6] == [0x33, 0x33, 0, 0, 0, 1], "{octets:02x?}");
    assert_eq!(octets[6..12], OURS.0);
}

/// When [`acquainted`] ends.
pub const ACQUAINTED: Duration = Duration::from_millis(500);

/// The speakers of nodes `n1` and `n2`, which have told each other for half a second that they live.
pub fn acquainted() -> [Membership; 2] {
    let mut speakers = [begin("n1", 1), begin("n2", 3)];
    for elapsed in (0..500).step_by(100) {
        let now = Moment::after_origin(Duration::from_millis(elapsed));
        let said = speakers.each_mut().map(|speaker| speaker.handle(Input::Tick, now).sends);
        let mut waiting: Vec<(usize, Vec<u8>)> = Vec::new();
        for (from, sends) in said.into_iter().enumerate() {
            waiting.extend(sends.into_iter().map(|send| (1 - from, send.octets)));
        }
        while let Some((to, octets)) = waiting.pop() {
            let answers = speakers[to].handle(Input::Datagram(&octets), now).sends;
            waiting.extend(answers.into_iter().map(|send| (1 - to, send.octets)));
        }
    }
    speakers
}

fn begin(node: &str, boot: u64) -> Membership {
    let settings = Settings {
        cluster: "c".into(),
        node: node.into(),
        boot,
        interval: Duration::from_millis(100),
        slow: Duration::from_millis(100),
        misses: 3,
    };
    let keys = Keys::new(&[KEY]).expect("long enough");
    let mut membership = Membership::new(settings, keys, Moment::default());
    let peers: BTreeMap<String, Option<SocketAddr>> = [("n1", [192, 0, 2, 1]), ("n2", [192, 0, 2, 2])]
        .map(|(name, ip)| (name.to_owned(), Some((ip, 7947).into())))
        .into();
    membership.handle(Input::Peers(&peers), Moment::default());
    membership.handle(Input::Ready, Moment::default());
    membership
}

/// A heartbeat without its tag: as it is, and as one who has the key would send it.
pub fn heartbeat(datagram: &[u8]) {
    let keys = Keys::new(&[KEY]).expect("long enough");
    let _forged = Message::decode(datagram, &keys);
    let mut signed = datagram.to_vec();
    signed.extend_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), datagram).as_ref());
    let decoded = Message::decode(&signed, &keys);
    if let Ok(message) = &decoded {
        let again = message.encode(&keys);
        assert_eq!(Message::decode(&again, &keys).as_ref(), Ok(message));
    }
    let [_, mut speaker] = acquainted();
    let now = Moment::after_origin(ACQUAINTED);
    let first = speaker.handle(Input::Datagram(&signed), now);
    assert!(decoded.is_ok() || first.ignored.is_some());
    let fleet = speaker.fleet();
    assert!(fleet.statements.keys().all(|node| node == "n1" || node == "n2"));
    assert!(speaker.next_deadline().is_some());
}

/// What the session under attack calls itself.
pub const DISCRIMINATOR: NonZeroU32 = NonZeroU32::new(0x0102_0304).expect("not 0");
/// The address of its neighbour, as the fuzzer has it.
pub const NEIGHBOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The numbers of the first packet that leads to Up, and of the second.
pub const HANDSHAKE: [u8; 2] = [0x40, 0x80];

/// A control packet of the neighbour. Its discriminator is a guess that came true where `known` is set.
pub fn control(flags: u8, known: bool) -> [u8; 24] {
    let mut octets = [0; 24];
    octets[..4].copy_from_slice(&[0x20, flags, 3, 24]);
    octets[4..8].copy_from_slice(&[9, 9, 9, 9]);
    if known {
        octets[8..12].copy_from_slice(&DISCRIMINATOR.get().to_be_bytes());
    }
    for at in [12, 16, 20] {
        octets[at..at + 4].copy_from_slice(&50_000u32.to_be_bytes());
    }
    octets
}

/// A session after the handshake with its neighbour, and one of its echo packets.
pub fn up() -> (Session, Vec<u8>) {
    let millis = Duration::from_millis;
    let settings = BfdSettings {
        receive: millis(50),
        transmit: millis(50),
        echo: Some(millis(50)),
        ..BfdSettings::default()
    };
    let start =
        Start { settings, discriminator: DISCRIMINATOR, multihop: false, loops: true, cookie: 5, seed: 1 };
    let mut session = Session::new(start, Moment::default());
    for flags in HANDSHAKE {
        let packet = Packet::parse(&control(flags, true)).expect("sound");
        session.handle(bfd::Input::Packet(&packet), Moment::default());
    }
    assert_eq!(session.state(), State::Up);
    let outputs = session.handle(bfd::Input::Tick, Moment::default());
    let echo = outputs.iter().find_map(|output| match output {
        Output::SendEcho(octets) => Some(octets.to_vec()),
        _ => None,
    });
    (session, echo.expect("one is due"))
}

/// A datagram on one of BFD's ports: as one session takes it that is Down, and one that is Up.
pub fn bfd(datagram: &[u8]) {
    let now = Moment::after_origin(Duration::from_millis(10));
    let arrival = Arrival { from: NEIGHBOR.into(), to: V4.into(), interface: 1, ttl: 255, multihop: false };
    let mut paths = Paths::default();
    let path = Path { remote: NEIGHBOR.into(), local: None, interface: None, hops: Hops::One };
    paths.insert(DISCRIMINATOR, path, ());
    let parsed = Packet::parse(datagram);
    if let Ok(packet) = &parsed {
        assert_eq!(Packet::parse(&packet.encode()).as_ref(), Ok(packet));
        let selected = paths.select(packet, &arrival);
        assert!(!matches!(selected, Err(Discarded::UnknownNeighbor | Discarded::TimeToLive)));
        assert!(paths.select(packet, &Arrival { ttl: 254, ..arrival }).is_err());
        let stranger = Arrival { from: WANTED_V4.into(), ..arrival };
        assert!(paths.select(packet, &stranger).is_err());
    }
    let (session, echo) = up();
    for (mut session, before) in [(session, State::Up), (down(), State::Down)] {
        if let Ok(packet) = &parsed {
            let outputs = session.handle(bfd::Input::Packet(packet), now);
            let sends = outputs.iter().filter(|output| matches!(output, Output::Send(_))).count();
            assert!(sends <= 1, "no amplifier: {outputs:?}");
            let expected = match (before, packet.state) {
                (State::Up, State::AdminDown | State::Down) => State::Down,
                (State::Up, _) | (State::Down, State::Init) => State::Up,
                (_, State::Down) => State::Init,
                _ => State::Down,
            };
            assert_eq!(session.state(), expected);
        }
        let returned = session.handle(bfd::Input::Echo(datagram), now);
        assert!(returned.contains(&Output::Discarded(Discarded::Echo)) || datagram == echo);
        // Whatever was said: time goes on.
        for _ in 0..10 {
            let Some(deadline) = session.next_deadline() else { break };
            session.handle(bfd::Input::Tick, deadline.max(now));
            assert!(session.next_deadline().is_none_or(|next| next > deadline));
        }
    }
}

fn down() -> Session {
    let start = Start {
        settings: BfdSettings::default(),
        discriminator: DISCRIMINATOR,
        multihop: false,
        loops: false,
        cookie: 5,
        seed: 1,
    };
    let mut session = Session::new(start, Moment::default());
    session.handle(bfd::Input::Tick, Moment::default());
    session
}
