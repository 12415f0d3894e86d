//! The documented buckets of AWS's APIs, and which calls take from which. Pure data.
//!
//! Sources: ELB user guide "API throttling" (per account and region); EC2 developer guide "Request throttling"; ACM user guide "Quotas"; AWS WAF
//! developer guide "AWS WAF quotas" (fixed rates of calls). For GetResources and Shield no figure is documented; those here are ours.

use crate::cloud::{Call, Query};

/// A bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// All calls of ELBv2 together.
    ElbAccount,
    /// CreateLoadBalancer and SetSubnets.
    ElbIntensive,
    /// RegisterTargets and DeregisterTargets.
    ElbRegistration,
    /// Describe* of ELBv2.
    ElbRead,
    /// Everything else of ELBv2 that changes something.
    ElbWrite,
    /// Describe* of EC2.
    Ec2Read,
    /// Everything of EC2 that changes something.
    Ec2Write,
    /// ACM.
    Acm,
    /// The tagging API.
    Tagging,
    /// GetWebACLForResource of WAFv2.
    WafGet,
    /// ListWebACLs of WAFv2.
    WafList,
    /// AssociateWebACL and DisassociateWebACL of WAFv2.
    WafAssociate,
    /// Shield.
    Shield,
}

impl Bucket {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ElbAccount,
        Self::ElbIntensive,
        Self::ElbRegistration,
        Self::ElbRead,
        Self::ElbWrite,
        Self::Ec2Read,
        Self::Ec2Write,
        Self::Acm,
        Self::Tagging,
        Self::WafGet,
        Self::WafList,
        Self::WafAssociate,
        Self::Shield,
    ];

    /// Calls that it holds when it is full, and calls a second that flow in.
    #[must_use]
    pub const fn documented(self) -> (u32, f64) {
        match self {
            Self::ElbAccount | Self::ElbRead => (40, 10.0),
            Self::ElbIntensive => (10, 0.2),
            Self::ElbRegistration => (20, 4.0),
            Self::ElbWrite => (20, 3.0),
            Self::Ec2Read => (100, 20.0),
            Self::Ec2Write => (50, 5.0),
            Self::Acm => (8, 8.0),
            Self::Tagging | Self::WafList | Self::Shield => (5, 5.0),
            Self::WafGet => (1, 1.0),
            Self::WafAssociate => (1, 0.5),
        }
    }

    /// Whether calls of different urgency take from it; else there is nobody to leave tokens to.
    #[must_use]
    pub const fn contested(self) -> bool {
        !matches!(self, Self::ElbIntensive | Self::WafAssociate | Self::WafGet)
    }

    /// Name, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ElbAccount => "elb-account",
            Self::ElbIntensive => "elb-intensive",
            Self::ElbRegistration => "elb-registration",
            Self::ElbRead => "elb-read",
            Self::ElbWrite => "elb-write",
            Self::Ec2Read => "ec2-read",
            Self::Ec2Write => "ec2-write",
            Self::Acm => "acm",
            Self::Tagging => "tagging",
            Self::WafGet => "waf-get",
            Self::WafList => "waf-list",
            Self::WafAssociate => "waf-associate",
            Self::Shield => "shield",
        }
    }
}

/// The buckets that a call takes one token from, each.
#[must_use]
pub fn of(call: &Call) -> &'static [Bucket] {
    use Bucket::{
        Acm, Ec2Read, Ec2Write, ElbAccount, ElbIntensive, ElbRead, ElbRegistration, ElbWrite, Shield,
        Tagging, WafAssociate, WafGet, WafList,
    };
    match call {
        // AWS documents none for it.
        Call::GetCallerIdentity => &[],
        Call::DryRun(call) => of(call),
        Call::GetResources { .. } => &[Tagging],
        Call::Inventory { query: Query::AccountLimits, .. } => &[ElbAccount, ElbRead],
        Call::Inventory { query: Query::Certificates | Query::Certificate(_), .. } => &[Acm],
        Call::Inventory { .. }
        | Call::DescribeInstances { .. }
        | Call::DescribeSecurityGroups { .. }
        | Call::FindSecurityGroup { .. } => &[Ec2Read],
        Call::CreateSecurityGroup { .. }
        | Call::AuthorizeSecurityGroupIngress { .. }
        | Call::RevokeSecurityGroupIngress { .. }
        | Call::CreateTags { .. }
        | Call::DeleteTags { .. }
        | Call::DeleteSecurityGroup { .. } => &[Ec2Write],
        Call::CreateLoadBalancer { .. } | Call::SetSubnets { .. } => &[ElbAccount, ElbIntensive],
        Call::RegisterTargets { .. } | Call::DeregisterTargets { .. } => &[ElbAccount, ElbRegistration],
        Call::GetWebAclForResource { .. } => &[WafGet],
        Call::ListWebAcls { .. } => &[WafList],
        Call::AssociateWebAcl { .. } | Call::DisassociateWebAcl { .. } => &[WafAssociate],
        Call::DescribeProtection { .. }
        | Call::DescribeSubscription
        | Call::CreateProtection { .. }
        | Call::DeleteProtection { .. } => &[Shield],
        call if call.writes() => &[ElbAccount, ElbWrite],
        _ => &[ElbAccount, ElbRead],
    }
}
