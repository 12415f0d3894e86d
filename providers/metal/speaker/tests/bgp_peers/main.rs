//! BGP sessions with real routers in network namespaces: FRR, BIRD and GoBGP report what they heard. No cluster.

mod exabgp;
mod hostile;
mod speaker;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{NodeAddresses, ROUTER, ROUTER_V6};
use causeway_bed::router::{Kind, Neighbour, Path, RemoteAsn as RouterRemote, RouterConfig, Timers};
use causeway_bed::{Bed, Router};
use causeway_metal::bgp::{Families, Peer, PeerTo, RemoteAsn, RouteAttributes};
use causeway_speaker::bgp::{State, StopReason};
use causeway_speaker::peering::BfdNews;
use ipnet::IpNet;
use rstest::rstest;

use speaker::{SOON, Speaker, password, peer, plain, with};

/// The router's AS, and ours.
const RACK: u32 = 64512;
const NODE: u32 = 64601;

async fn network() -> Result<Bed> {
    Bed::builder().bare(true).start().await
}

fn node(ipv6: bool) -> IpAddr {
    let addresses = NodeAddresses::of(1);
    if ipv6 { addresses.v6.into() } else { addresses.v4.into() }
}

fn router(ipv6: bool) -> IpAddr {
    if ipv6 { ROUTER_V6.into() } else { ROUTER.into() }
}

fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// A router that waits for the node, or calls it as well.
async fn start(bed: &Bed, kind: Kind, ipv6: bool, change: impl Fn(Neighbour) -> Neighbour) -> Result<Router> {
    let config = RouterConfig::new(RACK, ROUTER).neighbour(Neighbour::at(node(ipv6), NODE)).every(change);
    Router::start(&bed.router_ns(), kind, config).await
}

fn speaker(bed: &Bed) -> Result<Speaker> {
    Speaker::start(&bed.node(1)?.namespace(), node(false))
}

fn to_router() -> Peer {
    peer(NODE, ROUTER, RACK)
}

async fn wait_path(router: &Router, prefix_: &str, holds: impl Fn(&Path) -> bool) -> Result<Path> {
    let what = format!("{prefix_} at {:?}", router.kind());
    let paths = router
        .wait_paths(prefix(prefix_), &what, SOON, |paths| matches!(paths, [path] if holds(path)))
        .await?;
    paths.into_iter().next().context("a path")
}

async fn wait_no_path(router: &Router, prefix_: &str) -> Result<()> {
    let what = format!("{prefix_} to be gone from {:?}", router.kind());
    router.wait_paths(prefix(prefix_), &what, SOON, |paths| paths.is_empty()).await.map(drop)
}

