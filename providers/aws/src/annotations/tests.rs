//! Every annotation of the table: a right value, a wrong one, and what is said of it.

use causeway_api::{ObjectRef, Severity};
use rstest::rstest;

use super::*;

/// A right and (where anything can be wrong) a wrong value.
fn samples(annotation: &Annotation) -> (&'static str, Option<&'static str>) {
    match annotation.kind {
        Kind::Text => ("something", Some("")),
        Kind::OneOf(words) | Kind::Word(words) => (words[0], Some("nonsense")),
        Kind::Bool => ("true", Some("yes")),
        Kind::OnOff => ("on", Some("true")),
        Kind::Number(min, _) => match min {
            1 => ("1", Some("0")),
            2 => ("2", Some("1")),
            _ => ("5", Some("many")),
        },
        Kind::List => ("a, b", Some(" , ")),
        Kind::Ipv4List => ("10.0.0.1,10.0.1.1", Some("10.0.0.1,2001:db8::1")),
        Kind::Ipv6List => ("2001:db8::1", Some("10.0.0.1")),
        Kind::CidrList => ("10.0.0.0/8, ::/0", Some("10.0.0.1")),
        Kind::Map => ("a=b,c=d", Some("a")),
        Kind::Tags => ("a=b", Some("aws:x=y")),
        Kind::Checked(what, _) => match what {
            "name of at most 32 characters" => ("my-nlb", Some("internal-nlb")),
            "name of at most 63 characters" => ("shop.eu", Some("Shop")),
            "list of prefix list ids" => ("pl-1,pl-2", Some("10.0.0.0/8")),
            "list of allocation ids" => ("eipalloc-1", Some("192.0.2.1")),
            "list of networks of length 80, or auto_assigned" => {
                ("auto_assigned,2001:db8::/80", Some("2001:db8::/64"))
            }
            "list of ARNs" => ("arn:aws:acm:eu-west-1:1:certificate/1", Some("my-cert")),
            "*" => ("*", Some("true")),
            "list of port numbers" => ("80, 443", Some("http")),
            "key=value, …" => {
                ("deletion_protection.enabled=true", Some("deletion_protection.enabled=perhaps"))
            }
            "number, name of a port, or traffic-port" => ("traffic-port", Some("70000")),
            "path" => ("/healthz", Some("healthz")),
            "HTTP statuses" => ("200,301-399", Some("99")),
            "statuses" => ("200-399", Some("ok")),
            "CapacityUnits=NUMBER" => ("CapacityUnits=500", Some("Units=500")),
            "-1000 to 1000" => ("-5", Some("1001")),
            "JSON" if annotation.place == Place::Service => (
                r#"{"type":"forward","forwardConfig":{"baseServiceWeight":1,"targetGroups":[{"serviceName":"b","servicePort":80,"weight":1}]}}"#,
                Some(r#"{"type":"redirect"}"#),
            ),
            "JSON: listeners" => (r#"[{"HTTP":80},{"HTTPS":443}]"#, Some(r#"[{"TCP":80}]"#)),
            "JSON: mutual TLS" => {
                (r#"[{"port":443,"mode":"passthrough"}]"#, Some(r#"[{"port":443,"mode":"verify"}]"#))
            }
            "JSON: action" => {
                (r#"{"type":"forward","targetGroupARN":"arn:x"}"#, Some(r#"{"type":"forward"}"#))
            }
            "JSON: conditions" => (
                r#"[{"field":"source-ip","sourceIpConfig":{"values":["10.0.0.0/8"]}}]"#,
                Some(r#"[{"field":"source-ip"}]"#),
            ),
            "JSON: transforms" => (
                r#"[{"type":"url-rewrite","urlRewriteConfig":{"rewrites":[{"regex":"a","replace":"b"}]}}]"#,
                Some(r#"[{"type":"url-rewrite"}]"#),
            ),
            "JSON: user pool" => (
                r#"{"userPoolARN":"arn:x","userPoolClientID":"c","userPoolDomain":"d"}"#,
                Some(r#"{"userPoolARN":"arn:x"}"#),
            ),
            "JSON: provider" => (
                r#"{"issuer":"https://i","authorizationEndpoint":"https://a","tokenEndpoint":"https://t","userInfoEndpoint":"https://u","secretName":"s"}"#,
                Some(r#"{"issuer":"https://i"}"#),
            ),
            "JSON: tokens" => (r#"{"jwksEndpoint":"https://k","issuer":"i"}"#, Some(r#"{"issuer":"i"}"#)),
            other => panic!("no samples for {other:?}: add them"),
        },
    }
}

fn parameter(annotation: &Annotation) -> &'static str {
    match annotation.per {
        Per::Object | Per::ObjectOrPort => "",
        Per::Listener => "TCP-80",
        Per::Name => "name",
        Per::ServicePort => "web.80",
    }
}

fn read(scope: Scope, key: &str, value: &str) -> Settings {
    let object = ObjectRef::service("default", "web", "uid");
    Settings::read(scope, &object, &[(key.to_owned(), value.to_owned())].into())
}

fn all() -> impl Iterator<Item = (Scope, &'static Annotation)> {
    let services = service::TABLE.iter().map(|a| (Scope::Service, a));
    services.chain(ingress::TABLE.iter().map(|a| (Scope::Ingress, a)))
}

#[test]
fn every_annotation_takes_a_right_value_and_refuses_a_wrong_one() {
    for (scope, annotation) in all() {
        let (right, wrong) = samples(annotation);
        let parameter = parameter(annotation);
        let dot = if parameter.is_empty() { "" } else { "." };
        let key = format!("{}{}{dot}{parameter}", annotation.prefix(), annotation.suffix);
        let settings = read(scope, &key, right);
        let reasons: Vec<&str> = settings.problems.iter().map(|p| p.reason.as_str()).collect();
        match annotation.support {
            Support::Full => assert_eq!(reasons, Vec::<&str>::new(), "{key}={right}"),
            Support::Deprecated(_) => assert_eq!(reasons, [reasons::DEPRECATED], "{key}"),
            Support::None(_) => {
                assert_eq!(reasons, [reasons::UNSUPPORTED], "{key}");
                assert_eq!(settings.text_of(annotation, parameter), None, "{key}");
                continue;
            }
        }
        assert_eq!(settings.text_of(annotation, parameter), Some(right), "{key}");
        assert!(!settings.refused, "{key}");

        let Some(wrong) = wrong else { continue };
        let settings = read(scope, &key, wrong);
        let problem = settings.problems.iter().find(|p| p.reason == reasons::INVALID);
        let problem = problem.unwrap_or_else(|| panic!("{key}={wrong} is taken"));
        assert_eq!(problem.field, format!("metadata.annotations[{key}]"));
        assert_eq!(problem.object.name, "web");
        assert!(problem.message.len() > 30, "{key}: {} says nothing of what to do", problem.message);
        assert_eq!(settings.text_of(annotation, parameter), None, "{key}={wrong}");
        let refused = annotation.if_wrong == IfWrong::Refused;
        assert_eq!(settings.refused, refused, "{key}");
        assert_eq!(problem.severity == Severity::Error, refused, "{key}");
    }
}

#[test]
fn keys_are_unique_and_documented() {
    // Our own may stand on Services and on Ingresses.
    let mut keys: Vec<String> =
        all().map(|(_, a)| format!("{} {:?}", a.key(), a.own.then_some(a.place))).collect();
    let count = keys.len();
    let page = reference_markdown();
    for (_, annotation) in all() {
        assert!(annotation.doc.ends_with('.'), "{}", annotation.key());
        let prefix = if annotation.own { "" } else { annotation.prefix() };
        let name = annotation.key().trim_start_matches(prefix).to_owned();
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not on the page");
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

/// What the peer controllers understand, so that nothing of it is forgotten.
#[test]
fn the_table_has_all_that_the_peers_have() {
    let services = [
        "load-balancer-source-ranges",
        "type",
        "nlb-target-type",
        "name",
        "scheme",
        "internal",
        "proxy-protocol",
        "proxy-protocol-per-target-group",
        "ip-address-type",
        "access-log-enabled",
        "access-log-s3-bucket-name",
        "access-log-s3-bucket-prefix",
        "cross-zone-load-balancing-enabled",
        "ssl-cert",
        "ssl-ports",
        "ssl-negotiation-policy",
        "backend-protocol",
        "additional-resource-tags",
        "healthcheck-healthy-threshold",
        "healthcheck-unhealthy-threshold",
        "healthcheck-timeout",
        "healthcheck-interval",
        "healthcheck-protocol",
        "healthcheck-port",
        "healthcheck-path",
        "healthcheck-success-codes",
        "target-group-attributes",
        "subnets",
        "eip-allocations",
        "private-ipv4-addresses",
        "ipv6-addresses",
        "alpn-policy",
        "target-node-labels",
        "attributes",
        "security-groups",
        "manage-backend-security-group-rules",
        "inbound-sg-rules-on-private-link-traffic",
        "security-group-prefix-lists",
        "listener-attributes",
        "multi-cluster-target-group",
        "enable-prefix-for-ipv6-source-nat",
        "source-nat-ipv6-prefixes",
        "minimum-load-balancer-capacity",
        "enable-icmp-for-path-mtu-discovery",
        "enable-tcp-udp-listener",
        "disable-nlb-sg",
        "quic-enabled-ports",
        "extra-security-groups",
        "access-log-emit-interval",
        "connection-draining-enabled",
        "connection-draining-timeout",
        "connection-idle-timeout",
    ];
    for name in services {
        let known = |a: &Annotation| a.suffix == name || a.suffix == format!("aws-load-balancer-{name}");
        assert!(service::TABLE.iter().any(known), "{name}");
    }
    // 69 of Ingresses, one of which is the class, which others read.
    assert!(ingress::TABLE.len() >= 68, "{}", ingress::TABLE.len());
}

#[rstest]
#[case::usual("service.beta.kubernetes.io/aws-load-balancer-scheme", Some("internal"))]
#[case::alternative("service.kubernetes.io/aws-load-balancer-scheme", Some("internal"))]
#[case::another("example.com/aws-load-balancer-scheme", None)]
fn both_prefixes(#[case] key: &str, #[case] want: Option<&str>) {
    assert_eq!(read(Scope::Service, key, "internal").text(&service::SCHEME), want);
}

#[test]
fn the_usual_prefix_wins() {
    let object = ObjectRef::service("default", "web", "uid");
    let both = [
        ("service.kubernetes.io/aws-load-balancer-scheme".to_owned(), "internal".to_owned()),
        ("service.beta.kubernetes.io/aws-load-balancer-scheme".to_owned(), "internet-facing".to_owned()),
    ];
    let settings = Settings::read(Scope::Service, &object, &both.into());
    assert_eq!(settings.text(&service::SCHEME), Some("internet-facing"));
    assert!(settings.field(&service::SCHEME).contains("service.beta.kubernetes.io/"));
}

#[test]
fn misspelt_keys_are_told_from_right_ones_and_those_of_others() {
    let says = |key: &str| read(Scope::Service, key, "x").problems.first().map(|p| p.message.clone());
    let near = says("service.beta.kubernetes.io/aws-load-balancer-shceme").expect("a problem");
    assert!(near.contains("did you mean service.beta.kubernetes.io/aws-load-balancer-scheme"), "{near}");
    assert!(says("service.beta.kubernetes.io/aws-load-balancer-frobnicate").is_some());
    assert_eq!(says("service.beta.kubernetes.io/azure-load-balancer-internal"), None);
    assert_eq!(says("service.beta.kubernetes.io/aws-load-balancer-quic-enabled-containers"), None);
}

#[test]
fn a_backend_has_only_what_may_stand_there() {
    let read = |suffix: &str| read(Scope::Backend, &format!("alb.ingress.kubernetes.io/{suffix}"), "ip");
    assert_eq!(read("target-type").text(&ingress::TARGET_TYPE), Some("ip"));
    assert_eq!(read("scheme").problems, []);
    assert_eq!(read("nonsense").problems, []);
}

#[rstest]
#[case("aws-load-balancer-target-group-attributes.443", true)]
#[case("aws-load-balancer-target-group-attributes.http", false)]
#[case("aws-load-balancer-target-group-attributes.70000", false)]
#[case("aws-load-balancer-listener-attributes.TCP-80", true)]
#[case("aws-load-balancer-listener-attributes.SCTP-80", false)]
#[case("aws-load-balancer-listener-attributes.TCP", false)]
fn parameters(#[case] suffix: &str, #[case] right: bool) {
    let settings = read(Scope::Service, &format!("{}{suffix}", service::PREFIX), "a=b");
    assert_eq!(settings.problems.is_empty(), right, "{:?}", settings.problems);
}

#[rstest]
#[case("a=b", Ok(vec![("a", "b")]))]
#[case(" a = b , c=d=e ", Ok(vec![("a", "b"), ("c", "d=e")]))]
#[case(r"a=b\,c", Ok(vec![("a", "b,c")]))]
#[case("a=", Ok(vec![("a", "")]))]
#[case("", Ok(vec![]))]
#[case("a=b,", Ok(vec![("a", "b")]))]
#[case("=b", Err(()))]
#[case("a=b,c", Err(()))]
fn maps(#[case] text: &str, #[case] want: Result<Vec<(&str, &str)>, ()>) {
    let want = want.map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
    assert_eq!(value::map(text).map_err(drop), want);
}

#[rstest]
#[case("shop=web", true)]
#[case("aws:owner=me", false)]
#[case("causeway.io/cluster=x", false)]
#[case("a=<b>", false)]
fn tags(#[case] text: &str, #[case] right: bool) {
    assert_eq!(Kind::Tags.check(text).is_ok(), right);
}
