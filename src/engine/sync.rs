//! One sync of one load balancer: from a snapshot to the cloud and to the status of its members.
//!
//! Order of writes: finalizer, then the cloud, then the status; on the way out the cloud, then the finalizer. Where the status is the
//! commit itself (bare metal), finalizer and status go in one write. A crash between any two is picked up by the next sync.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_api::{
    CloudError, CloudProvider, Condition, Fence, IngressPoint, LbKey, MemberStatus, ObjectRef, Outcome,
    PlannedChange, Problem, Severity, Verb, names,
};
use tracing::{debug, error, info, warn};

use super::cluster::{Cluster, ClusterError, Wanted, Written};
use super::ledger::Entry;
use super::lint::lint;
use super::metrics::{ByResult, ByVerb};
use super::queue::{Cause, Verdict};
use super::{Engine, lock};
use crate::state::index::{MemberState, Record, Snapshot};

/// How often a plan may be followed by another in one sync: what is planned for is reached in one, a second one shows that it was; more
/// means that the cloud moves under us.
const MAX_ROUNDS: usize = 4;

/// Reason of the Ready condition while the cloud works.
const PROVISIONING: &str = "Provisioning";
/// Reason of the Ready condition once served.
const SERVING: &str = "Serving";

/// What the cloud part of a sync came to.
struct Converged {
    statuses: Vec<MemberStatus>,
    problems: Vec<Problem>,
    /// Something was created or changed, other than targets.
    changed: bool,
    /// Something was taken away: what others wait for may be free now.
    freed: bool,
}

/// Resource versions that our own writes of this sync moved.
type Versions = BTreeMap<ObjectRef, String>;

impl<P: CloudProvider, C: Cluster> Engine<P, C> {
    /// Brings one load balancer, and the status of its members, to what is wanted.
    pub(super) async fn sync(&self, key: &LbKey, cause: Cause, fence: &Fence) -> Verdict {
        let snapshot = lock(&self.index).snapshot(key);
        if self.config.paused || snapshot.members.iter().any(|m| m.paused) {
            return Verdict::Done;
        }
        if snapshot.members.is_empty()
            && snapshot.lb.members.is_empty()
            && !self.may_remove_without_members(key).await
        {
            return Verdict::Done;
        }
        let mut versions = Versions::new();
        match self.converge(key, cause, &snapshot, &mut versions, fence).await {
            Ok(converged) => {
                let verdict = self.finish(key, &snapshot, &converged, &versions, fence).await;
                if verdict == Verdict::Done && !self.config.dry_run {
                    let mut hopeful = self.provider.settled(key);
                    if converged.freed {
                        hopeful.extend(lock(&self.ledger).troubled());
                    }
                    hopeful.retain(|k| k != key);
                    // Neither their inputs nor the facts changed, yet the answer may.
                    for waiting in &hopeful {
                        lock(&self.ledger).distrust(waiting);
                    }
                    self.push(hopeful.into_iter().map(|k| (k, Cause::Facts)));
                }
                if converged.changed || converged.freed {
                    self.own_dirty.notify_one();
                }
                self.count(match verdict {
                    Verdict::Done => "done",
                    Verdict::After(_) => "pending",
                    Verdict::Backoff => "transient",
                    Verdict::Invalid => "invalid",
                });
                verdict
            }
            Err(error) => {
                self.count(error.class());
                self.failed(key, &snapshot, error, &versions, fence).await
            }
        }
    }

    fn count(&self, result: &str) {
        self.metrics.results.get_or_create(&ByResult { result: result.to_owned() }).inc();
    }

    /// A key whose objects are all gone without having waited for us (finalizer removed by force): the orphan rules decide, except
    /// where deleting costs nobody anything.
    async fn may_remove_without_members(&self, key: &LbKey) -> bool {
        if !lock(&self.ledger).knows(key) && !lock(&self.orphans_to_remove).contains(key) {
            return false;
        }
        self.provider.capabilities().orphan_grace.is_zero() || lock(&self.orphans_to_remove).contains(key)
    }

