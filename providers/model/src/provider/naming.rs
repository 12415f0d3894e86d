//! Names, tags and annotations of the model provider. Pure.
//!
//! Names of children are their `Ref`s: the same input gives the same name, so a plan can speak of what does not exist yet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_api::{Backend, Layer, LbKey, PathMatch, digest, names};

use crate::cloud::{Scheme, Tags};

/// Annotation: `internal` or `internet-facing` (default). Changing it makes a new load balancer beside the old one.
pub const ANNOTATION_SCHEME: &str = "model.causeway.io/scheme";

/// Value of the resource tag of a load balancer: it tells the layer, which the owner tag of a group does not.
#[must_use]
pub fn resource(layer: Layer) -> &'static str {
    match layer {
        Layer::L4 => "LoadBalancer.L4",
        Layer::L7 => "LoadBalancer.L7",
    }
}

/// Tags of a load balancer, without the one that says what was applied.
#[must_use]
pub fn tags(cluster: &str, key: &LbKey) -> Tags {
    BTreeMap::from([
        (names::TAG_CLUSTER.to_owned(), cluster.to_owned()),
        (names::TAG_OWNER.to_owned(), key.owner_tag()),
        (names::TAG_RESOURCE.to_owned(), resource(key.layer).to_owned()),
    ])
}

/// Tags of a part of a load balancer.
#[must_use]
pub fn child_tags(cluster: &str) -> Tags {
    BTreeMap::from([(names::TAG_CLUSTER.to_owned(), cluster.to_owned())])
}

/// Whether tags are those of this cluster.
#[must_use]
pub fn marked(tags: &Tags, cluster: &str) -> bool {
    tags.get(names::TAG_CLUSTER).is_some_and(|c| c == cluster)
}

/// The key that the tags of a load balancer tell; namespace and name of a single object are not in them.
#[must_use]
pub fn key(tags: &Tags) -> Option<LbKey> {
    LbKey::of_owner_tag(tags.get(names::TAG_OWNER)?)
}

/// Name of a load balancer, 29 characters. What is fixed for its life is part of it, so that the successor can stand beside it
/// where names are unique.
#[must_use]
pub fn load_balancer(cluster: &str, key: &LbKey, scheme: Scheme, requested: Option<IpAddr>) -> String {
    let hash = digest(&(cluster, key.layer, key.owner_tag(), scheme, requested));
    format!("causeway-{}", &hash[..20])
}

/// Name of the target group of an L7 backend: one per Service port. (Of an L4 listener it is the listener's name.)
#[must_use]
pub fn backend_group(backend: &Backend) -> String {
    let hash = digest(&(&backend.namespace, &backend.service, &backend.port));
    format!("http-{}", &hash[..16])
}

/// Name of a rule: what it matches.
#[must_use]
pub fn rule(listener: &str, host: &str, path: &str, matching: PathMatch) -> String {
    digest(&(listener, host, path, matching))[..16].to_owned()
}

/// The group of a member by its annotation, or why the annotation says nothing. A group never leaves its namespace: otherwise
/// one tenant could take another's host.
///
/// # Errors
/// The value is no DNS label.
pub fn group(annotations: &BTreeMap<String, String>, namespace: &str) -> Result<Option<String>, String> {
    let Some(value) = annotations.get(names::ANNOTATION_GROUP) else { return Ok(None) };
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let bytes = value.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(|c| *c != b'-');
    if (1..=63).contains(&bytes.len())
        && bytes.iter().all(|c| inner(*c))
        && ends(bytes.first())
        && ends(bytes.last())
    {
        Ok(Some(format!("{namespace}/{value}")))
    } else {
        Err(value.clone())
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::ObjectRef;

    use super::*;

    #[test]
    fn a_key_is_found_again_by_its_tags() {
        let keys = [
            LbKey::object(Layer::L4, ObjectRef::service("", "", "u1")),
            LbKey::object(Layer::L7, ObjectRef::ingress("", "", "u1")),
            LbKey::group(Layer::L4, "ns/web"),
            LbKey::group(Layer::L7, "ns/web"),
        ];
        for k in keys {
            assert_eq!(key(&tags("c1", &k)), Some(k));
        }
    }

    #[test]
    fn groups_stay_in_their_namespace_and_bad_names_are_told() {
        let of = |v: &str| group(&BTreeMap::from([(names::ANNOTATION_GROUP.to_owned(), v.to_owned())]), "ns");
        assert_eq!(of("web"), Ok(Some("ns/web".to_owned())));
        for bad in ["", "a/b", "-a", "a-", "A", "ä"] {
            assert_eq!(of(bad), Err(bad.to_owned()));
        }
    }
}
