//! Whom to run BFD with, and what comes of it. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_metal::bgp::BfdSettings;
use serde::Serialize;

use crate::bfd::{Diag, SessionSnapshot};

/// The name of a BGPPeer.
pub type PeerKey = String;

/// A neighbour to run BFD with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdPeer {
    /// Our address, if it must be a certain one: that of the BGP session.
    pub local: Option<IpAddr>,
    /// The neighbour's address.
    pub remote: IpAddr,
    /// The interface, if it must be a certain one; a link-local address needs it.
    pub interface: Option<String>,
    /// Whether it may be further away than one hop.
    pub multihop: bool,
    /// How to.
    pub settings: BfdSettings,
}

/// Why there is no session with a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 5883 §4.
    #[error(
        "echo mode does not work with a neighbor that is further away than one hop: use a BFD profile without it"
    )]
    EchoOverHops,
    /// The packet is handed to the neighbour's hardware address past the routing table, which is done for IPv4 only, as in FRR.
    #[error("echo mode works with IPv4 neighbors only: use a BFD profile without it")]
    EchoOverIpv6,
    /// Such a packet cannot be sent.
    #[error("our address {local} and the neighbor's are not of the same family")]
    Families {
        /// Ours.
        local: IpAddr,
    },
    /// An address that each link may have.
    #[error("a link-local address needs an interface")]
    NoInterface,
    /// Packets do not tell two sessions apart (RFC 5881 §3).
    #[error("peer {other} has a session with the same neighbor already")]
    SamePath {
        /// The one that has it.
        other: PeerKey,
    },
    /// The system gave no random number.
    #[error("no random numbers: the session cannot get a discriminator")]
    Random,
}

impl BfdPeer {
    /// Whether a session with it is possible at all.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Refusal> {
        let link_local = matches!(self.remote, IpAddr::V6(v6) if v6.is_unicast_link_local());
        match self.local.filter(|local| local.is_ipv4() != self.remote.is_ipv4()) {
            Some(local) => Err(Refusal::Families { local }),
            None if link_local && self.interface.is_none() => Err(Refusal::NoInterface),
            None if self.settings.echo.is_some() && self.multihop => Err(Refusal::EchoOverHops),
            None if self.settings.echo.is_some() && self.remote.is_ipv6() => Err(Refusal::EchoOverIpv6),
            None => Ok(()),
        }
    }

    /// Whether packets without a discriminator of ours would fit both.
    pub(super) fn overlaps(&self, other: &BfdPeer) -> bool {
        fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        self.remote == other.remote
            && self.multihop == other.multihop
            && same(self.local.as_ref(), other.local.as_ref())
            && same(self.interface.as_ref(), other.interface.as_ref())
    }

    /// Whether a session goes on when the one becomes the other.
    pub(super) fn same_path(&self, other: &BfdPeer) -> bool {
        let path = |peer: &BfdPeer| (peer.local, peer.remote, peer.multihop);
        path(self) == path(other) && self.interface == other.interface
    }
}

/// Those with whom a session is possible, and why it is not with the others. Of two that packets do not tell apart, the first by name has it.
pub(super) fn sort_out(
    peers: &BTreeMap<PeerKey, BfdPeer>,
) -> (BTreeMap<&PeerKey, &BfdPeer>, BTreeMap<PeerKey, Refusal>) {
    let (mut accepted, mut refused) = (BTreeMap::<&PeerKey, &BfdPeer>::new(), BTreeMap::new());
    for (key, peer) in peers {
        let twin = accepted.iter().find(|(_, other)| peer.overlaps(other)).map(|(other, _)| (*other).clone());
        let alone = twin.map_or(Ok(()), |other| Err(Refusal::SamePath { other }));
        let verdict = peer.check().and(alone);
        match verdict {
            Ok(()) => drop(accepted.insert(key, peer)),
            Err(refusal) => drop(refused.insert(key.clone(), refusal)),
        }
    }
    (accepted, refused)
}

