//! JSON in annotations. Pure.
//!
//! The peer reads keys in capitals or not, and manifests use both: known keys are brought to one form first. A key that is not known is an error,
//! since a condition that is misspelt and left out would let requests through.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde_json::{Map, Value};

/// All keys, in the form in which they are documented.
const KEYS: &[&str] = &[
    "additionalClaims",
    "advertiseTrustStoreCaNames",
    "authenticationRequestExtraParams",
    "authorizationEndpoint",
    "contentType",
    "durationSeconds",
    "enabled",
    "field",
    "fixedResponseConfig",
    "format",
    "forwardConfig",
    "host",
    "hostHeaderConfig",
    "hostHeaderRewriteConfig",
    "httpHeaderConfig",
    "httpHeaderName",
    "httpRequestMethodConfig",
    "ignoreClientCertificateExpiry",
    "issuer",
    "jwksEndpoint",
    "key",
    "messageBody",
    "mode",
    "name",
    "path",
    "pathPatternConfig",
    "port",
    "protocol",
    "query",
    "queryStringConfig",
    "redirectConfig",
    "regex",
    "regexValues",
    "replace",
    "rewrites",
    "secretName",
    "serviceName",
    "servicePort",
    "sourceIPConfig",
    "statusCode",
    "targetGroupARN",
    "targetGroupName",
    "targetGroupStickinessConfig",
    "targetGroups",
    "tokenEndpoint",
    "trustStore",
    "type",
    "urlRewriteConfig",
    "userInfoEndpoint",
    "userPoolARN",
    "userPoolClientID",
    "userPoolDomain",
    "value",
    "values",
    "weight",
];

/// Keys below which the user's own names stand.
const OPEN: &str = "authenticationRequestExtraParams";

fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                let known = KEYS.iter().find(|k| k.eq_ignore_ascii_case(&key)).map(|k| (*k).to_owned());
                let key = known.unwrap_or(key);
                // Null is absence, as the peer reads it.
                if !value.is_null() {
                    let value = if key == OPEN { value } else { canonical(value) };
                    out.insert(key, value);
                }
            }
            Value::Object(out)
        }
        other => other,
    }
}

/// Reads a value of an annotation.
///
/// # Errors
/// What is wrong with it.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("it is not JSON: {e}"))?;
    serde_json::from_value(canonical(value)).map_err(|e| e.to_string())
}

/// A text, or a number that is meant as one.
///
/// # Errors
/// Neither.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Text)
}

/// The same, where it may be absent.
///
/// # Errors
/// Neither text nor number.
pub fn maybe_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Example {
        #[serde(deserialize_with = "text")]
        status_code: String,
        #[serde(default, rename = "authenticationRequestExtraParams")]
        extra: std::collections::BTreeMap<String, String>,
    }

    #[test]
    fn keys_in_any_case_numbers_as_texts_and_null_as_absent() {
        for text in [
            r#"{"statusCode": "200"}"#,
            r#"{"StatusCode": 200, "AuthenticationRequestExtraParams": null}"#,
            r#"{"STATUSCODE": "200"}"#,
        ] {
            let example: Example = read(text).expect(text);
            assert_eq!(example, Example { status_code: "200".to_owned(), extra: Default::default() });
        }
        let open: Example =
            read(r#"{"statusCode": 1, "authenticationRequestExtraParams": {"Type": "x"}}"#).expect("right");
        assert_eq!(open.extra["Type"], "x");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(read::<Example>("{").unwrap_err().contains("not JSON"));
        let unknown = read::<Example>(r#"{"statusCode": "1", "statsCode": "1"}"#).unwrap_err();
        assert!(unknown.contains("statsCode") && unknown.contains("statusCode"), "{unknown}");
        assert!(read::<Example>(r#"{"statusCode": {}}"#).unwrap_err().contains("a text or a number"));
    }
}
