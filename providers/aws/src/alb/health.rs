//! Health checks of an ALB's target groups. Pure.
//!
//! Nodes are asked for what decides whether they may take traffic, see [`crate::health`]: kube-proxy, or with policy Local healthCheckNodePort. Target groups with another
//! version of HTTP are checked in that version, which kube-proxy does not speak: they are asked on the traffic port, as the peer does. As soon as port, protocol, path or
//! codes are set, the peer's defaults fill the rest.

use causeway_api::{Backend, HealthProtocol, Problem};

use super::targets::Settled;
use crate::annotations::{Annotation, ingress as table, reasons};
use crate::health::{port_of, timeout};
use crate::stack::{ElbProtocol, HealthCheckConfig, Matcher, PortOrName, ProtocolVersion, TargetType};

/// Seconds between checks of traffic ports.
const INTERVAL: u32 = 15;
/// Seconds between checks of kube-proxy.
const PROXY_INTERVAL: u32 = 10;
/// Seconds without an answer until a check has failed.
const TIMEOUT: u32 = 5;
/// Successes, and failures, that decide.
const THRESHOLD: u32 = 2;

/// What a check depends on besides what the user sets.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// The backend.
    pub backend: &'a Backend,
    /// What targets are.
    pub target_type: TargetType,
    /// Protocol towards targets.
    pub protocol: ElbProtocol,
    /// Version of HTTP towards targets.
    pub version: ProtocolVersion,
    /// The peer's way is gone.
    pub like_lbc: bool,
}

/// The check.
pub fn check(settled: &Settled<'_>, checked: Checked<'_>, problems: &mut Vec<Problem>) -> HealthCheckConfig {
    let given = [&table::HEALTH_PORT, &table::HEALTH_PROTOCOL, &table::HEALTH_PATH, &table::SUCCESS_CODES];
    let untouched = given.iter().all(|a| settled.text(a).is_none());
    let grpc = checked.version == ProtocolVersion::Grpc;
    let asked = checked.backend.health.port.filter(|_| {
        untouched
            && !checked.like_lbc
            && checked.target_type == TargetType::Instance
            && checked.version == ProtocolVersion::Http1
            && checked.backend.health.protocol == HealthProtocol::Http
    });
    let mut config = HealthCheckConfig {
        port: asked.map_or_else(PortOrName::traffic, PortOrName::Number),
        protocol: if asked.is_some() { ElbProtocol::Http } else { checked.protocol },
        path: Some(match (&checked.backend.health.path, asked, grpc) {
            (Some(path), Some(_), _) => path.clone(),
            (_, _, true) => "/AWS.ALB/healthcheck".to_owned(),
            _ => "/".to_owned(),
        }),
        matcher: Some(if grpc { Matcher::Grpc("12".to_owned()) } else { Matcher::Http("200".to_owned()) }),
        interval_seconds: if asked.is_some() { PROXY_INTERVAL } else { INTERVAL },
        timeout_seconds: TIMEOUT,
        healthy_threshold_count: THRESHOLD,
        unhealthy_threshold_count: THRESHOLD,
    };
    let mut ignored = |annotation: &'static Annotation, why: String| {
        let (object, field) = settled.whose(annotation);
        problems.push(Problem::warning(
            object,
            field,
            reasons::INVALID,
            format!("{why}; it counts as absent"),
        ));
    };
    if let Some(text) = settled.text(&table::HEALTH_PORT) {
        match port_of(text, &|name| named_port(name, checked)) {
            Ok(port) => config.port = port,
            Err(why) => ignored(&table::HEALTH_PORT, why),
        }
    }
    if let Some(text) = settled.text(&table::HEALTH_PROTOCOL) {
        config.protocol = protocol(text);
    }
    if let Some(text) = settled.text(&table::HEALTH_PATH) {
        config.path = Some(text.to_owned());
    }
    if let Some(text) = settled.text(&table::SUCCESS_CODES) {
        match codes(text, grpc) {
            Ok(matcher) => config.matcher = Some(matcher),
            Err(why) => ignored(&table::SUCCESS_CODES, why),
        }
    }
    let number = |annotation, default| settled.number(annotation).unwrap_or(default);
    config.interval_seconds = number(&table::HEALTH_INTERVAL, config.interval_seconds);
    config.healthy_threshold_count = number(&table::HEALTHY_THRESHOLD, config.healthy_threshold_count);
    config.unhealthy_threshold_count = number(&table::UNHEALTHY_THRESHOLD, config.unhealthy_threshold_count);
    let interval = config.interval_seconds;
    config.timeout_seconds =
        timeout(settled.number(&table::HEALTH_TIMEOUT), config.timeout_seconds, interval, || {
            ignored(&table::HEALTH_TIMEOUT, format!("it is longer than the interval of {interval} seconds"));
        });
    config
}

/// `HTTP` or `HTTPS`, in capitals or not.
#[must_use]
pub fn protocol(text: &str) -> ElbProtocol {
    if text.eq_ignore_ascii_case("HTTPS") { ElbProtocol::Https } else { ElbProtocol::Http }
}

/// Statuses that mean healthy.
fn codes(text: &str, grpc: bool) -> Result<Matcher, String> {
    let (low, high) = if grpc { (0, 99) } else { (200, 499) };
    let numbers = text.split([',', '-']).map(|t| t.trim().parse::<u32>());
    if !numbers.clone().all(|n| n.is_ok_and(|n| (low..=high).contains(&n))) {
        let of = if grpc { "gRPC" } else { "HTTP" };
        return Err(format!("{text:?} is not among the statuses {low} to {high} that AWS takes for {of}"));
    }
    let text = text.replace(char::is_whitespace, "");
    Ok(if grpc { Matcher::Grpc(text) } else { Matcher::Http(text) })
}

/// The number of a port that is named after one of the Service.
fn named_port(name: &str, checked: Checked<'_>) -> Result<PortOrName, String> {
    let service = &checked.backend.service;
    let found = checked.backend.ports.iter().find(|p| p.name == name);
    let found = found.ok_or_else(|| format!("Service {service} has no port {name:?}"))?;
    match (checked.target_type, &found.target_port) {
        (TargetType::Instance, _) => match found.node_port {
            Some(port) => Ok(PortOrName::Number(port)),
            None => Err(format!("port {name:?} of Service {service} has no NodePort")),
        },
        (_, causeway_api::TargetPort::Number(port)) => Ok(PortOrName::Number(*port)),
        (_, causeway_api::TargetPort::Name(target)) => Err(format!(
            "port {name:?} of Service {service} leads to port {target:?} of pods, whose number may differ among them: write a number"
        )),
    }
}
