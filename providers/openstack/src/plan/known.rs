//! What openstack-cloud-controller-manager and octavia-ingress-controller are known to do wrong, one test each: with the thread where users met it, or "its code" where nobody
//! has told yet. What needs a real cloud (load balancers in ERROR or deleted by hand, throttling, pages) is in `tests/openstack_scenarios` and `tests/openstack_api`.

use causeway_api::{PathMatch, TrafficPolicy};
use rstest::rstest;
use serde_json::{Value, json};

use super::fake::{Thing, World, text};
use super::simulation::{foreign, run};
use super::{Change, Op, STUCK, plan};
use crate::fixtures::{
    Ing, Svc, backend, desired, desired_lb, facts_with, ingress, inventory, nodes, of_ingresses, of_services,
    service,
};
use crate::stack::{OctaviaStack, ResourceType};

fn web() -> Svc {
    service("web").port(80, 30080)
}

fn of(services: &[Svc]) -> OctaviaStack {
    desired(&facts_with(&[]), services).0
}

fn of_ingress(one: &Ing) -> OctaviaStack {
    desired_lb(&facts_with(&[]), &of_ingresses(std::slice::from_ref(one))).0
}

fn shop(name: &str) -> Ing {
    ingress(name).route("shop.example", "/", PathMatch::Prefix, backend("web", 80, Some(30080)))
}

fn nothing(of: &OctaviaStack) -> OctaviaStack {
    OctaviaStack { mark: of.mark.clone(), cascade_delete: true, ..OctaviaStack::default() }
}

/// A world in which this is there.
fn made(want: &OctaviaStack) -> World {
    let mut world = foreign();
    run(&mut world, want, None);
    world
}

/// The things of a type that are ours.
fn ours<'w>(world: &'w World, want: &OctaviaStack, kind: ResourceType) -> Vec<(&'w String, &'w Thing)> {
    world.of(kind).filter(|(_, thing)| World::ours(&want.mark, thing)).collect()
}

fn field(world: &World, want: &OctaviaStack, kind: ResourceType, field: &str) -> Value {
    let all = ours(world, want, kind);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].1.body[field].clone()
}

/// What a next plan would do.
fn next(world: &mut World, want: &OctaviaStack) -> Vec<Change> {
    plan(want, &world.observe(&want.mark, want.attached.as_deref())).changes
}

/// cloud-provider-openstack#3102, and six before it: two clusters of one name, with a Service of one name each, have one load balancer, which both write.
#[test]
fn two_clusters_of_one_name_have_a_load_balancer_each() {
    let of_cluster = |id: &str, uid: &str| {
        let mut inventory = inventory();
        id.clone_into(&mut inventory.cluster.id);
        let (facts, _) = crate::facts::facts(&Default::default(), &inventory);
        let mut service = web();
        service.0.object.uid = uid.into();
        desired(&facts, &[service]).0
    };
    let (here, there) = (of_cluster("one", "uid-1"), of_cluster("two", "uid-2"));
    let name = |stack: &OctaviaStack| stack.load_balancer.as_ref().map(|lb| lb.name.clone());
    assert_eq!(name(&here), name(&there));
    let mut world = made(&here);
    let before = world.things.clone();
    run(&mut world, &there, None);
    assert_eq!(world.of(ResourceType::LoadBalancer).count(), 3, "a foreign one, and one each");
    run(&mut world, &nothing(&there), None);
    assert_eq!(world.things, before, "what the other cluster has was touched, or something is left");
}

/// cloud-provider-openstack#2751: the annotation load-balancer-id outlives the load balancer, after which nothing is ever made again.
#[test]
fn an_id_of_a_load_balancer_that_is_gone_keeps_nobody_from_another() {
    let mut stale = web().annotation("load-balancer-id", "gone");
    stale.0.current =
        vec![causeway_api::IngressPoint { ip: "203.0.113.9".parse().ok(), ..Default::default() }];
    let (stack, problems) = desired(&facts_with(&[]), &[stale]);
    assert!(stack.load_balancer.is_some() && stack.attached.is_none() && !stack.frozen);
    assert!(problems.iter().any(|p| p.message.contains("take the annotation away")), "{problems:?}");
}

