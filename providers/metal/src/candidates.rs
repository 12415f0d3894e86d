//! Which nodes may announce a Service, and on which interfaces. Pure.
//!
//! MetalLB's rules, in its order: alive, not `NetworkUnavailable`, not excluded by label, matched by an advertisement that matches pool and
//! Service; with `externalTrafficPolicy: Local` only nodes with a usable endpoint, and among those the ones with a *ready* endpoint
//! before the ones where all are terminating. Readiness of the node and cordoning are not rules: a cordoned node goes on announcing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use causeway_api::Endpoints;

use crate::advertisement::L2Advertisement;
use crate::selector::Labels;

/// Name of a Node.
pub type NodeName = String;

/// What announcing depends on of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Labels.
    pub labels: Labels,
    /// Condition `NetworkUnavailable` is `True`.
    pub network_unavailable: bool,
}

/// Which speakers are alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveSet {
    /// Membership is off: every Node counts as alive.
    Everyone,
    /// Exactly these.
    Nodes(BTreeSet<NodeName>),
}

impl LiveSet {
    /// Whether a node is alive.
    #[must_use]
    pub fn contains(&self, node: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Nodes(nodes) => nodes.contains(node),
        }
    }
}

/// The interfaces that an address is announced on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interfaces {
    /// Every eligible one.
    All,
    /// Those of the eligible ones that have these names.
    Only(BTreeSet<String>),
}

impl Interfaces {
    /// Whether an interface of this name is meant.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// Why a node may not announce a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyNot {
    /// Its speaker is not alive.
    NotAlive,
    /// There is no Node of that name.
    UnknownNode,
    /// Its condition `NetworkUnavailable` is `True`.
    NetworkUnavailable,
    /// Its label keeps it out of load balancers.
    ExcludedByLabel,
    /// No advertisement of pool and Service matches the node.
    NoAdvertisement,
    /// It has no usable endpoint, and the Service wants a local one.
    NoLocalEndpoint,
    /// Its endpoints are all terminating, and another node has a ready one.
    OnlyTerminatingEndpoints,
}

impl WhyNot {
    /// As text for logs and `/debug/state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAlive => "its speaker is not alive",
            Self::UnknownNode => "there is no such Node",
            Self::NetworkUnavailable => "the Node's condition NetworkUnavailable is True",
            Self::ExcludedByLabel => {
                "the Node is labelled node.kubernetes.io/exclude-from-external-load-balancers"
            }
            Self::NoAdvertisement => "no L2Advertisement of the Service matches the Node",
            Self::NoLocalEndpoint => "externalTrafficPolicy is Local and the Node has no usable endpoint",
            Self::OnlyTerminatingEndpoints => {
                "its endpoints are terminating and another Node has a ready one"
            }
        }
    }
}

/// Nodes that one set of advertisements lets announce, as indexes into [`Electorate::nodes`].
#[derive(Debug)]
pub(crate) struct Eligible {
    /// Index of the node and its preference, sorted by index.
    pub(crate) nodes: Vec<(usize, i64)>,
}

/// Everything about nodes that does not depend on a single Service: computed once, shared by all decisions.
pub(crate) struct Electorate<'a> {
    /// Nodes in order of their names.
    pub(crate) nodes: Vec<(&'a str, &'a NodeFacts)>,
    fit: Vec<Result<(), WhyNot>>,
    advertisements: &'a [L2Advertisement],
    /// By advertisement: the nodes that it matches.
    matched: Vec<Vec<bool>>,
    /// By the set of advertisements that a Service matches.
    eligible: HashMap<Vec<usize>, Rc<Eligible>>,
}

impl<'a> Electorate<'a> {
    pub(crate) fn new(
        nodes: &'a BTreeMap<NodeName, NodeFacts>,
        advertisements: &'a [L2Advertisement],
        live: &LiveSet,
        ignore_exclude_label: bool,
    ) -> Self {
        let nodes: Vec<_> = nodes.iter().map(|(name, facts)| (name.as_str(), facts)).collect();
        let fit =
            nodes.iter().map(|(name, facts)| fitness(name, facts, live, ignore_exclude_label)).collect();
        let matched = advertisements
            .iter()
            .map(|ad| nodes.iter().map(|(_, facts)| ad.matches_node(&facts.labels)).collect())
            .collect();
        Self { nodes, fit, advertisements, matched, eligible: HashMap::new() }
    }

