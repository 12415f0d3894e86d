//! The first look: everything with the cluster's mark, by lists of the whole project. I/O.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::api::neutron::SECURITY_GROUPS;
use crate::api::octavia::{HEALTH_MONITORS, L7_POLICIES, LISTENERS, POOLS};
use crate::api::{Api, CallError, Priority, Query};
use crate::live::{FRESH, Live};
use crate::observe::known::{Depth, Entry, Known};
use crate::observe::read::PAGE;
use crate::observe::{Part, shape};
use crate::stack::ResourceType;

impl<A: Api> Live<A> {
    /// Lists everything; what is not seen then does not exist.
    pub(crate) async fn list_everything(&self) -> Result<(), CallError> {
        let now = Instant::now();
        let priority = Priority::Change;
        let page = || Query::all().page(PAGE);
        let lbs = self.load_balancers(self.began, FRESH).await?;
        let addresses = self.floating_ips(self.began, FRESH).await?;
        let (mut listeners, mut pools, mut monitors, mut policies) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // Listeners may be on a load balancer of others.
        listeners.extend(self.calls.list(&LISTENERS, page(), priority).await?);
        if !lbs.is_empty() || !listeners.is_empty() {
            pools.extend(self.calls.list(&POOLS, page(), priority).await?);
            monitors.extend(self.calls.list(&HEALTH_MONITORS, page(), priority).await?);
        }
        if listeners.iter().any(|l| !l.l7policies.is_empty()) {
            policies.extend(self.calls.list(&L7_POLICIES, page(), priority).await?);
        }
        let cluster = self.settings.cluster.id.as_str();
        let mut known = Known::whole();
        // Groups and secrets that nothing seen so far speaks of are leftovers at most: these have time.
        known.unlisted.extend([ResourceType::SecurityGroup, ResourceType::Secret]);
        for lb in lbs.iter() {
            let owner = shape::tagged_owner(&lb.tags, cluster)
                .or_else(|| shape::described_owner(&lb.description, cluster));
            let Some(owner) = owner else { continue };
            let entry = known.entry_mut(owner, now);
            if entry.lb.is_some() {
                // More than one: which serves is for a closer look to say.
                entry.surplus.push(lb.id.clone());
                continue;
            }
            entry.lb = Some(lb.clone());
        }
        let owners: BTreeMap<String, String> = known
            .entries()
            .filter_map(|(owner, e)| Some((e.lb.as_ref()?.id.clone(), owner.clone())))
            .collect();
        let owner_of = |lb: Option<&String>, tags: &[String]| {
            let of_lb = lb.and_then(|id| owners.get(id)).map(String::as_str);
            of_lb.or_else(|| shape::tagged_owner(tags, cluster)).map(str::to_owned)
        };
        let mut of_pool: BTreeMap<String, String> = BTreeMap::new();
        let mut of_listener: BTreeMap<String, String> = BTreeMap::new();
        for l in &listeners {
            let lb = l.loadbalancers.first().map(|id| &id.id);
            let Some(owner) = owner_of(lb, &l.tags) else { continue };
            of_listener.insert(l.id.clone(), owner.clone());
            let part = shape::listener(l, lb.map_or("", String::as_str), &self.mark(&owner));
            add(&mut known, &owner, now, part);
        }
        for p in &pools {
            let lb = p.loadbalancers.first().map(|id| &id.id);
            let Some(owner) = owner_of(lb, &p.tags) else { continue };
            of_pool.insert(p.id.clone(), owner.clone());
            let part = shape::pool(p, lb.map_or("", String::as_str), &self.mark(&owner));
            known.entry_mut(&owner, now).counts.insert(p.id.clone(), p.members.len());
            add(&mut known, &owner, now, part);
        }
        for m in &monitors {
            if let Some(owner) = m.pools.first().and_then(|p| of_pool.get(&p.id)) {
                add(&mut known, owner, now, shape::monitor(m, &self.mark(owner)));
            }
        }
        for p in &policies {
            if let Some(owner) = of_listener.get(&p.listener_id) {
                add(&mut known, owner, now, shape::policy(p, &self.mark(owner)));
            }
        }
        for address in addresses.iter() {
            if let Some(owner) = shape::described_owner(&address.description, cluster) {
                known.entry_mut(owner, now).floating.push(address.clone());
            }
        }
        for (_, entry) in known.entries_mut() {
            let port = entry.lb.as_ref().and_then(|lb| lb.vip_port_id.clone());
            let others =
                addresses.iter().filter(|a| port.is_some() && a.port_id == port).cloned().collect::<Vec<_>>();
            for other in others {
                if entry.floating.iter().all(|f| f.id != other.id) {
                    entry.floating.push(other);
                }
            }
            entry.depth = Depth::Listed;
            entry.pending = entry.lb.as_ref().is_some_and(|lb| lb.provisioning_status.pending());
        }
        let secrets = listeners
            .iter()
            .any(|l| l.default_tls_container_ref.is_some() || !l.sni_container_refs.is_empty());
        *self.known() = known;
        if self.settings.options.manage_security_groups {
            self.list_groups().await?;
        }
        if secrets {
            self.list_secrets(self.began).await?;
        }
        Ok(())
    }

