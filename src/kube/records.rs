//! Narrow types to the compact records of `state::records`. Pure.
//!
//! Invariants: a conversion never fails and never drops the object. A piece that cannot be understood (an address that is
//! none, a port beyond 65535) is left out and noted in [`Skipped`]; online the note is a debug line, offline an error.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{
    ClassParameters, Condition, EndpointsPerNode, Family, FamilyPolicy, IngressPoint, IpMode, Kind,
    ObjectRef, OwnObject, PathMatch, PortStatus, Protocol, ServicePort, TargetPort, TrafficPolicy, names,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::types;
use crate::state::records::{
    BackendRef, ClassRecord, IngressRecord, Meta, NamespaceRecord, NodeRecord, Path, PathRecord, PodRecord,
    RuleRecord, SecretRecord, ServiceRecord, SliceRecord, Strings, TlsRecord, WaitingEndpoint,
};

/// Label of an EndpointSlice: the Service it belongs to.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Pieces that were left out: field and reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Skipped(pub Vec<(String, String)>);

impl Skipped {
    fn note(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push((field.into(), reason.into()));
    }

    fn ip(&mut self, field: impl FnOnce() -> String, text: &str) -> Option<IpAddr> {
        match text.parse() {
            Ok(ip) => Some(ip),
            Err(_) => {
                self.note(field(), format!("{text:?} is not an IP address"));
                None
            }
        }
    }

    fn port(&mut self, field: impl FnOnce() -> String, number: i64) -> Option<u16> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Some(port),
            _ => {
                self.note(field(), format!("{number} is not a port (1 to 65535)"));
                None
            }
        }
    }

    fn protocol(&mut self, field: impl FnOnce() -> String, text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("" | "TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(other) => {
                self.note(field(), format!("protocol {other:?} is none of TCP, UDP, SCTP"));
                None
            }
        }
    }
}

/// Values that many objects have in common, names of nodes or whole label sets: each is kept once and shared, not once per object.
#[derive(Debug)]
pub struct Common<T: ?Sized> {
    known: BTreeSet<Arc<T>>,
    /// Size at which values that nobody uses any more are looked for.
    sweep_at: usize,
}

impl<T: ?Sized + Ord> Default for Common<T> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), sweep_at: 64 }
    }
}

impl<T: ?Sized + Ord> Common<T> {
    fn share<V: Borrow<T> + Into<Arc<T>>>(&mut self, value: V) -> Arc<T> {
        if let Some(known) = self.known.get(value.borrow()) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|n| Arc::strong_count(n) > 1);
            self.sweep_at = (self.known.len() * 2).max(64);
        }
        let value: Arc<T> = value.into();
        self.known.insert(value.clone());
        value
    }
}

