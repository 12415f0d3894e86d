//! Elections that are held again only where something changed. Pure.
//!
//! For each load balancer: of the nodes that may announce it ([`crate::candidates`]) those of the highest preference; of these the one that holds the address already,
//! so that nothing moves because a node comes back ([`Rules::failback`] switches this off); if none does, the first by SHA-256 ([`crate::election`]). Of two
//! that hold it, after a partition, the one with the later term, and then the first in order: both know it as soon as they hear each other.
//!
//! Invariants: speakers with equal worlds and fleets elect the same node; a load balancer is announced by at most one node then. The order of events
//! that led there does not matter. Cost: a load balancer that changed costs one election; a node that changed those for which it may stand; an
//! address taken or given up those for this address. An election hashes nothing: the order of the nodes is kept for each address.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::LbKey;

use crate::announce::{Announcement, Decision, Silence, Verdict, When, World};
use crate::candidates::{Electorate, Interfaces, LiveSet, NodeName, WhyNot, any_usable, usable_on};
use crate::election::rank;
use crate::fleet::{Fleet, Rules};

/// How many nodes watch each other closely for an address: the holder, and those that stand next. That many minus one may die at once,
/// and the address still moves as fast as one death is noticed.
pub const STANDING: usize = 3;

#[derive(Debug)]
struct Election {
    decision: Decision,
    /// Indexes of the advertisements that match it; empty if it was not looked at nodes at all.
    advertisements: Vec<u16>,
    /// The elected node and those that stand next.
    standing: Vec<u16>,
}

/// One candidate in one election.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    node: u16,
    preference: i64,
    /// Why it is passed over, if it is: later rules have higher numbers.
    passed_over: Option<(u8, WhyNot)>,
}

/// A candidate's place in the order in which they stand for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    turn: u8,
    preference: Reverse<i64>,
    place: u16,
    node: u16,
}

/// The elections of one node.
#[derive(Debug)]
pub struct Elections {
    me: NodeName,
    rules: Rules,
    world: Arc<World>,
    fleet: Option<Fleet>,
    electorate: Electorate,
    /// By address: the place of each node, by index, in the order of the hash.
    places: HashMap<IpAddr, Vec<u16>>,
    elections: BTreeMap<LbKey, Election>,
}

impl Elections {
    /// No election was held yet.
    #[must_use]
    pub fn new(me: NodeName, rules: Rules) -> Self {
        Self {
            me,
            rules,
            world: Arc::default(),
            fleet: None,
            electorate: Electorate::default(),
            places: HashMap::new(),
            elections: BTreeMap::new(),
        }
    }

    /// Holds the elections again whose outcome may differ now. Answers how many, and counts the load balancers that went among them.
    pub fn update(&mut self, world: &Arc<World>, fleet: &Fleet) -> usize {
        let same_world = self.fleet.is_some() && Arc::ptr_eq(world, &self.world);
        if same_world && self.fleet.as_ref() == Some(fleet) {
            return 0;
        }
        let old_world = std::mem::replace(&mut self.world, Arc::clone(world));
        let all = self.fleet.is_none()
            || !same(&old_world.pools, &world.pools)
            || !same(&old_world.advertisements, &world.advertisements)
            || old_world.standby != world.standby
            || old_world.ignore_exclude_label != world.ignore_exclude_label;
        let nodes_change =
            all || !Arc::ptr_eq(&old_world.nodes, &world.nodes) || self.fleet.as_ref() != Some(fleet);
        let (mut concerned, mut moved) = (Concerned::default(), HashSet::new());
        if nodes_change {
            let new = Electorate::new(world, fleet);
            let old = std::mem::replace(&mut self.electorate, new);
            self.renumber(&old);
            concerned = Concerned::new(&old, &self.electorate);
            moved = moved_addresses(&old, &self.electorate);
            self.fleet = Some(fleet.clone());
        }
        let before = self.elections.len();
        if !same_world {
            self.elections.retain(|key, _| world.announcements.contains_key(key));
        }
        let gone = before - self.elections.len();
        let mut due: Vec<Arc<Announcement>> = Vec::new();
        for (key, announcement) in &world.announcements {
            let stale = self.elections.get(key).is_none_or(|election| {
                all || !Arc::ptr_eq(&election.decision.announcement, announcement)
                    || announcement.addresses.first().is_some_and(|address| moved.contains(address))
                    || concerned.concern(election, &self.me)
            });
            if stale {
                due.push(Arc::clone(announcement));
            }
        }
        let held = due.len();
        for announcement in due {
            let election = self.hold(world, announcement);
            self.elections.insert(election.decision.announcement.key.clone(), election);
        }
        if gone > 0 {
            let used: HashSet<IpAddr> =
                self.world.announcements.values().filter_map(|lb| lb.addresses.first().copied()).collect();
            self.places.retain(|address, _| used.contains(address));
        }
        held + gone
    }

