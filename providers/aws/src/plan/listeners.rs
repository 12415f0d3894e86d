//! Listeners. Pure.

use std::collections::BTreeSet;

use causeway_api::{Limit, Verb};

use super::forward::{self, Groups, Step};
use super::tokens::literal;
use super::{Draft, Op, defaults, secrets};
use crate::cloud::Attributed;
use crate::cloud::records::Listener;
use crate::plan::marks::resource_id;
use crate::stack::{Action, Attribute, ElbProtocol, ListenerSpec, LoadBalancerType, ResourceType, Token};

const KIND: ResourceType = ResourceType::Listener;
/// Most listeners of an NLB; cannot be raised.
const MOST_LISTENERS: u64 = 50;

/// Whether a listener need not be modified, actions, attributes, tags and further certificates apart.
fn same_listener(want: &ListenerSpec, have: &ListenerSpec) -> bool {
    let tls = matches!(want.protocol, ElbProtocol::Tls | ElbProtocol::Https);
    let off = |m: &Option<crate::stack::MutualAuthentication>| m.clone().filter(|m| m.mode != "off");
    let alpn = |spec: &ListenerSpec| -> Vec<String> {
        spec.alpn_policy.iter().filter(|p| *p != "None").cloned().collect()
    };
    want.protocol == have.protocol
        && (!tls || want.certificates.first() == have.certificates.first())
        && (!tls || want.ssl_policy.is_none() || want.ssl_policy == have.ssl_policy)
        && alpn(want) == alpn(have)
        && off(&want.mutual_authentication) == off(&have.mutual_authentication)
}

