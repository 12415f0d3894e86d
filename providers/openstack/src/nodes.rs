//! Nodes as members: their addresses, and the subnets and ports that these belong to. Pure.
//!
//! The subnet of an address is that of the node's port, by the server's id in `spec.providerID`; where ports are not known, the only subnet whose range
//! holds it. A node without an address of the family in question is no member of that family, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use causeway_api::{Family, Kind, Node, NodeSet, ObjectRef, Problem};

use crate::annotations::value;
use crate::inventory::{Answers, Missing, Port};

/// Reason of a node that is no member.
pub const NO_ADDRESS: &str = "NoAddress";

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its first internal addresses, one of each family.
    pub addresses: BTreeMap<Family, IpAddr>,
    /// Their subnets, where they are known.
    pub subnets: BTreeMap<Family, String>,
    /// Its ports that have these addresses.
    pub ports: BTreeSet<String>,
    /// Families of which it has an address that another node has too; it was said.
    pub twin: BTreeSet<Family>,
}

/// Nodes, and what is wrong with some.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// In the order of their names.
    pub all: Vec<NodeInfo>,
    /// Nodes whose address another has.
    pub problems: Vec<Problem>,
}

/// The server's id in a providerID: `openstack:///ID`, or `openstack://REGION/ID`.
#[must_use]
pub fn server_id(provider_id: &str) -> Option<&str> {
    let (_region, id) = provider_id.strip_prefix("openstack://")?.split_once('/')?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

impl Nodes {
    /// Those of a set.
    #[must_use]
    pub fn of(set: &NodeSet, answers: &Answers) -> Self {
        let mut by_server: BTreeMap<&str, Vec<&Port>> = BTreeMap::new();
        for port in answers.ports() {
            by_server.entry(port.device_id.as_str()).or_default().push(port);
        }
        let subnets: Vec<_> =
            answers.subnets.iter().flat_map(|s| &s.subnets).filter_map(|s| Some((s.net()?, s))).collect();
        let mut taken: BTreeMap<IpAddr, &str> = BTreeMap::new();
        let mut nodes = Self::default();
        for node in &set.nodes {
            let mut info = NodeInfo {
                name: node.name.clone(),
                labels: Arc::clone(&node.labels),
                addresses: BTreeMap::new(),
                subnets: BTreeMap::new(),
                ports: BTreeSet::new(),
                twin: BTreeSet::new(),
            };
            let server = node.provider_id.as_deref().and_then(server_id);
            let own: &[&Port] = server.and_then(|id| by_server.get(id)).map_or(&[], Vec::as_slice);
            let mut twice: BTreeMap<Family, String> = BTreeMap::new();
            for address in &node.addresses {
                let family = Family::of(address);
                if info.addresses.contains_key(&family) {
                    continue;
                }
                if let Some(other) = taken.get(address) {
                    let what = format!(
                        "node {other} has the address {address} too, this one is no member: give each node its own InternalIP"
                    );
                    twice.entry(family).or_insert(what);
                    continue;
                }
                taken.insert(*address, &node.name);
                info.addresses.insert(family, *address);
                let text = address.to_string();
                let of_port = own.iter().find_map(|port| {
                    let fixed =
                        port.fixed_ips.iter().find(|f| same_address(&f.ip_address, address, &text))?;
                    Some((port.id.clone(), fixed.subnet_id.clone()))
                });
                if let Some((port, subnet)) = of_port {
                    info.ports.insert(port);
                    info.subnets.insert(family, subnet);
                    continue;
                }
                let mut holding = subnets.iter().filter(|(net, _)| net.contains(address));
                if let (Some((_, subnet)), None) = (holding.next(), holding.next()) {
                    info.subnets.insert(family, subnet.id.clone());
                }
            }
            let lost = twice.into_iter().filter(|(family, _)| !info.addresses.contains_key(family));
            for (family, what) in lost {
                nodes.problems.push(problem(node, what));
                info.twin.insert(family);
            }
            nodes.all.push(info);
        }
        nodes
    }

    /// Those with all labels of a selector ([`value::selector`]).
    pub fn selected<'a>(&'a self, selector: Option<&str>) -> Vec<&'a NodeInfo> {
        let wanted = selector.map(value::selector).unwrap_or_default();
        let takes = |node: &&NodeInfo| {
            wanted.iter().all(|(key, value)| {
                node.labels.get(*key).is_some_and(|have| value.is_none_or(|want| want == have))
            })
        };
        self.all.iter().filter(takes).collect()
    }

    /// The subnet that holds most nodes of a family; of several the smallest id. It says why there is none.
    ///
    /// # Errors
    /// Subnets are not known, or none holds a node.
    pub fn subnet(&self, family: Family, answers: &Answers) -> Result<String, String> {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for subnet in self.all.iter().filter_map(|node| node.subnets.get(&family)) {
            *count.entry(subnet).or_default() += 1;
        }
        if let Some((subnet, _)) = count.into_iter().max_by_key(|(id, n)| (*n, std::cmp::Reverse(*id))) {
            return Ok(subnet.to_owned());
        }
        answers.subnets().map_err(|missing: Missing| missing.to_string())?;
        let family = family_name(family);
        if self.all.iter().any(|node| !node.addresses.is_empty()) {
            Err(format!("no subnet is known to hold the nodes' {family} addresses alone: write subnet-id"))
        } else {
            Err(format!(
                "there is no node by whose {family} address a subnet could be found: write subnet-id"
            ))
        }
    }
}

