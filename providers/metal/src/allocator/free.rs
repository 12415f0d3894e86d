//! The free addresses of one pool, as intervals. Pure.
//!
//! Invariants: intervals are disjoint, lie within the pool's ranges and never hold a used address. They may hold addresses that the pool
//! leaves out; those are dropped when they come to the front. Every operation is O(log n) in the number of intervals, which is at most the number
//! of used addresses plus that of ranges; a pool of 2^64 addresses costs no more than one of ten.

use std::collections::BTreeMap;

use causeway_api::Family;

use crate::pool::Pool;
use crate::range::is_buggy;

/// Where an address stands in the order of allocation: its range in the order of the spec, then its number.
pub(super) type Position = (usize, u128);

#[derive(Clone, Debug, Default)]
pub(super) struct Free {
    /// Position of the first address of an interval -> the number of its last.
    intervals: BTreeMap<Position, u128>,
    /// First number of each range -> its last, and its index in the spec.
    ranges: BTreeMap<u128, (u128, usize)>,
    avoid_buggy: bool,
    family: Option<Family>,
}

impl Free {
    /// All addresses of a pool of one family.
    pub(super) fn new(pool: &Pool, family: Family) -> Self {
        let mut free = Self { avoid_buggy: pool.avoid_buggy_ips, family: Some(family), ..Self::default() };
        for (index, range) in pool.ranges.iter().enumerate().filter(|(_, r)| r.family == family) {
            free.intervals.insert((index, range.first), range.last);
            free.ranges.insert(range.first, (range.last, index));
        }
        free
    }

    fn left_out(&self, number: u128) -> bool {
        self.avoid_buggy && self.family.is_some_and(|family| is_buggy(family, number))
    }

    /// Where a number stands; `None` if it is in no range, or left out.
    pub(super) fn position(&self, number: u128) -> Option<Position> {
        let (_, (last, index)) = self.ranges.range(..=number).next_back()?;
        (number <= *last && !self.left_out(number)).then_some((*index, number))
    }

    /// The free address that comes first.
    pub(super) fn first(&mut self) -> Option<Position> {
        while let Some((&(range, first), &last)) = self.intervals.first_key_value() {
            if !self.left_out(first) {
                return Some((range, first));
            }
            self.intervals.pop_first();
            if first < last {
                self.intervals.insert((range, first + 1), last);
            }
        }
        None
    }

    /// Takes an address; false if it was not free.
    pub(super) fn take(&mut self, number: u128) -> bool {
        let Some((_, (_, range))) = self.ranges.range(..=number).next_back() else { return false };
        let range = *range;
        let Some((&(found, first), &last)) = self.intervals.range(..=(range, number)).next_back() else {
            return false;
        };
        if found != range || number > last {
            return false;
        }
        self.intervals.remove(&(range, first));
        if first < number {
            self.intervals.insert((range, first), number - 1);
        }
        if number < last {
            self.intervals.insert((range, number + 1), last);
        }
        true
    }

    /// Gives an address back. One that is outside all ranges, left out or free already is ignored.
    pub(super) fn put(&mut self, number: u128) {
        let Some((range, _)) = self.position(number) else { return };
        let (mut first, mut last) = (number, number);
        if let Some((&(before_range, before), &before_last)) =
            self.intervals.range(..=(range, number)).next_back()
            && before_range == range
        {
            if before_last >= number {
                return;
            }
            if before_last + 1 == number {
                first = before;
            }
        }
        // The number after the last of all does not exist.
        if let Some(next) = number.checked_add(1)
            && let Some(after_last) = self.intervals.remove(&(range, next))
        {
            last = after_last;
        }
        self.intervals.insert((range, first), last);
    }

    #[cfg(test)]
    pub(super) fn intervals(&self) -> usize {
        self.intervals.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::{Range, number};
    use causeway_api::ObjectRef;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn free(ranges: &[&str], avoid_buggy_ips: bool) -> Free {
        let pool = Pool {
            name: "p".into(),
            object: ObjectRef::service("", "", ""),
            labels: crate::selector::Labels::new(),
            ranges: ranges.iter().map(|r| Range::parse(r).expect("a range")).collect(),
            auto_assign: true,
            avoid_buggy_ips,
            set_aside: None,
            refused: false,
        };
        Free::new(&pool, pool.ranges[0].family)
    }

    fn n(address: &str) -> u128 {
        number(address.parse().expect("an address")).1
    }

    #[test]
    fn ranges_in_the_order_of_the_spec_then_lowest_first() {
        let mut free = free(&["192.0.2.8/31", "192.0.2.0/31"], false);
        let mut order = Vec::new();
        while let Some((_, number)) = free.first() {
            assert!(free.take(number));
            order.push(number - n("192.0.2.0"));
        }
        assert_eq!(order, [8, 9, 0, 1]);
    }

    #[test]
    fn buggy_addresses_are_passed_over_and_never_come_back() {
        let mut free = free(&["192.0.2.254-192.0.3.1"], true);
        for expected in ["192.0.2.254", "192.0.3.1"] {
            let (_, number) = free.first().expect("one left");
            assert_eq!(number, n(expected));
            assert!(free.take(number));
        }
        assert_eq!(free.first(), None);
        free.put(n("192.0.3.0"));
        assert_eq!(free.first(), None);
    }

    #[test]
    fn the_last_address_of_ipv6_can_be_taken_and_given_back() {
        let mut free = free(&["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"], false);
        assert!(free.take(u128::MAX));
        assert!(!free.take(u128::MAX));
        free.put(u128::MAX);
        assert!(free.take(u128::MAX - 1));
        assert_eq!(free.first(), Some((0, u128::MAX)));
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(
            operations in proptest::collection::vec((any::<bool>(), 0u128..24), 0..200),
            avoid in any::<bool>(),
        ) {
            // Two ranges in reverse order with a hole between them, around a .255/.0 boundary.
            let base = n("192.0.2.248");
            let mut free = free(&["192.0.3.0-192.0.3.7", "192.0.2.250-192.0.2.255"], avoid);
            let in_ranges = |x: u128| (8..16).contains(&x) || (2..8).contains(&x);
            let usable = |x: u128| in_ranges(x) && !(avoid && (x == 7 || x == 8));
            let mut model: BTreeSet<u128> = (0..24).filter(|x| usable(*x)).collect();
            for (take, x) in operations {
                if take {
                    let was_free = free.take(base + x);
                    if usable(x) {
                        prop_assert_eq!(was_free, model.remove(&x));
                    }
                } else {
                    free.put(base + x);
                    if usable(x) {
                        model.insert(x);
                    }
                }
                let first = model.range(8..).next().or_else(|| model.first());
                prop_assert_eq!(free.first().map(|(_, number)| number - base), first.copied());
            }
            prop_assert!(free.intervals() <= 16);
        }
    }
}
