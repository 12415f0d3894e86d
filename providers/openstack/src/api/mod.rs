//! The narrow way to OpenStack: exactly the calls that are made, as data, and on top of them typed requests and answers.
//!
//! - [`Request`] is one call as data: service, method, path, query, body. Limits, counts, faults, the fake of tests and the inventory of an offline plan
//!   (`GET path` → answer) hang on that.
//! - [`Api`] takes one request and gives its answer: the real one is [`crate::client::Client`].
//! - [`Calls`] is typed: collections of resources that can be listed page by page, got, made, changed and deleted, and the few calls that are no such thing.
//! - [`octavia`], [`neutron`], [`barbican`], [`nova`] hold the resources, with only the fields that somebody needs. Unknown fields are passed over, `null` counts as
//!   absent: real clouds send both.
//!
//! Nothing here does I/O but through an [`Api`].

pub mod barbican;
mod calls;
mod collection;
mod lenient;
pub mod neutron;
pub mod nova;
pub mod octavia;
pub mod page;
mod request;
pub mod versions;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use causeway_api::{CloudError, Fence, ObjectRef};
use serde_json::Value;

pub use calls::Calls;
pub use collection::{Changes, Collection, New, Query};
pub use request::{Method, Request, Service};
pub use versions::{Feature, Version};

use crate::errors;

/// How urgent a call is; the first is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Members of pools: a node that is gone may get traffic.
    Members,
    /// Everything else that a user waits for.
    Change,
    /// Looking whether anything changed.
    Audit,
}

/// With whose permission, and how urgently, a call is made.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// How urgent.
    pub priority: Priority,
    /// Permission to write; reads need none.
    pub fence: Option<&'a Fence>,
}

impl Pass<'_> {
    /// For a call that changes nothing.
    #[must_use]
    pub fn read(priority: Priority) -> Self {
        Self { priority, fence: None }
    }
}

/// Whatever answers calls.
pub trait Api: Send + Sync + 'static {
    /// Makes one call: its answer, `null` if that is empty. A call that writes is made only with an open fence.
    fn call(
        &self,
        request: &Request,
        pass: Pass<'_>,
    ) -> impl Future<Output = Result<Value, CallError>> + Send;
}

/// Why a call that may have been made gave nothing.
#[derive(Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered.
    NoAnswer {
        /// Whether the request, or a part of it, may have arrived.
        sent: bool,
        /// What happened.
        text: String,
    },
    /// The service said no.
    Refused {
        /// Which.
        service: Service,
        /// Status of HTTP.
        status: u16,
        /// What it said.
        fault: Fault,
        /// When to come again, if it said.
        retry_after: Option<Duration>,
        /// Its number of the request, for whoever reads its logs.
        request_id: Option<String>,
    },
    /// The answer is not one of this API.
    Garbled {
        /// What was wrong with it.
        text: String,
    },
    /// There is no token; nothing was sent.
    Login {
        /// Whether Keystone does not accept who we say we are, which time alone will not heal.
        refused: bool,
        /// What happened.
        text: String,
    },
    /// The catalog does not have this service; nothing was sent.
    NoService {
        /// Which.
        service: Service,
        /// What the catalog has, and what to do.
        text: String,
    },
}

/// What a service says of an error.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// Neutron's type of the error, where there is one.
    pub kind: Option<String>,
    /// Text for people.
    pub message: String,
}

impl Failure {
    /// A refusal, for tests and fakes.
    #[must_use]
    pub fn refused(service: Service, status: u16, message: &str) -> Self {
        let fault = Fault { kind: None, message: message.to_owned() };
        Self::Refused { service, status, fault, retry_after: None, request_id: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { text, .. } => write!(f, "no answer: {text}"),
            Self::Refused { service, status, fault, request_id, .. } => {
                write!(f, "{} says {status}", service.product())?;
                if let Some(kind) = &fault.kind {
                    write!(f, " {kind}")?;
                }
                write!(f, ": {}", fault.message)?;
                request_id.iter().try_for_each(|id| write!(f, " ({id})"))
            }
            Self::Garbled { text } | Self::Login { text, .. } | Self::NoService { text, .. } => {
                f.write_str(text)
            }
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

impl std::error::Error for Failure {}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({}: {})", self.kind.as_deref().unwrap_or("-"), self.message)
    }
}

/// Why a call gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It failed.
    Failed(Failure),
    /// It was not made: it may be made after this time.
    Later(Duration),
    /// It was not made: the fence is closed.
    Fenced,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Later(after) => write!(f, "not sent: the limit of calls lets it pass after {after:?}"),
            Self::Fenced => f.write_str("not sent: leadership is not certain"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
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
