//! Leader election as a state machine: what was seen of the Lease and the time in, what to do next out. Pure.
//!
//! Rules, and why:
//! - Every write holds the resourceVersion that was read: of two candidates that see the same expired Lease one gets 409.
//! - Expiry is judged by the candidate's own clock, from the moment it *saw* a change (as client-go does); wall clocks, and the
//!   times inside the Lease, decide nothing.
//! - The holder counts from the moment it *sent* the last renewal that was accepted. Sent is before accepted is before seen, so
//!   the holder's expiry is never later than any candidate's.
//! - A write may start until expiry − D, where D is the longest that a write takes ([`Timing::write_deadline`]).
//! - Who takes over an *expired* Lease leads at once but writes only after D more: the clocks of two machines do not run
//!   equally fast, and a cloud may still work on what a dead process had sent. A *released* Lease was drained: no wait.
//! - A leader that could not renew within the renew deadline steps down by itself, before anybody can take over.
//! - A Lease that was deleted under a living holder counts like one that expires: a candidate that saw the holder waits it out.
//!   (One that never saw it cannot know of it; the holder steps down at its next renewal.)

use std::time::Duration;

/// A moment on a clock of this machine that counts suspend; only differences mean anything.
pub type Moment = Duration;

/// Time limits of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long an unrenewed Lease counts; whole seconds, for the Lease holds no fractions.
    pub lease_duration: Duration,
    /// How long a leader goes on without a renewal.
    pub renew_deadline: Duration,
    /// Time between renewals; candidates look four times as often, so that a released Lease is taken within 2 s.
    pub retry_period: Duration,
    /// D: longest time from the start of a write to its end, retries included.
    pub write_deadline: Duration,
}

impl Timing {
    /// Kubernetes' defaults: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn kubernetes(write_deadline: Duration) -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            write_deadline,
        }
    }

    /// Whether a leader with these limits is ever able to write.
    ///
    /// # Errors
    /// Which limit is in conflict with which, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.lease_duration < Duration::from_secs(1) || self.lease_duration.subsec_nanos() != 0 {
            return Err(format!(
                "lease duration {:?} must be whole seconds, at least 1 s",
                self.lease_duration
            ));
        }
        if self.renew_deadline >= self.lease_duration {
            return Err(format!(
                "renew deadline {:?} must be shorter than the lease duration {:?}",
                self.renew_deadline, self.lease_duration
            ));
        }
        if self.retry_period.is_zero() || self.retry_period >= self.renew_deadline {
            return Err(format!(
                "retry period {:?} must be shorter than the renew deadline {:?}",
                self.retry_period, self.renew_deadline
            ));
        }
        if self.write_deadline + 2 * self.retry_period >= self.lease_duration {
            return Err(format!(
                "lease duration {:?} must be longer than the provider's write deadline {:?} and two retry periods ({:?})",
                self.lease_duration, self.write_deadline, self.retry_period
            ));
        }
        Ok(())
    }
}

/// What counts of a Lease object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `spec.holderIdentity`; `None` if absent or empty: released.
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before this moment.
    Wait(Moment),
    /// Read the Lease.
    Read,
    /// Create the Lease with us as holder and this number of transitions.
    Create {
        /// `spec.leaseTransitions`.
        transitions: u32,
    },
    /// Replace the Lease of this resourceVersion with us as holder and this number of transitions.
    Hold {
        /// The precondition.
        version: String,
        /// `spec.leaseTransitions`.
        transitions: u32,
    },
    /// Replace the Lease of this resourceVersion without holder.
    Release {
        /// The precondition.
        version: String,
    },
    /// Nothing more to do, ever: released, or there was nothing to release.
    Finished,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The Lease as read, or as written.
    Lease(View),
    /// There is none.
    Absent,
    /// Somebody wrote in between (409), also on create.
    Conflict,
    /// No answer, or an error: it may have taken effect or not.
    Failed,
}

/// The time in which a leader may start writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Number of the leadership; grows with every takeover.
    pub epoch: u64,
    /// The former leader had released the Lease, or there was none.
    pub released: bool,
    /// First moment.
    pub not_before: Moment,
    /// Last moment.
    pub not_after: Moment,
}

impl Window {
    /// How long writes may still be started; zero: none may.
    #[must_use]
    pub fn remaining(&self, now: Moment) -> Duration {
        if now < self.not_before { Duration::ZERO } else { self.not_after.saturating_sub(now) }
    }
}

/// What we know of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Absent,
    Lease(View),
}

/// A leadership.
#[derive(Clone, Copy, Debug)]
struct Term {
    epoch: u64,
    released: bool,
    not_before: Moment,
    /// When the last accepted renewal was sent.
    renewed: Moment,
}

/// Another's Lease.
#[derive(Clone, Debug)]
struct Other {
    version: String,
    /// When it ends by our clock.
    end: Moment,
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    timing: Timing,
    known: Known,
    /// Another's Lease as we saw it last; survives a failed request, and the deletion of the Lease.
    other: Option<Other>,
    /// Most transitions ever seen, so that epochs grow even over a deleted Lease.
    transitions: u32,
    term: Option<Term>,
    /// When the next request may be sent.
    next: Moment,
    releasing: bool,
}

impl Election {
    /// A candidate that knows nothing yet. `me` must be different for every process, also on one host.
    #[must_use]
    pub fn new(me: impl Into<String>, timing: Timing) -> Self {
        Self {
            me: me.into(),
            timing,
            known: Known::Nothing,
            other: None,
            transitions: 0,
            term: None,
            next: Moment::ZERO,
            releasing: false,
        }
    }

