//! Whether a node is among those that announce a load balancer, as far as that depends on the nodes and on where its endpoints are. Pure.
//!
//! Of the nodes that may announce, those are left that are fit, if any is; of these, with `externalTrafficPolicy: Local`, those with a ready endpoint, if any
//! has one: the same order in which elections of layer 2 pass nodes over ([`crate::candidates`]). All that are left announce, or the first by hash where one
//! alone is to. A node steps back only for one whose routers hear the same IP families.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use causeway_api::Family;

use super::RouteSilence;
use crate::announce::{Announcement, When, World};
use crate::bgp::BgpAdvertisement;
use crate::candidates::{NodeFacts, usable_on};
use crate::election::wins;
use crate::fleet::{Fleet, Unfit};

/// Whether the label that keeps a node out of load balancers counts.
pub(super) fn excluded(world: &World, node: &NodeFacts) -> bool {
    !world.ignore_exclude_label && node.labels.contains_key(causeway_api::names::LABEL_EXCLUDE_NODE)
}

/// The IP families that routers of a node hear: IPv4, IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cover([bool; 2]);

impl Cover {
    fn of_addresses(lb: &Announcement) -> Self {
        let has = |family| lb.addresses.iter().any(|address| Family::of(&address.to_canonical()) == family);
        Self([has(Family::V4), has(Family::V6)])
    }

    fn of_both(self, other: Self) -> Self {
        Self([self.0[0] && other.0[0], self.0[1] && other.0[1]])
    }

    fn includes(self, other: Self) -> bool {
        self.of_both(other) == other
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A node that can announce.
#[derive(Clone, Copy, Debug)]
struct Able<'a> {
    node: &'a str,
    cover: Cover,
    fit: bool,
}

/// See the module.
pub(super) struct Standing<'a> {
    world: &'a World,
    fleet: &'a Fleet,
    me: &'a str,
    /// Why this node would rather not announce.
    reluctant: Option<RouteSilence>,
    /// By advertisement: whether it selects this node.
    selected: Vec<bool>,
    /// By set of advertisements and node.
    covers: HashMap<Vec<u16>, HashMap<&'a str, Cover>>,
    /// By set of advertisements: the other nodes that can announce.
    others: HashMap<Vec<u16>, Rc<Vec<Able<'a>>>>,
}

fn ready_on(lb: &Announcement, node: &str) -> bool {
    lb.endpoints.by_node.get(node).is_some_and(|endpoints| endpoints.ready > 0)
}

impl<'a> Standing<'a> {
    pub(super) fn new(world: &'a World, fleet: &'a Fleet, me: &'a str, unfit: &BTreeSet<Unfit>) -> Self {
        let node = world.nodes.get(me);
        let leaving = node.is_some_and(|node| node.leaving);
        let reluctant = unfit.first().copied().map(RouteSilence::Unfit);
        let selects = |ad: &BgpAdvertisement| node.is_some_and(|node| ad.matches_node(&node.labels));
        Self {
            world,
            fleet,
            me,
            reluctant: reluctant.or(leaving.then_some(RouteSilence::Leaving)),
            selected: world.bgp.advertisements.iter().map(selects).collect(),
            covers: HashMap::new(),
            others: HashMap::new(),
        }
    }

    /// Whether an advertisement selects this node.
    pub(super) fn selected(&self, ad: u16) -> bool {
        self.selected[usize::from(ad)]
    }

    /// The endpoints on this node that traffic goes to.
    pub(super) fn endpoints(&self, lb: &Announcement) -> u32 {
        let here = lb.endpoints.by_node.get(self.me).copied().unwrap_or_default();
        if here.ready > 0 { here.ready } else { here.serving }
    }

    /// Whether this node, of these facts, announces. `ads`: all that match pool and Service. That nothing but other nodes can speak against it is known.
    pub(super) fn judge(
        &mut self,
        lb: &'a Announcement,
        facts: &NodeFacts,
        ads: &[u16],
    ) -> Result<(), RouteSilence> {
        let local = lb.when == When::LocalEndpoints;
        if local && !usable_on(&lb.endpoints, self.me) {
            return Err(RouteSilence::NoLocalEndpoint);
        }
        let ready = |node: &str| !local || ready_on(lb, node);
        let ready_here = ready(self.me);
        if self.reluctant.is_none() && ready_here && !lb.single_announcer {
            // The usual case: nobody else is looked at.
            return Ok(());
        }
        let wanted = Cover::of_addresses(lb);
        let mine = self.cover(self.me, facts, ads).of_both(wanted);
        if mine.is_empty() {
            // Nobody hears it from here; why, others know better.
            return Ok(());
        }
        let others = if local { self.with_endpoints(lb, ads) } else { self.all_others(ads) };
        if lb.single_announcer {
            return self.elect(lb, &others, (wanted, mine), ready);
        }
        let mut instead = others.iter().filter(|other| other.cover.includes(mine));
        if let Some(why) = self.reluctant
            && instead.clone().any(|other| other.fit)
        {
            return Err(why);
        }
        if !ready_here && instead.any(|other| (other.fit || self.reluctant.is_some()) && ready(other.node)) {
            return Err(RouteSilence::OnlyTerminatingEndpoints);
        }
        Ok(())
    }

