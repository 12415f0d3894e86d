//! Kubernetes as the engine needs it: [`Cluster`] by the API server. I/O; patches are [`status`]'s, classes of errors are judged here.
//!
//! Invariants: a write has one time limit, [`WRITE_TIME`], and is never repeated here; whether it took effect after a time-out
//! shows in the watch. Existence is always a live read.

use std::time::Duration;

use causeway_api::{Condition, Kind, ObjectRef, OwnKind, OwnStatus, names};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::events::Events;
use super::types::{MetaOnly, Own};
use super::{client, records, status, watch, webhooks};
use crate::engine::cluster::{Cluster, ClusterError, EventNote, Wanted, Written};
use crate::state::index::Record;
use crate::state::records::{OwnRecord, Path, PodRecord};

/// Longest that a write of ours takes.
pub const WRITE_TIME: Duration = Duration::from_secs(5);

/// Longest that a live read takes.
const READ_TIME: Duration = Duration::from_secs(30);

/// The cluster behind a client.
#[derive(Clone)]
pub struct KubeCluster {
    client: Client,
    kinds: Vec<OwnKind>,
    events: Events,
}

impl KubeCluster {
    /// `kinds` are the provider's own kinds.
    #[must_use]
    pub fn new(client: Client, kinds: Vec<OwnKind>, events: Events) -> Self {
        Self { client, kinds, events }
    }

    fn api<K>(&self, resource: &ApiResource, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
    {
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, resource)
        }
    }

    /// Status and finalizers of an object of an own kind, in two writes: its status first, for without finalizer it may be gone.
    async fn write_own_member(
        &self,
        own: &OwnRecord,
        want: &Wanted,
        resource: &ApiResource,
    ) -> Result<Written, ClusterError> {
        let api: Api<MetaOnly> = self.api(resource, &own.meta.namespace);
        let (name, params) = (&own.meta.name, params());
        let mut written = Written::Unchanged;
        let mut version = own.meta.resource_version.clone();
        if let Some(mut patch) = status::own_status(own, want) {
            patch["metadata"] = json!({ "resourceVersion": version });
            let patch = Patch::Merge(patch);
            let sent = timeout(WRITE_TIME, api.patch_status(name, &params, &patch)).await;
            written = judge(sent, "patch", resource)?.of();
            match &written {
                Written::Written(new) => version.clone_from(new),
                // The definition may have no status: then there is none to write.
                Written::Gone => written = Written::Unchanged,
                Written::Conflict | Written::Unchanged => return Ok(written),
            }
        }
        if let Some(mut patch) = status::own_finalizers(own, want) {
            patch["metadata"]["resourceVersion"] = version.into();
            let patch = Patch::Merge(patch);
            let sent = timeout(WRITE_TIME, api.patch(name, &params, &patch)).await;
            written = judge(sent, "patch", resource)?.of();
        }
        Ok(written)
    }

    fn resource(&self, kind: &Kind) -> Result<ApiResource, ClusterError> {
        resource(&self.kinds, kind)
            .ok_or_else(|| ClusterError::Rejected(format!("{} is no kind of this provider", kind.as_str())))
    }
}

