//! Attributes of load balancers, target groups and listeners: what there is, for which type, the default, what values are right (ELB API reference,
//! `LoadBalancerAttribute`, `TargetGroupAttribute`, `ListenerAttribute`). Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::state::{Kind, LoadBalancer, TargetGroup};
use super::{Answer, Elb, Refusal, list, required, text};

/// What values an attribute takes.
#[derive(Clone, Copy, Debug)]
enum Values {
    Bool,
    Int(i64, i64),
    OneOf(&'static [&'static str]),
    Text,
    /// A number or `off`.
    CountOrOff,
    PercentOrOff,
}

use Values::*;

impl Values {
    fn has(self, value: &str) -> bool {
        let between = |low: i64, high: i64| value.parse::<i64>().is_ok_and(|n| (low..=high).contains(&n));
        match self {
            Bool => matches!(value, "true" | "false"),
            Int(low, high) => between(low, high),
            OneOf(values) => values.contains(&value),
            Text => value.len() <= 1024,
            CountOrOff => value == "off" || between(1, 1000),
            PercentOrOff => value == "off" || between(1, 100),
        }
    }
}

type Table = &'static [(&'static str, &'static str, Values)];

const BOTH: Table = &[
    ("access_logs.s3.bucket", "", Text),
    ("access_logs.s3.enabled", "false", Bool),
    ("access_logs.s3.prefix", "", Text),
    ("deletion_protection.enabled", "false", Bool),
    ("ipv6.deny_all_igw_traffic", "false", Bool),
    ("zonal_shift.config.enabled", "false", Bool),
];

const NETWORK: Table = &[
    ("load_balancing.cross_zone.enabled", "false", Bool),
    (
        "dns_record.client_routing_policy",
        "any_availability_zone",
        OneOf(&["any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity"]),
    ),
    ("secondary_ips.auto_assigned.per_subnet", "0", Int(0, 7)),
];

const APPLICATION: Table = &[
    // Always true on ALBs.
    ("load_balancing.cross_zone.enabled", "true", OneOf(&["true"])),
    ("client_keep_alive.seconds", "3600", Int(60, 604_800)),
    ("connection_logs.s3.bucket", "", Text),
    ("connection_logs.s3.enabled", "false", Bool),
    ("connection_logs.s3.prefix", "", Text),
    ("health_check_logs.s3.bucket", "", Text),
    ("health_check_logs.s3.enabled", "false", Bool),
    ("health_check_logs.s3.prefix", "", Text),
    ("idle_timeout.timeout_seconds", "60", Int(1, 4000)),
    ("routing.http.desync_mitigation_mode", "defensive", OneOf(&["monitor", "defensive", "strictest"])),
    ("routing.http.drop_invalid_header_fields.enabled", "false", Bool),
    ("routing.http.preserve_host_header.enabled", "false", Bool),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false", Bool),
    ("routing.http.xff_client_port.enabled", "false", Bool),
    ("routing.http.xff_header_processing.mode", "append", OneOf(&["append", "preserve", "remove"])),
    ("routing.http2.enabled", "true", Bool),
    ("waf.fail_open.enabled", "false", Bool),
];

const GROUP: Table = &[
    ("deregistration_delay.timeout_seconds", "300", Int(0, 3600)),
    ("stickiness.enabled", "false", Bool),
    (
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
        OneOf(&["true", "false", "use_load_balancer_configuration"]),
    ),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1", CountOrOff),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off", PercentOrOff),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", Int(1, 1000)),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off", PercentOrOff),
];

const NETWORK_GROUP: Table = &[
    ("deregistration_delay.connection_termination.enabled", "false", Bool),
    ("preserve_client_ip.enabled", "", Bool),
    ("proxy_protocol_v2.enabled", "false", Bool),
    ("stickiness.type", "source_ip", OneOf(&["source_ip"])),
    ("target_health_state.unhealthy.connection_termination.enabled", "true", Bool),
    ("target_health_state.unhealthy.draining_interval_seconds", "0", Int(0, 360_000)),
    ("target_failover.on_deregistration", "no_rebalance", OneOf(&["rebalance", "no_rebalance"])),
    ("target_failover.on_unhealthy", "no_rebalance", OneOf(&["rebalance", "no_rebalance"])),
];

const APPLICATION_GROUP: Table = &[
    (
        "load_balancing.algorithm.type",
        "round_robin",
        OneOf(&["round_robin", "least_outstanding_requests", "weighted_random"]),
    ),
    ("load_balancing.algorithm.anomaly_mitigation", "off", OneOf(&["on", "off"])),
    ("slow_start.duration_seconds", "0", Int(0, 900)),
    ("stickiness.type", "lb_cookie", OneOf(&["lb_cookie", "app_cookie"])),
    ("stickiness.lb_cookie.duration_seconds", "86400", Int(1, 604_800)),
    ("stickiness.app_cookie.cookie_name", "", Text),
    ("stickiness.app_cookie.duration_seconds", "86400", Int(1, 604_800)),
];

