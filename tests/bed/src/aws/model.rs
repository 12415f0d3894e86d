//! AWS's own description of the load balancer API, as botocore ships it: it turns a form into typed JSON and refuses what AWS refuses before looking at its
//! state: values out of range, members that are missing, enumerations. Nothing of it is written down here. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::elb::Refusal;

/// The description of a service (`service-2.json` of botocore).
#[derive(Clone, Debug, Deserialize)]
pub struct Model {
    metadata: Metadata,
    operations: BTreeMap<String, Operation>,
    shapes: BTreeMap<String, Shape>,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    #[serde(rename = "xmlNamespace")]
    namespace: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Operation {
    input: Option<Reference>,
    output: Option<Reference>,
    #[serde(default)]
    errors: Vec<Reference>,
}

#[derive(Clone, Debug, Deserialize)]
struct Reference {
    shape: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Shape {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    members: BTreeMap<String, Reference>,
    #[serde(default)]
    required: Vec<String>,
    member: Option<Reference>,
    key: Option<Reference>,
    value: Option<Reference>,
    #[serde(rename = "enum", default)]
    values: Vec<String>,
    min: Option<f64>,
    max: Option<f64>,
    pattern: Option<String>,
    error: Option<ErrorTrait>,
}

#[derive(Clone, Debug, Deserialize)]
struct ErrorTrait {
    code: String,
    #[serde(rename = "httpStatusCode", default)]
    status: u16,
}

/// A form as a tree: `A.member.1.B=x`.
#[derive(Debug, Default)]
struct Tree {
    value: Option<String>,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn of(parameters: &[(String, String)]) -> Tree {
        let mut root = Tree::default();
        for (name, value) in parameters {
            let mut node = &mut root;
            for part in name.split('.') {
                node = node.children.entry(part.to_owned()).or_default();
            }
            node.value = Some(value.clone());
        }
        root
    }

