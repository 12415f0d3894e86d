//! What holds for every Service: one bad member blocks nobody, order does not matter, nothing is opened wider than was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use causeway_api::{Family, FamilyPolicy, IngressPoint, Protocol, Severity, Stack as _, TrafficPolicy};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::annotations::service;
use crate::facts::{Facts, Overrides, facts as make_facts};
use crate::fixtures::{Svc, desired, desired_lb, facts_with, inventory, nodes, of_services, service};
use crate::inventory::Inventory;
use crate::stack::{OctaviaStack, Token};

fn facts() -> Facts {
    facts_with(&[])
}

fn web() -> Svc {
    service("web").port(80, 30080).created(1)
}

#[test]
fn members_do_not_count_for_the_hash_and_settings_do() {
    let of = |services: &[Svc], count| desired_lb(&facts(), &of_services(services, nodes(count))).0;
    let (two, one) = (of(&[web()], 2), of(&[web()], 1));
    assert_eq!(two.applied(), one.applied());
    assert_ne!(two.members, one.members);
    let changed = [
        web().annotation("timeout-client-data", "1"),
        web().annotation("lb-method", "SOURCE_IP"),
        web().spec(|s| s.affinity_seconds = Some(10)),
        web().spec(|s| s.source_ranges = vec!["10.0.0.0/8".parse().expect("a network")]),
        web().annotation("proxy-protocol", "v2"),
        web().annotation("health-monitor-delay", "60"),
        web().annotation("floating-subnet", "public-*"),
        web().annotation("keep-floatingip", "true"),
    ];
    for service in changed {
        assert_ne!(of(std::slice::from_ref(&service), 2).applied(), two.applied(), "{service:?}");
    }
}

#[test]
fn another_version_of_a_secret_is_another_stack() {
    let with = |version: &str| {
        let mut service = service("web").port(443, 30443).annotation("causeway.io/tls-secret", "tls");
        service.0.secrets.insert("tls".to_owned(), Some(version.to_owned()));
        desired(&facts(), &[service]).0
    };
    assert_ne!(with("1").applied(), with("2").applied());
    assert_ne!(with("1").secrets["shop/tls"].name, with("2").secrets["shop/tls"].name);
    assert_eq!(with("1"), with("1"));
}

#[test]
fn what_a_user_wrote_wrong_freezes_that_service_only() {
    let bad = service("api").port(8443, 30844).created(2).annotation("subnet-id", " ");
    let (stack, problems) = desired(&facts(), &[web(), bad]);
    assert_eq!(stack.listeners.keys().collect::<Vec<_>>(), ["TCP-80"]);
    assert_eq!(stack.kept, ["TCP-8443".to_owned()].into());
    assert!(stack.told[1].refused && !stack.told[0].refused);
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Error));
}

#[test]
fn nothing_is_left_of_a_load_balancer_that_nobody_wants() {
    let lb = causeway_api::LoadBalancer::unwanted(of_services(&[web()], nodes(1)).key);
    let (stack, problems) = desired_lb(&facts(), &lb);
    assert!(stack.is_empty() && !stack.frozen && problems.is_empty());
}

/// A load balancer that is deleted by hand is made again with the address that it had, but its address is no part of the hash.
#[test]
fn a_former_address_is_asked_for_again_where_it_fits() {
    let internal = |ip: &str| {
        let mut service = web().annotation(service::INTERNAL.key, "true");
        service.0.current = vec![IngressPoint { ip: ip.parse().ok(), ..IngressPoint::default() }];
        desired(&facts(), &[service]).0
    };
    assert_eq!(internal("10.6.0.9").former_address, "10.6.0.9".parse().ok());
    assert_eq!(internal("192.168.0.9").former_address, None);
    assert_eq!(internal("10.6.0.9").applied(), internal("10.6.0.10").applied());
}

#[test]
fn a_floating_ip_of_ours_is_no_conflict() {
    let mut inventory = inventory();
    let service = web().spec(|s| s.requested_address = Some("203.0.113.41".to_owned()));
    let ours = desired(&facts(), &[web()]).0.mark;
    if let Some(ips) = &mut inventory.openstack.floating_ips {
        ips.floatingips[1].description = ours.description("x");
    }
    let (facts, _) = make_facts(&Overrides::default(), &inventory);
    let (stack, problems) = desired(&facts, &[service]);
    assert_eq!(problems, []);
    assert_eq!(stack.floating_ip.and_then(|ip| ip.existing).as_deref(), Some("fip-used"));
}

/// Values that users write, right and wrong.
const TEXTS: &[&str] = &[
    "true",
    "false",
    "v2",
    "",
    "k8s-subnet",
    "k8s-subnet-v6",
    "public",
    "dmz",
    "public-*",
    "~(",
    "&internet,cheap",
    "10",
    "-1",
    "0",
    "99999999999",
    "SOURCE_IP",
    "SOURCE_IP_PORT",
    "RANDOM",
    "single",
    "flavor-old",
    "az1",
    "lb-shared",
    "lb-shared-ovn",
    "lb-peers",
    "lb-foreign",
    "gone",
    "shop.example",
    "pool=edge",
    "=",
    "https://barbican/v1/secrets/x",
    "tls",
    "80",
    "p80",
    "/ready",
    "200-299",
    "ünïcode",
];

