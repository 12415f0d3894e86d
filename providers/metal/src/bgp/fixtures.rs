//! Objects, configurations and worlds for tests, as short as they can be written.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{Endpoints, EndpointsPerNode, Layer, LbKey, ObjectRef, OwnObject, OwnObjects, Problem};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{BgpConfig, PeerSecret, Routing, routes};
use crate::announce::{Announcement, When, World};
use crate::candidates::{LiveSet, NodeFacts};
use crate::fleet::{Fleet, Statement, Unfit};
use crate::pool::Pools;
use crate::selector::Labels;

pub(super) const NAMESPACE: &str = "metallb-system";

pub(super) fn own(kind: &str, name: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, NAMESPACE, name, spec)
}

/// With an annotation of ours, by its name without the prefix.
pub(super) fn with(mut object: OwnObject, annotation: &str, value: &str) -> OwnObject {
    object.annotations.insert(format!("causeway.io/{annotation}"), value.to_owned());
    object
}

pub(super) fn aged(mut object: OwnObject, created: i64) -> OwnObject {
    object.created = Some(created);
    object
}

/// A peer in another AS, at an address.
pub(super) fn peer(name: &str, address: &str) -> OwnObject {
    own("BGPPeer", name, json!({"myASN": 64500, "peerASN": 64501, "peerAddress": address}))
}

/// The same with more fields.
pub(super) fn peer_with(name: &str, address: &str, more: Value) -> OwnObject {
    let mut peer = peer(name, address);
    let (Value::Object(spec), Value::Object(more)) = (&mut peer.spec, more) else { panic!("maps") };
    spec.extend(more);
    peer
}

pub(super) fn ad(name: &str, spec: Value) -> OwnObject {
    own("BGPAdvertisement", name, spec)
}

pub(super) fn objects(objects: Vec<OwnObject>) -> OwnObjects {
    OwnObjects { objects, ..OwnObjects::default() }
}

/// Checks objects; what is wrong, as text.
pub(super) fn config(list: Vec<OwnObject>) -> (BgpConfig, Vec<Problem>) {
    BgpConfig::new(&objects(list), &BTreeMap::new())
}

pub(super) fn config_with(list: Vec<OwnObject>, secrets: &[(&str, PeerSecret)]) -> (BgpConfig, Vec<Problem>) {
    let secrets = secrets.iter().map(|(name, secret)| ((*name).to_owned(), secret.clone())).collect();
    BgpConfig::new(&objects(list), &secrets)
}

/// Kind and name of the object, the field, and whether it is an error.
pub(super) fn summary(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .map(|p| {
            let level = if p.severity == causeway_api::Severity::Error { "error" } else { "warning" };
            format!("{level} {} {}: {}", p.object.kind.as_str(), p.object.name, p.field)
        })
        .collect()
}

pub(super) fn labels(text: &str) -> Labels {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

/// A cluster: nodes n1, n2 and n3 with the label `node=<name>`, and pools p4 and p6.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    objects: Vec<OwnObject>,
    pub(super) nodes: BTreeMap<String, NodeFacts>,
    pub(super) fleet: Fleet,
    pub(super) services: Vec<Announcement>,
    pub(super) standby: bool,
}

pub(super) fn cluster(more: Vec<OwnObject>) -> Cluster {
    let mut objects = vec![
        own("IPAddressPool", "p4", json!({"addresses": ["192.0.2.0/24"]})),
        own("IPAddressPool", "p6", json!({"addresses": ["2001:db8::/64"]})),
        own("IPAddressPool", "dual", json!({"addresses": ["198.51.100.0/24", "2001:db8:1::/64"]})),
    ];
    objects.extend(more);
    let node = |name: &str| {
        let facts = NodeFacts { labels: labels(&format!("node={name}")), ..NodeFacts::default() };
        (name.to_owned(), facts)
    };
    let names = ["n1", "n2", "n3"];
    Cluster {
        objects,
        nodes: names.map(node).into(),
        fleet: Fleet::of(LiveSet::Nodes(names.map(str::to_owned).into())),
        services: Vec::new(),
        standby: false,
    }
}

impl Cluster {
    pub(super) fn service(mut self, service: Announcement) -> Self {
        self.services.push(service);
        self
    }

    pub(super) fn node(mut self, name: &str, change: impl FnOnce(&mut NodeFacts)) -> Self {
        change(self.nodes.get_mut(name).expect("a node"));
        self
    }

    /// What a speaker says of itself.
    pub(super) fn unfit(mut self, name: &str, why: Unfit) -> Self {
        let statement = Statement { unfit: [why].into(), ..Statement::default() };
        self.fleet.statements.insert(name.to_owned(), Arc::new(statement));
        self
    }

    /// Lists the objects the other way round.
    pub(super) fn turn(&mut self) {
        self.objects.reverse();
    }

    pub(super) fn dead(mut self, name: &str) -> Self {
        let LiveSet::Nodes(live) = &mut self.fleet.live else { panic!("a set") };
        live.remove(name);
        self
    }

    pub(super) fn world(&self) -> World {
        let objects = objects(self.objects.clone());
        let (bgp, problems) = BgpConfig::new(&objects, &BTreeMap::new());
        let errors: Vec<_> =
            problems.iter().filter(|p| p.severity == causeway_api::Severity::Error).collect();
        assert_eq!(errors, Vec::<&Problem>::new());
        World {
            pools: Arc::new(Pools::new(&objects).0),
            bgp: Arc::new(bgp),
            nodes: Arc::new(self.nodes.clone()),
            announcements: self.services.iter().map(|s| (s.key.clone(), Arc::new(s.clone()))).collect(),
            standby: self.standby,
            ..World::default()
        }
    }

    /// The decision for a node.
    pub(super) fn routes(&self, node: &str) -> Routing {
        let unfit = self.fleet.statements.get(node).map(|said| said.unfit.clone()).unwrap_or_default();
        routes(&self.world(), &self.fleet, node, &unfit)
    }

    /// The nodes that announce the only Service to any peer.
    pub(super) fn announcing(&self) -> Vec<String> {
        let announces = |node: &&String| self.routes(node).peers.values().any(|rib| !rib.is_empty());
        self.nodes.keys().filter(announces).cloned().collect()
    }
}

/// A Service with an address and endpoints: by node, ready and serving.
pub(super) fn service(name: &str, address: &str, when: When, endpoints: &[(&str, u32, u32)]) -> Announcement {
    let object = ObjectRef::service("shop", name, name);
    Announcement {
        key: LbKey::object(Layer::L4, object.clone()),
        object,
        addresses: address.split(',').map(|text| text.parse::<IpAddr>().expect("an address")).collect(),
        labels: Labels::new(),
        shares_address: false,
        when,
        endpoints: Endpoints {
            by_node: endpoints
                .iter()
                .map(|(node, ready, serving)| {
                    ((*node).to_owned(), EndpointsPerNode { ready: *ready, serving: *serving })
                })
                .collect(),
            ..Endpoints::default()
        },
        single_announcer: false,
    }
}

/// With a ready endpoint on n1, and the policy Cluster.
pub(super) fn web(address: &str) -> Announcement {
    service("web", address, When::ClusterEndpoints, &[("n1", 1, 0)])
}

/// What a peer hears from a node: the routes as text.
pub(super) fn heard(routing: &Routing, peer: &str) -> Vec<String> {
    routing.peers[peer].keys().map(ToString::to_string).collect()
}
