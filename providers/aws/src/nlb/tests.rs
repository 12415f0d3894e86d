//! What of a Service becomes which part of the stack, what is refused, and what holds always.

use causeway_api::{AppliedHash, Family, Severity, Stack as _};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::fixtures::{Svc, desired, desired_with, facts, facts_with, load_balancer, nodes, service as svc};
use crate::stack::{Action, ElbProtocol, PortOrName, Scheme, TargetFamily, TargetType, Token};

fn web() -> Svc {
    svc("web").port(80, 30080)
}

const TG: &str = "default/web:80";

/// The stack of a Service of which nothing is wrong.
fn clean(service: Svc) -> AwsStack {
    let (stack, problems) = desired(&[service]);
    assert_eq!(problems, []);
    stack
}

/// What is wrong, and the stack.
fn wrong(service: Svc) -> (AwsStack, Vec<String>) {
    let (stack, problems) = desired(&[service]);
    for problem in &problems {
        assert!(!problem.message.is_empty() && problem.object.name.starts_with("web"), "{problem}");
    }
    (stack, problems.into_iter().map(|p| format!("{} {}", p.reason, p.field)).collect())
}

fn annotation(suffix: &str) -> String {
    format!("metadata.annotations[service.beta.kubernetes.io/{suffix}]")
}

#[test]
fn one_port_makes_the_six_resources() {
    let stack = clean(web());
    let resources = stack.resources();
    let ids: Vec<(&str, Vec<&str>)> =
        resources.iter().map(|(t, r)| (t.as_str(), r.keys().map(String::as_str).collect())).collect();
    assert_eq!(
        ids,
        [
            ("AWS::EC2::SecurityGroup", vec!["ManagedLBSecurityGroup"]),
            ("AWS::ElasticLoadBalancingV2::Listener", vec!["80"]),
            ("AWS::ElasticLoadBalancingV2::LoadBalancer", vec!["LoadBalancer"]),
            ("AWS::ElasticLoadBalancingV2::TargetGroup", vec![TG]),
            ("K8S::ElasticLoadBalancingV2::TargetGroupBinding", vec![TG]),
        ]
    );
    let lb = &stack.load_balancers[LOAD_BALANCER];
    assert_eq!(lb.scheme, Scheme::Internal);
    assert_eq!(stack.targets[TG].len(), 2);
    assert_eq!(stack.members[0].ports[0].error, None);
}

#[rstest]
#[case::default(&[], "HTTP", PortOrName::Number(10256), Some("/healthz"), (10, 6, 2, 2))]
#[case::times_alone_stay_with_kube_proxy(&[("aws-load-balancer-healthcheck-interval", "20")], "HTTP", PortOrName::Number(10256), Some("/healthz"), (20, 6, 2, 2))]
#[case::protocol_given(&[("aws-load-balancer-healthcheck-protocol", "http")], "HTTP", PortOrName::traffic(), Some("/"), (10, 10, 3, 3))]
#[case::port_given(&[("aws-load-balancer-healthcheck-port", "8080")], "TCP", PortOrName::Number(8080), None, (10, 10, 3, 3))]
#[case::named_port(&[("aws-load-balancer-healthcheck-port", "tcp-80")], "TCP", PortOrName::Number(30080), None, (10, 10, 3, 3))]
#[case::all_given(&[("aws-load-balancer-healthcheck-protocol", "HTTPS"), ("aws-load-balancer-healthcheck-port", "traffic-port"),
    ("aws-load-balancer-healthcheck-path", "/ping"), ("aws-load-balancer-healthcheck-timeout", "4"),
    ("aws-load-balancer-healthcheck-healthy-threshold", "5"), ("aws-load-balancer-healthcheck-unhealthy-threshold", "6")],
    "HTTPS", PortOrName::traffic(), Some("/ping"), (10, 4, 5, 6))]
#[case::short_interval_shortens_the_timeout(&[("aws-load-balancer-healthcheck-interval", "5")], "HTTP", PortOrName::Number(10256), Some("/healthz"), (5, 5, 2, 2))]
fn health_checks(
    #[case] annotations: &[(&str, &str)],
    #[case] protocol: &str,
    #[case] port: PortOrName,
    #[case] path: Option<&str>,
    #[case] times: (u32, u32, u32, u32),
) {
    let service = annotations.iter().fold(web(), |s, (k, v)| s.annotation(k, v));
    let stack = clean(service);
    let check = &stack.target_groups[TG].health_check_config;
    assert_eq!((check.protocol.as_str(), &check.port, check.path.as_deref()), (protocol, &port, path));
    let found = (
        check.interval_seconds,
        check.timeout_seconds,
        check.healthy_threshold_count,
        check.unhealthy_threshold_count,
    );
    assert_eq!(found, times);
}

#[test]
fn policy_local_asks_the_health_check_node_port_also_like_the_peer() {
    for options in [&[][..], &[("compat", "lbc")]] {
        let (stack, problems) = desired_with(&[web().local(32000)], &facts_with(options));
        assert_eq!(problems, []);
        let check = &stack.target_groups[TG].health_check_config;
        assert_eq!((check.protocol, &check.port), (ElbProtocol::Http, &PortOrName::Number(32000)));
        assert_eq!((check.timeout_seconds, check.healthy_threshold_count), (6, 2));
    }
}

#[test]
fn like_the_peer_the_traffic_port_is_asked() {
    let (stack, _) = desired_with(&[web()], &facts_with(&[("compat", "lbc")]));
    let check = &stack.target_groups[TG].health_check_config;
    assert_eq!((check.protocol, &check.port), (ElbProtocol::Tcp, &PortOrName::traffic()));
}

