//! How a load balancer learns which nodes may take traffic. Pure.
//!
//! Readiness of a Node is no selection rule any more (KEP-3458), so the health check decides alone:
//! - `externalTrafficPolicy: Local`: kube-proxy's `/healthz` on `healthCheckNodePort` answers 200 on nodes with a ready local endpoint;
//! - `Cluster`: kube-proxy's own `/healthz` (KEP-3836), which fails when the node is about to go or its rules are stale.

use causeway_api::names::KUBE_PROXY_HEALTH_PORT;
use causeway_api::{HealthCheck, HealthProtocol, TrafficPolicy};

use crate::state::records::ServiceRecord;

/// What the health check of a Service with `externalTrafficPolicy: Cluster` asks (`--cluster-policy-health-check`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClusterHealth {
    /// kube-proxy, on port 10256 (KEP-3836).
    #[default]
    KubeProxy,
    /// The traffic port itself: for clusters without kube-proxy, and where port 10256 cannot be reached.
    TrafficPort,
}

const HEALTHZ: &str = "/healthz";

/// The health check that Kubernetes' rules give a Service. What the user sets wins, in the provider.
///
/// A Service with policy Local that has no `healthCheckNodePort` (only offline: the API server always allocates one) is asked on
/// its traffic port: a node without a local endpoint drops what comes to the NodePort, so the answer is right, if late.
#[must_use]
pub fn health_check(service: &ServiceRecord, cluster: ClusterHealth) -> HealthCheck {
    let healthz = |port| HealthCheck {
        protocol: HealthProtocol::Http,
        port: Some(port),
        path: Some(HEALTHZ.to_owned()),
    };
    match (service.traffic_policy, service.health_check_node_port, cluster) {
        (TrafficPolicy::Local, Some(port), _) => healthz(port),
        (TrafficPolicy::Cluster, _, ClusterHealth::KubeProxy) => healthz(KUBE_PROXY_HEALTH_PORT),
        (TrafficPolicy::Local, None, _) | (TrafficPolicy::Cluster, _, ClusterHealth::TrafficPort) => {
            HealthCheck { protocol: HealthProtocol::Tcp, port: None, path: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::cluster(ServiceRecord::test(), ClusterHealth::KubeProxy, Some(10256))]
    #[case::cluster_without_kube_proxy(ServiceRecord::test(), ClusterHealth::TrafficPort, None)]
    #[case::local(ServiceRecord::test().local_with(32000), ClusterHealth::KubeProxy, Some(32000))]
    #[case::local_ignores_the_cluster_choice(ServiceRecord::test().local_with(32000), ClusterHealth::TrafficPort, Some(32000))]
    #[case::local_offline(ServiceRecord::test().local(), ClusterHealth::KubeProxy, None)]
    fn by_policy(#[case] service: ServiceRecord, #[case] cluster: ClusterHealth, #[case] port: Option<u16>) {
        let check = health_check(&service, cluster);
        assert_eq!(check.port, port);
        let (protocol, path) = match port {
            Some(_) => (HealthProtocol::Http, Some("/healthz".to_owned())),
            None => (HealthProtocol::Tcp, None),
        };
        assert_eq!((check.protocol, check.path), (protocol, path));
    }

    #[test]
    fn cluster_policy_never_uses_the_health_check_node_port() {
        let mut service = ServiceRecord::test();
        service.health_check_node_port = Some(32000);
        assert_eq!(health_check(&service, ClusterHealth::KubeProxy).port, Some(10256));
    }
}
