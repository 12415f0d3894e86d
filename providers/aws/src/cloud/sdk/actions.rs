//! Actions of listeners and rules, between the SDK's shapes and ours. Pure.

use aws_sdk_elasticloadbalancingv2::types as elb;

use super::super::Failure;
use crate::alb::auth::{CLIENT_ID, CLIENT_SECRET};
use crate::plan::tokens::literal;
use crate::stack::*;

/// Actions in order. Of what logs people in AWS does not tell the client's secret; a tag tells which one it is ([`crate::plan::secrets`]).
pub(super) fn read(all: &[elb::Action]) -> Vec<Action> {
    let mut all: Vec<&elb::Action> = all.iter().collect();
    all.sort_by_key(|a| a.order().unwrap_or_default());
    all.into_iter().filter_map(read_one).collect()
}

/// The word for what becomes of those who are not logged in.
fn unauthenticated(word: Option<&str>) -> Option<OnUnauthenticated> {
    Some(match word? {
        "deny" => OnUnauthenticated::Deny,
        "allow" => OnUnauthenticated::Allow,
        _ => OnUnauthenticated::Authenticate,
    })
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

macro_rules! session {
    ($config:expr) => {
        SessionConfig {
            authentication_request_extra_params: $config
                .authentication_request_extra_params()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            on_unauthenticated_request: unauthenticated(
                $config.on_unauthenticated_request().map(|word| word.as_str()),
            ),
            scope: $config.scope().map(str::to_owned),
            session_cookie_name: $config.session_cookie_name().map(str::to_owned),
            session_timeout: $config.session_timeout().and_then(|s| u32::try_from(s).ok()),
        }
    };
}

fn read_one(action: &elb::Action) -> Option<Action> {
    Some(match action.r#type()?.as_str() {
        "forward" => match action.forward_config().filter(|c| !c.target_groups().is_empty()) {
            Some(config) => {
                let one = |t: &elb::TargetGroupTuple| TargetGroupTuple {
                    target_group_arn: Token::literal(t.target_group_arn().unwrap_or_default()),
                    weight: t.weight().and_then(|w| u16::try_from(w).ok()),
                };
                Action::Forward(ForwardConfig {
                    target_groups: config.target_groups().iter().map(one).collect(),
                    stickiness: config.target_group_stickiness_config().map(|s| TargetGroupStickiness {
                        enabled: s.enabled(),
                        duration_seconds: s.duration_seconds().and_then(|d| u32::try_from(d).ok()),
                    }),
                })
            }
            None => Action::forward(Token::literal(action.target_group_arn().unwrap_or_default())),
        },
        "redirect" => {
            let config = action.redirect_config()?;
            let text = |t: Option<&str>| t.map(str::to_owned);
            Action::Redirect(RedirectConfig {
                host: text(config.host()),
                path: text(config.path()),
                port: text(config.port()),
                protocol: text(config.protocol()),
                query: text(config.query()),
                status_code: config.status_code().map(|c| c.as_str().to_owned()).unwrap_or_default(),
            })
        }
        "fixed-response" => {
            let config = action.fixed_response_config()?;
            Action::FixedResponse(FixedResponseConfig {
                content_type: config.content_type().map(str::to_owned),
                message_body: config.message_body().map(str::to_owned),
                status_code: config.status_code().unwrap_or_default().to_owned(),
            })
        }
        "authenticate-cognito" => {
            let config = action.authenticate_cognito_config()?;
            Action::AuthenticateCognito(Box::new(CognitoConfig {
                session: session!(config),
                user_pool_arn: text(config.user_pool_arn()),
                user_pool_client_id: text(config.user_pool_client_id()),
                user_pool_domain: text(config.user_pool_domain()),
            }))
        }
        "authenticate-oidc" => {
            let config = action.authenticate_oidc_config()?;
            Action::AuthenticateOidc(Box::new(OidcConfig {
                session: session!(config),
                issuer: text(config.issuer()),
                authorization_endpoint: text(config.authorization_endpoint()),
                token_endpoint: text(config.token_endpoint()),
                user_info_endpoint: text(config.user_info_endpoint()),
                client_id: SecretRef::read(CLIENT_ID),
                client_secret: SecretRef::read(CLIENT_SECRET),
            }))
        }
        "jwt-validation" => {
            let config = action.jwt_validation_config()?;
            let claim = |c: &elb::JwtValidationActionAdditionalClaim| JwtClaim {
                format: c.format().map(|f| f.as_str().to_owned()).unwrap_or_default(),
                name: text(c.name()),
                values: c.values().to_vec(),
            };
            Action::JwtValidation(JwtValidationConfig {
                jwks_endpoint: text(config.jwks_endpoint()),
                issuer: text(config.issuer()),
                additional_claims: config.additional_claims().iter().map(claim).collect(),
            })
        }
        // Nobody asks for this one, so it differs from whatever is wanted.
        other => Action::FixedResponse(FixedResponseConfig {
            content_type: None,
            message_body: None,
            status_code: other.to_owned(),
        }),
    })
}

