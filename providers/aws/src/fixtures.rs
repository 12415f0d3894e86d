//! Builders for tests: `service("web").port(80, 30080).annotation("aws-load-balancer-scheme", "internal")`.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::{
    Body, Endpoint, Endpoints, Family, FamilyPolicy, HealthCheck, HealthProtocol, Listener, LoadBalancer,
    Member, MemberSpec, Node, NodeSet, ObjectRef, Problem, Protocol, ServicePort, ServiceSpec, TargetPort,
    TrafficPolicy,
};

use crate::annotations::service::PREFIX;
use crate::facts::{Facts, Overrides, facts as make_facts};
use crate::inventory::Inventory;
use crate::nlb;
use crate::provider::Aws;
use crate::stack::AwsStack;
use crate::targets::Instances;

/// Three zones with a public and a private subnet each; VPC `vpc-1` of 10.0.0.0/16.
pub const INVENTORY: &str = include_str!("fixtures/inventory.yaml");

pub fn inventory() -> Inventory {
    serde_saphyr::from_str(INVENTORY).expect("the inventory of the tests")
}

/// Facts with further options.
pub fn facts_with(options: &[(&str, &str)]) -> Facts {
    let mut inventory = inventory();
    for (name, text) in options {
        inventory.options.set(name, text).expect("an option");
    }
    let (facts, problems) = make_facts(&Overrides::default(), &Default::default(), &inventory);
    assert_eq!(problems, []);
    facts
}

pub fn facts() -> Facts {
    facts_with(&[])
}

pub fn node(number: u8) -> Node {
    let zone = ["eu-west-1a", "eu-west-1b", "eu-west-1c"][usize::from(number) % 3];
    Node {
        name: format!("n{number}"),
        provider_id: Some(format!("aws:///{zone}/i-{number:017x}")),
        addresses: vec![],
        labels: Arc::new([("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into()),
    }
}

pub fn nodes(count: u8) -> Arc<NodeSet> {
    Arc::new(NodeSet { nodes: (0..count).map(node).collect() })
}

#[derive(Clone, Debug)]
pub struct Svc(pub Member);

pub fn service(name: &str) -> Svc {
    Svc(Member {
        object: ObjectRef::service("default", name, format!("uid-{name}")),
        created: Some(1),
        class: Some("service.k8s.aws/nlb".to_owned()),
        class_parameters: None,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        current: Vec::new(),
        services: BTreeMap::new(),
        secrets: BTreeMap::new(),
        spec: MemberSpec::Service(ServiceSpec {
            ports: Vec::new(),
            families: vec![Family::V4],
            family_policy: FamilyPolicy::SingleStack,
            cluster_ips: Vec::new(),
            requested_address: None,
            source_ranges: Vec::new(),
            affinity_seconds: None,
            traffic_policy: TrafficPolicy::Cluster,
            health: HealthCheck {
                protocol: HealthProtocol::Http,
                port: Some(10256),
                path: Some("/healthz".to_owned()),
            },
            selector: BTreeMap::new(),
            endpoints: Endpoints::default(),
        }),
    })
}

impl Svc {
    pub fn spec(&mut self) -> &mut ServiceSpec {
        match &mut self.0.spec {
            MemberSpec::Service(spec) => spec,
            MemberSpec::Ingress(_) | MemberSpec::Own(_) => unreachable!("made as a Service"),
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        change(self.spec());
        self
    }

    fn on(self, protocol: Protocol, port: u16, node_port: u16) -> Self {
        self.with(|spec| {
            spec.ports.push(ServicePort {
                name: format!("{}-{port}", protocol.as_str().to_ascii_lowercase()),
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

    pub fn udp(self, port: u16, node_port: u16) -> Self {
        self.on(Protocol::Udp, port, node_port)
    }

    pub fn pod(self, port_name: &str, address: &str, port: u16) -> Self {
        let endpoint = Endpoint {
            port_name: port_name.to_owned(),
            address: address.parse().expect("an address"),
            port,
            node: None,
        };
        self.with(|spec| spec.endpoints.ready.push(endpoint))
    }

    pub fn local(self, health_check_node_port: u16) -> Self {
        self.with(|spec| {
            spec.traffic_policy = TrafficPolicy::Local;
            spec.health.port = Some(health_check_node_port);
        })
    }

    /// With the usual prefix.
    pub fn annotation(mut self, suffix: &str, value: &str) -> Self {
        self.0.annotations.insert(format!("{PREFIX}{suffix}"), value.to_owned());
        self
    }

    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.0.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn created(mut self, seconds: i64) -> Self {
        self.0.created = Some(seconds);
        self
    }
}

/// As `translate` makes it: oldest first, every port a listener.
pub fn load_balancer(members: &[Svc], nodes: Arc<NodeSet>) -> LoadBalancer {
    use causeway_api::CloudProvider as _;
    let mut members: Vec<Member> = members.iter().map(|s| s.0.clone()).collect();
    members.sort_by(|a, b| a.age().cmp(&b.age()));
    let key = Aws::offline(Overrides::default()).key(&members[0]);
    let mut listeners: Vec<Listener> = Vec::new();
    for (index, member) in members.iter().enumerate() {
        for port in &member.service().expect("a Service").ports {
            let taken = |l: &Listener| (l.port.port, l.port.protocol) == (port.port, port.protocol);
            if !listeners.iter().any(taken) {
                listeners.push(Listener { member: index, port: port.clone() });
            }
        }
    }
    LoadBalancer { key, members, body: Body::L4(listeners), nodes }
}

pub fn desired_with(members: &[Svc], facts: &Facts) -> (AwsStack, Vec<Problem>) {
    let lb = load_balancer(members, nodes(2));
    let Body::L4(listeners) = &lb.body else { unreachable!("made as L4") };
    nlb::desired(&lb, listeners, facts, &Instances::of(&lb.nodes))
}

pub fn desired(members: &[Svc]) -> (AwsStack, Vec<Problem>) {
    desired_with(members, &facts())
}
