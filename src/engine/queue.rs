//! The work queue: keyed, deduplicating, one in flight per key. Sans-IO: time comes in as an argument, measured from any
//! fixed start; [`crate::engine`]'s workers own clock and wake-ups.
//!
//! Rules:
//! - A user's change is due at once and goes ahead of everything else.
//! - Node changes wait for a quiet period, at most the maximum wait; and a key that was synced for nodes less than the
//!   maximum wait ago waits until that has passed, so that nodes that trickle in cost one sync per maximum wait, while the
//!   first one is served at once.
//! - A failed key waits exponentially longer, with jitter; a user's change ends the wait.
//! - A key that becomes dirty while it is in flight runs again afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Why a key is dirty, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An object of the load balancer changed, or its status was edited.
    User,
    /// Endpoints changed.
    Endpoints,
    /// What decisions depend on besides changed: pools, classes, inventory; or an address became free.
    Facts,
    /// The cloud said "not yet" or an error said "again".
    Retry,
    /// The set of nodes changed.
    Nodes,
    /// Drift was seen, or the slow resync came round.
    Resync,
}

impl Cause {
    /// All causes, most urgent first.
    pub const ALL: [Self; 6] =
        [Self::User, Self::Endpoints, Self::Facts, Self::Retry, Self::Nodes, Self::Resync];

    /// As a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Endpoints => "endpoints",
            Self::Facts => "facts",
            Self::Retry => "retry",
            Self::Nodes => "nodes",
            Self::Resync => "resync",
        }
    }
}

/// Settings of a [`Queue`].
#[derive(Clone, Copy, Debug)]
pub struct QueueConfig {
    /// Node changes wait until none came for this long.
    pub node_quiet: Duration,
    /// … but not longer than this.
    pub node_max_wait: Duration,
    /// First backoff after an error.
    pub backoff_min: Duration,
    /// Longest backoff.
    pub backoff_max: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            node_quiet: Duration::from_millis(500),
            node_max_wait: Duration::from_secs(5),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}

/// How a run of a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As wanted.
    Done,
    /// Look again after this time; not an error.
    After(Duration),
    /// Failed: exponential backoff.
    Backoff,
    /// The user must act: long backoff (a user's change ends it).
    Invalid,
}

#[derive(Debug, Default)]
struct Entry {
    /// When the pending run is due, and why; `None`: not pending.
    pending: Option<(Duration, Cause)>,
    /// When the oldest node change of the pending run arrived.
    nodes_since: Option<Duration>,
    running: bool,
    failures: u32,
    /// When the key was last run for nodes.
    nodes_ran: Option<Duration>,
}

