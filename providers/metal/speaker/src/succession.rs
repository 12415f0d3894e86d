//! Who announces what, from heartbeats to duty: membership, statements, elections and hand-over in one. Pure, sans-IO.
//!
//! ```text
//!   datagrams, ticks ─▶ membership ─▶ fleet ─┐                ┌─▶ Duty ─▶ ports
//!   world, uplinks, fitness ─────────────────┴─▶ elections ───┼─▶ statement: what this node holds ─┐
//!        ▲                                                    └─▶ companions: whom to watch ────────┴─▶ membership ─▶ datagrams
//! ```
//!
//! **Hand-over.** A node that is relieved by another says so at once, and goes on answering until it hears that the other holds the address, at most for
//! [`HAND_OVER`]: so nobody asks in vain meanwhile. If the other holds it already, it stops at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_api::LbKey;
use causeway_metal::announce::{Decision, Silence, Verdict, World};
use causeway_metal::candidates::{Interfaces, LiveSet, WhyNot};
use causeway_metal::elections::Elections;
use causeway_metal::fleet::{Fleet, Statement, Unfit, Uplink};

use crate::announced::Duty;
use crate::membership::{Input, Membership, Outputs};
use crate::moment::Moment;

/// How long a relieved node goes on answering for an address at most.
pub const HAND_OVER: Duration = Duration::from_millis(200);

/// The state on one node.
#[derive(Debug)]
pub struct Succession {
    node: String,
    membership: Option<Membership>,
    /// Heartbeats are off: everybody counts as alive.
    alone: bool,
    elections: Elections,
    world: Option<Arc<World>>,
    uplinks: Option<Vec<Uplink>>,
    unfit: BTreeSet<Unfit>,
    duty: Arc<Duty>,
    holds: BTreeMap<IpAddr, u32>,
    /// What is answered for although another node is elected, and until when.
    relieved: BTreeMap<LbKey, Moment>,
}

/// What a round of elections leads to.
#[derive(Debug)]
pub struct Outcome {
    /// What to announce from now on.
    pub duty: Arc<Duty>,
    /// What to send.
    pub outputs: Outputs,
    /// How many elections were held.
    pub elections: usize,
}

impl Succession {
    /// Without heartbeats until [`Self::join`]; with `alone` for ever. No elections were held yet.
    pub fn new(elections: Elections, alone: bool) -> Self {
        Succession {
            node: elections.me().to_owned(),
            elections,
            membership: None,
            alone,
            world: None,
            uplinks: None,
            unfit: BTreeSet::new(),
            duty: Arc::default(),
            holds: BTreeMap::new(),
            relieved: BTreeMap::new(),
        }
    }

    /// Heartbeats begin.
    pub fn join(&mut self, membership: Membership) {
        self.membership = Some(membership);
    }

    /// The heartbeats, once they have begun.
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// One input of the heartbeats. Where it changes the live ones or brings news, [`Self::decide`] is to be called.
    pub fn handle(&mut self, input: Input<'_>, now: Moment) -> Outputs {
        self.membership.as_mut().map(|membership| membership.handle(input, now)).unwrap_or_default()
    }

    /// What is to be announced, and where it may be.
    pub fn set_world(&mut self, world: Arc<World>) {
        self.world = Some(world);
    }

    /// The interfaces of this node that can announce.
    pub fn set_uplinks(&mut self, uplinks: Vec<Uplink>) {
        self.uplinks = Some(uplinks);
    }

    /// Why this node would rather not announce. Answers whether that is new.
    pub fn set_unfit(&mut self, why: Unfit, applies: bool) -> bool {
        if applies { self.unfit.insert(why) } else { self.unfit.remove(&why) }
    }

    /// Why this node would rather not announce.
    pub fn unfit(&self) -> &BTreeSet<Unfit> {
        &self.unfit
    }

    /// The elections.
    pub fn elections(&self) -> &Elections {
        &self.elections
    }

    /// The terms in which this node holds addresses.
    pub fn holds(&self) -> &BTreeMap<IpAddr, u32> {
        &self.holds
    }

    /// What is announced.
    pub fn duty(&self) -> &Duty {
        &self.duty
    }

