//! The engine's numbers: `make bench SUITE=engine`. A bed with 53 nodes (3 full ones, 50 Node objects with heartbeats) and 500 Services of type
//! LoadBalancer; the model cloud as a process of its own with 50 ms per call; default flags. Then the same at scale. I/O.
//!
//! Prints one row per number with its goal, and what Kubernetes' own service controller needs where that was measured on the same kind of
//! machine. Fails if a goal is missed.

#[path = "support/controller.rs"]
mod controller;
#[path = "support/report.rs"]
mod report;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::{Bed, wait};
use controller::{Controller, PATIENCE, Process, http};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use report::{Report, Row};
use serde_json::{Value, json};

/// Milliseconds that each call to the cloud takes.
const LATENCY: &str = "50";
/// How long idleness is measured: the period of the sweep for orphans, the rarest thing that costs something.
const IDLE: Duration = Duration::from_secs(300);

/// The model cloud, over HTTP.
struct Cloud {
    _process: Process,
    url: String,
}

impl Cloud {
    fn start() -> Result<Cloud> {
        let program = Path::new(env!("CARGO_BIN_EXE_causeway")).with_file_name("model-cloud");
        let mut child = Command::new(&program)
            .args(["--listen=127.0.0.1:0", "--latency", LATENCY, "--quota", "load-balancers=100000"])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}: build it with the bench", program.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address =
            line.trim().strip_prefix("listening on ").with_context(|| format!("it said {line:?}"))?;
        let url = format!("http://{address}");
        Ok(Cloud { _process: Process(child), url })
    }

    async fn counts(&self) -> Result<Value> {
        Ok(serde_json::from_str(&http("GET", format!("{}/calls", self.url)).await?)?)
    }

    async fn reset(&self) -> Result<()> {
        http("POST", format!("{}/reset-calls", self.url)).await.map(drop)
    }

    async fn calls(&self, action: &str) -> Result<u64> {
        Ok(self.counts().await?["calls"][action].as_u64().unwrap_or(0))
    }
}

fn start(bed: &Bed, cloud: &Path) -> Result<Controller> {
    let arguments = [
        "--cloud-provider=model".to_owned(),
        "--own-classless".to_owned(),
        format!("--cloud-config={}", cloud.display()),
    ];
    Controller::start(bed, &arguments, &[], &cloud.with_file_name("controller.log"))
}

fn service(name: &str, kind: &str) -> Result<Service> {
    let service = json!({"metadata": {"name": name}, "spec": {
        "type": kind, "selector": {"app": "none"}, "ports": [{"port": 80, "protocol": "TCP"}]}});
    Ok(serde_json::from_value(service)?)
}

async fn create(services: &Api<Service>, prefix: &str, kind: &str, count: usize) -> Result<()> {
    stream::iter(0..count)
        .map(|i| async move {
            match services.create(&PostParams::default(), &service(&format!("{prefix}-{i}"), kind)?).await {
                // The client asks again where an answer was lost.
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                other => anyhow::Ok(other.map(drop)?),
            }
        })
        .buffer_unordered(32)
        .try_collect()
        .await
}

/// Waits until `count` Services of the namespace have an address. By a watch: lists would take the API server's time from the controller.
async fn all_served(services: &Api<Service>, count: usize) -> Result<()> {
    let mut events = std::pin::pin!(watcher(services.clone(), watcher::Config::default()));
    let mut served = BTreeSet::new();
    let all = async {
        while served.len() < count {
            let event = events.next().await.context("the watch ended")??;
            let (service, gone) = match event {
                Event::Apply(service) | Event::InitApply(service) => (service, false),
                Event::Delete(service) => (service, true),
                Event::Init | Event::InitDone => continue,
            };
            let points =
                service.status.and_then(|s| s.load_balancer).and_then(|l| l.ingress).unwrap_or_default();
            let name = service.metadata.name.unwrap_or_default();
            if gone || points.is_empty() {
                served.remove(&name);
            } else {
                served.insert(name);
            }
        }
        anyhow::Ok(())
    };
    let outcome = tokio::time::timeout(PATIENCE * 2, all).await;
    match outcome {
        Ok(outcome) => outcome,
        Err(_) => bail!("{} of {count} Services have an address after {:?}", served.len(), PATIENCE * 2),
    }
}

