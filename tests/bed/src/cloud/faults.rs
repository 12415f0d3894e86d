//! Planned faults of calls: the nth of an action, or some at random by a seed. Pure and reproducible.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;

/// A fault of some calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which calls.
    pub calls: Pattern,
    /// The first of the matching calls that suffers it, counted from 1 from when the fault was planned.
    #[serde(default = "one")]
    pub first: u64,
    /// How many matching calls in a row suffer it; none means all from then on.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// Of those, the part that suffers it, chosen at random: 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// What happens.
    pub effect: Effect,
}

fn one() -> u64 {
    1
}
fn once() -> Option<u64> {
    Some(1)
}
fn always() -> f64 {
    1.0
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is answered by an error.
    Error {
        /// Whether the call has taken effect all the same.
        #[serde(default)]
        when: Moment,
        /// The cloud's error code, such as `Throttling` or `InternalFailure`.
        code: String,
        /// HTTP status.
        status: u16,
        /// Value of a `Retry-After` field, seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// Its connection is closed without an answer.
    Cut {
        /// Whether the call has taken effect all the same.
        #[serde(default)]
        when: Moment,
    },
    /// It is held up before it takes effect.
    Delay {
        /// Milliseconds of real time.
        ms: u64,
    },
    /// Its answer is held up.
    Late {
        /// Milliseconds of real time.
        ms: u64,
    },
    /// Something that only this cloud knows, by name: a small page, an expired token.
    Own {
        /// Its name.
        name: String,
    },
}

/// Before or after a call takes effect.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Nothing has changed.
    #[default]
    Before,
    /// The change is made, only the answer is lost.
    After,
}

impl Fault {
    /// An error on the `n`th matching call, counted from 1, before it takes effect.
    pub fn nth(calls: &str, n: u64, code: &str, status: u16) -> Fault {
        Fault::once(calls, n, Effect::error(Moment::Before, code, status))
    }

    /// That effect on the `n`th matching call, counted from 1.
    pub fn once(calls: &str, n: u64, effect: Effect) -> Fault {
        Fault { calls: calls.into(), first: n, times: Some(1), rate: 1.0, effect }
    }

    /// That effect on all matching calls until it is taken back.
    pub fn always(calls: &str, effect: Effect) -> Fault {
        Fault::random(calls, 1.0, effect)
    }

    /// That effect on a part of the matching calls, 0 to 1, until it is taken back.
    pub fn random(calls: &str, rate: f64, effect: Effect) -> Fault {
        Fault { calls: calls.into(), first: 1, times: None, rate, effect }
    }
}

impl Effect {
    /// An error answer.
    pub fn error(when: Moment, code: &str, status: u16) -> Effect {
        Effect::Error { when, code: code.to_owned(), status, retry_after: None }
    }
}

/// How a call fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// By an error answer.
    Error {
        /// Code.
        code: String,
        /// HTTP status.
        status: u16,
        /// Seconds of `Retry-After`.
        retry_after: Option<u64>,
    },
    /// By a closed connection.
    Cut,
}

/// What the plan has for one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fate {
    /// Wait this long first.
    pub delay: Duration,
    /// Fail before the effect.
    pub before: Option<Failure>,
    /// Fail after the effect.
    pub after: Option<Failure>,
    /// Wait this long before answering.
    pub late: Duration,
    /// Names of faults of the cloud's own.
    pub own: Vec<String>,
}

/// All planned faults.
#[derive(Clone, Debug)]
pub struct Plan {
    random: u64,
    faults: Vec<(Fault, u64)>,
}

impl Plan {
    /// None yet; `seed` decides all that is random.
    pub fn new(seed: u64) -> Plan {
        Plan { random: seed, faults: Vec::new() }
    }

    /// One more fault.
    pub fn add(&mut self, fault: Fault) {
        self.faults.push((fault, 0));
    }

