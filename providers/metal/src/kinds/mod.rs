//! MetalLB's custom resources, group `metallb.io`, as this provider reads and writes them; [`BGPSessionState`] of frr-k8s; and [`AddressConflict`] of our own.
//! Pure data.
//!
//! Invariants: MetalLB's field names, types, defaults, validation bounds, printed columns and the status subresource are those of MetalLB 0.16, so
//! that its manifests apply unchanged and its objects stay valid when our definitions replace its own. What MetalLB refuses by
//! webhook is refused by a CEL rule where CEL can say it cheaply, and otherwise reported on the object by the controller.
//!
//! All kinds are namespaced and read from one namespace only (`--config-namespace`).

mod address_conflict;
mod address_pool;
mod bfd_profile;
mod bgp_advertisement;
pub mod bgp_peer;
mod bgp_session_state;
mod community;
pub mod configuration_state;
mod l2_advertisement;
mod service_bgp_status;
mod service_l2_status;

pub use address_conflict::{
    AddressConflict, AddressConflictSpec, AddressConflictStatus, ConflictPhase, GROUP as CONFLICT_GROUP,
    VERSION as CONFLICT_VERSION,
};
pub use address_pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, ServiceAllocation};
pub use bfd_profile::{BFDProfile, BFDProfileSpec, BFDProfileStatus};
pub use bgp_advertisement::{BGPAdvertisement, BGPAdvertisementSpec, BGPAdvertisementStatus};
pub use bgp_peer::{BGPPeer, BGPPeerSpec, BGPPeerStatus, PEER_VERSION, PlainText, SecretReference};
pub use bgp_session_state::{
    BGPSessionState, BGPSessionStateSpec, BGPSessionStateStatus, SESSION_GROUP, peer_label,
};
pub use community::{Community, CommunityAlias, CommunitySpec, CommunityStatus};
pub use configuration_state::{ConfigurationState, ConfigurationStateStatus};
pub use l2_advertisement::{
    L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus, PreferredNodeSelector,
};
pub use service_bgp_status::{ServiceBGPStatus, ServiceBGPStatusSpec, ServiceBGPStatusStatus};
pub use service_l2_status::{InterfaceInfo, ServiceL2Status, ServiceL2StatusSpec, ServiceL2StatusStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

/// API group of MetalLB's kinds.
pub const GROUP: &str = "metallb.io";
/// API version of MetalLB's kinds, but BGPPeer: [`PEER_VERSION`].
pub const VERSION: &str = "v1beta1";

/// Every CustomResourceDefinition of this provider, sorted by name: what `causeway crds` prints and what lies in `deploy/crds`.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut address_conflict = AddressConflict::crd();
    // Written whole, in one request.
    address_conflict.spec.versions.iter_mut().for_each(|version| version.subresources = None);
    let mut configuration_state = ConfigurationState::crd();
    for schema in root_schemas(&mut configuration_state) {
        // MetalLB's has none at all.
        schema.properties.iter_mut().for_each(|properties| drop(properties.remove("spec")));
    }
    // MetalLB requires `spec` on pools alone: an advertisement without one means "every pool, every node".
    let mut crds = vec![
        bgp_peer(),
        BGPAdvertisement::crd(),
        BFDProfile::crd(),
        BGPSessionState::crd(),
        Community::crd(),
        L2Advertisement::crd(),
        ServiceBGPStatus::crd(),
        ServiceL2Status::crd(),
        configuration_state,
    ];
    crds.iter_mut().for_each(spec_is_optional);
    crds.extend([address_conflict, IPAddressPool::crd()]);
    for crd in &mut crds {
        for schema in root_schemas(crd) {
            schema.title = None;
            forbid_null(schema);
        }
    }
    crds.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    crds
}

/// Both versions in one. The conversion is said explicitly although `None` is what the API server takes without it: only so does applying the definition
/// over MetalLB's take its conversion webhook away, which nobody answers any more once MetalLB is gone. That there is no webhook has to be said too, which this type
/// cannot do: whoever writes the definition down adds it.
fn bgp_peer() -> CustomResourceDefinition {
    let mut crd = BGPPeer::crd();
    for mut version in bgp_peer::v1beta1::BGPPeer::crd().spec.versions {
        version.storage = false;
        crd.spec.versions.insert(0, version);
    }
    crd.spec.conversion = Some(CustomResourceConversion { strategy: "None".to_owned(), webhook: None });
    crd
}