async fn add_node(nodes: &Api<Node>, name: &str, number: u8) -> Result<()> {
    let node: Node = serde_json::from_value(
        json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}),
    )?;
    nodes.create(&PostParams::default(), &node).await?;
    let status =
        json!({"status": {"addresses": [{"type": "InternalIP", "address": format!("10.99.0.{number}")}]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// Waits until every one of `count` load balancers had a call more; answers how long after `start` (on the cloud's clock) the last came, and how many came in all.
async fn registered(cloud: &Cloud, count: u64, start: u64) -> Result<(Duration, u64)> {
    wait::until("a call for each load balancer", PATIENCE, async || {
        let calls = cloud.calls("RegisterTargets").await?;
        ensure!(calls >= count, "{calls} of {count}");
        Ok(())
    })
    .await?;
    let counts = quiet(cloud).await?;
    let last = counts["last"]["RegisterTargets"].as_u64().context("no time")?;
    Ok((Duration::from_millis(last.saturating_sub(start)), counts["mutations"].as_u64().unwrap_or(0)))
}

/// Waits until nothing was called for longer than node changes are gathered, and answers the counts.
async fn quiet(cloud: &Cloud) -> Result<Value> {
    let window = 7000;
    wait::until("the cloud to be quiet", PATIENCE, async || {
        let counts = cloud.counts().await?;
        let now = counts["now"].as_u64().unwrap_or(0);
        let last = counts["last"]
            .as_object()
            .into_iter()
            .flat_map(|m| m.values())
            .filter_map(Value::as_u64)
            .max()
            .unwrap_or(0);
        ensure!(now.saturating_sub(last) > window, "called {} ms ago", now.saturating_sub(last));
        Ok(counts)
    })
    .await
}

async fn event_count(bed: &Bed) -> Result<usize> {
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(bed.client().await?);
    Ok(events.list_metadata(&ListParams::default().match_any()).await?.items.len())
}

async fn small(report: &mut Report) -> Result<()> {
    let bed = Bed::builder().nodes(3).hollow(50).start().await?;
    let cloud = Cloud::start()?;
    let files = tempfile::tempdir()?;
    let config = files.path().join("cloud");
    std::fs::write(&config, &cloud.url)?;
    let client = bed.client().await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());

    // They wait for their controller, so that the API server's own time for creating them (most of half a minute on a loaded machine) is not
    // taken for ours; the controller's start is.
    let begin = Instant::now();
    create(&services, "web", "LoadBalancer", 500).await?;
    println!(
        "{:<16} (the API server took {:.2} s to create 500 Services)",
        "",
        begin.elapsed().as_secs_f64()
    );
    let begin = Instant::now();
    let mut controller = start(&bed, &config)?;
    all_served(&services, 500).await?;
    report.seconds(
        "create-500",
        "500 new Services, from the controller's start until all have their address",
        begin.elapsed(),
        5.0,
        "100 s",
    );
    controller.settled(500).await?;

    controller.stop().await?;
    let events = event_count(&bed).await?;
    cloud.reset().await?;
    controller = start(&bed, &config)?;
    controller.settled(500).await?;
    let mutations = cloud.counts().await?["mutations"].as_u64().unwrap_or(0);
    let writes = controller.writes().await?;
    let more = event_count(&bed).await?.saturating_sub(events);
    let reached = mutations == 0 && writes == 0.0 && more == 0;
    report.row(
        Row {
            id: "restart-calls",
            what: "restart with nothing changed: cloud mutations, Kubernetes writes",
            values: vec![("mutations", mutations as f64), ("writes", writes + more as f64)],
            unit: "counts",
            goal: "0, 0".to_owned(),
            pass: reached,
        },
        "501, ~1,000",
    );

    controller.stop().await?;
    controller = start(&bed, &config)?;
    // The number is about a Service that comes two seconds after the start.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begin = Instant::now();
    services.create(&PostParams::default(), &service("late", "LoadBalancer")?).await?;
    all_served(&services, 501).await?;
    report.seconds(
        "restart-new",
        "a Service created 2 s after a restart has its address",
        begin.elapsed(),
        1.0,
        "65.8 s",
    );
    controller.settled(501).await?;
    services.delete("late", &kube::api::DeleteParams::default()).await?;
    controller.settled(500).await?;

    cloud.reset().await?;
    let start = cloud.counts().await?["now"].as_u64().unwrap_or(0);
    add_node(&nodes, "added", 1).await?;
    let (took, calls) = registered(&cloud, 500, start).await?;
    report.row(
        Row {
            id: "node-add",
            what: "one node added until the last load balancer; calls for each",
            values: vec![("seconds", took.as_secs_f64()), ("calls", calls as f64 / 500.0)],
            unit: "s, counts",
            goal: "<= 2, 1".to_owned(),
            pass: took.as_secs_f64() <= 2.0 && calls == 500,
        },
        "26.6 s, 1",
    );

    cloud.reset().await?;
    let start = cloud.counts().await?["now"].as_u64().unwrap_or(0);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for i in 0..10 {
        tick.tick().await;
        add_node(&nodes, &format!("added-{i}"), 10 + i).await?;
    }
    let (_, calls) = registered(&cloud, 500, start).await?;
    report.row(
        Row {
            id: "node-add-10",
            what: "ten nodes, one per second: calls in all",
            values: vec![("", calls as f64)],
            unit: "counts",
            goal: "<= 1500".to_owned(),
            pass: calls <= 1500,
        },
        "3,446",
    );

    cloud.reset().await?;
    for round in 0..10 {
        let ready = if round % 2 == 0 { "False" } else { "True" };
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready, "reason": "Flap", "message": "by the bench"}]}});
        nodes.patch_status("added", &PatchParams::default(), &Patch::Strategic(status)).await?;
        let label = json!({"metadata": {"labels": {"example.com/noise": round.to_string()}}});
        nodes.patch("added", &PatchParams::default(), &Patch::Merge(label)).await?;
    }
    let calls = quiet(&cloud).await?["mutations"].as_u64().unwrap_or(0);
    report.row(
        Row {
            id: "node-noise",
            what: "Ready flaps, heartbeats, unrelated labels: calls",
            values: vec![("", calls as f64)],
            unit: "counts",
            goal: "0".to_owned(),
            pass: calls == 0,
        },
        "-",
    );

    let begin = Instant::now();
    let wiped = json!({"status": {"loadBalancer": null}});
    services.patch_status("web-7", &PatchParams::default(), &Patch::Merge(wiped)).await?;
    all_served(&services, 500).await?;
    report.seconds("status-wipe", "status wiped by hand until it is back", begin.elapsed(), 60.0, "never");
    controller.stop().await?;
    bed.down()
}

