//! Forms of values: what is right, and the parsers. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Form of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in capitals or not.
    Word(&'static [&'static str]),
    /// `true` or `false`, in all forms that Go knows.
    Bool,
    /// `on` or `off`.
    OnOff,
    /// A number between two.
    Number(u32, u32),
    /// Separated by commas.
    List,
    /// IPv4 addresses, separated by commas.
    Ipv4List,
    /// IPv6 addresses, separated by commas.
    Ipv6List,
    /// Networks, separated by commas.
    CidrList,
    /// `key=value`, separated by commas; `\,` is a comma.
    Map,
    /// A map that AWS takes as tags.
    Tags,
    /// A form of its own: what it is, and whether a text is one.
    Checked(&'static str, fn(&str) -> Result<(), String>),
}

impl Kind {
    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::OneOf(words) | Self::Word(words) => words.join(", "),
            Self::Bool => "true, false".to_owned(),
            Self::OnOff => "on, off".to_owned(),
            Self::Number(min, max) => format!("{min} to {max}"),
            Self::List => "list".to_owned(),
            Self::Ipv4List => "list of IPv4 addresses".to_owned(),
            Self::Ipv6List => "list of IPv6 addresses".to_owned(),
            Self::CidrList => "list of networks".to_owned(),
            Self::Map => "key=value, …".to_owned(),
            Self::Tags => "tags: key=value, …".to_owned(),
            Self::Checked(what, _) => (*what).to_owned(),
        }
    }

    /// Whether a text is right.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn check(&self, text: &str) -> Result<(), String> {
        match self {
            Self::Text if text.trim().is_empty() => {
                Err("it is empty: give it a value, or take it away".to_owned())
            }
            Self::Text => Ok(()),
            Self::OneOf(words) if words.contains(&text) => Ok(()),
            Self::Word(words) if words.iter().any(|w| w.eq_ignore_ascii_case(text)) => Ok(()),
            Self::OneOf(words) | Self::Word(words) => {
                Err(format!("{text:?} is not known: write {}", one_of(words)))
            }
            Self::Bool => bool(text).map(drop).ok_or_else(|| format!("{text:?} is not true or false")),
            Self::OnOff if matches!(text, "on" | "off") => Ok(()),
            Self::OnOff => Err(format!("{text:?} is not \"on\" or \"off\"")),
            Self::Number(min, max) => match text.trim().parse::<u32>() {
                Ok(n) if (*min..=*max).contains(&n) => Ok(()),
                _ => Err(format!("{text:?} is not a number from {min} to {max}")),
            },
            Self::List => nonempty(text).map(drop),
            Self::Ipv4List => each(text, |t| matches!(t.parse(), Ok(IpAddr::V4(_))), "an IPv4 address"),
            Self::Ipv6List => each(text, |t| matches!(t.parse(), Ok(IpAddr::V6(_))), "an IPv6 address"),
            Self::CidrList => each(text, |t| t.parse::<IpNet>().is_ok(), "a network, such as 10.0.0.0/8"),
            Self::Map => map(text).map(drop),
            Self::Tags => map(text).and_then(|tags| check_tags(&tags)),
            Self::Checked(_, check) => check(text),
        }
    }
}

/// Words for people: `a, b or c`.
#[must_use]
pub fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn nonempty(text: &str) -> Result<Vec<&str>, String> {
    let items = list(text);
    if items.is_empty() { Err("it is empty: give it a value, or take it away".to_owned()) } else { Ok(items) }
}

fn each(text: &str, right: impl Fn(&str) -> bool, what: &str) -> Result<(), String> {
    match nonempty(text)?.iter().find(|item| !right(item)) {
        Some(wrong) => Err(format!("{wrong:?} is not {what}")),
        None => Ok(()),
    }
}

/// A truth value in the forms of Go's ParseBool.
#[must_use]
pub fn bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The items of a list, without blanks around them and without empty ones.
#[must_use]
pub fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// A map. A backslash takes what follows it literally; a comma that no `=` follows at all ends the text.
///
/// # Errors
/// Which part is no `key=value`.
pub fn map(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    for pair in pairs(text) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not key=value"))?;
        let key = key.trim();
        if key.is_empty() {
            return Err(format!("{pair:?} has no key: write key=value"));
        }
        out.insert(key.to_owned(), value.trim().to_owned());
    }
    Ok(out)
}

fn pairs(text: &str) -> Vec<String> {
    let mut pairs = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                if let (Some(next), Some(pair)) = (chars.next(), pairs.last_mut()) {
                    pair.push(next);
                }
            }
            ',' => pairs.push(String::new()),
            c => {
                if let Some(pair) = pairs.last_mut() {
                    pair.push(c);
                }
            }
        }
    }
    pairs.into_iter().filter(|p| !p.trim().is_empty()).map(|p| p.trim().to_owned()).collect()
}

/// Most tags: AWS allows 50, of which four are ours.
pub const MOST_TAGS: usize = 46;

/// What AWS asks of tags.
///
/// # Errors
/// Which tag is wrong, and why.
pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    for (key, value) in tags {
        if key.starts_with("aws:") {
            return Err(format!("tag {key:?} begins with \"aws:\", which AWS keeps for itself"));
        }
        if key.starts_with(causeway_api::names::ANNOTATION_PREFIX) {
            return Err(format!("tag {key:?} is one of Causeway's own marks"));
        }
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(format!("tag {key:?} is too long: a key has at most 128 characters, a value 256"));
        }
        let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
        if !key.chars().chain(value.chars()).all(allowed) {
            return Err(format!("tag {key:?} holds more than letters, digits, blanks and _.:/=+-@"));
        }
    }
    if tags.len() > MOST_TAGS {
        return Err(format!("there are {} tags: at most {MOST_TAGS} beside Causeway's own", tags.len()));
    }
    Ok(())
}
