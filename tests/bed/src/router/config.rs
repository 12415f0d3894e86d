//! What a router shall do, the same words for every kind of daemon. Pure.
//!
//! Each daemon's own module renders this to its configuration, and refuses what that daemon cannot do.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::addresses;

/// A router's configuration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    /// Its AS number.
    pub asn: u32,
    /// Its BGP identifier (RFC 4271 section 4.2).
    pub router_id: Ipv4Addr,
    /// TCP port it listens on.
    #[serde(default = "bgp_port")]
    pub port: u16,
    /// Whom it speaks with.
    #[serde(default)]
    pub neighbours: Vec<Neighbour>,
    /// What it announces of its own. What it learns from one neighbour it tells the others too, as routers do.
    #[serde(default)]
    pub advertise: Vec<Advertised>,
}

/// The TCP port of BGP (RFC 4271 section 3.2).
fn bgp_port() -> u16 {
    179
}

impl RouterConfig {
    /// A router without neighbours.
    pub fn new(asn: u32, router_id: Ipv4Addr) -> RouterConfig {
        RouterConfig { asn, router_id, port: bgp_port(), neighbours: Vec::new(), advertise: Vec::new() }
    }

    /// What stands at the top of a rack of nodes: takes sessions from every address of the nodes' segment, of either family, from any other AS.
    pub fn top_of_rack(asn: u32) -> RouterConfig {
        let ranges = ["10.77.0.0/16", "fd77::/64"].map(|range| range.parse().expect("a prefix"));
        let neighbours = ranges.map(|range| Neighbour::range(range, RemoteAsn::External)).to_vec();
        RouterConfig { neighbours, ..RouterConfig::new(asn, addresses::ROUTER) }
    }

    /// With one neighbour more.
    pub fn neighbour(mut self, neighbour: Neighbour) -> RouterConfig {
        self.neighbours.push(neighbour);
        self
    }

    /// With every neighbour changed in the same way.
    pub fn every(mut self, change: impl Fn(Neighbour) -> Neighbour) -> RouterConfig {
        self.neighbours = self.neighbours.into_iter().map(change).collect();
        self
    }

    /// With one announcement more.
    pub fn advertise(mut self, route: impl Into<Advertised>) -> RouterConfig {
        self.advertise.push(route.into());
        self
    }
}

/// Where a neighbour is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// At this address.
    Address(IpAddr),
    /// At the other end of the link behind this interface, by its link-local address: "unnumbered".
    Interface(String),
    /// Anywhere in this prefix: it is the one to connect.
    Range(IpNet),
}

/// Which AS a neighbour may be of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteAsn {
    /// This one.
    Is(u32),
    /// The router's own.
    Internal,
    /// Any but the router's own.
    External,
}

/// A neighbour.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// Where it is.
    pub at: At,
    /// Its AS.
    pub remote: RemoteAsn,
    /// The port to connect to.
    #[serde(default = "bgp_port")]
    pub port: u16,
    /// The address to speak from.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// For the TCP MD5 signature option (RFC 2385).
    #[serde(default)]
    pub password: Option<String>,
    /// BFD beside the session.
    #[serde(default)]
    pub bfd: Option<Bfd>,
    /// What is spoken of.
    #[serde(default)]
    pub families: Families,
    /// IPv4 routes may have IPv6 next hops (RFC 8950).
    #[serde(default)]
    pub extended_next_hop: bool,
    /// It is at most so many hops away, and forgers from further away are not heard (RFC 5082).
    #[serde(default)]
    pub ttl_security: Option<u8>,
    /// An eBGP neighbour up to so many hops away.
    #[serde(default)]
    pub multihop: Option<u8>,
    /// Waits to be connected to.
    #[serde(default)]
    pub passive: bool,
    /// RFC 4724.
    #[serde(default)]
    pub graceful_restart: GracefulRestart,
    /// The session's timers.
    #[serde(default)]
    pub timers: Timers,
}

impl Neighbour {
    fn new(at: At, remote: RemoteAsn) -> Neighbour {
        Neighbour {
            at,
            remote,
            port: bgp_port(),
            source: None,
            password: None,
            bfd: None,
            families: Families::default(),
            extended_next_hop: false,
            ttl_security: None,
            multihop: None,
            passive: false,
            graceful_restart: GracefulRestart::default(),
            timers: Timers::default(),
        }
    }

    /// A neighbour at an address, of the AS of that number.
    pub fn at(address: impl Into<IpAddr>, asn: u32) -> Neighbour {
        Neighbour::new(At::Address(address.into()), RemoteAsn::Is(asn))
    }

    /// A neighbour at the other end of a link.
    pub fn behind(interface: &str, remote: RemoteAsn) -> Neighbour {
        let neighbour = Neighbour::new(At::Interface(interface.to_owned()), remote);
        Neighbour { extended_next_hop: true, ..neighbour }
    }

    /// All neighbours of a prefix.
    pub fn range(range: IpNet, remote: RemoteAsn) -> Neighbour {
        Neighbour::new(At::Range(range), remote)
    }

    /// Speaking from this address.
    pub fn source(mut self, source: impl Into<IpAddr>) -> Neighbour {
        self.source = Some(source.into());
        self
    }

    /// With a password.
    pub fn password(mut self, password: &str) -> Neighbour {
        self.password = Some(password.to_owned());
        self
    }

    /// With BFD.
    pub fn bfd(mut self, bfd: Bfd) -> Neighbour {
        self.bfd = Some(bfd);
        self
    }

    /// Speaking of these families only.
    pub fn families(mut self, families: Families) -> Neighbour {
        self.families = families;
        self
    }

