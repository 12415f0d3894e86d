//! What a request is about: one word for every method and kind of path. Pure.
//!
//! An action is the method and the path with its ids left out: `PUT /v2.0/lbaas/pools/{id}/members`. In patterns of calls a service may stand before it:
//! `load-balancer:POST *`.

use std::borrow::Cow;

use serde_json::Value;

/// A recognised request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Method and path without ids.
    pub action: String,
    /// The last id of the path; of a list its query; of what is made its name.
    pub resource: String,
}

/// Recognises a request.
pub fn recognise(method: &str, path: &str, query: Option<&str>, body: &[u8]) -> Call {
    // Octavia answers to both.
    let path = match path.strip_prefix("/v2/") {
        Some(rest) => Cow::Owned(format!("/v2.0/{rest}")),
        None => Cow::Borrowed(path),
    };
    let mut action = format!("{method} ");
    let mut resource = None;
    let mut before = "";
    for segment in path.split('/').skip(1) {
        let placeholder = match before {
            "tags" => Some("{tag}"),
            _ if is_id(segment) => Some("{id}"),
            _ => None,
        };
        action.push('/');
        action.push_str(placeholder.unwrap_or(segment));
        if placeholder.is_some() {
            resource = Some(segment.to_owned());
        }
        before = segment;
    }
    let resource = match (resource, method) {
        (Some(id), _) => id,
        (None, "POST" | "PUT") => name_in(body),
        (None, _) => query.unwrap_or_default().to_owned(),
    };
    Call { action, resource }
}

/// A UUID with or without hyphens.
fn is_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(|byte| *byte != b'-').count();
    let hyphens = segment.len() - digits;
    digits == 32
        && (hyphens == 0 || hyphens == 4)
        && segment.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The name in `{"loadbalancer": {"name": ...}}` or, as Barbican has it, `{"name": ...}`.
fn name_in(body: &[u8]) -> String {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return String::new() };
    let own = members.get("name");
    let inner = members.values().find_map(|value| value.get("name"));
    own.or(inner).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether a call changes nothing: reads, and asking for a token.
pub fn is_read(action: &str) -> bool {
    action.starts_with("GET ") || action.starts_with("HEAD ") || action == "POST /v3/auth/tokens"
}

/// Whether a call reads a list, of which there may be pages.
pub fn is_list(action: &str) -> bool {
    action.starts_with("GET /v") && action.matches('/').count() > 1 && !action.ends_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0c29bd2e-0b48-4b27-8f5b-3d1b5ee2a6f1";

    #[test]
    fn ids_are_left_out_of_actions() {
        let cases = [
            ("GET", format!("/v2.0/lbaas/loadbalancers/{ID}"), "GET /v2.0/lbaas/loadbalancers/{id}", ID),
            (
                "GET",
                format!("/v2/lbaas/loadbalancers/{ID}/status"),
                "GET /v2.0/lbaas/loadbalancers/{id}/status",
                ID,
            ),
            (
                "DELETE",
                format!("/v2.0/lbaas/pools/{ID}/members/{ID}"),
                "DELETE /v2.0/lbaas/pools/{id}/members/{id}",
                ID,
            ),
            (
                "PUT",
                format!("/v2.0/floatingips/{ID}/tags/a%2Fb"),
                "PUT /v2.0/floatingips/{id}/tags/{tag}",
                "a%2Fb",
            ),
            (
                "GET",
                "/v3/users/0c29bd2e0b484b278f5b3d1b5ee2a6f1".to_owned(),
                "GET /v3/users/{id}",
                "0c29bd2e0b484b278f5b3d1b5ee2a6f1",
            ),
            ("GET", "/".to_owned(), "GET /", ""),
        ];
        for (method, path, action, resource) in cases {
            let call = recognise(method, &path, None, b"");
            assert_eq!((call.action.as_str(), call.resource.as_str()), (action, resource), "{path}");
        }
    }

    #[test]
    fn what_is_made_has_its_name_and_a_list_its_query() {
        let made =
            recognise("POST", "/v2.0/lbaas/loadbalancers", None, br#"{"loadbalancer": {"name": "web"}}"#);
        assert_eq!(made.resource, "web");
        let secret = recognise("POST", "/v1/secrets", None, br#"{"name": "tls", "payload": "x"}"#);
        assert_eq!(secret.resource, "tls");
        let list = recognise("GET", "/v2.0/floatingips", Some("tags=a"), b"");
        assert_eq!(list.resource, "tags=a");
        assert!(is_list(&list.action) && is_read(&list.action));
        assert!(!is_list("GET /v2.0/floatingips/{id}") && !is_list("GET /") && !is_list("GET /v3"));
    }
}
