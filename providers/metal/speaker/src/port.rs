//! One interface at work: a packet socket per family and the [`Segment`] that tells what to say on it. I/O.
//!
//! One task per interface, so that an answer costs one wake-up and no channel. Frames are read into, and written from, buffers
//! that live as long as the task.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_sys::{Addressed, PacketSocket, Received, Traffic, boottime};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::groups::Groups;
use crate::l2::{DropReason, Finding, Frame, Frames, Kin, MacAddr, Probing, Segment, Timing, Verdict};
use crate::metrics::{AddressLabel, ByAddress, ByReason, Metrics, NamedCount};
use crate::moment::Moment;

/// Frames, or addresses to say unasked, that are dealt with before looking whether something else waits.
const BATCH: usize = 64;
/// Room for the longest frame that is looked at: on Ethernet, with a VLAN tag. Of a longer one the rest is lost, which the checksum then tells.
const BUFFER: usize = 1518;

/// Now, by the clock that counts suspended time too.
pub(crate) fn now() -> Moment {
    Moment::after_origin(boottime())
}

#[derive(Debug)]
enum Command {
    Announce(BTreeSet<IpAddr>),
    Repeat,
    Mac(MacAddr),
    Kin(Arc<Kin>),
    Probe(IpAddr),
}

/// What was found out on the interface with this index.
pub(crate) type Found = (u32, Finding);

/// How a port works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) timing: Timing,
    pub(crate) probing: Probing,
    /// Spreads what is periodic.
    pub(crate) seed: u64,
}

/// The handle of an interface's task. Dropping it ends the task, and with it every answer.
#[derive(Debug)]
pub(crate) struct Port {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<io::Error>,
    mac: MacAddr,
    announced: BTreeSet<IpAddr>,
    kin: Arc<Kin>,
}

impl Port {
    /// Opens the interface. What is found out there goes to `found`.
    pub(crate) fn open(
        index: u32,
        mac: MacAddr,
        manner: Manner,
        metrics: &Metrics,
        found: mpsc::UnboundedSender<Found>,
    ) -> io::Result<Self> {
        let arp = PacketSocket::open(index, Traffic::Arp)?;
        let ndp = PacketSocket::open(index, Traffic::NeighborDiscovery)?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let answerer = Answerer {
            index,
            groups: Groups::new(index, &ndp)?,
            arp,
            ndp,
            segment: Segment::new(mac, manner.timing, manner.probing, manner.seed),
            found,
            counters: HashMap::new(),
            dropped: DropReason::ALL.map(|reason| {
                metrics.frames_dropped.get_or_create_owned(&ByReason { reason: reason.name() })
            }),
            metrics: metrics.clone(),
        };
        let task = tokio::spawn(answerer.run(inbox));
        Ok(Port { commands, task, mac, announced: BTreeSet::new(), kin: Arc::default() })
    }

    /// Announce exactly these.
    pub(crate) fn announce(&mut self, addresses: &BTreeSet<IpAddr>) {
        if self.announced != *addresses {
            self.announced.clone_from(addresses);
            self.tell(Command::Announce(addresses.clone()));
        }
    }

    /// Say again what is announced.
    pub(crate) fn repeat(&self) {
        self.tell(Command::Repeat);
    }

    /// The interface's hardware address is this one now.
    pub(crate) fn set_mac(&mut self, mac: MacAddr) {
        if self.mac != mac {
            self.mac = mac;
            self.tell(Command::Mac(mac));
        }
    }

    /// The stations that are no strangers.
    pub(crate) fn set_kin(&mut self, kin: &Arc<Kin>) {
        if self.kin != *kin {
            self.kin = Arc::clone(kin);
            self.tell(Command::Kin(Arc::clone(kin)));
        }
    }

    /// Ask whether somebody has this address.
    pub(crate) fn probe(&self, address: IpAddr) {
        self.tell(Command::Probe(address));
    }

