//! `BGPSessionState`: how a node's session with a router is. One object per node and peer, written by the speaker of the node. Pure data.
//!
//! A kind of frr-k8s, which MetalLB's own tools and those of others read; MetalLB itself has none.

use std::net::IpAddr;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::AddressConflict;

/// Group of this kind.
pub const SESSION_GROUP: &str = "frrk8s.metallb.io";

/// How a peer is named in the status and in the label of such an object, where no colon may be: IPv6 with all its groups and dashes in place of the colons.
/// A peer without an address is named by its interface.
#[must_use]
pub fn peer_label(address: IpAddr) -> String {
    AddressConflict::name_of(address)
}

/// Nothing is asked for: the kind only reports.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "frrk8s.metallb.io",
    version = "v1beta1",
    kind = "BGPSessionState",
    plural = "bgpsessionstates",
    singular = "bgpsessionstate",
    namespaced,
    status = "BGPSessionStateStatus",
    doc = "The state of a node's BGP session with a router, and of the BFD session beside it.",
    printcolumn = r#"{"name":"Node","type":"string","jsonPath":".status.node"}"#,
    printcolumn = r#"{"name":"Peer","type":"string","jsonPath":".status.peer"}"#,
    printcolumn = r#"{"name":"VRF","type":"string","jsonPath":".status.vrf"}"#,
    printcolumn = r#"{"name":"BGP","type":"string","jsonPath":".status.bgpStatus"}"#,
    printcolumn = r#"{"name":"BFD","type":"string","jsonPath":".status.bfdStatus"}"#
)]
pub struct BGPSessionStateSpec {}

/// How it is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BGPSessionStateStatus {
    /// State of the BFD session, or `N/A` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_status: Option<String>,
    /// State of the BGP session, such as `Established`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_status: Option<String>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The router, as [`peer_label`] names it, or the interface that leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Always empty: VRFs are not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
}
