//! Single decisions about ALBs; whole stacks are in the golden cases of `tests/aws_ingress`.

use std::collections::BTreeMap;

use causeway_api::PathMatch::{Exact, ImplementationSpecific, Prefix};
use causeway_api::{LbKey, Owner, Problem, References, Severity};
use rstest::rstest;
use serde_json::json;

use super::fixtures::{Ing, backend, desired, desired_with, ingress};
use super::simulate::{Request, actions, answer};
use super::{key, references};
use crate::fixtures::facts_with;
use crate::stack::{Action, AwsStack, PortOrName, Scheme};

fn ask(stack: &AwsStack, port: u16, host: &str, path: &str) -> String {
    answer(stack, port, &Request { host, path, headers: BTreeMap::new() })
}

fn says<'p>(problems: &'p [Problem], object: &str, reason: &str) -> &'p Problem {
    let found = problems.iter().find(|p| p.object.name == object && p.reason == reason);
    found.unwrap_or_else(|| panic!("{object} is not told {reason}: {problems:#?}"))
}

fn shop() -> Ing {
    ingress("shop").path("shop.example", "/", Prefix, "s1")
}

#[rstest]
#[case::alone(ingress("a"), "shop/a")]
#[case::annotation(ingress("a").annotation("group.name", "front"), "shop/front")]
#[case::wrong_name(ingress("a").annotation("group.name", "Front"), "shop/a")]
#[case::class_group(ingress("a").parameters("p", Some(json!({"group": {"name": "all"}}))), "all")]
#[case::class_group_wins(ingress("a").annotation("group.name", "front").parameters("p", Some(json!({"group": {"name": "all"}}))), "all")]
#[case::selected_namespaces(ingress("a").annotation("group.name", "front").parameters("p", Some(json!({"namespaceSelector": {}}))), "p:front")]
#[case::all_namespaces_by_default(ingress("a").annotation("group.name", "front").parameters("p", Some(json!({}))), "shop/front")]
#[case::not_selected(ingress("a").annotation("group.name", "front").parameters("p", Some(json!({"namespaceSelector": {"matchLabels": {"x": "y"}}}))), "shop/front")]
fn groups(#[case] member: Ing, #[case] want: &str) {
    let found = key(&member.0, false);
    assert_eq!(found.id(), want);
    let own = matches!(found.owner, Owner::Object(_));
    assert_eq!(own, want == "shop/a");
}

#[test]
fn the_peers_groups_are_the_clusters() {
    let member = ingress("a").annotation("group.name", "front");
    assert_eq!(key(&member.0, true), LbKey::group(causeway_api::Layer::L7, "front"));
    let other = member.clone().namespace("other", &[]);
    assert_ne!(key(&member.0, false), key(&other.0, false), "one tenant could take another's host");
}

#[test]
fn what_annotations_refer_to() {
    let member = ingress("a")
        .annotation("actions.x", r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"b","servicePort":"http","weight":1},{"targetGroupARN":"arn","weight":1}]}}"#)
        .annotation("actions.wrong", "{")
        .annotation("auth-idp-oidc", r#"{"issuer":"https://i","authorizationEndpoint":"https://a","tokenEndpoint":"https://t","userInfoEndpoint":"https://u","secretName":"idp"}"#)
        .annotation("target-type", "instance");
    let want = References {
        services: [("b".to_owned(), "http".to_owned())].into(),
        secrets: ["idp".to_owned()].into(),
        endpoints: true,
    };
    assert_eq!(references(&member.0.annotations), want);
    assert!(references(&BTreeMap::new()).endpoints, "a Service may say ip, whatever the Ingress says");
}

#[test]
fn alone_a_wrong_ingress_leaves_its_load_balancer_as_it_is() {
    for (annotation, value) in [("scheme", "public"), ("subnets", "subnet-x"), ("security-groups", "nobody")]
    {
        let (stack, problems) = desired(&[shop().annotation(annotation, value)]);
        assert!(stack.frozen && stack.is_empty(), "{annotation}");
        let problem = problems.iter().find(|p| p.severity == Severity::Error).expect("an error");
        assert!(problem.field.contains(annotation), "{problem}");
    }
}

