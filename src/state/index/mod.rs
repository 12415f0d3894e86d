//! The index: every record we know, reverse edges from them to load balancers, and which load balancers a change makes
//! dirty. Pure: watch updates in, dirty keys out; a [`Snapshot`] is all that a worker needs of a load balancer.
//!
//! Invariants:
//! - A record that equals the stored one but for its resourceVersion makes nothing dirty: a kubelet's heartbeat ends here.
//! - Node sets are computed once per change of nodes, not once per load balancer, and shared.
//! - An object belongs to at most one load balancer; one that moves makes both dirty.
//! - The order of updates does not matter for what [`Index::snapshot`] gives.

mod few;
mod gates;
#[cfg(test)]
mod tests;
mod updates;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use causeway_api::{
    Capabilities, ClassParameters, Endpoint, EndpointDetail, Endpoints, Kind, LbKey, LoadBalancer, Member,
    MemberSpec, NodeSet, ObjectRef, OwnObject, OwnObjects, OwnSpec, Problem, References, TrafficPolicy,
    Wants, names,
};

use self::few::Few;
pub use self::gates::GatedPod;
use super::records::{
    ClassRecord, IngressRecord, NodeRecord, OwnRecord, Path, PodRecord, SecretRecord, ServiceRecord,
    SliceRecord, Strings, Update,
};
use crate::engine::queue::Cause;
use crate::translate::{self, ClassRules, ClusterHealth, IngressContext, LbContext, Lookup, ServiceContext};

/// What the index judges by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whose Services are ours.
    pub classes: ClassRules,
    /// What the provider can do.
    pub capabilities: Capabilities,
    /// What it wants to be told.
    pub wants: Wants,
    /// `--cluster-policy-health-check`.
    pub cluster_health: ClusterHealth,
}

/// Which load balancer a member belongs to: the provider's pure function.
pub type KeyOf = Arc<dyn Fn(&Member) -> LbKey + Send + Sync>;

/// What a member's annotations refer to: the provider's pure function.
pub type ReferencesOf = Arc<dyn Fn(&Kind, &BTreeMap<String, String>) -> References + Send + Sync>;

/// A member's own record.
#[derive(Clone, Debug)]
pub enum Record {
    /// A Service.
    Service(Arc<ServiceRecord>),
    /// An Ingress.
    Ingress(Arc<IngressRecord>),
    /// An object of an own kind whose objects are members.
    Own(Arc<OwnRecord>),
}

impl Record {
    /// Metadata.
    #[must_use]
    pub fn meta(&self) -> &super::records::Meta {
        match self {
            Self::Service(s) => &s.meta,
            Self::Ingress(i) => &i.meta,
            Self::Own(o) => &o.meta,
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Ingress(_) => Kind::Ingress,
            Self::Own(o) => Kind::Own(o.kind.clone()),
        }
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        match self {
            Self::Service(s) => s.object(),
            Self::Ingress(i) => i.object(),
            Self::Own(o) => o.object(),
        }
    }

    /// Our finalizer for this kind.
    #[must_use]
    pub fn finalizer(&self) -> &'static str {
        match self {
            Self::Service(_) => names::FINALIZER,
            Self::Ingress(_) | Self::Own(_) => names::INGRESS_FINALIZER,
        }
    }

    /// Types of the conditions that it has and that are ours to remove.
    #[must_use]
    pub fn own_conditions(&self) -> Vec<String> {
        match self {
            Self::Service(s) => s.conditions.iter().map(|c| c.kind.clone()).collect(),
            Self::Ingress(_) | Self::Own(_) => Vec::new(),
        }
    }

    /// Whether it carries our finalizer.
    #[must_use]
    pub fn has_finalizer(&self) -> bool {
        self.meta().finalizers.iter().any(|f| f == self.finalizer())
    }
}

/// One object of a load balancer, as a worker sees it.
#[derive(Clone, Debug)]
pub struct MemberState {
    /// Its record.
    pub record: Record,
    /// It asks for the load balancer. If not, it only waits for our finalizer to go: it is being deleted, or is no longer of
    /// type LoadBalancer, or no longer of our class.
    pub wanted: bool,
    /// It carries the pause annotation.
    pub paused: bool,
}

