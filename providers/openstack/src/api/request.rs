//! One call, as data.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// A service of OpenStack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Service {
    /// Octavia.
    LoadBalancer,
    /// Neutron.
    Network,
    /// Barbican.
    KeyManager,
    /// Nova.
    Compute,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LoadBalancer, Self::Network, Self::KeyManager, Self::Compute];

    /// Type in the catalog.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load-balancer",
            Self::Network => "network",
            Self::KeyManager => "key-manager",
            Self::Compute => "compute",
        }
    }

    /// Name that people know it by.
    #[must_use]
    pub const fn product(self) -> &'static str {
        match self {
            Self::LoadBalancer => "Octavia",
            Self::Network => "Neutron",
            Self::KeyManager => "Barbican",
            Self::Compute => "Nova",
        }
    }

    /// The microversion that answers must have, as its header says it. Nova 2.47 (Pike): servers name their flavors.
    #[must_use]
    pub const fn microversion(self) -> Option<&'static str> {
        match self {
            Self::Compute => Some("compute 2.47"),
            Self::LoadBalancer | Self::Network | Self::KeyManager => None,
        }
    }

    /// What its paths begin with.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::LoadBalancer | Self::Network => "/v2.0",
            Self::KeyManager => "/v1",
            Self::Compute => "/v2.1",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Method {
    /// Read.
    Get,
    /// Make.
    Post,
    /// Change.
    Put,
    /// Remove.
    Delete,
}

impl Method {
    /// As in HTTP.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// One call. `Debug` does not show the body: it may hold a private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose.
    pub service: Service,
    /// What is done.
    pub method: Method,
    /// Path from the root of the service, with its version: `/v2.0/lbaas/loadbalancers`.
    pub path: String,
    /// Query, in order; not encoded.
    pub query: Vec<(String, String)>,
    /// Body.
    pub body: Option<Value>,
    /// Neutron's revision that the resource must still have.
    pub revision: Option<u64>,
}

impl Request {
    /// A call without query and body; `path` comes after the service's version, and begins with a slash.
    #[must_use]
    pub fn new(service: Service, method: Method, path: &str) -> Self {
        Self {
            service,
            method,
            path: format!("{}{path}", service.version()),
            query: Vec::new(),
            body: None,
            revision: None,
        }
    }

    /// A read.
    #[must_use]
    pub fn get(service: Service, path: &str) -> Self {
        Self::new(service, Method::Get, path)
    }

    /// The list of a service's versions, at its root.
    #[must_use]
    pub fn versions(service: Service) -> Self {
        Self { path: "/".to_owned(), ..Self::get(service, "") }
    }

    /// With a query.
    #[must_use]
    pub fn query(mut self, query: impl IntoIterator<Item = (String, String)>) -> Self {
        self.query.extend(query);
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether it changes something.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.method != Method::Get
    }

    /// Whether it may be made again after nobody knows whether it took effect: what it asks for is then the same.
    #[must_use]
    pub fn repeatable(&self) -> bool {
        self.method != Method::Post
    }

    /// `METHOD path?query`.
    #[must_use]
    pub fn key(&self) -> String {
        let mut key = format!("{} {}", self.method.as_str(), self.path);
        for (i, (name, value)) in self.query.iter().enumerate() {
            key.push(if i == 0 { '?' } else { '&' });
            key.push_str(name);
            key.push('=');
            key.push_str(value);
        }
        key
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.service.product(), self.key())
    }
}
