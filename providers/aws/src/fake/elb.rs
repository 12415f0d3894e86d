//! ELBv2 and the tagging API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::addons::{fixed, has_secrets, told};
use super::{Held, REGION, Reply, Settings, World, page, refuse};
use crate::cloud::records::{Listener, LoadBalancer, Rule, State, Tagged, TargetGroup};
use crate::cloud::{Answer, Attributed, Call, Failure, Which};
use crate::plan::defaults::merge;
use crate::plan::forward::{MOST_GROUPS, compatible};
use crate::plan::tokens::literal;
use crate::stack::{Action, Attribute, ElbProtocol, LoadBalancerType, Token};

fn name_fits(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 32
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.starts_with("internal-")
}

fn picked<T: Clone>(
    which: &Which,
    all: Vec<T>,
    arn: impl Fn(&T) -> &str,
    name: impl Fn(&T) -> &str,
    code: &str,
) -> Result<Vec<T>, Failure> {
    let one = |by: &dyn Fn(&T) -> &str, key: &String| {
        all.iter().find(|x| by(x) == key).cloned().ok_or_else(|| Failure::refused(code, key.clone()))
    };
    match which {
        Which::All | Which::Of(_) => Ok(all),
        Which::Ids(ids) | Which::Names(ids) if ids.len() > 20 => refuse("ValidationError", "more than 20"),
        Which::Ids(ids) => ids.iter().map(|id| one(&arn, id)).collect(),
        Which::Names(names) => names.iter().map(|n| one(&name, n)).collect(),
    }
}

impl World {
    pub(super) fn read(&self, call: &Call, now: Duration, settings: &Settings) -> Reply {
        match call {
            Call::DescribeLoadBalancers { which, marker } => {
                let all = self.load_balancers.values().map(|(lb, _)| {
                    let mut lb = lb.clone();
                    lb.state = self.state(&lb.arn, now, settings);
                    lb.spec.tags.clear();
                    lb.spec.load_balancer_attributes.clear();
                    lb
                });
                let all = picked(which, all.collect(), |x| &x.arn, |x| &x.spec.name, "LoadBalancerNotFound")?;
                Ok(Answer::LoadBalancers(page(all, marker.as_ref(), 400)))
            }
            Call::DescribeTargetGroups { which, marker } => {
                let of = |g: &TargetGroup| match which {
                    Which::Of(lb) => g.load_balancers.contains(lb),
                    _ => true,
                };
                let all = self.target_groups.values().filter(|g| of(g)).map(|g| {
                    let mut group = g.clone();
                    group.spec.tags.clear();
                    group.spec.target_group_attributes.clear();
                    group
                });
                let all = picked(which, all.collect(), |x| &x.arn, |x| &x.spec.name, "TargetGroupNotFound")?;
                Ok(Answer::TargetGroups(page(all, marker.as_ref(), 400)))
            }
            Call::DescribeListeners { load_balancer, marker } => {
                if !self.load_balancers.contains_key(load_balancer) {
                    return refuse("LoadBalancerNotFound", load_balancer);
                }
                let here = |l: &&Listener| literal(&l.spec.load_balancer_arn) == load_balancer;
                let all = self.listeners.values().filter(here).map(|l| {
                    let mut listener = l.clone();
                    listener.spec.tags.clear();
                    listener.spec.listener_attributes.clear();
                    listener.spec.certificates.truncate(1);
                    told(&mut listener.spec.default_actions);
                    listener
                });
                Ok(Answer::Listeners(page(all.collect(), marker.as_ref(), 400)))
            }
            Call::DescribeListenerCertificates { listener, marker } => {
                let Some(held) = self.listeners.get(listener) else {
                    return refuse("ListenerNotFound", listener);
                };
                let all = held.spec.certificates.iter().enumerate();
                let all = all.map(|(at, c)| (c.certificate_arn.clone(), at == 0)).collect();
                Ok(Answer::Certificates(page(all, marker.as_ref(), 100)))
            }
            Call::DescribeRules { listener, marker } => {
                let here = |r: &&Rule| literal(&r.spec.listener_arn) == listener;
                let all = self.rules.values().filter(here).map(|r| {
                    let mut rule = r.clone();
                    rule.spec.tags.clear();
                    told(&mut rule.spec.actions);
                    rule
                });
                Ok(Answer::Rules(page(all.collect(), marker.as_ref(), 400)))
            }
            Call::DescribeTags { arns } => {
                if arns.len() > 20 {
                    return refuse("ValidationError", "more than 20");
                }
                let one = |arn: &String| match self.tags(arn) {
                    Some(tags) => Ok(Tagged { arn: arn.clone(), tags }),
                    None => refuse("TargetGroupNotFound", arn),
                };
                let items = arns.iter().map(one).collect::<Result<_, _>>()?;
                Ok(Answer::Tagged(crate::cloud::Page { items, next: None }))
            }
            Call::DescribeTargetHealth { group } => {
                if !self.target_groups.contains_key(group) {
                    return refuse("TargetGroupNotFound", group);
                }
                let healths = self.healths(group, now, settings);
                let sick = healths.iter().filter(|(_, h)| **h == super::Health::Unhealthy);
                let why = ("Target.FailedHealthChecks".to_owned(), "Health checks failed".to_owned());
                let whys = sick.map(|(t, _)| (t.clone(), why.clone())).collect();
                Ok(Answer::Healths(healths, whys))
            }
            Call::DescribeAttributes { of, arn } => {
                let attributes: Option<&Vec<Attribute>> = match of {
                    Attributed::LoadBalancer => {
                        self.load_balancers.get(arn).map(|(lb, _)| &lb.spec.load_balancer_attributes)
                    }
                    Attributed::TargetGroup => {
                        self.target_groups.get(arn).map(|g| &g.spec.target_group_attributes)
                    }
                    Attributed::Listener => self.listeners.get(arn).map(|l| &l.spec.listener_attributes),
                };
                let Some(attributes) = attributes else { return refuse("TargetGroupNotFound", arn) };
                let map: BTreeMap<String, String> =
                    attributes.iter().map(|a| (a.key.clone(), a.value.clone())).collect();
                Ok(Answer::Attributes(map))
            }
            Call::GetResources { tags, marker } => {
                let at = now.saturating_sub(settings.lag);
                let old = self.history.iter().rev().find(|(time, _)| *time <= at);
                let all = old.map(|(_, all)| all.clone()).unwrap_or_default();
                let fits = |t: &Tagged| tags.iter().all(|(k, v)| t.tags.get(k) == Some(v));
                Ok(Answer::Tagged(page(all.into_iter().filter(fits).collect(), marker.as_ref(), 100)))
            }
            Call::Inventory { .. } => Ok(Answer::Inventory(Box::default(), None)),
            other => self.read_ec2(other),
        }
    }

