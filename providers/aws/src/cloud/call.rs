//! The narrow way to AWS: exactly the calls that are made, as data. One value is one call of the API; lists come page by page.
//!
//! That calls are data is what limits, counts, faults and the fake of the tests hang on.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::records::WebAcl;
use crate::stack::{
    Attribute, HealthCheckConfig, IpAddressType, IpPermission, ListenerRuleSpec, ListenerSpec,
    LoadBalancerSpec, MinimumCapacity, OnOff, SecurityGroupSpec, SubnetMapping, Tags, Target,
    TargetGroupSpec,
};

/// Which of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Which {
    /// All of the region.
    All,
    /// By ARN or id, at most 20. One that is missing fails the whole call.
    Ids(Vec<String>),
    /// By name, at most 20. One that is missing fails the whole call.
    Names(Vec<String>),
    /// Those of a load balancer.
    Of(String),
}

/// What attributes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Attributed {
    /// A load balancer.
    LoadBalancer,
    /// A target group.
    TargetGroup,
    /// A listener.
    Listener,
}

/// One answer of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Query {
    /// DescribeAccountLimits of ELBv2.
    AccountLimits,
    /// DescribeSubnets of a VPC.
    Subnets(String),
    /// DescribeVpcs of a VPC.
    Vpc(String),
    /// DescribeRouteTables of a VPC.
    RouteTables(String),
    /// DescribeSecurityGroups of a VPC.
    SecurityGroups(String),
    /// DescribeAvailabilityZones.
    Zones,
    /// DescribeAddresses.
    Addresses,
    /// DescribeInstances of a VPC.
    Instances(String),
    /// ListCertificates of ACM.
    Certificates,
    /// DescribeCertificate of ACM.
    Certificate(String),
}

/// How security groups are looked for that are not known by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum GroupsBy {
    /// By name.
    Name(String),
    /// By a group that one of their rules lets in.
    From(String),
}

/// How instances are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum MachinesBy {
    /// By id, at most 200; one that is missing is left out.
    Ids(Vec<String>),
    /// By private DNS name within a VPC, at most 200.
    PrivateDnsNames {
        /// Id of the VPC.
        vpc: String,
        /// The names.
        names: Vec<String>,
    },
}

/// One call. Writes name resources by ARN or id; all tokens in specs are literal.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "named as in the API reference of ELBv2, EC2 and the tagging API, whose words say more"
)]
pub enum Call {
    DescribeLoadBalancers {
        which: Which,
        marker: Option<String>,
    },
    DescribeTargetGroups {
        which: Which,
        marker: Option<String>,
    },
    DescribeListeners {
        load_balancer: String,
        marker: Option<String>,
    },
    DescribeListenerCertificates {
        listener: String,
        marker: Option<String>,
    },
    DescribeRules {
        listener: String,
        marker: Option<String>,
    },
    DescribeTags {
        arns: Vec<String>,
    },
    DescribeTargetHealth {
        group: String,
    },
    DescribeAttributes {
        of: Attributed,
        arn: String,
    },
    DescribeSecurityGroups {
        ids: Vec<String>,
    },
    FindSecurityGroup {
        vpc: String,
        by: GroupsBy,
    },
    GetResources {
        tags: Tags,
        marker: Option<String>,
    },
    DescribeInstances {
        by: MachinesBy,
        marker: Option<String>,
    },
    Inventory {
        query: Query,
        marker: Option<String>,
    },
    GetCallerIdentity,
    /// A write of EC2 that is only tried: `Done` if it is allowed, whatever would come of it.
    DryRun(Box<Call>),

