//! What is used of a project's quotas, against what is asked for. Pure.

use causeway_api::Finding;
use causeway_api::check::quota;

use super::Seen;
use crate::facts::Facts;
use crate::inventory::Answers;
use crate::quotas::{Need, Of, needs};
use crate::stack::OctaviaStack;

/// Of each quota what is used; `stacks` are those that are asked for.
pub(super) fn judge(seen: &Seen, facts: &Facts, stacks: &[OctaviaStack]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What is there already counts as used.
    let new: Vec<[Need; 11]> =
        stacks.iter().filter(|stack| facts.existing(&stack.mark).is_none()).map(needs).collect();
    let unknown = [Of::Octavia, Of::Neutron].into_iter().filter(|of| of.quotas(&seen.answers).is_none());
    for of in unknown {
        findings.push(Finding::warning(
            format!("Quotas of {of:?}"),
            "are not known: what more can be made is not known either. Give the user the right to read them",
        ));
    }
    for (at, Need { of, names, what, .. }) in needs(&OctaviaStack::default()).into_iter().enumerate() {
        let of_groups = names[0].starts_with("security_group");
        if of.quotas(&seen.answers).is_none() || (of_groups && !facts.options.manage_security_groups) {
            continue;
        }
        let Some(used) = seen.used.get(names[0]).copied() else { continue };
        let asked = new.iter().map(|needs| needs[at].count).sum();
        let about = format!("Quota of {what}");
        findings.push(match Answers::quota(of.quotas(&seen.answers), names) {
            Some(most) => {
                let raise = format!("{of:?}'s quota {} of the project", names[0]);
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                quota(about, used, asked, most, &raise)
            }
            None => Finding::ok(about, format!("{used} are used, and no limit is set")),
        });
    }
    findings
}
