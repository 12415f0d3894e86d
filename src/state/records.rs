//! Compact records of the objects that we watch: exactly the fields that decisions need. Pure data.
//!
//! `kube` makes them out of what the API server says, `causeway plan` out of YAML files; `translate` and the index read
//! them. Nothing else of an object is ever kept: 5,000 Services, Nodes and EndpointSlices take some 10 MiB.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{
    ClassParameters, Condition, EndpointsPerNode, Family, FamilyPolicy, IngressPoint, Kind, ObjectRef,
    OwnObject, PathMatch, ServicePort, TrafficPolicy,
};

/// Ordered string map, shared: labels and annotations are handed on often and never changed.
pub type Strings = Arc<BTreeMap<String, String>>;

/// The part of `metadata` that we use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid; empty where an offline file gives none.
    pub uid: Arc<str>,
    /// resourceVersion, for conditional writes; not part of any fingerprint.
    pub resource_version: String,
    /// creationTimestamp, seconds since the epoch.
    pub created: Option<i64>,
    /// deletionTimestamp is set.
    pub deleting: bool,
    /// All finalizers, ours and others'.
    pub finalizers: Vec<String>,
    /// Labels.
    pub labels: Strings,
    /// Annotations, without `kubectl.kubernetes.io/last-applied-configuration`.
    pub annotations: Strings,
}

