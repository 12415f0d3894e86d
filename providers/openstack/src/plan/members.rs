//! Members: what a pool is set to. Pure.
//!
//! A member is told apart by address and port, and its subnet is fixed: one whose subnet is another goes first and comes back, half of them at a time, so
//! that a pool never stands empty for that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::observe::shape::is_odd;
use crate::stack::MemberSpec;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// All members that shall be there.
    pub members: Vec<Value>,
    /// How many come, change, go.
    pub counts: (usize, usize, usize),
}

/// What leads from one set to the other; `None`: they are equal.
#[must_use]
pub fn batch<'a>(want: impl Iterator<Item = &'a MemberSpec>, have: &[MemberSpec]) -> Option<Batch> {
    type Key = (IpAddr, u16);
    let key = |m: &MemberSpec| (m.address, m.protocol_port);
    let want: BTreeMap<Key, &MemberSpec> = want.map(|m| (key(m), m)).collect();
    let have: BTreeMap<Key, &MemberSpec> = have.iter().map(|m| (key(m), m)).collect();
    let moved: Vec<Key> = want
        .iter()
        .filter(|(key, m)| {
            have.get(*key).is_some_and(|h| m.subnet_id.is_some() && h.subnet_id != m.subnet_id)
        })
        .map(|(key, _)| *key)
        .collect();
    let out: BTreeSet<Key> = moved.iter().take(moved.len().div_ceil(2)).copied().collect();
    let waiting: BTreeSet<Key> = moved.iter().copied().collect();
    let equal = |key: &Key, m: &MemberSpec| {
        have.get(key).is_some_and(|h| {
            // Without a wish the subnet is Octavia's choice.
            let asked =
                MemberSpec { subnet_id: m.subnet_id.clone().or_else(|| h.subnet_id.clone()), ..m.clone() };
            asked == **h
        })
    };
    let come = want.keys().filter(|key| !have.contains_key(key)).count();
    let change = want
        .iter()
        .filter(|(key, m)| have.contains_key(key) && !waiting.contains(key) && !equal(key, m))
        .count();
    let go = have.keys().filter(|key| !want.contains_key(key)).count() + out.len();
    if (come, change, go) == (0, 0, 0) {
        return None;
    }
    let members = want
        .iter()
        .filter(|(key, _)| !out.contains(key))
        // One that waits for its turn is listed as it is.
        .map(|(key, m)| if waiting.contains(key) { json!(have[key]) } else { json!(m) })
        .collect();
    Some(Batch { members, counts: (come, change, go) })
}

/// A member of a pool that was taken over: one that is there keeps name and subnet, which the peer gave it.
pub(super) fn kept(want: &MemberSpec, have: &[MemberSpec]) -> MemberSpec {
    let same = |h: &&MemberSpec| (h.address, h.protocol_port) == (want.address, want.protocol_port);
    match have.iter().find(same) {
        Some(there) if !is_odd(there) => {
            MemberSpec { name: there.name.clone(), subnet_id: there.subnet_id.clone(), ..want.clone() }
        }
        _ => want.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(last: u8, subnet: Option<&str>) -> MemberSpec {
        MemberSpec {
            name: format!("m{last}"),
            address: IpAddr::from([10, 0, 0, last]),
            protocol_port: 80,
            subnet_id: subnet.map(str::to_owned),
            monitor_port: None,
        }
    }

    #[test]
    fn equal_sets_cost_nothing_in_any_order() {
        let have = [member(2, Some("s")), member(1, Some("s"))];
        for want in [[member(1, Some("s")), member(2, Some("s"))], [member(1, None), member(2, None)]] {
            assert_eq!(batch(want.iter(), &have), None);
        }
    }

    #[test]
    fn one_more_and_one_less_are_one_call() {
        let have = [member(1, None), member(2, None)];
        let found = batch([member(2, None), member(3, None)].iter(), &have).expect("a change");
        assert_eq!((found.counts, found.members.len()), ((1, 0, 1), 2));
    }

    #[test]
    fn another_subnet_takes_turns() {
        let mut have: Vec<MemberSpec> = (1..=5).map(|n| member(n, Some("old"))).collect();
        let want: Vec<MemberSpec> = (1..=5).map(|n| member(n, Some("new"))).collect();
        for _ in 0..10 {
            let Some(found) = batch(want.iter(), &have) else { break };
            assert!(!found.members.is_empty(), "the pool stands empty");
            have = found
                .members
                .iter()
                .map(|m| {
                    let address = m["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
                    MemberSpec {
                        name: m["name"].as_str().unwrap_or_default().to_owned(),
                        address,
                        protocol_port: 80,
                        subnet_id: m["subnet_id"].as_str().map(str::to_owned),
                        monitor_port: None,
                    }
                })
                .collect();
        }
        assert_eq!(batch(want.iter(), &have), None);
    }
}
