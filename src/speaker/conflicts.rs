//! `AddressConflict` objects: who else on the segment uses an address of ours, as this node's speaker met him. [`read`] is pure, [`keep`] does the I/O.
//!
//! Nothing waits for these objects: an address that is in conflict is withheld or defended whether they can be written or not. What cannot be written
//! is tried again; a newer word about the same address takes the place of an older one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use causeway_api::{OwnObjects, names};
use causeway_metal::kinds::{AddressConflict, AddressConflictSpec, ConflictPhase};
use causeway_speaker::inquiry::{Phase, Reported};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, Resource};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::kube::client::explain;

/// Time between tries after a failure.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    phase: &'static str,
}

/// How many conflicts are reported.
#[derive(Clone, Debug)]
pub struct ConflictMetrics(Family<ByPhase, Gauge>);

impl ConflictMetrics {
    /// Registers it, at zero. The registry's prefix is `causeway`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self(Family::default());
        registry.register(
            "speaker_address_conflicts",
            "Addresses of pools that somebody else on the segment uses, as any speaker reported, by whether they are announced",
            metrics.0.clone(),
        );
        metrics.set(&BTreeMap::new());
        metrics
    }

    /// These are reported now.
    pub fn set(&self, reported: &BTreeMap<IpAddr, Reported>) {
        for (phase, label) in [(Phase::Probe, "probe"), (Phase::Announced, "announced")] {
            let count = reported.values().filter(|r| r.phase == phase).count();
            self.0.get_or_create(&ByPhase { phase: label }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// What was found out about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// Somebody else uses it.
    Other {
        /// His hardware address.
        mac: String,
        /// Our interface on which he was met.
        interface: String,
        /// Whether we announce the address.
        phase: Phase,
    },
    /// Nobody else uses it any more.
    Nobody,
}

/// The conflicts that are reported, by address. An object that cannot be read is none.
#[must_use]
pub fn read(objects: &OwnObjects) -> BTreeMap<IpAddr, Reported> {
    let conflict = |spec: &serde_json::Value| {
        let spec: AddressConflictSpec = serde_json::from_value(spec.clone()).ok()?;
        let phase = match spec.phase {
            ConflictPhase::Probe => Phase::Probe,
            ConflictPhase::Announced => Phase::Announced,
        };
        Some((spec.address.parse().ok()?, Reported { mac: spec.mac.parse().ok(), phase, node: spec.node }))
    };
    objects.of("AddressConflict").filter_map(|object| conflict(&object.spec)).collect()
}

/// Writes and deletes until nobody tells anything any more.
pub async fn keep(
    client: Client,
    namespace: String,
    node: String,
    mut told: mpsc::UnboundedReceiver<(IpAddr, Met)>,
) {
    let api: Api<AddressConflict> = Api::namespaced(client, &namespace);
    let mut first_seen: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut pending: BTreeMap<IpAddr, Met> = BTreeMap::new();
    loop {
        if pending.is_empty() {
            let Some((address, met)) = told.recv().await else { return };
            pending.insert(address, met);
        }
        while let Ok((address, met)) = told.try_recv() {
            pending.insert(address, met);
        }
        let mut failed = None;
        for (address, met) in std::mem::take(&mut pending) {
            let done = match &met {
                Met::Nobody => {
                    first_seen.remove(&address);
                    delete(&api, address).await
                }
                Met::Other { mac, interface, phase } => {
                    let since = match first_seen.get(&address) {
                        Some(since) => Ok(since.clone()),
                        None => since(&api, address).await,
                    };
                    match since {
                        Ok(since) => {
                            let spec = AddressConflictSpec {
                                address: address.to_string(),
                                mac: mac.clone(),
                                phase: match phase {
                                    Phase::Probe => ConflictPhase::Probe,
                                    Phase::Announced => ConflictPhase::Announced,
                                },
                                node: node.clone(),
                                interface: interface.clone(),
                                first_seen: Some(since.clone()),
                            };
                            first_seen.insert(address, since);
                            apply(&api, address, &spec).await
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            if let Err(error) = done {
                failed = Some(error);
                pending.insert(address, met);
            }
        }
        if let Some(error) = failed {
            warn!(
                waiting = pending.len(),
                "AddressConflict objects of namespace {namespace} cannot be written: {}",
                explain(&error)
            );
            sleep(RETRY).await;
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string()
}

/// When it was met first, by whichever speaker.
async fn since(api: &Api<AddressConflict>, address: IpAddr) -> kube::Result<String> {
    let object = api.get_opt(&AddressConflict::name_of(address)).await?;
    Ok(object.and_then(|object| object.spec.first_seen).unwrap_or_else(now))
}

async fn apply(api: &Api<AddressConflict>, address: IpAddr, spec: &AddressConflictSpec) -> kube::Result<()> {
    let name = AddressConflict::name_of(address);
    let object = json!({
        "apiVersion": AddressConflict::api_version(&()),
        "kind": AddressConflict::kind(&()),
        "metadata": {"name": name},
        "spec": spec,
        "status": {"lastSeen": now()},
    });
    // All of the object is ours, whichever speaker wrote it before.
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(&object)).await.map(|_| ())
}

async fn delete(api: &Api<AddressConflict>, address: IpAddr) -> kube::Result<()> {
    match api.delete(&AddressConflict::name_of(address), &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::OwnObject;

    use super::*;

    fn object(spec: serde_json::Value) -> OwnObject {
        OwnObject::new("AddressConflict", "metallb-system", "it", spec)
    }

    #[test]
    fn what_cannot_be_read_is_no_conflict() {
        let sound = |address: &str, mac: &str| {
            object(
                json!({"address": address, "mac": mac, "phase": "Probe", "node": "n1", "interface": "eth0"}),
            )
        };
        let objects = vec![
            sound("192.0.2.1", "02:00:00:00:00:01"),
            sound("2001:db8::1", "infiniband"),
            sound("nowhere", "02:00:00:00:00:01"),
            object(json!({"address": "192.0.2.2"})),
        ];
        let read = read(&OwnObjects { objects, ..OwnObjects::default() });
        assert_eq!(read.len(), 2);
        let first = &read[&"192.0.2.1".parse().expect("an address")];
        assert_eq!(first.mac.map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!((first.phase, first.node.as_str()), (Phase::Probe, "n1"));
        assert_eq!(read[&"2001:db8::1".parse().expect("an address")].mac, None);
    }
}
