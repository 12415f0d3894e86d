//! Between the SDK's shapes and ours. Pure.

use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::types as elb;

use super::super::Failure;
use super::super::records::{Health, Listener, LoadBalancer, Rule, State, TargetGroup};
use crate::plan::tokens::literal;
use crate::stack::*;

/// What AWS says in a word that this version does not know: better no answer than a wrong one.
fn unknown<T>(what: &str, word: &str) -> Result<T, Failure> {
    Err(Failure::NoAnswer(format!("{what} {word:?} is not known to this version")))
}

pub(super) fn tags(tags: &Tags) -> Option<Vec<elb::Tag>> {
    let all: Vec<elb::Tag> = tags.iter().map(|(k, v)| elb::Tag::builder().key(k).value(v).build()).collect();
    (!all.is_empty()).then_some(all)
}

pub(super) fn tag_map(tags: &[elb::Tag]) -> Tags {
    tags.iter()
        .filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned())))
        .collect()
}

fn protocol(word: Option<&elb::ProtocolEnum>) -> Result<ElbProtocol, Failure> {
    Ok(match word.map(elb::ProtocolEnum::as_str).unwrap_or_default() {
        "HTTP" => ElbProtocol::Http,
        "HTTPS" => ElbProtocol::Https,
        "TCP" => ElbProtocol::Tcp,
        "TLS" => ElbProtocol::Tls,
        "UDP" => ElbProtocol::Udp,
        "TCP_UDP" => ElbProtocol::TcpUdp,
        "QUIC" => ElbProtocol::Quic,
        "TCP_QUIC" => ElbProtocol::TcpQuic,
        other => return unknown("protocol", other),
    })
}

pub(super) fn family(family: IpAddressType) -> elb::IpAddressType {
    elb::IpAddressType::from(family.as_str())
}

pub(super) fn on_off(value: OnOff) -> &'static str {
    match value {
        OnOff::On => "on",
        OnOff::Off => "off",
    }
}

fn is_on(word: &str) -> OnOff {
    if word == "on" { OnOff::On } else { OnOff::Off }
}

pub(super) fn subnet_mapping(mapping: &SubnetMapping) -> elb::SubnetMapping {
    elb::SubnetMapping::builder()
        .subnet_id(&mapping.subnet_id)
        .set_allocation_id(mapping.allocation_id.clone())
        .set_private_ipv4_address(mapping.private_ipv4_address.clone())
        .set_ipv6_address(mapping.ipv6_address.clone())
        .set_source_nat_ipv6_prefix(mapping.source_nat_ipv6_prefix.clone())
        .build()
}

pub(super) fn load_balancer(lb: &elb::LoadBalancer) -> Result<LoadBalancer, Failure> {
    let kind = match lb.r#type().map(elb::LoadBalancerTypeEnum::as_str).unwrap_or_default() {
        "network" => LoadBalancerType::Network,
        // Others, such as gateways, are never ours.
        _ => LoadBalancerType::Application,
    };
    let scheme = match lb.scheme().map(elb::LoadBalancerSchemeEnum::as_str).unwrap_or_default() {
        "internet-facing" => Scheme::InternetFacing,
        _ => Scheme::Internal,
    };
    let ip_address_type = match lb.ip_address_type().map(elb::IpAddressType::as_str).unwrap_or_default() {
        "dualstack" => IpAddressType::Dualstack,
        "dualstack-without-public-ipv4" => IpAddressType::DualstackWithoutPublicIpv4,
        _ => IpAddressType::Ipv4,
    };
    let state = match lb.state().and_then(|s| s.code()).map(elb::LoadBalancerStateEnum::as_str) {
        Some("active") => State::Active,
        Some("active_impaired") => State::Impaired,
        Some("failed") => State::Failed,
        _ => State::Provisioning,
    };
    let zone = |zone: &elb::AvailabilityZone| {
        let address = zone.load_balancer_addresses().first();
        let text = |of: fn(&elb::LoadBalancerAddress) -> Option<&str>| {
            address.and_then(of).filter(|t| !t.is_empty()).map(str::to_owned)
        };
        SubnetMapping {
            allocation_id: text(elb::LoadBalancerAddress::allocation_id),
            private_ipv4_address: text(elb::LoadBalancerAddress::private_ipv4_address),
            ipv6_address: text(elb::LoadBalancerAddress::ipv6_address),
            source_nat_ipv6_prefix: zone.source_nat_ipv6_prefixes().first().cloned(),
            subnet_id: zone.subnet_id().unwrap_or_default().to_owned(),
        }
    };
    let link = lb.enforce_security_group_inbound_rules_on_private_link_traffic();
    Ok(LoadBalancer {
        arn: lb.load_balancer_arn().unwrap_or_default().to_owned(),
        dns_name: lb.dns_name().unwrap_or_default().to_owned(),
        zone_id: lb.canonical_hosted_zone_id().unwrap_or_default().to_owned(),
        state,
        vpc_id: lb.vpc_id().unwrap_or_default().to_owned(),
        spec: LoadBalancerSpec {
            name: lb.load_balancer_name().unwrap_or_default().to_owned(),
            kind,
            scheme,
            ip_address_type,
            enable_prefix_for_ipv6_source_nat: lb
                .enable_prefix_for_ipv6_source_nat()
                .map(|word| is_on(word.as_str())),
            subnet_mappings: lb.availability_zones().iter().map(zone).collect(),
            security_groups: lb.security_groups().iter().map(|id| Token::literal(id.as_str())).collect(),
            security_groups_inbound_rules_on_private_link: link.map(is_on),
            customer_owned_ipv4_pool: lb.customer_owned_ipv4_pool().map(str::to_owned),
            load_balancer_attributes: Vec::new(),
            minimum_load_balancer_capacity: None,
            tags: Tags::new(),
            ipv4_ipam_pool: lb.ipam_pools().and_then(|p| p.ipv4_ipam_pool_id()).map(str::to_owned),
        },
    })
}

