//! BGP and BFD beside layer 2: hands decisions about routes to the sessions and BFD's news with them, and puts together what is told of both. I/O.
//!
//! ```text
//!   World, Fleet ─▶ routes() ─┬─▶ Routing ─▶ the rest of the program
//!                             └─▶ Desired ─┬─▶ peering ─▶ statuses ─┬─▶ Sessions ─▶ the rest of the program
//!                                  ▲       └─▶ paths ─▶ bfd ────────┘
//!                             links┘              └─▶ up, down ─▶ peering
//! ```
//!
//! Where no BGPPeer and no BGPAdvertisement exist nothing is computed, and BFD's thread is started with the first peer that has a profile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::announce::World;
use causeway_metal::bgp::{Peer, PeerTo, RemoteAsn, RouteDecision, Routing, routes};
use causeway_metal::fleet::{Fleet, Unfit};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::bfd_run::{self, BfdChannels, BfdMetrics, BfdPeer, BfdSnapshot, PeerKey};
use crate::bgp::{State, StopReason};
use crate::interfaces::Links;
use crate::metrics::Metrics;
use crate::moment::Moment;
use crate::parting::Parting;
use crate::peering::{self, BfdNews, Desired, PeeringSnapshot, Statuses};
use crate::snapshot::RouteDecisionSnapshot;

/// How long routers have to find other ways before routes are withdrawn, when this speaker ends or its node is drained (RFC 8326 §4).
const GRACE: Duration = Duration::from_secs(1);
/// What operators of routers read when it does.
const FAREWELL: &str = "the speaker is stopped";
/// How long a question for the state may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the session with one router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterStatus {
    /// The peer.
    pub peer: Arc<Peer>,
    /// State of the BGP session.
    pub state: State,
    /// Why it is not established, if something is known about it.
    pub why: Option<String>,
    /// Whether BFD reaches the router; nothing where it is not asked for.
    pub bfd: Option<bool>,
}

/// The sessions by name of their peer.
pub type Sessions = BTreeMap<String, RouterStatus>;

/// What is told.
#[derive(Debug)]
pub struct RouterChannels {
    /// The decisions about routes, whenever they differ from before.
    pub routing: watch::Sender<Arc<Routing>>,
    /// The sessions, whenever one changes.
    pub sessions: watch::Sender<Arc<Sessions>>,
}

/// Both at work.
pub(crate) struct Routers {
    desired: watch::Sender<Option<Arc<Desired>>>,
    routing: watch::Sender<Arc<Routing>>,
    parting: Parting,
    stop: Option<oneshot::Sender<StopReason>>,
    sessions: JoinHandle<()>,
    asker: Asker,
    metrics: Metrics,
}

impl Routers {
    pub(crate) fn start(
        config: peering::Config,
        links: watch::Receiver<Option<Arc<Links>>>,
        out: RouterChannels,
        metrics: &Metrics,
    ) -> Self {
        let (bgp, bfd, metrics) = (metrics.bgp.clone(), metrics.bfd.clone(), metrics.clone());
        let (desired_sender, desired) = watch::channel(None);
        let (statuses_sender, statuses) = watch::channel(Arc::default());
        let (news_sender, news) = mpsc::unbounded_channel();
        let (ask_bgp, bgp_questions) = mpsc::channel(4);
        let (ask_bfd, bfd_questions) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel();
        // Nobody listens to single events: what counts is in the statuses.
        let (events, _) = mpsc::channel(1);
        let paths = Paths {
            links: None,
            news: news_sender,
            out: out.sessions,
            metrics: bfd,
            remotes: BTreeMap::new(),
            up: BTreeMap::new(),
            bfd: None,
        };
        tokio::spawn(paths.run(desired.clone(), links.clone(), statuses, bfd_questions));
        let channels = peering::Channels {
            desired,
            links,
            bfd: news,
            statuses: statuses_sender,
            events,
            snapshots: bgp_questions,
        };
        // Who drops this without a word comes back at once, for all that is known.
        let ended = async move { stopped.await.unwrap_or(StopReason::Restart) };
        let sessions = tokio::spawn(peering::run(config, channels, bgp, ended));
        let asker = Asker { bgp: ask_bgp, bfd: ask_bfd };
        Routers {
            desired: desired_sender,
            routing: out.routing,
            parting: Parting::new(GRACE),
            stop: Some(stop),
            sessions,
            asker,
            metrics,
        }
    }