#[rstest]
#[case::path_without_http("aws-load-balancer-healthcheck-path", "/x")]
#[case::unknown_port("aws-load-balancer-healthcheck-port", "nope")]
fn a_wrong_part_of_a_check_is_said_and_the_rest_served(#[case] suffix: &str, #[case] value: &str) {
    let (stack, said) = wrong(web().annotation(suffix, value));
    assert_eq!(said, [format!("InvalidAnnotation {}", annotation(suffix))]);
    assert_eq!(stack.listeners.len(), 1);
}

#[rstest]
#[case::plain(&[], ElbProtocol::Tcp, ElbProtocol::Tcp)]
#[case::all_ports(&[("aws-load-balancer-ssl-cert", "arn:c1,arn:c2")], ElbProtocol::Tls, ElbProtocol::Tcp)]
#[case::by_number(&[("aws-load-balancer-ssl-cert", "arn:c1"), ("aws-load-balancer-ssl-ports", "80")], ElbProtocol::Tls, ElbProtocol::Tcp)]
#[case::by_name(&[("aws-load-balancer-ssl-cert", "arn:c1"), ("aws-load-balancer-ssl-ports", "tcp-80")], ElbProtocol::Tls, ElbProtocol::Tcp)]
#[case::star(&[("aws-load-balancer-ssl-cert", "arn:c1"), ("aws-load-balancer-ssl-ports", "*")], ElbProtocol::Tls, ElbProtocol::Tcp)]
#[case::to_targets(&[("aws-load-balancer-ssl-cert", "arn:c1"), ("aws-load-balancer-backend-protocol", "ssl")], ElbProtocol::Tls, ElbProtocol::Tls)]
#[case::without_certificate(&[("aws-load-balancer-backend-protocol", "ssl")], ElbProtocol::Tcp, ElbProtocol::Tcp)]
fn tls(#[case] annotations: &[(&str, &str)], #[case] listener: ElbProtocol, #[case] group: ElbProtocol) {
    let stack = clean(annotations.iter().fold(web(), |s, (k, v)| s.annotation(k, v)));
    let found = &stack.listeners["80"];
    assert_eq!((found.protocol, stack.target_groups[TG].protocol), (listener, group));
    assert_eq!(found.certificates.is_empty(), listener != ElbProtocol::Tls);
    assert_eq!(found.ssl_policy.is_some(), listener == ElbProtocol::Tls);
}

#[test]
fn tcp_and_udp_of_one_number_share_a_listener() {
    let dns = || svc("web").port(53, 30053).udp(53, 30053);
    let stack = clean(dns());
    assert_eq!(stack.listeners["53"].protocol, ElbProtocol::TcpUdp);
    let sg = &stack.security_groups[MANAGED_SECURITY_GROUP];
    let protocols: Vec<&str> = sg.ingress.iter().map(|r| r.ip_protocol.as_str()).collect();
    assert_eq!(protocols, ["tcp", "udp"]);

    for (service, facts) in [
        (dns().annotation("aws-load-balancer-enable-tcp-udp-listener", "false"), facts()),
        (dns(), facts_with(&[("compat", "lbc")])),
        (svc("web").port(53, 30053).udp(53, 30054), facts_with(&[])),
        (dns().annotation("aws-load-balancer-ssl-cert", "arn:c"), facts_with(&[])),
    ] {
        let (stack, problems) = desired_with(&[service], &facts);
        assert_eq!(problems.iter().map(|p| p.reason.as_str()).collect::<Vec<_>>(), ["ProtocolsNotMerged"]);
        assert_eq!(problems[0].field, "spec.ports[1]");
        assert!(stack.listeners["53"].protocol.has_tcp() && !stack.listeners["53"].protocol.has_udp());
        let errors: Vec<_> = stack.members[0].ports.iter().map(|p| p.error.as_deref()).collect();
        assert_eq!(errors, [None, Some("ProtocolsNotMerged")]);
    }
    let lbc = facts_with(&[("compat", "lbc")]);
    let told = dns().annotation("aws-load-balancer-enable-tcp-udp-listener", "true");
    assert_eq!(desired_with(&[told], &lbc).1, []);
}

#[rstest]
#[case::udp(svc("web").udp(443, 30443), "443", ElbProtocol::Quic, true)]
#[case::both(svc("web").port(443, 30443).udp(443, 30443), "udp-443", ElbProtocol::TcpQuic, true)]
#[case::tcp(svc("web").port(443, 30443), "443", ElbProtocol::Tcp, false)]
fn quic(#[case] service: Svc, #[case] ports: &str, #[case] want: ElbProtocol, #[case] served: bool) {
    let service = service
        .annotation("aws-load-balancer-quic-enabled-ports", ports)
        .annotation("aws-load-balancer-nlb-target-type", "ip");
    let (stack, problems) = desired(&[service]);
    assert_eq!(problems.is_empty(), served, "{problems:?}");
    match stack.listeners.get("443") {
        Some(listener) => assert_eq!(listener.protocol, want),
        None => assert!(!served && stack.frozen),
    }
}

#[rstest]
#[case("aws-load-balancer-scheme", "internet-facing", "public")]
#[case("aws-load-balancer-internal", "false", "public")]
#[case("aws-load-balancer-internal", "true", "private")]
fn schemes(#[case] suffix: &str, #[case] value: &str, #[case] subnets: &str) {
    let (stack, _) = desired(&[web().annotation(suffix, value)]);
    let lb = &stack.load_balancers[LOAD_BALANCER];
    assert_eq!(lb.scheme == Scheme::InternetFacing, subnets == "public");
    let want = if subnets == "public" { "subnet-pub-a" } else { "subnet-priv-a" };
    assert_eq!(lb.subnet_mappings[0].subnet_id, want);
}

