//! Ports of Services to listeners, pools, monitors and members. Pure.

use std::collections::BTreeMap;

use causeway_api::{Family, Layer, LbKey, Problem, Protocol, ServicePort, ServiceSpec, TrafficPolicy, names};
use ipnet::IpNet;

use super::front::Front;
use crate::annotations::{Annotation, reasons, service, value};
use crate::capabilities::{Driver, Feature};
use crate::facts::Facts;
use crate::health::{self, Checked};
use crate::member::Served;
use crate::members::{MemberSubnet, Target, targets};
use crate::naming;
use crate::nodes::Nodes;
use crate::security::{self, Opened};
use crate::stack::{
    ListenerSpec, OctaviaProtocol, OctaviaStack, PoolSpec, ResourceType, SecretSpec, SessionPersistence,
    Token,
};

/// Errors of ports, as their status has them; also reasons of problems.
pub mod errors {
    /// The port has no NodePort.
    pub const NODE_PORT_MISSING: &str = "NodePortMissing";
    /// The provider or its version cannot.
    pub const UNSUPPORTED: &str = "ProviderCannot";
    /// Who may connect cannot be restricted as is asked for.
    pub const SOURCES: &str = "SourceRangesNotServed";
    /// The certificate is missing.
    pub const CERTIFICATE: &str = "CertificateNotFound";
    /// The Service is not served until something is mended.
    pub const NOT_SERVED: &str = "NotServed";
    /// An older Service has it.
    pub const PORT_CONFLICT: &str = "PortConflict";
}

/// A port that is not served.
pub(super) struct Failed {
    pub member: usize,
    pub port: u16,
    pub protocol: Protocol,
    pub reason: &'static str,
}

/// Id of the listener of a port.
#[must_use]
pub fn id(protocol: Protocol, port: u16) -> String {
    format!("{}-{port}", protocol.as_str())
}

/// What goes with a port.
struct Protocols {
    listener: OctaviaProtocol,
    pool: OctaviaProtocol,
}

/// Builds what belongs to a load balancer.
pub(super) struct Builder<'x, 'a> {
    pub facts: &'x Facts,
    pub front: &'x Front,
    pub members: &'x [Served<'a>],
    pub nodes: &'x Nodes,
    pub stack: &'x mut OctaviaStack,
    pub problems: &'x mut Vec<Problem>,
    pub failed: &'x mut Vec<Failed>,
    pub opened: Opened,
}

