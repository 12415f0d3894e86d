//! AWS itself: what is known of it, and the calls that find out and change. I/O, through an [`Api`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_api::names::{TAG_CLUSTER, TAG_OWNER, TAG_RESOURCE};
use causeway_api::{
    CloudError, Fence, Found, LbKey, NodeRef, Outcome, Owned, Peer, Refresh, Result, TargetState,
};
use futures::future;
use tokio::time::Instant;

use crate::adopt;
use crate::apply::TagBatch;
use crate::calls::{CallError, Calls, Patience};
use crate::cloud::records::{LoadBalancer, Tagged, TargetGroup};
use crate::cloud::{Answer, Api, Call, Cloud, Query, Which};
use crate::inventory::{Answers, Cluster, Inventory, tag};
use crate::limits::Priority;
use crate::observe::known::{Entry, by_owner};
use crate::observe::read::{Reader, only_tags, security_group_id};
use crate::observe::{Known, Observed};
use crate::options::Options;
use crate::plan::Change;
use crate::plan::marks::OWNER_SHARED;
use crate::rules::Look;
use crate::secrets::Secrets;
use crate::security::BACKEND_RESOURCE;
use crate::stack::{AwsStack, Tags};

/// How often what is under way is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Load balancers that are being made; all at once.
    pub active: Duration,
    /// Targets that are not healthy yet.
    pub healthy: Duration,
    /// How long a target group may take to become healthy before the user is told.
    pub patience: Duration,
    /// What is deleted and still in use.
    pub in_use: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            active: Duration::from_secs(10),
            healthy: Duration::from_secs(10),
            patience: Duration::from_secs(600),
            in_use: Duration::from_secs(5),
        }
    }
}

/// Within this time every load balancer is compared with what is known of it.
const AUDIT_ROUND: Duration = Duration::from_secs(1500);
/// So many are read at a time: a Describe takes twenty ids, and of most stacks there are two in each.
const AUDITED: usize = 10;
/// How often it is seen whether it is time for that.
pub const AUDIT_PERIOD: Duration = Duration::from_secs(15);
/// Some twelve calls each time: subnets, certificates, target groups and instances come and go by other hands.
pub const REFRESH: Refresh = Refresh {
    calm: Duration::from_secs(300),
    troubled: Duration::from_secs(60),
    soonest: Duration::from_secs(10),
};
/// A list that is not older need not be read again.
const FRESH: Duration = Duration::from_secs(60);

/// Settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The cluster.
    pub cluster: Cluster,
    /// Options.
    pub options: Options,
    /// Whose load balancers are taken over.
    pub adopt: Option<&'static Peer>,
    /// Pace.
    pub pace: Pace,
    /// Patience.
    pub patience: Patience,
}

/// A list of everything that carries our mark.
struct List {
    at: Instant,
    tagged: Vec<Tagged>,
    /// What carries the peer's tags of this cluster, if it may be taken over.
    theirs: Vec<Tagged>,
    load_balancers: Vec<LoadBalancer>,
    target_groups: Vec<TargetGroup>,
}

/// AWS, with what is known of it.
pub struct Live<A> {
    pub(crate) calls: Calls<A>,
    pub(crate) settings: Settings,
    pub(crate) known: Mutex<Known>,
    pub(crate) tags: TagBatch,
    /// Held while what all stacks share is looked at or changed.
    pub(crate) sharing: tokio::sync::Mutex<()>,
    /// When load balancers that are being made were last asked about; held meanwhile.
    pub(crate) polled: tokio::sync::Mutex<Option<Instant>>,
    pub(crate) epoch: Instant,
    /// Whoever reads Secrets; where nobody does, nobody can log in by OpenID Connect.
    pub(crate) secrets: Option<Arc<dyn Secrets>>,
    list: tokio::sync::Mutex<Option<List>>,
    pub(crate) audit: Mutex<Audit>,
}

/// How far the round of the audit has come.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    credit: f64,
    after: String,
    /// Owners of what a list showed and nobody knew.
    strangers: BTreeSet<String>,
    /// Rules of the nodes' groups are not as they were: who is to look.
    pub(crate) rules: Look,
}

