//! AWS end to end: the controller from `deploy/` in a cluster whose nodes are instances of an account, real traffic through the load balancers that it makes,
//! and what becomes of them under faults.
//!
//! The tests share one bed; each works in a namespace of its own, and those that would disturb others run alone. What takes AWS seconds takes the bed's as long, so every wait is generous: a
//! busy machine makes a test slow, not wrong.

mod addons;
mod bindings;
mod check;
mod clusters;
mod faults;
mod gates;
mod ingresses;
mod lab;
#[path = "../support/nodes.rs"]
mod machines;
mod nodes;
mod services;
#[path = "../support/mod.rs"]
mod support;
