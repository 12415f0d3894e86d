//! The way to the API server: configuration, connection, rate limit, metrics, the cluster's id. I/O.
//!
//! Invariants:
//! - A connection to a machine that died is given up after some 20 s (TCP keep-alive and user time-out), a request without answer
//!   after [`ANSWER_TIME`]; neither waits for kube's watch time-out.
//! - Nothing is retried here: who sends a request decides what its failure means.
//! - The Lease has a client of its own, which no burst of status writes can hold up.
//! - Credentials never appear in an error or a log line.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Namespace;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Api, Client, Config};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::{BoxError, Service, ServiceBuilder};

use super::types::MetaOnly;

/// Longest wait for the head of an answer, connection included. Watches answer at once; the longest are large lists.
pub const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How often a start without API server is said again.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// What one connection reads at once at most, in octets. The buffer of a long list stays with its connection, of which there is one for each watch: hyper's own
/// 400 KiB cost more than all that is kept of 1,000 Services.
const READ_BUFFER: usize = 64 << 10;

/// Where the API server is and as whom we come.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// `--kubeconfig`; `None`: the Pod's credentials, or outside a Pod `KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`: address that overrides the configured one.
    pub master: Option<String>,
    /// `--kube-api-qps`: requests per second, watches and the Lease apart; zero: no limit.
    pub qps: f64,
    /// `--kube-api-burst`.
    pub burst: u32,
}

/// Why there is no way to the API server: always wrong configuration, so nothing to retry.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}: {message}")]
    Kubeconfig {
        /// File.
        path: String,
        /// What is the matter.
        message: String,
    },
    /// No configuration anywhere.
    #[error(
        "no way to the API server: this is no Pod, and there is no kubeconfig: give --kubeconfig (or set KUBECONFIG)"
    )]
    NoConfiguration,
    /// The Pod's credentials cannot be used.
    #[error("the Pod's credentials cannot be used: {0}; is automountServiceAccountToken off?")]
    InCluster(String),
    /// `--master` is no address.
    #[error("--master {address}: {message}")]
    Master {
        /// As given.
        address: String,
        /// What is the matter.
        message: String,
    },
    /// Token, certificate or key cannot be used.
    #[error("credentials for the API server cannot be used: {0}")]
    Credentials(String),
}

/// Labels of request metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabel {
    verb: &'static str,
}

/// Metrics of requests to the API server.
#[derive(Clone, Debug)]
struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<VerbLabel, Histogram>,
    limited: Counter,
}

impl RequestMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 14))),
            limited: Counter::default(),
        };
        registry.register(
            "kube_requests",
            "Requests to the API server, by verb and status code (`error`: no answer)",
            metrics.requests.clone(),
        );
        registry.register(
            "kube_request_seconds",
            "Time until the API server answered, by verb",
            metrics.seconds.clone(),
        );
        registry.register(
            "kube_requests_limited",
            "Requests that had to wait for --kube-api-qps",
            metrics.limited.clone(),
        );
        metrics
    }
}

/// Registers the metrics of requests, each touched once so that it shows: for the reference page.
pub(crate) fn show_metrics(registry: &mut Registry) {
    let metrics = RequestMetrics::register(registry);
    drop(metrics.requests.get_or_create(&RequestLabels { verb: "", code: String::new() }));
    drop(metrics.seconds.get_or_create(&VerbLabel { verb: "" }));
}

/// A configured way to the API server. Nothing has been sent yet.
#[derive(Clone)]
pub struct Connection {
    config: Config,
    client: Client,
    lease_client: Client,
}

impl Connection {
    /// Reads the configuration and builds the clients; sends nothing. Must be called in a tokio runtime, after a rustls crypto
    /// provider was installed. Metrics go to `registry`, which should have the prefix `causeway`.
    ///
    /// # Errors
    /// [`ConnectError`]: what is configured wrongly.
    pub async fn configure(options: &ConnectOptions, registry: &mut Registry) -> Result<Self, ConnectError> {
        let mut config = load(options.kubeconfig.as_deref(), options.master.is_some()).await?;
        if let Some(address) = &options.master {
            config.cluster_url = master(address)?;
        }
        let metrics = RequestMetrics::register(registry);
        let bucket = (options.qps > 0.0)
            .then(|| Arc::new(Mutex::new(Bucket::new(options.qps, f64::from(options.burst.max(1))))));
        let client = client(&config, bucket, &metrics)?;
        let lease_client = self::client(&config, None, &metrics)?;
        Ok(Self { config, client, lease_client })
    }

