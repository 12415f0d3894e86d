//! A crash, or a fault, at every call.

use proptest::prelude::*;

use super::*;
use crate::fake::Fault;
use crate::stack::{ElbProtocol, Scheme};

fn ways() -> Vec<(&'static str, Option<Front>, Option<Front>)> {
    let web = Front::nlb("web");
    let shop = Front::alb("shop");
    let more = Front {
        ports: vec![(80, ElbProtocol::Tcp, 30080), (443, ElbProtocol::Tls, 30443)],
        idle: Some(60),
        cross_zone: true,
        health_interval: 30,
        sources: vec!["10.0.0.0/8"],
        nodes: [1, 2, 7].into(),
        ..web.clone()
    };
    let protocol = Front { ports: vec![(80, ElbProtocol::TcpUdp, 30080)], ..web.clone() };
    let scheme = Front { scheme: Scheme::InternetFacing, ..web.clone() };
    let rules = Front {
        rules: vec![("c.example", 31003), ("b.example", 31002), ("a.example", 31009)],
        ..shop.clone()
    };
    vec![
        ("create", None, Some(more.clone())),
        ("change", Some(web.clone()), Some(more.clone())),
        ("change back", Some(more), Some(web.clone())),
        ("another protocol", Some(web.clone()), Some(protocol)),
        ("another scheme", Some(web.clone()), Some(scheme)),
        ("nodes", Some(web.clone()), Some(Front { nodes: [2, 3].into(), ..web.clone() })),
        ("create an ALB", None, Some(shop.clone())),
        ("rules", Some(shop.clone()), Some(rules)),
        ("delete", Some(web.clone()), None),
        (
            "what goes with it",
            Some(Front { acl: Some("arn:a"), shield: Some(false), ..shop.clone() }),
            Some(Front { acl: Some("name:b"), shield: Some(true), login: Some("1"), ..shop.clone() }),
        ),
        (
            "replace what is fixed",
            Some(Front { name: Some("shop"), ..web.clone() }),
            Some(Front { name: Some("shop"), scheme: Scheme::InternetFacing, downtime: true, ..web.clone() }),
        ),
        ("delete what is protected", Some(Front { shield: Some(true), ..shop.clone() }), None),
        ("delete an ALB", Some(shop), None),
    ]
}

