//! A whole cluster in virtual time: real membership, elections and hand-over on each node; a network that loses and blocks; a clock that can be stopped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_api::{Endpoints, EndpointsPerNode, Layer, LbKey, ObjectRef, OwnObject, OwnObjects};
use causeway_metal::advertisement::L2Advertisement;
use causeway_metal::announce::{Announcement, When, World};
use causeway_metal::candidates::{LiveSet, NodeFacts};
use causeway_metal::election::rank;
use causeway_metal::elections::{Elections, Order};
use causeway_metal::fleet::{Fleet, Rules, Unfit, Uplink};
use causeway_metal::pool::Pools;
use causeway_speaker::jitter::Jitter;
use causeway_speaker::membership::{Input, Keys, Membership, Outputs, Settings};
use causeway_speaker::moment::Moment;
use causeway_speaker::succession::Succession;
use serde_json::{Value, json};

pub const INTERVAL: Duration = Duration::from_millis(100);
/// Between the arrival of news and what is made of it, for each node of the cluster: what waits in the socket is taken in one go.
const THINKING: Duration = Duration::from_micros(1);
/// The same, at least.
const REACTING: Duration = Duration::from_micros(50);

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn name(index: usize) -> String {
    format!("node-{index:03}")
}

fn socket(index: usize) -> SocketAddr {
    SocketAddr::new([10, 0, (index / 256) as u8, (index % 256) as u8].into(), 7947)
}

fn index_of(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => usize::from(ip.octets()[2]) * 256 + usize::from(ip.octets()[3]),
        IpAddr::V6(_) => unreachable!("no such address is given out"),
    }
}

pub fn vip(index: usize) -> IpAddr {
    Ipv4Addr::from(0x0a4d_0000 + index as u32).into()
}

fn own(kind: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, "metallb-system", "it", spec)
}

/// `addresses` Services, each with one address, that all `nodes` may announce.
pub fn world(nodes: usize, addresses: usize) -> World {
    let pool = own("IPAddressPool", json!({"addresses": ["10.77.0.0/16"]}));
    let objects =
        OwnObjects { objects: vec![pool, own("L2Advertisement", json!({}))], ..OwnObjects::default() };
    let announcements = (0..addresses).map(|index| {
        let object = ObjectRef::service("default", format!("web-{index}"), format!("uid-{index}"));
        let key = LbKey::object(Layer::L4, object.clone());
        let ready = EndpointsPerNode { ready: 1, serving: 1 };
        let lb = Announcement {
            key: key.clone(),
            object,
            addresses: vec![vip(index)],
            labels: BTreeMap::new(),
            shares_address: false,
            when: When::ClusterEndpoints,
            endpoints: Endpoints { by_node: [(name(0), ready)].into(), ..Endpoints::default() },
            single_announcer: false,
        };
        (key, Arc::new(lb))
    });
    World {
        pools: Arc::new(Pools::new(&objects).0),
        advertisements: Arc::new(L2Advertisement::parse_all(&objects).0),
        nodes: Arc::new((0..nodes).map(|node| (name(node), NodeFacts::default())).collect()),
        announcements: announcements.collect(),
        ..World::default()
    }
}

#[derive(PartialEq)]
enum Power {
    On,
    /// SIGSTOP: datagrams wait in the socket. What was announced last goes on being believed, as neighbours remember it.
    Stopped,
    Off,
}

struct Node {
    power: Power,
    succession: Option<Succession>,
    waiting: Vec<Vec<u8>>,
    ports: BTreeMap<u32, String>,
    announced: BTreeSet<IpAddr>,
    armed: Option<Moment>,
    dirty: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival(usize, Vec<u8>),
    Timer(usize),
    Death(usize),
    Start(usize),
}

/// A node began or ceased to announce an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub at: Moment,
    pub node: usize,
    pub address: IpAddr,
    pub begins: bool,
}

