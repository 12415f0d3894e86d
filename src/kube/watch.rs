//! One watcher per wanted kind, on narrow types, feeding one channel of [`Update`]s. I/O; the judgement of errors and of
//! what is of interest is pure.
//!
//! Invariants:
//! - Every list ends in one [`Delta::Reset`] with all objects, so a delete that was missed while the API server was away shows
//!   in the next list. Nothing is sent between the start of a list and its end.
//! - While the API server is away nothing is sent: what is known stays.
//! - Kinds are watched independently: one that is not installed, or that we may not read, is reported once, retried slowly,
//!   and delays nobody. A kind that is not installed has no objects, so its `Reset` is empty; of a kind that we may not read
//!   nothing is known, so nothing is sent.
//! - Streaming lists (KEP-3157) are tried first. The first answer that says the server cannot do them (an etcd without
//!   RequestWatchProgress answers 500, older servers 4xx) switches every kind to list+watch, for good.
//!
//! kube's shared streams are not used: they lose deletes and can stop for ever (kube 5.0.0, `reflector/store.rs`).

mod judge;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_api::{EndpointDetail, KindScope, OwnKind, Wants, names};
use futures::StreamExt;
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

pub use self::judge::{Cause, WatchProblem};
use self::judge::{Pace, broken_list, judge, must_list, refuses_streaming, too_old};
use super::records::{self, Common, LABEL_SERVICE_NAME, Skipped};
use super::types;
use crate::state::records::{Delta, Path, ServiceRecord, Update};

/// Server-side end of each watch call, seconds. A frozen API server is noticed 5 s after it; a dead one much earlier, by TCP.
pub const WATCH_SECONDS: u32 = 240;

/// Longest silence while a list is being read.
const LIST_SILENCE: Duration = Duration::from_secs(60);

/// Silence after an error that means that the watch goes on; longer than a connection attempt may take.
const CALM: Duration = Duration::from_secs(10);

/// How long a kind that had objects must be "not installed" before they are taken for gone: an API server that starts may
/// answer 404 for a moment.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// What to watch.
#[derive(Clone, Debug)]
pub struct Interest {
    /// What the provider wants.
    pub wants: Wants,
    /// Namespace of the provider's own namespaced kinds.
    pub config_namespace: String,
    /// Every Service, not only load balancers: where Ingresses are served, or for the speaker of a later L7 proxy.
    pub all_services: bool,
}

/// How the watch of one kind stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindState {
    /// At least one complete list was delivered.
    pub synced: bool,
    /// What is the matter now, if anything is.
    pub problem: Option<WatchProblem>,
}

/// States by resource (`services`, `ipaddresspools.metallb.io`).
pub type KindStates = BTreeMap<String, KindState>;

/// Running watches; dropping this ends them.
#[derive(Debug)]
pub struct Watches {
    states: watch::Receiver<KindStates>,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// How each kind stands, now and when it changes.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<KindStates> {
        self.states.clone()
    }

    /// Resources whose first list is still missing.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        missing(&self.states.borrow())
    }

    /// Waits until every kind was listed at least once.
    pub async fn synced(&self) {
        let mut states = self.states.clone();
        // An error means that all watches ended, which happens only when the receiver of updates is gone.
        let _ = states.wait_for(|s| missing(s).is_empty()).await;
    }
}

/// Resources whose first list is still missing.
#[must_use]
pub fn missing(states: &KindStates) -> Vec<String> {
    states.iter().filter(|(_, s)| !s.synced).map(|(r, _)| r.clone()).collect()
}

