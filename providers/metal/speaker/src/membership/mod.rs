//! Which speakers live: direct, authenticated heartbeats, never through the API server. Pure, sans-IO.
//!
//! ```text
//!   Datagram | Tick | Peers | Keys | Ready | Leave, now ─▶ Membership::handle ─▶ Outputs { sends, changes, … }
//!                                                          next_deadline  ─▶ when to call with Tick
//! ```
//!
//! Every speaker sends a heartbeat to every peer each [`Settings::interval`] (less up to a tenth, so that they do not fall into step). Peers
//! are the nodes that the cluster has; their liveness is judged here alone. The rules:
//!
//! - **Dead** is a peer from which nothing valid came for [`Settings::misses`] intervals, of its interval or ours, whichever is longer (as in
//!   RFC 5880 §6.8.4), so that a changed setting can be rolled out node by node. With 1 s × 3 a killed speaker is noticed after 2 to 3 s,
//!   2.5 s on average. Smaller is faster, costs packets in proportion, and takes a node whose CPU is starved for that long for dead.
//! - **Alive** is a peer upon its first valid heartbeat, at once.
//! - **Leaving** is said three times, and believed at once.
//! - **Joining** is said by a speaker that does not know yet what there is to announce. It is no sign of life: an earlier boot of that node goes on counting as
//!   alive until its time is over, so that a quick restart moves nothing.
//! - **Presumed** alive is a peer that was never heard, for as long as it takes to notice a death, counted from when it became known. So a speaker that starts
//!   does not steal the addresses of those whose heartbeat it just did not hear yet.
//! - **Stalls**: if this speaker itself was not run in time (a paused machine, a starved CPU), silence proves nothing, and everybody gets the whole time again.
//!
//! **Isolation.** A speaker that hears nobody counts all the others as dead, and so takes over everything. It cannot tell a cut cable from the death of
//! all others; of two nodes the survivor must take over, and of three as well. If it is cut off on the segment of the addresses too, which is the usual
//! case, nobody can see what it announces. If only the heartbeats are lost (a firewall between nodes: UDP, [`DEFAULT_PORT`]), addresses are announced
//! twice until that is mended; [`Membership::isolated`] says so, for a metric and an Event. The opposite choice would leave addresses dark whenever the others die.
//!
//! **After a healed partition** both sides hear each other within one interval and the one that is not elected stops: this bounds double announcement.
//! [`Outputs::repeat`] then asks to say again what is held, since neighbours may have learnt it from the other side.
//!
//! **Replays.** Each message counts up within the sender's boot, and echoes the boot and the last number that the sender heard from the receiver. A boot that
//! was not heard before is believed only if it echoes a number that we sent *after* the last message of the boot believed so far: so it runs now. Recorded messages
//! can never bring back a dead speaker, across restarts of either side, without any clock. A new speaker is believed after one and a half round trips. What an attacker *on the path*
//! can do is what a cut cable does.
//!
//! Invariants: only the datagrams of peers change the state of a peer; [`Membership::live`] holds this node exactly while it is
//! [`State::Alive`]; the same inputs give the same outputs.

mod message;
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

pub use message::{Ignored, KeyError, Keys, MAX_LENGTH, MIN_KEY_LENGTH, Message, State};
pub use peer::{Liveness, PeerSnapshot};
use peer::{Pace, Peer};

use crate::jitter::Jitter;
use crate::moment::Moment;

/// UDP port of the heartbeats. MetalLB's memberlist has 7946, on the same host network: this must be another, so that both can run while users move over.
pub const DEFAULT_PORT: u16 = 7947;

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
    /// Time between heartbeats.
    pub interval: Duration,
    /// How many intervals of silence make a peer dead.
    pub misses: u32,
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
    /// This speaker knows now what there is to announce: it may be elected.
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

