//! Ten minutes of faults: throttles, 5xx and lost answers. I/O.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use causeway_bed::cloud::{Effect, Fault, Moment};
use serde_json::json;

use super::Bench;
use super::controller::Controller;
use super::site::{Site, note, shown};

/// How long.
const FAULTS: Duration = Duration::from_secs(600);
/// From the last change until all must be as wanted.
const GRACE: Duration = Duration::from_secs(120);
/// Between two changes: slower than AWS lets load balancers be made.
const PACE: Duration = Duration::from_secs(6);
/// Services.
const SERVICES: usize = 15;
/// How many calls fail in all: three kinds, of each this part.
const EACH: f64 = 0.2 / 3.0;

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let site = Site::start(false).await?;
    let outcome = faults(&site, bench).await;
    site.end(outcome, bench, false)
}

/// Changes Services one after another all the time; for each the port that it shall have in the end, if it shall be there.
async fn changes(site: &Site, until: Instant) -> Result<Vec<Option<u16>>> {
    let mut wanted = vec![None; SERVICES];
    let mut tick = tokio::time::interval(PACE);
    for step in 0.. {
        tick.tick().await;
        if Instant::now() >= until {
            break;
        }
        let number = step % SERVICES;
        let name = format!("web-{number}");
        match wanted[number] {
            None => {
                // The one before it may not be gone yet; then it is its turn again in the next round.
                if site.services.get_opt(&name).await?.is_none() {
                    site.create(&name, &[]).await?;
                    wanted[number] = Some(80);
                }
            }
            Some(_) if (step / SERVICES + number).is_multiple_of(3) => {
                site.delete(&name).await?;
                wanted[number] = None;
            }
            Some(port) => {
                site.change(&name, json!({"spec": {"ports": [{"port": port + 1, "protocol": "TCP"}]}}))
                    .await?;
                wanted[number] = Some(port + 1);
            }
        }
    }
    Ok(wanted)
}

async fn faults(site: &Site, bench: &Bench) -> Result<()> {
    let controller = site.controller(&[])?;
    {
        let mut gate = site.aws.gate();
        for effect in [
            Effect::error(Moment::Before, "Throttling", 400),
            Effect::error(Moment::Before, "InternalFailure", 500),
            Effect::Cut { when: Moment::After },
        ] {
            gate.faults.add(Fault::random("*", EACH, effect));
        }
    }
    let begin = Instant::now();
    let last = begin + (FAULTS - GRACE).mul_f64(bench.scale);
    let wanted = changes(site, last).await?;
    let mut wrong = vec![String::new()];
    let mut before = String::new();
    while !wrong.is_empty() && last.elapsed() < GRACE {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = unconverged(site, &controller, &wanted).await?;
        before = std::mem::replace(&mut wrong, now).join("; ");
    }
    let quickly = last.elapsed();
    if wrong.is_empty() {
        let seconds = quickly.as_secs_f64();
        note(&format!(
            "all as wanted {seconds:.1} s after the last change, the faults going on; last: {before}"
        ));
    }
    wrong.iter().for_each(|wrong| note(wrong));
    let all = site.aws.total();
    note(&format!("{} calls: {} throttled, {} failed or lost", all.calls, all.throttled, all.failed));
    ensure!(all.throttled + all.failed > 0, "nothing failed");
    let what = "10 min of 20 % throttles, 5xx, lost answers: not converged";
    bench.count("faults", what, wrong.len() as f64, 0.0, "?");
    site.aws.gate().faults.clear(None);
    controller.stop().await
}

/// What is not as wanted; a line for each Service.
async fn unconverged(site: &Site, controller: &Controller, wanted: &[Option<u16>]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let all = site.active();
    for (number, wanted) in wanted.iter().enumerate() {
        let name = format!("web-{number}");
        let service = site.services.get_opt(&name).await?;
        match (wanted, service) {
            (None, None) => {}
            (None, Some(_)) => wrong.push(format!("{name} is there still")),
            (Some(_), None) => wrong.push(format!("{name} is gone")),
            (Some(port), Some(service)) => {
                let listeners =
                    shown(service).and_then(|host| all.get(&host)).map(|(_, listeners)| listeners);
                if listeners != Some(&BTreeSet::from([format!("TCP {port}")])) {
                    wrong.push(format!("{name} shall listen to {port}: {listeners:?}"));
                }
            }
        }
    }
    let there = wanted.iter().flatten().count();
    if wrong.is_empty() && all.len() != there {
        wrong.push(format!("{} load balancers for {there} Services", all.len()));
    }
    if wrong.is_empty()
        && let Err(error) = controller.content(there).await
    {
        wrong.push(format!("{error:#}"));
    }
    Ok(wrong)
}
