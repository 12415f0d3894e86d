//! When an announced address is to be said unasked. Pure.
//!
//! After an address was taken: at once, and again every [`Timing::repeat`] until [`Timing::burst`] has passed, so that a
//! lost frame does not leave a neighbour with the old station's MAC. Then every [`Timing::refresh`], give or take a quarter, so that switches
//! whose forwarding table ages faster than their neighbours' ARP cache do not start to flood or to lose the address, and so that the
//! addresses of a node do not all speak at the same moment.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::jitter::Jitter;
use crate::moment::Moment;

/// How often an address is said unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time between the first announcements. MetalLB's 1.1 s: a second is the rate limit of RFC 5227's and many hosts' address
    /// updates.
    pub repeat: Duration,
    /// How long the first announcements go on.
    pub burst: Duration,
    /// Mean time between later announcements; `None` for never.
    ///
    /// Trade-off: shorter heals stale tables sooner, and costs two broadcast frames per address and interface each time.
    pub refresh: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            repeat: Duration::from_millis(1100),
            burst: Duration::from_secs(5),
            refresh: Some(Duration::from_secs(60)),
        }
    }
}

#[derive(Debug)]
struct Entry {
    due: Option<Moment>,
    burst_ends: Moment,
}

/// The addresses and their next turn. Taking the next is O(log n).
#[derive(Debug)]
pub(super) struct Schedule {
    timing: Timing,
    jitter: Jitter,
    entries: HashMap<IpAddr, Entry>,
    queue: BTreeSet<(Moment, IpAddr)>,
}

impl Schedule {
    pub(super) fn new(timing: Timing, seed: u64) -> Self {
        Schedule { timing, jitter: Jitter::new(seed), entries: HashMap::new(), queue: BTreeSet::new() }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.entries.contains_key(&address)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.entries.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Starts the burst of an address, or starts it anew.
    pub(super) fn start(&mut self, address: IpAddr, now: Moment) {
        self.stop(address);
        self.entries.insert(address, Entry { due: Some(now), burst_ends: now + self.timing.burst });
        self.queue.insert((now, address));
    }

    /// Returns whether the address was there.
    pub(super) fn stop(&mut self, address: IpAddr) -> bool {
        let Some(entry) = self.entries.remove(&address) else { return false };
        if let Some(due) = entry.due {
            self.queue.remove(&(due, address));
        }
        true
    }

    /// Whether the address was taken, or said anew, so lately that its first announcements go on.
    pub(super) fn in_burst(&self, address: IpAddr, now: Moment) -> bool {
        self.entries.get(&address).is_some_and(|entry| now <= entry.burst_ends)
    }

    /// Takes one address whose turn has come, and plans its next.
    pub(super) fn next(&mut self, now: Moment) -> Option<IpAddr> {
        let &(due, address) = self.queue.first()?;
        if due > now {
            return None;
        }
        self.queue.pop_first();
        let entry = self.entries.get_mut(&address)?;
        // Counted from now, not from when it was due: after a stall one announcement is enough, not all that were missed.
        let repeat = now + self.timing.repeat;
        entry.due = if repeat <= entry.burst_ends {
            Some(repeat)
        } else {
            self.timing.refresh.map(|refresh| now + self.jitter.scale(refresh, 0.75, 1.25))
        };
        if let Some(due) = entry.due {
            self.queue.insert((due, address));
        }
        Some(address)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.queue.first().map(|&(due, _)| due)
    }
}
