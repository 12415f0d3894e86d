//! Records for tests, as builders: `ServiceRecord::test().local().port(80)`. Every default is what the API server would fill in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_api::{
    Capabilities, ClassParameters, Family, FamilyPolicy, IngressPoint, IpMode, PathMatch, Protocol,
    ServicePort, TargetPort, TrafficPolicy,
};

use super::records::{
    BackendRef, ClassRecord, IngressRecord, Meta, NodeRecord, PathRecord, RuleRecord, ServiceRecord, Strings,
    TlsRecord,
};

/// A provider that serves all and needs NodePorts.
#[must_use]
pub fn capabilities() -> Capabilities {
    Capabilities {
        l4: true,
        l7: true,
        protocols: vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        own_classless: true,
        classes: Vec::new(),
        claims: Vec::new(),
        needs_node_ports: true,
        own_routes: false,
        orphan_grace: Duration::ZERO,
        write_deadline: Duration::from_secs(5),
        status_is_commit: false,
    }
}

fn meta(namespace: &str, name: &str) -> Meta {
    Meta {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}").into(),
        ..Meta::default()
    }
}

fn put(strings: &mut Strings, key: &str, value: &str) {
    Arc::make_mut(strings).insert(key.to_owned(), value.to_owned());
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

/// What `Meta` has in common.
macro_rules! with_meta {
    ($record:ty) => {
        impl $record {
            /// Another namespace and name; the uid follows the name.
            #[must_use]
            pub fn named(mut self, namespace: &str, name: &str) -> Self {
                let kept = self.meta;
                self.meta =
                    Meta { labels: kept.labels, annotations: kept.annotations, ..meta(namespace, name) };
                self.meta.created = kept.created;
                self
            }

            /// creationTimestamp, seconds since the epoch.
            #[must_use]
            pub fn created(mut self, seconds: i64) -> Self {
                self.meta.created = Some(seconds);
                self
            }

            /// An annotation.
            #[must_use]
            pub fn annotation(mut self, key: &str, value: &str) -> Self {
                put(&mut self.meta.annotations, key, value);
                self
            }

            /// A label.
            #[must_use]
            pub fn label(mut self, key: &str, value: &str) -> Self {
                put(&mut self.meta.labels, key, value);
                self
            }
        }
    };
}

with_meta!(ServiceRecord);
with_meta!(IngressRecord);
with_meta!(ClassRecord);

impl ServiceRecord {
    /// `default/web`: one TCP port 80 with NodePort 30080, IPv4, policy Cluster.
    #[must_use]
    pub fn test() -> Self {
        Self {
            meta: meta("default", "web"),
            load_balancer: true,
            class: None,
            ports: vec![],
            families: vec![Family::V4],
            family_policy: FamilyPolicy::SingleStack,
            cluster_ips: vec![ip("10.96.0.10")],
            load_balancer_ip: None,
            source_ranges: vec![],
            affinity_seconds: None,
            traffic_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
            selector: Arc::new([("app".to_owned(), "web".to_owned())].into()),
            ingress: vec![],
            conditions: vec![],
        }
        .node_port(80, 30080)
    }

    /// `spec.loadBalancerClass`.
    #[must_use]
    pub fn class(mut self, class: &str) -> Self {
        self.class = Some(class.to_owned());
        self
    }

    /// Another type than LoadBalancer.
    #[must_use]
    pub fn not_load_balancer(mut self) -> Self {
        self.load_balancer = false;
        self
    }

    /// Takes all ports away.
    #[must_use]
    pub fn no_ports(mut self) -> Self {
        self.ports.clear();
        self
    }

    fn any_port(mut self, protocol: Protocol, port: u16, node_port: Option<u16>) -> Self {
        let name = format!("{}-{port}", protocol.as_str().to_ascii_lowercase());
        self.ports.push(ServicePort {
            name,
            protocol,
            port,
            node_port,
            target_port: TargetPort::Number(port),
            app_protocol: None,
        });
        self
    }

    /// One more TCP port, named `tcp-<port>`, with NodePort 30000 + port (of the last three digits).
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.any_port(Protocol::Tcp, port, Some(30000 + port % 1000))
    }

    /// One more UDP port, named `udp-<port>`.
    #[must_use]
    pub fn udp(self, port: u16) -> Self {
        self.any_port(Protocol::Udp, port, Some(31000 + port % 1000))
    }

    /// One more TCP port with this NodePort.
    #[must_use]
    pub fn node_port(self, port: u16, node_port: u16) -> Self {
        self.any_port(Protocol::Tcp, port, Some(node_port))
    }

    /// One more TCP port without NodePort.
    #[must_use]
    pub fn port_without_node_port(self, port: u16) -> Self {
        self.any_port(Protocol::Tcp, port, None)
    }

    /// `externalTrafficPolicy: Local`, no `healthCheckNodePort` yet.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.traffic_policy = TrafficPolicy::Local;
        self
    }

    /// `externalTrafficPolicy: Local` with `healthCheckNodePort`.
    #[must_use]
    pub fn local_with(mut self, health_check_node_port: u16) -> Self {
        self.health_check_node_port = Some(health_check_node_port);
        self.local()
    }

    /// `spec.ipFamilies` and `spec.ipFamilyPolicy`.
    #[must_use]
    pub fn families(mut self, families: &[Family], policy: FamilyPolicy) -> Self {
        self.families = families.to_vec();
        self.family_policy = policy;
        self
    }

    /// `spec.loadBalancerSourceRanges`.
    #[must_use]
    pub fn source_ranges(mut self, ranges: &[&str]) -> Self {
        self.source_ranges = ranges.iter().map(|&r| r.to_owned()).collect();
        self
    }

    /// `sessionAffinity: ClientIP`.
    #[must_use]
    pub fn affinity(mut self, seconds: u32) -> Self {
        self.affinity_seconds = Some(seconds);
        self
    }

    /// `spec.loadBalancerIP`.
    #[must_use]
    pub fn requested(mut self, address: &str) -> Self {
        self.load_balancer_ip = Some(address.to_owned());
        self
    }

    /// One more address in the status, mode VIP.
    #[must_use]
    pub fn status_ip(mut self, address: &str) -> Self {
        self.ingress.push(IngressPoint {
            ip: Some(ip(address)),
            ip_mode: Some(IpMode::Vip),
            ..IngressPoint::default()
        });
        self
    }
}

