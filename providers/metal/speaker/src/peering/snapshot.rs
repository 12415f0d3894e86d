//! The sessions of a node, for people to look at. Pure.

use std::net::SocketAddr;

use serde::Serialize;

use crate::bgp::SessionSnapshot;

/// What `/debug/state` shows of BGP. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeeringSnapshot {
    /// The sessions.
    pub peers: Vec<PeerSnapshot>,
    /// Where passive peers are listened for.
    pub listeners: Vec<ListenerSnapshot>,
}

/// A session with its sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerSnapshot {
    /// The address or the interface of the peer.
    pub to: String,
    /// Its port.
    pub port: u16,
    /// TTL of what is sent.
    pub ttl: u8,
    /// What comes with less is dropped.
    pub minimum_ttl: Option<u8>,
    /// Whether there is a password.
    pub password: bool,
    /// Whether the peer is waited for.
    pub passive: bool,
    /// The session.
    #[serde(flatten)]
    pub session: SessionSnapshot,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSnapshot {
    /// Where.
    pub address: SocketAddr,
    /// Why it does not listen there, if it does not.
    pub problem: Option<String>,
}
