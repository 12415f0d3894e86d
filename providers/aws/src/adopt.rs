//! Load balancers that another controller made, taken over as they are (`--adopt`). Pure.
//!
//! Peers know what is their own by tags, and so do we. A stack is taken over by tags of ours beside the peer's, the load balancer last: until then it is the
//! peer's, and whoever begins anew does the same again. Nothing else of it changes then; what follows is planned as for every stack, in the peer's way wherever
//! ours differs (`compat=lbc`). The peer's tags stay, so that it finds everything as it left it.
//!
//! - aws-load-balancer-controller: `elbv2.k8s.aws/cluster` names the cluster, `service.k8s.aws/stack` or `ingress.k8s.aws/stack` the object or the group,
//!   `….k8s.aws/resource` the resource in words that are ours too.
//! - cloud-provider-aws: `kubernetes.io/cluster/NAME=owned` names the cluster, `kubernetes.io/service-name` the Service, nothing the resource: which port a
//!   target group is for shows in its port, which is the NodePort. Its NLBs have no security groups, and the rules of the nodes' group name the load balancer.
//!
//! Two clusters of one name have equal tags. So a load balancer is taken over only for an object whose status names it.
//!
//! Sources: `pkg/deploy/tracking/provider.go` and `pkg/shared_constants` of aws-load-balancer-controller; `pkg/providers/v1/tags.go`, `aws.go` and
//! `aws_loadbalancer.go` of cloud-provider-aws.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::names::{TAG_ADOPTED, TAG_OWNER};
use causeway_api::{Layer, LbKey, Owner, Peer};
use serde::Serialize;

use crate::cloud::records::{LoadBalancer, Tagged, TargetGroup};
use crate::inventory::{Answers, Cluster, ExistingLoadBalancer};
use crate::observe::read::security_group_id;
use crate::stack::{AwsStack, LOAD_BALANCER, Tags};

/// Controllers whose load balancers can be taken over.
pub const PEERS: &[Peer] = &[LBC, CPA];

/// aws-load-balancer-controller.
pub const LBC: Peer = Peer {
    name: "aws-load-balancer-controller",
    lease: Some("aws-load-balancer-controller-leader"),
    finalizers: &["service.k8s.aws/resources", "ingress.k8s.aws/resources", "group.ingress.k8s.aws/"],
};

/// cloud-provider-aws. Its finalizer is the one that all use, ours too.
pub const CPA: Peer =
    Peer { name: "cloud-provider-aws", lease: Some("cloud-controller-manager"), finalizers: &[] };

/// What the names of the peer's webhooks end with: it answers for Services, Ingresses, Pods and its own kinds.
pub const LBC_WEBHOOKS: &str = ".elbv2.k8s.aws";

/// Labels of the TargetGroupBindings that the peer makes for its own target groups, by the kind of object that they are for.
pub const LBC_STACK_LABELS: &[&str] = &[
    "service.k8s.aws/stack-name",
    "ingress.k8s.aws/stack-name",
    "ingress.k8s.aws/stack",
    "gateway.k8s.aws.nlb/stack-name",
    "gateway.k8s.aws.alb/stack-name",
];

/// aws-load-balancer-controller's tag with the cluster's name.
const CLUSTER: &str = "elbv2.k8s.aws/cluster";
/// Its tag, and the value, of the security group that its load balancers share.
const SHARED_GROUP: (&str, &str) = ("elbv2.k8s.aws/resource", "backend-sg");
/// cloud-provider-aws' tag with namespace and name of the Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The tags by which a peer finds everything of a cluster.
#[must_use]
pub fn cluster_tags(peer: &Peer, cluster: &Cluster) -> Tags {
    match *peer == CPA {
        true => Tags::from([(format!("kubernetes.io/cluster/{}", cluster.name), "owned".to_owned())]),
        false => Tags::from([(CLUSTER.to_owned(), cluster.name.clone())]),
    }
}

/// Tags with aws-load-balancer-controller's names for stack and resource, of a layer.
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
    /// Name of the peer.
    pub peer: &'static str,
    /// The peer's name for it.
    pub name: StackName,
    /// Load balancers, by id in the stack; with the peer's tags.
    pub load_balancers: Vec<(String, LoadBalancer)>,
    /// Names of load balancers of the former generation, which no stack of ours can hold.
    pub classic: Vec<String>,
    /// Target groups, by id in the stack, which is empty where the tags do not say it; with the peer's tags.
    pub target_groups: Vec<(String, TargetGroup)>,
    /// Ids of security groups, by id in the stack; with the peer's tags.
    pub security_groups: Vec<(String, String, Tags)>,
    /// Id of the security group that all its load balancers share.
    pub backend_group: Option<String>,
}

