//! The APIs of the cloud: names, ports, where they are. Pure.

use std::net::SocketAddr;

use crate::addresses;

/// An API of the cloud.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Service {
    /// Keystone.
    Identity,
    /// Neutron.
    Network,
    /// Octavia.
    LoadBalancer,
    /// Barbican.
    KeyManager,
    /// Nova, where the cloud was started with it.
    Compute,
}

impl Service {
    /// All.
    pub const ALL: [Service; 5] =
        [Service::Identity, Service::Network, Service::LoadBalancer, Service::KeyManager, Service::Compute];

    /// Its type in the catalog, and its name in counts and patterns of calls.
    pub fn name(self) -> &'static str {
        match self {
            Service::Identity => "identity",
            Service::Network => "network",
            Service::LoadBalancer => "load-balancer",
            Service::KeyManager => "key-manager",
            Service::Compute => "compute",
        }
    }

    /// The program behind it.
    pub fn program(self) -> &'static str {
        match self {
            Service::Identity => "keystone",
            Service::Network => "neutron",
            Service::LoadBalancer => "octavia",
            Service::KeyManager => "barbican",
            Service::Compute => "nova",
        }
    }

    /// Its TCP port: that of the proxy, and of the service itself on loopback of the cloud's namespace.
    pub fn port(self) -> u16 {
        match self {
            Service::Identity => 5000,
            Service::Network => 9696,
            Service::LoadBalancer => 9876,
            Service::KeyManager => 9311,
            Service::Compute => 8774,
        }
    }

    /// Where it listens itself.
    pub fn behind(self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port()))
    }

    /// Where clients in the bed find it: the URL in the catalog, which is the proxy's.
    pub fn inside(self) -> String {
        format!("http://{}:{}", addresses::OPENSTACK, self.port())
    }

    /// The path that says whether it has started.
    pub fn probe(self) -> &'static str {
        match self {
            Service::Identity => "/v3",
            Service::KeyManager => "/healthcheck",
            Service::Network | Service::LoadBalancer | Service::Compute => "/",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}
