//! Tables for [`super::resolve`].

use std::sync::Arc;

use rstest::rstest;

use super::*;
use crate::fixtures::facts;
use crate::inventory::{Answers, AvailabilityZone, DescribeAvailabilityZones, Tag};

const NLB: Purpose = Purpose {
    kind: LoadBalancerType::Network,
    scheme: Scheme::Internal,
    ip_address_type: IpAddressType::Ipv4,
};

fn changed(change: impl FnOnce(&mut Answers)) -> Facts {
    let mut facts = facts();
    change(Arc::make_mut(&mut facts.aws));
    facts
}

fn with_subnets(change: impl FnOnce(&mut Vec<Subnet>)) -> Facts {
    changed(|aws| change(&mut aws.describe_subnets.as_mut().expect("subnets").subnets))
}

fn retag(subnets: &mut [Subnet], id: &str, tags: &[(&str, &str)]) {
    let subnet = subnets.iter_mut().find(|s| s.subnet_id == id).expect("a subnet");
    subnet.tags = tags.iter().map(|(k, v)| Tag { key: (*k).to_owned(), value: (*v).to_owned() }).collect();
}

fn ids(found: Result<Vec<Subnet>, SubnetError>) -> Vec<String> {
    found.expect("subnets").into_iter().map(|s| s.subnet_id).collect()
}

#[rstest]
#[case(Scheme::Internal, ["subnet-priv-a", "subnet-priv-b"])]
#[case(Scheme::InternetFacing, ["subnet-pub-a", "subnet-pub-b"])]
fn by_the_tag_of_the_role(#[case] scheme: Scheme, #[case] want: [&str; 2]) {
    assert_eq!(ids(resolve(&facts(), Choice::Discovered, &Purpose { scheme, ..NLB })), want);
}

#[rstest]
#[case(Scheme::Internal, ["subnet-priv-a", "subnet-priv-b"])]
#[case(Scheme::InternetFacing, ["subnet-pub-a", "subnet-pub-b"])]
fn by_reachability_where_no_subnet_has_the_tag(#[case] scheme: Scheme, #[case] want: [&str; 2]) {
    let facts = with_subnets(|all| all.iter_mut().for_each(|s| s.tags.clear()));
    assert_eq!(ids(resolve(&facts, Choice::Discovered, &Purpose { scheme, ..NLB })), want);
    let mut facts = facts;
    facts.options.subnets_by_reachability = false;
    assert!(matches!(resolve(&facts, Choice::Discovered, &NLB), Err(SubnetError::Nothing { seen: 0, .. })));
}

#[test]
fn one_per_zone_with_our_own_tag_first_then_by_id() {
    const ROLE: (&str, &str) = ("kubernetes.io/role/internal-elb", "1");
    let facts = with_subnets(|all| {
        retag(all, "subnet-pub-a", &[ROLE]);
        retag(all, "subnet-pub-b", &[ROLE, ("kubernetes.io/cluster/prod", "shared")]);
    });
    // In zone a the lower id, in zone b the one with our tag.
    assert_eq!(ids(resolve(&facts, Choice::Discovered, &NLB)), ["subnet-priv-a", "subnet-pub-b"]);
}

