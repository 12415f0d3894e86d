//! The routers: real daemons speak with each other, and each reports what the other one said. Beds of network alone; no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{FAR, NodeAddresses, ROUTER, ROUTER_2, ROUTER_V6};
use causeway_bed::router::{
    Advertised, Bfd, Families, Family, GracefulRestart, Kind, Neighbour, Path, RemoteAsn, RouterConfig,
    Session,
};
use causeway_bed::{Bed, Counter, Namespace, Router, Signal};
use ipnet::IpNet;

use crate::common::{CONNECT, SOON};

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

/// Waits until `router` knows what `said` says, from `from`.
async fn wait_heard(router: &Router, said: &Advertised, asn: u32, from: Ipv4Addr) -> Result<Path> {
    let what = format!("{} to know {}", router.namespace().name(), said.prefix);
    let paths = router.wait_paths(said.prefix, &what, SOON, |paths| !paths.is_empty()).await?;
    let path = paths.first().context("no path")?.clone();
    ensure!(path.from == Some(from.into()), "from {:?}", path.from);
    ensure!(path.as_path == vec![asn; usize::from(said.prepend) + 1], "AS path {:?}", path.as_path);
    ensure!(path.med == said.med, "MED {:?}", path.med);
    ensure!(path.communities == said.communities, "communities {:?}", path.communities);
    ensure!(path.large == said.large, "large communities {:?}", path.large);
    ensure!(path.bandwidth == said.bandwidth, "bandwidth {:?}", path.bandwidth);
    ensure!(path.used && !path.stale, "{path:?}");
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

/// Something that answers HTTP on port 80 of whatever address the namespace has, with the namespace's name.
fn serve_names(namespace: &Namespace) -> Result<()> {
    let name = namespace.name().to_owned();
    namespace.spawn_inside(move || {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("[::]:80")?;
        for mut stream in listener.incoming().map_while(Result::ok) {
            let name = name.clone();
            // One that goes away early is no reason to end.
            std::thread::spawn(move || {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let length = name.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
                );
            });
        }
        Ok(())
    })?;
    Ok(())
}

/// BIRD on nodes 1 to 3, all announcing the same address, which each of them has and serves; FRR in front of them.
async fn rack_of_three(bed: &Bed, bfd: Option<Bfd>) -> Result<(Router, Vec<Router>)> {
    let mut nodes = Vec::new();
    for number in 1..=3 {
        let namespace = bed.node(number)?.namespace();
        for (family, address) in [("-4", "192.0.2.1/32"), ("-6", "2001:db8:2::1/128")] {
            namespace.run(&["ip", family, "addr", "add", address, "dev", "lo"])?;
        }
        serve_names(&namespace)?;
        let config = on_node(number).advertise(prefix("192.0.2.1/32")).advertise(prefix("2001:db8:2::1/128"));
        let config = config.every(|neighbour| Neighbour { bfd, ..neighbour });
        nodes.push(Router::start(&namespace, Kind::Bird, config).await?);
    }
    let config = rack(&[1, 2, 3]).every(|neighbour| Neighbour { bfd, ..neighbour });
    let router = Router::start(&bed.router_ns(), Kind::Frr, config).await?;
    Ok((router, nodes))
}

fn gateways(nodes: &[usize]) -> Vec<IpAddr> {
    nodes.iter().map(|number| node(*number).into()).collect()
}

/// Link-local, after the nodes' MAC addresses: of the two addresses that BIRD gives as next hop, FRR takes that one.
fn gateways_v6(nodes: &[usize]) -> Vec<IpAddr> {
    nodes.iter().map(|number| IpAddr::from([0xfe80, 0, 0, 0, 0x77, 0xff, 0xfe00, *number as u16])).collect()
}

