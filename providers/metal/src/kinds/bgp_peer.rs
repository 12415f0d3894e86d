//! `BGPPeer`: a router to speak BGP with. Pure data.
//!
//! Version v1beta2 is stored and read. The deprecated v1beta1 ([`v1beta1`]) is served beside it for manifests that still use it: each of its fields means
//! the same in v1beta2, so nothing has to be converted but the version's name.

use std::fmt;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::selector::LabelSelector;

/// The version that is stored and read.
pub const PEER_VERSION: &str = "v1beta2";

/// A router, and how to speak with it. What MetalLB has no field for is asked for by annotations: see [`crate::annotations`].
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "metallb.io",
    version = "v1beta2",
    kind = "BGPPeer",
    plural = "bgppeers",
    singular = "bgppeer",
    namespaced,
    status = "BGPPeerStatus",
    doc = "A router that nodes speak BGP with.",
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".spec.peerAddress"}"#,
    printcolumn = r#"{"name":"ASN","type":"string","jsonPath":".spec.peerASN"}"#,
    printcolumn = r#"{"name":"BFD Profile","type":"string","jsonPath":".spec.bfdProfile"}"#,
    printcolumn = r#"{"name":"Multi Hops","type":"string","jsonPath":".spec.ebgpMultiHop"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.peerASN) && self.peerASN != 0) != has(self.dynamicASN)").message("exactly one of peerASN and dynamicASN is needed"))]
#[x_kube(validation = Rule::new("(has(self.peerAddress) && self.peerAddress != '') != (has(self.interface) && self.interface != '')").message("exactly one of peerAddress and interface is needed"))]
#[x_kube(validation = Rule::new("!(has(self.password) && self.password != '' && has(self.passwordSecret) && has(self.passwordSecret.name) && self.passwordSecret.name != '')").message("password and passwordSecret exclude each other"))]
pub struct BGPPeerSpec {
    /// AS number of this end of the session.
    #[serde(rename = "myASN")]
    #[x_kube(validation = Rule::new("self != 0").message("0 is no AS number"))]
    #[schemars(schema_with = "asn")]
    pub my_asn: i64,
    /// AS number that the router must have. Either this or `dynamicASN`.
    #[serde(default, rename = "peerASN", skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "asn")]
    pub peer_asn: i64,
    /// AS number to show this router instead of `myASN`, which then appears nowhere in what is announced to it (`local-as … no-prepend replace-as` in
    /// the words of FRR).
    #[serde(default, rename = "localASN", skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "local_asn")]
    pub local_asn: i64,
    /// Takes whatever AS number the router has: `internal` if it is our own, `external` if it is another. Either this or `peerASN`.
    #[serde(default, rename = "dynamicASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "dynamic_asn")]
    pub dynamic_asn: Option<String>,
    /// Address of the router. Either this or `interface`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[x_kube(validation = Rule::new("self == '' || isIP(self)").message("must be an IP address"))]
    #[schemars(length(max = 64))]
    pub peer_address: String,
    /// Name of the interface whose other end is the router: a session between IPv6 link-local addresses ("unnumbered"), which carries routes of both
    /// families. Either this or `peerAddress`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Address of the node to speak from; it must be on the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[x_kube(validation = Rule::new("self == '' || isIP(self)").message("must be an IP address"))]
    #[schemars(length(max = 64))]
    pub source_address: String,
    /// TCP port of the router.
    #[serde(default = "bgp_port")]
    #[schemars(schema_with = "port")]
    pub peer_port: i64,
    /// After this time without a word the session is over; the shorter one of both ends counts. 0: never, otherwise at least 3 s. Without it: three
    /// times `keepaliveTime`, or 90 s.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[x_kube(validation = Rule::new("duration(self) == duration('0s') || duration(self) >= duration('3s')").message("hold time must be 0 or at least 3s"))]
    pub hold_time: String,
    /// How often to say that the session is alive; not longer than `holdTime`. Without it: a third of `holdTime`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keepalive_time: String,
    /// Time between attempts to connect; doubled after each that fails, up to two minutes or this, whichever is longer. Without it: 1 s.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[x_kube(validation = Rule::new("duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535").message("connect time should be between 1 seconds to 65535"))]
    #[x_kube(validation = Rule::new("duration(self).getMilliseconds() % 1000 == 0").message("connect time should contain a whole number of seconds"))]
    pub connect_time: String,
    /// BGP identifier of this end, an IPv4 address. Without it: one of the node's own addresses.
    #[serde(default, rename = "routerID", skip_serializing_if = "String::is_empty")]
    #[x_kube(validation = Rule::new("self == '' || isIP(self)").message("must be an IP address"))]
    #[schemars(length(max = 64))]
    pub router_id: String,
    /// Selectors of the nodes that speak with this router; one match is enough. Empty: all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// Password of the session (TCP MD5). `passwordSecret` keeps it from the eyes of those who may read this object.
    #[serde(default, skip_serializing_if = "PlainText::is_empty")]
    pub password: PlainText,
    /// Secret that holds the password of the session (TCP MD5): of type `kubernetes.io/basic-auth`, in the namespace of this object, under the key `password`.
    #[serde(default, skip_serializing_if = "SecretReference::is_empty")]
    pub password_secret: SecretReference,
    /// Name of the BFDProfile by which the path to the router is watched. Without it there is no BFD.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bfd_profile: String,
    /// Graceful restart: the router keeps the routes for a while when the speaker restarts. Immutable, since the session would have to be reset.
    #[serde(default, skip_serializing_if = "is_false")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("EnableGracefulRestart cannot be changed after creation"))]
    pub enable_graceful_restart: bool,
    /// The router of another AS is more than one hop away.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ebgp_multi_hop: bool,
    /// VRF of the node to speak from. Not supported: a peer with it is refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vrf: String,
    /// Deprecated, and without effect: a session carries routes of its own IP family only, unless `dualStackAddressFamily` is set.
    #[serde(default, rename = "disableMP")]
    pub disable_mp: bool,
    /// The session carries routes of both IP families, instead of its own only.
    #[serde(default)]
    pub dual_stack_address_family: bool,
}