fn root_schemas(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    crd.spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut())
        .filter_map(|validation| validation.open_api_v3_schema.as_mut())
}

fn spec_is_optional(crd: &mut CustomResourceDefinition) {
    for schema in root_schemas(crd) {
        if let Some(required) = &mut schema.required {
            required.retain(|field| field != "spec");
            if required.is_empty() {
                schema.required = None;
            }
        }
    }
}

/// The derive marks optional fields `nullable`; MetalLB's do not, so there the API server prunes a null and applies the default.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|map| map.values_mut()) {
        forbid_null(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => forbid_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(forbid_null),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        forbid_null(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn crd(kind: &str) -> CustomResourceDefinition {
        let crd = crds().into_iter().find(|c| c.spec.names.kind == kind).expect(kind);
        assert_eq!(crd.spec.scope, "Namespaced");
        crd
    }

    fn schema(kind: &str) -> Value {
        let crd = crd(kind);
        assert_eq!(crd.spec.group, GROUP);
        assert_eq!(crd.spec.versions.len(), 1);
        let version = serde_json::to_value(&crd.spec.versions[0]).expect("plain data");
        assert_eq!(version["name"], VERSION);
        assert_eq!(version["subresources"], json!({"status": {}}));
        version
    }

    fn columns(version: &Value) -> Vec<(&str, &str)> {
        let columns = version["additionalPrinterColumns"].as_array().expect("columns").iter();
        columns.map(|c| (c["name"].as_str().unwrap_or(""), c["jsonPath"].as_str().unwrap_or(""))).collect()
    }

    fn at<'a>(version: &'a Value, path: &[&str]) -> &'a Value {
        let mut here = &version["schema"]["openAPIV3Schema"];
        for step in path {
            here = if *step == "[]" { &here["items"] } else { &here["properties"][step] };
        }
        here
    }

    #[test]
    fn a_conflict_is_written_in_one_request() {
        let crd = AddressConflict::crd();
        assert_eq!((crd.spec.group.as_str(), crd.spec.scope.as_str()), (CONFLICT_GROUP, "Namespaced"));
        let crd = crds().into_iter().find(|c| c.spec.group == CONFLICT_GROUP).expect("there");
        let version = serde_json::to_value(&crd.spec.versions[0]).expect("plain data");
        assert_eq!((&version["name"], version.get("subresources")), (&json!(CONFLICT_VERSION), None));
        assert_eq!(at(&version, &["spec", "phase"])["enum"], json!(["Probe", "Announced"]));
        assert_eq!(at(&version, &["spec", "firstSeen"])["format"], "date-time");
        assert_eq!(at(&version, &["status", "lastSeen"])["format"], "date-time");
        assert_eq!(
            at(&version, &["spec"])["required"],
            json!(["address", "interface", "mac", "node", "phase"])
        );
    }

    #[test]
    fn names_are_metallbs_and_ours() {
        let names: Vec<_> = crds().into_iter().filter_map(|c| c.metadata.name).collect();
        assert_eq!(
            names,
            [
                "addressconflicts.causeway.io",
                "bfdprofiles.metallb.io",
                "bgpadvertisements.metallb.io",
                "bgppeers.metallb.io",
                "bgpsessionstates.frrk8s.metallb.io",
                "communities.metallb.io",
                "configurationstates.metallb.io",
                "ipaddresspools.metallb.io",
                "l2advertisements.metallb.io",
                "servicebgpstatuses.metallb.io",
                "servicel2statuses.metallb.io"
            ]
        );
    }

    #[test]
    fn pool_defaults_and_requirements() {
        let pool = schema("IPAddressPool");
        assert_eq!(pool["schema"]["openAPIV3Schema"]["required"], json!(["spec"]));
        assert_eq!(at(&pool, &["spec"])["required"], json!(["addresses"]));
        assert_eq!(at(&pool, &["spec", "autoAssign"])["default"], json!(true));
        assert_eq!(at(&pool, &["spec", "avoidBuggyIPs"])["default"], json!(false));
        assert_eq!(
            at(&pool, &["status"])["required"],
            json!(["assignedIPv4", "assignedIPv6", "availableIPv4", "availableIPv6"])
        );
        let addresses = at(&pool, &["spec", "addresses"]);
        assert_eq!(addresses["x-kubernetes-validations"][0]["rule"], "size(self) > 0");
        let rule = addresses["items"]["x-kubernetes-validations"][0]["rule"].as_str().expect("a rule");
        assert!(rule.contains("isCIDR(self)") && !rule.contains('\n'), "{rule}");
        assert_eq!(
            columns(&pool),
            [
                ("Auto Assign", ".spec.autoAssign"),
                ("Avoid Buggy IPs", ".spec.avoidBuggyIPs"),
                ("Addresses", ".spec.addresses")
            ]
        );
    }

    #[test]
    fn advertisement_needs_nothing_and_weights_are_bounded() {
        let ad = schema("L2Advertisement");
        assert_eq!(ad["schema"]["openAPIV3Schema"].get("required"), None);
        let weight = at(&ad, &["spec", "preferredNodeSelectors", "[]", "weight"]);
        assert_eq!((&weight["minimum"], &weight["maximum"]), (&json!(1.0), &json!(100.0)));
        let selector = at(&ad, &["spec", "nodeSelectors", "[]"]);
        assert_eq!(selector["x-kubernetes-map-type"], "atomic");
        let expressions = &selector["properties"]["matchExpressions"];
        assert_eq!(expressions["x-kubernetes-list-type"], "atomic");
        assert_eq!(expressions["items"]["required"], json!(["key", "operator"]));
    }

    #[test]
    fn status_fields_are_immutable() {
        for kind in ["ServiceL2Status", "ServiceBGPStatus"] {
            let status = schema(kind);
            for field in ["node", "serviceName", "serviceNamespace"] {
                let rules = &at(&status, &["status", field])["x-kubernetes-validations"];
                assert_eq!(rules[0]["rule"], "self == oldSelf", "{kind} {field}");
            }
        }
    }

    #[test]
    fn a_peer_has_two_versions_and_needs_no_webhook() {
        let crd = crd("BGPPeer");
        let conversion = serde_json::to_value(&crd.spec.conversion).expect("plain data");
        assert_eq!(conversion, json!({"strategy": "None"}));
        let versions = serde_json::to_value(&crd.spec.versions).expect("plain data");
        let [old, new] = versions.as_array().expect("a list").as_slice() else { panic!("{versions}") };
        for (version, name, storage) in [(old, "v1beta1", false), (new, PEER_VERSION, true)] {
            assert_eq!((&version["name"], &version["storage"]), (&json!(name), &json!(storage)));
            assert_eq!(
                (&version["served"], &version["subresources"]),
                (&json!(true), &json!({"status": {}}))
            );
            assert_eq!(version["schema"]["openAPIV3Schema"].get("required"), None);
            assert_eq!(
                columns(version),
                [
                    ("Address", ".spec.peerAddress"),
                    ("ASN", ".spec.peerASN"),
                    ("BFD Profile", ".spec.bfdProfile"),
                    ("Multi Hops", ".spec.ebgpMultiHop")
                ]
            );
        }
        assert_eq!((&old["deprecated"], new.get("deprecated")), (&json!(true), None));
        assert_eq!(old["deprecationWarning"], "v1beta1 is deprecated, please use v1beta2");
        assert_eq!(at(old, &["spec"])["required"], json!(["myASN", "peerASN", "peerAddress"]));
        assert_eq!(at(new, &["spec"])["required"], json!(["myASN"]));
        for field in ["myASN", "peerASN"] {
            let asn = at(new, &["spec", field]);
            assert_eq!((&asn["minimum"], &asn["maximum"]), (&json!(0.0), &json!(4_294_967_295.0)), "{field}");
        }
        assert_eq!(at(new, &["spec", "localASN"])["minimum"], json!(1.0));
        assert_eq!(at(new, &["spec", "dynamicASN"])["enum"], json!(["internal", "external"]));
        let port = at(new, &["spec", "peerPort"]);
        assert_eq!(
            (&port["default"], &port["minimum"], &port["maximum"]),
            (&json!(179), &json!(1.0), &json!(16384.0))
        );
        for field in ["disableMP", "dualStackAddressFamily"] {
            assert_eq!(at(new, &["spec", field])["default"], json!(false), "{field}");
        }
        for field in ["ebgpMultiHop", "enableGracefulRestart", "peerASN", "holdTime"] {
            assert_eq!(at(new, &["spec", field]).get("default"), None, "{field}");
        }
        assert_eq!(
            at(new, &["spec", "enableGracefulRestart"])["x-kubernetes-validations"][0]["rule"],
            "self == oldSelf"
        );
        assert_eq!(at(new, &["spec", "passwordSecret"])["x-kubernetes-map-type"], "atomic");
        let values = at(old, &["spec", "nodeSelectors", "[]", "matchExpressions", "[]", "values"]);
        assert_eq!(values["minItems"], json!(1));
    }

    #[test]
    fn bgp_advertisements_have_the_defaults_and_the_rule_of_metallb() {
        let ad = schema("BGPAdvertisement");
        assert_eq!(at(&ad, &["spec", "aggregationLength"])["default"], json!(32));
        assert_eq!(at(&ad, &["spec", "aggregationLengthV6"])["default"], json!(128));
        assert_eq!(at(&ad, &["spec", "localPref"])["format"], "int32");
        assert_eq!(at(&ad, &["spec", "localPref"]).get("default"), None);
        let rule = at(&ad, &["spec"])["x-kubernetes-validations"][0]["rule"].as_str().expect("a rule");
        assert!(rule.starts_with("!has(self.serviceSelectors)"), "{rule}");
        assert_eq!(columns(&ad).len(), 4);
    }

    #[test]
    fn profiles_are_bounded_and_default_to_nothing() {
        let profile = schema("BFDProfile");
        for (field, low, high) in [
            ("receiveInterval", 10.0, 60000.0),
            ("transmitInterval", 10.0, 60000.0),
            ("echoInterval", 10.0, 60000.0),
            ("detectMultiplier", 2.0, 255.0),
            ("minimumTtl", 1.0, 254.0),
        ] {
            let value = at(&profile, &["spec", field]);
            assert_eq!((&value["minimum"], &value["maximum"]), (&json!(low), &json!(high)), "{field}");
            assert_eq!(value.get("default"), None, "{field}");
        }
        assert_eq!(columns(&profile).len(), 4);
        assert_eq!(schema("Community").get("additionalPrinterColumns"), None);
    }

    #[test]
    fn session_states_are_those_of_frr_k8s() {
        let crd = crd("BGPSessionState");
        assert_eq!(crd.spec.group, SESSION_GROUP);
        let version = serde_json::to_value(&crd.spec.versions[0]).expect("plain data");
        let columns: Vec<_> = columns(&version).into_iter().map(|(name, _)| name).collect();
        assert_eq!(columns, ["Node", "Peer", "VRF", "BGP", "BFD"]);
        for field in ["bgpStatus", "bfdStatus", "node", "peer", "vrf"] {
            assert_eq!(at(&version, &["status", field])["type"], "string", "{field}");
        }
    }

    #[test]
    fn configuration_state_reports_only() {
        let state = schema("ConfigurationState");
        assert!(at(&state, &[])["properties"].get("spec").is_none());
        assert_eq!(at(&state, &["status", "result"])["enum"], json!(["Valid", "Invalid", "Unknown"]));
        let conditions = at(&state, &["status", "conditions"]);
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
        let condition = &conditions["items"];
        assert_eq!(
            condition["required"],
            json!(["lastTransitionTime", "message", "reason", "status", "type"])
        );
        assert_eq!(condition["properties"]["lastTransitionTime"]["format"], "date-time");
        assert_eq!(condition["properties"]["reason"]["minLength"], json!(1));
    }

    #[test]
    fn no_field_accepts_null() {
        let text = serde_json::to_string(&crds()).expect("plain data");
        assert!(!text.contains("nullable"));
    }
}
