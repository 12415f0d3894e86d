//! Rules of every listener, in order, within the quotas. Pure.
//!
//! Over all Ingresses of a listener: hosts first, then Exact before Prefix and longest first, then the rule with more conditions, then `group.order`, then the older
//! Ingress, then the order within the Ingress. The peer's order (`compat=lbc`) is `group.order`, then namespace and name, then that within the Ingress.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::Problem;

use super::group::Group;
use super::listeners::{Listener, Listeners};
use super::routes::{Rank, Routes};
use super::split::{redirects_all_of, redirects_to_itself, split};
use super::{limits, names};
use crate::facts::Facts;
use crate::stack::{
    Action, ElbProtocol, ListenerRuleSpec, RedirectConfig, ResourceType, RuleCondition, Tags, Token,
    Transform,
};

/// Reason of a problem with a rule that another one hides.
pub const HIDDEN: &str = "RouteConflict";
/// Reason of a problem with conditions that AWS cannot have in one rule.
pub const TOO_MANY_CONDITIONS: &str = "TooManyConditions";

/// A rule without its place.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    member: usize,
    field: String,
    conditions: Vec<RuleCondition>,
    actions: Vec<Action>,
    transforms: Vec<Transform>,
    rank: Rank,
}

impl Rule {
    /// It stands for a rule of an Ingress that is not served.
    fn is_placeholder(&self) -> bool {
        self.rank.3
    }
}

/// Whether a listener only redirects.
#[must_use]
pub fn only_redirects(listener: &Listener, redirect: Option<u16>) -> bool {
    redirect.is_some() && listener.protocol == ElbProtocol::Http
}

/// The redirect of a listener without TLS.
#[must_use]
pub fn to_https(port: u16) -> Action {
    Action::Redirect(RedirectConfig {
        host: None,
        path: None,
        port: Some(port.to_string()),
        protocol: Some("HTTPS".to_owned()),
        query: None,
        status_code: "HTTP_301".to_owned(),
    })
}

/// The rules of one member on one listener. Those that would redirect to themselves are left out, and those after one that redirects all of theirs.
fn of_member(
    group: &mut Group<'_>,
    member: usize,
    routes: &Routes,
    port: u16,
    protocol: ElbProtocol,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    // What decides is each route whole, before it is split.
    let mut whole: Vec<(Vec<RuleCondition>, Vec<Action>)> = Vec::new();
    for route in &routes.routes {
        let actions = route.outcome.actions(protocol == ElbProtocol::Https);
        if redirects_to_itself(port, protocol, &route.conditions, &actions)
            || whole.iter().any(|(c, a)| redirects_all_of((c, a), &route.conditions))
        {
            continue;
        }
        whole.push((route.conditions.clone(), actions.clone()));
        match split(route.conditions.clone()) {
            Ok(parts) => rules.extend(parts.into_iter().map(|conditions| Rule {
                member,
                field: route.field.clone(),
                conditions,
                actions: actions.clone(),
                transforms: route.transforms.clone(),
                rank: route.rank,
            })),
            Err(why) => {
                let problem = Problem::error(
                    group.members[member].object(),
                    route.field.clone(),
                    TOO_MANY_CONDITIONS,
                    format!("{why}; the path is not served"),
                );
                group.report(problem);
            }
        }
    }
    rules
}

/// What of the members' routes finds room.
pub struct Fitted {
    by_listener: BTreeMap<u16, Vec<Rule>>,
    /// Members whose default backends and target groups are used.
    pub members: BTreeSet<usize>,
}