    /// Children under numbers, in their order.
    fn numbered(&self) -> Vec<&Tree> {
        let mut entries: Vec<(u32, &Tree)> =
            self.children.iter().filter_map(|(number, entry)| Some((number.parse().ok()?, entry))).collect();
        entries.sort_by_key(|(number, _)| *number);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

fn refuse(path: &str, value: &str, constraint: &str) -> Refusal {
    // AWS names members in lower camel case here.
    let mut place = path.to_owned();
    if let Some(first) = place.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    Refusal::new(
        "ValidationError",
        format!(
            "1 validation error detected: Value '{value}' at '{place}' failed to satisfy constraint: {constraint}"
        ),
    )
}

impl Model {
    /// Reads a description.
    pub fn parse(text: &[u8]) -> Result<Model> {
        serde_json::from_slice(text).context("the description of the load balancer API")
    }

    /// XML namespace of answers.
    pub fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    /// Names of all actions.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.operations.keys().map(String::as_str)
    }

    /// Status of an error code, 400 for one that the description does not have.
    pub fn status(&self, code: &str) -> u16 {
        let mut errors = self.shapes.values().filter_map(|shape| shape.error.as_ref());
        errors.find(|error| error.code == code).map_or(400, |error| error.status)
    }

    /// Whether the description says that an action can be refused with that code. Every action can with some that it does not list.
    pub fn refuses(&self, action: &str, code: &str) -> bool {
        if matches!(code, "ValidationError" | "Throttling" | "InternalFailure" | "InvalidAction") {
            return true;
        }
        let listed = self.operations.get(action).map_or(&[][..], |operation| operation.errors.as_slice());
        let of =
            |reference: &Reference| self.shapes.get(&reference.shape).and_then(|shape| shape.error.as_ref());
        listed.iter().filter_map(of).any(|error| error.code == code)
    }

    /// The input of an action as JSON.
    pub fn input(&self, action: &str, parameters: &[(String, String)]) -> Result<Value, Refusal> {
        let operation = self.operations.get(action).ok_or_else(|| {
            Refusal::new("InvalidAction", format!("Could not find operation {action} for version 2015-12-01"))
        })?;
        let Some(input) = &operation.input else { return Ok(json!({})) };
        let own = |(name, _): &&(String, String)| name != "Action" && name != "Version";
        let parameters: Vec<(String, String)> = parameters.iter().filter(own).cloned().collect();
        self.value(&input.shape, &Tree::of(&parameters), "")
    }

    /// The first member of an answer that the description does not have.
    pub fn unknown_member(&self, action: &str, answer: &Value) -> Option<String> {
        let output = self.operations.get(action)?.output.as_ref()?;
        self.unknown(&output.shape, answer, "")
    }

    fn unknown(&self, shape: &str, value: &Value, path: &str) -> Option<String> {
        let shape = self.shapes.get(shape)?;
        match (shape.kind.as_str(), value) {
            ("structure", Value::Object(members)) => members.iter().find_map(|(name, inner)| {
                let path = format!("{path}.{name}");
                match shape.members.get(name) {
                    None => Some(path),
                    Some(reference) => self.unknown(&reference.shape, inner, &path),
                }
            }),
            ("list", Value::Array(entries)) => {
                let member = shape.member.as_ref()?;
                entries.iter().find_map(|entry| self.unknown(&member.shape, entry, path))
            }
            ("structure" | "list", _) => Some(path.to_owned()),
            _ => None,
        }
    }

    fn value(&self, name: &str, tree: &Tree, path: &str) -> Result<Value, Refusal> {
        let shape = self.shapes.get(name).ok_or_else(|| {
            Refusal::new("InternalFailure", format!("the API's description has no shape {name}"))
        })?;
        match shape.kind.as_str() {
            "structure" => self.structure(shape, tree, path),
            "list" => self.list(shape, tree, path),
            "map" => self.map(shape, tree, path),
            _ => scalar(shape, tree.value.as_deref().unwrap_or_default(), path),
        }
    }

    fn structure(&self, shape: &Shape, tree: &Tree, path: &str) -> Result<Value, Refusal> {
        let mut members = Map::new();
        for (name, inner) in &tree.children {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let Some(reference) = shape.members.get(name) else {
                // AWS would overlook it; here it is somebody's mistake.
                return Err(Refusal::new("ValidationError", format!("The API has no parameter '{path}'")));
            };
            members.insert(name.clone(), self.value(&reference.shape, inner, &path)?);
        }
        if let Some(missing) = shape.required.iter().find(|name| !members.contains_key(*name)) {
            let path = if path.is_empty() { missing.clone() } else { format!("{path}.{missing}") };
            return Err(refuse(&path, "null", "Member must not be null"));
        }
        Ok(Value::Object(members))
    }

    fn list(&self, shape: &Shape, tree: &Tree, path: &str) -> Result<Value, Refusal> {
        let member = shape.member.as_ref().map(|member| member.shape.as_str()).unwrap_or_default();
        let entries = tree.children.get("member").map(Tree::numbered).unwrap_or_default();
        let within = |(index, entry): (usize, &&Tree)| {
            self.value(member, entry, &format!("{path}.{}.member", index + 1))
        };
        let entries: Vec<Value> = entries.iter().enumerate().map(within).collect::<Result<_, _>>()?;
        check_length(shape, entries.len(), path, "[]")?;
        Ok(Value::Array(entries))
    }

    fn map(&self, shape: &Shape, tree: &Tree, path: &str) -> Result<Value, Refusal> {
        let mut map = Map::new();
        for entry in tree.children.get("entry").map(Tree::numbered).unwrap_or_default() {
            let (Some(key), Some(value)) = (entry.children.get("key"), entry.children.get("value")) else {
                continue;
            };
            let (Some(key_shape), Some(value_shape)) = (&shape.key, &shape.value) else { continue };
            let key = self.value(&key_shape.shape, key, path)?;
            map.insert(
                key.as_str().unwrap_or_default().to_owned(),
                self.value(&value_shape.shape, value, path)?,
            );
        }
        Ok(Value::Object(map))
    }
}

fn check_length(shape: &Shape, length: usize, path: &str, shown: &str) -> Result<(), Refusal> {
    if let Some(min) = shape.min.filter(|min| (length as f64) < *min) {
        return Err(refuse(path, shown, &format!("Member must have length greater than or equal to {min}")));
    }
    if let Some(max) = shape.max.filter(|max| (length as f64) > *max) {
        return Err(refuse(path, shown, &format!("Member must have length less than or equal to {max}")));
    }
    Ok(())
}

fn scalar(shape: &Shape, value: &str, path: &str) -> Result<Value, Refusal> {
    match shape.kind.as_str() {
        "integer" | "long" => {
            let Ok(number) = value.parse::<i64>() else {
                return Err(refuse(path, value, "Member must be a number"));
            };
            if let Some(min) = shape.min.filter(|min| (number as f64) < *min) {
                return Err(refuse(
                    path,
                    value,
                    &format!("Member must have value greater than or equal to {min}"),
                ));
            }
            if let Some(max) = shape.max.filter(|max| number as f64 > *max) {
                return Err(refuse(
                    path,
                    value,
                    &format!("Member must have value less than or equal to {max}"),
                ));
            }
            Ok(json!(number))
        }
        "boolean" => match value {
            "true" => Ok(json!(true)),
            "false" => Ok(json!(false)),
            _ => Err(refuse(path, value, "Member must be true or false")),
        },
        "double" | "float" => value
            .parse::<f64>()
            .map(|number| json!(number))
            .map_err(|_| refuse(path, value, "Member must be a number")),
        _ => {
            if !shape.values.is_empty() && !shape.values.iter().any(|allowed| allowed == value) {
                let allowed = shape.values.join(", ");
                return Err(refuse(path, value, &format!("Member must satisfy enum value set: [{allowed}]")));
            }
            check_length(shape, value.chars().count(), path, value)?;
            if let Some(pattern) = &shape.pattern {
                // A pattern that this library does not know is not checked.
                let fits = regex_lite::Regex::new(&format!("^(?:{pattern})$"))
                    .map_or(true, |regex| regex.is_match(value));
                if !fits {
                    return Err(refuse(
                        path,
                        value,
                        &format!("Member must satisfy regular expression pattern: {pattern}"),
                    ));
                }
            }
            Ok(json!(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let text = json!({
            "metadata": {"xmlNamespace": "urn:x"},
            "operations": {"Make": {"input": {"shape": "MakeInput"}, "output": {"shape": "Pair"}, "errors": [{"shape": "Gone"}]}},
            "shapes": {
                "MakeInput": {"type": "structure", "required": ["Name"], "members": {
                    "Name": {"shape": "Name"}, "Port": {"shape": "Port"}, "Ids": {"shape": "Ids"}, "On": {"shape": "Flag"},
                    "Pairs": {"shape": "Pairs"}, "Kind": {"shape": "Kind"}}},
                "Name": {"type": "string", "max": 3}, "Flag": {"type": "boolean"},
                "Port": {"type": "integer", "min": 1, "max": 65535},
                "Ids": {"type": "list", "member": {"shape": "Name"}},
                "Kind": {"type": "string", "enum": ["net", "app"]},
                "Pairs": {"type": "list", "member": {"shape": "Pair"}},
                "Pair": {"type": "structure", "required": ["Key"], "members": {"Key": {"shape": "Name"}, "Ids": {"shape": "Ids"}}},
                "Gone": {"type": "structure", "error": {"code": "ItIsGone", "httpStatusCode": 404}},
            },
        });
        Model::parse(text.to_string().as_bytes()).unwrap()
    }

    fn input(form: &str) -> Result<Value, String> {
        let parameters: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        model().input("Make", &parameters).map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_form_becomes_typed() {
        let form = "Action=Make&Version=1&Name=a&Port=80&On=true&Ids.member.1=x&Ids.member.10=z&Ids.member.2=y\
                    &Pairs.member.1.Key=k&Pairs.member.1.Ids.member.1=i&Kind=net";
        let expected = json!({"Name": "a", "Port": 80, "On": true, "Ids": ["x", "y", "z"], "Kind": "net",
                              "Pairs": [{"Key": "k", "Ids": ["i"]}]});
        assert_eq!(input(form), Ok(expected));
        assert_eq!(input("Name=a&Ids="), Ok(json!({"Name": "a", "Ids": []})));
    }

    #[test]
    fn what_the_description_forbids_is_refused() {
        for (form, words) in [
            ("Port=80", "at 'name' failed to satisfy constraint: Member must not be null"),
            ("Name=a&Port=70000", "Value '70000' at 'port'"),
            ("Name=a&Port=x", "must be a number"),
            ("Name=abcd", "length less than or equal to 3"),
            ("Name=a&On=yes", "true or false"),
            ("Name=a&Kind=gw", "enum value set: [net, app]"),
            ("Name=a&Color=red", "no parameter 'Color'"),
            ("Name=a&Pairs.member.1.Value=v", "no parameter 'Pairs.1.member.Value'"),
        ] {
            let message = input(form).unwrap_err();
            assert!(message.contains(words), "{form}: {message}");
        }
        let refusal = model().input("Break", &[]).unwrap_err();
        assert_eq!(refusal.code, "InvalidAction");
    }

    #[test]
    fn answers_and_errors_are_judged_by_the_description() {
        let model = model();
        assert_eq!(model.unknown_member("Make", &json!({"Key": "a", "Ids": ["b"]})), None);
        assert_eq!(model.unknown_member("Make", &json!({"Kay": "a"})), Some(".Kay".into()));
        assert_eq!(model.unknown_member("Make", &json!({"Ids": "a"})), Some(".Ids".into()));
        assert!(model.refuses("Make", "ItIsGone") && !model.refuses("Make", "Other"));
        assert_eq!((model.status("ItIsGone"), model.status("Other")), (404, 400));
    }
}
