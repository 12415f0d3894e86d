//! OpenStack: a load balancer of Octavia for each Service of type LoadBalancer, and for each Ingress or group of them.
//!
//! ```text
//! annotations --table--> typed settings --+
//! cloud.conf  --table--> options ---------+
//! LoadBalancer (neutral) -----------------+--> l4::desired / l7::desired --> OctaviaStack --plan--> changes
//! Inventory (what OpenStack answered) ----+
//! ```
//!
//! - [`annotations`] and [`options`] are the tables from which parsing, validation and the reference pages are made;
//! - [`inventory`] holds answers of OpenStack as they came, in types that know only the fields which decisions need;
//! - [`stack`] is the desired stack in OpenStack's own terms; [`l4`] makes it for Services, [`l7`] for Ingresses;
//! - [`capabilities`] knows what a provider of Octavia can do, [`certificates`] what of a Secret it takes, [`network`], [`nodes`], [`health`], [`security`], [`ownership`] and others each hold one
//!   kind of decision, of both layers;
//! - [`provider`] puts them together; [`mod@check`] tells whether a project is as it must be.
//!
//! Invariants: one bad object is a [`causeway_api::Problem`] on that object and changes nobody else's stack; the order of inputs never
//! matters; equal inputs give equal stacks and hashes.

#![allow(
    clippy::result_large_err,
    reason = "an error is a problem for people: it is made rarely, and handed on once"
)]

pub mod adopt;
pub mod annotations;
pub mod api;
mod apply;
pub mod asks;
pub mod capabilities;
pub mod certificates;
pub mod check;
pub mod client;
pub mod cloud;
pub mod config;
pub mod errors;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod health;
pub mod instances;
pub mod inventory;
pub mod l4;
pub mod l7;
pub mod live;
mod member;
pub mod members;
pub mod naming;
pub mod network;
pub mod nodes;
pub mod observe;
pub mod options;
pub mod ownership;
pub mod plan;
pub mod posted;
mod posts;
pub mod provider;
pub mod quotas;
pub mod security;
mod sized;
pub mod stack;
pub mod status;
mod stubborn;

pub use cloud::Offline;
pub use facts::{Facts, Overrides};
pub use inventory::Inventory;
pub use provider::OpenStack;
