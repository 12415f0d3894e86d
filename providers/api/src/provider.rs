//! The trait that a cloud implements.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::fence::Fence;
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
    /// Namespaced kinds are read from `--config-namespace` only.
    pub namespaced: bool,
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
    /// Own kinds.
    pub kinds: Vec<OwnKind>,
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
    /// Whether a Service must have a NodePort to be served; ports without one are reported.
    pub needs_node_ports: bool,
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
    /// Reads the inventory.
    fn inventory(&self) -> impl Future<Output = Result<Self::Inventory>> + Send;
    /// Looks at what is there for a key.
    fn observe(&self, key: &LbKey) -> impl Future<Output = Result<Self::Observed>> + Send;
    /// Applies one change. Checks the fence before every call that writes. Idempotent: a change that has taken effect already is `Done`.
    fn apply(&self, change: &Self::Change, fence: &Fence) -> impl Future<Output = Result<Outcome>> + Send;
    /// Everything in the cloud that carries our cluster's mark, for finding orphans.
    fn owned(&self) -> impl Future<Output = Result<Vec<Owned>>> + Send;

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
    fn an_own_object_does_not_show_its_password() {
        let object =
            OwnObject::new("BGPPeer", "m", "tor", json!({"password": "open sesame", "myASN": 64500}));
        let text = format!("{object:?}");
        assert!(!text.contains("sesame") && text.contains("64500"), "{text}");
    }
}
