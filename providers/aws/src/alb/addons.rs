//! What goes with the load balancer: web ACLs of WAFv2, Shield Advanced. Pure.

use causeway_api::Problem;

use super::group::{Group, Joined, Said};
use crate::annotations::{Annotation, ingress as table, reasons};
use crate::facts::Facts;
use crate::stack::{Asked, LOAD_BALANCER, ResourceType, ShieldSpec, Token, WebAclSpec};

/// Reason of a problem with a web ACL.
const NO_ACL: &str = "WebACLNotFound";
/// The word that takes one away.
const NONE: &str = "none";

fn load_balancer() -> Token {
    Token::of(ResourceType::LoadBalancer, LOAD_BALANCER)
}

/// What a member says of a web ACL: by name, which wins, or by ARN.
fn asked(m: &Joined<'_>) -> Option<(&'static Annotation, String)> {
    let text = |annotation| m.settings.text(annotation).map(|t: &str| t.trim().to_owned());
    let name = m.parameters.wafv2_name.clone().or_else(|| text(&table::WAFV2_NAME));
    let arn = m.parameters.wafv2_arn.clone().or_else(|| text(&table::WAFV2_ARN));
    name.map(|n| (&table::WAFV2_NAME, n)).or_else(|| arn.map(|a| (&table::WAFV2_ARN, a)))
}

/// ARN and name of what a member asks for, one of them empty; both are, to have none.
#[derive(Clone, Debug, Default, PartialEq)]
struct Acl {
    arn: String,
    name: String,
}

impl Said for Acl {
    fn said(&self) -> String {
        match (self.arn.as_str(), self.name.as_str()) {
            ("", "") => NONE.to_owned(),
            ("", name) => name.to_owned(),
            (arn, _) => arn.to_owned(),
        }
    }
}

/// What a member asks for.
fn resolved(m: &Joined<'_>, facts: &Facts) -> Result<Option<Acl>, Problem> {
    let Some((annotation, text)) = asked(m) else { return Ok(None) };
    let error = |reason: &str, why: String| Problem { reason: reason.to_owned(), ..m.error(annotation, why) };
    if text == NONE {
        return Ok(Some(Acl::default()));
    }
    if annotation.suffix == table::WAFV2_ARN.suffix {
        return if text.starts_with("arn:") {
            Ok(Some(Acl { arn: text, name: String::new() }))
        } else {
            Err(error(reasons::INVALID, format!("{text:?} is not an ARN, nor {NONE:?}")))
        };
    }
    if facts.aws.live {
        return Ok(Some(Acl { arn: String::new(), name: text }));
    }
    let all = facts.aws.web_acls().map_err(|missing| error(NO_ACL, missing.to_string()))?;
    let found =
        all.iter().find(|acl| acl.name == text).map(|acl| Acl { arn: acl.arn.clone(), name: String::new() });
    let why = || format!("there is no regional web ACL {text:?}: make it, or name another");
    found.map(Some).ok_or_else(|| error(NO_ACL, why()))
}

/// Refuses members whose web ACL cannot be found: to serve them without it would be worse.
pub fn check(group: &mut Group<'_>, facts: &Facts) {
    if !facts.options.wafv2 {
        return;
    }
    for index in group.served().collect::<Vec<_>>() {
        if let Err(problem) = resolved(&group.members[index], facts) {
            group.refuse(index, problem);
        }
    }
}

/// The web ACL.
pub fn web_acl(group: &mut Group<'_>, facts: &Facts) -> Option<WebAclSpec> {
    let all: Vec<usize> = group.served().collect();
    if !facts.options.wafv2 {
        for index in all {
            if let Some((annotation, _)) = asked(&group.members[index]) {
                let why = "web ACLs are switched off: set option enable-wafv2, or take it away";
                let problem = group.members[index].warn(annotation, why);
                group.report(problem);
            }
        }
        return None;
    }
    let get = |m: &Joined<'_>| resolved(m, facts).ok().flatten();
    let opens = |_: &Acl, asked: &Acl| *asked != Acl::default();
    let (holder, acl) = group.exclusive(&table::WAFV2_ARN, &all, get, opens)?;
    let holder = &group.members[holder];
    let annotation = asked(holder).map_or(&table::WAFV2_ARN, |(annotation, _)| annotation);
    Some(WebAclSpec {
        web_acl_arn: acl.arn,
        web_acl_name: acl.name,
        resource_arn: load_balancer(),
        asked: asker(holder, annotation),
    })
}

fn asker(holder: &Joined<'_>, annotation: &Annotation) -> Asked {
    Asked { by: holder.object(), field: holder.settings.field(annotation) }
}

/// Shield Advanced.
pub fn shield(group: &mut Group<'_>, facts: &Facts) -> Option<ShieldSpec> {
    let all: Vec<usize> = group.served().collect();
    let get = |m: &Joined<'_>| m.settings.bool(&table::SHIELD);
    let (holder, enabled) = group.exclusive(&table::SHIELD, &all, get, |_, _| false)?;
    let state = facts.aws.get_subscription_state.as_ref().map(|s| s.subscription_state.as_str());
    let why = match state {
        _ if !facts.options.shield => {
            Some("Shield Advanced is switched off: set option enable-shield, or take it away")
        }
        Some(state) if state != "ACTIVE" && enabled => {
            Some("the account has no subscription to Shield Advanced: subscribe, or take it away")
        }
        _ => None,
    };
    if let Some(why) = why {
        let problem = group.members[holder].warn(&table::SHIELD, why);
        group.report(problem);
        return None;
    }
    let asked = asker(&group.members[holder], &table::SHIELD);
    Some(ShieldSpec { enabled, resource_arn: load_balancer(), asked })
}
