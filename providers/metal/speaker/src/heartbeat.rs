//! The UDP socket of the heartbeats. I/O.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::sleep;

/// Octets that may wait to be read.
const RECEIVE_BUFFER: usize = 1 << 20;

/// One socket for both families, where the kernel has both.
#[derive(Debug)]
pub(crate) struct HeartbeatSocket {
    socket: UdpSocket,
    mapped: bool,
}

impl HeartbeatSocket {
    /// Binds to the port, on one address or on all.
    pub(crate) fn open(bind: Option<IpAddr>, port: u16) -> Result<Self, (SocketAddr, io::Error)> {
        let all = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        match bind {
            Some(address) => Self::bind(SocketAddr::new(address, port)),
            None => Self::bind(all).or_else(|(address, error)| match error.raw_os_error() {
                // A kernel without IPv6.
                Some(libc_error) if NO_IPV6.contains(&libc_error) => {
                    Self::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
                }
                _ => Err((address, error)),
            }),
        }
    }

    fn bind(address: SocketAddr) -> Result<Self, (SocketAddr, io::Error)> {
        let open = || {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            if address.is_ipv6() {
                socket.set_only_v6(!address.ip().is_unspecified())?;
            }
            // Heartbeats of many peers at once must not be lost while something else is done. The kernel may give less.
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            UdpSocket::from_std(socket.into())
        };
        let socket = open().map_err(|error| (address, error))?;
        Ok(HeartbeatSocket { socket, mapped: address.is_ipv6() })
    }

    /// Waits until a datagram may be there.
    pub(crate) async fn readable(&self) {
        if self.socket.readable().await.is_err() {
            // The runtime is going down; not to be spun on.
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes a datagram that is there: its length.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            let received = match self.socket.try_recv_from(buffer) {
                // The runtime only knows what it was told before; what has come since counts too. It is asked first all the same:
                // only so does it notice that nothing is there any more, and wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (&*SockRef::from(&self.socket)).read(buffer)
                }
                received => received.map(|(length, _)| length),
            };
            match received {
                Ok(length) => return Some(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // An error of an earlier send (ICMP) is reported here, once; a datagram may stand behind it.
                Err(error) => tracing::debug!(%error, "heartbeat socket"),
            }
        }
    }

    /// Sends a datagram without waiting; a lost one is what the protocol is made for. Answers whether it went out.
    pub(crate) fn send(&self, octets: &[u8], to: SocketAddr) -> bool {
        let to = match to.ip() {
            IpAddr::V4(address) if self.mapped => SocketAddr::new(address.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        // Past the runtime, which would first have to be told that the socket can be written to.
        let sent = SockRef::from(&self.socket).send_to(octets, &to.into());
        if let Err(error) = &sent {
            tracing::debug!(%error, %to, "heartbeat not sent");
        }
        sent.is_ok()
    }
}

/// EAFNOSUPPORT, EADDRNOTAVAIL.
const NO_IPV6: [i32; 2] = [97, 99];
