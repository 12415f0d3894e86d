//! How long it takes to notice a death, as a part of the detection time.

use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::router::{Bfd, Kind};
use causeway_bed::{Daemon, Signal, wait};
use causeway_sys::boottime;

use crate::routers::{Rack, both};
use crate::watcher::Watcher;
use crate::{SOON, network};

/// How often each death is died.
const ROUNDS: usize = 8;

pub async fn frr_dies() -> Result<()> {
    neighbour_dies(Kind::Frr).await
}

pub async fn bird_dies() -> Result<()> {
    neighbour_dies(Kind::Bird).await
}

/// Silence is noticed between two thirds and the whole of the detection time after the neighbour fell silent, as its last packet may be as old as an interval.
async fn neighbour_dies(kind: Kind) -> Result<()> {
    for interval in [300, 50] {
        let bed = network().await?;
        let rack = Rack::start(&bed, kind, Bfd::every(interval)).await?;
        let mut watcher = Watcher::start(&bed, &both(interval.into())).await?;
        let detection = Duration::from_millis(u64::from(interval) * 3);
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            watcher.wait_up(&["v4", "v6"]).await?;
            settled(&watcher, &rack, interval).await?;
            ratios.extend(silence(&mut watcher, &rack, detection).await?);
        }
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let median = ratios[ratios.len() / 2];
        println!(
            "  {kind:?} at {interval} ms × 3 falls silent: down after {least:.2} to {most:.2} times the detection time, median {median:.2} ({} deaths)",
            ratios.len()
        );
        // What a busy machine may take to wake us; and the neighbour's last packet may have been late as well.
        let late = 30.0 / detection.as_millis() as f64;
        ensure!(least > 0.667 - late && most < 1.0 + late, "{ratios:?}");
    }
    Ok(())
}

/// Both ends have agreed on the interval.
async fn settled(watcher: &Watcher, rack: &Rack, interval: u32) -> Result<()> {
    let detection = Duration::from_millis(u64::from(interval) * 3);
    let up = |session: &causeway_bed::router::BfdSession| session.up && session.detection == detection;
    rack.wait("the router to be up", up).await?;
    for peer in ["v4", "v6"] {
        let agreed = |state: &serde_json::Value| {
            let session = &state["session"];
            session["state"] == "up"
                && session["polling"] == false
                && session["detectionUs"] == detection.as_micros() as u64
        };
        watcher.wait_state(peer, "timers to be agreed", agreed).await?;
    }
    Ok(())
}

/// The router's BFD stands still until both sessions are down. Gives the times that took, as parts of the detection time.
async fn silence(watcher: &mut Watcher, rack: &Rack, detection: Duration) -> Result<Vec<f64>> {
    let daemon = rack.daemon()?;
    watcher.forget();
    let pid = daemon.pid()?;
    let stopped = boottime();
    causeway_bed::process::send(pid, Signal::STOP)?;
    let mut ratios = Vec::new();
    let down = watcher.wait("EVENT", SOON).await?;
    let other = watcher.wait("EVENT", SOON).await?;
    for line in [down, other] {
        ensure!(line.text.contains("Down { diag: Diag(1) }"), "{line:?}");
        ratios.push(line.at.saturating_sub(stopped).as_secs_f64() / detection.as_secs_f64());
    }
    causeway_bed::process::send(pid, Signal::CONT)?;
    Ok(ratios)
}

/// The other way: the router notices that we are gone, and takes us up again when we are back.
pub async fn we_die() -> Result<()> {
    for kind in [Kind::Frr, Kind::Bird] {
        let bed = network().await?;
        let rack = Rack::start(&bed, kind, Bfd::every(300)).await?;
        let mut watcher = Watcher::start(&bed, &both(300)).await?;
        for _ in 0..3 {
            watcher.wait_up(&["v4", "v6"]).await?;
            settled(&watcher, &rack, 300).await?;
            let killed = boottime();
            watcher.daemon.stop(Signal::KILL, SOON)?;
            // BIRD's list is empty for a moment.
            wait::until("the router to notice", SOON, async || {
                let sessions = rack.router.bfd_sessions()?;
                ensure!(sessions.iter().all(|session| !session.up), "{sessions:?}");
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            let time = boottime().saturating_sub(killed);
            println!("  {kind:?} notices within {time:?} (that it is asked takes part of that)");
            ensure!(time > Duration::from_millis(590) && time < Duration::from_millis(1500), "{time:?}");
            watcher = Watcher::start(&bed, &both(300)).await?;
        }
    }
    Ok(())
}

/// 50 ms × 3 while more programs want the processors than there are, and while the rest of our own program has no time for anything: nobody is taken for dead, by either end.
pub async fn a_busy_machine() -> Result<()> {
    let bed = network().await?;
    let rack = Rack::start(&bed, Kind::Frr, Bfd::every(50)).await?;
    let mut watcher = Watcher::start_with(&bed, &both(50), &["busy"]).await?;
    watcher.wait_up(&["v4", "v6"]).await?;
    settled(&watcher, &rack, 50).await?;
    let processors = std::thread::available_parallelism()?.get();
    let burners: Vec<_> = (0..processors * 2)
        .map(|number| {
            let command = ["sh", "-c", "while :; do :; done"].map(str::to_owned).to_vec();
            bed.start_daemon(Daemon::new(&format!("burner-{number}"), "node2", command))
        })
        .collect::<Result<_>>()?;
    watcher.forget();
    let counter =
        format!("metallb_bfd_control_packet_output{{peer=\"{}\",vrf=\"\"}}", causeway_bed::addresses::ROUTER);
    let (begin, before) = (boottime(), watcher.count(&counter).await?);
    // As many packets as are sent in 20 s if none is late: what is waited for is them, not the time.
    let enough = 20_000 / 44;
    wait::until("enough packets", Duration::from_secs(40), async || {
        ensure!(watcher.news().is_empty(), "{:?}", watcher.news());
        let sent = watcher.count(&counter).await? - before;
        ensure!(sent >= enough, "{sent} of {enough}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let took = boottime().saturating_sub(begin);
    ensure!(watcher.news().is_empty(), "{:?}", watcher.news());
    ensure!(rack.router.bfd_sessions()?.iter().all(|session| session.up));
    let stalls = watcher.count("causeway_bfd_stalls_total").await?;
    println!(
        "  {} programs on {processors} processors: {enough} packets in {took:?} ({:.1} ms apart; 43.75 would be exact), {stalls} stalls, nobody down",
        burners.len(),
        took.as_secs_f64() * 1000.0 / enough as f64
    );
    for burner in burners {
        burner.stop(Signal::KILL, SOON)?;
    }
    Ok(())
}