pub struct Cluster {
    pub now: Moment,
    pub world: Arc<World>,
    rules: Rules,
    /// Hashed once for all.
    hashed: Order,
    nodes: Vec<Node>,
    events: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    order: u64,
    pub loss: f64,
    /// (from, to) pairs that let nothing through.
    pub blocked: HashSet<(usize, usize)>,
    pub jitter: Jitter,
    boots: u64,
    pub steps: Vec<Step>,
    pub sent: u64,
    pub elections: usize,
}

impl Cluster {
    pub fn new(nodes: usize, addresses: usize, rules: Rules, seed: u64) -> Self {
        let node = || Node {
            power: Power::Off,
            succession: None,
            waiting: Vec::new(),
            ports: [(2, "eth0".to_owned())].into(),
            announced: BTreeSet::new(),
            armed: None,
            dirty: false,
        };
        let world = Arc::new(world(nodes, addresses));
        let mut elections = Elections::new(name(0), rules);
        elections.update(&world, Fleet::of(LiveSet::Everyone));
        Cluster {
            now: Moment::after_origin(Duration::from_secs(1000)),
            hashed: elections.order().clone(),
            world,
            rules,
            nodes: (0..nodes).map(|_| node()).collect(),
            events: BinaryHeap::new(),
            order: 0,
            loss: 0.0,
            blocked: HashSet::new(),
            jitter: Jitter::new(seed),
            boots: seed << 20,
            steps: Vec::new(),
            sent: 0,
            elections: 0,
        }
    }

    /// All run, know each other, and every address has one holder: the first in MetalLB's order.
    pub fn settled(nodes: usize, addresses: usize, rules: Rules, seed: u64) -> Self {
        let mut cluster = Cluster::new(nodes, addresses, rules, seed);
        for node in 0..nodes {
            cluster.start(node);
        }
        cluster.run(Duration::from_secs(3));
        for index in 0..addresses {
            assert_eq!(cluster.holder(vip(index)), first(0..nodes, vip(index)));
        }
        cluster.steps.clear();
        cluster.sent = 0;
        cluster.elections = 0;
        cluster
    }

    pub fn start(&mut self, node: usize) {
        self.boots += 1;
        let settings = Settings {
            cluster: "cluster".into(),
            node: name(node),
            boot: Jitter::new(self.boots).bits(),
            interval: INTERVAL,
            slow: Duration::from_secs(1),
            misses: 3,
        };
        let elections = Elections::with_order(name(node), self.rules, self.hashed.clone());
        let mut succession = Succession::new(elections, false);
        let keys = Keys::new(&[[7; 32]]).expect("long enough");
        succession.join(Membership::new(settings, keys, self.now));
        succession.set_world(Arc::clone(&self.world));
        succession.set_uplinks(uplinks(&self.nodes[node].ports));
        self.nodes[node].succession = Some(succession);
        self.nodes[node].power = Power::On;
        let peers = (0..self.nodes.len()).map(|peer| (name(peer), Some(socket(peer)))).collect();
        self.input(node, Input::Peers(&peers));
        self.think(node);
    }

