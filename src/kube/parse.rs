//! Objects out of files, for `causeway plan -f`: JSON values to the same records that the watches deliver. Pure.
//!
//! Stricter than the watches: what the API server would have refused (a wrong type, a port of 70000, an address that is none)
//! is an error that names object and field.

use causeway_api::{Kind, ObjectRef, OwnObject};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::records::{self, Common, Skipped};
use crate::state::records::{
    ClassRecord, IngressRecord, NamespaceRecord, NodeRecord, SecretRecord, ServiceRecord, SliceRecord,
};

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// `v1` Service.
    Service(ServiceRecord),
    /// `networking.k8s.io/v1` Ingress.
    Ingress(IngressRecord),
    /// `networking.k8s.io/v1` IngressClass.
    Class(ClassRecord),
    /// `v1` Node.
    Node(NodeRecord),
    /// `discovery.k8s.io/v1` EndpointSlice.
    Slice(SliceRecord),
    /// `v1` Secret.
    Secret(SecretRecord),
    /// `v1` Namespace.
    Namespace(NamespaceRecord),
    /// Anything else: one of the provider's own kinds, or nothing that matters.
    Other {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
        /// The object; its namespace is empty where the file gives none.
        object: OwnObject,
    },
}

/// Why a value is not the object that it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {message}")]
pub struct ParseError {
    /// The object, as far as it can be named.
    pub object: Box<ObjectRef>,
    /// Path of the field, such as `spec.ports[0].port`; empty if it is the whole object.
    pub field: String,
    /// What is the matter.
    pub message: String,
}

/// The objects of a document: the items of a `List` (also `ServiceList` and the like), or the document itself; none for an
/// empty document.
#[must_use]
pub fn flatten(value: Value) -> Vec<Value> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let listed = kind.strip_suffix("List").map(str::to_owned);
    match (listed, value) {
        (_, Value::Null) => Vec::new(),
        (Some(item_kind), Value::Object(mut list)) if list.get("items").is_some_and(Value::is_array) => {
            let api_version = list.get("apiVersion").cloned();
            let Some(Value::Array(items)) = list.remove("items") else { return Vec::new() };
            let mut out = Vec::new();
            for mut item in items {
                // Items of a typed list carry neither kind nor apiVersion.
                if let (Value::Object(o), false) = (&mut item, item_kind.is_empty()) {
                    o.entry("kind").or_insert_with(|| item_kind.clone().into());
                    if let Some(v) = &api_version {
                        o.entry("apiVersion").or_insert_with(|| v.clone());
                    }
                }
                out.extend(flatten(item));
            }
            out
        }
        (_, value) => vec![value],
    }
}

/// Makes a record out of one object. A namespaced built-in object without a namespace is in `default`, as for kubectl.
///
/// # Errors
/// [`ParseError`] with object and field.
pub fn parse(value: Value) -> Result<Parsed, ParseError> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let at = At {
        object: ObjectRef {
            kind: match (api_version.as_str(), kind.as_str()) {
                ("v1", "Service") => Kind::Service,
                ("networking.k8s.io/v1", "Ingress") => Kind::Ingress,
                ("v1", "Node") => Kind::Node,
                (_, other) => Kind::Own(other.to_owned()),
            },
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid").into(),
        },
    };
    if !value.is_object() {
        return Err(
            at.error("", "not a Kubernetes object: expected a map with apiVersion, kind and metadata")
        );
    }
    for (field, found) in [("apiVersion", &api_version), ("kind", &kind), ("metadata.name", &at.object.name)]
    {
        if found.is_empty() {
            return Err(at.error(field, "missing, or not a string"));
        }
    }
    let namespaced = matches!(
        (api_version.as_str(), kind.as_str()),
        ("v1", "Service" | "Secret")
            | ("networking.k8s.io/v1", "Ingress")
            | ("discovery.k8s.io/v1", "EndpointSlice")
    );
    let (at, value) = if namespaced { at.in_default(value) } else { (at, value) };
    Ok(match (api_version.as_str(), kind.as_str()) {
        ("v1", "Service") => Parsed::Service(at.whole(|s| Ok(records::service(at.narrow(value)?, s)))?),
        ("networking.k8s.io/v1", "Ingress") => {
            Parsed::Ingress(at.whole(|s| Ok(records::ingress(at.narrow(value)?, s)))?)
        }
        ("networking.k8s.io/v1", "IngressClass") => Parsed::Class(records::class(at.narrow(value)?)),
        ("v1", "Node") => Parsed::Node(at.whole(|s| Ok(records::node(at.narrow(value)?, s)))?),
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            Parsed::Slice(records::slice(at.narrow(value)?, &mut Common::default(), true, false))
        }
        ("v1", "Secret") => Parsed::Secret(records::secret(at.narrow(value)?)),
        ("v1", "Namespace") => Parsed::Namespace(records::namespace(at.narrow(value)?)),
        // Versions that the API server no longer serves, but files still hold.
        (
            "extensions/v1beta1" | "networking.k8s.io/v1beta1" | "discovery.k8s.io/v1beta1",
            "Ingress" | "IngressClass" | "EndpointSlice",
        ) => {
            let message = format!("{api_version} is no longer served; write this {kind} as v1");
            return Err(at.error("apiVersion", message));
        }
        _ => {
            let object = records::own(&kind, at.narrow(value)?);
            Parsed::Other { api_version, kind, object }
        }
    })
}

