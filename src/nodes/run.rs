//! Runs the node controllers: one task that watches Nodes, asks the cloud and writes. I/O; decisions are in [`describe`] and [`lifecycle`].
//!
//! Invariants: machines are asked for in as few calls as the cloud allows, never one by one; every write is conditional on the Node's uid, and none starts
//! without the leader's permission; one Node that cannot be written delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use causeway_api::{CloudProvider, Fence, Found};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::describe::{self, Changes};
use super::lifecycle::{self, Step};
use super::view::NodeView;
use crate::engine::cluster::EventNote;
use crate::kube::events::Events;
use crate::kube::{chain, types};

/// Time for new Nodes to come together, so that many of them cost one question.
const GATHER: Duration = Duration::from_millis(100);
/// First wait after a Node could not be described; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest that one write takes.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// What runs, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `cloud-node`.
    pub describe: bool,
    /// `cloud-node-lifecycle`.
    pub lifecycle: bool,
    /// How often the cloud is asked for Nodes that are not Ready.
    pub monitor_period: Duration,
    /// How often addresses and labels of all Nodes are compared.
    pub update_frequency: Duration,
    /// Nodes written at once.
    pub concurrent: usize,
}

/// What is counted.
#[derive(Clone, Debug)]
pub struct Metrics {
    described: Counter,
    failed: Counter,
    deleted: Counter,
    delay: Histogram,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            described: Counter::default(),
            failed: Counter::default(),
            deleted: Counter::default(),
            delay: Histogram::new(exponential_buckets(0.25, 2.0, 12)),
        };
        registry.register(
            "node_initialized",
            "Nodes whose taint uninitialized was taken away",
            metrics.described.clone(),
        );
        registry.register(
            "node_sync_failures",
            "Nodes that could not be described, each try",
            metrics.failed.clone(),
        );
        registry.register(
            "node_deleted",
            "Nodes deleted because their machine is gone",
            metrics.deleted.clone(),
        );
        registry.register(
            "node_taint_removal_delay_seconds",
            "From a Node's creation to the end of its taint uninitialized",
            metrics.delay.clone(),
        );
        metrics
    }
}

/// What runs them.
#[allow(missing_debug_implementations, reason = "a client has none")]
pub struct Runner<P> {
    /// Who knows the machines.
    pub provider: Arc<P>,
    /// The API server.
    pub client: Client,
    /// Where Events go.
    pub events: Events,
    /// Settings.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Metrics,
}

/// A Node that could not be described.
struct Waiting {
    next: Instant,
    wait: Duration,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, NodeView>,
    /// Objects of a list that is being read.
    listed: BTreeMap<String, NodeView>,
    /// By uid: those that wait for another try.
    waiting: BTreeMap<String, Waiting>,
    /// uids of those whose machine was said to be gone once.
    suspects: BTreeSet<String>,
}

impl State {
    fn apply(&mut self, event: Event<types::Node>) {
        let mut put = |node: types::Node, into: fn(&mut Self) -> &mut BTreeMap<String, NodeView>| {
            let view = NodeView::from(node);
            into(self).insert(view.name.clone(), view);
        };
        match event {
            Event::Apply(node) => put(node, |state| &mut state.nodes),
            Event::InitApply(node) => put(node, |state| &mut state.listed),
            Event::Delete(node) => drop(self.nodes.remove(node.metadata.name.as_deref().unwrap_or_default())),
            Event::Init => self.listed.clear(),
            Event::InitDone => self.nodes = std::mem::take(&mut self.listed),
        }
        let there: BTreeSet<&str> = self.nodes.values().map(|node| node.uid.as_str()).collect();
        self.waiting.retain(|uid, _| there.contains(uid.as_str()));
        self.suspects.retain(|uid| there.contains(uid.as_str()));
    }