/// cloud-provider-openstack#2036, #2037, #2341, #2541: a load balancer that goes to ERROR by an update stays so until its Service is deleted.
#[test]
fn a_load_balancer_in_error_is_made_anew_whenever_that_happens() {
    let want = of(&[web()]);
    let mut world = made(&want);
    let (id, _) = ours(&world, &want, ResourceType::LoadBalancer)[0];
    let (id, address) = (id.clone(), field(&world, &want, ResourceType::FloatingIp, "floating_network_id"));
    if let Some(thing) = world.things.get_mut(&id) {
        thing.state = crate::observe::State::Error;
    }
    run(&mut world, &of(&[web().annotation("connection-limit", "7")]), None);
    assert!(!world.things.contains_key(&id), "the broken one is left");
    assert_eq!(ours(&world, &want, ResourceType::LoadBalancer).len(), 1);
    assert_eq!(field(&world, &want, ResourceType::FloatingIp, "floating_network_id"), address);
}

/// cloud-provider-openstack#1052, #1751, #2165: a load balancer that is PENDING for ever, of which nobody is told what to do.
#[test]
fn a_load_balancer_that_is_pending_for_ever_is_said_with_whom_to_ask() {
    let want = of(&[web()]);
    let mut world = World::default();
    world.apply(&want.mark, &plan(&want, &Default::default()).changes[0]);
    let mut have = world.observe(&want.mark, None);
    assert_eq!(plan(&want, &have).problems, []);
    have.stuck = true;
    let found = plan(&want, &have);
    assert!(matches!(found.changes[..], [Change { op: Op::Await, .. }]));
    let told = &found.problems[0];
    assert_eq!(
        (told.object.name.as_str(), told.field.as_str(), told.reason.as_str()),
        ("web", "spec", STUCK)
    );
    assert!(told.message.contains("ask the cloud's operator"), "{}", told.message);
}

/// Its code: a load balancer that takes longer than 271 s is noticed up to 300 s after it is there.
#[test]
fn however_long_one_takes_it_is_looked_for_every_second() {
    let want = of(&[web()]);
    let mut world = World::default();
    world.apply(&want.mark, &plan(&want, &Default::default()).changes[0]);
    let lb = ours(&world, &want, ResourceType::LoadBalancer)[0].0.clone();
    if let Some(thing) = world.things.get_mut(&lb) {
        thing.pending = 3_000;
    }
    for second in 1..3_000 {
        let changes = next(&mut world, &want);
        assert!(matches!(changes[..], [Change { op: Op::Await, .. }]), "second {second}: {changes:?}");
    }
    let changes = next(&mut world, &want);
    assert!(changes.iter().any(|c| c.kind == ResourceType::FloatingIp), "{changes:?}");
}

/// Its code, and seen: floating IP and security group are left when somebody deletes the load balancer by hand before its Service goes.
#[test]
fn nothing_is_left_of_a_service_whose_load_balancer_somebody_deleted() {
    let facts = facts_with(&[("manage-security-groups", "true")]);
    let want = desired_lb(&facts, &of_services(&[web()], nodes(2))).0;
    let mut world = made(&want);
    let before = foreign().things;
    let lb = ours(&world, &want, ResourceType::LoadBalancer)[0].0.clone();
    world.delete(&lb);
    assert_eq!(ours(&world, &want, ResourceType::FloatingIp).len(), 1, "it survives");
    run(&mut world, &nothing(&want), None);
    assert_eq!(world.things, before);
    assert!(world.group_ports.is_empty());
}

/// Its code: a floating IP is taken for its own by a part of its description, and deleted with the load balancer that it leads to. For the Ingress controller any floating IP will do.
#[rstest]
#[case::of_a_service(of(&[web()]))]
#[case::of_an_ingress(of_ingress(&shop("shop")))]
fn a_floating_ip_that_a_user_led_here_is_the_users(#[case] want: OctaviaStack) {
    let mut want = want;
    want.floating_ip = None;
    let mut world = made(&want);
    let lb = ours(&world, &want, ResourceType::LoadBalancer)[0].0.clone();
    let theirs = json!({"port_id": format!("vip-{lb}"), "description": "Floating IP for Kubernetes external service shop/web from cluster kubernetes"});
    let theirs = world.add(ResourceType::FloatingIp, theirs);
    run(&mut world, &want, None);
    assert_eq!(world.things[&theirs].body["port_id"], json!(format!("vip-{lb}")), "it was taken off");
    run(&mut world, &nothing(&want), None);
    assert!(world.things.contains_key(&theirs), "it was deleted");
}

