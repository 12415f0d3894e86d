//! Load balancers that openstack-cloud-controller-manager and octavia-ingress-controller made, taken over as they are (`--adopt`). Pure.
//!
//! Taking over is one write: our marks among the tags of the load balancer. Nothing else of it changes then, and what belongs to it keeps names and tags: it is
//! known by what it is ([`recognised`]). What follows is planned as for every stack, in the peer's way wherever ours differs ([`crate::facts::Facts::kept`]):
//! the floating IP and the security group get our mark, which is in their description. The peer's tags and names stay, so that it finds everything as it left it.
//!
//! The peers know what is their own by its name alone, which holds the cluster's name, and two clusters of one name are their worst trouble. So a load balancer
//! is taken over only for an object whose status shows the address at which it is reached, and whose annotation with its id, if there is one, names it.
//!
//! Source: `pkg/openstack/loadbalancer.go`, `pkg/ingress/controller` of cloud-provider-openstack.

mod recognise;

use std::collections::BTreeSet;
use std::net::IpAddr;

use causeway_api::names::{TAG_ADOPTED, TAG_CLUSTER, events};
use causeway_api::{
    Layer, LbKey, LoadBalancer, Mark as Whose, Owner, Peer, Plan, PlannedChange as _, Problem, Verb,
};

use crate::annotations::service::{LOAD_BALANCER_ADDRESS, LOAD_BALANCER_ID};
use crate::inventory::{Answers, Cluster, ExistingLoadBalancer};
use crate::naming;
use crate::observe::shape::tag_value;
use crate::observe::{PeerLoadBalancer, State};
use crate::ownership::{Mark, tag};
use crate::plan::{Change, Op};
use crate::stack::{Adopt, LOAD_BALANCER, OctaviaStack, ResourceType};

pub use recognise::recognised;

/// Controllers whose load balancers can be taken over.
pub const PEERS: &[Peer] = &[OCCM, OIC];

/// openstack-cloud-controller-manager, for Services. Its finalizer is ours too, so that none of its own is left. The Lease is that of all its controllers.
pub const OCCM: Peer = Peer {
    name: "openstack-cloud-controller-manager",
    lease: Some("cloud-controller-manager"),
    finalizers: &[],
};

/// octavia-ingress-controller, for Ingresses. It has neither Lease nor finalizer.
pub const OIC: Peer = Peer { name: "octavia-ingress-controller", lease: None, finalizers: &[] };

/// What the peer's tags of Services begin with; what follows is the name of the load balancer.
const SERVICE_TAG: &str = "kube_service_";

/// The peer that serves a layer.
#[must_use]
pub fn of_layer(layer: Layer) -> &'static Peer {
    match layer {
        Layer::L4 => &OCCM,
        Layer::L7 => &OIC,
    }
}

/// The tag that tells from whom a load balancer was taken over.
#[must_use]
pub fn mark(peer: &str) -> String {
    tag(TAG_ADOPTED, peer)
}

/// Whether tags are those of a load balancer that was taken over.
#[must_use]
pub fn is_adopted(tags: &[String]) -> bool {
    tag_value(tags, TAG_ADOPTED).is_some()
}

/// Whether something of Octavia carries the mark of a cluster of ours.
#[must_use]
pub fn is_marked(tags: &[String]) -> bool {
    tag_value(tags, TAG_CLUSTER).is_some()
}

/// What is to become of a load balancer that the peer may have made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none.
    Nothing,
    /// It is ours already, taken over before.
    Ours(ExistingLoadBalancer),
    /// It is taken over.
    Take(ExistingLoadBalancer),
    /// It is not this object's, for this reason: one is made beside it.
    Leave(String),
    /// It is this object's, but cannot be taken over, for this reason: nothing is done.
    Hold(String),
}

/// Addresses at which clients reach the members, as their status says.
fn shown(lb: &LoadBalancer) -> BTreeSet<IpAddr> {
    let of_status = lb.members.iter().flat_map(|m| &m.current).filter_map(|point| point.ip);
    // A name stands in the status in place of the address, which an annotation has.
    let named = lb.members.iter().filter(|m| m.current.iter().any(|point| point.hostname.is_some()));
    let of_annotation = named.filter_map(|m| m.annotations.get(LOAD_BALANCER_ADDRESS)?.trim().parse().ok());
    of_status.chain(of_annotation).collect()
}

/// The address at which a load balancer is reached: that of the floating IP that leads to it, else its own.
fn reached(found: &ExistingLoadBalancer, cloud: &Answers) -> Option<IpAddr> {
    let leads = |port: &str| !port.is_empty() && port == found.vip_port_id;
    let floating = cloud.floating_ips().iter().find(|f| leads(&f.port_id)).map(|f| &f.floating_ip_address);
    floating.unwrap_or(&found.vip_address).parse().ok()
}

