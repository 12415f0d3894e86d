//! The cloud's state and how a call goes through it: settle what is due, count, draw a fault, execute. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_api::Family;
use serde::{Deserialize, Serialize};

use super::faults::{Fault, Faults};
use super::node_sets::{NodeSets, Nodes, SetId};
use super::records::{Action, LoadBalancer, Spec, Status};
use super::request::{Answer, Code, Refusal, Request};

/// Names of quotas and their defaults.
pub mod quota {
    /// Load balancers in the account.
    pub const LOAD_BALANCERS: &str = "load-balancers";
    /// Listeners of one load balancer.
    pub const LISTENERS: &str = "listeners-per-load-balancer";
    /// Rules of one load balancer.
    pub const RULES: &str = "rules-per-load-balancer";
    /// Target groups of one load balancer.
    pub const TARGET_GROUPS: &str = "target-groups-per-load-balancer";
    /// Targets (node and port) of one target group.
    pub const TARGETS: &str = "targets-per-target-group";
    /// Addresses of one family in the account.
    pub const ADDRESSES: &str = "addresses-per-family";

    /// All quotas with the values that hold unless the settings say otherwise.
    pub const DEFAULTS: [(&str, u64); 6] = [
        (LOAD_BALANCERS, 100_000),
        (LISTENERS, 50),
        (RULES, 100),
        (TARGET_GROUPS, 100),
        (TARGETS, 10_000),
        (ADDRESSES, 100_000),
    ];
}

/// Which cloud's manners the model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// As ELBv2: names are unique and creating the same again gives what is there; a new load balancer is `Provisioning`, with
    /// its address, and can be changed meanwhile; other changes take effect at once.
    #[default]
    Open,
    /// As Octavia: names are not unique; every change locks the load balancer until it has taken effect.
    Locking,
}

/// A token bucket for all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Calls per second.
    pub per_second: u32,
    /// Calls at once.
    pub burst: u32,
}

/// What the cloud is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Manners.
    pub style: Style,
    /// Milliseconds that every call takes; the rim waits them, the state machine does not.
    pub latency: u64,
    /// Milliseconds that making a load balancer takes after the answer.
    pub create_pending: u64,
    /// Milliseconds that a change or delete takes after the answer, with [`Style::Locking`].
    pub change_pending: u64,
    /// Items per page of a list; 0 means 1,000.
    pub page: usize,
    /// Quotas that differ from [`quota::DEFAULTS`].
    pub quotas: BTreeMap<String, u64>,
    /// Rate limit, if any.
    pub bucket: Option<Bucket>,
}

impl Settings {
    /// The value of a quota.
    #[must_use]
    pub fn quota(&self, name: &str) -> u64 {
        let default = quota::DEFAULTS.iter().find(|(n, _)| *n == name).map_or(u64::MAX, |(_, v)| *v);
        self.quotas.get(name).copied().unwrap_or(default)
    }

    /// All quotas.
    #[must_use]
    pub fn all_quotas(&self) -> BTreeMap<String, u64> {
        quota::DEFAULTS.iter().map(|(name, _)| ((*name).to_owned(), self.quota(name))).collect()
    }
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answer(Result<Answer, Refusal>),
    /// None: the connection ends.
    Lost,
}

/// All that the cloud holds, for comparing and showing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Load balancers by id.
    pub load_balancers: Vec<LoadBalancer>,
    /// The sets of nodes that they name.
    pub sets: BTreeMap<SetId, Nodes>,
}

/// The cloud.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// What it is like.
    pub settings: Settings,
    /// What goes wrong.
    pub faults: Faults,
    pub(super) load_balancers: BTreeMap<String, LoadBalancer>,
    pub(super) sets: NodeSets,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) last_address: BTreeMap<Family, u64>,
    pub(super) last_id: u64,
    /// When a pending status ends, by load balancer.
    due: BTreeMap<String, u64>,
    late: Vec<(u64, Request)>,
    counts: BTreeMap<String, u64>,
    last_call: BTreeMap<String, u64>,
    tokens: Option<(u64, u64)>,
}

impl Cloud {
    /// An empty cloud.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// One call at this time, faults included. A fault that holds back the answer counts as a lost one: only a rim can hold.
    pub fn call(&mut self, now: u64, request: &Request) -> Reply {
        match self.admit(now, request) {
            Err(refusal) => Reply::Answer(Err(refusal)),
            Ok(fault) => self.execute(now, request, fault),
        }
    }

    /// First half of a call: counts it and draws its fault.
    ///
    /// # Errors
    /// The call is refused as one too many.
    pub fn admit(&mut self, now: u64, request: &Request) -> Result<Option<Fault>, Refusal> {
        self.settle(now);
        *self.counts.entry(request.action().to_owned()).or_default() += 1;
        self.last_call.insert(request.action().to_owned(), now);
        self.take_token(now)?;
        Ok(self.faults.draw(request.action(), request.reads()))
    }

