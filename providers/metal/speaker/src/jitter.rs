//! Pseudo-random spread of periodic work, from a seed that is handed in. Pure.

use std::time::Duration;

/// A SplitMix64 sequence (Steele, Lea, Flood 2014). Good enough to spread timers, of no use for secrets.
#[derive(Debug, Clone)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// A sequence that depends on nothing but `seed`.
    pub fn new(seed: u64) -> Self {
        Jitter { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, not including, 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A span from `low` up to, not including, `high` times `base`.
    pub fn scale(&mut self, base: Duration, low: f64, high: f64) -> Duration {
        base.mul_f64(low + (high - low) * self.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bounds_and_spreads() {
        let mut jitter = Jitter::new(7);
        let spans: Vec<Duration> =
            (0..1000).map(|_| jitter.scale(Duration::from_secs(100), 0.75, 1.25)).collect();
        assert!(spans.iter().all(|span| (75..125).contains(&span.as_secs())));
        let mean = spans.iter().sum::<Duration>() / 1000;
        assert!((98..102).contains(&mean.as_secs()), "mean {mean:?}");
        assert_eq!(Jitter::new(7).bits(), Jitter::new(7).bits());
        assert_ne!(Jitter::new(7).bits(), Jitter::new(8).bits());
    }
}
