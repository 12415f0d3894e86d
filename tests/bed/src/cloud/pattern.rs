//! Which calls something is about: `Describe*`, `ec2:*`, `elasticloadbalancing:CreateLoadBalancer`. Pure.

use serde::{Deserialize, Serialize};

/// A pattern of calls: `SERVICE:ACTION` or `ACTION` of any service; `*` stands for any characters, `|` between patterns for either. Case matters.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl From<&str> for Pattern {
    fn from(text: &str) -> Pattern {
        Pattern(text.to_owned())
    }
}

impl Pattern {
    /// Whether it covers that action of that service.
    pub fn covers(&self, service: &str, action: &str) -> bool {
        self.0.split('|').any(|one| match one.split_once(':') {
            Some((of_service, of_action)) => glob(of_service, service) && glob(of_action, action),
            None => glob(one, action),
        })
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters, none too.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut rest = rest;
    let mut last: Option<&str> = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(end) => rest.ends_with(end),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_calls() {
        for (pattern, service, action, covers) in [
            ("*", "ec2", "DescribeSubnets", true),
            ("Describe*", "ec2", "DescribeSubnets", true),
            ("Describe*", "ec2", "CreateTags", false),
            ("ec2:*", "ec2", "CreateTags", true),
            ("ec2:*", "acm", "ListCertificates", false),
            ("*Targets", "elasticloadbalancing", "RegisterTargets", true),
            ("CreateRule", "elasticloadbalancing", "CreateRules", false),
            ("*:Create*Group", "ec2", "CreateSecurityGroup", true),
            ("D*e*s", "ec2", "DescribeVpcs", true),
            ("a*a", "ec2", "a", false),
            ("Create*|acm:Delete*", "ec2", "CreateTags", true),
            ("Create*|acm:Delete*", "acm", "DeleteCertificate", true),
            ("Create*|acm:Delete*", "ec2", "DeleteTags", false),
        ] {
            assert_eq!(
                Pattern::from(pattern).covers(service, action),
                covers,
                "{pattern} {service}:{action}"
            );
        }
    }
}
