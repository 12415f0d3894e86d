//! The EC2 instances behind Nodes, for the node controllers. Pure, but for [`find`], which asks.
//!
//! As cloud-provider-aws has it: a Node is found by its `spec.providerID`, or, while it has none, by its name, which on AWS is the instance's private DNS name
//! or begins with its id; addresses are those of the interfaces, in the order of their device index. An instance that is terminated is gone; one that is stopped or
//! stopping is shut down. Fargate's pseudo-nodes and hybrid nodes are no instances: nothing is said of them.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{AddressKind, Found, Instance, NodeAddress, NodeRef};

use crate::calls::{CallError, Calls};
use crate::cloud::records::Machine;
use crate::cloud::{Answer, Api, Call, MachinesBy};
use crate::limits::Priority;
use crate::targets::instance_id;

/// Most values of a filter of DescribeInstances (API reference, "Filters": 200).
const VALUES: usize = 200;

/// How a Node's instance is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Id(String),
    PrivateDnsName(String),
    None(String),
}

fn way(node: &NodeRef) -> Way {
    if node.provider_id.is_empty() {
        // Names by resource begin with the instance's id: `i-0123456789abcdef0.eu-west-1.compute.internal`.
        let first = node.name.split('.').next().unwrap_or_default();
        return match first.strip_prefix("i-") {
            Some(rest) if rest.len() >= 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Way::Id(first.to_owned())
            }
            _ => Way::PrivateDnsName(node.name.clone()),
        };
    }
    match instance_id(&node.provider_id) {
        Some(id) if id.starts_with("i-") => Way::Id(id.to_owned()),
        _ => Way::None(format!(
            "provider id {:?} of Node {} names no EC2 instance",
            node.provider_id, node.name
        )),
    }
}

/// Looks for the instances of these Nodes, in their order: a call for 200 of them.
///
/// # Errors
/// The calls'.
pub async fn find<A: Api>(
    calls: &Calls<A>,
    region: &str,
    vpc: &str,
    nodes: &[NodeRef],
) -> Result<Vec<Found>, CallError> {
    let ways: Vec<Way> = nodes.iter().map(way).collect();
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for way in &ways {
        match way {
            Way::Id(id) => drop(ids.insert(id.clone())),
            Way::PrivateDnsName(name) => drop(names.insert(name.clone())),
            Way::None(_) => {}
        }
    }
    let (ids, names): (Vec<_>, Vec<_>) = (ids.into_iter().collect(), names.into_iter().collect());
    let by_id = ids.chunks(VALUES).map(|ids| MachinesBy::Ids(ids.to_vec()));
    let by_name = names
        .chunks(VALUES)
        .map(|names| MachinesBy::PrivateDnsNames { vpc: vpc.to_owned(), names: names.to_vec() });
    let mut machines = Vec::new();
    for by in by_id.chain(by_name) {
        let mut marker = None;
        loop {
            let call = Call::DescribeInstances { by: by.clone(), marker };
            let Answer::Machines(page) = calls.read(call, Priority::Create).await? else { break };
            machines.extend(page.items);
            if page.next.is_none() {
                break;
            }
            marker = page.next;
        }
    }
    Ok(answers(region, nodes, &ways, &machines))
}

fn answers(region: &str, nodes: &[NodeRef], ways: &[Way], machines: &[Machine]) -> Vec<Found> {
    let by_id: BTreeMap<&str, &Machine> = machines.iter().map(|m| (m.id.as_str(), m)).collect();
    let one = |(node, way): (&NodeRef, &Way)| {
        let machine = match way {
            Way::None(why) => return Found::Unknown(why.clone()),
            Way::Id(id) => by_id.get(id.as_str()).copied(),
            Way::PrivateDnsName(name) => {
                // A terminated instance's name may belong to another one by now.
                let mut alive = machines.iter().filter(|m| m.private_dns_name == *name && !m.is_gone());
                let machine = alive.next();
                if let (Some(one), Some(other)) = (machine, alive.next()) {
                    return Found::Unknown(format!(
                        "instances {} and {} both have the private DNS name {name}: set spec.providerID of the Node",
                        one.id, other.id
                    ));
                }
                machine
            }
        };
        match machine {
            Some(machine) if !machine.is_gone() => Found::Instance(Box::new(instance(region, node, machine))),
            _ => Found::Gone,
        }
    };
    nodes.iter().zip(ways).map(one).collect()
}

