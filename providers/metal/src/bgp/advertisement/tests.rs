use rstest::rstest;
use serde_json::{Value, json};

use super::super::fixtures::{ad, config, labels, own, peer, summary, with};
use super::*;

/// The only advertisement, or what is wrong with it.
fn read(object: OwnObject) -> Result<BgpAdvertisement, Vec<String>> {
    let (config, problems) = config(vec![object, community(), peer("tor", "192.0.2.1")]);
    match config.advertisements.into_iter().next() {
        Some(ad) => {
            assert_eq!(summary(&problems), Vec::<String>::new());
            Ok(ad)
        }
        None => Err(problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect()),
    }
}

fn community() -> OwnObject {
    own("Community", "names", json!({"communities": [{"name": "vpn", "value": "64500:7"}]}))
}

fn pool(name: &str, label: &str) -> Pool {
    Pool {
        name: name.into(),
        object: ObjectRef::service("", "", ""),
        labels: labels(label),
        ranges: Vec::new(),
        auto_assign: true,
        avoid_buggy_ips: false,
        set_aside: None,
        refused: false,
    }
}

#[rstest]
#[case(Value::Null)]
#[case(json!({}))]
fn an_empty_one_announces_everything_to_everybody(#[case] spec: Value) {
    let ad = read(ad("all", spec)).expect("valid");
    assert_eq!((ad.length_v4, ad.length_v6, ad.aggregate_local), (32, 128, false));
    assert_eq!((ad.attributes.clone(), ad.endpoint_bandwidth), (RouteAttributes::default(), None));
    assert!(
        ad.matches_pool(&pool("any", "")) && ad.matches_service(&labels("")) && ad.matches_node(&labels(""))
    );
    assert!(ad.names("any"));
}

#[test]
fn one_with_everything() {
    let object = ad(
        "all",
        json!({
            "aggregationLength": 26, "aggregationLengthV6": 64, "localPref": 200,
            "communities": ["64500:1", "large:64500:1:2", "vpn", "no-export"],
            "ipAddressPools": ["a"], "ipAddressPoolSelectors": [{"matchLabels": {"l": "two"}}],
            "nodeSelectors": [{"matchLabels": {"rack": "a"}}, {"matchLabels": {"rack": "b"}}], "peers": ["tor"]
        }),
    );
    let object = with(with(object, "med", "5"), "as-path-prepend", "3");
    let ad = read(with(with(object, "aggregate-local", "true"), "link-bandwidth", "1Gbit")).expect("valid");
    assert_eq!((ad.length(Family::V4), ad.length(Family::V6), ad.aggregate_local), (26, 64, true));
    assert_eq!(
        ad.attributes,
        RouteAttributes {
            local_pref: Some(200),
            med: Some(5),
            prepend: 3,
            communities: [64500 << 16 | 1, 64500 << 16 | 7, 0xffff_ff01].into(),
            large: [[64500, 1, 2]].into(),
            bandwidth: None,
        }
    );
    assert_eq!(ad.endpoint_bandwidth, Some(125_000_000));
    assert!(ad.names("tor") && !ad.names("spine"));
    assert!(ad.matches_pool(&pool("a", "")) && ad.matches_pool(&pool("b", "l=two")));
    assert!(!ad.matches_pool(&pool("b", "")));
    assert!(ad.matches_node(&labels("rack=b")) && !ad.matches_node(&labels("rack=c")));
}

#[rstest]
#[case::too_long(json!({"aggregationLength": 33}), "spec.aggregationLength")]
#[case::zero(json!({"aggregationLength": 0}), "spec.aggregationLength")]
#[case::too_long_v6(json!({"aggregationLengthV6": 129}), "spec.aggregationLengthV6")]
#[case::negative_v6(json!({"aggregationLengthV6": -1}), "spec.aggregationLengthV6")]
#[case::preference(json!({"localPref": -1}), "spec.localPref")]
#[case::pools(json!({"ipAddressPools": ["a", "b", "a"]}), "spec.ipAddressPools[2]")]
#[case::peers(json!({"peers": ["tor", "tor"]}), "spec.peers[1]")]
#[case::communities(json!({"communities": ["64500:1", "64500:1"]}), "spec.communities[1]")]
#[case::community_format(json!({"communities": ["1:2:3"]}), "spec.communities[0]")]
#[case::community_number(json!({"communities": ["64500:1", "99999999:1"]}), "spec.communities[1]")]
#[case::community_lower(json!({"communities": ["1:99999999"]}), "spec.communities[0]")]
#[case::community_unknown(json!({"communities": ["community"]}), "spec.communities[0]")]
#[case::pool_selectors(json!({"ipAddressPoolSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]}), "spec.ipAddressPoolSelectors[1]")]
#[case::node_selectors(json!({"nodeSelectors": [{}, {}]}), "spec.nodeSelectors[1]")]
#[case::service_selectors(json!({"serviceSelectors": [{"matchLabels": {"a": "b"}}, {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}), "spec.serviceSelectors[1]")]
#[case::operator(json!({"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}]}), "spec.nodeSelectors[0]")]
#[case::services_and_length(json!({"serviceSelectors": [{}], "aggregationLength": 24}), "spec.serviceSelectors")]
#[case::services_and_length_v6(json!({"serviceSelectors": [{}], "aggregationLengthV6": 64}), "spec.serviceSelectors")]
#[case::wrong_type(json!({"peers": "tor"}), "spec")]
fn faults_name_their_field(#[case] spec: Value, #[case] field: &str) {
    let problems = read(ad("bad", spec)).expect_err("invalid");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with(&format!("{field}: ")), "{problems:?}");
}

