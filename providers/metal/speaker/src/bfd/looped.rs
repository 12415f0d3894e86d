//! The IPv4 packet around an echo packet (RFC 5881 §4), which the neighbour's forwarding plane sends back to where it came from. Pure.
//!
//! It is from and to our own address, and handed to the neighbour's hardware address. RFC 5881 would rather have a source outside of the subnet, so that a
//! router does not answer with an ICMP redirect; but a router that checks where sources belong would then drop it, and one that sends redirects stops after a
//! few that are not heeded. Everybody else does it like this, too.

use std::net::Ipv4Addr;

use etherparse::{IpDscp, IpHeaders, IpNumber, Ipv4Header, Ipv4HeaderSlice, PacketBuilder, UdpHeaderSlice};

use super::echo::LENGTH;
use super::path::{ECHO_PORT, TTL};

/// The packet that carries this payload, from the IPv4 header on.
pub fn wrap(ours: Ipv4Addr, payload: &[u8; LENGTH]) -> Vec<u8> {
    let header = Ipv4Header {
        // As for all packets of BFD: internetwork control.
        dscp: IpDscp::CS6,
        time_to_live: TTL,
        protocol: IpNumber::UDP,
        source: ours.octets(),
        destination: ours.octets(),
        ..Ipv4Header::default()
    };
    let headers = IpHeaders::Ipv4(header, Default::default());
    let builder = PacketBuilder::ip(headers).udp(ECHO_PORT, ECHO_PORT);
    let mut packet = Vec::with_capacity(builder.size(LENGTH));
    let written = builder.write(&mut packet, payload);
    debug_assert!(written.is_ok(), "a Vec takes all, and the lengths are small");
    packet
}

/// The payload of such a packet that came back to this address: through exactly one router. Nothing if it is none.
pub fn unwrap(packet: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let looped = ip.source() == ip.destination() && ip.protocol() == IpNumber::UDP && ip.ttl() == TTL - 1;
    let rest = packet.get(ip.slice().len()..usize::from(ip.total_len()))?;
    let udp = UdpHeaderSlice::from_slice(rest).ok()?;
    if !looped || udp.destination_port() != ECHO_PORT || usize::from(udp.length()) > rest.len() {
        return None;
    }
    let payload = rest.get(udp.slice().len()..usize::from(udp.length()))?;
    Some((ip.destination_addr(), payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    /// As a router sends it back.
    fn returned() -> Vec<u8> {
        let mut packet = wrap(OURS, &[7; LENGTH]);
        packet[8] -= 1;
        packet
    }

    #[test]
    fn comes_back_through_one_router() {
        let packet = returned();
        assert_eq!(packet.len(), 20 + 8 + LENGTH);
        assert_eq!(unwrap(&packet), Some((OURS, &[7; LENGTH][..])));
        // Followed by what fills an Ethernet frame.
        assert_eq!(unwrap(&[packet, vec![0; 6]].concat()), Some((OURS, &[7; LENGTH][..])));
    }

    #[test]
    fn checksums_are_right() {
        let packet = wrap(OURS, &[7; LENGTH]);
        let ip = Ipv4HeaderSlice::from_slice(&packet).expect("sound").to_header();
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        let udp = UdpHeaderSlice::from_slice(&packet[20..]).expect("sound").to_header();
        assert_eq!(udp.calc_checksum_ipv4(&ip, &packet[28..]), Ok(udp.checksum));
    }

    #[test]
    fn anything_else_does_not_count() {
        let changes: [(usize, u8, &str); 7] = [
            (8, 255, "it was not forwarded"),
            (8, 253, "by two routers"),
            (9, 6, "TCP"),
            (15, 9, "from somebody else"),
            (19, 9, "to somebody else"),
            (22, 0, "another port"),
            (25, 200, "longer than it is"),
        ];
        for (at, octet, why) in changes {
            let mut packet = returned();
            packet[at] = octet;
            assert_eq!(unwrap(&packet), None, "{why}");
        }
        for length in 0..returned().len() {
            assert_eq!(unwrap(&returned()[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_octets_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..60), at in 0..44usize, octet: u8) {
            let _any = unwrap(&octets);
            let mut packet = returned();
            packet[at] = octet;
            let _any = unwrap(&packet);
        }
    }
}
