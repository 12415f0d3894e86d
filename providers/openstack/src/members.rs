//! Members of pools: nodes by address, each once. Pure.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{Family, Problem};

use crate::facts::Facts;
use crate::naming::shortened;
use crate::network;
use crate::nodes::{NodeInfo, no_address};
use crate::stack::MemberSpec;

/// The subnet through which nodes are reached, where somebody says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberSubnet {
    id: Option<String>,
    family: Option<Family>,
}

impl MemberSubnet {
    /// The first of these that is said.
    #[must_use]
    pub fn of<const N: usize>(facts: &Facts, levels: [Option<&str>; N]) -> Self {
        let id = levels.into_iter().flatten().next().map(str::to_owned);
        let family = id.as_deref().and_then(|id| network::family(facts, id));
        Self { id, family }
    }

    /// For a node's address.
    fn for_node(&self, node: &NodeInfo, family: Family) -> Option<String> {
        match &self.id {
            Some(id) if self.family.is_none_or(|f| f == family) => Some(id.clone()),
            _ => node.subnets.get(&family).cloned(),
        }
    }
}

/// What nodes are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// NodePort.
    pub port: u16,
    /// Port that the health monitor asks.
    pub monitor_port: Option<u16>,
    /// What names of members begin with.
    pub name: &'a str,
    /// Families by which nodes are reached.
    pub families: &'a [Family],
}

/// The members of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By node, with several families also by these.
    pub members: BTreeMap<String, MemberSpec>,
    /// Their subnets.
    pub subnets: BTreeSet<String>,
    /// The nodes' ports.
    pub ports: BTreeSet<String>,
}

/// The members of a pool. A node without an address is said once for all pools: the caller takes out what is said twice.
#[must_use]
pub fn targets(
    nodes: &[&NodeInfo],
    target: &Target<'_>,
    subnet: &MemberSubnet,
    problems: &mut Vec<Problem>,
) -> Found {
    let mut found = Found::default();
    for node in nodes {
        for &family in target.families {
            let Some(address) = node.addresses.get(&family) else {
                if !node.twin.contains(&family) {
                    problems.push(no_address(node, family));
                }
                continue;
            };
            let id = if target.families.len() > 1 {
                format!("{}/{}", node.name, crate::nodes::family_name(family))
            } else {
                node.name.clone()
            };
            let subnet_id = subnet.for_node(node, family);
            found.subnets.extend(subnet_id.clone());
            found.ports.extend(node.ports.iter().cloned());
            let spec = MemberSpec {
                name: shortened(&format!("{}_{}", target.name, node.name)),
                address: *address,
                protocol_port: target.port,
                subnet_id,
                monitor_port: target.monitor_port,
            };
            found.members.insert(id, spec);
        }
    }
    found
}
