//! From the neutral load balancer to the model cloud's own stack. Pure.
//!
//! Members are taken oldest first, so that where they clash, or a quota does not do for all, the older has it and the younger is told; the
//! order in which they come does not matter.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use causeway_api::{
    Backend, Body, Family, HttpBody, Kind, LbKey, Listener as Port, LoadBalancer, Member, NodeSet, ObjectRef,
    PortStatus, Problem, Resources, Stack, names,
};
use serde::Serialize;
use serde_json::json;

use super::limits::{self, Quotas};
use super::naming;
use crate::cloud::{
    Action, CertificateRef, Listener, ListenerProtocol, Nodes, Rule, Scheme, SetId, Spec, TargetGroup,
    TargetProtocol, Targets, listener_name, quota,
};

/// What decisions depend on besides the load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Quotas of the account.
    pub quotas: Quotas,
}

/// What of the stack is one member's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberPart {
    /// The member.
    pub object: ObjectRef,
    /// Families that it wants addresses of.
    pub families: Vec<Family>,
    /// Ports of a Service and why one is not served; empty for an Ingress.
    pub ports: Vec<PortStatus>,
}

/// The stack: one load balancer with everything in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelStack {
    /// Whose.
    pub key: LbKey,
    /// Cluster id: the mark.
    pub cluster: String,
    /// The load balancer, without the tag that says what was applied; `None`: there shall be none.
    pub spec: Option<Spec>,
    /// A setting that is fixed for a load balancer's life cannot be understood: whatever is there is kept as it is in this respect.
    pub frozen: bool,
    /// The sets of nodes that the spec names.
    pub sets: BTreeMap<SetId, Nodes>,
    /// Members, by object.
    pub members: Vec<MemberPart>,
    /// Whose a listener or rule is, for blame.
    pub sources: BTreeMap<String, ObjectRef>,
    /// Quotas that the plan must keep.
    pub quotas: Quotas,
}

impl ModelStack {
    /// Whom to tell what concerns the load balancer as a whole.
    #[must_use]
    pub fn blame(&self) -> ObjectRef {
        match (self.members.first(), &self.key.owner) {
            (Some(member), _) => member.object.clone(),
            (None, causeway_api::Owner::Object(object)) => object.clone(),
            (None, causeway_api::Owner::Group(name)) => {
                let (namespace, _) = name.split_once('/').unwrap_or(("", name));
                ObjectRef::service(namespace, name, "")
            }
        }
    }
}

impl Stack for ModelStack {
    fn resources(&self) -> Resources {
        let mut all = Resources::new();
        let Some(spec) = &self.spec else { return all };
        let mut put = |kind: &str, id: &str, spec: serde_json::Value| {
            all.entry(kind.to_owned()).or_default().insert(id.to_owned(), json!({ "spec": spec }));
        };
        let address = spec.requested_address;
        put(
            "Model::LoadBalancer",
            "LoadBalancer",
            json!({"name": spec.name, "layer": spec.layer, "scheme": spec.scheme, "families": spec.families,
                "requestedAddress": address, "tags": spec.tags}),
        );
        for (name, listener) in &spec.listeners {
            put("Model::Listener", name, json!(listener));
        }
        for (name, rule) in &spec.rules {
            put("Model::Rule", name, json!(rule));
        }
        for (name, group) in &spec.target_groups {
            let targets: BTreeMap<u16, Option<&Nodes>> = spec
                .targets
                .get(name)
                .into_iter()
                .flatten()
                .map(|(port, set)| (*port, self.sets.get(set)))
                .collect();
            put("Model::TargetGroup", name, json!({"group": group, "targets": targets}));
        }
        all
    }
}

/// The addresses of one set of nodes, worked out once and shared by all load balancers.
#[derive(Clone, Debug, Default)]
struct Resolved {
    nodes: Nodes,
    id: Option<SetId>,
    /// Nodes without an address of the family.
    without: Arc<Vec<String>>,
}

/// Remembers what node sets resolve to. Only speed: the answer depends on the node set alone.
#[derive(Debug, Default)]
pub struct NodeAddresses(Mutex<Vec<(Weak<NodeSet>, Family, Resolved)>>);

