//! What aws-load-balancer-controller and cloud-provider-aws made becomes ours, and stays what it was.

use super::*;
use crate::adopt::{CPA, LBC, adopted_from};
use crate::cloud::Call;
use crate::fake::{Fault, World};
use crate::stack::{ElbProtocol, Scheme};

/// The peer's tags in place of ours, on everything.
fn give_to_the_peer(world: &mut World) {
    let hand_over = |tags: &mut Tags, short: &str| {
        let (owner, resource) =
            (tags.get(TAG_OWNER).cloned(), tags.get(causeway_api::names::TAG_RESOURCE).cloned());
        let ours = tags.get(TAG_CLUSTER).is_some_and(|cluster| cluster == CLUSTER);
        let (true, Some(owner), Some(resource)) = (ours, owner, resource) else { return };
        tags.clear();
        tags.insert("elbv2.k8s.aws/cluster".to_owned(), "bed".to_owned());
        if owner == "shared" {
            tags.insert("elbv2.k8s.aws/resource".to_owned(), "backend-sg".to_owned());
            return;
        }
        let (kind, uid) = owner.split_once('/').expect("an owner");
        tags.insert(format!("{kind}.k8s.aws/stack"), format!("ns/{uid}"));
        let id = resource.strip_prefix(short).and_then(|id| id.strip_prefix('/')).expect("an id");
        tags.insert(format!("{kind}.k8s.aws/resource"), id.to_owned());
    };
    // Its names are others than ours would be: they hold the cluster's name, not its id.
    for (lb, _) in world.load_balancers.values_mut() {
        hand_over(&mut lb.spec.tags, "LoadBalancer");
        lb.spec.name.push_str("-lbc");
    }
    for group in world.target_groups.values_mut() {
        hand_over(&mut group.spec.tags, "TargetGroup");
        group.spec.name.push_str("-lbc");
    }
    for group in world.security_groups.values_mut() {
        hand_over(&mut group.spec.tags, "SecurityGroup");
        group.spec.group_name.push_str("-lbc");
    }
    world.listeners.values_mut().for_each(|listener| hand_over(&mut listener.spec.tags, "Listener"));
    world.rules.values_mut().for_each(|rule| hand_over(&mut rule.spec.tags, "ListenerRule"));
}

/// A cluster where the peer has served this.
async fn of_the_peer(front: &Front) -> Sim {
    let mut sim = Sim::new(FakeSettings::default()).await;
    sim.converge(&front.stack()).await.expect("converges");
    tokio::time::sleep(Duration::from_secs(90)).await;
    give_to_the_peer(&mut sim.fake.world());
    sim.fake.remember();
    // Until the tagging API knows.
    tokio::time::sleep(Duration::from_secs(60)).await;
    sim.adopt = Some(&LBC);
    sim.restart().await;
    sim.fake.counts();
    sim
}

fn names(sim: &Sim) -> BTreeSet<String> {
    sim.fake.world().load_balancers.values().map(|(lb, _)| lb.dns_name.clone()).collect()
}

