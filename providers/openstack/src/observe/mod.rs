//! What is there for one key: everything that carries its mark, and what hinders it. Pure data; read from the cloud, or made in tests.
//!
//! Bodies have the fields in which things are posted, with ids for references; a field that is null or empty is as good as absent.

pub mod known;
pub mod read;
pub mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::{AppliedHash, Mark};
use serde::Serialize;
use serde_json::Value;

use crate::stack::{MemberSpec, ResourceType};

/// What state a load balancer is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum State {
    /// It may be changed.
    #[default]
    Active,
    /// A change is under way: nothing of it may be changed.
    Pending,
    /// A change failed: it can only be deleted.
    Error,
}

/// A load balancer that is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeenLoadBalancer {
    /// Id.
    pub id: String,
    /// Whose it is: ours, or one that a user names, or that something of ours is on.
    pub mark: Mark,
    /// Its state.
    pub state: State,
    /// Its address, and the further ones.
    pub addresses: Vec<IpAddr>,
    /// Port of the VIP.
    pub vip_port_id: String,
    /// Address of the floating IP that leads to it, ours or not.
    pub floating_address: Option<IpAddr>,
    /// It was taken over from a peer: names, and what belongs to it, are the peer's.
    pub adopted: bool,
    /// What its tag says of the stack that was applied last.
    #[serde(skip)]
    pub applied: AppliedHash,
    /// Its settings.
    pub body: Value,
}

/// Something else that is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Type.
    #[serde(serialize_with = "crate::stack::type_as_text")]
    pub kind: ResourceType,
    /// Id.
    pub id: String,
    /// Which resource of the stack it is, by its tag or name; `None`: it carries no mark of this key.
    pub resource: Option<String>,
    /// Its settings.
    pub body: Value,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Observed {
    /// The load balancer: that of the key, or the one that a user named or on which something of this key is.
    pub load_balancer: Option<SeenLoadBalancer>,
    /// Ids of further load balancers with the same mark, which a lost answer left.
    pub surplus: Vec<String>,
    /// Listeners, pools, monitors, policies and rules of the load balancer; floating IPs, groups, rules and secrets with the mark.
    pub parts: Vec<Part>,
    /// Members of each pool, by the pool's id.
    pub members: BTreeMap<String, Vec<MemberSpec>>,
    /// Ports of nodes that have the security group.
    pub group_ports: BTreeSet<String>,
    /// Ids of floating IPs that are to be left when their load balancer goes.
    pub kept_floating_ips: BTreeSet<String>,
    /// Ids of what the peer made that the load balancer was taken over from, and that carries no mark of ours: it is known by what it is.
    pub theirs: BTreeSet<String>,
    /// The peer's load balancer that may be taken over, where there is none of ours.
    pub peer: Option<Box<PeerLoadBalancer>>,
    /// What was wanted was applied whole, and nothing shows that anything moved since: nothing is compared.
    #[serde(skip)]
    pub settled: bool,
    /// The load balancer has been busy for longer than anything that Octavia does takes.
    #[serde(skip)]
    pub stuck: bool,
}

/// A load balancer of a peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerLoadBalancer {
    /// Name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// What will be there once it is ours.
    pub then: Observed,
}

impl Observed {
    /// Things of one type.
    pub fn of(&self, kind: ResourceType) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |p| p.kind == kind)
    }
}
