//! The speaker at work: sockets, timers, and the order in which things are done. I/O.
//!
//! One task owns everything but the packet sockets, which have a task per interface ([`crate::port`]). It waits for whatever comes first: the world
//! changed, the key changed, an interface changed, a heartbeat came, a timer ran out, somebody asks for a [`Snapshot`]. When world, live
//! set or interfaces differ, it decides anew who announces what and tells the ports. What it knows stays valid when nobody tells it
//! anything new, so a lost API server changes nothing: nodes that die are noticed by heartbeat.
//!
//! Order at the start: nothing is announced before the first world, the first reading of the interfaces, and, unless heartbeats are off, a
//! key are there; until then others hear "joining". Order at the end: "leaving" is said first, so that the next holder starts; all answers stop when it has.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::announce::{Decision, World};
use causeway_metal::candidates::NodeName;
use causeway_metal::elections::Elections;
use causeway_metal::fleet::{Unfit, Uplink};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::announced::{Duty, SpeakerEvent};
use crate::config::{Config, Heartbeats, SpeakerError};
use crate::fitness::Drain;
use crate::heartbeat::HeartbeatSocket;
use crate::inquiry::{Inquiries, Reported};
use crate::interfaces::{Exclude, Link, Links};
use crate::membership::{Input, Keys, Membership, Outputs, Settings};
use crate::metrics::{ByReason, Metrics};
use crate::moment::Moment;
use crate::peering;
use crate::port::{Found, Manner, Port, now};
use crate::routers::{RouterChannels, Routers};
use crate::snapshot::{DecisionSnapshot, InterfaceSnapshot, Snapshot, silence};
use crate::succession::Succession;

mod asking;

/// How long to wait before a socket that failed is opened again.
const REOPEN: Duration = Duration::from_secs(1);
/// Heartbeats taken at most before the timers have their turn: far more than honest peers send, and a few milliseconds of work, so that
/// a flood cannot keep us from our own.
const MAX_DATAGRAMS: usize = 4096;
/// The longest time between two looks at the timers, so that a suspended machine is noticed soon after it wakes.
const HEARTBEAT_OF_LOOP: Duration = Duration::from_secs(1);

/// What the rest of the program knows of the cluster.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What is to be announced, and where it may be.
    pub world: Arc<World>,
    /// Every Node's addresses; heartbeats go to the first. The names are the peers.
    pub peers: Arc<BTreeMap<NodeName, Vec<IpAddr>>>,
    /// The conflicts that speakers reported, by address.
    pub conflicts: Arc<BTreeMap<IpAddr, Reported>>,
}

/// Where a running speaker gets its inputs from, and what it tells. `None` in a channel means: not known yet.
#[derive(Debug)]
pub struct Channels {
    /// The cluster. When the sender goes, the last one stays valid.
    pub view: watch::Receiver<Option<View>>,
    /// The key of the heartbeats.
    pub keys: watch::Receiver<Option<Keys>>,
    /// What happens here. Never waited for: what finds the channel full is dropped and counted.
    pub events: mpsc::Sender<SpeakerEvent>,
    /// Questions for the state.
    pub snapshots: mpsc::Receiver<oneshot::Sender<Snapshot>>,
    /// What is told of BGP and BFD.
    pub routers: RouterChannels,
}