/// Actions with their order. The contents of Secrets must be there.
pub(super) fn write(all: &[Action]) -> Result<Vec<elb::Action>, Failure> {
    all.iter()
        .enumerate()
        .map(|(at, action)| {
            let builder = write_one(action)?;
            let order = i32::try_from(at + 1).unwrap_or(i32::MAX);
            Ok(builder.set_order((all.len() > 1).then_some(order)).build())
        })
        .collect()
}

fn word(word: OnUnauthenticated) -> &'static str {
    match word {
        OnUnauthenticated::Deny => "deny",
        OnUnauthenticated::Allow => "allow",
        OnUnauthenticated::Authenticate => "authenticate",
    }
}

macro_rules! with_session {
    ($builder:expr, $session:expr) => {{
        let params = &$session.authentication_request_extra_params;
        $builder
            .set_scope($session.scope.clone())
            .set_session_cookie_name($session.session_cookie_name.clone())
            .set_session_timeout($session.session_timeout.map(i64::from))
            .set_authentication_request_extra_params(
                (!params.is_empty()).then(|| params.clone().into_iter().collect()),
            )
            .set_on_unauthenticated_request($session.on_unauthenticated_request.map(|o| word(o).into()))
    }};
}

fn write_one(action: &Action) -> Result<elb::builders::ActionBuilder, Failure> {
    let builder = elb::Action::builder();
    Ok(match action {
        Action::Forward(forward) => {
            let one = |t: &TargetGroupTuple| {
                elb::TargetGroupTuple::builder()
                    .target_group_arn(literal(&t.target_group_arn))
                    .set_weight(t.weight.map(i32::from))
                    .build()
            };
            let sticky = |s: &TargetGroupStickiness| {
                elb::TargetGroupStickinessConfig::builder()
                    .set_enabled(s.enabled)
                    .set_duration_seconds(s.duration_seconds.and_then(|d| i32::try_from(d).ok()))
                    .build()
            };
            builder.r#type("forward".into()).forward_config(
                elb::ForwardActionConfig::builder()
                    .set_target_groups(Some(forward.target_groups.iter().map(one).collect()))
                    .set_target_group_stickiness_config(forward.stickiness.as_ref().map(sticky))
                    .build(),
            )
        }
        Action::Redirect(r) => builder.r#type("redirect".into()).redirect_config(
            elb::RedirectActionConfig::builder()
                .set_host(r.host.clone())
                .set_path(r.path.clone())
                .set_port(r.port.clone())
                .set_protocol(r.protocol.clone())
                .set_query(r.query.clone())
                .status_code(r.status_code.as_str().into())
                .build(),
        ),
        Action::FixedResponse(f) => builder.r#type("fixed-response".into()).fixed_response_config(
            elb::FixedResponseActionConfig::builder()
                .set_content_type(f.content_type.clone())
                .set_message_body(f.message_body.clone())
                .status_code(&f.status_code)
                .build(),
        ),
        Action::AuthenticateCognito(c) => {
            let config = elb::AuthenticateCognitoActionConfig::builder()
                .user_pool_arn(&c.user_pool_arn)
                .user_pool_client_id(&c.user_pool_client_id)
                .user_pool_domain(&c.user_pool_domain);
            let config = with_session!(config, c.session).build();
            builder.r#type("authenticate-cognito".into()).authenticate_cognito_config(config)
        }
        Action::AuthenticateOidc(c) => {
            let (Some(id), Some(secret)) = (c.client_id.content.get(), c.client_secret.content.get()) else {
                let text = "the content of the Secret with the client's id and secret is not at hand";
                return Err(Failure::refused("ValidationError", text));
            };
            let config = elb::AuthenticateOidcActionConfig::builder()
                .issuer(&c.issuer)
                .authorization_endpoint(&c.authorization_endpoint)
                .token_endpoint(&c.token_endpoint)
                .user_info_endpoint(&c.user_info_endpoint)
                .client_id(id)
                .client_secret(secret);
            let config = with_session!(config, c.session).build();
            builder.r#type("authenticate-oidc".into()).authenticate_oidc_config(config)
        }
        Action::JwtValidation(j) => {
            let claim = |c: &JwtClaim| {
                elb::JwtValidationActionAdditionalClaim::builder()
                    .format(c.format.as_str().into())
                    .name(&c.name)
                    .set_values(Some(c.values.clone()))
                    .build()
            };
            let claims =
                (!j.additional_claims.is_empty()).then(|| j.additional_claims.iter().map(claim).collect());
            builder.r#type("jwt-validation".into()).jwt_validation_config(
                elb::JwtValidationActionConfig::builder()
                    .jwks_endpoint(&j.jwks_endpoint)
                    .issuer(&j.issuer)
                    .set_additional_claims(claims)
                    .build(),
            )
        }
    })
}
