//! Nova: servers, for what nodes are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::collection::Collection;
use super::lenient::null_is_default;
use super::request::Service;

/// Servers, with all there is to know of each.
pub const SERVERS: Collection<Server> =
    Collection::at(Service::Compute, "/servers/detail", "server", "servers");
/// Servers, by id.
pub const SERVER: Collection<Server> = Collection::at(Service::Compute, "/servers", "server", "servers");

/// An address of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Nova's API reference, which says more")]
pub struct Address {
    #[serde(deserialize_with = "null_is_default")]
    pub addr: String,
    #[serde(deserialize_with = "null_is_default")]
    pub version: u8,
    /// `fixed` or `floating`.
    #[serde(rename = "OS-EXT-IPS:type", deserialize_with = "null_is_default")]
    pub kind: String,
}

/// A flavor, as a server tells of it: by name from microversion 2.47 on, by id before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Nova's API reference, which says more")]
pub struct ServerFlavor {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub original_name: String,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Nova's API reference, which says more")]
pub struct Server {
    #[serde(deserialize_with = "null_is_default")]
    pub id: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub status: String,
    /// Addresses by the network's name.
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: BTreeMap<String, Vec<Address>>,
    #[serde(deserialize_with = "null_is_default")]
    pub flavor: ServerFlavor,
    #[serde(rename = "OS-EXT-AZ:availability_zone")]
    pub availability_zone: Option<String>,
    #[serde(deserialize_with = "null_is_default", rename = "accessIPv4")]
    pub access_ipv4: String,
    #[serde(deserialize_with = "null_is_default", rename = "accessIPv6")]
    pub access_ipv6: String,
    #[serde(deserialize_with = "null_is_default")]
    pub metadata: BTreeMap<String, String>,
}