#[test]
fn fixed_addresses() {
    let eips = web()
        .annotation("aws-load-balancer-scheme", "internet-facing")
        .annotation("aws-load-balancer-eip-allocations", "eipalloc-b, eipalloc-a");
    let stack = clean(eips);
    let allocations: Vec<_> = stack.load_balancers[LOAD_BALANCER]
        .subnet_mappings
        .iter()
        .map(|m| m.allocation_id.as_deref())
        .collect();
    assert_eq!(allocations, [Some("eipalloc-b"), Some("eipalloc-a")]);
    assert_eq!(
        stack.members[0].addresses,
        ["192.0.2.11", "192.0.2.10"].map(|a| a.parse::<std::net::IpAddr>().expect("ip"))
    );

    let private = web().annotation("aws-load-balancer-private-ipv4-addresses", "10.0.12.9,10.0.11.9");
    let stack = clean(private);
    let addresses: Vec<_> = stack.load_balancers[LOAD_BALANCER]
        .subnet_mappings
        .iter()
        .map(|m| (m.subnet_id.as_str(), m.private_ipv4_address.as_deref()))
        .collect();
    assert_eq!(addresses, [("subnet-priv-a", Some("10.0.11.9")), ("subnet-priv-b", Some("10.0.12.9"))]);
}

#[rstest]
#[case::eip_internal(&[("aws-load-balancer-eip-allocations", "eipalloc-a,eipalloc-b")], "aws-load-balancer-eip-allocations")]
#[case::too_few_eips(&[("aws-load-balancer-scheme", "internet-facing"), ("aws-load-balancer-eip-allocations", "eipalloc-a")], "aws-load-balancer-eip-allocations")]
#[case::unknown_eip(&[("aws-load-balancer-scheme", "internet-facing"), ("aws-load-balancer-eip-allocations", "eipalloc-a,eipalloc-z")], "aws-load-balancer-eip-allocations")]
#[case::private_public(&[("aws-load-balancer-scheme", "internet-facing"), ("aws-load-balancer-private-ipv4-addresses", "10.0.1.9,10.0.2.9")], "aws-load-balancer-private-ipv4-addresses")]
#[case::outside(&[("aws-load-balancer-private-ipv4-addresses", "10.0.11.9,10.0.99.9")], "aws-load-balancer-private-ipv4-addresses")]
#[case::both_in_one(&[("aws-load-balancer-private-ipv4-addresses", "10.0.11.9,10.0.11.10")], "aws-load-balancer-private-ipv4-addresses")]
#[case::ipv6_on_ipv4(&[("aws-load-balancer-ipv6-addresses", "2001:db8::1,2001:db8::2")], "aws-load-balancer-ipv6-addresses")]
#[case::nat_on_ipv4(&[("aws-load-balancer-enable-prefix-for-ipv6-source-nat", "on")], "aws-load-balancer-enable-prefix-for-ipv6-source-nat")]
#[case::prefixes_without_nat(&[("aws-load-balancer-ip-address-type", "dualstack"), ("aws-load-balancer-source-nat-ipv6-prefixes", "auto_assigned,auto_assigned")], "aws-load-balancer-source-nat-ipv6-prefixes")]
#[case::prefix_outside(&[("aws-load-balancer-ip-address-type", "dualstack"), ("aws-load-balancer-enable-prefix-for-ipv6-source-nat", "on"), ("aws-load-balancer-source-nat-ipv6-prefixes", "2001:db8:9::/80,auto_assigned")], "aws-load-balancer-source-nat-ipv6-prefixes")]
#[case::unknown_group(&[("aws-load-balancer-security-groups", "nope")], "aws-load-balancer-security-groups")]
#[case::scheme(&[("aws-load-balancer-scheme", "public")], "aws-load-balancer-scheme")]
fn what_the_load_balancer_cannot_have_leaves_it_as_it_is(
    #[case] annotations: &[(&str, &str)],
    #[case] culprit: &str,
) {
    let (stack, said) = wrong(annotations.iter().fold(web(), |s, (k, v)| s.annotation(k, v)));
    assert_eq!(said, [format!("InvalidAnnotation {}", annotation(culprit))]);
    assert!(stack.frozen && stack.is_empty() && stack.resources().is_empty());
    assert_eq!(stack.members[0].ports[0].error.as_deref(), Some("NotServed"));
    assert!(crate::plan::plan(&stack, &Default::default()).is_empty());
}

#[test]
fn subnets_that_are_not_there() {
    let (stack, problems) = desired(&[web().annotation("aws-load-balancer-subnets", "subnet-nope")]);
    assert_eq!((problems[0].reason.as_str(), stack.frozen), ("SubnetsNotFound", true));
    assert_eq!(problems[0].severity, Severity::Error);
}

#[test]
fn security_groups_of_all_kinds() {
    let own = Token::of(crate::stack::ResourceType::SecurityGroup, MANAGED_SECURITY_GROUP);
    let shared = Token::shared(crate::stack::ResourceType::SecurityGroup, security::BACKEND_GROUP);
    let groups = |stack: &AwsStack| stack.load_balancers[LOAD_BALANCER].security_groups.clone();
    let networking = |stack: &AwsStack| stack.bindings[TG].template.spec.networking.clone();

    let stack = clean(web());
    assert_eq!(groups(&stack), [own.clone(), shared.clone()]);
    assert!(stack.shared.backend_group.is_some() && stack.shared.node_rules.len() == 2);

    let stack = clean(web().annotation("aws-load-balancer-security-groups", "edge"));
    assert_eq!(groups(&stack), [Token::literal("sg-edge-1")]);
    assert!(stack.security_groups.is_empty() && networking(&stack).is_none());
    assert!(stack.shared.node_rules.is_empty() && stack.shared.backend_group.is_none());

    let managed = web()
        .annotation("aws-load-balancer-security-groups", "edge")
        .annotation("aws-load-balancer-manage-backend-security-group-rules", "true");
    assert_eq!(groups(&clean(managed)), [Token::literal("sg-edge-1"), shared]);

    let (stack, _) = desired_with(&[web()], &facts_with(&[("enable-backend-security-group", "false")]));
    assert_eq!(groups(&stack), [own]);

    let stack = clean(web().annotation("aws-load-balancer-disable-nlb-sg", "true"));
    assert!(groups(&stack).is_empty() && stack.security_groups.is_empty());
    let rules = networking(&stack).expect("rules by network").ingress;
    assert_eq!(rules[0].from, [crate::stack::Peer::IpBlock("10.0.0.0/16".to_owned())]);
    assert!(!stack.shared.node_rules.is_empty());
}

