use super::*;
use crate::selector::Labels;
use causeway_api::{FamilyPolicy, Layer, ObjectRef, OwnObject, OwnObjects, Protocol};
use rstest::rstest;
use serde_json::{Value, json};

pub(super) fn pools(specs: &[(&str, Value)]) -> Arc<Pools> {
    let objects = specs
        .iter()
        .enumerate()
        .map(|(index, (name, spec))| OwnObject {
            created: i64::try_from(index).ok(),
            ..OwnObject::new("IPAddressPool", "metallb-system", name, spec.clone())
        })
        .collect();
    Arc::new(Pools::new(&OwnObjects { objects, ..OwnObjects::default() }).0)
}

pub(super) fn addresses(list: &[&str]) -> Value {
    json!({"addresses": list})
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|a| ip(a)).collect()
}

pub(super) fn labels(text: &str) -> Labels {
    text.split_once('=').map(|(k, v)| Labels::from([(k.to_owned(), v.to_owned())])).unwrap_or_default()
}

/// A Service of one IPv4 address on port 80, in namespace `default`.
pub(super) fn service(name: &str) -> Request {
    Request {
        owner: LbKey::object(Layer::L4, ObjectRef::service("default", name, format!("uid-{name}"))),
        namespace: "default".into(),
        namespace_labels: Labels::new(),
        labels: Labels::new(),
        families: Families::One(Family::V4),
        policy: FamilyPolicy::SingleStack,
        primary: Family::V4,
        pool: None,
        addresses: Vec::new(),
        addresses_field: field::LOAD_BALANCER_IPS,
        key: SharingKey::default(),
        ports: vec![(Protocol::Tcp, 80)],
    }
}

impl Request {
    pub(super) fn six(mut self) -> Self {
        self.families = Families::One(Family::V6);
        self.primary = Family::V6;
        self
    }
    pub(super) fn both(mut self, policy: FamilyPolicy) -> Self {
        self.families = Families::Both;
        self.policy = policy;
        self
    }
    pub(super) fn want(mut self, list: &[&str]) -> Self {
        self.addresses = ips(list);
        self
    }
    pub(super) fn pool(mut self, name: &str) -> Self {
        self.pool = Some(name.into());
        self
    }
    pub(super) fn share(mut self, key: &str, backend: &str, port: u16) -> Self {
        self.key = SharingKey { sharing: key.into(), backend: backend.into() };
        self.ports = vec![(Protocol::Tcp, port)];
        self
    }
}

/// What is assigned, once the status shows it.
pub(super) fn got(allocator: &mut Allocator, request: &Request) -> Vec<String> {
    let assignment = allocator.assign(request).expect("an address");
    allocator.settle(&request.owner);
    assignment.addresses.iter().map(ToString::to_string).collect()
}

pub(super) fn refused(allocator: &mut Allocator, request: &Request) -> String {
    let text = allocator.assign(request).expect_err("no address").to_string();
    allocator.settle(&request.owner);
    text
}

/// Gives back, and the status shows it.
pub(super) fn release(allocator: &mut Allocator, name: &str) {
    let owner = service(name).owner;
    allocator.release(&owner);
    allocator.settle(&owner);
}

pub(super) fn new(specs: &[(&str, Value)]) -> Allocator {
    Allocator::new(pools(specs), OutsidePools::Keep)
}

#[test]
fn lowest_first_in_the_order_of_the_spec_and_freed_addresses_come_back() {
    let mut a = new(&[("p", addresses(&["192.0.2.8/31", "192.0.2.0/31"]))]);
    let order: Vec<_> =
        ["a", "b", "c", "d"].iter().map(|name| got(&mut a, &service(name))[0].clone()).collect();
    assert_eq!(order, ["192.0.2.8", "192.0.2.9", "192.0.2.0", "192.0.2.1"]);
    let text = refused(&mut a, &service("e"));
    assert!(text.contains("no available IPs") && text.contains("add addresses to a pool"), "{text}");
    release(&mut a, "b");
    assert_eq!(got(&mut a, &service("e")), ["192.0.2.9"]);
}

