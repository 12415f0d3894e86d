//! What the annotations of one object say, checked by the table. Pure.

use std::collections::BTreeMap;

use causeway_api::{ObjectRef, Problem, Severity};

use super::{Annotation, IfWrong, ingress, reasons, service, value};

/// Which annotations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of a Service that has a load balancer.
    Service,
    /// Those of an Ingress.
    Ingress,
}

impl Scope {
    fn table(self) -> &'static [Annotation] {
        match self {
            Self::Service => service::TABLE,
            Self::Ingress => ingress::TABLE,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Service => service::PREFIX,
            Self::Ingress => ingress::PREFIX,
        }
    }
}

/// The valid values of one object by key, and what is wrong with the others.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// A wrong value forbids to serve the object, see [`IfWrong::Refused`].
    pub refused: bool,
}

impl Settings {
    /// Reads and checks the annotations of an object.
    #[must_use]
    pub fn read(scope: Scope, object: &ObjectRef, annotations: &BTreeMap<String, String>) -> Self {
        let mut settings = Self::default();
        for (key, text) in annotations {
            match scope.table().iter().find(|a| a.key == key) {
                Some(annotation) => settings.take(object, annotation, text),
                None => {
                    let Some(rest) = key.strip_prefix(scope.prefix()) else { continue };
                    // What the peer or we ourselves write is no wish.
                    if key == service::LOAD_BALANCER_ADDRESS {
                        continue;
                    }
                    settings.problems.push(Problem::warning(
                        object.clone(),
                        field(key),
                        reasons::UNKNOWN,
                        unknown(scope, rest),
                    ));
                }
            }
        }
        settings
    }

    fn take(&mut self, object: &ObjectRef, annotation: &'static Annotation, text: &str) {
        match annotation.kind.check(text) {
            Ok(()) => {
                self.values.insert(annotation.key, text.trim().to_owned());
            }
            Err(why) => {
                let refused = annotation.if_wrong == IfWrong::Refused;
                self.refused |= refused;
                let (severity, rest) = if refused {
                    (Severity::Error, "until it is mended, nothing of this object is made or changed")
                } else {
                    (Severity::Warning, "it counts as absent")
                };
                let message = format!("{why}; {rest}");
                self.problems.push(Problem {
                    severity,
                    ..Problem::warning(object.clone(), field(annotation.key), reasons::INVALID, message)
                });
            }
        }
    }

    /// Lets a value count as absent from now on; whether there was one.
    pub fn forget(&mut self, annotation: &Annotation) -> bool {
        self.values.remove(annotation.key).is_some()
    }

    /// The text, if there is a valid one.
    #[must_use]
    pub fn text(&self, annotation: &Annotation) -> Option<&str> {
        self.values.get(annotation.key).map(String::as_str)
    }

    /// Of [`super::Kind::Bool`].
    #[must_use]
    pub fn bool(&self, annotation: &Annotation) -> Option<bool> {
        value::bool(self.text(annotation)?)
    }

    /// Of [`super::Kind::Number`] that holds nothing below zero.
    #[must_use]
    pub fn number(&self, annotation: &Annotation) -> Option<u32> {
        self.text(annotation)?.parse().ok()
    }

    /// Of any kind of list.
    #[must_use]
    pub fn list(&self, annotation: &Annotation) -> Option<Vec<&str>> {
        self.text(annotation).map(value::list)
    }
}

/// The field of a problem with an annotation.
#[must_use]
pub(crate) fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

fn unknown(scope: Scope, rest: &str) -> String {
    let known = scope.table().iter().filter_map(|a| a.key.strip_prefix(scope.prefix()));
    let near = known.map(|suffix| (distance(suffix, rest), suffix)).min();
    match near {
        Some((d, suffix)) if d <= 3 => {
            format!("there is no such annotation: did you mean {}{suffix}?", scope.prefix())
        }
        _ => "there is no such annotation: see docs/openstack-annotations.md, or take it away".to_owned(),
    }
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (row[j] + 1).min(row[j + 1] + 1).min(corner + usize::from(ca != *cb));
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
