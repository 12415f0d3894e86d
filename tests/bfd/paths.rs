//! Neighbours behind an interface, and behind a router.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{FAR, FAR_V6, NodeAddresses, ROUTER};
use causeway_bed::router::{self, Bfd, Kind, RouterConfig};
use causeway_bed::{Namespace, Router, wait};

use crate::watcher::{Neighbour, Watcher};
use crate::{SOON, network};

/// Waits until all sessions of the router are up.
async fn wait_up(router: &Router) -> Result<Vec<router::BfdSession>> {
    wait::until("the router to be up", SOON, async || {
        let sessions = router.bfd_sessions()?;
        ensure!(!sessions.is_empty() && sessions.iter().all(|session| session.up), "{sessions:?}");
        Ok::<_, anyhow::Error>(sessions)
    })
    .await
}

/// The link-local address of a NIC.
fn link_local(namespace: &Namespace, interface: &str) -> Result<IpAddr> {
    let text = namespace.run(&["ip", "-6", "-j", "addr", "show", "dev", interface, "scope", "link"])?;
    let all: serde_json::Value = serde_json::from_str(&text)?;
    let address = all[0]["addr_info"][0]["local"].as_str().context("no link-local address")?;
    Ok(address.parse()?)
}

/// FRR at the other end of a cable without addresses. The cable is plugged in after we have begun, pulled out, and plugged in again.
pub async fn unnumbered() -> Result<()> {
    let bed = network().await?;
    let (node, rack) = (bed.node(1)?.namespace(), bed.router_ns());
    let (at_node, at_router) = ("to-router", "to-node1");
    let mut watcher = Watcher::start(&bed, &[]).await?;
    let router = Router::start(&rack, Kind::Frr, RouterConfig::new(64512, ROUTER)).await?;
    for round in 0..2 {
        ensure!(bed.cable(&node, &rack)? == (at_node.to_owned(), at_router.to_owned()));
        let (ours, theirs) = (link_local(&node, at_node)?, link_local(&rack, at_router)?);
        let peer = format!("peer {ours} interface {at_router}");
        router.configure_frr(&["bfd", &peer, "no shutdown"])?;
        let neighbour = Neighbour { interface: Some(at_node.into()), ..Neighbour::every(300, theirs) };
        watcher.give(&[("behind", neighbour)]).await?;
        watcher.wait_up(&["behind"]).await?;
        wait_up(&router).await?;
        let labels = format!("{{peer=\"{theirs}%{at_node}\",vrf=\"\"}}");
        ensure!(watcher.count(&format!("metallb_bfd_session_up{labels}")).await? == 1);
        node.run(&["ip", "link", "del", at_node])?;
        let down = watcher.wait("EVENT behind Down", SOON).await?;
        ensure!(down.text.contains("Diag(1)"), "{down:?}");
        let said = |state: &serde_json::Value| state["problem"] == format!("there is no interface {at_node}");
        watcher.wait_state("behind", "the problem to be told", said).await?;
        router.configure_frr(&["bfd", &format!("no {peer}")])?;
        println!("  round {round}: {ours} and {theirs} have met");
    }
    Ok(())
}

/// FRR and BIRD behind the router. BIRD sends with a TTL of 64, which is a hop less when it arrives.
pub async fn many_hops() -> Result<()> {
    for (kind, ttl) in [(Kind::Frr, 254), (Kind::Bird, 63)] {
        let bed = network().await?;
        let node = NodeAddresses::of(1);
        let config = RouterConfig::new(64512, FAR);
        // What BIRD wants: an address to speak from.
        let config = [(IpAddr::from(node.v4), IpAddr::from(FAR)), (node.v6.into(), FAR_V6.into())]
            .into_iter()
            .fold(config, |config, (address, source)| {
                let neighbour = router::Neighbour::at(address, 64601).multihop(2).source(source);
                config.neighbour(neighbour.bfd(Bfd::every(300)))
            });
        let router = Router::start(&bed.far_router_ns()?, kind, config).await?;
        let far = |remote: IpAddr, local: IpAddr, minimum_ttl| Neighbour {
            multihop: true,
            local: Some(local),
            minimum_ttl,
            ..Neighbour::every(300, remote)
        };
        let both = |minimum_ttl| {
            [
                ("v4", far(FAR.into(), node.v4.into(), minimum_ttl)),
                ("v6", far(FAR_V6.into(), node.v6.into(), minimum_ttl)),
            ]
        };
        let mut watcher = Watcher::start(&bed, &both(ttl)).await?;
        watcher.wait_up(&["v4", "v6"]).await?;
        let sessions = wait_up(&router).await?;
        ensure!(sessions.len() == 2 && sessions.iter().all(|session| session.multihop), "{sessions:?}");
        // It is further than is allowed.
        watcher.give(&both(ttl + 1)).await?;
        watcher.wait("EVENT v4 Down", SOON).await?;
        let counter = "causeway_bfd_discarded_total{reason=\"ttl\"}";
        ensure!(watcher.count(counter).await? > 0);
        watcher.forget();
        watcher.give(&both(ttl)).await?;
        watcher.wait_up(&["v4", "v6"]).await?;
        println!("  {kind:?}, two hops away, packets with a TTL of {ttl}");
    }
    Ok(())
}