    /// Second half of a call: its effect and its answer.
    pub fn execute(&mut self, now: u64, request: &Request, fault: Option<Fault>) -> Reply {
        self.settle(now);
        let broken = || Reply::Answer(Err(Refusal::new(Code::InternalError, "the server failed (injected)")));
        match fault {
            None => Reply::Answer(self.perform(now, request)),
            Some(Fault::Throttle) => {
                Reply::Answer(Err(Refusal::new(Code::Throttled, "rate exceeded (injected)").after(200)))
            }
            Some(Fault::ErrorBefore) => broken(),
            Some(Fault::ErrorAfter) => {
                let _ = self.perform(now, request);
                broken()
            }
            Some(Fault::LostBefore | Fault::HoldBefore) => Reply::Lost,
            Some(Fault::LostAfter | Fault::HoldAfter) => {
                let _ = self.perform(now, request);
                Reply::Lost
            }
            Some(Fault::Late(after)) => {
                self.late.push((now.saturating_add(after), request.clone()));
                Reply::Lost
            }
        }
    }

    fn take_token(&mut self, now: u64) -> Result<(), Refusal> {
        let Some(bucket) = self.settings.bucket else { return Ok(()) };
        // In thousandths of a token: `per_second` of them come each millisecond.
        let full = u64::from(bucket.burst) * 1000;
        let (tokens, since) = self.tokens.unwrap_or((full, now));
        let come = now.saturating_sub(since).saturating_mul(u64::from(bucket.per_second));
        let tokens = full.min(tokens.saturating_add(come));
        self.tokens = Some((tokens.saturating_sub(1000), now));
        if tokens < 1000 {
            self.tokens = Some((tokens, now));
            let wait = (1000 - tokens).div_ceil(u64::from(bucket.per_second).max(1));
            *self.faults.injected.entry("RateExceeded".to_owned()).or_default() += 1;
            return Err(Refusal::new(Code::Throttled, "rate exceeded").after(wait));
        }
        Ok(())
    }

