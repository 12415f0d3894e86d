//! The one table of annotations: of Services ([`service`]) and of Ingresses ([`ingress`]), those of the peer controllers and our own. Parsing,
//! validation and the reference page are made out of it. Pure.
//!
//! A value is checked once, by its kind in the table ([`Settings::read`]). What is wrong is reported with object, field and remedy, and then either
//! counts as absent, or keeps the object from being served, where serving it otherwise would open or break something ([`IfWrong`]).

mod docs;
pub mod ingress;
pub mod service;
mod settings;
pub mod value;

pub use docs::reference_markdown;
pub(crate) use settings::field as settings_field;
pub use settings::{Scope, Settings};
pub use value::Kind;

/// Reasons of problems with annotations; each is also the reason of the Event.
pub mod reasons {
    /// The value says nothing.
    pub const INVALID: &str = "InvalidAnnotation";
    /// There is no such annotation.
    pub const UNKNOWN: &str = "UnknownAnnotation";
    /// Members of a group disagree.
    pub const CONFLICT: &str = "ConflictingAnnotation";
    /// What is asked for is not there.
    pub const NOT_FOUND: &str = "NotFound";
}

/// How the members of one load balancer come to one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is each member's own.
    Own,
    /// It is the load balancer's: the oldest member that has it decides, who disagrees is told.
    Exclusive,
}

/// What a wrong value leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfWrong {
    /// It counts as absent; the rest is served.
    Ignored,
    /// The object is not served, and what is there of it stays as it is: without the value something would be open, or broken.
    Refused,
}

/// One annotation.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// The whole key.
    pub key: &'static str,
    /// Form of the value.
    pub kind: Kind,
    /// What holds without it, for people; empty: nothing.
    pub default: &'static str,
    /// How members of a group come to one value.
    pub merge: Merge,
    /// What a wrong value leads to.
    pub if_wrong: IfWrong,
    /// One line for people.
    pub doc: &'static str,
}

impl Annotation {
    const fn new(
        merge: Merge,
        key: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { key, kind, default, merge, if_wrong: IfWrong::Ignored, doc }
    }

    const fn refused_if_wrong(mut self) -> Self {
        self.if_wrong = IfWrong::Refused;
        self
    }
}

/// Defines annotations and the table of them, so that none can be left out of the table.
macro_rules! table {
    ($($name:ident = $merge:ident $key:expr, $kind:expr, $default:literal, $doc:literal $(, $with:ident())* ;)*) => {
        $(
            #[doc = $doc]
            pub const $name: $crate::annotations::Annotation =
                $crate::annotations::Annotation::new($crate::annotations::Merge::$merge, $key, $kind, $default, $doc)
                $(.$with())*;
        )*
        /// All of them, in the order of the reference page.
        pub const TABLE: &[$crate::annotations::Annotation] = &[$($name),*];
    };
}
use table;

#[cfg(test)]
mod tests;
