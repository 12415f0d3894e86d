//! Files of Kubernetes objects to single objects: several documents to a file, lists, YAML or JSON. Pure: text comes in.
//!
//! A document that cannot be read is an error of its own; those before and after it count.

use serde_json::Value;

use super::plan::PlanError;
use crate::kube::parse::{self, Parsed};

/// Reason of an error about a document that is not YAML.
pub const INVALID_YAML: &str = "InvalidYaml";
/// Reason of an error about an object that the API server would refuse.
pub const INVALID_OBJECT: &str = "InvalidObject";

/// All objects of a file, in order, and what could not be read. `file` is its name, for errors.
#[must_use]
pub fn objects(file: &str, text: &str) -> (Vec<Parsed>, Vec<PlanError>) {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for (number, document) in split(text).into_iter().enumerate() {
        let value = match value(&document) {
            Ok(value) => value,
            Err(message) => {
                errors.push(PlanError {
                    object: format!("{file}, document {}", number + 1),
                    field: String::new(),
                    reason: INVALID_YAML.to_owned(),
                    message: format!("{message}; the document is left out"),
                });
                continue;
            }
        };
        for item in parse::flatten(value) {
            match parse::parse(item) {
                Ok(object) => objects.push(object),
                Err(error) => errors.push(PlanError {
                    object: if error.object.name.is_empty() {
                        format!("{file}, document {}", number + 1)
                    } else {
                        error.object.to_string()
                    },
                    field: error.field.clone(),
                    reason: INVALID_OBJECT.to_owned(),
                    message: format!("{}; the object is left out", error.message),
                }),
            }
        }
    }
    (objects, errors)
}

/// One document to a value; null for an empty one.
fn value(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        // JSON is YAML too, but not with tabs.
        if let Ok(value) = serde_json::from_str(text) {
            return Ok(value);
        }
    }
    serde_saphyr::from_str::<Option<Value>>(text).map(Option::unwrap_or_default).map_err(|e| {
        let text = e.to_string();
        let first = text.lines().next().unwrap_or("not YAML").trim();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })
}

/// Documents of a stream. A line that begins with `---` or is `...` ends a document wherever it stands, in block scalars too (YAML 1.2
/// §9.1), so splitting by lines is right, and keeps an error inside its document.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.trim_start_matches('\u{feff}').lines() {
        let rest = match line.strip_prefix("---") {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => Some(rest),
            _ if line.trim_end() == "..." => Some(""),
            _ => None,
        };
        match rest {
            Some(rest) => documents.push(format!("{rest}\n")),
            None => {
                if let Some(last) = documents.last_mut() {
                    last.push_str(line);
                    last.push('\n');
                }
            }
        }
    }
    // Comments and directives alone are no document.
    documents.retain(|d| d.lines().any(|l| !matches!(l.trim_start().chars().next(), None | Some('#' | '%'))));
    documents
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n";

    fn names(text: &str) -> Vec<String> {
        objects("f.yaml", text)
            .0
            .into_iter()
            .map(|o| match o {
                Parsed::Service(s) => format!("{}/{}", s.meta.namespace, s.meta.name),
                Parsed::Node(n) => n.name,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[rstest]
    #[case::one(SERVICE.to_owned(), 1)]
    #[case::two(format!("{SERVICE}---\n{SERVICE}"), 2)]
    #[case::marks_all_around(format!("---\n---\n# nothing\n---\n{SERVICE}...\n---\n"), 1)]
    #[case::comment_behind_the_mark(format!("--- # web\n{SERVICE}"), 1)]
    #[case::crlf(SERVICE.replace('\n', "\r\n"), 1)]
    #[case::byte_order_mark(format!("\u{feff}{SERVICE}"), 1)]
    #[case::directive(format!("%YAML 1.2\n---\n{SERVICE}"), 1)]
    #[case::empty(String::new(), 0)]
    fn documents_of_a_stream(#[case] text: String, #[case] want: usize) {
        let (objects, errors) = objects("f.yaml", &text);
        assert_eq!((objects.len(), errors), (want, vec![]));
    }

    #[test]
    fn lists_and_json() {
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
	{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "x"}, "spec": {"ports": [{"port": 80}]}},
	{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}]}"#;
        assert_eq!(names(list), ["x/a", "n"]);
    }

    #[test]
    fn a_broken_document_spares_the_others() {
        let (objects, errors) = objects("f.yaml", &format!("{SERVICE}---\na: [\n---\n{SERVICE}"));
        assert_eq!(objects.len(), 2);
        assert_eq!(
            (errors[0].object.as_str(), errors[0].reason.as_str()),
            ("f.yaml, document 2", INVALID_YAML)
        );
    }

    #[test]
    fn a_broken_object_is_named_with_its_field() {
        let text = SERVICE.replace("port: 80", "port: many");
        let (objects, errors) = objects("f.yaml", &format!("{text}---\n{SERVICE}"));
        assert_eq!(objects.len(), 1);
        assert_eq!(errors[0].object, "Service default/web");
        assert_eq!(
            (errors[0].field.as_str(), errors[0].reason.as_str()),
            ("spec.ports[0].port", INVALID_OBJECT)
        );
    }

    #[test]
    fn an_object_without_a_name_is_found_by_its_place() {
        let (_, errors) = objects("f.yaml", "kind: Service\n");
        assert_eq!(errors[0].object, "f.yaml, document 1");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[-a-z:{}\\[\\]\"' \n\t&*|>#%.]{0,60}") {
            let _ = objects("f", &text);
        }
    }
}
