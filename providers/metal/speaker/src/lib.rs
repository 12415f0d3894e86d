//! The node agent of the metal provider: makes the addresses of Services be found on the network, from the node that is elected for each.
//!
//! ```text
//!   World (from the controller's watchers) ─┐
//!   netlink ──▶ links ──────────────────────┤
//!   UDP ──▶ membership ──▶ live set ────────┼──▶ causeway-metal: announcements ──▶ l2::Segment per interface ──▶ AF_PACKET
//!   key ────────▲                           │                                          ▲ frames, timers
//!                                           └──▶ events, metrics, snapshot
//! ```
//!
//! [`l2`] and [`membership`] are sans-IO state machines that know neither sockets nor Kubernetes.

pub mod jitter;
pub mod l2;
pub mod membership;
pub mod moment;
