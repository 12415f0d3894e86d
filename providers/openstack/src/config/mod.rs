//! What the user says about the cloud: OCCM's `cloud.conf`, `clouds.yaml` and its companions, and the `OS_*` environment.
//!
//! ```text
//! text --gcfg--> sections --table of fields--> what was said, and where --resolve--> Credentials
//! clouds.yaml, secure.yaml, clouds-public.yaml --^            ^-- OS_* variables
//! ```
//!
//! - [`gcfg`] is the syntax and knows no key; [`fields`] is the one table of everything that says who we are and how the cloud is reached;
//! - [`clouds`] and [`environment`] fill the same table from other sources; [`resolve`](credentials::resolve) makes typed [`Credentials`] of it;
//! - [`mod@load`] puts these together; it reads files through a function that it is given, so that it is as pure as that function;
//! - [`watch`] decides whether what was read again differs, and holds the small loop that reads.
//!
//! Invariants: every problem names file, line and key where there are any, and what to do; all problems are told at once; no value of a
//! field that is secret is ever part of a problem or of `Debug`.

pub mod clouds;
pub mod credentials;
pub mod environment;
pub mod fields;
pub mod gcfg;
mod load;
mod secret;
pub mod watch;

use causeway_api::{Kind, ObjectRef, Problem};

pub use credentials::Credentials;
pub use load::{CloudConf, Sources, go_duration, load};
pub use secret::Secret;

/// Reason of problems with the syntax of a file.
pub const REASON_SYNTAX: &str = "InvalidConfiguration";
/// Reason of keys and sections that nobody knows.
pub const REASON_UNKNOWN: &str = "UnknownKey";

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name, or `environment`.
    pub file: String,
    /// Its line, from 1; 0 where lines are not known.
    pub line: usize,
    /// Section and key, such as `[Global] auth-url`, or the name of a variable; empty where there is none.
    pub key: String,
}

impl Place {
    /// Somewhere in a file.
    #[must_use]
    pub fn file(file: &str) -> Self {
        Self { file: file.to_owned(), line: 0, key: String::new() }
    }

    fn object(&self) -> ObjectRef {
        let name = match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}", self.file),
        };
        ObjectRef { kind: Kind::Own("File".to_owned()), namespace: String::new(), name, uid: "".into() }
    }

    /// What was said here cannot be used.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> Problem {
        Problem::error(self.object(), self.key.clone(), REASON_SYNTAX, message)
    }

    /// What was said here has no effect; the rest has.
    #[must_use]
    pub fn unknown(&self, message: impl Into<String>) -> Problem {
        Problem::warning(self.object(), self.key.clone(), REASON_UNKNOWN, message)
    }
}
