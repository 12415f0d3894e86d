//! Replacements that cannot be without a gap: the successor needs a name or addresses that its predecessor still has. Pure.
//!
//! Only where the user allows it the predecessor goes first; then everything else is planned anew, as if there had been none: target groups and security groups stay
//! and serve the successor. Whoever dies in between leaves a stack without a load balancer, which the next one completes.

use causeway_api::Verb;

use super::choose::{Misfit, misfit};
use super::{Draft, Op};
use crate::cloud::Attributed;
use crate::cloud::records::{LoadBalancer, State};
use crate::stack::{Attribute, LoadBalancerSpec, ResourceType, SubnetMapping, Token};

const KIND: ResourceType = ResourceType::LoadBalancer;
/// About how many seconds AWS takes to let go of the addresses, and to make an NLB.
const GAP: u32 = 240;
/// The attribute that keeps a load balancer from being deleted.
pub const PROTECTION: &str = "deletion_protection.enabled";

/// Whether a name is one that we make: then another can be made.
fn generated(name: &str) -> bool {
    let hash = name.rsplit('-').next().unwrap_or_default();
    name.starts_with("k8s-") && hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What of a load balancer that is there its successor cannot do without.
fn clash(want: &LoadBalancerSpec, have: &LoadBalancerSpec) -> Option<String> {
    if have.name == want.name && !generated(&want.name) {
        return Some(format!("the name {} is fixed and still taken", want.name));
    }
    let same = |m: &SubnetMapping| {
        have.subnet_mappings.iter().any(|h| {
            (m.allocation_id.is_some() && h.allocation_id == m.allocation_id)
                || (m.private_ipv4_address.is_some() && h.private_ipv4_address == m.private_ipv4_address)
                || (m.ipv6_address.is_some() && h.ipv6_address == m.ipv6_address)
        })
    };
    let taken = want.subnet_mappings.iter().any(same);
    taken.then(|| "its fixed addresses are still in use".to_owned())
}

fn protected(spec: &LoadBalancerSpec) -> Option<bool> {
    let found = spec.load_balancer_attributes.iter().find(|a| a.key == PROTECTION)?;
    Some(found.value == "true")
}

impl Draft<'_> {
    /// Refuses a replacement that cannot be without a gap, or makes room for it; whether there is one, so that nothing else can be done now.
    pub(super) fn makes_room(&mut self) -> bool {
        let mut found = Vec::new();
        for (id, spec) in &self.want.load_balancers {
            if self.chosen.load_balancers.contains_key(id.as_str()) {
                continue;
            }
            let former = self.have.load_balancers_of(id).filter(|lb| lb.state != State::Failed);
            for lb in former {
                let Some(why) = misfit(spec, &lb.spec) else { continue };
                let Some(clash) = clash(spec, &lb.spec) else { continue };
                let what = if why == Misfit::Address { "fixed addresses" } else { why.what() };
                found.push((id, spec, lb, what, clash));
            }
        }
        let mut goes = false;
        for (id, spec, lb, what, clash) in &found {
            let name = &lb.spec.name;
            let only = format!(
                "{what} of load balancer {name} can only be changed by making another one, and {clash}"
            );
            if !self.want.allow_downtime {
                let text = format!(
                    "{only}: so there would be none for minutes. Give the new one another name or other addresses, or allow the gap by \
                     causeway.io/allow-replacement-downtime: \"true\""
                );
                self.tell("", "ReplacementRefused", text);
            } else if protected(&lb.spec) == Some(true) && protected(spec) != Some(false) {
                let text = format!(
                    "{only}; a gap is allowed, but {PROTECTION} is set, so it is not deleted: set {PROTECTION}=false in the attributes of the load balancer"
                );
                self.tell("", "ReplacementRefused", text);
            } else {
                goes = true;
                self.replace(id, lb, only);
            }
        }
        if goes {
            let summary = "see what is left to be made".to_owned();
            let first = self.first();
            self.push(Op::Read, Verb::Update, KIND, first, summary);
        }
        !found.is_empty()
    }

    fn replace(&mut self, id: &str, lb: &LoadBalancer, reason: String) {
        if protected(&lb.spec) == Some(true) {
            let attributes = vec![Attribute { key: PROTECTION.to_owned(), value: "false".to_owned() }];
            let at = Token::literal(lb.arn.as_str());
            let op = Op::SetAttributes { of: Attributed::LoadBalancer, at, attributes };
            let summary = format!("let load balancer {} be deleted", lb.spec.name);
            self.push(op, Verb::Update, KIND, id, summary);
        }
        self.unprotect(lb);
        let summary = format!("delete load balancer {} before its successor is made", lb.spec.name);
        let op = Op::Delete { kind: KIND, at: lb.arn.clone() };
        self.push(op, Verb::Replace { gap_seconds: GAP, reason }, KIND, id, summary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_we_make() {
        for (name, ours) in [
            ("k8s-default-web-0123456789", true),
            ("k8s-default-web-shop", false),
            ("web", false),
            ("web-0123456789", false),
        ] {
            assert_eq!(generated(name), ours, "{name}");
        }
    }
}
