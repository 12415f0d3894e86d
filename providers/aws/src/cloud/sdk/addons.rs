//! What goes with a load balancer: WAFv2 and Shield Advanced.

use aws_sdk_wafv2::types::Scope;

use super::super::records::{Protection, WebAcl};
use super::super::{Answer, Call, Failure, Page};
use super::{Sdk, failure, more};
use crate::errors::{State, state};

/// Items of one page of WAFv2: its most.
const PAGE: i32 = 100;

impl Sdk {
    pub(super) async fn web_acl_call(&self, call: Call) -> Result<Answer, Failure> {
        match call {
            Call::GetWebAclForResource { resource } => {
                let request = self.wafv2.get_web_acl_for_resource().resource_arn(resource);
                let answer = request.send().await.map_err(failure)?;
                let one = |acl: &aws_sdk_wafv2::types::WebAcl| WebAcl {
                    arn: acl.arn().to_owned(),
                    name: acl.name().to_owned(),
                };
                Ok(Answer::WebAcl(answer.web_acl().map(one)))
            }
            Call::ListWebAcls { marker } => {
                let request = self.wafv2.list_web_acls().scope(Scope::Regional).limit(PAGE);
                let page = request.set_next_marker(marker).send().await.map_err(failure)?;
                let all = page.web_acls().iter();
                let items = all.filter_map(|acl| {
                    Some(WebAcl { arn: acl.arn()?.to_owned(), name: acl.name()?.to_owned() })
                });
                Ok(Answer::WebAcls(Page { items: items.collect(), next: more(page.next_marker()) }))
            }
            Call::AssociateWebAcl { web_acl, resource } => {
                let request = self.wafv2.associate_web_acl().web_acl_arn(web_acl.arn).resource_arn(resource);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DisassociateWebAcl { resource } => {
                let request = self.wafv2.disassociate_web_acl().resource_arn(resource);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            other => Err(Failure::NoAnswer(format!("{} is no call of WAFv2", other.action()))),
        }
    }

    pub(super) async fn shield_call(&self, call: Call) -> Result<Answer, Failure> {
        match call {
            Call::DescribeProtection { resource } => {
                let answer = match self.shield.describe_protection().resource_arn(resource).send().await {
                    Ok(answer) => answer,
                    // So it says that there is none, without a subscription too.
                    Err(error) => {
                        return match failure(error) {
                            failure if state(&failure) == Some(State::NotFound) => {
                                Ok(Answer::Protection(None))
                            }
                            failure => Err(failure),
                        };
                    }
                };
                let one = |p: &aws_sdk_shield::types::Protection| {
                    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
                    Protection { id: text(p.id()), name: text(p.name()) }
                };
                Ok(Answer::Protection(answer.protection().map(one)))
            }
            Call::DescribeSubscription => {
                let request = self.shield.describe_subscription();
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::CreateProtection { name, resource } => {
                let request = self.shield.create_protection().name(name).resource_arn(resource);
                let answer = request.send().await.map_err(failure)?;
                Ok(Answer::Made(answer.protection_id().unwrap_or_default().to_owned()))
            }
            Call::DeleteProtection { id, .. } => {
                let request = self.shield.delete_protection().protection_id(id);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            other => Err(Failure::NoAnswer(format!("{} is no call of Shield", other.action()))),
        }
    }
}
