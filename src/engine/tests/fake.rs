//! A cluster in memory with the API server's semantics that matter here: resourceVersions and conflicts, finalizers and deletion,
//! status emptied when the type changes, every write seen by the watch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use causeway_api::{Condition, ObjectRef, OwnObject, OwnStatus, names};
use tokio::sync::mpsc;

use crate::engine::cluster::{Cluster, ClusterError, EventNote, Wanted, Written};
use crate::state::index::Record;
use crate::state::records::{Delta, NodeRecord, Path, ServiceRecord, Update};

/// Kinds of providers that can be put here.
const OWN_KINDS: [&str; 7] = [
    "IPAddressPool",
    "L2Advertisement",
    "BGPAdvertisement",
    "BGPPeer",
    "BFDProfile",
    "Community",
    "AddressConflict",
];

#[derive(Default)]
struct State {
    services: BTreeMap<Path, ServiceRecord>,
    nodes: BTreeMap<String, NodeRecord>,
    version: u64,
    watchers: Vec<mpsc::UnboundedSender<Update>>,
    /// What watches do not show yet, while they lag.
    held_back: Option<Vec<Update>>,
    events: Vec<EventNote>,
    own: Vec<OwnObject>,
    /// The next writes answer a conflict although nothing changed (a faster writer).
    conflicts: usize,
    /// The next writes take effect, but the answer is lost.
    lost: usize,
}

/// The cluster; clones are one cluster.
#[derive(Clone, Default)]
pub struct FakeCluster {
    state: Arc<Mutex<State>>,
    writes: Arc<AtomicUsize>,
}

impl FakeCluster {
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().expect("no panic under the lock"))
    }

    /// A watch: the complete lists first, then every change.
    pub fn watch(&self) -> mpsc::UnboundedReceiver<Update> {
        let (tx, rx) = mpsc::unbounded_channel();
        self.with(|state| {
            let services = state.services.values().cloned().collect();
            let nodes = state.nodes.values().cloned().collect();
            tx.send(Update::Service(Delta::Reset(services))).expect("open");
            tx.send(Update::Node(Delta::Reset(nodes))).expect("open");
            tx.send(Update::Ingress(Delta::Reset(vec![]))).expect("open");
            tx.send(Update::Class(Delta::Reset(vec![]))).expect("open");
            tx.send(Update::Namespace(Delta::Reset(vec![]))).expect("open");
            tx.send(Update::Slice(Delta::Reset(vec![]))).expect("open");
            tx.send(Update::Secret(Delta::Reset(vec![]))).expect("open");
            for kind in OWN_KINDS {
                let all = state.own.iter().filter(|o| o.object.kind.as_str() == kind).cloned().collect();
                tx.send(Update::Own(kind, Delta::Reset(all))).expect("open");
            }
            state.watchers.push(tx);
        });
        rx
    }

    /// A user creates or changes a Service.
    pub fn put(&self, mut service: ServiceRecord) {
        self.with(|state| {
            state.version += 1;
            let path = service.meta.path();
            if let Some(old) = state.services.get(&path) {
                service.meta.uid.clone_from(&old.meta.uid);
                service.meta.finalizers.clone_from(&old.meta.finalizers);
                service.ingress.clone_from(&old.ingress);
                service.conditions.clone_from(&old.conditions);
                if !service.load_balancer {
                    service.ingress.clear();
                    service.class = None;
                }
            } else {
                service.meta.uid = format!("uid-{}", state.version).into();
                service.meta.created = Some(i64::try_from(state.version).expect("small"));
            }
            service.meta.resource_version = state.version.to_string();
            state.publish(service);
        });
    }

    /// A user or a third party edits a Service in place.
    pub fn edit(&self, namespace: &str, name: &str, edit: impl FnOnce(&mut ServiceRecord)) {
        self.with(|state| {
            state.version += 1;
            let path = Path { namespace: namespace.into(), name: name.into() };
            let mut service = state.services.get(&path).expect("exists").clone();
            edit(&mut service);
            service.meta.resource_version = state.version.to_string();
            state.publish(service);
        });
    }

    /// A user deletes a Service.
    pub fn delete(&self, namespace: &str, name: &str) {
        self.edit(namespace, name, |s| s.meta.deleting = true);
    }

    /// A node comes or changes.
    pub fn put_node(&self, node: NodeRecord) {
        self.with(|state| {
            state.nodes.insert(node.name.clone(), node.clone());
            state.send(&Update::Node(Delta::Apply(node)));
        });
    }

    /// An object of an own kind comes or changes.
    pub fn put_own(&self, object: OwnObject) {
        self.with(|state| state.publish_own(object));
    }

    /// The status of an object of an own kind.
    pub fn own_status(&self, name: &str) -> serde_json::Value {
        self.with(|state| {
            let found = state.own.iter().find(|o| o.object.name == name);
            found.map(|o| o.status.clone()).unwrap_or_default()
        })
    }

    /// A third party writes the status of an object of an own kind.
    pub fn edit_own_status(&self, name: &str, status: serde_json::Value) {
        self.with(|state| {
            let old = state.own.iter().find(|o| o.object.name == name).expect("exists").clone();
            state.publish_own(OwnObject { status, ..old });
        });
    }

    /// A Service as it is now.
    pub fn get(&self, namespace: &str, name: &str) -> Option<ServiceRecord> {
        self.with(|state| {
            state.services.get(&Path { namespace: namespace.into(), name: name.into() }).cloned()
        })
    }

    /// All Services.
    pub fn all(&self) -> Vec<ServiceRecord> {
        self.with(|state| state.services.values().cloned().collect())
    }

    /// Events so far: reasons of those for one object.
    pub fn reasons(&self, name: &str) -> Vec<String> {
        self.with(|state| {
            state.events.iter().filter(|e| e.object.name == name).map(|e| e.reason.clone()).collect()
        })
    }

    /// Writes so far, Events not counted.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Watches show nothing any more, until [`Self::catch_up`].
    pub fn lag(&self) {
        self.with(|state| state.held_back = Some(Vec::new()));
    }

    /// Watches show all that happened.
    pub fn catch_up(&self) {
        self.with(|state| {
            for update in state.held_back.take().unwrap_or_default() {
                state.send(&update);
            }
        });
    }

    /// The next writes meet a conflict.
    pub fn conflict_next(&self, writes: usize) {
        self.with(|state| state.conflicts = writes);
    }

    /// The answers to the next writes are lost.
    pub fn lose_next(&self, writes: usize) {
        self.with(|state| state.lost = writes);
    }
}

