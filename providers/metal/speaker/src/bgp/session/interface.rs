//! What goes into a session and what comes out. Pure data.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::{Families, RemoteAsn, RibOut};
use serde::Serialize;

use super::connection::{ConnId, Ends, NextHops};
use super::stopping::StopReason;

/// How a session is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The peer's name, for people.
    pub name: String,
    /// Our AS number.
    pub asn: u32,
    /// Which AS number the peer must have.
    pub remote: RemoteAsn,
    /// The AS number that we go by with this peer instead of `asn`, in OPEN and in paths.
    pub local_asn: Option<u32>,
    /// BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Hold time that we offer, in whole seconds: 0 (none) or 3 and more.
    pub hold: Duration,
    /// Time between KEEPALIVEs, at most; never longer than a third of the hold time that is agreed upon.
    pub keepalive: Duration,
    /// The first wait before another attempt to connect.
    pub connect: Duration,
    /// The longest.
    pub connect_max: Duration,
    /// Whether to wait for the peer to connect.
    pub passive: bool,
    /// Families to speak. On an unnumbered link always both.
    pub families: Families,
    /// Whether to offer graceful restart.
    pub graceful_restart: Option<GracefulRestart>,
    /// Whether the link has no addresses but link-local ones.
    pub unnumbered: bool,
}

/// Graceful restart as it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long the peer is to keep our routes while we are away; up to 4095 seconds.
    pub time: Duration,
}

impl Settings {
    /// The AS number that we go by with this peer.
    pub fn own_asn(&self) -> u32 {
        self.local_asn.unwrap_or(self.asn)
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// [`super::Session::next_deadline`] has come. All that waits in the sockets is to be handed in before, so that a peer is not taken for silent whose messages wait there.
    Tick,
    /// A connection that [`Output::Connect`] asked for stands.
    Connected {
        /// Which.
        conn: ConnId,
        /// Between whom.
        ends: Ends,
    },
    /// It does not come about.
    ConnectFailed {
        /// Which.
        conn: ConnId,
        /// In words.
        why: &'a str,
    },
    /// The peer has connected.
    Accepted {
        /// A number of [`super::Session::accept`].
        conn: ConnId,
        /// Between whom.
        ends: Ends,
    },
    /// Octets came.
    Octets {
        /// On which connection.
        conn: ConnId,
        /// These.
        octets: &'a [u8],
    },
    /// The connection has ended by itself, or broke.
    Closed {
        /// Which.
        conn: ConnId,
        /// In words.
        why: &'a str,
    },
    /// The kernel has taken everything that [`Output::Send`] handed out. To be said after each, at once or later.
    Writable {
        /// Which.
        conn: ConnId,
    },
    /// The addresses of the interface are others now.
    NextHops {
        /// Of which connection.
        conn: ConnId,
        /// These.
        next_hops: NextHops,
    },
    /// These are the routes from now on.
    Routes(Arc<RibOut>),
    /// Something has changed that makes an attempt to connect promising: not to be waited for any longer.
    TryNow,
    /// BFD reaches the peer.
    BfdUp,
    /// It does not, any more.
    BfdDown,
    /// The session is to end.
    Stop(StopReason),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Connect to the peer: answered by [`Input::Connected`] or [`Input::ConnectFailed`], unless [`Output::Close`] comes first.
    Connect {
        /// Under this number.
        conn: ConnId,
    },
    /// Send these octets, behind those that were handed out before. [`Input::Writable`] when the kernel has all of them.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        octets: Vec<u8>,
    },
    /// Close a connection, or give the attempt up. What was handed out before is still sent as far as the kernel takes it at once.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// The session's state is another one now.
    Changed {
        /// This.
        state: State,
        /// Why, if it is one that something led back to.
        why: Option<String>,
    },
}

/// State of a session (RFC 4271 §8.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Stopped, or waiting after an error, with incoming connections refused.
    Idle,
    /// Waiting for the next attempt, or for the peer.
    Active,
    /// A TCP connection is on its way.
    Connect,
    /// It stands, and our OPEN is sent.
    OpenSent,
    /// The peer's OPEN fits.
    OpenConfirm,
    /// Routes are told.
    Established,
}

impl State {
    /// As routers call it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Idle => "Idle",
            State::Active => "Active",
            State::Connect => "Connect",
            State::OpenSent => "OpenSent",
            State::OpenConfirm => "OpenConfirm",
            State::Established => "Established",
        }
    }
}
