//! What `causeway check` says alike of every cloud: rights that were tried, and quotas. Pure.

use crate::Finding;

/// Longest part of a cloud's own words.
const WORDS: usize = 300;
/// Names in one message.
const SHOWN: usize = 5;
/// From this part of a quota on, in percent, it is time to have it raised.
pub const NEARLY: usize = 80;

/// How a call ended that was tried for the right to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is allowed.
    Allowed,
    /// It is not, in the cloud's words.
    Denied(String),
    /// That did not come out: why.
    Unknown(String),
}

/// A right that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// As the cloud calls it, such as `ec2:DescribeSubnets` or `Neutron GET /v2.0/subnets`.
    pub permission: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// Notes how a right was found; of several tries of one the worst counts.
pub fn note(tried: &mut Vec<Tried>, permission: String, outcome: Outcome) {
    match tried.iter_mut().find(|one| one.permission == permission) {
        Some(known) if known.outcome == Outcome::Allowed => known.outcome = outcome,
        Some(_) => {}
        None => tried.push(Tried { permission, outcome }),
    }
}

/// What was allowed to `who`, and what was not; `remedy` is what gives it, and `cloud` whose words are cited. Nothing where nothing was tried.
#[must_use]
pub fn rights(about: &str, tried: &[Tried], who: &str, remedy: &str, cloud: &str) -> Vec<Finding> {
    let named = |wanted: fn(&Outcome) -> Option<&String>| -> Vec<(&str, &str)> {
        tried
            .iter()
            .filter_map(|one| Some((one.permission.as_str(), wanted(&one.outcome)?.as_str())))
            .collect()
    };
    let denied = named(|outcome| match outcome {
        Outcome::Denied(why) => Some(why),
        _ => None,
    });
    let unknown = named(|outcome| match outcome {
        Outcome::Unknown(why) => Some(why),
        _ => None,
    });
    let names = |all: &[(&str, &str)]| all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let mut findings = Vec::new();
    if let Some((_, why)) = denied.first() {
        let said = cut(why);
        findings.push(Finding::error(
            about,
            format!("{who} may not {}: {remedy}. {cloud} says: {said}", names(&denied)),
        ));
    }
    if let Some((_, why)) = unknown.first() {
        findings.push(Finding::warning(about, format!("not known of {}: {}", names(&unknown), cut(why))));
    }
    if findings.is_empty() && !tried.is_empty() {
        let all: Vec<&str> = tried.iter().map(|one| one.permission.as_str()).collect();
        findings.push(Finding::ok(about, format!("all {} are there: {}", all.len(), all.join(", "))));
    }
    findings
}

/// Refusals of EC2 end in an encoded message of a thousand letters.
fn cut(words: &str) -> String {
    let readable = words.split(" Encoded authorization failure message").next().unwrap_or(words);
    if readable.chars().count() <= WORDS {
        return readable.to_owned();
    }
    readable.chars().take(WORDS).chain(['…']).collect()
}

/// How much of a quota is used, and how much more is `asked` for by what is not there yet. `raise` is how it is raised.
#[must_use]
pub fn quota(about: String, used: usize, asked: usize, most: usize, raise: &str) -> Finding {
    let text = format!("{used} of {most} are used");
    if used + asked > most && asked > 0 {
        let left = most.saturating_sub(used);
        Finding::error(
            about,
            format!(
                "{text}, and {asked} more are asked for, of which {left} can be made. Delete some, ask for less, or have it raised ({raise})"
            ),
        )
    } else if used >= most {
        Finding::error(
            about,
            format!("{text}: no more can be made. Delete some, or have it raised ({raise})"),
        )
    } else if (used + asked) * 100 >= most * NEARLY {
        Finding::warning(about, format!("{text}: have it raised in time ({raise})"))
    } else {
        Finding::ok(about, text)
    }
}

/// Some of many names.
#[must_use]
pub fn some(names: &[&str]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    #[test]
    fn a_quota_is_judged_with_what_is_asked_for() {
        let of = |used, asked, most| quota("q".to_owned(), used, asked, most, "by the operator");
        assert_eq!(of(3, 0, 10), Finding::ok("q", "3 of 10 are used"));
        assert_eq!(of(7, 1, 10).level, Level::Warning);
        assert_eq!(of(10, 0, 10).level, Level::Error);
        let more = of(9, 2, 10);
        assert_eq!(more.level, Level::Error);
        assert!(more.message.contains("2 more are asked for, of which 1 can be made"), "{}", more.message);
        assert_eq!(of(0, 0, 0).level, Level::Error);
    }

    #[test]
    fn the_worst_of_several_tries_counts_and_long_words_are_cut() {
        let mut tried = Vec::new();
        note(&mut tried, "a".to_owned(), Outcome::Allowed);
        note(&mut tried, "a".to_owned(), Outcome::Denied("x".repeat(400)));
        note(&mut tried, "a".to_owned(), Outcome::Allowed);
        note(&mut tried, "b".to_owned(), Outcome::Allowed);
        let found = rights("r", &tried, "who", "do it", "cloud");
        assert_eq!(found.len(), 1);
        let starts = "who may not a: do it. cloud says: xxx";
        assert!(found[0].message.starts_with(starts) && found[0].message.ends_with("x…"), "{found:?}");
        assert_eq!(rights("r", &tried[1..], "who", "", ""), [Finding::ok("r", "all 1 are there: b")]);
        assert_eq!(rights("r", &[], "who", "", ""), []);
    }

    #[test]
    fn of_many_names_some_are_said() {
        assert_eq!(some(&["a", "b"]), "a, b");
        assert_eq!(some(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