impl Common<BTreeMap<String, String>> {
    /// Lets a Service share its labels, annotations and selector with those that have the same.
    pub fn adopt(&mut self, service: &mut ServiceRecord) {
        for map in [&mut service.meta.labels, &mut service.meta.annotations, &mut service.selector] {
            *map = self.share(Arc::clone(map));
        }
    }
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

fn strings(map: Option<BTreeMap<String, String>>) -> Strings {
    Arc::new(map.unwrap_or_default())
}

/// Namespace and name of an object.
#[must_use]
pub fn path(m: &ObjectMeta) -> Path {
    Path { namespace: m.namespace.clone().unwrap_or_default(), name: m.name.clone().unwrap_or_default() }
}

fn meta(m: ObjectMeta) -> Meta {
    Meta {
        namespace: m.namespace.unwrap_or_default(),
        name: m.name.unwrap_or_default(),
        uid: m.uid.unwrap_or_default().into(),
        resource_version: m.resource_version.unwrap_or_default(),
        created: m.creation_timestamp.map(|t| t.0.as_second()),
        deleting: m.deletion_timestamp.is_some(),
        finalizers: m.finalizers.unwrap_or_default(),
        labels: strings(m.labels),
        annotations: strings(m.annotations),
    }
}

/// Whether conditions of this type are ours to write and to remove.
#[must_use]
pub fn our_condition(kind: &str) -> bool {
    kind == names::CONDITION_PORTS_ERROR
        || kind.strip_prefix(names::DOMAIN).is_some_and(|rest| rest.starts_with('/'))
}

fn points(
    list: Option<Vec<types::IngressPoint>>,
    ip_modes: bool,
    skipped: &mut Skipped,
) -> Vec<IngressPoint> {
    let at = |i: usize, field: &str| format!("status.loadBalancer.ingress[{i}].{field}");
    let list = list.unwrap_or_default();
    let mut out = Vec::with_capacity(list.len());
    for (i, p) in list.into_iter().enumerate() {
        let ip = non_empty(p.ip).and_then(|text| skipped.ip(|| at(i, "ip"), &text));
        let ip_mode = match p.ip_mode.as_deref() {
            Some("Proxy") if ip_modes => Some(IpMode::Proxy),
            Some("VIP") if ip_modes => Some(IpMode::Vip),
            None | Some("" | "Proxy" | "VIP") => None,
            Some(other) => {
                skipped.note(at(i, "ipMode"), format!("{other:?} is neither VIP nor Proxy"));
                None
            }
        };
        let mut ports = Vec::new();
        for (j, s) in p.ports.unwrap_or_default().into_iter().enumerate() {
            let port = skipped.port(|| at(i, &format!("ports[{j}].port")), s.port.unwrap_or_default());
            let protocol = skipped.protocol(|| at(i, &format!("ports[{j}].protocol")), s.protocol.as_deref());
            if let (Some(port), Some(protocol)) = (port, protocol) {
                ports.push(PortStatus { port, protocol, error: non_empty(s.error) });
            }
        }
        // An entry that means nothing to us stays as an empty one: the list then differs from what we want and is put right.
        out.push(IngressPoint { ip, hostname: non_empty(p.hostname), ip_mode, ports });
    }
    out
}

/// A Service.
pub fn service(o: types::Service, skipped: &mut Skipped) -> ServiceRecord {
    let spec = o.spec;
    let all = spec.ports.unwrap_or_default();
    let mut ports = Vec::with_capacity(all.len());
    for (i, p) in all.into_iter().enumerate() {
        let port = skipped.port(|| format!("spec.ports[{i}].port"), p.port.unwrap_or_default());
        let protocol = skipped.protocol(|| format!("spec.ports[{i}].protocol"), p.protocol.as_deref());
        let node_port = p
            .node_port
            .filter(|n| *n != 0)
            .and_then(|n| skipped.port(|| format!("spec.ports[{i}].nodePort"), n));
        if let (Some(port), Some(protocol)) = (port, protocol) {
            let name = p.name.unwrap_or_default();
            let target_port = match p.target_port {
                Some(types::IntOrString::Int(number)) if number != 0 => skipped
                    .port(|| format!("spec.ports[{i}].targetPort"), number)
                    .map_or(TargetPort::Number(port), TargetPort::Number),
                Some(types::IntOrString::String(name)) if !name.is_empty() => TargetPort::Name(name),
                _ => TargetPort::Number(port),
            };
            ports.push(ServicePort {
                name,
                protocol,
                port,
                node_port,
                target_port,
                app_protocol: non_empty(p.app_protocol),
            });
        }
    }
    let mut families = Vec::new();
    for (i, f) in spec.ip_families.unwrap_or_default().iter().enumerate() {
        match f.as_str() {
            "IPv4" => families.push(Family::V4),
            "IPv6" => families.push(Family::V6),
            other => {
                skipped.note(format!("spec.ipFamilies[{i}]"), format!("{other:?} is neither IPv4 nor IPv6"))
            }
        }
    }
    let family_policy = match spec.ip_family_policy.as_deref() {
        None | Some("" | "SingleStack") => FamilyPolicy::SingleStack,
        Some("PreferDualStack") => FamilyPolicy::PreferDualStack,
        Some("RequireDualStack") => FamilyPolicy::RequireDualStack,
        Some(other) => {
            skipped.note(
                "spec.ipFamilyPolicy",
                format!("{other:?} is none of SingleStack, PreferDualStack, RequireDualStack"),
            );
            FamilyPolicy::SingleStack
        }
    };
    let cluster_ips = spec
        .cluster_ips
        .filter(|list| !list.is_empty())
        .or_else(|| spec.cluster_ip.map(|ip| vec![ip]))
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter(|(_, ip)| !ip.is_empty() && *ip != "None")
        .filter_map(|(i, ip)| skipped.ip(|| format!("spec.clusterIPs[{i}]"), ip))
        .collect();
    let affinity_seconds = match spec.session_affinity.as_deref() {
        Some("ClientIP") => {
            let seconds =
                spec.session_affinity_config.and_then(|c| c.client_ip).and_then(|c| c.timeout_seconds);
            Some(seconds.map_or(10800, |s| u32::try_from(s).unwrap_or(10800)))
        }
        None | Some("" | "None") => None,
        Some(other) => {
            skipped.note("spec.sessionAffinity", format!("{other:?} is neither None nor ClientIP"));
            None
        }
    };
    let traffic_policy = match spec.external_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            skipped.note("spec.externalTrafficPolicy", format!("{other:?} is neither Cluster nor Local"));
            TrafficPolicy::Cluster
        }
    };
    let health_check_node_port = spec
        .health_check_node_port
        .filter(|n| *n != 0)
        .and_then(|n| skipped.port(|| "spec.healthCheckNodePort".into(), n));
    let conditions = o
        .status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .filter(|c| c.kind.as_deref().is_some_and(our_condition))
        .map(|c| Condition {
            kind: c.kind.unwrap_or_default(),
            status: c.status.as_deref() == Some("True"),
            reason: c.reason.unwrap_or_default(),
            message: c.message.unwrap_or_default(),
        })
        .collect();
    ServiceRecord {
        meta: meta(o.metadata),
        load_balancer: spec.kind.as_deref() == Some("LoadBalancer"),
        class: non_empty(spec.load_balancer_class),
        ports,
        families,
        family_policy,
        cluster_ips,
        load_balancer_ip: non_empty(spec.load_balancer_ip),
        source_ranges: spec.load_balancer_source_ranges.unwrap_or_default(),
        affinity_seconds,
        traffic_policy,
        health_check_node_port,
        selector: strings(spec.selector),
        ingress: points(o.status.load_balancer.ingress, true, skipped),
        conditions,
    }
}