    /// From now on only the Lease is given back, if it is ours. Call it after the last write has ended.
    pub fn release(&mut self) {
        self.releasing = true;
        self.term = None;
        self.next = Moment::ZERO;
    }

    /// Leads if a window is there; steps down by itself if the renew deadline has passed.
    pub fn window(&mut self, now: Moment) -> Option<Window> {
        let t = self.term?;
        if now >= t.renewed + self.timing.renew_deadline {
            self.term = None;
            return None;
        }
        Some(Window {
            epoch: t.epoch,
            released: t.released,
            not_before: t.not_before,
            not_after: t.renewed + self.timing.lease_duration - self.timing.write_deadline,
        })
    }

    /// Longest time that a request sent now may take: an answer after the renew deadline is worth nothing.
    #[must_use]
    pub fn patience(&self, now: Moment) -> Duration {
        let usual = self.timing.renew_deadline / 2;
        match self.term {
            Some(t) => {
                let left = (t.renewed + self.timing.renew_deadline).saturating_sub(now);
                usual.min(left).max(Duration::from_millis(50))
            }
            None => usual,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn step(&mut self, now: Moment) -> Decision {
        if self.window(now).is_none() {
            self.term = None;
        }
        if now < self.next && !self.releasing {
            let mut until = self.next;
            if let Some(t) = self.term {
                until = until.min(t.renewed + self.timing.renew_deadline);
            }
            return Decision::Wait(until);
        }
        let hold = |view: &View, transitions| Decision::Hold { version: view.version.clone(), transitions };
        match (&self.known, self.releasing) {
            (Known::Nothing, _) => Decision::Read,
            (Known::Lease(view), true) if view.holder.as_ref() == Some(&self.me) => {
                Decision::Release { version: view.version.clone() }
            }
            (_, true) => Decision::Finished,
            (Known::Absent, false) => match &self.other {
                Some(other) if now < other.end => Decision::Wait(other.end),
                _ => Decision::Create { transitions: self.transitions },
            },
            (Known::Lease(view), false) => match &view.holder {
                Some(holder) if *holder == self.me && self.term.is_some() => hold(view, view.transitions),
                Some(holder) if *holder != self.me => match &self.other {
                    Some(other) if now >= other.end => hold(view, view.transitions.saturating_add(1)),
                    _ => Decision::Read,
                },
                _ => hold(view, view.transitions.saturating_add(1)),
            },
        }
    }

    /// Takes the answer to the request that `decision` asked for: `sent` is when it was sent, `now` when the answer came.
    pub fn answer(&mut self, decision: &Decision, sent: Moment, now: Moment, answer: Answer) {
        let look_again = now + self.timing.retry_period / 4;
        match (decision, answer) {
            (Decision::Create { .. } | Decision::Hold { .. }, Answer::Lease(view)) => self.held(view, sent),
            (Decision::Release { .. }, Answer::Lease(view)) => self.known = Known::Lease(view),
            (_, Answer::Lease(view)) => self.saw(view, now),
            (_, Answer::Absent) => {
                // For a holder too: the Lease that it held is no more.
                self.term = None;
                let old = std::mem::replace(&mut self.known, Known::Absent);
                self.next = if old == Known::Absent { look_again } else { now };
            }
            (_, Answer::Conflict) => {
                self.known = Known::Nothing;
                self.next = now;
            }
            (_, Answer::Failed) => {
                // It may have taken effect: what we know may be old, and 409 will tell. A candidate looks first.
                if self.term.is_none() {
                    self.known = Known::Nothing;
                }
                self.next = look_again;
            }
        }
    }

    /// Our write was accepted.
    fn held(&mut self, view: View, sent: Moment) {
        let former = match &self.known {
            // Only what was surely given back, or never was there, needs no wait.
            Known::Lease(old) => old.holder.is_none(),
            Known::Absent => self.other.is_none(),
            Known::Nothing => false,
        };
        match &mut self.term {
            Some(term) => term.renewed = sent,
            None if !self.releasing => {
                let wait = if former { Duration::ZERO } else { self.timing.write_deadline };
                self.term = Some(Term {
                    epoch: u64::from(view.transitions) + 1,
                    released: former,
                    not_before: sent + wait,
                    renewed: sent,
                });
            }
            None => {}
        }
        self.other = None;
        self.transitions = self.transitions.max(view.transitions.saturating_add(1));
        self.known = Known::Lease(view);
        self.next = sent + self.timing.retry_period;
    }

    /// The Lease was read.
    fn saw(&mut self, view: View, now: Moment) {
        let mine = view.holder.as_ref() == Some(&self.me);
        if self.term.is_some() && !mine {
            self.term = None;
        }
        self.transitions = self.transitions.max(view.transitions.saturating_add(1));
        match &view.holder {
            Some(_) if !mine => {
                // The same version seen again is the same renewal: its end stays where it is.
                let end = match self.other.take() {
                    Some(other) if other.version == view.version => other.end,
                    _ => now + view.duration.max(Duration::from_secs(1)),
                };
                self.other = Some(Other { version: view.version.clone(), end });
                let look_again = now + self.timing.retry_period / 4;
                self.next = if end > now { look_again.min(end) } else { now };
            }
            Some(_) => self.next = now,
            None => {
                self.other = None;
                self.next = now;
            }
        }
        self.known = Known::Lease(view);
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