#[test]
fn asking_again_changes_nothing() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24"]))]);
    let first = a.assign(&service("a")).expect("an address");
    assert_eq!(first.happened, [Happened::Assigned(ips(&["192.0.2.0"]))]);
    assert_eq!(first.pool.as_deref(), Some("p"));
    assert_eq!(a.assign(&service("a")).expect("the same"), first);
    assert_eq!(a.status("p").assigned_ipv4, 1);
}

#[test]
fn without_pools_there_is_nothing() {
    let text = refused(&mut new(&[]), &service("a"));
    assert!(text.contains("no IPAddressPool"), "{text}");
}

#[rstest]
#[case(&[], "192.0.2.1", "no pool holds it")]
#[case(&["192.0.2.0/32"], "192.0.2.7", "no pool holds it")]
fn addresses_outside_every_pool_are_refused(#[case] extra: &[&str], #[case] want: &str, #[case] says: &str) {
    let mut ranges = vec!["198.51.100.0/24"];
    ranges.extend(extra);
    let text = refused(&mut new(&[("p", addresses(&ranges))]), &service("a").want(&[want]));
    assert!(text.contains(says) && text.contains(want), "{text}");
}

#[test]
fn exactly_the_address_asked_for() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24"]))]);
    assert_eq!(got(&mut a, &service("a").want(&["192.0.2.77"])), ["192.0.2.77"]);
    let text = refused(&mut a, &service("b").want(&["192.0.2.77"]));
    for part in ["192.0.2.77", "default/a", "does not allow sharing", "ask for another address"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Another wish is another address, and the first is free again.
    assert_eq!(got(&mut a, &service("a").want(&["192.0.2.78"])), ["192.0.2.78"]);
    assert_eq!(got(&mut a, &service("b").want(&["192.0.2.77"])), ["192.0.2.77"]);
    // Dropping the wish changes nothing.
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.78"]);
}

#[rstest]
#[case(&["2001:db8::1"], Families::One(Family::V4))]
#[case(&["192.0.2.1", "2001:db8::1"], Families::One(Family::V4))]
#[case(&["192.0.2.1", "192.0.2.2"], Families::One(Family::V4))]
#[case(&["192.0.2.1"], Families::Both)]
#[case(&["192.0.2.1", "192.0.2.2"], Families::Both)]
#[case(&["192.0.2.1", "2001:db8::1", "192.0.2.2"], Families::Both)]
fn wished_families_must_be_those_of_the_service(#[case] want: &[&str], #[case] families: Families) {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24", "2001:db8::/64"]))]);
    let mut request = service("a").want(want);
    request.families = families;
    request.policy = FamilyPolicy::PreferDualStack;
    let text = refused(&mut a, &request);
    assert!(text.contains("does not match the ipFamily of the service"), "{text}");
}

#[rstest]
#[case("auto", "a", Some("192.0.2.0"), "")]
#[case("manual", "a", Some("198.51.100.0"), "")] // autoAssign: false is reachable by name
#[case("none", "a", None, "unknown pool \"none\"")]
#[case("bad", "a", None, "its spec is not valid")]
#[case("others", "a", None, "serviceAllocation does not match")]
fn named_pool(#[case] pool: &str, #[case] name: &str, #[case] expected: Option<&str>, #[case] says: &str) {
    let mut a = new(&[
        ("auto", addresses(&["192.0.2.0/24"])),
        ("manual", json!({"addresses": ["198.51.100.0/24"], "autoAssign": false})),
        ("bad", addresses(&["203.0.113.0/33"])),
        ("others", json!({"addresses": ["203.0.113.0/24"], "serviceAllocation": {"namespaces": ["x"]}})),
    ]);
    let request = service(name).pool(pool);
    match expected {
        Some(address) => assert_eq!(got(&mut a, &request), [address]),
        None => {
            let text = refused(&mut a, &request);
            assert!(text.contains(says), "{text}");
        }
    }
}