/// Judges what the peers made for the members of a key.
#[must_use]
pub fn judge(lb: &LoadBalancer, peers: &[&'static Peer], cluster: &Cluster, cloud: &Answers) -> Verdict {
    let mark = Mark { cluster: cluster.id.clone(), owner: lb.key.owner_tag() };
    let ours = mark.of_ours(cloud.load_balancers());
    if let Some(ours) = ours.filter(|ours| is_adopted(&ours.tags)) {
        return Verdict::Ours(ours.clone());
    }
    let peer = of_layer(lb.key.layer);
    let (Owner::Object(_), Some(member)) = (&lb.key.owner, lb.members.first()) else {
        // The peers have no groups.
        return Verdict::Nothing;
    };
    if !peers.contains(&peer) {
        return Verdict::Nothing;
    }
    let name = naming::load_balancer(&cluster.name, &lb.key);
    let going = |found: &ExistingLoadBalancer| {
        matches!(found.provisioning_status.as_str(), "PENDING_DELETE" | "DELETED")
    };
    let all = cloud.load_balancers().iter();
    let candidates: Vec<&ExistingLoadBalancer> =
        all.filter(|found| found.name == name && !is_marked(&found.tags) && !going(found)).collect();
    let id = member.annotations.get(LOAD_BALANCER_ID.key).map(|id| id.trim()).filter(|id| !id.is_empty());
    let shown = shown(lb);
    let fits = |found: &&&ExistingLoadBalancer| {
        id.is_none_or(|id| id == found.id) && reached(found, cloud).is_some_and(|at| shown.contains(&at))
    };
    let fitting: Vec<&ExistingLoadBalancer> = candidates.iter().filter(fits).copied().collect();
    let ids =
        |all: &[&ExistingLoadBalancer]| all.iter().map(|lb| lb.id.as_str()).collect::<Vec<_>>().join(", ");
    match fitting[..] {
        _ if candidates.is_empty() => Verdict::Nothing,
        [] => Verdict::Leave(format!(
            "load balancer {name} ({}) of {} has the name of this object in a cluster of this name, but the object's status does not show its address, or its annotation \
             {} names another, so it may be another cluster's: it is not taken over, and another is made. Delete it if no cluster of this name needs it",
            ids(&candidates),
            peer.name,
            LOAD_BALANCER_ID.key
        )),
        _ if ours.is_some() => Verdict::Nothing,
        [found] => hold(found, &name).map_or_else(|| Verdict::Take(found.clone()), Verdict::Hold),
        _ => Verdict::Hold(format!(
            "several load balancers have its name and its address ({}), so that it is not clear which is its own: name it in the annotation {}",
            ids(&fitting),
            LOAD_BALANCER_ID.key
        )),
    }
}

/// Puts a verdict into a stack, and says what is to be said of it.
pub(crate) fn settle(
    verdict: Verdict,
    lb: &LoadBalancer,
    stack: &mut OctaviaStack,
    problems: &mut Vec<Problem>,
) {
    let object = || lb.members.first().map(|member| member.object.clone());
    match verdict {
        Verdict::Nothing | Verdict::Ours(_) => {}
        Verdict::Take(found) => {
            let peer = of_layer(lb.key.layer).name;
            stack.adopt = Some(Adopt { id: found.id, name: found.name, peer });
        }
        Verdict::Leave(why) => {
            problems.extend(object().map(|object| Problem::warning(object, "", events::NOT_ADOPTED, why)));
        }
        Verdict::Hold(why) => {
            problems.extend(object().map(|object| Problem::error(object, "", events::NOT_ADOPTED, why)));
            let told = std::mem::take(&mut stack.told);
            *stack = OctaviaStack { mark: stack.mark.clone(), told, frozen: true, ..OctaviaStack::default() };
        }
    }
}

/// Why a load balancer that is the object's cannot be taken over.
fn hold(found: &ExistingLoadBalancer, name: &str) -> Option<String> {
    if found.provisioning_status == "ERROR" {
        return Some(format!(
            "load balancer {} is in state ERROR, in which nothing of it can be changed: have it mended (openstack loadbalancer failover), or delete it to have another \
             one made",
            found.id
        ));
    }
    let others: Vec<&str> = found
        .tags
        .iter()
        .filter(|tag| tag.starts_with(SERVICE_TAG) && *tag != name)
        .map(String::as_str)
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "load balancer {} serves other Services too ({}), and one that is shared is not taken over: give each of them a load balancer of its own first",
            found.id,
            others.join(", ")
        )
    })
}

