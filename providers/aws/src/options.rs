//! Options of the provider: the flags of the peer controller that decide something, under their own names, and ours. One table, from which parsing and
//! the reference page are made. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::annotations::value::{self, check_tags, one_of};
use crate::stack::{Scheme, Tags, TargetType};

/// Whose way is gone where the peer's differs from ours; see docs/differences-from-lbc.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// Ours.
    #[default]
    None,
    /// That of aws-load-balancer-controller.
    Lbc,
}

/// The options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `compat`.
    pub compat: Compat,
    /// `default-tags`.
    pub default_tags: Tags,
    /// `external-managed-tags`: keys.
    pub external_managed_tags: BTreeSet<String>,
    /// `default-tags-low-priority`: tags of annotations win over the default ones.
    pub default_tags_low_priority: bool,
    /// `default-target-type`.
    pub default_target_type: TargetType,
    /// `default-load-balancer-scheme`.
    pub default_scheme: Scheme,
    /// `default-ssl-policy`.
    pub default_ssl_policy: String,
    /// `backend-security-group`: id.
    pub backend_security_group: Option<String>,
    /// `enable-backend-security-group`.
    pub enable_backend_security_group: bool,
    /// `enable-manage-backend-security-group-rules`.
    pub manage_backend_rules: bool,
    /// `disable-restricted-sg-rules`.
    pub unrestricted_rules: bool,
    /// `max-targets-per-target-group`; 0: AWS's quotas alone.
    pub max_targets: u32,
    /// `service-node-port-range`.
    pub node_ports: (u16, u16),
    /// `subnets-cluster-tag-check`.
    pub subnets_cluster_tag_check: bool,
    /// `subnet-discovery-by-reachability`.
    pub subnets_by_reachability: bool,
    /// `alb-single-subnet`.
    pub alb_single_subnet: bool,
    /// `nlb-security-group`: NLBs get security groups.
    pub nlb_security_group: bool,
    /// `enable-tcp-udp-listener`.
    pub tcp_udp_listener: Option<bool>,
    /// `tolerate-non-existent-backend-service`.
    pub tolerate_missing_service: bool,
    /// `tolerate-non-existent-backend-action`.
    pub tolerate_missing_action: bool,
    /// `allowed-certificate-authority-arns`; empty: all.
    pub allowed_authorities: BTreeSet<String>,
    /// `disable-ingress-group-name-annotation`.
    pub no_group_name_annotation: bool,
    /// `enable-wafv2`.
    pub wafv2: bool,
    /// `enable-shield`.
    pub shield: bool,
    /// `pod-readiness-gates`.
    pub readiness_gates: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            compat: Compat::None,
            default_tags: Tags::new(),
            external_managed_tags: BTreeSet::new(),
            default_tags_low_priority: false,
            default_target_type: TargetType::Instance,
            default_scheme: Scheme::Internal,
            default_ssl_policy: "ELBSecurityPolicy-2016-08".to_owned(),
            backend_security_group: None,
            enable_backend_security_group: true,
            manage_backend_rules: false,
            unrestricted_rules: false,
            max_targets: 0,
            node_ports: (30000, 32767),
            subnets_cluster_tag_check: true,
            subnets_by_reachability: true,
            alb_single_subnet: false,
            nlb_security_group: true,
            tcp_udp_listener: None,
            tolerate_missing_service: true,
            tolerate_missing_action: true,
            allowed_authorities: BTreeSet::new(),
            no_group_name_annotation: false,
            wafv2: true,
            shield: true,
            readiness_gates: false,
        }
    }
}

impl Options {
    /// The peer's way is gone where it differs.
    #[must_use]
    pub fn like_lbc(&self) -> bool {
        self.compat == Compat::Lbc
    }
}

/// One option.
pub struct OptionSpec {
    /// Name, without dashes in front.
    pub name: &'static str,
    /// Form of its value, for people.
    pub kind: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// Takes a value.
    set: fn(&mut Options, &str) -> Result<(), String>,
    /// The value as text, empty where there is none.
    get: fn(&Options) -> String,
}

fn set_bool(field: &mut bool, text: &str) -> Result<(), String> {
    *field = value::bool(text).ok_or_else(|| format!("{text:?} is not true or false"))?;
    Ok(())
}

fn set_list(field: &mut BTreeSet<String>, text: &str) {
    *field = value::list(text).into_iter().map(str::to_owned).collect();
}

fn joined<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    items.into_iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn choice<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let found = words.iter().find(|(name, _)| *name == text);
    found.map(|(_, t)| *t).ok_or_else(|| format!("{text:?} is not known: write {}", one_of(&names)))
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-')?;
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low > 0 && low <= high).then_some((low, high))
}

