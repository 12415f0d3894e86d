//! The BGP session in virtual time, against itself and against another implementation's reading of what it writes.

mod collisions;
mod draining;
mod heard;
mod openings;
mod properties;
mod sessions;
mod wire;

use std::sync::Arc;

use causeway_metal::bgp::{RibOut, RouteAttributes};

/// Routes with nothing special about them.
fn plain(prefixes: &[&str]) -> RibOut {
    let attributes = Arc::new(RouteAttributes::default());
    prefixes.iter().map(|prefix| (prefix.parse().expect("a prefix"), Arc::clone(&attributes))).collect()
}

/// That many host routes.
fn many(count: u32) -> RibOut {
    let attributes = Arc::new(RouteAttributes::default());
    let prefix =
        |number: u32| ipnet::Ipv4Net::new((0x0a00_0000 + number).into(), 32).expect("a prefix").into();
    (0..count).map(|number| (prefix(number), Arc::clone(&attributes))).collect()
}
