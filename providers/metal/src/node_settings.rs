//! Settings of a node's kernel and of the speaker's container that break announcing, although everything in the cluster is as it should be. Pure: what
//! was read in, what is wrong out. IPv4 only, since IPv6 knows none of these settings.

/// What was read on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSettings {
    /// The process has the capability NET_RAW.
    pub net_raw: bool,
    /// kube-proxy runs in IPVS mode: its interface `kube-ipvs0` is there, with the address of every Service on it.
    pub ipvs: bool,
    /// `net.ipv4.conf.all.arp_ignore`.
    pub arp_ignore: u8,
    /// `net.ipv4.conf.all.arp_announce`.
    pub arp_announce: u8,
    /// The interfaces that may announce.
    pub interfaces: Vec<InterfaceSettings>,
}

/// What was read of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSettings {
    /// Name.
    pub name: String,
    /// `rp_filter` as the kernel takes it: the larger of the interface's and of `all`.
    pub rp_filter: u8,
    /// The best default route leads out of it.
    pub default_route: bool,
    /// Any route leads out of it: without, it carries no IPv4.
    pub routed: bool,
}

/// `rp_filter`: a packet is dropped unless its answer would leave by the interface that it came in.
const STRICT: u8 = 1;

impl NodeSettings {
    /// What breaks announcing from this node, each with what to do.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.net_raw {
            found.push(
                "the speaker lacks the capability NET_RAW, so that it can answer for no address: add it to the container, which must run as \
                 uid 0, as deploy/ does"
                    .to_owned(),
            );
        }
        if self.ipvs && (self.arp_ignore == 0 || self.arp_announce < 2) {
            found.push(format!(
                "kube-proxy runs in IPVS mode without strictARP (net.ipv4.conf.all: arp_ignore is {}, arp_announce is {}), so that this node's kernel \
                 answers ARP for the address of every Service, whoever announces it: set ipvs.strictARP to true in kube-proxy's ConfigMap and restart kube-proxy",
                self.arp_ignore, self.arp_announce
            ));
        }
        // Without any default route there are no clients from afar.
        let elsewhere = self.interfaces.iter().find(|i| i.default_route);
        for interface in self.interfaces.iter().filter(|i| i.routed && !i.default_route) {
            if let (STRICT, Some(other)) = (interface.rp_filter, elsewhere) {
                found.push(format!(
                    "interface {0} filters by reverse path strictly (rp_filter is 1) and the default route leads out of {1}, so that packets of clients \
                     behind a router are dropped on {0}: set net.ipv4.conf.{0}.rp_filter (and all.rp_filter) to 2, add the routes, or leave {0} out with \
                     --exclude-interfaces",
                    interface.name, other.name
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn sound() -> NodeSettings {
        NodeSettings { net_raw: true, ..NodeSettings::default() }
    }

    fn interface(name: &str, rp_filter: u8, default_route: bool) -> InterfaceSettings {
        InterfaceSettings { name: name.into(), rp_filter, default_route, routed: true }
    }

    fn with(interfaces: &[InterfaceSettings]) -> NodeSettings {
        NodeSettings { interfaces: interfaces.to_vec(), ..sound() }
    }

    #[rstest]
    #[case::nothing_special(sound(), &[])]
    #[case::no_capability(NodeSettings::default(), &["NET_RAW"])]
    #[case::ipvs(NodeSettings { ipvs: true, ..sound() }, &["strictARP"])]
    #[case::ipvs_announces(NodeSettings { ipvs: true, arp_ignore: 1, arp_announce: 1, ..sound() }, &["strictARP"])]
    #[case::strict_arp(NodeSettings { ipvs: true, arp_ignore: 1, arp_announce: 2, ..sound() }, &[])]
    #[case::no_ipvs(NodeSettings { arp_ignore: 0, arp_announce: 0, ..sound() }, &[])]
    #[case::one_interface(with(&[interface("eth0", 1, true)]), &[])]
    #[case::second_strict(with(&[interface("eth0", 1, true), interface("eth1", 1, false)]), &["interface eth1"])]
    #[case::second_loose(with(&[interface("eth0", 1, true), interface("eth1", 2, false)]), &[])]
    #[case::second_off(with(&[interface("eth0", 1, true), interface("eth1", 0, false)]), &[])]
    #[case::two_best_routes(with(&[interface("eth0", 1, true), interface("eth1", 1, true)]), &[])]
    #[case::no_default_route(with(&[interface("eth0", 1, false), interface("eth1", 1, false)]), &[])]
    #[case::not_routed(
        with(&[interface("eth0", 1, true), InterfaceSettings { routed: false, ..interface("eth1", 1, false) }]), &[]
    )]
    fn rules(#[case] settings: NodeSettings, #[case] says: &[&str]) {
        let problems = settings.problems();
        assert_eq!(problems.len(), says.len(), "{problems:?}");
        assert!(problems.iter().zip(says).all(|(p, part)| p.contains(part)), "{problems:?}");
    }

    #[test]
    fn all_problems_are_said_at_once() {
        let settings = NodeSettings {
            net_raw: false,
            ipvs: true,
            ..with(&[interface("a", 1, true), interface("b", 1, false)])
        };
        assert_eq!(settings.problems().len(), 3);
    }
}
