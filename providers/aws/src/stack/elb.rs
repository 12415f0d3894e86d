//! Load balancers, target groups and what binds targets to them: their desired state. Pure data; the fields are those that the peer controller
//! prints, so that stacks can be compared.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Token;

/// Ordered tags.
pub type Tags = BTreeMap<String, String>;

/// NLB or ALB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadBalancerType {
    /// ALB.
    Application,
    /// NLB.
    Network,
}

impl LoadBalancerType {
    /// Short name, for people.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::Application => "ALB",
            Self::Network => "NLB",
        }
    }
}

/// Where clients come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// From inside the VPC.
    Internal,
    /// From anywhere.
    InternetFacing,
}

impl Scheme {
    /// As AWS writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::InternetFacing => "internet-facing",
        }
    }
}

/// Address families of a load balancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpAddressType {
    /// IPv4 only.
    #[default]
    Ipv4,
    /// Both.
    Dualstack,
    /// Both, but no public IPv4 address (ALB).
    DualstackWithoutPublicIpv4,
}

impl IpAddressType {
    /// As AWS writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dualstack => "dualstack",
            Self::DualstackWithoutPublicIpv4 => "dualstack-without-public-ipv4",
        }
    }

    /// Whether every subnet must have an IPv6 block.
    #[must_use]
    pub fn needs_ipv6(self) -> bool {
        self != Self::Ipv4
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}

/// A subnet of a load balancer, with its fixed addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SubnetMapping {
    /// Elastic IP of an internet-facing NLB.
    #[serde(rename = "allocationID", skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<String>,
    /// Private address of an internal NLB.
    #[serde(rename = "privateIPv4Address", skip_serializing_if = "Option::is_none")]
    pub private_ipv4_address: Option<String>,
    /// IPv6 address of a dual-stack NLB.
    #[serde(rename = "ipv6Address", skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// Source-NAT prefix: a /80 or `auto_assigned`.
    #[serde(rename = "sourceNatIpv6Prefix", skip_serializing_if = "Option::is_none")]
    pub source_nat_ipv6_prefix: Option<String>,
    /// The subnet.
    #[serde(rename = "subnetID")]
    pub subnet_id: String,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Attribute {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A map as attributes in the order of their keys.
#[must_use]
pub fn attributes(map: BTreeMap<String, String>) -> Vec<Attribute> {
    map.into_iter().map(|(key, value)| Attribute { key, value }).collect()
}

/// Reserved capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MinimumCapacity {
    /// Units; 0 gives the reservation back.
    pub capacity_units: u32,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerSpec {
    /// Name, see [`crate::naming`]; fixed at creation.
    pub name: String,
    /// NLB or ALB; fixed at creation.
    #[serde(rename = "type")]
    pub kind: LoadBalancerType,
    /// Scheme; fixed at creation.
    pub scheme: Scheme,
    /// Address families.
    pub ip_address_type: IpAddressType,
    /// Source NAT by IPv6 prefixes, for UDP on dual stack (NLB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_prefix_for_ipv6_source_nat: Option<OnOff>,
    /// One per Availability Zone.
    #[serde(rename = "subnetMapping")]
    pub subnet_mappings: Vec<SubnetMapping>,
    /// Security groups; empty for an NLB without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<Token>,
    /// Whether the groups' rules apply to PrivateLink traffic (NLB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups_inbound_rules_on_private_link: Option<OnOff>,
    /// Pool of customer-owned addresses (ALB on Outposts).
    #[serde(rename = "customerOwnedIPv4Pool", skip_serializing_if = "Option::is_none")]
    pub customer_owned_ipv4_pool: Option<String>,
    /// Attributes that differ from AWS's defaults, by key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_attributes: Vec<Attribute>,
    /// Reserved capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_load_balancer_capacity: Option<MinimumCapacity>,
    /// The user's tags.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// IPAM pool for public addresses (ALB).
    #[serde(rename = "ipv4IPAMPool", skip_serializing_if = "Option::is_none")]
    pub ipv4_ipam_pool: Option<String>,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// An EC2 instance, by NodePort.
    Instance,
    /// An address, of a pod.
    Ip,
    /// An ALB behind an NLB.
    Alb,
}

impl TargetType {
    /// As AWS writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
            Self::Alb => "alb",
        }
    }
}

/// Family of a target group's targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Protocol of a listener or target group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ElbProtocol {
    /// HTTP (ALB).
    Http,
    /// HTTPS (ALB).
    Https,
    /// TCP (NLB).
    Tcp,
    /// TLS, ended or begun by the NLB.
    Tls,
    /// UDP (NLB).
    Udp,
    /// Both on one port (NLB).
    TcpUdp,
    /// QUIC (NLB).
    Quic,
    /// TCP and QUIC on one port (NLB).
    TcpQuic,
}

impl ElbProtocol {
    /// As AWS writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
            Self::Quic => "QUIC",
            Self::TcpQuic => "TCP_QUIC",
        }
    }

    /// Whether datagrams are part of it.
    #[must_use]
    pub fn has_udp(self) -> bool {
        matches!(self, Self::Udp | Self::TcpUdp | Self::Quic | Self::TcpQuic)
    }

    /// Whether connections are part of it.
    #[must_use]
    pub fn has_tcp(self) -> bool {
        !matches!(self, Self::Udp | Self::Quic)
    }
}

/// Version of HTTP towards the targets (ALB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ProtocolVersion {
    /// HTTP/1.1.
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP2")]
    Http2,
    /// gRPC.
    #[serde(rename = "GRPC")]
    Grpc,
}

impl ProtocolVersion {
    /// As AWS writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP1",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
        }
    }
}

/// A port: a number, or a name such as `traffic-port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum PortOrName {
    /// Number.
    Number(u16),
    /// Name.
    Name(String),
}

impl PortOrName {
    /// The port that also carries the traffic.
    #[must_use]
    pub fn traffic() -> Self {
        Self::Name("traffic-port".to_owned())
    }
}

/// Which answers mean healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Matcher {
    /// HTTP statuses, such as `200-399`.
    #[serde(rename = "httpCode")]
    Http(String),
    /// gRPC statuses, such as `12`.
    #[serde(rename = "grpcCode")]
    Grpc(String),
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckConfig {
    /// Port.
    pub port: PortOrName,
    /// TCP, HTTP or HTTPS.
    pub protocol: ElbProtocol,
    /// Path; not with TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Answers that mean healthy; not with TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<Matcher>,
    /// Seconds between checks.
    pub interval_seconds: u32,
    /// Seconds without answer until a check has failed.
    pub timeout_seconds: u32,
    /// Successes until a target is healthy.
    pub healthy_threshold_count: u32,
    /// Failures until a target is unhealthy.
    pub unhealthy_threshold_count: u32,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroupSpec {
    /// Name, see [`crate::naming`].
    pub name: String,
    /// What its targets are.
    pub target_type: TargetType,
    /// Default port; every target is registered with its own.
    pub port: u16,
    /// Protocol.
    pub protocol: ElbProtocol,
    /// Version of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// Family of the targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<TargetFamily>,
    /// Health check.
    pub health_check_config: HealthCheckConfig,
    /// Attributes, by key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_group_attributes: Vec<Attribute>,
    /// The user's tags.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Control port of the target optimizer (ALB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_control_port: Option<u16>,
}
