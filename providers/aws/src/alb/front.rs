//! The ALB itself: scheme, families, subnets, security groups, attributes, tags. Pure.
//!
//! All of it is the load balancer's, not an Ingress's: of several Ingresses the oldest that says something decides. If what it says cannot be had, that Ingress is
//! not served, and the next one decides; only what nobody asked for and cannot be had leaves the whole load balancer as it is.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{LbKey, Problem};
use ipnet::IpNet;

use super::group::{Group, Joined, Said};
use super::listeners::Listeners;
use super::parameters::{SubnetSelector, ip_address_type};
use super::{limits, names};
use crate::annotations::ingress as table;
use crate::facts::Facts;
use crate::inventory::ExistingLoadBalancer;
use crate::security::{self, Sources};
use crate::stack::{
    IpAddressType, LoadBalancerSpec, LoadBalancerType, MANAGED_SECURITY_GROUP, MinimumCapacity, ResourceType,
    Scheme, SecurityGroupSpec, SubnetMapping, Token, attributes,
};
use crate::subnets::{self, Choice, Purpose};

/// Reason of a problem with subnets.
pub const NO_SUBNETS: &str = "SubnetsNotFound";
/// Reason of a problem with security groups.
pub const NO_GROUP: &str = "SecurityGroupNotFound";

/// The load balancer, and what its target groups depend on.
#[derive(Clone, Debug)]
pub struct Front {
    /// Its spec.
    pub spec: LoadBalancerSpec,
    /// The group that is made for it.
    pub managed: Option<SecurityGroupSpec>,
    /// From where targets are reached, if the rules for that are ours to make.
    pub backend: Option<Token>,
    /// The shared group, if it is to be made.
    pub shared: Option<SecurityGroupSpec>,
}

/// Builds it; nothing where it must stay as it is.
pub fn build(group: &mut Group<'_>, key: &LbKey, facts: &Facts, listeners: &Listeners) -> Option<Front> {
    let existing = facts.existing(key, "application");
    let scheme = scheme(group, facts, existing);
    let ip_address_type = families(group);
    let purpose = Purpose { kind: LoadBalancerType::Application, scheme, ip_address_type };
    let subnet_mappings = find_subnets(group, facts, existing, &purpose)?;
    let all: Vec<usize> = group.served().collect();
    let name = |m: &Joined<'_>| {
        m.parameters.name.clone().or_else(|| m.settings.text(&table::NAME).map(str::to_owned))
    };
    let name = group.exclusive(&table::NAME, &all, name, |_, _| false);
    let name = name.map_or_else(|| names::load_balancer(&facts.cluster.id, key, scheme), |(_, name)| name);
    let coip = group.exclusive_text(&table::COIP_POOL);
    let ipam = |m: &Joined<'_>| {
        m.parameters.ipam_pool.clone().or_else(|| m.settings.text(&table::IPAM_POOL).map(str::to_owned))
    };
    let ipam = group.exclusive(&table::IPAM_POOL, &all, ipam, |_, _| false);
    let capacity = |m: &Joined<'_>| {
        let own = m.settings.map(&table::CAPACITY).and_then(|map| map.get("CapacityUnits")?.parse().ok());
        m.parameters.capacity.or(own)
    };
    let capacity = group.exclusive(&table::CAPACITY, &all, capacity, |_, _| false);
    let class = |m: &Joined<'_>| m.parameters.attributes.clone();
    let own = |m: &Joined<'_>| m.settings.map(&table::LOAD_BALANCER_ATTRIBUTES).unwrap_or_default();
    let attribute_map = group.union(&table::LOAD_BALANCER_ATTRIBUTES, &all, class, own);
    let tags = group.shared_tags(&facts.options, &all);
    let mut front = Front {
        spec: LoadBalancerSpec {
            name,
            kind: LoadBalancerType::Application,
            scheme,
            ip_address_type,
            enable_prefix_for_ipv6_source_nat: None,
            subnet_mappings,
            security_groups: Vec::new(),
            security_groups_inbound_rules_on_private_link: None,
            customer_owned_ipv4_pool: coip.map(|(_, pool)| pool),
            load_balancer_attributes: attributes(attribute_map),
            minimum_load_balancer_capacity: capacity
                .map(|(_, capacity_units)| MinimumCapacity { capacity_units }),
            tags,
            ipv4_ipam_pool: ipam.map(|(_, pool)| pool),
        },
        managed: None,
        backend: None,
        shared: None,
    };
    secure(group, key, facts, listeners, &mut front)?;
    Some(front)
}

