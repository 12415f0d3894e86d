//! What the configuration of a peer comes to on this node. Pure.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use causeway_metal::bgp::{Password, Peer, PeerTo, RemoteAsn};
use ring::digest::{SHA256, digest};

use crate::bgp::{GracefulRestart, Settings};

/// How long a peer is asked to keep routes while this speaker restarts: what routers ask for by default, and far more than it takes.
const RESTART_TIME: Duration = Duration::from_secs(120);
/// The wait before another attempt to connect, if the user gives none.
const DEFAULT_CONNECT: Duration = Duration::from_secs(1);
/// To which it grows then.
const LONGEST_CONNECT: Duration = Duration::from_secs(120);
/// From one hop away packets still have it (RFC 5082 §3).
const MAX_TTL: u8 = 255;

/// A session and its sockets. Two that are equal are the same session: nothing has to be reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The session.
    pub settings: Settings,
    /// Where the peer is.
    pub to: PeerTo,
    /// Its port.
    pub port: u16,
    /// The address to connect from.
    pub source: Option<IpAddr>,
    /// TTL or hop limit of what is sent.
    pub ttl: u8,
    /// What comes with less is dropped.
    pub minimum_ttl: Option<u8>,
    /// For TCP MD5 signatures.
    pub password: Option<Password>,
}

impl Target {
    /// On the node of this name and with these addresses.
    pub fn new(peer: &Peer, node: &str, addresses: &[IpAddr]) -> Self {
        let own = peer.shown_asn();
        let internal = match peer.remote {
            RemoteAsn::Is(asn) => asn == own,
            RemoteAsn::Internal => true,
            RemoteAsn::External => false,
        };
        // RFC 4271 leaves it open; routers send 1 to a peer in another AS, so that nobody further away is spoken with by mistake. With TTL security it is the other
        // side that checks (RFC 5082 §3).
        let ttl = if internal || peer.multihop || peer.ttl_security.is_some() { MAX_TTL } else { 1 };
        Target {
            settings: Settings {
                name: peer.name.clone(),
                asn: peer.asn,
                remote: peer.remote,
                local_asn: peer.local_asn,
                router_id: peer.router_id.unwrap_or_else(|| router_id(node, addresses)),
                hold: peer.hold,
                keepalive: peer.keepalive,
                connect: peer.connect,
                // Who asks for a wait of 10 s does not want to wait for two minutes.
                connect_max: if peer.connect == DEFAULT_CONNECT { LONGEST_CONNECT } else { peer.connect },
                passive: peer.passive,
                families: peer.families,
                graceful_restart: peer.graceful_restart.then_some(GracefulRestart { time: RESTART_TIME }),
                unnumbered: matches!(peer.to, PeerTo::Interface(_)),
            },
            to: peer.to.clone(),
            port: peer.port,
            source: peer.source,
            ttl,
            minimum_ttl: peer.ttl_security.map(|hops| MAX_TTL - hops.saturating_sub(1)),
            password: peer.password.clone(),
        }
    }

    /// The label of its metrics, to the letter what MetalLB has: no brackets around an IPv6 address.
    pub fn label(&self) -> String {
        format!("{}:{}", self.to, self.port)
    }
}

/// A BGP Identifier for a node: its first IPv4 address, or else one out of its name, which is then very likely unique (RFC 6286 asks for no more than that it is not 0).
pub fn router_id(node: &str, addresses: &[IpAddr]) -> Ipv4Addr {
    let ipv4 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    ipv4.unwrap_or_else(|| {
        let hash = digest(&SHA256, node.as_bytes());
        let octets = hash.as_ref().first_chunk::<4>().copied().unwrap_or_default();
        Ipv4Addr::from(u32::from_be_bytes(octets).max(1))
    })
}

#[cfg(test)]
mod tests {
    use causeway_api::{Kind, ObjectRef};
    use causeway_metal::bgp::Families;
    use rstest::rstest;

    use super::*;

