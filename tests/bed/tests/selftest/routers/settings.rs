//! What can be set, changed and taken back, and what a daemon refuses.

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{FAR, ROUTER, ROUTER_2};
use causeway_bed::router::{
    Advertised, Bfd, Families, GracefulRestart, Kind, Neighbour, Path, RemoteAsn, RouterConfig, Session,
    Timers,
};
use causeway_bed::{Router, Signal};

use super::{RACK, asn, eloquent, network, node, on_node, prefix, rack, wait_heard};
use crate::common::SOON;

/// A change of one neighbour, or of what is announced, leaves the others' sessions alone.
async fn a_change_touches_nothing_else(kind: Kind) -> Result<()> {
    let bed = network().await?;
    let rack = |nodes: &[usize]| rack(nodes).every(|neighbour| neighbour.source(ROUTER));
    let start = rack(&[1, 2]).advertise(prefix("203.0.113.0/24"));
    let mut router = Router::start(&bed.router_ns(), kind, start.clone()).await?;
    let mut peers = Vec::new();
    for number in 1..=3 {
        peers.push(Router::start(&bed.node(number)?.namespace(), Kind::Frr, on_node(number)).await?);
    }
    peers[0].wait_established(ROUTER, SOON).await?;
    peers[1].wait_established(ROUTER, SOON).await?;
    let route = prefix("203.0.113.0/24");
    peers[0].wait_next_hops(route, [ROUTER.into()], SOON).await?;

    // One neighbour more, one less, another route, and one that says more.
    let loud = eloquent("203.0.114.0/24", RACK);
    let loud = if kind == Kind::Gobgp { Advertised { bandwidth: None, ..loud } } else { loud };
    router.reconfigure(rack(&[1, 3]).advertise(loud.clone())).await?;
    peers[2].wait_established(ROUTER, SOON).await?;
    wait_heard(&peers[0], &loud, RACK, ROUTER).await?;
    peers[0].wait_next_hops(route, [], SOON).await?;
    let ended = |session: &Session| {
        let told = session.end.as_ref().is_some_and(|end| end.code == 6 && end.received);
        // exabgp drops whom it has forgotten without a word.
        !session.is_established() && (told || kind == Kind::Exabgp)
    };
    peers[1].wait_session(ROUTER, "to end", SOON, ended).await?;

    // Less said of the route, and a neighbour of another AS.
    let quiet = Advertised { communities: [(64512, 3)].into(), ..Advertised::from(loud.prefix) };
    let mut changed = rack(&[1, 3]).advertise(quiet.clone());
    changed.neighbours[1].remote = RemoteAsn::Is(asn(9));
    router.reconfigure(changed).await?;
    let what = "the route to say less";
    let less = |paths: &[Path]| paths.first().is_some_and(|path| path.communities == quiet.communities);
    let paths = peers[0].wait_paths(quiet.prefix, what, SOON, less).await?;
    ensure!(
        (paths[0].med, paths[0].bandwidth, paths[0].as_path.len()) == (None, None, 1)
            || kind == Kind::Frr && paths[0].med == Some(0),
        "{paths:?}"
    );
    ensure!(paths[0].large.is_empty(), "{paths:?}");
    peers[2].wait_session(ROUTER, "to end", SOON, |session| !session.is_established()).await?;
    ensure!(peers[0].session(ROUTER)?.established == Some(1), "node1's session was reset");
    Ok(())
}

#[tokio::test]
async fn a_change_of_frr_touches_nothing_else() -> Result<()> {
    a_change_touches_nothing_else(Kind::Frr).await
}

#[tokio::test]
async fn a_change_of_bird_touches_nothing_else() -> Result<()> {
    a_change_touches_nothing_else(Kind::Bird).await
}

#[tokio::test]
async fn a_change_of_exabgp_touches_nothing_else() -> Result<()> {
    a_change_touches_nothing_else(Kind::Exabgp).await
}

#[tokio::test]
async fn a_change_of_gobgp_touches_nothing_else() -> Result<()> {
    a_change_touches_nothing_else(Kind::Gobgp).await
}

