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

#[path = "support/bench.rs"]
mod bench;
#[path = "support/changes.rs"]
mod changes;
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
#[path = "support/kills.rs"]
mod kills;
#[path = "support/report.rs"]
mod report;
#[path = "aws/rollout.rs"]
mod rollout;
#[path = "aws/scale.rs"]
mod scale;
#[path = "aws/site.rs"]
mod site;

use anyhow::Result;
use bench::Bench;
use tokio::sync::watch;

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
        let throttled = bench.all_throttled() as f64;
        bench.count("throttled", "answers Throttling in all rows but faults", throttled, 0.0, "many");
    }
    bench.end("aws")
}
