//! What a router knows, the same words for every kind of daemon. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

/// All routes a router has heard of or announces, by prefix, the best path first where the daemon says which that is.
pub type Table = BTreeMap<IpNet, Vec<Path>>;

/// State of a session (RFC 4271 section 8.2.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the words of the RFC")]
pub enum State {
    #[default]
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

impl State {
    /// Reads how a daemon writes it: `OpenSent`, `OPENSENT`, `open-sent`.
    pub(super) fn parse(text: &str) -> State {
        let word: String = text.chars().filter(char::is_ascii_alphabetic).collect();
        match word.to_ascii_lowercase().as_str() {
            "connect" => State::Connect,
            "active" => State::Active,
            "opensent" => State::OpenSent,
            "openconfirm" => State::OpenConfirm,
            "established" => State::Established,
            _ => State::Idle,
        }
    }
}

/// A session as the router sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Session {
    /// What the router calls the neighbour: its address, or the interface it is behind.
    pub peer: String,
    /// The neighbour's address, once known.
    pub address: Option<IpAddr>,
    /// How far it is.
    pub state: State,
    /// The neighbour's AS number; 0 if any will do and none is known.
    pub remote_asn: u32,
    /// The neighbour's BGP identifier, once known.
    pub remote_id: Option<Ipv4Addr>,
    /// The negotiated hold time, seconds; only of an established session.
    pub hold: Option<u16>,
    /// What the neighbour offered in its OPEN; only of an established session.
    pub offers: Offers,
    /// How often it was established; `None` if the daemon does not count.
    pub established: Option<u64>,
    /// For how long it has been established.
    pub up_for: Option<Duration>,
    /// The last NOTIFICATION.
    pub end: Option<Notification>,
    /// Whether BFD is up; `None` without BFD.
    pub bfd: Option<bool>,
}

impl Session {
    /// Whether routes are exchanged.
    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }
}

/// A family of routes (RFC 4760), unicast.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Reads how daemons write it: `ipv4`, `ipv4Unicast`, `ipv4-unicast`, `ipv4/unicast`.
    pub(super) fn parse(text: &str) -> Option<Family> {
        let word: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        match word.to_ascii_lowercase().as_str() {
            "ipv4" | "ipv4unicast" => Some(Family::V4),
            "ipv6" | "ipv6unicast" => Some(Family::V6),
            _ => None,
        }
    }
}

/// The capabilities of a neighbour (RFC 5492) that matter here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Offers {
    /// RFC 4760.
    pub families: BTreeSet<Family>,
    /// RFC 2918.
    pub route_refresh: bool,
    /// RFC 6793.
    pub four_octet_asn: bool,
    /// RFC 8950, for IPv4 unicast.
    pub extended_next_hop: bool,
    /// RFC 4724.
    pub graceful_restart: Option<Restart>,
}

/// The graceful restart capability (RFC 4724 section 3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Restart {
    /// For how long routes shall be kept, seconds.
    pub time: u16,
    /// The R bit: the neighbour has restarted.
    pub restarted: bool,
    /// The families to keep, and of each whether forwarding went on (the F bit).
    pub families: BTreeMap<Family, bool>,
}

/// A NOTIFICATION message (RFC 4271 section 4.5).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Whether the router received it, else it sent it.
    pub received: bool,
    /// The shutdown communication (RFC 9003); empty without one.
    pub text: String,
}

/// A BFD session (RFC 5880) as the router sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BfdSession {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Whether it is up.
    pub up: bool,
    /// The negotiated interval of what the router sends.
    pub transmit: Duration,
    /// After so long a silence the session is down.
    pub detection: Duration,
    /// Over several hops (RFC 5883).
    pub multihop: bool,
    /// Why it went down last, in the daemon's words; empty if the daemon does not say.
    pub diagnostic: String,
}

/// One way to a prefix.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Path {
    /// The neighbour's address it was heard from; `None` for the router's own.
    pub from: Option<IpAddr>,
    /// The next hop; of an IPv6 one the global address if there is one.
    pub next_hop: Option<IpAddr>,
    /// AS_PATH, the nearest first.
    pub as_path: Vec<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities (RFC 1997).
    pub communities: BTreeSet<(u16, u16)>,
    /// Large communities (RFC 8092).
    pub large: BTreeSet<[u32; 3]>,
    /// Link bandwidth, bytes per second.
    pub bandwidth: Option<u64>,
    /// Whether it is the best, or as good as the best and used beside it.
    pub used: bool,
    /// Whether it is kept for a neighbour that restarts.
    pub stale: bool,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.used { '*' } else { ' ' };
        match self.next_hop {
            Some(next_hop) => write!(f, "{mark} via {next_hop}")?,
            None => write!(f, "{mark} own")?,
        }
        if self.stale {
            write!(f, " stale")?;
        }
        if !self.as_path.is_empty() {
            write!(f, " path {}", words(&self.as_path))?;
        }
        if let Some(value) = self.local_pref {
            write!(f, " localpref {value}")?;
        }
        if let Some(value) = self.med {
            write!(f, " med {value}")?;
        }
        for (high, low) in &self.communities {
            write!(f, " {high}:{low}")?;
        }
        for [a, b, c] in &self.large {
            write!(f, " {a}:{b}:{c}")?;
        }
        if let Some(value) = self.bandwidth {
            write!(f, " bandwidth {value}")?;
        }
        Ok(())
    }
}

fn words(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// The names of well-known communities (IANA's registry), as FRR, GoBGP and exabgp write them.
const WELL_KNOWN: [(&str, (u16, u16)); 12] = [
    ("graceful-shutdown", (65535, 0)),
    ("planned-shut", (65535, 0)),
    ("accept-own", (65535, 1)),
    ("llgr-stale", (65535, 6)),
    ("no-llgr", (65535, 7)),
    ("blackhole", (65535, 666)),
    ("no-export", (65535, 65281)),
    ("no-advertise", (65535, 65282)),
    ("local-as", (65535, 65283)),
    ("no-export-subconfed", (65535, 65283)),
    ("no-peer", (65535, 65284)),
    ("internet", (0, 0)),
];

/// Reads a community: `64512:1` or a well-known name.
pub(super) fn community(text: &str) -> Option<(u16, u16)> {
    let name = text.to_ascii_lowercase();
    if let Some((_, value)) = WELL_KNOWN.iter().find(|(known, _)| *known == name) {
        return Some(*value);
    }
    let (high, low) = text.split_once(':')?;
    Some((high.parse().ok()?, low.parse().ok()?))
}

/// Reads a large community: `64512:1:2`.
pub(super) fn large_community(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_by_number_and_by_name() {
        assert_eq!(community("64512:7"), Some((64512, 7)));
        assert_eq!(community("No-Export"), Some((65535, 65281)));
        assert_eq!(community("local-AS"), Some((65535, 65283)));
        assert_eq!(community("64512"), None);
        assert_eq!(large_community("1:2:4294967295"), Some([1, 2, u32::MAX]));
        assert_eq!(large_community("1:2"), None);
    }

    #[test]
    fn states_and_families_are_read_however_they_are_written() {
        for text in ["OpenConfirm", "OPENCONFIRM", "open-confirm"] {
            assert_eq!(State::parse(text), State::OpenConfirm);
        }
        for text in ["ipv6", "ipv6Unicast", "ipv6-unicast", "ipv6/unicast", "ipv6 unicast"] {
            assert_eq!(Family::parse(text), Some(Family::V6));
        }
    }
}
