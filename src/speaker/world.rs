//! What the speaker's decisions depend on, out of watch updates. Pure: the same index as the controller's, seen from the
//! other side: not what Services ask for, but what they were given.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_api::{
    Capabilities, EndpointDetail, Layer, LbKey, Member, OwnKind, Problem, Protocol, TrafficPolicy, Wants,
};
use causeway_metal::advertisement::L2Advertisement;
use causeway_metal::announce::{Announcement, When, World};
use causeway_metal::bgp::{BgpConfig, Where};
use causeway_metal::candidates::{NodeFacts, NodeName};
use causeway_metal::pool::Pools;
use causeway_metal::selector::Labels;
use causeway_speaker::inquiry::Reported;

use super::secrets::Secrets;
use super::{conflicts, findings};
use crate::state::index::{Index, Rules};
use crate::state::records::Update;
use crate::translate::{ClassRules, ClusterHealth};

/// Addresses of every node, by which speakers reach each other.
pub type Peers = BTreeMap<NodeName, Vec<IpAddr>>;

/// What a speaker wants to be told.
#[must_use]
pub fn wants(kinds: Vec<OwnKind>) -> Wants {
    Wants { nodes: true, endpoints: EndpointDetail::All, kinds, ..Wants::default() }
}

/// Makes worlds out of updates.
pub struct WorldBuilder {
    /// This node.
    node: NodeName,
    index: Index,
    secrets: Secrets,
    world: World,
    peers: Peers,
    problems: Vec<Problem>,
    only_here: Vec<Problem>,
    judged: u64,
    conflicts: Arc<BTreeMap<IpAddr, Reported>>,
}

impl WorldBuilder {
    /// An empty world, as node `node` sees it.
    #[must_use]
    pub fn new(node: NodeName, classes: ClassRules, kinds: Vec<OwnKind>, ignore_exclude_label: bool) -> Self {
        let rules = Rules {
            classes,
            capabilities: Capabilities {
                l4: true,
                l7: false,
                protocols: vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
                own_classless: true,
                classes: Vec::new(),
                claims: Vec::new(),
                needs_node_ports: false,
                own_routes: false,
                orphan_grace: std::time::Duration::ZERO,
                write_deadline: std::time::Duration::ZERO,
                status_is_commit: true,
            },
            wants: wants(kinds),
            cluster_health: ClusterHealth::default(),
        };
        let key_of = |member: &Member| LbKey::object(Layer::L4, member.object.clone());
        Self {
            node,
            index: Index::new(rules, Arc::new(key_of)),
            secrets: Secrets::default(),
            world: World { ignore_exclude_label, ..World::default() },
            peers: Peers::new(),
            problems: Vec::new(),
            only_here: Vec::new(),
            judged: 0,
            conflicts: Arc::default(),
        }
    }

    /// Takes over one update. Answers whether anything changed, and what is wrong with own objects if these changed.
    pub fn update(&mut self, update: Update) -> (bool, Vec<Problem>) {
        let nodes = matches!(update, Update::Node(_));
        let effects = self.index.update(update);
        let mut changed = false;
        for (key, _) in &effects.dirty {
            changed |= self.refresh(key);
        }
        let mut relabelled = false;
        if nodes {
            let before = self.own_labels().cloned();
            changed |= self.refresh_nodes();
            relabelled = self.own_labels() != before.as_ref();
        }
        if !effects.facts && !relabelled {
            return (changed, Vec::new());
        }
        (true, self.judge())
    }

    /// Takes over what is known of the Secrets. Answers whether anything changed, and what is wrong with own objects then.
    pub fn set_secrets(&mut self, secrets: Secrets) -> (bool, Vec<Problem>) {
        if secrets == self.secrets {
            return (false, Vec::new());
        }
        self.secrets = secrets;
        (true, self.judge())
    }

    fn own_labels(&self) -> Option<&Labels> {
        self.world.nodes.get(&self.node).map(|node| &node.labels)
    }

