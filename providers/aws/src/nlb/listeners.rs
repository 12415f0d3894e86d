//! Listeners of an NLB. Pure.
//!
//! A listener is one port of one Service, or its TCP and its UDP port of one number. AWS has one listener for each port number, whatever the protocol, so that
//! of two others with one number only the older is served.

use causeway_api::{Backend, Problem, Protocol, ServicePort};

use super::actions::{self, Receiver};
use super::front::Front;
use super::member::Served;
use super::target_groups::Behind;
use crate::annotations::service;
use crate::facts::Facts;
use crate::stack::{
    Action, AwsStack, ElbProtocol, ForwardConfig, LOAD_BALANCER, ListenerCertificate, ListenerSpec,
    ResourceType, TargetGroupStickiness, TargetGroupTuple, TargetType, Token, attributes,
};
use crate::targets::{Instances, Room};

/// Reason of a port that is not served.
pub mod errors {
    /// Another port has the listener.
    pub const PORT_CONFLICT: &str = "PortConflict";
    /// No NodePort, through which instance targets are reached.
    pub const NODE_PORT_MISSING: &str = "NodePortMissing";
    /// TCP and UDP cannot be merged into one listener.
    pub const NOT_MERGED: &str = "ProtocolsNotMerged";
    /// The family is not served.
    pub const FAMILY: &str = "AddressFamilyNotSupported";
    /// An annotation of the port is wrong.
    pub const INVALID: &str = crate::annotations::reasons::INVALID;
    /// A quota of AWS has no room for it.
    pub const QUOTA: &str = "QuotaExceeded";
    /// Nothing is served of this Service until something is mended.
    pub const NOT_SERVED: &str = "NotServed";
}

/// Most listeners of an NLB; AWS does not raise it.
const MOST_LISTENERS: u64 = 50;
/// Most certificates of a load balancer besides the default ones, by AWS's default quota.
const MOST_CERTIFICATES: u64 = 25;

/// A listener to be.
pub(super) struct Slot<'a> {
    /// Index of the member.
    pub member: usize,
    /// Its ports: one, or one with TCP and one with UDP.
    pub ports: Vec<&'a ServicePort>,
}

impl Slot<'_> {
    /// Number of the port.
    pub fn number(&self) -> u16 {
        self.ports[0].port
    }

    fn plain(&self) -> ElbProtocol {
        match (self.ports.len(), self.ports[0].protocol) {
            (2.., _) => ElbProtocol::TcpUdp,
            (_, Protocol::Udp) => ElbProtocol::Udp,
            _ => ElbProtocol::Tcp,
        }
    }
}

/// Why a listener or target group is not made.
pub(super) struct Refusal {
    /// Reason, for the port.
    pub reason: &'static str,
    /// What to say.
    pub problem: Problem,
}

