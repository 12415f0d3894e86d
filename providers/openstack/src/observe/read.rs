//! Looks at one stack in OpenStack. I/O.
//!
//! Lists that many stacks need at once (load balancers, floating IPs) are asked for once for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, future, stream};
use tokio::time::Instant;

use super::known::{Depth, Entry};
use super::{Observed, Part, PeerLoadBalancer, shape};
use crate::adopt;
use crate::api::barbican::{SECRETS, Secret};
use crate::api::neutron::{FLOATING_IPS, FloatingIp, PORTS, SECURITY_GROUPS};
use crate::api::octavia::{
    HEALTH_MONITORS, HealthMonitor, L7_POLICIES, L7Policy, L7Rule, LISTENERS, LOAD_BALANCERS, LoadBalancer,
    Member, POOLS, Pool, Provisioning, l7_rules, members,
};
use crate::api::{Api, CallError, Failure, Priority, Query};
use crate::cloud::Wanted;
use crate::live::Live;
use crate::ownership::{Mark, tag};
use crate::stack::{LOAD_BALANCER, MemberSpec, ResourceType};
use causeway_api::names::{TAG_CLUSTER, TAG_OWNER};

/// Longest page that Octavia gives.
pub const PAGE: u32 = 1000;
/// Longest page that Barbican gives.
const SECRETS_PAGE: u32 = 100;
/// A list that is younger serves another who waits for the same.
const SHARED: Duration = Duration::from_millis(900);
/// Reads of one load balancer's parts that are under way at once.
const AT_ONCE: usize = 8;

/// A list that several may use: when it was asked for, and what it held.
#[derive(Debug)]
pub struct Shared<T>(tokio::sync::Mutex<Option<(Instant, Arc<Vec<T>>)>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::default())
    }
}

impl<T> Shared<T> {
    /// The list as it was after `after`, and at most so old; else a new one.
    ///
    /// # Errors
    /// The call's.
    pub async fn get(
        &self,
        after: Instant,
        age: Duration,
        list: impl Future<Output = Result<Vec<T>, CallError>>,
    ) -> Result<Arc<Vec<T>>, CallError> {
        let mut held = self.0.lock().await;
        if let Some((at, list)) = &*held
            && *at >= after
            && at.elapsed() < age
        {
            return Ok(Arc::clone(list));
        }
        let at = Instant::now();
        let list = Arc::new(list.await?);
        *held = Some((at, Arc::clone(&list)));
        Ok(list)
    }

    /// Takes a list that was asked for at `at` for another reason.
    pub async fn learn(&self, at: Instant, list: Vec<T>) {
        let mut held = self.0.lock().await;
        if held.as_ref().is_none_or(|(before, _)| *before < at) {
            *held = Some((at, Arc::new(list)));
        }
    }
}

/// What a load balancer consists of.
#[derive(Default)]
struct Children {
    parts: Vec<Part>,
    members: BTreeMap<String, Vec<MemberSpec>>,
    /// Ids of what a peer made.
    theirs: BTreeSet<String>,
}

impl<A: Api> Live<A> {
    /// The cluster's load balancers as they were after `after`.
    pub(crate) async fn load_balancers(
        &self,
        after: Instant,
        age: Duration,
    ) -> Result<Arc<Vec<LoadBalancer>>, CallError> {
        let query = Query::all().tags(&[self.cluster_tag()]).page(PAGE);
        let list = async {
            let asked = Instant::now();
            let all = self.calls.list(&LOAD_BALANCERS, query, Priority::Change).await?;
            self.known().learn(asked, &all);
            Ok(all)
        };
        self.load_balancers.get(after, age, list).await
    }

    fn cluster_tag(&self) -> String {
        tag(TAG_CLUSTER, &self.settings.cluster.id)
    }

    /// Those of all load balancers that are the cluster's.
    pub(crate) fn of_cluster(&self, mut all: Vec<LoadBalancer>) -> Vec<LoadBalancer> {
        let ours = self.cluster_tag();
        all.retain(|lb| lb.tags.contains(&ours));
        all
    }

    /// The project's floating IPs as they were after `after`.
    pub(crate) async fn floating_ips(
        &self,
        after: Instant,
        age: Duration,
    ) -> Result<Arc<Vec<FloatingIp>>, CallError> {
        let query = Query::all().page(PAGE);
        self.floating_ips
            .get(after, age, async { self.calls.list(&FLOATING_IPS, query, Priority::Change).await })
            .await
    }

