//! Permission to write. Clouds cannot check an epoch, so the writer must: no write *starts* unless the lease outlasts
//! the longest time a call can take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{CloudError, Result};

/// What stands behind a [`Fence`]: the lease on a clock that counts suspend, or a test's script.
pub trait Permit: Send + Sync {
    /// Number of the leadership this permission belongs to; it grows with each takeover.
    fn epoch(&self) -> u64;
    /// Time left in which a write may still be *started*; zero: none may.
    fn remaining(&self) -> Duration;
}

/// Permission to write, asked before every single call that changes something.
#[derive(Clone)]
pub struct Fence(Arc<dyn Permit>);

impl Fence {
    /// A fence by this permit.
    pub fn new(permit: impl Permit + 'static) -> Self {
        Self(Arc::new(permit))
    }

    /// Always open; for tests and for tools that hold no lease.
    #[must_use]
    pub fn open() -> Self {
        struct Open;
        impl Permit for Open {
            fn epoch(&self) -> u64 {
                0
            }
            fn remaining(&self) -> Duration {
                Duration::MAX
            }
        }
        Self::new(Open)
    }

    /// Number of the leadership.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    /// May a write start now?
    ///
    /// # Errors
    /// [`CloudError::Fenced`] if not; nothing must be sent then.
    pub fn check(&self) -> Result<()> {
        if self.0.remaining().is_zero() { Err(CloudError::Fenced) } else { Ok(()) }
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("epoch", &self.epoch()).field("remaining", &self.0.remaining()).finish()
    }
}
