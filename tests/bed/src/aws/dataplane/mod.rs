//! The data plane: real load balancers that serve what the API was told. I/O, but for [`choice`], [`route`] and [`proxy_protocol`].
//!
//! It runs in the cloud's namespace. A loop looks at the picture of [`super::elb::traffic`] whenever something changed, gives load balancers their
//! addresses, lets the kernel drop what security groups do not let in, starts and ends listeners and health checks. Connections look at the picture of the moment.
//!
//! What AWS does and this does not: IPv6; HTTP/2 and gRPC; one address per load balancer and not one per zone, so all zones' targets
//! share all traffic; idle timeouts of TCP; actions that authenticate are passed over.

mod alb;
mod choice;
mod health;
mod network;
mod nlb;
mod proxy_protocol;
mod route;
mod tls;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cloud::Cloud;
use super::elb::state::Kind;
use super::elb::traffic::{Balancer, Group, Reachable, Served, Traffic};
use crate::namespace::Namespace;

/// How often the clock may have changed something: a load balancer is active, a target has drained.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks at the picture.
const QUIET: Duration = Duration::from_millis(10);
/// How long a load balancer tries to connect to a target.
const CONNECT: Duration = Duration::from_secs(5);

/// What all listeners and connections share.
#[derive(Debug)]
pub struct Plane {
    cloud: Arc<Cloud>,
    traffic: watch::Receiver<Arc<Traffic>>,
    tls: tls::Configs,
    /// How much faster than told targets are checked.
    pub health_speed: f64,
    /// Makes choices differ.
    count: AtomicU64,
    /// Whose turn it is, by target group.
    turns: Mutex<BTreeMap<String, u64>>,
}

/// A protocol of the transport layer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Transport {
    Tcp,
    Udp,
}

