//! Leader election over a `coordination.k8s.io/v1` Lease: the requests, and the permission to write that comes of it. I/O;
//! every decision is [`election`]'s.
//!
//! Invariants:
//! - Permission is a window on CLOCK_BOOTTIME: a suspended machine wakes up without it. Each leadership has a window of its own,
//!   which never opens again once it was shut, so a worker that outlives its leadership cannot write under the next.
//! - The requests have their own client, without retries, and their own time limits: a renewal that is late is worth nothing.
//! - Renewals go on while the leader drains its writes; the Lease is released after that ([`Elector::release`]).

pub mod election;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_api::{Fence, Permit, names};
use causeway_sys::boottime;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use election::Timing;
use election::{Answer, Decision, Election, View, Window};

/// Longest that a release may take; it is tried again within.
const RELEASE_TIME: Duration = Duration::from_secs(2);

/// Sleeps are cut to this, for tokio's timers stand still while the machine is suspended and the lease does not.
const NAP: Duration = Duration::from_millis(500);

/// That this process leads.
#[derive(Clone)]
pub struct Leadership {
    /// Number of the leadership; grows with every takeover.
    pub epoch: u64,
    /// The former leader had released the Lease (or there was none): writes may start at once. If not, [`Self::fence`] opens
    /// after the write deadline only.
    pub released: bool,
    /// Permission to write under this leadership, and no other.
    pub fence: Fence,
    /// Cancelled when this leadership has ended.
    pub lost: CancellationToken,
}

impl Leadership {
    /// For a process that runs without election: always open, never lost.
    #[must_use]
    pub fn unelected() -> Self {
        Self { epoch: 0, released: true, fence: Fence::open(), lost: CancellationToken::new() }
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("epoch", &self.epoch)
            .field("released", &self.released)
            .field("lost", &self.lost.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// The window of one leadership, shared with every fence that was made of it. Nanoseconds since boot.
#[derive(Debug)]
struct Term {
    epoch: u64,
    not_before: u64,
    /// Zero once shut.
    not_after: AtomicU64,
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl Term {
    fn of(window: &Window) -> Self {
        let not_after = AtomicU64::new(nanos(window.not_after));
        Self { epoch: window.epoch, not_before: nanos(window.not_before), not_after }
    }

    /// Moves the end of the window, unless it is shut.
    fn extend(&self, window: &Window) {
        let end = nanos(window.not_after);
        let _ =
            self.not_after.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| (old != 0).then_some(end));
    }

    fn shut(&self) {
        self.not_after.store(0, Ordering::Release);
    }

    fn remaining_at(&self, now: Duration) -> Duration {
        let now = nanos(now);
        if now < self.not_before {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.not_after.load(Ordering::Acquire).saturating_sub(now))
    }
}

struct TermPermit(Arc<Term>);

impl Permit for TermPermit {
    fn epoch(&self) -> u64 {
        self.0.epoch
    }

    fn remaining(&self) -> Duration {
        self.0.remaining_at(boottime())
    }
}

/// Which Lease, as whom, by which limits.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Identity of this process; see [`identity`].
    pub identity: String,
    /// Limits; must pass [`Timing::check`].
    pub timing: Timing,
}

/// An identity that no other process has, also not the next one in the same Pod: the Pod's name (`POD_NAME`), else the host's, and a random
/// number.
#[must_use]
pub fn identity() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    identity_of(&pod.unwrap_or_else(|| {
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
    }))
}

fn identity_of(place: &str) -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    format!("{place}_{random:016x}")
}

/// Who holds a Lease, by watching it: a leader renews it within its duration, a Lease that is only left over stays as it is. No clock is compared with
/// another machine's. Answers at once if nobody is named in it, when it is renewed, or after its duration.
///
/// # Errors
/// kube's.
pub async fn holder(client: Client, namespace: &str, name: &str) -> kube::Result<Option<String>> {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let look = async || -> kube::Result<Option<(String, Option<String>, u64)>> {
        let Some(lease) = api.get_opt(name).await? else { return Ok(None) };
        let spec = lease.spec.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15);
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        Ok(holder.map(|holder| (holder, lease.metadata.resource_version, seconds)))
    };
    let Some((_, version, seconds)) = look().await? else { return Ok(None) };
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    while tokio::time::Instant::now() < end {
        sleep(NAP).await;
        match look().await? {
            None => return Ok(None),
            Some((holder, now, _)) if now != version => return Ok(Some(holder)),
            Some(_) => {}
        }
    }
    Ok(None)
}

