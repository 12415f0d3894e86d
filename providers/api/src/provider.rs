//! The trait that a cloud implements.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::fence::Fence;
use crate::instance::{Found, NodeRef};
use crate::key::{Kind, LbKey, ObjectRef};
use crate::model::{LoadBalancer, Member, Protocol};
use crate::plan::{Outcome, Plan, PlannedChange};
use crate::problem::Problem;
use crate::status::{MemberStatus, OwnStatus};

/// Which endpoints a provider's decisions depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointDetail {
    /// None: EndpointSlices are not watched.
    #[default]
    None,
    /// Those of Services with `externalTrafficPolicy: Local`.
    Local,
    /// All.
    All,
    /// Addresses of ready pods, of the Services for which [`References::endpoints`] says so.
    Addresses,
}

/// Where objects of an own kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KindScope {
    /// In the cluster, without a namespace.
    Cluster,
    /// In `--config-namespace`; those of other namespaces do not count.
    ConfigNamespace,
    /// In any namespace.
    AllNamespaces,
}

/// The key under which [`CloudProvider::references`] finds the `spec` of an own object.
pub const OWN_SPEC: &str = "spec";

/// What else a member depends on, by its annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Ports of Services of its namespace: name, and number or name of the port.
    pub services: BTreeSet<(String, String)>,
    /// Secrets of its namespace.
    pub secrets: BTreeSet<String>,
    /// The addresses of its pods are wanted: of a Service its own and those of `services`, of an Ingress those of all its backends.
    pub endpoints: bool,
}

/// A kind of the provider's own that the engine watches for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnKind {
    /// API group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Other versions whose objects read the same: the API server gives them as `version`, files may hold them.
    pub also: &'static [&'static str],
    /// Kind.
    pub kind: &'static str,
    /// Plural, lower case.
    pub plural: &'static str,
    /// Where its objects are.
    pub scope: KindScope,
    /// Each object is a load balancer's member of its own, such as one that binds targets to what the user made.
    pub members: bool,
    /// Labels of objects that another controller made for itself: those are no members.
    pub made_by_others: &'static [&'static str],
    /// Without the CRD the provider can do nothing useful: reported as a problem (never fatal).
    pub required: bool,
}

/// What a provider wants to be told. What nobody wants is neither watched nor kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Nodes as targets.
    pub nodes: bool,
    /// Endpoints.
    pub endpoints: EndpointDetail,
    /// Secrets named by Ingresses.
    pub secrets: bool,
    /// Labels of namespaces.
    pub namespace_labels: bool,
    /// Addresses of all nodes, as facts ([`OwnObjects::node_addresses`]), where nodes are no targets.
    pub node_addresses: bool,
    /// Ingresses (also to say that they are not served).
    pub ingresses: bool,
    /// Pods with a readiness gate whose type begins so: it is the provider's to say when they may be ready, see [`CloudProvider::target_states`].
    pub pod_gates: Option<&'static str>,
    /// Own kinds.
    pub kinds: Vec<OwnKind>,
}

/// How one target group sees a pod that it is to send to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetState {
    /// Its name, for people.
    pub group: String,
    /// The pod takes traffic there.
    pub ready: bool,
    /// Why it does not, in one word; the cloud's own, where it has one.
    pub reason: String,
    /// The same for people; may be empty.
    pub message: String,
}

/// A controller whose load balancers a provider can take over as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name, as in `--adopt`.
    pub name: &'static str,
    /// Name of the Lease by which it elects its leader. As long as somebody holds it, nothing is done. `None`: it elects none, so that nobody can see whether it
    /// works; the user has to say that it does not.
    pub lease: Option<&'static str>,
    /// Its finalizers, of all kinds of objects; one that ends in `/` stands for all that begin so.
    pub finalizers: &'static [&'static str],
}

/// An annotation that says of a Service without class whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Key of the annotation.
    pub annotation: String,
    /// Values that claim the Service.
    pub values: Vec<String>,
}

/// What a provider can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Serves Services.
    pub l4: bool,
    /// Serves Ingresses.
    pub l7: bool,
    /// Protocols of Service ports that can be served.
    pub protocols: Vec<Protocol>,
    /// Whether Services without `loadBalancerClass` are ours by default.
    pub own_classless: bool,
    /// Classes that are ours where the user names none.
    pub classes: Vec<String>,
    /// What makes a Service without class ours all the same, unless the user says whose they are.
    pub claims: Vec<Claim>,
    /// Whether a Service must have a NodePort to be served; ports without one are reported.
    pub needs_node_ports: bool,
    /// It makes the routes of its L7 load balancers out of the members itself, as its rules depend on more than host and path:
    /// [`crate::HttpBody`] stays empty, and nobody else looks for conflicts between routes or for Secrets of certificates.
    pub own_routes: bool,
    /// How long an orphan must have been seen before it is deleted; zero where deleting costs nobody anything.
    pub orphan_grace: Duration,
    /// Longest time a single call that writes can take, retries included (D of the fencing rules).
    pub write_deadline: Duration,
    /// The first write lies in the status itself (bare metal): finalizer and status go in one patch, since nothing can leak
    /// between them.
    pub status_is_commit: bool,
}

