//! Waiting, without holding a worker: what is waited for is asked about at its own pace, and the plan is made anew when it has come about.

use std::collections::BTreeSet;
use std::time::Duration;

use causeway_api::{CloudError, Outcome, Problem, Result};

use super::{Doing, NOW};
use crate::cloud::Api;
use crate::cloud::records::{Health, State};
use crate::limits::Priority;
use crate::observe::read::MOST_IDS;
use crate::plan::Awaited;

impl<A: Api> Doing<'_, A> {
    /// When something began to be waited for.
    fn since(&self, arn: &str) -> Duration {
        let now = self.live.epoch.elapsed();
        let mut known = self.live.known();
        *known.entry_mut(&self.change.owner).since.entry(arn.to_owned()).or_insert(now)
    }

    fn forget(&self, arn: &str) {
        self.live.known().entry_mut(&self.change.owner).since.remove(arn);
    }

    /// Looks at what is awaited. Always pending: when something came about, at once.
    pub(super) async fn wait(&self, awaited: &Awaited) -> Result<Outcome> {
        let mut again = Duration::MAX;
        let mut late = Vec::new();
        for token in &awaited.active {
            match self.active(&self.arn(token)?).await? {
                None => return Ok(NOW),
                Some(wait) => again = again.min(wait),
            }
        }
        for (group, seconds) in &awaited.drained {
            let waited = self.live.epoch.elapsed().saturating_sub(self.since(&format!("drain {group}")));
            let whole = Duration::from_secs(*seconds);
            if waited >= whole {
                self.forget(&format!("drain {group}"));
                self.live.known().entry_mut(&self.change.owner).tree.drained.insert(group.clone());
                return Ok(NOW);
            }
            again = again.min(whole - waited);
        }
        for token in &awaited.healthy {
            let arn = self.arn(token)?;
            if self.healthy(&arn).await? {
                self.forget(&arn);
                self.live.known().entry_mut(&self.change.owner).tree.healthy.insert(arn);
                return Ok(NOW);
            }
            let waited = self.live.epoch.elapsed().saturating_sub(self.since(&arn));
            if waited >= self.live.settings.pace.patience {
                late.push(arn);
            }
            again = again.min(self.live.settings.pace.healthy);
        }
        if !late.is_empty() && awaited.active.is_empty() {
            return Err(self.late(&late));
        }
        Ok(Outcome::Pending(again.max(Duration::from_millis(10))))
    }

    fn late(&self, groups: &[String]) -> CloudError {
        let names: BTreeSet<&str> = groups.iter().map(|arn| arn.rsplit('/').nth(1).unwrap_or(arn)).collect();
        let minutes = self.live.settings.pace.patience.as_secs() / 60;
        let text = format!(
            "no target of {} became healthy in {minutes} minutes, so what served before goes on serving: check the port, protocol and path of \
             the health check, and that the nodes' security groups let it through",
            names.into_iter().collect::<Vec<_>>().join(", ")
        );
        match &self.change.blame {
            Some(object) => {
                CloudError::Invalid(Box::new(Problem::error(object.clone(), "", "TargetsUnhealthy", text)))
            }
            None => CloudError::Transient(text),
        }
    }

    /// `None`: it takes traffic; else how long to wait.
    async fn active(&self, arn: &str) -> Result<Option<Duration>> {
        let pace = self.live.settings.pace.active;
        let state = |live: &crate::live::Live<A>| {
            let known = live.known();
            let entry = known.entry(&self.change.owner)?;
            entry.tree.load_balancers.iter().find(|lb| lb.arn == arn).map(|lb| lb.state)
        };
        match state(self.live) {
            None => return Err(self.conflict("a load balancer is gone")),
            Some(state) if state.serves() => return Ok(None),
            Some(State::Failed) => return Err(self.conflict("a load balancer could not be made")),
            Some(_) => {}
        }
        let age = self.live.epoch.elapsed().saturating_sub(self.since(arn));
        if age < pace / 2 {
            // None is made in less.
            return Ok(Some(pace / 2 - age));
        }
        let mut polled = self.live.polled.lock().await;
        if state(self.live).is_some_and(State::serves) {
            return Ok(None);
        }
        let rested = polled.map(|at| at.elapsed());
        if let Some(rested) = rested.filter(|rested| *rested < pace) {
            return Ok(Some(pace - rested));
        }
        // All that are being made are asked about by one call.
        let mut arns: BTreeSet<String> = {
            let known = self.live.known();
            let all = known.entries().flat_map(|(_, e)| &e.tree.load_balancers);
            all.filter(|lb| lb.state == State::Provisioning).map(|lb| lb.arn.clone()).collect()
        };
        arns.remove(arn);
        let mut arns: BTreeSet<String> = arns.into_iter().take(MOST_IDS - 1).collect();
        arns.insert(arn.to_owned());
        let found = self.live.reader(Priority::Create).load_balancers_by_arn(&arns).await;
        let found = found.map_err(|e| self.failed(&e, "DescribeLoadBalancers"))?;
        *polled = Some(tokio::time::Instant::now());
        drop(polled);
        if !found.iter().any(|lb| lb.arn == arn) {
            return Err(self.conflict("a load balancer is gone"));
        }
        {
            let mut known = self.live.known();
            for lb in &found {
                known.set_state(&lb.arn, lb.state, &lb.dns_name, &lb.zone_id);
            }
        }
        match state(self.live) {
            Some(state) if state.serves() => Ok(None),
            _ => Ok(Some(pace)),
        }
    }

    async fn healthy(&self, group: &str) -> Result<bool> {
        let healths = self.live.reader(Priority::Create).health(group).await;
        match healths {
            Ok(healths) => Ok(healths.values().any(|h| *h == Health::Healthy)),
            Err(e) if e.state().is_some() => Err(self.conflict("a target group is gone")),
            Err(e) => Err(self.failed(&e, "DescribeTargetHealth")),
        }
    }
}