/// Runs a speaker until `shutdown` is done, then hands over and returns. Needs `CAP_NET_RAW`.
///
/// # Errors
///
/// Only what makes starting impossible; once it runs, it goes on.
pub async fn run(
    config: Config,
    channels: Channels,
    metrics: Metrics,
    shutdown: impl Future<Output = ()>,
) -> Result<(), SpeakerError> {
    config.validate()?;
    let mut seed = [0; 8];
    SystemRandom::new().fill(&mut seed).map_err(|_| SpeakerError::Random)?;
    let socket = match config.heartbeats {
        Some(Heartbeats { port, bind, .. }) => {
            let bound = HeartbeatSocket::open(bind, port);
            Some(bound.map_err(|(address, source)| SpeakerError::Listen { address, source })?)
        }
        None => None,
    };
    let (links_sender, links) = watch::channel(None);
    // Ends by itself when `links` goes.
    tokio::spawn(crate::netlink::watch(links_sender));
    let (found_sender, found) = mpsc::unbounded_channel();
    let (proxy_sender, proxy) = watch::channel(false);
    if let Some(address) = config.kube_proxy {
        // As does this.
        tokio::spawn(crate::kube_proxy::watch(address, proxy_sender));
    }
    let seed = u64::from_be_bytes(seed);
    let peering =
        peering::Config { node: config.node.clone(), listen_port: peering::PORT, seed: seed.rotate_left(32) };
    let routers = Routers::start(peering, links.clone(), channels.routers, &metrics);
    let speaker = Speaker {
        routers,
        found_sender,
        inquiries: Inquiries::new(config.inquiry, seed),
        look: false,
        looked: None,
        exclude: Exclude::new(&config.exclude)?,
        succession: Succession::new(
            Elections::new(config.node.clone(), config.rules),
            config.heartbeats.is_none(),
        ),
        config,
        // 0 means "never heard" on the wire.
        boot: seed.max(1),
        socket,
        view: None,
        links: None,
        drain: Drain::default(),
        ports: BTreeMap::new(),
        duty: Arc::default(),
        reopen: None,
        was_isolated: false,
        events: channels.events,
        metrics,
    };
    let node = NodeInputs { links, found, proxy };
    speaker.run(channels.view, channels.keys, channels.snapshots, node, shutdown).await;
    Ok(())
}

/// What this node says.
struct NodeInputs {
    links: watch::Receiver<Option<Arc<Links>>>,
    /// From the ports.
    found: mpsc::UnboundedReceiver<Found>,
    /// Whether kube-proxy is unhealthy.
    proxy: watch::Receiver<bool>,
}

struct Speaker {
    config: Config,
    exclude: Exclude,
    boot: u64,
    socket: Option<HeartbeatSocket>,
    succession: Succession,
    routers: Routers,
    view: Option<View>,
    links: Option<Arc<Links>>,
    drain: Drain,
    ports: BTreeMap<u32, Port>,
    /// For the ports.
    found_sender: mpsc::UnboundedSender<Found>,
    inquiries: Inquiries,
    /// Whether the addresses that are asked for ahead may be others than before, and when they were looked for last.
    look: bool,
    looked: Option<Moment>,
    /// What was told of last.
    duty: Arc<Duty>,
    /// A port could not be opened: try again then.
    reopen: Option<Instant>,
    was_isolated: bool,
    events: mpsc::Sender<SpeakerEvent>,
    metrics: Metrics,
}

