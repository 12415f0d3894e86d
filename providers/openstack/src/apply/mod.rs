//! Makes one change: calls, and keeps what the answer tells. I/O.
//!
//! A change of anything that belongs to a load balancer locks the whole of it: such a change is answered by `Pending`, the worker is freed, and the next plan is
//! made once the load balancer may be changed again. What belongs to Neutron is done at once. A call whose answer is not clear makes the stack doubtful: before
//! anything of it is repeated, what is there is looked at, by tags and descriptions that came with the POST.

mod adopts;
mod makes;
mod members;
mod neutron;
#[cfg(test)]
mod refusals;
mod resolve;
mod secrets;

use std::time::Duration;

use causeway_api::names::TAG_APPLIED;
use causeway_api::{CloudError, Fence, Kind, Mark as Whose, Outcome, Problem, Result};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::octavia::{LOAD_BALANCERS, LoadBalancer, delete_cascade};
use crate::api::{Api, CallError, Request};
use crate::errors::{self, State};
use crate::live::Live;
use crate::observe::known::{Depth, Entry};
use crate::observe::shape;
use crate::ownership::{Mark, tag};
use crate::plan::{Change, Op};
use crate::stack::ResourceType;

/// When to look again at a load balancer that is busy.
const SOON: Outcome = Outcome::Pending(Duration::from_secs(1));

/// What one change is made with.
pub(crate) struct Doing<'a, A> {
    pub live: &'a Live<A>,
    pub change: &'a Change,
    pub fence: &'a Fence,
    pub mark: Mark,
}

/// The field of an object by which a resource came about, where Octavia or Neutron refuses that resource.
fn field(kind: ResourceType, object: &Kind) -> &'static str {
    let ingress = *object == Kind::Ingress;
    match kind {
        ResourceType::L7Policy | ResourceType::L7Rule => "spec.rules",
        ResourceType::Listener | ResourceType::Pool | ResourceType::HealthMonitor | ResourceType::Member => {
            if ingress {
                "spec.rules"
            } else {
                "spec.ports"
            }
        }
        ResourceType::FloatingIp if !ingress => "spec.loadBalancerIP",
        ResourceType::SecurityGroup | ResourceType::SecurityGroupRule if !ingress => {
            "spec.loadBalancerSourceRanges"
        }
        ResourceType::Secret if ingress => "spec.tls",
        ResourceType::Secret => "metadata.annotations[causeway.io/tls-secret]",
        _ => "spec",
    }
}

/// Makes a change.
pub(crate) async fn apply<A: Api>(live: &Live<A>, change: &Change, fence: &Fence) -> Result<Outcome> {
    fence.check()?;
    if change.op == Op::Await {
        return Ok(SOON);
    }
    let doubtful =
        live.known().entry(&change.owner).is_some_and(|e| e.depth == Depth::Doubtful && !e.pending);
    if doubtful {
        // Something that was planned for may not be so.
        return Err(CloudError::Conflict(format!("the last change of {} got no clear answer", change.owner)));
    }
    Doing { live, change, fence, mark: live.mark(&change.owner) }.make().await
}