impl<A> std::fmt::Debug for Live<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<A: Api> Live<A> {
    /// AWS, of which nothing is known yet.
    pub fn new(api: A, settings: Settings) -> Self {
        Self {
            calls: Calls::new(api, settings.patience),
            settings,
            known: Mutex::default(),
            tags: TagBatch::default(),
            sharing: tokio::sync::Mutex::default(),
            polled: tokio::sync::Mutex::default(),
            epoch: Instant::now(),
            secrets: None,
            list: tokio::sync::Mutex::default(),
            audit: Mutex::default(),
        }
    }

    /// The same, where Secrets can be read.
    #[must_use]
    pub fn with_secrets(self, secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets: Some(secrets), ..self }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        // Every change of it leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reader(&self, priority: Priority) -> Reader<'_, A> {
        Reader { calls: &self.calls, priority }
    }

    fn mark(&self) -> Tags {
        Tags::from([(TAG_CLUSTER.to_owned(), self.settings.cluster.id.clone())])
    }

    /// The ARN's load balancers and target groups of the region, and everything with our mark: a few calls, whatever there is.
    async fn listing(&self, priority: Priority) -> Result<List, CallError> {
        let reader = self.reader(priority);
        let at = Instant::now();
        let theirs = async {
            match self.settings.adopt {
                Some(peer) => reader.tagged(&adopt::cluster_tags(peer, &self.settings.cluster)).await,
                None => Ok(Vec::new()),
            }
        };
        let (tagged, theirs, load_balancers, target_groups) = future::try_join4(
            reader.tagged(&self.mark()),
            theirs,
            reader.load_balancers(&Which::All),
            reader.target_groups(&Which::All),
        )
        .await?;
        Ok(List { at, tagged, theirs, load_balancers, target_groups })
    }

    /// Looks at one stack in AWS.
    ///
    /// # Errors
    /// The calls'.
    pub(crate) async fn look(&self, owner: &str, priority: Priority) -> Result<Observed, CallError> {
        let held = self.known().entry(owner).map(|e| e.tree.clone()).unwrap_or_default();
        let tree = self.reader(priority).whole(&self.settings.cluster.id, owner, &held).await?;
        self.known().seen(owner, tree);
        let now = self.calls.api.unix();
        Ok(self.known().sure(owner, now).unwrap_or_default())
    }

    /// Takes a list over as everything that there is.
    fn take(&self, list: &List) {
        let mut tags: BTreeMap<&str, &Tags> = list.tagged.iter().map(|t| (t.arn.as_str(), &t.tags)).collect();
        let mut known = self.known();
        let (mut lbs, mut groups) = (Vec::new(), Vec::new());
        for lb in &list.load_balancers {
            match tags.remove(lb.arn.as_str()) {
                Some(tags) => {
                    let mut lb = lb.clone();
                    lb.spec.tags.clone_from(tags);
                    lbs.push(lb);
                }
                // Whose it is is not known: to be asked before another of that name is made.
                None => known.suspect(&lb.spec.name),
            }
        }
        for group in &list.target_groups {
            match tags.remove(group.arn.as_str()) {
                Some(tags) => {
                    let mut group = group.clone();
                    group.spec.tags.clone_from(tags);
                    groups.push(group);
                }
                None => known.suspect(&group.spec.name),
            }
        }
        // The tagging API may know what is gone, too: only what the other lists show, and security groups, are there.
        let security =
            tags.iter().filter_map(|(arn, tags)| Some(only_tags(security_group_id(arn)?, (*tags).clone())));
        let security = security.collect();
        for (owner, tree) in by_owner(lbs, groups, security) {
            if owner == OWNER_SHARED {
                known.shared.backend_group = tree.security_groups.first().map(|g| g.id.clone());
            } else {
                known.listed(&owner, tree);
            }
        }
        known.peers = match self.settings.adopt {
            Some(peer) => adopt::stacks(peer, &list.theirs, &list.load_balancers, &list.target_groups),
            None => BTreeMap::new(),
        };
        known.complete = true;
    }

    async fn answers(&self, priority: Priority) -> Result<Answers, CallError> {
        let vpc = self.settings.cluster.vpc_id.clone();
        let queries = [
            Query::AccountLimits,
            Query::Subnets(vpc.clone()),
            Query::Vpc(vpc.clone()),
            Query::RouteTables(vpc.clone()),
            Query::SecurityGroups(vpc.clone()),
            Query::Zones,
            Query::Addresses,
            Query::Instances(vpc),
            Query::Certificates,
        ];
        let mut all = Answers { live: true, ..Answers::default() };
        for some in future::try_join_all(queries.map(|query| self.answer(query, priority))).await? {
            merge(&mut all, some);
        }
        Ok(all)
    }

    /// All pages of one answer.
    async fn answer(&self, query: Query, priority: Priority) -> Result<Answers, CallError> {
        let mut all = Answers::default();
        let mut marker = None;
        loop {
            let call = Call::Inventory { query: query.clone(), marker };
            let Answer::Inventory(some, next) = self.calls.read(call, priority).await? else {
                return Ok(all);
            };
            merge(&mut all, *some);
            if next.is_none() {
                return Ok(all);
            }
            marker = next;
        }
    }
}

