//! Values that are known now, or only once another resource of the stack exists. Pure data.

use std::fmt;

use serde::{Serialize, Serializer};

/// Types of the resources of a stack, as `plan` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// A load balancer.
    LoadBalancer,
    /// A listener.
    Listener,
    /// A pool.
    Pool,
    /// A member of a pool.
    Member,
    /// A health monitor of a pool.
    HealthMonitor,
    /// An L7 policy of a listener.
    L7Policy,
    /// A rule of an L7 policy.
    L7Rule,
    /// A floating IP.
    FloatingIp,
    /// A security group.
    SecurityGroup,
    /// A rule of a security group.
    SecurityGroupRule,
    /// A secret.
    Secret,
}

impl ResourceType {
    /// The name, in the terms of OpenStack.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "OS::Octavia::LoadBalancer",
            Self::Listener => "OS::Octavia::Listener",
            Self::Pool => "OS::Octavia::Pool",
            Self::Member => "OS::Octavia::Member",
            Self::HealthMonitor => "OS::Octavia::HealthMonitor",
            Self::L7Policy => "OS::Octavia::L7Policy",
            Self::L7Rule => "OS::Octavia::L7Rule",
            Self::FloatingIp => "OS::Neutron::FloatingIP",
            Self::SecurityGroup => "OS::Neutron::SecurityGroup",
            Self::SecurityGroupRule => "OS::Neutron::SecurityGroupRule",
            Self::Secret => "OS::Barbican::Secret",
        }
    }

    /// The last part of the name, in tags.
    #[must_use]
    pub fn short(self) -> &'static str {
        self.as_str().rsplit("::").next().unwrap_or_default()
    }
}

/// Writes a type by its name.
///
/// # Errors
/// Those of the serializer.
pub fn type_as_text<S: Serializer>(kind: &ResourceType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An id or URL: known, or a field of another resource which may not exist yet.
///
/// As JSON a string, or `{"$ref": "#/resources/TYPE/ID/FIELD"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// Known.
    Literal(String),
    /// A field of the answer that another resource's POST gets.
    Ref {
        /// Its type.
        kind: ResourceType,
        /// Its id in the stack.
        id: String,
        /// The field.
        field: &'static str,
    },
}

impl Token {
    /// The id of a resource of the same stack.
    pub fn of(kind: ResourceType, id: impl Into<String>) -> Self {
        Self::Ref { kind, id: id.into(), field: "id" }
    }

    /// The port of the load balancer's VIP.
    #[must_use]
    pub fn vip_port() -> Self {
        Self::Ref {
            kind: ResourceType::LoadBalancer,
            id: super::LOAD_BALANCER.to_owned(),
            field: "vip_port_id",
        }
    }

    /// The URL of a secret.
    pub fn secret(id: impl Into<String>) -> Self {
        Self::Ref { kind: ResourceType::Secret, id: id.into(), field: "secret_ref" }
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        match self {
            Self::Literal(value) => serializer.serialize_str(value),
            Self::Ref { kind, id, field } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("$ref", &format!("#/resources/{kind}/{id}/{field}"))?;
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
        assert_eq!(json(&Token::Literal("4711".to_owned())), json!("4711"));
        assert_eq!(
            json(&Token::of(ResourceType::Pool, "shop/web:80")),
            json!({"$ref": "#/resources/OS::Octavia::Pool/shop/web:80/id"})
        );
        assert_eq!(
            json(&Token::vip_port()),
            json!({"$ref": "#/resources/OS::Octavia::LoadBalancer/LoadBalancer/vip_port_id"})
        );
        assert_eq!(
            json(&Token::secret("shop/tls")),
            json!({"$ref": "#/resources/OS::Barbican::Secret/shop/tls/secret_ref"})
        );
    }
}