#[test]
fn a_missing_backend_is_an_error_for_its_path_only() {
    let (stack, _) = desired(&[shop().path("shop.example", "/gone", Prefix, "gone")]);
    assert_eq!(ask(&stack, 80, "shop.example", "/gone/x"), "503");
    assert_eq!(ask(&stack, 80, "shop.example", "/"), "s1");
    let options = facts_with(&[("tolerate-non-existent-backend-service", "false")]);
    let (stack, _) = desired_with(&options, &[shop().path("shop.example", "/gone", Prefix, "gone")]);
    assert_eq!(ask(&stack, 80, "shop.example", "/gone/x"), "s1", "the rule is not made");
}

#[test]
fn a_wrong_service_is_an_error_for_its_paths_only() {
    let mut wrong = backend("s2");
    wrong.annotations.insert("alb.ingress.kubernetes.io/target-type".to_owned(), "lambda".to_owned());
    let (stack, problems) = desired(&[shop().to("shop.example", "/two", Prefix, wrong)]);
    assert_eq!(
        (ask(&stack, 80, "shop.example", "/two"), ask(&stack, 80, "shop.example", "/")),
        ("503".to_owned(), "s1".to_owned())
    );
    assert_eq!(says(&problems, "s2", "InvalidAnnotation").object.kind.as_str(), "Service");
}

#[test]
fn who_would_be_opened_wider_is_not_served_and_the_others_are() {
    let first = ingress("first")
        .created(1)
        .path("a.example", "/", Prefix, "s1")
        .annotation("scheme", "internet-facing");
    let second =
        ingress("second").created(2).path("b.example", "/", Prefix, "s2").annotation("scheme", "internal");
    let third = ingress("third")
        .created(3)
        .path("c.example", "/", Prefix, "s3")
        .annotation("load-balancer-name", "mine");
    let (stack, problems) = desired(&[third, second, first]);
    assert_eq!(stack.load_balancers["LoadBalancer"].scheme, Scheme::InternetFacing);
    let hosts = ["a.example", "b.example", "c.example"].map(|h| ask(&stack, 80, h, "/"));
    assert_eq!(hosts, ["s1", "503", "s3"]);
    let told = says(&problems, "second", "ConflictingAnnotation");
    assert!(told.severity == Severity::Error && told.message.contains("first"), "{told}");
    assert_eq!(stack.members.iter().map(|m| m.object.name.as_str()).collect::<Vec<_>>(), ["first", "third"]);
}

#[test]
fn the_oldest_decides_where_nothing_is_opened() {
    let first =
        ingress("first").created(1).path("a.example", "/", Prefix, "s1").annotation("scheme", "internal");
    let second = ingress("second")
        .created(2)
        .path("b.example", "/", Prefix, "s2")
        .annotation("scheme", "internet-facing");
    let (stack, problems) = desired(&[first, second]);
    assert_eq!(stack.load_balancers["LoadBalancer"].scheme, Scheme::Internal);
    assert_eq!(ask(&stack, 80, "b.example", "/"), "s2");
    assert_eq!(says(&problems, "second", "ConflictingAnnotation").severity, Severity::Warning);
    let lbc = facts_with(&[("compat", "lbc")]);
    let bad = ingress("second").created(2).annotation("scheme", "nowhere");
    let (stack, _) = desired_with(&lbc, &[shop().created(1), bad]);
    assert!(stack.frozen, "the peer changes nothing of such a group");
}

