//! A set that mostly has one element, and often is one of thousands of its kind: a sorted vector, where a B-tree would set eleven places aside. Pure.

/// The set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    pub(super) fn insert(&mut self, element: T) {
        if let Err(at) = self.0.binary_search(&element) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, element);
        }
    }

    pub(super) fn remove(&mut self, element: &T) {
        if let Ok(at) = self.0.binary_search(element) {
            self.0.remove(at);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<'a, T: Ord> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0u8..8), 0..40)) {
            let (mut few, mut set) = (Few::default(), BTreeSet::new());
            for (insert, element) in steps {
                if insert {
                    few.insert(element);
                    set.insert(element);
                } else {
                    few.remove(&element);
                    set.remove(&element);
                }
                prop_assert!(few.iter().eq(set.iter()));
                prop_assert_eq!(few.is_empty(), set.is_empty());
            }
        }
    }
}