#[test]
fn naming_another_pool_moves_and_a_full_one_says_so() {
    let mut a = new(&[("one", addresses(&["192.0.2.0/32"])), ("two", addresses(&["198.51.100.0/32"]))]);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
    let moved = a.assign(&service("a").pool("two")).expect("an address");
    assert_eq!(moved.addresses, ips(&["198.51.100.0"]));
    assert!(matches!(moved.happened.as_slice(), [Happened::Cleared(_), Happened::Assigned(_)]));
    let text = refused(&mut a, &service("b").pool("two"));
    assert!(text.contains("no available IPs in pool two"), "{text}");
    // Address and pool asked for must agree.
    let text = refused(&mut a, &service("c").want(&["192.0.2.0"]).pool("two"));
    assert!(text.contains("not compatible with requested address pool two"), "{text}");
}

#[test]
fn auto_assign_off_gives_nothing_unasked() {
    let mut a = new(&[("p", json!({"addresses": ["192.0.2.0/24"], "autoAssign": false}))]);
    refused(&mut a, &service("a"));
    assert_eq!(got(&mut a, &service("a").want(&["192.0.2.9"])), ["192.0.2.9"]);
}

#[test]
fn avoid_buggy_ips_holds_for_wishes_too() {
    let mut a = new(&[("p", json!({"addresses": ["192.0.2.254-192.0.3.1"], "avoidBuggyIPs": true}))]);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.254"]);
    assert_eq!(got(&mut a, &service("b")), ["192.0.3.1"]);
    refused(&mut a, &service("c"));
    let text = refused(&mut a, &service("c").want(&["192.0.2.255"]));
    assert!(text.contains("avoidBuggyIPs"), "{text}");
    assert_eq!((a.status("p").assigned_ipv4, a.status("p").available_ipv4), (2, 0));
}

#[test]
fn pools_set_aside_come_first_by_rank_and_are_for_nobody_else() {
    let set_aside =
        |address: &str, allocation: Value| json!({"addresses": [address], "serviceAllocation": allocation});
    let mut a = new(&[
        ("a-open", addresses(&["192.0.2.0/24"])),
        ("b-last", set_aside("198.51.100.0/32", json!({"namespaces": ["default"]}))), // priority 0
        ("c-second", set_aside("198.51.100.1/32", json!({"priority": 20, "namespaces": ["default"]}))),
        (
            "d-first",
            set_aside(
                "198.51.100.2/32",
                json!({"priority": 10,
            "namespaceSelectors": [{"matchLabels": {"team": "x"}}]}),
            ),
        ),
        (
            "e-labels",
            set_aside(
                "198.51.100.3/32",
                json!({"priority": 1,
            "serviceSelectors": [{"matchLabels": {"tier": "front"}}]}),
            ),
        ),
        (
            "f-manual",
            json!({"addresses": ["198.51.100.4/32"], "autoAssign": false,
            "serviceAllocation": {"priority": 1, "namespaces": ["default"]}}),
        ),
    ]);
    let mut mine = |name: &str| {
        let mut request = service(name);
        request.namespace_labels = labels("team=x");
        got(&mut a, &request)[0].clone()
    };
    let order = ["1", "2", "3", "4"].map(&mut mine);
    assert_eq!(order, ["198.51.100.2", "198.51.100.1", "198.51.100.0", "192.0.2.0"]);
    let mut front = service("front");
    front.labels = labels("tier=front");
    assert_eq!(got(&mut a, &front), ["198.51.100.3"]);
    let mut stranger = service("stranger");
    stranger.namespace = "other".into();
    assert_eq!(got(&mut a, &stranger), ["192.0.2.1"]);
}