const TCP_LISTENER: Table = &[("tcp.idle_timeout.seconds", "350", Int(60, 6000))];

const APPLICATION_LISTENER: Table = &[
    ("routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name", "", Text),
    ("routing.http.request.x_amzn_mtls_clientcert_issuer.header_name", "", Text),
    ("routing.http.request.x_amzn_mtls_clientcert_subject.header_name", "", Text),
    ("routing.http.request.x_amzn_mtls_clientcert_validity.header_name", "", Text),
    ("routing.http.request.x_amzn_mtls_clientcert_leaf.header_name", "", Text),
    ("routing.http.request.x_amzn_mtls_clientcert.header_name", "", Text),
    ("routing.http.request.x_amzn_tls_version.header_name", "", Text),
    ("routing.http.request.x_amzn_tls_cipher_suite.header_name", "", Text),
    ("routing.http.response.server.enabled", "true", Bool),
    ("routing.http.response.strict_transport_security.header_value", "", Text),
    ("routing.http.response.access_control_allow_origin.header_value", "", Text),
    ("routing.http.response.access_control_allow_methods.header_value", "", Text),
    ("routing.http.response.access_control_allow_headers.header_value", "", Text),
    ("routing.http.response.access_control_allow_credentials.header_value", "", Text),
    ("routing.http.response.access_control_expose_headers.header_value", "", Text),
    ("routing.http.response.access_control_max_age.header_value", "", Text),
    ("routing.http.response.content_security_policy.header_value", "", Text),
    ("routing.http.response.x_content_type_options.header_value", "", Text),
    ("routing.http.response.x_frame_options.header_value", "", Text),
];

type Attributes = Vec<(&'static str, &'static str, Values)>;

fn joined(tables: &[Table]) -> Attributes {
    tables.iter().flat_map(|table| table.iter().copied()).collect()
}

fn of_load_balancer(kind: Kind) -> Attributes {
    match kind {
        Kind::Network => joined(&[BOTH, NETWORK]),
        Kind::Application => joined(&[BOTH, APPLICATION]),
    }
}

fn of_target_group(group: &TargetGroup) -> Attributes {
    if group.fits(Kind::Application) {
        return joined(&[GROUP, APPLICATION_GROUP]);
    }
    // Addresses of clients are kept: of instances always unless told otherwise, of addresses only with UDP.
    let preserve =
        if group.target_type == "instance" || group.protocol.contains("UDP") { "true" } else { "false" };
    let mut all = joined(&[GROUP, NETWORK_GROUP]);
    for attribute in all.iter_mut().filter(|(name, ..)| *name == "preserve_client_ip.enabled") {
        attribute.1 = preserve;
    }
    all
}

fn of_listener(protocol: &str) -> Attributes {
    match protocol {
        "TCP" => joined(&[TCP_LISTENER]),
        "HTTP" | "HTTPS" => joined(&[APPLICATION_LISTENER]),
        _ => Attributes::new(),
    }
}

/// The value of an attribute of a load balancer, its default if it was not set; empty if it has no such attribute.
pub fn load_balancer(balancer: &LoadBalancer, key: &str) -> String {
    value(&of_load_balancer(balancer.kind), &balancer.attributes, key)
}

/// The value of an attribute of a target group, as [`load_balancer`].
pub fn target_group(group: &TargetGroup, key: &str) -> String {
    value(&of_target_group(group), &group.attributes, key)
}

/// The value of an attribute of a listener, as [`load_balancer`].
pub fn listener(protocol: &str, set: &BTreeMap<String, String>, key: &str) -> String {
    value(&of_listener(protocol), set, key)
}

fn value(all: &Attributes, set: &BTreeMap<String, String>, key: &str) -> String {
    let default =
        || all.iter().find(|(name, ..)| *name == key).map_or("", |(_, default, _)| default).to_owned();
    set.get(key).cloned().unwrap_or_else(default)
}

fn described(all: &Attributes, set: &BTreeMap<String, String>) -> Value {
    let each = |(key, default, _): &(&str, &str, Values)| json!({"Key": key, "Value": set.get(*key).map_or(*default, String::as_str)});
    json!({"Attributes": all.iter().map(each).collect::<Vec<_>>()})
}

