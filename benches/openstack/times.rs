//! Seconds, on a cloud that serves. I/O.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::Api;
use serde_json::{Value, json};

use super::bench::{Bench, by_action, note};
use super::report::Row;
use super::site::{INTERNAL, LOOK, ONE, Of, Site, is_read, text};

/// The rows.
pub const ROWS: [&str; 4] = ["ingress", "drift", "same-ip", "active"];
/// How long an amphora boots, in seconds.
const BOOT: f64 = 75.0;

/// Runs the rows.
pub async fn rows(bench: &Bench) -> Result<()> {
    let site = Site::start(true, 0).await?;
    let outcome = all(&site, bench).await;
    site.end(outcome)
}

async fn all(site: &Site, bench: &Bench) -> Result<()> {
    let controller = site.controller(&[])?;
    // The first one finds out what the cloud has.
    site.create("first", &[80], json!({})).await?;
    site.served("first").await?;
    site.delete("first").await?;
    site.gone("first").await?;
    if bench.wants(&["ingress"]) {
        l7(site, bench).await?;
    }
    if bench.wants(&["drift"]) {
        drift(site, bench).await?;
    }
    if bench.wants(&["same-ip"]) {
        same_ip(site, bench).await?;
    }
    if bench.wants(&["active"]) {
        active(site, bench).await?;
    }
    controller.stop().await
}

/// An internal Ingress with so many backends, of which its rules, two paths for each host, take one after another.
pub fn ingress(backends: usize, rules: usize) -> String {
    let service = |n: usize| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("backend-{n}"), "namespace": "default"},
            "spec": {"type": "NodePort", "selector": {"app": "none"}, "ports": [{"port": 80}]}})
    };
    let path = |n: usize| json!({"path": format!("/part-{n}"), "pathType": "Prefix", "backend": {"service": {"name": format!("backend-{}", n % backends), "port": {"number": 80}}}});
    let hosts: Vec<Value> = (0..rules)
        .step_by(2)
        .map(|n| json!({"host": format!("host-{n}.example.com"), "http": {"paths": [path(n), path(n + 1)]}}))
        .collect();
    let mut items: Vec<Value> = (0..backends).map(service).collect();
    items.push(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "bench"},
        "spec": {"controller": "causeway.io/ingress"}}),
    );
    items.push(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"ingressClassName": "bench", "rules": hosts}}));
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// From the answer that shows a load balancer ACTIVE until `noticed`.
async fn after_active(
    site: &Site,
    name: &str,
    mut noticed: impl AsyncFnMut() -> Result<()>,
) -> Result<(Instant, Instant)> {
    site.active(name).await?;
    let active = Instant::now();
    wait::until(&format!("the address of {name}"), ONE, async || noticed().await).await?;
    Ok((active, Instant::now()))
}

async fn l7(site: &Site, bench: &Bench) -> Result<()> {
    let ingresses: Api<Ingress> = Api::default_namespaced(site.bed.client().await?);
    site.quiet(Duration::from_secs(2), ONE).await?;
    let (before, clock, begin) = (site.last(), site.cloud.gate().now(), Instant::now());
    site.bed.apply(&ingress(5, 10))?;
    let (active, noticed) = after_active(site, "shop", async || {
        let status =
            ingresses.get("shop").await?.status.and_then(|s| s.load_balancer).and_then(|l| l.ingress);
        status.and_then(|points| points.into_iter().next()).context("none yet").map(drop)
    })
    .await?;
    site.quiet(Duration::from_secs(2), ONE).await?;
    let calls = site.calls(before);
    let writes: Vec<_> = calls.iter().filter(|call| !is_read(call)).collect();
    let first = writes.first().context("nothing was made")?;
    let until_post = Duration::from_millis(first.at_ms).saturating_sub(clock);
    let beyond = until_post + (noticed - active);
    note(&format!(
        "{:.1} s in all, of which {:.1} s until the POST, {:.1} s Octavia's; {}",
        (noticed - begin).as_secs_f64(),
        until_post.as_secs_f64(),
        ((active - begin) - until_post).as_secs_f64(),
        by_action(&calls)
    ));
    bench.row(
        Row {
            id: "ingress",
            what: "internal, 5 services, 10 rules: writes, s beyond Octavia's own",
            values: vec![("writes", writes.len() as f64), ("seconds", beyond.as_secs_f64())],
            unit: "counts, s",
            goal: "1, <= 2".to_owned(),
            pass: writes.len() == 1 && beyond <= Duration::from_secs(2),
        },
        "182 calls, 167 s",
    );
    site.bed.kubectl(&["delete", "ingress", "shop"])?;
    Ok(())
}

async fn active(site: &Site, bench: &Bench) -> Result<()> {
    site.cloud.build_seconds(BOOT * bench.scale)?;
    site.create("slow", &[80], json!({ INTERNAL: "true" })).await?;
    let begin = Instant::now();
    let (active, noticed) = after_active(site, "slow", async || site.served("slow").await.map(drop)).await?;
    note(&format!("ACTIVE after {:.1} s", (active - begin).as_secs_f64()));
    let what = "a load balancer that needs 75 s: ACTIVE -> noticed";
    bench.seconds("active", what, (noticed - active).as_secs_f64(), 2.0, "12 s; 25 s for 130 s");
    Ok(())
}

