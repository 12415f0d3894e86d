//! The task that owns all sessions. I/O.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::metrics::BgpMetrics;
use super::peer::Peering;
use super::rim::Rim;
use super::snapshot::{ListenerSnapshot, PeerSnapshot, PeeringSnapshot};
use super::target::Target;
use super::{BfdNews, Channels, Config, Desired, Statuses};
use crate::bgp::{Input, StopReason};
use crate::jitter::Jitter;
use crate::moment::Moment;
use crate::port::now;

/// The longest time between two looks at the timers, so that a suspended machine is noticed soon after it wakes.
const HEARTBEAT_OF_LOOP: Duration = Duration::from_secs(1);
/// Between the end of a session and the next one with the same peer: it is to have noticed the end.
const PAUSE: Duration = Duration::from_millis(200);
/// How much longer than asked for an end may take.
const PATIENCE: Duration = Duration::from_secs(3);

struct Task {
    config: Config,
    seeds: Jitter,
    desired: Option<Arc<Desired>>,
    links_known: bool,
    peers: BTreeMap<String, Peering>,
    rim: Rim,
    statuses: watch::Sender<Arc<Statuses>>,
    /// When everything is to have ended.
    end: Option<Moment>,
}

pub(super) async fn run(
    config: Config,
    channels: Channels,
    metrics: BgpMetrics,
    shutdown: impl Future<Output = StopReason>,
) {
    let Channels { mut desired, mut links, mut bfd, statuses, events, mut snapshots } = channels;
    let mut shutdown = pin!(shutdown);
    let mut task = Task {
        seeds: Jitter::new(config.seed),
        rim: Rim::new(config.listen_port, metrics, events),
        config,
        desired: None,
        links_known: false,
        peers: BTreeMap::new(),
        statuses,
        end: None,
    };
    desired.mark_changed();
    links.mark_changed();
    while !task.is_over() {
        let timer = task.timer();
        let mut neighbours = task.rim.watched_neighbours();
        let wake = sleep_until(timer.unwrap_or_else(Instant::now));
        // A channel whose sender has gone is never ready again: what it said last stays.
        tokio::select! {
            reason = &mut shutdown, if task.end.is_none() => task.end(&reason),
            Ok(()) = desired.changed() => {
                task.desired.clone_from(&desired.borrow_and_update());
                task.adjust();
            }
            Ok(()) = links.changed() => {
                if let Some(links) = links.borrow_and_update().clone() {
                    task.take_links(links);
                }
            }
            () = Rim::neighbours_changed(&mut neighbours) => {
                task.serve();
                for peer in task.peers.values_mut() {
                    peer.look_at_neighbours(&mut task.rim);
                }
            }
            Some(news) = bfd.recv() => task.take_bfd(&news),
            Some(answer) = snapshots.recv() => task.answer(answer),
            () = task.ready() => {}
            () = wake, if timer.is_some() => {}
        }
        task.work();
    }
    task.publish();
}

