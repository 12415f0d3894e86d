//! The cases of MetalLB's own tests of its allocator and controller, and of `e2etest/l2tests/assignment.go`, in our words: who asks for what, and gets
//! what, in this order.

use super::tests::{addresses, got, labels, new, pools, refused, release, service};
use super::*;
use causeway_api::FamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
use causeway_api::Protocol;
use rstest::rstest;
use serde_json::{Value, json};

/// One thing that happens: a Service asks, and gets these or is refused with this text; or it gives back.
enum Does<'a> {
    Gets(Request, &'a [&'a str]),
    Waits(Request, &'a str),
    GivesBack(&'a str),
}
use Does::{Gets, GivesBack, Waits};

fn play(allocator: &mut Allocator, steps: Vec<Does>) {
    for (index, step) in steps.into_iter().enumerate() {
        match step {
            Gets(request, expected) => assert_eq!(got(allocator, &request), expected, "step {index}"),
            Waits(request, says) => {
                let text = refused(allocator, &request);
                assert!(text.contains(says), "step {index}: {text}");
            }
            GivesBack(name) => release(allocator, name),
        }
    }
}

fn wants(name: &str, address: &[&str]) -> Request {
    service(name).want(address)
}

#[rstest]
#[case("192.0.2.4", "192.0.2.5", "192.0.2.6", false)]
#[case("2001:db8::4", "2001:db8::5", "2001:db8::6", true)]
fn addresses_asked_for_change_hands(
    #[case] one: &str,
    #[case] two: &str,
    #[case] three: &str,
    #[case] six: bool,
) {
    let family = |request: Request| if six { request.six() } else { request };
    let ask = |name: &str, address: &str| family(wants(name, &[address]));
    let share = |name: &str, address: &str, key: &str, backend: &str, port| {
        ask(name, address).share(key, backend, port)
    };
    let mut a = new(&[("p", addresses(&["192.0.2.0/24", "2001:db8::/64"]))]);
    play(
        &mut a,
        vec![
            Gets(ask("s1", one), &[one]),
            Gets(ask("s1", one), &[one]),
            Waits(ask("s2", one), "also in use by default/s1"),
            Gets(ask("s2", two), &[two]),
            Waits(ask("s1", two), "also in use by default/s2"),
            GivesBack("s1"),
            Gets(ask("s2", one), &[one]),
            Gets(ask("s1", two), &[two]),
            // Sharing.
            Gets(share("s4", three, "sharing", "backend", 80), &[three]),
            Gets(share("s4", three, "share", "backend", 80), &[three]),
            Waits(share("s3", three, "share", "backend", 80), "port TCP/80 is already in use"),
            Waits(share("s3", three, "othershare", "backend", 443), "does not match existing sharing key"),
            Waits(share("s3", three, "share", "otherbackend", 443), "externalTrafficPolicy differs"),
            Gets(share("s3", three, "share", "backend", 443), &[three]),
            Gets(share("s3", three, "share", "backend", 8443), &[three]),
            Waits(share("s3", three, "othershare", "backend", 8443), "can't change sharing key"),
            Gets(share("s3", three, "share", "backend", 8443), &[three]),
            Waits(share("s3", three, "share", "otherbackend", 8443), "can't change sharing key"),
            // The former place of the third is free for the fourth's new port.
            Gets(share("s4", three, "share", "backend", 443), &[three]),
        ],
    );
}

#[rstest]
#[case(false, &["192.0.2.0/30"], &["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3"])]
#[case(true, &["2001:db8::/126"], &["2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8::3"])]
fn four_fill_a_pool_and_the_others_wait(#[case] six: bool, #[case] ranges: &[&str], #[case] all: &[&str]) {
    let ask = |name: &str| if six { service(name).six() } else { service(name) };
    let mut a = new(&[("p", addresses(ranges))]);
    play(
        &mut a,
        vec![
            Gets(ask("s1"), &all[..1]),
            Gets(ask("s2"), &all[1..2]),
            Gets(ask("s3"), &all[2..3]),
            Gets(ask("s4"), &all[3..]),
            Waits(ask("s5"), "no available IPs"),
            Waits(ask("s6"), "no available IPs"),
            Waits(ask("s6").pool("p"), "no available IPs in pool p"),
            GivesBack("s1"),
            Gets(ask("s5"), &all[..1]),
            Waits(ask("s6"), "no available IPs"),
            GivesBack("s5"),
            Gets(ask("s5").share("share", "", 80), &all[..1]),
            Gets(ask("s6").share("share", "", 443), &all[..1]),
        ],
    );
}

#[test]
fn two_families_fill_a_pool_together() {
    let ask = |name: &str| service(name).both(RequireDualStack);
    let mut a = new(&[("p", addresses(&["192.0.2.0/31", "2001:db8::/127"]))]);
    play(
        &mut a,
        vec![
            Gets(ask("s1"), &["192.0.2.0", "2001:db8::"]),
            Gets(ask("s2"), &["192.0.2.1", "2001:db8::1"]),
            Waits(ask("s3"), "no available IPs"),
            GivesBack("s1"),
            // One family taken by another: the pair is not to be had any more.
            Gets(service("four"), &["192.0.2.0"]),
            Waits(ask("s3"), "no available IPs"),
            Gets(service("six").six(), &["2001:db8::"]),
            GivesBack("four"),
            GivesBack("six"),
            Gets(ask("s3"), &["192.0.2.0", "2001:db8::"]),
        ],
    );
}

#[test]
fn two_families_asked_for_come_from_one_pool() {
    let mut a = new(&[
        ("dual", addresses(&["192.0.2.0/24", "2001:db8::/64"])),
        ("other", addresses(&["198.51.100.0/24", "2001:db8:1::/64"])),
    ]);
    let ask = |list: &[&str]| wants("s1", list).both(RequireDualStack);
    play(
        &mut a,
        vec![
            Gets(ask(&["192.0.2.4", "2001:db8::4"]), &["192.0.2.4", "2001:db8::4"]),
            Waits(ask(&["192.0.2.4", "2001:db8:1::4"]), "is not allowed in config"),
        ],
    );
}

#[rstest]
#[case("x", "tier=front", "namespace", true)]
#[case("y", "tier=front", "namespace", false)]
#[case("y", "tier=front", "label", true)]
#[case("x", "tier=back", "label", false)]
#[case("x", "tier=front", "both", true)]
#[case("x", "tier=back", "both", false)]
#[case("y", "tier=front", "both", false)]
fn pinned_pools_take_only_whom_they_are_for(
    #[case] namespace: &str,
    #[case] label: &str,
    #[case] pool: &str,
    #[case] ok: bool,
) {
    let selector = json!([{"matchLabels": {"tier": "front"}}]);
    let pinned =
        |allocation: Value, range: &str| json!({"addresses": [range], "serviceAllocation": allocation});
    let mut a = new(&[
        ("namespace", pinned(json!({"namespaces": ["x"]}), "192.0.2.0/32")),
        ("label", pinned(json!({"serviceSelectors": selector}), "192.0.2.1/32")),
        ("both", pinned(json!({"namespaces": ["x"], "serviceSelectors": selector}), "192.0.2.2/32")),
    ]);
    let address = a.pools().get(pool).map(|p| crate::range::address(Family::V4, p.ranges[0].first));
    let mut request = service("s1");
    request.namespace = namespace.into();
    request.labels = labels(label);
    // By address and by name, the same.
    let by_address = wants("s1", &[&address.expect("a pool").to_string()]);
    let by_address = Request { addresses: by_address.addresses, ..request.clone() };
    assert_eq!(a.clone().assign(&by_address).is_ok(), ok);
    assert_eq!(a.assign(&request.pool(pool)).is_ok(), ok);
}

#[rstest]
// Settings of a pool, an address of it that is held, and whether it may be kept (MetalLB: TestConfigReload).
#[case(json!({"addresses": ["192.0.2.0/30"]}), "192.0.2.0", true)] // the same
#[case(json!({"addresses": ["192.0.2.0/24"]}), "192.0.2.0", true)] // grown
#[case(json!({"addresses": ["192.0.2.0/31"]}), "192.0.2.0", true)] // shrunk
#[case(json!({"addresses": ["192.0.2.2/31"]}), "192.0.2.0", false)] // shrunk too far
#[case(json!({"addresses": ["192.0.2.0/30"], "avoidBuggyIPs": true}), "192.0.2.0", false)] // it is left out now
#[case(json!({"addresses": ["192.0.2.0/30"], "autoAssign": false}), "192.0.2.0", true)]
fn a_pool_changes_under_its_services(#[case] spec: Value, #[case] held: &str, #[case] kept: bool) {
    for outside in [OutsidePools::Move, OutsidePools::Reallocate] {
        let mut a = Allocator::new(pools(&[("p", addresses(&["192.0.2.0/30"]))]), outside);
        assert_eq!(got(&mut a, &service("s")), [held]);
        a.set_pools(pools(&[("p", spec.clone())]));
        assert_eq!(got(&mut a, &service("s")) == [held], kept);
    }
}

#[rstest]
#[case(json!(["192.0.2.0/24"]), false, 256, 0)]
#[case(json!(["192.0.2.0/23", "192.0.4.0/24"]), false, 768, 0)]
#[case(json!(["192.0.2.0/23", "192.0.4.0/24"]), true, 762, 0)]
#[case(json!(["192.0.2.0/25"]), true, 127, 0)]
#[case(json!(["192.0.2.0-192.0.2.10"]), false, 11, 0)]
#[case(json!(["2001:db8::/62"]), false, 0, i64::MAX)]
#[case(json!(["192.0.2.0/24", "2001:db8::/120"]), false, 256, 256)]
fn counters(#[case] ranges: Value, #[case] avoid: bool, #[case] four: i64, #[case] six: i64) {
    let a = new(&[("p", json!({"addresses": ranges, "avoidBuggyIPs": avoid}))]);
    let status = a.status("p");
    assert_eq!((status.available_ipv4, status.available_ipv6), (four, six));
    assert_eq!((status.assigned_ipv4, status.assigned_ipv6), (0, 0));
}

#[test]
fn counters_follow_shared_addresses() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/30"]))]);
    let count = |a: &Allocator| {
        let services = a.services().get("p").copied().unwrap_or_default();
        (a.status("p").assigned_ipv4, a.status("p").available_ipv4, services)
    };
    for (name, port) in [("a", 80), ("b", 81), ("c", 82)] {
        got(&mut a, &service(name).share("k", "", port));
    }
    assert_eq!(count(&a), (1, 3, 3));
    got(&mut a, &service("d"));
    assert_eq!(count(&a), (2, 2, 4));
    for (name, expected) in [("a", (2, 2, 3)), ("b", (2, 2, 2)), ("c", (1, 3, 1)), ("d", (0, 4, 0))] {
        release(&mut a, name);
        assert_eq!(count(&a), expected);
    }
}

