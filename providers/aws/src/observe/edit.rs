//! Does to what is known of a stack what a call did in AWS. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Observed;
use crate::cloud::records::{Listener, LoadBalancer, Protection, Rule, SecurityGroup, TargetGroup};
use crate::cloud::{Answer, Attributed, Call};
use crate::plan::defaults::merge;
use crate::plan::secrets::as_read;
use crate::plan::tokens::literal;
use crate::stack::{Action, Tags, Token};

fn forwards(actions: &[Action]) -> impl Iterator<Item = &str> {
    actions
        .iter()
        .flat_map(|action| match action {
            Action::Forward(forward) => forward.target_groups.as_slice(),
            _ => &[],
        })
        .map(|group| literal(&group.target_group_arn))
}

/// Which load balancers send to which target groups follows from listeners and rules.
pub fn associate(tree: &mut Observed) {
    if !tree.whole {
        return;
    }
    let mut senders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |lb: &str, actions: &[Action]| {
        for group in forwards(actions) {
            senders.entry(group.to_owned()).or_default().insert(lb.to_owned());
        }
    };
    for listener in &tree.listeners {
        let lb = literal(&listener.spec.load_balancer_arn);
        add(lb, &listener.spec.default_actions);
        for rule in tree.rules.iter().filter(|r| literal(&r.spec.listener_arn) == listener.arn) {
            add(lb, &rule.spec.actions);
        }
    }
    for group in &mut tree.target_groups {
        group.load_balancers = senders.remove(&group.arn).unwrap_or_default();
    }
}

fn tags_of<'a>(tree: &'a mut Observed, arn: &str) -> Option<&'a mut Tags> {
    if let Some(lb) = tree.load_balancers.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut lb.spec.tags);
    }
    if let Some(group) = tree.target_groups.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut group.spec.tags);
    }
    if let Some(listener) = tree.listeners.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut listener.spec.tags);
    }
    if let Some(rule) = tree.rules.iter_mut().find(|x| x.arn == arn) {
        return Some(&mut rule.spec.tags);
    }
    if let Some(tags) = tree.records.get_mut(arn) {
        return Some(tags);
    }
    tree.security_groups.iter_mut().find(|x| x.id == arn).map(|g| &mut g.spec.tags)
}

/// Does to what is known what a call did in AWS.
pub fn edit(tree: &mut Observed, call: &Call, answer: &Answer) {
    match (call, answer) {
        (Call::CreateLoadBalancer { spec }, Answer::LoadBalancer(lb)) => {
            tree.load_balancers.retain(|x| x.arn != lb.arn);
            tree.load_balancers.push(LoadBalancer { spec: (**spec).clone(), ..(**lb).clone() });
        }
        (Call::CreateTargetGroup { vpc, spec }, Answer::Made(arn)) => {
            tree.target_groups.retain(|x| x.arn != *arn);
            tree.target_groups.push(TargetGroup {
                arn: arn.clone(),
                vpc_id: vpc.clone(),
                load_balancers: BTreeSet::new(),
                spec: (**spec).clone(),
            });
            tree.targets.insert(arn.clone(), BTreeSet::new());
        }
        (Call::CreateListener { spec }, Answer::Made(arn)) => {
            let mut spec = (**spec).clone();
            as_read(&mut spec.default_actions);
            tree.listeners.push(Listener { arn: arn.clone(), spec });
        }
        (Call::CreateRule { spec }, Answer::Made(arn)) => {
            let mut spec = (**spec).clone();
            as_read(&mut spec.actions);
            tree.rules.push(Rule { arn: arn.clone(), spec });
        }
        (Call::CreateSecurityGroup { vpc, spec }, Answer::Made(id)) => {
            tree.security_groups.push(SecurityGroup {
                id: id.clone(),
                vpc_id: vpc.clone(),
                spec: (**spec).clone(),
            });
        }
        (Call::CreateProtection { name, resource }, Answer::Made(id)) => {
            let protection = Protection { id: id.clone(), name: name.clone() };
            tree.addons.entry(resource.clone()).or_default().protection = Some(Some(protection));
        }
        (call, _) => change(tree, call),
    }
    associate(tree);
}