impl IngressRecord {
    /// `default/site`, empty.
    #[must_use]
    pub fn test() -> Self {
        Self {
            meta: meta("default", "site"),
            class: None,
            rules: vec![],
            default_backend: None,
            tls: vec![],
            ingress: vec![],
        }
    }

    /// `spec.ingressClassName`.
    #[must_use]
    pub fn class(mut self, class: &str) -> Self {
        self.class = Some(class.to_owned());
        self
    }

    /// One more rule with one path to a Service's port, given as number or name.
    #[must_use]
    pub fn route(self, host: &str, path: &str, matching: PathMatch, service: &str, port: &str) -> Self {
        self.route_to(
            host,
            path,
            matching,
            BackendRef::Service { name: service.to_owned(), port: port.to_owned() },
        )
    }

    /// One more rule with one path to any backend.
    #[must_use]
    pub fn route_to(mut self, host: &str, path: &str, matching: PathMatch, backend: BackendRef) -> Self {
        let path = PathRecord { path: path.to_owned(), matching, backend };
        self.rules.push(RuleRecord { host: host.to_owned(), paths: vec![path] });
        self
    }

    /// Default backend.
    #[must_use]
    pub fn default_backend(mut self, service: &str, port: &str) -> Self {
        self.default_backend = Some(BackendRef::Service { name: service.to_owned(), port: port.to_owned() });
        self
    }

    /// One more TLS entry.
    #[must_use]
    pub fn tls(mut self, hosts: &[&str], secret: Option<&str>) -> Self {
        let hosts = hosts.iter().map(|&h| h.to_owned()).collect();
        self.tls.push(TlsRecord { hosts, secret: secret.map(str::to_owned) });
        self
    }
}

impl ClassRecord {
    /// An IngressClass whose controller is ours.
    #[must_use]
    pub fn test(name: &str) -> Self {
        Self {
            meta: meta("", name),
            controller: causeway_api::names::INGRESS_CONTROLLER.to_owned(),
            parameters: None,
            default: false,
        }
    }

    /// It points to an object of the cluster.
    #[must_use]
    pub fn parameters(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.parameters = Some(ClassParameters {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: None,
            name: name.to_owned(),
            spec: None,
        });
        self
    }

    /// Another controller.
    #[must_use]
    pub fn controller(mut self, controller: &str) -> Self {
        self.controller = controller.to_owned();
        self
    }

    /// The default class.
    #[must_use]
    pub fn default_class(mut self) -> Self {
        self.default = true;
        self
    }
}

impl NodeRecord {
    /// An eligible node without addresses.
    #[must_use]
    pub fn test(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            deleting: false,
            labels: Strings::default(),
            leaving: false,
            provider_id: None,
            addresses: vec![],
            network_unavailable: false,
            out_of_service: false,
            cordoned: false,
        }
    }

    /// A label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        put(&mut self.labels, key, value);
        self
    }

    /// One more InternalIP.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(ip(address));
        self
    }

    /// `spec.providerID`.
    #[must_use]
    pub fn provider_id(mut self, id: &str) -> Self {
        self.provider_id = Some(id.to_owned());
        self
    }

    /// deletionTimestamp is set.
    #[must_use]
    pub fn deleting(mut self) -> Self {
        self.deleting = true;
        self
    }

    /// A taint says that it is about to be deleted.
    #[must_use]
    pub fn leaving(mut self) -> Self {
        self.leaving = true;
        self
    }

    /// Condition NetworkUnavailable is True.
    #[must_use]
    pub fn network_unavailable(mut self) -> Self {
        self.network_unavailable = true;
        self
    }
}
