//! Who must log in, and whose tokens are checked: `auth-*` and `jwt-validation`. Pure.
//!
//! The client's id and secret of OpenID Connect are never held here: the action names the Secret, with its version, so that a change of its content
//! is a change of the stack.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::json;
use crate::annotations::{Settings, ingress as table};
use crate::stack::{
    Action, CognitoConfig, Content, JwtClaim, JwtValidationConfig, OidcConfig, OnUnauthenticated, SecretRef,
    SessionConfig,
};

/// Most parameters that may be added to the request for authorisation.
const MOST_PARAMETERS: usize = 10;
/// Key of the client's id in the Secret.
pub const CLIENT_ID: &str = "clientID";
/// Key of the client's secret in the Secret.
pub const CLIENT_SECRET: &str = "clientSecret";

/// User pool of Cognito.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cognito {
    #[serde(rename = "userPoolARN")]
    user_pool_arn: String,
    #[serde(rename = "userPoolClientID")]
    user_pool_client_id: String,
    #[serde(rename = "userPoolDomain")]
    user_pool_domain: String,
    #[serde(default, rename = "authenticationRequestExtraParams")]
    extra: BTreeMap<String, String>,
}

/// A provider of OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oidc {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    user_info_endpoint: String,
    /// The Secret with the client's id and secret.
    pub secret_name: String,
    #[serde(default, rename = "authenticationRequestExtraParams")]
    extra: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawJwt {
    jwks_endpoint: String,
    issuer: String,
    #[serde(default)]
    additional_claims: Vec<RawClaim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    format: String,
    name: String,
    values: Vec<String>,
}

fn few(extra: &BTreeMap<String, String>) -> Result<(), String> {
    if extra.len() > MOST_PARAMETERS {
        return Err(format!(
            "authenticationRequestExtraParams holds {} parameters: at most {MOST_PARAMETERS}",
            extra.len()
        ));
    }
    Ok(())
}

fn none_empty(fields: &[(&str, &str)]) -> Result<(), String> {
    match fields.iter().find(|(_, value)| value.is_empty()) {
        Some((field, _)) => Err(format!("{field} is empty")),
        None => Ok(()),
    }
}

fn https(fields: &[(&str, &str)]) -> Result<(), String> {
    match fields.iter().find(|(_, url)| !url.starts_with("https://")) {
        Some((field, url)) => Err(format!("{field} {url:?} does not begin with https://")),
        None => Ok(()),
    }
}

/// Reads `auth-idp-cognito`.
///
/// # Errors
/// What is wrong with it.
pub fn cognito(text: &str) -> Result<Cognito, String> {
    let raw: Cognito = json::read(text)?;
    few(&raw.extra)?;
    none_empty(&[
        ("userPoolARN", &raw.user_pool_arn),
        ("userPoolClientID", &raw.user_pool_client_id),
        ("userPoolDomain", &raw.user_pool_domain),
    ])?;
    if !raw.user_pool_arn.starts_with("arn:") {
        return Err(format!("userPoolARN {:?} is not an ARN", raw.user_pool_arn));
    }
    Ok(raw)
}

/// Reads `auth-idp-oidc`.
///
/// # Errors
/// What is wrong with it.
pub fn oidc(text: &str) -> Result<Oidc, String> {
    let raw: Oidc = json::read(text)?;
    few(&raw.extra)?;
    none_empty(&[("secretName", &raw.secret_name)])?;
    https(&[
        ("issuer", &raw.issuer),
        ("authorizationEndpoint", &raw.authorization_endpoint),
        ("tokenEndpoint", &raw.token_endpoint),
        ("userInfoEndpoint", &raw.user_info_endpoint),
    ])?;
    Ok(raw)
}

