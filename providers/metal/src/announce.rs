//! Who announces what: from the whole world, as each speaker sees it, to one decision per load balancer. Pure.
//!
//! Invariants: speakers with equal worlds and live sets elect the same node; a load balancer is announced by at most one node then. The order
//! of events that made the world does not matter. Cost: each advertisement is matched against each node once; each load balancer then
//! costs one hash per candidate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Endpoints, LbKey, ObjectRef};

use crate::advertisement::L2Advertisement;
use crate::candidates::{
    Electorate, Interfaces, LiveSet, NodeFacts, NodeName, WhyNot, any_usable, with_local_endpoints,
};
use crate::election::{Candidate, winner};
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
}

/// All that decisions depend on, apart from who is alive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Pools, refused ones too.
    pub pools: Arc<Pools>,
    /// Valid advertisements.
    pub advertisements: Arc<Vec<L2Advertisement>>,
    /// All Nodes.
    pub nodes: Arc<BTreeMap<NodeName, NodeFacts>>,
    /// All load balancers with addresses.
    pub announcements: BTreeMap<LbKey, Arc<Announcement>>,
    /// `--ignore-exclude-lb`: the exclude label of nodes does not count.
    pub ignore_exclude_label: bool,
}

/// Why a node is silent about a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Silence {
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

/// Decides about every load balancer, for node `me`, in the order of their keys.
#[must_use]
pub fn announcements(world: &World, me: &str, live: &LiveSet) -> Vec<Decision> {
    let mut electorate =
        Electorate::new(&world.nodes, &world.advertisements, live, world.ignore_exclude_label);
    world
        .announcements
        .values()
        .map(|announcement| {
            let pool = world
                .pools
                .of(&announcement.addresses)
                .or_else(|| world.pools.of(announcement.addresses.get(..1).unwrap_or_default()));
            let (elected, verdict) = decide(world, &mut electorate, announcement, pool, me);
            Decision {
                announcement: Arc::clone(announcement),
                pool: pool.map(|p| p.name.clone()),
                elected: elected.map(str::to_owned),
                verdict,
            }
        })
        .collect()
}

fn decide<'a>(
    world: &'a World,
    electorate: &mut Electorate<'a>,
    lb: &Announcement,
    pool: Option<&Arc<crate::pool::Pool>>,
    me: &str,
) -> (Option<&'a str>, Verdict) {
    let silent = |why| (None, Verdict::Silent(why));
    let Some(address) = lb.addresses.first() else { return silent(Silence::NoAddress) };
    let Some(pool) = pool else { return silent(Silence::NoPool) };
    // Nobody answers for a Service that nobody serves, with the policy Cluster too.
    if lb.when != When::LocalListener && !any_usable(&lb.endpoints) {
        return silent(Silence::NoEndpoint);
    }
    let ads: Vec<usize> = (0..world.advertisements.len())
        .filter(|ad| {
            let ad = &world.advertisements[*ad];
            ad.matches_pool(pool) && ad.matches_service(&lb.labels)
        })
        .collect();
    if ads.is_empty() {
        return silent(Silence::NoAdvertisement);
    }
    if lb.shares_address && ads.iter().any(|ad| !world.advertisements[*ad].service_selectors.is_empty()) {
        return silent(Silence::SharedAddressWithServiceSelector);
    }
    let eligible = electorate.eligible(&ads);
    let local;
    let (candidates, ready) = match lb.when {
        When::ClusterEndpoints | When::LocalListener => (&eligible.nodes, true),
        When::LocalEndpoints => {
            local = with_local_endpoints(electorate, &eligible, &lb.endpoints);
            (&local.0, local.1)
        }
    };
    let elected = winner(
        candidates.iter().map(|(index, preference)| Candidate {
            node: electorate.nodes[*index].0,
            preference: *preference,
        }),
        *address,
    );
    let my_index = electorate.index(me);
    if elected == Some(me)
        && let Some(index) = my_index
    {
        return (elected, Verdict::Announce(electorate.interfaces(index, &ads)));
    }
    let candidate = my_index.is_some_and(|me| candidates.iter().any(|(index, _)| *index == me));
    let why = if candidate {
        Silence::NotElected
    } else {
        let why = electorate.why_not(me, &ads).unwrap_or_else(|| {
            let serving = lb.endpoints.by_node.get(me).is_some_and(|e| e.serving > 0);
            if ready && serving { WhyNot::OnlyTerminatingEndpoints } else { WhyNot::NoLocalEndpoint }
        });
        if elected.is_some() { Silence::NotCandidate(why) } else { Silence::NoCandidate(why) }
    };
    (elected, Verdict::Silent(why))
}

#[cfg(test)]
mod tests;
