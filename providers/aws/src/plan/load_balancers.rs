//! Load balancers: made, changed in place, or followed by another one. Pure.

use std::collections::BTreeSet;

use causeway_api::Verb;

use super::tokens::literal;
use super::{Draft, Op, defaults, dirty};
use crate::cloud::Attributed;
use crate::cloud::records::LoadBalancer;
use crate::naming;
use crate::stack::{
    Attribute, LoadBalancerSpec, LoadBalancerType, MinimumCapacity, OnOff, ResourceType, Token,
};

const KIND: ResourceType = ResourceType::LoadBalancer;

/// Seconds for which a load balancer is kept after every member shows the name of the one that followed it: clients may hold the old name for as long as DNS
/// lets them (60 s), and connections need time to end.
pub const KEPT: u64 = 120;

impl Draft<'_> {
    /// Makes and changes load balancers.
    pub(super) fn load_balancers(&mut self) {
        for (id, spec) in &self.want.load_balancers {
            let wanted = self.resolve(spec);
            let tags = self.protected(id, self.tags(KIND, id, &spec.tags));
            if let Some(have) = self.chosen.load_balancers.get(id.as_str()).copied() {
                self.change_load_balancer(id, &wanted, have);
                let mut tags = tags;
                if self.have.retired.contains_key(&have.arn) {
                    // It is asked for again.
                    tags.insert(super::marks::TAG_RETIRED.to_owned(), String::new());
                }
                self.retag(KIND, id, &have.arn, tags, &have.spec.tags);
                if !have.state.serves() {
                    self.awaited.active.insert(Token::literal(have.arn.as_str()));
                }
                continue;
            }
            let mut made = wanted;
            if self.have.load_balancers.iter().any(|lb| lb.spec.name == made.name) {
                made.name = another_name(&made);
            }
            made.tags = dirty(tags);
            let attributes = std::mem::take(&mut made.load_balancer_attributes);
            let capacity = made.minimum_load_balancer_capacity.take();
            let changed = defaults::changes(&attributes, &[], &|key| defaults::load_balancer(spec, key));
            let summary = format!("make {} {} ({})", made.kind.short(), made.name, made.scheme.as_str());
            let op = Op::CreateLoadBalancer { id: id.clone(), spec: Box::new(made) };
            self.push(op, Verb::Create, KIND, id, summary);
            let token = Token::of(KIND, id.clone());
            self.load_balancer_attributes(id, token.clone(), changed);
            self.reserve(id, token.clone(), capacity, None);
            self.awaited.active.insert(token);
        }
    }

    fn load_balancer_attributes(&mut self, id: &str, at: Token, attributes: Vec<Attribute>) {
        if attributes.is_empty() {
            return;
        }
        let summary = format!("set {} attributes of load balancer {id}", attributes.len());
        let op = Op::SetAttributes { of: Attributed::LoadBalancer, at, attributes };
        self.push(op, Verb::Update, KIND, id, summary);
    }

    fn reserve(
        &mut self,
        id: &str,
        load_balancer: Token,
        want: Option<MinimumCapacity>,
        have: Option<MinimumCapacity>,
    ) {
        let none = MinimumCapacity { capacity_units: 0 };
        let (want, have) = (want.unwrap_or(none), have.unwrap_or(none));
        if want != have {
            let summary = format!("reserve {} capacity units for {id}", want.capacity_units);
            let op = Op::Reserve { load_balancer, capacity: want };
            self.push(op, Verb::Update, KIND, id, summary);
        }
    }

    fn change_load_balancer(&mut self, id: &str, want: &LoadBalancerSpec, have: &LoadBalancer) {
        self.security_groups_of(id, want, have);
        self.subnets_of(id, want, have);
        let at = Token::literal(have.arn.as_str());
        let default = |key: &str| defaults::load_balancer(want, key);
        let changes =
            defaults::changes(&want.load_balancer_attributes, &have.spec.load_balancer_attributes, &default);
        self.load_balancer_attributes(id, at.clone(), changes);
        self.reserve(id, at, want.minimum_load_balancer_capacity, have.spec.minimum_load_balancer_capacity);
    }

    fn security_groups_of(&mut self, id: &str, want: &LoadBalancerSpec, have: &LoadBalancer) {
        let groups: BTreeSet<Token> = want.security_groups.iter().cloned().collect();
        let held: BTreeSet<Token> = have.spec.security_groups.iter().cloned().collect();
        let link = want.security_groups_inbound_rules_on_private_link;
        let linked = have.spec.security_groups_inbound_rules_on_private_link;
        if groups.is_empty() || (groups == held && (link.is_none() || link == linked)) {
            return;
        }
        let summary = format!("set {} security groups of load balancer {id}", groups.len());
        let op = Op::SetSecurityGroups { load_balancer: have.arn.clone(), groups, private_link: link };
        self.push(op, Verb::Update, KIND, id, summary);
    }

    fn subnets_of(&mut self, id: &str, want: &LoadBalancerSpec, have: &LoadBalancer) {
        let ids = |spec: &LoadBalancerSpec| -> BTreeSet<String> {
            spec.subnet_mappings.iter().map(|m| m.subnet_id.clone()).collect()
        };
        let (wanted, held) = (ids(want), ids(&have.spec));
        let nat = want.enable_prefix_for_ipv6_source_nat;
        // AWS may say nothing of what is off.
        let held_nat = have.spec.enable_prefix_for_ipv6_source_nat.unwrap_or(OnOff::Off);
        let nat_changes = nat.is_some_and(|nat| nat != held_nat);
        if wanted == held && !nat_changes {
            if want.ip_address_type != have.spec.ip_address_type {
                let family = want.ip_address_type;
                let summary =
                    format!("set the address families of load balancer {id} to {}", family.as_str());
                let op = Op::SetIpAddressType { load_balancer: have.arn.clone(), family };
                self.push(op, Verb::Update, KIND, id, summary);
            }
            return;
        }
        let set = |mappings: Vec<crate::stack::SubnetMapping>| Op::SetSubnets {
            load_balancer: have.arn.clone(),
            mappings,
            family: want.ip_address_type,
            source_nat: nat,
        };
        // The subnet of a zone cannot be exchanged by one call: the old one goes first.
        let kept: Vec<_> =
            want.subnet_mappings.iter().filter(|m| held.contains(&m.subnet_id)).cloned().collect();
        let exchanges = !wanted.is_subset(&held) && !held.is_subset(&wanted);
        if want.kind == LoadBalancerType::Network && exchanges && !kept.is_empty() {
            let summary = format!("take subnets from load balancer {id}");
            self.push(set(kept), Verb::Update, KIND, id, summary);
        }
        let summary = format!("set {} subnets of load balancer {id}", wanted.len());
        self.push(set(want.subnet_mappings.clone()), Verb::Update, KIND, id, summary);
    }

    /// Former load balancers whose successor serves are retired: they go once nobody is shown their name any more.
    pub(super) fn retire_former(&mut self) {
        if !self.awaited.is_empty() || self.chosen.load_balancers.len() < self.want.load_balancers.len() {
            return;
        }
        let former: Vec<(String, String)> = self
            .chosen
            .former
            .iter()
            .filter(|lb| !self.have.retired.contains_key(&lb.arn))
            .map(|lb| (lb.arn.clone(), lb.spec.name.clone()))
            .collect();
        for (arn, name) in former {
            let summary = format!("note that load balancer {name} has been followed by another one");
            self.push(Op::Retire { load_balancer: arn }, Verb::Update, KIND, "former", summary);
        }
    }

    /// Former load balancers that nobody can be using any more.
    pub(super) fn remove_former(&mut self) {
        if !self.awaited.is_empty() {
            return;
        }
        let shown: BTreeSet<String> = self
            .want
            .members
            .iter()
            .flat_map(|m| &m.current)
            .filter_map(|point| Some(point.hostname.as_ref()?.to_ascii_lowercase()))
            .collect();
        let serving = self.chosen.load_balancers.values().all(|lb| lb.state.serves())
            && self.chosen.load_balancers.len() == self.want.load_balancers.len();
        let gone: Vec<&LoadBalancer> = self
            .chosen
            .former
            .iter()
            .filter(|lb| {
                let since = self.have.retired.get(&lb.arn);
                let waited = since.is_some_and(|since| since.as_secs() >= KEPT);
                serving && waited && !shown.contains(&lb.dns_name.to_ascii_lowercase())
            })
            .copied()
            .collect();
        for lb in gone {
            self.delete_load_balancer(lb, "former");
        }
    }
}

/// Another name for a load balancer whose own is taken by one that cannot become it.
fn another_name(spec: &LoadBalancerSpec) -> String {
    let groups: Vec<&str> = spec.security_groups.iter().map(literal).collect();
    let kept: String = spec.name.chars().take(naming::LIMIT - 11).collect();
    let digest = causeway_api::digest(&(&spec.name, groups, &spec.subnet_mappings));
    format!("{}-{}", kept.trim_end_matches('-'), &digest[..10])
}
