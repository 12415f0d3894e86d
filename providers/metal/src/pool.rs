//! Address pools: `IPAddressPool` objects checked and made fit for look-up. Pure.
//!
//! Invariants: among the pools that *serve*, no address is in two. A pool that cannot serve is *refused* whole, with a [`Problem`] on its
//! object, and never keeps another from serving; of overlapping pools the younger is refused. A refused pool gives no address, but what
//! was given out of it stays where it is and goes on being announced, so its readable ranges are kept for look-up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Family, ObjectRef, OwnObject, OwnObjects, Problem};

use crate::kinds::{IPAddressPoolSpec, ServiceAllocation};
use crate::names::reasons;
use crate::range::{self, Range, number};
use crate::selector::{self, Labels, Selector};

/// Which Services a pool is set aside for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// Rank: lower comes first, 0 (and whatever is below) last.
    pub priority: i64,
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// Namespaces by label; ORed with the names.
    pub namespace_selectors: Vec<Selector>,
    /// Services by label; ANDed with the namespaces.
    pub service_selectors: Vec<Selector>,
}

impl SetAside {
    /// Whether a Service may have addresses from the pool. With neither namespaces nor selectors every Service may.
    ///
    /// MetalLB also lets a Service ask by name for a pool whose `namespaceSelectors` match no namespace at all; here selectors that do not
    /// match are never passed by.
    #[must_use]
    pub fn matches(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        let anywhere = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        (anywhere
            || self.namespaces.contains(namespace)
            || self.namespace_selectors.iter().any(|s| s.matches(namespace_labels)))
            && (self.service_selectors.is_empty() || self.service_selectors.iter().any(|s| s.matches(labels)))
    }

    /// Sort key of [`SetAside::priority`]: 0 and less are behind all others.
    #[must_use]
    pub fn rank(&self) -> (bool, i64) {
        (self.priority <= 0, self.priority)
    }
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Name, unique in the one namespace that pools are read from.
    pub name: String,
    /// The object, for messages.
    pub object: ObjectRef,
    /// Labels of the object, which advertisements select by.
    pub labels: Labels,
    /// Ranges in the order of the spec; both families.
    pub ranges: Vec<Range>,
    /// Whether Services get addresses from here on their own.
    pub auto_assign: bool,
    /// Whether IPv4 addresses that end in .0 or .255 are left out.
    pub avoid_buggy_ips: bool,
    /// Which Services it is set aside for.
    pub set_aside: Option<SetAside>,
    /// The pool gives no addresses, since it has a problem.
    pub refused: bool,
}

impl Pool {
    /// Whether an address lies in one of the ranges, and is not one that this pool leaves out.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let (family, n) = number(address);
        !(self.avoid_buggy_ips && range::is_buggy(family, n))
            && self.ranges.iter().any(|r| r.family == family && r.contains(n))
    }

    /// Number of addresses of a family that can be given, as MetalLB counts: a range of 2^62 addresses or more never runs out and counts
    /// as 2^63 - 1.
    #[must_use]
    pub fn capacity(&self, family: Family) -> i64 {
        if self.refused {
            return 0;
        }
        let mut total: i64 = 0;
        for range in self.ranges.iter().filter(|r| r.family == family) {
            let left_out = if self.avoid_buggy_ips { range.buggy() } else { 0 };
            let size = range.size() - left_out;
            let size = if size >= 1 << 62 { i64::MAX } else { i64::try_from(size).unwrap_or(i64::MAX) };
            total = total.saturating_add(size);
        }
        total
    }
}

type Intervals = BTreeMap<(Family, u128), (u128, Arc<Pool>)>;

/// All pools, by name and by address.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    by_name: BTreeMap<String, Arc<Pool>>,
    /// First address of each range of the serving pools -> its last, and the pool. Disjoint.
    serving: Intervals,
}

impl PartialEq for Pools {
    fn eq(&self, other: &Self) -> bool {
        // `serving` follows from the pools.
        self.by_name == other.by_name
    }
}

