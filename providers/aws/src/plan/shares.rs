//! Target groups that other clusters register targets in too: which of the targets are ours. Pure.
//!
//! AWS does not tell who registered a target, and a node or pod that has gone cannot be asked whose it was. So tags of the target group say which are ours, beside
//! the tags of the other clusters: a few letters of a digest for each target, sorted, as many to a tag as fit. A target is written down before it is registered, and
//! struck out after it was taken away; so whoever goes on after a crash knows all that may be ours, and what was never written down is never taken away. Where the tags
//! are lost, our targets are registered and written down again, and nothing is taken.

use std::collections::BTreeSet;

use causeway_api::digest;

use super::tokens::literal;
use crate::stack::{Tags, Target};

/// What the keys of these tags begin with.
pub const PREFIX: &str = "causeway.io/own.";
/// Letters for one target: 36 bits. With 1,000 targets of others and as many of ours, one of 70,000 target groups would have two that are taken for one another.
const LETTERS: usize = 6;
/// Targets of one tag: its value has 256 letters at most.
const TARGETS: usize = 42;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The beginning of the keys of one cluster's, owner's and target group's record.
#[must_use]
pub fn key(cluster: &str, owner: &str, id: &str) -> String {
    format!("{PREFIX}{}.", &digest(&(cluster, owner, id))[..12])
}

/// What stands for a target.
#[must_use]
pub fn mark(target: &Target) -> String {
    let digest = digest(&(literal(&target.id), target.port));
    let bits = u64::from_str_radix(&digest[..9], 16).unwrap_or_default();
    let letter = |at: usize| char::from(ALPHABET[(bits >> (6 * at)) as usize & 63]);
    (0..LETTERS).map(letter).collect()
}

/// What stands for some targets.
pub fn marks<'a>(targets: impl IntoIterator<Item = &'a Target>) -> BTreeSet<String> {
    targets.into_iter().map(mark).collect()
}

/// What is written down under a key.
#[must_use]
pub fn recorded(tags: &Tags, key: &str) -> BTreeSet<String> {
    let values = tags.iter().filter(|(k, _)| k.starts_with(key)).map(|(_, value)| value);
    values
        .flat_map(|value| value.as_bytes().chunks_exact(LETTERS))
        .filter_map(|mark| String::from_utf8(mark.to_vec()).ok())
        .collect()
}

/// The tags that say this.
#[must_use]
pub fn tags(key: &str, marks: &BTreeSet<String>) -> Tags {
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    let all = marks.chunks(TARGETS).enumerate();
    all.map(|(at, some)| (format!("{key}{at}"), some.concat())).collect()
}

/// How a record is to be brought to these marks: tags to set, and keys of tags to take away.
#[must_use]
pub fn changes(have: &Tags, key: &str, marks: &BTreeSet<String>) -> (Tags, BTreeSet<String>) {
    let wanted = tags(key, marks);
    let gone = have.keys().filter(|k| k.starts_with(key) && !wanted.contains_key(*k)).cloned().collect();
    (wanted.into_iter().filter(|(k, v)| have.get(k) != Some(v)).collect(), gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Token;

    fn targets(count: u32) -> BTreeSet<Target> {
        let target =
            |n| Target { id: Token::literal(format!("i-{n:017x}")), port: 30080, availability_zone: None };
        (0..count).map(target).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let key = key("c", "service/u", "ns/web:80");
        assert!(key.len() < 40);
        for count in [0, 1, 42, 43, 1000] {
            let marks = marks(&targets(count));
            assert_eq!(marks.len(), count as usize, "all are told apart");
            let tags = tags(&key, &marks);
            assert_eq!(tags.len(), marks.len().div_ceil(TARGETS));
            assert!(tags.values().all(|value| value.len() <= 256));
            assert_eq!(recorded(&tags, &key), marks);
            assert_eq!(changes(&tags, &key, &marks), Default::default());
        }
        let tags = tags(&key, &marks(&targets(100)));
        let (set, gone) = changes(&tags, &key, &marks(&targets(50)));
        assert_eq!((set.len(), gone.len()), (2, 1));
        let others = super::key("c-2", "service/u", "ns/web:80");
        assert!(recorded(&tags, &others).is_empty(), "another cluster's is its own");
    }

    #[test]
    fn a_port_makes_another_target() {
        let one = targets(1).pop_first().expect("one");
        assert_ne!(mark(&one), mark(&Target { port: 1, ..one.clone() }));
    }
}
