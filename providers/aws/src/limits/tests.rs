//! Properties of the limiter: never above the rate, the urgent first, nobody starves while there is room.

use proptest::prelude::*;

use super::*;

const ALL: [Priority; 4] = [Priority::Deregister, Priority::Register, Priority::Create, Priority::Audit];

fn sets() -> Vec<&'static [Bucket]> {
    use Bucket::*;
    vec![
        &[ElbAccount, ElbRead],
        &[ElbAccount, ElbWrite],
        &[ElbAccount, ElbRegistration],
        &[ElbAccount, ElbIntensive],
        &[Ec2Write],
        &[Tagging],
    ]
}

/// AWS's own bucket, which began full or empty.
fn refuses(bucket: Bucket, times: &[Duration], full: bool) -> bool {
    let (burst, rate) = bucket.documented();
    let (mut tokens, mut since) = (if full { f64::from(burst) } else { 0.0 }, Duration::ZERO);
    times.iter().any(|at| {
        tokens = (tokens + (*at - since).as_secs_f64() * rate).min(f64::from(burst));
        since = *at;
        tokens -= 1.0;
        tokens < -1e-6
    })
}

proptest! {
    /// Whatever comes when, and however long calls are on their way, AWS's own buckets never refuse, not even those that were empty at the start.
    #[test]
    fn never_above_the_rate(
        arrivals in prop::collection::vec((0u64..400, 0usize..4, 0usize..6), 1..300),
        delays in prop::collection::vec(0u64..3000, 1..20),
    ) {
        let sets = sets();
        let mut limiter = Limiter::new(Duration::ZERO);
        let mut given: BTreeMap<Bucket, Vec<Duration>> = BTreeMap::new();
        let mut which = BTreeMap::new();
        let mut now = Duration::ZERO;
        // Calls on their way, by when they arrive; the answer comes at once.
        let mut underway: Vec<(Duration, &'static [Bucket])> = Vec::new();
        let mut delays = delays.into_iter().cycle().map(Duration::from_millis);
        let mut step = |limiter: &mut Limiter, which: &BTreeMap<Ticket, &'static [Bucket]>, now| {
            underway.sort();
            while let Some((at, buckets)) = underway.first().copied().filter(|(at, _)| *at <= now) {
                underway.remove(0);
                for bucket in buckets {
                    given.entry(*bucket).or_default().push(at);
                }
                limiter.answered(buckets, at);
            }
            for ticket in limiter.grant(now) {
                underway.push((now + delays.next().unwrap_or_default(), which[&ticket]));
            }
            underway.len()
        };
        for (gap, priority, set) in arrivals {
            now += Duration::from_millis(gap);
            let ticket = limiter.enqueue(ALL[priority], sets[set]);
            which.insert(ticket, sets[set]);
            step(&mut limiter, &which, now);
        }
        let mut rounds = 0;
        while let Some(next) = limiter.next_grant(now) {
            now = next;
            step(&mut limiter, &which, now);
            rounds += 1;
            prop_assert!(rounds < 20_000, "nobody is served any more");
        }
        while step(&mut limiter, &which, now) > 0 {
            now += Duration::from_millis(100);
        }
        for (bucket, times) in &given {
            prop_assert!(!refuses(*bucket, times, false), "{bucket:?}");
        }
        prop_assert_eq!(given.values().map(Vec::len).max().unwrap_or(0) > 0, true);
    }

    /// Of those who wait for the same, nobody is served before one more urgent, and equals in the order in which they came.
    #[test]
    fn the_urgent_first(priorities in prop::collection::vec(0usize..4, 2..60)) {
        let mut limiter = Limiter::new(Duration::ZERO);
        let mut expected: Vec<(Priority, Ticket)> = priorities
            .into_iter()
            .map(|p| (ALL[p], limiter.enqueue(ALL[p], &[Bucket::ElbRegistration])))
            .collect();
        expected.sort();
        let (mut served, mut now) = (Vec::new(), Duration::ZERO);
        while let Some(next) = limiter.next_grant(now) {
            now = next;
            for ticket in limiter.grant(now) {
                served.push(ticket);
                limiter.answered(&[Bucket::ElbRegistration], now);
            }
        }
        prop_assert_eq!(served, expected.into_iter().map(|(_, t)| t).collect::<Vec<_>>());
    }

    /// Without load everybody is served as soon as the bucket has what is kept for the more urgent and one more.
    #[test]
    fn nobody_starves(bucket in 0usize..9, priority in 0usize..4) {
        let buckets: [&'static [Bucket]; 9] = [
            &[Bucket::ElbAccount], &[Bucket::ElbIntensive], &[Bucket::ElbRegistration], &[Bucket::ElbRead], &[Bucket::ElbWrite],
            &[Bucket::Ec2Read], &[Bucket::Ec2Write], &[Bucket::Acm], &[Bucket::Tagging],
        ];
        let set = buckets[bucket];
        let mut limiter = Limiter::new(Duration::ZERO);
        let ticket = limiter.enqueue(ALL[priority], set);
        let expected = limiter.expected(ALL[priority], ticket);
        let (burst, rate) = set[0].documented();
        prop_assert!(expected.as_secs_f64() <= (1.0 + f64::from(burst) * 0.25) / (rate * SHARE) + 0.01);
        prop_assert!(limiter.grant(expected).contains(&ticket));
    }
}

#[test]
fn one_who_waits_for_a_slow_bucket_stops_nobody_else() {
    let mut limiter = Limiter::new(Duration::ZERO);
    for _ in 0..5 {
        limiter.enqueue(Priority::Deregister, &[Bucket::ElbAccount, Bucket::ElbIntensive]);
    }
    let read = limiter.enqueue(Priority::Audit, &[Bucket::ElbAccount, Bucket::ElbRead]);
    assert!(limiter.grant(Duration::from_secs(3)).contains(&read));
}

#[test]
fn a_refusal_halves_the_rate_which_comes_back() {
    let seconds = Duration::from_secs;
    let mut limiter = Limiter::new(Duration::ZERO);
    limiter.refused(&[Bucket::ElbRead], seconds(10));
    limiter.refused(&[Bucket::ElbRead], seconds(11));
    assert!((limiter.share(Bucket::ElbRead) - 0.51).abs() < 0.02, "two within a moment are one");
    limiter.refused(&[Bucket::ElbRead], seconds(13));
    assert!(limiter.share(Bucket::ElbRead) < 0.3);
    assert!((limiter.share(Bucket::ElbWrite) - 1.0).abs() < f64::EPSILON);
    limiter.grant(seconds(200));
    assert!((limiter.share(Bucket::ElbRead) - 1.0).abs() < f64::EPSILON);
}
