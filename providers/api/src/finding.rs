//! What a look at the set-up finds: `causeway check` prints it.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could; or could not be looked at.
    Warning,
    /// Does not work until somebody does something.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The object, or what else it is about.
    pub about: String,
    /// What was found, and what to do about it.
    pub message: String,
}

impl Finding {
    /// All is well.
    pub fn ok(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, about: about.into(), message: message.into() }
    }

    /// Something to know.
    pub fn warning(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, about: about.into(), message: message.into() }
    }

    /// Something to mend.
    pub fn error(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Error, about: about.into(), message: message.into() }
    }
}