/// Why a port is not served.
type Refusal = Box<(&'static str, Option<Problem>)>;

impl Builder<'_, '_> {
    /// Builds the listener of a port; what cannot be is said on it.
    pub fn port(&mut self, member: usize, port: &ServicePort) {
        let members = self.members;
        let Some(served) = members.get(member) else { return };
        let Some(service) = served.service() else { return };
        if let Err(refusal) = self.try_port(served, service, port) {
            let (reason, problem) = *refusal;
            self.problems.extend(problem);
            self.failed.push(Failed { member, port: port.port, protocol: port.protocol, reason });
        }
    }

    fn try_port(
        &mut self,
        served: &Served<'_>,
        service: &ServiceSpec,
        port: &ServicePort,
    ) -> Result<(), Refusal> {
        let (facts, front) = (self.facts, self.front);
        let id = id(port.protocol, port.port);
        // It was said where the Service was translated.
        let Some(node_port) = port.node_port else { return Err(Box::new((errors::NODE_PORT_MISSING, None))) };
        let index = served.index(port);
        // Names are the Service's own, so that those of a group are told apart.
        let key = LbKey::object(Layer::L4, served.object());
        let own = naming::load_balancer(&facts.cluster.name, &key);
        let field = format!("spec.ports[{index}]");
        let refuse = |reason, message: String| -> Refusal {
            Box::new((reason, Some(Problem::error(served.object(), field.clone(), reason, message))))
        };
        if !front.capable.serves(port.protocol) {
            let why = front.capable.lacks(Feature::Sctp);
            return Err(refuse(errors::UNSUPPORTED, format!("port {id} is not served: of SCTP {why}")));
        }
        let tls = self.certificate(served, port).map_err(|e| refuse(e.0, e.1))?;
        let headers = self.headers(served);
        let protocols = self
            .protocols(served, port, tls.is_some(), !headers.is_empty())
            .map_err(|e| refuse(errors::UNSUPPORTED, e))?;
        let allowed_cidrs = self.allowed(service).map_err(|e| refuse(errors::SOURCES, e))?;

        let http = protocols.listener != plain(port.protocol);
        let timeouts = front.capable.can(Feature::Timeouts);
        let number =
            |annotation, default| timeouts.then(|| served.settings.number(annotation).unwrap_or(default));
        let limit =
            served.settings.text(&service::CONNECTION_LIMIT).and_then(|t| t.parse().ok()).unwrap_or(-1);
        let token = OctaviaStack::load_balancer_token(front.attached.as_deref());
        let (certificate, secret) = match tls {
            Some(Certificate::Reference(url)) => (Some(Token::Literal(url)), None),
            Some(Certificate::Secret { id, spec }) => (Some(Token::secret(id.clone())), Some((id, spec))),
            None => (None, None),
        };
        let listener = ListenerSpec {
            loadbalancer_id: token.clone(),
            name: naming::of_port("listener", index, &own),
            protocol: protocols.listener,
            protocol_port: port.port,
            default_pool_id: Some(Token::of(ResourceType::Pool, id.clone())),
            connection_limit: timeouts.then_some(limit),
            allowed_cidrs,
            insert_headers: if http { headers } else { BTreeMap::new() },
            timeout_client_data: number(&service::TIMEOUT_CLIENT_DATA, 50_000),
            timeout_member_connect: number(&service::TIMEOUT_MEMBER_CONNECT, 5_000),
            timeout_member_data: number(&service::TIMEOUT_MEMBER_DATA, 50_000),
            timeout_tcp_inspect: number(&service::TIMEOUT_TCP_INSPECT, 0),
            default_tls_container_ref: certificate,
            sni_container_refs: Vec::new(),
        };
        let pool = PoolSpec {
            loadbalancer_id: token,
            name: naming::of_port("pool", index, &own),
            protocol: protocols.pool,
            lb_algorithm: self.method(served),
            session_persistence: service.affinity_seconds.map(|seconds| SessionPersistence {
                kind: "SOURCE_IP",
                // Octavia takes a time for datagrams only.
                persistence_timeout: (port.protocol != Protocol::Tcp
                    && facts.kept.is_none()
                    && front.capable.driver == Driver::Amphora)
                    .then_some(seconds),
            }),
        };
        let checked = Checked {
            object: &served.member.object,
            settings: Some(&served.settings),
            options: &facts.options,
            capable: &front.capable,
            transport: port.protocol,
            neutral: &service.health,
            policy: service.traffic_policy,
            kept: facts.kept.is_some(),
        };
        let monitor = health::monitor(&id, naming::of_port("monitor", index, &own), checked, self.problems);
        let monitor_port = monitor.as_ref().and_then(|m| m.port);
        self.targets(served, service, port, &id, node_port, monitor_port, index);
        if let Some(monitor) = monitor {
            self.stack.health_monitors.insert(id.clone(), monitor.spec);
        }
        if let Some((id, spec)) = secret {
            self.stack.secrets.insert(id, spec);
        }
        self.stack.pools.insert(id.clone(), pool);
        self.stack.listeners.insert(id, listener);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one pool of one port of one Service")]
    fn targets(
        &mut self,
        served: &Served<'_>,
        service: &ServiceSpec,
        port: &ServicePort,
        id: &str,
        node_port: u16,
        monitor_port: Option<u16>,
        index: usize,
    ) {
        let (facts, front) = (self.facts, self.front);
        let selector =
            served.settings.text(&service::NODE_SELECTOR).or(facts.options.node_selector.as_deref());
        let selected = self.nodes.selected(selector);
        if selected.is_empty() && !self.nodes.all.is_empty() {
            let what = format!(
                "no node has the labels {:?}, nobody is served: label nodes, or change it",
                selector.unwrap_or_default()
            );
            self.problems.push(served.warn(&service::NODE_SELECTOR, names::events::UNAVAILABLE, what));
        }
        let primary = service.families.first().copied().unwrap_or(Family::V4);
        // haproxy reaches nodes by any family, OVN rewrites addresses within one.
        let families: Vec<Family> = match front.capable.driver {
            Driver::Amphora => vec![primary],
            Driver::Ovn => service.families.iter().copied().filter(|f| front.families.contains(f)).collect(),
        };
        let subnet = MemberSubnet::of(
            facts,
            [
                served.settings.text(&service::MEMBER_SUBNET),
                front.class.member_subnet.as_deref(),
                facts.options.placement.member_subnet.as_deref(),
                served.settings.text(&service::SUBNET),
                front.class.subnet.as_deref(),
                facts.options.placement.subnet.as_deref(),
            ],
        );
        let target =
            Target { port: node_port, monitor_port, name: &format!("member_{index}"), families: &families };
        let found = targets(&selected, &target, &subnet, self.problems);
        if facts.options.manage_security_groups {
            let everybody = || ["0.0.0.0/0", "::/0"].iter().filter_map(|n| n.parse::<IpNet>().ok()).collect();
            let clients = match (front.capable.driver, service.source_ranges.is_empty()) {
                (Driver::Amphora, _) => Vec::new(),
                // Clients come with their own addresses.
                (Driver::Ovn, true) => everybody(),
                (Driver::Ovn, false) => service.source_ranges.clone(),
            };
            // The peer opens the port for health checks whether there is a monitor or not.
            let checked = service
                .health
                .port
                .filter(|_| facts.kept.is_some() && service.traffic_policy == TrafficPolicy::Local);
            let pool = security::Pool {
                object: &served.member.object,
                protocol: port.protocol,
                node_port,
                monitor_port: monitor_port.or(checked),
                families: &families,
                clients: &clients,
            };
            let subnets = front.subnets.iter().chain(&found.subnets);
            self.opened.pool(facts, pool, subnets, self.problems);
            self.opened.ports.extend(found.ports);
        }
        self.stack.members.insert(id.to_owned(), found.members);
    }

    fn method(&mut self, served: &Served<'_>) -> crate::stack::Algorithm {
        let capable = &self.front.capable;
        let said = served.settings.text(&service::METHOD).and_then(crate::stack::Algorithm::parse);
        match said {
            Some(method) if capable.knows(method) => return method,
            Some(method) => {
                let what = format!(
                    "provider {} does not know {}; it counts as absent",
                    capable.provider,
                    method.as_str()
                );
                self.problems.push(served.warn(&service::METHOD, reasons::INVALID, what));
            }
            None => {}
        }
        self.facts.options.method.filter(|m| capable.knows(*m)).unwrap_or(capable.default_method())
    }

    /// Headers that requests get.
    fn headers(&self, served: &Served<'_>) -> BTreeMap<String, String> {
        let all: [(&Annotation, &str); 3] = [
            (&service::X_FORWARDED_FOR, "X-Forwarded-For"),
            (&service::X_FORWARDED_PORT, "X-Forwarded-Port"),
            (&service::X_FORWARDED_PROTO, "X-Forwarded-Proto"),
        ];
        all.into_iter()
            .filter(|(annotation, _)| served.settings.bool(annotation) == Some(true))
            .map(|(_, header)| (header.to_owned(), "true".to_owned()))
            .collect()
    }

    fn protocols(
        &self,
        served: &Served<'_>,
        port: &ServicePort,
        tls: bool,
        headers: bool,
    ) -> Result<Protocols, String> {
        let capable = &self.front.capable;
        let same = plain(port.protocol);
        if port.protocol != Protocol::Tcp {
            return Ok(Protocols { listener: same, pool: same });
        }
        let proxy = proxy(served);
        if (tls || headers || proxy.is_some()) && !capable.can(Feature::Http) {
            return Err(format!(
                "of TLS, headers and the PROXY protocol {}: take another provider, or take the annotations away",
                capable.lacks(Feature::Http)
            ));
        }
        if proxy == Some(OctaviaProtocol::ProxyV2) && !capable.can(Feature::ProxyV2) {
            return Err(format!(
                "of version 2 of the PROXY protocol {}: write v1",
                capable.lacks(Feature::ProxyV2)
            ));
        }
        let listener = match (tls, headers) {
            (true, _) => OctaviaProtocol::TerminatedHttps,
            (false, true) => OctaviaProtocol::Http,
            (false, false) => same,
        };
        let pool = proxy.unwrap_or(if tls || headers { OctaviaProtocol::Http } else { same });
        Ok(Protocols { listener, pool })
    }

    /// The certificate of a port.
    fn certificate(
        &self,
        served: &Served<'_>,
        port: &ServicePort,
    ) -> Result<Option<Certificate>, (&'static str, String)> {
        let listed = |list: &str| {
            value::list(list)
                .iter()
                .any(|item| *item == port.port.to_string() || (!port.name.is_empty() && *item == port.name))
        };
        let takes = served.settings.text(&service::TLS_PORTS).is_none_or(listed);
        if port.protocol != Protocol::Tcp || !takes {
            return Ok(None);
        }
        let no_barbican = self.facts.cloud.lacks_service("key-manager");
        if let Some(name) = served.settings.text(&service::TLS_SECRET) {
            let id = format!("{}/{name}", served.member.object.namespace);
            if no_barbican {
                let what = "this cloud has no Barbican (key-manager is not in its catalog), from which Octavia takes certificates: let pods do TLS".to_owned();
                return Err((errors::CERTIFICATE, what));
            }
            if let Some(why) = self.facts.useless.get(&id) {
                return Err((errors::CERTIFICATE, format!("Secret {id} cannot be used: {why}")));
            }
            let Some(version) = served.member.secrets.get(name).and_then(Option::as_ref) else {
                return Err((
                    errors::CERTIFICATE,
                    format!(
                        "there is no Secret {name} in namespace {}: create it with type kubernetes.io/tls",
                        served.member.object.namespace
                    ),
                ));
            };
            let spec = SecretSpec::of(naming::secret(&self.stack.mark, &id, version), &id, version);
            return Ok(Some(Certificate::Secret { id, spec }));
        }
        let url =
            served.settings.text(&service::TLS_CONTAINER).or(self.facts.options.tls_container.as_deref());
        match url {
            Some(_) if no_barbican && !self.facts.options.external_containers => Err((
                errors::CERTIFICATE,
                "this cloud has no Barbican (key-manager is not in its catalog): take the reference away, or set container-store to external".to_owned(),
            )),
            url => Ok(url.map(|url| Certificate::Reference(url.to_owned()))),
        }
    }

    /// Who may connect; empty: everybody.
    fn allowed(&self, service: &ServiceSpec) -> Result<Vec<IpNet>, String> {
        let ranges = &service.source_ranges;
        let front = self.front;
        let whole = |family: &Family| {
            ranges.iter().any(|net| net.prefix_len() == 0 && Family::of(&net.addr()) == *family)
        };
        if ranges.is_empty() || front.families.iter().all(whole) {
            return Ok(Vec::new());
        }
        let own: Vec<IpNet> =
            ranges.iter().copied().filter(|net| front.families.contains(&Family::of(&net.addr()))).collect();
        if own.is_empty() {
            return Err("the source ranges are of another family than the load balancer's addresses, nobody could connect: add ranges of its family".to_owned());
        }
        if front.capable.can(Feature::AllowedCidrs) {
            return Ok(own);
        }
        if front.capable.driver == Driver::Ovn && self.facts.options.manage_security_groups {
            return Ok(Vec::new());
        }
        Err(format!(
            "of source ranges {}, everybody could connect: {}take spec.loadBalancerSourceRanges away",
            front.capable.lacks(Feature::AllowedCidrs),
            if front.capable.driver == Driver::Ovn { "set option manage-security-groups, or " } else { "" }
        ))
    }
}

/// A certificate.
enum Certificate {
    /// In Barbican, by URL.
    Reference(String),
    /// In a Secret of Kubernetes.
    Secret { id: String, spec: SecretSpec },
}

/// The PROXY protocol that a Service asks for.
pub(super) fn proxy(served: &Served<'_>) -> Option<OctaviaProtocol> {
    match served.settings.text(&service::PROXY_PROTOCOL)? {
        "v1" => Some(OctaviaProtocol::Proxy),
        "v2" => Some(OctaviaProtocol::ProxyV2),
        other => value::bool(other)?.then_some(OctaviaProtocol::Proxy),
    }
}

fn plain(protocol: Protocol) -> OctaviaProtocol {
    match protocol {
        Protocol::Tcp => OctaviaProtocol::Tcp,
        Protocol::Udp => OctaviaProtocol::Udp,
        Protocol::Sctp => OctaviaProtocol::Sctp,
    }
}