    /// The client for everything but the Lease.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The client for the Lease.
    #[must_use]
    pub fn lease_client(&self) -> Client {
        self.lease_client.clone()
    }

    /// Address of the API server, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// The cluster's id: the uid of namespace `kube-system`. Waits as long as it takes; `tell` hears why (every change, and every 10 s
    /// again in the log), and `None` at the end.
    pub async fn cluster_id(&self, tell: impl Fn(Option<&str>)) -> String {
        let api: Api<Namespace> = Api::all(self.client());
        let mut said: Option<(String, Instant)> = None;
        loop {
            let why = match timeout(Duration::from_secs(5), api.get_metadata("kube-system")).await {
                Ok(Ok(found)) => match found.metadata.uid {
                    Some(uid) if !uid.is_empty() => {
                        if said.is_some() {
                            tracing::info!(server = self.address(), "the API server answers");
                        }
                        tell(None);
                        return uid;
                    }
                    _ => "namespace kube-system has no uid".to_owned(),
                },
                Ok(Err(error)) => explain(&error),
                Err(_) => "no answer within 5 s".to_owned(),
            };
            let again = said.as_ref().is_none_or(|(text, at)| *text != why || at.elapsed() >= SAY_AGAIN);
            if again {
                tracing::warn!(server = self.address(), "waiting for the API server: {why}");
                tell(Some(&why));
                said = Some((why, Instant::now()));
            }
            sleep(Duration::from_millis(1_000)).await;
        }
    }

    /// Whether the object of this kind, name and uid exists now: a live read.
    ///
    /// # Errors
    /// kube's, for anything but 404.
    pub async fn uid(&self, kind: &ApiResource, namespace: &str, name: &str) -> kube::Result<Option<String>> {
        uid(&self.client, kind, namespace, name).await
    }
}

/// The uid of an object now; `None` if there is none of this name.
///
/// # Errors
/// kube's, for anything but 404.
pub async fn uid(
    client: &Client,
    kind: &ApiResource,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<String>> {
    let api: Api<MetaOnly> = if namespace.is_empty() {
        Api::all_with(client.clone(), kind)
    } else {
        Api::namespaced_with(client.clone(), namespace, kind)
    };
    Ok(api.get_opt(name).await?.and_then(|o| o.metadata.uid))
}

async fn load(kubeconfig: Option<&Path>, has_master: bool) -> Result<Config, ConnectError> {
    if let Some(path) = kubeconfig {
        let fail = |message: String| ConnectError::Kubeconfig { path: path.display().to_string(), message };
        // Read first: kube's own error for a missing file says less.
        std::fs::metadata(path).map_err(|e| fail(e.to_string()))?;
        let file = Kubeconfig::read_from(path).map_err(|e| fail(super::chain(&e)))?;
        return Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(|e| fail(super::chain(&e)));
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Config::incluster().map_err(|e| ConnectError::InCluster(super::chain(&e)));
    }
    match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(config) => Ok(config),
        Err(kube::config::KubeconfigError::FindPath | kube::config::KubeconfigError::ReadConfig(..)) => {
            // The address alone will do for a server that asks for nothing (a proxy on this host).
            let nowhere = http::Uri::from_static("http://localhost");
            if has_master { Ok(Config::new(nowhere)) } else { Err(ConnectError::NoConfiguration) }
        }
        Err(error) => Err(ConnectError::Kubeconfig {
            path: std::env::var("KUBECONFIG").unwrap_or_else(|_| "~/.kube/config".to_owned()),
            message: super::chain(&error),
        }),
    }
}

