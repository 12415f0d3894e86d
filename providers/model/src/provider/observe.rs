//! What is there. Reads of the cloud, and what the provider knows for sure: the inventory of the start, brought up to date by the answers
//! to its own writes. Whatever may have failed is looked at again.
//!
//! [`Known`] is pure; [`observe`], [`inventory`] and [`audit`] read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_api::{CloudError, Layer, LbKey, Result, names};
use serde::Serialize;

use super::apply::classify;
use super::naming;
use super::plan::sets_of;
use crate::cloud::{Answer, Code, LoadBalancer, NodeSets, Nodes, Request, SetId, Status, Tags, edit};
use crate::transport::{CallError, Transport};

/// The load balancers that carry the mark of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// By id.
    pub load_balancers: Vec<LoadBalancer>,
    /// The sets of nodes that they name.
    pub sets: BTreeMap<SetId, Nodes>,
}

/// What a key is called by the cloud: layer and owner tag.
type Slot = (Layer, String);

fn slot(key: &LbKey) -> Slot {
    (key.layer, key.owner_tag())
}

#[derive(Debug, Default)]
struct Entry {
    load_balancers: Vec<LoadBalancer>,
    /// Something may have happened that is not in here.
    doubtful: bool,
    writing: u32,
    /// [`Known::clock`] when the last write began or ended.
    touched: u64,
}

/// What the provider knows.
#[derive(Debug, Default)]
pub struct Known {
    /// The inventory was taken: what is not in here does not exist.
    complete: bool,
    /// Counts writes, so that a list which was read meanwhile does not overwrite what they did.
    clock: u64,
    entries: HashMap<Slot, Entry>,
    sets: NodeSets,
}

impl Known {
    /// What is known for sure of a key; `None`: look.
    #[must_use]
    pub fn sure(&self, key: &LbKey) -> Option<Observed> {
        match self.entries.get(&slot(key)) {
            None => self.complete.then(Observed::default),
            Some(entry) => {
                let several = entry.load_balancers.len() > 1;
                let moving = |s: Status| s.locked() || (several && s != Status::Active);
                let sure = !entry.doubtful && !entry.load_balancers.iter().any(|lb| moving(lb.status));
                sure.then(|| self.observed(&entry.load_balancers))
            }
        }
    }

    fn observed(&self, load_balancers: &[LoadBalancer]) -> Observed {
        let sets = sets_of(load_balancers, &self.sets);
        Observed { load_balancers: load_balancers.to_vec(), sets }
    }

    /// The load balancers of a key, sure or not.
    #[must_use]
    pub fn of(&self, key: &LbKey) -> &[LoadBalancer] {
        self.entries.get(&slot(key)).map_or(&[], |e| &e.load_balancers)
    }

    /// Keeps what a look at one key showed.
    pub fn seen(
        &mut self,
        key: &LbKey,
        load_balancers: Vec<LoadBalancer>,
        sets: BTreeMap<SetId, Nodes>,
    ) -> Observed {
        for (id, nodes) in sets {
            self.sets.insert(id, nodes);
        }
        self.clock += 1;
        let touched = self.clock;
        let observed = self.observed(&load_balancers);
        let entry = self.entries.entry(slot(key)).or_default();
        // One key has one write in flight at a time: one that is still counted was given up by its caller.
        *entry = Entry { load_balancers, doubtful: false, touched, writing: 0 };
        self.forget_sets();
        observed
    }

    /// A write of this key begins.
    pub fn begin(&mut self, key: &LbKey) {
        self.clock += 1;
        let entry = self.entries.entry(slot(key)).or_default();
        entry.writing += 1;
        // Until it has ended well: the process may be asked again, or give up waiting, at any time.
        entry.doubtful = true;
        entry.touched = self.clock;
    }

