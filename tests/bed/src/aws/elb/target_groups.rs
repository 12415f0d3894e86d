//! Target groups: made, changed, deleted. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::state::{HealthCheck, TargetGroup};
use super::{Answer, Context, Elb, Refusal, names, refuse, required, tags, text};

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidConfigurationRequest", message)
}

fn validation(message: impl Into<String>) -> Refusal {
    Refusal::new("ValidationError", message)
}

fn number(input: &Value, member: &str) -> Option<u32> {
    input.get(member).and_then(Value::as_u64).and_then(|number| number.try_into().ok())
}

impl Elb {
    /// A target group by ARN.
    pub(super) fn target_group(&self, arn: &str) -> Result<&TargetGroup, Refusal> {
        let missing = || Refusal::new("TargetGroupNotFound", format!("Target groups '{arn}' not found"));
        self.target_groups.get(arn).ok_or_else(missing)
    }

    pub(super) fn create_target_group(&mut self, input: &Value, context: Context) -> Answer {
        let name = required(input, "Name")?;
        names::check("Target group", name)?;
        refuse(input, &["TargetControlPort"])?;
        let target_type = text(input, "TargetType").unwrap_or("instance");
        if !matches!(target_type, "instance" | "ip") {
            return Err(validation(format!("Targets of type '{target_type}' are not part of the bed")));
        }
        let Some(protocol) = text(input, "Protocol") else {
            return Err(validation("A protocol must be specified"));
        };
        let port = number(input, "Port").ok_or_else(|| validation("A port must be specified"))? as u16;
        let vpc = text(input, "VpcId").ok_or_else(|| validation("A VPC ID must be specified"))?;
        if !context.facts.vpcs.contains_key(vpc) {
            return Err(validation(format!("The VPC ID '{vpc}' is not found")));
        }
        let http = matches!(protocol, "HTTP" | "HTTPS");
        let version = text(input, "ProtocolVersion");
        if version.is_some() && !http {
            return Err(invalid("A protocol version is for HTTP and HTTPS target groups only"));
        }
        if !matches!(protocol, "HTTP" | "HTTPS" | "TCP" | "UDP" | "TCP_UDP" | "TLS") {
            return Err(validation(format!("Protocol '{protocol}' is not part of the bed")));
        }
        let version = http.then(|| version.unwrap_or("HTTP1").to_owned());
        let check = health_check(input, defaults(protocol, version.as_deref()))?;
        let ip_address_type = text(input, "IpAddressType").unwrap_or("ipv4").to_owned();
        let new_tags = tags::of(input)?;
        let mut group = TargetGroup {
            arn: String::new(),
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            protocol_version: version,
            port,
            vpc: vpc.to_owned(),
            target_type: target_type.to_owned(),
            ip_address_type,
            check,
            attributes: BTreeMap::new(),
            targets: BTreeMap::new(),
        };
        if let Some(existing) = self.target_groups.values().find(|group| group.name == name) {
            let settings = |group: &TargetGroup| {
                (
                    group.protocol.clone(),
                    group.protocol_version.clone(),
                    group.port,
                    group.vpc.clone(),
                    group.target_type.clone(),
                    group.ip_address_type.clone(),
                    group.check.clone(),
                )
            };
            let same_tags = self.tags.get(&existing.arn).cloned().unwrap_or_default() == new_tags;
            if settings(existing) != settings(&group) || !same_tags {
                return Err(Refusal::new(
                    "DuplicateTargetGroupName",
                    format!("A target group with the same name '{name}' exists, but with different settings"),
                ));
            }
            return Ok(json!({"TargetGroups": [self.describe_target_group(existing)]}));
        }
        if self.target_groups.len() as u64 >= self.quota("target-groups") {
            return Err(Refusal::new(
                "TooManyTargetGroups",
                "The maximum number of target groups has been reached",
            ));
        }
        let id = names::id(self.next_id());
        group.arn = names::target_group_arn(&self.region, &self.account, name, &id);
        self.tags.insert(group.arn.clone(), new_tags);
        let answer = json!({"TargetGroups": [self.describe_target_group(&group)]});
        self.target_groups.insert(group.arn.clone(), group);
        Ok(answer)
    }

    pub(super) fn delete_target_group(&mut self, input: &Value) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        if !self.balancers_of(arn).is_empty() {
            return Err(Refusal::new(
                "ResourceInUse",
                format!("Target group '{arn}' is currently in use by a listener or a rule"),
            ));
        }
        // Gone already is success.
        self.target_groups.remove(arn);
        self.tags.remove(arn);
        Ok(json!({}))
    }

    pub(super) fn modify_target_group(&mut self, input: &Value) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        let group = self.target_group(arn)?;
        let mut changed = group.clone();
        changed.check = health_check(input, group.check.clone())?;
        let answer = json!({"TargetGroups": [self.describe_target_group(&changed)]});
        self.target_groups.insert(arn.to_owned(), changed);
        Ok(answer)
    }
}

