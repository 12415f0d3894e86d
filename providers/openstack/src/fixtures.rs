//! Builders for tests: `service("web").port(80, 30080).annotation("subnet-id", "x")`.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::{
    Backend, Body, Certificate, Endpoints, Family, FamilyPolicy, HealthCheck, HealthProtocol, HttpBody,
    IngressSpec, Layer, LbKey, Listener, LoadBalancer, Member, MemberSpec, Node, NodeSet, ObjectRef,
    PathMatch, Problem, Protocol, Route, ServicePort, ServiceSpec, TargetPort, TrafficPolicy,
};

use crate::facts::{Facts, Overrides, facts as make_facts};
use crate::inventory::Inventory;
use crate::nodes::Nodes;
use crate::options::{Options, Section};
use crate::stack::OctaviaStack;
use crate::{l4, l7};

pub const INVENTORY: &str = include_str!("fixtures/inventory.yaml");

pub fn inventory() -> Inventory {
    serde_saphyr::from_str(INVENTORY).expect("the inventory of the tests")
}

/// Facts with options of [LoadBalancer].
pub fn facts_with(options: &[(&str, &str)]) -> Facts {
    let section: Section = options.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
    let (options, complaints) = Options::read(&[("LoadBalancer".to_owned(), section)].into());
    assert_eq!(complaints, []);
    let (facts, problems) = make_facts(&Overrides::default(), &Inventory { options, ..inventory() });
    assert_eq!(problems, []);
    facts
}

pub fn nodes(count: u8) -> Arc<NodeSet> {
    let node = |n: u8| Node {
        name: format!("n{n}"),
        provider_id: Some(format!("openstack:///server-{n}")),
        addresses: vec![
            format!("10.6.1.{}", 10 + n).parse().expect("an address"),
            format!("fd00:6::{}", 10 + n).parse().expect("an address"),
        ],
        labels: Arc::new([("pool".to_owned(), if n == 0 { "edge" } else { "core" }.to_owned())].into()),
    };
    Arc::new(NodeSet { nodes: (0..count).map(node).collect() })
}

fn member(object: ObjectRef, spec: MemberSpec) -> Member {
    Member {
        object,
        created: Some(1),
        class: None,
        class_parameters: None,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        current: Vec::new(),
        services: BTreeMap::new(),
        secrets: BTreeMap::new(),
        spec,
    }
}

pub fn traffic_port() -> HealthCheck {
    HealthCheck { protocol: HealthProtocol::Tcp, port: None, path: None }
}

pub fn kube_proxy() -> HealthCheck {
    HealthCheck { protocol: HealthProtocol::Http, port: Some(10256), path: Some("/healthz".to_owned()) }
}

#[derive(Clone, Debug)]
pub struct Svc(pub Member);

pub fn service(name: &str) -> Svc {
    let spec = ServiceSpec {
        ports: Vec::new(),
        families: vec![Family::V4],
        family_policy: FamilyPolicy::SingleStack,
        cluster_ips: Vec::new(),
        requested_address: None,
        source_ranges: Vec::new(),
        affinity_seconds: None,
        traffic_policy: TrafficPolicy::Cluster,
        health: kube_proxy(),
        selector: BTreeMap::new(),
        endpoints: Endpoints::default(),
    };
    Svc(member(ObjectRef::service("shop", name, format!("uid-{name}")), MemberSpec::Service(spec)))
}

impl Svc {
    pub fn spec(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        if let MemberSpec::Service(spec) = &mut self.0.spec {
            change(spec);
        }
        self
    }

    pub fn on(self, protocol: Protocol, port: u16, node_port: u16) -> Self {
        self.spec(|s| {
            s.ports.push(ServicePort {
                name: format!("p{port}"),
                protocol,
                port,
                node_port: Some(node_port),
                target_port: TargetPort::Number(8080),
                app_protocol: None,
            });
        })
    }

    pub fn port(self, port: u16, node_port: u16) -> Self {
        self.on(Protocol::Tcp, port, node_port)
    }

    /// An annotation of the peer's prefix, or with a whole key.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        let key =
            if key.contains('/') { key.to_owned() } else { format!("loadbalancer.openstack.org/{key}") };
        self.0.annotations.insert(key, value.to_owned());
        self
    }

    pub fn created(mut self, at: i64) -> Self {
        self.0.created = Some(at);
        self
    }
}