    /// Decides anew what this node announces to whom. `addresses` are the node's own. To be called at [`Routers::next_deadline`] too.
    pub(crate) fn announce(
        &mut self,
        world: &World,
        fleet: &Fleet,
        node: &str,
        unfit: &BTreeSet<Unfit>,
        addresses: &[IpAddr],
        now: Moment,
    ) {
        let bgp = &world.bgp;
        let idle = bgp.peers.is_empty() && bgp.advertisements.is_empty();
        let mut routing = if idle { Routing::default() } else { routes(world, fleet, node, unfit) };
        let mut ribs = std::mem::take(&mut routing.peers);
        if let Some(before) = self.desired.borrow().as_deref() {
            let told = before.peers.iter().map(|(name, wish)| (name, &wish.routes));
            self.parting.linger(node, &routing.decisions, told, &mut ribs, now);
        }
        self.routing.send_if_modified(|before| {
            let new = **before != routing;
            if new {
                let old = std::mem::replace(before, Arc::new(routing));
                self.metrics.count_routes(node, &old, before);
            }
            new
        });
        let desired = {
            let before = self.desired.borrow();
            Desired::new(bgp, ribs, addresses.to_vec(), before.as_deref())
        };
        self.desired.send_replace(Some(Arc::new(desired)));
    }

    /// When routes that linger are to be withdrawn.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.parting.next_deadline()
    }

    /// Whom to ask for the state.
    pub(crate) fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Begins to take leave of the routers. `for_good`: this node goes; otherwise those that keep routes over a restart are let keep them.
    pub(crate) fn leave(&mut self, for_good: bool) {
        let reason = StopReason::GracefulDrain { wait: GRACE, text: FAREWELL.to_owned() };
        let reason = if for_good { reason } else { StopReason::RestartOr(Box::new(reason)) };
        if let Some(stop) = self.stop.take() {
            // They may have ended by themselves.
            let _gone = stop.send(reason);
        }
    }

    /// Waits until leave is taken.
    pub(crate) async fn ended(&mut self) {
        if let Err(error) = (&mut self.sessions).await {
            tracing::error!(%error, "BGP ended");
        }
    }

    /// What was decided about routes, and why.
    pub(crate) fn snapshot(&self) -> Vec<RouteDecisionSnapshot> {
        let routing = Arc::clone(&self.routing.borrow());
        let snapshot = |decision: &RouteDecision| RouteDecisionSnapshot {
            object: decision.announcement.object.to_string(),
            addresses: decision.announcement.addresses.clone(),
            peers: decision.peers.iter().cloned().collect(),
            silent: decision.silent.map(|why| format!("{}: {why}", why.as_str())),
            withheld: decision.withheld.iter().map(|(peer, why)| (peer.clone(), why.to_string())).collect(),
            conflicts: decision.conflicts.iter().map(ToString::to_string).collect(),
        };
        routing.decisions.values().map(snapshot).collect()
    }
}

/// Asks for the state.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    bgp: mpsc::Sender<oneshot::Sender<PeeringSnapshot>>,
    bfd: mpsc::Sender<oneshot::Sender<Vec<BfdSnapshot>>>,
}

impl Asker {
    pub(crate) async fn snapshot(self) -> (Option<PeeringSnapshot>, Vec<BfdSnapshot>) {
        let (bgp, bfd) = tokio::join!(ask(&self.bgp), ask(&self.bfd));
        (bgp, bfd.unwrap_or_default())
    }
}

async fn ask<T>(whom: &mpsc::Sender<oneshot::Sender<T>>) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    whom.try_send(answer).ok()?;
    tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
}

/// BFD at work.
struct Bfd {
    peers: watch::Sender<Arc<BTreeMap<PeerKey, BfdPeer>>>,
    events: mpsc::UnboundedReceiver<bfd_run::BfdEvent>,
    ask: mpsc::Sender<oneshot::Sender<Vec<BfdSnapshot>>>,
    /// Ends BFD when it is dropped.
    _stop: oneshot::Sender<()>,
}

/// Which paths BFD watches, and what is told of sessions.
struct Paths {
    links: Option<Arc<Links>>,
    news: mpsc::UnboundedSender<BfdNews>,
    out: watch::Sender<Arc<Sessions>>,
    metrics: BfdMetrics,
    /// Where peers without an address were found last.
    remotes: BTreeMap<String, IpAddr>,
    /// What BFD said last.
    up: BTreeMap<PeerKey, bool>,
    bfd: Option<Bfd>,
}

impl Paths {
    async fn run(
        mut self,
        mut desired: watch::Receiver<Option<Arc<Desired>>>,
        mut links: watch::Receiver<Option<Arc<Links>>>,
        mut statuses: watch::Receiver<Arc<Statuses>>,
        mut questions: mpsc::Receiver<oneshot::Sender<Vec<BfdSnapshot>>>,
    ) {
        loop {
            tokio::select! {
                changed = desired.changed() => if changed.is_err() { return },
                Ok(()) = links.changed() => self.links.clone_from(&links.borrow_and_update()),
                Ok(()) = statuses.changed() => {}
                event = next_event(self.bfd.as_mut()) => self.learn(event),
                Some(question) = questions.recv() => {
                    match &self.bfd {
                        // When it is too busy to answer, whoever asked is told nothing.
                        Some(bfd) => drop(bfd.ask.try_send(question)),
                        None => drop(question.send(Vec::new())),
                    }
                    continue;
                }
            }
            let desired = desired.borrow_and_update().clone();
            let statuses = Arc::clone(&statuses.borrow_and_update());
            if let Some(desired) = desired {
                self.watch(&desired, &statuses);
                self.tell(&desired, &statuses);
            }
        }
    }