/// cloud-provider-openstack#2443: another spec.loadBalancerIP changes nothing.
#[test]
fn another_address_that_is_asked_for_is_given() {
    let at = |address: &str| of(&[web().spec(|s| s.requested_address = Some(address.to_owned()))]);
    let (before, after) = (at("203.0.113.77"), at("203.0.113.78"));
    let mut world = made(&before);
    run(&mut world, &after, None);
    let address = field(&world, &after, ResourceType::FloatingIp, "floating_ip_address");
    assert_eq!(address, "203.0.113.78");
    assert_eq!(ours(&world, &after, ResourceType::LoadBalancer).len(), 1);
}

/// Its code: another sessionAffinity changes nothing.
#[test]
fn another_affinity_reaches_the_pool() {
    let sticky = of(&[web().spec(|s| s.affinity_seconds = Some(10_800))]);
    let mut world = made(&of(&[web()]));
    run(&mut world, &sticky, None);
    let persistence = field(&world, &sticky, ResourceType::Pool, "session_persistence");
    assert_eq!(persistence["type"], "SOURCE_IP", "{persistence}");
    run(&mut world, &of(&[web()]), None);
    assert_eq!(field(&world, &sticky, ResourceType::Pool, "session_persistence"), Value::Null);
}

/// Its code: what others have written among the tags of a listener is lost when it is taken over, or changed.
#[test]
fn tags_of_others_on_a_listener_stay() {
    let want = of(&[web()]);
    let mut world = made(&want);
    let id = ours(&world, &want, ResourceType::Listener)[0].0.clone();
    world.things.get_mut(&id).expect("it").tags.push("billing=42".to_owned());
    let after = of(&[web().annotation("timeout-client-data", "1")]);
    run(&mut world, &after, None);
    let listener = &world.things[&id];
    assert_eq!(listener.body["timeout_client_data"], 1);
    assert!(listener.tags.contains(&"billing=42".to_owned()), "{:?}", listener.tags);
}

/// Its code: on a load balancer that is shared, a port that a listener of another protocol has is not seen to be taken.
#[rstest]
#[case("HTTP")]
#[case("TERMINATED_HTTPS")]
#[case("PROMETHEUS")]
fn a_port_is_taken_whatever_protocol_of_tcp_it_has(#[case] protocol: &str) {
    let want = of(&[web().port(81, 30081).annotation("load-balancer-id", "lb-shared")]);
    let mut world = World::default();
    let shared = Thing {
        kind: ResourceType::LoadBalancer,
        body: json!({}),
        tags: Vec::new(),
        state: crate::observe::State::Active,
        pending: 0,
    };
    world.things.insert("lb-shared".to_owned(), shared);
    let body = json!({"loadbalancer_id": "lb-shared", "protocol": protocol, "protocol_port": 80});
    world.add(ResourceType::Listener, body);
    let found = plan(&want, &world.observe(&want.mark, Some("lb-shared")));
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(found.problems[0].message.contains("take another port"), "{:?}", found.problems);
    let listeners: Vec<&str> =
        found.changes.iter().filter(|c| c.kind == ResourceType::Listener).map(|c| c.id.as_str()).collect();
    assert_eq!(listeners, ["TCP-81"], "the other port is served");
}

/// Its code: one listener that is missing is an error of every update, and the members of all ports stay what they were.
#[test]
fn a_listener_that_is_missing_holds_up_no_members() {
    let two = || service("web").port(80, 30080).port(443, 30443);
    let with = |count| desired_lb(&facts_with(&[]), &of_services(&[two()], nodes(count))).0;
    let mut world = made(&with(1));
    let listener = ours(&world, &with(1), ResourceType::Listener)[0].0.clone();
    world.delete(&listener);
    let want = with(2);
    run(&mut world, &want, None);
    assert_eq!(ours(&world, &want, ResourceType::Listener).len(), 2);
    assert!(world.members.values().all(|members| members.len() == 2), "{:?}", world.members);
}

/// cloud-provider-openstack#2879: with another name of the cluster it tries renames that are forbidden.
#[test]
fn another_name_of_the_cluster_replaces_nothing() {
    let named = |name: &str| {
        let mut inventory = inventory();
        name.clone_into(&mut inventory.cluster.name);
        let (facts, _) = crate::facts::facts(&Default::default(), &inventory);
        desired(&facts, &[web()]).0
    };
    let (before, after) = (named("one"), named("two"));
    let mut world = made(&before);
    let ids = |world: &World| {
        let kinds = [
            ResourceType::LoadBalancer,
            ResourceType::Listener,
            ResourceType::Pool,
            ResourceType::FloatingIp,
        ];
        kinds.map(|kind| ours(world, &after, kind).into_iter().map(|(id, _)| id.clone()).collect::<Vec<_>>())
    };
    let former = ids(&world);
    run(&mut world, &after, None);
    assert_eq!(ids(&world), former);
}

