//! What one node announces to its routers: the decision of [`routes`]. Pure.
//!
//! A node announces a load balancer if a BGPAdvertisement matches the node, the pool and the Service, and traffic that comes to the node gets on: with
//! `externalTrafficPolicy: Cluster` as soon as there is a usable endpoint anywhere, with `Local` if there is one on the node. All nodes of which that is true
//! announce at once, and routers share out the traffic. A node steps back as long as another one can announce instead: if it is unfit or about to go, and with
//! `Local` if its endpoints are all terminating while another node has a ready one, so that the route is gone before they are.
//!
//! A route is the address, cut to the aggregation length of the advertisement. With `Local` it is the single address whatever the length
//! is, or nodes would draw traffic for addresses that they have no endpoint for; of several advertisements the one with the longest length gives the
//! attributes then, since its route is the one that routers would have followed.
//!
//! Several advertisements of one route to one peer are united in their communities and must agree on everything else; if they do not, that peer does not
//! hear that route, and [`Conflict`] says why.
//!
//! Cost: one pass over all load balancers. What follows from a set of advertisements is worked out once ([`Plan`]); a load balancer then
//! costs a few additions to lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use causeway_api::{Family, LbKey, ObjectRef, Problem};
use ipnet::IpNet;

use super::advertisement::{Attribute, BgpAdvertisement, RouteAttributes};
use super::peer::Peer;
use crate::announce::{Announcement, When, World};
use crate::candidates::{NodeFacts, any_usable};
use crate::fleet::{Fleet, Unfit};
use crate::names::reasons;
use crate::pool::Pool;
use crate::selector::Labels;

mod plan;
mod standing;
mod unite;

use plan::{Merger, Out, Plan};
use standing::Standing;
use unite::{Part, Unite};

/// The routes that a peer shall have from this node.
pub type RibOut = BTreeMap<IpNet, Arc<RouteAttributes>>;

/// The decision for one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// The peers to speak with, by name, and what each shall have; that may be nothing.
    pub peers: BTreeMap<String, RibOut>,
    /// The decision about every load balancer.
    pub decisions: BTreeMap<LbKey, RouteDecision>,
}

/// The decision about one load balancer, as seen from one node.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteDecision {
    /// The load balancer.
    pub announcement: Arc<Announcement>,
    /// The pool that its addresses belong to.
    pub pool: Option<String>,
    /// The peers that are meant to hear of it from this node; empty if and only if it is silent.
    pub peers: Arc<BTreeSet<String>>,
    /// Why the node is silent, if it is.
    pub silent: Option<RouteSilence>,
    /// The routes that are not announced since advertisements contradict each other.
    pub conflicts: Vec<Conflict>,
    /// The other peers of the node, and those that hear part of it only: why.
    pub withheld: Arc<BTreeMap<String, Withheld>>,
}

/// Why a node does not announce a load balancer by BGP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteSilence {
    /// Another implementation announces ([`World::standby`]).
    Standby,
    /// It has no address.
    NoAddress,
    /// Its addresses are in no pool.
    NoPool,
    /// No advertisement matches its pool and labels.
    NoAdvertisement,
    /// Some do, but none of them selects this node.
    NodeNotSelected,
    /// There is no Node of this node's name.
    UnknownNode,
    /// The Node's condition `NetworkUnavailable` is `True`.
    NetworkUnavailable,
    /// The Node's label keeps it out of load balancers.
    ExcludedByLabel,
    /// It has no usable endpoint anywhere.
    NoEndpoint,
    /// It has none on this node, and wants a local one.
    NoLocalEndpoint,
    /// Those on this node are all terminating, and another node has a ready one.
    OnlyTerminatingEndpoints,
    /// The node would rather not, and another one can.
    Unfit(Unfit),
    /// The node is about to go, and another one can.
    Leaving,
    /// Only one node is to announce it, and that is another one.
    NotElected,
    /// This node speaks with none of the peers that are meant.
    NoPeer,
    /// It does, but their sessions do not carry the address's family.
    FamilyNotCarried,
    /// Advertisements contradict each other about every route.
    Conflict,
}