impl NodeAddresses {
    fn of(&self, set: &Arc<NodeSet>, family: Family) -> Resolved {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pointer = Arc::downgrade(set);
        if let Some((.., resolved)) = known.iter().find(|(w, f, _)| *f == family && w.ptr_eq(&pointer)) {
            return resolved.clone();
        }
        known.retain(|(w, ..)| w.strong_count() > 0);
        let mut without = Vec::new();
        let mut addresses = Vec::with_capacity(set.nodes.len());
        for node in &set.nodes {
            match node.addresses.iter().find(|a| Family::of(a) == family) {
                Some(address) => addresses.push(*address),
                None => without.push(node.name.clone()),
            }
        }
        without.sort_unstable();
        let nodes = Nodes::from(addresses);
        let id = (!nodes.is_empty()).then(|| nodes.id());
        let resolved = Resolved { nodes, id, without: Arc::new(without) };
        known.push((pointer, family, resolved.clone()));
        resolved
    }
}

/// Makes the stack of a load balancer.
#[must_use]
pub fn desired(
    cluster: &str,
    lb: &LoadBalancer,
    facts: &Facts,
    addresses: &NodeAddresses,
) -> (ModelStack, Vec<Problem>) {
    let mut stack = ModelStack {
        key: lb.key.clone(),
        cluster: cluster.to_owned(),
        spec: None,
        frozen: false,
        sets: BTreeMap::new(),
        members: Vec::new(),
        sources: BTreeMap::new(),
        quotas: facts.quotas.clone(),
    };
    if lb.members.is_empty() {
        return (stack, Vec::new());
    }
    let mut by_age: Vec<usize> = (0..lb.members.len()).collect();
    by_age.sort_by(|a, b| lb.members[*a].age().cmp(&lb.members[*b].age()));
    let mut draft = Draft { cluster, lb, facts, by_age, problems: Vec::new(), stack: &mut stack };
    draft.groups();
    let fixed = draft.fixed();
    let families = draft.families();
    let (scheme, requested) = (fixed.scheme, fixed.requested.filter(|a| families.contains(&Family::of(a))));
    let mut spec = Spec {
        name: naming::load_balancer(cluster, &lb.key, scheme, requested),
        layer: lb.key.layer,
        scheme,
        requested_address: requested,
        tags: naming::tags(cluster, &lb.key),
        listeners: BTreeMap::new(),
        rules: BTreeMap::new(),
        target_groups: BTreeMap::new(),
        targets: BTreeMap::new(),
        families,
    };
    let ports = match &lb.body {
        Body::L4(listeners) => draft.transport(&mut spec, listeners, &fixed.refused),
        Body::L7(http) => {
            draft.http(&mut spec, http, &fixed.refused);
            BTreeMap::new()
        }
    };
    draft.targets(&mut spec, addresses, &ports);
    let mut problems = draft.problems;
    stack.members = lb.members.iter().enumerate().map(|(i, m)| part(i, m, &ports)).collect();
    stack.members.sort_by(|a, b| a.object.cmp(&b.object));
    stack.frozen = !fixed.refused.is_empty() || fixed.kept;
    // Without anything to serve there is nothing to make. What is there stays only where a listener stays.
    let serves = match &lb.body {
        Body::L4(_) => !spec.listeners.is_empty(),
        Body::L7(_) => fixed.refused.len() < lb.members.len(),
    };
    stack.spec = serves.then_some(spec);
    problems.sort();
    problems.dedup();
    (stack, problems)
}

/// Ports of a member by (protocol, port): the NodePort, or why it is not served.
type Ports = BTreeMap<(usize, &'static str, u16), Result<u16, &'static str>>;

fn part(index: usize, member: &Member, ports: &Ports) -> MemberPart {
    let (families, ports) = match member.service() {
        None => (vec![Family::V4], Vec::new()),
        Some(service) => {
            let status = |p: &causeway_api::ServicePort| {
                let error = match ports.get(&(index, p.protocol.as_str(), p.port)) {
                    Some(Ok(_)) => None,
                    Some(Err(reason)) => Some((*reason).to_owned()),
                    None => Some("PortConflict".to_owned()),
                };
                PortStatus { port: p.port, protocol: p.protocol, error }
            };
            (wanted_families(&service.families), service.ports.iter().map(status).collect())
        }
    };
    MemberPart { object: member.object.clone(), families, ports }
}

fn wanted_families(families: &[Family]) -> Vec<Family> {
    if families.is_empty() { vec![Family::V4] } else { families.to_vec() }
}

/// The settings that are fixed for a load balancer's life.
#[derive(Default)]
struct Fixed {
    scheme: Scheme,
    requested: Option<IpAddr>,
    /// Members that are not served, because what they ask for is not understood and they have nothing yet.
    refused: Vec<usize>,
    /// A member is not understood, but has a load balancer: it is kept.
    kept: bool,
}

struct Draft<'a> {
    cluster: &'a str,
    lb: &'a LoadBalancer,
    facts: &'a Facts,
    by_age: Vec<usize>,
    problems: Vec<Problem>,
    stack: &'a mut ModelStack,
}

