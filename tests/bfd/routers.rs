//! Up with FRR and with BIRD, of both families, and what happens when timers change or one end is switched off.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::{NodeAddresses, ROUTER, ROUTER_V6};
use causeway_bed::init::Init;
use causeway_bed::router::{self, Bfd, BfdSession, Kind, RouterConfig};
use causeway_bed::{Bed, Router, Running, Signal, wait};

use crate::watcher::{Neighbour, Watcher};
use crate::{SOON, network};

/// A router that watches node 1 at both its addresses.
pub struct Rack {
    pub router: Router,
    init: Init,
}

impl Rack {
    pub async fn start(bed: &Bed, kind: Kind, bfd: Bfd) -> Result<Rack> {
        let router = Router::start(&bed.router_ns(), kind, watching(bfd)).await?;
        let mut rack = Rack { router, init: bed.init().clone() };
        if kind == Kind::Bird {
            rack.set(bfd).await?;
        }
        Ok(rack)
    }

    /// Watches like that from now on.
    pub async fn set(&mut self, bfd: Bfd) -> Result<()> {
        if self.router.kind() == Kind::Frr {
            return self.router.reconfigure(watching(bfd)).await;
        }
        // BIRD stops a BGP session whose BFD fails, and with it BFD, for a second or two. Nobody speaks BGP here.
        let path = self.init.write("bfd.conf", bird_alone(bfd))?;
        let answer = self.router.ask(&["configure", &format!("\"{path}\"")])?;
        ensure!(answer.contains("Reconfig"), "BIRD refuses its configuration: {answer}");
        Ok(())
    }

