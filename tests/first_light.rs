//! A Service of type LoadBalancer gets an address on bare metal and traffic arrives: on a real control plane, from `deploy/`, through
//! every kind of failure that users have.

mod support;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::{Signal, addresses as places, wait};
use support::{Lab, SOON, addresses, has_finalizer};

#[tokio::test]
async fn traffic_arrives_with_the_source_address_that_the_policy_promises() {
    Lab::run("traffic", async |lab| {
        let (cluster, local) = lab.application().await?;
        ensure!(cluster != local, "one address for two Services: {cluster}");
        let client = places::CLIENT.to_string();
        let (seen, _) = lab.answer(cluster, "/clientip", SOON).await?;
        ensure!(!seen.starts_with(&format!("{client}:")), "Cluster: the application saw {seen}");
        let (seen, _) = lab.answer(local, "/clientip", SOON).await?;
        ensure!(seen.starts_with(&format!("{client}:")), "Local: the application saw {seen}, not {client}");
        // From behind the router.
        let remote = lab.bed.remote_ns();
        let response = remote.http_get((local, 80), "/clientip", None, Duration::from_secs(5)).await?;
        ensure!(response.body.starts_with(&format!("{}:", places::REMOTE)), "remote: {}", response.body);

        let service = lab.service("local").await?;
        ensure!(has_finalizer(&service), "no finalizer: {:?}", service.metadata.finalizers);
        let points = service.status.and_then(|s| s.load_balancer).and_then(|l| l.ingress).unwrap_or_default();
        ensure!(points.len() == 1 && points[0].ip_mode.as_deref() == Some("VIP"), "{points:?}");
        let annotations = service.metadata.annotations.unwrap_or_default();
        let pool = annotations.get("metallb.io/ip-allocated-from-pool").map(String::as_str);
        ensure!(pool == Some("segment"), "pool {pool:?}");
        // One node answers for each.
        lab.announcer(cluster, None).await?;
        lab.announcer(local, None).await?;
        lab.event((&lab.namespace, "Service", "local"), "EnsuredLoadBalancer", &[]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn another_node_takes_over_when_the_announcing_one_loses_its_power() {
    Lab::run("power", async |lab| {
        let (_, local) = lab.application().await?;
        let node = lab.announcer(local, None).await?;
        let cut = lab.bed.node(node)?.cut_power()?;
        let outcome = lab.answer(local, "/hostname", Duration::from_secs(15)).await;
        let took = cut.elapsed();
        let next = lab.announcer(local, Some(node)).await;
        lab.bed.node(node)?.restore_power()?;
        outcome?;
        let next = next?;
        println!("node{node} without power: an answer after {took:?} at most, from node{next}");
        // Three heartbeats of 100 ms each and the gratuitous ARP; generous, for stopping every process of a node takes its time, too.
        ensure!(took < Duration::from_secs(3), "it took {took:?}");
        // The node comes back, and again exactly one answers: the one that does already.
        let stays = lab.announcer(local, Some(node)).await?;
        ensure!(stays == next, "moved from node{next} to node{stays} because node{node} is back");
        lab.answer(local, "/hostname", SOON).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_speaker_that_ends_hands_over_at_once_and_one_that_crashes_is_replaced() {
    Lab::run("speaker", async |lab| {
        let (_, local) = lab.application().await?;
        let node = lab.announcer(local, None).await?;
        // Deleted: it says that it leaves, and another one announces at once. Watched at the client, for the new Pod may be there a moment later.
        let field = format!("spec.nodeName=node{node}");
        let watched =
            lab.bed.client_ns().capture("eth0", &format!("arp and arp[14:4] = {:#x}", u32::from(local)))?;
        let begin = Instant::now();
        lab.bed.kubectl(&[
            "-n",
            "kube-system",
            "delete",
            "pod",
            "--wait=false",
            "-l",
            "app.kubernetes.io/component=speaker",
            "--field-selector",
            &field,
        ])?;
        let next = wait::until("another node to announce the address", SOON, async || {
            let said = watched.lines();
            said.iter()
                .filter_map(|line| support::sender(line))
                .find(|&n| n != node)
                .with_context(|| format!("{said:?}"))
        })
        .await?;
        println!("speaker of node{node} deleted: node{next} announces after {:?}", begin.elapsed());
        lab.answer(local, "/hostname", SOON).await?;
        support::wait_deployed(lab.bed)?;

        let node = lab.announcer(local, None).await?;
        lab.signal(node, "speaker", Signal::KILL)?;
        let (_, took) = lab.answer(local, "/hostname", Duration::from_secs(15)).await?;
        println!("speaker of node{node} killed: an answer after {took:?}");
        lab.announcer(local, None).await?;
        support::wait_deployed(lab.bed)?;
        Ok(())
    })
    .await;
}

/// `kubectl get services` of the namespace as JSON, without what the API server counts.
fn written(lab: &Lab) -> Result<String> {
    lab.kubectl(&[
        "get",
        "services",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.metadata.resourceVersion}\n{end}",
    ])
}

#[tokio::test]
async fn the_other_controller_leads_soon_and_writes_nothing_that_did_not_change() {
    Lab::run("leader", async |lab| {
        for name in ["a", "b", "c"] {
            lab.create_service(name, "", "")?;
            lab.address(name).await?;
        }
        let before = written(lab)?;

        // A clean end gives the Lease back.
        let node = lab.leading_node().await?;
        let holder = lab.leader().await?;
        let begin = Instant::now();
        lab.signal(node, "controller", Signal::TERM)?;
        wait::until("another leader", SOON, async || {
            let now = lab.leader().await?;
            ensure!(now != holder, "{now} still leads");
            Ok(now)
        })
        .await?;
        let took = begin.elapsed();
        println!("SIGTERM: another leader after {took:?}");
        ensure!(took < Duration::from_secs(4), "a released Lease was taken after {took:?}");
        lab.create_service("after-term", "", "")?;
        lab.address("after-term").await?;

        // A crash: the Lease has to run out (15 s), two tries of 2 s more at the most.
        let node = lab.leading_node().await?;
        let begin = Instant::now();
        lab.signal(node, "controller", Signal::KILL)?;
        lab.create_service("after-kill", "", "")?;
        lab.address_within("after-kill", Duration::from_secs(30)).await?;
        let took = begin.elapsed();
        println!("SIGKILL: a new Service has its address after {took:?}");
        ensure!(took < Duration::from_secs(22), "a crashed leader was replaced after {took:?}");

        let after = written(lab)?;
        for line in before.lines() {
            ensure!(after.lines().any(|l| l == line), "written although nothing changed: {line}\n{after}");
        }
        support::wait_deployed(lab.bed)
    })
    .await;
}

#[tokio::test]
async fn announcing_goes_on_and_moves_while_the_api_server_is_away() {
    Lab::run("apiserver", async |lab| {
        let (_, local) = lab.application().await?;
        let node = lab.announcer(local, None).await?;
        let api = lab.bed.api_server();
        api.signal(Signal::STOP)?;
        let outcome = async {
            lab.answer(local, "/hostname", Duration::from_secs(2)).await.context("without the API server")?;
            let cut = lab.bed.node(node)?.cut_power()?;
            let moved = lab.answer(local, "/hostname", Duration::from_secs(15)).await;
            let took = cut.elapsed();
            lab.bed.node(node)?.restore_power()?;
            moved.map(|_| took).context("the announcing node gone, without the API server")
        }
        .await;
        api.signal(Signal::CONT)?;
        let took = outcome?;
        println!("without the API server: an answer after {took:?} at most");
        // Everything works again.
        lab.create_service("later", "", "")?;
        lab.address_within("later", Duration::from_secs(60)).await?;
        lab.announcer(local, None).await?;
        support::wait_deployed(lab.bed)
    })
    .await;
}

#[tokio::test]
async fn status_that_somebody_wiped_or_edited_is_put_back() {
    Lab::run("wipe", async |lab| {
        lab.create_service("web", "", "")?;
        let address = lab.address("web").await?;
        for status in [
            r#"{"status":{"loadBalancer":null}}"#,
            r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.9"}]}}}"#,
        ] {
            let begin = Instant::now();
            lab.kubectl(&["patch", "service", "web", "--subresource=status", "--type=merge", "-p", status])?;
            lab.until_service("web", "put back", |s| addresses(s) == [address]).await?;
            println!("status put back after {:?}", begin.elapsed());
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn source_ranges_keep_everybody_else_out() {
    Lab::run("ranges", async |lab| {
        let (_, local) = lab.application().await?;
        let remote = lab.bed.remote_ns();
        let ask = async || remote.http_get((local, 80), "/hostname", None, Duration::from_secs(1)).await;
        wait::until("an answer to the remote client", SOON, ask).await?;
        let patch = format!(r#"{{"spec":{{"loadBalancerSourceRanges":["{}/32"]}}}}"#, places::CLIENT);
        lab.kubectl(&["patch", "service", "local", "--type=merge", "-p", &patch])?;
        wait::until("the remote client to be kept out", SOON, async || match ask().await {
            Ok(response) => Err(format!("it got {}", response.status)),
            Err(_) => Ok(()),
        })
        .await?;
        lab.answer(local, "/hostname", SOON).await?;
        ensure!(addresses(&lab.service("local").await?) == [local], "the address changed");
        Ok(())
    })
    .await;
}