/// Adds one page of one answer to the others.
pub(crate) fn merge(all: &mut Answers, some: Answers) {
    macro_rules! add {
        ($($field:ident: $list:ident),*) => {$(
            if let Some(more) = some.$field {
                match &mut all.$field {
                    Some(have) => have.$list.extend(more.$list),
                    None => all.$field = Some(more),
                }
            }
        )*};
    }
    add!(
        describe_subnets: subnets,
        describe_vpcs: vpcs,
        describe_route_tables: route_tables,
        describe_security_groups: security_groups,
        describe_availability_zones: availability_zones,
        describe_addresses: addresses,
        describe_instances: reservations,
        describe_account_limits: limits,
        list_certificates: certificate_summary_list
    );
}

fn failed(error: &CallError) -> CloudError {
    error.classify(None, "reading AWS")
}

impl<A: Api> Cloud for Live<A> {
    async fn start(&self, node_groups: &BTreeSet<String>) -> Result<()> {
        // Whoever led before may have used the buckets up.
        let fresh = self.list.lock().await.take().filter(|list| list.at.elapsed() < FRESH);
        let list = match fresh {
            Some(list) => list,
            None => {
                self.calls.gate.restart();
                self.listing(Priority::Create).await.map_err(|e| failed(&e))?
            }
        };
        *self.known() = Known::default();
        self.take(&list);
        *self.list.lock().await = Some(list);
        self.read_shared(node_groups, Priority::Create).await.map_err(|e| failed(&e))?;
        Ok(())
    }

    fn refresh(&self) -> Option<Refresh> {
        Some(REFRESH)
    }

    async fn inventory(&self) -> Result<Inventory> {
        // The first one everything waits for; later ones wait for everything.
        let priority = if self.known().complete { Priority::Audit } else { Priority::Create };
        let begun = self.known().clock;
        let both = future::try_join(self.answers(priority), self.listing(priority)).await;
        let (mut aws, list) = both.map_err(|e| failed(&e))?;
        self.find_strangers(&list, &aws, begun);
        self.find_rules(&aws, priority).await.map_err(|e| failed(&e))?;
        // The shared security group is known as such: stacks refer to it in the same words before and after a restart.
        if let Some(groups) = &mut aws.describe_security_groups {
            let shared = |tags: &[crate::inventory::Tag]| {
                tag(tags, TAG_RESOURCE) == Some(BACKEND_RESOURCE)
                    && tag(tags, TAG_CLUSTER) == Some(&self.settings.cluster.id)
            };
            groups.security_groups.retain(|group| !shared(&group.tags));
        }
        let marked: BTreeSet<&str> = list.tagged.iter().map(|t| t.arn.as_str()).collect();
        let theirs = list.theirs.iter().filter(|t| !marked.contains(t.arn.as_str()));
        let tagged: Vec<Tagged> = list.tagged.iter().chain(theirs).cloned().collect();
        crate::cloud::existing(&mut aws, &tagged, &list.load_balancers, &list.target_groups);
        *self.list.lock().await = Some(list);
        let Settings { cluster, options, .. } = self.settings.clone();
        Ok(Inventory { cluster, options, aws })
    }

