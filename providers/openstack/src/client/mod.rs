//! The way to a real OpenStack: HTTP, tokens, limits, deadlines, retries. I/O; what decides in it is pure and in modules of its own.
//!
//! ```text
//! Request --gate--> may it go? --session--> token, endpoint --exchange--> HTTP
//!    ^                                                                     |
//!    +-- again, after a pause <-- retry: what came back <-- fault: what it says
//! ```
//!
//! - [`catalog`] finds a service's address by region and interface; [`keystone`] makes the body of a login and reads its answer; [`fault`] reads refusals;
//!   [`retry`] says what follows from one; [`limits`] how fast we may be. All pure.
//! - [`session`] holds one set of credentials, its connections, and its token, which is renewed by one caller for all.
//! - [`Client`] puts these together and is an [`Api`].
//!
//! Invariants: a call, with its pauses and repetitions and a login where one is needed, ends within its deadline D; no write is sent through a closed fence, and
//! the fence is asked before each sending; a call that makes something is never repeated if it may have taken effect; no secret is part of an error, of
//! `Debug`, or of a log.

pub mod catalog;
mod exchange;
pub mod fault;
pub mod keystone;
pub mod limits;
pub mod retry;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::{Api, CallError, Failure, Method, Pass, Request, Service};
use crate::config::Credentials;
use crate::errors;
pub use catalog::Catalog;
use limits::{Gate, Rate};
use retry::Next;
use session::Session;

/// How long calls may take, and how fast they may come.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// D: longest time of one call, from when it may begin.
    pub call: Duration,
    /// The same of one that changes nothing, which no Lease needs to outlast; never less than `call`.
    pub look: Duration,
    /// Longest time in line before a write: whoever must wait longer gives its worker back.
    pub line: Duration,
    /// Longest time in line before a read.
    pub read: Duration,
    /// A token so young that its refusal is not a matter of age: no other one is asked for.
    pub young: Duration,
    /// Rate of services; of those that are missing, [`Rate::default`].
    pub rates: BTreeMap<Service, Rate>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(30),
            look: Duration::from_secs(30),
            line: Duration::from_secs(2),
            read: Duration::from_secs(120),
            young: Duration::from_secs(5),
            rates: BTreeMap::new(),
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Name of the user.
    pub user: String,
    /// Id of the project.
    pub project: String,
    /// Its name.
    pub project_name: String,
    /// Names of the roles.
    pub roles: Vec<String>,
    /// Where each service is, in the region and by the interface that were said; or why nowhere.
    pub places: BTreeMap<Service, Result<String, String>>,
    /// Types of all services in the catalog.
    pub kinds: Vec<String>,
    /// How far our clock is before Keystone's, to about a second.
    pub ahead: Option<SignedDuration>,
}

/// The way to one OpenStack.
pub struct Client {
    session: Mutex<Arc<Session>>,
    gates: BTreeMap<Service, Gate>,
    settings: Settings,
    refused: Arc<Notify>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("session", &self.session())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A way with these credentials. Nothing is sent yet.
    ///
    /// # Errors
    /// Certificates that cannot be used: what is wrong, and what to do.
    pub fn new(credentials: Credentials, settings: Settings) -> Result<Self, String> {
        let gate = |service| (service, Gate::new(settings.rates.get(&service).copied().unwrap_or_default()));
        Ok(Self {
            session: Mutex::new(Arc::new(Session::new(credentials)?)),
            gates: Service::ALL.into_iter().map(gate).collect(),
            settings,
            refused: Arc::new(Notify::new()),
        })
    }

    /// Other credentials from now on; calls on their way keep theirs.
    ///
    /// # Errors
    /// Certificates that cannot be used; the old credentials stay.
    pub fn rotate(&self, credentials: Credentials) -> Result<(), String> {
        let session = Arc::new(Session::new(credentials)?);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
        Ok(())
    }

    /// Is notified when Keystone does not accept us: perhaps the files know better by now.
    #[must_use]
    pub fn refused(&self) -> Arc<Notify> {
        Arc::clone(&self.refused)
    }

    /// All limiters are empty again: somebody else may have used the rate up.
    pub fn restart(&self) {
        self.gates.values().for_each(Gate::restart);
    }

