//! What 100 Services of two ports cost. I/O.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::cloud::Record;
use causeway_bed::wait;
use futures::future;
use serde_json::{Value, json};

use super::bench::{Bench, by_action, note};
use super::controller::Controller;
use super::report::Row;
use super::site::{LOOK, ONE, Of, Site, text};
use super::times::ingress;

/// The rows.
pub const ROWS: [&str; 3] = ["noop", "start-100", "node-add"];
/// Longest wait for all.
const ALL: Duration = Duration::from_secs(1200);
/// How many calls the loop that does nothing else has under way.
const LOOPS: usize = 16;
/// The node that comes.
const NODE: &str = "hollow-0";

/// Runs the rows.
pub async fn rows(bench: &Bench) -> Result<()> {
    let site = Site::start(false, 1).await?;
    let outcome = all(&site, bench).await;
    site.end(outcome)
}

async fn settled(controller: &Controller, many: usize) -> Result<()> {
    wait::until("the controller to have done everything", ALL, async || controller.content(many).await).await
}

async fn all(site: &Site, bench: &Bench) -> Result<()> {
    let many = bench.sized(100);
    let mut controller = site.controller(&[])?;
    let begin = Instant::now();
    site.create_many("web", many, &[80, 443]).await?;
    settled(&controller, many).await?;
    note(&format!(
        "{many} Services of two ports were made in {:.0} s, {}",
        begin.elapsed().as_secs_f64(),
        by_action(&site.calls(0))
    ));
    if bench.wants(&["node-add"]) {
        controller = node(site, controller, bench, many).await?;
    }
    if bench.wants(&["start-100"]) {
        controller = start(site, controller, bench, many).await?;
    }
    if bench.wants(&["noop"]) {
        controller = noop(site, controller, bench, many).await?;
    }
    controller.stop().await
}

async fn start(site: &Site, controller: Controller, bench: &Bench, many: usize) -> Result<Controller> {
    site.quiet(Duration::from_secs(3), ONE).await?;
    controller.stop().await?;
    let (before, begin) = (site.last(), Instant::now());
    let controller = site.controller(&[])?;
    settled(&controller, many).await?;
    let took = begin.elapsed().as_secs_f64();
    site.quiet(Duration::from_secs(3), ONE).await?;
    let calls = site.calls(before);
    note(&format!("content after {took:.1} s, {}", by_action(&calls)));
    let what = "start with 100 unchanged Services: calls";
    bench.count("start-100", what, calls.len() as f64, 10.0, "1,000");
    Ok(controller)
}

/// Calls while every load balancer, of Services and of an Ingress, is compared over and over.
async fn noop(site: &Site, controller: Controller, bench: &Bench, many: usize) -> Result<Controller> {
    site.bed.apply(&ingress(5, 10))?;
    settled(&controller, many + 1).await?;
    controller.stop().await?;
    let controller = site.controller(&["--resync-period=2s"])?;
    settled(&controller, many + 1).await?;
    let resyncs = async || {
        let all = controller.metric("causeway_syncs_total").await?;
        anyhow::Ok(all.get("cause=\"resync\"").copied().unwrap_or(0.0))
    };
    let mut before = 0.0;
    let calls = site
        .between_audits(Duration::from_secs(8), async || {
            before = resyncs().await?;
            Ok(())
        })
        .await?;
    let syncs = resyncs().await? - before;
    ensure!(syncs >= many as f64, "only {syncs} load balancers were compared");
    note(&format!("{syncs} resyncs of {} load balancers, {}", many + 1, by_action(&calls)));
    let what = "unchanged Services, and an Ingress: calls for each resync";
    bench.count("noop", what, calls.len() as f64 / syncs, 0.0, "7-13");
    Ok(controller)
}

fn puts(calls: &[Record]) -> usize {
    calls.iter().filter(|call| call.action == "PUT /v2.0/lbaas/pools/{id}/members").count()
}

