//! `causeway release`: takes our marks off Services and Ingresses of the running cluster, for uninstalling, or for going back to another
//! controller. What is ours and what it shall carry is decided purely; the rest is I/O.
//!
//! Ours is a Service with a condition of our domain, which the controller writes together with the finalizer. The finalizer alone says nothing:
//! every cloud controller sets the same one, and one that another set guards load balancers that we know nothing of. The finalizer of Ingresses is
//! our own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::bail;
use causeway_api::{OwnKind, names};
use futures::{StreamExt, stream};
use kube::Api;
use kube::api::ListParams;
use prometheus_client::registry::Registry;

use super::commands::print;
use super::config::ReleaseConfig;
use super::provider::Provider;
use crate::engine::cluster::{Cluster, ClusterError, Wanted, Written};
use crate::kube::client::{Connection, explain};
use crate::kube::cluster::KubeCluster;
use crate::kube::events::Events;
use crate::kube::records::{self, Skipped};
use crate::kube::{lease, types};
use crate::state::index::Record;
use crate::state::records::OwnRecord;

/// Objects written at once.
const AT_ONCE: usize = 16;
/// How often an object is read and written again that somebody else changes meanwhile.
const TRIES: usize = 5;
/// Objects in a page of a list.
const PAGE: u32 = 500;

/// Whether an object carries our marks, and which class it must have: any, if none is given.
fn is_ours(record: &Record, classes: &[String]) -> bool {
    match record {
        Record::Service(service) => {
            let of_class =
                classes.is_empty() || service.class.as_ref().is_some_and(|class| classes.contains(class));
            let marked =
                |kind: &str| kind.strip_prefix(names::DOMAIN).is_some_and(|rest| rest.starts_with('/'));
            of_class && service.conditions.iter().any(|c| marked(&c.kind))
        }
        Record::Ingress(_) | Record::Own(_) => record.has_finalizer(),
    }
}

/// What an object of ours shall carry, and the words for it.
fn released(record: &Record, keep: bool, own_annotations: &[&str]) -> (Wanted, String) {
    let deleting = record.meta().deleting;
    let want =
        if keep && !deleting { Wanted::unmarked(record) } else { Wanted::farewell(record, own_annotations) };
    let points: &[_] = match record {
        Record::Service(service) => &service.ingress,
        Record::Ingress(ingress) => &ingress.ingress,
        Record::Own(_) => &[],
    };
    let addresses: Vec<String> =
        points.iter().filter_map(|p| p.ip.map(|ip| ip.to_string()).or_else(|| p.hostname.clone())).collect();
    let addresses = match (deleting, addresses.is_empty(), keep) {
        (true, ..) => "it was being deleted and goes now".to_owned(),
        (_, true, _) => "it has no address".to_owned(),
        (_, _, true) => format!("keeps {}", addresses.join(", ")),
        (_, _, false) => format!("gives back {}", addresses.join(", ")),
    };
    (want, format!("marks taken away, {addresses}"))
}

/// How it went with one object.
enum Outcome {
    Released(String),
    Failed(String),
}