fn backend(b: types::Backend) -> BackendRef {
    match (b.service, b.resource) {
        (None, Some(r)) => {
            BackendRef::Resource(format!("{}/{}", r.kind.unwrap_or_default(), r.name.unwrap_or_default()))
        }
        (service, _) => {
            let s = service.unwrap_or_default();
            let port = s.port.unwrap_or_default();
            let number = port.number.filter(|n| *n != 0).map(|n| n.to_string());
            BackendRef::Service {
                name: s.name.unwrap_or_default(),
                port: non_empty(port.name).or(number).unwrap_or_default(),
            }
        }
    }
}

/// An Ingress.
pub fn ingress(o: types::Ingress, skipped: &mut Skipped) -> IngressRecord {
    let mut rules = Vec::new();
    for (i, r) in o.spec.rules.unwrap_or_default().into_iter().enumerate() {
        let mut paths = Vec::new();
        for (j, p) in r.http.unwrap_or_default().paths.unwrap_or_default().into_iter().enumerate() {
            let matching = match p.path_type.as_deref() {
                Some("Exact") => PathMatch::Exact,
                Some("Prefix") => PathMatch::Prefix,
                None | Some("" | "ImplementationSpecific") => PathMatch::ImplementationSpecific,
                Some(other) => {
                    // A path that is matched otherwise than it says could take another's traffic: leave it out.
                    skipped.note(
                        format!("spec.rules[{i}].http.paths[{j}].pathType"),
                        format!("{other:?} is none of Exact, Prefix, ImplementationSpecific"),
                    );
                    continue;
                }
            };
            let backend = backend(p.backend.unwrap_or_default());
            paths.push(PathRecord { path: p.path.unwrap_or_default(), matching, backend });
        }
        rules.push(RuleRecord { host: r.host.unwrap_or_default(), paths });
    }
    let tls = o
        .spec
        .tls
        .unwrap_or_default()
        .into_iter()
        .map(|t| TlsRecord { hosts: t.hosts.unwrap_or_default(), secret: non_empty(t.secret_name) })
        .collect();
    IngressRecord {
        meta: meta(o.metadata),
        class: o.spec.ingress_class_name,
        rules,
        default_backend: o.spec.default_backend.map(backend),
        tls,
        ingress: points(o.status.load_balancer.ingress, false, skipped),
    }
}

