//! The provider: [`CloudProvider`] over the allocator. Everything is in memory behind one mutex; no call leaves the process and none waits.
//!
//! Invariants: only the leader's instance is used, and only after `start` took over what the Services have. An address is reserved by
//! `plan`, committed by `apply`, shown by the engine's write of the status, and free for others only when `settled` says that no status shows
//! it any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use causeway_api::{
    Capabilities, CloudProvider, EndpointDetail, Fence, KindScope, Layer, LbKey, LoadBalancer, Member,
    MemberSpec, MemberStatus, Outcome, OwnKind, OwnObjects, OwnStatus, Owned, Plan, Problem, Result, Wants,
};

use crate::allocator::OutsidePools;
use crate::desired::{Facts, MetalStack, desired};
use crate::kinds::{CONFLICT_GROUP, CONFLICT_VERSION, GROUP, PEER_VERSION, VERSION};
use crate::limits;
use crate::names::ANNOTATION_FROM_POOL;
use crate::observe::{Held, State};
use crate::plan::Change;
use crate::status::status;

/// Bare metal.
#[derive(Debug, Default)]
pub struct Metal {
    state: Mutex<State>,
    generation: AtomicU64,
}

/// The own kinds that the controller reads.
#[must_use]
pub fn own_kinds() -> Vec<OwnKind> {
    let kind = |group, version, kind, plural, required| OwnKind {
        group,
        version,
        also: &[],
        kind,
        plural,
        scope: KindScope::ConfigNamespace,
        members: false,
        made_by_others: &[],
        required,
    };
    let peers = OwnKind { also: &[VERSION], ..kind(GROUP, PEER_VERSION, "BGPPeer", "bgppeers", false) };
    vec![
        kind(GROUP, VERSION, "IPAddressPool", "ipaddresspools", true),
        kind(GROUP, VERSION, "L2Advertisement", "l2advertisements", false),
        kind(GROUP, VERSION, "BGPAdvertisement", "bgpadvertisements", false),
        peers,
        kind(GROUP, VERSION, "BFDProfile", "bfdprofiles", false),
        kind(GROUP, VERSION, "Community", "communities", false),
        kind(CONFLICT_GROUP, CONFLICT_VERSION, "AddressConflict", "addressconflicts", false),
    ]
}

impl Metal {
    /// A provider that does this with addresses which no pool holds any more.
    #[must_use]
    pub fn new(outside: OutsidePools) -> Self {
        let state = State { outside, ..State::default() };
        Self { state: Mutex::new(state), generation: AtomicU64::new(0) }
    }

    /// How much of every pool is in use.
    #[must_use]
    pub fn pool_use(&self) -> Vec<limits::PoolUse> {
        limits::pool_use(&self.state().allocator)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is made whole before anything can panic; a poisoned lock must not stop all load balancers.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CloudProvider for Metal {
    type Facts = Facts;
    type Inventory = ();
    type Stack = MetalStack;
    type Observed = Held;
    type Change = Change;

    fn name(&self) -> &'static str {
        "metal"
    }

    fn capabilities(&self) -> Capabilities {
        limits::capabilities()
    }

    fn wants(&self) -> Wants {
        Wants {
            nodes: false,
            endpoints: EndpointDetail::None,
            secrets: false,
            namespace_labels: true,
            node_addresses: true,
            ingresses: true,
            pod_gates: None,
            kinds: own_kinds(),
        }
    }

    fn key(&self, member: &Member) -> LbKey {
        let layer = match member.spec {
            MemberSpec::Service(_) | MemberSpec::Own(_) => Layer::L4,
            MemberSpec::Ingress(_) => Layer::L7,
        };
        LbKey::object(layer, member.object.clone())
    }

    fn facts(&self, objects: &OwnObjects, (): &()) -> (Facts, Vec<Problem>) {
        Facts::new(objects, 1 + self.generation.fetch_add(1, Ordering::Relaxed))
    }

    fn desired(&self, lb: &LoadBalancer, facts: &Facts) -> (MetalStack, Vec<Problem>) {
        desired(lb, facts)
    }

    fn plan(&self, want: &MetalStack, have: &Held) -> Plan<Change> {
        self.state().plan(want, have)
    }

    fn status(&self, want: &MetalStack, have: &Held) -> Vec<MemberStatus> {
        status(want, have)
    }

    fn own_annotations(&self) -> &'static [&'static str] {
        &[ANNOTATION_FROM_POOL]
    }

    fn own_status(&self, facts: &Facts) -> Vec<OwnStatus> {
        limits::pool_statuses(&self.state().allocator, &facts.pools)
    }

    fn settled(&self, key: &LbKey) -> Vec<LbKey> {
        let mut state = self.state();
        state.allocator.settle(key);
        let mut waiting = state.allocator.take_waiting();
        waiting.retain(|other| other != key);
        waiting
    }

    async fn start(&self, all: &[LoadBalancer], facts: &Facts) -> Result<()> {
        self.state().take_over(all, facts);
        Ok(())
    }

    async fn inventory(&self) -> Result<()> {
        Ok(())
    }

    async fn observe(&self, key: &LbKey) -> Result<Held> {
        Ok(self.state().held(key))
    }

    async fn apply(&self, change: &Change, fence: &Fence) -> Result<Outcome> {
        self.state().apply(change, fence)
    }

    async fn owned(&self) -> Result<Vec<Owned>> {
        Ok(self.state().committed.keys().map(|key| Owned { key: key.clone() }).collect())
    }
}

#[cfg(test)]
mod bgp_tests;
#[cfg(test)]
mod conflict_tests;
#[cfg(test)]
mod leaders_tests;
#[cfg(test)]
mod tests;