impl RouteSilence {
    /// Short reason, as a label for metrics and logs; MetalLB's where it has one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::NoAddress => "noAddress",
            Self::NoPool => "noPool",
            Self::NoAdvertisement => "noMatchingAdvertisement",
            Self::NodeNotSelected => "notOwner",
            Self::UnknownNode => "unknownNode",
            Self::NetworkUnavailable => "nodeNetworkUnavailable",
            Self::ExcludedByLabel => "nodeLabeledExcludeBalancers",
            Self::NoEndpoint => "noEndpoints",
            Self::NoLocalEndpoint => "noLocalEndpoints",
            Self::OnlyTerminatingEndpoints => "onlyTerminatingEndpoints",
            Self::Unfit(Unfit::KubeProxy) => "kubeProxyUnhealthy",
            Self::Unfit(Unfit::Drained) => "drained",
            Self::Leaving => "nodeLeaving",
            Self::NotElected => "notElected",
            Self::NoPeer => "noPeer",
            Self::FamilyNotCarried => "familyNotCarried",
            Self::Conflict => "conflictingAdvertisements",
        }
    }
}

impl fmt::Display for RouteSilence {
    /// As text for `/debug/state`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standby => "MetalLB announces",
            Self::NoAddress => "the Service has no address",
            Self::NoPool => "its addresses are in no pool",
            Self::NoAdvertisement => "no BGPAdvertisement matches its pool and labels",
            Self::NodeNotSelected => "no BGPAdvertisement of the Service matches the Node",
            Self::UnknownNode => "there is no such Node",
            Self::NetworkUnavailable => "the Node's condition NetworkUnavailable is True",
            Self::ExcludedByLabel => {
                "the Node is labelled node.kubernetes.io/exclude-from-external-load-balancers"
            }
            Self::NoEndpoint => "the Service has no usable endpoint",
            Self::NoLocalEndpoint => "externalTrafficPolicy is Local and the Node has no usable endpoint",
            Self::OnlyTerminatingEndpoints => {
                "the Node's endpoints are terminating and another Node has a ready one"
            }
            Self::Unfit(why) => {
                return write!(f, "{}, and another Node can announce", why.as_str());
            }
            Self::Leaving => "the Node is about to go, and another one can announce",
            Self::NotElected => "only one Node announces the Service, and another one was elected",
            Self::NoPeer => "the Node speaks with none of the BGPPeers that are meant",
            Self::FamilyNotCarried => {
                "the sessions with the BGPPeers that are meant carry the other IP family only"
            }
            Self::Conflict => "its BGPAdvertisements contradict each other",
        })
    }
}

/// Why a peer of the node does not hear of a load balancer that the node announces, or not of all its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Withheld {
    /// The advertisements are for other peers.
    OtherPeers,
    /// The session does not carry the routes of this family.
    Family(Family),
}

impl fmt::Display for Withheld {
    /// As text for `/debug/state`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherPeers => "the BGPAdvertisements of the Service name other peers",
            Self::Family(Family::V4) => "the session does not carry IPv4 routes",
            Self::Family(Family::V6) => "the session does not carry IPv6 routes",
        })
    }
}

/// A route that a peer does not hear, since two advertisements want it with different attributes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The route.
    pub prefix: IpNet,
    /// The peer.
    pub peer: String,
    /// What differs.
    pub attribute: Attribute,
    /// One of the BGPAdvertisements, and what it gives.
    pub one: (ObjectRef, String),
    /// The other one.
    pub other: (ObjectRef, String),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, peer, attribute, one, other } = self;
        write!(
            f,
            "{prefix} is not announced to {peer}: {attribute} is {} in {} and {} in {}; give both the same, or let their peers, nodes or Services differ",
            one.1, one.0, other.1, other.0
        )
    }
}

impl RouteDecision {
    /// What is wrong with the object, if anything: one problem for each pair of advertisements that contradict each other.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut seen = BTreeSet::new();
        self.conflicts
            .iter()
            .filter(|conflict| seen.insert((&conflict.one.0, &conflict.other.0)))
            .map(|conflict| {
                Problem::error(
                    self.announcement.object.clone(),
                    "",
                    reasons::CONFLICTING_ADVERTISEMENTS,
                    conflict.to_string(),
                )
            })
            .collect()
    }
}

