//! BGP: which routers to speak with, what to announce to them, and the decision for one node. Pure.
//!
//! ```text
//! BFDProfile --> profile --+
//! Secrets -----> secret ---+--> peer ------------+
//! BGPPeer -----------------+                     +--> BgpConfig --> routes (with World, Fleet and the node's name) --> Routing
//! Community ---> community --+--> advertisement -+
//! BGPAdvertisement ----------+
//! ```
//!
//! Invariants: one bad object never hides another; a bad peer is not spoken with, a bad advertisement announces nothing, and both are reported with what to
//! do. The order in which objects are listed does not matter. What is wrong only because two objects meet on one node is not refused here, since it depends on
//! the nodes: [`BgpConfig::clashes`] reports it, and [`routes()`] decides alike.

pub mod advertisement;
mod clashes;
pub mod community;
pub mod peer;
pub mod profile;
pub mod routes;
pub mod secret;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Family, ObjectRef, OwnObject, OwnObjects, Problem};
use serde::de::DeserializeOwned;

pub use advertisement::{Attribute, BgpAdvertisement, RouteAttributes};
pub use clashes::Where;
pub(crate) use clashes::meet;
pub use peer::{Families, Peer, PeerTo, RemoteAsn};
pub use profile::BfdSettings;
pub use routes::{RibOut, RouteDecision, RouteSilence, Routing, routes};
pub use secret::{Password, PeerSecret};

use crate::annotations::{self, Annotation};
use crate::pool::{Pool, Pools};
use crate::selector::{self, LabelSelector, Labels, Selector};

/// Everything that users configure for BGP, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BgpConfig {
    /// The peers that can be spoken with, by name.
    pub peers: BTreeMap<String, Arc<Peer>>,
    /// The advertisements that announce something, in the order of their names.
    pub advertisements: Vec<BgpAdvertisement>,
}

impl BgpConfig {
    /// Checks all objects. `secrets`: those of the namespace of the configuration, by name.
    #[must_use]
    pub fn new(objects: &OwnObjects, secrets: &BTreeMap<String, PeerSecret>) -> (Self, Vec<Problem>) {
        Self::read(objects, Some(secrets))
    }

    /// The same for those who do not read Secrets: whether one that a peer names is there and sound is not judged, and no such peer has a password.
    #[must_use]
    pub fn without_secrets(objects: &OwnObjects) -> (Self, Vec<Problem>) {
        Self::read(objects, None)
    }

    fn read(objects: &OwnObjects, secrets: Option<&BTreeMap<String, PeerSecret>>) -> (Self, Vec<Problem>) {
        let (aliases, mut problems) = community::Aliases::new(objects);
        let (profiles, more) = profile::Profiles::new(objects);
        problems.extend(more);
        let (peers, more) = peer::parse_all(objects, &profiles, secrets);
        problems.extend(more);
        // What is wrong with pools is said where pools are read.
        let (pools, _) = Pools::new(objects);
        let (advertisements, more) = advertisement::parse_all(objects, &aliases, &pools);
        problems.extend(more);
        (Self { peers, advertisements }, problems)
    }

    /// The peers of a node with these labels, in the order of their names. Of those that lead to the same router only the oldest counts.
    #[must_use]
    pub fn peers_of(&self, labels: &Labels) -> Vec<&Arc<Peer>> {
        let mut first: BTreeMap<&PeerTo, &Arc<Peer>> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| peer.matches_node(labels)) {
            let kept = first.entry(&peer.to).or_insert(peer);
            if peer.age() < kept.age() {
                *kept = peer;
            }
        }
        let mut peers: Vec<_> = first.into_values().collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        peers
    }

    /// The advertisements of a Service with these labels and these addresses of a pool that some peer could hear.
    pub fn announcing<'a>(
        &'a self,
        pool: &'a Pool,
        labels: &'a Labels,
        addresses: &'a [IpAddr],
    ) -> impl Iterator<Item = &'a BgpAdvertisement> {
        let carries = |peer: &Peer| addresses.iter().any(|a| peer.carries(Family::of(&a.to_canonical())));
        let hears = move |ad: &BgpAdvertisement| {
            self.peers.values().any(|peer| ad.names(&peer.name) && carries(peer))
        };
        self.advertisements
            .iter()
            .filter(|ad| ad.matches_pool(pool) && ad.matches_service(labels))
            .filter(move |ad| hears(ad))
    }
}

/// What is wrong with one object.
struct Report<'a> {
    object: &'a ObjectRef,
    reason: &'static str,
    problems: &'a mut Vec<Problem>,
    refused: bool,
}

impl<'a> Report<'a> {
    fn new(object: &'a ObjectRef, reason: &'static str, problems: &'a mut Vec<Problem>) -> Self {
        Self { object, reason, problems, refused: false }
    }

    /// The object cannot be used.
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.refused = true;
        self.problems.push(Problem::error(self.object.clone(), field, self.reason, message));
    }

    /// It can, but not all is as its author may think.
    fn warn(&mut self, field: impl Into<String>, reason: &str, message: impl Into<String>) {
        self.problems.push(Problem::warning(self.object.clone(), field, reason, message));
    }

    /// Whether it can be used.
    fn sound(&self) -> bool {
        !self.refused
    }

    /// The spec; an object without one is one with an empty spec.
    fn spec<T: DeserializeOwned>(&mut self, object: &OwnObject) -> Option<T> {
        let spec = if object.spec.is_null() { serde_json::json!({}) } else { object.spec.clone() };
        match serde_json::from_value(spec) {
            Ok(spec) => Some(spec),
            Err(error) => {
                let kind = object.object.kind.as_str();
                self.refuse("spec", format!("cannot be read: {error}; see the schema of {kind}"));
                None
            }
        }
    }

    fn selectors(&mut self, field: &str, selectors: &[LabelSelector]) -> Vec<Selector> {
        selector::all(selectors).unwrap_or_else(|(index, error)| {
            let twice = || "is listed twice; remove one of them".to_owned();
            self.refuse(format!("spec.{field}[{index}]"), error.map_or_else(twice, |e| e.to_string()));
            Vec::new()
        })
    }

    /// A list in which nothing may be there twice.
    fn distinct(&mut self, field: &str, list: &[String]) -> BTreeSet<String> {
        let mut set = BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            if !set.insert(item.clone()) {
                self.refuse(
                    format!("spec.{field}[{index}]"),
                    format!("{item:?} is listed twice; remove one of them"),
                );
            }
        }
        set
    }

    /// What an annotation says.
    fn annotation<T: Default>(&mut self, annotation: &Annotation, read: Result<T, String>) -> T {
        read.unwrap_or_else(|message| {
            self.refuse(annotation.field(), message);
            T::default()
        })
    }

    /// Says which annotations with our prefix mean nothing here.
    fn unknown_annotations(&mut self, object: &OwnObject) {
        let kind = object.object.kind.as_str();
        for key in annotations::unknown(kind, &object.annotations) {
            self.warn(
                format!("metadata.annotations[{key}]"),
                crate::names::reasons::UNKNOWN_ANNOTATION,
                format!("{key} means nothing on a {kind}; see docs/annotations.md for those that do"),
            );
        }
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
