//! Waiting for the limiter: the thin asynchronous rim around [`Limiter`].

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Bucket, Limiter, Priority, Ticket};

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

impl Default for Gate {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            state: Mutex::new(State { limiter: Limiter::new(Duration::ZERO), granted: HashSet::new() }),
            moved: Notify::new(),
        }
    }
}

/// One in line; whoever goes away leaves the line.
struct Place<'a> {
    gate: &'a Gate,
    buckets: &'static [Bucket],
    priority: Priority,
    ticket: Ticket,
}

/// Leave to make one call; given back when the call is answered, or is not made.
#[derive(Debug)]
#[must_use]
pub struct Passage<'a> {
    gate: &'a Gate,
    buckets: &'static [Bucket],
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let now = self.gate.now();
        self.gate.lock().limiter.answered(self.buckets, now);
        self.gate.moved.notify_waiters();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let now = self.gate.now();
        let mut state = self.gate.lock();
        state.limiter.cancel(self.priority, self.ticket);
        if state.granted.remove(&self.ticket) {
            state.limiter.answered(self.buckets, now);
        }
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// All buckets are empty again: somebody else may have used them up.
    pub fn restart(&self) {
        let now = self.now();
        self.lock().limiter = Limiter::new(now);
        self.moved.notify_waiters();
    }

    /// Waits until a call may be made.
    ///
    /// # Errors
    /// It would take longer than `patience`: the time after which to try again.
    pub async fn pass(
        &self,
        buckets: &'static [Bucket],
        priority: Priority,
        patience: Duration,
    ) -> Result<Passage<'_>, Duration> {
        let ticket = self.lock().limiter.enqueue(priority, buckets);
        let place = Place { gate: self, buckets, priority, ticket };
        let until = self.now() + patience;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Before looking, so that nothing that happens meanwhile is missed.
            moved.as_mut().enable();
            let now = self.now();
            let (others, wake) = {
                let mut state = self.lock();
                let granted = state.limiter.grant(now);
                let others = granted.iter().any(|t| *t != ticket);
                state.granted.extend(granted);
                if state.granted.remove(&ticket) {
                    drop(state);
                    if others {
                        self.moved.notify_waiters();
                    }
                    drop(place);
                    return Ok(Passage { gate: self, buckets });
                }
                let expected = state.limiter.expected(priority, ticket);
                if now + expected > until {
                    drop(state);
                    if others {
                        self.moved.notify_waiters();
                    }
                    return Err(expected);
                }
                (others, state.limiter.next_grant(now))
            };
            if others {
                self.moved.notify_waiters();
            }
            let wake = wake.unwrap_or(now + patience);
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep(wake.saturating_sub(now)) => {}
            }
        }
    }

    /// AWS refused a call that took from these buckets.
    pub fn refused(&self, buckets: &[Bucket]) {
        let now = self.now();
        self.lock().limiter.refused(buckets, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const WRITE: &[Bucket] = &[Bucket::ElbRegistration];

    #[tokio::test(start_paused = true)]
    async fn the_urgent_pass_first_and_the_impatient_are_told() {
        let gate = Arc::new(Gate::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for priority in [Priority::Audit, Priority::Create, Priority::Register, Priority::Deregister] {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            tasks.spawn(async move {
                let _passage =
                    gate.pass(WRITE, priority, Duration::from_secs(60)).await.expect("there is time");
                order.lock().expect("no panic").push(priority);
            });
        }
        tokio::task::yield_now().await;
        let told = gate.pass(WRITE, Priority::Audit, Duration::from_millis(10)).await;
        assert!(told.err().is_some_and(|wait| wait > Duration::from_millis(10)));
        while tasks.join_next().await.is_some() {}
        let order = order.lock().expect("no panic").clone();
        assert_eq!(order, [Priority::Deregister, Priority::Register, Priority::Create, Priority::Audit]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_pass_at_the_rate_and_whoever_gives_up_takes_nothing() {
        let gate = Arc::new(Gate::default());
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let gate = Arc::clone(&gate);
            tasks.spawn(async move {
                gate.pass(WRITE, Priority::Register, Duration::from_secs(60)).await.map(drop)
            });
        }
        let gone = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                gate.pass(WRITE, Priority::Deregister, Duration::from_secs(60)).await.map(drop)
            })
        };
        gone.abort();
        while let Some(passed) = tasks.join_next().await {
            passed.expect("no panic").expect("there is time");
        }
        let seconds = began.elapsed().as_secs_f64();
        assert!((40.0 / 3.8..42.5 / 3.8).contains(&seconds), "{seconds}");
    }
}