macro_rules! switch {
    ($name:literal, $field:ident, $doc:literal) => {
        OptionSpec {
            name: $name,
            kind: "true, false",
            doc: $doc,
            set: |o, t| set_bool(&mut o.$field, t),
            get: |o| o.$field.to_string(),
        }
    };
}

/// All options.
pub const TABLE: &[OptionSpec] = &[
    OptionSpec {
        name: "compat",
        kind: "none, lbc",
        doc: "lbc: where Causeway does better than aws-load-balancer-controller, do as that does; see differences-from-lbc.md.",
        set: |o, t| choice(t, &[("none", Compat::None), ("lbc", Compat::Lbc)]).map(|c| o.compat = c),
        get: |o| if o.like_lbc() { "lbc" } else { "none" }.to_owned(),
    },
    OptionSpec {
        name: "default-tags",
        kind: "key=value, …",
        doc: "Tags of everything that is made.",
        set: |o, t| {
            let tags = value::map(t)?;
            check_tags(&tags)?;
            o.default_tags = tags;
            Ok(())
        },
        get: |o| {
            joined(
                &o.default_tags
                    .iter()
                    .map(|(k, v)| format!("{k}={}", v.replace(',', "\\,")))
                    .collect::<Vec<_>>(),
            )
        },
    },
    OptionSpec {
        name: "external-managed-tags",
        kind: "list of keys",
        doc: "Tags that somebody else sets: they are left alone, and no annotation may set them.",
        set: |o, t| {
            set_list(&mut o.external_managed_tags, t);
            Ok(())
        },
        get: |o| joined(&o.external_managed_tags),
    },
    switch!(
        "default-tags-low-priority",
        default_tags_low_priority,
        "Where an annotation and default-tags have one key, the annotation wins; otherwise default-tags do."
    ),
    OptionSpec {
        name: "default-target-type",
        kind: "instance, ip",
        doc: "What targets are where no annotation says so.",
        set: |o, t| {
            let words = [("instance", TargetType::Instance), ("ip", TargetType::Ip)];
            choice(t, &words).map(|c| o.default_target_type = c)
        },
        get: |o| o.default_target_type.as_str().to_owned(),
    },
    OptionSpec {
        name: "default-load-balancer-scheme",
        kind: "internal, internet-facing",
        doc: "Scheme where no annotation says so.",
        set: |o, t| {
            let words = [("internal", Scheme::Internal), ("internet-facing", Scheme::InternetFacing)];
            choice(t, &words).map(|c| o.default_scheme = c)
        },
        get: |o| o.default_scheme.as_str().to_owned(),
    },
    OptionSpec {
        name: "default-ssl-policy",
        kind: "text",
        doc: "Policy of TLS where no annotation says so.",
        set: |o, t| {
            t.clone_into(&mut o.default_ssl_policy);
            Ok(())
        },
        get: |o| o.default_ssl_policy.clone(),
    },
    OptionSpec {
        name: "backend-security-group",
        kind: "id",
        doc: "The security group that load balancers share towards their targets, in place of the one that is made.",
        set: |o, t| {
            if !t.starts_with("sg-") {
                return Err(format!("{t:?} is not the id of a security group, such as sg-0123"));
            }
            o.backend_security_group = Some(t.to_owned());
            Ok(())
        },
        get: |o| o.backend_security_group.clone().unwrap_or_default(),
    },
    switch!(
        "enable-backend-security-group",
        enable_backend_security_group,
        "Load balancers share one security group towards their targets, so that the number of the nodes' rules does not grow with them."
    ),
    switch!(
        "enable-manage-backend-security-group-rules",
        manage_backend_rules,
        "Open nodes and pods also to load balancers with security groups of their owner's choice."
    ),
    switch!(
        "disable-restricted-sg-rules",
        unrestricted_rules,
        "Open all ports of nodes and pods to load balancers, not just those that are needed."
    ),
    OptionSpec {
        name: "max-targets-per-target-group",
        kind: "number",
        doc: "Most targets of one target group; which ones stays the same while nodes come and go. 0: the quotas of AWS.",
        set: |o, t| t.parse().map(|n| o.max_targets = n).map_err(|_| format!("{t:?} is not a number")),
        get: |o| o.max_targets.to_string(),
    },
    OptionSpec {
        name: "service-node-port-range",
        kind: "first-last",
        doc: "NodePorts of the cluster, as the API server has them: nodes are opened for these.",
        set: |o, t| {
            port_range(t)
                .map(|r| o.node_ports = r)
                .ok_or_else(|| format!("{t:?} is not a range such as 30000-32767"))
        },
        get: |o| format!("{}-{}", o.node_ports.0, o.node_ports.1),
    },
    switch!(
        "subnets-cluster-tag-check",
        subnets_cluster_tag_check,
        "Subnets that carry the tag of other clusters only are not taken."
    ),
    switch!(
        "subnet-discovery-by-reachability",
        subnets_by_reachability,
        "Where no subnet carries the tag of its role, routes tell the public from the private ones."
    ),
    switch!(
        "alb-single-subnet",
        alb_single_subnet,
        "An ALB may have one subnet only; AWS must have allowed that to the account."
    ),
    switch!("nlb-security-group", nlb_security_group, "NLBs get security groups."),
    OptionSpec {
        name: "enable-tcp-udp-listener",
        kind: "true, false",
        doc: "One listener for TCP and UDP where a Service has both on one port and no annotation says otherwise. Without it: true, with compat=lbc false.",
        set: |o, t| {
            let mut on = false;
            set_bool(&mut on, t)?;
            o.tcp_udp_listener = Some(on);
            Ok(())
        },
        get: |o| o.tcp_udp_listener.map(|on| on.to_string()).unwrap_or_default(),
    },
    switch!(
        "tolerate-non-existent-backend-service",
        tolerate_missing_service,
        "Rules whose Service is missing answer 503; otherwise they are not made."
    ),
    switch!(
        "tolerate-non-existent-backend-action",
        tolerate_missing_action,
        "Rules whose action is missing answer 503; otherwise they are not made."
    ),
    OptionSpec {
        name: "allowed-certificate-authority-arns",
        kind: "list",
        doc: "Discovery takes certificates of these private authorities, and public ones; without it those of all.",
        set: |o, t| {
            set_list(&mut o.allowed_authorities, t);
            Ok(())
        },
        get: |o| joined(&o.allowed_authorities),
    },
    switch!(
        "disable-ingress-group-name-annotation",
        no_group_name_annotation,
        "Groups of Ingresses are made by the parameters of their class only."
    ),
    switch!("enable-wafv2", wafv2, "Serve annotations of WAFv2."),
    switch!("enable-shield", shield, "Serve annotations of Shield Advanced."),
    switch!(
        "pod-readiness-gates",
        readiness_gates,
        "Open readiness gates of pods whose type begins with target-health.elbv2.k8s.aws/ once their target groups find them healthy. Pods are watched for that; see aws.md."
    ),
];

