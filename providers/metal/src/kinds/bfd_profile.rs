//! `BFDProfile`: settings of BFD sessions. Pure data.

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How the path to a router is watched, if a BGPPeer names this profile.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BFDProfile",
    plural = "bfdprofiles",
    singular = "bfdprofile",
    namespaced,
    status = "BFDProfileStatus",
    doc = "Settings of the BFD sessions that watch the paths to routers.",
    printcolumn = r#"{"name":"Passive Mode","type":"boolean","jsonPath":".spec.passiveMode"}"#,
    printcolumn = r#"{"name":"Transmit Interval","type":"integer","jsonPath":".spec.transmitInterval"}"#,
    printcolumn = r#"{"name":"Receive Interval","type":"integer","jsonPath":".spec.receiveInterval"}"#,
    printcolumn = r#"{"name":"Multiplier","type":"integer","jsonPath":".spec.detectMultiplier"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// The path counts as broken after this many times the router's interval without a packet. Without it: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "multiplier")]
    pub detect_multiplier: Option<i64>,
    /// Shortest time between echo packets that are sent back here, milliseconds. Without it: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "interval")]
    pub echo_interval: Option<i64>,
    /// Echo packets, which the router's data plane sends back. IPv4 and one hop only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,
    /// Several hops only: packets that arrive with a lower TTL are dropped. Without it: 254.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "ttl")]
    pub minimum_ttl: Option<i64>,
    /// Says nothing before the router does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,
    /// Shortest time between packets that can be taken in, milliseconds. Without it: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "interval")]
    pub receive_interval: Option<i64>,
    /// Shortest time between packets that are sent, milliseconds, before jitter. Without it: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "interval")]
    pub transmit_interval: Option<i64>,
}

/// Empty.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BFDProfileStatus {}

fn interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 10, "maximum": 60000})
}

fn multiplier(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 2, "maximum": 255})
}

fn ttl(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 254})
}
