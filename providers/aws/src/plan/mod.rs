//! From what is there to what shall be: an ordered list of changes, complete before the first id is known. Pure.
//!
//! Order: mark dirty; what is shared; security groups; target groups and their targets; load balancers; listeners; rules, put in order at once; what is
//! stale, the dependent first; wait; retire former load balancers; write the hash. So nothing is ever sent to what does not exist, and nothing goes before
//! its successor serves. What must be waited for ends the plan: the rest is planned anew when it has come about.
//!
//! If the hash in the cloud is that of the stack, nothing but targets is compared. If it is not, and not everything is known, everything is read first.

pub mod addons;
pub mod change;
pub mod choose;
pub mod defaults;
pub mod forward;
mod groups;
mod listeners;
mod load_balancers;
pub mod marks;
mod remove;
mod replacements;
mod rules;
pub mod secrets;
mod security;
pub mod shares;
pub mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::names::{TAG_APPLIED, events};
use causeway_api::{
    AppliedHash, ChangeInfo, LintContext, Mark, ObjectRef, Plan, Problem, Target as ChangeTarget, Verb,
};

pub use change::{Awaited, Change, Op};
use choose::Chosen;
pub use load_balancers::KEPT;
pub use security::bare;
use tokens::Tokens;

use crate::adopt::{self, PeerStack, Verdict};
use crate::observe::Observed;
use crate::security::BACKEND_GROUP;
use crate::stack::{AwsStack, ResourceType, Scope, Tags, Token};

/// What leads from `have` to `want`.
#[must_use]
pub fn plan(want: &AwsStack, have: &Observed) -> Plan<Change> {
    let mut draft = Draft::new(want, have);
    if let Some(stack) = &have.peer
        && !want.members.is_empty()
        && draft.adopts(stack)
    {
        return draft.finish();
    }
    if want.is_empty() {
        // What is not understood is no reason to take away what serves.
        if want.members.is_empty() || !want.frozen {
            draft.remove_all();
        }
        return draft.finish();
    }
    // The mark is on the first one.
    draft.exists = draft.chosen.load_balancers.contains_key(draft.first());
    if want.load_balancers.is_empty() {
        draft.bind();
        return draft.finish();
    }
    if want.frozen {
        draft.move_targets();
        return draft.finish();
    }
    if !have.whole && !have.is_empty() {
        if draft.clean() {
            if have.shared.backend_group.is_some() {
                draft.node_rules();
            }
            draft.move_targets();
            draft.remove_former();
        } else {
            draft.read();
        }
        return draft.finish();
    }
    draft.build();
    draft.finish()
}

/// A plan that is being made.
struct Draft<'a> {
    want: &'a AwsStack,
    have: &'a Observed,
    chosen: Chosen<'a>,
    /// ARNs and ids of what is there and stays, by what stands for them.
    known: BTreeMap<Token, String>,
    changes: Vec<Change>,
    problems: Vec<Problem>,
    awaited: Awaited,
    /// Target groups, by ARN, that something will still send to.
    used: BTreeSet<String>,
    exists: bool,
    removes: bool,
    /// All that is done is to take over, or not to.
    adopting: bool,
    /// Something was left undone that no waiting mends: the hash must not say otherwise.
    incomplete: bool,
}

impl<'a> Draft<'a> {
    fn new(want: &'a AwsStack, have: &'a Observed) -> Self {
        let chosen = choose::choose(want, have);
        let mut known = BTreeMap::new();
        for (id, lb) in &chosen.load_balancers {
            known.insert(Token::of(ResourceType::LoadBalancer, *id), lb.arn.clone());
        }
        for (id, group) in &chosen.target_groups {
            known.insert(Token::of(ResourceType::TargetGroup, *id), group.arn.clone());
        }
        for group in &have.security_groups {
            if let Some(id) = marks::resource_id(&group.spec.tags, ResourceType::SecurityGroup) {
                known.insert(Token::of(ResourceType::SecurityGroup, id), group.id.clone());
            }
        }
        if let Some(id) = &have.shared.backend_group {
            known.insert(Token::shared(ResourceType::SecurityGroup, BACKEND_GROUP), id.clone());
        }
        Self {
            want,
            have,
            chosen,
            known,
            changes: Vec::new(),
            problems: Vec::new(),
            awaited: Awaited::default(),
            used: BTreeSet::new(),
            exists: false,
            removes: false,
            adopting: false,
            incomplete: false,
        }
    }