/// AWS's health check for a protocol if nothing is said (ELB user guides, "Health checks for your target groups").
fn defaults(protocol: &str, version: Option<&str>) -> HealthCheck {
    let http = matches!(protocol, "HTTP" | "HTTPS");
    HealthCheck {
        protocol: match protocol {
            "HTTP" | "HTTPS" => protocol.to_owned(),
            _ => "TCP".to_owned(),
        },
        port: "traffic-port".to_owned(),
        path: http.then(|| if version == Some("GRPC") { "/AWS.ALB/healthcheck" } else { "/" }.to_owned()),
        interval: 30,
        timeout: if http { 5 } else { 10 },
        healthy: 5,
        unhealthy: 2,
        matcher: http.then(|| if version == Some("GRPC") { "12" } else { "200" }.to_owned()),
    }
}

/// The health check with what the request says laid over.
fn health_check(input: &Value, before: HealthCheck) -> Result<HealthCheck, Refusal> {
    let mut check = before;
    if input.get("HealthCheckEnabled") == Some(&json!(false)) {
        return Err(invalid("Health checks can be disabled for lambda targets only"));
    }
    if let Some(protocol) = text(input, "HealthCheckProtocol") {
        if !matches!(protocol, "TCP" | "HTTP" | "HTTPS") {
            return Err(validation(format!(
                "Health check protocol '{protocol}' must be one of TCP, HTTP, HTTPS"
            )));
        }
        protocol.clone_into(&mut check.protocol);
    }
    if let Some(port) = text(input, "HealthCheckPort") {
        if port != "traffic-port" && port.parse::<u16>().ok().is_none_or(|port| port == 0) {
            return Err(validation(format!(
                "Health check port '{port}' must be between 1 and 65535 inclusive, or 'traffic-port'"
            )));
        }
        port.clone_into(&mut check.port);
    }
    let http = check.protocol != "TCP";
    match (text(input, "HealthCheckPath"), http) {
        (Some(path), true) if path.starts_with('/') => check.path = Some(path.to_owned()),
        (Some(path), true) => {
            return Err(validation(format!("Health check path '{path}' must begin with a '/' character")));
        }
        (Some(_), false) => {
            return Err(invalid("A health check path is for HTTP and HTTPS health checks only"));
        }
        (None, true) => check.path = check.path.or(Some("/".to_owned())),
        (None, false) => check.path = None,
    }
    let matcher =
        input.get("Matcher").and_then(|matcher| text(matcher, "HttpCode").or(text(matcher, "GrpcCode")));
    match (matcher, http) {
        (Some(codes), true) => {
            if ranges(codes).is_none() {
                return Err(validation(format!(
                    "Health check matcher '{codes}' is no list of codes and ranges"
                )));
            }
            check.matcher = Some(codes.to_owned());
        }
        (Some(_), false) => return Err(invalid("A matcher is for HTTP and HTTPS health checks only")),
        // On NLBs the default is the range.
        (None, true) => check.matcher = check.matcher.or(Some("200-399".to_owned())),
        (None, false) => check.matcher = None,
    }
    let take = |member: &str, value: &mut u32| *value = number(input, member).unwrap_or(*value);
    take("HealthCheckIntervalSeconds", &mut check.interval);
    take("HealthCheckTimeoutSeconds", &mut check.timeout);
    take("HealthyThresholdCount", &mut check.healthy);
    take("UnhealthyThresholdCount", &mut check.unhealthy);
    if check.timeout > check.interval {
        return Err(validation(format!(
            "Health check timeout '{}' must be smaller than or equal to the interval '{}'",
            check.timeout, check.interval
        )));
    }
    Ok(check)
}

/// The codes of a matcher as ranges: `200`, `200,202`, `200-399`; none if it is not understood.
pub fn ranges(codes: &str) -> Option<Vec<(u16, u16)>> {
    let part = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (low <= high && high <= 599).then_some((low, high))
    };
    codes.split(',').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_understood() {
        assert_eq!(ranges("200"), Some(vec![(200, 200)]));
        assert_eq!(ranges("200-399, 404"), Some(vec![(200, 399), (404, 404)]));
        for wrong in ["", "x", "300-200", "200-", "700"] {
            assert_eq!(ranges(wrong), None, "{wrong}");
        }
    }
}
