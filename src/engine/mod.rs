//! The engine: takes watch updates, decides which load balancers are dirty, and brings each to its wanted state.
//!
//! ```text
//! updates --feed()--> Index --dirty--> Queue --workers--> sync: snapshot -> desired -> observe -> plan -> lint -> apply -> status
//! ```
//!
//! The engine is generic over the cloud ([`CloudProvider`]) and over Kubernetes ([`Cluster`]); both are real in production
//! and scripted in tests. I/O happens only through these two.

pub mod cluster;
pub mod guard;
pub mod ledger;
pub mod lint;
pub mod metrics;
pub mod queue;

mod gates;
mod orphans;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_api::{CloudError, CloudProvider, Fence, LbKey, ObjectRef, Problem};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::cluster::{Cluster, EventNote, Written};
use self::guard::{DeletionGuard, OrphanWatch};
use self::ledger::Ledger;
use self::metrics::{ByCause, Metrics};
use self::queue::{Cause, Queue, QueueConfig};
use crate::state::index::{Effects, Index};
use crate::state::records::Update;

/// How often a new leader looks whether it may write yet.
const FENCED: Duration = Duration::from_millis(100);

/// How often a new leader looks whether its watch has come up with a list, and after what time it takes another: what the first one named may be gone.
const BEHIND: Duration = Duration::from_millis(20);
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// Settings of the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Load balancers worked on at once.
    pub workers: usize,
    /// Queue.
    pub queue: QueueConfig,
    /// How often every load balancer is looked at again.
    pub resync: Duration,
    /// How often orphans are looked for. Each time costs a list of all that is ours in the cloud, and an orphan must be one for many minutes
    /// before it goes.
    pub orphan_sweep: Duration,
    /// Plan, and say what would be done; write nothing anywhere.
    pub dry_run: bool,
    /// `--paused`: as if every object carried the pause annotation.
    pub paused: bool,
    /// `--confirm-mass-delete`.
    pub confirm_mass_delete: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: 32,
            queue: QueueConfig::default(),
            resync: Duration::from_secs(12 * 3600),
            orphan_sweep: Duration::from_secs(300),
            dry_run: false,
            paused: false,
            confirm_mass_delete: false,
        }
    }
}

/// Facts with a version that the ledger can compare.
struct Facts<F> {
    version: u64,
    facts: Arc<F>,
    /// Problems of own objects, told once.
    told: Vec<Problem>,
}

/// The provider's own objects, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What is wrong with them.
    pub problems: Vec<Problem>,
    /// This replica works; a standby judges too.
    pub working: bool,
}

/// The engine of one provider.
pub struct Engine<P: CloudProvider, C: Cluster> {
    provider: Arc<P>,
    cluster: C,
    config: EngineConfig,
    metrics: Metrics,
    index: Mutex<Index>,
    queue: Mutex<Queue<LbKey>>,
    ledger: Mutex<Ledger>,
    facts: Mutex<Facts<P::Facts>>,
    inventory: Mutex<P::Inventory>,
    guard: Mutex<DeletionGuard>,
    orphans: Mutex<OrphanWatch>,
    /// Orphans that all rules say may go.
    orphans_to_remove: Mutex<std::collections::HashSet<LbKey>>,
    /// Kinds whose complete list has not come yet.
    missing: watch::Sender<BTreeSet<String>>,
    /// What is wrong with own objects; `None` before all lists are complete.
    judged: watch::Sender<Option<Judged>>,
    /// Set once leadership began and the provider started: only then are keys queued.
    working: std::sync::atomic::AtomicBool,
    /// Something was found wrong since the inventory was read.
    news: std::sync::atomic::AtomicBool,
    wake: Notify,
    own_dirty: Notify,
    pods_changed: Notify,
    epoch: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding a lock ends the process (panic = abort); in tests the data is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: CloudProvider, C: Cluster> Engine<P, C> {
    /// An engine that does nothing until [`feed`](Self::feed) and [`lead`](Self::lead) run. `kinds` are the names of the watches whose
    /// first complete list must have come before anything is decided (see [`Engine::kind_of`]).
    pub fn new(
        provider: Arc<P>,
        cluster: C,
        index: Index,
        kinds: impl IntoIterator<Item = String>,
        config: EngineConfig,
        metrics: Metrics,
    ) -> Self {
        let (facts, _) = provider.facts(&causeway_api::OwnObjects::default(), &P::Inventory::default());
        Self {
            cluster,
            config,
            metrics,
            index: Mutex::new(index),
            queue: Mutex::new(Queue::new(config.queue)),
            ledger: Mutex::default(),
            facts: Mutex::new(Facts { version: 0, facts: Arc::new(facts), told: Vec::new() }),
            inventory: Mutex::default(),
            guard: Mutex::new(DeletionGuard::new(config.confirm_mass_delete)),
            orphans: Mutex::default(),
            orphans_to_remove: Mutex::default(),
            missing: watch::Sender::new(kinds.into_iter().collect()),
            judged: watch::Sender::new(None),
            working: std::sync::atomic::AtomicBool::new(false),
            news: std::sync::atomic::AtomicBool::new(false),
            wake: Notify::new(),
            own_dirty: Notify::new(),
            pods_changed: Notify::new(),
            epoch: Instant::now(),
            provider,
        }
    }

    /// The provider.
    pub fn provider(&self) -> &P {
        &self.provider
    }

    /// The name under which an update's kind is waited for.
    #[must_use]
    pub fn kind_of(update: &Update) -> &'static str {
        match update {
            Update::Service(_) => "Service",
            Update::Ingress(_) => "Ingress",
            Update::Class(_) => "IngressClass",
            Update::Node(_) => "Node",
            Update::Slice(_) => "EndpointSlice",
            Update::Secret(_) => "Secret",
            Update::Pod(_) => "Pod",
            Update::Namespace(_) => "Namespace",
            Update::Own(kind, _) => kind,
        }
    }

