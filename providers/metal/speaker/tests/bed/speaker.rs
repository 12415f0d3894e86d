//! A speaker as a process of its own in a node's namespace, and its handle. It prints what it announces, one line each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use causeway_api::{Endpoints, EndpointsPerNode, Layer, LbKey, ObjectRef, OwnObject, OwnObjects};
use causeway_metal::advertisement::L2Advertisement;
use causeway_metal::announce::{Announcement, When, World};
use causeway_metal::candidates::NodeFacts;
use causeway_metal::fleet::Rules;
use causeway_metal::pool::Pools;
use causeway_speaker::inquiry::{self, Phase};
use causeway_speaker::interfaces::Exclude;
use causeway_speaker::l2::Timing;
use causeway_speaker::membership::Keys;
use causeway_speaker::routers::RouterChannels;
use causeway_speaker::{Channels, Config, Heartbeats, Metrics, SpeakerEvent, View};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::segment::{Bed, this_program};

const NODES: [(&str, &str); 2] = [("n1", "10.77.0.1"), ("n2", "10.77.0.2")];

fn own(kind: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, "metallb-system", "it", spec)
}

fn world(vips: &[String]) -> World {
    let pool = own("IPAddressPool", json!({"addresses": ["10.77.0.100-10.77.0.200", "fd77::100-fd77::1ff"]}));
    let objects =
        OwnObjects { objects: vec![pool, own("L2Advertisement", json!({}))], ..OwnObjects::default() };
    let (pools, problems) = Pools::new(&objects);
    assert!(problems.is_empty(), "{problems:?}");
    let (advertisements, problems) = L2Advertisement::parse_all(&objects);
    assert!(problems.is_empty(), "{problems:?}");
    let announcements = vips.iter().map(|vip| {
        let object = ObjectRef::service("default", format!("of-{vip}"), vip.clone());
        let key = LbKey::object(Layer::L4, object.clone());
        let ready = EndpointsPerNode { ready: 1, serving: 1 };
        let announcement = Announcement {
            key: key.clone(),
            object,
            addresses: vec![vip.parse().expect("an address")],
            labels: BTreeMap::new(),
            shares_address: false,
            when: When::ClusterEndpoints,
            endpoints: Endpoints { by_node: [("n1".into(), ready)].into(), ..Endpoints::default() },
            single_announcer: false,
        };
        (key, Arc::new(announcement))
    });
    World {
        pools: Arc::new(pools),
        advertisements: Arc::new(advertisements),
        nodes: Arc::new(NODES.iter().map(|(name, _)| ((*name).to_owned(), NodeFacts::default())).collect()),
        announcements: announcements.collect(),
        ..World::default()
    }
}

fn view(vips: &[String]) -> View {
    let peers =
        NODES.iter().map(|(name, address)| ((*name).to_owned(), vec![address.parse().expect("an address")]));
    View { world: Arc::new(world(vips)), peers: Arc::new(peers.collect()), ..View::default() }
}

/// The process: `speak NODE VIP…`, until SIGTERM. Each line of its input replaces the addresses.
pub fn speak(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (node, vips) = arguments.split_first().expect("a node name");
        let (views, viewed) = watch::channel(Some(view(vips)));
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                let vips: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                views.send_replace(Some(view(&vips)));
            }
            // The last ones stay valid without the sender.
        });
        let (_keys, keys) = watch::channel(Some(Keys::new(&[[5u8; 32]]).expect("long enough")));
        let (events, mut told) = mpsc::channel(1000);
        let (_ask, snapshots) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(event) = told.recv().await {
                let line = match event {
                    SpeakerEvent::AnnouncementStarted { addresses, interfaces, .. } => {
                        format!("+ {} {}", addresses[0], interfaces.join(","))
                    }
                    SpeakerEvent::AnnouncementStopped { addresses, .. } => format!("- {}", addresses[0]),
                    SpeakerEvent::Conflict { address, mac, interface, phase } => {
                        let phase = if phase == Phase::Probe { "probe" } else { "announced" };
                        format!("! {address} {mac} {interface} {phase}")
                    }
                    SpeakerEvent::ConflictResolved { address } => format!("= {address}"),
                    other => format!("# {other:?}"),
                };
                // The reader may have gone.
                let _gone = writeln!(std::io::stdout(), "{line}");
            }
        });
        let config = Config {
            node: node.clone(),
            cluster: "bed".into(),
            heartbeats: Some(Heartbeats::default()),
            exclude: Exclude::default_patterns(),
            timing: Timing::default(),
            inquiry: inquiry::Settings { recheck: Duration::from_secs(2), ..Default::default() },
            rules: Rules::default(),
            kube_proxy: None,
        };
        // Nobody listens to what is told of routers.
        let routers = RouterChannels {
            routing: watch::channel(Arc::default()).0,
            sessions: watch::channel(Arc::default()).0,
        };
        let channels = Channels { view: viewed, keys, events, snapshots, routers };
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .expect("signals can be caught");
        let shutdown = async move {
            terminate.recv().await;
        };
        causeway_speaker::run(config, channels, Metrics::new(), shutdown).await.expect("it runs");
    });
}

/// A running speaker.
pub struct Speaker {
    child: Child,
    input: ChildStdin,
    announced: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    conflicts: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Speaker {
    pub fn start(bed: &Bed, node: &str, vips: &[&str]) -> Self {
        // `ip netns exec` becomes the program, so that the child's id is the speaker's.
        let mut child = Command::new("ip")
            .args(["netns", "exec", &bed.namespace(node), &this_program(), "speak", node])
            .args(vips)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`ip` of iproute2 is needed");
        let output = child.stdout.take().expect("piped");
        let announced = Arc::new(Mutex::new(BTreeMap::new()));
        let conflicts = Arc::new(Mutex::new(BTreeMap::new()));
        let (known, met) = (Arc::clone(&announced), Arc::clone(&conflicts));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                let mut known = known.lock().expect("not poisoned");
                match words[..] {
                    ["+", vip, interfaces] => {
                        let names = interfaces.split(',').map(str::to_owned).collect();
                        known.insert(vip.to_owned(), names);
                    }
                    ["-", vip] => drop(known.remove(vip)),
                    ["!", vip, mac, interface, phase] => {
                        let conflict = format!("{mac} {interface} {phase}");
                        met.lock().expect("not poisoned").insert(vip.to_owned(), conflict);
                    }
                    ["=", vip] => drop(met.lock().expect("not poisoned").remove(vip)),
                    _ => println!("{line}"),
                }
            }
        });
        let input = child.stdin.take().expect("piped");
        Speaker { child, input, announced, conflicts }
    }

    /// Services have these addresses from now on.
    pub fn give(&mut self, vips: &[&str]) {
        writeln!(self.input, "{}", vips.join(" ")).expect("it runs");
    }

    /// The conflict about an address: MAC, interface, phase.
    pub fn conflict(&self, vip: &str) -> Option<String> {
        self.conflicts.lock().expect("not poisoned").get(vip).cloned()
    }

    /// The addresses that it says it announces.
    pub fn announced(&self) -> BTreeSet<String> {
        self.announced.lock().expect("not poisoned").keys().cloned().collect()
    }

    /// On which interfaces.
    pub fn interfaces(&self, vip: &str) -> Vec<String> {
        self.announced.lock().expect("not poisoned").get(vip).cloned().unwrap_or_default()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was ours");
    }

    /// SIGTERM, and the end within half a second.
    pub fn terminate(mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("`kill` is there");
        assert!(sent.success());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was ours") {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(2), "it does not end");
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // For a scenario that failed half-way; one that ended cannot be killed again, which is as well.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
