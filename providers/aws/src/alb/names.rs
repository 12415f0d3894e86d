//! Names of what is made for Ingresses: the peer's recipe, with the cluster's id where it has the cluster's name. Pure.
//!
//! A group is named by its own name, shortened; its whole name with the namespace counts in the hash.

use causeway_api::{LbKey, ObjectRef, Owner};

use super::group::id;
use crate::naming::{LIMIT, eight_eight_ten, hash, letters};
use crate::stack::{ElbProtocol, HealthCheckConfig, PortOrName, ProtocolVersion, Scheme, TargetType};

/// `k8s-` and the names of the object or group, with the beginning of a hash.
fn named(key: &LbKey, hash: &str) -> String {
    match &key.owner {
        Owner::Object(object) => eight_eight_ten(&object.namespace, &object.name, hash),
        Owner::Group(group) => {
            let short = group.rsplit(['/', ':']).next().unwrap_or(group);
            format!("k8s-{}-{}", letters(short, 17), &hash[..10])
        }
    }
}

/// Name of the load balancer.
#[must_use]
pub fn load_balancer(cluster: &str, key: &LbKey, scheme: Scheme) -> String {
    named(key, &hash([cluster, &id(key), scheme.as_str()]))
}

/// Name of the security group that is made for it.
#[must_use]
pub fn security_group(cluster: &str, key: &LbKey) -> String {
    named(key, &hash([cluster, &id(key)]))
}

/// Name of the NLB in front: that of the ALB, shortened.
#[must_use]
pub fn frontend(alb: &str) -> String {
    const SUFFIX: &str = "-nlb";
    format!("{}{SUFFIX}", &alb[..alb.len().min(LIMIT - SUFFIX.len())])
}

/// Name of a target group of the NLB in front.
#[must_use]
pub fn frontend_target_group(
    cluster: &str,
    key: &LbKey,
    port: u16,
    protocol: ElbProtocol,
    health: &HealthCheckConfig,
) -> String {
    let health_port = text(&health.port);
    let (port, kind) = (port.to_string(), TargetType::Alb.as_str());
    let parts = [cluster, &id(key), &port, kind, protocol.as_str(), &health_port, health.protocol.as_str()];
    named(key, &hash(parts))
}

/// Id of a rule in its stack.
#[must_use]
pub fn rule(port: u16, priority: u32) -> String {
    format!("{port}:{priority}")
}

fn text(port: &PortOrName) -> String {
    match port {
        PortOrName::Number(number) => number.to_string(),
        PortOrName::Name(name) => name.clone(),
    }
}

/// What the name of a target group depends on: all that is fixed at creation.
#[derive(Clone, Copy, Debug)]
pub struct TargetGroup<'a> {
    /// The cluster's id.
    pub cluster: &'a str,
    /// The load balancer.
    pub key: &'a LbKey,
    /// The Ingress.
    pub ingress: &'a ObjectRef,
    /// Name of the Service, of the Ingress's namespace.
    pub service: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its port, as the Ingress names it.
    pub service_port: &'a str,
    /// Default port of the target group.
    pub port: u16,
    /// What targets are.
    pub target_type: TargetType,
    /// Protocol.
    pub protocol: ElbProtocol,
    /// Version of HTTP.
    pub version: ProtocolVersion,
    /// Control port.
    pub control_port: Option<u16>,
}

impl TargetGroup<'_> {
    /// The name.
    #[must_use]
    pub fn name(&self) -> String {
        let (port, group) = (self.port.to_string(), id(self.key));
        let control = self.control_port.map(|p| p.to_string()).unwrap_or_default();
        let hash = hash([
            self.cluster,
            &group,
            &self.ingress.namespace,
            &self.ingress.name,
            self.uid,
            self.service_port,
            &port,
            self.target_type.as_str(),
            self.protocol.as_str(),
            self.version.as_str(),
            &control,
        ]);
        eight_eight_ten(&self.ingress.namespace, self.service, &hash)
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::Layer::L7;

    use super::*;

    fn own() -> LbKey {
        LbKey::object(L7, ObjectRef::ingress("awesome-namespace", "my-ingress", "uid"))
    }

    #[test]
    fn the_peers_names() {
        // Values that the peer makes for a cluster whose name is this id (SHA-256 over the parts as they stand there).
        let hash = |parts: &[&str]| crate::naming::hash(parts.iter().copied())[..10].to_owned();
        assert_eq!(
            load_balancer("prod", &own(), Scheme::Internal),
            format!("k8s-awesomen-myingres-{}", hash(&["prod", "awesome-namespace/my-ingress", "internal"]))
        );
        assert_eq!(
            load_balancer(
                "prod",
                &LbKey::group(L7, "awesome.group-with-a-long-name"),
                Scheme::InternetFacing
            ),
            format!(
                "k8s-awesomegroupwitha-{}",
                hash(&["prod", "awesome.group-with-a-long-name", "internet-facing"])
            )
        );
        assert_eq!(
            security_group("prod", &own()),
            format!("k8s-awesomen-myingres-{}", hash(&["prod", "awesome-namespace/my-ingress"]))
        );
        for (key, short) in [("ns/shared", "shared"), ("params:shared", "shared"), ("shared", "shared")] {
            let name = load_balancer("prod", &LbKey::group(L7, key), Scheme::Internal);
            assert_eq!(name, format!("k8s-{short}-{}", hash(&["prod", key, "internal"])));
        }
    }

    #[test]
    fn names_in_front_stay_short() {
        assert_eq!(frontend("shop"), "shop-nlb");
        assert_eq!(frontend(&"a".repeat(32)), format!("{}-nlb", "a".repeat(28)));
    }

    #[test]
    fn all_that_is_fixed_counts() {
        let key = own();
        let ingress = ObjectRef::ingress("awesome-namespace", "my-ingress", "uid");
        let base = TargetGroup {
            cluster: "prod",
            key: &key,
            ingress: &ingress,
            service: "web",
            uid: "u",
            service_port: "80",
            port: 30080,
            target_type: TargetType::Instance,
            protocol: ElbProtocol::Http,
            version: ProtocolVersion::Http1,
            control_port: None,
        };
        let others = [
            TargetGroup { cluster: "test", ..base },
            TargetGroup { uid: "v", ..base },
            TargetGroup { service_port: "http", ..base },
            TargetGroup { port: 30081, ..base },
            TargetGroup { target_type: TargetType::Ip, ..base },
            TargetGroup { protocol: ElbProtocol::Https, ..base },
            TargetGroup { version: ProtocolVersion::Grpc, ..base },
            TargetGroup { control_port: Some(9000), ..base },
        ];
        let mut names: Vec<String> = others.iter().map(TargetGroup::name).collect();
        names.push(base.name());
        assert!(names.iter().all(|n| n.starts_with("k8s-awesomen-web-") && n.len() <= LIMIT), "{names:?}");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 9);
    }
}
