//! The state of one interface: which addresses it answers for, and to whom; which it asks for, and who claims them. Pure, sans-IO.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use causeway_sys::Addressed;
use etherparse::{EtherType, Ethernet2Slice};
use serde::Serialize;

use super::arp::{self, Operation};
use super::claim::{Claims, Finding, Kin, Probing};
use super::frame::{Frame, Frames, MacAddr};
use super::ndp::{self, Kind};
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
    /// A neighbour discovery packet with a hop limit below 255: it may come from outside of the segment.
    HopLimit,
    /// A neighbour discovery packet with a wrong checksum.
    Checksum,
    /// A neighbour discovery packet that breaks another rule of RFC 4861 §7.1.
    Malformed,
    /// Addressed neither to this interface, nor to all, nor to a group of the address; or to another VLAN.
    NotForUs,
    /// No question: an ARP reply or a neighbour advertisement.
    NotRequest,
    /// The asker's hardware address is ours: our own frame came back.
    FromUs,
    /// Another speaker, or another interface of this node, says that it has an announced address: hand-over.
    FromPeer,
    /// The asker's hardware address is zero, broadcast or multicast: an answer would go to many.
    BadSender,
    /// A stranger claims an address, and it was defended shortly before, or is not announced.
    Claimed,
    /// Nobody announces this address here.
    NotAnnounced,
}

impl DropReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [DropReason; 12] = [
        DropReason::Truncated,
        DropReason::UnknownProtocol,
        DropReason::HopLimit,
        DropReason::Checksum,
        DropReason::Malformed,
        DropReason::NotForUs,
        DropReason::NotRequest,
        DropReason::FromUs,
        DropReason::FromPeer,
        DropReason::BadSender,
        DropReason::Claimed,
        DropReason::NotAnnounced,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Truncated => "truncated",
            DropReason::UnknownProtocol => "unknownProtocol",
            DropReason::HopLimit => "hopLimit",
            DropReason::Checksum => "checksum",
            DropReason::Malformed => "malformed",
            DropReason::NotForUs => "notForUs",
            DropReason::NotRequest => "notRequest",
            DropReason::FromUs => "fromUs",
            DropReason::FromPeer => "fromPeer",
            DropReason::BadSender => "badSender",
            DropReason::Claimed => "claimed",
            DropReason::NotAnnounced => "notAnnounced",
        }
    }
}

impl From<arp::Unreadable> for DropReason {
    fn from(unreadable: arp::Unreadable) -> Self {
        match unreadable {
            arp::Unreadable::Truncated => DropReason::Truncated,
            arp::Unreadable::Foreign => DropReason::UnknownProtocol,
        }
    }
}