    /// A write ended: `sure` if its effect is certain and in here.
    fn end(&mut self, key: &LbKey, sure: bool, was_doubtful: bool) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(entry) = self.entries.get_mut(&slot(key)) {
            entry.writing = entry.writing.saturating_sub(1);
            entry.touched = clock;
            entry.doubtful = !sure || was_doubtful || entry.writing > 0;
        }
    }

    /// Whether something may have happened to a key that is not known.
    #[must_use]
    pub fn doubtful(&self, key: &LbKey) -> bool {
        self.entries.get(&slot(key)).map_or(!self.complete, |e| e.doubtful)
    }

    /// A write ended with this answer; `was_doubtful` is what [`Known::doubtful`] said before it began. What it did is done here too.
    pub fn wrote(
        &mut self,
        key: &LbKey,
        request: &Request,
        answer: &Result<Answer, CallError>,
        was_doubtful: bool,
    ) {
        let sure = match answer {
            Ok(answer) => self.take_over(key, request, answer),
            // Refused before it could do anything, and not for a reason that belies what is known.
            Err(CallError::Refused(refusal)) => {
                matches!(refusal.code, Code::Throttled | Code::Validation | Code::QuotaExceeded)
            }
            Err(CallError::NoAnswer(_)) => false,
        };
        self.end(key, sure, was_doubtful);
        self.forget_sets();
    }

    fn take_over(&mut self, key: &LbKey, request: &Request, answer: &Answer) -> bool {
        let Some(entry) = self.entries.get_mut(&slot(key)) else { return false };
        match (request, answer) {
            (Request::CreateLoadBalancer { spec, sets }, Answer::Created { load_balancer }) => {
                for (id, nodes) in sets {
                    self.sets.insert(id.clone(), nodes.clone());
                }
                entry.load_balancers.retain(|lb| lb.id != load_balancer.id);
                entry
                    .load_balancers
                    .push(LoadBalancer { spec: (**spec).clone(), ..(**load_balancer).clone() });
                true
            }
            (request, Answer::Changed { status, addresses }) => {
                let id = request.load_balancer().unwrap_or_default();
                let Some(at) = entry.load_balancers.iter().position(|lb| lb.id == id) else { return false };
                let Some(status) = status else {
                    entry.load_balancers.remove(at);
                    return true;
                };
                let lb = &mut entry.load_balancers[at];
                lb.status = *status;
                if *status == Status::PendingDelete {
                    return true;
                }
                lb.addresses.clone_from(addresses);
                edit(&mut lb.spec, &mut self.sets, request).is_ok()
            }
            _ => false,
        }
    }

    fn forget_sets(&mut self) {
        if self.sets.len() > 1024 {
            let all = self.entries.values().flat_map(|e| &e.load_balancers);
            let used: BTreeSet<&SetId> =
                all.flat_map(|lb| lb.spec.targets.values()).flat_map(|t| t.values()).collect();
            self.sets.retain(&used);
        }
    }

    /// Takes over a complete list that was begun at `since`; what was written meanwhile stays. Ids that the list misses without any
    /// write of ours are answered: one must ask for them.
    fn audited(
        &mut self,
        all: Vec<LoadBalancer>,
        sets: BTreeMap<SetId, Nodes>,
        since: u64,
    ) -> Vec<(Slot, String)> {
        for (id, nodes) in sets {
            self.sets.insert(id, nodes);
        }
        let mut found: HashMap<Slot, Vec<LoadBalancer>> = HashMap::new();
        for lb in all {
            if let Some(key) = naming::key(&lb.spec.tags) {
                found.entry(slot(&key)).or_default().push(lb);
            }
        }
        let mut missing = Vec::new();
        let untouched = |e: &Entry| e.touched <= since && e.writing == 0;
        for (slot, entry) in &self.entries {
            let listed = found.get(slot).map_or(&[][..], Vec::as_slice);
            let gone = entry.load_balancers.iter().filter(|lb| listed.iter().all(|l| l.id != lb.id));
            if untouched(entry) {
                missing.extend(gone.map(|lb| (slot.clone(), lb.id.clone())));
            }
        }
        for (slot, load_balancers) in found {
            let entry = self.entries.entry(slot).or_default();
            if untouched(entry)
                && missing.iter().all(|(_, id)| entry.load_balancers.iter().all(|lb| lb.id != *id))
            {
                *entry = Entry { load_balancers, doubtful: false, ..*entry };
            }
        }
        // An empty entry stays until a whole list that was begun after its last write: an older page may still show what is deleted.
        self.entries
            .retain(|_, entry| !(entry.load_balancers.is_empty() && untouched(entry) && !entry.doubtful));
        self.complete = true;
        missing
    }

    /// A load balancer that a list missed was asked for by id: gone, or its key must be looked at again.
    fn missed(&mut self, slot: &Slot, id: &str, gone: bool) {
        if let Some(entry) = self.entries.get_mut(slot) {
            if gone {
                entry.load_balancers.retain(|lb| lb.id != id);
            } else {
                entry.doubtful = true;
            }
            if entry.load_balancers.is_empty() && entry.writing == 0 && !entry.doubtful {
                self.entries.remove(slot);
            }
        }
    }

    /// The keys that have a load balancer.
    pub fn keys(&self) -> impl Iterator<Item = LbKey> + '_ {
        let first = self.entries.values().filter_map(|e| e.load_balancers.first());
        first.filter_map(|lb| naming::key(&lb.spec.tags))
    }
}

