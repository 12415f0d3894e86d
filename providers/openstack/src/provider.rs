//! The provider: puts the pure parts together, and reaches OpenStack through a [`Cloud`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use causeway_api::{
    Body, Capabilities, CloudError, CloudProvider, EndpointDetail, Fence, Found, Kind, Layer, LbKey,
    LoadBalancer, Member, MemberSpec, MemberStatus, NodeRef, Outcome, OwnObjects, Owned, Plan, Problem,
    Protocol, References, Refresh, Result, Wants,
};

use crate::adopt::{self, Verdict};
use crate::annotations::service::LOAD_BALANCER_ADDRESS;
use crate::cloud::{Cloud, Offline, Wanted};
use crate::facts::{Facts, Overrides, facts};
use crate::inventory::{Inventory, Rare};
use crate::nodes::NodesCache;
use crate::observe::Observed;
use crate::plan::Change;
use crate::stack::OctaviaStack;
use crate::{asks, certificates, l4, l7, plan, status};

/// Everything is decided anew as soon as an inventory has what was asked for; who still waits asks again after this.
const ASKED: Duration = Duration::from_secs(5);
/// How long an orphan is left alone.
const ORPHAN_GRACE: Duration = Duration::from_secs(600);

/// The provider.
#[derive(Debug)]
pub struct OpenStack<C> {
    overrides: Overrides,
    nodes: NodesCache,
    /// What was last wanted, by owner: a look at the cloud depends on it.
    wanted: Mutex<BTreeMap<String, (LbKey, Wanted)>>,
    cloud: C,
}

impl OpenStack<Offline> {
    /// One that plans for an empty cloud.
    #[must_use]
    pub fn offline(overrides: Overrides) -> Self {
        Self::on(Offline, overrides)
    }
}

impl<C: Cloud> OpenStack<C> {
    /// One that works on this cloud.
    pub fn on(cloud: C, overrides: Overrides) -> Self {
        Self { overrides, nodes: NodesCache::default(), wanted: Mutex::default(), cloud }
    }

    /// Inventories have all that there is: for who decides once only, and cannot ask for more.
    pub fn ask_everything(&self) {
        self.cloud.ask(&Rare::ALL.into());
    }
}

impl<C: Cloud> CloudProvider for OpenStack<C> {
    type Facts = Facts;
    type Inventory = Inventory;
    type Stack = OctaviaStack;
    type Observed = Observed;
    type Change = Change;

