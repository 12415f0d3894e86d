//! BFD of ours as a process of its own on a node, and its handle. It prints what it hears, a line each, with the boot clock's microseconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::addresses::NodeAddresses;
use causeway_bed::init::STATE_DIR;
use causeway_bed::{Bed, Daemon, Running, Signal, wait};
use causeway_metal::bgp::BfdSettings;
use causeway_speaker::bfd_run::{self, BfdChannels, BfdMetrics, BfdPeer};
use causeway_sys::boottime;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::SOON;

/// A neighbour, as the process reads it from a file. Times in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Neighbour {
    pub remote: IpAddr,
    pub local: Option<IpAddr>,
    pub interface: Option<String>,
    pub multihop: bool,
    pub receive: u64,
    pub transmit: u64,
    pub multiplier: u8,
    pub echo: Option<u64>,
    pub passive: bool,
    pub minimum_ttl: u8,
}

impl Neighbour {
    /// One hop away, with three packets each way in this time.
    pub fn every(interval: u64, remote: impl Into<IpAddr>) -> Self {
        Neighbour {
            remote: remote.into(),
            local: None,
            interface: None,
            multihop: false,
            receive: interval,
            transmit: interval,
            multiplier: 3,
            echo: None,
            passive: false,
            minimum_ttl: 254,
        }
    }

    /// With another interval, otherwise the same.
    pub fn at(self, interval: u64) -> Self {
        Neighbour { receive: interval, transmit: interval, ..self }
    }

    fn peer(&self) -> BfdPeer {
        let settings = BfdSettings {
            receive: Duration::from_millis(self.receive),
            transmit: Duration::from_millis(self.transmit),
            multiplier: self.multiplier,
            echo: self.echo.map(Duration::from_millis),
            passive: self.passive,
            minimum_ttl: self.minimum_ttl,
        };
        let Neighbour { remote, local, ref interface, multihop, .. } = *self;
        BfdPeer { local, remote, interface: interface.clone(), multihop, settings }
    }
}

fn read(file: &str) -> Arc<BTreeMap<String, BfdPeer>> {
    let text = std::fs::read(file).expect("a file of neighbours");
    let neighbours: BTreeMap<String, Neighbour> = serde_json::from_slice(&text).expect("neighbours");
    Arc::new(neighbours.iter().map(|(name, neighbour)| (name.clone(), neighbour.peer())).collect())
}

/// Where the process writes its state when it is asked.
fn state_file(file: &str) -> String {
    format!("{file}.state")
}

fn say(text: &str) {
    // In one piece, so that a reader never sees half a line.
    println!("{} {text}", boottime().as_micros());
}

/// The process: `watch FILE [busy]`, until SIGTERM. SIGHUP reads the file again, SIGUSR1 prints the state and the counters. `busy`: the rest of the program
/// needs more than two thirds of the time, 200 ms each.
pub fn watch(arguments: &[String]) {
    let file = arguments.first().expect("a file").clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (peers, wanted) = watch::channel(read(&file));
        let (events, mut told) = mpsc::unbounded_channel();
        let (questions, snapshots) = mpsc::channel(1);
        let (terminate, terminated) = oneshot::channel::<()>();
        let metrics = BfdMetrics::new();
        let channels = BfdChannels { peers: wanted, events, snapshots };
        let shutdown = async {
            // Dropped is as good as said.
            let _ = terminated.await;
        };
        let ended = bfd_run::start(channels, metrics.clone(), shutdown).expect("a thread");
        // What is told is written down by another thread, so that this one may be as busy as it likes.
        std::thread::spawn(move || {
            while let Some(event) = told.blocking_recv() {
                say(&format!("EVENT {} {:?}", event.peer, event.news));
            }
        });
        if arguments.iter().any(|word| word == "busy") {
            tokio::spawn(async {
                let mut pause = tokio::time::interval(Duration::from_millis(280));
                loop {
                    pause.tick().await;
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
        }
        let caught = |kind| signal(kind).expect("signals can be caught");
        let (mut hangup, mut ask, mut end) = (
            caught(SignalKind::hangup()),
            caught(SignalKind::user_defined1()),
            caught(SignalKind::terminate()),
        );
        say("READY");
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    peers.send_replace(read(&file));
                    say("TAKEN");
                }
                _ = ask.recv() => {
                    let (answer, answered) = oneshot::channel();
                    questions.send(answer).await.expect("it runs");
                    let state = answered.await.expect("it answers");
                    let mut registry = prometheus_client::registry::Registry::default();
                    metrics.register(&mut registry);
                    let mut text = String::new();
                    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
                    let state = serde_json::json!({"sessions": state, "metrics": text});
                    std::fs::write(state_file(&file), state.to_string()).expect("written");
                    say("STATE");
                }
                _ = end.recv() => break,
            }
        }
        drop(terminate);
        ended.await.expect("the thread ends in order").expect("and without an error");
        say("END");
    });
}

/// One line of the process.
#[derive(Debug, Clone)]
pub struct Line {
    pub at: Duration,
    pub text: String,
}

/// The running process.
pub struct Watcher {
    pub daemon: Running,
    bed: causeway_bed::init::Init,
    file: String,
    /// Lines before that have been dealt with.
    read: usize,
}