    /// When [`Input::Tick`] is due, or [`Self::decide`] although nothing changed.
    pub fn next_deadline(&self) -> Option<Moment> {
        let beat = self.membership.as_ref().and_then(Membership::next_deadline);
        beat.into_iter().chain(self.relieved.values().copied()).min()
    }

    /// Whether the time of a hand-over is up.
    pub fn is_overdue(&self, now: Moment) -> bool {
        self.relieved.values().any(|until| *until <= now)
    }

    /// Decides who announces what. `ports` are the interfaces that are open: index and name; `withhold` takes out of the duty what is not to be
    /// announced yet. Nothing as long as world, interfaces or key are missing.
    pub fn decide(
        &mut self,
        ports: &BTreeMap<u32, String>,
        now: Moment,
        withhold: impl FnOnce(&mut Duty, &Elections),
    ) -> Option<Outcome> {
        let world = Arc::clone(self.world.as_ref()?);
        self.uplinks.as_ref()?;
        let mut outputs = self.handle(Input::Ready, now);
        let mut fleet = match &self.membership {
            Some(membership) => membership.fleet(),
            None if self.alone => Fleet::of(LiveSet::Everyone),
            None => return None,
        };
        let own = self.statement(self.holds.clone());
        fleet.statements.insert(self.node.clone(), Arc::new(own));
        let elections = self.elections.update(&world, fleet);
        let relieved = self.relieve(now);
        let mut duty = Duty::new(
            &self.node,
            self.elections.decisions().map(|d| relieved.get(&d.announcement.key).unwrap_or(d)),
            ports,
        );
        withhold(&mut duty, &self.elections);
        self.relieved.retain(|key, _| relieved.contains_key(key) && duty.announced.contains_key(key));
        self.holds = self.terms(&duty);
        let duty = Arc::new(duty);
        self.duty = Arc::clone(&duty);
        let said = self.handle(Input::Say(self.statement(self.holds.clone())), now);
        outputs.extend(said);
        let companions = self.elections.companions();
        let watched = self.handle(Input::Watch(&companions), now);
        outputs.extend(watched);
        Some(Outcome { duty, outputs, elections })
    }

    fn statement(&self, holds: BTreeMap<IpAddr, u32>) -> Statement {
        Statement { holds, uplinks: self.uplinks.clone(), unfit: self.unfit.clone() }
    }

    /// What is announced a little longer although another node is elected: the decisions that stand in for those.
    fn relieve(&mut self, now: Moment) -> BTreeMap<LbKey, Decision> {
        let mut longer = BTreeMap::new();
        let Some(fleet) = self.elections.fleet() else { return longer };
        for (key, announced) in &self.duty.announced {
            let Some(decision) = self.elections.decision(key) else { continue };
            let (Some(next), Some(&address)) = (&decision.elected, decision.announcement.addresses.first())
            else {
                continue;
            };
            let relieved = match &decision.verdict {
                Verdict::Announce(_) => false,
                // It could do nothing with what came to it.
                Verdict::Silent(Silence::NotCandidate(WhyNot::NoLocalEndpoint)) => false,
                Verdict::Silent(Silence::NotElected | Silence::NotCandidate(_)) => true,
                Verdict::Silent(_) => false,
            };
            if !relieved || fleet.term(next, address).is_some() {
                continue;
            }
            if *self.relieved.entry(key.clone()).or_insert(now + HAND_OVER) <= now {
                continue;
            }
            let interfaces = Interfaces::Only(announced.interfaces.iter().cloned().collect());
            let verdict = Verdict::Announce(interfaces);
            longer.insert(key.clone(), Decision { verdict, ..decision.clone() });
        }
        longer
    }

    /// What this node holds from now on: an address that it held before in the same term, others in the next.
    fn terms(&self, duty: &Duty) -> BTreeMap<IpAddr, u32> {
        let elected = duty.announced.keys().filter(|key| !self.relieved.contains_key(*key));
        let addresses =
            elected.filter_map(|key| self.elections.decision(key)?.announcement.addresses.first().copied());
        addresses
            .map(|address| {
                let term = self.holds.get(&address).copied();
                (address, term.unwrap_or_else(|| self.elections.highest_term(address).saturating_add(1)))
            })
            .collect()
    }
}
