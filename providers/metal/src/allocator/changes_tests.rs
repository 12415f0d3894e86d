//! What becomes of Services when pools change under them.

use super::tests::{addresses, got, ips, pools, refused, service};
use super::*;
use causeway_api::FamilyPolicy::{PreferDualStack, RequireDualStack};
use rstest::rstest;
use serde_json::{Value, json};

/// Pools as text: `name range range; name range`.
type Specs<'a> = &'a str;

fn set(specs: Specs) -> Arc<Pools> {
    let parts = specs.split(';').map(str::split_whitespace);
    let specs: Vec<(&str, Value)> =
        parts.filter_map(|mut words| Some((words.next()?, addresses(&words.collect::<Vec<_>>())))).collect();
    pools(&specs)
}

fn moving(specs: Specs) -> Allocator {
    Allocator::new(set(specs), OutsidePools::Move)
}

const P: Specs = "p 192.0.2.0/24";

#[rstest]
// The pool grows, is split, renamed, or shrinks beside the address: it stays.
#[case("p 192.0.2.0/23", "192.0.2.0", "p")]
#[case("p 192.0.2.0/25; q 192.0.2.128/25", "192.0.2.0", "p")]
#[case("q 192.0.2.0/24", "192.0.2.0", "q")]
#[case("p 192.0.2.0/32", "192.0.2.0", "p")]
// The address lies in no pool: another is given if there is one.
#[case("p 192.0.2.8/29", "192.0.2.8", "p")]
#[case("q 198.51.100.0/24", "198.51.100.0", "q")]
// There is none: it stays.
#[case("", "192.0.2.0", "p")]
#[case("p 2001:db8::/64", "192.0.2.0", "p")]
fn after_a_change_of_pools(#[case] after: Specs, #[case] expected: &str, #[case] pool: &str) {
    let mut a = moving(P);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
    a.set_pools(set(after));
    assert_eq!(got(&mut a, &service("a")), [expected]);
    let assignment = a.assignment(&service("a").owner).expect("it has one");
    assert_eq!(assignment.pool.as_deref(), Some(pool));
    // A new leader comes to the same, from the status and the annotation.
    let mut next = moving(after);
    next.adopt(&service("a"), &ips(&["192.0.2.0"]), Some("p")).expect("free");
    assert_eq!(got(&mut next, &service("a")), [expected]);
}

#[test]
fn it_waits_outside_until_something_is_free() {
    let mut a = moving(P);
    got(&mut a, &service("a"));
    got(&mut a, &service("b").want(&["192.0.2.9"]));
    a.set_pools(set("p 192.0.2.9/32"));
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
    assert!(a.assignment(&service("a").owner).is_some_and(|a| a.outside));
    a.take_waiting();
    a.release(&service("b").owner);
    a.settle(&service("b").owner);
    assert_eq!(a.take_waiting(), [service("a").owner]);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.9"]);
    assert_eq!(a.take_waiting(), []);
}

#[test]
fn an_address_asked_for_stays_outside() {
    let mut a = moving(P);
    let request = service("a").want(&["192.0.2.7"]);
    got(&mut a, &request);
    a.set_pools(set("q 198.51.100.0/24"));
    assert_eq!(got(&mut a, &request), ["192.0.2.7"]);
    // Not asked for any more, it moves.
    assert_eq!(got(&mut a, &service("a")), ["198.51.100.0"]);
}

#[rstest]
#[case(json!(null))] // gone
#[case(json!({"addresses": ["192.0.2.0/24", "oops"]}))] // refused
fn a_service_whose_pool_is_gone_or_refused_keeps_its_address(#[case] spec: Value) {
    let other = ("q", addresses(&["198.51.100.0/24"]));
    let mut a =
        Allocator::new(pools(&[("p", addresses(&["192.0.2.0/24"])), other.clone()]), OutsidePools::Move);
    let request = service("a").pool("p");
    got(&mut a, &request);
    let mut specs = vec![other];
    if !spec.is_null() {
        specs.push(("p", spec));
    }
    a.set_pools(pools(&specs));
    assert_eq!(got(&mut a, &request), ["192.0.2.0"]);
    refused(&mut a, &service("b").pool("p"));
    // Renamed: the address is in another pool now, and the one asked for does not exist.
    a.set_pools(set("r 192.0.2.0/24"));
    assert_eq!(got(&mut a, &request), ["192.0.2.0"]);
    // It exists again, elsewhere: then the wish counts.
    a.set_pools(set("r 192.0.2.0/24; p 203.0.113.0/24"));
    assert_eq!(got(&mut a, &request), ["203.0.113.0"]);
}

