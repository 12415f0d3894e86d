//! Resources as answers show them. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::state::{Listener, LoadBalancer, Rule, TargetGroup, Zone};
use super::{Answer, Context, Elb, Refusal, page, required, text, texts, zone_id};

/// Seconds since 1970 at the cloud's time 0, for timestamps that look like today's.
const EPOCH: i64 = 1_767_225_600;

fn timestamp(at: Duration) -> String {
    let days = (EPOCH + at.as_secs() as i64).div_euclid(86_400);
    let second = (EPOCH + at.as_secs() as i64).rem_euclid(86_400);
    // Days to a date: the algorithm of "chrono-compatible low-level date algorithms", civil_from_days.
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}000+00:00",
        second / 3600,
        second / 60 % 60,
        second % 60,
        at.subsec_millis()
    )
}

impl Elb {
    pub(super) fn describe_load_balancer(&self, balancer: &LoadBalancer, context: Context) -> Value {
        let active = context.now >= balancer.created + self.settings.provisioning;
        let zone = |zone: &Zone| {
            let mut addresses = Vec::new();
            if let Some((allocation, address)) = &zone.elastic {
                addresses.push(json!({"AllocationId": allocation, "IpAddress": address.to_string()}));
            } else if zone.private_fixed {
                addresses.push(json!({"PrivateIPv4Address": zone.private.to_string()}));
            }
            json!({"ZoneName": zone.name, "SubnetId": zone.subnet, "LoadBalancerAddresses": addresses})
        };
        let mut described = json!({
            "LoadBalancerArn": balancer.arn,
            "DNSName": balancer.dns_name,
            "CanonicalHostedZoneId": zone_id(balancer.kind),
            "CreatedTime": timestamp(balancer.created),
            "LoadBalancerName": balancer.name,
            "Scheme": if balancer.internal { "internal" } else { "internet-facing" },
            "VpcId": balancer.vpc,
            "State": {"Code": if active { "active" } else { "provisioning" }},
            "Type": balancer.kind.as_str(),
            "AvailabilityZones": balancer.zones.iter().map(zone).collect::<Vec<_>>(),
            "SecurityGroups": balancer.security_groups,
            "IpAddressType": balancer.ip_address_type,
        });
        if let Some(enforce) = &balancer.enforce_private_link {
            described["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] = json!(enforce);
        }
        described
    }

    pub(super) fn describe_load_balancers(&self, input: &Value, context: Context) -> Answer {
        let (arns, names) = (texts(input, "LoadBalancerArns"), texts(input, "Names"));
        page::check_number("load balancers", arns.len().max(names.len()))?;
        if !arns.is_empty() && !names.is_empty() {
            return Err(Refusal::new(
                "ValidationError",
                "Load balancer names and ARNs cannot be specified at the same time",
            ));
        }
        let find = |named: &String| {
            let found = self.load_balancers.values().find(|one| one.arn == *named || one.name == *named);
            found.ok_or_else(|| {
                Refusal::new("LoadBalancerNotFound", format!("Load balancers '[{named}]' not found"))
            })
        };
        let chosen: Vec<&LoadBalancer> = match (arns.is_empty(), names.is_empty()) {
            (true, true) => self.load_balancers.values().collect(),
            // One that is missing fails the whole call.
            _ => arns.iter().chain(&names).map(find).collect::<Result<_, _>>()?,
        };
        let all = chosen.into_iter().map(|balancer| self.describe_load_balancer(balancer, context)).collect();
        page::page(input, "LoadBalancers", all)
    }

    pub(super) fn describe_target_group(&self, group: &TargetGroup) -> Value {
        let check = &group.check;
        let mut described = json!({
            "TargetGroupArn": group.arn,
            "TargetGroupName": group.name,
            "Protocol": group.protocol,
            "Port": group.port,
            "VpcId": group.vpc,
            "HealthCheckProtocol": check.protocol,
            "HealthCheckPort": check.port,
            "HealthCheckEnabled": true,
            "HealthCheckIntervalSeconds": check.interval,
            "HealthCheckTimeoutSeconds": check.timeout,
            "HealthyThresholdCount": check.healthy,
            "UnhealthyThresholdCount": check.unhealthy,
            "LoadBalancerArns": self.balancers_of(&group.arn),
            "TargetType": group.target_type,
            "IpAddressType": group.ip_address_type,
        });
        if let Some(path) = &check.path {
            described["HealthCheckPath"] = json!(path);
        }
        if let Some(codes) = &check.matcher {
            let grpc = group.protocol_version.as_deref() == Some("GRPC");
            described["Matcher"] = json!({ if grpc { "GrpcCode" } else { "HttpCode" }: codes });
        }
        if let Some(version) = &group.protocol_version {
            described["ProtocolVersion"] = json!(version);
        }
        described
    }

    pub(super) fn describe_target_groups(&self, input: &Value) -> Answer {
        let (arns, names) = (texts(input, "TargetGroupArns"), texts(input, "Names"));
        page::check_number("target groups", arns.len().max(names.len()))?;
        let find = |named: &String| {
            let found = self.target_groups.values().find(|one| one.arn == *named || one.name == *named);
            found.ok_or_else(|| {
                Refusal::new("TargetGroupNotFound", format!("Target groups '[{named}]' not found"))
            })
        };
        let chosen: Vec<&TargetGroup> = if let Some(balancer) = text(input, "LoadBalancerArn") {
            self.load_balancer(balancer)?;
            // One without target groups has an empty list, which is no error.
            self.groups_of(balancer).iter().filter_map(|arn| self.target_groups.get(arn)).collect()
        } else if arns.is_empty() && names.is_empty() {
            self.target_groups.values().collect()
        } else {
            arns.iter().chain(&names).map(find).collect::<Result<_, _>>()?
        };
        page::page(
            input,
            "TargetGroups",
            chosen.into_iter().map(|group| self.describe_target_group(group)).collect(),
        )
    }

    pub(super) fn describe_listener(&self, listener: &Listener) -> Value {
        let mut described = json!({
            "ListenerArn": listener.arn,
            "LoadBalancerArn": listener.load_balancer,
            "Port": listener.port,
            "Protocol": listener.protocol,
            "DefaultActions": listener.actions,
        });
        let certificates: Vec<Value> =
            listener.certificates.iter().map(|arn| json!({"CertificateArn": arn})).collect();
        if !certificates.is_empty() {
            described["Certificates"] = json!(certificates);
        }
        if let Some(policy) = &listener.ssl_policy {
            described["SslPolicy"] = json!(policy);
        }
        if !listener.alpn.is_empty() {
            described["AlpnPolicy"] = json!(listener.alpn);
        }
        if listener.protocol == "HTTPS" {
            described["MutualAuthentication"] = listener.mutual.clone().unwrap_or(json!({"Mode": "off"}));
        }
        described
    }

    pub(super) fn describe_listeners(&self, input: &Value) -> Answer {
        let arns = texts(input, "ListenerArns");
        page::check_number("listeners", arns.len())?;
        let chosen: Vec<&Listener> = match text(input, "LoadBalancerArn") {
            Some(balancer) => {
                self.load_balancer(balancer)?;
                self.listeners.values().filter(|listener| listener.load_balancer == balancer).collect()
            }
            None if arns.is_empty() => {
                return Err(Refusal::new(
                    "ValidationError",
                    "You must specify either listener ARNs or a load balancer ARN",
                ));
            }
            None => arns.iter().map(|arn| self.listener(arn)).collect::<Result<_, _>>()?,
        };
        page::page(
            input,
            "Listeners",
            chosen.into_iter().map(|listener| self.describe_listener(listener)).collect(),
        )
    }

    pub(super) fn describe_rule(&self, rule: &Rule) -> Value {
        json!({
            "RuleArn": rule.arn,
            "Priority": rule.priority.to_string(),
            "Conditions": rule.conditions,
            "Actions": rule.actions,
            "Transforms": rule.transforms,
            "IsDefault": false,
        })
    }

    fn describe_default_rule(listener: &Listener) -> Value {
        json!({
            "RuleArn": listener.default_rule,
            "Priority": "default",
            "Conditions": [],
            "Actions": listener.actions,
            "IsDefault": true,
        })
    }

    pub(super) fn describe_rules(&self, input: &Value) -> Answer {
        let arns = texts(input, "RuleArns");
        page::check_number("rules", arns.len())?;
        let mut described = Vec::new();
        match text(input, "ListenerArn") {
            Some(arn) => {
                let listener = self.listener(arn)?;
                let mut rules: Vec<&Rule> = self.rules.values().filter(|rule| rule.listener == arn).collect();
                rules.sort_by_key(|rule| rule.priority);
                described.extend(rules.into_iter().map(|rule| self.describe_rule(rule)));
                described.push(Self::describe_default_rule(listener));
            }
            None if arns.is_empty() => {
                required(input, "ListenerArn")?;
            }
            None => {
                for arn in &arns {
                    let default = self.listeners.values().find(|listener| listener.default_rule == *arn);
                    described.push(match (self.rules.get(arn), default) {
                        (Some(rule), _) => self.describe_rule(rule),
                        (None, Some(listener)) => Self::describe_default_rule(listener),
                        (None, None) => {
                            return Err(Refusal::new(
                                "RuleNotFound",
                                format!("One or more rules not found: '{arn}'"),
                            ));
                        }
                    });
                }
            }
        }
        page::page(input, "Rules", described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_dates() {
        assert_eq!(timestamp(Duration::ZERO), "2026-01-01T00:00:00.000000+00:00");
        assert_eq!(
            timestamp(Duration::from_millis(59 * 86_400_000 + 3_723_004)),
            "2026-03-01T01:02:03.004000+00:00"
        );
    }
}