    /// The decisions, in the order of their keys.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.elections.values().map(|election| &election.decision)
    }

    /// The decision about one load balancer.
    #[must_use]
    pub fn decision(&self, key: &LbKey) -> Option<&Decision> {
        self.elections.get(key).map(|election| &election.decision)
    }

    /// All decisions, in the order of their keys.
    #[must_use]
    pub fn into_decisions(self) -> Vec<Decision> {
        self.elections.into_values().map(|election| election.decision).collect()
    }

    /// The node elected for a load balancer and those that stand next, at most [`STANDING`].
    #[must_use]
    pub fn standing(&self, key: &LbKey) -> Vec<&str> {
        let standing =
            self.elections.get(key).map(|election| election.standing.as_slice()).unwrap_or_default();
        standing.iter().map(|node| self.electorate.node(*node).name.as_str()).collect()
    }

    /// The highest term in which any node, dead ones included, was ever heard to hold an address; 0 for never.
    #[must_use]
    pub fn highest_term(&self, address: IpAddr) -> u32 {
        self.electorate.holders.get(&address).into_iter().flatten().map(|(_, term)| *term).max().unwrap_or(0)
    }

    /// The speakers, as the last elections had them.
    #[must_use]
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_ref()
    }

    /// The hardware addresses that the speakers announce with, as far as they were ever told, and whether those of all live ones are known.
    #[must_use]
    pub fn stations(&self) -> (BTreeSet<[u8; 6]>, bool) {
        let Some(fleet) = &self.fleet else { return (BTreeSet::new(), false) };
        let uplinks = fleet.statements.values().filter_map(|statement| statement.uplinks.as_ref()).flatten();
        let known = |node: &NodeName| fleet.statements.get(node).is_some_and(|said| said.uplinks.is_some());
        let complete = match &fleet.live {
            LiveSet::Everyone => false,
            LiveSet::Nodes(nodes) => nodes.iter().all(known),
        };
        (uplinks.map(|uplink| uplink.mac).collect(), complete)
    }

    /// The nodes that this one and they must watch closely: those that stand with it for some address, and the dead from which it took one
    /// over, so that both learn at once if they are not dead.
    #[must_use]
    pub fn companions(&self) -> BTreeSet<NodeName> {
        let Some(me) = self.electorate.index(&self.me) else { return BTreeSet::new() };
        let mut companions = HashSet::new();
        for election in self.elections.values().filter(|election| election.standing.contains(&me)) {
            companions.extend(election.standing.iter().copied());
            if election.standing.first() == Some(&me)
                && let Some(address) = election.decision.announcement.addresses.first()
            {
                let holders = self.electorate.holders.get(address).into_iter().flatten();
                companions.extend(holders.map(|(node, _)| *node));
            }
        }
        companions.remove(&me);
        companions.into_iter().map(|node| self.electorate.node(node).name.clone()).collect()
    }

    /// Keeps what is known of the order of the nodes when some came or went.
    fn renumber(&mut self, old: &Electorate) {
        let new = &self.electorate;
        if old.nodes.len() == new.nodes.len()
            && old.nodes.iter().zip(&new.nodes).all(|(one, two)| one.name == two.name)
        {
            return;
        }
        let number: Vec<Option<u16>> = old.nodes.iter().map(|node| new.index(&node.name)).collect();
        let fresh: Vec<u16> = (0u16..)
            .zip(&new.nodes)
            .filter(|(_, node)| old.index(&node.name).is_none())
            .map(|(index, _)| index)
            .collect();
        for (address, places) in &mut self.places {
            let mut order = vec![None; places.len()];
            for (index, place) in places.iter().enumerate() {
                order[usize::from(*place)] = number[index];
            }
            let mut order: Vec<u16> = order.into_iter().flatten().collect();
            for node in &fresh {
                let name = |node: u16| new.node(node).name.as_str();
                let ours = (rank(name(*node), *address), name(*node));
                let at = order.partition_point(|other| (rank(name(*other), *address), name(*other)) < ours);
                order.insert(at, *node);
            }
            *places = invert(&order);
        }
    }

    fn places(&mut self, address: IpAddr) -> &[u16] {
        let nodes = &self.electorate.nodes;
        self.places.entry(address).or_insert_with(|| {
            let mut order: Vec<u16> = (0u16..).zip(nodes).map(|(index, _)| index).collect();
            order.sort_by_cached_key(|index| rank(&nodes[usize::from(*index)].name, address));
            invert(&order)
        })
    }

    fn hold(&mut self, world: &World, lb: Arc<Announcement>) -> Election {
        let pool = world
            .pools
            .of(&lb.addresses)
            .or_else(|| world.pools.of(lb.addresses.get(..1).unwrap_or_default()));
        let decision = |elected: Option<&str>, verdict| Decision {
            pool: pool.map(|p| p.name.clone()),
            elected: elected.map(str::to_owned),
            verdict,
            announcement: Arc::clone(&lb),
        };
        let silent = |why| Election {
            decision: decision(None, Verdict::Silent(why)),
            advertisements: Vec::new(),
            standing: Vec::new(),
        };
        if world.standby {
            return silent(Silence::Standby);
        }
        let Some(&address) = lb.addresses.first() else { return silent(Silence::NoAddress) };
        let Some(pool) = pool else { return silent(Silence::NoPool) };
        // Nobody answers for a Service that nobody serves, with the policy Cluster too.
        if lb.when != When::LocalListener && !any_usable(&lb.endpoints) {
            return silent(Silence::NoEndpoint);
        }
        let ads: Vec<u16> = (0u16..)
            .zip(world.advertisements.iter())
            .filter(|(_, ad)| ad.matches_pool(pool) && ad.matches_service(&lb.labels))
            .map(|(index, _)| index)
            .collect();
        if ads.is_empty() {
            return silent(Silence::NoAdvertisement);
        }
        let selects = |ad: &u16| !world.advertisements[usize::from(*ad)].service_selectors.is_empty();
        if lb.shares_address && ads.iter().any(selects) {
            return silent(Silence::SharedAddressWithServiceSelector);
        }
        let candidates = self.candidates(world, &lb, &ads);
        let standing = self.standing_for(address, &candidates);
        let elected = standing.first().copied();
        let verdict = self.verdict(world, &ads, &candidates, elected);
        let elected = elected.map(|node| self.electorate.node(node).name.as_str());
        Election { decision: decision(elected, verdict), advertisements: ads, standing }
    }

    /// Who may announce, and who of them is passed over.
    fn candidates(&mut self, world: &World, lb: &Announcement, ads: &[u16]) -> Vec<Candidate> {
        let eligible = self.electorate.eligible(ads);
        let electorate = &self.electorate;
        let local = lb.when == When::LocalEndpoints;
        let mut candidates: Vec<Candidate> = eligible
            .iter()
            .filter(|(node, _)| !local || usable_on(&lb.endpoints, &electorate.node(*node).name))
            .map(|(node, preference)| Candidate { node: *node, preference: *preference, passed_over: None })
            .collect();
        let statement = |candidate: &Candidate| electorate.node(candidate.node).statement.as_deref();
        if !self.rules.any_network {
            // Which interfaces are meant depends on the node only where advertisements name some.
            let named = ads.iter().any(|ad| !world.advertisements[usize::from(*ad)].interfaces.is_empty());
            let meant = |candidate: &Candidate| {
                if named {
                    electorate.interfaces(candidate.node, ads, &world.advertisements)
                } else {
                    Interfaces::All
                }
            };
            pass_over(&mut candidates, 1, |c| {
                statement(c).is_some_and(|s| !s.has_uplink(&meant(c))).then_some(WhyNot::NoInterface)
            });
            for address in &lb.addresses {
                pass_over(&mut candidates, 2, |c| {
                    statement(c)
                        .is_some_and(|s| !s.carries(*address, &meant(c)))
                        .then_some(WhyNot::OtherNetwork)
                });
            }
        }
        pass_over(&mut candidates, 3, |c| {
            let unfit = statement(c).and_then(|s| s.unfit.first().copied()).map(WhyNot::Unfit);
            unfit.or(electorate.node(c.node).leaving.then_some(WhyNot::Leaving))
        });
        if local {
            pass_over(&mut candidates, 4, |c| {
                let endpoints = lb.endpoints.by_node.get(&electorate.node(c.node).name);
                endpoints.is_none_or(|e| e.ready == 0).then_some(WhyNot::OnlyTerminatingEndpoints)
            });
        }
        candidates
    }

    /// The elected node and those that stand next.
    fn standing_for(&mut self, address: IpAddr, candidates: &[Candidate]) -> Vec<u16> {
        // Hashed only where there is a choice.
        if let [] | [_] = candidates {
            return candidates.iter().map(|candidate| candidate.node).collect();
        }
        let failback = self.rules.failback;
        let places = self.places(address);
        let mut order: Vec<Placed> = candidates
            .iter()
            .map(|c| Placed {
                // Who was passed over last, comes first of those passed over.
                turn: c.passed_over.map_or(0, |(rule, _)| u8::MAX - rule),
                preference: Reverse(c.preference),
                place: places[usize::from(c.node)],
                node: c.node,
            })
            .collect();
        order.sort_unstable();
        let holders = self.electorate.holders.get(&address).map(Vec::as_slice).unwrap_or_default();
        let term = |node: u16| holders.iter().find(|(holder, _)| *holder == node).map(|(_, term)| *term);
        // The first of those with the latest term.
        let latest = |may: &dyn Fn(&Placed) -> bool| {
            let holding = (0..order.len()).filter(|at| may(&order[*at]));
            holding
                .filter_map(|at| Some((term(order[at].node)?, Reverse(at))))
                .max()
                .map(|(_, Reverse(at))| at)
        };
        let best = |placed: &Placed| (placed.turn, placed.preference) == (order[0].turn, order[0].preference);
        let elected = if holders.is_empty() {
            0
        } else if let Some(deaf) = latest(&|placed| self.electorate.node(placed.node).deaf) {
            // It will not yield, for it does not hear us.
            deaf
        } else if failback {
            0
        } else {
            latest(&best).unwrap_or(0)
        };
        order[..=elected].rotate_right(1);
        order.into_iter().take(STANDING).map(|placed| placed.node).collect()
    }

    fn verdict(&self, world: &World, ads: &[u16], candidates: &[Candidate], elected: Option<u16>) -> Verdict {
        let me = self.electorate.index(&self.me);
        if let Some(node) = elected
            && elected == me
        {
            return Verdict::Announce(self.electorate.interfaces(node, ads, &world.advertisements));
        }
        let why = match candidates.iter().find(|candidate| Some(candidate.node) == me) {
            Some(Candidate { passed_over: None, .. }) => return Verdict::Silent(Silence::NotElected),
            Some(Candidate { passed_over: Some((_, why)), .. }) => *why,
            None => self.electorate.why_not(&self.me, ads).unwrap_or(WhyNot::NoLocalEndpoint),
        };
        Verdict::Silent(match elected {
            Some(_) => Silence::NotCandidate(why),
            None => Silence::NoCandidate(why),
        })
    }
}

