//! Target groups of an NLB, what binds targets to them, and the targets. Pure.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{Endpoints, Family, HealthCheck, Problem, TargetPort, TrafficPolicy, names};

use super::listeners::{Builder, Refusal, errors};
use super::member::Served;
use crate::annotations::{reasons, service, value};
use crate::health::{self, Checked};
use crate::naming::TargetGroupName;
use crate::stack::{
    Binding, BindingMetadata, BindingSpec, BindingTemplate, ElbProtocol, IpAddressType, NodeSelector,
    PortOrName, ResourceType, ServiceRef, Target, TargetFamily, TargetGroupSpec, TargetType, Token,
    attributes,
};
use crate::targets;

/// A Service port that gets a target group.
pub(super) struct Behind<'b> {
    pub namespace: &'b str,
    pub name: &'b str,
    pub uid: &'b str,
    pub port: u16,
    pub port_name: &'b str,
    pub node_port: Option<u16>,
    pub target_port: Option<&'b TargetPort>,
    pub families: &'b [Family],
    pub policy: TrafficPolicy,
    pub health: &'b HealthCheck,
    pub endpoints: &'b Endpoints,
    /// Uid of the Service whose load balancer it is, if that is another.
    pub owner: Option<&'b str>,
}

impl Builder<'_, '_> {
    /// Builds a target group, unless it is there; the id.
    pub(super) fn target_group(
        &mut self,
        served: &Served<'_>,
        behind: &Behind<'_>,
        protocol: ElbProtocol,
        field: &str,
    ) -> Result<String, Box<Refusal>> {
        let id = format!("{}/{}:{}", behind.namespace, behind.name, behind.port);
        if self.stack.target_groups.contains_key(&id) {
            return Ok(id);
        }
        let fail = |reason: &'static str, why: String| {
            Box::new(Refusal { reason, problem: Problem::error(served.object(), field, reason, why) })
        };
        let target_type = served.target_type(&self.facts.options);
        let port = match (target_type, behind.node_port, behind.target_port) {
            (TargetType::Instance, Some(port), _) => port,
            (TargetType::Instance, None, _) => {
                return Err(fail(
                    errors::NODE_PORT_MISSING,
                    format!(
                        "port {} of Service {} is not served: it has no NodePort, through which instances are reached; set spec.allocateLoadBalancerNodePorts \
                         to true, or aws-load-balancer-nlb-target-type to ip",
                        behind.port, behind.name
                    ),
                ));
            }
            (_, _, Some(TargetPort::Number(port))) => *port,
            // Every target is registered with its own port; this one only has to be there.
            _ => 1,
        };
        let family = self.family(behind).map_err(|why| fail(errors::FAMILY, why))?;
        if matches!(protocol, ElbProtocol::Quic | ElbProtocol::TcpQuic) && target_type != TargetType::Ip {
            self.problems.push(served.warn(
                &service::QUIC_PORTS,
                reasons::INVALID,
                "QUIC finds the target by the server id that a pod chose, which nodes do not have: set aws-load-balancer-nlb-target-type to ip",
            ));
        }
        let resolve = |name: &str| named_port(served, name, target_type);
        let check = health::nlb(
            &served.settings,
            &served.member.object,
            served.defaults,
            Checked {
                target_type,
                traffic_policy: behind.policy,
                neutral: behind.health,
                like_lbc: self.facts.options.like_lbc(),
            },
            &resolve,
            self.problems,
        );
        let attribute_map = self.attributes(served, behind, protocol);
        let preserves = preserves_client(&attribute_map, target_type, protocol);
        let interval = check.interval_seconds.to_string();
        let name = TargetGroupName {
            cluster: &self.facts.cluster.id,
            owner: &self.group.into_iter().chain(behind.owner).collect::<Vec<_>>(),
            namespace: behind.namespace,
            name: behind.name,
            uid: behind.uid,
            port,
            service_port: &behind.port.to_string(),
            target_type,
            protocol,
            rest: &[check.protocol.as_str(), &interval],
        }
        .to_string();
        let labels = served.settings.map(&service::TARGET_NODE_LABELS);
        let labels = labels.filter(|labels| target_type == TargetType::Instance && !labels.is_empty());
        let traffic = match (target_type, behind.target_port) {
            (TargetType::Ip, Some(TargetPort::Name(name))) => PortOrName::Name(name.clone()),
            _ => PortOrName::Number(port),
        };
        let reached = super::networking::Reached {
            target_type,
            protocol,
            family,
            port: traffic,
            health: check.port.clone(),
            preserves_client: preserves,
        };
        let networking = super::networking::build(self.facts, self.front, served, &reached, self.problems);
        super::networking::open(
            self.facts,
            self.front,
            &reached,
            networking.as_ref(),
            &mut self.stack.shared,
        );

