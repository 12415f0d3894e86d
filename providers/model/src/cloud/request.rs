//! The calls that the cloud takes and its answers: the same in memory and, as JSON, on the wire.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_api::Family;
use serde::{Deserialize, Serialize};

use super::node_sets::{Nodes, SetId};
use super::records::{
    Action, CertificateRef, Listener, LoadBalancer, Rule, Spec, Tags, TargetDelta, TargetGroup,
};

/// One call. `id` is always the load balancer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Load balancers that carry all these tags, by id, with everything in them.
    ListLoadBalancers {
        /// Tags that must be there.
        tags: Tags,
        /// Begin after this id.
        after: Option<String>,
    },
    /// One load balancer with everything in it.
    GetLoadBalancer {
        /// Id.
        id: String,
    },
    /// The quotas of this account.
    DescribeQuotas,
    /// Makes a load balancer with everything in it.
    CreateLoadBalancer {
        /// What it shall be.
        spec: Box<Spec>,
        /// The sets of nodes that the spec names.
        sets: BTreeMap<SetId, Nodes>,
    },
    /// Deletes a load balancer; fails if there is anything in it, unless `cascade`.
    DeleteLoadBalancer {
        /// Id.
        id: String,
        /// Delete what is in it too.
        cascade: bool,
    },
    /// Sets these tags; others stay.
    SetTags {
        /// Id.
        id: String,
        /// Tags.
        tags: Tags,
    },
    /// Adds and releases addresses; the address of a family that stays is kept.
    SetFamilies {
        /// Id.
        id: String,
        /// All families.
        families: Vec<Family>,
    },
    /// Makes a target group with its targets.
    CreateTargetGroup {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// The group.
        group: TargetGroup,
        /// Its targets.
        targets: BTreeMap<u16, Vec<IpAddr>>,
    },
    /// Changes a target group, but not its protocol.
    ModifyTargetGroup {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// The group as it shall be.
        group: TargetGroup,
    },
    /// Deletes a target group that nothing forwards to.
    DeleteTargetGroup {
        /// Id.
        id: String,
        /// Name.
        name: String,
    },
    /// Makes a listener.
    CreateListener {
        /// Id.
        id: String,
        /// The listener.
        listener: Listener,
    },
    /// Changes default action, source ranges, certificates and tags of a listener.
    ModifyListener {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// Default action.
        default_action: Action,
        /// Source ranges.
        source_ranges: Vec<ipnet::IpNet>,
        /// Certificates.
        certificates: Vec<CertificateRef>,
        /// Tags, set as in `SetTags`.
        tags: Tags,
    },
    /// Deletes a listener and its rules.
    DeleteListener {
        /// Id.
        id: String,
        /// Name.
        name: String,
    },
    /// Makes a rule at a position that is free.
    CreateRule {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// The rule.
        rule: Rule,
    },
    /// Changes the action and tags of a rule.
    ModifyRule {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// Action.
        rule_action: Action,
        /// Tags, set as in `SetTags`.
        tags: Tags,
    },
    /// Moves rules of one listener, at once; those not named stay.
    SetRulePositions {
        /// Id.
        id: String,
        /// Listener.
        listener: String,
        /// New positions by rule.
        positions: BTreeMap<String, u32>,
    },
    /// Deletes a rule.
    DeleteRule {
        /// Id.
        id: String,
        /// Name.
        name: String,
    },
    /// Adds targets to any number of target groups of one load balancer. Those that are there already are no error.
    RegisterTargets {
        /// Id.
        id: String,
        /// What to add.
        targets: Vec<TargetDelta>,
    },
    /// Takes targets from any number of target groups. Those that are not there are no error.
    DeregisterTargets {
        /// Id.
        id: String,
        /// What to take away.
        targets: Vec<TargetDelta>,
    },
}