fn writes(sim: &Sim) -> Vec<Call> {
    sim.fake.world().calls.drain(..).filter(Call::writes).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stack_of_the_peer_is_taken_over_by_tags_alone() {
    for front in [Front::nlb("web"), Front::alb("shop")] {
        let mut sim = of_the_peer(&front).await;
        let before = names(&sim);
        sim.converge(&front.stack()).await.expect("converges");
        sim.check(&[&front.stack()]);
        assert_eq!(names(&sim), before, "no other load balancer");
        let other: Vec<Call> = writes(&sim)
            .into_iter()
            .filter(|call| !matches!(call, Call::AddTags { .. } | Call::CreateTags { .. }))
            .collect();
        assert_eq!(other, [], "{}: nothing but tags changes", front.uid);
        {
            let world = sim.fake.world();
            let (lb, _) = world
                .load_balancers
                .values()
                .find(|(lb, _)| adopted_from(&lb.spec.tags) == Some(&LBC))
                .expect("one");
            assert_eq!(
                lb.spec.tags.get("elbv2.k8s.aws/cluster").map(String::as_str),
                Some("bed"),
                "the peer's tags stay"
            );
        }
        // From then on it is ours, with the flag or without.
        for adopt in [Some(&LBC), None] {
            tokio::time::sleep(Duration::from_secs(60)).await;
            sim.adopt = adopt;
            sim.restart().await;
            sim.fake.counts();
            sim.converge(&front.stack()).await.expect("converges");
            assert_eq!(writes(&sim), []);
        }
        sim.converge(&front.gone()).await.expect("converges");
        sim.fake.world().gaps.clear();
        sim.check(&[]);
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write_of_taking_over() {
    for front in [Front::nlb("web"), Front::alb("shop")] {
        let mut at = 0;
        loop {
            let mut after = 0;
            for fault in [Fault::Before("InternalFailure"), Fault::After] {
                let mut sim = of_the_peer(&front).await;
                let before = names(&sim);
                {
                    let mut world = sim.fake.world();
                    world.counted = 0;
                    world.faults = BTreeMap::from([(at, fault)]);
                }
                sim.dies = true;
                sim.converge(&front.stack()).await.expect("converges");
                sim.pass(120, &[&front.stack()]).await;
                sim.check(&[&front.stack()]);
                assert_eq!(names(&sim), before, "no other load balancer, killed at write {at}");
                after = sim.fake.world().counted.max(after);
            }
            at += 1;
            if at >= after {
                break;
            }
        }
        assert!(at > 4, "{at} writes");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_flag_or_without_the_status_nothing_of_the_peer_is_touched() {
    let front = Front { name: Some("ours"), scheme: Scheme::Internal, ..Front::nlb("web") };
    for (adopt, shown) in [(false, true), (true, false)] {
        let mut sim = of_the_peer(&Front::nlb("web")).await;
        let theirs: Vec<LoadBalancer> =
            sim.fake.world().load_balancers.values().map(|(lb, _)| lb.clone()).collect();
        sim.adopt = adopt.then_some(&LBC);
        if !shown {
            sim.shown.clear();
        }
        sim.restart().await;
        let problems = sim.converge(&front.stack()).await.expect("converges");
        assert_eq!(
            problems.iter().any(|p| p.reason == "LoadBalancerNotAdopted"),
            adopt && !shown,
            "{problems:?}"
        );
        let world = sim.fake.world();
        for lb in theirs {
            assert_eq!(world.load_balancers.get(&lb.arn).map(|(lb, _)| lb), Some(&lb));
        }
        assert_eq!(world.load_balancers.len(), 3, "the other cluster's, the peer's, ours");
    }
}

/// A cluster where cloud-provider-aws has served this, which has no security groups.
async fn of_cpa(front: &Front) -> Sim {
    let mut sim = Sim::new(FakeSettings::default()).await;
    sim.converge(&front.stack()).await.expect("converges");
    tokio::time::sleep(Duration::from_secs(90)).await;
    {
        let mut world = sim.fake.world();
        let theirs = |tags: &mut Tags| {
            if tags.get(TAG_CLUSTER).is_some_and(|cluster| cluster == CLUSTER) {
                tags.clear();
                tags.insert("kubernetes.io/cluster/bed".to_owned(), "owned".to_owned());
                tags.insert("kubernetes.io/service-name".to_owned(), format!("ns/{}", front.uid));
            }
        };
        for (lb, _) in world.load_balancers.values_mut().filter(|(lb, _)| lb.dns_name != "other") {
            theirs(&mut lb.spec.tags);
            "a0123".clone_into(&mut lb.spec.name);
        }
        for group in world.target_groups.values_mut() {
            theirs(&mut group.spec.tags);
            group.spec.name.push_str("-cpa");
        }
        world.listeners.values_mut().for_each(|listener| listener.spec.tags.clear());
        let nodes = world.security_groups.get_mut("sg-node").expect("the nodes' group");
        nodes.spec.tags.insert("kubernetes.io/cluster/bed".to_owned(), "owned".to_owned());
        for range in nodes.spec.ingress.iter_mut().flat_map(|rule| &mut rule.ip_ranges) {
            "kubernetes.io/rule/nlb/client=a0123".clone_into(&mut range.description);
        }
    }
    sim.fake.remember();
    tokio::time::sleep(Duration::from_secs(60)).await;
    sim.adopt = Some(&CPA);
    sim.restart().await;
    sim.fake.counts();
    sim
}

fn node_rules(sim: &Sim) -> Vec<IpPermission> {
    sim.fake.world().security_groups["sg-node"].spec.ingress.clone()
}

#[tokio::test(start_paused = true)]
async fn an_nlb_of_the_cloud_provider_is_taken_over_by_tags_alone_and_leaves_no_rule_behind() {
    let two = vec![(80, ElbProtocol::Tcp, 30080), (443, ElbProtocol::Tcp, 30443)];
    let front = Front { security_groups: false, ports: two, ..Front::nlb("web") };
    let mut sim = of_cpa(&front).await;
    let (before, rules) = (names(&sim), node_rules(&sim));
    sim.converge(&front.stack()).await.expect("converges");
    check_one(&sim.fake.world(), &front.stack());
    assert_eq!(names(&sim), before, "no other load balancer");
    assert_eq!(node_rules(&sim), rules, "whoever was let in still is");
    let other: Vec<Call> = writes(&sim)
        .into_iter()
        .filter(|call| !matches!(call, Call::AddTags { .. } | Call::CreateTags { .. }))
        .collect();
    assert_eq!(other, [], "nothing but tags changes");
    for adopt in [Some(&CPA), None] {
        tokio::time::sleep(Duration::from_secs(60)).await;
        sim.adopt = adopt;
        sim.restart().await;
        sim.fake.counts();
        sim.converge(&front.stack()).await.expect("converges");
        assert_eq!(writes(&sim), []);
    }
    // One port less: its rule goes, the other's stays.
    let one = Front { ports: vec![(80, ElbProtocol::Tcp, 30080)], ..front.clone() };
    sim.converge(&one.stack()).await.expect("converges");
    let open: Vec<Option<u16>> =
        node_rules(&sim).iter().filter_map(|r| signer(r).map(|_| r.from_port)).collect();
    assert_eq!(open, [Some(30080)]);
    sim.converge(&one.gone()).await.expect("converges");
    assert!(node_rules(&sim).iter().all(|rule| signer(rule).is_none()), "{:?}", node_rules(&sim));
    sim.fake.world().gaps.clear();
    sim.check(&[]);
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write_of_taking_over_from_the_cloud_provider() {
    let front = Front { security_groups: false, ..Front::nlb("web") };
    let mut at = 0;
    loop {
        let mut after = 0;
        for fault in [Fault::Before("InternalFailure"), Fault::After] {
            let mut sim = of_cpa(&front).await;
            let before = names(&sim);
            {
                let mut world = sim.fake.world();
                world.counted = 0;
                world.faults = BTreeMap::from([(at, fault)]);
            }
            sim.dies = true;
            sim.converge(&front.stack()).await.expect("converges");
            sim.pass(120, &[&front.stack()]).await;
            check_one(&sim.fake.world(), &front.stack());
            assert_eq!(names(&sim), before, "no other load balancer, killed at write {at}");
            after = sim.fake.world().counted.max(after);
        }
        at += 1;
        if at >= after {
            break;
        }
    }
    assert!(at > 2, "{at} writes");
}
