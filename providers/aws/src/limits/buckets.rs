//! The documented buckets of AWS's APIs, and which calls take from which. Pure data.
//!
//! Sources: ELB user guide "API throttling" (per account and region); EC2 developer guide "Request throttling"; ACM user guide "Quotas". For GetResources no
//! figure is documented; the one here is ours.

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
}

impl Bucket {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ElbAccount,
        Self::ElbIntensive,
        Self::ElbRegistration,
        Self::ElbRead,
        Self::ElbWrite,
        Self::Ec2Read,
        Self::Ec2Write,
        Self::Acm,
        Self::Tagging,
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
            Self::Tagging => (5, 5.0),
        }
    }

    /// Whether calls of different urgency take from it; else there is nobody to leave tokens to.
    #[must_use]
    pub const fn contested(self) -> bool {
        !matches!(self, Self::ElbIntensive)
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
        }
    }
}

/// The buckets that a call takes one token from, each.
#[must_use]
pub fn of(call: &Call) -> &'static [Bucket] {
    use Bucket::{
        Acm, Ec2Read, Ec2Write, ElbAccount, ElbIntensive, ElbRead, ElbRegistration, ElbWrite, Tagging,
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
        call if call.writes() => &[ElbAccount, ElbWrite],
        _ => &[ElbAccount, ElbRead],
    }
}