impl State {
    fn send(&mut self, update: &Update) {
        if let Some(held_back) = &mut self.held_back {
            held_back.push(update.clone());
            return;
        }
        self.watchers.retain(|w| w.send(update.clone()).is_ok());
    }

    fn publish_own(&mut self, object: OwnObject) {
        let kind = OWN_KINDS.iter().find(|kind| **kind == object.object.kind.as_str()).expect("a known kind");
        self.own.retain(|old| old.object != object.object);
        self.own.push(object.clone());
        self.send(&Update::Own(kind, Delta::Apply(object)));
    }

    fn publish(&mut self, service: ServiceRecord) {
        let path = service.meta.path();
        if service.meta.deleting && service.meta.finalizers.is_empty() {
            self.services.remove(&path);
            self.send(&Update::Service(Delta::Delete(path)));
        } else {
            self.services.insert(path, service.clone());
            self.send(&Update::Service(Delta::Apply(service)));
        }
    }
}

fn wanted_service(old: &ServiceRecord, want: &Wanted) -> ServiceRecord {
    let mut new = old.clone();
    match want.finalizer {
        // The API server forbids new finalizers on an object that is being deleted.
        Some(true) if !new.meta.deleting && !new.meta.finalizers.iter().any(|f| f == names::FINALIZER) => {
            new.meta.finalizers.push(names::FINALIZER.to_owned());
        }
        Some(false) => new.meta.finalizers.retain(|f| f != names::FINALIZER),
        _ => {}
    }
    if let Some(ingress) = &want.ingress
        && new.load_balancer
    {
        new.ingress.clone_from(ingress);
    }
    let keep = |c: &Condition| {
        !want.remove_conditions.contains(&c.kind) && !want.conditions.iter().any(|w| w.kind == c.kind)
    };
    new.conditions.retain(keep);
    new.conditions.extend(want.conditions.iter().cloned());
    new.conditions.sort();
    let mut annotations = BTreeMap::clone(&new.meta.annotations);
    for (name, value) in &want.annotations {
        match value {
            Some(value) => annotations.insert(name.clone(), value.clone()),
            None => annotations.remove(name),
        };
    }
    new.meta.annotations = Arc::new(annotations);
    new
}

impl Cluster for FakeCluster {
    async fn write(&self, record: &Record, want: &Wanted) -> Result<Written, ClusterError> {
        let Record::Service(service) = record else {
            return Err(ClusterError::Rejected("only Services here".into()));
        };
        // The writer compares with what it knows before it sends anything.
        if wanted_service(service, want) == **service {
            return Ok(Written::Unchanged);
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.with(|state| {
            let path = service.meta.path();
            let Some(there) = state.services.get(&path).filter(|s| s.meta.uid == service.meta.uid).cloned()
            else {
                return Ok(Written::Gone);
            };
            if state.conflicts > 0 {
                state.conflicts -= 1;
                return Ok(Written::Conflict);
            }
            if there.meta.resource_version != service.meta.resource_version {
                return Ok(Written::Conflict);
            }
            state.version += 1;
            let mut new = wanted_service(&there, want);
            new.meta.resource_version = state.version.to_string();
            let version = new.meta.resource_version.clone();
            state.publish(new);
            if state.lost > 0 {
                state.lost -= 1;
                return Err(ClusterError::Transient("connection reset".into()));
            }
            Ok(Written::Written(version))
        })
    }

    async fn write_own(&self, status: &OwnStatus) -> Result<Written, ClusterError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.with(|state| {
            let there = state.own.iter().find(|o| o.object == status.object).cloned();
            if let Some(there) = there {
                state.publish_own(OwnObject { status: status.status.clone(), ..there });
            }
        });
        Ok(Written::Written("1".into()))
    }

    async fn write_gates(
        &self,
        _pod: &crate::state::records::PodRecord,
        _conditions: &[Condition],
    ) -> Result<Written, ClusterError> {
        Ok(Written::Unchanged)
    }

    async fn exists(&self, object: &ObjectRef) -> Result<bool, ClusterError> {
        Ok(self.with(|state| state.services.values().any(|s| s.meta.uid == object.uid)))
    }

    async fn services(&self) -> Result<Vec<(Path, String)>, ClusterError> {
        let listed =
            |(path, service): (&Path, &ServiceRecord)| (path.clone(), service.meta.resource_version.clone());
        Ok(self.with(|state| state.services.iter().filter(|(_, s)| s.load_balancer).map(listed).collect()))
    }

    fn event(&self, event: EventNote) {
        self.with(|state| state.events.push(event));
    }
}
