//! What 100 Services cost. I/O.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use causeway_bed::cloud::Record;
use causeway_bed::wait;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::bench::{Bench, by_action, note};
use super::controller::Controller;
use super::report::Row;
use super::site::{ONE, QUIET, Site, annotations, is_read};
use super::{BUSY, CALM, MANY, Stages, drift};

/// Longest wait for all.
const ALL: Duration = Duration::from_secs(1800);
/// AWS's own rate of CreateLoadBalancer: a burst of ten, then one each five seconds (ELB user guide, API throttling).
const BURST: f64 = 10.0;
const EACH: f64 = 5.0;
/// Longer than changes of nodes are gathered.
const GATHERED: Duration = Duration::from_secs(8);

/// Runs the rows.
pub async fn rows(bench: &Bench, mut stages: Stages) -> Result<()> {
    let mut site = Site::start(false).await?;
    let outcome = all(&mut site, bench, &mut stages).await;
    site.end(outcome, bench, true)
}

async fn all(site: &mut Site, bench: &Bench, stages: &mut Stages) -> Result<()> {
    let many = bench.sized(100);
    let controller = site.controller(&[])?;
    // The first one finds the account out, and makes what all share.
    site.create("first", &[]).await?;
    site.served("first").await?;
    site.quiet(QUIET, ONE).await?;
    create(site, bench).await?;
    for name in ["first", "second"] {
        site.delete(name).await?;
        site.gone(name).await?;
    }
    if MANY.iter().all(|id| *id == "create" || !bench.wants(&[id])) {
        return controller.stop().await;
    }
    create_many(site, &controller, bench, many).await?;
    stages.meet(CALM).await;
    let controller = still(site, controller, bench, many).await?;
    stages.meet(BUSY).await;
    if bench.wants(&["drift"]) {
        drift::row(site, bench, many).await?;
    }
    controller.stop().await
}

/// What is measured while nothing else goes on.
async fn still(
    site: &mut Site,
    mut controller: Controller,
    bench: &Bench,
    many: usize,
) -> Result<Controller> {
    if bench.wants(&["noop"]) {
        controller = noop(site, controller, bench, many).await?;
    }
    if bench.wants(&["nodes-50", "flap"]) {
        nodes(site, &controller, bench, many).await?;
    }
    if bench.wants(&["restart", "restart-node"]) {
        controller = restart(site, controller, bench, many).await?;
    }
    if bench.wants(&["upgrade"]) {
        controller = upgrade(site, controller, bench, many).await?;
    }
    if bench.wants(&["swap"]) {
        swap(site, bench).await?;
    }
    Ok(controller)
}

async fn settled(controller: &Controller, many: usize) -> Result<()> {
    wait::until("the controller to have done everything", ALL, async || controller.content(many).await).await
}

async fn create(site: &Site, bench: &Bench) -> Result<()> {
    // Every few minutes everything else in the account is read, whatever is made meanwhile.
    let calls = wait::until("a load balancer to be made between two inventories", ONE * 2, async || {
        let before = site.last();
        site.create("second", &[]).await?;
        site.served("second").await?;
        site.quiet(QUIET, ONE).await?;
        let calls = site.calls(before);
        if calls.iter().any(|call| call.action == "DescribeAccountLimits") {
            site.delete("second").await?;
            site.gone("second").await?;
            anyhow::bail!("{}", by_action(&calls));
        }
        Ok(calls)
    })
    .await?;
    note(&by_action(&calls));
    let what = "calls to create an NLB of one port";
    bench.count("create", what, calls.len() as f64, 8.0, "LBC 22-23, CPA 12-14");
    Ok(())
}

async fn create_many(site: &Site, controller: &Controller, bench: &Bench, many: usize) -> Result<()> {
    // Until AWS's bucket is full again: a length of time is what its rate is about.
    tokio::time::sleep(Duration::from_secs_f64(BURST * EACH)).await;
    let before = site.last();
    let begin = Instant::now();
    site.create_many("web", many).await?;
    settled(controller, many).await?;
    let took = begin.elapsed().as_secs_f64();
    note(&format!("{took:.1} s, {}", by_action(&site.calls(before))));
    let floor = (many as f64 - BURST).max(1.0) * EACH;
    let times = took / floor;
    bench.row(
        Row {
            id: "create-100",
            what: "100 NLBs until all take traffic, over AWS's floor of 450 s",
            values: vec![("", times)],
            unit: "times",
            goal: "<= 1.1".to_owned(),
            pass: times <= 1.1,
        },
        "?",
    );
    site.quiet(QUIET, ALL).await
}

