//! WAFv2 and Shield Advanced; the secrets of logins, which AWS never tells; and fixed addresses, which one load balancer has at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Reply, World, page, refuse};
use crate::cloud::records::{Protection, WebAcl};
use crate::cloud::{Answer, Call};
use crate::stack::{Action, LoadBalancerSpec, SecretRef, SubnetMapping};

/// What goes with load balancers.
#[derive(Default)]
pub struct Addons {
    /// Web ACLs of the region.
    pub web_acls: Vec<WebAcl>,
    /// ARN of the web ACL by load balancer.
    pub associated: BTreeMap<String, String>,
    /// Protections by load balancer; they stay when it goes.
    pub protections: BTreeMap<String, Protection>,
    /// The account has subscribed to Shield Advanced.
    pub subscribed: bool,
    /// Actions that the role has no right to.
    pub denied: BTreeSet<&'static str>,
}

/// Whether the secrets that actions need were sent along.
pub fn has_secrets(actions: &[Action]) -> bool {
    actions.iter().all(|action| match action {
        Action::AuthenticateOidc(c) => {
            c.client_id.content.get().is_some() && c.client_secret.content.get().is_some()
        }
        _ => true,
    })
}

/// Actions as AWS tells them.
pub fn told(actions: &mut [Action]) {
    for action in actions {
        if let Action::AuthenticateOidc(c) = action {
            c.client_id = SecretRef::read(c.client_id.key);
            c.client_secret = SecretRef::read(c.client_secret.key);
        }
    }
}

/// The fixed addresses of a load balancer.
pub fn fixed(spec: &LoadBalancerSpec) -> BTreeSet<String> {
    let of = |m: &SubnetMapping| [m.allocation_id.clone(), m.private_ipv4_address.clone()];
    spec.subnet_mappings.iter().flat_map(of).flatten().collect()
}

impl World {
    /// A fixed address that another load balancer has, or had a moment ago.
    pub(super) fn taken(&self, spec: &LoadBalancerSpec, now: Duration) -> Option<String> {
        let held = self.load_balancers.values().map(|(lb, _)| fixed(&lb.spec));
        let left = self.addresses.iter().filter(|(_, until)| now < *until).map(|(all, _)| all.clone());
        let taken: BTreeSet<String> = held.chain(left).flatten().collect();
        fixed(spec).into_iter().find(|address| taken.contains(address))
    }

    pub(super) fn read_addons(&self, call: &Call) -> Reply {
        let all = &self.addons;
        if all.denied.contains(call.action()) {
            return refuse("AccessDeniedException", call);
        }
        match call {
            Call::GetWebAclForResource { resource } => {
                let arn = all.associated.get(resource);
                let found = all.web_acls.iter().find(|acl| Some(&acl.arn) == arn);
                Ok(Answer::WebAcl(found.cloned()))
            }
            Call::ListWebAcls { marker } => {
                Ok(Answer::WebAcls(page(all.web_acls.clone(), marker.as_ref(), 1)))
            }
            Call::DescribeProtection { resource } => {
                Ok(Answer::Protection(all.protections.get(resource).cloned()))
            }
            Call::DescribeSubscription if all.subscribed => Ok(Answer::Done),
            Call::DescribeSubscription => refuse("ResourceNotFoundException", call),
            other => refuse("InvalidAction", other),
        }
    }

    pub(super) fn write_addons(&mut self, call: &Call) -> Reply {
        let n = self.id();
        let there = |arn: &String| self.load_balancers.contains_key(arn);
        let all = &mut self.addons;
        if all.denied.contains(call.action()) {
            return refuse("AccessDeniedException", call);
        }
        match call {
            Call::AssociateWebAcl { web_acl, resource } => {
                if !there(resource) || !all.web_acls.iter().any(|acl| acl.arn == web_acl.arn) {
                    return refuse("WAFNonexistentItemException", call);
                }
                all.associated.insert(resource.clone(), web_acl.arn.clone());
                Ok(Answer::Done)
            }
            Call::DisassociateWebAcl { resource } => {
                all.associated.remove(resource);
                Ok(Answer::Done)
            }
            Call::CreateProtection { name, resource } => {
                if !all.subscribed || !there(resource) {
                    return refuse("ResourceNotFoundException", call);
                }
                if all.protections.contains_key(resource) {
                    return refuse("ResourceAlreadyExistsException", call);
                }
                let id = format!("protection-{n}");
                let protection = Protection { id: id.clone(), name: name.clone() };
                all.protections.insert(resource.clone(), protection);
                Ok(Answer::Made(id))
            }
            Call::DeleteProtection { id, .. } => {
                let before = all.protections.len();
                all.protections.retain(|_, p| p.id != *id);
                if all.protections.len() == before {
                    return refuse("ResourceNotFoundException", call);
                }
                Ok(Answer::Done)
            }
            other => refuse("InvalidAction", other),
        }
    }
}
