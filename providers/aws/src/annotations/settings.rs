//! What the annotations of one object say, checked by the table. Pure.

use std::collections::BTreeMap;

use causeway_api::names::ANNOTATION_PREFIX;
use causeway_api::{ObjectRef, Problem, Severity};

use super::value;
use super::{Annotation, IfWrong, Per, Support, ingress, reasons, service};

/// Which annotations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of a Service that has a load balancer of its own.
    Service,
    /// Those of an Ingress.
    Ingress,
    /// Those of a Service that an Ingress sends to.
    Backend,
}

/// The valid values of one object by suffix, and what is wrong with the others.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<String, String>,
    keys: BTreeMap<String, String>,
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
        let (table, prefixes): (&[Annotation], &[&str]) = match scope {
            Scope::Service => {
                (service::TABLE, &[service::ALTERNATIVE_PREFIX, service::PREFIX, ANNOTATION_PREFIX])
            }
            Scope::Ingress | Scope::Backend => (ingress::TABLE, &[ingress::PREFIX, ANNOTATION_PREFIX]),
        };
        // The last prefix is the one that wins.
        for prefix in prefixes {
            for (key, text) in annotations {
                let Some(suffix) = key.strip_prefix(prefix) else { continue };
                let own = *prefix == ANNOTATION_PREFIX;
                let mut known = table.iter().filter(|a| a.own == own);
                let found = known.find_map(|a| Some((a, a.parameter(suffix)?)));
                match found {
                    Some((annotation, parameter)) => {
                        settings.take(scope, object, annotation, parameter, key, suffix, text);
                    }
                    // Others of Causeway's are read elsewhere.
                    None if !own && scope != Scope::Backend && ours(scope, suffix) => {
                        settings.problems.push(Problem::warning(
                            object.clone(),
                            field(key),
                            reasons::UNKNOWN,
                            unknown(table, prefix, suffix),
                        ));
                    }
                    None => {}
                }
            }
        }
        settings
    }

    #[allow(clippy::too_many_arguments, reason = "one row of the table against one annotation of one object")]
    fn take(
        &mut self,
        scope: Scope,
        object: &ObjectRef,
        annotation: &Annotation,
        parameter: &str,
        key: &str,
        suffix: &str,
        text: &str,
    ) {
        if scope == Scope::Backend && annotation.place != super::Place::IngressOrBackend {
            return;
        }
        let problem = |reason, message| Problem::warning(object.clone(), field(key), reason, message);
        match annotation.support {
            Support::None(why) => {
                self.problems
                    .push(problem(reasons::UNSUPPORTED, format!("it is not supported: {why}; take it away")));
                return;
            }
            Support::Deprecated(instead) => {
                self.problems.push(problem(reasons::DEPRECATED, format!("it is deprecated: {instead}")));
            }
            Support::Full => {}
        }
        match annotation.check_parameter(parameter).and_then(|()| annotation.kind.check(text)) {
            Ok(()) => {
                self.values.insert(suffix.to_owned(), text.to_owned());
                self.keys.insert(suffix.to_owned(), key.to_owned());
            }
            Err(why) => {
                let refused = annotation.if_wrong == IfWrong::Refused;
                self.refused |= refused;
                let rest = if refused {
                    "until it is mended, nothing of this object is made or changed"
                } else {
                    "it counts as absent"
                };
                let severity = if refused { Severity::Error } else { Severity::Warning };
                self.problems
                    .push(Problem { severity, ..problem(reasons::INVALID, format!("{why}; {rest}")) });
            }
        }
    }

    /// Lets a value count as absent from now on; whether there was one.
    pub fn forget(&mut self, annotation: &Annotation) -> bool {
        self.values.remove(annotation.suffix).is_some()
    }

    /// The field of a problem with an annotation.
    #[must_use]
    pub fn field(&self, annotation: &Annotation) -> String {
        self.field_of(annotation, "")
    }

    /// The same with what follows the suffix.
    #[must_use]
    pub fn field_of(&self, annotation: &Annotation, parameter: &str) -> String {
        let suffix = join(annotation, parameter);
        field(self.keys.get(&suffix).map_or(&format!("{}{suffix}", annotation.prefix()), |k| k))
    }

    /// The text, if there is a valid one.
    #[must_use]
    pub fn text(&self, annotation: &Annotation) -> Option<&str> {
        self.text_of(annotation, "")
    }

    /// The text of an annotation with what follows its suffix.
    #[must_use]
    pub fn text_of(&self, annotation: &Annotation, parameter: &str) -> Option<&str> {
        self.values.get(&join(annotation, parameter)).map(String::as_str)
    }

    /// All parameters for which there is a valid value, with the value.
    pub fn all_of<'a>(&'a self, annotation: &'a Annotation) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.values.iter().filter_map(|(suffix, text)| Some((annotation.parameter(suffix)?, text.as_str())))
    }

    /// Of [`super::Kind::Bool`].
    #[must_use]
    pub fn bool(&self, annotation: &Annotation) -> Option<bool> {
        value::bool(self.text(annotation)?)
    }

    /// Of [`super::Kind::OnOff`].
    #[must_use]
    pub fn on_off(&self, annotation: &Annotation) -> Option<crate::stack::OnOff> {
        Some(if self.text(annotation)? == "on" { crate::stack::OnOff::On } else { crate::stack::OnOff::Off })
    }

    /// Of [`super::Kind::Number`].
    #[must_use]
    pub fn number(&self, annotation: &Annotation) -> Option<u32> {
        self.text(annotation)?.trim().parse().ok()
    }

    /// Of any kind of list.
    #[must_use]
    pub fn list(&self, annotation: &Annotation) -> Option<Vec<&str>> {
        self.text(annotation).map(value::list)
    }

    /// Of [`super::Kind::Map`] and [`super::Kind::Tags`].
    #[must_use]
    pub fn map(&self, annotation: &Annotation) -> Option<BTreeMap<String, String>> {
        self.map_of(annotation, "")
    }

    /// The same with what follows the suffix.
    #[must_use]
    pub fn map_of(&self, annotation: &Annotation, parameter: &str) -> Option<BTreeMap<String, String>> {
        value::map(self.text_of(annotation, parameter)?).ok()
    }
}

fn join(annotation: &Annotation, parameter: &str) -> String {
    if parameter.is_empty() {
        annotation.suffix.to_owned()
    } else {
        format!("{}.{parameter}", annotation.suffix)
    }
}

/// The field of a problem with an annotation.
fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Whether a suffix that is not in the table was meant for us.
fn ours(scope: Scope, suffix: &str) -> bool {
    match scope {
        Scope::Service => {
            suffix.starts_with("aws-load-balancer-") && suffix != "aws-load-balancer-quic-enabled-containers"
        }
        Scope::Ingress => true,
        Scope::Backend => false,
    }
}

fn unknown(table: &[Annotation], prefix: &str, suffix: &str) -> String {
    let near =
        table.iter().filter(|a| !a.own).map(|a| (distance(a.suffix, suffix), a)).min_by_key(|(d, _)| *d);
    match near {
        Some((d, a)) if d <= 3 && matches!(a.per, Per::Object | Per::ObjectOrPort) => {
            format!("there is no such annotation: did you mean {prefix}{}?", a.suffix)
        }
        _ => "there is no such annotation: see docs/aws-annotations.md, or take it away".to_owned(),
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