    /// The cloud part.
    async fn converge(
        &self,
        key: &LbKey,
        cause: Cause,
        snapshot: &Snapshot,
        versions: &mut Versions,
        fence: &Fence,
    ) -> Result<Converged, CloudError> {
        let (facts_version, facts) = {
            let facts = lock(&self.facts);
            (facts.version, std::sync::Arc::clone(&facts.facts))
        };
        let wanted = !snapshot.lb.members.is_empty();
        if wanted
            && !matches!(cause, Cause::Retry)
            && let Some(entry) = lock(&self.ledger).current(key, snapshot.inputs, facts_version)
        {
            return Ok(Converged {
                statuses: entry.statuses.clone(),
                problems: entry.problems.clone(),
                changed: false,
                freed: false,
            });
        }
        let (stack, stack_problems) = self.provider.desired(&snapshot.lb, &facts);
        let mut problems = snapshot.problems.clone();
        problems.extend(stack_problems);
        if wanted && self.provider.wants().nodes && snapshot.lb.nodes.nodes.is_empty() {
            problems.extend(snapshot.lb.members.iter().map(|m| no_nodes(&m.object)));
        }
        let (mut changed, mut freed) = (false, false);
        for round in 0.. {
            let observed = self.provider.observe(key).await?;
            let plan = self.provider.plan(&stack, &observed);
            let dry = self.config.dry_run && !plan.is_empty();
            if dry {
                for change in &plan.changes {
                    info!(%key, "would {}", change.info().summary);
                }
            }
            if plan.is_empty() || dry {
                let statuses = self.provider.status(&stack, &observed);
                problems.extend(plan.problems);
                problems.extend(statuses.iter().flat_map(|s| s.problems.clone()));
                problems.sort();
                problems.dedup();
                if !dry {
                    let entry = Entry {
                        inputs: snapshot.inputs,
                        facts: facts_version,
                        statuses: statuses.clone(),
                        problems: problems.clone(),
                    };
                    lock(&self.ledger).record(key, entry);
                }
                return Ok(Converged { statuses, problems, changed, freed });
            }
            if round >= MAX_ROUNDS {
                return Err(CloudError::Conflict(format!(
                    "still {} changes to make after {round} plans",
                    plan.changes.len()
                )));
            }
            let infos: Vec<_> = plan.changes.iter().map(PlannedChange::info).collect();
            let violations = lint(&infos, plan.context);
            if !violations.is_empty() {
                return Err(self.refused(key, snapshot, &violations));
            }
            if round == 0 && !self.provider.capabilities().status_is_commit {
                self.finalizers_first(snapshot, versions, fence).await?;
            }
            for (change, info) in plan.changes.iter().zip(&infos) {
                fence.check()?;
                debug!(%key, "{}", info.summary);
                let outcome = self.provider.apply(change, fence).await.inspect_err(|_| {
                    lock(&self.ledger).distrust(key);
                })?;
                self.metrics.changes.get_or_create(&ByVerb { verb: verb(&info.verb).to_owned() }).inc();
                if info.verb == Verb::Adopt {
                    for member in &snapshot.members {
                        self.note(&member.record.object(), names::events::ADOPTED, info.summary.clone());
                    }
                }
                changed |= !matches!(info.verb, Verb::Register | Verb::Deregister);
                freed |= matches!(info.verb, Verb::Delete | Verb::Replace { .. } | Verb::Deregister);
                if let Outcome::Pending(after) = outcome {
                    lock(&self.ledger).distrust(key);
                    return Err(CloudError::Pending(after));
                }
            }
        }
        unreachable!("the loop above has no end but its returns")
    }

    fn refused(&self, key: &LbKey, snapshot: &Snapshot, violations: &[super::lint::Violation]) -> CloudError {
        self.metrics.refused_plans.inc();
        let text = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        error!(%key, "plan refused: {text}");
        let object = match snapshot.members.first() {
            Some(member) => member.record.object(),
            None => ObjectRef::service("", key.id(), ""),
        };
        CloudError::Invalid(Box::new(Problem::error(
            object,
            "",
            "PlanRefused",
            format!(
                "the plan was not applied because it could do harm: {text}. Please report this with the output of `causeway plan`."
            ),
        )))
    }

