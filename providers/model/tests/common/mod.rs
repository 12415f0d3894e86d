//! A small world of Services, Ingresses and nodes, and a synchronous executor that does what the engine does: observe, plan, lint, apply.
#![allow(dead_code, reason = "each test target uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use causeway_api::{
    AppliedHash, Backend, Body, Certificate, CloudError, CloudProvider, Family, FamilyPolicy, Fence,
    HealthCheck, HealthProtocol, HttpBody, IngressSpec, Layer, LbKey, Listener, LoadBalancer, Mark, Member,
    MemberSpec, Node, NodeSet, ObjectRef, Outcome, PathMatch, Plan, PlannedChange, Protocol, Route,
    ServicePort, ServiceSpec, TargetPort, TrafficPolicy, Verb, names,
};
use causeway_model::cloud::{Cloud, Fault, Settings, Snapshot, Style};
use causeway_model::provider::{Change, Facts, ModelStack, Quotas, hash, naming};
use causeway_model::{InMemory, Model, Options};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

pub const CLUSTER: &str = "cluster-1";

/// The answer of a future that never waits, as all of the in-memory transport.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the in-memory transport never waits"),
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Svc {
    pub group: Option<u8>,
    pub created: Option<i64>,
    /// (protocol, port) -> NodePort.
    pub ports: BTreeMap<(Protocol, u16), Option<u16>>,
    pub dual: bool,
    pub internal: bool,
    pub local: bool,
    pub affinity: Option<u32>,
    pub range: Option<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ing {
    pub group: Option<u8>,
    pub created: Option<i64>,
    /// (host, path) -> Service number.
    pub routes: BTreeMap<(u8, u8), u8>,
    pub default: Option<u8>,
    pub secret: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub services: BTreeMap<u8, Svc>,
    pub ingresses: BTreeMap<u8, Ing>,
    pub nodes: BTreeSet<u8>,
}

pub fn svc() -> impl Strategy<Value = Svc> {
    let protocol = prop_oneof![4 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)];
    let node_port = prop_oneof![6 => (30_000..30_004u16).prop_map(Some), 1 => Just(None)];
    let ports = btree_map((protocol, 80..83u16), node_port, 1..4);
    let rest =
        (any::<bool>(), prop::bool::weighted(0.2), any::<bool>(), option::of(1..3u32), option::of(0..2u8));
    (option::of(0..2u8), option::of(0..3i64), ports, rest).prop_map(|(group, created, ports, rest)| {
        let (dual, internal, local, affinity, range) = rest;
        Svc { group, created, ports, dual, internal, local, affinity, range }
    })
}

pub fn ing() -> impl Strategy<Value = Ing> {
    let routes = btree_map((0..3u8, 0..3u8), 0..4u8, 0..5);
    (option::of(0..2u8), option::of(0..3i64), routes, option::of(0..3u8), option::of(0..2u8))
        .prop_map(|(group, created, routes, default, secret)| Ing { group, created, routes, default, secret })
}

pub fn world() -> impl Strategy<Value = World> {
    (btree_map(0..4u8, svc(), 0..4), btree_map(0..3u8, ing(), 0..3), btree_set(1..7u8, 0..6))
        .prop_map(|(services, ingresses, nodes)| World { services, ingresses, nodes })
}

pub fn settings() -> impl Strategy<Value = Settings> {
    (prop_oneof![Just(Style::Open), Just(Style::Locking)], 0..2u64, 0..2u64, 0..3usize).prop_map(
        |(style, create, change, page)| Settings {
            style,
            create_pending: create * 3_000,
            change_pending: change * 1_000,
            page,
            ..Settings::default()
        },
    )
}

pub fn worlds(count: usize) -> impl Strategy<Value = Vec<World>> {
    vec(world(), count)
}

fn health(port: Option<u16>) -> HealthCheck {
    HealthCheck { protocol: HealthProtocol::Http, port, path: Some("/healthz".into()) }
}

fn annotations(group: Option<u8>) -> BTreeMap<String, String> {
    group.map(|g| (names::ANNOTATION_GROUP.to_owned(), format!("g{g}"))).into_iter().collect()
}

pub fn member(object: ObjectRef, created: Option<i64>, group: Option<u8>, spec: MemberSpec) -> Member {
    Member {
        object,
        created,
        class: None,
        class_parameters: None,
        annotations: annotations(group),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        current: Vec::new(),
        services: BTreeMap::new(),
        secrets: BTreeMap::new(),
        spec,
    }
}