/// cloud-provider-openstack#2866: with externalTrafficPolicy Local nodes without pods get traffic, unless somebody switches monitors on.
#[test]
fn with_policy_local_nodes_are_asked_for_their_pods() {
    let local = web().spec(|s| {
        s.traffic_policy = TrafficPolicy::Local;
        s.health.port = Some(32000);
    });
    let want = of(&[local]);
    let world = made(&want);
    let monitors = ours(&world, &want, ResourceType::HealthMonitor);
    assert_eq!(
        (monitors.len(), text(&monitors[0].1.body, "type"), text(&monitors[0].1.body, "url_path")),
        (1, "HTTP", "/healthz")
    );
    let ports: Vec<_> = world.members.values().flatten().map(|m| m.monitor_port).collect();
    assert_eq!(ports, [Some(32000), Some(32000)]);
}

/// cloud-provider-openstack#2891: who shares an internal load balancer is refused, as there is no floating IP to attach.
#[test]
fn who_shares_an_internal_load_balancer_needs_no_floating_ip() {
    let internal = (crate::annotations::service::INTERNAL.key, "true");
    let named = web().annotation("load-balancer-id", "lb-shared").annotation(internal.0, internal.1);
    let (stack, problems) = desired(&facts_with(&[]), &[named]);
    assert!(stack.floating_ip.is_none() && !stack.frozen && stack.listeners.len() == 1, "{problems:?}");
    let group = |name: &str, port| {
        service(name)
            .port(port, 30000 + port)
            .annotation("causeway.io/load-balancer-group", "edge")
            .annotation(internal.0, internal.1)
    };
    let (shared, problems) = desired(&facts_with(&[]), &[group("a", 80), group("b", 81)]);
    assert!(shared.floating_ip.is_none() && shared.listeners.len() == 2, "{problems:?}");
}

/// Its code: deleting the Ingress `web` takes the secrets of `web2` with it, as its name is a part of theirs.
#[test]
fn an_ingress_that_goes_takes_only_its_own_secrets() {
    let secured = |name: &str| of_ingress(&shop(name).tls("shop.example", "tls"));
    let (web, web2) = (secured("web"), secured("web2"));
    let mut world = made(&web);
    run(&mut world, &web2, None);
    assert_eq!(ours(&world, &web, ResourceType::Secret).len(), 1);
    run(&mut world, &nothing(&web), None);
    assert_eq!(ours(&world, &web, ResourceType::Secret).len(), 0);
    assert_eq!(ours(&world, &web2, ResourceType::Secret).len(), 1);
    assert_eq!(next(&mut world, &web2), []);
}

/// Its code: a change of an Ingress is passed over where the digits of its version happen to be in the description of the load balancer.
#[test]
fn a_change_is_known_by_what_it_is() {
    let (before, after) = (
        of_ingress(&shop("web")),
        of_ingress(&shop("web").route("b.example", "/", PathMatch::Prefix, backend("web", 80, Some(30080)))),
    );
    let mut world = made(&before);
    let lb = ours(&world, &before, ResourceType::LoadBalancer)[0].0.clone();
    let described = format!("{} 0123456789", text(&world.things[&lb].body, "description"));
    world.things.get_mut(&lb).expect("it").body["description"] = json!(described);
    run(&mut world, &after, None);
    let policies = |stack: &OctaviaStack| stack.l7_policies.len();
    assert_eq!(ours(&world, &after, ResourceType::L7Policy).len(), policies(&after));
    assert_ne!(policies(&before), policies(&after));
}

/// Its code: a pool without members is its end.
#[test]
fn an_ingress_without_nodes_is_made_and_gets_its_members_later() {
    let mut lb = of_ingresses(&[shop("web")]);
    lb.nodes = nodes(0);
    let facts = facts_with(&[("subnet-id", "k8s-subnet")]);
    let empty = desired_lb(&facts, &lb).0;
    let mut world = made(&empty);
    assert!(world.members.values().all(Vec::is_empty));
    lb.nodes = nodes(2);
    run(&mut world, &desired_lb(&facts, &lb).0, None);
    assert!(world.members.values().all(|members| members.len() == 2));
}
