//! Records of Services, Ingresses and Nodes to neutral load balancers. Pure; knows no cloud and does no I/O.
//!
//! ```text
//! ServiceRecord --service_member()--+
//!                                   +--> Member --provider.key()--> LbKey --load_balancer()--> LoadBalancer
//! IngressRecord --ingress_member()--+                                             ^
//! NodeRecord ---------node_set()--------------------------------------------------+
//! ```
//!
//! Invariants: the order of inputs never matters; nothing is dropped without a [`causeway_api::Problem`] on the object that
//! the user must look at; one bad port, path, range or member never takes the rest with it; what limits access fails shut.
//!
//! What a provider can do comes in as data ([`causeway_api::Capabilities`]).

mod backend;
mod health;
mod ingress;
mod lb;
mod nodes;
mod ownership;
mod service;
mod source_ranges;

#[cfg(test)]
mod order_tests;

pub use backend::{Lookup, Referenced, referenced};
pub use health::{ClusterHealth, health_check};
pub use ingress::{IngressContext, USE_ANNOTATION, ingress_member};
pub use lb::{LbContext, SecretVersion, load_balancer};
pub use nodes::{eligible, node_set};
pub use ownership::{ClassRules, ingress_class, owned_ingress_class, paused};
pub use service::{ServiceContext, families, service_member};
pub use source_ranges::{NOBODY_V4, NOBODY_V6};

/// CamelCase reasons of the problems that this module finds; each is also the reason of the Event.
pub mod reasons {
    /// A source range that is not a network.
    pub const INVALID_SOURCE_RANGE: &str = "InvalidSourceRange";
    /// A protocol that the provider cannot serve.
    pub const PROTOCOL_NOT_SUPPORTED: &str = "ProtocolNotSupported";
    /// A port that nobody can reach, because it has no NodePort.
    pub const NODE_PORT_MISSING: &str = "NodePortMissing";
    /// A Service without ports.
    pub const NO_PORTS: &str = "NoPorts";
    /// Two members, or two ports of one, want the same port and protocol.
    pub const PORT_CONFLICT: &str = "PortConflict";
    /// An Ingress names a Service that does not exist.
    pub const SERVICE_NOT_FOUND: &str = "ServiceNotFound";
    /// An Ingress names a port that its Service does not have.
    pub const SERVICE_PORT_NOT_FOUND: &str = "ServicePortNotFound";
    /// An Ingress names a Secret that does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A host that can never match.
    pub const INVALID_HOST: &str = "InvalidHost";
    /// A path that can never match.
    pub const INVALID_PATH: &str = "InvalidPath";
    /// The same host and path go to two backends.
    pub const ROUTE_CONFLICT: &str = "RouteConflict";
    /// Two members want different default backends.
    pub const DEFAULT_BACKEND_CONFLICT: &str = "DefaultBackendConflict";
}
