//! IngressClassParams: what the class of an Ingress says for all Ingresses of it. Pure.
//!
//! The kind is the peer's, so that its objects serve as they are. Where both the class and an annotation say something, the class wins.

use std::collections::BTreeMap;

use causeway_api::{Kind, ObjectRef, Problem};
use serde::Deserialize;

use crate::annotations::value;
use crate::stack::{IpAddressType, Scheme, TargetType};

/// API group of the peer's kinds.
pub const GROUP: &str = "elbv2.k8s.aws";
/// The kind.
pub const KIND: &str = "IngressClassParams";
/// Reason of problems with parameters.
pub const INVALID: &str = "InvalidParameters";

/// A key and its value, of tags and attributes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(default)]
    pub value: String,
}

/// Which subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubnetSelector {
    /// By id.
    pub ids: Vec<String>,
    /// By tag: each key has one of the values.
    pub tags: BTreeMap<String, Vec<String>>,
}

/// One listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Port.
    pub port: u16,
    /// Attributes.
    pub listener_attributes: Vec<Pair>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Capacity {
    capacity_units: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ipam {
    #[serde(rename = "ipv4IPAMPoolId")]
    ipv4_ipam_pool_id: Option<String>,
}

/// A label selector of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that must be as given.
    pub match_labels: BTreeMap<String, String>,
    /// Further demands.
    pub match_expressions: Vec<Expression>,
}

