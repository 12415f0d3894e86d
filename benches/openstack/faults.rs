//! Ten minutes of faults: 429, 503 and calls that take too long. I/O.

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
/// Longer than the controller waits for an answer, milliseconds.
const TOO_LONG: u64 = 12_000;

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let site = Site::start(false, 0).await?;
    let outcome = faults(&site, bench).await;
    site.end(outcome)
}

/// Services of the site, and who serves them.
struct Served<'a> {
    site: &'a Site,
    controller: &'a Controller,
}

impl Services for Served<'_> {
    const PACE: Duration = Duration::from_secs(4);
    // What was to be made without an answer is looked for during a minute.
    const GRACE: Duration = Duration::from_secs(240);

    async fn create(&self, name: &str, port: u16) -> Result<()> {
        self.site.create(name, &[port], json!({})).await
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
        let all = self.site.listening().await?;
        for (name, wanted) in wanted {
            let service = self.site.services.get_opt(name).await?;
            match (wanted, service) {
                (None, None) => {}
                (None, Some(_)) => wrong.push(format!("{name} is there still")),
                (Some(_), None) => wrong.push(format!("{name} is gone")),
                (Some(port), Some(service)) => {
                    let listeners = shown(&service).and_then(|address| all.get(&address));
                    if listeners != Some(&BTreeSet::from([u64::from(*port)])) {
                        wrong.push(format!("{name} shall listen to {port}: {listeners:?}"));
                    }
                }
            }
        }
        let there = wanted.iter().filter(|(_, port)| port.is_some()).count();
        let lbs = self.site.octavia("loadbalancers").await?.len();
        let addresses = self.site.floating_ips().await?.len();
        if wrong.is_empty() && (lbs, addresses) != (there, there) {
            wrong.push(format!("{lbs} load balancers and {addresses} floating IPs for {there} Services"));
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
    let throttled = Effect::Error {
        when: Moment::Before,
        code: "OverLimit".to_owned(),
        status: 429,
        retry_after: Some(1),
    };
    let down = Effect::error(Moment::Before, "Gateway", 503);
    for effect in [throttled, down, Effect::Late { ms: TOO_LONG }] {
        site.cloud.gate().faults.add(Fault::random("*:*", EACH, effect));
    }
    let wrong = converge(&Served { site, controller: &controller }, bench.scale).await?;
    let all = site.cloud.count("*:*");
    note(&format!("{} calls, of which {} got an error", all.calls, all.throttled + all.refused + all.failed));
    ensure!(all.throttled + all.refused + all.failed > 0, "nothing failed");
    let what = "10 min of 20 % 429, 503, timeouts: not converged";
    bench.count("faults", what, wrong as f64, 0.0, "no retry on 429");
    site.cloud.gate().faults.clear(None);
    controller.stop().await
}