    /// The finalizer is there before the first write to the cloud (KEP-1959).
    async fn finalizers_first(
        &self,
        snapshot: &Snapshot,
        versions: &mut Versions,
        fence: &Fence,
    ) -> Result<(), CloudError> {
        for member in snapshot.members.iter().filter(|m| m.wanted && !m.record.has_finalizer()) {
            fence.check()?;
            let want = Wanted { finalizer: Some(true), ..Wanted::default() };
            match self.cluster.write(&member.record, &want).await.map_err(kubernetes_error)? {
                Written::Written(version) => {
                    versions.insert(member.record.object(), version);
                }
                Written::Unchanged => {}
                Written::Conflict | Written::Gone => {
                    return Err(CloudError::Conflict(format!(
                        "{} changed meanwhile",
                        member.record.object()
                    )));
                }
            }
            self.note(&member.record.object(), names::events::ENSURING, "Ensuring load balancer");
        }
        Ok(())
    }

    /// Status of the wanted members, farewell to the leaving ones.
    async fn finish(
        &self,
        key: &LbKey,
        snapshot: &Snapshot,
        converged: &Converged,
        versions: &Versions,
        fence: &Fence,
    ) -> Verdict {
        self.tell(key, snapshot, &converged.problems);
        let mut verdict = Verdict::Done;
        for member in &snapshot.members {
            if fence.check().is_err() {
                // Not done: what was not written must not count as written.
                return Verdict::Backoff;
            }
            let object = member.record.object();
            let written = if member.wanted {
                let Some(status) = converged.statuses.iter().find(|s| s.object == object) else { continue };
                self.write_status(member, status, &converged.problems, versions).await
            } else {
                self.farewell(member, converged.freed || converged.changed).await
            };
            match written {
                Ok(Written::Conflict) => verdict = Verdict::After(Duration::from_millis(200)),
                Ok(_) => {}
                Err(error) => {
                    warn!(%object, %error, "its status cannot be written");
                    // A right that is missing is granted without a change that we would see: so that is tried again too.
                    verdict = match error {
                        ClusterError::Transient(_) | ClusterError::Forbidden { .. } => Verdict::Backoff,
                        ClusterError::Rejected(_) => Verdict::Invalid,
                    };
                    if !matches!(error, ClusterError::Transient(_)) {
                        // No condition can say it, since that is what cannot be written; Events have a right of their own.
                        let text =
                            format!("Error syncing load balancer: its status cannot be written: {error}");
                        self.warn(&Problem::error(object, "", names::events::SYNC_FAILED, text));
                    }
                }
            }
        }
        if snapshot.members.iter().all(|m| !m.wanted) && verdict == Verdict::Done {
            lock(&self.ledger).remove(key);
            lock(&self.orphans_to_remove).remove(key);
        }
        verdict
    }

    async fn write_status(
        &self,
        member: &MemberState,
        status: &MemberStatus,
        problems: &[Problem],
        versions: &Versions,
    ) -> Result<Written, ClusterError> {
        let object = member.record.object();
        let mut conditions = status.conditions.clone();
        let mut remove = Vec::new();
        if matches!(member.record, Record::Service(_)) {
            conditions.push(ready(&object, status, problems));
            remove = member.record.own_conditions();
            remove.retain(|kind| !conditions.iter().any(|c| c.kind == *kind));
        }
        let want = Wanted {
            finalizer: Some(true),
            ingress: status.ingress.clone(),
            conditions,
            remove_conditions: remove,
            annotations: status.annotations.clone(),
            remove_finalizers: status.peer_finalizers.clone(),
            observed: match &member.record {
                Record::Own(own) => Some(own.generation),
                Record::Service(_) | Record::Ingress(_) => None,
            },
        };
        if self.config.dry_run {
            return Ok(Written::Unchanged);
        }
        let record = at_version(&member.record, versions);
        let written = self.cluster.write(&record, &want).await?;
        if matches!(written, Written::Written(_))
            && status.ingress.as_ref().is_some_and(|i| *i != current(&member.record))
        {
            for note in &status.notes {
                self.note(&object, &note.reason, note.message.clone());
            }
            if status.ingress.as_ref().is_some_and(|i| !i.is_empty()) {
                self.note(&object, names::events::ENSURED, "Ensured load balancer");
            }
        }
        Ok(written)
    }

