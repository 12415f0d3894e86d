//! BGP's numbers: `make bench SUITE=bgp`. A bed with 3 nodes behind a real FRR, whose kernel table says when a route has come or gone. I/O.
//!
//! Prints one row per number with its goal and what the peers need. Fails if a goal is missed. `BENCH_ONLY=ID,ID` runs some rows only.

#[path = "support/report.rs"]
mod report;
#[path = "support/requests.rs"]
mod requests;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::process::Memory;
use causeway_bed::router::{Bfd, Kind, Router, RouterConfig, Session};
use causeway_bed::{Bed, Namespace, Signal, addresses, process, wait};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use report::{Report, Row};
use requests::Requests;
use serde_json::{Value, json};

/// Nodes of the bed; all of them announce.
const NODES: usize = 3;
/// Services for the rows at scale.
const MANY: usize = 1000;
/// The router's AS, and the nodes'.
const TOR: u32 = 64500;
const OURS: u32 = 64501;
/// Admin port of speakers.
const SPEAKER: u16 = 10268;
/// Longest wait for anything; generous, for the goals judge.
const PATIENCE: Duration = Duration::from_secs(120);
/// Runs of what is over quickly.
const RUNS: usize = 30;
/// Power cuts for each BFD profile.
const CUTS: usize = 5;

const CONFIGURATION: &str = r"
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: bench, namespace: metallb-system},
  spec: {addresses: [203.0.0.0/21]}}
---
{apiVersion: metallb.io/v1beta1, kind: BGPAdvertisement, metadata: {name: bench, namespace: metallb-system}, spec: {}}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: echo, namespace: default}, spec: {
  selector: {matchLabels: {app: echo}}, template: {metadata: {labels: {app: echo}}, spec: {
    terminationGracePeriodSeconds: 1,
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080, --udp-port=8081],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
";

fn service(name: &str) -> Result<Service> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
        "type": "LoadBalancer", "selector": {"app": "echo"},
        "ports": [{"port": 80, "protocol": "UDP", "targetPort": 8081}]}}))?)
}

fn wanted(id: &str) -> bool {
    std::env::var("BENCH_ONLY").map_or(true, |only| only.is_empty() || only.split(',').any(|one| one == id))
}

/// What the kernel says of routes to single addresses, as it says it: `ip monitor route`.
struct Monitor {
    child: Child,
    seen: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Monitor {
    fn start(namespace: &Namespace) -> Result<Monitor> {
        let mut child = namespace
            .command()
            .args(["stdbuf", "-oL", "ip", "-o", "monitor", "route"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("ip monitor")?;
        let output = child.stdout.take().context("no output")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                collected.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), line));
            }
        });
        Ok(Monitor { child, seen })
    }

    /// When each address was routed first after `since`.
    fn routed(&self, since: Instant) -> BTreeMap<String, Instant> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = BTreeMap::new();
        for (at, line) in seen.iter().filter(|(at, line)| *at >= since && !line.starts_with("Deleted")) {
            if let Some(prefix) = line.split_whitespace().next() {
                first.entry(prefix.to_owned()).or_insert(*at);
            }
        }
        first
    }

    /// Whether the route to an address was taken away after `since`.
    fn withdrawn(&self, since: Instant, address: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().any(|(at, line)| {
            *at >= since
                && line
                    .strip_prefix("Deleted ")
                    .is_some_and(|route| route.split_whitespace().next() == Some(address))
        })
    }

    /// When a route was last said anew after `since` without this next hop.
    fn rid_of(&self, since: Instant, address: &str, next_hop: IpAddr) -> Option<Instant> {
        let hop = format!("via {next_hop} ");
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .find(|(at, line)| {
                *at >= since
                    && !line.starts_with("Deleted")
                    && line.split_whitespace().next() == Some(address)
                    && !line.contains(&hop)
            })
            .map(|(at, _)| *at)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = process::kill_tree(i32::try_from(self.child.id()).unwrap_or(0));
        let _ = self.child.wait();
    }
}

struct Lab {
    bed: Bed,
    services: Api<Service>,
    router: Router,
    monitor: Monitor,
}