    /// Nodes that wait to be described, and when the first of them is due.
    fn uninitialized(&self) -> impl Iterator<Item = (&NodeView, Option<Instant>)> {
        let new = self.nodes.values().filter(|node| node.is_uninitialized() && !node.deleting);
        new.map(|node| (node, self.waiting.get(&node.uid).map(|waiting| waiting.next)))
    }
}

impl<P: CloudProvider> Runner<P> {
    /// Until `stop`.
    pub async fn run(self, fence: Fence, stop: CancellationToken) {
        let api: Api<types::Node> = Api::all(self.client.clone());
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut state = State::default();
        let (mut monitor, mut update) =
            (interval(self.settings.monitor_period), interval(self.settings.update_frequency));
        for timer in [&mut monitor, &mut update] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut gathered: Option<Instant> = None;
        loop {
            let due = state.uninitialized().map(|(_, next)| next).min().filter(|_| self.settings.describe);
            // One that was never tried is due when the others that came with it are there.
            let due =
                due.map(|next| next.unwrap_or_else(|| *gathered.get_or_insert(Instant::now() + GATHER)));
            let describing = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => match event {
                    Some(Ok(event)) => state.apply(event),
                    Some(Err(error)) => debug!("watch of Nodes: {}", chain(&error)),
                    None => return,
                },
                () = describing => {
                    gathered = None;
                    let now = Instant::now();
                    let due = state.uninitialized().filter(|(_, next)| next.is_none_or(|next| next <= now));
                    let due: Vec<NodeView> = due.map(|(node, _)| node.clone()).collect();
                    self.describe(due, &mut state, &fence).await;
                }
                _ = update.tick(), if self.settings.describe => {
                    let known = state.nodes.values().filter(|node| !node.is_uninitialized() && !node.deleting);
                    let known: Vec<NodeView> = known.filter(|node| !node.provider_id.is_empty()).cloned().collect();
                    self.describe(known, &mut state, &fence).await;
                }
                _ = monitor.tick(), if self.settings.lifecycle => self.monitor(&mut state, &fence).await,
            }
        }
    }

    /// Asks the cloud; nothing if there is nobody to ask for.
    async fn ask(&self, nodes: &[NodeView]) -> Result<Vec<Found>, String> {
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let references: Vec<_> = nodes.iter().map(NodeView::reference).collect();
        let found = self.provider.instances(&references).await.map_err(|error| error.to_string())?;
        if found.len() == nodes.len() {
            Ok(found)
        } else {
            Err("the cloud did not answer for each Node".to_owned())
        }
    }

    /// Brings Nodes to what their machines are.
    async fn describe(&self, nodes: Vec<NodeView>, state: &mut State, fence: &Fence) {
        let found = match self.ask(&nodes).await {
            Ok(found) => found,
            Err(why) => {
                warn!(nodes = nodes.len(), "machines of Nodes: {why}");
                nodes.iter().for_each(|node| self.again(node, state));
                return;
            }
        };
        let work = nodes.into_iter().zip(found).map(async |(node, found)| {
            let outcome = self.describe_one(&node, &found, fence).await;
            (node, outcome)
        });
        let outcomes: Vec<_> =
            futures::stream::iter(work).buffer_unordered(self.settings.concurrent.max(1)).collect().await;
        for (node, outcome) in outcomes {
            match outcome {
                Ok(written) => {
                    state.waiting.remove(&node.uid);
                    if let Some(written) = written {
                        state.nodes.insert(written.name.clone(), written);
                    }
                }
                Err(why) => {
                    warn!(node = node.name, "{why}");
                    self.again(&node, state);
                }
            }
        }
    }

    /// What the Node is after it was written, if it was.
    async fn describe_one(
        &self,
        node: &NodeView,
        found: &Found,
        fence: &Fence,
    ) -> Result<Option<NodeView>, String> {
        let instance = match found {
            Found::Instance(instance) => instance,
            // For the other controller to judge, which asks twice.
            Found::Gone if !node.is_uninitialized() => return Ok(None),
            Found::Gone => {
                let why = format!(
                    "the cloud knows no machine for Node {}{}: it stays uninitialized; check the Node's name, and that machine and controller are in \
                     one region and account",
                    node.name,
                    if node.provider_id.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", node.provider_id)
                    }
                );
                self.say(node, true, "InstanceNotFound", why.clone());
                return Err(why);
            }
            Found::Unknown(why) => {
                if node.is_uninitialized() {
                    self.say(node, true, "InstanceUnknown", why.clone());
                    return Err(why.clone());
                }
                return Ok(None);
            }
        };
        let Changes { status, object } = match describe::changes(node, instance) {
            Ok(changes) => changes,
            Err(problem) => {
                self.say(node, true, &problem.reason, problem.message.clone());
                return Err(problem.to_string());
            }
        };
        // The status is written unconditionally but for the uid: kubelets write it all the time, and never these addresses.
        let mut now = None;
        if let Some(patch) = status {
            now = Some(self.write(node, Part::Status, patch, fence).await?);
        }
        if let Some(mut patch) = object {
            if let Some(now) = &now {
                // Our own write has moved it on; anybody else's since then is what the condition is for.
                if now.taints != node.taints
                    || now.labels != node.labels
                    || now.provider_id != node.provider_id
                {
                    return Err("the Node has changed meanwhile".to_owned());
                }
                patch["metadata"]["resourceVersion"] = now.resource_version.as_str().into();
            }
            now = Some(self.write(node, Part::Object, patch, fence).await?);
        }
        if node.is_uninitialized() && now.as_ref().is_some_and(|now| !now.is_uninitialized()) {
            self.metrics.described.inc();
            if let Some(created) = node.created {
                let delay = Timestamp::now().as_second().saturating_sub(created).max(0);
                self.metrics.delay.observe(delay as f64);
            }
            info!(node = node.name, provider_id = instance.provider_id, "Node initialized");
            self.say(node, false, "Synced", "Node synced successfully".to_owned());
        }
        Ok(now)
    }

    fn again(&self, node: &NodeView, state: &mut State) {
        self.metrics.failed.inc();
        let wait =
            state.waiting.get(&node.uid).map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
        state.waiting.insert(node.uid.clone(), Waiting { next: Instant::now() + wait, wait });
    }

    /// Looks after Nodes whose machines may have stopped or ended.
    async fn monitor(&self, state: &mut State, fence: &Fence) {
        let back: Vec<NodeView> =
            state.nodes.values().filter(|node| lifecycle::is_back(node)).cloned().collect();
        for node in back {
            self.patch_taints(&node, false, state, fence).await;
        }
        let asked: Vec<NodeView> =
            state.nodes.values().filter(|node| lifecycle::in_question(node)).cloned().collect();
        let found = match self.ask(&asked).await {
            Ok(found) => found,
            Err(why) => {
                warn!(nodes = asked.len(), "machines of Nodes that are not Ready: {why}");
                return;
            }
        };
        let mut suspects = BTreeSet::new();
        for (node, found) in asked.into_iter().zip(found) {
            match lifecycle::step(&node, &found, state.suspects.contains(&node.uid)) {
                Step::Leave => {}
                Step::Suspect => drop(suspects.insert(node.uid)),
                Step::Taint => self.patch_taints(&node, true, state, fence).await,
                Step::Delete => {
                    if !self.delete(&node, fence).await {
                        suspects.insert(node.uid);
                    }
                }
            }
        }
        state.suspects = suspects;
    }

    async fn patch_taints(&self, node: &NodeView, shut_down: bool, state: &mut State, fence: &Fence) {
        match self.write(node, Part::Object, lifecycle::taints(node, shut_down), fence).await {
            Ok(now) => {
                info!(node = node.name, shut_down, "taint of shut-down machines");
                state.nodes.insert(now.name.clone(), now);
            }
            Err(why) => warn!(node = node.name, "taint of shut-down machines: {why}"),
        }
    }

    /// Whether it is gone.
    async fn delete(&self, node: &NodeView, fence: &Fence) -> bool {
        let name = &node.name;
        self.say(
            node,
            false,
            "DeletingNode",
            format!("Deleting node {name} because it does not exist in the cloud provider"),
        );
        let api: Api<types::Node> = Api::all(self.client.clone());
        let exactly = Preconditions { uid: Some(node.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        if let Err(error) = fence.check() {
            debug!(node = name, "{error}");
            return false;
        }
        // What the answer holds is of no interest: the object, or a Status.
        let why = match timeout(WRITE_TIME, api.delete(name, &params)).await {
            Ok(Ok(_)) => None,
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => Some(format!("no answer within {WRITE_TIME:?}")),
        };
        match why {
            None => {
                info!(node = name, provider_id = node.provider_id, "Node deleted: its machine is gone");
                self.metrics.deleted.inc();
                true
            }
            Some(why) => {
                self.say(
                    node,
                    true,
                    "DeletingNodeFailed",
                    format!("Node {name} could not be deleted: {why}"),
                );
                warn!(node = name, "Node could not be deleted: {why}");
                false
            }
        }
    }

    async fn write(
        &self,
        node: &NodeView,
        part: Part,
        patch: Value,
        fence: &Fence,
    ) -> Result<NodeView, String> {
        fence.check().map_err(|error| error.to_string())?;
        let api: Api<types::Node> = Api::all(self.client.clone());
        let params = PatchParams {
            field_manager: Some(causeway_api::names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let sent = async {
            match part {
                Part::Status => api.patch_status(&node.name, &params, &patch).await,
                Part::Object => api.patch(&node.name, &params, &patch).await,
            }
        };
        match timeout(WRITE_TIME, sent).await {
            Ok(Ok(node)) => Ok(NodeView::from(node)),
            Ok(Err(error)) => Err(crate::kube::client::explain(&error)),
            Err(_) => Err(format!("no answer within {WRITE_TIME:?}")),
        }
    }

    fn say(&self, node: &NodeView, warning: bool, reason: &str, message: String) {
        self.events.send(EventNote { object: node.object(), warning, reason: reason.to_owned(), message });
    }
}

/// What is written.
#[derive(Clone, Copy)]
enum Part {
    Status,
    Object,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, uid: &str) -> types::Node {
        let text = format!(
            "{{\"metadata\": {{\"name\": \"{name}\", \"uid\": \"{uid}\"}}, \"spec\": {{\"taints\": [{{\"key\": \"{}\", \"effect\": \"NoSchedule\"}}]}}}}",
            causeway_api::names::TAINT_UNINITIALIZED
        );
        serde_json::from_str(&text).expect("a Node")
    }

    #[test]
    fn a_new_list_replaces_what_was_known() {
        let mut state = State::default();
        state.apply(Event::Apply(node("a", "1")));
        state.apply(Event::Apply(node("b", "2")));
        state.waiting.insert("1".into(), Waiting { next: Instant::now(), wait: FIRST_WAIT });
        state.suspects.insert("1".into());
        state.apply(Event::Init);
        state.apply(Event::InitApply(node("b", "2")));
        assert_eq!(state.nodes.len(), 2, "until the list is whole");
        state.apply(Event::InitDone);
        assert_eq!(state.nodes.keys().collect::<Vec<_>>(), ["b"]);
        assert!(state.waiting.is_empty() && state.suspects.is_empty());
        state.apply(Event::Delete(node("b", "2")));
        assert!(state.nodes.is_empty());
    }

    #[test]
    fn a_node_of_the_same_name_is_another_one() {
        let mut state = State::default();
        state.apply(Event::Apply(node("a", "1")));
        state.suspects.insert("1".into());
        state.apply(Event::Apply(node("a", "2")));
        assert!(state.suspects.is_empty(), "suspicion goes with the uid");
        assert_eq!(state.uninitialized().count(), 1);
    }
}
