//! Target groups of backends, and who belongs into them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{Backend, Family, LbKey, ObjectRef, Problem, TargetPort};

use super::group::{Group, Joined};
use super::health::{self, Checked};
use super::names;
use super::parameters::target_type;
use crate::annotations::{Annotation, Scope, Settings, ingress as table};
use crate::facts::Facts;
use crate::stack::{
    Binding, BindingMetadata, BindingSpec, BindingTemplate, ElbProtocol, IpAddressType, Networking,
    NetworkingPort, NetworkingRule, NodeSelector, Peer, PortOrName, ProtocolVersion, ResourceType,
    ServiceRef, TargetFamily, TargetGroupSpec, TargetType, Token, attributes,
};
use crate::targets::{Instances, Room, instance_targets, ip_targets};

/// What an Ingress and the Service that it sends to say together; the Service's words win.
pub struct Settled<'a> {
    /// The Ingress.
    pub joined: &'a Joined<'a>,
    /// The Service, with what it says.
    pub service: Option<&'a (ObjectRef, Settings)>,
}

impl<'a> Settled<'a> {
    /// The text of an annotation.
    #[must_use]
    pub fn text(&self, annotation: &Annotation) -> Option<&'a str> {
        self.service.and_then(|(_, s)| s.text(annotation)).or_else(|| self.joined.settings.text(annotation))
    }

    /// A number.
    #[must_use]
    pub fn number(&self, annotation: &Annotation) -> Option<u32> {
        self.service
            .and_then(|(_, s)| s.number(annotation))
            .or_else(|| self.joined.settings.number(annotation))
    }

    /// A map.
    #[must_use]
    pub fn map(&self, annotation: &Annotation) -> Option<BTreeMap<String, String>> {
        self.service.and_then(|(_, s)| s.map(annotation)).or_else(|| self.joined.settings.map(annotation))
    }

    /// The object on which an annotation stands, and the field.
    #[must_use]
    pub fn whose(&self, annotation: &Annotation) -> (ObjectRef, String) {
        match self.service {
            Some((object, settings)) if settings.text(annotation).is_some() => {
                (object.clone(), settings.field(annotation))
            }
            _ => (self.joined.object(), self.joined.settings.field(annotation)),
        }
    }
}

/// What the annotations of a Service that an Ingress sends to say.
#[must_use]
pub fn of_service(backend: &Backend) -> (ObjectRef, Settings) {
    let object = ObjectRef::service(&backend.namespace, &backend.service, backend.uid.clone());
    let settings = Settings::read(Scope::Backend, &object, &backend.annotations);
    (object, settings)
}

/// A target group, and what its targets come from.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroup {
    /// Its spec.
    pub spec: TargetGroupSpec,
    /// Which targets belong into it.
    pub binding: BindingSpec,
    /// The backend.
    pub backend: Backend,
    /// Members that send to it.
    pub members: BTreeSet<usize>,
}

/// What target groups depend on besides their backend.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The load balancer.
    pub key: &'a LbKey,
    /// Facts.
    pub facts: &'a Facts,
    /// Families of the load balancer.
    pub ip_address_type: IpAddressType,
    /// From where targets are reached, if the rules for that are ours to make.
    pub from: Option<&'a Token>,
}

/// Id of a target group in its stack.
#[must_use]
pub fn id(joined: &Joined<'_>, backend: &Backend) -> String {
    format!("{}-{}:{}", joined.path(), backend.service, backend.port)
}

/// The target group of a backend whose port is known.
///
/// # Errors
/// Why there can be none: the requests of the backend get an error, the rest is served.
pub fn build(
    group: &mut Group<'_>,
    index: usize,
    backend: &Backend,
    service: &(ObjectRef, Settings),
    around: Around<'_>,
) -> Result<TargetGroup, Problem> {
    let options = &around.facts.options;
    let joined = &group.members[index];
    let settled = Settled { joined, service: Some(service) };
    let mut problems = Vec::new();

    let kind = joined.parameters.target_type;
    let kind = kind
        .or_else(|| settled.text(&table::TARGET_TYPE).map(target_type))
        .unwrap_or(options.default_target_type);
    let protocol = settled.text(&table::BACKEND_PROTOCOL).map_or(ElbProtocol::Http, health::protocol);
    let version = match settled.text(&table::BACKEND_PROTOCOL_VERSION).map(str::to_ascii_uppercase).as_deref()
    {
        Some("HTTP2") => ProtocolVersion::Http2,
        Some("GRPC") => ProtocolVersion::Grpc,
        _ => ProtocolVersion::Http1,
    };
    let port = default_port(joined, backend, kind)?;
    let family = family(joined, backend, around)?;
    let like_lbc = options.like_lbc();
    let checked = Checked { backend, target_type: kind, protocol, version, like_lbc };
    let health = health::check(&settled, checked, &mut problems);
    let control = control_port(joined, backend, kind, &mut problems);
    let name = names::TargetGroup {
        cluster: &around.facts.cluster.id,
        key: around.key,
        ingress: &joined.member.object,
        service: &backend.service,
        uid: &backend.uid,
        service_port: &backend.port,
        port,
        target_type: kind,
        protocol,
        version,
        control_port: control,
    }
    .name();
    let labels =
        settled.map(&table::TARGET_NODE_LABELS).filter(|l| kind == TargetType::Instance && !l.is_empty());
    let own_multi = joined.settings.bool(&table::MULTI_CLUSTER) == Some(true);
    let multi = own_multi || service.1.bool(&table::MULTI_CLUSTER) == Some(true);
    let mut tags = joined.settings.map(&table::TAGS).unwrap_or_default();
    tags.extend(service.1.map(&table::TAGS).unwrap_or_default());
    tags.extend(joined.parameters.tags.clone());
    let (object, field) = settled.whose(&table::TAGS);
    let group_attributes = attributes(settled.map(&table::TARGET_GROUP_ATTRIBUTES).unwrap_or_default());
    let binding = Binding {
        target_group_arn: Token::of(ResourceType::TargetGroup, id(joined, backend)),
        target_type: kind,
        service_ref: ServiceRef {
            name: backend.service.clone(),
            port: backend
                .port
                .parse()
                .map_or_else(|_| PortOrName::Name(backend.port.clone()), PortOrName::Number),
        },
        networking: around
            .from
            .map(|from| networking(from, backend, kind, &health.port, control, options.unrestricted_rules)),
        node_selector: labels.map(|match_labels| NodeSelector { match_labels }),
        ip_address_type: Some(family),
        vpc_id: around.facts.cluster.vpc_id.clone(),
        multi_cluster_target_group: multi,
        target_group_protocol: protocol,
    };
    let namespace = backend.namespace.clone();
    problems.into_iter().for_each(|p| group.report(p));
    let tags = group.merged(options, &object, &field, tags);
    Ok(TargetGroup {
        spec: TargetGroupSpec {
            name: name.clone(),
            target_type: kind,
            port,
            protocol,
            protocol_version: Some(version),
            ip_address_type: Some(family),
            health_check_config: health,
            target_group_attributes: group_attributes,
            tags,
            target_control_port: control,
        },
        binding: BindingSpec {
            template: BindingTemplate { metadata: BindingMetadata { name, namespace }, spec: binding },
        },
        backend: backend.clone(),
        members: [index].into(),
    })
}

