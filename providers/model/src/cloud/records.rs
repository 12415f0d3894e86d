//! What the cloud holds. Plain data, ordered, the same on the wire and in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_api::{Family, HealthCheck, Layer, PathMatch, Protocol};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::node_sets::SetId;

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// Sets of nodes of one target group, by the port on the node. A port without nodes has no entry.
pub type Targets = BTreeMap<u16, SetId>;

/// Where a load balancer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Being made; its address is known and it can be changed already (ELBv2).
    Provisioning,
    /// Serves.
    Active,
    /// Being made; locked (Octavia).
    PendingCreate,
    /// A change is taking effect; locked (Octavia).
    PendingUpdate,
    /// Being deleted; locked, still listed (Octavia).
    PendingDelete,
}

impl Status {
    /// Whether changes are refused.
    #[must_use]
    pub fn locked(self) -> bool {
        matches!(self, Self::PendingCreate | Self::PendingUpdate | Self::PendingDelete)
    }
}

/// From where a load balancer can be reached. Fixed for its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// From everywhere.
    #[default]
    InternetFacing,
    /// From inside.
    Internal,
}

/// Protocol of a listener. TCP, HTTP and HTTPS exclude each other on one port; UDP may share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// HTTP.
    Http,
    /// HTTP over TLS; needs a certificate.
    Https,
}

impl ListenerProtocol {
    /// For a port of a Service; `None`: this cloud cannot serve it.
    #[must_use]
    pub fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Tcp => Some(Self::Tcp),
            Protocol::Udp => Some(Self::Udp),
            Protocol::Sctp => None,
        }
    }

    /// Lower case, as in names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The target group's protocol that an action of this listener may forward to.
    #[must_use]
    pub fn targets(self) -> TargetProtocol {
        match self {
            Self::Tcp => TargetProtocol::Tcp,
            Self::Udp => TargetProtocol::Udp,
            Self::Http | Self::Https => TargetProtocol::Http,
        }
    }
}

/// The key of a listener in its load balancer, such as `tcp/443`.
#[must_use]
pub fn listener_name(protocol: ListenerProtocol, port: u16) -> String {
    format!("{}/{port}", protocol.as_str())
}

/// Protocol towards the targets. Fixed for a target group's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// HTTP.
    Http,
}

/// What happens to a connection or request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It goes to a target group of the same load balancer.
    Forward(String),
    /// HTTP only: it is answered with this status.
    Fixed(u16),
}

/// A certificate of a listener: content lies elsewhere, the version tells when it changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CertificateRef {
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// Version of its content.
    pub version: String,
}

/// A listener. Protocol and port are fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// Port.
    pub port: u16,
    /// What happens where no rule matches. Required.
    pub default_action: Action,
    /// Clients that may connect, sorted; empty: all.
    pub source_ranges: Vec<IpNet>,
    /// Certificates, the first is the default; exactly HTTPS listeners have some.
    pub certificates: Vec<CertificateRef>,
    /// Tags.
    pub tags: Tags,
}

/// A rule of an HTTP or HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Name of the listener.
    pub listener: String,
    /// Order, from 1; unique in the listener, the smallest match wins.
    pub position: u32,
    /// Host; empty: all, `*.x`: exactly one label.
    pub host: String,
    /// Path.
    pub path: String,
    /// How the path matches.
    pub matching: PathMatch,
    /// What happens.
    pub action: Action,
    /// Tags.
    pub tags: Tags,
}

/// A target group, without its targets. The protocol is fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Protocol towards the targets.
    pub protocol: TargetProtocol,
    /// Health check.
    pub health: HealthCheck,
    /// Seconds for which a client stays with its target.
    pub affinity_seconds: Option<u32>,
    /// Tags.
    pub tags: Tags,
}

/// All that a client says of a load balancer. Name, layer, scheme and requested address are fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Name.
    pub name: String,
    /// Layer.
    pub layer: Layer,
    /// Scheme.
    pub scheme: Scheme,
    /// Families of its addresses, sorted.
    pub families: Vec<Family>,
    /// An address that it must have.
    pub requested_address: Option<IpAddr>,
    /// Tags.
    pub tags: Tags,
    /// Listeners by [`listener_name`].
    pub listeners: BTreeMap<String, Listener>,
    /// Rules by name.
    pub rules: BTreeMap<String, Rule>,
    /// Target groups by name.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// Targets by target group; a group without targets has no entry.
    pub targets: BTreeMap<String, Targets>,
}

impl Spec {
    /// Names of the target groups that a listener or rule forwards to.
    pub fn used_groups(&self) -> impl Iterator<Item = &str> {
        let defaults = self.listeners.values().map(|l| &l.default_action);
        defaults.chain(self.rules.values().map(|r| &r.action)).filter_map(|a| match a {
            Action::Forward(group) => Some(group.as_str()),
            Action::Fixed(_) => None,
        })
    }
}

/// A load balancer as the cloud holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// The cloud's id.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// When it was made, milliseconds.
    pub created: u64,
    /// Its addresses, one per family, in the order of the families.
    pub addresses: Vec<IpAddr>,
    /// What was asked for.
    pub spec: Spec,
}

/// Nodes to add to, or to take from, one port of one target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetDelta {
    /// Target group.
    pub target_group: String,
    /// Port on the nodes.
    pub port: u16,
    /// Addresses of the nodes.
    pub nodes: Vec<IpAddr>,
}
