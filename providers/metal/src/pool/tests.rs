use super::*;
use rstest::rstest;
use serde_json::{Value, json};

fn object(name: &str, created: Option<i64>, spec: Value) -> OwnObject {
    OwnObject { created, ..OwnObject::new("IPAddressPool", "metallb-system", name, spec) }
}

fn pools(objects: Vec<OwnObject>) -> (Pools, Vec<String>) {
    let (pools, problems) = Pools::new(&OwnObjects { objects, ..OwnObjects::default() });
    (pools, problems.iter().map(ToString::to_string).collect())
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn one_bad_pool_does_not_stop_the_others() {
    let (pools, problems) = pools(vec![
        object("bad", None, json!({"addresses": ["192.0.2.0/33"]})),
        object("good", None, json!({"addresses": ["198.51.100.0/24"]})),
    ]);
    assert_eq!(pools.of(&[ip("198.51.100.7")]).map(|p| p.name.as_str()), Some("good"));
    assert_eq!(problems.len(), 1);
    for part in ["IPAddressPool metallb-system/bad", "spec.addresses[0]", "InvalidPool", "192.0.2.0/33"] {
        assert!(problems[0].contains(part), "{}", problems[0]);
    }
}

#[rstest]
#[case(json!({}), "spec", "addresses")]
#[case(json!(null), "spec", "cannot be read")]
#[case(json!({"addresses": "192.0.2.0/24"}), "spec", "cannot be read")]
#[case(json!({"addresses": []}), "spec.addresses", "at least one range")]
#[case(json!({"addresses": ["192.0.2.0/24", "192.0.2.9"]}), "spec.addresses[1]", "192.0.2.9/32")]
#[case(json!({"addresses": ["192.0.2.0/24", "192.0.2.9-192.0.2.10"]}), "spec.addresses[1]", "same pool")]
#[case(json!({"addresses": ["192.0.2.0/24"], "serviceAllocation": {"namespaces": ["a", "a"]}}),
    "spec.serviceAllocation.namespaces[1]", "twice")]
#[case(json!({"addresses": ["192.0.2.0/24"], "serviceAllocation": {"serviceSelectors": [{}, {}]}}),
    "spec.serviceAllocation.serviceSelectors[1]", "twice")]
#[case(json!({"addresses": ["192.0.2.0/24"], "serviceAllocation": {"namespaceSelectors":
    [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]}}),
    "spec.serviceAllocation.namespaceSelectors[0]", "use In, NotIn, Exists or DoesNotExist")]
fn each_fault_names_its_field(#[case] spec: Value, #[case] field: &str, #[case] says: &str) {
    let (pools, problems) =
        Pools::new(&OwnObjects { objects: vec![object("p", None, spec)], ..OwnObjects::default() });
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].field, field);
    assert!(problems[0].message.contains(says), "{}", problems[0].message);
    assert!(pools.get("p").expect("still there for look-up").refused);
}

#[rstest]
#[case(Some(10), Some(20), "b")]
#[case(Some(20), Some(10), "a")]
#[case(None, Some(10), "b")] // no timestamp counts as oldest
#[case(Some(10), Some(10), "b")] // a tie goes by name
fn the_younger_of_overlapping_pools_is_refused(
    #[case] a: Option<i64>,
    #[case] b: Option<i64>,
    #[case] refused: &str,
) {
    for reversed in [false, true] {
        let mut objects = vec![
            object("a", a, json!({"addresses": ["192.0.2.0/25"]})),
            object("b", b, json!({"addresses": ["198.51.100.0/24", "192.0.2.100-192.0.2.200"]})),
        ];
        if reversed {
            objects.reverse();
        }
        let (pools, problems) = pools(objects);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains(&format!("metallb-system/{refused}: ")), "{}", problems[0]);
        assert!(pools.get(refused).expect("kept").refused);
        let serving = if refused == "a" { "b" } else { "a" };
        assert_eq!(pools.of(&[ip("192.0.2.110")]).map(|p| p.name.as_str()), Some(serving));
        // What the refused pool gave out before is still found in it.
        let own = if refused == "a" { "192.0.2.1" } else { "192.0.2.150" };
        assert_eq!(pools.of(&[ip(own)]).map(|p| p.name.as_str()), Some(refused));
    }
}

