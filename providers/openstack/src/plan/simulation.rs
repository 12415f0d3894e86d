//! A controller that is killed at every call: whatever is cut off, the next plan takes it up, leaks nothing and touches nothing of others.

use std::collections::BTreeMap;

use causeway_api::{Family, PathMatch, PlannedChange as _, TrafficPolicy};
use serde_json::json;

use super::fake::{Thing, World, text};
use super::{Change, Op, plan};
use crate::fixtures::{
    Ing, Svc, backend, desired, desired_lb, facts_with, ingress, nodes, of_ingresses, of_services, service,
};
use crate::observe::{Observed, State};
use crate::ownership::Mark;
use crate::stack::{LOAD_BALANCER, OctaviaStack, ResourceType};

/// What happens at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The controller dies before it.
    Before,
    /// It dies after it, and never hears the answer.
    After,
    /// The load balancer goes to ERROR with it.
    Error,
}

/// Works until nothing is left to do; the calls that it took, or why it did not end.
pub(super) fn run(world: &mut World, want: &OctaviaStack, fault: Option<(u32, Fault)>) -> u32 {
    let begun = world.calls;
    let mut struck = fault.is_none();
    for _ in 0..400 {
        let have = world.observe(&want.mark, want.attached.as_deref());
        let found = plan(want, &have);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        if found.changes.is_empty() {
            return world.calls - begun;
        }
        for change in &found.changes {
            let _ = change.info();
            let now = !struck
                && fault.is_some_and(|(at, _)| world.calls - begun + 1 == at)
                && change.op != Op::Await;
            if now && fault.is_some_and(|(_, f)| f == Fault::Before) {
                struck = true;
                break;
            }
            world.apply(&want.mark, change);
            rules_are_whole(world);
            if now {
                struck = true;
                if fault.is_some_and(|(_, f)| f == Fault::Error) {
                    let mark = &want.mark;
                    for thing in world
                        .things
                        .values_mut()
                        .filter(|t| t.kind == ResourceType::LoadBalancer && World::ours(mark, t))
                    {
                        thing.state = State::Error;
                    }
                }
                break;
            }
            if change.locks() && !matches!(change.op, Op::MarkDirty { already: true, .. }) {
                break;
            }
        }
    }
    panic!("it does not end");
}

/// A policy that is in use has rules of host or path: never fewer than it was made for.
fn rules_are_whole(world: &World) {
    for (id, policy) in world.of(ResourceType::L7Policy) {
        if policy.body.get("admin_state_up") == Some(&json!(false)) {
            continue;
        }
        let own: Vec<&str> = world
            .of(ResourceType::L7Rule)
            .filter(|(_, r)| text(&r.body, "l7policy_id") == id)
            .map(|(_, r)| text(&r.body, "type"))
            .collect();
        let has_path = own.contains(&"PATH");
        // A path in the name other than / needs a rule of its own.
        let name = text(&policy.body, "name");
        let needs = name.contains("/cart") || name.contains("/open");
        assert!(!own.is_empty() && (has_path || !needs), "policy {name} takes the requests of others");
    }
}

/// Everything wanted is there once, and nothing else of ours.
fn check(world: &mut World, want: &OctaviaStack, foreign: &BTreeMap<String, Thing>) {
    let mut count: BTreeMap<ResourceType, usize> = BTreeMap::new();
    for (kind, _, _) in want.posted() {
        *count.entry(kind).or_default() += 1;
    }
    let mut ours: BTreeMap<ResourceType, usize> = BTreeMap::new();
    for thing in world.things.values().filter(|t| World::ours(&want.mark, t)) {
        *ours.entry(thing.kind).or_default() += 1;
    }
    assert_eq!(ours, count);
    assert!(want.is_empty() || world.group_ports == want.node_ports);
    for (id, thing) in foreign {
        assert_eq!(world.things.get(id), Some(thing), "something of others was touched");
    }
    let have = world.observe(&want.mark, want.attached.as_deref());
    assert_eq!(plan(want, &have).changes, []);
}

