//! What Services and Ingresses are told. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_api::{Condition, IngressPoint, IpMode, Kind, MemberStatus, PortStatus, names};

use crate::annotations::service::LOAD_BALANCER_ADDRESS;
use crate::observe::{Observed, SeenLoadBalancer, State};
use crate::stack::{MemberPart, OctaviaProtocol, OctaviaStack, Shown};

/// What to say of each member.
#[must_use]
pub fn status(want: &OctaviaStack, have: &Observed) -> Vec<MemberStatus> {
    let adopted = have.load_balancer.as_ref().is_some_and(|lb| lb.adopted);
    let proxied =
        want.pools.values().any(|p| matches!(p.protocol, OctaviaProtocol::Proxy | OctaviaProtocol::ProxyV2));
    // What was taken over keeps the peer's way: inside the cluster its address leads straight to the pods.
    let mode = if adopted && !proxied { IpMode::Vip } else { IpMode::Proxy };
    let serving = have.load_balancer.as_ref().filter(|lb| lb.state == State::Active);
    want.told
        .iter()
        .map(|member| {
            // What is refused stays as it is, and so does what is shown of it.
            let addresses =
                serving.filter(|_| !member.refused && !want.frozen).and_then(|lb| shown(want, lb));
            let mut annotations = BTreeMap::new();
            if member.object.kind == Kind::Service
                && let Some(addresses) = &addresses
            {
                // A peer has it there always, and may be gone back to.
                let named = member.shown != Shown::Addresses || adopted;
                let address = addresses.first().filter(|_| named).map(ToString::to_string);
                annotations.insert(LOAD_BALANCER_ADDRESS.to_owned(), address);
            }
            MemberStatus {
                object: member.object.clone(),
                ingress: addresses.map(|addresses| points(member, &addresses, mode)),
                conditions: conditions(member),
                annotations,
                // Of the peers, the one has our finalizer, the other none.
                peer_finalizers: Vec::new(),
                problems: Vec::new(),
                notes: Vec::new(),
            }
        })
        .collect()
}

/// The addresses at which clients reach it; `None`: its floating IP is not there yet. The floating IP stands for the IPv4 address behind it.
fn shown(want: &OctaviaStack, lb: &SeenLoadBalancer) -> Option<Vec<IpAddr>> {
    match lb.floating_address {
        None if want.floating_ip.is_some() => None,
        None => Some(lb.addresses.clone()),
        Some(floating) => {
            let others = lb.addresses.iter().copied().filter(IpAddr::is_ipv6);
            Some(std::iter::once(floating).chain(others).collect())
        }
    }
}

fn points(member: &MemberPart, addresses: &[IpAddr], mode: IpMode) -> Vec<IngressPoint> {
    let name = match &member.shown {
        Shown::Hostname(name) => Some(name.clone()),
        // A name has no colons.
        Shown::Suffix(suffix) => {
            addresses.first().map(|ip| format!("{}.{suffix}", ip.to_string().replace(':', "-")))
        }
        Shown::Addresses => None,
    };
    if let Some(hostname) = name {
        let point =
            IngressPoint { hostname: Some(hostname), ports: member.ports.clone(), ..IngressPoint::default() };
        return vec![point];
    }
    let of_service = member.object.kind == Kind::Service;
    let point = |ip: &IpAddr| IngressPoint {
        ip: Some(*ip),
        // Octavia sends to the nodes' addresses, never to its own.
        ip_mode: of_service.then_some(mode),
        ports: member.ports.clone(),
        ..IngressPoint::default()
    };
    addresses.iter().map(point).collect()
}

fn conditions(member: &MemberPart) -> Vec<Condition> {
    let failed: Vec<&PortStatus> = member.ports.iter().filter(|p| p.error.is_some()).collect();
    let Some(first) = failed.first() else { return Vec::new() };
    let list: Vec<String> = failed.iter().map(|p| format!("{}/{}", p.port, p.protocol.as_str())).collect();
    vec![Condition {
        kind: names::CONDITION_PORTS_ERROR.to_owned(),
        status: true,
        reason: first.error.clone().unwrap_or_default(),
        message: format!("not served: {}; the Events say why", list.join(", ")),
    }]
}

