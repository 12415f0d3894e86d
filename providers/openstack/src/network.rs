//! Networks: where a VIP lies, where a floating IP comes from. Pure.
//!
//! Settings come in levels, the first that says something wins. A choice of subnets for floating IPs never belongs to a network that an earlier level
//! chose.

use std::net::IpAddr;

use causeway_api::Family;

use crate::adopt;
use crate::facts::Facts;
use crate::inventory::{ExistingLoadBalancer, Subnet};
use crate::nodes::{Nodes, family_name};
use crate::options::Placement;
use crate::ownership::Mark;
use crate::stack::{AdditionalVip, FloatingIp, FloatingIpSpec, Token};

/// Where a VIP lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vip {
    /// Port.
    pub port: Option<String>,
    /// Network.
    pub network: Option<String>,
    /// Subnet.
    pub subnet: Option<String>,
    /// Further addresses.
    pub additional: Vec<AdditionalVip>,
}

/// The family of a subnet, if it is known.
#[must_use]
pub fn family(facts: &Facts, subnet: &str) -> Option<Family> {
    Some(net_family(facts.cloud.subnet(subnet)?))
}

fn net_family(subnet: &Subnet) -> Family {
    if subnet.cidr.contains(':') { Family::V6 } else { Family::V4 }
}

/// Subnet of a family on a network: the one that holds most nodes, else the smallest id.
fn on_network(facts: &Facts, nodes: &Nodes, network: &str, wanted: Family) -> Option<String> {
    let on = |id: &str| facts.cloud.subnet(id).is_some_and(|s| s.network_id == network);
    if let Ok(subnet) = nodes.subnet(wanted, &facts.cloud)
        && on(&subnet)
    {
        return Some(subnet);
    }
    let all = facts.cloud.subnets().unwrap_or_default();
    all.iter().filter(|s| s.network_id == network && net_family(s) == wanted).map(|s| s.id.clone()).min()
}

/// Where the VIP of a load balancer lies whose Services have these families, primary first. `former` is the subnet of the one that is there: without a wish
/// it stays, as a VIP cannot be moved.
///
/// # Errors
/// Why nowhere, and what to write.
pub fn vip(
    facts: &Facts,
    nodes: &Nodes,
    port: Option<&str>,
    level: &Placement,
    former: Option<&str>,
    primary: Family,
) -> Result<Vip, String> {
    if let Some(port) = port {
        return Ok(Vip { port: Some(port.to_owned()), ..Vip::default() });
    }
    let mut vip = Vip { network: level.network.clone(), subnet: level.subnet.clone(), ..Vip::default() };
    if let Some(subnet) = &vip.subnet {
        if facts.cloud.subnets.is_some() && facts.cloud.subnet(subnet).is_none() {
            return Err(format!("there is no subnet {subnet} that the project sees"));
        }
        match family(facts, subnet) {
            Some(other) if other != primary => {
                return Err(format!(
                    "subnet {subnet} has {}, and the first family that is asked for is {}: name another, or change spec.ipFamilies",
                    family_name(other),
                    family_name(primary)
                ));
            }
            _ => {}
        }
        return Ok(vip);
    }
    if let Some(network) = &vip.network {
        if let Ok(known) = facts.cloud.networks()
            && !known.iter().any(|n| n.id == *network)
        {
            return Err(format!("there is no network {network} that the project sees"));
        }
        // Octavia itself takes IPv4 where a network has both.
        vip.subnet = on_network(facts, nodes, network, primary);
        return Ok(vip);
    }
    vip.subnet = Some(match former {
        Some(subnet) => subnet.to_owned(),
        None => nodes.subnet(primary, &facts.cloud)?,
    });
    Ok(vip)
}

/// Where the VIP of a load balancer lies that was taken over: it cannot be moved.
#[must_use]
pub fn kept_vip(lb: &ExistingLoadBalancer) -> Vip {
    Vip { subnet: Some(lb.vip_subnet_id.clone()).filter(|s| !s.is_empty()), ..Vip::default() }
}

/// The subnet for an address of a further family: it must be on the network of the first.
///
/// # Errors
/// Why there is none.
pub fn additional(facts: &Facts, nodes: &Nodes, vip: &Vip, wanted: Family) -> Result<String, String> {
    let name = family_name(wanted);
    if vip.port.is_some() {
        return Err(format!(
            "a load balancer with a given port has the addresses of that port: give it one of {name}"
        ));
    }
    let of_subnet =
        vip.subnet.as_deref().and_then(|id| facts.cloud.subnet(id)).map(|s| s.network_id.as_str());
    let Some(network) = of_subnet.or(vip.network.as_deref()) else {
        facts.cloud.subnets().map_err(|missing| missing.to_string())?;
        return Err(format!(
            "the network of the VIP is not known, so that no subnet with {name} can be found"
        ));
    };
    on_network(facts, nodes, network, wanted)
        .ok_or_else(|| format!("network {network} of the VIP has no subnet with {name}: add one"))
}

