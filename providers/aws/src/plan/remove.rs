//! Deleting, the dependent first. Pure.
//!
//! AWS deletes the listeners and rules of a load balancer with it; a target group can go once nothing sends to it; a security group once no network interface
//! of the load balancer is left, which takes AWS some time.

use std::collections::BTreeSet;

use causeway_api::{Mark, Verb};

use super::{Draft, Op};
use crate::cloud::records::{LoadBalancer, SecurityGroup};
use crate::plan::marks::resource_id;
use crate::stack::{ResourceType, Token};

impl Draft<'_> {
    fn delete(&mut self, kind: ResourceType, at: &str, id: &str, summary: String) {
        let op = Op::Delete { kind, at: at.to_owned() };
        self.push(op, Verb::Delete, kind, id, summary);
    }

    /// A load balancer and the target groups that only it sends to.
    pub(super) fn delete_load_balancer(&mut self, lb: &LoadBalancer, id: &str) {
        self.unprotect(lb);
        let op = Op::Delete { kind: ResourceType::LoadBalancer, at: lb.arn.clone() };
        let summary = format!("delete load balancer {}", lb.spec.name);
        let children = self.have.listeners.iter().filter(|l| literal_of(&l.spec.load_balancer_arn) == lb.arn);
        // A listener that somebody added by hand to a load balancer of ours goes with it: it is nothing without it.
        let cascade = children.map(|_| Mark::Ours).collect();
        self.push(op, Verb::Delete, ResourceType::LoadBalancer, id, summary).cascade = cascade;
        let groups: Vec<(String, String)> = self
            .have
            .target_groups
            .iter()
            .filter(|g| g.load_balancers.contains(&lb.arn))
            .map(|g| (g.arn.clone(), g.spec.name.clone()))
            .collect();
        for (arn, name) in groups {
            self.delete(ResourceType::TargetGroup, &arn, &name, format!("delete target group {name}"));
        }
    }

    /// Nothing shall be left.
    pub(super) fn remove_all(&mut self) {
        self.removes = true;
        // An NLB in front of an ALB goes before it.
        let mut load_balancers: Vec<&LoadBalancer> = self.have.load_balancers.iter().collect();
        load_balancers.sort_by_key(|lb| {
            let id = resource_id(&lb.spec.tags, ResourceType::LoadBalancer).unwrap_or_default();
            (id == crate::stack::LOAD_BALANCER, lb.arn.clone())
        });
        for lb in load_balancers {
            self.unprotect(lb);
            let op = Op::Delete { kind: ResourceType::LoadBalancer, at: lb.arn.clone() };
            let summary = format!("delete load balancer {}", lb.spec.name);
            self.push(op, Verb::Delete, ResourceType::LoadBalancer, &lb.spec.name, summary);
        }
        // While something of the stack is there still: whoever goes on after a crash finds it by that.
        self.revoke_node_rules(&BTreeSet::new());
        for group in &self.have.target_groups {
            let summary = format!("delete target group {}", group.spec.name);
            self.delete(ResourceType::TargetGroup, &group.arn, &group.spec.name, summary);
        }
        for group in &self.have.security_groups {
            let summary = format!("delete security group {}", group.spec.group_name);
            self.delete(ResourceType::SecurityGroup, &group.id, &group.spec.group_name, summary);
        }
        self.drop_shared();
    }

    /// Security groups that are not asked for, and that no former load balancer holds.
    pub(super) fn stale_security_groups(&self) -> impl Iterator<Item = &SecurityGroup> {
        let held: BTreeSet<&Token> =
            self.chosen.former.iter().flat_map(|lb| &lb.spec.security_groups).collect();
        let wanted = |id: Option<&str>| id.is_some_and(|id| self.want.security_groups.contains_key(id));
        self.have.security_groups.iter().filter(move |g| {
            !wanted(resource_id(&g.spec.tags, ResourceType::SecurityGroup))
                && !held.contains(&Token::literal(g.id.as_str()))
        })
    }

    /// Target groups and security groups that nothing uses any more.
    pub(super) fn stale(&mut self) {
        let groups: Vec<(String, String)> = self
            .chosen
            .stale_groups
            .iter()
            .filter(|g| !self.used.contains(&g.arn))
            .map(|g| (g.arn.clone(), g.spec.name.clone()))
            .collect();
        for (arn, name) in groups {
            self.delete(ResourceType::TargetGroup, &arn, &name, format!("delete target group {name}"));
        }
        let groups: Vec<(String, String)> =
            self.stale_security_groups().map(|g| (g.id.clone(), g.spec.group_name.clone())).collect();
        for (id, name) in groups {
            self.delete(ResourceType::SecurityGroup, &id, &name, format!("delete security group {name}"));
        }
    }
}

fn literal_of(token: &Token) -> &str {
    super::tokens::literal(token)
}
