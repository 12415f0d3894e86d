//! Names of AWS resources: the peer controller's recipe, with the cluster's id where it has the cluster's name. Pure.
//!
//! A name is `k8s-` + 8 of the namespace + `-` + 8 of the object + `-` + 10 hex digits of a SHA-256 over what is fixed at creation, so that a change of
//! any of it gives another name and both resources can exist side by side. Names of load balancers and target groups have at most 32 characters of
//! `[A-Za-z0-9-]`, no dash at either end, and do not begin with `internal-`.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::stack::{ElbProtocol, Scheme, TargetType};

/// Longest name of a load balancer or target group.
pub const LIMIT: usize = 32;

pub(crate) fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The letters and digits of a text, at most `limit` of them.
pub(crate) fn letters(text: &str, limit: usize) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(limit).collect()
}

pub(crate) fn eight_eight_ten(namespace: &str, name: &str, hash: &str) -> String {
    format!("k8s-{}-{}-{}", letters(namespace, 8), letters(name, 8), &hash[..10])
}

/// Name of a load balancer for one object.
#[must_use]
pub fn load_balancer(cluster: &str, namespace: &str, name: &str, uid: &str, scheme: Scheme) -> String {
    eight_eight_ten(namespace, name, &hash([cluster, uid, scheme.as_str()]))
}

/// Name of a load balancer for a group; `group` is its full name (`namespace/name` within one namespace).
#[must_use]
pub fn group_load_balancer(cluster: &str, group: &str, scheme: Scheme) -> String {
    format!("k8s-{}-{}", letters(group, 17), &hash([cluster, group, scheme.as_str()])[..10])
}

/// Name of the security group made for the load balancer of one object.
#[must_use]
pub fn security_group(cluster: &str, namespace: &str, name: &str, uid: &str) -> String {
    eight_eight_ten(namespace, name, &hash([cluster, name, namespace, uid]))
}

/// Name of the security group made for the load balancer of a group.
#[must_use]
pub fn group_security_group(cluster: &str, group: &str) -> String {
    format!("k8s-{}-{}", letters(group, 17), &hash([cluster, group])[..10])
}

/// Name of the security group that all load balancers of a cluster share.
#[must_use]
pub fn backend_security_group(cluster: &str) -> String {
    format!("k8s-traffic-{}-{}", letters(cluster, 232), &hash([cluster])[..10])
}

/// What the name of a target group depends on: all that is fixed at creation, and of the health check what a listener must not change under
/// traffic.
#[derive(Clone, Copy, Debug)]
pub struct TargetGroupName<'a> {
    /// The cluster's id.
    pub cluster: &'a str,
    /// What the target group belongs to besides its Service, so that two load balancers never share one: the uid of the Service whose load
    /// balancer it is (if another), or of the Ingress, or the name of a group.
    pub owner: &'a [&'a str],
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// Name of the Service.
    pub name: &'a str,
    /// Uid of the Service.
    pub uid: &'a str,
    /// Default port of the target group.
    pub port: u16,
    /// Port of the Service, by number or name.
    pub service_port: &'a str,
    /// What targets are.
    pub target_type: TargetType,
    /// Protocol.
    pub protocol: ElbProtocol,
    /// What else counts, in order: protocol and interval of the health check (NLB), the version of HTTP (ALB).
    pub rest: &'a [&'a str],
}

impl fmt::Display for TargetGroupName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.to_string();
        let fixed = [self.uid, &port, self.service_port, self.target_type.as_str(), self.protocol.as_str()];
        let parts = [self.cluster].into_iter().chain(self.owner.iter().copied());
        let hash = hash(parts.chain(fixed).chain(self.rest.iter().copied()));
        f.write_str(&eight_eight_ten(self.namespace, self.name, &hash))
    }
}

/// What is wrong with a name that a user gives a load balancer; see the module.
///
/// # Errors
/// Says what is wrong.
pub fn check(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > LIMIT {
        return Err(format!("{name:?} has {} characters: write 1 to {LIMIT}", name.len()));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(format!("{name:?} holds more than letters, digits and dashes"));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(format!("{name:?} begins or ends with a dash"));
    }
    if name.starts_with("internal-") {
        return Err(format!("{name:?} begins with \"internal-\", which AWS keeps for itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const UID: &str = "bdca2bd0-bfc6-449a-88a3-03451f05f18c";

    /// Names that the peer gives in a cluster of this name: what it made can be found and compared.
    #[test]
    fn names_are_the_peers() {
        let name = load_balancer("my-cluster", "default", "nlb-ip-svc-tls", UID, Scheme::Internal);
        assert_eq!(name, "k8s-default-nlbipsvc-6b0ba8ff70");
        assert_eq!(load_balancer("", "foo", "bar", "", Scheme::InternetFacing), "k8s-foo-bar-e053368fb2");
        let group = TargetGroupName {
            cluster: "my-cluster",
            owner: &[],
            namespace: "default",
            name: "nlb-ip-svc-tls",
            uid: UID,
            port: 80,
            service_port: "80",
            target_type: TargetType::Ip,
            protocol: ElbProtocol::Tcp,
            rest: &["TCP", "10"],
        };
        assert_eq!(group.to_string(), "k8s-default-nlbipsvc-d4818dcd51");
        let changed = [
            TargetGroupName { cluster: "other", ..group },
            TargetGroupName { owner: &["edge"], ..group },
            TargetGroupName { uid: "another", ..group },
            TargetGroupName { port: 81, ..group },
            TargetGroupName { target_type: TargetType::Instance, ..group },
            TargetGroupName { protocol: ElbProtocol::Tls, ..group },
        ];
        for other in changed {
            assert_ne!(other.to_string(), group.to_string(), "{other:?}");
        }
    }

    #[rstest]
    #[case("my-nlb", true)]
    #[case("a", true)]
    #[case("", false)]
    #[case("a-name-of-more-than-32-characters-", false)]
    #[case("under_score", false)]
    #[case("-dash", false)]
    #[case("dash-", false)]
    #[case("internal-web", false)]
    #[case("internal", true)]
    #[case("b\u{fc}ro", false)]
    fn names_of_users(#[case] name: &str, #[case] right: bool) {
        assert_eq!(check(name).is_ok(), right);
    }

    proptest! {
        #[test]
        fn names_are_valid(namespace in "[a-z0-9-]{1,63}", name in "[a-z0-9.-]{1,63}", uid in "[0-9a-f-]{0,36}", cluster in ".{0,40}") {
            for scheme in [Scheme::Internal, Scheme::InternetFacing] {
                prop_assert_eq!(check(&load_balancer(&cluster, &namespace, &name, &uid, scheme)), Ok(()));
                prop_assert_eq!(check(&group_load_balancer(&cluster, &format!("{namespace}/{name}"), scheme)), Ok(()));
            }
            prop_assert!(backend_security_group(&cluster).len() <= 255);
        }
    }
}