#[test]
fn a_node_port_outside_the_range_is_opened_by_itself() {
    let ranges = |service: Svc| {
        let shared = clean(service).shared;
        shared.node_rules.iter().map(|r| (r.ip_protocol.clone(), r.from_port, r.to_port)).collect::<Vec<_>>()
    };
    let usual = ranges(web());
    let stray = ranges(svc("web").port(80, 8080));
    assert!(!usual.contains(&("tcp".to_owned(), Some(8080), Some(8080))));
    assert!(stray.contains(&("tcp".to_owned(), Some(8080), Some(8080))), "{stray:?}");
}

#[rstest]
#[case::everybody(web(), &["0.0.0.0/0"])]
#[case::dual(web().annotation("aws-load-balancer-ip-address-type", "dualstack"), &["0.0.0.0/0", "::/0"])]
#[case::ranges(web().with(|s| s.source_ranges = vec!["10.0.0.0/8".parse().expect("net")]), &["10.0.0.0/8"])]
#[case::alternative_prefix(web().key("service.kubernetes.io/load-balancer-source-ranges", "10.1.0.0/16"), &["10.1.0.0/16"])]
#[case::prefix_lists(web().annotation("aws-load-balancer-security-group-prefix-lists", "pl-1"), &["pl-1"])]
#[case::both(web().with(|s| s.source_ranges = vec!["10.0.0.0/8".parse().expect("net")]).annotation("aws-load-balancer-security-group-prefix-lists", "pl-1"), &["10.0.0.0/8", "pl-1"])]
fn who_may_come_in(#[case] service: Svc, #[case] want: &[&str]) {
    let stack = clean(service);
    let rules = &stack.security_groups[MANAGED_SECURITY_GROUP].ingress;
    let from: Vec<&str> = rules
        .iter()
        .flat_map(|r| {
            let v4 = r.ip_ranges.iter().map(|x| x.cidr.as_str());
            let v6 = r.ipv6_ranges.iter().map(|x| x.cidr.as_str());
            v4.chain(v6).chain(r.prefix_lists.iter().map(|x| x.id.as_str())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(from, want);
}

#[test]
fn an_ipv6_range_without_ipv6_opens_nothing() {
    let service = web().with(|s| s.source_ranges = vec!["2001:db8::/32".parse().expect("net")]);
    let (stack, said) = wrong(service);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("InvalidSourceRange"), "{said:?}");
    assert!(stack.security_groups[MANAGED_SECURITY_GROUP].ingress.is_empty());
}

#[test]
fn families() {
    let dual = |families: Vec<Family>| web().with(|s| s.families = families);
    let family = |stack: &AwsStack| stack.target_groups[TG].ip_address_type;
    let stack = clean(dual(vec![Family::V4, Family::V6]));
    assert_eq!(stack.load_balancers[LOAD_BALANCER].ip_address_type.as_str(), "dualstack");
    assert_eq!(family(&stack), Some(TargetFamily::Ipv6));
    assert_eq!(family(&clean(dual(vec![Family::V6]))), Some(TargetFamily::Ipv6));
    let forced = dual(vec![Family::V4, Family::V6]).annotation("aws-load-balancer-ip-address-type", "ipv4");
    assert_eq!(family(&clean(forced.clone())), Some(TargetFamily::Ipv4));
    let (stack, problems) = desired_with(&[forced], &facts_with(&[("compat", "lbc")]));
    assert_eq!((problems[0].reason.as_str(), stack.frozen), ("AddressFamilyNotSupported", true));
    let only = dual(vec![Family::V6]).annotation("aws-load-balancer-ip-address-type", "ipv4");
    assert_eq!(desired(&[only]).1[0].reason, "AddressFamilyNotSupported");

    let udp = svc("web").udp(53, 30053).with(|s| s.families = vec![Family::V6]);
    let nat = |stack: &AwsStack| stack.load_balancers[LOAD_BALANCER].enable_prefix_for_ipv6_source_nat;
    assert_eq!(nat(&clean(udp)), Some(OnOff::On), "UDP on dual stack needs it");
    assert_eq!(nat(&clean(web())), Some(OnOff::Off));
}

#[test]
fn pods_as_targets() {
    let pods = || {
        web()
            .annotation("aws-load-balancer-nlb-target-type", "ip")
            .pod("tcp-80", "10.0.11.5", 8080)
            .pod("tcp-80", "10.0.12.5", 8080)
            .pod("other", "10.0.12.6", 9090)
    };
    let stack = clean(pods());
    assert_eq!(stack.target_groups[TG].target_type, TargetType::Ip);
    assert_eq!((stack.target_groups[TG].port, stack.targets[TG].len()), (8080, 2));
    let check = &stack.target_groups[TG].health_check_config;
    assert_eq!((check.protocol, &check.port), (ElbProtocol::Tcp, &PortOrName::traffic()));
    let no_node_port = pods().with(|s| s.ports[0].node_port = None);
    assert_eq!(clean(no_node_port.clone()).listeners.len(), 1);
    let (stack, said) = wrong(no_node_port.annotation("aws-load-balancer-nlb-target-type", "instance"));
    assert_eq!(said, ["NodePortMissing spec.ports[0]"]);
    let severity = |s: Svc| desired(&[s]).1.iter().map(|p| p.severity).collect::<Vec<_>>();
    let none = || web().with(|s| s.ports[0].node_port = None);
    assert_eq!(severity(none()), [Severity::Error], "nothing is served");
    assert_eq!(severity(none().port(443, 30443)), [Severity::Warning], "the rest is");
    assert!(stack.frozen);
    let named = pods().with(|s| s.ports[0].target_port = TargetPortName::name("http"));
    assert_eq!(clean(named).target_groups[TG].port, 1);
    let default = facts_with(&[("default-target-type", "ip")]);
    let (stack, _) = desired_with(&[web()], &default);
    assert_eq!(stack.target_groups[TG].target_type, TargetType::Ip);
}

/// Shorter than its full name.
struct TargetPortName;
impl TargetPortName {
    fn name(text: &str) -> causeway_api::TargetPort {
        causeway_api::TargetPort::Name(text.to_owned())
    }
}

#[rstest]
#[case::default(&[], "false")]
#[case::general(&[("aws-load-balancer-proxy-protocol", "*")], "true")]
#[case::this_port(&[("aws-load-balancer-proxy-protocol-per-target-group", "80, 443")], "true")]
#[case::another_port(&[("aws-load-balancer-proxy-protocol-per-target-group", "443")], "false")]
#[case::attribute(&[("aws-load-balancer-target-group-attributes", "proxy_protocol_v2.enabled=true")], "true")]
#[case::ports_win_over_attributes(&[("aws-load-balancer-target-group-attributes", "proxy_protocol_v2.enabled=true"), ("aws-load-balancer-proxy-protocol-per-target-group", "443")], "false")]
#[case::attribute_of_the_port(&[("aws-load-balancer-target-group-attributes", "proxy_protocol_v2.enabled=true"), ("aws-load-balancer-target-group-attributes.80", "proxy_protocol_v2.enabled=false")], "false")]
#[case::an_empty_one_does_not_win(&[("aws-load-balancer-target-group-attributes", "proxy_protocol_v2.enabled=true"), ("aws-load-balancer-target-group-attributes.80", "proxy_protocol_v2.enabled=")], "true")]
fn proxy_protocol(#[case] annotations: &[(&str, &str)], #[case] want: &str) {
    let stack = clean(annotations.iter().fold(web(), |s, (k, v)| s.annotation(k, v)));
    let found =
        stack.target_groups[TG].target_group_attributes.iter().find(|a| a.key == "proxy_protocol_v2.enabled");
    assert_eq!(found.map(|a| a.value.as_str()), Some(want));
}

#[test]
fn affinity_becomes_stickiness_unless_the_user_says_otherwise() {
    let sticky = || web().with(|s| s.affinity_seconds = Some(600));
    let keys = |stack: &AwsStack| {
        let all = &stack.target_groups[TG].target_group_attributes;
        all.iter()
            .filter(|a| a.key.starts_with("stickiness"))
            .map(|a| format!("{}={}", a.key, a.value))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&clean(sticky())), ["stickiness.enabled=true", "stickiness.type=source_ip"]);
    let said = sticky().annotation("aws-load-balancer-target-group-attributes", "stickiness.enabled=false");
    assert_eq!(keys(&clean(said)), ["stickiness.enabled=false"]);
    let (stack, _) = desired_with(&[sticky()], &facts_with(&[("compat", "lbc")]));
    assert!(keys(&stack).is_empty());
    let tls = sticky()
        .annotation("aws-load-balancer-ssl-cert", "arn:c")
        .annotation("aws-load-balancer-backend-protocol", "ssl");
    assert_eq!(wrong(tls).1, ["Unsupported spec.sessionAffinity"]);
}

#[test]
fn connections_shared_by_weight() {
    let action = r#"{"type":"forward","forwardConfig":{"baseServiceWeight":3,"targetGroups":[
        {"serviceName":"canary","servicePort":"http","weight":1},{"targetGroupARN":"arn:tg","weight":2},
        {"serviceName":"gone","servicePort":80,"weight":1}],"targetGroupStickinessConfig":{"enabled":true}}}"#;
    let mut service = web().annotation("actions.TCP-80", action);
    let canary = svc("canary").port(8080, 30099);
    let spec = canary.0.service().expect("a Service").clone();
    service.0.services.insert(
        ("canary".to_owned(), "http".to_owned()),
        causeway_api::Backend {
            namespace: "default".to_owned(),
            service: "canary".to_owned(),
            uid: "uid-canary".into(),
            port: "http".to_owned(),
            node_port: Some(30099),
            service_port: Some(8080),
            ports: Vec::new(),
            port_name: "http".to_owned(),
            target_port: Some(causeway_api::TargetPort::Number(8080)),
            families: vec![Family::V4],
            endpoints: Default::default(),
            traffic_policy: spec.traffic_policy,
            health: spec.health,
            annotations: Default::default(),
        },
    );
    let (stack, problems) = desired(std::slice::from_ref(&service));
    assert_eq!(problems.iter().map(|p| p.reason.as_str()).collect::<Vec<_>>(), ["ServiceNotFound"]);
    let [Action::Forward(forward)] = &stack.listeners["80"].default_actions[..] else {
        panic!("one forward")
    };
    let groups: Vec<_> =
        forward.target_groups.iter().map(|g| (g.target_group_arn.clone(), g.weight)).collect();
    let of = |id: &str| Token::of(crate::stack::ResourceType::TargetGroup, id);
    assert_eq!(
        groups,
        [(of(TG), Some(3)), (of("default/canary:8080"), Some(1)), (Token::literal("arn:tg"), Some(2))]
    );
    assert_eq!(stack.targets["default/canary:8080"].first().map(|t| t.port), Some(30099));
    let references = references(&service.0.annotations, false);
    let named: Vec<&str> = references.services.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(named, ["canary", "gone"]);
}

