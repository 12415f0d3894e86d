//! What is posted to Octavia, field by field in its own names. Pure data.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::token::Token;

/// A further address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AdditionalVip {
    /// Subnet.
    pub subnet_id: String,
    /// Address, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddr>,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancerSpec {
    /// Name.
    pub name: String,
    /// Description; its beginning says whose it is.
    pub description: String,
    /// Provider.
    pub provider: String,
    /// Subnet of the VIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_subnet_id: Option<String>,
    /// Network of the VIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_network_id: Option<String>,
    /// Port of the VIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_port_id: Option<String>,
    /// Address, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_address: Option<IpAddr>,
    /// Further addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_vips: Vec<AdditionalVip>,
    /// Flavor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavor_id: Option<String>,
    /// Availability zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

/// Protocol of a listener or pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum OctaviaProtocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
    /// HTTP.
    #[serde(rename = "HTTP")]
    Http,
    /// HTTPS that the load balancer decrypts; of listeners.
    #[serde(rename = "TERMINATED_HTTPS")]
    TerminatedHttps,
    /// TCP behind a header of the PROXY protocol in version 1; of pools.
    #[serde(rename = "PROXY")]
    Proxy,
    /// The same in version 2.
    #[serde(rename = "PROXYV2")]
    ProxyV2,
}

impl OctaviaProtocol {
    /// As Octavia writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Http => "HTTP",
            Self::TerminatedHttps => "TERMINATED_HTTPS",
            Self::Proxy => "PROXY",
            Self::ProxyV2 => "PROXYV2",
        }
    }
}

/// How a member is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Algorithm {
    /// In turn.
    RoundRobin,
    /// The one with the fewest connections.
    LeastConnections,
    /// By the client's address.
    SourceIp,
    /// By the client's address and port.
    SourceIpPort,
}

impl Algorithm {
    /// As Octavia writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "ROUND_ROBIN",
            Self::LeastConnections => "LEAST_CONNECTIONS",
            Self::SourceIp => "SOURCE_IP",
            Self::SourceIpPort => "SOURCE_IP_PORT",
        }
    }

    /// Of a name, in capitals or not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::RoundRobin, Self::LeastConnections, Self::SourceIp, Self::SourceIpPort];
        all.into_iter().find(|a| a.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerSpec {
    /// Its load balancer.
    pub loadbalancer_id: Token,
    /// Name.
    pub name: String,
    /// Protocol.
    pub protocol: OctaviaProtocol,
    /// Port.
    pub protocol_port: u16,
    /// Where requests go that no policy takes; without one they are answered 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pool_id: Option<Token>,
    /// Most connections; -1: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i64>,
    /// Who may connect; empty: everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_cidrs: Vec<IpNet>,
    /// Headers that requests get.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub insert_headers: BTreeMap<String, String>,
    /// Milliseconds that a client may be silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_client_data: Option<u32>,
    /// Milliseconds to connect to a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_member_connect: Option<u32>,
    /// Milliseconds that a member may be silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_member_data: Option<u32>,
    /// Milliseconds to wait for further data to inspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_tcp_inspect: Option<u32>,
    /// Certificate of clients that name no host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_tls_container_ref: Option<Token>,
    /// Certificates by the host that a client names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sni_container_refs: Vec<Token>,
}

/// What keeps a client at a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionPersistence {
    /// `SOURCE_IP`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Seconds; of UDP and SCTP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence_timeout: Option<u32>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolSpec {
    /// Its load balancer.
    pub loadbalancer_id: Token,
    /// Name.
    pub name: String,
    /// Protocol.
    pub protocol: OctaviaProtocol,
    /// How a member is chosen.
    pub lb_algorithm: Algorithm,
    /// What keeps a client at a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

/// Type of a health monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum MonitorType {
    /// GET answers a status.
    #[serde(rename = "HTTP")]
    Http,
    /// A connection succeeds.
    #[serde(rename = "TCP")]
    Tcp,
    /// Nothing says that the port is closed.
    #[serde(rename = "UDP-CONNECT")]
    UdpConnect,
    /// An association succeeds.
    #[serde(rename = "SCTP")]
    Sctp,
}

/// A health monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthMonitorSpec {
    /// Its pool.
    pub pool_id: Token,
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: MonitorType,
    /// Seconds between checks.
    pub delay: u32,
    /// Seconds until a check has failed.
    pub timeout: u32,
    /// Successes until a member is healthy.
    pub max_retries: u32,
    /// Failures until a member is not.
    pub max_retries_down: u32,
    /// Method of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<&'static str>,
    /// Path of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_path: Option<String>,
    /// Statuses that mean healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_codes: Option<String>,
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MemberSpec {
    /// Name.
    pub name: String,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub protocol_port: u16,
    /// Subnet through which it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// Port that the health monitor asks, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_port: Option<u16>,
}

/// What an L7 policy does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyAction {
    /// Sends to a pool.
    RedirectToPool {
        /// The pool.
        redirect_pool_id: Token,
    },
    /// Answers with another scheme and host, and the same path.
    RedirectPrefix {
        /// Scheme and host.
        redirect_prefix: String,
        /// Status.
        redirect_http_code: u16,
    },
}

/// An L7 policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct L7PolicySpec {
    /// Its listener.
    pub listener_id: Token,
    /// Name.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub action: PolicyAction,
    /// From 1, among the policies of the listener.
    pub position: u32,
}

/// What of a request a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum RuleType {
    /// The host, with the port if the client names one.
    #[serde(rename = "HOST_NAME")]
    HostName,
    /// The path.
    #[serde(rename = "PATH")]
    Path,
}

/// How it compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CompareType {
    /// Byte-equal.
    EqualTo,
    /// A regular expression.
    Regex,
    /// Begins with it.
    StartsWith,
}

/// A rule of an L7 policy; all of its rules must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct L7RuleSpec {
    /// Its policy.
    pub l7policy_id: Token,
    /// What it looks at.
    #[serde(rename = "type")]
    pub kind: RuleType,
    /// How it compares.
    pub compare_type: CompareType,
    /// With what.
    pub value: String,
    /// It holds where it would not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
}
