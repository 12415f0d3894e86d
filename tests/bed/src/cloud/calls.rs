//! The log of calls and what was counted. Pure.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// How many calls the log keeps; counts go on.
const KEPT: usize = 100_000;

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Ok,
    /// Refused by a rate limit.
    Throttled,
    /// Refused for what it asked.
    Refused,
    /// Failed on the cloud's side, by a planned fault or by itself.
    Failed,
    /// Never answered: the connection was closed.
    Lost,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counted from 1 in order of arrival.
    pub number: u64,
    /// Milliseconds of the cloud's time when it arrived.
    pub at_ms: u64,
    /// Service, as in the signature.
    pub service: String,
    /// Action.
    pub action: String,
    /// The name or id of what it is about; empty if it says none.
    pub resource: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The error's code; empty if there was none.
    pub code: String,
    /// HTTP status; 0 if there was no answer.
    pub status: u16,
    /// Whether it took effect, or would have if it were no read: false if it was refused or failed before.
    pub took_effect: bool,
}

/// What became of the calls of one action.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub calls: u64,
    /// Of these, refused by a rate limit.
    pub throttled: u64,
    /// Of these, refused for what they asked.
    pub refused: u64,
    /// Of these, failed or not answered.
    pub failed: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.calls += other.calls;
        self.throttled += other.throttled;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// Calls so far.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    last: u64,
    counts: BTreeMap<String, Counts>,
    records: VecDeque<Record>,
}

impl Calls {
    /// Number for a call that has just arrived.
    pub fn arrive(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Notes how a call ended.
    pub fn note(&mut self, record: Record) {
        let counts = self.counts.entry(format!("{}:{}", record.service, record.action)).or_default();
        counts.calls += 1;
        match record.outcome {
            Outcome::Ok => {}
            Outcome::Throttled => counts.throttled += 1,
            Outcome::Refused => counts.refused += 1,
            Outcome::Failed | Outcome::Lost => counts.failed += 1,
        }
        if self.records.len() == KEPT {
            self.records.pop_front();
        }
        // Calls end in another order than they arrive.
        let place =
            self.records.iter().rposition(|other| other.number < record.number).map_or(0, |at| at + 1);
        self.records.insert(place, record);
    }

    /// Counts per `SERVICE:ACTION`.
    pub fn counts(&self) -> &BTreeMap<String, Counts> {
        &self.counts
    }

    /// The calls in order of arrival, those after number `after`.
    pub fn since(&self, after: u64) -> Vec<Record> {
        self.records.iter().filter(|record| record.number > after).cloned().collect()
    }

    /// Number of the last call that arrived.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Forgets counts and log; numbers go on.
    pub fn forget(&mut self) {
        self.counts.clear();
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, outcome: Outcome) -> Record {
        Record {
            number,
            at_ms: 0,
            service: "ec2".into(),
            action: "DescribeVpcs".into(),
            resource: String::new(),
            outcome,
            code: String::new(),
            status: 200,
            took_effect: true,
        }
    }

    #[test]
    fn calls_are_counted_and_kept_in_order_of_arrival() {
        let mut calls = Calls::default();
        assert_eq!((calls.arrive(), calls.arrive(), calls.arrive()), (1, 2, 3));
        calls.note(record(2, Outcome::Throttled));
        calls.note(record(3, Outcome::Lost));
        calls.note(record(1, Outcome::Ok));
        let numbers: Vec<u64> = calls.since(0).iter().map(|record| record.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(calls.since(2).len(), 1);
        assert_eq!(
            calls.counts()["ec2:DescribeVpcs"],
            Counts { calls: 3, throttled: 1, refused: 0, failed: 1 }
        );
        calls.forget();
        assert!(calls.since(0).is_empty() && calls.counts().is_empty());
        assert_eq!(calls.arrive(), 4);
    }
}
