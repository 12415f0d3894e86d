//! Bare metal: MetalLB's kinds, address allocation, election, who announces what. No socket, clock or client: all of it is pure but for the
//! mutex in [`provider`].
//!
//! ```text
//! Nodes, AddressConflict ------> closed
//!                                    |
//! IPAddressPool ----> pool ----> allocator <---- provider <---- Services (api::LoadBalancer)     in the controller
//!                       |                            |
//!                       |                      status, Events
//!                       v
//! L2Advertisement --> advertisement --> candidates --> election --> announce                      in each speaker
//! BGPPeer, BGPAdvertisement, ... --> bgp --> bgp::routes                                           in each speaker
//! ```

pub mod advertisement;
pub mod allocator;
pub mod annotations;
pub mod announce;
mod apply;
pub mod bgp;
pub mod candidates;
pub mod closed;
pub mod desired;
pub mod election;
pub mod elections;
pub mod fleet;
pub mod kinds;
pub mod limits;
pub mod names;
pub mod node_settings;
pub mod observe;
pub mod plan;
pub mod pool;
pub mod provider;
pub mod range;
pub mod selector;
pub mod status;

pub use provider::Metal;
