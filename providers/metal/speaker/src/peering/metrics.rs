//! What BGP sessions count, under MetalLB's names. Pure but for the counters themselves.
//!
//! MetalLB's native mode has the first four, its FRR mode adds the others; the label `vrf` of that mode is left out, since there is but one.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::bgp::{Session, State};
use crate::metrics::NamedCount;

/// By peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByPeer {
    /// `ip:port`, or `interface:port`.
    pub peer: String,
}

type Counts = Family<ByPeer, NamedCount>;

/// Metrics of all sessions. Cloning gives the same counters.
#[derive(Debug, Clone, Default)]
pub struct BgpMetrics {
    session_up: Counts,
    updates_sent: Counts,
    announced_prefixes: Counts,
    pending_prefixes: Counts,
    opens_sent: Counts,
    opens_received: Counts,
    notifications_sent: Counts,
    notifications_received: Counts,
    updates_received: Counts,
    keepalives_sent: Counts,
    keepalives_received: Counts,
    route_refresh_sent: Counts,
    route_refresh_received: Counts,
    total_sent: Counts,
    total_received: Counts,
}

impl BgpMetrics {
    /// All, with what is appended to `metallb_bgp_`, and what it means.
    fn all(&self) -> [(&'static str, &'static str, &Counts); 15] {
        [
            ("session_up", "BGP session state (1 is up, 0 is down)", &self.session_up),
            ("updates_total", "Number of BGP UPDATE messages sent", &self.updates_sent),
            (
                "announced_prefixes_total",
                "Number of prefixes currently being advertised on the BGP session",
                &self.announced_prefixes,
            ),
            (
                "pending_prefixes_total",
                "Number of prefixes that should be advertised on the BGP session",
                &self.pending_prefixes,
            ),
            ("opens_sent", "Number of BGP open messages sent", &self.opens_sent),
            ("opens_received", "Number of BGP open messages received", &self.opens_received),
            ("notifications_sent", "Number of BGP notification messages sent", &self.notifications_sent),
            (
                "notifications_received",
                "Number of BGP notification messages received",
                &self.notifications_received,
            ),
            ("updates_total_received", "Number of BGP UPDATE messages received", &self.updates_received),
            ("keepalives_sent", "Number of BGP keepalive messages sent", &self.keepalives_sent),
            ("keepalives_received", "Number of BGP keepalive messages received", &self.keepalives_received),
            ("route_refresh_sent", "Number of BGP route refresh messages sent", &self.route_refresh_sent),
            (
                "route_refresh_received",
                "Number of BGP route refresh messages received",
                &self.route_refresh_received,
            ),
            ("total_sent", "Number of total BGP messages sent", &self.total_sent),
            ("total_received", "Number of total BGP messages received", &self.total_received),
        ]
    }

    /// Makes them part of what is scraped. The registry must have no prefix: these names are complete.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, counts) in self.all() {
            registry.register(format!("metallb_bgp_{name}"), help, counts.clone());
        }
    }

    /// Lets each show although there is no peer: for the page about metrics.
    pub fn show(&self) {
        for (_, _, counts) in self.all() {
            drop(counts.get_or_create(&ByPeer { peer: String::new() }));
        }
    }

    /// Takes over what a session counts.
    pub(super) fn set(&self, peer: &str, session: &Session) {
        let counters = session.counters();
        let prefixes = session.prefixes();
        let set = |counts: &Counts, value: u64| {
            counts.get_or_create(&ByPeer { peer: peer.to_owned() }).set(value);
        };
        set(&self.session_up, u64::from(session.state() == State::Established));
        set(&self.updates_sent, counters.updates_sent);
        set(&self.announced_prefixes, prefixes.told as u64);
        set(&self.pending_prefixes, prefixes.pending as u64);
        set(&self.opens_sent, counters.opens_sent);
        set(&self.opens_received, counters.opens_received);
        set(&self.notifications_sent, counters.notifications_sent);
        set(&self.notifications_received, counters.notifications_received);
        set(&self.updates_received, counters.updates_received);
        set(&self.keepalives_sent, counters.keepalives_sent);
        set(&self.keepalives_received, counters.keepalives_received);
        // We take no routes, so we never ask for them.
        set(&self.route_refresh_sent, 0);
        set(&self.route_refresh_received, counters.route_refreshes_received);
        set(&self.total_sent, counters.sent());
        set(&self.total_received, counters.received());
    }

    /// A peer is configured no more.
    pub(super) fn forget(&self, peer: &str) {
        for (_, _, counts) in self.all() {
            counts.remove(&ByPeer { peer: peer.to_owned() });
        }
    }
}
