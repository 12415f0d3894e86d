//! What all stacks share: the security group towards their targets, and the rules of the nodes' groups.

use super::*;
use crate::security::comes_from;

/// Ids of the shared groups of our cluster.
fn shared_groups(sim: &Sim) -> Vec<String> {
    let world = sim.fake.world();
    let ours = |g: &&SecurityGroup| {
        g.spec.tags.get(TAG_CLUSTER).is_some_and(|c| c == CLUSTER)
            && g.spec.tags.get(TAG_OWNER).is_some_and(|o| o == "shared")
    };
    world.security_groups.values().filter(ours).map(|g| g.id.clone()).collect()
}

/// How many rules of a group let ours in.
fn rules_in(sim: &Sim, group: &str) -> usize {
    let shared = shared_groups(sim);
    let world = sim.fake.world();
    let rules = &world.security_groups[group].spec.ingress;
    rules.iter().filter(|r| shared.iter().any(|id| comes_from(r, id))).count()
}

fn another_group(sim: &Sim, id: &str) {
    let mut world = sim.fake.world();
    let mut group = world.security_groups["sg-node"].clone();
    id.clone_into(&mut group.id);
    id.clone_into(&mut group.spec.group_name);
    group.spec.ingress.clear();
    world.security_groups.insert(id.to_owned(), group);
}

fn on(front: &Front, groups: &[&str]) -> AwsStack {
    let mut stack = front.stack();
    stack.shared.node_groups = groups.iter().map(|g| (*g).to_owned()).collect();
    stack
}

#[tokio::test(start_paused = true)]
async fn the_shared_group_goes_with_the_last_stack_and_comes_again() {
    let mut sim = Sim::new(FakeSettings::default()).await;
    let (one, two) = (Front::nlb("one"), Front::alb("two"));
    sim.converge(&one.stack()).await.expect("converges");
    sim.converge(&two.stack()).await.expect("converges");
    sim.converge(&one.gone()).await.expect("converges");
    assert_eq!((shared_groups(&sim).len(), rules_in(&sim, "sg-node")), (1, 1), "another needs it");
    sim.converge(&two.gone()).await.expect("converges");
    sim.fake.world().gaps.clear();
    sim.check(&[]);
    // A list by tags that still shows it leads nobody astray.
    sim.restart().await;
    sim.converge(&one.stack()).await.expect("converges");
    sim.check(&[&one.stack()]);
    assert_eq!(shared_groups(&sim).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_go_at_the_same_time_the_last_takes_it_along() {
    let mut sim = Sim::new(FakeSettings::default()).await;
    let (one, two) = (Front::nlb("one"), Front::nlb("two"));
    for front in [&one, &two] {
        sim.converge(&front.stack()).await.expect("converges");
    }
    // Both plan while the other one is there.
    let mut plans = Vec::new();
    for front in [&one, &two] {
        let have = sim.live.observe(&key(&front.gone())).await.expect("answers");
        plans.push(plan(&front.gone(), &have).changes);
    }
    let mut left: Vec<_> = plans.into_iter().map(std::collections::VecDeque::from).collect();
    while left.iter().any(|p| !p.is_empty()) {
        for plan in &mut left {
            let Some(change) = plan.front() else { continue };
            match sim.live.apply(change, &Fence::open()).await.expect("answers") {
                Outcome::Done => drop(plan.pop_front()),
                Outcome::Pending(after) => tokio::time::sleep(after).await,
            }
        }
    }
    sim.fake.world().gaps.clear();
    sim.check(&[]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_its_deletion_leaves_nobody_without() {
    use crate::fake::Fault;
    let (one, two) = (Front::nlb("one"), Front::nlb("two"));
    let mut at = 0;
    loop {
        let mut sim = Sim::new(FakeSettings::default()).await;
        sim.converge(&one.stack()).await.expect("converges");
        {
            let mut world = sim.fake.world();
            world.counted = 0;
            world.faults = [(at, Fault::After)].into();
        }
        let ended = loop {
            match sim.round(&one.gone()).await {
                Err(CloudError::Pending(after)) => tokio::time::sleep(after).await,
                Ok(None) => {}
                ended => break ended,
            }
        };
        let struck = sim.fake.world().struck;
        assert_eq!(ended.is_err(), struck, "{ended:?}");
        // The other one comes before anybody has looked what became of it.
        let _ = sim.round(&two.stack()).await;
        sim.converge(&one.gone()).await.expect("converges");
        sim.converge(&two.stack()).await.expect("converges");
        sim.fake.world().gaps.clear();
        sim.check(&[&two.stack()]);
        if !struck {
            break;
        }
        at += 1;
    }
    assert!(at >= 5, "{at}");
}

#[tokio::test(start_paused = true)]
async fn a_new_nodes_group_gets_the_rules_and_a_former_one_loses_them() {
    let front = Front::nlb("web");
    for restarts in [false, true] {
        let mut sim = Sim::new(FakeSettings::default()).await;
        let before = on(&front, &["sg-node"]);
        sim.converge(&before).await.expect("converges");
        another_group(&sim, "sg-more");
        if restarts {
            sim.restart().await;
        }
        sim.fake.counts();
        sim.converge(&on(&front, &["sg-node", "sg-more"])).await.expect("converges");
        assert_eq!((rules_in(&sim, "sg-node"), rules_in(&sim, "sg-more")), (1, 1));
        let calls = sim.fake.counts();
        assert!(!calls.contains_key("AddTags"), "the stack itself is as it was: {calls:?}");
        if restarts {
            sim.restart().await;
        }
        sim.converge(&on(&front, &["sg-more"])).await.expect("converges");
        assert_eq!((rules_in(&sim, "sg-node"), rules_in(&sim, "sg-more")), (0, 1));
        sim.converge(&front.gone()).await.expect("converges");
        sim.fake.world().gaps.clear();
        sim.check(&[]);
        assert!(sim.fake.world().security_groups["sg-more"].spec.ingress.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_a_hand_took_away_is_put_back() {
    for restarts in [false, true] {
        let mut sim = Sim::new(FakeSettings::default()).await;
        let stacks: Vec<AwsStack> = ["one", "two", "three"].map(|name| Front::nlb(name).stack()).into();
        for stack in &stacks {
            sim.converge(stack).await.expect("converges");
        }
        if restarts {
            sim.restart().await;
        }
        let shared = shared_groups(&sim);
        let ours = |r: &IpPermission| shared.iter().any(|id| comes_from(r, id));
        sim.fake.world().security_groups.get_mut("sg-node").expect("there").spec.ingress.retain(|r| !ours(r));
        let all: Vec<&AwsStack> = stacks.iter().collect();
        sim.fake.counts();
        sim.pass(crate::live::REFRESH.calm.as_secs() + 60, &all).await;
        assert_eq!(rules_in(&sim, "sg-node"), 1);
        let calls = sim.fake.counts();
        assert_eq!(calls.get("AuthorizeSecurityGroupIngress"), Some(&1), "{calls:?}");
        assert!(!calls.contains_key("AddTags"), "{calls:?}");
        // And nothing more is done after.
        sim.pass(1200, &all).await;
        let calls = sim.fake.counts();
        let reads = |a: &str| a.starts_with("Describe") || a.starts_with("Get") || a.starts_with("List");
        let writes: Vec<_> = calls.keys().filter(|a| !reads(a)).collect();
        assert!(writes.is_empty(), "{writes:?}");
    }
}