impl Speaker {
    async fn run(
        mut self,
        mut view: watch::Receiver<Option<View>>,
        mut keys: watch::Receiver<Option<Keys>>,
        mut snapshots: mpsc::Receiver<oneshot::Sender<Snapshot>>,
        node: NodeInputs,
        shutdown: impl Future<Output = ()>,
    ) {
        let NodeInputs { mut links, mut found, mut proxy } = node;
        tokio::pin!(shutdown);
        view.mark_changed();
        keys.mark_changed();
        loop {
            let timer = self.timer();
            let mut decide = false;
            // A channel whose sender has gone is never ready again: what it said last stays.
            tokio::select! {
                () = &mut shutdown => break,
                Ok(()) = view.changed() => {
                    self.view.clone_from(&view.borrow_and_update());
                    decide = true;
                    self.take_used();
                    self.take_view();
                }
                Ok(()) = keys.changed() => {
                    let keys = keys.borrow_and_update().clone();
                    decide = self.take_keys(keys);
                }
                Ok(()) = links.changed() => {
                    self.links.clone_from(&links.borrow_and_update());
                    decide = true;
                }
                Ok(()) = proxy.changed() => {
                    let unhealthy = *proxy.borrow_and_update();
                    decide = self.judge_fitness(Unfit::KubeProxy, unhealthy);
                }
                Some(answer) = snapshots.recv() => {
                    let (snapshot, asker) = (self.snapshot(), self.routers.asker());
                    tokio::spawn(async move {
                        let (bgp, bfd) = asker.snapshot().await;
                        // Whoever asked may have gone.
                        let _gone = answer.send(Snapshot { bgp, bfd, ..snapshot });
                    });
                }
                Some(finding) = found.recv() => decide = self.learn(finding),
                () = readable(self.socket.as_ref()) => decide = self.beat(),
                () = sleep_until(timer) => {
                    decide = self.beat() | self.reopen.is_some_and(|at| at <= Instant::now());
                    decide |= self.succession.is_overdue(now());
                    if self.routers.next_deadline().is_some_and(|at| at <= now()) {
                        self.route();
                    }
                }
            }
            if decide || self.ports.values().any(Port::failed) {
                self.decide().await;
            }
            self.ask();
        }
        self.leave().await;
    }

    fn timer(&self) -> Instant {
        let deadlines = self.succession.next_deadline().into_iter().chain(self.asking_deadline());
        let deadline = deadlines.chain(self.routers.next_deadline()).min();
        let wait = deadline.map_or(HEARTBEAT_OF_LOOP, |at| at.saturating_since(now()).min(HEARTBEAT_OF_LOOP));
        let timer = Instant::now() + wait;
        self.reopen.map_or(timer, |reopen| reopen.min(timer))
    }

    /// Starts the membership with the first key. Answers whether anything changed.
    fn take_keys(&mut self, keys: Option<Keys>) -> bool {
        // A Secret that was deleted is no reason to forget the key.
        let (Some(keys), Some(heartbeats)) = (keys, self.config.heartbeats) else { return false };
        if self.succession.membership().is_some() {
            return self.step(Input::Keys(keys));
        }
        let settings = Settings {
            cluster: self.config.cluster.clone(),
            node: self.config.node.clone(),
            boot: self.boot,
            interval: heartbeats.interval,
            slow: heartbeats.slow,
            misses: heartbeats.misses,
        };
        self.succession.join(Membership::new(settings, keys, now()));
        self.tell_peers();
        true
    }

    fn take_view(&mut self) {
        if let Some(view) = &self.view {
            let world = Arc::clone(&view.world);
            let drained = self.drain.look(&world, &self.config.node);
            self.succession.set_world(world);
            self.judge_fitness(Unfit::Drained, drained);
        }
        self.tell_peers();
    }

    /// Answers whether that is new.
    fn judge_fitness(&mut self, why: Unfit, applies: bool) -> bool {
        let new = self.succession.set_unfit(why, applies);
        if new {
            self.metrics.set_unfit(self.succession.unfit());
            if applies {
                tracing::warn!(reason = why.as_str(), "this node hands over where another one can announce");
            } else {
                tracing::info!(reason = why.as_str(), "this node is fit to announce again: no longer so");
            }
        }
        new
    }

    fn tell_peers(&mut self) -> bool {
        let (Some(view), Some(heartbeats)) = (&self.view, self.config.heartbeats) else { return false };
        let peers = view
            .peers
            .iter()
            .map(|(node, addresses)| {
                (node.clone(), addresses.first().map(|address| SocketAddr::new(*address, heartbeats.port)))
            })
            .collect();
        self.step(Input::Peers(&peers))
    }

