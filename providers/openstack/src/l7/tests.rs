//! What a stack does with requests, tried as Octavia tries policies: redirects first, then pools by position, then the default pool.

use std::collections::BTreeMap;

use causeway_api::PathMatch::{Exact, ImplementationSpecific, Prefix};
use causeway_api::{Family, PathMatch, Severity};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use regex_lite::Regex;

use super::{HTTP, HTTPS, UNAVAILABLE};
use crate::fixtures::{Ing, backend, desired_lb, facts_with, ingress, of_ingresses};
use crate::stack::{CompareType, L7RuleSpec, OctaviaStack, PolicyAction, ResourceType, RuleType, Token};

/// Where a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ends {
    Pool(String),
    Redirect(String),
    Nowhere,
}

fn keeps(rule: &L7RuleSpec, host: &str, path: &str) -> bool {
    let text = if rule.kind == RuleType::HostName { host } else { path };
    let found = match rule.compare_type {
        CompareType::EqualTo => rule.value == text,
        CompareType::StartsWith => text.starts_with(&rule.value),
        CompareType::Regex => Regex::new(&rule.value).expect("a regular expression").is_match(text),
    };
    found != rule.invert
}

fn ends(stack: &OctaviaStack, listener: &str, host: &str, path: &str) -> Ends {
    let own = Token::of(ResourceType::Listener, listener);
    let mut policies: Vec<_> = stack.l7_policies.iter().filter(|(_, p)| p.listener_id == own).collect();
    policies.sort_by_key(|(_, p)| (matches!(p.action, PolicyAction::RedirectToPool { .. }), p.position));
    let taken = policies.into_iter().find(|(id, _)| {
        let policy = Token::of(ResourceType::L7Policy, id.as_str());
        let mut rules = stack.l7_rules.values().filter(|r| r.l7policy_id == policy).peekable();
        rules.peek().is_some() && rules.all(|r| keeps(r, host, path))
    });
    let pool = |token: &Token| match token {
        Token::Ref { id, .. } => Ends::Pool(id.clone()),
        Token::Literal(id) => Ends::Pool(id.clone()),
    };
    match taken.map(|(_, p)| &p.action) {
        Some(PolicyAction::RedirectToPool { redirect_pool_id }) => pool(redirect_pool_id),
        Some(PolicyAction::RedirectPrefix { redirect_prefix, .. }) => Ends::Redirect(redirect_prefix.clone()),
        None => stack.listeners[listener].default_pool_id.as_ref().map_or(Ends::Nowhere, pool),
    }
}

fn web() -> causeway_api::Backend {
    backend("web", 80, Some(30080))
}

fn api() -> causeway_api::Backend {
    backend("api", 80, Some(30081))
}

fn pool(name: &str) -> Ends {
    Ends::Pool(format!("shop/{name}:80"))
}

#[test]
fn a_missing_backend_answers_503_and_nobody_else_gets_its_requests() {
    let one = ingress("one").route("shop.example", "/gone", Prefix, backend("gone", 80, None)).route(
        "shop.example",
        "/",
        Prefix,
        web(),
    );
    let (stack, _) = desired_lb(&facts_with(&[]), &of_ingresses(&[one]));
    assert_eq!(ends(&stack, HTTP, "shop.example", "/gone/x"), Ends::Pool(UNAVAILABLE.to_owned()));
    assert_eq!(ends(&stack, HTTP, "shop.example:8080", "/gonex"), pool("web"));
    assert!(!stack.members.contains_key(UNAVAILABLE) && stack.pools.contains_key(UNAVAILABLE));
}

#[test]
fn a_redirect_takes_nothing_that_a_more_precise_route_serves() {
    let one = ingress("one").created(1).route("shop.example", "/.well-known/acme", Exact, api());
    let one = one.annotation("causeway.io/ssl-redirect", "false");
    let two = ingress("two").created(2).tls("shop.example", "tls").route("shop.example", "/", Prefix, web());
    let (stack, problems) = desired_lb(&facts_with(&[]), &of_ingresses(&[one, two]));
    assert_eq!(problems, []);
    assert_eq!(ends(&stack, HTTP, "shop.example", "/.well-known/acme"), pool("api"));
    assert_eq!(
        ends(&stack, HTTP, "shop.example", "/cart"),
        Ends::Redirect("https://shop.example".to_owned())
    );
    assert_eq!(ends(&stack, HTTPS, "shop.example", "/.well-known/acme"), pool("api"));
    assert_eq!(ends(&stack, HTTPS, "shop.example", "/cart"), pool("web"));
}

#[test]
fn an_ingress_that_is_not_served_in_a_group_answers_503() {
    let good = ingress("good").created(1).route("a.example", "/", Prefix, web());
    let bad =
        ingress("bad").created(2).route("b.example", "/", Prefix, api()).annotation("internal", "maybe");
    let (stack, problems) = desired_lb(&facts_with(&[]), &of_ingresses(&[good, bad]));
    assert_eq!(ends(&stack, HTTP, "a.example", "/"), pool("web"));
    assert_eq!(ends(&stack, HTTP, "b.example", "/"), Ends::Pool(UNAVAILABLE.to_owned()));
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Error));
    assert!(stack.told[1].refused && !stack.frozen);
}

