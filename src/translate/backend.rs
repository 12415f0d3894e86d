//! Ports of Services that others name: backends of Ingresses, and what annotations refer to. Pure.

use std::collections::BTreeMap;

use causeway_api::{Backend, Endpoints, HealthCheck, HealthProtocol, Protocol, References, TrafficPolicy};

use super::health::{ClusterHealth, health_check};
use crate::state::records::{Path, ServiceRecord};

/// What resolving depends on.
pub struct Lookup<'a> {
    /// Services by path.
    pub services: &'a dyn Fn(&Path) -> Option<&'a ServiceRecord>,
    /// Endpoints of a Service, as far as they are wanted.
    pub endpoints: &'a dyn Fn(&ServiceRecord) -> Endpoints,
    /// Version of a Secret; `None`: there is none.
    pub secrets: &'a dyn Fn(&Path) -> Option<String>,
    /// `--cluster-policy-health-check`.
    pub cluster_health: ClusterHealth,
}

/// What the annotations of a member refer to, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referenced {
    /// [`causeway_api::Member::services`].
    pub services: BTreeMap<(String, String), Backend>,
    /// [`causeway_api::Member::secrets`].
    pub secrets: BTreeMap<String, Option<String>>,
}

/// A backend of which nothing is known but its name.
pub(super) fn unresolved(namespace: &str, service: &str, port: &str) -> Backend {
    Backend {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        uid: "".into(),
        port: port.to_owned(),
        node_port: None,
        service_port: None,
        port_name: String::new(),
        target_port: None,
        ports: Vec::new(),
        families: Vec::new(),
        endpoints: Endpoints::default(),
        traffic_policy: TrafficPolicy::Cluster,
        health: HealthCheck { protocol: HealthProtocol::Tcp, port: None, path: None },
        annotations: BTreeMap::new(),
    }
}

/// A backend with all that its Service says. Of ports that share a number the one with TCP is meant; without `tcp_only`, others are found too.
pub(super) fn resolved(
    path: &Path,
    service: &ServiceRecord,
    port: &str,
    tcp_only: bool,
    lookup: &Lookup<'_>,
) -> Backend {
    let mut backend = Backend {
        uid: service.meta.uid.clone(),
        ports: service.ports.clone(),
        families: super::families(service),
        endpoints: (lookup.endpoints)(service),
        traffic_policy: service.traffic_policy,
        health: health_check(service, lookup.cluster_health),
        annotations: service.meta.annotations.as_ref().clone(),
        ..unresolved(&path.namespace, &path.name, port)
    };
    // A port's name has at least one letter, so a number is never a name.
    let number = port.parse::<u16>().ok();
    let named = |p: &&causeway_api::ServicePort| {
        number.map_or_else(|| !port.is_empty() && p.name == *port, |n| n == p.port)
    };
    let tcp = |p: &&causeway_api::ServicePort| p.protocol == Protocol::Tcp;
    let mut found = service.ports.iter().filter(tcp).find(named);
    if !tcp_only {
        found = found.or_else(|| service.ports.iter().find(named));
    }
    if let Some(found) = found {
        backend.service_port = Some(found.port);
        backend.node_port = found.node_port;
        backend.port_name.clone_from(&found.name);
        backend.target_port = Some(found.target_port.clone());
    }
    backend
}

/// Resolves what annotations refer to. Whether something is missing is for the provider to say, which knows the annotation.
#[must_use]
pub fn referenced(namespace: &str, references: &References, lookup: &Lookup<'_>) -> Referenced {
    let path = |name: &str| Path { namespace: namespace.to_owned(), name: name.to_owned() };
    let backend = |(name, port): &(String, String)| {
        let at = path(name);
        let backend = (lookup.services)(&at).map_or_else(
            || unresolved(namespace, name, port),
            |service| resolved(&at, service, port, false, lookup),
        );
        ((name.clone(), port.clone()), backend)
    };
    Referenced {
        services: references.services.iter().map(backend).collect(),
        secrets: references
            .secrets
            .iter()
            .map(|name| (name.clone(), (lookup.secrets)(&path(name))))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::TargetPort;

    use super::*;

    #[test]
    fn annotations_refer_to_ports_of_any_protocol_and_to_secrets() {
        let dns = ServiceRecord::test().named("ns", "dns").udp(53).node_port(53, 30053);
        let services = |path: &Path| Some(&dns).filter(|s| s.meta.path() == *path);
        let lookup = Lookup {
            services: &services,
            endpoints: &|_| Endpoints::default(),
            secrets: &|path| (path.name == "here").then(|| "7".to_owned()),
            cluster_health: ClusterHealth::KubeProxy,
        };
        let pair = |name: &str, port: &str| (name.to_owned(), port.to_owned());
        let references = References {
            services: [pair("dns", "53"), pair("dns", "udp-53"), pair("dns", "99"), pair("gone", "80")]
                .into(),
            secrets: ["here".to_owned(), "gone".to_owned()].into(),
            endpoints: false,
        };
        let found = referenced("ns", &references, &lookup);
        let of = |name, port| &found.services[&pair(name, port)];
        assert_eq!(of("dns", "53").port_name, "tcp-53", "TCP comes first");
        assert_eq!(of("dns", "udp-53").target_port, Some(TargetPort::Number(53)));
        assert_eq!((of("dns", "99").service_port, &*of("dns", "99").uid), (None, "uid-dns"));
        assert_eq!((of("gone", "80").service_port, &*of("gone", "80").uid), (None, ""));
        assert_eq!(found.secrets["here"].as_deref(), Some("7"));
        assert_eq!(found.secrets["gone"], None);
    }
}