    CreateLoadBalancer {
        spec: Box<LoadBalancerSpec>,
    },
    ModifyAttributes {
        of: Attributed,
        arn: String,
        attributes: Vec<Attribute>,
    },
    ModifyCapacityReservation {
        arn: String,
        capacity: MinimumCapacity,
    },
    SetSubnets {
        arn: String,
        mappings: Vec<SubnetMapping>,
        family: IpAddressType,
        source_nat: Option<OnOff>,
    },
    SetSecurityGroups {
        arn: String,
        groups: BTreeSet<String>,
        private_link: Option<OnOff>,
    },
    SetIpAddressType {
        arn: String,
        family: IpAddressType,
    },
    DeleteLoadBalancer {
        arn: String,
    },
    CreateTargetGroup {
        vpc: String,
        spec: Box<TargetGroupSpec>,
    },
    ModifyTargetGroup {
        arn: String,
        health: Box<HealthCheckConfig>,
    },
    DeleteTargetGroup {
        arn: String,
    },
    CreateListener {
        spec: Box<ListenerSpec>,
    },
    ModifyListener {
        arn: String,
        spec: Box<ListenerSpec>,
    },
    AddListenerCertificates {
        listener: String,
        certificates: BTreeSet<String>,
    },
    RemoveListenerCertificates {
        listener: String,
        certificates: BTreeSet<String>,
    },
    DeleteListener {
        arn: String,
    },
    CreateRule {
        spec: Box<ListenerRuleSpec>,
    },
    ModifyRule {
        arn: String,
        spec: Box<ListenerRuleSpec>,
    },
    SetRulePriorities {
        priorities: BTreeMap<String, u32>,
    },
    DeleteRule {
        arn: String,
    },
    RegisterTargets {
        group: String,
        targets: Vec<Target>,
    },
    DeregisterTargets {
        group: String,
        targets: Vec<Target>,
    },
    AddTags {
        arns: BTreeSet<String>,
        tags: Tags,
    },
    RemoveTags {
        arns: BTreeSet<String>,
        keys: BTreeSet<String>,
    },
    CreateSecurityGroup {
        vpc: String,
        spec: Box<SecurityGroupSpec>,
    },
    AuthorizeSecurityGroupIngress {
        group: String,
        rules: BTreeSet<IpPermission>,
    },
    RevokeSecurityGroupIngress {
        group: String,
        rules: BTreeSet<IpPermission>,
    },
    CreateTags {
        ids: BTreeSet<String>,
        tags: Tags,
    },
    DeleteTags {
        ids: BTreeSet<String>,
        keys: BTreeSet<String>,
    },
    DeleteSecurityGroup {
        id: String,
    },
    GetWebAclForResource {
        resource: String,
    },
    ListWebAcls {
        marker: Option<String>,
    },
    AssociateWebAcl {
        web_acl: WebAcl,
        resource: String,
    },
    DisassociateWebAcl {
        resource: String,
    },
    DescribeProtection {
        resource: String,
    },
    DescribeSubscription,
    CreateProtection {
        name: String,
        resource: String,
    },
    DeleteProtection {
        id: String,
        resource: String,
    },
}