#[test]
fn a_refused_pool_blocks_nobody() {
    let (pools, problems) = pools(vec![
        object("a", Some(1), json!({"addresses": ["192.0.2.0/24", "oops"]})),
        object("b", Some(2), json!({"addresses": ["192.0.2.0/24"]})),
    ]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(pools.of(&[ip("192.0.2.1")]).map(|p| p.name.as_str()), Some("b"));
}

#[rstest]
#[case("192.0.2.5", true)]
#[case("192.0.2.0", false)]
#[case("192.0.2.255", false)]
#[case("192.0.3.1", false)]
#[case("2001:db8::ff", true)]
fn buggy_addresses_are_not_held(#[case] address: &str, #[case] held: bool) {
    let (pools, _) = pools(vec![object(
        "p",
        None,
        json!({"addresses": ["192.0.2.0/24", "2001:db8::/64"], "avoidBuggyIPs": true}),
    )]);
    assert_eq!(pools.of(&[ip(address)]).is_some(), held);
}

#[test]
fn two_addresses_belong_to_one_pool_or_to_none() {
    let (pools, _) = pools(vec![
        object("dual", None, json!({"addresses": ["192.0.2.0/24", "2001:db8::/64"]})),
        object("six", None, json!({"addresses": ["2001:db8:1::/64"]})),
    ]);
    let name = |a: &[IpAddr]| pools.of(a).map(|p| p.name.clone());
    assert_eq!(name(&[ip("192.0.2.1"), ip("2001:db8::1")]).as_deref(), Some("dual"));
    assert_eq!(name(&[ip("192.0.2.1"), ip("2001:db8:1::1")]), None);
    assert_eq!(name(&[]), None);
}

#[rstest]
#[case(json!(["192.0.2.0/24", "198.51.100.0-198.51.100.9"]), false, 266, 0)]
#[case(json!(["192.0.2.0/24"]), true, 254, 0)]
#[case(json!(["192.0.2.0/24", "2001:db8::/120"]), false, 256, 256)]
#[case(json!(["2001:db8::/66", "2001:db8:1::/120"]), false, 0, i64::MAX)]
#[case(json!(["2001:db8::/67"]), false, 0, 1 << 61)]
fn capacity(#[case] addresses: Value, #[case] avoid: bool, #[case] four: i64, #[case] six: i64) {
    let (pools, problems) =
        pools(vec![object("p", None, json!({"addresses": addresses, "avoidBuggyIPs": avoid}))]);
    assert_eq!(problems, Vec::<String>::new());
    let pool = pools.get("p").expect("there");
    assert_eq!((pool.capacity(Family::V4), pool.capacity(Family::V6)), (four, six));
}

#[rstest]
#[case(json!({}), "any", "", "", true)]
#[case(json!({"priority": 5}), "any", "", "", true)]
#[case(json!({"namespaces": ["a", "b"]}), "b", "", "", true)]
#[case(json!({"namespaces": ["a", "b"]}), "c", "", "", false)]
#[case(json!({"namespaceSelectors": [{"matchLabels": {"t": "x"}}]}), "c", "x", "", true)]
#[case(json!({"namespaceSelectors": [{"matchLabels": {"t": "x"}}]}), "c", "y", "", false)]
#[case(json!({"namespaces": ["c"], "namespaceSelectors": [{"matchLabels": {"t": "x"}}]}), "c", "y", "", true)]
#[case(json!({"serviceSelectors": [{"matchLabels": {"t": "x"}}, {"matchLabels": {"t": "y"}}]}), "c", "", "y", true)]
#[case(json!({"serviceSelectors": [{"matchLabels": {"t": "x"}}]}), "c", "", "y", false)]
#[case(json!({"namespaces": ["a"], "serviceSelectors": [{"matchLabels": {"t": "x"}}]}), "c", "", "x", false)]
#[case(json!({"namespaces": ["a"], "serviceSelectors": [{"matchLabels": {"t": "x"}}]}), "a", "", "x", true)]
fn set_aside_for(
    #[case] allocation: Value,
    #[case] namespace: &str,
    #[case] namespace_label: &str,
    #[case] label: &str,
    #[case] matches: bool,
) {
    let (pools, problems) = pools(vec![object(
        "p",
        None,
        json!({"addresses": ["192.0.2.0/24"], "serviceAllocation": allocation}),
    )]);
    assert_eq!(problems, Vec::<String>::new());
    let labels = |value: &str| Labels::from([("t".to_owned(), value.to_owned())]);
    let set_aside = pools.get("p").and_then(|p| p.set_aside.clone()).expect("set aside");
    assert_eq!(set_aside.matches(namespace, &labels(namespace_label), &labels(label)), matches);
}
