//! From one action to another without a gap. Pure.
//!
//! A target group that gets no share of a listener's traffic is not checked, so a new one is first attached with weight 0; once one of its targets is
//! healthy the weights are swapped; when the connections of the old one had time to end, it is detached.

use std::collections::{BTreeMap, BTreeSet};

use crate::stack::{
    Action, ElbProtocol, ForwardConfig, RedirectConfig, TargetGroupStickiness, TargetGroupTuple, Token,
};

/// Most target groups of one action.
pub const MOST_GROUPS: usize = 5;

/// The form in which two actions that do the same are equal: what AWS fills in is filled in.
#[must_use]
pub fn normal(action: &Action) -> Action {
    match action {
        Action::Forward(forward) => {
            let several = forward.target_groups.len() > 1;
            let mut target_groups: Vec<TargetGroupTuple> = forward
                .target_groups
                .iter()
                .map(|group| TargetGroupTuple {
                    target_group_arn: group.target_group_arn.clone(),
                    // The share of a single one is always the whole.
                    weight: Some(if several { group.weight.unwrap_or(1) } else { 1 }),
                })
                .collect();
            target_groups.sort();
            let stickiness = forward.stickiness.filter(|s| s.enabled == Some(true));
            Action::Forward(ForwardConfig {
                target_groups,
                stickiness: Some(
                    stickiness
                        .unwrap_or(TargetGroupStickiness { enabled: Some(false), duration_seconds: None }),
                ),
            })
        }
        Action::Redirect(redirect) => {
            let or =
                |value: &Option<String>, default: &str| Some(value.clone().unwrap_or(default.to_owned()));
            Action::Redirect(RedirectConfig {
                host: or(&redirect.host, "#{host}"),
                path: or(&redirect.path, "/#{path}"),
                port: or(&redirect.port, "#{port}"),
                protocol: or(&redirect.protocol, "#{protocol}"),
                query: or(&redirect.query, "#{query}"),
                status_code: redirect.status_code.clone(),
            })
        }
        Action::AuthenticateOidc(_) => {
            let mut action = action.clone();
            super::secrets::as_read(std::slice::from_mut(&mut action));
            action
        }
        other => other.clone(),
    }
}

/// Whether two lists of actions do the same.
#[must_use]
pub fn same(a: &[Action], b: &[Action]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| normal(a) == normal(b))
}

/// Whether a listener can send to a target group.
#[must_use]
pub fn compatible(listener: ElbProtocol, group: ElbProtocol) -> bool {
    use ElbProtocol::{Http, Https, Quic, Tcp, TcpQuic, TcpUdp, Tls, Udp};
    match listener {
        Http | Https => matches!(group, Http | Https),
        Tcp => matches!(group, Tcp | TcpUdp),
        Tls => matches!(group, Tcp | Tls),
        Udp => matches!(group, Udp | TcpUdp),
        TcpUdp => group == TcpUdp,
        Quic => matches!(group, Quic | TcpQuic),
        TcpQuic => group == TcpQuic,
    }
}

/// How far the way from one list of actions to another can be gone now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Actions to set now; `None`: they are as they must be for now.
    pub set: Option<Vec<Action>>,
    /// Target groups to wait for until they are healthy.
    pub healthy: BTreeSet<Token>,
    /// Target groups to wait for until their connections had time to end.
    pub drained: BTreeSet<Token>,
}

/// What is known of target groups.
pub struct Groups<'a> {
    /// Whether anything is known to be healthy in it, or nothing can be because it shall have no targets.
    pub ready: &'a dyn Fn(&Token) -> bool,
    /// Whether it had time to drain.
    pub drained: &'a dyn Fn(&Token) -> bool,
    /// Whether all of these can be attached together.
    pub together: &'a dyn Fn(&BTreeSet<Token>) -> bool,
}

fn forward(actions: &[Action]) -> Option<&ForwardConfig> {
    match actions.last() {
        Some(Action::Forward(forward)) => Some(forward),
        _ => None,
    }
}

fn weights(forward: &ForwardConfig) -> BTreeMap<Token, u16> {
    let several = forward.target_groups.len() > 1;
    let weight = |w: Option<u16>| if several { w.unwrap_or(1) } else { 1 };
    forward.target_groups.iter().map(|g| (g.target_group_arn.clone(), weight(g.weight))).collect()
}

/// What comes before the answer is as wanted at once, whatever becomes of the answer meanwhile.
#[must_use]
pub fn checked(want: &[Action], have: &[Action]) -> Vec<Action> {
    let before = want.iter().filter(|action| !action.is_final());
    before.chain(have.last().filter(|action| action.is_final())).cloned().collect()
}

/// The actions with other target groups.
fn with(actions: &[Action], groups: BTreeMap<Token, u16>) -> Vec<Action> {
    let mut actions = actions.to_vec();
    if let Some(Action::Forward(forward)) = actions.last_mut() {
        forward.target_groups = groups
            .into_iter()
            .map(|(target_group_arn, weight)| TargetGroupTuple { target_group_arn, weight: Some(weight) })
            .collect();
    }
    actions
}