/// A port that is not served, and why.
pub(super) type Failed = (usize, u16, Protocol, &'static str);

/// Listeners out of ports: TCP and UDP of one number are merged where they can be.
pub(super) fn slots<'a>(
    members: &[Served<'a>],
    ports: &[(usize, &'a ServicePort)],
    facts: &Facts,
    problems: &mut Vec<Problem>,
    failed: &mut Vec<Failed>,
) -> Vec<Slot<'a>> {
    let mut slots: Vec<Slot<'a>> = Vec::new();
    let most = usize::try_from(facts.aws.limit("listeners-per-network-load-balancer", MOST_LISTENERS))
        .unwrap_or(usize::MAX);
    for (member, port) in ports {
        let served = &members[*member];
        let count = slots.len();
        let slot = slots.iter_mut().find(|s| s.number() == port.port);
        if slot.is_none() && count < most {
            slots.push(Slot { member: *member, ports: vec![port] });
            continue;
        }
        let (reason, why) = if let Some(slot) = slot.filter(|slot| slot.member == *member) {
            match mergeable(served, slot.ports[0], port, facts) {
                Ok(()) => {
                    slot.ports.push(port);
                    slot.ports.sort_by_key(|p| p.protocol);
                    continue;
                }
                Err(why) => (errors::NOT_MERGED, why),
            }
        } else if let Some(slot) = slots.iter().find(|s| s.number() == port.port) {
            let holder = &members[slot.member].member.object;
            let why = format!(
                "{holder}, which is older and shares this load balancer, has a listener with this number; an NLB has one for each number"
            );
            (errors::PORT_CONFLICT, why)
        } else {
            let why = format!(
                "the load balancer has {most} listeners, the most that AWS allows (listeners-per-network-load-balancer): use another Service with a load balancer of \
                 its own"
            );
            (errors::QUOTA, why)
        };
        let at = served.index(port);
        problems.push(Problem::warning(
            served.object(),
            format!("spec.ports[{at}]"),
            reason,
            format!("port {}/{} is not served: {why}", port.port, port.protocol.as_str()),
        ));
        failed.push((*member, port.port, port.protocol, reason));
    }
    slots
}

/// Whether TCP and UDP of one number can share a listener and a target group, of which each target has one port.
fn mergeable(
    served: &Served<'_>,
    one: &ServicePort,
    other: &ServicePort,
    facts: &Facts,
) -> Result<(), String> {
    let options = &facts.options;
    let wanted =
        served.settings.bool(&service::TCP_UDP).or(options.tcp_udp_listener).unwrap_or(!options.like_lbc());
    if !wanted {
        return Err(
            "an NLB has one listener for each number: set aws-load-balancer-enable-tcp-udp-listener to true"
                .to_owned(),
        );
    }
    let tcp = if one.protocol == Protocol::Tcp { one } else { other };
    if tls(served, tcp) {
        return Err("the port with TCP has TLS, which UDP cannot share a listener with: take another number for one of them".to_owned());
    }
    match served.target_type(options) {
        TargetType::Instance if one.node_port != other.node_port => Err(format!(
            "TCP and UDP share a target group, whose targets have one port: give both the same nodePort, not {} and {}",
            shown(one.node_port),
            shown(other.node_port)
        )),
        TargetType::Ip if one.target_port != other.target_port => Err(
            "TCP and UDP share a target group, whose targets have one port: give both the same targetPort"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

fn shown(port: Option<u16>) -> String {
    port.map_or_else(|| "none".to_owned(), |p| p.to_string())
}

/// Whether a port with TCP is to have TLS.
fn tls(served: &Served<'_>, port: &ServicePort) -> bool {
    let settings = &served.settings;
    settings.text(&service::CERTIFICATES).is_some()
        && settings.list(&service::TLS_PORTS).is_none_or(|list| list.is_empty() || Served::lists(&list, port))
}

/// Protocols of a listener and of its own target group.
fn protocols(served: &Served<'_>, slot: &Slot<'_>) -> Result<(ElbProtocol, ElbProtocol), String> {
    let plain = slot.plain();
    let quic = served.settings.list(&service::QUIC_PORTS).unwrap_or_default();
    let wants_quic = slot.ports.iter().any(|p| Served::lists(&quic, p));
    if plain == ElbProtocol::Tcp && tls(served, slot.ports[0]) {
        if wants_quic {
            return Err("a port with TLS cannot have QUIC: name a port with UDP".to_owned());
        }
        let to_targets = served.settings.text(&service::BACKEND_PROTOCOL) == Some("ssl");
        return Ok((ElbProtocol::Tls, if to_targets { ElbProtocol::Tls } else { ElbProtocol::Tcp }));
    }
    let protocol = match (plain, wants_quic) {
        (plain, false) => plain,
        (ElbProtocol::Udp, true) => ElbProtocol::Quic,
        (ElbProtocol::TcpUdp, true) => ElbProtocol::TcpQuic,
        _ => return Err("QUIC takes the place of UDP: name a port with UDP".to_owned()),
    };
    Ok((protocol, protocol))
}

/// What is built besides resources.
pub(super) struct Builder<'x, 'a> {
    pub facts: &'x Facts,
    pub front: &'x Front,
    pub members: &'x [Served<'a>],
    pub instances: &'x Instances,
    pub room: Room,
    /// Tag of the owner.
    pub owner: &'x str,
    /// The group, if the load balancer is one's: a target group belongs to one load balancer, so that a Service which joins a group gets others.
    pub group: Option<&'x str>,
    pub stack: &'x mut AwsStack,
    pub problems: &'x mut Vec<Problem>,
    pub failed: &'x mut Vec<Failed>,
}

impl Builder<'_, '_> {
    /// Builds a listener with its target groups; what cannot be is said on its ports.
    pub fn listener(&mut self, slot: &Slot<'_>) {
        let served = &self.members[slot.member];
        match self.try_listener(served, slot) {
            Ok(spec) => {
                self.stack.listeners.insert(slot.number().to_string(), spec);
            }
            Err(refusal) => {
                self.problems.push(refusal.problem);
                for port in &slot.ports {
                    self.failed.push((slot.member, port.port, port.protocol, refusal.reason));
                }
            }
        }
    }

    fn try_listener(&mut self, served: &Served<'_>, slot: &Slot<'_>) -> Result<ListenerSpec, Box<Refusal>> {
        let wrong = |annotation, why: String| {
            let problem = served.error(annotation, why);
            Box::new(Refusal { reason: errors::INVALID, problem })
        };
        let (listener, own) = protocols(served, slot).map_err(|why| wrong(&service::QUIC_PORTS, why))?;
        let number = slot.number();
        let key = format!("{}-{number}", listener.as_str());
        let forward = served.settings.text_of(&service::ACTIONS, &key).map(actions::parse);
        let port = slot.ports[0];
        let behind = Behind {
            namespace: &served.member.object.namespace,
            name: &served.member.object.name,
            uid: &served.member.object.uid,
            port: number,
            port_name: &port.name,
            node_port: port.node_port,
            target_port: Some(&port.target_port),
            families: &served.service.families,
            policy: served.service.traffic_policy,
            health: &served.service.health,
            endpoints: &served.service.endpoints,
            owner: None,
        };
        let at = format!("spec.ports[{}]", served.index(port));
        let own = self.target_group(served, &behind, own, &at)?;
        let own = Token::of(ResourceType::TargetGroup, own);
        let default_action = match forward {
            Some(Ok(forward)) => {
                let mut groups = vec![TargetGroupTuple { target_group_arn: own, weight: forward.own_weight }];
                let field = served.settings.field_of(&service::ACTIONS, &key);
                for share in forward.shares {
                    if let Some(group) = self.receiver(served, &share.receiver, listener, &field)? {
                        groups.push(TargetGroupTuple { target_group_arn: group, weight: share.weight });
                    }
                }
                Action::Forward(ForwardConfig {
                    target_groups: groups,
                    stickiness: forward
                        .stickiness
                        .map(|on| TargetGroupStickiness { enabled: Some(on), duration_seconds: None }),
                })
            }
            // What cannot be parsed was refused with its annotation.
            Some(Err(_)) | None => Action::forward(own),
        };
        let secure = listener == ElbProtocol::Tls;
        let mut certificates = served.settings.list(&service::CERTIFICATES).unwrap_or_default();
        let most = self.facts.aws.limit("certificates-per-network-load-balancer", MOST_CERTIFICATES) + 1;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if secure && certificates.len() > most {
            self.problems.push(served.warn(
                &service::CERTIFICATES,
                errors::QUOTA,
                format!("of {} certificates {most} are used, the most that AWS allows: take some away, or put several hosts into one", certificates.len()),
            ));
            certificates.truncate(most);
        }
        let policy = served.settings.text(&service::TLS_POLICY);
        Ok(ListenerSpec {
            load_balancer_arn: Token::of(ResourceType::LoadBalancer, LOAD_BALANCER),
            port: number,
            protocol: listener,
            default_actions: vec![default_action],
            certificates: certificates
                .into_iter()
                .filter(|_| secure)
                .map(|arn| ListenerCertificate { certificate_arn: arn.to_owned() })
                .collect(),
            ssl_policy: secure.then(|| policy.unwrap_or(&self.facts.options.default_ssl_policy).to_owned()),
            alpn_policy: served
                .settings
                .text(&service::ALPN)
                .filter(|_| secure)
                .map(str::to_owned)
                .into_iter()
                .collect(),
            mutual_authentication: None,
            tags: served.tags(self.facts, &mut Vec::new()),
            listener_attributes: attributes(
                served.settings.map_of(&service::LISTENER_ATTRIBUTES, &key).unwrap_or_default(),
            ),
        })
    }

    /// The target group of another receiver; `None` for one that is not there, of which the others take over the share.
    fn receiver(
        &mut self,
        served: &Served<'_>,
        receiver: &Receiver,
        listener: ElbProtocol,
        field: &str,
    ) -> Result<Option<Token>, Box<Refusal>> {
        let (name, port, decrypt) = match receiver {
            Receiver::TargetGroup(arn) => return Ok(Some(Token::literal(arn.as_str()))),
            Receiver::Service { name, port, decrypt } => (name, port, *decrypt),
        };
        let backend: Option<&Backend> = served.member.services.get(&(name.clone(), port.clone()));
        let found = backend.and_then(|b| Some((b, b.service_port?)));
        let Some((backend, number)) = found else {
            self.problems.push(Problem::warning(
                served.object(),
                field,
                "ServiceNotFound",
                format!(
                    "there is no port {port} of a Service {name} in namespace {}, the others get its share: create it, or name another",
                    served.member.object.namespace
                ),
            ));
            return Ok(None);
        };
        let protocol = match listener {
            ElbProtocol::Tls if decrypt => ElbProtocol::Tcp,
            other => other,
        };
        let behind = Behind {
            namespace: &backend.namespace,
            name: &backend.service,
            uid: &backend.uid,
            port: number,
            port_name: &backend.port_name,
            node_port: backend.node_port,
            target_port: backend.target_port.as_ref(),
            families: &backend.families,
            policy: backend.traffic_policy,
            health: &backend.health,
            endpoints: &backend.endpoints,
            owner: Some(&served.member.object.uid),
        };
        let id = self.target_group(served, &behind, protocol, field)?;
        Ok(Some(Token::of(ResourceType::TargetGroup, id)))
    }
}