/// Decides for node `me`, which is `unfit` for these reasons, if any.
#[must_use]
pub fn routes(world: &World, fleet: &Fleet, me: &str, unfit: &BTreeSet<Unfit>) -> Routing {
    if world.standby {
        // Two speakers of one node would also fight for its sessions, so there are none.
        let silent = |lb| RouteDecision::silent(lb, None, RouteSilence::Standby);
        let decisions = world.announcements.iter().map(|(key, lb)| (key.clone(), silent(lb)));
        return Routing { peers: BTreeMap::new(), decisions: decisions.collect() };
    }
    Pass::new(world, fleet, me, unfit).run()
}

impl RouteDecision {
    fn silent(lb: &Arc<Announcement>, pool: Option<&Pool>, why: RouteSilence) -> Self {
        Self {
            announcement: Arc::clone(lb),
            pool: pool.map(|pool| pool.name.clone()),
            peers: Arc::default(),
            silent: Some(why),
            conflicts: Vec::new(),
            withheld: Arc::default(),
        }
    }
}

/// One pass over all load balancers.
struct Pass<'a> {
    world: &'a World,
    node: Option<&'a NodeFacts>,
    /// The peers of this node.
    peers: Vec<&'a Arc<Peer>>,
    /// By pool: indexes of the advertisements that match it.
    by_pool: HashMap<&'a str, Vec<u16>>,
    plans: HashMap<plan::Key, Rc<Plan>>,
    merger: Merger,
    standing: Standing<'a>,
    /// By peer.
    parts: Vec<Vec<Part>>,
}

impl<'a> Pass<'a> {
    fn new(world: &'a World, fleet: &'a Fleet, me: &'a str, unfit: &BTreeSet<Unfit>) -> Self {
        let node = world.nodes.get(me);
        let unlabelled = Labels::new();
        let peers = world.bgp.peers_of(node.map_or(&unlabelled, |node| &node.labels));
        Self {
            world,
            node,
            parts: peers.iter().map(|_| Vec::new()).collect(),
            peers,
            by_pool: HashMap::new(),
            plans: HashMap::new(),
            merger: Merger::default(),
            standing: Standing::new(world, fleet, me, unfit),
        }
    }

    fn run(mut self) -> Routing {
        let world = self.world;
        let mut judged: Vec<(RouteDecision, Option<Rc<Plan>>)> =
            (0_u32..).zip(world.announcements.values()).map(|(index, lb)| self.judge(index, lb)).collect();
        let mut united = Unite::new(&world.bgp.advertisements);
        let ribs = self.peers.iter().zip(&mut self.parts);
        let peers = ribs.map(|(peer, parts)| (peer.name.clone(), united.rib(&peer.name, parts))).collect();
        for (of, conflict) in united.conflicts {
            if let Some((decision, _)) = usize::try_from(of).ok().and_then(|of| judged.get_mut(of)) {
                decision.conflicts.push(conflict);
            }
        }
        for (decision, plan) in &mut judged {
            if let (Some(plan), false) = (plan, decision.conflicts.is_empty()) {
                self.lose(decision, plan);
            }
        }
        let decisions =
            world.announcements.keys().cloned().zip(judged.into_iter().map(|(decision, _)| decision));
        Routing { peers, decisions: decisions.collect() }
    }