impl Call {
    /// Name of the action in AWS's API.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::DescribeLoadBalancers { .. } => "DescribeLoadBalancers",
            Self::DescribeTargetGroups { .. } => "DescribeTargetGroups",
            Self::DescribeListeners { .. } => "DescribeListeners",
            Self::DescribeListenerCertificates { .. } => "DescribeListenerCertificates",
            Self::DescribeRules { .. } => "DescribeRules",
            Self::DescribeTags { .. } => "DescribeTags",
            Self::DescribeTargetHealth { .. } => "DescribeTargetHealth",
            Self::DescribeAttributes { of, .. } => match of {
                Attributed::LoadBalancer => "DescribeLoadBalancerAttributes",
                Attributed::TargetGroup => "DescribeTargetGroupAttributes",
                Attributed::Listener => "DescribeListenerAttributes",
            },
            Self::DescribeSecurityGroups { .. } | Self::FindSecurityGroup { .. } => "DescribeSecurityGroups",
            Self::GetResources { .. } => "GetResources",
            Self::DescribeInstances { .. } => "DescribeInstances",
            Self::Inventory { query, .. } => match query {
                Query::AccountLimits => "DescribeAccountLimits",
                Query::Subnets(_) => "DescribeSubnets",
                Query::Vpc(_) => "DescribeVpcs",
                Query::RouteTables(_) => "DescribeRouteTables",
                Query::SecurityGroups(_) => "DescribeSecurityGroups",
                Query::Zones => "DescribeAvailabilityZones",
                Query::Addresses => "DescribeAddresses",
                Query::Instances(_) => "DescribeInstances",
                Query::Certificates => "ListCertificates",
                Query::Certificate(_) => "DescribeCertificate",
            },
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::DryRun(call) => call.action(),
            Self::CreateLoadBalancer { .. } => "CreateLoadBalancer",
            Self::ModifyAttributes { of, .. } => match of {
                Attributed::LoadBalancer => "ModifyLoadBalancerAttributes",
                Attributed::TargetGroup => "ModifyTargetGroupAttributes",
                Attributed::Listener => "ModifyListenerAttributes",
            },
            Self::ModifyCapacityReservation { .. } => "ModifyCapacityReservation",
            Self::SetSubnets { .. } => "SetSubnets",
            Self::SetSecurityGroups { .. } => "SetSecurityGroups",
            Self::SetIpAddressType { .. } => "SetIpAddressType",
            Self::DeleteLoadBalancer { .. } => "DeleteLoadBalancer",
            Self::CreateTargetGroup { .. } => "CreateTargetGroup",
            Self::ModifyTargetGroup { .. } => "ModifyTargetGroup",
            Self::DeleteTargetGroup { .. } => "DeleteTargetGroup",
            Self::CreateListener { .. } => "CreateListener",
            Self::ModifyListener { .. } => "ModifyListener",
            Self::AddListenerCertificates { .. } => "AddListenerCertificates",
            Self::RemoveListenerCertificates { .. } => "RemoveListenerCertificates",
            Self::DeleteListener { .. } => "DeleteListener",
            Self::CreateRule { .. } => "CreateRule",
            Self::ModifyRule { .. } => "ModifyRule",
            Self::SetRulePriorities { .. } => "SetRulePriorities",
            Self::DeleteRule { .. } => "DeleteRule",
            Self::RegisterTargets { .. } => "RegisterTargets",
            Self::DeregisterTargets { .. } => "DeregisterTargets",
            Self::AddTags { .. } => "AddTags",
            Self::RemoveTags { .. } => "RemoveTags",
            Self::CreateSecurityGroup { .. } => "CreateSecurityGroup",
            Self::AuthorizeSecurityGroupIngress { .. } => "AuthorizeSecurityGroupIngress",
            Self::RevokeSecurityGroupIngress { .. } => "RevokeSecurityGroupIngress",
            Self::CreateTags { .. } => "CreateTags",
            Self::DeleteTags { .. } => "DeleteTags",
            Self::DeleteSecurityGroup { .. } => "DeleteSecurityGroup",
            Self::GetWebAclForResource { .. } => "GetWebACLForResource",
            Self::ListWebAcls { .. } => "ListWebACLs",
            Self::AssociateWebAcl { .. } => "AssociateWebACL",
            Self::DisassociateWebAcl { .. } => "DisassociateWebACL",
            Self::DescribeProtection { .. } => "DescribeProtection",
            Self::DescribeSubscription => "DescribeSubscription",
            Self::CreateProtection { .. } => "CreateProtection",
            Self::DeleteProtection { .. } => "DeleteProtection",
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            Self::DescribeLoadBalancers { .. }
                | Self::DescribeTargetGroups { .. }
                | Self::DescribeListeners { .. }
                | Self::DescribeListenerCertificates { .. }
                | Self::DescribeRules { .. }
                | Self::DescribeTags { .. }
                | Self::DescribeTargetHealth { .. }
                | Self::DescribeAttributes { .. }
                | Self::DescribeSecurityGroups { .. }
                | Self::FindSecurityGroup { .. }
                | Self::GetResources { .. }
                | Self::DescribeInstances { .. }
                | Self::Inventory { .. }
                | Self::GetCallerIdentity
                | Self::DryRun(_)
                | Self::GetWebAclForResource { .. }
                | Self::ListWebAcls { .. }
                | Self::DescribeProtection { .. }
                | Self::DescribeSubscription
        )
    }

    /// The service, as actions of IAM's policies begin.
    #[must_use]
    pub fn service(&self) -> &'static str {
        match self {
            Self::GetResources { .. } => "tag",
            Self::GetCallerIdentity => "sts",
            Self::Inventory { query: Query::Certificates | Query::Certificate(_), .. } => "acm",
            Self::Inventory { query: Query::AccountLimits, .. } => "elasticloadbalancing",
            Self::Inventory { .. }
            | Self::DescribeInstances { .. }
            | Self::DescribeSecurityGroups { .. }
            | Self::FindSecurityGroup { .. }
            | Self::CreateSecurityGroup { .. }
            | Self::AuthorizeSecurityGroupIngress { .. }
            | Self::RevokeSecurityGroupIngress { .. }
            | Self::CreateTags { .. }
            | Self::DeleteTags { .. }
            | Self::DeleteSecurityGroup { .. } => "ec2",
            Self::DryRun(call) => call.service(),
            Self::GetWebAclForResource { .. }
            | Self::ListWebAcls { .. }
            | Self::AssociateWebAcl { .. }
            | Self::DisassociateWebAcl { .. } => "wafv2",
            Self::DescribeProtection { .. }
            | Self::DescribeSubscription
            | Self::CreateProtection { .. }
            | Self::DeleteProtection { .. } => "shield",
            _ => "elasticloadbalancing",
        }
    }
}
