//! The brake on deleting: a bug, an empty list or a wrong `--cluster-id` must not take every load balancer away. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(3600);

/// Counts deletions of orphans in the last hour.
#[derive(Debug, Default)]
pub struct DeletionGuard {
    recent: VecDeque<Duration>,
    /// `--confirm-mass-delete`: the user has looked and says yes.
    confirmed: bool,
}

impl DeletionGuard {
    /// A guard; a confirmed one lets everything pass.
    #[must_use]
    pub fn new(confirmed: bool) -> Self {
        Self { confirmed, ..Self::default() }
    }

    /// May one more of `total` load balancers be deleted now? If so it is counted.
    pub fn allow(&mut self, total: usize, now: Duration) -> bool {
        while self.recent.front().is_some_and(|at| *at + WINDOW <= now) {
            self.recent.pop_front();
        }
        let limit = (total / 10).max(3);
        if !self.confirmed && self.recent.len() >= limit {
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

/// How long each orphan has been seen without a break.
#[derive(Debug, Default)]
pub struct OrphanWatch {
    since: HashMap<String, Duration>,
}

impl OrphanWatch {
    /// Takes the owner tags that nobody wants now, and gives those that have been so for at least `grace`.
    pub fn ripe(&mut self, orphans: &[String], grace: Duration, now: Duration) -> Vec<String> {
        self.since.retain(|tag, _| orphans.contains(tag));
        let mut ripe: Vec<String> = Vec::new();
        for tag in orphans {
            let since = *self.since.entry(tag.clone()).or_insert(now);
            if now >= since + grace {
                ripe.push(tag.clone());
            }
        }
        ripe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: fn(u64) -> Duration = |m| Duration::from_secs(60 * m);

    #[test]
    fn three_or_a_tenth_per_hour() {
        let mut guard = DeletionGuard::default();
        assert_eq!((0..10).filter(|_| guard.allow(5, MIN(0))).count(), 3);
        assert!(!guard.allow(5, MIN(59)));
        assert!(guard.allow(5, MIN(60)));
        let mut guard = DeletionGuard::default();
        assert_eq!((0..1000).filter(|_| guard.allow(500, MIN(0))).count(), 50);
        let mut guard = DeletionGuard::new(true);
        assert_eq!((0..1000).filter(|_| guard.allow(500, MIN(0))).count(), 1000);
    }

    #[test]
    fn an_orphan_ripens_only_without_a_break() {
        let mut watch = OrphanWatch::default();
        let (a, b) = ("service/a".to_owned(), "service/b".to_owned());
        assert!(watch.ripe(&[a.clone(), b.clone()], MIN(10), MIN(0)).is_empty());
        assert!(watch.ripe(std::slice::from_ref(&b), MIN(10), MIN(5)).is_empty());
        assert_eq!(watch.ripe(&[a.clone(), b.clone()], MIN(10), MIN(10)), [b]);
        assert_eq!(watch.ripe(std::slice::from_ref(&a), MIN(10), MIN(20)), [a]);
    }
}
