//! What one may do in the account, as it was tried. Pure.

use causeway_api::Finding;

use super::{Outcome, Seen, Tried};

/// The policy that has them all.
const POLICY: &str = "deploy/aws/iam-policy.json";
/// Longest part of AWS's own words.
const WORDS: usize = 300;
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
    let mut findings = of("Permissions to read", &seen.reads, who);
    findings.extend(of("Permissions to change security groups (dry run)", &seen.writes, who));
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

fn of(about: &str, tried: &[Tried], who: &str) -> Vec<Finding> {
    let named = |wanted: fn(&Outcome) -> Option<&String>| -> Vec<(&str, &str)> {
        tried
            .iter()
            .filter_map(|one| Some((one.permission.as_str(), wanted(&one.outcome)?.as_str())))
            .collect()
    };
    let denied = named(|outcome| match outcome {
        Outcome::Denied(why) => Some(why),
        _ => None,
    });
    let unknown = named(|outcome| match outcome {
        Outcome::Unknown(why) => Some(why),
        _ => None,
    });
    let names = |all: &[(&str, &str)]| all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let mut findings = Vec::new();
    if let Some((_, why)) = denied.first() {
        findings.push(Finding::error(
            about,
            format!("{who} may not {}: attach {POLICY}. AWS says: {}", names(&denied), cut(why)),
        ));
    }
    if let Some((_, why)) = unknown.first() {
        findings.push(Finding::warning(about, format!("not known of {}: {}", names(&unknown), cut(why))));
    }
    if findings.is_empty() && !tried.is_empty() {
        let all: Vec<&str> = tried.iter().map(|one| one.permission.as_str()).collect();
        findings.push(Finding::ok(about, format!("all {} are there: {}", all.len(), all.join(", "))));
    }
    findings
}

/// Refusals of EC2 end in an encoded message of a thousand letters.
fn cut(words: &str) -> String {
    let readable = words.split(" Encoded authorization failure message").next().unwrap_or(words);
    if readable.chars().count() <= WORDS {
        return readable.to_owned();
    }
    readable.chars().take(WORDS).chain(['…']).collect()
}
