//! The load balancer itself: scheme, families, subnets and their fixed addresses, security groups, attributes. Pure.
//!
//! All of it is the load balancer's, not a Service's: of several Services the oldest that says something decides. What cannot be had leaves the whole load
//! balancer as it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_api::{Family, LbKey, Owner, Problem};
use ipnet::IpNet;

use super::member::{Fault, Served, exclusive};
use crate::annotations::{Settings, reasons, service, value};
use crate::facts::Facts;
use crate::inventory::{ExistingLoadBalancer, Subnet};
use crate::ownership::Defaults;
use crate::stack::{
    IpAddressType, LoadBalancerSpec, LoadBalancerType, MANAGED_SECURITY_GROUP, MinimumCapacity, OnOff,
    ResourceType, Scheme, SubnetMapping, Tags, Token, attributes,
};
use crate::subnets::{self, Choice, Purpose};
use crate::{naming, security};

/// Attribute that spreads connections over all zones.
const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";

/// Security groups of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    /// None: targets must let clients in themselves.
    None,
    /// One that is made, and the shared one.
    Managed,
    /// Those that the user names.
    Named,
}

/// The load balancer, and what its listeners and target groups depend on.
pub(super) struct Front {
    /// Its spec.
    pub spec: LoadBalancerSpec,
    /// Its subnets, in the order of the mappings.
    pub subnets: Vec<Subnet>,
    /// Which groups it has.
    pub groups: Groups,
    /// From where targets are reached, if its rules are ours to make.
    pub backend: Option<Token>,
    /// The shared group must be made.
    pub makes_backend: bool,
    /// Rules for targets are ours to make where there is no group.
    pub manages_networks: bool,
    /// Its fixed addresses, as far as they are known.
    pub addresses: Vec<IpAddr>,
    /// Connections are spread over all zones.
    pub cross_zone: bool,
}