/// A peer's liveness has changed, in a way that changes [`Membership::live`] or not.
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
    /// Whether [`Membership::live`] differs from before.
    pub live_changed: bool,
    /// Neighbours may have learnt our addresses from somebody else meanwhile: say again what is held.
    pub repeat: bool,
    /// Why the datagram was ignored, if it was.
    pub ignored: Option<Ignored>,
    /// By how much this speaker was late, if that was so much that silence of peers proves nothing.
    pub stalled: Option<Duration>,
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
    next_heartbeat: Moment,
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
            next_heartbeat: now,
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
            Input::Ready => self.enter(State::Alive, now, &mut out),
            Input::Leave => {
                self.farewells_left = FAREWELLS;
                self.enter(State::Leaving, now, &mut out);
            }
        }
        // Deaths are judged only once all datagrams that wait have been read, which the caller promises for a tick.
        if tick {
            self.expire(now, &mut out);
        }
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
        Some(self.next_expiry.map_or(self.next_heartbeat, |expiry| expiry.min(self.next_heartbeat)))
    }

    /// Whether leaving has been said to the end.
    pub fn left(&self) -> bool {
        self.state == State::Leaving && self.farewells_left == 0
    }

    /// The nodes that may be elected: the live ones, those presumed so, and this one while it is [`State::Alive`].
    pub fn live(&self) -> BTreeSet<&str> {
        let own = (self.state == State::Alive).then_some(self.settings.node.as_str());
        let others = self.peers.iter().filter(|(_, peer)| peer.liveness().is_live());
        others.map(|(name, _)| name.as_str()).chain(own).collect()
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

    fn interval_ms(&self) -> u32 {
        u32::try_from(self.settings.interval.as_millis()).unwrap_or(u32::MAX).max(1)
    }

    /// A deadline missed by more than an interval means that we were not running. What others sent meanwhile may be lost.
    fn notice_stall(&mut self, now: Moment, out: &mut Outputs) {
        let Some(deadline) = self.next_deadline() else { return };
        let late = now.saturating_since(deadline);
        if late < self.settings.interval || self.peers.is_empty() {
            return;
        }
        out.stalled = Some(late);
        out.repeat = true;
        for peer in self.peers.values_mut() {
            peer.forgive_silence(now);
        }
        // The old bound is in the past: it would make the next call look late again.
        self.next_expiry = self.peers.values().filter_map(Peer::expiry).min();
        self.next_heartbeat = now;
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
        let (pace, sequence) = (self.pace(), self.sequence);
        for (name, &address) in peers {
            if *name == self.settings.node {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(name) {
                peer.address = address;
                continue;
            }
            let peer = Peer::presumed(address, now, pace, sequence);
            self.expire_by(peer.expiry());
            out.changes.push(Change { node: name.clone(), from: None, to: Some(peer.liveness()) });
            out.live_changed = true;
            self.peers.insert(name.clone(), peer);
            // Greet it soon instead of waiting for the next turn: until it hears us it cannot prove itself.
            self.next_heartbeat = now;
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
        self.next_heartbeat = now;
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
        let (own_boot, own_sequence, pace) = (self.settings.boot, self.sequence, self.pace());
        let peer = self.peers.get_mut(message.sender).ok_or(Ignored::UnknownSender)?;
        let before = peer.liveness();
        let verdict = peer.hear(&message, own_boot, own_sequence, now, pace);
        let after = peer.liveness();
        // It took us for dead, or it was dead to us: meanwhile it, or another, may have announced what is ours.
        let back = before == Liveness::Dead && after == Liveness::Alive;
        out.repeat |= self.state == State::Alive && (back || verdict.is_ok_and(|heed| heed.hears_us_again));
        if before != after {
            out.live_changed |= before.is_live() != after.is_live();
            out.changes.push(Change { node: message.sender.to_owned(), from: Some(before), to: Some(after) });
        }
        let expiry = peer.expiry();
        // An answer at once makes joining a matter of round trips. Rarely enough that replayed messages draw no flood from us.
        let unproven = verdict == Err(Ignored::Unproven);
        let wanted = unproven || (verdict.is_ok() && (back || !message.hears_receiver));
        let answer = wanted && peer.may_answer(now, self.settings.interval / 4);
        self.expire_by(expiry);
        if answer {
            let sender = message.sender.to_owned();
            self.send_to(&sender, now, out);
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
                out.live_changed = true;
                out.changes.push(Change { node: name.clone(), from: Some(from), to: Some(Liveness::Dead) });
            }
        }
        self.next_expiry = self.peers.values().filter_map(Peer::expiry).min();
    }

    /// Sends to everybody if it is time.
    fn beat(&mut self, now: Moment, out: &mut Outputs) {
        if self.left() || now < self.next_heartbeat {
            return;
        }
        let names: Vec<String> = self.peers.keys().cloned().collect();
        for name in names {
            self.send_to(&name, now, out);
        }
        self.next_heartbeat = if self.state == State::Leaving {
            self.farewells_left -= 1;
            now + FAREWELL_SPACING
        } else {
            now + self.jitter.scale(self.settings.interval, 0.9, 1.0)
        };
    }

    fn send_to(&mut self, name: &str, now: Moment, out: &mut Outputs) {
        let Some(peer) = self.peers.get(name) else { return };
        let Some(to) = peer.address else { return };
        self.sequence += 1;
        let (heard_boot, heard_sequence) = peer.echo();
        let message = Message {
            state: self.state,
            hears_receiver: peer.hears(now),
            boot: self.settings.boot,
            sequence: self.sequence,
            heard_boot,
            heard_sequence,
            interval_ms: self.interval_ms(),
            cluster: &self.settings.cluster,
            sender: &self.settings.node,
            receiver: name,
        };
        out.sends.push(Send { to, octets: message.encode(&self.keys) });
    }
}