    async fn observe(&self, key: &LbKey) -> Result<Observed> {
        let owner = key.owner_tag();
        let now = self.calls.api.unix();
        let sure = self.known().sure(&owner, now);
        let mut observed = match sure {
            Some(observed) => observed,
            None => self.look(&owner, Priority::Create).await.map_err(|e| failed(&e))?,
        };
        if let Some(name) = adopt::stack_of(key) {
            observed.peer = self.known().peers.get(&name).cloned().map(Box::new);
        }
        Ok(observed)
    }

    async fn apply(&self, change: &Change, fence: &Fence) -> Result<Outcome> {
        crate::apply::apply(self, change, fence).await
    }

    async fn target_states(
        &self,
        want: &AwsStack,
        pods: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Vec<TargetState>>> {
        self.pods_of(want, pods).await.map_err(|e| failed(&e))
    }

    async fn owned(&self) -> Result<Vec<Owned>> {
        let recent = self.list.lock().await.as_ref().is_some_and(|list| list.at.elapsed() < FRESH);
        if !recent {
            let tagged = self.reader(Priority::Audit).tagged(&self.mark()).await.map_err(|e| failed(&e))?;
            let mut known = self.known();
            for item in tagged {
                let owner = item.tags.get(TAG_OWNER).filter(|owner| *owner != OWNER_SHARED);
                if let Some(owner) = owner.filter(|owner| known.entry(owner).is_none()) {
                    known.doubt(owner);
                }
            }
        }
        let doubtful: Vec<(String, u64)> = {
            let known = self.known();
            let empty = known.entries().filter(|(_, e)| e.doubtful && e.tree.is_empty());
            empty.map(|(owner, entry)| (owner.to_owned(), entry.touched)).collect()
        };
        let reader = self.reader(Priority::Audit);
        for (owner, touched) in doubtful {
            // The tagging API shows for a while what is gone.
            let tree = reader.whole(&self.settings.cluster.id, &owner, &Observed::default()).await;
            let tree = tree.map_err(|e| failed(&e))?;
            let mut known = self.known();
            // What is being made, or taken over, meanwhile counts more than what was read of it.
            if known.entry(&owner).is_some_and(|entry| entry.touched == touched) {
                known.seen(&owner, tree);
            }
        }
        let mut known = self.known();
        known.forget_empty();
        Ok(known.keys().map(|key| Owned { key }).collect())
    }

    async fn instances(&self, nodes: &[NodeRef]) -> Result<Vec<Found>> {
        let cluster = &self.settings.cluster;
        let found = crate::instances::find(&self.calls, &cluster.region, &cluster.vpc_id, nodes).await;
        found.map_err(|e| failed(&e))
    }

    fn audit_period(&self) -> Option<Duration> {
        Some(AUDIT_PERIOD)
    }

    async fn audit(&self) -> Result<Vec<LbKey>> {
        let (due, mut moved) = self.due();
        let (mut before, mut clocks) = (BTreeMap::new(), BTreeMap::new());
        {
            let known = self.known();
            for owner in due {
                if let Some(entry) = known.entry(&owner).filter(|entry| !entry.doubtful) {
                    clocks.insert(owner.clone(), entry.touched);
                    before.insert(owner, entry.tree.clone());
                }
            }
        }
        let reader = self.reader(Priority::Audit);
        let read = reader.several(&self.settings.cluster.id, &before).await.map_err(|e| failed(&e))?;
        let mut known = self.known();
        for (owner, tree) in read {
            let untouched = |e: &Entry| clocks.get(&owner) == Some(&e.touched) && !e.doubtful;
            // What was written meanwhile counts more than what was read.
            if known.entry(&owner).is_some_and(untouched) {
                let drifted = before.get(&owner).is_none_or(|before| drifted(before, &tree));
                known.seen(&owner, tree);
                if drifted {
                    moved.extend(LbKey::of_owner_tag(&owner));
                }
            }
        }
        moved.extend(self.owners_of_rules(&known).iter().filter_map(|owner| LbKey::of_owner_tag(owner)));
        drop(known);
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let strangers = std::mem::take(&mut audit.strangers);
        moved.extend(strangers.iter().filter_map(|owner| LbKey::of_owner_tag(owner)));
        Ok(moved)
    }
}

impl<A: Api> Live<A> {
    /// Stacks that have more than is known: a process of ours that died made it right before, when no list showed it yet. `begun`: the clock before the list.
    fn find_strangers(&self, list: &List, aws: &Answers, begun: u64) {
        let lbs = list.load_balancers.iter().map(|lb| lb.arn.as_str());
        let there: BTreeSet<&str> = lbs.chain(list.target_groups.iter().map(|g| g.arn.as_str())).collect();
        let groups = aws.describe_security_groups.iter().flat_map(|all| &all.security_groups);
        let groups: BTreeSet<&str> = groups.map(|group| group.group_id.as_str()).collect();
        let mut known = self.known();
        let mut strangers = BTreeSet::new();
        for Tagged { arn, tags } in &list.tagged {
            let Some((owner, entry)) = tags.get(TAG_OWNER).and_then(|o| Some((o, known.entry(o)?))) else {
                continue;
            };
            let tree = &entry.tree;
            // The tagging API shows for a while what is gone.
            let (exists, is_known) = match security_group_id(arn) {
                Some(id) => (groups.contains(id.as_str()), tree.security_groups.iter().any(|g| g.id == id)),
                None => (
                    there.contains(arn.as_str()),
                    tree.load_balancers.iter().any(|lb| lb.arn == *arn)
                        || tree.target_groups.iter().any(|g| g.arn == *arn),
                ),
            };
            if exists && !is_known && !entry.doubtful && entry.touched <= begun {
                strangers.insert(owner.clone());
            }
        }
        strangers.iter().for_each(|owner| known.doubt(owner));
        self.audit.lock().unwrap_or_else(PoisonError::into_inner).strangers.extend(strangers);
    }