impl Lab {
    async fn start() -> Result<Lab> {
        let mut builder = Bed::builder().nodes(NODES).addresses(MANY + 100);
        for image in support::images()? {
            builder = builder.image(image);
        }
        let bed = builder.start().await?;
        let router = Router::start(&bed.router_ns(), Kind::Frr, RouterConfig::top_of_rack(TOR)).await?;
        let monitor = Monitor::start(&bed.router_ns())?;
        support::deploy(&bed)?;
        let more = r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--insecure-metrics"}]"#;
        bed.kubectl(&[
            "-n",
            "kube-system",
            "patch",
            "daemonset/causeway-speaker",
            "--type=json",
            "-p",
            more,
        ])?;
        bed.apply(CONFIGURATION)?;
        support::wait_deployed(&bed)?;
        bed.kubectl(&["rollout", "status", "daemonset/echo", "--timeout=90s"])?;
        let services = Api::default_namespaced(bed.client().await?);
        let lab = Lab { bed, services, router, monitor };
        lab.peer("tor", &json!({}))?;
        lab.established().await?;
        Ok(lab)
    }

    fn peer(&self, name: &str, spec: &Value) -> Result<()> {
        let mut all = json!({"myASN": OURS, "peerASN": TOR, "peerAddress": addresses::ROUTER.to_string()});
        for (key, value) in spec.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let object = json!({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer",
            "metadata": {"name": name, "namespace": "metallb-system"}, "spec": all});
        self.bed.apply(&object.to_string()).map(drop)
    }

    /// Another peer in place of the one that is there: graceful restart cannot be changed.
    async fn repeer(&self, spec: &Value) -> Result<()> {
        self.bed.kubectl(&["-n", "metallb-system", "delete", "bgppeer", "tor"])?;
        self.peer("tor", spec)?;
        self.established().await
    }

    fn node(&self, number: usize) -> Result<IpAddr> {
        Ok(self.bed.node(number)?.addresses().v4.into())
    }

    async fn established(&self) -> Result<()> {
        for node in 1..=NODES {
            self.router.wait_established(self.node(node)?, PATIENCE).await?;
        }
        Ok(())
    }

    async fn session(&self, node: usize) -> Result<Session> {
        self.router.session(self.node(node)?)
    }

    /// Waits until an address is routed over all nodes.
    async fn routed_over_all(&self, address: &str) -> Result<()> {
        let hops = (1..=NODES).map(|node| self.node(node)).collect::<Result<Vec<_>>>()?;
        self.router.wait_gateways(format!("{address}/32").parse()?, hops, PATIENCE).await.map(drop)
    }

    async fn debug_state(&self, node: usize) -> Result<Value> {
        let address = self.bed.node(node)?.addresses().v4;
        let response =
            self.bed.client_ns().http_get((address, SPEAKER), "/debug/state", None, PATIENCE).await?;
        ensure!(response.status == 200, "{}", response.body);
        Ok(serde_json::from_str(&response.body)?)
    }

