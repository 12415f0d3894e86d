//! One interface at work: a packet socket and the [`Segment`] that tells what to say on it. I/O.
//!
//! One task per interface, so that an answer costs one wake-up and no channel. Frames are read into, and written from, buffers
//! that live as long as the task.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use causeway_sys::{Addressed, PacketSocket, Received, Traffic, boottime};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::l2::{DropReason, Frame, MacAddr, Segment, Timing, Verdict};
use crate::metrics::{AddressLabel, ByAddress, ByReason, Metrics, NamedCount};
use crate::moment::Moment;

/// Frames, or addresses to say unasked, that are dealt with before looking whether something else waits.
const BATCH: usize = 64;
/// Room for the longest frame that is looked at. What is cut off of a longer one belongs to no ARP packet.
const BUFFER: usize = 256;

/// Now, by the clock that counts suspended time too.
pub(crate) fn now() -> Moment {
    Moment::after_origin(boottime())
}

#[derive(Debug)]
enum Command {
    Announce(BTreeSet<IpAddr>),
    Repeat,
    Mac(MacAddr),
}

/// The handle of an interface's task. Dropping it ends the task, and with it every answer.
#[derive(Debug)]
pub(crate) struct Port {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<io::Error>,
    mac: MacAddr,
    announced: BTreeSet<IpAddr>,
}

impl Port {
    /// Opens the interface.
    pub(crate) fn open(
        index: u32,
        mac: MacAddr,
        timing: Timing,
        seed: u64,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let socket = PacketSocket::open(index, Traffic::Arp)?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let answerer = Answerer::new(socket, Segment::new(mac, timing, seed), metrics.clone());
        Ok(Port { commands, task: tokio::spawn(answerer.run(inbox)), mac, announced: BTreeSet::new() })
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
    socket: PacketSocket,
    segment: Segment,
    metrics: Metrics,
    counters: HashMap<IpAddr, AddressCounters>,
    dropped: [Counter; DropReason::ALL.len()],
}

impl Answerer {
    fn new(socket: PacketSocket, segment: Segment, metrics: Metrics) -> Self {
        let dropped = DropReason::ALL
            .map(|reason| metrics.frames_dropped.get_or_create_owned(&ByReason { reason: reason.name() }));
        Answerer { socket, segment, metrics, counters: HashMap::new(), dropped }
    }

    /// Works until the socket fails; the task is aborted when its [`Port`] closes.
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) -> io::Error {
        let mut buffer = [0u8; BUFFER];
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
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return io::Error::from(io::ErrorKind::BrokenPipe),
                },
                received = self.socket.receive(&mut buffer) => {
                    if let Err(error) = self.answer(received, &mut buffer) {
                        return error;
                    }
                }
                () = &mut timer, if armed.is_some() => {
                    armed = None;
                    self.speak().await;
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Announce(addresses) => {
                self.segment.announce(&addresses, now());
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
        }
    }

    /// Answers one frame and those that wait behind it. An error is one of the socket that will not go away.
    fn answer(&mut self, first: io::Result<Received>, buffer: &mut [u8]) -> io::Result<()> {
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
            next = self.socket.try_receive(buffer);
        }
        Ok(())
    }

    fn judge(&self, frame: &[u8], addressed: Addressed) {
        match self.segment.receive(frame, addressed) {
            Verdict::Reply { address, frame } => {
                let sent = self.send(&frame);
                if let Some(counters) = self.counters.get(&address) {
                    counters.requests.inc();
                    counters.responses.inc_by(u64::from(sent));
                }
            }
            Verdict::Dropped(reason) => {
                self.dropped[reason as usize].inc();
            }
        }
    }

    /// Says some addresses unasked.
    async fn speak(&mut self) {
        for _ in 0..BATCH {
            let Some((address, frames)) = self.segment.next_unsolicited(now()) else { return };
            for frame in frames {
                let sent = self.send_patiently(&frame).await;
                if let Some(counters) = self.counters.get(&address) {
                    counters.gratuitous.inc_by(u64::from(sent));
                }
            }
        }
    }

    /// An answer that does not fit into the socket's buffer is dropped: the asker asks again, and waiting would hold up the others.
    fn send(&self, frame: &Frame) -> bool {
        self.note(self.socket.try_send(frame.as_slice()))
    }

    async fn send_patiently(&self, frame: &Frame) -> bool {
        self.note(self.socket.send(frame.as_slice()).await)
    }

    fn note(&self, sent: io::Result<()>) -> bool {
        if let Err(error) = &sent {
            self.metrics.send_errors.inc();
            tracing::debug!(%error, "frame not sent");
        }
        sent.is_ok()
    }
}
