//! Resources that are made, changed and deleted one by one. I/O.

use std::time::Duration;

use causeway_api::{CloudError, Outcome, Result};
use serde_json::Value;
use tokio::time::Instant;

use super::Doing;
use crate::api::barbican::SECRETS;
use crate::api::octavia::{HEALTH_MONITORS, L7_POLICIES, LISTENERS, LOAD_BALANCERS, POOLS, l7_rules};
use crate::api::{Api, CallError, Collection, Failure, neutron};
use crate::errors::State;
use crate::observe::known::Depth;
use crate::observe::shape;
use crate::stack::ResourceType;

/// When to look again for what a POST without answer may have made.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a POST may be worked on after nobody waits for it any more: a busy Octavia was seen to take 38 s for one.
const SHOWS_UP: Duration = Duration::from_secs(60);

/// Without what is null.
fn some(body: &Value) -> Value {
    match body {
        Value::Object(map) => {
            let some = map.iter().filter(|(_, v)| !v.is_null());
            Value::Object(some.map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        other => other.clone(),
    }
}

fn without(mut body: Value, field: &str) -> Value {
    if let Some(map) = body.as_object_mut() {
        map.remove(field);
    }
    body
}

impl<A: Api> Doing<'_, A> {
    /// Where resources of the change's type are. Rules of a policy lie below it.
    fn collection(&self, body: &Value) -> Result<Collection<Value>> {
        Ok(match self.change.kind {
            ResourceType::LoadBalancer => LOAD_BALANCERS.untyped(),
            ResourceType::Listener => LISTENERS.untyped(),
            ResourceType::Pool => POOLS.untyped(),
            ResourceType::HealthMonitor => HEALTH_MONITORS.untyped(),
            ResourceType::L7Policy => L7_POLICIES.untyped(),
            ResourceType::L7Rule => match body.get("l7policy_id").and_then(Value::as_str) {
                Some(policy) => l7_rules(policy).untyped(),
                None => return Err(self.conflict("the policy of a rule is not known".to_owned())),
            },
            ResourceType::FloatingIp => neutron::FLOATING_IPS.untyped(),
            ResourceType::SecurityGroup => neutron::SECURITY_GROUPS.untyped(),
            ResourceType::SecurityGroupRule => neutron::SECURITY_GROUP_RULES.untyped(),
            ResourceType::Secret => SECRETS.untyped(),
            ResourceType::Member => {
                return Err(self.conflict("a member is set with its pool".to_owned()));
            }
        })
    }

    /// What is known of the resource with this id.
    fn body_of(&self, id: &str) -> Value {
        let known = self.live.known();
        let entry = known.entry(&self.change.owner);
        entry.and_then(|e| e.parts.iter().find(|p| p.id == id)).map(|p| p.body.clone()).unwrap_or_default()
    }

    /// Makes one; where a body finds no free address, the next is tried.
    pub(super) async fn post(&self, body: &Value, otherwise: &[Value]) -> Result<Outcome> {
        if let Some(wait) = self.may_show_up() {
            return Ok(wait);
        }
        let doing = self.change.summary.as_str();
        let mut answer = None;
        let mut tried = None;
        for body in std::iter::once(body).chain(otherwise) {
            let body = some(&self.resolved(body)?);
            let of = self.collection(&body)?;
            let body =
                if self.change.kind == ResourceType::L7Rule { without(body, "l7policy_id") } else { body };
            match self.live.calls.create(&of, &body, self.fence).await {
                Ok(made) => {
                    answer = Some(made);
                    break;
                }
                Err(error) if no_address(&error) => tried = Some(error),
                Err(error) => return Err(self.post_failed(&error)),
            }
        }
        self.live.unclear().clear(&self.which());
        let Some(answer) = answer else {
            let none = || CallError::Failed(Failure::Garbled { text: "nothing was asked for".to_owned() });
            return Err(self.failed(&tried.unwrap_or_else(none), doing));
        };
        if self.change.kind == ResourceType::LoadBalancer {
            let lb = serde_json::from_value(answer).map_err(|e| self.unread(&e))?;
            self.entry(|entry| {
                entry.lb = Some(lb);
                // What it consists of has ids that nobody has told.
                entry.depth = Depth::Doubtful;
            });
            return Ok(self.locked());
        }
        let id = answer.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.keep_answer(&answer, body)?;
        if self.change.kind == ResourceType::FloatingIp {
            return self.tag_address(&id).await;
        }
        Ok(self.done())
    }

    pub(super) fn which(&self) -> (String, ResourceType, String) {
        (self.change.owner.clone(), self.change.kind, self.change.id.clone())
    }

    /// Where the same POST got no answer before, and what it makes may still show up: look again.
    pub(super) fn may_show_up(&self) -> Option<Outcome> {
        let may = self.live.unclear().may_show_up(&self.which(), Instant::now());
        may.then(|| {
            self.doubt();
            Outcome::Pending(AGAIN)
        })
    }

    /// What must follow from a POST that failed.
    pub(super) fn post_failed(&self, error: &CallError) -> CloudError {
        if matches!(error, CallError::Failed(Failure::NoAnswer { sent: true, .. })) {
            let long = SHOWS_UP.max(2 * self.live.settings.call);
            self.live.unclear().note(self.which(), Instant::now(), long);
        }
        self.failed(error, &self.change.summary)
    }

    /// Changes one.
    pub(super) async fn put(&self, id: &str, body: &Value) -> Result<Outcome> {
        let there = self.body_of(id);
        let of = self.collection(&there)?;
        let answer = self.live.calls.update(&of, id, body, self.fence).await;
        let answer = answer.map_err(|e| self.failed(&e, &self.change.summary))?;
        self.keep_answer(&answer, &there)?;
        if self.change.kind == ResourceType::FloatingIp && body.get("description").is_some() {
            // It was a peer's.
            return self.tag_address(id).await;
        }
        Ok(self.done())
    }

    /// Deletes one.
    pub(super) async fn delete(&self, id: &str) -> Result<Outcome> {
        let of = self.collection(&self.body_of(id))?;
        let deleted = self.live.calls.delete(&of, id, self.fence).await;
        deleted.map_err(|e| self.failed(&e, &self.change.summary))?;
        self.entry(|entry| {
            entry.remove(id);
            if self.change.kind == ResourceType::L7Policy {
                // The others moved up.
                entry.depth = Depth::Doubtful;
            }
        });
        Ok(self.done())
    }

    fn done(&self) -> Outcome {
        self.live.stubborn().clear(&self.which());
        if self.change.locks() { self.locked() } else { Outcome::Done }
    }

    /// Keeps what an answer tells. `body` holds what the answer does not name: of what it is a part.
    fn keep_answer(&self, answer: &Value, body: &Value) -> Result<()> {
        let mark = &self.mark;
        let lb = || {
            let known = self.live.known();
            known.entry(&mark.owner).and_then(|e| e.lb.as_ref().map(|lb| lb.id.clone())).unwrap_or_default()
        };
        let answer = answer.clone();
        macro_rules! read {
            () => {
                serde_json::from_value(answer).map_err(|e| self.unread(&e))?
            };
        }
        let part = match self.change.kind {
            ResourceType::Listener => shape::listener(&read!(), &lb(), mark),
            ResourceType::Pool => {
                let pool: crate::api::octavia::Pool = read!();
                self.entry(|entry| {
                    entry.members.entry(pool.id.clone()).or_default();
                });
                shape::pool(&pool, &lb(), mark)
            }
            ResourceType::HealthMonitor => shape::monitor(&read!(), mark),
            ResourceType::L7Policy => {
                // Others may have moved to make room.
                self.entry(|entry| entry.depth = Depth::Doubtful);
                shape::policy(&read!(), mark)
            }
            ResourceType::L7Rule => {
                let policy = match body.get("l7policy_id") {
                    Some(policy) => self.id(policy)?,
                    None => String::new(),
                };
                shape::rule(&read!(), &policy, mark)
            }
            ResourceType::FloatingIp => {
                let address: neutron::FloatingIp = read!();
                self.entry(|entry| {
                    entry.floating.retain(|f| f.id != address.id);
                    entry.floating.push(address);
                });
                return Ok(());
            }
            ResourceType::SecurityGroup => {
                let parts = shape::security_group(&read!(), mark);
                self.entry(|entry| parts.into_iter().for_each(|p| entry.put(p)));
                return Ok(());
            }
            ResourceType::SecurityGroupRule => shape::group_rule(&read!(), true),
            ResourceType::LoadBalancer | ResourceType::Member | ResourceType::Secret => return Ok(()),
        };
        self.entry(|entry| entry.put(part));
        Ok(())
    }

    fn unread(&self, error: &serde_json::Error) -> CloudError {
        self.conflict(format!("{}: the answer is not one of this API: {error}", self.change.summary))
    }
}

/// Whether an address that was asked for is taken, or a subnet has none left: another body may do.
fn no_address(error: &CallError) -> bool {
    let full = || match error.classify(None, "") {
        CloudError::Quota { limit, .. } => limit.contains("free addresses"),
        _ => false,
    };
    error.state() == Some(State::AddressTaken) || full()
}