    /// Takes all heartbeats that wait, then looks at the timers: in this order, so that a peer is not taken for dead whose heartbeat
    /// lies in the socket. Answers whether elections may come out differently.
    fn beat(&mut self) -> bool {
        let mut changed = false;
        let mut buffer = [0; crate::membership::MAX_LENGTH + 1];
        for _ in 0..MAX_DATAGRAMS {
            let received = self.socket.as_ref().and_then(|socket| socket.try_receive(&mut buffer));
            let Some(length) = received else { break };
            changed |= self.step(Input::Datagram(buffer.get(..length).unwrap_or(&buffer)));
        }
        changed | self.step(Input::Tick)
    }

    /// One step of the membership and what follows from it outside. Answers whether elections may come out differently.
    fn step(&mut self, input: Input<'_>) -> bool {
        let heartbeat = matches!(input, Input::Datagram(_));
        let outputs = self.succession.handle(input, now());
        if heartbeat && outputs.ignored.is_none() {
            self.metrics.heartbeats_received.inc();
        }
        self.put_out(outputs)
    }

    fn put_out(&mut self, outputs: Outputs) -> bool {
        let Outputs { sends, changes, live_changed, news, repeat, ignored, stalled } = outputs;
        for send in sends {
            let sent = self.socket.as_ref().is_some_and(|socket| socket.send(&send.octets, send.to));
            if sent {
                self.metrics.heartbeats_sent.inc();
            } else {
                self.metrics.send_errors.inc();
            }
        }
        if let Some(reason) = ignored {
            self.metrics.heartbeats_ignored.get_or_create(&ByReason { reason: reason.name() }).inc();
            tracing::debug!(reason = reason.name(), "heartbeat ignored");
        }
        if let Some(late) = stalled {
            self.metrics.stalls.inc();
            tracing::debug!(?late, "this speaker was not run for too long to judge its peers");
        }
        for change in &changes {
            tracing::info!(node = change.node, from = ?change.from, to = ?change.to, "peer");
        }
        if repeat {
            self.ports.values().for_each(Port::repeat);
            if !self.duty.announced.is_empty() {
                self.tell(SpeakerEvent::Contested);
            }
        }
        if !changes.is_empty() {
            self.tell_peer_counts();
        }
        live_changed || news
    }

    fn tell_peer_counts(&mut self) {
        let Some(membership) = self.succession.membership() else { return };
        let peers = membership.snapshot(now());
        self.metrics.set_peers(peers.iter().map(|peer| peer.liveness));
        let isolated = membership.isolated();
        self.metrics.isolated.set(u64::from(isolated));
        if isolated != self.was_isolated {
            self.was_isolated = isolated;
            if isolated {
                tracing::warn!(
                    peers = peers.len(),
                    "no other speaker is heard: either all are gone, or UDP between the nodes is blocked, or their key differs"
                );
            }
            self.tell(SpeakerEvent::Isolated { isolated, peers: peers.len() });
        }
    }

    fn tell(&self, event: SpeakerEvent) {
        if self.events.try_send(event).is_err() {
            self.metrics.events_dropped.inc();
        }
    }

    /// Decides anew who announces what, and sees that it is done.
    async fn decide(&mut self) {
        let Some(links) = self.links.clone().filter(|_| self.view.is_some()) else { return };
        self.open_ports(&links).await;
        self.succession.set_uplinks(self.uplinks(&links));
        self.elect(&links);
    }

    /// Elections, and what follows from them on the open ports.
    fn elect(&mut self, links: &Links) {
        let open = self.open(links);
        let (inquiries, node) = (&mut self.inquiries, &self.config.node);
        let withhold = |duty: &mut Duty, elections: &Elections| {
            asking::withhold(inquiries, node, duty, elections.decisions());
        };
        let Some(outcome) = self.succession.decide(&open, now(), withhold) else { return };
        // Who is elected for what may have changed for free addresses too.
        self.look = true;
        self.metrics.elections.inc_by(outcome.elections as u64);
        let kin = Arc::new(self.kin(links));
        // Neighbours first: what the other speakers are told is that this was done.
        for (index, port) in &mut self.ports {
            port.set_kin(&kin);
            if let Some(addresses) = outcome.duty.addresses.get(index) {
                port.announce(addresses);
            }
        }
        self.put_out(outcome.outputs);
        self.take_up(outcome.duty);
        self.route();
    }