/// The default port; every target is registered with its own.
fn default_port(joined: &Joined<'_>, backend: &Backend, kind: TargetType) -> Result<u16, Problem> {
    match (kind, &backend.target_port) {
        (TargetType::Instance, _) => backend.node_port.ok_or_else(|| {
            Problem::warning(
                joined.object(),
                "",
                "NodePortMissing",
                format!(
                    "port {} of Service {} has no NodePort, through which nodes are reached; requests get an error: give the Service the type NodePort, \
                     or set target-type to ip",
                    backend.port, backend.service
                ),
            )
        }),
        (_, Some(TargetPort::Number(port))) => Ok(*port),
        _ => Ok(1),
    }
}

fn family(joined: &Joined<'_>, backend: &Backend, around: Around<'_>) -> Result<TargetFamily, Problem> {
    let (v4, v6) = (backend.families.contains(&Family::V4), backend.families.contains(&Family::V6));
    if !v6 {
        return Ok(TargetFamily::Ipv4);
    }
    if around.ip_address_type.needs_ipv6() {
        return Ok(TargetFamily::Ipv6);
    }
    if v4 && !around.facts.options.like_lbc() {
        return Ok(TargetFamily::Ipv4);
    }
    Err(Problem::warning(
        joined.object(),
        joined.settings.field(&table::IP_ADDRESS_TYPE),
        "FamilyNotSupported",
        format!(
            "Service {} has IPv6 and the load balancer has not, requests get an error: set it to dualstack, or give the Service IPv4",
            backend.service
        ),
    ))
}

fn control_port(
    joined: &Joined<'_>,
    backend: &Backend,
    kind: TargetType,
    problems: &mut Vec<Problem>,
) -> Option<u16> {
    let parameter = format!("{}.{}", backend.service, backend.port);
    let port = joined.settings.text_of(&table::TARGET_CONTROL_PORT, &parameter)?.trim().parse().ok()?;
    if kind == TargetType::Instance {
        problems.push(Problem::warning(
            joined.object(),
            joined.settings.field_of(&table::TARGET_CONTROL_PORT, &parameter),
            crate::annotations::reasons::INVALID,
            "targets that are instances have no control port: set target-type to ip; it counts as absent",
        ));
        return None;
    }
    Some(port)
}

fn networking(
    from: &Token,
    backend: &Backend,
    kind: TargetType,
    health: &PortOrName,
    control: Option<u16>,
    unrestricted: bool,
) -> Networking {
    let traffic = match (kind, &backend.target_port) {
        (TargetType::Instance, _) => backend.node_port.map(PortOrName::Number),
        (_, Some(TargetPort::Number(port))) => Some(PortOrName::Number(*port)),
        (_, Some(TargetPort::Name(name))) => Some(PortOrName::Name(name.clone())),
        (_, None) => None,
    };
    let ports: Vec<Option<PortOrName>> = if unrestricted {
        vec![None]
    } else {
        let health = Some(health.clone()).filter(|port| *port != PortOrName::traffic());
        let all = [traffic, health, control.map(PortOrName::Number)];
        all.into_iter().flatten().map(Some).collect()
    };
    let rule = |port| NetworkingRule {
        from: vec![Peer::SecurityGroup(from.clone())],
        ports: vec![NetworkingPort { protocol: "TCP", port }],
    };
    Networking { ingress: ports.into_iter().map(rule).collect() }
}

/// The targets of a group, and how many there would be without the limit.
#[must_use]
pub fn targets(
    owner: &str,
    facts: &Facts,
    instances: &Instances,
    group: &TargetGroup,
    room: Room,
) -> (BTreeSet<crate::stack::Target>, usize) {
    let binding = &group.binding.template.spec;
    match group.spec.target_type {
        TargetType::Instance => {
            let labels = binding.node_selector.as_ref().map(|s| &s.match_labels);
            instance_targets(owner, instances, labels, group.spec.port, room)
        }
        TargetType::Ip | TargetType::Alb => {
            let family = binding.ip_address_type.unwrap_or(TargetFamily::Ipv4);
            let backend = &group.backend;
            ip_targets(owner, facts, &backend.endpoints.ready, &backend.port_name, family, room)
        }
    }
}
