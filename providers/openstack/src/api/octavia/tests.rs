use rstest::rstest;
use serde_json::json;

use super::*;
use crate::api::neutron::{self, Tagged};
use crate::api::{Query, nova};

#[rstest]
#[case("ACTIVE", Provisioning::Active, false)]
#[case("PENDING_CREATE", Provisioning::PendingCreate, true)]
#[case("PENDING_UPDATE", Provisioning::PendingUpdate, true)]
#[case("PENDING_DELETE", Provisioning::PendingDelete, true)]
#[case("ERROR", Provisioning::Error, false)]
#[case("DELETED", Provisioning::Deleted, false)]
#[case("ALLOCATED", Provisioning::Other("ALLOCATED".to_owned()), false)]
fn provisioning(#[case] word: &str, #[case] expected: Provisioning, #[case] pending: bool) {
    let read: Provisioning = serde_json::from_value(json!(word)).expect("a word");
    assert_eq!((read.pending(), read.as_str()), (pending, word));
    assert_eq!(serde_json::to_value(&read).expect("JSON"), json!(word));
    assert_eq!(read, expected);
}

#[test]
fn an_answer_with_nulls_and_more_than_is_known() {
    let answer = json!({"loadbalancer": {
        "id": "1", "name": null, "provisioning_status": "ACTIVE", "operating_status": null, "vip_address": "10.0.0.1",
        "additional_vips": null, "listeners": [{"id": "l"}], "pools": null, "tags": null, "updated_at": null, "vip_qos_policy_id": null,
        "something_new": {"a": [1]}}});
    let lb = LOAD_BALANCERS.read_one(answer).expect("a load balancer");
    assert_eq!((lb.id.as_str(), lb.name.as_str()), ("1", ""));
    assert_eq!(lb.operating_status, Operating::Unknown);
    assert_eq!(lb.listeners, [Id { id: "l".to_owned() }]);
    // With `fields=id&fields=updated_at` nothing else comes.
    let page = json!({"loadbalancers": [{"id": "1", "updated_at": "2026-01-01T00:00:00"}]});
    let (lbs, next) = LOAD_BALANCERS.read_page(page).expect("a page");
    assert_eq!((lbs[0].updated_at.as_deref(), next), (Some("2026-01-01T00:00:00"), None));
    assert_eq!(lbs[0].provisioning_status, Provisioning::Unknown);
}

#[rstest]
#[case(json!(null))]
#[case(json!("<html>"))]
#[case(json!({}))]
#[case(json!({"loadbalancer": null}))]
#[case(json!({"loadbalancer": {"id": 1}}))]
fn what_is_no_answer(#[case] answer: serde_json::Value) {
    assert!(LOAD_BALANCERS.read_one(answer.clone()).is_err());
    assert!(LOAD_BALANCERS.read_page(answer).is_err());
}

#[test]
fn a_populated_load_balancer() {
    let shared = |name: &str| NewPool { name: name.to_owned(), ..NewPool::default() };
    let body = NewLoadBalancer {
        name: "lb".into(),
        vip_subnet_id: Some("s".into()),
        tags: vec!["t".into()],
        listeners: vec![NewListener {
            name: "http".into(),
            protocol: "HTTP".into(),
            protocol_port: 80,
            default_pool: Some(shared("p")),
            l7policies: vec![NewL7Policy {
                name: "x".into(),
                action: "REDIRECT_TO_POOL".into(),
                redirect_pool: Some(shared("p")),
                rules: vec![NewL7Rule {
                    kind: "PATH".into(),
                    compare_type: "EQUAL_TO".into(),
                    value: "/a".into(),
                    ..NewL7Rule::default()
                }],
                ..NewL7Policy::default()
            }],
            ..NewListener::default()
        }],
        pools: vec![NewPool {
            name: "p".into(),
            protocol: "HTTP".into(),
            lb_algorithm: "ROUND_ROBIN".into(),
            healthmonitor: Some(NewHealthMonitor {
                kind: "TCP".into(),
                delay: Some(5),
                ..NewHealthMonitor::default()
            }),
            members: vec![NewMember {
                address: "10.0.0.1".into(),
                protocol_port: 30080,
                ..NewMember::default()
            }],
            ..NewPool::default()
        }],
        ..NewLoadBalancer::default()
    };
    let request = LOAD_BALANCERS.create(&body);
    assert_eq!(request.key(), "POST /v2.0/lbaas/loadbalancers");
    assert_eq!(
        request.body,
        Some(json!({"loadbalancer": {
            "name": "lb", "vip_subnet_id": "s", "tags": ["t"],
            "listeners": [{
                "name": "http", "protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "p"},
                "l7policies": [{
                    "name": "x", "action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "p"},
                    "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/a"}]}]}],
            "pools": [{
                "name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "healthmonitor": {"type": "TCP", "delay": 5},
                "members": [{"address": "10.0.0.1", "protocol_port": 30080}]}]}}))
    );
}

