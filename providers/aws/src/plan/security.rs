//! Security groups: those of the stack, and what is shared. Pure.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::names::KUBE_PROXY_HEALTH_PORT;
use causeway_api::{Limit, Mark, Verb};

use super::{Draft, Op};
use crate::adopt::adopted_from;
use crate::observe::Observed;
use crate::security::{BACKEND_GROUP, MOST_RULES, described, signed};
use crate::stack::{IpPermission, PortOrName, ResourceType, Token};

/// A rule without what AWS does not compare.
#[must_use]
pub fn bare(rule: &IpPermission) -> IpPermission {
    let mut rule = rule.clone();
    rule.ip_ranges.iter_mut().for_each(|r| r.description.clear());
    rule.ipv6_ranges.iter_mut().for_each(|r| r.description.clear());
    rule.group_pairs.iter_mut().for_each(|p| p.description.clear());
    if rule.ip_protocol == "-1" {
        (rule.from_port, rule.to_port) = (None, None);
    }
    rule
}

/// Rules to add, and rules to take away; descriptions do not count.
#[must_use]
pub fn rule_changes<'a>(
    want: impl IntoIterator<Item = &'a IpPermission>,
    have: impl IntoIterator<Item = &'a IpPermission>,
) -> (BTreeSet<IpPermission>, BTreeSet<IpPermission>) {
    let want: BTreeMap<_, _> = want.into_iter().map(|r| (bare(r), r)).collect();
    let have: BTreeMap<_, _> = have.into_iter().map(|r| (bare(r), r)).collect();
    let add = want.iter().filter(|(key, _)| !have.contains_key(key)).map(|(_, r)| (*r).clone()).collect();
    let take = have.iter().filter(|(key, _)| !want.contains_key(key)).map(|(_, r)| (*r).clone()).collect();
    (add, take)
}