    pub fn start_after(&mut self, pause: Duration, node: usize) {
        self.push(self.now + pause, Event::Start(node));
    }

    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].power == Power::On
    }

    pub fn kill(&mut self, node: usize) {
        self.nodes[node].power = Power::Off;
        self.nodes[node].succession = None;
        self.nodes[node].waiting.clear();
        self.take_up(node, BTreeSet::new());
    }

    pub fn kill_after(&mut self, pause: Duration, node: usize) {
        self.push(self.now + pause, Event::Death(node));
    }

    pub fn stop(&mut self, node: usize) {
        self.nodes[node].power = Power::Stopped;
    }

    /// After SIGSTOP; `received` says whether the socket took what came meanwhile.
    pub fn resume(&mut self, node: usize, received: bool) {
        self.nodes[node].power = Power::On;
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        for octets in waiting.into_iter().filter(|_| received) {
            self.input(node, Input::Datagram(&octets));
        }
        self.input(node, Input::Tick);
        self.think(node);
    }

    pub fn leave(&mut self, node: usize) {
        self.input(node, Input::Leave);
        self.think(node);
    }

    pub fn set_unfit(&mut self, node: usize, applies: bool) {
        self.node(node).set_unfit(Unfit::KubeProxy, applies);
        self.think(node);
    }

    pub fn set_carrier(&mut self, node: usize, carrier: bool) {
        self.nodes[node].ports = if carrier { [(2, "eth0".to_owned())].into() } else { BTreeMap::new() };
        let uplinks = uplinks(&self.nodes[node].ports);
        self.node(node).set_uplinks(uplinks);
        self.think(node);
    }

    pub fn change_world(&mut self, change: impl FnOnce(&mut World)) {
        let mut world = World::clone(&self.world);
        change(&mut world);
        self.world = Arc::new(world);
        for node in 0..self.nodes.len() {
            if self.nodes[node].succession.is_some() {
                let world = Arc::clone(&self.world);
                self.node(node).set_world(world);
                self.think(node);
            }
        }
    }

    pub fn node(&mut self, node: usize) -> &mut Succession {
        self.nodes[node].succession.as_mut().expect("it runs")
    }

    /// The nodes that announce an address.
    pub fn holders(&self, address: IpAddr) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].announced.contains(&address)).collect()
    }

    /// The one that announces an address.
    pub fn holder(&self, address: IpAddr) -> usize {
        let holders = self.holders(address);
        assert_eq!(holders.len(), 1, "{address} is announced by {holders:?}");
        holders[0]
    }

    pub fn held(&self, node: usize) -> usize {
        self.nodes[node].announced.len()
    }

    fn input(&mut self, node: usize, input: Input<'_>) {
        let now = self.now;
        let Some(succession) = &mut self.nodes[node].succession else { return };
        let outputs = succession.handle(input, now);
        if outputs.live_changed || outputs.news {
            self.nodes[node].dirty = true;
        }
        self.put_out(node, outputs);
        self.arm(node);
    }

    fn put_out(&mut self, node: usize, outputs: Outputs) {
        for send in outputs.sends {
            self.sent += 1;
            let to = index_of(send.to);
            if self.blocked.contains(&(node, to)) || self.jitter.fraction() < self.loss {
                continue;
            }
            let at = self.now + self.jitter.scale(ms(1), 0.1, 0.5);
            self.push(at, Event::Arrival(to, send.octets));
        }
    }

    fn think(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].dirty = false;
        let Node { succession: Some(succession), ports, .. } = &mut self.nodes[node] else { return };
        if let Some(outcome) = succession.decide(ports, now, |_, _| ()) {
            self.elections += outcome.elections;
            self.take_up(node, outcome.duty.all_addresses());
            self.put_out(node, outcome.outputs);
        }
        self.arm(node);
    }

    fn take_up(&mut self, node: usize, announced: BTreeSet<IpAddr>) {
        let before = std::mem::replace(&mut self.nodes[node].announced, announced.clone());
        let step = |address: &IpAddr, begins| Step { at: self.now, node, address: *address, begins };
        let begun = announced.difference(&before).map(|address| step(address, true));
        let ended = before.difference(&announced).map(|address| step(address, false));
        let steps: Vec<Step> = begun.chain(ended).collect();
        self.steps.extend(steps);
    }

    fn arm(&mut self, node: usize) {
        let now = self.now;
        let thought = now + REACTING.max(THINKING * self.nodes.len() as u32);
        let Node { succession: Some(succession), armed, dirty, .. } = &mut self.nodes[node] else { return };
        let mut due = succession.next_deadline().map(|due| due.max(now));
        if *dirty {
            due = Some(due.map_or(thought, |due| due.min(thought)));
        }
        if *armed != due {
            *armed = due;
            if let Some(due) = due {
                self.push(due, Event::Timer(node));
            }
        }
    }

    fn push(&mut self, at: Moment, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.events.peek().is_some_and(|Reverse((at, ..))| *at <= end)
            && let Some(Reverse((at, _, event))) = self.events.pop()
        {
            self.now = self.now.max(at);
            match event {
                Event::Arrival(to, octets) => match self.nodes[to].power {
                    Power::On => self.input(to, Input::Datagram(&octets)),
                    Power::Stopped => self.nodes[to].waiting.push(octets),
                    Power::Off => {}
                },
                Event::Death(node) => self.kill(node),
                Event::Start(node) => self.start(node),
                Event::Timer(node) => {
                    if self.nodes[node].armed != Some(at) || self.nodes[node].power != Power::On {
                        continue;
                    }
                    self.nodes[node].armed = None;
                    self.input(node, Input::Tick);
                    let overdue = self.node(node).is_overdue(at);
                    if self.nodes[node].dirty || overdue {
                        self.think(node);
                    }
                    self.arm(node);
                }
            }
        }
        self.now = end;
    }

    /// How long each address that changed hands, from now to the end of `span`, was dark, and how long it was announced by several.
    pub fn watch(&mut self, span: Duration) -> BTreeMap<IpAddr, (Duration, Duration)> {
        let start = self.now;
        let mark = self.steps.len();
        let mut count: HashMap<IpAddr, usize> = HashMap::new();
        let addresses: Vec<IpAddr> =
            self.world.announcements.values().map(|announcement| announcement.addresses[0]).collect();
        for address in addresses {
            count.insert(address, self.holders(address).len());
        }
        self.run(span);
        let mut found: BTreeMap<IpAddr, (Duration, Duration)> = BTreeMap::new();
        let mut since: HashMap<IpAddr, Moment> = HashMap::new();
        let ends = count.keys().map(|address| (self.now, *address, 0));
        let steps =
            self.steps[mark..].iter().map(|step| (step.at, step.address, if step.begins { 1 } else { -1 }));
        let all: Vec<(Moment, IpAddr, isize)> = steps.chain(ends).collect();
        for (at, address, change) in all {
            let holders = count.entry(address).or_default();
            let span = at.saturating_since(since.insert(address, at).unwrap_or(start));
            let (dark, double) = found.entry(address).or_default();
            match *holders {
                0 => *dark += span,
                1 => {}
                _ => *double += span,
            }
            *holders = holders.saturating_add_signed(change);
        }
        found
    }

    /// Every address has exactly one holder, and all that run agree on it.
    pub fn assert_whole(&mut self, why: &str) {
        let addresses: Vec<(LbKey, IpAddr)> =
            self.world.announcements.iter().map(|(key, lb)| (key.clone(), lb.addresses[0])).collect();
        for (key, address) in addresses {
            let holders = self.holders(address);
            assert_eq!(holders.len(), 1, "{why}: {address} is announced by {holders:?}");
            for node in 0..self.nodes.len() {
                if self.nodes[node].power == Power::On {
                    let elected = self.node(node).elections().decision(&key).and_then(|d| d.elected.clone());
                    assert_eq!(elected, Some(name(holders[0])), "{why}: {} about {address}", name(node));
                }
            }
        }
    }
}

/// The first of some nodes in MetalLB's order.
pub fn first(nodes: impl IntoIterator<Item = usize>, address: IpAddr) -> usize {
    nodes.into_iter().min_by_key(|node| rank(&name(*node), address)).expect("a node")
}

fn uplinks(ports: &BTreeMap<u32, String>) -> Vec<Uplink> {
    let network = "10.77.0.1/16".parse().expect("a network");
    ports
        .values()
        .map(|name| Uplink { name: name.clone(), mac: [2, 0, 0, 0, 0, 1], networks: vec![network] })
        .collect()
}

pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
