//! What routers do to traffic: over one node or several, over links without addresses, while a node is silent or starts anew.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{ROUTER, ROUTER_2};
use causeway_bed::router::{
    Advertised, Bfd, GracefulRestart, Kind, Neighbour, Path, RemoteAsn, RouterConfig, Session,
};
use causeway_bed::{Bed, Counter, Namespace, Router, Signal};
use socket2::{Domain, Protocol, Socket, Type};

use super::{RACK, asn, gateways, network, node, on_node, prefix, rack};
use crate::common::{CONNECT, SOON};

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

/// One router advertisement (RFC 4861 section 4.2) to all nodes of a link, from a host that is no router for anybody: its lifetime is 0.
fn advertise_once(namespace: &Namespace, interface: &str) -> Result<()> {
    let link = namespace.run(&["ip", "-o", "link", "show", "dev", interface])?;
    let index: u32 = link.split(':').next().unwrap_or_default().parse().context("an interface's number")?;
    namespace.inside(move || {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_if_v6(index)?;
        let mut message = [0; 16];
        (message[0], message[4]) = (134, 64);
        let all_nodes = SocketAddrV6::new("ff02::1".parse()?, 0, 0, index);
        socket.send_to(&message, &all_nodes.into())?;
        Ok(())
    })
}

#[tokio::test]
async fn frr_speaks_unnumbered_with_whom_has_advertised_itself() -> Result<()> {
    let bed = network().await?;
    let (router_ns, node_ns) = (bed.router_ns(), bed.node(1)?.namespace());
    let (at_router, at_node) = bed.cable(&router_ns, &node_ns)?;
    let config =
        RouterConfig::new(RACK, ROUTER).neighbour(Neighbour::behind(&at_router, RemoteAsn::External));
    let router = Router::start(&router_ns, Kind::Frr, config).await?;
    // The node takes no router advertisements, yet its kernel knows from them who is a router there.
    ensure!(node_ns.run(&["cat", "/proc/sys/net/ipv6/conf/all/accept_ra"])?.trim() == "0", "RAs are taken");
    bed.wait("the router to be known as one", SOON, async || {
        let neighbours = node_ns.run(&["ip", "-6", "neigh", "show", "dev", &at_node])?;
        ensure!(neighbours.contains(" router "), "{neighbours}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let config = RouterConfig::new(asn(1), node(1))
        .neighbour(Neighbour::behind(&at_node, RemoteAsn::Is(RACK)))
        .advertise(prefix("192.0.2.1/32"));
    Router::start(&node_ns, Kind::Gobgp, config).await?;
    let waiting = router.sessions()?.pop().context("no session")?;
    ensure!(waiting.address.is_none() && !waiting.is_established(), "{waiting:?}");
    advertise_once(&node_ns, &at_node)?;
    bed.wait("the route over the cable", SOON, async || {
        let gateways = router_ns.gateways(prefix("192.0.2.1/32"))?;
        ensure!(gateways.iter().any(IpAddr::is_ipv6), "{gateways:?}, {:?}", router.sessions()?);
        Ok::<_, anyhow::Error>(())
    })
    .await
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