/// An IngressClass.
pub fn class(o: types::IngressClass) -> ClassRecord {
    let meta = meta(o.metadata);
    let default = meta.annotations.get(names::ANNOTATION_DEFAULT_CLASS).is_some_and(|v| v == "true");
    let parameters = o.spec.parameters.map(|p| ClassParameters {
        group: p.api_group.unwrap_or_default(),
        kind: p.kind.unwrap_or_default(),
        namespace: p.namespace.filter(|_| p.scope.as_deref() == Some("Namespace")),
        name: p.name.unwrap_or_default(),
        spec: None,
    });
    ClassRecord { meta, controller: o.spec.controller.unwrap_or_default(), parameters, default }
}

/// A Node.
pub fn node(o: types::Node, skipped: &mut Skipped) -> NodeRecord {
    let meta = meta(o.metadata);
    let mut addresses = Vec::new();
    for (i, a) in o.status.addresses.unwrap_or_default().into_iter().enumerate() {
        if a.kind.as_deref() != Some("InternalIP") {
            continue;
        }
        let text = a.address.unwrap_or_default();
        addresses.extend(skipped.ip(|| format!("status.addresses[{i}].address"), &text));
    }
    let taints = o.spec.taints.unwrap_or_default();
    let leaving = taints
        .iter()
        .any(|t| matches!(t.key.as_deref(), Some(names::TAINT_AUTOSCALER | names::TAINT_KARPENTER)));
    let out_of_service = taints.iter().any(|t| t.key.as_deref() == Some(names::TAINT_OUT_OF_SERVICE));
    let conditions = o.status.conditions.unwrap_or_default();
    let network_unavailable = conditions
        .iter()
        .any(|c| c.kind.as_deref() == Some("NetworkUnavailable") && c.status.as_deref() == Some("True"));
    NodeRecord {
        name: meta.name,
        uid: meta.uid.to_string(),
        deleting: meta.deleting,
        labels: meta.labels,
        leaving,
        provider_id: non_empty(o.spec.provider_id),
        addresses,
        network_unavailable,
        out_of_service,
        cordoned: o.spec.unschedulable.unwrap_or(false),
    }
}

