//! The alert rules of deploy/monitoring against what our `/metrics` says: silent while all is well, and each fires when its case is made in a cluster.
//!
//! The metrics are scraped from the running cluster; promtool, Prometheus' own rule engine, evaluates the rules as if they stayed like that for a quarter
//! of an hour.

mod support;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use serde_json::json;
use support::{Lab, PODS, SOON};

/// One sample with its labels as the exposition has them, and the place that it was scraped from.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: String,
    instance: String,
    value: f64,
}

/// Samples out of the text of a scrape; buckets of histograms are left out, since no rule uses them.
fn samples(text: &str, instance: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = match series.split_once('{') {
                Some((name, rest)) => (name, rest.strip_suffix('}')?),
                None => (series, ""),
            };
            let (name, labels, instance) = (name.to_owned(), labels.to_owned(), instance.to_owned());
            Some(Sample { name, labels, instance, value: value.parse().ok()? })
        })
        .filter(|sample| !sample.name.ends_with("_bucket"))
        .collect()
}

fn rules() -> String {
    support::top().join("deploy/monitoring/rules.yaml").display().to_string()
}

fn promtool(arguments: &[&str]) -> Result<String> {
    let output = Command::new(support::tool("promtool")?).args(arguments).stdin(Stdio::null()).output()?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

/// That exactly these alerts fire after the samples have been so for 15 minutes.
fn fires(what: &str, samples: &[Sample], alerts: &[&str]) -> Result<()> {
    let series: Vec<_> = samples
        .iter()
        .map(|s| {
            let labels = if s.labels.is_empty() { String::new() } else { format!("{},", s.labels) };
            let series = format!("{}{{{labels}instance=\"{}\"}}", s.name, s.instance);
            json!({"series": series, "values": format!("{}+0x20", s.value)})
        })
        .collect();
    let expected: BTreeSet<&&str> = alerts.iter().collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|name| json!({"labels": format!("{{alertname=\"{name}\"}}"), "value": 1}))
        .collect();
    let test = json!({
        "rule_files": [rules()],
        "evaluation_interval": "1m",
        "tests": [{
            "name": what,
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [{
                "expr": "group by (alertname) (ALERTS{alertstate=\"firing\"})",
                "eval_time": "15m",
                "exp_samples": expected,
            }],
        }],
    });
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    serde_json::to_writer(&file, &test)?;
    promtool(&["test", "rules", &file.path().display().to_string()])
        .with_context(|| what.to_owned())
        .map(drop)
}

/// Scrapes as a Prometheus would.
struct Prometheus<'a> {
    lab: &'a Lab,
    header: String,
}

impl<'a> Prometheus<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        lab.kubectl(&["create", "serviceaccount", "prometheus"])?;
        let account = format!("--serviceaccount={}:prometheus", lab.namespace);
        lab.bed.kubectl(&[
            "create",
            "clusterrolebinding",
            "alerts-prometheus",
            "--clusterrole=causeway-metrics-reader",
            &account,
        ])?;
        let token = lab.kubectl(&["create", "token", "prometheus"])?;
        Ok(Self { lab, header: format!("Authorization: Bearer {}", token.trim()) })
    }

    /// All that controllers and speakers say now.
    fn scrape(&self) -> Result<Vec<Sample>> {
        let mut all = Vec::new();
        for node in 1..=3 {
            let address = self.lab.bed.node(node)?.addresses().v4;
            let controllers = self.lab.processes(node, "controller")?.len();
            let ports = [(10258, controllers > 0), (10268, true)];
            for (port, _) in ports.iter().filter(|(_, there)| *there) {
                let url = format!("http://{address}:{port}/metrics");
                let arguments = ["curl", "-sS", "--fail", "--max-time", "5", "-H", &self.header, &url];
                let text = self.lab.bed.client_ns().run(&arguments).with_context(|| url.clone())?;
                all.extend(samples(&text, &format!("{address}:{port}")));
            }
        }
        Ok(all)
    }

    /// Scrapes until exactly these alerts would fire.
    async fn until(&self, what: &str, alerts: &[&str]) -> Result<Vec<Sample>> {
        wait::until(what, PODS, async || {
            let samples = self.scrape()?;
            fires(what, &samples, alerts)?;
            anyhow::Ok(samples)
        })
        .await
    }
}

