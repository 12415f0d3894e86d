//! Targets of a target group: instances by NodePort, or addresses of pods. Pure.
//!
//! Which nodes are eligible was decided before (KEP-3458: readiness is the health check's business); here Fargate nodes are left out, which are no instances,
//! and nodes without the labels that a Service asks for. A node whose providerID names no instance is a problem of that node alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use causeway_api::{Endpoint, Family, Kind, Node, NodeSet, ObjectRef, Problem};
use ipnet::IpNet;
use ring::digest::{Context, SHA256};

use crate::facts::Facts;
use crate::stack::{Target, TargetFamily, Token};

/// Label of the pseudo-nodes of Fargate.
const COMPUTE_TYPE: &str = "eks.amazonaws.com/compute-type";
/// Reason of a problem with a node.
pub const NO_INSTANCE: &str = "NodeIsNoInstance";
/// Reason of the condition and problem where targets were left out.
pub const REDUCED: &str = "TargetsReduced";

/// Most targets of a target group, by AWS's default quota.
const PER_GROUP: u64 = 1000;
/// Most targets of an NLB, by AWS's default quota.
const PER_NLB: u64 = 3000;
/// The same with cross-zone load balancing, and of one zone without.
const PER_NLB_ZONE: u64 = 500;
/// Most targets of an ALB, by AWS's default quota.
const PER_ALB: u64 = 1000;

/// The instance that a providerID names: `aws:///zone/i-…`, `aws:////i-…`, `aws://region/i-…`, `i-…`, or `eks-hybrid:///…/mi-…`.
#[must_use]
pub fn instance_id(provider_id: &str) -> Option<&str> {
    let id = provider_id.rsplit('/').next()?;
    let hybrid = provider_id.starts_with("eks-hybrid://");
    let scheme = provider_id.contains("://");
    let word = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    let right = if hybrid {
        id.strip_prefix("mi-").is_some_and(word)
    } else {
        (provider_id.starts_with("aws://") || !scheme) && id.strip_prefix("i-").is_some_and(word)
    };
    right.then_some(id)
}

/// A node that can be a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Id.
    pub id: Arc<str>,
    /// Zone, by the node's label; empty if it has none.
    pub zone: String,
    labels: Arc<BTreeMap<String, String>>,
}

/// The instances of a node set, in the order of their ids, and what is wrong with nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// The instances.
    pub all: Vec<Instance>,
    /// Nodes that are none.
    pub problems: Vec<Problem>,
}

impl Instances {
    /// Looks at every node once.
    #[must_use]
    pub fn of(nodes: &NodeSet) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        for node in &nodes.nodes {
            if node.labels.get(COMPUTE_TYPE).is_some_and(|kind| kind == "fargate") {
                continue;
            }
            match node.provider_id.as_deref().and_then(instance_id) {
                Some(id) if seen.insert(id) => {
                    let zone = node.labels.get("topology.kubernetes.io/zone").cloned().unwrap_or_default();
                    found.all.push(Instance { id: id.into(), zone, labels: Arc::clone(&node.labels) });
                }
                Some(id) => {
                    found.problems.push(problem(node, &format!("another node has the same instance id {id}")))
                }
                None => found.problems.push(problem(node, "it names no EC2 instance")),
            }
        }
        found.all.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// Those whose labels a selector takes.
    #[must_use]
    pub fn selected(&self, takes: impl Fn(&BTreeMap<String, String>) -> bool) -> Self {
        let all = self.all.iter().filter(|instance| takes(&instance.labels)).cloned().collect();
        Self { all, problems: Vec::new() }
    }

    /// Those with all of these labels.
    pub fn with<'a>(
        &'a self,
        labels: Option<&'a BTreeMap<String, String>>,
    ) -> impl Iterator<Item = &'a Instance> {
        self.all.iter().filter(move |instance| {
            labels.is_none_or(|labels| labels.iter().all(|(k, v)| instance.labels.get(k) == Some(v)))
        })
    }
}

fn problem(node: &Node, what: &str) -> Problem {
    let object =
        ObjectRef { kind: Kind::Node, namespace: String::new(), name: node.name.clone(), uid: "".into() };
    let id = node.provider_id.as_deref().unwrap_or_default();
    Problem::warning(
        object,
        "spec.providerID",
        NO_INSTANCE,
        format!(
            "{id:?} cannot be used, the node is no target: {what}; a providerID is such as aws:///eu-west-1a/i-0123456789abcdef0"
        ),
    )
}

/// The instances of the last node set: they are looked for once per change of nodes, not once per load balancer.
#[derive(Debug, Default)]
pub struct InstanceCache(Mutex<Option<(Weak<NodeSet>, Arc<Instances>)>>);

