//! Why something is pending or refused: always one object, one field where there is one, and what to do. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::ObjectRef;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// The rest of the object is served as asked.
    Warning,
    /// The object has no load balancer, or not the one it asks for, until this is mended.
    Error,
}

/// One problem of one object. Becomes a Warning Event, and the condition [`crate::names::CONDITION_READY`] where
/// the object is a Service and the severity is [`Severity::Error`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// The object that the user must look at.
    pub object: ObjectRef,
    /// Path of the field, such as `spec.addresses[1]` or `metadata.annotations[metallb.io/address-pool]`; empty if none.
    pub field: String,
    /// CamelCase reason, also the Event's.
    pub reason: String,
    /// What is the matter, and what to do about it.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

impl Problem {
    /// An error: see [`Severity::Error`].
    pub fn error(
        object: ObjectRef,
        field: impl Into<String>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            object,
            field: field.into(),
            reason: reason.into(),
            message: message.into(),
            severity: Severity::Error,
        }
    }

    /// A warning: see [`Severity::Warning`].
    pub fn warning(
        object: ObjectRef,
        field: impl Into<String>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, field, reason, message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}: {}: {}", self.object, self.reason, self.message)
        } else {
            write!(f, "{}: {}: {}: {}", self.object, self.field, self.reason, self.message)
        }
    }
}
