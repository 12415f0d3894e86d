//! Desired stacks for simulations, as small builders.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::ObjectRef;

use crate::naming;
use crate::security::BACKEND_GROUP;
use crate::security::OWNED_RULE;
use crate::stack::*;

/// Cluster id of the simulations.
pub const CLUSTER: &str = "c-1";

/// A Service, or an Ingress with its Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    pub uid: &'static str,
    /// Port, protocol, NodePort.
    pub ports: Vec<(u16, ElbProtocol, u16)>,
    pub scheme: Scheme,
    pub nodes: BTreeSet<u32>,
    pub health_interval: u32,
    /// Idle time of TCP listeners.
    pub idle: Option<u32>,
    pub cross_zone: bool,
    pub sources: Vec<&'static str>,
    pub security_groups: bool,
    /// Hosts of an ALB's rules, in order, and the NodePort of their Service.
    pub rules: Vec<(&'static str, u16)>,
    pub name: Option<&'static str>,
    /// Allocations of Elastic IPs, one for each subnet.
    pub eips: Vec<&'static str>,
    /// A gap is allowed.
    pub downtime: bool,
    /// Deletion protection.
    pub protected: Option<bool>,
    /// Web ACL of an ALB by ARN, or by name after `name:`; empty: none.
    pub acl: Option<&'static str>,
    /// Shield Advanced.
    pub shield: Option<bool>,
    /// Version of the Secret by which the first rule logs people in.
    pub login: Option<&'static str>,
}

impl Front {
    pub fn nlb(uid: &'static str) -> Self {
        Self {
            uid,
            ports: vec![(80, ElbProtocol::Tcp, 30080)],
            scheme: Scheme::Internal,
            nodes: (0..3).collect(),
            health_interval: 10,
            idle: None,
            cross_zone: false,
            sources: vec!["0.0.0.0/0"],
            security_groups: true,
            rules: Vec::new(),
            name: None,
            eips: Vec::new(),
            downtime: false,
            protected: None,
            acl: None,
            shield: None,
            login: None,
        }
    }

    pub fn alb(uid: &'static str) -> Self {
        Self {
            ports: vec![(80, ElbProtocol::Http, 31000)],
            rules: vec![("a.example", 31001), ("b.example", 31002)],
            ..Self::nlb(uid)
        }
    }

    fn application(&self) -> bool {
        self.ports.iter().any(|(_, p, _)| *p == ElbProtocol::Http)
    }

    pub fn object(&self) -> ObjectRef {
        if self.application() {
            ObjectRef::ingress("ns", self.uid, self.uid)
        } else {
            ObjectRef::service("ns", self.uid, self.uid)
        }
    }

    pub fn owner(&self) -> String {
        format!("{}/{}", if self.application() { "ingress" } else { "service" }, self.uid)
    }

    #[cfg(all(feature = "sdk", feature = "bed"))]
    pub fn key(&self) -> causeway_api::LbKey {
        let layer = if self.application() { causeway_api::Layer::L7 } else { causeway_api::Layer::L4 };
        causeway_api::LbKey::object(layer, self.object())
    }

    /// Nothing shall be there.
    pub fn gone(&self) -> AwsStack {
        AwsStack { cluster: CLUSTER.to_owned(), owner: self.owner(), ..AwsStack::default() }
    }

    fn group(&self, protocol: ElbProtocol, node_port: u16, of: u16) -> (String, TargetGroupSpec) {
        let id = format!("ns/{}:{of}", self.uid);
        let name = naming::TargetGroupName {
            cluster: CLUSTER,
            owner: &[],
            namespace: "ns",
            name: self.uid,
            uid: self.uid,
            port: node_port,
            service_port: &of.to_string(),
            target_type: TargetType::Instance,
            protocol,
            rest: &[],
        }
        .to_string();
        let spec = TargetGroupSpec {
            name,
            target_type: TargetType::Instance,
            port: node_port,
            protocol,
            protocol_version: None,
            ip_address_type: None,
            health_check_config: HealthCheckConfig {
                port: PortOrName::Number(10256),
                protocol: ElbProtocol::Http,
                path: Some("/healthz".to_owned()),
                matcher: Some(Matcher::Http("200-399".to_owned())),
                interval_seconds: self.health_interval,
                timeout_seconds: 6,
                healthy_threshold_count: 3,
                unhealthy_threshold_count: 3,
            },
            target_group_attributes: Vec::new(),
            tags: Tags::new(),
            target_control_port: None,
        };
        (id, spec)
    }