/// The object at hand, for errors.
struct At {
    object: ObjectRef,
}

impl At {
    fn error(&self, field: impl Into<String>, message: impl Into<String>) -> ParseError {
        ParseError { object: Box::new(self.object.clone()), field: field.into(), message: message.into() }
    }

    /// The object in the namespace that kubectl takes where none is given.
    fn in_default(mut self, mut value: Value) -> (Self, Value) {
        if let (true, Some(Value::Object(metadata))) =
            (self.object.namespace.is_empty(), value.get_mut("metadata"))
        {
            let namespace = metadata.entry("namespace").or_insert(Value::Null);
            // Anything else stays, to be refused as a wrong type.
            if namespace.is_null() || namespace.as_str() == Some("") {
                *namespace = "default".into();
            }
            self.object.namespace = "default".into();
        }
        (self, value)
    }

    fn narrow<T: DeserializeOwned>(&self, value: Value) -> Result<T, ParseError> {
        T::deserialize(&value).map_err(|e| self.error(culprit::<T>(&value), e.to_string()))
    }

    /// An error if any piece of the object had to be left out.
    fn whole<T>(&self, convert: impl FnOnce(&mut Skipped) -> Result<T, ParseError>) -> Result<T, ParseError> {
        let mut skipped = Skipped::default();
        let record = convert(&mut skipped)?;
        match skipped.0.into_iter().next() {
            None => Ok(record),
            Some((field, reason)) => Err(self.error(field, reason)),
        }
    }
}

/// The deepest field without which the error would go away (serde does not tell): found by leaving out one field after
/// the other. Only on the way to an error message, so its cost does not matter.
fn culprit<T: DeserializeOwned>(value: &Value) -> String {
    fn error<T: DeserializeOwned>(value: &Value) -> Option<String> {
        T::deserialize(value).err().map(|e| e.to_string())
    }
    let first = error::<T>(value);
    fn child<'a>(value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
        steps.iter().try_fold(value, |v, step| match step {
            Step::Field(name) => v.get_mut(name.as_str()),
            Step::Index(i) => v.get_mut(*i),
        })
    }
    let mut steps: Vec<Step> = Vec::new();
    loop {
        let mut whole = value.clone();
        let Some(here) = child(&mut whole, &steps) else { break };
        let candidates: Vec<Step> = match here {
            Value::Object(map) => map.keys().cloned().map(Step::Field).collect(),
            Value::Array(list) => (0..list.len()).map(Step::Index).collect(),
            _ => Vec::new(),
        };
        let found = candidates.into_iter().find(|step| {
            let mut without = value.clone();
            match (child(&mut without, &steps), step) {
                (Some(Value::Object(map)), Step::Field(name)) => {
                    map.remove(name);
                }
                (Some(Value::Array(list)), Step::Index(i)) => {
                    list.remove(*i);
                }
                _ => return false,
            }
            error::<T>(&without) != first
        });
        match found {
            Some(step) => steps.push(step),
            None => break,
        }
    }
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Field(name) if out.is_empty() => out = name,
            Step::Field(name) if name.contains(['.', '/']) => out.push_str(&format!("[{name}]")),
            Step::Field(name) => out.push_str(&format!(".{name}")),
            Step::Index(i) => out.push_str(&format!("[{i}]")),
        }
    }
    out
}

