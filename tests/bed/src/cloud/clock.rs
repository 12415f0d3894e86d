//! The cloud's clock: real time, faster, or only when told. I/O: reads the monotonic clock.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time since the cloud was started, as the cloud sees it. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Cloud time at `since`.
    base: Duration,
    since: Instant,
    /// Seconds of the cloud per real second.
    speed: f64,
}

impl State {
    fn now(&self) -> Duration {
        self.base + self.since.elapsed().mul_f64(self.speed)
    }

    fn settle(&mut self) {
        self.base = self.now();
        self.since = Instant::now();
    }
}

impl Default for Clock {
    fn default() -> Clock {
        let state = State { base: Duration::ZERO, since: Instant::now(), speed: 1.0 };
        Clock { state: Arc::new(Mutex::new(state)) }
    }
}

impl Clock {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Cloud time since the start.
    pub fn now(&self) -> Duration {
        self.state().now()
    }

    /// Lets the cloud's time run `speed` times as fast as real time from now on; 0 stops it, then only [`Clock::advance`] moves it.
    /// Negative and infinite speeds count as 0.
    pub fn set_speed(&self, speed: f64) {
        let mut state = self.state();
        state.settle();
        state.speed = if speed.is_finite() && speed > 0.0 { speed } else { 0.0 };
    }

    /// Moves the cloud's time on at once.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.settle();
        state.base += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_moves_only_when_told() {
        let clock = Clock::default();
        clock.set_speed(0.0);
        let then = clock.now();
        assert_eq!(clock.now(), then);
        clock.clone().advance(Duration::from_secs(450));
        assert_eq!(clock.now(), then + Duration::from_secs(450));
        clock.set_speed(f64::NAN);
        assert_eq!(clock.now(), then + Duration::from_secs(450));
    }
}
