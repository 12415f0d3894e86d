//! What routes are sent with, and of which length they are.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use causeway_bed::router::{Path, RouterConfig};
use causeway_bed::wait;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::scene::{ALL, CONFIG, NODES, Scene, TOR, host, scenario};
use super::service::plain;
use super::support::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_are_those_of_the_advertisement_and_change_without_a_reset() {
    scenario("attributes", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(
            &json!({"causeway.io/med": "50", "causeway.io/as-path-prepend": "2"}),
            &json!({"communities": ["64500:7", "large:64500:1:2", "no-advertise", "vip", "vip-large"]}),
        )?;
        let prefix = host(scene.service_v4("web", &[1, 2], plain()).await?);
        // Names that nobody has defined yet.
        scene
            .said("BGPAdvertisement", "attributes", "InvalidAdvertisement", &["no Community defines \"vip\""])
            .await?;
        let aliases =
            json!([{"name": "vip", "value": "64500:77"}, {"name": "vip-large", "value": "large:64500:7:7"}]);
        scene.object("Community", "attributes", &json!({}), &json!({"spec": {"communities": aliases}}))?;
        for path in scene.routed(prefix, &ALL).await? {
            ensure!(path.as_path == [NODES; 3] && path.med == Some(50), "{path:?}");
            // The last one is no-advertise.
            ensure!(path.communities == [(64500, 7), (64500, 77), (65535, 65282)].into(), "{path:?}");
            ensure!(path.large == [[64500, 1, 2], [64500, 7, 7]].into(), "{path:?}");
        }
        let before = scene.times()?;
        scene.advertise(&json!({}), &json!({"communities": ["64500:8"]}))?;
        scene
            .router()
            .wait_paths(prefix, "to have the other community, from all", SOON, |paths| {
                let fits = |p: &Path| {
                    p.communities == [(64500, 8)].into()
                        && p.large.is_empty()
                        && p.med.is_none()
                        && p.as_path == [NODES]
                };
                paths.len() == 3 && paths.iter().all(fits)
            })
            .await?;
        ensure!(scene.times()? == before, "sessions were reset");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_stand_for_cluster_services_and_for_local_ones_if_asked_to() {
    scenario("aggregates", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({"dualStackAddressFamily": true}))?;
        let lengths = json!({"aggregationLength": 26, "aggregationLengthV6": 120});
        scene.advertise(&json!({}), &lengths)?;
        let local = scene.service("near", &[2], plain().dual().local()).await?;
        let single: Vec<IpNet> = local.iter().map(|address| host(*address)).collect();
        for prefix in &single {
            scene.routed(*prefix, &[2]).await?;
        }
        scene.routes_are(scene.router(), &single).await?;
        let cluster = scene.service("far", &[2], plain().dual()).await?;
        let wide: Vec<IpNet> = cluster
            .iter()
            .map(|address| Ok(IpNet::new(*address, if address.is_ipv4() { 26 } else { 120 })?.trunc()))
            .collect::<Result<_>>()?;
        for prefix in &wide {
            scene.routed(*prefix, &ALL).await?;
        }
        scene.routes_are(scene.router(), &[single.clone(), wide.clone()].concat()).await?;
        // As MetalLB has it: no single addresses any more.
        scene.advertise(&json!({"causeway.io/aggregate-local": "true"}), &lengths)?;
        scene.routes_are(scene.router(), &wide).await?;
        scene.lab.kubectl(&["delete", "service", "far"])?;
        for prefix in &wide {
            scene.routed(*prefix, &[2]).await?;
        }
        // Without lengths, single addresses.
        scene.advertise(&json!({}), &json!({}))?;
        scene.routes_are(scene.router(), &single).await?;
        // A route that would draw traffic for addresses that are not the pool's.
        scene.advertise(&json!({}), &json!({"aggregationLength": 16}))?;
        scene
            .said("BGPAdvertisement", "aggregates", "InvalidAdvertisement", &["spec.aggregationLength"])
            .await
    })
    .await;
}