#[rstest]
#[case(web(), false, false)]
#[case(web(), true, true)]
#[case(web().annotation("aws-load-balancer-nlb-target-type", "ip"), false, true)]
#[case(web().annotation("aws-load-balancer-nlb-target-type", "instance"), true, false)]
#[case(web().annotation("aws-load-balancer-type", "nlb-ip"), false, true)]
fn addresses_of_pods_are_wanted_where_they_are_targets(
    #[case] service: Svc,
    #[case] by_default: bool,
    #[case] want: bool,
) {
    assert_eq!(references(&service.0.annotations, by_default).endpoints, want);
}

#[test]
fn several_services_on_one_load_balancer() {
    let member = |name: &str, created: i64| svc(name).created(created).key(names::ANNOTATION_GROUP, "edge");
    let a = member("web-a", 1).port(80, 30080).annotation("aws-load-balancer-scheme", "internet-facing");
    let b = member("web-b", 2)
        .port(443, 30443)
        .port(80, 30081)
        .annotation("aws-load-balancer-scheme", "internal");
    let lb = load_balancer(&[b.clone(), a.clone()], nodes(1));
    assert_eq!(lb.key.id(), "default/edge");
    let (stack, problems) = desired(&[b, a]);
    assert_eq!(stack.load_balancers[LOAD_BALANCER].scheme, Scheme::InternetFacing, "the oldest decides");
    assert!(stack.load_balancers[LOAD_BALANCER].name.starts_with("k8s-defaultedge-"));
    assert_eq!(stack.listeners.keys().map(String::as_str).collect::<Vec<_>>(), ["443", "80"]);
    let alone = clean(svc("web-a").port(80, 30080));
    let name = |stack: &AwsStack| stack.target_groups["default/web-a:80"].name.clone();
    assert_ne!(name(&alone), name(&stack), "a target group belongs to one load balancer");
    let said: Vec<_> = problems.iter().map(|p| (p.object.name.as_str(), p.reason.as_str())).collect();
    assert_eq!(said, [("web-b", "ConflictingAnnotation")]);
}

