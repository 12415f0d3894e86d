//! The speaker's state, for people to look at. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_metal::announce::{Decision, Silence, Verdict};
use causeway_metal::fleet::Unfit;
use serde::Serialize;

use crate::bfd_run::BfdSnapshot;
use crate::interfaces::Ineligible;
use crate::l2::MacAddr;
use crate::membership::{PeerSnapshot, State};
use crate::peering::PeeringSnapshot;

/// What `/debug/state` shows of a speaker. Holds no secret.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// This node.
    pub node: String,
    /// What it says of itself; nothing while it has no key, or with heartbeats switched off.
    pub state: Option<State>,
    /// Whether there are peers and none is heard.
    pub isolated: bool,
    /// Why it would rather not announce.
    pub unfit: Vec<Unfit>,
    /// The other speakers.
    pub peers: Vec<PeerSnapshot>,
    /// The interfaces of this node.
    pub interfaces: Vec<InterfaceSnapshot>,
    /// What was decided about each load balancer, and why.
    pub decisions: Vec<DecisionSnapshot>,
    /// The same about routes, where BGP is used.
    pub routes: Vec<RouteDecisionSnapshot>,
    /// The sessions with routers.
    pub bgp: Option<PeeringSnapshot>,
    /// Their paths, as BFD sees them.
    pub bfd: Vec<BfdSnapshot>,
}

/// A decision about routes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteDecisionSnapshot {
    /// `Service namespace/name`.
    pub object: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The peers that hear of it from this node.
    pub peers: Vec<String>,
    /// Why none does.
    pub silent: Option<String>,
    /// The peers that do not hear of it, or not of all of it, and why.
    pub withheld: BTreeMap<String, String>,
    /// The routes that advertisements contradict each other about.
    pub conflicts: Vec<String>,
}

/// An interface.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceSnapshot {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Hardware address that is announced, if it announces.
    pub mac: Option<MacAddr>,
    /// Why it does not.
    pub ineligible: Option<Ineligible>,
    /// What it announces.
    pub addresses: Vec<IpAddr>,
}

/// A decision.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionSnapshot {
    /// `Service namespace/name`.
    pub object: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Their pool.
    pub pool: Option<String>,
    /// The node that announces it.
    pub elected: Option<String>,
    /// That node and those that stand next, which watch each other closely.
    pub standing: Vec<String>,
    /// The term in which this node holds its first address, if it does.
    pub term: Option<u32>,
    /// Names of the interfaces on which this node announces it.
    pub interfaces: Vec<String>,
    /// Why this node does not announce it, or not all of it.
    pub silent: Option<String>,
}

/// Why, in words.
pub(crate) fn silence(decision: &Decision) -> Option<String> {
    let Verdict::Silent(silence) = &decision.verdict else { return None };
    let reason = silence.as_str();
    Some(match silence {
        Silence::NoCandidate(why) => format!("{reason}: no node may announce it; this one: {}", why.as_str()),
        Silence::NotCandidate(why) => format!("{reason}: {}", why.as_str()),
        _ => reason.to_owned(),
    })
}
