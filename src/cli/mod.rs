//! Arguments to validated configuration; the commands that need no cluster.
//!
//! ```text
//! argv, --config FILE --read::arguments()--> Arguments --config::validate()--> Config --> run
//! ```
//!
//! Everything but the entry of each command is pure: files come in as text.

#[cfg(feature = "metal")]
pub mod announcing;
pub mod args;
#[cfg(all(test, feature = "aws"))]
mod aws_tests;
#[cfg(any(feature = "aws", feature = "metal", feature = "openstack"))]
pub mod check;
pub mod commands;
pub mod config;
pub mod controllers;
pub mod docs;
pub mod documents;
pub mod duration;
#[cfg(all(test, any(feature = "aws", feature = "openstack")))]
mod golden;
pub mod live;
#[cfg(all(test, feature = "openstack"))]
mod openstack_tests;
pub mod plan;
pub mod provider;
pub mod read;
pub mod release;

pub use config::Config;
pub use provider::Provider;
