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
        let brief = page().fields(&["id", "description"]);
        let groups = self.calls.list(&SECURITY_GROUPS, brief, priority).await?;
        let secrets = self.secrets(self.began, FRESH).await?;

        let cluster = self.settings.cluster.id.as_str();
        let mut known = Known::whole();
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
        for secret in secrets.iter() {
            if let Some(owner) = shape::described_owner(&secret.name, cluster)
                && let Some(part) = shape::secret(secret, &self.mark(owner))
            {
                add(&mut known, owner, now, part);
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
        for group in &groups {
            if let Some(owner) = shape::described_owner(&group.description, cluster) {
                // Its rules and ports are no part of a list.
                let mark = self.mark(owner);
                let entry = known.entry_mut(owner, now);
                entry.parts.extend(shape::security_group(group, &mark));
                entry.depth = Depth::Doubtful;
            }
        }
        *self.known() = known;
        Ok(())
    }
}

fn add(known: &mut Known, owner: &str, now: Instant, part: Part) {
    let entry: &mut Entry = known.entry_mut(owner, now);
    entry.put(part);
}