fn same_address(text: &str, address: &IpAddr, written: &str) -> bool {
    text == written || text.parse::<IpAddr>().is_ok_and(|a| a == *address)
}

/// A family for people.
#[must_use]
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Node, namespace: String::new(), name: name.to_owned(), uid: "".into() }
}

fn problem(node: &Node, what: String) -> Problem {
    Problem::warning(object(&node.name), "status.addresses", NO_ADDRESS, what)
}

/// What to say of a node without an address of a family.
#[must_use]
pub fn no_address(node: &NodeInfo, family: Family) -> Problem {
    Problem::warning(
        object(&node.name),
        "status.addresses",
        NO_ADDRESS,
        format!(
            "it has no InternalIP of {}, and is no member of load balancers that reach nodes by that: let its kubelet have one",
            family_name(family)
        ),
    )
}

/// The nodes of the last set: they are looked at once per change of nodes or inventory, not once per load balancer.
#[derive(Debug, Default)]
pub struct NodesCache(Mutex<Option<Cached>>);

#[derive(Debug)]
struct Cached {
    set: Weak<NodeSet>,
    answers: Weak<Answers>,
    nodes: Arc<Nodes>,
}

impl NodesCache {
    /// The nodes of a set.
    pub fn of(&self, set: &Arc<NodeSet>, answers: &Arc<Answers>) -> Arc<Nodes> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = last.as_ref()
            && cached.set.as_ptr() == Arc::as_ptr(set)
            && cached.answers.as_ptr() == Arc::as_ptr(answers)
        {
            return Arc::clone(&cached.nodes);
        }
        let nodes = Arc::new(Nodes::of(set, answers));
        *last = Some(Cached {
            set: Arc::downgrade(set),
            answers: Arc::downgrade(answers),
            nodes: Arc::clone(&nodes),
        });
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn set(nodes: &[(&str, &str, &[&str])]) -> NodeSet {
        let node = |(name, id, addresses): &(&str, &str, &[&str])| Node {
            name: (*name).to_owned(),
            provider_id: Some((*id).to_owned()),
            addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
            labels: Arc::new([("pool".to_owned(), (*name).to_owned())].into()),
        };
        NodeSet { nodes: nodes.iter().map(node).collect() }
    }

    #[test]
    fn the_subnet_is_that_of_the_port_else_the_only_one_that_holds_the_address() {
        let answers = fixtures::inventory().openstack;
        let nodes = Nodes::of(
            &set(&[
                ("a", "openstack:///server-0", &["10.6.1.10", "fd00:6::10"]),
                ("b", "openstack://r1/unknown", &["10.6.1.99"]),
                ("c", "", &["172.16.0.1"]),
            ]),
            &answers,
        );
        assert_eq!(nodes.all[0].ports, ["port-0".to_owned()].into());
        assert_eq!(nodes.all[0].subnets[&Family::V4], "k8s-subnet");
        assert_eq!(nodes.all[0].subnets[&Family::V6], "k8s-subnet-v6");
        assert_eq!(nodes.all[1].subnets[&Family::V4], "k8s-subnet");
        assert!(nodes.all[1].ports.is_empty() && nodes.all[2].subnets.is_empty());
        assert_eq!(nodes.subnet(Family::V4, &answers).as_deref(), Ok("k8s-subnet"));
    }

    #[test]
    fn without_subnet_it_is_said_what_to_do() {
        let answers = fixtures::inventory().openstack;
        let stranger = Nodes::of(&set(&[("c", "", &["172.16.0.1"])]), &answers);
        assert!(stranger.subnet(Family::V4, &answers).expect_err("none").contains("subnet-id"));
        let nobody = Nodes::of(&NodeSet::default(), &answers);
        assert!(nobody.subnet(Family::V6, &answers).expect_err("none").contains("IPv6"));
        assert!(
            nobody.subnet(Family::V4, &Answers::default()).expect_err("none").contains("GET /v2.0/subnets")
        );
    }

    #[test]
    fn an_address_that_two_nodes_have_is_the_first_ones() {
        let nodes =
            Nodes::of(&set(&[("a", "", &["10.6.1.10"]), ("b", "", &["10.6.1.10"])]), &Answers::default());
        assert_eq!((nodes.problems.len(), nodes.all[1].addresses.len()), (1, 0));
        assert!(nodes.problems[0].message.contains("node a"));
    }

    #[test]
    fn selectors_take_keys_and_values() {
        let nodes = Nodes::of(&set(&[("a", "", &[]), ("b", "", &[])]), &Answers::default());
        let names = |selector| nodes.selected(selector).iter().map(|n| n.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names(None), ["a", "b"]);
        assert_eq!(names(Some("pool=a")), ["a"]);
        assert_eq!(names(Some("pool")), ["a", "b"]);
        assert!(names(Some("pool=a,gpu")).is_empty());
    }

    #[test]
    fn server_ids() {
        assert_eq!(server_id("openstack:///0123"), Some("0123"));
        assert_eq!(server_id("openstack://region/0123"), Some("0123"));
        for wrong in ["", "aws:///z/i-1", "openstack:///", "openstack://0123", "openstack:///a/b"] {
            assert_eq!(server_id(wrong), None, "{wrong}");
        }
    }
}
