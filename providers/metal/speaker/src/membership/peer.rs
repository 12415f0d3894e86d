//! What one speaker knows of another. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::message::{Ignored, Message, State};
use crate::moment::Moment;

/// The longest interval that we let a peer ask for: it must not be able to make itself immortal.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// Whether a peer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Liveness {
    /// Never heard, and known for so short a time that this means nothing.
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
        matches!(self, Liveness::Presumed | Liveness::Alive)
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
}

impl Peer {
    pub(super) fn presumed(address: Option<SocketAddr>, now: Moment, pace: Pace, own_sequence: u64) -> Self {
        let detection = pace.interval * pace.misses;
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
                return Err(Ignored::Replayed);
            }
        } else {
            let echoed = message.heard_boot == own_boot && message.heard_sequence <= own_sequence;
            if !echoed || message.heard_sequence <= self.fence {
                self.unproven = Some((message.boot, message.sequence));
                return Err(Ignored::Unproven);
            }
        }
        let hears_us = message.hears_receiver && message.heard_boot == own_boot;
        // A new boot never heard us before, so it cannot have lost us.
        let lost_us_before = same_boot.is_some_and(|heard| heard.ever_heard_us && !heard.hears_us);
        let ever_heard_us = hears_us || same_boot.is_some_and(|heard| heard.ever_heard_us);
        self.fence = own_sequence;
        self.unproven = None;
        self.heard =
            Some(Heard { boot: message.boot, sequence: message.sequence, at: now, hears_us, ever_heard_us });
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
        Ok(Heed { hears_us_again: hears_us && lost_us_before })
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

    /// Whether an answer out of turn may be sent now; if so it is counted as sent.
    pub(super) fn may_answer(&mut self, now: Moment, spacing: Duration) -> bool {
        if self.last_answer.is_some_and(|last| now.saturating_since(last) < spacing) {
            return false;
        }
        self.last_answer = Some(now);
        true
    }

    pub(super) fn snapshot(&self, name: &str, now: Moment) -> PeerSnapshot {
        PeerSnapshot {
            node: name.to_owned(),
            address: self.address,
            liveness: self.liveness,
            hears_us: self.hears_us(),
            silent_ms: self
                .heard
                .map(|heard| u64::try_from(now.saturating_since(heard.at).as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
