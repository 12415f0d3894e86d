//! `actions.NAME`: what becomes of requests of a backend with the port `use-annotation`. Pure.
//!
//! What AWS would refuse is refused here, with the reason.

use serde::Deserialize;

use super::json;
use crate::stack::{Action, FixedResponseConfig, RedirectConfig, TargetGroupStickiness};

/// Most target groups of one action.
pub const MOST_TARGET_GROUPS: usize = 5;
/// Highest weight.
const HEAVIEST: u32 = 999;
/// Longest stickiness, in seconds.
const LONGEST: u32 = 604_800;

/// Who receives requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// A target group that the user made, by ARN.
    Arn(String),
    /// A target group that the user made, by name.
    Name(String),
    /// A port of a Service of the namespace, by number or name.
    Service {
        /// Name.
        name: String,
        /// Port.
        port: String,
    },
}

/// A receiver and its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who receives.
    pub receiver: Receiver,
    /// Weight.
    pub weight: Option<u16>,
}

/// An action as an annotation says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Sends on.
    Forward {
        /// To whom: 1 to 5.
        shares: Vec<Share>,
        /// Keeps a client with one of them.
        stickiness: Option<TargetGroupStickiness>,
    },
    /// Answers or redirects: ready for the listener.
    Ready(Action),
}

impl Wanted {
    /// Sends everything to one port of a Service.
    #[must_use]
    pub fn service(name: &str, port: &str) -> Self {
        let receiver = Receiver::Service { name: name.to_owned(), port: port.to_owned() };
        Self::Forward { shares: vec![Share { receiver, weight: None }], stickiness: None }
    }

    /// Answers with a status and a text.
    #[must_use]
    pub fn fixed(status: &str, body: Option<&str>) -> Self {
        Self::Ready(plain_text(status, body))
    }
}