/// One object of an own kind, as the API server gave it. `Debug` does not show a password that its spec may hold.
#[derive(Clone, PartialEq)]
pub struct OwnObject {
    /// Identity.
    pub object: ObjectRef,
    /// creationTimestamp, seconds since the epoch; `None` counts as oldest.
    pub created: Option<i64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations with our prefix ([`crate::names::ANNOTATION_PREFIX`]); no others.
    pub annotations: BTreeMap<String, String>,
    /// All finalizers, ours and others'.
    pub finalizers: Vec<String>,
    /// deletionTimestamp is set.
    pub deleting: bool,
    /// resourceVersion, for conditional writes; no decision depends on it.
    pub resource_version: String,
    /// Counts changes of `spec`; 0 where it is not known.
    pub generation: i64,
    /// `spec`.
    pub spec: serde_json::Value,
    /// `status`, or null.
    pub status: serde_json::Value,
}

impl OwnObject {
    /// An object that has nothing but its name and what it asks for.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str, spec: serde_json::Value) -> Self {
        let object = ObjectRef {
            kind: Kind::Own(kind.to_owned()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: "".into(),
        };
        Self {
            object,
            created: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            finalizers: Vec::new(),
            deleting: false,
            resource_version: String::new(),
            generation: 0,
            spec,
            status: serde_json::Value::Null,
        }
    }
}

impl Debug for OwnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut spec = self.spec.clone();
        if let Some(password) = spec.get_mut("password") {
            *password = "***".into();
        }
        f.debug_struct("OwnObject")
            .field("object", &self.object)
            .field("created", &self.created)
            .field("labels", &self.labels)
            .field("annotations", &self.annotations)
            .field("spec", &spec)
            .field("status", &self.status)
            .finish()
    }
}

/// All objects of the provider's own kinds, sorted by kind, namespace, name; and what else of the cluster it wants for its facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnObjects {
    /// The objects.
    pub objects: Vec<OwnObject>,
    /// Internal addresses of all nodes, load balancers' targets or not, and whose they are; empty unless [`Wants::node_addresses`].
    pub node_addresses: BTreeMap<IpAddr, String>,
}

impl OwnObjects {
    /// The objects of one kind, in order.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a OwnObject> {
        self.objects.iter().filter(move |o| o.object.kind.as_str() == kind)
    }
}

/// `resources: {TYPE: {ID: {"spec": …}}}` of `causeway plan`.
pub type Resources = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// A desired stack in a cloud's own terms.
pub trait Stack: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// What `causeway plan` prints; ids are deterministic, values hold at least `spec`.
    fn resources(&self) -> Resources;
}

/// A load balancer that the cloud holds with our mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Its key; for one known only by its tag, namespace and name in it are empty.
    pub key: LbKey,
}

/// When an inventory is read again: others change what it tells of, and nothing says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// This long after it was read, in any case.
    pub calm: Duration,
    /// This long after it was read, while some load balancer is not as wanted: what is missing may have come.
    pub troubled: Duration,
    /// As soon as this, after something was found wrong that was not before: what it refers to may be younger than the inventory.
    pub soonest: Duration,
}

impl Refresh {
    /// Whether to read it now. `troubled`: some load balancer is not as wanted; `new`: for a reason that is newer than the inventory.
    #[must_use]
    pub fn due(&self, age: Duration, troubled: bool, new: bool) -> bool {
        age >= self.calm || (troubled && age >= self.troubled) || (new && age >= self.soonest)
    }
}

