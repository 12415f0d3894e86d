//! Networks and subnets: those that cloud.conf names, and those that are taken where it names none. Pure.

use causeway_api::{Family, Finding, NodeSet};

use crate::facts::Facts;
use crate::inventory::{Network, Subnet};
use crate::network::{self, FloatingWish};
use crate::nodes::{Nodes, family_name};
use crate::options::{CLASS_SECTION, Placement, SECTION};
use crate::ownership::Mark;

/// Where load balancers and their floating IPs come to lie, by section.
pub(super) fn judge(facts: &Facts, set: &NodeSet) -> Vec<Finding> {
    let (Ok(networks), Ok(subnets)) = (facts.cloud.networks(), facts.cloud.subnets()) else {
        return vec![Finding::warning("Networks", "not looked at: networks or subnets could not be read")];
    };
    let nodes = Nodes::of(set, &facts.cloud);
    let place = Place { facts, nodes: &nodes, networks, subnets };
    let base = &facts.options.placement;
    let mut findings = place.section(&format!("[{SECTION}]"), base, &[base]);
    for (name, class) in &facts.options.classes {
        findings.extend(place.section(&format!("[{CLASS_SECTION} \"{name}\"]"), class, &[class, base]));
    }
    findings
}

struct Place<'a> {
    facts: &'a Facts,
    nodes: &'a Nodes,
    networks: &'a [Network],
    subnets: &'a [Subnet],
}

/// What a wrong id is the name of.
fn called<'a>(id: &str, things: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let named: Vec<&str> = things.filter(|(_, name)| *name == id).map(|(own, _)| own).collect();
    match named.as_slice() {
        [] => "write the id of one that the project sees".to_owned(),
        [one] => format!("that is a name, write its id {one}"),
        several => format!("that is the name of {}: write the id of one", several.join(" and ")),
    }
}

impl Place<'_> {
    /// What one section names; `levels` are it and those behind it.
    fn section(&self, section: &str, level: &Placement, levels: &[&Placement]) -> Vec<Finding> {
        let mut wrong = self.named(section, level);
        if !wrong.is_empty() {
            return wrong;
        }
        let merged = levels.iter().find(|l| l.subnet.is_some() || l.network.is_some());
        let vips = self.vips(section, merged.copied().unwrap_or(level), &mut wrong);
        let floating = self.floating(section, levels, &mut wrong);
        if wrong.iter().all(|finding| finding.level != causeway_api::Level::Error) {
            let parts: Vec<String> = [vips, floating].into_iter().flatten().collect();
            wrong.push(Finding::ok(section, parts.join("; ")));
        }
        wrong
    }

    fn network(&self, id: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.id == id)
    }

    fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.id == id)
    }

    /// Ids that nothing has, or not what is meant.
    fn named(&self, section: &str, level: &Placement) -> Vec<Finding> {
        let mut wrong = Vec::new();
        let mut say = |key: &str, text: String| wrong.push(Finding::error(format!("{section} {key}"), text));
        let no_network = |id: &str| {
            let known = self.networks.iter().map(|n| (n.id.as_str(), n.name.as_str()));
            format!("there is no network with id {id} that the project sees: {}", called(id, known))
        };
        let no_subnet = |id: &str| {
            let known = self.subnets.iter().map(|s| (s.id.as_str(), s.name.as_str()));
            format!("there is no subnet with id {id} that the project sees: {}", called(id, known))
        };
        if let Some(id) = &level.floating_network {
            match self.network(id) {
                None => say("floating-network-id", no_network(id)),
                Some(network) if !network.external => say(
                    "floating-network-id",
                    format!(
                        "network {id} ({}) is not external, it has no floating IPs: write {}",
                        network.name,
                        self.external()
                    ),
                ),
                Some(_) => {}
            }
        }
        if let Some(id) = &level.network
            && self.network(id).is_none()
        {
            say("network-id", no_network(id));
        }
        for (key, id) in [("subnet-id", &level.subnet), ("member-subnet-id", &level.member_subnet)] {
            if let Some(id) = id
                && self.subnet(id).is_none()
            {
                say(key, no_subnet(id));
            }
        }
        if let (Some(network), Some(subnet)) =
            (&level.network, level.subnet.as_deref().and_then(|id| self.subnet(id)))
            && subnet.network_id != *network
        {
            say(
                "subnet-id",
                format!(
                    "subnet {} is of network {}, not of network-id {network}: leave one of them away",
                    subnet.id, subnet.network_id
                ),
            );
        }
        wrong
    }

    /// The external networks, as a remedy.
    fn external(&self) -> String {
        let all: Vec<String> =
            self.networks.iter().filter(|n| n.external).map(|n| format!("{} ({})", n.id, n.name)).collect();
        if all.is_empty() { "that of an external one".to_owned() } else { all.join(" or ") }
    }

    /// Where VIPs lie.
    fn vips(&self, section: &str, level: &Placement, wrong: &mut Vec<Finding>) -> Option<String> {
        let v4 =
            self.nodes.all.is_empty() || self.nodes.all.iter().any(|n| n.addresses.contains_key(&Family::V4));
        let wanted = level.subnet.as_deref().and_then(|id| network::family(self.facts, id));
        let primary = wanted.unwrap_or(if v4 { Family::V4 } else { Family::V6 });
        match network::vip(self.facts, self.nodes, None, level, None, primary) {
            Ok(vip) => {
                let subnet = vip.subnet.as_deref().and_then(|id| self.subnet(id));
                let Some(subnet) = subnet else {
                    return Some("VIPs where Octavia puts them".to_owned());
                };
                let held = self
                    .nodes
                    .all
                    .iter()
                    .flat_map(|n| n.subnets.values())
                    .collect::<std::collections::BTreeSet<_>>();
                let said = level.subnet.is_some() || level.network.is_some();
                let others =
                    held.iter().filter(|id| network::family(self.facts, id) == Some(primary)).count();
                if !said && others > 1 {
                    wrong.push(Finding::warning(
                        format!("{section} subnet-id"),
                        format!("nodes are on {others} subnets of {}, of which the one with most nodes is taken: write subnet-id", family_name(primary)),
                    ));
                }
                Some(format!("VIPs on subnet {} ({})", subnet.name, subnet.id))
            }
            Err(why) => {
                wrong.push(Finding::error(format!("{section} subnet-id"), why));
                None
            }
        }
    }

    /// Where floating IPs come from.
    fn floating(&self, section: &str, levels: &[&Placement], wrong: &mut Vec<Finding>) -> Option<String> {
        let mark = Mark::default();
        let wish = FloatingWish { mark: &mark, description: "", levels, address: None, keep: false };
        match network::floating_ip(self.facts, wish) {
            Ok(found) => {
                let id = found.spec.floating_network_id;
                let external: Vec<&Network> = self.networks.iter().filter(|n| n.external).collect();
                let said = levels.iter().any(|l| l.floating_network.is_some() || l.names_floating_subnet());
                if !said && external.len() > 1 {
                    wrong.push(Finding::warning(
                        format!("{section} floating-network-id"),
                        format!("{} are external, and {id} is taken: write which is meant", self.external()),
                    ));
                }
                let name = self.network(&id).map_or("", |network| network.name.as_str());
                Some(format!("floating IPs of network {name} ({id})"))
            }
            Err(_) if self.facts.options.internal => Some("no floating IPs".to_owned()),
            Err(why) => {
                let key = if levels.iter().any(|l| l.names_floating_subnet()) {
                    "floating-subnet"
                } else {
                    "floating-network-id"
                };
                wrong.push(Finding::error(format!("{section} {key}"), why));
                None
            }
        }
    }
}
