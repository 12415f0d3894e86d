//! Listeners and their actions. Pure data; the fields are those that the peer controller prints.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use causeway_api::digest;
use serde::{Serialize, Serializer};

use super::Token;
use super::elb::{Attribute, ElbProtocol, Tags};

/// A target group and its share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TargetGroupTuple {
    /// The target group.
    #[serde(rename = "targetGroupARN")]
    pub target_group_arn: Token,
    /// Weight, 0 to 999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// Keeps a client on one of several target groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroupStickiness {
    /// On or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// For how long (ALB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u32>,
}

/// Sends to target groups, at most 5.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardConfig {
    /// The target groups.
    pub target_groups: Vec<TargetGroupTuple>,
    /// Stickiness.
    #[serde(rename = "targetGroupStickinessConfig", skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<TargetGroupStickiness>,
}

/// Redirects; what is absent stays as in the request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedirectConfig {
    /// Host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// HTTP or HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// `HTTP_301` or `HTTP_302`.
    pub status_code: String,
}

/// Answers without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FixedResponseConfig {
    /// Content type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_body: Option<String>,
    /// Status, such as `404`.
    pub status_code: String,
}

/// What becomes of a request that is not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnauthenticated {
    /// 401.
    Deny,
    /// Passes.
    Allow,
    /// Sent to log in.
    Authenticate,
}

/// What the two ways of logging in have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionConfig {
    /// Parameters added to the request for authorisation, at most 10.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub authentication_request_extra_params: BTreeMap<String, String>,
    /// What becomes of a request that is not logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unauthenticated_request: Option<OnUnauthenticated>,
    /// Claims to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_name: Option<String>,
    /// Longest session, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<u32>,
}

/// Logs in with Cognito.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CognitoConfig {
    /// Session.
    #[serde(flatten)]
    pub session: SessionConfig,
    /// User pool.
    #[serde(rename = "userPoolARN")]
    pub user_pool_arn: String,
    /// Its client.
    #[serde(rename = "userPoolClientID")]
    pub user_pool_client_id: String,
    /// Its domain.
    #[serde(rename = "userPoolDomain")]
    pub user_pool_domain: String,
}

/// A Secret's content where a spec needs it: named, with its version, never held. What is printed says `[REDACTED]`, as the peer does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Key in it.
    pub key: &'static str,
    /// resourceVersion or digest, so that a change of the content is a change of the stack.
    pub version: String,
    /// What it holds, while a call that needs it is made.
    pub content: Content,
}

impl SecretRef {
    /// One that AWS holds: which it is is told by a tag, and put in as its version.
    #[must_use]
    pub fn read(key: &'static str) -> Self {
        let (namespace, name, version) = (String::new(), String::new(), String::new());
        Self { namespace, name, key, version, content: Content::default() }
    }

    /// What tells Secret and version apart from others, in a few letters; says nothing of the content.
    #[must_use]
    pub fn mark(&self) -> String {
        if self.namespace.is_empty() {
            return self.version.clone();
        }
        let mut mark = digest(&(&self.namespace, &self.name, &self.version));
        mark.truncate(16);
        mark
    }

    /// The same as AWS holds it.
    #[must_use]
    pub fn as_read(&self) -> Self {
        Self { version: self.mark(), ..Self::read(self.key) }
    }
}

/// The content of a Secret. It never counts when specs are compared, and is never printed.
#[derive(Clone, Default)]
pub struct Content(Option<Arc<str>>);

impl Content {
    /// This text.
    pub fn of(text: impl Into<Arc<str>>) -> Self {
        Self(Some(text.into()))
    }

    /// The text, if it is at hand.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PartialEq for Content {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Content {}

impl PartialOrd for Content {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Content {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{} key {} version {}", self.namespace, self.name, self.key, self.version)
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[REDACTED]")
    }
}

/// Logs in with OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcConfig {
    /// Session.
    #[serde(flatten)]
    pub session: SessionConfig,
    /// Issuer.
    pub issuer: String,
    /// Endpoint for authorisation.
    pub authorization_endpoint: String,
    /// Endpoint for tokens.
    pub token_endpoint: String,
    /// Endpoint for the user's data.
    pub user_info_endpoint: String,
    /// Client id.
    #[serde(rename = "clientID")]
    pub client_id: SecretRef,
    /// Client secret.
    pub client_secret: SecretRef,
}

/// A further claim that a token must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct JwtClaim {
    /// `single-string`, `string-array` or `space-separated-values`.
    pub format: String,
    /// Name.
    pub name: String,
    /// Accepted values.
    pub values: Vec<String>,
}

/// Checks a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtValidationConfig {
    /// Where the keys are.
    pub jwks_endpoint: String,
    /// Issuer.
    pub issuer: String,
    /// Further claims.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_claims: Vec<JwtClaim>,
}

