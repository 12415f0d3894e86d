//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227). Pure.

use std::net::Ipv4Addr;

use etherparse::{ArpHardwareId, ArpOperation, ArpPacketSlice, EtherType};

use super::frame::{Frame, MacAddr};

/// What an ARP packet says, once it is known to be one for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// `ar$sha`.
    pub sender_mac: MacAddr,
    /// `ar$spa`; unspecified in an address probe (RFC 5227 §1.1).
    pub sender_address: Ipv4Addr,
    /// `ar$tha`; meaningless in a request.
    pub target_mac: MacAddr,
    /// `ar$tpa`.
    pub target_address: Ipv4Addr,
}

/// `ar$op`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// 1: who has the target address?
    Request,
    /// 2: the sender has the sender address.
    Reply,
}

impl Operation {
    fn number(self) -> u16 {
        match self {
            Operation::Request => ArpOperation::REQUEST.0,
            Operation::Reply => ArpOperation::REPLY.0,
        }
    }
}

/// Why octets are no ARP packet that we understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Shorter than its own length fields say.
    #[error("truncated ARP packet")]
    Truncated,
    /// Not Ethernet and IPv4, address lengths that are not 6 and 4, or an operation that is neither request nor reply.
    #[error("ARP packet that is not for IPv4 over Ethernet")]
    Foreign,
}

/// Reads the payload of an Ethernet frame. Padding behind the packet is ignored (RFC 826 says nothing of length; Ethernet's minimum is 46
/// octets, ARP needs 28).
pub fn parse(payload: &[u8]) -> Result<Packet, Unreadable> {
    let packet = ArpPacketSlice::from_slice(payload).map_err(|_| Unreadable::Truncated)?;
    if packet.hw_addr_type() != ArpHardwareId::ETHERNET || packet.proto_addr_type() != EtherType::IPV4 {
        return Err(Unreadable::Foreign);
    }
    let operation = match packet.operation() {
        ArpOperation::REQUEST => Operation::Request,
        ArpOperation::REPLY => Operation::Reply,
        _ => return Err(Unreadable::Foreign),
    };
    let mac = |octets: &[u8]| <[u8; 6]>::try_from(octets).map(MacAddr).map_err(|_| Unreadable::Foreign);
    let address =
        |octets: &[u8]| <[u8; 4]>::try_from(octets).map(Ipv4Addr::from).map_err(|_| Unreadable::Foreign);
    Ok(Packet {
        operation,
        sender_mac: mac(packet.sender_hw_addr())?,
        sender_address: address(packet.sender_protocol_addr())?,
        target_mac: mac(packet.target_hw_addr())?,
        target_address: address(packet.target_protocol_addr())?,
    })
}

/// The answer to a request: its target address is at `own`. Also the answer to a probe, whose sender address is unspecified: the
/// asker must learn that the address is in use (RFC 5227 §2.1.1).
pub fn reply(own: MacAddr, request: &Packet) -> Frame {
    frame(
        own,
        request.sender_mac,
        &Packet {
            operation: Operation::Reply,
            sender_mac: own,
            sender_address: request.target_address,
            target_mac: request.sender_mac,
            target_address: request.sender_address,
        },
    )
}

/// A packet that tells everybody, unasked, that `address` is at `own` (RFC 5227 §3: announcements are requests, but some hosts take
/// them only as replies, so both forms are sent). The target hardware address is broadcast, as MetalLB sends it.
pub fn gratuitous(own: MacAddr, address: Ipv4Addr, operation: Operation) -> Frame {
    frame(
        own,
        MacAddr::BROADCAST,
        &Packet {
            operation,
            sender_mac: own,
            sender_address: address,
            target_mac: MacAddr::BROADCAST,
            target_address: address,
        },
    )
}

fn frame(source: MacAddr, destination: MacAddr, packet: &Packet) -> Frame {
    let mut frame = Frame::new();
    frame.push(&destination.0);
    frame.push(&source.0);
    frame.push(&EtherType::ARP.0.to_be_bytes());
    frame.push(&ArpHardwareId::ETHERNET.0.to_be_bytes());
    frame.push(&EtherType::IPV4.0.to_be_bytes());
    frame.push(&[6, 4]);
    frame.push(&packet.operation.number().to_be_bytes());
    frame.push(&packet.sender_mac.0);
    frame.push(&packet.sender_address.octets());
    frame.push(&packet.target_mac.0);
    frame.push(&packet.target_address.octets());
    frame
}

/// Asks whether anybody has `address`, without telling an address of its own (RFC 5227 §2.1.1).
pub fn probe(own: MacAddr, address: Ipv4Addr) -> Frame {
    request(own, Ipv4Addr::UNSPECIFIED, MacAddr::BROADCAST, address)
}

/// A request as a host sends it to the station `to`.
pub fn request(asker: MacAddr, asker_address: Ipv4Addr, to: MacAddr, target: Ipv4Addr) -> Frame {
    frame(
        asker,
        to,
        &Packet {
            operation: Operation::Request,
            sender_mac: asker,
            sender_address: asker_address,
            target_mac: MacAddr::default(),
            target_address: target,
        },
    )
}
