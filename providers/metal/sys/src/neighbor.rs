//! Interfaces by name, and the kernel's ARP table. I/O.

use std::ffi::{CStr, CString};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

/// linux/if_arp.h: the entry has a hardware address.
const ATF_COM: libc::c_int = 0x02;

/// The index of an interface.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the pointer is to a string that ends with 0 and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The name of an interface.
pub fn interface_name(index: u32) -> Option<String> {
    let mut name: [libc::c_char; libc::IF_NAMESIZE] = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the call demands, and outlives it.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: on success the kernel has written a name that ends with 0 to the buffer.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    name.to_str().ok().map(str::to_owned)
}

/// The hardware address under which the kernel reaches a neighbour on an Ethernet interface, if it knows one: a question to its table, none to the network.
/// `socket` may be any IPv4 socket of the network namespace.
///
/// # Errors
///
/// Those of ioctl(2): `ENODEV` if there is no such interface.
pub fn neighbor_mac(socket: &impl AsFd, interface: &str, address: Ipv4Addr) -> io::Result<Option<[u8; 6]>> {
    // SAFETY: all-zero is a valid `arpreq`.
    let mut request: libc::arpreq = unsafe { std::mem::zeroed() };
    request.arp_pa.sa_family = libc::AF_INET as libc::sa_family_t;
    // A sockaddr_in: two octets of port, then the address.
    for (to, from) in request.arp_pa.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    // One octet remains 0.
    if interface.len() >= request.arp_dev.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.arp_dev.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the descriptor is open for as long as it is lent, and the request is what this ioctl reads and writes, and outlives the call.
    let failed = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCGARP as _, &raw mut request) };
    if failed != 0 {
        let error = io::Error::last_os_error();
        // The entry is not there.
        return if error.raw_os_error() == Some(libc::ENXIO) { Ok(None) } else { Err(error) };
    }
    let ethernet = request.arp_ha.sa_family == libc::ARPHRD_ETHER;
    if request.arp_flags & ATF_COM == 0 || !ethernet {
        return Ok(None);
    }
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(request.arp_ha.sa_data) {
        *to = from as u8;
    }
    Ok(Some(mac))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn interfaces_have_a_name_and_an_index() {
        let index = interface_index("lo").expect("there is one");
        assert_eq!(interface_name(index).as_deref(), Some("lo"));
        assert_eq!((interface_index("no-such-one"), interface_index("a\0b")), (None, None));
        assert_eq!(interface_name(u32::MAX), None);
    }

    #[test]
    fn nobody_is_a_neighbor_on_loopback() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let nobody = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(neighbor_mac(&socket, "lo", nobody).expect("asked"), None);
        assert!(neighbor_mac(&socket, "no-such-one", nobody).is_err());
        assert!(neighbor_mac(&socket, "a-name-that-is-too-long", nobody).is_err());
    }
}
