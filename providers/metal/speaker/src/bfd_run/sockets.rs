//! The UDP sockets of BFD. I/O.
//!
//! **Receiving: one socket per port and family**, for all sessions. Packets come from a source port that the neighbour chooses, so that a socket cannot be
//! connected to it before the first packet is there; and a neighbour that starts anew chooses another one. Demultiplexing is by discriminator anyway (RFC 5880
//! §6.3). The ports are taken for this process alone: when something else on the node speaks BFD there (an FRR that a MetalLB brought), packets would go to
//! either as it pleases the kernel.
//!
//! **Sending: one socket per session**, for its source port must be its own (RFC 5881 §4). It is not connected, so that routes and addresses may change under
//! it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::task::{Context, Poll};

use causeway_sys::arrival;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::bfd::path::{MULTIHOP_PORT, SINGLE_HOP_PORT, TTL};
use crate::bfd::{Arrival, packet};

/// Octets that may wait to be read: some thousand packets, of all neighbours.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Source ports (RFC 5881 §4).
const FIRST_PORT: u16 = 49152;
/// DSCP "internetwork control", as an octet of TOS or traffic class.
const INTERNETWORK_CONTROL: u32 = 0xc0;
/// Classic BPF: `BPF_RET | BPF_K`, nothing.
const DROP_ALL: [(u16, u32); 1] = [(0x06, 0)];

/// Whose packets a socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) ipv6: bool,
    pub(super) multihop: bool,
}

impl Kind {
    pub(super) const ALL: [Kind; 4] = [
        Kind { ipv6: false, multihop: false },
        Kind { ipv6: true, multihop: false },
        Kind { ipv6: false, multihop: true },
        Kind { ipv6: true, multihop: true },
    ];

    pub(super) fn port(self) -> u16 {
        if self.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT }
    }
}

/// Receives the packets of one kind.
#[derive(Debug)]
pub(super) struct Listener {
    kind: Kind,
    socket: UdpSocket,
}

impl Listener {
    pub(super) fn open(kind: Kind) -> io::Result<Self> {
        let all: IpAddr = if kind.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let address = SocketAddr::new(all, kind.port());
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if kind.ipv6 {
            socket.set_only_v6(true)?;
        }
        arrival::report(&socket, kind.ipv6)?;
        // Packets of many neighbours must not be lost while something else is done. The kernel may give less.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(Listener { kind, socket: UdpSocket::from_std(socket.into())? })
    }

    /// Whether a datagram may be there; otherwise the task is woken when one is.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.socket.poll_recv_ready(context) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            // The runtime is going down; not to be spun on.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes a datagram that is there: its octets, and how it came.
    pub(super) fn try_receive<'a>(&self, buffer: &'a mut [u8]) -> Option<(&'a [u8], Arrival)> {
        loop {
            let received =
                match self.socket.try_io(Interest::READABLE, || arrival::receive(&self.socket, buffer)) {
                    // The runtime only knows what it was told before; what has come since counts too. It is asked first all the same: only so does it notice
                    // that nothing is there any more, and wait.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        arrival::receive(&self.socket, buffer)
                    }
                    received => received,
                };
            match received {
                Ok(arrival::Arrival { length, from, to, interface, hops }) => {
                    let multihop = self.kind.multihop;
                    let arrival = Arrival { from: from.ip(), to, interface, ttl: hops, multihop };
                    return Some((buffer.get(..length).unwrap_or_default(), arrival));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // A datagram may stand behind it.
                Err(error) => tracing::debug!(%error, "BFD socket"),
            }
        }
    }
}

/// Sends the packets of one session.
#[derive(Debug)]
pub(super) struct Transmitter {
    socket: Socket,
    port: u16,
    to: SockAddr,
}

impl Transmitter {
    /// Binds to the first free port from `begin` on, which may be any number.
    pub(super) fn open(
        local: Option<IpAddr>,
        remote: IpAddr,
        interface: Option<(&str, u32)>,
        multihop: bool,
        begin: u16,
    ) -> io::Result<Self> {
        let port = Kind { ipv6: remote.is_ipv6(), multihop }.port();
        let to = match (remote, interface) {
            (IpAddr::V6(v6), Some((_, index))) if v6.is_unicast_link_local() => {
                SocketAddrV6::new(v6, port, 0, index).into()
            }
            _ => SocketAddr::new(remote, port),
        };
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        if to.is_ipv4() {
            socket.set_ttl_v4(u32::from(TTL))?;
            socket.set_tos_v4(INTERNETWORK_CONTROL)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(u32::from(TTL))?;
            socket.set_tclass_v6(INTERNETWORK_CONTROL)?;
        }
        // Nobody has a reason to send here, and nothing reads it.
        socket.attach_filter(&DROP_ALL.map(|(code, value)| SockFilter::new(code, 0, 0, value)))?;
        socket.set_nonblocking(true)?;
        if let Some((name, _)) = interface {
            socket.bind_device(Some(name.as_bytes()))?;
        }
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let local = local.unwrap_or(any);
        let count = u16::MAX - FIRST_PORT + 1;
        for step in 0..count {
            let port = FIRST_PORT + (begin % count).wrapping_add(step) % count;
            let address = match (local, interface) {
                (IpAddr::V6(v6), Some((_, index))) if v6.is_unicast_link_local() => {
                    SocketAddrV6::new(v6, port, 0, index).into()
                }
                _ => SocketAddr::new(local, port),
            };
            match socket.bind(&address.into()) {
                Ok(()) => return Ok(Transmitter { socket, port, to: to.into() }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn send(&self, octets: &[u8; packet::LENGTH]) -> io::Result<()> {
        self.socket.send_to(octets, &self.to).map(|_length| ())
    }

    /// The hardware address under which the kernel sends to a neighbour, if it knows one.
    pub(super) fn neighbor_mac(&self, interface: &str, address: Ipv4Addr) -> io::Result<Option<[u8; 6]>> {
        causeway_sys::neighbor_mac(&self.socket, interface, address)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_session_has_a_source_port_of_its_own() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let open = |begin| Transmitter::open(None, loopback, None, false, begin).expect("bound");
        let all: Vec<Transmitter> = [7, 7, 16_383, 16_383, u16::MAX].map(open).into();
        let ports: BTreeSet<u16> = all.iter().map(Transmitter::port).collect();
        assert_eq!(ports.len(), all.len());
        assert!(ports.iter().all(|port| *port >= FIRST_PORT));
    }
}