/// kube's description of a built-in kind.
fn full(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// kube's description of a kind.
#[must_use]
pub fn resource(kinds: &[OwnKind], kind: &Kind) -> Option<ApiResource> {
    match kind {
        Kind::Service => Some(full("", "Service", "services")),
        Kind::Ingress => Some(full("networking.k8s.io", "Ingress", "ingresses")),
        Kind::Node => Some(full("", "Node", "nodes")),
        Kind::Own(own) => match kinds.iter().find(|k| k.kind == own) {
            Some(k) => Some(watch::api_resource(k)),
            None if own == "Namespace" => Some(full("", "Namespace", "namespaces")),
            None if own == webhooks::MUTATING => {
                Some(full(webhooks::GROUP, own, "mutatingwebhookconfigurations"))
            }
            None if own == webhooks::VALIDATING => {
                Some(full(webhooks::GROUP, own, "validatingwebhookconfigurations"))
            }
            None => None,
        },
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

impl Cluster for KubeCluster {
    async fn write(&self, record: &Record, want: &Wanted) -> Result<Written, ClusterError> {
        let object = record.object();
        let resource = self.resource(&object.kind)?;
        if let Record::Own(own) = record {
            return self.write_own_member(own, want, &resource).await;
        }
        let Some(patch) = status::patch(record, want, jiff::Timestamp::now()) else {
            return Ok(Written::Unchanged);
        };
        let api: Api<MetaOnly> = self.api(&resource, &object.namespace);
        let (params, patch) = (params(), Patch::Strategic(patch));
        let sent = api.patch_status(&object.name, &params, &patch);
        judge(timeout(WRITE_TIME, sent).await, "patch", &resource).map(|written| written.of())
    }

    async fn write_own(&self, status: &OwnStatus) -> Result<Written, ClusterError> {
        let resource = self.resource(&status.object.kind)?;
        let api: Api<Own> = self.api(&resource, &status.object.namespace);
        let there = match judge(timeout(WRITE_TIME, api.get(&status.object.name)).await, "get", &resource)? {
            Sent::Answer(there) => there,
            other => return Ok(other.of()),
        };
        if !status.object.uid.is_empty() && there.metadata.uid.as_deref() != Some(&status.object.uid) {
            return Ok(Written::Gone);
        }
        let Some(difference) = difference(&there.status, &status.status) else {
            return Ok(Written::Unchanged);
        };
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": there.metadata.resource_version },
            "status": difference,
        }));
        let params = params();
        let sent = api.patch_status(&status.object.name, &params, &patch);
        judge(timeout(WRITE_TIME, sent).await, "patch", &resource).map(|written| written.of())
    }

    async fn write_gates(&self, pod: &PodRecord, conditions: &[Condition]) -> Result<Written, ClusterError> {
        let resource = full("", "Pod", "pods");
        let api: Api<MetaOnly> = self.api(&resource, &pod.path.namespace);
        let patch = Patch::Strategic(status::gates(pod, conditions, jiff::Timestamp::now()));
        let params = params();
        let sent = api.patch_status(&pod.path.name, &params, &patch);
        judge(timeout(WRITE_TIME, sent).await, "patch", &resource).map(|written| written.of())
    }

    async fn exists(&self, object: &ObjectRef) -> Result<bool, ClusterError> {
        let resource = self.resource(&object.kind)?;
        let failed = |e: kube::Error, verb| match class(&e, verb, &resource) {
            Ok(_) => ClusterError::Transient(super::chain(&e)),
            Err(error) => error,
        };
        let late = |_| ClusterError::Transient(format!("no answer within {READ_TIME:?}"));
        if !object.name.is_empty() {
            let read = client::uid(&self.client, &resource, &object.namespace, &object.name);
            let uid = timeout(READ_TIME, read).await.map_err(late)?.map_err(|e| failed(e, "get"))?;
            return Ok(uid.is_some_and(|uid| uid == *object.uid));
        }
        // Known by its uid alone (a tag in the cloud): there is no index by uid, so all are read, as metadata.
        let api: Api<MetaOnly> = self.api(&resource, "");
        let mut page = ListParams::default().limit(500);
        loop {
            let list =
                timeout(READ_TIME, api.list(&page)).await.map_err(late)?.map_err(|e| failed(e, "list"))?;
            if list.items.iter().any(|o| o.metadata.uid.as_deref() == Some(&object.uid)) {
                return Ok(true);
            }
            match list.metadata.continue_.filter(|c| !c.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(false),
            }
        }
    }

    async fn services(&self) -> Result<Vec<(Path, String)>, ClusterError> {
        let resource = self.resource(&Kind::Service)?;
        // As metadata; and without a resourceVersion in the request, which makes the API server answer with what etcd has.
        let api: Api<MetaOnly> = self.api(&resource, "");
        let mut page = ListParams::default().fields("spec.type=LoadBalancer").limit(500);
        let mut services = Vec::new();
        loop {
            let list = match timeout(READ_TIME, api.list(&page)).await {
                Ok(Ok(list)) => list,
                Ok(Err(error)) => {
                    return Err(match class(&error, "list", &resource) {
                        Ok(_) => ClusterError::Transient(super::chain(&error)),
                        Err(error) => error,
                    });
                }
                Err(_) => return Err(ClusterError::Transient(format!("no answer within {READ_TIME:?}"))),
            };
            services.extend(
                list.items
                    .into_iter()
                    .map(|o| (records::path(&o.metadata), o.metadata.resource_version.unwrap_or_default())),
            );
            match list.metadata.continue_.filter(|c| !c.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(services),
            }
        }
    }

    fn event(&self, event: EventNote) {
        self.events.send(event);
    }
}

/// How a request ended that may be refused in a way that is no error.
enum Sent<K> {
    Answer(K),
    Conflict,
    Gone,
}

