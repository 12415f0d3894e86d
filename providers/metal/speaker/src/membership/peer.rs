//! What one speaker knows of another. Pure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::fleet::Statement;
use serde::Serialize;

use super::message::{Ignored, Message, Part, State};
use super::statement;
use crate::moment::Moment;

/// The longest interval that we let a peer ask for: it must not be able to make itself immortal.
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// Whether a peer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Liveness {
    /// Never heard, and known for so short a time that this means nothing. A speaker that starts waits for it.
    Presumed,
    /// Heard.
    Alive,
    /// Silent for too long.
    Dead,
    /// It said that it goes.
    Left,
}

impl Liveness {
    /// Whether a peer in this state may be elected.
    pub fn is_live(self) -> bool {
        self == Liveness::Alive
    }
}

/// A peer, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerSnapshot {
    /// Node name.
    pub node: String,
    /// Where its speaker listens.
    pub address: Option<SocketAddr>,
    /// Whether it lives.
    pub liveness: Liveness,
    /// Whether it says that it hears us.
    pub hears_us: bool,
    /// Whether both send to each other at the fast pace, as for nodes that stand for the same address.
    pub close: bool,
    /// The silence, in milliseconds, that makes it dead.
    pub detection_ms: u64,
    /// What it said of itself last.
    pub statement: Option<Arc<Statement>>,
    /// Milliseconds since anything valid came from it; nothing if nothing ever did.
    pub silent_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    boot: u64,
    sequence: u64,
    at: Moment,
    /// It says that it hears us.
    hears_us: bool,
    /// It has said so once in this boot.
    ever_heard_us: bool,
    /// Since when it says, in this boot, that it does not.
    deaf_since: Option<Moment>,
}

/// Our own settings, as far as they decide when a peer is dead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) misses: u32,
}

/// What a believed message says beyond liveness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heed {
    /// It had stopped hearing us, and hears us again.
    pub(super) hears_us_again: bool,
    /// It is the same process that was heard before.
    pub(super) same_boot: bool,
    /// Its statement is another one now, or it hears us and did not, or the other way.
    pub(super) news: bool,
}

/// A statement of which not all parts have come.
#[derive(Debug)]
struct Assembly {
    number: u32,
    parts: Vec<Option<Box<[u8]>>>,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    liveness: Liveness,
    /// When its silence makes it dead, while it counts as live.
    expiry: Option<Moment>,
    detection: Duration,
    /// The boot that is believed, and its last message.
    heard: Option<Heard>,
    /// Another boot that has not proved itself, and its last sequence: what we echo, so that it can.
    unproven: Option<(u64, u64)>,
    /// The last number that we had sent, to anybody, when the believed boot was last heard.
    fence: u64,
    last_answer: Option<Moment>,
    last_telling: Option<Moment>,
    deaf: bool,
    /// It was alive, or left, at some time since we know it.
    seen: bool,
    /// Its statement as far as it is known, and the boot and number of it.
    statement: Option<(u64, u32, Arc<Statement>)>,
    assembly: Option<Assembly>,
    /// Which of our statements it knows.
    told: u32,
    /// How often it wants to hear us.
    wanted: Option<Duration>,
    /// Whether we want to hear it often.
    pub(super) watched: bool,
    /// For how many more beats of the fast pace it hears from us, after there was reason for that.
    pub(super) slowing: u32,
}

impl Peer {
    pub(super) fn presumed(
        address: Option<SocketAddr>,
        now: Moment,
        detection: Duration,
        own_sequence: u64,
    ) -> Self {
        Peer {
            address,
            liveness: Liveness::Presumed,
            expiry: Some(now + detection),
            detection,
            heard: None,
            unproven: None,
            // A peer that was known before may have been recorded by somebody: only what comes after now is proof.
            fence: own_sequence,
            last_answer: None,
            last_telling: None,
            deaf: false,
            seen: false,
            statement: None,
            assembly: None,
            told: 0,
            wanted: None,
            watched: false,
            slowing: 0,
        }
    }

    pub(super) fn liveness(&self) -> Liveness {
        self.liveness
    }

    pub(super) fn expiry(&self) -> Option<Moment> {
        self.expiry
    }