    fn learn(&mut self, event: bfd_run::BfdEvent) {
        let up = match event.news {
            bfd_run::BfdNews::Up => true,
            bfd_run::BfdNews::Down { .. } => false,
            // No reason to give the router up.
            bfd_run::BfdNews::Withdrawn => {
                self.up.remove(&event.peer);
                return;
            }
        };
        self.up.insert(event.peer.clone(), up);
        // The sessions may have ended.
        let _gone = self.news.send(BfdNews { peer: event.peer, up });
    }

    /// Tells BFD which paths to watch.
    fn watch(&mut self, desired: &Desired, statuses: &Statuses) {
        for (name, status) in statuses {
            if let Some(remote) = status.remote {
                self.remotes.insert(name.clone(), remote.ip());
            }
        }
        self.remotes.retain(|name, _| desired.peers.contains_key(name));
        let peers: BTreeMap<PeerKey, BfdPeer> = desired
            .peers
            .iter()
            .filter_map(|(name, wish)| {
                let found = self.remotes.get(name).copied();
                Some((name.clone(), path(&wish.peer, found, self.links.as_deref())?))
            })
            .collect();
        self.up.retain(|name, _| peers.contains_key(name));
        if self.bfd.is_none() && !peers.is_empty() {
            self.bfd = start(self.metrics.clone());
        }
        if let Some(bfd) = &self.bfd {
            bfd.peers.send_if_modified(|before| {
                let new = **before != peers;
                if new {
                    *before = Arc::new(peers);
                }
                new
            });
        }
    }

    fn tell(&self, desired: &Desired, statuses: &Statuses) {
        let status = |(name, wish): (&String, &peering::Wish)| {
            let known = statuses.get(name);
            let status = RouterStatus {
                peer: Arc::clone(&wish.peer),
                state: known.map_or(State::Idle, |status| status.state),
                why: known.and_then(|status| status.why.clone()),
                bfd: wish.peer.bfd.as_ref().map(|_| self.up.get(name).copied().unwrap_or(false)),
            };
            (name.clone(), status)
        };
        let sessions: Sessions = desired.peers.iter().map(status).collect();
        self.out.send_if_modified(|before| {
            let new = **before != sessions;
            if new {
                *before = Arc::new(sessions);
            }
            new
        });
    }
}

async fn next_event(bfd: Option<&mut Bfd>) -> bfd_run::BfdEvent {
    if let Some(bfd) = bfd
        && let Some(event) = bfd.events.recv().await
    {
        return event;
    }
    std::future::pending().await
}

fn start(metrics: BfdMetrics) -> Option<Bfd> {
    let (peers, wanted) = watch::channel(Arc::default());
    let (told, events) = mpsc::unbounded_channel();
    let (ask, snapshots) = mpsc::channel(4);
    let (stop, stopped) = oneshot::channel::<()>();
    let channels = BfdChannels { peers: wanted, events: told, snapshots };
    // Dropped or told, it is to end.
    let shutdown = async move { drop(stopped.await) };
    match bfd_run::start(channels, metrics, shutdown) {
        Ok(_end) => Some(Bfd { peers, events, ask, _stop: stop }),
        Err(error) => {
            tracing::error!(%error, "BFD cannot be started: the paths to routers are not watched");
            None
        }
    }
}

/// The path to a peer that BFD is to watch. `found` is where a peer without an address of its own was met.
fn path(peer: &Peer, found: Option<IpAddr>, links: Option<&Links>) -> Option<BfdPeer> {
    let settings = peer.bfd.clone()?;
    let (remote, interface) = match &peer.to {
        PeerTo::Address(address) => (*address, None),
        PeerTo::Interface(interface) => (found?, Some(interface.clone())),
    };
    let internal = match peer.remote {
        RemoteAsn::Is(asn) => asn == peer.shown_asn(),
        RemoteAsn::Internal => true,
        RemoteAsn::External => false,
    };
    let on_link = interface.is_some()
        || links.is_some_and(|links| {
            links.iter().any(|link| link.addresses.iter().any(|network| network.contains(&remote)))
        });
    // As FRR has it: a peer in another AS is one hop away unless multihop is said, one of our own AS if it is on a link.
    let multihop = peer.multihop || (internal && !on_link);
    Some(BfdPeer { local: peer.source, remote, interface, multihop, settings })
}
