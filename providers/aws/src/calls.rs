//! Every call to AWS passes here: the limiter is asked, a deadline holds, and what a refusal says about our rate is told to the limiter.

use std::time::Duration;

use causeway_api::{CloudError, Fence, ObjectRef};

use crate::cloud::{Answer, Api, Call, Failure};
use crate::errors;
use crate::limits::{Gate, Priority, buckets};

/// Longest time of one call. A write must have ended well before the Lease of who began it can be another's.
pub const CALL_DEADLINE: Duration = Duration::from_secs(9);

/// How often a read is tried.
const READS: usize = 4;
/// How long after the first try the second one is made.
const READ_AGAIN: Duration = Duration::from_millis(200);

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time of one call.
    pub call: Duration,
    /// Longest time in line before a write: whoever must wait longer gives its worker back.
    pub line: Duration,
    /// Longest time in line before a read.
    pub read: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: CALL_DEADLINE, line: Duration::from_secs(2), read: Duration::from_secs(120) }
    }
}

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// AWS said so, or nothing.
    Failed(Failure),
    /// It was not made: the limiter lets it pass after this time.
    Later(Duration),
    /// It was not made: the fence is closed.
    Fenced,
}

impl CallError {
    /// What must follow.
    #[must_use]
    pub fn classify(&self, blame: Option<&ObjectRef>, doing: &str) -> CloudError {
        match self {
            Self::Failed(failure) => errors::classify(failure, blame, doing),
            Self::Later(after) => CloudError::Throttled(*after),
            Self::Fenced => CloudError::Fenced,
        }
    }

    /// The state that it tells of, if it does.
    #[must_use]
    pub fn state(&self) -> Option<errors::State> {
        match self {
            Self::Failed(failure) => errors::state(failure),
            Self::Later(_) | Self::Fenced => None,
        }
    }

    /// Whether the call surely did nothing.
    #[must_use]
    pub fn without_effect(&self) -> bool {
        match self {
            Self::Failed(failure) => errors::without_effect(failure),
            Self::Later(_) | Self::Fenced => true,
        }
    }
}

/// The way to AWS, with its limits.
#[derive(Debug)]
pub struct Calls<A> {
    /// Whatever answers.
    pub api: A,
    /// The limiter.
    pub gate: Gate,
    patience: Patience,
}

impl<A: Api> Calls<A> {
    /// A way with empty buckets.
    pub fn new(api: A, patience: Patience) -> Self {
        Self { api, gate: Gate::default(), patience }
    }

    async fn make(
        &self,
        call: Call,
        priority: Priority,
        line: Duration,
        fence: Option<&Fence>,
    ) -> Result<Answer, CallError> {
        let buckets = buckets::of(&call);
        let _passage = self.gate.pass(buckets, priority, line).await.map_err(CallError::Later)?;
        // Time passed in line: the fence counts now.
        if fence.is_some_and(|fence| fence.check().is_err()) {
            return Err(CallError::Fenced);
        }
        let answer = match tokio::time::timeout(self.patience.call, self.api.call(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::NoAnswer(format!("none within {:?}", self.patience.call))),
        };
        if answer.as_ref().is_err_and(errors::throttled) {
            self.gate.refused(buckets);
        }
        answer.map_err(CallError::Failed)
    }

    /// A call that changes nothing. One that fails for a reason that passes is made again: a look at a stack takes a dozen of them, and where one of five
    /// fails it would never come to its end.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn read(&self, call: Call, priority: Priority) -> Result<Answer, CallError> {
        let mut wait = READ_AGAIN;
        for _ in 1..READS {
            match self.make(call.clone(), priority, self.patience.read, None).await {
                Err(CallError::Failed(failure)) if errors::passes(&failure) => {}
                ended => return ended,
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.make(call, priority, self.patience.read, None).await
    }

    /// A call that changes something.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn write(&self, call: Call, fence: &Fence) -> Result<Answer, CallError> {
        let priority = match call {
            Call::DeregisterTargets { .. } => Priority::Deregister,
            Call::RegisterTargets { .. } => Priority::Register,
            _ => Priority::Create,
        };
        self.make(call, priority, self.patience.line, Some(fence)).await
    }
}
