//! Which speakers live: direct, authenticated heartbeats, never through the API server. Pure, sans-IO.
//!
//! ```text
//!   Datagram | Tick | Peers | Keys | Ready | Leave, now ─▶ Membership::handle ─▶ Outputs { sends, changes, … }
//!                                                          next_deadline  ─▶ when to call with Tick
//! ```
//!
//! Every speaker sends heartbeats to every peer, at one of two paces:
//!
//! - **fast**, each [`Settings::interval`], between those that stand for the same address ([`Input::Watch`]): its holder and the next in line. It is enough that
//!   one of two wants it: each heartbeat says at which pace its receiver is wanted (as RFC 5880 §6.8.1 has it, with one pace for both ways);
//! - **slow**, each [`Settings::slow`], to everybody else, and so much slower in large clusters that a node sends no more than
//!   [`SLOW_PEERS`] in that time. So the cost follows the addresses that are held, and not the square of the number of nodes.
//!
//! Less up to a tenth, so that they do not fall into step. Each heartbeat says when the next will come; a speaker that gets slower says so [`Settings::misses`]
//! times at the old pace, so that a lost datagram is not taken for a death (RFC 5880 §6.8.3 has a handshake for it).
//!
//! Peers are the nodes that the cluster has; their liveness is judged here alone. The rules:
//!
//! - **Dead** is a peer from which nothing valid came for [`Settings::misses`] intervals, as it announced them, but never shorter than our own fast one (as in
//!   RFC 5880 §6.8.4), so that a changed setting can be rolled out node by node. With 100 ms × 3 a killed holder is noticed after 200 to 300 ms,
//!   250 ms on average. Smaller is faster, costs packets in proportion, and takes a node whose CPU is starved for that long for dead.
//! - **Alive** is a peer upon its first valid heartbeat, at once.
//! - **Leaving** is said three times, and believed at once.
//! - **Joining** is said by a speaker that does not know yet what there is to announce, or what the others hold: it asks everybody, and becomes alive when all have
//!   answered or were silent for [`Settings::settle`]. It is no sign of life: an earlier boot of that node goes on counting as
//!   alive until its time is over, so that a quick restart moves nothing. It takes addresses only one fast interval after it became alive, so that speakers which
//!   start together share them out as if each had always known the others.
//! - **Presumed** is a peer that was never heard, for as long as a joining speaker waits. It is not elected, but waited for: so a speaker that starts
//!   does not take the addresses of those whose heartbeat it just did not hear yet.
//! - **Gathering** is a speaker for [`Settings::gather`] after it started, or until it has heard all its peers. Those that it did not hear yet are [`Fleet::expected`]: they
//!   stand for addresses that nobody holds. So speakers that start one after the other, as after a power cut, share the addresses out as if they had started
//!   together, instead of leaving all to the first. It ends as soon as a speaker is heard that lives and does not gather itself: then the cluster runs, and who is not
//!   heard is dead; but for those that say that they are starting. The cost: what belongs to a node that does not start is dark for that long, after all have been.
//! - **Stalls**: if this speaker itself was not run in time (a paused machine, a starved CPU), silence proves nothing, and everybody gets the whole time again.
//!
//! **Statements.** What a speaker says of itself (what it holds, its interfaces, whether it is fit: [`Statement`]) has a number, which each heartbeat carries, together
//! with the number of the receiver's statement that the sender knows. Only to those that do not know the last one is it sent, in as many datagrams as it takes:
//! at once to close peers when it changes, and to everybody whose heartbeat shows that it is behind.
//!
//! **Isolation.** A speaker that hears nobody counts all the others as dead, and so takes over everything. It cannot tell a cut cable from the death of
//! all others; of two nodes the survivor must take over, and of three as well. If it is cut off on the segment of the addresses too, which is the usual
//! case, nobody can see what it announces. If only the heartbeats are lost (a firewall between nodes: UDP, [`DEFAULT_PORT`]), addresses are announced
//! twice until that is mended; [`Membership::isolated`] says so, for a metric and an Event. The opposite choice would leave addresses dark whenever the others die.
//!
//! **After a healed partition** both sides hear each other within one interval, see in the statements that both hold an address, and the one that is not elected
//! stops: this bounds double announcement. Who took an address over from a dead peer goes on sending to it at the fast pace for that purpose.
//! [`Outputs::repeat`] then asks to say again what is held, since neighbours may have learnt it from the other side.
//!
//! **Replays.** Each message counts up within the sender's boot, and echoes the boot and the last number that the sender heard from the receiver. A boot that
//! was not heard before is believed only if it echoes a number that we sent *after* the last message of the boot believed so far: so it runs now. Recorded messages
//! can never bring back a dead speaker, across restarts of either side, without any clock. A new speaker is believed after one and a half round trips. What an attacker *on the path*
//! can do is what a cut cable does.
//!
//! Invariants: only the datagrams of peers change the state of a peer; [`Membership::fleet`] counts this node as live exactly while it is
//! [`State::Alive`]; the same inputs give the same outputs.