    /// Checks the target groups that a listener or rule is to send to.
    fn check_actions(&self, lb: &str, listener: ElbProtocol, actions: &[Action]) -> Result<(), Failure> {
        if !actions.iter().any(Action::is_final) {
            return refuse("InvalidLoadBalancerAction", actions);
        }
        if !has_secrets(actions) {
            return refuse("ValidationError", actions);
        }
        for action in actions {
            let Action::Forward(forward) = action else { continue };
            if forward.target_groups.len() > MOST_GROUPS {
                return refuse("TooManyActions", forward);
            }
            for tuple in &forward.target_groups {
                let arn = literal(&tuple.target_group_arn);
                let Some(group) = self.target_groups.get(arn) else {
                    return refuse("TargetGroupNotFound", arn);
                };
                if group.load_balancers.iter().any(|other| other != lb) {
                    return refuse("TargetGroupAssociationLimit", arn);
                }
                if !compatible(listener, group.spec.protocol) {
                    return refuse("IncompatibleProtocols", (listener, group.spec.protocol));
                }
            }
        }
        Ok(())
    }

    fn check_certificates(protocol: ElbProtocol, count: usize) -> Result<(), Failure> {
        let tls = matches!(protocol, ElbProtocol::Tls | ElbProtocol::Https);
        match (tls, count) {
            (true, 1) | (false, 0) => Ok(()),
            _ => refuse("ValidationError", "certificates do not go with the protocol"),
        }
    }

