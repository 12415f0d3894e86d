//! Makes one change: asks the fence, takes a token, calls once, keeps what the answer tells. I/O by the transport only.
//!
//! Idempotent: what has taken effect already is done without a call where that is known for sure. After a doubtful answer, making a load
//! balancer looks first whether it is there: where names are not unique, a second call would make a second one.

use std::sync::Mutex;
use std::time::Duration;

use causeway_api::{CloudError, Fence, ObjectRef, Outcome, Problem, Result, names};

use super::limits::{Limiter, Priority};
use super::observe::{Known, lock, look};
use super::plan::{Change, LbRef};
use crate::cloud::{Answer, Code, Request, Status};
use crate::transport::{CallError, Transport};

/// The one place that says what an error means.
#[must_use]
pub fn classify(error: CallError, blame: Option<&ObjectRef>) -> CloudError {
    let refusal = match error {
        CallError::NoAnswer(text) => return CloudError::Transient(text),
        CallError::Refused(refusal) => refusal,
    };
    let after = |default| Duration::from_millis(refusal.retry_after.unwrap_or(default));
    match refusal.code {
        Code::Throttled => CloudError::Throttled(after(1000)),
        Code::Locked => CloudError::Pending(after(500)),
        Code::InternalError => CloudError::Transient(refusal.message),
        Code::NotFound | Code::Duplicate | Code::InUse => CloudError::Conflict(refusal.message),
        Code::QuotaExceeded => CloudError::Quota {
            limit: refusal.quota.unwrap_or_else(|| "unnamed".to_owned()),
            message: format!("{}; have it raised, or use fewer", refusal.message),
        },
        Code::Validation => match blame {
            Some(object) => {
                let text = format!("the cloud refused it: {}; mend the setting it names", refusal.message);
                CloudError::Invalid(Box::new(Problem::error(
                    object.clone(),
                    "",
                    names::events::SYNC_FAILED,
                    text,
                )))
            }
            None => CloudError::Transient(refusal.message),
        },
    }
}

/// What a change needs besides itself.
pub(super) struct Means<'a, T> {
    pub transport: &'a T,
    pub known: &'a Mutex<Known>,
    pub limiter: &'a Mutex<Limiter>,
    pub cluster: &'a str,
    pub poll: Duration,
}

fn priority(request: &Request) -> Priority {
    match request {
        Request::DeregisterTargets { .. } => Priority::Deregister,
        Request::RegisterTargets { .. } => Priority::Register,
        _ => Priority::Create,
    }
}

/// Makes a change.
pub(super) async fn apply<T: Transport>(
    means: &Means<'_, T>,
    change: &Change,
    fence: &Fence,
) -> Result<Outcome> {
    fence.check()?;
    if lock(means.known).doubtful(&change.key) {
        look(means.transport, means.known, means.cluster, &change.key).await?;
    }
    let mut request = change.request.clone();
    let held = {
        let known = lock(means.known);
        let held = known.of(&change.key);
        match &change.load_balancer {
            LbRef::Id(id) => held.iter().find(|lb| lb.id == *id).cloned(),
            LbRef::Named(name) => held
                .iter()
                .filter(|lb| lb.spec.name == *name)
                .min_by_key(|lb| (lb.created, lb.id.clone()))
                .cloned(),
        }
    };
    match (&mut request, held) {
        (Request::CreateLoadBalancer { .. }, Some(lb)) => {
            return Ok(outcome(Some(lb.status), change, means.poll));
        }
        (Request::CreateLoadBalancer { .. }, None) => {}
        (Request::DeleteLoadBalancer { .. }, None) => return Ok(Outcome::Done),
        (_, None) => {
            return Err(CloudError::Conflict(format!("the load balancer of {} is gone", change.key)));
        }
        (Request::SetTags { tags, .. }, Some(lb))
            if tags.iter().all(|(k, v)| lb.spec.tags.get(k) == Some(v)) =>
        {
            return Ok(outcome(Some(lb.status), change, means.poll));
        }
        (other, Some(lb)) => other.set_load_balancer(lb.id),
    }
    let now = means.transport.now();
    lock(means.limiter)
        .take(now, priority(&request))
        .map_err(|wait| CloudError::Throttled(Duration::from_millis(wait)))?;
    fence.check()?;
    let was_doubtful = {
        let mut known = lock(means.known);
        let was_doubtful = known.doubtful(&change.key);
        known.begin(&change.key);
        was_doubtful
    };
    let answer = means.transport.call(request.clone()).await;
    lock(means.known).wrote(&change.key, &request, &answer, was_doubtful);
    match answer {
        Ok(Answer::Created { load_balancer }) => Ok(outcome(Some(load_balancer.status), change, means.poll)),
        Ok(Answer::Changed { status, .. }) => Ok(outcome(status, change, means.poll)),
        Ok(other) => Err(CloudError::Transient(format!("an answer to another call: {other:?}"))),
        Err(CallError::Refused(refusal))
            if refusal.code == Code::NotFound && matches!(request, Request::DeleteLoadBalancer { .. }) =>
        {
            Ok(Outcome::Done)
        }
        Err(e) => Err(classify(e, Some(&change.blame))),
    }
}

fn outcome(status: Option<Status>, change: &Change, poll: Duration) -> Outcome {
    match status {
        Some(s) if s.locked() || (change.awaits_active && s != Status::Active) => Outcome::Pending(poll),
        _ => Outcome::Done,
    }
}
