//! A packet socket of all interfaces for IPv4 packets that are sent past the routing table. I/O.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::filter::{ETH_P_IP, looped_program};
use crate::packet::{ETHERNET_ADDRESS, Received, ignore_outgoing, link_address, receive_from};

/// A `SOCK_DGRAM` packet socket: the kernel writes and strips the link-layer header. Gets the UDP packets over IPv4, without options and not in fragments, that
/// go to one port and whose source and destination are the same address: such as come back from a neighbour which they were handed to. The kernel itself drops
/// those after that, since they claim to come from this machine.
///
/// Needs `CAP_NET_RAW`.
#[derive(Debug)]
pub struct LoopedSocket {
    descriptor: AsyncFd<Socket>,
}

impl LoopedSocket {
    /// Opens the socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking().cloexec(), None)?;
        // Before it is bound its protocol is 0 (none), so nothing that the filter would refuse is ever queued.
        socket.attach_filter(&looped_program(port))?;
        ignore_outgoing(&socket)?;
        socket.bind(&link_address(0, ETH_P_IP, None)?)?;
        // SAFETY: `Socket` owns its descriptor, which is open (it was just created), and always reports the same one; it is moved into the `AsyncFd` and only
        // lent out by shared reference, so nothing can close it before the `AsyncFd` goes.
        let registered = unsafe { AsyncFd::register(socket) };
        let descriptor = registered.map_err(|error| error.into_parts().1)?;
        Ok(LoopedSocket { descriptor })
    }

    /// Waits until a packet may be there.
    ///
    /// # Errors
    ///
    /// When the runtime goes down.
    pub async fn readable(&self) -> io::Result<()> {
        self.descriptor.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Takes a packet that is there: from the IPv4 header on.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; otherwise those of recvfrom(2).
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let receive = |socket: &Socket, buffer: &mut [u8]| receive_from(socket.as_raw_fd(), buffer);
        match self.descriptor.try_io(Interest::READABLE, |socket| receive(socket, buffer)) {
            // The runtime only knows what it was told before; what has come since counts too. It is asked first all the same: only so does it notice that
            // nothing is there any more, and wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                receive(self.descriptor.get_ref(), buffer)
            }
            received => received,
        }
    }

    /// Hands a packet, from the IPv4 header on, to the station with this hardware address on this interface.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket's send buffer is full, `ENETDOWN` when the interface is down, `ENXIO` when there is none; otherwise those of sendto(2).
    pub fn send(&self, packet: &[u8], interface: u32, to: [u8; ETHERNET_ADDRESS]) -> io::Result<()> {
        let to = link_address(interface, ETH_P_IP, Some(to))?;
        self.descriptor.get_ref().send_to(packet, &to).map(|_length| ())
    }
}
