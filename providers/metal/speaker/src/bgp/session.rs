//! The session with one peer: the state machine of RFC 4271 §8. Pure, sans-IO.
//!
//! States belong to connections, of which there can be two at a time when both sides call each other; the session's state is that of the furthest one.
//!
//! - **Connecting.** At once at the start; after that, never more than one attempt at a time, and only while there is no connection at all. Waits grow from
//!   [`Settings::connect`] to [`Settings::connect_max`], less up to a quarter; after a session that was up for [`STABLE`] they begin anew, with hardly any.
//! - **Errors** end only the connection on which they happen. After one of the protocol (a NOTIFICATION either way) incoming connections are refused until the wait is over
//!   (Idle, with DampPeerOscillations of §8.1.1); after one of the transport they are welcome (Active).
//! - **Collisions** (§6.8): the connection that the side with the higher BGP Identifier opened is kept; of equal identifiers, the one of the higher AS (RFC 6286 §2.3). The side
//!   with the higher one decides when the other's OPEN comes on the losing connection, if its own stands by then; the other side when OPEN comes on the winning one. So
//!   two speakers that follow this never close both. Of two that the peer opened, the later is kept: it has forgotten the earlier. An established one is kept against any
//!   other; unless graceful restart is agreed upon: then the peer has restarted, and the new one replaces it without a NOTIFICATION (RFC 4724 §5).
//! - **Hold timer**: enforced, on whole messages. A peer that sends nothing for the time agreed upon is gone. A peer that *reads* nothing is, after [`send_hold`] (RFC 9687).
//! - **Graceful restart** (RFC 4724): F is always set, since the kernel forwards, not this process. R is set until the first session after the start. End-of-RIB of a family
//!   is said when all its routes were said, and not before [`Input::Routes`] came for the first time: with it a peer drops the routes that a restarted speaker did not say again.
//! - **BFD** going down ends the session at once (RFC 5882 §4, RFC 9384), BFD coming up ends the wait for the next attempt. BFD is no condition for coming up.
//! - **Leaving**: see [`StopReason`].

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::{RibOut, RouteAttributes};

use super::error::{Notification, Reason};
use super::family::FAMILIES;
use super::message::{self, Message};
use super::rib::end_of_rib;
use crate::jitter::Jitter;
use crate::moment::Moment;

mod connection;
mod interface;
mod opening;
mod snapshot;
mod stopping;

pub use connection::{ConnId, Ends, NextHops};
use connection::{Connection, Phase, dialect};
pub use interface::{GracefulRestart, Input, Output, Settings, State};
pub use snapshot::{Counters, Prefixes, RouteSnapshot, SessionSnapshot};
use stopping::Stopping;
pub use stopping::{GRACEFUL_SHUTDOWN, StopReason, shut_down};

/// How long a TCP connection may take to come about. The kernel would try for two minutes, with ever longer pauses.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for OPEN. RFC 4271 §8.2.2 suggests four minutes; but who takes a minute for it is stuck, and to call again costs little.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// A session that was up for so long ended for a new reason.
pub const STABLE: Duration = Duration::from_secs(10);
/// Octets of UPDATEs that are handed out at a time; the next when the kernel has taken them.
pub const BATCH: usize = 64 * 1024;
/// A peer may ask for all routes as often as it likes, and gets them once in this time.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Whose fault the end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The network's, or nobody's.
    Transport,
    /// One side does not like what the other says.
    Protocol,
}

/// How long a peer may go without reading (RFC 9687 §5): eight minutes, or twice the hold time.
pub fn send_hold(hold: u16) -> Duration {
    Duration::from_secs(u64::from(hold) * 2).max(Duration::from_mins(8))
}

/// A session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    jitter: Jitter,
    last_conn: u64,
    /// Never more than one that we opened, and two that the peer did.
    connections: Vec<Connection>,
    /// What the peer is to know; nothing as long as that is not known here.
    wanted: Option<Arc<RibOut>>,
    /// The next attempt.
    retry_at: Option<Moment>,
    /// Until then incoming connections are refused.
    refuse_until: Option<Moment>,
    /// Attempts and sessions that failed since the last one that was stable.
    failures: u32,
    /// R of graceful restart: no session has been up since the start.
    restarted: bool,
    stopping: Option<Stopping>,
    bfd: Option<bool>,
    /// What was told of last.
    state: State,
    since: Moment,
    /// Why the last connection ended.
    last_error: Option<String>,
    /// The same, while it has not been told.
    news: Option<String>,
    counters: Counters,
    out: Vec<Output>,
}

