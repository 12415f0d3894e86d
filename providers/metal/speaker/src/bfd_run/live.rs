//! One session at work: its socket, its counters, and what it tells. I/O.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use causeway_sys::{LoopedSocket, interface_index, interface_name};
use tokio::sync::mpsc;

use super::metrics::{BfdMetrics, Counters, NeighborLabels};
use super::peer::{BfdEvent, BfdNews, BfdPeer, BfdSnapshot, PeerKey};
use super::sockets::Transmitter;
use crate::bfd::{
    Arrival, Discarded, Hops, Input, Output, Packet, Path, Session, Start, State, echo, looped, packet,
};
use crate::moment::Moment;

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) metrics: BfdMetrics,
    pub(super) events: mpsc::UnboundedSender<BfdEvent>,
    /// Open while a session wants the echo function.
    pub(super) echo: Option<LoopedSocket>,
}

/// A session.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) key: PeerKey,
    pub(super) peer: BfdPeer,
    pub(super) discriminator: NonZeroU32,
    /// The peer is gone; the session goes when its neighbour knows.
    pub(super) leaving: bool,
    /// When it wants to be looked at, kept so that looking costs little.
    pub(super) deadline: Option<Moment>,
    session: Session,
    labels: NeighborLabels,
    counters: Counters,
    /// The interface with this index was found.
    interface: Option<u32>,
    transmitter: Option<Transmitter>,
    /// The last packet could not be sent: the socket may be bound to an address that is gone.
    failed: bool,
    /// Where to begin to look for a source port: its own, once it has one (RFC 5881 §4: the same for all packets of a session).
    port: u16,
    problem: Option<String>,
    /// Our address and the interface by which the neighbour's last packet came: where echo packets go.
    seen: Option<(Ipv4Addr, u32)>,
    up_since: Option<Moment>,
    downs: u64,
}

impl Live {
    pub(super) fn new(key: PeerKey, peer: BfdPeer, start: Start, metrics: &BfdMetrics, now: Moment) -> Self {
        let labels = NeighborLabels::new(peer.remote, peer.interface.as_deref());
        // The low half of a random number is one.
        let (discriminator, port) = (start.discriminator, start.seed as u16);
        let session = Session::new(start, now);
        Live {
            key,
            discriminator,
            leaving: false,
            deadline: session.next_deadline(),
            session,
            counters: metrics.of(&labels),
            labels,
            interface: None,
            transmitter: None,
            failed: false,
            port,
            problem: None,
            seen: None,
            up_since: None,
            downs: 0,
            peer,
        }
    }

    /// Between whom it runs; nothing while its interface is not there.
    pub(super) fn path(&self) -> Option<Path> {
        let minimum_ttl = self.peer.settings.minimum_ttl;
        let hops = if self.peer.multihop { Hops::Many { minimum_ttl } } else { Hops::One };
        let interface = self.interface;
        if self.peer.interface.is_some() && interface.is_none() {
            return None;
        }
        Some(Path { remote: self.peer.remote, local: self.peer.local, interface, hops })
    }

    /// Opens what is not open. To be called now and then: interfaces and addresses come and go.
    pub(super) fn open(&mut self) {
        let BfdPeer { local, remote, interface, multihop, .. } = &self.peer;
        let index = interface.as_deref().and_then(interface_index);
        if self.interface != index || self.failed {
            self.interface = index;
            self.transmitter = None;
            self.failed = false;
        }
        let at = match (interface.as_deref(), index) {
            (Some(name), None) => {
                self.trouble(format!("there is no interface {name}"));
                return;
            }
            (Some(name), Some(index)) => Some((name, index)),
            (None, _) => None,
        };
        if self.transmitter.is_some() {
            return;
        }
        match Transmitter::open(*local, *remote, at, *multihop, self.port) {
            Ok(transmitter) => {
                self.port = transmitter.port();
                self.transmitter = Some(transmitter);
            }
            Err(error) => self.trouble(format!("cannot send: {error}")),
        }
    }

