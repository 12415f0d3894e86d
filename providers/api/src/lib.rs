//! What every provider and the engine agree on: the neutral load-balancer model, plans as data, error classes, names and
//! the [`CloudProvider`] trait.
//!
//! This crate knows neither Kubernetes nor any cloud. It holds no clock, socket, runtime or random source: everything
//! here is plain data and pure functions, except [`Fence`], which is a permission that the engine hands to
//! [`CloudProvider::apply`].
//!
//! ```text
//! Member (one Service or Ingress) --key()--> LbKey
//! LoadBalancer (all members of a key, listeners, routes, nodes) --desired()--> Stack --plan(have)--> Plan --apply()--> cloud
//!                                                                          \------status(have)----> MemberStatus
//! ```

pub mod check;
mod error;
mod fence;
mod finding;
mod hash;
mod instance;
mod key;
mod model;
pub mod names;
mod plan;
mod problem;
mod provider;
mod status;

pub use error::{CloudError, Result};
pub use fence::{Fence, Permit};
pub use finding::{Finding, Level};
pub use hash::{AppliedHash, SCHEMA, digest};
pub use instance::{AddressKind, Found, Instance, NodeAddress, NodeRef};
pub use key::{Kind, Layer, LbKey, ObjectRef, Owner};
pub use model::{
    Backend, Body, Certificate, ClassParameters, Endpoint, Endpoints, EndpointsPerNode, Family, FamilyPolicy,
    HealthCheck, HealthProtocol, HttpBody, IngressBackend, IngressPath, IngressRule, IngressSpec, IngressTls,
    Listener, LoadBalancer, Member, MemberSpec, Node, NodeSet, OwnSpec, PathMatch, Protocol, Route,
    ServicePort, ServiceSpec, TargetPort, TrafficPolicy,
};
pub use plan::{ChangeInfo, Limit, LintContext, Mark, Outcome, Plan, PlannedChange, Target, Verb};
pub use problem::{Problem, Severity};
pub use provider::{
    Capabilities, Claim, CloudProvider, EndpointDetail, KindScope, OWN_SPEC, OwnKind, OwnObject, OwnObjects,
    Owned, Peer, References, Refresh, Resources, Stack, TargetState, Wants,
};
pub use status::{Condition, IngressPoint, IpMode, MemberStatus, Note, OwnStatus, PortStatus};
