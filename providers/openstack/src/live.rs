//! A live OpenStack: what is known of it, kept in step with what is written and read. I/O.
//!
//! At the start a fixed number of lists shows what carries the cluster's mark, but for groups and secrets that nothing else speaks of, which are looked for a minute later; after
//! that a stack is known by the answers to what was written.
//! While a load balancer is busy its worker is free: whoever looks at one that is asks for the states of all of them, in one list a second for everybody.

mod answers;
mod start;
#[cfg(test)]
mod unread;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_api::{CloudError, Fence, Found, LbKey, NodeRef, Outcome, Owned, Refresh, Result};
use tokio::time::Instant;

use crate::api::barbican::Secret;
use crate::api::neutron::FloatingIp;
use crate::api::octavia::{LoadBalancer, Provisioning};
use crate::api::{Api, CallError, Calls};
use crate::certificates::{self, Content, Secrets};
use crate::client::Client;
use crate::cloud::{Cloud, Wanted};
use crate::instances;
use crate::inventory::{Answers, Cluster, Inventory, Rare};
use crate::observe::known::{Depth, Known};
use crate::observe::read::Shared;
use crate::observe::{Observed, Part, State, shape};
use crate::options::{Complaint, Options};
use crate::ownership::{Mark, resource};
use crate::plan::Change;
use crate::posts::Unclear;
use crate::stack::ResourceType;
use crate::stubborn::{Busy, Stubborn};

/// How often lists are compared with what is known.
pub const AUDIT_PERIOD: Duration = Duration::from_secs(60);
/// Some seven to twelve calls each time: networks, subnets, flavors and quotas come and go by other hands.
const REFRESH: Refresh = Refresh {
    calm: Duration::from_secs(300),
    troubled: Duration::from_secs(120),
    soonest: Duration::from_secs(60),
};
/// How soon an inventory is read again if somebody waits for what it lacks.
const ASKED: Duration = Duration::from_millis(500);
/// Stacks of which only lists were seen, or that were written to since, and that are looked at whole, in one audit.
const LOOKS: usize = 10;
/// A change that takes longer holds up nothing else.
const BUSY: Duration = Duration::from_secs(300);
/// How often Barbican is compared with what is known: who takes a secret away, takes it away from a listener that goes on with its copy.
const SECRETS_PERIOD: Duration = Duration::from_secs(3600);
/// A list that the start may use.
pub(crate) const FRESH: Duration = Duration::from_secs(60);

/// What of a login is known besides the calls it allows.
pub trait Account: Api {
    /// Id of the project.
    fn project(&self) -> impl Future<Output = Result<String, CallError>> + Send;
    /// Types of the services that the catalog has.
    fn services(&self) -> impl Future<Output = Result<Vec<String>, CallError>> + Send;
    /// Somebody else may have used the rate up.
    fn restart(&self);
}

impl Account for Arc<Client> {
    async fn project(&self) -> Result<String, CallError> {
        Client::project(self).await
    }

    async fn services(&self) -> Result<Vec<String>, CallError> {
        Ok(Client::catalog(self).await?.0.into_iter().map(|entry| entry.kind).collect())
    }

    fn restart(&self) {
        Client::restart(self);
    }
}

/// Settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster.
    pub cluster: Cluster,
    /// Options.
    pub options: Options,
    /// What was wrong with them.
    pub complaints: Vec<Complaint>,
    /// Longest time of one call, as the client has it.
    pub call: Duration,
    /// Where the Nodes' servers are, and what of them is told.
    pub servers: instances::Place,
}

/// Longest time of one call, unless the configuration says otherwise: a Lease of usual length outlasts it.
pub const CALL: Duration = Duration::from_secs(10);

/// OpenStack, with what is known of it.
pub struct Live<A> {
    pub(crate) calls: Calls<A>,
    pub(crate) settings: Settings,
    pub(crate) load_balancers: Shared<LoadBalancer>,
    pub(crate) floating_ips: Shared<FloatingIp>,
    pub(crate) secrets: Shared<Secret>,
    pub(crate) began: Instant,
    pub(crate) cluster_secrets: Arc<dyn Secrets>,
    contents: Mutex<certificates::Known>,
    asked: Mutex<Asked>,
    known: Mutex<Known>,
    /// POSTs of which nobody knows whether they are still being worked on.
    unclear: Mutex<Unclear>,
    /// Changes that are refused again and again.
    stubborn: Mutex<Stubborn>,
    /// Load balancers that are busy.
    busy: Mutex<Busy>,
    /// When Barbican was last compared with what is known.
    secrets_compared: Mutex<Instant>,
}

/// What of the inventory was asked for.
#[derive(Debug, Default)]
struct Asked {
    /// What somebody needs of what few need.
    rare: BTreeSet<Rare>,
    /// The last answers, and when they were asked for.
    last: Option<(Instant, Answers)>,
}

