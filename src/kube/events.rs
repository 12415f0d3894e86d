//! Events: said once, counted when they repeat, never in anybody's way. [`Aggregate`] is pure; the task behind [`Events`] does I/O.
//!
//! Invariants:
//! - [`Events::send`] never waits; what does not fit into the queue is dropped and counted.
//! - The same reason and message for the same object within 10 minutes is one Event object whose `count` grows; its updates come
//!   at growing intervals (10 s, 20 s, … 10 min), so that a fault that repeats each second costs a handful of writes an hour.
//! - Writes are limited by a token bucket of their own.
//!
//! `v1` Events, as client-go's recorder writes them: `kubectl describe` and `kubectl get events` show count, age and source of these.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use causeway_api::{ObjectRef, OwnKind, names};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::Bucket;
use super::cluster::resource;
use crate::engine::cluster::EventNote;

/// Events that may wait to be written.
const QUEUE: usize = 4096;
/// Within this time a repetition belongs to the same Event.
const SAME: Duration = Duration::from_secs(600);
/// First interval between updates of the count; doubles up to [`SAME`].
const FIRST_UPDATE: Duration = Duration::from_secs(10);
/// Longest message, bytes; longer ones are cut.
const MESSAGE: usize = 1024;
/// Longest that one write takes.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// As whom Events are written.
#[derive(Clone, Debug)]
pub struct EventSettings {
    /// Source component of Events.
    pub component: String,
    /// Source component by reason, where it is not that: tools of a peer look for the peer's.
    pub component_of: BTreeMap<&'static str, &'static str>,
    /// Name of the node, from a speaker.
    pub host: Option<String>,
    /// The provider's own kinds, for references to them.
    pub kinds: Vec<OwnKind>,
    /// Events per second on average; a burst of four times as many.
    pub per_second: f64,
}

impl EventSettings {
    /// The controller's.
    #[must_use]
    pub fn controller(kinds: Vec<OwnKind>) -> Self {
        Self {
            component: names::EVENT_COMPONENT.to_owned(),
            component_of: BTreeMap::new(),
            host: None,
            kinds,
            per_second: 50.0,
        }
    }
}

/// Where Events are sent to. Cheap to clone; the task ends when the last is dropped and everything is written.
#[derive(Clone, Debug)]
pub struct Events {
    tx: Option<mpsc::Sender<EventNote>>,
    dropped: Counter,
}

impl Events {
    /// Starts the task that writes them.
    #[must_use]
    pub fn start(client: Client, settings: EventSettings, registry: &mut Registry) -> Self {
        let (tx, rx) = mpsc::channel(QUEUE);
        let (written, dropped) = counters(registry);
        let rate = settings.per_second.max(0.1);
        let writer = Writer {
            client,
            aggregate: Aggregate::default(),
            bucket: Bucket::new(rate, (rate * 4.0).max(1.0)),
            settings,
            written,
            dropped: dropped.clone(),
            serial: 0,
            reported: false,
        };
        tokio::spawn(writer.run(rx));
        Self { tx: Some(tx), dropped }
    }

    /// Drops everything: for dry runs.
    #[must_use]
    pub fn silent() -> Self {
        Self { tx: None, dropped: Counter::default() }
    }

    /// Queues an Event. Never waits.
    pub fn send(&self, event: EventNote) {
        tracing::debug!(object = %event.object, reason = event.reason, message = event.message, "event");
        if let Some(tx) = &self.tx
            && tx.try_send(event).is_err()
        {
            self.dropped.inc();
        }
    }
}

/// Writes of Events, and Events that were not written.
pub(crate) fn counters(registry: &mut Registry) -> (Counter, Counter) {
    let (written, dropped) = (Counter::default(), Counter::default());
    registry.register("events_written", "Writes of Events", written.clone());
    registry.register(
        "events_dropped",
        "Events that were not written: queue full, or refused",
        dropped.clone(),
    );
    (written, dropped)
}

/// What makes two Events the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    object: ObjectRef,
    warning: bool,
    reason: String,
    message: String,
}

#[derive(Clone, Debug)]
struct Seen {
    /// Name of the Event object.
    name: String,
    last: Timestamp,
    last_at: Duration,
    count: u32,
    written: u32,
    interval: Duration,
    due: Duration,
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Write {
    /// A new Event object of this name.
    Create { name: String },
    /// The count of one that is there.
    Count { name: String, namespace: String, count: u32, last: Timestamp },
}

/// What was said lately. Pure: moments are durations on any one clock.
#[derive(Debug, Default)]
struct Aggregate {
    seen: HashMap<Key, Seen>,
}

impl Aggregate {
    /// Takes an Event; what to write at once, if anything.
    fn note(
        &mut self,
        event: &EventNote,
        name: impl FnOnce() -> String,
        now: Duration,
        time: Timestamp,
    ) -> Option<Write> {
        let key = key(event);
        if let Some(seen) = self.seen.get_mut(&key)
            && now.saturating_sub(seen.last_at) < SAME
        {
            seen.count += 1;
            seen.last = time;
            seen.last_at = now;
            return None;
        }
        let name = name();
        self.seen.insert(
            key,
            Seen {
                name: name.clone(),
                last: time,
                last_at: now,
                count: 1,
                written: 1,
                interval: FIRST_UPDATE,
                due: now + FIRST_UPDATE,
            },
        );
        Some(Write::Create { name })
    }

