//! What the proxy, the control endpoint and tests share.

use std::sync::{Mutex, MutexGuard, OnceLock};

use super::proxy::Answer;
use super::tokens::Tokens;
use super::urls::Relays;
use crate::cloud::{Clock, Gate};

/// The shared state.
#[derive(Debug)]
pub struct Shared {
    gate: Mutex<Gate<Answer>>,
    tokens: Mutex<Tokens>,
    /// Set once the relays run.
    pub(super) relays: OnceLock<Relays>,
    /// Where the stand-ins for Nova and amphorae look for what goes wrong; a path as the owner sees it.
    pub(super) amphorae: std::path::PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of one test's thread must not hide what the others would say.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared {
    /// Nothing was called yet. No documented limits are enforced: each operator sets their own.
    pub fn new(amphorae: std::path::PathBuf) -> Shared {
        Shared {
            gate: Mutex::new(Gate::new(Clock::default(), Vec::new())),
            tokens: Mutex::default(),
            relays: OnceLock::new(),
            amphorae,
        }
    }

    /// Counters, faults, limits, clock.
    pub fn gate(&self) -> MutexGuard<'_, Gate<Answer>> {
        lock(&self.gate)
    }

    /// Tokens.
    pub fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }
}

impl Shared {
    /// From now on no host is found for new amphorae, or again one is: a load balancer that is made meanwhile goes to ERROR.
    pub fn fail_builds(&self, fail: bool) -> anyhow::Result<()> {
        let file = self.amphorae.join("fail-build");
        match fail {
            true => std::fs::write(&file, "")?,
            false if file.exists() => std::fs::remove_file(&file)?,
            false => {}
        }
        Ok(())
    }

    /// How long new amphorae take to boot from now on.
    pub fn build_seconds(&self, seconds: f64) -> anyhow::Result<()> {
        anyhow::ensure!(seconds >= 0.0 && seconds.is_finite(), "nothing boots in {seconds} s");
        Ok(std::fs::write(self.amphorae.join("boot-seconds"), seconds.to_string())?)
    }
}
