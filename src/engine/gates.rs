//! Readiness gates: Pods that are ready only when the target groups they belong to find them healthy. What a condition says is decided purely; reading the cloud
//! and writing the condition is I/O.
//!
//! - The cloud is asked only while a Pod waits, at first every [`SOONEST`], later every [`LATEST`]: one call for each target group that is to have such a Pod. Open gates cost nothing.
//! - The condition itself is the memory: it is False whenever the Pod's containers are not ready, and True once every target group had it as healthy. So a new
//!   controller goes on where the old one ended, and a Pod that was restarted waits again.
//! - A Pod that is no target of ours waits for nobody: its gates open at once. The same holds when the last of its target groups goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use causeway_api::{CloudProvider, Condition, Fence, LbKey, TargetState};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::cluster::{Cluster, Written};
use super::{Engine, lock};
use crate::state::index::GatedPod;
use crate::state::records::PodRecord;

/// How often a load balancer is asked about Pods that wait: at first, and at last.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(60);
/// Shortest time between two questions about one load balancer, when further Pods come to wait.
const GATHER: Duration = Duration::from_secs(2);
/// How long changes are gathered.
const SETTLE: Duration = Duration::from_millis(200);
/// How soon it is looked again at what the watches have yet to tell.
const BEHIND: Duration = Duration::from_secs(1);

/// What is known of one load balancer with Pods that wait.
#[derive(Debug)]
struct Waiting {
    /// Since when these wait.
    since: Duration,
    pods: BTreeSet<IpAddr>,
    asked: Option<Duration>,
}

impl Waiting {
    /// When to ask (again).
    fn due(&self, pods: &BTreeSet<IpAddr>) -> Duration {
        let Some(asked) = self.asked else { return Duration::ZERO };
        if !pods.is_subset(&self.pods) {
            return asked + GATHER;
        }
        asked + (asked.saturating_sub(self.since) / 6).clamp(SOONEST, LATEST)
    }
}

/// What the loop remembers.
#[derive(Debug, Default)]
pub(super) struct Gates {
    waiting: BTreeMap<LbKey, Waiting>,
    /// What was written last to a Pod, and the resourceVersion that it had then: the watch lags behind our own writes.
    written: HashMap<String, (String, Vec<Condition>)>,
}

/// Why the gate of a Pod is open that no target group is to have.
const NO_TARGET: &str = "NoTargetGroup";
/// Why it is shut while the Pod's own containers are not ready.
const CONTAINERS: &str = "ContainersNotReady";
/// Why it is open where it shall be.
const HEALTHY: &str = "Healthy";

/// What the gates of a Pod shall say, by what its target groups say of its addresses.
fn judge(pod: &PodRecord, states: &[TargetState]) -> Vec<Condition> {
    let shut: Vec<&TargetState> = states.iter().filter(|s| !s.ready).collect();
    let (status, reason, message) = match (states, &shut[..]) {
        ([], _) => (true, NO_TARGET.to_owned(), "No target group has this Pod as a target.".to_owned()),
        (_, []) => {
            let groups: BTreeSet<&str> = states.iter().map(|s| s.group.as_str()).collect();
            let groups = groups.into_iter().collect::<Vec<_>>().join(", ");
            (true, HEALTHY.to_owned(), format!("Healthy in {groups}."))
        }
        (_, [first, ..]) => {
            let all = shut.iter().map(|s| match s.message.as_str() {
                "" => format!("{}: {}", s.group, s.reason),
                text => format!("{}: {text}", s.group),
            });
            (
                false,
                first.reason.clone(),
                all.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("; "),
            )
        }
    };
    conditions(pod, status, &reason, &message)
}

