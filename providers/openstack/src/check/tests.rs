//! Projects with one fault each, seen through an OpenStack that answers from a table.

use std::collections::BTreeMap;

use causeway_api::{Finding, Level, LoadBalancer, NodeSet};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Asked, Known, judge, look};
use crate::api::{Api, CallError, Failure, Method, Pass, Request, Service};
use crate::client::Who;
use crate::facts::Overrides;
use crate::fixtures::{self, Svc, service};
use crate::options::{Options, Section};

/// A project.
#[derive(Clone)]
struct Project {
    who: Result<Who, CallError>,
    answers: BTreeMap<String, Value>,
    /// Statuses with which paths are refused.
    refused: BTreeMap<&'static str, u16>,
    options: Vec<(&'static str, &'static str)>,
}

fn who() -> Who {
    let place = |service: Service| (service, Ok(format!("http://{}/", service.kind())));
    Who {
        user: "causeway".to_owned(),
        project: "p1".to_owned(),
        project_name: "k8s".to_owned(),
        roles: vec!["member".to_owned(), "load-balancer_member".to_owned()],
        places: Service::ALL.into_iter().map(place).collect(),
        kinds: Service::ALL.into_iter().map(|s| s.kind().to_owned()).collect(),
        ahead: Some(SignedDuration::from_secs(1)),
    }
}

impl Project {
    fn new() -> Self {
        let text: Value = serde_saphyr::from_str(fixtures::INVENTORY).expect("YAML");
        let answers = text["openstack"].as_object().expect("answers").clone();
        let mut answers: BTreeMap<String, Value> = answers.into_iter().collect();
        answers.insert(
            "GET /v2.0/lbaas/quotas/p1".to_owned(),
            json!({"quota": {"load_balancer": 10, "listener": -1, "pool": -1, "member": 50, "health_monitor": null}}),
        );
        answers.insert(
            "GET /v2.0/quotas/p1".to_owned(),
            json!({"quota": {"floatingip": 50, "port": 100, "security_group": 1, "security_group_rule": 1, "project_id": "p1"}}),
        );
        Self { who: Ok(who()), answers, refused: BTreeMap::new(), options: Vec::new() }
    }

    fn who(mut self, change: impl FnOnce(&mut Who)) -> Self {
        if let Ok(who) = &mut self.who {
            change(who);
        }
        self
    }

    fn option(mut self, key: &'static str, value: &'static str) -> Self {
        self.options.push((key, value));
        self
    }

    fn refuses(mut self, path: &'static str, status: u16) -> Self {
        self.refused.insert(path, status);
        self
    }

    fn answer(mut self, path: &str, answer: Value) -> Self {
        self.answers.insert(path.to_owned(), answer);
        self
    }

    async fn findings(self, services: &[Svc]) -> Vec<Finding> {
        self.with_nodes(services, &fixtures::nodes(2)).await
    }

    async fn with_nodes(self, services: &[Svc], nodes: &NodeSet) -> Vec<Finding> {
        let section: Section =
            self.options.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
        let (options, complaints) = Options::read(&[("LoadBalancer".to_owned(), section)].into());
        let lbs: Vec<LoadBalancer> = services
            .iter()
            .map(|svc| fixtures::of_services(std::slice::from_ref(svc), fixtures::nodes(2)))
            .collect();
        let cluster = fixtures::inventory().cluster;
        let seen = look(self).await;
        let asked = Asked {
            cluster: &cluster,
            options: &options,
            complaints: &complaints,
            overrides: &Overrides::default(),
            nodes,
            load_balancers: &lbs,
        };
        judge(&seen, &asked)
    }
}

impl Api for Project {
    async fn call(&self, request: &Request, _pass: Pass<'_>) -> Result<Value, CallError> {
        assert_eq!(request.method, Method::Get, "{request:?} changes something");
        if let Some(status) = self.refused.get(request.path.as_str()) {
            return Err(Failure::refused(request.service, *status, "no").into());
        }
        let key = format!("GET {}", request.path);
        if let Some(answer) = self.answers.get(&key) {
            return Ok(answer.clone());
        }
        let name = request.path.rsplit('/').next().unwrap_or_default().replace('-', "_");
        match request.path.contains("00000000-0000") {
            true => Err(Failure::refused(request.service, 404, "not there").into()),
            false if name == "detail" => Ok(json!({"servers": []})),
            false => Ok(json!({ name: [] })),
        }
    }
}

