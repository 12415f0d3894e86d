//! The engine over the metal provider and a cluster in memory: the first write is that of the status, and what is given stands nowhere else.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_api::{CloudProvider, Condition, Fence, IngressPoint, IpMode, OwnObject, Permit};
use causeway_metal::Metal;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::fake::FakeCluster;
use crate::engine::metrics::Metrics;
use crate::engine::{Engine, EngineConfig};
use crate::state::index::{Index, Rules};
use crate::state::records::{NodeRecord, ServiceRecord};
use crate::translate::{ClassRules, ClusterHealth};

/// A fence that a test opens.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Permit for Gate {
    fn epoch(&self) -> u64 {
        1
    }
    fn remaining(&self) -> Duration {
        if self.0.load(Ordering::SeqCst) { Duration::MAX } else { Duration::ZERO }
    }
}

type MetalEngine = Arc<Engine<Metal, FakeCluster>>;

/// Starts a controller; it ends with the test.
fn boot(cluster: &FakeCluster, fence: Fence) -> MetalEngine {
    let provider = Arc::new(Metal::default());
    let rules = Rules {
        classes: ClassRules { own_classless: true, ..ClassRules::default() },
        capabilities: provider.capabilities(),
        wants: provider.wants(),
        cluster_health: ClusterHealth::default(),
    };
    let keys = Arc::clone(&provider);
    let index = Index::new(rules, Arc::new(move |member| keys.key(member)));
    let own = causeway_metal::provider::own_kinds().into_iter().map(|kind| kind.kind);
    let kinds = ["Service", "Node", "Namespace"].into_iter().chain(own);
    let engine = Arc::new(Engine::new(
        provider,
        cluster.clone(),
        index,
        kinds.map(str::to_owned),
        EngineConfig::default(),
        Metrics::default(),
    ));
    let (tx, rx) = tokio::sync::mpsc::channel(1024);
    let mut watch = cluster.watch();
    tokio::spawn(async move {
        while let Some(update) = watch.recv().await {
            if tx.send(update).await.is_err() {
                return;
            }
        }
    });
    let feeding = Arc::clone(&engine);
    tokio::spawn(async move { feeding.feed(rx).await });
    let leading = Arc::clone(&engine);
    tokio::spawn(async move { leading.lead(fence, CancellationToken::new()).await });
    engine
}

fn own(kind: &str, name: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, "metallb-system", name, spec)
}

/// A cluster with one pool of four addresses, announced everywhere.
fn cluster() -> FakeCluster {
    let cluster = FakeCluster::default();
    cluster.put_own(own("IPAddressPool", "p", json!({"addresses": ["192.0.2.0/30"]})));
    cluster.put_own(own("L2Advertisement", "all", json!({})));
    cluster
}

