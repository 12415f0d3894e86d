//! BFD beside the sessions.

use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::addresses::ROUTER_V6;
use causeway_bed::router::{Bfd, RouterConfig};
use serde_json::{Value, json};

use super::scene::{ALL, Scene, TOR, host, scenario};
use super::service::plain;
use super::support::SOON;

fn profile(scene: &Scene<'_>, name: &str, spec: &Value) -> Result<()> {
    scene.object("BFDProfile", name, &json!({}), &json!({"spec": spec}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bfd_tells_within_a_moment_that_a_node_is_gone() {
    let bfd = Bfd::default();
    let config = RouterConfig::top_of_rack(TOR).every(move |neighbour| neighbour.bfd(bfd));
    scenario("watched", config, async |scene| {
        profile(scene, "watched", &json!({}))?;
        scene.peer(&json!({"bfdProfile": "watched"}))?;
        scene.peer_named(
            "watched-v6",
            &json!({}),
            &json!({"peerAddress": ROUTER_V6.to_string(), "bfdProfile": "watched"}),
        )?;
        scene.advertise(&json!({}), &json!({}))?;
        let addresses = scene.service("web", &[1], plain().dual()).await?;
        for address in &addresses {
            scene.routed(host(*address), &ALL).await?;
        }
        scene.status("bgpsessionstates", 6, |s| s["bfdStatus"] == "Up").await?;
        let node = scene.lab.bed.node(3)?;
        let cut = node.cut_power()?;
        let mut gone = Ok(());
        for address in &addresses {
            gone = gone.and(scene.routed(host(*address), &[1, 2]).await.map(drop));
        }
        let took = cut.elapsed();
        node.restore_power()?;
        gone?;
        println!("power cut until the router has given the node up, by both families: {took:?}");
        // Well below the router's hold time of 9 s; `make bench SUITE=bgp` judges it.
        ensure!(took < Duration::from_secs(6), "{took:?}");
        for address in &addresses {
            scene.routed(host(*address), &ALL).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parameter_of_a_profile_counts() {
    let bfd = Bfd { echo: Some(100), ..Bfd::every(400) };
    let config = RouterConfig::top_of_rack(TOR).every(move |neighbour| neighbour.bfd(bfd));
    scenario("profile", config, async |scene| {
        let spec = json!({"receiveInterval": 500, "transmitInterval": 250, "detectMultiplier": 5, "echoInterval": 100,
            "echoMode": false, "passiveMode": true, "minimumTtl": 254});
        profile(scene, "profile", &spec)?;
        scene.peer(&json!({"bfdProfile": "profile"}))?;
        scene.status("bgpsessionstates", 3, |s| s["bfdStatus"] == "Up" && s["bgpStatus"] == "Established").await?;
        let negotiated = async |transmit: u64, detection: u64| {
            causeway_bed::wait::until("the timers of the profile", SOON, async || {
                let sessions = scene.router().bfd_sessions()?;
                // The router sends as seldom as we ask for, and gives up after as many intervals as we say.
                let fits = sessions.iter().all(|s| {
                    s.up && s.transmit == Duration::from_millis(transmit)
                        && s.detection == Duration::from_millis(detection)
                });
                ensure!(sessions.len() == 3 && fits, "{sessions:?}");
                Ok(())
            })
            .await
        };
        negotiated(500, 5 * 400).await?;
        // A changed profile changes the timers, and resets nothing.
        let before = scene.times()?;
        let mut spec = spec.clone();
        (spec["receiveInterval"], spec["transmitInterval"], spec["detectMultiplier"]) = (600.into(), 700.into(), 3.into());
        profile(scene, "profile", &spec)?;
        negotiated(600, 3 * 700).await?;
        ensure!(scene.times()? == before, "sessions were reset");
        Ok(())
    })
    .await;
}
