//! HTTP: connections with the TLS that the user wants, and one exchange. I/O.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Certificate, Identity, RequestBuilder, Response, redirect};

use super::fault;
use crate::api::{Failure, Fault, Service};
use crate::config::credentials::Tls;

/// Longest time to make a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept without use: shorter than the servers' time, so that it is not cut while a request is on its way.
const IDLE: Duration = Duration::from_secs(4);

/// Connections.
///
/// # Errors
/// Certificates that cannot be used.
pub fn connections(tls: &Tls, encrypted: bool) -> Result<reqwest::Client, String> {
    // Where the program has chosen a provider already, that one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let system = tls.authorities.is_none();
    match built(tls, system) {
        // A system without any authorities must not be in the way where nothing is encrypted or checked.
        Err(_) if system && (tls.insecure || !encrypted) => built(tls, false),
        result => result,
    }
}

fn built(tls: &Tls, system: bool) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("causeway/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE);
    if let Some(authorities) = &tls.authorities {
        let certificates = Certificate::from_pem_bundle(authorities.as_bytes()).map_err(|error| {
            format!("ca-file holds no usable certificate ({error}): put PEM certificates there")
        })?;
        if certificates.is_empty() {
            return Err("ca-file holds no certificate: put PEM certificates there".to_owned());
        }
        builder = builder.tls_certs_only(certificates);
    } else if !system {
        builder = builder.tls_certs_only([]);
    }
    if let Some(client) = &tls.client {
        let pem = format!("{}\n{}", client.certificate, client.key.reveal());
        let identity = Identity::from_pem(pem.as_bytes()).map_err(|error| {
            format!("cert-file and key-file cannot be used ({error}): they must be PEM, and belong together")
        })?;
        builder = builder.identity(identity);
    }
    builder.tls_danger_accept_invalid_certs(tls.insecure).build().map_err(|error| {
        format!(
            "TLS cannot be set up ({}): where the system has no certificates of authorities, say ca-file",
            chain(&error)
        )
    })
}

/// An answer.
pub struct Answer {
    /// Status.
    pub status: u16,
    /// `X-Subject-Token`.
    pub token: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Number of the request.
    pub request_id: Option<String>,
    /// `Location`.
    pub location: Option<String>,
    /// Body.
    pub body: Vec<u8>,
}

/// Sends, and waits for the whole answer.
///
/// # Errors
/// [`Failure::NoAnswer`].
pub async fn exchange(request: RequestBuilder) -> Result<Answer, Failure> {
    let no_answer = |error: &reqwest::Error| Failure::NoAnswer {
        // Neither a connection nor a request was there.
        sent: !(error.is_connect() || error.is_builder()),
        text: chain(error),
    };
    let response = request.send().await.map_err(|error| no_answer(&error.without_url()))?;
    let status = response.status().as_u16();
    let header = |name: &str| text(&response, name);
    let token = header("x-subject-token");
    let retry_after = header("retry-after").and_then(|text| fault::retry_after(&text, Timestamp::now()));
    let request_id = header("x-openstack-request-id").or_else(|| header("x-compute-request-id"));
    let location = header("location");
    let body = response
        .bytes()
        .await
        .map_err(|error| Failure::NoAnswer { sent: true, text: chain(&error.without_url()) })?;
    Ok(Answer { status, token, retry_after, request_id, location, body: body.to_vec() })
}

impl Answer {
    /// What it means as an answer of a service.
    ///
    /// # Errors
    /// It is a refusal, or not JSON.
    pub fn read(self, service: Service) -> Result<serde_json::Value, Failure> {
        // 300 is how roots answer that list versions.
        if (200..=300).contains(&self.status) {
            if self.body.iter().all(u8::is_ascii_whitespace) {
                return Ok(serde_json::Value::Null);
            }
            return serde_json::from_slice(&self.body).map_err(|error| Failure::Garbled {
                text: format!("{} answers {} with what is no JSON ({error})", service.product(), self.status),
            });
        }
        Err(Failure::Refused {
            service,
            status: self.status,
            fault: self.fault(),
            retry_after: self.retry_after,
            request_id: self.request_id,
        })
    }

    /// What it says as a refusal.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match &self.location {
            Some(location) if (300..400).contains(&self.status) => Fault {
                kind: None,
                message: format!(
                    "it lives at {location}: mend the address (auth-url, or the cloud's catalog)"
                ),
            },
            _ => fault::read(self.status, &self.body),
        }
    }
}

fn text(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