/// A node comes, and is a member of every pool; the same calls in a bare loop take the time that Octavia needs.
async fn node(site: &Site, controller: Controller, bench: &Bench, many: usize) -> Result<Controller> {
    site.quiet(Duration::from_secs(3), ONE).await?;
    let (before, begin) = (site.last(), Instant::now());
    site.add_node(NODE).await?;
    wait::until("every pool to have the node", ALL, async || {
        let calls = site.calls(before);
        ensure!(puts(&calls) >= 2 * many, "{}", by_action(&calls));
        Ok(())
    })
    .await?;
    settled(&controller, many).await?;
    let ours = begin.elapsed();
    let calls = site.calls(before);
    // What it wrote it reads once more, in its next looks for drift.
    site.quiet(Duration::from_secs(3), ONE).await?;
    controller.stop().await?;
    let bare = bare(site).await?;
    let times = ours.as_secs_f64() / bare.as_secs_f64();
    note(&format!(
        "{:.1} s, the bare loop {:.1} s; {}",
        ours.as_secs_f64(),
        bare.as_secs_f64(),
        by_action(&calls)
    ));
    bench.row(
        Row {
            id: "node-add",
            what: "a node more, 100 Services x 2 ports: calls, time over a bare loop",
            values: vec![("calls", calls.len() as f64), ("times", times)],
            unit: "counts",
            goal: "<= 250, <= 1.2".to_owned(),
            pass: calls.len() <= 250 && times <= 1.2,
        },
        ">= 1,400, >= 200 s",
    );
    // The bare loop took the node away.
    let controller = site.controller(&[])?;
    settled(&controller, many).await?;
    Ok(controller)
}

/// Sets the members of all pools anew, without that node, sixteen load balancers at a time: from the first call until all are ACTIVE.
async fn bare(site: &Site) -> Result<Duration> {
    let instance = site.cloud.instances().iter().find(|i| i.node == NODE).context("no instance")?;
    let mut work = Vec::new();
    for lb in site.octavia("loadbalancers").await? {
        let mut pools = Vec::new();
        for pool in lb["pools"].as_array().into_iter().flatten() {
            let path = format!("/v2.0/lbaas/pools/{}/members", text(pool, "id"));
            let members = site.list(Of::LoadBalancer, &path, "members").await?;
            let kept =
                members.iter().filter(|m| !instance.addresses.iter().any(|a| m["address"] == json!(a)));
            let fields = [
                "name",
                "address",
                "protocol_port",
                "subnet_id",
                "weight",
                "monitor_port",
                "monitor_address",
                "tags",
            ];
            let kept: Vec<Value> = kept
                .map(|m| {
                    fields
                        .iter()
                        .filter(|f| !m[**f].is_null())
                        .map(|f| ((*f).to_owned(), m[*f].clone()))
                        .collect()
                })
                .collect();
            ensure!(kept.len() + 1 == members.len(), "the node is no member of {path}: {members:?}");
            pools.push((path, json!({"members": kept})));
        }
        work.push(pools);
    }
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let worker = async || {
        while let Some(pools) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (path, body) in pools {
                put(site, path, body).await?;
            }
        }
        anyhow::Ok(())
    };
    future::try_join_all((0..LOOPS).map(|_| worker())).await?;
    wait::until_every(LOOK, "all load balancers to be ACTIVE", ALL, async || {
        let all = site.octavia("loadbalancers").await?;
        let busy = all.iter().filter(|lb| text(lb, "provisioning_status") != "ACTIVE").count();
        ensure!(busy == 0, "{busy} are not");
        Ok(())
    })
    .await?;
    Ok(begin.elapsed())
}

/// One PUT, again as long as its load balancer is busy.
async fn put(site: &Site, path: &str, body: &Value) -> Result<()> {
    let token = site.cloud.client().token("k8s").await?;
    let call = async || {
        let client = site.cloud.client();
        client.send(Of::LoadBalancer, "PUT", path, Some(&token), Some(body.clone()), true).await
    };
    wait::until_every(LOOK, path, ONE, async || {
        let answer = call().await?;
        ensure!(answer.status == 202, "{} {}", answer.status, answer.body);
        Ok(())
    })
    .await
}