    /// The project's secrets as they were after `after`; none where there is no Barbican, or we may not list them.
    pub(crate) async fn secrets(&self, after: Instant, age: Duration) -> Result<Arc<Vec<Secret>>, CallError> {
        let query = Query::all().page(SECRETS_PAGE);
        let list = async {
            match self.calls.list(&SECRETS, query, Priority::Change).await {
                Err(CallError::Failed(
                    Failure::NoService { .. } | Failure::Refused { status: 403 | 404, .. },
                )) => Ok(Vec::new()),
                listed => listed,
            }
        };
        self.secrets.get(after, age, list).await
    }

    /// Looks at a stack.
    pub(crate) async fn look(&self, mark: &Mark, wanted: Option<&Wanted>) -> Result<Observed, CallError> {
        let before = self.known().entry(&mark.owner).cloned();
        let mut entry = before.clone().unwrap_or_else(|| Entry::new(Instant::now()));
        let after = entry.touched;
        let had_secrets = before.as_ref().is_none_or(|b| has(b, ResourceType::Secret));
        let lbs = self.load_balancers(after, SHARED).await?;
        let (lb, surplus) = self.which(mark, wanted, &entry, &lbs).await?;
        entry.surplus = surplus;
        entry.take(lb);
        if !entry.pending && entry.depth != Depth::Whole {
            let found = match entry.lb.clone() {
                Some(lb) => self.children(&lb, mark).await?,
                None => Children::default(),
            };
            (entry.parts, entry.members, entry.theirs) = (found.parts, found.members, found.theirs);
            let port = entry.lb.as_ref().and_then(|lb| lb.vip_port_id.as_deref());
            let all = self.floating_ips(after, SHARED).await?;
            let own = |f: &&FloatingIp| {
                let owner = shape::described_owner(&f.description, &mark.cluster);
                owner == Some(mark.owner.as_str()) || (port.is_some() && f.port_id.as_deref() == port)
            };
            entry.floating = all.iter().filter(own).cloned().collect();
            self.made_by_a_peer(mark, &mut entry);
            if self.settings.options.manage_security_groups
                || before.as_ref().is_none_or(|b| has(b, ResourceType::SecurityGroup))
            {
                self.group(mark, &mut entry).await?;
            }
            if wanted.is_some_and(|w| w.secrets) || had_secrets {
                let secrets = self.secrets(after, SHARED).await?;
                entry.parts.extend(secrets.iter().filter_map(|s| shape::secret(s, mark)));
            }
            entry.depth = Depth::Whole;
        }
        let observed = entry.observed(mark);
        let mut known = self.known();
        // What was written meanwhile counts more than what was read.
        if known.entry(&mark.owner).is_none_or(|e| e.touched == after) {
            *known.entry_mut(&mark.owner, after) = entry;
            known.forget_empty(&mark.owner);
        }
        Ok(observed)
    }

    /// The load balancer of a stack, and ids of others with its mark.
    async fn which(
        &self,
        mark: &Mark,
        wanted: Option<&Wanted>,
        entry: &Entry,
        lbs: &[LoadBalancer],
    ) -> Result<(Option<LoadBalancer>, Vec<String>), CallError> {
        let gone = |lb: &LoadBalancer| lb.provisioning_status == Provisioning::Deleted;
        if let Some(id) = wanted.and_then(|w| w.attached.as_deref()) {
            let lb = self.calls.get(&LOAD_BALANCERS, id, Priority::Change).await?;
            return Ok((lb.filter(|lb| !gone(lb)), Vec::new()));
        }
        let mut own: Vec<LoadBalancer> =
            lbs.iter().filter(|lb| mark.owns(&shape::existing(lb)) && !gone(lb)).cloned().collect();
        // What a list does not show (any more) is asked for by its id: only then it is gone.
        let elsewhere = |id: &str| {
            entry.parts.iter().any(|p| p.body.get("loadbalancer_id").and_then(|v| v.as_str()) == Some(id))
        };
        let mut missing: Vec<String> = entry.lb.iter().map(|lb| lb.id.clone()).collect();
        if missing.is_empty() && own.is_empty() {
            let on = entry.parts.iter().find_map(|p| p.body.get("loadbalancer_id")?.as_str());
            missing.extend(on.map(str::to_owned));
            if missing.is_empty() && !self.known().complete {
                missing.extend(self.where_it_is(mark).await?);
            }
        }
        let mut others = None;
        for id in missing.into_iter().filter(|id| own.iter().all(|lb| lb.id != *id)).collect::<Vec<_>>() {
            match self.calls.get(&LOAD_BALANCERS, &id, Priority::Change).await? {
                Some(lb) if gone(&lb) => {}
                Some(lb) if mark.owns(&shape::existing(&lb)) => own.push(lb),
                Some(lb) if elsewhere(&lb.id) || entry.parts.is_empty() => others = Some(lb),
                Some(_) | None => {}
            }
        }
        let going = |lb: &LoadBalancer| lb.provisioning_status == Provisioning::PendingDelete;
        own.sort_by(|a, b| (going(a), &a.created_at, &a.id).cmp(&(going(b), &b.created_at, &b.id)));
        let mut own = own.into_iter();
        let first = own.next().or(others);
        Ok((first, own.filter(|lb| !going(lb)).map(|lb| lb.id).collect()))
    }