#[test]
fn subnets_of_other_clusters_and_full_ones_are_left_out() {
    const ROLE: (&str, &str) = ("kubernetes.io/role/internal-elb", "1");
    let facts = with_subnets(|all| {
        retag(all, "subnet-priv-a", &[ROLE, ("kubernetes.io/cluster/other", "owned")]);
        all.iter_mut()
            .filter(|s| s.subnet_id == "subnet-priv-b")
            .for_each(|s| s.available_ip_address_count = 7);
    });
    let error = resolve(&facts, Choice::Discovered, &NLB).expect_err("none is left");
    assert!(matches!(error, SubnetError::Nothing { seen: 2, others: 1, full: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("kubernetes.io/role/internal-elb=1"), "{error}");
    let mut lenient = facts;
    lenient.options.subnets_cluster_tag_check = false;
    assert_eq!(ids(resolve(&lenient, Choice::Discovered, &NLB)), ["subnet-priv-a"]);
}

#[test]
fn dual_stack_needs_ipv6_in_every_subnet() {
    let facts = with_subnets(|all| {
        all.iter_mut()
            .filter(|s| s.subnet_id == "subnet-priv-b")
            .for_each(|s| s.ipv6_cidr_block_association_set.clear());
    });
    let dual = Purpose { ip_address_type: IpAddressType::Dualstack, ..NLB };
    assert_eq!(ids(resolve(&facts, Choice::Discovered, &dual)), ["subnet-priv-a"]);
    let named = ["subnet-priv-a", "subnet-priv-b"];
    assert!(matches!(resolve(&facts, Choice::Named(&named), &dual), Err(SubnetError::NoIpv6(..))));
    assert_eq!(ids(resolve(&facts, Choice::Named(&named), &NLB)), named);
}

#[rstest]
#[case::in_the_order_of_names(&["subnet-priv-b", "private-a"], Ok(["subnet-priv-b", "subnet-priv-a"].as_slice()))]
#[case::unknown_id(&["subnet-nope"], Err("subnet-nope"))]
#[case::unknown_name(&["nope"], Err("nope"))]
#[case::one_zone_twice(&["subnet-priv-a", "subnet-pub-a"], Err("eu-west-1a"))]
fn named(#[case] names: &[&str], #[case] want: Result<&[&str], &str>) {
    match (resolve(&facts(), Choice::Named(names), &NLB), want) {
        (found @ Ok(_), Ok(want)) => assert_eq!(ids(found), want),
        (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
        (found, want) => panic!("{found:?}, not {want:?}"),
    }
}

#[test]
fn one_name_twice_takes_two_subnets_in_the_order_of_ids() {
    let facts = with_subnets(|all| {
        retag(all, "subnet-priv-b", &[("Name", "private")]);
        retag(all, "subnet-priv-a", &[("Name", "private")]);
    });
    assert_eq!(
        ids(resolve(&facts, Choice::Named(&["private", "private"]), &NLB)),
        ["subnet-priv-a", "subnet-priv-b"]
    );
    let thrice = resolve(&facts, Choice::Named(&["private"; 3]), &NLB);
    assert!(matches!(thrice, Err(SubnetError::NotFound(..))));
}

#[test]
fn by_tags() {
    let tags = |value: &str| [("Name".to_owned(), vec![value.to_owned(), "private-b".to_owned()])].into();
    assert_eq!(
        ids(resolve(&facts(), Choice::Tagged(&tags("private-a")), &NLB)),
        ["subnet-priv-a", "subnet-priv-b"]
    );
    assert_eq!(ids(resolve(&facts(), Choice::Tagged(&tags("nope")), &NLB)), ["subnet-priv-b"]);
}

#[test]
fn an_alb_needs_two_zones_but_not_in_a_local_zone() {
    let alb = Purpose { kind: LoadBalancerType::Application, ..NLB };
    let one = Choice::Named(&["subnet-priv-a"]);
    assert!(matches!(resolve(&facts(), one, &alb), Err(SubnetError::TooFewZones(1, _))));
    assert_eq!(ids(resolve(&facts(), one, &NLB)), ["subnet-priv-a"]);
    let mut single = facts();
    single.options.alb_single_subnet = true;
    assert_eq!(ids(resolve(&single, one, &alb)), ["subnet-priv-a"]);
    let zone = AvailabilityZone {
        zone_name: "eu-west-1a".to_owned(),
        zone_id: String::new(),
        zone_type: "local-zone".to_owned(),
    };
    let local = changed(|aws| {
        aws.describe_availability_zones = Some(DescribeAvailabilityZones { availability_zones: vec![zone] });
    });
    assert_eq!(ids(resolve(&local, one, &alb)), ["subnet-priv-a"]);
    let both = Choice::Named(&["subnet-priv-a", "subnet-priv-b"]);
    assert!(matches!(resolve(&local, both, &alb), Err(SubnetError::MixedPlaces(_))));
}

#[rstest]
#[case("eu-west-1a", "availability-zone")]
#[case("us-gov-west-1a", "availability-zone")]
#[case("us-west-2-lax-1a", "local-zone")]
#[case("us-east-1-wl1-bos-wlz-1", "wavelength-zone")]
fn places_by_the_name_of_the_zone(#[case] zone: &str, #[case] want: &str) {
    let subnet = Subnet { availability_zone: zone.to_owned(), ..Subnet::default() };
    assert_eq!(place(&facts(), &subnet), want);
}

#[test]
fn what_is_not_known_is_said_with_the_command() {
    let facts = changed(|aws| aws.describe_subnets = None);
    let error = resolve(&facts, Choice::Discovered, &NLB).expect_err("nothing is known").to_string();
    assert!(error.contains("DescribeSubnets") && error.contains("aws ec2 describe-subnets"), "{error}");
    // Route tables are needed only where tags decide nothing.
    let facts = changed(|aws| aws.describe_route_tables = None);
    assert!(resolve(&facts, Choice::Discovered, &NLB).is_ok());
}