    pub(super) fn write(&mut self, call: &Call, now: Duration, settings: &Settings) -> Reply {
        match call {
            Call::CreateLoadBalancer { spec } => {
                if !name_fits(&spec.name) {
                    return refuse("ValidationError", &spec.name);
                }
                if let Some((have, _)) =
                    self.load_balancers.values().find(|(lb, _)| lb.spec.name == spec.name)
                {
                    return if have.spec == **spec {
                        Ok(Answer::LoadBalancer(Box::new(have.clone())))
                    } else {
                        refuse("DuplicateLoadBalancerName", &spec.name)
                    };
                }
                for group in &spec.security_groups {
                    if !self.security_groups.contains_key(literal(group)) {
                        return refuse("InvalidSecurityGroup", group);
                    }
                }
                if let Some(taken) = self.taken(spec, now) {
                    return refuse("ResourceInUse", taken);
                }
                let n = self.id();
                let short = if spec.kind == LoadBalancerType::Network { "net" } else { "app" };
                let lb = LoadBalancer {
                    arn: format!("{REGION}:loadbalancer/{short}/{}/{n}", spec.name),
                    dns_name: format!("{}-{n}.elb.eu-west-1.amazonaws.com", spec.name),
                    zone_id: "Z1".to_owned(),
                    state: State::Provisioning,
                    vpc_id: "vpc-1".to_owned(),
                    spec: (**spec).clone(),
                };
                self.load_balancers.insert(lb.arn.clone(), (lb.clone(), now));
                Ok(Answer::LoadBalancer(Box::new(lb)))
            }
            Call::ModifyAttributes { of, arn, attributes } => {
                let have = match of {
                    Attributed::LoadBalancer => {
                        self.load_balancers.get_mut(arn).map(|(lb, _)| &mut lb.spec.load_balancer_attributes)
                    }
                    Attributed::TargetGroup => {
                        self.target_groups.get_mut(arn).map(|g| &mut g.spec.target_group_attributes)
                    }
                    Attributed::Listener => {
                        self.listeners.get_mut(arn).map(|l| &mut l.spec.listener_attributes)
                    }
                };
                let Some(have) = have else { return refuse("TargetGroupNotFound", arn) };
                merge(have, attributes);
                Ok(Answer::Done)
            }
            Call::ModifyCapacityReservation { arn, .. }
            | Call::SetSubnets { arn, .. }
            | Call::SetSecurityGroups { arn, .. }
            | Call::SetIpAddressType { arn, .. } => {
                let Some((lb, _)) = self.load_balancers.get_mut(arn) else {
                    return refuse("LoadBalancerNotFound", arn);
                };
                match call {
                    Call::SetSubnets { mappings, family, .. } => {
                        lb.spec.subnet_mappings.clone_from(mappings);
                        lb.spec.ip_address_type = *family;
                    }
                    Call::SetSecurityGroups { groups, .. } => {
                        let nlb = lb.spec.kind == LoadBalancerType::Network;
                        if nlb && lb.spec.security_groups.is_empty() {
                            return refuse("InvalidConfigurationRequest", "made without security groups");
                        }
                        lb.spec.security_groups =
                            groups.iter().map(|id| Token::literal(id.as_str())).collect();
                    }
                    Call::SetIpAddressType { family, .. } => lb.spec.ip_address_type = *family,
                    Call::ModifyCapacityReservation { capacity, .. } => {
                        lb.spec.minimum_load_balancer_capacity = Some(*capacity);
                    }
                    _ => {}
                }
                Ok(Answer::Done)
            }
            Call::DeleteLoadBalancer { arn } => {
                let protected = self.load_balancers.get(arn).is_some_and(|(lb, _)| {
                    let mut all = lb.spec.load_balancer_attributes.iter();
                    all.any(|a| a.key == "deletion_protection.enabled" && a.value == "true")
                });
                if protected {
                    return refuse("OperationNotPermitted", arn);
                }
                if let Some((lb, _)) = self.load_balancers.remove(arn) {
                    let gone: BTreeSet<String> = self
                        .listeners
                        .values()
                        .filter(|l| literal(&l.spec.load_balancer_arn) == arn)
                        .map(|l| l.arn.clone())
                        .collect();
                    self.listeners.retain(|a, _| !gone.contains(a));
                    self.rules.retain(|_, r| !gone.contains(literal(&r.spec.listener_arn)));
                    self.addons.associated.remove(arn);
                    self.addresses.push((fixed(&lb.spec), now + settings.interfaces));
                    let groups = lb.spec.security_groups.iter().map(|t| literal(t).to_owned()).collect();
                    self.interfaces.push((groups, now + settings.interfaces));
                }
                Ok(Answer::Done)
            }
            Call::CreateTargetGroup { vpc, spec } => {
                if !name_fits(&spec.name) {
                    return refuse("ValidationError", &spec.name);
                }
                if let Some(have) = self.target_groups.values().find(|g| g.spec.name == spec.name) {
                    return if have.spec == **spec {
                        Ok(Answer::Made(have.arn.clone()))
                    } else {
                        refuse("DuplicateTargetGroupName", &spec.name)
                    };
                }
                let arn = format!("{REGION}:targetgroup/{}/{}", spec.name, self.id());
                let group = TargetGroup {
                    arn: arn.clone(),
                    vpc_id: vpc.clone(),
                    load_balancers: BTreeSet::new(),
                    spec: (**spec).clone(),
                };
                self.target_groups.insert(arn.clone(), group);
                self.targets.insert(arn.clone(), BTreeMap::new());
                Ok(Answer::Made(arn))
            }
            Call::ModifyTargetGroup { arn, health } => match self.target_groups.get_mut(arn) {
                Some(group) => {
                    group.spec.health_check_config = (**health).clone();
                    Ok(Answer::Done)
                }
                None => refuse("TargetGroupNotFound", arn),
            },
            Call::DeleteTargetGroup { arn } => {
                if self.target_groups.get(arn).is_some_and(|g| !g.load_balancers.is_empty()) {
                    return refuse("ResourceInUse", arn);
                }
                self.target_groups.remove(arn);
                self.targets.remove(arn);
                Ok(Answer::Done)
            }
            Call::CreateListener { spec } => {
                let lb = literal(&spec.load_balancer_arn).to_owned();
                if !self.load_balancers.contains_key(&lb) {
                    return refuse("LoadBalancerNotFound", lb);
                }
                let taken = self
                    .listeners
                    .values()
                    .find(|l| l.spec.port == spec.port && literal(&l.spec.load_balancer_arn) == lb);
                if let Some(have) = taken {
                    return if have.spec == **spec {
                        Ok(Answer::Made(have.arn.clone()))
                    } else {
                        refuse("DuplicateListener", spec.port)
                    };
                }
                self.check_actions(&lb, spec.protocol, &spec.default_actions)?;
                Self::check_certificates(spec.protocol, spec.certificates.len())?;
                let arn = format!("{}/{}", lb.replace(":loadbalancer/", ":listener/"), self.id());
                self.listeners.insert(arn.clone(), Listener { arn: arn.clone(), spec: (**spec).clone() });
                Ok(Answer::Made(arn))
            }
            Call::ModifyListener { arn, spec } => {
                let Some(have) = self.listeners.get(arn) else { return refuse("ListenerNotFound", arn) };
                let lb = literal(&have.spec.load_balancer_arn).to_owned();
                self.check_actions(&lb, spec.protocol, &spec.default_actions)?;
                Self::check_certificates(spec.protocol, spec.certificates.len().min(1))?;
                let call = call.clone();
                self.edit_listener(arn, &call);
                if let Some(listener) = self.listeners.get_mut(arn) {
                    // With the secrets that were sent.
                    listener.spec.default_actions.clone_from(&spec.default_actions);
                }
                Ok(Answer::Done)
            }
            Call::AddListenerCertificates { listener: arn, .. }
            | Call::RemoveListenerCertificates { listener: arn, .. } => {
                if !self.listeners.contains_key(arn) {
                    return refuse("ListenerNotFound", arn);
                }
                let call = call.clone();
                self.edit_listener(&arn.clone(), &call);
                Ok(Answer::Done)
            }
            Call::DeleteListener { arn } => {
                self.listeners.remove(arn);
                self.rules.retain(|_, r| literal(&r.spec.listener_arn) != arn);
                Ok(Answer::Done)
            }
            other => self.write_rules(other, now),
        }
    }

