//! What is said on a Service whose address, or whose wish, somebody else has; and on one whose pool went.

use super::tests::{annotate, ip, lb, own, pool, service, spec, sync};
use super::*;
use crate::names::CONDITION_ADDRESS_CONFLICT;
use causeway_api::{Condition, OwnObject, Severity, Stack as _, Verb};
use rstest::rstest;
use serde_json::json;

const MAC: &str = "02:00:00:00:00:99";

fn conflict(address: &str, phase: &str) -> OwnObject {
    own(
        "AddressConflict",
        address,
        json!({"address": address, "mac": MAC, "phase": phase, "node": "worker", "interface": "eth0"}),
    )
}

/// Facts of one pool, an advertisement of everything, these objects besides, and these addresses of nodes.
fn facts(metal: &Metal, more: Vec<OwnObject>, nodes: &[&str]) -> (Facts, Vec<Problem>) {
    let mut objects = vec![pool("p", &["192.0.2.0/30"]), own("L2Advertisement", "all", json!({}))];
    objects.extend(more);
    let node_addresses = nodes.iter().map(|address| (ip(address), "worker".to_owned())).collect();
    metal.facts(&OwnObjects { objects, node_addresses }, &())
}

fn condition(status: Option<&MemberStatus>) -> Option<Condition> {
    status?.conditions.iter().find(|c| c.kind == CONDITION_ADDRESS_CONFLICT).cloned()
}

#[test]
fn a_stranger_before_use_moves_a_service_and_says_so() {
    let metal = Metal::default();
    let mut web = service("web", 1);
    sync(&metal, &mut web, &facts(&metal, vec![], &[]).0);
    let moved = sync(&metal, &mut web, &facts(&metal, vec![conflict("192.0.2.0", "Probe")], &[]).0);
    assert_eq!(moved.addresses(), ["192.0.2.1"]);
    assert!(matches!(moved.verbs.as_slice(), [Verb::Replace { .. }]));
    let status = moved.status.expect("a status");
    assert_eq!(condition(Some(&status)), None);
    let notes: Vec<_> = status.notes.iter().map(|n| (n.reason.as_str(), n.message.contains(MAC))).collect();
    assert_eq!(notes, [("ClearAssignment", true), ("IPAllocated", false)]);
}

#[test]
fn one_that_asks_for_the_address_waits_with_a_condition_that_names_the_mac() {
    let metal = Metal::default();
    let met = facts(&metal, vec![conflict("192.0.2.2", "Probe")], &[]).0;
    let mut web = service("web", 1);
    annotate(&mut web, "metallb.io/loadBalancerIPs", "192.0.2.2");
    let waits = sync(&metal, &mut web, &met);
    assert_eq!((waits.addresses(), waits.reasons()), (vec![], vec!["AllocationFailed"]));
    assert_eq!(waits.problems[0].severity, Severity::Error);
    assert_eq!(waits.problems[0].field, "metadata.annotations[metallb.io/loadBalancerIPs]");
    assert!(waits.problems[0].message.contains(MAC), "{}", waits.problems[0]);
    let condition = condition(waits.status.as_ref()).expect("a condition");
    assert_eq!((condition.status, condition.reason.as_str()), (true, "AddressConflict"));
    for part in [MAC, "192.0.2.2", "worker", "waits for it", "take the address from that host"] {
        assert!(condition.message.contains(part), "{part}: {}", condition.message);
    }
    // He leaves.
    let free = sync(&metal, &mut web, &facts(&metal, vec![], &[]).0);
    assert_eq!(free.addresses(), ["192.0.2.2"]);
    assert_eq!(self::condition(free.status.as_ref()), None);
}

#[test]
fn a_claim_to_an_announced_address_is_reported_and_changes_nothing() {
    let metal = Metal::default();
    let mut web = service("web", 1);
    sync(&metal, &mut web, &facts(&metal, vec![], &[]).0);
    let claimed = facts(&metal, vec![conflict("192.0.2.0", "Announced")], &[]).0;
    let outcomes = sync(&metal, &mut web, &claimed);
    assert_eq!((outcomes.addresses(), outcomes.verbs.len()), (vec!["192.0.2.0".to_owned()], 0));
    assert_eq!(outcomes.reasons(), ["AddressConflict"]);
    assert_eq!(outcomes.problems[0].severity, Severity::Warning);
    let condition = condition(outcomes.status.as_ref()).expect("a condition");
    assert!(
        condition.message.contains(MAC) && condition.message.contains("keeps it"),
        "{}",
        condition.message
    );
}

#[test]
fn an_address_of_a_node_is_not_given_and_one_that_was_stays() {
    let metal = Metal::default();
    let (mut old, mut new) = (service("old", 1), service("new", 2));
    sync(&metal, &mut old, &facts(&metal, vec![], &[]).0);
    let (overlapping, problems) = facts(&metal, vec![], &["192.0.2.0", "192.0.2.1"]);
    assert_eq!(problems.iter().map(|p| p.reason.as_str()).collect::<Vec<_>>(), ["NodeAddressesInPool"]);
    let kept = sync(&metal, &mut old, &overlapping);
    assert_eq!(
        (kept.addresses(), kept.reasons()),
        (vec!["192.0.2.0".to_owned()], vec!["NodeAddressesInPool"])
    );
    assert_eq!(sync(&metal, &mut new, &overlapping).addresses(), ["192.0.2.2"]);
    spec(&mut new).requested_address = Some("192.0.2.1".into());
    let denied = sync(&metal, &mut new, &overlapping);
    assert!(denied.problems[0].message.contains("is an address of node worker"), "{}", denied.problems[0]);
}

