//! The health of one target as AWS judges it: a state machine fed with the outcomes of checks. Pure.

use std::time::Duration;

/// Why a check failed, in AWS's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// `Target.Timeout`.
    Timeout,
    /// `Target.FailedHealthChecks`: no connection, or an answer that makes no sense.
    Failed,
    /// `Target.ResponseCodeMismatch`, with the code.
    CodeMismatch(u16),
}

impl Reason {
    /// Code and description, as `DescribeTargetHealth` gives them.
    pub fn words(self) -> (&'static str, String) {
        match self {
            Reason::Timeout => ("Target.Timeout", "Request timed out".to_owned()),
            Reason::Failed => ("Target.FailedHealthChecks", "Health checks failed".to_owned()),
            Reason::CodeMismatch(code) => {
                ("Target.ResponseCodeMismatch", format!("Health checks failed with these codes: [{code}]"))
            }
        }
    }
}

/// Outcome of one check.
pub type Check = Result<(), Reason>;

/// What the checks have told so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Not decided yet.
    Initial,
    /// Gets traffic.
    Healthy,
    /// Gets none while others are healthy.
    Unhealthy(Reason),
}

/// The health of a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Health {
    /// What it is.
    pub state: State,
    successes: u32,
    failures: u32,
    /// Since when its group has been in use and it could be checked; none: it is `unused`.
    pub in_use_since: Option<Duration>,
}

/// How many checks in a row decide.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Successes that make a new target healthy: 1 on ALBs ("must pass one health check to be considered healthy"), as `healthy` on NLBs.
    pub first: u32,
    /// Successes that make an unhealthy target healthy again.
    pub healthy: u32,
    /// Failures that make a target unhealthy.
    pub unhealthy: u32,
}

impl Health {
    /// Of a target of which nothing is known.
    pub fn unknown() -> Health {
        Health { state: State::Initial, successes: 0, failures: 0, in_use_since: None }
    }

    /// Its group is in use from `now` on, or no more: then all is forgotten.
    pub fn set_in_use(&mut self, in_use: bool, now: Duration) {
        match (in_use, self.in_use_since) {
            (true, None) => *self = Health { in_use_since: Some(now), ..Health::unknown() },
            (false, Some(_)) => *self = Health::unknown(),
            _ => {}
        }
    }

    /// One more check was made. Returns whether the state changed.
    pub fn observe(&mut self, check: Check, thresholds: Thresholds) -> bool {
        let before = self.state;
        match check {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                let needed = if self.state == State::Initial { thresholds.first } else { thresholds.healthy };
                if self.successes >= needed {
                    self.state = State::Healthy;
                }
            }
            Err(reason) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= thresholds.unhealthy {
                    self.state = State::Unhealthy(reason);
                }
            }
        }
        self.state != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Thresholds = Thresholds { first: 3, healthy: 3, unhealthy: 2 };

    fn after(checks: &str, thresholds: Thresholds) -> State {
        let mut health = Health::unknown();
        for check in checks.chars() {
            health.observe(if check == '+' { Ok(()) } else { Err(Reason::Timeout) }, thresholds);
        }
        health.state
    }

    #[test]
    fn checks_in_a_row_decide() {
        let unhealthy = State::Unhealthy(Reason::Timeout);
        for (checks, state) in [
            ("", State::Initial),
            ("++", State::Initial),
            ("+++", State::Healthy),
            ("++-++", State::Initial),
            ("++-+++", State::Healthy),
            ("-", State::Initial),
            ("--", unhealthy),
            ("+++-", State::Healthy),
            ("+++-+-", State::Healthy),
            ("+++--", unhealthy),
            ("--++", unhealthy),
            ("--+++", State::Healthy),
        ] {
            assert_eq!(after(checks, THREE), state, "{checks}");
        }
        assert_eq!(after("+", Thresholds { first: 1, ..THREE }), State::Healthy);
        assert_eq!(after("--+", Thresholds { first: 1, ..THREE }), unhealthy);
    }

    #[test]
    fn an_unused_group_forgets() {
        let mut health = Health::unknown();
        health.set_in_use(true, Duration::from_secs(5));
        health.observe(Ok(()), Thresholds { first: 1, ..THREE });
        assert_eq!(health.state, State::Healthy);
        health.set_in_use(true, Duration::from_secs(6));
        assert_eq!((health.state, health.in_use_since), (State::Healthy, Some(Duration::from_secs(5))));
        health.set_in_use(false, Duration::from_secs(7));
        assert_eq!(health, Health::unknown());
    }
}
