//! What decisions depend on besides the load balancer itself. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::names::{TAG_ADOPTED, TAG_CLUSTER, TAG_OWNER};
use causeway_api::{Kind, LbKey, LoadBalancer, ObjectRef, OwnObjects, Peer, Problem};

use crate::adopt;
use crate::inventory::{Answers, Cluster, ExistingLoadBalancer, Inventory};
use crate::options::{Compat, Options};

/// Reason of a problem with the inventory.
pub const NOT_KNOWN: &str = "InventoryIncomplete";

/// What the command line says, which wins over the inventory's options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--cluster-id`.
    pub cluster_id: Option<String>,
    /// `--cluster-name`.
    pub cluster_name: Option<String>,
    /// `--aws-region`.
    pub region: Option<String>,
    /// `--aws-vpc-id`.
    pub vpc_id: Option<String>,
    /// `--compat`.
    pub compat: Option<Compat>,
    /// `--aws-option`, by name.
    pub options: BTreeMap<String, String>,
    /// `--adopt`.
    pub adopt: Option<&'static Peer>,
}

impl Overrides {
    /// Cluster and options with what the command line says in place of what they were.
    ///
    /// # Errors
    /// The first option that is not known or wrong.
    pub fn amend(&self, mut cluster: Cluster, mut options: Options) -> Result<(Cluster, Options), String> {
        for (said, field) in [
            (&self.cluster_id, &mut cluster.id),
            (&self.cluster_name, &mut cluster.name),
            (&self.region, &mut cluster.region),
            (&self.vpc_id, &mut cluster.vpc_id),
        ] {
            if let Some(said) = said {
                field.clone_from(said);
            }
        }
        for (name, text) in &self.options {
            options.set(name, text)?;
        }
        if let Some(compat) = self.compat {
            options.compat = compat;
        }
        Ok((cluster, options))
    }
}

/// Facts. Equal facts lead to equal decisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The cluster.
    pub cluster: Cluster,
    /// Options.
    pub options: Options,
    /// What AWS answered.
    pub aws: Arc<Answers>,
    /// Whose load balancers may be taken over.
    pub adopts: Option<&'static Peer>,
    /// The same for load balancers that are, or were, taken over from the peer: everything in its way.
    pub of_peer: Option<Box<Facts>>,
}

impl Facts {
    /// The load balancer of a key and a type (`network`, `application`) that is there already, if the inventory has it: ours or, where it may be taken over, the
    /// peer's.
    #[must_use]
    pub fn existing(&self, key: &LbKey, kind: &str) -> Option<&ExistingLoadBalancer> {
        let (owner, cluster) = (key.owner_tag(), self.cluster.id.as_str());
        let ours = self.aws.load_balancers().iter().find(|lb| {
            let tag = |key| self.aws.tag_of(&lb.load_balancer_arn, key);
            lb.kind == kind && tag(TAG_OWNER) == Some(owner.as_str()) && tag(TAG_CLUSTER) == Some(cluster)
        });
        ours.or_else(|| adopt::existing(self.adopts?, &self.cluster, &self.aws, key, kind))
    }

    /// The facts that count for a load balancer: one that was taken over, or is about to be, is the peer's in all but the mark.
    #[must_use]
    pub fn of(&self, lb: &LoadBalancer) -> &Facts {
        let Some(theirs) = &self.of_peer else { return self };
        let Some(found) = ["network", "application"].iter().find_map(|kind| theirs.existing(&lb.key, kind))
        else {
            return self;
        };
        let adopted = self.aws.tag_of(&found.load_balancer_arn, TAG_ADOPTED).is_some();
        let shown =
            lb.members.iter().flat_map(|member| &member.current).filter_map(|point| point.hostname.as_ref());
        let about_to_be = self.aws.tag_of(&found.load_balancer_arn, TAG_OWNER).is_none()
            && shown.into_iter().any(|name| name.eq_ignore_ascii_case(&found.dns_name));
        if adopted || about_to_be { theirs } else { self }
    }
}

/// The object of problems that are the inventory's.
#[must_use]
pub fn inventory_object() -> ObjectRef {
    ObjectRef {
        kind: Kind::Own(crate::inventory::KIND.to_owned()),
        namespace: String::new(),
        name: "aws".to_owned(),
        uid: "".into(),
    }
}

/// Facts out of own objects and inventory.
#[must_use]
pub fn facts(overrides: &Overrides, _objects: &OwnObjects, inventory: &Inventory) -> (Facts, Vec<Problem>) {
    let mut problems = Vec::new();
    let (cluster, options) = (inventory.cluster.clone(), inventory.options.clone());
    let (cluster, options) = overrides.amend(cluster.clone(), options.clone()).unwrap_or_else(|why| {
        problems.push(Problem::error(inventory_object(), "options", NOT_KNOWN, why));
        (cluster, options)
    });
    for (field, value, what) in [
        (
            "cluster.id",
            &cluster.id,
            "names and tags are made of it: give the uid of namespace kube-system, or --cluster-id",
        ),
        (
            "cluster.vpcId",
            &cluster.vpc_id,
            "load balancers and target groups lie in it: give the id of the nodes' VPC",
        ),
    ] {
        if value.is_empty() {
            problems.push(Problem::error(
                inventory_object(),
                field,
                NOT_KNOWN,
                format!("it is missing; {what}"),
            ));
        }
    }
    let aws = Arc::new(inventory.aws.clone());
    let adopts = overrides.adopt;
    let adopted =
        aws.load_balancers().iter().any(|lb| aws.tag_of(&lb.load_balancer_arn, TAG_ADOPTED).is_some());
    let of_peer = (adopts.is_some() || adopted).then(|| {
        let options = Options { compat: Compat::Lbc, ..options.clone() };
        Box::new(Facts { cluster: cluster.clone(), options, aws: Arc::clone(&aws), adopts, of_peer: None })
    });
    (Facts { cluster, options, aws, adopts: None, of_peer }, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins() {
        let inventory = Inventory {
            cluster: Cluster { id: "file".to_owned(), vpc_id: "vpc-1".to_owned(), ..Cluster::default() },
            ..Inventory::default()
        };
        let mut overrides = Overrides {
            cluster_id: Some("flag".to_owned()),
            cluster_name: Some("prod".to_owned()),
            compat: Some(Compat::Lbc),
            options: [("default-target-type".to_owned(), "ip".to_owned())].into(),
            ..Overrides::default()
        };
        let (found, problems) = facts(&overrides, &OwnObjects::default(), &inventory);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((found.cluster.id.as_str(), found.cluster.name.as_str()), ("flag", "prod"));
        assert_eq!(found.cluster.vpc_id, "vpc-1");
        assert_eq!(found.options.default_target_type, crate::stack::TargetType::Ip);
        assert!(found.options.like_lbc());

        overrides.options.insert("default-target-type".to_owned(), "pods".to_owned());
        let (_, problems) = facts(&overrides, &OwnObjects::default(), &inventory);
        assert!(problems[0].message.contains("instance or ip"), "{problems:?}");
    }
}
