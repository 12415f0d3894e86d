//! What speakers say of themselves and of each other, as far as elections depend on it. Pure data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use crate::candidates::{Interfaces, LiveSet, NodeName};

/// Why a node would rather not announce. It still does where no other node can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unfit {
    /// kube-proxy on it fails its health check: what comes to it may not get any further.
    KubeProxy,
    /// It was cordoned, and its Pods were evicted.
    Drained,
}

impl Unfit {
    /// Every reason.
    pub const ALL: [Unfit; 2] = [Unfit::KubeProxy, Unfit::Drained];

    /// As text for logs and `/debug/state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KubeProxy => "its kube-proxy fails the health check",
            Self::Drained => "it is being drained",
        }
    }
}

/// An interface that can announce: up, with a carrier, not excluded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Uplink {
    /// Name.
    pub name: String,
    /// Hardware address that it announces with.
    pub mac: [u8; 6],
    /// Its own addresses with their prefix lengths.
    pub networks: Vec<IpNet>,
}

/// What a speaker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// The first addresses of the load balancers that it announces, and the term of each: a number that is higher than any that
    /// was known for this address when it was taken over. So of two holders the one that took over knowing of the other is known.
    pub holds: BTreeMap<IpAddr, u32>,
    /// Its interfaces that can announce; `None` while it does not know them.
    pub uplinks: Option<Vec<Uplink>>,
    /// Why it would rather not announce.
    pub unfit: BTreeSet<Unfit>,
}

impl Statement {
    /// Whether one of the interfaces that are meant can announce. Unknown interfaces count as able.
    #[must_use]
    pub fn has_uplink(&self, meant: &Interfaces) -> bool {
        self.uplinks.as_ref().is_none_or(|uplinks| uplinks.iter().any(|uplink| meant.contains(&uplink.name)))
    }

    /// Whether an address is in the network of one of the interfaces that are meant. Unknown interfaces count as able.
    #[must_use]
    pub fn carries(&self, address: IpAddr, meant: &Interfaces) -> bool {
        self.uplinks.as_ref().is_none_or(|uplinks| {
            uplinks
                .iter()
                .filter(|uplink| meant.contains(&uplink.name))
                .any(|uplink| uplink.networks.iter().any(|network| network.contains(&address)))
        })
    }
}

/// The speakers of the cluster, as one of them sees them, itself included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Which are alive.
    pub live: LiveSet,
    /// What each said last; those of dead ones too, for their terms.
    pub statements: BTreeMap<NodeName, Arc<Statement>>,
    /// Live ones that do not hear this node. They count it as dead, and nothing that it says will make them yield.
    pub deaf: BTreeSet<NodeName>,
    /// Those that may just be starting, as this node is: they stand for addresses that nobody holds, as if they were alive.
    pub expected: BTreeSet<NodeName>,
}

impl Fleet {
    /// Speakers of which nothing is known but who is alive.
    #[must_use]
    pub fn of(live: LiveSet) -> Self {
        Self { live, statements: BTreeMap::new(), deaf: BTreeSet::new(), expected: BTreeSet::new() }
    }

    /// The term in which a live node holds an address, if it does.
    #[must_use]
    pub fn term(&self, node: &str, address: IpAddr) -> Option<u32> {
        if !self.live.contains(node) {
            return None;
        }
        self.statements.get(node)?.holds.get(&address).copied()
    }
}

/// The rules of elections that users can choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// An address goes back to the first node in order as soon as that can have it (MetalLB's rule), instead of staying where it is.
    pub failback: bool,
    /// Nodes that cannot carry an address stand for it all the same (MetalLB's rule).
    pub any_network: bool,
}