#[test]
fn only_a_priority_matches_everybody() {
    let mut a = new(&[
        ("a-open", addresses(&["192.0.2.0/24"])),
        ("b", json!({"addresses": ["198.51.100.0/32"], "serviceAllocation": {"priority": 5}})),
    ]);
    assert_eq!(got(&mut a, &service("a")), ["198.51.100.0"]);
}

#[test]
fn a_service_that_its_pool_is_no_longer_for_moves() {
    let before = pools(&[("p", addresses(&["192.0.2.0/24"])), ("q", addresses(&["198.51.100.0/24"]))]);
    let mut a = Allocator::new(before, OutsidePools::Keep);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
    a.set_pools(pools(&[
        ("p", json!({"addresses": ["192.0.2.0/24"], "serviceAllocation": {"namespaces": ["x"]}})),
        ("q", addresses(&["198.51.100.0/24"])),
    ]));
    assert_eq!(got(&mut a, &service("a")), ["198.51.100.0"]);
}

// --- two families -------------------------------------------------------------------------------------------------------------

#[test]
fn both_families_come_out_of_one_pool_ipv4_first() {
    let mut a = new(&[
        ("a-four", addresses(&["192.0.2.0/24"])),
        ("b-six", addresses(&["2001:db8::/64"])),
        ("c-dual", addresses(&["2001:db8:1::/64", "198.51.100.0/24"])),
    ]);
    for policy in [FamilyPolicy::RequireDualStack, FamilyPolicy::PreferDualStack] {
        let mut request = service("a").both(policy);
        request.primary = Family::V6;
        assert_eq!(got(&mut a, &request), ["198.51.100.0", "2001:db8:1::"]);
    }
    assert_eq!(got(&mut a, &service("b").six()), ["2001:db8::"]);
}

#[rstest]
#[case(Family::V4, "192.0.2.0")]
#[case(Family::V6, "2001:db8::")]
fn prefer_takes_the_primary_family_where_no_pool_has_both(#[case] primary: Family, #[case] expected: &str) {
    let specs = [("a-four", addresses(&["192.0.2.0/24"])), ("b-six", addresses(&["2001:db8::/64"]))];
    let mut request = service("a").both(FamilyPolicy::PreferDualStack);
    request.primary = primary;
    assert_eq!(got(&mut new(&specs), &request), [expected]);
    request.policy = FamilyPolicy::RequireDualStack;
    let text = refused(&mut new(&specs), &request);
    assert!(text.contains("IPv4 and IPv6"), "{text}");
    // The same by name of the pool.
    request.pool = Some("b-six".into());
    refused(&mut new(&specs), &request);
    request.policy = FamilyPolicy::PreferDualStack;
    assert_eq!(got(&mut new(&specs), &request), ["2001:db8::"]);
}

#[test]
fn prefer_gets_its_second_family_later_from_the_same_pool() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24"])), ("q", addresses(&["2001:db8:9::/64"]))]);
    let request = service("a").both(FamilyPolicy::PreferDualStack);
    let first = a.assign(&request).expect("one");
    assert_eq!((first.addresses, first.lacks), (ips(&["192.0.2.0"]), Some(Family::V6)));
    let with_six = || {
        pools(&[("p", addresses(&["192.0.2.0/24", "2001:db8::/64"])), ("q", addresses(&["2001:db8:9::/64"]))])
    };
    a.set_pools(with_six());
    assert_eq!(a.take_waiting().first(), Some(&request.owner), "it waits for its second family");
    let grown = a.assign(&request).expect("both");
    assert_eq!(grown.addresses, ips(&["192.0.2.0", "2001:db8::"]));
    assert_eq!(grown.happened, [Happened::Additional(ip("2001:db8::"))]);
}