    /// Whether this node is the one to announce. All nodes come to the same result: how good a node is does not depend on who asks.
    fn elect(
        &self,
        lb: &Announcement,
        others: &[Able<'a>],
        (wanted, mine): (Cover, Cover),
        ready: impl Fn(&str) -> bool,
    ) -> Result<(), RouteSilence> {
        // The best one is elected; what comes first counts more.
        let merits = |able: &Able| [able.cover.includes(wanted), able.fit, ready(able.node)];
        let ours = merits(&Able { node: self.me, cover: mine, fit: self.reluctant.is_none() });
        let others = || others.iter().filter(|other| !other.cover.of_both(wanted).is_empty());
        if let Some(best) = others().map(merits).max().filter(|best| *best > ours) {
            return Err(
                match (best.iter().zip(&ours).position(|(best, ours)| best != ours), self.reluctant) {
                    (Some(0), _) => RouteSilence::NotElected,
                    (Some(1), Some(why)) => why,
                    _ => RouteSilence::OnlyTerminatingEndpoints,
                },
            );
        }
        let equals = others().filter(|other| merits(other) == ours).map(|other| other.node);
        match lb.addresses.first() {
            Some(address) if !wins(self.me, equals, *address) => Err(RouteSilence::NotElected),
            _ => Ok(()),
        }
    }

    /// The other nodes that can announce it and have a usable endpoint.
    fn with_endpoints(&mut self, lb: &'a Announcement, ads: &[u16]) -> Rc<Vec<Able<'a>>> {
        let nodes = lb.endpoints.by_node.keys().filter(|node| usable_on(&lb.endpoints, node));
        Rc::new(nodes.filter_map(|node| self.able(node, ads)).collect())
    }

    /// The other nodes that can announce.
    fn all_others(&mut self, ads: &[u16]) -> Rc<Vec<Able<'a>>> {
        if let Some(others) = self.others.get(ads) {
            return Rc::clone(others);
        }
        let world = self.world;
        let others: Rc<Vec<_>> =
            Rc::new(world.nodes.keys().filter_map(|node| self.able(node, ads)).collect());
        self.others.insert(ads.to_vec(), Rc::clone(&others));
        others
    }

    /// Another node, if it can announce: it is alive and connected, and speaks with a router that hears it.
    fn able(&mut self, node: &'a str, ads: &[u16]) -> Option<Able<'a>> {
        let facts = self.world.nodes.get(node).filter(|_| node != self.me)?;
        if !self.fleet.live.contains(node) || facts.network_unavailable || excluded(self.world, facts) {
            return None;
        }
        let said = self.fleet.statements.get(node);
        let fit = !facts.leaving && said.is_none_or(|statement| statement.unfit.is_empty());
        let cover = self.cover(node, facts, ads);
        (!cover.is_empty()).then_some(Able { node, cover, fit })
    }

    /// The families that a node's routers hear by those of these advertisements that select it.
    fn cover(&mut self, node: &'a str, facts: &NodeFacts, ads: &[u16]) -> Cover {
        if let Some(known) = self.covers.get(ads).and_then(|nodes| nodes.get(node)) {
            return *known;
        }
        let bgp = &self.world.bgp;
        let selecting: Vec<&BgpAdvertisement> = ads
            .iter()
            .map(|ad| &bgp.advertisements[usize::from(*ad)])
            .filter(|ad| ad.matches_node(&facts.labels))
            .collect();
        let mut cover = Cover::default();
        for peer in bgp.peers.values() {
            let more = Cover([peer.carries(Family::V4), peer.carries(Family::V6)]);
            if !cover.includes(more)
                && selecting.iter().any(|ad| ad.names(&peer.name))
                && peer.matches_node(&facts.labels)
            {
                cover = Cover([cover.0[0] || more.0[0], cover.0[1] || more.0[1]]);
            }
        }
        self.covers.entry(ads.to_vec()).or_default().insert(node, cover);
        cover
    }
}
