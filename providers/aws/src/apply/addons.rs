//! Web ACLs and protections. What AWS refuses of them is kept, and said by the next plan on whoever asks for it: nothing else waits for it.

use causeway_api::{CloudError, Outcome, Result};

use super::{Doing, NOW};
use crate::calls::CallError;
use crate::cloud::records::WebAcl;
use crate::cloud::{Answer, Api, Call};
use crate::errors::{self, Class, State};
use crate::limits::Priority;
use crate::observe::Refused;
use crate::plan::addons::{Acl, protection_name};
use crate::stack::ResourceType;

const ACL: ResourceType = ResourceType::WebAclAssociation;
const SHIELD: ResourceType = ResourceType::ShieldProtection;

impl<A: Api> Doing<'_, A> {
    /// What was asked for cannot be; the plan is made anew without it.
    fn refused(&self, load_balancer: &str, what: ResourceType, why: String) -> Result<Outcome> {
        let at = self.live.calls.api.unix();
        let mut known = self.live.known();
        let addons = known.entry_mut(&self.change.owner).tree.addons.entry(load_balancer.to_owned());
        addons.or_default().refused.insert(what, Refused { why, at });
        Ok(NOW)
    }

    /// What follows from an error of a call about what goes with a load balancer.
    fn addon_failed(
        &self,
        load_balancer: &str,
        what: ResourceType,
        error: &CallError,
        action: &'static str,
    ) -> Result<Outcome> {
        let CallError::Failed(failure) = error else { return Err(self.failed(error, action)) };
        let said = match failure {
            crate::cloud::Failure::Refused { code, message } => format!("{code}: {message}"),
            crate::cloud::Failure::NoAnswer(_) => return Err(self.failed(error, action)),
        };
        let service = if what == ACL { "wafv2" } else { "shield" };
        let why = match errors::class(failure.code()) {
            _ if errors::denied(failure) => format!(
                "AWS does not allow {service}:{action} ({said}): attach deploy/aws/iam-policy-addons.json to Causeway's role, or take the annotation away"
            ),
            Class::Invalid => {
                format!("AWS refuses {action} ({said}): mend what it names, or take the annotation away")
            }
            Class::Quota(quota) => {
                format!(
                    "AWS refuses {action} ({said}): have quota {quota} raised, or take the annotation away"
                )
            }
            _ => return Err(self.failed(error, action)),
        };
        self.refused(load_balancer, what, why)
    }

    pub(super) async fn read_addons(&self, arn: &str, web_acl: bool, protection: bool) -> Result<Outcome> {
        let reader = self.live.reader(Priority::Create);
        for (asked, what, action) in
            [(web_acl, ACL, "GetWebACLForResource"), (protection, SHIELD, "DescribeProtection")]
        {
            if !asked {
                continue;
            }
            match reader.addons(arn, what == ACL, what == SHIELD).await {
                Ok(found) => {
                    let mut known = self.live.known();
                    let addons = known.entry_mut(&self.change.owner).tree.addons.entry(arn.to_owned());
                    let addons = addons.or_default();
                    addons.web_acl = found.web_acl.or(addons.web_acl.take());
                    addons.protection = found.protection.or(addons.protection.take());
                }
                Err(e) => {
                    self.addon_failed(arn, what, &e, action)?;
                }
            }
        }
        Ok(NOW)
    }

    /// The web ACL of a name, if there is one.
    async fn web_acl_named(&self, name: &str) -> std::result::Result<Option<WebAcl>, CallError> {
        let all = self.live.reader(Priority::Create).web_acls().await?;
        Ok(all.into_iter().find(|acl| acl.name == name))
    }

    pub(super) async fn set_web_acl(&self, arn: &str, acl: &Acl) -> Result<Outcome> {
        let resource = arn.to_owned();
        let web_acl = match acl {
            Acl::None => None,
            Acl::Arn(acl) => Some(WebAcl { arn: acl.clone(), name: String::new() }),
            Acl::Named(name) => match self.web_acl_named(name).await {
                Ok(Some(found)) => Some(found),
                Ok(None) => {
                    let why = format!(
                        "there is no regional web ACL {name:?}, so none was put in front of the load balancer: make it, or name another"
                    );
                    return self.refused(arn, ACL, why);
                }
                Err(e) => return self.addon_failed(arn, ACL, &e, "ListWebACLs"),
            },
        };
        let call = match web_acl {
            Some(web_acl) => Call::AssociateWebAcl { web_acl, resource },
            None => Call::DisassociateWebAcl { resource },
        };
        let action = call.action();
        match self.call(call).await {
            Ok(_) => Ok(Outcome::Done),
            Err(e) => self.addon_failed(arn, ACL, &e, action),
        }
    }

    pub(super) async fn protect(&self, arn: &str) -> Result<Outcome> {
        let name = protection_name(&self.live.settings.cluster.id);
        match self.call(Call::CreateProtection { name, resource: arn.to_owned() }).await {
            Ok(_) => Ok(Outcome::Done),
            Err(e) if e.state() == Some(State::Duplicate) => Err(self.conflict("it is protected already")),
            Err(e) if e.state() == Some(State::NotFound) => self.unknown_to_shield(arn).await,
            Err(e) => self.addon_failed(arn, SHIELD, &e, "CreateProtection"),
        }
    }

    /// Shield says "not found" where there is no subscription, and of what it does not know yet.
    async fn unknown_to_shield(&self, arn: &str) -> Result<Outcome> {
        match self.live.calls.read(Call::DescribeSubscription, Priority::Create).await {
            Ok(_) => Ok(Outcome::Pending(self.live.settings.pace.in_use)),
            Err(e) if e.state() == Some(State::NotFound) => {
                let why = "the account has no subscription to Shield Advanced, so the load balancer is not protected by it: subscribe, or take the annotation away";
                self.refused(arn, SHIELD, why.to_owned())
            }
            Err(e) => self.addon_failed(arn, SHIELD, &e, "DescribeSubscription"),
        }
    }

    /// Ends a protection of ours; one that somebody else made stays.
    pub(super) async fn unprotect(&self, arn: &str) -> Result<Outcome> {
        let call = Call::DescribeProtection { resource: arn.to_owned() };
        let protection = match self.live.calls.read(call, Priority::Create).await {
            Ok(Answer::Protection(protection)) => protection,
            // Who has no right to see one has made none, and must not be kept from deleting the load balancer.
            Err(CallError::Failed(failure)) if errors::denied(&failure) => None,
            Err(e) => return Err(self.failed(&e, "DescribeProtection")),
            Ok(_) => return Err(CloudError::Transient("an answer to another call".to_owned())),
        };
        let ours = protection_name(&self.live.settings.cluster.id);
        let Some(protection) = protection.filter(|p| p.name == ours) else { return Ok(Outcome::Done) };
        self.simple(Call::DeleteProtection { id: protection.id, resource: arn.to_owned() }).await
    }
}