/// The load balancer of one Service, or of a group of several; members oldest first.
pub fn of_services(services: &[Svc], nodes: Arc<NodeSet>) -> LoadBalancer {
    let mut members: Vec<Member> = services.iter().map(|s| s.0.clone()).collect();
    members.sort_by(|a, b| a.age().cmp(&b.age()));
    let mut listeners: Vec<Listener> = Vec::new();
    for (index, member) in members.iter().enumerate() {
        for port in &member.service().expect("a Service").ports {
            let same = |l: &Listener| (l.port.port, l.port.protocol) == (port.port, port.protocol);
            if !listeners.iter().any(same) {
                listeners.push(Listener { member: index, port: port.clone() });
            }
        }
    }
    let key = match members.as_slice() {
        [one] => LbKey::object(Layer::L4, one.object.clone()),
        _ => LbKey::group(Layer::L4, "shop/edge"),
    };
    LoadBalancer { key, members, body: Body::L4(listeners), nodes }
}

pub fn desired(facts: &Facts, services: &[Svc]) -> (OctaviaStack, Vec<Problem>) {
    let lb = of_services(services, nodes(2));
    desired_lb(facts, &lb)
}

pub fn desired_lb(facts: &Facts, lb: &LoadBalancer) -> (OctaviaStack, Vec<Problem>) {
    let nodes = Nodes::of(&lb.nodes, &facts.cloud);
    match &lb.body {
        Body::L4(listeners) => l4::desired(lb, listeners, facts, &nodes),
        Body::L7(http) => l7::desired(lb, http, facts, &nodes),
    }
}

#[derive(Clone, Debug)]
pub struct Ing {
    pub member: Member,
    pub routes: Vec<(String, String, PathMatch, Backend)>,
    pub tls: Vec<(Vec<String>, String)>,
}

pub fn ingress(name: &str) -> Ing {
    let object = ObjectRef::ingress("shop", name, format!("uid-{name}"));
    Ing {
        member: member(object, MemberSpec::Ingress(IngressSpec::default())),
        routes: Vec::new(),
        tls: Vec::new(),
    }
}

pub fn backend(service: &str, port: u16, node_port: Option<u16>) -> Backend {
    Backend {
        namespace: "shop".to_owned(),
        service: service.to_owned(),
        uid: format!("uid-{service}").into(),
        port: port.to_string(),
        node_port,
        service_port: node_port.map(|_| port),
        port_name: String::new(),
        target_port: None,
        ports: Vec::new(),
        families: vec![Family::V4],
        endpoints: Endpoints::default(),
        traffic_policy: TrafficPolicy::Cluster,
        health: traffic_port(),
        annotations: BTreeMap::new(),
    }
}

impl Ing {
    pub fn route(mut self, host: &str, path: &str, matching: PathMatch, backend: Backend) -> Self {
        self.routes.push((host.to_owned(), path.to_owned(), matching, backend));
        self
    }

    pub fn tls(mut self, host: &str, secret: &str) -> Self {
        self.tls.push((vec![host.to_owned()], secret.to_owned()));
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        let key =
            if key.contains('/') { key.to_owned() } else { format!("octavia.ingress.kubernetes.io/{key}") };
        self.member.annotations.insert(key, value.to_owned());
        self
    }

    pub fn created(mut self, at: i64) -> Self {
        self.member.created = Some(at);
        self
    }
}

/// The load balancer of Ingresses, whose routes are in the order in which they are given.
pub fn of_ingresses(ingresses: &[Ing]) -> LoadBalancer {
    let mut sorted = ingresses.to_vec();
    sorted.sort_by(|a, b| a.member.age().cmp(&b.member.age()));
    let mut http = HttpBody::default();
    for (index, ingress) in sorted.iter().enumerate() {
        for (host, path, matching, backend) in ingress.routes.clone() {
            http.routes.push(Route { member: index, host, path, matching, backend });
        }
        for (hosts, secret) in ingress.tls.clone() {
            let secret_version = Some("1".to_owned());
            http.certificates.push(Certificate {
                member: index,
                hosts,
                secret: Some(format!("shop/{secret}")),
                secret_version,
            });
        }
    }
    let key = match sorted.as_slice() {
        [one] => LbKey::object(Layer::L7, one.member.object.clone()),
        _ => LbKey::group(Layer::L7, "shop/edge"),
    };
    let members = sorted.into_iter().map(|i| i.member).collect();
    LoadBalancer { key, members, body: Body::L7(http), nodes: nodes(2) }
}
