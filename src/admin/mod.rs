//! `/livez`, `/readyz`, `/metrics`, `/debug/state`: plain HTTP on one port. I/O; what each answers is decided by [`Admin`]'s parts.
//!
//! `/livez` says that this process runs and can answer, and nothing else: were it to depend on API server, lease, cloud or peers, a fault of
//! theirs would restart a speaker that announces well. `/metrics` and `/debug/state` ask for a token ([`auth`]) unless told not to.

pub mod auth;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::auth::{Access, Guard};

/// Named reasons why this process is not ready; empty: it is.
#[derive(Clone, Debug, Default)]
pub struct Checks(Arc<Mutex<BTreeMap<String, String>>>);

impl Checks {
    /// Something is not ready, and why.
    pub fn fail(&self, name: &str, why: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), why.into());
    }

    /// It is ready now.
    pub fn pass(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// What is not ready.
    #[must_use]
    pub fn failing(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers `/debug/state`; must hold no Secret.
pub type DebugState = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = serde_json::Value> + Send>> + Send + Sync>;

/// The parts of the admin server.
pub struct Admin {
    /// Readiness.
    pub checks: Checks,
    /// Metrics.
    pub registry: Arc<Registry>,
    /// State.
    pub debug: DebugState,
    /// Who may read metrics and state; `None`: everybody (`--insecure-metrics`).
    pub guard: Option<Guard>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for probes and metrics: {source}. If the port is taken (pods of this kind share the node's network), choose another with \
     --admin-port, and in the probes too"
)]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Serves until `stop`.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(
    admin: Admin,
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<SocketAddr, ListenError> {
    let listen = |source| ListenError { address, source };
    let listener = match TcpListener::bind(address).await {
        // "Everywhere" on a node without IPv6 is everywhere in IPv4.
        Err(error)
            if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| listen(error))?
        }
        bound => bound.map_err(listen)?,
    };
    let bound = listener.local_addr().map_err(listen)?;
    info!(address = %bound, "serving /livez, /readyz, /metrics, /debug/state");
    let admin = Arc::new(admin);
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file descriptors, mostly: let others end first.
                        debug!(%error, "accept failed");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let admin = Arc::clone(&admin);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let admin = Arc::clone(&admin);
                    async move { Ok::<_, Infallible>(admin.answer(&request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(std::time::Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    debug!(%error, "admin connection");
                }
            });
        }
    });
    Ok(bound)
}

impl Admin {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" | "/healthz" => self.ready(),
            "/metrics" => match self.allowed(request, "/metrics").await {
                Ok(()) => self.metrics(),
                Err(refusal) => refusal,
            },
            "/debug/state" => match self.allowed(request, "/debug/state").await {
                Ok(()) => {
                    let state = (self.debug)().await;
                    let body = serde_json::to_string_pretty(&state).unwrap_or_default() + "\n";
                    with_type(StatusCode::OK, "application/json", body)
                }
                Err(refusal) => refusal,
            },
            _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /metrics and /debug/state\n"),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let failing = self.checks.failing();
        if failing.is_empty() {
            return text(StatusCode::OK, "ok\n");
        }
        let lines: String = failing.iter().map(|(name, why)| format!("{name}: {why}\n")).collect();
        text(StatusCode::SERVICE_UNAVAILABLE, lines)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut body = String::new();
        match prometheus_client::encoding::text::encode(&mut body, &self.registry) {
            Ok(()) => {
                with_type(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body)
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    async fn allowed(&self, request: &Request<Incoming>, path: &str) -> Result<(), Response<Full<Bytes>>> {
        let Some(guard) = &self.guard else { return Ok(()) };
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        match guard.check(token, path).await {
            Access::Granted => Ok(()),
            Access::Unauthenticated => Err(text(
                StatusCode::UNAUTHORIZED,
                "a bearer token of a user or ServiceAccount of this cluster is needed (or --insecure-metrics)\n",
            )),
            Access::Denied => Err(text(
                StatusCode::FORBIDDEN,
                format!(
                    "the token's owner may not get {path}: grant it as nonResourceURL in a ClusterRole\n"
                ),
            )),
            Access::Unknown => Err(text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the API server cannot be asked about the token now\n",
            )),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    #[tokio::test]
    async fn serves_and_says_what_is_not_ready() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("things", "Things that were", counter.clone());
        counter.inc();
        let checks = Checks::default();
        checks.fail("services", "not listed yet");
        let admin = Admin {
            checks: checks.clone(),
            registry: Arc::new(registry),
            debug: Arc::new(|| Box::pin(std::future::ready(serde_json::json!({"a": 1})))),
            guard: None,
        };
        let stop = CancellationToken::new();
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = serve(admin, local, stop.clone()).await.expect("listens");
        assert_eq!(get(address, "/livez").await, (200, "ok\n".into()), "whatever is not ready");
        assert_eq!(get(address, "/readyz").await, (503, "services: not listed yet\n".into()));
        checks.pass("services");
        assert_eq!(get(address, "/readyz").await.0, 200);
        assert!(get(address, "/metrics").await.1.contains("things_total 1"));
        assert!(get(address, "/debug/state").await.1.contains("\"a\": 1"));
        assert_eq!(get(address, "/nothing").await.0, 404);
        let taken = Admin {
            checks: Checks::default(),
            registry: Arc::default(),
            debug: Arc::new(|| Box::pin(std::future::ready(serde_json::Value::Null))),
            guard: None,
        };
        let error = serve(taken, address, stop.clone()).await.expect_err("taken");
        assert!(error.to_string().contains("--admin-port"), "{error}");
        stop.cancel();
    }
}
