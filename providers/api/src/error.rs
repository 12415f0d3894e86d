//! Classes of errors that a cloud can answer with. The engine acts on the class only; the text is for people.

use std::time::Duration;

use crate::problem::Problem;

/// Result of a call to a cloud.
pub type Result<T, E = CloudError> = std::result::Result<T, E>;

/// What went wrong, by what must follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// Too many calls: try again after this time; nothing is wrong.
    #[error("throttled, retry after {0:?}")]
    Throttled(Duration),
    /// Something of the load balancer is still under way: look again after this time.
    #[error("still under way, look again after {0:?}")]
    Pending(Duration),
    /// The world is not what the plan assumed: observe and plan anew, at once.
    #[error("the cloud's state changed meanwhile: {0}")]
    Conflict(String),
    /// The user must act: Event, condition, long backoff.
    #[error("{0}")]
    Invalid(Box<Problem>),
    /// A quota of the cloud is used up.
    #[error("quota {limit} is used up: {message}")]
    Quota {
        /// The cloud's own name of the quota.
        limit: String,
        /// What the cloud said, and how to have it raised.
        message: String,
    },
    /// Anything that may pass: network, 5xx, time-out.
    #[error("{0}")]
    Transient(String),
    /// This process may not write any more: it is not, or no longer surely, the leader. Nothing was sent.
    #[error("no write: leadership is not certain")]
    Fenced,
}

impl CloudError {
    /// The class as a metric label.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Throttled(_) => "throttled",
            Self::Pending(_) => "pending",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Quota { .. } => "quota",
            Self::Transient(_) => "transient",
            Self::Fenced => "fenced",
        }
    }
}
