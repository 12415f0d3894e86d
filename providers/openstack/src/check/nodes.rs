//! Whether nodes can be members of pools. Pure.

use std::collections::BTreeMap;

use causeway_api::check::some;
use causeway_api::{Family, Finding, NodeSet};

use crate::facts::Facts;
use crate::nodes::{Nodes, family_name, server_id};

/// The nodes' servers, addresses and subnets.
pub(super) fn judge(facts: &Facts, set: &NodeSet) -> Vec<Finding> {
    if set.nodes.is_empty() {
        return vec![Finding::error("Nodes", "there is none that may take traffic")];
    }
    let mut findings = Vec::new();
    let nameless: Vec<&str> = set
        .nodes
        .iter()
        .filter(|node| node.provider_id.as_deref().and_then(server_id).is_none())
        .map(|node| node.name.as_str())
        .collect();
    if !nameless.is_empty() {
        // Subnets are then found by range; ports are not.
        let why = "spec.providerID names no server (openstack:///ID), so that their ports are not known: let the node controllers set it (docs/node-controllers.md)";
        let text = format!("of {}: {why}", some(&nameless));
        let finding = if facts.options.manage_security_groups { Finding::error } else { Finding::warning };
        findings.push(finding("Nodes", text));
    }
    let Ok(subnets) = facts.cloud.subnets() else {
        findings.push(Finding::warning(
            "Nodes",
            "whether they can be reached is not known: subnets could not be read",
        ));
        return findings;
    };
    let nodes = Nodes::of(set, &facts.cloud);
    findings.extend(nodes.problems.iter().map(super::said));
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, info) in set.nodes.iter().zip(&nodes.all) {
        let about = format!("Node {}", node.name);
        if info.addresses.is_empty() && info.twin.is_empty() {
            let what = "has no InternalIP, so that it is no member: the cloud controller of nodes sets it";
            findings.push(Finding::error(about, format!("status.addresses: {what}")));
            continue;
        }
        for (family, address) in &info.addresses {
            match info.subnets.get(family) {
                Some(subnet) => *held.entry(subnet).or_default() += 1,
                None => findings.push(stranger(facts, &about, *family, &address.to_string())),
            }
        }
        let server = node.provider_id.as_deref().and_then(server_id);
        if let (Some(server), true, Some(_)) = (server, info.ports.is_empty(), &facts.cloud.ports) {
            findings.push(Finding::warning(
                about,
                format!(
                    "spec.providerID: server {server} has no port with the Node's addresses in this project: is it the cluster's project?"
                ),
            ));
        }
    }
    let named: Vec<String> = held
        .iter()
        .map(|(id, count)| {
            let name = subnets.iter().find(|s| s.id == *id).map_or("", |s| s.name.as_str());
            format!("{count} addresses in {name} ({id})")
        })
        .collect();
    if findings.is_empty() {
        findings
            .push(Finding::ok("Nodes", format!("{} can be members: {}", set.nodes.len(), named.join(", "))));
    }
    findings
}

/// An address of which nobody knows where it is.
fn stranger(facts: &Facts, about: &str, family: Family, address: &str) -> Finding {
    let holding = |net: ipnet::IpNet| address.parse::<std::net::IpAddr>().is_ok_and(|a| net.contains(&a));
    let all = facts.cloud.subnets().unwrap_or_default();
    let holding = all.iter().filter(|s| s.net().is_some_and(holding)).count();
    let where_ = match holding {
        0 => "is in no subnet that the project sees".to_owned(),
        n => format!("is in {n} subnets, and which is not known"),
    };
    let placed = facts.options.placement.member_subnet.is_some() || facts.options.placement.subnet.is_some();
    let text = format!("status.addresses: {address} ({}) {where_}", family_name(family));
    if placed {
        return Finding::warning(
            about,
            format!("{text}: it is reached by way of the subnet that cloud.conf names"),
        );
    }
    Finding::error(about, format!("{text}: write member-subnet-id, or mend the Node's address"))
}
