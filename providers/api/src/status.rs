//! What a provider says of each member: status, conditions, Events. Pure data; `src/kube` writes it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::key::ObjectRef;
use crate::model::Protocol;
use crate::problem::Problem;

/// `status.loadBalancer.ingress[].ipMode` (KEP-1860).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IpMode {
    /// Packets reach nodes addressed to the load balancer's address; kube-proxy takes them.
    #[serde(rename = "VIP")]
    Vip,
    /// Packets reach nodes addressed to the node; kube-proxy must not bind the address.
    Proxy,
}

/// `status.loadBalancer.ingress[].ports[]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortStatus {
    /// Port of the Service.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// CamelCase reason, or `domain/CamelCase`, if this port is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One entry of `status.loadBalancer.ingress`, in Kubernetes' own form.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressPoint {
    /// Address; excludes `hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// DNS name, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Only with `ip`, only on Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_mode: Option<IpMode>,
    /// If used, every port of the Service has an entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortStatus>,
}

/// A condition that the member shall have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// Type, see [`crate::names`].
    pub kind: String,
    /// True or False.
    pub status: bool,
    /// CamelCase reason.
    pub reason: String,
    /// What is the matter, and what to do.
    pub message: String,
}

/// A Normal Event for a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Note {
    /// CamelCase reason.
    pub reason: String,
    /// Text.
    pub message: String,
}

/// What a provider says of one member after planning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member.
    pub object: ObjectRef,
    /// The exact `status.loadBalancer.ingress` it shall have; `None` leaves what is there (not known yet).
    pub ingress: Option<Vec<IngressPoint>>,
    /// Conditions besides [`crate::names::CONDITION_READY`], which the engine derives from the problems. Conditions of
    /// a type in [`crate::names`] or of our domain that are not listed are removed.
    pub conditions: Vec<Condition>,
    /// Annotations to set, or to remove (`None`), written together with the status.
    pub annotations: BTreeMap<String, Option<String>>,
    /// Finalizers of a peer whose load balancer was taken over, to be removed; one that ends in `/` stands for all that begin so.
    pub peer_finalizers: Vec<String>,
    /// Reasons why something of this member is pending or refused.
    pub problems: Vec<Problem>,
    /// Normal Events, sent when the status is written because it changed.
    pub notes: Vec<Note>,
}

/// Status of one of the provider's own objects (for example the counters of an address pool).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnStatus {
    /// The object.
    pub object: ObjectRef,
    /// The whole `status`, in Kubernetes' own form. Written on change only.
    pub status: serde_json::Value,
}