impl Session {
    /// A session that wants to connect at once. `seed` is for spreading timers.
    pub fn new(settings: Settings, now: Moment, seed: u64) -> Self {
        let retry_at = (!settings.passive).then_some(now);
        Session {
            settings,
            jitter: Jitter::new(seed),
            last_conn: 0,
            connections: Vec::new(),
            wanted: None,
            retry_at,
            refuse_until: None,
            failures: 0,
            restarted: true,
            stopping: None,
            bfd: None,
            state: State::Idle,
            since: now,
            last_error: None,
            news: None,
            counters: Counters::default(),
            out: Vec::new(),
        }
    }

    /// A number for a connection that the peer opened.
    pub fn accept(&mut self) -> ConnId {
        self.last_conn += 1;
        ConnId(self.last_conn)
    }

    /// One step.
    pub fn handle(&mut self, input: Input<'_>, now: Moment) -> Vec<Output> {
        match input {
            Input::Tick => self.tick(now),
            Input::Connected { conn, ends } => match self.find(conn) {
                Some(connection) => {
                    connection.ends = Some(ends);
                    self.open(conn, ends, now);
                }
                // Given up in the meantime.
                None => self.out.push(Output::Close { conn }),
            },
            Input::ConnectFailed { conn, why } => self.lost(conn, &format!("cannot connect: {why}"), now),
            Input::Accepted { conn, ends } => self.accepted(conn, ends, now),
            Input::Octets { conn, octets } => self.octets(conn, octets, now),
            Input::Closed { conn, why } => self.lost(conn, why, now),
            Input::Writable { conn } => {
                if let Some(connection) = self.find(conn) {
                    connection.busy_since = None;
                    self.flush(conn, now);
                    self.tick_stopping(now);
                }
            }
            Input::NextHops { conn, next_hops } => self.take_next_hops(conn, next_hops, now),
            Input::Routes(routes) => {
                self.wanted = Some(self.as_it_is_to_be_told(routes));
                self.flush_all(now);
            }
            Input::TryNow => self.retry_at = self.retry_at.map(|at| at.min(now)),
            Input::BfdUp => {
                self.bfd = Some(true);
                // The path is there again.
                self.retry_at = self.retry_at.map(|at| at.min(now));
            }
            Input::BfdDown => self.bfd_down(now),
            Input::Stop(reason) => self.stop(reason, now),
        }
        self.tell(now);
        mem::take(&mut self.out)
    }

    /// When to call with [`Input::Tick`].
    pub fn next_deadline(&self) -> Option<Moment> {
        let of_connections = self
            .connections
            .iter()
            .filter_map(|connection| connection.next_deadline(self.send_hold(connection)));
        let stopping = self.stopping.as_ref().and_then(Stopping::deadline);
        of_connections.chain(self.retry_at).chain(self.refuse_until).chain(stopping).min()
    }

    /// State.
    pub fn state(&self) -> State {
        self.state
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether it was stopped and nothing is left to do.
    pub fn is_finished(&self) -> bool {
        matches!(self.stopping, Some(Stopping::Done)) && self.connections.is_empty()
    }

    fn find(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == conn)
    }

    fn send_hold(&self, connection: &Connection) -> Duration {
        send_hold(connection.agreement().map_or(0, |agreement| agreement.negotiated.hold))
    }

