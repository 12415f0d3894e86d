//! Options of TCP sockets that only routers use. I/O.

use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{SockAddr, SockAddrStorage};

/// The longest password of a TCP MD5 signature (`TCP_MD5SIG_MAXKEYLEN`).
pub const MD5_MAX_KEY: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Signature {
    address: SockAddrStorage,
    flags: u8,
    prefix: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; MD5_MAX_KEY],
}

/// Signs and checks all segments to and from an address with a password (RFC 2385, tcp(7)): of a listening socket, for connections to
/// come; of another, before it connects. An empty password takes it away again. Segments that are not signed as they should be never reach the program.
///
/// # Errors
///
/// `EINVAL` for a password longer than [`MD5_MAX_KEY`]; `ENOENT` if there is none to take away; `ENOPROTOOPT` if the kernel was built without.
pub fn set_md5_password(socket: &impl AsFd, peer: IpAddr, password: &[u8]) -> io::Result<()> {
    let mut key = [0; MD5_MAX_KEY];
    let place = key.get_mut(..password.len()).ok_or(io::ErrorKind::InvalidInput)?;
    place.copy_from_slice(password);
    let option = Md5Signature {
        // The port is not looked at.
        address: SockAddr::from(std::net::SocketAddr::new(peer, 0)).as_storage(),
        flags: 0,
        prefix: 0,
        key_length: password.len() as u16,
        interface: 0,
        key,
    };
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option)
}

/// Drops segments whose TTL or hop limit is lower: they come from further away (RFC 5082). 0 drops none.
///
/// # Errors
///
/// Those of setsockopt(2); `ENOPROTOOPT` on a socket of the other family.
pub fn set_minimum_ttl(socket: &impl AsFd, ipv6: bool, ttl: u8) -> io::Result<()> {
    let ttl = libc::c_int::from(ttl);
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &ttl)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &ttl)
    }
}

/// Sets an option. `T` must be what the kernel expects for it: plain data without pointers.
fn set_option<T>(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed and so open, and the pointer and the length describe `value`, which outlives the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const *value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn the_structure_is_the_kernels() {
        assert_eq!(mem::size_of::<Md5Signature>(), 216);
        assert_eq!(mem::offset_of!(Md5Signature, key), 136);
    }

    /// On the loopback interface: signed by both sides it connects, and only so.
    #[test]
    fn both_ends_must_have_the_password() {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((here, 0)).expect("a free port");
        set_md5_password(&listener, here, b"secret").expect("the kernel has TCP_MD5SIG");
        let port = listener.local_addr().expect("bound").port();
        let connect = |password: &[u8]| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            if !password.is_empty() {
                set_md5_password(&socket, here, password).expect("set");
            }
            let address = std::net::SocketAddr::new(here, port).into();
            socket.connect_timeout(&address, std::time::Duration::from_millis(200))
        };
        assert!(connect(b"secret").is_ok());
        assert!(connect(b"Secret").is_err());
        assert!(connect(b"").is_err());
        set_md5_password(&listener, here, b"").expect("taken away");
        assert!(connect(b"").is_ok());
    }

    #[test]
    fn too_long_a_password_is_an_error() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let error = set_md5_password(&socket, Ipv4Addr::LOCALHOST.into(), &[b'x'; 81]).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn packets_from_afar_are_dropped() {
        for (here, ipv6) in [(IpAddr::from(Ipv4Addr::LOCALHOST), false), (Ipv6Addr::LOCALHOST.into(), true)] {
            let listener = TcpListener::bind((here, 0)).expect("a free port");
            let address = listener.local_addr().expect("bound");
            set_minimum_ttl(&listener, ipv6, 255).expect("set");
            // The kernel sends with 64.
            let patience = std::time::Duration::from_millis(200);
            assert!(TcpStream::connect_timeout(&address, patience).is_err());
            set_minimum_ttl(&listener, ipv6, 64).expect("set");
            assert!(TcpStream::connect_timeout(&address, patience).is_ok());
        }
    }
}