    /// Nothing of it is left in the cloud: our finalizer goes, and what we had written on an object that stays.
    async fn farewell(&self, member: &MemberState, deleted: bool) -> Result<Written, ClusterError> {
        let object = member.record.object();
        let want = Wanted::farewell(&member.record, self.provider.own_annotations());
        if self.config.dry_run {
            return Ok(Written::Unchanged);
        }
        let written = self.cluster.write(&member.record, &want).await?;
        if deleted && matches!(written, Written::Written(_)) {
            self.note(&object, names::events::DELETED, "Deleted load balancer");
        }
        Ok(written)
    }

    /// Problems become Events, once each; one that the object's condition says already (before a restart) is not said again.
    fn tell(&self, key: &LbKey, snapshot: &Snapshot, problems: &[Problem]) {
        for problem in lock(&self.ledger).tell(key, problems) {
            self.news.store(true, std::sync::atomic::Ordering::Relaxed);
            let said = snapshot.members.iter().filter(|m| m.record.object() == problem.object).any(|m| {
                match &m.record {
                    Record::Service(s) => {
                        s.conditions.iter().any(|c| !c.status && c.message.contains(&problem.message))
                    }
                    Record::Ingress(_) | Record::Own(_) => false,
                }
            });
            if !said {
                info!(object = %problem.object, field = problem.field, reason = problem.reason, "{}", problem.message);
                self.warn(&problem);
            }
        }
    }

    /// A sync that could not end: say so where the user looks, and decide when to try again.
    async fn failed(
        &self,
        key: &LbKey,
        snapshot: &Snapshot,
        error: CloudError,
        versions: &Versions,
        fence: &Fence,
    ) -> Verdict {
        let leaving = snapshot.lb.members.is_empty();
        let event = if leaving { names::events::DELETE_FAILED } else { names::events::SYNC_FAILED };
        let doing = if leaving { "deleting" } else { "syncing" };
        let (verdict, said) = match error {
            // Not done: after a crashed leader the fence opens only when that one's last write must have ended.
            CloudError::Fenced => return Verdict::After(Duration::from_secs(1)),
            CloudError::Throttled(after) | CloudError::Pending(after) => (Verdict::After(after), None),
            CloudError::Conflict(why) => {
                debug!(%key, why, "conflict");
                (Verdict::Backoff, None)
            }
            CloudError::Invalid(problem) => (Verdict::Invalid, Some(*problem)),
            CloudError::Quota { limit, message } => {
                let text = format!("Error {doing} load balancer: quota {limit} is used up: {message}");
                (Verdict::Invalid, self.about_all(snapshot, "spec", "QuotaExceeded", &text))
            }
            CloudError::Transient(why) => {
                warn!(%key, why, "{doing} failed, will be tried again");
                (
                    Verdict::Backoff,
                    self.about_all(snapshot, "", event, &format!("Error {doing} load balancer: {why}")),
                )
            }
        };
        let problems: Vec<Problem> = said.into_iter().collect();
        self.tell(key, snapshot, &problems);
        self.say_pending(snapshot, &problems, versions, fence).await;
        verdict
    }

    fn about_all(&self, snapshot: &Snapshot, field: &str, reason: &str, message: &str) -> Option<Problem> {
        let object = snapshot.members.first()?.record.object();
        Some(Problem::error(object, field, reason, message))
    }

