//! The VPC, the nodes in it, and whether load balancers find subnets where nodes are. Pure.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::Finding;
use causeway_api::check::some;

use crate::facts::Facts;
use crate::inventory::{Subnet, tag};
use crate::stack::{IpAddressType, LoadBalancerType, Scheme};
use crate::subnets::{self, Choice, FREE_ADDRESSES, Purpose, SubnetError};
use crate::targets::Instances;

/// Whether the VPC is there.
pub(super) fn vpc(facts: &Facts) -> Option<Finding> {
    let id = &facts.cluster.vpc_id;
    let about = format!("VPC {id}");
    let vpc = facts.aws.describe_vpcs.as_ref()?.vpcs.iter().find(|vpc| vpc.vpc_id == *id);
    Some(match vpc {
        Some(vpc) => {
            let blocks: Vec<&str> = vpc.ipv4_blocks().chain(vpc.ipv6_blocks()).collect();
            Finding::ok(about, blocks.join(", "))
        }
        None => {
            let region = &facts.cluster.region;
            Finding::error(about, format!("is not in region {region}: look at --aws-vpc-id and --aws-region"))
        }
    })
}

/// Whether nodes are instances of the VPC. `eligible` of them may take traffic at all.
pub(super) fn nodes(facts: &Facts, instances: &Instances, eligible: usize) -> Vec<Finding> {
    let mut findings: Vec<Finding> = instances
        .problems
        .iter()
        .map(|problem| {
            let message =
                format!("{}: {}; the cloud controller of nodes sets it", problem.field, problem.message);
            Finding::error(problem.object.to_string(), message)
        })
        .collect();
    let there: BTreeSet<&str> = facts
        .aws
        .describe_instances
        .iter()
        .flat_map(|a| a.instances())
        .map(|i| i.instance_id.as_str())
        .collect();
    let strangers: Vec<&str> =
        instances.all.iter().map(|i| i.id.as_ref()).filter(|id| !there.contains(id)).collect();
    if facts.aws.describe_instances.is_some() && !strangers.is_empty() {
        findings.push(Finding::error(
            "Nodes",
            format!(
                "instances {} do not run in VPC {}, so that they are no targets: is it the cluster's (--aws-vpc-id)?",
                some(&strangers),
                facts.cluster.vpc_id
            ),
        ));
    }
    if eligible == 0 {
        findings.push(Finding::error("Nodes", "there is none that may take traffic"));
    } else if findings.is_empty() {
        findings.push(Finding::ok("Nodes", format!("{} are instances of the VPC", instances.all.len())));
    }
    findings
}

/// Whether load balancers of either scheme find a subnet in each zone that has nodes.
pub(super) fn subnets(facts: &Facts, instances: &Instances) -> Vec<Finding> {
    let Ok(all) = facts.aws.subnets() else {
        return vec![Finding::warning("Subnets", "not looked at: they could not be read")];
    };
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in instances.all.iter().filter(|instance| !instance.zone.is_empty()) {
        *zones.entry(instance.zone.as_str()).or_default() += 1;
    }
    let schemes = [(Scheme::InternetFacing, "internet-facing"), (Scheme::Internal, "internal")];
    let found = schemes.map(|(scheme, _)| {
        let purpose =
            Purpose { kind: LoadBalancerType::Network, scheme, ip_address_type: IpAddressType::Ipv4 };
        subnets::resolve(facts, Choice::Discovered, &purpose)
    });
    let none = found.iter().all(Result::is_err);
    let mut findings = Vec::new();
    for ((scheme, name), found) in schemes.into_iter().zip(found) {
        let about = format!("Subnets for {name} load balancers");
        let role = subnets::role(scheme);
        match found {
            Ok(chosen) => findings.extend(chosen_ones(&about, role, &chosen, &zones)),
            Err(SubnetError::Missing(error)) => findings.push(Finding::warning(about, error.to_string())),
            Err(error) if none => findings.push(Finding::error(about, error.to_string())),
            // Perhaps nobody wants any of this scheme.
            Err(error) => findings.push(Finding::warning(about, error.to_string())),
        }
        let of_role = |s: &&Subnet| s.vpc_id == facts.cluster.vpc_id && tag(&s.tags, role).is_some();
        for subnet in all.iter().filter(of_role).filter(|s| s.available_ip_address_count < FREE_ADDRESSES) {
            findings.push(Finding::warning(
                format!("Subnet {}", subnet.subnet_id),
                format!(
                    "has {} free addresses, and a load balancer needs {FREE_ADDRESSES}: no new one is put there. Free some, or tag another subnet of {} with {role}=1",
                    subnet.available_ip_address_count, subnet.availability_zone
                ),
            ));
        }
    }
    findings
}

fn chosen_ones(about: &str, role: &str, chosen: &[Subnet], zones: &BTreeMap<&str, usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let covered: BTreeSet<&str> = chosen.iter().map(|s| s.availability_zone.as_str()).collect();
    for (zone, nodes) in zones.iter().filter(|(zone, _)| !covered.contains(**zone)) {
        findings.push(Finding::warning(
            about,
            format!(
                "there is none in {zone}, where {nodes} nodes are: load balancers have no address there, and reach these nodes across zones only. Tag a subnet of that \
                 zone with {role}=1"
            ),
        ));
    }
    if covered.len() == 1 {
        findings.push(Finding::warning(
            about,
            format!("there is one zone only, and an ALB (of an Ingress) needs two: tag a subnet of another zone with {role}=1"),
        ));
    }
    let untagged: Vec<&str> =
        chosen.iter().filter(|s| tag(&s.tags, role).is_none()).map(|s| s.subnet_id.as_str()).collect();
    if !untagged.is_empty() {
        findings.push(Finding::warning(
            about,
            format!("{} are taken for their routes: tag those that are meant with {role}=1", some(&untagged)),
        ));
    }
    if findings.is_empty() {
        let named: Vec<String> =
            chosen.iter().map(|s| format!("{} ({})", s.subnet_id, s.availability_zone)).collect();
        findings.push(Finding::ok(about, named.join(", ")));
    }
    findings
}