#[test]
fn a_refused_member_of_a_group_leaves_the_others_served_and_its_listeners_alone() {
    let member = |name: &str, created: i64| svc(name).created(created).key(names::ANNOTATION_GROUP, "edge");
    let good = member("web-a", 2).port(80, 30080);
    let bad = member("web-b", 1).port(443, 30443).annotation("aws-load-balancer-ssl-cert", "not-an-arn");
    let (stack, problems) = desired(&[good, bad]);
    assert_eq!(problems.len(), 1);
    assert_eq!(stack.listeners.keys().map(String::as_str).collect::<Vec<_>>(), ["80"]);
    assert_eq!(stack.kept, ["443".to_owned()].into());
    assert!(!stack.frozen);
    let errors: Vec<_> =
        stack.members.iter().map(|m| (m.object.name.as_str(), m.ports[0].error.as_deref())).collect();
    assert_eq!(errors, [("web-b", Some("NotServed")), ("web-a", None)]);
}

#[test]
fn what_quotas_leave_no_room_for_is_said_on_its_port() {
    let many = (0..51).fold(svc("web"), |s, i| s.port(8000 + i, 30000 + i));
    let (stack, said) = wrong(many);
    assert_eq!(said, ["QuotaExceeded spec.ports[50]"]);
    assert_eq!(stack.listeners.len(), 50);
    assert_eq!(stack.members[0].ports[50].error.as_deref(), Some("QuotaExceeded"));

    let certificates: Vec<String> = (0..27).map(|i| format!("arn:c{i}")).collect();
    let (stack, said) = wrong(web().annotation("aws-load-balancer-ssl-cert", &certificates.join(",")));
    assert_eq!(said, [format!("QuotaExceeded {}", annotation("aws-load-balancer-ssl-cert"))]);
    assert_eq!(stack.listeners["80"].certificates.len(), 26);

    let tags: Vec<String> = (0..46).map(|i| format!("t{i:02}=x")).collect();
    let (stack, problems) =
        desired(&[web().annotation("aws-load-balancer-additional-resource-tags", &tags.join(","))]);
    assert!(problems.iter().all(|p| p.reason == "InvalidAnnotation") && !problems.is_empty(), "{problems:?}");
    assert_eq!(stack.load_balancers[LOAD_BALANCER].tags.len(), 46, "45 and the default one");
}

#[test]
fn tags_of_others_are_left_alone() {
    let options = [("external-managed-tags", "cost"), ("default-tags-low-priority", "true")];
    let service = web().annotation("aws-load-balancer-additional-resource-tags", "cost=1,team=shop");
    let (stack, problems) = desired_with(&[service], &facts_with(&options));
    assert_eq!(problems.len(), 1);
    let tags = &stack.load_balancers[LOAD_BALANCER].tags;
    assert_eq!((tags.len(), tags["team"].as_str()), (1, "shop"));
}

#[test]
fn a_wrong_name_of_a_group_is_said() {
    let (stack, said) = wrong(web().key(names::ANNOTATION_GROUP, "No Such"));
    assert_eq!(said, ["InvalidAnnotation metadata.annotations[causeway.io/load-balancer-group]"]);
    assert_eq!(stack.listeners.len(), 1);
}