    /// Forgets all faults, and starts the random numbers anew from `seed` if there is one.
    pub fn clear(&mut self, seed: Option<u64>) {
        self.faults.clear();
        self.random = seed.unwrap_or(self.random);
    }

    /// What is planned, with how many calls matched so far.
    pub fn planned(&self) -> &[(Fault, u64)] {
        &self.faults
    }

    /// Decides what happens to a call. Of several faults of one kind the first planned wins; delays add up.
    pub fn decide(&mut self, service: &str, action: &str) -> Fate {
        let mut fate = Fate::default();
        for index in 0..self.faults.len() {
            let (fault, seen) = &mut self.faults[index];
            if !fault.calls.covers(service, action) {
                continue;
            }
            *seen += 1;
            let nth = *seen;
            let (first, times, rate, effect) = (fault.first, fault.times, fault.rate, fault.effect.clone());
            let in_turn = nth >= first && times.is_none_or(|times| nth - first < times);
            if !in_turn || rate < 1.0 && self.chance() >= rate {
                continue;
            }
            let failure = match effect {
                Effect::Delay { ms } => {
                    fate.delay += Duration::from_millis(ms);
                    continue;
                }
                Effect::Late { ms } => {
                    fate.late += Duration::from_millis(ms);
                    continue;
                }
                Effect::Own { name } => {
                    fate.own.push(name);
                    continue;
                }
                Effect::Cut { when } => (when, Failure::Cut),
                Effect::Error { when, code, status, retry_after } => {
                    (when, Failure::Error { code, status, retry_after })
                }
            };
            let place = match failure.0 {
                Moment::Before => &mut fate.before,
                Moment::After => &mut fate.after,
            };
            place.get_or_insert(failure.1);
        }
        fate
    }

    /// The next random number, from 0 to below 1: SplitMix64.
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_of_an_action_fails_and_no_other() {
        let mut plan = Plan::new(0);
        plan.add(Fault::nth("CreateRule", 2, "Throttling", 400));
        let fates: Vec<bool> = (0..4).map(|_| plan.decide("elb", "CreateRule").before.is_some()).collect();
        assert_eq!(fates, [false, true, false, false]);
        assert_eq!(plan.decide("elb", "DeleteRule"), Fate::default());
    }

    #[test]
    fn random_faults_are_as_many_as_asked_and_the_same_each_time() {
        let run = |seed| {
            let mut plan = Plan::new(seed);
            plan.add(Fault::random("*", 0.2, Effect::Cut { when: Moment::After }));
            (0..10_000).map(|_| plan.decide("s", "a").after.is_some()).collect::<Vec<_>>()
        };
        let hits = run(7).iter().filter(|hit| **hit).count();
        assert!((1_850..2_150).contains(&hits), "{hits}");
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn faults_before_and_after_and_delays_stand_side_by_side() {
        let mut plan = Plan::new(0);
        plan.add(Fault::always("*", Effect::Delay { ms: 5 }));
        plan.add(Fault::always("*", Effect::Delay { ms: 6 }));
        plan.add(Fault::once("A", 1, Effect::error(Moment::After, "InternalFailure", 500)));
        plan.add(Fault::once("A", 1, Effect::Own { name: "small-page".into() }));
        let fate = plan.decide("s", "A");
        assert_eq!(fate.delay, Duration::from_millis(11));
        assert!(fate.before.is_none());
        assert!(matches!(fate.after, Some(Failure::Error { status: 500, .. })));
        assert_eq!(fate.own, ["small-page"]);
    }

    #[test]
    fn a_plan_is_readable_json() {
        let text = r#"{"calls": "Create*", "first": 3, "effect": {"error": {"when": "after", "code": "InternalFailure", "status": 500}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault, Fault::once("Create*", 3, Effect::error(Moment::After, "InternalFailure", 500)));
        let text = r#"{"calls": "*", "times": null, "rate": 0.2, "effect": {"cut": {}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault, Fault::random("*", 0.2, Effect::Cut { when: Moment::Before }));
    }
}