/// Things of others that look like ours.
pub(super) fn foreign() -> World {
    let mut world = World::default();
    let other = Mark { cluster: "another".to_owned(), owner: "service/another".to_owned() };
    let tags = json!(other.octavia_tags(ResourceType::LoadBalancer, LOAD_BALANCER));
    let lb = world.add(ResourceType::LoadBalancer, json!({"name": "kube_service_kubernetes_shop_web", "description": other.description("x"), "tags": tags}));
    world.add(ResourceType::Listener, json!({"loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80}));
    world.add(ResourceType::FloatingIp, json!({"floating_network_id": "public", "port_id": format!("vip-{lb}"), "description": other.description("x")}));
    world.add(ResourceType::SecurityGroup, json!({"name": "lb-sg", "description": other.description("x")}));
    world.add(
        ResourceType::Secret,
        json!({"name": crate::naming::secret(&other, "shop/tls", "0123456789abcdef")}),
    );
    world
}

fn web() -> Svc {
    service("web").port(80, 30080)
}

fn tls(version: &str) -> Svc {
    let mut service = web()
        .port(443, 30443)
        .annotation("causeway.io/tls-secret", "tls")
        .annotation("causeway.io/tls-ports", "443");
    service.0.secrets.insert("tls".to_owned(), Some(version.to_owned()));
    service
}

fn of(services: &[Svc]) -> OctaviaStack {
    let (stack, problems) = desired(&facts_with(&[]), services);
    assert_eq!(problems, []);
    stack
}

fn secured(services: &[Svc], count: u8) -> OctaviaStack {
    let facts = facts_with(&[("manage-security-groups", "true")]);
    desired_lb(&facts, &of_services(services, nodes(count))).0
}

fn of_ingress(ingresses: &[Ing]) -> OctaviaStack {
    let (stack, problems) = desired_lb(&facts_with(&[]), &of_ingresses(ingresses));
    assert_eq!(problems, []);
    stack
}

fn shop() -> Ing {
    let api = || backend("api", 80, Some(30081));
    ingress("shop")
        .route("shop.example", "/cart", PathMatch::Exact, api())
        .route("shop.example", "/open", PathMatch::Prefix, api())
        .route("shop.example", "/", PathMatch::Prefix, backend("web", 80, Some(30080)))
}

/// Pairs of stacks of one owner, each a change that users make.
fn scenarios() -> Vec<(&'static str, OctaviaStack, OctaviaStack)> {
    let front = shop().annotation("internal", "false");
    let reordered = ingress("shop")
        .route("a.example", "/open", PathMatch::Prefix, backend("web", 80, Some(30080)))
        .route("shop.example", "/open", PathMatch::Prefix, backend("api", 80, Some(30081)))
        .route("shop.example", "/cart", PathMatch::Prefix, backend("new", 80, Some(30082)));
    vec![
        ("one port more", of(&[web()]), of(&[web().port(81, 30081)])),
        ("one port less", of(&[web().port(81, 30081).port(82, 30082)]), of(&[web().port(82, 30082)])),
        (
            "settings",
            of(&[web()]),
            of(&[web()
                .annotation("timeout-client-data", "1")
                .annotation("lb-method", "SOURCE_IP")
                .annotation("health-monitor-delay", "60")]),
        ),
        ("headers", of(&[web()]), of(&[web().annotation("x-forwarded-for", "true")])),
        ("proxy protocol", of(&[web()]), of(&[web().annotation("proxy-protocol", "v2")])),
        (
            "policy Local",
            of(&[web()]),
            of(&[web().spec(|s| {
                s.traffic_policy = TrafficPolicy::Local;
                s.health.port = Some(32000);
            })]),
        ),
        ("no monitor", of(&[web()]), of(&[web().annotation("enable-health-monitor", "false")])),
        (
            "internal",
            of(&[web()]),
            of(&[web().annotation(crate::annotations::service::INTERNAL.key, "true")]),
        ),
        ("another floating network", of(&[web()]), of(&[web().annotation("floating-network-id", "dmz")])),
        ("certificate renewed", of(&[tls("1")]), of(&[tls("2")])),
        ("certificate gone", of(&[tls("1")]), of(&[web().port(443, 30443)])),
        ("security group", of(&[web()]), secured(&[web()], 2)),
        ("security group gone", secured(&[web()], 2), of(&[web()])),
        ("nodes", secured(&[web()], 1), secured(&[web()], 2)),
        ("node ports", of(&[web()]), of(&[service("web").port(80, 31111)])),
        (
            "source ranges gone",
            of(&[web().spec(|s| s.source_ranges = vec!["10.0.0.0/8".parse().expect("a network")])]),
            of(&[web()]),
        ),
        ("routes", of_ingress(&[shop()]), of_ingress(&[reordered])),
        ("external", of_ingress(&[shop()]), of_ingress(&[front])),
        ("tls", of_ingress(&[shop()]), of_ingress(&[shop().tls("shop.example", "tls")])),
        ("no tls", of_ingress(&[shop().tls("shop.example", "tls")]), of_ingress(&[shop()])),
    ]
}

#[test]
fn a_controller_that_dies_at_any_call_leaks_nothing() {
    for (number, (name, before, after)) in scenarios().into_iter().enumerate() {
        let cascade_delete = number % 2 == 0;
        let nothing = OctaviaStack { mark: before.mark.clone(), cascade_delete, ..OctaviaStack::default() };
        let mut start = foreign();
        let others = start.things.clone();
        let made = run(&mut start, &before, None);
        check(&mut start, &before, &others);
        let steps = [(foreign(), &before, made), (start.clone(), &after, 0), (start.clone(), &nothing, 0)];
        for (world, want, known) in steps {
            let calls = if known > 0 { known } else { run(&mut world.clone(), want, None) };
            for at in 1..=calls {
                for fault in [Fault::Before, Fault::After, Fault::Error] {
                    let mut world = world.clone();
                    println!("{name}: {at} of {calls}, {fault:?}");
                    run(&mut world, want, Some((at, fault)));
                    check(&mut world, want, &others);
                }
            }
        }
    }
}

#[test]
fn what_is_there_is_not_touched_again() {
    for (name, before, after) in scenarios() {
        let mut world = foreign();
        for want in [&before, &after] {
            run(&mut world, want, None);
            assert_eq!(run(&mut world, want, None), 0, "{name}");
        }
    }
}

#[test]
fn making_a_load_balancer_is_one_call_and_changes_cost_what_changes() {
    let cost = |before: &OctaviaStack, after: &OctaviaStack| {
        let mut world = World::default();
        let made = run(&mut world, before, None);
        (made, run(&mut world, after, None))
    };
    // POST, floating IP, hash.
    assert_eq!(cost(&of(&[web()]), &of(&[web()])), (3, 0));
    // Mark, one PUT, hash.
    assert_eq!(cost(&of(&[web()]), &of(&[web().annotation("timeout-client-data", "1")])).1, 3);
    // POST with the hash, ten paths or not.
    assert_eq!(cost(&of_ingress(&[shop()]), &of_ingress(&[shop()])), (1, 0));
    // Nodes: one PUT of each pool, no mark.
    let two = service("web").port(80, 30080).port(443, 30443);
    let with = |count| desired_lb(&facts_with(&[]), &of_services(std::slice::from_ref(&two), nodes(count))).0;
    assert_eq!(cost(&with(1), &with(2)).1, 2);
}

#[test]
fn a_load_balancer_in_error_is_made_anew_with_the_same_floating_ip() {
    let want = of(&[web()]);
    let mut world = foreign();
    run(&mut world, &want, None);
    let ip = |world: &World| {
        world.of(ResourceType::FloatingIp).find(|(_, t)| World::ours(&want.mark, t)).map(|(id, _)| id.clone())
    };
    let first = ip(&world);
    for thing in world.things.values_mut().filter(|t| World::ours(&want.mark, t)) {
        thing.state = if thing.kind == ResourceType::LoadBalancer { State::Error } else { thing.state };
    }
    run(&mut world, &want, None);
    assert_eq!((ip(&world), first.is_some()), (first.clone(), true));
}

#[test]
fn a_load_balancer_of_the_users_gets_listeners_and_is_never_deleted() {
    let want = desired(&facts_with(&[]), &[web().annotation("load-balancer-id", "lb-shared")]).0;
    let mut world = foreign();
    let shared = Thing {
        kind: ResourceType::LoadBalancer,
        body: json!({"name": "shared"}),
        tags: Vec::new(),
        state: State::Active,
        pending: 0,
    };
    world.things.insert("lb-shared".to_owned(), shared);
    let listener = json!({"loadbalancer_id": "lb-shared", "protocol": "TCP", "protocol_port": 443});
    let theirs = world.add(ResourceType::Listener, listener);
    for at in 1..=4 {
        let mut world = world.clone();
        run(&mut world, &want, Some((at, Fault::After)));
        let ours = world.things.values().filter(|t| World::ours(&want.mark, t)).count();
        assert_eq!(ours, 3, "listener, pool, monitor");
        // Nobody wants it any more, and nobody says any more whose load balancer it was.
        let nothing = OctaviaStack { mark: want.mark.clone(), ..OctaviaStack::default() };
        run(&mut world, &nothing, Some((at, Fault::After)));
        assert_eq!(world.things.values().filter(|t| World::ours(&want.mark, t)).count(), 0);
        assert!(world.things.contains_key("lb-shared") && world.things.contains_key(&theirs));
    }
}

#[test]
fn a_port_that_another_has_on_the_users_load_balancer_is_said() {
    let want = desired(&facts_with(&[]), &[web().annotation("load-balancer-id", "lb-shared")]).0;
    let mut world = World::default();
    let shared = Thing {
        kind: ResourceType::LoadBalancer,
        body: json!({}),
        tags: Vec::new(),
        state: State::Active,
        pending: 0,
    };
    world.things.insert("lb-shared".to_owned(), shared);
    world.add(
        ResourceType::Listener,
        json!({"loadbalancer_id": "lb-shared", "protocol": "HTTP", "protocol_port": 80}),
    );
    let found = plan(&want, &world.observe(&want.mark, Some("lb-shared")));
    assert_eq!(found.problems.len(), 1);
    assert!(!found.changes.iter().any(|c| c.kind == ResourceType::Listener), "{:?}", found.changes);
}

#[test]
fn what_octavia_cannot_change_is_said_and_the_rest_is_done() {
    let mut world = World::default();
    run(&mut world, &of(&[web()]), None);
    let want = of(&[web().annotation("flavor-id", "single").annotation("timeout-client-data", "1")]);
    let found = plan(&want, &world.observe(&want.mark, None));
    assert_eq!(found.problems.len(), 1);
    assert!(found.problems[0].message.contains("flavor_id"));
    assert!(found.changes.iter().any(|c| c.kind == ResourceType::Listener));
}

#[test]
fn a_lost_answer_leaves_no_second_load_balancer() {
    let want = of(&[web()]);
    let mut world = World::default();
    run(&mut world, &want, None);
    let twin = world.of(ResourceType::LoadBalancer).next().map(|(_, t)| t.clone()).expect("one");
    world.things.insert("LoadBalancer-9999".to_owned(), twin);
    run(&mut world, &want, None);
    assert_eq!(world.of(ResourceType::LoadBalancer).count(), 1);
    assert!(!world.things.contains_key("LoadBalancer-9999"), "the older stays");
}

#[test]
fn a_floating_ip_that_is_to_be_kept_is_left() {
    let want = of(&[web()]);
    let mut world = World::default();
    run(&mut world, &want, None);
    let nothing = OctaviaStack { mark: want.mark.clone(), ..OctaviaStack::default() };
    let mut have = world.observe(&want.mark, None);
    have.kept_floating_ips = have.of(ResourceType::FloatingIp).map(|p| p.id.clone()).collect();
    let found = plan(&nothing, &have);
    let of_ip: Vec<&Op> =
        found.changes.iter().filter(|c| c.kind == ResourceType::FloatingIp).map(|c| &c.op).collect();
    assert!(matches!(of_ip[..], [Op::Release { .. }]), "{of_ip:?}");
}

#[test]
fn nothing_is_done_while_something_is_wrong_or_under_way() {
    let want = of(&[web()]);
    let mut world = World::default();
    world.apply(&want.mark, &plan(&want, &Observed::default()).changes[0]);
    let pending = plan(&want, &world.observe(&want.mark, None));
    assert!(matches!(pending.changes[..], [Change { op: Op::Await, .. }]));
    let frozen = OctaviaStack { frozen: true, ..want };
    world.observe(&frozen.mark, None);
    assert!(plan(&frozen, &world.observe(&frozen.mark, None)).changes.is_empty());
    let families = desired(&facts_with(&[]), &[web().spec(|s| s.families = vec![Family::V6])]).0;
    assert!(families.floating_ip.is_none());
}
