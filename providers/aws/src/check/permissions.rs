//! What one may do in the account, as it was tried. Pure.

use causeway_api::Finding;
use causeway_api::check::rights;

use super::Seen;

/// The policy that has them all.
const POLICY: &str = "deploy/aws/iam-policy.json";
/// What the controller writes in EC2.
const EC2_WRITES: [&str; 6] = [
    "ec2:CreateSecurityGroup",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:RevokeSecurityGroupIngress",
    "ec2:CreateTags",
    "ec2:DeleteTags",
    "ec2:DeleteSecurityGroup",
];

/// What was allowed, and what was not.
pub(super) fn judge(seen: &Seen) -> Vec<Finding> {
    let who = seen.identity.as_ref().map_or("the role", |who| who.arn.as_str());
    let remedy = format!("attach {POLICY}");
    let tried = |about, tried| rights(about, tried, who, &remedy, "AWS");
    let mut findings = tried("Permissions to read", &seen.reads);
    findings.extend(tried("Permissions to change security groups (dry run)", &seen.writes));
    let not_tried: Vec<&str> = EC2_WRITES
        .into_iter()
        .filter(|permission| !seen.writes.iter().any(|tried| tried.permission == *permission))
        .collect();
    let more = if not_tried.is_empty() {
        String::new()
    } else {
        format!(", nor has anything to try {} on", not_tried.join(", "))
    };
    findings.push(Finding::warning(
        "Permissions to change load balancers",
        format!("are not tried: Elastic Load Balancing has no dry run{more}. {POLICY} has them all"),
    ));
    findings
}