enum Step {
    Field(String),
    Index(usize),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(value: Value) -> (String, String) {
        let error = parse(value).expect_err("must be refused");
        (error.object.to_string(), error.field)
    }

    fn named(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    #[test]
    fn wrong_types_name_object_and_field() {
        assert_eq!(
            field(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}, {"port": "81"}]}})
            ),
            named("Service default/a", "spec.ports[1].port")
        );
        assert_eq!(
            field(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "n", "name": "a", "annotations": {"x.io/y": 3}}})
            ),
            named("Service n/a", "metadata.annotations[x.io/y]")
        );
        assert_eq!(
            field(
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "creationTimestamp": "yesterday"}})
            ),
            named("Node a", "metadata.creationTimestamp")
        );
        assert_eq!(
            field(
                json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "p", "labels": []}})
            ),
            named("IPAddressPool p", "metadata.labels")
        );
    }

    #[test]
    fn the_first_of_two_wrong_fields_is_named() {
        let (_, field) = field(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
            "spec": {"ports": [{"port": "80"}], "clusterIPs": "10.0.0.1"}
        }));
        assert!(["spec.clusterIPs", "spec.ports[0].port"].contains(&field.as_str()), "{field}");
    }

    #[test]
    fn what_the_api_server_would_refuse_is_refused() {
        assert_eq!(
            field(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 70000}]}})
            ),
            named("Service default/a", "spec.ports[0].port")
        );
        assert_eq!(
            field(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIPs": ["x"]}})).1,
            "spec.clusterIPs[0]"
        );
        assert_eq!(field(json!({"apiVersion": "v1", "kind": "Service", "metadata": {}})).1, "metadata.name");
        assert_eq!(field(json!({"kind": "Service", "metadata": {"name": "a"}})).1, "apiVersion");
        assert_eq!(field(json!("text")).1, "");
        assert_eq!(
            field(json!({"apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": {"name": "a"}}))
                .1,
            "apiVersion"
        );
    }

    #[test]
    fn every_kind_becomes_its_record() {
        let of = |api_version: &str, kind: &str| {
            parse(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}}))
                .expect("well-formed")
        };
        assert!(matches!(of("v1", "Service"), Parsed::Service(s) if s.meta.namespace == "default"));
        assert!(
            matches!(of("networking.k8s.io/v1", "Ingress"), Parsed::Ingress(i) if i.meta.namespace == "default")
        );
        assert!(
            matches!(of("networking.k8s.io/v1", "IngressClass"), Parsed::Class(c) if c.meta.namespace.is_empty())
        );
        assert!(matches!(of("v1", "Node"), Parsed::Node(_)));
        assert!(matches!(of("v1", "Secret"), Parsed::Secret(s) if s.path.namespace == "default"));
        assert!(matches!(of("v1", "Namespace"), Parsed::Namespace(_)));
        assert!(matches!(of("discovery.k8s.io/v1", "EndpointSlice"), Parsed::Slice(_)));
        assert!(matches!(of("v1", "ConfigMap"), Parsed::Other { kind, .. } if kind == "ConfigMap"));
        // A kind of the same name in another group is another kind.
        assert!(
            parse(
                json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "x"}})
            )
            .is_ok_and(|p| matches!(p, Parsed::Other { .. }))
        );
    }

    #[test]
    fn lists_are_flattened() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
        let bare = json!({"metadata": {"name": "b"}});
        assert_eq!(flatten(Value::Null), Vec::<Value>::new());
        assert_eq!(flatten(service.clone()), [service.clone()].to_vec());
        assert_eq!(flatten(json!({"apiVersion": "v1", "kind": "List", "items": [service]})).len(), 1);
        let items = flatten(json!({"apiVersion": "v1", "kind": "ServiceList", "items": [bare]}));
        assert!(matches!(parse(items[0].clone()), Ok(Parsed::Service(_))));
    }
}
