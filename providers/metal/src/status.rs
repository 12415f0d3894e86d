//! What to say of a Service: its addresses, where they come from, and what keeps traffic from arriving. Pure.

use std::collections::BTreeMap;

use causeway_api::{Family, FamilyPolicy, IngressPoint, IpMode, MemberStatus, Problem};

use crate::allocator::{Families, field};
use crate::desired::{Ask, Facts, MetalStack, Wanted};
use crate::names::{ANNOTATION_FROM_POOL, events, reasons};
use crate::observe::Held;

/// The status of the Service of a stack; none for what is not served here.
#[must_use]
pub fn status(want: &MetalStack, have: &Held) -> Vec<MemberStatus> {
    let Some(wanted) = &want.wanted else { return Vec::new() };
    let ingress = have
        .addresses
        .iter()
        // Packets reach the node addressed to the VIP; kube-proxy takes them there.
        .map(|ip| IngressPoint { ip: Some(*ip), ip_mode: Some(IpMode::Vip), ..IngressPoint::default() })
        .collect();
    let pool = have.pool.clone().filter(|_| !have.addresses.is_empty());
    vec![MemberStatus {
        object: wanted.object.clone(),
        ingress: Some(ingress),
        conditions: Vec::new(),
        annotations: BTreeMap::from([(ANNOTATION_FROM_POOL.to_owned(), pool)]),
        problems: warnings(wanted, &want.facts, have),
        notes: have.notes.clone(),
    }]
}

fn warnings(wanted: &Wanted, facts: &Facts, have: &Held) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(first) = have.addresses.first() else { return problems };
    let mut warn = |field: &str, reason: &str, message: String| {
        problems.push(Problem::warning(wanted.object.clone(), field, reason, message));
    };
    if let Some(missing) = lacking(wanted, have) {
        let family = if missing == Family::V4 { "IPv4" } else { "IPv6" };
        let pool = have.pool.as_deref().unwrap_or("its pool");
        warn(
            "spec.ipFamilyPolicy",
            events::ADDITIONAL_FAILED,
            format!(
                "cannot assign additional IP in PreferDualStack: {pool} has no free {family} address; add some to that pool"
            ),
        );
    }
    let pool = facts.pools.of(&have.addresses).or_else(|| facts.pools.of(&[*first]));
    let Some(pool) = pool else {
        warn(
            "status.loadBalancer.ingress",
            reasons::OUTSIDE_POOLS,
            format!(
                "{first} is in no IPAddressPool any more, so nobody announces it; add it to a pool, or name a pool by {} to get another address",
                field::ADDRESS_POOL
            ),
        );
        return problems;
    };
    let mut announcing =
        facts.advertisements.iter().filter(|ad| ad.matches_pool(pool) && ad.matches_service(&wanted.labels));
    if wanted.shares_address && announcing.clone().any(|ad| !ad.service_selectors.is_empty()) {
        warn(
            field::ALLOW_SHARED_IP,
            reasons::NOT_ANNOUNCED,
            "a Service that may share its address is not announced by L2Advertisements with serviceSelectors, since the others on that address may be \
             announced from another node; remove the annotation or the selectors"
                .into(),
        );
    } else if announcing.next().is_none() {
        warn(
            "",
            reasons::NOT_ANNOUNCED,
            format!(
                "{first} is assigned, but no L2Advertisement announces addresses of pool {} for this Service; create one in the namespace of the pools",
                pool.name
            ),
        );
    }
    problems
}

/// The family that a Service which prefers two has not got.
fn lacking(wanted: &Wanted, have: &Held) -> Option<Family> {
    let Ask::Addresses(request) = &wanted.ask else { return None };
    if request.policy != FamilyPolicy::PreferDualStack || request.families != Families::Both {
        return None;
    }
    let has = |family: Family| have.addresses.iter().any(|a| Family::of(a) == family);
    [Family::V4, Family::V6].into_iter().find(|family| !has(*family))
}
