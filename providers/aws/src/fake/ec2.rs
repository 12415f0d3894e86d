//! Security groups of EC2.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Reply, World, refuse};
use crate::cloud::records::SecurityGroup;
use crate::cloud::{Answer, Call, GroupsBy};
use crate::plan::bare;
use crate::security::comes_from;
use crate::stack::{IpPermission, Token};

impl World {
    pub(super) fn read_ec2(&self, call: &Call) -> Reply {
        match call {
            Call::DescribeSecurityGroups { ids } => {
                let mut found = Vec::new();
                for id in ids {
                    match self.security_groups.get(id) {
                        Some(group) => found.push(group.clone()),
                        None => return refuse("InvalidGroup.NotFound", id),
                    }
                }
                Ok(Answer::SecurityGroups(found))
            }
            Call::FindSecurityGroup { vpc, by } => {
                let fits = |g: &&SecurityGroup| {
                    g.vpc_id == *vpc
                        && match by {
                            GroupsBy::Name(name) => g.spec.group_name == *name,
                            GroupsBy::From(id) => g.spec.ingress.iter().any(|rule| comes_from(rule, id)),
                        }
                };
                Ok(Answer::SecurityGroups(self.security_groups.values().filter(fits).cloned().collect()))
            }
            other => self.read_addons(other),
        }
    }

    pub(super) fn write_ec2(&mut self, call: &Call, now: Duration) -> Reply {
        match call {
            Call::CreateSecurityGroup { vpc, spec } => {
                let taken = |g: &SecurityGroup| g.vpc_id == *vpc && g.spec.group_name == spec.group_name;
                if self.security_groups.values().any(taken) {
                    return refuse("InvalidGroup.Duplicate", &spec.group_name);
                }
                let id = format!("sg-{}", self.id());
                let mut spec = (**spec).clone();
                spec.ingress.clear();
                let group = SecurityGroup { id: id.clone(), vpc_id: vpc.clone(), spec };
                self.security_groups.insert(id.clone(), group);
                Ok(Answer::Made(id))
            }
            Call::AuthorizeSecurityGroupIngress { group, rules } => {
                let Some(held) = self.security_groups.get_mut(group) else {
                    return refuse("InvalidGroup.NotFound", group);
                };
                let have: BTreeSet<IpPermission> = held.spec.ingress.iter().map(bare).collect();
                if let Some(double) = rules.iter().find(|r| have.contains(&bare(r))) {
                    return refuse("InvalidPermission.Duplicate", double);
                }
                if have.len() + rules.len() > 60 {
                    return refuse("RulesPerSecurityGroupLimitExceeded", group);
                }
                held.spec.ingress.extend(rules.iter().cloned());
                Ok(Answer::Done)
            }
            Call::RevokeSecurityGroupIngress { group, rules } => {
                let Some(held) = self.security_groups.get_mut(group) else {
                    return refuse("InvalidGroup.NotFound", group);
                };
                let have: BTreeSet<IpPermission> = held.spec.ingress.iter().map(bare).collect();
                if let Some(missing) = rules.iter().find(|r| !have.contains(&bare(r))) {
                    return refuse("InvalidPermission.NotFound", missing);
                }
                let gone: BTreeSet<IpPermission> = rules.iter().map(bare).collect();
                held.spec.ingress.retain(|r| !gone.contains(&bare(r)));
                Ok(Answer::Done)
            }
            Call::CreateTags { ids, tags } => {
                for id in ids {
                    match self.security_groups.get_mut(id) {
                        Some(group) => group.spec.tags.extend(tags.clone()),
                        None => return refuse("InvalidGroup.NotFound", id),
                    }
                }
                Ok(Answer::Done)
            }
            Call::DeleteTags { ids, keys } => {
                for id in ids {
                    if let Some(group) = self.security_groups.get_mut(id) {
                        group.spec.tags.retain(|k, _| !keys.contains(k));
                    }
                }
                Ok(Answer::Done)
            }
            Call::DeleteSecurityGroup { id } => {
                if !self.security_groups.contains_key(id) {
                    return refuse("InvalidGroup.NotFound", id);
                }
                let token = Token::literal(id.as_str());
                let used =
                    self.load_balancers.values().any(|(lb, _)| lb.spec.security_groups.contains(&token));
                let lingers =
                    self.interfaces.iter().any(|(groups, until)| groups.contains(id) && now < *until);
                let others = self.security_groups.values().filter(|g| g.id != *id);
                let named = others.flat_map(|g| &g.spec.ingress).any(|rule| comes_from(rule, id));
                if used || lingers || named {
                    return refuse("DependencyViolation", id);
                }
                self.security_groups.remove(id);
                Ok(Answer::Done)
            }
            other => self.write_addons(other),
        }
    }
}