/// Feature gates of the peer that decide something, and the option that each is here.
const GATES: &[(&str, &str)] = &[
    ("SubnetsClusterTagCheck", "subnets-cluster-tag-check"),
    ("SubnetDiscoveryByReachability", "subnet-discovery-by-reachability"),
    ("ALBSingleSubnet", "alb-single-subnet"),
    ("NLBSecurityGroup", "nlb-security-group"),
    ("EnableTCPUDPListener", "enable-tcp-udp-listener"),
    ("EnableDefaultTagsLowPriority", "default-tags-low-priority"),
];

impl Options {
    /// Sets one option from its text.
    ///
    /// # Errors
    /// Which option, and what is wrong.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        if name == "feature-gates" {
            for (gate, on) in value::map(text).map_err(|why| format!("option feature-gates: {why}"))? {
                let Some((_, option)) = GATES.iter().find(|(name, _)| *name == gate) else {
                    let known: Vec<&str> = GATES.iter().map(|(name, _)| *name).collect();
                    return Err(format!(
                        "option feature-gates: gate {gate} is not known; there are: {}",
                        known.join(", ")
                    ));
                };
                self.set(option, &on)?;
            }
            return Ok(());
        }
        let Some(spec) = TABLE.iter().find(|o| o.name == name) else {
            let known: Vec<&str> = TABLE.iter().map(|o| o.name).collect();
            return Err(format!("option {name:?} is not known; there are: {}", known.join(", ")));
        };
        (spec.set)(self, text.trim()).map_err(|why| format!("option {name}: {why}"))
    }

    /// Reads options as a file has them: texts, numbers, truth values, lists and maps.
    ///
    /// # Errors
    /// The first option that is not known or wrong.
    pub fn read(options: &BTreeMap<String, Value>) -> Result<Self, String> {
        let mut out = Self::default();
        for (name, value) in options {
            let text = text(value).ok_or_else(|| format!("option {name}: {value} is no value for it"))?;
            out.set(name, &text)?;
        }
        Ok(out)
    }

    /// Those that differ from their defaults, as [`read`](Self::read) takes them.
    #[must_use]
    pub fn written(&self) -> BTreeMap<String, Value> {
        let default = Self::default();
        TABLE
            .iter()
            .filter(|o| (o.get)(self) != (o.get)(&default))
            .map(|o| (o.name.to_owned(), Value::String((o.get)(self))))
            .collect()
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => items.iter().map(text).collect::<Option<Vec<_>>>().map(|i| i.join(",")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(k, v)| Some(format!("{k}={}", text(v)?.replace(',', "\\,"))));
            pairs.collect::<Option<Vec<_>>>().map(|p| p.join(","))
        }
        Value::Null => None,
    }
}