    /// Counts that are due to be written. Forgets what was not repeated for long.
    fn due(&mut self, now: Duration) -> Vec<(Key, Write)> {
        let mut out = Vec::new();
        self.seen.retain(|key, seen| {
            let fresh = now.saturating_sub(seen.last_at) < SAME;
            if seen.due <= now && seen.count > seen.written {
                seen.written = seen.count;
                seen.interval = (seen.interval * 2).min(SAME);
                seen.due = now + seen.interval;
                out.push((
                    key.clone(),
                    Write::Count {
                        name: seen.name.clone(),
                        namespace: namespace(&key.object),
                        count: seen.count,
                        last: seen.last,
                    },
                ));
            }
            fresh || seen.count > seen.written
        });
        out
    }

    /// When [`Self::due`] has something to say next.
    fn next(&self) -> Option<Duration> {
        self.seen.values().filter(|s| s.count > s.written).map(|s| s.due).min()
    }

    /// The Event object is not there: the next repetition makes a new one.
    fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
    }
}

fn key(event: &EventNote) -> Key {
    Key {
        object: event.object.clone(),
        warning: event.warning,
        reason: event.reason.clone(),
        message: event.message.clone(),
    }
}

/// Events of cluster-scoped objects live in `default`, where kubectl looks for them.
fn namespace(object: &ObjectRef) -> String {
    if object.namespace.is_empty() { "default".to_owned() } else { object.namespace.clone() }
}

/// Cuts a message at a character boundary.
fn cut(message: &str) -> String {
    if message.len() <= MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MESSAGE - '…'.len_utf8()).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", &message[..end])
}

struct Writer {
    client: Client,
    settings: EventSettings,
    aggregate: Aggregate,
    bucket: Bucket,
    written: Counter,
    dropped: Counter,
    serial: u64,
    reported: bool,
}

impl Writer {
    async fn run(mut self, mut rx: mpsc::Receiver<EventNote>) {
        let start = Instant::now();
        loop {
            let next = self.aggregate.next().map_or_else(|| Instant::now() + SAME, |due| start + due);
            tokio::select! {
                event = rx.recv() => match event {
                    Some(event) => {
                        let time = Timestamp::now();
                        self.serial += 1;
                        let name = event_name(&event.object, time, self.serial);
                        if self.aggregate.note(&event, || name.clone(), start.elapsed(), time).is_some() {
                            self.create(&event, name, time).await;
                        }
                    }
                    None => return,
                },
                () = sleep_until(next) => {
                    for (key, write) in self.aggregate.due(start.elapsed()) {
                        self.count(&key, write).await;
                    }
                }
            }
        }
    }

    async fn paced(&mut self) {
        if let Some(until) = self.bucket.take(Instant::now()) {
            sleep_until(until).await;
        }
    }