    /// Whether it says that it hears us.
    pub(super) fn hears_us(&self) -> bool {
        self.heard.is_some_and(|heard| heard.hears_us)
    }

    /// Whether it lives and has said for a while that it does not hear us.
    pub(super) fn is_deaf(&self) -> bool {
        self.liveness == Liveness::Alive && self.deaf
    }

    /// Whether it was alive, or left, at some time since we know it.
    pub(super) fn was_seen(&self) -> bool {
        self.seen
    }

    /// Whether it was never alive yet and says that it starts, as far as that can be believed.
    pub(super) fn is_starting(&self) -> bool {
        !self.seen && (self.heard.is_some() || self.unproven.is_some())
    }

    /// Whether anything valid ever came from it.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether it is known what it holds, or that it holds nothing.
    pub(super) fn is_resolved(&self) -> bool {
        matches!(self.liveness, Liveness::Dead | Liveness::Left) || self.heard_statement() != 0
    }

    /// What it said of itself last.
    pub(super) fn statement(&self) -> Option<&Arc<Statement>> {
        self.statement.as_ref().map(|(_, _, statement)| statement)
    }

    /// The number of the statement that is known whole, of the boot that [`Self::echo`] names.
    pub(super) fn heard_statement(&self) -> u32 {
        let boot = self.heard.filter(|_| self.unproven.is_none()).map(|heard| heard.boot);
        self.statement.as_ref().filter(|(of, ..)| Some(*of) == boot).map_or(0, |(_, number, _)| *number)
    }

    /// Which of our statements it knows.
    pub(super) fn told(&self) -> u32 {
        self.told
    }

    /// Whether it wants to hear us more often than this.
    pub(super) fn wants_more_than(&self, interval: Duration) -> bool {
        self.liveness == Liveness::Alive && self.wanted.is_some_and(|wanted| wanted < interval)
    }

    /// Whether we hear it, as we tell it.
    pub(super) fn hears(&self, now: Moment) -> bool {
        let lately = |heard: Heard| now.saturating_since(heard.at) <= self.detection;
        self.unproven.is_none() && self.heard.is_some_and(lately)
    }

    /// What to echo: the boot that wants to prove itself, else the one that is believed.
    pub(super) fn echo(&self) -> (u64, u64) {
        self.unproven.or(self.heard.map(|heard| (heard.boot, heard.sequence))).unwrap_or((0, 0))
    }

    /// Takes a message that is authentic, from this peer, for us.
    pub(super) fn hear(
        &mut self,
        message: &Message<'_>,
        own_boot: u64,
        own_sequence: u64,
        now: Moment,
        pace: Pace,
    ) -> Result<Heed, Ignored> {
        let same_boot = self.heard.filter(|heard| heard.boot == message.boot);
        if let Some(heard) = same_boot {
            // Reordered messages are dropped with the replayed ones: an older heartbeat says nothing that a newer one did not.
            if message.sequence <= heard.sequence {
                // But for parts of the statement that is being put together: these say the same whenever they come.
                let missing = self.assembly.as_ref().is_some_and(|begun| begun.number == message.statement);
                let part = message.part.filter(|_| missing).ok_or(Ignored::Replayed)?;
                let news = self.assemble(message.boot, message.statement, part);
                return Ok(Heed { hears_us_again: false, same_boot: true, news });
            }
        } else {
            let echoed = message.heard_boot == own_boot && message.heard_sequence <= own_sequence;
            if !echoed || message.heard_sequence <= self.fence {
                self.unproven = Some((message.boot, message.sequence));
                return Err(Ignored::Unproven);
            }
        }
        let hears_us = message.hears_receiver && message.heard_boot == own_boot;
        if same_boot.is_none() {
            self.assembly = None;
        }
        let was_deaf = self.is_deaf();
        // A new boot never heard us before, so it cannot have lost us.
        let lost_us_before = same_boot.is_some_and(|heard| heard.ever_heard_us && !heard.hears_us);
        let ever_heard_us = hears_us || same_boot.is_some_and(|heard| heard.ever_heard_us);
        let deaf_since = same_boot.and_then(|heard| heard.deaf_since).unwrap_or(now);
        // When both have just found each other again, each first says that it did not hear the other.
        self.deaf =
            !hears_us && message.state == State::Alive && now.saturating_since(deaf_since) >= pace.interval;
        self.fence = own_sequence;
        self.unproven = None;
        self.heard = Some(Heard {
            boot: message.boot,
            sequence: message.sequence,
            at: now,
            hears_us,
            ever_heard_us,
            deaf_since: (!hears_us).then_some(deaf_since),
        });
        self.told = if message.heard_boot == own_boot { message.heard_statement } else { 0 };
        self.wanted = Some(Duration::from_millis(message.wanted_ms.into()));
        self.seen |= message.state != State::Joining;
        match message.state {
            State::Alive => {
                let theirs = Duration::from_millis(message.interval_ms.into()).min(MAX_INTERVAL);
                self.detection = pace.interval.max(theirs) * pace.misses;
                self.liveness = Liveness::Alive;
                self.expiry = Some(now + self.detection);
            }
            State::Leaving => {
                self.liveness = Liveness::Left;
                self.expiry = None;
            }
            // No sign of life, and none of death.
            State::Joining => {}
        }
        let said = message.part.is_some_and(|part| self.assemble(message.boot, message.statement, part));
        let news = said || was_deaf != self.is_deaf();
        Ok(Heed { hears_us_again: hears_us && lost_us_before, same_boot: same_boot.is_some(), news })
    }