/// Three Ingresses on one load balancer.
fn ingresses() -> String {
    let ingress = |n: usize| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": format!("shop-{n}"), "namespace": "default",
            "annotations": {"alb.ingress.kubernetes.io/group.name": "shop"}},
            "spec": {"ingressClassName": "bench", "rules": [{"host": format!("shop-{n}.example.com"), "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web-0", "port": {"number": 80}}}}]}}]}})
    };
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "bench"},
        "spec": {"controller": "causeway.io/ingress"}});
    let items = [class, ingress(0), ingress(1), ingress(2)];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Calls while every load balancer, of Services and of a group of Ingresses, is compared over and over.
async fn noop(site: &Site, controller: Controller, bench: &Bench, many: usize) -> Result<Controller> {
    site.bed.apply(&ingresses())?;
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
    let what = "unchanged Services, and a group: calls for each resync";
    bench.count("noop", what, calls.len() as f64 / syncs, 0.0, "LBC 9+3n, CPA 10+n");
    controller.stop().await?;
    let controller = site.controller(&[])?;
    site.bed.kubectl(&["delete", "ingresses", "--all", "--wait=false"])?;
    settled(&controller, many).await?;
    site.bed.kubectl(&["delete", "ingressclass", "bench"])?;
    site.quiet(QUIET, ALL).await?;
    Ok(controller)
}

async fn nodes(site: &mut Site, controller: &Controller, bench: &Bench, many: usize) -> Result<()> {
    let nodes = bench.sized(50);
    for i in 0..nodes {
        site.account.add_node(&site.aws, &format!("added-{i}"), None).await?;
    }
    site.quiet(Duration::from_secs(2), ONE).await?;
    let before = site.last();
    let begin = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(2) / nodes as u32);
    for i in 0..nodes {
        tick.tick().await;
        site.add_node(&format!("added-{i}")).await?;
    }
    let added = begin.elapsed().as_secs_f64();
    let registered = |calls: &[Record]| calls.iter().filter(|call| call.action == "RegisterTargets").count();
    wait::until("every target group to have the nodes", ALL, async || {
        let calls = site.calls(before);
        ensure!(registered(&calls) >= many, "{}", by_action(&calls));
        Ok(())
    })
    .await?;
    settled(controller, many).await?;
    site.quiet(QUIET, ALL).await?;
    let calls = site.calls(before);
    note(&format!("added within {added:.1} s, {}", by_action(&calls)));
    let each = registered(&calls) as f64 / many as f64;
    let what = "50 nodes added in 2 s: RegisterTargets per target group";
    bench.count("nodes-50", what, each, 1.0, ">= 200 per event");
    if bench.wants(&["flap"]) {
        flap(site, bench, nodes.min(20)).await?;
    }
    Ok(())
}

async fn flap(site: &Site, bench: &Bench, flapping: usize) -> Result<()> {
    let calls = site
        .between_audits(GATHERED, async || {
            for ready in ["True", "False", "True"] {
                for i in 0..flapping {
                    let condition = json!({"type": "Ready", "status": ready, "reason": "Flap", "message": "by the bench"});
                    let status = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
                    site.nodes.patch_status(&format!("added-{i}"), &PatchParams::default(), &status).await?;
                }
            }
            Ok(())
        })
        .await?;
    bench.count("flap", "Ready flap of 20 nodes: calls", calls.len() as f64, 0.0, "> 0");
    Ok(())
}