#[test]
fn clients_of_one_port_only_decide_for_that_port() {
    let a = ingress("a")
        .created(1)
        .path("a.example", "/", Prefix, "s1")
        .annotation("inbound-cidrs", "10.0.0.0/8");
    let b = ingress("b")
        .created(2)
        .path("b.example", "/", Prefix, "s2")
        .annotation("listen-ports", r#"[{"HTTP": 81}]"#)
        .annotation("inbound-cidrs", "192.168.0.0/16");
    let c =
        ingress("c").created(3).path("c.example", "/", Prefix, "s3").annotation("inbound-cidrs", "0.0.0.0/0");
    let (stack, problems) = desired(&[a, b, c]);
    let rules: Vec<(u16, &str)> = stack.security_groups["ManagedLBSecurityGroup"]
        .ingress
        .iter()
        .map(|r| (r.from_port.unwrap_or(0), r.ip_ranges[0].cidr.as_str()))
        .collect();
    assert_eq!(rules, [(80, "10.0.0.0/8"), (81, "192.168.0.0/16")]);
    assert_eq!(problems.iter().filter(|p| p.severity == Severity::Error).count(), 1);
    assert_eq!(ask(&stack, 80, "c.example", "/"), "503");
    assert_eq!(ask(&stack, 81, "b.example", "/"), "s2");
}

#[test]
fn a_port_with_two_protocols_is_the_olders() {
    let a = ingress("a").created(1).path("a.example", "/", Prefix, "s1");
    let b = ingress("b")
        .created(2)
        .path("b.example", "/", Prefix, "s2")
        .annotation("certificate-arn", "arn:c")
        .annotation("listen-ports", r#"[{"HTTPS": 80}, {"HTTPS": 443}]"#);
    let (stack, problems) = desired(&[a, b]);
    says(&problems, "b", "PortConflict");
    assert_eq!(
        (ask(&stack, 80, "b.example", "/"), ask(&stack, 443, "b.example", "/")),
        ("404".to_owned(), "s2".to_owned())
    );
    let ports: Vec<(u16, bool)> =
        stack.members[1].ports.iter().map(|p| (p.port, p.error.is_some())).collect();
    assert_eq!(ports, [(443, false), (80, true)]);
}

#[test]
fn the_quota_of_rules_is_the_oldest_members_first() {
    let paths = |name: &str, age, count: usize| {
        (0..count).fold(ingress(name).created(age), |i, n| i.path("", &format!("/{name}{n}"), Exact, "s1"))
    };
    let (stack, problems) = desired(&[paths("old", 1, 60), paths("mid", 2, 50), paths("new", 3, 40)]);
    assert_eq!(stack.listener_rules.len(), 100);
    let told = says(&problems, "mid", "QuotaExceeded");
    assert!(told.message.contains("rules-per-application-load-balancer of 100"), "{told}");
    assert!(!problems.iter().any(|p| p.object.name == "new"), "it fits");
    assert_eq!(ask(&stack, 80, "x", "/mid0"), "404");
}

#[test]
fn rules_count_on_every_listener() {
    let many = (0..60)
        .fold(ingress("many").annotation("listen-ports", r#"[{"HTTP": 80}, {"HTTP": 81}]"#), |i, n| {
            i.path("", &format!("/{n}"), Exact, "s1")
        });
    let (stack, problems) = desired(&[many]);
    assert!(stack.frozen);
    says(&problems, "many", "QuotaExceeded");
}

#[test]
fn many_hosts_of_a_condition_become_several_rules() {
    let hosts: Vec<String> = (0..7).map(|n| format!("\"h{n}.example\"")).collect();
    let conditions =
        format!(r#"[{{"field":"host-header","hostHeaderConfig":{{"values":[{}]}}}}]"#, hosts.join(","));
    let (stack, problems) = desired(&[ingress("a")
        .path("h.example", "/p", Prefix, "s1")
        .annotation("conditions.s1", &conditions)]);
    assert_eq!(problems, []);
    assert_eq!(stack.listener_rules.len(), 3, "8 hosts, 3 of them beside the two values of a prefix");
    for n in 0..7 {
        assert_eq!(ask(&stack, 80, &format!("h{n}.example"), "/p/q"), "s1");
    }
    assert_eq!(ask(&stack, 80, "other.example", "/p"), "404");
}

#[test]
fn a_rule_with_more_conditions_comes_first() {
    let beta = r#"[{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X-Beta","values":["1"]}}]"#;
    let member = ingress("a")
        .path("h.example", "/", Prefix, "s1")
        .path("h.example", "/", Prefix, "s2")
        .annotation("conditions.s2", beta);
    let (stack, problems) = desired(&[member]);
    assert_eq!(problems, []);
    let with = |header: Option<&str>| {
        let headers = header.map(|h| ("X-Beta", h)).into_iter().collect();
        answer(&stack, 80, &Request { host: "h.example", path: "/", headers })
    };
    assert_eq!(
        (with(Some("1")), with(Some("2")), with(None)),
        ("s2".to_owned(), "s1".to_owned(), "s1".to_owned())
    );
}

#[test]
fn of_equal_rules_group_order_then_age_decides_and_the_other_is_told() {
    let old = ingress("old").created(1).path("h.example", "/", Prefix, "s1");
    let new = ingress("new").created(2).path("h.example", "/", Prefix, "s2");
    let (stack, problems) = desired(&[new.clone(), old.clone()]);
    assert_eq!(ask(&stack, 80, "h.example", "/"), "s1");
    says(&problems, "new", "RouteConflict");
    let (stack, problems) = desired(&[new.annotation("group.order", "-1"), old]);
    assert_eq!(ask(&stack, 80, "h.example", "/"), "s2");
    says(&problems, "old", "RouteConflict");
}

#[test]
fn the_peers_order_is_group_order_then_name_then_the_objects() {
    let facts = facts_with(&[("compat", "lbc")]);
    let wide = ingress("a-wide").created(2).path("", "/", Prefix, "s1");
    let narrow = ingress("b-narrow").created(1).path("h.example", "/x", Exact, "s2");
    let (stack, _) = desired_with(&facts, &[wide.clone(), narrow.clone()]);
    assert_eq!(ask(&stack, 80, "h.example", "/x"), "s1", "an earlier Ingress hides the later one");
    let (stack, _) = desired_with(&facts, &[wide.clone(), narrow.clone().annotation("group.order", "-1")]);
    assert_eq!(ask(&stack, 80, "h.example", "/x"), "s2");
    let (stack, _) = desired(&[wide, narrow]);
    assert_eq!(ask(&stack, 80, "h.example", "/x"), "s2", "ours: the more specific one first");
}

#[test]
fn everything_to_https_keeps_what_follows_off_the_plain_listener() {
    let redirect =
        r#"{"type":"redirect","redirectConfig":{"protocol":"HTTPS","port":"443","statusCode":"HTTP_301"}}"#;
    let member = ingress("a")
        .annotation("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 443}]"#)
        .annotation("certificate-arn", "arn:c")
        .annotation("actions.ssl-redirect", redirect)
        .action("h.example", "/*", ImplementationSpecific, "ssl-redirect")
        .path("h.example", "/secret/*", ImplementationSpecific, "s1");
    let (stack, problems) = desired(&[member]);
    assert_eq!(problems, []);
    assert_eq!(ask(&stack, 80, "h.example", "/secret/x"), "redirect");
    assert_eq!(ask(&stack, 443, "h.example", "/secret/x"), "s1");
    assert_eq!(ask(&stack, 443, "h.example", "/"), "404", "a redirect to itself is left out");
}

#[test]
fn ssl_redirect_leaves_no_rule_without_tls() {
    let member = shop()
        .annotation("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 8443}]"#)
        .annotation("certificate-arn", "arn:c")
        .annotation("ssl-redirect", "8443");
    let (stack, problems) = desired(&[member]);
    assert_eq!(problems, []);
    assert!(stack.listener_rules.keys().all(|id| id.starts_with("8443:")));
    let Action::Redirect(config) = &stack.listeners["80"].default_actions[0] else { panic!("no redirect") };
    assert_eq!((config.port.as_deref(), config.protocol.as_deref()), (Some("8443"), Some("HTTPS")));
}

#[test]
fn logging_in_is_asked_for_where_there_is_tls() {
    let pool = r#"{"userPoolARN":"arn:p","userPoolClientID":"c","userPoolDomain":"d"}"#;
    let member = shop()
        .annotation("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 443}]"#)
        .annotation("certificate-arn", "arn:c")
        .annotation("auth-type", "cognito")
        .annotation("auth-idp-cognito", pool);
    let (stack, _) = desired(std::slice::from_ref(&member));
    let request = Request { host: "shop.example", path: "/", headers: BTreeMap::new() };
    assert!(matches!(actions(&stack, 443, &request), [Action::AuthenticateCognito(_), Action::Forward(_)]));
    assert!(matches!(actions(&stack, 80, &request), [Action::Forward(_)]));
    let jwt = member.annotation("jwt-validation", r#"{"jwksEndpoint":"https://k","issuer":"i"}"#);
    let (stack, problems) = desired(&[jwt]);
    assert_eq!(ask(&stack, 443, "shop.example", "/"), "503", "neither of the two may be left out");
    says(&problems, "shop", "InvalidAnnotation");
}

#[rstest]
#[case::from_both_hosts(shop().tls(&["api.shop.example"]), &["arn:shop"])]
#[case::named(shop().annotation("certificate-arn", "arn:b,arn:a"), &["arn:b", "arn:a"])]
#[case::named_by_the_class(shop().annotation("certificate-arn", "arn:b").parameters("p", Some(json!({"certificateArn": ["arn:class"]}))), &["arn:class"])]
fn certificates(#[case] member: Ing, #[case] want: &[&str]) {
    let mut facts = crate::fixtures::facts();
    let mut aws = (*facts.aws).clone();
    aws.list_certificates = Some(
        serde_json::from_value(json!({"CertificateSummaryList": [
            {"CertificateArn": "arn:shop", "DomainName": "shop.example", "SubjectAlternativeNameSummaries": ["*.shop.example"], "Status": "ISSUED"},
            {"CertificateArn": "arn:other", "DomainName": "other.example", "Status": "ISSUED"},
        ]}))
        .expect("an answer"),
    );
    facts.aws = aws.into();
    let (stack, problems) = desired_with(&facts, &[member.annotation("listen-ports", r#"[{"HTTPS": 443}]"#)]);
    assert_eq!(problems, []);
    let arns: Vec<&str> =
        stack.listeners["443"].certificates.iter().map(|c| c.certificate_arn.as_str()).collect();
    assert_eq!(arns, want);
}

#[test]
fn certificates_of_members_follow_each_other_and_the_quota_counts() {
    let many: Vec<String> = (0..26).map(|n| format!("arn:a{n:02}")).collect();
    let first = ingress("first")
        .created(1)
        .path("a.example", "/", Prefix, "s1")
        .annotation("certificate-arn", &many.join(","));
    let second = ingress("second")
        .created(2)
        .path("b.example", "/", Prefix, "s2")
        .annotation("certificate-arn", "arn:a03,arn:b");
    let (stack, problems) = desired(&[first, second]);
    let listener = &stack.listeners["443"];
    assert_eq!(
        (listener.certificates.len(), listener.certificates[0].certificate_arn.as_str()),
        (26, "arn:a00")
    );
    assert!(says(&problems, "second", "QuotaExceeded").message.contains("arn:b"));
}

#[test]
fn the_health_check_is_the_nodes_until_the_user_says_something() {
    let check = |member: Ing, facts: &[(&str, &str)]| {
        let (stack, _) = desired_with(&facts_with(facts), &[member]);
        let group = stack.target_groups.values().next().expect("a target group");
        let c = group.health_check_config.clone();
        (c.port, c.path.unwrap_or_default(), c.interval_seconds)
    };
    assert_eq!(check(shop(), &[]), (PortOrName::Number(10256), "/healthz".to_owned(), 10));
    assert_eq!(check(shop(), &[("compat", "lbc")]), (PortOrName::traffic(), "/".to_owned(), 15));
    assert_eq!(
        check(shop().annotation("success-codes", "200-299"), &[]),
        (PortOrName::traffic(), "/".to_owned(), 15)
    );
    assert_eq!(
        check(shop().annotation("healthcheck-interval-seconds", "30"), &[]),
        (PortOrName::Number(10256), "/healthz".to_owned(), 30)
    );
    assert_eq!(
        check(shop().annotation("target-type", "ip"), &[]),
        (PortOrName::traffic(), "/".to_owned(), 15)
    );
    let grpc = shop().annotation("backend-protocol-version", "grpc");
    assert_eq!(check(grpc, &[]), (PortOrName::traffic(), "/AWS.ALB/healthcheck".to_owned(), 15));
}

#[test]
fn tags_of_class_service_and_ingress() {
    let mut tagged = backend("s2");
    tagged.annotations.insert("alb.ingress.kubernetes.io/tags".to_owned(), "a=service,b=service".to_owned());
    let member = ingress("x")
        .to("h.example", "/", Prefix, tagged)
        .annotation("tags", "a=ingress,b=ingress,c=ingress,e=ingress")
        .parameters("p", Some(json!({"tags": [{"key": "b", "value": "class"}]})));
    let facts = facts_with(&[("default-tags", "e=default"), ("external-managed-tags", "c")]);
    let (stack, problems) = desired_with(&facts, &[member]);
    let pairs = |tags: &crate::stack::Tags| {
        tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    };
    assert_eq!(pairs(&stack.target_groups.values().next().expect("one").tags), "a=service,b=class,e=default");
    assert_eq!(pairs(&stack.load_balancers["LoadBalancer"].tags), "a=ingress,b=class,e=default");
    assert_eq!(pairs(&stack.listener_rules["80:1"].tags), "a=ingress,b=class,e=default");
    assert!(problems.iter().any(|p| p.message.contains("\"c\"")), "{problems:?}");
}

#[rstest]
#[case::missing(ingress("x").path("h.example", "/", Prefix, "s1").parameters("p", None), "InvalidIngressClass")]
#[case::wrong(ingress("x").path("h.example", "/", Prefix, "s1").parameters("p", Some(json!({"scheme": "x"}))), "InvalidIngressClass")]
#[case::namespace(ingress("x").path("h.example", "/", Prefix, "s1").parameters("p", Some(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}))), "InvalidIngressClass")]
fn without_right_parameters_nothing_is_done(#[case] member: Ing, #[case] reason: &str) {
    let (stack, problems) = desired(std::slice::from_ref(&member));
    assert!(stack.frozen);
    says(&problems, "x", reason);
    let (stack, _) = desired(&[member, shop()]);
    assert_eq!(ask(&stack, 80, "shop.example", "/"), "s1", "another class is nobody's business");
}

#[test]
fn unwanted_load_balancers_are_an_empty_stack() {
    let lb = causeway_api::LoadBalancer::unwanted(LbKey::group(causeway_api::Layer::L7, "g"));
    let (stack, problems) = super::desired(&lb, &crate::fixtures::facts(), &Default::default());
    assert!(stack.is_empty() && !stack.frozen && problems.is_empty());
}

#[test]
fn a_bad_member_holds_its_hosts_and_nothing_else() {
    let good = ingress("good").created(2).default_backend("s1").path("a.example", "/a", Prefix, "s2");
    let bad = ingress("bad")
        .created(1)
        .annotation("scheme", "public")
        .path("", "/", Prefix, "s3")
        .path("a.example", "/a", Prefix, "s3")
        .path("bad.example", "/", Prefix, "s3");
    let (stack, _) = desired(&[good, bad]);
    assert_eq!(ask(&stack, 80, "x.example", "/"), "s1", "what is for every host is nobody's own");
    assert_eq!(ask(&stack, 80, "a.example", "/a"), "s2", "the other has it too");
    assert_eq!(ask(&stack, 80, "bad.example", "/"), "503");
}
