//! What may be wrong on a node, and what must not disturb anybody.

use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::addresses::{NodeAddresses, ROUTER, ROUTER_V6};
use causeway_bed::router::{Bfd, Kind};
use causeway_bed::{Daemon, Signal, wait};

use crate::routers::{Rack, both};
use crate::watcher::{Neighbour, Watcher};
use crate::{SOON, network};

/// Our process stands still, longer than it takes a neighbour to be dead, but not so long that the neighbour takes *us* for dead: what came meanwhile lies in the socket.
pub async fn a_stopped_process() -> Result<()> {
    let bed = network().await?;
    let bfd = Bfd { transmit: 50, receive: 50, ..Bfd::every(50) };
    let rack = Rack::start(&bed, Kind::Frr, bfd).await?;
    // The router waits for 40 packets of ours, we for 3 of the router's.
    let patient = both(50).map(|(name, neighbour)| (name, Neighbour { multiplier: 40, ..neighbour }));
    let mut watcher = Watcher::start(&bed, &patient).await?;
    watcher.wait_up(&["v4", "v6"]).await?;
    let agreed = |state: &serde_json::Value| {
        state["session"]["detectionUs"] == 150_000 && state["session"]["polling"] == false
    };
    for peer in ["v4", "v6"] {
        watcher.wait_state(peer, "timers to be agreed", agreed).await?;
    }
    let heard = format!("metallb_bfd_control_packet_input{{peer=\"{ROUTER}\",vrf=\"\"}}");
    for round in 0..5 {
        let before = watcher.count(&heard).await?;
        watcher.daemon.signal(Signal::STOP)?;
        // As long as the router needs for ten of its packets, by its own count.
        let sent = sent_by(&rack)?;
        wait::until("ten packets of the router", SOON, async || {
            let more = sent_by(&rack)? - sent;
            ensure!(more >= 20, "{more}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        watcher.daemon.signal(Signal::CONT)?;
        let got = watcher.count(&heard).await? - before;
        ensure!(got >= 10, "round {round}: only {got} packets lay in the socket");
        ensure!(watcher.news().is_empty(), "round {round}: {:?}", watcher.news());
    }
    rack.wait("the router to see both up", |session| session.up).await?;
    println!("  {} stalls were forgiven", watcher.count("causeway_bfd_stalls_total").await?);
    Ok(())
}

/// Control packets that FRR has sent, to both addresses.
fn sent_by(rack: &Rack) -> Result<u64> {
    let text = rack.router.ask(&["show bfd peers counters json"])?;
    let counters: serde_json::Value = serde_json::from_str(&text)?;
    let all = counters.as_array().into_iter().flatten();
    Ok(all.filter_map(|peer| peer["control-packet-output"].as_u64()).sum())
}

/// Another program speaks BFD on this node: that is said, and when it ends we begin.
pub async fn another_program_has_the_port() -> Result<()> {
    let bed = network().await?;
    let _rack = Rack::start(&bed, Kind::Frr, Bfd::every(300)).await?;
    let command = ["nc", "-4", "-u", "-l", "0.0.0.0", "3784"].map(str::to_owned).to_vec();
    let squatter = bed.start_daemon(Daemon::new("squatter", "node1", command))?;
    bed.wait("the port to be taken", SOON, async || {
        let taken = bed.node(1)?.run(&["ss", "-lun"])?;
        ensure!(taken.contains("0.0.0.0:3784"), "{taken}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let mut watcher = Watcher::start(&bed, &both(300)).await?;
    // IPv6 has a socket of its own.
    watcher.wait_up(&["v6"]).await?;
    let state = watcher.state("v4").await?;
    ensure!(
        state["problem"] == "another program on this node listens on UDP 3784: only one can speak BFD",
        "{state}"
    );
    squatter.stop(Signal::KILL, SOON)?;
    watcher.wait("EVENT v4 Up", SOON).await?;
    ensure!(watcher.state("v4").await?["problem"].is_null());
    Ok(())
}

/// The address to speak from is given to the node later, and taken away.
pub async fn an_address_that_comes_later() -> Result<()> {
    let bed = network().await?;
    let rack = Rack::start(&bed, Kind::Frr, Bfd::every(300)).await?;
    rack.router.configure_frr(&["bfd", "peer 10.77.0.77", "no shutdown"])?;
    let neighbour = Neighbour { local: Some([10, 77, 0, 77].into()), ..Neighbour::every(300, ROUTER) };
    let mut watcher = Watcher::start(&bed, &[("v4", neighbour)]).await?;
    for _ in 0..2 {
        let said = |state: &serde_json::Value| {
            state["problem"].as_str().is_some_and(|problem| problem.starts_with("cannot send"))
        };
        watcher.wait_state("v4", "the problem to be told", said).await?;
        bed.node(1)?.run(&["ip", "addr", "add", "10.77.0.77/16", "dev", "eth0"])?;
        watcher.wait("EVENT v4 Up", SOON).await?;
        let port = watcher.state("v4").await?["sourcePort"].as_u64();
        ensure!(port.is_some_and(|port| port >= 49152), "{port:?}");
        bed.node(1)?.run(&["ip", "addr", "del", "10.77.0.77/16", "dev", "eth0"])?;
        watcher.wait("EVENT v4 Down", SOON).await?;
    }
    Ok(())
}

/// Peers come, go and change beside one that stays: it sends and hears as before.
pub async fn a_change_disturbs_nobody_else() -> Result<()> {
    let bed = network().await?;
    let rack = Rack::start(&bed, Kind::Frr, Bfd::every(50)).await?;
    let stays = ("v4", Neighbour::every(50, ROUTER));
    let mut watcher = Watcher::start(&bed, std::slice::from_ref(&stays)).await?;
    watcher.wait_up(&["v4"]).await?;
    let number = watcher.state("v4").await?["session"]["discriminator"].clone();
    for round in 0..5u64 {
        let other = Neighbour::every(60 + 100 * round, ROUTER_V6);
        watcher.give(&[stays.clone(), ("v6", other.clone())]).await?;
        watcher.wait("EVENT v6 Up", SOON).await?;
        let slower = (round % 2 == 0).then(|| other.clone().at(2000));
        watcher.give(&[stays.clone(), ("v6", slower.unwrap_or(other))]).await?;
        // The same path under two names: the first has it.
        let twin = Neighbour::every(1000, ROUTER);
        watcher.give(&[stays.clone(), ("v4-twin", twin)]).await?;
        watcher.wait("EVENT v6 Withdrawn", SOON).await?;
        let state = watcher.state("v4-twin").await?;
        ensure!(state["problem"].as_str().is_some_and(|problem| problem.contains("v4")), "{state}");
    }
    let of_v4 = watcher.lines().into_iter().filter(|line| line.text.starts_with("EVENT v4 ")).count();
    ensure!(of_v4 == 1, "only its coming up");
    ensure!(watcher.state("v4").await?["session"]["discriminator"] == number);
    let node = NodeAddresses::of(1);
    let up = rack.router.bfd_sessions()?.into_iter().any(|session| session.address == node.v4 && session.up);
    ensure!(up);
    // The end of a process whose neighbours are gone does not take long either.
    rack.router.stop(Signal::KILL)?;
    let begin = std::time::Instant::now();
    watcher.end().await?;
    ensure!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    Ok(())
}
