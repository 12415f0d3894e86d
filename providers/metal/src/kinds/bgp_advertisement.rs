//! `BGPAdvertisement`: which pools' addresses are announced to routers, how, and to which of them. Pure data.

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::selector::LabelSelector;

/// Announces addresses of pools by BGP. What MetalLB has no field for is asked for by annotations: see [`crate::annotations`].
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPAdvertisement",
    plural = "bgpadvertisements",
    singular = "bgpadvertisement",
    namespaced,
    status = "BGPAdvertisementStatus",
    doc = "Announces addresses of pools to routers, by BGP.",
    printcolumn = r#"{"name":"IPAddressPools","type":"string","jsonPath":".spec.ipAddressPools"}"#,
    printcolumn = r#"{"name":"IPAddressPool Selectors","type":"string","jsonPath":".spec.ipAddressPoolSelectors"}"#,
    printcolumn = r#"{"name":"Peers","type":"string","jsonPath":".spec.peers"}"#,
    printcolumn = r#"{"name":"Node Selectors","type":"string","jsonPath":".spec.nodeSelectors","priority":10}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || ((!has(self.aggregationLength) || self.aggregationLength == 32) && (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))").message("serviceSelectors and aggregationLength are mutually exclusive, can only be used together with default aggregationLength (32) and aggregationLengthV6 (128)"))]
pub struct BGPAdvertisementSpec {
    /// Prefix length that IPv4 addresses are announced with. Shorter than 32, one route stands for many addresses; not shorter than any range of the pools.
    /// Services with externalTrafficPolicy Local are announced by their single addresses all the same, see the annotation causeway.io/aggregate-local.
    #[serde(default = "v4")]
    #[schemars(schema_with = "aggregation_v4")]
    pub aggregation_length: i64,
    /// The same for IPv6.
    #[serde(default = "v6", rename = "aggregationLengthV6")]
    #[schemars(schema_with = "aggregation_v6")]
    pub aggregation_length_v6: i64,
    /// LOCAL_PREF of the routes: of several, routers take the highest. Sent to routers of our own AS only. 0: none. Advertisements of one prefix to one router must agree.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "int32")]
    pub local_pref: i64,
    /// Communities of the routes: `64500:1`, `large:64500:1:2`, a well-known one by its name such as `no-export`, or an alias out of a Community. Those of all
    /// advertisements of one prefix are united.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
    /// Names of the pools whose addresses are announced. Names of pools that do not exist are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,
    /// Selectors of pools by label, in addition to the names. With neither names nor selectors: all pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Selectors of the nodes that announce; one match is enough. Empty: all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// Names of the BGPPeers to announce to. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Selectors of the Services whose addresses are announced; one match is enough. Empty: all. Only without aggregation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

/// Empty.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BGPAdvertisementStatus {}

fn v4() -> i64 {
    32
}

fn v6() -> i64 {
    128
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn aggregation_v4(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 32})
}

fn aggregation_v6(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 128})
}

fn int32(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_schema() {
        let spec: BGPAdvertisementSpec = serde_json::from_str("{}").expect("an empty one");
        assert_eq!((spec.aggregation_length, spec.aggregation_length_v6, spec.local_pref), (32, 128, 0));
    }
}
