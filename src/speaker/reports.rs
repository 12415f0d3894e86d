//! Status objects of one kind that only this node's speaker writes, each with a name of its own: `ServiceBGPStatus`, `BGPSessionState`. [`changes`] is
//! pure, [`keep`] does the I/O.
//!
//! Nothing is ever waited for: routers are spoken with while these objects are late or cannot be written at all. What changed is written by a task of its own
//! with a rate of its own; nothing changed is nothing written. What somebody else changed is put right by a look every ten minutes, and the
//! first look takes away what an earlier process left behind. The owner of an object is the Node: it goes with it.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_api::names;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use crate::kube::client::{Bucket, explain};
use crate::kube::watch::jitter;

/// Label by which our objects are found, also for uninstalling.
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "causeway");
/// Changes that come within this time are written together.
const QUIET: Duration = Duration::from_millis(100);
/// How often everything is compared with what is there.
const RESYNC: Duration = Duration::from_secs(600);
/// Writes per second, and in a burst.
const RATE: f64 = 50.0;
const BURST: f64 = 20.0;
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Between tries after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The longest value of a label.
const LABEL_LENGTH: usize = 63;

/// What one object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    labels: BTreeMap<String, String>,
    status: Value,
}

impl Report {
    /// Its whole status, and labels by which people and tools find it. Values that no label can hold are left out: the status has them in full.
    #[must_use]
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, status: Value) -> Self {
        let labels = labels.into_iter().filter(|(_, value)| value.len() <= LABEL_LENGTH);
        Self { labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), status }
    }
}

/// What all objects of a kind say, by name.
pub type Reports = BTreeMap<String, Report>;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// Makes the object, or its labels anew, and writes the status.
    Make(String, Report),
    /// Writes the status.
    Write(String, Report),
    /// Deletes the object.
    Delete(String),
}

/// What leads from what is there to what is wanted.
fn changes(wanted: &Reports, there: &Reports) -> Vec<Change> {
    let write = |(name, report): (&String, &Report)| match there.get(name) {
        Some(there) if there == report => None,
        Some(there) if there.labels == report.labels => Some(Change::Write(name.clone(), report.clone())),
        _ => Some(Change::Make(name.clone(), report.clone())),
    };
    let gone = there.keys().filter(|name| !wanted.contains_key(*name));
    wanted.iter().filter_map(write).chain(gone.map(|name| Change::Delete(name.clone()))).collect()
}

