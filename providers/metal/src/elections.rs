//! Elections that are held again only where something changed. Pure.
//!
//! For each load balancer: of the nodes that may announce it ([`crate::candidates`]) those of the highest preference; of these the one that holds the address already,
//! so that nothing moves because a node comes back ([`Rules::failback`] switches this off); if none does, the first by SHA-256 ([`crate::election`]). Of two
//! that hold it, after a partition, the one with the later term, and then the first in order: both know it as soon as they hear each other.
//!
//! Invariants: speakers with equal worlds and fleets elect the same node; a load balancer is announced by at most one node then. The order of events
//! that led there does not matter. Cost: a load balancer that changed costs one election; a node that changed those in which it, or who comes before it, is among
//! the first; an address taken or given up those for this address. In the usual case an election looks at the first few nodes in the order of the hash, which is
//! kept for each address: it costs the same among hundreds of nodes as among three.

mod ballot;
mod order;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::LbKey;

use crate::announce::{Announcement, Decision, Silence, Verdict, When, World};
use crate::candidates::{Changes, Electorate, LiveSet, NodeName, WhyNot, any_usable, usable_on};
use crate::fleet::{Fleet, Rules};
use ballot::{Ballot, Outcome};
pub use order::Order;

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
    /// How many nodes, in the order of the hash, decided about it, if not all had to be looked at.
    looked_at: Option<usize>,
}

/// The elections of one node.
#[derive(Debug)]
pub struct Elections {
    me: NodeName,
    rules: Rules,
    world: Arc<World>,
    fleet: Option<Fleet>,
    electorate: Electorate,
    order: Order,
    elections: BTreeMap<LbKey, Election>,
}

impl Elections {
    /// No election was held yet.
    #[must_use]
    pub fn new(me: NodeName, rules: Rules) -> Self {
        Self::with_order(me, rules, Order::default())
    }

    /// The same, for one of many nodes in one process.
    #[must_use]
    pub fn with_order(me: NodeName, rules: Rules, order: Order) -> Self {
        Self {
            me,
            rules,
            world: Arc::default(),
            fleet: None,
            electorate: Electorate::default(),
            order,
            elections: BTreeMap::new(),
        }
    }

    /// The node whose elections these are.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }

    /// The order of the nodes for each address that there was an election for.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Holds the elections again whose outcome may differ now. Answers how many, and counts the load balancers that went among them.
    pub fn update(&mut self, world: &Arc<World>, fleet: Fleet) -> usize {
        let first = self.fleet.is_none();
        let same_world = !first && Arc::ptr_eq(world, &self.world);
        let old_world = std::mem::replace(&mut self.world, Arc::clone(world));
        let all = first
            || !same(&old_world.pools, &world.pools)
            || !same(&old_world.advertisements, &world.advertisements)
            || old_world.standby != world.standby
            || old_world.ignore_exclude_label != world.ignore_exclude_label;
        let changes = if !all && Arc::ptr_eq(&old_world.nodes, &world.nodes) {
            self.electorate.refresh(world, &fleet)
        } else {
            let new = Electorate::new(world, &fleet);
            self.order.renumber(new.nodes.iter().map(|voter| &voter.name));
            let old = std::mem::replace(&mut self.electorate, new);
            old.changes(&self.electorate)
        };
        self.fleet = Some(fleet);
        if same_world {
            return self.update_same(world, &changes);
        }
        let before = self.elections.len();
        self.elections.retain(|key, _| world.announcements.contains_key(key));
        let gone = before - self.elections.len();
        let mut due: Vec<Arc<Announcement>> = Vec::new();
        let concerned = Concerned::new(&changes, &self.electorate, &self.order, &self.me);
        // Both are in the order of their keys, and all that was elected for is there.
        let mut known = self.elections.iter().peekable();
        for (key, announcement) in &world.announcements {
            let election = known.next_if(|(of, _)| *of == key).map(|(_, election)| election);
            let stale = election.is_none_or(|election| {
                all || !Arc::ptr_eq(&election.decision.announcement, announcement)
                    || concerned.concern(election)
            });
            if stale {
                due.push(Arc::clone(announcement));
            }
        }
        let held = self.hold_again(world, due);
        if gone > 0 {
            let used: HashSet<IpAddr> =
                self.world.announcements.values().filter_map(|lb| lb.addresses.first().copied()).collect();
            self.order.retain(&used);
        }
        held + gone
    }