impl Known for Project {
    async fn who(&self) -> Result<Who, CallError> {
        self.who.clone()
    }
}

/// Whether there is a finding of this level about this whose message holds the part.
#[track_caller]
fn says(findings: &[Finding], level: Level, about: &str, part: &str) {
    let fits = |f: &&Finding| f.level == level && f.about.contains(about) && f.message.contains(part);
    assert!(findings.iter().any(|f| fits(&f)), "no {level:?} about {about} with {part:?} in {findings:#?}");
}

fn worse_than_ok(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|f| f.level != Level::Ok).collect()
}

fn web() -> Svc {
    service("web").port(80, 30080)
}

#[tokio::test]
async fn a_project_that_is_as_it_should_be() {
    let project = Project::new().option("floating-network-id", "public").option("subnet-id", "k8s-subnet");
    let findings = project.findings(&[web()]).await;
    assert_eq!(worse_than_ok(&findings), Vec::<&Finding>::new());
    says(&findings, Level::Ok, "Keystone", "causeway in project k8s (p1)");
    says(&findings, Level::Ok, "Roles", "load-balancer_member; that load balancers");
    says(&findings, Level::Ok, "Octavia", "http://load-balancer/");
    says(&findings, Level::Ok, "Permissions to read", "all 13 are there");
    says(&findings, Level::Ok, "Permissions to read", "Octavia GET /v2.0/lbaas/pools/POOL/members");
    says(&findings, Level::Ok, "Provider for Services", "amphora behind API v2.27: Ingresses");
    says(
        &findings,
        Level::Ok,
        "[LoadBalancer]",
        "VIPs on subnet k8s-subnet (k8s-subnet); floating IPs of network public",
    );
    says(&findings, Level::Ok, "Nodes", "2 can be members: 2 addresses in k8s-subnet");
    says(&findings, Level::Ok, "Quota of load balancers", "4 of 10");
    says(&findings, Level::Ok, "Quota of listeners", "0 are used, and no limit is set");
    says(&findings, Level::Ok, "Quota of floating IPs", "2 of 50");
    says(&findings, Level::Ok, "Quota of ports", "2 of 100");
    assert!(findings.iter().all(|f| !f.about.contains("security groups")), "nobody asks for any");
}

#[tokio::test]
async fn without_a_token_nothing_else_is_said() {
    for (refused, part) in [(true, "mend it"), (false, "is auth-url right")] {
        let who = Err(CallError::Failed(Failure::Login { refused, text: "no: mend it".to_owned() }));
        let findings = Project { who, ..Project::new() }.findings(&[]).await;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        says(&findings, Level::Error, "Keystone", part);
    }
}

#[tokio::test]
async fn rights_that_are_missing_are_named_with_the_role_and_the_rest_is_looked_at() {
    let project = Project::new()
        .who(|who| who.roles = vec!["reader".to_owned()])
        .refuses("/v2.0/lbaas/loadbalancers", 403)
        .refuses("/v2.0/lbaas/listeners", 403)
        .refuses("/v2.0/lbaas/flavors", 403)
        .refuses("/v2.0/lbaas/availabilityzones", 501)
        .refuses("/v2.0/security-groups", 503);
    let findings = project.findings(&[web()]).await;
    says(
        &findings,
        Level::Error,
        "Roles",
        "reader, with which one only reads: member and load-balancer_member",
    );
    says(
        &findings,
        Level::Error,
        "Roles",
        "openstack role add --user causeway --project k8s load-balancer_member",
    );
    says(
        &findings,
        Level::Error,
        "Permissions to read",
        "may not Octavia GET /v2.0/lbaas/loadbalancers, Octavia GET /v2.0/lbaas/listeners: give it load-balancer_member",
    );
    says(&findings, Level::Warning, "Permissions to read", "Neutron GET /v2.0/security-groups");
    says(&findings, Level::Warning, "Octavia GET /v2.0/lbaas/flavors", "403");
    says(&findings, Level::Ok, "Optional reads", "/v2.0/lbaas/availabilityzones");
    says(&findings, Level::Warning, "Services and Ingresses", "not looked at");
    says(&findings, Level::Ok, "Quota of floating IPs", "2 of 50");
    let other = Project::new().who(|who| who.roles = vec!["member".to_owned()]).findings(&[]).await;
    says(&other, Level::Warning, "Roles", "only where its operator has set other policies");
}

