//! The `ConfigurationState` of this component, kept as what it found says. I/O; the verdict is [`ConfigurationStateStatus::of`].
//!
//! Invariants: written when the verdict differs from what is there, and read again seldom ([`LOOK_AGAIN`]), in case somebody deleted it. It is never in
//! anybody's way: a right or a definition that is missing is said once, and tried again slowly.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_api::names::FIELD_MANAGER;
use causeway_api::{Problem, Severity};
use causeway_metal::kinds::configuration_state::ConfigurationStateStatus;
use causeway_metal::kinds::{GROUP, VERSION};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::explain;

/// How often the object is looked at though nothing changed.
const LOOK_AGAIN: Duration = Duration::from_secs(900);
/// Changes that come close together are one write.
const SETTLE: Duration = Duration::from_millis(500);
/// Longest that one request takes.
const REQUEST: Duration = Duration::from_secs(5);
/// First and longest wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));

/// What each part of a component found wrong, by the type of its condition.
pub type Found = BTreeMap<&'static str, Vec<String>>;

/// MetalLB's metrics of what a component makes of the configuration, with its names.
#[derive(Clone, Debug)]
pub struct ConfigMetrics {
    updates: Counter,
    errors: Counter,
    loaded: Gauge,
    stale: Gauge,
}

impl ConfigMetrics {
    /// Registers them. The registry must have no prefix: these names are complete.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            updates: Counter::default(),
            errors: Counter::default(),
            loaded: Gauge::default(),
            stale: Gauge::default(),
        };
        registry.register(
            "metallb_k8s_client_updates",
            "Changes of pools and advertisements that were taken in",
            metrics.updates.clone(),
        );
        registry.register(
            "metallb_k8s_client_update_errors",
            "Changes of pools and advertisements after which part of them was refused",
            metrics.errors.clone(),
        );
        registry.register(
            "metallb_k8s_client_config_loaded_bool",
            "1 if pools and advertisements were read at least once",
            metrics.loaded.clone(),
        );
        registry.register(
            "metallb_k8s_client_config_stale_bool",
            "1 while part of the pools and advertisements is refused, so that what was valid of them counts",
            metrics.stale.clone(),
        );
        metrics
    }

    /// The configuration was read anew.
    pub fn read(&self, problems: &[Problem]) {
        let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
        self.updates.inc();
        if refused {
            self.errors.inc();
        }
        self.loaded.set(1);
        self.stale.set(i64::from(refused));
    }
}

/// A problem as a line of a condition.
#[must_use]
pub fn problem_line(problem: &Problem) -> String {
    let field = if problem.field.is_empty() { String::new() } else { format!(" {}", problem.field) };
    format!("{}{field}: {}", problem.object, problem.message)
}

/// Which component it is.
#[derive(Clone, Debug)]
pub struct Component {
    /// Namespace of the configuration.
    pub namespace: String,
    /// `None`: the controller.
    pub node: Option<String>,
}

impl Component {
    fn name(&self) -> String {
        self.node.as_ref().map_or_else(|| "controller".to_owned(), |node| format!("speaker-{node}"))
    }

    fn labels(&self) -> BTreeMap<String, String> {
        use causeway_metal::names::{LABEL_COMPONENT, LABEL_NODE_NAME};
        let kind = if self.node.is_some() { "speaker" } else { "controller" };
        [
            Some((LABEL_COMPONENT, kind.to_owned())),
            self.node.clone().map(|node| (LABEL_NODE_NAME, node)),
            Some(("app.kubernetes.io/part-of", "causeway".to_owned())),
        ]
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// Keeps the object as what was found last says, until nobody can find anything any more. Nothing is written before something was found.
pub async fn keep(client: Client, component: Component, mut found: watch::Receiver<Option<Found>>) {
    let kind = ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "ConfigurationState".to_owned(),
        plural: "configurationstates".to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &component.namespace, &kind);
    let object = State { api, nodes: Api::all(client), kind, component };
    let (mut said, mut wait) = (String::new(), RETRY.0);
    loop {
        let now = found.borrow_and_update().clone();
        let pause = match now {
            None => LOOK_AGAIN,
            Some(found) => match timeout(REQUEST * 4, object.bring_to(&found)).await {
                Ok(Ok(())) => {
                    (said, wait) = (String::new(), RETRY.0);
                    LOOK_AGAIN
                }
                failed => {
                    let why = match failed {
                        Ok(Err(error)) => explain(&error),
                        _ => "no answer from the API server".to_owned(),
                    };
                    if why != said {
                        tracing::warn!(
                            "ConfigurationState {} cannot be written: {why}",
                            object.component.name()
                        );
                    }
                    said = why;
                    let pause = wait;
                    wait = (wait * 2).min(RETRY.1);
                    pause
                }
            },
        };
        tokio::select! {
            changed = found.changed() => {
                if changed.is_err() { return }
                sleep(SETTLE).await;
            }
            () = sleep(pause) => {}
        }
    }
}

struct State {
    api: Api<DynamicObject>,
    nodes: Api<Node>,
    kind: ApiResource,
    component: Component,
}

impl State {
    async fn bring_to(&self, found: &Found) -> kube::Result<()> {
        let name = self.component.name();
        let there = match self.api.get_opt(&name).await? {
            Some(there) => there,
            None => match self.create(&name).await {
                Ok(made) => made,
                // Another was faster; what it says is looked at.
                Err(kube::Error::Api(status)) if status.code == 409 => self.api.get(&name).await?,
                Err(error) => return Err(error),
            },
        };
        let before: ConfigurationStateStatus = there
            .data
            .get("status")
            .and_then(|status| serde_json::from_value(status.clone()).ok())
            .unwrap_or_default();
        let now = jiff::Timestamp::now();
        // Whole seconds: metav1.Time has no more.
        let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
        let list: Vec<(&str, Vec<String>)> = found.iter().map(|(k, v)| (*k, v.clone())).collect();
        let want = ConfigurationStateStatus::of(&list, &before, &now);
        if want == before {
            return Ok(());
        }
        // An empty summary is said, so that the merge does not leave an old one.
        let status = json!({
            "result": want.result,
            "errorSummary": want.error_summary,
            "conditions": want.conditions,
        });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.api.patch_status(&name, &params, &Patch::Merge(json!({ "status": status }))).await.map(drop)
    }

    async fn create(&self, name: &str) -> kube::Result<DynamicObject> {
        let mut object = DynamicObject::new(name, &self.kind);
        object.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.component.namespace.clone()),
            labels: Some(self.component.labels()),
            owner_references: self.owner().await?.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.api.create(&params, &object).await
    }

    /// A speaker's state goes with its node. (Not with its Pod, which may be in another namespace: that is no owner that Kubernetes
    /// would know.)
    async fn owner(&self) -> kube::Result<Option<OwnerReference>> {
        let Some(name) = &self.component.node else { return Ok(None) };
        let node = self.nodes.get_metadata_opt(name).await?;
        Ok(node.and_then(|node| node.metadata.uid).map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_metallbs() {
        let controller = Component { namespace: "n".into(), node: None };
        let speaker = Component { namespace: "n".into(), node: Some("a".into()) };
        assert_eq!((controller.name().as_str(), speaker.name().as_str()), ("controller", "speaker-a"));
        assert_eq!(controller.labels()["metallb.io/component-type"], "controller");
        assert!(!controller.labels().contains_key("metallb.io/node-name"));
        assert_eq!(speaker.labels()["metallb.io/node-name"], "a");
    }
}