/// The same for every gate of a Pod.
fn conditions(pod: &PodRecord, status: bool, reason: &str, message: &str) -> Vec<Condition> {
    let one = |kind: &String| Condition {
        kind: kind.clone(),
        status,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    pod.gates.keys().map(one).collect()
}

/// A Pod whose containers are not ready takes no traffic, whatever was said of it before.
fn shuts(pod: &PodRecord) -> Option<Vec<Condition>> {
    let open = pod.gates.values().flatten().any(|c| c.status);
    (!pod.containers_ready && !pod.deleting && open).then(|| {
        conditions(pod, false, CONTAINERS, "A container of the Pod is not ready, so it is no target.")
    })
}

impl<P: CloudProvider, C: Cluster> Engine<P, C> {
    /// Opens and shuts gates until `stop`.
    pub(super) async fn gates(&self, fence: &Fence, stop: &CancellationToken) {
        let mut gates = Gates::default();
        loop {
            let next = self.round(&mut gates, fence).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.pods_changed.notified() => {}
                () = tokio::time::sleep(next) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SETTLE) => {}
            }
        }
    }

    /// One look at all Pods with gates; answers how long nothing need be done.
    async fn round(&self, gates: &mut Gates, fence: &Fence) -> Duration {
        const NOTHING: Duration = Duration::from_secs(3600);
        if self.config.dry_run || self.config.paused {
            return NOTHING;
        }
        let pods = lock(&self.index).gated();
        gates.written.retain(|uid, _| pods.iter().any(|p| p.pod.uid == *uid));
        for shut in pods.iter().filter_map(|p| Some((&p.pod, shuts(&p.pod)?))) {
            self.write_gates(gates, shut.0, shut.1, fence).await;
        }
        let waiting: Vec<&GatedPod> = pods.iter().filter(|p| p.pod.waits()).collect();
        let mut next = if waiting.iter().any(|p| p.keys.is_none()) { BEHIND } else { NOTHING };
        let mut asking: BTreeMap<LbKey, BTreeSet<IpAddr>> = BTreeMap::new();
        for pod in &waiting {
            for key in pod.keys.iter().flatten() {
                asking.entry(key.clone()).or_default().extend(&pod.addresses);
            }
        }
        let now = self.now();
        gates.waiting.retain(|key, _| asking.contains_key(key));
        for (key, pods) in &asking {
            let known = gates.waiting.entry(key.clone());
            let known = known.or_insert_with(|| Waiting { since: now, pods: BTreeSet::new(), asked: None });
            if !pods.is_subset(&known.pods) {
                known.since = now;
            }
        }
        // Of a Pod with several load balancers all are asked at once.
        let due = |key: &LbKey| gates.waiting.get(key).is_none_or(|w| w.due(&asking[key]) <= now);
        let judged = waiting
            .into_iter()
            .filter(|p| p.keys.as_ref().is_some_and(|k| k.is_empty() || k.iter().any(due)));
        let judged: Vec<&GatedPod> = judged.collect();
        let keys: BTreeSet<&LbKey> = judged.iter().flat_map(|p| p.keys.iter().flatten()).collect();
        let mut answers = BTreeMap::new();
        for key in keys {
            let pods = &asking[key];
            if let Some(known) = gates.waiting.get_mut(key) {
                (known.asked, known.pods) = (Some(now), pods.clone());
            }
            match self.ask(key, pods).await {
                Ok(states) => drop(answers.insert(key, states)),
                Err(error) => debug!(%key, %error, "how its targets are will be asked again"),
            }
        }
        for waits in judged {
            let Some(keys) = &waits.keys else { continue };
            if !keys.iter().all(|key| answers.contains_key(key)) {
                continue;
            }
            let of_pod = |states: &BTreeMap<IpAddr, Vec<TargetState>>| {
                waits.addresses.iter().filter_map(|a| states.get(a)).flatten().cloned().collect::<Vec<_>>()
            };
            let states: Vec<TargetState> = keys.iter().flat_map(|key| of_pod(&answers[key])).collect();
            self.write_gates(gates, &waits.pod, judge(&waits.pod, &states), fence).await;
        }
        let now = self.now();
        for (key, known) in &gates.waiting {
            next = next.min(known.due(&asking[key]).saturating_sub(now));
        }
        next
    }

    /// How a load balancer sees Pods.
    async fn ask(
        &self,
        key: &LbKey,
        pods: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Vec<TargetState>>, causeway_api::CloudError> {
        let snapshot = lock(&self.index).snapshot(key);
        let facts = std::sync::Arc::clone(&lock(&self.facts).facts);
        let (stack, _) = self.provider.desired(&snapshot.lb, &facts);
        self.provider.target_states(&stack, pods).await
    }

    /// Writes what differs.
    async fn write_gates(&self, gates: &mut Gates, pod: &PodRecord, want: Vec<Condition>, fence: &Fence) {
        let same = want.iter().all(|c| pod.gates.get(&c.kind).and_then(Option::as_ref) == Some(c));
        let told = gates.written.get(&pod.uid).is_some_and(|(at, said)| *at == pod.version && *said == want);
        if same || told || fence.check().is_err() {
            return;
        }
        let path = format!("{}/{}", pod.path.namespace, pod.path.name);
        match self.cluster.write_gates(pod, &want).await {
            Ok(Written::Written(_) | Written::Unchanged) => {
                if let Some(condition) = want.first() {
                    info!(pod = path, open = condition.status, reason = condition.reason, "readiness gate");
                }
                gates.written.insert(pod.uid.clone(), (pod.version.clone(), want));
            }
            // Another of the same name: the watch will tell.
            Ok(Written::Conflict | Written::Gone) => {}
            Err(error) => warn!(pod = path, %error, "its readiness gate cannot be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::TargetState;

    use super::*;
    use crate::state::records::Path;

    fn pod(gates: &[(&str, Option<bool>)]) -> PodRecord {
        let condition = |(kind, status): &(&str, Option<bool>)| {
            let status = status.map(|status| Condition {
                kind: (*kind).to_owned(),
                status,
                reason: String::new(),
                message: String::new(),
            });
            ((*kind).to_owned(), status)
        };
        PodRecord {
            path: Path { namespace: "ns".to_owned(), name: "p".to_owned() },
            uid: "1".to_owned(),
            version: "1".to_owned(),
            deleting: false,
            labels: Default::default(),
            containers_ready: true,
            gates: gates.iter().map(condition).collect(),
        }
    }

    fn state(group: &str, ready: bool, reason: &str, message: &str) -> TargetState {
        TargetState { group: group.into(), ready, reason: reason.into(), message: message.into() }
    }

    #[test]
    fn every_gate_waits_for_every_target_group() {
        let pod = pod(&[("a/one", None), ("a/two", Some(false))]);
        let said = judge(
            &pod,
            &[
                state("web", true, "", ""),
                state("tls", false, "Target.FailedHealthChecks", "Health checks failed"),
                state("udp", false, "Target.NotRegistered", ""),
            ],
        );
        assert_eq!(said.len(), 2);
        for (condition, kind) in said.iter().zip(["a/one", "a/two"]) {
            assert_eq!((condition.kind.as_str(), condition.status), (kind, false));
            assert_eq!(condition.reason, "Target.FailedHealthChecks");
            assert_eq!(condition.message, "tls: Health checks failed; udp: Target.NotRegistered");
        }
        let said = judge(&pod, &[state("web", true, "", ""), state("tls", true, "", "")]);
        assert!(said.iter().all(|c| c.status && c.reason == HEALTHY), "{said:?}");
        assert_eq!(said[0].message, "Healthy in tls, web.");
        assert!(judge(&pod, &[]).iter().all(|c| c.status && c.reason == NO_TARGET));
    }

    #[test]
    fn a_pod_that_is_restarted_waits_again() {
        let mut pod = pod(&[("a/one", Some(true))]);
        assert_eq!(shuts(&pod), None);
        pod.containers_ready = false;
        assert!(shuts(&pod).is_some_and(|c| !c[0].status && c[0].reason == CONTAINERS));
        pod.deleting = true;
        assert_eq!(shuts(&pod), None, "its targets are leaving already");
    }

    #[test]
    fn the_longer_pods_wait_the_fewer_questions() {
        let seconds = Duration::from_secs;
        let pods: BTreeSet<IpAddr> = ["10.0.0.1".parse().expect("an address")].into();
        let at = |asked: u64| Waiting { since: seconds(0), pods: pods.clone(), asked: Some(seconds(asked)) };
        assert_eq!(at(0).due(&pods), seconds(10));
        assert_eq!(at(60).due(&pods), seconds(70));
        assert_eq!(at(180).due(&pods), seconds(210));
        assert_eq!(at(3600).due(&pods), seconds(3660));
        let more = ["10.0.0.1", "10.0.0.2"].iter().map(|a| a.parse().expect("an address")).collect();
        assert_eq!(at(3600).due(&more), seconds(3602), "another Pod came");
    }
}
