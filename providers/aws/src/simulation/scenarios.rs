//! Changes of a user, one by one.

use super::*;
use crate::stack::{ElbProtocol, Scheme};

/// Brings a front from one state to another, and sees that it is so.
async fn change(from: &Front, to: &Front) -> Sim {
    let mut sim = Sim::new(FakeSettings::default()).await;
    let (before, after) = (from.stack(), to.stack());
    sim.converge(&before).await.expect("converges");
    sim.pass(60, &[]).await;
    sim.check(&[&before]);
    sim.fake.counts();
    sim.converge(&after).await.expect("converges");
    sim.pass(300, &[&after]).await;
    sim.check(&[&after]);
    sim
}

#[tokio::test(start_paused = true)]
async fn attributes_health_checks_sources_and_ports() {
    let from = Front::nlb("web");
    for to in [
        Front { idle: Some(60), cross_zone: true, ..from.clone() },
        Front { health_interval: 30, ..from.clone() },
        Front { sources: vec!["10.0.0.0/8", "192.0.2.0/24"], ..from.clone() },
        Front { ports: vec![(80, ElbProtocol::Tcp, 30080), (53, ElbProtocol::Udp, 30053)], ..from.clone() },
        Front { ports: vec![(443, ElbProtocol::Tcp, 30443)], ..from.clone() },
        Front { nodes: (2..9).collect(), ..from.clone() },
    ] {
        change(&from, &to).await;
        change(&to, &from).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_groups_the_nodes_let_in_whom_the_service_lets_in() {
    let from = Front { security_groups: false, ..Front::nlb("web") };
    for to in [
        Front { sources: vec!["10.0.0.0/8", "192.0.2.0/24"], ..from.clone() },
        Front { ports: vec![(80, ElbProtocol::Tcp, 30080), (53, ElbProtocol::Udp, 30053)], ..from.clone() },
        Front { ports: vec![(443, ElbProtocol::Tcp, 30443)], ..from.clone() },
    ] {
        change(&from, &to).await;
        change(&to, &from).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_protocol_is_another_target_group_without_a_gap() {
    let port = |protocol| Front { ports: vec![(80, protocol, 30080)], ..Front::nlb("web") };
    // In the first the listener's protocol changes with the swap, and the old target group cannot stay with the new one.
    for (from, to, steps) in
        [(ElbProtocol::Tcp, ElbProtocol::TcpUdp, 2), (ElbProtocol::TcpUdp, ElbProtocol::Tcp, 3)]
    {
        let sim = change(&port(from), &port(to)).await;
        let modified = sim.fake.counts().get("ModifyListener").copied().unwrap_or_default();
        assert_eq!(modified, steps, "attached, swapped, detached");
    }
}

#[tokio::test(start_paused = true)]
async fn another_scheme_is_another_load_balancer_without_a_gap() {
    let from = Front::nlb("web");
    let to = Front { scheme: Scheme::InternetFacing, ..from.clone() };
    change(&from, &to).await;
    let from = Front::alb("shop");
    let to = Front { scheme: Scheme::InternetFacing, ..from.clone() };
    change(&from, &to).await;
    let from = Front { security_groups: false, ..Front::nlb("web") };
    let to = Front { security_groups: true, ..from.clone() };
    change(&from, &to).await;
}

/// A binding of targets to a target group that a user made.
fn bound(arn: &str, nodes: std::ops::Range<u32>, shared: bool, leaving: bool) -> AwsStack {
    bound_by("bound", arn, nodes, shared, leaving)
}

/// The same by another owner, or another cluster's: which of the two makes no difference to what is written down.
fn bound_by(uid: &str, arn: &str, nodes: std::ops::Range<u32>, shared: bool, leaving: bool) -> AwsStack {
    use crate::stack::*;
    let template = BindingTemplate {
        metadata: BindingMetadata { name: "b".to_owned(), namespace: "shop".to_owned() },
        spec: Binding {
            target_group_arn: Token::literal(arn),
            target_type: TargetType::Instance,
            service_ref: ServiceRef { name: "web".to_owned(), port: PortOrName::Number(80) },
            networking: None,
            node_selector: None,
            ip_address_type: None,
            vpc_id: "vpc-1".to_owned(),
            multi_cluster_target_group: shared,
            target_group_protocol: ElbProtocol::Tcp,
        },
    };
    let stack = Front { nodes: nodes.collect(), ..Front::nlb("bound") }.stack();
    AwsStack {
        cluster: CLUSTER.to_owned(),
        owner: format!("service/{uid}"),
        bindings: [("shop/b".to_owned(), BindingSpec { template })].into(),
        targets: stack.targets.into_values().map(|targets| ("shop/b".to_owned(), targets)).collect(),
        leaving,
        ..AwsStack::default()
    }
}

#[tokio::test(start_paused = true)]
async fn targets_of_a_group_that_a_user_named_come_and_go_and_nothing_else_of_it_changes() {
    use crate::cloud::{Answer, Api, Call};
    for shared in [false, true] {
        let mut sim = Sim::new(FakeSettings::default()).await;
        let mut spec = Front::nlb("user").stack().target_groups.pop_first().expect("one").1;
        spec.name = "theirs".to_owned();
        let call = Call::CreateTargetGroup { vpc: "vpc-1".to_owned(), spec: Box::new(spec) };
        let Ok(Answer::Made(arn)) = sim.fake.call(call).await else { panic!("no target group") };
        let bound = |nodes, shared, leaving| bound(&arn, nodes, shared, leaving);
        let held = |sim: &Sim| sim.fake.world().standing(&arn);
        // Somebody else's, and one of a process that is gone.
        let stranger = bound(9..10, shared, false).targets["shop/b"].iter().cloned().collect::<Vec<_>>();
        let before = bound(0..1, shared, false);
        let targets = stranger.iter().chain(&before.targets["shop/b"]).cloned().collect();
        sim.fake.call(Call::RegisterTargets { group: arn.clone(), targets }).await.expect("registered");
        let group = sim.fake.world().target_groups[&arn].clone();

        let want = bound(0..3, shared, false);
        sim.converge(&want).await.expect("converges");
        assert_eq!(held(&sim).len(), if shared { 4 } else { 3 });
        assert!(want.targets["shop/b"].is_subset(&held(&sim)));
        sim.fake.counts();
        sim.converge(&want).await.expect("converges");
        assert!(sim.fake.counts().is_empty(), "nothing changed");

        // By a process that knows nothing of it.
        sim.restart().await;
        let left: Vec<_> = {
            let mut want = bound(0..3, shared, true);
            if !shared {
                want.targets.values_mut().for_each(BTreeSet::clear);
            }
            sim.converge(&want).await.expect("converges");
            held(&sim).into_iter().collect()
        };
        assert_eq!(left, if shared { stranger } else { Vec::new() });
        assert_eq!(sim.fake.world().target_groups[&arn], group);
    }
}

/// A target group of a user's, with targets that nobody of ours registered.
async fn users_group(sim: &Sim, name: &str, targets: &AwsStack) -> String {
    use crate::cloud::{Answer, Api, Call};
    let mut spec = Front::nlb("user").stack().target_groups.pop_first().expect("one").1;
    spec.name = name.to_owned();
    let call = Call::CreateTargetGroup { vpc: "vpc-1".to_owned(), spec: Box::new(spec) };
    let Ok(Answer::Made(arn)) = sim.fake.call(call).await else { panic!("no target group") };
    let targets = targets.targets["shop/b"].iter().cloned().collect();
    sim.fake.call(Call::RegisterTargets { group: arn.clone(), targets }).await.expect("registered");
    arn
}

fn union(stacks: &[&AwsStack]) -> BTreeSet<Target> {
    stacks.iter().flat_map(|s| s.targets["shop/b"].iter().cloned()).collect()
}

#[tokio::test(start_paused = true)]
async fn of_a_target_group_of_two_clusters_each_takes_away_what_it_registered() {
    let mut sim = Sim::new(FakeSettings::default()).await;
    let stranger = bound("", 90..91, true, false);
    let arn = users_group(&sim, "theirs", &stranger).await;
    let a = |nodes| bound_by("a", &arn, nodes, true, false);
    let b = |nodes| bound_by("b", &arn, nodes, true, false);
    let held = |sim: &Sim| sim.fake.world().standing(&arn);
    for want in [a(0..3), b(10..13)] {
        sim.converge(&want).await.expect("converges");
    }
    assert_eq!(held(&sim), union(&[&stranger, &a(0..3), &b(10..13)]));
    sim.fake.counts();
    for want in [a(0..3), b(10..13)] {
        sim.converge(&want).await.expect("converges");
    }
    assert!(sim.fake.counts().is_empty(), "nothing changed");

    // Nodes go while nobody is there to see it: a process that knows nothing takes them away, and no other.
    sim.restart().await;
    for want in [a(1..2), b(12..15)] {
        sim.converge(&want).await.expect("converges");
    }
    assert_eq!(held(&sim), union(&[&stranger, &a(1..2), &b(12..15)]));
    let counts = sim.fake.counts();
    assert_eq!((counts["DescribeTargetHealth"], counts["DescribeTags"]), (2, 2), "{counts:?}");

    // Somebody takes the tags away: nothing of others' is taken for that, and what is ours is written down anew.
    sim.fake.world().target_groups.get_mut(&arn).expect("there").spec.tags.clear();
    sim.restart().await;
    for want in [a(1..3), b(12..15)] {
        sim.converge(&want).await.expect("converges");
    }
    assert_eq!(held(&sim), union(&[&stranger, &a(1..3), &b(12..15)]));
    sim.converge(&a(2..3)).await.expect("converges");
    assert_eq!(held(&sim), union(&[&stranger, &a(2..3), &b(12..15)]));

    // One leaves, and the tags with it; then the other.
    let leaves = |uid, nodes| bound_by(uid, &arn, nodes, true, true);
    sim.restart().await;
    sim.converge(&leaves("a", 2..3)).await.expect("converges");
    assert_eq!(held(&sim), union(&[&stranger, &b(12..15)]));
    assert_eq!(sim.fake.world().target_groups[&arn].spec.tags.len(), 1);
    sim.converge(&leaves("b", 0..0)).await.expect("converges");
    assert_eq!(held(&sim), union(&[&stranger]));
    assert!(sim.fake.world().target_groups[&arn].spec.tags.is_empty());
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write_to_a_target_group_of_two_clusters() {
    use crate::fake::Fault;
    for at in 0..12 {
        for fault in [Fault::Before("InternalFailure"), Fault::After] {
            let mut sim = Sim::new(FakeSettings::default()).await;
            let stranger = bound("", 90..91, true, false);
            let arn = users_group(&sim, "theirs", &stranger).await;
            let a = |nodes| bound_by("a", &arn, nodes, true, false);
            let b = bound_by("b", &arn, 200..203, true, false);
            sim.converge(&b).await.expect("converges");
            {
                let mut world = sim.fake.world();
                world.counted = 0;
                world.faults.insert(at, fault);
            }
            sim.dies = true;
            for nodes in [0..60, 50..70, 69..71] {
                sim.converge(&a(nodes)).await.expect("converges");
            }
            assert_eq!(
                sim.fake.world().standing(&arn),
                union(&[&stranger, &b, &a(69..71)]),
                "{at} {fault:?}"
            );
            sim.converge(&bound_by("a", &arn, 69..71, true, true)).await.expect("converges");
            assert_eq!(sim.fake.world().standing(&arn), union(&[&stranger, &b]), "{at} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn others_may_register_targets_in_a_target_group_that_we_made() {
    use crate::cloud::{Api, Call};
    let shared = |nodes: std::ops::Range<u32>, shared| {
        let mut stack = Front { nodes: nodes.collect(), ..Front::nlb("web") }.stack();
        let id = stack.target_groups.keys().next().expect("one").clone();
        let mut bound = bound("", 0..0, shared, false).bindings.pop_first().expect("one").1;
        bound.template.spec.target_group_arn = Token::of(ResourceType::TargetGroup, id.clone());
        stack.bindings.insert(id, bound);
        stack
    };
    let mut sim = Sim::new(FakeSettings::default()).await;
    sim.converge(&shared(0..3, true)).await.expect("converges");
    let arn = {
        let world = sim.fake.world();
        world.target_groups.values().find(|g| g.spec.name.contains("web")).expect("there").arn.clone()
    };
    let theirs = bound("", 90..92, true, false).targets["shop/b"].clone();
    let call = Call::RegisterTargets { group: arn.clone(), targets: theirs.iter().cloned().collect() };
    sim.fake.call(call).await.expect("registered");
    let ours = |nodes| shared(nodes, true).targets.pop_first().expect("one").1;
    let held = |sim: &Sim| sim.fake.world().standing(&arn);
    let with = |nodes| ours(nodes).union(&theirs).cloned().collect::<BTreeSet<_>>();
    for (restarts, nodes) in [(false, 1..4), (true, 2..4), (true, 2..9), (true, 2..9)] {
        tokio::time::sleep(Duration::from_secs(60)).await;
        if restarts {
            sim.restart().await;
        }
        sim.fake.counts();
        sim.converge(&shared(nodes.clone(), true)).await.expect("converges");
        assert_eq!(held(&sim), with(nodes));
    }
    assert!(sim.fake.counts().is_empty(), "unchanged after a restart");
    sim.pass(1800, &[&shared(2..9, true)]).await;
    assert_eq!(held(&sim), with(2..9));
    // Not shared any more: what is not ours goes, and so does what was written down.
    sim.converge(&shared(2..9, false)).await.expect("converges");
    assert_eq!(held(&sim), ours(2..9));
    let world = sim.fake.world();
    let tags = &world.target_groups[&arn].spec.tags;
    assert!(!tags.keys().any(|key| key.starts_with(crate::plan::shares::PREFIX)), "{tags:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fixed_name_cannot_be_replaced() {
    let from = Front { name: Some("shop"), ..Front::nlb("web") };
    let to = Front { scheme: Scheme::InternetFacing, ..from.clone() };
    let mut sim = Sim::new(FakeSettings::default()).await;
    sim.converge(&from.stack()).await.expect("converges");
    let problems = sim.converge(&to.stack()).await.expect("nothing is done");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, "ReplacementRefused");
    sim.check(&[&from.stack()]);
}

#[tokio::test(start_paused = true)]
async fn what_is_fixed_is_replaced_with_a_gap_where_that_is_allowed() {
    let named = Front { name: Some("shop"), ..Front::nlb("web") };
    let addressed = Front { eips: vec!["eipalloc-1", "eipalloc-2"], ..Front::nlb("web") };
    let addressed = Front { scheme: Scheme::InternetFacing, ..addressed };
    for (from, to) in [
        (named.clone(), Front { scheme: Scheme::InternetFacing, ..named.clone() }),
        (addressed.clone(), Front { eips: vec!["eipalloc-2", "eipalloc-1"], ..addressed.clone() }),
        (addressed.clone(), Front { eips: vec!["eipalloc-3", "eipalloc-2"], ..addressed.clone() }),
    ] {
        let mut sim = Sim::new(FakeSettings::default()).await;
        sim.converge(&from.stack()).await.expect("converges");
        sim.pass(60, &[]).await;
        let groups: BTreeSet<String> = sim.fake.world().target_groups.keys().cloned().collect();
        // Nothing is done before it is allowed, and nothing while it is protected.
        let problems = sim.converge(&to.stack()).await.expect("nothing is done");
        assert!(problems[0].message.contains("allow-replacement-downtime"), "{problems:?}");
        let guarded = Front { protected: Some(true), ..from.clone() };
        sim.converge(&guarded.stack()).await.expect("converges");
        let to = Front { downtime: true, ..to };
        let kept = Front { protected: Some(true), ..to.clone() };
        let problems = sim.converge(&kept.stack()).await.expect("nothing is done");
        assert!(problems[0].message.contains("deletion_protection.enabled"), "{problems:?}");
        sim.check(&[&guarded.stack()]);
        // Not even where nothing is said of it: a hand may have set it.
        assert_eq!(sim.converge(&to.stack()).await.expect("nothing is done").len(), 1);
        let to = Front { protected: Some(false), ..to };
        assert_eq!(sim.converge(&to.stack()).await.expect("converges"), []);
        assert_eq!(sim.fake.world().gaps.len(), 1);
        sim.fake.world().gaps.clear();
        sim.pass(300, &[&to.stack()]).await;
        sim.check(&[&to.stack()]);
        let shown = &sim.shown[&to.owner()];
        let world = sim.fake.world();
        let name = |lb: &LoadBalancer| Some(lb.dns_name.to_ascii_lowercase());
        assert!(world.load_balancers.values().any(|(lb, _)| name(lb) == shown[0].hostname));
        assert!(
            world.target_groups.keys().cloned().collect::<BTreeSet<_>>() == groups,
            "those that were there"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rules_of_an_alb() {
    let with = |rules: &[(&'static str, u16)]| Front { rules: rules.to_vec(), ..Front::alb("shop") };
    let from = with(&[("a.example", 31001), ("b.example", 31002), ("c.example", 31003)]);
    for to in [
        with(&[("c.example", 31003), ("a.example", 31001), ("b.example", 31002)]),
        with(&[("new.example", 31009), ("a.example", 31001), ("b.example", 31002), ("c.example", 31003)]),
        with(&[("b.example", 31002)]),
        with(&[("a.example", 31002), ("b.example", 31001), ("c.example", 31003)]),
        with(&[]),
    ] {
        let sim = change(&from, &to).await;
        let orders = sim.fake.counts().get("SetRulePriorities").copied().unwrap_or_default();
        assert!(orders <= 1, "{orders} calls for {:?}", to.rules);
        change(&to, &from).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_after_the_end() {
    let without_groups = Front { security_groups: false, ..Front::nlb("web") };
    for front in [Front::nlb("web"), without_groups, Front::alb("shop")] {
        let mut sim = Sim::new(FakeSettings::default()).await;
        sim.converge(&front.stack()).await.expect("converges");
        sim.check(&[&front.stack()]);
        sim.converge(&front.gone()).await.expect("converges");
        sim.fake.world().gaps.clear();
        sim.check(&[]);
        assert!(sim.live.owned().await.expect("answers").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_instance_keeps_nobody_out() {
    let mut sim = Sim::new(FakeSettings::default()).await;
    sim.fake.world().bad_targets.insert("i-7".to_owned());
    let want = Front { nodes: (0..20).collect(), ..Front::nlb("web") }.stack();
    let problems = sim.converge(&want).await.expect("converges");
    assert!(problems.iter().any(|p| p.message.contains("i-7")), "{problems:?}");
    let world = sim.fake.world();
    let group = world.target_groups.values().find(|g| g.spec.name.contains("web")).expect("there");
    assert_eq!(world.standing(&group.arn).len(), 19);
}

#[tokio::test(start_paused = true)]
async fn targets_that_never_become_healthy_leave_the_old_ones_serving() {
    let from = Front { ports: vec![(80, ElbProtocol::Tcp, 30080)], ..Front::nlb("web") };
    let to = Front { ports: vec![(80, ElbProtocol::TcpUdp, 30080)], ..from.clone() };
    let mut sim = Sim::new(FakeSettings::default()).await;
    sim.converge(&from.stack()).await.expect("converges");
    let name = to.stack().target_groups.values().next().expect("one").name.clone();
    sim.fake.world().sick.insert(name);
    let began = tokio::time::Instant::now();
    let ended = sim.converge(&to.stack()).await;
    assert!(matches!(ended, Err(CloudError::Invalid(p)) if p.reason == "TargetsUnhealthy"));
    let waited = began.elapsed().as_secs();
    assert!((600..700).contains(&waited), "{waited}");
    assert_eq!(sim.fake.world().gaps, Vec::<String>::new());
    // And once they are, the rest follows.
    sim.fake.world().sick.clear();
    sim.converge(&to.stack()).await.expect("converges");
    sim.check(&[&to.stack()]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_made_is_left_alone() {
    let mut sim = Sim::new(FakeSettings::default()).await;
    let front = Front::nlb("web");
    sim.converge(&front.stack()).await.expect("converges");
    let foreign = {
        let mut world = sim.fake.world();
        let mut listener = world.listeners.values().next().expect("one").clone();
        listener.arn.push_str("-foreign");
        listener.spec.port = 443;
        listener.spec.tags.clear();
        let arn = listener.arn.clone();
        world.listeners.insert(arn.clone(), listener);
        arn
    };
    sim.live.known().doubt(&front.owner());
    sim.converge(&front.stack()).await.expect("converges");
    assert!(sim.fake.world().listeners.contains_key(&foreign), "nobody asked for port 443");
    let two = Front { ports: vec![(80, ElbProtocol::Tcp, 30080), (443, ElbProtocol::Tcp, 30443)], ..front };
    let problems = sim.converge(&two.stack()).await.expect("the rest is served");
    assert!(problems.iter().any(|p| p.reason == "ForeignResource"), "{problems:?}");
    assert!(sim.fake.world().listeners.contains_key(&foreign));
}
