//! Addresses that somebody has already: nodes and strangers.

use super::tests::{addresses, got, ip, ips, new, pools, refused, release, service};
use super::*;
use causeway_api::{FamilyPolicy, OwnObject, OwnObjects};
use rstest::rstest;
use serde_json::json;

const MAC: &str = "02:00:00:00:00:99";

/// Closes addresses: `node` stands for an address of a node, `Probe` and `Announced` for those of a stranger.
fn close(allocator: &mut Allocator, list: &[(&str, &str)]) {
    let mut objects = OwnObjects::default();
    for (address, why) in list {
        if *why == "node" {
            objects.node_addresses.insert(ip(address), "worker".into());
            continue;
        }
        let spec =
            json!({"address": address, "mac": MAC, "phase": why, "node": "worker", "interface": "eth0"});
        objects.objects.push(OwnObject::new("AddressConflict", "metallb-system", address, spec));
    }
    let (closed, _) = Closed::new(&objects, allocator.pools());
    allocator.set_closed(Arc::new(closed));
}

#[rstest]
#[case("node", "is an address of node worker", "take this one out of its pool")]
#[case("Probe", MAC, "deleting AddressConflict metallb-system/192.0.2.0")]
#[case("Announced", MAC, "take it from that host")]
fn a_closed_address_is_given_to_nobody(#[case] why: &str, #[case] says: &str, #[case] remedy: &str) {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    close(&mut a, &[("192.0.2.0", why)]);
    assert_eq!((a.status("p").assigned_ipv4, a.status("p").available_ipv4), (0, 1));
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.1"]);
    let text = refused(&mut a, &service("b").want(&["192.0.2.0"]));
    assert!(text.contains(says) && text.contains(remedy), "{text}");
    refused(&mut a, &service("c"));
    assert_eq!((a.status("p").assigned_ipv4, a.status("p").available_ipv4), (1, 0));
    // It is free again: those who wait are told, and the older wish is met.
    a.take_waiting();
    close(&mut a, &[]);
    assert_eq!(a.take_waiting(), [service("b").owner, service("c").owner]);
    assert_eq!(got(&mut a, &service("b").want(&["192.0.2.0"])), ["192.0.2.0"]);
}

#[rstest]
#[case("node")]
#[case("Announced")]
fn who_has_it_keeps_it(#[case] why: &str) {
    for wish in [&[][..], &["192.0.2.0"][..]] {
        let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
        let request = service("a").want(wish);
        assert_eq!(got(&mut a, &request), ["192.0.2.0"]);
        close(&mut a, &[("192.0.2.0", why)]);
        assert_eq!(got(&mut a, &request), ["192.0.2.0"]);
        assert_eq!((a.status("p").assigned_ipv4, a.status("p").available_ipv4), (1, 1));
        // Given back, it is not given out again.
        release(&mut a, "a");
        assert_eq!(a.status("p").available_ipv4, 1);
        assert_eq!(got(&mut a, &service("b")), ["192.0.2.1"]);
    }
}

#[test]
fn a_stranger_met_before_use_makes_a_service_take_the_next_address() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/30"]))]);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
    close(&mut a, &[("192.0.2.0", "Probe"), ("192.0.2.1", "Probe")]);
    let moved = a.assign(&service("a")).expect("another");
    assert_eq!(moved.addresses, ips(&["192.0.2.2"]));
    let [Happened::Cleared(why), Happened::Assigned(_)] = moved.happened.as_slice() else {
        panic!("{:?}", moved.happened);
    };
    assert!(why.contains(MAC) && why.contains("192.0.2.0"), "{why}");
    a.settle(&service("a").owner);
    // The stranger leaves: nobody moves back.
    close(&mut a, &[]);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.2"]);
    assert_eq!(got(&mut a, &service("b")), ["192.0.2.0"]);
}

#[test]
fn with_nothing_else_to_have_it_waits() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/32"]))]);
    got(&mut a, &service("a"));
    close(&mut a, &[("192.0.2.0", "Probe")]);
    let denied = a.assign(&service("a")).expect_err("nothing left");
    assert!(denied.cleared.as_deref().is_some_and(|why| why.contains(MAC)), "{denied:?}");
    a.settle(&service("a").owner);
    a.take_waiting();
    close(&mut a, &[]);
    assert_eq!(a.take_waiting(), [service("a").owner]);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
}

#[test]
fn an_address_asked_for_is_asked_for_until_the_stranger_leaves() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/30"]))]);
    let request = service("a").want(&["192.0.2.1"]);
    got(&mut a, &request);
    close(&mut a, &[("192.0.2.1", "Probe")]);
    let text = refused(&mut a, &request);
    assert!(text.contains(MAC), "{text}");
    close(&mut a, &[]);
    assert_eq!(got(&mut a, &request), ["192.0.2.1"]);
}

#[rstest]
#[case("192.0.2.0", &["192.0.2.1", "2001:db8::"])]
#[case("2001:db8::", &["192.0.2.0", "2001:db8::1"])]
fn of_two_addresses_only_the_one_in_conflict_is_replaced(#[case] met: &str, #[case] expected: &[&str]) {
    let mut a = new(&[("p", addresses(&["192.0.2.0/30", "2001:db8::/64"]))]);
    let request = service("a").both(FamilyPolicy::RequireDualStack);
    got(&mut a, &request);
    close(&mut a, &[(met, "Probe")]);
    let moved = a.assign(&request).expect("both");
    assert_eq!(moved.addresses, ips(expected));
    assert!(
        matches!(moved.happened.as_slice(), [Happened::Cleared(_), Happened::Assigned(new)] if new.len() == 1)
    );
    assert_eq!(a.assign(&request).expect("the same"), moved);
}

#[test]
fn both_addresses_in_conflict_are_both_replaced() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/30", "2001:db8::/64"]))]);
    let request = service("a").both(FamilyPolicy::RequireDualStack);
    got(&mut a, &request);
    close(&mut a, &[("192.0.2.0", "Probe"), ("2001:db8::", "Probe")]);
    assert_eq!(got(&mut a, &request), ["192.0.2.1", "2001:db8::1"]);
}

#[test]
fn nobody_joins_an_address_that_is_in_conflict() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    got(&mut a, &service("a").share("k", "", 80));
    close(&mut a, &[("192.0.2.0", "Announced")]);
    assert_eq!(got(&mut a, &service("b").share("k", "", 443)), ["192.0.2.1"]);
}

#[test]
fn closed_addresses_stay_closed_when_pools_change() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    close(&mut a, &[("192.0.2.0", "Probe"), ("198.51.100.0", "Probe")]);
    a.set_pools(pools(&[("q", addresses(&["198.51.100.0/31"]))]));
    assert_eq!(a.status("q").available_ipv4, 1);
    assert_eq!(got(&mut a, &service("a")), ["198.51.100.1"]);
}
