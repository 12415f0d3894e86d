//! What there is: load balancers, listeners, rules, target groups, targets. Plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use super::health::Health;
use super::names::Arn;

/// Type of a load balancer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Network Load Balancer: TCP, UDP, TLS.
    Network,
    /// Application Load Balancer: HTTP, HTTPS.
    Application,
}

impl Kind {
    /// As the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Network => "network",
            Kind::Application => "application",
        }
    }

    /// As ARNs say it.
    pub fn in_arns(self) -> &'static str {
        match self {
            Kind::Network => "net",
            Kind::Application => "app",
        }
    }
}

/// A load balancer's place in an availability zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Zone {
    /// Name of the availability zone.
    pub name: String,
    /// Id of the subnet.
    pub subnet: String,
    /// Elastic IP address: allocation id and address.
    pub elastic: Option<(String, Ipv4Addr)>,
    /// Whether the user fixed the private address.
    pub private_fixed: bool,
    /// Address inside the subnet that its connections to targets come from.
    pub private: Ipv4Addr,
}

/// A load balancer.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    /// ARN.
    pub arn: Arn,
    /// Name.
    pub name: String,
    /// Type.
    pub kind: Kind,
    /// Whether its scheme is `internal`.
    pub internal: bool,
    /// VPC.
    pub vpc: String,
    /// Where it is.
    pub zones: Vec<Zone>,
    /// Security groups; empty only for an NLB made without any.
    pub security_groups: BTreeSet<String>,
    /// Whether an NLB was made with security groups: only then it may have others later.
    pub made_with_groups: bool,
    /// `ipv4`, `dualstack`, ...
    pub ip_address_type: String,
    /// `on` or `off`, NLBs with security groups only.
    pub enforce_private_link: Option<String>,
    /// Attributes that were set; all others have their defaults.
    pub attributes: BTreeMap<String, String>,
    /// Host name.
    pub dns_name: String,
    /// Cloud time of its creation.
    pub created: Duration,
    /// Capacity units reserved.
    pub capacity: Option<u64>,
    /// Its address outside, in the bed.
    pub address: Ipv4Addr,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// ARN.
    pub arn: Arn,
    /// Its load balancer.
    pub load_balancer: Arn,
    /// Port.
    pub port: u16,
    /// `TCP`, `UDP`, `TCP_UDP`, `TLS`, `HTTP`, `HTTPS`.
    pub protocol: String,
    /// TLS policy, of TLS and HTTPS.
    pub ssl_policy: Option<String>,
    /// The default certificate, of TLS and HTTPS.
    pub certificates: Vec<String>,
    /// Certificates chosen by SNI.
    pub more_certificates: BTreeSet<String>,
    /// ALPN policy.
    pub alpn: Vec<String>,
    /// Mutual authentication, as given.
    pub mutual: Option<Value>,
    /// Default actions, in the form in which AWS gives them back.
    pub actions: Vec<Value>,
    /// Attributes that were set.
    pub attributes: BTreeMap<String, String>,
    /// ARN of its default rule.
    pub default_rule: Arn,
}

/// A rule that is not a default one.
#[derive(Clone, Debug)]
pub struct Rule {
    /// ARN.
    pub arn: Arn,
    /// Its listener.
    pub listener: Arn,
    /// 1 to 50,000; lower ones are looked at first.
    pub priority: u32,
    /// Conditions, in the form in which AWS gives them back.
    pub conditions: Vec<Value>,
    /// Actions, likewise.
    pub actions: Vec<Value>,
    /// Transforms, as given.
    pub transforms: Vec<Value>,
}

/// How a target group checks its targets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthCheck {
    /// `TCP`, `HTTP` or `HTTPS`.
    pub protocol: String,
    /// A number or `traffic-port`.
    pub port: String,
    /// Path, of HTTP and HTTPS.
    pub path: Option<String>,
    /// Seconds from one check to the next.
    pub interval: u32,
    /// Seconds that one may take.
    pub timeout: u32,
    /// Successes that make an unhealthy target healthy.
    pub healthy: u32,
    /// Failures that make a target unhealthy.
    pub unhealthy: u32,
    /// Status codes that are successes: `200-399`, `200,301`.
    pub matcher: Option<String>,
}

#[cfg(test)]
impl HealthCheck {
    /// As an NLB has it, for tests.
    pub(crate) fn tcp() -> Self {
        Self {
            protocol: "TCP".into(),
            port: "traffic-port".into(),
            path: None,
            interval: 10,
            timeout: 5,
            healthy: 2,
            unhealthy: 2,
            matcher: None,
        }
    }
}

/// A target group.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// ARN.
    pub arn: Arn,
    /// Name.
    pub name: String,
    /// `TCP`, `UDP`, `TCP_UDP`, `TLS`, `HTTP`, `HTTPS`.
    pub protocol: String,
    /// `HTTP1`, `HTTP2`, `GRPC`; of HTTP and HTTPS.
    pub protocol_version: Option<String>,
    /// Port of targets that are registered without one.
    pub port: u16,
    /// VPC.
    pub vpc: String,
    /// `instance` or `ip`.
    pub target_type: String,
    /// `ipv4` or `ipv6`.
    pub ip_address_type: String,
    /// Health check.
    pub check: HealthCheck,
    /// Attributes that were set.
    pub attributes: BTreeMap<String, String>,
    /// Targets by id and port.
    pub targets: BTreeMap<(String, u16), Target>,
}

impl TargetGroup {
    /// Whether load balancers of that type can use it.
    pub fn fits(&self, kind: Kind) -> bool {
        (kind == Kind::Application) == matches!(self.protocol.as_str(), "HTTP" | "HTTPS")
    }
}

/// A registered target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Availability zone given at registration, of `ip` targets.
    pub zone: Option<String>,
    /// When it was registered.
    pub registered: Duration,
    /// Health, if its group is in use.
    pub health: Health,
    /// When it goes for good, once it is deregistered.
    pub draining_until: Option<Duration>,
}