/// What is asked of a floating IP.
#[derive(Clone, Copy, Debug)]
pub struct FloatingWish<'a> {
    /// Whose it is.
    pub mark: &'a Mark,
    /// Description.
    pub description: &'a str,
    /// Levels of settings, the first wins.
    pub levels: &'a [&'a Placement],
    /// Address.
    pub address: Option<IpAddr>,
    /// It is left when the load balancer is deleted.
    pub keep: bool,
}

/// The floating IP of a load balancer.
///
/// # Errors
/// Why there can be none, and what to write.
pub fn floating_ip(facts: &Facts, wish: FloatingWish<'_>) -> Result<FloatingIp, String> {
    if let Some(kept) = kept_floating_ip(facts, wish) {
        return Ok(kept);
    }
    if facts.cloud.lacks_extension("router") {
        return Err("this cloud has no floating IPs (Neutron lacks the extension router): make the load balancer internal".to_owned());
    }
    let said = wish.levels.iter().position(|l| l.floating_network.is_some());
    let network = match said.and_then(|at| wish.levels[at].floating_network.clone()) {
        Some(network) => {
            let known = facts.cloud.networks.as_ref().map(|n| &n.networks);
            match known.map(|all| all.iter().find(|n| n.id == network)) {
                Some(None) => return Err(format!("there is no network {network} that the project sees")),
                Some(Some(found)) if !found.external => {
                    return Err(format!(
                        "network {network} is not external, it has no floating IPs: name an external one"
                    ));
                }
                _ => network,
            }
        }
        None => external_network(facts, wish.levels.iter().find(|l| l.names_floating_subnet()).copied())?,
    };
    // A level that comes after the one which chose the network speaks of another network.
    let levels = &wish.levels[..said.map_or(wish.levels.len(), |at| at + 1)];
    let chosen = levels.iter().find(|l| l.names_floating_subnet());
    let subnets = match chosen {
        Some(level) => floating_subnets(facts, &network, level)?,
        None => Vec::new(),
    };
    let (existing, floating_ip_address) = match wish.address {
        Some(address) => (free_address(facts, wish.mark, address)?, Some(address)),
        None => (None, None),
    };
    let mut subnets = subnets.into_iter();
    Ok(FloatingIp {
        spec: FloatingIpSpec {
            floating_network_id: network,
            subnet_id: subnets.next(),
            floating_ip_address,
            port_id: Token::vip_port(),
            description: wish.description.to_owned(),
        },
        further_subnets: subnets.collect(),
        keep: wish.keep,
        existing,
    })
}

/// The one of a load balancer that was taken over: as long as nobody asks for another address it stays, wherever others come from.
fn kept_floating_ip(facts: &Facts, wish: FloatingWish<'_>) -> Option<FloatingIp> {
    let (lb, found) = (facts.kept.as_deref()?, facts.kept_floating_ip()?);
    if wish.address.is_some_and(|address| found.floating_ip_address.parse() != Ok(address)) {
        return None;
    }
    let ours = found.description.starts_with(&format!("{}:", wish.mark.description_prefix()));
    let made = adopt::made_floating_ip(&facts.cluster.name, &wish.mark.owner, &lb.name, &found.description);
    Some(FloatingIp {
        spec: FloatingIpSpec {
            floating_network_id: found.floating_network_id.clone(),
            subnet_id: None,
            floating_ip_address: wish.address,
            port_id: Token::vip_port(),
            description: wish.description.to_owned(),
        },
        further_subnets: Vec::new(),
        keep: wish.keep,
        // It stays the user's.
        existing: (!ours && !made).then(|| found.id.clone()),
    })
}

/// The external network with IPv4: of several one that has the subnets which are asked for, then the default one, else the first by name.
fn external_network(facts: &Facts, level: Option<&Placement>) -> Result<String, String> {
    let networks = facts.cloud.networks().map_err(|missing| missing.to_string())?;
    let has_v4 = |network: &str| {
        facts.cloud.subnets().map_or(true, |all| {
            let mut own = all.iter().filter(|s| s.network_id == network).peekable();
            // Subnets of external networks are often hidden from projects.
            own.peek().is_none() || own.any(|s| net_family(s) == Family::V4)
        })
    };
    let lacks_subnet = |network: &str| {
        level.is_some_and(|level| {
            match level.floating_subnet_id.as_deref().map(|id| facts.cloud.subnet(id)) {
                Some(subnet) => subnet.is_none_or(|s| s.network_id != network),
                None => floating_subnets(facts, network, level).is_err(),
            }
        })
    };
    networks
        .iter()
        .filter(|n| n.external && has_v4(&n.id))
        .min_by_key(|n| (lacks_subnet(&n.id), !n.is_default, n.name.as_str(), n.id.as_str()))
        .map(|n| n.id.clone())
        .ok_or_else(|| "there is no external network with IPv4 that the project sees: write floating-network-id, or make the load balancer internal".to_owned())
}