#[cfg(test)]
mod tests {
    use causeway_api::{AppliedHash, ObjectRef, Protocol};
    use rstest::rstest;

    use super::*;

    fn stack(shown: Shown) -> OctaviaStack {
        let member = MemberPart {
            object: ObjectRef::service("shop", "web", "uid"),
            ports: vec![PortStatus { port: 80, protocol: Protocol::Tcp, error: None }],
            shown,
            listeners: Default::default(),
            refused: false,
        };
        OctaviaStack { told: vec![member], ..OctaviaStack::default() }
    }

    fn observed(active: bool, addresses: &[&str], floating: Option<&str>) -> Observed {
        let address = |a: &&str| a.parse().expect("an address");
        Observed {
            load_balancer: Some(SeenLoadBalancer {
                id: "lb-1".to_owned(),
                mark: causeway_api::Mark::Ours,
                state: if active { State::Active } else { State::Pending },
                vip_port_id: "port-vip".to_owned(),
                adopted: false,
                applied: AppliedHash::Dirty,
                body: serde_json::Value::Null,
                addresses: addresses.iter().map(address).collect(),
                floating_address: floating.map(|f| address(&f)),
            }),
            ..Observed::default()
        }
    }

    #[rstest]
    #[case::internal(&["10.6.0.9"], None, &["10.6.0.9"])]
    #[case::external(&["10.6.0.9"], Some("203.0.113.7"), &["203.0.113.7"])]
    #[case::dual(&["10.6.0.9", "fd00:6::9"], Some("203.0.113.7"), &["203.0.113.7", "fd00:6::9"])]
    fn one_entry_for_each_address(
        #[case] addresses: &[&str],
        #[case] floating: Option<&str>,
        #[case] want: &[&str],
    ) {
        let said = status(&stack(Shown::Addresses), &observed(true, addresses, floating));
        let points = said[0].ingress.as_ref().expect("known");
        let ips: Vec<String> = points.iter().filter_map(|p| p.ip).map(|ip| ip.to_string()).collect();
        assert_eq!(ips, want);
        assert!(points.iter().all(|p| p.ip_mode == Some(IpMode::Proxy) && p.ports.len() == 1));
        assert_eq!(said[0].annotations[LOAD_BALANCER_ADDRESS], None);
    }

    #[rstest]
    #[case(Shown::Hostname("shop.example".to_owned()), "shop.example")]
    #[case(Shown::Suffix("nip.io".to_owned()), "203.0.113.7.nip.io")]
    fn a_name_stands_alone_and_the_address_in_an_annotation(#[case] shown: Shown, #[case] name: &str) {
        let said = status(&stack(shown), &observed(true, &["10.6.0.9"], Some("203.0.113.7")));
        let points = said[0].ingress.as_ref().expect("known");
        assert_eq!((points.len(), points[0].hostname.as_deref(), points[0].ip_mode), (1, Some(name), None));
        assert_eq!(said[0].annotations[LOAD_BALANCER_ADDRESS].as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn nothing_is_said_before_it_is_known() {
        let mut want = stack(Shown::Addresses);
        for have in [Observed::default(), observed(false, &["10.6.0.9"], None)] {
            assert_eq!(status(&want, &have)[0].ingress, None);
        }
        want.told[0].refused = true;
        assert_eq!(status(&want, &observed(true, &["10.6.0.9"], None))[0].ingress, None);
    }

    #[test]
    fn a_port_that_is_not_served_is_a_condition() {
        let mut want = stack(Shown::Addresses);
        want.told[0].ports[0].error = Some("ProviderCannot".to_owned());
        let condition = &status(&want, &observed(true, &["10.6.0.9"], None))[0].conditions[0];
        assert_eq!(
            (condition.kind.as_str(), condition.reason.as_str()),
            (names::CONDITION_PORTS_ERROR, "ProviderCannot")
        );
    }
}
