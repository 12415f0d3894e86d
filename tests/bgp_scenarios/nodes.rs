//! Nodes that cannot take traffic, and those that go.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{NodeAddresses, ROUTER, ROUTER_2};
use causeway_bed::router::{Kind, Neighbour, RouterConfig};
use serde_json::{Value, json};

use super::scene::{ALL, NODES, Scene, TOR, host, scenario};
use super::service::plain;
use super::support::traffic::Traffic;
use super::support::{self, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_cannot_take_traffic_announce_nothing() {
    const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
    scenario("unfit", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let cluster = host(scene.service_v4("far", &[1], plain()).await?);
        let local = host(scene.service_v4("near", &[1, 2], plain().local()).await?);
        let routed = async |by_cluster: &[usize], by_local: &[usize]| -> Result<()> {
            scene.routed(cluster, by_cluster).await?;
            scene.routed(local, by_local).await.map(drop)
        };
        let network_unavailable = |status: &str| {
            let patch = json!({"status": {"conditions": [{"type": "NetworkUnavailable", "status": status, "reason": "Test", "message": ""}]}});
            let arguments = ["patch", "node", "node1", "--subresource=status", "--type=strategic", "-p", &patch.to_string()];
            scene.lab.bed.kubectl(&arguments).map(drop)
        };
        routed(&ALL, &[1, 2]).await?;
        let before = scene.times()?;
        network_unavailable("True")?;
        let without = routed(&[2, 3], &[2]).await;
        scene.label(2, &format!("{EXCLUDED}=test"))?;
        let without_both = routed(&[3], &[]).await;
        network_unavailable("False")?;
        scene.label(2, &format!("{EXCLUDED}-"))?;
        without?;
        without_both?;
        routed(&ALL, &[1, 2]).await?;
        ensure!(scene.times()? == before, "sessions were reset");
        Ok(())
    })
    .await;
}

/// A community of routes that are about to go.
const GRACEFUL_SHUTDOWN: (u16, u16) = (65535, 0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_warns_its_routers_before_it_withdraws() {
    scenario("drained", RouterConfig::top_of_rack(TOR), async |scene| {
        // One that writes every message down, in the order in which they come.
        let nodes = ALL.map(|n| Neighbour::at(NodeAddresses::of(n).v4, NODES).source(ROUTER_2).passive());
        let config = nodes.into_iter().fold(RouterConfig::new(TOR, ROUTER_2), RouterConfig::neighbour);
        let witness = scene.start(&scene.lab.bed.second_router_ns()?, Kind::Exabgp, config).await?;
        scene.peer(&json!({}))?;
        scene.peer_named("drained-witness", &json!({}), &json!({"peerAddress": ROUTER_2.to_string()}))?;
        scene.advertise(&json!({}), &json!({}))?;
        scene.lab.application().await?;
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": scene.lab.namespace,
            "annotations": {"metallb.io/address-pool": "drained"}},
            "spec": {"type": "LoadBalancer", "selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]}});
        scene.lab.bed.apply(&service.to_string())?;
        let address = scene.lab.address("web").await?;
        let prefix = host(address);
        scene.routed(prefix, &ALL).await?;
        scene.routed_at(scene.other(witness), prefix, &ALL).await?;
        scene.answers(address).await?;
        let traffic = Traffic::start(scene.lab.bed.remote_ns(), address, false);
        let outcome = drain(scene, address).await;
        scene.lab.bed.kubectl(&["uncordon", "node3"])?;
        outcome?;
        // The router moves flows twice: away from node3, and back to it.
        traffic.end_whole("drain", 2).await?;
        let said = said_by(scene.other(witness).messages()?, &scene.node(3, ROUTER)?.to_string(), &prefix.to_string());
        // It may be back already.
        let expected = ["announced", "announced with 65535:0", "withdrawn"];
        ensure!(said.starts_with(&expected.map(str::to_owned)), "{said:?}");
        scene.lab.kubectl(&["rollout", "status", "deployment/hello", "--timeout=90s"])?;
        scene.lab.bed.kubectl(&["rollout", "status", "deployment/hello", "--timeout=90s"])?;
        scene.routed(prefix, &ALL).await?;
        support::wait_deployed(scene.lab.bed)
    })
    .await;
}

/// Drains node3, and looks at what the router makes of it.
async fn drain(scene: &Scene<'_>, address: Ipv4Addr) -> Result<()> {
    let (prefix, node) = (host(address), scene.node(3, address)?);
    let before = scene.router().session(node)?.established;
    let arguments = [
        "drain",
        "node3",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--pod-selector=app=hello",
        "--timeout=60s",
    ];
    let mut command = scene.lab.bed.kubectl_command(&arguments)?;
    let draining = tokio::task::spawn_blocking(move || command.output());
    // For a second.
    let warned = scene
        .router()
        .wait_paths(prefix, "to be warned by node3, and to heed it", 2 * SOON, |paths| {
            // It takes the path over first, and decides about it a moment later.
            paths.iter().any(|path| path.communities.contains(&GRACEFUL_SHUTDOWN) && !path.used)
        })
        .await?;
    let begin = Instant::now();
    for path in &warned {
        let goes = path.next_hop == Some(node);
        ensure!(path.communities.contains(&GRACEFUL_SHUTDOWN) == goes, "{path:?}");
        // RFC 8326 section 4.1: the router likes others better, and uses only them.
        ensure!(!goes || (path.local_pref == Some(0) && !path.used), "{path:?}");
        ensure!(goes || path.used, "{path:?}");
    }
    scene.routed(prefix, &[1, 2]).await?;
    ensure!(begin.elapsed() < Duration::from_secs(5), "withdrawn only after {:?}", begin.elapsed());
    let output = draining.await?.context("kubectl drain")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The session stays: the node is there.
    let session = scene.router().session(node)?;
    ensure!(session.is_established() && session.established == before, "{session:?}");
    Ok(())
}

/// What a neighbour said of a prefix, one message after the other; what it repeats counts once.
fn said_by(messages: Vec<Value>, neighbour: &str, prefix: &str) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for message in messages.iter().filter(|m| m["neighbor"]["address"]["peer"] == neighbour) {
        let update = &message["neighbor"]["message"]["update"];
        let holds = |part: &Value| part.to_string().contains(&format!("\"{prefix}\""));
        let word = if holds(&update["announce"]) {
            let marked = update["attribute"]["community"].to_string().contains("[65535,0]");
            if marked { "announced with 65535:0" } else { "announced" }
        } else if holds(&update["withdraw"]) {
            "withdrawn"
        } else {
            continue;
        };
        if said.last().is_none_or(|last| last != word) {
            said.push(word.to_owned());
        }
    }
    said
}