fn a_service(name: &'static str, created: i64) -> impl Strategy<Value = Svc> {
    let annotation = (any::<Index>(), select(TEXTS));
    let port = (select(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp][..]), 1u16..5, 30000u16..30004);
    let ranges = subsequence(vec!["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0"], 0..=2);
    (
        prop::collection::vec(annotation, 0..5),
        prop::collection::vec(port, 1..4),
        subsequence(vec![Family::V4, Family::V6], 1..=2),
        any::<bool>(),
        ranges,
        select(
            &[
                None,
                Some("203.0.113.40"),
                Some("203.0.113.41"),
                Some("10.6.0.7"),
                Some("fd00:6::7"),
                Some("x"),
            ][..],
        ),
        any::<bool>(),
    )
        .prop_map(move |(annotations, ports, families, local, ranges, address, affinity)| {
            let mut service = service(name).created(created).spec(|s| {
                s.families = families;
                s.family_policy = FamilyPolicy::PreferDualStack;
                s.source_ranges = ranges.iter().map(|r| r.parse().expect("a network")).collect();
                s.requested_address = address.map(str::to_owned);
                s.affinity_seconds = affinity.then_some(600);
                if local {
                    s.traffic_policy = TrafficPolicy::Local;
                    s.health.port = Some(32000);
                }
            });
            for (protocol, port, node_port) in ports {
                service = service.on(protocol, port, node_port);
            }
            for (index, text) in annotations {
                service = service.annotation(service::TABLE[index.index(service::TABLE.len())].key, text);
            }
            service.0.secrets.insert("tls".to_owned(), Some("1".to_owned()));
            service
        })
}

fn some_facts() -> impl Strategy<Value = Facts> {
    let options = subsequence(
        vec![
            ("lb-provider", "ovn"),
            ("manage-security-groups", "true"),
            ("internal-lb", "true"),
            ("create-monitor", "false"),
            ("monitor-delay", "1s"),
        ],
        0..=5,
    );
    (options, select(&["v2.5", "v2.11", "v2.15", "v2.24", "v2.27"][..])).prop_map(|(options, version)| {
        let section = options.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
        let (options, _) = crate::options::Options::read(&[("LoadBalancer".to_owned(), section)].into());
        let mut inventory = Inventory { options, ..inventory() };
        if let Some(known) = &mut inventory.openstack.versions {
            known.versions[1].id = version.to_owned();
        }
        make_facts(&Overrides::default(), &inventory).0
    })
}

/// Every part of a stack, by type and id.
fn parts(stack: &OctaviaStack) -> BTreeMap<(String, String), serde_json::Value> {
    let all = stack.resources().into_iter();
    all.flat_map(|(kind, ids)| ids.into_iter().map(move |(id, v)| ((kind.clone(), id), v))).collect()
}