mod message;
mod peer;
mod statement;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::candidates::LiveSet;
use causeway_metal::fleet::{Fleet, Statement};

pub use message::{Ignored, KeyError, Keys, MAX_LENGTH, MIN_KEY_LENGTH, Message, Part, State};
pub use peer::{Liveness, PeerSnapshot};
use peer::{MAX_INTERVAL, Pace, Peer};

use crate::jitter::Jitter;
use crate::moment::Moment;

/// UDP port of the heartbeats. MetalLB's memberlist has 7946, on the same host network: this must be another, so that both can run while users move over.
pub const DEFAULT_PORT: u16 = 7947;

/// To how many peers a heartbeat goes in each [`Settings::slow`]. In clusters of more nodes the slow pace is slower in proportion.
pub const SLOW_PEERS: usize = 50;

/// How much longer than for joining a speaker waits for others to start, where nobody runs yet.
const GATHERING: Duration = Duration::from_secs(3);

/// How often "leaving" is said, and how far apart: a lost datagram must not cost the whole detection time.
const FAREWELLS: u32 = 3;
const FAREWELL_SPACING: Duration = Duration::from_millis(20);

/// What the protocol must know from the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster's id; messages of others are ignored, whatever their key.
    pub cluster: String,
    /// This node.
    pub node: String,
    /// A random number other than 0, drawn at each start.
    pub boot: u64,
    /// Time between heartbeats to close peers.
    pub interval: Duration,
    /// Time between heartbeats to others, in clusters of up to [`SLOW_PEERS`] nodes; not below `interval`.
    pub slow: Duration,
    /// How many intervals of silence make a peer dead.
    pub misses: u32,
}

impl Settings {
    /// How long a speaker that starts waits at most for peers that do not answer.
    pub fn settle(&self) -> Duration {
        (self.interval * self.misses).max(Duration::from_secs(1))
    }

