//! What this provider can give, and how much of it is given: the limits here are the user's own pools. Pure.

use std::time::Duration;

use causeway_api::{Capabilities, OwnStatus, Protocol};

use crate::allocator::Allocator;
use crate::kinds::IPAddressPoolStatus;
use crate::pool::Pools;

/// Addresses that one Service can have: one of each IP family.
pub const MAX_ADDRESSES: usize = 2;

/// The longest time that a write can take. The only writes are those of the status, to the API server.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// What can be served.
#[must_use]
pub fn capabilities() -> Capabilities {
    Capabilities {
        l4: true,
        l7: false,
        // Addresses carry every protocol; kube-proxy takes the packets.
        protocols: vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        own_classless: true,
        classes: Vec::new(),
        claims: Vec::new(),
        needs_node_ports: false,
        own_routes: false,
        // Nothing outlives the object: an address is free as soon as no status shows it.
        orphan_grace: Duration::ZERO,
        write_deadline: WRITE_DEADLINE,
        status_is_commit: true,
    }
}

/// How much of a pool is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Name of the pool.
    pub name: String,
    /// Addresses.
    pub status: IPAddressPoolStatus,
    /// Services that have some.
    pub services: i64,
}

/// How much of every pool is in use.
#[must_use]
pub fn pool_use(allocator: &Allocator) -> Vec<PoolUse> {
    let services = allocator.services();
    let pools = allocator.pools().iter();
    pools
        .map(|pool| PoolUse {
            name: pool.name.clone(),
            status: allocator.status(&pool.name),
            services: services.get(&pool.name).copied().unwrap_or_default(),
        })
        .collect()
}

/// The counters of every pool, as its status shall be.
#[must_use]
pub fn pool_statuses(allocator: &Allocator, pools: &Pools) -> Vec<OwnStatus> {
    pools
        .iter()
        .map(|pool| {
            let status = allocator.status(&pool.name);
            OwnStatus {
                object: pool.object.clone(),
                status: serde_json::json!({
                    "assignedIPv4": status.assigned_ipv4,
                    "assignedIPv6": status.assigned_ipv6,
                    "availableIPv4": status.available_ipv4,
                    "availableIPv6": status.available_ipv6,
                }),
            }
        })
        .collect()
}