// --- e2etest/l2tests/assignment.go ---------------------------------------------------------------------------------------------

#[test]
fn sharing_is_considered_anew_when_conditions_change() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/32"]))]);
    let one = |backend: &str| service("one").share("share", backend, 80);
    let two = |backend: &str| service("two").share("share", backend, 81);
    play(
        &mut a,
        vec![
            Gets(one(""), &["192.0.2.0"]),
            Gets(two(""), &["192.0.2.0"]),
            // externalTrafficPolicy of the second becomes Local: it loses its address, the first keeps it.
            Waits(two("app=a"), "no available IPs"),
            Gets(one(""), &["192.0.2.0"]),
            // The first becomes Local too.
            Gets(one("app=a"), &["192.0.2.0"]),
            Gets(two("app=a"), &["192.0.2.0"]),
            // Another selector: it loses the address, until the second has the same.
            Waits(one("foo=bar"), "no available IPs"),
            Gets(two("foo=bar"), &["192.0.2.0"]),
            Gets(one("foo=bar"), &["192.0.2.0"]),
        ],
    );
}

#[test]
fn removing_all_pools_takes_the_address_only_where_that_is_asked_for() {
    for (outside, has) in
        [(OutsidePools::Move, true), (OutsidePools::Keep, true), (OutsidePools::Reallocate, false)]
    {
        let mut a = Allocator::new(pools(&[("p", addresses(&["192.0.2.0/32"]))]), outside);
        got(&mut a, &service("s"));
        a.set_pools(pools(&[]));
        assert_eq!(a.assign(&service("s")).is_ok(), has, "{outside:?}");
    }
}