/// Everything that a route can say to an external peer comes out at each router as it went in.
#[rstest]
#[tokio::test]
async fn routers_hear_what_we_say(
    #[values(Kind::Frr, Kind::Bird, Kind::Gobgp)] kind: Kind,
    #[values(false, true)] ipv6: bool,
) -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, kind, ipv6, |neighbour| neighbour).await?;
    let mut speaker = speaker(&bed)?;
    let peer = Peer { to: PeerTo::Address(self::router(ipv6)), families: Families::Both, ..to_router() };
    let attributes = RouteAttributes {
        local_pref: Some(300),
        med: Some(70),
        prepend: 2,
        communities: [NODE << 16 | 1, NODE << 16 | 2].into(),
        large: [[NODE, 1, u32::MAX]].into(),
        bandwidth: Some(125_000_000),
    };
    let both = ["192.0.2.0/28", "192.0.2.77/32", "2001:db8:2::7/128", "2001:db8:2::8000:0/112"];
    speaker.want(vec![(peer.clone(), with(attributes, &both))]);
    speaker.wait_up().await?;
    for text in both {
        let path = wait_path(&router, text, |_| true).await?;
        ensure!(path.from == Some(node(ipv6)), "{path:?}");
        ensure!(path.next_hop == Some(node(text.contains(':'))), "{path:?}");
        ensure!(path.as_path == [NODE; 3], "{path:?}");
        ensure!(path.med == Some(70) && path.local_pref != Some(300), "{path:?}");
        ensure!(path.communities == [(NODE as u16, 1), (NODE as u16, 2)].into(), "{path:?}");
        ensure!(path.large == [[NODE, 1, u32::MAX]].into(), "{path:?}");
        ensure!(kind == Kind::Gobgp || path.bandwidth == Some(125_000_000), "{path:?}");
    }
    let session = router.session(node(ipv6))?;
    ensure!(session.remote_asn == NODE && session.remote_id == Some(NodeAddresses::of(1).v4), "{session:?}");
    ensure!(session.offers.four_octet_asn && session.offers.route_refresh, "{session:?}");
    ensure!(session.offers.families.len() == 2, "{session:?}");
    ensure!(session.offers.extended_next_hop == ipv6, "{session:?}");
    // A change is a change, and what is gone is gone; the session is the same.
    let opens = speaker.metric("opens_sent");
    speaker.want(vec![(peer, plain(&["192.0.2.77/32", "2001:db8:2::9/128"]))]);
    wait_path(&router, "2001:db8:2::9/128", |path| path.as_path == [NODE]).await?;
    wait_path(&router, "192.0.2.77/32", |path| path.med.is_none() && path.communities.is_empty()).await?;
    wait_no_path(&router, "192.0.2.0/28").await?;
    wait_no_path(&router, "2001:db8:2::7/128").await?;
    ensure!(speaker.metric("opens_sent") == opens, "the same session");
    ensure!(speaker.metric("session_up") == Some(1) && speaker.metric("announced_prefixes_total") == Some(2));
    ensure!(speaker.metric("pending_prefixes_total") == Some(0));
    let snapshot = speaker.snapshot().await?;
    let [session] = &snapshot.peers[..] else { anyhow::bail!("{snapshot:?}") };
    ensure!(session.ttl == 1 && session.session.routes.iter().all(|route| route.told), "{session:?}");
    Ok(())
}

#[rstest]
#[tokio::test]
async fn within_an_as(#[values(Kind::Frr, Kind::Bird, Kind::Gobgp)] kind: Kind) -> Result<()> {
    let bed = network().await?;
    let config = RouterConfig::new(NODE, ROUTER).neighbour(Neighbour::at(node(false), NODE));
    let router = Router::start(&bed.router_ns(), kind, config).await?;
    let mut speaker = speaker(&bed)?;
    let peer = Peer { remote: RemoteAsn::Internal, ..to_router() };
    let attributes = RouteAttributes { local_pref: Some(300), prepend: 2, ..RouteAttributes::default() };
    let mut routes = with(attributes, &["192.0.2.1/32"]);
    routes.extend(plain(&["192.0.2.2/32"]));
    speaker.want(vec![(peer, routes)]);
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |path| path.local_pref == Some(300) && path.as_path.is_empty())
        .await?;
    wait_path(&router, "192.0.2.2/32", |path| path.local_pref == Some(100) && path.as_path.is_empty())
        .await?;
    Ok(())
}

#[rstest]
#[tokio::test]
async fn passwords(
    #[values(Kind::Frr, Kind::Bird)] kind: Kind,
    #[values(false, true)] ipv6: bool,
) -> Result<()> {
    let bed = network().await?;
    let mut router = start(&bed, kind, ipv6, |neighbour| neighbour.password("before")).await?;
    let mut speaker = speaker(&bed)?;
    let to = PeerTo::Address(self::router(ipv6));
    let with = |text: &str| Peer {
        password: password(text),
        to: to.clone(),
        families: Families::Both,
        ..to_router()
    };
    let routes = || plain(&["192.0.2.1/32"]);
    speaker.want(vec![(with("before"), routes())]);
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    // Changed here first: nobody answers until the other side has it too.
    speaker.want(vec![(with("after"), routes())]);
    speaker.wait_why("no answer within 10 s").await?;
    let config = router.config().clone().every(|neighbour| neighbour.password("after"));
    router.reconfigure(config).await?;
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    Ok(())
}

