//! Layer 2's numbers: `make bench SUITE=l2`. A bed with 4 nodes: backends on two, addresses announced from the other two, so that a power cut
//! takes an announcing node and no backend. Everything is measured at a client on the nodes' segment. I/O.
//!
//! Prints one row per number with its goal and what the peers need. Fails if a goal is missed. `BENCH_ONLY=ID,ID` runs some rows only,
//! `BENCH_RUNS=N` power cuts instead of 100.

#[path = "../providers/metal/speaker/tests/bed/arp_asker.rs"]
mod arp_asker;
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
use arp_asker::Asker;
use causeway_bed::process::Memory;
use causeway_bed::{Bed, Signal, metallb, process, wait};
use causeway_speaker::l2::MacAddr;
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
/// Longer than kube-proxy's default time between two syncs.
const PROXY_REST: Duration = Duration::from_millis(1200);
/// ARP requests for each of the addresses that are compared.
const ARP_REQUESTS: usize = 20_000;
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
    /// The shortest time between two syncs of kube-proxy is given, or kube-proxy's default.
    async fn start(proxy_min_sync: Option<Duration>) -> Result<Lab> {
        let mut builder = Bed::builder().nodes(BACKENDS.len() + ANNOUNCERS.len()).addresses(MANY + 100);
        if let Some(period) = proxy_min_sync {
            builder = builder.proxy_min_sync(period);
        }
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

    /// Asks by ARP until it is answered; how long that took.
    async fn arp_answered(&self, target: SocketAddr) -> Result<Duration> {
        let (client, address) = (Client::of(&self.bed)?, v4(target)?);
        let begin = Instant::now();
        let asked = move || async move {
            let mut asker = client.asker()?;
            while asker.ask(address).await?.is_none() {}
            Ok(begin.elapsed())
        };
        self.bed.client_ns().inside_async(PATIENCE, asked).await
    }

    async fn announcer(&self, target: SocketAddr) -> Result<usize> {
        let address = v4(target)?;
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

fn v4(target: SocketAddr) -> Result<Ipv4Addr> {
    match target {
        SocketAddr::V4(v4) => Ok(*v4.ip()),
        SocketAddr::V6(_) => anyhow::bail!("{target} is not IPv4"),
    }
}

/// The client's interface on the nodes' segment.
#[derive(Clone, Copy)]
struct Client {
    index: u32,
    mac: MacAddr,
}

impl Client {
    fn of(bed: &Bed) -> Result<Client> {
        let shown = bed.client_ns().run(&["ip", "-j", "link", "show", "dev", "eth0"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let index = shown[0]["ifindex"].as_u64().context("no index")?.try_into()?;
        let mac = shown[0]["address"].as_str().and_then(|mac| mac.parse().ok()).context("no MAC address")?;
        Ok(Client { index, mac })
    }

    /// Inside the client's namespace.
    fn asker(self) -> Result<Asker> {
        Asker::new(self.index, self.mac, causeway_bed::addresses::CLIENT).context("a packet socket")
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

/// Seconds from the creation of 50 Services, one after another, until each has its address in its status, until ARP for it is answered, and until its first answered request; each
/// list sorted.
struct FirstGood {
    address: Vec<f64>,
    arp: Vec<f64>,
    request: Vec<f64>,
}

async fn first_good(lab: &Lab) -> Result<FirstGood> {
    let mut took = FirstGood { address: Vec::new(), arp: Vec::new(), request: Vec::new() };
    for run in 0..50 {
        let name = format!("first-{run}");
        let begin = Instant::now();
        lab.services.create(&PostParams::default(), &service(&name)?).await?;
        let target = lab.address(&name).await?;
        took.address.push(begin.elapsed().as_secs_f64());
        let requests = Requests::start(&lab.bed.client_ns(), target, ASK_EVERY)?;
        took.arp.push(begin.elapsed().as_secs_f64() + lab.arp_answered(target).await?.as_secs_f64());
        let first = wait::until("an answer", PATIENCE, async || {
            first_of_run(&requests.so_far(), begin, 1).context("not yet")
        })
        .await?;
        requests.stop()?;
        took.request.push((first - begin).as_secs_f64());
        // The next one finds kube-proxy at rest, as a Service does that is created by itself.
        let at_rest = Instant::now() + PROXY_REST;
        tokio::time::sleep_until(at_rest.into()).await;
    }
    for run in 0..50 {
        lab.services.delete(&format!("first-{run}"), &kube::api::DeleteParams::default()).await?;
    }
    for list in [&mut took.address, &mut took.arp, &mut took.request] {
        list.sort_by(f64::total_cmp);
    }
    Ok(took)
}

impl FirstGood {
    fn values(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("p50", percentile(&self.request, 0.5)),
            ("p95", percentile(&self.request, 0.95)),
            ("address p95", percentile(&self.address, 0.95)),
            ("ARP p95", percentile(&self.arp, 0.95)),
        ]
    }
}

/// Twice: with a kube-proxy that may sync as often as it likes, and with its default, by which a Service and its endpoints, which come within a second of
/// each other, take two syncs a second apart, whatever a load balancer does.
async fn first_good_rows(lab: &Lab, report: &mut Report) -> Result<()> {
    let eager = Lab::start(Some(Duration::from_millis(10))).await?;
    let took = first_good(&eager).await?;
    eager.bed.down()?;
    let pass = percentile(&took.request, 0.95) < 0.5;
    report.row(
        Row {
            id: "first-good",
            what: "Service created until its first answered request, kube-proxy's minSyncPeriod 10 ms",
            values: took.values(),
            unit: "s",
            goal: "p95 < 0.5".to_owned(),
            pass,
        },
        "PureLB 0.58-1.6 s",
    );
    let took = first_good(lab).await?;
    let pass = percentile(&took.arp, 0.95) < 0.5;
    report.row(
        Row {
            id: "first-good-1s",
            what: "the same with kube-proxy's default minSyncPeriod of 1 s",
            values: took.values(),
            unit: "s",
            goal: "ARP p95 < 0.5".to_owned(),
            pass,
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
async fn speaker_rss(lab: &Lab, theirs: Option<&Theirs>, report: &mut Report) -> Result<()> {
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
    let peer = theirs.map_or("MetalLB: not run".to_owned(), |theirs| {
        format!("MetalLB {:.1}, {:.1}", megabytes(theirs.memory.anonymous), megabytes(theirs.memory.resident))
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

/// What MetalLB needs with as many Services, in a bed of its own.
struct Theirs {
    /// Its largest speaker's.
    memory: Memory,
    arp: ArpTimes,
}

async fn metallb() -> Result<Theirs> {
    println!("  MetalLB {} with {MANY} Services, for comparison", metallb::VERSION);
    let bed = Bed::builder().nodes(ANNOUNCERS.len()).addresses(MANY + 100).start().await?;
    metallb::deploy(&bed)?;
    metallb::wait_ready(&bed)?;
    bed.apply(CONFIGURATION.split("---").next().unwrap_or_default())?;
    bed.apply("{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: all, namespace: metallb-system}, spec: {}}")?;
    // It announces nothing that nobody serves.
    bed.apply(CONFIGURATION.rsplit("---").next().unwrap_or_default())?;
    bed.kubectl(&["rollout", "status", "deployment/echo", "--timeout=90s"])?;
    let services = Api::default_namespaced(bed.client().await?);
    create_many(&services).await?;
    let targets = many_addresses(&services).await?;
    let address = v4(targets[0])?;
    let node = wait::until("one node of MetalLB's to answer", PATIENCE, async || {
        let nodes = support::announcers(&bed, address)?;
        nodes.first().copied().filter(|_| nodes.len() == 1).with_context(|| format!("{nodes:?} answer"))
    })
    .await?;
    let arp = arp_times(&bed, node, address).await?;
    let mut largest = None::<Memory>;
    for node in bed.nodes() {
        let memory = metallb::speaker_memory(&node)?;
        if largest.as_ref().is_none_or(|largest| memory.anonymous > largest.anonymous) {
            largest = Some(memory);
        }
    }
    bed.down()?;
    Ok(Theirs { memory: largest.context("no speaker of MetalLB was found")?, arp })
}

/// How much longer a speaker's answers took than those of the kernel of the same node.
struct ArpTimes {
    p50: f64,
    p99: f64,
}

/// Asks for an address that a node announces and for that node's own in turn, so that both meet the same conditions.
async fn arp_times(bed: &Bed, node: usize, announced: Ipv4Addr) -> Result<ArpTimes> {
    let (client, own) = (Client::of(bed)?, bed.node(node)?.addresses().v4);
    let asked = move || async move {
        let mut asker = client.asker()?;
        let mut times = [(own, Vec::new()), (announced, Vec::new())];
        for _ in 0..ARP_REQUESTS {
            for (target, times) in &mut times {
                times.extend(asker.ask(*target).await?.map(|(_, time)| time.as_secs_f64() * 1e6));
            }
        }
        Ok(times.map(|(_, times)| times))
    };
    let times = bed.client_ns().inside_async(PATIENCE, asked).await?;
    let [kernel, speaker] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        (percentile(&times, 0.5), percentile(&times, 0.99), ARP_REQUESTS - times.len())
    });
    for (who, (p50, p99, lost)) in [("kernel", kernel), ("speaker", speaker)] {
        println!(
            "  ARP answer of the {who}: p50 {p50:.1} us, p99 {p99:.1} us, {lost} of {ARP_REQUESTS} lost"
        );
    }
    Ok(ArpTimes { p50: speaker.0 / kernel.0, p99: speaker.1 / kernel.1 })
}

/// ARP answers of ours with 1,000 Services, beside the kernel's own in the same run.
async fn arp_latency(
    lab: &Lab,
    target: SocketAddr,
    theirs: Option<&Theirs>,
    report: &mut Report,
) -> Result<()> {
    let node = lab.announcer(target).await?;
    let ours = arp_times(&lab.bed, node, v4(target)?).await?;
    let peer = theirs.map_or("MetalLB: not run".to_owned(), |theirs| {
        format!("MetalLB p50 {:.2}, p99 {:.2}", theirs.arp.p50, theirs.arp.p99)
    });
    report.row(
        Row {
            id: "arp-latency",
            what: "1,000 Services: ARP answer over the kernel's own, same run",
            values: vec![("p50", ours.p50), ("p99", ours.p99)],
            unit: "times",
            goal: "<= 3, <= 6".to_owned(),
            pass: ours.p50 <= 3.0 && ours.p99 <= 6.0,
        },
        &peer,
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
    let compared = ["speaker-rss", "arp-latency"].iter().any(|id| wanted(id));
    let theirs = if compared { Some(metallb().await?) } else { None };
    let lab = Lab::start(None).await?;
    println!(
        "a bed of 4 nodes is up; addresses are announced from nodes {ANNOUNCERS:?}, backends are on {BACKENDS:?}"
    );
    if wanted("first-good") {
        first_good_rows(&lab, &mut report).await?;
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
    if compared || ["failover-1000", "idle-writes"].iter().any(|id| wanted(id)) {
        let targets = many(&lab).await?;
        if wanted("arp-latency") {
            arp_latency(&lab, targets[0], theirs.as_ref(), &mut report).await?;
        }
        if wanted("idle-writes") {
            idle_writes(&lab, &mut report).await?;
        }
        if wanted("speaker-rss") {
            speaker_rss(&lab, theirs.as_ref(), &mut report).await?;
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
