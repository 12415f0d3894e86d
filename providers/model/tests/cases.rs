//! Single cases, each with its reason: groups, bad members, foreign parts, replacement, quotas, status, calls.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{
    Body, CloudError, CloudProvider, Family, IngressPoint, IpMode, Kind, LoadBalancer, Member, Outcome,
    PlannedChange, Protocol, Verb, names,
};
use causeway_model::cloud::{Fault, ScriptedFault, Settings, Status, Style, quota};
use causeway_model::provider::naming;
use causeway_model::{InMemory, Options};
use common::{Ing, Pass, Process, Svc, World, cloud, held, load_balancers, now};

fn svc(ports: &[(Protocol, u16)]) -> Svc {
    Svc {
        group: None,
        created: None,
        ports: ports.iter().map(|p| (*p, Some(30_000 + p.1))).collect(),
        dual: false,
        internal: false,
        local: false,
        affinity: None,
        range: None,
    }
}

fn one(svc: Svc, nodes: u8) -> World {
    World { services: [(0, svc)].into(), nodes: (1..=nodes).collect(), ..World::default() }
}

fn grouped(services: &[Svc]) -> World {
    let services = services.iter().enumerate();
    let services = services.map(|(n, s)| (u8::try_from(n).unwrap(), Svc { group: Some(0), ..s.clone() }));
    World { services: services.collect(), nodes: [1, 2].into(), ..World::default() }
}

fn calls(way: &InMemory) -> BTreeMap<String, u64> {
    way.with(|cloud, _| cloud.calls().clone())
}

fn count_anew(way: &InMemory) {
    way.with(|cloud, _| cloud.reset_calls());
}

/// Edits the members of the only load balancer of a world and brings it to the cloud.
struct Only {
    process: Process,
    lb: LoadBalancer,
}

impl Only {
    fn new(way: &InMemory, world: &World) -> Self {
        let process = Process::start(way, false);
        let lb = load_balancers(&process.model, world).swap_remove(0);
        Self { process, lb }
    }

    fn edit(&mut self, member: usize, edit: impl FnOnce(&mut Member)) {
        edit(&mut self.lb.members[member]);
    }

    /// Reasons of the problems by member's name, and the status of each member.
    fn settle(&mut self) -> (BTreeMap<String, BTreeSet<String>>, Vec<Vec<IngressPoint>>) {
        let model = &self.process.model;
        let (stack, problems) = model.desired(&self.lb, &self.process.facts);
        let mut reasons: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut pass = Pass::default();
        for _ in 0..50 {
            match self.process.round(&stack, &self.lb.key, &mut pass, &mut |_| ()) {
                Ok(true) => break,
                Ok(false) | Err(CloudError::Pending(_)) => model.transport().advance(1_000),
                Err(e) => panic!("{e}"),
            }
        }
        let have = now(model.observe(&self.lb.key)).unwrap();
        let plan = model.plan(&stack, &have);
        assert!(plan.is_empty(), "{plan:#?}");
        for problem in problems.into_iter().chain(plan.problems) {
            assert!(!problem.message.is_empty());
            reasons.entry(problem.object.name).or_default().insert(problem.reason);
        }
        let status = model.status(&stack, &have);
        for member in &mut self.lb.members {
            let said = status.iter().find(|s| s.object == member.object).unwrap();
            member.current = said.ingress.clone().unwrap_or_default();
        }
        (reasons, status.into_iter().map(|s| s.ingress.unwrap_or_default()).collect())
    }
}

fn reasons(of: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    of.iter().map(|(n, r)| ((*n).to_owned(), r.iter().map(|r| (*r).to_owned()).collect())).collect()
}

const TCP: Protocol = Protocol::Tcp;