    async fn create(&mut self, event: &EventNote, name: String, time: Timestamp) {
        self.paced().await;
        let object = self.object(event, name, time);
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace(&event.object));
        let params =
            PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let failed = match timeout(WRITE_TIME, api.create(&params, &object)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(kube::Error::Service("no answer from the API server".into())),
        };
        match failed {
            None => {
                self.written.inc();
                self.reported = false;
            }
            Some(error) => self.failed(&key(event), "create", &error),
        }
    }

    async fn count(&mut self, key: &Key, write: Write) {
        let Write::Count { name, namespace, count, last } = write else { return };
        self.paced().await;
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let patch = serde_json::json!({ "count": count, "lastTimestamp": Time(last) });
        let params =
            PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match timeout(WRITE_TIME, api.patch(&name, &params, &Patch::Merge(patch))).await {
            Ok(Ok(_)) => {
                self.written.inc();
                self.reported = false;
            }
            Ok(Err(error)) => self.failed(key, "patch", &error),
            Err(_) => {
                self.failed(key, "patch", &kube::Error::Service("no answer from the API server".into()))
            }
        }
    }

    fn failed(&mut self, key: &Key, verb: &str, error: &kube::Error) {
        self.dropped.inc();
        self.aggregate.forget(key);
        match error {
            // Its namespace is going away, or the Event has expired: nobody is missing anything.
            kube::Error::Api(status) if status.code == 404 => {}
            kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated") => {
            }
            kube::Error::Api(status) if status.code == 403 => {
                if !std::mem::replace(&mut self.reported, true) {
                    tracing::warn!(
                        "the ServiceAccount may not {verb} events: {}; allow create and patch of events in its ClusterRole, as \
                         deploy/ does",
                        status.message
                    );
                }
            }
            error => {
                tracing::debug!(object = %key.object, reason = key.reason, error = super::chain(error), "event not written")
            }
        }
    }

    fn object(&self, event: &EventNote, name: String, time: Timestamp) -> Event {
        let at = Some(Time(time));
        let component = self
            .settings
            .component_of
            .get(event.reason.as_str())
            .map_or_else(|| self.settings.component.clone(), |c| (*c).to_owned());
        let object = &event.object;
        let described = resource(&self.settings.kinds, &object.kind);
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace(object)),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: described.map(|r| r.api_version),
                kind: Some(object.kind.as_str().to_owned()),
                namespace: Some(object.namespace.clone()).filter(|n| !n.is_empty()),
                name: Some(object.name.clone()),
                uid: Some(object.uid.to_string()).filter(|u| !u.is_empty()),
                ..ObjectReference::default()
            },
            reason: Some(event.reason.clone()),
            message: Some(cut(&event.message)),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource {
                component: Some(component.clone()),
                host: self.settings.host.clone(),
            }),
            reporting_component: Some(component),
            first_timestamp: at.clone(),
            last_timestamp: at,
            count: Some(1),
            ..Event::default()
        }
    }
}

/// A name that no other Event has: the object's name, the time, and a number.
fn event_name(object: &ObjectRef, time: Timestamp, serial: u64) -> String {
    let stem: String = object.name.chars().take(200).collect();
    format!("{stem}.{:x}.{serial:x}", time.as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::UNIX_EPOCH;

    fn event(message: &str) -> EventNote {
        EventNote {
            object: ObjectRef::service("n", "s", "u"),
            warning: true,
            reason: "SyncLoadBalancerFailed".into(),
            message: message.into(),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn note(a: &mut Aggregate, message: &str, now: u64) -> Option<Write> {
        a.note(&event(message), || format!("{message}-{now}"), at(now), T)
    }

    #[test]
    fn a_repetition_is_counted_and_another_message_is_another_event() {
        let mut a = Aggregate::default();
        assert_eq!(note(&mut a, "x", 0), Some(Write::Create { name: "x-0".into() }));
        assert_eq!(note(&mut a, "x", 1), None);
        assert_eq!(note(&mut a, "y", 1), Some(Write::Create { name: "y-1".into() }));
        assert_eq!(a.next(), Some(at(10)));
        assert_eq!(a.due(at(9)), vec![]);
        let due = a.due(at(10));
        assert_eq!(
            due.into_iter().map(|(_, w)| w).collect::<Vec<_>>(),
            [Write::Count { name: "x-0".into(), namespace: "n".into(), count: 2, last: T }]
        );
        assert_eq!(a.next(), None);
    }

    #[test]
    fn a_fault_that_repeats_every_second_costs_few_writes() {
        let mut a = Aggregate::default();
        let mut writes = 0;
        for second in 0..3600 {
            writes += usize::from(note(&mut a, "x", second).is_some());
            writes += a.due(at(second)).len();
        }
        assert!((5..=12).contains(&writes), "{writes} writes in an hour");
        assert_eq!(a.seen.len(), 1);
    }

    #[test]
    fn after_ten_quiet_minutes_it_is_a_new_event() {
        let mut a = Aggregate::default();
        note(&mut a, "x", 0);
        assert!(note(&mut a, "x", 599).is_none());
        assert!(note(&mut a, "x", 1199).is_some());
        a.due(at(1800));
        assert!(a.seen.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn an_event_that_expired_is_written_anew() {
        let mut a = Aggregate::default();
        note(&mut a, "x", 0);
        a.forget(&key(&event("x")));
        assert!(note(&mut a, "x", 1).is_some());
    }

    #[test]
    fn messages_are_cut_at_a_character() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(600);
        let out = cut(&long);
        assert!(out.len() <= MESSAGE && out.ends_with('…'), "{}", out.len());
    }

    #[test]
    fn names_fit_and_differ() {
        let object = ObjectRef::service("n", "a".repeat(253), "u");
        let (one, two) =
            (event_name(&object, Timestamp::MAX, u64::MAX), event_name(&object, Timestamp::MAX, 1));
        assert!(one.len() <= 253, "{}", one.len());
        assert_ne!(one, two);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (tx, _rx) = mpsc::channel(1);
        let events = Events { tx: Some(tx), dropped: Counter::default() };
        for _ in 0..3 {
            events.send(event("x"));
        }
        assert_eq!(events.dropped.get(), 2);
        Events::silent().send(event("x"));
    }
}