#[tokio::test]
async fn traffic_from_behind_frr_is_spread_over_three_nodes() -> Result<()> {
    let bed = network().await?;
    let (router, _nodes) = rack_of_three(&bed, None).await?;
    router.wait_gateways(prefix("192.0.2.1/32"), gateways(&[1, 2, 3]), SOON).await?;
    router.wait_gateways(prefix("2001:db8:2::1/128"), gateways_v6(&[1, 2, 3]), SOON).await?;
    let paths = router.paths(prefix("192.0.2.1/32"))?;
    ensure!(paths.len() == 3 && paths.iter().all(|path| path.used), "{paths:?}");
    for (target, expression) in [
        (IpAddr::from([192, 0, 2, 1]), "ip daddr 192.0.2.1 tcp flags syn / syn,ack"),
        ("2001:db8:2::1".parse()?, "ip6 daddr 2001:db8:2::1 tcp flags syn / syn,ack"),
    ] {
        let label = if target.is_ipv4() { "v4" } else { "v6" };
        let counters: Vec<(String, Counter)> = bed
            .nodes()
            .iter()
            .map(|node| Ok((node.name().to_owned(), node.namespace().count_arriving(label, expression)?)))
            .collect::<Result<_>>()?;
        let mut answers: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..60 {
            let answer = bed.remote_ns().http_get((target, 80), "/", None, CONNECT).await?;
            *answers.entry(answer.body).or_default() += 1;
        }
        // Sixty flows: that one of three ways gets none happens once in 10^10 times.
        ensure!(answers.len() == 3, "{answers:?}");
        for (name, counter) in &counters {
            ensure!(counter.packets()? == answers[name], "{name}: {} of {answers:?}", counter.packets()?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn bfd_takes_a_silent_node_out_of_the_spread_at_once() -> Result<()> {
    let bed = network().await?;
    let (router, nodes) = rack_of_three(&bed, Some(Bfd::every(100))).await?;
    for number in 1..=3 {
        let up = |session: &Session| session.is_established() && session.bfd == Some(true);
        router.wait_session(node(number), "to be up with BFD", SOON, up).await?;
        nodes[number - 1].wait_session(ROUTER, "to be up with BFD", SOON, up).await?;
    }
    let session =
        router.bfd_sessions()?.into_iter().find(|session| session.address == node(2)).context("no BFD")?;
    ensure!(session.up && !session.multihop, "{session:?}");
    ensure!(session.detection == Duration::from_millis(300), "{session:?}");
    ensure!(session.transmit == Duration::from_millis(100), "{session:?}");
    let other = nodes[1].bfd_sessions()?.into_iter().next().context("no BFD")?;
    ensure!((other.address, other.detection) == (ROUTER.into(), Duration::from_millis(300)), "{other:?}");

    let route = prefix("192.0.2.1/32");
    router.wait_gateways(route, gateways(&[1, 2, 3]), SOON).await?;
    let watch = bed.router_ns().watch_routes()?;
    let silent = Instant::now();
    nodes[1].speaker().signal(Signal::STOP)?;
    router.wait_gateways(route, gateways(&[1, 3]), SOON).await?;
    let gone = watch.first(|line| line.starts_with("192.0.2.1 ") && !line.contains("via 10.77.0.12"));
    let took = gone.context("no change was seen")?.duration_since(silent);
    // The detection time is 300 ms; what is left is for a busy machine.
    ensure!(took < Duration::from_secs(2), "it took {took:?}");
    ensure!(took > Duration::from_millis(150), "BFD went down before its time: {took:?}");
    let session = router.session(node(2))?;
    ensure!(!session.is_established(), "{session:?}");
    nodes[1].speaker().signal(Signal::CONT)?;
    router.wait_gateways(route, gateways(&[1, 2, 3]), SOON).await
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
async fn frr_finds_its_neighbour_over_a_cable_without_addresses() -> Result<()> {
    let bed = network().await?;
    let (router_ns, node_ns) = (bed.router_ns(), bed.node(1)?.namespace());
    let (at_router, at_node) = bed.cable(&router_ns, &node_ns)?;
    let config =
        RouterConfig::new(RACK, ROUTER).neighbour(Neighbour::behind(&at_router, RemoteAsn::External));
    let router = Router::start(&router_ns, Kind::Frr, config).await?;
    let config = RouterConfig::new(asn(1), node(1))
        .neighbour(Neighbour::behind(&at_node, RemoteAsn::External).bfd(Bfd::every(300)))
        .advertise(prefix("192.0.2.1/32"))
        .advertise(prefix("2001:db8:2::1/128"));
    Router::start(&node_ns, Kind::Frr, config).await?;
    for (family, address) in [("-4", "192.0.2.1/32"), ("-6", "2001:db8:2::1/128")] {
        node_ns.run(&["ip", family, "addr", "add", address, "dev", "lo"])?;
    }
    serve_names(&node_ns)?;
    let session = bed
        .wait("the session over the cable", SOON, async || {
            let session = router.sessions()?.pop().context("no session")?;
            ensure!(session.is_established(), "{session:?}");
            Ok::<_, anyhow::Error>(session)
        })
        .await?;
    ensure!(session.peer == at_router && session.offers.extended_next_hop, "{session:?}");
    let address = session.address.context("no address")?;
    ensure!(matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()), "{address}");
    // IPv4 by way of an IPv6 neighbour (RFC 8950), also for the packets.
    router.wait_gateways(prefix("192.0.2.1/32"), [address], SOON).await?;
    router.wait_gateways(prefix("2001:db8:2::1/128"), [address], SOON).await?;
    for target in [IpAddr::from([192, 0, 2, 1]), "2001:db8:2::1".parse()?] {
        let answer = bed.remote_ns().http_get((target, 80), "/", None, CONNECT).await?;
        ensure!(answer.body == "node1", "{answer:?}");
    }
    Ok(())
}

/// Whether a neighbour's routes are kept while it is dead.
async fn routes_of_a_dead_neighbour_are_kept(by: Kind) -> Result<()> {
    let bed = network().await?;
    let full =
        |config: RouterConfig| config.every(|neighbour| neighbour.graceful_restart(GracefulRestart::Full));
    let router = Router::start(&bed.router_ns(), by, rack(&[1, 2])).await?;
    let route = prefix("192.0.2.1/32");
    let graceful = full(on_node(1).advertise(route));
    let peer = Router::start(&bed.node(1)?.namespace(), Kind::Bird, graceful).await?;
    let other = prefix("192.0.2.2/32");
    let config =
        on_node(2).advertise(other).every(|neighbour| neighbour.graceful_restart(GracefulRestart::Off));
    let graceless = Router::start(&bed.node(2)?.namespace(), Kind::Bird, config).await?;
    router.wait_gateways(route, gateways(&[1]), SOON).await?;
    router.wait_gateways(other, gateways(&[2]), SOON).await?;
    let offer = router.session(node(1))?.offers.graceful_restart.context("no graceful restart")?;
    ensure!(offer.families.len() == 2 && offer.time > 0, "{offer:?}");
    ensure!(router.session(node(2))?.offers.graceful_restart.is_none(), "node2 offers graceful restart");

    graceless.stop(Signal::KILL)?;
    peer.stop(Signal::KILL)?;
    router.wait_gateways(other, [], SOON).await?;
    let stale = |paths: &[Path]| paths.len() == 1 && paths[0].stale;
    router.wait_paths(route, "the route to be stale", SOON, stale).await?;
    router.wait_gateways(route, gateways(&[1]), SOON).await?;
    peer.start_again().await?;
    let fresh = |paths: &[Path]| paths.len() == 1 && !paths[0].stale;
    router.wait_paths(route, "the route to be fresh again", SOON, fresh).await?;
    router.wait_gateways(route, gateways(&[1]), SOON).await
}

#[tokio::test]
async fn frr_keeps_the_routes_of_a_neighbour_that_restarts() -> Result<()> {
    routes_of_a_dead_neighbour_are_kept(Kind::Frr).await
}

#[tokio::test]
async fn bird_keeps_the_routes_of_a_neighbour_that_restarts() -> Result<()> {
    routes_of_a_dead_neighbour_are_kept(Kind::Bird).await
}

/// A change of one neighbour, or of what is announced, leaves the others' sessions alone.
async fn a_change_touches_nothing_else(kind: Kind) -> Result<()> {
    let bed = network().await?;
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
    let ended = |session: &Session| !session.is_established() && session.end.is_some();
    let end = peers[1].wait_session(ROUTER, "to end", SOON, ended).await?.end.context("no end")?;
    ensure!(end.code == 6, "{end:?}");

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
async fn a_change_of_gobgp_touches_nothing_else() -> Result<()> {
    a_change_touches_nothing_else(Kind::Gobgp).await
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

#[tokio::test]
async fn a_second_router_hears_the_same_and_forwards_too() -> Result<()> {
    let bed = network().await?;
    let second = bed.second_router_ns()?;
    let node_ns = bed.node(1)?.namespace();
    node_ns.run(&["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"])?;
    serve_names(&node_ns)?;
    let config = on_node(1)
        .neighbour(Neighbour::at(ROUTER_2, RACK + 1).source(node(1)))
        .advertise(prefix("192.0.2.1/32"));
    Router::start(&node_ns, Kind::Exabgp, config).await?;
    let routers = [
        Router::start(&bed.router_ns(), Kind::Frr, rack(&[1])).await?,
        Router::start(
            &second,
            Kind::Bird,
            RouterConfig::new(RACK + 1, ROUTER_2).neighbour(Neighbour::at(node(1), asn(1))),
        )
        .await?,
    ];
    for router in &routers {
        router.wait_gateways(prefix("192.0.2.1/32"), gateways(&[1]), SOON).await?;
    }
    let names: Vec<String> =
        Router::list(&bed)?.iter().map(|router| router.namespace().name().to_owned()).collect();
    ensure!(names == ["node1", "router", "router2"], "{names:?}");
    let passing = second.count_arriving("forwarded", "ip daddr 192.0.2.1 tcp flags syn / syn,ack")?;
    bed.remote_ns().run(&["ip", "route", "add", "192.0.2.1/32", "via", "198.51.100.3"])?;
    let answer = bed.remote_ns().http_get(([192, 0, 2, 1], 80), "/", None, CONNECT).await?;
    ensure!(answer.body == "node1" && passing.packets()? == 1, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn frr_spreads_by_link_bandwidth() -> Result<()> {
    let bed = network().await?;
    let route = prefix("192.0.2.1/32");
    for (number, bytes) in [(1, 125_000_000), (2, 375_000_000)] {
        let route = Advertised { bandwidth: Some(bytes), ..Advertised::from(route) };
        Router::start(&bed.node(number)?.namespace(), Kind::Exabgp, on_node(number).advertise(route)).await?;
    }
    let router = Router::start(&bed.router_ns(), Kind::Frr, rack(&[1, 2])).await?;
    router.wait_gateways(route, gateways(&[1, 2]), SOON).await?;
    bed.wait("the weights of the two ways", SOON, async || {
        let routes = bed.router_ns().routes()?;
        let route = routes.into_iter().find(|found| found.prefix == route).context("no route")?;
        ensure!(route.protocol == "bgp", "{route:?}");
        let weight = |number: usize| {
            route.hops.iter().find(|hop| hop.via == Some(node(number).into())).map(|hop| hop.weight)
        };
        let (one, three) = (weight(1).context("no way 1")?, weight(2).context("no way 2")?);
        ensure!(three == 3 * one, "{route:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
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
    ensure!(bed.daemons()?.is_empty(), "something was started");
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
