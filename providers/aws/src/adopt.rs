//! Load balancers that aws-load-balancer-controller made, taken over as they are (`--adopt`). Pure.
//!
//! The peer knows what is its own by tags, and so do we: `elbv2.k8s.aws/cluster` names the cluster, `service.k8s.aws/stack` or `ingress.k8s.aws/stack` the
//! object or the group, `….k8s.aws/resource` the resource in words that are ours too. A stack is taken over by tags of ours beside the peer's, the load
//! balancer last: until then it is the peer's, and whoever begins anew does the same again. Nothing else of it changes then; what follows is planned as
//! for every stack, in the peer's way wherever ours differs (`compat=lbc`). The peer's tags stay, so that it finds everything as it left it.
//!
//! Two clusters of one name have equal tags. So a load balancer is taken over only for an object whose status names it.
//!
//! Source: `pkg/deploy/tracking/provider.go` and `pkg/shared_constants` of aws-load-balancer-controller.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::names::{TAG_ADOPTED, TAG_OWNER};
use causeway_api::{Layer, LbKey, Owner, Peer};
use serde::Serialize;

use crate::cloud::records::{LoadBalancer, Tagged, TargetGroup};
use crate::inventory::{Answers, Cluster, ExistingLoadBalancer};
use crate::observe::read::security_group_id;
use crate::stack::{AwsStack, LOAD_BALANCER, Tags};

/// Controllers whose load balancers can be taken over.
pub const PEERS: &[Peer] = &[LBC];

/// aws-load-balancer-controller.
pub const LBC: Peer = Peer {
    name: "aws-load-balancer-controller",
    lease: Some("aws-load-balancer-controller-leader"),
    finalizers: &["service.k8s.aws/resources", "ingress.k8s.aws/resources", "group.ingress.k8s.aws/"],
};

/// Labels of the TargetGroupBindings that the peer makes for its own target groups, by the kind of object that they are for.
pub const LBC_STACK_LABELS: &[&str] = &[
    "service.k8s.aws/stack-name",
    "ingress.k8s.aws/stack-name",
    "ingress.k8s.aws/stack",
    "gateway.k8s.aws.nlb/stack-name",
    "gateway.k8s.aws.alb/stack-name",
];

/// The peer's tag with the cluster's name.
const CLUSTER: &str = "elbv2.k8s.aws/cluster";
/// The peer's tag, and its value, of the security group that its load balancers share.
const SHARED_GROUP: (&str, &str) = ("elbv2.k8s.aws/resource", "backend-sg");

/// The tags by which the peer finds everything of a cluster.
#[must_use]
pub fn cluster_tags(cluster: &Cluster) -> Tags {
    Tags::from([(CLUSTER.to_owned(), cluster.name.clone())])
}

/// Tags with the peer's names for stack and resource, of a layer.
fn tag_keys(layer: Layer) -> (&'static str, &'static str) {
    match layer {
        Layer::L4 => ("service.k8s.aws/stack", "service.k8s.aws/resource"),
        Layer::L7 => ("ingress.k8s.aws/stack", "ingress.k8s.aws/resource"),
    }
}

/// What the peer calls the stack of a key; nothing where it has no such stacks.
#[must_use]
pub fn stack_of(key: &LbKey) -> Option<StackName> {
    let name = match &key.owner {
        Owner::Object(object) => object.path(),
        Owner::Group(_) if key.layer == Layer::L4 => return None,
        // Ours says more: whose group it is.
        Owner::Group(name) => name.rsplit(['/', ':']).next().unwrap_or(name).to_owned(),
    };
    Some(StackName { layer: key.layer, name })
}

/// The peer's name of a stack: `namespace/name`, or the name of a group of Ingresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct StackName {
    /// Services or Ingresses.
    pub layer: Layer,
    /// The name.
    pub name: String,
}

/// A stack of the peer's that nobody has taken over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerStack {
    /// The peer's name for it.
    pub name: StackName,
    /// Load balancers, by id in the stack; with the peer's tags.
    pub load_balancers: Vec<(String, LoadBalancer)>,
    /// Target groups; with the peer's tags.
    pub target_groups: Vec<(String, TargetGroup)>,
    /// Ids of security groups, by id in the stack; with the peer's tags.
    pub security_groups: Vec<(String, String, Tags)>,
    /// Id of the security group that all its load balancers share.
    pub backend_group: Option<String>,
}