/// An EndpointSlice. The addresses of its endpoints are kept only where somebody wants them: there are many.
pub fn slice(
    o: types::EndpointSlice,
    nodes: &mut Common<str>,
    addresses: bool,
    waiting: bool,
) -> SliceRecord {
    let mut by_node: BTreeMap<Arc<str>, EndpointsPerNode> = BTreeMap::new();
    let (mut ready_at, mut waiting_at) = (Vec::new(), Vec::new());
    for e in o.endpoints.unwrap_or_default() {
        // Absent `ready` means ready; absent `serving` means the same as ready (discovery/v1 EndpointConditions).
        let ready = e.conditions.ready.unwrap_or(true);
        let serving = e.conditions.serving.unwrap_or(ready);
        let pod = e.target_ref.filter(|to| to.kind.as_deref() == Some("Pod")).and_then(|to| to.name);
        if let Some(pod) = pod.filter(|_| waiting && !ready && e.conditions.terminating != Some(true)) {
            let node = nodes.share(e.node_name.as_deref().unwrap_or_default());
            let parsed = e.addresses.iter().flatten().filter_map(|text| text.parse().ok());
            waiting_at.extend(parsed.map(|address: IpAddr| WaitingEndpoint {
                address,
                node: Arc::clone(&node),
                pod: pod.clone(),
            }));
        }
        if !ready && !serving {
            continue;
        }
        let node = nodes.share(e.node_name.as_deref().unwrap_or_default());
        if addresses && ready {
            let parsed = e.addresses.iter().flatten().filter_map(|text| text.parse().ok());
            ready_at.extend(parsed.map(|ip: IpAddr| (ip, Arc::clone(&node))));
        }
        let count = by_node.entry(node).or_default();
        if ready {
            count.ready += 1;
        } else {
            count.serving += 1;
        }
    }
    let service =
        o.metadata.labels.as_ref().and_then(|l| l.get(LABEL_SERVICE_NAME)).cloned().unwrap_or_default();
    let ports = o.ports.unwrap_or_default().into_iter().filter_map(|p| {
        let port = u16::try_from(p.port?).ok().filter(|port| *port > 0)?;
        Some((p.name.unwrap_or_default(), port))
    });
    let ports = if addresses { ports.collect() } else { Vec::new() };
    SliceRecord { path: path(&o.metadata), service, by_node, ready: ready_at, ports, waiting: waiting_at }
}

/// A Pod, if it has readiness gates whose types begin with `prefix`.
#[must_use]
pub fn pod(o: types::Pod, prefix: &str) -> Option<PodRecord> {
    let gates = o.spec.readiness_gates.into_iter().flatten().filter_map(|gate| gate.condition_type);
    let gates: Vec<String> = gates.filter(|kind| kind.starts_with(prefix)).collect();
    if gates.is_empty() {
        return None;
    }
    let conditions = o.status.conditions.unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|c| c.kind.as_deref() == Some(kind));
    let is_true = |c: &types::PodCondition| c.status.as_deref() == Some("True");
    let as_is = |kind: &String| {
        find(kind).map(|c| Condition {
            kind: kind.clone(),
            status: is_true(c),
            reason: c.reason.clone().unwrap_or_default(),
            message: c.message.clone().unwrap_or_default(),
        })
    };
    Some(PodRecord {
        path: path(&o.metadata),
        containers_ready: find("ContainersReady").is_some_and(is_true),
        gates: gates.into_iter().map(|kind| (kind.clone(), as_is(&kind))).collect(),
        uid: o.metadata.uid.unwrap_or_default(),
        version: o.metadata.resource_version.unwrap_or_default(),
        deleting: o.metadata.deletion_timestamp.is_some(),
        labels: strings(o.metadata.labels),
    })
}

/// A Secret.
#[must_use]
pub fn secret(o: types::Secret) -> SecretRecord {
    SecretRecord { path: path(&o.metadata), version: o.metadata.resource_version.unwrap_or_default() }
}

/// A Namespace.
#[must_use]
pub fn namespace(o: types::Namespace) -> NamespaceRecord {
    NamespaceRecord { name: o.metadata.name.unwrap_or_default(), labels: strings(o.metadata.labels) }
}

/// An object of a provider's own kind.
#[must_use]
pub fn own(kind: &str, o: types::Own) -> OwnObject {
    let m = o.metadata;
    OwnObject {
        object: ObjectRef {
            kind: Kind::Own(kind.to_owned()),
            namespace: m.namespace.unwrap_or_default(),
            name: m.name.unwrap_or_default(),
            uid: m.uid.unwrap_or_default().into(),
        },
        created: m.creation_timestamp.map(|t| t.0.as_second()),
        labels: m.labels.unwrap_or_default(),
        annotations: m
            .annotations
            .unwrap_or_default()
            .into_iter()
            .filter(|(key, _)| key.starts_with(names::ANNOTATION_PREFIX))
            .collect(),
        finalizers: m.finalizers.unwrap_or_default(),
        deleting: m.deletion_timestamp.is_some(),
        resource_version: m.resource_version.unwrap_or_default(),
        generation: m.generation.unwrap_or_default(),
        spec: o.spec,
        status: o.status,
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