    /// Waits until its sessions with both addresses are so.
    pub async fn wait(&self, what: &str, holds: impl Fn(&BfdSession) -> bool) -> Result<()> {
        wait::until(what, SOON, async || {
            let sessions = self.router.bfd_sessions()?;
            ensure!(sessions.len() == 2 && sessions.iter().all(&holds), "{sessions:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// The process that speaks BFD.
    pub fn daemon(&self) -> Result<Running> {
        let wanted = if self.router.kind() == Kind::Frr { "bfdd" } else { "bird" };
        let daemons = self.router.daemons();
        daemons.into_iter().find(|daemon| daemon.name().ends_with(wanted)).context("no daemon")
    }
}

fn watching(bfd: Bfd) -> RouterConfig {
    let node = NodeAddresses::of(1);
    let config = RouterConfig::new(64512, ROUTER);
    [node.v4.into(), node.v6.into()].into_iter().fold(config, |config, address: IpAddr| {
        config.neighbour(router::Neighbour::at(address, 64601).bfd(bfd))
    })
}

/// BFD without BGP.
fn bird_alone(bfd: Bfd) -> String {
    let node = NodeAddresses::of(1);
    let Bfd { receive, transmit, multiplier, passive, .. } = bfd;
    let passive = if passive { "passive yes;" } else { "" };
    let (v4, v6) = (node.v4, node.v6);
    format!(
        "log stderr all;\nrouter id {ROUTER};\nprotocol device {{ scan time 1; }}\nprotocol bfd {{\n\
         interface \"*\" {{ min rx interval {receive} ms; min tx interval {transmit} ms; idle tx interval 1 s; \
         multiplier {multiplier}; {passive} }};\nneighbor {v4} dev \"eth0\";\nneighbor {v6} dev \"eth0\";\n}}\n"
    )
}

/// The router as neighbour, at both its addresses.
pub fn both(interval: u64) -> [(&'static str, Neighbour); 2] {
    [("v4", Neighbour::every(interval, ROUTER)), ("v6", Neighbour::every(interval, ROUTER_V6))]
}

pub async fn frr() -> Result<()> {
    with(Kind::Frr).await
}

pub async fn bird() -> Result<()> {
    with(Kind::Bird).await
}

async fn with(kind: Kind) -> Result<()> {
    let bed = network().await?;
    let mut rack = Rack::start(&bed, kind, Bfd::every(300)).await?;
    let mut watcher = Watcher::start(&bed, &both(300)).await?;
    watcher.wait_up(&["v4", "v6"]).await?;
    rack.wait("the router to see both up", |session| session.up).await?;
    for peer in ["v4", "v6"] {
        let agreed = |state: &serde_json::Value| {
            let session = &state["session"];
            session["polling"] == false
                && session["detectionUs"] == 900_000
                && session["transmitUs"] == 300_000
        };
        watcher.wait_state(peer, "timers to be agreed", agreed).await?;
    }

    // We change first, then the router: it is the slower one that counts. Nobody goes down.
    watcher.give(&both(50)).await?;
    let slow = |session: &BfdSession| session.up && session.detection == Duration::from_millis(900);
    rack.wait("nothing to change on the router", slow).await?;
    rack.set(Bfd::every(50)).await?;
    let fast = |session: &BfdSession| {
        session.up
            && session.detection == Duration::from_millis(150)
            && session.transmit == Duration::from_millis(50)
    };
    rack.wait("the router to have changed", fast).await?;
    for peer in ["v4", "v6"] {
        let agreed = |state: &serde_json::Value| {
            let session = &state["session"];
            session["polling"] == false
                && session["detectionUs"] == 150_000
                && session["transmitUs"] == 50_000
        };
        watcher.wait_state(peer, "timers to be agreed", agreed).await?;
    }
    // And back: less often needs the consent of the other.
    rack.set(Bfd::every(300)).await?;
    rack.wait("the router to be slow again", slow).await?;
    watcher.give(&both(300)).await?;
    let agreed = |state: &serde_json::Value| {
        state["session"]["polling"] == false && state["session"]["detectionUs"] == 900_000
    };
    for peer in ["v4", "v6"] {
        watcher.wait_state(peer, "timers to be agreed", agreed).await?;
    }
    ensure!(watcher.news().is_empty(), "{:?}", watcher.news());
    let peer = format!("{{peer=\"{ROUTER}\",vrf=\"\"}}");
    ensure!(watcher.count(&format!("metallb_bfd_session_up{peer}")).await? == 1);
    ensure!(watcher.count(&format!("metallb_bfd_session_up_events{peer}")).await? == 1);
    ensure!(watcher.count(&format!("metallb_bfd_session_down_events{peer}")).await? == 0);
    ensure!(watcher.count(&format!("metallb_bfd_control_packet_input{peer}")).await? >= 5);

    passive(&mut watcher, &mut rack).await?;

    // Switched off here: the router is told.
    watcher.give(&both(300)[..1]).await?;
    watcher.wait("EVENT v6 Withdrawn", SOON).await?;
    let node = NodeAddresses::of(1);
    let session = wait::until("the router to see it down", SOON, async || {
        let sessions = rack.router.bfd_sessions()?;
        // BIRD begins anew at once, and forgets.
        let session = sessions.iter().find(|session| session.address == node.v6);
        ensure!(session.is_none_or(|session| !session.up), "{session:?}");
        Ok::<_, anyhow::Error>(session.cloned())
    });
    let session = session.await?;
    ensure!(rack.router.bfd_sessions()?.iter().any(|session| session.address == node.v4 && session.up));
    println!("  the router about a session that we have ended: {session:?}");

    // Switched off there: no failure.
    if kind == Kind::Frr {
        let down = ["bfd", &format!("peer {}", node.v4), "shutdown"];
        rack.router.configure_frr(&down).context("switching a session off")?;
        watcher.wait("EVENT v4 Withdrawn", SOON).await?;
        rack.router.configure_frr(&["bfd", &format!("peer {}", node.v4), "no shutdown"])?;
        watcher.wait("EVENT v4 Up", SOON).await?;
    }
    let begin = std::time::Instant::now();
    watcher.end().await?;
    println!("  the end took {:?}", begin.elapsed());
    Ok(())
}

/// One end waits to be spoken to: first we, then the router.
async fn passive(watcher: &mut Watcher, rack: &mut Rack) -> Result<()> {
    let kind = rack.router.kind();
    let quiet = both(300).map(|(name, neighbour)| (name, Neighbour { passive: true, ..neighbour }));
    watcher.give(&[]).await?;
    watcher.wait("EVENT", SOON).await?;
    rack.wait("the router to see both down", |session| !session.up).await?;
    watcher.forget();
    watcher.give(&quiet).await?;
    watcher.wait_up(&["v4", "v6"]).await?;
    // One speaks unasked, the other does not, when the router is silent.
    let [v4, _] = quiet;
    let [_, active] = both(300);
    watcher.give(&[v4, active]).await?;
    let daemon = rack.daemon()?;
    daemon.signal(Signal::STOP)?;
    watcher.wait("EVENT v4 Down", SOON).await?;
    let sent = |address: IpAddr| format!("metallb_bfd_control_packet_output{{peer=\"{address}\",vrf=\"\"}}");
    let before = (watcher.count(&sent(ROUTER.into())).await?, watcher.count(&sent(ROUTER_V6.into())).await?);
    wait::until("the active session to have spoken", SOON, async || {
        let count = watcher.count(&sent(ROUTER_V6.into())).await?;
        ensure!(count > before.1 + 3, "{count} after {}", before.1);
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(watcher.count(&sent(ROUTER.into())).await? == before.0, "it speaks unasked");
    watcher.forget();
    daemon.signal(Signal::CONT)?;
    watcher.wait_up(&["v4", "v6"]).await?;
    let bfd = Bfd { passive: true, ..Bfd::every(300) };
    rack.set(bfd).await?;
    watcher.give(&both(300)).await?;
    rack.wait("the router to be up, passive", |session| session.up).await?;
    if kind == Kind::Frr {
        restarts(watcher, rack).await?;
    }
    watcher.forget();
    Ok(())
}

/// A router that starts anew says "down" with another discriminator.
async fn restarts(watcher: &mut Watcher, rack: &Rack) -> Result<()> {
    watcher.forget();
    rack.router.stop(Signal::KILL)?;
    rack.router.start_again().await?;
    watcher.wait("EVENT v4 Down", SOON).await?;
    watcher.wait("EVENT v4 Up", SOON).await?;
    rack.wait("the router to be up again", |session| session.up).await?;
    Ok(())
}