impl Pools {
    /// Checks all `IPAddressPool` objects.
    #[must_use]
    pub fn new(objects: &OwnObjects) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut pools = Self::default();
        let mut objects: Vec<&OwnObject> = objects.of("IPAddressPool").collect();
        // Oldest first, so that of two overlapping pools the younger is refused, in whatever order they were listed.
        objects.sort_by(|a, b| (a.created, &a.object.name).cmp(&(b.created, &b.object.name)));
        for object in objects {
            let before = problems.len();
            let mut pool = parse(object, &mut problems);
            if problems.len() == before
                && let Some(problem) = pools.overlap(&pool)
            {
                problems.push(problem);
            }
            pool.refused = problems.len() > before;
            let pool = Arc::new(pool);
            if !pool.refused {
                for range in &pool.ranges {
                    pools.serving.insert((range.family, range.first), (range.last, Arc::clone(&pool)));
                }
            }
            pools.by_name.insert(pool.name.clone(), pool);
        }
        (pools, problems)
    }

    /// A pool by name, refused ones too.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Pool>> {
        self.by_name.get(name)
    }

    /// All pools by name, refused ones too.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.by_name.values()
    }

    /// Whether there is no pool at all, not even a refused one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The pool that addresses belong to: the serving one that holds them all, else a refused one that does (the first by name). `None` for no
    /// addresses.
    #[must_use]
    pub fn of(&self, addresses: &[IpAddr]) -> Option<&Arc<Pool>> {
        let first = *addresses.first()?;
        if let Some(pool) = self.serving_at(first)
            && addresses.iter().all(|a| pool.holds(*a))
        {
            return Some(pool);
        }
        self.by_name.values().find(|p| p.refused && addresses.iter().all(|a| p.holds(*a)))
    }

    /// The serving pool whose ranges an address lies in, whether or not the pool leaves it out.
    pub(crate) fn serving_at(&self, address: IpAddr) -> Option<&Arc<Pool>> {
        let (family, n) = number(address);
        let ((found, _), (last, pool)) = self.serving.range(..=(family, n)).next_back()?;
        (*found == family && n <= *last).then_some(pool)
    }

    /// The first range of `pool` that overlaps one of a serving pool, as a problem.
    fn overlap(&self, pool: &Pool) -> Option<Problem> {
        pool.ranges.iter().enumerate().find_map(|(index, range)| {
            let ((_, first), (last, other)) = self
                .serving
                .range(..=(range.family, range.last))
                .next_back()
                .filter(|((family, _), (last, _))| *family == range.family && *last >= range.first)?;
            let theirs = Range { family: range.family, first: *first, last: *last };
            Some(Problem::error(
                pool.object.clone(),
                format!("spec.addresses[{index}]"),
                reasons::OVERLAPPING_POOLS,
                format!(
                    "{range} overlaps {theirs} of IPAddressPool {}, which is older; nothing is given from this pool until the two are \
                     disjoint (addresses given from it before stay)",
                    other.object.path()
                ),
            ))
        })
    }
}

fn parse(object: &OwnObject, problems: &mut Vec<Problem>) -> Pool {
    let mut pool = Pool {
        name: object.object.name.clone(),
        object: object.object.clone(),
        labels: object.labels.clone(),
        ranges: Vec::new(),
        auto_assign: false,
        avoid_buggy_ips: false,
        set_aside: None,
        refused: false,
    };
    let mut refuse = |field: String, message: String| {
        problems.push(Problem::error(pool.object.clone(), field, reasons::INVALID_POOL, message));
    };
    let spec = match serde_json::from_value::<IPAddressPoolSpec>(object.spec.clone()) {
        Ok(spec) => spec,
        Err(error) => {
            refuse("spec".into(), format!("cannot be read: {error}; see the schema of IPAddressPool"));
            return pool;
        }
    };
    if spec.addresses.is_empty() {
        refuse("spec.addresses".into(), "a pool needs at least one range of addresses".into());
    }
    for (index, text) in spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        match Range::parse(text) {
            Err(error) => refuse(field, error.to_string()),
            Ok(range) => {
                let twice = pool
                    .ranges
                    .iter()
                    .find(|r| r.family == range.family && r.first <= range.last && range.first <= r.last);
                if let Some(other) = twice {
                    refuse(field, format!("{range} overlaps {other} of the same pool; remove one of them"));
                } else {
                    pool.ranges.push(range);
                }
            }
        }
    }
    pool.auto_assign = spec.auto_assign;
    pool.avoid_buggy_ips = spec.avoid_buggy_ips;
    pool.set_aside = spec.service_allocation.as_ref().map(|allocation| set_aside(allocation, &mut refuse));
    pool
}

fn set_aside(allocation: &ServiceAllocation, refuse: &mut impl FnMut(String, String)) -> SetAside {
    let mut result = SetAside { priority: allocation.priority, ..SetAside::default() };
    for (index, namespace) in allocation.namespaces.iter().enumerate() {
        if !result.namespaces.insert(namespace.clone()) {
            refuse(
                format!("spec.serviceAllocation.namespaces[{index}]"),
                format!("{namespace:?} is listed twice; remove one of them"),
            );
        }
    }
    let mut checked = |name: &str, selectors: &[_]| {
        selector::all(selectors).unwrap_or_else(|(index, error)| {
            let message =
                error.map_or_else(|| "is listed twice; remove one of them".into(), |e| e.to_string());
            refuse(format!("spec.serviceAllocation.{name}[{index}]"), message);
            Vec::new()
        })
    };
    result.namespace_selectors = checked("namespaceSelectors", &allocation.namespace_selectors);
    result.service_selectors = checked("serviceSelectors", &allocation.service_selectors);
    result
}

#[cfg(test)]
mod tests;