fn service(cluster: &FakeCluster, name: &str) {
    let mut service = ServiceRecord::test().named("ns", name).port(80);
    service.cluster_ips = vec![ip("10.96.0.1")];
    cluster.put(service);
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn point(address: &str) -> IngressPoint {
    IngressPoint { ip: Some(ip(address)), ip_mode: Some(IpMode::Vip), ..IngressPoint::default() }
}

fn address(cluster: &FakeCluster, name: &str) -> Option<IpAddr> {
    cluster.get("ns", name)?.ingress.first()?.ip
}

fn condition(cluster: &FakeCluster, name: &str, kind: &str) -> Option<Condition> {
    cluster.get("ns", name)?.conditions.into_iter().find(|c| c.kind == kind)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_late_write_of_a_former_leader_is_known_before_anything_is_given() {
    let cluster = cluster();
    service(&cluster, "waits");
    service(&cluster, "given");
    let gate = Gate::default();
    let engine = boot(&cluster, Fence::new(gate.clone()));
    until("listed", || engine.missing().is_empty()).await;
    // Virtual time, for what must not happen: all that could be done before the gate opens has been done by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(address(&cluster, "waits"), None);
    // The former leader's write arrives: the address that the new one would give to the other.
    cluster.edit("ns", "given", |s| s.ingress = vec![point("192.0.2.1")]);
    gate.0.store(true, Ordering::SeqCst);
    until("an address", || address(&cluster, "waits").is_some()).await;
    assert_eq!(address(&cluster, "waits"), Some(ip("192.0.2.0")));
    assert_eq!(address(&cluster, "given"), Some(ip("192.0.2.1")));
}

#[tokio::test(start_paused = true)]
async fn what_a_former_leader_gave_last_is_known_though_the_watch_lags() {
    let cluster = cluster();
    service(&cluster, "waits");
    service(&cluster, "given");
    let gate = Gate::default();
    let engine = boot(&cluster, Fence::new(gate.clone()));
    until("synced", || engine.missing().is_empty()).await;
    cluster.lag();
    cluster.edit("ns", "given", |s| s.ingress = vec![point("192.0.2.0")]);
    // One that goes meanwhile is not waited for.
    service(&cluster, "gone");
    // The Lease was released: writes may begin at once.
    gate.0.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(address(&cluster, "waits"), None, "what was given is not known yet");
    cluster.delete("ns", "gone");
    cluster.catch_up();
    until("an address", || address(&cluster, "waits").is_some()).await;
    assert_eq!(address(&cluster, "waits"), Some(ip("192.0.2.1")));
    assert_eq!(address(&cluster, "given"), Some(ip("192.0.2.0")));
}

#[tokio::test(start_paused = true)]
async fn counters_that_somebody_edits_are_put_back() {
    let cluster = cluster();
    service(&cluster, "web");
    boot(&cluster, Fence::open());
    let right = json!({"assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 3, "availableIPv6": 0});
    until("counted", || cluster.own_status("p") == right).await;
    cluster.edit_own_status("p", json!({"assignedIPv4": 5}));
    until("put back", || cluster.own_status("p") == right).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_outside_the_pools_makes_nobody_dirty_and_one_inside_is_told_on_the_pool() {
    let cluster = cluster();
    service(&cluster, "web");
    let engine = boot(&cluster, Fence::open());
    until("served", || address(&cluster, "web").is_some()).await;
    let version = || engine.debug_state()["factsVersion"].clone();
    let before = version();
    cluster.put_node(NodeRecord::test("far").address("10.0.0.1"));
    cluster.put_node(NodeRecord::test("near").address("192.0.2.1"));
    until("told", || cluster.reasons("p").contains(&"NodeAddressesInPool".to_owned())).await;
    assert_eq!(version(), json!(before.as_u64().expect("a number") + 1), "one change of two");
    service(&cluster, "next");
    until("served", || address(&cluster, "next").is_some()).await;
    assert_eq!(address(&cluster, "next"), Some(ip("192.0.2.2")));
}

#[tokio::test(start_paused = true)]
async fn the_condition_of_a_conflict_comes_and_goes() {
    const CONFLICT: &str = causeway_metal::names::CONDITION_ADDRESS_CONFLICT;
    let cluster = cluster();
    service(&cluster, "web");
    boot(&cluster, Fence::open());
    until("served", || address(&cluster, "web").is_some()).await;
    let conflict = |address: &str, phase: &str| {
        let spec = json!({"address": address, "mac": "02:00:00:00:00:99", "phase": phase, "node": "n", "interface": "eth0"});
        own("AddressConflict", "one", spec)
    };
    cluster.put_own(conflict("192.0.2.0", "Announced"));
    until("said", || condition(&cluster, "web", CONFLICT).is_some()).await;
    let said = condition(&cluster, "web", CONFLICT).expect("there");
    assert!(said.status && said.message.contains("02:00:00:00:00:99"), "{said:?}");
    assert_eq!(address(&cluster, "web"), Some(ip("192.0.2.0")));
    // It was met before use after all: the Service takes the next address, and has no conflict any more.
    cluster.put_own(conflict("192.0.2.0", "Probe"));
    until("moved", || address(&cluster, "web") == Some(ip("192.0.2.1"))).await;
    until("taken back", || condition(&cluster, "web", CONFLICT).is_none()).await;
    assert!(cluster.reasons("web").contains(&"ClearAssignment".to_owned()));
}