impl Svc {
    pub fn member(&self, number: u8) -> Member {
        let ports = self.ports.iter().map(|((protocol, port), node_port)| ServicePort {
            name: format!("{}{port}", protocol.as_str()),
            protocol: *protocol,
            port: *port,
            node_port: *node_port,
            target_port: TargetPort::Number(*port),
            app_protocol: None,
        });
        let families = if self.dual { vec![Family::V4, Family::V6] } else { vec![Family::V4] };
        let spec = ServiceSpec {
            ports: ports.collect(),
            families,
            family_policy: FamilyPolicy::PreferDualStack,
            cluster_ips: Vec::new(),
            requested_address: None,
            source_ranges: self
                .range
                .map(|r| format!("10.{r}.0.0/16").parse().unwrap())
                .into_iter()
                .collect(),
            affinity_seconds: self.affinity,
            traffic_policy: if self.local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
            health: health(Some(if self.local { 31_000 } else { 10_256 })),
            selector: BTreeMap::new(),
            endpoints: Default::default(),
        };
        let object = ObjectRef::service("ns", format!("s{number}"), format!("uid-s{number}"));
        let mut member = member(object, self.created, self.group, MemberSpec::Service(spec));
        if self.internal {
            member.annotations.insert(naming::ANNOTATION_SCHEME.into(), "internal".into());
        }
        member
    }
}

pub fn backend(number: u8) -> Backend {
    Backend {
        namespace: "ns".into(),
        service: format!("b{number}"),
        uid: format!("uid-b{number}").into(),
        port: "80".into(),
        // One backend has no NodePort: it is answered 503.
        node_port: (number != 3).then(|| 32_000 + u16::from(number)),
        service_port: Some(80),
        port_name: String::new(),
        ports: Vec::new(),
        target_port: Some(TargetPort::Number(8080)),
        families: vec![Family::V4],
        endpoints: Default::default(),
        traffic_policy: TrafficPolicy::Cluster,
        health: health(Some(10_256)),
        annotations: BTreeMap::new(),
    }
}

impl Ing {
    pub fn member(&self, number: u8) -> Member {
        let object = ObjectRef::ingress("ns", format!("i{number}"), format!("uid-i{number}"));
        member(object, self.created, self.group, MemberSpec::Ingress(IngressSpec::default()))
    }
}

pub fn node_set(nodes: &BTreeSet<u8>) -> Arc<NodeSet> {
    let node = |n: &u8| Node {
        name: format!("node-{n}"),
        provider_id: None,
        addresses: vec![IpAddr::from([10, 0, 0, *n]), format!("fd00::{n}").parse().unwrap()],
        labels: Arc::default(),
    };
    Arc::new(NodeSet { nodes: nodes.iter().map(node).collect() })
}

/// The neutral load balancers of a world, as `translate` makes them.
pub fn load_balancers<P: CloudProvider>(provider: &P, world: &World) -> Vec<LoadBalancer> {
    let nodes = node_set(&world.nodes);
    let mut all: BTreeMap<LbKey, LoadBalancer> = BTreeMap::new();
    let mut services: Vec<_> = world.services.iter().map(|(n, s)| s.member(*n)).collect();
    services.sort_by(|a, b| a.age().cmp(&b.age()));
    for member in services {
        let key = provider.key(&member);
        let lb = all.entry(key.clone()).or_insert_with(|| LoadBalancer::unwanted(key));
        lb.nodes = Arc::clone(&nodes);
        let index = lb.members.len();
        let Body::L4(listeners) = &mut lb.body else { panic!("a Service is L4") };
        let ports = &member.service().unwrap().ports;
        for port in ports {
            if listeners.iter().all(|l| (l.port.protocol, l.port.port) != (port.protocol, port.port)) {
                listeners.push(Listener { member: index, port: port.clone() });
            }
        }
        lb.members.push(member);
    }
    let mut ingresses: Vec<_> = world.ingresses.iter().map(|(n, i)| (i.member(*n), i)).collect();
    ingresses.sort_by(|a, b| a.0.age().cmp(&b.0.age()));
    for (member, ing) in ingresses {
        let key = provider.key(&member);
        let lb = all.entry(key.clone()).or_insert_with(|| LoadBalancer::unwanted(key));
        lb.nodes = Arc::clone(&nodes);
        let index = lb.members.len();
        let Body::L7(http) = &mut lb.body else { panic!("an Ingress is L7") };
        http_body(http, index, ing);
        lb.members.push(member);
    }
    all.into_values().collect()
}

