//! Errors as each service words them. Pure.

use serde_json::{Value, json};

use super::service::Service;

/// Error code that stands for a gateway in front of the services: its answers are no JSON.
pub const GATEWAY: &str = "Gateway";

const MESSAGE: &str = "The bed's test asked for this error.";

/// Content type and body of an error answer.
pub fn body(service: Service, code: &str, status: u16) -> (&'static str, String) {
    let title = http::StatusCode::from_u16(status).ok().and_then(|known| known.canonical_reason());
    let title = title.unwrap_or("Error");
    if code == GATEWAY {
        return ("text/html", format!("<html><body><h1>{status} {title}</h1>\n{MESSAGE}\n</body></html>\n"));
    }
    let value = match service {
        Service::Identity => json!({"error": {"code": status, "title": title, "message": MESSAGE}}),
        Service::Network => json!({"NeutronError": {"type": code, "message": MESSAGE, "detail": ""}}),
        Service::LoadBalancer => {
            let side = if status < 500 { "Client" } else { "Server" };
            json!({"faultcode": side, "faultstring": MESSAGE, "debuginfo": null})
        }
        Service::KeyManager => json!({"code": status, "title": title, "description": MESSAGE}),
        Service::Compute => json!({"computeFault": {"code": status, "message": MESSAGE}}),
    };
    ("application/json", value.to_string())
}

/// What an error answer says, in a word or a sentence: for the log of calls.
pub fn said(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let places = [
        &value["NeutronError"]["type"],
        &value["faultstring"],
        &value["computeFault"]["message"],
        &value["error"]["message"],
        &value["description"],
        &value["title"],
    ];
    places.iter().find_map(|place| place.as_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_own_words() {
        let of = |service| serde_json::from_str::<Value>(&body(service, "Busy", 503).1).unwrap();
        assert_eq!(of(Service::Identity)["error"]["code"], 503);
        assert_eq!(of(Service::Network)["NeutronError"]["type"], "Busy");
        assert_eq!(of(Service::LoadBalancer)["faultcode"], "Server");
        assert_eq!(of(Service::KeyManager)["title"], "Service Unavailable");
        let (kind, text) = body(Service::Network, GATEWAY, 504);
        assert!(kind == "text/html" && text.contains("504 Gateway Timeout"), "{text}");
    }

    #[test]
    fn what_services_say_is_found() {
        for service in Service::ALL {
            assert!(!said(body(service, "Busy", 409).1.as_bytes()).is_empty(), "{service:?}");
        }
        assert_eq!(said(b"<html>"), "");
    }
}
