//! The BFD Control packet (RFC 5880 §4.1). Pure.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use serde::Serialize;

/// Octets of a packet without authentication.
pub const LENGTH: usize = 24;

const VERSION: u8 = 1;
/// The least that the Length field may say with the A bit set.
const AUTHENTICATED_LENGTH: usize = 26;

// The second octet: the state in the two high bits, then these.
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// State of a session (§6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Switched off by its operator; says nothing about the path.
    AdminDown,
    /// The other end is not heard, or was not yet.
    Down,
    /// The other end is heard, and does not know yet that it is.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }

    fn bits(self) -> u8 {
        match self {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        }
    }
}

/// Why the state of a session changed last (§4.1): 0 to 31.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Diag(u8);

impl Diag {
    /// No diagnostic.
    pub const NONE: Diag = Diag(0);
    /// The detection time is over without a packet.
    pub const EXPIRED: Diag = Diag(1);
    /// Echo packets do not come back any more.
    pub const ECHO_FAILED: Diag = Diag(2);
    /// The neighbour says that it is down.
    pub const NEIGHBOR_DOWN: Diag = Diag(3);
    /// Switched off by its operator.
    pub const ADMIN_DOWN: Diag = Diag(7);

    /// The number on the wire.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(formatter, "diagnostic {other}"),
        })
    }
}

impl Serialize for Diag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a datagram on one of BFD's ports was discarded. The name is a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Discarded {
    /// Not version 1.
    Version,
    /// The Length field is below the least possible.
    Length,
    /// The datagram is shorter than the Length field says, or than a packet.
    Truncated,
    /// Detect Mult is 0.
    Multiplier,
    /// The M bit is set: reserved for point-to-multipoint.
    Multipoint,
    /// My Discriminator is 0.
    MyDiscriminator,
    /// Your Discriminator is 0 in a state that one cannot be in without knowing it.
    YourDiscriminator,
    /// The A bit is set, and no session here has a key. It is configured on the neighbour, and must be taken away there.
    Authentication,
    /// The TTL or hop limit shows that it comes from further away than the session allows (RFC 5881 §5, RFC 5883 §3).
    TimeToLive,
    /// Your Discriminator names no session of ours: one that has ended, or a forgery.
    UnknownSession,
    /// Your Discriminator names a session, but the packet came from another address, by another interface, or to the port of the other kind of session.
    OtherPath,
    /// Your Discriminator is 0, and no session expects this neighbour.
    UnknownNeighbor,
    /// The session is switched off on this end.
    AdminDown,
    /// An echo packet that is none of ours, or that was long counted as lost, or that came back twice.
    Echo,
}

impl Discarded {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Discarded; 14] = [
        Discarded::Version,
        Discarded::Length,
        Discarded::Truncated,
        Discarded::Multiplier,
        Discarded::Multipoint,
        Discarded::MyDiscriminator,
        Discarded::YourDiscriminator,
        Discarded::Authentication,
        Discarded::TimeToLive,
        Discarded::UnknownSession,
        Discarded::OtherPath,
        Discarded::UnknownNeighbor,
        Discarded::AdminDown,
        Discarded::Echo,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Discarded::Version => "version",
            Discarded::Length => "length",
            Discarded::Truncated => "truncated",
            Discarded::Multiplier => "multiplier",
            Discarded::Multipoint => "multipoint",
            Discarded::MyDiscriminator => "myDiscriminator",
            Discarded::YourDiscriminator => "yourDiscriminator",
            Discarded::Authentication => "authentication",
            Discarded::TimeToLive => "ttl",
            Discarded::UnknownSession => "unknownSession",
            Discarded::OtherPath => "otherPath",
            Discarded::UnknownNeighbor => "unknownNeighbor",
            Discarded::AdminDown => "adminDown",
            Discarded::Echo => "echo",
        }
    }
}