/// Builds it.
///
/// # Errors
/// Why it stays as it is.
pub(super) fn build(
    key: &LbKey,
    members: &[Served<'_>],
    facts: &Facts,
    has_udp: bool,
    problems: &mut Vec<Problem>,
) -> Result<Front, Box<Fault>> {
    let existing = facts.existing(key, "network");
    let scheme = scheme(members, facts, existing, problems);
    let ip_address_type = ip_address_type(members, facts, problems);
    let purpose = Purpose { kind: LoadBalancerType::Network, scheme, ip_address_type };
    let subnets = find_subnets(members, facts, existing, &purpose, problems)?;
    let nat = source_nat(members, facts, ip_address_type, has_udp, problems)?;
    let mut front = Front {
        spec: LoadBalancerSpec {
            name: name(key, members, facts, scheme, problems),
            kind: LoadBalancerType::Network,
            scheme,
            ip_address_type,
            enable_prefix_for_ipv6_source_nat: Some(nat),
            subnet_mappings: mappings(members, facts, &subnets, &purpose, nat, problems)?,
            security_groups: Vec::new(),
            security_groups_inbound_rules_on_private_link: None,
            customer_owned_ipv4_pool: None,
            load_balancer_attributes: Vec::new(),
            minimum_load_balancer_capacity: capacity(members, problems),
            tags: tags(members, facts, problems),
            ipv4_ipam_pool: None,
        },
        subnets,
        groups: Groups::None,
        backend: None,
        makes_backend: false,
        manages_networks: false,
        addresses: Vec::new(),
        cross_zone: false,
    };
    let attributes_map = attribute_map(members, problems);
    front.cross_zone = attributes_map.get(CROSS_ZONE).is_some_and(|v| value::bool(v) == Some(true));
    front.spec.load_balancer_attributes = attributes(attributes_map);
    secure(&mut front, members, facts, existing, problems)?;
    if !facts.options.like_lbc() {
        front.addresses = fixed_addresses(&front.spec.subnet_mappings, facts);
    }
    Ok(front)
}

fn scheme(
    members: &[Served<'_>],
    facts: &Facts,
    existing: Option<&ExistingLoadBalancer>,
    problems: &mut Vec<Problem>,
) -> Scheme {
    if let Some((_, text)) = exclusive(members, &service::SCHEME, problems) {
        return if text == "internal" { Scheme::Internal } else { Scheme::InternetFacing };
    }
    if let Some((holder, _)) = exclusive(members, &service::INTERNAL, problems) {
        let internal = holder.settings.bool(&service::INTERNAL) == Some(true);
        return if internal { Scheme::Internal } else { Scheme::InternetFacing };
    }
    match existing.map(|lb| lb.scheme.as_str()) {
        Some("internal") => Scheme::Internal,
        Some("internet-facing") => Scheme::InternetFacing,
        _ if members.first().is_some_and(|m| m.defaults == Defaults::Cpa) => Scheme::InternetFacing,
        _ => facts.options.default_scheme,
    }
}

fn ip_address_type(members: &[Served<'_>], facts: &Facts, problems: &mut Vec<Problem>) -> IpAddressType {
    match exclusive(members, &service::IP_ADDRESS_TYPE, problems) {
        Some((_, "dualstack")) => IpAddressType::Dualstack,
        Some(_) => IpAddressType::Ipv4,
        None if facts.options.like_lbc() => IpAddressType::Ipv4,
        None if members.iter().any(|m| m.service.families.contains(&Family::V6)) => IpAddressType::Dualstack,
        None => IpAddressType::Ipv4,
    }
}

fn find_subnets(
    members: &[Served<'_>],
    facts: &Facts,
    existing: Option<&ExistingLoadBalancer>,
    purpose: &Purpose,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Subnet>, Box<Fault>> {
    let named = exclusive(members, &service::SUBNETS, problems);
    let kept = subnets::kept(existing.filter(|lb| lb.scheme == purpose.scheme.as_str()));
    let list = named.map(|(_, text)| value::list(text));
    let choice = match &list {
        Some(names) => Choice::Named(names),
        None if kept.is_empty() => Choice::Discovered,
        None => Choice::Named(&kept),
    };
    subnets::resolve(facts, choice, purpose).map_err(|error| {
        let about = named.map_or(&members[0], |(holder, _)| holder);
        let mut fault = about.fault(&service::SUBNETS, error.to_string());
        "SubnetsNotFound".clone_into(&mut fault.problem.reason);
        fault
    })
}

fn source_nat(
    members: &[Served<'_>],
    facts: &Facts,
    ip_address_type: IpAddressType,
    has_udp: bool,
    problems: &mut Vec<Problem>,
) -> Result<OnOff, Box<Fault>> {
    match exclusive(members, &service::SOURCE_NAT, problems) {
        Some((_, "off")) => Ok(OnOff::Off),
        Some(_) if ip_address_type.needs_ipv6() => Ok(OnOff::On),
        Some((holder, _)) => Err(holder.fault(
            &service::SOURCE_NAT,
            "source NAT by IPv6 prefixes needs dual stack: set aws-load-balancer-ip-address-type to dualstack, or take it away",
        )),
        None if has_udp && ip_address_type.needs_ipv6() && !facts.options.like_lbc() => Ok(OnOff::On),
        None => Ok(OnOff::Off),
    }
}

fn name(
    key: &LbKey,
    members: &[Served<'_>],
    facts: &Facts,
    scheme: Scheme,
    problems: &mut Vec<Problem>,
) -> String {
    if let Some((_, name)) = exclusive(members, &service::NAME, problems) {
        return name.to_owned();
    }
    let cluster = &facts.cluster.id;
    match &key.owner {
        Owner::Object(o) => naming::load_balancer(cluster, &o.namespace, &o.name, &o.uid, scheme),
        Owner::Group(group) => naming::group_load_balancer(cluster, group, scheme),
    }
}

/// One value per subnet out of a list, or an error that says how many there must be.
fn per_subnet<'m, 'a>(
    members: &'m [Served<'a>],
    annotation: &'static crate::annotations::Annotation,
    subnets: usize,
    allowed: Result<(), &str>,
    problems: &mut Vec<Problem>,
) -> Result<Option<(&'m Served<'a>, Vec<&'m str>)>, Box<Fault>> {
    let Some((holder, text)) = exclusive(members, annotation, problems) else { return Ok(None) };
    let list = value::list(text);
    if let Err(why) = allowed {
        return Err(holder.fault(annotation, why));
    }
    if list.len() != subnets {
        return Err(holder.fault(
            annotation,
            format!(
                "there are {} for {subnets} subnets: give one for each, in the order of the subnets",
                list.len()
            ),
        ));
    }
    Ok(Some((holder, list)))
}

fn mappings(
    members: &[Served<'_>],
    facts: &Facts,
    subnets: &[Subnet],
    purpose: &Purpose,
    nat: OnOff,
    problems: &mut Vec<Problem>,
) -> Result<Vec<SubnetMapping>, Box<Fault>> {
    let mut out: Vec<SubnetMapping> = subnets
        .iter()
        .map(|s| SubnetMapping { subnet_id: s.subnet_id.clone(), ..SubnetMapping::default() })
        .collect();
    let allow = |right: bool, why: &'static str| if right { Ok(()) } else { Err(why) };
    let dual = purpose.ip_address_type.needs_ipv6();
    let count = subnets.len();

    let public = allow(
        purpose.scheme == Scheme::InternetFacing,
        "elastic IPs are for internet-facing load balancers: set aws-load-balancer-scheme to internet-facing, or take it away",
    );
    if let Some((holder, list)) = per_subnet(members, &service::EIP_ALLOCATIONS, count, public, problems)? {
        for (mapping, id) in out.iter_mut().zip(list) {
            let known = facts.aws.describe_addresses.as_ref();
            if known.is_some_and(|a| !a.addresses.iter().any(|a| a.allocation_id == id)) {
                let why = format!(
                    "there is no elastic IP {id} in the account and region: name those that are there"
                );
                return Err(holder.fault(&service::EIP_ALLOCATIONS, why));
            }
            mapping.allocation_id = Some(id.to_owned());
        }
    }
    let private = allow(
        purpose.scheme == Scheme::Internal,
        "private addresses are for internal load balancers: set aws-load-balancer-scheme to internal, or take it away",
    );
    if let Some((holder, list)) = per_subnet(members, &service::PRIVATE_ADDRESSES, count, private, problems)?
    {
        for (mapping, subnet) in out.iter_mut().zip(subnets) {
            let address = inside(&list, &[subnet.cidr_block.as_str()])
                .ok_or_else(|| holder.fault(&service::PRIVATE_ADDRESSES, not_inside(subnet)))?;
            mapping.private_ipv4_address = Some(address.to_owned());
        }
    }
    let ipv6 = allow(
        dual,
        "IPv6 addresses need dual stack: set aws-load-balancer-ip-address-type to dualstack, or take it away",
    );
    if let Some((holder, list)) = per_subnet(members, &service::IPV6_ADDRESSES, count, ipv6, problems)? {
        for (mapping, subnet) in out.iter_mut().zip(subnets) {
            let blocks: Vec<&str> = subnet.ipv6_blocks().collect();
            let address = inside(&list, &blocks)
                .ok_or_else(|| holder.fault(&service::IPV6_ADDRESSES, not_inside(subnet)))?;
            mapping.ipv6_address = Some(address.to_owned());
        }
    }
    let on = allow(
        dual && nat == OnOff::On,
        "prefixes need dual stack and aws-load-balancer-enable-prefix-for-ipv6-source-nat set to on",
    );
    if let Some((holder, list)) = per_subnet(members, &service::SOURCE_NAT_PREFIXES, count, on, problems)? {
        for ((mapping, subnet), prefix) in out.iter_mut().zip(subnets).zip(list) {
            let network = prefix.parse::<IpNet>().ok();
            let within = network.is_none_or(|network| {
                subnet.ipv6_blocks().filter_map(|b| b.parse::<IpNet>().ok()).any(|b| b.contains(&network))
            });
            if !within {
                let id = &subnet.subnet_id;
                let why = format!(
                    "{prefix} does not lie in subnet {id}: take a network of length 80 that does, or auto_assigned"
                );
                return Err(holder.fault(&service::SOURCE_NAT_PREFIXES, why));
            }
            mapping.source_nat_ipv6_prefix = Some(prefix.to_owned());
        }
    }
    Ok(out)
}

/// The one address of a list that lies in one of the blocks.
fn inside<'l>(list: &[&'l str], blocks: &[&str]) -> Option<&'l str> {
    let blocks: Vec<IpNet> = blocks.iter().filter_map(|b| b.parse().ok()).collect();
    let mut found = list
        .iter()
        .filter(|text| text.parse::<IpAddr>().is_ok_and(|ip| blocks.iter().any(|block| block.contains(&ip))));
    match (found.next(), found.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

fn not_inside(subnet: &Subnet) -> String {
    format!("there must be exactly one address in subnet {}: give one for each subnet", subnet.subnet_id)
}

fn capacity(members: &[Served<'_>], problems: &mut Vec<Problem>) -> Option<MinimumCapacity> {
    let (holder, _) = exclusive(members, &service::CAPACITY, problems)?;
    let units = holder.settings.map(&service::CAPACITY)?.remove("CapacityUnits")?;
    Some(MinimumCapacity { capacity_units: units.parse().ok()? })
}

/// Tags of all members; the oldest wins.
fn tags(members: &[Served<'_>], facts: &Facts, problems: &mut Vec<Problem>) -> Tags {
    let mut tags = Tags::new();
    for member in members {
        for (key, value) in member.tags(facts, problems) {
            tags.entry(key).or_insert(value);
        }
    }
    tags
}

fn deprecated_attributes(settings: &Settings) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if settings.bool(&service::ACCESS_LOG) == Some(true) {
        out.insert("access_logs.s3.enabled".to_owned(), "true".to_owned());
        let texts = [
            (&service::ACCESS_LOG_BUCKET, "access_logs.s3.bucket"),
            (&service::ACCESS_LOG_PREFIX, "access_logs.s3.prefix"),
        ];
        for (annotation, key) in texts {
            if let Some(text) = settings.text(annotation) {
                out.insert(key.to_owned(), text.to_owned());
            }
        }
    }
    if let Some(on) = settings.bool(&service::CROSS_ZONE) {
        out.insert(CROSS_ZONE.to_owned(), on.to_string());
    }
    out
}

/// Attributes by key: of each member the deprecated annotations win over the map, as with the peer; of several members the oldest.
fn attribute_map(members: &[Served<'_>], problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        let mut own = member.settings.map(&service::ATTRIBUTES).unwrap_or_default();
        own.extend(deprecated_attributes(&member.settings));
        for (key, value) in own {
            match out.get(&key) {
                None => {
                    out.insert(key, (index, value));
                }
                Some((holder, other)) if *other != value => problems.push(member.warn(
                    &service::ATTRIBUTES,
                    reasons::CONFLICT,
                    format!(
                        "{key}={value} does not count: {} is older, shares this load balancer and has {other}; write the same, or take it away",
                        members[*holder].member.object
                    ),
                )),
                Some(_) => {}
            }
        }
    }
    out.into_iter().map(|(key, (_, value))| (key, value)).collect()
}

fn secure(
    front: &mut Front,
    members: &[Served<'_>],
    facts: &Facts,
    existing: Option<&ExistingLoadBalancer>,
    problems: &mut Vec<Problem>,
) -> Result<(), Box<Fault>> {
    let options = &facts.options;
    let manage = exclusive(members, &service::MANAGE_BACKEND_RULES, problems)
        .and_then(|(holder, _)| holder.settings.bool(&service::MANAGE_BACKEND_RULES));
    let off = exclusive(members, &service::DISABLE_SECURITY_GROUPS, problems)
        .map(|(holder, _)| (holder, holder.settings.bool(&service::DISABLE_SECURITY_GROUPS) == Some(true)));
    let named = exclusive(members, &service::SECURITY_GROUPS, problems);
    let has = existing.map(|lb| !lb.security_groups.is_empty());
    let classic = members.first().is_some_and(|m| m.defaults == Defaults::Cpa);
    let none = match (&off, has) {
        // Without groups from the beginning: none can be added.
        (_, Some(false)) => true,
        (Some((holder, true)), Some(true)) => {
            return Err(holder.fault(
                &service::DISABLE_SECURITY_GROUPS,
                "the load balancer was made with security groups, which is fixed: take it away, or make another Service",
            ));
        }
        (Some((_, off)), _) => *off,
        (None, Some(true)) => false,
        (None, None) => !options.nlb_security_group || (classic && named.is_none()),
    };
    front.spec.security_groups_inbound_rules_on_private_link =
        exclusive(members, &service::PRIVATE_LINK_RULES, problems)
            .and_then(|(holder, _)| holder.settings.on_off(&service::PRIVATE_LINK_RULES));
    if none {
        front.manages_networks = manage.unwrap_or(true);
        if let Some((holder, _)) = named.filter(|_| has == Some(false)) {
            problems.push(holder.warn(
                &service::SECURITY_GROUPS,
                reasons::INVALID,
                "the load balancer was made without security groups, which is fixed: it stays so until the Service is made anew",
            ));
        }
        return Ok(());
    }
    let own = Token::of(ResourceType::SecurityGroup, MANAGED_SECURITY_GROUP);
    let backend = match named {
        Some((holder, text)) => {
            front.groups = Groups::Named;
            front.spec.security_groups = security::resolve(facts, &value::list(text))
                .map_err(|error| holder.fault(&service::SECURITY_GROUPS, error.to_string()))?;
            let manages = manage.unwrap_or(options.manage_backend_rules);
            if manages && !options.enable_backend_security_group {
                return Err(holder.fault(
                    &service::MANAGE_BACKEND_RULES,
                    "rules for targets need the shared security group: set option enable-backend-security-group, or this to false",
                ));
            }
            manages
        }
        None => {
            front.groups = Groups::Managed;
            front.spec.security_groups = vec![own.clone()];
            if !options.enable_backend_security_group {
                front.backend = Some(own).filter(|_| manage.unwrap_or(true));
                return Ok(());
            }
            // The peer adds the shared group always; whether targets are opened is another matter.
            true
        }
    };
    if backend {
        let (token, spec) = security::backend(facts);
        front.spec.security_groups.push(token.clone());
        front.makes_backend = spec.is_some();
        let opens = front.groups == Groups::Named || options.like_lbc() || manage.unwrap_or(true);
        front.backend = Some(token).filter(|_| opens);
    }
    Ok(())
}

/// Fixed addresses that are known: private ones, and those of elastic IPs that the inventory has; all or none.
fn fixed_addresses(mappings: &[SubnetMapping], facts: &Facts) -> Vec<IpAddr> {
    let eip = |id: &str| {
        let known = facts.aws.describe_addresses.iter().flat_map(|a| &a.addresses);
        known.into_iter().find(|a| a.allocation_id == id).and_then(|a| a.public_ip.parse().ok())
    };
    let address = |m: &SubnetMapping| match (&m.private_ipv4_address, &m.allocation_id) {
        (Some(text), _) => text.parse().ok(),
        (None, Some(id)) => eip(id),
        (None, None) => None,
    };
    mappings.iter().map(address).collect::<Option<Vec<_>>>().unwrap_or_default()
}
