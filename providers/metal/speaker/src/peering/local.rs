//! The addresses that routes lead to. Pure.

use std::net::{IpAddr, Ipv6Addr};

use crate::bgp::NextHops;
use crate::interfaces::Links;
use crate::l2::MacAddr;

/// Those of the interface that has the address of our end of a connection: that address itself, and of the other family the interface's first.
/// Without such an interface, the address alone.
pub fn next_hops(local: IpAddr, links: &Links) -> NextHops {
    let interface = links.iter().find(|link| link.addresses.iter().any(|network| network.addr() == local));
    let addresses = || interface.into_iter().flat_map(|link| &link.addresses).map(|network| network.addr());
    let mut hops = NextHops::default();
    for address in [local].into_iter().chain(addresses()) {
        match address {
            IpAddr::V4(address) if !address.is_loopback() && !address.is_link_local() => {
                hops.ipv4.get_or_insert(address);
            }
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                hops.link_local.get_or_insert(address);
            }
            IpAddr::V6(address) if !address.is_loopback() => {
                hops.ipv6.get_or_insert(address);
            }
            _ => {}
        }
    }
    hops
}

/// An interface that a peer without an address is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Index.
    pub index: u32,
    /// Hardware address.
    pub mac: Option<MacAddr>,
    /// Its own link-local address, if it has one.
    pub link_local: Option<Ipv6Addr>,
}

/// The interface of this name.
pub fn port(name: &str, links: &Links) -> Option<Port> {
    let link = links.iter().find(|link| link.name == name)?;
    let link_local = link.addresses.iter().find_map(|network| match network.addr() {
        IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
        _ => None,
    });
    Some(Port { index: link.index, mac: link.mac, link_local })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::interfaces::Link;

    fn links() -> Links {
        let link = |index, name: &str, addresses: &[&str]| Link {
            index,
            name: name.into(),
            mac: None,
            up: true,
            carrier: true,
            broadcast: true,
            no_arp: false,
            controller: None,
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        };
        let mut links = Links::default();
        links.upsert(link(1, "lo", &["127.0.0.1/8", "::1/128", "192.0.2.99/32"]));
        links.upsert(link(2, "eth0", &["10.0.0.1/24", "10.0.0.9/24", "fe80::1/64", "2001:db8::1/64"]));
        links.upsert(link(3, "eth1", &["fe80::2/64"]));
        links
    }

    #[rstest]
    #[case("10.0.0.1", Some("10.0.0.1"), Some("2001:db8::1"), Some("fe80::1"))]
    #[case::second_address("10.0.0.9", Some("10.0.0.9"), Some("2001:db8::1"), Some("fe80::1"))]
    #[case("2001:db8::1", Some("10.0.0.1"), Some("2001:db8::1"), Some("fe80::1"))]
    #[case::unnumbered("fe80::2", None, None, Some("fe80::2"))]
    #[case::loopback("192.0.2.99", Some("192.0.2.99"), None, None)]
    #[case::gone("10.0.0.7", Some("10.0.0.7"), None, None)]
    fn of_a_connection(
        #[case] local: &str,
        #[case] ipv4: Option<&str>,
        #[case] ipv6: Option<&str>,
        #[case] link_local: Option<&str>,
    ) {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        let hops = next_hops(parse(local), &links());
        assert_eq!(hops.ipv4.map(IpAddr::V4), ipv4.map(parse));
        assert_eq!(hops.ipv6.map(IpAddr::V6), ipv6.map(parse));
        assert_eq!(hops.link_local.map(IpAddr::V6), link_local.map(parse));
    }

    #[test]
    fn interfaces_by_name() {
        let link_local = Some("fe80::2".parse().expect("an address"));
        assert_eq!(port("eth1", &links()), Some(Port { index: 3, mac: None, link_local }));
        assert_eq!(port("lo", &links()), Some(Port { index: 1, mac: None, link_local: None }));
        assert_eq!(port("eth9", &links()), None);
    }
}