impl InstanceCache {
    /// The instances of a node set.
    pub fn of(&self, nodes: &Arc<NodeSet>) -> Arc<Instances> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((set, instances)) = last.as_ref()
            && set.as_ptr() == Arc::as_ptr(nodes)
        {
            return Arc::clone(instances);
        }
        let instances = Arc::new(Instances::of(nodes));
        *last = Some((Arc::downgrade(nodes), Arc::clone(&instances)));
        instances
    }
}

/// How many targets each target group of a load balancer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Most targets.
    pub most: usize,
    /// Name of the quota, or of the option.
    pub by: &'static str,
}

/// The room of one of `groups` target groups of an NLB.
#[must_use]
pub fn nlb_room(facts: &Facts, groups: usize, cross_zone: bool) -> Room {
    let all = if cross_zone {
        ("targets-per-availability-zone-per-network-load-balancer", PER_NLB_ZONE)
    } else {
        ("targets-per-network-load-balancer", PER_NLB)
    };
    room(facts, groups, all)
}

/// The room of one of `groups` target groups of an ALB.
#[must_use]
pub fn alb_room(facts: &Facts, groups: usize) -> Room {
    room(facts, groups, ("targets-per-application-load-balancer", PER_ALB))
}

fn room(facts: &Facts, groups: usize, (name, default): (&'static str, u64)) -> Room {
    let shared = facts.aws.limit(name, default) / groups.max(1) as u64;
    let one = facts.aws.limit("targets-per-target-group", PER_GROUP);
    let option = match facts.options.max_targets {
        0 => u64::MAX,
        most => u64::from(most),
    };
    let (by, most) =
        [("max-targets-per-target-group", option), ("targets-per-target-group", one), (name, shared)]
            .into_iter()
            .min_by_key(|(_, most)| *most)
            .unwrap_or((name, shared));
    Room { most: usize::try_from(most).unwrap_or(usize::MAX), by }
}

/// A stable choice of at most `most` of many: each has a rank that depends on itself and the load balancer alone, so that one more or less changes one place.
fn subset<T>(owner: &str, all: Vec<T>, id: impl Fn(&T) -> String, most: usize) -> Vec<T> {
    if all.len() <= most {
        return all;
    }
    let rank = |item: &T| {
        let mut context = Context::new(&SHA256);
        context.update(owner.as_bytes());
        context.update(b"\0");
        context.update(id(item).as_bytes());
        let digest = context.finish();
        <[u8; 16]>::try_from(&digest.as_ref()[..16]).unwrap_or_default()
    };
    let mut ranked: Vec<_> = all.into_iter().map(|item| (rank(&item), item)).collect();
    ranked.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    ranked.into_iter().take(most).map(|(_, item)| item).collect()
}

/// Instance targets, and how many there would be without the limit.
#[must_use]
pub fn instance_targets(
    owner: &str,
    instances: &Instances,
    labels: Option<&BTreeMap<String, String>>,
    port: u16,
    room: Room,
) -> (BTreeSet<Target>, usize) {
    let all: Vec<&Instance> = instances.with(labels).collect();
    let count = all.len();
    let chosen = subset(owner, all, |i| i.id.to_string(), room.most);
    let target =
        |i: &Instance| Target { id: Token::Literal(Arc::clone(&i.id)), port, availability_zone: None };
    (chosen.into_iter().map(target).collect(), count)
}

/// Targets that are pods, and how many there would be without the limit. An address outside the VPC belongs to no zone: `all`.
#[must_use]
pub fn ip_targets(
    owner: &str,
    facts: &Facts,
    endpoints: &[Endpoint],
    port_name: &str,
    family: TargetFamily,
    room: Room,
) -> (BTreeSet<Target>, usize) {
    let wanted = match family {
        TargetFamily::Ipv4 => Family::V4,
        TargetFamily::Ipv6 => Family::V6,
    };
    let vpc = facts.aws.vpc(&facts.cluster.vpc_id).ok().flatten();
    let blocks: Vec<IpNet> = vpc
        .iter()
        .flat_map(|vpc| vpc.ipv4_blocks().chain(vpc.ipv6_blocks()))
        .filter_map(|block| block.parse().ok())
        .collect();
    let all: BTreeSet<Target> = endpoints
        .iter()
        .filter(|e| e.port_name == port_name && Family::of(&e.address) == wanted)
        .map(|e| {
            let inside = vpc.is_none() || blocks.iter().any(|block| block.contains(&e.address));
            Target {
                id: Token::literal(e.address.to_string()),
                port: e.port,
                availability_zone: (!inside).then(|| "all".to_owned()),
            }
        })
        .collect();
    let count = all.len();
    let chosen = subset(owner, all.into_iter().collect(), |t| format!("{:?}", (&t.id, t.port)), room.most);
    (chosen.into_iter().collect(), count)
}

#[cfg(test)]
#[path = "targets_tests.rs"]
mod tests;
