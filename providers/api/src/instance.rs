//! The machines of a cloud behind the cluster's Nodes, as the node controllers need them (k8s.io/cloud-provider, `InstancesV2`). Plain data.

use std::collections::BTreeMap;

use serde::Serialize;

/// The Node that a machine is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// Name of the Node.
    pub name: String,
    /// `spec.providerID`; empty: the machine is found by the Node's name and addresses.
    pub provider_id: String,
    /// Addresses of type InternalIP that its kubelet says it has; no lookup by anything else that a kubelet says.
    pub internal_addresses: Vec<String>,
}

/// What the cloud says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is such a machine, running or stopped.
    Instance(Box<Instance>),
    /// There is none, or it has ended for good. Said only if the cloud was asked for exactly this machine: the Node may be deleted.
    Gone,
    /// Nothing can be said: the machine is of another cloud or kind, or the provider id cannot be read. The text says why.
    Unknown(String),
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// As `spec.providerID` has it.
    pub provider_id: String,
    /// Such as `m5.large`; empty if unknown, and so below.
    pub instance_type: String,
    /// Availability zone.
    pub zone: String,
    /// Region.
    pub region: String,
    /// Further labels; those of Kubernetes' own domains are not set.
    pub labels: BTreeMap<String, String>,
    /// Addresses, in the order in which `status.addresses` shall have them.
    pub addresses: Vec<NodeAddress>,
    /// It exists, and does not run: shut down, and may come back.
    pub stopped: bool,
}

/// `status.addresses[]` of a Node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeAddress {
    /// Type.
    #[serde(rename = "type")]
    pub kind: AddressKind,
    /// Address or name.
    pub address: String,
}

/// Types of addresses of Nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs, reason = "Kubernetes' own names")]
pub enum AddressKind {
    Hostname,
    InternalIP,
    ExternalIP,
    InternalDNS,
    ExternalDNS,
}

impl AddressKind {
    /// Out of `status.addresses[].type`; `None` for one that Kubernetes does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Hostname, Self::InternalIP, Self::ExternalIP, Self::InternalDNS, Self::ExternalDNS]
            .into_iter()
            .find(|kind| format!("{kind:?}") == text)
    }
}

impl NodeAddress {
    /// An address.
    pub fn new(kind: AddressKind, address: impl Into<String>) -> Self {
        Self { kind, address: address.into() }
    }
}
