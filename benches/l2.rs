//! Layer 2's numbers: `make bench SUITE=l2`. A bed with 4 nodes: backends on two, addresses announced from the other two, so that a power cut
//! takes an announcing node and no backend. Everything is measured at a client on the nodes' segment. I/O.
//!
//! Prints one row per number with its goal and what the peers need. Fails if a goal is missed. `BENCH_ONLY=ID,ID` runs some rows only,
//! `BENCH_RUNS=N` power cuts instead of 100.

#[path = "../providers/metal/benches/full16.rs"]
mod full16;
#[path = "support/report.rs"]
mod report;
#[path = "support/requests.rs"]
mod requests;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::process::Memory;
use causeway_bed::{Bed, Signal, metallb, process, wait};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use report::{Report, Row};
use requests::{Requests, ask, first_of_run};
use serde_json::json;

/// Nodes with backends; the others announce.
const BACKENDS: [usize; 2] = [1, 2];
/// Nodes that announce.
const ANNOUNCERS: [usize; 2] = [3, 4];
/// Services for the rows at scale.
const MANY: usize = 1000;
/// Admin port of speakers.
const SPEAKER: u16 = 10268;
/// Admin port of controllers.
const CONTROLLER: u16 = 10258;
/// Longest wait for anything; generous, for the goals judge.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between the requests of one client while power is cut.
const ASK_EVERY: Duration = Duration::from_millis(5);

const CONFIGURATION: &str = r"
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: bench, namespace: metallb-system},
  spec: {addresses: [10.77.100.0-10.77.107.255]}}
---
{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: bench, namespace: metallb-system},
  spec: {nodeSelectors: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node3, node4]}]}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: echo, namespace: default}, spec: {
  replicas: 2, selector: {matchLabels: {app: echo}}, template: {metadata: {labels: {app: echo}}, spec: {
    terminationGracePeriodSeconds: 1,
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080, --udp-port=8081],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
";

fn service(name: &str) -> Result<Service> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
        "type": "LoadBalancer", "selector": {"app": "echo"},
        "ports": [{"port": 80, "protocol": "UDP", "targetPort": 8081}]}}))?)
}

/// The bed with everything in it.
struct Lab {
    bed: Bed,
    services: Api<Service>,
}

impl Lab {
    async fn start() -> Result<Lab> {
        let mut builder = Bed::builder().nodes(BACKENDS.len() + ANNOUNCERS.len()).addresses(MANY + 100);
        for image in support::images()? {
            builder = builder.image(image);
        }
        let bed = builder.start().await?;
        // Neither a backend nor a controller is on a node whose power will be cut; speakers go everywhere.
        for node in ANNOUNCERS {
            bed.kubectl(&["cordon", &format!("node{node}")])?;
        }
        support::deploy(&bed)?;
        // Read while the API server stands still, too.
        for workload in ["daemonset/causeway-speaker", "deployment/causeway"] {
            let more = r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--insecure-metrics"}]"#;
            bed.kubectl(&["-n", "kube-system", "patch", workload, "--type=json", "-p", more])?;
        }
        bed.apply(CONFIGURATION)?;
        support::wait_deployed(&bed)?;
        bed.kubectl(&["rollout", "status", "deployment/echo", "--timeout=90s"])?;
        let services = Api::default_namespaced(bed.client().await?);
        Ok(Lab { bed, services })
    }