fn change(tree: &mut Observed, call: &Call) {
    match call {
        Call::ModifyAttributes { of, arn, attributes } => {
            let have = match of {
                Attributed::LoadBalancer => tree
                    .load_balancers
                    .iter_mut()
                    .find(|x| x.arn == *arn)
                    .map(|x| &mut x.spec.load_balancer_attributes),
                Attributed::TargetGroup => tree
                    .target_groups
                    .iter_mut()
                    .find(|x| x.arn == *arn)
                    .map(|x| &mut x.spec.target_group_attributes),
                Attributed::Listener => {
                    tree.listeners.iter_mut().find(|x| x.arn == *arn).map(|x| &mut x.spec.listener_attributes)
                }
            };
            if let Some(have) = have {
                merge(have, attributes);
            }
        }
        Call::ModifyTargetGroup { arn, health } => {
            if let Some(group) = tree.target_groups.iter_mut().find(|x| x.arn == *arn) {
                group.spec.health_check_config = (**health).clone();
            }
        }
        Call::DeleteTargetGroup { arn } => {
            tree.target_groups.retain(|x| x.arn != *arn);
            tree.targets.remove(arn);
        }
        Call::DeleteLoadBalancer { arn } => {
            let gone: BTreeSet<String> = tree
                .listeners
                .iter()
                .filter(|l| literal(&l.spec.load_balancer_arn) == arn)
                .map(|l| l.arn.clone())
                .collect();
            tree.load_balancers.retain(|x| x.arn != *arn);
            tree.addons.remove(arn);
            tree.listeners.retain(|x| !gone.contains(&x.arn));
            tree.rules.retain(|x| !gone.contains(literal(&x.spec.listener_arn)));
            tree.target_groups.iter_mut().for_each(|g| {
                g.load_balancers.remove(arn);
            });
        }
        Call::ModifyListener { arn, spec } => {
            if let Some(listener) = tree.listeners.iter_mut().find(|x| x.arn == *arn) {
                let old = &mut listener.spec;
                let mut certificates = spec.certificates.first().cloned().into_iter().collect::<Vec<_>>();
                certificates.extend(old.certificates.iter().skip(1).cloned());
                *old = crate::stack::ListenerSpec {
                    certificates,
                    tags: std::mem::take(&mut old.tags),
                    listener_attributes: std::mem::take(&mut old.listener_attributes),
                    ..(**spec).clone()
                };
                as_read(&mut old.default_actions);
            }
        }
        Call::DeleteListener { arn } => {
            tree.listeners.retain(|x| x.arn != *arn);
            tree.rules.retain(|x| literal(&x.spec.listener_arn) != arn);
        }
        Call::AddListenerCertificates { listener, certificates }
        | Call::RemoveListenerCertificates { listener, certificates } => {
            let adds = matches!(call, Call::AddListenerCertificates { .. });
            if let Some(listener) = tree.listeners.iter_mut().find(|x| x.arn == *listener) {
                let all = &mut listener.spec.certificates;
                let mut further = all.split_off(all.len().min(1));
                further.retain(|c| !certificates.contains(&c.certificate_arn));
                if adds {
                    let new = certificates.iter().cloned();
                    further.extend(
                        new.map(|certificate_arn| crate::stack::ListenerCertificate { certificate_arn }),
                    );
                }
                all.extend(further);
            }
        }
        Call::ModifyRule { arn, spec } => {
            if let Some(rule) = tree.rules.iter_mut().find(|x| x.arn == *arn) {
                rule.spec.actions.clone_from(&spec.actions);
                as_read(&mut rule.spec.actions);
                rule.spec.conditions.clone_from(&spec.conditions);
                rule.spec.transforms.clone_from(&spec.transforms);
            }
        }
        Call::SetRulePriorities { priorities } => {
            for rule in &mut tree.rules {
                if let Some(priority) = priorities.get(&rule.arn) {
                    rule.spec.priority = *priority;
                }
            }
        }
        Call::DeleteRule { arn } => tree.rules.retain(|x| x.arn != *arn),
        Call::RegisterTargets { group, targets } => {
            if let Some(held) = tree.targets.get_mut(group) {
                held.extend(targets.iter().cloned());
            }
        }
        Call::DeregisterTargets { group, targets } => {
            if let Some(held) = tree.targets.get_mut(group) {
                targets.iter().for_each(|t| {
                    held.remove(t);
                });
            }
        }
        Call::AddTags { arns, tags } => {
            for arn in arns {
                if let Some(have) = tags_of(tree, arn) {
                    have.extend(tags.clone());
                }
            }
        }
        Call::CreateTags { ids, tags } => {
            for id in ids {
                if let Some(have) = tags_of(tree, id) {
                    have.extend(tags.clone());
                }
            }
        }
        Call::RemoveTags { arns: ids, keys } | Call::DeleteTags { ids, keys } => {
            for id in ids {
                if let Some(have) = tags_of(tree, id) {
                    have.retain(|k, _| !keys.contains(k));
                }
            }
        }
        Call::DeleteSecurityGroup { id } => tree.security_groups.retain(|x| x.id != *id),
        Call::AuthorizeSecurityGroupIngress { group, rules } => {
            if let Some(have) = tree.security_groups.iter_mut().find(|x| x.id == *group) {
                have.spec.ingress.extend(rules.iter().cloned());
            }
        }
        Call::RevokeSecurityGroupIngress { group, rules } => {
            if let Some(have) = tree.security_groups.iter_mut().find(|x| x.id == *group) {
                let gone: BTreeSet<_> = rules.iter().map(crate::plan::bare).collect();
                have.spec.ingress.retain(|r| !gone.contains(&crate::plan::bare(r)));
            }
        }
        Call::AssociateWebAcl { web_acl, resource } => {
            tree.addons.entry(resource.clone()).or_default().web_acl = Some(Some(web_acl.clone()));
        }
        Call::DisassociateWebAcl { resource } => {
            tree.addons.entry(resource.clone()).or_default().web_acl = Some(None);
        }
        Call::DeleteProtection { resource, .. } => {
            tree.addons.entry(resource.clone()).or_default().protection = Some(None);
        }
        _ => change_load_balancer(tree, call),
    }
}

