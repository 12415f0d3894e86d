//! Which nodes may announce a Service, and on which interfaces. Pure.
//!
//! MetalLB's rules, in its order: alive, not `NetworkUnavailable`, not excluded by label, matched by an advertisement that matches pool and
//! Service; with `externalTrafficPolicy: Local` only nodes with a usable endpoint. Readiness of the node and cordoning are not rules: a
//! cordoned node goes on announcing.
//!
//! Of these some are passed over as long as others remain, in this order: nodes without an interface that may announce, nodes whose interfaces are in
//! other networks than the address, nodes that are unfit or about to go, and with `Local` nodes where all endpoints are terminating.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::Endpoints;

use crate::advertisement::L2Advertisement;
use crate::announce::World;
use crate::fleet::{Fleet, Statement, Unfit, Uplink};
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
    /// It is about to go: being deleted, out of service, or tainted by an autoscaler that takes it away.
    pub leaving: bool,
    /// It is cordoned. No rule of elections, but its own speaker looks at it.
    pub cordoned: bool,
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
    /// None of its interfaces that may announce is up, and another node has one.
    NoInterface,
    /// The address is in no network of its interfaces, and in one of another node's.
    OtherNetwork,
    /// It would rather not, and another node can.
    Unfit(Unfit),
    /// It is about to go, and another node can.
    Leaving,
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
            Self::NoInterface => "no interface that may announce is up, and another Node has one",
            Self::OtherNetwork => {
                "the address is in no network of its interfaces, but in one of another Node's"
            }
            Self::Unfit(why) => why.as_str(),
            Self::Leaving => "the Node is about to go, and another one can announce",
        }
    }
}

/// Nodes that one set of advertisements lets announce: index of the node and its preference, sorted by index.
pub(crate) type Eligible = Vec<(u16, i64)>;

/// A node, as far as it does not depend on a single Service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    pub(crate) name: NodeName,
    pub(crate) fit: Result<(), WhyNot>,
    pub(crate) leaving: bool,
    pub(crate) deaf: bool,
    /// It is not alive, but may soon be: it stands where nobody holds the address.
    pub(crate) expected: bool,
    pub(crate) statement: Option<Arc<Statement>>,
    /// By advertisement: whether it selects this node, and with which weight.
    pub(crate) matched: Vec<Option<i64>>,
}

/// How the nodes differ from before, as far as elections depend on it.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Indexes mean other nodes than before, or advertisements select others: any election may come out differently.
    pub(crate) renumbered: bool,
    /// Nodes that changed, in what they are, can and say, other than in what they hold.
    pub(crate) nodes: HashSet<u16>,
    /// The addresses that other nodes hold now, or in another term.
    pub(crate) moved: HashSet<IpAddr>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        !self.renumbered && self.nodes.is_empty() && self.moved.is_empty()
    }
}

impl Voter {
    /// Whether an election may come out differently for it than for `other`, with the same advertisements. Holding is looked at by address.
    fn differs(&self, other: &Voter) -> bool {
        able(self.statement.as_deref()) != able(other.statement.as_deref())
            || (&self.fit, self.leaving, self.deaf, self.expected)
                != (&other.fit, other.leaving, other.deaf, other.expected)
    }

    /// Whether its speaker is alive.
    pub(crate) fn is_alive(&self) -> bool {
        !self.expected && self.fit != Err(WhyNot::NotAlive)
    }
}

/// What of a statement decides whether a node can announce. Who has said nothing counts as one that knows nothing.
fn able(said: Option<&Statement>) -> (Option<&[Uplink]>, Option<&BTreeSet<Unfit>>) {
    let unfit = said.map(|said| &said.unfit).filter(|unfit| !unfit.is_empty());
    (said.and_then(|said| said.uplinks.as_deref()), unfit)
}

