//! What security groups let in. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{Facts, Permission};

/// Who is let in to a port.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// Addresses.
    pub ranges: Vec<IpNet>,
    /// Members of these security groups.
    pub groups: BTreeSet<String>,
}

impl Sources {
    /// Everybody.
    pub fn anywhere() -> Sources {
        let all = ["0.0.0.0/0", "::/0"].iter().filter_map(|range| range.parse().ok());
        Sources { ranges: all.collect(), groups: BTreeSet::new() }
    }

    /// Whether an address is let in for being in a range.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

/// Whom these security groups together let in to a port. `protocol` is `tcp` or `udp`.
pub fn sources<'a>(
    facts: &Facts,
    groups: impl Iterator<Item = &'a String>,
    protocol: &str,
    port: u16,
) -> Sources {
    let number = match protocol {
        "udp" => "17",
        _ => "6",
    };
    let covers = |permission: &&Permission| {
        let all = permission.protocol == "-1";
        let same = permission.protocol == protocol || permission.protocol == number;
        all || same && permission.ports.is_none_or(|(from, to)| (from..=to).contains(&port))
    };
    let mut sources = Sources::default();
    for permission in
        groups.filter_map(|id| facts.security_groups.get(id)).flat_map(|group| &group.ingress).filter(covers)
    {
        sources.ranges.extend(&permission.ranges);
        sources.groups.extend(permission.groups.iter().cloned());
    }
    sources
}

/// nftables rules that drop what the security groups of load balancers do not let in: `None` lets everybody in to an address, `Some` only those
/// addresses to that port. Silence is what a client gets on AWS too.
pub fn rules(guarded: &[(IpAddr, Vec<Allowed>)]) -> String {
    let mut text = "add table inet security_groups\ndelete table inet security_groups\ntable inet security_groups {\n chain input {\n  type filter hook input priority 0\n  ct state established accept\n".to_owned();
    for (address, allowed) in guarded {
        let destination = format!("{} daddr {address}", family(address));
        for Allowed { protocol, port, sources } in allowed {
            let same: Vec<String> = sources
                .iter()
                .filter(|range| range.addr().is_ipv4() == address.is_ipv4())
                .map(IpNet::to_string)
                .collect();
            if same.is_empty() {
                continue;
            }
            for source in same {
                text += &format!(
                    "  {destination} {protocol} dport {port} {} saddr {source} accept\n",
                    family(address)
                );
            }
        }
        text += &format!("  {destination} meta l4proto {{ tcp, udp }} drop\n");
    }
    text + " }\n}\n"
}

/// Who may reach a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Port.
    pub port: u16,
    /// Addresses.
    pub sources: Vec<IpNet>,
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::facts::SecurityGroup;
    use super::*;

    fn facts() -> Facts {
        let permission = |protocol: &str, ports, ranges: &[&str], groups: &[&str]| Permission {
            protocol: protocol.into(),
            ports,
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
        };
        let group = |ingress| SecurityGroup { ingress, ..SecurityGroup::default() };
        Facts {
            security_groups: BTreeMap::from([
                ("web".into(), group(vec![permission("tcp", Some((80, 81)), &["192.0.2.0/24"], &[])])),
                (
                    "nodes".into(),
                    group(vec![
                        permission("tcp", Some((30000, 32767)), &[], &["lb"]),
                        permission("6", Some((22, 22)), &["10.0.0.0/8"], &[]),
                    ]),
                ),
                ("open".into(), group(vec![permission("-1", None, &["0.0.0.0/0"], &[])])),
            ]),
            ..Facts::default()
        }
    }

    #[test]
    fn groups_together_let_in() {
        let facts = facts();
        let of = |groups: &[&str], protocol, port| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            sources(&facts, groups.iter(), protocol, port)
        };
        let inside = |sources: &Sources, address: &str| sources.contain(address.parse().unwrap());
        assert!(inside(&of(&["web"], "tcp", 80), "192.0.2.9"));
        assert!(!inside(&of(&["web"], "tcp", 80), "198.51.100.7"));
        assert!(!inside(&of(&["web"], "tcp", 443), "192.0.2.9"));
        assert!(!inside(&of(&["web"], "udp", 80), "192.0.2.9"));
        assert!(inside(&of(&["web", "open"], "udp", 9), "198.51.100.7"));
        assert!(inside(&of(&["nodes"], "tcp", 22), "10.1.1.1"));
        assert!(of(&["nodes"], "tcp", 30080).groups.contains("lb"));
        assert_eq!(of(&["nodes"], "tcp", 80), Sources::default());
        assert_eq!(of(&[], "tcp", 80), Sources::default());
    }

    #[test]
    fn rules_drop_all_that_is_not_let_in() {
        let allowed = Allowed {
            protocol: "tcp",
            port: 80,
            sources: vec!["192.0.2.0/24".parse().unwrap(), "::/0".parse().unwrap()],
        };
        let text = rules(&[("198.51.100.32".parse().unwrap(), vec![allowed])]);
        let accept = text.find("ip daddr 198.51.100.32 tcp dport 80 ip saddr 192.0.2.0/24 accept").unwrap();
        let drop = text.find("ip daddr 198.51.100.32 meta l4proto { tcp, udp } drop").unwrap();
        assert!(accept < drop, "{text}");
        assert!(!text.contains("::/0"), "{text}");
    }
}