    /// Routes, by the same view of the cluster as the elections.
    fn route(&mut self) {
        let (Some(view), Some(fleet)) = (&self.view, self.succession.elections().fleet()) else { return };
        let node = &self.config.node;
        let addresses = view.peers.get(node).map(Vec::as_slice).unwrap_or_default();
        self.routers.announce(&view.world, fleet, node, self.succession.unfit(), addresses, now());
    }

    /// Whether this node is about to go, and not only its speaker.
    fn goes_for_good(&self) -> bool {
        let node = self.view.as_ref().and_then(|view| view.world.nodes.get(&self.config.node));
        node.is_none_or(|node| node.leaving || node.cordoned)
            || self.succession.unfit().contains(&Unfit::Drained)
    }

    /// The interfaces that can announce, as others are told of them.
    fn uplinks(&self, links: &Links) -> Vec<Uplink> {
        let open = self.ports.keys().filter_map(|index| links.get(*index));
        let uplink = |link: &Link| {
            let mac = link.mac?.0;
            Some(Uplink { name: link.name.clone(), mac, networks: link.addresses.iter().copied().collect() })
        };
        open.filter_map(uplink).collect()
    }

    /// The open interfaces: index and name.
    fn open(&self, links: &Links) -> BTreeMap<u32, String> {
        self.ports.keys().filter_map(|index| Some((*index, links.get(*index)?.name.clone()))).collect()
    }

    /// Tells what differs from before.
    fn take_up(&mut self, duty: Arc<Duty>) {
        let events = duty.events_since(&self.duty);
        let kept = duty.all_addresses();
        for address in self.duty.all_addresses().difference(&kept) {
            self.metrics.forget(*address);
        }
        for event in events {
            match &event {
                SpeakerEvent::AnnouncementStarted { key, object, addresses, interfaces, .. } => {
                    tracing::debug!(%object, ?addresses, ?interfaces, "announcing");
                    if let Some(before) = self.duty.announced.get(key) {
                        self.count_announced(&before.object.path(), &before.addresses, false);
                    }
                    self.count_announced(&object.path(), addresses, true);
                }
                SpeakerEvent::AnnouncementStopped { object, addresses, .. } => {
                    tracing::debug!(%object, ?addresses, "announcing no more");
                    self.count_announced(&object.path(), addresses, false);
                }
                SpeakerEvent::AnnouncementFailed { object, failure, .. } => {
                    tracing::debug!(%object, %failure, "cannot announce");
                }
                SpeakerEvent::Conflict { .. }
                | SpeakerEvent::ConflictResolved { .. }
                | SpeakerEvent::Contested
                | SpeakerEvent::Isolated { .. } => {}
            }
            self.tell(event);
        }
        self.duty = duty;
    }

    fn count_announced(&self, service: &str, addresses: &[IpAddr], announced: bool) {
        self.metrics.count_announced(&self.config.node, "layer2", service, addresses, announced);
    }

