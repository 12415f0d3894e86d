//! Which subnets a load balancer lies in: those that the user names, or those that are found. Pure.
//!
//! Found are, of the VPC: subnets with the tag of their role (`kubernetes.io/role/elb` for internet-facing, `…/internal-elb` for internal ones; value empty
//! or `1`); if there is none at all, those whose routes lead to an internet gateway, or do not. Of these, subnets that carry the tag of other clusters only,
//! that have fewer than 8 free addresses, or (dual stack) no IPv6 block are left out; one is taken for each zone: with our own cluster's tag first, then by
//! id. The result is in the order of ids; named ones are in the order in which they are named.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::Facts;
use crate::inventory::{ExistingLoadBalancer, Missing, RouteTable, Subnet, tag};
use crate::stack::{IpAddressType, LoadBalancerType, Scheme};

/// Free addresses that AWS asks for.
pub(crate) const FREE_ADDRESSES: u32 = 8;

/// What the subnets are for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// NLB or ALB.
    pub kind: LoadBalancerType,
    /// Scheme.
    pub scheme: Scheme,
    /// Families.
    pub ip_address_type: IpAddressType,
}

/// How subnets are chosen.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// By ids or Name tags, in this order.
    Named(&'a [&'a str]),
    /// By tags: any of the values of each key; one per zone.
    Tagged(&'a BTreeMap<String, Vec<String>>),
    /// By their role; see the module.
    Discovered,
}

/// Why there are none; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// What AWS holds is not known.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A named one is not there.
    #[error("there is no subnet {0:?} in VPC {1}: name subnets of that VPC by id or Name tag")]
    NotFound(String, String),
    /// Two in one zone.
    #[error("subnets {1} lie in one Availability Zone, {0}: name one for each zone")]
    SameZone(String, String),
    /// Too few zones.
    #[error("there are subnets in {0} Availability Zone only, and an ALB needs at least two: {1}")]
    TooFewZones(usize, &'static str),
    /// No IPv6.
    #[error("subnets {0} have no IPv6 block, which address type {1} needs: give them one, or take others")]
    NoIpv6(String, &'static str),
    /// Different kinds of places.
    #[error("subnets lie in different kinds of places ({0}): take subnets of one kind")]
    MixedPlaces(String),
    /// Nothing is left.
    #[error(
        "no subnet of VPC {vpc} can be taken ({seen} looked at: {others} belong to other clusters, {full} have fewer than {FREE_ADDRESSES} free addresses, {without_ipv6} \
         have no IPv6 block): tag subnets with {role}=1, or name them"
    )]
    Nothing {
        /// The VPC.
        vpc: String,
        /// How many there were.
        seen: usize,
        /// With the tag of other clusters.
        others: usize,
        /// Full.
        full: usize,
        /// Without the IPv6 block they would need.
        without_ipv6: usize,
        /// Tag of the role.
        role: &'static str,
    },
    /// A VPC without main route table.
    #[error(
        "the inventory's DescribeRouteTables has no main route table of VPC {0}: give the answer for that VPC"
    )]
    NoMainTable(String),
}

/// The tag by which subnets for a scheme are known.
pub(crate) fn role(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::InternetFacing => "kubernetes.io/role/elb",
        Scheme::Internal => "kubernetes.io/role/internal-elb",
    }
}