    /// The addresses of all Services whose name begins so, once they have one, and when the last came.
    async fn addresses(&self, prefix: &str, count: usize) -> Result<(Vec<String>, Instant)> {
        let mut events = std::pin::pin!(watcher(self.services.clone(), watcher::Config::default()));
        let mut found = BTreeMap::new();
        let all = async {
            while found.len() < count {
                let event = events.next().await.context("the watch ended")??;
                if let Event::Apply(service) | Event::InitApply(service) = event
                    && let Some(name) = service.metadata.name.clone().filter(|name| name.starts_with(prefix))
                    && let Some(address) = support::addresses(&service).first()
                {
                    found.insert(name, address.to_string());
                }
            }
            anyhow::Ok(Instant::now())
        };
        let last = tokio::time::timeout(PATIENCE, all).await;
        let last = last.with_context(|| format!("{} of {count} have an address", found.len()))??;
        Ok((found.into_values().collect(), last))
    }
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    // Nearest rank.
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

async fn route(lab: &Lab, report: &mut Report) -> Result<()> {
    let mut took = Vec::new();
    for run in 0..RUNS {
        let name = format!("route-{run}");
        let begin = Instant::now();
        lab.services.create(&PostParams::default(), &service(&name)?).await?;
        let (addresses, _) = lab.addresses(&name, 1).await?;
        let at = wait::until("the route", PATIENCE, async || {
            let routed = lab.monitor.routed(begin);
            routed
                .get(&addresses[0])
                .copied()
                .with_context(|| format!("{} is not among {routed:?}", addresses[0]))
        })
        .await?;
        took.push((at - begin).as_secs_f64());
        let end = Instant::now();
        lab.services.delete(&name, &DeleteParams::default()).await?;
        // Else the next one may get its address before the route is withdrawn, and there is nothing new to be seen.
        wait::until("the route to be withdrawn", PATIENCE, async || {
            ensure!(lab.monitor.withdrawn(end, &addresses[0]), "{} is still routed", addresses[0]);
            Ok(())
        })
        .await?;
    }
    took.sort_by(f64::total_cmp);
    let (p50, p95) = (percentile(&took, 0.5), percentile(&took, 0.95));
    report.row(
        Row {
            id: "route",
            what: "Service created until FRR has its route in the kernel, 30 Services",
            values: vec![("p50", p50), ("p95", p95)],
            unit: "s",
            goal: "p95 < 0.1".to_owned(),
            pass: p95 < 0.1,
        },
        "MetalLB with frr-k8s 5.6 s",
    );
    Ok(())
}

async fn route_many(lab: &Lab, report: &mut Report) -> Result<Vec<String>> {
    let begin = Instant::now();
    let create = async {
        stream::iter(0..MANY)
            .map(|i| async move {
                match lab.services.create(&PostParams::default(), &service(&format!("many-{i}"))?).await {
                    // The client asks again where an answer was lost.
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    other => anyhow::Ok(other.map(drop)?),
                }
            })
            .buffer_unordered(16)
            .try_collect::<()>()
            .await
    };
    let (created, given) = tokio::join!(create, lab.addresses("many-", MANY));
    created?;
    let (addresses, last) = given?;
    let at = wait::until("all routes", PATIENCE, async || {
        let routed = lab.monitor.routed(begin);
        let missing = addresses.iter().filter(|address| !routed.contains_key(*address)).count();
        ensure!(missing == 0, "{missing} are missing");
        routed.values().max().copied().context("none")
    })
    .await?;
    report.seconds(
        "route-1000",
        "1,000 Services at once: the last route after the last address",
        at.saturating_duration_since(last),
        1.0,
        "?",
    );
    Ok(addresses)
}

/// The time without a word after which a silent router is given up, and what was agreed upon.
async fn hold(lab: &Lab, report: &mut Report) -> Result<()> {
    const HOLD: f64 = 9.0;
    lab.repeer(&json!({"holdTime": "9s", "keepaliveTime": "3s"})).await?;
    let speaker = lab.router.speaker();
    process::send(speaker.pid()?, Signal::STOP)?;
    let silent = async {
        let state = lab.debug_state(1).await?;
        let left =
            state["bgp"]["peers"][0]["holdLeftMs"].as_f64().with_context(|| format!("{}", state["bgp"]))?;
        let asked = Instant::now();
        let dropped = wait::until("the session to be given up", PATIENCE, async || {
            let state = lab.debug_state(1).await?;
            ensure!(state["bgp"]["peers"][0]["state"] != "established", "it stands");
            Ok(Instant::now())
        })
        .await?;
        anyhow::Ok(HOLD - left / 1000.0 + (dropped - asked).as_secs_f64())
    }
    .await;
    process::send(speaker.pid()?, Signal::CONT)?;
    let silent = silent?;
    report.row(
        Row {
            id: "hold",
            what: "silent router given up, with a hold time of 9 s",
            values: vec![("", silent)],
            unit: "s",
            goal: "9 +- 1".to_owned(),
            pass: (silent - HOLD).abs() <= 1.0,
        },
        "MetalLB native ~15 min",
    );
    lab.repeer(&json!({})).await
}

async fn bfd(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let name = "watched";
    lab.services.create(&PostParams::default(), &service(name)?).await?;
    let address = lab.addresses(name, 1).await?.0.swap_remove(0);
    let mut worst = Vec::new();
    for interval in [300, 50] {
        let profile = json!({"apiVersion": "metallb.io/v1beta1", "kind": "BFDProfile",
            "metadata": {"name": "bench", "namespace": "metallb-system"},
            "spec": {"receiveInterval": interval, "transmitInterval": interval, "detectMultiplier": 3}});
        lab.bed.apply(&profile.to_string())?;
        let timers = Bfd::every(interval);
        lab.router.reconfigure(RouterConfig::top_of_rack(TOR).every(|n| n.bfd(timers))).await?;
        lab.repeer(&json!({"bfdProfile": "bench"})).await?;
        let mut took = 0.0_f64;
        for _ in 0..CUTS {
            lab.routed_over_all(&address).await?;
            wait::until("BFD to be up with every node", PATIENCE, async || {
                let up = lab.router.bfd_sessions()?.iter().filter(|session| session.up).count();
                ensure!(up == NODES, "{up}");
                Ok(())
            })
            .await?;
            let node = lab.bed.node(NODES)?;
            let gone = node.addresses().v4.into();
            let cut = node.cut_power()?;
            let at = wait::until("the router to give the node up", PATIENCE, async || {
                lab.monitor.rid_of(cut, &address, gone).context("not yet")
            })
            .await;
            node.restore_power()?;
            took = took.max((at? - cut).as_secs_f64());
        }
        worst.push(took);
    }
    report.row(
        Row {
            id: "bfd",
            what: "power cut until the next hop is gone from the router; worst of 5: 300 ms x 3, 50 ms x 3",
            values: vec![("300", worst[0]), ("50", worst[1])],
            unit: "s",
            goal: "<= 1, <= 0.3".to_owned(),
            pass: worst[0] <= 1.0 && worst[1] <= 0.3,
        },
        "FRR's own bfdd",
    );
    lab.routed_over_all(&address).await?;
    lab.services.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// With BFD and graceful restart on both peers.
async fn rss(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let timers = Bfd::default();
    let config = RouterConfig::top_of_rack(TOR).every(|n| n.bfd(timers));
    lab.router.reconfigure(config).await?;
    let second = RouterConfig { router_id: addresses::ROUTER_2, ..RouterConfig::top_of_rack(TOR) };
    let second = second.every(|n| n.bfd(timers));
    let second = Router::start(&lab.bed.second_router_ns()?, Kind::Frr, second).await?;
    let spec = json!({"bfdProfile": "bench", "enableGracefulRestart": true});
    lab.bed.apply(
        &json!({"apiVersion": "metallb.io/v1beta1", "kind": "BFDProfile",
        "metadata": {"name": "bench", "namespace": "metallb-system"}, "spec": {}})
        .to_string(),
    )?;
    lab.repeer(&spec).await?;
    let mut other = spec;
    other["peerAddress"] = json!(addresses::ROUTER_2.to_string());
    lab.peer("second", &other)?;
    for node in 1..=NODES {
        second.wait_established(lab.node(node)?, PATIENCE).await?;
    }
    wait::until("1,000 routes at both", PATIENCE, async || {
        for router in [&lab.router, &second] {
            let routes = router.routes()?.values().filter(|paths| paths.len() == NODES).count();
            ensure!(routes >= MANY, "{routes}");
        }
        Ok(())
    })
    .await?;
    let mut largest = None::<Memory>;
    for node in lab.bed.nodes() {
        for found in node.program("causeway")? {
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", found.pid)).unwrap_or_default();
            if line.split('\0').nth(1) == Some("speaker") {
                let memory = process::memory(found.pid)?;
                if largest.as_ref().is_none_or(|largest| memory.anonymous > largest.anonymous) {
                    largest = Some(memory);
                }
            }
        }
    }
    let ours = largest.context("no speaker was found")?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    report.row(
        Row {
            id: "rss",
            what: "1,000 prefixes, 2 peers, BFD, graceful restart: the largest speaker, RssAnon and RSS",
            values: vec![("anonymous", megabytes(ours.anonymous)), ("resident", megabytes(ours.resident))],
            unit: "MB",
            goal: "RssAnon <= 12".to_owned(),
            pass: megabytes(ours.anonymous) <= 12.0,
        },
        "FRR's daemons 73, BIRD 4.9",
    );
    lab.bed.kubectl(&["-n", "metallb-system", "delete", "bgppeer", "second"])?;
    second.stop(Signal::TERM)?;
    lab.router.reconfigure(RouterConfig::top_of_rack(TOR)).await?;
    lab.repeer(&json!({})).await
}

/// Ten changes a second of one Service for a minute.
async fn churn(lab: &Lab, report: &mut Report) -> Result<()> {
    lab.services.create(&PostParams::default(), &service("churn")?).await?;
    let address = lab.addresses("churn", 1).await?.0.swap_remove(0);
    lab.routed_over_all(&address).await?;
    let mut before = Vec::new();
    for node in 1..=NODES {
        before.push(lab.session(node).await?.established);
    }
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for round in 0..600 {
        pace.tick().await;
        // The type changes, so that the address is given back and taken again.
        let kind = if round % 2 == 0 { "ClusterIP" } else { "LoadBalancer" };
        let patch = json!({"spec": {"type": kind}});
        lab.services.patch("churn", &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    let address = lab.addresses("churn", 1).await?.0.swap_remove(0);
    lab.routed_over_all(&address).await?;
    let mut resets = 0;
    for (node, before) in (1..=NODES).zip(before) {
        let after = lab.session(node).await?.established;
        resets += after.unwrap_or(0).saturating_sub(before.unwrap_or(0));
    }
    lab.services.delete("churn", &DeleteParams::default()).await?;
    report.row(
        Row {
            id: "churn",
            what: "10 changes a second of a Service for a minute: sessions that were reset",
            values: vec![("", resets as f64)],
            unit: "counts",
            goal: "0".to_owned(),
            pass: resets == 0,
        },
        "FRR reload resets",
    );
    Ok(())
}

async fn gr(lab: &Lab, report: &mut Report) -> Result<()> {
    lab.repeer(&json!({"enableGracefulRestart": true})).await?;
    lab.services.create(&PostParams::default(), &service("graceful")?).await?;
    let address = lab.addresses("graceful", 1).await?.0.swap_remove(0);
    lab.routed_over_all(&address).await?;
    let target = SocketAddr::new(address.parse()?, 80);
    let remote = lab.bed.remote_ns();
    wait::until("an answer", PATIENCE, async || {
        let answer =
            remote.inside_async(PATIENCE, move || async move { Ok(requests::ask(target).await) }).await?;
        ensure!(answer.answered.is_some(), "none");
        Ok(())
    })
    .await?;
    let requests = Requests::start(&remote, target, Duration::from_millis(1))?;
    for node in 1..=NODES {
        let before = lab.session(node).await?.established;
        for found in lab.bed.node(node)?.program("causeway")? {
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", found.pid)).unwrap_or_default();
            if line.split('\0').nth(1) == Some("speaker") {
                process::send(found.pid, Signal::KILL)?;
            }
        }
        lab.router
            .wait_session(lab.node(node)?, "to be established anew", PATIENCE, |session| {
                session.is_established() && session.established > before
            })
            .await?;
        lab.routed_over_all(&address).await?;
    }
    let all = requests.stop()?;
    let lost = all.iter().filter(|request| request.answered.is_none()).count();
    let rate = all.len() as f64 / (all[all.len() - 1].sent - all[0].sent).as_secs_f64();
    println!("  {} requests at {rate:.0}/s, {lost} lost", all.len());
    ensure!(rate > 900.0, "this machine sends only {rate:.0} requests a second");
    lab.services.delete("graceful", &DeleteParams::default()).await?;
    report.row(
        Row {
            id: "gr",
            what: "three speakers killed one by one, graceful restart: lost of 1,000 requests a second",
            values: vec![("", lost as f64)],
            unit: "counts",
            goal: "0".to_owned(),
            pass: lost == 0,
        },
        "?",
    );
    lab.repeer(&json!({})).await
}

#[tokio::main]
async fn main() -> Result<()> {
    // The one TLS implementation of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut report = Report::default();
    let mut lab = Lab::start().await?;
    println!("a bed of {NODES} nodes behind FRR is up");
    if wanted("route") {
        route(&lab, &mut report).await?;
    }
    if wanted("hold") {
        hold(&lab, &mut report).await?;
    }
    if wanted("bfd") {
        bfd(&mut lab, &mut report).await?;
        lab.router.reconfigure(RouterConfig::top_of_rack(TOR)).await?;
        lab.repeer(&json!({})).await?;
    }
    if wanted("churn") {
        churn(&lab, &mut report).await?;
    }
    if wanted("gr") {
        gr(&lab, &mut report).await?;
    }
    if wanted("route-1000") || wanted("rss") {
        route_many(&lab, &mut report).await?;
        if wanted("rss") {
            rss(&mut lab, &mut report).await?;
        }
    }
    drop(lab.monitor);
    lab.bed.down()?;
    report.end("bgp")
}
