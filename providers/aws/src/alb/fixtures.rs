//! Builders for tests: `ingress("shop").path("a.example", "/", Prefix, "web")`. Services `s0` … have one port 80, with a NodePort.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::{
    Backend, ClassParameters, Endpoints, Family, HealthCheck, HealthProtocol, HttpBody, IngressBackend,
    IngressPath, IngressRule, IngressSpec, IngressTls, LbKey, LoadBalancer, Member, MemberSpec, ObjectRef,
    PathMatch, Problem, TargetPort, TrafficPolicy,
};

use super::parameters;
use crate::annotations::ingress::PREFIX;
use crate::facts::Facts;
use crate::fixtures::{facts, nodes};
use crate::stack::AwsStack;
use crate::targets::Instances;

#[derive(Clone, Debug)]
pub struct Ing(pub Member);

pub fn ingress(name: &str) -> Ing {
    Ing(Member {
        object: ObjectRef::ingress("shop", name, format!("uid-{name}")),
        created: Some(1),
        class: Some("alb".to_owned()),
        class_parameters: None,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        current: Vec::new(),
        services: BTreeMap::new(),
        secrets: BTreeMap::new(),
        spec: MemberSpec::Ingress(IngressSpec::default()),
    })
}

/// A backend with NodePort 30000 and the number at the end of the Service's name; one called `gone` does not exist.
pub fn backend(service: &str) -> Backend {
    let there = service != "gone";
    let digits: String = service.chars().filter(char::is_ascii_digit).collect();
    let number: u16 = digits.parse().unwrap_or(0);
    Backend {
        namespace: "shop".to_owned(),
        service: service.to_owned(),
        uid: if there { format!("uid-{service}").into() } else { "".into() },
        port: "80".to_owned(),
        node_port: there.then_some(30_000 + number),
        service_port: there.then_some(80),
        port_name: String::new(),
        target_port: there.then_some(TargetPort::Number(8080)),
        ports: Vec::new(),
        families: vec![Family::V4],
        endpoints: Endpoints::default(),
        traffic_policy: TrafficPolicy::Cluster,
        health: HealthCheck {
            protocol: HealthProtocol::Http,
            port: Some(10256),
            path: Some("/healthz".to_owned()),
        },
        annotations: BTreeMap::new(),
    }
}

impl Ing {
    fn spec(&mut self) -> &mut IngressSpec {
        match &mut self.0.spec {
            MemberSpec::Ingress(spec) => spec,
            MemberSpec::Service(_) | MemberSpec::Own(_) => unreachable!("made as an Ingress"),
        }
    }

    pub fn to(mut self, host: &str, path: &str, matching: PathMatch, backend: Backend) -> Self {
        let path = IngressPath { path: path.to_owned(), matching, backend: IngressBackend::Service(backend) };
        self.spec().rules.push(IngressRule { host: host.to_owned(), paths: vec![path] });
        self
    }

    pub fn path(self, host: &str, path: &str, matching: PathMatch, service: &str) -> Self {
        self.to(host, path, matching, backend(service))
    }

    /// To an action of an annotation.
    pub fn action(self, host: &str, path: &str, matching: PathMatch, name: &str) -> Self {
        let backend = Backend { uid: "".into(), port: String::new(), service_port: None, ..backend(name) };
        self.to(host, path, matching, backend)
    }

    pub fn default_backend(mut self, service: &str) -> Self {
        self.spec().default_backend = Some(IngressBackend::Service(backend(service)));
        self
    }

    pub fn tls(mut self, hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|&h| h.to_owned()).collect();
        self.spec().tls.push(IngressTls { hosts, secret: None });
        self
    }

    /// With the usual prefix.
    pub fn annotation(mut self, suffix: &str, value: &str) -> Self {
        self.0.annotations.insert(format!("{PREFIX}{suffix}"), value.to_owned());
        self
    }

    pub fn created(mut self, seconds: i64) -> Self {
        self.0.created = Some(seconds);
        self
    }

    pub fn namespace(mut self, namespace: &str, labels: &[(&str, &str)]) -> Self {
        namespace.clone_into(&mut self.0.object.namespace);
        let pair = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
        self.0.namespace_labels = labels.iter().map(pair).collect();
        self
    }

    pub fn parameters(mut self, name: &str, spec: Option<serde_json::Value>) -> Self {
        self.0.class_parameters = Some(ClassParameters {
            group: parameters::GROUP.to_owned(),
            kind: parameters::KIND.to_owned(),
            namespace: None,
            name: name.to_owned(),
            spec: spec.map(|s| s.to_string()),
        });
        self
    }
}

/// What members have together, as translation gives it.
pub fn load_balancer(key: LbKey, members: &[Ing]) -> LoadBalancer {
    let mut members: Vec<Member> = members.iter().map(|i| i.0.clone()).collect();
    members.sort_by(|a, b| a.age().cmp(&b.age()).then_with(|| a.object.cmp(&b.object)));
    LoadBalancer { key, members, body: causeway_api::Body::L7(HttpBody::default()), nodes: nodes(3) }
}

pub fn desired_with(facts: &Facts, members: &[Ing]) -> (AwsStack, Vec<Problem>) {
    let key = match members {
        [one] => super::key(&one.0, facts.options.like_lbc()),
        _ => LbKey::group(causeway_api::Layer::L7, "shop/g"),
    };
    let lb = load_balancer(key, members);
    super::desired(&lb, facts, &Instances::of(&Arc::clone(&lb.nodes)))
}

pub fn desired(members: &[Ing]) -> (AwsStack, Vec<Problem>) {
    desired_with(&facts(), members)
}