#[test]
fn what_changes_and_what_is_cleared() {
    let changes = ListenerChanges {
        default_pool_id: Some(None),
        allowed_cidrs: Some(Some(vec![])),
        tags: Some(vec![]),
        ..ListenerChanges::default()
    };
    let request = LISTENERS.update("l", &changes);
    assert_eq!(request.key(), "PUT /v2.0/lbaas/listeners/l");
    assert_eq!(
        request.body,
        Some(json!({"listener": {"default_pool_id": null, "allowed_cidrs": [], "tags": []}}))
    );
}

#[rstest]
#[case(LOAD_BALANCERS.list(Query::all()), "GET /v2.0/lbaas/loadbalancers")]
#[case(
    LOAD_BALANCERS.list(Query::all().tags(&["a=1", "b"]).fields(&["id", "updated_at"]).page(10)),
    "GET /v2.0/lbaas/loadbalancers?tags=a=1,b&fields=id&fields=updated_at&limit=10")]
#[case(LISTENERS.list(Query::all().with("load_balancer_id", "1")), "GET /v2.0/lbaas/listeners?load_balancer_id=1")]
#[case(LOAD_BALANCERS.delete("1"), "DELETE /v2.0/lbaas/loadbalancers/1")]
#[case(delete_cascade("1"), "DELETE /v2.0/lbaas/loadbalancers/1?cascade=true")]
#[case(status("1"), "GET /v2.0/lbaas/loadbalancers/1/status")]
#[case(replace_members("p", &[], false), "PUT /v2.0/lbaas/pools/p/members")]
#[case(replace_members("p", &[], true), "PUT /v2.0/lbaas/pools/p/members?additive_only=true")]
#[case(members("p").get("m"), "GET /v2.0/lbaas/pools/p/members/m")]
#[case(l7_rules("x").delete("r"), "DELETE /v2.0/lbaas/l7policies/x/rules/r")]
#[case(QUOTAS.get("p"), "GET /v2.0/lbaas/quotas/p")]
#[case(neutron::FLOATING_IPS.get("f"), "GET /v2.0/floatingips/f")]
#[case(
    neutron::add_tag(Tagged::FloatingIp, "f", "causeway.io/owner=service/1"),
    "PUT /v2.0/floatingips/f/tags/causeway.io%2Fowner%3Dservice%2F1"
)]
#[case(neutron::remove_tag(Tagged::SecurityGroup, "g", "a b"), "DELETE /v2.0/security-groups/g/tags/a%20b")]
#[case(nova::SERVER.get("s"), "GET /v2.1/servers/s")]
#[case(nova::SERVERS.list(Query::all()), "GET /v2.1/servers/detail")]
// What users write as an id stays where it belongs.
#[case(LOAD_BALANCERS.delete("../pools/1?x=#"), "DELETE /v2.0/lbaas/loadbalancers/..%2Fpools%2F1%3Fx%3D%23")]
#[case(LOAD_BALANCERS.get(".."), "GET /v2.0/lbaas/loadbalancers/_")]
#[case(LOAD_BALANCERS.get(""), "GET /v2.0/lbaas/loadbalancers/_")]
fn calls(#[case] request: Request, #[case] key: &str) {
    assert_eq!(request.key(), key);
}

#[test]
fn a_tree_of_states() {
    let answer = json!({"statuses": {"loadbalancer": {
        "id": "1", "name": "lb", "provisioning_status": "ACTIVE", "operating_status": "DEGRADED",
        "listeners": [{"id": "l", "name": "", "provisioning_status": "ACTIVE", "operating_status": "ONLINE", "pools": [
            {"id": "p", "name": "", "provisioning_status": "ACTIVE", "operating_status": "DEGRADED",
             "health_monitor": {"id": "h", "type": "TCP"},
             "members": [{"id": "m", "address": "10.0.0.1", "protocol_port": 80, "operating_status": "ERROR", "provisioning_status": "ACTIVE"}]}]}],
        "pools": null}}});
    let tree = read_status(answer).expect("a tree");
    assert_eq!(tree.listeners[0].pools[0].members[0].operating_status, Operating::Error);
    assert!(read_status(json!({})).is_err());
}

/// Octavia answers each of two quotas under two names.
#[test]
fn quotas() {
    let answer = json!({"quota": {
        "loadbalancer": 6, "load_balancer": 6, "listener": -1, "pool": null, "healthmonitor": 7, "health_monitor": 7, "l7policy": 1, "l7rule": 2}});
    let quota = QUOTAS.read_one(answer).expect("quotas");
    assert_eq!(
        (quota.loadbalancer, quota.listener, quota.pool, quota.healthmonitor),
        (Some(6), Some(-1), None, Some(7))
    );
}
