//! Whole clusters of speakers in virtual time, on a network that loses, blocks, delays, records and forges.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use causeway_metal::candidates::LiveSet;
use causeway_metal::fleet::Statement;
use causeway_speaker::jitter::Jitter;
use causeway_speaker::membership::{
    Change, Ignored, Input, Keys, Liveness, Membership, Message, Outputs, SLOW_PEERS, Settings, State,
};
use causeway_speaker::moment::Moment;
use rstest::rstest;

const SECOND: Duration = Duration::from_secs(1);
const KEY: [u8; 32] = [7; 32];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn keys() -> Keys {
    Keys::new(&[KEY]).expect("long enough")
}

fn name(index: usize) -> String {
    format!("node-{index:03}")
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::new([10, 0, (index / 256) as u8, (index % 256) as u8].into(), 7947)
}

fn index_of(address: SocketAddr) -> usize {
    match address.ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[2]) * 256 + usize::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => unreachable!("no such address is given out"),
    }
}

/// The live ones that a speaker knows.
fn live_of(membership: &Membership) -> BTreeSet<String> {
    match membership.fleet().live {
        LiveSet::Nodes(nodes) => nodes,
        LiveSet::Everyone => unreachable!("never with heartbeats"),
    }
}

/// What runs on a node.
enum Process {
    Running(Box<Membership>),
    /// SIGSTOP: datagrams wait in the socket.
    Stopped(Box<Membership>, Vec<Vec<u8>>),
    /// A paused machine: nothing is received either.
    Paused(Box<Membership>),
    Killed,
}

/// When it arrives, in which order it was sent, where to, and what it is.
type Datagram = (Moment, u64, usize, Vec<u8>);

struct Network {
    now: Moment,
    nodes: Vec<Process>,
    nodes_few: bool,
    interval: Duration,
    /// `None`: everybody watches everybody closely.
    slow: Option<Duration>,
    /// Datagrams under way.
    wire: BinaryHeap<Reverse<Datagram>>,
    order: u64,
    loss: f64,
    /// (from, to) pairs that let nothing through.
    blocked: BTreeSet<(usize, usize)>,
    jitter: Jitter,
    boots: u64,
    changes: Vec<(Moment, usize, Change)>,
    repeats: Vec<(Moment, usize)>,
    stalls: Vec<usize>,
    ignored: BTreeMap<&'static str, usize>,
    record: Option<Vec<(usize, Vec<u8>)>>,
}

impl Network {
    /// `count` nodes of which none runs yet.
    fn new(count: usize, interval: Duration, seed: u64) -> Self {
        Network {
            // Not at the origin, which nothing may take for special.
            now: Moment::after_origin(Duration::from_secs(1000)),
            nodes: (0..count).map(|_| Process::Killed).collect(),
            nodes_few: count <= 10,
            interval,
            slow: None,
            wire: BinaryHeap::new(),
            order: 0,
            loss: 0.0,
            blocked: BTreeSet::new(),
            jitter: Jitter::new(seed),
            boots: 0,
            changes: Vec::new(),
            repeats: Vec::new(),
            stalls: Vec::new(),
            ignored: BTreeMap::new(),
            record: None,
        }
    }

    /// `count` nodes that all run and know each other.
    fn settled(count: usize, interval: Duration, seed: u64) -> Self {
        let mut network = Network::new(count, interval, seed);
        for node in 0..count {
            network.start(node);
        }
        network.run(interval * 5);
        for node in 0..count {
            assert_eq!(network.live(node).len(), count, "{} does not see everybody", name(node));
            let peers = network.node(node).snapshot(network.now);
            assert!(peers.iter().all(|peer| peer.liveness == Liveness::Alive && peer.hears_us), "{peers:?}");
        }
        network.changes.clear();
        network.repeats.clear();
        network.ignored.clear();
        network
    }

    fn start(&mut self, node: usize) {
        self.start_joining(node);
        self.input(node, Input::Ready);
    }

