//! The order in which things arrive never matters.

use std::sync::Arc;

use causeway_api::{Body, Endpoints, Layer, LbKey, PathMatch, Problem};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::state::fixtures::capabilities;
use crate::state::records::{IngressRecord, NodeRecord, Path, ServiceRecord, Strings};

fn services() -> impl Strategy<Value = Vec<ServiceRecord>> {
    let one = (0..3i64, proptest::collection::vec((80..84u16, any::<bool>()), 1..4));
    proptest::collection::vec(one, 1..7).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(i, (created, ports))| {
                let mut record = ServiceRecord::test().named("ns", &format!("s{i}")).no_ports();
                // Zero: no timestamp.
                record.meta.created = (created > 0).then_some(created);
                ports.into_iter().fold(record, |r, (p, tcp)| if tcp { r.port(p) } else { r.udp(p) })
            })
            .collect()
    })
}

fn ingresses() -> impl Strategy<Value = Vec<IngressRecord>> {
    let route = (
        select(vec!["", "a.example", "*.example"]),
        select(vec!["/", "/a", "/a/", "/a/b"]),
        select(vec![PathMatch::Exact, PathMatch::Prefix, PathMatch::ImplementationSpecific]),
        select(vec!["web", "other", "gone"]),
    );
    let one = (0..3i64, any::<bool>(), proptest::collection::vec(route, 0..5));
    proptest::collection::vec(one, 1..6).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(i, (created, default, routes))| {
                let mut record = IngressRecord::test().named("ns", &format!("i{i}")).created(created);
                if default {
                    record = record.default_backend(if i % 2 == 0 { "web" } else { "other" }, "80");
                }
                routes
                    .into_iter()
                    .fold(record, |r, (host, path, matching, to)| r.route(host, path, matching, to, "80"))
            })
            .collect()
    })
}

/// A permutation by picking.
fn shuffled<T: Clone>(items: &[T], picks: &[Index]) -> Vec<T> {
    let mut rest = items.to_vec();
    let mut out = Vec::with_capacity(rest.len());
    for pick in picks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let at = pick.index(rest.len());
        out.push(rest.remove(at));
    }
    out
}

fn picks() -> impl Strategy<Value = Vec<Index>> {
    proptest::collection::vec(any::<Index>(), 8)
}

fn build_l4(records: &[ServiceRecord]) -> (causeway_api::LoadBalancer, Vec<Problem>) {
    let can = capabilities();
    let context = ServiceContext {
        capabilities: &can,
        cluster_health: ClusterHealth::KubeProxy,
        endpoints: Endpoints::default(),
        namespace_labels: Strings::default(),
        referenced: Referenced::default(),
    };
    let members = records.iter().map(|r| service_member(r, &context).0).collect();
    let context = LbContext { capabilities: &can, nodes: Arc::default(), secrets: None };
    load_balancer(LbKey::group(Layer::L4, "g"), members, &context)
}

fn build_l7(records: &[IngressRecord]) -> (causeway_api::LoadBalancer, Vec<Problem>) {
    let can = capabilities();
    let backends = [ServiceRecord::test().named("ns", "web"), ServiceRecord::test().named("ns", "other")];
    let lookup = |path: &Path| backends.iter().find(|s| s.meta.path() == *path);
    let context = IngressContext::test(&lookup, true);
    let members = records.iter().map(|r| ingress_member(r, &context).0).collect();
    let context = LbContext { capabilities: &can, nodes: Arc::default(), secrets: None };
    load_balancer(LbKey::group(Layer::L7, "g"), members, &context)
}

proptest! {
    #[test]
    fn order_of_services(records in services(), picks in picks()) {
        let want = build_l4(&records);
        prop_assert_eq!(&build_l4(&shuffled(&records, &picks)), &want);
        let Body::L4(listeners) = &want.0.body else { panic!("not L4") };
        // No two listeners share a slot, and every port of every member is a listener or a problem.
        let mut slots: Vec<_> = listeners.iter().map(|l| (l.port.port, l.port.protocol)).collect();
        slots.sort();
        slots.dedup();
        prop_assert_eq!(slots.len(), listeners.len());
        let ports: usize = records.iter().map(|r| r.ports.len()).sum();
        prop_assert_eq!(ports, listeners.len() + want.1.len());
    }

    #[test]
    fn order_of_ingresses(records in ingresses(), picks in picks()) {
        let want = build_l7(&records);
        prop_assert_eq!(&build_l7(&shuffled(&records, &picks)), &want);
        let Body::L7(http) = &want.0.body else { panic!("not L7") };
        // A more specific route never comes after a less specific one of its host.
        for (i, earlier) in http.routes.iter().enumerate() {
            for later in &http.routes[i + 1..] {
                if earlier.host == later.host && later.matching == PathMatch::Exact {
                    prop_assert_eq!(earlier.matching, PathMatch::Exact);
                }
            }
        }
    }

    #[test]
    fn order_of_nodes(names in proptest::collection::btree_set("[a-z]{1,4}", 0..8), picks in picks()) {
        let nodes: Vec<NodeRecord> = names.iter().map(|n| NodeRecord::test(n).address("10.0.0.1")).collect();
        prop_assert_eq!(node_set(&shuffled(&nodes, &picks)), node_set(&nodes));
    }

    #[test]
    fn source_ranges_never_open_by_mistake(
        spec in proptest::collection::vec("[ 0-9a-f.:/]{0,12}", 1..4),
    ) {
        let texts: Vec<&str> = spec.iter().map(String::as_str).collect();
        let can = capabilities();
        let context = ServiceContext {
            capabilities: &can,
            cluster_health: ClusterHealth::KubeProxy,
            endpoints: Endpoints::default(),
            namespace_labels: Strings::default(),
            referenced: Referenced::default(),
        };
        let (member, _) = service_member(&ServiceRecord::test().source_ranges(&texts), &context);
        prop_assert!(!member.service().expect("a Service").source_ranges.is_empty());
    }
}