/// All that a worker needs of one load balancer.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What is asked for.
    pub lb: LoadBalancer,
    /// What translation found wrong.
    pub problems: Vec<Problem>,
    /// All objects, wanted or leaving, oldest first.
    pub members: Vec<MemberState>,
    /// Hash of everything that the cloud's state depends on: not of status, finalizers or resourceVersion.
    pub inputs: u64,
}

/// A load balancer that an update made dirty, and why.
pub type Dirty = (LbKey, Cause);

/// What an update led to.
#[derive(Debug, Default)]
pub struct Effects {
    /// Dirty load balancers.
    pub dirty: Vec<Dirty>,
    /// Own kinds changed, or what else facts are made of: they must be made anew (which makes every load balancer dirty if they differ).
    pub facts: bool,
    /// The status of an object of an own kind changed: it may not be as the provider has it.
    pub own_status: bool,
    /// Pods with gates changed, or where they are targets.
    pub pods: bool,
    /// Problems of objects that belong to no load balancer (an Ingress of our class where none is served).
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum MemberId {
    Service(Path),
    Ingress(Path),
    /// An object of an own kind whose objects are members.
    Own(String, Path),
}

/// The index.
pub struct Index {
    rules: Rules,
    key_of: KeyOf,
    references_of: ReferencesOf,
    services: HashMap<Path, Arc<ServiceRecord>>,
    ingresses: HashMap<Path, Arc<IngressRecord>>,
    classes: BTreeMap<String, ClassRecord>,
    nodes: BTreeMap<String, NodeRecord>,
    node_set: Arc<NodeSet>,
    node_hash: u64,
    slices: HashMap<Path, SliceRecord>,
    slices_of: HashMap<Path, Few<Path>>,
    secrets: HashMap<Path, SecretRecord>,
    /// Pods with readiness gates of the provider's.
    pods: HashMap<Path, PodRecord>,
    namespaces: HashMap<String, Strings>,
    own: BTreeMap<(String, Path), OwnObject>,
    /// Objects of each load balancer.
    members: HashMap<LbKey, Few<MemberId>>,
    key_of_member: HashMap<MemberId, LbKey>,
    /// Members by the Services and Secrets that they name.
    used_by: HashMap<MemberOrSecret, Few<MemberId>>,
    /// Owner tags that the cloud holds: an object with our finalizer whose tag is here is ours to clean up.
    claims: HashSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum MemberOrSecret {
    Service(Path),
    Secret(Path),
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new(rules: Rules, key_of: KeyOf) -> Self {
        Self {
            rules,
            key_of,
            references_of: Arc::new(|_, _| References::default()),
            services: HashMap::new(),
            ingresses: HashMap::new(),
            classes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            node_set: Arc::default(),
            node_hash: 0,
            slices: HashMap::new(),
            slices_of: HashMap::new(),
            secrets: HashMap::new(),
            pods: HashMap::new(),
            namespaces: HashMap::new(),
            own: BTreeMap::new(),
            members: HashMap::new(),
            key_of_member: HashMap::new(),
            used_by: HashMap::new(),
            claims: HashSet::new(),
        }
    }

    /// The same with the provider's knowledge of what annotations refer to. To be called before the first update.
    #[must_use]
    pub fn with_references(mut self, references_of: ReferencesOf) -> Self {
        self.references_of = references_of;
        self
    }

    /// Takes over one update.
    pub fn update(&mut self, update: Update) -> Effects {
        let mut effects = Effects::default();
        match update {
            Update::Service(delta) => self.services_delta(delta, &mut effects),
            Update::Ingress(delta) => self.ingresses_delta(delta, &mut effects),
            Update::Class(delta) => self.classes_delta(delta, &mut effects),
            Update::Node(delta) => self.nodes_delta(delta, &mut effects),
            Update::Slice(delta) => self.slices_delta(delta, &mut effects),
            Update::Secret(delta) => self.secrets_delta(delta, &mut effects),
            Update::Pod(delta) => self.pods_delta(delta, &mut effects),
            Update::Namespace(delta) => self.namespaces_delta(delta, &mut effects),
            Update::Own(kind, delta) => self.own_delta(kind, delta, &mut effects),
        }
        effects.dirty.sort();
        effects.dirty.dedup();
        effects
    }

    /// The cloud holds load balancers with these owner tags. Objects of theirs that want none any more become dirty.
    pub fn claim(&mut self, owner_tags: impl IntoIterator<Item = String>) -> Effects {
        self.claims.extend(owner_tags);
        let mut effects = Effects::default();
        let paths: Vec<Path> = self.services.keys().cloned().collect();
        for path in paths {
            self.place_service(&path, Cause::Resync, &mut effects);
        }
        effects
    }

    /// All load balancers that have members, wanted or leaving.
    pub fn keys(&self) -> impl Iterator<Item = &LbKey> {
        self.members.keys()
    }

    /// All load balancers with all their objects, the leaving ones too: what was given out and is not yet given back. Sorted by key.
    #[must_use]
    pub fn given(&self) -> Vec<LoadBalancer> {
        let mut all: Vec<LoadBalancer> = self
            .members
            .iter()
            .map(|(key, ids)| {
                let members = ids.iter().filter_map(|id| Some(self.member(&self.record(id)?.0).0));
                self.assemble(key, members.collect()).0
            })
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Whether a Service of a list, each with its resourceVersion, is newer than what is known of it, or not known at all.
    #[must_use]
    pub fn is_behind(&self, services: &[(Path, String)]) -> bool {
        services.iter().any(|(path, now)| {
            let known = self.services.get(path).map(|record| record.meta.resource_version.as_str());
            known.is_none_or(|known| is_older(known, now))
        })
    }

    /// Objects of the provider's own kinds.
    #[must_use]
    pub fn own_objects(&self) -> OwnObjects {
        let mut node_addresses = BTreeMap::new();
        if self.rules.wants.node_addresses {
            for node in self.nodes.values() {
                for address in &node.addresses {
                    node_addresses.entry(*address).or_insert_with(|| node.name.clone());
                }
            }
        }
        OwnObjects { objects: self.own.values().cloned().collect(), node_addresses }
    }

    /// Everything about one load balancer; one that nobody asks for has no wanted members.
    #[must_use]
    pub fn snapshot(&self, key: &LbKey) -> Snapshot {
        let mut states = Vec::new();
        let mut wanted = Vec::new();
        let mut problems = Vec::new();
        for id in self.members.get(key).into_iter().flatten() {
            let Some((record, is_wanted)) = self.record(id) else { continue };
            // One of an own kind says in its spec what is to be taken back.
            if is_wanted || matches!(record, Record::Own(_)) {
                let (member, found) = self.member(&record);
                wanted.push(member);
                problems.extend(found);
            }
            let paused = translate::paused(record.meta());
            states.push(MemberState { record, wanted: is_wanted, paused });
        }
        states.sort_by(|a, b| {
            let age = |s: &MemberState| (s.record.meta().created, s.record.meta().path());
            age(a).cmp(&age(b))
        });
        let (lb, found) = self.assemble(key, wanted);
        problems.extend(found);
        let inputs = self.inputs(&lb);
        Snapshot { lb, problems, members: states, inputs }
    }

    /// All Nodes, eligible or not, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    /// Number of load balancers, Services, Nodes known.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.members.len(), self.services.len(), self.nodes.len())
    }

    fn assemble(&self, key: &LbKey, members: Vec<Member>) -> (LoadBalancer, Vec<Problem>) {
        let nodes = if self.rules.wants.nodes { Arc::clone(&self.node_set) } else { Arc::default() };
        let secret = |path: &Path| self.secrets.get(path).map(|s| s.version.clone());
        let context = LbContext {
            capabilities: &self.rules.capabilities,
            nodes,
            secrets: self.rules.wants.secrets.then_some(&secret as _),
        };
        translate::load_balancer(key.clone(), members, &context)
    }

    fn inputs(&self, lb: &LoadBalancer) -> u64 {
        let mut hasher = DefaultHasher::new();
        lb.key.hash(&mut hasher);
        for member in &lb.members {
            // What was given before is an input of the first decision only; the ledger watches over it from then on.
            (&member.object, &member.class, &member.annotations, &member.labels).hash(&mut hasher);
            (&member.namespace_labels, &member.spec, member.created).hash(&mut hasher);
            (&member.class_parameters, &member.services, &member.secrets).hash(&mut hasher);
        }
        lb.body.hash(&mut hasher);
        if self.rules.wants.nodes {
            self.node_hash.hash(&mut hasher);
        }
        hasher.finish()
    }

    // --- where an object belongs ---------------------------------------------------------------------------------

    fn record(&self, id: &MemberId) -> Option<(Record, bool)> {
        match id {
            MemberId::Service(path) => {
                let record = self.services.get(path)?;
                Some((Record::Service(Arc::clone(record)), self.service_wanted(record)))
            }
            MemberId::Ingress(path) => {
                let record = self.ingresses.get(path)?;
                Some((Record::Ingress(Arc::clone(record)), self.ingress_wanted(record)))
            }
            MemberId::Own(kind, path) => {
                let object = self.own.get(&(kind.clone(), path.clone()))?;
                let wanted = !object.deleting && !self.made_by_others(object);
                Some((Record::Own(Arc::new(OwnRecord::of(object))), wanted))
            }
        }
    }

    /// Whether objects of an own kind are members.
    fn are_members(&self, kind: &str) -> bool {
        self.rules.wants.kinds.iter().any(|k| k.kind == kind && k.members)
    }

    /// Whether another controller made an object of an own kind for itself.
    fn made_by_others(&self, object: &OwnObject) -> bool {
        let kind = self.rules.wants.kinds.iter().find(|k| k.kind == object.object.kind.as_str());
        kind.is_some_and(|k| k.made_by_others.iter().any(|label| object.labels.contains_key(*label)))
    }

    /// What an object of an own kind depends on besides itself.
    fn own_references(&self, object: &OwnObject) -> References {
        let spec = [(causeway_api::OWN_SPEC.to_owned(), object.spec.to_string())].into();
        (self.references_of)(&object.object.kind, &spec)
    }

    /// Puts an object of an own kind whose objects are members under its load balancer.
    fn place_own(&mut self, kind: &str, path: &Path, cause: Cause, effects: &mut Effects) {
        let id = MemberId::Own(kind.to_owned(), path.clone());
        // One that is being deleted concerns us as long as it waits for us.
        let record = self.record(&id).filter(|(record, wanted)| *wanted || record.has_finalizer());
        let key = record.map(|(record, _)| (self.key_of)(&self.member(&record).0));
        self.place(id, key, cause, effects);
    }

    fn service_wanted(&self, record: &ServiceRecord) -> bool {
        self.rules.capabilities.l4
            && !record.meta.deleting
            && record.load_balancer
            && self.rules.classes.owns_service(record)
    }

    fn ingress_wanted(&self, record: &IngressRecord) -> bool {
        self.rules.capabilities.l7 && !record.meta.deleting && self.owns_ingress(record)
    }

    /// A Service that wants no load balancer of ours (any more), but carries the finalizer. The finalizer is upstream's, so it alone does
    /// not say whose it is; and its class is gone once its type changed.
    fn service_leaving(&self, record: &ServiceRecord, known: bool) -> bool {
        let finalizer = record.meta.finalizers.iter().any(|f| f == names::FINALIZER);
        let ours = known
            || self.claims.contains(&format!("service/{}", record.meta.uid))
            || if record.load_balancer {
                self.rules.classes.owns_service(record)
            } else {
                self.rules.classes.own_classless
            };
        finalizer && ours
    }

    fn member(&self, record: &Record) -> (Member, Vec<Problem>) {
        let meta = record.meta();
        let own = match record {
            Record::Own(own) => self.own.get(&(own.kind.clone(), own.meta.path())),
            Record::Service(_) | Record::Ingress(_) => None,
        };
        let references = match own {
            Some(object) => self.own_references(object),
            None => (self.references_of)(&record.kind(), &meta.annotations),
        };
        let services = |path: &Path| self.services.get(path).map(Arc::as_ref);
        let secrets = |path: &Path| self.secrets.get(path).map(|secret| secret.version.clone());
        let endpoints = |service: &ServiceRecord| self.endpoints(service, references.endpoints);
        let lookup = Lookup {
            services: &services,
            endpoints: &endpoints,
            secrets: &secrets,
            cluster_health: self.rules.cluster_health,
        };
        let referenced = translate::referenced(&meta.namespace, &references, &lookup);
        let namespace_labels = self.namespace_labels(&meta.namespace);
        match record {
            Record::Service(service) => {
                let context = ServiceContext {
                    capabilities: &self.rules.capabilities,
                    cluster_health: self.rules.cluster_health,
                    endpoints: endpoints(service),
                    namespace_labels,
                    referenced,
                };
                translate::service_member(service, &context)
            }
            Record::Ingress(ingress) => {
                let class = translate::ingress_class(ingress, self.classes.values()).map(str::to_owned);
                let known = class.as_ref().and_then(|name| self.classes.get(name));
                let context = IngressContext {
                    class_parameters: known.and_then(|class| self.parameters(class)),
                    class,
                    lookup,
                    referenced,
                    needs_node_ports: self.rules.capabilities.needs_node_ports,
                    namespace_labels,
                };
                translate::ingress_member(ingress, &context)
            }
            Record::Own(record) => {
                let spec = own.map_or(serde_json::Value::Null, |object| object.spec.clone()).to_string();
                let member = Member {
                    object: record.object(),
                    created: meta.created,
                    class: None,
                    class_parameters: None,
                    annotations: meta.annotations.as_ref().clone(),
                    labels: meta.labels.as_ref().clone(),
                    namespace_labels: namespace_labels.as_ref().clone(),
                    current: Vec::new(),
                    services: referenced.services,
                    secrets: referenced.secrets,
                    spec: MemberSpec::Own(OwnSpec { spec, leaving: meta.deleting }),
                };
                (member, Vec::new())
            }
        }
    }

    fn owns_ingress(&self, record: &IngressRecord) -> bool {
        translate::owned_ingress_class(&self.rules.classes, record, self.classes.values()).is_some()
    }

    /// What a class points to, with the content of that object.
    fn parameters(&self, class: &ClassRecord) -> Option<ClassParameters> {
        let mut parameters = class.parameters.clone()?;
        let kinds = &self.rules.wants.kinds;
        if kinds.iter().any(|k| (k.group, k.kind) == (&*parameters.group, &*parameters.kind)) {
            let namespace = parameters.namespace.clone().unwrap_or_default();
            let path = Path { namespace, name: parameters.name.clone() };
            let object = self.own.get(&(parameters.kind.clone(), path));
            parameters.spec = object.map(|o| o.spec.to_string());
        }
        Some(parameters)
    }

    fn namespace_labels(&self, namespace: &str) -> Strings {
        if self.rules.wants.namespace_labels {
            self.namespaces.get(namespace).cloned().unwrap_or_default()
        } else {
            Strings::default()
        }
    }

    fn endpoints(&self, service: &ServiceRecord, addresses: bool) -> Endpoints {
        let wanted = match self.rules.wants.endpoints {
            EndpointDetail::None => false,
            EndpointDetail::Addresses if addresses => return self.addresses(service),
            EndpointDetail::Addresses => false,
            EndpointDetail::Local => service.traffic_policy == TrafficPolicy::Local,
            EndpointDetail::All => true,
        };
        let mut endpoints = Endpoints::default();
        if wanted {
            for path in self.slices_of.get(&service.meta.path()).into_iter().flatten() {
                let Some(slice) = self.slices.get(path) else { continue };
                for (node, counts) in &slice.by_node {
                    let total = endpoints.by_node.entry(node.to_string()).or_default();
                    total.ready += counts.ready;
                    total.serving += counts.serving;
                }
            }
        }
        endpoints
    }

    /// The ready ports of a Service's pods, and those that are ready but for our own gate.
    fn addresses(&self, service: &ServiceRecord) -> Endpoints {
        let mut ready = Vec::new();
        for path in self.slices_of.get(&service.meta.path()).into_iter().flatten() {
            let Some(slice) = self.slices.get(path) else { continue };
            for (address, node) in slice.ready.iter().cloned().chain(self.waiting(slice)) {
                let node = Some(node).filter(|node| !node.is_empty());
                ready.extend(slice.ports.iter().map(|(port_name, port)| Endpoint {
                    port_name: port_name.clone(),
                    address,
                    port: *port,
                    node: node.clone(),
                }));
            }
        }
        ready.sort();
        ready.dedup();
        Endpoints { ready, ..Endpoints::default() }
    }

    /// Puts an object under its load balancer; both the one it leaves and the one it joins are dirty.
    fn place(&mut self, id: MemberId, key: Option<LbKey>, cause: Cause, effects: &mut Effects) {
        let old = self.key_of_member.get(&id).cloned();
        if let Some(old) = &old
            && Some(old) != key.as_ref()
        {
            if let Some(members) = self.members.get_mut(old) {
                members.remove(&id);
                if members.is_empty() {
                    self.members.remove(old);
                }
            }
            self.key_of_member.remove(&id);
            effects.dirty.push((old.clone(), cause));
        }
        if let Some(key) = key {
            self.members.entry(key.clone()).or_default().insert(id.clone());
            self.key_of_member.insert(id, key.clone());
            effects.dirty.push((key, cause));
        }
    }

    fn place_service(&mut self, path: &Path, cause: Cause, effects: &mut Effects) {
        let id = MemberId::Service(path.clone());
        let known = self.key_of_member.get(&id).cloned();
        let key = self.services.get(path).cloned().and_then(|record| {
            let wanted = self.service_wanted(&record);
            // A recreated Service of the same name is another owner: what the old one had is not its own.
            let known = known.filter(|k| matches_uid(k, &record.meta.uid));
            if wanted {
                let (member, _) = self.member(&Record::Service(record));
                Some((self.key_of)(&member))
            } else if self.service_leaving(&record, known.is_some()) {
                known.or_else(|| {
                    let (member, _) = self.member(&Record::Service(record));
                    Some((self.key_of)(&member))
                })
            } else {
                None
            }
        });
        self.place(id, key, cause, effects);
    }

    fn place_ingress(&mut self, path: &Path, cause: Cause, effects: &mut Effects) {
        let id = MemberId::Ingress(path.clone());
        let known = self.key_of_member.get(&id).cloned();
        let key = self.ingresses.get(path).cloned().and_then(|record| {
            let known = known.filter(|k| matches_uid(k, &record.meta.uid));
            if self.ingress_wanted(&record) {
                let (member, _) = self.member(&Record::Ingress(record));
                Some((self.key_of)(&member))
            } else if record.meta.finalizers.iter().any(|f| f == names::INGRESS_FINALIZER) {
                known.or_else(|| {
                    let (member, _) = self.member(&Record::Ingress(record));
                    Some((self.key_of)(&member))
                })
            } else {
                if !self.rules.capabilities.l7 && !record.meta.deleting && self.owns_ingress(&record) {
                    effects.problems.push(unsupported(&record));
                }
                None
            }
        });
        self.place(id, key, cause, effects);
    }
}

/// An Ingress of our class where no Ingress is served.
fn unsupported(record: &IngressRecord) -> Problem {
    Problem::warning(
        record.object(),
        "spec.ingressClassName",
        names::events::UNSUPPORTED,
        "this provider serves no Ingresses; use a Service of type LoadBalancer, or an IngressClass of another controller",
    )
}

fn matches_uid(key: &LbKey, uid: &str) -> bool {
    match &key.owner {
        causeway_api::Owner::Object(o) => *o.uid == *uid,
        causeway_api::Owner::Group(_) => true,
    }
}

/// Whether one resourceVersion of an object is older than another. They are numbers that count up, as the API server's; of what is none only sameness counts.
fn is_older(one: &str, other: &str) -> bool {
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one < other,
        _ => one != other,
    }
}