    /// Lets what is due by now happen.
    fn settle(&mut self, now: u64) {
        if self.late.iter().any(|(due, _)| *due <= now) {
            let (due, wait): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.late).into_iter().partition(|(due, _)| *due <= now);
            self.late = wait;
            for (_, request) in due {
                let _ = self.perform(now, &request);
            }
        }
        let due: Vec<String> =
            self.due.iter().filter(|(_, due)| **due <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.due.remove(&id);
            match self.load_balancers.get_mut(&id) {
                Some(lb) if lb.status == Status::PendingDelete => self.remove(&id),
                Some(lb) => lb.status = Status::Active,
                None => {}
            }
        }
    }

    /// Sets a status that ends by itself.
    pub(super) fn pend(&mut self, id: &str, status: Status, now: u64, after: u64) {
        if let Some(lb) = self.load_balancers.get_mut(id) {
            lb.status = status;
            self.due.insert(id.to_owned(), now.saturating_add(after));
        }
        if after == 0 {
            self.settle(now);
        }
    }

    /// Takes a load balancer away and frees its addresses.
    pub(super) fn remove(&mut self, id: &str) {
        self.due.remove(id);
        if let Some(lb) = self.load_balancers.remove(id) {
            for address in lb.addresses {
                self.addresses.remove(&address);
            }
        }
        self.forget_sets();
    }

    /// Drops node sets that nothing names any more, once there are many.
    pub(super) fn forget_sets(&mut self) {
        if self.sets.len() > 1024 {
            let used: BTreeSet<&SetId> = self
                .load_balancers
                .values()
                .flat_map(|lb| lb.spec.targets.values())
                .flat_map(|t| t.values())
                .collect();
            self.sets.retain(&used);
        }
    }

    /// A free address: the requested one, or the next.
    pub(super) fn allot(&mut self, family: Family, requested: Option<IpAddr>) -> Result<IpAddr, Refusal> {
        let held = self.addresses.iter().filter(|a| Family::of(a) == family).count() as u64;
        if held >= self.settings.quota(quota::ADDRESSES) {
            return Err(Refusal::quota(quota::ADDRESSES, self.settings.quota(quota::ADDRESSES)));
        }
        if let Some(address) = requested {
            if !in_range(address) {
                let text = format!(
                    "address {address} is not one of this cloud's (198.18.0.0/15, 2001:db8:cafe::/64)"
                );
                return Err(Refusal::new(Code::Validation, text));
            }
            if !self.addresses.insert(address) {
                return Err(Refusal::new(Code::Validation, format!("address {address} is taken")));
            }
            return Ok(address);
        }
        let last = self.last_address.entry(family).or_default();
        loop {
            *last += 1;
            let n = *last;
            let address: IpAddr = match family {
                Family::V4 => Ipv4Addr::from_bits(0xc612_0000 + (n % 0x1_fffe) as u32).into(),
                Family::V6 => Ipv6Addr::from_bits((0x2001_0db8_cafe_0000_u128 << 64) + u128::from(n)).into(),
            };
            if self.addresses.insert(address) {
                return Ok(address);
            }
        }
    }

    /// Calls so far by action, those that went wrong or were refused included.
    #[must_use]
    pub fn calls(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// When each action was called last, milliseconds.
    #[must_use]
    pub fn last_calls(&self) -> &BTreeMap<String, u64> {
        &self.last_call
    }

    /// Begins to count anew.
    pub fn reset_calls(&mut self) {
        self.counts.clear();
        self.last_call.clear();
        self.faults.injected.clear();
    }

    /// Everything, at this time.
    pub fn snapshot(&mut self, now: u64) -> Snapshot {
        self.settle(now);
        let load_balancers: Vec<_> = self.load_balancers.values().cloned().collect();
        let sets = self.sets_of(load_balancers.iter().map(|lb| &lb.spec));
        Snapshot { load_balancers, sets }
    }

    pub(super) fn sets_of<'a>(&self, specs: impl Iterator<Item = &'a Spec>) -> BTreeMap<SetId, Nodes> {
        let ids: BTreeSet<&SetId> = specs.flat_map(|s| s.targets.values()).flat_map(|t| t.values()).collect();
        ids.into_iter().filter_map(|id| Some((id.clone(), self.sets.get(Some(id))?))).collect()
    }

    /// Puts a load balancer of somebody else into the cloud, with a free address if it has none.
    ///
    /// # Errors
    /// As a create.
    pub fn plant(
        &mut self,
        now: u64,
        spec: Spec,
        sets: BTreeMap<SetId, Nodes>,
    ) -> Result<LoadBalancer, Refusal> {
        let answer = self.perform(now, &Request::CreateLoadBalancer { spec: Box::new(spec), sets })?;
        match answer {
            Answer::Created { load_balancer } => Ok(*load_balancer),
            other => Err(Refusal::new(Code::InternalError, format!("{other:?}"))),
        }
    }

    /// What somebody does by hand, past every rule of the cloud: `edit` changes the load balancer of this id. `false`: there is none.
    pub fn tamper(&mut self, id: &str, edit: impl FnOnce(&mut LoadBalancer, &mut NodeSets)) -> bool {
        match self.load_balancers.get_mut(id) {
            Some(lb) => {
                edit(lb, &mut self.sets);
                true
            }
            None => false,
        }
    }

    /// Somebody deletes a load balancer by hand.
    pub fn destroy(&mut self, id: &str) {
        self.remove(id);
    }

    /// What is wrong with the cloud's own invariants; empty if nothing is.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut seen = BTreeSet::new();
        for lb in self.load_balancers.values() {
            let id = &lb.id;
            for address in &lb.addresses {
                if !seen.insert(*address) {
                    wrong.push(format!("{id}: address {address} belongs to two load balancers"));
                }
            }
            if let Err(refusal) = self.valid(&lb.spec) {
                wrong.push(format!("{id}: {refusal}"));
            }
            for group in lb.spec.targets.values().flat_map(|t| t.values()) {
                if self.sets.get(Some(group)).is_none() {
                    wrong.push(format!("{id}: node set {group:?} is unknown"));
                }
            }
        }
        if seen != self.addresses {
            wrong.push("addresses are held that belong to no load balancer".to_owned());
        }
        wrong
    }

    /// Whether an action may be taken by a listener.
    pub(super) fn valid_action(
        spec: &Spec,
        listener: &super::records::Listener,
        action: &Action,
    ) -> Result<(), Refusal> {
        let targets = listener.protocol.targets();
        match action {
            Action::Fixed(_) if targets != super::records::TargetProtocol::Http => {
                Err(Refusal::new(Code::Validation, "a fixed response needs HTTP"))
            }
            Action::Fixed(status) if !(200..=599).contains(status) => {
                Err(Refusal::new(Code::Validation, format!("{status} is no status of a response")))
            }
            Action::Fixed(_) => Ok(()),
            Action::Forward(group) => match spec.target_groups.get(group) {
                None => Err(Refusal::new(Code::NotFound, format!("target group {group} does not exist"))),
                Some(g) if g.protocol != targets => {
                    Err(Refusal::new(Code::Validation, format!("target group {group} has another protocol")))
                }
                Some(_) => Ok(()),
            },
        }
    }
}

fn in_range(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.to_bits() >> 17 == 0xc612_0000 >> 17,
        IpAddr::V6(a) => a.to_bits() >> 64 == 0x2001_0db8_cafe_0000,
    }
}