impl PeerStack {
    fn new(peer: &'static str, name: StackName, backend_group: Option<String>) -> Self {
        Self {
            peer,
            name,
            load_balancers: Vec::new(),
            classic: Vec::new(),
            target_groups: Vec::new(),
            security_groups: Vec::new(),
            backend_group,
        }
    }

    /// With ids for the target groups whose tags say none: that of the port that is wanted with this NodePort and protocol. One that nobody wants keeps its name, and
    /// goes with the next plan as what is stale does.
    #[must_use]
    pub fn identified(&self, want: &AwsStack) -> Self {
        let mut stack = self.clone();
        // Of two for one port the one that serves.
        stack.target_groups.sort_by_key(|(_, group)| (group.load_balancers.is_empty(), group.arn.clone()));
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for (id, group) in stack.target_groups.iter_mut().filter(|(id, _)| id.is_empty()) {
            let fits = want.target_groups.iter().find(|(id, spec)| {
                spec.port == group.spec.port
                    && spec.protocol == group.spec.protocol
                    && !taken.contains(id.as_str())
            });
            match fits {
                Some((wanted, _)) => {
                    taken.insert(wanted);
                    id.clone_from(wanted);
                }
                None => id.clone_from(&group.spec.name),
            }
        }
        stack
    }
}

/// The stacks of a peer's that nobody has taken over, out of everything with [`cluster_tags`] and all load balancers and target groups.
#[must_use]
pub fn stacks(
    peer: &'static Peer,
    tagged: &[Tagged],
    load_balancers: &[LoadBalancer],
    target_groups: &[TargetGroup],
) -> BTreeMap<StackName, PeerStack> {
    let backend = tagged.iter().find(|t| t.tags.get(SHARED_GROUP.0).is_some_and(|v| v == SHARED_GROUP.1));
    let backend_group = backend.and_then(|t| security_group_id(&t.arn)).filter(|_| *peer == LBC);
    let named = |item: &Tagged| -> Option<(StackName, String)> {
        if *peer == CPA {
            let name = StackName { layer: Layer::L4, name: item.tags.get(SERVICE_NAME)?.clone() };
            return Some((name, String::new()));
        }
        [Layer::L4, Layer::L7].into_iter().find_map(|layer| {
            let (stack, resource) = tag_keys(layer);
            Some((StackName { layer, name: item.tags.get(stack)?.clone() }, item.tags.get(resource)?.clone()))
        })
    };
    let mut found: BTreeMap<StackName, PeerStack> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for item in tagged {
        let Some((name, id)) = named(item) else { continue };
        let stack = found
            .entry(name.clone())
            .or_insert_with(|| PeerStack::new(peer.name, name.clone(), backend_group.clone()));
        if let Some(lb) = load_balancers.iter().find(|lb| lb.arn == item.arn) {
            if item.tags.contains_key(TAG_OWNER) {
                taken.insert(name);
            }
            let mut lb = lb.clone();
            lb.spec.tags.clone_from(&item.tags);
            // Of cloud-provider-aws there is one to a Service.
            let id = if id.is_empty() { LOAD_BALANCER.to_owned() } else { id };
            stack.load_balancers.push((id, lb));
        } else if let Some(group) = target_groups.iter().find(|group| group.arn == item.arn) {
            let mut group = group.clone();
            group.spec.tags.clone_from(&item.tags);
            stack.target_groups.push((id, group));
        } else if let Some(group) = security_group_id(&item.arn) {
            stack.security_groups.push((id, group, item.tags.clone()));
        } else if let Some(name) = classic_name(&item.arn) {
            stack.classic.push(name.to_owned());
        }
    }
    found.retain(|name, stack| {
        !taken.contains(name) && (!stack.load_balancers.is_empty() || !stack.classic.is_empty())
    });
    found
}

