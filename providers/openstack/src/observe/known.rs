//! What is known of all stacks. Pure; time comes in as an argument.
//!
//! Invariants: what a write did is in here as soon as it is answered; a write whose answer is not clear makes its stack doubtful, and whoever asks must look;
//! what no list showed and nobody wrote does not exist. A list counts for a stack only if it was asked for after the last write to it was answered.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::{Observed, Part, shape};
use crate::api::neutron::FloatingIp;
use crate::api::octavia::{LoadBalancer, Provisioning};
use crate::cloud::Wanted;
use crate::ownership::{KEEP, Mark};
use crate::stack::{MemberSpec, ResourceType};

/// How much of a stack is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Something may have happened that is not in here.
    #[default]
    Doubtful,
    /// What lists of the whole project show: neither members nor rules.
    Listed,
    /// Everything.
    Whole,
}

/// What is known of one stack.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its load balancer, or the one that it is on.
    pub lb: Option<LoadBalancer>,
    /// Ids of further ones with its mark.
    pub surplus: Vec<String>,
    /// What the load balancer consists of; groups of its nodes, and their rules.
    pub parts: Vec<Part>,
    /// Members of pools, by the pool's id.
    pub members: BTreeMap<String, Vec<MemberSpec>>,
    /// How many members pools have, by the pool's id: from lists that show no more.
    pub counts: BTreeMap<String, usize>,
    /// Floating IPs with its mark, and the one that leads to it.
    pub floating: Vec<FloatingIp>,
    /// Ports of nodes that have its group.
    pub group_ports: BTreeSet<String>,
    /// Ids of what the peer made that its load balancer was taken over from: it carries no mark of ours.
    pub theirs: BTreeSet<String>,
    /// How much is known.
    pub depth: Depth,
    /// A change of the load balancer is under way.
    pub pending: bool,
    /// When the last write was answered.
    pub touched: Instant,
    /// Up to which write it was looked at whole afterwards. Octavia's times have whole seconds: what a hand changed in the second of our own write shows no other
    /// time, so that each write is followed by one such look.
    pub checked: Instant,
}

impl Entry {
    /// Nothing.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            lb: None,
            surplus: Vec::new(),
            parts: Vec::new(),
            members: BTreeMap::new(),
            counts: BTreeMap::new(),
            floating: Vec::new(),
            group_ports: BTreeSet::new(),
            theirs: BTreeSet::new(),
            depth: Depth::Doubtful,
            pending: false,
            touched: now,
            checked: now,
        }
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lb.is_none() && self.surplus.is_empty() && self.parts.is_empty() && self.floating.is_empty()
    }

    /// Takes what is known of a load balancer.
    pub fn take(&mut self, lb: Option<LoadBalancer>) {
        self.pending = lb.as_ref().is_some_and(|lb| lb.provisioning_status.pending());
        let id = |lb: &Option<LoadBalancer>| lb.as_ref().map(|lb| lb.id.clone());
        let failed = lb.as_ref().is_some_and(|lb| lb.provisioning_status == Provisioning::Error);
        if failed || id(&lb) != id(&self.lb) {
            self.depth = Depth::Doubtful;
        }
        self.lb = lb;
    }

    /// As a plan compares it.
    #[must_use]
    pub fn observed(&self, mark: &Mark) -> Observed {
        let leads = |f: &&FloatingIp| {
            let port = self.lb.as_ref().and_then(|lb| lb.vip_port_id.as_deref());
            port.is_some() && f.port_id.as_deref() == port
        };
        let load_balancer =
            self.lb.as_ref().map(|lb| shape::load_balancer(lb, mark, self.floating.iter().find(leads)));
        let floating = self.floating.iter().map(|f| shape::floating_ip(f, mark));
        Observed {
            load_balancer,
            surplus: self.surplus.clone(),
            parts: self.parts.iter().cloned().chain(floating).collect(),
            members: self.members.clone(),
            group_ports: self.group_ports.clone(),
            kept_floating_ips: self
                .floating
                .iter()
                .filter(|f| f.tags.iter().any(|t| t == KEEP))
                .map(|f| f.id.clone())
                .collect(),
            theirs: self.theirs.clone(),
            peer: None,
            settled: false,
            stuck: false,
        }
    }

    /// Whether lists show all that is wanted, and its load balancer says that it was applied whole.
    fn settled(&self, mark: &Mark, wanted: &Wanted) -> bool {
        let Some(lb) = &self.lb else { return false };
        let seen = shape::load_balancer(lb, mark, None);
        let have: BTreeSet<&str> = self.parts.iter().filter_map(|p| p.resource.as_deref()).collect();
        let floats = || {
            let led = |f: &FloatingIp| f.port_id.is_some() && f.port_id == lb.vip_port_id;
            self.floating.iter().filter(|f| led(f)).count() == 1
        };
        let count = |(pool, count): (&String, &usize)| {
            let part =
                self.parts.iter().find(|p| p.kind == ResourceType::Pool && p.resource.as_ref() == Some(pool));
            part.is_some_and(|p| self.counts.get(&p.id) == Some(count))
        };
        !wanted.hidden
            && self.surplus.is_empty()
            && lb.provisioning_status == Provisioning::Active
            && seen.applied == wanted.applied
            && have.len() == self.parts.len()
            && have.iter().copied().eq(wanted.parts.iter().map(String::as_str))
            && wanted.members.iter().all(count)
            && if wanted.floating { floats() } else { self.floating.is_empty() }
    }

    /// Puts a part in the place of the former with its id.
    pub fn put(&mut self, part: Part) {
        match self.parts.iter_mut().find(|p| p.kind == part.kind && p.id == part.id) {
            Some(there) => *there = part,
            None => self.parts.push(part),
        }
    }

    /// A part is gone, and what belongs to it.
    pub fn remove(&mut self, id: &str) {
        self.parts.retain(|p| p.id != id);
        self.members.remove(id);
        self.floating.retain(|f| f.id != id);
        self.surplus.retain(|s| s != id);
        let fields = ["listener_id", "l7policy_id", "security_group_id", "pool_id"];
        let of = |p: &&Part| fields.iter().any(|f| p.body.get(*f).and_then(|v| v.as_str()) == Some(id));
        let children: Vec<String> = self.parts.iter().filter(of).map(|p| p.id.clone()).collect();
        for child in children {
            self.remove(&child);
        }
    }

    /// The part that is a resource of the stack.
    #[must_use]
    pub fn part(&self, kind: ResourceType, resource: &str) -> Option<&Part> {
        self.parts.iter().find(|p| p.kind == kind && p.resource.as_deref() == Some(resource))
    }
}

