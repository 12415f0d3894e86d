//! Admission webhooks that a peer left behind: the API server goes on asking about every new object, nobody answers, and everything that is asked about is
//! refused. What counts as left behind is pure; reading it, and telling of it while this replica works, is I/O.
//!
//! Nothing is deleted: the configurations are the peer's, and it may come back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_api::{Kind, ObjectRef};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::events::Events;
use crate::engine::cluster::EventNote;

/// API group of the configurations.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";
/// Kind of the configurations that may change objects.
pub(super) const MUTATING: &str = "MutatingWebhookConfiguration";
/// Kind of those that may refuse objects only.
pub(super) const VALIDATING: &str = "ValidatingWebhookConfiguration";
/// Reason of the Event.
pub const REASON: &str = "WebhookLeftBehind";
/// How often it is looked: two short lists each time.
const LOOK: Duration = Duration::from_secs(60);
/// How often the same is said again: an Event lives an hour.
const AGAIN: Duration = Duration::from_secs(1800);

/// How a peer's webhooks are known.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// The peer, in messages.
    pub peer: &'static str,
    /// What the name of a webhook of its ends with; empty: nothing is known by that.
    pub suffix: &'static str,
    /// API group of kinds that only the peer's webhooks are asked about; empty: nothing is known by that.
    pub group: &'static str,
}

/// A configuration of a peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name of the peer.
    pub peer: &'static str,
    /// The configuration.
    pub object: ObjectRef,
    /// The Service that is asked, `namespace/name`.
    pub service: String,
    /// What is refused while nobody answers, such as `services` and `ingresses.networking.k8s.io`; empty: nothing.
    pub refused: BTreeSet<String>,
    /// Whether somebody is ready to answer.
    pub answered: bool,
}

impl Found {
    /// Whether it does harm: nobody answers, or (`taken_over`) the peer's work is ours and it decides about new objects still.
    #[must_use]
    pub fn in_the_way(&self, taken_over: bool) -> bool {
        if self.answered { taken_over } else { !self.refused.is_empty() }
    }

    /// What it does, and what to do about it.
    #[must_use]
    pub fn message(&self) -> String {
        let Self { peer, object, service, refused, answered } = self;
        let delete = format!("kubectl delete {} {}", object.kind.as_str().to_ascii_lowercase(), object.name);
        if *answered {
            return format!(
                "{peer} does not work any more, but Service {service} goes on answering for it, and may change or refuse new objects: {delete}"
            );
        }
        let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
        format!(
            "nobody answers at Service {service} any more, so that every change of {} that it is asked about is refused: if {peer} is not to come back, {delete}",
            refused.join(", ")
        )
    }
}

/// What could not be read, in the words of its kind.
#[derive(Debug)]
pub struct Unread {
    /// Such as `EndpointSlices of Service a/b`.
    pub about: String,
    /// Why.
    pub error: kube::Error,
}

/// One webhook, of either kind.
struct Webhook {
    name: String,
    client: WebhookClientConfig,
    policy: Option<String>,
    rules: Vec<RuleWithOperations>,
}

macro_rules! webhooks {
    ($configuration:expr) => {
        $configuration.webhooks.unwrap_or_default().into_iter().map(|w| Webhook {
            name: w.name,
            client: w.client_config,
            policy: w.failure_policy,
            rules: w.rules.unwrap_or_default(),
        })
    };
}