    /// Takes a part of a statement. Answers whether it was the last that was missing, of a new one that makes sense.
    fn assemble(&mut self, boot: u64, number: u32, part: Part<'_>) -> bool {
        let known = self.statement.as_ref().is_some_and(|(of, is, _)| (*of, *is) == (boot, number));
        if known {
            return false;
        }
        let (count, index) = (usize::from(part.count), usize::from(part.index));
        let begun = |assembly: &Assembly| assembly.number == number && assembly.parts.len() == count;
        let mut assembly = self
            .assembly
            .take()
            .filter(begun)
            .unwrap_or_else(|| Assembly { number, parts: (0..count).map(|_| None).collect() });
        if let Some(slot) = assembly.parts.get_mut(index) {
            *slot = Some(part.octets.into());
        }
        if assembly.parts.iter().any(Option::is_none) {
            self.assembly = Some(assembly);
            return false;
        }
        let whole: Vec<u8> = assembly.parts.into_iter().flatten().flat_map(|part| part.into_vec()).collect();
        // One that cannot be read stays unknown; it will come again, for we do not say that we know it.
        let Some(statement) = statement::decode(&whole) else { return false };
        let news = self.statement().is_none_or(|before| **before != statement);
        self.statement = Some((boot, number, Arc::new(statement)));
        news
    }

    pub(super) fn declare_dead(&mut self) {
        self.liveness = Liveness::Dead;
        self.expiry = None;
    }

    /// Gives a live peer the whole time again.
    pub(super) fn forgive_silence(&mut self, now: Moment) {
        if self.expiry.is_some() {
            self.expiry = Some(now + self.detection);
        }
    }

    /// Whether an answer out of turn may be sent now; if so it is counted as sent. Answers to messages that proved themselves are counted apart, so that those that
    /// did not cannot keep them back.
    pub(super) fn may_answer(&mut self, proven: bool, now: Moment, spacing: Duration) -> bool {
        let last = if proven { &mut self.last_telling } else { &mut self.last_answer };
        if last.is_some_and(|last| now.saturating_since(last) < spacing) {
            return false;
        }
        *last = Some(now);
        true
    }

    pub(super) fn snapshot(&self, name: &str, now: Moment) -> PeerSnapshot {
        PeerSnapshot {
            node: name.to_owned(),
            address: self.address,
            liveness: self.liveness,
            hears_us: self.hears_us(),
            close: self.watched || self.slowing > 0,
            detection_ms: u64::try_from(self.detection.as_millis()).unwrap_or(u64::MAX),
            statement: self.statement().cloned(),
            silent_ms: self
                .heard
                .map(|heard| u64::try_from(now.saturating_since(heard.at).as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