    /// The nodes that these advertisements (indexes) let announce.
    pub(crate) fn eligible(&mut self, advertisements: &[usize]) -> Rc<Eligible> {
        if let Some(found) = self.eligible.get(advertisements) {
            return Rc::clone(found);
        }
        let mut nodes = Vec::new();
        for (index, (_, facts)) in self.nodes.iter().enumerate() {
            if self.fit[index].is_err() || !advertisements.iter().any(|ad| self.matched[*ad][index]) {
                continue;
            }
            let preference = advertisements
                .iter()
                .filter(|ad| self.matched[**ad][index])
                .map(|ad| self.advertisements[*ad].weight(&facts.labels))
                .sum();
            nodes.push((index, preference));
        }
        let eligible = Rc::new(Eligible { nodes });
        self.eligible.insert(advertisements.to_vec(), Rc::clone(&eligible));
        eligible
    }

    pub(crate) fn index(&self, node: &str) -> Option<usize> {
        self.nodes.binary_search_by(|(name, _)| (*name).cmp(node)).ok()
    }

    /// Why a node is not among the eligible ones of these advertisements; `None` if it is.
    pub(crate) fn why_not(&self, node: &str, advertisements: &[usize]) -> Option<WhyNot> {
        let Some(index) = self.index(node) else { return Some(WhyNot::UnknownNode) };
        if let Err(why) = self.fit[index] {
            return Some(why);
        }
        let matched = advertisements.iter().any(|ad| self.matched[*ad][index]);
        (!matched).then_some(WhyNot::NoAdvertisement)
    }

    /// The interfaces that these advertisements name for a node: the union; one that names none means all.
    pub(crate) fn interfaces(&self, node: usize, advertisements: &[usize]) -> Interfaces {
        let mut names = BTreeSet::new();
        for ad in advertisements.iter().filter(|ad| self.matched[**ad][node]) {
            let ad = &self.advertisements[*ad];
            if ad.interfaces.is_empty() {
                return Interfaces::All;
            }
            names.extend(ad.interfaces.iter().cloned());
        }
        Interfaces::Only(names)
    }
}

fn fitness(name: &str, facts: &NodeFacts, live: &LiveSet, ignore_exclude_label: bool) -> Result<(), WhyNot> {
    if !live.contains(name) {
        Err(WhyNot::NotAlive)
    } else if facts.network_unavailable {
        Err(WhyNot::NetworkUnavailable)
    } else if !ignore_exclude_label && facts.labels.contains_key(causeway_api::names::LABEL_EXCLUDE_NODE) {
        Err(WhyNot::ExcludedByLabel)
    } else {
        Ok(())
    }
}

/// Whether any endpoint anywhere takes traffic: ready, or still serving while it terminates. Endpoints without a node are counted
/// under the empty node name.
#[must_use]
pub fn any_usable(endpoints: &Endpoints) -> bool {
    endpoints.by_node.values().any(|e| e.ready > 0 || e.serving > 0)
}

/// Of the eligible nodes those with local endpoints: with ready ones, or if there are none, with serving ones. The flag says which:
/// `true` for ready.
pub(crate) fn with_local_endpoints(
    electorate: &Electorate<'_>,
    eligible: &Eligible,
    endpoints: &Endpoints,
) -> (Vec<(usize, i64)>, bool) {
    let having = |usable: fn(&causeway_api::EndpointsPerNode) -> bool| -> Vec<(usize, i64)> {
        eligible
            .nodes
            .iter()
            .filter(|(index, _)| endpoints.by_node.get(electorate.nodes[*index].0).is_some_and(usable))
            .copied()
            .collect()
    };
    let ready = having(|e| e.ready > 0);
    if ready.is_empty() { (having(|e| e.serving > 0), false) } else { (ready, true) }
}
