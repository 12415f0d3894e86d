//! Identity: which object, which load balancer. Pure.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The kind of object that can own a load balancer, or that a [`crate::Problem`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `v1` Node.
    Node,
    /// A provider's own kind, by its `kind`.
    Own(String),
}

impl Kind {
    /// The kind as Kubernetes writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Service => "Service",
            Self::Ingress => "Ingress",
            Self::Node => "Node",
            Self::Own(kind) => kind,
        }
    }
}

/// One Kubernetes object. The uid is the empty string where an offline file gives none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`. Shared: most of what is known of an object names it.
    pub uid: Arc<str>,
}

impl ObjectRef {
    /// A Service.
    pub fn service(namespace: impl Into<String>, name: impl Into<String>, uid: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Service, namespace: namespace.into(), name: name.into(), uid: uid.into() }
    }

    /// An Ingress.
    pub fn ingress(namespace: impl Into<String>, name: impl Into<String>, uid: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Ingress, namespace: namespace.into(), name: name.into(), uid: uid.into() }
    }

    /// `namespace/name`, or just the name of a cluster-scoped object.
    #[must_use]
    pub fn path(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.path())
    }
}

/// Transport (Service) or application (Ingress) load balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Layer {
    /// TCP, UDP, SCTP: Services.
    L4,
    /// HTTP: Ingresses.
    L7,
}

/// Who a load balancer belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// One object alone.
    Object(ObjectRef),
    /// All objects that name this group. Within one namespace the name is `namespace/group`.
    Group(String),
}

/// The unit of queue, plan, hash and ledger: one load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LbKey {
    /// Layer; two groups of one name on different layers are two load balancers.
    pub layer: Layer,
    /// Owner.
    pub owner: Owner,
}

impl LbKey {
    /// The load balancer of one object alone.
    #[must_use]
    pub fn object(layer: Layer, object: ObjectRef) -> Self {
        Self { layer, owner: Owner::Object(object) }
    }

    /// The load balancer of a group.
    pub fn group(layer: Layer, name: impl Into<String>) -> Self {
        Self { layer, owner: Owner::Group(name.into()) }
    }

    /// The value of the cloud tag [`crate::names::TAG_OWNER`]: `service/<uid>`, `ingress/<uid>`, `group/<name>` or, of Ingresses,
    /// `ingress-group/<name>`. Towards a cloud this alone is the key's identity: an orphan is found again by its tag, when its name is known to nobody.
    #[must_use]
    pub fn owner_tag(&self) -> String {
        match &self.owner {
            Owner::Object(o) => format!("{}/{}", o.kind.as_str().to_ascii_lowercase(), o.uid),
            Owner::Group(name) => match self.layer {
                Layer::L4 => format!("group/{name}"),
                Layer::L7 => format!("ingress-group/{name}"),
            },
        }
    }

    /// The key behind an owner tag of a Service, an Ingress or a group; namespace and name of an object are not known from it, and empty.
    #[must_use]
    pub fn of_owner_tag(tag: &str) -> Option<Self> {
        let (kind, id) = tag.split_once('/')?;
        match kind {
            "service" => Some(Self::object(Layer::L4, ObjectRef::service("", "", id))),
            "ingress" => Some(Self::object(Layer::L7, ObjectRef::ingress("", "", id))),
            "group" => Some(Self::group(Layer::L4, id)),
            "ingress-group" => Some(Self::group(Layer::L7, id)),
            _ => None,
        }
    }

    /// The id that `causeway plan` prints: `namespace/name` or the group's name.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.owner {
            Owner::Object(o) => o.path(),
            Owner::Group(name) => name.clone(),
        }
    }
}

impl fmt::Display for LbKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Owner::Object(o) => o.fmt(f),
            Owner::Group(name) => write!(f, "group {name} ({:?})", self.layer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_tag_tells_the_key() {
        let keys = [
            LbKey::object(Layer::L4, ObjectRef::service("", "", "u1")),
            LbKey::object(Layer::L7, ObjectRef::ingress("", "", "u1")),
            LbKey::group(Layer::L4, "shop/web"),
            LbKey::group(Layer::L7, "shop/web"),
        ];
        let tags: std::collections::BTreeSet<String> = keys.iter().map(LbKey::owner_tag).collect();
        assert_eq!(tags.len(), keys.len(), "two of one name on different layers are two: {tags:?}");
        for key in keys {
            assert_eq!(LbKey::of_owner_tag(&key.owner_tag()), Some(key));
        }
        for tag in ["", "service", "node/u1", "shared"] {
            assert_eq!(LbKey::of_owner_tag(tag), None, "{tag}");
        }
    }
}
