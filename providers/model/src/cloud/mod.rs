//! The cloud itself: load balancers, listeners, rules, target groups and targets in memory. Pure: time comes in as
//! milliseconds, randomness from a seed in the settings, nothing goes out but answers.
//!
//! Invariants: every listener has a default action; an action forwards only to a target group of its load balancer and
//! protocol; rule positions of a listener are unique; a load balancer that is pending by [`Style::Locking`] refuses every
//! change; quotas hold; an address belongs to one load balancer. [`Cloud::check`] says whether they do.

mod faults;
mod node_sets;
mod operations;
mod records;
mod request;
mod state;

pub use faults::{Fault, Faults, ScriptedFault};
pub use node_sets::{Difference, Differences, NodeSets, Nodes, SetId};
pub use operations::edit;
pub use records::{
    Action, CertificateRef, Listener, ListenerProtocol, LoadBalancer, Rule, Scheme, Spec, Status, Tags,
    TargetDelta, TargetGroup, TargetProtocol, Targets, listener_name,
};
pub use request::{Answer, Code, Refusal, Request};
pub use state::{Bucket, Cloud, Reply, Settings, Snapshot, Style, quota};