    fn tick(&mut self, now: Moment) {
        for conn in self.ids() {
            self.tick_connection(conn, now);
        }
        self.tick_stopping(now);
        self.refuse_until = self.refuse_until.filter(|until| *until > now);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            // With an incoming one on its way there is no need; when it fails, there is a new attempt.
            if self.connections.is_empty() && self.stopping.is_none() {
                let conn = self.accept();
                self.connections.push(Connection::new(conn, true, now + CONNECT_TIMEOUT));
                self.out.push(Output::Connect { conn });
            }
        }
    }

    fn ids(&self) -> Vec<ConnId> {
        self.connections.iter().map(|connection| connection.id).collect()
    }

    fn tick_connection(&mut self, conn: ConnId, now: Moment) {
        let Some(connection) = self.connections.iter().find(|connection| connection.id == conn) else {
            return;
        };
        let due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if due(connection.expiry) {
            match connection.phase {
                Phase::Connecting => {
                    let why = format!(
                        "cannot connect: no answer within {} s. Is the peer up, does it know this node, and has it the same password?",
                        CONNECT_TIMEOUT.as_secs()
                    );
                    self.close(conn, None, why, Blame::Transport, now);
                }
                _ => self.refuse(conn, Notification::new(Reason::HOLD_TIMER), now),
            }
            return;
        }
        if due(connection.busy_since.map(|since| since + self.send_hold(connection))) {
            return self.refuse(conn, Notification::new(Reason::SEND_HOLD_TIMER), now);
        }
        if due(connection.keepalive_at) {
            if connection.busy_since.is_some() {
                // Another one behind those that are not read would not be read either.
                if let Some(connection) = self.find(conn) {
                    connection.keepalive_at = None;
                    connection.keepalive_owed = true;
                }
            } else {
                self.send_keepalive(conn, now);
            }
        }
        self.flush(conn, now);
    }

    fn octets(&mut self, conn: ConnId, mut octets: &[u8], now: Moment) {
        while let Some(connection) = self.find(conn) {
            match connection.reader.next(&mut octets) {
                None => return,
                Some(Ok(message)) => self.message(conn, message, now),
                Some(Err(answer)) => self.refuse(conn, answer, now),
            }
        }
    }

    fn message(&mut self, conn: ConnId, message: Message, now: Moment) {
        self.counters.count_received(&message);
        let Some(connection) = self.find(conn) else { return };
        match (&mut connection.phase, message) {
            (_, Message::Notification(said)) => {
                self.close(conn, None, format!("NOTIFICATION received: {said}"), Blame::Protocol, now);
            }
            (Phase::OpenSent(_), Message::Open(theirs)) => self.opened(conn, &theirs, now),
            (Phase::OpenConfirm(_), Message::Keepalive) => self.establish(conn, now),
            (Phase::Established(_), Message::Keepalive | Message::Update) => connection.heard(now),
            (Phase::Established(established), Message::RouteRefresh(family)) => {
                established.refresh.extend(family);
                connection.heard(now);
                self.flush(conn, now);
            }
            (Phase::Established(_), _) => self.refuse(conn, Notification::new(Reason::IN_ESTABLISHED), now),
            (Phase::OpenConfirm(_), _) => self.refuse(conn, Notification::new(Reason::IN_OPEN_CONFIRM), now),
            (Phase::OpenSent(_) | Phase::Connecting, _) => {
                self.refuse(conn, Notification::new(Reason::IN_OPEN_SENT), now);
            }
        }
    }

    fn take_next_hops(&mut self, conn: ConnId, next_hops: NextHops, now: Moment) {
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == conn) else {
            return;
        };
        let Some(ends) = &mut connection.ends else { return };
        ends.next_hops = next_hops;
        let agreement = match &mut connection.phase {
            Phase::OpenConfirm(agreement) => agreement,
            Phase::Established(established) => {
                let agreement = &established.agreement;
                let new = dialect(&self.settings, &agreement.negotiated, next_hops);
                for family in FAMILIES {
                    if new.next_hop(family) != agreement.dialect.next_hop(family) {
                        established.told.forget(family);
                    }
                }
                &mut established.agreement
            }
            Phase::Connecting | Phase::OpenSent(_) => return,
        };
        agreement.dialect = dialect(&self.settings, &agreement.negotiated, next_hops);
        self.flush(conn, now);
    }

    fn bfd_down(&mut self, now: Moment) {
        self.bfd = Some(false);
        for conn in self.ids() {
            if self.find(conn).is_some_and(|connection| connection.agreement().is_some()) {
                self.close_with(conn, Notification::new(Reason::BFD_DOWN), Blame::Transport, now);
            }
        }
    }

    fn flush_all(&mut self, now: Moment) {
        for conn in self.ids() {
            self.flush(conn, now);
        }
    }

    /// Says what is to be said, if the kernel has taken what was said before.
    fn flush(&mut self, conn: ConnId, now: Moment) {
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == conn) else {
            return;
        };
        if connection.busy_since.is_some() {
            return;
        }
        let owed = connection.keepalive_owed;
        let mut octets = if owed { message::keepalive() } else { Vec::new() };
        self.counters.keepalives_sent += u64::from(owed);
        if let Phase::Established(established) = &mut connection.phase
            && !established.refresh.is_empty()
            && established.refresh_at <= now
        {
            established.refresh_at = now + REFRESH_INTERVAL;
            for family in mem::take(&mut established.refresh) {
                established.told.forget(family);
            }
        }
        if let (Phase::Established(established), Some(wanted)) = (&mut connection.phase, &self.wanted) {
            let batch = established.told.advance(wanted, &established.agreement.dialect, BATCH);
            self.counters.updates_sent += batch.messages;
            octets.extend(batch.octets);
            if batch.complete {
                for family in mem::take(&mut established.end_of_rib) {
                    end_of_rib(&mut octets, family);
                    self.counters.updates_sent += 1;
                }
            }
        }
        if !octets.is_empty() {
            connection.said(&mut self.jitter, now);
            self.send(conn, octets, now);
        }
    }

    fn send_keepalive(&mut self, conn: ConnId, now: Moment) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == conn) {
            connection.said(&mut self.jitter, now);
            self.counters.keepalives_sent += 1;
            self.send(conn, message::keepalive(), now);
        }
    }

    fn send(&mut self, conn: ConnId, octets: Vec<u8>, now: Moment) {
        if let Some(connection) = self.find(conn) {
            connection.busy_since.get_or_insert(now);
            self.out.push(Output::Send { conn, octets });
        }
    }

    /// The connection is gone already.
    fn lost(&mut self, conn: ConnId, why: &str, now: Moment) {
        self.end(conn, why.to_owned(), Blame::Transport, now);
    }

    /// Ends a connection because of what came on it, or did not.
    fn refuse(&mut self, conn: ConnId, answer: Notification, now: Moment) {
        self.close_with(conn, answer, Blame::Protocol, now);
    }

    fn close_with(&mut self, conn: ConnId, farewell: Notification, blame: Blame, now: Moment) {
        let why = format!("NOTIFICATION sent: {farewell}");
        self.close(conn, Some(farewell), why, blame, now);
    }

    fn close(
        &mut self,
        conn: ConnId,
        farewell: Option<Notification>,
        why: String,
        blame: Blame,
        now: Moment,
    ) {
        let Some(connection) = self.find(conn) else { return };
        // Before there is a connection there is nobody to say it to.
        if let Some(farewell) = farewell.filter(|_| connection.ends.is_some()) {
            self.counters.notifications_sent += 1;
            self.send(conn, message::notification(&farewell), now);
        }
        self.out.push(Output::Close { conn });
        self.end(conn, why, blame, now);
    }

    fn end(&mut self, conn: ConnId, why: String, blame: Blame, now: Moment) {
        let Some(index) = self.connections.iter().position(|connection| connection.id == conn) else {
            return;
        };
        let connection = self.connections.remove(index);
        if let Some(established) = connection.established() {
            self.counters.flaps += 1;
            if now.saturating_since(established.since) >= STABLE {
                self.failures = 0;
            }
        }
        self.last_error = Some(why.clone());
        self.news = Some(why);
        if self.connections.is_empty() {
            self.wait(blame, now);
        }
    }

    /// Nothing is left of the session: when to try again.
    fn wait(&mut self, blame: Blame, now: Moment) {
        if self.stopping.is_some() {
            self.stopping = Some(Stopping::Done);
            return;
        }
        let Settings { connect, connect_max, passive, .. } = self.settings;
        let wait = match self.failures.checked_sub(1) {
            None => self.jitter.scale(connect, 0.0, 0.25),
            Some(doublings) => {
                let wait = connect.saturating_mul(1 << doublings.min(16)).min(connect_max);
                self.jitter.scale(wait, 0.75, 1.0)
            }
        };
        self.failures = self.failures.saturating_add(1);
        self.retry_at = (!passive).then_some(now + wait);
        self.refuse_until = (blame == Blame::Protocol).then_some(now + wait);
    }

    /// Tells of the state if it is another one than was told of.
    fn tell(&mut self, now: Moment) {
        let furthest = self.connections.iter().map(Connection::state).max();
        let state = furthest.unwrap_or_else(|| {
            if self.stopping.is_some() || self.refuse_until.is_some() { State::Idle } else { State::Active }
        });
        let why = self.news.take();
        if state != self.state {
            self.state = state;
            self.since = now;
            self.out.push(Output::Changed { state, why });
        }
    }

    /// The routes, with the community of those that are about to go while that is so.
    fn as_it_is_to_be_told(&self, routes: Arc<RibOut>) -> Arc<RibOut> {
        match self.stopping {
            None => routes,
            Some(Stopping::Draining { .. }) => {
                let mut marked: BTreeMap<&RouteAttributes, Arc<RouteAttributes>> = BTreeMap::new();
                let routes = routes.iter().map(|(prefix, attributes)| {
                    let marked = marked.entry(attributes).or_insert_with(|| Arc::new(shut_down(attributes)));
                    (*prefix, Arc::clone(marked))
                });
                Arc::new(routes.collect())
            }
            Some(Stopping::Withdrawing { .. } | Stopping::Done) => Arc::default(),
        }
    }
}