/// A running election. Dropping it ends the election without releasing the Lease.
#[derive(Debug)]
pub struct Elector {
    leadership: watch::Receiver<Option<Leadership>>,
    release: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Elector {
    /// Starts the election. The client must be one without retries (`client::Connection::lease_client`).
    ///
    /// # Errors
    /// What [`Timing::check`] says.
    pub fn start(client: Client, settings: LeaseSettings) -> Result<Self, String> {
        settings.timing.check()?;
        let (tx, leadership) = watch::channel(None);
        let (release, released) = oneshot::channel();
        let runner = Runner {
            api: Api::namespaced(client, &settings.namespace),
            election: Election::new(settings.identity.clone(), settings.timing),
            settings,
            last: None,
            tx,
            term: None,
            reported: None,
        };
        Ok(Self { leadership, release: Some(release), task: tokio::spawn(runner.run(released)) })
    }

    /// Whether this process leads, now and when it changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.leadership.clone()
    }

    /// Gives the Lease back, if it is ours, so that another replica may lead at once. Call it after the last write has ended: from
    /// here on the fence is shut. Takes 2 s at most.
    pub async fn release(mut self) {
        if let Some(release) = self.release.take() {
            let _ = release.send(());
        }
        if let Err(error) = (&mut self.task).await
            && error.is_panic()
        {
            tracing::error!(%error, "the election died");
        }
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Runner {
    api: Api<Lease>,
    settings: LeaseSettings,
    election: Election,
    /// The object as it was read last: fields of others are written back as they are.
    last: Option<Lease>,
    tx: watch::Sender<Option<Leadership>>,
    term: Option<(Arc<Term>, CancellationToken)>,
    /// The last failure that was logged.
    reported: Option<String>,
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Also when the task is aborted: nobody renews any more.
        self.end_term("the election has ended");
    }
}

impl Runner {
    async fn run(mut self, mut released: oneshot::Receiver<()>) {
        loop {
            let now = boottime();
            let decision = self.election.step(now);
            self.publish(now);
            match decision {
                Decision::Wait(until) => {
                    let nap = until.saturating_sub(now).min(NAP);
                    tokio::select! {
                        () = sleep(nap) => {}
                        asked = &mut released => {
                            if asked.is_ok() { self.give_back().await; }
                            return;
                        }
                    }
                }
                decision => {
                    tokio::select! {
                        _ = self.perform(&decision) => {}
                        asked = &mut released => {
                            // The request is dropped; what became of it shows in the next read.
                            if asked.is_ok() { self.give_back().await; }
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn give_back(&mut self) {
        self.election.release();
        self.end_term("released");
        let done = timeout(RELEASE_TIME, async {
            let mut ours = false;
            loop {
                let decision = self.election.step(boottime());
                if decision == Decision::Finished {
                    return ours;
                }
                ours |= matches!(decision, Decision::Release { .. });
                if !self.perform(&decision).await {
                    sleep(Duration::from_millis(200)).await;
                }
            }
        })
        .await;
        match done {
            Ok(true) => tracing::info!(lease = self.settings.name, "lease released"),
            Ok(false) => {}
            Err(_) => tracing::warn!(
                lease = self.settings.name,
                "the lease could not be released: another replica takes over when it expires"
            ),
        }
    }

    /// Sends one request and takes its answer; false if it failed.
    async fn perform(&mut self, decision: &Decision) -> bool {
        let sent = boottime();
        let patience = self.election.patience(sent);
        let outcome = timeout(patience, self.request(decision)).await;
        let answer = match outcome {
            Ok(Ok(lease)) => {
                let view = view(&lease);
                self.last = Some(lease);
                Answer::Lease(view)
            }
            // On create a 404 means that the namespace is missing: a failure to report, not an absent Lease.
            Ok(Err(kube::Error::Api(status)))
                if status.code == 404 && !matches!(decision, Decision::Create { .. }) =>
            {
                Answer::Absent
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Answer::Conflict,
            Ok(Err(error)) => {
                self.report(decision, &error);
                Answer::Failed
            }
            Err(_) => {
                self.report_text(format!("no answer from the API server within {patience:?}"));
                Answer::Failed
            }
        };
        let ok = answer != Answer::Failed;
        if ok && self.reported.take().is_some() {
            tracing::info!(lease = self.settings.name, "the API server answers for the lease again");
        }
        let now = boottime();
        self.election.answer(decision, sent, now, answer);
        self.publish(now);
        ok
    }

    async fn request(&self, decision: &Decision) -> kube::Result<Lease> {
        let params =
            PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let name = &self.settings.name;
        match decision {
            Decision::Create { transitions } => {
                let mut lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        namespace: Some(self.settings.namespace.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: None,
                };
                self.hold(&mut lease, *transitions);
                self.api.create(&params, &lease).await
            }
            Decision::Hold { version, transitions } => {
                let mut lease = self.basis(version);
                self.hold(&mut lease, *transitions);
                self.api.replace(name, &params, &lease).await
            }
            Decision::Release { version } => {
                let mut lease = self.basis(version);
                let now = MicroTime(Timestamp::now());
                let spec = lease.spec.get_or_insert_default();
                // As client-go: an empty holder, and a duration of one second for those who look at the times only.
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(now);
                self.api.replace(name, &params, &lease).await
            }
            Decision::Read | Decision::Wait(_) | Decision::Finished => self.api.get(name).await,
        }
    }

    fn basis(&self, version: &str) -> Lease {
        let mut lease = self.last.clone().unwrap_or_default();
        lease.metadata.name = Some(self.settings.name.clone());
        lease.metadata.namespace = Some(self.settings.namespace.clone());
        lease.metadata.resource_version = Some(version.to_owned());
        lease.metadata.managed_fields = None;
        lease
    }

    fn hold(&self, lease: &mut Lease, transitions: u32) {
        let now = MicroTime(Timestamp::now());
        let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
        let seconds = self.settings.timing.lease_duration.as_secs();
        if spec.holder_identity.as_deref() != Some(&self.settings.identity) || spec.acquire_time.is_none() {
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.settings.identity.clone());
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.lease_transitions = Some(i32::try_from(transitions).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
    }

    /// Lets everybody know how we stand.
    fn publish(&mut self, now: Duration) {
        let window = self.election.window(now);
        match (&window, &self.term) {
            (Some(w), Some((term, _))) if term.epoch == w.epoch && term.not_before == nanos(w.not_before) => {
                term.extend(w);
            }
            (Some(w), _) => {
                self.end_term("taken up anew");
                let term = Arc::new(Term::of(w));
                let lost = CancellationToken::new();
                tracing::info!(
                    lease = self.settings.name,
                    identity = self.settings.identity,
                    epoch = w.epoch,
                    released = w.released,
                    "leading"
                );
                self.tx.send_replace(Some(Leadership {
                    epoch: w.epoch,
                    released: w.released,
                    fence: Fence::new(TermPermit(term.clone())),
                    lost: lost.clone(),
                }));
                self.term = Some((term, lost));
            }
            (None, Some(_)) => self.end_term("lost"),
            (None, None) => {}
        }
    }

    fn end_term(&mut self, why: &str) {
        if let Some((term, lost)) = self.term.take() {
            term.shut();
            lost.cancel();
            self.tx.send_replace(None);
            tracing::info!(lease = self.settings.name, epoch = term.epoch, why, "no longer leading");
        }
    }

    fn report(&mut self, decision: &Decision, error: &kube::Error) {
        let text = match error {
            kube::Error::Api(status) if status.code == 403 => {
                let verb = match decision {
                    Decision::Create { .. } => "create",
                    Decision::Hold { .. } | Decision::Release { .. } => "update",
                    _ => "get",
                };
                format!(
                    "the ServiceAccount may not {verb} leases.coordination.k8s.io in namespace {}: {}; allow get, create and update of \
                     leases there by a Role, as deploy/ does",
                    self.settings.namespace, status.message
                )
            }
            error => super::chain(error),
        };
        self.report_text(text);
    }

    /// Logs a failure once, until it changes or passes.
    fn report_text(&mut self, text: String) {
        if self.reported.as_ref() != Some(&text) {
            tracing::warn!(lease = self.settings.name, "{text}");
            self.reported = Some(text);
        }
    }
}

fn view(lease: &Lease) -> View {
    let spec = lease.spec.clone().unwrap_or_default();
    View {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|h| !h.is_empty()),
        duration: Duration::from_secs(
            spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
        ),
        transitions: spec.lease_transitions.and_then(|t| u32::try_from(t).ok()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(not_before: u64, not_after: u64) -> Window {
        Window {
            epoch: 3,
            released: false,
            not_before: Duration::from_secs(not_before),
            not_after: Duration::from_secs(not_after),
        }
    }

    #[test]
    fn a_term_that_was_shut_never_opens_again() {
        let term = Term::of(&window(10, 20));
        assert_eq!(term.remaining_at(Duration::from_secs(9)), Duration::ZERO);
        assert_eq!(term.remaining_at(Duration::from_secs(12)), Duration::from_secs(8));
        term.extend(&window(10, 25));
        assert_eq!(term.remaining_at(Duration::from_secs(12)), Duration::from_secs(13));
        assert_eq!(term.remaining_at(Duration::from_secs(26)), Duration::ZERO);
        term.shut();
        term.extend(&window(10, 99));
        assert_eq!(term.remaining_at(Duration::from_secs(12)), Duration::ZERO);
    }

    #[test]
    fn an_empty_holder_is_none_and_odd_numbers_do_no_harm() {
        let lease = |holder: &str, seconds: i32| Lease {
            metadata: ObjectMeta { resource_version: Some("5".into()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: Some(seconds),
                lease_transitions: Some(-1),
                ..LeaseSpec::default()
            }),
        };
        assert_eq!(view(&lease("", 15)).holder, None);
        let odd = view(&lease("x", -15));
        assert_eq!((odd.duration, odd.transitions), (Duration::ZERO, 0));
        assert_eq!(view(&Lease::default()).holder, None);
    }

    #[test]
    fn identities_differ_within_one_process() {
        assert_ne!(identity(), identity());
        assert!(identity_of("causeway-7c9f").starts_with("causeway-7c9f_"));
    }
}
