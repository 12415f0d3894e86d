//! Health checks: whose defaults hold, and what the user sets. Pure.
//!
//! Nodes are asked for what decides whether they may take traffic: kube-proxy on port 10256 (KEP-3836), or with policy Local healthCheckNodePort. The peer
//! controller asks the traffic port instead, which tells nothing of the node. As soon as the user sets port, protocol, path or codes of a check, the peer's
//! defaults fill the rest, since the settings were made with them in mind; with `compat=lbc` they always hold. Pods are asked on their traffic port, as the
//! peer does.

use causeway_api::{HealthCheck, HealthProtocol, ObjectRef, Problem, TrafficPolicy};

use crate::annotations::{Annotation, Settings, reasons, service};
use crate::ownership::Defaults;
use crate::stack::{ElbProtocol, HealthCheckConfig, Matcher, PortOrName, TargetType};

/// What a check depends on besides what the user sets.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// What targets are.
    pub target_type: TargetType,
    /// Policy of the Service.
    pub traffic_policy: TrafficPolicy,
    /// The check that Kubernetes' rules give.
    pub neutral: &'a HealthCheck,
    /// The peer's way is gone always.
    pub like_lbc: bool,
}

impl Checked<'_> {
    /// Policy Local, with a port that says whether a node has endpoints.
    fn local(&self) -> Option<u16> {
        let local = self.target_type == TargetType::Instance && self.traffic_policy == TrafficPolicy::Local;
        self.neutral.port.filter(|_| local)
    }

    /// kube-proxy's own check.
    fn kube_proxy(&self) -> Option<u16> {
        let asked = self.target_type == TargetType::Instance
            && self.traffic_policy == TrafficPolicy::Cluster
            && self.neutral.protocol == HealthProtocol::Http
            && !self.like_lbc;
        self.neutral.port.filter(|_| asked)
    }
}

/// The check of an NLB's target group. `resolve` gives the number of a port that is named after one of the Service.
#[must_use]
pub fn nlb(
    settings: &Settings,
    object: &ObjectRef,
    defaults: Defaults,
    checked: Checked<'_>,
    resolve: &dyn Fn(&str) -> Result<PortOrName, String>,
    problems: &mut Vec<Problem>,
) -> HealthCheckConfig {
    let given =
        [&service::HEALTH_PORT, &service::HEALTH_PROTOCOL, &service::HEALTH_PATH, &service::SUCCESS_CODES];
    let untouched = given.iter().all(|a| settings.text(a).is_none());
    let base = match (checked.local(), checked.kube_proxy()) {
        (Some(port), _) => http(port, if defaults == Defaults::Cpa { 10 } else { 6 }),
        (None, Some(port)) if untouched => http(port, 6),
        _ if defaults == Defaults::Cpa => traffic_port(30),
        _ => traffic_port(10),
    };
    let mut check = base;
    if let Some(protocol) = settings.text(&service::HEALTH_PROTOCOL) {
        check.protocol = match protocol.to_ascii_uppercase().as_str() {
            "HTTP" => ElbProtocol::Http,
            "HTTPS" => ElbProtocol::Https,
            _ => ElbProtocol::Tcp,
        };
    }
    if let Some(port) = settings.text(&service::HEALTH_PORT) {
        match port_of(port, resolve) {
            Ok(port) => check.port = port,
            Err(why) => problems.push(ignored(settings, object, &service::HEALTH_PORT, &why)),
        }
    }
    if check.protocol == ElbProtocol::Tcp {
        check.path = None;
        check.matcher = None;
        for annotation in [&service::HEALTH_PATH, &service::SUCCESS_CODES] {
            if settings.text(annotation).is_some() {
                let why = "a check with TCP has none: set aws-load-balancer-healthcheck-protocol to HTTP, or take it away";
                problems.push(ignored(settings, object, annotation, why));
            }
        }
    } else {
        let path = settings.text(&service::HEALTH_PATH).map(str::to_owned);
        check.path = path.or(check.path).or_else(|| Some("/".to_owned()));
        let codes = settings.text(&service::SUCCESS_CODES).unwrap_or("200-399");
        check.matcher = Some(Matcher::Http(codes.to_owned()));
    }
    let number = |annotation, default| settings.number(annotation).unwrap_or(default);
    check.interval_seconds = number(&service::HEALTH_INTERVAL, check.interval_seconds);
    check.healthy_threshold_count = number(&service::HEALTHY_THRESHOLD, check.healthy_threshold_count);
    check.unhealthy_threshold_count = number(&service::UNHEALTHY_THRESHOLD, check.unhealthy_threshold_count);
    // What the user says is for AWS to judge; a default of ours never outlasts the interval.
    let default = if checked.like_lbc {
        check.timeout_seconds
    } else {
        check.timeout_seconds.min(check.interval_seconds)
    };
    check.timeout_seconds = number(&service::HEALTH_TIMEOUT, default);
    check
}

/// kube-proxy's way.
fn http(port: u16, timeout: u32) -> HealthCheckConfig {
    HealthCheckConfig {
        port: PortOrName::Number(port),
        protocol: ElbProtocol::Http,
        path: Some("/healthz".to_owned()),
        matcher: None,
        interval_seconds: 10,
        timeout_seconds: timeout,
        healthy_threshold_count: 2,
        unhealthy_threshold_count: 2,
    }
}

/// The peers' way.
fn traffic_port(interval: u32) -> HealthCheckConfig {
    HealthCheckConfig {
        port: PortOrName::traffic(),
        protocol: ElbProtocol::Tcp,
        path: None,
        matcher: None,
        interval_seconds: interval,
        timeout_seconds: 10,
        healthy_threshold_count: 3,
        unhealthy_threshold_count: 3,
    }
}

/// The timeout of an ALB's target group, of which AWS takes none that is longer than the interval.
pub fn timeout(given: Option<u32>, default: u32, interval: u32, too_long: impl FnOnce()) -> u32 {
    match given {
        Some(seconds) if seconds <= interval => seconds,
        Some(_) => {
            too_long();
            default.min(interval)
        }
        None => default.min(interval),
    }
}

/// A port by number, as `traffic-port`, or by the name of one of the Service.
///
/// # Errors
/// Why the name means none.
pub fn port_of(
    text: &str,
    resolve: &dyn Fn(&str) -> Result<PortOrName, String>,
) -> Result<PortOrName, String> {
    match text.parse::<u16>() {
        Ok(number) => Ok(PortOrName::Number(number)),
        Err(_) if text == "traffic-port" => Ok(PortOrName::traffic()),
        Err(_) => resolve(text),
    }
}

fn ignored(settings: &Settings, object: &ObjectRef, annotation: &Annotation, why: &str) -> Problem {
    Problem::warning(
        object.clone(),
        settings.field(annotation),
        reasons::INVALID,
        format!("{why}; it counts as absent"),
    )
}
