//! What OpenStack answers, in types that know only the fields which decisions need. Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A null where a text belongs is an empty text.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

/// `GET /v3/auth/catalog` of Keystone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// The services.
    pub catalog: Vec<CatalogService>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogService {
    /// Type, such as `key-manager`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// `GET /` of Octavia.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The versions.
    pub versions: Vec<Version>,
}

/// A version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Such as `v2.27`.
    pub id: String,
}

/// `GET /v2.0/lbaas/providers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Providers {
    /// The providers.
    pub providers: Vec<Provider>,
}

/// A provider of load balancers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Name.
    pub name: String,
}

/// `GET /v2.0/lbaas/flavors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavors {
    /// The flavors.
    pub flavors: Vec<Flavor>,
}

/// A flavor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavor {
    /// Id.
    pub id: String,
    /// Name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// It may be used.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// `GET /v2.0/lbaas/availabilityzones`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailabilityZones {
    /// The zones.
    pub availability_zones: Vec<AvailabilityZone>,
}

/// An availability zone of load balancers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailabilityZone {
    /// Name.
    pub name: String,
    /// It may be used.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// `GET /v2.0/lbaas/loadbalancers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancers {
    /// The load balancers of the project.
    pub loadbalancers: Vec<ExistingLoadBalancer>,
}

/// A load balancer that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingLoadBalancer {
    /// Id.
    pub id: String,
    /// Name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// Description.
    #[serde(default, deserialize_with = "text")]
    pub description: String,
    /// When it was made.
    #[serde(default, deserialize_with = "text")]
    pub created_at: String,
    /// State of its provisioning.
    #[serde(default, deserialize_with = "text")]
    pub provisioning_status: String,
    /// Provider.
    #[serde(default, deserialize_with = "text")]
    pub provider: String,
    /// Address.
    #[serde(default, deserialize_with = "text")]
    pub vip_address: String,
    /// Network of the VIP.
    #[serde(default, deserialize_with = "text")]
    pub vip_network_id: String,
    /// Subnet of the VIP.
    #[serde(default, deserialize_with = "text")]
    pub vip_subnet_id: String,
    /// Port of the VIP.
    #[serde(default, deserialize_with = "text")]
    pub vip_port_id: String,
    /// Flavor.
    #[serde(default, deserialize_with = "text")]
    pub flavor_id: String,
    /// Availability zone.
    #[serde(default, deserialize_with = "text")]
    pub availability_zone: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// `GET /v2.0/lbaas/quotas/PROJECT` of Octavia, `GET /v2.0/quotas/PROJECT` of Neutron.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// By name; negative or null: no limit.
    pub quota: BTreeMap<String, Option<i64>>,
}

/// `GET /v2.0/networks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// The networks that the project sees.
    pub networks: Vec<Network>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Id.
    pub id: String,
    /// Name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// Floating IPs may come from it.
    #[serde(rename = "router:external", default)]
    pub external: bool,
    /// Of several, it is the one to take.
    #[serde(default)]
    pub is_default: bool,
}

/// `GET /v2.0/subnets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnets {
    /// The subnets that the project sees.
    pub subnets: Vec<Subnet>,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// Network.
    pub network_id: String,
    /// Addresses.
    pub cidr: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Subnet {
    /// Its addresses, if they can be read.
    #[must_use]
    pub fn net(&self) -> Option<ipnet::IpNet> {
        self.cidr.parse().ok()
    }
}

/// `GET /v2.0/ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The ports of the project.
    pub ports: Vec<Port>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Id.
    pub id: String,
    /// The server whose port it is.
    #[serde(default, deserialize_with = "text")]
    pub device_id: String,
    /// Its addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
}

/// An address of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIp {
    /// Subnet.
    pub subnet_id: String,
    /// Address.
    pub ip_address: String,
}

/// `GET /v2.0/floatingips`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIps {
    /// The floating IPs of the project.
    pub floatingips: Vec<ExistingFloatingIp>,
}

/// A floating IP that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingFloatingIp {
    /// Id.
    pub id: String,
    /// Address.
    pub floating_ip_address: String,
    /// Network.
    #[serde(default, deserialize_with = "text")]
    pub floating_network_id: String,
    /// What it leads to; empty: nothing.
    #[serde(default, deserialize_with = "text")]
    pub port_id: String,
    /// Description.
    #[serde(default, deserialize_with = "text")]
    pub description: String,
}

/// `GET /v2.0/extensions` of Neutron.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// The extensions.
    pub extensions: Vec<Extension>,
}

/// An extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Such as `router`.
    pub alias: String,
}
