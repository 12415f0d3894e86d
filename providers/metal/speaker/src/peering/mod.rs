//! BGP sessions at work: sockets, timers, and what is told of them. I/O; [`crate::bgp`] decides everything, and [`target`] what the configuration comes to here.
//!
//! ```text
//!   Desired (peers and their routes) ─┐
//!   links, neighbours (netlink) ──────┤
//!   BFD ──────────────────────────────┼─▶ run ─▶ one bgp::Session per peer ◀─▶ TCP
//!   shutdown (how to end) ────────────┘    └──▶ statuses, events, metrics, snapshot
//! ```
//!
//! One task owns all sessions and sockets. It waits for whatever comes first, then takes from every connection what is there (a bounded share each, so that a flood
//! on one delays the others by less than a millisecond), and then looks at the timers: so a peer is never taken for silent whose messages wait in a socket.
//!
//! - A peer whose configuration changed gets a new session, and no other does. Whether it changed is judged by [`Target`]: what a session is made of. A changed password
//!   is such a change. Where graceful restart is agreed upon the old connection ends without a NOTIFICATION, so that the peer keeps the routes meanwhile.
//! - **TTL**: 1 to a peer in another AS; 255 within an AS, with multihop, and with TTL security, where packets that come with less than 256 - hops are dropped.
//! - **Passwords** are the kernel's business (TCP MD5 signatures, RFC 2385). A wrong one looks like a peer that does not answer.
//! - **Passive peers** are listened for, on port [`Config::listen_port`]: at their source address if they have one, or else at all addresses of their family. The port is bound
//!   only while there is a passive peer, since other programs of a node may want it. Connections of peers that are not passive are welcome as well then.
//! - **Unnumbered peers** (an interface instead of an address) are looked for in the kernel's neighbour table: see [`neighbours`]. They are told where this node is
//!   by router advertisements: see [`advertise`].
//! - **Next hops** are the addresses of the interface that a connection leaves by: see [`local`]. When they change, routes are told anew.

mod advertise;
mod local;
mod metrics;
mod neighbours;
mod peer;
mod rim;
mod snapshot;
mod socket;
mod target;
mod task;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use causeway_metal::bgp::{BgpConfig, Peer, RibOut};
use tokio::sync::{mpsc, oneshot, watch};

pub use metrics::{BgpMetrics, ByPeer};
pub use neighbours::Neighbours;
pub use snapshot::{ListenerSnapshot, PeerSnapshot, PeeringSnapshot};
pub use target::{Target, router_id};

use crate::bgp::{State, StopReason};
use crate::interfaces::Links;

/// The port of BGP.
pub const PORT: u16 = 179;

/// How peering is to work.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: String,
    /// The port to listen on for passive peers: [`PORT`].
    pub listen_port: u16,
    /// A random number, for spreading timers.
    pub seed: u64,
}

/// Whom to speak with, and what to tell.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The peers, by name.
    pub peers: BTreeMap<String, Wish>,
    /// This node's addresses, as Kubernetes has them.
    pub addresses: Vec<IpAddr>,
}

/// A peer and its routes.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The peer.
    pub peer: Arc<Peer>,
    /// The routes that it is to have.
    pub routes: Arc<RibOut>,
}

impl Desired {
    /// Out of the configuration and of what was decided about routes. What is equal to `before` is shared with it.
    pub fn new(
        config: &BgpConfig,
        routes: BTreeMap<String, RibOut>,
        addresses: Vec<IpAddr>,
        before: Option<&Desired>,
    ) -> Self {
        let peers = routes.into_iter().filter_map(|(name, routes)| {
            let peer = Arc::clone(config.peers.get(&name)?);
            let known = before.and_then(|before| before.peers.get(&name)).map(|wish| &wish.routes);
            let routes = match known {
                Some(known) if **known == routes => Arc::clone(known),
                _ => Arc::new(routes),
            };
            Some((name, Wish { peer, routes }))
        });
        Desired { peers: peers.collect(), addresses }
    }
}

/// What BFD says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdNews {
    /// The peer's name.
    pub peer: String,
    /// Whether it is reached now.
    pub up: bool,
}

/// A session's state is another one now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeeringEvent {
    /// The peer's name.
    pub peer: String,
    /// State.
    pub state: State,
    /// Why, if something led back to it.
    pub why: Option<String>,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// State.
    pub state: State,
    /// Our end, while there is a connection.
    pub local: Option<SocketAddr>,
    /// The peer's end.
    pub remote: Option<SocketAddr>,
    /// Why it is not established, if something is known about it.
    pub why: Option<String>,
}

/// The sessions by name of their peer.
pub type Statuses = BTreeMap<String, PeerStatus>;

/// Where running sessions get their inputs from, and what they tell.
#[derive(Debug)]
pub struct Channels {
    /// Whom to speak with; `None` means: not known yet, so nobody is spoken with. When the sender goes, the last one stays valid.
    pub desired: watch::Receiver<Option<Arc<Desired>>>,
    /// This node's interfaces. Nothing is begun before they are known.
    pub links: watch::Receiver<Option<Arc<Links>>>,
    /// What BFD says.
    pub bfd: mpsc::UnboundedReceiver<BfdNews>,
    /// The state of all sessions, whenever it changes.
    pub statuses: watch::Sender<Arc<Statuses>>,
    /// The same as events. Never waited for: what finds the channel full is dropped.
    pub events: mpsc::Sender<PeeringEvent>,
    /// Questions for the state.
    pub snapshots: mpsc::Receiver<oneshot::Sender<PeeringSnapshot>>,
}

/// Runs the sessions until `shutdown` says how to end, then ends them in that way and returns. A port below 1024 needs `CAP_NET_BIND_SERVICE`.
pub async fn run(
    config: Config,
    channels: Channels,
    metrics: BgpMetrics,
    shutdown: impl Future<Output = StopReason>,
) {
    task::run(config, channels, metrics, shutdown).await;
}