#[test]
fn calls_follow_the_change() {
    let way = cloud(&Settings::default());
    let process = Process::start(&way, false);
    let ports = [(TCP, 80), (TCP, 81), (Protocol::Udp, 80)];
    let expect = |world: &World, calls: &[(&str, u64)]| {
        count_anew(&way);
        assert_eq!(process.settle(world).errors, []);
        let mut found = self::calls(&way);
        assert_eq!(found.remove("ListLoadBalancers"), Some(1), "the audit of this pass");
        assert_eq!(found, calls.iter().map(|(a, n)| ((*a).to_owned(), *n)).collect(), "{world:?}");
    };
    expect(&one(svc(&ports), 3), &[("CreateLoadBalancer", 1)]);
    expect(&one(svc(&ports), 3), &[]);
    expect(&one(svc(&ports), 5), &[("RegisterTargets", 1)]);
    expect(&one(svc(&ports), 4), &[("DeregisterTargets", 1)]);
    let another = Svc { affinity: Some(10), ..svc(&ports) };
    expect(&one(another, 4), &[("ModifyTargetGroup", 3), ("SetTags", 2)]);
    expect(&World::default(), &[("DeleteLoadBalancer", 1)]);
}

#[test]
fn an_address_of_each_family_is_told_in_the_member_s_order() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &one(Svc { dual: true, ..svc(&[(TCP, 80)]) }, 1));
    only.edit(0, |m| {
        if let causeway_api::MemberSpec::Service(s) = &mut m.spec {
            s.families = vec![Family::V6, Family::V4];
        }
    });
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[]));
    let families: Vec<_> = status[0].iter().map(|p| Family::of(&p.ip.unwrap())).collect();
    assert_eq!(families, [Family::V6, Family::V4]);
    assert!(status[0].iter().all(|p| p.ip_mode == Some(IpMode::Proxy) && p.ports.is_empty()));
}

#[test]
fn a_port_that_cannot_be_served_is_told_on_that_port() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &one(svc(&[(TCP, 80), (Protocol::Sctp, 81)]), 1));
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[("s0", &["Unsupported"])]));
    let errors: Vec<_> = status[0][0].ports.iter().map(|p| (p.port, p.error.clone())).collect();
    assert_eq!(errors, [(80, None), (81, Some(names::REASON_MIXED_PROTOCOL.to_owned()))]);
    let model = &only.process.model;
    let (stack, _) = model.desired(&only.lb, &only.process.facts);
    let status = model.status(&stack, &now(model.observe(&only.lb.key)).unwrap());
    assert_eq!(status[0].conditions[0].kind, names::CONDITION_PORTS_ERROR);
    assert!(status[0].conditions[0].status);
}

#[test]
fn nothing_servable_makes_nothing_and_says_so() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &one(svc(&[(Protocol::Sctp, 81)]), 1));
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[("s0", &["Unsupported"])]));
    assert_eq!((status, held(&way, true).len()), (vec![vec![]], 0));
}

#[test]
fn one_bad_member_does_not_block_the_others() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &grouped(&[svc(&[(TCP, 80)]), svc(&[(TCP, 81)]), svc(&[(TCP, 82)])]));
    only.edit(1, |m| {
        m.annotations.insert(naming::ANNOTATION_SCHEME.into(), "publik".into());
    });
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[("s1", &["InvalidAnnotation"])]));
    let served: Vec<_> = status.iter().map(|s| !s.is_empty()).collect();
    assert_eq!(served, [true, false, true]);
    only.edit(1, |m| {
        m.annotations.remove(naming::ANNOTATION_SCHEME);
    });
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[]));
    assert!(status.iter().all(|s| !s.is_empty()));
}

#[test]
fn a_setting_that_turns_bad_takes_nothing_away() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &one(Svc { internal: true, ..svc(&[(TCP, 80)]) }, 1));
    let (_, before) = only.settle();
    let cloud_before = held(&way, true);
    only.edit(0, |m| {
        m.annotations.insert(naming::ANNOTATION_SCHEME.into(), "Internal?".into());
    });
    // An internal load balancer does not become public by a slip of the pen.
    let (problems, after) = only.settle();
    assert_eq!(problems, reasons(&[("s0", &["InvalidAnnotation"])]));
    assert_eq!(after, before);
    let schemes =
        |all: &[common::Essence]| all.iter().map(|e| e.1["spec"]["scheme"].clone()).collect::<Vec<_>>();
    assert_eq!(schemes(&held(&way, true)), schemes(&cloud_before));
}

