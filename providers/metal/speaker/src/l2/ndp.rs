//! Neighbour discovery for IPv6 over Ethernet (RFC 4861 §4.3, §4.4, §7; RFC 4862 §5.4; RFC 2464). Pure.
//!
//! The source address of what we say is the announced address itself, as the kernel does for its own addresses, so that an interface needs no IPv6 address, not
//! even a link-local one. The exception is a probe, whose source is the unspecified address (RFC 4862 §5.4.2).

use std::net::Ipv6Addr;

use etherparse::icmpv6::{
    NdpOptionSlice, NdpOptionsIterator, TYPE_NEIGHBOR_ADVERTISEMENT, TYPE_NEIGHBOR_SOLICITATION,
};
use etherparse::{EtherType, Icmpv6Slice, IpNumber, Ipv6Header, Ipv6HeaderSlice};

use super::frame::{Frame, MacAddr};

/// ff02::1, all nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Octets of a solicitation or an advertisement without options.
const FIXED_LENGTH: usize = 24;
/// Option type and length in units of eight octets (RFC 4861 §4.6.1).
const TARGET_LINK_LAYER_ADDRESS: [u8; 2] = [2, 1];
/// Nothing older than the last hop can have this (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Whether it asks or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who has the target address?
    Solicitation,
    /// The target address is at the link-layer address.
    Advertisement {
        /// It answers a solicitation.
        solicited: bool,
        /// What is known otherwise is to be overwritten.
        overrides: bool,
    },
}

/// What a neighbour solicitation or advertisement says, once it has passed the checks of RFC 4861 §7.1.1 and §7.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Whether it asks or tells.
    pub kind: Kind,
    /// Source address; unspecified in a probe for duplicates (RFC 4862 §5.4.2).
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// The address in question.
    pub target: Ipv6Addr,
    /// The option with the sender's link-layer address: the source's in a solicitation, the target's in an advertisement.
    pub link_layer: Option<MacAddr>,
}

/// Why octets are no neighbour solicitation or advertisement that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Shorter than its own length fields say.
    #[error("truncated IPv6 packet")]
    Truncated,
    /// Another protocol, or another message of ICMPv6.
    #[error("neither neighbour solicitation nor advertisement")]
    Foreign,
    /// It may come from afar.
    #[error("hop limit that is not 255")]
    HopLimit,
    /// Damaged.
    #[error("wrong ICMPv6 checksum")]
    Checksum,
    /// It breaks another rule of RFC 4861 §7.1: code, length, target, destination, options.
    #[error("malformed neighbour discovery packet")]
    Malformed,
}

/// The group that everybody listens to who has an address with these last 24 bits (RFC 4291 §2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet address of a group (RFC 2464 §7).
pub fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// Whether this is the Ethernet address of an IPv6 group.
pub(super) fn is_group_mac(mac: MacAddr) -> bool {
    mac.0.starts_with(&[0x33, 0x33])
}

/// Reads the payload of an Ethernet frame. Padding behind the packet is ignored.
pub fn parse(payload: &[u8]) -> Result<Packet, Unreadable> {
    let header = Ipv6HeaderSlice::from_slice(payload).map_err(|error| match error {
        etherparse::err::ipv6::HeaderSliceError::Len(_) => Unreadable::Truncated,
        etherparse::err::ipv6::HeaderSliceError::Content(_) => Unreadable::Foreign,
    })?;
    // Extension headers before such messages are legal and not in use; fragments are forbidden (RFC 6980).
    if header.next_header() != IpNumber::IPV6_ICMP {
        return Err(Unreadable::Foreign);
    }
    let message = payload
        .get(Ipv6Header::LEN..)
        .and_then(|rest| rest.get(..usize::from(header.payload_length())))
        .ok_or(Unreadable::Truncated)?;
    let message = Icmpv6Slice::from_slice(message).map_err(|_| Unreadable::Truncated)?;
    let solicitation = match message.type_u8() {
        TYPE_NEIGHBOR_SOLICITATION => true,
        TYPE_NEIGHBOR_ADVERTISEMENT => false,
        _ => return Err(Unreadable::Foreign),
    };
    if header.hop_limit() != HOP_LIMIT {
        return Err(Unreadable::HopLimit);
    }
    if !message.is_checksum_valid(header.source(), header.destination()) {
        return Err(Unreadable::Checksum);
    }
    let octets = message.slice();
    if message.code_u8() != 0 || octets.len() < FIXED_LENGTH {
        return Err(Unreadable::Malformed);
    }
    let target = octets.get(8..).and_then(<[u8]>::first_chunk::<16>).ok_or(Unreadable::Malformed)?;
    let packet = Packet {
        kind: if solicitation {
            Kind::Solicitation
        } else {
            let flags = message.bytes5to8()[0];
            Kind::Advertisement { solicited: flags & SOLICITED != 0, overrides: flags & OVERRIDE != 0 }
        },
        source: header.source_addr(),
        destination: header.destination_addr(),
        target: Ipv6Addr::from(*target),
        link_layer: link_layer(octets.get(FIXED_LENGTH..).unwrap_or_default(), solicitation)?,
    };
    if follows_the_rules(&packet) { Ok(packet) } else { Err(Unreadable::Malformed) }
}

