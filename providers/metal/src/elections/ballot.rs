//! One election: which nodes may stand, what speaks against each, who is elected and who stands next. Pure.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::STANDING;
use super::order::Order;
use crate::advertisement::L2Advertisement;
use crate::announce::{Announcement, When};
use crate::candidates::{Electorate, Interfaces, WhyNot, usable_on};
use crate::fleet::Rules;

/// What may speak against a candidate; the first that does counts, and of those passed over the ones against which a later one speaks come first.
#[derive(Debug, Clone, Copy)]
enum Objection {
    Interface,
    Network(IpAddr),
    Fitness,
    Endpoints,
}

impl Objection {
    /// When those have their turn against which this speaks; those against which nothing speaks have 0.
    fn turn(self) -> u8 {
        match self {
            Self::Interface => 4,
            Self::Network(_) => 3,
            Self::Fitness => 2,
            Self::Endpoints => 1,
        }
    }
}

/// One candidate.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    node: u16,
    preference: i64,
    /// Why it is passed over, if it is.
    passed_over: Option<(Objection, WhyNot)>,
}

/// A candidate's place in the order in which they stand for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    turn: u8,
    preference: Reverse<i64>,
    place: u16,
    node: u16,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The elected node and those that stand next.
    pub(super) standing: Vec<u16>,
    /// How many nodes, in the order of the hash, decided about it, if not all had to be looked at. What is said by others that do not hold the
    /// address changes nothing.
    pub(super) looked_at: Option<usize>,
    /// Why the node asked about is not elected, if another is: nothing for one that just comes later.
    pub(super) why_not: Option<WhyNot>,
}

/// What an election depends on.
pub(super) struct Ballot<'a> {
    pub(super) electorate: &'a Electorate,
    pub(super) all_ads: &'a [L2Advertisement],
    /// Indexes of the advertisements that match the load balancer.
    pub(super) ads: &'a [u16],
    pub(super) lb: &'a Announcement,
    pub(super) address: IpAddr,
    pub(super) rules: Rules,
    objections: Vec<Objection>,
    /// Which interfaces are meant depends on the node only where advertisements name some.
    named: bool,
    /// No live node says that it holds the address.
    unheld: bool,
}

impl<'a> Ballot<'a> {
    pub(super) fn new(
        electorate: &'a Electorate,
        all_ads: &'a [L2Advertisement],
        ads: &'a [u16],
        lb: &'a Announcement,
        address: IpAddr,
        rules: Rules,
    ) -> Self {
        let mut objections = Vec::new();
        if !rules.any_network {
            objections.push(Objection::Interface);
            objections.extend(lb.addresses.iter().map(|address| Objection::Network(*address)));
        }
        objections.push(Objection::Fitness);
        if lb.when == When::LocalEndpoints {
            objections.push(Objection::Endpoints);
        }
        let named = ads.iter().any(|ad| !all_ads[usize::from(*ad)].interfaces.is_empty());
        let holders = electorate.holders.get(&address).into_iter().flatten();
        let unheld = !holders.into_iter().any(|(node, _)| electorate.node(*node).is_alive());
        Self { electorate, all_ads, ads, lb, address, rules, objections, named, unheld }
    }

    /// Holds the election; `eligible` are those that the advertisements let announce.
    pub(super) fn hold(&self, me: Option<u16>, order: &mut Order, eligible: &[(u16, i64)]) -> Outcome {
        let preferred = |ad: &u16| !self.all_ads[usize::from(*ad)].preferred.is_empty();
        let usual = self.lb.when != When::LocalEndpoints && !self.ads.iter().any(preferred);
        if usual
            && eligible.len() >= STANDING
            && let Some(outcome) = self.first_in_order(me, &order.of(self.address))
        {
            return outcome;
        }
        self.among_all(me, order, eligible)
    }

    /// The usual case, at a cost that does not depend on how many nodes there are: nobody is preferred, and enough candidates are found against whom
    /// nothing speaks. Then every objection passes over those that it speaks against, for there are others.
    fn first_in_order(&self, me: Option<u16>, order: &[u16]) -> Option<Outcome> {
        let (mut first, mut looked_at) = (Vec::with_capacity(STANDING + 1), 0);
        for node in order {
            looked_at += 1;
            if self.may_stand(*node) && self.objection(*node).is_none() {
                first.push(*node);
                if first.len() == STANDING {
                    break;
                }
            }
        }
        if first.len() < STANDING {
            return None;
        }
        let turn = |node: u16| self.objection(node).map_or(0, |(objection, _)| objection.turn());
        let place = |node: u16| order.iter().position(|other| *other == node);
        let latest = |may: &dyn Fn(u16) -> bool| {
            let holding = self.holders().iter().filter(|(node, _)| self.may_stand(*node) && may(*node));
            // Places are looked for only where terms are equal, which is rare.
            let ahead = |(one, in_one): &(u16, u32), (two, in_two): &(u16, u32)| {
                in_one.cmp(in_two).then_with(|| (turn(*two), place(*two)).cmp(&(turn(*one), place(*one))))
            };
            holding.copied().max_by(|one, two| ahead(one, two)).map(|(node, _)| node)
        };
        // It will not yield, for it does not hear us.
        let deaf = latest(&|node| self.electorate.node(node).deaf);
        let stays = || latest(&|node| turn(node) == 0).filter(|_| !self.rules.failback);
        if let Some(elected) = deaf.or_else(stays) {
            first.retain(|node| *node != elected);
            first.insert(0, elected);
            first.truncate(STANDING);
        }
        let me = me.filter(|me| self.may_stand(*me));
        let why_not = me.and_then(|me| self.objection(me)).map(|(_, why)| why);
        Some(Outcome { standing: first, looked_at: Some(looked_at), why_not })
    }

