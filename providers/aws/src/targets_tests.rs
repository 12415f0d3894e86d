//! Tables and properties of targets.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::fixtures::{facts, facts_with, node, nodes};

#[rstest]
#[case("aws:///eu-west-1a/i-0abc", Some("i-0abc"))]
#[case("aws:////i-0abc", Some("i-0abc"))]
#[case("aws://eu-west-1/i-0abc", Some("i-0abc"))]
#[case("i-0abc", Some("i-0abc"))]
#[case("eks-hybrid:///eu-west-1/prod/mi-0abc", Some("mi-0abc"))]
#[case("", None)]
#[case("aws:///eu-west-1a/", None)]
#[case("aws:///eu-west-1a/fargate-ip-10-0-0-1", None)]
#[case("aws:///eu-west-1a/i-", None)]
#[case("aws:///eu-west-1a/mi-0abc", None)]
#[case("gce://project/zone/i-0abc", None)]
#[case("kind://docker/kind/i-0abc", None)]
#[case("openstack:///i-0abc", None)]
fn provider_ids(#[case] id: &str, #[case] want: Option<&str>) {
    assert_eq!(instance_id(id), want);
}

const ROOM: Room = Room { most: 1000, by: "targets-per-target-group" };

fn ids(targets: &BTreeSet<Target>) -> Vec<&str> {
    let id = |t| match t {
        &Target { id: Token::Literal(ref id), .. } => &**id,
        other => panic!("{other:?}"),
    };
    targets.iter().map(id).collect()
}

#[test]
fn one_bad_node_is_a_problem_of_that_node_alone() {
    let mut bad = node(7);
    bad.provider_id = Some("nonsense".to_owned());
    let mut none = node(8);
    none.provider_id = None;
    let mut twin = node(1);
    twin.name = "twin".to_owned();
    let set = NodeSet { nodes: vec![node(0), bad, none, node(1), twin] };
    let instances = Instances::of(&set);
    let (targets, all) = instance_targets("o", &instances, None, 30080, ROOM);
    assert_eq!((ids(&targets), all), (vec!["i-00000000000000000", "i-00000000000000001"], 2));
    let who: Vec<_> = instances.problems.iter().map(|p| (p.object.name.as_str(), p.field.as_str())).collect();
    assert_eq!(who, [("n7", "spec.providerID"), ("n8", "spec.providerID"), ("twin", "spec.providerID")]);
    assert!(instances.problems.iter().all(|p| p.reason == NO_INSTANCE && p.message.contains("aws:///")));
}

#[test]
fn fargate_nodes_are_no_targets_and_no_problem() {
    let mut fargate = node(1);
    fargate.labels = Arc::new([(COMPUTE_TYPE.to_owned(), "fargate".to_owned())].into());
    fargate.provider_id = Some("aws:///eu-west-1a/fargate-ip-10-0-0-1".to_owned());
    let instances = Instances::of(&NodeSet { nodes: vec![node(0), fargate] });
    assert_eq!((instances.all.len(), instances.problems.len()), (1, 0));
}

#[test]
fn labels_choose_nodes() {
    let instances = Instances::of(&nodes(6));
    let zone = |zone: &str| [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into();
    let (targets, _) = instance_targets("o", &instances, Some(&zone("eu-west-1a")), 1, ROOM);
    assert_eq!(ids(&targets), ["i-00000000000000000", "i-00000000000000003"]);
    assert!(instance_targets("o", &instances, Some(&zone("nowhere")), 1, ROOM).0.is_empty());
}

#[test]
fn instances_are_looked_for_once_per_node_set() {
    let cache = InstanceCache::default();
    let set = nodes(3);
    let first = cache.of(&set);
    assert!(Arc::ptr_eq(&first, &cache.of(&set)));
    assert_eq!(cache.of(&nodes(2)).all.len(), 2);
}

#[test]
fn pods_of_the_port_and_family_and_where_they_are() {
    let endpoint = |port_name: &str, address: &str, port| Endpoint {
        port_name: port_name.to_owned(),
        address: address.parse().expect("an address"),
        port,
        node: None,
    };
    let all = [
        endpoint("web", "10.0.11.5", 8080),
        endpoint("web", "192.168.0.5", 8081),
        endpoint("other", "10.0.11.5", 9090),
        endpoint("web", "2001:db8:0:111::5", 8080),
    ];
    let of = |family| ip_targets("o", &facts(), &all, "web", family, ROOM).0;
    let found: Vec<_> =
        of(TargetFamily::Ipv4).into_iter().map(|t| (t.id, t.port, t.availability_zone)).collect();
    assert_eq!(
        found,
        [
            (Token::literal("10.0.11.5"), 8080, None),
            (Token::literal("192.168.0.5"), 8081, Some("all".to_owned())),
        ]
    );
    assert_eq!(ids(&of(TargetFamily::Ipv6)), ["2001:db8:0:111::5"]);
}

#[rstest]
#[case::one_group(1, false, &[], (1000, "targets-per-target-group"))]
#[case::many_groups(10, false, &[], (300, "targets-per-network-load-balancer"))]
#[case::cross_zone(1, true, &[], (500, "targets-per-availability-zone-per-network-load-balancer"))]
#[case::option(1, false, &[("max-targets-per-target-group", "7")], (7, "max-targets-per-target-group"))]
fn rooms(
    #[case] groups: usize,
    #[case] cross_zone: bool,
    #[case] options: &[(&str, &str)],
    #[case] want: (usize, &str),
) {
    let room = nlb_room(&facts_with(options), groups, cross_zone);
    assert_eq!((room.most, room.by), want);
}

proptest! {
    /// One node more or less changes at most one place of a reduced set, and the order does not matter.
    #[test]
    fn reduced_sets_are_stable(count in 2u8..60, most in 1usize..40, gone in any::<prop::sample::Index>()) {
        let room = Room { most, by: "x" };
        let before = instance_targets("o", &Instances::of(&nodes(count)), None, 1, room).0;
        let mut set = NodeSet::clone(&nodes(count));
        set.nodes.remove(gone.index(usize::from(count)));
        set.nodes.reverse();
        let after = instance_targets("o", &Instances::of(&set), None, 1, room).0;
        prop_assert_eq!(before.len(), most.min(usize::from(count)));
        prop_assert!(before.difference(&after).count() <= 1);
        prop_assert!(after.difference(&before).count() <= 1);
    }
}