/// One action. A listener or rule has any number that check, then exactly one that answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Sends to target groups.
    Forward(ForwardConfig),
    /// Redirects.
    Redirect(RedirectConfig),
    /// Answers.
    FixedResponse(FixedResponseConfig),
    /// Logs in with Cognito.
    AuthenticateCognito(Box<CognitoConfig>),
    /// Logs in with OpenID Connect.
    AuthenticateOidc(Box<OidcConfig>),
    /// Checks a token.
    JwtValidation(JwtValidationConfig),
}

impl Action {
    /// Sends everything to one target group.
    #[must_use]
    pub fn forward(target_group: Token) -> Self {
        Self::Forward(ForwardConfig {
            target_groups: vec![TargetGroupTuple { target_group_arn: target_group, weight: None }],
            stickiness: None,
        })
    }

    /// Whether it ends the handling of a request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Forward(_) | Self::Redirect(_) | Self::FixedResponse(_))
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::Forward(config) => {
                map.serialize_entry("type", "forward")?;
                map.serialize_entry("forwardConfig", config)?;
            }
            Self::Redirect(config) => {
                map.serialize_entry("type", "redirect")?;
                map.serialize_entry("redirectConfig", config)?;
            }
            Self::FixedResponse(config) => {
                map.serialize_entry("type", "fixed-response")?;
                map.serialize_entry("fixedResponseConfig", config)?;
            }
            Self::AuthenticateCognito(config) => {
                map.serialize_entry("type", "authenticate-cognito")?;
                map.serialize_entry("authenticateCognitoConfig", config)?;
            }
            Self::AuthenticateOidc(config) => {
                map.serialize_entry("type", "authenticate-oidc")?;
                map.serialize_entry("authenticateOIDCConfig", config)?;
            }
            Self::JwtValidation(config) => {
                map.serialize_entry("type", "jwt-validation")?;
                map.serialize_entry("jwtValidationConfig", config)?;
            }
        }
        map.end()
    }
}

/// A certificate of a listener; the first one is the default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ListenerCertificate {
    /// ARN.
    #[serde(rename = "certificateARN")]
    pub certificate_arn: String,
}

/// Mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualAuthentication {
    /// `off`, `passthrough` or `verify`.
    pub mode: String,
    /// Trust store, with `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_store_arn: Option<String>,
    /// Takes expired client certificates too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_client_certificate_expiry: Option<bool>,
    /// `on` or `off`: tells clients which authorities are trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_trust_store_ca_names: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSpec {
    /// Its load balancer.
    #[serde(rename = "loadBalancerARN")]
    pub load_balancer_arn: Token,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: ElbProtocol,
    /// What becomes of what no rule matches; never empty.
    pub default_actions: Vec<Action>,
    /// Certificates, the default one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<ListenerCertificate>,
    /// Policy of TLS.
    #[serde(rename = "sslPolicy", skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// At most one policy of ALPN (NLB).
    #[serde(rename = "alpnPolicy", skip_serializing_if = "Vec::is_empty")]
    pub alpn_policy: Vec<String>,
    /// Mutual TLS (ALB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutual_authentication: Option<MutualAuthentication>,
    /// The user's tags.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Attributes, by key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listener_attributes: Vec<Attribute>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn json<T: Serialize>(value: &T) -> Value {
        serde_json::to_value(value).expect("plain data")
    }

    #[test]
    fn actions_say_their_type() {
        assert_eq!(
            json(&Action::forward(Token::literal("arn:tg"))),
            json!({"type": "forward", "forwardConfig": {"targetGroups": [{"targetGroupARN": "arn:tg"}]}})
        );
        let redirect = Action::Redirect(RedirectConfig {
            host: None,
            path: None,
            port: Some("443".to_owned()),
            protocol: Some("HTTPS".to_owned()),
            query: None,
            status_code: "HTTP_301".to_owned(),
        });
        assert_eq!(
            json(&redirect),
            json!({"type": "redirect", "redirectConfig": {"port": "443", "protocol": "HTTPS", "statusCode": "HTTP_301"}})
        );
    }

    #[test]
    fn secrets_are_never_printed_but_count() {
        let secret = |key, version: &str| SecretRef {
            namespace: "a".to_owned(),
            name: "oidc".to_owned(),
            key,
            version: version.to_owned(),
            content: Content::default(),
        };
        let action = |version| {
            Action::AuthenticateOidc(Box::new(OidcConfig {
                session: SessionConfig {
                    on_unauthenticated_request: Some(OnUnauthenticated::Deny),
                    ..SessionConfig::default()
                },
                issuer: "i".to_owned(),
                authorization_endpoint: "a".to_owned(),
                token_endpoint: "t".to_owned(),
                user_info_endpoint: "u".to_owned(),
                client_id: secret("clientID", version),
                client_secret: secret("clientSecret", version),
            }))
        };
        assert_eq!(
            json(&action("1")),
            json!({"type": "authenticate-oidc", "authenticateOIDCConfig": {
                "onUnauthenticatedRequest": "deny", "issuer": "i", "authorizationEndpoint": "a", "tokenEndpoint": "t",
                "userInfoEndpoint": "u", "clientID": "[REDACTED]", "clientSecret": "[REDACTED]"}})
        );
        assert_ne!(action("1"), action("2"));
    }
}