impl<A> fmt::Debug for Live<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<A: Api> Live<A> {
    /// OpenStack, of which nothing is known yet; what Secrets of the cluster hold is read through `secrets`.
    pub fn new(api: A, settings: Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self {
            calls: Calls::new(api),
            settings,
            load_balancers: Shared::default(),
            floating_ips: Shared::default(),
            secrets: Shared::default(),
            began: Instant::now(),
            cluster_secrets: secrets,
            contents: Mutex::default(),
            asked: Mutex::default(),
            known: Mutex::default(),
            unclear: Mutex::default(),
            stubborn: Mutex::default(),
            busy: Mutex::default(),
            secrets_compared: Mutex::new(Instant::now()),
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        // Every change of it leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unclear(&self) -> MutexGuard<'_, Unclear> {
        self.unclear.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stubborn(&self) -> MutexGuard<'_, Stubborn> {
        self.stubborn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> MutexGuard<'_, certificates::Known> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mark(&self, owner: &str) -> Mark {
        Mark { cluster: self.settings.cluster.id.clone(), owner: owner.to_owned() }
    }
}

pub(crate) fn failed(error: &CallError) -> CloudError {
    error.classify(None, "reading OpenStack")
}

impl<A: Account> Cloud for Live<A> {
    fn content(&self, owner: &str, secret: &str, version: &str) -> Content {
        let before = || {
            let source = crate::naming::secret_source(&self.mark(owner), secret);
            let known = self.known();
            let is = resource(ResourceType::Secret, &source);
            let part = known.entry(owner)?.part(ResourceType::Secret, &is)?;
            let (_, digest) = crate::naming::of_secret(part.body.get("name")?.as_str()?)?;
            Some(digest.to_owned())
        };
        self.contents().content(secret, version, before)
    }

    async fn read(&self, unread: &BTreeMap<String, String>) -> Result<()> {
        for (secret, version) in unread {
            let read = certificates::read(&*self.cluster_secrets, secret).await?;
            self.contents().learn(secret, version, read.map(|bundle| bundle.digest));
        }
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        self.calls.api.restart();
        self.list_everything().await.map_err(|e| failed(&e))
    }

    fn ask(&self, rare: &BTreeSet<Rare>) {
        self.asked().rare.extend(rare);
    }

    async fn inventory(&self) -> Result<Inventory> {
        let (rare, last) = {
            let asked = self.asked();
            (asked.rare.clone(), asked.last.clone())
        };
        let lacks = |last: &Answers| !last.unasked.is_disjoint(&rare);
        let (at, openstack) = match last {
            // Somebody waits for the rest alone.
            Some((at, mut last)) if lacks(&last) && at.elapsed() < FRESH => {
                self.ask(&mut last, &rare).await.map_err(|e| failed(&e))?;
                (at, last)
            }
            _ => (Instant::now(), self.answers(&rare).await.map_err(|e| failed(&e))?),
        };
        self.asked().last = Some((at, openstack.clone()));
        let Settings { cluster, options, complaints, .. } = self.settings.clone();
        Ok(Inventory { cluster, options, complaints, openstack })
    }

    async fn observe(&self, key: &LbKey, wanted: Option<&Wanted>) -> Result<Observed> {
        let mark = self.mark(&key.owner_tag());
        let sure = self.known().sure(&mark, wanted);
        let mut observed = match sure {
            Some(observed) => observed,
            None => self.closer(&mark, wanted).await?,
        };
        if let Some(id) = wanted.and_then(|w| w.adopt.as_deref())
            && observed.load_balancer.is_none()
        {
            observed.peer = self.peer(&mark, id).await.map_err(|e| failed(&e))?.map(Box::new);
        }
        let busy = observed.load_balancer.as_ref().filter(|lb| lb.state == State::Pending);
        let busy = busy.map(|lb| lb.id.as_str());
        let mut all = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        observed.stuck = all.seen(&mark.owner, busy, Instant::now());
        Ok(observed)
    }

    async fn apply(&self, change: &Change, fence: &Fence) -> Result<Outcome> {
        crate::apply::apply(self, change, fence).await
    }

    async fn owned(&self) -> Result<Vec<Owned>> {
        if !self.known().complete {
            self.list_everything().await.map_err(|e| failed(&e))?;
        } else {
            self.list_the_rest().await.map_err(|e| failed(&e))?;
            self.find_strangers().await.map_err(|e| failed(&e))?;
        }
        let known = self.known();
        let there = known.entries().filter(|(_, e)| !e.is_empty());
        Ok(there.filter_map(|(owner, _)| LbKey::of_owner_tag(owner)).map(|key| Owned { key }).collect())
    }

    async fn instances(&self, nodes: &[NodeRef]) -> Result<Vec<Found>> {
        instances::find(&self.calls, &self.settings.servers, nodes).await.map_err(|e| failed(&e))
    }

    fn write_deadline(&self) -> Duration {
        self.settings.call
    }

    fn refresh(&self) -> Option<Refresh> {
        let asked = self.asked();
        let waiting = asked.last.as_ref().is_some_and(|(_, last)| !last.unasked.is_disjoint(&asked.rare));
        Some(if waiting { Refresh { calm: ASKED, ..REFRESH } } else { REFRESH })
    }

    fn audit_period(&self) -> Option<Duration> {
        Some(AUDIT_PERIOD)
    }