    /// The load balancer of others on which something of a stack is.
    async fn where_it_is(&self, mark: &Mark) -> Result<Option<String>, CallError> {
        let query = Query::all().tags(&[tag(TAG_CLUSTER, &mark.cluster), tag(TAG_OWNER, &mark.owner)]);
        let listeners = self.calls.list(&LISTENERS, query.page(PAGE), Priority::Change).await?;
        Ok(listeners.into_iter().find_map(|l| l.loadbalancers.into_iter().next()).map(|id| id.id))
    }

    /// Everything that a load balancer consists of, of whomever.
    async fn children(&self, lb: &LoadBalancer, mark: &Mark) -> Result<Children, CallError> {
        let mut found = Children::default();
        let pools = Query::all().with("loadbalancer_id", lb.id.as_str()).page(PAGE);
        let listeners = Query::all().with("load_balancer_id", lb.id.as_str()).page(PAGE);
        let (pools, listeners) = future::try_join(
            self.calls.list(&POOLS, pools, Priority::Change),
            self.calls.list(&LISTENERS, listeners, Priority::Change),
        )
        .await?;
        let adopted = adopt::is_adopted(&lb.tags);
        let services = mark.owner.starts_with("service/");
        let mut default_pools = BTreeSet::new();
        for listener in &listeners {
            // Other Services and other people may have listeners on it, with tags of their own.
            let untagged = listener.tags.iter().all(String::is_empty);
            let theirs = untagged || listener.tags.contains(&lb.name);
            if adopted && theirs && !adopt::is_marked(&listener.tags) {
                found.theirs.insert(listener.id.clone());
                default_pools.extend(listener.default_pool_id.clone());
            }
        }
        let of_pools = together(pools.iter().map(|pool| self.of_pool(pool)).collect()).await?;
        for (pool, (own, monitor)) in pools.iter().zip(of_pools) {
            found.parts.push(shape::pool(pool, &lb.id, mark));
            let theirs =
                adopted && !adopt::is_marked(&pool.tags) && (!services || default_pools.contains(&pool.id));
            found.theirs.extend(theirs.then(|| pool.id.clone()));
            found.members.insert(pool.id.clone(), own.iter().filter_map(shape::member).collect());
            if let Some(monitor) = monitor {
                found.parts.push(shape::monitor(&monitor, mark));
                let theirs = theirs && !adopt::is_marked(&monitor.tags);
                found.theirs.extend(theirs.then(|| monitor.id.clone()));
            }
        }
        for listener in listeners {
            found.parts.push(shape::listener(&listener, &lb.id, mark));
            if listener.l7policies.is_empty() {
                continue;
            }
            let policies = Query::all().with("listener_id", listener.id.as_str()).page(PAGE);
            let policies = self.calls.list(&L7_POLICIES, policies, Priority::Change).await?;
            let rules = together(policies.iter().map(|policy| self.of_policy(policy)).collect()).await?;
            for (policy, rules) in policies.iter().zip(rules) {
                found.parts.push(shape::policy(policy, mark));
                let theirs = found.theirs.contains(&listener.id) && !adopt::is_marked(&policy.tags);
                found.theirs.extend(theirs.then(|| policy.id.clone()));
                found.parts.extend(rules.iter().map(|r| shape::rule(r, &policy.id, mark)));
                let theirs = rules.iter().filter(|r| theirs && !adopt::is_marked(&r.tags));
                found.theirs.extend(theirs.map(|r| r.id.clone()));
            }
        }
        Ok(found)
    }

    /// Members and monitor of a pool.
    async fn of_pool(&self, pool: &Pool) -> Result<(Vec<Member>, Option<HealthMonitor>), CallError> {
        let own = if pool.members.is_empty() {
            Vec::new()
        } else {
            self.calls.list(&members(&pool.id), Query::all().page(PAGE), Priority::Change).await?
        };
        let monitor = match &pool.healthmonitor_id {
            Some(id) => self.calls.get(&HEALTH_MONITORS, id, Priority::Change).await?,
            None => None,
        };
        Ok((own, monitor))
    }

    /// Rules of a policy.
    async fn of_policy(&self, policy: &L7Policy) -> Result<Vec<L7Rule>, CallError> {
        if policy.rules.is_empty() {
            return Ok(Vec::new());
        }
        self.calls.list(&l7_rules(&policy.id), Query::all().page(PAGE), Priority::Change).await
    }

