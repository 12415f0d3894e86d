//! What a refusal says: each service has its own form, and what stands in between (proxies, limiters) has none. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::Fault;

/// Longest text that is kept of one.
const LONGEST: usize = 600;

/// Reads the body of a refusal.
#[must_use]
pub fn read(status: u16, body: &[u8]) -> Fault {
    let text = String::from_utf8_lossy(body);
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Fault { kind: None, message: plain(status, &text) };
    };
    let fault = from_json(&value).unwrap_or_else(|| Fault { kind: None, message: plain(status, &text) });
    Fault { kind: fault.kind, message: shortened(&fault.message) }
}

/// Text under one of these names.
fn text<'a>(value: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| value.get(name)?.as_str()).filter(|text| !text.is_empty())
}

fn from_json(value: &Value) -> Option<Fault> {
    // Neutron: `{"NeutronError": {"type", "message", "detail"}}`, or just a text.
    if let Some(error) = value.get("NeutronError") {
        let kind = text(error, &["type"]).map(str::to_owned);
        let message = text(error, &["message"]).or(error.as_str()).unwrap_or_default().to_owned();
        return Some(Fault { kind, message });
    }
    // Octavia: `{"faultcode", "faultstring"}`.
    if let Some(message) = text(value, &["faultstring"]) {
        return Some(Fault { kind: None, message: message.to_owned() });
    }
    // Barbican: `{"code", "title", "description"}`.
    if let Some(message) = text(value, &["description"]) {
        return Some(Fault { kind: None, message: message.to_owned() });
    }
    // Keystone and keystonemiddleware: `{"error": {"message", "title"}}`; Nova: `{"itemNotFound": {"message"}}`; limiters: `{"message"}` or `{"error": "text"}`.
    if let Some(message) = text(value, &["message", "error", "reason"]) {
        return Some(Fault { kind: None, message: message.to_owned() });
    }
    let object = value.as_object()?;
    // Middleware of new releases gives a list: `{"errors": [{"title", "detail"}]}`.
    if let Some(first) = object.get("errors").and_then(Value::as_array).and_then(|errors| errors.first()) {
        return text(first, &["detail", "title", "message"])
            .map(|m| Fault { kind: None, message: m.to_owned() });
    }
    let inner = object.values().find_map(|inner| text(inner, &["message", "title"]))?;
    Some(Fault { kind: None, message: inner.to_owned() })
}

/// A body without form: its words, without the markup of a page.
fn plain(status: u16, text: &str) -> String {
    let mut words = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                words.push(' ');
            }
            c if !inside => words.push(if c.is_control() { ' ' } else { c }),
            _ => {}
        }
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() { format!("status {status}, and nothing more") } else { shortened(&words) }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads `Retry-After`: seconds, or a date.
#[must_use]
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod unit {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::octavia(
        r#"{"faultcode": "Client", "faultstring": "Pool 1 not found.", "debuginfo": null}"#,
        None,
        "Pool 1 not found."
    )]
    #[case::neutron(
        r#"{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded", "detail": ""}}"#,
        Some("OverQuota"),
        "Quota exceeded"
    )]
    #[case::neutron_text(r#"{"NeutronError": "Authentication required"}"#, None, "Authentication required")]
    #[case::keystone(
        r#"{"error": {"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}}"#,
        None, "The request you have made requires authentication.")]
    #[case::barbican(r#"{"code": 404, "title": "Not Found", "description": "Sorry"}"#, None, "Sorry")]
    #[case::nova(
        r#"{"itemNotFound": {"code": 404, "message": "Instance 1 could not be found."}}"#,
        None,
        "Instance 1 could not be found."
    )]
    #[case::nova_limit(r#"{"overLimit": {"code": 413, "message": "slow", "retryAfter": "0"}}"#, None, "slow")]
    #[case::gateway(r#"{"message": "API rate limit exceeded"}"#, None, "API rate limit exceeded")]
    #[case::error_text(r#"{"error": "busy"}"#, None, "busy")]
    #[case::errors(r#"{"errors": [{"status": 404, "title": "Not Found", "detail": "no"}]}"#, None, "no")]
    #[case::page(
        "<html><head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>",
        None,
        "502 Bad Gateway nginx"
    )]
    #[case::plain("upstream connect error", None, "upstream connect error")]
    #[case::empty("", None, "status 409, and nothing more")]
    #[case::number("7", None, "7")]
    #[case::list("[1]", None, "[1]")]
    #[case::strange(r#"{"a": 1}"#, None, r#"{"a": 1}"#)]
    #[case::null_message(
        r#"{"faultstring": null, "faultcode": "Client"}"#,
        None,
        r#"{"faultstring": null, "faultcode": "Client"}"#
    )]
    fn faults(#[case] body: &str, #[case] kind: Option<&str>, #[case] message: &str) {
        let fault = read(409, body.as_bytes());
        assert_eq!((fault.kind.as_deref(), fault.message.as_str()), (kind, message));
    }

    #[test]
    fn any_bytes_are_read_and_long_ones_cut() {
        assert!(read(500, &[0xff, 0xfe, 0]).message.contains('\u{fffd}'));
        let long = read(500, "ä".repeat(10_000).as_bytes()).message;
        assert_eq!(long.chars().count(), LONGEST + 1);
    }

    #[rstest]
    #[case("5", Some(5))]
    #[case(" 0 ", Some(0))]
    #[case("Fri, 20 Nov 2026 10:00:30 GMT", Some(30))]
    #[case("Fri, 20 Nov 2026 09:00:00 GMT", Some(0))]
    #[case("soon", None)]
    #[case("-5", None)]
    #[case("", None)]
    fn when_to_come_again(#[case] header: &str, #[case] seconds: Option<u64>) {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().expect("a time");
        assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs));
    }
}
