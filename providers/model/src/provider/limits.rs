//! Limits: how many of what there may be, which nodes are taken where not all may be, and how fast the cloud may be called. Pure.

use std::collections::BTreeMap;

use causeway_api::Limit;

use crate::cloud::{Bucket, Nodes, quota};

/// Quotas of the account by name.
pub type Quotas = BTreeMap<String, u64>;

/// The maximum of a quota; what the cloud did not name is what it documents.
#[must_use]
pub fn max(quotas: &Quotas, name: &str) -> u64 {
    let documented = quota::DEFAULTS.iter().find(|(n, _)| *n == name).map_or(u64::MAX, |(_, v)| *v);
    quotas.get(name).copied().unwrap_or(documented)
}

/// A limit as the linter sees it.
#[must_use]
pub fn limit(quotas: &Quotas, name: &str, after: usize) -> Limit {
    Limit { name: name.to_owned(), after: after as u64, max: max(quotas, name) }
}

/// At most `max` of the nodes, chosen by rendezvous hashing: a node more or less moves at most one other, and each load
/// balancer (`seed`) takes others.
#[must_use]
pub fn subset(nodes: &Nodes, max: usize, seed: &str) -> Nodes {
    if nodes.len() <= max {
        return nodes.clone();
    }
    let mut scored: Vec<_> = nodes.iter().map(|n| (score(seed, &n.to_string()), n)).collect();
    scored.sort_unstable();
    scored.into_iter().take(max).map(|(_, n)| n).collect()
}

/// FNV-1a, 64 bits, with a last mix so that neighbouring addresses part.
fn score(seed: &str, node: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seed.bytes().chain([0]).chain(node.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// How urgent a call is: the less urgent leave tokens for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Taking targets away: traffic may be going to a node that leaves.
    Deregister,
    /// Adding targets.
    Register,
    /// Everything else that changes something, or is read for it.
    Create,
    /// Looking whether anything changed.
    Audit,
}

/// Our own limiter for the cloud's bucket, at 95 % of its rate, so that the cloud never has to refuse.
#[derive(Debug)]
pub struct Limiter {
    bucket: Option<Bucket>,
    /// Thousandths of a token, and since when.
    level: Option<(u64, u64)>,
}

impl Limiter {
    /// A limiter for this bucket; without one everything may go.
    #[must_use]
    pub fn new(bucket: Option<Bucket>) -> Self {
        Self { bucket, level: None }
    }

    /// Takes a token, at this time in milliseconds.
    ///
    /// # Errors
    /// The milliseconds after which there will be one.
    pub fn take(&mut self, now: u64, priority: Priority) -> Result<(), u64> {
        let Some(bucket) = self.bucket else { return Ok(()) };
        let full = u64::from(bucket.burst.max(1)) * 1000;
        // 95 % of the rate, in thousandths of a token per 1,000 ms; the bucket begins empty but for one token: whoever led before
        // may have used it up a moment ago.
        let rate = (u64::from(bucket.per_second) * 950).max(1);
        let (level, since) = self.level.unwrap_or((1000, now));
        let level = full.min(level + now.saturating_sub(since).saturating_mul(rate) / 1000);
        self.level = Some((level, now));
        let reserve = match priority {
            Priority::Deregister => 0,
            Priority::Register => full / 20,
            Priority::Create => full / 10,
            Priority::Audit => full / 5,
        };
        // A reserve must leave every call a chance, however small the bucket is.
        let needed = 1000 + reserve.min(full - 1000);
        if level < needed {
            return Err(((needed - level) * 1000).div_ceil(rate).max(1));
        }
        self.level = Some((level - 1000, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn nodes(n: u8) -> Nodes {
        (0..n).map(|i| IpAddr::from([10, 0, 0, i])).collect()
    }

    #[test]
    fn a_subset_moves_little_when_a_node_comes() {
        let (before, after) = (subset(&nodes(100), 30, "lb"), subset(&nodes(101), 30, "lb"));
        assert_eq!((before.len(), after.len()), (30, 30));
        assert!(after.minus(&before).len() <= 1);
        assert_ne!(before, subset(&nodes(100), 30, "other"));
        assert_eq!(subset(&nodes(10), 30, "lb"), nodes(10));
    }

    #[test]
    fn the_rate_is_kept_and_urgent_calls_go_first() {
        let mut limiter = Limiter::new(Some(Bucket { per_second: 10, burst: 20 }));
        let sent = |limiter: &mut Limiter, priority, range: std::ops::Range<u64>| {
            range.filter(|now| limiter.take(*now, priority).is_ok()).count()
        };
        let first = sent(&mut limiter, Priority::Deregister, 0..10_000);
        assert!((90..=97).contains(&first), "{first}");
        let mut full = Limiter::new(Some(Bucket { per_second: 10, burst: 20 }));
        let _ = full.take(0, Priority::Deregister);
        let at_once =
            |full: &mut Limiter, priority| (0..100).filter(|_| full.take(10_000, priority).is_ok()).count();
        let audits = at_once(&mut full, Priority::Audit);
        let creates = at_once(&mut full, Priority::Create);
        let rest = at_once(&mut full, Priority::Deregister);
        assert_eq!((audits + creates + rest, audits, creates), (20, 16, 2));
    }

    #[test]
    fn a_bucket_of_one_serves_everybody() {
        let mut limiter = Limiter::new(Some(Bucket { per_second: 1, burst: 1 }));
        for priority in [Priority::Audit, Priority::Create, Priority::Deregister] {
            let mut now = 0;
            while let Err(wait) = limiter.take(now, priority) {
                now += wait;
                assert!(now < 10_000);
            }
        }
    }
}
