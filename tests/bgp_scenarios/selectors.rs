//! Which nodes announce which Services to which peers.

use std::collections::BTreeSet;

use anyhow::ensure;
use causeway_bed::addresses::{ROUTER, ROUTER_2};
use causeway_bed::router::{Kind, Path, RouterConfig};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::scene::{ALL, NODES, TOR, host, scenario};
use super::service::plain;
use super::support::SOON;

/// Selectors of these nodes.
fn on(nodes: &[usize]) -> Value {
    let names: Vec<String> = nodes.iter().map(|n| format!("node{n}")).collect();
    json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": names}]}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_an_advertisement_names_hear_it_and_no_other() {
    scenario("peers", RouterConfig::top_of_rack(TOR), async |scene| {
        let config = RouterConfig { router_id: ROUTER_2, ..RouterConfig::top_of_rack(TOR) };
        let second = scene.start(&scene.lab.bed.second_router_ns()?, Kind::Frr, config).await?;
        scene.peer_named("peers-a", &json!({}), &json!({"peerAddress": ROUTER.to_string()}))?;
        scene.peer_named("peers-b", &json!({}), &json!({"peerAddress": ROUTER_2.to_string()}))?;
        let to = |name: &str, peers: &[&str], community: &str| {
            scene.advertise_named(name, &json!({}), &json!({"peers": peers, "communities": [community]}))
        };
        to("peers-a", &["peers-a"], "64500:1")?;
        let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
        let heard = async |router: usize, community: u16| {
            let what = format!("64500:{community} at router {router}");
            let fits = |paths: &[Path]| {
                paths.len() == 3 && paths.iter().all(|p| p.communities == [(64500, community)].into())
            };
            scene.other(router).wait_paths(prefix, &what, SOON, fits).await.map(drop)
        };
        heard(0, 1).await?;
        let peers = async |names: Value| {
            scene.status("servicebgpstatuses", 3, |s| s["peers"] == names && s["serviceName"] == "web").await
        };
        peers(json!(["peers-a"])).await?;
        scene.other(second).wait_established(scene.node(1, ROUTER)?, SOON).await?;
        scene.routes_are(scene.other(second), &[]).await?;
        // Each its own.
        to("peers-b", &["peers-b"], "64500:2")?;
        heard(second, 2).await?;
        heard(0, 1).await?;
        peers(json!(["peers-a", "peers-b"])).await?;
        scene.delete("bgpadvertisement", "peers-a")?;
        scene.routed(prefix, &[]).await?;
        peers(json!(["peers-b"])).await?;
        heard(second, 2).await?;
        // A peer that does not exist is named: said, and the others hear it.
        to("peers-b", &["peers-b", "nobody"], "64500:2")?;
        scene.said("BGPAdvertisement", "peers-b", "UnknownPeer", &["nobody"]).await?;
        heard(second, 2).await?;
        scene.delete("bgpadvertisement", "peers-b")?;
        scene.status("servicebgpstatuses", 0, |_| true).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_an_advertisement_selects_announce_and_no_other() {
    scenario("nodes", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.pool("nodes-two", &json!({}), &[format!("{}/28", scene.v4(160))])?;
        let from = |name: &str, pool: &str, selectors: Value| {
            let spec = json!({"ipAddressPools": [pool], "nodeSelectors": selectors});
            scene.advertise_named(name, &json!({}), &spec)
        };
        from("nodes-a", "nodes", on(&[1]))?;
        from("nodes-b", "nodes-two", on(&[2, 3]))?;
        let one = host(scene.service_v4("one", &ALL, plain()).await?);
        let like = plain().annotations(json!({"metallb.io/address-pool": "nodes-two"}));
        let two = host(scene.service_v4("two", &ALL, like).await?);
        scene.routed(one, &[1]).await?;
        scene.routed(two, &[2, 3]).await?;
        let before = scene.times()?;
        // Two advertisements of one Service add up.
        from("nodes-c", "nodes", on(&[3]))?;
        scene.routed(one, &[1, 3]).await?;
        // One is narrowed: only its Service is withdrawn.
        from("nodes-b", "nodes-two", on(&[3]))?;
        scene.routed(two, &[3]).await?;
        scene.routed(one, &[1, 3]).await?;
        // A node gets a label, and loses it.
        from("nodes-c", "nodes", json!([{"matchLabels": {"bgp-rack": "left"}}]))?;
        scene.routed(one, &[1]).await?;
        scene.label(2, "bgp-rack=left")?;
        let labelled = scene.routed(one, &[1, 2]).await;
        scene.label(2, "bgp-rack-")?;
        labelled?;
        scene.routed(one, &[1]).await?;
        // None: all of its routes go.
        from("nodes-b", "nodes-two", json!([{"matchLabels": {"bgp-rack": "none"}}]))?;
        scene.routed(two, &[]).await?;
        ensure!(scene.times()? == before, "sessions were reset");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_for_the_nodes_that_it_selects() {
    scenario("racks", RouterConfig::top_of_rack(TOR), async |scene| {
        let peer = |name: &str, nodes: &[usize], asn: u32| {
            scene.peer_named(name, &json!({}), &json!({"nodeSelectors": on(nodes), "myASN": asn}))
        };
        scene.advertise(&json!({}), &json!({}))?;
        let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
        // One after the other, each with another AS number.
        peer("racks-a", &[1], NODES)?;
        scene.routed(prefix, &[1]).await?;
        scene.status("bgpsessionstates", 1, |s| s["node"] == "node1").await?;
        peer("racks-b", &[2, 3], NODES + 1)?;
        for path in scene.routed(prefix, &ALL).await? {
            let first = path.next_hop == Some(scene.node(1, ROUTER)?);
            ensure!(path.as_path == [if first { NODES } else { NODES + 1 }], "{path:?}");
        }
        let before = scene.times()?;
        // One is narrowed: the node that is left out ends its session, and no other does.
        peer("racks-b", &[3], NODES + 1)?;
        scene.routed(prefix, &[1, 3]).await?;
        scene.status("bgpsessionstates", 2, |s| s["bgpStatus"] == "Established").await?;
        let now = [1, 3].map(|n| scene.router().session(scene.node(n, ROUTER)?).map(|s| s.established));
        ensure!(
            now[0].as_ref().ok() == Some(&before[0]) && now[1].as_ref().ok() == Some(&before[2]),
            "{now:?}"
        );
        // Two that lead to one router meet on a node: the older is spoken with, the younger is told.
        peer("racks-c", &[2, 3], NODES)?;
        scene.said("BGPPeer", "racks-c", "DuplicatePeer", &["node3", "racks-b"]).await?;
        scene.routed(prefix, &ALL).await?;
        let third = scene.node(3, ROUTER)?;
        ensure!(
            scene
                .router()
                .paths(prefix)?
                .iter()
                .any(|p| p.next_hop == Some(third) && p.as_path == [NODES + 1])
        );
        ensure!(scene.router().session(third)?.established == before[2], "node3 was reset");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_an_advertisement_selects_are_announced_by_it() {
    scenario("services", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        let select = |name: &str, tiers: &[&str], more: Value| {
            let selectors: Vec<Value> = tiers.iter().map(|t| json!({"matchLabels": {"tier": t}})).collect();
            let mut spec = json!({"serviceSelectors": selectors});
            for (key, value) in more.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            scene.advertise_named(name, &json!({}), &spec)
        };
        // One of several selectors is enough.
        select("services", &["gold", "silver"], json!({"communities": ["64500:1"]}))?;
        let mut prefixes: Vec<IpNet> = Vec::new();
        for (name, tier) in [("one", "gold"), ("two", "silver"), ("three", "bronze")] {
            let like = plain().labels(json!({"tier": tier}));
            prefixes.push(host(scene.service_v4(name, &ALL, like).await?));
        }
        scene.routed(prefixes[0], &ALL).await?;
        scene.routes_are(scene.router(), &prefixes[..2]).await?;
        // By the labels of the Service.
        scene.apply_service("three", &plain().labels(json!({"tier": "gold"})))?;
        scene.routed(prefixes[2], &ALL).await?;
        scene.apply_service("three", &plain().labels(json!({"tier": "bronze"})))?;
        scene.routed(prefixes[2], &[]).await?;
        // By the advertisement.
        select("services", &["silver", "bronze"], json!({"communities": ["64500:1"]}))?;
        scene.routes_are(scene.router(), &prefixes[1..]).await?;
        // What overlaps is united, what does not has communities of its own.
        select("services-two", &["silver", "gold"], json!({"communities": ["64500:2"]}))?;
        // An aggregate for all beside the single addresses of some.
        scene.advertise_named(
            "services-wide",
            &json!({}),
            &json!({"aggregationLength": 26, "communities": ["64500:3"]}),
        )?;
        let wide = IpNet::new(prefixes[0].addr(), 26)?.trunc();
        let expected: [(IpNet, &[(u16, u16)]); 4] = [
            (prefixes[0], &[(64500, 2)]),
            (prefixes[1], &[(64500, 1), (64500, 2)]),
            (prefixes[2], &[(64500, 1)]),
            (wide, &[(64500, 3)]),
        ];
        for (prefix, communities) in expected {
            let what = format!("{prefix} to have {communities:?}");
            let communities: BTreeSet<(u16, u16)> = communities.iter().copied().collect();
            let fits = |path: &Path| path.communities == communities;
            scene
                .router()
                .wait_paths(prefix, &what, SOON, |paths| paths.len() == 3 && paths.iter().all(fits))
                .await?;
        }
        // An aggregate of some Services would draw the traffic of the others.
        let refused = select("services-odd", &["gold"], json!({"aggregationLength": 26}));
        ensure!(refused.is_err(), "the API server is to refuse it");
        Ok(())
    })
    .await;
}