/// The plan that takes a load balancer over; `then` is what follows. One after which the address would be another, or something would not serve for a while,
/// is left as it is, and that is said.
#[must_use]
pub(crate) fn take(
    want: &OctaviaStack,
    adopt: &Adopt,
    peer: &PeerLoadBalancer,
    then: &Plan<Change>,
) -> Plan<Change> {
    if peer.state == State::Pending {
        let what = format!("wait until load balancer {} may be changed", peer.name);
        let mut change = Change::new(ResourceType::LoadBalancer, LOAD_BALANCER, Op::Await, what);
        change.mark = Whose::UserNamed;
        return Plan { changes: vec![change], ..Plan::default() };
    }
    let breaks: Vec<&str> =
        then.changes.iter().filter(|change| breaks(change)).map(|change| change.summary.as_str()).collect();
    if !breaks.is_empty() {
        let why = format!(
            "load balancer {} of {} is not taken over, as it is not what the object asks for, and this would follow at once: {}. Change the object, or the configuration, \
             so that it asks for what is there",
            peer.name,
            adopt.peer,
            breaks.join("; ")
        );
        let problem = |m: &crate::stack::MemberPart| {
            Problem::error(m.object.clone(), "", events::NOT_ADOPTED, why.clone())
        };
        return Plan { problems: want.told.iter().map(problem).collect(), ..Plan::default() };
    }
    let count = |kind| peer.then.of(kind).count();
    let mut summary = format!(
        "take over load balancer {} of {} with {} listeners and {} pools: tags only",
        peer.name,
        adopt.peer,
        count(ResourceType::Listener),
        count(ResourceType::Pool)
    );
    let follows: Vec<&str> =
        then.changes.iter().filter(|change| !is_mark(change)).map(|change| change.summary.as_str()).collect();
    if !follows.is_empty() {
        summary.push_str("; after that: ");
        summary.push_str(&follows.join("; "));
    }
    let op = Op::Adopt { id: adopt.id.clone(), name: peer.name.clone(), peer: adopt.peer };
    let mut change = Change::new(ResourceType::LoadBalancer, LOAD_BALANCER, op, summary);
    change.mark = Whose::Peer;
    Plan { changes: vec![change], problems: then.problems.clone(), ..Plan::default() }
}

/// Whether something would not serve for a while, or be reached elsewhere.
fn breaks(change: &Change) -> bool {
    let replaced = matches!(change.info().verb, Verb::Replace { .. });
    let moved = change.kind == ResourceType::FloatingIp
        && matches!(change.op, Op::Post { .. } | Op::Delete { .. } | Op::Release { .. });
    replaced || moved
}

/// Whether it only says whose something is.
fn is_mark(change: &Change) -> bool {
    let described = |body: &serde_json::Value| {
        let mark = |key: &String| matches!(key.as_str(), "description" | "port_id");
        body.as_object().is_some_and(|body| body.contains_key("description") && body.keys().all(mark))
    };
    match &change.op {
        Op::MarkDirty { .. } | Op::MarkApplied { .. } => true,
        Op::Put { body, .. } => described(body),
        _ => false,
    }
}

/// Namespace and name of the object that a peer made a load balancer for, by the load balancer's name.
fn object_of<'a>(cluster: &str, layer: Layer, name: &'a str) -> Option<(&'a str, &'a str)> {
    let kind = match layer {
        Layer::L4 => "service",
        Layer::L7 => "ingress",
    };
    // A namespace has no underscore.
    name.strip_prefix(&format!("kube_{kind}_{cluster}_"))?.split_once('_')
}

/// Whether a floating IP that leads to a peer's load balancer was made by the peer for it: by its description. One of the user's stays the user's.
#[must_use]
pub fn made_floating_ip(cluster: &str, owner: &str, load_balancer: &str, description: &str) -> bool {
    let Some(layer) = LbKey::of_owner_tag(owner).map(|key| key.layer) else { return false };
    object_of(cluster, layer, load_balancer).is_some_and(|(namespace, name)| {
        description
            == match layer {
                Layer::L4 => {
                    format!("Floating IP for Kubernetes external service {namespace}/{name} from cluster {cluster}")
                }
                Layer::L7 => {
                    format!("Floating IP for Kubernetes ingress {name} in namespace {namespace} from cluster {cluster}")
                }
            }
    })
}

/// Whether a security group is the one that the peer made for the nodes behind a load balancer: by name and description.
#[must_use]
pub fn made_security_group(cluster: &str, owner: &str, load_balancer: &str, group: (&str, &str)) -> bool {
    let Some(layer) = LbKey::of_owner_tag(owner).map(|key| key.layer) else { return false };
    let Some((namespace, name)) = object_of(cluster, layer, load_balancer) else { return false };
    let uid = owner.split_once('/').map_or("", |(_, uid)| uid);
    match layer {
        Layer::L4 => {
            group.0 == naming::shortened(&format!("lb-sg-{uid}-{namespace}-{name}"))
                && group.1
                    == format!(
                        "Security Group for {namespace}/{name} Service LoadBalancer in cluster {cluster}"
                    )
        }
        Layer::L7 => {
            group.0 == load_balancer
                && group.1
                    == format!("Security group created for Ingress {namespace}/{name} from cluster {cluster}")
        }
    }
}
