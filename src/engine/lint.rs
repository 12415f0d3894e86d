//! The linter: the last look at a plan before it is applied, in tests and in production. Knows no cloud. Pure.
//!
//! It never judges whether a plan is useful, only whether it could do harm: touch what is not ours, pass a limit, leave
//! a listener without an answer, or interrupt traffic without having said so.

use std::collections::BTreeSet;
use std::fmt;

use causeway_api::{ChangeInfo, LintContext, Mark, Verb};

/// What a plan must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Index of the change.
    pub change: usize,
    /// Its summary.
    pub summary: String,
    /// Which rule, in words.
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "change {} ({}): {}", self.change, self.summary, self.rule)
    }
}

/// All violations of a plan; none: it may be applied.
#[must_use]
pub fn lint(changes: &[ChangeInfo], context: LintContext) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut deleted = BTreeSet::new();
    for (index, change) in changes.iter().enumerate() {
        let mut refuse = |rule: String| {
            found.push(Violation { change: index, summary: change.summary.clone(), rule });
        };
        let slot = (change.target.kind.as_str(), change.target.id.as_str());
        match (&change.verb, change.mark) {
            (Verb::Create, Mark::New) | (Verb::Adopt, Mark::Peer) => {}
            (Verb::Create, mark) => refuse(format!("creates what exists already ({mark:?})")),
            (Verb::Adopt, mark) => refuse(format!("takes over what no peer made ({mark:?})")),
            (_, Mark::Peer) => refuse("changes what a peer made, and that was not taken over".to_owned()),
            (_, Mark::Foreign) => refuse("touches what does not carry our mark".to_owned()),
            (Verb::Delete | Verb::Replace { .. }, Mark::UserNamed) => {
                refuse("deletes what the user named by id".to_owned());
            }
            (Verb::Delete | Verb::Replace { .. } | Verb::Deregister, Mark::New) => {
                refuse("deletes what does not exist yet".to_owned());
            }
            _ => {}
        }
        if let Some(mark) = change.cascade.iter().find(|m| !matches!(m, Mark::Ours | Mark::New)) {
            refuse(format!("a cascade would delete something that is not ours ({mark:?})"));
        }
        for limit in &change.limits {
            if limit.after > limit.max {
                refuse(format!("passes limit {}: {} of {}", limit.name, limit.after, limit.max));
            }
        }
        if change.default_action == Some(false) {
            refuse("leaves a listener without a default action".to_owned());
        }
        match change.verb {
            Verb::Delete => {
                deleted.insert(slot);
            }
            Verb::Create if deleted.contains(&slot) => {
                refuse("deletes before making the replacement, without saying so (Replace)".to_owned());
            }
            _ => {}
        }
    }
    lint_marks(changes, context, &mut found);
    found
}