#[test]
fn a_node_that_touches_no_pool_changes_no_facts() {
    let metal = Metal::default();
    let (without, _) = facts(&metal, vec![], &[]);
    let (outside, _) = facts(&metal, vec![], &["203.0.113.1"]);
    let (inside, _) = facts(&metal, vec![], &["192.0.2.1"]);
    assert!(without == outside && without != inside);
}

#[rstest]
#[case(vec![], "does not exist")]
#[case(vec![own("IPAddressPool", "q", json!({"addresses": ["oops"]}))], "gives no addresses")]
fn asking_for_a_pool_that_cannot_give_keeps_the_address(#[case] more: Vec<OwnObject>, #[case] says: &str) {
    let metal = Metal::default();
    let mut web = service("web", 1);
    sync(&metal, &mut web, &facts(&metal, vec![], &[]).0);
    annotate(&mut web, "metallb.io/address-pool", "q");
    let kept = sync(&metal, &mut web, &facts(&metal, more, &[]).0);
    assert_eq!((kept.addresses(), kept.reasons()), (vec!["192.0.2.0".to_owned()], vec!["PoolUnusable"]));
    let problem = &kept.problems[0];
    assert_eq!(problem.severity, Severity::Error);
    assert!(problem.message.contains(says) && problem.message.contains("keeps what it has"), "{problem}");
}

/// Every reason for which a Service waits becomes its condition: an error on the Service itself, with a remedy behind a semicolon.
#[rstest]
#[case(&[], &[], json!({}), "no available IPs", "add addresses to a pool")]
#[case(&[("address-pool", "none")], &[], json!({}), "unknown pool", "create that IPAddressPool")]
#[case(&[("address-pool", "bad")], &[], json!({}), "its spec is not valid", "see the Events")]
#[case(&[("address-pool", "full")], &[], json!({}), "no available IPs in pool full", "add addresses to it")]
#[case(&[("address-pool", "others")], &[], json!({}), "serviceAllocation does not match", "or name another pool")]
#[case(&[("loadBalancerIPs", "203.0.113.1")], &[], json!({}), "no pool holds it", "ask for an address of a pool")]
#[case(&[("loadBalancerIPs", "198.51.100.0")], &[], json!({}), "has avoidBuggyIPs", "ask for an address that does not")]
#[case(&[("loadBalancerIPs", "198.51.100.1"), ("address-pool", "full")], &[], json!({}), "is not compatible", "remove one of the two")]
#[case(&[("loadBalancerIPs", "2001:db8::1")], &[], json!({}), "does not match the ipFamily", "ask for one address of each")]
#[case(&[("loadBalancerIPs", "192.0.2.0")], &[], json!({}), "does not allow sharing", "give all of them the same")]
#[case(&[("loadBalancerIPs", "192.0.2.1"), ("allow-shared-ip", "k")], &[], json!({}), "port TCP/80 is already in use", "change the port")]
#[case(&[("loadBalancerIPs", "198.51.100.9")], &["198.51.100.9"], json!({}), "is an address of node", "take this one out")]
#[case(&[("loadBalancerIPs", "198.51.100.8")], &[], json!({"address": "198.51.100.8"}), MAC, "take it from that host")]
#[case(&[("loadBalancerIPs", "web")], &[], json!({}), "is not an IP address", "")]
fn every_reason_to_wait_names_a_remedy(
    #[case] annotations: &[(&str, &str)],
    #[case] nodes: &[&str],
    #[case] met: serde_json::Value,
    #[case] says: &str,
    #[case] remedy: &str,
) {
    let metal = Metal::default();
    let mut objects = vec![
        pool("full", &["192.0.2.0/31"]),
        own(
            "IPAddressPool",
            "manual",
            json!({"addresses": ["198.51.100.0/24"], "autoAssign": false, "avoidBuggyIPs": true}),
        ),
        own(
            "IPAddressPool",
            "others",
            json!({"addresses": ["2001:db8::/64"], "serviceAllocation": {"namespaces": ["x"]}}),
        ),
        own("IPAddressPool", "bad", json!({"addresses": ["oops"]})),
    ];
    objects.extend(met["address"].as_str().map(|address| conflict(address, "Probe")));
    let node_addresses = nodes.iter().map(|address| (ip(address), "worker".to_owned())).collect();
    let (facts, _) = metal.facts(&OwnObjects { objects, node_addresses }, &());
    let (mut first, mut shared) = (service("first", 1), service("shared", 2));
    annotate(&mut shared, "metallb.io/allow-shared-ip", "k");
    for member in [&mut first, &mut shared] {
        sync(&metal, member, &facts);
    }
    let mut web = service("web", 3);
    for (name, value) in annotations {
        annotate(&mut web, &format!("metallb.io/{name}"), value);
    }
    let denied = sync(&metal, &mut web, &facts);
    assert_eq!(denied.addresses(), Vec::<String>::new());
    let [problem] = denied.problems.as_slice() else { panic!("{:?}", denied.problems) };
    assert_eq!((problem.severity, problem.object.name.as_str()), (Severity::Error, "web"));
    assert!(problem.message.contains(says) && problem.message.contains(remedy), "{problem}");
}

#[test]
fn without_pools_the_reason_is_that() {
    let metal = Metal::default();
    let (facts, _) = metal.facts(&OwnObjects::default(), &());
    let denied = sync(&metal, &mut service("web", 1), &facts);
    assert!(
        denied.problems[0].message.contains("there is no IPAddressPool; create one"),
        "{}",
        denied.problems[0]
    );
    let (stack, _) = metal.desired(&lb(&metal, &[service("web", 1)]), &facts);
    assert_eq!(stack.resources()["Metal::Address"]["default/web"]["spec"]["addresses"], json!([]));
}
