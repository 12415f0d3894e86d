//! Path attributes of the routes that are ours (RFC 4271 §4.3, §5). Pure.
//!
//! To a peer in our own AS the path is empty, and LOCAL_PREF is sent (100 unless something else is wanted, as routers do themselves). To others the path is our AS
//! number, as often as wanted, and LOCAL_PREF is never sent (§5.1.5). Prepending is left out within an AS: the peer would see its own number and take the route
//! for a loop. ORIGIN is always IGP, as of what a router's own configuration announces.

use std::net::{Ipv4Addr, Ipv6Addr};

use causeway_api::Family;
use causeway_metal::bgp::RouteAttributes;

use super::family::{UNICAST, afi};
use super::open::{AS_TRANS, two_octets};

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
/// The length has two octets.
const LONG: u8 = 0x10;

const ORIGIN: u8 = 1;
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const MED: u8 = 4;
const LOCAL_PREF: u8 = 5;
const COMMUNITIES: u8 = 8;
pub(super) const MP_REACH: u8 = 14;
pub(super) const MP_UNREACH: u8 = 15;
const EXTENDED_COMMUNITIES: u8 = 16;
const AS4_PATH: u8 = 17;
const LARGE_COMMUNITIES: u8 = 32;

const AS_SEQUENCE: u8 = 2;
const DEFAULT_LOCAL_PREF: u32 = 100;

/// Where routes of a family lead to, and where in an UPDATE that and the prefixes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// IPv4 as RFC 4271 has it: prefixes at the end of the message.
    Classic(Ipv4Addr),
    /// In an attribute of their own (RFC 4760 §3; for IPv6, RFC 2545 §3; for IPv4 over an IPv6 next hop, RFC 8950 §3).
    Multiprotocol(Ipv6Addr),
}

/// How routes are told to one peer: what follows from its AS and its capabilities, and from our own addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// The AS number that we go by with this peer.
    pub asn: u32,
    /// Whether the peer has the same one.
    pub internal: bool,
    /// AS numbers have four octets (RFC 6793).
    pub four_octet: bool,
    /// Where IPv4 routes lead to, or why they cannot be told.
    pub ipv4: Result<NextHop, Unsent>,
    /// The same for IPv6.
    pub ipv6: Result<NextHop, Unsent>,
}

/// Why a route is not told although it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unsent {
    /// The peer does not speak its family in this session.
    NotNegotiated,
    /// The interface of the connection has no address of the family.
    NoNextHop,
    /// With so many communities it does not fit into a message.
    TooLong,
}

impl Unsent {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Unsent::NotNegotiated => "the peer does not speak this address family in this session",
            Unsent::NoNextHop => {
                "the interface of the session has no address of this family to be the next hop"
            }
            Unsent::TooLong => "it has so many communities that it does not fit into a message",
        }
    }
}

impl Dialect {
    /// Where routes of a family lead to.
    ///
    /// # Errors
    ///
    /// Why they cannot be told.
    pub fn next_hop(&self, family: Family) -> Result<NextHop, Unsent> {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// All attributes but MP_REACH_NLRI, in order of their types (RFC 4271 §5).
    pub(super) fn attributes(&self, route: &RouteAttributes, next_hop: NextHop) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        attribute(&mut out, TRANSITIVE, ORIGIN, &[0]);
        let hops = if self.internal { 0 } else { 1 + usize::from(route.prepend) };
        attribute(&mut out, TRANSITIVE, AS_PATH, &path(self.asn, hops, self.four_octet));
        if let NextHop::Classic(address) = next_hop {
            attribute(&mut out, TRANSITIVE, NEXT_HOP, &address.octets());
        }
        if let Some(med) = route.med {
            attribute(&mut out, OPTIONAL, MED, &med.to_be_bytes());
        }
        if self.internal {
            let preference = route.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
            attribute(&mut out, TRANSITIVE, LOCAL_PREF, &preference.to_be_bytes());
        }
        if !route.communities.is_empty() {
            let value: Vec<u8> =
                route.communities.iter().flat_map(|community| community.to_be_bytes()).collect();
            attribute(&mut out, OPTIONAL | TRANSITIVE, COMMUNITIES, &value);
        }
        if let Some(bandwidth) = route.bandwidth {
            attribute(&mut out, OPTIONAL | TRANSITIVE, EXTENDED_COMMUNITIES, &self.link_bandwidth(bandwidth));
        }
        // RFC 6793 §4.2.2: who knows only two octets passes the real numbers on unread.
        if !self.four_octet && hops > 0 && u16::try_from(self.asn).is_err() {
            attribute(&mut out, OPTIONAL | TRANSITIVE, AS4_PATH, &path(self.asn, hops, true));
        }
        if !route.large.is_empty() {
            let parts = route.large.iter().flatten();
            let value: Vec<u8> = parts.flat_map(|part| part.to_be_bytes()).collect();
            attribute(&mut out, OPTIONAL | TRANSITIVE, LARGE_COMMUNITIES, &value);
        }
        out
    }

    /// RFC 10005: octets per second as a floating-point number, under our AS number. Within an AS it is the non-transitive form that everybody knows; to
    /// another AS the transitive one, since routers drop non-transitive communities there (RFC 4360 §6).
    fn link_bandwidth(&self, bandwidth: u64) -> [u8; 8] {
        const LINK_BANDWIDTH: u8 = 4;
        const NON_TRANSITIVE: u8 = 0x40;
        let kind = if self.internal { NON_TRANSITIVE } else { 0 };
        let [high, low] = two_octets(self.asn).to_be_bytes();
        let [a, b, c, d] = (bandwidth as f32).to_be_bytes();
        [kind, LINK_BANDWIDTH, high, low, a, b, c, d]
    }
}

/// A path of our own number, `hops` times. At most 11, so that one segment is enough.
fn path(asn: u32, hops: usize, four_octet: bool) -> Vec<u8> {
    let hops = hops.min(usize::from(u8::MAX));
    if hops == 0 {
        return Vec::new();
    }
    let number = asn.to_be_bytes();
    let short = two_octets(asn).to_be_bytes();
    let number = if four_octet { &number[..] } else { &short[..] };
    [&[AS_SEQUENCE, hops as u8], &number.repeat(hops)[..]].concat()
}

fn attribute(out: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    // What is longer does not fit into a message either, so that the length does not matter.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    match u8::try_from(length) {
        Ok(length) => out.extend_from_slice(&[flags, kind, length]),
        Err(_) => {
            out.extend_from_slice(&[flags | LONG, kind]);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// Appends the head of MP_REACH_NLRI (RFC 4760 §3), always with a long length, which is to be written when the prefixes are there.
pub(super) fn reach_head(out: &mut Vec<u8>, family: Family, next_hop: Ipv6Addr) {
    unreach_head(out, family);
    let kind = out.len() - 6;
    out[kind] = MP_REACH;
    out.push(16);
    out.extend_from_slice(&next_hop.octets());
    out.push(0);
}

/// The same for MP_UNREACH_NLRI (§4).
pub(super) fn unreach_head(out: &mut Vec<u8>, family: Family) {
    let [high, low] = afi(family).to_be_bytes();
    out.extend_from_slice(&[OPTIONAL | LONG, MP_UNREACH, 0, 0, high, low, UNICAST]);
}

const _: () = assert!(AS_TRANS == 23456);
