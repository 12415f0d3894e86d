//! Whether somebody else has an address: asked before it is used, noticed while it is (RFC 5227 §2; RFC 4862 §5.4). Pure.
//!
//! **Before.** An address is asked for [`Probing::number`] times, [`Probing::interval`] apart and without a sender's address, so that nobody learns anything
//! from it. It is free if nobody has answered one interval after the last question. RFC 5227 §1.1 has three questions 1 to 2 s apart after up to 1 s, and 2 s at the end, 4 to 9 s in all, made
//! for home networks with bridges that take seconds to start; RFC 4862 has one question and 1 s. Servers' segments answer within milliseconds, so that fractions
//! of a second are enough to tell, and several questions make up for a lost one.
//!
//! **While.** Whoever says of an announced address that it is at his station contests it. It is defended at once by saying it again, but only once within
//! [`DEFEND_INTERVAL`], so that two stubborn stations do not shout at each other for ever; it is never given up (RFC 5227 §2.4, the choice c): connections of users
//! hang on the address of a load balancer, and the one that came later is not us.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::frame::MacAddr;
use crate::jitter::Jitter;
use crate::moment::Moment;

/// An address is defended, and that it is contested is told, at most this often (RFC 5227 §1.1).
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// How an address is asked for before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// Questions; RFC 5227's is 3. Each further one makes up for one more lost frame, and costs `interval`.
    pub number: u32,
    /// Time between questions, give or take a tenth, and from the last one until the address counts as free. Shorter lets a new address be used sooner, and
    /// misses who answers later than that.
    pub interval: Duration,
}

impl Default for Probing {
    fn default() -> Self {
        Probing { number: 3, interval: Duration::from_millis(200) }
    }
}

impl Probing {
    /// The longest time until an answer is there.
    pub fn duration(&self) -> Duration {
        (self.interval * self.number).mul_f64(1.1)
    }
}

/// Stations that are no strangers: those of the other speakers, and of this machine's other interfaces. What they say of an
/// address is a hand-over, or an announcement on a second interface, and no conflict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kin {
    /// Hardware addresses.
    pub stations: HashSet<MacAddr>,
    /// Whether those of all live speakers are known. If not, a stranger who claims an address shortly after it was taken counts as its former holder.
    pub complete: bool,
}

/// What was found out about an address on one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The address.
    pub address: IpAddr,
    /// What about it.
    pub outcome: Outcome,
}

/// What can be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Asked for, and nobody answered.
    Free,
    /// Asked for, and this station answered, or asks for it too.
    InUse(MacAddr),
    /// Announced here, and this station claims it. Told once within [`DEFEND_INTERVAL`].
    Contested(MacAddr),
}

#[derive(Debug)]
struct Probe {
    left: u32,
    due: Moment,
}

/// The questions under way on one interface, and what came of them.
#[derive(Debug)]
pub(super) struct Claims {
    probing: Probing,
    jitter: Jitter,
    probes: HashMap<IpAddr, Probe>,
    queue: BTreeSet<(Moment, IpAddr)>,
    defended: HashMap<IpAddr, Moment>,
    findings: VecDeque<Finding>,
}

impl Claims {
    pub(super) fn new(probing: Probing, seed: u64) -> Self {
        Claims {
            probing,
            jitter: Jitter::new(!seed),
            probes: HashMap::new(),
            queue: BTreeSet::new(),
            defended: HashMap::new(),
            findings: VecDeque::new(),
        }
    }

    /// Begins to ask for an address; one that is being asked for is not begun anew.
    pub(super) fn start(&mut self, address: IpAddr, now: Moment) {
        if !self.probes.contains_key(&address) {
            self.probes.insert(address, Probe { left: self.probing.number, due: now });
            self.queue.insert((now, address));
        }
    }

    pub(super) fn asks_for(&self, address: IpAddr) -> bool {
        self.probes.contains_key(&address)
    }

    pub(super) fn asked_for(&self) -> impl Iterator<Item = IpAddr> {
        self.probes.keys().copied()
    }

    /// Takes one address that is to be asked for now. Those that had their time are found free.
    pub(super) fn next_question(&mut self, now: Moment) -> Option<IpAddr> {
        loop {
            let &(due, address) = self.queue.first()?;
            if due > now {
                return None;
            }
            self.queue.pop_first();
            let probe = self.probes.get_mut(&address)?;
            if probe.left == 0 {
                self.probes.remove(&address);
                self.findings.push_back(Finding { address, outcome: Outcome::Free });
                continue;
            }
            probe.left -= 1;
            probe.due = now + self.jitter.scale(self.probing.interval, 0.9, 1.1);
            self.queue.insert((probe.due, address));
            return Some(address);
        }
    }

    /// A stranger claims an address that is asked for or announced. Answers whether it is to be defended now.
    pub(super) fn claimed(&mut self, address: IpAddr, by: MacAddr, announced: bool, now: Moment) -> bool {
        if let Some(probe) = self.probes.remove(&address) {
            self.queue.remove(&(probe.due, address));
            self.findings.push_back(Finding { address, outcome: Outcome::InUse(by) });
        }
        let defend = announced
            && self.defended.get(&address).is_none_or(|last| now.saturating_since(*last) >= DEFEND_INTERVAL);
        if defend {
            self.defended.insert(address, now);
            self.findings.push_back(Finding { address, outcome: Outcome::Contested(by) });
        }
        defend
    }

    /// The address is announced no more.
    pub(super) fn given_up(&mut self, address: IpAddr) {
        self.defended.remove(&address);
    }

    pub(super) fn next_finding(&mut self) -> Option<Finding> {
        self.findings.pop_front()
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.queue.first().map(|&(due, _)| due)
    }
}
