//! `conditions.NAME` and `transforms.NAME`: what rules for a backend demand besides host and path, and what they change. Pure.

use ipnet::IpNet;
use serde::Deserialize;

use super::json;
use crate::stack::{HeaderValues, QueryParameter, Rewrite, RuleCondition, Transform, Values};

/// Longest value of a condition, in characters.
pub const LONGEST_VALUE: usize = 128;
/// Longest value of a header's condition, and of a query's, in characters.
const LONGEST_TEXT: usize = 128;
/// Longest name of a header, in characters.
const LONGEST_HEADER: usize = 40;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCondition {
    field: String,
    host_header_config: Option<RawValues>,
    path_pattern_config: Option<RawValues>,
    http_header_config: Option<RawHeader>,
    http_request_method_config: Option<RawList>,
    query_string_config: Option<RawQueries>,
    #[serde(rename = "sourceIPConfig")]
    source_ip_config: Option<RawList>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawValues {
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    regex_values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHeader {
    http_header_name: String,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    regex_values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQueries {
    values: Vec<RawQuery>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuery {
    key: Option<String>,
    value: String,
}

/// Reads the value of `conditions.NAME`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<RuleCondition>, String> {
    let raw: Vec<RawCondition> = json::read(text)?;
    raw.into_iter()
        .enumerate()
        .map(|(i, c)| condition(c).map_err(|why| format!("condition {}: {why}", i + 1)))
        .collect()
}

/// Whether a value is right.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn condition(raw: RawCondition) -> Result<RuleCondition, String> {
    let missing = |config: &str| format!("{config} is missing");
    match raw.field.as_str() {
        "host-header" => {
            let config = raw.host_header_config.ok_or_else(|| missing("hostHeaderConfig"))?;
            Ok(RuleCondition::HostHeader(values(config.values, config.regex_values)?))
        }
        "path-pattern" => {
            let config = raw.path_pattern_config.ok_or_else(|| missing("pathPatternConfig"))?;
            Ok(RuleCondition::PathPattern(values(config.values, config.regex_values)?))
        }
        "http-header" => {
            let config = raw.http_header_config.ok_or_else(|| missing("httpHeaderConfig"))?;
            let name = config.http_header_name;
            if name.is_empty() || name.len() > LONGEST_HEADER {
                return Err(format!("httpHeaderName {name:?} has not 1 to {LONGEST_HEADER} characters"));
            }
            if name.eq_ignore_ascii_case("host") {
                return Err(
                    "httpHeaderName \"host\" is refused by AWS: write a condition with field host-header"
                        .to_owned(),
                );
            }
            Ok(RuleCondition::HttpHeader(HeaderValues {
                name,
                values: values(config.values, config.regex_values)?,
            }))
        }
        "http-request-method" => {
            let config = raw.http_request_method_config.ok_or_else(|| missing("httpRequestMethodConfig"))?;
            let right = |m: &String| {
                (1..=40).contains(&m.len())
                    && m.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_')
            };
            match config.values.iter().find(|m| !right(m)) {
                Some(wrong) => Err(format!("{wrong:?} is no method in capitals, such as GET")),
                None => some(config.values).map(RuleCondition::HttpRequestMethod),
            }
        }
        "query-string" => {
            let config = raw.query_string_config.ok_or_else(|| missing("queryStringConfig"))?;
            for query in &config.values {
                let key = query.key.as_deref().unwrap_or("x");
                if query.value.is_empty() || key.is_empty() {
                    return Err("a parameter of the query has an empty key or value".to_owned());
                }
                if query.value.len() > LONGEST_TEXT || key.len() > LONGEST_TEXT {
                    return Err(format!("{:?} is longer than {LONGEST_TEXT} characters", query.value));
                }
            }
            let all =
                config.values.into_iter().map(|q| QueryParameter { key: q.key, value: q.value }).collect();
            some(all).map(RuleCondition::QueryString)
        }
        "source-ip" => {
            let config = raw.source_ip_config.ok_or_else(|| missing("sourceIPConfig"))?;
            match config.values.iter().find(|v| v.parse::<IpNet>().is_err()) {
                Some(wrong) => Err(format!("{wrong:?} is not a network, such as 10.0.0.0/8")),
                None => some(config.values).map(RuleCondition::SourceIp),
            }
        }
        other => Err(format!(
            "field {other:?} is not known: write host-header, path-pattern, http-header, http-request-method, query-string or source-ip"
        )),
    }
}

fn some<T>(values: Vec<T>) -> Result<Vec<T>, String> {
    if values.is_empty() { Err("values is empty: write at least one".to_owned()) } else { Ok(values) }
}

fn values(values: Vec<String>, regex_values: Vec<String>) -> Result<Values, String> {
    match (values.is_empty(), regex_values.is_empty()) {
        (true, true) => return Err("there are neither values nor regexValues".to_owned()),
        (false, false) => {
            return Err("there are both values and regexValues: AWS takes one of them".to_owned());
        }
        _ => {}
    }
    for value in values.iter().chain(&regex_values) {
        if value.is_empty() || value.chars().count() > LONGEST_VALUE {
            return Err(format!("{value:?} has not 1 to {LONGEST_VALUE} characters"));
        }
    }
    Ok(Values { regex_values, values })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTransform {
    #[serde(rename = "type")]
    kind: String,
    url_rewrite_config: Option<RawRewrites>,
    host_header_rewrite_config: Option<RawRewrites>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRewrites {
    rewrites: Vec<RawRewrite>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRewrite {
    regex: String,
    #[serde(default)]
    replace: String,
}

/// Reads the value of `transforms.NAME`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_transforms(text: &str) -> Result<Vec<Transform>, String> {
    let raw: Vec<RawTransform> = json::read(text)?;
    let mut transforms: Vec<Transform> = Vec::with_capacity(raw.len());
    for transform in raw {
        let (config, make): (_, fn(Vec<Rewrite>) -> Transform) = match transform.kind.as_str() {
            "url-rewrite" => {
                (transform.url_rewrite_config.ok_or("urlRewriteConfig is missing")?, Transform::UrlRewrite)
            }
            "host-header-rewrite" => (
                transform.host_header_rewrite_config.ok_or("hostHeaderRewriteConfig is missing")?,
                Transform::HostHeaderRewrite,
            ),
            other => {
                return Err(format!("type {other:?} is not known: write url-rewrite or host-header-rewrite"));
            }
        };
        if config.rewrites.len() != 1 {
            return Err(format!("there are {} rewrites: AWS takes exactly one", config.rewrites.len()));
        }
        let made = make(
            config.rewrites.into_iter().map(|r| Rewrite { regex: r.regex, replace: r.replace }).collect(),
        );
        if transforms.iter().any(|t| std::mem::discriminant(t) == std::mem::discriminant(&made)) {
            return Err(format!("there are two transforms of type {}: AWS takes one", transform.kind));
        }
        transforms.push(made);
    }
    Ok(transforms)
}

/// Whether a value is right.
///
/// # Errors
/// What is wrong with it.
pub fn check_transforms(text: &str) -> Result<(), String> {
    parse_transforms(text).map(drop)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn every_field() {
        let text = r#"[
            {"field":"host-header","hostHeaderConfig":{"values":["a.example"]}},
            {"Field":"path-pattern","PathPatternConfig":{"RegexValues":["^/a$"]}},
            {"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X","values":["1","2"]}},
            {"field":"http-request-method","httpRequestMethodConfig":{"values":["GET"]}},
            {"field":"query-string","queryStringConfig":{"values":[{"key":"a","value":"1"},{"value":"2"}]}},
            {"field":"source-ip","sourceIpConfig":{"values":["10.0.0.0/8","2001:db8::/32"]}}]"#;
        let conditions = parse(text).expect("right");
        assert_eq!(conditions.iter().map(RuleCondition::len).collect::<Vec<_>>(), [1, 1, 2, 1, 2, 2]);
        assert_eq!(parse("[]"), Ok(vec![]));
    }

    #[rstest]
    #[case("{}", "sequence")]
    #[case(r#"[{"field":"cookie"}]"#, "not known")]
    #[case(r#"[{"field":"host-header"}]"#, "hostHeaderConfig is missing")]
    #[case(r#"[{"field":"host-header","hostHeaderConfig":{}}]"#, "neither")]
    #[case(r#"[{"field":"host-header","hostHeaderConfig":{"values":["a"],"regexValues":["b"]}}]"#, "both")]
    #[case(r#"[{"field":"host-header","hostHeaderConfig":{"valeus":["a"]}}]"#, "valeus")]
    #[case(r#"[{"field":"host-header","hostHeaderConfig":{"values":[""]}}]"#, "1 to 128")]
    #[case(r#"[{"field":"path-pattern"}]"#, "pathPatternConfig is missing")]
    #[case(r#"[{"field":"http-header","httpHeaderConfig":{"values":["a"]}}]"#, "httpHeaderName")]
    #[case(
        r#"[{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"Host","values":["a"]}}]"#,
        "host-header"
    )]
    #[case(r#"[{"field":"http-request-method","httpRequestMethodConfig":{"values":["get"]}}]"#, "capitals")]
    #[case(r#"[{"field":"http-request-method","httpRequestMethodConfig":{"values":[]}}]"#, "at least one")]
    #[case(r#"[{"field":"query-string","queryStringConfig":{"values":[{"key":"a","value":""}]}}]"#, "empty")]
    #[case(r#"[{"field":"source-ip","sourceIPConfig":{"values":["10.0.0.1"]}}]"#, "network")]
    #[case(r#"[{"field":"source-ip"}]"#, "sourceIPConfig is missing")]
    fn wrong(#[case] text: &str, #[case] says: &str) {
        let error = parse(text).expect_err(text);
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn transforms() {
        let text = r#"[{"type":"url-rewrite","urlRewriteConfig":{"rewrites":[{"regex":"^/a(.*)$","replace":"$1"}]}},
            {"type":"host-header-rewrite","hostHeaderRewriteConfig":{"rewrites":[{"regex":"a","replace":"b"}]}}]"#;
        assert_eq!(parse_transforms(text).map(|t| t.len()), Ok(2));
    }

    #[rstest]
    #[case(r#"[{"type":"path"}]"#, "not known")]
    #[case(r#"[{"type":"url-rewrite"}]"#, "urlRewriteConfig is missing")]
    #[case(r#"[{"type":"url-rewrite","urlRewriteConfig":{"rewrites":[]}}]"#, "exactly one")]
    #[case(r#"[{"type":"host-header-rewrite"}]"#, "hostHeaderRewriteConfig is missing")]
    #[case(r#"[{"type":"url-rewrite","urlRewriteConfig":{"rewrites":[{"replace":"a"}]}}]"#, "regex")]
    #[case(r#"[{"type":"url-rewrite","urlRewriteConfig":{"rewrites":[{"regex":"a"}]}},{"type":"url-rewrite","urlRewriteConfig":{"rewrites":[{"regex":"b"}]}}]"#, "two transforms")]
    fn wrong_transforms(#[case] text: &str, #[case] says: &str) {
        let error = parse_transforms(text).expect_err(text);
        assert!(error.contains(says), "{error}");
    }
}