    /// Whatever the case.
    fn among_all(&self, me: Option<u16>, order: &mut Order, eligible: &[(u16, i64)]) -> Outcome {
        let candidates = self.candidates(eligible);
        let why_not = |candidate: &Candidate| candidate.passed_over.map(|(_, why)| why);
        let why_not = candidates.iter().find(|c| Some(c.node) == me).and_then(why_not);
        Outcome { standing: self.standing(&candidates, order), looked_at: None, why_not }
    }

    /// Whether a node is a candidate.
    pub(super) fn may_stand(&self, node: u16) -> bool {
        let voter = self.electorate.node(node);
        voter.fit.is_ok()
            && (self.unheld || !voter.expected)
            && self.ads.iter().any(|ad| voter.matched[usize::from(*ad)].is_some())
            && (self.lb.when != When::LocalEndpoints || usable_on(&self.lb.endpoints, &voter.name))
    }

    fn holders(&self) -> &[(u16, u32)] {
        self.electorate.holders.get(&self.address).map(Vec::as_slice).unwrap_or_default()
    }

    /// The first objection against a node.
    fn objection(&self, node: u16) -> Option<(Objection, WhyNot)> {
        self.objections.iter().find_map(|objection| Some((*objection, self.against(*objection, node)?)))
    }

    fn against(&self, objection: Objection, node: u16) -> Option<WhyNot> {
        let voter = self.electorate.node(node);
        let said = voter.statement.as_deref();
        match objection {
            Objection::Interface => {
                said.is_some_and(|s| !s.has_uplink(&self.meant(node))).then_some(WhyNot::NoInterface)
            }
            Objection::Network(address) => {
                said.is_some_and(|s| !s.carries(address, &self.meant(node))).then_some(WhyNot::OtherNetwork)
            }
            Objection::Fitness => {
                let unfit = said.and_then(|s| s.unfit.first().copied()).map(WhyNot::Unfit);
                unfit.or(voter.leaving.then_some(WhyNot::Leaving))
            }
            Objection::Endpoints => {
                let endpoints = self.lb.endpoints.by_node.get(&voter.name);
                endpoints.is_none_or(|e| e.ready == 0).then_some(WhyNot::OnlyTerminatingEndpoints)
            }
        }
    }

    fn meant(&self, node: u16) -> Interfaces {
        if self.named { self.electorate.interfaces(node, self.ads, self.all_ads) } else { Interfaces::All }
    }

    /// Who may announce, and who of them is passed over.
    fn candidates(&self, eligible: &[(u16, i64)]) -> Vec<Candidate> {
        let local = self.lb.when == When::LocalEndpoints;
        let mut candidates: Vec<Candidate> = eligible
            .iter()
            .filter(|(node, _)| self.unheld || !self.electorate.node(*node).expected)
            .filter(|(node, _)| !local || usable_on(&self.lb.endpoints, &self.electorate.node(*node).name))
            .map(|(node, preference)| Candidate { node: *node, preference: *preference, passed_over: None })
            .collect();
        for objection in &self.objections {
            let against = |candidate: &Candidate| self.against(*objection, candidate.node);
            // Unless that is all that are left.
            if !candidates.iter().any(|c| c.passed_over.is_none() && against(c).is_none()) {
                continue;
            }
            for candidate in candidates.iter_mut().filter(|candidate| candidate.passed_over.is_none()) {
                candidate.passed_over = against(candidate).map(|why| (*objection, why));
            }
        }
        candidates
    }

    /// The elected node and those that stand next.
    fn standing(&self, candidates: &[Candidate], order: &mut Order) -> Vec<u16> {
        // Hashed only where there is a choice.
        if let [] | [_] = candidates {
            return candidates.iter().map(|candidate| candidate.node).collect();
        }
        let order = order.of(self.address);
        let mut places = vec![0; order.len()];
        for (place, node) in (0u16..).zip(order.iter()) {
            places[usize::from(*node)] = place;
        }
        let mut order: Vec<Placed> = candidates
            .iter()
            .map(|c| Placed {
                turn: c.passed_over.map_or(0, |(objection, _)| objection.turn()),
                preference: Reverse(c.preference),
                place: places[usize::from(c.node)],
                node: c.node,
            })
            .collect();
        order.sort_unstable();
        let holders = self.holders();
        let term = |node: u16| holders.iter().find(|(holder, _)| *holder == node).map(|(_, term)| *term);
        // The first of those with the latest term.
        let latest = |may: &dyn Fn(&Placed) -> bool| {
            let holding = (0..order.len()).filter(|at| may(&order[*at]));
            holding
                .filter_map(|at| Some((term(order[at].node)?, Reverse(at))))
                .max()
                .map(|(_, Reverse(at))| at)
        };
        let best = |placed: &Placed| (placed.turn, placed.preference) == (order[0].turn, order[0].preference);
        let elected = if holders.is_empty() {
            0
        } else if let Some(deaf) = latest(&|placed| self.electorate.node(placed.node).deaf) {
            // It will not yield, for it does not hear us.
            deaf
        } else if self.rules.failback {
            0
        } else {
            latest(&best).unwrap_or(0)
        };
        order[..=elected].rotate_right(1);
        order.into_iter().take(STANDING).map(|placed| placed.node).collect()
    }
}
