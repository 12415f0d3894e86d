//! How a provider reaches the cloud. [`InMemory`] links the state machine, with a clock that a test turns by hand and a
//! switch that kills the client at a chosen call; [`Http`] talks to the process of [`crate::server`]. I/O.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::cloud::{Answer, Cloud, Refusal, Reply, Request};

/// Why a call has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The cloud refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer, or none that can be read: whether it took effect is not known.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// A way to the cloud.
pub trait Transport: Send + Sync + 'static {
    /// One call, without retries.
    fn call(&self, request: Request) -> impl Future<Output = Result<Answer, CallError>> + Send;
    /// Milliseconds on a clock that only goes forward.
    fn now(&self) -> u64;
}

/// When the client dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// How many calls that write still go well.
    pub writes: u64,
    /// Whether the last call still takes effect.
    pub after_effect: bool,
}

#[derive(Debug, Default)]
struct World {
    cloud: Cloud,
    now: u64,
    writes: u64,
}

/// The cloud in this process. Clones reach the same cloud; each dies by its own.
#[derive(Clone, Debug, Default)]
pub struct InMemory {
    world: Arc<Mutex<World>>,
    death: Arc<Mutex<Option<Death>>>,
    dead: Arc<Mutex<bool>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InMemory {
    /// A client of this cloud.
    #[must_use]
    pub fn new(cloud: Cloud) -> Self {
        let world = World { cloud, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)), ..Self::default() }
    }

    /// Another, living client of the same cloud.
    #[must_use]
    pub fn reborn(&self) -> Self {
        Self { world: Arc::clone(&self.world), ..Self::default() }
    }

    /// This client dies then.
    pub fn die(&self, death: Death) {
        *lock(&self.death) = Some(death);
    }

    /// Whether it did.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        *lock(&self.dead)
    }

    /// Turns the clock.
    pub fn advance(&self, milliseconds: u64) {
        lock(&self.world).now += milliseconds;
    }

    /// Looks at the cloud, or changes it by hand, at the present time.
    pub fn with<R>(&self, act: impl FnOnce(&mut Cloud, u64) -> R) -> R {
        let mut world = lock(&self.world);
        let now = world.now;
        act(&mut world.cloud, now)
    }

    /// Calls that write which any client has sent, dead on arrival or not.
    #[must_use]
    pub fn writes(&self) -> u64 {
        lock(&self.world).writes
    }

    fn at_once(&self, request: &Request) -> Result<Answer, CallError> {
        let dead = || CallError::NoAnswer("the client is dead".to_owned());
        if *lock(&self.dead) {
            return Err(dead());
        }
        let mut world = lock(&self.world);
        let now = world.now;
        if !request.reads() {
            let mut death = lock(&self.death);
            match death.as_mut() {
                Some(Death { writes: 0, after_effect }) => {
                    let after_effect = *after_effect;
                    *lock(&self.dead) = true;
                    if after_effect {
                        world.writes += 1;
                        world.cloud.call(now, request);
                    }
                    return Err(dead());
                }
                Some(death) => death.writes -= 1,
                None => {}
            }
            world.writes += 1;
        }
        match world.cloud.call(now, request) {
            Reply::Answer(answer) => Ok(answer?),
            Reply::Lost => Err(CallError::NoAnswer("the connection ended".to_owned())),
        }
    }
}

impl Transport for InMemory {
    fn call(&self, request: Request) -> impl Future<Output = Result<Answer, CallError>> + Send {
        std::future::ready(self.at_once(&request))
    }

    fn now(&self) -> u64 {
        lock(&self.world).now
    }
}

/// The cloud behind HTTP: `POST /call`.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: http::Uri,
    deadline: Duration,
    since: Instant,
}

impl Http {
    /// The cloud at this base address, such as `http://127.0.0.1:9650`; no call takes longer than `deadline`.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(base: &str, deadline: Duration) -> Result<Self, http::uri::InvalidUri> {
        let endpoint = format!("{}/call", base.trim_end_matches('/')).parse()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, endpoint, deadline, since: Instant::now() })
    }

    async fn send(&self, request: &Request) -> Result<Answer, CallError> {
        let no_answer = |e: &dyn std::fmt::Display| CallError::NoAnswer(e.to_string());
        let body = serde_json::to_vec(request).map_err(|e| no_answer(&e))?;
        let call = hyper::Request::post(self.endpoint.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| no_answer(&e))?;
        let response = self.client.request(call).await.map_err(|e| no_answer(&e))?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|e| no_answer(&e))?.to_bytes();
        if status.is_success() {
            serde_json::from_slice(&bytes).map_err(|e| no_answer(&e))
        } else {
            let refusal: Refusal = serde_json::from_slice(&bytes)
                .map_err(|_| CallError::NoAnswer(format!("status {status} without a reason")))?;
            Err(refusal.into())
        }
    }

    /// Calls so far by action, as the cloud counted them.
    ///
    /// # Errors
    /// The cloud cannot be reached, or says something else.
    pub async fn calls(&self) -> Result<BTreeMap<String, u64>, CallError> {
        let path = self.endpoint.to_string().replace("/call", "/calls");
        let uri: http::Uri = path.parse().map_err(|_| CallError::NoAnswer("bad address".to_owned()))?;
        let no_answer = |e: String| CallError::NoAnswer(e);
        let response = self.client.get(uri).await.map_err(|e| no_answer(e.to_string()))?;
        let bytes = response.into_body().collect().await.map_err(|e| no_answer(e.to_string()))?.to_bytes();
        let all: Counts = serde_json::from_slice(&bytes).map_err(|e| no_answer(e.to_string()))?;
        Ok(all.calls)
    }
}

/// Answer of `GET /calls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Calls by action since the last reset.
    pub calls: BTreeMap<String, u64>,
    /// Milliseconds on the server's clock at which each action was called last.
    pub last: BTreeMap<String, u64>,
    /// The server's clock now.
    pub now: u64,
    /// Calls that write, in all.
    pub mutations: u64,
    /// Calls that read, in all.
    pub reads: u64,
    /// Faults injected, by kind.
    pub faults: BTreeMap<String, u64>,
}

impl Transport for Http {
    async fn call(&self, request: Request) -> Result<Answer, CallError> {
        match tokio::time::timeout(self.deadline, self.send(&request)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::NoAnswer(format!("no answer within {:?}", self.deadline))),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