/// All settings are understood, and can be taken back and set again.
async fn every_setting_is_understood(kind: Kind) -> Result<()> {
    let bed = network().await?;
    let (at_router, _) = bed.cable(&bed.router_ns(), &bed.node(3)?.namespace())?;
    let plain = RouterConfig::new(RACK, ROUTER).neighbour(Neighbour::at(node(1), asn(1)).source(ROUTER));
    let bfd = match kind {
        Kind::Frr => Some(Bfd { echo: Some(60), passive: true, minimum_ttl: Some(250), ..Bfd::every(150) }),
        Kind::Bird => Some(Bfd { passive: true, ..Bfd::every(150) }),
        Kind::Gobgp | Kind::Exabgp => None,
    };
    let mut first = Neighbour::at(node(1), asn(1)).source(ROUTER).password("abc").passive();
    first = first.families(Families::V4).graceful_restart(GracefulRestart::Full).ttl_security(1);
    first = Neighbour { bfd, extended_next_hop: true, ..first };
    first.timers = Timers { hold: 30, keepalive: 10, connect: 5 };
    let other = Neighbour::at(node(2), RACK).source(ROUTER).graceful_restart(GracefulRestart::Off);
    let far = Neighbour::at(FAR, 64700).source(ROUTER).multihop(3);
    let mut full = RouterConfig::new(RACK, ROUTER).neighbour(first);
    for mut neighbour in [other, far] {
        neighbour.port = 1179;
        full.neighbours.push(neighbour.families(Families::V4));
    }
    // A number, since not every daemon takes "internal".
    let range = Neighbour::range(prefix("10.77.0.128/25"), RemoteAsn::Is(64800)).families(Families::V4);
    full.neighbours.push(range.source(ROUTER));
    // GoBGP gives up if nobody is there yet.
    if matches!(kind, Kind::Frr | Kind::Bird) {
        full.neighbours.push(Neighbour::behind(&at_router, RemoteAsn::Internal));
    }
    let mut route = eloquent("203.0.113.0/24", RACK);
    route.local_pref = Some(50);
    route.next_hop = Some(ROUTER_2.into());
    if kind == Kind::Gobgp {
        route.bandwidth = None;
    }
    let full = full.advertise(route);

    let mut router = Router::start(&bed.router_ns(), kind, full.clone()).await?;
    change(&mut router, plain.clone()).await?;
    let count = async |router: &Router, expected: usize| {
        bed.wait("the neighbours to change", SOON, async || {
            let sessions = router.sessions()?;
            ensure!(sessions.len() == expected, "{sessions:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    };
    count(&router, 1).await?;
    let peer = Router::start(&bed.node(1)?.namespace(), Kind::Frr, on_node(1)).await?;
    peer.wait_established(ROUTER, SOON).await?;
    ensure!(peer.routes()?.is_empty(), "routes are left: {:?}", peer.routes()?);
    change(&mut router, full).await?;
    // Who may come from a range is no neighbour yet, nor for BIRD who is behind a link.
    count(&router, if kind == Kind::Frr { 4 } else { 3 }).await?;
    peer.wait_session(ROUTER, "to end", SOON, |session| !session.is_established()).await?;
    change(&mut router, plain).await?;
    peer.wait_established(ROUTER, SOON).await?;
    Ok(())
}

/// Another configuration for a running router; exabgp has to be started anew for some.
async fn change(router: &mut Router, config: RouterConfig) -> Result<()> {
    if router.kind() == Kind::Exabgp {
        let refused = router.reconfigure(config.clone()).await.err().context("exabgp took it")?;
        ensure!(refused.to_string().contains("started anew"), "{refused:#}");
        router.stop(Signal::TERM)?;
        *router = Router::start(router.namespace(), Kind::Exabgp, config).await?;
        return Ok(());
    }
    router.reconfigure(config).await
}

#[tokio::test]
async fn every_setting_is_understood_by_frr() -> Result<()> {
    every_setting_is_understood(Kind::Frr).await
}

#[tokio::test]
async fn every_setting_is_understood_by_bird() -> Result<()> {
    every_setting_is_understood(Kind::Bird).await
}

#[tokio::test]
async fn every_setting_is_understood_by_gobgp() -> Result<()> {
    every_setting_is_understood(Kind::Gobgp).await
}

#[tokio::test]
async fn every_setting_is_understood_by_exabgp() -> Result<()> {
    every_setting_is_understood(Kind::Exabgp).await
}

#[tokio::test]
async fn what_a_daemon_cannot_do_is_refused() -> Result<()> {
    let bed = network().await?;
    let refused = [
        (Kind::Gobgp, rack(&[1]).every(|neighbour| neighbour.bfd(Bfd::default())), "no BFD"),
        (Kind::Gobgp, RouterConfig::top_of_rack(RACK), "number of a neighbour's AS"),
        (Kind::Exabgp, rack(&[1]), "address to speak from"),
        (Kind::Bird, rack(&[1]).every(|n| n.bfd(Bfd { echo: Some(50), ..Bfd::default() })), "no echo"),
    ];
    for (kind, config, reason) in refused {
        let error = Router::start(&bed.router_ns(), kind, config).await.err().context("it was taken")?;
        ensure!(format!("{error:#}").contains(reason), "{kind:?}: {error:#}");
    }
    ensure!(bed.daemons()?.is_empty() && Router::list(&bed)?.is_empty(), "something was started");
    let router = Router::start(&bed.router_ns(), Kind::Frr, rack(&[1])).await?;
    ensure!(
        Router::start(&bed.router_ns(), Kind::Frr, rack(&[1])).await.is_err(),
        "two FRRs in one namespace"
    );
    let error = bed.client().await.err().context("a bare bed has a cluster")?;
    ensure!(error.to_string().contains("bare"), "{error}");
    drop(router);
    Ok(())
}
