//! A Node as the node controllers see it. Pure.

use std::collections::BTreeMap;

use causeway_api::{AddressKind, Kind, NodeAddress, NodeRef, ObjectRef, names};

use crate::kube::types::{self, Taint};

/// What the node controllers read of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// uid.
    pub uid: String,
    /// resourceVersion, for conditional writes.
    pub resource_version: String,
    /// creationTimestamp, seconds since the epoch.
    pub created: Option<i64>,
    /// Being deleted: nothing is done any more.
    pub deleting: bool,
    /// `spec.providerID`; empty if none.
    pub provider_id: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// [`names::ANNOTATION_PROVIDED_NODE_IP`].
    pub provided_ips: Option<String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `status.addresses`, without those of unknown types.
    pub addresses: Vec<NodeAddress>,
    /// Condition Ready is True.
    pub ready: bool,
}

impl From<types::Node> for NodeView {
    fn from(node: types::Node) -> Self {
        let meta = node.metadata;
        let address = |a: types::NodeAddress| {
            Some(NodeAddress { kind: AddressKind::parse(&a.kind?)?, address: a.address? })
        };
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            created: meta.creation_timestamp.map(|time| time.0.as_second()),
            deleting: meta.deletion_timestamp.is_some(),
            provider_id: node.spec.provider_id.unwrap_or_default(),
            provided_ips: meta
                .annotations
                .and_then(|mut annotations| annotations.remove(names::ANNOTATION_PROVIDED_NODE_IP)),
            labels: meta.labels.unwrap_or_default(),
            taints: node.spec.taints.unwrap_or_default(),
            addresses: node.status.addresses.into_iter().flatten().filter_map(address).collect(),
            ready: node.status.conditions.iter().flatten().any(|condition| {
                condition.kind.as_deref() == Some("Ready") && condition.status.as_deref() == Some("True")
            }),
        }
    }
}

impl NodeView {
    /// Whether it has a taint of that key.
    #[must_use]
    pub fn has_taint(&self, key: &str) -> bool {
        self.taints.iter().any(|taint| taint.key.as_deref() == Some(key))
    }

    /// Whether it waits for a node controller of a cloud.
    #[must_use]
    pub fn is_uninitialized(&self) -> bool {
        self.has_taint(names::TAINT_UNINITIALIZED)
    }

    /// For the cloud.
    #[must_use]
    pub fn reference(&self) -> NodeRef {
        let internal = self.addresses.iter().filter(|address| address.kind == AddressKind::InternalIP);
        NodeRef {
            name: self.name.clone(),
            provider_id: self.provider_id.clone(),
            internal_addresses: internal.map(|address| address.address.clone()).collect(),
        }
    }

    /// For Events.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef {
            kind: Kind::Node,
            namespace: String::new(),
            name: self.name.clone(),
            uid: self.uid.as_str().into(),
        }
    }
}
