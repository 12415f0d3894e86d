//! OpenStack end to end: the controller from `deploy/` in a cluster whose nodes are instances of a project, real Keystone, Neutron, Octavia and Barbican, and real traffic
//! through the load balancers that it makes.
//!
//! The tests share one bed, but for OVN's; each works in a namespace of its own, and those that would disturb others run alone.

mod basics;
mod certificates;
mod check;
mod families;
mod faults;
mod ingresses;
mod lab;
#[path = "../support/nodes.rs"]
mod machines;
mod nodes;
mod ovn;
mod recreated;
mod services;
#[path = "../support/mod.rs"]
mod support;
