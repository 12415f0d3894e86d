//! How a datagram came in: to which address, by which interface, with how many hops left. I/O.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// A datagram, but for its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Octets written to the buffer; of a longer datagram the rest is lost.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// To which of our addresses.
    pub to: IpAddr,
    /// By the interface with this index.
    pub interface: u32,
    /// TTL or hop limit.
    pub hops: u8,
}

/// Room for the two control messages of either family, with what the kernel aligns them to.
const CONTROL: usize = 128;

/// Aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; CONTROL]);

/// Asks the kernel to tell of a UDP socket's datagrams what [`receive`] reports.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn report(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    let options = if ipv6 {
        [(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT), (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)]
    } else {
        [(libc::IPPROTO_IP, libc::IP_RECVTTL), (libc::IPPROTO_IP, libc::IP_PKTINFO)]
    };
    for (level, option) in options {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open for as long as it is lent, and the pointer and the length describe `on`, which outlives the call.
        let failed = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                mem::size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes a datagram that is already there from a socket of which [`report`] was asked.
///
/// # Errors
///
/// `WouldBlock` if there is none and the socket does not block; `InvalidData` if the kernel did not tell how it came, which then is lost; otherwise those of
/// recvmsg(2).
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut from = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control([MaybeUninit::uninit(); CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid `msghdr`: null pointers with lengths of 0.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = from.as_mut_ptr().cast();
    message.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: the descriptor is open for as long as it is lent; every pointer in `message` is to something writable of the length said there, which outlives
    // the call.
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: all-zero is a valid `sockaddr_storage`, and whatever the kernel wrote on top of it is as well.
    let from = address(&unsafe { from.assume_init() });
    let (mut to, mut hops) = (None, None);
    // SAFETY: `message` is as recvmsg(2) left it, so that msg_control and msg_controllen describe control messages that the kernel wrote to `control`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: not null, so CMSG_FIRSTHDR or CMSG_NXTHDR found a whole header within `control`, which is aligned for it.
        let head = unsafe { *header };
        match (head.cmsg_level, head.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                // SAFETY: this kind carries a c_int.
                hops = u8::try_from(unsafe { payload::<libc::c_int>(header) }).ok();
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: this kind carries an in_pktinfo.
                let info = unsafe { payload::<libc::in_pktinfo>(header) };
                let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                to = u32::try_from(info.ipi_ifindex).ok().map(|index| (IpAddr::V4(address), index));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: this kind carries an in6_pktinfo.
                let info = unsafe { payload::<libc::in6_pktinfo>(header) };
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                to = Some((IpAddr::V6(address), info.ipi6_ifindex));
            }
            _ => {}
        }
        // SAFETY: `header` is one of the control messages of `message`.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    match (from, to, hops) {
        (Some(from), Some((to, interface)), Some(hops)) => Ok(Arrival { length, from, to, interface, hops }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel does not say how a datagram came")),
    }
}

/// What a control message carries.
///
/// # Safety
///
/// The kernel must have written the message, whole, and it must be of a kind that carries a `T`, which must be plain data.
unsafe fn payload<T: Copy>(header: *const libc::cmsghdr) -> T {
    // SAFETY: as the caller promises; the data may stand unaligned.
    unsafe { libc::CMSG_DATA(header).cast::<T>().read_unaligned() }
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = &raw const *storage;
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is; the storage is large enough and aligned for every kind.
            let from = unsafe { *pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(from.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let from = unsafe { *pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(from.sin6_addr.s6_addr);
            Some(
                SocketAddrV6::new(ip, u16::from_be(from.sin6_port), from.sin6_flowinfo, from.sin6_scope_id)
                    .into(),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn exchange(local: IpAddr) {
        let receiver = UdpSocket::bind((local, 0)).expect("bound");
        report(&receiver, local.is_ipv6()).expect("options");
        let mut buffer = [0; 4];
        let nothing = receive(&receiver, &mut buffer).map_err(|error| error.kind());
        assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
        let sender = socket2::Socket::from(UdpSocket::bind((local, 0)).expect("bound"));
        if local.is_ipv6() {
            sender.set_unicast_hops_v6(77).expect("hops");
        } else {
            sender.set_ttl_v4(77).expect("ttl");
        }
        let to = receiver.local_addr().expect("bound");
        for text in [&b"abc"[..], b"longer"] {
            sender.send_to(text, &to.into()).expect("sent");
            let arrival = receive(&receiver, &mut buffer).expect("it lies there");
            assert_eq!(buffer[..arrival.length], text[..text.len().min(4)]);
            let from = sender.local_addr().expect("bound").as_socket().expect("an address");
            let loopback = crate::interface_index("lo").expect("there is one");
            let expected = Arrival { length: arrival.length, from, to: local, interface: loopback, hops: 77 };
            assert_eq!(arrival, expected);
        }
    }

    #[test]
    fn tells_how_a_datagram_came() {
        exchange(Ipv4Addr::LOCALHOST.into());
    }

    #[test]
    fn for_ipv6_too() {
        // Not every machine has it.
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            exchange(Ipv6Addr::LOCALHOST.into());
        }
    }
}