#[test]
fn the_older_member_has_the_port() {
    let old = Svc { created: Some(1), ..svc(&[(TCP, 80)]) };
    let young = Svc { created: Some(2), ..svc(&[(TCP, 80), (TCP, 81)]) };
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &grouped(&[young, old]));
    // As a translate that leaves the clash to the provider would do it.
    let Body::L4(listeners) = &mut only.lb.body else { panic!() };
    let clash = listeners.iter().find(|l| l.port.port == 80).unwrap().clone();
    listeners.push(causeway_api::Listener { member: 1 - clash.member, ..clash });
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[("s0", &["PortConflict"])]));
    let errors: Vec<_> = status[0][0].ports.iter().map(|p| p.error.is_some()).collect();
    assert_eq!((errors, status[1][0].ports.len()), (vec![true, false], 0));
}

#[test]
fn a_requested_address_is_given_or_refused() {
    let way = cloud(&Settings::default());
    let ask = |only: &mut Only, text: &str| {
        only.edit(0, |m| {
            if let causeway_api::MemberSpec::Service(s) = &mut m.spec {
                s.requested_address = Some(text.into());
            }
        });
    };
    let mut only = Only::new(&way, &one(svc(&[(TCP, 80)]), 1));
    ask(&mut only, "198.18.7.7");
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[]));
    assert_eq!(status[0][0].ip, Some(IpAddr::from([198, 18, 7, 7])));
    // Another address is another load balancer; the old one serves until the new one does.
    ask(&mut only, "198.18.7.8");
    let (_, status) = only.settle();
    assert_eq!(status[0][0].ip, Some(IpAddr::from([198, 18, 7, 8])));
    assert_eq!(held(&way, true).len(), 1);
    ask(&mut only, "not an address");
    let (problems, status) = only.settle();
    assert_eq!(problems, reasons(&[("s0", &["InvalidAddress"])]));
    assert_eq!(status[0][0].ip, Some(IpAddr::from([198, 18, 7, 8])));
    // One that the cloud does not have is refused by it, and the user is told.
    ask(&mut only, "192.0.2.1");
    let (stack, _) = only.process.model.desired(&only.lb, &only.process.facts);
    let error = only.process.round(&stack, &only.lb.key, &mut Pass::default(), &mut |_| ()).unwrap_err();
    assert!(matches!(&error, CloudError::Invalid(p) if p.object.name == "s0"), "{error:?}");
    assert_eq!(held(&way, true).len(), 1);
}

#[test]
fn another_scheme_is_made_beside_and_the_old_goes_last() {
    for style in [Style::Open, Style::Locking] {
        let settings =
            Settings { style, create_pending: 5_000, change_pending: 1_000, ..Settings::default() };
        let way = cloud(&settings);
        Process::start(&way, false).settle(&one(svc(&[(TCP, 80)]), 2));
        way.advance(10_000);
        let process = Process::start(&way, false);
        let mut verbs = Vec::new();
        let world = one(Svc { internal: true, ..svc(&[(TCP, 80)]) }, 2);
        let pass = process.settle_watched(&world, &mut |change| {
            let active = |cloud: &mut causeway_model::Cloud, now| {
                let all = cloud.snapshot(now).load_balancers;
                all.iter().filter(|lb| matches!(lb.status, Status::Active | Status::PendingUpdate)).count()
            };
            assert!(way.with(active) >= 1, "{style:?} {change:?}");
            verbs.push(change.info().verb);
        });
        assert_eq!(pass.errors, []);
        let place = |verb: &Verb| verbs.iter().position(|v| v == verb);
        assert!(place(&Verb::Create) < place(&Verb::Delete), "{verbs:?}");
        way.advance(10_000);
        assert_eq!(held(&way, true), process.expect(&world));
    }
}