#[test]
fn a_service_of_a_deleted_pool_gets_an_address_of_another() {
    let second = ("two", addresses(&["198.51.100.0/32"]));
    let first = (
        "one",
        json!({"addresses": ["192.0.2.0/32"], "serviceAllocation": {"priority": 20, "namespaces": ["default"]}}),
    );
    let mut a = Allocator::new(pools(&[first, second.clone()]), OutsidePools::default());
    assert_eq!(got(&mut a, &service("s")), ["192.0.2.0"]);
    a.set_pools(pools(&[second]));
    assert_eq!(got(&mut a, &service("s")), ["198.51.100.0"]);
}

#[test]
fn prefer_and_require_alternate_on_a_single_stack_pool() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24"]))]);
    let ask = |policy| service("s").both(policy);
    play(
        &mut a,
        vec![
            Gets(ask(PreferDualStack), &["192.0.2.0"]),
            Waits(ask(RequireDualStack), "IPv4 and IPv6"),
            Gets(ask(PreferDualStack), &["192.0.2.0"]),
        ],
    );
}

#[test]
fn prefer_does_not_jump_to_a_dual_stack_pool_that_appears() {
    let four = ("four", addresses(&["192.0.2.0/24"]));
    let mut a = new(std::slice::from_ref(&four));
    let request = service("s").both(PreferDualStack);
    assert_eq!(got(&mut a, &request), ["192.0.2.0"]);
    a.set_pools(pools(&[four, ("dual", addresses(&["198.51.100.0/24", "2001:db8::/64"]))]));
    assert_eq!(got(&mut a, &request), ["192.0.2.0"]);
}

#[rstest]
#[case(Family::V4, "192.0.2.0")]
#[case(Family::V6, "2001:db8::")]
fn single_stack_in_a_dual_stack_cluster(#[case] family: Family, #[case] expected: &str) {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24", "2001:db8::/64"]))]);
    let mut request = service("s");
    request.families = Families::One(family);
    request.policy = SingleStack;
    assert_eq!(got(&mut a, &request), [expected]);
}

#[test]
fn a_type_change_or_deletion_frees_the_address_for_one_that_waits() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/32"]))]);
    got(&mut a, &service("one"));
    refused(&mut a, &service("two"));
    a.take_waiting();
    release(&mut a, "one");
    assert_eq!(a.take_waiting(), [service("two").owner]);
    assert_eq!(got(&mut a, &service("two")), ["192.0.2.0"]);
    let protocols = [(Protocol::Tcp, 80), (Protocol::Udp, 80), (Protocol::Sctp, 80)];
    let mut mixed = service("two");
    mixed.ports = protocols.to_vec();
    assert_eq!(got(&mut a, &mixed), ["192.0.2.0"]);
}
