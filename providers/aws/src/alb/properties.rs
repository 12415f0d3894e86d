//! Properties of ALB stacks: against a matcher written after the words of the Ingress API alone.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::PathMatch::{self, Exact, Prefix};
use causeway_api::Severity;
use proptest::prelude::*;

use super::fixtures::{Ing, desired, desired_with, ingress};
use super::simulate::{Request, answer};
use super::split::MOST_VALUES;
use crate::fixtures::facts_with;
use crate::stack::{AwsStack, RuleCondition};

const HOSTS: &[&str] = &["", "a.example", "b.example", "x.a.example", "*.example", "*.a.example", "intranet"];
const REQUEST_HOSTS: &[&str] = &[
    "a.example",
    "b.example",
    "c.example",
    "x.a.example",
    "y.a.example",
    "x.y.a.example",
    "intranet",
    "example",
];
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/a*", "/x=1", "/b"];
const REQUEST_PATHS: &[&str] = &[
    "/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/ab", "/abc", "/a*", "/a*/z", "/ax", "/x=1",
    "/x=1/y", "/b", "/zz",
];

/// One path of an Ingress: host, path, how it matches, Service.
type PathSpec = (usize, usize, bool, u8);

#[derive(Clone, Debug)]
struct Plan {
    age: i64,
    order: i32,
    paths: Vec<PathSpec>,
    default: Option<u8>,
    scheme: Option<bool>,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let path = (0..HOSTS.len(), 0..PATHS.len(), any::<bool>(), 0u8..20);
    let plan = (
        0i64..3,
        -1i32..2,
        prop::collection::vec(path, 0..5),
        prop::option::of(0u8..20),
        prop::option::of(any::<bool>()),
    )
        .prop_map(|(age, order, paths, default, scheme)| Plan { age, order, paths, default, scheme });
    prop::collection::vec(plan, 1..5)
}

fn kind(exact: bool) -> PathMatch {
    if exact { Exact } else { Prefix }
}

fn build(plans: &[Plan], with_schemes: bool) -> Vec<Ing> {
    let one = |(i, plan): (usize, &Plan)| {
        let mut built =
            ingress(&format!("i{i}")).created(plan.age).annotation("group.order", &plan.order.to_string());
        for (host, path, exact, service) in &plan.paths {
            built = built.path(HOSTS[*host], PATHS[*path], kind(*exact), &format!("s{service}"));
        }
        if let Some(service) = plan.default {
            built = built.default_backend(&format!("s{service}"));
        }
        match plan.scheme {
            Some(public) if with_schemes => {
                built.annotation("scheme", if public { "internet-facing" } else { "internal" })
            }
            _ => built,
        }
    };
    plans.iter().enumerate().map(one).collect()
}

/// How well a host of an Ingress fits a request's: precise 2 + …, wildcard of one label 1, none 0.
fn host_fit(host: &str, asked: &str) -> Option<(u8, usize)> {
    if host.is_empty() {
        return Some((0, 0));
    }
    match host.strip_prefix("*.") {
        Some(parent) => {
            let (label, rest) = asked.split_once('.')?;
            (rest == parent && !label.is_empty()).then_some((1, host.len()))
        }
        None => (host == asked).then_some((2, 0)),
    }
}

/// How well a path fits: the elements of the Ingress's path that the request's begins with, and Exact before Prefix.
fn path_fit(path: &str, exact: bool, asked: &str) -> Option<(bool, usize)> {
    if exact {
        return (path == asked).then_some((true, path.len()));
    }
    let elements: Vec<&str> = path.split('/').filter(|e| !e.is_empty()).collect();
    let got: Vec<&str> = asked.split('/').filter(|e| !e.is_empty()).collect();
    got.starts_with(&elements).then_some((false, elements.iter().map(|e| e.len() + 1).sum()))
}

/// How well host and path fit, the order of the Ingress, the Service.
type Best = ((u8, usize), (bool, usize), i32, u8);

/// Where a request goes by the Ingress API, `group.order`, and age.
fn reference(members: &[Plan], host: &str, path: &str) -> String {
    let mut by_age: Vec<(usize, &Plan)> = members.iter().enumerate().collect();
    by_age.sort_by_key(|(i, plan)| (plan.age, *i));
    let mut best: Option<Best> = None;
    for (_, plan) in &by_age {
        for (h, p, exact, service) in &plan.paths {
            let (Some(host), Some(path)) = (host_fit(HOSTS[*h], host), path_fit(PATHS[*p], *exact, path))
            else {
                continue;
            };
            let better = best.is_none_or(|(bh, bp, order, _)| (host, path, -plan.order) > (bh, bp, -order));
            if better {
                best = Some((host, path, plan.order, *service));
            }
        }
    }
    match best {
        Some((.., service)) => format!("s{service}"),
        None => {
            by_age.iter().find_map(|(_, p)| p.default).map_or_else(|| "404".to_owned(), |s| format!("s{s}"))
        }
    }
}