#[test]
fn the_classic_providers_defaults() {
    let mut plain = web();
    plain.0.class = None;
    let stack = clean(plain.clone());
    let lb = &stack.load_balancers[LOAD_BALANCER];
    assert_eq!((lb.scheme, lb.security_groups.len()), (Scheme::InternetFacing, 0));
    let internal = plain.clone().annotation("aws-load-balancer-internal", "true");
    let (stack, _) = desired(&[internal]);
    assert_eq!(stack.load_balancers[LOAD_BALANCER].scheme, Scheme::Internal);
    let groups = plain.clone().annotation("aws-load-balancer-security-groups", "edge");
    assert_eq!(clean(groups).load_balancers[LOAD_BALANCER].security_groups.len(), 1);
    let external = plain.annotation("aws-load-balancer-type", "external");
    assert_eq!(clean(external).load_balancers[LOAD_BALANCER].scheme, Scheme::Internal);
}

/// Facts with a load balancer of Service web that lies in these subnets.
fn facts_with_one(scheme: Scheme, subnets: &[&str], security_groups: &[&str]) -> Facts {
    use crate::inventory::{
        DescribeLoadBalancers, DescribeTags, ExistingLoadBalancer, LoadBalancerZone, Tag, TagDescription,
    };
    let mut facts = facts();
    let aws = std::sync::Arc::make_mut(&mut facts.aws);
    let zone = |id: &&str| LoadBalancerZone { subnet_id: (*id).to_owned(), ..Default::default() };
    aws.describe_load_balancers = Some(DescribeLoadBalancers {
        load_balancers: vec![ExistingLoadBalancer {
            load_balancer_arn: "arn:lb".to_owned(),
            scheme: scheme.as_str().to_owned(),
            kind: "network".to_owned(),
            availability_zones: subnets.iter().map(zone).collect(),
            security_groups: security_groups.iter().map(|id| (*id).to_owned()).collect(),
            ..Default::default()
        }],
    });
    let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
    aws.describe_tags = Some(DescribeTags {
        tag_descriptions: vec![TagDescription {
            resource_arn: "arn:lb".to_owned(),
            tags: vec![tag(names::TAG_CLUSTER, &facts.cluster.id), tag(names::TAG_OWNER, "service/uid-web")],
        }],
    });
    facts
}

#[test]
fn that_it_was_made_changes_nothing_of_what_is_wanted() {
    for scheme in [Scheme::Internal, Scheme::InternetFacing] {
        let service = web().annotation("aws-load-balancer-scheme", scheme.as_str());
        let (made, _) = desired(std::slice::from_ref(&service));
        let mut subnets: Vec<&str> = made.load_balancers[LOAD_BALANCER]
            .subnet_mappings
            .iter()
            .map(|mapping| mapping.subnet_id.as_str())
            .collect();
        assert!(subnets.len() > 1);
        // AWS tells them in an order of its own.
        subnets.reverse();
        let (again, _) = desired_with(&[service], &facts_with_one(scheme, &subnets, &["sg-1", "sg-2"]));
        assert_eq!(again.load_balancers, made.load_balancers);
        assert_eq!(again.applied(), made.applied());
    }
}

#[test]
fn an_existing_load_balancer_keeps_scheme_and_subnets() {
    let facts = facts_with_one(Scheme::InternetFacing, &["subnet-pub-b"], &[]);
    let (stack, _) = desired_with(&[web()], &facts);
    let lb = &stack.load_balancers[LOAD_BALANCER];
    assert_eq!((lb.scheme, lb.subnet_mappings.len()), (Scheme::InternetFacing, 1));
    assert_eq!(lb.subnet_mappings[0].subnet_id, "subnet-pub-b");
    assert!(lb.security_groups.is_empty(), "it was made without, and stays so");
    // That of somebody else is not looked at.
    let (stack, _) = desired_with(&[svc("other").port(80, 30080)], &facts);
    assert_eq!(stack.load_balancers[LOAD_BALANCER].scheme, Scheme::Internal);
}

#[test]
fn targets_and_problems_do_not_count_for_the_hash() {
    let lb = |n| load_balancer(&[web()], nodes(n));
    let stack = |n| {
        let lb = lb(n);
        let causeway_api::Body::L4(listeners) = &lb.body else { unreachable!("made as L4") };
        desired_of(&lb, listeners)
    };
    assert_ne!(stack(1).targets, stack(5).targets);
    assert_eq!(stack(1).applied(), stack(5).applied());
    let other = clean(web().annotation("aws-load-balancer-scheme", "internet-facing"));
    assert_ne!(other.applied(), stack(1).applied());
    assert!(matches!(other.applied(), AppliedHash::Clean(_)));
}

fn desired_of(lb: &LoadBalancer, listeners: &[Listener]) -> AwsStack {
    super::desired(lb, listeners, &facts(), &Instances::of(&lb.nodes)).0
}

/// The hash is in tags in the cloud: if it changed, every load balancer would be looked at anew after an upgrade.
#[test]
fn the_hash_of_a_plain_service_is_known() {
    insta::assert_snapshot!("plain_hash", clean(web()).applied().to_string());
}

fn annotations() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        Just("true"),
        Just("ip"),
        Just("internal"),
        Just("internet-facing"),
        Just("dualstack"),
        Just("80"),
        Just("a=b"),
        Just("on"),
        Just("arn:aws:acm:x"),
        Just("sg-edge-1"),
        Just("nonsense"),
        Just(""),
        Just("*"),
        Just("10"),
    ];
    let row = (0..service::TABLE.len(), value).prop_map(|(row, value)| {
        let annotation = &service::TABLE[row];
        let parameter = match annotation.per {
            crate::annotations::Per::Listener => ".TCP-80",
            _ => "",
        };
        (format!("{}{parameter}", annotation.suffix), value.to_owned())
    });
    proptest::collection::vec(row, 0..6)
}

