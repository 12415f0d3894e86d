//! BFD at work: sockets, timers, and the order in which things are done. I/O.
//!
//! ```text
//!   peers ─────────────────────────────┐
//!   UDP 3784, 4784 ─▶ Packet ─▶ Paths ─┼─▶ bfd::Session, one per peer ─▶ UDP, from a port per session
//!   AF_PACKET ◀─▶ echo packets ────────┤            └─▶ events, metrics, snapshots
//!   timer ─────────────────────────────┘
//! ```
//!
//! One task owns all sessions. At each turn it reads *all* that waits in the sockets, and only then looks at the timers: so a neighbour is not taken for dead
//! whose packets lie in a socket because this process was not run.
//!
//! **Time.** [`start`] gives the task a thread of its own: the rest of the speaker reads lists of thousands of Services, which takes longer than a neighbour
//! with an interval of 50 ms is patient. Its timer is the kernel's ([`Timer`]), since an interval may be 10 ms, of which tokio's timers would take a tenth and
//! more. Measured with 50 ms on 2 cores that eight others want as well: woken 0.1 ms late on median, 9 ms in one of a hundred cases, never 15. Nothing here
//! helps against a CPU quota: a container that has used its own up stands still for up to 100 ms, so the speaker must have none.
//!
//! **Order at the end**: the neighbours are told that the sessions are switched off, which is no reason to give anything up (RFC 5882 §3.2), and the task ends
//! when they have confirmed it.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use causeway_sys::{Addressed, LoopedSocket, Timer};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot, watch};

use crate::bfd::path::{ECHO_PORT, Paths};
use crate::bfd::{Input, Packet, Start, echo, looped};
use crate::moment::Moment;
use crate::port::now;

mod live;
mod metrics;
mod peer;
mod sockets;

use live::{Live, Shared};
pub use metrics::{BfdMetrics, NeighborLabels};
pub use peer::{BfdEvent, BfdNews, BfdPeer, BfdSnapshot, PeerKey, Refusal};
use sockets::{Kind, Listener};

/// Datagrams taken at most from a socket before the timers have their turn: far more than honest neighbours send, and a few milliseconds of work.
const MAX_DATAGRAMS: usize = 4096;
/// Room for every packet that is looked at. Of a longer one only the beginning matters.
const BUFFER: usize = 256;
/// How often is looked whether interfaces, addresses and ports are there that were not, or not any more.
const LOOK: Duration = Duration::from_secs(1);
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where running BFD gets its inputs from, and what it tells.
#[derive(Debug)]
pub struct BfdChannels {
    /// With whom to run it. What is the same as before goes on undisturbed. When the sender goes, the last one stays valid.
    pub peers: watch::Receiver<Arc<BTreeMap<PeerKey, BfdPeer>>>,
    /// What becomes of the paths: each coming up, and each going down after that. Unbounded, so that none is lost: each stands for a packet of a neighbour, or
    /// for its silence.
    pub events: mpsc::UnboundedSender<BfdEvent>,
    /// Questions for the state.
    pub snapshots: mpsc::Receiver<oneshot::Sender<Vec<BfdSnapshot>>>,
}

/// Runs BFD on a thread of its own until `shutdown` is done, then takes leave. What is given back ends when that has happened, or with an error when BFD cannot
/// run.
///
/// # Errors
///
/// If there can be no thread.
pub fn start(
    channels: BfdChannels,
    metrics: BfdMetrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name("bfd".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let result = runtime.and_then(|runtime| runtime.block_on(run(channels, metrics, shutdown)));
        // Whoever started it may not wait for its end.
        let _gone = ended.send(result);
    })?;
    Ok(end)
}

