//! Pods with readiness gates of the provider's: where they are targets before they are ready, and whose. Pure.
//!
//! Kubernetes calls an endpoint ready only when its Pod is, gates included; the gate opens only when a target group finds the Pod healthy. So a Pod whose containers are
//! ready counts among the addresses of its Services like one that is ready.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use causeway_api::LbKey;

use super::super::records::{Delta, Path, PodRecord, ServiceRecord, SliceRecord};
use super::{Effects, Index, MemberId, MemberOrSecret};
use crate::engine::queue::Cause;

/// A Pod with gates, and who may send to it.
#[derive(Clone, Debug)]
pub struct GatedPod {
    /// The Pod.
    pub pod: PodRecord,
    /// Its addresses, as its Services have them.
    pub addresses: BTreeSet<IpAddr>,
    /// Load balancers that may have it as a target; `None` while a Service selects it and does not have it yet, so that nobody can tell.
    pub keys: Option<BTreeSet<LbKey>>,
}

impl Index {
    /// All Pods with gates.
    #[must_use]
    pub fn gated(&self) -> Vec<GatedPod> {
        self.pods.values().map(|pod| self.gated_pod(pod)).collect()
    }

    fn gated_pod(&self, pod: &PodRecord) -> GatedPod {
        let (mut addresses, mut keys, mut late) = (BTreeSet::new(), BTreeSet::new(), false);
        if pod.waits() {
            let holders = self.slices_with(&pod.path);
            let mut services: BTreeSet<&str> = BTreeSet::new();
            for slice in &holders {
                services.insert(&slice.service);
                let of_pod = slice.waiting.iter().filter(|e| e.pod == pod.path.name);
                addresses.extend(of_pod.map(|e| e.address));
            }
            for (path, service) in self.services.iter().filter(|(p, _)| p.namespace == pod.path.namespace) {
                let has_it = services.contains(path.name.as_str());
                if !has_it && !selects(service, pod) {
                    continue;
                }
                let found = self.keys_of(path);
                late |= !has_it && !found.is_empty();
                keys.extend(found);
            }
        }
        GatedPod { pod: pod.clone(), addresses, keys: (!late).then_some(keys) }
    }

    /// Load balancers that have a Service as member or backend.
    fn keys_of(&self, service: &Path) -> BTreeSet<LbKey> {
        let users = self.used_by.get(&MemberOrSecret::Service(service.clone()));
        let members = users.into_iter().flatten().cloned().chain([MemberId::Service(service.clone())]);
        members.filter_map(|member| self.key_of_member.get(&member).cloned()).collect()
    }

    /// Slices in which a Pod is not ready.
    fn slices_with(&self, pod: &Path) -> Vec<&SliceRecord> {
        let in_namespace = self.slices.values().filter(|s| s.path.namespace == pod.namespace);
        in_namespace.filter(|s| s.waiting.iter().any(|e| e.pod == pod.name)).collect()
    }

    /// Addresses of a slice that count as ready besides those that are.
    pub(super) fn waiting<'a>(
        &'a self,
        slice: &'a SliceRecord,
    ) -> impl Iterator<Item = (IpAddr, std::sync::Arc<str>)> + 'a {
        let serves = |name: &str| {
            let path = Path { namespace: slice.path.namespace.clone(), name: name.to_owned() };
            self.pods.get(&path).is_some_and(PodRecord::serves)
        };
        let waiting = slice.waiting.iter().filter(move |e| !self.pods.is_empty() && serves(&e.pod));
        waiting.map(|e| (e.address, std::sync::Arc::clone(&e.node)))
    }

    pub(super) fn pods_delta(&mut self, delta: Delta<PodRecord>, effects: &mut Effects) {
        effects.pods = true;
        match delta {
            Delta::Apply(record) => {
                let (path, serves) = (record.path.clone(), record.serves());
                let served = self.pods.insert(path.clone(), record).is_some_and(|old| old.serves());
                if serves != served {
                    self.touch_services_of(&path, effects);
                }
            }
            Delta::Delete(path) => {
                if self.pods.remove(&path).is_some_and(|old| old.serves()) {
                    self.touch_services_of(&path, effects);
                }
            }
            Delta::Reset(records) => {
                let present: HashSet<Path> = records.iter().map(|r| r.path.clone()).collect();
                let gone: Vec<Path> = self.pods.keys().filter(|p| !present.contains(p)).cloned().collect();
                for path in gone {
                    self.pods_delta(Delta::Delete(path), effects);
                }
                for record in records {
                    self.pods_delta(Delta::Apply(record), effects);
                }
            }
        }
    }

    fn touch_services_of(&mut self, pod: &Path, effects: &mut Effects) {
        let services: BTreeSet<String> =
            self.slices_with(pod).into_iter().map(|slice| slice.service.clone()).collect();
        for name in services {
            self.touch_endpoints(Path { namespace: pod.namespace.clone(), name }, effects);
        }
    }

    /// The endpoints of a Service changed.
    pub(super) fn touch_endpoints(&mut self, service: Path, effects: &mut Effects) {
        if let Some(key) = self.key_of_member.get(&MemberId::Service(service.clone())) {
            effects.dirty.push((key.clone(), Cause::Endpoints));
        }
        if self.rules.wants.endpoints == causeway_api::EndpointDetail::Addresses {
            self.touch_users(&MemberOrSecret::Service(service), Cause::Endpoints, effects);
        }
    }
}

fn selects(service: &ServiceRecord, pod: &PodRecord) -> bool {
    !service.selector.is_empty()
        && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}
