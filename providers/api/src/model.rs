//! The neutral load balancer: what Kubernetes asks for, in no cloud's terms. Pure data, made by `translate`.
//!
//! Everything is ordered and comparable, so that the same input in any order gives the same bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::key::{LbKey, ObjectRef};
use crate::names;
use crate::status::IngressPoint;

/// Transport protocol of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: &IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FamilyPolicy {
    /// One family.
    #[default]
    SingleStack,
    /// Two if the cluster has them.
    PreferDualStack,
    /// Two, or it is an error.
    RequireDualStack,
}

/// `spec.externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Any node may take the traffic; the client's address is lost.
    #[default]
    Cluster,
    /// Only nodes with a local endpoint; the client's address is kept.
    Local,
}

/// Protocol of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HealthProtocol {
    /// A TCP connection succeeds.
    Tcp,
    /// HTTP GET answers 200.
    Http,
}

/// How a load balancer learns which nodes may take traffic. The default that Kubernetes' rules give; settings of the user
/// win in the provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Protocol.
    pub protocol: HealthProtocol,
    /// Port on the node; `None` is the traffic port of the listener.
    pub port: Option<u16>,
    /// Path of an HTTP check.
    pub path: Option<String>,
}

/// Where the pods of a Service port listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// The same number in all pods.
    Number(u16),
    /// The name of a container's port, whose number may differ among pods.
    Name(String),
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePort {
    /// Name; empty where there is only one port.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the load balancer.
    pub port: u16,
    /// NodePort, absent with `allocateLoadBalancerNodePorts: false`.
    pub node_port: Option<u16>,
    /// `targetPort`; that of the Service where none is given.
    pub target_port: TargetPort,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// Usable endpoints on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointsPerNode {
    /// Endpoints that are ready.
    pub ready: u32,
    /// Endpoints that are not ready, but still serve (terminating).
    pub serving: u32,
}

/// One port of one pod that is ready for connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name of the Service's port; empty where there is only one.
    pub port_name: String,
    /// Address of the pod.
    pub address: IpAddr,
    /// Port of the pod.
    pub port: u16,
    /// Node it runs on, if known.
    pub node: Option<Arc<str>>,
}

/// Endpoints, as far as [`crate::Wants::endpoints`] asked for them; empty otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoints {
    /// Counts by node.
    pub by_node: BTreeMap<String, EndpointsPerNode>,
    /// Every ready port of every pod, sorted and without duplicates; only where [`crate::References::endpoints`] asked for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<Endpoint>,
}

/// What a Service asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Ports in the order of the Service.
    pub ports: Vec<ServicePort>,
    /// `spec.ipFamilies`, primary first.
    pub families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    pub family_policy: FamilyPolicy,
    /// `spec.clusterIPs`; empty for a Service that has none yet.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.loadBalancerIP` as written; unchecked.
    pub requested_address: Option<String>,
    /// Client networks that may use the load balancer, sorted; empty means everybody.
    pub source_ranges: Vec<IpNet>,
    /// `sessionAffinity: ClientIP`: timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// `spec.externalTrafficPolicy`.
    pub traffic_policy: TrafficPolicy,
    /// Health check by KEP-3836 and `healthCheckNodePort`.
    pub health: HealthCheck,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// Endpoints, if wanted.
    pub endpoints: Endpoints,
}

/// How a path of an Ingress matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathMatch {
    /// Byte-equal.
    Exact,
    /// Element-wise prefix.
    Prefix,
    /// The provider's choice.
    ImplementationSpecific,
}