    /// Whether the task has ended, because the socket failed.
    pub(crate) fn failed(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends the task and waits for that; after this nothing is answered any more. Gives the error if it had failed by itself.
    pub(crate) async fn close(self) -> Option<io::Error> {
        drop(self.commands);
        if !self.task.is_finished() {
            self.task.abort();
        }
        self.task.await.ok()
    }

    fn tell(&self, command: Command) {
        // Fails only when the task has ended; then the port is opened anew and told everything.
        let _ended = self.commands.send(command);
    }
}

/// Counters at hand, so that counting takes no lock.
struct AddressCounters {
    requests: NamedCount,
    responses: NamedCount,
    gratuitous: NamedCount,
}

struct Answerer {
    index: u32,
    arp: PacketSocket,
    ndp: PacketSocket,
    groups: Groups,
    segment: Segment,
    found: mpsc::UnboundedSender<Found>,
    metrics: Metrics,
    counters: HashMap<IpAddr, AddressCounters>,
    dropped: [Counter; DropReason::ALL.len()],
}

impl Answerer {
    /// Works until a socket fails; the task is aborted when its [`Port`] closes.
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) -> io::Error {
        let (mut arp_buffer, mut ndp_buffer) = ([0u8; BUFFER], [0u8; BUFFER]);
        let timer = sleep(Duration::ZERO);
        tokio::pin!(timer);
        let mut armed = None;
        loop {
            // Set only when the time changes: not for each frame.
            let due = self.segment.next_deadline();
            if due != armed {
                armed = due;
                let wait = due.map_or(Duration::ZERO, |due| due.saturating_since(now()));
                timer.as_mut().reset(Instant::now() + wait);
            }
            let answered = tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => {
                        self.obey(command);
                        Ok(())
                    }
                    None => return io::Error::from(io::ErrorKind::BrokenPipe),
                },
                received = self.arp.receive(&mut arp_buffer) => {
                    self.answer(Traffic::Arp, received, &mut arp_buffer)
                }
                received = self.ndp.receive(&mut ndp_buffer) => {
                    self.answer(Traffic::NeighborDiscovery, received, &mut ndp_buffer)
                }
                () = &mut timer, if armed.is_some() => {
                    armed = None;
                    self.speak().await;
                    Ok(())
                }
            };
            if let Err(error) = answered {
                return error;
            }
            let mut found = false;
            while let Some(finding) = self.segment.next_finding() {
                // Nobody listens when everything is coming to its end.
                let _gone = self.found.send((self.index, finding));
                found = true;
            }
            if found {
                // What is not asked for any more needs no group.
                self.join();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Announce(addresses) => {
                self.segment.announce(&addresses, now());
                self.join();
                self.counters.retain(|address, _| addresses.contains(address));
                for address in addresses {
                    let labels = ByAddress { ip: AddressLabel(address) };
                    self.counters.entry(address).or_insert_with(|| AddressCounters {
                        requests: self.metrics.requests_received.get_or_create_owned(&labels),
                        responses: self.metrics.responses_sent.get_or_create_owned(&labels),
                        gratuitous: self.metrics.gratuitous_sent.get_or_create_owned(&labels),
                    });
                }
            }
            Command::Repeat => self.segment.repeat_all(now()),
            Command::Mac(mac) => self.segment.set_mac(mac, now()),
            Command::Kin(kin) => self.segment.set_kin(kin),
            Command::Probe(address) => {
                self.segment.probe(address, now());
                self.join();
            }
        }
    }

    /// Joins the groups of what is announced and asked for.
    fn join(&mut self) {
        self.groups.set(&self.segment.groups(), &self.ndp);
    }

    fn socket(&self, traffic: Traffic) -> &PacketSocket {
        match traffic {
            Traffic::Arp => &self.arp,
            Traffic::NeighborDiscovery => &self.ndp,
        }
    }

    fn socket_for(&self, address: IpAddr) -> &PacketSocket {
        self.socket(if address.is_ipv4() { Traffic::Arp } else { Traffic::NeighborDiscovery })
    }

    /// Answers one frame and those that wait behind it. An error is one of the socket that will not go away.
    fn answer(&mut self, traffic: Traffic, first: io::Result<Received>, buffer: &mut [u8]) -> io::Result<()> {
        let mut next = first;
        for _ in 0..BATCH {
            match next {
                Ok(received) => {
                    let frame = buffer.get(..received.length).unwrap_or(buffer);
                    self.judge(frame, received.addressed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Told once when the interface goes down. It can come up again, and netlink tells about both.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            next = self.socket(traffic).try_receive(buffer);
        }
        Ok(())
    }

    fn judge(&mut self, frame: &[u8], addressed: Addressed) {
        match self.segment.receive(frame, addressed, now()) {
            Verdict::Reply { address, frame } => {
                let sent = self.send(address, &frame);
                if let Some(counters) = self.counters.get(&address) {
                    counters.requests.inc();
                    counters.responses.inc_by(u64::from(sent));
                }
            }
            Verdict::Defend { address, frames } => {
                for frame in frames.iter() {
                    let sent = self.send(address, frame);
                    self.count_gratuitous(address, sent);
                }
            }
            Verdict::Dropped(reason) => {
                self.dropped[reason as usize].inc();
            }
        }
    }

    /// Says some addresses unasked, and asks for some.
    async fn speak(&mut self) {
        for _ in 0..BATCH {
            let Some((address, frames)) = self.segment.next_unsolicited(now()) else { break };
            self.say(address, &frames).await;
        }
        for _ in 0..BATCH {
            let Some((address, frame)) = self.segment.next_question(now()) else { break };
            self.note(self.socket_for(address).send(frame.as_slice()).await);
        }
    }

    async fn say(&self, address: IpAddr, frames: &Frames) {
        for frame in frames.iter() {
            let sent = self.note(self.socket_for(address).send(frame.as_slice()).await);
            self.count_gratuitous(address, sent);
        }
    }

    fn count_gratuitous(&self, address: IpAddr, sent: bool) {
        if let Some(counters) = self.counters.get(&address) {
            counters.gratuitous.inc_by(u64::from(sent));
        }
    }

    /// An answer that does not fit into the socket's buffer is dropped: the asker asks again, and waiting would hold up the others.
    fn send(&self, address: IpAddr, frame: &Frame) -> bool {
        self.note(self.socket_for(address).try_send(frame.as_slice()))
    }

    fn note(&self, sent: io::Result<()>) -> bool {
        if let Err(error) = &sent {
            self.metrics.send_errors.inc();
            tracing::debug!(%error, "frame not sent");
        }
        sent.is_ok()
    }
}