    /// The stacks whose turn it is, and those where a former load balancer may go now.
    fn due(&self) -> (Vec<String>, Vec<LbKey>) {
        let known = self.known();
        let now = self.calls.api.unix();
        let owners: Vec<&str> =
            known.entries().filter(|(_, e)| !e.tree.is_empty()).map(|(owner, _)| owner).collect();
        let ripe = known.entries().filter(|(_, e)| {
            e.tree.load_balancers.iter().any(|lb| {
                let at =
                    lb.spec.tags.get(crate::plan::marks::TAG_RETIRED).and_then(|t| t.parse::<u64>().ok());
                at.is_some_and(|at| now.saturating_sub(at) >= crate::plan::KEPT)
            })
        });
        let ripe = ripe.filter_map(|(owner, _)| LbKey::of_owner_tag(owner)).collect();
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        audit.credit += owners.len() as f64 * AUDIT_PERIOD.as_secs_f64() / AUDIT_ROUND.as_secs_f64();
        let mut due = Vec::new();
        // Several at a time cost less than one after another.
        let enough = owners.len().min(AUDITED) as f64;
        while (!due.is_empty() || audit.credit >= enough) && audit.credit >= 1.0 && due.len() < owners.len() {
            audit.credit -= 1.0;
            let next = owners.iter().find(|o| **o > audit.after.as_str()).or(owners.first());
            let Some(next) = next else { break };
            audit.after = (*next).to_owned();
            due.push((*next).to_owned());
        }
        (due, ripe)
    }
}

/// Whether what was read is not what was known, in what a plan looks at.
fn drifted(known: &Observed, read: &Observed) -> bool {
    if !known.whole {
        // Only tags and targets were known, and a hand that changed anything else left the hash as it was.
        return true;
    }
    let shape = |tree: &Observed| {
        let mut tree = tree.clone();
        tree.load_balancers.sort_by(|a, b| a.arn.cmp(&b.arn));
        tree.target_groups.sort_by(|a, b| a.arn.cmp(&b.arn));
        tree.listeners.sort_by(|a, b| a.arn.cmp(&b.arn));
        tree.rules.sort_by(|a, b| a.arn.cmp(&b.arn));
        tree.security_groups.sort_by(|a, b| a.id.cmp(&b.id));
        tree.healthy.clear();
        tree.drained.clear();
        tree.retired.clear();
        tree
    };
    shape(known) != shape(read)
}
