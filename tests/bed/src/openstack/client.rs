//! A client of the cloud's APIs for tests and for setting things up. I/O.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::proxy::LOOK;
use super::service::Service;
use super::urls::Relays;
use crate::cloud::http::{self as wire, Whole};

/// Every user's password; users have a project of their own name.
pub const PASSWORD: &str = "secret";

/// A login by user name and password, for the project of the user's name. Pure.
pub fn password_login(user: &str) -> Value {
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": user, "password": PASSWORD, "domain": {"id": "default"},
        }}},
        "scope": {"project": {"name": user, "domain": {"id": "default"}}},
    }})
}

/// What an API has answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: http::HeaderMap,
    /// The body; null if it is empty, a string if it is no JSON.
    pub body: Value,
}

impl Reply {
    /// The body of a call that succeeded; an error says what was answered.
    pub fn ok(self) -> Result<Value> {
        ensure!(self.status < 400, "{}: {}", self.status, self.body);
        Ok(self.body)
    }
}

/// Asks through the relays.
#[derive(Debug)]
pub struct Client {
    relays: Relays,
    tokens: Mutex<BTreeMap<String, String>>,
}

impl Client {
    pub(super) fn new(relays: Relays) -> Client {
        Client { relays, tokens: Mutex::default() }
    }

    /// Where a service listens for clients outside the bed.
    pub fn address(&self, service: Service) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.relays[service.index()]))
    }

    /// Sends a request with a token, or none. `look` keeps it out of counts and faults.
    pub async fn send(
        &self,
        service: Service,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
        look: bool,
    ) -> Result<Reply> {
        let to = self.address(service);
        let mut request = http::Request::builder().method(method).uri(path).header("host", to.to_string());
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if look {
            request = request.header(LOOK, "1");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = wire::send(to, request.body(Whole::from(body))?)
            .await
            .with_context(|| format!("{method} {path} of {}", service.name()))?;
        let (head, bytes) = answer.into_parts();
        let body = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(_) if bytes.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        };
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// A token of a user, the same one each time until it is refused. Asking for it is not counted.
    pub async fn token(&self, user: &str) -> Result<String> {
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(user) {
            return Ok(token.clone());
        }
        let login = Some(password_login(user));
        let reply = self.send(Service::Identity, "POST", "/v3/auth/tokens", None, login, true).await?;
        ensure!(reply.status == 201, "{user} gets no token: {} {}", reply.status, reply.body);
        let token = reply.headers.get("x-subject-token").context("no token")?.to_str()?.to_owned();
        tokens.insert(user.to_owned(), token.clone());
        Ok(token)
    }

    /// Asks as a user; the call is counted and may suffer faults. A token that is refused is forgotten: the next call has a new one.
    pub async fn ask(
        &self,
        user: &str,
        service: Service,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Reply> {
        self.as_user(user, service, method, path, body, false).await
    }

    /// As [`Client::ask`], neither counted nor disturbed.
    pub async fn look(&self, user: &str, service: Service, path: &str) -> Result<Value> {
        self.as_user(user, service, "GET", path, None, true).await?.ok()
    }

    /// As [`Client::ask`], for setting things up: neither counted nor disturbed.
    pub async fn set_up(
        &self,
        user: &str,
        service: Service,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Value> {
        let reply = self.as_user(user, service, method, path, Some(body), true).await?;
        reply.ok().with_context(|| format!("{method} {path}"))
    }

    async fn as_user(
        &self,
        user: &str,
        service: Service,
        method: &str,
        path: &str,
        body: Option<Value>,
        look: bool,
    ) -> Result<Reply> {
        let token = self.token(user).await?;
        let reply = self.send(service, method, path, Some(&token), body, look).await?;
        if reply.status == 401 {
            self.tokens.lock().await.remove(user);
        }
        Ok(reply)
    }
}
