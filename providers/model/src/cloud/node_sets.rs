//! Sets of nodes, each kept once however many target groups hold it, and named by its digest. Pure.
//!
//! Thousands of target groups hold the same few sets: equal sets are recognised by name, without being compared, and one
//! node more is computed once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use causeway_api::digest;
use serde::{Deserialize, Serialize};

/// Digest of a set of nodes: equal names are equal sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetId(Arc<str>);

/// Addresses of nodes, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<IpAddr>")]
pub struct Nodes(Arc<[IpAddr]>);

impl From<Vec<IpAddr>> for Nodes {
    fn from(mut addresses: Vec<IpAddr>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        Self(addresses.into())
    }
}

impl FromIterator<IpAddr> for Nodes {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        addresses.into_iter().collect::<Vec<_>>().into()
    }
}

impl Nodes {
    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses, ascending.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.0.iter().copied()
    }

    /// Whether it holds this node.
    #[must_use]
    pub fn contains(&self, node: IpAddr) -> bool {
        self.0.binary_search(&node).is_ok()
    }

    /// Those of `self` that `other` has not, ascending.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Vec<IpAddr> {
        let mut others = other.iter().peekable();
        self.iter()
            .filter(|node| {
                while others.next_if(|o| o < node).is_some() {}
                others.peek() != Some(node)
            })
            .collect()
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SetId {
        SetId(digest(&*self.0).into())
    }
}

/// What leads from one set to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Nodes that only the new set has.
    pub more: Arc<[IpAddr]>,
    /// Nodes that only the old set has.
    pub less: Arc<[IpAddr]>,
}

/// A pair of sets, the old one first; `None` is the empty set.
type Pair = (Option<SetId>, Option<SetId>);

/// Differences, each computed once: when a node comes, thousands of target groups go from the same old set to the same new one.
#[derive(Debug, Default)]
pub struct Differences(Mutex<HashMap<Pair, Difference>>);

impl Differences {
    /// Pairs remembered before all are forgotten.
    const PAIRS: usize = 256;

    /// The difference between two sets of these names.
    pub fn between(
        &self,
        pair: (Option<&SetId>, Option<&SetId>),
        sets: impl FnOnce() -> (Nodes, Nodes),
    ) -> Difference {
        let pair = (pair.0.cloned(), pair.1.cloned());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(difference) = known.get(&pair) {
            return difference.clone();
        }
        let (old, new) = sets();
        let difference = Difference { more: new.minus(&old).into(), less: old.minus(&new).into() };
        if known.len() >= Self::PAIRS {
            known.clear();
        }
        known.insert(pair, difference.clone());
        difference
    }
}

/// What was computed: a set, the nodes that changed, and whether they were added.
type Step = (Option<SetId>, Vec<IpAddr>, bool);

/// Sets by name.
#[derive(Clone, Debug, Default)]
pub struct NodeSets {
    sets: BTreeMap<SetId, Nodes>,
    /// The same change is made to the same set once per target group: the digest is computed once.
    steps: HashMap<Step, Option<SetId>>,
}

impl NodeSets {
    /// Steps remembered before all are forgotten.
    const STEPS: usize = 256;

    /// Keeps a set; `None` for the empty one, which has no name.
    pub fn intern(&mut self, nodes: Nodes) -> Option<SetId> {
        if nodes.is_empty() {
            return None;
        }
        let id = nodes.id();
        self.sets.entry(id.clone()).or_insert(nodes);
        Some(id)
    }

    /// Keeps a set whose name is known.
    pub fn insert(&mut self, id: SetId, nodes: Nodes) {
        self.sets.entry(id).or_insert(nodes);
    }

    /// The set of this name; the empty one for `None`.
    #[must_use]
    pub fn get(&self, id: Option<&SetId>) -> Option<Nodes> {
        id.map_or_else(|| Some(Nodes::default()), |id| self.sets.get(id).cloned())
    }

    /// The set with these nodes added, or taken away; `None` if it is empty then.
    pub fn step(&mut self, base: Option<&SetId>, nodes: &[IpAddr], add: bool) -> Option<SetId> {
        let step = (base.cloned(), nodes.to_vec(), add);
        if let Some(known) = self.steps.get(&step)
            && known.as_ref().is_none_or(|id| self.sets.contains_key(id))
        {
            return known.clone();
        }
        let old = self.get(base).unwrap_or_default();
        let changed: Nodes = nodes.iter().copied().collect();
        let new: Nodes =
            if add { old.iter().chain(changed.iter()).collect() } else { old.minus(&changed).into() };
        let id = self.intern(new);
        if self.steps.len() >= Self::STEPS {
            self.steps.clear();
        }
        self.steps.insert(step, id.clone());
        id
    }

    /// Forgets the sets that are not used.
    pub fn retain(&mut self, used: &BTreeSet<&SetId>) {
        self.sets.retain(|id, _| used.contains(id));
        self.steps.clear();
    }

    /// Number of sets kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// All sets.
    pub fn iter(&self) -> impl Iterator<Item = (&SetId, &Nodes)> {
        self.sets.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(last: &[u8]) -> Nodes {
        last.iter().map(|n| IpAddr::from([10, 0, 0, *n])).collect()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        assert_eq!(nodes(&[3, 1, 3, 2]).id(), nodes(&[1, 2, 3]).id());
    }

    #[test]
    fn a_difference_is_what_one_has_and_the_other_has_not() {
        let (old, new) = (nodes(&[1, 2, 5, 9]), nodes(&[2, 3, 9, 10]));
        let (ids, known) = ((old.id(), new.id()), Differences::default());
        for _ in 0..2 {
            let found = known.between((Some(&ids.0), Some(&ids.1)), || (old.clone(), new.clone()));
            assert_eq!((&*found.more, &*found.less), (&*nodes(&[3, 10]).0, &*nodes(&[1, 5]).0));
        }
        let all = known.between((None, Some(&ids.1)), || (Nodes::default(), new.clone()));
        assert_eq!((&*all.more, all.less.len()), (&*new.0, 0));
    }

    #[test]
    fn steps_lead_to_the_same_set_as_making_it() {
        let mut sets = NodeSets::default();
        let two = sets.intern(nodes(&[1, 2]));
        let three = sets.step(two.as_ref(), &[IpAddr::from([10, 0, 0, 3])], true);
        assert_eq!(three, Some(nodes(&[1, 2, 3]).id()));
        assert_eq!(sets.step(three.as_ref(), &[IpAddr::from([10, 0, 0, 3])], false), two);
        let all: Vec<_> = nodes(&[1, 2]).iter().collect();
        assert_eq!(sets.step(two.as_ref(), &all, false), None);
    }
}