#[tokio::test]
async fn a_service_that_is_missing_from_the_catalog_is_named() {
    let project = Project::new().who(|who| {
        who.kinds.retain(|kind| kind != "load-balancer" && kind != "key-manager");
        for service in [Service::LoadBalancer, Service::KeyManager] {
            who.places.insert(service, Err("the catalog has none in region Two: mend region".to_owned()));
        }
        who.ahead = Some(SignedDuration::from_secs(-95));
    });
    let findings = project.findings(&[web()]).await;
    says(&findings, Level::Error, "Octavia", "mend region");
    says(&findings, Level::Warning, "Barbican", "certificates cannot be served: the catalog has none");
    says(&findings, Level::Warning, "Clock", "95 s behind");
    says(&findings, Level::Ok, "Quota of ports", "2 of 100");
}

#[tokio::test]
async fn quotas_are_compared_with_what_is_asked_for() {
    let with = async |octavia: Value, neutron: Value| {
        let project = Project::new()
            .answer("GET /v2.0/lbaas/quotas/p1", json!({ "quota": octavia }))
            .answer("GET /v2.0/quotas/p1", json!({ "quota": neutron }))
            .option("manage-security-groups", "true");
        project.findings(&[web(), service("api").port(80, 30081).port(81, 30082)]).await
    };
    let findings = with(
        json!({"load_balancer": 5, "listener": 2, "pool": 3, "member": 6, "healthmonitor": 0}),
        json!({"floatingip": 2, "port": 4, "security_group": 10, "security_group_rule": 100}),
    )
    .await;
    says(
        &findings,
        Level::Error,
        "Quota of load balancers",
        "4 of 5 are used, and 2 more are asked for, of which 1 can be made",
    );
    says(&findings, Level::Error, "Quota of listeners", "3 more are asked for, of which 2");
    says(&findings, Level::Warning, "Quota of pools", "0 of 3 are used");
    says(
        &findings,
        Level::Warning,
        "Quota of members",
        "raised in time (Octavia's quota member of the project)",
    );
    says(&findings, Level::Error, "Quota of health monitors", "of which 0 can be made");
    says(&findings, Level::Error, "Quota of floating IPs", "2 of 2 are used, and 2 more");
    says(&findings, Level::Warning, "Quota of ports", "2 of 4");
    says(&findings, Level::Ok, "Quota of security groups", "0 of 10");
    let unread = Project::new().refuses("/v2.0/lbaas/quotas/p1", 403).findings(&[]).await;
    says(&unread, Level::Warning, "Quotas of Octavia", "are not known");
}

#[tokio::test]
async fn networks_and_subnets_are_there_and_what_is_meant() {
    let of =
        async |key: &'static str, value: &'static str| Project::new().option(key, value).findings(&[]).await;
    says(
        &of("floating-network-id", "k8s-net").await,
        Level::Error,
        "[LoadBalancer] floating-network-id",
        "is not external",
    );
    says(
        &of("floating-network-id", "nowhere").await,
        Level::Error,
        "floating-network-id",
        "no network with id nowhere",
    );
    says(
        &of("subnet-id", "public-subnet-1").await,
        Level::Error,
        "subnet-id",
        "a name, write its id public-1",
    );
    says(&of("network-id", "x").await, Level::Error, "network-id", "no network with id x");
    says(&of("member-subnet-id", "x").await, Level::Error, "member-subnet-id", "no subnet with id x");
    says(
        &of("floating-subnet-tags", "none-has-it").await,
        Level::Error,
        "floating-subnet",
        "has such a name or tags",
    );
    says(&of("frob", "1").await, Level::Warning, "[LoadBalancer] frob", "is not known");
    says(&of("monitor-delay", "soon").await, Level::Error, "[LoadBalancer] monitor-delay", "whole seconds");
    let both = Project::new().option("network-id", "public").option("subnet-id", "k8s-subnet");
    says(&both.findings(&[]).await, Level::Error, "subnet-id", "is of network k8s-net");
    let unsaid = Project::new().findings(&[]).await;
    says(&unsaid, Level::Warning, "[LoadBalancer] floating-network-id", "write which is meant");
    says(&unsaid, Level::Ok, "[LoadBalancer]", "VIPs on subnet k8s-subnet");
}

