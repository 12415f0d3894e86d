//! What a set of advertisements makes of any address: which peer hears which prefix length, with which attributes. Worked out once per set. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use causeway_api::Family;
use ipnet::IpNet;

use super::{Attribute, BgpAdvertisement, Conflict, RouteAttributes, RouteSilence, Withheld};
use crate::announce::{Announcement, When};
use crate::bgp::peer::Peer;

/// All that a plan depends on of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Indexes of the advertisements by which this node announces it.
    ads: Vec<u16>,
    local: bool,
    /// Whether it has addresses of IPv4 and of IPv6.
    families: [bool; 2],
}

impl Key {
    pub(super) fn new(ads: Vec<u16>, lb: &Announcement) -> Self {
        let has = |family| lb.addresses.iter().any(|address| Family::of(&address.to_canonical()) == family);
        Self { ads, local: lb.when == When::LocalEndpoints, families: [has(Family::V4), has(Family::V6)] }
    }
}

/// What several advertisements of one route come to.
#[derive(Debug)]
pub(super) struct Merged {
    /// Without bandwidth.
    pub(super) attributes: Arc<RouteAttributes>,
    /// Bandwidth of one endpoint.
    pub(super) endpoint_bandwidth: Option<u64>,
    /// Index of one of the advertisements; all of them give the same for what must be the same.
    pub(super) from: u16,
}

/// Two advertisements that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clash {
    attribute: Attribute,
    one: u16,
    other: u16,
}

impl Clash {
    /// If two advertisements contradict each other.
    pub(super) fn between(all: &[BgpAdvertisement], one: u16, other: u16) -> Option<Self> {
        let attribute = all[usize::from(one)].differs(&all[usize::from(other)])?;
        // Whoever is met first, the same is said.
        Some(Self { attribute, one: one.min(other), other: one.max(other) })
    }

    pub(super) fn conflict(self, prefix: IpNet, peer: &str, all: &[BgpAdvertisement]) -> Conflict {
        let side = |index: u16| {
            let ad = &all[usize::from(index)];
            (ad.object.clone(), ad.value(self.attribute))
        };
        Conflict {
            prefix,
            peer: peer.to_owned(),
            attribute: self.attribute,
            one: side(self.one),
            other: side(self.other),
        }
    }
}

/// One route for one peer.
#[derive(Debug)]
pub(super) struct Out {
    /// Index of the peer among those of the node.
    pub(super) peer: u16,
    /// Prefix length.
    pub(super) length: u8,
    pub(super) what: Result<Rc<Merged>, Clash>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Plan {
    outs: [Vec<Out>; 2],
    /// Names of the peers that hear anything.
    pub(super) heard: Arc<BTreeSet<String>>,
    pub(super) withheld: Arc<BTreeMap<String, Withheld>>,
    /// Why none does.
    pub(super) silent: Option<RouteSilence>,
}

fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

impl Plan {
    /// The routes of an address of a family.
    pub(super) fn outs(&self, family: Family) -> &[Out] {
        &self.outs[index(family)]
    }

    pub(super) fn new(
        key: &Key,
        all: &[BgpAdvertisement],
        peers: &[&Arc<Peer>],
        merger: &mut Merger,
    ) -> Self {
        let mut outs = [Vec::new(), Vec::new()];
        let (mut heard, mut withheld) = (BTreeSet::new(), BTreeMap::new());
        for (number, peer) in (0_u16..).zip(peers) {
            let ads: Vec<u16> =
                key.ads.iter().copied().filter(|ad| all[usize::from(*ad)].names(&peer.name)).collect();
            if ads.is_empty() {
                withheld.insert(peer.name.clone(), Withheld::OtherPeers);
                continue;
            }
            for family in [Family::V4, Family::V6].into_iter().filter(|f| key.families[index(*f)]) {
                if !peer.carries(family) {
                    withheld.insert(peer.name.clone(), Withheld::Family(family));
                    continue;
                }
                for (length, ads) in by_length(&ads, all, family, key.local) {
                    let what = merger.merge(&ads, all);
                    if what.is_ok() {
                        heard.insert(peer.name.clone());
                    }
                    outs[index(family)].push(Out { peer: number, length, what });
                }
            }
        }
        let silent = heard.is_empty().then(|| {
            if outs.iter().any(|outs| !outs.is_empty()) {
                RouteSilence::Conflict
            } else if withheld.values().any(|why| matches!(why, Withheld::Family(_))) {
                RouteSilence::FamilyNotCarried
            } else {
                RouteSilence::NoPeer
            }
        });
        Self { outs, heard: Arc::new(heard), withheld: Arc::new(withheld), silent }
    }
}

/// The advertisements of each prefix length. A local route that is made single although its advertisement aggregates carries the attributes of the longest
/// prefix that was meant, for that is the one which routers would have followed.
fn by_length(ads: &[u16], all: &[BgpAdvertisement], family: Family, local: bool) -> BTreeMap<u8, Vec<u16>> {
    let single = if family == Family::V4 { 32 } else { 128 };
    let meant = |ad: &u16| all[usize::from(*ad)].length(family);
    let mut by_length: BTreeMap<u8, Vec<u16>> = BTreeMap::new();
    for ad in ads {
        let aggregates = !local || all[usize::from(*ad)].aggregate_local;
        by_length.entry(if aggregates { meant(ad) } else { single }).or_default().push(*ad);
    }
    if local && let Some(ads) = by_length.get_mut(&single) {
        let longest = ads.iter().map(meant).max();
        ads.retain(|ad| Some(meant(ad)) == longest);
    }
    by_length
}

/// Unites advertisements, each set once, so that equal attributes are one allocation.
#[derive(Debug, Default)]
pub(super) struct Merger {
    done: HashMap<Vec<u16>, Result<Rc<Merged>, Clash>>,
}

impl Merger {
    fn merge(&mut self, ads: &[u16], all: &[BgpAdvertisement]) -> Result<Rc<Merged>, Clash> {
        if let Some(done) = self.done.get(ads) {
            return done.clone();
        }
        let merged = merge(ads, all).map(Rc::new);
        self.done.insert(ads.to_vec(), merged.clone());
        merged
    }
}

fn merge(ads: &[u16], all: &[BgpAdvertisement]) -> Result<Merged, Clash> {
    let from = ads.first().copied().unwrap_or_default();
    let first = &all[usize::from(from)];
    let mut attributes = first.attributes.clone();
    for other in ads.iter().skip(1) {
        if let Some(clash) = Clash::between(all, from, *other) {
            return Err(clash);
        }
        let theirs = &all[usize::from(*other)].attributes;
        attributes.communities.extend(&theirs.communities);
        attributes.large.extend(&theirs.large);
    }
    Ok(Merged { attributes: Arc::new(attributes), endpoint_bandwidth: first.endpoint_bandwidth, from })
}