impl Draft<'_> {
    /// What all stacks share.
    pub(super) fn shared(&mut self) {
        let kind = ResourceType::SecurityGroup;
        if let Some(spec) = &self.want.shared.backend_group
            && self.have.shared.backend_group.is_none()
        {
            let summary = format!("make security group {}, which all load balancers share", spec.group_name);
            let op = Op::EnsureBackendGroup(Box::new(spec.clone()));
            self.push(op, Verb::Create, kind, BACKEND_GROUP, summary);
        }
        self.node_rules();
    }

    /// Rules of the nodes' groups.
    pub(super) fn node_rules(&mut self) {
        let kind = ResourceType::SecurityGroup;
        let owner = self.want.owner.as_str();
        let rules: BTreeSet<IpPermission> =
            self.want.shared.node_rules.iter().map(|r| signed(self.resolve(r), owner)).collect();
        for group in &self.want.shared.node_groups {
            let none = BTreeSet::new();
            let has = self.have.shared.node_rules.get(group).unwrap_or(&none);
            let missing: BTreeSet<_> = rules.iter().filter(|r| !has.contains(&bare(r))).cloned().collect();
            if !missing.is_empty() {
                let summary =
                    format!("let the nodes' security group {group} have {} more rules", missing.len());
                let op = Op::EnsureNodeRules { group: group.clone(), rules: missing };
                self.push(op, Verb::Update, kind, group, summary).mark = Mark::UserNamed;
            }
        }
        let kept = rules.iter().map(bare).collect();
        self.revoke_node_rules(&kept);
    }

    /// Rules of the nodes' groups that this load balancer alone needed, but for those that are kept: ports that it has no more, and networks that may not come in any more.
    pub(super) fn revoke_node_rules(&mut self, kept: &BTreeSet<IpPermission>) {
        let mut gone: BTreeMap<&str, BTreeSet<IpPermission>> = BTreeMap::new();
        // Where no group is known as the nodes', nothing tells what is none.
        let of_nodes = &self.want.shared.node_groups;
        let strays = |group: &str| !of_nodes.is_empty() && !of_nodes.contains(group);
        for (group, rule) in self.have.shared.signed_by(&self.want.owner) {
            if !kept.contains(&bare(rule)) || strays(group) {
                gone.entry(group).or_default().insert(rule.clone());
            }
        }
        if !of_nodes.is_empty() {
            for (group, rule) in self.have.shared.strays(of_nodes) {
                gone.entry(group).or_default().insert(described(rule.clone()));
            }
        }
        for (group, rule) in left_by_peer(self.have, kept) {
            gone.entry(group).or_default().insert(rule.clone());
        }
        for (group, rules) in gone {
            let summary = format!("take {} rules from the nodes' security group {group}", rules.len());
            let op = Op::RevokeNodeRules { group: group.to_owned(), rules };
            self.push(op, Verb::Update, ResourceType::SecurityGroup, group, summary).mark = Mark::UserNamed;
        }
    }

    /// What all stacks share goes with the last one. Of two that go at the same time neither is the last yet: which is, shows when the rest is done.
    pub(super) fn drop_shared(&mut self) {
        let shared = &self.have.shared;
        let may_be_last = shared.alone || shared.backend_going || !self.have.is_empty();
        if shared.backend_group.is_some() && may_be_last {
            let summary =
                "delete the security group that load balancers share, and the rules that let it in: nobody needs it"
                    .to_owned();
            let kind = ResourceType::SecurityGroup;
            self.push(Op::DropBackendGroup, Verb::Delete, kind, BACKEND_GROUP, summary);
        }
    }

    /// Security groups of the stack.
    pub(super) fn security_groups(&mut self) {
        let kind = ResourceType::SecurityGroup;
        for (id, spec) in &self.want.security_groups {
            let have = self
                .have
                .security_groups
                .iter()
                .find(|g| super::marks::resource_id(&g.spec.tags, kind) == Some(id));
            let wanted: Vec<IpPermission> = spec.ingress.iter().map(|r| self.resolve(r)).collect();
            let tags = self.tags(kind, id, &spec.tags);
            let limits = vec![Limit {
                name: "inbound rules per security group".to_owned(),
                after: wanted.len() as u64,
                max: MOST_RULES as u64,
            }];
            let Some(have) = have else {
                let mut made = spec.clone();
                made.ingress.clear();
                made.tags = tags;
                let summary = format!("make security group {}", made.group_name);
                let op = Op::CreateSecurityGroup { id: id.clone(), spec: Box::new(made) };
                self.push(op, Verb::Create, kind, id, summary);
                self.authorize(id, Token::of(kind, id.clone()), wanted.into_iter().collect(), limits);
                continue;
            };
            let (add, mut take) = rule_changes(&wanted, &have.spec.ingress);
            // Whoever may reach a listener that stays as it is goes on reaching it.
            let kept = |port: Option<u16>| port.is_some_and(|p| self.want.kept.contains(&p.to_string()));
            take.retain(|rule| !kept(rule.from_port));
            // Room first, where both do not fit.
            let squeezed = have.spec.ingress.len() + add.len() > MOST_RULES;
            if squeezed {
                self.revoke(id, &have.id, take.clone());
            }
            self.authorize(id, Token::literal(have.id.as_str()), add, limits);
            if !squeezed {
                self.revoke(id, &have.id, take);
            }
            self.retag(kind, id, &have.id, tags, &have.spec.tags);
        }
    }

    fn authorize(&mut self, id: &str, group: Token, rules: BTreeSet<IpPermission>, limits: Vec<Limit>) {
        if rules.is_empty() {
            return;
        }
        let summary = format!("add {} rules to security group {id}", rules.len());
        let op = Op::Authorize { group, rules };
        self.push(op, Verb::Update, ResourceType::SecurityGroup, id, summary).limits = limits;
    }

    fn revoke(&mut self, id: &str, group: &str, rules: BTreeSet<IpPermission>) {
        if rules.is_empty() {
            return;
        }
        let summary = format!("take {} rules from security group {id}", rules.len());
        let op = Op::Revoke { group: Token::literal(group), rules };
        self.push(op, Verb::Update, ResourceType::SecurityGroup, id, summary);
    }
}

/// Rules that a peer made for a load balancer that is ours now, for ports of its own that nobody serves any more. What the peer let in to the others is let in as
/// long as they are served; kube-proxy's port may be many load balancers'.
fn left_by_peer<'h>(have: &'h Observed, kept: &BTreeSet<IpPermission>) -> Vec<(&'h str, &'h IpPermission)> {
    let adopted = have.load_balancers.iter().filter(|lb| adopted_from(&lb.spec.tags).is_some());
    let own: BTreeSet<u16> = have
        .target_groups
        .iter()
        .flat_map(|group| {
            let health = match group.spec.health_check_config.port {
                PortOrName::Number(port) if port != KUBE_PROXY_HEALTH_PORT => Some(port),
                _ => None,
            };
            [Some(group.spec.port), health]
        })
        .flatten()
        .collect();
    let serves = |rule: &IpPermission| {
        kept.iter().any(|k| (&k.ip_protocol, k.from_port) == (&rule.ip_protocol, rule.from_port))
    };
    adopted
        .flat_map(|lb| have.shared.signed_by(&lb.spec.name))
        .filter(|(_, rule)| rule.from_port.is_some_and(|port| own.contains(&port)) && !serves(rule))
        .collect()
}
