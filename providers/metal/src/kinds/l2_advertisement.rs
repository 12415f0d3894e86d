//! `L2Advertisement`: which addresses are announced by ARP and NDP, from where. Pure data.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::selector::LabelSelector;

/// Which pools' addresses are announced on the local segment, for which Services, from which nodes and interfaces.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "L2Advertisement",
    plural = "l2advertisements",
    singular = "l2advertisement",
    namespaced,
    status = "L2AdvertisementStatus",
    doc = "Announces addresses of pools on the local segment, by ARP and NDP.",
    printcolumn = r#"{"name":"IPAddressPools","type":"string","jsonPath":".spec.ipAddressPools"}"#,
    printcolumn = r#"{"name":"IPAddressPool Selectors","type":"string","jsonPath":".spec.ipAddressPoolSelectors"}"#,
    printcolumn = r#"{"name":"Interfaces","type":"string","jsonPath":".spec.interfaces"}"#,
    printcolumn = r#"{"name":"Node Selectors","type":"string","jsonPath":".spec.nodeSelectors","priority":10}"#
)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
    /// Names of the pools whose addresses are announced. Names of pools that do not exist are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,
    /// Selectors of pools by label, in addition to the names. With neither names nor selectors: all pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Selectors of the nodes that may announce; one match is enough. Empty: all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// Selectors of nodes that are preferred among those that may announce: the highest sum of weights wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_node_selectors: Vec<PreferredNodeSelector>,
    /// Exact names of the interfaces to announce on. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Selectors of the Services whose addresses are announced; one match is enough. Empty: all. Not for Services that share
    /// an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

/// A preference for some of the nodes that may announce.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreferredNodeSelector {
    /// Which nodes; the empty selector matches every node.
    pub preference: LabelSelector,
    /// How much such a node is preferred, 1 to 100. Weights that match one node add up.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
}

/// Empty.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct L2AdvertisementStatus {}