/// A lock that a panic elsewhere does not take away: every change of [`Known`] leaves it usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All load balancers with these tags, page by page.
async fn list<T: Transport>(
    transport: &T,
    tags: Tags,
) -> Result<(Vec<LoadBalancer>, BTreeMap<SetId, Nodes>), CallError> {
    let (mut all, mut sets, mut after) = (Vec::new(), BTreeMap::new(), None);
    loop {
        match transport.call(Request::ListLoadBalancers { tags: tags.clone(), after }).await? {
            Answer::LoadBalancers { items, sets: more, next } => {
                all.extend(items);
                sets.extend(more);
                match next {
                    Some(_) => after = next,
                    None => return Ok((all, sets)),
                }
            }
            other => return Err(CallError::NoAnswer(format!("an answer to another call: {other:?}"))),
        }
    }
}

/// Looks at a key in the cloud.
pub(super) async fn look<T: Transport>(
    transport: &T,
    known: &Mutex<Known>,
    cluster: &str,
    key: &LbKey,
) -> Result<Observed> {
    let (all, sets) = list(transport, naming::tags(cluster, key)).await.map_err(|e| classify(e, None))?;
    Ok(lock(known).seen(key, all, sets))
}

/// What is there for a key: from what is known, if that is sure.
pub(super) async fn observe<T: Transport>(
    transport: &T,
    known: &Mutex<Known>,
    cluster: &str,
    key: &LbKey,
    poll: Duration,
) -> Result<Observed> {
    let sure = lock(known).sure(key);
    let observed = match sure {
        Some(observed) => observed,
        None => look(transport, known, cluster, key).await?,
    };
    let several = observed.load_balancers.len() > 1;
    let busy = |s: Status| s.locked() || (several && s != Status::Active);
    if observed.load_balancers.iter().any(|lb| busy(lb.status)) {
        return Err(CloudError::Pending(poll));
    }
    Ok(observed)
}

/// Reads the quotas.
pub(super) async fn inventory<T: Transport>(transport: &T) -> Result<BTreeMap<String, u64>> {
    match transport.call(Request::DescribeQuotas).await {
        Ok(Answer::Quotas { quotas }) => Ok(quotas),
        Ok(other) => Err(CloudError::Transient(format!("an answer to another call: {other:?}"))),
        Err(e) => Err(classify(e, None)),
    }
}