    /// How long a speaker that starts leaves addresses that nobody holds to peers that may be starting too, where none is heard that ran before.
    pub fn gather(&self) -> Duration {
        self.settle() + GATHERING
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram came in. All that wait in the socket are to be handed in before a [`Input::Tick`].
    Datagram(&'a [u8]),
    /// [`Membership::next_deadline`] has come.
    Tick,
    /// These are the other nodes from now on: name, and where their speaker listens, if that is known. This node itself may be among them.
    Peers(&'a BTreeMap<String, Option<SocketAddr>>),
    /// The key has changed.
    Keys(Keys),
    /// These peers are to be watched closely from now on, and no others.
    Watch(&'a BTreeSet<String>),
    /// This is what there is to say of this node from now on.
    Say(Statement),
    /// This speaker knows now what there is to announce: it may be elected as soon as it knows what others hold.
    Ready,
    /// This speaker goes away.
    Leave,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Where.
    pub to: SocketAddr,
    /// What.
    pub octets: Vec<u8>,
}

/// A peer's liveness has changed, in a way that changes who is live or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub node: String,
    /// What it was; nothing for a peer that is new.
    pub from: Option<Liveness>,
    /// What it is now; nothing for a peer that is gone from the cluster.
    pub to: Option<Liveness>,
}

/// What to do about an input.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Datagrams to send, in this order.
    pub sends: Vec<Send>,
    /// Which peers changed.
    pub changes: Vec<Change>,
    /// Whether the live ones in [`Membership::fleet`] differ from before.
    pub live_changed: bool,
    /// Whether anything else in [`Membership::fleet`] does.
    pub news: bool,
    /// Neighbours may have learnt our addresses from somebody else meanwhile: say again what is held.
    pub repeat: bool,
    /// Why the datagram was ignored, if it was.
    pub ignored: Option<Ignored>,
    /// By how much this speaker was late, if that was so much that silence of peers proves nothing.
    pub stalled: Option<Duration>,
}

impl Outputs {
    /// What to do about a further input at the same moment.
    pub fn extend(&mut self, then: Outputs) {
        let Outputs { sends, changes, live_changed, news, repeat, ignored, stalled } = then;
        self.sends.extend(sends);
        self.changes.extend(changes);
        self.live_changed |= live_changed;
        self.news |= news;
        self.repeat |= repeat;
        self.ignored = self.ignored.or(ignored);
        self.stalled = self.stalled.or(stalled);
    }
}

/// The state of the protocol on one node.
#[derive(Debug)]
pub struct Membership {
    settings: Settings,
    keys: Keys,
    jitter: Jitter,
    state: State,
    sequence: u64,
    peers: BTreeMap<String, Peer>,
    /// What is said of this node, its number, and its octets.
    statement: Arc<Statement>,
    number: u32,
    octets: Vec<u8>,
    /// Joining ends then at the latest, once this speaker is ready.
    settled_by: Option<Moment>,
    /// From then on this speaker may take addresses: others that start at the same time are known by then.
    takes_from: Option<Moment>,
    /// Gathering ends then at the latest; nothing before this speaker is ready, and once it has ended.
    gather_by: Option<Moment>,
    gathering: bool,
    /// A speaker was heard that lives and does not gather.
    established: bool,
    next_slow: Moment,
    /// Nothing while there are no close peers.
    next_fast: Option<Moment>,
    /// No peer's time is over before this; may lie before the true first one, never behind it.
    next_expiry: Option<Moment>,
    farewells_left: u32,
}

impl Membership {
    /// A speaker that is [`State::Joining`] and has no peers yet.
    pub fn new(settings: Settings, keys: Keys, now: Moment) -> Self {
        let jitter = Jitter::new(settings.boot);
        Membership {
            settings,
            keys,
            jitter,
            state: State::Joining,
            sequence: 0,
            peers: BTreeMap::new(),
            statement: Arc::default(),
            number: 1,
            octets: statement::encode(&Statement::default()),
            settled_by: None,
            takes_from: None,
            gather_by: None,
            gathering: true,
            established: false,
            next_slow: now,
            next_fast: None,
            next_expiry: None,
            farewells_left: 0,
        }
    }

    /// Takes one input. The only way in which anything changes.
    pub fn handle(&mut self, input: Input<'_>, now: Moment) -> Outputs {
        let mut out = Outputs::default();
        self.notice_stall(now, &mut out);
        let (datagram, tick) = (matches!(input, Input::Datagram(_)), matches!(input, Input::Tick));
        match input {
            Input::Datagram(octets) => {
                if let Err(reason) = self.receive(octets, now, &mut out) {
                    out.ignored = Some(reason);
                }
            }
            Input::Tick => {}
            Input::Peers(peers) => self.set_peers(peers, now, &mut out),
            Input::Keys(keys) => self.keys = keys,
            Input::Watch(watched) => self.watch(watched, now),
            Input::Say(statement) => self.say(statement, now, &mut out),
            Input::Ready => {
                if self.settled_by.is_none() {
                    self.settled_by = Some(now + self.settings.settle());
                    self.gather_by = Some(now + self.settings.gather());
                }
            }
            Input::Leave => {
                self.farewells_left = FAREWELLS;
                self.takes_from = None;
                self.enter(State::Leaving, now, &mut out);
            }
        }
        // Deaths are judged only once all datagrams that wait have been read, which the caller promises for a tick.
        if tick {
            self.expire(now, &mut out);
        }
        self.settle(now, &mut out);
        if !datagram {
            self.beat(now, &mut out);
        }
        out
    }

    /// When [`Self::handle`] is to be called with [`Input::Tick`] at the latest; nothing once leaving has been said to the end.
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.left() {
            return None;
        }
        let settled_by = self.settled_by.filter(|_| self.state == State::Joining);
        let deadlines = [
            Some(self.next_slow),
            self.next_fast,
            self.next_expiry,
            settled_by,
            self.takes_from,
            self.gather_by,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether leaving has been said to the end.
    pub fn left(&self) -> bool {
        self.state == State::Leaving && self.farewells_left == 0
    }

    /// The speakers of the cluster: the live ones may be elected, this one among them while it is [`State::Alive`], but for the first interval of that.
    pub fn fleet(&self) -> Fleet {
        let own =
            (self.state == State::Alive && self.takes_from.is_none()).then(|| self.settings.node.clone());
        let live = self.peers.iter().filter(|(_, peer)| peer.liveness().is_live());
        let deaf = self.peers.iter().filter(|(_, peer)| peer.is_deaf());
        let expected = self.peers.iter().filter(|(_, peer)| self.expects(peer));
        let said =
            self.peers.iter().filter_map(|(name, peer)| Some((name.clone(), Arc::clone(peer.statement()?))));
        Fleet {
            live: LiveSet::Nodes(live.map(|(name, _)| name.clone()).chain(own).collect()),
            statements: said.chain([(self.settings.node.clone(), Arc::clone(&self.statement))]).collect(),
            deaf: deaf.map(|(name, _)| name.clone()).collect(),
            expected: expected.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn expects(&self, peer: &Peer) -> bool {
        self.gathering && !peer.was_seen() && (!self.established || peer.is_starting())
    }

    /// What this speaker says of itself.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether there are peers and all of them are dead: then either they are, or this node is cut off, or something between the nodes
    /// swallows the heartbeats.
    pub fn isolated(&self) -> bool {
        !self.peers.is_empty() && self.peers.values().all(|peer| peer.liveness() == Liveness::Dead)
    }

    /// The peers, for people to look at.
    pub fn snapshot(&self, now: Moment) -> Vec<PeerSnapshot> {
        self.peers.iter().map(|(name, peer)| peer.snapshot(name, now)).collect()
    }

    fn pace(&self) -> Pace {
        Pace { interval: self.settings.interval, misses: self.settings.misses }
    }

    /// The slow pace, in a cluster of this size.
    fn slow(&self) -> Duration {
        let slow = self.settings.slow.max(self.settings.interval);
        let crowd = u32::try_from(self.peers.len().div_ceil(SLOW_PEERS)).unwrap_or(u32::MAX).max(1);
        slow.saturating_mul(crowd).min(MAX_INTERVAL.max(slow))
    }

    /// A deadline missed by more than an interval means that we were not running. What others sent meanwhile may be lost.
    fn notice_stall(&mut self, now: Moment, out: &mut Outputs) {
        let Some(deadline) = self.next_deadline() else { return };
        let late = now.saturating_since(deadline);
        let interval = if self.next_fast.is_some() { self.settings.interval } else { self.slow() };
        if late < interval || self.peers.is_empty() {
            return;
        }
        out.stalled = Some(late);
        out.repeat = true;
        for peer in self.peers.values_mut() {
            peer.forgive_silence(now);
        }
        // The old bounds are in the past: they would make the next call look late again.
        self.next_expiry = self.peers.values().filter_map(Peer::expiry).min();
        self.next_slow = self.next_slow.max(now);
        self.next_fast = self.next_fast.map(|_| now);
        self.settled_by = self.settled_by.map(|by| by.max(now + self.settings.interval));
        self.gather_by = self.gather_by.map(|by| by.max(now + self.settings.interval));
    }

    fn set_peers(&mut self, peers: &BTreeMap<String, Option<SocketAddr>>, now: Moment, out: &mut Outputs) {
        let gone: Vec<String> =
            self.peers.keys().filter(|name| !peers.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(peer) = self.peers.remove(&name) {
                out.live_changed |= peer.liveness().is_live();
                out.changes.push(Change { node: name, from: Some(peer.liveness()), to: None });
            }
        }
        let (settle, sequence) = (self.settings.settle(), self.sequence);
        for (name, &address) in peers {
            if *name == self.settings.node {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(name) {
                peer.address = address;
                continue;
            }
            let peer = Peer::presumed(address, now, settle, sequence);
            self.expire_by(peer.expiry());
            out.changes.push(Change { node: name.clone(), from: None, to: Some(peer.liveness()) });
            self.peers.insert(name.clone(), peer);
            // Greet it soon instead of waiting for the next turn: until it hears us it cannot prove itself.
            self.next_slow = now;
        }
    }

    fn watch(&mut self, watched: &BTreeSet<String>, now: Moment) {
        for (name, peer) in &mut self.peers {
            let watch = watched.contains(name);
            if watch && !peer.watched {
                self.next_fast = Some(now);
            }
            peer.watched = watch;
        }
    }

    /// Says something else of this node from now on, to those at once that may depend on it.
    fn say(&mut self, statement: Statement, now: Moment, out: &mut Outputs) {
        if *self.statement == statement {
            return;
        }
        self.octets = statement::encode(&statement);
        self.statement = Arc::new(statement);
        // 0 means "none".
        self.number = self.number.checked_add(1).unwrap_or(1);
        out.news = true;
        let slow = self.slow();
        let close =
            |peer: &Peer| peer.watched || peer.wants_more_than(slow) || peer.liveness() == Liveness::Left;
        let told: Vec<String> = self
            .peers
            .iter()
            .filter(|(_, peer)| close(peer) && peer.hears(now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in told {
            self.send_to(&name, false, now, out);
        }
    }

    /// Ends joining when it is known what everybody holds, and gathering when everybody is known.
    fn settle(&mut self, now: Moment, out: &mut Outputs) {
        if let Some(by) = self.gather_by
            && (now >= by || self.peers.values().all(Peer::was_seen))
        {
            self.gather_by = None;
            self.gathering = false;
            out.news = true;
        }
        if self.takes_from.is_some_and(|from| from <= now) {
            self.takes_from = None;
            out.live_changed = true;
        }
        let Some(by) = self.settled_by.filter(|_| self.state == State::Joining) else { return };
        if now >= by || self.peers.values().all(Peer::is_resolved) {
            self.takes_from = Some(now + self.settings.interval);
            self.enter(State::Alive, now, out);
        }
    }

    fn enter(&mut self, state: State, now: Moment, out: &mut Outputs) {
        let was_live = self.state == State::Alive;
        // Leaving is final: a late "ready" must not revive it.
        if self.state == State::Leaving || self.state == state {
            return;
        }
        self.state = state;
        out.live_changed |= was_live != (state == State::Alive);
        self.next_slow = now;
        self.next_fast = self.next_fast.map(|_| now);
    }

    fn receive(&mut self, octets: &[u8], now: Moment, out: &mut Outputs) -> Result<(), Ignored> {
        let message = Message::decode(octets, &self.keys)?;
        if message.cluster != self.settings.cluster {
            return Err(Ignored::OtherCluster);
        }
        if message.sender == self.settings.node {
            return Err(Ignored::FromSelf);
        }
        if message.receiver != self.settings.node {
            return Err(Ignored::OtherReceiver);
        }
        let (own_boot, own_sequence, pace, slow) =
            (self.settings.boot, self.sequence, self.pace(), self.slow());
        let peer = self.peers.get_mut(message.sender).ok_or(Ignored::UnknownSender)?;
        let before = peer.liveness();
        let (seen, starting) = (peer.was_seen(), peer.is_starting());
        let verdict = peer.hear(&message, own_boot, own_sequence, now, pace);
        let after = peer.liveness();
        // It took us for dead, or it was dead to us: meanwhile it, or another, may have announced what is ours.
        let back = before == Liveness::Dead && after == Liveness::Alive;
        // A new process of it has announced nothing yet.
        let announced = verdict.is_ok_and(|heed| (back && heed.same_boot) || heed.hears_us_again);
        out.repeat |= self.state == State::Alive && announced;
        out.news |= verdict.is_ok_and(|heed| heed.news);
        if self.gathering {
            let established = verdict.is_ok() && message.state == State::Alive && !message.gathering;
            out.news |= (seen, starting) != (peer.was_seen(), peer.is_starting());
            out.news |= established && !self.established;
            self.established |= established;
        }
        if before != after {
            out.live_changed |= before.is_live() != after.is_live();
            out.changes.push(Change { node: message.sender.to_owned(), from: Some(before), to: Some(after) });
        }
        let expiry = peer.expiry();
        // An answer at once makes joining a matter of round trips. Rarely enough that replayed messages draw no flood from us.
        let unproven = verdict == Err(Ignored::Unproven);
        let behind = peer.told() != self.number;
        let wanted = unproven || (verdict.is_ok() && (back || behind || !message.hears_receiver));
        let answer = wanted && peer.may_answer(!unproven, now, self.settings.interval / 4);
        let close = verdict.is_ok() && peer.wants_more_than(slow);
        self.expire_by(expiry);
        if close {
            self.next_fast.get_or_insert(now);
        }
        if answer {
            let sender = message.sender.to_owned();
            self.send_to(&sender, false, now, out);
        }
        verdict.map(|_| ())
    }

    fn expire_by(&mut self, moment: Option<Moment>) {
        if let Some(moment) = moment {
            self.next_expiry = Some(self.next_expiry.map_or(moment, |known| known.min(moment)));
        }
    }

    /// Declares those dead whose time is over.
    fn expire(&mut self, now: Moment, out: &mut Outputs) {
        if self.next_expiry.is_none_or(|expiry| expiry > now) {
            return;
        }
        for (name, peer) in &mut self.peers {
            if peer.expiry().is_some_and(|expiry| expiry <= now) {
                let from = peer.liveness();
                peer.declare_dead();
                out.live_changed |= from.is_live();
                out.changes.push(Change { node: name.clone(), from: Some(from), to: Some(Liveness::Dead) });
            }
        }
        self.next_expiry = self.peers.values().filter_map(Peer::expiry).min();
    }

    /// Sends to everybody whose turn it is.
    fn beat(&mut self, now: Moment, out: &mut Outputs) {
        if self.left() {
            return;
        }
        if now >= self.next_slow {
            let leaving = self.state == State::Leaving;
            // The close ones have turns of their own, but for what only these bring.
            let turn = |peer: &Peer| leaving || peer.slowing == 0 || !peer.hears(now);
            let names = self.peers.iter().filter(|(_, peer)| turn(peer));
            let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
            for name in names {
                self.send_to(&name, true, now, out);
            }
            if leaving {
                self.farewells_left -= 1;
                self.next_slow = now + FAREWELL_SPACING;
                self.next_fast = None;
                return;
            }
            let slow = self.slow();
            self.next_slow = now + self.jitter.scale(slow, 0.9, 1.0);
        }
        let unresolved = self.state == State::Joining && !self.peers.values().all(Peer::is_resolved);
        if self.next_fast.is_some_and(|at| at <= now) {
            for name in self.choose_close() {
                self.send_to(&name, false, now, out);
            }
            let close = self.peers.values().any(|peer| peer.slowing > 0);
            self.next_fast = (close || unresolved).then(|| self.after_interval(now));
        } else if unresolved && self.next_fast.is_none() {
            self.next_fast = Some(self.after_interval(now));
        }
    }

    fn after_interval(&mut self, now: Moment) -> Moment {
        now + self.jitter.scale(self.settings.interval, 0.9, 1.0)
    }

    /// The peers whose turn it is at the fast pace. Those for which there is no more reason get some last ones, which say so.
    fn choose_close(&mut self) -> Vec<String> {
        let (slow, misses, joining) = (self.slow(), self.settings.misses, self.state == State::Joining);
        let mut close = Vec::new();
        for (name, peer) in &mut self.peers {
            if peer.watched || peer.wants_more_than(slow) {
                peer.slowing = misses + 1;
            } else {
                peer.slowing = peer.slowing.saturating_sub(1);
            }
            if peer.slowing > 0 || (joining && !peer.is_resolved()) {
                close.push(name.clone());
            }
        }
        close
    }

    /// A heartbeat to one peer; several datagrams, if there is something to tell it. One that is not heard may hear us all the same, but is told
    /// only in a `slow` turn.
    fn send_to(&mut self, name: &str, slow_turn: bool, now: Moment, out: &mut Outputs) {
        let slow = self.slow();
        let Some(peer) = self.peers.get(name) else { return };
        let Some(to) = peer.address else { return };
        let (heard_boot, heard_sequence) = peer.echo();
        let milliseconds = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX).max(1);
        let pace = |fast: bool| milliseconds(if fast { self.settings.interval } else { slow });
        let told = peer.hears(now) || (slow_turn && peer.was_heard());
        let behind = peer.told() != self.number && told;
        let room = Message::room(&self.settings.cluster, &self.settings.node, name);
        let parts = self.octets.chunks(room).take(if behind { message::MAX_PARTS } else { 0 });
        let count = u16::try_from(parts.len()).unwrap_or(0);
        let parts = (0u16..).zip(parts).map(|(index, octets)| Some(Part { index, count, octets }));
        for part in parts.chain((count == 0).then_some(None)) {
            self.sequence += 1;
            let message = Message {
                state: self.state,
                hears_receiver: peer.hears(now),
                gathering: self.gathering,
                boot: self.settings.boot,
                sequence: self.sequence,
                heard_boot,
                heard_sequence,
                interval_ms: pace(peer.watched || peer.wants_more_than(slow)),
                wanted_ms: pace(peer.watched),
                statement: self.number,
                heard_statement: peer.heard_statement(),
                part,
                cluster: &self.settings.cluster,
                sender: &self.settings.node,
                receiver: name,
            };
            out.sends.push(Send { to, octets: message.encode(&self.keys) });
        }
    }
}