impl From<ndp::Unreadable> for DropReason {
    fn from(unreadable: ndp::Unreadable) -> Self {
        match unreadable {
            ndp::Unreadable::Truncated => DropReason::Truncated,
            ndp::Unreadable::Foreign => DropReason::UnknownProtocol,
            ndp::Unreadable::HopLimit => DropReason::HopLimit,
            ndp::Unreadable::Checksum => DropReason::Checksum,
            ndp::Unreadable::Malformed => DropReason::Malformed,
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
    /// A stranger claims an announced address: say again whose it is.
    Defend {
        /// The address.
        address: IpAddr,
        /// What to say.
        frames: Frames,
    },
    /// Say nothing.
    Dropped(DropReason),
}

/// One interface on which addresses are announced.
#[derive(Debug)]
pub struct Segment {
    mac: MacAddr,
    schedule: Schedule,
    claims: Claims,
    kin: Arc<Kin>,
}

impl Segment {
    /// An interface with this hardware address and nothing to announce. `seed` spreads the periodic announcements.
    pub fn new(mac: MacAddr, timing: Timing, probing: Probing, seed: u64) -> Self {
        Segment {
            mac,
            schedule: Schedule::new(timing, seed),
            claims: Claims::new(probing, seed),
            kin: Arc::default(),
        }
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

    /// The stations that are no strangers from now on.
    pub fn set_kin(&mut self, kin: Arc<Kin>) {
        self.kin = kin;
    }

    /// Announce exactly these addresses from now on. Those that were not announced before are said at once; those that are not
    /// in the set any more are forgotten without a word, for their next holder speaks for them.
    pub fn announce(&mut self, addresses: &BTreeSet<IpAddr>, now: Moment) {
        let gone: Vec<IpAddr> =
            self.schedule.addresses().filter(|address| !addresses.contains(address)).collect();
        for address in gone {
            self.schedule.stop(address);
            self.claims.given_up(address);
        }
        for &address in addresses {
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

    /// The groups in which IPv6 hosts are asked for what is announced or asked for here.
    pub fn groups(&self) -> BTreeSet<Ipv6Addr> {
        let of = |address| match address {
            IpAddr::V6(address) => Some(ndp::solicited_node(address)),
            IpAddr::V4(_) => None,
        };
        self.schedule.addresses().chain(self.claims.asked_for()).filter_map(of).collect()
    }

    /// Judges one received frame. `addressed` is what the kernel says about its destination, which knows more than the frame:
    /// a stripped VLAN tag shows only there.
    ///
    /// Answered are questions to everybody or to ourselves; the latter are how hosts confirm what they know (RFC 1122 §2.3.2.1, RFC 4861 §7.3). A question
    /// from the unspecified address is answered too (RFC 5227 §2.1.1, RFC 4862 §5.4.3: a probe must find the address in use).
    pub fn receive(&mut self, frame: &[u8], addressed: Addressed, now: Moment) -> Verdict {
        match self.judge(frame, addressed, now) {
            Ok(verdict) => verdict,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    fn judge(&mut self, frame: &[u8], addressed: Addressed, now: Moment) -> Result<Verdict, DropReason> {
        let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).map_err(|_| DropReason::Truncated)?;
        match addressed {
            Addressed::OtherHost => return Err(DropReason::NotForUs),
            Addressed::Outgoing => return Err(DropReason::FromUs),
            Addressed::Host | Addressed::Broadcast | Addressed::Multicast => {}
        }
        let to = MacAddr(ethernet.destination());
        match ethernet.ether_type() {
            EtherType::ARP if to != self.mac && to != MacAddr::BROADCAST => Err(DropReason::NotForUs),
            EtherType::ARP => self.judge_arp(&arp::parse(ethernet.payload_slice())?, now),
            EtherType::IPV6 if to != self.mac && !ndp::is_group_mac(to) => Err(DropReason::NotForUs),
            EtherType::IPV6 => {
                let from = MacAddr(ethernet.source());
                self.judge_ndp(&ndp::parse(ethernet.payload_slice())?, from, now)
            }
            _ => Err(DropReason::UnknownProtocol),
        }
    }

    fn judge_arp(&mut self, packet: &arp::Packet, now: Moment) -> Result<Verdict, DropReason> {
        let (sender, target) = (IpAddr::V4(packet.sender_address), IpAddr::V4(packet.target_address));
        let request = packet.operation == Operation::Request;
        if self.cares_for(sender) {
            return self.claimed(sender, packet.sender_mac, now);
        }
        if !self.schedule.contains(target) {
            // Somebody else asks whether it is free, for he wants it too (RFC 5227 §2.1.1).
            if request && packet.sender_address.is_unspecified() && self.claims.asks_for(target) {
                return self.claimed(target, packet.sender_mac, now);
            }
            return Err(if request { DropReason::NotAnnounced } else { DropReason::NotRequest });
        }
        if !request {
            return Err(DropReason::NotRequest);
        }
        if packet.sender_mac == self.mac {
            return Err(DropReason::FromUs);
        }
        if !packet.sender_mac.is_station() {
            return Err(DropReason::BadSender);
        }
        Ok(Verdict::Reply { address: target, frame: arp::reply(self.mac, packet) })
    }

    fn judge_ndp(&mut self, packet: &ndp::Packet, from: MacAddr, now: Moment) -> Result<Verdict, DropReason> {
        let (source, target) = (IpAddr::V6(packet.source), IpAddr::V6(packet.target));
        // The station that the packet speaks of: the option's, for a bond or a virtual router sends from another.
        let station = packet.link_layer.unwrap_or(from);
        if let Kind::Advertisement { .. } = packet.kind {
            return if self.cares_for(target) {
                self.claimed(target, station, now)
            } else {
                Err(DropReason::NotRequest)
            };
        }
        if self.cares_for(source) {
            return self.claimed(source, station, now);
        }
        if !self.schedule.contains(target) {
            if packet.source.is_unspecified() && self.claims.asks_for(target) {
                return self.claimed(target, station, now);
            }
            return Err(DropReason::NotAnnounced);
        }
        if packet.destination != packet.target && packet.destination != ndp::solicited_node(packet.target) {
            return Err(DropReason::NotForUs);
        }
        if from == self.mac {
            return Err(DropReason::FromUs);
        }
        if !station.is_station() || packet.source.is_multicast() {
            return Err(DropReason::BadSender);
        }
        Ok(Verdict::Reply { address: target, frame: ndp::reply(self.mac, packet, from) })
    }

    /// Whether it matters here who has this address.
    fn cares_for(&self, address: IpAddr) -> bool {
        self.schedule.contains(address) || self.claims.asks_for(address)
    }

    fn claimed(&mut self, address: IpAddr, by: MacAddr, now: Moment) -> Result<Verdict, DropReason> {
        if by == self.mac {
            return Err(DropReason::FromUs);
        }
        if !by.is_station() {
            return Err(DropReason::BadSender);
        }
        // While not all speakers are known by their stations, a claim right after the own take-over is the former holder's last word.
        if self.kin.stations.contains(&by) || (!self.kin.complete && self.schedule.in_burst(address, now)) {
            return Err(DropReason::FromPeer);
        }
        if self.claims.claimed(address, by, self.schedule.contains(address), now) {
            Ok(Verdict::Defend { address, frames: self.announcement(address) })
        } else {
            Err(DropReason::Claimed)
        }
    }

    fn announcement(&self, address: IpAddr) -> Frames {
        match address {
            IpAddr::V4(address) => {
                let say = |operation| arp::gratuitous(self.mac, address, operation);
                [say(Operation::Request), say(Operation::Reply)].into()
            }
            IpAddr::V6(address) => ndp::unsolicited(self.mac, address).into(),
        }
    }

    /// The frames of one address whose turn has come, or nothing when [`Self::next_deadline`] lies ahead. To be called until it
    /// gives nothing; one address at a time, so that the caller can answer questions in between.
    pub fn next_unsolicited(&mut self, now: Moment) -> Option<(IpAddr, Frames)> {
        let address = self.schedule.next(now)?;
        Some((address, self.announcement(address)))
    }

    /// Begins to ask whether somebody has this address. The answer comes as a [`Finding`]; an address may be announced meanwhile.
    pub fn probe(&mut self, address: IpAddr, now: Moment) {
        self.claims.start(address, now);
    }

    /// A question whose turn has come. To be called until it gives nothing.
    pub fn next_question(&mut self, now: Moment) -> Option<(IpAddr, Frame)> {
        let address = self.claims.next_question(now)?;
        let frame = match address {
            IpAddr::V4(address) => arp::probe(self.mac, address),
            IpAddr::V6(address) => ndp::probe(self.mac, address),
        };
        Some((address, frame))
    }

    /// What was found out and not told yet, in the order in which it was.
    pub fn next_finding(&mut self) -> Option<Finding> {
        self.claims.next_finding()
    }

    /// When [`Self::next_unsolicited`] or [`Self::next_question`] has something to say next.
    pub fn next_deadline(&self) -> Option<Moment> {
        [self.schedule.next_deadline(), self.claims.next_deadline()].into_iter().flatten().min()
    }
}