fn http_body(http: &mut HttpBody, member: usize, ing: &Ing) {
    for ((host, path), service) in &ing.routes {
        let host = if *host == 0 { String::new() } else { format!("h{host}.example") };
        let path = format!("/{}", "x".repeat(usize::from(*path)));
        if http.routes.iter().any(|r| r.host == host && r.path == path) {
            continue;
        }
        let (matching, backend) = (PathMatch::Prefix, backend(*service));
        http.routes.push(Route { member, host, path, matching, backend });
    }
    http.routes.sort_by_key(|r| (r.host.is_empty(), r.host.clone(), std::cmp::Reverse(r.path.len())));
    if let (None, Some(service)) = (&http.default_backend, ing.default) {
        http.default_backend = Some((member, backend(service)));
    }
    if let Some(version) = ing.secret {
        http.certificates.push(Certificate {
            member,
            hosts: vec!["h1.example".into()],
            secret: Some(format!("ns/tls-{member}")),
            secret_version: Some(version.to_string()),
        });
    }
}

/// What the linter of the engine demands of every plan; the same rules in the words of this test.
pub fn lint(plan: &Plan<Change>) {
    let infos: Vec<_> = plan.changes.iter().map(PlannedChange::info).collect();
    let mut deleted = BTreeSet::new();
    for info in &infos {
        assert_ne!(info.mark, Mark::Foreign, "{info:?}");
        assert_eq!(info.verb == Verb::Create, info.mark == Mark::New, "{info:?}");
        assert!(info.cascade.iter().all(|m| *m == Mark::Ours), "{info:?}");
        assert!(info.limits.iter().all(|l| l.after <= l.max), "{info:?}");
        assert_ne!(info.default_action, Some(false), "{info:?}");
        let slot = (info.target.kind.clone(), info.target.id.clone());
        match info.verb {
            Verb::Delete => {
                deleted.insert(slot);
            }
            Verb::Create => assert!(!deleted.contains(&slot), "deleted before its successor: {info:?}"),
            _ => {}
        }
    }
    let moves = |v: &Verb| matches!(v, Verb::Register | Verb::Deregister);
    let marks = |v: &Verb| matches!(v, Verb::MarkDirty | Verb::MarkApplied);
    let verbs: Vec<_> = infos.iter().map(|i| i.verb.clone()).collect();
    if plan.context.exists && !plan.context.removes && !verbs.iter().all(moves) {
        assert_eq!(verbs.last(), Some(&Verb::MarkApplied), "{infos:#?}");
        if !verbs.iter().all(marks) {
            assert_eq!(verbs.first(), Some(&Verb::MarkDirty), "{infos:#?}");
        }
    }
}

/// One controller process.
pub struct Process {
    pub model: Model<InMemory>,
    pub facts: Facts,
    pub fence: Fence,
}

/// How a pass over all load balancers ended.
#[derive(Debug, Default, PartialEq)]
pub struct Pass {
    /// Changes applied.
    pub changes: usize,
    /// Errors that stopped a key.
    pub errors: Vec<CloudError>,
}

impl Process {
    pub fn start(way: &InMemory, populate_rules: bool) -> Self {
        Self::start_with(way, populate_rules, &Quotas::new())
    }

    pub fn start_with(way: &InMemory, populate_rules: bool, quotas: &Quotas) -> Self {
        let options = Options { populate_rules, ..Options::new(CLUSTER) };
        let model = Model::new(way.clone(), options);
        let facts = Facts { quotas: quotas.clone() };
        // Reads are retried as the engine retries them.
        for _ in 0..100 {
            if now(model.start(&[], &facts)).is_ok() {
                break;
            }
            way.advance(100);
        }
        Self { model, facts, fence: Fence::open() }
    }

    /// Everything that is wanted, and everything of ours that is not any more.
    pub fn stacks(&self, world: &World) -> Vec<(LbKey, ModelStack)> {
        let wanted = load_balancers(&self.model, world);
        let mut stacks: BTreeMap<(Layer, String), (LbKey, ModelStack)> = BTreeMap::new();
        let slot = |key: &LbKey| (key.layer, key.owner_tag());
        for lb in &wanted {
            stacks.insert(slot(&lb.key), (lb.key.clone(), self.model.desired(lb, &self.facts).0));
        }
        for _ in 0..100 {
            let Ok(owned) = now(self.model.owned()) else {
                self.model.transport().advance(100);
                continue;
            };
            for key in owned.into_iter().map(|o| o.key) {
                let lb = LoadBalancer::unwanted(key.clone());
                let stack = || (key.clone(), self.model.desired(&lb, &self.facts).0);
                stacks.entry(slot(&key)).or_insert_with(stack);
            }
            break;
        }
        stacks.into_values().collect()
    }