/// Runs the command; answers the exit status: 2 if an object could not be released.
///
/// # Errors
/// No way to the API server, no list, or a controller that leads.
pub async fn run(config: ReleaseConfig) -> anyhow::Result<u8> {
    let connection = Connection::configure(&(&config.kube).into(), &mut Registry::default()).await?;
    let client = connection.client();
    let name = format!("{}/{}", config.lease.namespace, config.lease.name);
    if !config.dry_run && !config.force {
        let held = lease::holder(client.clone(), &config.lease.namespace, &config.lease.name).await;
        match held {
            Err(error) => bail!("Lease {name} cannot be read: {}", explain(&error)),
            Ok(Some(holder)) => bail!(
                "a controller leads ({holder} holds Lease {name}) and would put back what is taken away: stop it first, as with \
                 kubectl -n kube-system scale deployment/causeway --replicas=0, or give --force"
            ),
            Ok(None) => {}
        }
    }
    let own_annotations = own_annotations(config.provider);
    let kinds = own_members(config.provider);
    let cluster = KubeCluster::new(client.clone(), kinds.clone(), Events::silent());
    let objects = Objects { services: Api::all(client.clone()), ingresses: Api::all(client), kinds };
    let all = objects.list().await.map_err(|error| anyhow::anyhow!("{}", explain(&error)))?;
    let ours: Vec<Record> =
        all.into_iter().filter(|record| is_ours(record, &config.load_balancer_classes)).collect();
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    let mut writes = stream::iter(ours)
        .map(async |record| {
            let object = record.object().to_string();
            (object, release(&objects, &cluster, record, &config, own_annotations).await)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((object, outcome)) = writes.next().await {
        outcomes.insert(object, outcome);
    }
    print(&report(&outcomes, &config))?;
    Ok(if outcomes.values().any(|o| matches!(o, Outcome::Failed(_))) { 2 } else { 0 })
}

fn own_annotations(provider: Provider) -> &'static [&'static str] {
    match provider {
        #[cfg(feature = "aws")]
        Provider::Aws => &[],
        #[cfg(feature = "metal")]
        Provider::Metal => causeway_api::CloudProvider::own_annotations(&causeway_metal::Metal::default()),
        #[cfg(feature = "openstack")]
        Provider::OpenStack => causeway_api::CloudProvider::own_annotations(
            &causeway_openstack::OpenStack::offline(Default::default()),
        ),
        #[cfg(feature = "model")]
        Provider::Model => &[],
    }
}

/// Own kinds whose objects are members.
fn own_members(provider: Provider) -> Vec<OwnKind> {
    let kinds: Vec<OwnKind> = match provider {
        #[cfg(feature = "aws")]
        Provider::Aws => causeway_aws::provider::own_kinds(),
        // Their objects are configuration.
        #[cfg(feature = "metal")]
        Provider::Metal => Vec::new(),
        #[cfg(feature = "openstack")]
        Provider::OpenStack => Vec::new(),
        #[cfg(feature = "model")]
        Provider::Model => Vec::new(),
    };
    kinds.into_iter().filter(|kind| kind.members).collect()
}

async fn release(
    objects: &Objects,
    cluster: &KubeCluster,
    mut record: Record,
    config: &ReleaseConfig,
    own_annotations: &[&str],
) -> Outcome {
    for _ in 0..TRIES {
        let (want, words) = released(&record, config.keep, own_annotations);
        if config.dry_run {
            return Outcome::Released(words);
        }
        match cluster.write(&record, &want).await {
            Ok(Written::Written(_) | Written::Unchanged | Written::Gone) => return Outcome::Released(words),
            Ok(Written::Conflict) => {}
            Err(error @ (ClusterError::Forbidden { .. } | ClusterError::Rejected(_))) => {
                return Outcome::Failed(error.to_string());
            }
            Err(ClusterError::Transient(why)) => tracing::debug!(object = %record.object(), why, "again"),
        }
        match objects.again(&record).await {
            Ok(Some(fresh)) => record = fresh,
            Ok(None) => return Outcome::Released("gone meanwhile".to_owned()),
            Err(error) => return Outcome::Failed(explain(&error)),
        }
    }
    Outcome::Failed(format!("somebody else changed it {TRIES} times meanwhile: run this command again"))
}

fn report(outcomes: &BTreeMap<String, Outcome>, config: &ReleaseConfig) -> String {
    let mut out = String::new();
    for (object, outcome) in outcomes {
        let _ = match outcome {
            Outcome::Released(words) => writeln!(out, "{object}: {words}"),
            Outcome::Failed(why) => writeln!(out, "{object}: FAILED: {why}"),
        };
    }
    let failed = outcomes.values().filter(|o| matches!(o, Outcome::Failed(_))).count();
    let done = outcomes.len() - failed;
    let _ = match (outcomes.is_empty(), config.dry_run) {
        (true, _) => writeln!(out, "nothing to release: no object carries our marks"),
        (_, true) => writeln!(out, "{done} would be released; nothing was written"),
        (_, false) => writeln!(out, "{done} released, {failed} failed"),
    };
    out
}

/// The kinds that may carry our marks.
struct Objects {
    services: Api<types::Service>,
    ingresses: Api<types::Ingress>,
    kinds: Vec<OwnKind>,
}

impl Objects {
    async fn list(&self) -> kube::Result<Vec<Record>> {
        let services = pages(&self.services).await?.into_iter().map(service);
        let ingresses = pages(&self.ingresses).await?.into_iter().map(ingress);
        let mut all: Vec<Record> = services.chain(ingresses).collect();
        for kind in &self.kinds {
            match self.own_of(kind, "").list(&ListParams::default()).await {
                Ok(list) => all.extend(list.items.into_iter().map(|object| own(kind, object))),
                // Whoever did not install the definition has none.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The object as it is now, unless it is gone or another of that name.
    async fn again(&self, record: &Record) -> kube::Result<Option<Record>> {
        let meta = record.meta();
        let fresh = match record {
            Record::Service(_) => self.services_of(&meta.namespace).get_opt(&meta.name).await?.map(service),
            Record::Ingress(_) => self.ingresses_of(&meta.namespace).get_opt(&meta.name).await?.map(ingress),
            Record::Own(object) => match self.kinds.iter().find(|kind| kind.kind == object.kind) {
                Some(kind) => self
                    .own_of(kind, &meta.namespace)
                    .get_opt(&meta.name)
                    .await?
                    .map(|object| own(kind, object)),
                None => None,
            },
        };
        Ok(fresh.filter(|fresh| fresh.meta().uid == meta.uid))
    }

    fn services_of(&self, namespace: &str) -> Api<types::Service> {
        Api::namespaced(self.services.clone().into_client(), namespace)
    }

    /// Objects of an own kind, of all namespaces where none is named.
    fn own_of(&self, kind: &OwnKind, namespace: &str) -> Api<types::Own> {
        let resource = crate::kube::watch::api_resource(kind);
        let client = self.services.clone().into_client();
        if namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, namespace, &resource)
        }
    }

    fn ingresses_of(&self, namespace: &str) -> Api<types::Ingress> {
        Api::namespaced(self.ingresses.clone().into_client(), namespace)
    }
}

/// All objects, page by page.
pub(super) async fn pages<K>(api: &Api<K>) -> kube::Result<Vec<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut all = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        all.extend(list.items);
        match list.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(all),
        }
    }
}