#[test]
fn nodes_with_ipv6_only_are_reached_by_it() {
    let mut lb = of_ingresses(&[ingress("six").route("", "/", Prefix, web())]);
    let mut nodes = (*lb.nodes).clone();
    nodes.nodes.iter_mut().for_each(|n| n.addresses.retain(|a| Family::of(a) == Family::V6));
    lb.nodes = nodes.into();
    let (stack, problems) = desired_lb(&facts_with(&[]), &lb);
    assert_eq!(problems, []);
    let members = &stack.members["shop/web:80"];
    assert!(members.len() == 2 && members.values().all(|m| m.address.is_ipv6()));
    assert_eq!(stack.load_balancer.and_then(|lb| lb.vip_subnet_id).as_deref(), Some("k8s-subnet-v6"));
}

const HOSTS: &[&str] = &["", "a.example", "b.example", "*.example", "x.a.example"];
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/ab", "/a.b"];

#[derive(Clone, Debug)]
struct Spec {
    host: &'static str,
    path: &'static str,
    matching: PathMatch,
    redirect: bool,
}

fn routes() -> impl Strategy<Value = Vec<Spec>> {
    let route =
        (select(HOSTS), select(PATHS), select(&[Exact, Prefix, ImplementationSpecific][..]), any::<bool>());
    prop::collection::vec(route, 1..8).prop_map(|all| {
        let mut out: Vec<Spec> = Vec::new();
        for (host, path, matching, redirect) in all {
            let significant = |s: &Spec| (s.host, s.path.trim_end_matches('/'), s.matching == Exact);
            let spec = Spec { host, path, matching, redirect };
            if !out.iter().any(|s| significant(s) == significant(&spec)) {
                out.push(spec);
            }
        }
        // The order of precedence, which is not decided here.
        out.sort_by_key(|s| {
            let host = if s.host.is_empty() { 2 } else { u8::from(s.host.starts_with('*')) };
            let length = if s.matching == Exact { s.path.len() } else { s.path.trim_end_matches('/').len() };
            (host, s.host, s.matching != Exact, std::cmp::Reverse(length))
        });
        out
    })
}

fn host_is(of: &str, host: &str) -> bool {
    match of.strip_prefix("*.") {
        _ if of.is_empty() => true,
        Some(rest) => host.split_once('.').is_some_and(|(first, tail)| tail == rest && !first.is_empty()),
        None => of == host,
    }
}

fn path_is(of: &str, matching: PathMatch, path: &str) -> bool {
    if matching == Exact {
        return of == path;
    }
    let steps = |p: &str| p.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    steps(path).starts_with(&steps(of))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// HTTPS is the first route that fits; HTTP the same, or the redirect where that route is redirected.
    #[test]
    fn requests_end_where_the_rules_of_ingresses_say(
        specs in routes(),
        host in select(&["a.example", "b.example", "c.example", "x.a.example", "other"][..]),
        path in select(&["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/axb", "/a.b", "/z"][..]),
        port in select(&["", ":80", ":8443"][..]),
    ) {
        // One Ingress for each route, so that each has its own wish; all hosts have a certificate.
        let ingresses: Vec<Ing> = specs.iter().enumerate().map(|(n, s)| {
            ingress(&format!("i{n}"))
                .created(i64::try_from(n).expect("few"))
                .route(s.host, s.path, s.matching, backend(&format!("s{n}"), 80, Some(30000)))
                .tls(s.host, "tls")
                .annotation("causeway.io/ssl-redirect", if s.redirect { "true" } else { "false" })
        }).collect();
        let (stack, _) = desired_lb(&facts_with(&[]), &of_ingresses(&ingresses));
        let fits = |s: &&Spec| host_is(s.host, host) && path_is(s.path, s.matching, path);
        let first = specs.iter().position(|s| fits(&s));
        let want = first.map_or(Ends::Nowhere, |n| pool(&format!("s{n}")));
        let header = format!("{host}{port}");
        prop_assert_eq!(ends(&stack, HTTPS, &header, path), want.clone());

        let precise = |s: &Spec| !s.host.is_empty() && !s.host.starts_with('*');
        let own: Vec<&Spec> = specs.iter().filter(|s| s.host == host).collect();
        // A host all of whose routes are redirected is redirected whole.
        let whole = !own.is_empty() && own.iter().all(|s| s.redirect);
        let redirected = whole || first.is_some_and(|n| precise(&specs[n]) && specs[n].redirect);
        let want = if redirected { Ends::Redirect(format!("https://{host}")) } else { want };
        prop_assert_eq!(ends(&stack, HTTP, &header, path), want);
    }

    #[test]
    fn stacks_are_sound_and_the_same_again(specs in routes(), bad in subsequence(vec![0usize, 1, 2], 0..=3)) {
        let ingresses: Vec<Ing> = specs.iter().enumerate().map(|(n, s)| {
            let one = ingress(&format!("i{n}")).created(i64::try_from(n).expect("few"))
                .route(s.host, s.path, s.matching, backend(&format!("s{n}"), 80, Some(30000)));
            if bad.contains(&n) { one.annotation("internal", "maybe") } else { one }
        }).collect();
        let lb = of_ingresses(&ingresses);
        let (stack, problems) = desired_lb(&facts_with(&[]), &lb);
        prop_assert_eq!(desired_lb(&facts_with(&[]), &lb), (stack.clone(), problems.clone()));
        let mut positions: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for policy in stack.l7_policies.values() {
            positions.entry(format!("{:?}", policy.listener_id)).or_default().push(policy.position);
        }
        for mut all in positions.into_values() {
            all.sort_unstable();
            prop_assert!(all.iter().enumerate().all(|(n, p)| *p as usize == n + 1));
        }
        prop_assert!(stack.l7_rules.values().all(|r| r.value.chars().count() <= 255));
        prop_assert_eq!(problems.len(), bad.iter().filter(|n| **n < specs.len()).count());
    }
}