/// Starts the watches. They end when the result is dropped, or when nobody receives the updates any more.
pub fn watch(client: &Client, interest: &Interest, tx: &mpsc::Sender<Update>) -> Watches {
    let board = Board { states: Arc::new(watch::channel(KindStates::new()).0) };
    let states = board.states.subscribe();
    let mut start = Start { client, tx, board, streaming: Arc::default(), tasks: JoinSet::new() };
    let wants = &interest.wants;

    let all = interest.all_services;
    let mut common = Common::default();
    start.kind(
        "services",
        String::new(),
        move |o| {
            let mut skipped = Skipped::default();
            let mut record = records::service(o, &mut skipped);
            common.adopt(&mut record);
            log_skipped("Service", &record.meta.path(), &skipped);
            if all || of_interest(&record) {
                Seen::Wanted(record)
            } else {
                Seen::Unwanted(record.meta.path())
            }
        },
        Update::Service,
    );
    if wants.nodes || wants.node_addresses {
        start.kind(
            "nodes",
            String::new(),
            |o| {
                let mut skipped = Skipped::default();
                let record = records::node(o, &mut skipped);
                log_skipped("Node", &Path { namespace: String::new(), name: record.name.clone() }, &skipped);
                Seen::Wanted(record)
            },
            Update::Node,
        );
    }
    if wants.endpoints != EndpointDetail::None {
        let mut nodes = Common::default();
        let addresses = wants.endpoints == EndpointDetail::Addresses;
        let waiting = wants.pod_gates.is_some();
        start.kind(
            "endpointslices.discovery.k8s.io",
            LABEL_SERVICE_NAME.to_owned(),
            move |o| Seen::Wanted(records::slice(o, &mut nodes, addresses, waiting)),
            Update::Slice,
        );
    }
    if wants.ingresses {
        start.kind(
            "ingresses.networking.k8s.io",
            String::new(),
            |o| {
                let mut skipped = Skipped::default();
                let record = records::ingress(o, &mut skipped);
                log_skipped("Ingress", &record.meta.path(), &skipped);
                Seen::Wanted(record)
            },
            Update::Ingress,
        );
        start.kind(
            "ingressclasses.networking.k8s.io",
            String::new(),
            |o| Seen::Wanted(records::class(o)),
            Update::Class,
        );
    }
    if wants.secrets {
        start.kind("secrets", String::new(), |o| Seen::Wanted(records::secret(o)), Update::Secret);
    }
    if let Some(prefix) = wants.pod_gates {
        start.kind(
            "pods",
            String::new(),
            move |o: types::Pod| {
                let path = records::path(&o.metadata);
                records::pod(o, prefix).map_or(Seen::Unwanted(path), Seen::Wanted)
            },
            Update::Pod,
        );
    }
    if wants.namespace_labels {
        start.kind("namespaces", String::new(), |o| Seen::Wanted(records::namespace(o)), Update::Namespace);
    }
    for kind in &wants.kinds {
        start.own(kind, &interest.config_namespace);
    }
    Watches { states, _tasks: start.tasks }
}

/// Whether a Service concerns a controller of load balancers: it is one, or was one that we have yet to clean up.
#[must_use]
pub fn of_interest(service: &ServiceRecord) -> bool {
    service.load_balancer || service.meta.finalizers.iter().any(|f| f == names::FINALIZER)
}

/// kube's description of one of a provider's own kinds.
#[must_use]
pub fn api_resource(kind: &OwnKind) -> ApiResource {
    ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: format!("{}/{}", kind.group, kind.version),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

fn log_skipped(kind: &str, path: &Path, skipped: &Skipped) {
    for (field, reason) in &skipped.0 {
        tracing::debug!(kind, namespace = path.namespace, name = path.name, field, reason, "left out");
    }
}

/// What a conversion makes of an object.
enum Seen<R> {
    Wanted(R),
    Unwanted(Path),
}

struct Start<'a> {
    client: &'a Client,
    tx: &'a mpsc::Sender<Update>,
    board: Board,
    streaming: Arc<Streaming>,
    tasks: JoinSet<()>,
}

