//! A model cloud, and the provider that drives it: the engine's counterpart in property tests, crash tests and benches.
//!
//! ```text
//! cloud/     the cloud: a state machine in memory, pure, time is an argument     <-- property tests link this
//! server     the same behind HTTP, a process of its own that outlives the controller   <-- benches, crash tests
//! transport  how a provider reaches it: in memory or over HTTP
//! provider/  `impl CloudProvider`: desired, plan, observe, apply, limits, naming, as every provider has them
//! ```
//!
//! The model abstracts two real clouds at once: ELBv2 (names are unique, a new load balancer can be changed while it is still
//! being provisioned, rules are made one by one and ordered atomically) and Octavia (names are not unique, every change
//! locks the whole load balancer until it has taken effect, everything can be made by one call). [`cloud::Style`] chooses.

pub mod cloud;
pub mod provider;
pub mod server;
pub mod transport;

pub use cloud::{Cloud, Settings};
pub use provider::{Model, Options};
pub use transport::{Http, InMemory, Transport};
