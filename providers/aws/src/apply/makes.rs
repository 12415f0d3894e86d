//! Making what has a name: it may be there already, made by us before a crash or a lost answer, or by somebody else.

use std::collections::BTreeSet;

use causeway_api::names::{TAG_CLUSTER, TAG_OWNER};
use causeway_api::{CloudError, Outcome, Problem, Result, names};

use super::Doing;
use crate::calls::CallError;
use crate::cloud::{Answer, Api, Call, Which};
use crate::errors::State;
use crate::limits::Priority;
use crate::stack::{LoadBalancerSpec, ResourceType, SecurityGroupSpec, Tags, TargetGroupSpec, Token};

impl<A: Api> Doing<'_, A> {
    fn ours(&self, tags: &Tags) -> bool {
        tags.get(TAG_CLUSTER) == Some(&self.live.settings.cluster.id)
            && tags.get(TAG_OWNER) == Some(&self.change.owner)
    }

    fn taken(&self, what: &str, name: &str) -> CloudError {
        let text =
            format!("{what} {name} is there already and is not ours: delete it, or choose another name");
        match &self.change.blame {
            Some(object) => CloudError::Invalid(Box::new(Problem::error(
                object.clone(),
                "",
                names::events::SYNC_FAILED,
                text,
            ))),
            None => CloudError::Transient(text),
        }
    }

    fn made(&self, kind: ResourceType, id: &str, arn: &str) {
        let mut known = self.live.known();
        known.entry_mut(&self.change.owner).made.insert(Token::of(kind, id), arn.to_owned());
    }

    /// Makes something that other things refer to.
    pub(super) async fn create(&self, kind: ResourceType, id: &str, call: Call) -> Result<Outcome> {
        let action = call.action();
        match self.call(call).await {
            Ok(Answer::Made(arn)) => {
                self.made(kind, id, &arn);
                Ok(Outcome::Done)
            }
            Ok(_) => Err(self.conflict("an answer to another call")),
            Err(e) if e.state().is_some() => Err(self.conflict(&format!("{action}: {e:?}"))),
            Err(e) => Err(self.failed(&e, action)),
        }
    }

    /// Takes over what is there by its ARN: it will be looked at whole.
    fn adopt_load_balancer(&self, lb: crate::cloud::records::LoadBalancer) -> CloudError {
        let name = lb.spec.name.clone();
        {
            let mut known = self.live.known();
            known.clear(&name);
            let tree = &mut known.entry_mut(&self.change.owner).tree;
            tree.load_balancers.retain(|x| x.arn != lb.arn);
            tree.load_balancers.push(lb);
        }
        self.conflict(&format!("load balancer {name} is there already"))
    }

    /// Whether a load balancer of this name is there; if it is, why it cannot be made.
    async fn load_balancer_named(&self, name: &str) -> Result<Option<CloudError>> {
        let reader = self.live.reader(Priority::Create);
        let found = match reader.load_balancers(&Which::Names(vec![name.to_owned()])).await {
            Ok(found) => found,
            Err(e) if e.state() == Some(State::NotFound) => Vec::new(),
            Err(e) => return Err(self.failed(&e, "DescribeLoadBalancers")),
        };
        let Some(mut lb) = found.into_iter().next() else {
            self.live.known().clear(name);
            return Ok(None);
        };
        let tags = reader.tags(std::slice::from_ref(&lb.arn)).await;
        let mut tags = tags.map_err(|e| self.failed(&e, "DescribeTags"))?;
        lb.spec.tags = tags.remove(&lb.arn).unwrap_or_default();
        if self.ours(&lb.spec.tags) {
            return Ok(Some(self.adopt_load_balancer(lb)));
        }
        Ok(Some(self.taken("load balancer", name)))
    }

    pub(super) async fn create_load_balancer(&self, id: &str, spec: &LoadBalancerSpec) -> Result<Outcome> {
        let spec = Box::new(self.resolve(spec)?);
        let name = spec.name.clone();
        let suspected = self.live.known().suspects(&name);
        if suspected && let Some(error) = self.load_balancer_named(&name).await? {
            return Err(error);
        }
        self.live.known().suspect(&name);
        match self.call(Call::CreateLoadBalancer { spec }).await {
            Ok(Answer::LoadBalancer(lb)) => {
                self.live.known().clear(&name);
                self.made(ResourceType::LoadBalancer, id, &lb.arn);
                let now = self.live.epoch.elapsed();
                self.live.known().entry_mut(&self.change.owner).since.insert(lb.arn.clone(), now);
                Ok(Outcome::Done)
            }
            Ok(_) => Err(self.conflict("an answer to another call")),
            Err(e) if e.state() == Some(State::Duplicate) => match self.load_balancer_named(&name).await? {
                Some(error) => Err(error),
                None => Err(CloudError::Pending(self.live.settings.pace.in_use)),
            },
            Err(e) => {
                if e.without_effect() {
                    self.live.known().clear(&name);
                }
                Err(self.failed(&e, "CreateLoadBalancer"))
            }
        }
    }

    async fn target_group_named(&self, name: &str) -> Result<Option<CloudError>> {
        let reader = self.live.reader(Priority::Create);
        let found = match reader.target_groups(&Which::Names(vec![name.to_owned()])).await {
            Ok(found) => found,
            Err(e) if e.state() == Some(State::NotFound) => Vec::new(),
            Err(e) => return Err(self.failed(&e, "DescribeTargetGroups")),
        };
        let Some(mut group) = found.into_iter().next() else {
            self.live.known().clear(name);
            return Ok(None);
        };
        let tags = reader.tags(std::slice::from_ref(&group.arn)).await;
        let mut tags = tags.map_err(|e| self.failed(&e, "DescribeTags"))?;
        group.spec.tags = tags.remove(&group.arn).unwrap_or_default();
        if !self.ours(&group.spec.tags) {
            return Ok(Some(self.taken("target group", name)));
        }
        {
            let mut known = self.live.known();
            known.clear(name);
            let tree = &mut known.entry_mut(&self.change.owner).tree;
            tree.target_groups.retain(|x| x.arn != group.arn);
            tree.target_groups.push(group);
        }
        Ok(Some(self.conflict(&format!("target group {name} is there already"))))
    }

    pub(super) async fn create_target_group(
        &self,
        id: &str,
        vpc: &str,
        spec: &TargetGroupSpec,
    ) -> Result<Outcome> {
        let name = spec.name.clone();
        let suspected = self.live.known().suspects(&name);
        if suspected && let Some(error) = self.target_group_named(&name).await? {
            return Err(error);
        }
        self.live.known().suspect(&name);
        let vpc = if vpc.is_empty() { self.live.settings.cluster.vpc_id.clone() } else { vpc.to_owned() };
        let call = Call::CreateTargetGroup { vpc, spec: Box::new(spec.clone()) };
        match self.call(call).await {
            Ok(Answer::Made(arn)) => {
                self.live.known().clear(&name);
                self.made(ResourceType::TargetGroup, id, &arn);
                Ok(Outcome::Done)
            }
            Ok(_) => Err(self.conflict("an answer to another call")),
            Err(e) if e.state() == Some(State::Duplicate) => match self.target_group_named(&name).await? {
                Some(error) => Err(error),
                None => Err(CloudError::Pending(self.live.settings.pace.in_use)),
            },
            Err(e) => {
                if e.without_effect() {
                    self.live.known().clear(&name);
                }
                Err(self.failed(&e, "CreateTargetGroup"))
            }
        }
    }

    pub(super) async fn create_security_group(&self, id: &str, spec: &SecurityGroupSpec) -> Result<Outcome> {
        let vpc = self.live.settings.cluster.vpc_id.clone();
        let call = Call::CreateSecurityGroup { vpc: vpc.clone(), spec: Box::new(spec.clone()) };
        match self.call(call).await {
            Ok(Answer::Made(group)) => {
                self.made(ResourceType::SecurityGroup, id, &group);
                Ok(Outcome::Done)
            }
            Ok(_) => Err(self.conflict("an answer to another call")),
            Err(e) if e.state() == Some(State::Duplicate) => {
                let reader = self.live.reader(Priority::Create);
                let found = reader.security_group_named(&vpc, &spec.group_name).await;
                match found.map_err(|e| self.failed(&e, "DescribeSecurityGroups"))? {
                    Some(group) if self.ours(&group.spec.tags) => {
                        let mut known = self.live.known();
                        let tree = &mut known.entry_mut(&self.change.owner).tree;
                        tree.security_groups.retain(|x| x.id != group.id);
                        tree.security_groups.push(group);
                        drop(known);
                        Err(CloudError::Conflict(format!(
                            "security group {} is there already",
                            spec.group_name
                        )))
                    }
                    Some(_) => Err(self.taken("security group", &spec.group_name)),
                    None => Err(CloudError::Pending(self.live.settings.pace.in_use)),
                }
            }
            Err(e) => Err(self.failed(&e, "CreateSecurityGroup")),
        }
    }

    /// Rules of a security group: one that is there, or gone, already makes AWS refuse all of them.
    pub(super) async fn rules_of(&self, call: Call) -> Result<Outcome> {
        let (Call::AuthorizeSecurityGroupIngress { group, .. }
        | Call::RevokeSecurityGroupIngress { group, .. }) = &call
        else {
            return Err(self.conflict("no call for rules"));
        };
        let (group, action) = (group.clone(), call.action());
        match self.call(call).await {
            Ok(_) => Ok(Outcome::Done),
            Err(e) if e.state().is_some() => {
                let reader = self.live.reader(Priority::Create);
                let found = reader.security_groups(&BTreeSet::from([group.clone()])).await;
                let found = found.map_err(|e| self.failed(&e, "DescribeSecurityGroups"))?.into_iter().next();
                let Some(found) = found else { return Err(self.gone(&e)) };
                let mut known = self.live.known();
                let tree = &mut known.entry_mut(&self.change.owner).tree;
                if let Some(have) = tree.security_groups.iter_mut().find(|g| g.id == group) {
                    *have = found;
                }
                Err(CloudError::Conflict(format!("{action}: {group} has other rules than known")))
            }
            Err(e) => Err(self.failed(&e, action)),
        }
    }

    /// What EC2 has just made it may not know for a moment.
    fn gone(&self, error: &CallError) -> CloudError {
        self.live.known().doubt(&self.change.owner);
        match error.state() {
            Some(State::NotFound) => CloudError::Pending(self.live.settings.pace.in_use),
            _ => CloudError::Conflict("a security group is gone".to_owned()),
        }
    }
}