        let (targets, all) = self.targets(target_type, behind, family, port, labels.as_ref());
        if targets.len() < all {
            self.problems.push(Problem::warning(
                served.object(),
                field,
                targets::REDUCED,
                format!(
                    "{} of {all} targets of {id} take part: {} allows {} for each target group of this load balancer; have the quota raised, or choose \
                     nodes with aws-load-balancer-target-node-labels",
                    targets.len(),
                    self.room.by,
                    self.room.most
                ),
            ));
        }
        self.stack.targets.insert(id.clone(), targets);
        self.stack.bindings.insert(
            id.clone(),
            BindingSpec {
                template: BindingTemplate {
                    metadata: BindingMetadata { name: name.clone(), namespace: behind.namespace.to_owned() },
                    spec: Binding {
                        target_group_arn: Token::of(ResourceType::TargetGroup, id.as_str()),
                        target_type,
                        service_ref: ServiceRef {
                            name: behind.name.to_owned(),
                            port: PortOrName::Number(behind.port),
                        },
                        networking,
                        node_selector: labels.map(|match_labels| NodeSelector { match_labels }),
                        ip_address_type: Some(family),
                        vpc_id: self.facts.cluster.vpc_id.clone(),
                        multi_cluster_target_group: served.settings.bool(&service::MULTI_CLUSTER)
                            == Some(true),
                        target_group_protocol: protocol,
                    },
                },
            },
        );
        let tags = served.tags(self.facts, &mut Vec::new());
        self.stack.target_groups.insert(
            id.clone(),
            TargetGroupSpec {
                name,
                target_type,
                port,
                protocol,
                protocol_version: None,
                ip_address_type: Some(family),
                health_check_config: check,
                target_group_attributes: attributes(attribute_map),
                tags,
                target_control_port: None,
            },
        );
        Ok(id)
    }

    /// IPv6 if the Service has it and the load balancer can, as with the peer; else IPv4.
    fn family(&self, behind: &Behind<'_>) -> Result<TargetFamily, String> {
        let dual = self.front.spec.ip_address_type != IpAddressType::Ipv4;
        let v6 = behind.families.contains(&Family::V6);
        let v4 = behind.families.contains(&Family::V4) || behind.families.is_empty();
        match (v6, dual) {
            (true, true) => Ok(TargetFamily::Ipv6),
            (true, false) if !v4 || self.facts.options.like_lbc() => Err(format!(
                "Service {} has IPv6, but the load balancer has not: set aws-load-balancer-ip-address-type to dualstack, or spec.ipFamilies to IPv4",
                behind.name
            )),
            _ => Ok(TargetFamily::Ipv4),
        }
    }

    fn targets(
        &self,
        target_type: TargetType,
        behind: &Behind<'_>,
        family: TargetFamily,
        port: u16,
        labels: Option<&BTreeMap<String, String>>,
    ) -> (BTreeSet<Target>, usize) {
        if target_type == TargetType::Instance {
            return targets::instance_targets(self.owner, self.instances, labels, port, self.room);
        }
        let ready = &behind.endpoints.ready;
        targets::ip_targets(self.owner, self.facts, ready, behind.port_name, family, self.room)
    }

    fn attributes(
        &mut self,
        served: &Served<'_>,
        behind: &Behind<'_>,
        protocol: ElbProtocol,
    ) -> BTreeMap<String, String> {
        const PROXY: &str = "proxy_protocol_v2.enabled";
        let settings = &served.settings;
        let mut map = BTreeMap::from([(PROXY.to_owned(), "false".to_owned())]);
        map.extend(settings.map(&service::TARGET_GROUP_ATTRIBUTES).unwrap_or_default());
        let number = behind.port.to_string();
        let of_port = settings.map_of(&service::TARGET_GROUP_ATTRIBUTES, &number).unwrap_or_default();
        map.extend(of_port.into_iter().filter(|(_, value)| !value.is_empty()));
        if let Some(ports) = settings.list(&service::PROXY_PROTOCOL_PORTS) {
            map.insert(PROXY.to_owned(), ports.contains(&number.as_str()).to_string());
        }
        if settings.text(&service::PROXY_PROTOCOL).is_some() {
            map.insert(PROXY.to_owned(), "true".to_owned());
        }
        map.retain(|key, value| key != PROXY || !value.is_empty());
        self.affinity(served, protocol, &mut map);
        map
    }

    /// `sessionAffinity: ClientIP`, unless the user has a word of his own about stickiness.
    fn affinity(&mut self, served: &Served<'_>, protocol: ElbProtocol, map: &mut BTreeMap<String, String>) {
        let said = map.keys().any(|key| key.starts_with("stickiness."));
        if served.service.affinity_seconds.is_none() || said || self.facts.options.like_lbc() {
            return;
        }
        if matches!(protocol, ElbProtocol::Tcp | ElbProtocol::Udp | ElbProtocol::TcpUdp) {
            map.insert("stickiness.enabled".to_owned(), "true".to_owned());
            map.insert("stickiness.type".to_owned(), "source_ip".to_owned());
        } else {
            self.problems.push(Problem::warning(
                served.object(),
                "spec.sessionAffinity",
                names::events::UNSUPPORTED,
                format!(
                    "a target group with {} has no affinity: its clients go to any target; set it to None",
                    protocol.as_str()
                ),
            ));
        }
    }
}

/// Whether targets see the client's address.
fn preserves_client(
    attributes: &BTreeMap<String, String>,
    target_type: TargetType,
    protocol: ElbProtocol,
) -> bool {
    if protocol.has_udp() {
        return true;
    }
    let said = attributes.get("preserve_client_ip.enabled").and_then(|text| value::bool(text));
    said.unwrap_or(target_type == TargetType::Instance)
}

/// The port of a health check that is named after one of the Service.
fn named_port(served: &Served<'_>, name: &str, target_type: TargetType) -> Result<PortOrName, String> {
    let found = served.service.ports.iter().find(|p| p.name == name);
    let port = found.ok_or_else(|| {
        format!("the Service has no port {name:?}: name one, or write a number or traffic-port")
    })?;
    match (target_type, port.node_port, &port.target_port) {
        (TargetType::Instance, Some(port), _) => Ok(PortOrName::Number(port)),
        (TargetType::Instance, None, _) => Err(format!("port {name:?} has no NodePort")),
        (_, _, TargetPort::Number(port)) => Ok(PortOrName::Number(*port)),
        (_, _, TargetPort::Name(target)) => Err(format!(
            "the targetPort of {name:?} is {target:?}, whose number may differ among pods: write a number"
        )),
    }
}
