//! Hosts and paths of an Ingress as conditions of a rule, and how specific they are. Pure.
//!
//! AWS compares with patterns, in which `*` and `?` stand for any characters, or with regular expressions; one condition has the one or the other. What a
//! pattern cannot say goes as a regular expression: a wildcard host that stands for exactly one label, and paths or hosts with characters that patterns
//! may not have.

use std::cmp::Reverse;

use causeway_api::PathMatch;

use super::conditions::LONGEST_VALUE;
use crate::stack::Values;

/// One value of a condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// With `*` and `?`.
    Glob(String),
    /// A regular expression.
    Regex(String),
}

impl Pattern {
    fn into_regex(self) -> String {
        match self {
            Self::Regex(text) => text,
            Self::Glob(glob) => {
                let mut regex = String::from("^");
                for c in glob.chars() {
                    match c {
                        '*' => regex.push_str(".*"),
                        '?' => regex.push('.'),
                        c => push_quoted(&mut regex, c),
                    }
                }
                regex.push('$');
                regex
            }
        }
    }
}

fn push_quoted(regex: &mut String, c: char) {
    if r"\.+*?()|[]{}^$".contains(c) {
        regex.push('\\');
    }
    regex.push(c);
}

fn quoted(text: &str) -> String {
    let mut regex = String::new();
    text.chars().for_each(|c| push_quoted(&mut regex, c));
    regex
}

/// Values of one condition: patterns, or regular expressions if at least one is. Without duplicates.
///
/// # Errors
/// A value that is too long for AWS.
pub fn values(patterns: Vec<Pattern>) -> Result<Values, String> {
    let regex = patterns.iter().any(|p| matches!(p, Pattern::Regex(_)));
    let mut texts: Vec<String> = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let text = match pattern {
            Pattern::Glob(text) if !regex => text,
            pattern => pattern.into_regex(),
        };
        if text.chars().count() > LONGEST_VALUE {
            return Err(format!(
                "{text:?} has more than the {LONGEST_VALUE} characters that AWS takes: make it shorter"
            ));
        }
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(if regex { Values::regexes(texts) } else { Values::patterns(texts) })
}

/// The host of an Ingress's rule; none for every host.
#[must_use]
pub fn host(host: &str, like_lbc: bool) -> Option<Pattern> {
    if host.is_empty() {
        return None;
    }
    if like_lbc {
        return Some(Pattern::Glob(host.to_owned()));
    }
    if let Some(parent) = host.strip_prefix("*.") {
        // A pattern's star would stand for several labels.
        return Some(Pattern::Regex(format!(r"^[^.]+\.{}$", quoted(parent))));
    }
    // AWS takes a pattern only if it has a dot, and letters only after the last one.
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && host
            .rsplit_once('.')
            .is_some_and(|(_, last)| !last.is_empty() && last.bytes().all(|b| b.is_ascii_alphabetic()));
    Some(if plain { Pattern::Glob(host.to_owned()) } else { Pattern::Regex(format!("^{}$", quoted(host))) })
}

/// Whether a pattern may have all characters of a path, wildcards apart.
fn plain_path(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.$/~\"'@:+&".contains(&b))
}

/// What a path of an Ingress matches.
///
/// # Errors
/// What is wrong with it.
pub fn path(path: &str, matching: PathMatch, regex: bool, like_lbc: bool) -> Result<Vec<Pattern>, String> {
    let glob = |text: String| vec![Pattern::Glob(text)];
    match matching {
        PathMatch::Exact | PathMatch::Prefix if like_lbc && path.contains(['*', '?']) => {
            Err(format!("{path:?} holds a wildcard, which pathType {matching:?} does not have"))
        }
        PathMatch::Exact if plain_path(path) || like_lbc => Ok(glob(path.to_owned())),
        PathMatch::Exact => Ok(vec![Pattern::Regex(format!("^{}$", quoted(path)))]),
        PathMatch::Prefix => {
            let prefix = path.trim_end_matches('/');
            if prefix.is_empty() {
                Ok(glob("/*".to_owned()))
            } else if plain_path(prefix) || like_lbc {
                Ok(vec![Pattern::Glob(prefix.to_owned()), Pattern::Glob(format!("{prefix}/*"))])
            } else {
                Ok(vec![Pattern::Regex(format!("^{}(/.*)?$", quoted(prefix)))])
            }
        }
        PathMatch::ImplementationSpecific if regex => {
            // Kubernetes wants a slash in front, which is none of the expression's.
            let expression = path.strip_prefix('/').unwrap_or(path);
            if expression.is_empty() {
                Ok(glob("/*".to_owned()))
            } else {
                Ok(vec![Pattern::Regex(expression.to_owned())])
            }
        }
        PathMatch::ImplementationSpecific => Ok(glob(path.to_owned())),
    }
}

