//! `ServiceL2Status` objects: which node announces which Service, for people and tools that know MetalLB's. [`changes`] is pure, [`keep`] does
//! the I/O.
//!
//! Nothing is ever waited for: announcing goes on while these objects are late or cannot be written at all. They are written when something
//! changed, by a task of its own with a rate of its own; one Service costs a list of its objects, many at once a list of all. There is no
//! watch: a speaker would be told of every other speaker's objects. What another speaker may have changed, while the two did not hear each other, is looked at as
//! soon as they do, and once more when that one must have ended what it was writing; what somebody else changed is put right by a look every ten minutes.
//!
//! The owner of such an object is the Node. MetalLB takes its speaker's Pod, which lives in the same namespace; ours does not, and an owner
//! in another namespace counts as one that is gone. By the owner we tell our objects from MetalLB's of the same node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_metal::candidates::Interfaces;
use causeway_metal::kinds::{InterfaceInfo, ServiceL2Status, ServiceL2StatusSpec, ServiceL2StatusStatus};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::kube::client::{Bucket, explain};
use crate::kube::watch::jitter;
use crate::state::records::Path;

/// MetalLB's labels.
const LABEL_NODE: &str = "metallb.io/node";
const LABEL_NAME: &str = "metallb.io/service-name";
const LABEL_NAMESPACE: &str = "metallb.io/service-namespace";
/// The longest value of a label.
const LABEL_LENGTH: usize = 63;

/// Changes that come within this time are written together.
const QUIET: Duration = Duration::from_millis(200);
/// How often everything is compared with what is there; the first time soon, for what an earlier process left behind.
const RESYNC: Duration = Duration::from_secs(600);
const FIRST_RESYNC: Duration = Duration::from_secs(10);
/// The same, after another speaker may have announced what is announced here: when that one has had the time to stop. Not more often than [`FIRST_RESYNC`].
const CONTESTED: Duration = Duration::from_secs(1);
/// Writes per second, and in a burst: a thousand Services that move at once take a minute, and nobody waits for them.
const RATE: f64 = 50.0;
const BURST: f64 = 20.0;
/// Services that are looked at together.
const CHUNK: usize = 64;
/// Up to this many are listed one by one, by label.
const FEW: usize = 4;
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Between tries after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What the task is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What this node does about a Service.
    Service {
        /// The Service.
        service: Path,
        /// The interfaces that its advertisements ask for; `None`: it is announced here no more.
        announced: Option<Interfaces>,
    },
    /// Another speaker may have announced, and said so, what is announced here.
    Contested,
}

/// Names as the status has them: none for all.
fn names(interfaces: &Interfaces) -> Vec<String> {
    match interfaces {
        Interfaces::All => Vec::new(),
        Interfaces::Only(names) => names.iter().cloned().collect(),
    }
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: String,
    service: Path,
    /// We made it.
    ours: bool,
    /// Its status, if it has a complete one of this node.
    interfaces: Option<Vec<String>>,
}