impl<A: Api> Doing<'_, A> {
    async fn make(&self) -> Result<Outcome> {
        let kind = self.change.kind;
        match &self.change.op {
            Op::Await => Ok(SOON),
            Op::Adopt { id, name, peer } => self.adopt(id, name, peer).await,
            Op::MarkDirty { already: true, .. } => Ok(Outcome::Done),
            Op::MarkDirty { id, .. } => self.tag(Some(id), "dirty").await,
            Op::MarkApplied { applied } => self.tag(None, applied).await,
            Op::Post { body, .. } if kind == ResourceType::Secret => self.post_secret(body).await,
            Op::Post { body, otherwise } => self.post(body, otherwise).await,
            Op::Put { target, body } => {
                let (id, body) = (self.id(target)?, self.resolved(body)?);
                match kind {
                    ResourceType::LoadBalancer => self.put_load_balancer(&id, &body).await,
                    _ => self.put(&id, &body).await,
                }
            }
            Op::Delete { id, cascade, .. } if kind == ResourceType::LoadBalancer => {
                self.delete_load_balancer(id, *cascade).await
            }
            Op::Delete { id, .. } => self.delete(id).await,
            Op::PutMembers { pool, members, .. } => {
                let pool = self.id(pool)?;
                self.put_members(&pool, members).await
            }
            Op::Group { join, leave } => self.group(join, leave).await,
            Op::Keep { target, keep } => self.keep(&self.id(target)?, *keep).await,
            Op::Release { id } => self.release(id).await,
        }
    }

    /// What must follow from an error. From all that may have taken effect follows another look.
    fn failed(&self, error: &CallError, doing: &str) -> CloudError {
        let locked = error.state() == Some(State::Immutable);
        if locked {
            self.entry(|entry| entry.pending = true);
        } else if !error.without_effect() || error.state().is_some() {
            self.doubt();
        }
        let blame = self.change.blame.as_ref();
        let follows = match error {
            CallError::Failed(failure)
                if matches!(error.state(), Some(State::Duplicate | State::Referenced))
                    && self.live.stubborn().again(self.which(), Instant::now()) =>
            {
                errors::stubborn(failure, blame, doing)
            }
            _ => error.classify(blame, doing),
        };
        match follows {
            CloudError::Invalid(problem) if problem.field.is_empty() => {
                let field = field(self.change.kind, &problem.object.kind).to_owned();
                CloudError::Invalid(Box::new(Problem { field, ..*problem }))
            }
            other => other,
        }
    }

    fn doubt(&self) {
        self.entry(|entry| entry.depth = Depth::Doubtful);
    }

    /// The world is not what the plan assumed.
    fn conflict(&self, what: String) -> CloudError {
        self.doubt();
        CloudError::Conflict(what)
    }

    /// Changes what is known.
    fn entry<R>(&self, change: impl FnOnce(&mut Entry) -> R) -> R {
        let now = Instant::now();
        let mut known = self.live.known();
        // Where everything was listed, nothing else is there of one that nobody knew.
        let new = known.complete && known.entry(&self.change.owner).is_none();
        let entry = known.entry_mut(&self.change.owner, now);
        if new {
            entry.depth = Depth::Whole;
        }
        entry.touched = now;
        change(entry)
    }

    /// The load balancer is busy with what was written.
    fn locked(&self) -> Outcome {
        self.entry(|entry| entry.pending = true);
        SOON
    }

    /// A call that writes.
    async fn write(&self, request: &Request, doing: &str) -> Result<Value> {
        self.live.calls.write(request, self.fence).await.map_err(|e| self.failed(&e, doing))
    }

    /// Notes in a tag of the load balancer how far it is.
    async fn tag(&self, id: Option<&str>, applied: &str) -> Result<Outcome> {
        let lb = self.live.known().entry(&self.change.owner).and_then(|e| e.lb.clone());
        let Some(lb) = lb.filter(|lb| id.is_none_or(|id| lb.id == id)) else {
            return Err(self.conflict("the load balancer to be tagged is not known".to_owned()));
        };
        let key = format!("{TAG_APPLIED}=");
        let mut tags: Vec<String> = lb.tags.iter().filter(|t| !t.starts_with(&key)).cloned().collect();
        tags.push(tag(TAG_APPLIED, applied));
        self.put_load_balancer(&lb.id, &json!({ "tags": tags })).await
    }

    async fn put_load_balancer(&self, id: &str, body: &Value) -> Result<Outcome> {
        let answer = self.write(&LOAD_BALANCERS.update(id, body), "changing the load balancer").await?;
        self.took(answer)?;
        Ok(self.locked())
    }

    /// Takes over what an answer says of the load balancer.
    fn took(&self, answer: Value) -> Result<()> {
        let lb: LoadBalancer = LOAD_BALANCERS
            .read_one(answer)
            .map_err(|e| self.failed(&e.into(), "reading what was made of the load balancer"))?;
        self.entry(|entry| entry.lb = Some(lb));
        Ok(())
    }

    /// Deletes a load balancer with all that belongs to it: only one with our mark, by what is in the cloud now.
    async fn delete_load_balancer(&self, id: &str, cascade: bool) -> Result<Outcome> {
        let reading = |e: CallError| self.failed(&e, "looking whose the load balancer is");
        let there =
            self.live.calls.get(&LOAD_BALANCERS, id, crate::api::Priority::Change).await.map_err(reading)?;
        let Some(lb) = there else {
            self.gone(id);
            return Ok(Outcome::Pending(Duration::ZERO));
        };
        if self.change.mark != Whose::Ours || !self.mark.owns(&shape::existing(&lb)) {
            return Err(
                self.conflict(format!("load balancer {id} does not carry our mark: it is not deleted"))
            );
        }
        let request = if cascade { delete_cascade(id) } else { LOAD_BALANCERS.delete(id) };
        let deleted = self.live.calls.gone(&request, self.fence).await;
        deleted.map_err(|e| self.failed(&e, "deleting the load balancer"))?;
        let own = self.entry(|entry| entry.lb.as_ref().is_some_and(|lb| lb.id == id));
        if own {
            // What it consists of goes with it.
            self.entry(|entry| entry.pending = true);
        } else {
            self.gone(id);
        }
        Ok(SOON)
    }

    /// A load balancer is not there any more.
    fn gone(&self, id: &str) {
        self.entry(|entry| {
            entry.surplus.retain(|s| s != id);
            if entry.lb.as_ref().is_some_and(|lb| lb.id == id) {
                entry.take(None);
            }
        });
    }
}
