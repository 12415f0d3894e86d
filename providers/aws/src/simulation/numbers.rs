//! How many calls things cost.

use super::*;

fn front(n: usize) -> Front {
    let uid: &'static str = Box::leak(format!("u{n}").into_boxed_str());
    Front { nodes: (0..3).collect(), ..Front::nlb(uid) }
}

fn sum(counts: &BTreeMap<&'static str, usize>) -> usize {
    counts.values().sum()
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_of_one_port_costs_eight_calls_and_then_none() {
    let mut sim =
        Sim::new(FakeSettings { provisioning: Duration::from_secs(4), ..FakeSettings::default() }).await;
    // What all share is there after the first.
    let first = front(0).stack();
    sim.converge(&first).await.expect("converges");
    sim.fake.counts();
    let second = front(1).stack();
    sim.converge(&second).await.expect("converges");
    let counts = sim.fake.counts();
    assert!(sum(&counts) <= 8, "{counts:?}");
    for _ in 0..3 {
        sim.converge(&second).await.expect("converges");
    }
    assert_eq!(sum(&sim.fake.counts()), 0);
    sim.check(&[&first, &second]);
    assert_eq!(sim.fake.world().throttled, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_load_balancers() {
    let mut sim = Sim::new(FakeSettings::default()).await;
    let mut fronts: Vec<Front> = (0..100).map(front).collect();
    let began = tokio::time::Instant::now();
    for f in &fronts {
        sim.converge(&f.stack()).await.expect("converges");
    }
    let created = began.elapsed();
    // One after the other here: AWS alone needs 450 s for as many at once.
    assert!(created > Duration::from_secs(450), "{created:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let _ = sim.fake.counts();

    // A restart, nothing changed.
    let began = tokio::time::Instant::now();
    sim.restart().await;
    for f in &fronts {
        sim.converge(&f.stack()).await.expect("converges");
    }
    let restarted = (sum(&sim.fake.counts()), began.elapsed());
    println!("restart of 100: {} calls, {:?}", restarted.0, restarted.1);
    assert!(restarted.0 <= 20 && restarted.1 < Duration::from_secs(5), "{restarted:?}");

    // A node is replaced: one call for it that comes and one for it that goes, and tags that are shared.
    for f in &mut fronts {
        f.nodes = [1, 2, 3].into();
    }
    for round in ["known", "after a restart"] {
        if round != "known" {
            sim.restart().await;
            let _ = sim.fake.counts();
            for f in &mut fronts {
                f.nodes = [2, 3, 4].into();
            }
        }
        let stacks: Vec<AwsStack> = fronts.iter().map(Front::stack).collect();
        let sim_ref = &sim;
        let all = stacks.iter().map(|want| async move {
            for _ in 0..50 {
                let have = match sim_ref.live.observe(&key(want)).await {
                    Ok(have) => have,
                    Err(_) => continue,
                };
                let plan = plan(want, &have);
                Sim::linted(&plan);
                if plan.is_empty() {
                    return;
                }
                for change in &plan.changes {
                    match sim_ref.live.apply(change, &Fence::open()).await {
                        Ok(Outcome::Done) => {}
                        Ok(Outcome::Pending(after)) | Err(CloudError::Throttled(after)) => {
                            tokio::time::sleep(after).await;
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            panic!("does not converge");
        });
        join_all(all).await;
        let counts = sim.fake.counts();
        println!("a node replaced, {round}: {counts:?}");
        assert_eq!(counts["RegisterTargets"], 100, "{counts:?}");
        assert_eq!(counts["DeregisterTargets"], 100, "{counts:?}");
        assert!(sum(&counts) <= 250, "{counts:?}");
        let wants: Vec<&AwsStack> = stacks.iter().collect();
        sim.check(&wants);
    }
    assert_eq!(sim.fake.world().throttled, 0);
}

/// Waits for all; in one task, so that what they share is shared as by workers.
async fn join_all(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(move |context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_audit_finds_what_a_hand_changed_within_its_budget() {
    let mut sim = Sim::new(FakeSettings::default()).await;
    let fronts: Vec<Front> = (0..20).map(front).collect();
    let stacks: Vec<AwsStack> = fronts.iter().map(Front::stack).collect();
    for stack in &stacks {
        sim.converge(stack).await.expect("converges");
    }
    sim.fake.counts();
    let wants: Vec<&AwsStack> = stacks.iter().collect();
    {
        let mut world = sim.fake.world();
        let listener = world.listeners.values_mut().next().expect("one");
        listener.spec.listener_attributes.clear();
        let arn = world.target_groups.keys().last().cloned().expect("one");
        world.target_groups.get_mut(&arn).expect("one").spec.health_check_config.interval_seconds = 30;
    }
    sim.audits(1800, &wants).await;
    sim.check(&wants);
    let counts = sim.fake.counts();
    // Half a call each second for a hundred of them.
    assert!(sum(&counts) <= 180, "{counts:?}");
}