/// Everything about nodes that does not depend on a single Service: computed once, shared by all elections.
#[derive(Debug, Default)]
pub(crate) struct Electorate {
    /// In order of their names.
    pub(crate) nodes: Vec<Voter>,
    /// By address: who says that it holds it, and the term. Dead ones too.
    pub(crate) holders: HashMap<IpAddr, Vec<(u16, u32)>>,
    /// By the set of advertisements that a Service matches.
    eligible: HashMap<Vec<u16>, Arc<Eligible>>,
}

impl Electorate {
    pub(crate) fn new(world: &World, fleet: &Fleet) -> Self {
        let nodes: Vec<Voter> = world
            .nodes
            .iter()
            .map(|(name, facts)| Voter {
                name: name.clone(),
                fit: fitness(name, facts, fleet, world.ignore_exclude_label),
                leaving: facts.leaving,
                deaf: fleet.deaf.contains(name),
                expected: expected(name, fleet),
                statement: fleet.statements.get(name).cloned(),
                matched: world
                    .advertisements
                    .iter()
                    .map(|ad| ad.matches_node(&facts.labels).then(|| ad.weight(&facts.labels)))
                    .collect(),
            })
            .collect();
        let mut holders: HashMap<IpAddr, Vec<(u16, u32)>> = HashMap::new();
        for (index, node) in (0u16..).zip(&nodes) {
            for (address, term) in node.statement.iter().flat_map(|statement| &statement.holds) {
                holders.entry(*address).or_default().push((index, *term));
            }
        }
        Self { nodes, holders, eligible: HashMap::new() }
    }

    /// How another one differs from this one.
    pub(crate) fn changes(&self, new: &Electorate) -> Changes {
        let same = |one: &Voter, two: &Voter| one.name == two.name && one.matched == two.matched;
        let renumbered = self.nodes.len() != new.nodes.len()
            || self.nodes.iter().zip(&new.nodes).any(|(one, two)| !same(one, two));
        let pairs = (0u16..).zip(self.nodes.iter().zip(&new.nodes));
        let changed = pairs.filter(|(_, (one, two))| renumbered || one.differs(two));
        let named = |electorate: &Electorate, address: &IpAddr| -> Option<Vec<(NodeName, u32)>> {
            let holders = electorate.holders.get(address)?;
            Some(holders.iter().map(|(node, term)| (electorate.node(*node).name.clone(), *term)).collect())
        };
        let addresses = self.holders.keys().chain(new.holders.keys());
        Changes {
            renumbered,
            nodes: changed.map(|(index, _)| index).collect(),
            moved: addresses.filter(|address| named(self, address) != named(new, address)).copied().collect(),
        }
    }

    /// Takes over another fleet; of the world nothing that this depends on may have changed. The cost follows what the fleet says anew.
    pub(crate) fn refresh(&mut self, world: &World, fleet: &Fleet) -> Changes {
        let mut changes = Changes::default();
        for (index, (voter, facts)) in (0u16..).zip(self.nodes.iter_mut().zip(world.nodes.values())) {
            let fit = fitness(&voter.name, facts, fleet, world.ignore_exclude_label);
            let (deaf, expected) = (fleet.deaf.contains(&voter.name), expected(&voter.name, fleet));
            let said = fleet.statements.get(&voter.name);
            if (fit, deaf, expected) != (voter.fit, voter.deaf, voter.expected)
                || able(said.map(|s| &**s)) != able(voter.statement.as_deref())
            {
                changes.nodes.insert(index);
            }
            (voter.fit, voter.deaf, voter.expected) = (fit, deaf, expected);
            let same = match (said, &voter.statement) {
                (Some(said), Some(before)) => Arc::ptr_eq(said, before),
                (said, before) => said.is_none() && before.is_none(),
            };
            if same {
                continue;
            }
            let before = std::mem::replace(&mut voter.statement, said.cloned());
            let (held, holds) = (holdings(before.as_deref()), holdings(said.map(|s| &**s)));
            for (address, term) in held {
                if holds.get(address) != Some(term)
                    && let Some(holders) = self.holders.get_mut(address)
                {
                    holders.retain(|(node, _)| *node != index);
                    if holders.is_empty() {
                        self.holders.remove(address);
                    }
                    changes.moved.insert(*address);
                }
            }
            for (address, term) in holds {
                if held.get(address) != Some(term) {
                    let holders = self.holders.entry(*address).or_default();
                    holders.push((index, *term));
                    holders.sort_unstable();
                    changes.moved.insert(*address);
                }
            }
        }
        if !changes.nodes.is_empty() {
            self.eligible.clear();
        }
        changes
    }