/// A packet without authentication that passed the checks which need no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's state changed last.
    pub diag: Diag,
    /// The sender's state.
    pub state: State,
    /// P: the sender wants an answer with F.
    pub poll: bool,
    /// F: the answer to a packet with P.
    pub fin: bool,
    /// C: the sender's BFD survives its control plane.
    pub control_plane_independent: bool,
    /// D: the sender wishes to hear nothing while both are Up.
    pub demand: bool,
    /// How many packets of the sender must be missed.
    pub multiplier: NonZeroU8,
    /// The sender's name for the session.
    pub my_discriminator: NonZeroU32,
    /// The receiver's name for it, as far as the sender knows it.
    pub your_discriminator: Option<NonZeroU32>,
    /// The sender would like to send this often.
    pub desired_min_tx: Duration,
    /// The sender can receive this often; zero: not at all.
    pub required_min_rx: Duration,
    /// The sender's forwarding plane loops echo packets this often; zero: not at all.
    pub required_min_echo_rx: Duration,
}

impl Packet {
    /// Reads a packet, and applies those rules of §6.8.6 that need no session, in that section's order.
    ///
    /// # Errors
    ///
    /// Which rule it breaks.
    pub fn parse(octets: &[u8]) -> Result<Self, Discarded> {
        let (Some(&first), Some(&flags), Some(&multiplier), Some(&length)) =
            (octets.first(), octets.get(1), octets.get(2), octets.get(3))
        else {
            return Err(Discarded::Truncated);
        };
        if first >> 5 != VERSION {
            return Err(Discarded::Version);
        }
        let authenticated = flags & AUTHENTICATED != 0;
        let length = usize::from(length);
        if length < if authenticated { AUTHENTICATED_LENGTH } else { LENGTH } {
            return Err(Discarded::Length);
        }
        if length > octets.len() {
            return Err(Discarded::Truncated);
        }
        let multiplier = NonZeroU8::new(multiplier).ok_or(Discarded::Multiplier)?;
        if flags & MULTIPOINT != 0 {
            return Err(Discarded::Multipoint);
        }
        let word = |at: usize| {
            octets
                .get(at..at + 4)
                .and_then(|word| Some(u32::from_be_bytes(word.try_into().ok()?)))
                .ok_or(Discarded::Truncated)
        };
        let my_discriminator = NonZeroU32::new(word(4)?).ok_or(Discarded::MyDiscriminator)?;
        let your_discriminator = NonZeroU32::new(word(8)?);
        let state = State::from_bits(flags >> 6);
        if your_discriminator.is_none() && !matches!(state, State::Down | State::AdminDown) {
            return Err(Discarded::YourDiscriminator);
        }
        // No session here uses authentication.
        if authenticated {
            return Err(Discarded::Authentication);
        }
        let interval = |at| Ok(Duration::from_micros(u64::from(word(at)?)));
        Ok(Packet {
            diag: Diag(first & 0x1f),
            state,
            poll: flags & POLL != 0,
            fin: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: interval(12)?,
            required_min_rx: interval(16)?,
            required_min_echo_rx: interval(20)?,
        })
    }

