//! Tables of security groups.

use std::sync::Arc;

use rstest::rstest;

use super::*;
use crate::fixtures::{facts, facts_with};
use crate::inventory::{SecurityGroup, Tag};

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

#[test]
fn rules_in_front_for_each_port_and_source() {
    let sources = Sources {
        networks: vec![net("10.0.0.0/8"), net("2001:db8::/32")],
        prefix_lists: vec!["pl-1".to_owned()],
        path_mtu: true,
    };
    let rules = frontend_rules(&[("tcp", 80, &sources), ("udp", 53, &sources)]);
    let shown: Vec<String> = rules
        .iter()
        .map(|r| {
            let from = r.ip_ranges.iter().map(|x| &x.cidr).chain(r.ipv6_ranges.iter().map(|x| &x.cidr));
            let from: Vec<&str> =
                from.chain(r.prefix_lists.iter().map(|x| &x.id)).map(String::as_str).collect();
            format!(
                "{} {:?}-{:?} {}",
                r.ip_protocol,
                r.from_port.unwrap_or(0),
                r.to_port.unwrap_or(0),
                from.join(" ")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "tcp 80-80 10.0.0.0/8",
            "icmp 3-4 10.0.0.0/8",
            "tcp 80-80 2001:db8::/32",
            "icmpv6 2-0 2001:db8::/32",
            "tcp 80-80 pl-1",
            "udp 53-53 10.0.0.0/8",
            "udp 53-53 2001:db8::/32",
            "udp 53-53 pl-1",
        ]
    );
}

#[rstest]
#[case::id(&["sg-edge-1"], Ok(["sg-edge-1"].as_slice()))]
#[case::name(&["edge", "sg-extra"], Ok(["sg-edge-1", "sg-extra"].as_slice()))]
#[case::unknown_id(&["sg-nope"], Err("sg-nope"))]
#[case::unknown_name(&["nope"], Err("nope"))]
#[case::ambiguous(&["twin"], Err("sg-twin-1, sg-twin-2"))]
fn named(#[case] names: &[&str], #[case] want: Result<&[&str], &str>) {
    match (resolve(&facts(), names), want) {
        (Ok(found), Ok(want)) => {
            assert_eq!(found, want.iter().map(|w| Token::literal(*w)).collect::<Vec<_>>());
        }
        (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
        (found, want) => panic!("{found:?}, not {want:?}"),
    }
}

#[test]
fn ids_need_no_inventory_but_names_do() {
    let mut facts = facts();
    Arc::make_mut(&mut facts.aws).describe_security_groups = None;
    assert_eq!(resolve(&facts, &["sg-any"]), Ok(vec![Token::literal("sg-any")]));
    assert_eq!(resolve(&facts, &["edge"]), Err(GroupError::Missing(Missing("DescribeSecurityGroups"))));
}

#[test]
fn the_shared_group_is_given_found_or_made() {
    let given = facts_with(&[("backend-security-group", "sg-given")]);
    assert_eq!(backend(&given), (Token::literal("sg-given"), None));

    let (token, spec) = backend(&facts());
    assert_eq!(token, Token::shared(ResourceType::SecurityGroup, BACKEND_GROUP));
    assert!(spec.is_some_and(|s| s.group_name.starts_with("k8s-traffic-1111111122223333")));

    let mut found = facts();
    let tags = [
        ("causeway.io/cluster", "11111111-2222-3333-4444-555555555555"),
        ("causeway.io/resource", BACKEND_RESOURCE),
    ];
    let group = |id: &str, tags: &[(&str, &str)]| SecurityGroup {
        group_id: id.to_owned(),
        group_name: String::new(),
        vpc_id: "vpc-1".to_owned(),
        tags: tags.iter().map(|(k, v)| Tag { key: (*k).to_owned(), value: (*v).to_owned() }).collect(),
    };
    let all = Arc::make_mut(&mut found.aws).describe_security_groups.as_mut().expect("groups");
    all.security_groups.push(group("sg-other-cluster", &[("causeway.io/cluster", "x"), tags[1]]));
    all.security_groups.push(group("sg-shared", &tags));
    assert_eq!(backend(&found), (Token::literal("sg-shared"), None));
}

#[test]
fn of_several_groups_of_a_node_the_tagged_one_counts() {
    assert_eq!(node_groups(&facts()), ["sg-nodes".to_owned()].into());
}

fn opened(options: &[(&str, &str)], openings: &[(TargetType, bool, bool, PortOrName)]) -> Vec<String> {
    let mut shared = Shared::default();
    for (target_type, tcp, udp, health) in openings {
        let opening = Opening { target_type: *target_type, tcp: *tcp, udp: *udp, health };
        open(&facts_with(options), &Token::literal("sg-b"), opening, &mut shared);
    }
    let show = |r: &IpPermission| {
        format!("{} {}-{}", r.ip_protocol, r.from_port.unwrap_or(0), r.to_port.unwrap_or(0))
    };
    shared.node_rules.iter().map(show).collect()
}

#[test]
fn the_number_of_node_rules_does_not_grow() {
    let instance = |tcp, udp, health| (TargetType::Instance, tcp, udp, health);
    let many: Vec<_> = (0..500)
        .map(|i| {
            let health = if i % 2 == 0 { PortOrName::Number(10256) } else { PortOrName::Number(31000 + i) };
            instance(i % 3 != 0, i % 5 == 0, health)
        })
        .collect();
    assert_eq!(opened(&[], &many), ["tcp 10256-10256", "tcp 30000-32767", "udp 30000-32767"]);
    let range = [("service-node-port-range", "20000-20999")];
    assert_eq!(
        opened(&range, &[instance(true, false, PortOrName::Number(10256))]),
        ["tcp 10256-10256", "tcp 20000-20999"]
    );
    assert_eq!(
        opened(&[], &[instance(false, true, PortOrName::traffic())]),
        ["tcp 30000-32767", "udp 30000-32767"]
    );
    assert_eq!(
        opened(&[], &[instance(false, true, PortOrName::Number(31000))]),
        ["tcp 30000-32767", "udp 30000-32767"]
    );
    let open = [("disable-restricted-sg-rules", "true")];
    assert_eq!(opened(&open, &[instance(true, false, PortOrName::Number(10256))]), ["tcp 0-65535"]);
    let pods = (TargetType::Ip, true, false, PortOrName::traffic());
    assert_eq!(opened(&[], &[pods]), ["tcp 0-65535"]);
}