#[test]
fn parts_of_others_are_left_alone_and_told() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &one(svc(&[(TCP, 80)]), 1));
    only.settle();
    let id = way.with(|c, now| c.snapshot(now).load_balancers[0].id.clone());
    way.with(|cloud, _| {
        cloud.tamper(&id, |lb, _| {
            let mut listener = lb.spec.listeners["tcp/80"].clone();
            listener.tags.clear();
            listener.port = 81;
            lb.spec.listeners.insert("tcp/81".into(), listener);
        })
    });
    // Its place is wanted now: the member is told, the listener stays as it is.
    let wider = load_balancers(&only.process.model, &one(svc(&[(TCP, 80), (TCP, 81)]), 1)).swap_remove(0);
    let mut only = Only { process: Process::start(&way, false), lb: wider };
    let (problems, _) = only.settle();
    assert_eq!(problems, reasons(&[("s0", &["ForeignResource"])]));
    // Nothing is deleted that somebody else uses; what is ours and unused goes.
    let mut gone =
        Only { process: Process::start(&way, false), lb: LoadBalancer::unwanted(only.lb.key.clone()) };
    let (problems, _) = gone.settle();
    assert_eq!(problems.values().next(), Some(&["ForeignResource".to_owned()].into()));
    let left = way.with(|c, now| c.snapshot(now).load_balancers);
    assert_eq!(left[0].spec.listeners.keys().collect::<Vec<_>>(), ["tcp/81"]);
    // The part goes: so does the rest, with nothing but the audit to tell.
    way.with(|cloud, _| cloud.tamper(&id, |lb, _| lb.spec.listeners.clear()));
    now(gone.process.model.owned()).unwrap();
    gone.settle();
    assert_eq!(held(&way, true).len(), 0);
}

#[test]
fn of_two_with_our_mark_the_older_is_kept() {
    let settings = Settings { style: Style::Locking, ..Settings::default() };
    let way = cloud(&settings);
    let world = one(svc(&[(TCP, 80)]), 1);
    Process::start(&way, false).settle(&world);
    let first = way.with(|c, now| c.snapshot(now).load_balancers[0].clone());
    way.advance(100);
    let sets = way.with(|c, now| c.snapshot(now).sets);
    way.with(|c, now| c.plant(now, first.spec.clone(), sets)).unwrap();
    let process = Process::start(&way, false);
    assert_eq!(process.settle(&world).errors, []);
    let left = way.with(|c, now| c.snapshot(now).load_balancers);
    assert_eq!(left.iter().map(|lb| &lb.id).collect::<Vec<_>>(), [&first.id]);
}

#[test]
fn a_quota_is_named() {
    let quotas = BTreeMap::from([(quota::LOAD_BALANCERS.to_owned(), 1), (quota::LISTENERS.to_owned(), 2)]);
    let way = cloud(&Settings { quotas: quotas.clone(), ..Settings::default() });
    let process = Process::start_with(&way, false, &quotas);
    let mut world = one(svc(&[(TCP, 80), (TCP, 81), (TCP, 82)]), 1);
    let lb = load_balancers(&process.model, &world).swap_remove(0);
    let (_, problems) = process.model.desired(&lb, &process.facts);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].message.contains(quota::LISTENERS) && problems[0].field == "spec.ports[82]",
        "{problems:?}"
    );
    world.services.insert(1, svc(&[(TCP, 80)]));
    let errors = process.settle(&world).errors;
    assert!(
        matches!(&errors[..], [CloudError::Quota { limit, .. }] if limit == quota::LOAD_BALANCERS),
        "{errors:?}"
    );
}