/// The queue. `now` must not go backwards.
#[derive(Debug)]
pub struct Queue<K> {
    config: QueueConfig,
    entries: HashMap<K, Entry>,
    /// Due keys by urgency, then by due time.
    ready: BTreeMap<Cause, BTreeSet<(Duration, K)>>,
    /// Keys that are not due yet.
    delayed: BTreeSet<(Duration, K)>,
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// An empty queue.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        Self { config, entries: HashMap::new(), ready: BTreeMap::new(), delayed: BTreeSet::new() }
    }

    /// The key is dirty.
    pub fn push(&mut self, key: &K, cause: Cause, now: Duration) {
        let entry = self.entries.entry(key.clone()).or_default();
        let due = match cause {
            Cause::Nodes => {
                let since = *entry.nodes_since.get_or_insert(now);
                let quiet = (now + self.config.node_quiet).min(since + self.config.node_max_wait);
                entry.nodes_ran.map_or(quiet, |ran| quiet.max(ran + self.config.node_max_wait))
            }
            _ => now,
        };
        let (due, cause) = match entry.pending {
            None => (due, cause),
            // A failed key that waits stays waiting, unless the user or the facts changed.
            Some((at, Cause::Retry)) if cause >= Cause::Nodes => (at, Cause::Retry),
            // Node changes that follow one another move the quiet period; everything else only makes it sooner.
            Some((_, Cause::Nodes)) if cause == Cause::Nodes => (due, Cause::Nodes),
            Some((at, old)) => (at.min(due), old.min(cause)),
        };
        self.set_pending(key, due, cause);
    }

    /// Takes the most urgent due key that is not in flight.
    pub fn pop(&mut self, now: Duration) -> Option<(K, Cause)> {
        while let Some((due, _)) = self.delayed.first() {
            if *due > now {
                break;
            }
            let (due, key) = self.delayed.pop_first()?;
            let cause =
                self.entries.get(&key).and_then(|e| e.pending).map_or(Cause::Resync, |(_, cause)| cause);
            self.ready.entry(cause).or_default().insert((due, key));
        }
        let cause = *self.ready.iter().find(|(_, keys)| !keys.is_empty())?.0;
        let (_, key) = self.ready.get_mut(&cause)?.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        entry.pending = None;
        if entry.nodes_since.take().is_some() {
            entry.nodes_ran = Some(now);
        }
        entry.running = true;
        Some((key, cause))
    }

    /// The run of a popped key ended.
    pub fn done(&mut self, key: &K, verdict: Verdict, now: Duration) {
        let config = self.config;
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.running = false;
        let wait = match verdict {
            Verdict::Done => {
                entry.failures = 0;
                None
            }
            Verdict::After(wait) => {
                entry.failures = 0;
                Some(wait)
            }
            Verdict::Backoff => {
                entry.failures = entry.failures.saturating_add(1);
                Some(jittered(key, entry.failures, backoff(config, entry.failures)))
            }
            Verdict::Invalid => {
                entry.failures = entry.failures.saturating_add(1);
                Some(jittered(key, entry.failures, config.backoff_max))
            }
        };
        match (entry.pending, wait) {
            // Dirty meanwhile: that run is already in its place, but was held back while this one was in flight.
            (Some((due, cause)), _) => self.set_pending(key, due, cause),
            (None, Some(wait)) => self.set_pending(key, now + wait, Cause::Retry),
            (None, None) => {
                // Remember when it ran for nodes only as long as that matters.
                if entry.nodes_ran.is_none_or(|ran| ran + config.node_max_wait <= now) {
                    self.entries.remove(key);
                }
            }
        }
    }

    /// Forgets a key that is not in flight.
    pub fn forget(&mut self, key: &K) {
        if self.entries.get(key).is_some_and(|e| !e.running) {
            self.unlink(key);
            self.entries.remove(key);
        }
    }

    /// When [`pop`](Self::pop) may next give a key: now (zero) if one is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        if self.ready.values().any(|keys| !keys.is_empty()) {
            return Some(Duration::ZERO);
        }
        self.delayed.first().map(|(due, _)| *due)
    }

    /// Keys that wait or are due, and keys in flight.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        let running = self.entries.values().filter(|e| e.running).count();
        (self.entries.values().filter(|e| e.pending.is_some()).count(), running)
    }

    /// Whether nothing is due or in flight (keys may still wait for a later time).
    #[must_use]
    pub fn is_idle(&self, now: Duration) -> bool {
        self.next_due().is_none_or(|due| due > now) && self.entries.values().all(|e| !e.running)
    }

    fn unlink(&mut self, key: &K) {
        if let Some((due, cause)) = self.entries.get(key).and_then(|e| e.pending) {
            let item = (due, key.clone());
            self.delayed.remove(&item);
            if let Some(keys) = self.ready.get_mut(&cause) {
                keys.remove(&item);
            }
        }
    }

    fn set_pending(&mut self, key: &K, due: Duration, cause: Cause) {
        self.unlink(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.pending = Some((due, cause));
        if !entry.running {
            self.delayed.insert((due, key.clone()));
        }
    }
}

fn backoff(config: QueueConfig, failures: u32) -> Duration {
    config.backoff_min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(config.backoff_max)
}

