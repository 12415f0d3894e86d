//! What AWS holds, in the terms of the stack: each resource with its identity and the `spec` that it has. Pure data.
//!
//! Tokens in these specs are always literal. Tags hold all tags, those of ownership too. What was not read is empty: see
//! [`crate::observe::Observed::whole`].

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::stack::{
    ListenerRuleSpec, ListenerSpec, LoadBalancerSpec, SecurityGroupSpec, Tags, Target, TargetGroupSpec,
};

/// State of a load balancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum State {
    /// It is being made; minutes, for an NLB.
    #[default]
    Provisioning,
    /// It takes traffic.
    Active,
    /// It takes traffic, but cannot grow.
    Impaired,
    /// It could not be made.
    Failed,
}

impl State {
    /// Whether it takes traffic.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Active | Self::Impaired)
    }
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadBalancer {
    /// ARN.
    pub arn: String,
    /// DNS name, in the case that AWS gives it.
    pub dns_name: String,
    /// Hosted zone of the DNS name.
    pub zone_id: String,
    /// State.
    pub state: State,
    /// VPC.
    pub vpc_id: String,
    /// What it is.
    pub spec: LoadBalancerSpec,
}

/// An EC2 instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Id.
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`.
    pub state: String,
    /// Such as `m5.large`.
    pub instance_type: String,
    /// Availability zone.
    pub zone: String,
    /// Id of the zone, the same in all accounts; empty if unknown.
    pub zone_id: String,
    /// Private DNS name; empty if it has none.
    pub private_dns_name: String,
    /// Public DNS name; empty if it has none.
    pub public_dns_name: String,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
}

impl Machine {
    /// It has ended for good.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state == "terminated"
    }
}

/// A network interface of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its place; the primary one has 0.
    pub device_index: u32,
    /// Private IPv4 addresses, the primary first.
    pub private_addresses: Vec<String>,
    /// IPv6 addresses.
    pub ipv6_addresses: Vec<String>,
    /// Public IPv4 addresses of the private ones.
    pub public_addresses: Vec<String>,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetGroup {
    /// ARN.
    pub arn: String,
    /// VPC.
    pub vpc_id: String,
    /// Load balancers that send to it: at most one.
    pub load_balancers: BTreeSet<String>,
    /// What it is.
    pub spec: TargetGroupSpec,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// ARN.
    pub arn: String,
    /// What it is.
    pub spec: ListenerSpec,
}

/// A rule that is not a listener's default.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// ARN.
    pub arn: String,
    /// What it is.
    pub spec: ListenerRuleSpec,
}

/// A security group; its rules have one source each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecurityGroup {
    /// Id.
    pub id: String,
    /// VPC.
    pub vpc_id: String,
    /// What it is.
    pub spec: SecurityGroupSpec,
}

/// Health of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Health {
    /// Being registered, or checked for the first time.
    Initial,
    /// Takes traffic.
    Healthy,
    /// Failed its checks.
    Unhealthy,
    /// Its target group gets no traffic, or it cannot.
    Unused,
    /// Taken away; connections end.
    Draining,
    /// Not checked.
    Unavailable,
}

/// Targets and their health.
pub type Healths = BTreeMap<Target, Health>;

/// Why targets are not healthy, in AWS's words: reason code and description. Those that are healthy have none.
pub type Whys = BTreeMap<Target, (String, String)>;

/// A web ACL of WAFv2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebAcl {
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
}

/// A protection of Shield Advanced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Protection {
    /// Id.
    pub id: String,
    /// Name: by it one knows whose it is.
    pub name: String,
}

/// A resource by its ARN, with its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// ARN.
    pub arn: String,
    /// Tags.
    pub tags: Tags,
}