/// Runs BFD on the current runtime until `shutdown` is done, then takes leave. What needs milliseconds elsewhere on that runtime is missing here: see
/// [`start`].
///
/// # Errors
///
/// Those of the timer, and where there are no random numbers.
pub async fn run(
    channels: BfdChannels,
    metrics: BfdMetrics,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let BfdChannels { mut peers, events, mut snapshots } = channels;
    let mut bfd = Bfd {
        sessions: BTreeMap::new(),
        paths: Paths::default(),
        refused: BTreeMap::new(),
        listeners: Kind::ALL.map(|kind| (kind, Err(String::new()))),
        shared: Shared { metrics, events, echo: None },
        next_look: None,
        random: SystemRandom::new(),
    };
    let timer = Timer::new()?;
    let mut armed = None;
    tokio::pin!(shutdown);
    peers.mark_changed();
    let mut last_call = None;
    loop {
        let due = bfd.next_deadline().into_iter().chain(last_call).min();
        // Set only when the time changes.
        if due != armed {
            armed = due;
            timer.set(due.map(Moment::since_origin))?;
        }
        // A channel whose sender has gone is never ready again: what it said last stays.
        tokio::select! {
            () = &mut shutdown, if last_call.is_none() => {
                last_call = Some(now() + FAREWELL);
                bfd.leave(now());
            }
            Ok(()) = peers.changed(), if last_call.is_none() => {
                let wanted = Arc::clone(&peers.borrow_and_update());
                bfd.set_peers(&wanted, now());
            }
            Some(answer) = snapshots.recv() => {
                // Whoever asked may have gone.
                let _gone = answer.send(bfd.snapshot(now()));
            }
            () = bfd.readable() => {}
            expired = timer.expired() => {
                expired?;
                armed = None;
            }
        }
        bfd.turn();
        if last_call.is_some_and(|until| bfd.sessions.is_empty() || until <= now()) {
            return Ok(());
        }
    }
}

struct Bfd {
    sessions: BTreeMap<NonZeroU32, Live>,
    paths: Paths<NonZeroU32>,
    /// The peers that have no session, and why.
    refused: BTreeMap<PeerKey, (BfdPeer, Refusal)>,
    /// Open where a session needs it; or why it is not.
    listeners: [(Kind, Result<Listener, String>); Kind::ALL.len()],
    shared: Shared,
    /// When to look for interfaces, addresses and ports; nothing without sessions.
    next_look: Option<Moment>,
    random: SystemRandom,
}

impl Bfd {
    fn next_deadline(&self) -> Option<Moment> {
        self.sessions.values().filter_map(|live| live.deadline).chain(self.next_look).min()
    }

    /// Waits until something may be there to be read.
    async fn readable(&self) {
        let listeners = poll_fn(|context| {
            let readable = |(_, listener): &(Kind, Result<Listener, String>)| {
                listener.as_ref().is_ok_and(|listener| listener.poll_readable(context).is_ready())
            };
            if self.listeners.iter().any(readable) { Poll::Ready(()) } else { Poll::Pending }
        });
        match &self.shared.echo {
            Some(echo) => tokio::select! {
                () = listeners => {}
                // An error is that the runtime goes down.
                Ok(()) = echo.readable() => {}
            },
            None => listeners.await,
        }
    }

    /// Reads all that waits, and then lets those have their turn whose time has come.
    fn turn(&mut self) {
        self.read_control();
        self.read_echo();
        for live in self.sessions.values_mut() {
            let time = now();
            if live.deadline.is_some_and(|deadline| deadline <= time) {
                live.handle(Input::Tick, time, &self.shared);
            }
        }
        self.bury();
        if self.next_look.is_some_and(|at| at <= now()) {
            self.look();
        }
    }

    fn read_control(&mut self) {
        let mut buffer = [0; BUFFER];
        for (_, listener) in &self.listeners {
            let Ok(listener) = listener else { continue };
            for _ in 0..MAX_DATAGRAMS {
                let Some((octets, arrival)) = listener.try_receive(&mut buffer) else { break };
                let selected = Packet::parse(octets)
                    .and_then(|packet| Ok((self.paths.select(&packet, &arrival)?, packet)));
                match selected {
                    Ok((discriminator, packet)) => {
                        if let Some(live) = self.sessions.get_mut(&discriminator) {
                            live.receive(&packet, &arrival, now(), &self.shared);
                        }
                    }
                    Err(reason) => {
                        tracing::debug!(reason = reason.name(), ?arrival, "BFD packet discarded");
                        self.shared.metrics.discard(reason);
                    }
                }
            }
        }
    }