fn service(object: types::Service) -> Record {
    Record::Service(records::service(object, &mut Skipped::default()).into())
}

fn own(kind: &OwnKind, object: types::Own) -> Record {
    Record::Own(OwnRecord::of(&records::own(kind.kind, object)).into())
}

fn ingress(object: types::Ingress) -> Record {
    Record::Ingress(records::ingress(object, &mut Skipped::default()).into())
}

#[cfg(test)]
mod tests {
    use causeway_api::Condition;

    use super::*;
    use crate::kube::status;
    use crate::state::records::ServiceRecord;

    const ANNOTATION: &str = "metallb.io/ip-allocated-from-pool";

    fn served() -> ServiceRecord {
        let mut service = ServiceRecord::test().port(80).status_ip("192.0.2.1").annotation(ANNOTATION, "lan");
        service.meta.finalizers = vec!["example.com/theirs".to_owned(), names::FINALIZER.to_owned()];
        service.conditions = vec![Condition {
            kind: names::CONDITION_READY.to_owned(),
            status: true,
            reason: "Serving".to_owned(),
            message: String::new(),
        }];
        service
    }

    fn record(service: ServiceRecord) -> Record {
        Record::Service(service.into())
    }

    /// The patch as the API server gets it.
    fn patch(service: ServiceRecord, keep: bool) -> serde_json::Value {
        let record = record(service);
        let (want, _) = released(&record, keep, &[ANNOTATION]);
        status::patch(&record, &want, jiff::Timestamp::UNIX_EPOCH).unwrap_or_default()
    }

    #[test]
    fn ours_is_what_carries_our_condition() {
        assert!(is_ours(&record(served()), &[]));
        let mut theirs = served();
        theirs.conditions.clear();
        assert!(!is_ours(&record(theirs), &[]), "a finalizer alone may be any controller's");
        let classes = ["example.com/ours".to_owned()];
        assert!(!is_ours(&record(served()), &classes));
        assert!(is_ours(&record(served().class("example.com/ours")), &classes));
    }

    #[test]
    fn kept_services_lose_our_marks_and_nothing_else() {
        assert_eq!(
            patch(served(), true),
            serde_json::json!({
                "metadata": {"$deleteFromPrimitiveList/finalizers": [names::FINALIZER]},
                "status": {"conditions": [{"$patch": "delete", "type": names::CONDITION_READY}]},
            })
        );
    }

    #[test]
    fn released_services_give_their_addresses_back() {
        let patch = patch(served(), false);
        assert_eq!(patch["status"]["loadBalancer"], serde_json::json!({"ingress": []}));
        assert_eq!(patch["metadata"]["annotations"][ANNOTATION], serde_json::Value::Null);
        assert!(patch["metadata"]["annotations"].as_object().is_some_and(|a| a.contains_key(ANNOTATION)));
    }

    #[test]
    fn what_is_being_deleted_is_let_go() {
        let mut service = served();
        service.meta.deleting = true;
        assert_eq!(
            patch(service, true),
            serde_json::json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [names::FINALIZER]}})
        );
    }
}