/// The subnets.
///
/// # Errors
/// See [`SubnetError`].
pub fn resolve(facts: &Facts, choice: Choice<'_>, purpose: &Purpose) -> Result<Vec<Subnet>, SubnetError> {
    let vpc = &facts.cluster.vpc_id;
    let all: Vec<&Subnet> = facts.aws.subnets()?.iter().filter(|s| s.vpc_id == *vpc).collect();
    let chosen = match choice {
        Choice::Named(names) => named(&all, names, vpc)?,
        Choice::Tagged(tags) => {
            let matches = |s: &Subnet| {
                tags.iter().all(|(key, values)| {
                    tag(&s.tags, key).is_some_and(|value| values.iter().any(|v| v == value))
                })
            };
            one_per_zone(facts, all.into_iter().filter(|s| matches(s)).collect(), purpose)?
        }
        Choice::Discovered => {
            let tagged = |s: &Subnet| matches!(tag(&s.tags, role(purpose.scheme)), Some("" | "1"));
            let mut candidates: Vec<&Subnet> = all.iter().copied().filter(|s| tagged(s)).collect();
            if candidates.is_empty() && facts.options.subnets_by_reachability {
                let tables = facts.aws.route_tables()?;
                let public = purpose.scheme == Scheme::InternetFacing;
                for subnet in all {
                    if is_public(&subnet.subnet_id, tables, vpc)? == public {
                        candidates.push(subnet);
                    }
                }
            }
            one_per_zone(facts, candidates, purpose)?
        }
    };
    check(facts, &chosen, purpose)?;
    Ok(chosen.into_iter().cloned().collect())
}

/// The subnets that a load balancer lies in, in the order in which they were discovered: AWS tells them in another, and the hash of the stack must not change for
/// that.
#[must_use]
pub fn kept(existing: Option<&ExistingLoadBalancer>) -> Vec<&str> {
    let zones = existing.map(|lb| lb.availability_zones.as_slice()).unwrap_or_default();
    let mut ids: Vec<&str> = zones.iter().map(|zone| zone.subnet_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

fn named<'a>(all: &[&'a Subnet], names: &[&str], vpc: &str) -> Result<Vec<&'a Subnet>, SubnetError> {
    // Of several with one name the first by id that was not taken yet.
    let mut taken = BTreeSet::new();
    let mut out = Vec::new();
    for name in names {
        let by_id = name.starts_with("subnet-");
        let found = all
            .iter()
            .filter(|s| if by_id { s.subnet_id == *name } else { tag(&s.tags, "Name") == Some(name) })
            .filter(|s| by_id || !taken.contains(&s.subnet_id))
            .min_by_key(|s| &s.subnet_id);
        let found = found.ok_or_else(|| SubnetError::NotFound((*name).to_owned(), vpc.to_owned()))?;
        taken.insert(&found.subnet_id);
        out.push(*found);
    }
    Ok(out)
}

fn is_public(subnet: &str, tables: &[RouteTable], vpc: &str) -> Result<bool, SubnetError> {
    let of = |s: &RouteTable| s.associations.iter().any(|a| a.subnet_id.as_deref() == Some(subnet));
    let main =
        |t: &RouteTable| (t.vpc_id.is_empty() || t.vpc_id == vpc) && t.associations.iter().any(|a| a.main);
    let table = tables.iter().find(|t| of(t)).or_else(|| tables.iter().find(|t| main(t)));
    let table = table.ok_or_else(|| SubnetError::NoMainTable(vpc.to_owned()))?;
    Ok(table.routes.iter().any(|r| r.gateway_id.as_deref().is_some_and(|g| g.starts_with("igw"))))
}

fn own_tag(facts: &Facts, subnet: &Subnet) -> bool {
    tag(&subnet.tags, &format!("kubernetes.io/cluster/{}", facts.cluster.name)).is_some()
}

fn of_others(facts: &Facts, subnet: &Subnet) -> bool {
    facts.options.subnets_cluster_tag_check
        && !own_tag(facts, subnet)
        && subnet.tags.iter().any(|t| t.key.starts_with("kubernetes.io/cluster/"))
}