    fn edit_listener(&mut self, arn: &str, call: &Call) {
        let Some(listener) = self.listeners.remove(arn) else { return };
        let mut tree = crate::observe::Observed { listeners: vec![listener], ..Default::default() };
        crate::observe::edit::edit(&mut tree, call, &Answer::Done);
        self.listeners.extend(tree.listeners.into_iter().map(|l| (l.arn.clone(), l)));
    }

    fn write_rules(&mut self, call: &Call, now: Duration) -> Reply {
        match call {
            Call::CreateRule { spec } => {
                let listener = literal(&spec.listener_arn).to_owned();
                let Some(held) = self.listeners.get(&listener) else {
                    return refuse("ListenerNotFound", listener);
                };
                if spec.conditions.is_empty() || !(1..=50_000).contains(&spec.priority) {
                    return refuse("ValidationError", spec);
                }
                let here = |r: &&Rule| literal(&r.spec.listener_arn) == listener;
                if self.rules.values().filter(here).any(|r| r.spec.priority == spec.priority) {
                    return refuse("PriorityInUse", spec.priority);
                }
                let lb = literal(&held.spec.load_balancer_arn).to_owned();
                self.check_actions(&lb, held.spec.protocol, &spec.actions)?;
                let arn = format!("{}/{}", listener.replace(":listener/", ":listener-rule/"), self.id());
                self.rules.insert(arn.clone(), Rule { arn: arn.clone(), spec: (**spec).clone() });
                Ok(Answer::Made(arn))
            }
            Call::ModifyRule { arn, spec } => {
                let Some(rule) = self.rules.get(arn) else { return refuse("RuleNotFound", arn) };
                let Some(held) = self.listeners.get(literal(&rule.spec.listener_arn)) else {
                    return refuse("ListenerNotFound", arn);
                };
                let lb = literal(&held.spec.load_balancer_arn).to_owned();
                self.check_actions(&lb, held.spec.protocol, &spec.actions)?;
                if let Some(rule) = self.rules.get_mut(arn) {
                    rule.spec.actions.clone_from(&spec.actions);
                    rule.spec.conditions.clone_from(&spec.conditions);
                    rule.spec.transforms.clone_from(&spec.transforms);
                }
                Ok(Answer::Done)
            }
            Call::SetRulePriorities { priorities } => {
                let mut after: BTreeSet<(String, u32)> = BTreeSet::new();
                for arn in priorities.keys() {
                    if !self.rules.contains_key(arn) {
                        return refuse("RuleNotFound", arn);
                    }
                }
                for rule in self.rules.values() {
                    let priority = priorities.get(&rule.arn).copied().unwrap_or(rule.spec.priority);
                    if !after.insert((literal(&rule.spec.listener_arn).to_owned(), priority)) {
                        return refuse("PriorityInUse", priority);
                    }
                }
                for (arn, priority) in priorities {
                    if let Some(rule) = self.rules.get_mut(arn) {
                        rule.spec.priority = *priority;
                    }
                }
                Ok(Answer::Done)
            }
            Call::DeleteRule { arn } => {
                self.rules.remove(arn);
                Ok(Answer::Done)
            }
            Call::RegisterTargets { group, targets } => {
                if let Some(bad) = targets.iter().find(|t| self.bad_targets.contains(literal(&t.id))) {
                    return refuse("InvalidTarget", bad);
                }
                let Some(held) = self.targets.get_mut(group) else {
                    return refuse("TargetGroupNotFound", group);
                };
                if held.values().filter(|h| h.leaves.is_none()).count() + targets.len() > 1000 {
                    return refuse("TooManyTargets", group);
                }
                for target in targets {
                    let known = held.get(target).is_some_and(|h| h.leaves.is_none());
                    if !known {
                        held.insert(target.clone(), Held { since: now, leaves: None });
                    }
                }
                Ok(Answer::Done)
            }
            Call::DeregisterTargets { group, targets } => {
                let Some(held) = self.targets.get_mut(group) else {
                    return refuse("TargetGroupNotFound", group);
                };
                for target in targets {
                    if let Some(h) = held.get_mut(target) {
                        h.leaves.get_or_insert(now + Duration::from_secs(300));
                    }
                }
                Ok(Answer::Done)
            }
            Call::AddTags { arns, tags } => {
                if arns.len() > 20 {
                    return refuse("ValidationError", "more than 20");
                }
                if let Some(missing) = arns.iter().find(|arn| self.tags(arn).is_none()) {
                    return refuse("TargetGroupNotFound", missing);
                }
                for arn in arns {
                    if let Some(have) = self.tags_mut(arn) {
                        have.extend(tags.clone());
                    }
                }
                Ok(Answer::Done)
            }
            Call::RemoveTags { arns, keys } => {
                for arn in arns {
                    if let Some(have) = self.tags_mut(arn) {
                        have.retain(|k, _| !keys.contains(k));
                    }
                }
                Ok(Answer::Done)
            }
            other => self.write_ec2(other, now),
        }
    }
}