    fn peer() -> Peer {
        Peer {
            name: "rack".into(),
            object: ObjectRef {
                kind: Kind::Own("BGPPeer".into()),
                namespace: "metallb-system".into(),
                name: "rack".into(),
                uid: "".into(),
            },
            created: None,
            asn: 65001,
            remote: RemoteAsn::Is(65002),
            local_asn: None,
            to: PeerTo::Address([192, 0, 2, 2].into()),
            source: None,
            port: 179,
            hold: Duration::from_secs(90),
            keepalive: Duration::from_secs(30),
            connect: Duration::from_secs(1),
            router_id: None,
            node_selectors: Vec::new(),
            password: None,
            bfd: None,
            graceful_restart: false,
            multihop: false,
            families: Families::OfSession,
            passive: false,
            ttl_security: None,
        }
    }

    fn target(peer: &Peer) -> Target {
        Target::new(peer, "n1", &["2001:db8::1".parse().expect("an address"), [192, 0, 2, 1].into()])
    }

    #[rstest]
    #[case::external(peer(), 1, None)]
    #[case::dynamic(Peer { remote: RemoteAsn::External, ..peer() }, 1, None)]
    #[case::internal(Peer { remote: RemoteAsn::Is(65001), ..peer() }, 255, None)]
    #[case::internal_by_local_asn(Peer { local_asn: Some(65002), ..peer() }, 255, None)]
    #[case::external_by_local_asn(Peer { local_asn: Some(65009), remote: RemoteAsn::Is(65001), ..peer() }, 1, None)]
    #[case::dynamic_internal(Peer { remote: RemoteAsn::Internal, ..peer() }, 255, None)]
    #[case::multihop(Peer { multihop: true, ..peer() }, 255, None)]
    #[case::next_door(Peer { ttl_security: Some(1), ..peer() }, 255, Some(255))]
    #[case::three_hops(Peer { ttl_security: Some(3), ..peer() }, 255, Some(253))]
    #[case::anywhere(Peer { ttl_security: Some(254), ..peer() }, 255, Some(2))]
    fn time_to_live(#[case] peer: Peer, #[case] ttl: u8, #[case] minimum: Option<u8>) {
        let target = target(&peer);
        assert_eq!((target.ttl, target.minimum_ttl), (ttl, minimum));
    }

    #[test]
    fn only_what_the_session_is_made_of_resets_it() {
        let same = Peer { node_selectors: vec![Default::default()], created: Some(7), ..peer() };
        assert_eq!(target(&same), target(&peer()));
        let other = Peer { hold: Duration::from_secs(91), ..peer() };
        assert_ne!(target(&other), target(&peer()));
        let other = Peer { password: Some(Password::new(b"x")), ..peer() };
        assert_ne!(target(&other), target(&peer()));
    }

    #[test]
    fn identifiers() {
        assert_eq!(target(&peer()).settings.router_id, Ipv4Addr::new(192, 0, 2, 1));
        let given = Peer { router_id: Some([9; 4].into()), ..peer() };
        assert_eq!(target(&given).settings.router_id, Ipv4Addr::new(9, 9, 9, 9));
        let [one, two] =
            ["n1", "n2"].map(|node| router_id(node, &["2001:db8::1".parse().expect("an address")]));
        assert_ne!(one, two);
        assert!(!one.is_unspecified());
    }

    #[rstest]
    #[case(peer(), "192.0.2.2:179")]
    #[case(Peer { to: PeerTo::Address("2001:db8::2".parse().expect("an address")), port: 1790, ..peer() }, "2001:db8::2:1790")]
    #[case(Peer { to: PeerTo::Interface("eth1".into()), ..peer() }, "eth1:179")]
    fn labels(#[case] peer: Peer, #[case] label: &str) {
        assert_eq!(target(&peer).label(), label);
    }

    #[rstest]
    #[case::default(1, 120)]
    #[case::asked_for(10, 10)]
    fn waits(#[case] connect: u64, #[case] most: u64) {
        let settings = target(&Peer { connect: Duration::from_secs(connect), ..peer() }).settings;
        assert_eq!((settings.connect.as_secs(), settings.connect_max.as_secs()), (connect, most));
    }
}