impl Request {
    /// The action's name, as it is counted.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::ListLoadBalancers { .. } => "ListLoadBalancers",
            Self::GetLoadBalancer { .. } => "GetLoadBalancer",
            Self::DescribeQuotas => "DescribeQuotas",
            Self::CreateLoadBalancer { .. } => "CreateLoadBalancer",
            Self::DeleteLoadBalancer { .. } => "DeleteLoadBalancer",
            Self::SetTags { .. } => "SetTags",
            Self::SetFamilies { .. } => "SetFamilies",
            Self::CreateTargetGroup { .. } => "CreateTargetGroup",
            Self::ModifyTargetGroup { .. } => "ModifyTargetGroup",
            Self::DeleteTargetGroup { .. } => "DeleteTargetGroup",
            Self::CreateListener { .. } => "CreateListener",
            Self::ModifyListener { .. } => "ModifyListener",
            Self::DeleteListener { .. } => "DeleteListener",
            Self::CreateRule { .. } => "CreateRule",
            Self::ModifyRule { .. } => "ModifyRule",
            Self::SetRulePositions { .. } => "SetRulePositions",
            Self::DeleteRule { .. } => "DeleteRule",
            Self::RegisterTargets { .. } => "RegisterTargets",
            Self::DeregisterTargets { .. } => "DeregisterTargets",
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self, Self::ListLoadBalancers { .. } | Self::GetLoadBalancer { .. } | Self::DescribeQuotas)
    }

    /// Fills in the load balancer that it is about, where it names one.
    pub fn set_load_balancer(&mut self, new: String) {
        match self {
            Self::ListLoadBalancers { .. } | Self::DescribeQuotas | Self::CreateLoadBalancer { .. } => {}
            Self::GetLoadBalancer { id }
            | Self::DeleteLoadBalancer { id, .. }
            | Self::SetTags { id, .. }
            | Self::SetFamilies { id, .. }
            | Self::CreateTargetGroup { id, .. }
            | Self::ModifyTargetGroup { id, .. }
            | Self::DeleteTargetGroup { id, .. }
            | Self::CreateListener { id, .. }
            | Self::ModifyListener { id, .. }
            | Self::DeleteListener { id, .. }
            | Self::CreateRule { id, .. }
            | Self::ModifyRule { id, .. }
            | Self::SetRulePositions { id, .. }
            | Self::DeleteRule { id, .. }
            | Self::RegisterTargets { id, .. }
            | Self::DeregisterTargets { id, .. } => *id = new,
        }
    }

    /// The load balancer that it is about, if it names one.
    #[must_use]
    pub fn load_balancer(&self) -> Option<&str> {
        match self {
            Self::ListLoadBalancers { .. } | Self::DescribeQuotas | Self::CreateLoadBalancer { .. } => None,
            Self::GetLoadBalancer { id }
            | Self::DeleteLoadBalancer { id, .. }
            | Self::SetTags { id, .. }
            | Self::SetFamilies { id, .. }
            | Self::CreateTargetGroup { id, .. }
            | Self::ModifyTargetGroup { id, .. }
            | Self::DeleteTargetGroup { id, .. }
            | Self::CreateListener { id, .. }
            | Self::ModifyListener { id, .. }
            | Self::DeleteListener { id, .. }
            | Self::CreateRule { id, .. }
            | Self::ModifyRule { id, .. }
            | Self::SetRulePositions { id, .. }
            | Self::DeleteRule { id, .. }
            | Self::RegisterTargets { id, .. }
            | Self::DeregisterTargets { id, .. } => Some(id),
        }
    }
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To the lists and gets.
    LoadBalancers {
        /// Load balancers by id.
        items: Vec<LoadBalancer>,
        /// The sets of nodes that they name, each once.
        sets: BTreeMap<SetId, Nodes>,
        /// Where the next page begins; `None`: this was the last.
        next: Option<String>,
    },
    /// To `DescribeQuotas`.
    Quotas {
        /// Maxima by name.
        quotas: BTreeMap<String, u64>,
    },
    /// To a create: what the cloud chose. The rest is as it was sent.
    Created {
        /// The load balancer without children.
        load_balancer: Box<LoadBalancer>,
    },
    /// To a change.
    Changed {
        /// Where the load balancer stands now; `None`: it is gone.
        status: Option<super::Status>,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
}

/// Class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Too many calls.
    Throttled,
    /// The server failed; whether the call took effect is not known.
    InternalError,
    /// There is no such load balancer or part of it.
    NotFound,
    /// Something of this name, port or position is there already.
    Duplicate,
    /// The load balancer is locked by a change that is under way.
    Locked,
    /// Something in it, or forwarding to it, keeps it from being deleted.
    InUse,
    /// The request is wrong.
    Validation,
    /// A quota is used up.
    QuotaExceeded,
}

/// A bad answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Refusal {
    /// Class.
    pub code: Code,
    /// Text for people.
    pub message: String,
    /// Milliseconds after which another try makes sense.
    pub retry_after: Option<u64>,
    /// Name of the quota, with [`Code::QuotaExceeded`].
    pub quota: Option<String>,
}

impl Refusal {
    /// A refusal with a class and a text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None, quota: None }
    }

    /// The quota of this name is used up.
    #[must_use]
    pub fn quota(name: &str, max: u64) -> Self {
        let message = format!("at most {max} {name} are allowed in this account");
        Self { quota: Some(name.to_owned()), ..Self::new(Code::QuotaExceeded, message) }
    }

    /// The same, worth another try after these milliseconds.
    #[must_use]
    pub fn after(self, milliseconds: u64) -> Self {
        Self { retry_after: Some(milliseconds), ..self }
    }
}
