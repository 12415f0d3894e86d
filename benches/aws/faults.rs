//! Ten minutes of faults: throttles, 5xx and lost answers. I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::cloud::{Effect, Fault, Moment};
use serde_json::json;

use super::bench::{Bench, note};
use super::changes::{Services, converge};
use super::controller::Controller;
use super::site::{Site, shown};

/// How many calls fail in all: three kinds, of each this part.
const EACH: f64 = 0.2 / 3.0;

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let site = Site::start(false).await?;
    let outcome = faults(&site, bench).await;
    site.end(outcome, bench, false)
}

/// Services of the site, and who serves them.
struct Served<'a> {
    site: &'a Site,
    controller: &'a Controller,
}

impl Services for Served<'_> {
    const PACE: Duration = Duration::from_secs(6);
    const GRACE: Duration = Duration::from_secs(120);

    async fn create(&self, name: &str, port: u16) -> Result<()> {
        ensure!(port == 80, "Services of the site begin with port 80");
        self.site.create(name, &[]).await
    }

    async fn change(&self, name: &str, port: u16) -> Result<()> {
        self.site.change(name, json!({"spec": {"ports": [{"port": port, "protocol": "TCP"}]}})).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.site.delete(name).await
    }

    async fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.site.services.get_opt(name).await?.is_some())
    }

    async fn wrong(&self, wanted: &[(String, Option<u16>)]) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let all = self.site.active();
        for (name, wanted) in wanted {
            let service = self.site.services.get_opt(name).await?;
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
        let there = wanted.iter().filter(|(_, port)| port.is_some()).count();
        if wrong.is_empty() && all.len() != there {
            wrong.push(format!("{} load balancers for {there} Services", all.len()));
        }
        if wrong.is_empty()
            && let Err(error) = self.controller.content(there).await
        {
            wrong.push(format!("{error:#}"));
        }
        Ok(wrong)
    }
}

async fn faults(site: &Site, bench: &Bench) -> Result<()> {
    let controller = site.controller(&[])?;
    for effect in [
        Effect::error(Moment::Before, "Throttling", 400),
        Effect::error(Moment::Before, "InternalFailure", 500),
        Effect::Cut { when: Moment::After },
    ] {
        site.aws.gate().faults.add(Fault::random("*", EACH, effect));
    }
    let wrong = converge(&Served { site, controller: &controller }, bench.scale).await?;
    let all = site.aws.total();
    note(&format!("{} calls: {} throttled, {} failed or lost", all.calls, all.throttled, all.failed));
    ensure!(all.throttled + all.failed > 0, "nothing failed");
    let what = "10 min of 20 % throttles, 5xx, lost answers: not converged";
    bench.count("faults", what, wrong as f64, 0.0, "?");
    site.aws.gate().faults.clear(None);
    controller.stop().await
}