/// The peer's part of one configuration: each Service that is asked, with what is refused if it does not answer.
fn of_peer(
    traits: &Traits,
    kind: &str,
    metadata: &ObjectMeta,
    webhooks: impl IntoIterator<Item = Webhook>,
) -> Vec<Found> {
    let webhooks: Vec<Webhook> = webhooks.into_iter().collect();
    let by_group = |w: &Webhook| {
        let mut groups = w.rules.iter().flat_map(|rule| rule.api_groups.iter().flatten());
        !traits.group.is_empty() && groups.any(|group| group == traits.group)
    };
    // A name says whose the whole configuration is; a group, of others' too, whom one webhook is about.
    let by_name = !traits.suffix.is_empty() && webhooks.iter().any(|w| w.name.ends_with(traits.suffix));
    let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for webhook in webhooks.iter().filter(|w| by_name || by_group(w)) {
        let Some(service) = &webhook.client.service else { continue };
        let refused = services.entry(format!("{}/{}", service.namespace, service.name)).or_default();
        if webhook.policy.as_deref() == Some("Ignore") {
            continue;
        }
        for rule in &webhook.rules {
            for resource in rule.resources.iter().flatten() {
                refused.extend(rule.api_groups.iter().flatten().map(|group| match group.as_str() {
                    "" => resource.clone(),
                    group => format!("{resource}.{group}"),
                }));
            }
        }
    }
    let of = |(service, refused)| Found {
        peer: traits.peer,
        object: ObjectRef {
            kind: Kind::Own(kind.to_owned()),
            namespace: String::new(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default().into(),
        },
        service,
        refused,
        answered: false,
    };
    services.into_iter().map(of).collect()
}

/// Whether somebody behind a Service is ready.
fn answered(slices: &[EndpointSlice]) -> bool {
    let mut endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    endpoints.any(|endpoint| {
        endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true) && !endpoint.addresses.is_empty()
    })
}

/// The peer's configurations, by kind and name.
///
/// # Errors
/// The first thing that cannot be read.
pub async fn look(client: &Client, traits: &Traits) -> Result<Vec<Found>, Unread> {
    let unread = |about: &str| {
        let about = about.to_owned();
        move |error| Unread { about, error }
    };
    let params = ListParams::default();
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let mutating = mutating.list(&params).await.map_err(unread("MutatingWebhookConfigurations"))?;
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let validating = validating.list(&params).await.map_err(unread("ValidatingWebhookConfigurations"))?;
    let mut found = Vec::new();
    for configuration in mutating {
        found.extend(of_peer(traits, MUTATING, &configuration.metadata, webhooks!(configuration)));
    }
    for configuration in validating {
        found.extend(of_peer(traits, VALIDATING, &configuration.metadata, webhooks!(configuration)));
    }
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    for one in &mut found {
        if let Some(answered) = known.get(&one.service) {
            one.answered = *answered;
            continue;
        }
        let (namespace, name) = one.service.split_once('/').unwrap_or_default();
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let label = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let slices = slices.list(&label).await;
        let slices = slices.map_err(unread(&format!("EndpointSlices of Service {}", one.service)))?;
        one.answered = answered(&slices.items);
        known.insert(one.service.clone(), one.answered);
    }
    Ok(found)
}

/// The metric.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    in_the_way: Gauge,
}

impl Metrics {
    /// Registers it.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "webhooks_left_behind",
            "Webhook configurations of a peer that are in the way, as an Event on each says",
            metrics.in_the_way.clone(),
        );
        metrics
    }
}

/// Tells of the peer's webhooks that are in the way.
#[derive(Clone)]
pub struct Watch {
    /// Way to the API server.
    pub client: Client,
    /// Whose webhooks.
    pub traits: Traits,
    /// Whether the peer's work is taken over as long as we work.
    pub taken_over: bool,
    /// Where Events are sent to.
    pub events: Events,
    /// Metric.
    pub metrics: Metrics,
}

impl Watch {
    /// Looks at once and again from time to time, and tells of what it finds; never ends.
    pub async fn run(&self) {
        let mut said: BTreeMap<ObjectRef, (String, Instant)> = BTreeMap::new();
        let mut blind = String::new();
        loop {
            match look(&self.client, &self.traits).await {
                Ok(found) => {
                    let found: Vec<Found> =
                        found.into_iter().filter(|f| f.in_the_way(self.taken_over)).collect();
                    self.tell(&found, &mut said, Instant::now());
                    blind.clear();
                }
                Err(Unread { about, error }) => {
                    let text = format!("{about} cannot be read: {}", super::client::explain(&error));
                    if text != blind {
                        warn!("whether {} left webhooks behind is not known: {text}", self.traits.peer);
                    }
                    blind = text;
                }
            }
            sleep(LOOK).await;
        }
    }

