//! Hashes that must be the same in every process and version: of stacks, and of what was applied. Pure.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::Serialize;

/// Version of the scheme behind [`AppliedHash`]; another version means: observe and diff, never write blindly.
pub const SCHEMA: &str = "v1";

/// First 16 bytes, in hex, of the SHA-256 of the value's JSON. Maps in it must be ordered (`BTreeMap`, or serde_json's own).
///
/// # Panics
/// Never for plain data: it cannot fail to become JSON unless a map has non-string keys.
pub fn digest<T: Serialize + ?Sized>(value: &T) -> String {
    let bytes = serde_json::to_vec(value).expect("plain data becomes JSON");
    let mut context = Context::new(&SHA256);
    context.update(&bytes);
    context.finish().as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect()
}

/// The value of the cloud tag [`crate::names::TAG_APPLIED`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AppliedHash {
    /// The stack with this hash was applied whole.
    Clean(String),
    /// A change was begun and not finished, or the tag is absent or of another schema: trust nothing, diff.
    Dirty,
}

impl AppliedHash {
    /// The hash of a stack (without targets) that was applied whole.
    pub fn of<T: Serialize + ?Sized>(stack: &T) -> Self {
        Self::Clean(digest(stack))
    }
}

impl fmt::Display for AppliedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean(hash) => write!(f, "{SCHEMA}:{hash}"),
            Self::Dirty => f.write_str("dirty"),
        }
    }
}

impl FromStr for AppliedHash {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(match s.split_once(':') {
            Some((SCHEMA, hash)) if !hash.is_empty() => Self::Clean(hash.to_owned()),
            _ => Self::Dirty,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applied_tag_round_trips_and_distrusts_the_rest() {
        let clean = AppliedHash::of(&["a", "b"]);
        assert_eq!(clean.to_string().parse::<AppliedHash>(), Ok(clean));
        for other in ["", "dirty", "v0:abc", "v2:abc", "v1:", "v1"] {
            assert_eq!(other.parse::<AppliedHash>(), Ok(AppliedHash::Dirty), "{other}");
        }
    }

    #[test]
    fn digest_is_stable() {
        // A changed digest would make every load balancer of every cluster look changed after an upgrade.
        assert_eq!(
            digest(&serde_json::json!({"b": 1, "a": [true, null]})),
            "51705a2c9eb3e7e410a58f696a770c3a"
        );
    }
}
