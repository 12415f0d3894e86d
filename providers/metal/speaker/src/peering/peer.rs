//! One peer: its session and its sockets. I/O.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;

use causeway_metal::bgp::RibOut;
use tokio::net::TcpStream;

use super::rim::Rim;
use super::socket::{Connection, Read, turns};
use super::target::Target;
use super::{PeerStatus, PeeringEvent, local};
use crate::bgp::{ConnId, Ends, Input, Output, Session, State, StopReason};
use crate::moment::Moment;
use crate::port::now;

pub(super) struct Peering {
    name: String,
    pub(super) target: Arc<Target>,
    label: String,
    pub(super) session: Session,
    routes: Arc<RibOut>,
    connections: Vec<Connection>,
    /// Where the peer was when it was looked for last.
    address: Option<SocketAddr>,
    /// Why nobody is listened for here.
    problem: Option<String>,
    /// What was logged last, so that a peer that is away for a day is not logged a thousand times.
    logged: Option<String>,
}

impl Peering {
    /// Begins to speak with a peer, at that time.
    pub(super) fn begin(
        name: &str,
        target: Target,
        routes: Arc<RibOut>,
        (at, seed): (Moment, u64),
        rim: &mut Rim,
    ) -> Self {
        let session = Session::new(target.settings.clone(), at, seed);
        let label = target.label();
        let name = name.to_owned();
        let mut peering = Peering {
            name,
            target: Arc::new(target),
            label,
            session,
            routes: Arc::clone(&routes),
            connections: Vec::new(),
            address: None,
            problem: None,
            logged: None,
        };
        peering.step(Input::Routes(routes), rim);
        peering
    }

    pub(super) fn set_routes(&mut self, routes: &Arc<RibOut>, rim: &mut Rim) {
        if !Arc::ptr_eq(&self.routes, routes) && self.routes != *routes {
            self.step(Input::Routes(Arc::clone(routes)), rim);
        }
        self.routes = Arc::clone(routes);
    }

    /// Ends it for good; what the peer was told stays if `graceful` and it can.
    pub(super) fn retire(mut self, reason: StopReason, rim: &mut Rim) {
        self.step(Input::Stop(reason), rim);
        rim.metrics.forget(&self.label);
        rim.statuses.remove(&self.name);
        rim.news = true;
    }

