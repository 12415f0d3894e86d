//! The desired stack of one load balancer in OpenStack's own terms: every resource with what is posted for it. Pure data.
//!
//! Beside `spec` stands what is ours: the tags by which ownership is known, and the hash of the stack (on its load balancer).
//!
//! Invariants: equal stacks give equal hashes, in every process and version; members, problems and what Services and Ingresses are told do not count
//! for the hash; nothing in a stack is a secret.

mod neutron;
mod octavia;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::names::TAG_APPLIED;
use causeway_api::{AppliedHash, ObjectRef, PortStatus, Resources};
use serde::Serialize;
use serde_json::{Value, json};

pub use neutron::*;
pub use octavia::*;
pub use token::{ResourceType, Token, type_as_text};

use crate::ownership::{self, Mark};

/// Id of the one load balancer of a stack.
pub const LOAD_BALANCER: &str = "LoadBalancer";
/// Id of the one floating IP of a stack.
pub const FLOATING_IP: &str = "FloatingIP";
/// Id of the one security group of a stack.
pub const SECURITY_GROUP: &str = "SecurityGroup";

/// What the status of a member shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Shown {
    /// The addresses.
    #[default]
    Addresses,
    /// A name in their place.
    Hostname(String),
    /// A name made of the address and this.
    Suffix(String),
}

/// A load balancer of a peer that is to be taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adopt {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The peer.
    pub peer: &'static str,
}

/// What a member of the stack is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberPart {
    /// The Service or Ingress.
    pub object: ObjectRef,
    /// Its ports, and why one is not served; none for an Ingress.
    pub ports: Vec<PortStatus>,
    /// What its status shows.
    pub shown: Shown,
    /// Ids of the listeners that are (also) its own.
    pub listeners: BTreeSet<String>,
    /// It is not served at all until something is mended: its status stays.
    pub refused: bool,
}

/// The desired stack of one load balancer; without resources where nobody asks for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OctaviaStack {
    /// Whose it is.
    pub mark: Mark,
    /// The load balancer; none where the user names one that is there.
    pub load_balancer: Option<LoadBalancerSpec>,
    /// Id of a load balancer that the user names: it gets the listeners, and is never changed or deleted itself.
    pub attached: Option<String>,
    /// Listeners, by `TCP-80`.
    pub listeners: BTreeMap<String, ListenerSpec>,
    /// Pools, by the id of their listener, for Ingresses by `namespace/name:port`.
    pub pools: BTreeMap<String, PoolSpec>,
    /// Health monitors, by the id of their pool.
    pub health_monitors: BTreeMap<String, HealthMonitorSpec>,
    /// L7 policies.
    pub l7_policies: BTreeMap<String, L7PolicySpec>,
    /// Their rules, by the id of the policy and a number.
    pub l7_rules: BTreeMap<String, L7RuleSpec>,
    /// The floating IP.
    pub floating_ip: Option<FloatingIp>,
    /// The security group of the nodes.
    pub security_group: Option<SecurityGroupSpec>,
    /// Its rules.
    pub security_group_rules: BTreeMap<String, SecurityGroupRuleSpec>,
    /// Secrets, by `namespace/name` of the Secret.
    pub secrets: BTreeMap<String, SecretSpec>,
    /// Members, by the id of their pool, then by node. Not part of the hash.
    pub members: BTreeMap<String, BTreeMap<String, MemberSpec>>,
    /// Ports of the nodes that the security group is put on. Not part of the hash.
    pub node_ports: BTreeSet<String>,
    /// The address of a load balancer that is gone, which its successor asks for where nobody asked for another. Not part of the hash.
    pub former_address: Option<IpAddr>,
    /// The peer's load balancer that becomes this one, where there is none yet. Not part of the hash.
    pub adopt: Option<Adopt>,
    /// A tag by which the peer, from which it was taken over, knows listeners of its own. Not part of the hash.
    pub peer_tag: Option<String>,
    /// Services and Ingresses, oldest first. Not part of the hash.
    pub told: Vec<MemberPart>,
    /// Nothing is made or changed until something is mended; what is there stays as it is. Not part of the hash.
    pub frozen: bool,
    /// Listeners of Services that are not served until something is mended: they stay as they are, with what belongs to them. Not part of the hash.
    pub kept: BTreeSet<String>,
    /// One call for each object. Not part of the hash.
    pub serial_calls: bool,
    /// A load balancer is deleted in one call. Not part of the hash.
    pub cascade_delete: bool,
}

