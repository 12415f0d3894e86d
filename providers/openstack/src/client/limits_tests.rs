use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const FOUR: Rate = Rate { per_second: 4.0, burst: 8 };

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn begins_empty_and_fills_to_the_burst() {
    let mut limiter = Limiter::new(FOUR, Duration::ZERO);
    for _ in 0..20 {
        limiter.enqueue(Priority::Members);
    }
    assert_eq!(limiter.grant(Duration::ZERO).len(), 0);
    assert_eq!(limiter.grant(seconds(0.5)).len(), 2);
    assert_eq!(limiter.grant(seconds(100.0)).len(), 8, "no more than the burst");
    assert_eq!(limiter.grant(seconds(101.0)).len(), 4);
}

#[test]
fn the_urgent_first_and_something_left_for_them() {
    let mut limiter = Limiter::new(FOUR, Duration::ZERO);
    let audit = limiter.enqueue(Priority::Audit);
    let change = limiter.enqueue(Priority::Change);
    let members = limiter.enqueue(Priority::Members);
    assert_eq!(limiter.grant(seconds(0.26)), [members]);
    assert_eq!(limiter.grant(seconds(0.80)), [change], "1.4 tokens are needed");
    assert_eq!(limiter.grant(seconds(1.2)), [], "3 tokens are needed");
    assert_eq!(limiter.grant(seconds(2.0)), [audit]);
}

#[test]
fn what_a_service_says_holds_for_all() {
    let mut limiter = Limiter::new(FOUR, Duration::ZERO);
    limiter.grant(seconds(10.0));
    limiter.refused(Some(seconds(7.0)), seconds(10.0));
    let ticket = limiter.enqueue(Priority::Members);
    assert_eq!(limiter.grant(seconds(16.9)), []);
    assert!(limiter.expected(Priority::Members, ticket, seconds(11.0)) >= seconds(6.0));
    assert_eq!(limiter.grant(seconds(17.6)), [ticket], "half the rate: one token in half a second");
    limiter.refused(Some(seconds(1e6)), seconds(20.0));
    limiter.enqueue(Priority::Members);
    assert_eq!(limiter.grant(seconds(330.0)).len(), 1, "nobody shuts us out for days");
}

#[test]
fn refusals_halve_once_and_it_comes_back() {
    let mut limiter = Limiter::new(FOUR, Duration::ZERO);
    limiter.refused(None, seconds(1.0));
    limiter.refused(None, seconds(1.5));
    assert!((limiter.share() - 0.5).abs() < 0.01, "{}", limiter.share());
    for i in 0..20 {
        limiter.refused(None, seconds(5.0 + 3.0 * f64::from(i)));
    }
    assert!(limiter.share() >= LEAST);
    limiter.grant(seconds(500.0));
    assert!((limiter.share() - 1.0).abs() < 1e-9);
}

#[test]
fn a_rate_of_nothing_is_still_one() {
    let mut limiter = Limiter::new(Rate { per_second: 0.0, burst: 0 }, Duration::ZERO);
    limiter.enqueue(Priority::Audit);
    assert_eq!(limiter.grant(seconds(200.0)).len(), 1);
}

proptest! {
    #[test]
    fn never_more_than_the_rate_allows(
        arrivals in proptest::collection::vec((0u64..3, 0u64..2000), 1..80), refuse in 0u64..20_000
    ) {
        let mut limiter = Limiter::new(FOUR, Duration::ZERO);
        let mut now = 0;
        let mut granted = 0;
        for (priority, step) in arrivals {
            now += step;
            let priority = [Priority::Members, Priority::Change, Priority::Audit][usize::try_from(priority).unwrap_or(0)];
            limiter.enqueue(priority);
            if now > refuse {
                limiter.refused(None, Duration::from_millis(now));
            }
            granted += limiter.grant(Duration::from_millis(now)).len();
            prop_assert!(granted as f64 <= now as f64 / 1000.0 * 4.0 + 1e-6);
        }
        // And nobody waits for ever.
        while let Some(next) = limiter.next_grant(Duration::from_millis(now)) {
            let next = u64::try_from(next.as_millis()).unwrap_or(u64::MAX) + 1;
            prop_assert!(next > now && next < now + 60_000);
            now = next;
            limiter.grant(Duration::from_millis(now));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_pass_at_the_rate_the_urgent_first_and_whoever_gives_up_takes_nothing() {
    let gate = Arc::new(Gate::new(FOUR));
    let began = Instant::now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..30 {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        let priority = if i < 15 { Priority::Change } else { Priority::Members };
        tasks.spawn(async move {
            gate.pass(priority, Duration::from_secs(60)).await.expect("there is time");
            order.lock().expect("no panic").push(priority);
        });
    }
    let gone = {
        let gate = Arc::clone(&gate);
        tokio::spawn(async move { gate.pass(Priority::Members, Duration::from_secs(60)).await })
    };
    tokio::task::yield_now().await;
    gone.abort();
    let told = gate.pass(Priority::Audit, Duration::from_millis(100)).await;
    assert!(told.is_err_and(|wait| wait > Duration::from_secs(5)), "the impatient are told");
    while tasks.join_next().await.is_some() {}
    let took = began.elapsed().as_secs_f64();
    assert!((7.4..8.2).contains(&took), "{took}");
    let order = order.lock().expect("no panic");
    assert!(order[..15].iter().all(|p| *p == Priority::Members), "{order:?}");
}
