//! Which rule of an ALB listener a request matches, and what redirects and transforms make of it (ALB user guide, "Condition types for listener
//! rules", "Action types", "Transforms"). Pure.

use std::net::IpAddr;

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use crate::aws::elb::traffic::ServedRule;

/// A request as conditions see it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host without port.
    pub host: String,
    /// Port of the listener.
    pub port: u16,
    /// Path, undecoded.
    pub path: String,
    /// Query, undecoded.
    pub query: String,
    /// Method.
    pub method: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The client.
    pub source: IpAddr,
}

/// The first rule whose conditions all hold; the default one holds always.
pub fn rule<'a>(rules: &'a [ServedRule], asked: &Asked) -> Option<&'a ServedRule> {
    rules.iter().find(|rule| rule.conditions.iter().all(|condition| holds(condition, asked)))
}

/// Whether one value of a condition fits.
fn holds(condition: &Value, asked: &Asked) -> bool {
    match condition["Field"].as_str().unwrap_or_default() {
        "host-header" => any(&condition["HostHeaderConfig"], &asked.host, true),
        "path-pattern" => any(&condition["PathPatternConfig"], &asked.path, false),
        "http-request-method" => {
            values(&condition["HttpRequestMethodConfig"]["Values"]).any(|method| method == asked.method)
        }
        "http-header" => {
            let config = &condition["HttpHeaderConfig"];
            let name = config["HttpHeaderName"].as_str().unwrap_or_default();
            let mut fields = asked.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            fields.any(|(_, value)| any(config, value, true))
        }
        "query-string" => {
            let pairs: Vec<_> = form_urlencoded::parse(asked.query.as_bytes()).collect();
            condition["QueryStringConfig"]["Values"].as_array().into_iter().flatten().any(|wanted| {
                let (key, value) = (wanted["Key"].as_str(), wanted["Value"].as_str().unwrap_or_default());
                pairs.iter().any(|(own_key, own_value)| {
                    key.is_none_or(|key| fits(key, own_key, true)) && fits(value, own_value, true)
                })
            })
        }
        "source-ip" => values(&condition["SourceIpConfig"]["Values"])
            .filter_map(|range| range.parse::<ipnet::IpNet>().ok())
            .any(|range| range.contains(&asked.source)),
        _ => false,
    }
}