/// How specific a host is: precise ones first, then wildcards (longer first), then none. Smaller is more specific.
pub type HostRank = (u8, Reverse<usize>);

/// The rank of all hosts of a rule together: that of the least specific.
#[must_use]
pub fn host_rank(hosts: &[Pattern]) -> HostRank {
    hosts
        .iter()
        .map(|host| match host {
            Pattern::Glob(text) if text.contains(['*', '?']) => (1, Reverse(text.len())),
            Pattern::Glob(_) => (0, Reverse(0)),
            Pattern::Regex(text) => match text.strip_prefix(r"^[^.]+\.").and_then(|t| t.strip_suffix('$')) {
                Some(parent) => (1, Reverse(parent.replace('\\', "").len() + 2)),
                None if is_literal(text) => (0, Reverse(0)),
                None => (1, Reverse(0)),
            },
        })
        .max()
        .unwrap_or((2, Reverse(0)))
}

/// Whether an expression matches one text only, as [`host`] and [`path`] write it.
fn is_literal(regex: &str) -> bool {
    let Some(inner) = regex.strip_prefix('^').and_then(|t| t.strip_suffix('$')) else { return false };
    literal_prefix(inner) == inner.chars().filter(|c| *c != '\\').count()
}

/// Characters of an expression, quotes apart, before the first that stands for others.
fn literal_prefix(regex: &str) -> usize {
    let mut count = 0;
    let mut chars = regex.chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => match chars.next() {
                Some(next) if !next.is_ascii_alphanumeric() => next,
                _ => break,
            },
            c if r".+*?()|[]{}^$".contains(c) => break,
            c => c,
        };
        // What follows decides whether this one is there at all.
        if matches!(chars.peek(), Some('*' | '?' | '{')) {
            break;
        }
        count += literal.len_utf8();
    }
    count
}

/// How specific a path is; smaller is more specific: one single path first, then by the length of what is fixed at the beginning, then Exact before
/// Prefix before ImplementationSpecific, then by the whole length.
pub type PathRank = (bool, Reverse<usize>, u8, Reverse<usize>);

/// The rank of a path of an Ingress together with further patterns: that of the least specific.
#[must_use]
pub fn path_rank(path: &str, matching: PathMatch, regex: bool, more: &[Pattern]) -> PathRank {
    let own = match matching {
        PathMatch::Exact => (false, Reverse(path.len()), 0, Reverse(path.len())),
        PathMatch::Prefix => {
            let length = path.trim_end_matches('/').len();
            (true, Reverse(length), 1, Reverse(length))
        }
        PathMatch::ImplementationSpecific => {
            let expression = path.strip_prefix('/').unwrap_or(path);
            let pattern = if regex && !expression.is_empty() {
                Pattern::Regex(expression.to_owned())
            } else if regex {
                Pattern::Glob("/*".to_owned())
            } else {
                Pattern::Glob(path.to_owned())
            };
            pattern_rank(&pattern)
        }
    };
    more.iter().map(pattern_rank).fold(own, Ord::max)
}