fn change_load_balancer(tree: &mut Observed, call: &Call) {
    let (Call::ModifyCapacityReservation { arn, .. }
    | Call::SetSubnets { arn, .. }
    | Call::SetSecurityGroups { arn, .. }
    | Call::SetIpAddressType { arn, .. }) = call
    else {
        return;
    };
    let Some(lb) = tree.load_balancers.iter_mut().find(|x| x.arn == *arn) else { return };
    match call {
        Call::ModifyCapacityReservation { capacity, .. } => {
            lb.spec.minimum_load_balancer_capacity = Some(*capacity);
        }
        Call::SetSubnets { mappings, family, source_nat, .. } => {
            lb.spec.subnet_mappings.clone_from(mappings);
            lb.spec.ip_address_type = *family;
            lb.spec.enable_prefix_for_ipv6_source_nat =
                source_nat.or(lb.spec.enable_prefix_for_ipv6_source_nat);
        }
        Call::SetSecurityGroups { groups, private_link, .. } => {
            lb.spec.security_groups = groups.iter().map(|id| Token::literal(id.as_str())).collect();
            lb.spec.security_groups_inbound_rules_on_private_link =
                private_link.or(lb.spec.security_groups_inbound_rules_on_private_link);
        }
        Call::SetIpAddressType { family, .. } => lb.spec.ip_address_type = *family,
        _ => {}
    }
}