    /// Kinds whose complete list has not come yet; empty: synced.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<String> {
        self.missing.borrow().clone()
    }

    /// What is wrong with the provider's own objects, once all lists are complete.
    #[must_use]
    pub fn judged(&self) -> watch::Receiver<Option<Judged>> {
        self.judged.subscribe()
    }

    /// A snapshot of what the engine knows, for `/debug/state`. Holds no Secret.
    pub fn debug_state(&self) -> serde_json::Value {
        let (queued, running) = lock(&self.queue).depth();
        let (load_balancers, services, nodes) = lock(&self.index).counts();
        let ledger = lock(&self.ledger);
        let troubled: Vec<String> = ledger.troubled().iter().map(ToString::to_string).collect();
        serde_json::json!({
            "provider": self.provider.name(),
            "working": self.working.load(std::sync::atomic::Ordering::Relaxed),
            "notSynced": self.missing(),
            "factsVersion": lock(&self.facts).version,
            "queue": {"waiting": queued, "running": running},
            "known": {"loadBalancers": load_balancers, "services": services, "nodes": nodes},
            "asWanted": ledger.len(),
            "troubled": troubled,
        })
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn working(&self) -> bool {
        self.working.load(std::sync::atomic::Ordering::Acquire)
    }

    fn push(&self, dirty: impl IntoIterator<Item = (LbKey, Cause)>) {
        if !self.working() {
            return;
        }
        let now = self.now();
        let mut queue = lock(&self.queue);
        for (key, cause) in dirty {
            queue.push(&key, cause, now);
        }
        drop(queue);
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    fn push_all(&self, cause: Cause) {
        let keys: Vec<LbKey> = lock(&self.index).keys().cloned().collect();
        self.push(keys.into_iter().map(|key| (key, cause)));
    }

    /// Takes updates until the channel closes. Runs on every replica: a standby's index is warm.
    pub async fn feed(&self, mut updates: mpsc::Receiver<Update>) {
        while let Some(update) = updates.recv().await {
            let complete = self.missing.borrow().is_empty();
            let mut effects = self.take(update);
            // Whatever else has come already is taken in one go, so that a burst of pools makes facts anew once.
            for _ in 0..1024 {
                let Ok(update) = updates.try_recv() else { break };
                let more = self.take(update);
                effects.dirty.extend(more.dirty);
                effects.facts |= more.facts;
                effects.own_status |= more.own_status;
                effects.pods |= more.pods;
                effects.problems.extend(more.problems);
            }
            // No own objects at all are judged too.
            effects.facts |= !complete && self.missing.borrow().is_empty();
            self.act_on(effects);
        }
    }

    fn take(&self, update: Update) -> Effects {
        let kind = Self::kind_of(&update);
        let complete = is_reset(&update);
        let effects = lock(&self.index).update(update);
        if complete {
            self.missing.send_if_modified(|missing| missing.remove(kind));
        }
        effects
    }

    fn act_on(&self, effects: Effects) {
        if effects.facts {
            self.refresh_facts();
        }
        if effects.own_status && self.working() {
            self.own_dirty.notify_one();
        }
        if effects.pods {
            self.pods_changed.notify_one();
        }
        if self.working() {
            for problem in effects.problems {
                self.warn(&problem);
            }
        }
        self.push(effects.dirty);
    }

    /// Makes facts anew; every load balancer is dirty if they differ.
    fn refresh_facts(&self) {
        let objects = lock(&self.index).own_objects();
        let (facts, problems) = self.provider.facts(&objects, &lock(&self.inventory).clone());
        let mut current = lock(&self.facts);
        let changed = *current.facts != facts;
        if changed {
            current.version += 1;
            current.facts = Arc::new(facts);
        }
        if self.missing.borrow().is_empty() {
            self.judged.send_replace(Some(Judged { problems: problems.clone(), working: self.working() }));
        }
        if self.working() {
            let new: Vec<Problem> = problems.iter().filter(|p| !current.told.contains(p)).cloned().collect();
            current.told = problems;
            drop(current);
            for problem in new {
                warn!(object = %problem.object, field = problem.field, reason = problem.reason, "{}", problem.message);
                self.warn(&problem);
            }
            if changed {
                self.push_all(Cause::Facts);
                self.own_dirty.notify_one();
            }
        }
    }

    fn warn(&self, problem: &Problem) {
        if self.config.dry_run {
            return;
        }
        let message = if problem.field.is_empty() {
            problem.message.clone()
        } else {
            format!("{}: {}", problem.field, problem.message)
        };
        self.cluster.event(EventNote {
            object: problem.object.clone(),
            warning: true,
            reason: problem.reason.clone(),
            message,
        });
    }

    fn note(&self, object: &ObjectRef, reason: &str, message: impl Into<String>) {
        self.cluster.event(EventNote {
            object: object.clone(),
            warning: false,
            reason: reason.to_owned(),
            message: message.into(),
        });
    }

    /// Leads until `stop`: waits for complete lists, lets the provider start, then works. Returns once every write in flight has ended.
    ///
    /// # Errors
    /// If the provider cannot start for a reason that does not pass.
    pub async fn lead(self: &Arc<Self>, fence: Fence, stop: CancellationToken) {
        if !self.prepare(&fence, &stop).await {
            return;
        }
        self.working.store(true, std::sync::atomic::Ordering::Release);
        self.metrics.leader.set(1);
        info!(provider = self.provider.name(), load_balancers = lock(&self.index).counts().0, "working");
        self.refresh_facts();
        self.push_all(Cause::Resync);
        self.own_dirty.notify_one();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..self.config.workers.max(1) {
            let (engine, fence, stop) = (Arc::clone(self), fence.clone(), stop.clone());
            tasks.spawn(async move { engine.work(&fence, &stop).await });
        }
        let (engine, sweep_stop, sweep_fence) = (Arc::clone(self), stop.clone(), fence.clone());
        tasks.spawn(async move { engine.upkeep(&sweep_fence, &sweep_stop).await });
        let (engine, own_stop, own_fence) = (Arc::clone(self), stop.clone(), fence.clone());
        tasks.spawn(async move { engine.own_statuses(&own_fence, &own_stop).await });
        if self.provider.wants().pod_gates.is_some() {
            let (engine, gates_stop, gates_fence) = (Arc::clone(self), stop.clone(), fence.clone());
            tasks.spawn(async move { engine.gates(&gates_fence, &gates_stop).await });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                error!(%error, "a worker died");
                stop.cancel();
            }
        }
        self.working.store(false, std::sync::atomic::Ordering::Release);
        self.metrics.leader.set(0);
    }

    /// Complete lists, inventory, start of the provider. False: stopped before.
    async fn prepare(&self, fence: &Fence, stop: &CancellationToken) -> bool {
        let mut missing = self.missing.subscribe();
        tokio::select! {
            () = stop.cancelled() => return false,
            synced = missing.wait_for(BTreeSet::is_empty) => if synced.is_err() { return false },
        }
        // Where a status is what was given, it is read when no write of a former leader can come after: a cloud's is looked at again before
        // the first write to it, but of what this one gives out another Service's status may tell.
        while self.provider.capabilities().status_is_commit && fence.check().is_err() {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(FENCED) => {}
            }
        }
        if self.provider.capabilities().status_is_commit && !self.come_up(stop).await {
            return false;
        }
        let mut wait = Duration::from_millis(200);
        loop {
            match self.start().await {
                Ok(()) => return true,
                Err(error) => {
                    warn!(%error, retry_in = ?wait, "the provider cannot start yet");
                    let wait_for = match error {
                        CloudError::Throttled(after) | CloudError::Pending(after) => after,
                        _ => wait,
                    };
                    tokio::select! {
                        () = stop.cancelled() => return false,
                        () = tokio::time::sleep(wait_for) => {}
                    }
                    wait = (wait * 2).min(Duration::from_secs(30));
                }
            }
        }
    }

    /// Waits until the index has every Service as the API server has it by now: a watch may lag behind the last status that the former leader wrote, and
    /// what that one gave would be given again. False: stopped before.
    async fn come_up(&self, stop: &CancellationToken) -> bool {
        let mut wait = BEHIND;
        loop {
            match self.cluster.services().await {
                Ok(services) => {
                    let until = Instant::now() + LIST_AGAIN;
                    while Instant::now() < until {
                        if !lock(&self.index).is_behind(&services) {
                            return true;
                        }
                        tokio::select! {
                            () = stop.cancelled() => return false,
                            () = tokio::time::sleep(BEHIND) => {}
                        }
                    }
                    info!("waiting for the watch of Services to come up with the API server");
                }
                Err(error) => {
                    wait = (wait * 2).min(Duration::from_secs(10));
                    warn!(%error, retry_in = ?wait, "whether the watch of Services is up to date cannot be told yet");
                    tokio::select! {
                        () = stop.cancelled() => return false,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    async fn start(&self) -> Result<(), CloudError> {
        let inventory = self.provider.inventory().await?;
        *lock(&self.inventory) = inventory;
        self.refresh_facts();
        let all = lock(&self.index).given();
        let facts = Arc::clone(&lock(&self.facts).facts);
        self.provider.start(&all, &facts).await?;
        let owned = self.provider.owned().await?;
        // Objects that lost their class or type while nobody looked are still ours to clean up.
        lock(&self.index).claim(owned.iter().map(|o| o.key.owner_tag()));
        Ok(())
    }

    async fn work(&self, fence: &Fence, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let next = {
                let mut queue = lock(&self.queue);
                let now = self.now();
                queue.pop(now).ok_or_else(|| queue.next_due())
            };
            let (key, cause) = match next {
                Ok(next) => next,
                Err(due) => {
                    let notified = self.wake.notified();
                    let until = due.map_or(Duration::from_secs(3600), |due| due.saturating_sub(self.now()));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = notified => {}
                        () = tokio::time::sleep(until.max(Duration::from_millis(1))) => {}
                    }
                    continue;
                }
            };
            // Whoever took a key leaves the rest to the next worker.
            self.wake.notify_one();
            self.metrics.syncs.get_or_create(&ByCause { cause: cause.as_str().to_owned() }).inc();
            let began = Instant::now();
            let verdict = self.sync(&key, cause, fence).await;
            self.metrics.seconds.observe(began.elapsed().as_secs_f64());
            debug!(%key, cause = cause.as_str(), ?verdict, seconds = began.elapsed().as_secs_f64(), "synced");
            lock(&self.queue).done(&key, verdict, self.now());
        }
    }

    fn gauge(&self) {
        let (queued, running) = lock(&self.queue).depth();
        let as_i64 = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.queued.set(as_i64(queued));
        self.metrics.running.set(as_i64(running));
        let ledger = lock(&self.ledger);
        self.metrics.load_balancers.set(as_i64(ledger.len()));
        self.metrics.troubled.set(as_i64(ledger.troubled_count()));
    }

    /// Slow resync, audit of the cloud, orphans.
    async fn upkeep(&self, fence: &Fence, stop: &CancellationToken) {
        let mut resync = tokio::time::interval_at(Instant::now() + self.config.resync, self.config.resync);
        let mut sweep = tokio::time::interval(self.config.orphan_sweep);
        let audit_period = self.provider.audit_period().unwrap_or(Duration::from_secs(365 * 86400));
        let mut audit = tokio::time::interval_at(Instant::now() + audit_period, audit_period);
        let mut gauges = tokio::time::interval(Duration::from_secs(2));
        let mut read = Instant::now();
        let mut refresh = tokio::time::interval(Duration::from_millis(200));
        for interval in [&mut resync, &mut sweep, &mut audit, &mut gauges, &mut refresh] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = gauges.tick() => self.gauge(),
                _ = refresh.tick() => {
                    let troubled = lock(&self.ledger).troubled_count() > 0;
                    let news = self.news.load(std::sync::atomic::Ordering::Relaxed);
                    if self.provider.refresh().is_some_and(|r| r.due(read.elapsed(), troubled, news)) {
                        // Before it is read: what is found wrong meanwhile is news to it.
                        self.news.store(false, std::sync::atomic::Ordering::Relaxed);
                        read = Instant::now();
                        self.read_inventory().await;
                    }
                }
                _ = resync.tick() => self.push_all(Cause::Resync),
                _ = sweep.tick() => self.sweep(fence).await,
                _ = audit.tick() => match self.provider.audit().await {
                    Ok(keys) => self.look_again(&keys),
                    Err(error) => debug!(%error, "audit will be tried again"),
                },
            }
        }
    }

    /// Syncs load balancers that are not as they were. What a cloud knows of an object is its owner tag, not its name: that tells which keys are meant.
    fn look_again(&self, moved: &[LbKey]) {
        if moved.is_empty() {
            return;
        }
        let tags: std::collections::HashSet<String> = moved.iter().map(LbKey::owner_tag).collect();
        let mut keys: Vec<LbKey> =
            lock(&self.index).keys().filter(|key| tags.contains(&key.owner_tag())).cloned().collect();
        keys.sort();
        for key in &keys {
            lock(&self.ledger).distrust(key);
        }
        self.push(keys.into_iter().map(|key| (key, Cause::Resync)));
    }

    /// Reads the inventory again; what decisions saw of it before holds until it was read whole.
    async fn read_inventory(&self) {
        match self.provider.inventory().await {
            Ok(inventory) => {
                let changed = {
                    let mut current = lock(&self.inventory);
                    let changed = *current != inventory;
                    *current = inventory;
                    changed
                };
                if changed {
                    self.refresh_facts();
                }
            }
            Err(error) => debug!(%error, "the inventory will be read later"),
        }
    }

    /// Writes the status of own objects after something changed, at most five times a second.
    async fn own_statuses(&self, fence: &Fence, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.own_dirty.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            if self.config.dry_run || self.config.paused {
                continue;
            }
            let facts = Arc::clone(&lock(&self.facts).facts);
            let statuses = self.provider.own_status(&facts);
            let objects = lock(&self.index).own_objects();
            for status in statuses {
                let there = objects.objects.iter().find(|o| o.object == status.object).map(|o| &o.status);
                // Where the watch lags behind our own write, the write looks again and finds nothing to do.
                if there == Some(&status.status) {
                    continue;
                }
                if fence.check().is_err() {
                    break;
                }
                match self.cluster.write_own(&status).await {
                    Ok(Written::Conflict) => self.own_dirty.notify_one(),
                    Ok(_) => {}
                    Err(error) => {
                        warn!(object = %status.object, %error, "its status cannot be written");
                    }
                }
            }
        }
    }
}

fn is_reset(update: &Update) -> bool {
    use crate::state::records::Delta::Reset;
    match update {
        Update::Service(d) => matches!(d, Reset(_)),
        Update::Ingress(d) => matches!(d, Reset(_)),
        Update::Class(d) => matches!(d, Reset(_)),
        Update::Node(d) => matches!(d, Reset(_)),
        Update::Slice(d) => matches!(d, Reset(_)),
        Update::Secret(d) => matches!(d, Reset(_)),
        Update::Pod(d) => matches!(d, Reset(_)),
        Update::Namespace(d) => matches!(d, Reset(_)),
        Update::Own(_, d) => matches!(d, Reset(_)),
    }
}