    /// The Ready condition of members that are not served yet, with the reason. A member that is served keeps what it has.
    async fn say_pending(
        &self,
        snapshot: &Snapshot,
        problems: &[Problem],
        versions: &Versions,
        fence: &Fence,
    ) {
        if self.config.dry_run || problems.is_empty() {
            return;
        }
        for member in snapshot.members.iter().filter(|m| m.wanted) {
            let Record::Service(service) = &member.record else { continue };
            if !service.ingress.is_empty() || fence.check().is_err() {
                continue;
            }
            let object = service.object();
            let status = MemberStatus {
                object: object.clone(),
                ingress: None,
                conditions: vec![],
                annotations: BTreeMap::new(),
                peer_finalizers: Vec::new(),
                problems: vec![],
                notes: vec![],
            };
            let mine: Vec<Problem> =
                problems.iter().map(|p| Problem { object: object.clone(), ..p.clone() }).collect();
            let want = Wanted { conditions: vec![ready(&object, &status, &mine)], ..Wanted::default() };
            if let Err(error) = self.cluster.write(&at_version(&member.record, versions), &want).await {
                warn!(%object, %error, "its condition cannot be written");
            }
        }
    }
}

/// The condition that says whether a Service is served.
fn ready(object: &ObjectRef, status: &MemberStatus, problems: &[Problem]) -> Condition {
    let mine: Vec<&Problem> =
        problems.iter().filter(|p| p.object == *object && p.severity == Severity::Error).collect();
    let (ok, reason, message) = match (mine.first(), &status.ingress) {
        (Some(first), _) => {
            let text = |p: &Problem| {
                if p.field.is_empty() { p.message.clone() } else { format!("{}: {}", p.field, p.message) }
            };
            (false, first.reason.clone(), mine.iter().map(|p| text(p)).collect::<Vec<_>>().join("; "))
        }
        (None, Some(ingress)) if !ingress.is_empty() => {
            (true, SERVING.to_owned(), "The load balancer serves this Service.".to_owned())
        }
        (None, _) => (
            false,
            PROVISIONING.to_owned(),
            "The load balancer is being made; no action is needed.".to_owned(),
        ),
    };
    Condition { kind: names::CONDITION_READY.to_owned(), status: ok, reason, message }
}

fn no_nodes(object: &ObjectRef) -> Problem {
    Problem::warning(
        object.clone(),
        "",
        names::events::UNAVAILABLE,
        "There are no available nodes for LoadBalancer: every node is being deleted or is labelled node.kubernetes.io/exclude-from-external-load-balancers.",
    )
}

fn current(record: &Record) -> Vec<IngressPoint> {
    match record {
        Record::Service(s) => s.ingress.clone(),
        Record::Ingress(i) => i.ingress.clone(),
        Record::Own(_) => Vec::new(),
    }
}

/// The record with the resourceVersion that our own write of this sync gave it.
fn at_version(record: &Record, versions: &Versions) -> Record {
    let Some(version) = versions.get(&record.object()) else { return record.clone() };
    match record {
        Record::Service(s) => {
            let mut s = (**s).clone();
            s.meta.resource_version.clone_from(version);
            if !s.meta.finalizers.iter().any(|f| f == names::FINALIZER) {
                s.meta.finalizers.push(names::FINALIZER.to_owned());
            }
            Record::Service(std::sync::Arc::new(s))
        }
        Record::Ingress(i) => {
            let mut i = (**i).clone();
            i.meta.resource_version.clone_from(version);
            if !i.meta.finalizers.iter().any(|f| f == names::INGRESS_FINALIZER) {
                i.meta.finalizers.push(names::INGRESS_FINALIZER.to_owned());
            }
            Record::Ingress(std::sync::Arc::new(i))
        }
        Record::Own(o) => {
            let mut o = (**o).clone();
            o.meta.resource_version.clone_from(version);
            if !o.meta.finalizers.iter().any(|f| f == names::INGRESS_FINALIZER) {
                o.meta.finalizers.push(names::INGRESS_FINALIZER.to_owned());
            }
            Record::Own(std::sync::Arc::new(o))
        }
    }
}

fn kubernetes_error(error: ClusterError) -> CloudError {
    CloudError::Transient(error.to_string())
}

fn verb(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Delete => "delete",
        Verb::Replace { .. } => "replace",
        Verb::Register => "register",
        Verb::Deregister => "deregister",
        Verb::Adopt => "adopt",
        Verb::MarkDirty => "mark-dirty",
        Verb::MarkApplied => "mark-applied",
    }
}
