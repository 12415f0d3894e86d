//! What all stacks share: the backend security group, and the rules of the nodes' groups. Whoever comes first makes it; the others wait and find it there.

use std::collections::BTreeSet;

use causeway_api::names::{TAG_CLUSTER, TAG_OWNER, TAG_RESOURCE};
use causeway_api::{CloudError, Outcome, Problem, Result, names};

use super::Doing;
use crate::calls::CallError;
use crate::cloud::{Answer, Api, Call};
use crate::errors::State;
use crate::limits::Priority;
use crate::plan::bare;
use crate::plan::marks::OWNER_SHARED;
use crate::security::{BACKEND_GROUP, comes_from};
use crate::stack::{IpPermission, SecurityGroupSpec, Tags};

impl<A: Api> Doing<'_, A> {
    pub(super) fn shared_tags(&self) -> Tags {
        [
            (TAG_CLUSTER.to_owned(), self.live.settings.cluster.id.clone()),
            (TAG_OWNER.to_owned(), OWNER_SHARED.to_owned()),
            (TAG_RESOURCE.to_owned(), format!("SecurityGroup/{BACKEND_GROUP}")),
        ]
        .into()
    }

    pub(super) async fn backend_group(&self, spec: &SecurityGroupSpec) -> Result<Outcome> {
        let _turn = self.live.sharing.lock().await;
        let shared = self.live.known().shared.clone();
        if shared.backend_going {
            return Err(CloudError::Conflict(
                "the security group that all share is being deleted".to_owned(),
            ));
        }
        if shared.backend_group.is_some() {
            return Ok(Outcome::Done);
        }
        let vpc = self.live.settings.cluster.vpc_id.clone();
        let mut spec = spec.clone();
        spec.tags.extend(self.shared_tags());
        let name = spec.group_name.clone();
        let call = Call::CreateSecurityGroup { vpc: vpc.clone(), spec: Box::new(spec) };
        // The fence and the limiter as for every write; it belongs to no stack.
        let id = match self.live.calls.write(call, self.fence).await {
            Ok(Answer::Made(id)) => id,
            Ok(_) => return Err(CloudError::Transient("an answer to another call".to_owned())),
            Err(e) if e.state() == Some(State::Duplicate) => {
                let reader = self.live.reader(Priority::Create);
                let found = reader.security_group_named(&vpc, &name).await;
                match found.map_err(|e| self.failed(&e, "DescribeSecurityGroups"))? {
                    Some(group) if self.shared_tags().iter().all(|(k, v)| group.spec.tags.get(k) == Some(v)) => {
                        group.id
                    }
                    Some(_) => return Err(self.refuse(format!(
                        "security group {name}, which load balancers share, is there already and is not ours: delete it, or name \
                         one to use by --backend-security-group"
                    ))),
                    None => return Err(CloudError::Pending(self.live.settings.pace.in_use)),
                }
            }
            Err(e) => return Err(self.failed(&e, "CreateSecurityGroup")),
        };
        self.live.known().shared.backend_group = Some(id);
        Ok(Outcome::Done)
    }

    fn refuse(&self, text: String) -> CloudError {
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

    pub(super) async fn node_rules(&self, group: &str, rules: &BTreeSet<IpPermission>) -> Result<Outcome> {
        let _turn = self.live.sharing.lock().await;
        // Here: until then the group that they let in may have gone.
        let rules = self.rules(rules)?;
        if self.live.known().shared.backend_going {
            return Err(CloudError::Conflict(
                "the security group that all share is being deleted".to_owned(),
            ));
        }
        // Twice: what is known may have been changed by a hand meanwhile.
        for _ in 0..2 {
            let known = self.live.known().shared.node_rules.get(group).cloned();
            let Some(known) = known else {
                self.read_node_rules(group).await?;
                continue;
            };
            let missing: BTreeSet<IpPermission> =
                rules.iter().filter(|r| !known.contains(&bare(r))).cloned().collect();
            if missing.is_empty() {
                return Ok(Outcome::Done);
            }
            let call =
                Call::AuthorizeSecurityGroupIngress { group: group.to_owned(), rules: missing.clone() };
            match self.live.calls.write(call, self.fence).await {
                Ok(_) => {
                    self.live.known().shared.add_node_rules(group, &missing);
                    return Ok(Outcome::Done);
                }
                Err(e) if e.state() == Some(State::Duplicate) => self.read_node_rules(group).await?,
                Err(e) => {
                    if !e.without_effect() {
                        self.live.known().shared.node_rules.remove(group);
                    }
                    return Err(self.failed(&e, "AuthorizeSecurityGroupIngress"));
                }
            }
        }
        Err(CloudError::Conflict(format!("the rules of security group {group} move")))
    }

    /// Deletes the group that all stacks share, unless another stack has come.
    pub(super) async fn drop_backend_group(&self) -> Result<Outcome> {
        let _turn = self.live.sharing.lock().await;
        let (id, alone, going) = {
            let known = self.live.known();
            let shared = &known.shared;
            (shared.backend_group.clone(), known.is_alone(&self.change.owner), shared.backend_going)
        };
        let Some(id) = id.filter(|_| alone || going) else { return Ok(Outcome::Done) };
        let reader = self.live.reader(Priority::Create);
        let vpc = &self.live.settings.cluster.vpc_id;
        let failed = |e: CallError| self.failed(&e, "DescribeSecurityGroups");
        if !alone {
            // An earlier try got no answer, and somebody needs it meanwhile.
            let there = reader.security_groups(&BTreeSet::from([id])).await.map_err(failed)?;
            let mut known = self.live.known();
            known.shared.backend_going = false;
            if there.is_empty() {
                known.shared.backend_group = None;
            }
            return Ok(Outcome::Done);
        }
        for group in reader.security_groups_from(vpc, &id).await.map_err(failed)? {
            let rules: BTreeSet<IpPermission> =
                group.spec.ingress.iter().filter(|rule| comes_from(rule, &id)).cloned().collect();
            if rules.is_empty() {
                continue;
            }
            self.live.known().shared.set_node_rules(&group.id, &group.spec.ingress);
            let call = Call::RevokeSecurityGroupIngress { group: group.id.clone(), rules: rules.clone() };
            match self.live.calls.write(call, self.fence).await {
                Ok(_) => self.live.known().shared.take_node_rules(&group.id, &rules),
                Err(e) => {
                    self.live.known().shared.node_rules.remove(&group.id);
                    return Err(match e.state() {
                        Some(_) => {
                            CloudError::Conflict(format!("the rules of security group {} move", group.id))
                        }
                        None => self.failed(&e, "RevokeSecurityGroupIngress"),
                    });
                }
            }
        }
        self.live.known().shared.backend_going = true;
        let answer = self.live.calls.write(Call::DeleteSecurityGroup { id }, self.fence).await;
        let mut known = self.live.known();
        match answer {
            Ok(_) => {}
            Err(e) if e.state() == Some(State::NotFound) => {}
            Err(e) => {
                // Without a clear answer it may be gone: nobody uses it until that is known.
                known.shared.backend_going = !e.without_effect() && e.state().is_none();
                if e.state() == Some(State::InUse) {
                    return Ok(Outcome::Pending(self.live.settings.pace.in_use));
                }
                return Err(self.failed(&e, "DeleteSecurityGroup"));
            }
        }
        known.shared.backend_going = false;
        known.shared.backend_group = None;
        Ok(Outcome::Done)
    }

    /// Takes rules away that nobody needs any more.
    pub(super) async fn revoke_node_rules(
        &self,
        group: &str,
        rules: &BTreeSet<IpPermission>,
    ) -> Result<Outcome> {
        let _turn = self.live.sharing.lock().await;
        let there: BTreeSet<IpPermission> = {
            let known = self.live.known();
            let signed = known.shared.signed_rules.get(group);
            let backend = known.shared.backend_group.as_deref();
            let all = known.shared.node_rules.get(group);
            let shared = |r: &IpPermission| {
                backend.is_some_and(|id| comes_from(r, id)) && all.is_some_and(|all| all.contains(&bare(r)))
            };
            let there = |r: &&IpPermission| signed.is_some_and(|s| s.contains(*r)) || shared(r);
            rules.iter().filter(there).cloned().collect()
        };
        if there.is_empty() {
            return Ok(Outcome::Done);
        }
        let call = Call::RevokeSecurityGroupIngress { group: group.to_owned(), rules: there.clone() };
        match self.live.calls.write(call, self.fence).await {
            Ok(_) => {
                self.live.known().shared.take_node_rules(group, &there);
                Ok(Outcome::Done)
            }
            Err(e) if e.state().is_some() => {
                self.read_node_rules(group).await?;
                Err(CloudError::Conflict(format!("security group {group} has other rules than known")))
            }
            Err(e) => {
                if !e.without_effect() {
                    self.read_node_rules(group).await?;
                }
                Err(self.failed(&e, "RevokeSecurityGroupIngress"))
            }
        }
    }

    async fn read_node_rules(&self, group: &str) -> Result<()> {
        let reader = self.live.reader(Priority::Create);
        let found = reader.security_groups(&BTreeSet::from([group.to_owned()])).await;
        let found = found.map_err(|e| self.failed(&e, "DescribeSecurityGroups"))?.into_iter().next();
        let Some(found) = found else {
            return Err(self.refuse(format!(
                "security group {group} of the nodes does not exist: targets cannot be reached"
            )));
        };
        self.live.known().shared.set_node_rules(group, &found.spec.ingress);
        Ok(())
    }
}
