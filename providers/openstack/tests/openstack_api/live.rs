//! The provider on a real cloud, driven as the engine drives it: a Service from nothing to its address, unchanged, changed, taken over by a new process, and gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use causeway_api::{
    Body, CloudError, CloudProvider, Endpoints, Family, FamilyPolicy, Fence, HealthCheck, HealthProtocol,
    Layer, LbKey, Listener, LoadBalancer, Member, MemberSpec, Node, NodeSet, ObjectRef, Outcome, OwnObjects,
    PlannedChange, Protocol, ServicePort, ServiceSpec, TargetPort, TrafficPolicy,
};
use causeway_openstack::api::{Api, CallError, Pass, Request};
use causeway_openstack::certificates::{Read, Secrets};
use causeway_openstack::client::{Client, Settings as ClientSettings};
use causeway_openstack::config::CloudConf;
use causeway_openstack::inventory::Cluster;
use causeway_openstack::live::{Account, Live, Settings};
use causeway_openstack::options::{Options, SECTION, Section};
use causeway_openstack::{OpenStack, Overrides};
use serde_json::Value;

/// Counts calls, and those that write.
#[derive(Clone)]
struct Counting {
    client: Arc<Client>,
    calls: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
}

impl Api for Counting {
    async fn call(&self, request: &Request, pass: Pass<'_>) -> Result<Value, CallError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(u64::from(request.writes()), Ordering::Relaxed);
        self.client.call(request, pass).await
    }
}

impl Account for Counting {
    async fn project(&self) -> Result<String, CallError> {
        Client::project(&self.client).await
    }

    async fn services(&self) -> Result<Vec<String>, CallError> {
        Account::services(&self.client).await
    }

    fn restart(&self) {
        Client::restart(&self.client);
    }
}

/// A cluster without Secrets.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn read<'a>(&'a self, _namespace: &'a str, _name: &'a str) -> Read<'a> {
        Box::pin(async { Ok(None) })
    }
}