/// Backend of an Ingress path, resolved by `translate`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Backend {
    /// Namespace of the Service (the Ingress's own).
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Uid of the Service; empty if it is missing.
    pub uid: Arc<str>,
    /// The port as the Ingress names it: number or name. Empty for an action annotation.
    pub port: String,
    /// The resolved NodePort; `None` if the Service or port is missing or has none: the provider answers 503 there.
    pub node_port: Option<u16>,
    /// The resolved Service port, for `ip` targets.
    pub service_port: Option<u16>,
    /// Name of the resolved Service port, by which endpoints are told apart.
    pub port_name: String,
    /// Where its pods listen; `None` if the Service or port is missing.
    pub target_port: Option<TargetPort>,
    /// All ports of the Service; none if it is missing.
    pub ports: Vec<ServicePort>,
    /// Families of the Service, primary first.
    pub families: Vec<Family>,
    /// Endpoints of the Service, if wanted.
    pub endpoints: Endpoints,
    /// `externalTrafficPolicy` of the Service.
    pub traffic_policy: TrafficPolicy,
    /// Health check of this backend.
    pub health: HealthCheck,
    /// Annotations of the Service (some providers' settings may be put there).
    pub annotations: BTreeMap<String, String>,
}

/// One rule's path of an Ingress, unresolved order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IngressPath {
    /// Path; `/` where none was given.
    pub path: String,
    /// How it matches.
    pub matching: PathMatch,
    /// Where it goes.
    pub backend: IngressBackend,
}

/// Backend of an Ingress as resolved by `translate`, or why it cannot be.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large variant")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IngressBackend {
    /// A Service port.
    Service(Backend),
    /// A `resource` backend; no provider serves these.
    Unsupported(String),
}

/// One rule of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IngressRule {
    /// Host; empty for all, `*.x` for one label.
    pub host: String,
    /// Paths in the order of the Ingress.
    pub paths: Vec<IngressPath>,
}

/// One TLS entry of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IngressTls {
    /// Hosts.
    pub hosts: Vec<String>,
    /// Secret name in the Ingress's namespace; may be absent.
    pub secret: Option<String>,
}

/// What an Ingress asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IngressSpec {
    /// Rules in order.
    pub rules: Vec<IngressRule>,
    /// Default backend.
    pub default_backend: Option<IngressBackend>,
    /// TLS entries.
    pub tls: Vec<IngressTls>,
}

/// What a member asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberSpec {
    /// A Service.
    Service(ServiceSpec),
    /// An Ingress.
    Ingress(IngressSpec),
    /// An object of an own kind whose objects are members ([`crate::OwnKind::members`]).
    Own(OwnSpec),
}

/// What an object of an own kind asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnSpec {
    /// Its `spec`, as JSON.
    pub spec: String,
    /// It is being deleted: what it asked for is to be taken back, wherever that is.
    pub leaving: bool,
}

/// The object that an IngressClass names as its parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClassParameters {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `None` for an object of the cluster.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `spec` of that object, as JSON; `None` if there is none, or its kind is none of [`crate::Wants::kinds`].
    pub spec: Option<String>,
}

/// One Service or Ingress that a load balancer serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The object.
    pub object: ObjectRef,
    /// creationTimestamp, seconds since the epoch; `None` counts as oldest.
    pub created: Option<i64>,
    /// `loadBalancerClass` or the name of the IngressClass.
    pub class: Option<String>,
    /// `spec.parameters` of the IngressClass.
    pub class_parameters: Option<ClassParameters>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Labels of the namespace, if [`crate::Wants::namespace_labels`].
    pub namespace_labels: BTreeMap<String, String>,
    /// `status.loadBalancer.ingress` as it stands now: what was given before and must be kept.
    pub current: Vec<IngressPoint>,
    /// The Services that annotations name ([`crate::References::services`]), by name and port as they are written there. One that does
    /// not exist has no `service_port`.
    pub services: BTreeMap<(String, String), Backend>,
    /// Versions of the Secrets that annotations name ([`crate::References::secrets`]); `None`: there is none.
    pub secrets: BTreeMap<String, Option<String>>,
    /// What it asks for.
    pub spec: MemberSpec,
}

impl Member {
    /// The group that its annotation [`names::ANNOTATION_GROUP`] joins it to, with others of its namespace: `namespace/name`. An error says why the
    /// name is none.
    #[must_use]
    pub fn group(&self) -> Option<Result<String, String>> {
        let name = self.annotations.get(names::ANNOTATION_GROUP)?;
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let right = (1..=63).contains(&name.len())
            && name.chars().all(|c| inner(c) || c == '-')
            && name.starts_with(inner)
            && name.ends_with(inner);
        Some(if right {
            Ok(format!("{}/{name}", self.object.namespace))
        } else {
            Err(format!(
                "{name:?} is not 1 to 63 lower-case letters, digits and dashes, with a letter or digit at both ends"
            ))
        })
    }

