//! BGP advertisements: `BGPAdvertisement` objects checked. Pure.

use std::collections::BTreeSet;
use std::fmt;

use causeway_api::{Family, ObjectRef, OwnObject, OwnObjects, Problem};

use super::Report;
use super::community::{Aliases, Community};
use crate::annotations::{AGGREGATE_LOCAL, AS_PATH_PREPEND, LINK_BANDWIDTH, MED, parse_bandwidth};
use crate::kinds::BGPAdvertisementSpec;
use crate::names::reasons;
use crate::pool::{Pool, Pools};
use crate::selector::{Labels, Selector, any};

/// Path attributes that a route is sent with, besides those that the session makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteAttributes {
    /// LOCAL_PREF (RFC 4271 §5.1.5); for routers of our own AS only.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// How often our AS number stands before the AS path in addition; for routers of other ASes only.
    pub prepend: u8,
    /// Communities (RFC 1997).
    pub communities: BTreeSet<u32>,
    /// Large communities (RFC 8092).
    pub large: BTreeSet<[u32; 3]>,
    /// Link bandwidth, bytes per second (RFC 10005).
    pub bandwidth: Option<u64>,
}

/// An attribute that two advertisements of one route must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// `localPref`.
    LocalPref,
    /// The annotation for MED.
    Med,
    /// The annotation for prepending.
    Prepend,
    /// The annotation for link bandwidth.
    Bandwidth,
}

impl Attribute {
    /// The field or annotation that gives it.
    #[must_use]
    pub fn field(self) -> String {
        match self {
            Self::LocalPref => "spec.localPref".to_owned(),
            Self::Med => MED.field(),
            Self::Prepend => AS_PATH_PREPEND.field(),
            Self::Bandwidth => LINK_BANDWIDTH.field(),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalPref => f.write_str("localPref"),
            Self::Med => f.write_str(&MED.key()),
            Self::Prepend => f.write_str(&AS_PATH_PREPEND.key()),
            Self::Bandwidth => f.write_str(&LINK_BANDWIDTH.key()),
        }
    }
}

/// One checked `BGPAdvertisement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpAdvertisement {
    /// The object, for messages.
    pub object: ObjectRef,
    /// Names of pools.
    pub pools: BTreeSet<String>,
    /// Selectors of pools; ORed with the names. Both empty: all pools.
    pub pool_selectors: Vec<Selector>,
    /// Names of pools that are not announced although they are meant, since a route of this length would draw traffic for addresses that are not theirs.
    pub refused_pools: BTreeSet<String>,
    /// Selectors of nodes; empty: all.
    pub node_selectors: Vec<Selector>,
    /// Selectors of Services; empty: all.
    pub service_selectors: Vec<Selector>,
    /// Names of peers; empty: all.
    pub peers: BTreeSet<String>,
    /// Prefix length of IPv4 routes.
    pub length_v4: u8,
    /// Prefix length of IPv6 routes.
    pub length_v6: u8,
    /// These lengths hold for Services with `externalTrafficPolicy: Local` too.
    pub aggregate_local: bool,
    /// What its routes are sent with; without bandwidth, which depends on the endpoints.
    pub attributes: RouteAttributes,
    /// Bandwidth of one endpoint, bytes per second.
    pub endpoint_bandwidth: Option<u64>,
}

impl BgpAdvertisement {
    /// Whether addresses of this pool are announced.
    #[must_use]
    pub fn matches_pool(&self, pool: &Pool) -> bool {
        self.means_pool(pool) && !self.refused_pools.contains(&pool.name)
    }

    fn means_pool(&self, pool: &Pool) -> bool {
        (self.pools.is_empty() && self.pool_selectors.is_empty())
            || self.pools.contains(&pool.name)
            || self.pool_selectors.iter().any(|s| s.matches(&pool.labels))
    }

    /// Whether a Service with these labels is announced.
    #[must_use]
    pub fn matches_service(&self, labels: &Labels) -> bool {
        any(&self.service_selectors, labels)
    }

    /// Whether a node with these labels announces.
    #[must_use]
    pub fn matches_node(&self, labels: &Labels) -> bool {
        any(&self.node_selectors, labels)
    }

