//! How the session with a router is made: numbers, timers, who calls, over how many hops, over which link.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{FAR, NodeAddresses, ROUTER};
use causeway_bed::router::{Bfd, Kind, Neighbour, RemoteAsn, RouterConfig};
use causeway_bed::{Signal, wait};
use serde_json::{Value, json};

use super::scene::{ALL, NODES, Scene, TOR, host, scenario, scenario_without_router};
use super::service::plain;
use super::support::SOON;

/// A node of a peer's or an advertisement's.
fn on(node: usize) -> Value {
    json!([{"matchLabels": {"kubernetes.io/hostname": format!("node{node}")}}])
}

/// A router that knows each node by its address, so that it can call.
fn by_address(asn: u32, router_id: Ipv4Addr, change: impl Fn(Neighbour) -> Neighbour) -> RouterConfig {
    let nodes = ALL.map(|n| Neighbour::at(NodeAddresses::of(n).v4, NODES));
    nodes.into_iter().fold(RouterConfig::new(asn, router_id), RouterConfig::neighbour).every(change)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_a_node_is_and_who_the_router_may_be() {
    scenario("identity", RouterConfig::top_of_rack(TOR), async |scene| {
        let node = |number: usize| scene.node(number, Ipv4Addr::UNSPECIFIED);
        // One peer for each node, so that each is looked at by itself.
        let to_router = |name: &str, number: usize, more: Value| {
            let mut spec = json!({"nodeSelectors": on(number)});
            for (key, value) in more.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            scene.peer_named(name, &json!({}), &spec)
        };
        scene.advertise(&json!({}), &json!({}))?;
        to_router(
            "local-as",
            1,
            json!({"routerID": "192.0.2.99", "localASN": 64777, "sourceAddress": node(1)?.to_string()}),
        )?;
        to_router("external", 2, json!({"peerASN": null, "dynamicASN": "external"}))?;
        to_router("internal", 3, json!({"peerASN": null, "dynamicASN": "internal"}))?;
        let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
        scene.routed(prefix, &[1, 2]).await?;
        let paths = scene.router().paths(prefix)?;
        let as_path = |from: IpAddr| paths.iter().find(|p| p.from == Some(from)).map(|p| p.as_path.clone());
        ensure!(as_path(node(1)?) == Some(vec![64777]), "no-prepend replace-as: {paths:?}");
        ensure!(as_path(node(2)?) == Some(vec![NODES]), "{paths:?}");
        let session = scene.router().session(node(1)?)?;
        ensure!(session.remote_asn == 64777, "{session:?}");
        ensure!(session.remote_id == Some(Ipv4Addr::new(192, 0, 2, 99)), "{session:?}");
        ensure!(session.offers.route_refresh && session.offers.four_octet_asn, "{session:?}");
        // A router of another AS is not what `internal` asks for.
        scene.said("BGPPeer", "internal", "BGPSessionDown", &["node3", "Bad Peer AS", "64500"]).await?;
        to_router("internal", 3, json!({"peerASN": null, "dynamicASN": "external"}))?;
        scene.routed(prefix, &ALL).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_are_kept_and_a_session_comes_again() {
    scenario("timers", RouterConfig::top_of_rack(TOR), async |scene| {
        let timers = |hold: &str, keepalive: &str| json!({"holdTime": hold, "keepaliveTime": keepalive, "connectTime": "1s"});
        scene.peer(&timers("4s", "1s"))?;
        scene.advertise(&json!({}), &json!({}))?;
        let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
        scene.routed(prefix, &ALL).await?;
        for node in ALL {
            let session = scene.router().session(scene.node(node, ROUTER)?)?;
            ensure!(session.hold == Some(4), "{session:?}");
        }
        // An administrator resets one: it comes again, and the others do not notice.
        let before = scene.times()?;
        let first = scene.node(1, ROUTER)?;
        scene.router().reset(first)?;
        scene
            .router()
            .wait_session(first, "to be established anew", SOON, |session| {
                session.is_established() && session.established > before[0]
            })
            .await?;
        ensure!(scene.times()?[1..] == before[1..], "others were reset");
        // Other timers need another session.
        scene.peer(&timers("3s", "1s"))?;
        for node in ALL {
            scene
                .router()
                .wait_session(scene.node(node, ROUTER)?, "to have the other hold time", SOON, |session| {
                    session.is_established() && session.hold == Some(3)
                })
                .await?;
        }
        // A router that says nothing any more is given up when the hold time is over.
        let speaker = scene.router().speaker();
        speaker.signal(Signal::STOP)?;
        let said = scene.said("BGPPeer", "timers", "BGPSessionDown", &["Hold Timer Expired"]).await;
        let down = scene.status("bgpsessionstates", 3, |s| s["bgpStatus"] != "Established").await;
        speaker.signal(Signal::CONT)?;
        said?;
        down?;
        scene.routed(prefix, &ALL).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passive_speaker_waits_for_the_router_that_must_be_near() {
    let config = by_address(TOR, ROUTER, |neighbour| neighbour.ttl_security(1));
    scenario("guarded", config, async |scene| {
        let listens = |node: usize| {
            let sockets = scene.lab.bed.node(node)?.run(&["ss", "-Htln", "sport = :179"])?;
            anyhow::Ok(!sockets.trim().is_empty())
        };
        scene.peer_named("guarded", &json!({"causeway.io/ttl-security": "1"}), &json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
        scene.routed(prefix, &ALL).await?;
        ensure!(!listens(1)?, "port 179 belongs to others while there is no passive peer");
        let annotations = json!({"causeway.io/passive": "true", "causeway.io/ttl-security": "1"});
        scene.peer_named("guarded", &annotations, &json!({}))?;
        wait::until("port 179 to be bound", SOON, async || {
            ensure!(listens(1)?);
            Ok(())
        })
        .await?;
        scene.established().await?;
        scene.routed(prefix, &ALL).await?;
        // Of one that must be further away than it is allowed to be nothing is heard.
        scene.peer_named("guarded", &json!({"causeway.io/ttl-security": "0"}), &json!({}))?;
        scene.said("BGPPeer", "guarded", "InvalidPeer", &["causeway.io/ttl-security", "1 to 254"]).await?;
        scene.routed(prefix, &[]).await?;
        ensure!(!listens(1)?, "port 179 is given back");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_two_hops_away_with_bfd() {
    scenario_without_router("far", async |scene| {
        let bfd = Bfd::default();
        let config = by_address(TOR, FAR, move |neighbour| neighbour.multihop(4).bfd(bfd));
        scene.start(&scene.lab.bed.far_router_ns()?, Kind::Frr, config).await?;
        scene.object("BFDProfile", "far", &json!({}), &json!({"spec": {}}))?;
        scene.peer(&json!({"peerAddress": FAR.to_string(), "ebgpMultiHop": true, "bfdProfile": "far"}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let prefix = host(scene.service_v4("web", &ALL, plain()).await?);
        scene.routed(prefix, &ALL).await?;
        scene.status("bgpsessionstates", 3, |s| s["bfdStatus"] == "Up").await?;
        let watched = scene.router().bfd_sessions()?;
        ensure!(watched.len() == 3 && watched.iter().all(|s| s.up && s.multihop), "{watched:?}");
        // Next door it would be; two hops away it is not reached without saying so.
        scene.peer(&json!({"peerAddress": FAR.to_string()}))?;
        scene.routed(prefix, &[]).await?;
        scene.status("bgpsessionstates", 3, |s| s["bgpStatus"] != "Established").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unnumbered_over_link_local_addresses_with_bfd() {
    scenario_without_router("unnumbered", async |scene| {
        let (router, node) = (scene.lab.bed.router_ns(), scene.lab.bed.node(1)?.namespace());
        let (at_router, at_node) = scene.lab.bed.cable(&router, &node)?;
        let outcome = over_a_cable(scene, &at_router, &at_node).await;
        router.run(&["ip", "link", "del", &at_router])?;
        outcome
    })
    .await;
}

async fn over_a_cable(scene: &mut Scene<'_>, at_router: &str, at_node: &str) -> Result<()> {
    let neighbour = Neighbour::behind(at_router, RemoteAsn::External).bfd(Bfd::default());
    let config = RouterConfig::new(TOR, ROUTER).neighbour(neighbour);
    scene.start(&scene.lab.bed.router_ns(), Kind::Frr, config).await?;
    scene.object("BFDProfile", "unnumbered", &json!({}), &json!({"spec": {}}))?;
    let spec = json!({"peerAddress": null, "interface": at_node, "nodeSelectors": on(1)});
    let mut with_bfd = spec.clone();
    with_bfd["bfdProfile"] = "unnumbered".into();
    scene.peer(&with_bfd)?;
    scene.advertise(&json!({}), &json!({}))?;
    let addresses = scene.service("web", &ALL, plain().dual()).await?;
    let told = async || {
        for address in &addresses {
            let link_local = |hop: IpAddr| matches!(hop, IpAddr::V6(hop) if hop.is_unicast_link_local());
            scene
                .router()
                .wait_paths(
                    host(*address),
                    "to lead over the cable",
                    SOON,
                    |paths| matches!(paths, [path] if path.used && path.next_hop.is_some_and(link_local)),
                )
                .await
                .with_context(|| address.to_string())?;
            scene.answers(*address).await?;
        }
        Ok(())
    };
    told().await?;
    scene.status("bgpsessionstates", 1, |s| s["bfdStatus"] == "Up" && s["peer"] == at_node).await?;
    told().await
}