    fn read_echo(&mut self) {
        let Some(socket) = &self.shared.echo else { return };
        let mut buffer = [0; BUFFER];
        for _ in 0..MAX_DATAGRAMS {
            let received = match socket.try_receive(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An interface went down, for instance: told once.
                Err(error) => {
                    tracing::debug!(%error, "echo socket");
                    continue;
                }
            };
            // What the neighbours have to send back, or what another one sees of it, is none of ours.
            let packet = buffer.get(..received.length).unwrap_or_default();
            let ours = looped::unwrap(packet).filter(|_| received.addressed == Addressed::Host);
            let Some((to, payload)) = ours else { continue };
            let live = echo::discriminator(payload).and_then(|number| self.sessions.get_mut(&number));
            if let Some(live) = live {
                live.receive_echo(payload, to, now(), &self.shared);
            }
        }
    }

    /// Runs sessions with exactly these peers. Where nothing has changed, nothing happens.
    fn set_peers(&mut self, peers: &BTreeMap<PeerKey, BfdPeer>, time: Moment) {
        let (wanted, refused) = peer::sort_out(peers);
        self.refuse(refused, peers);
        for live in self.sessions.values_mut().filter(|live| !live.leaving) {
            match wanted.get(&live.key) {
                Some(peer) if **peer == live.peer => {}
                Some(peer) if peer.same_path(&live.peer) => live.set_peer(peer, time, &self.shared),
                _ => live.stop(time, &self.shared),
            }
        }
        for (key, peer) in wanted {
            if self.sessions.values().any(|live| !live.leaving && live.key == *key) {
                continue;
            }
            // One that is still taking leave of this neighbour would get its packets.
            self.sessions.retain(|discriminator, live| {
                let gives_way = live.leaving && live.peer.overlaps(peer);
                if gives_way {
                    self.paths.remove(*discriminator);
                }
                !gives_way
            });
            match self.draw(peer) {
                Ok(start) => {
                    let discriminator = start.discriminator;
                    let live = Live::new(key.clone(), peer.clone(), start, &self.shared.metrics, time);
                    self.sessions.insert(discriminator, live);
                }
                Err(refusal) => drop(self.refused.insert(key.clone(), (peer.clone(), refusal))),
            }
        }
        self.look();
    }

    /// Tells of those that are refused for another reason than before.
    fn refuse(&mut self, refused: BTreeMap<PeerKey, Refusal>, peers: &BTreeMap<PeerKey, BfdPeer>) {
        let mut now_refused = BTreeMap::new();
        for (key, refusal) in refused {
            let Some(peer) = peers.get(&key) else { continue };
            if self.refused.get(&key).is_none_or(|(_, before)| *before != refusal) {
                tracing::warn!(peer = key, remote = %peer.remote, %refusal, "no BFD session");
            }
            now_refused.insert(key, (peer.clone(), refusal));
        }
        self.refused = now_refused;
    }

    /// What a new session is given.
    fn draw(&self, peer: &BfdPeer) -> Result<Start, Refusal> {
        let discriminator = loop {
            let drawn = self.number()? as u32;
            if let Some(number) = NonZeroU32::new(drawn).filter(|number| !self.sessions.contains_key(number))
            {
                break number;
            }
        };
        Ok(Start {
            settings: peer.settings.clone(),
            discriminator,
            multihop: peer.multihop,
            loops: forwards(),
            cookie: self.number()?,
            seed: self.number()?,
        })
    }

