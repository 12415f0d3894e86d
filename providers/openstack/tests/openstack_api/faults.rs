//! The client while the way to the services is disturbed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use causeway_bed::cloud::{Effect, Fault, Moment};
use causeway_bed::openstack::{GATEWAY, SMALL_PAGE};
use causeway_openstack::api::neutron::{FLOATING_IPS, FloatingIp, NewFloatingIp, SUBNETS};
use causeway_openstack::api::{CallError, Priority, Query};

use crate::Real;

const MAKES: &str = "network:POST /v2.0/floatingips";
const READS: &str = "network:GET *";

impl Real {
    fn plan(&self, fault: Fault) {
        self.cloud.gate().faults.add(fault);
    }

    /// Makes a floating IP with this description.
    async fn make(&self, description: &str) -> Result<FloatingIp, CallError> {
        let body = NewFloatingIp {
            floating_network_id: self.cloud.seed().public_network.clone(),
            description: description.to_owned(),
            ..Default::default()
        };
        self.calls.create(&FLOATING_IPS, &body, &self.fence).await
    }

    async fn made(&self, description: &str) -> Result<usize> {
        let query = Query::all().with("description", description);
        Ok(self.calls.list(&FLOATING_IPS, query, Priority::Audit).await?.len())
    }
}

pub async fn all(real: &Real) -> Result<()> {
    reads_get_through(real).await?;
    what_makes_is_never_made_twice(real).await?;
    too_many_calls(real).await?;
    small_pages(real).await
}

async fn reads_get_through(real: &Real) -> Result<()> {
    real.afresh();
    for (nth, effect) in [
        (1, Effect::error(Moment::Before, GATEWAY, 503)),
        (2, Effect::Cut { when: Moment::Before }),
        (3, Effect::error(Moment::Before, "Internal", 500)),
    ] {
        real.plan(Fault::once(READS, nth, effect));
    }
    real.calls.list(&SUBNETS, Query::all(), Priority::Audit).await?;
    ensure!(real.count(READS) == 4, "{} calls", real.count(READS));
    Ok(())
}

async fn what_makes_is_never_made_twice(real: &Real) -> Result<()> {
    real.afresh();
    real.plan(Fault::once(MAKES, 1, Effect::Cut { when: Moment::After }));
    let lost = real.make("lost answer").await;
    let Err(error) = lost else { bail!("an answer over a cut connection") };
    ensure!(!error.without_effect(), "{error:?}");
    ensure!(
        real.count(MAKES) == 1 && real.made("lost answer").await? == 1,
        "it is found by its owner's mark"
    );
    real.plan(Fault::once(MAKES, 1, Effect::error(Moment::After, "Internal", 500)));
    let failed = real.make("failed after").await;
    ensure!(failed.as_ref().is_err_and(|e| !e.without_effect()), "{failed:?}");
    ensure!(real.made("failed after").await? == 1);
    Ok(())
}

async fn too_many_calls(real: &Real) -> Result<()> {
    real.afresh();
    let throttled = |seconds| Effect::Error {
        when: Moment::Before,
        code: "OverLimit".into(),
        status: 429,
        retry_after: Some(seconds),
    };
    real.plan(Fault::once(MAKES, 1, throttled(1)));
    let begin = Instant::now();
    real.make("throttled").await?;
    ensure!(begin.elapsed() >= Duration::from_secs(1) && real.made("throttled").await? == 1);
    Ok(())
}

/// The lists of 50 that users of openstack-cloud-controller-manager see: an operator has set so, and the rest is on further pages.
async fn small_pages(real: &Real) -> Result<()> {
    real.afresh();
    let all = real.calls.list(&SUBNETS, Query::all(), Priority::Audit).await?.len();
    ensure!(all > 2, "{all} subnets");
    real.afresh();
    real.plan(Fault::always("network:GET *", Effect::Own { name: format!("{SMALL_PAGE}=2") }));
    let paged = real.calls.list(&SUBNETS, Query::all(), Priority::Audit).await?.len();
    ensure!(paged == all && real.count(READS) > 1, "{paged} of {all} on {} pages", real.count(READS));
    real.afresh();
    Ok(())
}