impl OctaviaStack {
    /// Whether nothing shall be there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load_balancer.is_none() && self.attached.is_none()
    }

    /// What the tag [`TAG_APPLIED`] says once the stack is applied whole.
    #[must_use]
    pub fn applied(&self) -> AppliedHash {
        let versions: BTreeMap<&str, &str> =
            self.secrets.iter().map(|(id, s)| (id.as_str(), s.payload.version.as_str())).collect();
        AppliedHash::of(&(
            (&self.load_balancer, &self.attached, &self.listeners, &self.pools, &self.health_monitors),
            (&self.l7_policies, &self.l7_rules, &self.floating_ip),
            (&self.security_group, &self.security_group_rules, &self.secrets, versions),
        ))
    }

    /// The load balancer, for what belongs to it.
    #[must_use]
    pub fn load_balancer_token(attached: Option<&str>) -> Token {
        match attached {
            Some(id) => Token::Literal(id.to_owned()),
            None => Token::of(ResourceType::LoadBalancer, LOAD_BALANCER),
        }
    }

    /// Everything but the members of pools: type, id, and what is posted.
    #[must_use]
    pub fn posted(&self) -> Vec<(ResourceType, &str, Value)> {
        fn all<'a, T: Serialize + 'a>(
            kind: ResourceType,
            specs: impl IntoIterator<Item = (&'a String, &'a T)>,
        ) -> Vec<(ResourceType, &'a str, Value)> {
            // Plain data always becomes JSON.
            specs
                .into_iter()
                .map(|(id, s)| (kind, id.as_str(), serde_json::to_value(s).unwrap_or_default()))
                .collect()
        }
        let mut out = Vec::new();
        if let Some(spec) = &self.security_group {
            out.push((ResourceType::SecurityGroup, SECURITY_GROUP, json!(spec)));
        }
        out.extend(all(ResourceType::SecurityGroupRule, &self.security_group_rules));
        out.extend(all(ResourceType::Secret, &self.secrets));
        if let Some(spec) = &self.load_balancer {
            out.push((ResourceType::LoadBalancer, LOAD_BALANCER, json!(spec)));
        }
        out.extend(all(ResourceType::Pool, &self.pools));
        out.extend(all(ResourceType::HealthMonitor, &self.health_monitors));
        out.extend(all(ResourceType::Listener, &self.listeners));
        out.extend(all(ResourceType::L7Policy, &self.l7_policies));
        out.extend(all(ResourceType::L7Rule, &self.l7_rules));
        if let Some(floating) = &self.floating_ip {
            out.push((ResourceType::FloatingIp, FLOATING_IP, json!(floating.spec)));
        }
        out
    }
}

impl causeway_api::Stack for OctaviaStack {
    fn resources(&self) -> Resources {
        let mut out = Resources::new();
        for (kind, id, spec) in self.posted() {
            let mut value = json!({ "spec": spec });
            let tags = match kind {
                ResourceType::SecurityGroupRule | ResourceType::Secret => Vec::new(),
                ResourceType::FloatingIp | ResourceType::SecurityGroup => {
                    let keep =
                        kind == ResourceType::FloatingIp && self.floating_ip.as_ref().is_some_and(|f| f.keep);
                    self.mark.neutron_tags(keep)
                }
                _ => self.mark.octavia_tags(kind, id),
            };
            if !tags.is_empty() {
                value["tags"] = json!(tags);
            }
            if kind == ResourceType::LoadBalancer {
                value["hash"] = json!(ownership::tag(TAG_APPLIED, &self.applied().to_string()));
            }
            if let (ResourceType::FloatingIp, Some(floating)) = (kind, &self.floating_ip) {
                if !floating.further_subnets.is_empty() {
                    value["furtherSubnets"] = json!(floating.further_subnets);
                }
                if let Some(id) = &floating.existing {
                    value["existing"] = json!(id);
                }
            }
            if kind == ResourceType::SecurityGroup {
                value["ports"] = json!(self.node_ports);
            }
            out.entry(kind.as_str().to_owned()).or_default().insert(id.to_owned(), value);
        }
        for (pool, members) in &self.members {
            for (node, spec) in members {
                let id = format!("{pool}/{node}");
                let kind = ResourceType::Member.as_str().to_owned();
                out.entry(kind).or_default().insert(id, json!({ "spec": spec }));
            }
        }
        out
    }
}
