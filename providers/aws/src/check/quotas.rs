//! How much is used of the quotas that hold for a whole region. Pure.

use causeway_api::Finding;
use causeway_api::check::{NEARLY, quota};

use super::Seen;
use crate::facts::Facts;
use crate::security::MOST_RULES;
use crate::stack::LoadBalancerType;

/// What there is, and how many there may be.
pub(super) fn judge(seen: &Seen, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_kind =
        |kind| seen.load_balancers.as_ref().map(|all| all.iter().filter(|lb| lb.spec.kind == kind).count());
    for (name, used) in [
        ("network-load-balancers", of_kind(LoadBalancerType::Network)),
        ("application-load-balancers", of_kind(LoadBalancerType::Application)),
        ("target-groups", seen.target_groups.as_ref().map(Vec::len)),
    ] {
        let about = format!("Quota {name}");
        let limits = facts.aws.describe_account_limits.iter().flat_map(|answer| &answer.limits);
        let most =
            limits.into_iter().find(|limit| limit.name == name).and_then(|l| l.max.parse::<usize>().ok());
        findings.push(match (used, most) {
            (Some(used), Some(most)) => quota(about, used, 0, most, "Service Quotas"),
            _ => Finding::warning(
                about,
                "is not known: what there is, or how many there may be, could not be read",
            ),
        });
    }
    for group in &seen.node_groups {
        let about = format!("Security group {}", group.id);
        let rules = group.spec.ingress.len();
        // The quota itself is not in any answer that the controller may read.
        if rules * 100 >= MOST_RULES * NEARLY {
            findings.push(Finding::warning(
                about,
                format!(
                    "has {rules} inbound rules, and by default AWS allows {MOST_RULES}: take away what nobody needs, or have the quota \"inbound rules per security \
                     group\" raised"
                ),
            ));
        }
    }
    findings
}
