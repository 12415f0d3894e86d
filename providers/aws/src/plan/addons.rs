//! What goes with a load balancer and is not ELB's: its web ACL, its protection. Pure.
//!
//! It is asked about only where somebody wishes something of it, and only while the stack is not as applied. What AWS refuses of it is said on whoever asks for it,
//! and keeps nothing else from being done. A protection of ours outlives its load balancer, so a tag on that tells that there is, or may be, one.

use causeway_api::{Problem, Verb};
use serde::Serialize;

use super::tokens::literal;
use super::{Draft, Op};
use crate::observe::Addons;
use crate::stack::{Asked, LoadBalancerType, ResourceType, Tags, WebAclSpec};

/// Tag of a load balancer that was to get a protection of ours.
pub const TAG_PROTECTED: &str = "causeway.io/protected";
/// Reason of an Event about a wish that AWS refuses.
pub const REFUSED: &str = "AddonRefused";

const ACL: ResourceType = ResourceType::WebAclAssociation;
const SHIELD: ResourceType = ResourceType::ShieldProtection;

/// Name of the protections that we make for a cluster.
#[must_use]
pub fn protection_name(cluster: &str) -> String {
    // Letters, digits, blanks, dots, underscores and dashes; 128 at most.
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    format!("causeway {}", cluster.chars().filter(fits).take(100).collect::<String>())
}

/// A web ACL as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Acl {
    /// None.
    None,
    /// This one.
    Arn(String),
    /// The one of this name.
    Named(String),
}

impl Acl {
    fn of(spec: &WebAclSpec) -> Self {
        match (spec.web_acl_arn.as_str(), spec.web_acl_name.as_str()) {
            ("", "") => Self::None,
            ("", name) => Self::Named(name.to_owned()),
            (arn, _) => Self::Arn(arn.to_owned()),
        }
    }

    fn is(&self, have: Option<&crate::cloud::records::WebAcl>) -> bool {
        match self {
            Self::None => have.is_none(),
            Self::Arn(arn) => have.is_some_and(|acl| acl.arn == *arn),
            Self::Named(name) => have.is_some_and(|acl| acl.name == *name),
        }
    }
}

impl Draft<'_> {
    /// Tags of a load balancer, with the one that tells of a protection.
    pub(super) fn protected(&self, id: &str, mut tags: Tags) -> Tags {
        if self.want.shields.get(id).is_some_and(|shield| shield.enabled) {
            tags.insert(TAG_PROTECTED.to_owned(), "true".to_owned());
        }
        tags
    }

    fn addons_of(&self, arn: &str) -> Addons {
        self.have.addons.get(arn).cloned().unwrap_or_default()
    }

    /// Asks for what is not known and needed; whether there is anything.
    pub(super) fn read_addons(&mut self) -> bool {
        let mut unknown = Vec::new();
        for (id, lb) in &self.chosen.load_balancers {
            let known = self.addons_of(&lb.arn);
            let asks = |kind| !known.refused.contains_key(&kind);
            let acl = self.want.web_acls.contains_key(*id) && known.web_acl.is_none() && asks(ACL);
            let shield = self.want.shields.contains_key(*id) && known.protection.is_none() && asks(SHIELD);
            if acl || shield {
                unknown.push(((*id).to_owned(), lb.arn.clone(), acl, shield));
            }
        }
        for (id, load_balancer, web_acl, protection) in &unknown {
            let (load_balancer, summary) = (load_balancer.clone(), format!("read what goes with {id}"));
            let op = Op::ReadAddons { load_balancer, web_acl: *web_acl, protection: *protection };
            self.push(op, Verb::Register, ResourceType::LoadBalancer, id, summary);
        }
        !unknown.is_empty()
    }

    fn refuses(&mut self, asked: &Asked, why: String) {
        self.incomplete = true;
        self.problems.push(Problem::warning(asked.by.clone(), asked.field.clone(), REFUSED, why));
    }

    /// Brings web ACLs and protections to what is asked for.
    pub(super) fn addons(&mut self) {
        let want = self.want;
        for (id, spec) in &want.web_acls {
            let load_balancer = self.resolve(&spec.resource_arn);
            let known = self.addons_of(literal(&load_balancer));
            if let Some(refused) = known.refused.get(&ACL) {
                self.refuses(&spec.asked, refused.why.clone());
                continue;
            }
            let acl = Acl::of(spec);
            if acl.is(known.web_acl.flatten().as_ref()) {
                continue;
            }
            let summary = match &acl {
                Acl::None => format!("take the web ACL from {id}"),
                Acl::Arn(name) | Acl::Named(name) => format!("put web ACL {name} in front of {id}"),
            };
            self.push(Op::SetWebAcl { load_balancer, acl }, Verb::Update, ACL, id, summary);
        }
        for (id, spec) in &want.shields {
            let load_balancer = self.resolve(&spec.resource_arn);
            let known = self.addons_of(literal(&load_balancer));
            if let Some(refused) = known.refused.get(&SHIELD) {
                self.refuses(&spec.asked, refused.why.clone());
                continue;
            }
            let ours = protection_name(&want.cluster);
            match (known.protection.flatten(), spec.enabled) {
                (None, true) => {
                    let summary = format!("protect {id} by Shield Advanced");
                    self.push(Op::Protect { load_balancer }, Verb::Update, SHIELD, id, summary);
                }
                (Some(protection), false) if protection.name == ours => {
                    let load_balancer = literal(&load_balancer).to_owned();
                    let summary = format!("end the protection of {id} by Shield Advanced");
                    self.push(Op::Unprotect { load_balancer }, Verb::Update, SHIELD, id, summary);
                }
                (Some(protection), false) => {
                    let why = format!(
                        "the load balancer stays protected: somebody else made the protection {}; delete that by hand",
                        protection.name
                    );
                    let problem =
                        Problem::warning(spec.asked.by.clone(), spec.asked.field.clone(), REFUSED, why);
                    self.problems.push(problem);
                }
                (Some(_), true) | (None, false) => {}
            }
        }
    }

    /// A protection goes before its load balancer, by whose tag it is found.
    pub(super) fn unprotect(&mut self, lb: &crate::cloud::records::LoadBalancer) {
        if lb.spec.kind != LoadBalancerType::Application || !lb.spec.tags.contains_key(TAG_PROTECTED) {
            return;
        }
        let summary = format!("end the protection of load balancer {} by Shield Advanced", lb.spec.name);
        let op = Op::Unprotect { load_balancer: lb.arn.clone() };
        self.push(op, Verb::Delete, SHIELD, &lb.spec.name, summary);
    }
}
