//! Who announces what: the world, as each speaker sees it, and the decision per load balancer that [`crate::elections`] makes of it. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Endpoints, LbKey, ObjectRef};

use crate::advertisement::L2Advertisement;
use crate::bgp::BgpConfig;
use crate::candidates::{Interfaces, LiveSet, NodeFacts, NodeName, WhyNot};
use crate::elections::Elections;
use crate::fleet::{Fleet, Rules};
use crate::pool::Pools;
use crate::selector::Labels;

/// On which nodes traffic for an address can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// On all, as long as there is a usable endpoint anywhere (`externalTrafficPolicy: Cluster`).
    ClusterEndpoints,
    /// On those with a usable endpoint (`externalTrafficPolicy: Local`).
    LocalEndpoints,
    /// On those where a listener of our own runs, that is every live one.
    LocalListener,
}

/// A load balancer that has addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Identity.
    pub key: LbKey,
    /// The object that carries the status, for Events and status objects.
    pub object: ObjectRef,
    /// Its addresses, in the order of its status: the first one decides the election.
    pub addresses: Vec<IpAddr>,
    /// Labels of the object, which advertisements select by.
    pub labels: Labels,
    /// Whether it carries the annotation for sharing an address, even an empty one.
    pub shares_address: bool,
    /// Where traffic can be taken.
    pub when: When,
    /// Usable endpoints by node; those without a node under the empty name.
    pub endpoints: Endpoints,
    /// Only one node is to announce it by BGP.
    pub single_announcer: bool,
}

/// All that decisions depend on, apart from who is alive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Pools, refused ones too.
    pub pools: Arc<Pools>,
    /// Valid L2 advertisements.
    pub advertisements: Arc<Vec<L2Advertisement>>,
    /// Peers and advertisements of BGP.
    pub bgp: Arc<BgpConfig>,
    /// All Nodes.
    pub nodes: Arc<BTreeMap<NodeName, NodeFacts>>,
    /// All load balancers with addresses.
    pub announcements: BTreeMap<LbKey, Arc<Announcement>>,
    /// `--ignore-exclude-lb`: the exclude label of nodes does not count.
    pub ignore_exclude_label: bool,
    /// `--coexist`: another implementation announces, so nobody here does.
    pub standby: bool,
}

/// Why a node is silent about a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Silence {
    /// Another implementation announces ([`World::standby`]).
    Standby,
    /// It has no address.
    NoAddress,
    /// Its addresses are in no pool.
    NoPool,
    /// It has no usable endpoint anywhere.
    NoEndpoint,
    /// It may share its address, and an advertisement that matches it selects Services: other Services on the address may be elected
    /// elsewhere, so nobody announces.
    SharedAddressWithServiceSelector,
    /// No advertisement matches its pool and labels.
    NoAdvertisement,
    /// No node may announce it. The reason is that of this node.
    NoCandidate(WhyNot),
    /// Another node was elected, and this one could not be.
    NotCandidate(WhyNot),
    /// Another node was elected among the candidates.
    NotElected,
}

impl Silence {
    /// Short reason, as a label for metrics and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::NoAddress => "noAddress",
            Self::NoPool => "noPool",
            Self::NoEndpoint => "noEndpoint",
            Self::SharedAddressWithServiceSelector => "sharedIPWithServiceSelector",
            Self::NoAdvertisement => "noMatchingAdvertisement",
            Self::NoCandidate(_) => "noCandidate",
            Self::NotCandidate(_) => "notCandidate",
            Self::NotElected => "notOwner",
        }
    }
}

/// What one node does about one load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Announces all its addresses on these interfaces.
    Announce(Interfaces),
    /// Is silent.
    Silent(Silence),
}

/// The decision about one load balancer, as seen from one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The load balancer.
    pub announcement: Arc<Announcement>,
    /// The pool that its addresses belong to.
    pub pool: Option<String>,
    /// The node that announces it, if any.
    pub elected: Option<NodeName>,
    /// What this node does.
    pub verdict: Verdict,
}

/// Decides about every load balancer, for node `me`, in the order of their keys, by MetalLB's rules alone: as when nothing is announced yet
/// and nothing is known of the nodes' interfaces.
#[must_use]
pub fn announcements(world: &World, me: &str, live: &LiveSet) -> Vec<Decision> {
    let mut elections = Elections::new(me.to_owned(), Rules::default());
    elections.update(&Arc::new(world.clone()), Fleet::of(live.clone()));
    elections.into_decisions()
}

#[cfg(test)]
mod tests;
