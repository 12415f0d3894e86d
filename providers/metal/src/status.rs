//! What to say of a Service: its addresses, where they come from, and what keeps traffic from arriving. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Condition, Family, FamilyPolicy, IngressPoint, IpMode, MemberStatus, Problem, Severity};

use crate::allocator::{Families, field};
use crate::annotations::SINGLE_ANNOUNCER;
use crate::bgp::{self, BgpAdvertisement, Where};
use crate::closed::{Stranger, Taken};
use crate::desired::{Ask, Facts, MetalStack, Wanted};
use crate::names::{
    ANNOTATION_FROM_POOL, CONDITION_ADDRESS_CONFLICT, CONDITION_SESSION_AFFINITY, events, reasons,
};
use crate::observe::Held;
use crate::pool::Pool;

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
        conditions: [conflict(wanted, &want.facts, have), affinity(wanted, &want.facts, have)]
            .into_iter()
            .flatten()
            .collect(),
        annotations: BTreeMap::from([(ANNOTATION_FROM_POOL.to_owned(), pool)]),
        peer_finalizers: Vec::new(),
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

/// Several nodes announce the Service to routers, and it wants each client at one endpoint: which node a connection comes to is up to the routers, and kube-proxy
/// keeps a client with an endpoint on each node by itself.
fn affinity(wanted: &Wanted, facts: &Facts, have: &Held) -> Option<Condition> {
    let by_bgp = announced_pool(facts, have)
        .is_some_and(|pool| facts.bgp.announcing(pool, &wanted.labels, &have.addresses).next().is_some());
    is_best_effort(wanted.affinity, wanted.single_announcer, by_bgp).then(|| Condition {
        kind: CONDITION_SESSION_AFFINITY.to_owned(),
        status: true,
        reason: reasons::SEVERAL_ANNOUNCERS.to_owned(),
        message: format!(
            "several nodes announce this Service by BGP, and routers may send the connections of one client to any of them, so that sessionAffinity ClientIP does not always hold; the \
             annotation {} makes one node announce it, if that can carry the traffic",
            SINGLE_ANNOUNCER.key()
        ),
    })
}

/// Whether sessionAffinity ClientIP of a Service is kept as well as routers happen to allow: it asks for it, is announced by BGP, and not from one node
/// alone.
#[must_use]
pub fn is_best_effort(affinity: bool, single_announcer: bool, announced_by_bgp: bool) -> bool {
    affinity && announced_by_bgp && !single_announcer
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
    if let Some(pool) = announced_pool(facts, have) {
        problems.extend(advertised(wanted, facts, have, pool));
    }
    problems
}

/// What is wrong with the advertisements of the addresses. It is an error only where nobody announces them.
fn advertised(wanted: &Wanted, facts: &Facts, have: &Held, pool: &Pool) -> Vec<Problem> {
    let by_l2 = facts.advertisements.iter();
    let by_l2: Vec<_> =
        by_l2.filter(|ad| ad.matches_pool(pool) && ad.matches_service(&wanted.labels)).collect();
    let meant = facts.bgp.advertisements.iter();
    let meant: Vec<_> =
        meant.filter(|ad| ad.matches_pool(pool) && ad.matches_service(&wanted.labels)).collect();
    let by_bgp = facts.bgp.announcing(pool, &wanted.labels, &have.addresses).next().is_some();
    let shared = wanted.shares_address && by_l2.iter().any(|ad| !ad.service_selectors.is_empty());
    let on_l2 = !by_l2.is_empty() && !shared;
    let mut problems = Vec::new();
    let mut say = |otherwise: bool, field: &str, reason: &str, message: String| {
        let severity = if otherwise { Severity::Warning } else { Severity::Error };
        problems.push(Problem { severity, ..Problem::error(wanted.object.clone(), field, reason, message) });
    };
    if shared {
        say(
            by_bgp,
            field::ALLOW_SHARED_IP,
            reasons::NOT_ANNOUNCED,
            "a Service that may share its address is not announced by L2Advertisements with serviceSelectors, since the others on that address may be \
             announced from another node; remove the annotation or the selectors"
                .into(),
        );
    }
    let addresses = || have.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if by_l2.is_empty() && meant.is_empty() {
        say(
            false,
            "",
            reasons::NOT_ANNOUNCED,
            format!(
                "{} is assigned, but no L2Advertisement or BGPAdvertisement announces addresses of pool {} for this Service; create one in the namespace of the pools",
                addresses(),
                pool.name
            ),
        );
    }
    if let (Some(first), false) = (meant.first(), by_bgp) {
        say(
            on_l2,
            "",
            reasons::NOT_ANNOUNCED,
            format!(
                "{} is assigned, and {} is to announce it, but there is no BGPPeer that could hear it; create one in the namespace of the pools, for routes of its IP family, or mend it",
                addresses(),
                first.object
            ),
        );
    }
    let families: Vec<Family> = have.addresses.iter().map(|a| Family::of(&a.to_canonical())).collect();
    if let Some(contradiction) = contradiction(&meant, pool, &families) {
        say(on_l2, "", reasons::CONFLICTING_ADVERTISEMENTS, contradiction);
    }
    problems
}

/// The pool whose advertisements announce the addresses.
fn announced_pool<'a>(facts: &'a Facts, have: &Held) -> Option<&'a Pool> {
    let each = || have.addresses.iter().find_map(|address| facts.pools.of(&[*address]));
    facts.pools.of(&have.addresses).or_else(each).map(Arc::as_ref)
}

/// Two advertisements that are sure to want one route of the Service with different attributes, so that it is not announced.
fn contradiction(meant: &[&BgpAdvertisement], pool: &Pool, families: &[Family]) -> Option<String> {
    meant.iter().enumerate().find_map(|(index, one)| {
        meant[index + 1..].iter().find_map(|two| {
            let attribute = one.differs(two).filter(|_| bgp::meet(one, two, pool, families, Where::Anywhere))?;
            Some(format!(
                "{attribute} is {} in {} and {} in {}, so that peers which hear both hear nothing of this Service; give both the same, or let their peers, nodes or Services \
                 differ",
                one.value(attribute),
                one.object,
                two.value(attribute),
                two.object
            ))
        })
    })
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
