//! How fast AWS may be called: one token bucket per documented bucket, at 95 % of its rate, shared by all that call. [`Limiter`] is a pure state machine with
//! time as an argument; [`gate`] lets callers wait for it.
//!
//! - A limiter starts empty: whoever led before may have used the real bucket up a moment ago. So at no time have more tokens been given out than the real
//!   bucket could have given since then, whatever it held.
//! - A call that is on its way may take its token from the real bucket now or in a while: until it is answered, that token does not come back. Else calls
//!   that were held up somewhere would arrive together with those that the tokens of that time let pass.
//! - Those who wait are served by [`Priority`], then in the order in which they came. One who waits for a bucket does not stop those who need other ones.
//! - A call of little urgency leaves a few tokens in each bucket for those of more.
//! - Should AWS refuse nevertheless (others use the account too), the rate of the buckets concerned halves, and comes back slowly: additive increase,
//!   multiplicative decrease.

pub mod buckets;
pub mod gate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use buckets::Bucket;
pub use gate::Gate;

/// Share of the documented rate and burst that is used.
const SHARE: f64 = 0.95;
/// The lowest share of that which refusals leave.
const LEAST: f64 = 0.1;
/// What of it comes back in a second.
const RECOVERY: f64 = 0.01;
/// Refusals within this time of another are the same.
const SAME: Duration = Duration::from_secs(2);

/// In about this time a call is answered.
const ANSWER: Duration = Duration::from_millis(100);

/// How urgent a call is; the first is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Takes targets away: they may get traffic and be gone.
    Deregister,
    /// Adds targets.
    Register,
    /// Everything else that a user waits for.
    Create,
    /// Looking whether anything changed.
    Audit,
}

impl Priority {
    /// Share of a bucket that is left to the more urgent.
    fn reserve(self) -> f64 {
        match self {
            Self::Deregister => 0.0,
            Self::Register => 0.05,
            Self::Create => 0.1,
            Self::Audit => 0.25,
        }
    }
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

#[derive(Clone, Copy, Debug)]
struct Level {
    capacity: f64,
    rate: f64,
    tokens: f64,
    /// Calls on their way; they and the tokens together are never more than the capacity.
    underway: f64,
    since: Duration,
    /// Share of the rate that refusals left.
    share: f64,
    refused: Option<Duration>,
    /// Whether calls of different urgency take from it.
    contested: bool,
}

impl Level {
    fn new(bucket: Bucket, now: Duration) -> Self {
        let (burst, rate) = bucket.documented();
        let capacity = (f64::from(burst) * SHARE).max(1.0);
        let (rate, contested) = (rate * SHARE, bucket.contested());
        Self { capacity, rate, tokens: 0.0, underway: 0.0, since: now, share: 1.0, refused: None, contested }
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since).as_secs_f64();
        // The share grows meanwhile; that of the beginning errs on the safe side.
        let room = (self.capacity - self.underway).max(0.0);
        self.tokens = (self.tokens + passed * self.rate * self.share).min(room);
        self.share = (self.share + passed * RECOVERY).min(1.0);
        self.since = self.since.max(now);
    }

    /// Tokens that must be there for a call. A bucket is never reserved so far that nobody is left a token.
    fn needed(&self, priority: Priority) -> f64 {
        if !self.contested {
            return 1.0;
        }
        1.0 + (self.capacity * priority.reserve()).min(self.capacity - 1.0)
    }

    fn wait(&self, priority: Priority, ahead: f64) -> Duration {
        let needed = self.needed(priority);
        let lacking = needed + ahead - self.tokens;
        if lacking <= 0.0 {
            return Duration::ZERO;
        }
        if needed > self.capacity - self.underway {
            // Nothing comes but by an answer, which is told; this is for the line behind it.
            return ANSWER.max(Duration::from_secs_f64(lacking / (self.rate * self.share)));
        }
        Duration::from_secs_f64(lacking / (self.rate * self.share)) + Duration::from_millis(1)
    }
}

/// All buckets, and who waits for them.
#[derive(Debug)]
pub struct Limiter {
    levels: BTreeMap<Bucket, Level>,
    waiting: BTreeMap<(Priority, Ticket), &'static [Bucket]>,
    next: u64,
}