impl Start<'_> {
    fn kind<K, R>(
        &mut self,
        resource: &str,
        labels: String,
        convert: impl FnMut(K) -> Seen<R> + Send + 'static,
        wrap: fn(Delta<R>) -> Update,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        R: Send + 'static,
    {
        let api = Api::all(self.client.clone());
        self.spawn(api, resource.to_owned(), false, labels, convert, wrap);
    }

    fn own(&mut self, kind: &OwnKind, namespace: &str) {
        let resource = api_resource(kind);
        let api: Api<types::Own> = match kind.scope {
            KindScope::ConfigNamespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
            KindScope::Cluster | KindScope::AllNamespaces => Api::all_with(self.client.clone(), &resource),
        };
        let name = kind.kind;
        self.spawn(
            api,
            format!("{}.{}", kind.plural, kind.group),
            true,
            String::new(),
            move |o| Seen::Wanted(records::own(name, o)),
            move |delta| Update::Own(name, delta),
        );
    }

    fn spawn<K, R>(
        &mut self,
        api: Api<K>,
        resource: String,
        custom: bool,
        labels: String,
        convert: impl FnMut(K) -> Seen<R> + Send + 'static,
        wrap: impl Fn(Delta<R>) -> Update + Send + 'static,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        R: Send + 'static,
    {
        self.board.enter(&resource);
        let watched = Watched {
            api,
            custom,
            labels,
            convert,
            wrap,
            tx: self.tx.clone(),
            board: self.board.clone(),
            streaming: self.streaming.clone(),
            pace: Pace::default(),
            had_objects: false,
            absent_since: None,
            troubled: false,
            resource,
        };
        self.tasks.spawn(watched.run());
    }
}

/// Whether streaming lists may be tried; shared by all kinds.
#[derive(Debug, Default)]
struct Streaming {
    refused: AtomicBool,
}

impl Streaming {
    fn usable(&self) -> bool {
        !self.refused.load(Ordering::Relaxed)
    }

    fn refuse(&self, why: &str) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::info!(why, "the API server does not do streaming lists; using list and watch");
        }
    }
}

/// Where the kinds say how they stand.
#[derive(Clone, Debug)]
struct Board {
    states: Arc<watch::Sender<KindStates>>,
}

impl Board {
    fn enter(&self, resource: &str) {
        self.states.send_modify(|s| {
            s.insert(resource.to_owned(), KindState::default());
        });
    }

    /// A complete list was delivered; `problem` stays for a kind that is not installed.
    fn synced(&self, resource: &str, keep_problem: bool) {
        self.states.send_if_modified(|s| {
            let state = s.entry(resource.to_owned()).or_default();
            let before = state.clone();
            state.synced = true;
            if !keep_problem && state.problem.take().is_some() {
                tracing::info!(resource, "watched again");
            }
            *state != before
        });
    }

    /// The watch goes on without a new list.
    fn recovered(&self, resource: &str) {
        self.states.send_if_modified(|s| {
            let recovered = s.get_mut(resource).and_then(|state| state.problem.take()).is_some();
            if recovered {
                tracing::info!(resource, "watched again");
            }
            recovered
        });
    }

    /// Notes a problem, and logs it if it is new. That the API server is away is logged for the first kind only.
    fn problem(&self, resource: &str, problem: WatchProblem) {
        self.states.send_if_modified(|s| {
            let known = |state: &KindState| state.problem.as_ref().is_some_and(|p| p.cause == problem.cause);
            let elsewhere =
                matches!(problem.cause, Cause::Unreachable | Cause::Unauthorized) && s.values().any(known);
            let state = s.entry(resource.to_owned()).or_default();
            if known(state) {
                return false;
            }
            if elsewhere {
                tracing::debug!(resource, "{}", problem.message);
            } else {
                tracing::warn!(resource, "{}", problem.message);
            }
            state.problem = Some(problem);
            true
        });
    }
}

/// A random fraction in [0, 1), from the standard library's seeded hasher: good enough to spread retries.
pub(crate) fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

struct Watched<K, C, W> {
    api: Api<K>,
    resource: String,
    /// A custom resource: may be not installed.
    custom: bool,
    labels: String,
    convert: C,
    wrap: W,
    tx: mpsc::Sender<Update>,
    board: Board,
    streaming: Arc<Streaming>,
    pace: Pace,
    had_objects: bool,
    absent_since: Option<Instant>,
    /// The last thing that was heard of the stream is an error.
    troubled: bool,
}

/// How one stream ended.
enum End {
    /// Begin again with a fresh list.
    Again,
    /// Nobody listens any more.
    Closed,
}