    /// Waits for the address of a Service, by a watch, which costs no time.
    async fn address(&self, name: &str) -> Result<SocketAddr> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = std::pin::pin!(watcher(self.services.clone(), config));
        let found = async {
            loop {
                let event = events.next().await.context("the watch ended")??;
                if let Event::Apply(service) | Event::InitApply(service) = event
                    && let Some(address) = support::addresses(&service).first()
                {
                    return anyhow::Ok(SocketAddr::from((*address, 80)));
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.with_context(|| format!("{name} got no address"))?
    }

    /// Waits until an address is answered.
    async fn answered(&self, target: SocketAddr) -> Result<()> {
        wait::until(&format!("an answer from {target}"), PATIENCE, async || {
            let client = self.bed.client_ns();
            let answer = client.inside_async(PATIENCE, move || async move { Ok(ask(target).await) }).await?;
            ensure!(answer.answered.is_some(), "none");
            Ok(())
        })
        .await
    }

    async fn announcer(&self, target: SocketAddr) -> Result<usize> {
        let SocketAddr::V4(v4) = target else { anyhow::bail!("{target} is not IPv4") };
        let address = *v4.ip();
        wait::until(&format!("one node to answer for {address}"), PATIENCE, async || {
            let nodes = support::announcers(&self.bed, address)?;
            match nodes.first() {
                Some(&node) if nodes.len() == 1 => Ok(node),
                _ => anyhow::bail!("{nodes:?} answer"),
            }
        })
        .await
    }

    /// What an admin endpoint of ours on a node says.
    async fn admin(&self, node: usize, port: u16, path: &str) -> Result<String> {
        let address = self.bed.node(node)?.addresses().v4;
        let response = self.bed.client_ns().http_get((address, port), path, None, PATIENCE).await?;
        ensure!(response.status == 200, "{path} of node{node}: {} {}", response.status, response.body);
        Ok(response.body)
    }

    /// A metric, summed over the samples whose labels hold one of `labels`.
    async fn metric(&self, node: usize, port: u16, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.admin(node, port, "/metrics").await?;
        let samples =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let of_name = samples.filter_map(|(key, value)| {
            let (found, of) = key.split_once('{').unwrap_or((key, ""));
            (found == name && labels.iter().any(|label| of.contains(label))).then_some(value)
        });
        of_name.map(|value| Ok(value.parse::<f64>()?)).sum()
    }

    /// Names of the peers that the speaker of a node takes for alive.
    async fn alive(&self, node: usize) -> Result<Vec<String>> {
        let state: serde_json::Value =
            serde_json::from_str(&self.admin(node, SPEAKER, "/debug/state").await?)?;
        let peers = state["peers"].as_array().context("no peers")?;
        let alive = peers.iter().filter(|peer| peer["liveness"] == "alive");
        Ok(alive.filter_map(|peer| peer["node"].as_str().map(str::to_owned)).collect())
    }

    /// Gives the power back and waits until the nodes that announce see each other again.
    async fn restore(&self, node: usize) -> Result<()> {
        self.bed.node(node)?.restore_power()?;
        for other in ANNOUNCERS {
            wait::until(&format!("the speaker of node{other} to see the others"), PATIENCE, async || {
                let alive = self.alive(other).await?;
                ensure!(alive.len() == BACKENDS.len() + ANNOUNCERS.len() - 1, "it sees {alive:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    // Nearest rank.
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn runs() -> usize {
    std::env::var("BENCH_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100)
}

fn wanted(id: &str) -> bool {
    std::env::var("BENCH_ONLY").map_or(true, |only| only.is_empty() || only.split(',').any(|one| one == id))
}

/// Power cuts of whatever node announces the address: seconds until the first of 20 answered requests in a row, sorted.
async fn power_cuts(lab: &Lab, target: SocketAddr, runs: usize) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    for run in 1..=runs {
        let node = lab.announcer(target).await?;
        let requests = Requests::start(&lab.bed.client_ns(), target, ASK_EVERY)?;
        wait::until("requests to be answered", PATIENCE, async || {
            first_of_run(&requests.so_far(), Instant::now() - PATIENCE, 20).context("not yet")
        })
        .await?;
        let cut = lab.bed.node(node)?.cut_power()?;
        let first = wait::until("20 answered requests in a row", PATIENCE, async || {
            first_of_run(&requests.so_far(), cut, 20).context("not yet")
        })
        .await;
        requests.stop()?;
        lab.restore(node).await?;
        took.push((first? - cut).as_secs_f64());
        if run % 10 == 0 {
            println!("  {run} of {runs} power cuts; the last took {:.3} s", took.last().unwrap_or(&0.0));
        }
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn failover_row(id: &'static str, what: &'static str, took: &[f64]) -> Row {
    let (p50, p99) = (percentile(took, 0.5), percentile(took, 0.99));
    Row {
        id,
        what,
        values: vec![("p50", p50), ("p99", p99)],
        unit: "s",
        goal: "p99 < 1".to_owned(),
        pass: p99 < 1.0,
    }
}

async fn first_good(lab: &Lab, report: &mut Report) -> Result<()> {
    let mut took = Vec::new();
    for run in 0..50 {
        let name = format!("first-{run}");
        let begin = Instant::now();
        lab.services.create(&PostParams::default(), &service(&name)?).await?;
        let target = lab.address(&name).await?;
        let requests = Requests::start(&lab.bed.client_ns(), target, ASK_EVERY)?;
        let first = wait::until("an answer", PATIENCE, async || {
            first_of_run(&requests.so_far(), begin, 1).context("not yet")
        })
        .await?;
        requests.stop()?;
        took.push((first - begin).as_secs_f64());
    }
    for run in 0..50 {
        lab.services.delete(&format!("first-{run}"), &kube::api::DeleteParams::default()).await?;
    }
    took.sort_by(f64::total_cmp);
    let (p50, p95) = (percentile(&took, 0.5), percentile(&took, 0.95));
    report.row(
        Row {
            id: "first-good",
            what: "Service created until its first answered request, 50 Services",
            values: vec![("p50", p50), ("p95", p95)],
            unit: "s",
            goal: "p95 < 0.5".to_owned(),
            pass: p95 < 0.5,
        },
        "PureLB 0.58-1.6 s",
    );
    Ok(())
}

/// Requests of a steady 1,000 a second that are lost while the announcing speaker is stopped in good order, five times.
async fn drain(lab: &Lab, target: SocketAddr, report: &mut Report) -> Result<()> {
    let requests = Requests::start(&lab.bed.client_ns(), target, Duration::from_millis(1))?;
    for _ in 0..5 {
        let node = lab.announcer(target).await?;
        lab.bed.kubectl(&[
            "-n",
            "kube-system",
            "delete",
            "pod",
            "-l",
            "app.kubernetes.io/component=speaker",
            "--field-selector",
            &format!("spec.nodeName=node{node}"),
        ])?;
        support::wait_deployed(&lab.bed)?;
        lab.announcer(target).await?;
    }
    let all = requests.stop()?;
    let lost = all.iter().filter(|request| request.answered.is_none()).count();
    let rate = all.len() as f64 / (all[all.len() - 1].sent - all[0].sent).as_secs_f64();
    println!("  {} requests at {rate:.0}/s, {lost} lost", all.len());
    ensure!(rate > 900.0, "this machine sends only {rate:.0} requests a second");
    report.row(
        Row {
            id: "drain",
            what: "speaker stopped five times: lost of 1,000 requests a second",
            values: vec![("", lost as f64)],
            unit: "counts",
            goal: "0".to_owned(),
            pass: lost == 0,
        },
        "?",
    );
    Ok(())
}

async fn create_many(services: &Api<Service>) -> Result<()> {
    stream::iter(0..MANY)
        .map(|i| async move {
            services.create(&PostParams::default(), &service(&format!("many-{i}"))?).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(16)
        .try_collect()
        .await
}

/// Waits until all of them have their address.
async fn many_addresses(services: &Api<Service>) -> Result<Vec<SocketAddr>> {
    wait::until("all Services to have their address", PATIENCE, async || {
        let list = services.list(&ListParams::default()).await?;
        let is_one = |s: &&Service| s.metadata.name.as_deref().is_some_and(|name| name.starts_with("many-"));
        let found: Vec<Ipv4Addr> = list.items.iter().filter(is_one).flat_map(support::addresses).collect();
        ensure!(found.len() == MANY, "{} of {MANY}", found.len());
        Ok(found.into_iter().map(|address| SocketAddr::from((address, 80))).collect())
    })
    .await
}

async fn many(lab: &Lab) -> Result<Vec<SocketAddr>> {
    let begin = Instant::now();
    create_many(&lab.services).await?;
    let targets = many_addresses(&lab.services).await?;
    let (_, left) = all_answered(lab, &targets, PATIENCE).await?;
    ensure!(left.is_empty(), "{} addresses are not answered: {left:?}", left.len());
    println!("  {MANY} Services serve {:.1} s after the first was created", begin.elapsed().as_secs_f64());
    Ok(targets)
}

/// Asks all addresses again and again until each has been answered once; when the last was, and those that were not.
async fn all_answered(
    lab: &Lab,
    targets: &[SocketAddr],
    patience: Duration,
) -> Result<(Instant, Vec<SocketAddr>)> {
    let mut left: Vec<SocketAddr> = targets.to_vec();
    lab.bed
        .client_ns()
        .inside_async(patience + PATIENCE, move || async move {
            let begin = Instant::now();
            let mut last = begin;
            while !left.is_empty() && begin.elapsed() < patience {
                // Each round of requests of 50 ms: a lost one must not be waited for.
                let round = Duration::from_millis(50);
                let asked: Vec<_> = stream::iter(left.clone())
                    .map(|target| async move { (target, tokio::time::timeout(round, ask(target)).await) })
                    .buffer_unordered(MANY)
                    .collect()
                    .await;
                for (target, outcome) in asked {
                    if let Ok(request) = outcome
                        && let Some(at) = request.answered
                    {
                        left.retain(|other| *other != target);
                        last = last.max(at);
                    }
                }
            }
            Ok((last, left))
        })
        .await
}

async fn failover_many(lab: &Lab, targets: &[SocketAddr], report: &mut Report) -> Result<()> {
    let mut worst = 0.0_f64;
    let mut moved = Vec::new();
    for _ in 0..5 {
        let mut by_node = BTreeMap::new();
        for node in ANNOUNCERS {
            by_node
                .insert(lab.metric(node, SPEAKER, "metallb_speaker_announced", &[""]).await? as usize, node);
        }
        let (count, node) = by_node.pop_last().context("nobody announces")?;
        moved.push(count);
        let cut = lab.bed.node(node)?.cut_power()?;
        let outcome = all_answered(lab, targets, PATIENCE).await;
        lab.restore(node).await?;
        let (last, left) = outcome?;
        ensure!(left.is_empty(), "{} addresses are never answered again: {left:?}", left.len());
        worst = worst.max((last - cut).as_secs_f64());
    }
    println!("  addresses on the nodes that died: {moved:?}");
    report.seconds(
        "failover-1000",
        "1,000 Services, the busier node dies, until all are answered; worst of 5",
        Duration::from_secs_f64(worst),
        2.0,
        "?",
    );
    Ok(())
}

/// Writes to the API server by us in a minute at rest, Leases apart.
async fn idle_writes(lab: &Lab, report: &mut Report) -> Result<()> {
    let count = async || -> Result<f64> {
        let mut sum = 0.0;
        // A controller is on each node with backends. A Lease is the only object that is replaced.
        let speakers = BACKENDS.iter().chain(&ANNOUNCERS).map(|node| (*node, SPEAKER));
        for (node, port) in speakers.chain(BACKENDS.map(|node| (node, CONTROLLER))) {
            let writes =
                ["verb=\"create\"", "verb=\"patch\"", "verb=\"delete\"", "verb=\"deletecollection\""];
            sum += lab.metric(node, port, "causeway_kube_requests_total", &writes).await?;
        }
        Ok(sum)
    };
    wait::until("nothing to be written for 5 s", PATIENCE, async || {
        let before = count().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = count().await?;
        ensure!(after == before, "{} writes", after - before);
        Ok(())
    })
    .await?;
    let before = count().await?;
    let begin = Instant::now();
    // A length of time is what is measured over.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let rate = (count().await? - before) / begin.elapsed().as_secs_f64();
    report.row(
        Row {
            id: "idle-writes",
            what: "writes to the API server a second at rest, 1,000 Services",
            values: vec![("", rate)],
            unit: "counts/s",
            goal: "<= 0.1".to_owned(),
            pass: rate <= 0.1,
        },
        "Cilium 200, kube-vip 500, PureLB 50",
    );
    Ok(())
}

/// The allocator alone: sixty-four times the addresses may cost a few steps more for each, not sixty-four times as much.
fn full_16(report: &mut Report) {
    let (small, whole) = (full16::cost(22), full16::cost(16));
    let grown = whole.last / small.last.max(0.1);
    report.row(
        Row {
            id: "full-16",
            what: "an address of a /16: while it fills, the last one, none left",
            values: vec![
                ("fill", whole.fill),
                ("last", whole.last),
                ("none", whole.none),
                ("/22 last", small.last),
            ],
            unit: "us",
            goal: "<= 100, O(log n)".to_owned(),
            pass: whole.fill.max(whole.last).max(whole.none) <= 100.0 && grown <= 8.0,
        },
        "-",
    );
}

/// Memory of the larger speaker, ours and MetalLB's.
async fn speaker_rss(lab: &Lab, theirs: Option<Memory>, report: &mut Report) -> Result<()> {
    let mut speakers = Vec::new();
    for node in ANNOUNCERS {
        for process in lab.bed.node(node)?.program("causeway")? {
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            if line.split('\0').nth(1) == Some("speaker") {
                speakers.push(process::memory(process.pid)?);
            }
        }
    }
    let ours = speakers.into_iter().max_by_key(|memory| memory.anonymous).context("no speaker was found")?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let peer = theirs.map_or("MetalLB: not run".to_owned(), |memory| {
        format!("MetalLB {:.1}, {:.1}", megabytes(memory.anonymous), megabytes(memory.resident))
    });
    report.row(
        Row {
            id: "speaker-rss",
            what: "1,000 Services: memory of the larger speaker, RssAnon and RSS",
            values: vec![("anonymous", megabytes(ours.anonymous)), ("resident", megabytes(ours.resident))],
            unit: "MB",
            goal: "RssAnon <= 12".to_owned(),
            pass: megabytes(ours.anonymous) <= 12.0,
        },
        &peer,
    );
    Ok(())
}

/// The memory of MetalLB's largest speaker with as many Services, in a bed of its own.
async fn metallb_memory() -> Result<Memory> {
    println!("  MetalLB {} with {MANY} Services, for comparison", metallb::VERSION);
    let bed = Bed::builder().nodes(ANNOUNCERS.len()).addresses(MANY + 100).start().await?;
    metallb::deploy(&bed)?;
    metallb::wait_ready(&bed)?;
    bed.apply(CONFIGURATION.split("---").next().unwrap_or_default())?;
    bed.apply("{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: all, namespace: metallb-system}, spec: {}}")?;
    let services = Api::default_namespaced(bed.client().await?);
    create_many(&services).await?;
    many_addresses(&services).await?;
    let mut largest = None::<Memory>;
    for node in bed.nodes() {
        let memory = metallb::speaker_memory(&node)?;
        if largest.as_ref().is_none_or(|largest| memory.anonymous > largest.anonymous) {
            largest = Some(memory);
        }
    }
    bed.down()?;
    largest.context("no speaker of MetalLB was found")
}

/// The speaker's own scenario measures ARP answers beside the kernel's; it prints the row.
fn arp_latency(report: &mut Report) -> Result<()> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["test", "--locked", "--quiet", "--profile", "bench", "--package", "causeway-speaker"])
        .args(["--features", "bed", "--test", "bed"])
        .env("LATENCY", "only")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("running cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let row = row.with_context(|| format!("no row in {text}"))?;
    for line in text.lines().filter(|line| line.starts_with("ARP answer")) {
        println!("  {line}");
    }
    let number = |name: &str| row["value"][name].as_f64().with_context(|| format!("{row}"));
    report.row(
        Row {
            id: "arp-latency",
            what: "ARP answer over the kernel's own, same run",
            values: vec![("p50", number("p50")?), ("p99", number("p99")?)],
            unit: "times",
            goal: "<= 3, <= 6".to_owned(),
            pass: row["pass"] == true,
        },
        "MetalLB: not measured",
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    // The one TLS implementation of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut report = Report::default();
    if wanted("full-16") {
        full_16(&mut report);
    }
    if wanted("arp-latency") {
        arp_latency(&mut report)?;
    }
    let theirs = if wanted("speaker-rss") { Some(metallb_memory().await?) } else { None };
    let lab = Lab::start().await?;
    println!(
        "a bed of 4 nodes is up; addresses are announced from nodes {ANNOUNCERS:?}, backends are on {BACKENDS:?}"
    );
    if wanted("first-good") {
        first_good(&lab, &mut report).await?;
    }
    lab.services.create(&PostParams::default(), &service("one")?).await?;
    let one = lab.address("one").await?;
    lab.answered(one).await?;
    if wanted("drain") {
        drain(&lab, one, &mut report).await?;
    }
    if wanted("failover") {
        println!("  {} power cuts: some five minutes", runs());
        let took = power_cuts(&lab, one, runs()).await?;
        report.row(
            failover_row("failover", "power cut until 20 requests in a row are answered", &took),
            "MetalLB 4-8 s, kube-vip 15 s, Cilium 10-20 s, PureLB 2-3 s",
        );
    }
    if ["failover-1000", "idle-writes", "speaker-rss"].iter().any(|id| wanted(id)) {
        let targets = many(&lab).await?;
        if wanted("idle-writes") {
            idle_writes(&lab, &mut report).await?;
        }
        if wanted("speaker-rss") {
            speaker_rss(&lab, theirs, &mut report).await?;
        }
        if wanted("failover-1000") {
            failover_many(&lab, &targets, &mut report).await?;
        }
    }
    if wanted("failover-no-api") {
        let api = lab.bed.api_server();
        process::send(api.pid()?, Signal::STOP)?;
        let took = power_cuts(&lab, one, runs()).await;
        process::send(api.pid()?, Signal::CONT)?;
        report.row(
            failover_row("failover-no-api", "the same while the API server stands still", &took?),
            "Cilium, kube-vip: never",
        );
    }
    lab.bed.down()?;
    report.end("l2")
}
