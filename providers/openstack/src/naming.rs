//! Names of resources: the peer controllers' recipe, so that people find what they are used to. Names are not unique and decide nothing. Pure.

use causeway_api::{Kind, LbKey, Owner};

use crate::ownership::Mark;

/// Longest name, description or tag, in characters.
pub const LIMIT: usize = 255;

/// At most [`LIMIT`] characters of a text.
#[must_use]
pub fn shortened(text: &str) -> String {
    text.chars().take(LIMIT).collect()
}

/// Name of the load balancer of a key.
#[must_use]
pub fn load_balancer(cluster: &str, key: &LbKey) -> String {
    shortened(&match &key.owner {
        Owner::Object(o) => {
            let kind = if o.kind == Kind::Ingress { "ingress" } else { "service" };
            format!("kube_{kind}_{cluster}_{}_{}", o.namespace, o.name)
        }
        Owner::Group(name) => format!("kube_group_{cluster}_{}", name.replace('/', "_")),
    })
}

/// Name of something of a load balancer that belongs to a port of a Service, by the port's place in it.
#[must_use]
pub fn of_port(what: &str, index: usize, name: &str) -> String {
    shortened(&format!("{what}_{index}_{name}"))
}

/// Name of the security group of one Service.
#[must_use]
pub fn security_group(key: &LbKey) -> String {
    shortened(&match &key.owner {
        Owner::Object(o) => format!("lb-sg-{}-{}-{}", o.uid, o.namespace, o.name),
        Owner::Group(name) => format!("lb-sg-group-{}", name.replace('/', "-")),
    })
}

/// Longest digest in the name of a secret.
const DIGEST: usize = 16;

/// What stands for a Secret of Kubernetes, `namespace/name`, in the name of a secret in Barbican: itself, or a digest of it where there is no room.
#[must_use]
pub fn secret_source(mark: &Mark, secret: &str) -> String {
    // Colon, two spaces, digest.
    let room = LIMIT.saturating_sub(mark.description_prefix().chars().count() + 3 + DIGEST);
    if secret.chars().count() <= room {
        secret.to_owned()
    } else {
        causeway_api::digest(secret).chars().take(24).collect()
    }
}

/// Name of the secret in Barbican for what a Secret of Kubernetes holds. Barbican's secrets have neither tags nor description: so the name says whose it is, as the
/// descriptions of others do, what it was made of, and a digest of what is in it.
#[must_use]
pub fn secret(mark: &Mark, secret: &str, digest: &str) -> String {
    let digest: String = digest.chars().take(DIGEST).collect();
    format!("{}: {} {digest}", mark.description_prefix(), secret_source(mark, secret))
}

/// What a secret with such a name was made of, and the digest of what is in it.
#[must_use]
pub fn of_secret(name: &str) -> Option<(&str, &str)> {
    name.split_once(": ")?.1.rsplit_once(' ')
}

#[cfg(test)]
mod tests {
    use causeway_api::{Layer, ObjectRef};

    use super::*;

    #[test]
    fn names_are_the_peers() {
        let service = LbKey::object(Layer::L4, ObjectRef::service("shop", "web", "uid-1"));
        let ingress = LbKey::object(Layer::L7, ObjectRef::ingress("shop", "web", "uid-2"));
        let name = load_balancer("kubernetes", &service);
        assert_eq!(name, "kube_service_kubernetes_shop_web");
        assert_eq!(load_balancer("kubernetes", &ingress), "kube_ingress_kubernetes_shop_web");
        assert_eq!(of_port("listener", 0, &name), "listener_0_kube_service_kubernetes_shop_web");
        assert_eq!(security_group(&service), "lb-sg-uid-1-shop-web");
        let group = LbKey::group(Layer::L4, "shop/edge");
        assert_eq!(load_balancer("kubernetes", &group), "kube_group_kubernetes_shop_edge");
    }

    #[test]
    fn names_have_at_most_255_characters() {
        let long = "ü".repeat(300);
        let key = LbKey::object(Layer::L4, ObjectRef::service("shop", long.as_str(), "uid"));
        let name = load_balancer("kubernetes", &key);
        for text in [of_port("member", 12, &name), security_group(&key), name] {
            assert_eq!(text.chars().count(), 255);
        }
    }

    #[test]
    fn a_secret_says_whose_it_is_of_what_and_what_is_in_it() {
        let uid = "6a8f7c52-4a1b-4f0e-9c55-0b7f6f1e2d3c";
        let ours = Mark { cluster: uid.to_owned(), owner: format!("ingress/{uid}") };
        let name = secret(&ours, "shop/tls", "0123456789abcdef");
        assert_eq!(of_secret(&name), Some(("shop/tls", "0123456789abcdef")));
        assert!(name.starts_with(&ours.description_prefix()), "{name}");
        assert_ne!(name, secret(&ours, "shop/tls", "1123456789abcdef"));
        assert_ne!(name, secret(&Mark::default(), "shop/tls", "0123456789abcdef"));
        // The longest names that there can be.
        let group = format!("group/{}/{}", "n".repeat(63), "g".repeat(63));
        let group = Mark { cluster: uid.to_owned(), owner: group };
        let long = format!("{}/{}", "n".repeat(63), "s".repeat(253));
        let name = secret(&group, &long, "0123456789abcdef");
        assert!(name.chars().count() <= LIMIT, "{}", name.chars().count());
        assert_eq!(of_secret(&name).map(|(source, _)| source.to_owned()), Some(secret_source(&group, &long)));
        assert_ne!(name, secret(&group, &format!("{long}x"), "0123456789abcdef"));
    }
}
