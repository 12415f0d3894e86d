//! What members are told. Pure.

use std::collections::BTreeMap;

use causeway_api::{Condition, IngressPoint, IpMode, MemberStatus, PortStatus, names};

use crate::adopt;
use crate::cloud::records::LoadBalancer;
use crate::observe::Observed;
use crate::plan::choose::serving;
use crate::stack::{AwsStack, LOAD_BALANCER, MemberPart};

/// What to say of each member.
#[must_use]
pub fn status(want: &AwsStack, have: &Observed) -> Vec<MemberStatus> {
    let front = serving(want, have, LOAD_BALANCER);
    let adopted = have.load_balancers_of(LOAD_BALANCER).find_map(|lb| adopt::adopted_from(&lb.spec.tags));
    let finalizers: Vec<String> =
        adopted.iter().flat_map(|peer| peer.finalizers).map(|f| (*f).to_owned()).collect();
    want.members
        .iter()
        .map(|member| MemberStatus {
            object: member.object.clone(),
            ingress: front.map(|lb| points(member, lb)),
            conditions: conditions(member),
            annotations: BTreeMap::new(),
            peer_finalizers: finalizers.clone(),
            problems: Vec::new(),
            notes: Vec::new(),
        })
        .collect()
}

/// Fixed addresses if there are any, else the name; lower case, as Kubernetes demands of a hostname.
fn points(member: &MemberPart, lb: &LoadBalancer) -> Vec<IngressPoint> {
    if member.addresses.is_empty() {
        let hostname = Some(lb.dns_name.to_ascii_lowercase());
        return vec![IngressPoint { hostname, ports: member.ports.clone(), ..IngressPoint::default() }];
    }
    let point = |ip| IngressPoint {
        ip: Some(ip),
        // An NLB sends to the node's address, never to its own.
        ip_mode: Some(IpMode::Proxy),
        ports: member.ports.clone(),
        ..IngressPoint::default()
    };
    member.addresses.iter().copied().map(point).collect()
}

fn conditions(member: &MemberPart) -> Vec<Condition> {
    let failed: Vec<&PortStatus> = member.ports.iter().filter(|p| p.error.is_some()).collect();
    let Some(first) = failed.first() else { return Vec::new() };
    let reason = first.error.clone().unwrap_or_default();
    let list: Vec<String> = failed.iter().map(|p| format!("{}/{}", p.port, p.protocol.as_str())).collect();
    vec![Condition {
        kind: names::CONDITION_PORTS_ERROR.to_owned(),
        status: true,
        reason,
        message: format!("not served: {}; the Events say why", list.join(", ")),
    }]
}

#[cfg(test)]
mod tests {
    use causeway_api::{ObjectRef, Protocol};

    use super::*;
    use crate::cloud::records::State;
    use crate::stack::{IpAddressType, LoadBalancerSpec, LoadBalancerType, ResourceType, Scheme, Tags};

    fn stack(addresses: &[&str], error: Option<&str>) -> AwsStack {
        let member = MemberPart {
            object: ObjectRef::service("default", "web", "uid"),
            ports: vec![PortStatus { port: 80, protocol: Protocol::Tcp, error: error.map(str::to_owned) }],
            addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
            listeners: Default::default(),
            current: Vec::new(),
        };
        let load_balancers = [(LOAD_BALANCER.to_owned(), spec())].into();
        AwsStack { members: vec![member], load_balancers, ..AwsStack::default() }
    }

    fn spec() -> LoadBalancerSpec {
        LoadBalancerSpec {
            name: "k8s-web-1".to_owned(),
            kind: LoadBalancerType::Network,
            scheme: Scheme::Internal,
            ip_address_type: IpAddressType::Ipv4,
            enable_prefix_for_ipv6_source_nat: None,
            subnet_mappings: Vec::new(),
            security_groups: Vec::new(),
            security_groups_inbound_rules_on_private_link: None,
            customer_owned_ipv4_pool: None,
            load_balancer_attributes: Vec::new(),
            minimum_load_balancer_capacity: None,
            tags: Tags::new(),
            ipv4_ipam_pool: None,
        }
    }

    fn observed(active: bool) -> Observed {
        let want = stack(&[], None);
        let tags = want.ownership(ResourceType::LoadBalancer, LOAD_BALANCER);
        let lb = LoadBalancer {
            arn: "arn".to_owned(),
            dns_name: "K8s-Web-1.elb.eu-west-1.amazonaws.com".to_owned(),
            zone_id: String::new(),
            state: if active { State::Active } else { State::Provisioning },
            vpc_id: String::new(),
            spec: LoadBalancerSpec { tags, ..spec() },
        };
        Observed { load_balancers: vec![lb], ..Observed::default() }
    }

    #[test]
    fn the_host_name_is_in_lower_case_and_comes_once_the_load_balancer_is_active() {
        let said = status(&stack(&[], None), &observed(true));
        let point = &said[0].ingress.as_ref().expect("known")[0];
        assert_eq!(point.hostname.as_deref(), Some("k8s-web-1.elb.eu-west-1.amazonaws.com"));
        assert_eq!((point.ip, point.ip_mode, point.ports.len()), (None, None, 1));
        for have in [observed(false), Observed::default()] {
            assert_eq!(status(&stack(&[], None), &have)[0].ingress, None, "what is there stays");
        }
    }

    #[test]
    fn fixed_addresses_say_that_packets_are_for_the_nodes() {
        let said = status(&stack(&["10.0.11.9", "10.0.12.9"], None), &observed(true));
        let points = said[0].ingress.as_ref().expect("known");
        assert_eq!(points.iter().filter_map(|p| p.ip).count(), 2);
        assert!(points.iter().all(|p| p.ip_mode == Some(IpMode::Proxy) && p.hostname.is_none()));
    }

    #[test]
    fn a_port_that_is_not_served_is_a_condition() {
        assert_eq!(status(&stack(&[], None), &observed(true))[0].conditions, []);
        let said = status(&stack(&[], Some("NodePortMissing")), &observed(true));
        let condition = &said[0].conditions[0];
        assert_eq!(
            (condition.kind.as_str(), condition.reason.as_str()),
            (names::CONDITION_PORTS_ERROR, "NodePortMissing")
        );
        assert!(condition.message.contains("80/TCP"));
    }
}