/// Keeps the objects of `node` in step with what `reports` says, for as long as somebody may say something. `None`: nothing is known yet, and nothing is written.
pub async fn keep(
    client: Client,
    resource: ApiResource,
    namespace: String,
    node: String,
    mut reports: watch::Receiver<Option<Reports>>,
) {
    let mut writer = Writer {
        api: Api::namespaced_with(client.clone(), &namespace, &resource),
        nodes: Api::all(client),
        owner: None,
        node,
        there: None,
        bucket: Bucket::new(RATE, BURST),
        resource,
    };
    let mut resync = Instant::now();
    let (mut retry, mut said) = (RETRY.0, String::new());
    loop {
        if resync <= Instant::now() {
            writer.there = None;
            writer.owner = None;
            resync = Instant::now() + RESYNC.mul_f64(0.9 + jitter() / 5.0);
        }
        let wanted = reports.borrow_and_update().clone();
        let outcome = match &wanted {
            Some(wanted) => writer.round(wanted).await,
            None => Ok(()),
        };
        match outcome {
            Ok(()) => {
                if !said.is_empty() {
                    info!("the {} objects can be written again", writer.resource.kind);
                }
                (retry, said) = (RETRY.0, String::new());
                match timeout_at(resync, reports.changed()).await {
                    Ok(Ok(())) => sleep(QUIET).await,
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
            }
            Err(error) => {
                let why = explain(&error);
                if why != said {
                    warn!(
                        "{} objects in namespace {namespace} cannot be kept: {why}. Announcing does not depend on them",
                        writer.resource.kind
                    );
                }
                said = why;
                writer.there = None;
                sleep(retry.mul_f64(0.75 + jitter() / 2.0)).await;
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

struct Writer {
    api: Api<DynamicObject>,
    nodes: Api<Node>,
    resource: ApiResource,
    node: String,
    /// Uid of our Node, read again at every full look: a Node may be deleted and made anew.
    owner: Option<String>,
    /// What is there, as far as it is ours; `None` if that must be looked at first.
    there: Option<Reports>,
    bucket: Bucket,
}

impl Writer {
    async fn round(&mut self, wanted: &Reports) -> Result<(), kube::Error> {
        let mut there = match self.there.take() {
            Some(there) => there,
            None => self.find().await?,
        };
        for change in changes(wanted, &there) {
            if let Some(at) = self.bucket.take(Instant::now()) {
                sleep_until(at).await;
            }
            match change {
                Change::Make(name, report) => {
                    self.make(&name, &report).await?;
                    self.write(&name, &report).await?;
                    there.insert(name, report);
                }
                Change::Write(name, report) => {
                    match self.write(&name, &report).await {
                        // Somebody deleted it.
                        Err(kube::Error::Api(status)) if status.code == 404 => {
                            self.make(&name, &report).await?;
                            self.write(&name, &report).await?;
                        }
                        other => other?,
                    }
                    there.insert(name, report);
                }
                Change::Delete(name) => {
                    match self.api.delete(&name, &DeleteParams::default()).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        other => other.map(drop)?,
                    }
                    there.remove(&name);
                }
            }
        }
        self.there = Some(there);
        Ok(())
    }

    async fn make(&mut self, name: &str, report: &Report) -> Result<(), kube::Error> {
        let uid = match &self.owner {
            Some(uid) => uid.clone(),
            None => {
                let node = self.nodes.get_metadata(&self.node).await?;
                self.owner.insert(node.metadata.uid.unwrap_or_default()).clone()
            }
        };
        let object = json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {
                "name": name,
                "labels": labels(report),
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid}],
            },
        });
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        self.api.patch(name, &params, &Patch::Apply(&object)).await.map(drop)
    }

    /// All of the status is ours.
    async fn write(&self, name: &str, report: &Report) -> Result<(), kube::Error> {
        let object = json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"name": name},
            "status": report.status,
        });
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        self.api.patch_status(name, &params, &Patch::Apply(&object)).await.map(drop)
    }

    /// The objects of this node that are there.
    async fn find(&self) -> Result<Reports, kube::Error> {
        let mut found = Reports::new();
        let mut params = ListParams::default().limit(PAGE).labels(&format!("{}={}", PART_OF.0, PART_OF.1));
        loop {
            let page = self.api.list(&params).await?;
            let more = page.metadata.continue_.filter(|token| !token.is_empty());
            found.extend(page.items.into_iter().filter_map(|object| read(&self.node, object)));
            match more {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }
}

/// The labels that an object has.
fn labels(report: &Report) -> BTreeMap<&str, &str> {
    let own = report.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    std::iter::once(PART_OF).chain(own).collect()
}

/// What an object says, if it is of this node.
fn read(node: &str, object: DynamicObject) -> Option<(String, Report)> {
    let ours = object.owner_references().iter().any(|owner| owner.kind == "Node" && owner.name == node);
    if !ours || object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = object.name_any();
    let mut labels = object.metadata.labels.unwrap_or_default();
    labels.remove(PART_OF.0);
    let status = object.data.get("status").cloned().unwrap_or(Value::Null);
    Some((name, Report { labels, status }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn report(label: &str, status: &str) -> Report {
        Report::new([("l", label)], json!({"s": status}))
    }

    fn reports(list: &[(&str, &str, &str)]) -> Reports {
        list.iter().map(|(name, label, status)| ((*name).to_owned(), report(label, status))).collect()
    }

    #[rstest]
    #[case::nothing(&[], &[], vec![])]
    #[case::same(&[("a", "l", "s")], &[("a", "l", "s")], vec![])]
    #[case::new(&[("a", "l", "s")], &[], vec![Change::Make("a".into(), report("l", "s"))])]
    #[case::other_status(&[("a", "l", "t")], &[("a", "l", "s")], vec![Change::Write("a".into(), report("l", "t"))])]
    #[case::other_label(&[("a", "m", "s")], &[("a", "l", "s")], vec![Change::Make("a".into(), report("m", "s"))])]
    #[case::gone(&[], &[("a", "l", "s")], vec![Change::Delete("a".into())])]
    fn only_what_differs_is_written(
        #[case] wanted: &[(&str, &str, &str)],
        #[case] there: &[(&str, &str, &str)],
        #[case] expected: Vec<Change>,
    ) {
        assert_eq!(changes(&reports(wanted), &reports(there)), expected);
    }

    fn object(owner: &str, labels: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {
                "name": "a", "labels": labels,
                "ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "node1", "uid": "u"}],
            },
            "status": {"s": "t"},
        }))
        .expect("an object")
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let report = report("l", "t");
        let there = object("Node", json!(labels(&report)));
        assert_eq!(read("node1", there.clone()), Some(("a".to_owned(), report)));
        assert_eq!(read("node2", there), None);
        assert_eq!(read("node1", object("Pod", json!({}))), None, "another program's");
    }

    #[test]
    fn a_value_that_no_label_can_hold_is_left_out() {
        assert_eq!(report(&"x".repeat(64), "").labels.len(), 0);
        assert_eq!(report(&"x".repeat(63), "").labels.len(), 1);
    }
}
