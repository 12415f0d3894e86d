//! Makes one change: asks the limiter and the fence, calls, keeps what the answer tells.
//!
//! Idempotent: what has taken effect already is done, without a call where that is known for sure. Before anything with a name is made that may be taken
//! (a list showed it, or an earlier try got no answer), it is asked for by name: the tagging API lags behind.

mod addons;
mod adopts;
mod awaits;
mod logins;
mod makes;
mod shared;
mod tag_batch;

use std::collections::BTreeSet;
use std::time::Duration;

use causeway_api::names::TAG_APPLIED;
use causeway_api::{AppliedHash, CloudError, Fence, Outcome, Result};

pub use tag_batch::TagBatch;

use crate::calls::CallError;
use crate::cloud::{Answer, Api, Call};
use crate::errors::State;
use crate::limits::Priority;
use crate::live::Live;
use crate::observe::known::standing;
use crate::plan::marks::{TAG_RETIRED, TAG_TARGETS, applied};
use crate::plan::shares;
use crate::plan::tokens::Tokens;
use crate::plan::{Change, Op};
use crate::secrets::Client;
use crate::stack::{IpPermission, ResourceType, Tags, Target, Token};

/// Plan anew, at once.
const NOW: Outcome = Outcome::Pending(Duration::ZERO);

/// What one change is made with.
pub(crate) struct Doing<'a, A> {
    pub live: &'a Live<A>,
    pub change: &'a Change,
    pub fence: &'a Fence,
    /// Whose id and secret go with the call.
    client: Option<Client>,
}

/// Makes a change.
pub(crate) async fn apply<A: Api>(live: &Live<A>, change: &Change, fence: &Fence) -> Result<Outcome> {
    fence.check()?;
    let mut doing = Doing { live, change, fence, client: None };
    let waits = matches!(change.op, Op::Read | Op::ReadTargets { .. } | Op::ReadAddons { .. } | Op::Await(_));
    if !waits && live.known().entry(&change.owner).is_some_and(|e| e.doubtful) {
        // Something that was planned for may not be so.
        return Err(CloudError::Conflict(format!("the last change of {} got no clear answer", change.owner)));
    }
    doing.client = doing.client().await?;
    doing.make().await
}

