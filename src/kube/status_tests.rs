use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::names;

use super::*;
use crate::kube::records::{self, Skipped};

const NOW: jiff::Timestamp = jiff::Timestamp::constant(1_800_000_000, 123_456_789);

fn service(value: Value) -> Record {
    let mut object = json!({
        "metadata": {"namespace": "n", "name": "s", "resourceVersion": "7"},
        "spec": {"type": "LoadBalancer"}
    });
    merge(&mut object, value);
    let narrow = serde_json::from_value(object).expect("a Service");
    Record::Service(Arc::new(records::service(narrow, &mut Skipped::default())))
}

fn ingress(value: Value) -> Record {
    let mut object = json!({"metadata": {"namespace": "n", "name": "i", "resourceVersion": "7"}});
    merge(&mut object, value);
    let narrow = serde_json::from_value(object).expect("an Ingress");
    Record::Ingress(Arc::new(records::ingress(narrow, &mut Skipped::default())))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (k, v) in from {
                merge(into.entry(k).or_insert(Value::Null), v);
            }
        }
        (into, from) => *into = from,
    }
}

fn point(ip: &str) -> IngressPoint {
    IngressPoint { ip: Some(ip.parse().expect("an address")), ..IngressPoint::default() }
}

fn ready(status: bool, reason: &str) -> Condition {
    Condition { kind: names::CONDITION_READY.into(), status, reason: reason.into(), message: "m".into() }
}

fn ready_service(status: &str, reason: &str) -> Record {
    service(json!({"status": {"conditions": [
        {"type": names::CONDITION_READY, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "other.io/Mine", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]}}))
}

#[test]
fn everything_goes_into_one_conditional_patch() {
    let want = Wanted {
        finalizer: Some(true),
        ingress: Some(vec![point("192.0.2.1")]),
        conditions: vec![ready(true, "Ok")],
        annotations: [("a".to_owned(), Some("1".to_owned()))].into(),
        ..Wanted::default()
    };
    assert_eq!(
        patch(&service(json!({"metadata": {"finalizers": ["other.io/f"]}})), &want, NOW),
        Some(json!({
            "metadata": {"resourceVersion": "7", "finalizers": [names::FINALIZER], "annotations": {"a": "1"}},
            "status": {
                "loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]},
                "conditions": [{
                    "type": names::CONDITION_READY, "status": "True", "reason": "Ok", "message": "m",
                    "lastTransitionTime": "2027-01-15T08:00:00Z"
                }]
            }
        }))
    );
}

#[test]
fn nothing_wanted_and_nothing_changed_is_no_patch() {
    assert_eq!(patch(&service(json!({})), &Wanted::default(), NOW), None);
    let record = service(json!({
        "metadata": {"finalizers": [names::FINALIZER], "annotations": {"a": "1"}},
        "status": {
            "loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]},
            "conditions": [{"type": names::CONDITION_READY, "status": "True", "reason": "Ok", "message": "m"}]
        }
    }));
    let want = Wanted {
        finalizer: Some(true),
        ingress: Some(vec![point("192.0.2.1")]),
        conditions: vec![ready(true, "Ok")],
        remove_conditions: vec![names::CONDITION_PORTS_ERROR.into(), names::CONDITION_READY.into()],
        annotations: [("a".to_owned(), Some("1".to_owned())), ("gone".to_owned(), None)].into(),
        remove_finalizers: vec!["example.com/theirs".to_owned(), "group.example.com/".to_owned()],
        observed: None,
    };
    assert_eq!(patch(&record, &want, NOW), None);
}

#[test]
fn finalizers_of_a_peer_go_as_ours_comes() {
    let record = service(json!({
        "metadata": {"finalizers": ["example.com/theirs", "group.example.com/shop", "example.com/theirs-not"], "resourceVersion": "7"},
    }));
    let want = Wanted {
        finalizer: Some(true),
        remove_finalizers: vec!["example.com/theirs".to_owned(), "group.example.com/".to_owned()],
        ..Wanted::default()
    };
    let metadata = json!({
        "finalizers": [names::FINALIZER],
        "$deleteFromPrimitiveList/finalizers": ["example.com/theirs", "group.example.com/shop"],
        "resourceVersion": "7",
    });
    assert_eq!(patch(&record, &want, NOW), Some(json!({"metadata": metadata})));
}

#[test]
fn an_object_of_an_own_kind_has_its_finalizer_on_itself_and_its_generation_in_the_status() {
    let record = |finalizers: &[&str], deleting: bool, observed: Option<i64>| OwnRecord {
        kind: "Binding".to_owned(),
        meta: Meta {
            resource_version: "7".to_owned(),
            finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
            deleting,
            ..Meta::default()
        },
        generation: 3,
        observed,
    };
    let ours = names::INGRESS_FINALIZER;
    let want = |finalizer| Wanted { finalizer: Some(finalizer), observed: Some(3), ..Wanted::default() };
    let finalizers = |list: &[&str]| Some(json!({"metadata": {"finalizers": list, "resourceVersion": "7"}}));
    assert_eq!(own_finalizers(&record(&["a"], false, None), &want(true)), finalizers(&["a", ours]));
    assert_eq!(own_finalizers(&record(&["a", ours], false, None), &want(true)), None);
    assert_eq!(own_finalizers(&record(&["a"], true, None), &want(true)), None, "the API server forbids it");
    assert_eq!(own_finalizers(&record(&["a", ours], true, None), &want(false)), finalizers(&["a"]));
    assert_eq!(own_finalizers(&record(&["a"], true, None), &want(false)), None);
    let status = Some(json!({"status": {"observedGeneration": 3}}));
    assert_eq!(own_status(&record(&[], false, Some(2)), &want(true)), status);
    assert_eq!(own_status(&record(&[], false, None), &want(true)), status);
    assert_eq!(own_status(&record(&[], false, Some(3)), &want(true)), None);
    assert_eq!(own_status(&record(&[], false, None), &Wanted::default()), None);
}

#[test]
fn the_mode_that_the_api_server_fills_in_is_no_difference_but_another_is() {
    let record =
        service(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}}));
    let mode = |ip_mode| Wanted {
        ingress: Some(vec![IngressPoint { ip_mode, ..point("192.0.2.1") }]),
        ..Wanted::default()
    };
    assert_eq!(patch(&record, &mode(None), NOW), None);
    assert_eq!(patch(&record, &mode(Some(IpMode::Vip)), NOW), None);
    assert!(patch(&record, &mode(Some(IpMode::Proxy)), NOW).is_some());
}