    /// Reads own objects anew. Answers what is wrong with them.
    fn judge(&mut self) -> Vec<Problem> {
        let objects = self.index.own_objects();
        let (pools, mut problems) = Pools::new(&objects);
        let (advertisements, found) = L2Advertisement::parse_all(&objects);
        problems.extend(found);
        let (bgp, mut found) = BgpConfig::new(&objects, &self.secrets);
        let mut only_here = Vec::new();
        if let Some(labels) = self.own_labels() {
            found.extend(bgp.clashes(&pools, Where::Node(labels)));
            only_here = findings::only_here(&objects, &pools, labels, &found);
        }
        problems.extend(found);
        self.only_here = only_here;
        self.world.pools = Arc::new(pools);
        self.world.advertisements = Arc::new(advertisements);
        self.world.bgp = Arc::new(bgp);
        self.problems.clone_from(&problems);
        self.judged += 1;
        self.conflicts = Arc::new(conflicts::read(&objects));
        problems
    }

    /// The world as it is known now.
    #[must_use]
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// What is wrong with own objects, and how often that was judged.
    #[must_use]
    pub fn problems(&self) -> (u64, &[Problem]) {
        (self.judged, &self.problems)
    }

    /// Of these, what the controller cannot find.
    #[must_use]
    pub fn only_here(&self) -> &[Problem] {
        &self.only_here
    }

    /// The world as it would be if these Services, by `namespace/name`, had these addresses; the others have none.
    #[must_use]
    pub fn world_with(&self, addresses: &BTreeMap<String, Vec<IpAddr>>) -> World {
        let announcements = self.index.keys().filter_map(|key| {
            let addresses = addresses.get(&key.id())?.clone();
            let snapshot = self.index.snapshot(key);
            let announcement = announcement(key, snapshot.lb.members.first()?, addresses)?;
            Some((key.clone(), Arc::new(announcement)))
        });
        World { announcements: announcements.collect(), ..self.world.clone() }
    }

    /// Addresses of all nodes.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.peers.clone()
    }

    /// The conflicts that speakers reported.
    #[must_use]
    pub fn conflicts(&self) -> Arc<BTreeMap<IpAddr, Reported>> {
        Arc::clone(&self.conflicts)
    }

    fn refresh(&mut self, key: &LbKey) -> bool {
        let new = self
            .index
            .snapshot(key)
            .lb
            .members
            .first()
            .and_then(|member| announcement(key, member, given(member)));
        if self.world.announcements.get(key).map(Arc::as_ref) == new.as_ref() {
            return false;
        }
        match new {
            Some(new) => self.world.announcements.insert(key.clone(), Arc::new(new)),
            None => self.world.announcements.remove(key),
        };
        true
    }

    fn refresh_nodes(&mut self) -> bool {
        let facts: BTreeMap<NodeName, NodeFacts> = self
            .index
            .nodes()
            .map(|node| {
                let labels = BTreeMap::clone(&node.labels);
                (
                    node.name.clone(),
                    NodeFacts {
                        labels,
                        network_unavailable: node.network_unavailable,
                        leaving: node.leaving || node.deleting || node.out_of_service,
                        cordoned: node.cordoned,
                    },
                )
            })
            .collect();
        let peers: Peers =
            self.index.nodes().map(|node| (node.name.clone(), node.addresses.clone())).collect();
        if facts == *self.world.nodes && peers == self.peers {
            return false;
        }
        self.world.nodes = Arc::new(facts);
        self.peers = peers;
        true
    }
}

/// What a Service was given. Only addresses that kube-proxy takes (ipMode VIP) can be announced.
fn given(member: &Member) -> Vec<IpAddr> {
    let points = member.current.iter();
    points.filter(|p| p.ip_mode != Some(causeway_api::IpMode::Proxy)).filter_map(|p| p.ip).collect()
}

/// The announcement of a Service with these addresses, if there are any.
fn announcement(key: &LbKey, member: &Member, addresses: Vec<IpAddr>) -> Option<Announcement> {
    let service = member.service()?;
    if addresses.is_empty() {
        return None;
    }
    let settings = causeway_metal::annotations::Settings::read(&member.annotations);
    Some(Announcement {
        key: key.clone(),
        object: member.object.clone(),
        addresses,
        labels: member.labels.clone(),
        shares_address: settings.sharing.is_some(),
        when: match service.traffic_policy {
            TrafficPolicy::Cluster => When::ClusterEndpoints,
            TrafficPolicy::Local => When::LocalEndpoints,
        },
        endpoints: service.endpoints.clone(),
        single_announcer: settings.single_announcer,
    })
}
