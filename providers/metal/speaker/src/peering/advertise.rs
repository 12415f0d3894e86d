//! Router advertisements on links without addresses: how the router at the other end learns who is here. I/O.
//!
//! FRR, and what is made of it, takes a session over such a link only from a neighbour whose advertisement it has heard. Ours say that this node is no
//! default router (lifetime 0, RFC 4861 §4.2), and so change nothing for anybody else on the link.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use super::local::Port;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 4861 §6.1.2: others are not believed.
const HOP_LIMIT: u32 = 255;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// Sends one on an interface. Needs `CAP_NET_RAW`.
pub(super) fn advertise(port: &Port, own: Ipv6Addr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV6))?;
    socket.set_multicast_hops_v6(HOP_LIMIT)?;
    socket.set_multicast_if_v6(port.index)?;
    // Or our own kernel would take us for a router at the other end.
    socket.set_multicast_loop_v6(false)?;
    let place = |address| SocketAddrV6::new(address, 0, 0, port.index).into();
    socket.bind(&place(own))?;
    socket.send_to(&message(port), &place(ALL_NODES)).map(drop)
}

/// Type, code, checksum (the kernel's to write), hop limit, flags, lifetime, reachable time, retransmission timer: nothing is said but who we are.
fn message(port: &Port) -> Vec<u8> {
    let mut message = vec![0; 16];
    message[0] = ROUTER_ADVERTISEMENT;
    if let Some(mac) = port.mac {
        message.extend_from_slice(&[SOURCE_LINK_LAYER_ADDRESS, 1]);
        message.extend_from_slice(&mac.0);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::MacAddr;

    #[test]
    fn it_says_who_we_are_and_nothing_else() {
        let port = Port { index: 2, mac: Some(MacAddr([2, 0, 0, 0, 0, 1])), link_local: None };
        let message = message(&port);
        assert_eq!(message.len(), 24);
        assert_eq!(message[0], 134);
        assert!(message[1..16].iter().all(|octet| *octet == 0));
        assert_eq!(message[16..], [1, 1, 2, 0, 0, 0, 0, 1]);
    }
}