#[rstest]
#[tokio::test]
async fn ttl_security(
    #[values(Kind::Frr, Kind::Bird)] kind: Kind,
    #[values(false, true)] ipv6: bool,
) -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, kind, ipv6, |neighbour| neighbour.ttl_security(1)).await?;
    let mut speaker = speaker(&bed)?;
    let to = PeerTo::Address(self::router(ipv6));
    let peer = Peer { to, families: Families::Both, ttl_security: Some(1), ..to_router() };
    speaker.want(vec![(peer.clone(), plain(&["192.0.2.1/32"]))]);
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    let snapshot = speaker.snapshot().await?;
    ensure!(
        snapshot.peers.iter().all(|peer| (peer.ttl, peer.minimum_ttl) == (255, Some(255))),
        "{snapshot:?}"
    );
    // Without it the router does not hear us. (What we say before it has set its own socket up may reach it.)
    let short =
        Peer { ttl_security: None, hold: Duration::from_secs(3), keepalive: Duration::from_secs(1), ..peer };
    speaker.want(vec![(short, plain(&["192.0.2.1/32"]))]);
    bed.wait("three attempts", SOON, async || {
        ensure!(speaker.metric("opens_sent") >= Some(3), "not yet");
        Ok(())
    })
    .await?;
    wait_no_path(&router, "192.0.2.1/32").await
}

#[rstest]
#[tokio::test]
async fn passive(
    #[values(Kind::Frr, Kind::Bird, Kind::Gobgp)] kind: Kind,
    #[values(None, Some("secret"))] secret: Option<&str>,
) -> Result<()> {
    let bed = network().await?;
    let mut speaker = speaker(&bed)?;
    let peer = Peer { passive: true, password: secret.and_then(password), ..to_router() };
    speaker.want(vec![(peer.clone(), plain(&["192.0.2.1/32"]))]);
    let router = start(&bed, kind, false, |neighbour| match secret {
        Some(secret) => neighbour.password(secret),
        None => neighbour,
    })
    .await?;
    let status = speaker.wait_up().await?;
    ensure!(status.local.is_some_and(|local| local.port() == 179), "{status:?}");
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    // Nobody passive, nobody listening.
    let listeners = || async { anyhow::Ok(speaker.snapshot().await?.listeners) };
    ensure!(listeners().await?.len() == 1);
    speaker.want(vec![(Peer { passive: false, ..peer }, plain(&["192.0.2.1/32"]))]);
    speaker.wait("another session", |status| status.local.is_some_and(|local| local.port() != 179)).await?;
    ensure!(speaker.snapshot().await?.listeners.is_empty());
    Ok(())
}

#[rstest]
#[tokio::test]
async fn a_wrong_asn_is_said(#[values(Kind::Frr, Kind::Bird, Kind::Gobgp)] kind: Kind) -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, kind, false, |neighbour| neighbour).await?;
    let mut speaker = speaker(&bed)?;
    // The router is of another than we expect.
    speaker.want(vec![(Peer { remote: RemoteAsn::Is(RACK + 1), ..to_router() }, plain(&["192.0.2.1/32"]))]);
    speaker.wait_why("OPEN Message Error/Bad Peer AS (2/2)").await?;
    // We are of another than it expects.
    speaker.want(vec![(Peer { asn: NODE + 1, ..to_router() }, plain(&["192.0.2.1/32"]))]);
    speaker.wait_why("NOTIFICATION received: OPEN Message Error/Bad Peer AS (2/2)").await?;
    wait_no_path(&router, "192.0.2.1/32").await?;
    // And as the router does expect us: the number of the peer alone.
    speaker.want(vec![(Peer { asn: 65000, local_asn: Some(NODE), ..to_router() }, plain(&["192.0.2.1/32"]))]);
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |path| path.as_path == [NODE]).await?;
    Ok(())
}

#[rstest]
#[tokio::test]
async fn a_silent_router_is_dropped_at_hold_time(
    #[values(Kind::Frr, Kind::Bird, Kind::Gobgp)] kind: Kind,
) -> Result<()> {
    let bed = network().await?;
    let timers = Timers { hold: 3, keepalive: 1, connect: 1 };
    let router = start(&bed, kind, false, |neighbour| neighbour.timers(timers)).await?;
    let mut speaker = speaker(&bed)?;
    let peer = Peer { hold: Duration::from_secs(3), keepalive: Duration::from_secs(1), ..to_router() };
    speaker.want(vec![(peer, plain(&["192.0.2.1/32"]))]);
    speaker.wait_up().await?;
    // Frozen, the kernel goes on acknowledging.
    let before = Instant::now();
    speaker::freeze(&router)?;
    speaker.wait_why("NOTIFICATION sent: Hold Timer Expired (4/0)").await?;
    let time = before.elapsed();
    // Its last sign of life was up to a second old.
    ensure!((Duration::from_millis(1900)..Duration::from_secs(4)).contains(&time), "{time:?}");
    Ok(())
}