/// The stacks of the peer's that nobody has taken over, out of everything with [`cluster_tags`] and all load balancers and target groups.
#[must_use]
pub fn stacks(
    tagged: &[Tagged],
    load_balancers: &[LoadBalancer],
    target_groups: &[TargetGroup],
) -> BTreeMap<StackName, PeerStack> {
    let backend = tagged.iter().find(|t| t.tags.get(SHARED_GROUP.0).is_some_and(|v| v == SHARED_GROUP.1));
    let backend_group = backend.and_then(|t| security_group_id(&t.arn));
    let mut found: BTreeMap<StackName, PeerStack> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for item in tagged {
        let named = [Layer::L4, Layer::L7].into_iter().find_map(|layer| {
            let (stack, resource) = tag_keys(layer);
            Some((StackName { layer, name: item.tags.get(stack)?.clone() }, item.tags.get(resource)?.clone()))
        });
        let Some((name, id)) = named else { continue };
        let stack = found.entry(name.clone()).or_insert_with(|| PeerStack {
            name: name.clone(),
            load_balancers: Vec::new(),
            target_groups: Vec::new(),
            security_groups: Vec::new(),
            backend_group: backend_group.clone(),
        });
        if let Some(lb) = load_balancers.iter().find(|lb| lb.arn == item.arn) {
            if item.tags.contains_key(TAG_OWNER) {
                taken.insert(name);
            }
            let mut lb = lb.clone();
            lb.spec.tags.clone_from(&item.tags);
            stack.load_balancers.push((id, lb));
        } else if let Some(group) = target_groups.iter().find(|group| group.arn == item.arn) {
            let mut group = group.clone();
            group.spec.tags.clone_from(&item.tags);
            stack.target_groups.push((id, group));
        } else if let Some(group) = security_group_id(&item.arn) {
            stack.security_groups.push((id, group, item.tags.clone()));
        }
    }
    found.retain(|name, stack| !taken.contains(name) && !stack.load_balancers.is_empty());
    found
}

/// What is to become of a stack of the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken over.
    Take,
    /// It is not this object's, for this reason: one is made beside it.
    Leave(String),
    /// It is this object's, but cannot be taken over, for this reason: nothing is done.
    Hold(String),
}

fn shown(want: &AwsStack) -> BTreeSet<String> {
    let points = want.members.iter().flat_map(|member| &member.current);
    points.filter_map(|point| Some(point.hostname.as_ref()?.to_ascii_lowercase())).collect()
}

/// Whether the stack that is wanted may take over one of the peer's.
#[must_use]
pub fn judge(stack: &PeerStack, want: &AwsStack) -> Verdict {
    let shown = shown(want);
    let named = |lb: &LoadBalancer| shown.contains(&lb.dns_name.to_ascii_lowercase());
    let names: Vec<&str> = stack.load_balancers.iter().map(|(_, lb)| lb.spec.name.as_str()).collect();
    if !stack.load_balancers.iter().any(|(_, lb)| named(lb)) {
        return Verdict::Leave(format!(
            "load balancer {} of aws-load-balancer-controller carries the tags of this object in a cluster of this name, but the object's status does not name it, so it may \
             be another cluster's: it is not taken over, and another is made. Delete it if no cluster of this name needs it",
            names.join(", ")
        ));
    }
    if stack.load_balancers.iter().filter(|(id, _)| id == LOAD_BALANCER).count() > 1 {
        return Verdict::Hold(format!(
            "aws-load-balancer-controller has left several load balancers for it, {}: delete those that the status does not name",
            names.join(", ")
        ));
    }
    let ours: BTreeSet<&str> = want.members.iter().map(|m| m.object.namespace.as_str()).collect();
    let others: BTreeSet<&str> = stack
        .target_groups
        .iter()
        .filter_map(|(id, _)| Some(id.split_once('/')?.0))
        .filter(|namespace| !ours.contains(namespace))
        .collect();
    if !others.is_empty() {
        return Verdict::Hold(format!(
            "the load balancer {} serves Ingresses of other namespaces too ({}), which do not share one with this: set --compat=lbc, or group and namespaceSelector in \
             the IngressClassParams, so that they do",
            names.join(", "),
            others.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    Verdict::Take
}

/// The tag that tells from whom a resource was taken over.
#[must_use]
pub fn mark() -> (String, String) {
    (TAG_ADOPTED.to_owned(), LBC.name.to_owned())
}

/// Whether tags are those of what was taken over from the peer.
#[must_use]
pub fn is_adopted(tags: &Tags) -> bool {
    tags.get(TAG_ADOPTED).is_some_and(|peer| peer == LBC.name)
}

/// The load balancer that the peer made for a key, by its tags, if the inventory has it and nobody has taken it over.
#[must_use]
pub fn existing<'a>(
    cluster: &Cluster,
    aws: &'a Answers,
    key: &LbKey,
    kind: &str,
) -> Option<&'a ExistingLoadBalancer> {
    let name = stack_of(key)?;
    let (stack, resource) = tag_keys(name.layer);
    aws.load_balancers().iter().find(|lb| {
        let tag = |key| aws.tag_of(&lb.load_balancer_arn, key);
        lb.kind == kind
            && tag(CLUSTER) == Some(cluster.name.as_str())
            && tag(stack) == Some(name.name.as_str())
            && tag(resource) == Some(LOAD_BALANCER)
            && tag(TAG_OWNER).is_none()
    })
}