    /// Says what is wrong, once.
    fn trouble(&mut self, problem: String) {
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(peer = self.key, remote = %self.peer.remote, problem, "BFD");
            self.problem = Some(problem);
        }
    }

    /// The same session, to be run in another way.
    pub(super) fn set_peer(&mut self, peer: &BfdPeer, now: Moment, shared: &Shared) {
        self.peer = peer.clone();
        self.handle(Input::Settings(&peer.settings), now, shared);
    }

    /// A packet for this session came in.
    pub(super) fn receive(&mut self, packet: &Packet, arrival: &Arrival, now: Moment, shared: &Shared) {
        self.counters.control_input.inc();
        if let (IpAddr::V4(to), false) = (arrival.to, arrival.multihop) {
            self.seen = Some((to, arrival.interface));
        }
        self.handle(Input::Packet(packet), now, shared);
    }

    /// The payload of an echo packet that names this session came in, at this address.
    pub(super) fn receive_echo(&mut self, octets: &[u8], to: Ipv4Addr, now: Moment, shared: &Shared) {
        if self.seen.is_none_or(|(ours, _)| ours != to) {
            return shared.metrics.discard(Discarded::Echo);
        }
        self.counters.echo_input.inc();
        self.handle(Input::Echo(octets), now, shared);
    }

    /// Ends it; the neighbour is told.
    pub(super) fn stop(&mut self, now: Moment, shared: &Shared) {
        self.leaving = true;
        self.handle(Input::Stop, now, shared);
    }

    /// Whether it was stopped and the neighbour knows, or had time to notice.
    pub(super) fn stopped(&self) -> bool {
        self.session.stopped()
    }

    pub(super) fn handle(&mut self, input: Input<'_>, now: Moment, shared: &Shared) {
        for output in self.session.handle(input, now) {
            match output {
                Output::Send(octets) => self.send(&octets, shared),
                Output::SendEcho(octets) => match self.send_echo(&octets, shared) {
                    Some(Ok(())) => drop(self.counters.echo_output.inc()),
                    // It will be missed.
                    None => {}
                    Some(Err(error)) => {
                        shared.metrics.send_errors.inc();
                        tracing::debug!(peer = self.key, %error, "echo packet not sent");
                    }
                },
                Output::Changed { from, to, diag, withdrawn } => {
                    tracing::info!(peer = self.key, remote = %self.peer.remote, ?from, ?to, %diag, "BFD session");
                    let news = match (from, to) {
                        (_, State::Up) => BfdNews::Up,
                        (State::Up, State::AdminDown) => BfdNews::Withdrawn,
                        (State::Up, _) if withdrawn => BfdNews::Withdrawn,
                        (State::Up, _) => BfdNews::Down { diag },
                        _ => continue,
                    };
                    self.tell(news, now, shared);
                }
                Output::Discarded(reason) => shared.metrics.discard(reason),
                Output::Stalled(late) => {
                    shared.metrics.stalls.inc();
                    tracing::warn!(
                        peer = self.key,
                        ?late,
                        "this speaker was not run for too long to judge its neighbor"
                    );
                }
            }
        }
        self.deadline = self.session.next_deadline();
    }

    fn tell(&mut self, news: BfdNews, now: Moment, shared: &Shared) {
        if news == BfdNews::Up {
            self.up_since = Some(now);
            self.counters.ups.inc();
        } else {
            self.up_since = None;
            self.downs += 1;
            self.counters.downs.inc();
        }
        self.counters.session_up.set(u64::from(news == BfdNews::Up));
        // Whoever listened may have gone.
        let _gone = shared.events.send(BfdEvent { peer: self.key.clone(), news });
    }

    fn send(&mut self, octets: &[u8; packet::LENGTH], shared: &Shared) {
        // Without one, that was said when it could not be opened.
        let Some(transmitter) = &self.transmitter else { return };
        match transmitter.send(octets) {
            Ok(()) => {
                self.problem = None;
                self.counters.control_output.inc();
            }
            Err(error) => {
                shared.metrics.send_errors.inc();
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    self.failed = true;
                    self.trouble(format!("cannot send: {error}"));
                }
            }
        }
    }

    /// Nothing where a packet has no way to go.
    fn send_echo(&self, octets: &[u8; echo::LENGTH], shared: &Shared) -> Option<std::io::Result<()>> {
        let (socket, (ours, interface), IpAddr::V4(remote)) =
            (shared.echo.as_ref()?, self.seen?, self.peer.remote)
        else {
            return None;
        };
        // Asked each time: it costs a microsecond, and the neighbour's may have changed.
        let name = interface_name(interface)?;
        let mac = match self.transmitter.as_ref()?.neighbor_mac(&name, remote) {
            Ok(mac) => mac?,
            Err(error) => return Some(Err(error)),
        };
        Some(socket.send(&looped::wrap(ours, octets), interface, mac))
    }

    pub(super) fn labels(&self) -> &NeighborLabels {
        &self.labels
    }

    pub(super) fn snapshot(&self, listening: Option<&str>, now: Moment) -> BfdSnapshot {
        let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        BfdSnapshot {
            peer: self.key.clone(),
            remote: self.peer.remote,
            local: self.peer.local,
            interface: self.peer.interface.clone(),
            multihop: self.peer.multihop,
            problem: self.problem.clone().or_else(|| listening.map(str::to_owned)),
            source_port: self.transmitter.as_ref().map(Transmitter::port),
            up_ms: self.up_since.map(|since| milliseconds(now.saturating_since(since))),
            downs: self.downs,
            session: Some(self.session.snapshot(now)),
        }
    }
}
