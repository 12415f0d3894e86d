//! One change: what AWS is asked to do, and how that reads to everybody else. Pure data.

use std::collections::BTreeSet;

use causeway_api::{ChangeInfo, ObjectRef, PlannedChange};
use serde::Serialize;

use super::addons::Acl;
use crate::adopt::PeerStack;
use crate::cloud::Attributed;
use crate::stack::{
    Attribute, HealthCheckConfig, IpAddressType, IpPermission, ListenerRuleSpec, ListenerSpec,
    LoadBalancerSpec, MinimumCapacity, OnOff, ResourceType, SecurityGroupSpec, SubnetMapping, Tags, Target,
    TargetGroupSpec, Token,
};

/// One change of one stack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Owner tag of the stack.
    pub owner: String,
    /// Whom to tell if AWS refuses.
    pub blame: Option<ObjectRef>,
    /// What to do.
    pub op: Op,
    /// How it reads.
    pub info: ChangeInfo,
}

impl PlannedChange for Change {
    fn info(&self) -> ChangeInfo {
        self.info.clone()
    }
}

/// What to do: one call each, but for the two `Ensure…` and `Unprotect`, which look first. A token that is a reference is what an earlier change of the same plan made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Op {
    /// Puts our mark on a stack that the peer made, the load balancer last.
    Adopt(Box<PeerStack>),
    /// Marks the stack as being changed.
    MarkDirty {
        /// ARN.
        load_balancer: String,
    },
    /// Reads the whole stack: what is known of it is not enough to tell what differs.
    Read,
    /// Reads the targets of these target groups, by ARN.
    ReadTargets {
        /// ARNs.
        groups: Vec<String>,
        /// And what is written down of which are ours.
        records: bool,
    },
    /// Reads what goes with a load balancer.
    ReadAddons {
        /// ARN.
        load_balancer: String,
        /// Its web ACL.
        web_acl: bool,
        /// Its protection.
        protection: bool,
    },
    /// Puts a web ACL in front of a load balancer, in place of what is there.
    SetWebAcl {
        /// The load balancer.
        load_balancer: Token,
        /// The web ACL.
        acl: Acl,
    },
    /// Protects a load balancer by Shield Advanced.
    Protect {
        /// The load balancer.
        load_balancer: Token,
    },
    /// Ends the protection of a load balancer, if it is ours.
    Unprotect {
        /// ARN.
        load_balancer: String,
    },
    /// Makes the security group that all stacks share.
    EnsureBackendGroup(Box<SecurityGroupSpec>),
    /// Lets a group of the nodes have rules.
    EnsureNodeRules {
        /// The nodes' group.
        group: String,
        /// The rules.
        rules: BTreeSet<IpPermission>,
    },
    /// Deletes it, after the rules that let it in, once nobody needs it any more.
    DropBackendGroup,
    /// Takes rules from a group that is, or was, the nodes': what this load balancer alone needed, or nobody does.
    RevokeNodeRules {
        /// Id of the group.
        group: String,
        /// The rules, as they are.
        rules: BTreeSet<IpPermission>,
    },
    /// Makes a security group, without rules.
    CreateSecurityGroup {
        /// Id in the stack.
        id: String,
        /// Spec.
        spec: Box<SecurityGroupSpec>,
    },
    /// Adds rules to a security group.
    Authorize {
        /// The group.
        group: Token,
        /// The rules.
        rules: BTreeSet<IpPermission>,
    },
    /// Takes rules from a security group.
    Revoke {
        /// The group.
        group: Token,
        /// The rules.
        rules: BTreeSet<IpPermission>,
    },
    /// Makes a target group.
    CreateTargetGroup {
        /// Id in the stack.
        id: String,
        /// VPC.
        vpc: String,
        /// Spec.
        spec: Box<TargetGroupSpec>,
    },
    /// Changes a health check.
    ModifyTargetGroup {
        /// ARN.
        group: String,
        /// The health check.
        health: Box<HealthCheckConfig>,
    },
    /// Makes a load balancer.
    CreateLoadBalancer {
        /// Id in the stack.
        id: String,
        /// Spec.
        spec: Box<LoadBalancerSpec>,
    },
    /// Sets the subnets, and what goes with them.
    SetSubnets {
        /// ARN.
        load_balancer: String,
        /// Subnets.
        mappings: Vec<SubnetMapping>,
        /// Families.
        family: IpAddressType,
        /// Source NAT by IPv6 prefixes.
        source_nat: Option<OnOff>,
    },
    /// Sets the security groups.
    SetSecurityGroups {
        /// ARN.
        load_balancer: String,
        /// Groups.
        groups: BTreeSet<Token>,
        /// Whether they apply to PrivateLink.
        private_link: Option<OnOff>,
    },
    /// Sets the families.
    SetIpAddressType {
        /// ARN.
        load_balancer: String,
        /// Families.
        family: IpAddressType,
    },
    /// Reserves capacity.
    Reserve {
        /// The load balancer.
        load_balancer: Token,
        /// Capacity.
        capacity: MinimumCapacity,
    },
    /// Sets attributes.
    SetAttributes {
        /// Of what.
        of: Attributed,
        /// Which.
        at: Token,
        /// Attributes.
        attributes: Vec<Attribute>,
    },
    /// Makes a listener.
    CreateListener {
        /// Id in the stack.
        id: String,
        /// Spec; attributes and further certificates follow.
        spec: Box<ListenerSpec>,
    },
    /// Changes a listener.
    ModifyListener {
        /// ARN.
        listener: String,
        /// Spec; of the certificates only the first counts.
        spec: Box<ListenerSpec>,
    },
    /// Adds certificates besides the default one.
    AddCertificates {
        /// The listener.
        listener: Token,
        /// ARNs.
        certificates: BTreeSet<String>,
    },
    /// Takes certificates away.
    RemoveCertificates {
        /// ARN.
        listener: String,
        /// ARNs.
        certificates: BTreeSet<String>,
    },
    /// Makes a rule.
    CreateRule {
        /// Id in the stack.
        id: String,
        /// Spec.
        spec: Box<ListenerRuleSpec>,
    },
    /// Changes conditions and actions of a rule.
    ModifyRule {
        /// ARN.
        rule: String,
        /// Spec; the priority does not count.
        spec: Box<ListenerRuleSpec>,
    },
    /// Puts the rules of a listener in order, at once.
    SetRulePriorities {
        /// Priorities by rule.
        priorities: Vec<(Token, u32)>,
    },
    /// Adds targets.
    Register {
        /// The target group.
        group: Token,
        /// The targets.
        targets: BTreeSet<Target>,
    },
    /// Takes targets away.
    Deregister {
        /// ARN.
        group: String,
        /// The targets.
        targets: BTreeSet<Target>,
    },
    /// Writes down which targets of a target group are ours.
    RecordTargets {
        /// The target group.
        group: Token,
        /// Tags to set.
        tags: Tags,
        /// Keys of tags to take away, after that.
        gone: BTreeSet<String>,
    },
    /// Notes what target groups hold: a digest, or that it is being changed.
    NoteTargets {
        /// The target groups.
        groups: Vec<Token>,
        /// Value of the tag.
        value: String,
    },
    /// Sets tags.
    SetTags {
        /// Of what.
        kind: ResourceType,
        /// Which.
        at: Token,
        /// Tags.
        tags: Tags,
    },
    /// Deletes a resource.
    Delete {
        /// What.
        kind: ResourceType,
        /// ARN or id.
        at: String,
    },
    /// Notes that another load balancer has followed this one.
    Retire {
        /// ARN.
        load_balancer: String,
    },
    /// Ends the plan until all of these have come about; what follows is planned anew then.
    Await(Box<Awaited>),
    /// Writes the hash of the stack.
    MarkApplied {
        /// The load balancer that carries it.
        load_balancer: Token,
        /// Value of the tag.
        hash: String,
        /// Target groups to note the digest of their targets on by the same call.
        groups: Vec<Token>,
        /// That digest.
        targets: Option<String>,
    },
}

impl Serialize for ResourceType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a plan waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Awaited {
    /// Load balancers to take traffic.
    pub active: BTreeSet<Token>,
    /// Target groups to have a healthy target.
    pub healthy: BTreeSet<Token>,
    /// Target groups, by ARN, without weight, and how many seconds connections to them may take to end.
    pub drained: BTreeSet<(String, u64)>,
}

impl Awaited {
    /// Whether there is nothing to wait for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.healthy.is_empty() && self.drained.is_empty()
    }
}