fn seconds(value: Option<i32>) -> u32 {
    value.and_then(|v| u32::try_from(v).ok()).unwrap_or_default()
}

fn port(value: Option<i32>) -> u16 {
    value.and_then(|v| u16::try_from(v).ok()).unwrap_or_default()
}

/// Target groups of functions are never ours: `None`.
pub(super) fn target_group(group: &elb::TargetGroup) -> Result<Option<TargetGroup>, Failure> {
    let target_type = match group.target_type().map(elb::TargetTypeEnum::as_str).unwrap_or_default() {
        "instance" => TargetType::Instance,
        "ip" => TargetType::Ip,
        "alb" => TargetType::Alb,
        _ => return Ok(None),
    };
    if matches!(group.protocol().map(elb::ProtocolEnum::as_str), Some("GENEVE")) {
        return Ok(None);
    }
    let check_port = group.health_check_port().unwrap_or("traffic-port");
    let matcher = group.matcher().and_then(|m| {
        let http = m.http_code().map(|code| Matcher::Http(code.to_owned()));
        http.or_else(|| m.grpc_code().map(|code| Matcher::Grpc(code.to_owned())))
    });
    Ok(Some(TargetGroup {
        arn: group.target_group_arn().unwrap_or_default().to_owned(),
        vpc_id: group.vpc_id().unwrap_or_default().to_owned(),
        load_balancers: group.load_balancer_arns().iter().cloned().collect(),
        spec: TargetGroupSpec {
            name: group.target_group_name().unwrap_or_default().to_owned(),
            target_type,
            port: port(group.port()),
            protocol: protocol(group.protocol())?,
            protocol_version: match group.protocol_version() {
                Some("HTTP1") => Some(ProtocolVersion::Http1),
                Some("HTTP2") => Some(ProtocolVersion::Http2),
                Some("GRPC") => Some(ProtocolVersion::Grpc),
                _ => None,
            },
            ip_address_type: match group.ip_address_type().map(elb::TargetGroupIpAddressTypeEnum::as_str) {
                Some("ipv6") => Some(TargetFamily::Ipv6),
                Some(_) => Some(TargetFamily::Ipv4),
                None => None,
            },
            health_check_config: HealthCheckConfig {
                port: check_port
                    .parse()
                    .map_or_else(|_| PortOrName::Name(check_port.to_owned()), PortOrName::Number),
                protocol: protocol(group.health_check_protocol())?,
                path: group.health_check_path().map(str::to_owned),
                matcher,
                interval_seconds: seconds(group.health_check_interval_seconds()),
                timeout_seconds: seconds(group.health_check_timeout_seconds()),
                healthy_threshold_count: seconds(group.healthy_threshold_count()),
                unhealthy_threshold_count: seconds(group.unhealthy_threshold_count()),
            },
            target_group_attributes: Vec::new(),
            tags: Tags::new(),
            target_control_port: group.target_control_port().and_then(|p| u16::try_from(p).ok()),
        },
    }))
}