#[test]
fn a_group_stays_in_its_namespace_and_layer() {
    let process = Process::start(&cloud(&Settings::default()), false);
    let of = |namespace: &str, service: bool| {
        let ing = Ing { group: Some(0), created: None, routes: [].into(), default: None, secret: None };
        let grouped = Svc { group: Some(0), ..svc(&[(TCP, 80)]) };
        let mut member = if service { grouped.member(0) } else { ing.member(0) };
        member.object.namespace = namespace.into();
        process.model.key(&member)
    };
    let keys: BTreeSet<_> = [of("a", true), of("b", true), of("a", false), of("b", false)].into();
    assert_eq!(keys.len(), 4);
}

#[test]
fn a_node_without_an_address_is_told_and_left_out() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &one(svc(&[(TCP, 80)]), 3));
    let mut nodes = (*only.lb.nodes).clone();
    nodes.nodes[1].addresses.retain(IpAddr::is_ipv6);
    only.lb.nodes = Arc::new(nodes);
    let (problems, _) = only.settle();
    assert_eq!(problems, reasons(&[("node-2", &["NoAddress"])]));
    let snapshot = way.with(|c, now| c.snapshot(now));
    assert_eq!(snapshot.sets.values().map(|n| n.len()).collect::<Vec<_>>(), [2]);
    let (_, all) = only.process.model.desired(&only.lb, &only.process.facts);
    assert!(all.iter().all(|p| p.object.kind == Kind::Node));
}

#[test]
fn ingress_rules_keep_their_order_through_changes() {
    let way = cloud(&Settings::default());
    let process = Process::start(&way, false);
    let ing = |routes: &[(u8, u8)]| World {
        ingresses: [(
            0,
            Ing {
                group: None,
                created: None,
                routes: routes.iter().map(|r| (*r, r.1)).collect(),
                default: None,
                secret: Some(1),
            },
        )]
        .into(),
        nodes: [1].into(),
        ..World::default()
    };
    process.settle(&ing(&[(0, 0), (1, 2)]));
    count_anew(&way);
    // Two rules before and between: one move for each listener, all at once.
    let world = ing(&[(0, 0), (0, 1), (1, 2), (1, 3)]);
    assert_eq!(process.settle(&world).errors, []);
    assert_eq!(held(&way, true), process.expect(&world));
    let calls = calls(&way);
    assert_eq!((calls["CreateRule"], calls["SetRulePositions"]), (4, 2));
}

#[test]
fn a_new_process_reads_one_list_and_nothing_else() {
    let way = cloud(&Settings::default());
    let world = World {
        services: (0..40).map(|n| (n, svc(&[(TCP, 80)]))).collect(),
        nodes: (1..9).collect(),
        ..World::default()
    };
    Process::start(&way, false).settle(&world);
    count_anew(&way);
    let process = Process::start(&way, false);
    for lb in load_balancers(&process.model, &world) {
        let (stack, _) = process.model.desired(&lb, &process.facts);
        let have = now(process.model.observe(&lb.key)).unwrap();
        assert!(process.model.plan(&stack, &have).is_empty());
    }
    assert_eq!(calls(&way), [("ListLoadBalancers".to_owned(), 1)].into());
}

#[test]
fn a_throttled_call_is_no_reason_to_look_again() {
    let way = cloud(&Settings::default());
    let mut only = Only::new(&way, &one(svc(&[(TCP, 80)]), 1));
    only.settle();
    let script = |fault| vec![ScriptedFault { action: None, reads: false, skip: 0, fault }];
    let wider = load_balancers(&only.process.model, &one(svc(&[(TCP, 80)]), 2)).swap_remove(0);
    let (stack, _) = only.process.model.desired(&wider, &only.process.facts);
    let mut reads = Vec::new();
    for fault in [Fault::Throttle, Fault::LostBefore] {
        common::faulty(&way, 0, 0, script(fault));
        count_anew(&way);
        let error = only.process.round(&stack, &wider.key, &mut Pass::default(), &mut |_| ()).unwrap_err();
        now(only.process.model.observe(&wider.key)).unwrap();
        reads.push((error.class(), calls(&way).get("ListLoadBalancers").copied().unwrap_or(0)));
    }
    assert_eq!(reads, [("throttled", 0), ("transient", 1)]);
}