/// The subnets that a floating IP may come from, in the order in which they are tried.
fn floating_subnets(facts: &Facts, network: &str, level: &Placement) -> Result<Vec<String>, String> {
    if let Some(id) = &level.floating_subnet_id {
        return match facts.cloud.subnet(id) {
            Some(subnet) if subnet.network_id != network => {
                Err(format!("subnet {id} is not of network {network}: name one of it, or its network"))
            }
            Some(subnet) if net_family(subnet) == Family::V6 => {
                Err(format!("subnet {id} has IPv6, and floating IPs are IPv4: name another"))
            }
            // It may be hidden from the project.
            _ => Ok(vec![id.clone()]),
        };
    }
    let all = facts.cloud.subnets().map_err(|missing| missing.to_string())?;
    let mut found: Vec<&Subnet> = all
        .iter()
        .filter(|s| s.network_id == network && net_family(s) == Family::V4)
        .filter(|s| level.floating_subnet.as_deref().is_none_or(|pattern| name_matches(pattern, &s.name)))
        .filter(|s| level.floating_subnet_tags.as_deref().is_none_or(|tags| tags_match(tags, &s.tags)))
        .collect();
    found.sort_by_key(|s| (s.name.as_str(), s.id.as_str()));
    if found.is_empty() {
        return Err(format!(
            "no subnet of network {network} has such a name or tags: change them, or name a subnet by id"
        ));
    }
    Ok(found.into_iter().map(|s| s.id.clone()).collect())
}

/// Whether a name is one of a pattern; see [`crate::annotations::value::check_subnet_pattern`], by which it was checked.
fn name_matches(pattern: &str, name: &str) -> bool {
    let (others, pattern) = match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let regex = match pattern.strip_prefix('~') {
        Some(regex) => regex.to_owned(),
        None => pattern
            .chars()
            .map(|c| match c {
                '*' => ".*".to_owned(),
                '?' => ".".to_owned(),
                c => regex_lite::escape(&c.to_string()),
            })
            .collect(),
    };
    let found = regex_lite::Regex::new(&format!("^(?:{regex})$")).is_ok_and(|r| r.is_match(name));
    found != others
}

/// Whether tags are such as are asked for: `a,b` one of them, `&a,b` all; `!` before takes the others.
fn tags_match(wanted: &str, have: &[String]) -> bool {
    let (others, wanted) = match wanted.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let (all, wanted) = match wanted.strip_prefix('&') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let mut tags = wanted.split(',').map(str::trim);
    let has = |tag: &str| have.iter().any(|t| t == tag);
    let found = if all { tags.all(has) } else { tags.any(has) };
    found != others
}

/// The floating IP with an address, if it is there and free or ours; `None`: it is to be made.
fn free_address(facts: &Facts, mark: &Mark, address: IpAddr) -> Result<Option<String>, String> {
    if address.is_ipv6() {
        return Err(format!("{address} has IPv6, and floating IPs are IPv4"));
    }
    let same = |f: &&crate::inventory::ExistingFloatingIp| f.floating_ip_address.parse() == Ok(address);
    match facts.cloud.floating_ips().iter().find(same) {
        None => Ok(None),
        Some(found) => {
            let ours = found.description.starts_with(&format!("{}:", mark.description_prefix()));
            let leads_to_ours = facts
                .existing(mark)
                .is_some_and(|lb| !lb.vip_port_id.is_empty() && lb.vip_port_id == found.port_id);
            if found.port_id.is_empty() || ours || leads_to_ours {
                Ok(Some(found.id.clone()))
            } else {
                Err(format!(
                    "the floating IP {address} leads to port {} already: free it, or ask for another",
                    found.port_id
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("public-*", "public-subnet", true)]
    #[case("public-*", "my-public-subnet", false)]
    #[case("public-subnet?", "public-subnet2", true)]
    #[case("a.b", "axb", false)]
    #[case("!public-*", "public-subnet", false)]
    #[case("!public-*", "dmz", true)]
    #[case("~pub.*|dmz", "dmz", true)]
    #[case("~pub", "public", false)]
    #[case("!~pub.*", "public", false)]
    fn names(#[case] pattern: &str, #[case] name: &str, #[case] want: bool) {
        assert_eq!(name_matches(pattern, name), want);
    }

    #[rstest]
    #[case("a,b", &["b"], true)]
    #[case("a,b", &["c"], false)]
    #[case("&a,b", &["b"], false)]
    #[case("&a, b", &["b", "a", "c"], true)]
    #[case("!a,b", &["b"], false)]
    #[case("!a,b", &["c"], true)]
    #[case("!&a,b", &["b"], true)]
    #[case("!&a,b", &["b", "a"], false)]
    fn tags(#[case] wanted: &str, #[case] have: &[&str], #[case] want: bool) {
        let have: Vec<String> = have.iter().map(|t| (*t).to_owned()).collect();
        assert_eq!(tags_match(wanted, &have), want);
    }
}