/// Serves until it is dropped.
pub async fn run(cloud: Arc<Cloud>, region: String, health_speed: f64, router: Namespace) -> Result<()> {
    let (sender, traffic) = watch::channel(Arc::new(Traffic::default()));
    let tls = tls::Configs::new(cloud.clone(), region.clone())?;
    let plane = Arc::new(Plane {
        cloud: cloud.clone(),
        traffic,
        tls,
        health_speed,
        count: AtomicU64::new(1),
        turns: Mutex::default(),
    });
    let mut network = network::Network::new(router);
    let mut listeners: BTreeMap<(Ipv4Addr, u16, Transport), (String, Tasks)> = BTreeMap::new();
    let mut checks: BTreeMap<(String, String, u16), Tasks> = BTreeMap::new();
    let mut changes = cloud.changes();
    loop {
        let begin = tokio::time::Instant::now();
        let (now, elastic) = cloud.with(&region, |elb, context| {
            elb.settle(context);
            (elb.traffic(context), elb.elastic_addresses())
        });
        // It runs programs, and waits for them.
        let applied = tokio::task::block_in_place(|| network.apply(&now, &elastic));
        if let Err(error) = applied {
            // It is tried again at the next look; whoever waits for traffic should know why there is none.
            eprintln!("the bed's AWS: addresses and packet filter of load balancers: {error:#}");
        }
        let now = Arc::new(now);
        sender.send_if_modified(|before| {
            let changed = **before != *now;
            *before = now.clone();
            changed
        });
        serve_listeners(&plane, &now, &mut listeners).await?;
        check_targets(&plane, &region, &now, &mut checks);
        cloud.looked();
        // Hundreds of load balancers made in a row must not be looked at hundreds of times.
        tokio::time::sleep(QUIET.max(begin.elapsed() * 2)).await;
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| anyhow!("the cloud is gone"))?,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Tasks(JoinHandle<()>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve_listeners(
    plane: &Arc<Plane>,
    traffic: &Traffic,
    running: &mut BTreeMap<(Ipv4Addr, u16, Transport), (String, Tasks)>,
) -> Result<()> {
    let mut wanted = BTreeMap::new();
    for balancer in &traffic.balancers {
        for served in &balancer.listeners {
            let transports: &[Transport] = match served.protocol.as_str() {
                "UDP" => &[Transport::Udp],
                "TCP_UDP" => &[Transport::Tcp, Transport::Udp],
                _ => &[Transport::Tcp],
            };
            for transport in transports {
                wanted.insert((balancer.address, served.port, *transport), (&served.arn, &served.protocol));
            }
        }
    }
    running.retain(|key, (arn, task)| {
        wanted.get(key).is_some_and(|(own, _)| *own == arn) && !task.0.is_finished()
    });
    for (key, (arn, protocol)) in wanted {
        if running.contains_key(&key) {
            continue;
        }
        let (address, port, transport) = key;
        let at = SocketAddr::from((address, port));
        let (plane, arn) = (plane.clone(), arn.clone());
        // Its own address was added a moment ago; one that cannot be had now is tried again at the next tick.
        let task = match transport {
            Transport::Udp => {
                let Ok(socket) = UdpSocket::bind(at).await else { continue };
                tokio::spawn(udp::serve(plane, arn.clone(), socket))
            }
            Transport::Tcp => {
                let Ok(listener) = listen(at) else { continue };
                match protocol.as_str() {
                    "HTTP" | "HTTPS" => tokio::spawn(alb::serve(plane, arn.clone(), listener)),
                    _ => tokio::spawn(nlb::serve(plane, arn.clone(), listener)),
                }
            }
        };
        running.insert(key, (arn, Tasks(task)));
    }
    Ok(())
}

fn listen(at: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    Ok(socket.listen(1024)?)
}

fn check_targets(
    plane: &Arc<Plane>,
    region: &str,
    traffic: &Traffic,
    running: &mut BTreeMap<(String, String, u16), Tasks>,
) {
    let mut wanted = BTreeMap::new();
    for (arn, group) in &traffic.groups {
        for target in group.targets.iter().filter(|target| !target.draining && !target.unused) {
            wanted.insert((arn.clone(), target.id.clone(), target.port), ());
        }
    }
    running.retain(|key, _| wanted.contains_key(key));
    for (key, ()) in wanted {
        running.entry(key.clone()).or_insert_with(|| {
            let (arn, id, port) = key;
            Tasks(tokio::spawn(health::check(plane.clone(), region.to_owned(), arn, id, port)))
        });
    }
}

impl Plane {
    /// The picture of the moment.
    fn now(&self) -> Arc<Traffic> {
        self.traffic.borrow().clone()
    }

    /// A number that no earlier choice had.
    fn number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that goes up by one with each choice of a group's targets.
    fn turn(&self, group: &str) -> u64 {
        let mut turns = self.turns.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let turn = turns.entry(group.to_owned()).or_default();
        *turn += 1;
        *turn
    }

    /// Connects to a target as the load balancer that has that address inside, or as the client if the group keeps clients' addresses. Packets that the
    /// target's security groups do not let in get no answer.
    async fn connect(
        &self,
        own: Ipv4Addr,
        group: &Group,
        target: &Reachable,
        client: SocketAddr,
    ) -> Result<TcpStream> {
        let address = target.address.with_context(|| format!("{} has no address", target.id))?;
        if !lets_in(group, target, client) {
            tokio::time::sleep(CONNECT).await;
            bail!("the security groups of {} let nothing in to port {}", target.id, target.port);
        }
        connect(source(own, group, client), SocketAddr::new(address, target.port), CONNECT).await
    }

    /// Returns when a connection through a listener to a target has to be closed.
    async fn ended(&self, listener: &str, group: &str, id: &str, port: u16) {
        let mut traffic = self.traffic.clone();
        loop {
            if must_end(&traffic.borrow_and_update(), listener, group, id, port) {
                return;
            }
            if traffic.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Whether a target's security groups let in what a client sends to it through a load balancer.
fn lets_in(group: &Group, target: &Reachable, client: SocketAddr) -> bool {
    let kept = group.is("preserve_client_ip.enabled");
    target.open || kept && target.client_sources.iter().any(|range| range.contains(&client.ip()))
}

/// Whether a connection has to be closed: its listener is gone; its target is gone and connections are not left alone; its target is unhealthy while others are
/// not. Pure.
fn must_end(traffic: &Traffic, listener: &str, group: &str, id: &str, port: u16) -> bool {
    if traffic.listener(listener).is_none() {
        return true;
    }
    let Some(group) = traffic.groups.get(group) else { return false };
    match group.targets.iter().find(|target| target.id == id && target.port == port) {
        None => {
            group.kind == Kind::Application || group.is("deregistration_delay.connection_termination.enabled")
        }
        Some(target) => {
            target.unhealthy
                && group.is("target_health_state.unhealthy.connection_termination.enabled")
                && group.targets.iter().any(|other| other.healthy && !other.draining)
        }
    }
}

impl Traffic {
    /// A listener and its load balancer.
    fn listener(&self, arn: &str) -> Option<(&Balancer, &Served)> {
        let mut balancers = self.balancers.iter();
        balancers.find_map(|balancer| {
            balancer.listeners.iter().find(|served| served.arn == arn).map(|served| (balancer, served))
        })
    }
}

/// The address that a target sees. Pure.
fn source(own: Ipv4Addr, group: &Group, client: SocketAddr) -> Ipv4Addr {
    match client.ip() {
        IpAddr::V4(address) if group.is("preserve_client_ip.enabled") => address,
        _ => own,
    }
}

/// A TCP connection from any address, also from one that is not of this namespace.
async fn connect(from: Ipv4Addr, to: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    SockRef::from(&socket).set_ip_transparent_v4(true)?;
    socket.bind((from, 0).into()).with_context(|| format!("binding to {from}"))?;
    let stream = tokio::time::timeout(timeout, socket.connect(to)).await.context("timed out")??;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Closes a connection at once: the other side sees a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::aws::elb::state::HealthCheck;

    /// A load balancer with a listener, and a target group with these targets: `h`ealthy, `u`nhealthy, `d`raining.
    fn traffic(kind: Kind, states: &str, set: &[&'static str]) -> Traffic {
        let target = |(index, state): (usize, char)| Reachable {
            id: format!("i-{index}"),
            port: 1,
            address: None,
            healthy: state == 'h',
            unhealthy: state == 'u',
            draining: state == 'd',
            unused: false,
            open: true,
            check_open: true,
            client_sources: Vec::new(),
        };
        let check = HealthCheck::tcp();
        let group = Group {
            protocol: "TCP".into(),
            kind,
            check,
            private: [10, 0, 0, 1].into(),
            attributes: set.iter().map(|key| (*key, "true".to_owned())).collect(),
            targets: states.chars().enumerate().map(target).collect(),
        };
        let served = Served {
            arn: "listener".into(),
            port: 80,
            protocol: "TCP".into(),
            certificates: Vec::new(),
            idle_timeout: 350,
            rules: Vec::new(),
            tcp_sources: Vec::new(),
            udp_sources: Vec::new(),
        };
        let balancer = Balancer {
            arn: "balancer".into(),
            kind,
            dns_name: String::new(),
            address: [198, 51, 100, 32].into(),
            internal: false,
            private: [10, 0, 0, 1].into(),
            guarded: false,
            listeners: vec![served],
            idle_timeout: 60,
        };
        Traffic { balancers: vec![balancer], groups: BTreeMap::from([("group".to_owned(), group)]) }
    }

    #[test]
    fn connections_end_when_aws_would_end_them() {
        const UNHEALTHY: &str = "target_health_state.unhealthy.connection_termination.enabled";
        const DRAINED: &str = "deregistration_delay.connection_termination.enabled";
        let (net, app) = (Kind::Network, Kind::Application);
        // The connection is one to i-0; states are those of i-0, i-1, ...
        for (kind, states, set, ends) in [
            (net, "hh", &[UNHEALTHY][..], false),
            (net, "dh", &[UNHEALTHY, DRAINED], false),
            (net, "uh", &[UNHEALTHY], true),
            (net, "uh", &[], false),
            (net, "uu", &[UNHEALTHY], false),
            (net, "ud", &[UNHEALTHY], false),
            (net, "", &[], false),
            (net, "", &[DRAINED], true),
            (app, "", &[], true),
        ] {
            let picture = traffic(kind, states, set);
            assert_eq!(must_end(&picture, "listener", "group", "i-0", 1), ends, "{kind:?} {states} {set:?}");
        }
        assert!(must_end(&traffic(net, "h", &[]), "gone", "group", "i-0", 1));
        assert!(!must_end(&traffic(net, "h", &[]), "listener", "gone", "i-0", 1));
    }
}