#[rstest]
#[case(FamilyPolicy::PreferDualStack)]
#[case(FamilyPolicy::RequireDualStack)]
fn a_service_that_gains_or_loses_a_family_keeps_the_other_address(#[case] policy: FamilyPolicy) {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24", "2001:db8::/64"]))]);
    got(&mut a, &service("first"));
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.1"]);
    release(&mut a, "first");
    assert_eq!(got(&mut a, &service("a").both(policy)), ["192.0.2.1", "2001:db8::"]);
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.1"]);
    assert_eq!(a.status("p").assigned_ipv6, 0);
}

#[test]
fn require_moves_where_its_pool_has_no_second_family() {
    let mut a =
        new(&[("a", addresses(&["192.0.2.0/24"])), ("b", addresses(&["198.51.100.0/24", "2001:db8::/64"]))]);
    assert_eq!(got(&mut a, &service("s")), ["192.0.2.0"]);
    assert_eq!(
        got(&mut a, &service("s").both(FamilyPolicy::RequireDualStack)),
        ["198.51.100.0", "2001:db8::"]
    );
}

#[test]
fn another_family_is_another_address() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24", "2001:db8::/64"]))]);
    assert_eq!(got(&mut a, &service("s")), ["192.0.2.0"]);
    assert_eq!(got(&mut a, &service("s").six()), ["2001:db8::"]);
    assert_eq!((a.status("p").assigned_ipv4, a.status("p").assigned_ipv6), (0, 1));
}

// --- sharing ------------------------------------------------------------------------------------------------------------------

#[rstest]
#[case(("k", "", 80), ("k", "", 443), true)] // Cluster and Cluster share with any selectors
#[case(("k", "app=a", 80), ("k", "app=a", 443), true)] // Local and Local with the same selector
#[case(("k", "app=a", 80), ("k", "app=b", 443), false)]
#[case(("k", "", 80), ("k", "app=a", 443), false)] // Cluster and Local never
#[case(("k", "", 80), ("k", "", 80), false)] // ports collide
#[case(("k", "", 80), ("l", "", 443), false)]
#[case(("", "", 80), ("", "", 443), false)]
#[case(("", "", 80), ("k", "", 443), false)]
#[case(("k", "", 80), ("", "", 443), false)]
fn who_may_share(#[case] first: (&str, &str, u16), #[case] second: (&str, &str, u16), #[case] ok: bool) {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    let first = service("a").share(first.0, first.1, first.2);
    let second = service("b").share(second.0, second.1, second.2);
    assert_eq!(got(&mut a, &first), ["192.0.2.0"]);
    // Asked for by hand.
    assert_eq!(a.clone().assign(&second.clone().want(&["192.0.2.0"])).is_ok(), ok);
    // On its own: shared if that comes before the first free address.
    assert_eq!(got(&mut a, &second), [if ok { "192.0.2.0" } else { "192.0.2.1" }]);
}

#[test]
fn same_port_of_another_protocol_does_not_collide() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    let first = service("a").share("k", "", 53);
    let mut second = service("b").share("k", "", 53);
    second.ports = vec![(Protocol::Udp, 53)];
    assert_eq!(got(&mut a, &first), got(&mut a, &second));
    assert_eq!(a.status("p").assigned_ipv4, 1);
}

#[test]
fn a_free_address_that_comes_first_is_taken_before_a_shared_one() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/30"]))]);
    got(&mut a, &service("zero"));
    assert_eq!(got(&mut a, &service("a").share("k", "", 80)), ["192.0.2.1"]);
    release(&mut a, "zero");
    assert_eq!(got(&mut a, &service("b").share("k", "", 443)), ["192.0.2.0"]);
    assert_eq!(got(&mut a, &service("c").share("k", "", 22)), ["192.0.2.0"]);
}

