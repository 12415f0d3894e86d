//! Flows of Network Load Balancers over UDP: a client's datagrams go to one target as long as that works. I/O.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::{Plane, choice, lets_in, nlb, source};

/// How long a flow lives without a datagram (NLB user guide: 120 s).
const IDLE: Duration = Duration::from_secs(120);
/// Most flows of a listener.
const MOST: usize = 10_000;

struct Flow {
    socket: Arc<UdpSocket>,
    group: String,
    target: (String, u16),
    answers: JoinHandle<()>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// Serves a listener's datagrams until it is aborted.
pub async fn serve(plane: Arc<Plane>, listener: String, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        // An error is an ICMP message about an earlier datagram.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        if flows.get(&client).is_some_and(|flow| !goes_on(&plane, flow)) {
            flows.remove(&client);
        }
        if !flows.contains_key(&client) {
            if flows.len() >= MOST {
                flows.retain(|_, flow| !flow.answers.is_finished());
            }
            let Some(flow) = open(&plane, &listener, &socket, client).await else { continue };
            flows.insert(client, flow);
        }
        if let Some(flow) = flows.get(&client) {
            let _ = flow.socket.send(&buffer[..length]).await;
        }
    }
}

/// Whether a flow's target still takes its datagrams: also while it drains, not once it is unhealthy and others are not.
fn goes_on(plane: &Plane, flow: &Flow) -> bool {
    let traffic = plane.now();
    let Some(group) = traffic.groups.get(&flow.group) else { return false };
    let mut targets = group.targets.iter();
    let target =
        targets.find(|target| (target.id.as_str(), target.port) == (flow.target.0.as_str(), flow.target.1));
    !flow.answers.is_finished()
        && target.is_some_and(|target| target.draining || group.eligible().contains(&target))
}

/// A socket with any address, also one that is not of this namespace.
fn bind(address: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_ip_transparent_v4(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    UdpSocket::from_std(socket.into())
}

async fn open(plane: &Plane, listener: &str, inward: &Arc<UdpSocket>, client: SocketAddr) -> Option<Flow> {
    let traffic = plane.now();
    let (balancer, served) = traffic.listener(listener)?;
    let number = plane.number();
    let groups = choice::groups(&served.rules.last()?.action);
    let arn = choice::group(&groups, number)?;
    let group = traffic.groups.get(arn)?;
    let by = if group.is("stickiness.enabled") { nlb::hash(client) } else { plane.turn(arn) };
    let target = choice::target(group, by)?;
    if !lets_in(group, target, client) {
        return None;
    }
    let socket = Arc::new(bind(source(balancer.private, group, client)).ok()?);
    socket.connect((target.address?, target.port)).await.ok()?;
    let (from, to) = (socket.clone(), inward.clone());
    let answers = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            match tokio::time::timeout(IDLE, from.recv(&mut buffer)).await {
                Ok(Ok(length)) => {
                    let _ = to.send_to(&buffer[..length], client).await;
                }
                // Nobody listens there: the next datagram tries anew.
                Ok(Err(_)) | Err(_) => return,
            }
        }
    });
    Some(Flow { socket, group: arn.to_owned(), target: (target.id.clone(), target.port), answers })
}