/// An existing stack is marked dirty before its first mutation, and clean after its last.
fn lint_marks(changes: &[ChangeInfo], context: LintContext, found: &mut Vec<Violation>) {
    let targets_only = |c: &ChangeInfo| matches!(c.verb, Verb::Register | Verb::Deregister);
    if !context.keeps_hash || context.removes || changes.iter().all(targets_only) {
        return;
    }
    let mut refuse = |index: usize, rule: &str| {
        let summary = changes.get(index).map(|c| c.summary.clone()).unwrap_or_default();
        found.push(Violation { change: index, summary, rule: rule.to_owned() });
    };
    let only_marks = |c: &ChangeInfo| matches!(c.verb, Verb::MarkDirty | Verb::MarkApplied);
    if context.exists
        && !changes.iter().all(only_marks)
        && let Some(first) = changes.iter().position(|c| !targets_only(c))
        && changes[first].verb != Verb::MarkDirty
    {
        refuse(first, "changes an existing stack that is not marked dirty first");
    }
    if context.exists && changes.last().is_some_and(|c| c.verb != Verb::MarkApplied) {
        refuse(changes.len() - 1, "does not write the hash of the applied stack last");
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::{Limit, Target};
    use rstest::rstest;

    use super::*;

    fn change(verb: Verb, mark: Mark, id: &str) -> ChangeInfo {
        ChangeInfo {
            summary: format!("{verb:?} {id}"),
            verb,
            mark,
            target: Target { kind: "Listener".into(), id: id.into() },
            cascade: vec![],
            limits: vec![],
            default_action: None,
        }
    }

    const PLAIN: LintContext = LintContext { keeps_hash: false, exists: false, removes: false };
    const EXISTING: LintContext = LintContext { keeps_hash: true, exists: true, removes: false };

    #[rstest]
    #[case(Verb::Create, Mark::New, true)]
    #[case(Verb::Create, Mark::Ours, false)]
    #[case(Verb::Update, Mark::Ours, true)]
    #[case(Verb::Update, Mark::UserNamed, true)]
    #[case(Verb::Update, Mark::Foreign, false)]
    #[case(Verb::Register, Mark::UserNamed, true)]
    #[case(Verb::Register, Mark::Foreign, false)]
    #[case(Verb::Deregister, Mark::Foreign, false)]
    #[case(Verb::Delete, Mark::Ours, true)]
    #[case(Verb::Delete, Mark::UserNamed, false)]
    #[case(Verb::Adopt, Mark::Peer, true)]
    #[case(Verb::Adopt, Mark::Foreign, false)]
    #[case(Verb::Adopt, Mark::Ours, false)]
    #[case(Verb::Update, Mark::Peer, false)]
    #[case(Verb::Delete, Mark::Peer, false)]
    #[case(Verb::Delete, Mark::Foreign, false)]
    #[case(Verb::MarkDirty, Mark::Foreign, false)]
    fn only_ours_is_touched(#[case] verb: Verb, #[case] mark: Mark, #[case] fine: bool) {
        assert_eq!(lint(&[change(verb, mark, "80")], PLAIN).is_empty(), fine);
    }

    #[test]
    fn limits_hold() {
        let mut c = change(Verb::Create, Mark::New, "80");
        c.limits = vec![Limit { name: "listeners-per-load-balancer".into(), after: 50, max: 50 }];
        assert!(lint(std::slice::from_ref(&c), PLAIN).is_empty());
        c.limits[0].after = 51;
        assert!(lint(&[c], PLAIN)[0].rule.contains("listeners-per-load-balancer"));
    }

    #[test]
    fn a_gap_must_be_said() {
        let silent = [change(Verb::Delete, Mark::Ours, "80"), change(Verb::Create, Mark::New, "80")];
        assert_eq!(lint(&silent, PLAIN).len(), 1);
        let other = [change(Verb::Delete, Mark::Ours, "80"), change(Verb::Create, Mark::New, "81")];
        assert!(lint(&other, PLAIN).is_empty());
        let said = [change(Verb::Replace { gap_seconds: 60, reason: "fixed name".into() }, Mark::Ours, "80")];
        assert!(lint(&said, PLAIN).is_empty());
    }

    #[test]
    fn cascades_and_default_actions() {
        let mut c = change(Verb::Delete, Mark::Ours, "lb");
        c.cascade = vec![Mark::Ours, Mark::Foreign];
        assert_eq!(lint(&[c], PLAIN).len(), 1);
        let mut c = change(Verb::Create, Mark::New, "80");
        c.default_action = Some(false);
        assert_eq!(lint(&[c], PLAIN).len(), 1);
    }

    #[test]
    fn dirty_first_hash_last() {
        let good = [
            change(Verb::MarkDirty, Mark::Ours, "lb"),
            change(Verb::Update, Mark::Ours, "80"),
            change(Verb::MarkApplied, Mark::Ours, "lb"),
        ];
        assert!(lint(&good, EXISTING).is_empty());
        assert_eq!(lint(&good[1..], EXISTING).len(), 1);
        assert_eq!(lint(&good[..2], EXISTING).len(), 1);
        assert!(
            lint(&[change(Verb::Register, Mark::Ours, "80")], EXISTING).is_empty(),
            "targets are not hashed"
        );
        assert!(
            lint(&[change(Verb::Delete, Mark::Ours, "lb")], LintContext { removes: true, ..EXISTING })
                .is_empty()
        );
        assert!(lint(&good[2..], EXISTING).is_empty(), "finishing what a crash left");
    }
}