    fn tell(&self, found: &[Found], said: &mut BTreeMap<ObjectRef, (String, Instant)>, now: Instant) {
        let objects: BTreeSet<&ObjectRef> = found.iter().map(|f| &f.object).collect();
        self.metrics.in_the_way.set(i64::try_from(objects.len()).unwrap_or(i64::MAX));
        said.retain(|object, _| {
            let there = objects.contains(object);
            if !there {
                info!(%object, "a webhook of {} is not in the way any more", self.traits.peer);
            }
            there
        });
        for one in found {
            let message = one.message();
            let known = said.get(&one.object).filter(|(text, _)| *text == message);
            if known.is_none() {
                warn!(object = %one.object, "{message}");
            }
            if known.is_none_or(|(_, at)| now.duration_since(*at) >= AGAIN) {
                said.insert(one.object.clone(), (message.clone(), now));
                let (object, reason) = (one.object.clone(), REASON.to_owned());
                self.events.send(EventNote { object, warning: true, reason, message });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PEER: Traits = Traits { peer: "the peer", suffix: ".peer.example", group: "" };

    fn mutating(webhooks: serde_json::Value) -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({"metadata": {"name": "theirs", "uid": "u"}, "webhooks": webhooks}))
            .expect("a configuration")
    }

    fn one(
        name: &str,
        service: &str,
        policy: Option<&str>,
        group: &str,
        resource: &str,
    ) -> serde_json::Value {
        json!({"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": policy,
            "clientConfig": {"service": {"namespace": "n", "name": service}},
            "rules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}]})
    }

    fn found(traits: &Traits, webhooks: serde_json::Value) -> Vec<Found> {
        let configuration = mutating(webhooks);
        of_peer(traits, MUTATING, &configuration.metadata.clone(), webhooks!(configuration))
    }

    #[test]
    fn a_configuration_is_known_by_the_name_of_one_of_its_webhooks() {
        let webhooks = json!([
            one("mservice.peer.example", "s", Some("Fail"), "", "services"),
            one("mpod.peer.example", "s", Some("Ignore"), "", "pods"),
            one("other.example", "s", None, "networking.k8s.io", "ingresses"),
        ]);
        let all = found(&PEER, webhooks.clone());
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].service.as_str(), all[0].object.name.as_str()), ("n/s", "theirs"));
        assert_eq!(all[0].refused, ["ingresses.networking.k8s.io", "services"].map(str::to_owned).into());
        assert!(all[0].message().ends_with("kubectl delete mutatingwebhookconfiguration theirs"), "{all:?}");
        assert!(found(&Traits { suffix: ".nobody", ..PEER }, webhooks).is_empty());
    }

    #[test]
    fn or_by_a_group_that_its_webhooks_are_asked_about() {
        let by_group = Traits { peer: "the peer", suffix: "", group: "kinds.example" };
        let webhooks = json!([
            one("a.example", "s", None, "kinds.example", "pools"),
            one("b.example", "other", None, "", "services"),
        ]);
        let all = found(&by_group, webhooks);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].refused, ["pools.kinds.example".to_owned()].into());
        let outside = json!([{"name": "a.peer.example", "clientConfig": {"url": "https://x"}, "admissionReviewVersions": ["v1"], "sideEffects": "None"}]);
        assert!(found(&PEER, outside).is_empty(), "no Service is asked");
    }

    #[test]
    fn what_nobody_answers_is_in_the_way_and_what_is_answered_where_the_work_is_ours() {
        let webhooks = json!([one("m.peer.example", "s", Some("Fail"), "", "services")]);
        let mut asked = found(&PEER, webhooks).remove(0);
        assert!(asked.in_the_way(false) && asked.in_the_way(true));
        asked.answered = true;
        assert!(!asked.in_the_way(false) && asked.in_the_way(true));
        assert!(asked.message().contains("goes on answering"), "{}", asked.message());
        asked.answered = false;
        asked.refused.clear();
        assert!(!asked.in_the_way(true), "it is ignored where it does not answer");
    }

    #[test]
    fn only_a_ready_endpoint_with_an_address_answers() {
        let slices = |ready: serde_json::Value, addresses: serde_json::Value| -> Vec<EndpointSlice> {
            let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": [{"addresses": addresses, "conditions": {"ready": ready}}]});
            vec![serde_json::from_value(slice).expect("a slice")]
        };
        assert!(!answered(&[]));
        assert!(answered(&slices(json!(true), json!(["192.0.2.1"]))));
        assert!(answered(&slices(json!(null), json!(["192.0.2.1"]))));
        assert!(!answered(&slices(json!(false), json!(["192.0.2.1"]))));
        assert!(!answered(&slices(json!(true), json!([]))));
    }
}
