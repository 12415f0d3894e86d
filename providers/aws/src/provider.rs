//! The provider: puts the pure parts together, and reaches AWS through a [`Cloud`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use causeway_api::{
    Body, Capabilities, CloudProvider, EndpointDetail, Fence, Found, Kind, KindScope, Layer, LbKey,
    LoadBalancer, Member, MemberSpec, MemberStatus, NodeRef, OWN_SPEC, Outcome, OwnKind, OwnObjects, Owned,
    Plan, Problem, Protocol, References, Refresh, Result, TargetState, Wants,
};

use crate::cloud::{Cloud, Offline};
use crate::facts::{Facts, Overrides, facts};
use crate::inventory::Inventory;
use crate::observe::Observed;
use crate::options::Compat;
use crate::plan::Change;
use crate::stack::AwsStack;
use crate::targets::InstanceCache;
use crate::{adopt, alb, gates, nlb, ownership, plan, status};

/// How long an orphan is left alone.
const ORPHAN_GRACE: Duration = Duration::from_secs(600);
/// Longest time that a call that writes can take.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// The own kinds: the peer's, so that its objects serve as they are.
#[must_use]
pub fn own_kinds() -> Vec<OwnKind> {
    let kind = |kind, plural, scope, members| OwnKind {
        group: alb::parameters::GROUP,
        version: "v1beta1",
        also: &[],
        kind,
        plural,
        scope,
        members,
        made_by_others: adopt::LBC_STACK_LABELS,
        required: false,
    };
    vec![
        kind(alb::parameters::KIND, "ingressclassparams", KindScope::Cluster, false),
        kind(alb::binding::KIND, "targetgroupbindings", KindScope::AllNamespaces, true),
    ]
}

/// The provider.
#[derive(Debug)]
pub struct Aws<C> {
    overrides: Overrides,
    /// Without a word of a Service, its pods may be targets: their addresses are wanted.
    pods_by_default: bool,
    /// Readiness gates of pods are opened.
    gates: bool,
    instances: InstanceCache,
    cloud: C,
}

impl Aws<Offline> {
    /// One that plans for an empty cloud.
    #[must_use]
    pub fn offline(overrides: Overrides) -> Self {
        // An option of the inventory decides, which is read only later; offline the addresses cost nothing.
        Self {
            overrides,
            pods_by_default: true,
            gates: false,
            instances: InstanceCache::default(),
            cloud: Offline,
        }
    }
}

impl<C: Cloud> Aws<C> {
    /// One that works on this cloud; `pods_by_default` where pods are the targets of Services that do not say.
    pub fn on(cloud: C, overrides: Overrides, pods_by_default: bool) -> Self {
        Self { overrides, pods_by_default, gates: false, instances: InstanceCache::default(), cloud }
    }

    /// The same; with `gates` it opens readiness gates of pods, and wants to be told of pods for that.
    #[must_use]
    pub fn with_readiness_gates(mut self, gates: bool) -> Self {
        self.gates = gates;
        self
    }

    /// The cloud.
    pub fn cloud(&self) -> &C {
        &self.cloud
    }
}

impl<C: Cloud> CloudProvider for Aws<C> {
    type Facts = Facts;
    type Inventory = Inventory;
    type Stack = AwsStack;
    type Observed = Observed;
    type Change = Change;

    fn name(&self) -> &'static str {
        "aws"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            l4: true,
            l7: true,
            protocols: vec![Protocol::Tcp, Protocol::Udp],
            own_classless: false,
            classes: vec![ownership::LOAD_BALANCER_CLASS.to_owned()],
            claims: ownership::claims(),
            needs_node_ports: false,
            own_routes: true,
            orphan_grace: ORPHAN_GRACE,
            write_deadline: WRITE_DEADLINE,
            status_is_commit: false,
        }
    }

    fn wants(&self) -> Wants {
        Wants {
            nodes: true,
            endpoints: EndpointDetail::Addresses,
            secrets: true,
            namespace_labels: true,
            node_addresses: false,
            ingresses: true,
            pod_gates: self.gates.then_some(gates::PREFIX),
            kinds: own_kinds(),
        }
    }

    fn key(&self, member: &Member) -> LbKey {
        match (&member.spec, member.group()) {
            (MemberSpec::Ingress(_), _) => alb::key(member, self.overrides.compat == Some(Compat::Lbc)),
            (MemberSpec::Service(_), Some(Ok(group))) => LbKey::group(Layer::L4, group),
            (MemberSpec::Service(_) | MemberSpec::Own(_), _) => {
                LbKey::object(Layer::L4, member.object.clone())
            }
        }
    }

    fn references(&self, kind: &Kind, annotations: &BTreeMap<String, String>) -> References {
        match kind {
            Kind::Service => nlb::references(annotations, self.pods_by_default),
            Kind::Ingress => alb::references(annotations),
            Kind::Own(_) => alb::binding::references(annotations.get(OWN_SPEC)),
            _ => References::default(),
        }
    }

    fn facts(&self, objects: &OwnObjects, inventory: &Inventory) -> (Facts, Vec<Problem>) {
        facts(&self.overrides, objects, inventory)
    }

    fn desired(&self, lb: &LoadBalancer, facts: &Facts) -> (AwsStack, Vec<Problem>) {
        let facts = facts.of(lb);
        match &lb.body {
            Body::L4(_) if alb::binding::is_one(lb) => {
                alb::binding::of_load_balancer(lb, facts, &self.instances.of(&lb.nodes))
            }
            Body::L4(listeners) => nlb::desired(lb, listeners, facts, &self.instances.of(&lb.nodes)),
            Body::L7(_) => alb::desired(lb, facts, &self.instances.of(&lb.nodes)),
        }
    }

    fn plan(&self, want: &AwsStack, have: &Observed) -> Plan<Change> {
        plan::plan(want, have)
    }

    fn status(&self, want: &AwsStack, have: &Observed) -> Vec<MemberStatus> {
        status::status(want, have)
    }

    async fn start(&self, all: &[LoadBalancer], facts: &Facts) -> Result<()> {
        let node_groups = all.iter().flat_map(|lb| self.desired(lb, facts).0.shared.node_groups).collect();
        self.cloud.start(&node_groups).await
    }

    fn refresh(&self) -> Option<Refresh> {
        self.cloud.refresh()
    }

    async fn inventory(&self) -> Result<Inventory> {
        self.cloud.inventory().await
    }

    async fn observe(&self, key: &LbKey) -> Result<Observed> {
        self.cloud.observe(key).await
    }

    async fn apply(&self, change: &Change, fence: &Fence) -> Result<Outcome> {
        self.cloud.apply(change, fence).await
    }

    async fn target_states(
        &self,
        want: &AwsStack,
        pods: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Vec<TargetState>>> {
        self.cloud.target_states(want, pods).await
    }

    async fn owned(&self) -> Result<Vec<Owned>> {
        self.cloud.owned().await
    }

    async fn instances(&self, nodes: &[NodeRef]) -> Result<Vec<Found>> {
        self.cloud.instances(nodes).await
    }

    fn audit_period(&self) -> Option<Duration> {
        self.cloud.audit_period()
    }

    async fn audit(&self) -> Result<Vec<LbKey>> {
        self.cloud.audit().await
    }
}