/// The next step from `have` to `want`.
#[must_use]
pub fn step(want: &[Action], have: &[Action], groups: &Groups<'_>) -> Step {
    if same(want, have) {
        return Step::default();
    }
    let direct = Step { set: Some(want.to_vec()), ..Step::default() };
    let (Some(to), Some(from)) = (forward(want), forward(have)) else { return direct };
    let (to, from) = (weights(to), weights(from));
    let serving: BTreeSet<&Token> = from.iter().filter(|(_, w)| **w > 0).map(|(t, _)| t).collect();
    let unproven: BTreeSet<&Token> = to
        .iter()
        .filter(|(group, weight)| **weight > 0 && !serving.contains(group) && !(groups.ready)(group))
        .map(|(group, _)| group)
        .collect();
    let all: BTreeSet<Token> = to.keys().chain(from.keys()).cloned().collect();
    let too_many = all.len() > MOST_GROUPS;
    if serving.is_empty() || too_many || !(groups.together)(&all) {
        return direct;
    }
    if !unproven.is_empty() {
        // What is new comes along without a share.
        let mut first = from.clone();
        for group in to.keys() {
            first.entry(group.clone()).or_insert(0);
        }
        let actions = with(&checked(want, have), first);
        let set = (!same(&actions, have)).then_some(actions);
        return Step { set, healthy: unproven.into_iter().cloned().collect(), drained: BTreeSet::new() };
    }
    let leaving: BTreeSet<Token> =
        from.keys().filter(|g| !to.contains_key(*g) && !(groups.drained)(g)).cloned().collect();
    if leaving.is_empty() {
        return direct;
    }
    let mut swapped = to;
    swapped.extend(leaving.iter().map(|g| (g.clone(), 0)));
    let actions = with(want, swapped);
    let set = (!same(&actions, have)).then_some(actions);
    Step { set, healthy: BTreeSet::new(), drained: leaving }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(groups: &[(&str, u16)]) -> Vec<Action> {
        let tuple = |(arn, weight): &(&str, u16)| TargetGroupTuple {
            target_group_arn: Token::literal(*arn),
            weight: Some(*weight),
        };
        vec![Action::Forward(ForwardConfig {
            target_groups: groups.iter().map(tuple).collect(),
            stickiness: None,
        })]
    }

    fn at(want: &[Action], have: &[Action], ready: bool, drained: bool) -> Step {
        let groups = Groups { ready: &|_| ready, drained: &|_| drained, together: &|_| true };
        step(want, have, &groups)
    }

    #[test]
    fn attached_swapped_drained_detached() {
        let (old, new) = (action(&[("old", 1)]), action(&[("new", 1)]));
        let attached = action(&[("new", 0), ("old", 1)]);
        let swapped = action(&[("new", 1), ("old", 0)]);
        let healthy = BTreeSet::from([Token::literal("new")]);
        let leaving = BTreeSet::from([Token::literal("old")]);
        let first = at(&new, &old, false, false);
        assert!(same(first.set.as_deref().expect("attaches"), &attached));
        assert_eq!(first.healthy, healthy);
        assert_eq!(at(&new, &attached, false, false), Step { set: None, healthy, ..Step::default() });
        let second = at(&new, &attached, true, false);
        assert!(same(second.set.as_deref().expect("swaps"), &swapped));
        assert_eq!(second.drained, leaving);
        assert_eq!(at(&new, &swapped, true, false), Step { set: None, drained: leaving, ..Step::default() });
        let third = at(&new, &swapped, true, true);
        assert!(same(third.set.as_deref().expect("detaches"), &new) && third.drained.is_empty());
        assert_eq!(at(&new, &new, true, true), Step::default());
    }

    #[test]
    fn a_change_of_mind_half_way_goes_back() {
        let (old, attached) = (action(&[("old", 1)]), action(&[("new", 0), ("old", 1)]));
        let back = at(&old, &attached, false, false);
        assert_eq!(back.drained, BTreeSet::from([Token::literal("new")]));
        let back = at(&old, &attached, false, true);
        assert!(same(back.set.as_deref().expect("detaches"), &old));
    }

    #[test]
    fn weights_alone_change_at_once() {
        let (a, b) = (action(&[("x", 1), ("y", 1)]), action(&[("x", 1), ("y", 9)]));
        assert_eq!(at(&b, &a, false, false).set, Some(b));
    }

    #[test]
    fn six_cannot_be_attached_together() {
        let old = action(&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)]);
        let new = action(&[("f", 1)]);
        assert_eq!(at(&new, &old, false, false).set, Some(new));
    }

    #[test]
    fn what_aws_fills_in_is_no_difference() {
        assert!(same(&[Action::forward(Token::literal("x"))], &action(&[("x", 5)])));
        let redirect = |host: Option<&str>| {
            vec![Action::Redirect(RedirectConfig {
                host: host.map(str::to_owned),
                path: None,
                port: Some("443".to_owned()),
                protocol: None,
                query: None,
                status_code: "HTTP_301".to_owned(),
            })]
        };
        assert!(same(&redirect(None), &redirect(Some("#{host}"))));
        assert!(!same(&redirect(None), &redirect(Some("a"))));
    }
}