    /// Lists what the start left for later, once that has come.
    pub(crate) async fn list_the_rest(&self) -> Result<(), CallError> {
        let now = Instant::now();
        if now.duration_since(self.began) < FRESH {
            return Ok(());
        }
        let rest = self.known().unlisted.clone();
        if rest.contains(&ResourceType::SecurityGroup) {
            self.list_groups().await?;
        }
        if rest.contains(&ResourceType::Secret) {
            self.list_secrets(now).await?;
        }
        Ok(())
    }

    async fn list_groups(&self) -> Result<(), CallError> {
        let brief = Query::all().page(PAGE).fields(&["id", "description"]);
        let asked = Instant::now();
        let groups = self.calls.list(&SECURITY_GROUPS, brief, Priority::Change).await?;
        let marked = groups.iter().flat_map(|group| {
            let owner = shape::described_owner(&group.description, &self.settings.cluster.id);
            owner.into_iter().flat_map(|owner| {
                let parts = shape::security_group(group, &self.mark(owner));
                parts.into_iter().map(move |part| (owner, part))
            })
        });
        // Its rules and ports are no part of a list.
        self.add_unless_touched(asked, marked, Depth::Doubtful);
        self.known().unlisted.remove(&ResourceType::SecurityGroup);
        Ok(())
    }

    async fn list_secrets(&self, after: Instant) -> Result<(), CallError> {
        let asked = Instant::now();
        let secrets = self.secrets(after, FRESH).await?;
        let marked = secrets.iter().filter_map(|secret| {
            let owner = shape::described_owner(&secret.name, &self.settings.cluster.id)?;
            Some((owner, shape::secret(secret, &self.mark(owner))?))
        });
        self.add_unless_touched(asked, marked, Depth::Listed);
        self.known().unlisted.remove(&ResourceType::Secret);
        Ok(())
    }

    /// Adds parts that a list showed: not to stacks that were written to since, whose parts are known better.
    fn add_unless_touched<'a>(
        &self,
        asked: Instant,
        parts: impl Iterator<Item = (&'a str, Part)>,
        depth: Depth,
    ) {
        let mut known = self.known();
        for (owner, part) in parts {
            let entry = known.entry_mut(owner, asked);
            let there = entry.parts.iter().any(|p| p.kind == part.kind && p.id == part.id);
            if entry.touched > asked || there {
                continue;
            }
            entry.parts.push(part);
            if entry.depth != Depth::Doubtful {
                entry.depth = depth;
            }
        }
    }
}

fn add(known: &mut Known, owner: &str, now: Instant, part: Part) {
    let entry: &mut Entry = known.entry_mut(owner, now);
    entry.put(part);
}
