//! Requests while the application is rolled out anew and nodes go. I/O.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use causeway_bed::{Namespace, wait};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::bench::{Bench, note};
use super::report::Row;
use super::site::{ONE, Site};

/// Requests.
const REQUESTS: usize = 100_000;
/// Requests a second, of both Services together.
const RATE: f64 = 300.0;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds for which a Pod answers on when it is to end: longer than two health checks with policy Local, which come each 10 s.
const PRE_STOP: u64 = 40;
/// Seconds that AWS leaves the connections of a target that goes.
const DELAY: u64 = 60;

/// Pods of which one may be missing, and two Services.
fn application() -> String {
    let pod = json!({"terminationGracePeriodSeconds": PRE_STOP + 20,
        "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "hello"}}}],
        "containers": [{"name": "web", "image": "agnhost:2.53", "args": ["netexec", "--http-port=8080"],
            "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP}}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5}}]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello", "namespace": "default"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "hello"}}, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": {"app": "hello"}}, "spec": pod}}});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "hello", "namespace": "default"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "hello"}}}});
    let service = |name: &str, policy: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default", "annotations": {
            "service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing",
            "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes": format!("deregistration_delay.timeout_seconds={DELAY}")}},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "service.k8s.aws/nlb", "externalTrafficPolicy": policy,
                "selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]}})
    };
    let items = [deployment, budget, service("cluster", "Cluster"), service("local", "Local")];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Asks once, on a connection of its own, as a client would that wants to know which Pod it has: why it failed, if it did.
async fn ask(target: SocketAddr) -> Result<()> {
    let exchange = async {
        let mut stream = TcpStream::connect(target).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let request = format!("GET /hostname HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.context("asking")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.context("reading")?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\n\r\nhello-"), "{answer:?}");
        Ok(())
    };
    tokio::time::timeout(PATIENCE, exchange).await.context("no answer in time")?
}

/// What became of requests so far.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    sent: AtomicU64,
    /// By Service and reason: how many, and when the first and the last was sent, in seconds since the start.
    failed: Mutex<BTreeMap<String, (u64, f64, f64)>>,
}

/// Steady requests to some targets by turns, until they are stopped.
struct Requests {
    tally: Arc<Tally>,
    thread: JoinHandle<Result<()>>,
}

impl Requests {
    fn start(from: &Namespace, targets: [(&'static str, SocketAddr); 2]) -> Result<Requests> {
        let tally = Arc::new(Tally::default());
        let own = Arc::clone(&tally);
        let thread = from.spawn_inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let begin = Instant::now();
                let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / RATE));
                let mut running = tokio::task::JoinSet::new();
                for (name, target) in targets.into_iter().cycle() {
                    if own.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    tick.tick().await;
                    let tally = Arc::clone(&own);
                    running.spawn(async move {
                        let at = begin.elapsed().as_secs_f64();
                        tally.sent.fetch_add(1, Ordering::Relaxed);
                        if let Err(error) = ask(target).await {
                            let mut failed = tally.failed.lock().unwrap_or_else(PoisonError::into_inner);
                            let of_it = failed.entry(format!("{name}: {error:#}")).or_insert((0, at, at));
                            *of_it = (of_it.0 + 1, of_it.1.min(at), of_it.2.max(at));
                        }
                    });
                    while running.try_join_next().is_some() {}
                }
                while running.join_next().await.is_some() {}
                Ok(())
            })
        })?;
        Ok(Requests { tally, thread })
    }

    fn sent(&self) -> u64 {
        self.tally.sent.load(Ordering::Relaxed)
    }

    /// Requests, and how many of them failed.
    fn end(self) -> Result<(u64, u64)> {
        self.tally.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the asking thread panicked"))??;
        let failed = self.tally.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, (count, first, last)) in &*failed {
            note(&format!("{count} failed, sent from {first:.1} to {last:.1} s: {what}"));
        }
        Ok((self.tally.sent.load(Ordering::Relaxed), failed.values().map(|(count, ..)| count).sum()))
    }
}

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let site = Site::start(true).await?;
    let outcome = rollout(&site, bench).await;
    site.end(outcome, bench, true)
}

