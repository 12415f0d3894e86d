//! The desired stack of one load balancer in AWS's own terms: every resource with the `spec` that it shall have. Pure data.
//!
//! The types, ids and fields are those in which the peer controller prints its model, so that stacks can be compared. Beside `spec` stands what
//! is ours: the tags by which ownership is known, the hash of the stack (on its first load balancer), and the targets.
//!
//! Invariants: equal stacks give equal hashes, in every process and version; targets, problems and what members are told do not count for the
//! hash; nothing in a stack is a secret.

mod elb;
mod listener;
mod network;
mod rule;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::{AppliedHash, ObjectRef, PortStatus, Resources, digest};
use serde::Serialize;
use serde_json::{Value, json};

pub use elb::*;
pub use listener::*;
pub use network::*;
pub use rule::*;
pub use token::{ResourceType, Scope, Token};

/// Id of the one load balancer of most stacks.
pub const LOAD_BALANCER: &str = "LoadBalancer";
/// Id of the security group that is made for a load balancer.
pub const MANAGED_SECURITY_GROUP: &str = "ManagedLBSecurityGroup";

/// One target of a target group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Instance id, address, or (of an ALB behind an NLB) the reference to it.
    pub id: Token,
    /// Port.
    pub port: u16,
    /// `all` for an address outside the VPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

/// What a member of the stack is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberPart {
    /// The member.
    pub object: ObjectRef,
    /// Its ports, and why one is not served.
    pub ports: Vec<PortStatus>,
    /// Fixed addresses of the load balancer that are known beforehand (private addresses; those of EIPs, if the inventory has them).
    pub addresses: Vec<IpAddr>,
    /// Ids of the listeners that are (also) its own.
    pub listeners: BTreeSet<String>,
    /// `status.loadBalancer.ingress` at the time of planning.
    #[serde(skip)]
    pub current: Vec<causeway_api::IngressPoint>,
}

/// What all stacks of a cluster share and this one needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shared {
    /// The backend security group, where it is to be made: its spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_group: Option<SecurityGroupSpec>,
    /// Rules that the nodes' security groups must have for the targets to be reached; see [`crate::security`].
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub node_rules: BTreeSet<IpPermission>,
    /// The nodes' security groups, as far as they are known.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub node_groups: BTreeSet<String>,
}

/// The desired stack of one load balancer; without resources where nobody asks for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AwsStack {
    /// The cluster's id, in the tags.
    pub cluster: String,
    /// Value of the owner tag; see [`causeway_api::LbKey::owner_tag`].
    pub owner: String,
    /// Security groups.
    pub security_groups: BTreeMap<String, SecurityGroupSpec>,
    /// Load balancers: one, or an NLB and the ALB behind it.
    pub load_balancers: BTreeMap<String, LoadBalancerSpec>,
    /// Target groups, by `namespace/name:port`.
    pub target_groups: BTreeMap<String, TargetGroupSpec>,
    /// Listeners, by port.
    pub listeners: BTreeMap<String, ListenerSpec>,
    /// Rules, by `port:priority`.
    pub listener_rules: BTreeMap<String, ListenerRuleSpec>,
    /// Bindings, by the id of their target group.
    pub bindings: BTreeMap<String, BindingSpec>,
    /// Web ACLs.
    pub web_acls: BTreeMap<String, WebAclSpec>,
    /// Shield Advanced.
    pub shields: BTreeMap<String, ShieldSpec>,
    /// Targets, by the id of their target group. Not part of the hash.
    pub targets: BTreeMap<String, BTreeSet<Target>>,
    /// What is shared. Not part of the hash: it is not this stack's.
    pub shared: Shared,
    /// The members, oldest first. Not part of the hash.
    pub members: Vec<MemberPart>,
    /// Nothing is made or changed until something is mended; what is there stays as it is. Not part of the hash.
    pub frozen: bool,
    /// Listeners of members that are not served until something is mended: they stay as they are, with what belongs to them. Not part of the hash.
    pub kept: BTreeSet<String>,
    /// A load balancer may be deleted before its successor is made, where there is no other way. Not part of the hash.
    pub allow_downtime: bool,
    /// A binding that is being deleted: what it registered is to be taken away. Not part of the hash.
    pub leaving: bool,
}

impl AwsStack {
    /// Whether nothing shall be there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load_balancers.is_empty() && self.bindings.is_empty()
    }

    /// What the tag [`causeway_api::names::TAG_APPLIED`] says once the stack is applied whole.
    #[must_use]
    pub fn applied(&self) -> AppliedHash {
        AppliedHash::of(&(
            (&self.security_groups, &self.load_balancers, &self.target_groups, &self.listeners),
            (&self.listener_rules, &self.bindings, &self.web_acls, &self.shields),
            self.secrets(),
        ))
    }

    /// Versions of the Secrets that actions need; their JSON hides them.
    fn secrets(&self) -> Vec<String> {
        let actions = self.listener_rules.values().flat_map(|r| &r.actions);
        let defaults = self.listeners.values().flat_map(|l| &l.default_actions);
        actions
            .chain(defaults)
            .filter_map(|action| match action {
                Action::AuthenticateOidc(c) => {
                    Some(digest(&format!("{:?}{:?}", c.client_id, c.client_secret)))
                }
                _ => None,
            })
            .collect()
    }

    /// Tags by which a resource is known as this stack's; beside the user's own.
    #[must_use]
    pub fn ownership(&self, kind: ResourceType, id: &str) -> Tags {
        crate::plan::marks::ownership(&self.cluster, &self.owner, kind, id)
    }

    fn printed<T: Serialize>(&self, out: &mut Resources, kind: ResourceType, all: &BTreeMap<String, T>) {
        for (id, spec) in all {
            let mut value = json!({ "spec": spec });
            match kind {
                ResourceType::TargetGroupBinding => {
                    value["targets"] = json!(self.targets.get(id).cloned().unwrap_or_default());
                }
                ResourceType::WebAclAssociation | ResourceType::ShieldProtection => {}
                ResourceType::TargetGroup if !self.bindings.contains_key(id) => {
                    value["ownershipTags"] = json!(self.ownership(kind, id));
                    value["targets"] = json!(self.targets.get(id).cloned().unwrap_or_default());
                }
                _ => value["ownershipTags"] = json!(self.ownership(kind, id)),
            }
            if kind == ResourceType::LoadBalancer && id == LOAD_BALANCER {
                value["hash"] = Value::String(self.applied().to_string());
            }
            out.entry(kind.as_str().to_owned()).or_default().insert(id.clone(), value);
        }
    }
}

impl causeway_api::Stack for AwsStack {
    fn resources(&self) -> Resources {
        let mut out = Resources::new();
        self.printed(&mut out, ResourceType::SecurityGroup, &self.security_groups);
        self.printed(&mut out, ResourceType::LoadBalancer, &self.load_balancers);
        self.printed(&mut out, ResourceType::TargetGroup, &self.target_groups);
        self.printed(&mut out, ResourceType::Listener, &self.listeners);
        self.printed(&mut out, ResourceType::ListenerRule, &self.listener_rules);
        self.printed(&mut out, ResourceType::TargetGroupBinding, &self.bindings);
        self.printed(&mut out, ResourceType::WebAclAssociation, &self.web_acls);
        self.printed(&mut out, ResourceType::ShieldProtection, &self.shields);
        out
    }
}
