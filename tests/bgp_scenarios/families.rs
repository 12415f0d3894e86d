//! IPv4, IPv6 and both: over a session each, or over one.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use causeway_bed::addresses::ROUTER_V6;
use causeway_bed::router::{Neighbour, Path, RemoteAsn, RouterConfig};
use serde_json::{Value, json};

use super::scene::{ALL, NODES, Scene, TOR, host, scenario};
use super::service::plain;
use super::support::SOON;

fn by_v6() -> Value {
    json!({"peerAddress": ROUTER_V6.to_string()})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_ipv6_over_ipv6() {
    scenario("six", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&by_v6())?;
        scene.advertise(&json!({}), &json!({}))?;
        let addresses = scene.service("web", &ALL, plain().v6()).await?;
        scene.routed(host(addresses[0]), &ALL).await?;
        scene.answers(addresses[0]).await?;
        // A Service of the other family has no route there.
        let other = scene.service("four", &ALL, plain()).await?;
        scene.routes_are(scene.router(), &[host(addresses[0])]).await?;
        let local = scene.service("near", &[3], plain().v6().local()).await?;
        scene.routed(host(local[0]), &[3]).await?;
        ensure!(other[0].is_ipv4());
        scene.status("bgpsessionstates", 3, |s| s["bgpStatus"] == "Established").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_over_a_session_each() {
    scenario("each", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.peer_named("each-v6", &json!({}), &by_v6())?;
        scene.advertise(&json!({}), &json!({"communities": ["64500:9"]}))?;
        let addresses = scene.service("web", &ALL, plain().dual()).await?;
        for address in &addresses {
            // Each over the session of its own family, and over that alone.
            for path in scene.routed(host(*address), &ALL).await? {
                ensure!(path.from.is_some_and(|from| from.is_ipv4() == address.is_ipv4()), "{path:?}");
                ensure!(path.communities == [(64500, 9)].into(), "{path:?}");
            }
            scene.answers(*address).await?;
        }
        scene.status("bgpsessionstates", 6, |s| s["bgpStatus"] == "Established").await?;
        // One of the two goes, and the routes of its family with it.
        scene.delete("bgppeer", "each-v6")?;
        scene.routed(host(addresses[1]), &[]).await?;
        scene.routed(host(addresses[0]), &ALL).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_over_one_session() {
    scenario("one", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({"dualStackAddressFamily": true}))?;
        scene.advertise(&json!({}), &json!({"communities": ["64500:9", "large:64500:9:9"]}))?;
        let addresses = scene.service("web", &ALL, plain().dual()).await?;
        told_over(scene, &addresses, true).await?;
        for address in &addresses {
            scene.answers(*address).await?;
        }
        // The same over IPv6.
        scene.peer(&json!({"dualStackAddressFamily": true, "peerAddress": ROUTER_V6.to_string()}))?;
        told_over(scene, &addresses, false).await?;
        for address in &addresses {
            scene.answers(*address).await?;
        }
        // And of IPv6 alone, if not both are asked for.
        scene.peer(&by_v6())?;
        scene.routed(host(addresses[0]), &[]).await?;
        scene.routed(host(addresses[1]), &ALL).await.map(drop)
    })
    .await;
}

/// Waits until routes to all of these come over sessions of IPv4, or of IPv6, with their communities and next hops of their own family.
async fn told_over(scene: &Scene<'_>, addresses: &[IpAddr], v4: bool) -> Result<()> {
    for address in addresses {
        let what = format!("{address} to be told over sessions of {}", if v4 { "IPv4" } else { "IPv6" });
        let hops = ALL.iter().map(|n| scene.node(*n, *address)).collect::<Result<Vec<_>>>()?;
        scene
            .router()
            .wait_paths(host(*address), &what, SOON, |paths| {
                let fits = |path: &Path| {
                    path.from.is_some_and(|from| from.is_ipv4() == v4)
                        && path.communities == [(64500, 9)].into()
                        && path.large == [[64500, 9, 9]].into()
                };
                paths.len() == 3
                    && paths.iter().all(fits)
                    && hops.iter().all(|hop| paths.iter().any(|path| path.next_hop == Some(*hop)))
            })
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_an_as_localpref_is_sent_with_both_families() {
    let internal = |neighbour: Neighbour| Neighbour { remote: RemoteAsn::Internal, ..neighbour };
    let config = RouterConfig::top_of_rack(NODES).every(internal);
    scenario("inside", config, async |scene| {
        scene.peer(&json!({"peerASN": NODES, "dualStackAddressFamily": true}))?;
        // Prepending is for others.
        scene.advertise(
            &json!({"causeway.io/as-path-prepend": "3"}),
            &json!({"localPref": 300, "communities": ["64500:9"]}),
        )?;
        let addresses = scene.service("web", &ALL, plain().dual()).await?;
        for address in &addresses {
            for path in scene.routed(host(*address), &ALL).await? {
                ensure!(path.local_pref == Some(300) && path.as_path.is_empty(), "{path:?}");
                ensure!(path.communities == [(64500, 9)].into(), "{path:?}");
            }
        }
        scene.answers(addresses[0]).await?;
        let before = scene.times()?;
        scene.advertise(&json!({}), &json!({"localPref": 50, "communities": null}))?;
        for address in &addresses {
            scene
                .router()
                .wait_paths(host(*address), "to have the other localPref", SOON, |paths| {
                    paths.len() == 3
                        && paths.iter().all(|p| p.local_pref == Some(50) && p.communities.is_empty())
                })
                .await?;
        }
        ensure!(scene.times()? == before, "sessions were reset");
        Ok(())
    })
    .await;
}
