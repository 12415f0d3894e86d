//! Causeway: a Kubernetes cloud-controller-manager for load balancers.
//!
//! ```text
//! API server --watch--> kube/watch --apply|delete|reset--> state/index --dirty keys--> engine/queue
//!                                                                                          |
//!      status, events <-- kube/status <-- worker: snapshot -> translate -> desired -> observe -> plan -> lint -> apply
//! ```

pub mod admin;
pub mod cli;
pub mod engine;
pub mod kube;
pub mod nodes;
pub mod run;
#[cfg(feature = "metal")]
pub mod speaker;
pub mod state;
pub mod translate;