impl Found {
    /// `None` for what does not say which Service it is about, or is going away.
    fn new(me: &str, object: ServiceL2Status) -> Option<Self> {
        let labels = object.metadata.labels.unwrap_or_default();
        let label = |key: &str| labels.get(key).cloned();
        let service = Path { namespace: label(LABEL_NAMESPACE)?, name: label(LABEL_NAME)? };
        let owners = object.metadata.owner_references.unwrap_or_default();
        let status = object.status.filter(|status| {
            status.node.as_deref() == Some(me)
                && status.service_name.as_ref() == Some(&service.name)
                && status.service_namespace.as_ref() == Some(&service.namespace)
        });
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        Some(Self {
            name: object.metadata.name?,
            ours: owners.iter().any(|owner| owner.kind == "Node" && owner.name == me),
            interfaces: status.map(|s| s.interfaces.into_iter().filter_map(|i| i.name).collect()),
            service,
        })
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// Makes an object and writes its status.
    Create(Path, Vec<String>),
    /// Writes the status of one that is there.
    Write(String, Path, Vec<String>),
    /// Deletes one.
    Delete(String),
}

/// What to write for these Services. What is announced here has one object of ours and no other; of what is not, we have none, and those of
/// others are left to them. New ones come first.
fn changes(
    services: &BTreeSet<Path>,
    announced: &BTreeMap<Path, Vec<String>>,
    found: &[Found],
) -> Vec<Change> {
    let mut by_service: BTreeMap<&Path, Vec<&Found>> = BTreeMap::new();
    for object in found {
        by_service.entry(&object.service).or_default().push(object);
    }
    let (mut writes, mut deletes) = (Vec::new(), Vec::new());
    for service in services {
        let mut objects = by_service.remove(service).unwrap_or_default();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        let keep = announced.get(service).map(|interfaces| {
            let kept = objects.iter().find(|object| object.ours);
            match kept {
                Some(kept) if kept.interfaces.as_ref() == Some(interfaces) => {}
                Some(kept) => {
                    writes.push(Change::Write(kept.name.clone(), service.clone(), interfaces.clone()));
                }
                None => writes.push(Change::Create(service.clone(), interfaces.clone())),
            }
            kept.map(|kept| kept.name.clone())
        });
        for object in objects {
            let gone = match &keep {
                Some(kept) => kept.as_ref() != Some(&object.name),
                None => object.ours,
            };
            if gone {
                deletes.push(Change::Delete(object.name.clone()));
            }
        }
    }
    writes.extend(deletes);
    writes
}

fn status(me: &str, service: &Path, interfaces: &[String]) -> ServiceL2StatusStatus {
    ServiceL2StatusStatus {
        node: Some(me.to_owned()),
        service_name: Some(service.name.clone()),
        service_namespace: Some(service.namespace.clone()),
        interfaces: interfaces.iter().map(|name| InterfaceInfo { name: Some(name.clone()) }).collect(),
    }
}

fn object(me: &str, uid: &str, service: &Path) -> ServiceL2Status {
    let mut labels = BTreeMap::from([
        (LABEL_NAME.to_owned(), service.name.clone()),
        (LABEL_NAMESPACE.to_owned(), service.namespace.clone()),
        // For uninstalling: MetalLB's own are not ours to delete.
        ("app.kubernetes.io/part-of".to_owned(), "causeway".to_owned()),
    ]);
    // The name of a node may be longer than a label can be; the status has it in full.
    if me.len() <= LABEL_LENGTH {
        labels.insert(LABEL_NODE.to_owned(), me.to_owned());
    }
    ServiceL2Status {
        metadata: ObjectMeta {
            generate_name: Some("l2-".to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: me.to_owned(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: ServiceL2StatusSpec {},
        status: None,
    }
}

/// Keeps the objects of node `me` in step with what it is told, for as long as somebody may tell.
pub async fn keep(client: Client, namespace: String, me: String, mut told: mpsc::UnboundedReceiver<Told>) {
    let mut writer = Writer {
        api: Api::namespaced(client.clone(), &namespace),
        nodes: Api::all(client),
        uid: None,
        me,
        bucket: Bucket::new(RATE, BURST),
    };
    let mut agenda = Agenda::new(Instant::now());
    let (mut retry, mut said) = (RETRY.0, String::new());
    loop {
        if agenda.dirty.is_empty() {
            tokio::select! {
                news = told.recv() => match news {
                    Some(news) => {
                        agenda.take(news, Instant::now());
                        sleep(QUIET).await;
                    }
                    None => return,
                },
                () = sleep_until(agenda.resync) => {}
            }
        }
        while let Ok(news) = told.try_recv() {
            agenda.take(news, Instant::now());
        }
        let chunk = agenda.chunk(Instant::now());
        if chunk.as_ref().is_some_and(BTreeSet::is_empty) {
            continue;
        }
        match writer.round(chunk.as_ref(), &agenda.announced).await {
            Ok(()) => {
                agenda.looked_at(chunk, Instant::now());
                if !said.is_empty() {
                    info!("the ServiceL2Status objects can be written again");
                }
                (retry, said) = (RETRY.0, String::new());
            }
            Err(error) => {
                let why = explain(&error);
                if why != said {
                    warn!(
                        "ServiceL2Status objects in namespace {namespace} cannot be kept: {why}. Announcing does not depend on them"
                    );
                }
                said = why;
                sleep(retry.mul_f64(0.75 + jitter() / 2.0)).await;
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

/// What is to be looked at, and when. Pure but for the jitter.
struct Agenda {
    announced: BTreeMap<Path, Vec<String>>,
    /// What changed since it was looked at.
    dirty: BTreeSet<Path>,
    /// When everything is compared with what is there, and when that was done last.
    resync: Instant,
    last: Option<Instant>,
    contested: bool,
}

impl Agenda {
    fn new(now: Instant) -> Self {
        Self {
            announced: BTreeMap::new(),
            dirty: BTreeSet::new(),
            resync: now + FIRST_RESYNC,
            last: None,
            contested: false,
        }
    }

    fn take(&mut self, news: Told, now: Instant) {
        let Told::Service { service, announced } = news else {
            let soon = now + CONTESTED.mul_f64(1.0 + jitter() / 2.0);
            let soon = self.last.map_or(soon, |last| soon.max(last + FIRST_RESYNC));
            self.resync = self.resync.min(soon);
            self.contested = true;
            return;
        };
        let changed = match announced {
            Some(interfaces) => {
                let names = names(&interfaces);
                self.announced.insert(service.clone(), names.clone()) != Some(names)
            }
            None => self.announced.remove(&service).is_some(),
        };
        if changed {
            self.dirty.insert(service);
        }
    }

    /// The Services to look at now; none: all.
    fn chunk(&self, now: Instant) -> Option<BTreeSet<Path>> {
        (now < self.resync).then(|| self.dirty.iter().take(CHUNK).cloned().collect())
    }

    fn looked_at(&mut self, chunk: Option<BTreeSet<Path>>, now: Instant) {
        let Some(chunk) = chunk else {
            self.dirty.clear();
            self.last = Some(now);
            let again = if std::mem::take(&mut self.contested) { FIRST_RESYNC } else { RESYNC };
            self.resync = now + again.mul_f64(0.9 + jitter() / 5.0);
            return;
        };
        self.dirty.retain(|service| !chunk.contains(service));
    }
}

struct Writer {
    api: Api<ServiceL2Status>,
    nodes: Api<Node>,
    /// Uid of our Node, read again at every full look: a Node may be deleted and made anew.
    uid: Option<String>,
    me: String,
    bucket: Bucket,
}

impl Writer {
    /// Brings some Services' objects up to date; all of them if none are named.
    async fn round(
        &mut self,
        services: Option<&BTreeSet<Path>>,
        announced: &BTreeMap<Path, Vec<String>>,
    ) -> Result<(), kube::Error> {
        let found = self.find(services).await?;
        let all: BTreeSet<Path>;
        let services = match services {
            Some(services) => services,
            None => {
                self.uid = None;
                let left = found.iter().filter(|object| object.ours).map(|object| object.service.clone());
                all = announced.keys().cloned().chain(left).collect();
                &all
            }
        };
        for change in changes(services, announced, &found) {
            debug!(?change, "ServiceL2Status");
            self.pace().await;
            self.apply(change).await?;
        }
        Ok(())
    }

    /// The objects of these Services; all there are if none are named.
    async fn find(&self, services: Option<&BTreeSet<Path>>) -> Result<Vec<Found>, kube::Error> {
        let selectors = match services {
            Some(few) if few.len() <= FEW => few
                .iter()
                .map(|s| format!("{LABEL_NAME}={},{LABEL_NAMESPACE}={}", s.name, s.namespace))
                .collect(),
            _ => vec![String::new()],
        };
        let mut found = Vec::new();
        for selector in selectors {
            let mut params = ListParams::default().limit(PAGE).labels(&selector);
            loop {
                let page = self.api.list(&params).await?;
                found.extend(
                    page.items
                        .into_iter()
                        .filter_map(|object| Found::new(&self.me, object))
                        .filter(|object| services.is_none_or(|services| services.contains(&object.service))),
                );
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    async fn pace(&mut self) {
        if let Some(at) = self.bucket.take(Instant::now()) {
            sleep_until(at).await;
        }
    }

    async fn apply(&mut self, change: Change) -> Result<(), kube::Error> {
        match change {
            Change::Create(service, interfaces) => {
                let uid = match &self.uid {
                    Some(uid) => uid.clone(),
                    None => {
                        let node = self.nodes.get_metadata(&self.me).await?;
                        self.uid.insert(node.metadata.uid.unwrap_or_default()).clone()
                    }
                };
                let made = self.api.create(&PostParams::default(), &object(&self.me, &uid, &service)).await?;
                // The status is another write: what comes with the creation is dropped by the API server.
                self.pace().await;
                self.write(&made.metadata.name.unwrap_or_default(), &service, &interfaces).await
            }
            Change::Write(name, service, interfaces) => self.write(&name, &service, &interfaces).await,
            Change::Delete(name) => match self.api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                other => other.map(drop),
            },
        }
    }

    async fn write(&self, name: &str, service: &Path, interfaces: &[String]) -> Result<(), kube::Error> {
        let mut status = json!({ "status": status(&self.me, service, interfaces) });
        if interfaces.is_empty() {
            // Left out, the patch would keep what is there.
            status["status"]["interfaces"] = serde_json::Value::Null;
        }
        match self.api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await {
            // The next node was quicker: it deletes ours.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn path(name: &str) -> Path {
        Path { namespace: "default".to_owned(), name: name.to_owned() }
    }

    fn found(name: &str, ours: bool, interfaces: Option<&[&str]>) -> Found {
        let interfaces = interfaces.map(|names| names.iter().map(|&n| n.to_owned()).collect());
        Found { name: name.to_owned(), service: path("web"), ours, interfaces }
    }

    fn write(name: &str, interfaces: &[&str]) -> Change {
        Change::Write(name.to_owned(), path("web"), interfaces.iter().map(|&n| n.to_owned()).collect())
    }

    fn delete(name: &str) -> Change {
        Change::Delete(name.to_owned())
    }

    #[rstest]
    #[case::first(Some(&[][..]), vec![], vec![Change::Create(path("web"), vec![])])]
    #[case::nothing_changed(Some(&["eth0"][..]), vec![found("l2-a", true, Some(&["eth0"]))], vec![])]
    #[case::other_interfaces(Some(&["eth1"][..]), vec![found("l2-a", true, Some(&["eth0"]))], vec![write("l2-a", &["eth1"])])]
    #[case::half_written(Some(&[][..]), vec![found("l2-a", true, None)], vec![write("l2-a", &[])])]
    #[case::taken_over(Some(&[][..]), vec![found("l2-a", false, None)], vec![Change::Create(path("web"), vec![]), delete("l2-a")])]
    #[case::twice(Some(&[][..]), vec![found("l2-b", true, Some(&[])), found("l2-a", true, Some(&[]))], vec![delete("l2-b")])]
    #[case::stopped(None, vec![found("l2-a", true, Some(&[])), found("l2-b", false, None)], vec![delete("l2-a")])]
    #[case::never_announced(None, vec![], vec![])]
    fn one_object_of_ours_for_what_is_announced_and_none_for_the_rest(
        #[case] announced: Option<&[&str]>,
        #[case] there: Vec<Found>,
        #[case] expected: Vec<Change>,
    ) {
        let announced = announced
            .map(|names| BTreeMap::from([(path("web"), names.iter().map(|&n| n.to_owned()).collect())]))
            .unwrap_or_default();
        assert_eq!(changes(&BTreeSet::from([path("web")]), &announced, &there), expected);
        // Other Services are not touched.
        assert_eq!(changes(&BTreeSet::from([path("other")]), &announced, &there), vec![]);
    }

    #[test]
    fn our_own_objects_are_known_by_their_owner() {
        let mut made = object("node1", "uid", &path("web"));
        made.metadata.name = Some("l2-x".to_owned());
        let seen = Found::new("node1", made.clone()).expect("complete labels");
        assert!(seen.ours && seen.interfaces.is_none());
        made.status = Some(status("node1", &path("web"), &["eth0".to_owned()]));
        assert_eq!(
            Found::new("node1", made.clone()).and_then(|f| f.interfaces),
            Some(vec!["eth0".to_owned()])
        );
        let other = Found::new("node2", made.clone()).expect("complete labels");
        assert!(!other.ours && other.interfaces.is_none());
        // MetalLB's of the same node.
        if let Some(owner) = made.metadata.owner_references.as_mut().and_then(|o| o.first_mut()) {
            owner.kind = "Pod".to_owned();
        }
        assert!(Found::new("node1", made.clone()).is_some_and(|f| !f.ours));
        made.metadata.labels = None;
        assert_eq!(Found::new("node1", made), None);
    }

    #[test]
    fn a_long_name_of_a_node_is_no_label() {
        let long = "n".repeat(64);
        let labels = object(&long, "", &path("web")).metadata.labels.unwrap_or_default();
        assert!(!labels.contains_key(LABEL_NODE) && labels.contains_key(LABEL_NAME));
    }

    #[test]
    fn only_what_differs_is_written() {
        let now = Instant::now();
        let mut agenda = Agenda::new(now);
        let told = |announced| Told::Service { service: path("web"), announced };
        agenda.take(told(None), now);
        assert!(agenda.dirty.is_empty());
        agenda.take(told(Some(Interfaces::All)), now);
        assert_eq!(agenda.chunk(now), Some([path("web")].into()));
        agenda.looked_at(agenda.chunk(now), now);
        agenda.take(told(Some(Interfaces::All)), now);
        assert!(agenda.dirty.is_empty());
        agenda.take(told(None), now);
        assert_eq!((agenda.dirty.len(), agenda.announced.len()), (1, 0));
    }

    #[test]
    fn what_another_speaker_may_have_changed_is_looked_at_soon_and_once_more() {
        let mut now = Instant::now();
        let mut agenda = Agenda::new(now);
        let full_look = |agenda: &mut Agenda, now: &mut Instant| {
            let wait = agenda.resync - *now;
            *now += wait;
            assert_eq!(agenda.chunk(*now), None);
            agenda.looked_at(None, *now);
            wait
        };
        assert_eq!(full_look(&mut agenda, &mut now), FIRST_RESYNC);
        now += Duration::from_secs(60);
        assert_eq!(agenda.chunk(now), Some(BTreeSet::new()));
        agenda.take(Told::Contested, now);
        let soon = full_look(&mut agenda, &mut now);
        assert!((CONTESTED..CONTESTED * 2).contains(&soon), "{soon:?}");
        // It may have been writing just then.
        let again = full_look(&mut agenda, &mut now);
        assert!(again <= FIRST_RESYNC * 2, "{again:?}");
        // However often it is told, as on a machine that stalls.
        for _ in 0..100 {
            agenda.take(Told::Contested, now);
        }
        let wait = full_look(&mut agenda, &mut now);
        assert!(wait >= FIRST_RESYNC, "{wait:?}");
        full_look(&mut agenda, &mut now);
        let calm = full_look(&mut agenda, &mut now);
        assert!(calm > RESYNC / 2, "{calm:?}");
    }
}
