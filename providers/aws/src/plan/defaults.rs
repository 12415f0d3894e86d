//! The documented defaults of attributes: what a key is set to that a user no longer sets. Pure data.
//!
//! Sources: ELBv2 API reference, `LoadBalancerAttribute`, `TargetGroupAttribute`, `ListenerAttribute`. A key that is not here has no default that is the same
//! everywhere, and is left as it is.

use std::collections::BTreeMap;

use crate::stack::{Attribute, ElbProtocol, LoadBalancerSpec, LoadBalancerType, TargetGroupSpec, TargetType};

/// Default of a load balancer's attribute.
#[must_use]
pub fn load_balancer(spec: &LoadBalancerSpec, key: &str) -> Option<&'static str> {
    let alb = spec.kind == LoadBalancerType::Application;
    Some(match key {
        "deletion_protection.enabled" | "access_logs.s3.enabled" | "zonal_shift.config.enabled" => "false",
        "access_logs.s3.bucket" | "access_logs.s3.prefix" => "",
        "load_balancing.cross_zone.enabled" if !alb => "false",
        "dns_record.client_routing_policy" if !alb => "any_availability_zone",
        "secondary_ips.auto_assigned.per_subnet" if !alb => "0",
        "idle_timeout.timeout_seconds" if alb => "60",
        "client_keep_alive.seconds" if alb => "3600",
        "connection_logs.s3.enabled" | "health_check_logs.s3.enabled" if alb => "false",
        "connection_logs.s3.bucket" | "connection_logs.s3.prefix" if alb => "",
        "health_check_logs.s3.bucket" | "health_check_logs.s3.prefix" if alb => "",
        "routing.http.desync_mitigation_mode" if alb => "defensive",
        "routing.http.drop_invalid_header_fields.enabled"
        | "routing.http.preserve_host_header.enabled"
        | "routing.http.x_amzn_tls_version_and_cipher_suite.enabled"
        | "routing.http.xff_client_port.enabled"
        | "waf.fail_open.enabled"
            if alb =>
        {
            "false"
        }
        "routing.http.xff_header_processing.mode" if alb => "append",
        "routing.http2.enabled" if alb => "true",
        _ => return None,
    })
}

/// Default of a target group's attribute.
#[must_use]
pub fn target_group(spec: &TargetGroupSpec, key: &str) -> Option<&'static str> {
    let alb = matches!(spec.protocol, ElbProtocol::Http | ElbProtocol::Https);
    let connections = matches!(spec.protocol, ElbProtocol::Tcp | ElbProtocol::Tls);
    Some(match key {
        "deregistration_delay.timeout_seconds" => "300",
        "stickiness.enabled" => "false",
        "stickiness.type" => {
            if alb {
                "lb_cookie"
            } else {
                "source_ip"
            }
        }
        "load_balancing.cross_zone.enabled" => "use_load_balancer_configuration",
        "target_group_health.dns_failover.minimum_healthy_targets.count"
        | "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count" => "1",
        "target_group_health.dns_failover.minimum_healthy_targets.percentage"
        | "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage" => "off",
        "stickiness.lb_cookie.duration_seconds" | "stickiness.app_cookie.duration_seconds" if alb => "86400",
        "load_balancing.algorithm.type" if alb => "round_robin",
        "load_balancing.algorithm.anomaly_mitigation" if alb => "off",
        "slow_start.duration_seconds" if alb => "0",
        "proxy_protocol_v2.enabled" if !alb => "false",
        "deregistration_delay.connection_termination.enabled" if connections => "false",
        "preserve_client_ip.enabled" if !alb => {
            if spec.target_type == TargetType::Ip && connections {
                "false"
            } else {
                "true"
            }
        }
        "target_health_state.unhealthy.connection_termination.enabled" if connections => "true",
        "target_health_state.unhealthy.draining_interval_seconds" if connections => "0",
        _ => return None,
    })
}

/// Default of a listener's attribute.
#[must_use]
pub fn listener(protocol: ElbProtocol, key: &str) -> Option<&'static str> {
    Some(match key {
        "tcp.idle_timeout.seconds" if protocol == ElbProtocol::Tcp => "350",
        "routing.http.response.server.enabled" => "true",
        key if key.starts_with("routing.http.response.") && key.ends_with(".header_value") => "",
        _ => return None,
    })
}

/// What to set so that attributes are as wanted: what differs, and what nobody wants any more, at its default.
#[must_use]
pub fn changes(
    want: &[Attribute],
    have: &[Attribute],
    default: &dyn Fn(&str) -> Option<&'static str>,
) -> Vec<Attribute> {
    let have: BTreeMap<&str, &str> = have.iter().map(|a| (a.key.as_str(), a.value.as_str())).collect();
    let wanted: BTreeMap<&str, &str> = want.iter().map(|a| (a.key.as_str(), a.value.as_str())).collect();
    let mut changes = BTreeMap::new();
    for (key, value) in &wanted {
        let current = have.get(key).copied().or_else(|| default(key));
        if current != Some(*value) {
            changes.insert(*key, *value);
        }
    }
    for (key, value) in &have {
        if let Some(reset) = default(key)
            && !wanted.contains_key(key)
            && reset != *value
        {
            changes.insert(key, reset);
        }
    }
    changes
        .into_iter()
        .map(|(key, value)| Attribute { key: key.to_owned(), value: value.to_owned() })
        .collect()
}

/// Attributes after these changes.
pub fn merge(have: &mut Vec<Attribute>, changes: &[Attribute]) {
    for change in changes {
        match have.iter_mut().find(|a| a.key == change.key) {
            Some(attribute) => attribute.value.clone_from(&change.value),
            None => have.push(change.clone()),
        }
    }
    have.sort();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(all: &[(&str, &str)]) -> Vec<Attribute> {
        let attribute = |(k, v): &(&str, &str)| Attribute { key: (*k).to_owned(), value: (*v).to_owned() };
        all.iter().map(attribute).collect()
    }

    #[test]
    fn what_nobody_wants_any_more_is_reset() {
        let default = |key: &str| listener(ElbProtocol::Tcp, key);
        let idle = |v| attributes(&[("tcp.idle_timeout.seconds", v)]);
        for (want, have, expected) in [
            (idle("60"), idle("350"), idle("60")),
            (idle("60"), idle("60"), vec![]),
            (vec![], idle("60"), idle("350")),
            (vec![], idle("350"), vec![]),
            (idle("350"), vec![], vec![]),
            (idle("60"), vec![], idle("60")),
            (vec![], attributes(&[("unknown", "x")]), vec![]),
        ] {
            assert_eq!(changes(&want, &have, &default), expected, "{want:?} {have:?}");
        }
    }
}
