//! One set of credentials: its connections, and its token, which one caller renews for all. I/O.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, IF_MATCH};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::catalog::{self, Root};
use super::exchange::{self, exchange};
use super::keystone::{self, Standing, Token};
use crate::api::{Failure, Request, Service};
use crate::config::credentials::{Credentials, Interface};
use crate::config::{Secret, credentials::Identity};

/// A token, and when it was got.
pub struct Login {
    /// The token.
    pub token: Token,
    at: Instant,
    /// The same by our clock.
    wall: Timestamp,
    number: u64,
    region: Option<String>,
    interface: Interface,
}

impl Login {
    /// How far our clock is before Keystone's, to about a second: the login took its time. `None`: Keystone does not say.
    pub fn ahead(&self) -> Option<SignedDuration> {
        Some(self.wall.duration_since(self.token.issued?))
    }

    /// How long ago it was got.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    fn standing(&self) -> Standing {
        keystone::standing(self.token.life, self.age())
    }

    /// Where a service is.
    ///
    /// # Errors
    /// [`Failure::NoService`].
    pub fn endpoint(&self, service: Service) -> Result<Root, Failure> {
        self.token.catalog.root(service, self.region.as_deref(), self.interface)
    }
}

/// What is known of the token.
#[derive(Default)]
struct State {
    login: Option<Arc<Login>>,
    /// The last attempt that failed: whoever waited for it shares it.
    failed: Option<(Instant, Failure)>,
    logins: u64,
}

/// One set of credentials.
pub struct Session {
    http: reqwest::Client,
    credentials: Credentials,
    state: Mutex<State>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Session {
    /// A session without a token.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn new(credentials: Credentials) -> Result<Self, String> {
        let encrypted = credentials.auth_url.scheme() == "https";
        Ok(Self {
            http: exchange::connections(&credentials.tls, encrypted)?,
            credentials,
            state: Mutex::default(),
        })
    }

    /// A token that is good; another one than `refused`. One caller asks Keystone, the others wait for it and share what it gets.
    ///
    /// # Errors
    /// [`Failure::Login`].
    pub async fn login(&self, refused: Option<&Login>) -> Result<Arc<Login>, Failure> {
        let came = Instant::now();
        let mut state = self.state.lock().await;
        let other = |login: &&Arc<Login>| refused.is_none_or(|refused| refused.number != login.number);
        let held = state.login.as_ref().filter(other).map(Arc::clone);
        let usable = match held.as_ref().map(|login| login.standing()) {
            Some(Standing::Ended) | None => None,
            Some(_) => held,
        };
        if let Some(login) = usable.as_ref().filter(|login| login.standing() == Standing::Good) {
            return Ok(Arc::clone(login));
        }
        let now = Instant::now();
        if let Some((at, failure)) = &state.failed
            && *at >= came
        {
            return usable.ok_or_else(|| failure.clone());
        }
        match self.ask().await {
            Ok(token) => {
                state.logins += 1;
                state.failed = None;
                let login = Arc::new(Login {
                    token,
                    at: now,
                    wall: Timestamp::now(),
                    number: state.logins,
                    region: self.credentials.region.clone(),
                    interface: self.credentials.interface,
                });
                tracing::debug!(project = login.token.project, life = ?login.token.life, "Keystone gave a token");
                state.login = Some(Arc::clone(&login));
                Ok(login)
            }
            Err(failure) => {
                tracing::debug!(%failure, "Keystone gave no token");
                state.failed = Some((Instant::now(), failure.clone()));
                // The old one is good for a while yet.
                usable.ok_or(failure)
            }
        }
    }

    async fn ask(&self) -> Result<Token, Failure> {
        let url = catalog::tokens(&self.credentials.auth_url);
        let body = keystone::body(&self.credentials).to_string();
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(body);
        let answer = exchange(request).await.map_err(|failure| Failure::Login {
            refused: false,
            text: format!("Keystone at {}: {failure}", self.credentials.auth_url),
        })?;
        if answer.status != 201 && answer.status != 200 {
            let said = answer.fault().message;
            let keystone =
                format!("Keystone at {} says {}: {said}", self.credentials.auth_url, answer.status);
            return Err(match answer.status {
                401 | 403 | 404 => {
                    let hint = match self.credentials.identity {
                        Identity::Token(_) => {
                            "a token is good for a while only: better use an application credential"
                        }
                        _ => {
                            "check user, password or application credential, project and domains, and that none of them is disabled or expired"
                        }
                    };
                    Failure::Login { refused: true, text: format!("{keystone}; {hint}") }
                }
                400 => Failure::Login { refused: true, text: keystone },
                _ => Failure::Login { refused: false, text: keystone },
            });
        }
        keystone::read(answer.token.as_deref(), &answer.body)
            .map_err(|text| Failure::Login { refused: false, text })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&self, request: &Request, url: Url, token: &Secret) -> Result<Value, Failure> {
        let mut builder = self
            .http
            .request(request.method.http(), url)
            .header("x-auth-token", token.reveal())
            .header(ACCEPT, "application/json");
        if let Some(microversion) = request.service.microversion() {
            builder = builder.header("openstack-api-version", microversion);
        }
        if let Some(revision) = request.revision {
            builder = builder.header(IF_MATCH, format!("revision_number={revision}"));
        }
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        exchange(builder).await?.read(request.service)
    }
}
