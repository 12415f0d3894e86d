//! What Octavia answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::lenient::null_is_default;
use super::{Operating, Provisioning};

/// An id, in lists of children.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// The id.
    pub id: String,
}

/// One more VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionalVip {
    /// Its subnet.
    #[serde(default, deserialize_with = "null_is_default")]
    pub subnet_id: String,
    /// Its address; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

/// A load balancer. With `fields` in the query of a list, the others are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct LoadBalancer {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
    #[serde(deserialize_with = "null_is_default")]
    pub project_id: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    pub admin_state_up: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub created_at: String,
    /// `None`: never changed.
    pub updated_at: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub provider: String,
    pub flavor_id: Option<String>,
    pub availability_zone: Option<String>,
    pub vip_address: Option<String>,
    pub vip_port_id: Option<String>,
    pub vip_subnet_id: Option<String>,
    pub vip_network_id: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub additional_vips: Vec<AdditionalVip>,
    #[serde(deserialize_with = "null_is_default")]
    pub listeners: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub pools: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct Listener {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    pub admin_state_up: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub protocol: String,
    #[serde(deserialize_with = "null_is_default")]
    pub protocol_port: u16,
    pub connection_limit: Option<i64>,
    pub default_pool_id: Option<String>,
    pub default_tls_container_ref: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub sni_container_refs: Vec<String>,
    pub client_ca_tls_container_ref: Option<String>,
    pub client_authentication: Option<String>,
    /// `None`: everybody.
    pub allowed_cidrs: Option<Vec<String>>,
    #[serde(deserialize_with = "null_is_default")]
    pub insert_headers: BTreeMap<String, String>,
    pub timeout_client_data: Option<u64>,
    pub timeout_member_connect: Option<u64>,
    pub timeout_member_data: Option<u64>,
    pub timeout_tcp_inspect: Option<u64>,
    pub tls_versions: Option<Vec<String>>,
    pub tls_ciphers: Option<String>,
    pub alpn_protocols: Option<Vec<String>>,
    #[serde(deserialize_with = "null_is_default")]
    pub l7policies: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub loadbalancers: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// How a pool keeps a client at a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct SessionPersistence {
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence_timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence_granularity: Option<String>,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct Pool {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    pub admin_state_up: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub protocol: String,
    #[serde(deserialize_with = "null_is_default")]
    pub lb_algorithm: String,
    pub session_persistence: Option<SessionPersistence>,
    pub healthmonitor_id: Option<String>,
    pub tls_enabled: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub members: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub listeners: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub loadbalancers: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct Member {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    pub admin_state_up: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub address: String,
    #[serde(deserialize_with = "null_is_default")]
    pub protocol_port: u16,
    pub subnet_id: Option<String>,
    pub weight: Option<u32>,
    pub backup: Option<bool>,
    pub monitor_address: Option<String>,
    pub monitor_port: Option<u16>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A health monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct HealthMonitor {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    pub admin_state_up: Option<bool>,
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    pub delay: Option<u32>,
    pub timeout: Option<u32>,
    pub max_retries: Option<u32>,
    pub max_retries_down: Option<u32>,
    pub http_method: Option<String>,
    pub url_path: Option<String>,
    pub expected_codes: Option<String>,
    pub domain_name: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub pools: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// An L7 policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct L7Policy {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub description: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    pub admin_state_up: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub listener_id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub action: String,
    pub position: Option<u32>,
    pub redirect_pool_id: Option<String>,
    pub redirect_url: Option<String>,
    pub redirect_prefix: Option<String>,
    pub redirect_http_code: Option<u16>,
    #[serde(deserialize_with = "null_is_default")]
    pub rules: Vec<Id>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A rule of an L7 policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct L7Rule {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    pub provisioning_status: Provisioning,
    pub admin_state_up: Option<bool>,
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_is_default")]
    pub compare_type: String,
    pub key: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub value: String,
    pub invert: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
}

/// A provider of load balancers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct Provider {
    pub name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub description: String,
}

/// A flavor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct Flavor {
    pub id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct AvailabilityZone {
    pub name: String,
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// Quotas of a project; -1 is no limit, `None` the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct Quota {
    pub loadbalancer: Option<i64>,
    pub listener: Option<i64>,
    pub pool: Option<i64>,
    pub member: Option<i64>,
    pub healthmonitor: Option<i64>,
    pub l7policy: Option<i64>,
    pub l7rule: Option<i64>,
}

/// States of a load balancer and of what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct StatusTree {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    #[serde(deserialize_with = "null_is_default")]
    pub listeners: Vec<ListenerStatus>,
    #[serde(deserialize_with = "null_is_default")]
    pub pools: Vec<PoolStatus>,
}

/// States of a listener and its pools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct ListenerStatus {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    #[serde(deserialize_with = "null_is_default")]
    pub pools: Vec<PoolStatus>,
}

/// States of a pool and its members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
pub struct PoolStatus {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    pub provisioning_status: Provisioning,
    pub operating_status: Operating,
    #[serde(deserialize_with = "null_is_default")]
    pub members: Vec<Member>,
}