/// The table of options as Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    use std::fmt::Write as _;
    let default = Options::default();
    let mut page = String::from("| Option | Value | Default | Meaning |\n|---|---|---|---|\n");
    for option in TABLE {
        let value = (option.get)(&default);
        let value = if value.is_empty() { String::new() } else { format!("`{value}`") };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {} | {value} | {} |", option.name, option.kind, option.doc);
    }
    page
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Options, String> {
        Options::read(&serde_json::from_value(value).expect("a mapping"))
    }

    #[rstest]
    #[case("compat", json!("lbc"))]
    #[case("default-tags", json!({"team": "platform", "note": "a = b"}))]
    #[case("external-managed-tags", json!(["cost", "owner"]))]
    #[case("default-tags-low-priority", json!(true))]
    #[case("default-target-type", json!("ip"))]
    #[case("default-load-balancer-scheme", json!("internet-facing"))]
    #[case("default-ssl-policy", json!("ELBSecurityPolicy-TLS13-1-2-2021-06"))]
    #[case("backend-security-group", json!("sg-1"))]
    #[case("enable-backend-security-group", json!("false"))]
    #[case("enable-manage-backend-security-group-rules", json!(true))]
    #[case("disable-restricted-sg-rules", json!(true))]
    #[case("max-targets-per-target-group", json!(7))]
    #[case("service-node-port-range", json!("20000-20999"))]
    #[case("subnets-cluster-tag-check", json!(false))]
    #[case("subnet-discovery-by-reachability", json!(false))]
    #[case("alb-single-subnet", json!(true))]
    #[case("nlb-security-group", json!(false))]
    #[case("enable-tcp-udp-listener", json!(false))]
    #[case("tolerate-non-existent-backend-service", json!(false))]
    #[case("tolerate-non-existent-backend-action", json!(false))]
    #[case("allowed-certificate-authority-arns", json!("arn:a,arn:b"))]
    #[case("disable-ingress-group-name-annotation", json!(true))]
    #[case("enable-wafv2", json!(false))]
    #[case("enable-shield", json!(false))]
    #[case("pod-readiness-gates", json!(true))]
    fn each_option_is_read_and_written(#[case] name: &str, #[case] value: Value) {
        let options = read(json!({ name: value })).expect("a right value");
        assert_ne!(options, Options::default(), "{name} changes nothing");
        let written = options.written();
        assert_eq!(written.keys().collect::<Vec<_>>(), [name]);
        assert_eq!(Options::read(&written), Ok(options));
        assert!(reference_markdown().contains(&format!("| `{name}` |")));
    }

    #[test]
    fn there_is_no_option_without_a_case_above() {
        assert_eq!(TABLE.len(), 25);
    }

    #[rstest]
    #[case(json!({"frobnicate": 1}), "frobnicate")]
    #[case(json!({"default-target-type": "pods"}), "instance or ip")]
    #[case(json!({"default-tags": "team"}), "default-tags")]
    #[case(json!({"default-tags": {"aws:x": "y"}}), "aws:")]
    #[case(json!({"backend-security-group": "web"}), "sg-")]
    #[case(json!({"service-node-port-range": "9-1"}), "30000-32767")]
    #[case(json!({"max-targets-per-target-group": "many"}), "number")]
    #[case(json!({"alb-single-subnet": "perhaps"}), "true or false")]
    #[case(json!({"alb-single-subnet": null}), "alb-single-subnet")]
    #[case(json!({"feature-gates": "NoSuchGate=true"}), "NoSuchGate")]
    fn a_wrong_option_is_named(#[case] value: Value, #[case] says: &str) {
        let error = read(value).expect_err("a wrong value");
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn feature_gates_of_the_peer_are_options() {
        let options = read(json!({"feature-gates": "ALBSingleSubnet=true,SubnetsClusterTagCheck=false"}))
            .expect("gates");
        assert!(options.alb_single_subnet && !options.subnets_cluster_tag_check);
        for (_, option) in GATES {
            assert!(TABLE.iter().any(|o| o.name == *option), "{option}");
        }
    }
}