async fn rollout(site: &Site, bench: &Bench) -> Result<()> {
    let controller = site.controller(&[])?;
    site.bed.apply(&application())?;
    site.bed.kubectl(&["rollout", "status", "deployment/hello", "--timeout=120s"])?;
    let mut targets = [("cluster", None), ("local", None)];
    for (name, target) in &mut targets {
        let host = site.served(name).await?;
        let address = site.aws.address_of(&host).with_context(|| format!("nobody knows {host}"))?;
        *target = Some(SocketAddr::from((address, 80)));
    }
    controller.settled(2).await?;
    wait::until("all targets to be healthy", ONE, async || {
        let states = states(site);
        ensure!(states.iter().filter(|state| *state == "healthy").count() == 6, "{states:?}");
        Ok(())
    })
    .await?;
    let mut known = Vec::new();
    for (name, target) in targets {
        known.push((name, target.context("no address")?));
    }
    // It takes AWS a moment to do what it says.
    site.aws.settled().await?;
    for (name, target) in known.clone() {
        let mut run = 0;
        wait::until(&format!("{name} to answer 30 times in a row"), ONE, async || {
            let asked = site.bed.remote_ns().inside_async(PATIENCE * 2, move || ask(target)).await;
            run = if asked.is_ok() { run + 1 } else { 0 };
            ensure!(run >= 30, "{run} answers, then {asked:?}");
            Ok(())
        })
        .await?;
    }
    let known: [_; 2] = known.try_into().map_err(|_| anyhow!("two Services"))?;
    let requests = Requests::start(&site.bed.remote_ns(), known)?;
    let changed = changes(site).await;
    let wanted = bench.sized(REQUESTS) as u64;
    let during = requests.sent();
    if changed.is_ok() {
        wait::until("all requests to be sent", ONE * 2, async || {
            ensure!(requests.sent() >= wanted, "{}", requests.sent());
            Ok(())
        })
        .await?;
    }
    let (sent, failed) = requests.end()?;
    changed?;
    note(&format!("{sent} requests, {during} of them while something changed"));
    bench.row(
        Row {
            id: "rollout",
            what: "rolling update, 2 nodes drained and cut off: failed of 100,000",
            values: vec![("", failed as f64)],
            unit: "counts",
            goal: "0".to_owned(),
            pass: failed == 0 && sent >= wanted,
        },
        "> 0",
    );
    controller.stop().await
}

/// States of all targets.
fn states(site: &Site) -> Vec<String> {
    let overview = site.aws.cloud().overview();
    let regions = overview.as_array().into_iter().flatten();
    let groups = regions.flat_map(|region| region["targetGroups"].as_array().into_iter().flatten());
    let targets = groups.flat_map(|group| group["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| Some(target["state"].as_str()?.to_owned())).collect()
}

/// A new version of the application; then two nodes go, one after the other, as an autoscaler takes them away.
async fn changes(site: &Site) -> Result<()> {
    let begin = Instant::now();
    let at = |what: &str| note(&format!("{:.0} s: {what}", begin.elapsed().as_secs_f64()));
    // Requests before anything changes.
    tokio::time::sleep(Duration::from_secs(10)).await;
    at("the Deployment is restarted");
    run(site, &["rollout", "restart", "deployment/hello"]).await?;
    run(site, &["rollout", "status", "deployment/hello", "--timeout=180s"]).await?;
    settle(site, 3).await?;
    for node in ["node3", "node2"] {
        at(&format!("{node} is drained"));
        let taint = json!({"spec": {"unschedulable": true, "taints": [
            {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
            {"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]}});
        site.nodes.patch(node, &PatchParams::default(), &Patch::Merge(taint)).await?;
        let tainted = Instant::now();
        run(
            site,
            &["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=240s"],
        )
        .await?;
        settle(site, 3).await?;
        // The delay is AWS's time: the machine may go once it is over.
        tokio::time::sleep_until((tainted + Duration::from_secs(DELAY + 5)).into()).await;
        at(&format!("{node} is gone"));
        site.nodes.delete(node, &DeleteParams::default()).await?;
        site.bed.node_named(node)?.cut_power()?;
        // Longer than health checks and connections of the past would need to notice.
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    at("all is done");
    Ok(())
}

/// Waits until there are so many Pods and no more.
async fn settle(site: &Site, pods: usize) -> Result<()> {
    wait::until_every(Duration::from_secs(1), "the former Pods to be gone", ONE, async || {
        let all = run(site, &["get", "pods", "-l", "app=hello", "--no-headers"]).await?;
        let running = all.lines().filter(|line| line.contains("Running")).count();
        ensure!(running == pods && all.lines().count() == pods, "{all}");
        Ok(())
    })
    .await
}

/// kubectl, without holding up the other part.
async fn run(site: &Site, arguments: &[&str]) -> Result<String> {
    let mut command = site.bed.kubectl_command(arguments)?;
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
