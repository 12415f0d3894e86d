//! A login at Keystone v3: its body, and its answer. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::catalog::Catalog;
use crate::config::Secret;
use crate::config::credentials::{ApplicationCredential, Credentials, Domain, Identity, Scope, User};

/// What Keystone gives.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// How long it is good for, by Keystone's clock alone; `None`: it does not say.
    pub life: Option<Duration>,
    /// When Keystone made it, by Keystone's clock.
    pub issued: Option<Timestamp>,
    /// Name of its user.
    pub user: String,
    /// Id of its project; empty if it has none.
    pub project: String,
    /// Name of its project.
    pub project_name: String,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// Where services are.
    pub catalog: Catalog,
}

fn domain(domain: &Domain) -> Value {
    match domain {
        Domain::Id(id) => json!({ "id": id }),
        Domain::Name(name) => json!({ "name": name }),
    }
}

fn user(who: &User) -> Map<String, Value> {
    let user = match who {
        User::Id(id) => json!({ "id": id }),
        User::Named(name, of) => json!({ "name": name, "domain": domain(of) }),
    };
    user.as_object().cloned().unwrap_or_default()
}

/// The body of a login.
#[must_use]
pub fn body(credentials: &Credentials) -> Value {
    let identity = match &credentials.identity {
        Identity::Password(who, password) => {
            let mut user = user(who);
            user.insert("password".to_owned(), password.reveal().into());
            json!({ "methods": ["password"], "password": { "user": user } })
        }
        Identity::Token(token) => json!({ "methods": ["token"], "token": { "id": token.reveal() } }),
        Identity::ApplicationCredential(which, secret) => {
            let which = match which {
                ApplicationCredential::Id(id) => json!({ "id": id, "secret": secret.reveal() }),
                ApplicationCredential::Named(name, who) => {
                    json!({ "name": name, "user": user(who), "secret": secret.reveal() })
                }
            };
            json!({ "methods": ["application_credential"], "application_credential": which })
        }
    };
    let scope = match &credentials.scope {
        Scope::ProjectId(id) => Some(json!({ "project": { "id": id } })),
        Scope::ProjectNamed(name, of) => Some(json!({ "project": { "name": name, "domain": domain(of) } })),
        Scope::Trust(id) => Some(json!({ "OS-TRUST:trust": { "id": id } })),
        Scope::Implied => None,
    };
    let mut auth = json!({ "identity": identity });
    if let Some(scope) = scope {
        auth["scope"] = scope;
    }
    json!({ "auth": auth })
}

#[derive(Deserialize)]
struct Answer {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    issued_at: Option<Timestamp>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    user: Option<Named>,
    #[serde(default)]
    project: Option<Named>,
    #[serde(default)]
    roles: Option<Vec<Named>>,
    #[serde(default)]
    catalog: Option<Catalog>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
}

/// Reads the answer to a login: the header `X-Subject-Token`, and the body.
///
/// # Errors
/// It is none, or the token is good for nothing we need.
pub fn read(header: Option<&str>, body: &[u8]) -> Result<Token, String> {
    let Some(secret) = header.filter(|header| !header.is_empty()) else {
        return Err("Keystone's answer holds no token: is the auth-url Keystone's?".to_owned());
    };
    let Body { issued_at, expires_at, user, project, roles, catalog } =
        serde_json::from_slice::<Answer>(body)
            .map_err(|error| {
                format!("Keystone's answer is not one of its API v3: is the auth-url Keystone's? ({error})")
            })?
            .token;
    let Some(catalog) = catalog else {
        return Err(
            "the token has no catalog, as it is not for a project: say tenant-id or tenant-name".to_owned()
        );
    };
    // Both times are Keystone's own: that our clock differs does not matter.
    let life = issued_at
        .zip(expires_at)
        .map(|(from, to)| Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO));
    Ok(Token {
        secret: Secret::new(secret),
        life,
        issued: issued_at,
        user: user.map(|u| u.name).unwrap_or_default(),
        project: project.as_ref().map(|p| p.id.clone()).unwrap_or_default(),
        project_name: project.map(|p| p.name).unwrap_or_default(),
        roles: roles.unwrap_or_default().into_iter().map(|r| r.name).collect(),
        catalog,
    })
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is good.
    Good,
    /// It is good, and another one should be got.
    Late,
    /// It is at its end.
    Ended,
}

/// How a token stands that is good for `life` and was got `age` ago.
#[must_use]
pub fn standing(life: Option<Duration>, age: Duration) -> Standing {
    let Some(life) = life else { return Standing::Good };
    let margin = (life / 10).min(Duration::from_secs(300));
    if age >= life {
        Standing::Ended
    } else if age >= life - margin {
        Standing::Late
    } else {
        Standing::Good
    }
}

#[cfg(test)]
#[path = "keystone_tests.rs"]
mod unit;
