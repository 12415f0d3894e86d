//! Barbican: secrets with certificates, and containers that users made.
//!
//! Barbican names resources by URL ("ref"); its own addresses in them may not be the ones it is reached at, so only their last part is used for calls, while
//! Octavia is given them as they are.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::collection::{Collection, New, segment};
use super::request::{Method, Request, Service};
use super::{Failure, lenient::null_is_default};

const KEYS: Service = Service::KeyManager;

/// Secrets: what is known of them, not what is in them.
pub const SECRETS: Collection<Secret> = Collection::at(KEYS, "/secrets", "", "secrets");
/// Containers.
pub const CONTAINERS: Collection<Container> = Collection::at(KEYS, "/containers", "", "containers");

/// A secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Barbican's API reference, which says more")]
pub struct Secret {
    #[serde(deserialize_with = "null_is_default")]
    pub secret_ref: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub status: String,
    #[serde(deserialize_with = "null_is_default")]
    pub created: String,
    pub expiration: Option<String>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named as in Barbican's API reference, which says more")]
pub struct Container {
    #[serde(deserialize_with = "null_is_default")]
    pub container_ref: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_is_default")]
    pub status: String,
}

/// A PKCS #12 bundle to keep. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct NewSecret {
    /// Name; need not be unique.
    pub name: String,
    /// The bundle, base64.
    pub payload: String,
    payload_content_type: &'static str,
    payload_content_encoding: &'static str,
    secret_type: &'static str,
}
impl New<Secret> for NewSecret {}

impl NewSecret {
    /// A bundle in base64, as Octavia reads them.
    #[must_use]
    pub fn pkcs12(name: impl Into<String>, base64: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            payload: base64.into(),
            payload_content_type: "application/octet-stream",
            payload_content_encoding: "base64",
            secret_type: "opaque",
        }
    }
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a reference is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A secret.
    Secret,
    /// A container.
    Container,
}

/// Kind and id out of a reference, `https://HOST/v1/secrets/ID`. `None`: it is no such thing.
#[must_use]
pub fn parse_ref(reference: &str) -> Option<(Kind, &str)> {
    let mut parts = reference.trim_end_matches('/').rsplit('/');
    let id =
        parts.next().filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'))?;
    let kind = match parts.next()? {
        "secrets" => Kind::Secret,
        "containers" => Kind::Container,
        _ => return None,
    };
    Some((kind, id))
}

/// Lets these users of Keystone, Octavia's own for one, read a secret besides those of the project.
#[must_use]
pub fn allow_read(secret: &str, users: &[String]) -> Request {
    Request::new(KEYS, Method::Put, &format!("/secrets/{}/acl", segment(secret)))
        .body(serde_json::json!({"read": {"users": users, "project-access": true}}))
}

/// Reads the answer to a secret that was made: only its reference.
///
/// # Errors
/// [`Failure::Garbled`].
pub fn read_ref(answer: &Value) -> Result<String, Failure> {
    let reference = answer.get("secret_ref").and_then(Value::as_str).filter(|r| parse_ref(r).is_some());
    reference
        .map(str::to_owned)
        .ok_or_else(|| Failure::Garbled { text: "Barbican's answer holds no secret_ref".to_owned() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://b:9311/v1/secrets/8f3a-1", Some((Kind::Secret, "8f3a-1")))]
    #[case("https://b/key-manager/v1/containers/0a/", Some((Kind::Container, "0a")))]
    #[case("https://b/v1/secrets/", None)]
    #[case("https://b/v1/orders/0a", None)]
    #[case("0a", None)]
    #[case("", None)]
    #[case("https://b/v1/secrets/..", None)]
    fn references(#[case] reference: &str, #[case] expected: Option<(Kind, &str)>) {
        assert_eq!(parse_ref(reference), expected);
    }

    #[test]
    fn what_is_in_it_is_not_shown() {
        let secret = NewSecret::pkcs12("web", "aHVudGVyMg==");
        assert!(!format!("{secret:?}").contains("aHVudGVyMg"));
        let request = SECRETS.create(&secret);
        assert!(!format!("{request:?}").contains("aHVudGVyMg"));
        assert_eq!(request.key(), "POST /v1/secrets");
        let body = request.body.expect("a body");
        assert_eq!(body["payload"], "aHVudGVyMg==", "not wrapped");
        assert_eq!(body["payload_content_encoding"], "base64");
    }

    #[test]
    fn answers() {
        let made = serde_json::json!({"secret_ref": "http://b/v1/secrets/0a"});
        assert_eq!(read_ref(&made).as_deref(), Ok("http://b/v1/secrets/0a"));
        assert!(read_ref(&serde_json::json!({})).is_err());
        let one = SECRETS.read_one(serde_json::json!({"secret_ref": "r", "name": null, "content_types": {}}));
        assert_eq!(one.expect("a secret").secret_ref, "r");
    }
}
