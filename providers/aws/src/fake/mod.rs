//! A faithful small AWS in memory, behind [`Api`]: for tests. It has what the real one is documented to do and emulators do not: names that are unique,
//! creates that are idempotent for equal settings only, target states that depend on what is attached, deletes that are blocked, a tagging API that lags, and
//! token buckets. Time is tokio's, so that a paused clock drives it.
//!
//! It also watches: every call is counted, and a write that stops a listener or a load balancer from serving is noted as a gap.

mod addons;
mod ec2;
mod elb;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::cloud::records::{
    Health, Healths, Listener, LoadBalancer, Rule, SecurityGroup, State, Tagged, TargetGroup,
};
use crate::cloud::{Answer, Api, Call, Failure, Page};
use crate::limits::{Bucket, buckets};
use crate::plan::tokens::literal;
use crate::stack::{Action, Tags, Target};

pub const REGION: &str = "arn:aws:elasticloadbalancing:eu-west-1:1";

/// What goes wrong, at the call of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this code, and does nothing.
    Before(&'static str),
    /// It takes effect, and the answer is lost.
    After,
}

/// How it behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Until a load balancer takes traffic.
    pub provisioning: Duration,
    /// Until a target that is attached is healthy.
    pub healthy: Duration,
    /// How old what the tagging API says is.
    pub lag: Duration,
    /// Until the network interfaces of a deleted load balancer are gone.
    pub interfaces: Duration,
    /// Refuse what exceeds the token buckets.
    pub throttles: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            provisioning: Duration::from_secs(30),
            healthy: Duration::from_secs(20),
            lag: Duration::from_secs(10),
            interfaces: Duration::from_secs(15),
            throttles: true,
        }
    }
}

#[derive(Clone, Debug)]
struct Held {
    since: Duration,
    leaves: Option<Duration>,
}

#[derive(Default)]
pub struct World {
    pub load_balancers: BTreeMap<String, (LoadBalancer, Duration)>,
    pub target_groups: BTreeMap<String, TargetGroup>,
    targets: BTreeMap<String, BTreeMap<Target, Held>>,
    attached: BTreeMap<String, Duration>,
    pub listeners: BTreeMap<String, Listener>,
    pub rules: BTreeMap<String, Rule>,
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Security groups that network interfaces of deleted load balancers still have, until then.
    interfaces: Vec<(BTreeSet<String>, Duration)>,
    /// Fixed addresses that those interfaces still have, until then.
    pub(super) addresses: Vec<(BTreeSet<String>, Duration)>,
    history: Vec<(Duration, Vec<Tagged>)>,
    next: u64,
    /// Calls, in order.
    pub calls: Vec<Call>,
    /// How many were refused as too many.
    pub throttled: usize,
    levels: BTreeMap<Bucket, (f64, Duration)>,
    /// Where service stopped.
    pub gaps: Vec<String>,
    /// What goes with load balancers.
    pub addons: addons::Addons,
    /// Instances that are none.
    pub bad_targets: BTreeSet<String>,
    /// Target groups, by part of the name, whose targets never become healthy.
    pub sick: BTreeSet<String>,
    /// What goes wrong, by the number of the write.
    pub faults: BTreeMap<usize, Fault>,
    /// Whether reads count for the faults too.
    pub faults_in_reads: bool,
    /// Calls that counted for the faults.
    pub counted: usize,
    /// A fault struck.
    pub struck: bool,
}

pub struct Fake {
    settings: Settings,
    epoch: Instant,
    world: Mutex<World>,
}

type Reply = Result<Answer, Failure>;

fn refuse<T>(code: &str, what: impl std::fmt::Debug) -> Result<T, Failure> {
    Err(Failure::refused(code, format!("{what:?}")))
}

