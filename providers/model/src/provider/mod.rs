//! The provider for the model cloud: the same shape as those for real clouds, small enough to be tested whole.
//!
//! [`desired`], [`plan`], [`status`] and [`naming`] are pure; [`observe`] and [`apply`] call the cloud through a [`Transport`].
//! Invariants: one list per 1,000 load balancers at the start and no read after that, except after an error, while something is pending, and
//! in [`CloudProvider::owned`]; one call per load balancer for nodes that come and one for nodes that go.

mod apply;
mod desired;
mod limits;
pub mod naming;
mod observe;
mod parts;
mod plan;
mod status;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use causeway_api::{
    Capabilities, CloudProvider, EndpointDetail, Fence, Layer, LbKey, LoadBalancer, Member, MemberSpec,
    MemberStatus, Outcome, OwnObjects, Owned, Plan, Problem, Protocol, Result, Wants,
};
use serde::{Deserialize, Serialize};

pub use apply::classify;
pub use desired::{Facts, MemberPart, ModelStack};
pub use limits::{Limiter, Priority, Quotas, subset};
pub use observe::{Known, Observed};
pub use plan::{Change, LbRef, hash};

use crate::cloud::{Bucket, Differences};
use crate::transport::Transport;

/// Settings of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The cluster's id: the mark on everything.
    pub cluster: String,
    /// How long to wait before something pending is looked at again.
    pub poll: Duration,
    /// Longest time that a call can take (D of the fencing rules).
    pub write_deadline: Duration,
    /// How long an orphan is left alone.
    pub orphan_grace: Duration,
    /// Documented rate of the cloud's API, if it has one.
    pub rate: Option<Bucket>,
    /// Make rules by the call that makes the load balancer (as Octavia can), instead of one by one (as ELBv2 must).
    pub populate_rules: bool,
}

impl Options {
    /// The usual settings for a cluster.
    #[must_use]
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            poll: Duration::from_millis(500),
            write_deadline: Duration::from_secs(5),
            orphan_grace: Duration::from_secs(600),
            rate: None,
            populate_rules: false,
        }
    }
}

/// What is read from the cloud to make facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// Quotas by name; one that is missing has its documented default.
    #[serde(default)]
    pub quotas: BTreeMap<String, u64>,
}

/// The provider.
#[derive(Debug)]
pub struct Model<T> {
    options: Options,
    transport: T,
    known: Mutex<Known>,
    limiter: Mutex<Limiter>,
    addresses: desired::NodeAddresses,
    differences: Differences,
}

impl<T: Transport> Model<T> {
    /// A provider that knows nothing yet.
    pub fn new(transport: T, options: Options) -> Self {
        let limiter = Mutex::new(Limiter::new(options.rate));
        Self {
            options,
            transport,
            known: Mutex::default(),
            limiter,
            addresses: desired::NodeAddresses::default(),
            differences: Differences::default(),
        }
    }

    /// The way to the cloud.
    pub fn transport(&self) -> &T {
        &self.transport
    }
}

impl<T: Transport> CloudProvider for Model<T> {
    type Facts = Facts;
    type Inventory = Inventory;
    type Stack = ModelStack;
    type Observed = Observed;
    type Change = Change;

    fn name(&self) -> &'static str {
        "model"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            l4: true,
            l7: true,
            protocols: vec![Protocol::Tcp, Protocol::Udp],
            own_classless: true,
            classes: Vec::new(),
            claims: Vec::new(),
            needs_node_ports: true,
            own_routes: false,
            orphan_grace: self.options.orphan_grace,
            write_deadline: self.options.write_deadline,
            status_is_commit: false,
        }
    }

    fn wants(&self) -> Wants {
        Wants {
            nodes: true,
            endpoints: EndpointDetail::None,
            secrets: true,
            namespace_labels: false,
            node_addresses: false,
            ingresses: true,
            pod_gates: None,
            kinds: Vec::new(),
        }
    }

    fn key(&self, member: &Member) -> LbKey {
        let layer = match member.spec {
            MemberSpec::Service(_) | MemberSpec::Own(_) => Layer::L4,
            MemberSpec::Ingress(_) => Layer::L7,
        };
        match naming::group(&member.annotations, &member.object.namespace) {
            Ok(Some(group)) => LbKey::group(layer, group),
            Ok(None) | Err(_) => LbKey::object(layer, member.object.clone()),
        }
    }

    fn facts(&self, _objects: &OwnObjects, inventory: &Inventory) -> (Facts, Vec<Problem>) {
        (Facts { quotas: inventory.quotas.clone() }, Vec::new())
    }

    fn desired(&self, lb: &LoadBalancer, facts: &Facts) -> (ModelStack, Vec<Problem>) {
        desired::desired(&self.options.cluster, lb, facts, &self.addresses)
    }

    fn plan(&self, want: &ModelStack, have: &Observed) -> Plan<Change> {
        plan::plan(want, have, self.options.populate_rules, &self.differences)
    }

    fn status(&self, want: &ModelStack, have: &Observed) -> Vec<MemberStatus> {
        status::status(want, have)
    }

    async fn start(&self, _all: &[LoadBalancer], _facts: &Facts) -> Result<()> {
        *observe::lock(&self.known) = Known::default();
        observe::audit(&self.transport, &self.known, &self.options.cluster).await
    }

    async fn inventory(&self) -> Result<Inventory> {
        Ok(Inventory { quotas: observe::inventory(&self.transport).await? })
    }

    async fn observe(&self, key: &LbKey) -> Result<Observed> {
        observe::observe(&self.transport, &self.known, &self.options.cluster, key, self.options.poll).await
    }

    async fn apply(&self, change: &Change, fence: &Fence) -> Result<Outcome> {
        let means = apply::Means {
            transport: &self.transport,
            known: &self.known,
            limiter: &self.limiter,
            cluster: &self.options.cluster,
            poll: self.options.poll,
        };
        apply::apply(&means, change, fence).await
    }

    async fn owned(&self) -> Result<Vec<Owned>> {
        observe::audit(&self.transport, &self.known, &self.options.cluster).await?;
        let mut owned: Vec<_> = observe::lock(&self.known).keys().map(|key| Owned { key }).collect();
        owned.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(owned)
    }
}