/// What `ConfigurationState` of a node's speaker says is wrong.
fn complaint(scene: &Scene<'_>) -> Result<String> {
    let text = scene.lab.bed.kubectl(&[
        "-n",
        CONFIG,
        "get",
        "configurationstates",
        "speaker-node1",
        "-o",
        "json",
    ])?;
    let state: Value = serde_json::from_str(&text)?;
    Ok(state["status"]["errorSummary"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_advertisements_are_united_or_said_to_contradict_each_other() {
    scenario("overlap", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.pool("overlap-other", &json!({}), &[format!("{}/28", scene.v4(160))])?;
        scene.advertise_named("overlap-other", &json!({}), &json!({"ipAddressPools": ["overlap-other"]}))?;
        scene.advertise(&json!({}), &json!({"communities": ["64500:1"]}))?;
        scene.advertise_named("overlap-two", &json!({}), &json!({"communities": ["64500:2"]}))?;
        scene.advertise_named(
            "overlap-wide",
            &json!({}),
            &json!({"aggregationLength": 26, "aggregationLengthV6": 120, "communities": ["64500:3"]}),
        )?;
        let address = scene.service_v4("web", &ALL, plain()).await?;
        let other = plain().annotations(json!({"metallb.io/address-pool": "overlap-other"}));
        let other = host(scene.service_v4("other", &ALL, other).await?);
        let (single, wide) = (host(address), IpNet::new(address.into(), 26)?.trunc());
        let told = async |prefix: IpNet, communities: &[(u16, u16)]| {
            let what = format!("{prefix} to have {communities:?}");
            let expected: BTreeSet<(u16, u16)> = communities.iter().copied().collect();
            let fits = |path: &Path| path.communities == expected;
            scene
                .router()
                .wait_paths(prefix, &what, SOON, |paths| paths.len() == 3 && paths.iter().all(fits))
                .await
        };
        told(single, &[(64500, 1), (64500, 2)]).await?;
        told(wide, &[(64500, 3)]).await?;
        scene.routed(other, &ALL).await?;

        // Two that want one route with different attributes: it is not announced, all else is.
        let before = scene.times()?;
        scene.advertise_named(
            "overlap-two",
            &json!({}),
            &json!({"communities": ["64500:2"], "localPref": 200}),
        )?;
        scene.routed(single, &[]).await?;
        let both = ["overlap", "overlap-two", "localPref"];
        scene
            .lab
            .event((scene.lab.namespace.as_str(), "Service", "web"), "ConflictingAdvertisements", &both)
            .await?;
        scene
            .said(
                "BGPAdvertisement",
                "overlap",
                "ConflictingAdvertisements",
                &["spec.localPref", "overlap-two"],
            )
            .await?;
        scene
            .said(
                "BGPAdvertisement",
                "overlap-two",
                "ConflictingAdvertisements",
                &["spec.localPref", "overlap"],
            )
            .await?;
        wait::until("the condition of the configuration", SOON, async || {
            let complaint = complaint(scene)?;
            ensure!(complaint.contains("localPref"), "{complaint}");
            Ok(())
        })
        .await?;
        told(wide, &[(64500, 3)]).await?;
        scene.routed(other, &ALL).await?;

        // Mended: the same in both.
        scene.advertise(&json!({}), &json!({"communities": ["64500:1"], "localPref": 200}))?;
        told(single, &[(64500, 1), (64500, 2)]).await?;
        wait::until("the configuration to be sound", SOON, async || {
            let complaint = complaint(scene)?;
            ensure!(complaint.is_empty(), "{complaint}");
            Ok(())
        })
        .await?;
        ensure!(scene.times()? == before, "sessions were reset");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_bandwidth_tells_how_many_endpoints_a_node_has() {
    scenario("weights", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({"causeway.io/link-bandwidth": "8Mbit"}), &json!({}))?;
        let prefix = host(scene.service_v4("web", &[1, 1, 2], plain().local()).await?);
        let weights = async |expected: &[(usize, u64)]| -> Result<()> {
            let nodes: Vec<usize> = expected.iter().map(|(node, _)| *node).collect();
            scene.routed(prefix, &nodes).await?;
            let hops = expected
                .iter()
                .map(|(node, bytes)| Ok((Some(scene.node(*node, prefix.addr())?), Some(*bytes))));
            let hops = hops.collect::<Result<Vec<_>>>()?;
            scene
                .router()
                .wait_paths(prefix, "to be weighted by endpoints", SOON, |paths| {
                    paths.len() == hops.len()
                        && paths.iter().all(|p| hops.contains(&(p.next_hop, p.bandwidth)))
                })
                .await
                .map(drop)
        };
        weights(&[(1, 2_000_000), (2, 1_000_000)]).await?;
        scene.endpoints("web", &[1, 2, 2, 2])?;
        weights(&[(1, 1_000_000), (2, 3_000_000)]).await?;
        // FRR puts the weights into the kernel.
        let hops = [1, 2].map(|node| scene.node(node, prefix.addr()).map(|hop| hop.to_string()));
        let [one, two] = hops;
        let (one, two) = (one?, two?);
        wait::until("weights of next hops", SOON, async || {
            let routes =
                scene.router().namespace().run(&["ip", "-j", "route", "show", &prefix.to_string()])?;
            let routes: Value = serde_json::from_str(&routes)?;
            let hops = routes[0]["nexthops"].as_array().context("several next hops")?;
            let weight = |gateway: &str| {
                hops.iter().find(|h| h["gateway"] == gateway).and_then(|h| h["weight"].as_u64())
            };
            let (Some(one), Some(two)) = (weight(&one), weight(&two)) else { anyhow::bail!("{routes}") };
            ensure!(two > 2 * one, "{routes}");
            Ok(())
        })
        .await
    })
    .await;
}