/// A cloud. Everything that decides is pure and synchronous; only the last five methods do I/O.
///
/// Identity towards the cloud is [`LbKey::owner_tag`]. [`observe`](Self::observe) may answer from what the provider knows for sure (its
/// start-up inventory, the answers to its own writes); after an error it must look.
pub trait CloudProvider: Send + Sync + 'static {
    /// What decisions depend on besides the load balancer itself: own kinds, and the cloud's inventory. Equal facts lead to equal decisions.
    type Facts: PartialEq + Send + Sync + 'static;
    /// What must be read from the cloud to make facts (subnets, certificates, flavours, …); read from a file offline.
    type Inventory: Serialize + DeserializeOwned + Default + Clone + PartialEq + Send + Sync + 'static;
    /// Desired stack.
    type Stack: Stack;
    /// What is there.
    type Observed: Debug + Serialize + Send + Sync + 'static;
    /// A change.
    type Change: PlannedChange;

    /// Name as in `--cloud-provider`.
    fn name(&self) -> &'static str;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// What it wants to be told.
    fn wants(&self) -> Wants;
    /// Which load balancer a member belongs to. Pure.
    fn key(&self, member: &Member) -> LbKey;
    /// What else a member of a kind depends on, by its annotations; of an own kind, by its `spec`, as JSON under [`OWN_SPEC`]. Pure.
    fn references(&self, kind: &Kind, annotations: &BTreeMap<String, String>) -> References {
        let _ = (kind, annotations);
        References::default()
    }
    /// Facts out of own objects and inventory, and what is wrong with them; one bad object never hides another. Pure.
    fn facts(&self, objects: &OwnObjects, inventory: &Self::Inventory) -> (Self::Facts, Vec<Problem>);
    /// The stack for a load balancer; an empty stack for one without members. Pure.
    fn desired(&self, lb: &LoadBalancer, facts: &Self::Facts) -> (Self::Stack, Vec<Problem>);
    /// What leads from `have` to `want`. Empty if nothing differs. Pure, except that metal reserves addresses here: planning
    /// twice for one key gives the same.
    fn plan(&self, want: &Self::Stack, have: &Self::Observed) -> Plan<Self::Change>;
    /// What to say of each member. Pure.
    fn status(&self, want: &Self::Stack, have: &Self::Observed) -> Vec<MemberStatus>;
    /// Annotations that [`status`](Self::status) may set: removed from an object that leaves us alive.
    fn own_annotations(&self) -> &'static [&'static str] {
        &[]
    }
    /// The statuses that [`status`](Self::status) last said of a key were written (or its last member let go): what was given up is no longer shown
    /// anywhere and may be given to others. Answers the keys that asked in vain and may have better luck now.
    fn settled(&self, key: &LbKey) -> Vec<LbKey> {
        let _ = key;
        Vec::new()
    }
    /// Status of own objects, after anything changed. Pure.
    fn own_status(&self, facts: &Self::Facts) -> Vec<OwnStatus> {
        let _ = facts;
        Vec::new()
    }

    /// Called once when leadership begins, after the first complete lists and before any other call. `all` holds the members that are leaving too:
    /// what their status shows is not free before it is gone. Metal takes over the addresses that members have already; a cloud takes its inventory of what carries our mark.
    fn start(&self, all: &[LoadBalancer], facts: &Self::Facts) -> impl Future<Output = Result<()>> + Send;
    /// When the inventory is read again; `None`: it does not change by itself.
    fn refresh(&self) -> Option<Refresh> {
        None
    }
    /// Reads the inventory.
    fn inventory(&self) -> impl Future<Output = Result<Self::Inventory>> + Send;
    /// Looks at what is there for a key.
    fn observe(&self, key: &LbKey) -> impl Future<Output = Result<Self::Observed>> + Send;
    /// Applies one change. Checks the fence before every call that writes. Idempotent: a change that has taken effect already is `Done`.
    fn apply(&self, change: &Self::Change, fence: &Fence) -> impl Future<Output = Result<Outcome>> + Send;
    /// How the load balancer of a stack sees these addresses of pods: by address, one state for each target group that it is to be in; none where the stack
    /// does not want it as a target. Asked only while a pod waits for it ([`Wants::pod_gates`]).
    ///
    /// # Errors
    /// The cloud's: then nothing is known of any of them.
    fn target_states(
        &self,
        want: &Self::Stack,
        pods: &BTreeSet<IpAddr>,
    ) -> impl Future<Output = Result<BTreeMap<IpAddr, Vec<TargetState>>>> + Send {
        let _ = (want, pods);
        std::future::ready(Ok(BTreeMap::new()))
    }
    /// Everything in the cloud that carries our cluster's mark, for finding orphans.
    fn owned(&self) -> impl Future<Output = Result<Vec<Owned>>> + Send;

    /// The machines behind these Nodes, in their order, in as few calls as the cloud allows. Asked only of a cloud that has machines.
    fn instances(&self, nodes: &[NodeRef]) -> impl Future<Output = Result<Vec<Found>>> + Send {
        let unknown = nodes.iter().map(|_| Found::Unknown("this provider knows no machines".to_owned()));
        std::future::ready(Ok(unknown.collect()))
    }

    /// How often [`audit`](Self::audit) is worth its calls; `None`: never (nothing can drift).
    fn audit_period(&self) -> Option<Duration> {
        None
    }
    /// Looks for drift within the provider's own budget of calls, and forgets what it held for sure of the load balancers that moved.
    /// Answers the keys that must be observed anew.
    fn audit(&self) -> impl Future<Output = Result<Vec<LbKey>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_inventory_is_read_again_in_time() {
        let seconds = Duration::from_secs;
        let refresh = Refresh { calm: seconds(300), troubled: seconds(60), soonest: seconds(10) };
        for (age, troubled, new, due) in [
            (299, false, false, false),
            (300, false, false, true),
            (59, true, false, false),
            (60, true, false, true),
            (9, true, true, false),
            (10, true, true, true),
        ] {
            assert_eq!(refresh.due(seconds(age), troubled, new), due, "{age} {troubled} {new}");
        }
    }

    #[test]
    fn an_own_object_does_not_show_its_password() {
        let object =
            OwnObject::new("BGPPeer", "m", "tor", json!({"password": "open sesame", "myASN": 64500}));
        let text = format!("{object:?}");
        assert!(!text.contains("sesame") && text.contains("64500"), "{text}");
    }
}