#[test]
fn the_only_user_changes_its_key_freely_others_hold_it() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    assert_eq!(got(&mut a, &service("a").share("k", "", 80)), ["192.0.2.0"]);
    assert_eq!(got(&mut a, &service("a").share("l", "", 80)), ["192.0.2.0"]);
    assert_eq!(got(&mut a, &service("b").share("l", "", 443)), ["192.0.2.0"]);
    // The old key is nobody's any more.
    assert_eq!(got(&mut a, &service("c").share("k", "", 443)), ["192.0.2.1"]);
    // With company, a new key means a new address.
    release(&mut a, "c");
    assert_eq!(got(&mut a, &service("b").share("m", "", 443)), ["192.0.2.1"]);
}

#[test]
fn a_shared_address_is_free_when_the_last_user_is_gone() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/32"]))]);
    got(&mut a, &service("a").share("k", "", 80));
    got(&mut a, &service("b").share("k", "", 443));
    release(&mut a, "a");
    refused(&mut a, &service("c"));
    release(&mut a, "b");
    assert_eq!(got(&mut a, &service("c")), ["192.0.2.0"]);
}

// --- adoption and changes of pools --------------------------------------------------------------------------------------------

#[test]
fn adopted_addresses_are_kept_and_given_to_nobody_else() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    a.adopt(&service("old"), &ips(&["192.0.2.0"]), None).expect("free");
    assert_eq!(got(&mut a, &service("new")), ["192.0.2.1"]);
    let kept = a.assign(&service("old")).expect("kept");
    assert_eq!((kept.addresses, kept.happened), (ips(&["192.0.2.0"]), vec![]));
}

#[test]
fn of_two_claims_to_one_address_the_first_stands() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    a.adopt(&service("older"), &ips(&["192.0.2.0"]), None).expect("free");
    let error = a.adopt(&service("younger"), &ips(&["192.0.2.0"]), None).expect_err("taken").to_string();
    assert!(error.contains("default/older"), "{error}");
    let moved = a.assign(&service("younger")).expect("another");
    assert_eq!(moved.addresses, ips(&["192.0.2.1"]));
    // As long as the younger's status shows it, nobody else gets it, even if the older lets go.
    release(&mut a, "older");
    refused(&mut a, &service("third"));
    refused(&mut a, &service("third").want(&["192.0.2.0"]));
    a.take_waiting();
    a.settle(&service("younger").owner);
    assert_eq!(a.take_waiting(), [service("third").owner]);
    assert_eq!(got(&mut a, &service("third")), ["192.0.2.0"]);
    assert!(matches!(moved.happened.as_slice(), [Happened::Cleared(_), Happened::Assigned(_)]));
}

#[test]
fn more_addresses_than_a_service_can_have_are_not_adopted() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/24"]))]);
    a.adopt(&service("a"), &ips(&["192.0.2.5", "192.0.2.6"]), None).expect("nothing taken over");
    assert_eq!(a.assignment(&service("a").owner), None);
    refused(&mut a, &service("b").want(&["192.0.2.5"]));
    assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
    assert_eq!(got(&mut a, &service("b").want(&["192.0.2.5"])), ["192.0.2.5"]);
}

#[test]
fn nobody_joins_an_address_that_another_status_shows_without_right() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    a.adopt(&service("one").share("k", "", 80), &ips(&["192.0.2.0"]), None).expect("free");
    a.adopt(&service("two").share("k", "app=a", 81), &ips(&["192.0.2.0"]), None).expect_err("other terms");
    assert_eq!(got(&mut a, &service("three").share("k", "", 82)), ["192.0.2.1"]);
    assert!(a.assign(&service("four").share("k", "", 83).want(&["192.0.2.0"])).is_err());
    a.settle(&service("two").owner);
    assert_eq!(got(&mut a, &service("four").share("k", "", 83).want(&["192.0.2.0"])), ["192.0.2.0"]);
}

