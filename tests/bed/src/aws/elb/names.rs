//! Names, ARNs, host names and addresses as AWS forms them. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::Refusal;
use super::state::Kind;

/// The ARN of a resource.
pub type Arn = String;

/// Checks the name of a load balancer or target group: up to 32 letters, digits and hyphens, no hyphen at either end, and no load balancer's begins with
/// `internal-`.
pub fn check(kind: &str, name: &str) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new("ValidationError", format!("{kind} name '{name}' {why}")));
    if name.len() > 32 {
        return invalid("cannot be longer than '32' characters");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return invalid("can only contain characters that are alphanumeric characters and hyphens(-)");
    }
    if name.is_empty() || name.starts_with('-') || name.ends_with('-') {
        return invalid("cannot begin or end with a hyphen(-)");
    }
    if kind == "Load balancer" && name.starts_with("internal-") {
        return invalid("cannot begin with 'internal-'");
    }
    Ok(())
}

/// The last part of a resource's ARN: 16 hexadecimal digits that look as random as AWS's do but repeat from run to run.
pub fn id(number: u64) -> String {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!("{:016x}", z ^ (z >> 27))
}

/// ARN of a load balancer.
pub fn load_balancer_arn(region: &str, account: &str, kind: Kind, name: &str, id: &str) -> Arn {
    let short = kind.in_arns();
    format!("arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/{short}/{name}/{id}")
}

/// ARN of a listener of a load balancer.
pub fn listener_arn(load_balancer: &str, id: &str) -> Arn {
    format!("{}/{id}", load_balancer.replacen(":loadbalancer/", ":listener/", 1))
}

/// ARN of a rule of a listener.
pub fn rule_arn(listener: &str, id: &str) -> Arn {
    format!("{}/{id}", listener.replacen(":listener/", ":listener-rule/", 1))
}

/// ARN of a target group.
pub fn target_group_arn(region: &str, account: &str, name: &str, id: &str) -> Arn {
    format!("arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/{name}/{id}")
}

/// Host name of a load balancer: the two types differ in more than a word.
pub fn dns_name(region: &str, kind: Kind, internal: bool, name: &str, id: &str, number: u64) -> String {
    match kind {
        Kind::Network => format!("{name}-{id}.elb.{region}.amazonaws.com"),
        Kind::Application => {
            let prefix = if internal { "internal-" } else { "" };
            format!(
                "{prefix}{name}-{}.{region}.elb.amazonaws.com",
                100_000_000 + number * 7_919 % 900_000_000
            )
        }
    }
}

/// The Route 53 hosted zone of the load balancers' host names, one per region and type (AWS General Reference, "Elastic Load Balancing
/// endpoints and quotas"); those of us-east-1 stand for every region here.
pub fn zone_id(kind: Kind) -> &'static str {
    match kind {
        Kind::Network => "Z26RNL4JYFTOTI",
        Kind::Application => "Z35SXDOTRQ7X7K",
    }
}

/// Addresses outside that load balancers have: 198.51.100.32 to 198.51.100.254, so 223 load balancers with an address of their own at a time. Further
/// ones share the last: enough for tests that count calls and send no traffic.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    used: BTreeSet<u8>,
    last: u8,
}

impl Addresses {
    /// The next free address: one that was given back is the last to be taken again, for its name may be known to somebody still.
    pub fn take(&mut self) -> Ipv4Addr {
        let next = (self.last.max(31).saturating_add(1)..=254).chain(32..=254);
        self.last = next.into_iter().find(|last| !self.used.contains(last)).unwrap_or(254);
        self.used.insert(self.last);
        Ipv4Addr::new(198, 51, 100, self.last)
    }

    /// Gives it back.
    pub fn free(&mut self, address: Ipv4Addr) {
        self.used.remove(&address.octets()[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_formed_as_on_aws() {
        let balancer =
            load_balancer_arn("us-east-1", "123456789012", Kind::Network, "web", "50dc6c495c0c9188");
        assert_eq!(
            balancer,
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/web/50dc6c495c0c9188"
        );
        let listener = listener_arn(&balancer, "f2f7dc8efc522ab2");
        assert!(listener.ends_with(":listener/net/web/50dc6c495c0c9188/f2f7dc8efc522ab2"), "{listener}");
        assert!(rule_arn(&listener, "9683b2d02a6cabee").contains(":listener-rule/net/web/"));
        assert_eq!(
            dns_name("eu-west-1", Kind::Network, true, "web", "50dc6c495c0c9188", 1),
            "web-50dc6c495c0c9188.elb.eu-west-1.amazonaws.com"
        );
        let application = dns_name("eu-west-1", Kind::Application, true, "web", "x", 3);
        assert!(application.starts_with("internal-web-"), "{application}");
        assert!(application.ends_with(".eu-west-1.elb.amazonaws.com"), "{application}");
        assert_ne!(id(1), id(2));
        assert_eq!(id(u64::MAX).len(), 16);
    }

    #[test]
    fn addresses_are_taken_in_turn() {
        let mut addresses = Addresses::default();
        let first = addresses.take();
        assert_eq!(first, Ipv4Addr::new(198, 51, 100, 32));
        addresses.free(first);
        let taken: BTreeSet<Ipv4Addr> = (0..222).map(|_| addresses.take()).collect();
        assert!(taken.len() == 222 && !taken.contains(&first), "{taken:?}");
        assert_eq!(addresses.take(), first);
    }

    #[test]
    fn names_that_aws_refuses_are_refused() {
        let long = "a".repeat(33);
        for (name, fits) in [
            ("web", true),
            ("a", true),
            ("a-b", true),
            ("internal-x", false),
            ("-x", false),
            ("x-", false),
            ("a_b", false),
            ("", false),
            (long.as_str(), false),
            (&long[1..], true),
        ] {
            assert_eq!(check("Load balancer", name).is_ok(), fits, "{name}");
        }
        assert!(check("Target group", "internal-x").is_ok());
    }
}
