//! How target groups see pods that wait to be ready. What it says is pure; finding out is I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::TargetState;

use crate::calls::CallError;
use crate::cloud::Api;
use crate::cloud::records::{Health, Healths, Whys};
use crate::errors::State;
use crate::limits::Priority;
use crate::live::Live;
use crate::plan::choose::choose;
use crate::stack::{AwsStack, Target, Token};

/// Types of the readiness gates that are ours begin so: aws-load-balancer-controller's too, so that pods which have its gates stay as they are.
pub const PREFIX: &str = "target-health.elbv2.k8s.aws/";
/// Reason of AWS for a target that is not there.
const NOT_REGISTERED: &str = "Target.NotRegistered";

/// The address of a target that is a pod.
fn address(target: &Target) -> Option<IpAddr> {
    match &target.id {
        Token::Literal(id) => id.parse().ok(),
        Token::Ref { .. } => None,
    }
}

/// How a target group sees one of its targets.
#[must_use]
pub fn state(group: &str, target: &Target, healths: &Healths, whys: &Whys) -> TargetState {
    let (ready, word) = match healths.get(target) {
        // Unavailable: nobody checks it, and the group sends to it.
        Some(Health::Healthy | Health::Unavailable) => (true, ""),
        Some(Health::Initial) => (false, "Elb.InitialHealthChecking"),
        Some(Health::Unhealthy) => (false, "Target.FailedHealthChecks"),
        Some(Health::Unused) => (false, "Target.NotInUse"),
        Some(Health::Draining) => (false, "Target.DeregistrationInProgress"),
        None => (false, NOT_REGISTERED),
    };
    let (reason, message) = whys.get(target).filter(|_| !ready).cloned().unwrap_or_default();
    let reason = if reason.is_empty() { word.to_owned() } else { reason };
    TargetState { group: group.to_owned(), ready, reason, message }
}

impl<A: Api> Live<A> {
    /// See [`causeway_api::CloudProvider::target_states`]: one call for each target group that is to have one of the pods.
    pub(crate) async fn pods_of(
        &self,
        want: &AwsStack,
        pods: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Vec<TargetState>>, CallError> {
        let have = self.known().sure(&want.owner, self.calls.api.unix());
        let arns: BTreeMap<&str, (String, String)> = {
            let chosen = have.as_ref().map(|have| choose(want, have).target_groups).unwrap_or_default();
            let made = chosen.iter().map(|(id, group)| (*id, (group.arn.clone(), group.spec.name.clone())));
            // Those that users named.
            let bound = want.bindings.iter().filter_map(|(id, binding)| {
                match &binding.template.spec.target_group_arn {
                    Token::Literal(arn) => {
                        let arn = arn.to_string();
                        let name = arn.split('/').nth(1).unwrap_or(&arn).to_owned();
                        Some((id.as_str(), (arn, name)))
                    }
                    Token::Ref { .. } => None,
                }
            });
            bound.chain(made).collect()
        };
        let mut states: BTreeMap<IpAddr, Vec<TargetState>> = BTreeMap::new();
        for (id, targets) in &want.targets {
            let wanted: Vec<(IpAddr, &Target)> = targets
                .iter()
                .filter_map(|target| Some((address(target)?, target)))
                .filter(|(address, _)| pods.contains(address))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let none = (Healths::new(), Whys::new());
            let (name, (healths, whys)) = match arns.get(id.as_str()) {
                Some((arn, name)) => match self.reader(Priority::Audit).health_and_why(arn).await {
                    Ok(found) => (name.as_str(), found),
                    Err(e) if e.state() == Some(State::NotFound) => (name.as_str(), none),
                    Err(e) => return Err(e),
                },
                // Not made yet, or not known for sure at this moment.
                None => (id.as_str(), none),
            };
            for (address, target) in wanted {
                states.entry(address).or_default().push(state(name, target, &healths, &whys));
            }
        }
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some(Health::Healthy), None, true, "")]
    #[case(Some(Health::Unavailable), None, true, "")]
    #[case(Some(Health::Unhealthy), Some("Target.Timeout"), false, "Target.Timeout")]
    #[case(Some(Health::Unhealthy), None, false, "Target.FailedHealthChecks")]
    #[case(Some(Health::Initial), None, false, "Elb.InitialHealthChecking")]
    #[case(Some(Health::Unused), None, false, "Target.NotInUse")]
    #[case(Some(Health::Draining), None, false, "Target.DeregistrationInProgress")]
    #[case(None, None, false, "Target.NotRegistered")]
    fn aws_tells_why(
        #[case] health: Option<Health>,
        #[case] why: Option<&str>,
        #[case] ready: bool,
        #[case] reason: &str,
    ) {
        let target = Target { id: Token::literal("10.0.0.1"), port: 80, availability_zone: None };
        let healths = health.map(|h| (target.clone(), h)).into_iter().collect();
        let whys = why.map(|w| (target.clone(), (w.to_owned(), "text".to_owned()))).into_iter().collect();
        let found = state("web", &target, &healths, &whys);
        assert_eq!((found.ready, found.reason.as_str()), (ready, reason));
        assert_eq!(found.message.is_empty(), why.is_none());
    }
}
