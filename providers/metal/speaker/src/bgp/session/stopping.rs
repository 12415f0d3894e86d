//! The end of a session that we want. Pure.

use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::RouteAttributes;

use super::{Blame, Connection, Session, connection::Phase};
use crate::bgp::error::{Notification, Reason};
use crate::moment::Moment;

/// The community of routes that are about to go (RFC 8326 §5).
pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

/// The attributes of a route that is about to go: with the community, by which routers of other ASes lower their preference, and with the LOCAL_PREF that they give it then,
/// 0, for those of our own (RFC 8326 §4).
pub fn shut_down(attributes: &RouteAttributes) -> RouteAttributes {
    let mut attributes = attributes.clone();
    attributes.communities.insert(GRACEFUL_SHUTDOWN);
    attributes.local_pref = Some(0);
    attributes
}

/// How long a peer may take to read the withdrawals before it is left all the same.
const WITHDRAWAL: Duration = Duration::from_secs(2);

/// Why and how a session is to end. A later reason replaces one that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The peer is configured no more: Cease, Peer De-configured.
    Deconfigured,
    /// The peer is configured otherwise now: Cease, Other Configuration Change.
    Changed,
    /// Cease, Administrative Shutdown, with a text for the other side's operators (RFC 9003).
    Shutdown {
        /// Up to 128 octets are sent.
        text: String,
    },
    /// All routes get the community GRACEFUL_SHUTDOWN, so that the peer prefers others (RFC 8326), after a while they are withdrawn, then as
    /// [`StopReason::Shutdown`].
    GracefulDrain {
        /// How long the peer has to find other routes.
        wait: Duration,
        /// As with [`StopReason::Shutdown`].
        text: String,
    },
    /// This speaker comes back at once: where graceful restart is agreed upon the connection just ends, so that the peer keeps the routes (RFC 4724 §4.2);
    /// elsewhere, Cease, Administrative Reset.
    Restart,
    /// As [`StopReason::Restart`] where graceful restart is agreed upon, elsewhere for this reason.
    RestartOr(Box<StopReason>),
}

impl StopReason {
    /// How long the peer has before routes are withdrawn.
    pub fn wait(&self) -> Duration {
        match self {
            StopReason::GracefulDrain { wait, .. } => *wait,
            StopReason::RestartOr(other) => other.wait(),
            _ => Duration::ZERO,
        }
    }
}

#[derive(Debug)]
pub(super) enum Stopping {
    /// The routes have the community.
    Draining { until: Moment, text: String },
    /// They are being withdrawn.
    Withdrawing { until: Moment, text: String },
    /// Nothing is to come.
    Done,
}

impl Stopping {
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self {
            Stopping::Draining { until, .. } | Stopping::Withdrawing { until, .. } => Some(*until),
            Stopping::Done => None,
        }
    }
}

impl Session {
    pub(super) fn stop(&mut self, reason: StopReason, now: Moment) {
        self.retry_at = None;
        self.refuse_until = None;
        match reason {
            StopReason::Deconfigured => self.cease(&Notification::new(Reason::DECONFIGURED), now),
            StopReason::Changed => self.cease(&Notification::new(Reason::CHANGED), now),
            StopReason::Shutdown { text } => self.cease(&Notification::telling(Reason::SHUTDOWN, &text), now),
            StopReason::GracefulDrain { wait, text } => {
                self.stopping = Some(Stopping::Draining { until: now + wait, text: text.clone() });
                for conn in self.ids() {
                    let established =
                        self.find(conn).is_some_and(|connection| connection.established().is_some());
                    if !established {
                        let farewell = Notification::telling(Reason::SHUTDOWN, &text);
                        self.close_with(conn, farewell, Blame::Transport, now);
                    }
                }
                if self.connections.is_empty() {
                    self.stopping = Some(Stopping::Done);
                }
                if let Some(routes) = self.wanted.take() {
                    self.wanted = Some(self.as_it_is_to_be_told(routes));
                }
                self.flush_all(now);
            }
            StopReason::RestartOr(other) => {
                let graceful = self.connections.iter().any(Connection::is_graceful);
                self.stop(if graceful { StopReason::Restart } else { *other }, now);
            }
            StopReason::Restart => {
                self.stopping = Some(Stopping::Done);
                for conn in self.ids() {
                    let graceful = self.find(conn).is_some_and(|connection| {
                        connection.is_graceful() && matches!(connection.phase, Phase::Established(_))
                    });
                    if graceful {
                        self.close(conn, None, "restarting gracefully".to_owned(), Blame::Transport, now);
                    } else {
                        let farewell = Notification::telling(Reason::RESET, "restarting");
                        self.close_with(conn, farewell, Blame::Transport, now);
                    }
                }
            }
        }
    }

    fn cease(&mut self, farewell: &Notification, now: Moment) {
        self.stopping = Some(Stopping::Done);
        for conn in self.ids() {
            self.close_with(conn, farewell.clone(), Blame::Transport, now);
        }
    }

    /// The steps of a graceful drain whose time has come.
    pub(super) fn tick_stopping(&mut self, now: Moment) {
        if let Some(Stopping::Draining { until, text }) = &self.stopping
            && *until <= now
        {
            let text = text.clone();
            self.stopping = Some(Stopping::Withdrawing { until: now + WITHDRAWAL, text });
            self.wanted = Some(Arc::default());
            self.flush_all(now);
        }
        if let Some(Stopping::Withdrawing { until, text }) = &self.stopping {
            let told = self.connections.iter().any(|connection| {
                connection.busy_since.is_some()
                    || connection.established().is_some_and(|established| !established.told.is_empty())
            });
            if *until <= now || !told {
                let farewell = Notification::telling(Reason::SHUTDOWN, text);
                self.cease(&farewell, now);
            }
        }
    }
}
