//! Token buckets, as clouds document their rate limits. Pure: time comes in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;

/// One documented limit: which calls it is about, how many may come at once, how many per second in the long run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Its name in answers and logs.
    pub name: String,
    /// The calls that take a token; a call that several limits cover takes one of each.
    pub calls: Vec<Pattern>,
    /// Calls that take none although `calls` covers them.
    #[serde(default)]
    pub except: Vec<Pattern>,
    /// Tokens of a full bucket.
    pub burst: f64,
    /// Tokens per second.
    pub rate: f64,
}

impl Limit {
    /// A limit of that name on those calls.
    pub fn new(name: &str, calls: &[&str], except: &[&str], burst: f64, rate: f64) -> Limit {
        let patterns = |list: &[&str]| list.iter().map(|text| Pattern::from(*text)).collect();
        Limit { name: name.to_owned(), calls: patterns(calls), except: patterns(except), burst, rate }
    }

    fn covers(&self, service: &str, action: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.covers(service, action));
        any(&self.calls) && !any(&self.except)
    }
}

/// Limits with what is left of each; full at first.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    buckets: Vec<Bucket>,
}

#[derive(Clone, Debug)]
struct Bucket {
    limit: Limit,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.limit.rate).min(self.limit.burst);
        self.at = now;
    }
}

/// A call that came too early.
#[derive(Clone, Debug, PartialEq)]
pub struct Exhausted {
    /// Name of the limit.
    pub limit: String,
    /// When a token will be there, if nobody else takes it.
    pub after: Duration,
}

impl Buckets {
    /// Full buckets of these limits.
    pub fn new(limits: &[Limit]) -> Buckets {
        let full = |limit: &Limit| Bucket { tokens: limit.burst, at: Duration::ZERO, limit: limit.clone() };
        Buckets { buckets: limits.iter().map(full).collect() }
    }

    /// Takes a token of every limit that covers the call, or of none if one has none.
    pub fn take(&mut self, service: &str, action: &str, now: Duration) -> Result<(), Exhausted> {
        let mut concerned: Vec<&mut Bucket> =
            self.buckets.iter_mut().filter(|bucket| bucket.limit.covers(service, action)).collect();
        for bucket in &mut concerned {
            bucket.refill(now);
            // A millionth less than a whole token is one: rates such as 0.2 are no binary fractions.
            if bucket.tokens < 1.0 - 1e-6 {
                let missing = (1.0 - bucket.tokens) / bucket.limit.rate;
                let after = Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX);
                return Err(Exhausted { limit: bucket.limit.name.clone(), after });
            }
        }
        for bucket in concerned {
            bucket.tokens -= 1.0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_passes_then_the_rate_rules() {
        let mut buckets = Buckets::new(&[Limit::new("create", &["Create*"], &[], 10.0, 0.2)]);
        for _ in 0..10 {
            assert_eq!(buckets.take("elb", "CreateLoadBalancer", seconds(1)), Ok(()));
        }
        let refused = buckets.take("elb", "CreateLoadBalancer", seconds(1)).unwrap_err();
        assert_eq!(refused.limit, "create");
        assert_eq!(refused.after.as_millis(), 5000);
        assert!(buckets.take("elb", "CreateLoadBalancer", seconds(5)).is_err());
        assert_eq!(buckets.take("elb", "CreateLoadBalancer", seconds(6)), Ok(()));
        assert!(buckets.take("elb", "CreateLoadBalancer", seconds(6)).is_err());
        assert_eq!(buckets.take("elb", "DescribeRules", seconds(6)), Ok(()), "no limit covers it");
    }

    #[test]
    fn a_refused_call_takes_no_token_of_another_limit() {
        let limits = [Limit::new("all", &["*"], &[], 3.0, 0.0), Limit::new("one", &["A"], &[], 1.0, 0.0)];
        let mut buckets = Buckets::new(&limits);
        assert_eq!(buckets.take("s", "A", seconds(0)), Ok(()));
        for _ in 0..5 {
            assert_eq!(buckets.take("s", "A", seconds(0)).unwrap_err().limit, "one");
        }
        assert_eq!(buckets.take("s", "B", seconds(0)), Ok(()));
        assert_eq!(buckets.take("s", "B", seconds(0)), Ok(()));
        assert_eq!(buckets.take("s", "B", seconds(0)).unwrap_err().limit, "all");
    }

    #[test]
    fn n_calls_need_at_least_what_the_documentation_lets_expect() {
        // 100 creations in a row, each at the first moment it is let through: (100 - 10) / 0.2 s.
        let mut buckets = Buckets::new(&[Limit::new("create", &["*"], &[], 10.0, 0.2)]);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            while let Err(refused) = buckets.take("s", "A", now) {
                now += refused.after;
            }
        }
        assert_eq!(now.as_secs_f64().round(), 450.0);
    }
}