fn pattern_rank(pattern: &Pattern) -> PathRank {
    match pattern {
        Pattern::Glob(text) => match text.find(['*', '?']) {
            Some(fixed) => (true, Reverse(fixed), 2, Reverse(text.len())),
            None => (false, Reverse(text.len()), 2, Reverse(text.len())),
        },
        Pattern::Regex(text) => {
            let inner = text.strip_prefix('^').unwrap_or(text);
            // Without an anchor nothing is fixed.
            let fixed = if inner.len() < text.len() { literal_prefix(inner) } else { 0 };
            (!is_literal(text), Reverse(fixed), 2, Reverse(text.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::PathMatch::{Exact, ImplementationSpecific, Prefix};
    use rstest::rstest;

    use super::*;

    fn glob(text: &str) -> Pattern {
        Pattern::Glob(text.to_owned())
    }

    fn regex(text: &str) -> Pattern {
        Pattern::Regex(text.to_owned())
    }

    #[rstest]
    #[case("", None)]
    #[case("a.example.com", Some(glob("a.example.com")))]
    #[case("*.example.com", Some(regex(r"^[^.]+\.example\.com$")))]
    #[case("localhost", Some(regex("^localhost$")))]
    #[case("a.b1", Some(regex(r"^a\.b1$")))]
    fn hosts(#[case] text: &str, #[case] want: Option<Pattern>) {
        assert_eq!(host(text, false), want);
        assert_eq!(host(text, true), (!text.is_empty()).then(|| glob(text)));
    }

    #[rstest]
    #[case("/", Prefix, vec![glob("/*")])]
    #[case("/p", Prefix, vec![glob("/p"), glob("/p/*")])]
    #[case("/p/", Prefix, vec![glob("/p"), glob("/p/*")])]
    #[case("/p*", Prefix, vec![regex(r"^/p\*(/.*)?$")])]
    #[case("/p q", Prefix, vec![regex("^/p q(/.*)?$")])]
    #[case("/", Exact, vec![glob("/")])]
    #[case("/p", Exact, vec![glob("/p")])]
    #[case("/p/", Exact, vec![glob("/p/")])]
    #[case("/p?", Exact, vec![regex(r"^/p\?$")])]
    #[case("/p*", ImplementationSpecific, vec![glob("/p*")])]
    #[case("p", ImplementationSpecific, vec![glob("p")])]
    fn paths(#[case] text: &str, #[case] matching: PathMatch, #[case] want: Vec<Pattern>) {
        assert_eq!(path(text, matching, false, false), Ok(want.clone()));
        let exact = matching != ImplementationSpecific;
        assert_eq!(path(text, matching, exact, false), Ok(want));
    }

    #[test]
    fn paths_as_the_peer_has_them() {
        assert_eq!(path("/p q", Prefix, false, true), Ok(vec![glob("/p q"), glob("/p q/*")]));
        assert!(path("/p*", Prefix, false, true).is_err() && path("/p?", Exact, false, true).is_err());
        assert_eq!(path("/p*", ImplementationSpecific, false, true), Ok(vec![glob("/p*")]));
    }

    #[rstest]
    #[case("/^/api/(.+)$", vec![regex("^/api/(.+)$")])]
    #[case("/", vec![glob("/*")])]
    fn expressions(#[case] text: &str, #[case] want: Vec<Pattern>) {
        assert_eq!(path(text, ImplementationSpecific, true, false), Ok(want));
    }

    #[test]
    fn values_of_one_kind() {
        assert_eq!(
            values(vec![glob("a.b"), glob("c.d"), glob("a.b")]),
            Ok(Values::patterns(vec!["a.b".to_owned(), "c.d".to_owned()]))
        );
        assert_eq!(
            values(vec![glob("a.b?*"), regex("^x$")]),
            Ok(Values::regexes(vec![r"^a\.b..*$".to_owned(), "^x$".to_owned()]))
        );
        assert!(values(vec![glob(&"a".repeat(129))]).unwrap_err().contains("128"));
    }

    #[test]
    fn hosts_by_rank() {
        let by_rank = ["a.example", "localhost", "*.a.example", "*.example"];
        let ranks: Vec<HostRank> =
            by_rank.iter().map(|h| host_rank(&host(h, false).into_iter().collect::<Vec<_>>())).collect();
        assert_eq!(ranks[0], ranks[1]);
        assert!(ranks[1] < ranks[2] && ranks[2] < ranks[3] && ranks[3] < host_rank(&[]));
        assert_eq!(host_rank(&[glob("*.a.example")]), ranks[2]);
        assert_eq!(host_rank(&[glob("a.example"), glob("*.example")]), host_rank(&[glob("*.example")]));
        assert!(host_rank(&[regex("^(a|b)\\.example$")]) > ranks[3]);
    }

    #[test]
    fn paths_by_rank() {
        let rank = |path, matching| path_rank(path, matching, false, &[]);
        let order = [
            rank("/a/b", Exact),
            rank("/a", Exact),
            rank("/a", ImplementationSpecific),
            rank("/a/b", Prefix),
            rank("/a/*", ImplementationSpecific),
            rank("/a", Prefix),
            rank("/a*b", ImplementationSpecific),
            rank("/a*", ImplementationSpecific),
            rank("/*/b", ImplementationSpecific),
            rank("/*", ImplementationSpecific),
            rank("/", Prefix),
        ];
        for (i, pair) in order.windows(2).enumerate() {
            assert!(pair[0] < pair[1], "{i}: {pair:?}");
        }
        let regex_rank = |text| path_rank(text, ImplementationSpecific, true, &[]);
        assert!(regex_rank("/^/api/v1$") < rank("/api", Prefix));
        assert!(regex_rank("/^/api/(.+)$") < rank("/api", Prefix));
        assert!(rank("/api", Prefix) < regex_rank("/^/ap"));
        assert!(rank("/api", Prefix) < regex_rank("/api"), "nothing is fixed without an anchor");
        assert_eq!(regex_rank("/"), rank("/*", ImplementationSpecific));
        assert_eq!(path_rank("/a", Exact, false, &[glob("/b*")]), rank("/b*", ImplementationSpecific));
    }

    #[rstest]
    #[case("abc", 3)]
    #[case(r"a\.b", 3)]
    #[case("ab*", 1)]
    #[case("ab?", 1)]
    #[case("ab+", 2)]
    #[case("ab{0,1}", 1)]
    #[case(r"a\d", 1)]
    #[case("(a)", 0)]
    fn fixed_beginnings(#[case] text: &str, #[case] want: usize) {
        assert_eq!(literal_prefix(text), want);
    }
}