fn values(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a text fits one of a configuration's values or regular expressions.
fn any(config: &Value, text: &str, any_case: bool) -> bool {
    let plain = values(&config["Values"]).any(|pattern| fits(pattern, text, any_case));
    plain
        || values(&config["RegexValues"])
            .any(|pattern| regex(pattern, any_case).is_some_and(|regex| regex.is_match(text)))
}

fn regex(pattern: &str, any_case: bool) -> Option<Regex> {
    RegexBuilder::new(pattern).case_insensitive(any_case).build().ok()
}

/// Whether a text fits a pattern in which `*` is any characters and `?` is one.
pub fn fits(pattern: &str, text: &str, any_case: bool) -> bool {
    let same = |a: u8, b: u8| if any_case { a.eq_ignore_ascii_case(&b) } else { a == b };
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star: its place, and the first character that it does not cover yet.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(c) if same(*c, text[t]) => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, covered)) => {
                    star = Some((at, covered + 1));
                    (p, t) = (at + 1, covered + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Status and location of a redirect.
pub fn redirect(config: &Value, asked: &Asked) -> (u16, String) {
    let filled = |member: &str| {
        let template = config[member].as_str().unwrap_or_default();
        template
            .replace("#{protocol}", asked.scheme)
            .replace("#{port}", &asked.port.to_string())
            .replace("#{host}", &asked.host)
            .replace("#{path}", asked.path.trim_start_matches('/'))
            .replace("#{query}", &asked.query)
    };
    let (protocol, host, path, query) =
        (filled("Protocol").to_lowercase(), filled("Host"), filled("Path"), filled("Query"));
    let query = if query.is_empty() { query } else { format!("?{query}") };
    let status = if config["StatusCode"] == "HTTP_301" { 301 } else { 302 };
    (status, format!("{protocol}://{host}:{}{path}{query}", filled("Port")))
}

/// Host, and path with query, after a rule's transforms.
pub fn transformed(transforms: &[Value], asked: &Asked) -> (String, String) {
    let mut host = asked.host.clone();
    let mut target =
        if asked.query.is_empty() { asked.path.clone() } else { format!("{}?{}", asked.path, asked.query) };
    for transform in transforms {
        let (config, text, any_case) = match transform["Type"].as_str() {
            Some("url-rewrite") => ("UrlRewriteConfig", &mut target, false),
            _ => ("HostHeaderRewriteConfig", &mut host, true),
        };
        for rewrite in transform[config]["Rewrites"].as_array().into_iter().flatten() {
            let (pattern, to) = (
                rewrite["Regex"].as_str().unwrap_or_default(),
                rewrite["Replace"].as_str().unwrap_or_default(),
            );
            if let Some(regex) = regex(pattern, any_case) {
                *text = regex.replace(text, to).into_owned();
            }
        }
    }
    (host, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(method: &str, url: &str) -> Asked {
        let (host, rest) = url.split_once('/').unwrap();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Asked {
            scheme: "http",
            host: host.into(),
            port: 80,
            path: format!("/{path}"),
            query: query.into(),
            method: method.into(),
            headers: vec![("x-kind".into(), "Beta-7".into())],
            source: "198.51.100.7".parse().unwrap(),
        }
    }

    #[test]
    fn patterns_fit_as_aws_says() {
        for (pattern, text, any_case, expected) in [
            ("/img/*", "/img/a/b", false, true),
            ("/img/*", "/img/", false, true),
            ("/img/*", "/img", false, false),
            ("/IMG/*", "/img/a", false, false),
            ("*.example.com", "A.b.example.COM", true, true),
            ("*.example.com", "example.com", true, false),
            ("/a?c", "/abc", false, true),
            ("/a?c", "/ac", false, false),
            ("*a*b", "xaxxb", false, true),
            ("*a*b", "xaxxc", false, false),
            ("", "", false, true),
            ("*", "", false, true),
        ] {
            assert_eq!(fits(pattern, text, any_case), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn conditions_hold() {
        let host = |values: Value| json!({"Field": "host-header", "HostHeaderConfig": values});
        let path = |values: Value| json!({"Field": "path-pattern", "PathPatternConfig": values});
        for (condition, url, expected) in [
            (host(json!({"Values": ["b.io", "*.a.io"]})), "x.a.io/", true),
            (host(json!({"Values": ["*.a.io"]})), "a.io/", false),
            (host(json!({"RegexValues": ["^[^.]+\\.a\\.io$"]})), "X.A.io/", true),
            (host(json!({"RegexValues": ["^[^.]+\\.a\\.io$"]})), "y.x.a.io/", false),
            (path(json!({"Values": ["/v1", "/v1/*"]})), "h/v1/x", true),
            (path(json!({"Values": ["/v1", "/v1/*"]})), "h/v1x", false),
            (path(json!({"RegexValues": ["^/v[0-9]+/"]})), "h/v12/x", true),
            (path(json!({"RegexValues": ["^/V[0-9]+/"]})), "h/v12/x", false),
            (
                json!({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET"]}}),
                "h/",
                true,
            ),
            (
                json!({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["POST"]}}),
                "h/",
                false,
            ),
            (
                json!({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Kind", "Values": ["beta-*"]}}),
                "h/",
                true,
            ),
            (
                json!({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Other", "Values": ["*"]}}),
                "h/",
                false,
            ),
            (
                json!({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "1"}]}}),
                "h/?a=b&v=1",
                true,
            ),
            (
                json!({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "v", "Value": "1"}]}}),
                "h/?v=2",
                false,
            ),
            (
                json!({"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": "*x*"}]}}),
                "h/?any=axb",
                true,
            ),
            (json!({"Field": "source-ip", "SourceIpConfig": {"Values": ["198.51.100.0/24"]}}), "h/", true),
            (json!({"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}), "h/", false),
            (json!({"Field": "unknown"}), "h/", false),
        ] {
            assert_eq!(holds(&condition, &asked("GET", url)), expected, "{condition} {url}");
        }
    }

    #[test]
    fn the_first_rule_of_which_all_conditions_hold_is_taken() {
        let rule_of = |name: &str, conditions: Vec<Value>| ServedRule {
            conditions,
            action: json!(name),
            transforms: vec![],
        };
        let get = json!({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET"]}});
        let a = json!({"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a*"]}});
        let rules =
            [rule_of("both", vec![get, a.clone()]), rule_of("path", vec![a]), rule_of("default", vec![])];
        for (method, url, expected) in
            [("GET", "h/a", "both"), ("PUT", "h/ab", "path"), ("GET", "h/b", "default")]
        {
            assert_eq!(rule(&rules, &asked(method, url)).unwrap().action, expected);
        }
    }

    #[test]
    fn redirects_keep_what_they_do_not_change() {
        let config = json!({"Protocol": "HTTPS", "Port": "443", "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}", "StatusCode": "HTTP_301"});
        assert_eq!(
            redirect(&config, &asked("GET", "a.io/x/y?q=1")),
            (301, "https://a.io:443/x/y?q=1".into())
        );
        let config = json!({"Protocol": "#{protocol}", "Port": "#{port}", "Host": "new.#{host}", "Path": "/in/#{path}", "Query": "", "StatusCode": "HTTP_302"});
        assert_eq!(redirect(&config, &asked("GET", "a.io/x?q=1")), (302, "http://new.a.io:80/in/x".into()));
    }

    #[test]
    fn transforms_rewrite_url_and_host() {
        let url = json!({"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/api/(.*)$", "Replace": "/$1"}]}});
        let host = json!({"Type": "host-header-rewrite", "HostHeaderRewriteConfig": {"Rewrites": [{"Regex": "^(.+)\\.io$", "Replace": "$1.internal"}]}});
        let (host, target) = transformed(&[url, host], &asked("GET", "a.io/api/v1/x?q=1"));
        assert_eq!((host.as_str(), target.as_str()), ("a.internal", "/v1/x?q=1"));
    }
}
