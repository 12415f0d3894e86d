//! Whether an account is as Causeway needs it, for `causeway check`.
//!
//! | module | is |
//! |---|---|
//! | [`mod@look`] | I/O: every read that the controller makes, and those of its writes that EC2 lets one try; nothing is changed |
//! | [`permissions`] | pure: what was allowed |
//! | [`places`] | pure: nodes as instances, their zones, and the subnets of load balancers there |
//! | [`quotas`] | pure: how much of them is used |
//! | [`reach`] | pure: whether load balancers reach the nodes through the nodes' security groups |

mod look;
mod permissions;
mod places;
mod quotas;
mod reach;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use causeway_api::check::Tried;
use causeway_api::{Finding, NodeSet};

pub use self::look::look;
use crate::calls::CallError;
use crate::cloud::records::{LoadBalancer, SecurityGroup, TargetGroup};
use crate::facts::Facts;
use crate::inventory::{Answers, Cluster};
use crate::options::Options;
use crate::targets::Instances;

/// Whose credentials they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// ARN of the user or role.
    pub arn: String,
    /// Account.
    pub account: String,
}

/// What was seen of an account. What could not be read is empty, and a right says why.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who asked.
    pub identity: Result<Identity, CallError>,
    /// AWS could not be reached at all, so that nothing else was looked at.
    pub unreached: bool,
    /// The inventory.
    pub answers: Answers,
    /// All load balancers of the region, if they could be read.
    pub load_balancers: Option<Vec<LoadBalancer>>,
    /// All target groups of the region, if they could be read.
    pub target_groups: Option<Vec<TargetGroup>>,
    /// ARNs of what carries this cluster's mark.
    pub ours: BTreeSet<String>,
    /// The nodes' security groups with their rules.
    pub node_groups: Vec<SecurityGroup>,
    /// Reads.
    pub reads: Vec<Tried>,
    /// Writes of EC2.
    pub writes: Vec<Tried>,
}

impl Seen {
    fn nothing(identity: Result<Identity, CallError>) -> Self {
        Self {
            identity,
            unreached: true,
            answers: Answers::default(),
            load_balancers: None,
            target_groups: None,
            ours: BTreeSet::new(),
            node_groups: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
        }
    }
}

/// The facts that a cluster and these answers make.
fn facts(cluster: &Cluster, options: &Options, answers: &Answers) -> Facts {
    Facts {
        cluster: cluster.clone(),
        options: options.clone(),
        aws: Arc::new(answers.clone()),
        ..Facts::default()
    }
}

/// What is to be said of an account. `nodes` are the eligible ones of the cluster.
#[must_use]
pub fn judge(seen: &Seen, cluster: &Cluster, options: &Options, nodes: &NodeSet) -> Vec<Finding> {
    let mut findings = vec![identity(seen, cluster)];
    if seen.unreached {
        return findings;
    }
    let facts = facts(cluster, options, &seen.answers);
    let instances = Instances::of(nodes);
    findings.extend(permissions::judge(seen));
    findings.extend(places::vpc(&facts));
    findings.extend(places::nodes(&facts, &instances, nodes.nodes.len()));
    findings.extend(places::subnets(&facts, &instances));
    findings.extend(quotas::judge(seen, &facts));
    findings.extend(reach::judge(seen, &facts));
    findings
}

fn identity(seen: &Seen, cluster: &Cluster) -> Finding {
    let about = "AWS";
    let Cluster { region, vpc_id, .. } = cluster;
    match &seen.identity {
        Ok(Identity { arn, account }) => {
            Finding::ok(about, format!("{arn} of account {account}, region {region}, VPC {vpc_id}"))
        }
        Err(CallError::Failed(failure)) if crate::errors::credentials_refused(failure) => Finding::error(
            about,
            format!(
                "region {region} does not accept the credentials ({failure}): look at AWS_ACCESS_KEY_ID, AWS_PROFILE, or the role of pod or instance"
            ),
        ),
        Err(error) if seen.unreached => Finding::error(
            about,
            format!(
                "no answer in region {region} ({}): are there credentials (environment, profile, pod identity, instance profile), is the region right, and does a way \
                 lead there?",
                said(error)
            ),
        ),
        Err(error) => {
            Finding::warning(about, format!("region {region}: who asks is not known ({})", said(error)))
        }
    }
}

/// An error in words.
fn said(error: &CallError) -> String {
    match error {
        CallError::Failed(failure) => failure.to_string(),
        CallError::Later(after) => format!("not asked: the next call may be made in {after:?}"),
        CallError::Fenced => "not asked".to_owned(),
    }
}
