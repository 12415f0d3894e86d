//! The syntax of `cloud.conf`: git-config as Go's `gcfg` reads it. Pure; knows no section and no key.
//!
//! - `[section]` and `[section "Sub Section"]`; names of sections and keys are letters, digits and `-`, in any case; a subsection's case counts.
//! - `key = value`; a key alone is *blank*, which means true for switches. Spaces around a value go; `;` and `#` begin a comment, also after a value.
//! - `"…"` may enclose any part of a value and keeps spaces, `;` and `#`. Inside, `\\`, `\"`, `\n` and `\t` are escapes. Outside, a backslash is only
//!   allowed at the end of a line, which it joins to the next.
//! - A section may appear several times, a key too: for one value the last counts, for a list all.
//!
//! Sources: package documentation of gcfg v1, and git-config(1). What gcfg refuses is refused here, with the line and what to write instead.

use std::fmt;

use causeway_api::Problem;

use super::Place;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct File {
    /// Its name, for messages.
    pub name: String,
    /// Sections, each once, in the order in which they first appear.
    pub sections: Vec<Section>,
}

/// A section, of all places where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name as it was first written.
    pub name: String,
    /// Subsection.
    pub sub: Option<String>,
    /// Line of its first header.
    pub line: usize,
    /// Keys with values, in order.
    pub entries: Vec<Entry>,
}

/// A key with its value. `Debug` does not show the value: it may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key, in lower case.
    pub key: String,
    /// Value; `None`: blank.
    pub value: Option<String>,
    /// Line.
    pub line: usize,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("line", &self.line).finish_non_exhaustive()
    }
}

impl File {
    /// The sections of this name, whatever their subsection; case does not count.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |s| s.name.eq_ignore_ascii_case(name))
    }

    /// Where an entry is.
    #[must_use]
    pub fn place(&self, section: &Section, entry: &Entry) -> Place {
        Place {
            file: self.name.clone(),
            line: entry.line,
            key: format!("{} {}", section.header(), entry.key),
        }
    }
}

impl Section {
    /// The last value of a key; a blank one is the empty string.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|e| e.key == key)
    }

    /// The header as it is written.
    #[must_use]
    pub fn header(&self) -> String {
        match &self.sub {
            Some(sub) => format!("[{} \"{sub}\"]", self.name),
            None => format!("[{}]", self.name),
        }
    }
}

impl Entry {
    /// The value; a blank one is empty.
    #[must_use]
    pub fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// The value as a switch: `true`, `yes`, `on`, `1` or blank; `false`, `no`, `off`, `0`. `None`: neither.
    #[must_use]
    pub fn switch(&self) -> Option<bool> {
        self.value.as_deref().map_or(Some(true), switch)
    }
}

/// A switch, as gcfg reads it.
#[must_use]
pub fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a file.
///
/// # Errors
/// Everything that is not gcfg, each with its line; a line that is wrong does not hide what is wrong in the others.
pub fn parse(name: &str, text: &str) -> Result<File, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut file = File { name: name.to_owned(), sections: Vec::new() };
    let mut current = None;
    let mut problems = Vec::new();
    loop {
        reader.spaces();
        let line = reader.line;
        let read = match reader.peek() {
            None => break,
            Some('\n') => {
                reader.next();
                continue;
            }
            Some(';' | '#') => {
                reader.skip_line();
                continue;
            }
            Some('[') => reader.header().map(|(section, sub)| {
                current = Some(file.section(section, sub, line));
            }),
            Some(c) if c.is_alphabetic() => reader.entry().and_then(|(key, value)| match current {
                Some(index) => {
                    file.sections[index].entries.push(Entry { key, value, line });
                    Ok(())
                }
                None => {
                    Err("this key belongs to no section: write a header such as [Global] above it".to_owned())
                }
            }),
            Some(c) => Err(format!(
                "a section header, a key or a comment is expected here, and this begins with {c:?}"
            )),
        };
        if let Err(message) = read {
            problems.push(Place { file: name.to_owned(), line, key: String::new() }.error(message));
            reader.skip_line();
        }
    }
    if problems.is_empty() { Ok(file) } else { Err(problems) }
}

impl File {
    /// Index of a section, which is made if it is not there.
    fn section(&mut self, name: String, sub: Option<String>, line: usize) -> usize {
        let there = self.sections.iter().position(|s| s.name.eq_ignore_ascii_case(&name) && s.sub == sub);
        there.unwrap_or_else(|| {
            self.sections.push(Section { name, sub, line, entries: Vec::new() });
            self.sections.len() - 1
        })
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(space) {
            self.next();
        }
    }

