//! What of a stack alone is more than a quota allows. Pure.

use causeway_api::{ObjectRef, Problem};

use crate::facts::Facts;
use crate::inventory::{Answers, Quotas};
use crate::stack::OctaviaStack;

/// Reason of the problem.
pub const EXCEEDED: &str = "QuotaExceeded";

/// Whose quota it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Octavia,
    Neutron,
}

impl Of {
    /// The quotas of its service.
    pub(crate) fn quotas(self, answers: &Answers) -> Option<&Quotas> {
        match self {
            Self::Octavia => answers.octavia_quotas.as_ref(),
            Self::Neutron => answers.neutron_quotas.as_ref(),
        }
    }
}

/// What a stack needs of one quota.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// Whose.
    pub of: Of,
    /// Names of the quota: releases spell some in two ways.
    pub names: &'static [&'static str],
    /// For people.
    pub what: &'static str,
    /// How many.
    pub count: usize,
}

/// What a stack needs of each quota.
pub(crate) fn needs(stack: &OctaviaStack) -> [Need; 11] {
    let members = stack.members.values().map(std::collections::BTreeMap::len).sum();
    let lbs = usize::from(stack.load_balancer.is_some());
    let need = |of, names, what, count| Need { of, names, what, count };
    use Of::{Neutron, Octavia};
    [
        need(Octavia, &["load_balancer", "loadbalancer"], "load balancers", lbs),
        need(Octavia, &["listener"], "listeners", stack.listeners.len()),
        need(Octavia, &["pool"], "pools", stack.pools.len()),
        need(Octavia, &["member"], "members", members),
        need(Octavia, &["health_monitor", "healthmonitor"], "health monitors", stack.health_monitors.len()),
        need(Octavia, &["l7policy"], "L7 policies", stack.l7_policies.len()),
        need(Octavia, &["l7rule"], "L7 rules", stack.l7_rules.len()),
        need(Neutron, &["floatingip"], "floating IPs", usize::from(stack.floating_ip.is_some())),
        need(Neutron, &["security_group"], "security groups", usize::from(stack.security_group.is_some())),
        need(Neutron, &["security_group_rule"], "rules of security groups", stack.security_group_rules.len()),
        // That of the VIP.
        need(Neutron, &["port"], "ports", lbs),
    ]
}

/// What to say of quotas that the stack alone exceeds: it could not be made.
#[must_use]
pub fn exceeded(stack: &OctaviaStack, facts: &Facts, object: &ObjectRef) -> Vec<Problem> {
    needs(stack)
        .into_iter()
        .filter_map(|Need { of, names, what, count }| {
            let quota = Answers::quota(of.quotas(&facts.cloud), names).filter(|quota| (count as u64) > *quota)?;
            Some(Problem::error(
                object.clone(),
                "spec",
                EXCEEDED,
                format!("{count} {what} are needed, and the project's quota {} is {quota}: have it raised, or ask for less", names[0]),
            ))
        })
        .collect()
}