impl<A: Api> Doing<'_, A> {
    /// What must follow from an error.
    fn failed(&self, error: &CallError, doing: &str) -> CloudError {
        error.classify(self.change.blame.as_ref(), doing)
    }

    /// The world is not what the plan assumed.
    fn conflict(&self, what: &str) -> CloudError {
        self.live.known().doubt(&self.change.owner);
        CloudError::Conflict(what.to_owned())
    }

    /// With references replaced by what was made for them.
    fn resolve<T: Tokens>(&self, spec: &T) -> Result<T> {
        let resolved = {
            let known = self.live.known();
            let shared = known.shared.backend_group.clone().filter(|_| !known.shared.backend_going);
            let made = known.entry(&self.change.owner).map(|e| e.made.clone()).unwrap_or_default();
            spec.resolved(&|token| match token {
                Token::Ref { scope: crate::stack::Scope::Shared, .. } => shared.clone(),
                token => made.get(token).cloned(),
            })
        };
        match resolved.unresolved() {
            None => Ok(resolved),
            Some(token) => Err(self.conflict(&format!("{token:?} is not there yet"))),
        }
    }

    fn arn(&self, token: &Token) -> Result<String> {
        match self.resolve(token)? {
            Token::Literal(arn) => Ok(arn.to_string()),
            Token::Ref { .. } => Err(self.conflict("a reference is not resolved")),
        }
    }

    /// A write of this stack. What it did is known when this returns.
    async fn call(&self, call: Call) -> std::result::Result<Answer, CallError> {
        let owner = &self.change.owner;
        let was = self.live.known().begin(owner);
        let sent = match &self.client {
            Some(client) => logins::with(call.clone(), client),
            None => call.clone(),
        };
        let answer = self.live.calls.write(sent, self.fence).await;
        let mut known = self.live.known();
        match &answer {
            Ok(answer) => known.wrote(owner, &call, answer),
            Err(error) if error.state() == Some(State::NotFound) && deletes(&call) => {
                known.wrote(owner, &call, &Answer::Done);
            }
            Err(_) => {}
        }
        let sure = answer.as_ref().map_or_else(CallError::without_effect, |_| true);
        known.end(owner, sure, was);
        answer
    }

    /// A write that needs no more than to be done.
    async fn simple(&self, call: Call) -> Result<Outcome> {
        let (action, deletion) = (call.action(), deletes(&call));
        match self.call(call).await {
            Ok(_) => Ok(Outcome::Done),
            Err(e) if e.state() == Some(State::NotFound) && deletion => Ok(Outcome::Done),
            Err(e) if e.state() == Some(State::InUse) => Ok(Outcome::Pending(self.live.settings.pace.in_use)),
            // Not there, or there already: the plan knew too little.
            Err(e) if e.state().is_some() => Err(self.conflict(&format!("{action}: {e:?}"))),
            Err(e) => Err(self.failed(&e, action)),
        }
    }

    async fn tag(&self, arns: BTreeSet<String>, tags: Tags, gather: Option<Duration>) -> Result<Outcome> {
        let Some(gather) = gather else { return self.simple(Call::AddTags { arns, tags }).await };
        let owner = &self.change.owner;
        let was = self.live.known().begin(owner);
        let result =
            self.live.tags.set(&self.live.calls, arns.clone(), tags.clone(), gather, self.fence).await;
        let mut known = self.live.known();
        if result.is_ok() {
            known.wrote(owner, &Call::AddTags { arns, tags }, &Answer::Done);
        }
        let sure = result.as_ref().map_or_else(CallError::without_effect, |()| true);
        known.end(owner, sure, was);
        drop(known);
        match result {
            Ok(()) => Ok(Outcome::Done),
            Err(e) if e.state().is_some() => Err(self.conflict("a resource to tag is gone")),
            Err(e) => Err(self.failed(&e, "AddTags")),
        }
    }

    async fn make(&self) -> Result<Outcome> {
        let owner = &self.change.owner;
        match &self.change.op {
            Op::Adopt(stack) => self.adopt(stack).await,
            Op::MarkDirty { load_balancer } => {
                let marked = self.live.known().entry(owner).is_some_and(|e| {
                    let lb = e.tree.load_balancers.iter().find(|lb| lb.arn == *load_balancer);
                    lb.is_some_and(|lb| {
                        lb.spec.tags.contains_key(TAG_APPLIED) && applied(&lb.spec.tags) == AppliedHash::Dirty
                    })
                });
                if marked {
                    return Ok(Outcome::Done);
                }
                let tags = Tags::from([(TAG_APPLIED.to_owned(), AppliedHash::Dirty.to_string())]);
                self.tag(BTreeSet::from([load_balancer.clone()]), tags, Some(tag_batch::SOON)).await
            }
            Op::Read => {
                self.live
                    .look(owner, Priority::Create)
                    .await
                    .map_err(|e| self.failed(&e, "reading the stack"))?;
                Ok(NOW)
            }
            Op::ReadTargets { groups, records } => {
                if *records {
                    self.read_records(groups).await?;
                }
                self.read_targets(groups).await
            }
            Op::RecordTargets { group, tags, gone } => self.record(self.arn(group)?, tags, gone).await,
            Op::ReadAddons { load_balancer, web_acl, protection } => {
                self.read_addons(load_balancer, *web_acl, *protection).await
            }
            Op::SetWebAcl { load_balancer, acl } => self.set_web_acl(&self.arn(load_balancer)?, acl).await,
            Op::Protect { load_balancer } => self.protect(&self.arn(load_balancer)?).await,
            Op::Unprotect { load_balancer } => self.unprotect(load_balancer).await,
            Op::EnsureBackendGroup(spec) => self.backend_group(spec).await,
            Op::EnsureNodeRules { group, rules } => self.node_rules(group, rules).await,
            Op::RevokeNodeRules { group, rules } => self.revoke_node_rules(group, rules).await,
            Op::DropBackendGroup => self.drop_backend_group().await,
            Op::CreateSecurityGroup { id, spec } => self.create_security_group(id, spec).await,
            Op::Authorize { group, rules } => {
                let rules = self.rules(rules)?;
                self.rules_of(Call::AuthorizeSecurityGroupIngress { group: self.arn(group)?, rules }).await
            }
            Op::Revoke { group, rules } => {
                let rules = self.rules(rules)?;
                self.rules_of(Call::RevokeSecurityGroupIngress { group: self.arn(group)?, rules }).await
            }
            Op::CreateTargetGroup { id, vpc, spec } => self.create_target_group(id, vpc, spec).await,
            Op::ModifyTargetGroup { group, health } => {
                self.simple(Call::ModifyTargetGroup { arn: group.clone(), health: health.clone() }).await
            }
            Op::CreateLoadBalancer { id, spec } => self.create_load_balancer(id, spec).await,
            Op::SetSubnets { load_balancer, mappings, family, source_nat } => {
                let (mappings, family, source_nat) = (mappings.clone(), *family, *source_nat);
                let arn = load_balancer.clone();
                self.simple(Call::SetSubnets { arn, mappings, family, source_nat }).await
            }
            Op::SetSecurityGroups { load_balancer, groups, private_link } => {
                let groups = groups.iter().map(|g| self.arn(g)).collect::<Result<BTreeSet<_>>>()?;
                let (arn, private_link) = (load_balancer.clone(), *private_link);
                self.simple(Call::SetSecurityGroups { arn, groups, private_link }).await
            }
            Op::SetIpAddressType { load_balancer, family } => {
                self.simple(Call::SetIpAddressType { arn: load_balancer.clone(), family: *family }).await
            }
            Op::Reserve { load_balancer, capacity } => {
                let arn = self.arn(load_balancer)?;
                self.simple(Call::ModifyCapacityReservation { arn, capacity: *capacity }).await
            }
            Op::SetAttributes { of, at, attributes } => {
                let (arn, attributes) = (self.arn(at)?, attributes.clone());
                self.simple(Call::ModifyAttributes { of: *of, arn, attributes }).await
            }
            Op::CreateListener { id, spec } => {
                let spec = Box::new(self.resolve(&**spec)?);
                self.create(ResourceType::Listener, id, Call::CreateListener { spec }).await
            }
            Op::ModifyListener { listener, spec } => {
                let spec = Box::new(self.resolve(&**spec)?);
                self.simple(Call::ModifyListener { arn: listener.clone(), spec }).await
            }
            Op::AddCertificates { listener, certificates } => {
                let (listener, certificates) = (self.arn(listener)?, certificates.clone());
                self.simple(Call::AddListenerCertificates { listener, certificates }).await
            }
            Op::RemoveCertificates { listener, certificates } => {
                let (listener, certificates) = (listener.clone(), certificates.clone());
                self.simple(Call::RemoveListenerCertificates { listener, certificates }).await
            }
            Op::CreateRule { id, spec } => {
                let spec = Box::new(self.resolve(&**spec)?);
                self.create(ResourceType::ListenerRule, id, Call::CreateRule { spec }).await
            }
            Op::ModifyRule { rule, spec } => {
                let spec = Box::new(self.resolve(&**spec)?);
                self.simple(Call::ModifyRule { arn: rule.clone(), spec }).await
            }
            Op::SetRulePriorities { priorities } => {
                let all = priorities.iter().map(|(rule, place)| Ok((self.arn(rule)?, *place)));
                let priorities = all.collect::<Result<_>>()?;
                self.simple(Call::SetRulePriorities { priorities }).await
            }
            Op::Register { group, targets } => {
                let targets = targets.iter().map(|t| self.resolve(t)).collect::<Result<Vec<_>>>()?;
                self.register(&self.arn(group)?, targets).await
            }
            Op::Deregister { group, targets } => {
                let targets = targets.iter().map(|t| self.resolve(t)).collect::<Result<Vec<_>>>()?;
                self.deregister(group, targets).await
            }
            Op::NoteTargets { groups, value } => {
                let arns = groups.iter().map(|g| self.arn(g)).collect::<Result<BTreeSet<_>>>()?;
                let tags = Tags::from([(TAG_TARGETS.to_owned(), value.clone())]);
                let settled = value != crate::plan::marks::DIRTY;
                let gather = if settled { tag_batch::LATER } else { tag_batch::SOON };
                self.tag(arns, tags, Some(gather)).await
            }
            Op::SetTags { kind, at, tags } => {
                let (id, tags) = (BTreeSet::from([self.arn(at)?]), tags.clone());
                match kind {
                    ResourceType::SecurityGroup => self.simple(Call::CreateTags { ids: id, tags }).await,
                    _ => self.simple(Call::AddTags { arns: id, tags }).await,
                }
            }
            Op::Delete { kind, at } => {
                let arn = at.clone();
                let call = match kind {
                    ResourceType::SecurityGroup => Call::DeleteSecurityGroup { id: arn },
                    ResourceType::LoadBalancer => Call::DeleteLoadBalancer { arn },
                    ResourceType::TargetGroup => Call::DeleteTargetGroup { arn },
                    ResourceType::Listener => Call::DeleteListener { arn },
                    _ => Call::DeleteRule { arn },
                };
                self.simple(call).await
            }
            Op::Retire { load_balancer } => {
                let tags = Tags::from([(TAG_RETIRED.to_owned(), self.live.calls.api.unix().to_string())]);
                self.tag(BTreeSet::from([load_balancer.clone()]), tags, None).await
            }
            Op::Await(awaited) => self.wait(awaited).await,
            Op::MarkApplied { load_balancer, hash, groups, targets } => {
                let mut arns = groups.iter().map(|g| self.arn(g)).collect::<Result<BTreeSet<_>>>()?;
                arns.insert(self.arn(load_balancer)?);
                let mut tags = Tags::from([(TAG_APPLIED.to_owned(), hash.clone())]);
                if let Some(digest) = targets {
                    tags.insert(TAG_TARGETS.to_owned(), digest.clone());
                }
                self.tag(arns, tags, None).await
            }
        }
    }

    fn rules(&self, rules: &BTreeSet<IpPermission>) -> Result<BTreeSet<IpPermission>> {
        rules.iter().map(|r| self.resolve(r)).collect()
    }

    /// Targets whose digest is known need not be read: those of other target groups tell.
    async fn read_targets(&self, groups: &[String]) -> Result<Outcome> {
        for arn in groups {
            let group = {
                let known = self.live.known();
                let tree = known.entry(&self.change.owner).map(|entry| &entry.tree);
                let group = tree.and_then(|tree| tree.target_groups.iter().find(|g| g.arn == *arn));
                let noted = group.and_then(|group| group.spec.tags.get(TAG_TARGETS));
                if tree.is_some_and(|tree| tree.targets.contains_key(arn))
                    || noted.is_some_and(|digest| known.knows_set(digest))
                {
                    continue;
                }
                group.cloned()
            };
            let Some(group) = group else {
                // One that a user named: nobody notes what it holds.
                let targets = self.standing_targets(arn).await?;
                self.live.known().entry_mut(&self.change.owner).tree.targets.insert(arn.clone(), targets);
                continue;
            };
            // Many stacks ask for the same at the same time: the first one reads, the others find it known.
            let _turn = self.live.sharing.lock().await;
            let noted = group.spec.tags.get(TAG_TARGETS);
            if noted.is_some_and(|digest| self.live.known().knows_set(digest)) {
                continue;
            }
            let targets = self.standing_targets(arn).await?;
            let mut known = self.live.known();
            known.learn(group.spec.port, &targets);
            known.entry_mut(&self.change.owner).tree.targets.insert(arn.clone(), targets);
        }
        Ok(NOW)
    }

    /// What is written down of target groups that a user named.
    async fn read_records(&self, groups: &[String]) -> Result<()> {
        for arn in groups {
            let tags = self.live.reader(Priority::Register).tags(std::slice::from_ref(arn)).await;
            let mut tags = match tags {
                Ok(tags) => tags,
                Err(e) if e.state() == Some(State::NotFound) => {
                    return Err(self.conflict("a target group is gone"));
                }
                Err(e) => return Err(self.failed(&e, "DescribeTags")),
            };
            let mut tags = tags.remove(arn).unwrap_or_default();
            tags.retain(|key, _| key.starts_with(shares::PREFIX));
            self.live.known().entry_mut(&self.change.owner).tree.records.insert(arn.clone(), tags);
        }
        Ok(())
    }

    async fn record(&self, arn: String, tags: &Tags, gone: &BTreeSet<String>) -> Result<Outcome> {
        let arns = BTreeSet::from([arn]);
        if !tags.is_empty() {
            let set = self.simple(Call::AddTags { arns: arns.clone(), tags: tags.clone() }).await?;
            if set != Outcome::Done || gone.is_empty() {
                return Ok(set);
            }
        }
        self.simple(Call::RemoveTags { arns, keys: gone.clone() }).await
    }

    /// What a target group holds, but for what leaves.
    async fn standing_targets(&self, arn: &str) -> Result<BTreeSet<Target>> {
        match self.live.reader(Priority::Register).health(arn).await {
            Ok(healths) => Ok(standing(&healths)),
            Err(e) if e.state() == Some(State::NotFound) => Err(self.conflict("a target group is gone")),
            Err(e) => Err(self.failed(&e, "DescribeTargetHealth")),
        }
    }

    /// One target that AWS does not take must not keep the others out.
    async fn register(&self, group: &str, targets: Vec<Target>) -> Result<Outcome> {
        let mut tries = vec![targets];
        while let Some(some) = tries.pop() {
            let call = Call::RegisterTargets { group: group.to_owned(), targets: some.clone() };
            match self.call(call).await {
                Ok(_) => {}
                Err(CallError::Failed(failure)) if failure.code() == "InvalidTarget" => {
                    if some.len() > 1 {
                        let (a, b) = some.split_at(some.len() / 2);
                        tries.extend([b.to_vec(), a.to_vec()]);
                        continue;
                    }
                    let mut known = self.live.known();
                    let entry = known.entry_mut(&self.change.owner);
                    entry.refused.entry(group.to_owned()).or_default().extend(some.clone());
                    if let Some(held) = entry.tree.targets.get_mut(group) {
                        held.extend(some);
                    }
                    entry.tree.refused.clone_from(&entry.refused);
                }
                Err(e) if e.state() == Some(State::NotFound) => {
                    return Err(self.conflict("a target group is gone"));
                }
                Err(e) => return Err(self.failed(&e, "RegisterTargets")),
            }
        }
        Ok(Outcome::Done)
    }

    async fn deregister(&self, group: &str, targets: Vec<Target>) -> Result<Outcome> {
        let call = Call::DeregisterTargets { group: group.to_owned(), targets };
        match self.call(call.clone()).await {
            Ok(_) => Ok(Outcome::Done),
            // One of them is none any more.
            Err(CallError::Failed(failure)) if failure.code() == "InvalidTarget" => {
                self.live.known().wrote(&self.change.owner, &call, &Answer::Done);
                Ok(Outcome::Done)
            }
            Err(e) if e.state() == Some(State::NotFound) => Err(self.conflict("a target group is gone")),
            Err(e) => Err(self.failed(&e, "DeregisterTargets")),
        }
    }
}

fn deletes(call: &Call) -> bool {
    matches!(
        call,
        Call::DeleteLoadBalancer { .. }
            | Call::DeleteTargetGroup { .. }
            | Call::DeleteListener { .. }
            | Call::DeleteRule { .. }
            | Call::DeleteSecurityGroup { .. }
            | Call::DeleteProtection { .. }
    )
}
