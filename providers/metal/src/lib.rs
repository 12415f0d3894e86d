//! Bare metal: MetalLB's kinds, address allocation, election, who announces what. Pure: no socket, clock or client.
//!
//! ```text
//! IPAddressPool ----> pool ----> allocator <---- provider <---- Services (api::LoadBalancer)     in the controller
//!                       |                            |
//!                       |                      status, Events
//!                       v
//! L2Advertisement --> advertisement --> candidates --> election --> announce                      in each speaker
//! ```

pub mod advertisement;
pub mod allocator;
pub mod announce;
pub mod candidates;
pub mod election;
pub mod kinds;
pub mod names;
pub mod pool;
pub mod range;
pub mod selector;