    /// Asks to be woken, and answers whether something can be done now.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> bool {
        self.connections.iter().fold(false, |ready, connection| ready | connection.poll_ready(context))
    }

    /// Takes what is there, then looks at the timers.
    pub(super) fn work(&mut self, rim: &mut Rim) {
        let due = |session: &Session| session.next_deadline().is_some_and(|at| at <= now());
        let ids: Vec<ConnId> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            self.look(id, due(&self.session), rim);
        }
        if due(&self.session) {
            self.step(Input::Tick, rim);
        }
    }

    fn look(&mut self, id: ConnId, really: bool, rim: &mut Rim) {
        let Some(connection) = self.find(id) else { return };
        if connection.connecting {
            match connection.connected() {
                None => {}
                Some(Ok(ends)) => {
                    let ends = self.ends(id, ends, rim);
                    self.step(Input::Connected { conn: id, ends }, rim);
                }
                Some(Err(why)) => {
                    self.take(id);
                    self.step(Input::ConnectFailed { conn: id, why: &why }, rim);
                }
            }
            return;
        }
        if connection.is_blocked() {
            self.flush(id, rim);
        }
        // Taken out while it is read into, since the session's answers go through the same `rim`.
        let mut buffer = std::mem::take(&mut rim.buffer);
        for _ in 0..turns(buffer.len()) {
            let Some(connection) = self.find(id) else { break };
            match connection.read(&mut buffer, really) {
                Read::Octets(length) => {
                    let octets = buffer.get(..length).unwrap_or_default();
                    self.step(Input::Octets { conn: id, octets }, rim);
                }
                Read::Nothing => break,
                Read::End(why) => {
                    self.take(id);
                    self.step(Input::Closed { conn: id, why: &why }, rim);
                }
            }
        }
        rim.buffer = buffer;
    }

    /// The peer has connected.
    pub(super) fn accept(&mut self, stream: TcpStream, rim: &mut Rim) {
        let id = self.session.accept();
        let accepted = Connection::accept(id, stream, &self.target)
            .and_then(|connection| Ok((connection.ends()?, connection)));
        match accepted {
            Ok((ends, connection)) => {
                self.connections.push(connection);
                let ends = self.ends(id, ends, rim);
                self.step(Input::Accepted { conn: id, ends }, rim);
            }
            Err(error) => tracing::debug!(peer = self.name, %error, "connection not accepted"),
        }
    }

    fn ends(&mut self, id: ConnId, (local, remote): (SocketAddr, SocketAddr), rim: &Rim) -> Ends {
        let next_hops = local::next_hops(local.ip(), &rim.links);
        if let Some(connection) = self.find(id) {
            connection.next_hops = next_hops;
        }
        Ends { local, remote, next_hops }
    }

    /// A peer that had no address may have got one, or another.
    pub(super) fn look_at_neighbours(&mut self, rim: &mut Rim) {
        let address = rim.address(&self.target).ok();
        if self.address != address {
            self.address = address;
            if address.is_some() {
                self.step(Input::TryNow, rim);
            }
        }
    }

    /// The interfaces have changed.
    pub(super) fn look_at_links(&mut self, rim: &mut Rim) {
        let mut changed = Vec::new();
        for connection in self.connections.iter_mut().filter(|connection| !connection.connecting) {
            let Ok((local, _)) = connection.ends() else { continue };
            let next_hops = local::next_hops(local.ip(), &rim.links);
            if next_hops != connection.next_hops {
                connection.next_hops = next_hops;
                changed.push((connection.id, next_hops));
            }
        }
        for (conn, next_hops) in changed {
            self.step(Input::NextHops { conn, next_hops }, rim);
        }
        self.look_at_neighbours(rim);
    }

    fn find(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    fn take(&mut self, id: ConnId) -> Option<Connection> {
        let index = self.connections.iter().position(|connection| connection.id == id)?;
        Some(self.connections.remove(index))
    }

    /// Sends what waits, and says so to the session if that is everything.
    fn flush(&mut self, id: ConnId, rim: &mut Rim) {
        let Some(connection) = self.find(id) else { return };
        match connection.flush() {
            Ok(false) => {}
            Ok(true) => self.step(Input::Writable { conn: id }, rim),
            Err(error) => {
                self.take(id);
                let why = error.to_string();
                self.step(Input::Closed { conn: id, why: &why }, rim);
            }
        }
    }

    /// One step of the session and what follows from it outside.
    pub(super) fn step(&mut self, input: Input<'_>, rim: &mut Rim) {
        let mut outputs = VecDeque::from(self.session.handle(input, now()));
        let mut told = !outputs.is_empty();
        while let Some(output) = outputs.pop_front() {
            let then = match output {
                Output::Connect { conn } => {
                    let dialled = rim
                        .address(&self.target)
                        .and_then(|address| Connection::dial(conn, &self.target, address));
                    match dialled {
                        Ok(connection) => {
                            self.connections.push(connection);
                            Vec::new()
                        }
                        Err(why) => self.session.handle(Input::ConnectFailed { conn, why: &why }, now()),
                    }
                }
                Output::Send { conn, octets } => match self.find(conn).map(|connection| {
                    connection.push(octets);
                    connection.flush()
                }) {
                    None | Some(Ok(false)) => Vec::new(),
                    Some(Ok(true)) => self.session.handle(Input::Writable { conn }, now()),
                    Some(Err(error)) => {
                        self.take(conn);
                        let why = error.to_string();
                        self.session.handle(Input::Closed { conn, why: &why }, now())
                    }
                },
                Output::Close { conn } => {
                    if let Some(connection) = self.take(conn) {
                        rim.end(connection);
                    }
                    Vec::new()
                }
                Output::Changed { state, why } => {
                    self.tell(state, why, rim);
                    Vec::new()
                }
            };
            told |= !then.is_empty();
            outputs.extend(then);
        }
        if told {
            rim.metrics.set(&self.label, &self.session);
        }
    }

    fn tell(&mut self, state: State, why: Option<String>, rim: &mut Rim) {
        let peer = &self.name;
        if state == State::Established {
            tracing::info!(peer, to = self.label, "BGP session is up");
            self.logged = None;
        } else if let Some(why) = why.as_ref().filter(|why| self.logged.as_ref() != Some(why)) {
            tracing::info!(peer, to = self.label, state = state.as_str(), why, "BGP session is not up");
            self.logged = Some(why.clone());
        }
        rim.tell(PeeringEvent { peer: peer.clone(), state, why: why.clone() });
        let before = rim.statuses.get(peer).and_then(|status| status.why.clone());
        let why = if state == State::Established { None } else { why.or(before) };
        let ends = self.connections.iter().find(|connection| !connection.connecting);
        let ends = ends.and_then(|connection| connection.ends().ok());
        let status = PeerStatus {
            state,
            local: ends.map(|(local, _)| local),
            remote: ends.map(|(_, remote)| remote),
            why,
        };
        rim.statuses.insert(peer.clone(), status);
        rim.news = true;
    }

    /// Says why a passive peer cannot connect, where that is this node's fault, and takes it back when it is over.
    pub(super) fn look_at_listeners(&mut self, rim: &mut Rim) {
        let problem = rim.problem(&self.target);
        let before = std::mem::replace(&mut self.problem, problem.clone());
        if let Some(status) = rim.statuses.get_mut(&self.name).filter(|_| before != problem)
            && status.state != State::Established
            && (problem.is_some() || status.why == before)
        {
            status.why = problem;
            rim.news = true;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.session.next_deadline()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.session.is_finished()
    }
}
