//! `IPAddressPool`: addresses that Services may get. Pure data.

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::selector::LabelSelector;

/// Which addresses may be given to Services of type LoadBalancer, and to which of them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "IPAddressPool",
    plural = "ipaddresspools",
    singular = "ipaddresspool",
    namespaced,
    status = "IPAddressPoolStatus",
    doc = "Addresses that may be given to Services of type LoadBalancer.",
    printcolumn = r#"{"name":"Auto Assign","type":"boolean","jsonPath":".spec.autoAssign"}"#,
    printcolumn = r#"{"name":"Avoid Buggy IPs","type":"boolean","jsonPath":".spec.avoidBuggyIPs"}"#,
    printcolumn = r#"{"name":"Addresses","type":"string","jsonPath":".spec.addresses"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// Address ranges of this pool: each a CIDR such as `192.0.2.0/28`, or first and last address such as `192.0.2.10-192.0.2.20`.
    /// No two ranges may overlap, neither here nor with another pool.
    #[x_kube(validation = Rule::new("size(self) > 0").message("a pool needs at least one range of addresses"))]
    #[schemars(schema_with = "ranges")]
    pub addresses: Vec<String>,
    /// Whether a Service that names neither pool nor address may get one from here.
    #[serde(default = "yes")]
    pub auto_assign: bool,
    /// Never give IPv4 addresses that end in .0 or .255: some old equipment takes them for broadcast addresses.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// Which Services this pool is set aside for. With it, other Services get no address from here on their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
}

/// Which Services a pool is set aside for, and its rank among such pools. Namespaces and Services must both match.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Rank among the pools that are set aside for a Service: lower comes first, 0 comes last.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "integer")]
    pub priority: i64,
    /// Names of namespaces. A Service matches that lives in one of them, or in one that `namespaceSelectors` match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Selectors of namespaces by label; one match is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Selectors of Services by label; one match is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

/// How much of a pool is in use. Counted in addresses, not in Services.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IPAddressPoolStatus {
    /// IPv4 addresses in use.
    #[serde(rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// IPv6 addresses in use.
    #[serde(rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// IPv4 addresses still free.
    #[serde(rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// IPv6 addresses still free; a range that never runs out counts as 2^63 - 1.
    #[serde(rename = "availableIPv6")]
    pub available_ipv6: i64,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// MetalLB has its webhook check the ranges; here the API server does, and names the item. The bounds are what its cost estimate asks for, far
/// beyond any real pool. That a range does not begin after its end, and overlaps no other, is checked by the controller.
fn ranges(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 4096,
        "items": {
            "type": "string",
            "maxLength": 128,
            "x-kubernetes-validations": [{
                // Spelt out: the estimate takes all() over parts as one round per character.
                "rule": "self.contains('-') ? \
                         self.split('-').size() == 2 \
                         && isIP(self.split('-')[0].trim()) && isIP(self.split('-')[1].trim()) \
                         : isCIDR(self)",
                "message": "must be a CIDR such as 192.0.2.0/28 or a range such as 192.0.2.10-192.0.2.20",
            }],
        },
    })
}

/// MetalLB's schema gives this integer no format.
fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_schema() {
        let spec: IPAddressPoolSpec =
            serde_json::from_str(r#"{"addresses": ["192.0.2.0/24"]}"#).expect("a minimal pool");
        assert!(spec.auto_assign);
        assert!(!spec.avoid_buggy_ips);
        assert_eq!(spec.service_allocation, None);
    }
}
