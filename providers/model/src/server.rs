//! The cloud behind HTTP/1.1, for a process of its own that outlives the controller. I/O.
//!
//! | Path | Does |
//! |---|---|
//! | `POST /call` | one [`Request`] as JSON; 200 with an [`crate::cloud::Answer`], else a [`Refusal`] |
//! | `GET /calls` | [`Counts`] since the start or the last reset |
//! | `POST /reset-calls` | begins to count anew |
//! | `GET /state` | everything the cloud holds, as [`crate::cloud::Snapshot`] |
//! | `GET`, `PUT /faults` | [`Faults`]: script and dice |
//! | `GET`, `PUT /settings` | [`Settings`]: latency, pending times, quotas, rate |
//! | `POST /plant` | puts a [`Spec`] of somebody else into the cloud |
//! | `DELETE /load-balancers/ID` | somebody deletes a load balancer by hand |
//! | `GET /held` | how many calls are held back by [`Fault::HoldBefore`] or [`Fault::HoldAfter`] |
//! | `POST /release` | lets the calls go on that are held back now |
//! | `GET /healthz` | 200 |
//!
//! A call goes on when its client hangs up: clouds do not notice that.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cloud::{Cloud, Code, Fault, Faults, Refusal, Reply, Request, Settings, Spec};
use crate::transport::Counts;

/// Longest body that is read: a load balancer with some thousand nodes is far below.
const MAX_BODY: usize = 64 << 20;

/// Response, or `None`: the connection ends without one.
type Response = Option<hyper::Response<Full<Bytes>>>;

/// A cloud that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cloud: Mutex<Cloud>,
    since: Instant,
    /// How many calls are held back, and how often they were released.
    held: watch::Sender<(u64, u64)>,
}

impl Shared {
    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until the calls held back now are released.
    async fn hold(&self) {
        let mut releases = self.held.subscribe();
        let seen = releases.borrow().1;
        self.held.send_modify(|(held, _)| *held += 1);
        // The sender lives in `self`: the wait cannot fail.
        let _ = releases.wait_for(|(_, released)| *released > seen).await;
        self.held.send_modify(|(held, _)| *held -= 1);
    }

    /// One call from its arrival to its answer.
    async fn call(&self, request: Request) -> Reply {
        let latency = Duration::from_millis(self.cloud().settings.latency);
        tokio::time::sleep(latency / 2).await;
        let admitted = self.cloud().admit(self.now(), &request);
        let fault = match admitted {
            Ok(fault) => fault,
            Err(refusal) => return Reply::Answer(Err(refusal)),
        };
        if fault == Some(Fault::HoldBefore) {
            self.hold().await;
        }
        let effect = match fault {
            Some(Fault::HoldBefore | Fault::HoldAfter) => None,
            other => other,
        };
        let reply = self.cloud().execute(self.now(), &request, effect);
        if fault == Some(Fault::HoldAfter) {
            self.hold().await;
        }
        tokio::time::sleep(latency - latency / 2).await;
        reply
    }
}

impl Server {
    /// Listens there with this cloud; port 0 takes any.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr, cloud: Cloud) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared =
            Shared { cloud: Mutex::new(cloud), since: Instant::now(), held: watch::channel((0, 0)).0 };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn run(self) -> Infallible {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of file descriptors: others must end first.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { answer(shared, request).await.ok_or(Hangup) }
                });
                // An error is a client that went away, or a call whose answer is lost on purpose.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }
}

/// No answer, on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the connection ends without an answer")]
struct Hangup;

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).ok()?;
    hyper::Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .ok()
}

fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal.code {
        Code::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Code::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Duplicate | Code::Locked | Code::InUse => StatusCode::CONFLICT,
        Code::Validation => StatusCode::BAD_REQUEST,
        Code::QuotaExceeded => StatusCode::FORBIDDEN,
    };
    json(status, refusal)
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let bad = |e: &dyn std::fmt::Display| Refusal::new(Code::Validation, format!("unreadable body: {e}"));
    let bytes = Limited::new(body, MAX_BODY).collect().await.map_err(|e| bad(&e))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|e| bad(&e))
}

async fn answer(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Response {
    match route(shared, request).await {
        Ok(response) => response,
        Err(refusal) => refused(&refusal),
    }
}

async fn route(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    Ok(match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/call") => {
            let call: Request = read(body).await?;
            let task = tokio::spawn(async move { shared.call(call).await });
            match task.await {
                Ok(Reply::Answer(Ok(answer))) => ok(&answer),
                Ok(Reply::Answer(Err(refusal))) => return Err(refusal),
                Ok(Reply::Lost) | Err(_) => None,
            }
        }
        (&Method::GET, "/calls") => ok(&counts(&shared)),
        (&Method::POST, "/reset-calls") => {
            shared.cloud().reset_calls();
            ok(&())
        }
        (&Method::GET, "/state") => {
            let snapshot = shared.cloud().snapshot(shared.now());
            ok(&snapshot)
        }
        (&Method::GET, "/faults") => {
            let faults = shared.cloud().faults.clone();
            ok(&faults)
        }
        (&Method::PUT, "/faults") => {
            let faults: Faults = read(body).await?;
            shared.cloud().faults = faults;
            ok(&())
        }
        (&Method::GET, "/settings") => {
            let settings = shared.cloud().settings.clone();
            ok(&settings)
        }
        (&Method::PUT, "/settings") => {
            let settings: Settings = read(body).await?;
            shared.cloud().settings = settings;
            ok(&())
        }
        (&Method::POST, "/plant") => {
            let spec: Spec = read(body).await?;
            let planted = shared.cloud().plant(shared.now(), spec, Default::default())?;
            ok(&planted)
        }
        (&Method::GET, "/held") => {
            let held = shared.held.borrow().0;
            ok(&held)
        }
        (&Method::POST, "/release") => {
            shared.held.send_modify(|(_, released)| *released += 1);
            ok(&())
        }
        (&Method::GET, "/healthz") => ok(&"ok"),
        (&Method::DELETE, path) if path.starts_with("/load-balancers/") => {
            shared.cloud().destroy(path.trim_start_matches("/load-balancers/"));
            ok(&())
        }
        (method, path) => return Err(Refusal::new(Code::NotFound, format!("{method} {path} is not served"))),
    })
}

fn counts(shared: &Shared) -> Counts {
    let now = shared.now();
    let cloud = shared.cloud();
    let calls = cloud.calls().clone();
    let is_read = |action: &str| {
        action.starts_with("List") || action.starts_with("Get") || action.starts_with("Describe")
    };
    let sum = |reads: bool| calls.iter().filter(|(a, _)| is_read(a) == reads).map(|(_, n)| n).sum();
    let (mutations, reads) = (sum(false), sum(true));
    Counts {
        last: cloud.last_calls().clone(),
        now,
        mutations,
        reads,
        faults: cloud.faults.injected.clone(),
        calls,
    }
}
