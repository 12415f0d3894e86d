//! AWS: an NLB for each Service of type LoadBalancer, an ALB for each Ingress or group of them. Everything here but [`cloud`] is pure: data to data.
//!
//! ```text
//! annotations --table--> typed settings --+
//! LoadBalancer (neutral) -----------------+--> nlb::desired / alb::desired --> AwsStack --plan--> changes
//! Inventory (what AWS answered) --> Facts-+
//! ```
//!
//! - [`annotations`] is the one table from which parsing, validation and the reference page are made;
//! - [`inventory`] holds answers of AWS as they came, in types that know only the fields which decisions need; [`options`] what the user chose;
//! - [`stack`] is the desired stack in AWS's own terms; [`nlb`] makes it for Services;
//! - [`naming`], [`security`], [`ownership`] and others each hold one kind of decision, of both layers;
//! - [`provider`] puts them together.
//!
//! Invariants: one bad object is a [`causeway_api::Problem`] on that object and changes nobody else's stack; the order of inputs never
//! matters; equal inputs give equal stacks and hashes.

#![allow(
    clippy::result_large_err,
    reason = "an error is a problem for people: it is made rarely, and handed on once"
)]

pub mod adopt;
pub mod alb;
pub mod annotations;
mod apply;
pub mod calls;
pub mod check;
pub mod cloud;
pub mod differences;
pub mod errors;
pub mod facts;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fixtures;
pub mod gates;
pub mod health;
pub mod instances;
pub mod inventory;
pub mod kinds;
pub mod limits;
pub mod live;
pub mod naming;
pub mod nlb;
pub mod observe;
pub mod options;
pub mod ownership;
pub mod plan;
pub mod provider;
mod rules;
pub mod secrets;
pub mod security;
#[cfg(test)]
mod simulation;
pub mod stack;
pub mod status;
pub mod subnets;
pub mod tags;
pub mod targets;

pub use cloud::Offline;
pub use facts::{Facts, Overrides};
pub use inventory::Inventory;
pub use live::Live;
pub use provider::Aws;
#[cfg(all(test, feature = "sdk", feature = "bed"))]
mod wire;
