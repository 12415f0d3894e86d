//! A Service to a member of a load balancer. Pure.

use causeway_api::names::REASON_MIXED_PROTOCOL;
use causeway_api::{
    Capabilities, Endpoints, Family, FamilyPolicy, Member, MemberSpec, ObjectRef, Problem, ServiceSpec,
    Severity,
};

use super::backend::Referenced;
use super::health::{ClusterHealth, health_check};
use super::reasons;
use super::source_ranges::source_ranges;
use crate::state::records::{ServiceRecord, Strings};

/// What the member of a Service depends on besides the Service.
#[derive(Clone, Debug)]
pub struct ServiceContext<'a> {
    /// What the provider can serve.
    pub capabilities: &'a Capabilities,
    /// `--cluster-policy-health-check`.
    pub cluster_health: ClusterHealth,
    /// Usable endpoints, as far as the provider wants them; empty otherwise.
    pub endpoints: Endpoints,
    /// Labels of the namespace, if the provider wants them; empty otherwise.
    pub namespace_labels: Strings,
    /// What annotations refer to.
    pub referenced: Referenced,
}

/// The member, and what of it cannot be served. A port that cannot be served stays in the member, so that the status can name
/// it; [`super::load_balancer`] makes no listener of a protocol that the provider does not have.
#[must_use]
pub fn service_member(record: &ServiceRecord, context: &ServiceContext<'_>) -> (Member, Vec<Problem>) {
    let object = record.object();
    let (source_ranges, mut problems) = source_ranges(record, &object);
    problems.extend(port_problems(record, &object, context.capabilities));
    let spec = ServiceSpec {
        ports: record.ports.clone(),
        families: families(record),
        family_policy: record.family_policy,
        cluster_ips: record.cluster_ips.clone(),
        requested_address: record.load_balancer_ip.clone(),
        source_ranges,
        affinity_seconds: record.affinity_seconds,
        traffic_policy: record.traffic_policy,
        health: health_check(record, context.cluster_health),
        selector: (*record.selector).clone(),
        endpoints: context.endpoints.clone(),
    };
    let member = Member {
        object,
        created: record.meta.created,
        class: record.class.clone(),
        class_parameters: None,
        annotations: record.meta.annotations.as_ref().clone(),
        labels: record.meta.labels.as_ref().clone(),
        namespace_labels: context.namespace_labels.as_ref().clone(),
        current: record.ingress.clone(),
        services: context.referenced.services.clone(),
        secrets: context.referenced.secrets.clone(),
        spec: MemberSpec::Service(spec),
    };
    (member, problems)
}

/// `spec.ipFamilies`. The API server always fills it in; offline it follows from the cluster addresses or, without these, from
/// the policy: what PreferDualStack gives depends on the cluster, so it counts as one family there.
#[must_use]
pub fn families(record: &ServiceRecord) -> Vec<Family> {
    if !record.families.is_empty() {
        return record.families.clone();
    }
    let mut found: Vec<Family> = Vec::new();
    for ip in &record.cluster_ips {
        let family = Family::of(ip);
        if !found.contains(&family) {
            found.push(family);
        }
    }
    if found.is_empty() {
        found.push(Family::V4);
        if record.family_policy == FamilyPolicy::RequireDualStack {
            found.push(Family::V6);
        }
    }
    found
}

/// What keeps single ports from being served. Warnings while another port is served, errors when none is.
fn port_problems(record: &ServiceRecord, object: &ObjectRef, can: &Capabilities) -> Vec<Problem> {
    if record.ports.is_empty() {
        return vec![Problem::error(
            object.clone(),
            "spec.ports",
            reasons::NO_PORTS,
            "the Service has no port: give it at least one",
        )];
    }
    let mut problems = Vec::new();
    let mixed = record.ports.iter().any(|p| can.protocols.contains(&p.protocol));
    for (i, port) in record.ports.iter().enumerate() {
        let protocol = port.protocol.as_str();
        if !can.protocols.contains(&port.protocol) {
            let served: Vec<&str> = can.protocols.iter().map(|p| p.as_str()).collect();
            problems.push(Problem::error(
                object.clone(),
                format!("spec.ports[{i}].protocol"),
                if mixed { REASON_MIXED_PROTOCOL } else { reasons::PROTOCOL_NOT_SUPPORTED },
                format!(
                    "port {} is not served: this provider has no {protocol} listeners, only {}; move the port to a Service of its own \
                     or take it away",
                    port.port,
                    served.join(", "),
                ),
            ));
        } else if can.needs_node_ports && port.node_port.is_none() {
            problems.push(Problem::error(
                object.clone(),
                format!("spec.ports[{i}].nodePort"),
                reasons::NODE_PORT_MISSING,
                format!(
                    "port {}/{protocol} is not served: it has no NodePort, through which this provider reaches the nodes; set \
                     spec.allocateLoadBalancerNodePorts to true, or name a nodePort",
                    port.port,
                ),
            ));
        }
    }
    if problems.len() < record.ports.len() {
        problems.iter_mut().for_each(|p| p.severity = Severity::Warning);
    }
    problems
}

#[cfg(test)]
mod tests {
    use causeway_api::{EndpointsPerNode, HealthProtocol, Protocol, TrafficPolicy};
    use rstest::rstest;

    use super::*;
    use crate::state::fixtures::capabilities;

    fn translate(record: &ServiceRecord, can: &Capabilities) -> (ServiceSpec, Vec<Problem>) {
        let context = ServiceContext {
            capabilities: can,
            cluster_health: ClusterHealth::KubeProxy,
            endpoints: Endpoints::default(),
            namespace_labels: Strings::default(),
            referenced: Referenced::default(),
        };
        let (member, problems) = service_member(record, &context);
        (member.service().expect("a Service").clone(), problems)
    }