async fn restart(site: &mut Site, controller: Controller, bench: &Bench, many: usize) -> Result<Controller> {
    controller.stop().await?;
    let before = site.last();
    let begin = Instant::now();
    let controller = site.controller(&[])?;
    settled(&controller, many).await?;
    let took = begin.elapsed().as_secs_f64();
    let calls = site.calls(before);
    note(&by_action(&calls));
    bench.row(
        Row {
            id: "restart",
            what: "restart with 100 unchanged Services: calls, seconds",
            values: vec![("calls", calls.len() as f64), ("seconds", took)],
            unit: "counts, s",
            goal: "<= 20, < 5".to_owned(),
            pass: calls.len() <= 20 && took < 5.0,
        },
        "LBC ~1,300, CPA >= 1,100",
    );
    if !bench.wants(&["restart-node"]) {
        return Ok(controller);
    }
    let of_restart = calls.len();
    controller.stop().await?;
    // One node is another one meanwhile.
    site.account.add_node(&site.aws, "replacement", None).await?;
    let old = if site.nodes.get_opt("added-0").await?.is_some() { "added-0" } else { "node3" };
    site.nodes.delete(old, &DeleteParams::default()).await?;
    site.add_node("replacement").await?;
    let before = site.last();
    let controller = site.controller(&[])?;
    settled(&controller, many).await?;
    site.quiet(QUIET, ALL).await?;
    let calls = site.calls(before);
    note(&by_action(&calls));
    let each = calls.len().saturating_sub(of_restart) as f64 / many as f64;
    let what = "the same with a node replaced: more calls per target group";
    bench.count("restart-node", what, each, 2.5, "-");
    Ok(controller)
}

/// Another version may write other notes in tags, so that this one can trust none of them: it must look at everything, and find nothing to change.
async fn upgrade(site: &Site, controller: Controller, bench: &Bench, many: usize) -> Result<Controller> {
    controller.stop().await?;
    let cluster = site.cluster_id().await?;
    let ours = site.tagged(&[("causeway.io/cluster", cluster.as_str())]).await?;
    let of = |part: &str| -> Vec<String> { ours.iter().filter(|arn| arn.contains(part)).cloned().collect() };
    let (balancers, groups) = (of(":loadbalancer/"), of(":targetgroup/"));
    ensure!(balancers.len() == many && groups.len() == many, "{} and {}", balancers.len(), groups.len());
    site.tag_by_hand(&balancers, "causeway.io/applied", "v0:another").await?;
    site.tag_by_hand(&groups, "causeway.io/targets", "v0:another").await?;
    let before = site.last();
    let controller = site.controller(&[])?;
    settled(&controller, many).await?;
    site.quiet(QUIET, ALL).await?;
    let calls = site.calls(before);
    note(&by_action(&calls));
    let writes = calls.iter().filter(|call| !is_read(call) && !call.action.ends_with("Tags")).count();
    let what = "restart after another version's notes: writes but of tags";
    bench.count("upgrade", what, writes as f64, 0.0, "-");
    Ok(controller)
}

/// Another scheme is another load balancer: how long what the Service shows did not take traffic.
async fn swap(site: &Site, bench: &Bench) -> Result<()> {
    let name = "web-1";
    let before = site.served(name).await?;
    let (begin, number) = (Instant::now(), site.last());
    let scheme = json!({"metadata": {"annotations": annotations(&[("scheme", "internet-facing")])}});
    site.change(name, scheme).await?;
    let mut without = Duration::ZERO;
    let mut last = Instant::now();
    loop {
        let host = site.hostname(name).await?;
        let serves = host.as_ref().is_some_and(|host| site.active().contains_key(host));
        let now = Instant::now();
        if !serves {
            without += now - last;
        }
        last = now;
        if serves && host.is_some_and(|host| host != before) {
            break;
        }
        ensure!(now - begin < ONE, "the status still names {before}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    note(&format!("another one took its place after {:.1} s", begin.elapsed().as_secs_f64()));
    // The former one serves those who know its name only, until it goes.
    wait::until("the former load balancer to go", ONE, async || {
        let gone = !site.active().contains_key(&before);
        ensure!(gone, "{before} is there; {}", by_action(&site.calls(number)));
        Ok(())
    })
    .await?;
    let host = site.served(name).await?;
    ensure!(site.active().contains_key(&host), "{host} does not take traffic");
    let seconds = without.as_secs_f64();
    bench.row(
        Row {
            id: "swap",
            what: "another scheme: time without an active load balancer",
            values: vec![("", seconds)],
            unit: "s",
            goal: "0".to_owned(),
            pass: without.is_zero(),
        },
        "minutes",
    );
    Ok(())
}