#[tokio::test]
async fn provider_flavor_and_zone_are_offered() {
    let of =
        async |key: &'static str, value: &'static str| Project::new().option(key, value).findings(&[]).await;
    says(&of("lb-provider", "f5").await, Level::Error, "lb-provider", "no provider f5");
    says(
        &of("flavor-id", "old").await,
        Level::Error,
        "flavor-id",
        "disabled: write one of flavor-single (single)",
    );
    says(&of("flavor-id", "single").await, Level::Ok, "flavor-id", "flavor-single");
    says(&of("availability-zone", "az9").await, Level::Error, "availability-zone", "write one of az1");
    let ovn = of("lb-provider", "ovn").await;
    says(
        &ovn,
        Level::Ok,
        "Provider for Services",
        "ovn behind API v2.27: two families on one load balancer, SCTP; it has not Ingresses",
    );
    says(&ovn, Level::Ok, "Provider for Ingresses", "amphora");
    let old = Project::new().answer("GET /", json!({"versions": [{"id": "v2.4"}]})).findings(&[]).await;
    says(&old, Level::Error, "GET /", "v2.5 is the oldest");
}

#[tokio::test]
async fn what_the_provider_cannot_do_is_said_of_the_service_that_asks_for_it() {
    let proxied = web().annotation("proxy-protocol", "true");
    let findings = Project::new().option("lb-provider", "ovn").findings(&[proxied]).await;
    says(
        &findings,
        Level::Error,
        "Service shop/web",
        "spec.ports[0]: of TLS, headers and the PROXY protocol provider ovn has none",
    );
    let old = Project::new().answer("GET /", json!({"versions": [{"id": "v2.20"}]}));
    let v2 = web().annotation("proxy-protocol", "v2");
    says(&old.findings(&[v2]).await, Level::Error, "Service shop/web", "v2.20");
}

#[tokio::test]
async fn certificates_need_barbican() {
    let mut tls = service("web").port(443, 30443).annotation("causeway.io/tls-secret", "tls");
    tls.0.secrets.insert("tls".to_owned(), Some("1".to_owned()));
    let findings = Project::new().findings(std::slice::from_ref(&tls)).await;
    says(&findings, Level::Ok, "Certificates", "1 Secrets");
    let refused = Project::new().refuses("/v1/secrets", 403).findings(std::slice::from_ref(&tls)).await;
    says(&refused, Level::Error, "Certificates", "role creator");
    let without = Project::new().who(|who| who.kinds.retain(|kind| kind != "key-manager"));
    says(&without.findings(&[tls]).await, Level::Error, "Service shop/web", "Barbican");
}

#[tokio::test]
async fn nodes_that_cannot_be_members_are_named() {
    let mut nodes = (*fixtures::nodes(2)).clone();
    nodes.nodes[0].provider_id = None;
    nodes.nodes[1].addresses =
        vec!["192.0.2.200".parse().expect("an address"), "2001:db8::1".parse().expect("an address")];
    let findings = Project::new().with_nodes(&[], &nodes).await;
    says(&findings, Level::Warning, "Nodes", "of n0: spec.providerID names no server");
    says(&findings, Level::Error, "Node n1", "2001:db8::1 (IPv6) is in no subnet");
    says(&findings, Level::Warning, "Node n1", "server server-1 has no port with the Node's addresses");
    nodes.nodes[1].addresses.clear();
    says(&Project::new().with_nodes(&[], &nodes).await, Level::Error, "Node n1", "no InternalIP");
    says(&Project::new().with_nodes(&[], &NodeSet::default()).await, Level::Error, "Nodes", "there is none");
}