/// Passes over the candidates against which something speaks, unless that is all that are left.
fn pass_over(candidates: &mut [Candidate], rule: u8, against: impl Fn(&Candidate) -> Option<WhyNot>) {
    let left = |candidate: &&mut Candidate| candidate.passed_over.is_none();
    if !candidates.iter().any(|candidate| candidate.passed_over.is_none() && against(candidate).is_none()) {
        return;
    }
    for candidate in candidates.iter_mut().filter(left) {
        candidate.passed_over = against(candidate).map(|why| (rule, why));
    }
}

fn invert(order: &[u16]) -> Vec<u16> {
    let mut places = vec![0; order.len()];
    for (place, node) in (0u16..).zip(order) {
        places[usize::from(*node)] = place;
    }
    places
}

fn same<T: PartialEq>(one: &Arc<T>, two: &Arc<T>) -> bool {
    Arc::ptr_eq(one, two) || one == two
}

/// Which elections a change of nodes concerns.
#[derive(Debug, Default)]
struct Concerned {
    /// Indexes of the advertisements that select, or selected, a node that changed, and the node.
    by_advertisement: HashMap<u16, Vec<NodeName>>,
    /// Indexes mean other nodes than before.
    renumbered: bool,
}

impl Concerned {
    fn new(old: &Electorate, new: &Electorate) -> Self {
        let mut concerned = Self::default();
        let renumbered = old.nodes.len() != new.nodes.len()
            || old.nodes.iter().zip(&new.nodes).any(|(one, two)| one.name != two.name);
        concerned.renumbered = renumbered;
        if renumbered {
            return concerned;
        }
        for (one, two) in old.nodes.iter().zip(&new.nodes).filter(|(one, two)| one.differs(two)) {
            for (ad, (was, is)) in (0u16..).zip(one.matched.iter().zip(&two.matched)) {
                if was.is_some() || is.is_some() {
                    concerned.by_advertisement.entry(ad).or_default().push(two.name.clone());
                }
            }
        }
        concerned
    }

    fn concern(&self, election: &Election, me: &str) -> bool {
        if self.renumbered {
            return !election.advertisements.is_empty();
        }
        let lb = &election.decision.announcement;
        // Why this node itself is silent may be another reason now.
        let may_stand =
            |node: &NodeName| lb.when != When::LocalEndpoints || node == me || usable_on(&lb.endpoints, node);
        election.advertisements.iter().filter_map(|ad| self.by_advertisement.get(ad)).flatten().any(may_stand)
    }
}

/// The addresses that other nodes hold now, or in another term.
fn moved_addresses(old: &Electorate, new: &Electorate) -> HashSet<IpAddr> {
    let named = |electorate: &Electorate, address: &IpAddr| -> Option<Vec<(NodeName, u32)>> {
        let holders = electorate.holders.get(address)?;
        Some(holders.iter().map(|(node, term)| (electorate.node(*node).name.clone(), *term)).collect())
    };
    let mut moved = HashSet::new();
    for address in old.holders.keys().chain(new.holders.keys()) {
        if named(old, address) != named(new, address) {
            moved.insert(*address);
        }
    }
    moved
}

#[cfg(test)]
mod tests;