fn request<'a>(host: &'a str, path: &'a str) -> Request<'a> {
    Request { host, path, headers: BTreeMap::new() }
}

fn check_shape(stack: &AwsStack) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for (id, rule) in &stack.listener_rules {
        prop_assert_eq!(id, &format!("{}:{}", id.split(':').next().unwrap_or_default(), rule.priority));
        prop_assert!(seen.insert((rule.listener_arn.clone(), rule.priority)), "priority twice: {}", id);
        prop_assert!((1..=50_000).contains(&rule.priority));
        prop_assert!(!rule.conditions.is_empty());
        let values: usize = rule.conditions.iter().map(RuleCondition::len).sum();
        prop_assert!(values <= MOST_VALUES, "{} values: {:?}", values, rule.conditions);
        prop_assert_eq!(rule.actions.iter().filter(|a| a.is_final()).count(), 1);
    }
    for listener in stack.listeners.values() {
        prop_assert_eq!(listener.default_actions.iter().filter(|a| a.is_final()).count(), 1);
    }
    for id in stack.bindings.keys() {
        prop_assert!(stack.target_groups.contains_key(id) && stack.targets.contains_key(id));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn rules_send_requests_where_the_ingress_api_says(plans in plans()) {
        let (stack, problems) = desired(&build(&plans, false));
        prop_assert!(problems.iter().all(|p| p.severity == Severity::Warning), "{:?}", problems);
        check_shape(&stack)?;
        for host in REQUEST_HOSTS {
            for path in REQUEST_PATHS {
                let got = answer(&stack, 80, &request(host, path));
                prop_assert_eq!(&got, &reference(&plans, host, path), "{}{}", host, path);
            }
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(plans in plans(), turn in 0usize..4) {
        let members = build(&plans, true);
        let (want, want_problems) = desired(&members);
        let mut turned = members.clone();
        let by = turn % turned.len();
        turned.rotate_left(by);
        turned.reverse();
        // One member alone has another key.
        let (got, got_problems) = desired(&turned);
        prop_assert_eq!(got.applied(), want.applied());
        prop_assert_eq!((got, got_problems), (want, want_problems));
    }

    /// Whatever is wrong with one member, and however old it is: what the others' hosts answer stays the same, apart from what the bad one has there itself.
    #[test]
    fn a_bad_member_changes_nothing_for_others(plans in plans(), wrong in 0usize..BAD.len(), age in -1i64..4) {
        let good = build(&plans, false);
        let (before, _) = desired(&good);
        let (key, value) = BAD[wrong];
        let bad = ingress("bad").created(age).annotation(key, value)
            .path("bad.example", "/", Prefix, "s1")
            .path("a.example", "/a", Prefix, "s2")
            .path("", "/", Prefix, "s3")
            .default_backend("s4");
        let mut all = good.clone();
        all.push(bad);
        let (after, problems) = desired(&all);
        check_shape(&after)?;
        prop_assert!(problems.iter().any(|p| p.object.name == "bad" && p.severity == Severity::Error), "{:?}", problems);
        let rules = |stack: &AwsStack| -> Vec<_> {
            let all = stack.listener_rules.values();
            // What the bad one's hosts answer is an error.
            let own = |r: &&crate::stack::ListenerRuleSpec| !format!("{:?}", r.actions).contains("Backend is not available");
            all.filter(own).map(|r| (r.conditions.clone(), r.actions.clone(), r.tags.clone())).collect()
        };
        let sorted = |mut all: Vec<_>| { all.sort(); all };
        if good.len() > 1 {
            prop_assert_eq!(sorted(rules(&after)), sorted(rules(&before)));
            prop_assert_eq!(&after.load_balancers, &before.load_balancers);
            prop_assert_eq!(&after.target_groups, &before.target_groups);
            prop_assert_eq!(&after.security_groups, &before.security_groups);
        }
        prop_assert_eq!(answer(&after, 80, &request("bad.example", "/")), "503");
    }

    /// As the peer orders: shape only.
    #[test]
    fn shapes_hold_in_the_peers_order_too(plans in plans()) {
        let members = build(&plans, true);
        let (stack, _) = desired_with(&facts_with(&[("compat", "lbc")]), &members);
        check_shape(&stack)?;
    }
}

/// Annotations of which each keeps an Ingress from being served.
const BAD: &[(&str, &str)] = &[
    ("scheme", "public"),
    ("target-type", "lambda"),
    ("listen-ports", "80"),
    ("subnets", "subnet-nowhere"),
    ("security-groups", "sg-nowhere"),
    ("inbound-cidrs", "10.0.0.1"),
    ("conditions.s1", "{"),
    ("auth-type", "ldap"),
    ("wafv2-acl-arn", "acl"),
    ("backend-protocol", "SPDY"),
    ("mutual-authentication", r#"[{"port":443,"mode":"verify","trustStore":"nobody"}]"#),
];