impl Fake {
    pub fn new(settings: Settings) -> Self {
        Self { settings, epoch: Instant::now(), world: Mutex::default() }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no panic in the fake")
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// What a hand changed of the tags: the tagging API will tell it.
    pub fn remember(&self) {
        let now = self.now();
        let mut world = self.world();
        let tagged = world.all_tags();
        world.history.push((now, tagged));
    }

    /// How often each action was called since the last time.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for call in self.world().calls.drain(..) {
            *counts.entry(call.action()).or_default() += 1;
        }
        counts
    }
}

impl Api for Fake {
    async fn call(&self, call: Call) -> Reply {
        let now = self.now();
        let mut world = self.world();
        world.calls.push(call.clone());
        if self.settings.throttles && !world.take(&call, now) {
            world.throttled += 1;
            return refuse("Throttling", "Rate exceeded");
        }
        let mut fault = None;
        if call.writes() || world.faults_in_reads {
            fault = world.faults.get(&world.counted).copied();
            world.counted += 1;
        }
        if let Some(Fault::Before(code)) = fault {
            world.struck = true;
            return refuse(code, "fault");
        }
        let reply = if call.writes() {
            let before = world.serving(now, &self.settings);
            let reply = world.write(&call, now, &self.settings);
            world.settle(now, &self.settings);
            world.note_gaps(&before, now, &self.settings, &call);
            let tagged = world.all_tags();
            world.history.push((now, tagged));
            reply
        } else {
            world.read(&call, now, &self.settings)
        };
        if fault == Some(Fault::After) {
            world.struck = true;
            return Err(Failure::NoAnswer("fault".to_owned()));
        }
        reply
    }

    fn unix(&self) -> u64 {
        1_000_000 + self.now().as_secs()
    }
}

impl World {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes tokens from AWS's own buckets.
    fn take(&mut self, call: &Call, now: Duration) -> bool {
        let all = buckets::of(call);
        for bucket in all {
            let (burst, rate) = bucket.documented();
            let (tokens, since) = self.levels.get(bucket).copied().unwrap_or((f64::from(burst), now));
            let tokens = (tokens + (now - since).as_secs_f64() * rate).min(f64::from(burst));
            self.levels.insert(*bucket, (tokens, now));
        }
        if all.iter().any(|b| self.levels[b].0 < 1.0) {
            return false;
        }
        all.iter().for_each(|b| {
            if let Some(level) = self.levels.get_mut(b) {
                level.0 -= 1.0;
            }
        });
        true
    }

    fn all_tags(&self) -> Vec<Tagged> {
        let lbs = self.load_balancers.values().map(|(lb, _)| (lb.arn.clone(), &lb.spec.tags));
        let groups = self.target_groups.values().map(|g| (g.arn.clone(), &g.spec.tags));
        let security = self
            .security_groups
            .values()
            .map(|g| (format!("arn:aws:ec2:eu-west-1:1:security-group/{}", g.id), &g.spec.tags));
        lbs.chain(groups).chain(security).map(|(arn, tags)| Tagged { arn, tags: tags.clone() }).collect()
    }

    fn tags_mut(&mut self, arn: &str) -> Option<&mut Tags> {
        if let Some((lb, _)) = self.load_balancers.get_mut(arn) {
            return Some(&mut lb.spec.tags);
        }
        if let Some(group) = self.target_groups.get_mut(arn) {
            return Some(&mut group.spec.tags);
        }
        if let Some(listener) = self.listeners.get_mut(arn) {
            return Some(&mut listener.spec.tags);
        }
        if let Some(rule) = self.rules.get_mut(arn) {
            return Some(&mut rule.spec.tags);
        }
        self.security_groups.get_mut(arn).map(|g| &mut g.spec.tags)
    }

    fn tags(&self, arn: &str) -> Option<Tags> {
        let lb = self.load_balancers.get(arn).map(|(lb, _)| &lb.spec.tags);
        let group = || self.target_groups.get(arn).map(|g| &g.spec.tags);
        let listener = || self.listeners.get(arn).map(|l| &l.spec.tags);
        let rule = || self.rules.get(arn).map(|r| &r.spec.tags);
        lb.or_else(group).or_else(listener).or_else(rule).cloned()
    }

