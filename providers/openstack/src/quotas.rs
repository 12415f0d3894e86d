//! What of a stack alone is more than a quota allows. Pure.

use causeway_api::{ObjectRef, Problem};

use crate::facts::Facts;
use crate::inventory::Answers;
use crate::stack::OctaviaStack;

/// Reason of the problem.
pub const EXCEEDED: &str = "QuotaExceeded";

/// What to say of quotas that the stack alone exceeds: it could not be made.
#[must_use]
pub fn exceeded(stack: &OctaviaStack, facts: &Facts, object: &ObjectRef) -> Vec<Problem> {
    let members = stack.members.values().map(std::collections::BTreeMap::len).sum();
    let octavia = facts.cloud.octavia_quotas.as_ref();
    let neutron = facts.cloud.neutron_quotas.as_ref();
    let counted = [
        (
            octavia,
            &["load_balancer", "loadbalancer"][..],
            "load balancers",
            usize::from(stack.load_balancer.is_some()),
        ),
        (octavia, &["listener"], "listeners", stack.listeners.len()),
        (octavia, &["pool"], "pools", stack.pools.len()),
        (octavia, &["member"], "members", members),
        (octavia, &["health_monitor", "healthmonitor"], "health monitors", stack.health_monitors.len()),
        (octavia, &["l7policy"], "L7 policies", stack.l7_policies.len()),
        (octavia, &["l7rule"], "L7 rules", stack.l7_rules.len()),
        (neutron, &["floatingip"], "floating IPs", usize::from(stack.floating_ip.is_some())),
        (neutron, &["security_group"], "security groups", usize::from(stack.security_group.is_some())),
        (neutron, &["security_group_rule"], "rules of security groups", stack.security_group_rules.len()),
    ];
    counted
        .into_iter()
        .filter_map(|(quotas, names, what, count)| {
            let quota = Answers::quota(quotas, names).filter(|quota| (count as u64) > *quota)?;
            Some(Problem::error(
                object.clone(),
                "spec",
                EXCEEDED,
                format!("{count} {what} are needed, and the project's quota {} is {quota}: have it raised, or ask for less", names[0]),
            ))
        })
        .collect()
}
