//! What openstack-cloud-controller-manager and octavia-ingress-controller made becomes ours, and stays what it was.

use std::collections::BTreeMap;

use causeway_api::{
    CloudProvider as _, IngressPoint, LoadBalancer, PathMatch, PlannedChange as _, TrafficPolicy, Verb,
};
use serde_json::{Value, json};

use super::fake::{Thing, World, text};
use super::{Change, Op, plan};
use crate::adopt::{self, OCCM, OIC};
use crate::facts::{Facts, Overrides, facts};
use crate::fixtures::{Ing, Svc, backend, ingress, inventory, nodes, of_ingresses, of_services, service};
use crate::inventory::{ExistingFloatingIp, ExistingLoadBalancer, Inventory};
use crate::observe::{Observed, PeerLoadBalancer};
use crate::options::{Options, Section};
use crate::provider::OpenStack;
use crate::stack::{OctaviaStack, ResourceType};

const NAME: &str = "kube_service_kubernetes_shop_app";
const FLOATING: &str = "203.0.113.77";

/// What a peer left, and what it is for.
struct Left {
    world: World,
    lb: LoadBalancer,
    options: Vec<(&'static str, &'static str)>,
}

fn member(world: &mut World, pool: &str, node: u8, port: u16, monitor: Option<u16>) {
    world.members.entry(pool.to_owned()).or_default().push(crate::stack::MemberSpec {
        name: format!("n{node}"),
        address: format!("10.6.1.{}", 10 + node).parse().expect("an address"),
        protocol_port: port,
        subnet_id: Some("k8s-subnet".to_owned()),
        monitor_port: monitor,
    });
}

fn lb(world: &mut World, name: &str, description: &str, tags: Value) -> String {
    world.add(
        ResourceType::LoadBalancer,
        json!({"name": name, "description": description, "provider": "amphora", "vip_subnet_id": "k8s-subnet", "tags": tags}),
    )
}

fn floating_ip(world: &mut World, lb: &str, description: &str) {
    let body = json!({"floating_network_id": "another", "floating_ip_address": FLOATING, "port_id": format!("vip-{lb}"), "description": description});
    let id = world.add(ResourceType::FloatingIp, body);
    world.theirs.insert(id);
}

/// A port as openstack-cloud-controller-manager makes it.
fn port(world: &mut World, lb: &str, index: usize, port: u16, node_port: u16, monitored: bool) {
    let pool = world.add(
        ResourceType::Pool,
        json!({"loadbalancer_id": lb, "name": format!("pool_{index}_{NAME}"), "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN"}),
    );
    (0..2).for_each(|node| member(world, &pool, node, node_port, monitored.then_some(32000)));
    let listener = world.add(
        ResourceType::Listener,
        json!({"loadbalancer_id": lb, "name": format!("listener_{index}_{NAME}"), "protocol": "TCP", "protocol_port": port, "default_pool_id": pool,
            "connection_limit": -1, "allowed_cidrs": ["0.0.0.0/0"], "timeout_client_data": 50_000, "timeout_member_connect": 5_000,
            "timeout_member_data": 50_000, "timeout_tcp_inspect": 0, "tags": [NAME]}),
    );
    world.theirs.extend([pool.clone(), listener]);
    if monitored {
        let monitor = world.add(
            ResourceType::HealthMonitor,
            json!({"pool_id": pool, "name": format!("monitor_{index}_{NAME}"), "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 1, "max_retries_down": 3,
                "http_method": "GET", "url_path": "/healthz", "expected_codes": "200"}),
        );
        world.theirs.insert(monitor);
    }
}

fn app() -> Svc {
    let mut app = service("app").port(80, 30080).port(81, 30081);
    app.0.current = vec![IngressPoint { ip: FLOATING.parse().ok(), ..IngressPoint::default() }];
    app
}

/// One Service with two ports, as openstack-cloud-controller-manager serves it.
fn of_occm(app: Svc, monitored: bool) -> Left {
    let mut world = World::default();
    let described = "Kubernetes external service shop/app from cluster kubernetes";
    let id = lb(&mut world, NAME, described, json!([NAME]));
    port(&mut world, &id, 0, 80, 30080, monitored);
    port(&mut world, &id, 1, 81, 30081, monitored);
    floating_ip(&mut world, &id, &format!("Floating IP for {described}"));
    let options = if monitored { vec![("create-monitor", "true")] } else { Vec::new() };
    Left { world, lb: of_services(&[app], nodes(2)), options }
}

fn shop() -> Ing {
    let mut shop = ingress("shop")
        .route("shop.example", "/cart", PathMatch::Prefix, backend("cart", 80, Some(30082)))
        .route("", "/", PathMatch::Prefix, backend("front", 80, Some(30083)))
        .annotation("internal", "false");
    shop.member.current = vec![IngressPoint { ip: FLOATING.parse().ok(), ..IngressPoint::default() }];
    shop
}

