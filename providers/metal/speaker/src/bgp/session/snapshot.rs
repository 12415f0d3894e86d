//! A session for people to look at, and what it counts. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use causeway_api::Family;
use ipnet::IpNet;
use serde::Serialize;

use super::connection::Connection;
use super::{Session, State};
use crate::bgp::attributes::NextHop;
use crate::bgp::message::Message;
use crate::bgp::open::Negotiated;
use crate::moment::Moment;

/// Messages since the session was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// OPEN.
    pub opens_sent: u64,
    /// OPEN.
    pub opens_received: u64,
    /// NOTIFICATION.
    pub notifications_sent: u64,
    /// NOTIFICATION.
    pub notifications_received: u64,
    /// UPDATE, End-of-RIB included.
    pub updates_sent: u64,
    /// UPDATE.
    pub updates_received: u64,
    /// KEEPALIVE.
    pub keepalives_sent: u64,
    /// KEEPALIVE.
    pub keepalives_received: u64,
    /// ROUTE-REFRESH; none is ever sent.
    pub route_refreshes_received: u64,
    /// How often an established session ended.
    pub flaps: u64,
}

impl Counters {
    pub(super) fn count_received(&mut self, message: &Message) {
        *match message {
            Message::Open(_) => &mut self.opens_received,
            Message::Update => &mut self.updates_received,
            Message::Notification(_) => &mut self.notifications_received,
            Message::Keepalive => &mut self.keepalives_received,
            Message::RouteRefresh(_) => &mut self.route_refreshes_received,
        } += 1;
    }

    /// All that were sent.
    pub fn sent(&self) -> u64 {
        self.opens_sent + self.notifications_sent + self.updates_sent + self.keepalives_sent
    }

    /// All that were received.
    pub fn received(&self) -> u64 {
        self.opens_received
            + self.notifications_received
            + self.updates_received
            + self.keepalives_received
            + self.route_refreshes_received
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSnapshot {
    /// The peer's name.
    pub peer: String,
    /// State.
    pub state: State,
    /// For how many milliseconds.
    pub since_ms: u64,
    /// Our AS number with this peer.
    pub asn: u32,
    /// BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Our end, if there is a connection.
    pub local: Option<SocketAddr>,
    /// The peer's end.
    pub remote: Option<SocketAddr>,
    /// What was agreed upon.
    pub negotiated: Option<Negotiated>,
    /// Milliseconds between KEEPALIVEs; 0 for none.
    pub keepalive_ms: Option<u64>,
    /// Milliseconds until the hold timer runs out.
    pub hold_left_ms: Option<u64>,
    /// Milliseconds until the next attempt to connect.
    pub retry_in_ms: Option<u64>,
    /// For how many milliseconds the peer has not read what waits for it.
    pub unread_ms: Option<u64>,
    /// What BFD says, if it says something.
    pub bfd_up: Option<bool>,
    /// Why the last connection ended.
    pub last_error: Option<String>,
    /// What was counted.
    pub counters: Counters,
    /// Where IPv4 routes lead to.
    pub ipv4_next_hop: Option<IpAddr>,
    /// The same for IPv6.
    pub ipv6_next_hop: Option<IpAddr>,
    /// The routes that this peer is to have.
    pub routes: Vec<RouteSnapshot>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSnapshot {
    /// Prefix.
    pub prefix: IpNet,
    /// Whether the peer was told.
    pub told: bool,
    /// Why it cannot be, if it cannot.
    pub unsent: Option<&'static str>,
}

/// How many prefixes a peer has, and how many it does not have yet, or cannot have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Told.
    pub told: usize,
    /// To be told.
    pub pending: usize,
}

impl Session {
    /// For `/debug/state`.
    pub fn snapshot(&self, now: Moment) -> SessionSnapshot {
        let left = |at: Moment| at.saturating_since(now).as_millis() as u64;
        let ago = |since: Moment| now.saturating_since(since).as_millis() as u64;
        let furthest = self.furthest();
        let agreement = furthest.and_then(|connection| connection.agreement());
        let ends = furthest.and_then(|connection| connection.ends);
        let next_hop = |family| {
            agreement.and_then(|agreement| agreement.dialect.next_hop(family).ok()).map(|next_hop| {
                match next_hop {
                    NextHop::Classic(address) => address.into(),
                    NextHop::Multiprotocol(address) => address.into(),
                }
            })
        };
        SessionSnapshot {
            peer: self.settings.name.clone(),
            state: self.state,
            since_ms: ago(self.since),
            asn: self.settings.own_asn(),
            router_id: self.settings.router_id,
            local: ends.map(|ends| ends.local),
            remote: ends.map(|ends| ends.remote),
            negotiated: agreement.map(|agreement| agreement.negotiated.clone()),
            keepalive_ms: agreement.map(|agreement| agreement.keepalive.as_millis() as u64),
            hold_left_ms: agreement.and(furthest).and_then(|connection| connection.expiry).map(left),
            retry_in_ms: self.retry_at.map(left),
            unread_ms: furthest.and_then(|connection| connection.busy_since).map(ago),
            bfd_up: self.bfd,
            last_error: self.last_error.clone(),
            counters: self.counters,
            ipv4_next_hop: next_hop(Family::V4),
            ipv6_next_hop: next_hop(Family::V6),
            routes: self.routes(),
        }
    }

    /// The connection that has come furthest.
    fn furthest(&self) -> Option<&Connection> {
        self.connections.iter().max_by_key(|connection| connection.state())
    }

    fn routes(&self) -> Vec<RouteSnapshot> {
        let established = self.furthest().and_then(|connection| connection.established());
        let route = |(prefix, attributes)| {
            let standing = established
                .map_or(Ok(false), |told| told.told.has(prefix, attributes, &told.agreement.dialect));
            RouteSnapshot {
                prefix: *prefix,
                told: standing == Ok(true),
                unsent: standing.err().map(|why| why.as_str()),
            }
        };
        self.wanted.iter().flat_map(|wanted| wanted.iter()).map(route).collect()
    }

    /// For metrics.
    pub fn prefixes(&self) -> Prefixes {
        let established = self.furthest().and_then(|connection| connection.established());
        let Some(established) = established else {
            return Prefixes { told: 0, pending: self.wanted.as_ref().map_or(0, |wanted| wanted.len()) };
        };
        let dialect = &established.agreement.dialect;
        let pending = self
            .wanted
            .iter()
            .flat_map(|wanted| wanted.iter())
            .filter(|(prefix, attributes)| established.told.has(prefix, attributes, dialect) != Ok(true));
        Prefixes { told: established.told.len(), pending: pending.count() }
    }
}