pub(super) fn matcher(matcher: &Matcher) -> elb::Matcher {
    match matcher {
        Matcher::Http(code) => elb::Matcher::builder().http_code(code).build(),
        Matcher::Grpc(code) => elb::Matcher::builder().grpc_code(code).build(),
    }
}

pub(super) fn check_port(port: &PortOrName) -> String {
    match port {
        PortOrName::Number(number) => number.to_string(),
        PortOrName::Name(name) => name.clone(),
    }
}

pub(super) fn listener(listener: &elb::Listener) -> Result<Listener, Failure> {
    let certificate = |c: &elb::Certificate| {
        c.certificate_arn().map(|arn| ListenerCertificate { certificate_arn: arn.to_owned() })
    };
    Ok(Listener {
        arn: listener.listener_arn().unwrap_or_default().to_owned(),
        spec: ListenerSpec {
            load_balancer_arn: Token::literal(listener.load_balancer_arn().unwrap_or_default()),
            port: port(listener.port()),
            protocol: protocol(listener.protocol())?,
            default_actions: super::actions::read(listener.default_actions()),
            certificates: listener.certificates().iter().filter_map(certificate).collect(),
            ssl_policy: listener.ssl_policy().map(str::to_owned),
            alpn_policy: listener.alpn_policy().to_vec(),
            mutual_authentication: listener.mutual_authentication().map(|m| MutualAuthentication {
                mode: m.mode().unwrap_or("off").to_owned(),
                trust_store_arn: m.trust_store_arn().map(str::to_owned),
                ignore_client_certificate_expiry: m.ignore_client_certificate_expiry(),
                advertise_trust_store_ca_names: m
                    .advertise_trust_store_ca_names()
                    .map(|word| word.as_str().to_owned()),
            }),
            tags: Tags::new(),
            listener_attributes: Vec::new(),
        },
    })
}

pub(super) fn mutual_authentication(m: &MutualAuthentication) -> elb::MutualAuthenticationAttributes {
    elb::MutualAuthenticationAttributes::builder()
        .mode(&m.mode)
        .set_trust_store_arn(m.trust_store_arn.clone())
        .set_ignore_client_certificate_expiry(m.ignore_client_certificate_expiry)
        .set_advertise_trust_store_ca_names(m.advertise_trust_store_ca_names.as_deref().map(Into::into))
        .build()
}

/// A rule; `None` for the default one, which is the listener's.
pub(super) fn rule(rule: &elb::Rule, listener: &str) -> Option<Rule> {
    if rule.is_default() == Some(true) {
        return None;
    }
    let transform = |t: &elb::RuleTransform| {
        let all = |r: &[elb::RewriteConfig]| {
            let one = |r: &elb::RewriteConfig| Rewrite {
                regex: r.regex().unwrap_or_default().to_owned(),
                replace: r.replace().unwrap_or_default().to_owned(),
            };
            r.iter().map(one).collect()
        };
        let url = t.url_rewrite_config().map(|c| Transform::UrlRewrite(all(c.rewrites())));
        url.or_else(|| {
            t.host_header_rewrite_config().map(|c| Transform::HostHeaderRewrite(all(c.rewrites())))
        })
    };
    Some(Rule {
        arn: rule.rule_arn().unwrap_or_default().to_owned(),
        spec: ListenerRuleSpec {
            listener_arn: Token::literal(listener),
            priority: rule.priority()?.parse().ok()?,
            actions: super::actions::read(rule.actions()),
            conditions: rule.conditions().iter().filter_map(condition).collect(),
            transforms: rule.transforms().iter().filter_map(transform).collect(),
            tags: Tags::new(),
        },
    })
}

fn condition(c: &elb::RuleCondition) -> Option<RuleCondition> {
    let values = |values: &[String], regexes: &[String]| Values {
        regex_values: regexes.to_vec(),
        values: values.to_vec(),
    };
    // Old clients set the values outside of the configuration of the field.
    Some(match c.field()? {
        "host-header" => RuleCondition::HostHeader(match c.host_header_config() {
            Some(config) => values(config.values(), config.regex_values()),
            None => values(c.values(), c.regex_values()),
        }),
        "path-pattern" => RuleCondition::PathPattern(match c.path_pattern_config() {
            Some(config) => values(config.values(), config.regex_values()),
            None => values(c.values(), c.regex_values()),
        }),
        "http-header" => {
            let config = c.http_header_config()?;
            RuleCondition::HttpHeader(HeaderValues {
                name: config.http_header_name().unwrap_or_default().to_owned(),
                values: values(config.values(), config.regex_values()),
            })
        }
        "http-request-method" => {
            RuleCondition::HttpRequestMethod(c.http_request_method_config()?.values().to_vec())
        }
        "query-string" => {
            let one = |p: &elb::QueryStringKeyValuePair| QueryParameter {
                key: p.key().map(str::to_owned),
                value: p.value().unwrap_or_default().to_owned(),
            };
            RuleCondition::QueryString(c.query_string_config()?.values().iter().map(one).collect())
        }
        "source-ip" => RuleCondition::SourceIp(c.source_ip_config()?.values().to_vec()),
        _ => return None,
    })
}