#[test]
fn the_rules_are_well_formed() -> Result<()> {
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", &rules()])?;
    ensure!(said.contains("SUCCESS"), "{said}");
    Ok(())
}

#[test]
fn every_metric_of_rules_and_dashboard_exists() -> Result<()> {
    let read =
        |path: &str| std::fs::read_to_string(support::top().join(path)).with_context(|| path.to_owned());
    let known = read("docs/metrics.md")?;
    for path in ["deploy/monitoring/rules.yaml", "deploy/monitoring/dashboard.json"] {
        let text = read(path)?;
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: BTreeSet<&str> =
            words.filter(|w| w.starts_with("metallb_") || w.starts_with("causeway_")).collect();
        ensure!(metrics.len() > 5, "{path} names {metrics:?}");
        for metric in metrics {
            let name = metric.strip_suffix("_bucket").unwrap_or(metric);
            ensure!(known.contains(&format!("`{name}`")), "{path}: {metric} is not in docs/metrics.md");
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_alert_fires_in_its_case_and_none_else() {
    Lab::run("alerts", async |lab| {
        let bed = lab.bed;
        let prometheus = Prometheus::new(lab)?;
        let sound = prometheus.until("nothing is wrong", &[]).await?;
        let leaders: f64 = sound.iter().filter(|s| s.name == "causeway_leader").map(|s| s.value).sum();
        ensure!(leaders == 1.0, "{leaders} leaders");

        // Two pools that overlap: the younger is refused.
        bed.apply(
            "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: twin, namespace: metallb-system}, spec: {addresses: [10.77.100.5/32]}}",
        )?;
        let stale = prometheus.until("a pool is refused", &["MetalLBStaleConfig"]).await;
        bed.kubectl(&["-n", "metallb-system", "delete", "ipaddresspool", "twin"])?;
        stale?;

        // A node that the others do not hear.
        bed.segment().partition(&["node1"], &["node2", "node3"])?;
        let isolated = prometheus.until("node1 is cut off", &["CausewaySpeakerIsolated"]).await;
        bed.segment().heal()?;
        isolated?;

        // A node whose kernel answers for everything.
        let node = bed.namespace("node2")?;
        node.run(&["ip", "link", "add", "kube-ipvs0", "type", "bridge"])?;
        let of_node = [
            "-n",
            "kube-system",
            "delete",
            "pod",
            "-l",
            "app.kubernetes.io/component=speaker",
            "--field-selector=spec.nodeName=node2",
        ];
        bed.kubectl(&of_node)?;
        let settings = prometheus.until("IPVS without strictARP", &["CausewayNodeSettings"]).await;
        node.run(&["ip", "link", "delete", "kube-ipvs0"])?;
        bed.kubectl(&of_node)?;
        settings?;

        // A station outside that has an address of the pool, as a speaker reports it.
        bed.client_ns().run(&["ip", "address", "add", "10.77.100.90/32", "dev", "eth0"])?;
        bed.apply(
            "{apiVersion: causeway.io/v1alpha1, kind: AddressConflict, metadata: {name: 10.77.100.90, namespace: metallb-system}, \
              spec: {address: 10.77.100.90, mac: '02:77:00:00:01:02', phase: Probe, node: node1, interface: eth0}}",
        )?;
        let conflict = prometheus.until("somebody else has an address", &["CausewayAddressConflict"]).await;
        bed.client_ns().run(&["ip", "address", "delete", "10.77.100.90/32", "dev", "eth0"])?;
        bed.kubectl(&["-n", "metallb-system", "delete", "addressconflicts", "--all"])?;
        conflict?;

        // A router that does not answer.
        bed.apply(
            "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: nobody, namespace: metallb-system}, \
              spec: {myASN: 64501, peerASN: 64500, peerAddress: 10.77.0.250}}",
        )?;
        let down = prometheus.until("a router does not answer", &["MetalLBBGPSessionDown"]).await;
        bed.kubectl(&["-n", "metallb-system", "delete", "bgppeer", "nobody"])?;
        down?;

        // No controller.
        bed.kubectl(&["-n", "kube-system", "scale", "deployment/causeway", "--replicas=0"])?;
        let alone = prometheus.until("no controller runs", &["CausewayNoLeader"]).await;
        bed.kubectl(&["-n", "kube-system", "scale", "deployment/causeway", "--replicas=2"])?;
        alone?;
        prometheus.until("a controller leads again", &[]).await?;

        // One that never reached the API server.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut lost = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(["controller", "--cloud-provider=metal", "--bind-address=127.0.0.1", "--insecure-metrics"])
            .args([&format!("--admin-port={port}"), "--master=http://127.0.0.1:9"])
            .env_remove("KUBECONFIG")
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let scraped = wait::until("its metrics", SOON, async || {
            let url = format!("http://127.0.0.1:{port}/metrics");
            let output = Command::new("curl").args(["-sS", "--fail", "--max-time", "2", &url]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(samples(&String::from_utf8_lossy(&output.stdout), "lost"))
        })
        .await;
        lost.kill()?;
        lost.wait()?;
        fires("no API server", &scraped?, &["MetalLBConfigNotLoaded", "CausewayNoLeader"])?;

        // The engine's own tests show when this one is set: bare metal has nothing that can be lost, so here it is set by hand.
        let mut stopped = sound;
        let gauge = stopped.iter_mut().find(|s| s.name == "causeway_mass_delete_stopped");
        gauge.context("no such metric")?.value = 1.0;
        fires("a mass deletion was stopped", &stopped, &["CausewayMassDeletionStopped"])?;

        // A pool that fills up.
        bed.apply(
            "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: filling, namespace: metallb-system}, spec: {addresses: [10.77.100.201-10.77.100.220], autoAssign: false}}",
        )?;
        bed.apply(
            "{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: filling, namespace: metallb-system}, spec: {ipAddressPools: [filling]}}",
        )?;
        const USAGE: [&str; 3] = [
            "MetalLBAddressPoolUsage75Percent",
            "MetalLBAddressPoolUsage85Percent",
            "MetalLBAddressPoolUsage95Percent",
        ];
        let mut made = 0;
        for (used, alerts) in [
            (15, &[][..]),
            (16, &USAGE[..1]),
            (18, &USAGE[..2]),
            (20, &[USAGE[0], USAGE[1], USAGE[2], "MetalLBAddressPoolExhausted"][..]),
        ] {
            while made < used {
                made += 1;
                lab.create_service(&format!("s{made}"), "annotations: {metallb.io/address-pool: filling}", "")?;
            }
            lab.address(&format!("s{made}")).await?;
            prometheus.until(&format!("{used} of 20 addresses in use"), alerts).await?;
        }
        // One more cannot be served.
        lab.create_service("more", "annotations: {metallb.io/address-pool: filling}", "")?;
        let full = [USAGE[0], USAGE[1], USAGE[2], "MetalLBAddressPoolExhausted", "CausewayLoadBalancersTroubled"];
        prometheus.until("a Service waits", &full).await?;
        lab.kubectl(&["delete", "services", "--all"])?;
        bed.kubectl(&["-n", "metallb-system", "delete", "ipaddresspool/filling", "l2advertisement/filling"])?;
        prometheus.until("all is well again", &[]).await?;
        bed.kubectl(&["delete", "clusterrolebinding", "alerts-prometheus"])?;
        Ok(())
    })
    .await;
}
