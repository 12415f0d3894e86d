//! The engine's metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// One label `cause`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCause {
    /// Why the load balancer was synced.
    pub cause: String,
}

/// One label `result`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByResult {
    /// How it ended: `done`, `pending`, or an error class.
    pub result: String,
}

/// One label `verb`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByVerb {
    /// What the change did.
    pub verb: String,
}

/// All metrics of the engine.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Syncs by cause.
    pub syncs: Family<ByCause, Counter>,
    /// Results of syncs.
    pub results: Family<ByResult, Counter>,
    /// Changes applied.
    pub changes: Family<ByVerb, Counter>,
    /// Seconds per sync.
    pub seconds: Histogram,
    /// Load balancers that wait or are due.
    pub queued: Gauge,
    /// Load balancers in work.
    pub running: Gauge,
    /// Load balancers that are as wanted.
    pub load_balancers: Gauge,
    /// Load balancers with a problem.
    pub troubled: Gauge,
    /// Plans that the linter refused.
    pub refused_plans: Counter,
    /// Orphans seen at the last sweep.
    pub orphans: Gauge,
    /// 1 while deleting orphans is stopped by the limit.
    pub mass_delete_stopped: Gauge,
    /// 1 while this replica leads.
    pub leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            syncs: Family::default(),
            results: Family::default(),
            changes: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            queued: Gauge::default(),
            running: Gauge::default(),
            load_balancers: Gauge::default(),
            troubled: Gauge::default(),
            refused_plans: Counter::default(),
            orphans: Gauge::default(),
            mass_delete_stopped: Gauge::default(),
            leader: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers everything; the registry's prefix is `causeway`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("syncs", "Syncs of load balancers, by what caused them", self.syncs.clone());
        registry.register(
            "sync_results",
            "How syncs ended: done, pending, or a class of error",
            self.results.clone(),
        );
        registry.register("changes", "Changes applied to the cloud, by verb", self.changes.clone());
        registry.register("sync_seconds", "Seconds that a sync took", self.seconds.clone());
        registry.register("queue_depth", "Load balancers that wait for a sync", self.queued.clone());
        registry.register("syncs_running", "Load balancers being synced", self.running.clone());
        registry.register("load_balancers", "Load balancers that are as wanted", self.load_balancers.clone());
        registry.register(
            "load_balancers_troubled",
            "Load balancers with a problem that a user must look at",
            self.troubled.clone(),
        );
        registry.register(
            "plans_refused",
            "Plans that the linter refused to apply",
            self.refused_plans.clone(),
        );
        registry.register(
            "orphans",
            "Load balancers in the cloud that carry our mark and that no object wants",
            self.orphans.clone(),
        );
        registry.register(
            "mass_delete_stopped",
            "1 while deleting orphans is stopped by the limit; see --confirm-mass-delete",
            self.mass_delete_stopped.clone(),
        );
        registry.register("leader", "1 while this replica leads", self.leader.clone());
    }
}
