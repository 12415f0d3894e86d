//! The order of the nodes by hash, for each address: hashed once, and kept while nodes come and go. Pure.
//!
//! Clones share what was hashed so far: who holds the elections of many nodes in one process, as simulations do, hashes for all of them once.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::candidates::NodeName;
use crate::election::rank;

/// The nodes, and their order for each address that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// In order of their names: what indexes mean.
    nodes: Arc<[NodeName]>,
    /// Indexes of nodes in the order of the hash.
    by_address: HashMap<IpAddr, Arc<[u16]>>,
}

impl Order {
    /// All nodes, by index, in the order in which they stand for an address.
    pub(super) fn of(&mut self, address: IpAddr) -> Arc<[u16]> {
        let nodes = &self.nodes;
        let order = self.by_address.entry(address).or_insert_with(|| {
            let mut order: Vec<u16> = (0u16..).zip(nodes.iter()).map(|(index, _)| index).collect();
            order.sort_by_cached_key(|index| rank(&nodes[usize::from(*index)], address));
            order.into()
        });
        Arc::clone(order)
    }

    /// The same, if it was asked for before.
    pub(super) fn known(&self, address: IpAddr) -> Option<&[u16]> {
        self.by_address.get(&address).map(|order| &**order)
    }

    /// Forgets the addresses that are not among these.
    pub(super) fn retain(&mut self, used: &HashSet<IpAddr>) {
        self.by_address.retain(|address, _| used.contains(address));
    }

    /// Other nodes from now on, in order of their names; hashes only for those that are new.
    pub(super) fn renumber<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a NodeName> + Clone) {
        if self.nodes.len() == names.len()
            && self.nodes.iter().zip(names.clone()).all(|(one, two)| one == two)
        {
            return;
        }
        let old = std::mem::replace(&mut self.nodes, names.cloned().collect());
        let nodes = &self.nodes;
        let find = |nodes: &[NodeName], name: &NodeName| {
            nodes.binary_search(name).ok().and_then(|at| u16::try_from(at).ok())
        };
        let number: Vec<Option<u16>> = old.iter().map(|name| find(nodes, name)).collect();
        let fresh: Vec<u16> = (0u16..)
            .zip(nodes.iter())
            .filter(|(_, name)| find(&old, name).is_none())
            .map(|(index, _)| index)
            .collect();
        for (address, order) in &mut self.by_address {
            let mut changed: Vec<u16> =
                order.iter().filter_map(|index| number[usize::from(*index)]).collect();
            for node in &fresh {
                let key = |node: u16| (rank(&nodes[usize::from(node)], *address), &nodes[usize::from(node)]);
                let ours = key(*node);
                let at = changed.partition_point(|other| key(*other) < ours);
                changed.insert(at, *node);
            }
            *order = changed.into();
        }
    }
}