    /// With these timers.
    pub fn timers(mut self, timers: Timers) -> Neighbour {
        self.timers = timers;
        self
    }

    /// Waiting to be connected to.
    pub fn passive(mut self) -> Neighbour {
        self.passive = true;
        self
    }

    /// With IPv6 next hops for IPv4 routes.
    pub fn extended_next_hop(mut self) -> Neighbour {
        self.extended_next_hop = true;
        self
    }

    /// Up to so many hops away.
    pub fn multihop(mut self, hops: u8) -> Neighbour {
        self.multihop = Some(hops);
        self
    }

    /// Not heard if it is further than so many hops away.
    pub fn ttl_security(mut self, hops: u8) -> Neighbour {
        self.ttl_security = Some(hops);
        self
    }

    /// With this part in graceful restarts.
    pub fn graceful_restart(mut self, graceful_restart: GracefulRestart) -> Neighbour {
        self.graceful_restart = graceful_restart;
        self
    }
}

/// The families of a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Families {
    /// IPv4 unicast.
    V4,
    /// IPv6 unicast.
    V6,
    /// Both.
    #[default]
    Both,
}

impl Families {
    /// Whether IPv4 is one of them.
    pub fn v4(self) -> bool {
        self != Families::V6
    }

    /// Whether IPv6 is one of them.
    pub fn v6(self) -> bool {
        self != Families::V4
    }
}

/// Intervals of BFD (RFC 5880), milliseconds. The defaults are FRR's and MetalLB's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bfd {
    /// Least interval at which packets can be received.
    pub receive: u32,
    /// Least interval at which packets are sent.
    pub transmit: u32,
    /// So many lost packets are the end of the session.
    pub multiplier: u8,
    /// Echo packets at this interval.
    pub echo: Option<u32>,
    /// Says nothing before the other one does.
    pub passive: bool,
    /// Packets with a smaller TTL are dropped, on sessions over several hops (RFC 5883).
    pub minimum_ttl: Option<u8>,
}

impl Default for Bfd {
    fn default() -> Bfd {
        Bfd::every(300)
    }
}

impl Bfd {
    /// A packet each way every `interval` ms; three lost ones are the end.
    pub fn every(interval: u32) -> Bfd {
        Bfd {
            receive: interval,
            transmit: interval,
            multiplier: 3,
            echo: None,
            passive: false,
            minimum_ttl: None,
        }
    }
}

/// A router's part in graceful restarts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GracefulRestart {
    /// Keeps the routes of a neighbour that restarts: what routers do unless told otherwise.
    #[default]
    Helper,
    /// Also asks neighbours to keep its own routes.
    Full,
    /// Takes no part.
    Off,
}

/// Timers of a session, seconds (RFC 4271 section 10). The defaults are the shortest that make sense, so that tests need not wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    /// Hold time offered.
    pub hold: u16,
    /// Keepalive interval.
    pub keepalive: u16,
    /// Between attempts to connect.
    pub connect: u16,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers { hold: 9, keepalive: 3, connect: 1 }
    }
}

/// A route to announce.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advertised {
    /// Where to.
    pub prefix: IpNet,
    /// NEXT_HOP; the router itself if none is given.
    #[serde(default)]
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC.
    #[serde(default)]
    pub med: Option<u32>,
    /// LOCAL_PREF, for iBGP.
    #[serde(default)]
    pub local_pref: Option<u32>,
    /// How many times more the router's AS is in the path.
    #[serde(default)]
    pub prepend: u8,
    /// Communities (RFC 1997).
    #[serde(default)]
    pub communities: BTreeSet<(u16, u16)>,
    /// Large communities (RFC 8092).
    #[serde(default)]
    pub large: BTreeSet<[u32; 3]>,
    /// Link bandwidth (RFC 10005), bytes per second; whole megabits, which is how FRR counts.
    #[serde(default)]
    pub bandwidth: Option<u64>,
}

impl From<IpNet> for Advertised {
    fn from(prefix: IpNet) -> Advertised {
        Advertised {
            prefix,
            next_hop: None,
            med: None,
            local_pref: None,
            prepend: 0,
            communities: BTreeSet::new(),
            large: BTreeSet::new(),
            bandwidth: None,
        }
    }
}

impl Advertised {
    /// Whether it says anything but a prefix.
    pub(super) fn is_plain(&self) -> bool {
        *self == Advertised::from(self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_file_is_the_default() {
        let text = r#"{"asn": 64512, "router_id": "10.77.0.254", "neighbours": [
            {"at": {"address": "10.77.0.11"}, "remote": {"is": 64513}, "bfd": {"receive": 50}},
            {"at": {"range": "fd77::/64"}, "remote": "external"}],
            "advertise": [{"prefix": "192.0.2.0/24"}]}"#;
        let config: RouterConfig = serde_json::from_str(text).expect("a configuration");
        let expected = RouterConfig::new(64512, Ipv4Addr::new(10, 77, 0, 254))
            .neighbour(Neighbour::at([10, 77, 0, 11], 64513).bfd(Bfd { receive: 50, ..Bfd::default() }))
            .neighbour(Neighbour::range("fd77::/64".parse().expect("a prefix"), RemoteAsn::External))
            .advertise("192.0.2.0/24".parse::<IpNet>().expect("a prefix"));
        assert_eq!(config, expected);
    }

    #[test]
    fn an_unknown_word_in_a_file_is_an_error() {
        let text = r#"{"asn": 1, "router_id": "1.1.1.1", "neighbors": []}"#;
        assert!(serde_json::from_str::<RouterConfig>(text).is_err());
    }
}