#[test]
fn addresses_in_no_pool_stay_or_move_as_told() {
    for (policy, expected) in [
        (OutsidePools::Keep, "203.0.113.9"),
        (OutsidePools::Move, "192.0.2.0"),
        (OutsidePools::Reallocate, "192.0.2.0"),
    ] {
        let mut a = Allocator::new(pools(&[("p", addresses(&["192.0.2.0/24"]))]), policy);
        a.adopt(&service("a"), &ips(&["203.0.113.9"]), Some("gone")).expect("free");
        let outside = a.assignment(&service("a").owner).expect("adopted");
        assert_eq!((outside.outside, outside.pool.as_deref()), (true, Some("gone")));
        assert_eq!(got(&mut a, &service("a")), [expected]);
        // The pool comes back.
        a.set_pools(pools(&[("p", addresses(&["192.0.2.0/24"])), ("back", addresses(&["203.0.113.0/24"]))]));
        assert_eq!(got(&mut a, &service("a")), [expected]);
        let pool = a.assignment(&service("a").owner).and_then(|a| a.pool);
        assert_eq!(pool.as_deref(), Some(if policy == OutsidePools::Keep { "back" } else { "p" }));
        // Whoever asks for an address of the pool that came back does not get the one in use.
        if policy == OutsidePools::Keep {
            refused(&mut a, &service("b").want(&["203.0.113.9"]));
        }
    }
}

#[test]
fn what_a_refused_pool_gave_stays_and_it_gives_no_more() {
    for outside in [OutsidePools::Keep, OutsidePools::Move, OutsidePools::Reallocate] {
        let mut a = Allocator::new(pools(&[("p", addresses(&["192.0.2.0/24"]))]), outside);
        assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
        a.set_pools(pools(&[("p", addresses(&["192.0.2.0/24", "oops"]))]));
        assert_eq!(got(&mut a, &service("a")), ["192.0.2.0"]);
        assert_eq!(a.assignment(&service("a").owner).and_then(|a| a.pool).as_deref(), Some("p"));
        refused(&mut a, &service("b"));
        assert_eq!((a.status("p").assigned_ipv4, a.status("p").available_ipv4), (1, 0));
        // Mended: everything is as before.
        a.set_pools(pools(&[("p", addresses(&["192.0.2.0/24"]))]));
        assert_eq!(got(&mut a, &service("b")), ["192.0.2.1"]);
        assert_eq!((a.status("p").assigned_ipv4, a.status("p").available_ipv4), (2, 254));
    }
}

#[test]
fn the_waiting_are_told_once_when_something_becomes_free() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/32"]))]);
    got(&mut a, &service("a"));
    refused(&mut a, &service("b"));
    refused(&mut a, &service("c"));
    a.take_waiting();
    assert_eq!(a.take_waiting(), []);
    release(&mut a, "a");
    assert_eq!(a.take_waiting(), [service("b").owner, service("c").owner]);
    assert_eq!(a.take_waiting(), []);
    got(&mut a, &service("c"));
    a.set_pools(pools(&[("p", addresses(&["192.0.2.0/31"]))]));
    assert_eq!(a.take_waiting(), [service("b").owner]);
    release(&mut a, "b");
    release(&mut a, "c");
    assert_eq!(a.take_waiting(), []);
}

#[test]
fn a_port_given_up_wakes_the_waiting() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/32"]))]);
    got(&mut a, &service("a").share("k", "", 80));
    refused(&mut a, &service("b").share("k", "", 80));
    a.take_waiting();
    got(&mut a, &service("a").share("k", "", 81));
    assert_eq!(a.take_waiting(), [service("b").owner]);
    assert_eq!(got(&mut a, &service("b").share("k", "", 80)), ["192.0.2.0"]);
}