impl<K, R, C, W> Watched<K, C, W>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    R: Send + 'static,
    C: FnMut(K) -> Seen<R> + Send + 'static,
    W: Fn(Delta<R>) -> Update + Send + 'static,
{
    async fn run(mut self) {
        while let End::Again = self.follow().await {}
    }

    fn config(&self, streaming: bool) -> watcher::Config {
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        if !self.labels.is_empty() {
            config = config.labels(&self.labels);
        }
        if streaming { config.streaming_lists() } else { config }
    }

    /// Follows one stream until it has to be begun anew.
    async fn follow(&mut self) -> End {
        let streaming = self.streaming.usable();
        let mut stream = pin!(watcher(self.api.clone(), self.config(streaming)));
        // `Some` while a list is being read. It is `Some` at first, so that silence before the first event counts too.
        let mut list = Some(Vec::new());
        loop {
            let event = if list.is_some() {
                match timeout(LIST_SILENCE, stream.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        if streaming {
                            self.streaming.refuse("no end of the initial events");
                        }
                        self.fail(WatchProblem {
                            cause: Cause::Unreachable,
                            message: format!(
                                "the API server did not answer the list of {} for {LIST_SILENCE:?}",
                                self.resource
                            ),
                        })
                        .await;
                        return End::Again;
                    }
                }
            } else if std::mem::take(&mut self.troubled) {
                // A watch that is accepted again says nothing until something changes: silence is the sign.
                match timeout(CALM, stream.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.pace.reset();
                        self.absent_since = None;
                        self.board.recovered(&self.resource);
                        continue;
                    }
                }
            } else {
                stream.next().await
            };
            let delta = match event {
                None => return End::Again,
                Some(Ok(Event::Init)) => {
                    list = Some(Vec::new());
                    continue;
                }
                Some(Ok(Event::InitApply(object))) => {
                    if let Seen::Wanted(record) = (self.convert)(object) {
                        list.get_or_insert_default().push(record);
                    }
                    continue;
                }
                Some(Ok(Event::InitDone)) => Delta::Reset(list.take().unwrap_or_default()),
                Some(Ok(Event::Apply(object))) => match (self.convert)(object) {
                    Seen::Wanted(record) => Delta::Apply(record),
                    Seen::Unwanted(path) => Delta::Delete(path),
                },
                Some(Ok(Event::Delete(object))) => Delta::Delete(records::path(object.meta())),
                Some(Err(error)) => {
                    if streaming && refuses_streaming(&error) {
                        self.streaming.refuse(&error.to_string());
                        return End::Again;
                    }
                    if too_old(&error) {
                        // Ordinary: the server has forgotten where we were. Pace it, so that it cannot become a loop.
                        let delay = self.pace.next(Cause::Unreachable);
                        sleep(delay).await;
                        return End::Again;
                    }
                    let problem = judge(&error, &self.resource, self.custom);
                    if problem.cause == Cause::NotInstalled {
                        if !self.absent().await {
                            return End::Closed;
                        }
                    } else {
                        self.absent_since = None;
                    }
                    if broken_list(&error) {
                        list = Some(Vec::new());
                    }
                    let anew = list.is_none() && must_list(&error, self.pace.failures);
                    self.fail(problem).await;
                    if anew {
                        return End::Again;
                    }
                    self.troubled = true;
                    continue;
                }
            };
            self.pace.reset();
            self.absent_since = None;
            let reset = match &delta {
                Delta::Reset(all) => {
                    self.had_objects = !all.is_empty();
                    true
                }
                Delta::Apply(_) => {
                    self.had_objects = true;
                    false
                }
                Delta::Delete(_) => false,
            };
            if self.tx.send((self.wrap)(delta)).await.is_err() {
                return End::Closed;
            }
            if reset {
                self.board.synced(&self.resource, false);
            } else {
                self.board.recovered(&self.resource);
            }
        }
    }

    async fn fail(&mut self, problem: WatchProblem) {
        let delay = self.pace.next(problem.cause);
        self.board.problem(&self.resource, problem);
        // Not for a moment that somebody else is waiting for: a watch that nobody reads any more ends here too.
        tokio::select! {
            () = sleep(delay) => {}
            () = self.tx.closed() => {}
        }
    }

    /// The kind is not installed: once that is sure, it has no objects. False if nobody listens any more.
    async fn absent(&mut self) -> bool {
        let since = *self.absent_since.get_or_insert_with(Instant::now);
        let sure = if self.had_objects { since.elapsed() >= GONE_AFTER } else { self.pace.failures > 0 };
        if sure && (self.had_objects || !self.board.is_synced(&self.resource)) {
            self.had_objects = false;
            if self.tx.send((self.wrap)(Delta::Reset(Vec::new()))).await.is_err() {
                return false;
            }
            self.board.synced(&self.resource, true);
        }
        !self.tx.is_closed()
    }
}

impl Board {
    fn is_synced(&self, resource: &str) -> bool {
        self.states.borrow().get(resource).is_some_and(|s| s.synced)
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
