//! Neutron: floating IPs, ports, networks, subnets, security groups.
//!
//! Answers are for looking, bodies for making and changing; `None` in a body leaves a field as it is, `Some(None)` clears it.

use serde::{Deserialize, Serialize};

use super::collection::{Changes, Collection, New, segment};
use super::lenient::null_is_default;
use super::request::{Method, Request, Service};

const NET: Service = Service::Network;

/// Networks.
pub const NETWORKS: Collection<Network> = Collection::at(NET, "/networks", "network", "networks");
/// Subnets.
pub const SUBNETS: Collection<Subnet> = Collection::at(NET, "/subnets", "subnet", "subnets");
/// Ports.
pub const PORTS: Collection<Port> = Collection::at(NET, "/ports", "port", "ports");
/// Floating IPs.
pub const FLOATING_IPS: Collection<FloatingIp> =
    Collection::at(NET, "/floatingips", "floatingip", "floatingips");
/// Security groups.
pub const SECURITY_GROUPS: Collection<SecurityGroup> =
    Collection::at(NET, "/security-groups", "security_group", "security_groups");
/// Rules of security groups.
pub const SECURITY_GROUP_RULES: Collection<SecurityGroupRule> =
    Collection::at(NET, "/security-group-rules", "security_group_rule", "security_group_rules");
/// Extensions that this Neutron has.
pub const EXTENSIONS: Collection<Extension> = Collection::at(NET, "/extensions", "extension", "extensions");
/// Quotas of projects, by the project's id.
pub const QUOTAS: Collection<Quota> = Collection::at(NET, "/quotas", "quota", "quotas");

/// What can carry tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tagged {
    /// A floating IP.
    FloatingIp,
    /// A security group.
    SecurityGroup,
    /// A port.
    Port,
}

impl Tagged {
    const fn path(self) -> &'static str {
        match self {
            Self::FloatingIp => "/floatingips",
            Self::SecurityGroup => "/security-groups",
            Self::Port => "/ports",
        }
    }
}

/// Adds a tag; that it is there already is fine. One at a time: to write the list would erase what others put there meanwhile. A tag with a slash is
/// answered by 404, however it is encoded: Neutron takes it for two steps of the path.
#[must_use]
pub fn add_tag(of: Tagged, id: &str, tag: &str) -> Request {
    Request::new(NET, Method::Put, &format!("{}/{}/tags/{}", of.path(), segment(id), segment(tag)))
}

/// Removes a tag; one that is not there is answered by 404.
#[must_use]
pub fn remove_tag(of: Tagged, id: &str, tag: &str) -> Request {
    Request::new(NET, Method::Delete, &format!("{}/{}/tags/{}", of.path(), segment(id), segment(tag)))
}

/// Changes the security groups of a port, if it still has the revision at which they were read. Source: Neutron's extension `revision-if-match`.
#[must_use]
pub fn update_port(id: &str, changes: &PortChanges, revision: Option<u64>) -> Request {
    let mut request = PORTS.update(id, changes);
    request.revision = revision;
    request
}

/// An address of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct FixedIp {
    #[serde(deserialize_with = "null_is_default")]
    pub subnet_id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub ip_address: String,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct Network {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub subnets: Vec<String>,
    #[serde(rename = "router:external", deserialize_with = "null_is_default")]
    pub external: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub shared: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub status: String,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct Subnet {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub network_id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub ip_version: u8,
    #[serde(deserialize_with = "null_is_default")]
    pub cidr: String,
    pub gateway_ip: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct Port {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub network_id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub device_id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub device_owner: String,
    #[serde(deserialize_with = "null_is_default")]
    pub fixed_ips: Vec<FixedIp>,
    #[serde(deserialize_with = "null_is_default")]
    pub security_groups: Vec<String>,
    pub port_security_enabled: Option<bool>,
    pub revision_number: Option<u64>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// Changes of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct PortChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
impl Changes<Port> for PortChanges {}

/// A floating IP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct FloatingIp {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
    #[serde(deserialize_with = "null_is_default")]
    pub floating_ip_address: String,
    #[serde(deserialize_with = "null_is_default")]
    pub floating_network_id: String,
    /// `None`: it is attached to nothing.
    pub port_id: Option<String>,
    pub fixed_ip_address: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub status: String,
    #[serde(deserialize_with = "null_is_default")]
    pub created_at: String,
    pub updated_at: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A floating IP to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct NewFloatingIp {
    pub floating_network_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// A certain address: needs an administrator's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floating_ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_ip_address: Option<String>,
    pub description: String,
}
impl New<FloatingIp> for NewFloatingIp {}

/// Changes of a floating IP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct FloatingIpChanges {
    /// `Some(None)` detaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
impl Changes<FloatingIp> for FloatingIpChanges {}

/// A security group with its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct SecurityGroup {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
    #[serde(deserialize_with = "null_is_default")]
    pub security_group_rules: Vec<SecurityGroupRule>,
    #[serde(deserialize_with = "null_is_default")]
    pub created_at: String,
    pub updated_at: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A security group to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct NewSecurityGroup {
    pub name: String,
    pub description: String,
}
impl New<SecurityGroup> for NewSecurityGroup {}

/// A rule of a security group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct SecurityGroupRule {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub security_group_id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub direction: String,
    #[serde(deserialize_with = "null_is_default")]
    pub ethertype: String,
    pub protocol: Option<String>,
    pub port_range_min: Option<u16>,
    pub port_range_max: Option<u16>,
    pub remote_ip_prefix: Option<String>,
    pub remote_group_id: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
}

/// A rule to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct NewSecurityGroupRule {
    pub security_group_id: String,
    pub direction: String,
    pub ethertype: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_group_id: Option<String>,
    pub description: String,
}
impl New<SecurityGroupRule> for NewSecurityGroupRule {}

/// An extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name in the API.
    pub alias: String,
}

/// Quotas of a project; -1 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Neutron's API reference, which says more")]
pub struct Quota {
    pub floatingip: Option<i64>,
    pub security_group: Option<i64>,
    pub security_group_rule: Option<i64>,
    pub port: Option<i64>,
}