/// Changes a listener, members and a floating IP by hand, each of another Service.
async fn drift(site: &Site, bench: &Bench) -> Result<()> {
    let names = ["listener", "members", "address"];
    for name in names {
        site.create(name, &[80], json!({})).await?;
    }
    let mut lbs = Vec::new();
    for name in names {
        site.served(name).await?;
        lbs.push(site.active(name).await?);
    }
    site.quiet(Duration::from_secs(3), ONE).await?;
    let id = |lb: &Value, kind: &str| text(&lb[kind][0], "id").to_owned();
    let listener = format!("/v2.0/lbaas/listeners/{}", id(&lbs[0], "listeners"));
    let members = format!("/v2.0/lbaas/pools/{}/members", id(&lbs[1], "pools"));
    let address = site.floating_ips().await?.into_iter().find(|ip| ip["port_id"] == lbs[2]["vip_port_id"]);
    let address = format!("/v2.0/floatingips/{}", text(&address.context("no floating IP")?, "id"));
    let get = async |of: Of, path: &str| site.cloud.client().look("k8s", of, path).await;
    let count =
        async || anyhow::Ok(get(Of::LoadBalancer, &members).await?["members"].as_array().map_or(0, Vec::len));
    let had = count().await?;
    let begin = Instant::now();
    site.by_hand(Of::LoadBalancer, "PUT", &listener, json!({"listener": {"timeout_client_data": 1234}}))
        .await?;
    site.by_hand(Of::LoadBalancer, "PUT", &members, json!({"members": []})).await?;
    site.by_hand(Of::Network, "PUT", &address, json!({"floatingip": {"port_id": null}})).await?;
    let (mut first, mut second, mut third) = (None, None, None);
    wait::until_every(LOOK * 3, "all three to be put back", ONE, async || {
        let now = begin.elapsed().as_secs_f64();
        let timeout = get(Of::LoadBalancer, &listener).await?["listener"]["timeout_client_data"].clone();
        if timeout != json!(1234) {
            first.get_or_insert(now);
        }
        if count().await? == had {
            second.get_or_insert(now);
        }
        let port = get(Of::Network, &address).await?["floatingip"]["port_id"].clone();
        if port == lbs[2]["vip_port_id"] {
            third.get_or_insert(now);
        }
        ensure!(first.is_some() && second.is_some() && third.is_some(), "{first:?} {second:?} {third:?}");
        Ok(())
    })
    .await?;
    let all = [first, second, third].map(|at| at.unwrap_or(f64::INFINITY));
    note(&format!("listener {:.1} s, members {:.1} s, floating IP {:.1} s", all[0], all[1], all[2]));
    let worst = all.into_iter().fold(0.0, f64::max);
    bench.seconds("drift", "change made by hand -> repaired", worst, 90.0, "never");
    for name in names {
        site.delete(name).await?;
    }
    for name in names {
        site.gone(name).await?;
    }
    Ok(())
}

/// Load balancers that somebody deletes by hand, one with a floating IP and one without.
async fn same_ip(site: &Site, bench: &Bench) -> Result<()> {
    let names = ["outer", "inner"];
    site.create("outer", &[80], json!({})).await?;
    site.create("inner", &[80], json!({ INTERNAL: "true" })).await?;
    let mut before = Vec::new();
    for name in names {
        let address = site.served(name).await?;
        let lb = site.active(name).await?;
        before.push((name, address, text(&lb, "id").to_owned()));
    }
    site.quiet(Duration::from_secs(3), ONE).await?;
    for (_, _, id) in &before {
        let path = format!("/v2.0/lbaas/loadbalancers/{id}?cascade=true");
        site.by_hand(Of::LoadBalancer, "DELETE", &path, Value::Null).await?;
    }
    let mut changed = 0;
    for (name, address, id) in &before {
        wait::until_every(LOOK * 3, &format!("another load balancer of {name}"), ONE, async || {
            let lb = site.load_balancer(name).await?.context("none")?;
            ensure!(text(&lb, "id") != id && text(&lb, "provisioning_status") == "ACTIVE", "{lb}");
            Ok(())
        })
        .await?;
        // What the status says must be where the load balancer listens.
        wait::until_every(LOOK * 3, &format!("{name} to be served where its status says"), ONE, async || {
            let now = site.served(name).await?;
            let listening = site.listening().await?;
            ensure!(listening.contains_key(&now), "{now} of {listening:?}");
            Ok(())
        })
        .await?;
        changed += usize::from(site.served(name).await? != *address);
        site.delete(name).await?;
    }
    let what = "load balancer deleted by hand: addresses changed, of two";
    bench.count("same-ip", what, changed as f64, 0.0, "changed");
    for name in names {
        site.gone(name).await?;
    }
    Ok(())
}
