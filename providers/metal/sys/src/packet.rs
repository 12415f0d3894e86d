//! A packet socket on one interface. I/O.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::filter::Traffic;

/// Octets of an Ethernet address.
pub(crate) const ETHERNET_ADDRESS: usize = 6;

/// To whom the link layer addressed a packet, as the kernel saw it on receipt (`sll_pkttype`, packet(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addressed {
    /// To the interface's own address.
    Host,
    /// To the broadcast address.
    Broadcast,
    /// To a group.
    Multicast,
    /// To somebody else: seen because the interface is promiscuous, or because the packet carries a VLAN tag for which
    /// there is no interface here (then this is the only sign: the tag itself is stripped).
    OtherHost,
    /// Sent by this machine.
    Outgoing,
}

/// One received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Octets written to the buffer; of a longer packet the rest is lost.
    pub length: usize,
    /// To whom it was addressed.
    pub addressed: Addressed,
    /// Index of the interface by which it came.
    pub interface: u32,
}

/// A raw (`SOCK_RAW`, so with link-layer header) packet socket bound to one interface and one kind of traffic.
///
/// Needs `CAP_NET_RAW`. When the interface is deleted, receiving fails with `ENODEV` or `ENETDOWN`; the owner then
/// drops the socket.
#[derive(Debug)]
pub struct PacketSocket {
    descriptor: AsyncFd<Socket>,
    interface: libc::c_int,
}

impl PacketSocket {
    /// Opens a socket on the interface with this index. Must be called within a tokio runtime.
    ///
    /// The filter is in place before the socket is bound, and before that its protocol is 0 (none), so nothing that
    /// the filter would refuse is ever queued. Frames that this machine sends are not reported.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` if there is no such interface; `ENETDOWN` is not an error here but a state
    /// that ends when the interface comes up.
    pub fn open(interface: u32, traffic: Traffic) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        socket.attach_filter(&traffic.program())?;
        ignore_outgoing(&socket)?;
        socket.bind(&link_address(interface, traffic.ethertype(), None)?)?;
        // SAFETY: `Socket` owns its descriptor, which is open (it was just created), and always reports the same one; it is moved
        // into the `AsyncFd` and only lent out by shared reference, so nothing can close it before the `AsyncFd` goes.
        let registered = unsafe { AsyncFd::register(socket) };
        let descriptor = registered.map_err(|error| error.into_parts().1)?;
        Ok(PacketSocket { descriptor, interface: index_of(interface)? })
    }

    /// Lets the interface receive frames to this Ethernet group as long as the socket lives (`PACKET_MR_MULTICAST`, packet(7)). The
    /// kernel counts how many want a group. A network card that cannot filter by so many groups is told to receive all.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn join(&self, group: [u8; 6]) -> io::Result<()> {
        self.membership(libc::PACKET_ADD_MEMBERSHIP, group)
    }

    /// The opposite of [`Self::join`].
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` if the group was not joined.
    pub fn leave(&self, group: [u8; 6]) -> io::Result<()> {
        self.membership(libc::PACKET_DROP_MEMBERSHIP, group)
    }

    fn membership(&self, option: libc::c_int, group: [u8; 6]) -> io::Result<()> {
        let mut request = libc::packet_mreq {
            mr_ifindex: self.interface,
            mr_type: libc::PACKET_MR_MULTICAST as libc::c_ushort,
            mr_alen: group.len() as libc::c_ushort,
            mr_address: [0; 8],
        };
        request.mr_address[..group.len()].copy_from_slice(&group);
        set_option(self.descriptor.get_ref(), option, &request)
    }

    /// Waits for the next packet and writes it to `buffer`. Cancel-safe: a packet is taken only when this returns.
    ///
    /// # Errors
    ///
    /// Those of recvfrom(2).
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let mut ready = self.descriptor.readable().await?;
            match ready.try_io(|descriptor| receive_from(descriptor.as_raw_fd(), buffer)) {
                Ok(received) => return received,
                Err(_would_block) => {}
            }
        }
    }

    /// Takes a packet that is already there.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; otherwise those of recvfrom(2).
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        receive_from(self.descriptor.as_raw_fd(), buffer)
    }

    /// Sends one frame, link-layer header included, without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket's send buffer is full, `ENETDOWN` when the interface is down; otherwise those of
    /// send(2).
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        self.descriptor.get_ref().send(frame).map(|_length| ())
    }

    /// Sends one frame; waits while the socket's send buffer is full. Cancel-safe: not sent unless this returns.
    ///
    /// # Errors
    ///
    /// As [`Self::try_send`], without `WouldBlock`.
    pub async fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            let mut ready = self.descriptor.writable().await?;
            match ready.try_io(|descriptor| descriptor.get_ref().send(frame)) {
                Ok(sent) => return sent.map(|_length| ()),
                Err(_would_block) => {}
            }
        }
    }
}

/// Asks the kernel (4.20 or later) not to report what this machine sends. Without that the answers of all other
/// programs would wake us.
pub(crate) fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    set_option(socket, libc::PACKET_IGNORE_OUTGOING, &on)
}

/// Sets an option of packet sockets. `T` must be what the kernel expects for it: plain data without pointers.
fn set_option<T>(socket: &Socket, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the pointer and the length describe `value`, which outlives the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const *value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(crate) fn index_of(interface: u32) -> io::Result<libc::c_int> {
    libc::c_int::try_from(interface)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "interface index out of range"))
}

/// The address to bind to, or with a station to send to: this interface (0: any), this Ethernet type.
pub(crate) fn link_address(
    interface: u32,
    ethertype: u16,
    station: Option<[u8; ETHERNET_ADDRESS]>,
) -> io::Result<SockAddr> {
    let index = index_of(interface)?;
    // SAFETY: the storage is as large as any socket address and zeroed, which is a valid `sockaddr_ll`; the length given back is that
    // of the structure written, and the family field says AF_PACKET.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage: *mut SockAddrStorage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as libc::sa_family_t;
            (*link).sll_protocol = ethertype.to_be();
            (*link).sll_ifindex = index;
            if let Some(station) = station {
                (*link).sll_halen = ETHERNET_ADDRESS as libc::c_uchar;
                (&mut (*link).sll_addr)[..ETHERNET_ADDRESS].copy_from_slice(&station);
            }
            *length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    Ok(address)
}

pub(crate) fn receive_from(descriptor: RawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut from_length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `buffer` and `from` are writable for the lengths given, and the kernel keeps no pointer to them.
    let length = unsafe {
        libc::recvfrom(
            descriptor,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            from.as_mut_ptr().cast(),
            &raw mut from_length,
        )
    };
    let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
    // SAFETY: all-zero is a valid `sockaddr_ll`, and whatever the kernel wrote on top of it is as well.
    let from = unsafe { from.assume_init() };
    let addressed = match from.sll_pkttype {
        libc::PACKET_HOST => Addressed::Host,
        libc::PACKET_BROADCAST => Addressed::Broadcast,
        libc::PACKET_MULTICAST => Addressed::Multicast,
        libc::PACKET_OUTGOING => Addressed::Outgoing,
        _ => Addressed::OtherHost,
    };
    let interface = u32::try_from(from.sll_ifindex).unwrap_or(0);
    Ok(Received { length, addressed, interface })
}