    /// One round for one key. `Ok(true)`: nothing is left to do.
    pub fn round(
        &self,
        stack: &ModelStack,
        key: &LbKey,
        pass: &mut Pass,
        watch: &mut dyn FnMut(&Change),
    ) -> Result<bool, CloudError> {
        let have = now(self.model.observe(key))?;
        let plan = self.model.plan(stack, &have);
        lint(&plan);
        for change in &plan.changes {
            let outcome = now(self.model.apply(change, &self.fence))?;
            pass.changes += 1;
            watch(change);
            if let Outcome::Pending(_) = outcome {
                return Ok(false);
            }
        }
        Ok(plan.is_empty())
    }

    /// Works on all load balancers of a world until nothing is left to do, or only what cannot be done.
    pub fn settle_watched(&self, world: &World, watch: &mut dyn FnMut(&Change)) -> Pass {
        let way = self.model.transport();
        let mut pass = Pass::default();
        for (key, stack) in self.stacks(world) {
            let mut done = false;
            for _ in 0..300 {
                match self.round(&stack, &key, &mut pass, watch) {
                    Ok(true) => {
                        done = true;
                        break;
                    }
                    Ok(false) => way.advance(1_000),
                    Err(CloudError::Pending(after) | CloudError::Throttled(after)) => {
                        way.advance(u64::try_from(after.as_millis()).unwrap());
                    }
                    Err(CloudError::Conflict(_)) => {}
                    Err(CloudError::Transient(_)) if !way.is_dead() => way.advance(1_000),
                    Err(e) => {
                        pass.errors.push(e);
                        done = true;
                        break;
                    }
                }
            }
            assert!(done, "{key} does not come to rest");
            if way.is_dead() || !pass.errors.is_empty() {
                break;
            }
        }
        pass
    }

    pub fn settle(&self, world: &World) -> Pass {
        self.settle_watched(world, &mut |_| ())
    }

    /// What the cloud must hold for a world: compared without ids and addresses.
    pub fn expect(&self, world: &World) -> Vec<Essence> {
        let mut all: Vec<_> = load_balancers(&self.model, world)
            .iter()
            .filter_map(|lb| {
                let (stack, _) = self.model.desired(lb, &self.facts);
                let mut spec = stack.spec?;
                spec.tags.insert(names::TAG_APPLIED.into(), hash(&spec).to_string());
                Some(Essence::of(spec, "Active"))
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// A load balancer without what the cloud chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Essence(pub String, pub serde_json::Value);

impl Essence {
    fn of(mut spec: causeway_model::cloud::Spec, status: &str) -> Self {
        let name = std::mem::take(&mut spec.name);
        // Positions say an order: that is what must hold.
        let mut order: Vec<_> =
            spec.rules.iter().map(|(n, r)| (r.listener.clone(), r.position, n.clone())).collect();
        order.sort();
        let order: Vec<_> = order.into_iter().map(|(listener, _, name)| (listener, name)).collect();
        spec.rules.values_mut().for_each(|r| r.position = 0);
        Self(name, serde_json::json!({"spec": spec, "order": order, "status": status}))
    }
}

/// What the cloud holds of a cluster, or of the others.
pub fn held(way: &InMemory, ours: bool) -> Vec<Essence> {
    let snapshot: Snapshot = way.with(|cloud, now| {
        assert_eq!(cloud.check(), Vec::<String>::new());
        cloud.snapshot(now)
    });
    let of = |lb: &causeway_model::cloud::LoadBalancer| naming::marked(&lb.spec.tags, CLUSTER) == ours;
    let mut all: Vec<_> = snapshot
        .load_balancers
        .into_iter()
        .filter(of)
        .map(|lb| Essence::of(lb.spec, if lb.status.locked() { "Locked" } else { "Active" }))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub fn cloud(settings: &Settings) -> InMemory {
    InMemory::new(Cloud::new(settings.clone()))
}

pub fn dirty(essence: &Essence) -> bool {
    let tag = essence.1["spec"]["tags"][names::TAG_APPLIED].as_str().unwrap_or_default();
    tag.parse() == Ok(AppliedHash::Dirty)
}

/// Random faults from a seed, reads included.
pub fn faulty(way: &InMemory, per_mille: u32, seed: u64, script: Vec<causeway_model::cloud::ScriptedFault>) {
    way.with(|cloud, _| {
        cloud.faults.per_mille = per_mille;
        cloud.faults.seed = seed;
        cloud.faults.script = script;
    });
}

pub fn late(skip: u64, after: u64) -> causeway_model::cloud::ScriptedFault {
    causeway_model::cloud::ScriptedFault { action: None, reads: false, skip, fault: Fault::Late(after) }
}
