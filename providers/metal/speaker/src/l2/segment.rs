//! The state of one interface: which addresses it answers for, and to whom. Pure, sans-IO.

use std::collections::BTreeSet;
use std::net::IpAddr;

use causeway_sys::Addressed;
use etherparse::{EtherType, Ethernet2Slice};
use serde::Serialize;

use super::arp::{self, Operation};
use super::frame::{Frame, MacAddr};
use super::schedule::{Schedule, Timing};
use crate::moment::Moment;

/// Why a frame was not answered. The names are the values of the metric's label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DropReason {
    /// Too short for an Ethernet header, or for the packet that it announces.
    Truncated,
    /// Another protocol, or a form of it that is not for addresses of this family on Ethernet.
    UnknownProtocol,
    /// Addressed neither to the broadcast address nor to this interface, or to another VLAN.
    NotForUs,
    /// No question: an ARP reply.
    NotRequest,
    /// The asker's hardware address is ours: our own frame came back.
    FromUs,
    /// The asker's hardware address is zero, broadcast or multicast: an answer would go to many.
    BadSender,
    /// Nobody announces this address here.
    NotAnnounced,
}

impl DropReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [DropReason; 7] = [
        DropReason::Truncated,
        DropReason::UnknownProtocol,
        DropReason::NotForUs,
        DropReason::NotRequest,
        DropReason::FromUs,
        DropReason::BadSender,
        DropReason::NotAnnounced,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Truncated => "truncated",
            DropReason::UnknownProtocol => "unknownProtocol",
            DropReason::NotForUs => "notForUs",
            DropReason::NotRequest => "notRequest",
            DropReason::FromUs => "fromUs",
            DropReason::BadSender => "badSender",
            DropReason::NotAnnounced => "notAnnounced",
        }
    }
}

/// What to do about a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send this.
    Reply {
        /// The address that was asked for.
        address: IpAddr,
        /// The answer.
        frame: Frame,
    },
    /// Say nothing.
    Dropped(DropReason),
}

/// One interface on which addresses are announced.
#[derive(Debug)]
pub struct Segment {
    mac: MacAddr,
    schedule: Schedule,
}

impl Segment {
    /// An interface with this hardware address and nothing to announce. `seed` spreads the periodic announcements.
    pub fn new(mac: MacAddr, timing: Timing, seed: u64) -> Self {
        Segment { mac, schedule: Schedule::new(timing, seed) }
    }

    /// The interface's hardware address.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// The interface got another hardware address: every address must be said again, from the new one.
    pub fn set_mac(&mut self, mac: MacAddr, now: Moment) {
        if mac != self.mac {
            self.mac = mac;
            self.repeat_all(now);
        }
    }

    /// Announce exactly these addresses from now on. Those that were not announced before are said at once; those that are not
    /// in the set any more are forgotten without a word, for their next holder speaks for them.
    pub fn announce(&mut self, addresses: &BTreeSet<IpAddr>, now: Moment) {
        let gone: Vec<IpAddr> =
            self.schedule.addresses().filter(|address| !addresses.contains(address)).collect();
        for address in gone {
            self.schedule.stop(address);
        }
        // IPv6 has its own protocol.
        for &address in addresses.iter().filter(|address| address.is_ipv4()) {
            if !self.schedule.contains(address) {
                self.schedule.start(address, now);
            }
        }
    }

    /// Say every announced address again, as after taking it. For moments in which neighbours may have learnt something else: a node came
    /// back that may have announced the same addresses, the carrier was lost, the hardware address changed.
    pub fn repeat_all(&mut self, now: Moment) {
        let all: Vec<IpAddr> = self.schedule.addresses().collect();
        for address in all {
            self.schedule.start(address, now);
        }
    }

    /// Whether this address is announced here.
    pub fn announces(&self, address: IpAddr) -> bool {
        self.schedule.contains(address)
    }

    /// How many addresses are announced here.
    pub fn len(&self) -> usize {
        self.schedule.len()
    }

    /// Whether nothing is announced here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges one received frame. `addressed` is what the kernel says about its destination, which knows more than the frame:
    /// a stripped VLAN tag shows only there.
    ///
    /// Answered are questions to the broadcast address or to our own; the latter are how hosts confirm what they know (RFC 1122 §2.3.2.1). A question from the
    /// unspecified address is answered too (RFC 5227 §2.1.1: a probe must find the address in use).
    pub fn receive(&self, frame: &[u8], addressed: Addressed) -> Verdict {
        match self.judge(frame, addressed) {
            Ok(reply) => reply,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    fn judge(&self, frame: &[u8], addressed: Addressed) -> Result<Verdict, DropReason> {
        let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).map_err(|_| DropReason::Truncated)?;
        let destination = MacAddr(ethernet.destination());
        match addressed {
            Addressed::OtherHost => return Err(DropReason::NotForUs),
            Addressed::Outgoing => return Err(DropReason::FromUs),
            Addressed::Host | Addressed::Broadcast | Addressed::Multicast => {}
        }
        if ethernet.ether_type() != EtherType::ARP {
            return Err(DropReason::UnknownProtocol);
        }
        if destination != self.mac && destination != MacAddr::BROADCAST {
            return Err(DropReason::NotForUs);
        }
        let packet = arp::parse(ethernet.payload_slice()).map_err(|unreadable| match unreadable {
            arp::Unreadable::Truncated => DropReason::Truncated,
            arp::Unreadable::Foreign => DropReason::UnknownProtocol,
        })?;
        if packet.operation != Operation::Request {
            return Err(DropReason::NotRequest);
        }
        // Before the other looks at the sender: most broadcasts ask for addresses of others, and this is one hash.
        let address = IpAddr::V4(packet.target_address);
        if !self.schedule.contains(address) {
            return Err(DropReason::NotAnnounced);
        }
        if packet.sender_mac == self.mac {
            return Err(DropReason::FromUs);
        }
        if !packet.sender_mac.is_station() {
            return Err(DropReason::BadSender);
        }
        Ok(Verdict::Reply { address, frame: arp::reply(self.mac, &packet) })
    }

    /// The frames of one address whose turn has come, or nothing when [`Self::next_deadline`] lies ahead. To be called until it
    /// gives nothing; one address at a time, so that the caller can answer questions in between.
    pub fn next_unsolicited(&mut self, now: Moment) -> Option<(IpAddr, [Frame; 2])> {
        loop {
            match self.schedule.next(now)? {
                IpAddr::V4(address) => {
                    let say = |operation| arp::gratuitous(self.mac, address, operation);
                    return Some((address.into(), [say(Operation::Request), say(Operation::Reply)]));
                }
                // Never scheduled: see `announce`.
                IpAddr::V6(_) => continue,
            }
        }
    }

    /// When [`Self::next_unsolicited`] has something to say next.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.schedule.next_deadline()
    }
}