/// Reads `jwt-validation`.
///
/// # Errors
/// What is wrong with it.
pub fn jwt(text: &str) -> Result<JwtValidationConfig, String> {
    const FORMATS: &[&str] = &["single-string", "string-array", "space-separated-values"];
    let raw: RawJwt = json::read(text)?;
    none_empty(&[("issuer", &raw.issuer)])?;
    https(&[("jwksEndpoint", &raw.jwks_endpoint)])?;
    let mut additional_claims = Vec::new();
    for claim in raw.additional_claims {
        if !FORMATS.contains(&claim.format.as_str()) {
            return Err(format!(
                "format {:?} is not known: write {}",
                claim.format,
                crate::annotations::value::one_of(FORMATS)
            ));
        }
        if claim.name.is_empty() || claim.values.is_empty() {
            return Err("an additional claim has no name or no values".to_owned());
        }
        additional_claims.push(JwtClaim { format: claim.format, name: claim.name, values: claim.values });
    }
    Ok(JwtValidationConfig { jwks_endpoint: raw.jwks_endpoint, issuer: raw.issuer, additional_claims })
}

/// Whether `auth-idp-cognito` is right.
///
/// # Errors
/// What is wrong with it.
pub fn check_cognito(text: &str) -> Result<(), String> {
    cognito(text).map(drop)
}

/// Whether `auth-idp-oidc` is right.
///
/// # Errors
/// What is wrong with it.
pub fn check_oidc(text: &str) -> Result<(), String> {
    oidc(text).map(drop)
}

/// Whether `jwt-validation` is right.
///
/// # Errors
/// What is wrong with it.
pub fn check_jwt(text: &str) -> Result<(), String> {
    jwt(text).map(drop)
}

