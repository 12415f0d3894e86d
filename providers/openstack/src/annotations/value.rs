//! Forms of values: what is right, and the parsers. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// Form of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// One of these words, in capitals or not.
    Word(&'static [&'static str]),
    /// `true` or `false`, in all forms that Go knows.
    Bool,
    /// A number between two.
    Number(i64, i64),
    /// Networks, separated by commas.
    CidrList,
    /// An IP address.
    Address,
    /// A form of its own: what it is, and whether a text is one.
    Checked(&'static str, fn(&str) -> Result<(), String>),
}

impl Kind {
    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Word(words) => words.join(", "),
            Self::Bool => "true, false".to_owned(),
            Self::Number(min, max) => format!("{min} to {max}"),
            Self::CidrList => "list of networks".to_owned(),
            Self::Address => "IP address".to_owned(),
            Self::Checked(what, _) => (*what).to_owned(),
        }
    }

    /// Whether a text is right.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn check(&self, text: &str) -> Result<(), String> {
        if text.trim().is_empty() {
            return Err("it is empty: give it a value, or take it away".to_owned());
        }
        match self {
            Self::Text => Ok(()),
            Self::Word(words) if words.iter().any(|w| w.eq_ignore_ascii_case(text.trim())) => Ok(()),
            Self::Word(words) => Err(format!("{text:?} is not known: write {}", one_of(words))),
            Self::Bool => bool(text).map(drop).ok_or_else(|| format!("{text:?} is not true or false")),
            Self::Number(min, max) => match text.trim().parse::<i64>() {
                Ok(n) if (*min..=*max).contains(&n) => Ok(()),
                _ => Err(format!("{text:?} is not a number from {min} to {max}")),
            },
            Self::CidrList => match list(text).iter().find(|item| item.parse::<IpNet>().is_err()) {
                Some(wrong) => Err(format!("{wrong:?} is not a network, such as 10.0.0.0/8")),
                None => Ok(()),
            },
            Self::Address => {
                text.trim().parse::<IpAddr>().map(drop).map_err(|_| format!("{text:?} is not an IP address"))
            }
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

/// A truth value in the forms of Go's ParseBool.
#[must_use]
pub fn bool(text: &str) -> Option<bool> {
    match text.trim() {
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

/// A selector of nodes: `key=value`, or `key` for any value, separated by commas; all must hold.
#[must_use]
pub fn selector(text: &str) -> Vec<(&str, Option<&str>)> {
    list(text)
        .into_iter()
        .map(|item| match item.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim())),
            None => (item, None),
        })
        .collect()
}

/// Whether a text is such a selector.
///
/// # Errors
/// Which part is none.
pub fn check_selector(text: &str) -> Result<(), String> {
    match selector(text).iter().find(|(key, _)| key.is_empty() || key.contains(char::is_whitespace)) {
        Some((key, _)) => Err(format!("{key:?} is not the key of a label: write key=value, or key")),
        None => Ok(()),
    }
}

/// The path of an URL, as a health check asks for it.
///
/// # Errors
/// What it must be.
pub fn check_path(text: &str) -> Result<(), String> {
    let right = text.starts_with('/') && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
    if right {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is not a path of at most 255 ASCII characters that begins with / and has no blanks"
        ))
    }
}

/// Statuses as Octavia has them: one, several with commas, or a range.
///
/// # Errors
/// What to write.
pub fn check_codes(text: &str) -> Result<(), String> {
    let code = |t: &str| t.trim().parse::<u16>().ok().filter(|c| (100..=599).contains(c));
    let right = match text.split_once('-') {
        Some((low, high)) => matches!((code(low), code(high)), (Some(l), Some(h)) if l < h),
        None => text.split(',').all(|t| code(t).is_some()),
    };
    if right { Ok(()) } else { Err(format!("{text:?} is no status: write such as 200, 200,202 or 200-204")) }
}

/// The name of a pattern of subnets: a glob, or with `~` in front a regular expression; `!` before either takes the others.
///
/// # Errors
/// Why the regular expression is none.
pub fn check_subnet_pattern(text: &str) -> Result<(), String> {
    let pattern = text.strip_prefix('!').unwrap_or(text);
    match pattern.strip_prefix('~') {
        Some(regex) => regex_lite::Regex::new(regex)
            .map(drop)
            .map_err(|e| format!("{regex:?} is no regular expression: {e}")),
        None if pattern.is_empty() => Err(format!("{text:?} names no subnet")),
        None => Ok(()),
    }
}

/// A URL, as Barbican gives for a secret or container.
///
/// # Errors
/// What to write.
pub fn check_reference(text: &str) -> Result<(), String> {
    let text = text.trim();
    let url = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match url {
        Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => Ok(()),
        _ => Err(format!(
            "{text:?} is not the URL of a secret or container, such as https://barbican.example/v1/containers/ID"
        )),
    }
}

/// A DNS name, as Kubernetes wants it in a status.
///
/// # Errors
/// What it must be.
pub fn check_hostname(text: &str) -> Result<(), String> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) && text.parse::<IpAddr>().is_err() {
        Ok(())
    } else {
        Err(format!("{text:?} is not a DNS name in lower case"))
    }
}