fn master(address: &str) -> Result<http::Uri, ConnectError> {
    let fail = |message: String| ConnectError::Master { address: address.to_owned(), message };
    let uri: http::Uri = address.parse().map_err(|e: http::uri::InvalidUri| fail(e.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err(fail("give it as https://host:port".to_owned())),
    }
}

fn client(
    config: &Config,
    bucket: Option<Arc<Mutex<Bucket>>>,
    metrics: &RequestMetrics,
) -> Result<Client, ConnectError> {
    let credentials = |e: kube::Error| ConnectError::Credentials(super::chain(&e));
    check_token(config)?;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    connector.set_keepalive(Some(Duration::from_secs(10)));
    connector.set_keepalive_interval(Some(Duration::from_secs(3)));
    connector.set_keepalive_retries(Some(3));
    connector.set_tcp_user_timeout(Some(Duration::from_secs(20)));
    let connector = config.rustls_https_connector_with_connector(connector).map_err(credentials)?;
    let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http1_max_buf_size(READ_BUFFER)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(credentials)?)
        .layer(config.extra_headers_layer().map_err(credentials)?)
        .map_err(BoxError::from)
        .service(Measured { inner, bucket, metrics: metrics.clone() });
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// A token that no header can hold makes kube's stack panic (tower-http's `bearer`), so it is looked at first.
fn check_token(config: &Config) -> Result<(), ConnectError> {
    // The one way to the token that needs no crate more: its own serialisation.
    let auth = serde_json::to_value(&config.auth_info).unwrap_or_default();
    let token = auth.get("token").and_then(serde_json::Value::as_str).unwrap_or_default();
    match http::HeaderValue::from_str(token) {
        Ok(_) => Ok(()),
        Err(_) => Err(ConnectError::Credentials(
            "the token has characters that no HTTP header may hold (a line break?)".to_owned(),
        )),
    }
}

/// Limits, times and counts requests.
#[derive(Clone)]
struct Measured<S> {
    inner: S,
    bucket: Option<Arc<Mutex<Bucket>>>,
    metrics: RequestMetrics,
}

impl<S> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<Incoming>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The service that was found ready is the one to use; its clone takes its place (tower's rule).
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let verb = verb(&request);
        let bucket = self.bucket.clone().filter(|_| verb != "watch");
        let metrics = self.metrics.clone();
        Box::pin(async move {
            if let Some(bucket) = bucket {
                let wait = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
                if let Some(until) = wait {
                    metrics.limited.inc();
                    sleep_until(until).await;
                }
            }
            let start = Instant::now();
            let result = match timeout(ANSWER_TIME, inner.call(request)).await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err(format!("no answer from the API server within {ANSWER_TIME:?}").into()),
            };
            metrics.seconds.get_or_create(&VerbLabel { verb }).observe(start.elapsed().as_secs_f64());
            let code =
                result.as_ref().map_or_else(|_| "error".to_owned(), |r| r.status().as_str().to_owned());
            metrics.requests.get_or_create(&RequestLabels { verb, code }).inc();
            result
        })
    }
}

/// The verb as RBAC names it: kube notes its own in the request.
fn verb(request: &Request<Body>) -> &'static str {
    let noted = request.extensions().get::<&'static str>().copied().unwrap_or_default();
    let watching =
        || request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "watch=true" || p == "watch=1"));
    match noted {
        n if n.starts_with("watch") => "watch",
        n if n.starts_with("list") => "list",
        n if n.starts_with("get") => "get",
        n if n.starts_with("patch") => "patch",
        n if n.starts_with("replace") => "update",
        n if n.starts_with("create") => "create",
        n if n.starts_with("delete") => "delete",
        _ => match *request.method() {
            http::Method::GET if watching() => "watch",
            http::Method::GET => "get",
            http::Method::POST => "create",
            http::Method::PUT => "update",
            http::Method::PATCH => "patch",
            http::Method::DELETE => "delete",
            _ => "other",
        },
    }
}

/// A token bucket that hands out places in a queue. Pure but for the type of its clock.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    /// Negative: that many are waiting.
    tokens: f64,
    at: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, tokens: burst, at: None }
    }

    /// Takes a token; the moment to wait for, if there was none left.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.burst) - 1.0;
        (self.tokens < 0.0).then(|| now + Duration::from_secs_f64(-self.tokens / self.per_second))
    }
}