    /// Leaves the line, but for its end.
    fn skip_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '-') {
            name.push(c);
            self.next();
        }
        name
    }

    /// What follows on a line must be nothing, or a comment.
    fn end(&mut self, after: &str) -> Result<(), String> {
        self.spaces();
        match self.peek() {
            None | Some('\n') => Ok(()),
            Some(';' | '#') => {
                self.skip_line();
                Ok(())
            }
            Some(c) => Err(format!("nothing but a comment may follow {after}, and {c:?} does")),
        }
    }

    fn header(&mut self) -> Result<(String, Option<String>), String> {
        self.next();
        self.spaces();
        let name = self.name();
        if !name.starts_with(char::is_alphabetic) {
            return Err(
                "the name of a section is expected after [: a letter, then letters, digits or -".to_owned()
            );
        }
        self.spaces();
        let sub = match self.peek() {
            Some('"') => {
                let sub = self.quoted()?;
                if sub.is_empty() {
                    return Err(format!("the subsection of [{name} \"\"] has no name: give it one"));
                }
                self.spaces();
                Some(sub)
            }
            _ => None,
        };
        if self.peek() != Some(']') {
            return Err(format!(
                "the header [{name} is not closed: write [{name}], or [{name} \"subsection\"] with quotes"
            ));
        }
        self.next();
        self.end("a section header")?;
        Ok((name, sub))
    }

    /// A subsection's name, from its opening quote.
    fn quoted(&mut self) -> Result<String, String> {
        self.next();
        let mut text = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => return Err("the quote is not closed on this line: add a \"".to_owned()),
                Some('"') => {
                    self.next();
                    return Ok(text);
                }
                Some('\\') => {
                    self.next();
                    text.push(self.escape()?);
                }
                Some(c) => {
                    self.next();
                    text.push(c);
                }
            }
        }
    }

    /// What follows a backslash inside quotes.
    fn escape(&mut self) -> Result<char, String> {
        let meant = match self.peek() {
            Some(c @ ('\\' | '"')) => c,
            Some('n') => '\n',
            Some('t') => '\t',
            // What is written here may be part of a password.
            _ => {
                return Err(
                    "only \\\\, \\\", \\n and \\t are escapes: write \\\\ for a backslash inside quotes"
                        .to_owned(),
                );
            }
        };
        self.next();
        Ok(meant)
    }

    fn entry(&mut self) -> Result<(String, Option<String>), String> {
        let key = self.name().to_lowercase();
        self.spaces();
        match self.peek() {
            None | Some('\n') => Ok((key, None)),
            Some(';' | '#') => {
                self.skip_line();
                Ok((key, None))
            }
            Some('=') => {
                self.next();
                self.spaces();
                let value = self.value().map_err(|message| format!("{key}: {message}"))?;
                Ok((key, Some(value)))
            }
            Some(_) => Err(format!("after the key {key} a = is expected (keys are letters, digits and -)")),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let mut value = String::new();
        // Length up to the last character that is not an unquoted space.
        let mut kept = 0;
        let mut quoted = false;
        loop {
            match self.peek() {
                None | Some('\n') if quoted => {
                    return Err("the quote is not closed on this line: add a \" at its end, or write \\\" for a quote \
                                that belongs to the value"
                        .to_owned());
                }
                None | Some('\n') => break,
                Some(';' | '#') if !quoted => {
                    self.skip_line();
                    break;
                }
                Some('"') => {
                    self.next();
                    quoted = !quoted;
                    kept = value.len();
                }
                Some('\\') if quoted => {
                    self.next();
                    value.push(self.escape()?);
                    kept = value.len();
                }
                Some('\\') => {
                    self.next();
                    if self.peek() == Some('\r') {
                        self.next();
                    }
                    if self.next() != Some('\n') {
                        return Err("a backslash outside of quotes may only end a line: put the value in \"…\" and write \\\\ \
                                    for a backslash"
                            .to_owned());
                    }
                }
                // As gcfg: a carriage return is never part of a value.
                Some('\r') => {
                    self.next();
                }
                Some(c) => {
                    self.next();
                    value.push(c);
                    if quoted || !space(c) {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
        Ok(value)
    }
}

fn space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

#[cfg(test)]
#[path = "gcfg_tests.rs"]
mod tests;