impl Limiter {
    /// Empty buckets.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            levels: Bucket::ALL.into_iter().map(|b| (b, Level::new(b, now))).collect(),
            waiting: BTreeMap::new(),
            next: 0,
        }
    }

    /// Gets in line for one token of each of these buckets.
    pub fn enqueue(&mut self, priority: Priority, buckets: &'static [Bucket]) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.waiting.insert((priority, ticket), buckets);
        ticket
    }

    /// Leaves the line.
    pub fn cancel(&mut self, priority: Priority, ticket: Ticket) {
        self.waiting.remove(&(priority, ticket));
    }

    /// Who may call now: they left the line, and their tokens are taken.
    pub fn grant(&mut self, now: Duration) -> Vec<Ticket> {
        self.levels.values_mut().for_each(|level| level.advance(now));
        // A bucket that somebody more urgent waits for is not emptied by those behind.
        let mut awaited: BTreeSet<Bucket> = BTreeSet::new();
        let mut granted = Vec::new();
        let levels = &mut self.levels;
        self.waiting.retain(|(priority, ticket), buckets| {
            let free = |b: &Bucket| {
                !awaited.contains(b) && levels.get(b).is_some_and(|l| l.tokens >= l.needed(*priority))
            };
            if buckets.iter().all(free) {
                for bucket in *buckets {
                    if let Some(level) = levels.get_mut(bucket) {
                        level.tokens -= 1.0;
                        level.underway += 1.0;
                    }
                }
                granted.push(*ticket);
                return false;
            }
            // Whoever lacks only one of two does not keep others from the other one: no call waits for nothing.
            awaited.extend(
                buckets.iter().filter(|b| levels.get(b).is_some_and(|l| l.tokens < l.needed(*priority))),
            );
            true
        });
        granted
    }

    /// A call that was let pass has been answered, or will never be made.
    pub fn answered(&mut self, buckets: &[Bucket], now: Duration) {
        for bucket in buckets {
            let Some(level) = self.levels.get_mut(bucket) else { continue };
            level.advance(now);
            level.underway = (level.underway - 1.0).max(0.0);
        }
    }

    /// When the first of those who wait may call, if nobody comes before; `None`: nobody waits.
    #[must_use]
    pub fn next_grant(&self, now: Duration) -> Option<Duration> {
        let soonest = self.waiting.iter().map(|((priority, _), buckets)| {
            let wait = buckets.iter().filter_map(|b| self.levels.get(b)).map(|l| l.wait(*priority, 0.0));
            wait.max().unwrap_or_default()
        });
        soonest.min().map(|wait| now + wait.max(Duration::from_millis(1)))
    }

    /// How long one in line will wait, going by those ahead.
    #[must_use]
    pub fn expected(&self, priority: Priority, ticket: Ticket) -> Duration {
        let key = (priority, ticket);
        let Some(buckets) = self.waiting.get(&key) else { return Duration::ZERO };
        let wait = buckets.iter().filter_map(|bucket| {
            let ahead = self.waiting.range(..key).filter(|(_, b)| b.contains(bucket)).count();
            let ahead = f64::from(u32::try_from(ahead).unwrap_or(u32::MAX));
            Some(self.levels.get(bucket)?.wait(priority, ahead))
        });
        wait.max().unwrap_or_default()
    }

    /// AWS refused a call that took from these buckets.
    pub fn refused(&mut self, buckets: &[Bucket], now: Duration) {
        for bucket in buckets {
            let Some(level) = self.levels.get_mut(bucket) else { continue };
            level.advance(now);
            level.tokens = 0.0;
            if level.refused.is_none_or(|last| now.saturating_sub(last) >= SAME) {
                level.share = (level.share / 2.0).max(LEAST);
                level.refused = Some(now);
            }
        }
    }

    /// Share of the full rate at which a bucket is used now: 1 unless AWS refused.
    #[must_use]
    pub fn share(&self, bucket: Bucket) -> f64 {
        self.levels.get(&bucket).map_or(1.0, |l| l.share)
    }
}
