//! What is written in tags: whose a resource is, and how far it was brought. Pure.
//!
//! - [`TAG_APPLIED`] on the stack's first load balancer: the hash of the stack, or `dirty`;
//! - [`TAG_TARGETS`] on each target group: the digest of its targets, or `dirty` while they are being changed. It does not depend on the target
//!   group where all targets have its own port, so that target groups with the same nodes carry the same: after a restart one of them is read, and the
//!   others are known;
//! - [`TAG_RETIRED`] on a load balancer that another one has followed: since when.

use std::collections::BTreeSet;

use causeway_api::names::{TAG_APPLIED, TAG_CLUSTER, TAG_OWNER, TAG_RESOURCE};
use causeway_api::{AppliedHash, digest};

use super::tokens::literal;
use crate::stack::{ResourceType, Tags, Target};

/// Tag with the digest of a target group's targets.
pub const TAG_TARGETS: &str = "causeway.io/targets";
/// Tag with the time, in seconds since the epoch, at which another load balancer took the place of this one.
pub const TAG_RETIRED: &str = "causeway.io/retired";
/// Value of a tag while what it tells of is being changed.
pub const DIRTY: &str = "dirty";
/// Value of [`TAG_OWNER`] of what all stacks share.
pub const OWNER_SHARED: &str = "shared";

/// Id in its stack of a resource of a kind, by its tags.
#[must_use]
pub fn resource_id(tags: &Tags, kind: ResourceType) -> Option<&str> {
    let short = kind.as_str().rsplit("::").next().unwrap_or_default();
    tags.get(TAG_RESOURCE)?.strip_prefix(short)?.strip_prefix('/')
}

/// The tags that tell whose a resource is, and which.
#[must_use]
pub fn ownership(cluster: &str, owner: &str, kind: ResourceType, id: &str) -> Tags {
    let short = kind.as_str().rsplit("::").next().unwrap_or_default();
    [
        (TAG_CLUSTER.to_owned(), cluster.to_owned()),
        (TAG_OWNER.to_owned(), owner.to_owned()),
        (TAG_RESOURCE.to_owned(), format!("{short}/{id}")),
    ]
    .into()
}

/// Owner, by the tags.
#[must_use]
pub fn owner(tags: &Tags) -> Option<&str> {
    tags.get(TAG_OWNER).map(String::as_str)
}

/// What was applied, by the tags.
#[must_use]
pub fn applied(tags: &Tags) -> AppliedHash {
    match tags.get(TAG_APPLIED).map(|text| text.parse()) {
        Some(Ok(hash)) => hash,
        None => AppliedHash::Dirty,
    }
}

/// Whether a tag is a note of ours that changes while the spec does not, or AWS's own.
#[must_use]
pub fn is_note(key: &str) -> bool {
    matches!(key, TAG_APPLIED | TAG_TARGETS | TAG_RETIRED | super::secrets::TAG_SECRET)
        || key.starts_with(super::shares::PREFIX)
        || key.starts_with("aws:")
}

/// The digest of targets of a target group with this default port.
#[must_use]
pub fn targets_digest(port: u16, targets: &BTreeSet<Target>) -> String {
    let all: Vec<(&str, Option<u16>, Option<&str>)> = targets
        .iter()
        .map(|t| (literal(&t.id), (t.port != port).then_some(t.port), t.availability_zone.as_deref()))
        .collect();
    AppliedHash::Clean(digest(&all)).to_string()
}

/// The targets of another target group with the same digest.
#[must_use]
pub fn moved(from: u16, to: u16, targets: &BTreeSet<Target>) -> BTreeSet<Target> {
    let at = |port| if port == from { to } else { port };
    targets.iter().map(|t| Target { port: at(t.port), ..t.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Token;

    fn targets(port: u16, ids: &[&str]) -> BTreeSet<Target> {
        let target = |id: &&str| Target { id: Token::literal(*id), port, availability_zone: None };
        ids.iter().map(target).collect()
    }

    #[test]
    fn a_digest_is_that_of_the_nodes() {
        let (a, b) = (targets(30080, &["i-1", "i-2"]), targets(30443, &["i-1", "i-2"]));
        assert_eq!(targets_digest(30080, &a), targets_digest(30443, &b));
        assert_ne!(targets_digest(30080, &a), targets_digest(30443, &a));
        assert_ne!(targets_digest(30080, &a), targets_digest(30080, &targets(30080, &["i-1"])));
        assert_eq!(moved(30080, 30443, &a), b);
    }

    #[test]
    fn ids_by_tags() {
        let tags = Tags::from([(TAG_RESOURCE.to_owned(), "TargetGroup/ns/web:80".to_owned())]);
        assert_eq!(resource_id(&tags, ResourceType::TargetGroup), Some("ns/web:80"));
        assert_eq!(resource_id(&tags, ResourceType::LoadBalancer), None);
        assert_eq!(applied(&tags), AppliedHash::Dirty);
    }
}