fn instance(region: &str, node: &NodeRef, machine: &Machine) -> Instance {
    let mut interfaces: Vec<_> = machine.interfaces.iter().collect();
    interfaces.sort_by_key(|interface| interface.device_index);
    let (mut v4, mut v6, mut public) = (Vec::new(), Vec::new(), Vec::new());
    for interface in interfaces {
        v4.extend(interface.private_addresses.iter().map(|a| NodeAddress::new(AddressKind::InternalIP, a)));
        v6.extend(interface.ipv6_addresses.iter().map(|a| NodeAddress::new(AddressKind::InternalIP, a)));
        public
            .extend(interface.public_addresses.iter().map(|a| NodeAddress::new(AddressKind::ExternalIP, a)));
    }
    // The families that the kubelet uses, its own first: a cluster of IPv4 only has no use for others.
    let families: Vec<bool> = node.internal_addresses.iter().map(|a| a.contains(':')).collect();
    let mut addresses = match (families.first(), families.contains(&true)) {
        (Some(true), _) if families.contains(&false) => [v6, v4].concat(),
        (Some(true), _) => v6,
        (_, true) => [v4, v6].concat(),
        (_, false) => v4,
    };
    addresses.extend(public);
    let mut name = |kind, name: &str| {
        if !name.is_empty() {
            addresses.push(NodeAddress::new(kind, name));
        }
    };
    name(AddressKind::InternalDNS, &machine.private_dns_name);
    name(AddressKind::Hostname, &machine.private_dns_name);
    name(AddressKind::ExternalDNS, &machine.public_dns_name);
    let zone_id = ("topology.k8s.aws/zone-id".to_owned(), machine.zone_id.clone());
    Instance {
        provider_id: format!("aws:///{}/{}", machine.zone, machine.id),
        instance_type: machine.instance_type.clone(),
        zone: machine.zone.clone(),
        region: region.to_owned(),
        labels: Some(zone_id).filter(|(_, id)| !id.is_empty()).into_iter().collect(),
        addresses,
        stopped: matches!(machine.state.as_str(), "stopped" | "stopping"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::cloud::records::Interface;

    fn node(provider_id: &str, name: &str, addresses: &[&str]) -> NodeRef {
        NodeRef {
            name: name.into(),
            provider_id: provider_id.into(),
            internal_addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        }
    }

    fn machine(id: &str, state: &str) -> Machine {
        let interface = |index, last: u8| Interface {
            device_index: index,
            private_addresses: vec![format!("10.0.{index}.{last}")],
            ipv6_addresses: vec![format!("fd00:{index}::{last}")],
            public_addresses: Vec::new(),
        };
        let mut second = interface(0, 1);
        second.public_addresses.push("192.0.2.1".into());
        Machine {
            id: id.into(),
            state: state.into(),
            instance_type: "m5.large".into(),
            zone: "eu-west-1a".into(),
            zone_id: "euw1-az1".into(),
            private_dns_name: "ip-10-0-0-1.eu-west-1.compute.internal".into(),
            public_dns_name: "ec2-192-0-2-1.compute.amazonaws.com".into(),
            interfaces: vec![interface(1, 2), second],
        }
    }

    fn found(node: &NodeRef, machines: &[Machine]) -> Found {
        answers("eu-west-1", std::slice::from_ref(node), &[way(node)], machines).remove(0)
    }

    #[rstest]
    #[case::by_id("aws:///eu-west-1a/i-0abc", "any", Way::Id("i-0abc".into()))]
    #[case::by_resource_name("", "i-0123456789abcdef0.eu-west-1.compute.internal", Way::Id("i-0123456789abcdef0".into()))]
    #[case::by_private_name("", "ip-10-0-0-1.ec2.internal", Way::PrivateDnsName("ip-10-0-0-1.ec2.internal".into()))]
    #[case::not_an_id("", "i-robot", Way::PrivateDnsName("i-robot".into()))]
    fn ways(#[case] provider_id: &str, #[case] name: &str, #[case] want: Way) {
        assert_eq!(way(&node(provider_id, name, &[])), want);
    }

    #[rstest]
    #[case("gce://project/zone/name")]
    #[case("aws:///eu-west-1a/0abc/fargate-ip-10-0-0-1.ec2.internal")]
    #[case("eks-hybrid:///eu-west-1/cluster/mi-0abc")]
    fn of_what_is_no_instance_nothing_is_said(#[case] provider_id: &str) {
        let Found::Unknown(why) = found(&node(provider_id, "n", &[]), &[]) else { panic!("said something") };
        assert!(why.contains(provider_id), "{why}");
    }

    #[rstest]
    #[case("pending", Some(false))]
    #[case("running", Some(false))]
    #[case("stopping", Some(true))]
    #[case("stopped", Some(true))]
    #[case("shutting-down", Some(false))]
    #[case("terminated", None)]
    fn states(#[case] state: &str, #[case] want: Option<bool>) {
        let found = found(&node("aws:///a/i-1", "n", &[]), &[machine("i-1", state)]);
        let stopped = match found {
            Found::Instance(instance) => Some(instance.stopped),
            Found::Gone => None,
            Found::Unknown(why) => panic!("{why}"),
        };
        assert_eq!(stopped, want);
    }

    #[test]
    fn one_that_is_not_listed_is_gone() {
        assert_eq!(found(&node("aws:///a/i-2", "n", &[]), &[machine("i-1", "running")]), Found::Gone);
    }

    #[test]
    fn a_name_is_that_of_the_one_that_lives() {
        let node = node("", "ip-10-0-0-1.eu-west-1.compute.internal", &[]);
        let dead = machine("i-1", "terminated");
        let Found::Instance(it) = found(&node, &[dead.clone(), machine("i-2", "running")]) else {
            panic!("gone")
        };
        assert_eq!(it.provider_id, "aws:///eu-west-1a/i-2");
        assert_eq!(found(&node, &[dead]), Found::Gone);
        let Found::Unknown(why) = found(&node, &[machine("i-2", "running"), machine("i-3", "stopped")])
        else {
            panic!("took one of two")
        };
        assert!(why.contains("i-2") && why.contains("i-3"), "{why}");
    }

    #[rstest]
    #[case::unknown(&[], &["10.0.0.1", "10.0.1.2"])]
    #[case::v4(&["10.0.0.1"], &["10.0.0.1", "10.0.1.2"])]
    #[case::v6(&["fd00:0::1"], &["fd00:0::1", "fd00:1::2"])]
    #[case::v4_first(&["10.0.0.1", "fd00:0::1"], &["10.0.0.1", "10.0.1.2", "fd00:0::1", "fd00:1::2"])]
    #[case::v6_first(&["fd00:0::1", "10.0.0.1"], &["fd00:0::1", "fd00:1::2", "10.0.0.1", "10.0.1.2"])]
    fn addresses_are_of_the_families_that_the_node_uses(#[case] of_kubelet: &[&str], #[case] want: &[&str]) {
        let node = node("aws:///a/i-1", "n", of_kubelet);
        let Found::Instance(it) = found(&node, &[machine("i-1", "running")]) else { panic!("gone") };
        let of = |kind| {
            it.addresses.iter().filter(|a| a.kind == kind).map(|a| a.address.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of(AddressKind::InternalIP), want);
        assert_eq!(of(AddressKind::ExternalIP), ["192.0.2.1"]);
        assert_eq!(of(AddressKind::Hostname), ["ip-10-0-0-1.eu-west-1.compute.internal"]);
        assert_eq!(of(AddressKind::InternalDNS), of(AddressKind::Hostname));
        assert_eq!(of(AddressKind::ExternalDNS), ["ec2-192-0-2-1.compute.amazonaws.com"]);
        assert_eq!((it.region.as_str(), it.instance_type.as_str()), ("eu-west-1", "m5.large"));
        assert_eq!(it.labels["topology.k8s.aws/zone-id"], "euw1-az1");
    }
}