    /// The Service part, if this is a Service.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceSpec> {
        match &self.spec {
            MemberSpec::Service(s) => Some(s),
            MemberSpec::Ingress(_) | MemberSpec::Own(_) => None,
        }
    }

    /// The Ingress part, if this is an Ingress.
    #[must_use]
    pub fn ingress(&self) -> Option<&IngressSpec> {
        match &self.spec {
            MemberSpec::Ingress(i) => Some(i),
            MemberSpec::Service(_) | MemberSpec::Own(_) => None,
        }
    }

    /// Order of precedence among members: oldest first, ties by namespace and name.
    #[must_use]
    pub fn age(&self) -> (Option<i64>, &str, &str) {
        (self.created, &self.object.namespace, &self.object.name)
    }
}

/// One node that may take traffic: eligibility is decided before, health is the load balancer's job (KEP-3458).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Name.
    pub name: String,
    /// `spec.providerID`.
    pub provider_id: Option<String>,
    /// InternalIPs, in the order of the Node's status.
    pub addresses: Vec<IpAddr>,
    /// Labels.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// Nodes by name, with a hash of them. Computed once per change of nodes and shared by all load balancers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeSet {
    /// Sorted by name.
    pub nodes: Vec<Node>,
}

/// One L4 listener: one port of one member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listener {
    /// Index into [`LoadBalancer::members`].
    pub member: usize,
    /// The port of the Service. A listener exists also where `node_port` is absent; a provider that targets NodePorts
    /// reports that port.
    pub port: ServicePort,
}

/// One route of an L7 load balancer. Routes are in order of precedence over all members: hosts first (precise, wildcard,
/// none), then Exact before Prefix, longest first, ties by age of the member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Index into [`LoadBalancer::members`].
    pub member: usize,
    /// Host; empty for all, `*.x` for exactly one label.
    pub host: String,
    /// Path.
    pub path: String,
    /// How it matches.
    pub matching: PathMatch,
    /// Backend.
    pub backend: Backend,
}

/// A certificate that an L7 load balancer needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Certificate {
    /// Index into [`LoadBalancer::members`].
    pub member: usize,
    /// Hosts, as the Ingress says.
    pub hosts: Vec<String>,
    /// `namespace/name` of the Secret; `None`: the provider's own discovery.
    pub secret: Option<String>,
    /// resourceVersion or digest of the Secret's content, if Secrets are wanted and it is there.
    pub secret_version: Option<String>,
}

/// The L7 part of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HttpBody {
    /// Routes in order of precedence.
    pub routes: Vec<Route>,
    /// Default backend: that of the oldest member which has one.
    pub default_backend: Option<(usize, Backend)>,
    /// Certificates.
    pub certificates: Vec<Certificate>,
}

/// What a load balancer listens to.
#[allow(clippy::large_enum_variant, reason = "there is one for each load balancer")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Services. No two listeners have the same protocol and port.
    L4(Vec<Listener>),
    /// Ingresses.
    L7(HttpBody),
}

/// One load balancer as Kubernetes asks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Identity.
    pub key: LbKey,
    /// Members, oldest first. Empty: nobody wants it any more.
    pub members: Vec<Member>,
    /// Listeners or routes.
    pub body: Body,
    /// Eligible nodes; empty if the provider does not want nodes.
    pub nodes: Arc<NodeSet>,
}

impl LoadBalancer {
    /// A load balancer that nobody wants: planning for it deletes what is there.
    #[must_use]
    pub fn unwanted(key: LbKey) -> Self {
        let body = match key.layer {
            crate::Layer::L4 => Body::L4(Vec::new()),
            crate::Layer::L7 => Body::L7(HttpBody::default()),
        };
        Self { key, members: Vec::new(), body, nodes: Arc::default() }
    }
}
