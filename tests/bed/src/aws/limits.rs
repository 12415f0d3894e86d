//! AWS's rate limits as it documents them: ELB user guide, "API throttling"; EC2 developer guide, "Request throttling"; ACM user guide, "Quotas"; AWS WAF
//! developer guide, "AWS WAF quotas". Pure.

use crate::cloud::Limit;

/// One bucket per documented row, per account and region.
pub fn documented() -> Vec<Limit> {
    let elb = |actions: &[&str]| {
        actions.iter().map(|action| format!("elasticloadbalancing:{action}")).collect::<Vec<_>>()
    };
    let limit = |name: &str, calls: &[&str], except: &[&str], burst, rate| {
        let (calls, except) = (elb(calls), elb(except));
        let words = |list: &Vec<String>| list.iter().map(|word| word.as_str().into()).collect();
        Limit { name: name.to_owned(), calls: words(&calls), except: words(&except), burst, rate }
    };
    let reads = ["Describe*", "Get*"];
    let intensive = ["CreateLoadBalancer", "SetSubnets"];
    let registration = ["RegisterTargets", "DeregisterTargets"];
    let others: Vec<&str> = [&reads[..], &intensive, &registration, &["CreateTrustStore"]].concat();
    vec![
        limit("account-wide", &["*"], &[], 40.0, 10.0),
        limit("resource-intensive", &intensive, &[], 10.0, 0.2),
        limit("registration", &registration, &[], 20.0, 4.0),
        limit("non-mutating", &reads, &[], 40.0, 10.0),
        limit("mutating", &["*"], &others, 20.0, 3.0),
        limit("trust-store", &["CreateTrustStore"], &[], 10.0, 0.2),
        // Of EC2 what the bed's callers use: unfiltered and filtered reads have one size here, the smaller.
        Limit::new("ec2-non-mutating", &["ec2:Describe*"], &[], 50.0, 10.0),
        Limit::new("ec2-mutating", &["ec2:*"], &["ec2:Describe*"], 50.0, 5.0),
        // ACM documents requests per second and no burst. Resource tagging documents nothing, so nothing limits it here.
        Limit::new("acm-list", &["acm:ListCertificates"], &[], 8.0, 8.0),
        Limit::new("acm-describe", &["acm:DescribeCertificate"], &[], 10.0, 10.0),
        // One call a second, or every two seconds. Shield documents nothing.
        Limit::new("waf-get", &["wafv2:GetWebACLForResource"], &[], 1.0, 1.0),
        Limit::new("waf-associate", &["wafv2:AssociateWebACL"], &[], 1.0, 0.5),
        Limit::new("waf-disassociate", &["wafv2:DisassociateWebACL"], &[], 1.0, 0.5),
        Limit::new("waf-list", &["wafv2:ListWebACLs"], &[], 5.0, 5.0),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cloud::bucket::Buckets;

    fn passes(action: &str, calls: usize) -> Option<String> {
        let mut buckets = Buckets::new(&documented());
        let results = (0..calls).map(|_| buckets.take("elasticloadbalancing", action, Duration::ZERO));
        results.last()?.err().map(|refused| refused.limit)
    }

    #[test]
    fn each_action_has_the_burst_of_its_row() {
        for (action, burst, row) in [
            ("CreateLoadBalancer", 10, "resource-intensive"),
            ("SetSubnets", 10, "resource-intensive"),
            ("RegisterTargets", 20, "registration"),
            ("CreateTargetGroup", 20, "mutating"),
            ("AddTags", 20, "mutating"),
            ("DeleteLoadBalancer", 20, "mutating"),
            ("CreateTrustStore", 10, "trust-store"),
        ] {
            assert_eq!(passes(action, burst), None, "{action}");
            assert_eq!(passes(action, burst + 1).as_deref(), Some(row), "{action}");
        }
        assert_eq!(passes("DescribeTags", 40), None);
        assert_eq!(passes("DescribeTags", 41).as_deref(), Some("account-wide"));
    }
}
