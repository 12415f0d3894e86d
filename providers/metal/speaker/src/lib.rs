//! The node agent of the metal provider: makes the addresses of Services be found on the network, from the node that is elected for each.
//!
//! ```text
//!   View (from the watchers) ──┐
//!   netlink ──▶ links ─────────┤
//!   kube-proxy ──▶ fitness ────┤
//!   UDP ◀─▶ membership ◀───────┴─▶ succession: elections ──▶ Duty ──▶ port, one per interface: l2::Segment ◀─▶ AF_PACKET
//!   key ────────▲                         │
//!                                         └──▶ events, metrics, snapshot
//! ```
//!
//! [`l2`], [`bgp`], [`membership`] and [`succession`] are sans-IO state machines that know neither sockets nor Kubernetes; [`announced`], [`fitness`], [`interfaces`] and
//! [`snapshot`] are pure; [`mod@run`], [`peering`], `port`, `heartbeat`, `kube_proxy` and [`netlink`] are the rim.
//!
//! Runs well on a current-thread runtime: then a frame is answered by the thread that the kernel woke.

pub mod announced;
pub mod bfd;
pub mod bfd_run;
pub mod bgp;
pub mod config;
pub mod fitness;
mod groups;
mod heartbeat;
pub mod inquiry;
pub mod interfaces;
pub mod jitter;
mod kube_proxy;
pub mod l2;
pub mod membership;
pub mod metrics;
pub mod moment;
pub mod netlink;
pub mod parting;
pub mod peering;
mod port;
pub mod routers;
pub mod run;
pub mod snapshot;
pub mod spare;
pub mod succession;

pub use announced::SpeakerEvent;
pub use config::{Config, Heartbeats, SpeakerError};
pub use metrics::Metrics;
pub use run::{Channels, View, run};
pub use snapshot::Snapshot;