/// A demand on one label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values of the first two.
    #[serde(default)]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether labels are as demanded; a selector without demands selects all.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let one = |e: &Expression| {
            let label = labels.get(&e.key);
            match e.operator.as_str() {
                "In" => label.is_some_and(|l| e.values.contains(l)),
                "NotIn" => label.is_none_or(|l| !e.values.contains(l)),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        };
        self.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.match_expressions.iter().all(one)
    }

    fn check(&self) -> Result<(), String> {
        for e in &self.match_expressions {
            match (e.operator.as_str(), e.values.is_empty()) {
                ("In" | "NotIn", false) | ("Exists" | "DoesNotExist", true) => {}
                ("In" | "NotIn", true) => {
                    return Err(format!("operator {} of {} needs values", e.operator, e.key));
                }
                ("Exists" | "DoesNotExist", false) => {
                    return Err(format!("operator {} of {} takes no values", e.operator, e.key));
                }
                (other, _) => {
                    return Err(format!(
                        "operator {other:?} is not known: write In, NotIn, Exists or DoesNotExist"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    load_balancer_name: String,
    certificate_arn: Vec<String>,
    namespace_selector: Option<LabelSelector>,
    group: Option<Named>,
    scheme: Option<String>,
    #[serde(rename = "inboundCIDRs")]
    inbound_cidrs: Vec<String>,
    ssl_policy: String,
    ssl_redirect_port: String,
    subnets: Option<SubnetSelector>,
    ip_address_type: Option<String>,
    tags: Vec<Pair>,
    target_type: String,
    load_balancer_attributes: Vec<Pair>,
    listeners: Vec<Listener>,
    minimum_load_balancer_capacity: Option<Capacity>,
    ipam_configuration: Option<Ipam>,
    #[serde(rename = "PrefixListsIDs")]
    prefix_lists_ids_legacy: Vec<String>,
    #[serde(rename = "prefixListsIDs")]
    prefix_lists_ids: Vec<String>,
    #[serde(rename = "wafv2AclArn")]
    wafv2_acl_arn: String,
    #[serde(rename = "wafv2AclName")]
    wafv2_acl_name: String,
}

/// What a class says. Absent fields say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Name of the object.
    pub object: String,
    /// Namespaces whose Ingresses may be of the class; absent: all.
    pub namespace_selector: Option<LabelSelector>,
    /// Group of all Ingresses of the class.
    pub group: Option<String>,
    /// Name of the load balancer.
    pub name: Option<String>,
    /// Certificates.
    pub certificates: Vec<String>,
    /// Scheme.
    pub scheme: Option<Scheme>,
    /// Networks of clients.
    pub inbound_cidrs: Vec<String>,
    /// Prefix lists of clients.
    pub prefix_lists: Vec<String>,
    /// Policy of TLS.
    pub ssl_policy: Option<String>,
    /// Port to redirect to.
    pub ssl_redirect: Option<u16>,
    /// Subnets.
    pub subnets: Option<SubnetSelector>,
    /// Families of the load balancer.
    pub ip_address_type: Option<IpAddressType>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What targets are.
    pub target_type: Option<TargetType>,
    /// Attributes of the load balancer.
    pub attributes: BTreeMap<String, String>,
    /// Attributes of listeners.
    pub listeners: Vec<Listener>,
    /// Reserved capacity.
    pub capacity: Option<u32>,
    /// IPAM pool.
    pub ipam_pool: Option<String>,
    /// Web ACL by ARN.
    pub wafv2_arn: Option<String>,
    /// Web ACL by name.
    pub wafv2_name: Option<String>,
}

/// The object of problems with parameters.
#[must_use]
pub fn object(name: &str) -> ObjectRef {
    ObjectRef {
        kind: Kind::Own(KIND.to_owned()),
        namespace: String::new(),
        name: name.to_owned(),
        uid: "".into(),
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

fn map(pairs: Vec<Pair>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|p| (p.key, p.value)).collect()
}

impl Parameters {
    /// Reads `spec` of an object.
    ///
    /// # Errors
    /// What is wrong with which field.
    pub fn read(name: &str, spec: &serde_json::Value) -> Result<Self, Problem> {
        let wrong = |field: &str, why: String| {
            Problem::error(
                object(name),
                if field.is_empty() { "spec".to_owned() } else { format!("spec.{field}") },
                INVALID,
                format!("{why}; until it is mended, Ingresses of the class stay as they are"),
            )
        };
        let spec = if spec.is_null() { serde_json::json!({}) } else { spec.clone() };
        let spec: Spec = serde_json::from_value(spec).map_err(|e| wrong("", e.to_string()))?;
        let check = |field: &str, result: Result<(), String>| result.map_err(|why| wrong(field, why));
        let word = |field: &str, text: &Option<String>, words: &[&str]| match text {
            Some(t) if !words.contains(&t.as_str()) => {
                Err(wrong(field, format!("{t:?} is not known: write {}", value::one_of(words))))
            }
            _ => Ok(()),
        };
        word("scheme", &spec.scheme, &["internal", "internet-facing"])?;
        word(
            "ipAddressType",
            &spec.ip_address_type,
            &["ipv4", "dualstack", "dualstack-without-public-ipv4"],
        )?;
        word("targetType", &some(spec.target_type.clone()), &["instance", "ip"])?;
        if !spec.load_balancer_name.is_empty() {
            check("loadBalancerName", crate::naming::check(&spec.load_balancer_name))?;
        }
        if let Some(group) = &spec.group {
            check("group.name", crate::annotations::ingress::group_name(&group.name))?;
        }
        if let Some(selector) = &spec.namespace_selector {
            check("namespaceSelector", selector.check())?;
        }
        if let Some(cidr) = spec.inbound_cidrs.iter().find(|c| c.parse::<ipnet::IpNet>().is_err()) {
            return Err(wrong("inboundCIDRs", format!("{cidr:?} is not a network, such as 10.0.0.0/8")));
        }
        if let Some(arn) = spec.certificate_arn.iter().find(|a| !a.starts_with("arn:")) {
            return Err(wrong("certificateArn", format!("{arn:?} is not an ARN")));
        }
        if let Some(subnets) = &spec.subnets
            && subnets.ids.is_empty() == subnets.tags.is_empty()
        {
            return Err(wrong("subnets", "of ids and tags exactly one must be there".to_owned()));
        }
        let ssl_redirect = match spec.ssl_redirect_port.as_str() {
            "" => None,
            text => match text.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => {
                    return Err(wrong(
                        "sslRedirectPort",
                        format!("{text:?} is not a port: write 1 to 65535"),
                    ));
                }
            },
        };
        for (i, listener) in spec.listeners.iter().enumerate() {
            if !matches!(listener.protocol.as_str(), "HTTP" | "HTTPS") || listener.port == 0 {
                return Err(wrong(
                    &format!("listeners[{i}]"),
                    "protocol must be HTTP or HTTPS, port 1 to 65535".to_owned(),
                ));
            }
        }
        let tags = map(spec.tags);
        check("tags", value::check_tags(&tags))?;
        let prefix_lists = if spec.prefix_lists_ids.is_empty() {
            spec.prefix_lists_ids_legacy
        } else {
            spec.prefix_lists_ids
        };
        Ok(Self {
            object: name.to_owned(),
            namespace_selector: spec.namespace_selector,
            group: spec.group.map(|g| g.name),
            name: some(spec.load_balancer_name),
            certificates: spec.certificate_arn,
            scheme: spec
                .scheme
                .map(|s| if s == "internal" { Scheme::Internal } else { Scheme::InternetFacing }),
            inbound_cidrs: spec.inbound_cidrs,
            prefix_lists,
            ssl_policy: some(spec.ssl_policy),
            ssl_redirect,
            subnets: spec.subnets,
            ip_address_type: spec.ip_address_type.as_deref().map(ip_address_type),
            tags,
            target_type: some(spec.target_type).map(|t| target_type(&t)),
            attributes: map(spec.load_balancer_attributes),
            listeners: spec.listeners,
            capacity: spec.minimum_load_balancer_capacity.map(|c| c.capacity_units),
            ipam_pool: spec.ipam_configuration.and_then(|i| i.ipv4_ipam_pool_id).and_then(some),
            wafv2_arn: some(spec.wafv2_acl_arn),
            wafv2_name: some(spec.wafv2_acl_name),
        })
    }

    /// Attributes for one listener.
    #[must_use]
    pub fn listener_attributes(&self, protocol: &str, port: u16) -> BTreeMap<String, String> {
        let found = self.listeners.iter().find(|l| l.protocol == protocol && l.port == port);
        found.map(|l| map(l.listener_attributes.clone())).unwrap_or_default()
    }
}

/// A word of the table.
#[must_use]
pub fn ip_address_type(text: &str) -> IpAddressType {
    match text {
        "dualstack" => IpAddressType::Dualstack,
        "dualstack-without-public-ipv4" => IpAddressType::DualstackWithoutPublicIpv4,
        _ => IpAddressType::Ipv4,
    }
}

/// A word of the table.
#[must_use]
pub fn target_type(text: &str) -> TargetType {
    if text == "ip" { TargetType::Ip } else { TargetType::Instance }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field() {
        let spec = json!({
            "loadBalancerName": "shop", "certificateArn": ["arn:a"], "namespaceSelector": {"matchLabels": {"team": "a"}},
            "group": {"name": "shared"}, "scheme": "internet-facing", "inboundCIDRs": ["10.0.0.0/8"], "sslPolicy": "p",
            "sslRedirectPort": "443", "subnets": {"ids": ["subnet-1"]}, "ipAddressType": "dualstack",
            "tags": [{"key": "k", "value": "v"}], "targetType": "ip",
            "loadBalancerAttributes": [{"key": "idle_timeout.timeout_seconds", "value": "30"}],
            "listeners": [{"protocol": "HTTPS", "port": 443, "listenerAttributes": [{"key": "a", "value": "b"}]}],
            "minimumLoadBalancerCapacity": {"capacityUnits": 100}, "ipamConfiguration": {"ipv4IPAMPoolId": "ipam-1"},
            "prefixListsIDs": ["pl-1"], "PrefixListsIDs": ["pl-0"], "wafv2AclArn": "arn:w", "wafv2AclName": "w",
        });
        let p = Parameters::read("x", &spec).expect("right");
        assert_eq!(
            (p.name.as_deref(), p.group.as_deref(), p.scheme),
            (Some("shop"), Some("shared"), Some(Scheme::InternetFacing))
        );
        assert_eq!((p.ssl_redirect, p.capacity, p.target_type), (Some(443), Some(100), Some(TargetType::Ip)));
        assert_eq!((p.prefix_lists, p.ipam_pool.as_deref()), (vec!["pl-1".to_owned()], Some("ipam-1")));
        assert_eq!((p.wafv2_arn.as_deref(), p.wafv2_name.as_deref()), (Some("arn:w"), Some("w")));
        assert_eq!(p.attributes["idle_timeout.timeout_seconds"], "30");
        assert_eq!((p.tags["k"].as_str(), p.ip_address_type), ("v", Some(IpAddressType::Dualstack)));
        let p = Parameters::read("x", &spec).expect("right");
        assert_eq!(p.listener_attributes("HTTPS", 443)["a"], "b");
        assert!(
            p.listener_attributes("HTTP", 443).is_empty() && p.listener_attributes("HTTPS", 80).is_empty()
        );
        assert_eq!(
            Parameters::read("x", &json!(null)),
            Ok(Parameters { object: "x".to_owned(), ..Parameters::default() })
        );
        let legacy = Parameters::read("x", &json!({"PrefixListsIDs": ["pl-0"]})).expect("right");
        assert_eq!(legacy.prefix_lists, ["pl-0"]);
    }

    #[rstest]
    #[case(json!({"shceme": "internal"}), "spec", "shceme")]
    #[case(json!({"scheme": "public"}), "spec.scheme", "internet-facing")]
    #[case(json!({"ipAddressType": "ipv6"}), "spec.ipAddressType", "dualstack")]
    #[case(json!({"targetType": "alb"}), "spec.targetType", "instance")]
    #[case(json!({"loadBalancerName": "internal-x"}), "spec.loadBalancerName", "internal-")]
    #[case(json!({"group": {"name": "A"}}), "spec.group.name", "lower-case")]
    #[case(json!({"group": {}}), "spec.group.name", "lower-case")]
    #[case(json!({"inboundCIDRs": ["x"]}), "spec.inboundCIDRs", "network")]
    #[case(json!({"certificateArn": ["x"]}), "spec.certificateArn", "ARN")]
    #[case(json!({"subnets": {}}), "spec.subnets", "exactly one")]
    #[case(json!({"subnets": {"ids": ["a"], "tags": {"k": ["v"]}}}), "spec.subnets", "exactly one")]
    #[case(json!({"sslRedirectPort": "https"}), "spec.sslRedirectPort", "65535")]
    #[case(json!({"listeners": [{"protocol": "TCP", "port": 1}]}), "spec.listeners[0]", "HTTP")]
    #[case(json!({"tags": [{"key": "aws:x", "value": ""}]}), "spec.tags", "aws:")]
    #[case(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "in"}]}}), "spec.namespaceSelector", "not known")]
    fn wrong(#[case] spec: serde_json::Value, #[case] field: &str, #[case] says: &str) {
        let problem = Parameters::read("x", &spec).expect_err("wrong");
        assert_eq!(
            (problem.object.to_string().as_str(), problem.field.as_str()),
            ("IngressClassParams x", field)
        );
        assert!(problem.message.contains(says), "{}", problem.message);
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"matchLabels": {"team": "a"}}), true)]
    #[case(json!({"matchLabels": {"team": "b"}}), false)]
    #[case(json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}), false)]
    #[case(json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["a"]}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}), false)]
    #[case(json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true)]
    fn selectors(#[case] selector: serde_json::Value, #[case] want: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).expect("a selector");
        assert_eq!(selector.selects(&[("team".to_owned(), "a".to_owned())].into()), want);
    }
}