    /// Whether this peer is meant to hear it.
    #[must_use]
    pub fn names(&self, peer: &str) -> bool {
        self.peers.is_empty() || self.peers.contains(peer)
    }

    /// Prefix length of its routes of a family.
    #[must_use]
    pub fn length(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.length_v4,
            Family::V6 => self.length_v6,
        }
    }

    /// The first attribute that this one and another give differently, so that they cannot both have their way with one route.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<Attribute> {
        let (ours, theirs) = (&self.attributes, &other.attributes);
        [
            (ours.local_pref != theirs.local_pref, Attribute::LocalPref),
            (ours.med != theirs.med, Attribute::Med),
            (ours.prepend != theirs.prepend, Attribute::Prepend),
            (self.endpoint_bandwidth != other.endpoint_bandwidth, Attribute::Bandwidth),
        ]
        .into_iter()
        .find_map(|(differs, attribute)| differs.then_some(attribute))
    }

    /// What it gives for an attribute, for messages.
    #[must_use]
    pub fn value(&self, attribute: Attribute) -> String {
        let value = match attribute {
            Attribute::LocalPref => self.attributes.local_pref.map(u64::from),
            Attribute::Med => self.attributes.med.map(u64::from),
            Attribute::Prepend => Some(self.attributes.prepend.into()),
            Attribute::Bandwidth => self.endpoint_bandwidth,
        };
        value.map_or_else(|| "not set".to_owned(), |value| value.to_string())
    }

    /// Whether both announce the same, whatever they are called.
    fn says_the_same(&self, other: &Self) -> bool {
        Self { object: self.object.clone(), ..other.clone() } == *self
    }
}

/// Checks all `BGPAdvertisement` objects; bad ones are left out and reported. In the order of their names.
pub(super) fn parse_all(
    objects: &OwnObjects,
    aliases: &Aliases,
    pools: &Pools,
) -> (Vec<BgpAdvertisement>, Vec<Problem>) {
    let mut problems = Vec::new();
    let peers: BTreeSet<&str> = objects.of("BGPPeer").map(|peer| peer.object.name.as_str()).collect();
    let mut advertisements: Vec<BgpAdvertisement> = Vec::new();
    let mut sorted: Vec<&OwnObject> = objects.of("BGPAdvertisement").collect();
    sorted.sort_by(|a, b| a.object.name.cmp(&b.object.name));
    for object in sorted {
        let mut report = Report::new(&object.object, reasons::INVALID_ADVERTISEMENT, &mut problems);
        let Some(advertisement) = parse(object, aliases, pools, &mut report) else { continue };
        if !report.sound() {
            continue;
        }
        if let Some(peer) = advertisement.peers.iter().find(|peer| !peers.contains(peer.as_str())) {
            report.warn(
                "spec.peers",
                reasons::UNKNOWN_PEER,
                format!("there is no BGPPeer {peer}; create it, or name another"),
            );
        }
        if let Some(other) = advertisements.iter().find(|other| advertisement.says_the_same(other)) {
            report.warn(
                "",
                reasons::DUPLICATE_ADVERTISEMENT,
                format!("says the same as {}; remove one of them", other.object),
            );
        }
        advertisements.push(advertisement);
    }
    (advertisements, problems)
}

fn parse(
    object: &OwnObject,
    aliases: &Aliases,
    pools: &Pools,
    report: &mut Report,
) -> Option<BgpAdvertisement> {
    let spec = report.spec::<BGPAdvertisementSpec>(object)?;
    let lengths = lengths(&spec, report);
    let mut advertisement = BgpAdvertisement {
        object: object.object.clone(),
        pools: report.distinct("ipAddressPools", &spec.ip_address_pools),
        pool_selectors: report.selectors("ipAddressPoolSelectors", &spec.ip_address_pool_selectors),
        refused_pools: BTreeSet::new(),
        node_selectors: report.selectors("nodeSelectors", &spec.node_selectors),
        service_selectors: report.selectors("serviceSelectors", &spec.service_selectors),
        peers: report.distinct("peers", &spec.peers),
        length_v4: lengths.0,
        length_v6: lengths.1,
        aggregate_local: report.annotation(&AGGREGATE_LOCAL, AGGREGATE_LOCAL.switch(&object.annotations)),
        attributes: attributes(&spec, object, aliases, report),
        endpoint_bandwidth: report.annotation(
            &LINK_BANDWIDTH,
            object.annotations.get(&LINK_BANDWIDTH.key()).map(|text| parse_bandwidth(text)).transpose(),
        ),
    };
    report.unknown_annotations(object);
    if report.sound() {
        advertisement.refused_pools = too_wide(&advertisement, pools, report);
    }
    Some(advertisement)
}