/// Name of a load balancer of the former generation, by its ARN.
fn classic_name(arn: &str) -> Option<&str> {
    let (_, name) = arn.split_once(":loadbalancer/")?;
    (arn.contains(":elasticloadbalancing:") && !name.contains('/')).then_some(name)
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
    let peer = stack.peer;
    if let (Some(classic), true) = (stack.classic.first(), stack.load_balancers.is_empty()) {
        return Verdict::Hold(format!(
            "it has the Classic Load Balancer {classic} of {peer}, which cannot become an NLB and is left alone: delete it in AWS as soon as its clients may move to another host \
             name, and an NLB is made; or leave the Service to {peer} by giving it no part here (--own-classless=false, or a class of its own)"
        ));
    }
    let shown = shown(want);
    let named = |lb: &LoadBalancer| shown.contains(&lb.dns_name.to_ascii_lowercase());
    let names: Vec<&str> = stack.load_balancers.iter().map(|(_, lb)| lb.spec.name.as_str()).collect();
    if !stack.load_balancers.iter().any(|(_, lb)| named(lb)) {
        return Verdict::Leave(format!(
            "load balancer {} of {peer} carries the tags of this object in a cluster of this name, but the object's status does not name it, so it may \
             be another cluster's: it is not taken over, and another is made. Delete it if no cluster of this name needs it",
            names.join(", ")
        ));
    }
    if stack.load_balancers.iter().filter(|(id, _)| id == LOAD_BALANCER).count() > 1 {
        return Verdict::Hold(format!(
            "{peer} has left several load balancers for it, {}: delete those that the status does not name",
            names.join(", ")
        ));
    }
    if peer == CPA.name {
        return of_cpa(stack, want, &names);
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

/// What there is to say of a stack of cloud-provider-aws besides.
fn of_cpa(stack: &PeerStack, want: &AwsStack, names: &[&str]) -> Verdict {
    let name = names.join(", ");
    if stack.load_balancers.iter().any(|(_, lb)| !lb.spec.security_groups.is_empty()) {
        return Verdict::Hold(format!(
            "load balancer {name} of cloud-provider-aws has security groups of that controller (NLBSecurityGroupMode=Managed), whose rules nobody would keep: it is not \
             taken over. Leave the Service to that controller, or make it anew"
        ));
    }
    if want.target_groups.is_empty() {
        return Verdict::Hold(format!(
            "load balancer {name} of cloud-provider-aws is not taken over before the Service can be served: see what else is said of it"
        ));
    }
    Verdict::Take
}

/// The tag that tells from whom a resource was taken over.
#[must_use]
pub fn mark(peer: &str) -> (String, String) {
    (TAG_ADOPTED.to_owned(), peer.to_owned())
}

/// From whom something with these tags was taken over.
#[must_use]
pub fn adopted_from(tags: &Tags) -> Option<&'static Peer> {
    let name = tags.get(TAG_ADOPTED)?;
    PEERS.iter().find(|peer| peer.name == name)
}

/// The load balancer that a peer made for a key, by its tags, if the inventory has it and nobody has taken it over.
#[must_use]
pub fn existing<'a>(
    peer: &Peer,
    cluster: &Cluster,
    aws: &'a Answers,
    key: &LbKey,
    kind: &str,
) -> Option<&'a ExistingLoadBalancer> {
    let name = stack_of(key)?;
    let mut wanted = cluster_tags(peer, cluster);
    if *peer == CPA {
        if name.layer == Layer::L7 {
            return None;
        }
        wanted.insert(SERVICE_NAME.to_owned(), name.name);
    } else {
        let (stack, resource) = tag_keys(name.layer);
        wanted.insert(stack.to_owned(), name.name);
        wanted.insert(resource.to_owned(), LOAD_BALANCER.to_owned());
    }
    aws.load_balancers().iter().find(|lb| {
        let tag = |key: &str| aws.tag_of(&lb.load_balancer_arn, key);
        lb.kind == kind
            && wanted.iter().all(|(key, value)| tag(key) == Some(value.as_str()))
            && tag(TAG_OWNER).is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(arn: &str, name: &str) -> Tagged {
        let tags = [("kubernetes.io/cluster/prod", "owned"), ("kubernetes.io/service-name", name)];
        Tagged {
            arn: arn.to_owned(),
            tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }

    #[test]
    fn a_classic_load_balancer_is_held_and_not_followed_by_another() {
        let classic = tagged("arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/a0123", "shop/web");
        let found = stacks(&CPA, std::slice::from_ref(&classic), &[], &[]);
        let stack = found.values().next().expect("one");
        assert_eq!(
            (stack.name.name.as_str(), stack.classic.as_slice()),
            ("shop/web", &["a0123".to_owned()][..])
        );
        let Verdict::Hold(why) = judge(stack, &AwsStack::default()) else { panic!("it is held") };
        assert!(why.contains("Classic Load Balancer a0123"), "{why}");
        assert_eq!(stacks(&LBC, &[classic], &[], &[]), BTreeMap::new());
    }

    #[test]
    fn nlbs_are_known_by_their_arn() {
        for (arn, name) in [
            ("arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/a0123", Some("a0123")),
            ("arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/net/a0123/50dc6c495c0c9188", None),
            ("arn:aws:ec2:eu-west-1:1:security-group/sg-1", None),
        ] {
            assert_eq!(classic_name(arn), name, "{arn}");
        }
    }
}