async fn scale(report: &mut Report) -> Result<()> {
    println!("5,000 nodes, 10,000 Services: filling the cluster takes some ten minutes");
    let bed = Bed::builder().nodes(1).hollow(4999).start().await?;
    let cloud = Cloud::start()?;
    let files = tempfile::tempdir()?;
    let config = files.path().join("cloud");
    std::fs::write(&config, &cloud.url)?;
    let client = bed.client().await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    create(&services, "plain", "ClusterIP", 8000).await?;
    create(&services, "web", "LoadBalancer", 2000).await?;
    let controller = start(&bed, &config)?;
    controller.settled(2000).await?;
    let megabytes = controller.status("VmRSS")? as f64 / 1024.0;
    let megabytes = megabytes * 1.048_576;
    report.row(
        Row {
            id: "scale-rss",
            what: "5,000 nodes, 10,000 Services (2,000 load balancers): memory",
            values: vec![("", megabytes)],
            unit: "MB",
            goal: "<= 100".to_owned(),
            pass: megabytes <= 100.0,
        },
        "695 MB",
    );

    cloud.reset().await?;
    let start = cloud.counts().await?["now"].as_u64().unwrap_or(0);
    add_node(&Api::all(client.clone()), "added", 1).await?;
    let (took, calls) = registered(&cloud, 2000, start).await?;
    // 32 workers, 50 ms per call.
    let cloud_time = 2000.0 / 32.0 * 0.05;
    let goal = 1.0 + cloud_time;
    report.row(
        Row {
            id: "scale-node-add",
            what: "the same, one node added: 1 s and calls at the cloud's rate",
            values: vec![("", took.as_secs_f64())],
            unit: "s",
            goal: format!("<= {goal:.1}"),
            pass: took.as_secs_f64() <= goal && calls == 2000,
        },
        "20.7 s at 0 ms",
    );

    quiet(&cloud).await?;
    println!("  idle for {IDLE:?}, in which everything that is done at times is done once");
    let (cpu, begin) = (controller.cpu()?, Instant::now());
    // A length of time is what is measured over.
    tokio::time::sleep(IDLE).await;
    let share = (controller.cpu()? - cpu).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    report.row(
        Row {
            id: "scale-idle",
            what: "the same, idle with heartbeats of all nodes: CPU of a core",
            values: vec![("", share)],
            unit: "%",
            goal: "< 1".to_owned(),
            pass: share < 1.0,
        },
        "40-50 %",
    );
    controller.stop().await?;
    bed.down()
}

#[tokio::main]
async fn main() -> Result<()> {
    // The one TLS implementation of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let mut report = Report::default();
    if only.is_empty() || only == "small" {
        small(&mut report).await?;
    }
    if only.is_empty() || only == "scale" {
        scale(&mut report).await?;
    }
    report.end("engine")
}