/// GoBGP has no need to ask: it keeps what it heard.
#[rstest]
#[tokio::test]
async fn routes_are_said_again_on_demand(#[values(Kind::Frr, Kind::Bird)] kind: Kind) -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, kind, false, |neighbour| neighbour).await?;
    let mut speaker = speaker(&bed)?;
    speaker.want(vec![(to_router(), plain(&["192.0.2.1/32"]))]);
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    let updates = speaker.metric("updates_total").context("counted")?;
    let opens = speaker.metric("opens_sent");
    router.refresh(node(false))?;
    bed.wait("the routes again", SOON, async || {
        ensure!(speaker.metric("updates_total") > Some(updates), "not yet");
        Ok(())
    })
    .await?;
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    ensure!(speaker.metric("opens_sent") == opens, "the same session");
    Ok(())
}

/// kill -9: the routes stay in use, and are taken over by the next process.
#[rstest]
#[tokio::test]
async fn a_killed_speaker_leaves_its_routes(#[values(Kind::Frr, Kind::Bird)] kind: Kind) -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, kind, false, |neighbour| neighbour).await?;
    let peer = Peer { graceful_restart: true, ..to_router() };
    let mut one = speaker(&bed)?;
    one.want(vec![(peer.clone(), plain(&["192.0.2.1/32", "192.0.2.2/32"]))]);
    one.wait_up().await?;
    for text in ["192.0.2.1/32", "192.0.2.2/32"] {
        wait_path(&router, text, |path| path.used && !path.stale).await?;
    }
    one.kill()?;
    router.wait_session(node(false), "to be gone", SOON, |session| !session.is_established()).await?;
    wait_path(&router, "192.0.2.1/32", |path| path.used && path.stale).await?;
    let mut two = speaker(&bed)?;
    two.want(vec![(peer, plain(&["192.0.2.1/32"]))]);
    two.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |path| path.used && !path.stale).await?;
    // What is said no more is gone after End-of-RIB.
    wait_no_path(&router, "192.0.2.2/32").await?;
    let offers = router.session(node(false))?.offers.graceful_restart.context("it is offered")?;
    ensure!(offers.time == 120 && offers.families.values().all(|kept| *kept), "{offers:?}");
    // A wanted restart is the same.
    two.stop(StopReason::Restart)?;
    router.wait_session(node(false), "to be gone", SOON, |session| !session.is_established()).await?;
    wait_path(&router, "192.0.2.1/32", |path| path.used && path.stale).await?;
    Ok(())
}

#[rstest]
#[tokio::test]
async fn a_killed_speaker_without_graceful_restart_leaves_nothing() -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, Kind::Frr, false, |neighbour| neighbour).await?;
    let mut speaker = speaker(&bed)?;
    speaker.want(vec![(to_router(), plain(&["192.0.2.1/32"]))]);
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    speaker.kill()?;
    wait_no_path(&router, "192.0.2.1/32").await
}

#[rstest]
#[tokio::test]
async fn texts_of_a_shutdown_are_seen_on_both_sides(
    #[values(Kind::Frr, Kind::Bird)] kind: Kind,
) -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, kind, false, |neighbour| neighbour).await?;
    let mut speaker = speaker(&bed)?;
    speaker.want(vec![(to_router(), plain(&["192.0.2.1/32"]))]);
    speaker.wait_up().await?;
    router.shut_down(node(false), Some("new cables"))?;
    speaker.wait_why("Cease/Administrative Shutdown (6/2): \"new cables\"").await?;
    router.shut_down(node(false), None)?;
    speaker.wait_up().await?;
    speaker.stop(StopReason::Shutdown { text: "node maintenance".into() })?;
    let ended = |session: &causeway_bed::router::Session| {
        session.end.as_ref().is_some_and(|end| end.received && (end.code, end.subcode) == (6, 2))
    };
    let session = router.wait_session(node(false), "to be shut down", SOON, ended).await?;
    ensure!(session.end.is_some_and(|end| end.text == "node maintenance"));
    wait_no_path(&router, "192.0.2.1/32").await
}

