//! Which session a packet belongs to (RFC 5880 §6.3, RFC 5881 §3, RFC 5883 §4). Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::packet::{Discarded, Packet};

/// UDP port of control packets to a neighbour on the same link (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// UDP port of echo packets (RFC 5881 §4).
pub const ECHO_PORT: u16 = 3785;
/// UDP port of control packets to a neighbour further away (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;
/// TTL of everything that is sent (RFC 5881 §5).
pub const TTL: u8 = 255;

/// How far away the neighbour may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hops {
    /// On the same link: its packets come with a TTL of 255.
    One,
    /// Any number of routers away that leaves this TTL.
    Many {
        /// The least TTL.
        minimum_ttl: u8,
    },
}

/// Between whom a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The neighbour's address.
    pub remote: IpAddr,
    /// Our address, if it must be this one.
    pub local: Option<IpAddr>,
    /// Index of the interface, if it must be this one.
    pub interface: Option<u32>,
    /// How far it may be.
    pub hops: Hops,
}

/// How a packet came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// From this address.
    pub from: IpAddr,
    /// To this one.
    pub to: IpAddr,
    /// By the interface with this index.
    pub interface: u32,
    /// With this TTL or hop limit left.
    pub ttl: u8,
    /// To [`MULTIHOP_PORT`], not to [`SINGLE_HOP_PORT`].
    pub multihop: bool,
}

impl Path {
    /// §6.3 lets the source address change once the discriminators are known. We do not: for the price of a session that must be configured with the address
    /// which the neighbour really uses, a Pod of this node, whose packets arrive with a TTL of 255 as well, must forge that address too.
    fn admits(&self, arrival: &Arrival) -> Result<(), Discarded> {
        let here = self.remote == arrival.from
            && self.local.is_none_or(|local| local == arrival.to)
            && self.interface.is_none_or(|interface| interface == arrival.interface);
        match self.hops {
            Hops::One if here && !arrival.multihop => Ok(()),
            Hops::Many { minimum_ttl } if here && arrival.multihop => {
                // RFC 5883 §3
                if arrival.ttl < minimum_ttl { Err(Discarded::TimeToLive) } else { Ok(()) }
            }
            _ => Err(Discarded::OtherPath),
        }
    }
}

/// The sessions of a node by what packets say.
#[derive(Debug)]
pub struct Paths<K> {
    sessions: BTreeMap<NonZeroU32, (Path, K)>,
}

impl<K> Default for Paths<K> {
    fn default() -> Self {
        Paths { sessions: BTreeMap::new() }
    }
}

impl<K: Clone> Paths<K> {
    /// Adds a session, or gives it another path.
    pub fn insert(&mut self, discriminator: NonZeroU32, path: Path, key: K) {
        self.sessions.insert(discriminator, (path, key));
    }

    /// Takes a session away.
    pub fn remove(&mut self, discriminator: NonZeroU32) {
        self.sessions.remove(&discriminator);
    }

    /// Whether a session has this discriminator.
    pub fn contains(&self, discriminator: NonZeroU32) -> bool {
        self.sessions.contains_key(&discriminator)
    }

    /// The session that a packet is for.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn select(&self, packet: &Packet, arrival: &Arrival) -> Result<K, Discarded> {
        // RFC 5881 §5: as no session uses authentication. Before anything else, as it costs the least.
        if !arrival.multihop && arrival.ttl != TTL {
            return Err(Discarded::TimeToLive);
        }
        if let Some(yours) = packet.your_discriminator {
            let (path, key) = self.sessions.get(&yours).ok_or(Discarded::UnknownSession)?;
            return path.admits(arrival).map(|()| key.clone());
        }
        let mut refused = Discarded::UnknownNeighbor;
        for (path, key) in self.sessions.values() {
            match path.admits(arrival) {
                Ok(()) => return Ok(key.clone()),
                Err(Discarded::TimeToLive) => refused = Discarded::TimeToLive,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use rstest::rstest;

    const NEIGHBOR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

    fn packet(yours: u32) -> Packet {
        // Down, so that ours may be 0.
        let mut octets = [0x20, 0x40, 3, 24, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
        octets[8..12].copy_from_slice(&yours.to_be_bytes());
        Packet::parse(&octets).expect("sound")
    }

    fn paths() -> Paths<&'static str> {
        let mut paths = Paths::default();
        let mut add = |number, interface, hops, key| {
            let path = Path { remote: NEIGHBOR, local: Some(HERE), interface, hops };
            paths.insert(NonZeroU32::new(number).expect("not 0"), path, key);
        };
        add(1, None, Hops::One, "one");
        add(2, None, Hops::Many { minimum_ttl: 250 }, "many");
        paths
    }

    const ONE: Arrival = Arrival { from: NEIGHBOR, to: HERE, interface: 3, ttl: 255, multihop: false };
    const MANY: Arrival = Arrival { ttl: 250, multihop: true, ..ONE };

    #[rstest]
    #[case::by_discriminator(1, ONE, Ok("one"))]
    #[case::by_address(0, ONE, Ok("one"))]
    #[case::multihop_by_discriminator(2, MANY, Ok("many"))]
    #[case::multihop_by_address(0, MANY, Ok("many"))]
    #[case::one_hop_too_many(1, Arrival { ttl: 254, ..ONE }, Err(Discarded::TimeToLive))]
    #[case::below_the_minimum(2, Arrival { ttl: 249, ..MANY }, Err(Discarded::TimeToLive))]
    #[case::below_the_minimum_by_address(0, Arrival { ttl: 249, ..MANY }, Err(Discarded::TimeToLive))]
    #[case::no_such_session(3, ONE, Err(Discarded::UnknownSession))]
    #[case::nobody_expects_it(0, Arrival { from: OTHER, ..ONE }, Err(Discarded::UnknownNeighbor))]
    #[case::from_elsewhere(1, Arrival { from: OTHER, ..ONE }, Err(Discarded::OtherPath))]
    #[case::to_another_address(1, Arrival { to: OTHER, ..ONE }, Err(Discarded::OtherPath))]
    #[case::single_hop_to_the_multihop_port(1, MANY, Err(Discarded::OtherPath))]
    #[case::multihop_to_the_single_hop_port(2, ONE, Err(Discarded::OtherPath))]
    fn selected(#[case] yours: u32, #[case] arrival: Arrival, #[case] expected: Result<&str, Discarded>) {
        assert_eq!(paths().select(&packet(yours), &arrival), expected);
    }

    #[test]
    fn the_same_address_on_two_links() {
        let mut paths = Paths::default();
        for (number, interface) in [(1, 3), (2, 4)] {
            let path = Path { remote: NEIGHBOR, local: None, interface: Some(interface), hops: Hops::One };
            paths.insert(NonZeroU32::new(number).expect("not 0"), path, interface);
        }
        assert_eq!(paths.select(&packet(0), &ONE), Ok(3));
        assert_eq!(paths.select(&packet(0), &Arrival { interface: 4, ..ONE }), Ok(4));
        assert_eq!(paths.select(&packet(2), &ONE), Err(Discarded::OtherPath));
        paths.remove(NonZeroU32::new(1).expect("not 0"));
        assert_eq!(paths.select(&packet(0), &ONE), Err(Discarded::UnknownNeighbor));
    }
}