    fn state(&self, arn: &str, now: Duration, settings: &Settings) -> State {
        match self.load_balancers.get(arn) {
            Some((_, made)) if now >= *made + settings.provisioning => State::Active,
            _ => State::Provisioning,
        }
    }

    /// Which load balancer sends to a target group, with what weight.
    fn senders(&self, group: &str) -> BTreeMap<String, u16> {
        let mut found = BTreeMap::new();
        let mut add = |lb: &str, actions: &[Action]| {
            for action in actions {
                let Action::Forward(forward) = action else { continue };
                let single = forward.target_groups.len() == 1;
                for tuple in forward.target_groups.iter().filter(|t| literal(&t.target_group_arn) == group) {
                    let weight = if single { 1 } else { tuple.weight.unwrap_or(1) };
                    let held = found.entry(lb.to_owned()).or_insert(0);
                    *held = weight.max(*held);
                }
            }
        };
        for listener in self.listeners.values() {
            let lb = literal(&listener.spec.load_balancer_arn);
            add(lb, &listener.spec.default_actions);
            for rule in self.rules.values().filter(|r| literal(&r.spec.listener_arn) == listener.arn) {
                add(lb, &rule.spec.actions);
            }
        }
        found
    }

    fn healths(&self, arn: &str, now: Duration, settings: &Settings) -> Healths {
        let (Some(group), Some(held)) = (self.target_groups.get(arn), self.targets.get(arn)) else {
            return Healths::new();
        };
        let sick = self.sick.iter().any(|part| group.spec.name.contains(part));
        let senders = self.senders(arn);
        let active = senders
            .keys()
            .filter_map(|lb| self.load_balancers.get(lb))
            .map(|(_, made)| *made + settings.provisioning);
        let active = active.min();
        held.iter()
            .filter(|(_, h)| h.leaves.is_none_or(|at| now < at))
            .map(|(target, h)| {
                let health = match (h.leaves, self.attached.get(arn), active) {
                    (Some(_), _, _) => Health::Draining,
                    (None, Some(attached), Some(active)) => {
                        let ready = h.since.max(*attached).max(active) + settings.healthy;
                        match (now >= ready, sick) {
                            (false, _) => Health::Initial,
                            (true, false) => Health::Healthy,
                            (true, true) => Health::Unhealthy,
                        }
                    }
                    _ => Health::Unused,
                };
                (target.clone(), health)
            })
            .collect()
    }

    /// Attachment follows listeners and rules.
    fn settle(&mut self, now: Duration, _settings: &Settings) {
        let arns: Vec<String> = self.target_groups.keys().cloned().collect();
        for arn in arns {
            let senders = self.senders(&arn);
            if senders.is_empty() {
                self.attached.remove(&arn);
            } else {
                self.attached.entry(arn.clone()).or_insert(now);
            }
            if let Some(group) = self.target_groups.get_mut(&arn) {
                group.load_balancers = senders.into_keys().collect();
            }
        }
    }
}

fn page<T: Clone>(all: Vec<T>, marker: Option<&String>, size: usize) -> Page<T> {
    let from: usize = marker.and_then(|m| m.parse().ok()).unwrap_or(0);
    let next = (from + size < all.len()).then(|| (from + size).to_string());
    Page { items: all.into_iter().skip(from).take(size).collect(), next }
}

impl World {
    /// Registered targets: those that leave are draining, the rest count as healthy.
    pub fn registered(&self, arn: &str) -> Healths {
        let held = self.targets.get(arn).into_iter().flatten();
        held.map(|(t, h)| (t.clone(), if h.leaves.is_some() { Health::Draining } else { Health::Healthy }))
            .collect()
    }
}
