//! What is wrong only because two objects meet on one node. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::{Family, Problem};

use super::{BgpAdvertisement, BgpConfig, Peer, PeerTo};
use crate::names::reasons;
use crate::pool::{Pool, Pools};
use crate::selector::{Labels, Selector};

/// Where objects may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where<'a> {
    /// On the node with these labels.
    Node(&'a Labels),
    /// On any node, for those who do not know the nodes: what is sure to meet wherever one of the two counts.
    Anywhere,
}

impl Where<'_> {
    fn meet(self, one: &[Selector], two: &[Selector]) -> bool {
        match self {
            Self::Node(labels) => crate::selector::any(one, labels) && crate::selector::any(two, labels),
            Self::Anywhere => {
                one.is_empty() || two.is_empty() || one.iter().any(|selector| two.contains(selector))
            }
        }
    }
}

impl BgpConfig {
    /// What is wrong because two objects meet there. [`super::routes()`] decides alike: of two peers that lead to one router the older is spoken with, and a route
    /// that two advertisements want with different attributes is not announced.
    #[must_use]
    pub fn clashes(&self, pools: &Pools, place: Where) -> Vec<Problem> {
        let mut problems = self.duplicate_peers(place);
        if let Where::Node(labels) = place {
            problems.extend(self.disagreements(labels));
        }
        problems.extend(self.conflicts(pools, place));
        problems
    }

    fn duplicate_peers(&self, place: Where) -> Vec<Problem> {
        let mut by_router: BTreeMap<&PeerTo, Vec<&Arc<Peer>>> = BTreeMap::new();
        for peer in self.peers.values() {
            by_router.entry(&peer.to).or_default().push(peer);
        }
        let mut problems = Vec::new();
        for (router, mut peers) in by_router {
            peers.sort_by(|a, b| a.age().cmp(&b.age()));
            for (index, peer) in peers.iter().enumerate() {
                let older = &peers[..index];
                let Some(first) = older.iter().find(|o| place.meet(&o.node_selectors, &peer.node_selectors))
                else {
                    continue;
                };
                let field = if matches!(router, PeerTo::Address(_)) { "peerAddress" } else { "interface" };
                problems.push(Problem::error(
                    peer.object.clone(),
                    format!("spec.{field}"),
                    reasons::DUPLICATE_PEER,
                    format!(
                        "{router} is the router of {} too, which is older, and a node speaks with a router once: where both select a node, this one does not count; make their \
                         nodeSelectors disjoint, or remove one of them",
                        first.object
                    ),
                ));
            }
        }
        problems
    }

    /// RFC 4271 §4.2: the identifier is the same for all peers. The AS number may differ, but MetalLB's routing daemon cannot do that, so it is hardly meant.
    fn disagreements(&self, labels: &Labels) -> Vec<Problem> {
        let mut peers = self.peers_of(labels);
        peers.sort_by(|a, b| a.age().cmp(&b.age()));
        let Some((first, others)) = peers.split_first() else { return Vec::new() };
        let mut problems = Vec::new();
        for peer in others {
            let mut warn = |field: &str, what: &str| {
                problems.push(Problem::warning(
                    peer.object.clone(),
                    field,
                    reasons::PEERS_DISAGREE,
                    format!(
                        "{what} is not that of {}, which the same node speaks with; give both the same",
                        first.object
                    ),
                ));
            };
            if peer.router_id != first.router_id {
                warn("spec.routerID", "the BGP identifier");
            }
            if peer.asn != first.asn {
                warn("spec.myASN", "the AS number of this end");
            }
        }
        problems
    }

    /// Advertisements with serviceSelectors are left out, as with MetalLB: whether they meet depends on the Services.
    fn conflicts(&self, pools: &Pools, place: Where) -> Vec<Problem> {
        let mut problems = Vec::new();
        let ads: Vec<&BgpAdvertisement> =
            self.advertisements.iter().filter(|ad| ad.service_selectors.is_empty()).collect();
        for (index, one) in ads.iter().enumerate() {
            for two in &ads[index + 1..] {
                let Some(attribute) = one.differs(two) else { continue };
                let pool = pools.iter().find(|pool| {
                    let families: Vec<Family> = pool.ranges.iter().map(|range| range.family).collect();
                    meet(one, two, pool, &families, place)
                });
                let Some(pool) = pool else { continue };
                for (ad, other) in [(one, two), (two, one)] {
                    problems.push(Problem::error(
                        ad.object.clone(),
                        attribute.field(),
                        reasons::CONFLICTING_ADVERTISEMENTS,
                        format!(
                            "is {} here and {} in {}, and both announce pool {} to the same peers from the same nodes: these routes are not announced; give both the same, or make \
                             their pools, peers, nodeSelectors or aggregation lengths differ",
                            ad.value(attribute),
                            other.value(attribute),
                            other.object,
                            pool.name
                        ),
                    ));
                }
            }
        }
        problems
    }
}

/// Whether two advertisements announce the same route of a pool to the same peer from the same node, for an address of one of these families and a Service that
/// both match.
pub(crate) fn meet(
    one: &BgpAdvertisement,
    two: &BgpAdvertisement,
    pool: &Pool,
    families: &[Family],
    place: Where,
) -> bool {
    one.matches_pool(pool)
        && two.matches_pool(pool)
        && (one.peers.is_empty() || two.peers.is_empty() || !one.peers.is_disjoint(&two.peers))
        && families.iter().any(|family| one.length(*family) == two.length(*family))
        && place.meet(&one.node_selectors, &two.node_selectors)
}

#[cfg(test)]
mod tests;
