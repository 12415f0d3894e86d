//! AWS's numbers: `make bench SUITE=aws`. Beds with an AWS whose proxy counts calls and enforces AWS's default rates, and the controller with default
//! flags, but for a longer Lease, as a process of this machine. I/O.
//!
//! Two parts run side by side, for AWS's own rates make most of the time waiting: one with 100 Services, one in which things go wrong. What is measured
//! in seconds is measured while the other one waits. Prints one row per number with its goal and what the peers need. Fails if a goal is missed.
//!
//! Clocks are real, and so are rates and the time between health checks. Where a row is about calls alone, targets become healthy by themselves after a
//! second, and new load balancers take traffic after two.
//!
//! - `BENCH_ONLY=ID,ID` runs some rows only; those that stand on the 100 Services make them first, which takes AWS's own rate eight minutes.
//! - `BENCH_SCALE=0.1` makes a short run with a tenth of Services, nodes, requests and minutes; its file is `aws-short.json`.

#[path = "aws/clusters.rs"]
mod clusters;
#[path = "support/controller.rs"]
mod controller;
#[path = "aws/crashes.rs"]
mod crashes;
#[path = "aws/drift.rs"]
mod drift;
#[path = "aws/faults.rs"]
mod faults;
#[path = "support/report.rs"]
mod report;
#[path = "aws/rollout.rs"]
mod rollout;
#[path = "aws/scale.rs"]
mod scale;
#[path = "aws/site.rs"]
mod site;

use std::cell::{Cell, RefCell};

use anyhow::{Context, Result, ensure};
use report::{Report, Row};
use tokio::sync::watch;

/// What is run, how large, and what came out.
pub struct Bench {
    only: Vec<String>,
    scale: f64,
    report: RefCell<Report>,
    throttled: Cell<u64>,
}

impl Bench {
    fn from_environment() -> Result<Bench> {
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

    /// Runs what measures these rows, if any is asked for; if it fails, those that it has not measured are missed.
    async fn part(&self, ids: &[&'static str], rows: impl Future<Output = Result<()>>) {
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

    /// Calls that a rate limit refused, of a bed that has ended.
    pub fn throttled(&self, calls: u64) {
        self.throttled.set(self.throttled.get() + calls);
    }
}

/// How far a part has come; the other one waits for it. One that has ended, well or not, is waited for no more.
pub struct Stages {
    mine: watch::Sender<u8>,
    other: watch::Receiver<u8>,
}

impl Stages {
    fn pair() -> (Stages, Stages) {
        let (a, of_a) = watch::channel(0);
        let (b, of_b) = watch::channel(0);
        (Stages { mine: a, other: of_b }, Stages { mine: b, other: of_a })
    }

    /// This part has come to a stage; returns when the other one has too.
    pub async fn meet(&mut self, stage: u8) {
        self.mine.send_replace(stage);
        // An error is the other part's end.
        let _ = self.other.wait_for(|other| *other >= stage).await;
    }
}

/// The other part has done what would disturb.
pub const CALM: u8 = 1;
/// The other part measures no seconds any more.
pub const BUSY: u8 = 2;

/// The rows of each bed.
const MANY: &[&str] = &[
    "create",
    "create-100",
    "noop",
    "drift",
    "restart",
    "restart-node",
    "upgrade",
    "nodes-50",
    "flap",
    "swap",
];

/// What goes wrong, one after another.
async fn trouble(bench: &Bench, mut stages: Stages) {
    bench.part(&["faults"], faults::row(bench)).await;
    stages.meet(CALM).await;
    stages.meet(BUSY).await;
    bench.part(&["crash"], crashes::row(bench)).await;
    bench.part(&["two-clusters"], clusters::row(bench)).await;
    bench.part(&["rollout"], rollout::row(bench)).await;
}

#[tokio::main]
async fn main() -> Result<()> {
    // The one TLS implementation of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bench = Bench::from_environment()?;
    let (mine, other) = Stages::pair();
    tokio::join!(bench.part(MANY, scale::rows(&bench, mine)), trouble(&bench, other));
    if bench.wants(&["throttled"]) {
        let throttled = bench.throttled.get() as f64;
        bench.count("throttled", "answers Throttling in all rows but faults", throttled, 0.0, "many");
    }
    let report = bench.report.into_inner();
    report.end(if bench.scale < 1.0 { "aws-short" } else { "aws" })
}