/// What is checked before a request is sent on, and why it cannot be said: the field's suffix, and what to do.
pub type Checked = Result<Option<Action>, (&'static crate::annotations::Annotation, String)>;

/// The action that comes first. `of` gives the setting of an annotation, with the object's that it stands on; `secret` the version of a
/// Secret, and `None` where there is none.
pub fn first(
    namespace: &str,
    own: &Settings,
    backend: Option<&Settings>,
    secret: impl Fn(&str) -> Option<String>,
) -> Checked {
    let text = |annotation| backend.and_then(|b| b.text(annotation)).or_else(|| own.text(annotation));
    // Parsed before: the table refuses what does not parse.
    let jwt = own.text(&table::JWT_VALIDATION).and_then(|t| jwt(t).ok()).map(Action::JwtValidation);
    let session = SessionConfig {
        authentication_request_extra_params: BTreeMap::new(),
        on_unauthenticated_request: Some(match text(&table::AUTH_UNAUTHENTICATED) {
            Some("deny") => OnUnauthenticated::Deny,
            Some("allow") => OnUnauthenticated::Allow,
            _ => OnUnauthenticated::Authenticate,
        }),
        scope: Some(text(&table::AUTH_SCOPE).unwrap_or("openid").to_owned()),
        session_cookie_name: Some(text(&table::AUTH_COOKIE).unwrap_or("AWSELBAuthSessionCookie").to_owned()),
        session_timeout: Some(
            text(&table::AUTH_TIMEOUT).and_then(|t| t.trim().parse().ok()).unwrap_or(604_800),
        ),
    };
    let login = match text(&table::AUTH_TYPE) {
        Some("cognito") => {
            let config = text(&table::AUTH_COGNITO).and_then(|t| cognito(t).ok());
            let config = config.ok_or((
                &table::AUTH_COGNITO,
                "auth-type cognito needs it: write userPoolARN, userPoolClientID and userPoolDomain"
                    .to_owned(),
            ))?;
            Some(Action::AuthenticateCognito(Box::new(CognitoConfig {
                session: SessionConfig { authentication_request_extra_params: config.extra, ..session },
                user_pool_arn: config.user_pool_arn,
                user_pool_client_id: config.user_pool_client_id,
                user_pool_domain: config.user_pool_domain,
            })))
        }
        Some("oidc") => {
            let config = text(&table::AUTH_OIDC).and_then(|t| oidc(t).ok());
            let config = config.ok_or((
                &table::AUTH_OIDC,
                "auth-type oidc needs it: write issuer, endpoints and secretName".to_owned(),
            ))?;
            let version = secret(&config.secret_name).ok_or_else(|| {
                let why = format!(
                    "there is no Secret {} in namespace {namespace}: create it with the entries {CLIENT_ID} and {CLIENT_SECRET}",
                    config.secret_name
                );
                (&table::AUTH_OIDC, why)
            })?;
            let part = |key| SecretRef {
                namespace: namespace.to_owned(),
                name: config.secret_name.clone(),
                key,
                version: version.clone(),
                content: Content::default(),
            };
            Some(Action::AuthenticateOidc(Box::new(OidcConfig {
                client_id: part(CLIENT_ID),
                client_secret: part(CLIENT_SECRET),
                session: SessionConfig { authentication_request_extra_params: config.extra, ..session },
                issuer: config.issuer,
                authorization_endpoint: config.authorization_endpoint,
                token_endpoint: config.token_endpoint,
                user_info_endpoint: config.user_info_endpoint,
            })))
        }
        _ => None,
    };
    match (login, jwt) {
        (Some(_), Some(_)) => Err((
            &table::JWT_VALIDATION,
            "it does not go together with auth-type: AWS takes one of them".to_owned(),
        )),
        (login, jwt) => Ok(login.or(jwt)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const POOL: &str =
        r#"{"UserPoolArn":"arn:aws:cognito-idp:x","userPoolClientId":"c","userPoolDomain":"d"}"#;
    const PROVIDER: &str = r#"{"issuer":"https://i","authorizationEndpoint":"https://a","tokenEndpoint":"https://t","userInfoEndpoint":"https://u","secretName":"s"}"#;

    #[rstest]
    #[case::cognito(check_cognito, POOL, "")]
    #[case::cognito_misses(check_cognito, r#"{"userPoolARN":"arn:x"}"#, "userPoolClientID")]
    #[case::cognito_arn(
        check_cognito,
        r#"{"userPoolARN":"x","userPoolClientID":"c","userPoolDomain":"d"}"#,
        "not an ARN"
    )]
    #[case::cognito_empty(
        check_cognito,
        r#"{"userPoolARN":"arn:x","userPoolClientID":"","userPoolDomain":"d"}"#,
        "userPoolClientID is empty"
    )]
    #[case::oidc(check_oidc, PROVIDER, "")]
    #[case::oidc_misses(check_oidc, r#"{"issuer":"https://i"}"#, "authorizationEndpoint")]
    #[case::oidc_http(check_oidc, r#"{"issuer":"http://i","authorizationEndpoint":"https://a","tokenEndpoint":"https://t","userInfoEndpoint":"https://u","secretName":"s"}"#, "issuer")]
    #[case::oidc_secret_shown(check_oidc, r#"{"issuer":"https://i","authorizationEndpoint":"https://a","tokenEndpoint":"https://t","userInfoEndpoint":"https://u","clientSecret":"s"}"#, "clientSecret")]
    #[case::jwt(check_jwt, r#"{"jwksEndpoint":"https://k","issuer":"i"}"#, "")]
    #[case::jwt_claims(check_jwt, r#"{"jwksEndpoint":"https://k","issuer":"i","additionalClaims":[{"format":"string-array","name":"n","values":["v"]}]}"#, "")]
    #[case::jwt_misses(check_jwt, r#"{"issuer":"i"}"#, "jwksEndpoint")]
    #[case::jwt_format(check_jwt, r#"{"jwksEndpoint":"https://k","issuer":"i","additionalClaims":[{"format":"list","name":"n","values":["v"]}]}"#, "format")]
    #[case::jwt_values(check_jwt, r#"{"jwksEndpoint":"https://k","issuer":"i","additionalClaims":[{"format":"string-array","name":"n","values":[]}]}"#, "no values")]
    fn checks(#[case] check: fn(&str) -> Result<(), String>, #[case] text: &str, #[case] says: &str) {
        match check(text) {
            Ok(()) => assert_eq!(says, "", "{text}"),
            Err(why) => assert!(!says.is_empty() && why.contains(says), "{why}"),
        }
    }

    #[test]
    fn many_parameters_are_refused() {
        let extra: Vec<String> = (0..11).map(|i| format!("\"p{i}\":\"v\"")).collect();
        let text =
            POOL.replace('}', &format!(",\"authenticationRequestExtraParams\":{{{}}}}}", extra.join(",")));
        assert!(cognito(&text).expect_err("too many").contains("at most 10"));
    }
}
