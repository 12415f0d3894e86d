//! The one table of annotations: of Services ([`service`]) and of Ingresses ([`ingress`]), those of the peer controllers and our own. Parsing,
//! validation and the reference page are made out of it. Pure.
//!
//! A value is checked once, by its kind in the table ([`Settings::read`]). What is wrong is reported with object, field and remedy, and then either
//! counts as absent, or keeps the object from being served, where serving it otherwise would open or break something ([`IfWrong`]). What is left out
//! on purpose is in the table too, with the reason.

mod docs;
pub mod ingress;
pub mod service;
mod settings;
pub mod value;

use causeway_api::names::ANNOTATION_PREFIX;

pub use docs::reference_markdown;
pub use settings::{Scope, Settings};
pub use value::Kind;

/// Reasons of problems with annotations; each is also the reason of the Event.
pub mod reasons {
    /// The value says nothing.
    pub const INVALID: &str = "InvalidAnnotation";
    /// There is no such annotation.
    pub const UNKNOWN: &str = "UnknownAnnotation";
    /// The annotation is known, and left out on purpose.
    pub const UNSUPPORTED: &str = "UnsupportedAnnotation";
    /// It still works, and has a successor.
    pub const DEPRECATED: &str = "DeprecatedAnnotation";
    /// Members of a group disagree.
    pub const CONFLICT: &str = "ConflictingAnnotation";
}

/// What follows a suffix after a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Nothing: the annotation stands once.
    Object,
    /// Nothing, or the number of a port.
    ObjectOrPort,
    /// Protocol and port, such as `TCP-80`.
    Listener,
    /// A name that a backend of an Ingress uses.
    Name,
    /// A Service and its port, such as `web.80`.
    ServicePort,
}

/// How the members of one load balancer come to one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is each member's own.
    Own,
    /// It is the load balancer's: the oldest member that has it decides, who disagrees is told.
    Exclusive,
    /// Those of all members together.
    Union,
}

/// What a wrong value leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfWrong {
    /// It counts as absent; the rest is served.
    Ignored,
    /// The object is not served, and what is there of it stays as it is: without the value something would be open, or broken.
    Refused,
}

/// Whether it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Full,
    /// It works; this one is better.
    Deprecated(&'static str),
    /// It is left out, for this reason.
    None(&'static str),
}

/// Where an annotation may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a Service of type LoadBalancer.
    Service,
    /// On an Ingress.
    Ingress,
    /// On an Ingress, or on a Service that it sends to; the Service's wins.
    IngressOrBackend,
}

/// One annotation.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// What follows the prefix.
    pub suffix: &'static str,
    /// What may follow the suffix.
    pub per: Per,
    /// Form of the value.
    pub kind: Kind,
    /// What holds without it, for people; empty: nothing.
    pub default: &'static str,
    /// How members of a group come to one value.
    pub merge: Merge,
    /// Where it may stand.
    pub place: Place,
    /// What a wrong value leads to.
    pub if_wrong: IfWrong,
    /// Whether it works.
    pub support: Support,
    /// It is no peer's but Causeway's own, with Causeway's prefix.
    pub own: bool,
    /// One line for people.
    pub doc: &'static str,
}

impl Annotation {
    const fn new(
        place: Place,
        merge: Merge,
        suffix: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            suffix,
            per: Per::Object,
            kind,
            default,
            merge,
            place,
            if_wrong: IfWrong::Ignored,
            support: Support::Full,
            own: false,
            doc,
        }
    }

    const fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    const fn own(mut self) -> Self {
        self.own = true;
        self
    }

    const fn per(mut self, per: Per) -> Self {
        self.per = per;
        self
    }

    const fn refused_if_wrong(mut self) -> Self {
        self.if_wrong = IfWrong::Refused;
        self
    }

    const fn deprecated(mut self, instead: &'static str) -> Self {
        self.support = Support::Deprecated(instead);
        self
    }

    const fn unsupported(mut self, reason: &'static str) -> Self {
        self.support = Support::None(reason);
        self
    }

    /// The prefix of its key. Keys of Services may also have [`service::ALTERNATIVE_PREFIX`].
    #[must_use]
    pub const fn prefix(&self) -> &'static str {
        match self.place {
            _ if self.own => ANNOTATION_PREFIX,
            Place::Service => service::PREFIX,
            Place::Ingress | Place::IngressOrBackend => ingress::PREFIX,
        }
    }

    /// The key for people, with placeholders.
    #[must_use]
    pub fn key(&self) -> String {
        let rest = match self.per {
            Per::Object => "",
            Per::ObjectOrPort => "[.PORT]",
            Per::Listener => ".PROTOCOL-PORT",
            Per::Name => ".NAME",
            Per::ServicePort => ".SERVICE.PORT",
        };
        format!("{}{}{rest}", self.prefix(), self.suffix)
    }

    /// What follows the suffix in a text that is suffix and more; `None` if the text is another annotation.
    fn parameter<'a>(&self, text: &'a str) -> Option<&'a str> {
        let rest = text.strip_prefix(self.suffix)?;
        match (self.per, rest.strip_prefix('.')) {
            (Per::Object | Per::ObjectOrPort, _) if rest.is_empty() => Some(""),
            (Per::Object, _) => None,
            (_, Some(parameter)) if !parameter.is_empty() => Some(parameter),
            _ => None,
        }
    }

    /// Whether what follows the suffix has the right form.
    fn check_parameter(&self, parameter: &str) -> Result<(), String> {
        let port = |text: &str| text.parse::<u16>().is_ok_and(|p| p > 0);
        let right = match self.per {
            Per::Object => true,
            Per::ObjectOrPort => parameter.is_empty() || port(parameter),
            Per::Listener => parameter.split_once('-').is_some_and(|(protocol, number)| {
                let known = ["TCP", "UDP", "TLS", "TCP_UDP", "QUIC", "TCP_QUIC", "HTTP", "HTTPS"];
                known.contains(&protocol) && port(number)
            }),
            Per::Name => true,
            Per::ServicePort => {
                parameter.split_once('.').is_some_and(|(s, p)| !s.is_empty() && !p.is_empty())
            }
        };
        if right { Ok(()) } else { Err(format!("the key must be {}", self.key())) }
    }
}

/// Defines annotations and the table of them, so that none can be left out of the table.
macro_rules! table {
    ($place:expr; $($name:ident = $merge:ident $suffix:literal, $kind:expr, $default:literal, $doc:literal $(, $with:ident($($arg:expr)?))* ;)*) => {
        $(
            #[doc = $doc]
            pub const $name: $crate::annotations::Annotation =
                $crate::annotations::Annotation::new($place, $crate::annotations::Merge::$merge, $suffix, $kind, $default, $doc)
                $(.$with($($arg)?))*;
        )*
        /// All of them, in the order of the reference page.
        pub const TABLE: &[$crate::annotations::Annotation] = &[$($name),*];
    };
}
use table;

#[cfg(test)]
mod tests;