#[rstest]
#[case(json!({"serviceSelectors": [{}], "aggregationLength": 32}))]
#[case(json!({"serviceSelectors": [{}], "aggregationLengthV6": 128}))]
#[case(json!({"serviceSelectors": [{}], "aggregationLength": 32, "aggregationLengthV6": 128}))]
#[case(json!({"serviceSelectors": [], "aggregationLength": 24}))]
fn service_selectors_go_with_single_addresses(#[case] spec: Value) {
    read(ad("good", spec)).expect("valid");
}

#[rstest]
#[case("med", "-1")]
#[case("med", "4294967296")]
#[case("as-path-prepend", "11")]
#[case("aggregate-local", "1")]
#[case("link-bandwidth", "fast")]
fn bad_annotations(#[case] name: &str, #[case] value: &str) {
    let problems = read(with(ad("bad", json!({})), name, value)).expect_err("invalid");
    assert!(problems[0].starts_with(&format!("metadata.annotations[causeway.io/{name}]")), "{problems:?}");
}

#[test]
fn one_bad_advertisement_hides_no_other() {
    let (config, problems) = config(vec![
        ad("bad", json!({"communities": ["gone"]})),
        ad("good", json!({})),
        peer("tor", "192.0.2.1"),
    ]);
    assert_eq!(config.advertisements.iter().map(|ad| ad.object.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(summary(&problems), ["error BGPAdvertisement bad: spec.communities[0]"]);
}

#[rstest]
// The pool, the lengths for IPv4 and IPv6, and whether it is announced.
#[case::equal(&["192.0.2.0/24"], 24, 128, true)]
#[case::longer(&["192.0.2.0/24"], 26, 128, true)]
#[case::shorter(&["192.0.2.0/24"], 23, 128, false)]
#[case::one_of_two(&["192.0.2.0/24", "198.51.100.0/26"], 25, 128, false)]
// 192.0.2.10 to .20: the largest block is .12 to .15.
#[case::range(&["192.0.2.10-192.0.2.20"], 30, 128, true)]
#[case::range_shorter(&["192.0.2.10-192.0.2.20"], 29, 128, false)]
#[case::v6(&["2001:db8::/64"], 24, 64, true)]
#[case::v6_shorter(&["2001:db8::/64"], 24, 63, false)]
#[case::both(&["192.0.2.0/24", "2001:db8::/64"], 24, 63, false)]
fn routes_do_not_reach_beyond_pools(
    #[case] ranges: &[&str],
    #[case] v4: u8,
    #[case] v6: u8,
    #[case] announced: bool,
) {
    let spec = json!({"aggregationLength": v4, "aggregationLengthV6": v6});
    let objects = vec![
        own("IPAddressPool", "p", json!({"addresses": ranges})),
        own("IPAddressPool", "wide", json!({"addresses": ["10.0.0.0/8", "2001:db9::/32"]})),
        ad("ad", spec),
        peer("tor", "192.0.2.1"),
    ];
    let (config, problems) = config(objects);
    let pools = ["p", "wide"].map(|name| pool(name, ""));
    assert_eq!(config.advertisements[0].matches_pool(&pools[0]), announced);
    assert!(config.advertisements[0].matches_pool(&pools[1]), "other pools do not suffer");
    assert_eq!(problems.len(), usize::from(!announced), "{problems:?}");
    if let Some(problem) = problems.first() {
        let field = if announced {
            ""
        } else if v6 == 63 {
            "spec.aggregationLengthV6"
        } else {
            "spec.aggregationLength"
        };
        assert_eq!(problem.field, field);
        assert!(problem.message.contains("of pool p"), "{problem}");
    }
}

#[test]
fn pools_that_are_not_meant_do_not_matter() {
    let objects = vec![
        own("IPAddressPool", "small", json!({"addresses": ["192.0.2.0/30"]})),
        own("IPAddressPool", "large", json!({"addresses": ["10.0.0.0/8"]})),
        ad("ad", json!({"aggregationLength": 24, "ipAddressPools": ["large", "gone"]})),
        peer("tor", "192.0.2.1"),
    ];
    assert_eq!(summary(&config(objects).1), Vec::<String>::new());
}

#[rstest]
#[case(json!({"peers": ["tor"]}), &[])]
#[case(json!({"peers": ["tor", "gone", "lost"]}), &["warning BGPAdvertisement ad: spec.peers"])]
// That it cannot be used is said of the peer itself.
#[case(json!({"peers": ["broken"]}), &[])]
fn peers_that_do_not_exist(#[case] spec: Value, #[case] expected: &[&str]) {
    let objects = vec![ad("ad", spec), peer("tor", "192.0.2.1"), peer("broken", "nowhere")];
    let (_, problems) = config(objects);
    let problems: Vec<_> =
        summary(&problems).into_iter().filter(|problem| problem.contains("BGPAdvertisement")).collect();
    assert_eq!(problems, expected);
}

#[test]
fn two_that_say_the_same() {
    let spec = json!({"ipAddressPools": ["a", "b"], "localPref": 100});
    let (config, problems) = config(vec![
        ad("b", spec),
        ad("a", json!({"localPref": 100, "ipAddressPools": ["b", "a"]})),
        ad("c", json!({"localPref": 100, "ipAddressPools": ["b"]})),
        peer("tor", "192.0.2.1"),
    ]);
    assert_eq!(summary(&problems), ["warning BGPAdvertisement b: "]);
    assert!(problems[0].message.contains("BGPAdvertisement metallb-system/a"), "{}", problems[0]);
    assert_eq!(config.advertisements.len(), 3);
}
