//! Which rows of a suite are run, how large, and what came out; what suites that count a cloud's calls have in common. I/O: prints.

#![allow(dead_code, reason = "shared by several benches, each of which uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use causeway_bed::cloud::Record;

use crate::report::{Report, Row};

/// What is run, how large, and what came out.
pub struct Bench {
    only: Vec<String>,
    /// More than 0, at most 1.
    pub scale: f64,
    report: RefCell<Report>,
    throttled: Cell<u64>,
}

impl Bench {
    /// As the variables `BENCH_ONLY` and `BENCH_SCALE` say.
    pub fn from_environment() -> Result<Bench> {
        let only = std::env::var("BENCH_ONLY").unwrap_or_default();
        let scale = match std::env::var("BENCH_SCALE") {
            Ok(text) => text.parse().with_context(|| format!("BENCH_SCALE={text}"))?,
            Err(_) => 1.0,
        };
        ensure!(scale > 0.0 && scale <= 1.0, "BENCH_SCALE is a part: more than 0, at most 1");
        Ok(Bench {
            only: only.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
            scale,
            report: RefCell::default(),
            throttled: Cell::new(0),
        })
    }

    /// Whether any of these rows is asked for.
    pub fn wants(&self, ids: &[&str]) -> bool {
        self.only.is_empty() || ids.iter().any(|id| self.only.iter().any(|only| only == id))
    }

    /// As many as the row says, or a part of it in a short run.
    pub fn sized(&self, whole: usize) -> usize {
        (whole as f64 * self.scale).ceil() as usize
    }

    /// Adds a row; `peer` is what the peers need.
    pub fn row(&self, row: Row, peer: &str) {
        self.report.borrow_mut().row(row, peer);
    }

    /// Adds a row of one count.
    pub fn count(&self, id: &'static str, what: &'static str, count: f64, most: f64, peer: &str) {
        let goal = if most == 0.0 { "0".to_owned() } else { format!("<= {most}") };
        self.row(
            Row { id, what, values: vec![("", count)], unit: "counts", goal, pass: count <= most },
            peer,
        );
    }

    /// Adds a row of one number of seconds.
    pub fn seconds(&self, id: &'static str, what: &'static str, seconds: f64, most: f64, peer: &str) {
        let goal = format!("<= {most}");
        self.row(Row { id, what, values: vec![("", seconds)], unit: "s", goal, pass: seconds <= most }, peer);
    }

    /// Runs what measures these rows, if any is asked for; if it fails, those that it has not measured are missed.
    pub async fn part(&self, ids: &[&'static str], rows: impl Future<Output = Result<()>>) {
        if !self.wants(ids) {
            return;
        }
        let Err(error) = rows.await else { return };
        println!("{error:#}");
        for id in ids.iter().filter(|id| self.wants(&[id]) && !self.report.borrow().has(id)) {
            let row =
                Row { id, what: "not measured", values: vec![], unit: "", goal: String::new(), pass: false };
            self.row(row, "");
        }
    }

    /// Adds calls that a rate limit refused, of a bed that has ended.
    pub fn throttled(&self, calls: u64) {
        self.throttled.set(self.throttled.get() + calls);
    }

    /// Calls that a rate limit refused, of all beds that have ended.
    pub fn all_throttled(&self) -> u64 {
        self.throttled.get()
    }

    /// Writes the file of the suite, that of a short run under a name of its own, and fails if a goal was missed.
    pub fn end(self, suite: &str) -> Result<()> {
        let short = format!("{suite}-short");
        self.report.into_inner().end(if self.scale < 1.0 { &short } else { suite })
    }
}

/// How many calls of each action, for people.
pub fn by_action(records: &[Record]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records {
        *counts.entry(&record.action).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(action, count)| format!("{action} {count}")).collect();
    format!("{} calls: {}", records.len(), parts.join(", "))
}

/// A line below the table's rows.
pub fn note(text: &str) {
    println!("{:<16} ({text})", "");
}