/// Gives members room, oldest first; one for which there is none is not served. Those that are not served come last: their rules only say so.
pub fn fit(
    group: &mut Group<'_>,
    facts: &Facts,
    listeners: &Listeners,
    routes: &BTreeMap<usize, Routes>,
) -> Fitted {
    let mut fitted = Fitted { by_listener: BTreeMap::new(), members: BTreeSet::new() };
    let (most_rules, most_groups) = (limits::rules(facts), limits::target_groups(facts));
    let mut rules_used = 0;
    let mut groups_used: BTreeSet<&str> = BTreeSet::new();
    let mut order: Vec<usize> = routes.keys().copied().collect();
    order.sort_by_key(|i| (group.members[*i].refused, *i));
    for member in order {
        let refused = group.members[member].refused;
        let routes = &routes[&member];
        let mut rules: BTreeMap<u16, Vec<Rule>> = BTreeMap::new();
        for (port, listener) in &listeners.by_port {
            // One that is not served listens nowhere any more: its hosts say so wherever they are asked for.
            let listens = listener.members.contains(&member) || refused;
            if listens && !only_redirects(listener, listeners.redirect) {
                rules.insert(*port, of_member(group, member, routes, *port, listener.protocol));
            }
        }
        let more = rules.values().map(Vec::len).sum::<usize>() as u64;
        let mut groups: BTreeSet<&str> = routes.target_groups.keys().map(String::as_str).collect();
        groups.extend(&groups_used);
        let over = if rules_used + more > most_rules {
            Some((
                limits::RULES,
                most_rules,
                format!("of {more} rules of this object none is made, it is not served"),
            ))
        } else if groups.len() as u64 > most_groups {
            Some((limits::TARGET_GROUPS, most_groups, "this object is not served".to_owned()))
        } else {
            None
        };
        if let Some((quota, most, so)) = over {
            if !refused {
                let problem = Problem::error(
                    group.members[member].object(),
                    "spec.rules",
                    limits::TOO_MANY,
                    limits::explain(quota, most, &so),
                );
                group.refuse(member, problem);
            }
            continue;
        }
        rules_used += more;
        groups_used = groups;
        for (port, more) in rules {
            fitted.by_listener.entry(port).or_default().extend(more);
        }
        if !refused {
            fitted.members.insert(member);
        }
    }
    fitted
}

/// The rules of the stack.
pub fn build(
    group: &mut Group<'_>,
    facts: &Facts,
    listeners: &Listeners,
    fitted: Fitted,
) -> BTreeMap<String, ListenerRuleSpec> {
    let mut out = BTreeMap::new();
    let mut tags: BTreeMap<usize, Tags> = BTreeMap::new();
    let there = fitted.by_listener.into_iter().filter(|(port, _)| listeners.by_port.contains_key(port));
    for (port, mut rules) in there {
        if facts.options.like_lbc() {
            let place = |m: usize| (group.members[m].order, group.members[m].path());
            rules.sort_by_cached_key(|rule| place(rule.member));
        } else {
            rules.sort_by(|a, b| (&a.rank, a.member).cmp(&(&b.rank, b.member)));
        }
        let rules = without_hidden(group, rules, facts.options.like_lbc());
        for (priority, rule) in (1u32..).zip(rules) {
            let tags = tags.entry(rule.member).or_insert_with(|| {
                let joined = &group.members[rule.member];
                let (object, own) = (joined.object(), joined.tags());
                let field = joined.settings.field(&crate::annotations::ingress::TAGS);
                group.merged(&facts.options, &object, &field, own)
            });
            out.insert(
                names::rule(port, priority),
                ListenerRuleSpec {
                    listener_arn: Token::of(ResourceType::Listener, port.to_string()),
                    priority,
                    actions: rule.actions,
                    conditions: rule.conditions,
                    transforms: rule.transforms,
                    tags: tags.clone(),
                },
            );
        }
    }
    out
}

/// Without rules that an earlier one with the same conditions hides. The owner of such a rule is told, if it would do something else.
fn without_hidden(group: &mut Group<'_>, rules: Vec<Rule>, like_lbc: bool) -> Vec<Rule> {
    if like_lbc {
        return rules;
    }
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    let mut by_conditions: BTreeMap<Vec<RuleCondition>, usize> = BTreeMap::new();
    for rule in rules {
        let mut key = rule.conditions.clone();
        key.sort();
        let Some(&first) = by_conditions.get(&key) else {
            by_conditions.insert(key, kept.len());
            kept.push(rule);
            continue;
        };
        let holder = &kept[first];
        let same = (&holder.actions, &holder.transforms) == (&rule.actions, &rule.transforms);
        if same || rule.is_placeholder() {
            continue;
        }
        let who = if holder.member == rule.member {
            format!("{} of this object", holder.field)
        } else {
            format!("{}, which shares this load balancer,", group.members[holder.member].member.object)
        };
        let why = format!(
            "it is not served: {who} has the same host, path and conditions and comes first; remove one of the two, or set group.order"
        );
        let problem = Problem::warning(group.members[rule.member].object(), rule.field.clone(), HIDDEN, why);
        group.report(problem);
    }
    kept
}
