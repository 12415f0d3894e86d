//! Who announces a Service, and that traffic comes.

use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::router::RouterConfig;
use causeway_bed::wait;
use serde_json::json;

use super::scene::{ALL, NODES, Scene, TOR, host, scenario};
use super::service::plain;
use super::support::{self, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_announces_a_cluster_service_and_traffic_is_shared_out() {
    scenario("share", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        scene.established().await?;
        let address = scene.service_v4("share", &ALL, plain()).await?;
        let prefix = host(address);
        scene.routed(prefix, &ALL).await?;
        scene
            .router()
            .wait_paths(prefix, "to be used over every node", SOON, |paths| {
                paths.iter().all(|path| path.as_path == [NODES] && path.used)
            })
            .await?;
        let hops = ALL.iter().map(|n| scene.node(*n, address)).collect::<Result<Vec<_>>>()?;
        scene.router().wait_gateways(prefix, hops, SOON).await?;
        let mut counters = Vec::new();
        for node in ALL {
            let node = scene.lab.bed.node(node)?.namespace();
            counters.push(
                node.count_arriving("share", &format!("ip daddr {address} tcp flags & (syn|ack) == syn"))?,
            );
        }
        let remote = scene.lab.bed.remote_ns();
        wait::until("traffic by every node", SOON, async || {
            for _ in 0..20 {
                let answer =
                    remote.http_get((address, 80), "/hostname", None, Duration::from_secs(2)).await?;
                ensure!(answer.status == 200, "{answer:?}");
            }
            let packets = counters.iter().map(|counter| counter.packets()).collect::<Result<Vec<u64>>>()?;
            ensure!(packets.iter().all(|packets| *packets > 0), "{packets:?}");
            Ok(())
        })
        .await?;
        scene
            .status("bgpsessionstates", 3, |s| s["bgpStatus"] == "Established" && s["bfdStatus"] == "N/A")
            .await?;
        scene
            .status("servicebgpstatuses", 3, |s| {
                s["serviceName"] == "share" && s["peers"] == json!(["share"])
            })
            .await?;
        let service = (scene.lab.namespace.as_str(), "Service", "share");
        scene.lab.event(service, "nodeAssigned", &["with protocol \"bgp\""]).await?;
        scene.said("BGPPeer", "share", "BGPSessionUp", &["is established"]).await?;
        // No endpoint, no route; and none without the Service.
        scene.endpoints("share", &[])?;
        scene.routed(prefix, &[]).await?;
        scene.endpoints("share", &[3])?;
        scene.routed(prefix, &ALL).await?;
        scene.lab.kubectl(&["delete", "service", "share"])?;
        scene.routed(prefix, &[]).await?;
        scene.status("servicebgpstatuses", 0, |_| true).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_service_is_announced_where_its_endpoints_are() {
    scenario("local", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let address = scene.service_v4("near", &[2], plain().local()).await?;
        let prefix = host(address);
        scene.routed(prefix, &[2]).await?;
        scene.answers(address).await?;
        scene.endpoints("near", &[1, 3])?;
        scene.routed(prefix, &[1, 3]).await?;
        // Those that terminate still answer; the route is gone before they are.
        let (ready, terminating) =
            (json!({"ready": true}), json!({"ready": false, "serving": true, "terminating": true}));
        scene.endpoints_in("near", &[(1, terminating.clone()), (3, ready)])?;
        scene.routed(prefix, &[3]).await?;
        // Nobody has another.
        scene.endpoints_in("near", &[(1, terminating.clone()), (3, terminating)])?;
        scene.routed(prefix, &[1, 3]).await?;
        scene.endpoints_in("near", &[(1, json!({"ready": false, "serving": false}))])?;
        scene.routed(prefix, &[]).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_asked_for_and_shared_ones_are_routed() {
    scenario("asked", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        // A pool that is a range, announced by its label.
        scene.pool(
            "asked-range",
            &json!({"tier": "gold"}),
            &[format!("{}-{}", scene.v4(200), scene.v4(201))],
        )?;
        scene.advertise(
            &json!({}),
            &json!({"ipAddressPools": null, "ipAddressPoolSelectors": [{"matchLabels": {"tier": "gold"}}]}),
        )?;
        let other = scene.service_v4("other-pool", &[1], plain()).await?;
        let asks = |address: String| {
            plain().annotations(
                json!({"metallb.io/loadBalancerIPs": address, "metallb.io/address-pool": "asked-range"}),
            )
        };
        let asked = scene.service_v4("asks", &[1], asks(scene.v4(201).to_string())).await?;
        ensure!(asked == scene.v4(201), "{asked}");
        scene.routed(host(asked), &ALL).await?;
        // Two that share: one route for as long as one of them is there.
        let shares = |port: u16| {
            let annotations =
                json!({"metallb.io/allow-shared-ip": "key", "metallb.io/address-pool": "asked-range"});
            let ports = json!({"ports": [{"port": port, "targetPort": 8080}]});
            plain().annotations(annotations).spec(&ports)
        };
        let one = scene.service_v4("one", &[1], shares(80)).await?;
        let two = scene.service_v4("two", &[2], shares(81)).await?;
        ensure!(one == two && one == scene.v4(200), "{one} {two}");
        scene.routed(host(one), &ALL).await?;
        scene.lab.kubectl(&["delete", "service", "one"])?;
        scene.lab.until_service("two", "still there", |s| support::addresses(s) == [two]).await?;
        // The route of the pool that is not announced was never there, and that of the shared address still is.
        scene.routes_are(scene.router(), &[host(one), host(asked)]).await?;
        ensure!(other != one);
        scene.lab.kubectl(&["delete", "service", "two"])?;
        scene.routed(host(one), &[]).await?;
        // The pool goes, and with it the routes of its addresses; it comes again, and so do they.
        scene.delete("ipaddresspool", "asked-range")?;
        scene.routed(host(asked), &[]).await?;
        scene.pool(
            "asked-range",
            &json!({"tier": "gold"}),
            &[format!("{}-{}", scene.v4(200), scene.v4(201))],
        )?;
        scene.routed(host(asked), &ALL).await?;
        // A Service that is none any more.
        scene.lab.kubectl(&["patch", "service", "asks", "-p", r#"{"spec": {"type": "ClusterIP"}}"#])?;
        scene.routed(host(asked), &[]).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layer_2_and_bgp_announce_the_same_service() {
    scenario("both-ways", RouterConfig::top_of_rack(TOR), async |scene| {
        // Addresses of the nodes' segment.
        scene.pool("both-ways-segment", &json!({}), &["10.77.100.112/30".to_owned()])?;
        let pools = json!({"ipAddressPools": ["both-ways-segment"]});
        scene.object("L2Advertisement", "both-ways", &json!({}), &json!({"spec": pools}))?;
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &pools)?;
        let like = plain().annotations(json!({"metallb.io/address-pool": "both-ways-segment"}));
        let address = scene.service_v4("web", &ALL, like).await?;
        scene.routed(host(address), &ALL).await?;
        scene.lab.announcer(address, None).await?;
        scene.lab.answer(address, "/hostname", SOON).await?;
        scene.answers(address).await?;
        let service = (scene.lab.namespace.as_str(), "Service", "web");
        for protocol in ["layer2", "bgp"] {
            scene.lab.event(service, "nodeAssigned", &[&format!("with protocol \"{protocol}\"")]).await?;
        }
        scene.delete("l2advertisement", "both-ways")?;
        wait::until("nobody to answer on the segment", SOON, async || {
            let nodes = scene.lab.announcers(address)?;
            ensure!(nodes.is_empty(), "{nodes:?}");
            Ok(())
        })
        .await?;
        scene.routed(host(address), &ALL).await?;
        scene.answers(address).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn affinity_is_best_effort_unless_one_node_announces() {
    const CONDITION: &str = "causeway.io/SessionAffinityBestEffort";
    scenario("affinity", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let like = plain().spec(&json!({"sessionAffinity": "ClientIP"}));
        let address = scene.service_v4("web", &ALL, like.clone()).await?;
        scene.routed(host(address), &ALL).await?;
        scene
            .lab
            .until_service("web", "told that its affinity is best effort", |s| {
                matches!(support::condition(s, CONDITION), Some((status, message)) if status == "True" && message.contains("causeway.io/single-announcer"))
            })
            .await?;
        scene.apply_service("web", &like.annotations(json!({"causeway.io/single-announcer": "true"})))?;
        scene.lab.until_service("web", "without the condition", |s| support::condition(s, CONDITION).is_none()).await?;
        let announcer = only_one(scene, address, &[]).await?;
        scene.answers(address).await?;
        // Another one takes over, and only one.
        let label = "node.kubernetes.io/exclude-from-external-load-balancers";
        scene.label(announcer, &format!("{label}=test"))?;
        let next = only_one(scene, address, &[announcer]).await;
        scene.label(announcer, &format!("{label}-"))?;
        next?;
        scene.answers(address).await
    })
    .await;
}

/// Waits until exactly one node announces, none of these.
async fn only_one(scene: &Scene<'_>, address: std::net::Ipv4Addr, not: &[usize]) -> Result<usize> {
    let paths = scene
        .router()
        .wait_paths(host(address), "one other node to announce", SOON, |paths| {
            let others = not.iter().all(|n| {
                scene.node(*n, address).is_ok_and(|hop| paths.iter().all(|p| p.next_hop != Some(hop)))
            });
            paths.len() == 1 && others
        })
        .await?;
    let hop = paths[0].next_hop;
    let found = ALL.into_iter().find(|n| scene.node(*n, address).ok() == hop);
    found.ok_or_else(|| anyhow::anyhow!("{hop:?} is no node"))
}
