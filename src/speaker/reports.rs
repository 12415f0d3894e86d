//! Status objects of one kind that only this node's speaker writes, each with a name of its own: `ServiceBGPStatus`, `BGPSessionState`. [`changes`] is
//! pure, [`keep`] does the I/O.
//!
//! Nothing is ever waited for: routers are spoken with while these objects are late or cannot be written at all. What changed is written by a task of its own
//! with a rate of its own; nothing changed is nothing written. What somebody else changed is put right by a look every ten minutes, and the
//! first look takes away what an earlier process left behind. The owner of an object is the Node: it goes with it.

use std::collections::BTreeMap;
use std::sync::Arc;
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
/// The longest wait where the API server does not serve the kind yet, as for a while after its definition was made: it will soon.
const NOT_YET: Duration = Duration::from_secs(15);
/// The longest value of a label.
const LABEL_LENGTH: usize = 63;

/// What one object says. There is one for each Service, so it is kept as JSON text with sorted keys: a tenth of what the values take.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    labels: Box<str>,
    status: Box<str>,
}

impl Report {
    /// Its whole status, and labels by which people and tools find it. Values that no label can hold are left out: the status has them in full.
    #[must_use]
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, status: &Value) -> Self {
        let labels = labels.into_iter().filter(|(_, value)| value.len() <= LABEL_LENGTH);
        let labels: BTreeMap<&str, &str> = labels.collect();
        Self { labels: json!(labels).to_string().into(), status: status.to_string().into() }
    }

    /// The labels that the object has.
    fn labels(&self) -> Value {
        let mut labels = value(&self.labels);
        labels[PART_OF.0] = PART_OF.1.into();
        labels
    }
}

/// What the text of a [`Report`] stands for.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// What all objects of a kind say, by name.
pub type Reports = BTreeMap<String, Arc<Report>>;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// Makes the object, or its labels anew, and writes the status.
    Make(String, Arc<Report>),
    /// Writes the status.
    Write(String, Arc<Report>),
    /// Deletes the object.
    Delete(String),
}

/// What leads from what is there to what is wanted.
fn changes(wanted: &Reports, there: &Reports) -> Vec<Change> {
    let write = |(name, report): (&String, &Arc<Report>)| match there.get(name) {
        Some(there) if there == report => None,
        Some(there) if there.labels == report.labels => Some(Change::Write(name.clone(), Arc::clone(report))),
        _ => Some(Change::Make(name.clone(), Arc::clone(report))),
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
    mut reports: watch::Receiver<Option<Arc<Reports>>>,
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
                let longest = if is_not_served_yet(&error) { NOT_YET } else { RETRY.1 };
                retry = retry.min(longest);
                sleep(retry.mul_f64(0.75 + jitter() / 2.0)).await;
                retry = (retry * 2).min(longest);
            }
        }
    }
}

/// 404: there is no such definition, or it is not served yet. 429: its storage is being set up, or too much is asked for.
fn is_not_served_yet(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 429))
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
                "labels": report.labels(),
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
            "status": value(&report.status),
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

/// What an object says, if it is of this node.
fn read(node: &str, object: DynamicObject) -> Option<(String, Arc<Report>)> {
    let ours = object.owner_references().iter().any(|owner| owner.kind == "Node" && owner.name == node);
    if !ours || object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = object.name_any();
    let labels = object.metadata.labels.unwrap_or_default();
    let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let own = labels.filter(|(key, _)| *key != PART_OF.0);
    Some((name, Arc::new(Report::new(own, &object.data["status"]))))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use rstest::rstest;

    use super::*;

    fn report(label: &str, status: &str) -> Arc<Report> {
        Arc::new(Report::new([("l", label)], &json!({"s": status, "n": "node1"})))
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
            "status": {"n": "node1", "s": "t"},
        }))
        .expect("an object")
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let report = report("l", "t");
        let there = object("Node", report.labels());
        assert_eq!(read("node1", there.clone()), Some(("a".to_owned(), report)));
        assert_eq!(read("node2", there), None);
        assert_eq!(read("node1", object("Pod", json!({}))), None, "another program's");
    }

    /// An API server that answers requests with these codes, one after the other, and all later ones well; and what it was asked and answered.
    fn server(mut codes: VecDeque<u16>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let service = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
            let code = codes.pop_front().unwrap_or(200);
            log.lock().expect("a log").push(format!("{code} {} {}", request.method(), request.uri().path()));
            let body = match (code, request.uri().path()) {
                (200, path) if path.ends_with("/nodes/node1") => {
                    json!({"metadata": {"name": "node1", "uid": "u"}})
                }
                (200, path) if path.ends_with("/servicebgpstatuses") => json!({"metadata": {}, "items": []}),
                (200, _) => json!({"metadata": {"name": "a"}}),
                (code, _) => {
                    json!({"kind": "Status", "status": "Failure", "code": code, "reason": "", "message": "not yet"})
                }
            };
            let answer = hyper::Response::builder()
                .status(code)
                .body(kube::client::Body::from(body.to_string().into_bytes()));
            std::future::ready(answer)
        });
        (Client::new(service, "default"), asked)
    }

    /// Right after its definition was made a kind is not found, and for a moment it is "too much": with every look and with every write.
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_yet_is_written_soon() {
        let codes = [404, 404, 404, 404, 404, 429, 200, 200, 404, 200, 429, 200, 200, 429];
        let (client, asked) = server(codes.into());
        let resource = ApiResource::erase::<causeway_metal::kinds::ServiceBGPStatus>(&());
        let (wanted, reports) = watch::channel(Some(Arc::new(reports(&[("a", "l", "s")]))));
        let start = Instant::now();
        let task = tokio::spawn(keep(client, resource, "c".to_owned(), "node1".to_owned(), reports));
        let is_written = || {
            let asked = asked.lock().expect("a log");
            asked.len() > codes.len()
                && asked
                    .last()
                    .is_some_and(|last| last.starts_with("200 PATCH") && last.ends_with("/a/status"))
        };
        while !is_written() {
            assert!(start.elapsed() < Duration::from_secs(150), "{asked:?}");
            sleep(Duration::from_millis(100)).await;
        }
        let count = asked.lock().expect("a log").len();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(asked.lock().expect("a log").len(), count, "and then there is nothing to do");
        drop(wanted);
        task.await.expect("it ends with its sender");
    }

    #[test]
    fn a_value_that_no_label_can_hold_is_left_out() {
        assert_eq!(&*report(&"x".repeat(64), "").labels, "{}");
        assert_eq!(report(&"x".repeat(63), "").labels.len(), 71);
    }
}