#[rstest]
#[tokio::test]
async fn a_drain_warns_before_it_withdraws() -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, Kind::Frr, false, |neighbour| neighbour).await?;
    let mut speaker = speaker(&bed)?;
    speaker.want(vec![(to_router(), plain(&["192.0.2.1/32"]))]);
    speaker.wait_up().await?;
    wait_path(&router, "192.0.2.1/32", |_| true).await?;
    let draining = std::thread::spawn(move || {
        speaker.stop(StopReason::GracefulDrain { wait: Duration::from_secs(5), text: "drained".into() })
    });
    // GRACEFUL_SHUTDOWN (RFC 8326).
    wait_path(&router, "192.0.2.1/32", |path| path.communities.contains(&(0xffff, 0))).await?;
    wait_no_path(&router, "192.0.2.1/32").await?;
    draining.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    Ok(())
}

/// A cable without addresses: the router is found by its advertisements, and IPv4 routes have its IPv6 address as next hop.
#[rstest]
#[tokio::test]
async fn unnumbered() -> Result<()> {
    let bed = network().await?;
    let here = bed.node(1)?.namespace();
    let (at_router, at_node) = bed.cable(&bed.router_ns(), &here)?;
    let config =
        RouterConfig::new(RACK, ROUTER).neighbour(Neighbour::behind(&at_router, RouterRemote::Is(NODE)));
    let router = Router::start(&bed.router_ns(), Kind::Frr, config).await?;
    let mut speaker = speaker(&bed)?;
    let peer = Peer { to: PeerTo::Interface(at_node), ..to_router() };
    speaker.want(vec![(peer, plain(&["192.0.2.1/32", "2001:db8:2::1/128"]))]);
    let status = speaker.wait_up().await?;
    ensure!(status.remote.is_some_and(|remote| remote.to_string().starts_with("[fe80:")), "{status:?}");
    let link_local = |path: &Path| path.next_hop.is_some_and(|hop| hop.to_string().starts_with("fe80:"));
    wait_path(&router, "192.0.2.1/32", |path| path.used && link_local(path)).await?;
    wait_path(&router, "2001:db8:2::1/128", |path| path.used && link_local(path)).await?;
    Ok(())
}

/// Of two peers one is changed: the other does not notice. Routes that a router says are of no matter.
#[rstest]
#[tokio::test]
async fn a_change_resets_only_the_peer_that_it_is_about() -> Result<()> {
    let bed = network().await?;
    let config = RouterConfig::new(RACK, ROUTER)
        .neighbour(Neighbour::at(node(false), NODE))
        .neighbour(Neighbour::at(node(true), NODE))
        .advertise(prefix("203.0.113.0/24"));
    let router = Router::start(&bed.router_ns(), Kind::Frr, config).await?;
    let mut speaker = speaker(&bed)?;
    let other = Peer { name: "other".into(), to: PeerTo::Address(ROUTER_V6.into()), ..to_router() };
    let routes = || plain(&["192.0.2.1/32"]);
    speaker.want(vec![(to_router(), routes()), (other.clone(), plain(&["2001:db8:2::1/128"]))]);
    speaker.wait_up().await?;
    wait_path(&router, "2001:db8:2::1/128", |_| true).await?;
    let times = |router: &Router, ipv6| anyhow::Ok(router.session(node(ipv6))?.established);
    let before = (times(&router, false)?, times(&router, true)?);
    let changed = Peer { hold: Duration::from_secs(30), keepalive: Duration::from_secs(10), ..to_router() };
    speaker.want(vec![(changed.clone(), routes()), (other.clone(), plain(&["2001:db8:2::2/128"]))]);
    wait_path(&router, "2001:db8:2::2/128", |_| true).await?;
    bed.wait("the changed one to be up again", SOON, async || {
        ensure!(times(&router, false)? > before.0, "not yet");
        Ok(())
    })
    .await?;
    speaker.wait_up().await?;
    ensure!(times(&router, true)? == before.1, "the other one was reset");
    // BFD's word ends it; the other goes on.
    ensure!(speaker.bfd.send(BfdNews { peer: "router".into(), up: false }).is_ok());
    let ended = |session: &causeway_bed::router::Session| {
        session.end.as_ref().is_some_and(|end| end.received && (end.code, end.subcode) == (6, 10))
    };
    router.wait_session(node(false), "to hear of BFD", SOON, ended).await?;
    // One that is configured no more is left.
    speaker.want(vec![(other, plain(&["2001:db8:2::2/128"]))]);
    bed.wait("only one session", SOON, async || {
        ensure!(
            speaker::names(&speaker.statuses) == [("other".to_owned(), State::Established)].into(),
            "not yet"
        );
        Ok(())
    })
    .await?;
    ensure!(times(&router, true)? == before.1, "the other one was reset");
    wait_no_path(&router, "192.0.2.1/32").await?;
    let table = bed.node(1)?.namespace().run(&["ip", "route"])?;
    ensure!(!table.contains("203.0.113"), "a route of a router was installed: {table}");
    Ok(())
}

