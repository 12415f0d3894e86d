//! `AddressConflict`: an address that somebody else on the segment uses. Written by speakers, read by the controller. Pure data.
//!
//! A kind of our own, beside MetalLB's: no object of MetalLB's can say it. One object per address, named by [`AddressConflict::name_of`], in the
//! namespace of the pools. It has no status subresource, so that a speaker writes it whole in one request; what decisions depend on is in
//! `spec`, and `status` changes nothing but what people see.
//!
//! Who writes: the speaker that found the conflict, named by `spec.node`. It asks again from time to time, moves `status.lastSeen` while the other
//! answers, and deletes the object when nobody does; for a node that is gone any other speaker does so. Deleting it by hand makes the address free to be tried again.

use std::fmt::Write as _;
use std::net::IpAddr;

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Group of the kinds that are ours and not MetalLB's.
pub const GROUP: &str = "causeway.io";
/// Version of [`AddressConflict`].
pub const VERSION: &str = "v1alpha1";

/// Which address, and who else uses it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "causeway.io",
    version = "v1alpha1",
    kind = "AddressConflict",
    plural = "addressconflicts",
    singular = "addressconflict",
    namespaced,
    status = "AddressConflictStatus",
    doc = "An address of a pool that somebody else on the local segment uses. Written by speakers; deleting it lets the address be tried again.",
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".spec.address"}"#,
    printcolumn = r#"{"name":"MAC","type":"string","jsonPath":".spec.mac"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".spec.phase"}"#,
    printcolumn = r#"{"name":"Node","type":"string","jsonPath":".spec.node"}"#,
    printcolumn = r#"{"name":"Interface","type":"string","jsonPath":".spec.interface"}"#,
    printcolumn = r#"{"name":"First Seen","type":"date","jsonPath":".spec.firstSeen"}"#,
    printcolumn = r#"{"name":"Last Seen","type":"date","jsonPath":".status.lastSeen"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AddressConflictSpec {
    /// The address, IPv4 or IPv6.
    #[x_kube(validation = Rule::new("isIP(self)").message("must be an IP address"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the address of a conflict does not change"))]
    #[schemars(length(max = 64))]
    pub address: String,
    /// Hardware address of the other, such as `02:42:ac:11:00:02`.
    #[schemars(length(max = 64))]
    pub mac: String,
    /// `Probe`: met before first use, so nobody here announces the address. `Announced`: met while it is announced; it is defended.
    #[schemars(schema_with = "phase")]
    pub phase: ConflictPhase,
    /// The node whose speaker met it.
    pub node: String,
    /// The interface of that node.
    pub interface: String,
    /// When it was met first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub first_seen: Option<String>,
}

/// When the other user of an address was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConflictPhase {
    /// Before first use, by RFC 5227 probes or duplicate address detection: nobody here announces the address, and nobody begins to.
    Probe,
    /// While it is announced: it is defended, and stays where it is.
    Announced,
}

/// What changes while a conflict lasts.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressConflictStatus {
    /// When it was met last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub last_seen: Option<String>,
}

impl AddressConflict {
    /// The name of the object for an address: the address itself, IPv6 with all its groups and dashes in place of the colons.
    #[must_use]
    pub fn name_of(address: IpAddr) -> String {
        match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let mut name = String::new();
                for (index, group) in address.segments().iter().enumerate() {
                    // Writing to a String cannot fail.
                    let _ = write!(name, "{}{group:04x}", if index == 0 { "" } else { "-" });
                }
                name
            }
        }
    }
}

fn phase(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": [ConflictPhase::Probe, ConflictPhase::Announced]})
}

fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("192.0.2.7", "192.0.2.7")]
    #[case("::ffff:192.0.2.7", "192.0.2.7")]
    #[case("2001:db8::7", "2001-0db8-0000-0000-0000-0000-0000-0007")]
    #[case("::", "0000-0000-0000-0000-0000-0000-0000-0000")]
    fn names_are_those_of_objects(#[case] address: &str, #[case] name: &str) {
        assert_eq!(AddressConflict::name_of(address.parse().expect("an address")), name);
    }

    #[test]
    fn it_reads_as_it_is_documented() {
        let spec = AddressConflictSpec {
            address: "192.0.2.7".into(),
            mac: "02:00:00:00:00:01".into(),
            phase: ConflictPhase::Probe,
            node: "node-1".into(),
            interface: "eth0".into(),
            first_seen: Some("2026-01-01T00:00:00Z".into()),
        };
        let value = serde_json::to_value(&spec).expect("plain data");
        assert_eq!(value["phase"], "Probe");
        assert_eq!(value["firstSeen"], "2026-01-01T00:00:00Z");
        assert_eq!(serde_json::from_value::<AddressConflictSpec>(value).expect("reads"), spec);
    }
}