    fn name(&self) -> &'static str {
        "openstack"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            l4: true,
            l7: true,
            protocols: vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
            own_classless: true,
            classes: Vec::new(),
            claims: Vec::new(),
            needs_node_ports: true,
            own_routes: false,
            orphan_grace: ORPHAN_GRACE,
            write_deadline: self.cloud.write_deadline(),
            status_is_commit: false,
        }
    }

    fn wants(&self) -> Wants {
        Wants {
            nodes: true,
            endpoints: EndpointDetail::None,
            secrets: true,
            namespace_labels: false,
            node_addresses: false,
            ingresses: true,
            pod_gates: None,
            kinds: Vec::new(),
        }
    }

    fn key(&self, member: &Member) -> LbKey {
        let layer = match &member.spec {
            MemberSpec::Ingress(_) => Layer::L7,
            MemberSpec::Service(_) | MemberSpec::Own(_) => Layer::L4,
        };
        match member.group() {
            Some(Ok(group)) => LbKey::group(layer, group),
            _ => LbKey::object(layer, member.object.clone()),
        }
    }

    fn references(&self, kind: &Kind, annotations: &BTreeMap<String, String>) -> References {
        match kind {
            Kind::Service => l4::references(annotations),
            _ => References::default(),
        }
    }

    fn facts(&self, _objects: &OwnObjects, inventory: &Inventory) -> (Facts, Vec<Problem>) {
        facts(&self.overrides, inventory)
    }

    fn desired(&self, lb: &LoadBalancer, facts: &Facts) -> (OctaviaStack, Vec<Problem>) {
        let nodes = self.nodes.of(&lb.nodes, &facts.cloud);
        let owner = lb.key.owner_tag();
        let verdict = adopt::judge(lb, &facts.adopts, &facts.cluster, &facts.cloud);
        let kept = match &verdict {
            Verdict::Ours(found) | Verdict::Take(found) => Some(facts.kept(found.clone(), lb.key.layer)),
            _ => None,
        };
        let facts = kept.as_ref().unwrap_or(facts);
        let settled =
            certificates::settled(lb, &|secret, version| self.cloud.content(&owner, secret, version));
        let (mut useless, mut unread, mut problems) = (None, BTreeMap::new(), Vec::new());
        let lb = match settled {
            Some(settled) => {
                useless = (!settled.useless.is_empty())
                    .then(|| Facts { useless: settled.useless, ..facts.clone() });
                (unread, problems) = (settled.unread, settled.problems);
                &Cow::Owned(settled.lb)
            }
            None => &Cow::Borrowed(lb),
        };
        let facts = useless.as_ref().unwrap_or(facts);
        let (mut stack, found) = match &lb.body {
            Body::L4(listeners) => l4::desired(lb, listeners, facts, &nodes),
            Body::L7(http) => l7::desired(lb, http, facts, &nodes),
        };
        problems.extend(found);
        adopt::settle(verdict, lb, &mut stack, &mut problems);
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if stack.is_empty() {
            wanted.remove(&owner);
        } else {
            let last = Wanted { unread, asks: asks::asks(&stack, facts), ..Wanted::of(&stack) };
            wanted.insert(owner, (lb.key.clone(), last));
        }
        drop(wanted);
        (stack, problems)
    }

    fn plan(&self, want: &OctaviaStack, have: &Observed) -> Plan<Change> {
        plan::plan(want, have)
    }

    fn status(&self, want: &OctaviaStack, have: &Observed) -> Vec<MemberStatus> {
        status::status(want, have)
    }

    fn own_annotations(&self) -> &'static [&'static str] {
        &[LOAD_BALANCER_ADDRESS]
    }

    async fn start(&self, _all: &[LoadBalancer], _facts: &Facts) -> Result<()> {
        self.cloud.start().await
    }

    fn refresh(&self) -> Option<Refresh> {
        self.cloud.refresh()
    }

    async fn inventory(&self) -> Result<Inventory> {
        self.cloud.inventory().await
    }

    async fn observe(&self, key: &LbKey) -> Result<Observed> {
        let wanted = {
            let all = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&key.owner_tag()).map(|(_, wanted)| wanted.clone())
        };
        // What is wanted depends on it.
        if let Some(wanted) = wanted.as_ref().filter(|w| !w.unread.is_empty()) {
            self.cloud.read(&wanted.unread).await?;
            return Err(CloudError::Pending(Duration::ZERO));
        }
        if let Some(wanted) = wanted.as_ref().filter(|w| !w.asks.is_empty()) {
            self.cloud.ask(&wanted.asks);
            return Err(CloudError::Pending(ASKED));
        }
        self.cloud.observe(key, wanted.as_ref()).await
    }

    async fn apply(&self, change: &Change, fence: &Fence) -> Result<Outcome> {
        self.cloud.apply(change, fence).await
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
        let moved = self.cloud.audit().await?;
        // A cloud knows owners by their uid alone; whoever asks knows them by name too.
        let all = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = |key: LbKey| all.get(&key.owner_tag()).map_or(key, |(whole, _)| whole.clone());
        Ok(moved.into_iter().map(whole).collect())
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::CloudError;

    use super::*;
    use crate::certificates::Content;
    use crate::fixtures::{facts_with, nodes, of_services, service};

    /// Whose load balancer moved, by the tag that a cloud knows.
    struct Moved(String);

    impl Cloud for Moved {
        fn ask(&self, _rare: &std::collections::BTreeSet<Rare>) {}

        fn content(&self, _owner: &str, _secret: &str, _version: &str) -> Content {
            Content::Unread
        }

        async fn read(&self, _unread: &BTreeMap<String, String>) -> Result<()> {
            Ok(())
        }

        async fn start(&self) -> Result<()> {
            Ok(())
        }

        async fn inventory(&self) -> Result<Inventory> {
            Ok(Inventory::default())
        }

        async fn observe(&self, _key: &LbKey, _wanted: Option<&Wanted>) -> Result<Observed> {
            Ok(Observed::default())
        }

        async fn apply(&self, _change: &Change, _fence: &Fence) -> Result<Outcome> {
            Err(CloudError::Fenced)
        }

        async fn owned(&self) -> Result<Vec<Owned>> {
            Ok(Vec::new())
        }

        async fn audit(&self) -> Result<Vec<LbKey>> {
            Ok(LbKey::of_owner_tag(&self.0).into_iter().collect())
        }
    }

    /// The queue knows a key by the names in it: one that is known by its uid alone is nobody's.
    #[tokio::test]
    async fn what_moved_is_told_by_the_key_that_was_asked_with() {
        let lb = of_services(&[service("web").port(80, 30080)], nodes(1));
        let provider = OpenStack::on(Moved(lb.key.owner_tag()), Overrides::default());
        assert_ne!(provider.audit().await, Ok(vec![lb.key.clone()]), "it was never asked for");
        let _ = provider.desired(&lb, &facts_with(&[]));
        assert_eq!(provider.audit().await, Ok(vec![lb.key.clone()]));
    }

    /// What a Secret holds decides what is wanted: it is read first, and then everything is decided anew.
    #[tokio::test]
    async fn nothing_is_looked_at_before_its_secrets_were_read() {
        let mut tls = service("web").port(443, 30443).annotation("causeway.io/tls-secret", "tls");
        tls.0.secrets.insert("tls".to_owned(), Some("1".to_owned()));
        let lb = of_services(&[tls], nodes(1));
        let provider = OpenStack::on(Moved(String::new()), Overrides::default());
        let _ = provider.desired(&lb, &facts_with(&[]));
        let looked = provider.observe(&lb.key).await;
        assert_eq!(looked, Err(CloudError::Pending(Duration::ZERO)));
    }
}