/// What has become of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BfdNews {
    /// It works both ways.
    Up,
    /// It worked, and does not any more.
    Down {
        /// Why.
        diag: Diag,
    },
    /// Nothing is known any more of a path that worked: the neighbour has switched BFD off, or the session with it gives way to another one. No reason to give
    /// the neighbour up (RFC 5882 §3.2).
    Withdrawn,
}

/// News of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdEvent {
    /// Which.
    pub peer: PeerKey,
    /// What.
    pub news: BfdNews,
}

/// A peer's session, for people to look at.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdSnapshot {
    /// The BGPPeer.
    pub peer: PeerKey,
    /// The neighbour's address.
    pub remote: IpAddr,
    /// Our address, if it must be a certain one.
    pub local: Option<IpAddr>,
    /// The interface, if it must be a certain one.
    pub interface: Option<String>,
    /// Whether it may be further away than one hop.
    pub multihop: bool,
    /// Why there is no session, or why it cannot send or receive.
    pub problem: Option<String>,
    /// The UDP port that our packets come from.
    pub source_port: Option<u16>,
    /// For how many milliseconds it has been up; nothing while it is not.
    pub up_ms: Option<u64>,
    /// How often it went down from up.
    pub downs: u64,
    /// The session, if there is one.
    pub session: Option<SessionSnapshot>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use rstest::rstest;

    fn peer(remote: &str) -> BfdPeer {
        BfdPeer {
            local: None,
            remote: remote.parse().expect("an address"),
            interface: None,
            multihop: false,
            settings: BfdSettings::default(),
        }
    }

    fn with_echo(peer: BfdPeer) -> BfdPeer {
        let settings = BfdSettings { echo: Some(Duration::from_millis(50)), ..peer.settings };
        BfdPeer { settings, ..peer }
    }

    fn local(peer: BfdPeer, local: &str) -> BfdPeer {
        BfdPeer { local: Some(local.parse().expect("an address")), ..peer }
    }

    fn on(peer: BfdPeer, interface: &str) -> BfdPeer {
        BfdPeer { interface: Some(interface.into()), ..peer }
    }

    #[rstest]
    #[case(peer("192.0.2.1"), Ok(()))]
    #[case(with_echo(peer("192.0.2.1")), Ok(()))]
    #[case(on(peer("fe80::1"), "eth0"), Ok(()))]
    #[case(BfdPeer { multihop: true, ..peer("2001:db8::1") }, Ok(()))]
    #[case(with_echo(BfdPeer { multihop: true, ..peer("192.0.2.1") }), Err(Refusal::EchoOverHops))]
    #[case(with_echo(peer("2001:db8::1")), Err(Refusal::EchoOverIpv6))]
    #[case(local(peer("2001:db8::1"), "192.0.2.1"), Err(Refusal::Families { local: [192, 0, 2, 1].into() }))]
    #[case(peer("fe80::1"), Err(Refusal::NoInterface))]
    fn what_is_possible(#[case] peer: BfdPeer, #[case] expected: Result<(), Refusal>) {
        assert_eq!(peer.check(), expected);
    }

    #[test]
    fn of_two_that_cannot_be_told_apart_the_first_is_served() {
        let peers: BTreeMap<PeerKey, BfdPeer> = [
            ("a", with_echo(peer("2001:db8::1"))),
            ("b", local(peer("192.0.2.1"), "192.0.2.8")),
            ("c", local(peer("192.0.2.1"), "192.0.2.9")),
            ("d", peer("192.0.2.1")),
            ("e", BfdPeer { multihop: true, ..peer("192.0.2.1") }),
            ("f", on(peer("fe80::1"), "eth0")),
            ("g", on(peer("fe80::1"), "eth1")),
            ("h", peer("2001:db8::1")),
        ]
        .map(|(key, peer)| (key.to_owned(), peer))
        .into();
        let (accepted, refused) = sort_out(&peers);
        let names: Vec<&str> = accepted.keys().map(|key| key.as_str()).collect();
        assert_eq!(names, ["b", "c", "e", "f", "g", "h"]);
        assert_eq!(refused["d"], Refusal::SamePath { other: "b".into() });
        assert_eq!(refused["a"], Refusal::EchoOverIpv6);
    }
}
