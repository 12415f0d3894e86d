//! What the sessions of a node share: the network as it is known, listeners, connections that are ending, and where things are told. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use causeway_metal::bgp::{Password, PeerTo};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::metrics::BgpMetrics;
use super::neighbours::{self, Neighbours};
use super::socket::{Connection, Listener};
use super::target::Target;
use super::{PeeringEvent, Statuses, advertise, local};
use crate::interfaces::Links;
use crate::moment::Moment;
use crate::netlink::AbortOnDrop;
use crate::port::now;

/// How long a socket is kept after its end, so that the last words arrive.
const LINGER: Duration = Duration::from_secs(1);
/// How long to wait before a listener that failed is opened again.
const REOPEN: Duration = Duration::from_secs(5);
/// How often this node is advertised on links without addresses, as FRR does; and how soon again if that failed.
const ADVERTISE: Duration = Duration::from_secs(10);
const ADVERTISE_AGAIN: Duration = Duration::from_secs(1);
/// Connections accepted in one turn.
const SHARE: usize = 64;

pub(super) struct Rim {
    pub(super) listen_port: u16,
    pub(super) links: Arc<Links>,
    neighbours: Option<Watched>,
    /// When to advertise ourselves next, by interface.
    advertised: BTreeMap<String, Moment>,
    listeners: BTreeMap<SocketAddr, Result<Listener, String>>,
    reopen: Option<Moment>,
    pub(super) accepted: Vec<(TcpStream, SocketAddr)>,
    ending: Vec<(Connection, Moment)>,
    pub(super) buffer: Vec<u8>,
    pub(super) metrics: BgpMetrics,
    events: mpsc::Sender<PeeringEvent>,
    pub(super) statuses: Statuses,
    pub(super) news: bool,
}

/// The neighbours, while some peer needs them.
struct Watched {
    known: watch::Receiver<Arc<Neighbours>>,
    _ends_with_it: AbortOnDrop,
}

impl Rim {
    pub(super) fn new(listen_port: u16, metrics: BgpMetrics, events: mpsc::Sender<PeeringEvent>) -> Self {
        Rim {
            listen_port,
            links: Arc::default(),
            neighbours: None,
            advertised: BTreeMap::new(),
            listeners: BTreeMap::new(),
            reopen: None,
            accepted: Vec::new(),
            ending: Vec::new(),
            buffer: vec![0; 16 * 1024],
            metrics,
            events,
            statuses: Statuses::new(),
            news: false,
        }
    }

    /// Where a peer is now.
    pub(super) fn address(&self, target: &Target) -> Result<SocketAddr, String> {
        let name = match &target.to {
            PeerTo::Address(address) => return Ok(SocketAddr::new(*address, target.port)),
            PeerTo::Interface(name) => name,
        };
        let port =
            local::port(name, &self.links).ok_or_else(|| format!("there is no interface {name} here"))?;
        let own = port.link_local.ok_or_else(|| {
            format!("interface {name} has no IPv6 link-local address: is IPv6 switched off on it?")
        })?;
        let known = self.neighbours.as_ref().map(|watched| watched.known.borrow());
        let router = known.and_then(|known| known.router(port.index, own));
        let router = router.ok_or_else(|| {
            format!("no router is heard on {name}: does it send IPv6 router advertisements on this link?")
        })?;
        Ok(SocketAddrV6::new(router, target.port, 0, port.index).into())
    }

    /// Whether a connection from there is this peer's.
    pub(super) fn is_from(&self, target: &Target, from: SocketAddr) -> bool {
        match (&target.to, from) {
            (PeerTo::Address(address), _) => *address == from.ip(),
            (PeerTo::Interface(name), SocketAddr::V6(from)) => {
                from.ip().is_unicast_link_local()
                    && local::port(name, &self.links).is_some_and(|port| port.index == from.scope_id())
            }
            (PeerTo::Interface(_), SocketAddr::V4(_)) => false,
        }
    }

    /// Listens for those that want it, with the passwords of all, and watches neighbours if some peer has no address.
    pub(super) fn serve(&mut self, targets: &[Arc<Target>]) {
        if let Some(watched) = &mut self.neighbours {
            watched.known.mark_unchanged();
        }
        let unnumbered: BTreeSet<&String> = targets
            .iter()
            .filter_map(|target| match &target.to {
                PeerTo::Interface(name) => Some(name),
                PeerTo::Address(_) => None,
            })
            .collect();
        self.advertised.retain(|name, _| unnumbered.contains(name));
        for name in &unnumbered {
            self.advertised.entry((*name).clone()).or_insert_with(now);
        }
        if !unnumbered.is_empty() && self.neighbours.is_none() {
            let (sender, known) = watch::channel(Arc::default());
            self.neighbours =
                Some(Watched { known, _ends_with_it: AbortOnDrop(tokio::spawn(neighbours::watch(sender))) });
        } else if unnumbered.is_empty() {
            self.neighbours = None;
        }
        let passive = targets.iter().filter(|target| target.settings.passive);
        let mut wanted: Vec<SocketAddr> = passive.map(|target| self.listening_place(target)).collect();
        // Where everything is listened for, single addresses are too.
        let all = wanted.clone();
        wanted.retain(|place| {
            place.ip().is_unspecified()
                || !all.contains(&Listener::everywhere(place.is_ipv6(), self.listen_port))
        });
        self.listeners.retain(|place, listener| wanted.contains(place) && listener.is_ok());
        self.reopen = None;
        let passwords: Vec<(IpAddr, Password)> = targets
            .iter()
            .filter_map(|target| Some((self.address(target).ok()?.ip(), target.password.clone()?)))
            .collect();
        for place in wanted {
            let listener = self.listeners.entry(place).or_insert_with(|| {
                Listener::open(place).map_err(|error| {
                    let hint = match error.kind() {
                        io::ErrorKind::AddrInUse => ": another program of this node has the port",
                        io::ErrorKind::PermissionDenied => ": the capability NET_BIND_SERVICE is needed",
                        _ => "",
                    };
                    format!("cannot listen on {place}: {error}{hint}")
                })
            });
            match listener {
                Ok(listener) => listener.set_passwords(&passwords),
                Err(problem) => {
                    tracing::warn!(%problem, "passive BGP peers cannot connect");
                    self.reopen = Some(now() + REOPEN);
                }
            }
        }
    }

