//! What is known of all stacks. Pure.
//!
//! Invariants: what a write did is in here as soon as it is answered; from the moment a write begins until it has ended well, its stack is doubtful, and
//! whoever asks must look; what no list showed and nobody wrote does not exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use causeway_api::LbKey;
use causeway_api::names::TAG_OWNER;

use super::edit::edit;
use super::{Observed, SharedHave, TRY_AGAIN};
use crate::adopt::{PeerStack, StackName};
use crate::cloud::records::{Health, Healths, LoadBalancer, SecurityGroup, TargetGroup};
use crate::cloud::{Answer, Call};
use crate::plan::marks::{TAG_RETIRED, TAG_TARGETS, moved, owner, targets_digest};
use crate::stack::{Target, Token};

/// What is known of one stack.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// What is there.
    pub tree: Observed,
    /// Something may have happened that is not in there.
    pub doubtful: bool,
    /// What this process made, by what stands for it.
    pub made: BTreeMap<Token, String>,
    /// Since when something is waited for, by ARN; the time is the caller's.
    pub since: BTreeMap<String, Duration>,
    /// Targets that AWS would not take, by target group; kept among the targets, so that they are not tried again at once.
    pub refused: BTreeMap<String, BTreeSet<Target>>,
    /// [`Known::clock`] when the last write began or ended.
    pub touched: u64,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Known {
    /// The inventory was taken: what is not in here does not exist.
    pub complete: bool,
    /// Counts writes, so that what was read meanwhile does not undo them.
    pub clock: u64,
    entries: BTreeMap<String, Entry>,
    /// What is shared.
    pub shared: SharedHave,
    /// Stacks of the peer's that may be taken over.
    pub peers: BTreeMap<StackName, PeerStack>,
    /// Sets of targets by their digest, with the default port of the target group that they were read from.
    sets: HashMap<String, (u16, BTreeSet<Target>)>,
    /// Names of load balancers and target groups that may be taken: listed, or tried without an answer.
    names: BTreeSet<String>,
}

/// The targets that count: those that leave are gone.
#[must_use]
pub fn standing(healths: &Healths) -> BTreeSet<Target> {
    healths.iter().filter(|(_, h)| **h != Health::Draining).map(|(t, _)| t.clone()).collect()
}

impl Known {
    /// What is known of a stack, if anything is.
    #[must_use]
    pub fn entry(&self, owner: &str) -> Option<&Entry> {
        self.entries.get(owner)
    }

    /// What is known of a stack, to add to it.
    pub fn entry_mut(&mut self, owner: &str) -> &mut Entry {
        self.entries.entry(owner.to_owned()).or_default()
    }