impl Draft<'_> {
    /// What is known of target groups, for the way from one action to another.
    pub(super) fn step(&self, want: &[Action], have: &[Action], listener: ElbProtocol) -> Step {
        let ready = |token: &Token| match token {
            Token::Literal(arn) => self.have.healthy.contains(&**arn) || !self.shall_have_targets(arn),
            Token::Ref { id, .. } => self.want.targets.get(id).is_none_or(BTreeSet::is_empty),
        };
        let drained = |token: &Token| self.have.drained.contains(literal(token));
        let protocol = |token: &Token| match token {
            Token::Literal(arn) => {
                self.have.target_groups.iter().find(|g| *g.arn == **arn).map(|g| g.spec.protocol)
            }
            Token::Ref { id, .. } => self.want.target_groups.get(id).map(|g| g.protocol),
        };
        let together = |all: &BTreeSet<Token>| {
            all.iter().all(|g| protocol(g).is_none_or(|p| forward::compatible(listener, p)))
        };
        forward::step(want, have, &Groups { ready: &ready, drained: &drained, together: &together })
    }

    /// Notes what a step waits for, and what actions send to.
    pub(super) fn follow(&mut self, step: &Step, actions: &[Action]) {
        self.awaited.healthy.extend(step.healthy.iter().cloned());
        for token in &step.drained {
            let arn = literal(token);
            let group = self.have.target_groups.iter().find(|g| g.arn == arn);
            let delay = group.and_then(|g| {
                let key = "deregistration_delay.timeout_seconds";
                g.spec.target_group_attributes.iter().find(|a| a.key == key)?.value.parse().ok()
            });
            self.awaited.drained.insert((arn.to_owned(), delay.unwrap_or(300)));
        }
        self.note_used(actions);
    }

    pub(super) fn note_used(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Forward(forward) = action {
                self.used
                    .extend(forward.target_groups.iter().map(|g| literal(&g.target_group_arn).to_owned()));
            }
        }
    }

    /// Makes, changes and deletes listeners and their rules.
    pub(super) fn listeners(&mut self) {
        let current: BTreeSet<String> =
            self.chosen.load_balancers.values().map(|lb| lb.arn.clone()).collect();
        let nlb = self.want.load_balancers.values().all(|lb| lb.kind == LoadBalancerType::Network);
        let mut kept = BTreeSet::new();
        for (id, spec) in &self.want.listeners {
            let wanted = self.resolve(spec);
            let lb = literal(&wanted.load_balancer_arn).to_owned();
            let have = self.have.listeners.iter().find(|l| {
                literal(&l.spec.load_balancer_arn) == lb && l.spec.port == spec.port && !lb.is_empty()
            });
            match have {
                Some(have) if resource_id(&have.spec.tags, KIND).is_none() => {
                    kept.insert(have.arn.clone());
                    self.note_used(&have.spec.default_actions);
                    let text = format!(
                        "port {} is not served: somebody else made a listener on it at {lb}; delete that",
                        spec.port
                    );
                    self.tell(&format!("spec.ports[{}]", spec.port), "ForeignResource", text);
                }
                Some(have) => {
                    kept.insert(have.arn.clone());
                    if self.locked(&wanted.default_actions) {
                        self.note_used(&have.spec.default_actions);
                    } else {
                        self.change_listener(id, &wanted, have);
                    }
                    self.rules(id, Some(have));
                }
                None if self.locked(&wanted.default_actions) => {}
                None => {
                    let count = self.want.listeners.len() as u64;
                    let limits = nlb.then(|| Limit {
                        name: "listeners-per-network-load-balancer".to_owned(),
                        after: count,
                        max: MOST_LISTENERS,
                    });
                    self.create_listener(id, wanted, limits.into_iter().collect());
                    self.rules(id, None);
                }
            }
        }
        let stale: Vec<&Listener> = self
            .have
            .listeners
            .iter()
            .filter(|l| !kept.contains(&l.arn) && current.contains(literal(&l.spec.load_balancer_arn)))
            .collect();
        for listener in stale {
            let port = listener.spec.port.to_string();
            if self.want.kept.contains(&port) {
                self.note_used(&listener.spec.default_actions);
                let rules = self.have.rules.iter();
                for rule in rules.filter(|r| literal(&r.spec.listener_arn) == listener.arn) {
                    self.note_used(&rule.spec.actions);
                }
                continue;
            }
            if resource_id(&listener.spec.tags, KIND).is_none() {
                // Somebody else's, on a load balancer of ours: left alone while that is there.
                self.note_used(&listener.spec.default_actions);
                continue;
            }
            let op = Op::Delete { kind: KIND, at: listener.arn.clone() };
            self.push(op, Verb::Delete, KIND, &port, format!("delete listener {port}"));
        }
    }

    fn create_listener(&mut self, id: &str, wanted: ListenerSpec, limits: Vec<Limit>) {
        self.note_used(&wanted.default_actions);
        let mut made = wanted;
        made.tags = secrets::tagged(self.tags(KIND, id, &made.tags), &made.default_actions);
        let attributes = std::mem::take(&mut made.listener_attributes);
        let further: BTreeSet<String> =
            made.certificates.iter().skip(1).map(|c| c.certificate_arn.clone()).collect();
        made.certificates.truncate(1);
        let (protocol, answers) = (made.protocol, made.default_actions.iter().any(Action::is_final));
        let summary = format!("make listener {id} ({})", protocol.as_str());
        let op = Op::CreateListener { id: id.to_owned(), spec: Box::new(made) };
        let info = self.push(op, Verb::Create, KIND, id, summary);
        info.default_action = Some(answers);
        info.limits = limits;
        let token = Token::of(KIND, id);
        self.add_certificates(id, token.clone(), further);
        let changed = defaults::changes(&attributes, &[], &|key| defaults::listener(protocol, key));
        self.listener_attributes(id, token, changed);
    }

    fn listener_attributes(&mut self, id: &str, at: Token, attributes: Vec<Attribute>) {
        if attributes.is_empty() {
            return;
        }
        let summary = format!("set {} attributes of listener {id}", attributes.len());
        let op = Op::SetAttributes { of: Attributed::Listener, at, attributes };
        self.push(op, Verb::Update, KIND, id, summary);
    }

    fn add_certificates(&mut self, id: &str, listener: Token, certificates: BTreeSet<String>) {
        if certificates.is_empty() {
            return;
        }
        let summary = format!("add {} certificates to listener {id}", certificates.len());
        let op = Op::AddCertificates { listener, certificates };
        self.push(op, Verb::Update, KIND, id, summary);
    }

    fn change_listener(&mut self, id: &str, want: &ListenerSpec, have: &Listener) {
        // While both target groups are attached the listener must be able to send to both: the old protocol or the new one.
        let mut protocol = want.protocol;
        let mut step = self.step(&want.default_actions, &have.spec.default_actions, protocol);
        if want.protocol != have.spec.protocol && step.set.as_deref() == Some(&want.default_actions) {
            let other = self.step(&want.default_actions, &have.spec.default_actions, have.spec.protocol);
            if !other.healthy.is_empty() {
                (step, protocol) = (other, have.spec.protocol);
            }
        }
        let further = |spec: &ListenerSpec| -> BTreeSet<String> {
            spec.certificates.iter().skip(1).map(|c| c.certificate_arn.clone()).collect()
        };
        let (wanted, held) = (further(want), further(&have.spec));
        // New certificates come before, old ones go after the default one changes.
        self.add_certificates(
            id,
            Token::literal(have.arn.as_str()),
            wanted.difference(&held).cloned().collect(),
        );
        let mut set = want.clone();
        set.protocol = protocol;
        set.default_actions = step
            .set
            .clone()
            .unwrap_or_else(|| forward::checked(&want.default_actions, &have.spec.default_actions));
        let staged = protocol != want.protocol;
        if step.set.is_some() || (!staged && !same_listener(want, &have.spec)) {
            self.note_used(&set.default_actions);
            let answers = set.default_actions.iter().any(Action::is_final);
            let summary = format!("change listener {id}");
            let op = Op::ModifyListener { listener: have.arn.clone(), spec: Box::new(set.clone()) };
            self.push(op, Verb::Update, KIND, id, summary).default_action = Some(answers);
        }
        self.follow(&step, &set.default_actions);
        let gone: BTreeSet<String> = held
            .difference(&wanted)
            .filter(|c| want.certificates.first().is_none_or(|first| first.certificate_arn != **c))
            .cloned()
            .collect();
        if !gone.is_empty() {
            let summary = format!("take {} certificates from listener {id}", gone.len());
            let op = Op::RemoveCertificates { listener: have.arn.clone(), certificates: gone };
            self.push(op, Verb::Update, KIND, id, summary);
        }
        let default = |key: &str| defaults::listener(want.protocol, key);
        let changes = defaults::changes(&want.listener_attributes, &have.spec.listener_attributes, &default);
        self.listener_attributes(id, Token::literal(have.arn.as_str()), changes);
        let tags = secrets::tagged(self.tags(KIND, id, &want.tags), &want.default_actions);
        self.retag(KIND, id, &have.arn, tags, &have.spec.tags);
    }
}
