//! Rules of an ALB's listener: conditions, transforms, actions. Pure data; the fields are those that the peer controller prints.

use serde::{Serialize, Serializer};

use super::Token;
use super::elb::Tags;
use super::listener::Action;

/// Values to compare with, literally (with `*` and `?`) or as regular expressions; only one of the two may be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Values {
    /// Regular expressions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regex_values: Vec<String>,
    /// Patterns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl Values {
    /// Patterns.
    #[must_use]
    pub fn patterns(values: Vec<String>) -> Self {
        Self { regex_values: Vec::new(), values }
    }

    /// Regular expressions.
    #[must_use]
    pub fn regexes(regex_values: Vec<String>) -> Self {
        Self { regex_values, values: Vec::new() }
    }

    /// How many values count against the limit of a rule.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regex_values.len() + self.values.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A header and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HeaderValues {
    /// Name of the header.
    #[serde(rename = "httpHeaderName")]
    pub name: String,
    /// Values.
    #[serde(flatten)]
    pub values: Values,
}

/// A parameter of the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct QueryParameter {
    /// Key; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Value.
    pub value: String,
}

/// One condition of a rule. All conditions must hold, of each one value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleCondition {
    /// Host.
    HostHeader(Values),
    /// Path.
    PathPattern(Values),
    /// A header.
    HttpHeader(HeaderValues),
    /// Method.
    HttpRequestMethod(Vec<String>),
    /// Query.
    QueryString(Vec<QueryParameter>),
    /// Client network.
    SourceIp(Vec<String>),
}

impl RuleCondition {
    /// How many values count against the limit of a rule.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::HostHeader(values) | Self::PathPattern(values) => values.len(),
            Self::HttpHeader(header) => header.values.len(),
            Self::HttpRequestMethod(values) | Self::SourceIp(values) => values.len(),
            Self::QueryString(values) => values.len(),
        }
    }

    /// Whether it has no value; such a condition is refused by AWS.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for RuleCondition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        #[derive(Serialize)]
        struct Of<'a, T> {
            values: &'a T,
        }
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::HostHeader(values) => {
                map.serialize_entry("field", "host-header")?;
                map.serialize_entry("hostHeaderConfig", values)?;
            }
            Self::PathPattern(values) => {
                map.serialize_entry("field", "path-pattern")?;
                map.serialize_entry("pathPatternConfig", values)?;
            }
            Self::HttpHeader(header) => {
                map.serialize_entry("field", "http-header")?;
                map.serialize_entry("httpHeaderConfig", header)?;
            }
            Self::HttpRequestMethod(values) => {
                map.serialize_entry("field", "http-request-method")?;
                map.serialize_entry("httpRequestMethodConfig", &Of { values })?;
            }
            Self::QueryString(values) => {
                map.serialize_entry("field", "query-string")?;
                map.serialize_entry("queryStringConfig", &Of { values })?;
            }
            Self::SourceIp(values) => {
                map.serialize_entry("field", "source-ip")?;
                map.serialize_entry("sourceIPConfig", &Of { values })?;
            }
        }
        map.end()
    }
}

/// A regular expression and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rewrite {
    /// Regular expression.
    pub regex: String,
    /// Replacement.
    pub replace: String,
}

/// Changes a request before it is sent on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transform {
    /// Of the URL.
    UrlRewrite(Vec<Rewrite>),
    /// Of the host.
    HostHeaderRewrite(Vec<Rewrite>),
}

impl Serialize for Transform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        #[derive(Serialize)]
        struct Rewrites<'a> {
            rewrites: &'a [Rewrite],
        }
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::UrlRewrite(rewrites) => {
                map.serialize_entry("type", "url-rewrite")?;
                map.serialize_entry("urlRewriteConfig", &Rewrites { rewrites })?;
            }
            Self::HostHeaderRewrite(rewrites) => {
                map.serialize_entry("type", "host-header-rewrite")?;
                map.serialize_entry("hostHeaderRewriteConfig", &Rewrites { rewrites })?;
            }
        }
        map.end()
    }
}

/// A rule of an ALB's listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerRuleSpec {
    /// Its listener.
    #[serde(rename = "listenerARN")]
    pub listener_arn: Token,
    /// Priority, 1 to 50,000; the lowest matches first.
    pub priority: u32,
    /// Actions.
    pub actions: Vec<Action>,
    /// Conditions; never empty.
    pub conditions: Vec<RuleCondition>,
    /// Transforms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Transform>,
    /// The user's tags.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn json<T: Serialize>(value: &T) -> Value {
        serde_json::to_value(value).expect("plain data")
    }

    #[test]
    fn conditions_and_transforms_say_their_field() {
        assert_eq!(
            json(&RuleCondition::HostHeader(Values::regexes(vec!["^[^.]+\\.a$".to_owned()]))),
            json!({"field": "host-header", "hostHeaderConfig": {"regexValues": ["^[^.]+\\.a$"]}})
        );
        let header = HeaderValues { name: "X".to_owned(), values: Values::patterns(vec!["1".to_owned()]) };
        assert_eq!(
            json(&RuleCondition::HttpHeader(header)),
            json!({"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "X", "values": ["1"]}})
        );
        assert_eq!(
            json(&RuleCondition::QueryString(vec![QueryParameter { key: None, value: "v".to_owned() }])),
            json!({"field": "query-string", "queryStringConfig": {"values": [{"value": "v"}]}})
        );
        assert_eq!(
            json(&RuleCondition::SourceIp(vec!["10.0.0.0/8".to_owned()])),
            json!({"field": "source-ip", "sourceIPConfig": {"values": ["10.0.0.0/8"]}})
        );
        let rewrite = Rewrite { regex: "a".to_owned(), replace: "b".to_owned() };
        assert_eq!(
            json(&Transform::UrlRewrite(vec![rewrite])),
            json!({"type": "url-rewrite", "urlRewriteConfig": {"rewrites": [{"regex": "a", "replace": "b"}]}})
        );
    }
}