    /// The decision as far as it does not depend on other load balancers, and the plan for it unless it is silent. Adds to the parts.
    fn judge(&mut self, of: u32, lb: &'a Arc<Announcement>) -> (RouteDecision, Option<Rc<Plan>>) {
        let pools = &self.world.pools;
        let pool = pools.of(&lb.addresses).or_else(|| pools.of(lb.addresses.get(..1).unwrap_or_default()));
        let pool: Option<&'a Pool> = pool.map(Arc::as_ref);
        let ads = match self.advertisements(lb, pool) {
            Ok(ads) => ads,
            Err(why) => return (RouteDecision::silent(lb, pool, why), None),
        };
        let plan = self.plan(ads, lb);
        let endpoints = (lb.when == When::LocalEndpoints).then(|| self.standing.endpoints(lb));
        for (out, prefix) in outs(&plan, lb) {
            self.parts[usize::from(out.peer)].push(Part { prefix, what: out.what.clone(), endpoints, of });
        }
        let decision = RouteDecision {
            announcement: Arc::clone(lb),
            pool: pool.map(|pool| pool.name.clone()),
            peers: Arc::clone(&plan.heard),
            silent: plan.silent,
            conflicts: Vec::new(),
            withheld: Arc::clone(&plan.withheld),
        };
        (decision, Some(plan))
    }

    /// The advertisements by which this node announces a load balancer.
    fn advertisements(
        &mut self,
        lb: &'a Announcement,
        pool: Option<&'a Pool>,
    ) -> Result<Vec<u16>, RouteSilence> {
        if lb.addresses.is_empty() {
            return Err(RouteSilence::NoAddress);
        }
        let pool = pool.ok_or(RouteSilence::NoPool)?;
        let ads = &self.world.bgp.advertisements;
        let of_pool = self.by_pool.entry(&pool.name).or_insert_with(|| {
            let matching = (0_u16..).zip(ads).filter(|(_, ad)| ad.matches_pool(pool));
            matching.map(|(index, _)| index).collect()
        });
        let matches = |ad: &u16| ads[usize::from(*ad)].matches_service(&lb.labels);
        let all: Vec<u16> = of_pool.iter().copied().filter(matches).collect();
        if all.is_empty() {
            return Err(RouteSilence::NoAdvertisement);
        }
        let node = self.node.ok_or(RouteSilence::UnknownNode)?;
        let mine: Vec<u16> = all.iter().copied().filter(|ad| self.standing.selected(*ad)).collect();
        if mine.is_empty() {
            return Err(RouteSilence::NodeNotSelected);
        }
        if node.network_unavailable {
            return Err(RouteSilence::NetworkUnavailable);
        }
        if standing::excluded(self.world, node) {
            return Err(RouteSilence::ExcludedByLabel);
        }
        if lb.when != When::LocalListener && !any_usable(&lb.endpoints) {
            return Err(RouteSilence::NoEndpoint);
        }
        self.standing.judge(lb, node, &all)?;
        Ok(mine)
    }

    fn plan(&mut self, ads: Vec<u16>, lb: &Announcement) -> Rc<Plan> {
        let key = plan::Key::new(ads, lb);
        if let Some(plan) = self.plans.get(&key) {
            return Rc::clone(plan);
        }
        let ads = &self.world.bgp.advertisements;
        let plan = Rc::new(Plan::new(&key, ads, &self.peers, &mut self.merger));
        self.plans.insert(key, Rc::clone(&plan));
        plan
    }

    /// What is left of a decision with conflicts.
    fn lose(&self, decision: &mut RouteDecision, plan: &Plan) {
        decision.conflicts.sort();
        decision.conflicts.dedup();
        let lost: BTreeSet<(&str, IpNet)> =
            decision.conflicts.iter().map(|conflict| (conflict.peer.as_str(), conflict.prefix)).collect();
        let heard: BTreeSet<String> = outs(plan, &decision.announcement)
            .map(|(out, prefix)| (self.peers[usize::from(out.peer)].name.as_str(), prefix))
            .filter(|route| !lost.contains(route))
            .map(|(peer, _)| peer.to_owned())
            .collect();
        if heard.is_empty() {
            decision.silent = Some(RouteSilence::Conflict);
        }
        decision.peers = Arc::new(heard);
    }
}

/// The routes of a load balancer by a plan.
fn outs<'p>(plan: &'p Plan, lb: &'p Announcement) -> impl Iterator<Item = (&'p Out, IpNet)> {
    lb.addresses.iter().map(IpAddr::to_canonical).flat_map(|address| {
        let outs = plan.outs(Family::of(&address)).iter();
        // A length of an advertisement is one of the family.
        outs.filter_map(move |out| Some((out, IpNet::new(address, out.length).ok()?.trunc())))
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