fn lengths(spec: &BGPAdvertisementSpec, report: &mut Report) -> (u8, u8) {
    let mut length = |field: &str, value: i64, longest: u8| {
        let length = u8::try_from(value).ok().filter(|length| (1..=longest).contains(length));
        if length.is_none() {
            report.refuse(format!("spec.{field}"), format!("{value} is not within 1 to {longest}"));
        }
        length.unwrap_or(longest)
    };
    let lengths = (
        length("aggregationLength", spec.aggregation_length, 32),
        length("aggregationLengthV6", spec.aggregation_length_v6, 128),
    );
    if !spec.service_selectors.is_empty() && lengths != (32, 128) {
        report.refuse(
            "spec.serviceSelectors",
            "exclude aggregation, since one route may stand for Services that are not selected; remove them, or leave aggregationLength at 32 and aggregationLengthV6 \
             at 128",
        );
    }
    lengths
}

fn attributes(
    spec: &BGPAdvertisementSpec,
    object: &OwnObject,
    aliases: &Aliases,
    report: &mut Report,
) -> RouteAttributes {
    let local_pref = u32::try_from(spec.local_pref).unwrap_or_else(|_| {
        report.refuse("spec.localPref", format!("{} is not within 0 to 4294967295", spec.local_pref));
        0
    });
    let prepend = report.annotation(&AS_PATH_PREPEND, AS_PATH_PREPEND.number(&object.annotations, 0..=10));
    let mut attributes = RouteAttributes {
        local_pref: Some(local_pref).filter(|preference| *preference != 0),
        med: report.annotation(&MED, MED.number(&object.annotations, 0..=u32::MAX)),
        prepend: prepend.and_then(|times| u8::try_from(times).ok()).unwrap_or(0),
        ..RouteAttributes::default()
    };
    report.distinct("communities", &spec.communities);
    for (index, text) in spec.communities.iter().enumerate() {
        match aliases.resolve(text) {
            Ok(Community::Standard(number)) => {
                attributes.communities.insert(number);
            }
            Ok(Community::Large(numbers)) => {
                attributes.large.insert(numbers);
            }
            Err(message) => report.refuse(format!("spec.communities[{index}]"), message),
        }
    }
    attributes
}

/// The pools with a range that is narrower than the routes: a route would draw traffic for addresses around it, which are not the pool's. As MetalLB judges: a
/// range is wide enough if the largest block within is.
fn too_wide(advertisement: &BgpAdvertisement, pools: &Pools, report: &mut Report) -> BTreeSet<String> {
    let mut refused = BTreeSet::new();
    for pool in pools.iter().filter(|pool| advertisement.means_pool(pool)) {
        let narrow = pool.ranges.iter().find(|range| advertisement.length(range.family) < range.widest());
        if let Some(range) = narrow {
            let (length, widest) = (advertisement.length(range.family), range.widest());
            let field = if range.family == Family::V4 { "aggregationLength" } else { "aggregationLengthV6" };
            report.problems.push(Problem::error(
                report.object.clone(),
                format!("spec.{field}"),
                reasons::INVALID_ADVERTISEMENT,
                format!(
                    "routes of length {length} reach beyond {range} of pool {}, which holds no block larger than /{widest}: addresses of that pool are not announced by this; make the \
                     length {widest} or longer, or name the pools that are meant",
                    pool.name
                ),
            ));
            refused.insert(pool.name.clone());
        }
    }
    refused
}

#[cfg(test)]
mod tests;