impl Task {
    /// Waits until something can be done about a socket.
    async fn ready(&mut self) {
        poll_fn(|context| {
            let rim = self.rim.poll(context);
            let peers = self.peers.values().fold(rim, |ready, peer| ready | peer.poll(context));
            if peers { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// When to look at the timers; nothing if there is nothing to wait for.
    fn timer(&self) -> Option<Instant> {
        let peers = self.peers.values().filter_map(Peering::next_deadline);
        let next = peers.chain(self.rim.next_deadline()).chain(self.end).min()?;
        Some(Instant::now() + next.saturating_since(now()).min(HEARTBEAT_OF_LOOP))
    }

    /// Takes what is there on all sockets, then looks at the timers.
    fn work(&mut self) {
        for (stream, from) in std::mem::take(&mut self.rim.accepted) {
            let rim = &mut self.rim;
            match self.peers.values_mut().find(|peer| rim.is_from(&peer.target, from)) {
                Some(peer) if peer.target.password.is_none() || rim.was_signed(from.ip()) => {
                    peer.accept(stream, rim);
                }
                // Closed by being dropped.
                _ => tracing::debug!(%from, "connection of somebody who is no peer"),
            }
        }
        for peer in self.peers.values_mut() {
            peer.work(&mut self.rim);
        }
        self.rim.drain();
        self.rim.advertise();
        if self.rim.is_reopening() {
            self.serve();
        }
        self.publish();
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.rim.news) {
            self.statuses.send_replace(Arc::new(self.rim.statuses.clone()));
        }
    }

    fn take_links(&mut self, links: Arc<crate::interfaces::Links>) {
        self.rim.links = links;
        if !self.links_known {
            self.links_known = true;
            self.adjust();
        }
        for peer in self.peers.values_mut() {
            peer.look_at_links(&mut self.rim);
        }
    }

    /// Makes the sessions those that are wanted.
    fn adjust(&mut self) {
        let Some(desired) = self.desired.clone().filter(|_| self.links_known && self.end.is_none()) else {
            return;
        };
        let gone: Vec<String> =
            self.peers.keys().filter(|name| !desired.peers.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(peer) = self.peers.remove(&name) {
                peer.retire(StopReason::Deconfigured, &mut self.rim);
            }
        }
        let start = now();
        let mut fresh = Vec::new();
        for (name, wish) in &desired.peers {
            let target = Target::new(&wish.peer, &self.config.node, &desired.addresses);
            let mut at = start;
            match self.peers.get_mut(name) {
                Some(peer) if *peer.target == target => peer.set_routes(&wish.routes, &mut self.rim),
                _ => {
                    if let Some(peer) = self.peers.remove(name) {
                        let graceful = |target: &Target| target.settings.graceful_restart.is_some();
                        let reason = if graceful(&peer.target) && graceful(&target) {
                            StopReason::Restart
                        } else {
                            StopReason::Changed
                        };
                        peer.retire(reason, &mut self.rim);
                        at = start + PAUSE;
                    }
                    fresh.push((name, target, &wish.routes, at));
                }
            }
        }
        for (name, target, routes, at) in fresh {
            let manner = (at, self.seeds.bits());
            let peer = Peering::begin(name, target, Arc::clone(routes), manner, &mut self.rim);
            self.peers.insert(name.clone(), peer);
        }
        self.serve();
    }

    /// Listens, and watches neighbours, as far as it is needed.
    fn serve(&mut self) {
        let targets: Vec<Arc<Target>> = self.peers.values().map(|peer| Arc::clone(&peer.target)).collect();
        self.rim.serve(&targets);
        for peer in self.peers.values_mut() {
            peer.look_at_listeners(&mut self.rim);
        }
    }

    fn take_bfd(&mut self, news: &BfdNews) {
        if let Some(peer) = self.peers.get_mut(&news.peer) {
            peer.step(if news.up { Input::BfdUp } else { Input::BfdDown }, &mut self.rim);
        }
    }

    fn end(&mut self, reason: &StopReason) {
        self.end = Some(now() + reason.wait() + PATIENCE);
        for peer in self.peers.values_mut() {
            peer.step(Input::Stop(reason.clone()), &mut self.rim);
        }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| {
            end <= now() || (self.rim.is_quiet() && self.peers.values().all(Peering::is_finished))
        })
    }

    fn answer(&self, answer: oneshot::Sender<PeeringSnapshot>) {
        let peers = self.peers.values().map(|peer| PeerSnapshot {
            to: peer.target.to.to_string(),
            port: peer.target.port,
            ttl: peer.target.ttl,
            minimum_ttl: peer.target.minimum_ttl,
            password: peer.target.password.is_some(),
            passive: peer.target.settings.passive,
            session: peer.session.snapshot(now()),
        });
        let listeners = self
            .rim
            .listeners()
            .map(|(address, problem)| ListenerSnapshot { address, problem: problem.cloned() });
        // Whoever asked may have gone.
        let _gone = answer.send(PeeringSnapshot { peers: peers.collect(), listeners: listeners.collect() });
    }
}