    /// With every reference to what is there replaced by its ARN or id.
    fn resolve<T: Tokens>(&self, spec: &T) -> T {
        spec.resolved(&|token| self.known.get(token).cloned())
    }

    fn blame(&self) -> Option<ObjectRef> {
        self.want.members.first().map(|m| m.object.clone())
    }

    fn tell(&mut self, field: &str, reason: &str, message: String) {
        self.incomplete = true;
        if let Some(object) = self.blame() {
            self.problems.push(Problem::error(object, field, reason, message));
        }
    }

    /// The load balancer that carries the hash, by its id.
    fn first(&self) -> &'a str {
        self.want.load_balancers.keys().next().map_or("", String::as_str)
    }

    /// The hash says that all is applied, and nothing says otherwise: a process that died right after it marked the stack dirty leaves things behind that a
    /// list shows while it still shows the hash from before.
    fn clean(&self) -> bool {
        let first = self.chosen.load_balancers.get(self.first());
        first.is_some_and(|lb| marks::applied(&lb.spec.tags) == self.want.applied())
            && self.chosen.load_balancers.len() == self.want.load_balancers.len()
            && self.chosen.target_groups.len() == self.want.target_groups.len()
            && self.chosen.stale_groups.is_empty()
            && self.stale_security_groups().next().is_none()
    }

    /// All tags that a resource shall have.
    fn tags(&self, kind: ResourceType, id: &str, spec: &Tags) -> Tags {
        let mut tags = spec.clone();
        tags.extend(self.want.ownership(kind, id));
        tags
    }

    fn push(&mut self, op: Op, verb: Verb, kind: ResourceType, id: &str, summary: String) -> &mut ChangeInfo {
        let mark = match verb {
            Verb::Create => Mark::New,
            _ => Mark::Ours,
        };
        let info = ChangeInfo {
            verb,
            target: ChangeTarget { kind: kind.as_str().to_owned(), id: id.to_owned() },
            mark,
            cascade: Vec::new(),
            limits: Vec::new(),
            default_action: None,
            summary,
        };
        let at = self.changes.len();
        self.changes.push(Change { owner: self.want.owner.clone(), blame: self.blame(), op, info });
        &mut self.changes[at].info
    }

    /// Tags that are missing or differ; tags that others set stay.
    fn retag(&mut self, kind: ResourceType, id: &str, at: &str, want: Tags, have: &Tags) {
        let tags: Tags = want.into_iter().filter(|(k, v)| have.get(k) != Some(v)).collect();
        if !tags.is_empty() {
            let summary = format!("set {} tags of {id}", tags.len());
            self.push(Op::SetTags { kind, at: Token::literal(at), tags }, Verb::Update, kind, id, summary);
        }
    }

    /// Takes over what the peer made, where nothing of ours is there; answers whether that, or that it cannot be, is all there is to do now.
    fn adopts(&mut self, stack: &PeerStack) -> bool {
        match adopt::judge(stack, self.want) {
            Verdict::Take | Verdict::Hold(_) if !self.have.load_balancers.is_empty() => return false,
            Verdict::Leave(why) => {
                let blame = self.blame();
                self.problems
                    .extend(blame.map(|object| Problem::warning(object, "", events::NOT_ADOPTED, why)));
                return false;
            }
            Verdict::Hold(why) => self.tell("", events::NOT_ADOPTED, why),
            Verdict::Take => {
                let names: Vec<&str> =
                    stack.load_balancers.iter().map(|(_, lb)| lb.spec.name.as_str()).collect();
                let summary = format!(
                    "take over load balancer {} of {} with {} target groups and {} security groups: tags only",
                    names.join(", "),
                    stack.peer,
                    stack.target_groups.len(),
                    stack.security_groups.len()
                );
                let op = Op::Adopt(Box::new(stack.identified(self.want)));
                let first = self.first();
                self.push(op, Verb::Adopt, ResourceType::LoadBalancer, first, summary).mark = Mark::Peer;
            }
        }
        self.adopting = true;
        true
    }

    fn read(&mut self) {
        let summary = "read the whole stack, to see what differs".to_owned();
        let first = self.first();
        self.push(Op::Read, Verb::Update, ResourceType::LoadBalancer, first, summary);
    }

    /// Everything was read: the whole is compared.
    fn build(&mut self) {
        if self.makes_room() || self.read_addons() {
            return;
        }
        self.shared();
        self.security_groups();
        self.target_groups();
        self.load_balancers();
        self.addons();
        self.listeners();
        self.stale();
        self.leave_targets();
        for (group, targets) in &self.have.refused {
            for target in targets {
                let node = tokens::literal(&target.id);
                let text = format!(
                    "{node} is no target of {}: AWS does not take it; see whether it runs, and in the VPC of the load balancer",
                    short(&Token::literal(group.as_str()))
                );
                let blame = self.blame();
                let problem = |object| Problem::warning(object, "", "TargetRefused", text);
                self.problems.extend(blame.map(problem));
            }
        }
        self.retire_former();
        self.remove_former();
    }

    /// Marks around the changes.
    fn finish(mut self) -> Plan<Change> {
        // Targets alone are compared as they are: there is nothing of ours that could carry the hash.
        let keeps_hash = !self.adopting && (self.want.is_empty() || !self.want.load_balancers.is_empty());
        let mut context = LintContext { keeps_hash, exists: self.exists, removes: self.removes };
        if keeps_hash && !self.removes && !self.want.is_empty() {
            if !self.want.frozen {
                self.marks();
            } else {
                self.note_targets();
            }
        }
        // Of what is shared no hash tells.
        let marks = |c: &Change| matches!(c.info.verb, Verb::MarkDirty | Verb::MarkApplied);
        if self.changes.iter().any(|c| of_shared(&c.op)) && !self.changes.iter().any(marks) {
            context.keeps_hash = false;
        }
        Plan { changes: self.changes, problems: self.problems, context }
    }

    fn marks(&mut self) {
        let first = self.first();
        let moves = |c: &Change| matches!(c.info.verb, Verb::Register | Verb::Deregister);
        let waits = !self.awaited.is_empty();
        let mutates = waits || self.changes.iter().any(|c| !moves(c) && !of_shared(&c.op));
        let current = self.chosen.load_balancers.get(first).copied();
        let applied = current.map(|lb| marks::applied(&lb.spec.tags));
        let hash = self.want.applied();
        let reads = self.changes.iter().any(|c| matches!(c.op, Op::Read | Op::ReadAddons { .. }));
        if self.incomplete && !self.changes.iter().any(|c| !moves(c)) && !waits {
            // Nothing can be done, and the whole is not as wanted: the mark stays as it is.
            return self.note_targets();
        }
        if !mutates && (applied == Some(hash.clone()) || reads) {
            return self.note_targets();
        }
        if waits {
            let awaited = std::mem::take(&mut self.awaited);
            let summary = format!(
                "wait for {} load balancers to take traffic, {} target groups to be healthy, {} to be drained",
                awaited.active.len(),
                awaited.healthy.len(),
                awaited.drained.len()
            );
            self.push(Op::Await(Box::new(awaited)), Verb::Update, ResourceType::LoadBalancer, first, summary);
        }
        let (groups, targets) = self.note_with_the_hash();
        if let Some(lb) = current
            && !self.changes.is_empty()
        {
            let summary = format!("mark {} as being changed", lb.spec.name);
            let op = Op::MarkDirty { load_balancer: lb.arn.clone() };
            self.push(op, Verb::MarkDirty, ResourceType::LoadBalancer, first, summary);
            self.changes.rotate_right(1);
        }
        let value = if self.incomplete { AppliedHash::Dirty } else { hash };
        let load_balancer = self.resolve(&Token::of(ResourceType::LoadBalancer, first));
        let summary = format!("note that {value} is applied");
        let op = Op::MarkApplied { load_balancer, hash: value.to_string(), groups, targets };
        self.push(op, Verb::MarkApplied, ResourceType::LoadBalancer, first, summary);
    }
}

/// A change of what all stacks share: no stack's hash tells of it.
fn of_shared(op: &Op) -> bool {
    matches!(op, Op::EnsureBackendGroup(_) | Op::EnsureNodeRules { .. } | Op::RevokeNodeRules { .. })
}

/// Tags of a load balancer that is being made: not applied yet.
fn dirty(mut tags: Tags) -> Tags {
    tags.insert(TAG_APPLIED.to_owned(), AppliedHash::Dirty.to_string());
    tags
}

/// A short id for a token, for people.
fn short(token: &Token) -> String {
    match token {
        Token::Literal(value) => value.rsplit('/').nth(1).unwrap_or(value).to_owned(),
        Token::Ref { id, scope: Scope::Stack | Scope::Shared, .. } => id.clone(),
    }
}