    fn targets(&self, node_port: u16) -> BTreeSet<Target> {
        let target = |n: &u32| Target {
            id: Token::literal(format!("i-{n}")),
            port: node_port,
            availability_zone: None,
        };
        self.nodes.iter().map(target).collect()
    }

    pub fn stack(&self) -> AwsStack {
        let application = self.application();
        let mut stack = AwsStack { cluster: CLUSTER.to_owned(), owner: self.owner(), ..AwsStack::default() };
        stack.members.push(MemberPart {
            object: self.object(),
            ports: Vec::new(),
            addresses: Vec::new(),
            listeners: BTreeSet::new(),
            current: Vec::new(),
        });
        let range = |cidr: &str, protocol: &str, port| IpPermission {
            ip_protocol: protocol.to_owned(),
            from_port: Some(port),
            to_port: Some(port),
            ip_ranges: vec![IpRange { cidr: cidr.to_owned(), description: "clients".to_owned() }],
            ..IpPermission::default()
        };
        let mut security_groups = Vec::new();
        if self.security_groups {
            let mut ingress = Vec::new();
            for (port, protocol, _) in &self.ports {
                for cidr in &self.sources {
                    ingress.extend(protocol.has_tcp().then(|| range(cidr, "tcp", *port)));
                    ingress.extend(protocol.has_udp().then(|| range(cidr, "udp", *port)));
                }
            }
            let spec = SecurityGroupSpec {
                group_name: naming::security_group(CLUSTER, "ns", self.uid, self.uid),
                description: "made by Causeway".to_owned(),
                tags: Tags::new(),
                ingress,
            };
            stack.security_groups.insert(MANAGED_SECURITY_GROUP.to_owned(), spec);
            security_groups.push(Token::of(ResourceType::SecurityGroup, MANAGED_SECURITY_GROUP));
            security_groups.push(Token::shared(ResourceType::SecurityGroup, BACKEND_GROUP));
            stack.shared.backend_group = Some(SecurityGroupSpec {
                group_name: naming::backend_security_group(CLUSTER),
                description: "shared".to_owned(),
                tags: Tags::new(),
                ingress: Vec::new(),
            });
            let from_backend = IpPermission {
                ip_protocol: "tcp".to_owned(),
                from_port: Some(30000),
                to_port: Some(32767),
                group_pairs: vec![GroupPair {
                    group_id: Token::shared(ResourceType::SecurityGroup, BACKEND_GROUP),
                    description: "Causeway".to_owned(),
                }],
                ..IpPermission::default()
            };
            stack.shared.node_rules = BTreeSet::from([from_backend]);
            stack.shared.node_groups = BTreeSet::from(["sg-node".to_owned()]);
        } else if !application {
            // Clients reach the nodes themselves.
            for (_, protocol, port) in &self.ports {
                for cidr in &self.sources {
                    let rule = |protocol| {
                        let mut rule = range(cidr, protocol, *port);
                        rule.ip_ranges.iter_mut().for_each(|r| r.description = OWNED_RULE.to_owned());
                        rule
                    };
                    stack.shared.node_rules.extend(protocol.has_tcp().then(|| rule("tcp")));
                    stack.shared.node_rules.extend(protocol.has_udp().then(|| rule("udp")));
                }
            }
            stack.shared.node_groups = BTreeSet::from(["sg-node".to_owned()]);
        }
        let cross =
            Attribute { key: "load_balancing.cross_zone.enabled".to_owned(), value: "true".to_owned() };
        let protected = self
            .protected
            .map(|on| Attribute { key: "deletion_protection.enabled".to_owned(), value: on.to_string() });
        stack.allow_downtime = self.downtime;
        let name = naming::load_balancer(CLUSTER, "ns", self.uid, self.uid, self.scheme);
        stack.load_balancers.insert(
            LOAD_BALANCER.to_owned(),
            LoadBalancerSpec {
                name: self.name.map_or(name, str::to_owned),
                kind: if application { LoadBalancerType::Application } else { LoadBalancerType::Network },
                scheme: self.scheme,
                ip_address_type: IpAddressType::Ipv4,
                enable_prefix_for_ipv6_source_nat: None,
                subnet_mappings: ["subnet-a", "subnet-b"]
                    .iter()
                    .enumerate()
                    .map(|(at, id)| SubnetMapping {
                        subnet_id: (*id).to_owned(),
                        allocation_id: self.eips.get(at).map(|eip| (*eip).to_owned()),
                        ..SubnetMapping::default()
                    })
                    .collect(),
                security_groups,
                security_groups_inbound_rules_on_private_link: None,
                customer_owned_ipv4_pool: None,
                load_balancer_attributes: self
                    .cross_zone
                    .then_some(cross)
                    .into_iter()
                    .chain(protected)
                    .collect(),
                minimum_load_balancer_capacity: None,
                tags: Tags::new(),
                ipv4_ipam_pool: None,
            },
        );
        for (port, protocol, node_port) in &self.ports {
            let of_group = if *protocol == ElbProtocol::Tls { ElbProtocol::Tcp } else { *protocol };
            let (id, group) = self.group(of_group, *node_port, *port);
            stack.targets.insert(id.clone(), self.targets(*node_port));
            stack.target_groups.insert(id.clone(), group);
            let idle = self.idle.filter(|_| *protocol == ElbProtocol::Tcp).map(|seconds| Attribute {
                key: "tcp.idle_timeout.seconds".to_owned(),
                value: seconds.to_string(),
            });
            let tls = *protocol == ElbProtocol::Tls;
            let certificate = ListenerCertificate { certificate_arn: "arn:cert".to_owned() };
            stack.listeners.insert(
                port.to_string(),
                ListenerSpec {
                    load_balancer_arn: Token::of(ResourceType::LoadBalancer, LOAD_BALANCER),
                    port: *port,
                    protocol: *protocol,
                    default_actions: vec![Action::forward(Token::of(ResourceType::TargetGroup, id))],
                    certificates: tls.then_some(certificate).into_iter().collect(),
                    ssl_policy: tls.then(|| "ELBSecurityPolicy-2016-08".to_owned()),
                    alpn_policy: Vec::new(),
                    mutual_authentication: None,
                    tags: Tags::new(),
                    listener_attributes: idle.into_iter().collect(),
                },
            );
        }
        let resource_arn = Token::of(ResourceType::LoadBalancer, LOAD_BALANCER);
        let asked = |field: &str| Asked { by: self.object(), field: field.to_owned() };
        stack.web_acls.extend(self.acl.map(|acl| {
            let (arn, name) = acl.strip_prefix("name:").map_or((acl, ""), |name| ("", name));
            let (web_acl_arn, web_acl_name) = (arn.to_owned(), name.to_owned());
            let (resource_arn, asked) = (resource_arn.clone(), asked("wafv2"));
            (LOAD_BALANCER.to_owned(), WebAclSpec { web_acl_arn, web_acl_name, resource_arn, asked })
        }));
        stack.shields.extend(self.shield.map(|enabled| {
            let (resource_arn, asked) = (resource_arn.clone(), asked("shield"));
            (LOAD_BALANCER.to_owned(), ShieldSpec { enabled, resource_arn, asked })
        }));
        let listener = self.ports.first().map_or(80, |(port, ..)| *port);
        for (at, (host, node_port)) in self.rules.iter().enumerate() {
            let (id, group) = self.group(ElbProtocol::Http, *node_port, *node_port);
            stack.targets.insert(id.clone(), self.targets(*node_port));
            stack.target_groups.insert(id.clone(), group);
            let priority = u32::try_from(at + 1).expect("few");
            stack.listener_rules.insert(
                format!("{listener}:{priority}"),
                ListenerRuleSpec {
                    listener_arn: Token::of(ResourceType::Listener, listener.to_string()),
                    priority,
                    actions: self
                        .login
                        .filter(|_| at == 0)
                        .map(login)
                        .into_iter()
                        .chain([Action::forward(Token::of(ResourceType::TargetGroup, id))])
                        .collect(),
                    conditions: vec![RuleCondition::HostHeader(Values::patterns(vec![(*host).to_owned()]))],
                    transforms: Vec::new(),
                    tags: Tags::new(),
                },
            );
        }
        stack
    }
}

/// Logs people in with this version of the Secret.
fn login(version: &str) -> Action {
    let part = |key| SecretRef {
        namespace: "ns".to_owned(),
        name: "client".to_owned(),
        key,
        version: version.to_owned(),
        content: Content::default(),
    };
    Action::AuthenticateOidc(Box::new(OidcConfig {
        session: SessionConfig::default(),
        issuer: "https://issuer".to_owned(),
        authorization_endpoint: "https://issuer/a".to_owned(),
        token_endpoint: "https://issuer/t".to_owned(),
        user_info_endpoint: "https://issuer/u".to_owned(),
        client_id: part("clientID"),
        client_secret: part("clientSecret"),
    }))
}

/// The targets of each target group by id, for comparison.
pub fn target_ids(stack: &AwsStack) -> BTreeMap<&str, &BTreeSet<Target>> {
    stack.targets.iter().map(|(id, t)| (id.as_str(), t)).collect()
}