/// What is known.
#[derive(Debug, Default)]
pub struct Known {
    /// Everything was listed: what is not in here does not exist.
    pub complete: bool,
    /// Types of things that were listed of no stack yet, as nothing spoke of any.
    pub unlisted: BTreeSet<ResourceType>,
    entries: BTreeMap<String, Entry>,
}

impl Known {
    /// Everything was listed, and nothing was there.
    #[must_use]
    pub fn whole() -> Self {
        Self { complete: true, ..Self::default() }
    }

    /// What is known of a stack, if anything is.
    #[must_use]
    pub fn entry(&self, owner: &str) -> Option<&Entry> {
        self.entries.get(owner)
    }

    /// What is known of a stack, to add to it.
    pub fn entry_mut(&mut self, owner: &str, now: Instant) -> &mut Entry {
        self.entries.entry(owner.to_owned()).or_insert_with(|| Entry::new(now))
    }

    /// All stacks.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter()
    }

    /// All stacks, to change them.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = (&String, &mut Entry)> {
        self.entries.iter_mut()
    }

    /// Forgets a stack of which nothing is there.
    pub fn forget_empty(&mut self, owner: &str) {
        let empty = self.entries.get(owner).is_some_and(|e| e.is_empty() && e.depth == Depth::Whole);
        if empty && self.complete {
            self.entries.remove(owner);
        }
    }

    /// Takes from a list, asked for at `asked`, which load balancers are busy no longer: not of stacks that were written to since.
    pub fn learn(&mut self, asked: Instant, lbs: &[LoadBalancer]) {
        let by_id: BTreeMap<&str, &LoadBalancer> = lbs.iter().map(|lb| (lb.id.as_str(), lb)).collect();
        for entry in self.entries.values_mut().filter(|e| e.pending && e.touched < asked) {
            let now = entry.lb.as_ref().and_then(|lb| by_id.get(lb.id.as_str()));
            if let Some(now) = now.filter(|lb| !lb.provisioning_status.pending()) {
                entry.take(Some((*now).clone()));
            }
        }
    }

    /// What is there of a stack, if that is known for sure.
    #[must_use]
    pub fn sure(&self, mark: &Mark, wanted: Option<&Wanted>) -> Option<Observed> {
        let attached = wanted.and_then(|w| w.attached.as_deref());
        let Some(entry) = self.entries.get(&mark.owner) else {
            return (self.complete && attached.is_none()).then(Observed::default);
        };
        let elsewhere = attached.is_some() && entry.lb.as_ref().map(|lb| lb.id.as_str()) != attached;
        if entry.pending || elsewhere {
            return None;
        }
        match entry.depth {
            Depth::Doubtful => None,
            Depth::Whole => Some(entry.observed(mark)),
            Depth::Listed => wanted
                .filter(|w| entry.settled(mark, w))
                .map(|_| Observed { settled: true, ..entry.observed(mark) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::AppliedHash;
    use causeway_api::names::TAG_APPLIED;
    use serde_json::json;

    use super::*;
    use crate::ownership::{resource, tag};
    use crate::stack::LOAD_BALANCER;

    fn mark() -> Mark {
        Mark { cluster: "c".to_owned(), owner: "service/1".to_owned() }
    }

    fn applied() -> AppliedHash {
        AppliedHash::Clean("abc".to_owned())
    }

    /// A load balancer with a pool of two members and a floating IP, as lists show it.
    fn listed() -> Entry {
        let mut tags = mark().octavia_tags(ResourceType::LoadBalancer, LOAD_BALANCER);
        tags.push(tag(TAG_APPLIED, &applied().to_string()));
        let mut entry = Entry::new(Instant::now());
        entry.lb = Some(LoadBalancer {
            id: "lb".to_owned(),
            provisioning_status: Provisioning::Active,
            vip_port_id: Some("vip".to_owned()),
            tags,
            ..LoadBalancer::default()
        });
        entry.parts = vec![Part {
            kind: ResourceType::Pool,
            id: "p".to_owned(),
            resource: Some(resource(ResourceType::Pool, "TCP-80")),
            body: json!({}),
        }];
        entry.counts.insert("p".to_owned(), 2);
        entry.floating.push(FloatingIp {
            id: "f".to_owned(),
            port_id: Some("vip".to_owned()),
            floating_ip_address: "203.0.113.7".to_owned(),
            description: mark().description("x"),
            ..FloatingIp::default()
        });
        entry.depth = Depth::Listed;
        entry
    }

    fn wanted() -> Wanted {
        let pool = resource(ResourceType::Pool, "TCP-80");
        Wanted {
            attached: None,
            applied: applied(),
            members: [(pool.clone(), 2)].into(),
            parts: [pool].into(),
            floating: true,
            hidden: false,
            secrets: false,
            adopt: None,
            unread: BTreeMap::new(),
            asks: BTreeSet::new(),
        }
    }

    fn known(entry: Entry) -> Known {
        let mut known = Known { complete: true, ..Known::default() };
        *known.entry_mut(&mark().owner, Instant::now()) = entry;
        known
    }

    #[test]
    fn what_was_applied_whole_and_shows_no_difference_needs_no_look() {
        let seen = known(listed()).sure(&mark(), Some(&wanted())).expect("settled");
        assert!(seen.settled);
        let lb = seen.load_balancer.expect("it is there");
        assert_eq!(lb.floating_address.map(|a| a.to_string()).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn any_difference_needs_a_look() {
        let spoil: [fn(&mut Entry, &mut Wanted); 8] = [
            |e, _| {
                e.counts.insert("p".to_owned(), 3);
            },
            |e, _| e.floating.clear(),
            |e, _| e.floating[0].port_id = None,
            |e, _| e.parts.clear(),
            |e, _| e.parts[0].resource = None,
            |_, w| w.applied = AppliedHash::Clean("other".to_owned()),
            |_, w| w.hidden = true,
            |e, _| e.pending = true,
        ];
        for (at, spoil) in spoil.into_iter().enumerate() {
            let (mut entry, mut want) = (listed(), wanted());
            spoil(&mut entry, &mut want);
            assert!(known(entry).sure(&mark(), Some(&want)).is_none(), "{at}");
        }
        assert!(known(listed()).sure(&mark(), None).is_none());
    }

    #[test]
    fn what_no_list_showed_does_not_exist_once_everything_was_listed() {
        let mut known = Known::default();
        assert!(known.sure(&mark(), None).is_none());
        known.complete = true;
        assert_eq!(known.sure(&mark(), None), Some(Observed::default()));
        let elsewhere = Wanted { attached: Some("theirs".to_owned()), ..wanted() };
        assert!(known.sure(&mark(), Some(&elsewhere)).is_none());
    }

    #[test]
    fn one_list_tells_of_all_that_were_busy_and_were_not_written_to_since() {
        let at = Instant::now();
        let list =
            |status| vec![LoadBalancer { provisioning_status: status, ..listed().lb.expect("it has one") }];
        let after = |later: u64, list: &[LoadBalancer]| {
            let mut all = known(Entry { pending: true, depth: Depth::Whole, touched: at, ..listed() });
            all.learn(at + std::time::Duration::from_secs(later), list);
            all.sure(&mark(), Some(&wanted())).is_some()
        };
        assert!(after(1, &list(Provisioning::Active)));
        assert!(!after(0, &list(Provisioning::Active)), "it may be from before the write");
        assert!(!after(1, &list(Provisioning::PendingUpdate)));
        assert!(!after(1, &list(Provisioning::Error)), "what failed is looked at");
        assert!(!after(1, &[]), "what is not there is looked for");
    }

    #[test]
    fn what_belongs_to_something_goes_with_it_and_a_failed_load_balancer_is_doubtful() {
        let mut entry = listed();
        entry.depth = Depth::Whole;
        let monitor = json!({"pool_id": "p"});
        entry.put(Part {
            kind: ResourceType::HealthMonitor,
            id: "m".to_owned(),
            resource: None,
            body: monitor,
        });
        entry.remove("p");
        assert!(entry.parts.is_empty());
        let failed =
            LoadBalancer { provisioning_status: Provisioning::Error, ..entry.lb.clone().unwrap_or_default() };
        entry.take(Some(failed));
        assert_eq!((entry.depth, entry.pending), (Depth::Doubtful, false));
    }
}