/// 75 % to 125 % of the wait, by key and attempt: spread without a random source.
fn jittered<K: Hash>(key: &K, attempt: u32, wait: Duration) -> Duration {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    (key, attempt).hash(&mut hasher);
    let per_mille = 750 + u32::try_from(hasher.finish() % 501).unwrap_or(0);
    wait * per_mille / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn queue() -> Queue<&'static str> {
        Queue::new(QueueConfig::default())
    }

    #[test]
    fn one_in_flight_and_dirty_meanwhile_runs_again() {
        let mut q = queue();
        q.push(&"a", Cause::User, MS(0));
        q.push(&"a", Cause::User, MS(0));
        assert_eq!(q.pop(MS(0)), Some(("a", Cause::User)));
        q.push(&"a", Cause::User, MS(1));
        assert_eq!(q.pop(MS(1)), None, "in flight");
        q.done(&"a", Verdict::Done, MS(2));
        assert_eq!(q.pop(MS(2)), Some(("a", Cause::User)));
        q.done(&"a", Verdict::Done, MS(3));
        assert_eq!(q.pop(MS(1000)), None);
        assert_eq!(q.depth(), (0, 0));
    }

    #[test]
    fn users_go_ahead_of_a_restart() {
        let mut q = queue();
        for key in ["a", "b", "c"] {
            q.push(&key, Cause::Resync, MS(0));
        }
        q.push(&"z", Cause::User, MS(5));
        assert_eq!(q.pop(MS(5)), Some(("z", Cause::User)));
        q.push(&"c", Cause::User, MS(6));
        assert_eq!(q.pop(MS(6)), Some(("c", Cause::User)));
        assert_eq!(q.pop(MS(6)), Some(("a", Cause::Resync)));
    }

    #[test]
    fn nodes_wait_for_quiet_but_not_for_ever() {
        let mut q = queue();
        q.push(&"a", Cause::Nodes, MS(0));
        q.push(&"a", Cause::Nodes, MS(400));
        assert_eq!(q.pop(MS(500)), None, "quiet period moved");
        assert_eq!(q.next_due(), Some(MS(900)));
        for t in (800..5000).step_by(400) {
            q.push(&"a", Cause::Nodes, MS(t));
            assert_eq!(q.pop(MS(t)), None, "{t}");
        }
        assert_eq!(q.pop(MS(5000)), Some(("a", Cause::Nodes)));
    }

    #[test]
    fn ten_nodes_one_per_second_cost_three_runs() {
        let mut q = queue();
        let mut runs = 0;
        for t in 0..20_000 {
            if t % 1000 == 0 && t < 10_000 {
                q.push(&"a", Cause::Nodes, MS(t));
            }
            if q.pop(MS(t)).is_some() {
                runs += 1;
                q.done(&"a", Verdict::Done, MS(t + 60));
            }
        }
        assert_eq!(runs, 3);
    }

    #[test]
    fn a_user_change_does_not_wait_for_nodes() {
        let mut q = queue();
        q.push(&"a", Cause::Nodes, MS(0));
        q.push(&"a", Cause::User, MS(10));
        assert_eq!(q.pop(MS(10)), Some(("a", Cause::User)));
        q.done(&"a", Verdict::Done, MS(20));
        assert_eq!(q.pop(MS(10_000)), None, "the node change was served by that run");
    }

    #[test]
    fn errors_back_off_and_a_user_change_ends_the_wait() {
        let mut q = queue();
        q.push(&"a", Cause::User, MS(0));
        let mut now = MS(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let (key, _) = q.pop(now).expect("due");
            q.done(&key, Verdict::Backoff, now);
            let due = q.next_due().expect("waits");
            waits.push(due - now);
            now = due;
        }
        assert!(waits[0] >= MS(750) && waits[0] <= MS(1250), "{waits:?}");
        assert!(waits[3] > waits[0] * 4, "{waits:?}");
        assert!(waits[11] <= MS(375_000), "{waits:?}");
        let (key, _) = q.pop(now).expect("due");
        q.done(&key, Verdict::Backoff, now);
        q.push(&"a", Cause::Nodes, now);
        assert_eq!(q.pop(now + MS(6000)), None, "a node change does not end a backoff");
        q.push(&"a", Cause::User, now + MS(6000));
        assert!(q.pop(now + MS(6000)).is_some());
    }

    #[test]
    fn pending_operations_are_looked_at_again_in_time() {
        let mut q = queue();
        q.push(&"a", Cause::User, MS(0));
        q.pop(MS(0));
        q.done(&"a", Verdict::After(MS(700)), MS(100));
        assert_eq!(q.pop(MS(799)), None);
        assert_eq!(q.pop(MS(800)), Some(("a", Cause::Retry)));
    }
}