    fn number(&self) -> Result<u64, Refusal> {
        let mut octets = [0; 8];
        self.random.fill(&mut octets).map_err(|_| Refusal::Random)?;
        Ok(u64::from_be_bytes(octets))
    }

    /// Sees that every session has what it needs, and nothing is open that none needs.
    fn look(&mut self) {
        for live in self.sessions.values_mut() {
            live.open();
            match live.path() {
                Some(path) => self.paths.insert(live.discriminator, path, live.discriminator),
                None => self.paths.remove(live.discriminator),
            }
        }
        let needs = |kind: Kind| {
            let of_kind =
                |peer: &BfdPeer| peer.remote.is_ipv6() == kind.ipv6 && peer.multihop == kind.multihop;
            self.sessions.values().any(|live| of_kind(&live.peer))
        };
        for (kind, listener) in &mut self.listeners {
            match listener {
                Ok(_) if !needs(*kind) => *listener = Err(String::new()),
                Err(before) if needs(*kind) => {
                    let opened = Listener::open(*kind).map_err(|error| trouble(*kind, &error));
                    if let Err(problem) = opened.as_ref().map(|_| ())
                        && problem != before
                    {
                        tracing::warn!(problem, "BFD");
                    }
                    *listener = opened;
                }
                _ => {}
            }
        }
        let echo = self.sessions.values().any(|live| live.peer.settings.echo.is_some());
        if !echo {
            self.shared.echo = None;
        } else if self.shared.echo.is_none() {
            match LoopedSocket::open(ECHO_PORT) {
                Ok(socket) => self.shared.echo = Some(socket),
                Err(error) => tracing::warn!(
                    %error, "cannot open a packet socket for BFD echo packets (it needs the capability NET_RAW)"
                ),
            }
        }
        self.next_look = (!self.sessions.is_empty()).then(|| now() + LOOK);
    }

    /// Takes leave of all.
    fn leave(&mut self, time: Moment) {
        for live in self.sessions.values_mut().filter(|live| !live.leaving) {
            live.stop(time, &self.shared);
        }
    }

    /// Removes the sessions whose neighbours know that they have ended.
    fn bury(&mut self) {
        let ended: Vec<NonZeroU32> =
            self.sessions.values().filter(|live| live.stopped()).map(|live| live.discriminator).collect();
        for discriminator in ended {
            self.paths.remove(discriminator);
            let Some(live) = self.sessions.remove(&discriminator) else { continue };
            if self.sessions.values().all(|other| other.labels() != live.labels()) {
                self.shared.metrics.forget(live.labels());
            }
        }
    }

    fn snapshot(&self, time: Moment) -> Vec<BfdSnapshot> {
        let running = self.sessions.values().filter(|live| !live.leaving).map(|live| {
            let kind = Kind { ipv6: live.peer.remote.is_ipv6(), multihop: live.peer.multihop };
            let problem = self.listeners.iter().find(|(of, _)| *of == kind);
            live.snapshot(problem.and_then(|(_, listener)| listener.as_ref().err()).map(String::as_str), time)
        });
        let refused = self.refused.iter().map(|(key, (peer, refusal))| BfdSnapshot {
            peer: key.clone(),
            remote: peer.remote,
            local: peer.local,
            interface: peer.interface.clone(),
            multihop: peer.multihop,
            problem: Some(refusal.to_string()),
            source_port: None,
            up_ms: None,
            downs: 0,
            session: None,
        });
        let mut all: Vec<BfdSnapshot> = running.chain(refused).collect();
        all.sort_by(|one, other| one.peer.cmp(&other.peer));
        all
    }
}

fn trouble(kind: Kind, error: &io::Error) -> String {
    let port = kind.port();
    if error.kind() == io::ErrorKind::AddrInUse {
        return format!("another program on this node listens on UDP {port}: only one can speak BFD");
    }
    format!("cannot listen on UDP {port}: {error}")
}

/// Whether this node forwards IPv4 packets, as nodes of a cluster do: then echo packets of a neighbour come back to it.
fn forwards() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}
