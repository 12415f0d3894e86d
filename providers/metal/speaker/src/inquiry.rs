//! Which addresses this node asks the segment for, and what follows. Pure, sans-IO.
//!
//! - **First use.** An address that no Service had a moment ago, and that this node is elected for, is asked for before it is announced, unless
//!   it was found free lately. Not on fail-over and not at the start: then it was in use before, by us.
//! - **Ahead.** So that first use does not wait, the addresses that will be given next are asked for before anybody has them ([`crate::spare`]), and again every
//!   [`Settings::again`].
//! - **Conflicts.** An address that somebody else uses is not announced here for the first time; one that is announced already stays. Either way it is told, and
//!   asked for again every [`Settings::recheck`] until nobody else answers. What other speakers reported is taken over with the address.
//!
//! Invariant: an address is withheld only while it is asked for, or in conflict and never announced by us. Nobody answering our questions within
//! the time of probing counts as free, also if an interface vanishes meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use causeway_metal::announce::{Decision, Verdict};

use crate::announced::{Duty, Failure, SpeakerEvent};
use crate::jitter::Jitter;
use crate::l2::{Finding, MacAddr, Outcome, Probing};
use crate::moment::Moment;

/// How often and how much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How an address is asked for. None at all switches everything off that stands here.
    pub probing: Probing,
    /// How many free addresses of each pool and family are asked for ahead. More lets more Services at once have an address without delay, and costs
    /// [`Probing::number`] broadcasts each every [`Self::again`].
    pub ahead: usize,
    /// Time between two inquiries for a free address, give or take a quarter.
    pub again: Duration,
    /// Time between two inquiries for an address in conflict.
    pub recheck: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            probing: Probing::default(),
            ahead: 8,
            again: Duration::from_secs(300),
            recheck: Duration::from_secs(30),
        }
    }
}

/// When somebody else was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before first use: nobody of us announces the address.
    Probe,
    /// While we announce the address.
    Announced,
}

/// A conflict that a speaker reported to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Hardware address of the other; nothing if what was reported is none.
    pub mac: Option<MacAddr>,
    /// When it was met.
    pub phase: Phase,
    /// The node that met it.
    pub node: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Conflict {
    mac: MacAddr,
    phase: Phase,
    told: Option<Moment>,
    recheck: Moment,
}