/// The settings with those of a request laid over: only the keys that are sent change.
fn changed(
    what: &str,
    all: &Attributes,
    set: &BTreeMap<String, String>,
    input: &Value,
) -> Result<BTreeMap<String, String>, Refusal> {
    let invalid = |message: String| Refusal::new("InvalidConfigurationRequest", message);
    let mut set = set.clone();
    for attribute in list(input, "Attributes") {
        let (key, value) = (required(attribute, "Key")?, text(attribute, "Value").unwrap_or_default());
        let Some((.., values)) = all.iter().find(|(name, ..)| *name == key) else {
            return Err(invalid(format!("{what} attribute key '{key}' is not recognized")));
        };
        if !values.has(value) {
            return Err(invalid(format!(
                "{what} attribute key '{key}' has the value '{value}', which is not valid"
            )));
        }
        set.insert(key.to_owned(), value.to_owned());
    }
    if set.get("access_logs.s3.enabled").is_some_and(|on| on == "true")
        && set.get("access_logs.s3.bucket").is_none_or(String::is_empty)
    {
        return Err(invalid("The value of 'access_logs.s3.bucket' cannot be empty".to_owned()));
    }
    Ok(set)
}

impl Elb {
    pub(super) fn describe_load_balancer_attributes(&self, input: &Value) -> Answer {
        let balancer = self.load_balancer(required(input, "LoadBalancerArn")?)?;
        Ok(described(&of_load_balancer(balancer.kind), &balancer.attributes))
    }

    pub(super) fn modify_load_balancer_attributes(&mut self, input: &Value) -> Answer {
        let balancer = self.load_balancer(required(input, "LoadBalancerArn")?)?;
        let all = of_load_balancer(balancer.kind);
        let mut changed_one = balancer.clone();
        changed_one.attributes = changed("Load balancer", &all, &balancer.attributes, input)?;
        // Cross-zone balancing makes each target count in each zone.
        self.check_groups(&changed_one, &self.groups_of(&changed_one.arn))?;
        let answer = described(&all, &changed_one.attributes);
        self.load_balancers.insert(changed_one.arn.clone(), changed_one);
        Ok(answer)
    }

    pub(super) fn describe_target_group_attributes(&self, input: &Value) -> Answer {
        let group = self.target_group(required(input, "TargetGroupArn")?)?;
        Ok(described(&of_target_group(group), &group.attributes))
    }

    pub(super) fn modify_target_group_attributes(&mut self, input: &Value) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        let group = self.target_group(arn)?;
        let all = of_target_group(group);
        let set = changed("Target group", &all, &group.attributes, input)?;
        let turned_off = set.get("preserve_client_ip.enabled").is_some_and(|on| on == "false");
        if turned_off && group.protocol.contains("UDP") {
            return Err(Refusal::new(
                "InvalidConfigurationRequest",
                "Client IP preservation cannot be disabled for UDP and TCP_UDP target groups",
            ));
        }
        let answer = described(&all, &set);
        if let Some(group) = self.target_groups.get_mut(arn) {
            group.attributes = set;
        }
        Ok(answer)
    }

    pub(super) fn describe_listener_attributes(&self, input: &Value) -> Answer {
        let listener = self.listener(required(input, "ListenerArn")?)?;
        Ok(described(&of_listener(&listener.protocol), &listener.attributes))
    }

    pub(super) fn modify_listener_attributes(&mut self, input: &Value) -> Answer {
        let arn = required(input, "ListenerArn")?;
        let listener = self.listener(arn)?;
        let all = of_listener(&listener.protocol);
        let set = changed("Listener", &all, &listener.attributes, input)?;
        let answer = described(&all, &set);
        if let Some(listener) = self.listeners.get_mut(arn) {
            listener.attributes = set;
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_right_value() {
        for table in [
            BOTH,
            NETWORK,
            APPLICATION,
            GROUP,
            NETWORK_GROUP,
            APPLICATION_GROUP,
            TCP_LISTENER,
            APPLICATION_LISTENER,
        ] {
            for (key, default, values) in table {
                // This one's default depends on the target type.
                assert!(values.has(default) || *key == "preserve_client_ip.enabled", "{key}");
            }
        }
    }

    #[test]
    fn values_are_checked_and_keys_that_are_not_sent_stay() {
        let all = joined(&[GROUP, NETWORK_GROUP]);
        let send = |set: &BTreeMap<String, String>, key: &str, value: &str| {
            changed("Target group", &all, set, &json!({"Attributes": [{"Key": key, "Value": value}]}))
        };
        let set = send(&BTreeMap::new(), "deregistration_delay.timeout_seconds", "3600").unwrap();
        let set = send(&set, "proxy_protocol_v2.enabled", "true").unwrap();
        assert_eq!(value(&all, &set, "deregistration_delay.timeout_seconds"), "3600");
        for (key, value) in [
            ("deregistration_delay.timeout_seconds", "3601"),
            ("deregistration_delay.timeout_seconds", "x"),
            ("proxy_protocol_v2.enabled", "yes"),
            ("slow_start.duration_seconds", "30"),
            ("stickiness.type", "lb_cookie"),
        ] {
            assert_eq!(
                send(&set, key, value).unwrap_err().code,
                "InvalidConfigurationRequest",
                "{key}={value}"
            );
        }
    }
}
