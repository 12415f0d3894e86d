//! Quotas of AWS for an ALB: as the account has them, or their documented defaults. Pure.

use crate::facts::Facts;

/// Reason of a problem with a quota.
pub const TOO_MANY: &str = "QuotaExceeded";
/// Rules of an ALB without the default ones.
pub const RULES: &str = "rules-per-application-load-balancer";
/// Target groups of an ALB.
pub const TARGET_GROUPS: &str = "target-groups-per-application-load-balancer";
/// Listeners of an ALB.
pub const LISTENERS: &str = "listeners-per-application-load-balancer";
/// Certificates of an ALB without the default ones.
pub const CERTIFICATES: &str = "certificates-per-application-load-balancer";

/// Most rules.
#[must_use]
pub fn rules(facts: &Facts) -> u64 {
    facts.aws.limit(RULES, 100)
}

/// Most target groups.
#[must_use]
pub fn target_groups(facts: &Facts) -> u64 {
    facts.aws.limit(TARGET_GROUPS, 100)
}

/// Most listeners.
#[must_use]
pub fn listeners(facts: &Facts) -> u64 {
    facts.aws.limit(LISTENERS, 50)
}

/// Most certificates besides default ones.
#[must_use]
pub fn certificates(facts: &Facts) -> u64 {
    facts.aws.limit(CERTIFICATES, 25)
}

/// What to tell of a quota.
#[must_use]
pub fn explain(quota: &str, most: u64, so: &str) -> String {
    format!(
        "AWS's quota {quota} of {most} is used up by older objects that share this load balancer: {so}; have the quota raised, or take another group"
    )
}