    /// Whether the catalog has a service.
    ///
    /// # Errors
    /// There is no token.
    pub async fn has(&self, service: Service) -> Result<bool, CallError> {
        match self.logged_in().await?.endpoint(service) {
            Ok(_) => Ok(true),
            Err(Failure::NoService { .. }) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// All services that there are, and where.
    ///
    /// # Errors
    /// There is no token.
    pub async fn catalog(&self) -> Result<Catalog, CallError> {
        Ok(self.logged_in().await?.token.catalog.clone())
    }

    /// Id of the project that the token is for.
    ///
    /// # Errors
    /// There is no token.
    pub async fn project(&self) -> Result<String, CallError> {
        Ok(self.logged_in().await?.token.project.clone())
    }

    /// Who we are to Keystone, and what it tells of where things are.
    ///
    /// # Errors
    /// There is no token.
    pub async fn who(&self) -> Result<Who, CallError> {
        let login = self.logged_in().await?;
        let place = |service| {
            let found = login.endpoint(service).map(|root| root.to_string());
            (service, found.map_err(|failure| failure.to_string()))
        };
        let token = &login.token;
        Ok(Who {
            user: token.user.clone(),
            project: token.project.clone(),
            project_name: token.project_name.clone(),
            roles: token.roles.clone(),
            places: Service::ALL.into_iter().map(place).collect(),
            kinds: token.catalog.0.iter().map(|entry| entry.kind.clone()).collect(),
            ahead: login.ahead(),
        })
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The longest time of this call.
    fn longest(&self, request: &Request) -> Duration {
        let Settings { call, look, .. } = self.settings;
        if request.writes() { call } else { call.max(look) }
    }

    /// A token of the session in use, in time for a call that begins now.
    async fn logged_in(&self) -> Result<Arc<session::Login>, Failure> {
        self.login(&self.session(), None, Instant::now() + self.settings.call).await
    }

    /// A token other than `refused`.
    async fn login(
        &self,
        session: &Session,
        refused: Option<&session::Login>,
        deadline: Instant,
    ) -> Result<Arc<session::Login>, Failure> {
        let result = match tokio::time::timeout_at(deadline, session.login(refused)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Login {
                refused: false,
                text: format!("Keystone does not answer within {:?}", self.settings.call),
            }),
        };
        if matches!(result, Err(Failure::Login { refused: true, .. })) {
            self.refused.notify_one();
        }
        result
    }

    /// Sends once, within the deadline.
    async fn attempt(
        &self,
        request: &Request,
        pass: Pass<'_>,
        refused: Option<&Arc<session::Login>>,
        deadline: Instant,
    ) -> Result<Attempt, CallError> {
        let session = self.session();
        let login = self.login(&session, refused.map(AsRef::as_ref), deadline).await?;
        let url = login.endpoint(request.service)?.url(request);
        // Time passed in line and at Keystone: the fence counts now.
        if request.writes() && pass.fence.is_none_or(|fence| fence.check().is_err()) {
            return Err(CallError::Fenced);
        }
        // A read that hangs is worth a second one; a write that hangs may be at work.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = "Keystone took all the time that there was".to_owned();
            return Err(Failure::NoAnswer { sent: false, text }.into());
        }
        let limit = if request.writes() { left } else { left.min(self.longest(request) / 2) };
        let begin = Instant::now();
        let sent = session.send(request, url, &login.token.secret);
        let result = match tokio::time::timeout(limit, sent).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NoAnswer { sent: true, text: format!("none within {limit:?}") }),
        };
        let took = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (service, key) = (request.service.product(), request.key());
        match &result {
            Ok(_) => tracing::debug!(service, call = key, took, "answered"),
            Err(failure) => tracing::debug!(service, call = key, took, %failure, "failed"),
        }
        Ok(Attempt { login, result })
    }
}

/// What came of sending once, and with which token.
struct Attempt {
    login: Arc<session::Login>,
    result: Result<Value, Failure>,
}

impl Api for Client {
    async fn call(&self, request: &Request, pass: Pass<'_>) -> Result<Value, CallError> {
        let Some(gate) = self.gates.get(&request.service) else {
            return Err(CallError::Later(self.settings.line));
        };
        let line = if request.writes() { self.settings.line } else { self.settings.read };
        gate.pass(pass.priority, line).await.map_err(CallError::Later)?;
        let deadline = Instant::now() + self.longest(request);
        let mut refused = None;
        let mut sendings = 0;
        loop {
            let attempt = self.attempt(request, pass, refused.as_ref(), deadline).await?;
            sendings += 1;
            let failure = match attempt.result {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if errors::throttled(&failure) {
                gate.refused(retry::said(&failure));
            }
            let renewed = refused.is_some() || attempt.login.age() < self.settings.young;
            let after = match retry::next(request, &failure, sendings, renewed, retry::jitter()) {
                Next::Stop => return Err(failure.into()),
                Next::Renew => {
                    refused = Some(attempt.login);
                    continue;
                }
                Next::Again(after) => after,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            // Not worth another try that has no time to be answered.
            if after >= left / 2 {
                return Err(failure.into());
            }
            tokio::time::sleep(after).await;
            let left = deadline.saturating_duration_since(Instant::now());
            if gate.pass(pass.priority, left / 2).await.is_err() {
                return Err(failure.into());
            }
        }
    }
}

impl<A: Api> Api for Arc<A> {
    async fn call(&self, request: &Request, pass: Pass<'_>) -> Result<Value, CallError> {
        A::call(self, request, pass).await
    }
}

impl Method {
    fn http(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Post => reqwest::Method::POST,
            Self::Put => reqwest::Method::PUT,
            Self::Delete => reqwest::Method::DELETE,
        }
    }
}