#[test]
fn asking_for_a_pool_that_does_not_exist_takes_nothing_away() {
    let mut a = moving(P);
    got(&mut a, &service("a"));
    assert_eq!(got(&mut a, &service("a").pool("none")), ["192.0.2.0"]);
    let text = refused(&mut a, &service("b").pool("none"));
    assert!(text.contains("unknown pool \"none\""), "{text}");
}

const DUAL: Specs = "p 192.0.2.0/24 2001:db8::/64";

#[rstest]
// One family leaves the pool. Another pool has both: both move.
#[case("p 2001:db8::/64; q 198.51.100.0/24 2001:db8:1::/64",
    &["198.51.100.0", "2001:db8:1::"], &["198.51.100.0", "2001:db8:1::"])]
// Its own pool has another: only that one moves.
#[case("p 192.0.2.8/29 2001:db8::/64; q 198.51.100.0/24 2001:db8:1::/64",
    &["192.0.2.8", "2001:db8::"], &["192.0.2.8", "2001:db8::"])]
// Nothing: who only prefers two lets go of it, who requires two keeps both.
#[case("p 2001:db8::/64; q 198.51.100.0/24", &["2001:db8::"], &["192.0.2.0", "2001:db8::"])]
#[case("p 192.0.2.0/24", &["192.0.2.0"], &["192.0.2.0", "2001:db8::"])]
// Split by family: both stay.
#[case("p 192.0.2.0/24; q 2001:db8::/64", &["192.0.2.0", "2001:db8::"], &["192.0.2.0", "2001:db8::"])]
// Gone altogether: what there is, else what there was.
#[case("q 198.51.100.0/24", &["198.51.100.0"], &["192.0.2.0", "2001:db8::"])]
#[case("", &["192.0.2.0", "2001:db8::"], &["192.0.2.0", "2001:db8::"])]
fn two_families_after_a_change_of_pools(
    #[case] after: Specs,
    #[case] preferred: &[&str],
    #[case] required: &[&str],
) {
    for (policy, expected) in [(PreferDualStack, preferred), (RequireDualStack, required)] {
        let request = service("a").both(policy);
        let mut a = moving(DUAL);
        got(&mut a, &request);
        a.set_pools(set(after));
        assert_eq!(got(&mut a, &request), expected, "{policy:?}");
        assert_eq!(got(&mut a, &request), expected, "{policy:?}, again");
    }
}

#[test]
fn the_second_family_of_one_that_lost_it_comes_back_with_the_pool() {
    let request = service("a").both(PreferDualStack);
    let mut a = moving(DUAL);
    got(&mut a, &request);
    a.set_pools(set("p 2001:db8::/64"));
    let lost = a.assign(&request).expect("one");
    assert_eq!(lost.lacks, Some(Family::V4));
    assert!(matches!(lost.happened.as_slice(), [Happened::Lost { .. }]), "{:?}", lost.happened);
    a.settle(&request.owner);
    a.set_pools(set(DUAL));
    assert_eq!(got(&mut a, &request), ["2001:db8::", "192.0.2.0"]);
}

#[test]
fn the_order_of_pools_and_changes_does_not_matter() {
    // The same two changes, one after the other or at once.
    let (first, second): (Specs, Specs) = ("q 198.51.100.0/24", "r 203.0.113.0/24; q 198.51.100.0/24");
    let mut at_once = moving(P);
    let mut in_turn = moving(P);
    for a in [&mut at_once, &mut in_turn] {
        got(a, &service("a"));
    }
    at_once.set_pools(set(second));
    in_turn.set_pools(set(first));
    in_turn.set_pools(set(second));
    assert_eq!(got(&mut at_once, &service("a")), got(&mut in_turn, &service("a")));
}
