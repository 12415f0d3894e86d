//! Values that are known now, or only once another resource of the stack exists. Pure data.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Types of the resources of a stack, as `plan` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// A security group.
    SecurityGroup,
    /// An NLB or ALB.
    LoadBalancer,
    /// A listener.
    Listener,
    /// A rule of an ALB's listener.
    ListenerRule,
    /// A target group.
    TargetGroup,
    /// Which targets belong into a target group.
    TargetGroupBinding,
    /// A web ACL of WAFv2 in front of an ALB.
    WebAclAssociation,
    /// Shield Advanced for an ALB.
    ShieldProtection,
}

impl ResourceType {
    /// The name, in the terms of AWS.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecurityGroup => "AWS::EC2::SecurityGroup",
            Self::LoadBalancer => "AWS::ElasticLoadBalancingV2::LoadBalancer",
            Self::Listener => "AWS::ElasticLoadBalancingV2::Listener",
            Self::ListenerRule => "AWS::ElasticLoadBalancingV2::ListenerRule",
            Self::TargetGroup => "AWS::ElasticLoadBalancingV2::TargetGroup",
            Self::TargetGroupBinding => "K8S::ElasticLoadBalancingV2::TargetGroupBinding",
            Self::WebAclAssociation => "AWS::WAFv2::WebACLAssociation",
            Self::ShieldProtection => "AWS::Shield::Protection",
        }
    }

    /// The field of a resource's status that others refer to; empty for what nobody refers to.
    #[must_use]
    pub const fn identity(self) -> &'static str {
        match self {
            Self::SecurityGroup => "groupID",
            Self::LoadBalancer => "loadBalancerARN",
            Self::Listener => "listenerARN",
            Self::ListenerRule => "ruleARN",
            Self::TargetGroup => "targetGroupARN",
            Self::TargetGroupBinding | Self::WebAclAssociation | Self::ShieldProtection => "",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose resource a [`Token::Ref`] points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The stack itself.
    Stack,
    /// What all stacks of the cluster share, see [`crate::security`].
    Shared,
}

/// An id or ARN: known, or that of another resource which may not exist yet.
///
/// As JSON a string, or `{"$ref": "#/resources/TYPE/ID/status/FIELD"}` (`#/shared/…` for what stacks share).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// Known. Shared: the same instances are targets of all target groups.
    Literal(Arc<str>),
    /// The identity of another resource.
    Ref {
        /// Whose.
        scope: Scope,
        /// Its type.
        kind: ResourceType,
        /// Its id in the stack.
        id: String,
    },
}

impl Token {
    /// A known value.
    pub fn literal(value: impl Into<Arc<str>>) -> Self {
        Self::Literal(value.into())
    }

    /// The identity of a resource of the same stack.
    pub fn of(kind: ResourceType, id: impl Into<String>) -> Self {
        Self::Ref { scope: Scope::Stack, kind, id: id.into() }
    }

    /// The identity of a resource that all stacks share.
    pub fn shared(kind: ResourceType, id: impl Into<String>) -> Self {
        Self::Ref { scope: Scope::Shared, kind, id: id.into() }
    }

    /// The path of a reference; `None` for a known value.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        match self {
            Self::Literal(_) => None,
            Self::Ref { scope, kind, id } => {
                let root = match scope {
                    Scope::Stack => "resources",
                    Scope::Shared => "shared",
                };
                Some(format!("#/{root}/{kind}/{id}/status/{}", kind.identity()))
            }
        }
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        match (self, self.path()) {
            (Self::Literal(value), _) => serializer.serialize_str(value),
            (Self::Ref { .. }, path) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("$ref", &path)?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_as_json() {
        let json = |token: &Token| serde_json::to_value(token).expect("plain data");
        assert_eq!(json(&Token::literal("sg-1")), json!("sg-1"));
        assert_eq!(
            json(&Token::of(ResourceType::TargetGroup, "default/web:80")),
            json!({"$ref": "#/resources/AWS::ElasticLoadBalancingV2::TargetGroup/default/web:80/status/targetGroupARN"})
        );
        assert_eq!(
            json(&Token::shared(ResourceType::SecurityGroup, "Backend")),
            json!({"$ref": "#/shared/AWS::EC2::SecurityGroup/Backend/status/groupID"})
        );
    }
}
