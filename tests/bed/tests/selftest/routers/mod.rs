//! The routers: real daemons speak with each other, and each reports what the other one said. Beds of network alone; no cluster.

mod settings;
mod traffic;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{FAR, NodeAddresses, ROUTER, ROUTER_V6};
use causeway_bed::router::{Advertised, Bfd, Families, Family, Kind, Neighbour, Path, RouterConfig, Session};
use causeway_bed::{Bed, Router};
use ipnet::IpNet;

use crate::common::SOON;

/// The router's AS; node `i` is of AS `NODES + i`.
const RACK: u32 = 64512;
const NODES: u32 = 64600;

async fn network() -> Result<Bed> {
    Bed::builder().bare(true).start().await
}

fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// The only address of a node that sessions are between.
fn node(number: usize) -> Ipv4Addr {
    NodeAddresses::of(number).v4
}

fn asn(number: usize) -> u32 {
    NODES + number as u32
}

/// A node that speaks with the router.
fn on_node(number: usize) -> RouterConfig {
    RouterConfig::new(asn(number), node(number)).neighbour(Neighbour::at(ROUTER, RACK).source(node(number)))
}

/// The router, speaking with the nodes of these numbers.
fn rack(nodes: &[usize]) -> RouterConfig {
    let config = RouterConfig::new(RACK, ROUTER);
    nodes.iter().fold(config, |config, number| config.neighbour(Neighbour::at(node(*number), asn(*number))))
}

/// A route with everything that a route can say to an eBGP neighbour.
fn eloquent(prefix: &str, asn: u32) -> Advertised {
    let short = asn as u16;
    Advertised {
        med: Some(70),
        prepend: 2,
        communities: [(short, 1), (short, 2)].into(),
        large: [[asn, 1, u32::MAX]].into(),
        bandwidth: Some(125_000_000),
        ..Advertised::from(self::prefix(prefix))
    }
}

/// Waits until `router` knows what `said` says, from `from`, and uses it.
async fn wait_heard(router: &Router, said: &Advertised, asn: u32, from: Ipv4Addr) -> Result<Path> {
    let what = format!("{} to know {}", router.namespace().name(), said.prefix);
    // FRR shows a path before it has chosen it.
    let used = |paths: &[Path]| paths.first().is_some_and(|path| path.used && !path.stale);
    let paths = router.wait_paths(said.prefix, &what, SOON, used).await?;
    let path = paths.first().context("no path")?.clone();
    ensure!(path.from == Some(from.into()), "from {:?}", path.from);
    ensure!(path.as_path == vec![asn; usize::from(said.prepend) + 1], "AS path {:?}", path.as_path);
    ensure!(path.med == said.med, "MED {:?}", path.med);
    ensure!(path.communities == said.communities, "communities {:?}", path.communities);
    ensure!(path.large == said.large, "large communities {:?}", path.large);
    ensure!(path.bandwidth == said.bandwidth, "bandwidth {:?}", path.bandwidth);
    Ok(path)
}

/// Two daemons, each announcing a route that says all it can: each one reports the session, the other one's offers and its route rightly.
async fn two_report_each_other(at_router: Kind, at_node: Kind) -> Result<()> {
    let bed = network().await?;
    let said_by = |kind: Kind, prefix: &str, asn: u32| match kind {
        Kind::Gobgp => Advertised { bandwidth: None, ..eloquent(prefix, asn) },
        _ => eloquent(prefix, asn),
    };
    let from_router = said_by(at_router, "192.0.2.0/25", RACK);
    let from_node = said_by(at_node, "192.0.2.128/25", asn(1));
    let router =
        Router::start(&bed.router_ns(), at_router, rack(&[1]).advertise(from_router.clone())).await?;
    let peer =
        Router::start(&bed.node(1)?.namespace(), at_node, on_node(1).advertise(from_node.clone())).await?;

    for (here, address, there) in [(&router, node(1), &peer), (&peer, ROUTER, &router)] {
        let session = here.wait_established(address, SOON).await?;
        ensure!(session.remote_asn == there.config().asn, "{session:?}");
        ensure!(session.remote_id == Some(there.config().router_id), "{session:?}");
        ensure!(session.hold == Some(9), "{session:?}");
        let offers = &session.offers;
        ensure!(offers.families == BTreeSet::from([Family::V4, Family::V6]), "{offers:?}");
        ensure!(offers.four_octet_asn && offers.route_refresh, "{offers:?}");
        // GoBGP always offers it.
        ensure!(offers.extended_next_hop == (there.kind() == Kind::Gobgp), "{offers:?}");
        ensure!(session.bfd.is_none() && session.established.is_none_or(|times| times > 0), "{session:?}");
    }
    let heard = wait_heard(&router, &from_node, asn(1), node(1)).await?;
    ensure!(heard.next_hop == Some(node(1).into()), "{heard:?}");
    let heard = wait_heard(&peer, &from_router, RACK, ROUTER).await?;
    ensure!(heard.next_hop == Some(ROUTER.into()), "{heard:?}");

    // The end of a session, and why, is known to the other side.
    router.shut_down(node(1), Some("back at noon"))?;
    let ended = |session: &Session| session.end.is_some() && !session.is_established();
    let end = peer.wait_session(ROUTER, "to be shut down", SOON, ended).await?.end.context("no end")?;
    ensure!((end.code, end.subcode, end.received) == (6, 2, true), "{end:?}");
    ensure!(end.text == if at_router == Kind::Gobgp { "" } else { "back at noon" }, "{end:?}");
    router.shut_down(node(1), None)?;
    router.wait_established(node(1), SOON).await?;
    Ok(())
}

