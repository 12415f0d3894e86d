//! A configuration in which everything occurs, for the tests of what is rendered. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::config::*;

pub(super) fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Everything about a route.
pub(super) fn route() -> Advertised {
    Advertised {
        next_hop: Some(address("10.77.0.99")),
        med: Some(7),
        local_pref: Some(200),
        prepend: 2,
        communities: [(64512, 1), (65535, 0)].into(),
        large: [[64512, 1, 2]].into(),
        bandwidth: Some(12_500_000),
        ..Advertised::from(prefix("203.0.113.0/24"))
    }
}

/// Two plain neighbours and a plain route: what every daemon can do.
pub(super) fn plain() -> RouterConfig {
    RouterConfig::new(64512, Ipv4Addr::new(10, 77, 0, 254))
        .neighbour(Neighbour::at([10, 77, 0, 11], 64601).source([10, 77, 0, 254]).password("abc"))
        .neighbour(
            Neighbour::at(address("fd77::12"), 64602)
                .source(address("fd77::254"))
                .families(Families::V6)
                .graceful_restart(GracefulRestart::Off)
                .passive(),
        )
        .advertise(prefix("2001:db8:7::/64"))
}