    /// The octets. An interval beyond what the field can hold (71 minutes) is cut to that.
    pub fn encode(&self) -> [u8; LENGTH] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut octets = [0; LENGTH];
        octets[0] = VERSION << 5 | self.diag.0;
        octets[1] = self.state.bits() << 6
            | bit(self.poll, POLL)
            | bit(self.fin, FINAL)
            | bit(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | bit(self.demand, DEMAND);
        octets[2] = self.multiplier.get();
        octets[3] = LENGTH as u8;
        octets[4..8].copy_from_slice(&self.my_discriminator.get().to_be_bytes());
        octets[8..12].copy_from_slice(&self.your_discriminator.map_or(0, NonZeroU32::get).to_be_bytes());
        for (at, interval) in
            [(12, self.desired_min_tx), (16, self.required_min_rx), (20, self.required_min_echo_rx)]
        {
            let micros = u32::try_from(interval.as_micros()).unwrap_or(u32::MAX);
            octets[at..at + 4].copy_from_slice(&micros.to_be_bytes());
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// As a session that is Up sends it.
    fn sound() -> [u8; LENGTH] {
        [
            0x20, 0xc0, 3, 24, //
            0, 0, 0, 1, //
            0, 0, 0, 2, //
            0, 0x04, 0x93, 0xe0, // 300 ms
            0, 0, 0xc3, 0x50, // 50 ms
            0, 0, 0, 0,
        ]
    }

    fn with(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut octets = sound().to_vec();
        for (at, octet) in changes {
            octets[*at] = *octet;
        }
        octets
    }

    #[rstest]
    #[case::nothing(Vec::new(), Discarded::Truncated)]
    #[case::three_octets(vec![0x20, 0xc0, 3], Discarded::Truncated)]
    #[case::version_0(with(&[(0, 0x00)]), Discarded::Version)]
    #[case::version_2(with(&[(0, 0x40)]), Discarded::Version)]
    #[case::length_23(with(&[(3, 23)]), Discarded::Length)]
    #[case::length_0(with(&[(3, 0)]), Discarded::Length)]
    #[case::length_25_with_authentication([with(&[(1, 0xc4), (3, 25)]), vec![0]].concat(), Discarded::Length)]
    #[case::length_beyond_the_datagram(with(&[(3, 25)]), Discarded::Truncated)]
    #[case::cut_off(sound()[..23].to_vec(), Discarded::Truncated)]
    #[case::multiplier_0(with(&[(2, 0)]), Discarded::Multiplier)]
    #[case::multipoint(with(&[(1, 0xc1)]), Discarded::Multipoint)]
    #[case::my_discriminator_0(with(&[(7, 0)]), Discarded::MyDiscriminator)]
    #[case::up_without_ours(with(&[(11, 0)]), Discarded::YourDiscriminator)]
    #[case::init_without_ours(with(&[(1, 0x80), (11, 0)]), Discarded::YourDiscriminator)]
    #[case::authenticated([with(&[(1, 0xc4), (3, 28)]), vec![1, 4, 1, 0]].concat(), Discarded::Authentication)]
    fn discarded(#[case] octets: Vec<u8>, #[case] reason: Discarded) {
        assert_eq!(Packet::parse(&octets), Err(reason));
    }

    #[rstest]
    #[case::as_it_is(sound().to_vec())]
    #[case::followed_by_more([sound().to_vec(), vec![0; 9]].concat())]
    #[case::down_without_ours(with(&[(1, 0x40), (11, 0)]))]
    #[case::admin_down_without_ours(with(&[(1, 0x00), (11, 0)]))]
    #[case::unknown_diagnostic(with(&[(0, 0x3f)]))]
    #[case::every_other_bit(with(&[(1, 0xfa)]))]
    fn accepted_and_encoded_as_it_was(#[case] octets: Vec<u8>) {
        let packet = Packet::parse(&octets).expect("sound");
        assert_eq!(packet.encode(), octets[..LENGTH]);
    }

    #[test]
    fn fields_stand_where_the_rfc_has_them() {
        let packet = Packet::parse(&with(&[(0, 0x21), (1, 0xe0), (23, 7)])).expect("sound");
        let expected = Packet {
            diag: Diag::EXPIRED,
            state: State::Up,
            poll: true,
            fin: false,
            control_plane_independent: false,
            demand: false,
            multiplier: NonZeroU8::new(3).expect("not 0"),
            my_discriminator: NonZeroU32::new(1).expect("not 0"),
            your_discriminator: NonZeroU32::new(2),
            desired_min_tx: Duration::from_millis(300),
            required_min_rx: Duration::from_millis(50),
            required_min_echo_rx: Duration::from_micros(7),
        };
        assert_eq!(packet, expected);
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> =
            Discarded::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Discarded::ALL.len());
    }
}