    fn listening_place(&self, target: &Target) -> SocketAddr {
        let ipv6 = match (&target.to, target.source) {
            (_, Some(source)) => return SocketAddr::new(source, self.listen_port),
            (PeerTo::Address(address), None) => address.is_ipv6(),
            (PeerTo::Interface(_), None) => true,
        };
        Listener::everywhere(ipv6, self.listen_port)
    }

    /// Why a passive peer cannot connect.
    pub(super) fn problem(&self, target: &Target) -> Option<String> {
        if !target.settings.passive {
            return None;
        }
        let place = self.listening_place(target);
        let everywhere = Listener::everywhere(place.is_ipv6(), self.listen_port);
        let listener = self.listeners.get(&place).or_else(|| self.listeners.get(&everywhere));
        listener.and_then(|listener| listener.as_ref().err().cloned())
    }

    /// Whether the kernel has checked the password of a connection that was accepted.
    pub(super) fn was_signed(&self, peer: IpAddr) -> bool {
        self.listeners.values().flatten().any(|listener| listener.knows(peer))
    }

    pub(super) fn listeners(&self) -> impl Iterator<Item = (SocketAddr, Option<&String>)> {
        self.listeners.iter().map(|(place, listener)| (*place, listener.as_ref().err()))
    }

    /// Waits until the neighbours change.
    pub(super) async fn neighbours_changed(neighbours: &mut Option<watch::Receiver<Arc<Neighbours>>>) {
        if let Some(known) = neighbours
            && known.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    pub(super) fn watched_neighbours(&self) -> Option<watch::Receiver<Arc<Neighbours>>> {
        self.neighbours.as_ref().map(|watched| watched.known.clone())
    }

    /// Takes connections that wait, and asks to be woken for more. Answers whether something is to be done.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let mut failed = None;
        for (place, listener) in &self.listeners {
            let Ok(listener) = listener else { continue };
            while self.accepted.len() < SHARE {
                match listener.poll_accept(context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(accepted)) => self.accepted.push(accepted),
                    Poll::Ready(Err(error)) => {
                        failed = Some((*place, format!("cannot listen on {place}: {error}")));
                        break;
                    }
                }
            }
        }
        // Not at once again: the cause may persist.
        if let Some((place, problem)) = failed {
            tracing::warn!(%problem, "passive BGP peers cannot connect");
            self.listeners.insert(place, Err(problem));
            self.reopen = Some(now() + REOPEN);
        }
        let ending =
            self.ending.iter().fold(false, |ready, (connection, _)| ready | connection.poll_ready(context));
        ending || !self.accepted.is_empty()
    }

    /// Lets a connection end.
    pub(super) fn end(&mut self, mut connection: Connection) {
        if !connection.connecting {
            connection.shut();
            self.ending.push((connection, now() + LINGER));
        }
    }

    /// Forgets connections that have ended.
    pub(super) fn drain(&mut self) {
        let buffer = &mut self.buffer;
        self.ending.retain_mut(|(connection, until)| *until > now() && !connection.drain(buffer));
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.ending.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let ending = self.ending.iter().map(|(_, until)| *until);
        ending.chain(self.reopen).chain(self.advertised.values().copied()).min()
    }

    /// Advertises this node where it is time to.
    pub(super) fn advertise(&mut self) {
        for (name, next) in self.advertised.iter_mut().filter(|(_, next)| **next <= now()) {
            let port = local::port(name, &self.links);
            let sent = match port.and_then(|port| Some((port, port.link_local?))) {
                Some((port, own)) => advertise::advertise(&port, own),
                None => Err(io::ErrorKind::AddrNotAvailable.into()),
            };
            if let Err(error) = &sent {
                tracing::debug!(interface = name, %error, "no router advertisement sent");
            }
            *next = now() + if sent.is_ok() { ADVERTISE } else { ADVERTISE_AGAIN };
        }
    }

    /// Whether listeners are to be opened again.
    pub(super) fn is_reopening(&self) -> bool {
        self.reopen.is_some_and(|at| at <= now())
    }

    pub(super) fn tell(&mut self, event: PeeringEvent) {
        if let Err(error) = self.events.try_send(event) {
            tracing::debug!(%error, "an event of a BGP session is not taken");
        }
    }
}
