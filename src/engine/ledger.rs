//! What was last brought to its wanted state: lets a dirty key end without looking at the cloud where nothing that the
//! cloud depends on changed. Lost with the process; the cloud's own marks are what survives. Pure.

use std::collections::HashMap;

use causeway_api::{LbKey, MemberStatus, Problem};

/// One load balancer that is as wanted, as far as we know.
#[derive(Clone, Debug)]
pub struct Entry {
    /// [`crate::state::index::Snapshot::inputs`] it was planned from.
    pub inputs: u64,
    /// Version of the facts it was planned from.
    pub facts: u64,
    /// What is to be said of each member.
    pub statuses: Vec<MemberStatus>,
    /// All problems, by member.
    pub problems: Vec<Problem>,
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: HashMap<LbKey, Entry>,
    /// Last problems told of each key, also of those that did not converge: said once, not on each try.
    told: HashMap<LbKey, Vec<Problem>>,
}

impl Ledger {
    /// The entry, if it was made from these inputs and facts.
    #[must_use]
    pub fn current(&self, key: &LbKey, inputs: u64, facts: u64) -> Option<&Entry> {
        self.entries.get(key).filter(|e| e.inputs == inputs && e.facts == facts)
    }

    /// Whether the key was ever brought to its state by this process.
    #[must_use]
    pub fn knows(&self, key: &LbKey) -> bool {
        self.entries.contains_key(key)
    }

    /// The key is as wanted.
    pub fn record(&mut self, key: &LbKey, entry: Entry) {
        self.entries.insert(key.clone(), entry);
    }

    /// The key must be looked at again.
    pub fn distrust(&mut self, key: &LbKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            // No version of the facts is this; saying it twice is like saying it once.
            entry.facts = u64::MAX;
        }
    }

    /// The load balancer is gone.
    pub fn remove(&mut self, key: &LbKey) {
        self.entries.remove(key);
        self.told.remove(key);
    }

    /// Remembers the problems of a key, and gives those that were not told before.
    pub fn tell(&mut self, key: &LbKey, problems: &[Problem]) -> Vec<Problem> {
        let told = self.told.entry(key.clone()).or_default();
        let new = problems.iter().filter(|p| !told.contains(p)).cloned().collect();
        *told = problems.to_vec();
        new
    }

    /// Keys that have problems: tried again when something became free.
    #[must_use]
    pub fn troubled(&self) -> Vec<LbKey> {
        self.told.iter().filter(|(_, problems)| !problems.is_empty()).map(|(key, _)| key.clone()).collect()
    }

    /// How many load balancers have problems.
    #[must_use]
    pub fn troubled_count(&self) -> usize {
        self.told.values().filter(|problems| !problems.is_empty()).count()
    }

    /// How many load balancers are as wanted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