impl Draft<'_> {
    fn tell(&mut self, member: usize, field: impl Into<String>, reason: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(self.lb.members[member].object.clone(), field, reason, message));
    }

    fn groups(&mut self) {
        for (index, member) in self.lb.members.iter().enumerate() {
            if let Err(value) = naming::group(&member.annotations, &member.object.namespace) {
                let field = format!("metadata.annotations[{}]", names::ANNOTATION_GROUP);
                let text = format!(
                    "group {value:?} is no DNS label (1-63 of a-z, 0-9, -); the object has a load balancer of its own until this is mended"
                );
                self.tell(index, field, "InvalidGroup", text);
            }
        }
    }

    /// The oldest member that says something decides; one that says otherwise is told.
    fn fixed(&mut self) -> Fixed {
        let mut fixed = Fixed::default();
        let (mut scheme, mut requested): (Option<Scheme>, Option<IpAddr>) = (None, None);
        for index in self.by_age.clone() {
            let member = &self.lb.members[index];
            let mut understood = true;
            let field = format!("metadata.annotations[{}]", naming::ANNOTATION_SCHEME);
            let asked = match member.annotations.get(naming::ANNOTATION_SCHEME).map(String::as_str) {
                None => None,
                Some("internal") => Some(Scheme::Internal),
                Some("internet-facing") => Some(Scheme::InternetFacing),
                Some(other) => {
                    understood = false;
                    let text = format!("scheme {other:?} is neither \"internal\" nor \"internet-facing\"");
                    self.tell(index, field.clone(), "InvalidAnnotation", text);
                    None
                }
            };
            let address = match member.service().and_then(|s| s.requested_address.as_deref()) {
                None | Some("") => None,
                Some(text) => match text.trim().parse::<IpAddr>() {
                    Ok(address) => Some(address),
                    Err(_) => {
                        understood = false;
                        let message = format!("{text:?} is no IP address: give one, or remove the field");
                        self.tell(index, "spec.loadBalancerIP", "InvalidAddress", message);
                        None
                    }
                },
            };
            if !understood {
                if member.current.is_empty() {
                    fixed.refused.push(index);
                } else {
                    fixed.kept = true;
                }
                continue;
            }
            if let (Some(had), Some(asks)) = (scheme, asked)
                && had != asks
            {
                let text = "an older member of the group asks for the other scheme; that one holds";
                self.tell(index, field, "GroupConflict", text);
            }
            if let (Some(had), Some(asks)) = (requested, address)
                && had != asks
            {
                let text = format!("an older member of the group asks for {had}; that one holds");
                self.tell(index, "spec.loadBalancerIP", "GroupConflict", text);
            }
            scheme = scheme.or(asked);
            requested = requested.or(address);
        }
        Fixed { scheme: scheme.unwrap_or_default(), requested, ..fixed }
    }

    fn families(&self) -> Vec<Family> {
        let services = self.lb.members.iter().filter_map(Member::service);
        let mut all: Vec<_> = services.flat_map(|s| wanted_families(&s.families)).collect();
        if all.is_empty() {
            all.push(Family::V4);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    fn over(&mut self, member: usize, field: String, name: &str, what: &str) {
        let max = limits::max(&self.facts.quotas, name);
        let text =
            format!("{what} is not served: quota {name} ({max}) is used up; have it raised, or use fewer");
        self.tell(member, field, "QuotaExceeded", text);
    }

    /// Listeners of Services, and the NodePort of each.
    fn transport(&mut self, spec: &mut Spec, listeners: &[Port], refused: &[usize]) -> Ports {
        let mut rank = vec![0; self.lb.members.len()];
        for (place, index) in self.by_age.iter().enumerate() {
            rank[*index] = place;
        }
        let mut listeners: Vec<&Port> = listeners.iter().filter(|l| l.member < rank.len()).collect();
        listeners.sort_by_key(|l| (rank[l.member], l.port.protocol, l.port.port));
        let max = limits::max(&self.facts.quotas, quota::LISTENERS)
            .min(limits::max(&self.facts.quotas, quota::TARGET_GROUPS));
        let mut ports = Ports::new();
        for Port { member, port } in listeners {
            let (member, field) = (*member, format!("spec.ports[{}]", port.port));
            let Some(service) = self.lb.members[member].service() else { continue };
            let slot = (member, port.protocol.as_str(), port.port);
            let what = format!("port {} ({})", port.port, port.protocol.as_str());
            let Some(protocol) = ListenerProtocol::of(port.protocol) else {
                let text = format!("{what} is not served: this cloud has no {}", port.protocol.as_str());
                self.tell(member, field, names::events::UNSUPPORTED, text);
                ports.insert(slot, Err(names::REASON_MIXED_PROTOCOL));
                continue;
            };
            let Some(node_port) = port.node_port else {
                let text = format!(
                    "{what} is not served: it has no NodePort; remove allocateLoadBalancerNodePorts: false"
                );
                self.tell(member, field, "NoNodePort", text);
                ports.insert(slot, Err("NoNodePort"));
                continue;
            };
            if refused.contains(&member) {
                ports.insert(slot, Err("InvalidSettings"));
                continue;
            }
            let name = listener_name(protocol, port.port);
            if spec.listeners.contains_key(&name) {
                let text =
                    format!("{what} is not served: an older member of the group has it; choose another port");
                self.tell(member, field, "PortConflict", text);
                ports.insert(slot, Err("PortConflict"));
                continue;
            }
            if spec.listeners.len() as u64 >= max {
                self.over(member, field, quota::LISTENERS, &what);
                ports.insert(slot, Err("QuotaExceeded"));
                continue;
            }
            let group = TargetGroup {
                protocol: protocol.targets(),
                health: service.health.clone(),
                affinity_seconds: service.affinity_seconds,
                tags: naming::child_tags(self.cluster),
            };
            let listener = Listener {
                protocol,
                port: port.port,
                default_action: Action::Forward(name.clone()),
                source_ranges: service.source_ranges.clone(),
                certificates: Vec::new(),
                tags: naming::child_tags(self.cluster),
            };
            self.stack.sources.insert(name.clone(), self.lb.members[member].object.clone());
            spec.target_groups.insert(name.clone(), group);
            spec.listeners.insert(name, listener);
            ports.insert(slot, Ok(node_port));
        }
        ports
    }

    /// Listeners and rules of Ingresses.
    fn http(&mut self, spec: &mut Spec, http: &HttpBody, refused: &[usize]) {
        let certificates = self.certificates(http, refused);
        let mut protocols = vec![(ListenerProtocol::Http, 80, Vec::new())];
        if !certificates.is_empty() {
            protocols.push((ListenerProtocol::Https, 443, certificates));
        }
        let serves = |m: usize| m < self.lb.members.len() && !refused.contains(&m);
        let default = http.default_backend.as_ref().filter(|(m, _)| serves(*m));
        let default = match default {
            Some((member, backend)) => self.backend(spec, *member, backend, "spec.defaultBackend"),
            None => Action::Fixed(404),
        };
        for (protocol, port, certificates) in &protocols {
            let listener = Listener {
                protocol: *protocol,
                port: *port,
                default_action: default.clone(),
                source_ranges: Vec::new(),
                certificates: certificates.clone(),
                tags: naming::child_tags(self.cluster),
            };
            spec.listeners.insert(listener_name(*protocol, *port), listener);
        }
        // The quota goes to the older member first, the position to the more precise route.
        let room = limits::max(&self.facts.quotas, quota::RULES) / protocols.len() as u64;
        let mut rank = vec![usize::MAX; self.lb.members.len()];
        for (place, index) in self.by_age.iter().enumerate() {
            rank[*index] = place;
        }
        let mut admitted: Vec<usize> =
            (0..http.routes.len()).filter(|i| serves(http.routes[*i].member)).collect();
        admitted.sort_by_key(|i| (rank[http.routes[*i].member], *i));
        for index in admitted.split_off(admitted.len().min(usize::try_from(room).unwrap_or(usize::MAX))) {
            let route = &http.routes[index];
            let what = format!("{}{}", route.host, route.path);
            self.over(route.member, "spec.rules".to_owned(), quota::RULES, &what);
        }
        let actions: BTreeMap<usize, Action> = admitted
            .iter()
            .map(|i| {
                let route = &http.routes[*i];
                (*i, self.backend(spec, route.member, &route.backend, "spec.rules"))
            })
            .collect();
        for (protocol, port, _) in &protocols {
            let listener = listener_name(*protocol, *port);
            let mut position = 0;
            for (index, action) in &actions {
                let route = &http.routes[*index];
                let name = naming::rule(&listener, &route.host, &route.path, route.matching);
                if spec.rules.contains_key(&name) {
                    continue;
                }
                position += 1;
                self.stack.sources.insert(name.clone(), self.lb.members[route.member].object.clone());
                let rule = Rule {
                    listener: listener.clone(),
                    position,
                    host: route.host.clone(),
                    path: route.path.clone(),
                    matching: route.matching,
                    action: action.clone(),
                    tags: naming::child_tags(self.cluster),
                };
                spec.rules.insert(name, rule);
            }
        }
    }

    fn certificates(&mut self, http: &HttpBody, refused: &[usize]) -> Vec<CertificateRef> {
        let mut found = Vec::new();
        for certificate in &http.certificates {
            let member = certificate.member;
            if member >= self.lb.members.len() || refused.contains(&member) {
                continue;
            }
            match (&certificate.secret, &certificate.secret_version) {
                (Some(secret), Some(version)) => {
                    found.push(CertificateRef { secret: secret.clone(), version: version.clone() });
                }
                (Some(secret), None) => {
                    let text = format!(
                        "Secret {secret} does not exist or holds no certificate: create it as type kubernetes.io/tls"
                    );
                    self.tell(member, "spec.tls", "SecretNotFound", text);
                }
                (None, _) => {
                    let text = "name a Secret: this cloud finds no certificates by itself";
                    self.tell(member, "spec.tls", "SecretMissing", text);
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Where a route goes: its target group, or 503 where there is none to go to.
    fn backend(&mut self, spec: &mut Spec, member: usize, backend: &Backend, field: &str) -> Action {
        if backend.node_port.is_none() {
            return Action::Fixed(503);
        }
        let name = naming::backend_group(backend);
        if !spec.target_groups.contains_key(&name) {
            let max = limits::max(&self.facts.quotas, quota::TARGET_GROUPS);
            if spec.target_groups.len() as u64 >= max {
                let what = format!("Service {}/{} port {}", backend.namespace, backend.service, backend.port);
                self.over(member, field.to_owned(), quota::TARGET_GROUPS, &what);
                return Action::Fixed(503);
            }
            let group = TargetGroup {
                protocol: TargetProtocol::Http,
                health: backend.health.clone(),
                affinity_seconds: None,
                tags: naming::child_tags(self.cluster),
            };
            spec.target_groups.insert(name.clone(), group);
        }
        Action::Forward(name)
    }

    /// Puts the nodes into every target group.
    fn targets(&mut self, spec: &mut Spec, addresses: &NodeAddresses, ports: &Ports) {
        // IPv4 where the load balancer has it: a dual-stack one reaches its targets by one family.
        let family = spec.families.first().copied().unwrap_or(Family::V4);
        let resolved = addresses.of(&self.lb.nodes, family);
        for node in resolved.without.iter() {
            let object =
                ObjectRef { kind: Kind::Node, namespace: String::new(), name: node.clone(), uid: "".into() };
            let text = format!(
                "the node has no {family:?} InternalIP and is no target: give it one, or exclude it by label {}",
                names::LABEL_EXCLUDE_NODE
            );
            self.problems.push(Problem::warning(object, "status.addresses", "NoAddress", text));
        }
        let max = usize::try_from(limits::max(&self.facts.quotas, quota::TARGETS)).unwrap_or(usize::MAX);
        let nodes = limits::subset(&resolved.nodes, max, &self.lb.key.owner_tag());
        let id = if nodes.len() == resolved.nodes.len() {
            resolved.id
        } else {
            let text = format!(
                "{} of {} nodes are targets: quota {} is used up; have it raised",
                nodes.len(),
                resolved.nodes.len(),
                quota::TARGETS
            );
            for index in self.by_age.clone() {
                let object = self.lb.members[index].object.clone();
                self.problems.push(Problem::warning(object, "", "QuotaExceeded", text.clone()));
            }
            (!nodes.is_empty()).then(|| nodes.id())
        };
        let Some(id) = id else {
            if !spec.target_groups.is_empty() {
                for index in self.by_age.clone() {
                    let object = self.lb.members[index].object.clone();
                    let text = "no node can take traffic: none is eligible, or none has an address";
                    self.problems.push(Problem::warning(object, "", names::events::UNAVAILABLE, text));
                }
            }
            return;
        };
        let mut at = |group: String, port: u16| {
            if spec.target_groups.contains_key(&group) {
                spec.targets.insert(group, Targets::from([(port, id.clone())]));
            }
        };
        for ((_, protocol, port), node_port) in ports {
            if let Ok(node_port) = node_port {
                at(format!("{}/{port}", protocol.to_ascii_lowercase()), *node_port);
            }
        }
        if let Body::L7(http) = &self.lb.body {
            let defaults = http.default_backend.iter().map(|(_, b)| b);
            for backend in defaults.chain(http.routes.iter().map(|r| &r.backend)) {
                if let Some(node_port) = backend.node_port {
                    at(naming::backend_group(backend), node_port);
                }
            }
        }
        if !spec.targets.is_empty() {
            self.stack.sets.insert(id, nodes);
        }
    }
}
