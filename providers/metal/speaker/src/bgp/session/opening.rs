//! From a TCP connection to an established session: OPEN, collisions, the first KEEPALIVE. Pure.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use causeway_api::Family;
use causeway_metal::bgp::Families;

use super::connection::{Agreement, Connection, Established, Phase};
use super::{Blame, ConnId, Ends, OPEN_TIMEOUT, Output, Session};
use crate::bgp::capability::{Capabilities, GracefulCapability, MAX_RESTART_TIME};
use crate::bgp::error::{Notification, Reason};
use crate::bgp::family::FAMILIES;
use crate::bgp::message;
use crate::bgp::open::{Negotiated, Open, two_octets};
use crate::bgp::rib::Told;
use crate::moment::Moment;

impl Session {
    pub(super) fn accepted(&mut self, conn: ConnId, ends: Ends, now: Moment) {
        if self.stopping.is_some() || self.refuse_until.is_some_and(|until| until > now) {
            // RFC 4486 §4. Of no consequence for anything else, so that nobody can keep a session down by calling.
            let octets = message::notification(&Notification::new(Reason::REJECTED));
            self.counters.notifications_sent += 1;
            self.out.extend([Output::Send { conn, octets }, Output::Close { conn }]);
            return;
        }
        let mut connection = Connection::new(conn, false, now + OPEN_TIMEOUT);
        connection.ends = Some(ends);
        self.connections.push(connection);
        // A peer calls again only if it gave the earlier call up.
        let earlier = self.connections.iter().find(|earlier| {
            earlier.id != conn && !earlier.outgoing && matches!(earlier.phase, Phase::OpenSent(_))
        });
        if let Some(earlier) = earlier.map(|earlier| earlier.id) {
            self.refuse(earlier, Notification::new(Reason::COLLISION), now);
        }
        self.open(conn, ends, now);
    }

    /// Sends OPEN (RFC 4271 §8.2.2, on TcpConnectionConfirmed or Tcp_CR_Acked).
    pub(super) fn open(&mut self, conn: ConnId, ends: Ends, now: Moment) {
        let open = self.our_open(ends);
        let octets = open.encode();
        let Some(connection) = self.find(conn) else { return };
        connection.phase = Phase::OpenSent(Box::new(open));
        connection.expiry = Some(now + OPEN_TIMEOUT);
        self.counters.opens_sent += 1;
        self.send(conn, octets, now);
    }

    fn our_open(&self, ends: Ends) -> Open {
        let settings = &self.settings;
        let over_ipv6 = ends.remote.is_ipv6();
        let families: BTreeSet<Family> = if settings.unnumbered || settings.families == Families::Both {
            FAMILIES.into()
        } else {
            [Family::of(&ends.remote.ip())].into()
        };
        let asn = settings.own_asn();
        let seconds = |span: Duration| u16::try_from(span.as_secs()).unwrap_or(u16::MAX);
        let hold = seconds(settings.hold);
        Open {
            asn: two_octets(asn),
            hold: if hold == 0 { 0 } else { hold.max(3) },
            identifier: settings.router_id,
            capabilities: Capabilities {
                extended_next_hop: over_ipv6 && families.contains(&Family::V4),
                multiprotocol: true,
                route_refresh: true,
                four_octet_asn: Some(asn),
                graceful_restart: settings.graceful_restart.map(|graceful| GracefulCapability {
                    restarted: self.restarted,
                    time: seconds(graceful.time).min(MAX_RESTART_TIME),
                    families: families.iter().map(|family| (*family, true)).collect(),
                }),
                families,
                ..Capabilities::default()
            },
        }
    }

    /// The peer's OPEN came.
    pub(super) fn opened(&mut self, conn: ConnId, theirs: &Open, now: Moment) {
        let Some(connection) = self.connections.iter().find(|connection| connection.id == conn) else {
            return;
        };
        let (Phase::OpenSent(ours), Some(ends)) = (&connection.phase, connection.ends) else { return };
        let negotiated = match Negotiated::new(ours, theirs, self.settings.remote) {
            Ok(negotiated) => negotiated,
            Err(answer) => return self.refuse(conn, answer, now),
        };
        if !self.survives_collision(conn, &negotiated, now) {
            return self.refuse(conn, Notification::new(Reason::COLLISION), now);
        }
        let agreement = Agreement::new(&self.settings, negotiated, ends.next_hops);
        let Some(connection) = self.find(conn) else { return };
        connection.phase = Phase::OpenConfirm(Box::new(agreement));
        connection.heard(now);
        // Without a hold timer it would wait for ever.
        connection.expiry.get_or_insert(now + OPEN_TIMEOUT);
        self.send_keepalive(conn, now);
    }

    /// RFC 4271 §6.8, as the module says. Closes those that lose against this one.
    fn survives_collision(&mut self, conn: ConnId, negotiated: &Negotiated, now: Moment) -> bool {
        let ours_wins = (self.settings.router_id.to_bits(), self.settings.own_asn())
            > (negotiated.remote_id.to_bits(), negotiated.remote_asn);
        let Some(outgoing) = self.find(conn).map(|connection| connection.outgoing) else { return false };
        let mut losers = Vec::new();
        for rival in self.connections.iter().filter(|rival| rival.id != conn) {
            let farewell = match &rival.phase {
                // The peer has restarted and forgotten it (RFC 4724 §5).
                Phase::Established(_) if rival.is_graceful() => None,
                Phase::Established(_) => return false,
                Phase::Connecting => None,
                _ if rival.outgoing == outgoing || outgoing == ours_wins => Some(Reason::COLLISION),
                // The peer decides: it may give up the other one, of which its OPEN has not come.
                Phase::OpenSent(_) if !ours_wins => continue,
                Phase::OpenSent(_) | Phase::OpenConfirm(_) => return false,
            };
            losers.push((rival.id, farewell.map(Notification::new)));
        }
        for (loser, farewell) in losers {
            let why = "the peer opened another connection".to_owned();
            self.close(loser, farewell, why, Blame::Transport, now);
        }
        true
    }

    pub(super) fn establish(&mut self, conn: ConnId, now: Moment) {
        let rivals: Vec<ConnId> = self.ids().into_iter().filter(|id| *id != conn).collect();
        for rival in rivals {
            let why = "another connection came first".to_owned();
            self.close(rival, Some(Notification::new(Reason::COLLISION)), why, Blame::Transport, now);
        }
        let Some(connection) = self.find(conn) else { return };
        let Phase::OpenConfirm(agreement) = mem::replace(&mut connection.phase, Phase::Connecting) else {
            return;
        };
        // RFC 4724 §2: worth saying to all that know it, whether or not they keep routes.
        let graceful = agreement.negotiated.peer_restart.is_some();
        let end_of_rib = if graceful { agreement.negotiated.families.clone() } else { Default::default() };
        connection.phase = Phase::Established(Box::new(Established {
            agreement: *agreement,
            told: Told::default(),
            end_of_rib,
            refresh: Default::default(),
            refresh_at: now,
            since: now,
        }));
        connection.heard(now);
        self.restarted = false;
        self.retry_at = None;
        self.flush(conn, now);
    }
}