/// Neither an address that is not ours nor a port that is taken stays unsaid.
#[rstest]
#[tokio::test]
async fn what_cannot_be_is_said() -> Result<()> {
    let bed = network().await?;
    let here = bed.node(1)?.namespace();
    let mut speaker = speaker(&bed)?;
    let stranger: Ipv4Addr = "203.0.113.9".parse()?;
    speaker.want(vec![(Peer { source: Some(stranger.into()), ..to_router() }, plain(&[]))]);
    speaker.wait_why("source address 203.0.113.9: Cannot assign requested address").await?;
    speaker.want(vec![(Peer { to: PeerTo::Interface("eth7".into()), ..to_router() }, plain(&[]))]);
    speaker.wait_why("there is no interface eth7 here").await?;
    speaker.want(vec![(Peer { to: PeerTo::Interface("lo".into()), ..to_router() }, plain(&[]))]);
    speaker.wait_why("interface lo has no IPv6 link-local address").await?;
    speaker.want(vec![(Peer { port: 1, ..to_router() }, plain(&[]))]);
    speaker.wait_why("Connection refused").await?;
    let taken = here.inside(|| Ok(std::net::TcpListener::bind(("0.0.0.0", 179))?))?;
    speaker.want(vec![(Peer { passive: true, ..to_router() }, plain(&[]))]);
    speaker.wait_why("another program of this node has the port").await?;
    drop(taken);
    let router = start(&bed, Kind::Frr, false, |neighbour| neighbour).await?;
    speaker.wait_up().await?;
    drop(router);
    Ok(())
}

/// A peer that says far too much, reads nothing, or talks nonsense: the session with the other one goes on, and is served in time.
#[rstest]
#[tokio::test]
async fn a_hostile_peer_costs_only_its_own_session(
    #[values(hostile::Manner::Flood, hostile::Manner::Deaf, hostile::Manner::Nonsense)]
    manner: hostile::Manner,
) -> Result<()> {
    let bed = network().await?;
    let router = start(&bed, Kind::Frr, false, |neighbour| neighbour).await?;
    let place = NodeAddresses::of(2).v4;
    let calls = hostile::listen(&bed.node(2)?.namespace(), RACK + 1, manner)?;
    let mut speaker = speaker(&bed)?;
    let bad = Peer { name: "bad".into(), ..peer(NODE, place, RACK + 1) };
    // Enough routes to fill the buffers of one who does not read.
    let many: Vec<String> =
        (0..200_000u32).map(|number| format!("{}/32", Ipv4Addr::from(0x6440_0000 + number))).collect();
    let many = plain(&many.iter().map(String::as_str).collect::<Vec<_>>());
    speaker.want(vec![(to_router(), plain(&["192.0.2.1/32"])), (bad.clone(), many.clone())]);
    speaker.wait_up().await?;
    let opens = router.session(node(false))?.established;
    bed.wait("the hostile peer to be called", SOON, async || {
        ensure!(calls.load(std::sync::atomic::Ordering::Relaxed) > 0, "not yet");
        Ok(())
    })
    .await?;
    for round in 2..12u8 {
        let text = format!("192.0.2.{round}/32");
        let before = Instant::now();
        speaker.want(vec![(to_router(), plain(&[&text])), (bad.clone(), many.clone())]);
        wait_path(&router, &text, |_| true).await?;
        let time = before.elapsed();
        ensure!(time < Duration::from_secs(10), "{time:?} for a route beside a hostile peer");
        println!("{manner:?}: {time:?}");
    }
    ensure!(router.session(node(false))?.established == opens, "the other session was reset");
    Ok(())
}