    /// All stacks.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(owner, entry)| (owner.as_str(), entry))
    }

    /// What is there of a stack, if that is known for sure. `now` in seconds since the epoch.
    #[must_use]
    pub fn sure(&mut self, owner: &str, now: u64) -> Option<Observed> {
        self.shared.alone = self.is_alone(owner);
        let Some(entry) = self.entries.get_mut(owner) else {
            let nothing = Observed { whole: true, shared: self.shared.clone(), ..Observed::default() };
            return self.complete.then_some(nothing);
        };
        if entry.doubtful {
            return None;
        }
        let held = &mut entry.tree;
        for group in &held.target_groups {
            if held.targets.contains_key(&group.arn) {
                continue;
            }
            let noted = group.spec.tags.get(TAG_TARGETS).and_then(|digest| self.sets.get(digest));
            if let Some((port, targets)) = noted {
                // Kept: the note changes as soon as they do.
                held.targets.insert(group.arn.clone(), moved(*port, group.spec.port, targets));
            }
        }
        for addons in held.addons.values_mut() {
            addons.refused.retain(|_, refused| now.saturating_sub(refused.at) < TRY_AGAIN);
        }
        let mut tree = entry.tree.clone();
        tree.shared = self.shared.clone();
        for lb in &tree.load_balancers {
            if let Some(at) = lb.spec.tags.get(TAG_RETIRED).and_then(|t| t.parse::<u64>().ok()) {
                tree.retired.insert(lb.arn.clone(), Duration::from_secs(now.saturating_sub(at)));
            }
        }
        Some(tree)
    }

    /// Whether no other stack is there, as far as anybody knows.
    #[must_use]
    pub fn is_alone(&self, owner: &str) -> bool {
        self.complete
            && self.entries.iter().all(|(other, e)| other == owner || (e.tree.is_empty() && !e.doubtful))
    }

    /// Takes over what a whole look showed.
    pub fn seen(&mut self, owner: &str, tree: Observed) {
        self.clock += 1;
        let touched = self.clock;
        for group in &tree.target_groups {
            if let Some(targets) = tree.targets.get(&group.arn) {
                self.learn(group.spec.port, targets);
            }
        }
        let entry = self.entry_mut(owner);
        entry.tree = Observed { shared: SharedHave::default(), ..tree };
        entry.doubtful = false;
        entry.refused.clear();
        entry.touched = touched;
    }

    /// Takes over a first list.
    pub fn listed(&mut self, owner: &str, tree: Observed) {
        self.clock += 1;
        self.entries.insert(owner.to_owned(), Entry { tree, touched: self.clock, ..Entry::default() });
    }

    /// Keeps a set of targets under its digest.
    pub fn learn(&mut self, port: u16, targets: &BTreeSet<Target>) {
        // A cluster has few sets of nodes at a time; that of each moment would pile up.
        if self.sets.len() > 256 {
            self.sets.clear();
        }
        self.sets.insert(targets_digest(port, targets), (port, targets.clone()));
    }

    /// Whether the set behind a digest is known.
    #[must_use]
    pub fn knows_set(&self, digest: &str) -> bool {
        self.sets.contains_key(digest)
    }

    /// A name may be taken.
    pub fn suspect(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// A name is free, or taken by what is known.
    pub fn clear(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Whether a name may be taken by what is not known.
    #[must_use]
    pub fn suspects(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// A write begins: until it has ended well nothing is sure. Answers whether it was not before either.
    pub fn begin(&mut self, owner: &str) -> bool {
        self.clock += 1;
        let clock = self.clock;
        let complete = self.complete;
        let known = self.entries.contains_key(owner);
        let entry = self.entry_mut(owner);
        let was = entry.doubtful || (!known && !complete);
        if !known && complete {
            // That nothing is there is everything.
            entry.tree.whole = true;
        }
        entry.doubtful = true;
        entry.touched = clock;
        was
    }

    /// A write ended; `sure` if what it did is in here, or it did nothing.
    pub fn end(&mut self, owner: &str, sure: bool, was: bool) {
        self.clock += 1;
        let clock = self.clock;
        let entry = self.entry_mut(owner);
        entry.touched = clock;
        entry.doubtful = was || !sure;
    }

    /// A stack must be looked at.
    pub fn doubt(&mut self, owner: &str) {
        self.entry_mut(owner).doubtful = true;
    }

    /// What a call did.
    pub fn wrote(&mut self, owner: &str, call: &Call, answer: &Answer) {
        let entry = self.entry_mut(owner);
        edit(&mut entry.tree, call, answer);
        if let Call::AuthorizeSecurityGroupIngress { group, rules } = call {
            self.shared.add_node_rules(group, rules);
        }
        if let Call::AddTags { arns, tags } = call {
            // Calls for several stacks are made at once.
            for other in self.entries.values_mut() {
                edit(&mut other.tree, &Call::AddTags { arns: arns.clone(), tags: tags.clone() }, answer);
            }
        }
    }

    /// Forgets stacks of which nothing is there.
    pub fn forget_empty(&mut self) {
        self.entries.retain(|_, e| !e.tree.is_empty() || e.doubtful);
    }

    /// The keys of stacks of which something is there.
    pub fn keys(&self) -> impl Iterator<Item = LbKey> + '_ {
        let there = self.entries.iter().filter(|(_, e)| !e.tree.is_empty() || e.doubtful);
        there.filter_map(|(owner, _)| LbKey::of_owner_tag(owner))
    }
}

/// Sorts a list by owner: of load balancers and target groups with their tags, and security groups of which only the tags are known.
#[must_use]
pub fn by_owner(
    load_balancers: Vec<LoadBalancer>,
    target_groups: Vec<TargetGroup>,
    security_groups: Vec<SecurityGroup>,
) -> BTreeMap<String, Observed> {
    let mut found: BTreeMap<String, Observed> = BTreeMap::new();
    for lb in load_balancers {
        if let Some(owner) = owner(&lb.spec.tags).map(str::to_owned) {
            found.entry(owner).or_default().load_balancers.push(lb);
        }
    }
    for group in target_groups {
        if let Some(owner) = owner(&group.spec.tags).map(str::to_owned) {
            found.entry(owner).or_default().target_groups.push(group);
        }
    }
    for group in security_groups {
        if let Some(owner) = group.spec.tags.get(TAG_OWNER).cloned() {
            found.entry(owner).or_default().security_groups.push(group);
        }
    }
    found
}

impl Known {
    /// What a look at a load balancer's state showed.
    pub fn set_state(
        &mut self,
        arn: &str,
        state: crate::cloud::records::State,
        dns_name: &str,
        zone_id: &str,
    ) {
        for entry in self.entries.values_mut() {
            if let Some(lb) = entry.tree.load_balancers.iter_mut().find(|lb| lb.arn == arn) {
                lb.state = state;
                dns_name.clone_into(&mut lb.dns_name);
                zone_id.clone_into(&mut lb.zone_id);
            }
        }
    }
}
