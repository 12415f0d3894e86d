//! What to say of a Service: its addresses, where they come from, and what keeps traffic from arriving. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::{Condition, Family, FamilyPolicy, IngressPoint, IpMode, MemberStatus, Problem};

use crate::allocator::{Families, field};
use crate::closed::{Stranger, Taken};
use crate::desired::{Ask, Facts, MetalStack, Wanted};
use crate::names::{ANNOTATION_FROM_POOL, CONDITION_ADDRESS_CONFLICT, events, reasons};
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
        conditions: conflict(wanted, &want.facts, have).into_iter().collect(),
        annotations: BTreeMap::from([(ANNOTATION_FROM_POOL.to_owned(), pool)]),
        problems: problems(wanted, &want.facts, have),
        notes: have.notes.clone(),
    }]
}

/// Who else uses an address that the Service has, or asks for. What it asks for and is denied is a problem of the plan already; this is the
/// condition by which it is found.
fn conflict(wanted: &Wanted, facts: &Facts, have: &Held) -> Option<Condition> {
    let requested = match &wanted.ask {
        Ask::Addresses(request) => request.addresses.as_slice(),
        Ask::Keep(_) | Ask::Nothing => &[],
    };
    let concerned: BTreeSet<IpAddr> =
        have.addresses.iter().chain(requested).map(IpAddr::to_canonical).collect();
    let met: Vec<_> = concerned
        .iter()
        .filter_map(|address| {
            let stranger = facts.closed.get(*address)?.stranger()?;
            Some(in_conflict(*address, stranger, have.addresses.contains(address)))
        })
        .collect();
    if met.is_empty() {
        return None;
    }
    Some(Condition {
        kind: CONDITION_ADDRESS_CONFLICT.to_owned(),
        status: true,
        reason: reasons::ADDRESS_CONFLICT.to_owned(),
        message: met.join("; "),
    })
}

fn in_conflict(address: IpAddr, stranger: &Stranger, held: bool) -> String {
    let (mac, node, interface) = (&stranger.mac, &stranger.node, &stranger.interface);
    let what =
        if held { "this Service keeps it, and answers are uncertain" } else { "this Service waits for it" };
    format!(
        "{mac} uses {address} too, as node {node} sees it on {interface}: {what}; take the address from that host, or from the pool"
    )
}

fn problems(wanted: &Wanted, facts: &Facts, have: &Held) -> Vec<Problem> {
    let mut problems = Vec::new();
    if have.addresses.is_empty() {
        return problems;
    }
    for address in &have.addresses {
        let Some(taken) = facts.closed.get(*address) else { continue };
        let field = "status.loadBalancer.ingress";
        problems.push(match taken {
            Taken::Stranger(stranger) => Problem::warning(
                wanted.object.clone(),
                field,
                reasons::ADDRESS_CONFLICT,
                in_conflict(*address, stranger, true),
            ),
            Taken::Node(node) => Problem::warning(
                wanted.object.clone(),
                field,
                reasons::NODE_ADDRESSES,
                format!(
                    "{address} is an address of node {node} too, so that traffic for the one reaches the other; ask for another address by {}",
                    field::LOAD_BALANCER_IPS
                ),
            ),
        });
    }
    problems.extend(asked_pool(wanted, facts, have));
    problems.extend(second_family(wanted, have));
    problems.extend(announcing(wanted, facts, have));
    problems
}

/// The pool that the Service asks for cannot give anything, and it has an address of another.
fn asked_pool(wanted: &Wanted, facts: &Facts, have: &Held) -> Option<Problem> {
    let Ask::Addresses(request) = &wanted.ask else { return None };
    let asked = request.pool.as_ref()?;
    if have.pool.as_ref() == Some(asked) {
        return None;
    }
    let matter = match facts.pools.get(asked) {
        None => "does not exist",
        Some(pool) if pool.refused => "gives no addresses, see its Events",
        Some(_) => return None,
    };
    Some(Problem::error(
        wanted.object.clone(),
        field::ADDRESS_POOL,
        reasons::POOL_UNUSABLE,
        format!(
            "pool {asked} {matter}; this Service keeps what it has until then; mend that pool, or name another"
        ),
    ))
}

fn second_family(wanted: &Wanted, have: &Held) -> Option<Problem> {
    let missing = lacking(wanted, have)?;
    let family = if missing == Family::V4 { "IPv4" } else { "IPv6" };
    let pool = have.pool.as_deref().unwrap_or("its pool");
    Some(Problem::warning(
        wanted.object.clone(),
        "spec.ipFamilyPolicy",
        events::ADDITIONAL_FAILED,
        format!(
            "cannot assign additional IP in PreferDualStack: {pool} has no free {family} address; add some to that pool"
        ),
    ))
}

/// What keeps the addresses from being announced.
fn announcing(wanted: &Wanted, facts: &Facts, have: &Held) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say = |field: &str, reason: &str, message: String| {
        problems.push(Problem::error(wanted.object.clone(), field, reason, message));
    };
    for address in have.addresses.iter().filter(|address| facts.pools.of(&[**address]).is_none()) {
        say(
            "status.loadBalancer.ingress",
            reasons::OUTSIDE_POOLS,
            format!(
                "{address} is in no IPAddressPool any more, so nobody announces it; add it to a pool, or name a pool by {} to get another address",
                field::ADDRESS_POOL
            ),
        );
    }
    let each = || have.addresses.iter().find_map(|address| facts.pools.of(&[*address]));
    let Some(pool) = facts.pools.of(&have.addresses).or_else(each) else { return problems };
    let mut announcing =
        facts.advertisements.iter().filter(|ad| ad.matches_pool(pool) && ad.matches_service(&wanted.labels));
    if wanted.shares_address && announcing.clone().any(|ad| !ad.service_selectors.is_empty()) {
        say(
            field::ALLOW_SHARED_IP,
            reasons::NOT_ANNOUNCED,
            "a Service that may share its address is not announced by L2Advertisements with serviceSelectors, since the others on that address may be \
             announced from another node; remove the annotation or the selectors"
                .into(),
        );
    } else if announcing.next().is_none() {
        let addresses: Vec<_> = have.addresses.iter().map(ToString::to_string).collect();
        say(
            "",
            reasons::NOT_ANNOUNCED,
            format!(
                "{} is assigned, but no L2Advertisement announces addresses of pool {} for this Service; create one in the namespace of the pools",
                addresses.join(", "),
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