/// Lists all that carries the cluster's mark and takes it over as known: at the start, and from time to time to find drift.
pub(super) async fn audit<T: Transport>(transport: &T, known: &Mutex<Known>, cluster: &str) -> Result<()> {
    let since = lock(known).clock;
    let tags = Tags::from([(names::TAG_CLUSTER.to_owned(), cluster.to_owned())]);
    let (all, sets) = list(transport, tags).await.map_err(|e| classify(e, None))?;
    let missing = lock(known).audited(all, sets, since);
    for (slot, id) in missing {
        let gone = match transport.call(Request::GetLoadBalancer { id: id.clone() }).await {
            Ok(_) => false,
            Err(CallError::Refused(refusal)) if refusal.code == Code::NotFound => true,
            Err(e) => return Err(classify(e, None)),
        };
        lock(known).missed(&slot, &id, gone);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use causeway_api::ObjectRef;

    use super::*;
    use crate::cloud::{Scheme, Spec};

    fn key() -> LbKey {
        LbKey::object(Layer::L4, ObjectRef::service("ns", "web", "u1"))
    }

    fn load_balancer(id: &str) -> LoadBalancer {
        let spec = Spec {
            name: id.to_owned(),
            layer: Layer::L4,
            scheme: Scheme::Internal,
            families: Vec::new(),
            requested_address: None,
            tags: naming::tags("c", &key()),
            listeners: BTreeMap::new(),
            rules: BTreeMap::new(),
            target_groups: BTreeMap::new(),
            targets: BTreeMap::new(),
        };
        LoadBalancer { id: id.to_owned(), status: Status::Active, created: 0, addresses: Vec::new(), spec }
    }

    fn deleted() -> (Request, Result<Answer, CallError>) {
        let request = Request::DeleteLoadBalancer { id: "lb-1".to_owned(), cascade: true };
        (request, Ok(Answer::Changed { status: None, addresses: Vec::new() }))
    }

    #[test]
    fn a_list_read_during_a_write_does_not_undo_it() {
        let mut known = Known::default();
        known.audited(vec![load_balancer("lb-1")], BTreeMap::new(), 0);
        let since = known.clock;
        known.begin(&key());
        let (request, answer) = deleted();
        known.wrote(&key(), &request, &answer, false);
        assert_eq!(known.sure(&key()), Some(Observed::default()));
        // The page was read before the delete took effect.
        known.audited(vec![load_balancer("lb-1")], BTreeMap::new(), since);
        assert_eq!(known.of(&key()), []);
        // A list begun later counts.
        let later = known.clock;
        known.audited(vec![load_balancer("lb-1")], BTreeMap::new(), later);
        assert_eq!(known.of(&key()).len(), 1);
    }

    #[test]
    fn what_was_not_answered_is_not_known() {
        let mut known = Known::default();
        known.audited(vec![load_balancer("lb-1")], BTreeMap::new(), 0);
        let (request, _) = deleted();
        let answers = [
            (Err(CallError::NoAnswer("lost".to_owned())), false),
            (Err(crate::cloud::Refusal::new(Code::InternalError, "").into()), false),
            (Err(crate::cloud::Refusal::new(Code::Throttled, "").into()), true),
        ];
        for (answer, sure) in answers {
            known.seen(&key(), vec![load_balancer("lb-1")], BTreeMap::new());
            known.begin(&key());
            assert_eq!(known.sure(&key()), None, "while it is under way");
            known.wrote(&key(), &request, &answer, false);
            assert_eq!(known.sure(&key()).is_some(), sure, "{answer:?}");
        }
    }

    #[test]
    fn what_a_list_misses_is_asked_for() {
        let mut known = Known::default();
        known.audited(vec![load_balancer("lb-1")], BTreeMap::new(), 0);
        let missing = known.audited(Vec::new(), BTreeMap::new(), known.clock);
        assert_eq!(missing, [(slot(&key()), "lb-1".to_owned())]);
        assert_eq!(known.of(&key()).len(), 1);
        known.missed(&slot(&key()), "lb-1", true);
        assert_eq!(known.sure(&key()), Some(Observed::default()));
    }
}
