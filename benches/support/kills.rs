//! Kills at every call: a call to the cloud is held after it took effect, and the controller dies before it has the answer. Dying before a call is dying
//! after the one before it, so that these are all the moments at which anything differs. I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::cloud::faults::Plan;
use causeway_bed::cloud::{Effect, Fault};
use causeway_bed::wait;

use crate::bench::{Bench, note};
use crate::controller::Controller;
use crate::report::Row;

/// How long a call is held up, to be killed meanwhile: longer than anything. Milliseconds.
const HELD: u64 = 600_000;

/// What is done to an object between two states in which nothing is to do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// It is deleted.
    Delete,
}

/// The object, its cloud and its controller.
pub trait Subject {
    /// The pattern of all calls that there are in this cloud.
    const CALLS: &str;
    /// Longest wait for one step.
    const PATIENCE: Duration;

    /// Starts a controller that leads at once: whose Lease a dead process leaves is not what is measured.
    fn controller(&self) -> Result<Controller>;
    /// The cloud's faults.
    fn faults<R>(&self, with: impl FnOnce(&mut Plan) -> R) -> R;
    /// Asks for a step.
    async fn perform(&self, step: Step) -> Result<()>;
    /// Whether a step has come about, and nothing is left to do.
    async fn done(&self, controller: &Controller, step: Step) -> Result<()>;
}

/// Number of calls that have arrived since one was to be held.
fn arrived(subject: &impl Subject) -> u64 {
    subject.faults(|faults| faults.planned().first().map_or(0, |(_, seen)| *seen))
}

/// Waits until the `n`th call is held, or the step is done without it: whether it is held.
async fn held_or_done<S: Subject>(subject: &S, controller: &Controller, step: Step, n: u64) -> Result<bool> {
    wait::until("a call that is held, or an end", S::PATIENCE, async || {
        if arrived(subject) >= n {
            return Ok(true);
        }
        subject.done(controller, step).await?;
        // The last call may have come between the two looks.
        anyhow::Ok(arrived(subject) >= n)
    })
    .await
}

/// What was killed, and what did not come about all the same.
pub struct Killed {
    deaths: Vec<Step>,
    unconverged: u32,
}

impl Killed {
    fn of(&self, step: Step) -> usize {
        self.deaths.iter().filter(|died| **died == step).count()
    }

    /// The row, with what was found of `leaked` and `touched` things; names are for people.
    pub fn row(&self, bench: &Bench, leaked: &[String], touched: &[String]) {
        let (create, change, delete) = (self.of(Step::Create), self.of(Step::Change), self.of(Step::Delete));
        note(&format!("{create} deaths during creation, {change} during changes, {delete} during deletion"));
        leaked.iter().for_each(|left| note(&format!("left: {left}")));
        touched.iter().for_each(|touched| note(&format!("touched: {touched}")));
        let counts = [leaked.len() as f64, touched.len() as f64, f64::from(self.unconverged)];
        let pass = counts == [0.0; 3] && create * change * delete > 0;
        let [leaked, touched, unconverged] = counts;
        bench.row(
            Row {
                id: "crash",
                what: "kill -9 at every call: leaked, foreign touched, not converged",
                values: vec![("leaked", leaked), ("touched", touched), ("unconverged", unconverged)],
                unit: "counts",
                goal: "0, 0, 0".to_owned(),
                pass,
            },
            "leaks",
        );
    }
}

/// Kills at every call of all steps, in a short run at the first few; the controller that is left is stopped.
pub async fn at_every_call<S: Subject>(
    subject: &S,
    mut controller: Controller,
    bench: &Bench,
) -> Result<Killed> {
    let mut killed = Killed { deaths: Vec::new(), unconverged: 0 };
    let mut whole = BTreeSet::new();
    let most = if bench.scale < 1.0 { bench.sized(20) as u64 } else { u64::MAX };
    for n in 1..=most {
        for step in [Step::Create, Step::Change, Step::Delete] {
            let to_be_killed = !whole.contains(&step);
            if to_be_killed {
                subject.faults(|faults| {
                    faults.clear(None);
                    faults.add(Fault::once(S::CALLS, n, Effect::Late { ms: HELD }));
                });
            }
            subject.perform(step).await?;
            if to_be_killed {
                if held_or_done(subject, &controller, step, n).await? {
                    controller.kill();
                    controller = subject.controller()?;
                    killed.deaths.push(step);
                } else {
                    whole.insert(step);
                }
                subject.faults(|faults| faults.clear(None));
            }
            let what = format!("{step:?} to be done");
            let done = async || subject.done(&controller, step).await;
            if let Err(error) = wait::until(&what, S::PATIENCE, done).await {
                note(&format!("killed at call {n} of {step:?}: {error:#}"));
                killed.unconverged += 1;
            }
        }
        if whole.len() == 3 {
            break;
        }
    }
    ensure!(subject.faults(|faults| faults.planned().is_empty()), "faults are left");
    controller.stop().await?;
    Ok(killed)
}
