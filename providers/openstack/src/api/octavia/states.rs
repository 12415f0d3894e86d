//! States that Octavia tells. Words that are not known here are kept as they are.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        #[serde(from = "Option<String>", into = "String")]
        pub enum $name {
            $($(#[$each])* $variant,)*
            /// A word that is not known here; none is the empty text.
            Other(String),
            /// Not said.
            #[default]
            Unknown,
        }

        impl From<Option<String>> for $name {
            fn from(word: Option<String>) -> Self {
                match word.as_deref() {
                    $(Some($word) => Self::$variant,)*
                    Some(other) => Self::Other(other.to_owned()),
                    None => Self::Unknown,
                }
            }
        }

        impl $name {
            /// As in the API.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $word,)* Self::Other(word) => word, Self::Unknown => "" }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }
    };
}

words! {
    /// Whether something is under way.
    Provisioning {
        /// Nothing is.
        Active = "ACTIVE",
        /// It is being made.
        PendingCreate = "PENDING_CREATE",
        /// It is being changed.
        PendingUpdate = "PENDING_UPDATE",
        /// It is being deleted.
        PendingDelete = "PENDING_DELETE",
        /// It failed; only deleting helps.
        Error = "ERROR",
        /// It is gone.
        Deleted = "DELETED",
    }
}

impl Provisioning {
    /// Whether something is under way, so that nothing can be changed.
    #[must_use]
    pub fn pending(&self) -> bool {
        matches!(self, Self::PendingCreate | Self::PendingUpdate | Self::PendingDelete)
    }
}

words! {
    /// Whether it works.
    Operating {
        /// It does.
        Online = "ONLINE",
        /// It is not, or not yet, in service.
        Offline = "OFFLINE",
        /// Parts of it do not.
        Degraded = "DEGRADED",
        /// It does not.
        Error = "ERROR",
        /// Nobody checks.
        NoMonitor = "NO_MONITOR",
        /// It takes no new connections.
        Draining = "DRAINING",
    }
}