    /// Opens a port on each eligible interface that has none, and closes the others.
    async fn open_ports(&mut self, links: &Links) {
        self.reopen = None;
        let eligible: BTreeMap<u32, (&str, _)> = links
            .iter()
            .filter_map(|link| Some((link.index, (link.name.as_str(), link.eligible(&self.exclude).ok()?))))
            .collect();
        let closed: Vec<u32> = self
            .ports
            .iter()
            .filter(|(index, port)| !eligible.contains_key(index) || port.failed())
            .map(|(index, _)| *index)
            .collect();
        for index in closed {
            if let Some(port) = self.ports.remove(&index)
                && let Some(error) = port.close().await
            {
                tracing::warn!(index, %error, "interface failed");
                // Not at once again: the cause may persist.
                self.reopen = Some(Instant::now() + REOPEN);
            }
        }
        if self.reopen.is_some() {
            return;
        }
        for (index, (name, mac)) in eligible {
            if let Some(port) = self.ports.get_mut(&index) {
                port.set_mac(mac);
                continue;
            }
            let manner = Manner {
                timing: self.config.timing,
                probing: self.config.inquiry.probing,
                seed: self.boot.rotate_left(index % 64),
            };
            match Port::open(index, mac, manner, &self.metrics, self.found_sender.clone()) {
                Ok(port) => {
                    tracing::info!(interface = name, index, %mac, "interface can announce");
                    self.ports.insert(index, port);
                }
                Err(error) => {
                    tracing::warn!(interface = name, %error, "cannot open a packet socket (it needs the capability NET_RAW)");
                    self.reopen = Some(Instant::now() + REOPEN);
                }
            }
        }
    }

    /// Says farewell, and answers for what it holds until others do, or as long as a hand-over may take.
    async fn leave(mut self) {
        let for_good = self.goes_for_good();
        self.step(Input::Leave);
        self.routers.leave(for_good);
        if let Some(links) = self.links.clone() {
            self.elect(&links);
            while !self.duty.announced.is_empty()
                && let Some(deadline) = self.succession.next_deadline()
            {
                let wait = deadline.saturating_since(now());
                tokio::select! {
                    () = readable(self.socket.as_ref()) => {}
                    () = sleep(wait) => {}
                }
                if self.beat() || self.succession.is_overdue(now()) {
                    self.elect(&links);
                }
            }
        }
        for (_, port) in std::mem::take(&mut self.ports) {
            // Its failure does not matter any more.
            let _failure = port.close().await;
        }
        self.take_up(Arc::default());
        while let Some(deadline) = self.succession.membership().and_then(Membership::next_deadline) {
            sleep(deadline.saturating_since(now())).await;
            self.step(Input::Tick);
        }
        self.routers.ended().await;
    }

    fn snapshot(&self) -> Snapshot {
        let links = self.links.iter().flat_map(|links| links.iter());
        let membership = self.succession.membership();
        Snapshot {
            node: self.config.node.clone(),
            state: membership.map(Membership::state),
            isolated: membership.is_some_and(Membership::isolated),
            unfit: self.succession.unfit().iter().copied().collect(),
            peers: membership.map(|membership| membership.snapshot(now())).unwrap_or_default(),
            interfaces: links
                .map(|link| InterfaceSnapshot {
                    name: link.name.clone(),
                    index: link.index,
                    mac: link.mac,
                    ineligible: link.eligible(&self.exclude).err(),
                    addresses: self.duty.addresses.get(&link.index).into_iter().flatten().copied().collect(),
                })
                .collect(),
            bgp: None,
            bfd: Vec::new(),
            routes: self.routers.snapshot(),
            decisions: self
                .succession
                .elections()
                .decisions()
                .map(|decision| self.decision_snapshot(decision))
                .collect(),
        }
    }

    fn decision_snapshot(&self, decision: &Decision) -> DecisionSnapshot {
        let key = &decision.announcement.key;
        let failure = self.duty.failed.get(key).map(|(_, failure)| failure.to_string());
        let announced = self.duty.announced.get(key);
        DecisionSnapshot {
            object: decision.announcement.object.to_string(),
            addresses: decision.announcement.addresses.clone(),
            pool: decision.pool.clone(),
            elected: decision.elected.clone(),
            standing: self.succession.elections().standing(key).into_iter().map(str::to_owned).collect(),
            term: decision
                .announcement
                .addresses
                .first()
                .and_then(|address| self.succession.holds().get(address).copied()),
            interfaces: announced.map(|announced| announced.interfaces.clone()).unwrap_or_default(),
            silent: failure.or_else(|| silence(decision)),
        }
    }
}

async fn readable(socket: Option<&HeartbeatSocket>) {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}
