//! Whether a node is among those that announce a load balancer, as far as that depends on the nodes and on where its endpoints are. Pure.
//!
//! Of the nodes that may announce, those are left that are fit, if any is; of these, with `externalTrafficPolicy: Local`, those with a ready endpoint, if any
//! has one: the same order in which elections of layer 2 pass nodes over ([`crate::candidates`]). All that are left announce.

use std::collections::{BTreeSet, HashMap};

use super::RouteSilence;
use crate::announce::{Announcement, When, World};
use crate::candidates::{NodeFacts, usable_on};
use crate::election::{Candidate, winner};
use crate::fleet::{Fleet, Unfit};

/// Whether the label that keeps a node out of load balancers counts.
pub(super) fn excluded(world: &World, node: &NodeFacts) -> bool {
    !world.ignore_exclude_label && node.labels.contains_key(causeway_api::names::LABEL_EXCLUDE_NODE)
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
    /// By set of advertisements and node: whether the node can announce.
    able: HashMap<Vec<u16>, HashMap<&'a str, bool>>,
    /// By set of advertisements: the other nodes that can announce; the fit ones, if any is.
    others: HashMap<Vec<u16>, Others<'a>>,
}

/// Other nodes that can announce.
#[derive(Clone, Debug, Default)]
struct Others<'a> {
    fit: Vec<&'a str>,
    reluctant: Vec<&'a str>,
}

fn ready_on(lb: &Announcement, node: &str) -> bool {
    lb.endpoints.by_node.get(node).is_some_and(|endpoints| endpoints.ready > 0)
}

impl<'a> Standing<'a> {
    pub(super) fn new(world: &'a World, fleet: &'a Fleet, me: &'a str, unfit: &BTreeSet<Unfit>) -> Self {
        let node = world.nodes.get(me);
        let leaving = node.is_some_and(|node| node.leaving);
        let reluctant = unfit.first().copied().map(RouteSilence::Unfit);
        let selects = |ad: &crate::bgp::BgpAdvertisement| node.is_some_and(|n| ad.matches_node(&n.labels));
        Self {
            world,
            fleet,
            me,
            reluctant: reluctant.or(leaving.then_some(RouteSilence::Leaving)),
            selected: world.bgp.advertisements.iter().map(selects).collect(),
            able: HashMap::new(),
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

    /// Whether this node announces. `ads`: all that match pool and Service. That the node itself is able is known.
    pub(super) fn judge(&mut self, lb: &'a Announcement, ads: &[u16]) -> Result<(), RouteSilence> {
        let local = lb.when == When::LocalEndpoints;
        if local && !usable_on(&lb.endpoints, self.me) {
            return Err(RouteSilence::NoLocalEndpoint);
        }
        let ready = !local || ready_on(lb, self.me);
        if self.reluctant.is_none() && ready && !lb.single_announcer {
            // The usual case: nobody else is looked at.
            return Ok(());
        }
        let others = if local { self.with_endpoints(lb, ads) } else { self.all_others(ads) };
        if let Some(why) = self.reluctant
            && !others.fit.is_empty()
        {
            return Err(why);
        }
        let beside = if self.reluctant.is_some() { others.reluctant } else { others.fit };
        if !ready && beside.iter().any(|node| ready_on(lb, node)) {
            return Err(RouteSilence::OnlyTerminatingEndpoints);
        }
        if let (true, Some(address)) = (lb.single_announcer, lb.addresses.first()) {
            let stand = beside.into_iter().filter(|node| !local || !ready || ready_on(lb, node));
            let candidates = stand.chain([self.me]).map(|node| Candidate { node, preference: 0 });
            if winner(candidates, *address) != Some(self.me) {
                return Err(RouteSilence::NotElected);
            }
        }
        Ok(())
    }

    /// The other nodes that can announce it and have a usable endpoint.
    fn with_endpoints(&mut self, lb: &'a Announcement, ads: &[u16]) -> Others<'a> {
        let mut others = Others::default();
        for node in lb.endpoints.by_node.keys().filter(|node| usable_on(&lb.endpoints, node)) {
            self.add(node, ads, &mut others);
        }
        others
    }

    /// The other nodes that can announce.
    fn all_others(&mut self, ads: &[u16]) -> Others<'a> {
        if let Some(others) = self.others.get(ads) {
            return others.clone();
        }
        let mut others = Others::default();
        for node in self.world.nodes.keys() {
            self.add(node, ads, &mut others);
        }
        self.others.insert(ads.to_vec(), others.clone());
        others
    }

    fn add(&mut self, node: &'a str, ads: &[u16], others: &mut Others<'a>) {
        let Some(facts) = self.world.nodes.get(node).filter(|_| node != self.me) else { return };
        if !self.able(node, facts, ads) {
            return;
        }
        let said = self.fleet.statements.get(node);
        let fit = !facts.leaving && said.is_none_or(|statement| statement.unfit.is_empty());
        if fit { others.fit.push(node) } else { others.reluctant.push(node) }
    }

    /// Whether another node can announce: it is alive and connected, an advertisement selects it, and it speaks with a peer that the advertisement means.
    fn able(&mut self, node: &'a str, facts: &NodeFacts, ads: &[u16]) -> bool {
        if !self.fleet.live.contains(node) || facts.network_unavailable || excluded(self.world, facts) {
            return false;
        }
        if let Some(known) = self.able.get(ads).and_then(|nodes| nodes.get(node)) {
            return *known;
        }
        let bgp = &self.world.bgp;
        let ads_of_node: Vec<_> = ads
            .iter()
            .map(|ad| &bgp.advertisements[usize::from(*ad)])
            .filter(|ad| ad.matches_node(&facts.labels))
            .collect();
        let able = bgp.peers.values().any(|peer| {
            ads_of_node.iter().any(|ad| ad.names(&peer.name)) && peer.matches_node(&facts.labels)
        });
        self.able.entry(ads.to_vec()).or_default().insert(node, able);
        able
    }
}
