//! The interfaces of this machine, and which of them can announce addresses. Pure; [`crate::netlink`] fills it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use regex_lite::Regex;
use serde::Serialize;

use crate::l2::MacAddr;

/// The interfaces that never announce unless the configuration says otherwise: MetalLB's ConfigMap `metallb-excludel2`, as shipped. They lead to
/// containers, not to the outside.
pub const DEFAULT_EXCLUDE: [&str; 14] = [
    "^docker.*",
    "^cbr.*",
    "^dummy.*",
    "^virbr.*",
    "^lxcbr.*",
    "^veth.*",
    "^lo$",
    "^cali.*",
    "^tunl.*",
    "^flannel.*",
    "^kube-ipvs.*",
    "^cni.*",
    "^nodelocaldns.*",
    "^lxc.*",
];

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Index, unique in this network namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Hardware address, if it has one of Ethernet's length.
    pub mac: Option<MacAddr>,
    /// IFF_UP: switched on.
    pub up: bool,
    /// IFF_LOWER_UP: the cable is in.
    pub carrier: bool,
    /// IFF_BROADCAST.
    pub broadcast: bool,
    /// IFF_NOARP.
    pub no_arp: bool,
    /// IFLA_MASTER: part of this bridge, bond or VRF.
    pub controller: Option<u32>,
    /// Its own addresses.
    pub addresses: BTreeSet<IpNet>,
}

/// Why an interface announces nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ineligible {
    /// Its name is in the exclude list.
    Excluded,
    /// Part of a bridge, bond or VRF: that one speaks.
    HasController,
    /// Switched off.
    Down,
    /// No cable.
    NoCarrier,
    /// Cannot broadcast.
    NoBroadcast,
    /// ARP is switched off.
    NoArp,
    /// No Ethernet address.
    NoHardwareAddress,
}

/// A pattern of the exclude list that is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("interface exclude pattern {pattern:?} is not a regular expression: {reason}")]
pub struct BadPattern {
    /// The pattern as given.
    pub pattern: String,
    reason: regex_lite::Error,
}

/// The names of interfaces that announce nothing.
#[derive(Debug, Clone)]
pub struct Exclude(Vec<Regex>);

impl Exclude {
    /// From regular expressions, as MetalLB's `announcedInterfacesToExclude`.
    ///
    /// # Errors
    ///
    /// Names the first one that is none.
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self, BadPattern> {
        let compile = |pattern: &P| {
            let pattern = pattern.as_ref();
            Regex::new(pattern).map_err(|reason| BadPattern { pattern: pattern.to_owned(), reason })
        };
        patterns.iter().map(compile).collect::<Result<_, _>>().map(Exclude)
    }

    /// The patterns that hold if the user gives none.
    pub fn default_patterns() -> Vec<String> {
        DEFAULT_EXCLUDE.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    /// Whether an interface of this name is excluded.
    pub fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(name))
    }
}

impl Link {
    /// The hardware address to announce from, or why this interface announces nothing.
    pub fn eligible(&self, exclude: &Exclude) -> Result<MacAddr, Ineligible> {
        let checks = [
            (exclude.matches(&self.name), Ineligible::Excluded),
            (self.controller.is_some(), Ineligible::HasController),
            (!self.up, Ineligible::Down),
            (!self.carrier, Ineligible::NoCarrier),
            (!self.broadcast, Ineligible::NoBroadcast),
            (self.no_arp, Ineligible::NoArp),
        ];
        if let Some((_, reason)) = checks.into_iter().find(|(applies, _)| *applies) {
            return Err(reason);
        }
        self.mac.filter(|mac| mac.is_station()).ok_or(Ineligible::NoHardwareAddress)
    }
}

/// All interfaces, by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    links: BTreeMap<u32, Link>,
}

impl Links {
    /// In order of their indexes.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The interface with this index.
    pub fn get(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// Takes over what is known now of an interface; its addresses stay.
    pub fn upsert(&mut self, mut link: Link) {
        if let Some(known) = self.links.get(&link.index) {
            link.addresses.clone_from(&known.addresses);
        }
        self.links.insert(link.index, link);
    }

    /// Forgets an interface.
    pub fn remove(&mut self, index: u32) {
        self.links.remove(&index);
    }

    /// An interface got an address. For one that is not known (yet) this is dropped: its own message brings a new reading.
    pub fn add_address(&mut self, index: u32, address: IpNet) {
        if let Some(link) = self.links.get_mut(&index) {
            link.addresses.insert(address);
        }
    }

    /// An interface lost an address.
    pub fn remove_address(&mut self, index: u32, address: IpNet) {
        if let Some(link) = self.links.get_mut(&index) {
            link.addresses.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn eth0() -> Link {
        Link {
            index: 2,
            name: "eth0".into(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            up: true,
            carrier: true,
            broadcast: true,
            no_arp: false,
            controller: None,
            addresses: BTreeSet::new(),
        }
    }

    fn default_exclude() -> Exclude {
        Exclude::new(&Exclude::default_patterns()).expect("our own patterns are sound")
    }

    #[rstest]
    #[case::down(Link { up: false, ..eth0() }, Ineligible::Down)]
    #[case::cable(Link { carrier: false, ..eth0() }, Ineligible::NoCarrier)]
    #[case::point_to_point(Link { broadcast: false, ..eth0() }, Ineligible::NoBroadcast)]
    #[case::no_arp(Link { no_arp: true, ..eth0() }, Ineligible::NoArp)]
    #[case::bridge_port(Link { controller: Some(9), ..eth0() }, Ineligible::HasController)]
    #[case::no_mac(Link { mac: None, ..eth0() }, Ineligible::NoHardwareAddress)]
    #[case::zero_mac(Link { mac: Some(MacAddr([0; 6])), ..eth0() }, Ineligible::NoHardwareAddress)]
    #[case::excluded(Link { name: "cni0".into(), ..eth0() }, Ineligible::Excluded)]
    fn ineligible(#[case] link: Link, #[case] reason: Ineligible) {
        assert_eq!(link.eligible(&default_exclude()), Err(reason));
    }

    #[rstest]
    #[case("eth0", false)]
    #[case("enp3s0", false)]
    #[case("bond0", false)]
    #[case("br-ex", false)]
    #[case("vlan.lo", false)]
    #[case("long0", false)]
    #[case("lo", true)]
    #[case("docker0", true)]
    #[case("cbr0", true)]
    #[case("veth1a2b", true)]
    #[case("cali0123", true)]
    #[case("lxc_health", true)]
    #[case("kube-ipvs0", true)]
    #[case("flannel.1", true)]
    #[case("nodelocaldns", true)]
    fn metallbs_exclude_list(#[case] name: &str, #[case] excluded: bool) {
        assert_eq!(default_exclude().matches(name), excluded);
        assert_eq!(Link { name: name.into(), ..eth0() }.eligible(&default_exclude()).is_err(), excluded);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Exclude::new(&["^ok$", "eth(0"]).expect_err("unbalanced");
        assert!(error.to_string().contains("\"eth(0\""), "{error}");
    }

    #[test]
    fn a_link_message_keeps_addresses() {
        let mut links = Links::default();
        links.upsert(eth0());
        let address: IpNet = "192.0.2.1/24".parse().expect("sound");
        links.add_address(2, address);
        links.add_address(3, address);
        links.upsert(Link { up: false, ..eth0() });
        assert!(links.get(2).is_some_and(|link| !link.up && link.addresses.contains(&address)));
        links.remove_address(2, address);
        assert!(links.get(2).is_some_and(|link| link.addresses.is_empty()));
        links.remove(2);
        assert_eq!(links, Links::default());
    }
}