    /// The security group of a stack, and the ports that have it.
    async fn group(&self, mark: &Mark, entry: &mut Entry) -> Result<(), CallError> {
        let adopted = entry.lb.as_ref().filter(|lb| adopt::is_adopted(&lb.tags)).map(|lb| lb.name.clone());
        let cluster = self.settings.cluster.name.as_str();
        let brief = Query::all().fields(&["id", "name", "description"]).page(PAGE);
        let groups = self.calls.list(&SECURITY_GROUPS, brief, Priority::Change).await?;
        entry.group_ports.clear();
        for group in groups {
            let may = adopted.as_deref().filter(|_| self.settings.options.manage_security_groups);
            let theirs = may.is_some_and(|lb| {
                adopt::made_security_group(cluster, &mark.owner, lb, (&group.name, &group.description))
            });
            if shape::described_owner(&group.description, &mark.cluster) != Some(mark.owner.as_str())
                && !theirs
            {
                continue;
            }
            let Some(group) = self.calls.get(&SECURITY_GROUPS, &group.id, Priority::Change).await? else {
                continue;
            };
            entry.parts.extend(shape::group_parts(&group, true));
            if adopted.is_some() {
                // Whether it had its name from a peer or from us is not to be seen any more once it carries our mark.
                entry.theirs.insert(group.id.clone());
            }
            let with = Query::all().with("security_groups", group.id.as_str());
            let with = with.fields(&["id", "security_groups"]).page(PAGE);
            let ports = self.calls.list(&PORTS, with, Priority::Change).await?;
            let has = ports.into_iter().filter(|p| p.security_groups.contains(&group.id));
            entry.group_ports.extend(has.map(|p| p.id));
        }
        Ok(())
    }
}

impl<A: Api> Live<A> {
    /// Notes which floating IP the peer made that the load balancer was taken over from.
    fn made_by_a_peer(&self, mark: &Mark, entry: &mut Entry) {
        let Some(lb) = entry.lb.as_ref().filter(|lb| adopt::is_adopted(&lb.tags)) else { return };
        let cluster = self.settings.cluster.name.as_str();
        let made = |f: &&FloatingIp| {
            f.port_id.is_some()
                && f.port_id == lb.vip_port_id
                && adopt::made_floating_ip(cluster, &mark.owner, &lb.name, &f.description)
        };
        let made: Vec<String> = entry.floating.iter().filter(made).map(|f| f.id.clone()).collect();
        entry.theirs.extend(made);
    }

    /// A peer's load balancer, and what will be there once it is ours; `None`: it is gone, or somebody else's by now.
    pub(crate) async fn peer(&self, mark: &Mark, id: &str) -> Result<Option<PeerLoadBalancer>, CallError> {
        let there = self.calls.get(&LOAD_BALANCERS, id, Priority::Change).await?;
        let going = |lb: &LoadBalancer| {
            matches!(lb.provisioning_status, Provisioning::PendingDelete | Provisioning::Deleted)
        };
        let Some(mut lb) = there.filter(|lb| !going(lb) && !adopt::is_marked(&lb.tags)) else {
            return Ok(None);
        };
        lb.tags.extend(mark.octavia_tags(ResourceType::LoadBalancer, LOAD_BALANCER));
        // Whose it was does not matter here, only that it was somebody's.
        lb.tags.push(adopt::mark(""));
        let found = self.children(&lb, mark).await?;
        let now = Instant::now();
        let floating = self.floating_ips(now, SHARED).await?;
        let leads = |f: &&FloatingIp| f.port_id.is_some() && f.port_id == lb.vip_port_id;
        let mut entry = Entry::new(now);
        entry.floating = floating.iter().filter(leads).cloned().collect();
        (entry.parts, entry.members, entry.theirs) = (found.parts, found.members, found.theirs);
        let name = lb.name.clone();
        entry.lb = Some(lb);
        self.made_by_a_peer(mark, &mut entry);
        if self.settings.options.manage_security_groups {
            self.group(mark, &mut entry).await?;
        }
        let then = entry.observed(mark);
        let state = then.load_balancer.as_ref().map(|lb| lb.state).unwrap_or_default();
        Ok(Some(PeerLoadBalancer { name, state, then }))
    }
}

/// What all of these give, in their order, a few of them under way at a time.
async fn together<T>(reads: Vec<impl Future<Output = Result<T, CallError>>>) -> Result<Vec<T>, CallError> {
    stream::iter(reads).buffered(AT_ONCE).try_collect().await
}

fn has(entry: &Entry, kind: ResourceType) -> bool {
    entry.parts.iter().any(|p| p.kind == kind)
}