impl Meta {
    /// `(namespace, name)`: the key of the index.
    #[must_use]
    pub fn path(&self) -> Path {
        Path { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// Namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A Service: of type LoadBalancer, or with our finalizer, or (where Ingresses are served) any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRecord {
    /// Metadata.
    pub meta: Meta,
    /// `spec.type` is LoadBalancer.
    pub load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// Ports in order.
    pub ports: Vec<ServicePort>,
    /// `spec.ipFamilies`.
    pub families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    pub family_policy: FamilyPolicy,
    /// `spec.clusterIPs` without `None`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.loadBalancerIP`, if not empty.
    pub load_balancer_ip: Option<String>,
    /// `spec.loadBalancerSourceRanges` as written.
    pub source_ranges: Vec<String>,
    /// `sessionAffinity: ClientIP`: timeout in seconds (10800 by default).
    pub affinity_seconds: Option<u32>,
    /// `spec.externalTrafficPolicy`.
    pub traffic_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`, if allocated.
    pub health_check_node_port: Option<u16>,
    /// `spec.selector`.
    pub selector: Strings,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IngressPoint>,
    /// `status.conditions` of the types we may write; with the observed generation and time left out.
    pub conditions: Vec<Condition>,
}

impl ServiceRecord {
    /// The object.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef::service(&self.meta.namespace, &self.meta.name, Arc::clone(&self.meta.uid))
    }
}

/// An object of an own kind that is a member: what is written on it, and what was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnRecord {
    /// The kind.
    pub kind: String,
    /// Metadata.
    pub meta: Meta,
    /// Counts changes of `spec`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed: Option<i64>,
}

impl OwnRecord {
    /// Of an object.
    #[must_use]
    pub fn of(object: &OwnObject) -> Self {
        Self {
            kind: object.object.kind.as_str().to_owned(),
            meta: Meta {
                namespace: object.object.namespace.clone(),
                name: object.object.name.clone(),
                uid: Arc::clone(&object.object.uid),
                resource_version: object.resource_version.clone(),
                created: object.created,
                deleting: object.deleting,
                finalizers: object.finalizers.clone(),
                labels: Arc::new(object.labels.clone()),
                annotations: Arc::new(object.annotations.clone()),
            },
            generation: object.generation,
            observed: object.status.get("observedGeneration").and_then(serde_json::Value::as_i64),
        }
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef {
            kind: Kind::Own(self.kind.clone()),
            namespace: self.meta.namespace.clone(),
            name: self.meta.name.clone(),
            uid: Arc::clone(&self.meta.uid),
        }
    }
}

/// Backend of an Ingress as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendRef {
    /// `service`: name, and port by number or name (empty if neither).
    Service {
        /// Name.
        name: String,
        /// Number or name of the port.
        port: String,
    },
    /// `resource`: `kind/name`.
    Resource(String),
}

/// One path of a rule as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathRecord {
    /// Path; may be empty.
    pub path: String,
    /// `pathType`.
    pub matching: PathMatch,
    /// Backend.
    pub backend: BackendRef,
}

/// One rule as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleRecord {
    /// Host; empty for all.
    pub host: String,
    /// Paths in order.
    pub paths: Vec<PathRecord>,
}

/// One TLS entry as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsRecord {
    /// Hosts.
    pub hosts: Vec<String>,
    /// `secretName`, if not empty.
    pub secret: Option<String>,
}

/// An Ingress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IngressRecord {
    /// Metadata.
    pub meta: Meta,
    /// `spec.ingressClassName`.
    pub class: Option<String>,
    /// Rules.
    pub rules: Vec<RuleRecord>,
    /// Default backend.
    pub default_backend: Option<BackendRef>,
    /// TLS.
    pub tls: Vec<TlsRecord>,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IngressPoint>,
}

impl IngressRecord {
    /// The object.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef::ingress(&self.meta.namespace, &self.meta.name, Arc::clone(&self.meta.uid))
    }
}

/// An IngressClass.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClassRecord {
    /// Metadata.
    pub meta: Meta,
    /// `spec.controller`.
    pub controller: String,
    /// `spec.parameters`.
    pub parameters: Option<ClassParameters>,
    /// The default-class annotation is `"true"`.
    pub default: bool,
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeRecord {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// deletionTimestamp is set.
    pub deleting: bool,
    /// Labels.
    pub labels: Strings,
    /// Keys of the taints that matter: [`causeway_api::names::TAINT_AUTOSCALER`], [`causeway_api::names::TAINT_KARPENTER`].
    pub leaving: bool,
    /// It has the taint [`causeway_api::names::TAINT_OUT_OF_SERVICE`].
    pub out_of_service: bool,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// `spec.providerID`, if not empty.
    pub provider_id: Option<String>,
    /// InternalIPs in order.
    pub addresses: Vec<IpAddr>,
    /// Condition NetworkUnavailable is True.
    pub network_unavailable: bool,
}

/// The usable endpoints of one EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SliceRecord {
    /// Namespace and name of the slice.
    pub path: Path,
    /// Name of the Service (label `kubernetes.io/service-name`).
    pub service: String,
    /// Usable endpoints by node; endpoints without a node count under the empty name.
    pub by_node: BTreeMap<Arc<str>, EndpointsPerNode>,
    /// Addresses of ready endpoints and their nodes, if anybody wants them.
    pub ready: Vec<(IpAddr, Arc<str>)>,
    /// Names and numbers of the endpoints' ports, with the addresses.
    pub ports: Vec<(String, u16)>,
    /// Endpoints that are not ready and not ending, where anybody wants them ([`causeway_api::Wants::pod_gates`]).
    pub waiting: Vec<WaitingEndpoint>,
}

/// An endpoint that is not ready (yet).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WaitingEndpoint {
    /// Address.
    pub address: IpAddr,
    /// Node; empty if unknown.
    pub node: Arc<str>,
    /// Name of its Pod, in the slice's namespace.
    pub pod: String,
}

/// A Pod that has readiness gates of the provider's; others are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// Namespace and name.
    pub path: Path,
    /// Uid.
    pub uid: String,
    /// resourceVersion.
    pub version: String,
    /// deletionTimestamp is set.
    pub deleting: bool,
    /// Labels.
    pub labels: Strings,
    /// Condition ContainersReady is True: but for the gates it could be ready.
    pub containers_ready: bool,
    /// The provider's gates by type, with the condition of that type as it is.
    pub gates: BTreeMap<String, Option<Condition>>,
}

impl PodRecord {
    /// Whether all of the provider's gates are open.
    #[must_use]
    pub fn open(&self) -> bool {
        self.gates.values().all(|condition| condition.as_ref().is_some_and(|c| c.status))
    }

    /// Nothing of its own keeps it from serving. It must be a target then, ready or not: without it the gates never open; and once they do, its Services call it ready a
    /// moment later only.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.containers_ready && !self.deleting
    }

    /// It waits for the provider.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.serves() && !self.open()
    }
}

/// A Secret that an Ingress names: only that it is there, and which version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretRecord {
    /// Namespace and name.
    pub path: Path,
    /// resourceVersion.
    pub version: String,
}

/// A namespace's labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceRecord {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Strings,
}

/// What a watch says of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta<T> {
    /// The object is there, new or changed.
    Apply(T),
    /// The object is gone, or no longer of interest.
    Delete(Path),
    /// The complete list, after a start or a gap: what is not in it is gone.
    Reset(Vec<T>),
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// Services.
    Service(Delta<ServiceRecord>),
    /// Ingresses.
    Ingress(Delta<IngressRecord>),
    /// IngressClasses.
    Class(Delta<ClassRecord>),
    /// Nodes; `Path::namespace` is empty.
    Node(Delta<NodeRecord>),
    /// EndpointSlices.
    Slice(Delta<SliceRecord>),
    /// Secrets.
    Secret(Delta<SecretRecord>),
    /// Pods with readiness gates.
    Pod(Delta<PodRecord>),
    /// Namespaces; `Path::namespace` is empty.
    Namespace(Delta<NamespaceRecord>),
    /// Objects of one of the provider's own kinds; the first field is the kind.
    Own(&'static str, Delta<causeway_api::OwnObject>),
}