/// One Ingress, as octavia-ingress-controller serves it.
fn of_oic() -> Left {
    let mut world = World::default();
    let name = "kube_ingress_kubernetes_shop_shop";
    let described = "Kubernetes Ingress shop in namespace shop from cluster kubernetes, version: 123";
    let id = lb(&mut world, name, described, json!([]));
    let listener = world.add(
        ResourceType::Listener,
        json!({"loadbalancer_id": id, "name": name, "protocol": "HTTP", "protocol_port": 80, "connection_limit": -1, "allowed_cidrs": ["0.0.0.0/0"], "timeout_client_data": 40_000}),
    );
    world.theirs.insert(listener.clone());
    for (place, (host, path, node_port)) in
        [("^shop\\.example(:80)?$", "/cart", 30082), ("", "/", 30083)].into_iter().enumerate()
    {
        let pool = world.add(
            ResourceType::Pool,
            json!({"loadbalancer_id": id, "name": format!("{node_port:064x}"), "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}),
        );
        (0..2).for_each(|node| member(&mut world, &pool, node, node_port, None));
        let policy = world.add(
            ResourceType::L7Policy,
            json!({"listener_id": listener, "action": "REDIRECT_TO_POOL", "redirect_pool_id": pool, "position": place + 1}),
        );
        let mut rules = vec![
            json!({"l7policy_id": policy, "type": "PATH", "compare_type": "STARTS_WITH", "value": path}),
        ];
        if !host.is_empty() {
            rules.push(
                json!({"l7policy_id": policy, "type": "HOST_NAME", "compare_type": "REGEX", "value": host}),
            );
        }
        for rule in rules {
            let id = world.add(ResourceType::L7Rule, rule);
            world.theirs.insert(id);
        }
        world.theirs.extend([pool, policy]);
    }
    floating_ip(
        &mut world,
        &id,
        "Floating IP for Kubernetes ingress shop in namespace shop from cluster kubernetes",
    );
    Left { world, lb: of_ingresses(&[shop()]), options: Vec::new() }
}

impl Left {
    /// Facts of what there is now.
    fn facts(&self, adopt: bool) -> Facts {
        let section: Section =
            self.options.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
        let (options, complaints) = Options::read(&[("LoadBalancer".to_owned(), section)].into());
        assert_eq!(complaints, []);
        let mut inventory = Inventory { options, ..inventory() };
        let load_balancers = &mut inventory.openstack.load_balancers.as_mut().expect("some").loadbalancers;
        for (id, thing) in self.world.of(ResourceType::LoadBalancer) {
            load_balancers.push(ExistingLoadBalancer {
                id: id.clone(),
                name: text(&thing.body, "name").to_owned(),
                provider: "amphora".to_owned(),
                vip_address: "10.6.0.9".to_owned(),
                vip_subnet_id: "k8s-subnet".to_owned(),
                vip_port_id: format!("vip-{id}"),
                tags: thing.tags.clone(),
                ..ExistingLoadBalancer::default()
            });
        }
        let addresses = &mut inventory.openstack.floating_ips.as_mut().expect("some").floatingips;
        for (id, thing) in self.world.of(ResourceType::FloatingIp) {
            let field = |name| text(&thing.body, name).to_owned();
            addresses.push(ExistingFloatingIp {
                id: id.clone(),
                floating_ip_address: field("floating_ip_address"),
                floating_network_id: field("floating_network_id"),
                port_id: field("port_id"),
                description: field("description"),
            });
        }
        let adopt = if adopt { vec![&OCCM, &OIC] } else { Vec::new() };
        let (facts, problems) = facts(&Overrides { adopt, ..Overrides::default() }, &inventory);
        assert_eq!(problems, []);
        facts
    }

    fn want(&self, adopt: bool) -> (OctaviaStack, Vec<String>) {
        let provider = OpenStack::offline(Overrides::default());
        let (stack, problems) = provider.desired(&self.lb, &self.facts(adopt));
        (stack, problems.into_iter().map(|p| p.reason).collect())
    }

    fn look(&mut self, want: &OctaviaStack) -> Observed {
        let mut have = self.world.observe(&want.mark, None);
        if let (Some(adopt), None) = (&want.adopt, &have.load_balancer) {
            let mut then = self.world.clone();
            let thing = then.things.get_mut(&adopt.id).expect("a load balancer");
            thing
                .tags
                .extend(want.mark.octavia_tags(ResourceType::LoadBalancer, crate::stack::LOAD_BALANCER));
            thing.tags.push(adopt::mark(adopt.peer));
            let then = then.observe(&want.mark, None);
            let state = then.load_balancer.as_ref().expect("it").state;
            have.peer = Some(Box::new(PeerLoadBalancer { name: adopt.name.clone(), state, then }));
        }
        have
    }

    /// Works until nothing is left to do, and dies before or after one call; what was done, or what hinders it.
    fn run(&mut self, adopt: bool, dies: Option<(u32, bool)>) -> Result<Vec<Change>, Vec<String>> {
        let mut done = Vec::new();
        let mut died = dies.is_none();
        for _ in 0..200 {
            // Each time as a new process, which knows only what the cloud holds.
            let (want, _) = self.want(adopt);
            let have = self.look(&want);
            let found = plan(&want, &have);
            if found.changes.is_empty() {
                let problems: Vec<String> = found.problems.into_iter().map(|p| p.message).collect();
                return if problems.is_empty() { Ok(done) } else { Err(problems) };
            }
            for change in found.changes {
                let (at, before) = dies.unwrap_or_default();
                let now = !died && change.op != Op::Await && done.len() + 1 == at as usize;
                died |= now;
                if now && before {
                    break;
                }
                self.world.apply(&want.mark, &change);
                let waits = change.locks() && !matches!(change.op, Op::MarkDirty { already: true, .. });
                if !matches!(change.op, Op::Await | Op::MarkDirty { already: true, .. }) {
                    done.push(change);
                }
                if now || waits {
                    break;
                }
            }
        }
        panic!("it does not end: {done:?}");
    }

    /// Everything but tags of load balancers and descriptions of what Neutron holds.
    fn settings(&self) -> BTreeMap<String, Thing> {
        let mut things = self.world.things.clone();
        for thing in things.values_mut() {
            thing.state = crate::observe::State::Active;
            thing.pending = 0;
            match thing.kind {
                ResourceType::LoadBalancer => thing.tags.clear(),
                ResourceType::FloatingIp => thing.body["description"] = Value::Null,
                _ => {}
            }
        }
        things
    }
}

fn all() -> Vec<(&'static str, Left)> {
    let local = app().spec(|s| {
        s.traffic_policy = TrafficPolicy::Local;
        s.health.port = Some(32000);
    });
    vec![("plain", of_occm(app(), false)), ("monitored", of_occm(local, true)), ("ingress", of_oic())]
}

#[test]
fn what_a_peer_made_is_taken_over_by_marks_alone() {
    for (name, mut left) in all() {
        let before = (left.settings(), left.world.members.clone());
        let shown = plan(&left.want(true).0, &{
            let want = left.want(true).0;
            left.look(&want)
        });
        let info = shown.changes[0].info();
        assert_eq!((shown.changes.len(), &info.verb), (1, &Verb::Adopt), "{name}");
        assert!(info.summary.ends_with("tags only"), "{name}: {}", info.summary);
        let done = left.run(true, None).expect(name);
        let what: Vec<&str> = done.iter().map(|c| c.summary.as_str()).collect();
        assert_eq!(done.len(), 3, "{name}: the mark, the floating IP's, the hash: {what:?}");
        assert_eq!((left.settings(), left.world.members.clone()), before, "{name}");
        // From then on it is ours, with the flag or without.
        for adopt in [true, false] {
            assert_eq!(left.run(adopt, None), Ok(Vec::new()), "{name}");
        }
    }
}

#[test]
fn killed_at_every_call_of_taking_over() {
    for (name, left) in all() {
        let mut calls = 0;
        for at in 1..=3 {
            for before in [true, false] {
                let mut left =
                    Left { world: left.world.clone(), lb: left.lb.clone(), options: left.options.clone() };
                let settings = left.settings();
                let done = left.run(true, Some((at, before))).expect(name);
                assert_eq!(
                    left.settings(),
                    settings,
                    "{name}: no second load balancer, nothing changed, killed at {at}"
                );
                calls = done.len().max(calls);
            }
        }
        assert!(calls >= 3, "{name}");
    }
}

#[test]
fn without_flag_status_or_annotation_nothing_of_a_peer_is_touched() {
    type Spoil = fn(&mut Left);
    let cases: [(bool, Spoil, bool); 4] = [
        (false, |_| (), false),
        (true, |left| left.lb.members[0].current.clear(), true),
        (
            true,
            |left| {
                left.lb.members[0].current[0].ip = "203.0.113.1".parse().ok();
            },
            true,
        ),
        (
            // Another cluster of ours has it.
            true,
            |left| {
                let lb = left.world.things.values_mut().find(|t| t.kind == ResourceType::LoadBalancer);
                lb.expect("one").tags.push("causeway.io/cluster=another".to_owned());
            },
            false,
        ),
    ];
    for (number, (adopt, spoil, told)) in cases.into_iter().enumerate() {
        let mut left = of_occm(app(), false);
        spoil(&mut left);
        let before = left.world.things.clone();
        let (_, reasons) = left.want(adopt);
        assert_eq!(reasons.contains(&"LoadBalancerNotAdopted".to_owned()), told, "{number}: {reasons:?}");
        left.world.theirs.clear();
        left.run(adopt, None).expect("one is made beside it");
        for (id, thing) in before {
            assert_eq!(left.world.things.get(&id), Some(&thing), "{number}");
        }
        assert_eq!(left.world.of(ResourceType::LoadBalancer).count(), 2, "{number}");
    }
}

#[test]
fn what_would_break_it_keeps_it_from_being_taken_over() {
    let asks: [Svc; 2] = [
        // Another listener in its place.
        app().annotation("x-forwarded-for", "true"),
        // Another floating IP.
        app().spec(|s| s.requested_address = Some("203.0.113.40".to_owned())),
    ];
    for app in asks {
        let mut left = of_occm(app, false);
        let before = left.world.things.clone();
        let why = left.run(true, None).expect_err("it would break");
        assert!(why[0].contains("is not taken over"), "{why:?}");
        assert_eq!(left.world.things, before);
    }
    let mut shared = of_occm(app(), false);
    let lb = shared.world.things.values_mut().find(|t| t.kind == ResourceType::LoadBalancer).expect("one");
    lb.tags.push("kube_service_kubernetes_shop_other".to_owned());
    let before = shared.world.things.clone();
    let (stack, reasons) = shared.want(true);
    assert!(stack.frozen && reasons.contains(&"LoadBalancerNotAdopted".to_owned()), "{reasons:?}");
    assert_eq!(shared.run(true, None), Ok(Vec::new()));
    assert_eq!(shared.world.things, before);
}

#[test]
fn what_was_taken_over_follows_its_service_and_goes_with_it() {
    let mut left = of_occm(app(), false);
    left.run(true, None).expect("taken over");
    let names = |left: &Left| -> Vec<String> {
        let all = left.world.of(ResourceType::Listener);
        let mut all: Vec<String> = all
            .map(|(_, t)| format!("{} {:?}", text(&t.body, "name"), t.tags.contains(&NAME.to_owned())))
            .collect();
        all.sort();
        all
    };
    // One port goes, one comes, of which the peer knows that it is its own.
    let mut other = service("app").port(81, 30081).port(82, 30084);
    other.0.current = app().0.current;
    left.lb = of_services(&[other], nodes(1));
    left.run(true, None).expect("followed");
    assert_eq!(names(&left), [format!("listener_1_{NAME} true"), format!("listener_1_{NAME} true")]);
    let members: Vec<_> =
        left.world.members.values().flatten().map(|m| (m.name.as_str(), m.protocol_port)).collect();
    assert_eq!(members.len(), 2, "{members:?}");
    assert!(members.contains(&("n0", 30081)), "who is there keeps its name: {members:?}");
    // A monitor that is asked for.
    left.lb = of_services(&[app().annotation("enable-health-monitor", "true")], nodes(2));
    left.run(true, None).expect("followed");
    assert_eq!(left.world.of(ResourceType::HealthMonitor).count(), 2);

    let (want, _) = left.want(true);
    for cascade_delete in [true, false] {
        let mut left = Left { world: left.world.clone(), lb: left.lb.clone(), options: Vec::new() };
        let nothing = OctaviaStack { mark: want.mark.clone(), cascade_delete, ..OctaviaStack::default() };
        for _ in 0..60 {
            let have = left.look(&nothing);
            for change in plan(&nothing, &have).changes {
                left.world.apply(&nothing.mark, &change);
                if change.locks() {
                    break;
                }
            }
        }
        assert_eq!(left.world.things, BTreeMap::new(), "cascade {cascade_delete}");
    }
}

#[test]
fn an_ingress_that_was_taken_over_keeps_the_peers_rules_and_follows() {
    let mut left = of_oic();
    left.run(true, None).expect("taken over");
    let more = shop().route("more.example", "/", PathMatch::Prefix, backend("more", 80, Some(30085)));
    left.lb = of_ingresses(&[more]);
    let done = left.run(true, None).expect("followed");
    assert!(done.iter().all(|c| !matches!(c.op, Op::Delete { .. })), "{done:?}");
    let policies = left.world.of(ResourceType::L7Policy).count();
    let hosts: Vec<&str> = left
        .world
        .of(ResourceType::L7Rule)
        .map(|(_, r)| text(&r.body, "value"))
        .filter(|v| v.contains("more"))
        .collect();
    assert_eq!((policies, &hosts[..]), (3, &["^more\\.example(:80)?$"][..]));
}