fn check(stack: &OctaviaStack, facts: &Facts, services: &[Svc]) -> Result<(), TestCaseError> {
    let names: BTreeSet<&str> = stack.pools.values().map(|p| p.name.as_str()).collect();
    prop_assert_eq!(names.len(), stack.pools.len(), "a populated create tells pools apart by name");
    for (id, monitor) in &stack.health_monitors {
        prop_assert!(stack.pools.contains_key(id));
        prop_assert!(monitor.timeout <= monitor.delay && monitor.delay > 0);
    }
    for (id, listener) in &stack.listeners {
        prop_assert!(listener.name.chars().count() <= 255);
        prop_assert!(stack.pools.contains_key(id) && stack.members.contains_key(id));
        let owner = stack.told.iter().find(|m| m.listeners.contains(id));
        let owner = owner.and_then(|m| services.iter().find(|s| s.0.object == m.object));
        let Some(service) = owner.and_then(|s| s.0.service()) else {
            return Err(TestCaseError::fail(format!("nobody's listener {id}")));
        };
        let open =
            service.source_ranges.is_empty() || service.source_ranges.iter().any(|r| r.prefix_len() == 0);
        let by_group = facts.options.manage_security_groups && listener.timeout_client_data.is_none();
        prop_assert!(
            open || !listener.allowed_cidrs.is_empty() || by_group,
            "{id} is open wider than was asked for"
        );
        if let Some(Token::Ref { id, .. }) = &listener.default_tls_container_ref {
            prop_assert!(stack.secrets.contains_key(id));
        }
    }
    let addresses = |members: &BTreeMap<String, crate::stack::MemberSpec>| {
        members.values().map(|m| (m.address, m.protocol_port)).collect::<BTreeSet<_>>().len()
    };
    prop_assert!(stack.members.values().all(|m| addresses(m) == m.len()), "a member stands once");
    for part in &stack.told {
        prop_assert!(part.refused || part.listeners.iter().all(|l| stack.listeners.contains_key(l)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_written_the_stack_is_sound(facts in some_facts(), a in a_service("a", 1), b in a_service("b", 2)) {
        for services in [vec![a.clone()], vec![a, b]] {
            let (stack, problems) = desired(&facts, &services);
            check(&stack, &facts, &services)?;
            for problem in &problems {
                prop_assert!(!problem.field.is_empty() && problem.message.len() > 20, "{problem}");
            }
            prop_assert_eq!(desired(&facts, &services), (stack, problems));
        }
    }

    /// The youngest member can neither take from the older ones nor change what they have, whatever it asks for, as long as they have said what they want.
    #[test]
    fn the_youngest_changes_nothing_of_the_others(bad in a_service("bad", 9)) {
        let facts = facts();
        let said = |s: Svc| {
            let all: [(&str, &str); 7] = [
                ("subnet-id", "k8s-subnet"), ("floating-network-id", "public"), ("floating-subnet-id", "public-1"), ("flavor-id", "single"),
                ("availability-zone", "az1"), ("keep-floatingip", "false"), (service::INTERNAL.key, "false"),
            ];
            all.iter().fold(s, |s, (k, v)| s.annotation(k, v)).spec(|s| {
                s.requested_address = Some("203.0.113.40".to_owned());
                s.families = vec![Family::V4];
            })
        };
        let bad = {
            let mut bad = bad.spec(|s| {
                s.families = vec![Family::V4];
                s.ports.iter_mut().for_each(|p| p.port += 1000);
            });
            for key in [&service::LOAD_BALANCER_ID, &service::PORT, &service::NETWORK, &service::CLASS, &service::FLOATING_SUBNET, &service::FLOATING_SUBNET_TAGS] {
                bad.0.annotations.remove(key.key);
            }
            bad
        };
        let others = [said(web()), said(service("api").port(8443, 30844).created(2))];
        let (before, _) = desired(&facts, &others);
        let (after, problems) = desired(&facts, &[others[0].clone(), others[1].clone(), bad.clone()]);
        let after = parts(&after);
        for (id, part) in parts(&before) {
            if id.0 != "OS::Octavia::LoadBalancer" {
                prop_assert_eq!(after.get(&id), Some(&part), "{:?}", id);
            } else {
                prop_assert_eq!(after.get(&id).map(|p| &p["spec"]), Some(&part["spec"]));
            }
        }
        prop_assert!(problems.iter().all(|p| p.object == bad.0.object), "{:?}", problems);
    }

    #[test]
    fn the_order_of_answers_and_services_does_not_matter(a in a_service("a", 1), b in a_service("b", 2), seed in any::<u64>()) {
        let mut shuffled = inventory();
        let mut state = seed;
        let mut shuffle = |len: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap_or(0) % len.max(1)
        };
        if let Some(all) = &mut shuffled.openstack.subnets { let at = shuffle(all.subnets.len()); all.subnets.rotate_left(at); }
        if let Some(all) = &mut shuffled.openstack.networks { let at = shuffle(all.networks.len()); all.networks.rotate_left(at); }
        if let Some(all) = &mut shuffled.openstack.load_balancers { let at = shuffle(all.loadbalancers.len()); all.loadbalancers.rotate_left(at); }
        if let Some(all) = &mut shuffled.openstack.ports { all.ports.reverse(); }
        if let Some(all) = &mut shuffled.openstack.providers { all.providers.reverse(); }
        let (other, _) = make_facts(&Overrides::default(), &shuffled);
        let want = desired(&facts(), &[a.clone(), b.clone()]);
        let got = desired(&other, &[b, a]);
        prop_assert_eq!(want, got);
    }

    /// One node more or less changes members only.
    #[test]
    fn nodes_change_members_only(a in a_service("a", 1), few in 1u8..4, many in 4u8..9) {
        // Where the VIP lies is said: which subnet holds most nodes is a matter of nodes.
        let a = a.annotation("subnet-id", "k8s-subnet").annotation("member-subnet-id", "k8s-subnet");
        let a = a.spec(|s| s.families = vec![Family::V4]);
        let of = |count| desired_lb(&facts(), &of_services(std::slice::from_ref(&a), nodes(count))).0;
        let (mut less, more) = (of(few), of(many));
        prop_assert_eq!(less.applied(), more.applied());
        less.members = more.members.clone();
        prop_assert_eq!(less, more);
    }
}

#[test]
fn nodes_are_looked_at_once_for_all() {
    let cache = crate::nodes::NodesCache::default();
    let (set, facts) = (nodes(3), facts());
    let first = cache.of(&set, &facts.cloud);
    assert!(Arc::ptr_eq(&first, &cache.of(&set, &facts.cloud)));
    assert!(!Arc::ptr_eq(&first, &cache.of(&nodes(3), &facts.cloud)));
}