    /// The nodes that these advertisements (indexes) let announce; expected ones are among them.
    pub(crate) fn eligible(&mut self, advertisements: &[u16]) -> Arc<Eligible> {
        if let Some(found) = self.eligible.get(advertisements) {
            return Arc::clone(found);
        }
        let eligible = (0u16..)
            .zip(&self.nodes)
            .filter(|(_, node)| node.fit.is_ok())
            .filter_map(|(index, node)| {
                let mut weights =
                    advertisements.iter().filter_map(|ad| node.matched[usize::from(*ad)]).peekable();
                weights.peek()?;
                Some((index, weights.sum()))
            })
            .collect();
        let eligible = Arc::new(eligible);
        self.eligible.insert(advertisements.to_vec(), Arc::clone(&eligible));
        eligible
    }

    pub(crate) fn node(&self, index: u16) -> &Voter {
        &self.nodes[usize::from(index)]
    }

    pub(crate) fn index(&self, node: &str) -> Option<u16> {
        let index = self.nodes.binary_search_by(|voter| voter.name.as_str().cmp(node)).ok()?;
        u16::try_from(index).ok()
    }

    /// Why a node is not among the eligible ones of these advertisements; `None` if it is.
    pub(crate) fn why_not(&self, node: &str, advertisements: &[u16]) -> Option<WhyNot> {
        let Some(index) = self.index(node) else { return Some(WhyNot::UnknownNode) };
        let node = self.node(index);
        if let Err(why) = node.fit {
            return Some(why);
        }
        let matched = advertisements.iter().any(|ad| node.matched[usize::from(*ad)].is_some());
        (!matched).then_some(WhyNot::NoAdvertisement)
    }

    /// The interfaces that these advertisements name for a node: the union; one that names none means all.
    pub(crate) fn interfaces(
        &self,
        node: u16,
        advertisements: &[u16],
        all: &[L2Advertisement],
    ) -> Interfaces {
        let matched = &self.node(node).matched;
        let mut names = BTreeSet::new();
        for ad in advertisements.iter().map(|ad| usize::from(*ad)).filter(|ad| matched[*ad].is_some()) {
            if all[ad].interfaces.is_empty() {
                return Interfaces::All;
            }
            names.extend(all[ad].interfaces.iter().cloned());
        }
        Interfaces::Only(names)
    }
}

fn holdings(said: Option<&Statement>) -> &BTreeMap<IpAddr, u32> {
    static NONE: BTreeMap<IpAddr, u32> = BTreeMap::new();
    said.map_or(&NONE, |said| &said.holds)
}

fn expected(name: &str, fleet: &Fleet) -> bool {
    fleet.expected.contains(name) && !fleet.live.contains(name)
}

fn fitness(name: &str, facts: &NodeFacts, fleet: &Fleet, ignore_exclude_label: bool) -> Result<(), WhyNot> {
    if !fleet.live.contains(name) && !fleet.expected.contains(name) {
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

/// Whether a node has an endpoint that takes traffic, as in [`any_usable`].
pub(crate) fn usable_on(endpoints: &Endpoints, node: &str) -> bool {
    endpoints.by_node.get(node).is_some_and(|e| e.ready > 0 || e.serving > 0)
}
