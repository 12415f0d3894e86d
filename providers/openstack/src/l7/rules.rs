//! Hosts and paths of Ingresses as rules of L7 policies. Pure.
//!
//! What Octavia calls the host is the header, with the port if the client names one, so hosts are regular expressions that allow for it. A prefix is one of
//! whole steps of the path, which Octavia's own `STARTS_WITH` is not.

use causeway_api::PathMatch;

use crate::stack::{CompareType, L7RuleSpec, RuleType, Token};

/// Longest value that Octavia takes.
pub const LONGEST: usize = 255;
/// Most rules of a policy.
pub const MOST: usize = 50;

/// What a rule compares, and with what; without policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Compared {
    /// What it looks at.
    pub kind: RuleType,
    /// How it compares.
    pub compare_type: CompareType,
    /// With what.
    pub value: String,
    /// It holds where it would not.
    pub invert: bool,
}

impl Compared {
    /// The rule of a policy.
    #[must_use]
    pub fn of(self, policy: Token) -> L7RuleSpec {
        L7RuleSpec {
            l7policy_id: policy,
            kind: self.kind,
            compare_type: self.compare_type,
            value: self.value,
            invert: self.invert,
        }
    }

    /// The opposite.
    #[must_use]
    pub fn inverted(self) -> Self {
        Self { invert: !self.invert, ..self }
    }
}

/// A text as a regular expression that matches nothing else.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if ".+*?()|[]{}^$\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The rule of a host; `None`: every host.
///
/// # Errors
/// It is too long.
pub fn host(host: &str) -> Result<Option<Compared>, String> {
    let name = match host.strip_prefix("*.") {
        _ if host.is_empty() => return Ok(None),
        Some(rest) => format!("[^.]+\\.{}", escaped(rest)),
        None => escaped(host),
    };
    let value = fits(format!("^{name}(:[0-9]+)?$"))?;
    Ok(Some(Compared { kind: RuleType::HostName, compare_type: CompareType::Regex, value, invert: false }))
}

/// The rule of a path; `None`: every path.
///
/// # Errors
/// No request has such a path, or it is too long.
pub fn path(path: &str, matching: PathMatch) -> Result<Option<Compared>, String> {
    if let Some(c) = path.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
        return Err(format!(
            "no request has a path with {c:?}: write it with percent signs, or take it away"
        ));
    }
    let (compare_type, value) = match matching {
        PathMatch::Exact => (CompareType::EqualTo, path.to_owned()),
        PathMatch::Prefix | PathMatch::ImplementationSpecific => match path.trim_end_matches('/') {
            "" => return Ok(None),
            steps => (CompareType::Regex, format!("^{}(/.*)?$", escaped(steps))),
        },
    };
    Ok(Some(Compared { kind: RuleType::Path, compare_type, value: fits(value)?, invert: false }))
}

/// The rule that every request keeps: a policy without rules takes none.
#[must_use]
pub fn everything() -> Compared {
    Compared {
        kind: RuleType::Path,
        compare_type: CompareType::StartsWith,
        value: "/".to_owned(),
        invert: false,
    }
}

fn fits(value: String) -> Result<String, String> {
    if value.chars().count() > LONGEST {
        return Err(format!(
            "Octavia has no room for more than {LONGEST} characters, as {value:?} has: shorten it"
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_lite::Regex;
    use rstest::rstest;

    use super::*;

    fn takes(rule: Option<Compared>, text: &str) -> bool {
        let Some(rule) = rule else { return true };
        match rule.compare_type {
            CompareType::EqualTo => rule.value == text,
            CompareType::StartsWith => text.starts_with(&rule.value),
            CompareType::Regex => Regex::new(&rule.value).expect("a regular expression").is_match(text),
        }
    }

    /// The table of examples in the documentation of Ingress, and what peers got wrong.
    #[rstest]
    #[case(PathMatch::Prefix, "/", "/any", true)]
    #[case(PathMatch::Exact, "/foo", "/foo", true)]
    #[case(PathMatch::Exact, "/foo", "/bar", false)]
    #[case(PathMatch::Exact, "/foo", "/foo/", false)]
    #[case(PathMatch::Exact, "/foo/", "/foo", false)]
    #[case(PathMatch::Prefix, "/foo", "/foo", true)]
    #[case(PathMatch::Prefix, "/foo", "/foo/", true)]
    #[case(PathMatch::Prefix, "/foo/", "/foo", true)]
    #[case(PathMatch::Prefix, "/foo/", "/foo/", true)]
    #[case(PathMatch::Prefix, "/aaa/bb", "/aaa/bbb", false)]
    #[case(PathMatch::Prefix, "/aaa/bbb", "/aaa/bbb", true)]
    #[case(PathMatch::Prefix, "/aaa/bbb/", "/aaa/bbb", true)]
    #[case(PathMatch::Prefix, "/aaa/bbb", "/aaa/bbb/ccc", true)]
    #[case(PathMatch::Prefix, "/aaa/bbb", "/aaa/bbbxyz", false)]
    #[case(PathMatch::Prefix, "/a.b", "/axb", false)]
    #[case(PathMatch::Prefix, "/a+(b)", "/a+(b)/c", true)]
    #[case(PathMatch::Exact, "/a.*", "/abc", false)]
    #[case(PathMatch::ImplementationSpecific, "/foo", "/foobar", false)]
    fn paths(#[case] matching: PathMatch, #[case] of: &str, #[case] request: &str, #[case] want: bool) {
        assert_eq!(takes(path(of, matching).expect("a path"), request), want);
    }

    #[rstest]
    #[case("foo.bar.com", "foo.bar.com", true)]
    #[case("foo.bar.com", "foo.bar.com:8080", true)]
    #[case("foo.bar.com", "fooxbar.com", false)]
    #[case("foo.bar.com", "foo.bar.com.evil.example", false)]
    #[case("foo.bar.com", "evil-foo.bar.com", false)]
    #[case("*.foo.com", "bar.foo.com", true)]
    #[case("*.foo.com", "bar.foo.com:443", true)]
    #[case("*.foo.com", "baz.bar.foo.com", false)]
    #[case("*.foo.com", "foo.com", false)]
    #[case("", "anything", true)]
    fn hosts(#[case] of: &str, #[case] request: &str, #[case] want: bool) {
        assert_eq!(takes(host(of).expect("a host"), request), want);
    }

    #[test]
    fn what_can_never_match_or_has_no_room_is_said() {
        for wrong in ["/a b", "/ä", "/a?b", "/a#b", "/a\n"] {
            assert!(path(wrong, PathMatch::Prefix).is_err(), "{wrong:?}");
        }
        let long = format!("/{}", "x".repeat(300));
        assert!(path(&long, PathMatch::Exact).expect_err("too long").contains("255"));
        assert!(path(&format!("/{}", "x".repeat(254)), PathMatch::Exact).is_ok());
        assert!(host(&"a.".repeat(126)).is_err(), "escaped it is longer");
    }

    proptest! {
        /// A prefix takes itself, what is below it, and nothing that goes on otherwise.
        #[test]
        fn prefixes(steps in "(/[a-zA-Z0-9.+()*|$^~_-]{1,12}){1,4}", rest in "[a-z.]{1,8}") {
            let rule = || path(&steps, PathMatch::Prefix).expect("a path");
            prop_assert!(takes(rule(), &steps));
            let below = format!("{}/{}", steps, rest);
            prop_assert!(takes(rule(), &below));
            let longer = format!("{}{}", steps, rest);
            prop_assert!(!takes(rule(), &longer));
        }
    }
}