#[test]
fn our_limiter_keeps_the_cloud_from_refusing() {
    use causeway_model::cloud::Bucket;
    let bucket = Bucket { per_second: 10, burst: 20 };
    let way = cloud(&Settings { bucket: Some(bucket), ..Settings::default() });
    let options = Options { rate: Some(bucket), ..Options::new(common::CLUSTER) };
    let model = causeway_model::Model::new(way.clone(), options);
    now(model.start(&[], &Default::default())).unwrap();
    let mut process = Process::start(&way, false);
    process.model = model;
    let world = World { services: (0..60).map(|n| (n, svc(&[(TCP, 80)]))).collect(), ..World::default() };
    let mut made = 0;
    for lb in load_balancers(&process.model, &world) {
        let (stack, _) = process.model.desired(&lb, &process.facts);
        loop {
            match process.round(&stack, &lb.key, &mut Pass::default(), &mut |_| made += 1) {
                Ok(true) => break,
                Ok(false) => {}
                Err(CloudError::Throttled(after)) => way.advance(after.as_millis().try_into().unwrap()),
                Err(e) => panic!("{e}"),
            }
        }
    }
    assert_eq!(made, 60);
    let injected = way.with(|c, _| c.faults.injected.clone());
    assert_eq!(injected, BTreeMap::new());
}

#[test]
fn applying_twice_is_applying_once() {
    let way = cloud(&Settings { style: Style::Locking, ..Settings::default() });
    let process = Process::start(&way, false);
    let world = one(svc(&[(TCP, 80)]), 2);
    let (key, stack) = process.stacks(&world).swap_remove(0);
    let plan = process.model.plan(&stack, &now(process.model.observe(&key)).unwrap());
    for _ in 0..2 {
        for change in &plan.changes {
            assert_eq!(now(process.model.apply(change, &process.fence)), Ok(Outcome::Done));
        }
    }
    assert_eq!(held(&way, true).len(), 1);
    let (key, stack) = process.stacks(&World::default()).swap_remove(0);
    let plan = process.model.plan(&stack, &now(process.model.observe(&key)).unwrap());
    for _ in 0..2 {
        assert_eq!(now(process.model.apply(&plan.changes[0], &process.fence)), Ok(Outcome::Done));
    }
    assert_eq!(held(&way, true).len(), 0);
}

#[test]
fn a_full_load_balancer_can_still_be_changed() {
    let quotas = BTreeMap::from([(quota::LISTENERS.to_owned(), 2), (quota::TARGET_GROUPS.to_owned(), 2)]);
    let way = cloud(&Settings { quotas: quotas.clone(), ..Settings::default() });
    let process = Process::start_with(&way, false, &quotas);
    for ports in [[80, 81], [82, 83], [83, 84]] {
        let world = one(svc(&ports.map(|p| (TCP, p))), 1);
        assert_eq!(process.settle(&world).errors, []);
        assert_eq!(held(&way, true), process.expect(&world));
    }
}

#[test]
fn what_is_not_whole_is_dirty() {
    let way = cloud(&Settings::default());
    let ing = Ing { group: None, created: None, routes: [((0, 1), 1)].into(), default: None, secret: None };
    let world = World { ingresses: [(0, ing)].into(), nodes: [1].into(), ..World::default() };
    let mortal = way.reborn();
    mortal.die(causeway_model::transport::Death { writes: 1, after_effect: false });
    Process::start(&mortal, false).settle(&world);
    assert!(mortal.is_dead());
    let left = held(&way, true);
    assert!(left.len() == 1 && common::dirty(&left[0]), "{left:?}");
    Process::start(&way, false).settle(&world);
    assert!(!common::dirty(&held(&way, true)[0]));
}
