//! Whether MetalLB runs in this cluster: `--coexist=metallb` is silent while it does. I/O; what counts as MetalLB is pure.
//!
//! Its Pods are looked for in the namespace of the configuration, for MetalLB reads its own objects from the namespace that it runs in. While
//! the API server is away, what was seen last stays: nothing starts to speak because nobody can be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::info;

use super::peer::{Presence, cannot_be_seen};
use super::types::Pod;
use super::watch::WATCH_SECONDS;

/// What of MetalLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Pod that allocates addresses.
    Controller,
    /// The Pods that announce them.
    Speaker,
}

impl Part {
    /// The value of MetalLB's label for it.
    #[must_use]
    pub fn component(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Speaker => "speaker",
        }
    }
}

/// Whether labels are those of a Pod of MetalLB's: of its manifests, or of its chart, whose `nameOverride` changes all but the component. Our own
/// Pods may run in the same namespace.
fn is_part(labels: &BTreeMap<String, String>, part: Part) -> bool {
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|v| v == value);
    let component = part.component();
    is("app", "metallb") && is("component", component)
        || is("app.kubernetes.io/component", component)
            && !is("app.kubernetes.io/name", "causeway")
            && !is("app.kubernetes.io/part-of", "causeway")
}

/// Whether a Pod is ready. One that is being deleted still works until its containers have ended, and is ready until then.
fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|c| c.kind.as_deref() == Some("Ready") && c.status.as_deref() == Some("True"))
}

fn counts(pod: &Pod, part: Part) -> bool {
    ready(pod) && pod.meta().labels.as_ref().is_some_and(|labels| is_part(labels, part))
}

/// The nodes on which a part of MetalLB is ready now, by one list.
///
/// # Errors
/// What the API server answered.
pub async fn nodes(client: &Client, namespace: &str, part: Part) -> Result<BTreeSet<String>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = pods.list(&ListParams::default()).await?;
    Ok(list.items.into_iter().filter(|pod| counts(pod, part)).filter_map(|pod| pod.spec.node_name).collect())
}

/// Follows a part of MetalLB for as long as somebody listens.
#[must_use]
pub fn follow(client: Client, namespace: String, part: Part) -> watch::Receiver<Presence> {
    let (tx, rx) = watch::channel(Presence::Unknown(None));
    tokio::spawn(async move {
        tokio::select! {
            () = tx.closed() => {}
            () = watch_pods(client, &namespace, part, &tx) => {}
        }
    });
    rx
}

async fn watch_pods(client: Client, namespace: &str, part: Part, out: &watch::Sender<Presence>) {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let mut events = pin!(watcher(pods, watcher::Config::default().timeout(WATCH_SECONDS)));
    let mut running = BTreeSet::new();
    // A list is complete only at its end: before it, nothing of it counts.
    let mut listed = BTreeSet::new();
    let mut wait = Duration::from_millis(250);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(pod)) => {
                if counts(&pod, part) {
                    listed.insert(pod.name_any());
                }
                continue;
            }
            Ok(Event::InitDone) => running = std::mem::take(&mut listed),
            Ok(Event::Apply(pod)) => {
                if counts(&pod, part) {
                    running.insert(pod.name_any());
                } else {
                    running.remove(&pod.name_any());
                }
            }
            Ok(Event::Delete(pod)) => {
                running.remove(&pod.name_any());
            }
            Err(error) => {
                let message = format!(
                    "whether MetalLB runs cannot be seen: pods in namespace {namespace}: {}",
                    super::chain(&error)
                );
                cannot_be_seen(out, message);
                sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(10));
                continue;
            }
        }
        wait = Duration::from_millis(250);
        let new = if running.is_empty() {
            Presence::Gone
        } else {
            Presence::Runs(running.iter().cloned().collect())
        };
        out.send_if_modified(|presence| {
            if *presence == new {
                return false;
            }
            match &new {
                Presence::Runs(pods) if !matches!(presence, Presence::Runs(_)) => {
                    info!(part = part.component(), ?pods, "MetalLB runs: its part is left to it");
                }
                Presence::Gone => info!(part = part.component(), "MetalLB does not run: taking over"),
                _ => {}
            }
            *presence = new;
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn pod(labels: &[(&str, &str)], ready: &str) -> Pod {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": labels},
            "status": {"conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]},
        }))
        .expect("a Pod")
    }

    #[rstest]
    #[case::manifests(&[("app", "metallb"), ("component", "speaker")], true)]
    #[case::chart(&[("app.kubernetes.io/name", "metallb"), ("app.kubernetes.io/component", "speaker")], true)]
    #[case::chart_with_another_name(&[("app.kubernetes.io/name", "lb"), ("app.kubernetes.io/component", "speaker")], true)]
    #[case::its_controller(&[("app", "metallb"), ("component", "controller")], false)]
    #[case::frr_k8s(&[("app", "frr-k8s"), ("component", "frr-k8s")], false)]
    #[case::ours(&[("app.kubernetes.io/name", "causeway"), ("app.kubernetes.io/component", "speaker")], false)]
    #[case::nothing(&[], false)]
    fn pods_are_known_by_their_labels(#[case] labels: &[(&str, &str)], #[case] speaker: bool) {
        assert_eq!(counts(&pod(labels, "True"), Part::Speaker), speaker);
        assert!(!counts(&pod(labels, "False"), Part::Speaker));
    }

    #[test]
    fn a_pod_that_is_on_its_way_out_works_until_it_is_not_ready() {
        let mut leaving = pod(&[("app", "metallb"), ("component", "controller")], "True");
        leaving.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-02T03:04:05Z")).expect("a time");
        assert!(counts(&leaving, Part::Controller));
        assert!(!counts(&Pod::default(), Part::Controller));
    }
}