/// An error of a request, in words that say what to do.
#[must_use]
pub fn explain(error: &kube::Error) -> String {
    if let Some(rejected) = certificate_error(error) {
        return format!(
            "the API server's certificate is not accepted ({rejected}): check certificate-authority and server in the kubeconfig"
        );
    }
    match error {
        kube::Error::Api(status) if status.code == 401 => {
            format!("it refuses our credentials ({}): check token or client certificate", status.message)
        }
        kube::Error::Api(status) if status.code == 403 => {
            format!("it does not allow the request: {}; see the ClusterRole in deploy/", status.message)
        }
        error => super::chain(error),
    }
}

fn certificate_error(error: &kube::Error) -> Option<String> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = next {
        // I/O errors hold others, and each other, without naming them as their source.
        let mut inner = e;
        while let Some(held) = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            inner = held;
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = inner.downcast_ref::<rustls::Error>() {
            return Some(why.to_string());
        }
        next = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_one_by_one() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 3.0);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), None);
        }
        let millis = |at: Option<Instant>| at.map(|a| (a - start).as_millis());
        assert_eq!(millis(bucket.take(start)), Some(100));
        assert_eq!(millis(bucket.take(start)), Some(200));
        // Those two places are taken: after 200 ms the next in line waits 100 ms more.
        let later = start + Duration::from_millis(200);
        assert_eq!(millis(bucket.take(later)), Some(300));
        assert_eq!(bucket.take(start + Duration::from_secs(60)), None);
    }

    fn request(noted: Option<&'static str>, method: http::Method, uri: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(uri).body(Body::empty()).expect("a request");
        if let Some(noted) = noted {
            request.extensions_mut().insert(noted);
        }
        request
    }

    #[test]
    fn verbs_are_those_of_rbac() {
        assert_eq!(verb(&request(Some("patch_subresource"), http::Method::PATCH, "/x")), "patch");
        assert_eq!(verb(&request(Some("watch_metadata"), http::Method::GET, "/x")), "watch");
        assert_eq!(verb(&request(None, http::Method::GET, "/x?a=b&watch=true")), "watch");
        assert_eq!(verb(&request(None, http::Method::PUT, "/x")), "update");
    }

    fn kubeconfig(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    async fn refused(options: ConnectOptions) -> String {
        match Connection::configure(&options, &mut Registry::default()).await {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{options:?} must be refused"),
        }
    }

    #[tokio::test]
    async fn a_bad_kubeconfig_is_named() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let missing = refused(ConnectOptions {
            kubeconfig: Some("/nonexistent/kc".into()),
            ..ConnectOptions::default()
        })
        .await;
        assert!(missing.starts_with("kubeconfig /nonexistent/kc: No such file"), "{missing}");
        for (text, expected) in [
            ("{[nonsense", "parse"),
            ("apiVersion: v1\nkind: Config\n", "context"),
            (
                "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: missing, user: u}}]\n",
                "cluster",
            ),
        ] {
            let file = kubeconfig(text);
            let said =
                refused(ConnectOptions { kubeconfig: Some(file.path().into()), ..ConnectOptions::default() })
                    .await;
            assert!(said.contains(expected) && said.contains(&file.path().display().to_string()), "{said}");
        }
    }

    #[tokio::test]
    async fn a_malformed_token_is_an_error_that_does_not_show_it() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = kubeconfig(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
             clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: \"se\\ncret\"}}]\n",
        );
        let said =
            refused(ConnectOptions { kubeconfig: Some(file.path().into()), ..ConnectOptions::default() })
                .await;
        assert!(said.contains("credentials") && !said.contains("cret"), "{said}");
    }

    #[tokio::test]
    async fn master_must_be_a_url() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = kubeconfig(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
             clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n",
        );
        let with = |master: &str| ConnectOptions {
            kubeconfig: Some(file.path().into()),
            master: Some(master.into()),
            ..ConnectOptions::default()
        };
        assert!(refused(with("host:6443")).await.contains("--master host:6443"));
        let ok = Connection::configure(&with("https://[::1]:6443"), &mut Registry::default()).await;
        assert_eq!(ok.map(|c| c.address()).ok().as_deref(), Some("https://[::1]:6443/"));
    }
}
