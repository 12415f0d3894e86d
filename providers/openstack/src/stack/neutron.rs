//! What is posted to Neutron and Barbican, field by field in their own names. Pure data.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::token::Token;

/// A floating IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FloatingIpSpec {
    /// Network.
    pub floating_network_id: String,
    /// Subnet, where it was asked for: the first of those that may be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// Address, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floating_ip_address: Option<IpAddr>,
    /// What it leads to.
    pub port_id: Token,
    /// Description; its beginning says whose it is.
    pub description: String,
}

/// A floating IP, and what is ours beside what is posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FloatingIp {
    /// What is posted.
    pub spec: FloatingIpSpec,
    /// Further subnets, to be tried in this order where those before have no free address.
    pub further_subnets: Vec<String>,
    /// It is left when the load balancer is deleted.
    pub keep: bool,
    /// A free one of the project with the address that was asked for, which is taken.
    pub existing: Option<String>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecurityGroupSpec {
    /// Name.
    pub name: String,
    /// Description; its beginning says whose it is.
    pub description: String,
}

/// A rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SecurityGroupRuleSpec {
    /// Its group.
    pub security_group_id: Token,
    /// `ingress`.
    pub direction: &'static str,
    /// `IPv4` or `IPv6`.
    pub ethertype: &'static str,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// First port.
    pub port_range_min: u16,
    /// Last port.
    pub port_range_max: u16,
    /// From where.
    pub remote_ip_prefix: IpNet,
}

/// What is put into a secret: certificate and key of a Secret of Kubernetes, as PKCS#12. Only whose they are is known here.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// Its version: another one makes another secret, as Barbican's cannot be changed.
    pub version: String,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({})", self.secret)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("(PKCS#12 of Secret {})", self.secret))
    }
}

/// A secret in Barbican.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretSpec {
    /// Name; it ends with a hash of the version.
    pub name: String,
    /// `opaque`.
    pub secret_type: &'static str,
    /// `application/octet-stream`.
    pub payload_content_type: &'static str,
    /// `base64`.
    pub payload_content_encoding: &'static str,
    /// What is in it.
    pub payload: Payload,
}

impl SecretSpec {
    /// A secret with what a Secret of Kubernetes holds.
    #[must_use]
    pub fn of(name: String, secret: &str, version: &str) -> Self {
        Self {
            name,
            secret_type: "opaque",
            payload_content_type: "application/octet-stream",
            payload_content_encoding: "base64",
            payload: Payload { secret: secret.to_owned(), version: version.to_owned() },
        }
    }
}
