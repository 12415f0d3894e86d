//! What is wrong is said on the object that it is about, and hurts nobody else.

use anyhow::{Result, ensure};
use causeway_bed::addresses::ROUTER;
use causeway_bed::router::RouterConfig;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::scene::{ALL, TOR, host, scenario};
use super::service::plain;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_peer_is_said_on_it_and_hurts_nobody_else() {
    scenario("wrong", RouterConfig::top_of_rack(TOR), async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let prefix = host(scene.service_v4("web", &[1], plain()).await?);
        scene.routed(prefix, &ALL).await?;
        let before = scene.times()?;
        let other = |name: &str, address: &str, more: Value| -> Result<()> {
            let mut spec = json!({"peerAddress": address});
            for (key, value) in more.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            scene.peer_named(name, &json!({}), &spec)
        };
        other("nobody", "10.77.0.250", json!({}))?;
        other("no-profile", "10.77.0.251", json!({"bfdProfile": "missing"}))?;
        other("in-a-vrf", "10.77.0.252", json!({"vrf": "red"}))?;
        other("no-secret", "10.77.0.253", json!({"passwordSecret": {"name": "missing"}}))?;
        let refused =
            async |name: &str, parts: &[&str]| scene.said("BGPPeer", name, "InvalidPeer", parts).await;
        scene.said("BGPPeer", "nobody", "BGPSessionDown", &["10.77.0.250", "cannot connect"]).await?;
        refused("no-profile", &["spec.bfdProfile", "missing"]).await?;
        refused("in-a-vrf", &["spec.vrf", "not supported"]).await?;
        refused("no-secret", &["spec.passwordSecret", "there is no Secret missing"]).await?;
        // A profile that is mended lets its peer speak.
        scene.object("BFDProfile", "missing", &json!({}), &json!({"spec": {}}))?;
        scene
            .status("bgpsessionstates", 9, |s| {
                s["peer"] != ROUTER.to_string() || s["bgpStatus"] == "Established"
            })
            .await?;
        ensure!(scene.times()? == before, "sessions were reset");
        scene.peer(&json!({"peerASN": 64999}))?;
        scene.said("BGPPeer", "wrong", "BGPSessionDown", &["Bad Peer AS", "64500"]).await?;
        scene.routed(prefix, &[]).await?;
        scene.peer(&json!({}))?;
        scene.routed(prefix, &ALL).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_of_a_router_are_of_no_matter() {
    let theirs: [IpNet; 2] = ["198.19.7.0/24", "10.244.2.0/24"].map(|text| text.parse().expect("a prefix"));
    let config =
        theirs.iter().fold(RouterConfig::top_of_rack(TOR), |config, prefix| config.advertise(*prefix));
    scenario("theirs", config, async |scene| {
        scene.peer(&json!({}))?;
        scene.advertise(&json!({}), &json!({}))?;
        let routes = |node: usize| scene.lab.bed.node(node)?.run(&["ip", "route"]);
        let before = ALL.map(|node| routes(node).unwrap_or_default());
        let address = scene.service_v4("web", &ALL, plain()).await?;
        scene.routed(host(address), &ALL).await?;
        scene.answers(address).await?;
        for node in ALL {
            let now = routes(node)?;
            ensure!(now == before[node - 1] && !now.contains("198.19.7.0"), "{now}");
        }
        // Nor is one told on to anybody: what the router has heard from the nodes is ours.
        scene.routes_are(scene.router(), &[host(address)]).await
    })
    .await;
}