fn any_service(name: &'static str) -> impl Strategy<Value = Svc> {
    let ports = proptest::collection::btree_set((1u16..6, any::<bool>()), 1..4);
    (ports, annotations(), 0i64..3).prop_map(move |(ports, annotations, created)| {
        let mut service = svc(name).created(created).key(names::ANNOTATION_GROUP, "g");
        for (port, udp) in ports {
            service = if udp { service.udp(port, 30000 + port) } else { service.port(port, 30000 + port) };
        }
        annotations.iter().fold(service, |s, (k, v)| s.annotation(k, v))
    })
}

proptest! {
    #[test]
    fn what_holds_always(a in any_service("web-a"), b in any_service("web-b")) {
        let (stack, problems) = desired(&[a.clone(), b.clone()]);
        let again = desired(&[b.clone(), a.clone()]);
        prop_assert_eq!(&(stack.clone(), problems.clone()), &again, "the order of Services matters");
        prop_assert_eq!(stack.applied(), again.0.applied());
        for (id, listener) in &stack.listeners {
            prop_assert_eq!(id, &listener.port.to_string());
            prop_assert!(listener.default_actions.last().is_some_and(Action::is_final));
        }
        let names = stack.load_balancers.values().map(|l| &l.name).chain(stack.target_groups.values().map(|t| &t.name));
        for name in names {
            prop_assert!(naming::check(name).is_ok(), "{}", name);
        }
        // Every reference leads somewhere.
        for listener in stack.listeners.values() {
            for action in &listener.default_actions {
                let Action::Forward(forward) = action else { continue };
                for group in &forward.target_groups {
                    if let Token::Ref { id, .. } = &group.target_group_arn {
                        prop_assert!(stack.target_groups.contains_key(id) && stack.bindings.contains_key(id));
                    }
                }
            }
        }
        // Each port of each Service is a listener or has an error.
        for part in &stack.members {
            for port in part.ports.iter().filter(|port| port.error.is_none()) {
                let id = port.port.to_string();
                prop_assert!(part.listeners.contains(&id) && stack.listeners.contains_key(&id), "{:?}", part);
            }
            prop_assert_eq!(part.listeners.is_empty(), part.ports.iter().all(|p| p.error.is_some()));
        }
        for problem in &problems {
            prop_assert!(problem.object.name == "web-a" || problem.object.name == "web-b");
        }
    }

    /// A Service alone is not changed by what another one has wrong: they have different keys.
    #[test]
    fn a_bad_member_never_takes_listeners_of_a_good_one(bad in any_service("web-b")) {
        let good = svc("web-a").created(0).key(names::ANNOTATION_GROUP, "g").port(80, 30080);
        let bad = bad.created(1);
        let (stack, _) = desired(&[good, bad]);
        let alone = !stack.frozen;
        // Only what is the load balancer's as a whole can stand in the way, and then nothing is changed.
        if alone {
            prop_assert!(stack.listeners.contains_key("80"));
            let part = stack.members.iter().find(|m| m.object.name == "web-a").expect("a member");
            prop_assert_eq!(part.ports[0].error.as_deref(), None);
        }
    }
}

/// For every difference that `compat=lbc` switches: what shows it, our way and the peer's.
#[test]
fn every_difference_is_switched() {
    type Show = fn(&AwsStack, &[Problem]) -> String;
    let rows: Vec<(&str, Svc, Show, &str, &str)> = vec![
        (
            "Health of instances, policy Cluster",
            web(),
            |s, _| format!("{:?}", s.target_groups[TG].health_check_config.port),
            "Number(10256)",
            "Name(\"traffic-port\")",
        ),
        (
            "TCP and UDP on one port number",
            svc("web").port(53, 30053).udp(53, 30053),
            |s, _| s.listeners["53"].protocol.as_str().to_owned(),
            "TCP_UDP",
            "TCP",
        ),
        (
            "Services with IPv6",
            web().with(|s| s.families = vec![Family::V4, Family::V6]),
            |s, p| format!("{} {}", s.listeners.len(), p.len()),
            "1 0",
            "0 1",
        ),
        (
            "UDP on dual stack",
            svc("web").udp(53, 30053).annotation("aws-load-balancer-ip-address-type", "dualstack"),
            |s, _| format!("{:?}", s.load_balancers[LOAD_BALANCER].enable_prefix_for_ipv6_source_nat),
            "Some(On)",
            "Some(Off)",
        ),
        (
            "sessionAffinity ClientIP",
            web().with(|s| s.affinity_seconds = Some(600)),
            |s, _| s.target_groups[TG].target_group_attributes.len().to_string(),
            "3",
            "1",
        ),
        (
            "Status with fixed addresses",
            web().annotation("aws-load-balancer-private-ipv4-addresses", "10.0.11.9,10.0.12.9"),
            |s, _| s.members[0].addresses.len().to_string(),
            "2",
            "0",
        ),
        (
            "manage-backend-security-group-rules false, with a group that is made",
            web().annotation("aws-load-balancer-manage-backend-security-group-rules", "false"),
            |s, _| s.bindings[TG].template.spec.networking.is_some().to_string(),
            "false",
            "true",
        ),
    ];
    let listed: Vec<&str> = crate::differences::SWITCHED.iter().map(|d| d.about).collect();
    for (about, service, show, ours, theirs) in &rows {
        assert!(listed.contains(about), "{about} is not on the page");
        for (compat, want) in [("none", ours), ("lbc", theirs)] {
            let (stack, problems) =
                desired_with(std::slice::from_ref(service), &facts_with(&[("compat", compat)]));
            assert_eq!(show(&stack, &problems), *want, "{about}, compat {compat}");
        }
    }
    let ours: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let of_nlb = listed.iter().filter(|about| !about.starts_with("ALB")).copied();
    assert_eq!(of_nlb.collect::<Vec<_>>(), ours, "a difference without its row");
}
