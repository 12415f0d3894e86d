//! Which of the resources that are there is the one that a stack asks for. Pure.
//!
//! Those of a stack are known by their tags. What can be changed in place decides nothing; what is fixed at creation must fit. While one load
//! balancer takes the place of another there are two of one id, each with its own target groups: AWS lets a target group serve one load balancer only.

use std::collections::{BTreeMap, BTreeSet};

use crate::cloud::records::{LoadBalancer, State, TargetGroup};
use crate::observe::Observed;
use crate::stack::{AwsStack, LoadBalancerSpec, LoadBalancerType, SubnetMapping, TargetGroupSpec};

/// Why a load balancer that is there cannot become the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// NLB or ALB.
    Kind,
    /// Scheme.
    Scheme,
    /// An NLB that was made without security groups cannot get any.
    NoSecurityGroups,
    /// A fixed address of a zone that stays.
    Address,
}

impl Misfit {
    /// What of it differs, for people.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Kind => "the type",
            Self::Scheme => "the scheme",
            Self::NoSecurityGroups => "that it has security groups at all",
            Self::Address => "the fixed addresses",
        }
    }
}

fn fixed(mapping: &SubnetMapping) -> (Option<&str>, Option<&str>) {
    (mapping.allocation_id.as_deref(), mapping.private_ipv4_address.as_deref())
}

/// Why a load balancer does not fit; `None`: it does.
#[must_use]
pub fn misfit(want: &LoadBalancerSpec, have: &LoadBalancerSpec) -> Option<Misfit> {
    if want.kind != have.kind {
        return Some(Misfit::Kind);
    }
    if want.scheme != have.scheme {
        return Some(Misfit::Scheme);
    }
    let nlb = want.kind == LoadBalancerType::Network;
    if nlb && have.security_groups.is_empty() && !want.security_groups.is_empty() {
        return Some(Misfit::NoSecurityGroups);
    }
    let moved = want.subnet_mappings.iter().any(|w| {
        let here = have.subnet_mappings.iter().find(|h| h.subnet_id == w.subnet_id);
        // An address that nobody asks for may stay; AWS shows one for every zone of an internet-facing NLB.
        here.is_some_and(|h| {
            let (allocation, private) = fixed(w);
            let differs = |w: Option<&str>, h: Option<&str>| w.is_some() && w != h;
            differs(allocation, fixed(h).0) || differs(private, fixed(h).1)
        })
    });
    moved.then_some(Misfit::Address)
}

/// Whether a target group is what is asked for, in all that cannot be changed. Its default port is no part of that: every target has its own.
#[must_use]
pub fn group_fits(want: &TargetGroupSpec, have: &TargetGroupSpec) -> bool {
    let version =
        |spec: &TargetGroupSpec| spec.protocol_version.unwrap_or(crate::stack::ProtocolVersion::Http1);
    let family = |spec: &TargetGroupSpec| spec.ip_address_type.unwrap_or(crate::stack::TargetFamily::Ipv4);
    want.target_type == have.target_type
        && want.protocol == have.protocol
        && version(want) == version(have)
        && family(want) == family(have)
        && (want.target_control_port.is_none() || want.target_control_port == have.target_control_port)
}

/// What serves the stack, and what else carries its mark.
#[derive(Debug, Default)]
pub struct Chosen<'a> {
    /// The load balancer of each id.
    pub load_balancers: BTreeMap<&'a str, &'a LoadBalancer>,
    /// Load balancers that are not, or no longer, asked for.
    pub former: Vec<&'a LoadBalancer>,
    /// The target group of each id.
    pub target_groups: BTreeMap<&'a str, &'a TargetGroup>,
    /// Target groups that are not, or no longer, asked for, but for those of former load balancers.
    pub stale_groups: Vec<&'a TargetGroup>,
}

/// Chooses.
#[must_use]
pub fn choose<'a>(want: &'a AwsStack, have: &'a Observed) -> Chosen<'a> {
    let mut chosen = Chosen::default();
    for (id, spec) in &want.load_balancers {
        let rank = |lb: &&LoadBalancer| {
            (
                have.retired.contains_key(&lb.arn),
                !lb.state.serves(),
                lb.spec.name != spec.name,
                lb.arn.clone(),
            )
        };
        let fits = have
            .load_balancers_of(id)
            .filter(|lb| misfit(spec, &lb.spec).is_none() && lb.state != State::Failed);
        if let Some(lb) = fits.min_by_key(rank) {
            chosen.load_balancers.insert(id, lb);
        }
    }
    let current: BTreeSet<&str> = chosen.load_balancers.values().map(|lb| lb.arn.as_str()).collect();
    chosen.former = have.load_balancers.iter().filter(|lb| !current.contains(lb.arn.as_str())).collect();
    let of_former =
        |group: &TargetGroup| chosen.former.iter().any(|lb| group.load_balancers.contains(&lb.arn));
    for (id, spec) in &want.target_groups {
        let rank = |group: &&TargetGroup| {
            (group.load_balancers.is_empty(), group.spec.name != spec.name, group.arn.clone())
        };
        let fits =
            have.target_groups_of(id).filter(|group| group_fits(spec, &group.spec) && !of_former(group));
        if let Some(group) = fits.min_by_key(rank) {
            chosen.target_groups.insert(id, group);
        }
    }
    let used: BTreeSet<&str> = chosen.target_groups.values().map(|g| g.arn.as_str()).collect();
    chosen.stale_groups =
        have.target_groups.iter().filter(|g| !used.contains(g.arn.as_str()) && !of_former(g)).collect();
    chosen
}

/// The load balancer to show: the one that is asked for, once it takes traffic.
#[must_use]
pub fn serving<'a>(want: &'a AwsStack, have: &'a Observed, id: &str) -> Option<&'a LoadBalancer> {
    let chosen = choose(want, have).load_balancers.get(id).copied();
    chosen.filter(|lb| lb.state.serves())
}