/// Empty.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BGPPeerStatus {}

/// Names a Secret.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretReference {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its namespace, if given: that of this object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

impl SecretReference {
    fn is_empty(&self) -> bool {
        self.name.is_empty() && self.namespace.is_empty()
    }
}

/// A text that `Debug` does not show.
#[derive(JsonSchema, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[schemars(inline)]
pub struct PlainText(pub String);

impl PlainText {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for PlainText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { "***" })
    }
}

fn bgp_port() -> i64 {
    179
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(b: &bool) -> bool {
    !*b
}

fn asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX})
}

fn local_asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 1, "maximum": u32::MAX})
}

fn dynamic_asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["internal", "external"]})
}

fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 16384})
}

/// The deprecated version: only its schema is needed, since the API server gives every object as v1beta2.
pub mod v1beta1 {
    use std::collections::BTreeMap;

    use kube::{CustomResource, KubeSchema};
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Serialize};

    use super::{PlainText, asn, is_false};

    /// A router, and how to speak with it.
    #[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[kube(
        group = "metallb.io",
        version = "v1beta1",
        kind = "BGPPeer",
        plural = "bgppeers",
        singular = "bgppeer",
        namespaced,
        status = "super::BGPPeerStatus",
        deprecated = "v1beta1 is deprecated, please use v1beta2",
        doc = "A router that nodes speak BGP with. Deprecated: v1beta2 has the same fields and more.",
        printcolumn = r#"{"name":"Address","type":"string","jsonPath":".spec.peerAddress"}"#,
        printcolumn = r#"{"name":"ASN","type":"string","jsonPath":".spec.peerASN"}"#,
        printcolumn = r#"{"name":"BFD Profile","type":"string","jsonPath":".spec.bfdProfile"}"#,
        printcolumn = r#"{"name":"Multi Hops","type":"string","jsonPath":".spec.ebgpMultiHop"}"#
    )]
    #[serde(rename_all = "camelCase")]
    pub struct BGPPeerSpec {
        /// AS number of this end of the session.
        #[serde(rename = "myASN")]
        #[schemars(schema_with = "asn")]
        pub my_asn: i64,
        /// AS number that the router must have.
        #[serde(rename = "peerASN")]
        #[schemars(schema_with = "asn")]
        pub peer_asn: i64,
        /// Address of the router.
        pub peer_address: String,
        /// Address of the node to speak from; it must be on the node.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub source_address: String,
        /// TCP port of the router; 0 means 179.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "port")]
        pub peer_port: Option<i64>,
        /// After this time without a word the session is over.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub hold_time: String,
        /// How often to say that the session is alive.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub keepalive_time: String,
        /// BGP identifier of this end, an IPv4 address.
        #[serde(default, rename = "routerID", skip_serializing_if = "String::is_empty")]
        pub router_id: String,
        /// Selectors of the nodes that speak with this router; one match is enough. Empty: all nodes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub node_selectors: Vec<NodeSelector>,
        /// Password of the session (TCP MD5).
        #[serde(default, skip_serializing_if = "PlainText::is_empty")]
        pub password: PlainText,
        /// Name of the BFDProfile by which the path to the router is watched.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub bfd_profile: String,
        /// The router of another AS is more than one hop away.
        #[serde(default, skip_serializing_if = "is_false")]
        pub ebgp_multi_hop: bool,
    }

    /// A query over labels; all its parts must hold.
    #[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct NodeSelector {
        /// Requirements on labels by operator.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub match_expressions: Vec<MatchExpression>,
        /// Labels that must be there with exactly these values.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub match_labels: BTreeMap<String, String>,
    }

    /// One requirement on a label.
    #[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct MatchExpression {
        /// The label.
        pub key: String,
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
        pub operator: String,
        /// Values.
        #[schemars(length(min = 1))]
        pub values: Vec<String>,
    }

    fn port(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 0, "maximum": 16384})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_peer_has_the_defaults_of_the_schema() {
        let spec: BGPPeerSpec =
            serde_json::from_str(r#"{"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}"#)
                .expect("a minimal peer");
        assert_eq!((spec.my_asn, spec.peer_asn, spec.local_asn), (64500, 64501, 0));
        assert_eq!((spec.peer_port, spec.disable_mp, spec.dual_stack_address_family), (179, false, false));
        assert_eq!((spec.dynamic_asn, spec.hold_time.as_str()), (None, ""));
    }

    #[test]
    fn what_the_old_version_has_reads_as_the_new_one() {
        let old = v1beta1::BGPPeerSpec {
            my_asn: 64500,
            peer_asn: 64501,
            peer_address: "192.0.2.1".into(),
            hold_time: "30s".into(),
            node_selectors: vec![v1beta1::NodeSelector {
                match_expressions: vec![v1beta1::MatchExpression {
                    key: "rack".into(),
                    operator: "In".into(),
                    values: vec!["a".into()],
                }],
                match_labels: [("zone".to_owned(), "b".to_owned())].into(),
            }],
            ..v1beta1::BGPPeerSpec::default()
        };
        let new: BGPPeerSpec =
            serde_json::from_value(serde_json::to_value(&old).expect("plain data")).expect("reads");
        assert_eq!((new.my_asn, new.peer_asn, new.hold_time.as_str()), (64500, 64501, "30s"));
        assert_eq!(new.node_selectors[0].match_expressions[0].values, ["a"]);
        assert_eq!(new.node_selectors[0].match_labels["zone"], "b");
    }

    #[test]
    fn passwords_are_not_shown() {
        let spec = BGPPeerSpec { password: PlainText("open sesame".into()), ..BGPPeerSpec::default() };
        assert!(!format!("{spec:?}").contains("sesame"));
        assert_eq!(serde_json::to_value(&spec).expect("plain data")["password"], "open sesame");
    }
}
