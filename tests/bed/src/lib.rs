//! The test bed: a real Kubernetes control plane, nodes with real kube-proxies, clients, routers and faults, all in network namespaces of
//! one machine, without docker. Needs root; `README.md` beside this crate says how to use the command.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use causeway_bed::Bed;
//! # async fn example() -> anyhow::Result<()> {
//! let bed = Bed::builder().nodes(3).start().await?;
//! bed.apply("...manifests...")?;
//! bed.node(2)?.cut_power()?;
//! bed.wait("an answer", Duration::from_secs(5), async || {
//!     bed.client_ns().http_get(([10, 77, 100, 1], 80), "/hostname", None, Duration::from_secs(1)).await
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! A bed ends with its owner, however that ends: see [`init`]. What is where in the network: [`addresses`] and [`topology`].
//! Everything here is I/O, except where a module says that it is pure.

pub mod addresses;
pub mod aws;
mod bed;
pub mod cloud;
pub mod controlplane;
pub mod cpa;
pub mod daemon;
pub mod e2e;
mod fib;
pub mod image;
pub mod init;
pub mod lbc;
pub mod metallb;
pub mod namespace;
mod neighbours;
pub mod node;
pub mod occm;
pub mod openstack;
pub mod pki;
pub mod process;
pub mod programs;
mod relay;
pub mod router;
pub mod segment;
mod start;
pub mod topology;
pub mod wait;

pub use bed::Bed;
pub use daemon::{Daemon, Running};
pub use fib::{Hop, KernelRoute, RouteWatch};
pub use image::Image;
pub use namespace::{Capture, Counter, Namespace, Response};
pub use node::Node;
pub use process::Signal;
pub use router::Router;
pub use segment::Segment;
pub use start::Builder;
