//! Speakers that end: killed, with graceful restart and without, and asked to.

use std::net::Ipv4Addr;

use anyhow::{Context, ensure};
use causeway_bed::Signal;
use causeway_bed::router::RouterConfig;
use serde_json::json;

use super::scene::{ALL, TOR, host, scenario};
use super::service::plain;
use super::support::SOON;
use super::support::traffic::Traffic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_graceful_restart_killed_speakers_lose_nothing() {
    scenario("graceful", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({"enableGracefulRestart": true}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let address = scene.service_v4("web", &ALL, plain()).await?;
        scene.routed(host(address), &ALL).await?;
        scene.answers(address).await?;
        let traffic = Traffic::start(scene.lab.bed.remote_ns(), address, false);
        let watched = scene.router().namespace().watch_routes()?;
        for node in ALL {
            let hop = scene.node(node, address)?;
            let before = scene.router().session(hop)?.established;
            scene.lab.signal(node, "speaker", Signal::KILL)?;
            scene
                .router()
                .wait_session(hop, "to be established anew", SOON, |session| {
                    session.is_established() && session.established > before
                })
                .await?;
        }
        scene.routed(host(address), &ALL).await?;
        // The kernel went on as if nothing had been.
        let (changes, address) = (watched.changes(), address.to_string());
        let changes: Vec<_> = changes.iter().filter(|(_, line)| line.contains(&address)).collect();
        traffic.end_whole("three speakers killed", 0).await.with_context(|| format!("{changes:?}"))?;
        ensure!(changes.is_empty(), "the kernel's routes changed: {changes:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_graceful_restart_the_routes_of_a_killed_speaker_are_gone_until_it_is_back() {
    scenario("graceless", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let address = scene.service_v4("web", &ALL, plain()).await?;
        scene.routed(host(address), &ALL).await?;
        let changes = scene.router().namespace().watch_routes()?;
        let hop = scene.node(2, address)?;
        let before = scene.router().session(hop)?.established;
        scene.lab.signal(2, "speaker", Signal::KILL)?;
        scene
            .router()
            .wait_session(hop, "to be established anew", SOON, |session| {
                session.is_established() && session.established > before
            })
            .await?;
        scene.routed(host(address), &ALL).await?;
        ensure!(!changes.changes().is_empty(), "the kernel's routes never changed");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speaker_that_is_stopped_takes_its_routes_back_and_says_why() {
    scenario("stopped", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let prefix = host(scene.service_v4("web", &[1], plain()).await?);
        scene.routed(prefix, &ALL).await?;
        scene.lab.signal(2, "speaker", Signal::TERM)?;
        scene
            .router()
            .wait_paths(prefix, "to have GRACEFUL_SHUTDOWN from node2", SOON, |paths| {
                paths.iter().any(|path| path.communities.contains(&(65535, 0))) || paths.len() == 2
            })
            .await?;
        scene.routed(prefix, &[1, 3]).await?;
        let session = scene
            .router()
            .wait_session(
                scene.node(2, Ipv4Addr::UNSPECIFIED)?,
                "to have ended with a word",
                SOON,
                |session| session.end.is_some(),
            )
            .await?;
        let end = session.end.context("a NOTIFICATION")?;
        ensure!((end.code, end.subcode, end.received) == (6, 2, true) && !end.text.is_empty(), "{end:?}");
        // The DaemonSet starts it again.
        scene.routed(prefix, &ALL).await.map(drop)
    })
    .await;
}