#[tokio::test]
async fn frr_and_gobgp_report_each_other() -> Result<()> {
    two_report_each_other(Kind::Frr, Kind::Gobgp).await
}

#[tokio::test]
async fn frr_and_bird_report_each_other() -> Result<()> {
    two_report_each_other(Kind::Frr, Kind::Bird).await
}

#[tokio::test]
async fn frr_and_exabgp_report_each_other() -> Result<()> {
    two_report_each_other(Kind::Frr, Kind::Exabgp).await
}

#[tokio::test]
async fn bird_and_gobgp_report_each_other() -> Result<()> {
    two_report_each_other(Kind::Bird, Kind::Gobgp).await
}

#[tokio::test]
async fn bird_and_exabgp_report_each_other() -> Result<()> {
    two_report_each_other(Kind::Bird, Kind::Exabgp).await
}

#[tokio::test]
async fn gobgp_and_exabgp_report_each_other() -> Result<()> {
    two_report_each_other(Kind::Gobgp, Kind::Exabgp).await
}

fn gateways(nodes: &[usize]) -> Vec<IpAddr> {
    nodes.iter().map(|number| node(*number).into()).collect()
}

#[tokio::test]
async fn passwords_must_agree() -> Result<()> {
    let bed = network().await?;
    let secret =
        |config: RouterConfig, password: &str| config.every(|neighbour| neighbour.password(password));
    let v6 = NodeAddresses::of(1).v6;
    let mut config = secret(rack(&[1]), "abc");
    config.neighbours.push(Neighbour::at(v6, asn(1)).families(Families::V6).password("abc"));
    let router = Router::start(&bed.router_ns(), Kind::Frr, config).await?;
    let over_v6 =
        |password| Neighbour::at(ROUTER_V6, RACK).source(v6).families(Families::V6).password(password);
    let config = secret(on_node(1), "abd").neighbour(over_v6("abc"));
    let mut peer = Router::start(&bed.node(1)?.namespace(), Kind::Bird, config).await?;
    // Over IPv6 they agree; when that session is up, the other one has had its chance.
    router.wait_established(v6, SOON).await?;
    ensure!(!router.session(node(1))?.is_established(), "a wrong password was taken");
    peer.reconfigure(secret(on_node(1), "abc").neighbour(over_v6("abc"))).await?;
    router.wait_established(node(1), SOON).await?;
    ensure!(router.session(v6)?.established == Some(1), "the other session was reset");
    Ok(())
}

#[tokio::test]
async fn a_top_of_rack_takes_sessions_of_whoever_connects() -> Result<()> {
    let bed = network().await?;
    let config = RouterConfig::top_of_rack(RACK).every(|neighbour| neighbour.password("rack"));
    let router = Router::start(&bed.router_ns(), Kind::Frr, config).await?;
    ensure!(router.sessions()?.is_empty(), "sessions out of nothing: {:?}", router.sessions()?);
    let v6 = NodeAddresses::of(2).v6;
    let over_v6 = RouterConfig::new(asn(2), node(2))
        .neighbour(Neighbour::at(ROUTER_V6, RACK).source(v6))
        .advertise(prefix("2001:db8:2::1/128"));
    let over_v4 = on_node(1).advertise(prefix("192.0.2.1/32"));
    for (number, kind, config) in [(1, Kind::Bird, over_v4), (2, Kind::Exabgp, over_v6)] {
        let config = config.every(|neighbour| neighbour.password("rack"));
        Router::start(&bed.node(number)?.namespace(), kind, config).await?;
    }
    router.wait_established(node(1), SOON).await?;
    router.wait_established(v6, SOON).await?;
    router.wait_gateways(prefix("192.0.2.1/32"), gateways(&[1]), SOON).await?;
    router.wait_gateways(prefix("2001:db8:2::1/128"), [v6.into()], SOON).await?;
    // A node that goes away is forgotten, but not why it went.
    Router::attach(&bed.node(1)?.namespace())?.shut_down(ROUTER, Some("reboot"))?;
    router.wait_gateways(prefix("192.0.2.1/32"), [], SOON).await
}

#[tokio::test]
async fn two_hops_need_multihop_and_no_more_than_ttl_security_allows() -> Result<()> {
    let bed = network().await?;
    let config = RouterConfig::new(RACK, FAR)
        // BIRD sends BFD packets over several hops with a TTL of 64, and FRR takes none below 254 unless told.
        .neighbour(
            Neighbour::at(node(1), asn(1)).multihop(2).bfd(Bfd { minimum_ttl: Some(60), ..Bfd::every(300) }),
        )
        .neighbour(Neighbour::at(node(2), asn(2)).ttl_security(2))
        .neighbour(Neighbour::at(node(3), asn(3)).ttl_security(1));
    let far = Router::start(&bed.far_router_ns()?, Kind::Frr, config).await?;
    for number in 1..=3 {
        let neighbour = Neighbour::at(FAR, RACK).source(node(number));
        let neighbour = match number {
            1 => neighbour.multihop(2).bfd(Bfd::every(300)),
            _ => neighbour.ttl_security(2),
        };
        let config = RouterConfig::new(asn(number), node(number)).neighbour(neighbour);
        Router::start(&bed.node(number)?.namespace(), Kind::Bird, config).await?;
    }
    let up = |session: &Session| session.is_established() && session.bfd == Some(true);
    far.wait_session(node(1), "to be up with BFD", SOON, up).await?;
    ensure!(far.bfd_sessions()?.iter().all(|session| session.multihop), "{:?}", far.bfd_sessions()?);
    far.wait_established(node(2), SOON).await?;
    // What has come two hops is too far for a limit of one.
    ensure!(!far.session(node(3))?.is_established(), "node3 is two hops away and was heard");
    Ok(())
}
