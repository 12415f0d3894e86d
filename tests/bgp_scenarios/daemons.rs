//! BIRD and GoBGP instead of FRR.

use anyhow::{Result, ensure};
use causeway_bed::addresses::ROUTER;
use causeway_bed::router::{Kind, Neighbour, RouterConfig};
use ipnet::IpNet;
use serde_json::json;

use super::scene::{ALL, NODES, Scene, TOR, host, scenario_with};
use super::service::plain;
use super::support::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_bird_in_front_traffic_comes() {
    scenario_with("bird", Kind::Bird, RouterConfig::top_of_rack(TOR), async |scene| {
        let prefix = announced(scene).await?;
        let hops = ALL.iter().map(|n| scene.node(*n, prefix.addr())).collect::<Result<Vec<_>>>()?;
        scene.router().wait_gateways(prefix, hops, SOON).await?;
        scene.answers(prefix.addr()).await?;
        ends(scene, prefix).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gobgp_hears_what_the_others_hear() {
    // It keeps a table and no more, so there is no traffic.
    let nodes = ALL.map(|n| Neighbour::at([10, 77, 0, 10 + n as u8], NODES).passive());
    let config = nodes.into_iter().fold(RouterConfig::new(TOR, ROUTER), RouterConfig::neighbour);
    scenario_with("gobgp", Kind::Gobgp, config, async |scene| {
        let prefix = announced(scene).await?;
        ends(scene, prefix).await
    })
    .await;
}

/// Announces a Service with the policy Cluster; the route to it.
async fn announced(scene: &Scene<'_>) -> Result<IpNet> {
    scene.peer(&json!({}))?;
    scene.advertise(
        &json!({"causeway.io/med": "30", "causeway.io/as-path-prepend": "1"}),
        &json!({"communities": ["64500:3", "large:64500:3:4"]}),
    )?;
    let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
    let paths = scene.routed(prefix, &ALL).await?;
    for path in &paths {
        ensure!(path.as_path == [NODES; 2] && path.med == Some(30), "{path:?}");
        ensure!(path.communities == [(64500, 3)].into() && path.large == [[64500, 3, 4]].into(), "{path:?}");
    }
    Ok(prefix)
}

/// A Service with the policy Local beside it, and the end of both.
async fn ends(scene: &Scene<'_>, cluster: IpNet) -> Result<()> {
    let local = host(scene.service_v4("near", &[2], plain().local()).await?);
    scene.routed(local, &[2]).await?;
    scene.routes_are(scene.router(), &[cluster, local]).await?;
    scene.lab.kubectl(&["delete", "service", "web", "near"])?;
    scene.routes_are(scene.router(), &[]).await
}