fn some(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

pub(super) fn to_condition(condition: &RuleCondition) -> elb::RuleCondition {
    let builder = elb::RuleCondition::builder();
    match condition {
        RuleCondition::HostHeader(v) => builder.field("host-header").host_header_config(
            elb::HostHeaderConditionConfig::builder()
                .set_values(some(&v.values))
                .set_regex_values(some(&v.regex_values))
                .build(),
        ),
        RuleCondition::PathPattern(v) => builder.field("path-pattern").path_pattern_config(
            elb::PathPatternConditionConfig::builder()
                .set_values(some(&v.values))
                .set_regex_values(some(&v.regex_values))
                .build(),
        ),
        RuleCondition::HttpHeader(h) => builder.field("http-header").http_header_config(
            elb::HttpHeaderConditionConfig::builder()
                .http_header_name(&h.name)
                .set_values(some(&h.values.values))
                .set_regex_values(some(&h.values.regex_values))
                .build(),
        ),
        RuleCondition::HttpRequestMethod(v) => {
            builder.field("http-request-method").http_request_method_config(
                elb::HttpRequestMethodConditionConfig::builder().set_values(some(v)).build(),
            )
        }
        RuleCondition::QueryString(all) => {
            let one = |p: &QueryParameter| {
                elb::QueryStringKeyValuePair::builder().set_key(p.key.clone()).value(&p.value).build()
            };
            let values = all.iter().map(one).collect();
            builder.field("query-string").query_string_config(
                elb::QueryStringConditionConfig::builder().set_values(Some(values)).build(),
            )
        }
        RuleCondition::SourceIp(v) => builder
            .field("source-ip")
            .source_ip_config(elb::SourceIpConditionConfig::builder().set_values(some(v)).build()),
    }
    .build()
}

pub(super) fn to_transform(transform: &Transform) -> elb::RuleTransform {
    let all = |rewrites: &[Rewrite]| {
        let one = |r: &Rewrite| elb::RewriteConfig::builder().regex(&r.regex).replace(&r.replace).build();
        Some(rewrites.iter().map(one).collect())
    };
    match transform {
        Transform::UrlRewrite(rewrites) => elb::RuleTransform::builder()
            .r#type("url-rewrite".into())
            .url_rewrite_config(elb::UrlRewriteConfig::builder().set_rewrites(all(rewrites)).build())
            .build(),
        Transform::HostHeaderRewrite(rewrites) => elb::RuleTransform::builder()
            .r#type("host-header-rewrite".into())
            .host_header_rewrite_config(
                elb::HostHeaderRewriteConfig::builder().set_rewrites(all(rewrites)).build(),
            )
            .build(),
    }
}

pub(super) fn health(state: Option<&elb::TargetHealthStateEnum>) -> Health {
    match state.map(elb::TargetHealthStateEnum::as_str).unwrap_or_default() {
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        "unused" => Health::Unused,
        "draining" | "unhealthy.draining" => Health::Draining,
        "unavailable" => Health::Unavailable,
        _ => Health::Initial,
    }
}

pub(super) fn target(t: &elb::TargetDescription) -> Option<Target> {
    Some(Target {
        id: Token::literal(t.id()?),
        port: port(t.port()),
        availability_zone: t.availability_zone().filter(|zone| *zone == "all").map(str::to_owned),
    })
}

pub(super) fn to_target(t: &Target) -> elb::TargetDescription {
    elb::TargetDescription::builder()
        .id(literal(&t.id))
        .port(i32::from(t.port))
        .set_availability_zone(t.availability_zone.clone())
        .build()
}

pub(super) fn literals(tokens: &[Token]) -> Option<Vec<String>> {
    let all: Vec<String> = tokens.iter().map(|t| literal(t).to_owned()).collect();
    (!all.is_empty()).then_some(all)
}

pub(super) fn strings(all: &BTreeSet<String>) -> Option<Vec<String>> {
    Some(all.iter().cloned().collect())
}
