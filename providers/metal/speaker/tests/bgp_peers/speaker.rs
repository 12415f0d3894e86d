//! Our BGP sessions in a node's namespace: a thread with a runtime of its own, as a process would be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_api::{Kind, ObjectRef};
use causeway_bed::{Namespace, Signal};
use causeway_metal::bgp::{Families, Password, Peer, PeerTo, RemoteAsn, RibOut, RouteAttributes};
use causeway_speaker::bgp::{State, StopReason};
use causeway_speaker::netlink;
use causeway_speaker::peering::{
    BfdNews, BgpMetrics, Channels, Config, Desired, PORT, PeerStatus, PeeringSnapshot, Statuses, Wish, run,
};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};

/// Long enough for anything that should happen at once on a machine with other work to do.
pub const SOON: Duration = Duration::from_secs(30);

/// A peer with nothing special about it.
pub fn peer(asn: u32, to: impl Into<IpAddr>, remote: u32) -> Peer {
    Peer {
        name: "router".into(),
        object: ObjectRef {
            kind: Kind::Own("BGPPeer".into()),
            namespace: "metallb-system".into(),
            name: "router".into(),
            uid: "".into(),
        },
        created: None,
        asn,
        remote: RemoteAsn::Is(remote),
        local_asn: None,
        to: PeerTo::Address(to.into()),
        source: None,
        port: PORT,
        hold: Duration::from_secs(90),
        keepalive: Duration::from_secs(30),
        connect: Duration::from_secs(1),
        router_id: None,
        node_selectors: Vec::new(),
        password: None,
        bfd: None,
        graceful_restart: false,
        multihop: false,
        families: Families::OfSession,
        passive: false,
        ttl_security: None,
    }
}

pub fn password(text: &str) -> Option<Password> {
    Some(Password::new(text.as_bytes()))
}

/// Routes with these attributes.
pub fn with(attributes: RouteAttributes, prefixes: &[&str]) -> RibOut {
    let attributes = Arc::new(attributes);
    prefixes.iter().map(|prefix| (prefix.parse().expect("a prefix"), Arc::clone(&attributes))).collect()
}

/// Routes with nothing special about them.
pub fn plain(prefixes: &[&str]) -> RibOut {
    with(RouteAttributes::default(), prefixes)
}

/// How it is to end.
enum End {
    Well(StopReason),
    Killed,
}

pub struct Speaker {
    address: IpAddr,
    desired: watch::Sender<Option<Arc<Desired>>>,
    pub statuses: watch::Receiver<Arc<Statuses>>,
    pub bfd: mpsc::UnboundedSender<BfdNews>,
    snapshots: mpsc::Sender<oneshot::Sender<PeeringSnapshot>>,
    metrics: BgpMetrics,
    end: oneshot::Sender<End>,
    thread: JoinHandle<Result<()>>,
}

impl Speaker {
    /// In a namespace, on a node with this address.
    pub fn start(namespace: &Namespace, address: impl Into<IpAddr>) -> Result<Speaker> {
        let address = address.into();
        let (desired, desired_in) = watch::channel(None);
        let (statuses_out, statuses) = watch::channel(Arc::default());
        let (bfd, bfd_in) = mpsc::unbounded_channel();
        let (snapshots, snapshots_in) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let metrics = BgpMetrics::default();
        let counted = metrics.clone();
        let node = namespace.name().to_owned();
        let thread = namespace.spawn_inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let (links_out, links) = watch::channel(None);
                tokio::spawn(netlink::watch(links_out));
                let (events, mut told) = mpsc::channel(100);
                tokio::spawn(async move {
                    while let Some(event) = told.recv().await {
                        println!("{event:?}");
                    }
                });
                let channels = Channels {
                    desired: desired_in,
                    links,
                    bfd: bfd_in,
                    statuses: statuses_out,
                    events,
                    snapshots: snapshots_in,
                };
                let (well, shutdown) = oneshot::channel();
                let config = Config { node, listen_port: PORT, seed: 7 };
                let running = run(config, channels, counted, async {
                    match shutdown.await {
                        Ok(reason) => reason,
                        Err(_) => std::future::pending().await,
                    }
                });
                tokio::pin!(running);
                tokio::select! {
                    () = &mut running => {}
                    end = ended => if let Ok(End::Well(reason)) = end {
                        let _gone = well.send(reason);
                        running.await;
                    }
                }
                // Killed: every socket is closed by the kernel, and nothing is said.
            });
            Ok(())
        })?;
        Ok(Speaker { address, desired, statuses, bfd, snapshots, metrics, end, thread })
    }

    /// These are the peers and their routes from now on.
    pub fn want(&self, peers: Vec<(Peer, RibOut)>) {
        let peers = peers.into_iter().map(|(peer, routes)| {
            (peer.name.clone(), Wish { peer: Arc::new(peer), routes: Arc::new(routes) })
        });
        let desired = Desired { peers: peers.collect(), addresses: vec![self.address] };
        self.desired.send_replace(Some(Arc::new(desired)));
    }

    /// Waits until the session with the peer `router` is so.
    pub async fn wait(&mut self, what: &str, holds: impl Fn(&PeerStatus) -> bool) -> Result<PeerStatus> {
        self.wait_within(SOON, what, holds).await
    }

    pub async fn wait_within(
        &mut self,
        limit: Duration,
        what: &str,
        holds: impl Fn(&PeerStatus) -> bool,
    ) -> Result<PeerStatus> {
        let found = tokio::time::timeout(limit, async {
            self.statuses
                .wait_for(|all| all.get("router").is_some_and(&holds))
                .await
                .map(|all| all["router"].clone())
        });
        match found.await {
            Ok(found) => found.context("it ended"),
            Err(_) => anyhow::bail!("not within {limit:?}: {what}; {:?}", self.statuses.borrow()),
        }
    }

    pub async fn wait_up(&mut self) -> Result<PeerStatus> {
        self.wait("to be up", |status| status.state == State::Established).await
    }

    /// Waits until it says this about a session that is not up.
    pub async fn wait_why(&mut self, text: &str) -> Result<PeerStatus> {
        self.wait(text, |status| status.why.as_ref().is_some_and(|why| why.contains(text))).await
    }

    pub async fn snapshot(&self) -> Result<PeeringSnapshot> {
        let (question, answer) = oneshot::channel();
        ensure!(self.snapshots.send(question).await.is_ok(), "it ended");
        answer.await.context("it ended")
    }

    /// The value of a metric of the only peer.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
        let start = format!("metallb_bgp_{name}{{");
        let line = text.lines().find(|line| line.starts_with(&start))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Ends it as it is told to.
    pub fn stop(self, reason: StopReason) -> Result<()> {
        let _gone = self.end.send(End::Well(reason));
        self.thread.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    }

    /// Ends it as SIGKILL would.
    pub fn kill(self) -> Result<()> {
        let _gone = self.end.send(End::Killed);
        self.thread.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    }
}

/// The names of the peers that it speaks with.
pub fn names(statuses: &watch::Receiver<Arc<Statuses>>) -> BTreeMap<String, State> {
    statuses.borrow().iter().map(|(name, status)| (name.clone(), status.state)).collect()
}

/// Stops a router's daemon without its saying anything.
pub fn freeze(router: &causeway_bed::Router) -> Result<()> {
    router.speaker().signal(Signal::STOP)
}