/// One way, with faults; answers how many calls counted for faults.
async fn go(
    way: &(&'static str, Option<Front>, Option<Front>),
    faults: &BTreeMap<usize, Fault>,
    in_reads: bool,
    dies: bool,
) -> usize {
    let (name, from, to) = way;
    let mut sim = super::addons::world().await;
    if let Some(from) = from {
        sim.converge(&from.stack()).await.expect("converges");
        // Long enough for targets to be healthy and for the tagging API to know.
        tokio::time::sleep(Duration::from_secs(90)).await;
    }
    {
        let mut world = sim.fake.world();
        world.counted = 0;
        world.faults.clone_from(faults);
        world.faults_in_reads = in_reads;
    }
    sim.dies = dies;
    let want = match (to, from) {
        (Some(to), _) => to.stack(),
        (None, Some(from)) => from.gone(),
        (None, None) => unreachable!("a way leads somewhere"),
    };
    sim.converge(&want).await.unwrap_or_else(|e| panic!("{name} with {faults:?}: {e}"));
    let counted = sim.fake.world().counted;
    sim.fake.world().faults.clear();
    sim.dies = false;
    if to.is_some() {
        if to.as_ref().is_some_and(|to| to.downtime) {
            sim.fake.world().gaps.clear();
        }
        // Former load balancers go, and the audit finds what a lagging list hid.
        sim.pass(300, &[&want]).await;
        sim.converge(&want).await.unwrap_or_else(|e| panic!("{name} with {faults:?}: {e}"));
    } else {
        // A list that lagged may have hidden something: the sweep for orphans finds it.
        tokio::time::sleep(Duration::from_secs(120)).await;
        if sim.live.owned().await.is_ok_and(|all| !all.is_empty()) {
            sim.converge(&want).await.expect("converges");
        }
        sim.fake.world().gaps.clear();
    }
    let wants: Vec<&AwsStack> = to.iter().map(|_| &want).collect();
    sim.check(&wants);
    super::addons::check(&sim, to.as_ref());
    // A new process has nothing to do.
    tokio::time::sleep(Duration::from_secs(60)).await;
    sim.restart().await;
    sim.fake.counts();
    sim.converge(&want).await.expect("converges");
    let writes: Vec<_> = sim.fake.world().calls.drain(..).filter(crate::cloud::Call::writes).collect();
    assert_eq!(writes, [], "{name} with {faults:?}: a restart changes nothing");
    counted
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write() {
    for way in ways() {
        let writes = go(&way, &BTreeMap::new(), false, false).await;
        assert!(writes > 0, "{}", way.0);
        for at in 0..writes {
            for fault in [Fault::Before("InternalFailure"), Fault::After] {
                go(&way, &BTreeMap::from([(at, fault)]), false, true).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_every_call() {
    for way in ways() {
        let calls = go(&way, &BTreeMap::new(), true, false).await;
        for at in 0..calls {
            for fault in [
                Fault::Before("InternalFailure"),
                Fault::Before("Throttling"),
                Fault::Before("ServiceUnavailable"),
                Fault::After,
            ] {
                go(&way, &BTreeMap::from([(at, fault)]), true, false).await;
            }
        }
    }
}

/// A dead process has left a target group and a security group that nothing uses, and the mark that all is applied.
fn left(sim: &Sim, want: &AwsStack) {
    {
        let mut world = sim.fake.world();
        let mut group =
            world.target_groups.values().find(|g| !g.load_balancers.is_empty()).expect("one").clone();
        group.arn.push_str("-left");
        group.spec.name.push_str("-left");
        group.load_balancers.clear();
        group.spec.tags.extend(want.ownership(ResourceType::TargetGroup, "ns/shop:9"));
        world.target_groups.insert(group.arn.clone(), group);
        let ours = |g: &&SecurityGroup| g.spec.tags.get(TAG_OWNER) == Some(&want.owner);
        let mut group = world.security_groups.values().find(ours).expect("one").clone();
        group.id.push_str("-left");
        group.spec.tags.extend(want.ownership(ResourceType::SecurityGroup, "left"));
        world.security_groups.insert(group.id.clone(), group);
    }
    sim.fake.remember();
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_left_goes_although_all_is_marked_as_applied() {
    // Lists show it to the next process when it starts, or later.
    for at_start in [true, false] {
        let mut sim = Sim::new(FakeSettings::default()).await;
        let want = Front::alb("shop").stack();
        sim.converge(&want).await.expect("converges");
        left(&sim, &want);
        if at_start {
            tokio::time::sleep(Duration::from_secs(90)).await;
            sim.restart().await;
            sim.converge(&want).await.expect("converges");
        } else {
            sim.restart().await;
            sim.pass(400, &[&want]).await;
        }
        sim.check(&[&want]);
        let world = sim.fake.world();
        assert!(!world.security_groups.keys().any(|id| id.ends_with("-left")), "at the start: {at_start}");
    }
}

fn front() -> impl Strategy<Value = Front> {
    let ports = prop::sample::subsequence(
        vec![
            (80, ElbProtocol::Tcp, 30080),
            (443, ElbProtocol::Tls, 30443),
            (53, ElbProtocol::TcpUdp, 30053),
            (853, ElbProtocol::Udp, 30853),
        ],
        1..=4,
    );
    let nodes = prop::collection::btree_set(0u32..8, 1..6);
    let fixed = any::<bool>();
    (ports, nodes, any::<bool>(), any::<bool>(), prop::option::of(60u32..62), 10u32..12, fixed).prop_map(
        |(ports, nodes, internal, cross_zone, idle, health_interval, fixed)| Front {
            name: fixed.then_some("fixed"),
            downtime: true,
            ports,
            nodes,
            scheme: if internal { Scheme::Internal } else { Scheme::InternetFacing },
            cross_zone,
            idle,
            health_interval,
            ..Front::nlb("web")
        },
    )
}

fn ingress() -> impl Strategy<Value = Front> {
    let hosts = Just(vec![
        ("a.example", 31001),
        ("b.example", 31002),
        ("c.example", 31003),
        ("d.example", 31001),
        ("e.example", 31002),
    ]);
    let rules =
        hosts.prop_shuffle().prop_flat_map(|all| (0..=all.len()).prop_map(move |n| all[..n].to_vec()));
    let acl = prop::option::of(prop::sample::select(vec!["", "arn:a", "arn:b", "name:b"]));
    let login = prop::option::of(prop::sample::select(vec!["1", "2"]));
    let goes_with = (acl, prop::option::of(any::<bool>()), login);
    let nodes = prop::collection::btree_set(0u32..5, 1..4);
    (rules, nodes, goes_with).prop_map(|(rules, nodes, (acl, shield, login))| Front {
        rules,
        nodes,
        acl,
        shield,
        login,
        ..Front::alb("shop")
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Before("InternalFailure")),
        Just(Fault::Before("Throttling")),
        Just(Fault::After),
        Just(Fault::After),
    ]
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future);
}

async fn through(fronts: Vec<Front>, faults: BTreeMap<usize, Fault>, dies: bool) {
    let mut sim = super::addons::world().await;
    sim.fake.world().faults = faults;
    sim.dies = dies;
    for front in &fronts {
        sim.converge(&front.stack()).await.expect("converges");
    }
    let front = fronts.last().expect("one at least");
    let want = front.stack();
    sim.fake.world().faults.clear();
    sim.dies = false;
    // A process that died right after it marked a stack dirty leaves lists behind that still call it clean, if what is wanted is what was applied before: a
    // whole round of the audit finds what was left.
    sim.pass(1800, &[&want]).await;
    sim.converge(&want).await.expect("converges");
    // The user moved a port from one protocol to another, or took it away: that is no gap of ours.
    sim.fake.world().gaps.retain(|gap| gap.contains(":loadbalancer/"));
    if fronts.iter().any(|front| front.name.is_some()) {
        // One that is fixed may be replaced with a gap.
        sim.fake.world().gaps.clear();
    }
    sim.check(&[&want]);
    super::addons::check(&sim, Some(front));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn services_from_anywhere_to_anywhere(
        fronts in prop::collection::vec(front(), 1..4),
        faults in prop::collection::btree_map(0usize..60, fault(), 0..8),
        dies: bool,
    ) {
        run(through(fronts, faults, dies));
    }

    #[test]
    fn ingresses_from_anywhere_to_anywhere(
        fronts in prop::collection::vec(ingress(), 1..4),
        faults in prop::collection::btree_map(0usize..60, fault(), 0..8),
        dies: bool,
    ) {
        run(through(fronts, faults, dies));
    }
}