fn one_per_zone<'a>(
    facts: &Facts,
    candidates: Vec<&'a Subnet>,
    purpose: &Purpose,
) -> Result<Vec<&'a Subnet>, SubnetError> {
    let (mut others, mut full, mut without_ipv6) = (0, 0, 0);
    let seen = candidates.len();
    let mut by_zone: BTreeMap<&str, &Subnet> = BTreeMap::new();
    for subnet in candidates {
        if of_others(facts, subnet) {
            others += 1;
        } else if subnet.available_ip_address_count < FREE_ADDRESSES {
            full += 1;
        } else if purpose.ip_address_type.needs_ipv6() && subnet.ipv6_blocks().next().is_none() {
            without_ipv6 += 1;
        } else {
            let rank = |s: &Subnet| (!own_tag(facts, s), s.subnet_id.clone());
            let best = by_zone.entry(&subnet.availability_zone).or_insert(subnet);
            if rank(subnet) < rank(best) {
                *best = subnet;
            }
        }
    }
    if by_zone.is_empty() {
        return Err(SubnetError::Nothing {
            vpc: facts.cluster.vpc_id.clone(),
            seen,
            others,
            full,
            without_ipv6,
            role: role(purpose.scheme),
        });
    }
    let mut chosen: Vec<&Subnet> = by_zone.into_values().collect();
    chosen.sort_by(|a, b| a.subnet_id.cmp(&b.subnet_id));
    Ok(chosen)
}

/// What kind of place a subnet lies in.
fn place(facts: &Facts, subnet: &Subnet) -> &'static str {
    if subnet.outpost_arn.as_deref().is_some_and(|arn| !arn.is_empty()) {
        return "outpost";
    }
    let zones = facts.aws.describe_availability_zones.iter().flat_map(|a| &a.availability_zones);
    let known = zones.into_iter().find(|z| z.zone_name == subnet.availability_zone);
    match known.map(|z| z.zone_type.as_str()) {
        Some("local-zone") => "local-zone",
        Some("wavelength-zone") => "wavelength-zone",
        Some(_) => "availability-zone",
        // A plain zone is its region and a letter; others have more dashes.
        None if subnet.availability_zone.contains("-wl") => "wavelength-zone",
        None if subnet.availability_zone.matches('-').count() > 2 && !is_plain(&subnet.availability_zone) => {
            "local-zone"
        }
        None => "availability-zone",
    }
}

/// `eu-west-1a`, and `us-gov-west-1a`: what comes before the last letter ends in the region's number, and there is no further one.
fn is_plain(zone: &str) -> bool {
    let numbers = zone.split('-').filter(|part| part.starts_with(|c: char| c.is_ascii_digit())).count();
    numbers == 1
}

fn check(facts: &Facts, chosen: &[&Subnet], purpose: &Purpose) -> Result<(), SubnetError> {
    let ids =
        |subnets: &[&Subnet]| subnets.iter().map(|s| s.subnet_id.as_str()).collect::<Vec<_>>().join(", ");
    let mut by_zone: BTreeMap<&str, Vec<&Subnet>> = BTreeMap::new();
    for subnet in chosen {
        by_zone.entry(&subnet.availability_zone).or_default().push(subnet);
    }
    if let Some((zone, subnets)) = by_zone.iter().find(|(_, subnets)| subnets.len() > 1) {
        return Err(SubnetError::SameZone((*zone).to_owned(), ids(subnets)));
    }
    let places: BTreeSet<&str> = chosen.iter().map(|s| place(facts, s)).collect();
    if places.len() > 1 {
        return Err(SubnetError::MixedPlaces(places.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let plain = places.contains("availability-zone");
    let two = purpose.kind == LoadBalancerType::Application && plain && !facts.options.alb_single_subnet;
    if two && chosen.len() < 2 {
        return Err(SubnetError::TooFewZones(chosen.len(), "name or tag subnets of another zone too"));
    }
    let without: Vec<&Subnet> = chosen.iter().copied().filter(|s| s.ipv6_blocks().next().is_none()).collect();
    if purpose.ip_address_type.needs_ipv6() && !without.is_empty() {
        return Err(SubnetError::NoIpv6(ids(&without), purpose.ip_address_type.as_str()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "subnets_tests.rs"]
mod tests;
