//! One TCP connection of a session, from the attempt to the end. Pure.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use causeway_api::Family;
use serde::Serialize;

use super::{Settings, State};
use crate::bgp::attributes::{Dialect, NextHop, Unsent};
use crate::bgp::message::Reader;
use crate::bgp::open::{Negotiated, Open};
use crate::bgp::rib::Told;
use crate::jitter::Jitter;
use crate::moment::Moment;

/// A connection of a session. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConnId(pub(super) u64);

/// The addresses of this end's interface, which routes lead to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NextHops {
    /// An IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// A global IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The link-local IPv6 address.
    pub link_local: Option<Ipv6Addr>,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Ours.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Where routes lead to that are told over it.
    pub next_hops: NextHops,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    /// Whether we opened it.
    pub(super) outgoing: bool,
    /// Known once it stands.
    pub(super) ends: Option<Ends>,
    pub(super) phase: Phase,
    pub(super) reader: Reader,
    /// Since when something lies in our own buffer that the kernel did not take.
    pub(super) busy_since: Option<Moment>,
    /// When it is given up: the connect attempt, the wait for OPEN, the hold timer.
    pub(super) expiry: Option<Moment>,
    pub(super) keepalive_at: Option<Moment>,
    /// It was time for a KEEPALIVE, but the peer does not read.
    pub(super) keepalive_owed: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The TCP connection is on its way.
    Connecting,
    /// Our OPEN is sent: this one.
    OpenSent(Box<Open>),
    /// Both OPENs fit; waiting for the first KEEPALIVE.
    OpenConfirm(Box<Agreement>),
    /// Routes can be told.
    Established(Box<Established>),
}

#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) negotiated: Negotiated,
    pub(super) dialect: Dialect,
    pub(super) keepalive: Duration,
}

#[derive(Debug)]
pub(super) struct Established {
    pub(super) agreement: Agreement,
    pub(super) told: Told,
    /// Families whose End-of-RIB is to be said.
    pub(super) end_of_rib: BTreeSet<Family>,
    /// Families that the peer wants to hear again, and when it may at the earliest.
    pub(super) refresh: BTreeSet<Family>,
    pub(super) refresh_at: Moment,
    pub(super) since: Moment,
}

impl Connection {
    pub(super) fn new(id: ConnId, outgoing: bool, expiry: Moment) -> Self {
        Connection {
            id,
            outgoing,
            ends: None,
            phase: Phase::Connecting,
            reader: Reader::default(),
            busy_since: None,
            expiry: Some(expiry),
            keepalive_at: None,
            keepalive_owed: false,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Connecting => State::Connect,
            Phase::OpenSent(_) => State::OpenSent,
            Phase::OpenConfirm(_) => State::OpenConfirm,
            Phase::Established(_) => State::Established,
        }
    }

    pub(super) fn agreement(&self) -> Option<&Agreement> {
        match &self.phase {
            Phase::OpenConfirm(agreement) => Some(agreement),
            Phase::Established(established) => Some(&established.agreement),
            Phase::Connecting | Phase::OpenSent(_) => None,
        }
    }

    pub(super) fn established(&self) -> Option<&Established> {
        match &self.phase {
            Phase::Established(established) => Some(established),
            _ => None,
        }
    }

    /// Whether a restart of ours would leave the routes at the peer.
    pub(super) fn is_graceful(&self) -> bool {
        self.agreement().is_some_and(|agreement| agreement.negotiated.graceful_restart)
    }

    /// Something valid came: the hold timer starts anew (RFC 4271 §4.4).
    pub(super) fn heard(&mut self, now: Moment) {
        let Some(agreement) = self.agreement() else { return };
        let hold = agreement.negotiated.hold;
        self.expiry = (hold != 0).then(|| now + Duration::from_secs(hold.into()));
    }

    /// Something was said: the keepalive timer starts anew, with the jitter of RFC 4271 §10.
    pub(super) fn said(&mut self, jitter: &mut Jitter, now: Moment) {
        let Some(agreement) = self.agreement() else { return };
        let interval = agreement.keepalive;
        self.keepalive_owed = false;
        self.keepalive_at = (!interval.is_zero()).then(|| now + jitter.scale(interval, 0.75, 1.0));
    }

    pub(super) fn next_deadline(&self, send_hold: Duration) -> Option<Moment> {
        let refresh = self.established().filter(|established| {
            // While the peer does not read there is nothing to be done about it.
            !established.refresh.is_empty() && self.busy_since.is_none()
        });
        let times = [
            self.expiry,
            self.keepalive_at,
            self.busy_since.map(|since| since + send_hold),
            refresh.map(|established| established.refresh_at),
        ];
        times.into_iter().flatten().min()
    }
}

impl Agreement {
    pub(super) fn new(settings: &Settings, negotiated: Negotiated, next_hops: NextHops) -> Self {
        // RFC 4271 §4.4: a third of the hold time is reasonable, and more often than once in a second is not allowed.
        let third = Duration::from_secs(negotiated.hold.into()) / 3;
        let keepalive = if negotiated.hold == 0 {
            Duration::ZERO
        } else {
            settings.keepalive.min(third).max(Duration::from_secs(1))
        };
        let dialect = dialect(settings, &negotiated, next_hops);
        Agreement { negotiated, dialect, keepalive }
    }
}

/// How routes are told over this connection.
pub(super) fn dialect(settings: &Settings, negotiated: &Negotiated, next_hops: NextHops) -> Dialect {
    // On an unnumbered link only the link-local address is sure to be known to the other side. Elsewhere it says nothing, since it is not known of which link.
    let ipv6 = if settings.unnumbered { next_hops.link_local } else { next_hops.ipv6 };
    let ipv6 = ipv6.map(NextHop::Multiprotocol);
    let over_ipv6 = ipv6.filter(|_| negotiated.extended_next_hop);
    let classic = next_hops.ipv4.map(NextHop::Classic);
    // An IPv4 next hop is understood everywhere, but on an unnumbered link it may lead nowhere.
    let ipv4 = if settings.unnumbered { over_ipv6.or(classic) } else { classic.or(over_ipv6) };
    let spoken = |family, next_hop: Option<NextHop>| {
        if negotiated.families.contains(&family) {
            next_hop.ok_or(Unsent::NoNextHop)
        } else {
            Err(Unsent::NotNegotiated)
        }
    };
    Dialect {
        asn: settings.own_asn(),
        internal: negotiated.internal,
        four_octet: negotiated.four_octet_asn,
        ipv4: spoken(Family::V4, ipv4),
        ipv6: spoken(Family::V6, ipv6),
    }
}