#[test]
fn what_is_given_up_is_free_only_when_the_status_does_not_show_it_any_more() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/31"]))]);
    got(&mut a, &service("a"));
    a.assign(&service("a").want(&["192.0.2.1"])).expect("moves");
    refused(&mut a, &service("b"));
    a.take_waiting();
    a.settle(&service("a").owner);
    assert_eq!(a.take_waiting(), [service("b").owner]);
    assert_eq!(got(&mut a, &service("b")), ["192.0.2.0"]);
    // Released, and not settled yet.
    a.release(&service("b").owner);
    assert_eq!(a.assignment(&service("b").owner), None);
    assert!(a.knows(&service("b").owner));
    refused(&mut a, &service("c"));
    assert_eq!(a.status("p").assigned_ipv4, 2);
    // Its former owner may have it back.
    assert_eq!(got(&mut a, &service("b").want(&["192.0.2.0"])), ["192.0.2.0"]);
    assert_eq!(a.status("p").assigned_ipv4, 2);
}

#[test]
fn losing_an_address_without_getting_another_says_both() {
    let mut a = new(&[("p", addresses(&["192.0.2.0/32"]))]);
    got(&mut a, &service("a"));
    let wish = service("a").want(&["203.0.113.1"]);
    let denied = a.assign(&wish).expect_err("in no pool");
    assert_eq!(denied.error, AllocError::OutsidePools { addresses: ips(&["203.0.113.1"]) });
    assert_eq!(denied.cleared.as_deref(), Some("the Service asks for other addresses"));
    assert_eq!(a.assignment(&service("a").owner), None);
    // Planned again before the status is written: still the same reason.
    let again = a.assign(&wish).expect_err("in no pool");
    assert_eq!(again, denied);
    let found = a.assign(&service("a").want(&["192.0.2.0"])).expect("back again");
    assert!(matches!(found.happened.as_slice(), [Happened::Cleared(_), Happened::Assigned(_)]));
}

#[rstest]
#[case(Happened::Assigned(ips(&["192.0.2.1", "2001:db8::1"])), "IPAllocated", "Assigned IP [\"192.0.2.1\" \"2001:db8::1\"]")]
#[case(Happened::Additional(ip("2001:db8::1")), "IPAllocated", "Assigned additional IP \"2001:db8::1\"")]
#[case(Happened::Cleared("x".into()), "ClearAssignment", "current IP not allowed by config, will attempt for new IP assignment: x")]
fn events_read_as_metallbs(#[case] happened: Happened, #[case] reason: &str, #[case] text: &str) {
    assert_eq!((happened.reason(), happened.to_string().as_str()), (reason, text));
}

#[test]
fn an_address_of_a_16_costs_little_more_than_one_of_a_22() {
    // Medians of single requests, so that what else the machine does plays no part; a scan of the pool would cost 64 times as much.
    let cost = |prefix: u8| {
        let mut a = new(&[("p", addresses(&[&format!("10.0.0.0/{prefix}")]))]);
        let size = 1_usize << (32 - prefix);
        let median = |mut times: Vec<std::time::Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        let mut fill = Vec::new();
        for n in 0..size {
            let request = service(&n.to_string());
            let begin = std::time::Instant::now();
            assert!(a.assign(&request).is_ok());
            fill.push(begin.elapsed());
        }
        assert_eq!(a.status("p").available_ipv4, 0);
        refused(&mut a, &service("none"));
        let mut last = Vec::new();
        for n in 0..200 {
            release(&mut a, &(n * 37 % size).to_string());
            let request = service("last");
            let begin = std::time::Instant::now();
            assert!(a.assign(&request).is_ok());
            last.push(begin.elapsed());
            release(&mut a, "last");
            got(&mut a, &service(&(n * 37 % size).to_string()));
        }
        (median(fill), median(last))
    };
    let (small, whole) = (cost(22), cost(16));
    println!(
        "each of a /22 {:?}, of a /16 {:?}; the last free one {:?}, {:?}",
        small.0, whole.0, small.1, whole.1
    );
    assert!(whole.0 < small.0 * 8 && whole.1 < small.1 * 8, "{small:?} {whole:?}");
}
