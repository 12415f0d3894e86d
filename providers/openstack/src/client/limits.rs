//! How fast a service may be called: a token bucket for each, shared by all that call. [`Limiter`] is a pure state machine with time as an argument; [`Gate`] lets
//! callers wait for it.
//!
//! OpenStack documents no rates: operators put a limiter in front, or none. So the rate is a setting, and what matters is what happens after a 429:
//!
//! - nobody calls before the time that the service named, and the rate halves; it comes back slowly (additive increase, multiplicative decrease);
//! - a limiter starts empty: whoever led before may have used the rate up a moment ago;
//! - those who wait are served by [`Priority`], then in the order in which they came, and a call of little urgency leaves a few tokens for those of more.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::Priority;

/// The lowest share of the rate that refusals leave.
const LEAST: f64 = 0.05;
/// What of it comes back in a second.
const RECOVERY: f64 = 0.01;
/// Refusals within this time of another are the same.
const SAME: Duration = Duration::from_secs(2);
/// Longest time that a service may shut us out for at once.
const LONGEST: Duration = Duration::from_secs(300);

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second.
    pub per_second: f64,
    /// Calls at once.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: 20.0, burst: 40 }
    }
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// One bucket, and who waits for it.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    tokens: f64,
    since: Duration,
    share: f64,
    refused: Option<Duration>,
    shut_until: Duration,
    waiting: BTreeSet<(Priority, Ticket)>,
    next: u64,
}

impl Limiter {
    /// An empty bucket.
    #[must_use]
    pub fn new(rate: Rate, now: Duration) -> Self {
        let rate = Rate { per_second: rate.per_second.max(0.01), burst: rate.burst.max(1) };
        Self {
            rate,
            tokens: 0.0,
            since: now,
            share: 1.0,
            refused: None,
            shut_until: now,
            waiting: BTreeSet::new(),
            next: 0,
        }
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since.max(self.shut_until)).as_secs_f64();
        // The share grows meanwhile; that of the beginning errs on the safe side.
        self.tokens =
            (self.tokens + passed * self.rate.per_second * self.share).min(f64::from(self.rate.burst));
        self.share = (self.share + passed * RECOVERY).min(1.0);
        self.since = self.since.max(now);
    }

    /// Tokens that must be there for a call. Never so many that nobody is left one.
    fn needed(&self, priority: Priority) -> f64 {
        let reserve = match priority {
            Priority::Members => 0.0,
            Priority::Change => 0.05,
            Priority::Audit => 0.25,
        };
        let burst = f64::from(self.rate.burst);
        1.0 + (burst * reserve).min(burst - 1.0)
    }

    fn wait(&self, priority: Priority, ahead: f64, now: Duration) -> Duration {
        let shut = self.shut_until.saturating_sub(now);
        let lacking = self.needed(priority) + ahead - self.tokens;
        if lacking <= 0.0 {
            return shut;
        }
        shut + Duration::from_secs_f64(lacking / (self.rate.per_second * self.share))
            + Duration::from_millis(1)
    }

    /// Gets in line.
    pub fn enqueue(&mut self, priority: Priority) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.waiting.insert((priority, ticket));
        ticket
    }

    /// Leaves the line.
    pub fn cancel(&mut self, priority: Priority, ticket: Ticket) {
        self.waiting.remove(&(priority, ticket));
    }

    /// Who may call now: they left the line, and their tokens are taken.
    pub fn grant(&mut self, now: Duration) -> Vec<Ticket> {
        self.advance(now);
        let mut granted = Vec::new();
        while now >= self.shut_until {
            let Some(first) = self.waiting.first().copied() else { break };
            // Those behind are no more urgent, and need no fewer.
            if self.tokens < self.needed(first.0) {
                break;
            }
            self.tokens -= 1.0;
            self.waiting.remove(&first);
            granted.push(first.1);
        }
        granted
    }

    /// When the first in line may call, if nobody comes before; `None`: nobody waits.
    #[must_use]
    pub fn next_grant(&self, now: Duration) -> Option<Duration> {
        let (priority, _) = self.waiting.first()?;
        Some(now + self.wait(*priority, 0.0, now).max(Duration::from_millis(1)))
    }

    /// How long one in line will wait, going by those ahead.
    #[must_use]
    pub fn expected(&self, priority: Priority, ticket: Ticket, now: Duration) -> Duration {
        if !self.waiting.contains(&(priority, ticket)) {
            return Duration::ZERO;
        }
        let ahead = self.waiting.range(..(priority, ticket)).count();
        self.wait(priority, f64::from(u32::try_from(ahead).unwrap_or(u32::MAX)), now)
    }

    /// The service refused a call as one too many; `after`: when it says to come again.
    pub fn refused(&mut self, after: Option<Duration>, now: Duration) {
        self.advance(now);
        self.tokens = 0.0;
        if let Some(after) = after {
            self.shut_until = self.shut_until.max(now + after.min(LONGEST));
        }
        if self.refused.is_none_or(|last| now.saturating_sub(last) >= SAME) {
            self.share = (self.share / 2.0).max(LEAST);
            self.refused = Some(now);
        }
    }

    /// Share of the full rate that is used now: 1 unless calls were refused.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.share
    }
}

/// The limiter, shared.
#[derive(Debug)]
pub struct Gate {
    epoch: Instant,
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    /// Granted, and not told yet.
    granted: HashSet<Ticket>,
}

/// One in line; whoever goes away leaves the line.
struct Place<'a> {
    gate: &'a Gate,
    priority: Priority,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.limiter.cancel(self.priority, self.ticket);
        state.granted.remove(&self.ticket);
    }
}

impl Gate {
    /// An empty bucket of this rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let limiter = Limiter::new(rate, Duration::ZERO);
        Self {
            epoch: Instant::now(),
            state: Mutex::new(State { limiter, granted: HashSet::new() }),
            moved: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of it leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The bucket is empty again: somebody else may have used it up.
    pub fn restart(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.limiter.advance(now);
        state.limiter.tokens = 0.0;
    }

    /// Waits until a call may be made.
    ///
    /// # Errors
    /// It would take longer than `patience`: the time after which to try again.
    pub async fn pass(&self, priority: Priority, patience: Duration) -> Result<(), Duration> {
        let ticket = self.lock().limiter.enqueue(priority);
        let place = Place { gate: self, priority, ticket };
        let until = self.now() + patience;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Before looking, so that nothing that happens meanwhile is missed.
            moved.as_mut().enable();
            let now = self.now();
            let (wake, done, others) = {
                let mut state = self.lock();
                let granted = state.limiter.grant(now);
                let others = granted.iter().any(|t| *t != ticket);
                state.granted.extend(granted);
                let done = if state.granted.remove(&ticket) {
                    Some(Ok(()))
                } else {
                    let expected = state.limiter.expected(priority, ticket, now);
                    (now + expected > until).then_some(Err(expected))
                };
                (state.limiter.next_grant(now), done, others)
            };
            if others {
                self.moved.notify_waiters();
            }
            if let Some(done) = done {
                drop(place);
                return done;
            }
            let wake = wake.unwrap_or(until);
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep(wake.saturating_sub(now)) => {}
            }
        }
    }

    /// The service refused a call as one too many.
    pub fn refused(&self, after: Option<Duration>) {
        let now = self.now();
        self.lock().limiter.refused(after, now);
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod unit;
