//! Where every call passes: counted, charged, and failed if a test planned it. Pure but for the clock it reads.

use std::time::Duration;

use super::bucket::{Buckets, Exhausted, Limit};
use super::calls::{Calls, Outcome, Record};
use super::clock::Clock;
use super::faults::{Fate, Plan};
use super::stale::StaleReads;

/// The gate of a cloud. `A` is an answer as the cloud keeps it for stale reads.
#[derive(Debug)]
pub struct Gate<A> {
    /// The cloud's time.
    pub clock: Clock,
    /// Planned faults.
    pub faults: Plan,
    /// Log and counts.
    pub calls: Calls,
    /// Which reads lag behind.
    pub stale: StaleReads<A>,
    limits: Vec<Limit>,
    buckets: Option<Buckets>,
}

/// A call that has arrived, with what is to become of it.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Its record so far: it counts as done until [`Gate::leave`] is told otherwise.
    pub record: Record,
    /// The limit that refuses it, if one does: then nothing else of its fate matters but the delay.
    pub exhausted: Option<Exhausted>,
    /// What was planned for it.
    pub fate: Fate,
}

impl<A: Clone> Gate<A> {
    /// A gate with these limits, not enforced yet.
    pub fn new(clock: Clock, limits: Vec<Limit>) -> Gate<A> {
        Gate {
            clock,
            faults: Plan::new(1),
            calls: Calls::default(),
            stale: StaleReads::default(),
            limits,
            buckets: None,
        }
    }

    /// Enforces the limits from now on, starting with full buckets, or no more.
    pub fn enforce(&mut self, enforce: bool) {
        self.buckets = enforce.then(|| Buckets::new(&self.limits));
    }

    /// Replaces the limits; if they are enforced, with full buckets.
    pub fn set_limits(&mut self, limits: Vec<Limit>) {
        self.limits = limits;
        self.enforce(self.buckets.is_some());
    }

    /// The limits, and whether they are enforced.
    pub fn limits(&self) -> (&[Limit], bool) {
        (&self.limits, self.buckets.is_some())
    }

    /// A call arrives. A planned failure comes before the limits: it takes no token.
    pub fn arrive(&mut self, service: &str, action: &str, resource: &str) -> Admission {
        let now = self.clock.now();
        let fate = self.faults.decide(service, action);
        let charged = match (&fate.before, &mut self.buckets) {
            (None, Some(buckets)) => buckets.take(service, action, now),
            _ => Ok(()),
        };
        let record = Record {
            number: self.calls.arrive(),
            at_ms: now.as_millis() as u64,
            service: service.to_owned(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            outcome: Outcome::Ok,
            code: String::new(),
            status: 200,
            took_effect: true,
        };
        Admission { record, exhausted: charged.err(), fate }
    }

    /// A call is answered, or will never be.
    pub fn leave(&mut self, record: Record) {
        self.calls.note(record);
    }

    /// The cloud's time.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Fault;
    use super::*;

    #[test]
    fn limits_are_enforced_when_asked_for_and_planned_failures_take_no_token() {
        let clock = Clock::default();
        clock.set_speed(0.0);
        let mut gate: Gate<()> = Gate::new(clock.clone(), vec![Limit::new("all", &["*"], &[], 1.0, 1.0)]);
        let exhausted = |gate: &mut Gate<()>| gate.arrive("s", "A", "").exhausted.is_some();
        assert!(!exhausted(&mut gate) && !exhausted(&mut gate));
        gate.enforce(true);
        gate.faults.add(Fault::nth("A", 1, "InternalFailure", 500));
        assert!(gate.arrive("s", "A", "").fate.before.is_some());
        assert!(!exhausted(&mut gate));
        assert!(exhausted(&mut gate));
        clock.advance(Duration::from_secs(1));
        assert!(!exhausted(&mut gate));
    }
}