fn scheme(group: &mut Group<'_>, facts: &Facts, existing: Option<&ExistingLoadBalancer>) -> Scheme {
    let word = |text: &str| if text == "internal" { Scheme::Internal } else { Scheme::InternetFacing };
    let all: Vec<usize> = group.served().collect();
    let get = |m: &Joined<'_>| m.parameters.scheme.or_else(|| m.settings.text(&table::SCHEME).map(word));
    let opens = |has: &Scheme, asked: &Scheme| (*has, *asked) == (Scheme::InternetFacing, Scheme::Internal);
    if let Some((_, scheme)) = group.exclusive(&table::SCHEME, &all, get, opens) {
        return scheme;
    }
    match existing.map(|lb| lb.scheme.as_str()) {
        Some("internal") if !facts.options.like_lbc() => Scheme::Internal,
        Some("internet-facing") if !facts.options.like_lbc() => Scheme::InternetFacing,
        _ => facts.options.default_scheme,
    }
}

fn families(group: &mut Group<'_>) -> IpAddressType {
    let all: Vec<usize> = group.served().collect();
    let get = |m: &Joined<'_>| {
        m.parameters.ip_address_type.or_else(|| m.settings.text(&table::IP_ADDRESS_TYPE).map(ip_address_type))
    };
    group.exclusive(&table::IP_ADDRESS_TYPE, &all, get, |_, _| false).map_or(IpAddressType::Ipv4, |(_, t)| t)
}

/// Subnets that somebody names.
#[derive(Clone, Debug)]
enum Asked {
    Names(Vec<String>),
    Selector(SubnetSelector),
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        match (self, other) {
            (Self::Names(a), Self::Names(b)) => set(a) == set(b),
            (Self::Selector(a), Self::Selector(b)) => a == b,
            _ => false,
        }
    }
}

impl Said for Asked {
    fn said(&self) -> String {
        match self {
            Self::Names(names) => names.said(),
            Self::Selector(selector) => format!("{selector:?}"),
        }
    }
}

fn asked(m: &Joined<'_>) -> Option<Asked> {
    if let Some(selector) = &m.parameters.subnets {
        return Some(Asked::Selector(selector.clone()));
    }
    let names = m.settings.list(&table::SUBNETS)?;
    Some(Asked::Names(names.into_iter().map(str::to_owned).collect()))
}

fn find_subnets(
    group: &mut Group<'_>,
    facts: &Facts,
    existing: Option<&ExistingLoadBalancer>,
    purpose: &Purpose,
) -> Option<Vec<SubnetMapping>> {
    let mapped = |subnets: Vec<crate::inventory::Subnet>| {
        let mapping = |s: crate::inventory::Subnet| SubnetMapping {
            subnet_id: s.subnet_id,
            ..SubnetMapping::default()
        };
        subnets.into_iter().map(mapping).collect()
    };
    loop {
        let all: Vec<usize> = group.served().collect();
        if all.is_empty() {
            return None;
        }
        let Some((holder, wanted)) = group.exclusive(&table::SUBNETS, &all, asked, |_, _| false) else {
            break;
        };
        let found = match &wanted {
            Asked::Names(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                subnets::resolve(facts, Choice::Named(&names), purpose)
            }
            Asked::Selector(SubnetSelector { ids, .. }) if !ids.is_empty() => {
                let names: Vec<&str> = ids.iter().map(String::as_str).collect();
                subnets::resolve(facts, Choice::Named(&names), purpose)
            }
            Asked::Selector(SubnetSelector { tags, .. }) => {
                subnets::resolve(facts, Choice::Tagged(tags), purpose)
            }
        };
        match found {
            Ok(found) => return Some(mapped(found)),
            Err(error) => {
                let problem = group.members[holder].error(&table::SUBNETS, error.to_string());
                group.refuse(holder, Problem { reason: NO_SUBNETS.to_owned(), ..problem });
            }
        }
    }
    let kept = subnets::kept(existing.filter(|lb| lb.scheme == purpose.scheme.as_str()));
    let choice = if kept.is_empty() { Choice::Discovered } else { Choice::Named(&kept) };
    match subnets::resolve(facts, choice, purpose) {
        Ok(found) => Some(mapped(found)),
        Err(error) => {
            let problem = group.first().error(&table::SUBNETS, error.to_string());
            group.block(Problem { reason: NO_SUBNETS.to_owned(), ..problem });
            None
        }
    }
}