#[derive(Debug)]
struct Asked {
    outstanding: BTreeSet<u32>,
    until: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Free {
    since: Moment,
    again: Moment,
}

/// The state on one node.
#[derive(Debug)]
pub struct Inquiries {
    settings: Settings,
    jitter: Jitter,
    /// Addresses that some Service has; nothing before the first world.
    used: Option<BTreeSet<IpAddr>>,
    /// Those that none had before and nobody announced since.
    fresh: BTreeSet<IpAddr>,
    /// Addresses that this node is elected for, and the interfaces: announced or withheld.
    own: BTreeMap<IpAddr, BTreeSet<u32>>,
    withheld: BTreeSet<IpAddr>,
    /// Free addresses that this node is to ask for.
    spare: BTreeMap<IpAddr, BTreeSet<u32>>,
    asked: BTreeMap<IpAddr, Asked>,
    free: BTreeMap<IpAddr, Free>,
    conflicts: BTreeMap<IpAddr, Conflict>,
    reported: BTreeMap<IpAddr, Reported>,
    questions: Vec<(u32, IpAddr)>,
}

impl Inquiries {
    /// Nothing asked yet. `seed` spreads what is periodic.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Inquiries {
            settings,
            jitter: Jitter::new(seed),
            used: None,
            fresh: BTreeSet::new(),
            own: BTreeMap::new(),
            withheld: BTreeSet::new(),
            spare: BTreeMap::new(),
            asked: BTreeMap::new(),
            free: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            reported: BTreeMap::new(),
            questions: Vec::new(),
        }
    }

    /// Whether anything is asked at all.
    pub fn enabled(&self) -> bool {
        self.settings.probing.number > 0
    }

    /// The addresses that Services have now, and what conflicts are reported.
    pub fn set_world(&mut self, used: BTreeSet<IpAddr>, reported: BTreeMap<IpAddr, Reported>, now: Moment) {
        if let Some(before) = &self.used {
            self.fresh.extend(used.difference(before));
            // We would have noticed somebody else.
            for address in before.difference(&used) {
                let announced = self.own.contains_key(address) && !self.withheld.contains(address);
                if announced && !self.conflicts.contains_key(address) {
                    self.free.insert(*address, Free { since: now, again: now + self.settings.again });
                }
            }
        }
        self.fresh.retain(|address| used.contains(address));
        self.used = Some(used);
        self.reported = reported;
    }

    /// Somebody else announces for us what Services have: none of it is new when we take over.
    pub fn all_in_use(&mut self) {
        self.fresh.clear();
    }

    /// Takes out of a duty what must not be announced yet. `elsewhere` are the addresses that other nodes were elected for.
    pub fn withhold(&mut self, duty: &mut Duty, elsewhere: &BTreeSet<IpAddr>, now: Moment) {
        let before = std::mem::take(&mut self.own);
        let withheld = std::mem::take(&mut self.withheld);
        if !self.enabled() {
            return;
        }
        self.fresh.retain(|address| !elsewhere.contains(address));
        for (index, addresses) in &duty.addresses {
            for address in addresses {
                self.own.entry(*address).or_default().insert(*index);
            }
        }
        let own: Vec<IpAddr> = self.own.keys().copied().collect();
        let mut reasons = BTreeMap::new();
        for address in own {
            // Whoever reported this took our own answer for a stranger's, or came later than we.
            let announced = before.contains_key(&address) && !withheld.contains(&address);
            self.adopt(address, now);
            if announced && let Some(conflict) = self.conflicts.get_mut(&address) {
                conflict.phase = Phase::Announced;
            }
            let conflict = self.conflicts.get(&address).filter(|conflict| conflict.phase == Phase::Probe);
            if let Some(conflict) = conflict {
                let (mac, recheck) = (conflict.mac, self.settings.recheck);
                reasons.insert(address, Some(Failure::InUse { address, mac, recheck }));
            } else if self.fresh.contains(&address) {
                if self.lately_free(address, now) {
                    self.fresh.remove(&address);
                } else {
                    self.ask(address, now);
                    reasons.insert(address, None);
                }
            }
        }
        self.withheld = reasons.keys().copied().collect();
        duty.withhold(&reasons);
        self.forget();
    }

    /// The free addresses that are asked for ahead, or because they are in conflict, as decisions about load balancers that would have them.
    /// `ports` are the open interfaces.
    pub fn set_spare(&mut self, decisions: &[Decision], ports: &BTreeMap<u32, String>, now: Moment) {
        self.spare.clear();
        for decision in decisions {
            let Verdict::Announce(interfaces) = &decision.verdict else { continue };
            let indexes: BTreeSet<u32> =
                ports.iter().filter(|(_, name)| interfaces.contains(name)).map(|(index, _)| *index).collect();
            if !indexes.is_empty() {
                self.spare.extend(
                    decision.announcement.addresses.iter().map(|address| (*address, indexes.clone())),
                );
            }
        }
        let spare: Vec<IpAddr> = self.spare.keys().copied().collect();
        for address in spare {
            self.adopt(address, now);
        }
        self.forget();
    }

    /// The questions that are to be asked now: on which interface, for which address.
    pub fn questions(&mut self, now: Moment) -> Vec<(u32, IpAddr)> {
        if !self.enabled() {
            return Vec::new();
        }
        let overdue: Vec<IpAddr> =
            self.asked.iter().filter(|(_, asked)| asked.until <= now).map(|(address, _)| *address).collect();
        for address in overdue {
            self.asked.remove(&address);
            if self.withheld.contains(&address) {
                self.ask(address, now);
            }
        }
        let ahead = self.spare.keys().filter(|address| !self.conflicts.contains_key(address));
        let ahead = ahead.filter(|address| self.free.get(address).is_none_or(|free| free.again <= now));
        let again = self.conflicts.iter().filter(|(_, conflict)| conflict.recheck <= now).map(|(a, _)| a);
        let due: Vec<IpAddr> = ahead.chain(again).copied().collect();
        for address in due {
            self.ask(address, now);
        }
        let kept = self.settings.again * 2;
        self.free.retain(|address, free| {
            self.spare.contains_key(address) || now.saturating_since(free.since) <= kept
        });
        std::mem::take(&mut self.questions)
    }

    /// Something was found out on an interface. Tells what is to be told; what is announced may change then.
    pub fn found(
        &mut self,
        index: u32,
        interface: &str,
        finding: Finding,
        now: Moment,
    ) -> Option<SpeakerEvent> {
        let address = finding.address;
        match finding.outcome {
            Outcome::Free => {
                let asked = self.asked.get_mut(&address)?;
                asked.outstanding.remove(&index);
                if !asked.outstanding.is_empty() {
                    return None;
                }
                self.asked.remove(&address);
                self.fresh.remove(&address);
                let again = now + self.jitter.scale(self.settings.again, 0.75, 1.25);
                self.free.insert(address, Free { since: now, again });
                // Also a report that cannot be read is no longer true.
                let conflict =
                    self.conflicts.remove(&address).is_some() || self.reported.contains_key(&address);
                conflict.then_some(SpeakerEvent::ConflictResolved { address })
            }
            Outcome::InUse(mac) | Outcome::Contested(mac) => {
                self.asked.remove(&address);
                // Given to a Service meanwhile that another node announces: that one judges.
                let used = self.used.as_ref().is_some_and(|used| used.contains(&address));
                if used && !self.own.contains_key(&address) {
                    return None;
                }
                self.free.remove(&address);
                let announced = self.own.contains_key(&address) && !self.withheld.contains(&address);
                let phase = if announced { Phase::Announced } else { Phase::Probe };
                let known = self.conflicts.get(&address);
                // A claim and an answer to our question come together.
                let told = known
                    .filter(|known| known.mac == mac && known.phase == phase)
                    .and_then(|known| known.told);
                let news = told.is_none_or(|told| now.saturating_since(told) * 2 >= self.settings.recheck);
                let told = if news { Some(now) } else { told };
                let recheck = now + self.settings.recheck;
                self.conflicts.insert(address, Conflict { mac, phase, told, recheck });
                news.then(|| SpeakerEvent::Conflict { address, mac, interface: interface.to_owned(), phase })
            }
        }
    }

    /// Reported conflicts that nobody is concerned with any more, since their address is in no pool, and that this node is to remove: its own, and those of nodes that
    /// are gone.
    pub fn orphans(
        &self,
        node: &str,
        exists: impl Fn(&str) -> bool,
        in_pool: impl Fn(IpAddr) -> bool,
    ) -> Vec<IpAddr> {
        let abandoned = |reported: &Reported| reported.node == node || !exists(&reported.node);
        let orphan = |(address, reported): (&IpAddr, &Reported)| {
            (abandoned(reported) && !in_pool(*address) && !self.own.contains_key(address)).then_some(*address)
        };
        self.reported.iter().filter_map(orphan).collect()
    }

    /// Whether this address is not announced although this node is elected for it.
    pub fn withholds(&self, address: IpAddr) -> bool {
        self.withheld.contains(&address)
    }

    /// When [`Self::questions`] has something to say next.
    pub fn next_deadline(&self) -> Option<Moment> {
        if !self.enabled() {
            return None;
        }
        let asked = self.asked.values().map(|asked| asked.until);
        let idle = |address: &IpAddr| !self.asked.contains_key(address);
        let ahead = self.spare.keys().filter(|a| idle(a) && !self.conflicts.contains_key(a));
        let ahead = ahead.map(|address| self.free.get(address).map_or(Moment::default(), |free| free.again));
        let again = self.conflicts.iter().filter(|(a, _)| idle(a)).map(|(_, conflict)| conflict.recheck);
        asked.chain(ahead).chain(again).min()
    }

    /// A conflict that was reported for an address of ours is ours from now on, unless we know better.
    fn adopt(&mut self, address: IpAddr, now: Moment) {
        if self.conflicts.contains_key(&address) || self.lately_free(address, now) {
            return;
        }
        if let Some(Reported { mac: Some(mac), phase, .. }) = self.reported.get(&address) {
            let (mac, phase) = (*mac, *phase);
            self.conflicts.insert(address, Conflict { mac, phase, told: None, recheck: now });
        }
    }

    /// What others are elected for now is theirs.
    fn forget(&mut self) {
        let concerns = |address: &IpAddr| self.own.contains_key(address) || self.spare.contains_key(address);
        self.conflicts.retain(|address, _| concerns(address));
        self.asked.retain(|address, _| concerns(address));
    }

    fn lately_free(&self, address: IpAddr, now: Moment) -> bool {
        let limit = self.settings.again * 2;
        self.free.get(&address).is_some_and(|free| now.saturating_since(free.since) <= limit)
    }

    fn ask(&mut self, address: IpAddr, now: Moment) {
        if self.asked.contains_key(&address) {
            return;
        }
        let interfaces = self.own.get(&address).or_else(|| self.spare.get(&address));
        let outstanding = interfaces.cloned().unwrap_or_default();
        if !outstanding.is_empty() {
            self.questions.extend(outstanding.iter().map(|index| (*index, address)));
            // The answers come from the ports; this is for a port that vanishes.
            let until = now + self.settings.probing.duration() * 2 + Duration::from_secs(1);
            self.asked.insert(address, Asked { outstanding, until });
        }
    }
}