    #[test]
    fn everything_the_provider_decides_by_is_handed_on() {
        let record = ServiceRecord::test()
            .named("shop", "web")
            .created(100)
            .class("example.com/fast")
            .annotation("a", "1")
            .label("app", "web")
            .node_port(443, 30443)
            .local_with(32000)
            .affinity(600)
            .requested("192.0.2.9")
            .status_ip("192.0.2.8");
        let mut endpoints = Endpoints::default();
        endpoints.by_node.insert("n1".to_owned(), EndpointsPerNode { ready: 2, serving: 0 });
        let can = capabilities();
        let context = ServiceContext {
            capabilities: &can,
            cluster_health: ClusterHealth::KubeProxy,
            endpoints: endpoints.clone(),
            namespace_labels: Strings::new([("team".to_owned(), "a".to_owned())].into()),
            referenced: Referenced::default(),
        };
        let (member, problems) = service_member(&record, &context);
        assert_eq!(problems, []);
        assert_eq!(member.object, ObjectRef::service("shop", "web", "uid-web"));
        assert_eq!((member.created, member.class.as_deref()), (Some(100), Some("example.com/fast")));
        assert_eq!((member.annotations["a"].as_str(), member.labels["app"].as_str()), ("1", "web"));
        assert_eq!(member.namespace_labels["team"], "a");
        assert_eq!(member.current, record.ingress);
        let spec = member.service().expect("a Service");
        assert_eq!(spec.ports, record.ports);
        assert_eq!(spec.traffic_policy, TrafficPolicy::Local);
        assert_eq!((spec.health.protocol, spec.health.port), (HealthProtocol::Http, Some(32000)));
        assert_eq!(spec.affinity_seconds, Some(600));
        assert_eq!(spec.requested_address.as_deref(), Some("192.0.2.9"));
        assert_eq!(spec.endpoints, endpoints);
    }

    #[rstest]
    #[case::as_given(&[Family::V6, Family::V4], &[], FamilyPolicy::PreferDualStack, &[Family::V6, Family::V4])]
    #[case::by_address(&[], &["10.96.0.1"], FamilyPolicy::SingleStack, &[Family::V4])]
    #[case::by_both_addresses(&[], &["fd00::1", "10.96.0.1"], FamilyPolicy::SingleStack, &[Family::V6, Family::V4])]
    #[case::offline(&[], &[], FamilyPolicy::SingleStack, &[Family::V4])]
    #[case::offline_prefer(&[], &[], FamilyPolicy::PreferDualStack, &[Family::V4])]
    #[case::offline_require(&[], &[], FamilyPolicy::RequireDualStack, &[Family::V4, Family::V6])]
    fn families_of(
        #[case] given: &[Family],
        #[case] cluster_ips: &[&str],
        #[case] policy: FamilyPolicy,
        #[case] want: &[Family],
    ) {
        let mut record = ServiceRecord::test().families(given, policy);
        record.cluster_ips = cluster_ips.iter().map(|ip| ip.parse().expect("an address")).collect();
        let (spec, _) = translate(&record, &capabilities());
        assert_eq!((spec.families.as_slice(), spec.family_policy), (want, policy));
    }

    #[test]
    fn an_unsupported_protocol_is_reported_on_its_port_and_the_rest_is_served() {
        let record = ServiceRecord::test().no_ports().port(53).udp(53);
        let can = Capabilities { protocols: vec![Protocol::Tcp], ..capabilities() };
        let (spec, problems) = translate(&record, &can);
        assert_eq!(spec.ports.len(), 2, "the status must be able to name the port");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].field, "spec.ports[1].protocol");
        assert_eq!(
            (problems[0].reason.as_str(), problems[0].severity),
            (REASON_MIXED_PROTOCOL, Severity::Warning)
        );
    }

    #[test]
    fn nothing_served_is_an_error() {
        let record = ServiceRecord::test().no_ports().udp(53);
        let can = Capabilities { protocols: vec![Protocol::Tcp], ..capabilities() };
        let (_, problems) = translate(&record, &can);
        assert_eq!(
            (problems[0].reason.as_str(), problems[0].severity),
            (reasons::PROTOCOL_NOT_SUPPORTED, Severity::Error)
        );
    }

    #[rstest]
    #[case::needed(true, 1)]
    #[case::not_needed(false, 0)]
    fn ports_without_node_port(#[case] needs_node_ports: bool, #[case] want: usize) {
        let record = ServiceRecord::test().no_ports().node_port(80, 30080).port_without_node_port(443);
        let can = Capabilities { needs_node_ports, ..capabilities() };
        let (_, problems) = translate(&record, &can);
        assert_eq!(problems.len(), want, "{problems:?}");
        for problem in problems {
            assert_eq!(problem.field, "spec.ports[1].nodePort");
            assert_eq!(problem.severity, Severity::Warning);
        }
    }

    #[test]
    fn no_ports_at_all() {
        let (_, problems) = translate(&ServiceRecord::test().no_ports(), &capabilities());
        assert_eq!(problems[0].reason, reasons::NO_PORTS);
    }

    #[test]
    fn bad_ranges_leave_the_service_shut_and_reported() {
        let (spec, problems) = translate(&ServiceRecord::test().source_ranges(&["x"]), &capabilities());
        assert!(!spec.source_ranges.is_empty());
        assert_eq!(problems[0].severity, Severity::Error);
    }
}