impl Watcher {
    /// Starts it on node 1.
    pub async fn start(bed: &Bed, neighbours: &[(&str, Neighbour)]) -> Result<Watcher> {
        Watcher::start_with(bed, neighbours, &[]).await
    }

    pub async fn start_with(bed: &Bed, neighbours: &[(&str, Neighbour)], manner: &[&str]) -> Result<Watcher> {
        let file = "neighbours.json".to_owned();
        let init = bed.init().clone();
        init.write(&file, serde_json::to_vec(&named(neighbours))?)?;
        let program = std::env::current_exe()?.display().to_string();
        let mut command = vec![program, "watch".to_owned(), format!("{STATE_DIR}/{file}")];
        command.extend(manner.iter().map(|word| (*word).to_owned()));
        let daemon = bed.start_daemon(Daemon::new("watcher", NodeAddresses::of(1).name.as_str(), command))?;
        let mut watcher = Watcher { daemon, bed: init, file, read: 0 };
        watcher.wait("READY", SOON).await?;
        Ok(watcher)
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        let log = self.daemon.log();
        // The last line may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().filter_map(line).collect()
    }

    /// The next line that begins so, after those that were waited for before.
    pub async fn wait(&mut self, begin: &str, timeout: Duration) -> Result<Line> {
        let what = format!("{begin:?}");
        let found = wait::until(&what, timeout, async || {
            let lines = self.lines();
            let new = lines.iter().enumerate().skip(self.read);
            match new.clone().find(|(_, line)| line.text.starts_with(begin)) {
                Some((index, line)) => Ok((index, line.clone())),
                None => {
                    self.daemon.pid().map_err(|error| format!("{error:#}"))?;
                    Err(format!("{:?}", new.map(|(_, line)| &line.text).collect::<Vec<_>>()))
                }
            }
        });
        let (index, line) = found.await?;
        self.read = index + 1;
        Ok(line)
    }

    /// What is said from now on counts.
    pub fn forget(&mut self) {
        self.read = self.lines().len();
    }

    /// The news since [`Watcher::forget`].
    pub fn news(&self) -> Vec<Line> {
        let lines = self.lines().into_iter().skip(self.read);
        lines.filter(|line| line.text.starts_with("EVENT")).collect()
    }

    /// Waits until each of these is Up.
    pub async fn wait_up(&mut self, peers: &[&str]) -> Result<()> {
        let begin = self.read;
        for peer in peers {
            // They come in any order.
            self.read = begin;
            self.wait(&format!("EVENT {peer} Up"), SOON).await?;
        }
        self.forget();
        Ok(())
    }

    /// Other neighbours from now on.
    pub async fn give(&mut self, neighbours: &[(&str, Neighbour)]) -> Result<()> {
        self.bed.write(&self.file, serde_json::to_vec(&named(neighbours))?)?;
        self.forget();
        let begin = self.read;
        self.daemon.signal(Signal::HUP)?;
        self.wait("TAKEN", SOON).await?;
        // What follows from it may be told before it is said that it was taken.
        self.read = begin;
        Ok(())
    }

    async fn ask(&self) -> Result<Value> {
        let before = self.lines().len();
        self.daemon.signal(Signal::USR1)?;
        wait::until("the state", SOON, async || {
            let written = self.lines().iter().skip(before).any(|line| line.text == "STATE");
            if written { Ok(()) } else { Err("nothing") }
        })
        .await?;
        Ok(serde_json::from_slice(&std::fs::read(self.bed.state(&state_file(&self.file)))?)?)
    }

    /// The state of a peer's session.
    pub async fn state(&self, peer: &str) -> Result<Value> {
        let state = self.ask().await?;
        let sessions = state["sessions"].as_array().context("no list")?;
        let of_peer = sessions.iter().find(|session| session["peer"] == peer);
        of_peer.cloned().with_context(|| format!("no {peer} in {state}"))
    }

    /// Waits until the state of a peer's session is so.
    pub async fn wait_state(&self, peer: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(what, SOON, async || {
            let state = self.state(peer).await?;
            ensure!(holds(&state), "{state}");
            Ok::<_, anyhow::Error>(state)
        })
        .await
    }

    /// A counter; 0 if there is none.
    pub async fn count(&self, name: &str) -> Result<u64> {
        self.counts([name]).await.map(|[value]| value)
    }

    /// Counters at one moment.
    pub async fn counts<const N: usize>(&self, names: [&str; N]) -> Result<[u64; N]> {
        let state = self.ask().await?;
        let text = state["metrics"].as_str().context("no text")?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Ok(names.map(|name| value(name).unwrap_or(0)))
    }

    /// SIGTERM, and the end in good order.
    pub async fn end(&mut self) -> Result<()> {
        self.daemon.signal(Signal::TERM)?;
        self.wait("END", SOON).await.map(drop)
    }
}

fn named(neighbours: &[(&str, Neighbour)]) -> BTreeMap<String, Neighbour> {
    neighbours.iter().map(|(name, neighbour)| ((*name).to_owned(), neighbour.clone())).collect()
}

fn line(text: &str) -> Option<Line> {
    let (at, text) = text.split_once(' ')?;
    Some(Line { at: Duration::from_micros(at.parse().ok()?), text: text.to_owned() })
}