    /// Where nothing but the fleet changed.
    fn update_same(&mut self, world: &World, changes: &Changes) -> usize {
        if changes.is_empty() {
            return 0;
        }
        let concerned = Concerned::new(changes, &self.electorate, &self.order, &self.me);
        let due = self.elections.values().filter(|election| concerned.concern(election));
        let due = due.map(|election| Arc::clone(&election.decision.announcement)).collect();
        self.hold_again(world, due)
    }

    fn hold_again(&mut self, world: &World, due: Vec<Arc<Announcement>>) -> usize {
        let held = due.len();
        for announcement in due {
            let election = self.hold(world, announcement);
            match self.elections.get_mut(&election.decision.announcement.key) {
                Some(known) => *known = election,
                None => drop(self.elections.insert(election.decision.announcement.key.clone(), election)),
            }
        }
        held
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
            looked_at: None,
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
        let eligible = self.electorate.eligible(&ads);
        let ballot = Ballot::new(&self.electorate, &world.advertisements, &ads, &lb, address, self.rules);
        let me = self.electorate.index(&self.me);
        let outcome = ballot.hold(me, &mut self.order, &eligible);
        let verdict = self.verdict(&ballot, me, &outcome);
        let Outcome { standing, looked_at, .. } = outcome;
        let elected = standing.first().map(|node| self.electorate.node(*node).name.as_str());
        let decision = decision(elected, verdict);
        Election { decision, advertisements: ads, standing, looked_at }
    }

    fn verdict(&self, ballot: &Ballot<'_>, me: Option<u16>, outcome: &Outcome) -> Verdict {
        let elected = outcome.standing.first().copied();
        if let Some(node) = elected
            && elected == me
        {
            return Verdict::Announce(self.electorate.interfaces(node, ballot.ads, ballot.all_ads));
        }
        let candidate = me.is_some_and(|me| ballot.may_stand(me));
        let why = match outcome.why_not {
            None if candidate => return Verdict::Silent(Silence::NotElected),
            Some(why) => why,
            None => self.electorate.why_not(&self.me, ballot.ads).unwrap_or(WhyNot::NoLocalEndpoint),
        };
        Verdict::Silent(match elected {
            Some(_) => Silence::NotCandidate(why),
            None => Silence::NoCandidate(why),
        })
    }
}

fn same<T: PartialEq>(one: &Arc<T>, two: &Arc<T>) -> bool {
    Arc::ptr_eq(one, two) || one == two
}

/// Which elections a change of nodes concerns.
struct Concerned<'a> {
    changes: &'a Changes,
    order: &'a Order,
    electorate: &'a Electorate,
    me_changed: bool,
}

impl<'a> Concerned<'a> {
    fn new(changes: &'a Changes, electorate: &'a Electorate, order: &'a Order, me: &str) -> Self {
        let me_changed = electorate.index(me).is_some_and(|me| changes.nodes.contains(&me));
        Self { changes, order, electorate, me_changed }
    }

    fn concern(&self, election: &Election) -> bool {
        let Changes { renumbered, nodes, moved } = self.changes;
        let lb = &election.decision.announcement;
        let Some(address) = lb.addresses.first() else { return false };
        if moved.contains(address) {
            return true;
        }
        if election.advertisements.is_empty() || (nodes.is_empty() && !renumbered) {
            return false;
        }
        if *renumbered {
            return true;
        }
        // Why this node itself is silent may be another reason now; and as long as somebody alive holds the address, wherever that is, those that may
        // just be starting do not stand.
        let mut holders = self.electorate.holders.get(address).into_iter().flatten();
        if self.me_changed || holders.any(|(node, _)| nodes.contains(node)) {
            return true;
        }
        if let (Some(looked_at), Some(order)) = (election.looked_at, self.order.known(*address)) {
            return order.iter().take(looked_at).any(|node| nodes.contains(node));
        }
        let may_stand = |node: &u16| {
            let voter = self.electorate.node(*node);
            let selected = |ad: &u16| voter.matched[usize::from(*ad)].is_some();
            let local = || lb.when != When::LocalEndpoints || usable_on(&lb.endpoints, &voter.name);
            election.advertisements.iter().any(selected) && local()
        };
        nodes.iter().any(may_stand)
    }
}

#[cfg(test)]
mod tests;