/// The link-layer option that this message can have; every other is passed by, and all must be whole.
fn link_layer(options: &[u8], solicitation: bool) -> Result<Option<MacAddr>, Unreadable> {
    let mut found = None;
    for option in NdpOptionsIterator::from_slice(options) {
        match option.map_err(|_| Unreadable::Malformed)? {
            NdpOptionSlice::SourceLinkLayerAddress(option) if solicitation => {
                found = <[u8; 6]>::try_from(option.link_layer_address()).ok().map(MacAddr);
            }
            NdpOptionSlice::TargetLinkLayerAddress(option) if !solicitation => {
                found = <[u8; 6]>::try_from(option.link_layer_address()).ok().map(MacAddr);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The rest of RFC 4861 §7.1.1 and §7.1.2.
fn follows_the_rules(packet: &Packet) -> bool {
    let probe_rules = !packet.source.is_unspecified()
        || (packet.destination == solicited_node(packet.target) && packet.link_layer.is_none());
    !packet.target.is_multicast()
        && match packet.kind {
            Kind::Solicitation => probe_rules,
            Kind::Advertisement { solicited, .. } => !(packet.destination.is_multicast() && solicited),
        }
}

/// The answer to a solicitation that came from the station `from`: its target is at `own`.
///
/// To a probe for duplicates, which has no source, the answer goes to everybody and is not "solicited" (RFC 4861 §7.2.4). Override
/// is set always: whoever knows another station must forget it, also if he missed what was said unasked when the address moved.
pub fn reply(own: MacAddr, solicitation: &Packet, from: MacAddr) -> Frame {
    if solicitation.source.is_unspecified() {
        return unsolicited(own, solicitation.target);
    }
    let to = solicitation.link_layer.unwrap_or(from);
    advertisement(own, to, solicitation.source, solicitation.target, SOLICITED | OVERRIDE)
}

/// An advertisement that tells everybody, routers included, unasked, that `address` is at `own` (RFC 4861 §7.2.6; RFC 9131 lets routers learn new
/// neighbours from it).
pub fn unsolicited(own: MacAddr, address: Ipv6Addr) -> Frame {
    advertisement(own, group_mac(ALL_NODES), ALL_NODES, address, OVERRIDE)
}

/// Asks whether anybody has `address`, without an address of its own (RFC 4862 §5.4.2).
pub fn probe(own: MacAddr, address: Ipv6Addr) -> Frame {
    let group = solicited_node(address);
    let to = (group_mac(group), group);
    solicitation((own, Ipv6Addr::UNSPECIFIED), to, address, None)
}

/// A solicitation as a host sends it. The option is the source link-layer address.
pub fn solicitation(
    (mac, source): (MacAddr, Ipv6Addr),
    (to, destination): (MacAddr, Ipv6Addr),
    target: Ipv6Addr,
    option: Option<MacAddr>,
) -> Frame {
    let message = Message {
        kind: TYPE_NEIGHBOR_SOLICITATION,
        flags: 0,
        target,
        option: option.map(|mac| ([1, 1], mac)),
    };
    frame((mac, source), (to, destination), &message)
}

fn advertisement(own: MacAddr, to: MacAddr, destination: Ipv6Addr, target: Ipv6Addr, flags: u8) -> Frame {
    let option = Some((TARGET_LINK_LAYER_ADDRESS, own));
    let message = Message { kind: TYPE_NEIGHBOR_ADVERTISEMENT, flags, target, option };
    frame((own, target), (to, destination), &message)
}

struct Message {
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: Option<([u8; 2], MacAddr)>,
}

fn frame(
    (mac, source): (MacAddr, Ipv6Addr),
    (to, destination): (MacAddr, Ipv6Addr),
    message: &Message,
) -> Frame {
    let length = FIXED_LENGTH as u16 + if message.option.is_some() { 8 } else { 0 };
    // Pseudo header (RFC 8200 §8.1), then the message with a checksum of zero.
    let sum = etherparse::checksum::Sum16BitWords::new()
        .add_16bytes(source.octets())
        .add_16bytes(destination.octets())
        .add_2bytes(length.to_be_bytes())
        .add_2bytes([0, IpNumber::IPV6_ICMP.0])
        .add_2bytes([message.kind, 0])
        .add_2bytes([message.flags, 0])
        .add_16bytes(message.target.octets());
    let sum = match message.option {
        Some((header, option)) => sum.add_2bytes(header).add_slice(&option.0),
        None => sum,
    };
    let mut frame = Frame::new();
    frame.push(&to.0);
    frame.push(&mac.0);
    frame.push(&EtherType::IPV6.0.to_be_bytes());
    frame.push(&[0x60, 0, 0, 0]);
    frame.push(&length.to_be_bytes());
    frame.push(&[IpNumber::IPV6_ICMP.0, HOP_LIMIT]);
    frame.push(&source.octets());
    frame.push(&destination.octets());
    frame.push(&[message.kind, 0]);
    // The sum is kept in the order of this machine.
    frame.push(&sum.ones_complement().to_ne_bytes());
    frame.push(&[message.flags, 0, 0, 0]);
    frame.push(&message.target.octets());
    if let Some((header, option)) = message.option {
        frame.push(&header);
        frame.push(&option.0);
    }
    frame
}