impl<K: kube::Resource> Sent<K> {
    fn of(self) -> Written {
        match self {
            Self::Answer(o) => Written::Written(o.meta().resource_version.clone().unwrap_or_default()),
            Self::Conflict => Written::Conflict,
            Self::Gone => Written::Gone,
        }
    }
}

fn judge<K>(
    result: Result<kube::Result<K>, tokio::time::error::Elapsed>,
    verb: &str,
    resource: &ApiResource,
) -> Result<Sent<K>, ClusterError> {
    match result {
        Ok(Ok(answer)) => Ok(Sent::Answer(answer)),
        Ok(Err(error)) => class(&error, verb, resource).map(|written| match written {
            Written::Conflict => Sent::Conflict,
            _ => Sent::Gone,
        }),
        Err(_) => {
            Err(ClusterError::Transient(format!("no answer from the API server within {WRITE_TIME:?}")))
        }
    }
}

/// The class of an error: 409 and 404 are answers. Pure.
fn class(error: &kube::Error, verb: &str, resource: &ApiResource) -> Result<Written, ClusterError> {
    let kube::Error::Api(status) = error else {
        return Err(ClusterError::Transient(client::explain(error)));
    };
    match status.code {
        404 => Ok(Written::Gone),
        409 => Ok(Written::Conflict),
        403 => {
            let mut name = resource.plural.clone();
            if verb == "patch" {
                name.push_str("/status");
            }
            if !resource.group.is_empty() {
                name = format!("{name} ({})", resource.group);
            }
            Err(ClusterError::Forbidden { verb: verb.to_owned(), resource: name })
        }
        400 | 405 | 413 | 415 | 422 => Err(ClusterError::Rejected(status.message.clone())),
        _ => Err(ClusterError::Transient(client::explain(error))),
    }
}

/// The merge patch (RFC 7386) that makes `want` of `have`; `None` if they are the same. Pure.
fn difference(have: &Value, want: &Value) -> Option<Value> {
    match (have, want) {
        (have, want) if have == want => None,
        (Value::Object(have), Value::Object(want)) => {
            let mut out = Map::new();
            for name in have.keys().filter(|name| !want.contains_key(*name)) {
                out.insert(name.clone(), Value::Null);
            }
            for (name, value) in want {
                match have.get(name) {
                    Some(old) => out.extend(difference(old, value).map(|d| (name.clone(), d))),
                    None => out.extend(Some((name.clone(), value.clone()))),
                }
            }
            Some(out.into())
        }
        (_, want) => Some(want.clone()),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn differences_are_merge_patches() {
        let have = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2], "gone": true});
        let want = json!({"a": 1, "b": {"c": 1, "d": 3}, "e": [1], "new": null});
        assert_eq!(difference(&have, &have), None);
        assert_eq!(
            difference(&have, &want),
            Some(json!({"gone": null, "b": {"d": 3}, "e": [1], "new": null}))
        );
        assert_eq!(difference(&Value::Null, &json!({"a": 1})), Some(json!({"a": 1})));
    }

    #[test]
    fn errors_have_classes() {
        let services = resource(&[], &Kind::Service).expect("known");
        let of = |code: u16| {
            let status = Status::failure("why", "").with_code(code);
            class(&kube::Error::Api(Box::new(status)), "patch", &services)
        };
        assert_eq!(of(404), Ok(Written::Gone));
        assert_eq!(of(409), Ok(Written::Conflict));
        assert_eq!(
            of(403),
            Err(ClusterError::Forbidden { verb: "patch".into(), resource: "services/status".into() })
        );
        assert_eq!(of(422), Err(ClusterError::Rejected("why".into())));
        for code in [401, 429, 500, 503, 504] {
            assert!(matches!(of(code), Err(ClusterError::Transient(_))), "{code}");
        }
    }

    #[test]
    fn kinds_are_found_by_name() {
        let own = OwnKind {
            group: "metallb.io",
            version: "v1beta1",
            also: &[],
            kind: "IPAddressPool",
            plural: "ipaddresspools",
            scope: causeway_api::KindScope::ConfigNamespace,
            members: false,
            made_by_others: &[],
            required: true,
        };
        let found = resource(&[own], &Kind::Own("IPAddressPool".into())).expect("known");
        assert_eq!(
            (found.api_version.as_str(), found.plural.as_str()),
            ("metallb.io/v1beta1", "ipaddresspools")
        );
        assert_eq!(resource(&[], &Kind::Own("Other".into())), None);
        assert_eq!(
            resource(&[], &Kind::Ingress).map(|r| r.api_version).as_deref(),
            Some("networking.k8s.io/v1")
        );
    }
}