/// An answer with a status and a text.
#[must_use]
pub fn plain_text(status: &str, body: Option<&str>) -> Action {
    Action::FixedResponse(FixedResponseConfig {
        content_type: Some("text/plain".to_owned()),
        message_body: body.map(str::to_owned),
        status_code: status.to_owned(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAction {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "targetGroupARN")]
    target_group_arn: Option<String>,
    target_group_name: Option<String>,
    forward_config: Option<RawForward>,
    redirect_config: Option<RawRedirect>,
    fixed_response_config: Option<RawFixed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawForward {
    #[serde(default)]
    target_groups: Vec<RawShare>,
    target_group_stickiness_config: Option<RawStickiness>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawShare {
    #[serde(rename = "targetGroupARN")]
    target_group_arn: Option<String>,
    target_group_name: Option<String>,
    service_name: Option<String>,
    #[serde(default, deserialize_with = "json::maybe_text")]
    service_port: Option<String>,
    weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawStickiness {
    enabled: Option<bool>,
    duration_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRedirect {
    host: Option<String>,
    path: Option<String>,
    #[serde(default, deserialize_with = "json::maybe_text")]
    port: Option<String>,
    protocol: Option<String>,
    query: Option<String>,
    status_code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawFixed {
    content_type: Option<String>,
    message_body: Option<String>,
    #[serde(deserialize_with = "json::text")]
    status_code: String,
}

/// Reads the value of an annotation.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Wanted, String> {
    let raw: RawAction = json::read(text)?;
    let present = [
        ("forwardConfig", raw.forward_config.is_some()),
        ("redirectConfig", raw.redirect_config.is_some()),
        ("fixedResponseConfig", raw.fixed_response_config.is_some()),
    ];
    let only = |own: &str| match present.iter().find(|(name, there)| *there && *name != own) {
        Some((other, _)) => Err(format!("{other} does not go with type {:?}", raw.kind)),
        None => Ok(()),
    };
    match raw.kind.as_str() {
        "forward" => {
            only("forwardConfig")?;
            forward(raw.target_group_arn, raw.target_group_name, raw.forward_config)
        }
        "redirect" => {
            only("redirectConfig")?;
            let config = raw.redirect_config.ok_or("redirectConfig is missing: write where to")?;
            Ok(Wanted::Ready(Action::Redirect(redirect(config)?)))
        }
        "fixed-response" => {
            only("fixedResponseConfig")?;
            let config =
                raw.fixed_response_config.ok_or("fixedResponseConfig is missing: write the answer")?;
            Ok(Wanted::Ready(Action::FixedResponse(fixed(config)?)))
        }
        other => Err(format!("type {other:?} is not known: write forward, redirect or fixed-response")),
    }
}

/// Whether a value is right.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn forward(arn: Option<String>, name: Option<String>, config: Option<RawForward>) -> Result<Wanted, String> {
    let one = |receiver| Wanted::Forward { shares: vec![Share { receiver, weight: None }], stickiness: None };
    let config = match (arn, name, config) {
        (Some(arn), None, None) => return Ok(one(Receiver::Arn(arn))),
        (None, Some(name), None) => return Ok(one(Receiver::Name(name))),
        (None, None, Some(config)) => config,
        (None, None, None) => return Err("forwardConfig is missing: write whom to forward to".to_owned()),
        _ => {
            return Err(
                "of targetGroupARN, targetGroupName and forwardConfig exactly one must be there".to_owned()
            );
        }
    };
    let many = config.target_groups.len();
    if !(1..=MOST_TARGET_GROUPS).contains(&many) {
        return Err(format!("there are {many} target groups: write 1 to {MOST_TARGET_GROUPS}"));
    }
    let mut shares = Vec::with_capacity(many);
    for share in config.target_groups {
        let receiver = match (share.target_group_arn, share.target_group_name, share.service_name) {
            (Some(arn), None, None) => Receiver::Arn(arn),
            (None, Some(name), None) => Receiver::Name(name),
            (None, None, Some(name)) => {
                let port =
                    share.service_port.ok_or_else(|| format!("servicePort of Service {name} is missing"))?;
                Receiver::Service { name, port }
            }
            _ => {
                return Err(
                    "of targetGroupARN, targetGroupName and serviceName exactly one must be there".to_owned()
                );
            }
        };
        let weight = match share.weight {
            Some(weight) if weight > HEAVIEST => {
                return Err(format!("weight {weight} is not from 0 to {HEAVIEST}"));
            }
            None if many > 1 => {
                return Err("weight is missing: with several target groups each needs one".to_owned());
            }
            weight => weight.and_then(|w| u16::try_from(w).ok()),
        };
        shares.push(Share { receiver, weight });
    }
    let stickiness = match config.target_group_stickiness_config {
        Some(RawStickiness { duration_seconds: Some(seconds), .. }) if !(1..=LONGEST).contains(&seconds) => {
            return Err(format!("durationSeconds {seconds} is not from 1 to {LONGEST}"));
        }
        Some(RawStickiness { enabled: Some(true), duration_seconds: None }) => {
            return Err("durationSeconds is missing: stickiness needs it".to_owned());
        }
        raw => {
            raw.map(|r| TargetGroupStickiness { enabled: r.enabled, duration_seconds: r.duration_seconds })
        }
    };
    Ok(Wanted::Forward { shares, stickiness })
}

fn redirect(raw: RawRedirect) -> Result<RedirectConfig, String> {
    if !matches!(raw.status_code.as_str(), "HTTP_301" | "HTTP_302") {
        return Err(format!("statusCode {:?} is not HTTP_301 or HTTP_302", raw.status_code));
    }
    if let Some(protocol) = &raw.protocol
        && !matches!(protocol.as_str(), "HTTP" | "HTTPS" | "#{protocol}")
    {
        return Err(format!("protocol {protocol:?} is not HTTP, HTTPS or #{{protocol}}"));
    }
    if let Some(port) = &raw.port
        && port != "#{port}"
        && !port.parse::<u16>().is_ok_and(|p| p > 0)
    {
        return Err(format!("port {port:?} is not from 1 to 65535, nor #{{port}}"));
    }
    if let Some(path) = &raw.path
        && !path.starts_with('/')
    {
        return Err(format!("path {path:?} does not begin with /"));
    }
    if let Some(query) = &raw.query
        && query.starts_with('?')
    {
        return Err(format!("query {query:?} begins with ?, which AWS adds itself"));
    }
    for (field, value) in [("host", &raw.host), ("path", &raw.path), ("query", &raw.query)] {
        if value.as_ref().is_some_and(|v| v.len() > 128) {
            return Err(format!("{field} has more than 128 characters"));
        }
    }
    Ok(RedirectConfig {
        host: raw.host,
        path: raw.path,
        port: raw.port,
        protocol: raw.protocol,
        query: raw.query,
        status_code: raw.status_code,
    })
}

fn fixed(raw: RawFixed) -> Result<FixedResponseConfig, String> {
    const TYPES: &[&str] =
        &["text/plain", "text/css", "text/html", "application/javascript", "application/json"];
    let code = raw.status_code.as_bytes();
    if code.len() != 3 || !matches!(code[0], b'2' | b'4' | b'5') || !code.iter().all(u8::is_ascii_digit) {
        return Err(format!("statusCode {:?} is not of the 200s, 400s or 500s", raw.status_code));
    }
    if let Some(kind) = &raw.content_type
        && !TYPES.contains(&kind.as_str())
    {
        return Err(format!(
            "contentType {kind:?} is not known: write {}",
            crate::annotations::value::one_of(TYPES)
        ));
    }
    if raw.message_body.as_ref().is_some_and(|b| b.len() > 1024) {
        return Err("messageBody has more than 1024 bytes".to_owned());
    }
    Ok(FixedResponseConfig {
        content_type: raw.content_type,
        message_body: raw.message_body,
        status_code: raw.status_code,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn forward_in_all_its_forms() {
        let one =
            |receiver| Wanted::Forward { shares: vec![Share { receiver, weight: None }], stickiness: None };
        for (text, want) in [
            (r#"{"type":"forward","targetGroupARN":"arn:tg"}"#, one(Receiver::Arn("arn:tg".to_owned()))),
            (r#"{"Type":"forward","TargetGroupArn":"arn:tg"}"#, one(Receiver::Arn("arn:tg".to_owned()))),
            (r#"{"type":"forward","targetGroupName":"mine"}"#, one(Receiver::Name("mine".to_owned()))),
            (
                r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"a","servicePort":"80"}]}}"#,
                Wanted::service("a", "80"),
            ),
            (
                r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"a","servicePort":80}]}}"#,
                Wanted::service("a", "80"),
            ),
        ] {
            assert_eq!(parse(text).expect(text), want);
        }
        let text = r#"{"type":"forward","forwardConfig":{
            "targetGroups":[{"serviceName":"a","servicePort":"http","weight":20},{"targetGroupARN":"arn:b","weight":0}],
            "targetGroupStickinessConfig":{"enabled":true,"durationSeconds":200}}}"#;
        let Wanted::Forward { shares, stickiness } = parse(text).expect(text) else { panic!("not forward") };
        assert_eq!(shares.iter().map(|s| s.weight).collect::<Vec<_>>(), [Some(20), Some(0)]);
        assert_eq!(stickiness.and_then(|s| s.duration_seconds), Some(200));
    }

    #[test]
    fn answers_and_redirects() {
        let text = r#"{"type":"fixed-response","fixedResponseConfig":{"contentType":"text/plain","statusCode":"503","messageBody":"no"}}"#;
        assert_eq!(parse(text), Ok(Wanted::fixed("503", Some("no"))));
        let text = r##"{"Type":"redirect","RedirectConfig":{"Protocol":"HTTPS","Port":"443","Host":"#{host}","StatusCode":"HTTP_301"}}"##;
        let Ok(Wanted::Ready(Action::Redirect(config))) = parse(text) else { panic!("not redirect") };
        assert_eq!((config.port.as_deref(), config.host.as_deref()), (Some("443"), Some("#{host}")));
    }

    #[rstest]
    #[case::no_json("{", "not JSON")]
    #[case::no_type("{}", "type")]
    #[case::unknown_type(r#"{"type":"drop"}"#, "not known")]
    #[case::misspelt(r#"{"type":"forward","forwardConfg":{}}"#, "forwardConfg")]
    #[case::nobody(r#"{"type":"forward"}"#, "whom to forward to")]
    #[case::two_ways(r#"{"type":"forward","targetGroupARN":"a","targetGroupName":"b"}"#, "exactly one")]
    #[case::empty(r#"{"type":"forward","forwardConfig":{"targetGroups":[]}}"#, "1 to 5")]
    #[case::no_port(
        r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"a"}]}}"#,
        "servicePort"
    )]
    #[case::no_receiver(
        r#"{"type":"forward","forwardConfig":{"targetGroups":[{"weight":1}]}}"#,
        "exactly one"
    )]
    #[case::two_receivers(
        r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a","serviceName":"b"}]}}"#,
        "exactly one"
    )]
    #[case::heavy(
        r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a","weight":1000}]}}"#,
        "0 to 999"
    )]
    #[case::no_weight(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a","weight":1},{"targetGroupARN":"b"}]}}"#, "weight is missing")]
    #[case::six(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a","weight":1},{"targetGroupARN":"b","weight":1},{"targetGroupARN":"c","weight":1},{"targetGroupARN":"d","weight":1},{"targetGroupARN":"e","weight":1},{"targetGroupARN":"f","weight":1}]}}"#, "1 to 5")]
    #[case::sticky_for_ever(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a"}],"targetGroupStickinessConfig":{"enabled":true,"durationSeconds":604801}}}"#, "604800")]
    #[case::sticky_without_end(r#"{"type":"forward","forwardConfig":{"targetGroups":[{"targetGroupARN":"a"}],"targetGroupStickinessConfig":{"enabled":true}}}"#, "durationSeconds")]
    #[case::nowhere(r#"{"type":"redirect"}"#, "redirectConfig is missing")]
    #[case::other_config(
        r#"{"type":"redirect","fixedResponseConfig":{"statusCode":"200"}}"#,
        "does not go with"
    )]
    #[case::redirect_code(r#"{"type":"redirect","redirectConfig":{"statusCode":"301"}}"#, "HTTP_301")]
    #[case::redirect_protocol(
        r#"{"type":"redirect","redirectConfig":{"statusCode":"HTTP_301","protocol":"https"}}"#,
        "protocol"
    )]
    #[case::redirect_port(
        r#"{"type":"redirect","redirectConfig":{"statusCode":"HTTP_301","port":"0"}}"#,
        "port"
    )]
    #[case::redirect_path(
        r#"{"type":"redirect","redirectConfig":{"statusCode":"HTTP_301","path":"a"}}"#,
        "begin with /"
    )]
    #[case::redirect_query(
        r#"{"type":"redirect","redirectConfig":{"statusCode":"HTTP_301","query":"?a"}}"#,
        "begins with ?"
    )]
    #[case::no_answer(r#"{"type":"fixed-response"}"#, "write the answer")]
    #[case::answer_code(r#"{"type":"fixed-response","fixedResponseConfig":{"statusCode":"302"}}"#, "400s")]
    #[case::answer_word(r#"{"type":"fixed-response","fixedResponseConfig":{"statusCode":"2xx"}}"#, "400s")]
    #[case::answer_type(
        r#"{"type":"fixed-response","fixedResponseConfig":{"statusCode":"200","contentType":"image/png"}}"#,
        "contentType"
    )]
    fn wrong(#[case] text: &str, #[case] says: &str) {
        let error = parse(text).expect_err(text);
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn long_answers_are_refused() {
        let text = format!(
            r#"{{"type":"fixed-response","fixedResponseConfig":{{"statusCode":"200","messageBody":"{}"}}}}"#,
            "x".repeat(1025)
        );
        assert!(parse(&text).expect_err("too long").contains("1024"));
    }
}