    fn start_joining(&mut self, node: usize) {
        self.boots += 1;
        let settings = Settings {
            cluster: "cluster".into(),
            node: name(node),
            // Not ordered in time: nothing may depend on that.
            boot: Jitter::new(self.boots).bits(),
            interval: self.interval,
            slow: self.slow.unwrap_or(self.interval),
            misses: 3,
        };
        self.nodes[node] = Process::Running(Box::new(Membership::new(settings, keys(), self.now)));
        let peers = (0..self.nodes.len()).map(|peer| (name(peer), Some(address(peer)))).collect();
        self.input(node, Input::Peers(&peers));
        if self.slow.is_none() {
            let all = (0..self.nodes.len()).map(name).collect();
            self.input(node, Input::Watch(&all));
        }
    }

    fn node(&self, node: usize) -> &Membership {
        match &self.nodes[node] {
            Process::Running(membership) => membership,
            _ => panic!("{} does not run", name(node)),
        }
    }

    fn live(&self, node: usize) -> BTreeSet<String> {
        live_of(self.node(node))
    }

    fn sees(&self, node: usize, peer: usize) -> Liveness {
        let peer = name(peer);
        let snapshot = self.node(node).snapshot(self.now);
        snapshot.into_iter().find(|entry| entry.node == peer).expect("a peer").liveness
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node] = Process::Killed;
    }

    fn take(&mut self, node: usize) -> Box<Membership> {
        match std::mem::replace(&mut self.nodes[node], Process::Killed) {
            Process::Running(membership) | Process::Stopped(membership, _) | Process::Paused(membership) => {
                membership
            }
            Process::Killed => panic!("{} does not run", name(node)),
        }
    }

    fn resume(&mut self, node: usize) {
        let waiting = match &mut self.nodes[node] {
            Process::Stopped(_, waiting) => std::mem::take(waiting),
            _ => Vec::new(),
        };
        self.nodes[node] = Process::Running(self.take(node));
        for octets in waiting {
            self.input(node, Input::Datagram(&octets));
        }
        self.input(node, Input::Tick);
    }

    fn input(&mut self, node: usize, input: Input<'_>) {
        let Process::Running(membership) = &mut self.nodes[node] else { return };
        // Of large clusters only the changes are looked at: this would cost more than all else.
        let small = self.nodes_few;
        let names =
            |membership: &Membership| -> Option<BTreeSet<String>> { small.then(|| live_of(membership)) };
        let before = names(membership);
        let Outputs { sends, changes, live_changed, news: _, repeat, ignored, stalled } =
            membership.handle(input, self.now);
        let after = names(membership);
        assert!(live_changed || before == after, "a change of the live set was not told");
        self.changes.extend(changes.into_iter().map(|change| (self.now, node, change)));
        self.repeats.extend(repeat.then_some((self.now, node)));
        self.stalls.extend(stalled.map(|_| node));
        if let Some(reason) = ignored {
            *self.ignored.entry(reason.name()).or_default() += 1;
        }
        for send in sends {
            let to = index_of(send.to);
            if let Some(record) = &mut self.record {
                record.push((to, send.octets.clone()));
            }
            if self.blocked.contains(&(node, to)) || self.jitter.fraction() < self.loss {
                continue;
            }
            let latency = self.jitter.scale(ms(1), 0.1, 0.5);
            self.deliver(to, send.octets, self.now + latency);
        }
    }

    fn deliver(&mut self, to: usize, octets: Vec<u8>, at: Moment) {
        self.order += 1;
        self.wire.push(Reverse((at, self.order, to, octets)));
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// The next thing that happens until `end`.
    fn step(&mut self, end: Moment) -> bool {
        let timer = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(node, process)| match process {
                Process::Running(membership) => Some((membership.next_deadline()?, node)),
                _ => None,
            })
            .min();
        let arrival = self.wire.peek().map(|Reverse((at, ..))| *at);
        let next = match (timer, arrival) {
            (Some((due, _)), Some(at)) => due.min(at),
            (Some((due, _)), None) => due,
            (None, Some(at)) => at,
            (None, None) => return false,
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        if arrival == Some(next)
            && let Some(Reverse((_, _, to, octets))) = self.wire.pop()
        {
            match &mut self.nodes[to] {
                Process::Running(_) => self.input(to, Input::Datagram(&octets)),
                Process::Stopped(_, waiting) => waiting.push(octets),
                Process::Paused(_) | Process::Killed => {}
            }
        } else if let Some((_, node)) = timer {
            self.input(node, Input::Tick);
        }
        true
    }

    /// How long it took each other running node to see `node` as `wanted`, from now on.
    fn until_all_see(&mut self, node: usize, wanted: Liveness, limit: Duration) -> Vec<Duration> {
        let (start, mark) = (self.now, self.changes.len());
        self.run(limit);
        let watchers = (0..self.nodes.len())
            .filter(|watcher| *watcher != node && matches!(self.nodes[*watcher], Process::Running(_)));
        watchers
            .map(|watcher| {
                let seen = self.changes[mark..].iter().find(|(_, who, change)| {
                    *who == watcher && change.node == name(node) && change.to == Some(wanted)
                });
                let (at, ..) = seen.unwrap_or_else(|| panic!("{} never saw it", name(watcher)));
                at.saturating_since(start)
            })
            .collect()
    }

    fn deaths(&self) -> usize {
        self.changes.iter().filter(|(_, _, change)| change.to == Some(Liveness::Dead)).count()
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[rstest]
#[case(3, SECOND, 60)]
#[case(10, SECOND, 30)]
#[case(100, SECOND, 2)]
#[case(3, ms(100), 60)]
#[case(10, ms(100), 30)]
#[case(100, ms(100), 2)]
fn a_killed_speaker_is_noticed_by_all_after_two_to_three_intervals(
    #[case] count: usize,
    #[case] interval: Duration,
    #[case] rounds: u64,
) {
    let mut times = Vec::new();
    for round in 0..rounds {
        let mut network = Network::settled(count, interval, round);
        let moment = network.jitter.scale(interval, 0.0, 3.0);
        network.run(moment);
        network.kill(1);
        times.extend(network.until_all_see(1, Liveness::Dead, interval * 4));
        assert_eq!(network.deaths(), count - 1, "nobody else died");
    }
    times.sort_unstable();
    println!(
        "{count} nodes, {interval:?} x 3: noticed after p50 {:?}, p99 {:?}, max {:?}",
        percentile(&times, 50),
        percentile(&times, 99),
        times[times.len() - 1],
    );
    assert!(times[0] >= interval * 2, "too early: {:?}", times[0]);
    assert!(times[times.len() - 1] <= interval * 3 + ms(1), "too late: {:?}", times[times.len() - 1]);
}

#[test]
fn leaving_is_believed_at_once_even_if_datagrams_are_lost() {
    let mut network = Network::settled(10, SECOND, 1);
    network.run(ms(350));
    network.loss = 0.15;
    let start = network.now;
    network.input(1, Input::Leave);
    assert!(!network.live(1).contains(&name(1)));
    let times = network.until_all_see(1, Liveness::Left, SECOND * 4);
    // 0.15³ is 1/300: with this seed the farewells reach everybody within the three tries.
    assert!(times.iter().all(|time| *time < ms(60)), "{times:?}");
    assert!(network.node(1).left());
    assert_eq!(network.node(1).next_deadline(), None);
    assert!(network.now > start);
}

#[test]
fn one_per_cent_loss_kills_nobody_and_five_erode_nothing() {
    let mut network = Network::settled(10, SECOND, 1);
    // Expected is one false death in 17 such runs, 57,000 heartbeats times 0.01³: this seed has none.
    network.loss = 0.01;
    network.run(Duration::from_secs(600));
    assert_eq!(network.deaths(), 0);
    network.loss = 0.05;
    network.run(Duration::from_secs(600));
    let deaths = network.deaths();
    // 90 pairs and some 630 heartbeats each, of which a run of three is lost with 0.05³ = 1/8000.
    assert!((1..40).contains(&deaths), "{deaths}");
    network.loss = 0.0;
    network.run(SECOND * 2);
    for node in 0..10 {
        assert_eq!(network.live(node).len(), 10, "{}", name(node));
    }
}

#[test]
fn a_starting_speaker_steals_nothing_and_gives_up_on_the_dead_in_time() {
    let mut network = Network::settled(3, SECOND, 4);
    network.kill(0);
    network.kill(1);
    network.run(SECOND * 10);
    let start = network.now;
    network.start(1);
    network.run(ms(10));
    assert_eq!(network.sees(1, 2), Liveness::Alive, "heard within round trips");
    assert_eq!(network.sees(1, 0), Liveness::Presumed);
    assert_eq!(network.node(1).state(), State::Joining, "it waits for the one that it does not hear");
    assert_eq!(network.live(1), [name(2)].into());
    network.run(SECOND * 4);
    assert_eq!(network.live(1), [name(1), name(2)].into());
    assert_eq!(network.sees(2, 1), Liveness::Alive);
    let (at, ..) = network
        .changes
        .iter()
        .find(|(_, who, change)| *who == 1 && change.node == name(0) && change.to == Some(Liveness::Dead))
        .expect("noticed");
    assert_eq!(at.saturating_since(start), SECOND * 3);
}

#[test]
fn a_quick_restart_moves_nothing() {
    let mut network = Network::settled(3, SECOND, 5);
    network.kill(1);
    network.run(ms(500));
    network.start_joining(1);
    network.run(ms(800));
    assert_eq!(network.sees(0, 1), Liveness::Alive, "its earlier boot still counts");
    assert!(!network.live(1).contains(&name(1)), "it is not elected by itself yet");
    network.input(1, Input::Ready);
    network.run(SECOND * 5);
    assert_eq!(network.deaths(), 0);
    assert_eq!(network.live(0).len(), 3);
}

#[test]
fn one_that_only_joins_is_dead_in_the_end() {
    let mut network = Network::settled(3, SECOND, 6);
    network.kill(1);
    network.start_joining(1);
    network.run(SECOND * 10);
    assert_eq!(network.sees(0, 1), Liveness::Dead);
    network.input(1, Input::Ready);
    network.run(ms(2));
    assert_eq!(network.sees(0, 1), Liveness::Alive);
}

#[test]
fn a_one_way_partition_kills_one_way_and_is_healed_at_once() {
    let mut network = Network::settled(3, SECOND, 7);
    network.blocked.insert((0, 1));
    network.run(SECOND * 10);
    assert_eq!(network.sees(1, 0), Liveness::Dead);
    assert_eq!(network.sees(0, 1), Liveness::Alive);
    network.blocked.clear();
    network.repeats.clear();
    let healed = network.now;
    network.run(SECOND + ms(10));
    assert_eq!(network.sees(1, 0), Liveness::Alive);
    // Both may have had their addresses said by the other side.
    let repeating: BTreeSet<usize> = network.repeats.iter().map(|(_, node)| *node).collect();
    assert_eq!(repeating, [0, 1].into());
    assert!(network.repeats.iter().all(|(at, _)| at.saturating_since(healed) <= SECOND + ms(2)));
}

#[test]
fn a_split_cluster_is_whole_again_within_an_interval() {
    let mut network = Network::settled(5, SECOND, 8);
    for left in 0..2 {
        for right in 2..5 {
            network.blocked.extend([(left, right), (right, left)]);
        }
    }
    network.run(SECOND * 10);
    assert_eq!(network.live(0).len(), 2);
    assert_eq!(network.live(4).len(), 3);
    assert!(!network.node(0).isolated());
    network.blocked.clear();
    network.run(SECOND + ms(2));
    for node in 0..5 {
        assert_eq!(network.live(node).len(), 5);
    }
    let repeating: BTreeSet<usize> = network.repeats.iter().map(|(_, node)| *node).collect();
    assert_eq!(repeating.len(), 5);
}

#[test]
fn the_last_one_takes_all_and_says_that_it_is_alone() {
    let mut network = Network::settled(3, SECOND, 9);
    network.kill(1);
    network.run(SECOND * 4);
    assert!(!network.node(0).isolated());
    network.kill(2);
    network.run(SECOND * 4);
    assert!(network.node(0).isolated());
    assert_eq!(network.live(0), [name(0)].into());
}

#[test]
fn a_stopped_process_is_dead_to_others_and_kills_nobody_when_it_goes_on() {
    let mut network = Network::settled(3, SECOND, 10);
    let membership = network.take(1);
    network.nodes[1] = Process::Stopped(membership, Vec::new());
    network.run(SECOND * 20);
    assert_eq!(network.sees(0, 1), Liveness::Dead);
    network.changes.clear();
    network.resume(1);
    assert_eq!(network.stalls, [1]);
    network.run(SECOND);
    assert_eq!(network.deaths(), 0, "silence while it was stopped proves nothing");
    assert_eq!(network.sees(0, 1), Liveness::Alive);
    assert!(network.repeats.iter().any(|(_, node)| *node == 1));
    // But those who really died meanwhile are noticed.
    let membership = network.take(1);
    network.nodes[1] = Process::Stopped(membership, Vec::new());
    network.kill(2);
    network.run(SECOND * 20);
    network.resume(1);
    network.run(SECOND * 3 + ms(1));
    assert_eq!(network.sees(1, 2), Liveness::Dead);
}

#[test]
fn a_paused_machine_kills_nobody_when_it_goes_on() {
    let mut network = Network::settled(10, ms(100), 11);
    let membership = network.take(1);
    network.nodes[1] = Process::Paused(membership);
    network.run(SECOND * 60);
    network.changes.clear();
    network.resume(1);
    network.run(SECOND);
    assert_eq!(network.deaths(), 0);
    assert_eq!(network.live(1).len(), 10);
}

#[test]
fn recordings_bring_nobody_back() {
    let mut network = Network::settled(3, SECOND, 12);
    network.record = Some(Vec::new());
    network.run(SECOND * 5);
    // A second boot of the sender, so that there are recordings of two.
    network.kill(1);
    network.start(1);
    network.run(SECOND * 5);
    network.kill(1);
    network.run(SECOND * 4);
    assert_eq!(network.sees(0, 1), Liveness::Dead);
    let record = network.record.take().expect("recorded");
    assert!(record.len() > 40);
    network.changes.clear();
    let replay = |network: &mut Network| {
        for (to, octets) in &record {
            let at = network.now + ms(1);
            network.deliver(*to, octets.clone(), at);
        }
        network.run(SECOND * 2);
    };
    replay(&mut network);
    assert_eq!(network.sees(0, 1), Liveness::Dead);
    assert!(network.ignored["replayed"] > 0 && network.ignored["unproven"] > 0, "{:?}", network.ignored);
    // Nor when the receiver has started anew and knows nothing.
    network.kill(0);
    network.start(0);
    network.run(SECOND * 4);
    replay(&mut network);
    assert_eq!(network.sees(0, 1), Liveness::Dead);
    assert_eq!(network.sees(0, 2), Liveness::Alive, "those who live were not disturbed");
    assert!(
        network
            .changes
            .iter()
            .all(|(_, _, change)| !(change.node == name(1) && change.to == Some(Liveness::Alive)))
    );
    // The genuine one still can.
    network.start(1);
    network.run(SECOND * 2);
    assert_eq!(network.sees(0, 1), Liveness::Alive);
    assert_eq!(network.sees(2, 1), Liveness::Alive);
}

#[test]
fn recordings_draw_no_flood() {
    let mut network = Network::settled(2, SECOND, 13);
    network.record = Some(Vec::new());
    network.kill(1);
    network.start(1);
    network.run(SECOND);
    let greeting =
        network.record.take().expect("recorded").into_iter().find(|(to, _)| *to == 0).expect("one");
    network.kill(1);
    network.record = Some(Vec::new());
    for step in 0..10_000u64 {
        let at = network.now + Duration::from_micros(100 * step);
        network.deliver(0, greeting.1.clone(), at);
    }
    network.run(SECOND);
    let answers = network.record.take().expect("recorded").len();
    assert!(answers <= 8, "{answers} answers to 10,000 replayed datagrams");
}

fn message<'a>(sender: &'a str, receiver: &'a str) -> Message<'a> {
    Message {
        state: State::Leaving,
        hears_receiver: true,
        gathering: false,
        boot: 1,
        sequence: 1_000_000,
        heard_boot: 1,
        heard_sequence: 1,
        interval_ms: 1000,
        wanted_ms: 1000,
        statement: 1,
        heard_statement: 0,
        part: None,
        cluster: "cluster",
        sender,
        receiver,
    }
}

#[test]
fn strangers_are_named_and_change_nothing() {
    let mut network = Network::settled(2, SECOND, 14);
    let wrong = Keys::new(&[[8; 32]]).expect("long enough");
    let (me, peer) = (name(0), name(1));
    let whole = message(&peer, &me).encode(&keys());
    let cases = [
        (Vec::new(), Ignored::Foreign),
        (vec![0; 300], Ignored::Foreign),
        (whole[..whole.len() - 1].to_vec(), Ignored::Forged),
        (message(&peer, &me).encode(&wrong), Ignored::Forged),
        (Message { cluster: "other", ..message(&peer, &me) }.encode(&keys()), Ignored::OtherCluster),
        (message(&peer, "node-009").encode(&keys()), Ignored::OtherReceiver),
        (message(&me, &me).encode(&keys()), Ignored::FromSelf),
        (message("node-009", &me).encode(&keys()), Ignored::UnknownSender),
        // The right key, but a boot that echoes nothing of ours.
        (whole, Ignored::Unproven),
    ];
    for (octets, reason) in cases {
        let Process::Running(membership) = &mut network.nodes[0] else { panic!("it runs") };
        let out = membership.handle(Input::Datagram(&octets), network.now);
        assert_eq!(out.ignored, Some(reason));
        assert_eq!((out.changes, out.live_changed), (Vec::new(), false));
        assert_eq!(network.sees(0, 1), Liveness::Alive);
    }
}

#[test]
fn another_key_or_cluster_isolates() {
    let mut network = Network::settled(2, SECOND, 15);
    network.input(0, Input::Keys(Keys::new(&[[8; 32]]).expect("long enough")));
    network.run(SECOND * 4);
    assert!(network.node(0).isolated() && network.node(1).isolated());
    assert!(network.ignored["forged"] > 4);
    network.input(1, Input::Keys(Keys::new(&[[8; 32], KEY]).expect("long enough")));
    network.run(SECOND + ms(10));
    assert_eq!(network.sees(0, 1), Liveness::Alive);
    assert_eq!(network.sees(1, 0), Liveness::Alive);
}

#[test]
fn a_key_is_changed_node_by_node_without_a_death() {
    let mut network = Network::settled(4, SECOND, 16);
    let (old, new) = (KEY, [9; 32]);
    // First everybody accepts the new one, then everybody signs with it, then the old one goes.
    for secrets in [vec![old, new], vec![new, old], vec![new]] {
        for node in 0..4 {
            network.input(node, Input::Keys(Keys::new(&secrets).expect("long enough")));
            network.run(SECOND * 2);
        }
    }
    assert_eq!(network.deaths(), 0);
}

#[test]
fn a_faster_setting_is_rolled_out_node_by_node_without_a_death() {
    let mut network = Network::settled(4, SECOND, 17);
    network.interval = ms(100);
    for node in 0..4 {
        network.input(node, Input::Leave);
        network.run(ms(100));
        network.start(node);
        network.run(SECOND * 5);
    }
    assert_eq!(network.deaths(), 0);
    network.kill(3);
    let times = network.until_all_see(3, Liveness::Dead, SECOND);
    assert!(times.iter().all(|time| *time <= ms(301)), "{times:?}");
}

fn watch(network: &mut Network, node: usize, watched: &[usize]) {
    let watched = watched.iter().map(|node| name(*node)).collect();
    network.input(node, Input::Watch(&watched));
}

/// Of `count` nodes that beat slowly.
fn slow_network(count: usize, seed: u64) -> Network {
    let mut network = Network::new(count, ms(100), seed);
    network.slow = Some(SECOND);
    for node in 0..count {
        network.start(node);
    }
    network.run(SECOND * 3);
    assert!((0..count).all(|node| network.live(node).len() == count));
    network.changes.clear();
    network
}

#[test]
fn only_those_who_watch_each_other_beat_fast_and_one_of_two_is_enough() {
    let mut network = slow_network(5, 20);
    watch(&mut network, 0, &[1]);
    network.run(ms(250));
    network.record = Some(Vec::new());
    network.run(SECOND * 10);
    let record = network.record.take().expect("recorded");
    let to = |node: usize| record.iter().filter(|(to, _)| *to == node).count();
    // Fast between the two, each way 10 to 11.2 a second; slow 1 to 1.2 from each of the others.
    for node in [0, 1] {
        assert!((100 + 30..=113 + 37).contains(&to(node)), "{} heartbeats to {node}", to(node));
    }
    for node in [2, 3, 4] {
        assert!((40..=48).contains(&to(node)), "{} heartbeats to {node}", to(node));
    }
    // The watched one is missed soon by the one that watches, and later by the others.
    network.kill(1);
    let start = network.now;
    network.run(SECOND * 4);
    for (at, who, change) in &network.changes {
        assert_eq!((change.node.as_str(), change.to), (name(1).as_str(), Some(Liveness::Dead)));
        let took = at.saturating_since(start);
        let expected = if *who == 0 { ms(200)..ms(301) } else { ms(2000)..ms(3001) };
        assert!(expected.contains(&took), "{who}: {took:?}");
    }
    assert_eq!(network.deaths(), 4);
}

#[test]
fn getting_slower_is_said_in_time_even_with_loss() {
    let mut network = slow_network(2, 21);
    network.loss = 0.02;
    for _ in 0..100 {
        watch(&mut network, 0, &[1]);
        network.run(ms(700));
        watch(&mut network, 0, &[]);
        network.run(ms(1900));
    }
    // Only three or more losses in a row could do that: 0.02³ at some 3,000 heartbeats.
    assert_eq!(network.deaths(), 0);
}

#[test]
fn large_clusters_beat_more_slowly_so_that_no_node_sends_more() {
    for count in [40, 80] {
        let mut network = slow_network(count, 22);
        network.record = Some(Vec::new());
        network.run(SECOND * 8);
        let each = network.record.take().expect("recorded").len() as f64 / count as f64 / 8.0;
        println!("{count} nodes at rest: {each:.1} heartbeats per second and node");
        assert!(each <= 1.15 * SLOW_PEERS as f64, "{each}");
        assert_eq!(network.deaths(), 0);
    }
}

#[test]
fn statements_arrive_whole_in_many_parts_and_with_loss() {
    let mut network = slow_network(3, 23);
    watch(&mut network, 0, &[1]);
    network.run(ms(300));
    network.loss = 0.2;
    let holds = |count: u32| {
        let holds = (0..count).map(|n| (std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), n)).collect();
        Statement { holds, ..Statement::default() }
    };
    for count in [1, 1000, 10_000, 999, 0] {
        network.input(0, Input::Say(holds(count)));
        network.run(SECOND * 6);
        for node in [1, 2] {
            let known = network.node(node).fleet().statements.remove(&name(0)).expect("known");
            assert_eq!(known.holds.len(), count as usize, "{}", name(node));
            assert_eq!(*known, holds(count));
        }
    }
    // To a close peer, without loss, it takes no more than the way.
    network.loss = 0.0;
    network.run(SECOND * 3);
    network.input(0, Input::Say(holds(1000)));
    network.run(ms(1));
    assert_eq!(*network.node(1).fleet().statements[&name(0)], holds(1000));
}

#[test]
fn one_that_starts_knows_all_statements_before_it_lives() {
    let mut network = slow_network(10, 24);
    for node in 0..9 {
        let holds = [(std::net::Ipv4Addr::from(0x0a00_0000 + node as u32).into(), 7)].into();
        network.input(node, Input::Say(Statement { holds, ..Statement::default() }));
    }
    network.kill(9);
    network.run(SECOND * 4);
    let start = network.now;
    network.start(9);
    while network.node(9).state() == State::Joining {
        assert!(network.step(start + SECOND));
    }
    assert!(network.now.saturating_since(start) < ms(50), "{:?}", network.now.saturating_since(start));
    let fleet = network.node(9).fleet();
    assert!((0..9).all(|node| fleet.statements[&name(node)].holds.len() == 1));
}

#[test]
fn nodes_come_and_go() {
    let mut network = Network::settled(3, SECOND, 18);
    let peers: BTreeMap<String, Option<SocketAddr>> =
        [(name(0), None), (name(1), Some(address(1))), ("new".into(), None)].into();
    network.input(0, Input::Peers(&peers));
    assert_eq!(network.live(0), [name(0), name(1)].into());
    network.run(SECOND * 4);
    assert_eq!(network.live(0), [name(0), name(1)].into(), "one without an address is never heard");
    let new = network.node(0).snapshot(network.now).into_iter().find(|peer| peer.node == "new");
    assert_eq!(new.expect("a peer").liveness, Liveness::Dead);
    assert_eq!(network.ignored.keys().copied().collect::<Vec<_>>(), ["unknownSender"]);
}

#[test]
fn heartbeats_cost_what_they_should() {
    let mut network = Network::settled(10, SECOND, 19);
    network.record = Some(Vec::new());
    network.run(Duration::from_secs(100));
    let record = network.record.take().expect("recorded");
    let per_pair = record.len() as f64 / 90.0 / 100.0;
    assert!((1.0..1.12).contains(&per_pair), "{per_pair} per second and peer");
    assert!(record.iter().all(|(_, octets)| octets.len() < 130));
}