    async fn audit(&self) -> Result<Vec<LbKey>> {
        let moved = self.moved().await.map_err(|e| failed(&e))?;
        Ok(moved.iter().filter_map(|owner| LbKey::of_owner_tag(owner)).collect())
    }
}

impl<A: Api> Live<A> {
    /// Looks where what is known does not suffice.
    async fn closer(&self, mark: &Mark, wanted: Option<&Wanted>) -> Result<Observed> {
        {
            let mut known = self.known();
            let complete = known.complete;
            if let Some(entry) = known.entries_mut().find(|(o, _)| **o == mark.owner).map(|(_, e)| e)
                && complete
                && entry.depth == Depth::Listed
            {
                // Lists did not suffice.
                entry.depth = Depth::Doubtful;
            }
        }
        self.look(mark, wanted).await.map_err(|e| failed(&e))
    }

    /// Stacks with our mark that nobody knew of: another process of ours made them, or an answer was lost.
    async fn find_strangers(&self) -> Result<(), CallError> {
        let asked = Instant::now();
        let lbs = self.load_balancers(self.began, FRESH).await?;
        let addresses = self.floating_ips(self.began, FRESH).await?;
        let cluster = &self.settings.cluster.id;
        let of_lbs = lbs.iter().filter(|lb| lb.provisioning_status != Provisioning::PendingDelete);
        let of_lbs = of_lbs.filter_map(|lb| {
            shape::tagged_owner(&lb.tags, cluster).or(shape::described_owner(&lb.description, cluster))
        });
        let of_addresses = addresses.iter().filter_map(|f| shape::described_owner(&f.description, cluster));
        let owners: BTreeSet<&str> = of_lbs.chain(of_addresses).collect();
        for owner in owners {
            if self.known().entry(owner).is_none() {
                // The list may be older than a deletion of ours.
                self.known().entry_mut(owner, asked);
                self.look(&self.mark(owner), None).await?;
            }
        }
        Ok(())
    }

    /// Barbican's secrets, where it is time to compare them and there are some of ours.
    async fn secrets_if_due(&self, asked: Instant) -> Result<Option<Arc<Vec<Secret>>>, CallError> {
        let due = {
            let compared = self.secrets_compared.lock().unwrap_or_else(PoisonError::into_inner);
            asked.duration_since(*compared) >= SECRETS_PERIOD
        };
        let any = || {
            let known = self.known();
            known.entries().any(|(_, e)| e.parts.iter().any(|p| p.kind == ResourceType::Secret))
        };
        if !due || !any() {
            return Ok(None);
        }
        let secrets = self.secrets(asked, Duration::ZERO).await?;
        *self.secrets_compared.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        Ok(Some(secrets))
    }

    /// Owners of stacks that moved without us, and of some that only lists were seen of.
    async fn moved(&self) -> Result<Vec<String>, CallError> {
        let asked = Instant::now();
        let lbs = self.load_balancers(asked, Duration::ZERO).await?;
        let addresses = self.floating_ips(asked, Duration::ZERO).await?;
        let secrets = self.secrets_if_due(asked).await?;
        let cluster = self.settings.cluster.id.clone();
        let mut moved = Vec::new();
        let mut looks = 0;
        let mut known = self.known();
        // What is being written will have to be looked at again, and whoever waits for it comes first.
        let busy = known.entries().any(|(_, e)| e.pending && asked.duration_since(e.touched) < BUSY);
        for (owner, entry) in known.entries_mut() {
            if entry.pending || entry.touched >= asked || entry.depth == Depth::Doubtful {
                continue;
            }
            let other = entry.lb.as_ref().is_some_and(|known| {
                let now = lbs.iter().find(|lb| lb.id == known.id);
                let same = |now: &LoadBalancer| {
                    now.updated_at == known.updated_at
                        && now.provisioning_status == known.provisioning_status
                        && now.tags == known.tags
                };
                // That of others is in no list by our tag.
                let ours = shape::tagged_owner(&known.tags, &cluster) == Some(owner);
                ours && !now.is_some_and(same)
            });
            let known_now: Vec<_> =
                entry.floating.iter().map(|f| addresses.iter().find(|a| a.id == f.id)).collect();
            let same = |(f, now): (&FloatingIp, &Option<&FloatingIp>)| {
                now.is_some_and(|n| {
                    (&n.port_id, &n.description, &n.tags) == (&f.port_id, &f.description, &f.tags)
                })
            };
            let led = !entry.floating.iter().zip(&known_now).all(same);
            let gone = |p: &&Part| {
                p.kind == ResourceType::Secret
                    && secrets.as_ref().is_some_and(|all| !all.iter().any(|s| shape::is_secret(s, &p.id)))
            };
            let secret_gone = entry.parts.iter().any(|p| gone(&p));
            let shallow =
                (entry.depth == Depth::Listed || entry.checked < entry.touched) && !busy && looks < LOOKS;
            if other || led || secret_gone || shallow {
                looks += usize::from(shallow);
                entry.depth = Depth::Doubtful;
                entry.touched = asked;
                entry.checked = asked;
                moved.push(owner.clone());
            }
        }
        Ok(moved)
    }
}