impl Counting {
    /// Calls and writes so far.
    fn so_far(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

type Provider = OpenStack<Live<Counting>>;

/// What one process is.
struct Process {
    provider: Provider,
    facts: <Provider as CloudProvider>::Facts,
}

impl Process {
    async fn start(api: &Counting, conf: &CloudConf) -> Result<Process> {
        let mut section = Section::new();
        for entry in conf.load_balancer().flat_map(|s| &s.entries) {
            section.insert(entry.key.clone(), vec![entry.text().to_owned()]);
        }
        let (options, complaints) = Options::read(&[(SECTION.to_owned(), section)].into());
        ensure!(complaints.is_empty(), "{complaints:?}");
        let cluster = Cluster { id: "0f6d9c1e-live".to_owned(), ..Cluster::default() };
        let settings = Settings {
            cluster,
            options,
            complaints,
            call: crate::PATIENCE,
            servers: causeway_openstack::instances::Place::default(),
        };
        let live = Live::new(api.clone(), settings, Arc::new(NoSecrets));
        let provider = OpenStack::on(live, Overrides::default());
        provider.ask_everything();
        let inventory = provider.inventory().await?;
        let (facts, problems) = provider.facts(&OwnObjects::default(), &inventory);
        ensure!(problems.is_empty(), "{problems:?}");
        provider.start(&[], &facts).await?;
        Ok(Process { provider, facts })
    }

    /// Brings a load balancer to what is wanted, as the engine does; the addresses that its Service shows.
    async fn converge(&self, lb: &LoadBalancer) -> Result<Vec<String>> {
        let (stack, problems) = self.provider.desired(lb, &self.facts);
        ensure!(problems.is_empty(), "{problems:?}");
        let fence = Fence::open();
        let mut said = Vec::new();
        for _ in 0..600 {
            let observed = self.provider.observe(&lb.key).await?;
            let plan = self.provider.plan(&stack, &observed);
            ensure!(plan.problems.is_empty(), "{:?}", plan.problems);
            if plan.is_empty() {
                let status = self.provider.status(&stack, &observed);
                let points = status.into_iter().flat_map(|s| s.ingress.unwrap_or_default());
                return Ok(points.filter_map(|p| p.ip).map(|ip| ip.to_string()).collect());
            }
            for change in &plan.changes {
                let summary = change.info().summary;
                if said.last() != Some(&summary) {
                    eprintln!("  {summary}");
                    said.push(summary);
                }
                let after = match self.provider.apply(change, &fence).await {
                    Ok(Outcome::Done) => continue,
                    Ok(Outcome::Pending(after)) => after,
                    Err(CloudError::Throttled(after) | CloudError::Pending(after)) => after,
                    Err(CloudError::Conflict(why)) => {
                        eprintln!("  conflict: {why}");
                        Duration::from_secs(1)
                    }
                    Err(error) => return Err(anyhow!("{}: {error}", change.info().summary)),
                };
                tokio::time::sleep(after).await;
                break;
            }
        }
        bail!("it does not end: {said:?}")
    }
}

fn service(port: u16, nodes: u8) -> LoadBalancer {
    let object = ObjectRef::service("shop", "web", "9c0e2b7a-web");
    let port = ServicePort {
        name: "http".to_owned(),
        protocol: Protocol::Tcp,
        port,
        node_port: Some(30080),
        target_port: TargetPort::Number(8080),
        app_protocol: None,
    };
    let spec = ServiceSpec {
        ports: vec![port.clone()],
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
    };
    let member = Member {
        object: object.clone(),
        created: Some(1),
        class: None,
        class_parameters: None,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        current: Vec::new(),
        services: BTreeMap::new(),
        secrets: BTreeMap::new(),
        spec: MemberSpec::Service(spec),
    };
    let node = |n: u8| Node {
        name: format!("node{n}"),
        provider_id: None,
        addresses: vec![std::net::IpAddr::from([10, 77, 0, 10 + n])],
        labels: Arc::default(),
    };
    LoadBalancer {
        key: LbKey::object(Layer::L4, object),
        members: vec![member],
        body: Body::L4(vec![Listener { member: 0, port }]),
        nodes: Arc::new(NodeSet { nodes: (1..=nodes).map(node).collect() }),
    }
}

/// Everything, one step after another.
pub async fn scenario(conf: &CloudConf) -> Result<()> {
    let client = Client::new(conf.credentials.clone(), ClientSettings::default()).map_err(|e| anyhow!(e))?;
    let api = Counting { client: Arc::new(client), calls: Arc::default(), writes: Arc::default() };
    let first = Process::start(&api, conf).await.context("starting")?;
    let (calls, writes) = api.so_far();
    eprintln!("start: {calls} calls");
    ensure!(writes == 0 && calls <= 20, "{calls} calls, {writes} writes");

    let addresses = first.converge(&service(80, 2)).await.context("making")?;
    let made = api.so_far();
    eprintln!("made: {} calls, {} writes, {addresses:?}", made.0 - calls, made.1);
    ensure!(addresses.len() == 1, "{addresses:?}");
    // Load balancer, floating IP and its tag, the note before and after.
    ensure!(made.1 <= 5, "{} writes", made.1);

    ensure!(first.converge(&service(80, 2)).await? == addresses);
    ensure!(api.so_far() == made, "calls for nothing: {:?}", api.so_far());

    ensure!(first.converge(&service(80, 1)).await.context("a node less")? == addresses);
    let less = api.so_far();
    eprintln!("a node less: {} calls, {} writes", less.0 - made.0, less.1 - made.1);
    ensure!(less.1 == made.1 + 1, "{} writes", less.1 - made.1);

    // A new process knows by lists that nothing is to be done.
    let second = Process::start(&api, conf).await.context("starting anew")?;
    let before = api.so_far();
    ensure!(second.converge(&service(80, 1)).await? == addresses);
    ensure!(api.so_far() == before, "calls after a restart: {:?}", api.so_far());
    ensure!(second.provider.owned().await?.len() == 1);

    ensure!(second.converge(&service(8000, 1)).await.context("another port")? == addresses);
    let moved = api.so_far();
    eprintln!("another port: {} calls, {} writes", moved.0 - before.0, moved.1 - before.1);
    // What was written is looked at once more, since a hand may have been there in the same second; nothing is to be done, and then it is at rest.
    ensure!(second.provider.audit().await?.len() == 1);
    ensure!(second.converge(&service(8000, 1)).await? == addresses);
    let looked = api.so_far();
    ensure!(looked.1 == moved.1, "{} writes for nothing", looked.1 - moved.1);
    let audited = second.provider.audit().await?;
    ensure!(audited.is_empty(), "it moved by itself: {audited:?}");

    second.converge(&LoadBalancer::unwanted(service(80, 1).key)).await.context("deleting")?;
    let third = Process::start(&api, conf).await.context("starting once more")?;
    let left = third.provider.owned().await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
