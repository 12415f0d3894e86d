//! The echo function with FRR, and with a router that offers it and does not do it.

use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::Namespace;
use causeway_bed::addresses::{ROUTER, ROUTER_V6};
use causeway_bed::router::{Bfd, Kind};
use causeway_sys::boottime;

use crate::routers::Rack;
use crate::watcher::{Neighbour, Watcher};
use crate::{SOON, network};

fn with_echo(interval: u64, echo: u64) -> [(&'static str, Neighbour); 1] {
    [("v4", Neighbour { echo: Some(echo), ..Neighbour::every(interval, ROUTER) })]
}

fn forward(namespace: &Namespace, on: bool) -> Result<()> {
    let set = format!("echo {} >/proc/sys/net/ipv4/conf/eth0/forwarding", u8::from(on));
    namespace.run(&["sh", "-c", &set]).map(drop)
}

fn counter(name: &str) -> String {
    format!("metallb_bfd_{name}{{peer=\"{ROUTER}\",vrf=\"\"}}")
}

/// Both send echo packets, and both send back those of the other. When the router stops to forward, which its BFD process does not notice, we do.
pub async fn with_frr() -> Result<()> {
    let bed = network().await?;
    let bfd = Bfd { echo: Some(50), ..Bfd::every(300) };
    let rack = Rack::start(&bed, Kind::Frr, bfd).await?;
    let mut watcher = Watcher::start(&bed, &with_echo(300, 50)).await?;
    watcher.wait_up(&["v4"]).await?;
    let active = |state: &serde_json::Value| {
        let session = &state["session"];
        session["echo"] == "active" && session["polling"] == false && session["detectionUs"] == 3_000_000
    };
    watcher.wait_state("v4", "echo packets to come back, and control packets to be rare", active).await?;
    let (sent, came) = (counter("echo_packet_output"), counter("echo_packet_input"));
    let before = watcher.count(&came).await?;
    causeway_bed::wait::until("some hundred to have come back", SOON, async || {
        let count = watcher.count(&came).await? - before;
        ensure!(count > 100, "{count}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let [sent, came] = watcher.counts([&sent, &came]).await?;
    ensure!(came <= sent && sent - came <= 2, "{came} of {sent} came back");
    // The router's own come back to it too: FRR takes the session down otherwise.
    let counters = rack.router.ask(&["show bfd peers counters json"])?;
    let counters: serde_json::Value = serde_json::from_str(&counters)?;
    let of_v4 = counters.as_array().into_iter().flatten();
    let theirs: Vec<_> = of_v4
        .map(|peer| (peer["echo-packet-output"].as_u64(), peer["echo-packet-input"].as_u64()))
        .filter(|(output, _)| output.is_some_and(|count| count > 0))
        .collect();
    println!("  {came} of our {sent} echo packets came back; of FRR's (sent, back): {theirs:?}");
    ensure!(
        !theirs.is_empty()
            && theirs.iter().all(|(output, input)| {
                output.zip(*input).is_some_and(|(output, input)| input <= output && output - input <= 3)
            })
    );
    ensure!(watcher.news().is_empty(), "{:?}", watcher.news());

    let mut ratios = Vec::new();
    for _ in 0..4 {
        watcher.forget();
        let broke = boottime();
        forward(rack.router.namespace(), false)?;
        let down = watcher.wait("EVENT v4 Down", SOON).await?;
        // Which of the two notices first is a matter of luck.
        let by_us = down.text.contains("Diag(2)");
        ensure!(by_us || down.text.contains("Diag(3)"), "{down:?}");
        ratios.push((by_us, down.at.saturating_sub(broke).as_secs_f64() / 0.150));
        forward(rack.router.namespace(), true)?;
        watcher.wait("EVENT v4 Up", Duration::from_secs(40)).await?;
        watcher.wait_state("v4", "echo packets to come back", active).await?;
    }
    println!(
        "  a router that stops to forward: down (by us?, after that many detection times of 150 ms): {ratios:.2?}"
    );
    ensure!(ratios.iter().all(|(_, ratio)| *ratio < 1.6), "{ratios:?}");

    // Echo packets alone keep nothing up.
    rack.daemon()?.signal(causeway_bed::Signal::STOP)?;
    watcher.wait("EVENT v4 Down { diag: Diag(1) }", SOON).await?;
    rack.daemon()?.signal(causeway_bed::Signal::CONT)?;
    Ok(())
}

/// A router that does not forward offers to loop echo packets all the same: control packets go on watching it, at the full rate. Where echo cannot be, that is said.
pub async fn a_router_that_does_not_send_back() -> Result<()> {
    let bed = network().await?;
    let rack = Rack::start(&bed, Kind::Frr, Bfd::every(300)).await?;
    forward(rack.router.namespace(), false)?;
    let mut watcher = Watcher::start(&bed, &with_echo(300, 50)).await?;
    watcher.wait_up(&["v4"]).await?;
    let unanswered = |state: &serde_json::Value| {
        state["session"]["echo"] == "unanswered" && state["session"]["detectionUs"] == 900_000
    };
    watcher.wait_state("v4", "it to be told that none comes back", unanswered).await?;
    causeway_bed::wait::until("many to have been sent", SOON, async || {
        let sent = watcher.count(&counter("echo_packet_output")).await?;
        ensure!(sent > 60, "{sent}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(watcher.news().is_empty(), "{:?}", watcher.news());
    ensure!(watcher.count(&counter("echo_packet_input")).await? == 0);
    rack.wait("the router to see it up", |session| session.up || session.address.is_ipv6()).await?;
    // As soon as it forwards, they count.
    forward(rack.router.namespace(), true)?;
    watcher
        .wait_state("v4", "echo packets to come back", |state| state["session"]["echo"] == "active")
        .await?;
    ensure!(watcher.news().is_empty(), "{:?}", watcher.news());

    let v6 = Neighbour { echo: Some(50), ..Neighbour::every(300, ROUTER_V6) };
    let [(_, v4)] = with_echo(300, 50);
    watcher.give(&[("v4", v4), ("v6", v6)]).await?;
    let state = watcher.state("v6").await?;
    ensure!(state["session"].is_null(), "{state}");
    ensure!(state["problem"].as_str().is_some_and(|problem| problem.contains("IPv4")), "{state}");
    ensure!(watcher.news().is_empty(), "{:?}", watcher.news());
    Ok(())
}