/// Security groups: those that the user names, or one that is made; and the shared one, from which targets are reached.
fn secure(
    group: &mut Group<'_>,
    key: &LbKey,
    facts: &Facts,
    listeners: &Listeners,
    front: &mut Front,
) -> Option<()> {
    let share = |front: &mut Front| {
        let (token, spec) = security::backend(facts);
        front.spec.security_groups.push(token.clone());
        front.backend = Some(token);
        front.shared = spec;
    };
    loop {
        let all: Vec<usize> = group.served().collect();
        if all.is_empty() {
            return None;
        }
        let get = |m: &Joined<'_>| {
            let names = m.settings.list(&table::SECURITY_GROUPS)?;
            Some(names.into_iter().map(str::to_owned).collect::<Vec<String>>())
        };
        let Some((holder, names)) = group.exclusive(&table::SECURITY_GROUPS, &all, get, |_, _| true) else {
            break;
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match security::resolve(facts, &names) {
            Ok(tokens) => {
                front.spec.security_groups = tokens;
                let manages = |m: &Joined<'_>| m.settings.bool(&table::MANAGE_BACKEND_RULES);
                let manages = group.exclusive(&table::MANAGE_BACKEND_RULES, &all, manages, |_, _| false);
                if manages.as_ref().map_or(facts.options.manage_backend_rules, |(_, on)| *on) {
                    if facts.options.enable_backend_security_group {
                        share(front);
                    } else {
                        let why = "with security groups of one's own it needs option enable-backend-security-group: nodes and pods are not opened, take it away or set the option";
                        let about = manages.map_or(holder, |(index, _)| index);
                        let problem = group.members[about].warn(&table::MANAGE_BACKEND_RULES, why);
                        group.report(problem);
                    }
                }
                return Some(());
            }
            Err(error) => {
                let problem = group.members[holder].error(&table::SECURITY_GROUPS, error.to_string());
                group.refuse(holder, Problem { reason: NO_GROUP.to_owned(), ..problem });
            }
        }
    }
    let all: Vec<usize> = group.served().collect();
    let dual = front.spec.ip_address_type.needs_ipv6();
    let sources: BTreeMap<u16, Sources> = listeners
        .by_port
        .iter()
        .map(|(port, listener)| {
            let mut sources = listener.sources.clone();
            sources.networks.retain(|n| dual || matches!(n, IpNet::V4(_)));
            (*port, sources)
        })
        .collect();
    let ports: Vec<(&str, u16, &Sources)> =
        sources.iter().map(|(port, sources)| ("tcp", *port, sources)).collect();
    let rules = security::frontend_rules(&ports);
    if rules.len() > security::MOST_RULES {
        let why = format!(
            "ports and networks make {} rules, and a security group takes {}: name fewer networks, a prefix list, or security groups of your own",
            rules.len(),
            security::MOST_RULES
        );
        let problem = group.first().error(&table::INBOUND_CIDRS, why);
        group.block(Problem { reason: limits::TOO_MANY.to_owned(), ..problem });
        return None;
    }
    front.managed = Some(SecurityGroupSpec {
        group_name: names::security_group(&facts.cluster.id, key),
        description: security::MANAGED_DESCRIPTION.to_owned(),
        tags: group.shared_tags(&facts.options, &all),
        ingress: rules,
    });
    let own = Token::of(ResourceType::SecurityGroup, MANAGED_SECURITY_GROUP);
    front.spec.security_groups.push(own.clone());
    if facts.options.enable_backend_security_group {
        share(front);
    } else {
        front.backend = Some(own);
    }
    Some(())
}
