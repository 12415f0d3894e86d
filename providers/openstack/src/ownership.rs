//! By what our resources are known: tags, and the beginning of descriptions, as a lost answer must not make a second one. Pure.
//!
//! Octavia takes tags with the POST, in any characters. Neutron takes them afterwards, one by one, as a step of a path and (in older releases) of at most
//! 60 characters: so they have no slash and are short, and the owner stands in the description, which is posted.

use causeway_api::names::{TAG_CLUSTER, TAG_OWNER, TAG_RESOURCE};

use crate::inventory::ExistingLoadBalancer;
use crate::naming::shortened;
use crate::stack::ResourceType;

/// Tag of a floating IP that is left when its load balancer is deleted.
pub const KEEP: &str = "causeway.io:keep";
/// Tag of the cluster, in Neutron.
pub const NEUTRON_CLUSTER: &str = "causeway.io:cluster";

/// One tag.
#[must_use]
pub fn tag(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// Longest value that says which resource it is in plain words.
const PLAIN: usize = 200;

/// Which resource of its stack something is: the value of its tag. A long one ends with a hash: it has room, and is told apart.
#[must_use]
pub fn resource(kind: ResourceType, id: &str) -> String {
    let plain = format!("{}/{id}", kind.short());
    if plain.chars().count() <= PLAIN {
        return plain;
    }
    let begin: String = plain.chars().take(PLAIN).collect();
    format!("{begin}~{}", causeway_api::digest(&plain))
}

/// Whose a resource is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The cluster's id.
    pub cluster: String,
    /// See [`causeway_api::LbKey::owner_tag`].
    pub owner: String,
}

impl Mark {
    /// Tags of a resource of Octavia.
    #[must_use]
    pub fn octavia_tags(&self, kind: ResourceType, id: &str) -> Vec<String> {
        vec![
            tag(TAG_CLUSTER, &self.cluster),
            tag(TAG_OWNER, &self.owner),
            tag(TAG_RESOURCE, &resource(kind, id)),
        ]
    }

    /// Tags of a resource of Neutron.
    #[must_use]
    pub fn neutron_tags(&self, keep: bool) -> Vec<String> {
        let mut tags = vec![tag(NEUTRON_CLUSTER, &self.cluster)];
        if keep {
            tags.push(KEEP.to_owned());
        }
        tags
    }

    /// What the description of everything that is ours begins with.
    #[must_use]
    pub fn description_prefix(&self) -> String {
        format!("{} {}", tag(TAG_OWNER, &self.owner), tag(TAG_CLUSTER, &self.cluster))
    }

    /// A description: whose it is, and what for.
    #[must_use]
    pub fn description(&self, what: &str) -> String {
        shortened(&format!("{}: {what}", self.description_prefix()))
    }

    /// Whether a load balancer is ours, by its tags or, where the answer to its POST got lost, by its description.
    #[must_use]
    pub fn owns(&self, lb: &ExistingLoadBalancer) -> bool {
        let has = |key, value: &str| lb.tags.contains(&tag(key, value));
        (has(TAG_CLUSTER, &self.cluster) && has(TAG_OWNER, &self.owner))
            || lb.description.starts_with(&format!("{}:", self.description_prefix()))
    }

    /// Of several load balancers of ours the one that serves: the oldest, then the smallest id.
    #[must_use]
    pub fn of_ours<'a>(&self, all: &'a [ExistingLoadBalancer]) -> Option<&'a ExistingLoadBalancer> {
        let going = |lb: &&ExistingLoadBalancer| {
            matches!(lb.provisioning_status.as_str(), "PENDING_DELETE" | "DELETED")
        };
        all.iter()
            .filter(|lb| self.owns(lb) && !going(lb))
            .min_by_key(|lb| (lb.created_at.as_str(), lb.id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            cluster: "6a8f7c52-4a1b-4f0e-9c55-0b7f6f1e2d3c".to_owned(),
            owner: "service/0f6d9c1e-8a51-4a5e-9d0c-1f2e3d4c5b6a".to_owned(),
        }
    }

    #[test]
    fn tags_of_neutron_are_a_step_of_a_path_and_short() {
        for tag in mark().neutron_tags(true) {
            assert!(tag.len() <= 60 && !tag.contains(['/', ',']), "{tag}");
        }
    }

    #[test]
    fn tags_and_descriptions_have_room_and_say_whose_first() {
        let tags = mark().octavia_tags(ResourceType::L7Policy, &"x".repeat(400));
        assert!(tags.iter().all(|t| t.chars().count() <= 255));
        let other = mark().octavia_tags(ResourceType::L7Policy, &format!("{}y", "x".repeat(400)));
        assert_ne!(tags, other);
        let description = mark().description(&"y".repeat(400));
        assert_eq!(description.chars().count(), 255);
        assert!(description.starts_with(&mark().description_prefix()));
    }

    #[test]
    fn ours_is_known_by_tags_or_description_and_the_oldest_serves() {
        let ours = mark();
        let lb = |id: &str, created: &str, tags: Vec<String>, description: String| ExistingLoadBalancer {
            id: id.to_owned(),
            created_at: created.to_owned(),
            tags,
            description,
            ..ExistingLoadBalancer::default()
        };
        let tags = ours.octavia_tags(ResourceType::LoadBalancer, "LoadBalancer");
        let other = Mark { cluster: "other".to_owned(), ..ours.clone() };
        let mut all = vec![
            lb(
                "a",
                "2026-01-01",
                other.octavia_tags(ResourceType::LoadBalancer, "LoadBalancer"),
                other.description("x"),
            ),
            lb("b", "2026-01-03", tags.clone(), String::new()),
            lb("c", "2026-01-02", Vec::new(), ours.description("x")),
            lb(
                "d",
                "2026-01-01",
                Vec::new(),
                "Kubernetes external service shop/web from cluster kubernetes".to_owned(),
            ),
        ];
        assert_eq!(ours.of_ours(&all).map(|lb| lb.id.as_str()), Some("c"));
        all[2].provisioning_status = "PENDING_DELETE".to_owned();
        assert_eq!(ours.of_ours(&all).map(|lb| lb.id.as_str()), Some("b"));
    }

    /// `service/1` must not be taken for `service/12`.
    #[test]
    fn an_owner_is_no_prefix_of_another() {
        let one = Mark { owner: "service/1".to_owned(), cluster: "c".to_owned() };
        let twelve = Mark { owner: "service/12".to_owned(), cluster: "c".to_owned() };
        let longer = Mark { owner: "service/1".to_owned(), cluster: "cc".to_owned() };
        for other in [twelve, longer] {
            let lb = ExistingLoadBalancer { description: other.description("x"), ..Default::default() };
            assert!(!one.owns(&lb));
        }
    }
}
