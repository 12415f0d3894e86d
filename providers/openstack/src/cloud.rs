//! The way to OpenStack: what a provider needs of it, and the one for offline use.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use causeway_api::{AppliedHash, CloudError, Fence, Found, LbKey, NodeRef, Outcome, Owned, Refresh, Result};

use crate::certificates::Content;
use crate::inventory::{Inventory, Rare};
use crate::observe::Observed;
use crate::ownership::resource;
use crate::plan::Change;
use crate::stack::{OctaviaStack, ResourceType};

/// What can be listed for a whole project in one call.
const LISTED: [ResourceType; 4] =
    [ResourceType::Listener, ResourceType::Pool, ResourceType::HealthMonitor, ResourceType::L7Policy];

/// What of a stack decides where and how closely to look.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The load balancer that a user names.
    pub attached: Option<String>,
    /// The hash that its load balancer carries once all is applied.
    pub applied: AppliedHash,
    /// How many members each pool has, by what its tag says.
    pub members: BTreeMap<String, usize>,
    /// Everything else that the load balancer consists of and that can be listed at once, by what tags say.
    pub parts: BTreeSet<String>,
    /// A floating IP leads to it.
    pub floating: bool,
    /// It has what no list of everything shows.
    pub hidden: bool,
    /// It has secrets in Barbican.
    pub secrets: bool,
    /// Id of the peer's load balancer that may be taken over.
    pub adopt: Option<String>,
    /// Secrets of Kubernetes that must be read first, by `namespace/name`: their versions.
    pub unread: BTreeMap<String, String>,
    /// What of the inventory must be asked for first.
    pub asks: BTreeSet<Rare>,
}

impl Wanted {
    /// Of a stack.
    #[must_use]
    pub fn of(stack: &OctaviaStack) -> Self {
        Self {
            attached: stack.attached.clone(),
            applied: stack.applied(),
            members: stack
                .pools
                .keys()
                .map(|p| (resource(ResourceType::Pool, p), stack.members.get(p).map_or(0, BTreeMap::len)))
                .collect(),
            parts: stack
                .posted()
                .into_iter()
                .filter(|(kind, ..)| LISTED.contains(kind))
                .map(|(kind, id, _)| resource(kind, id))
                .collect(),
            floating: stack.floating_ip.is_some(),
            hidden: stack.attached.is_some() || stack.security_group.is_some() || !stack.secrets.is_empty(),
            secrets: !stack.secrets.is_empty(),
            adopt: stack.adopt.as_ref().map(|adopt| adopt.id.clone()),
            unread: BTreeMap::new(),
            asks: BTreeSet::new(),
        }
    }
}

/// A cloud that is, or stands for, OpenStack.
pub trait Cloud: Send + Sync + 'static {
    /// What is known of what a Secret of Kubernetes holds, `namespace/name`, in this version; `owner` names it.
    fn content(&self, owner: &str, secret: &str, version: &str) -> Content;
    /// Reads Secrets of Kubernetes, by `namespace/name`; versions are noted with what is found.
    fn read(&self, unread: &BTreeMap<String, String>) -> impl Future<Output = Result<()>> + Send;
    /// See [`causeway_api::CloudProvider::start`].
    fn start(&self) -> impl Future<Output = Result<()>> + Send;
    /// The next inventory has this too, and will be asked for soon.
    fn ask(&self, rare: &BTreeSet<Rare>);
    /// See [`causeway_api::CloudProvider::inventory`].
    fn inventory(&self) -> impl Future<Output = Result<Inventory>> + Send;
    /// See [`causeway_api::CloudProvider::observe`]. `wanted`: what was last wanted for it.
    fn observe(&self, key: &LbKey, wanted: Option<&Wanted>) -> impl Future<Output = Result<Observed>> + Send;
    /// See [`causeway_api::CloudProvider::apply`].
    fn apply(&self, change: &Change, fence: &Fence) -> impl Future<Output = Result<Outcome>> + Send;
    /// See [`causeway_api::CloudProvider::owned`].
    fn owned(&self) -> impl Future<Output = Result<Vec<Owned>>> + Send;
    /// See [`causeway_api::CloudProvider::instances`].
    fn instances(&self, nodes: &[NodeRef]) -> impl Future<Output = Result<Vec<Found>>> + Send {
        let unknown = nodes.iter().map(|_| Found::Unknown("there is no cloud to ask".to_owned()));
        std::future::ready(Ok(unknown.collect()))
    }
    /// See [`causeway_api::Capabilities::write_deadline`].
    fn write_deadline(&self) -> Duration {
        Duration::from_secs(10)
    }
    /// See [`causeway_api::CloudProvider::refresh`].
    fn refresh(&self) -> Option<Refresh> {
        None
    }
    /// See [`causeway_api::CloudProvider::audit_period`].
    fn audit_period(&self) -> Option<Duration> {
        None
    }
    /// See [`causeway_api::CloudProvider::audit`].
    fn audit(&self) -> impl Future<Output = Result<Vec<LbKey>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}

/// No cloud: it holds nothing, and nothing can be written to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Cloud for Offline {
    // A plan from files shows what would be made.
    fn content(&self, _owner: &str, _secret: &str, version: &str) -> Content {
        Content::Digest(causeway_api::digest(version))
    }

    async fn read(&self, _unread: &BTreeMap<String, String>) -> Result<()> {
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        Ok(())
    }

    // A file says all that there is.
    fn ask(&self, _rare: &BTreeSet<Rare>) {}

    async fn inventory(&self) -> Result<Inventory> {
        Ok(Inventory::default())
    }

    async fn observe(&self, _key: &LbKey, _wanted: Option<&Wanted>) -> Result<Observed> {
        Ok(Observed::default())
    }

    async fn apply(&self, _change: &Change, _fence: &Fence) -> Result<Outcome> {
        Err(CloudError::Fenced)
    }

    async fn owned(&self) -> Result<Vec<Owned>> {
        Ok(Vec::new())
    }
}