#[test]
fn ingresses_have_no_mode_and_no_conditions() {
    let want = Wanted {
        ingress: Some(vec![IngressPoint { ip_mode: Some(IpMode::Proxy), ..point("192.0.2.1") }]),
        conditions: vec![ready(true, "Ok")],
        ..Wanted::default()
    };
    assert_eq!(
        patch(&ingress(json!({})), &want, NOW),
        Some(json!({
            "metadata": {"resourceVersion": "7"},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        }))
    );
    let there = ingress(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}));
    assert_eq!(patch(&there, &want, NOW), None);
}

#[test]
fn a_wiped_or_edited_status_is_put_back_and_an_empty_one_is_written() {
    let one = Wanted { ingress: Some(vec![point("192.0.2.1")]), ..Wanted::default() };
    let edited =
        service(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "x"}]}}}));
    assert!(patch(&edited, &one, NOW).is_some());
    let none = Wanted { ingress: Some(vec![]), ..Wanted::default() };
    assert_eq!(
        patch(&edited, &none, NOW).expect("a patch")["status"],
        json!({"loadBalancer": {"ingress": []}})
    );
    assert_eq!(patch(&service(json!({})), &none, NOW), None);
}

#[test]
fn an_entry_that_nobody_understands_is_replaced() {
    let odd = service(json!({"status": {"loadBalancer": {"ingress": [{"ip": "?"}]}}}));
    let none = Wanted { ingress: Some(vec![]), ..Wanted::default() };
    assert!(patch(&odd, &none, NOW).is_some());
}

#[test]
fn a_service_that_is_no_load_balancer_gets_no_address() {
    let flipped =
        service(json!({"spec": {"type": "ClusterIP"}, "metadata": {"finalizers": [names::FINALIZER]}}));
    let want =
        Wanted { finalizer: Some(false), ingress: Some(vec![point("192.0.2.1")]), ..Wanted::default() };
    let patch = patch(&flipped, &want, NOW).expect("the finalizer goes");
    assert_eq!(patch.get("status"), None);
    assert_eq!(
        patch["metadata"],
        json!({"resourceVersion": "7", "$deleteFromPrimitiveList/finalizers": [names::FINALIZER]})
    );
}

#[test]
fn a_service_that_is_being_deleted_never_gets_our_finalizer() {
    let dying = service(json!({"metadata": {
        "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["other.io/f"]
    }}));
    let want = Wanted { finalizer: Some(true), ..Wanted::default() };
    assert_eq!(patch(&dying, &want, NOW), None);
}

#[test]
fn ingresses_have_a_finalizer_of_their_own() {
    let want = Wanted { finalizer: Some(true), ..Wanted::default() };
    let patch = patch(&ingress(json!({})), &want, NOW).expect("a patch");
    assert_eq!(patch["metadata"]["finalizers"], json!([names::INGRESS_FINALIZER]));
}

#[test]
fn the_transition_time_moves_with_the_status_only() {
    let reason = Wanted { conditions: vec![ready(false, "Other")], ..Wanted::default() };
    let only_reason = patch(&ready_service("False", "Old"), &reason, NOW).expect("a patch");
    assert_eq!(
        only_reason["status"]["conditions"],
        json!([{"type": names::CONDITION_READY, "status": "False", "reason": "Other", "message": "m"}])
    );
    let flips = patch(&ready_service("True", "Old"), &reason, NOW).expect("a patch");
    assert_eq!(flips["status"]["conditions"][0]["lastTransitionTime"], "2027-01-15T08:00:00Z");
}

#[test]
fn conditions_go_by_type_and_others_stay() {
    let want = Wanted {
        remove_conditions: vec![names::CONDITION_READY.into(), names::CONDITION_PORTS_ERROR.into()],
        ..Wanted::default()
    };
    assert_eq!(
        patch(&ready_service("True", "Ok"), &want, NOW).expect("a patch")["status"],
        json!({"conditions": [{"$patch": "delete", "type": names::CONDITION_READY}]})
    );
}

#[test]
fn annotations_are_removed_by_null() {
    let record = service(json!({"metadata": {"annotations": {"a": "1", "theirs": "x"}}}));
    let want = Wanted { annotations: BTreeMap::from([("a".to_owned(), None)]), ..Wanted::default() };
    assert_eq!(
        patch(&record, &want, NOW).expect("a patch")["metadata"],
        json!({"resourceVersion": "7", "annotations": {"a": null}})
    );
}
