//! The client against real Keystone, Neutron, Octavia and Barbican: one cloud without a data plane in a bare bed, which the steps share one after another, as some of them count calls.

mod faults;
mod live;
mod logins;
mod network;
mod octavia;
mod refusals;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use causeway_api::Fence;
use causeway_bed::Bed;
use causeway_bed::openstack::{Cloud, Service as Bedded};
use causeway_openstack::api::octavia::{LOAD_BALANCERS, LoadBalancer, Provisioning};
use causeway_openstack::api::{Calls, Priority, Query};
use causeway_openstack::client::{Client, Settings};
use causeway_openstack::config::{self, CloudConf, Sources};

/// Long enough for a load balancer on a machine with much other work to do.
const PATIENCE: Duration = Duration::from_secs(240);

/// Between two questions: each costs the cloud some time of a processor.
const EVERY: Duration = Duration::from_millis(300);

#[tokio::test]
async fn the_client_and_a_real_cloud() -> Result<()> {
    let bed = Bed::builder().bare(true).start().await?;
    let cloud = Cloud::builder().data_plane(false).load_balancers(6).start(&bed).await?;
    let calls = Calls::new(Arc::new(
        Client::new(conf(&cloud.cloud_conf(false))?.credentials, settings()).map_err(|e| anyhow!(e))?,
    ));
    let real = Real { cloud, calls, fence: Fence::open() };
    // A cloud is dear: all that fails is told at once.
    let steps = [
        ("logins", logins::all(&real).await),
        ("Neutron and Barbican", network::all(&real).await),
        ("faults", faults::all(&real).await),
        ("refusals", refusals::all(&real).await),
        ("Octavia", octavia::all(&real).await),
    ];
    let failed: Vec<String> =
        steps.into_iter().filter_map(|(step, result)| Some(format!("{step}: {:#}", result.err()?))).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    real.afresh();
    live::scenario(&conf(&real.cloud.cloud_conf(false))?).await.context("the provider")
}

/// As in use, but with the patience that a busy machine needs, and a token of any age replaced when it is refused: the steps come fast.
fn settings() -> Settings {
    Settings { young: Duration::ZERO, call: PATIENCE, ..Settings::default() }
}

/// Reads a configuration.
fn conf(text: &str) -> Result<CloudConf> {
    let read = |_: &Path| Ok(text.to_owned());
    let sources = Sources { conf: Some(Path::new("/etc/cloud.conf")), variable: &|_| None, read: &read };
    let (conf, warnings) = config::load(&sources).map_err(|problems| anyhow!("{problems:?}"))?;
    ensure!(warnings.is_empty(), "{warnings:?}");
    Ok(conf)
}

/// The cloud, and the client of its user `k8s`.
struct Real {
    cloud: Cloud,
    calls: Calls<Arc<Client>>,
    fence: Fence,
}

impl Real {
    /// Begins a step with nothing counted and nothing planned.
    fn afresh(&self) {
        let mut gate = self.cloud.gate();
        gate.calls.forget();
        gate.faults.clear(None);
    }

    /// Calls so far that a pattern covers.
    fn count(&self, calls: &str) -> u64 {
        self.cloud.count(calls).calls
    }

    /// Keystone's URL.
    fn keystone(&self) -> String {
        format!("{}/v3", self.cloud.outside_endpoint(Bedded::Identity))
    }

    /// Waits until nothing is under way in a load balancer; by lists, as in use.
    async fn settled(&self, id: &str) -> Result<LoadBalancer> {
        let query = Query::all().with("id", id);
        let found =
            causeway_bed::wait::until_every(EVERY, "the load balancer to settle", PATIENCE, async || {
                let list = self.calls.list(&LOAD_BALANCERS, query.clone(), Priority::Change).await?;
                let lb = list.into_iter().next().context("it is not there")?;
                ensure!(!lb.provisioning_status.pending(), "{:?}", lb.provisioning_status);
                Ok(lb)
            })
            .await?;
        ensure!(found.provisioning_status == Provisioning::Active, "{found:?}");
        Ok(found)
    }

    /// Deletes a load balancer, and waits until it is gone.
    async fn delete(&self, id: &str) -> Result<()> {
        self.calls.gone(&causeway_openstack::api::octavia::delete_cascade(id), &self.fence).await?;
        causeway_bed::wait::until_every(EVERY, "the load balancer to be gone", PATIENCE, async || {
            let left = self.calls.get(&LOAD_BALANCERS, id, Priority::Change).await?;
            let left = left.filter(|lb| lb.provisioning_status != Provisioning::Deleted);
            ensure!(left.is_none(), "{left:?}");
            Ok(())
        })
        .await
    }
}
