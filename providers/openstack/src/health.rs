//! Health monitors: what is asked where nobody says otherwise, and what the user sets. Pure.
//!
//! Nodes are asked for what decides whether they may take traffic: with policy Local `healthCheckNodePort`, which only nodes with a ready pod answer; with
//! policy Cluster kube-proxy on port 10256 (KEP-3836) where the nodes' security group is ours and opens it, else the traffic port, as the groups of others
//! keep 10256 shut. Where the provider or its version has no HTTP check for it, the traffic port is asked: a node without pods drops what comes to a
//! NodePort of policy Local, so the answer is right, if late.

use causeway_api::{HealthCheck, HealthProtocol, ObjectRef, Problem, Protocol, TrafficPolicy};

use crate::annotations::{Annotation, Settings, reasons, service, settings_field};
use crate::capabilities::{Capable, Driver, Feature};
use crate::options::Options;
use crate::stack::{HealthMonitorSpec, MonitorType, Token};

/// Reason of a problem with a monitor that is switched off.
pub const NOT_WATCHED: &str = "HealthMonitorOff";

/// What a monitor depends on.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// Whose pool it is.
    pub object: &'a ObjectRef,
    /// What annotations say of it; none for Ingresses.
    pub settings: Option<&'a Settings>,
    /// Options.
    pub options: &'a Options,
    /// The provider.
    pub capable: &'a Capable,
    /// Protocol of the pool's members.
    pub transport: Protocol,
    /// The check that Kubernetes' rules give.
    pub neutral: &'a HealthCheck,
    /// Policy of the Service.
    pub policy: TrafficPolicy,
    /// The load balancer was taken over from a peer, which asks kube-proxy with policy Local only.
    pub kept: bool,
}

/// A monitor, and the port that it asks where it is not that of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// What is posted.
    pub spec: HealthMonitorSpec,
    /// Port of its own.
    pub port: Option<u16>,
}

/// The monitor of a pool; `None`: it has none.
#[must_use]
pub fn monitor(
    pool: &str,
    name: String,
    checked: Checked<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Monitor> {
    let Checked { object, settings, options, capable, .. } = checked;
    let said = settings.and_then(|s| s.bool(&service::MONITOR));
    if !said.or(options.create_monitor).unwrap_or(true) {
        if checked.policy == TrafficPolicy::Local {
            let what = "with policy Local nodes without a pod get traffic too and drop it, as no health monitor finds them: \
                        switch it on (enable-health-monitor, option create-monitor)";
            problems.push(Problem::warning(
                object.clone(),
                settings_field(service::MONITOR.key),
                NOT_WATCHED,
                what,
            ));
        }
        return None;
    }
    let mut warn = |annotation: &Annotation, why: String| {
        problems.push(Problem::warning(
            object.clone(),
            settings_field(annotation.key),
            reasons::INVALID,
            format!("{why}; it counts as absent"),
        ));
    };
    let text = |annotation| settings.and_then(|s| s.text(annotation));
    let own_path = text(&service::HEALTH_PATH).filter(|_| {
        let can = checked.transport == Protocol::Tcp && capable.can(Feature::HttpMonitor);
        if !can {
            let why = match checked.transport {
                Protocol::Tcp => capable.lacks(Feature::HttpMonitor),
                other => format!("a port with {} is not asked with HTTP", other.as_str()),
            };
            warn(&service::HEALTH_PATH, why);
        }
        can
    });
    let (kind, port, path) = match (own_path, kube_proxy(&checked)) {
        (Some(path), _) => (MonitorType::Http, None, Some(path.to_owned())),
        (None, Some((port, path))) => (MonitorType::Http, Some(port), Some(path)),
        (None, None) => (traffic_port(&checked)?, None, None),
    };
    let codes = text(&service::HEALTH_CODES).filter(|_| {
        if kind != MonitorType::Http {
            warn(&service::HEALTH_CODES, "the monitor does not ask with HTTP".to_owned());
        }
        kind == MonitorType::Http
    });
    let number = |annotation, default| settings.and_then(|s| s.number(annotation)).unwrap_or(default);
    let delay = number(&service::MONITOR_DELAY, options.monitor_delay);
    let mut timeout = number(&service::MONITOR_TIMEOUT, options.monitor_timeout);
    if timeout > delay {
        if text(&service::MONITOR_TIMEOUT).is_some() {
            warn(&service::MONITOR_TIMEOUT, format!("{timeout} is more than the delay of {delay} seconds"));
        }
        timeout = options.monitor_timeout.min(delay);
    }
    let spec = HealthMonitorSpec {
        pool_id: Token::of(crate::stack::ResourceType::Pool, pool),
        name,
        kind,
        delay,
        timeout,
        max_retries: number(&service::MONITOR_RETRIES, options.monitor_max_retries),
        max_retries_down: number(&service::MONITOR_RETRIES_DOWN, options.monitor_max_retries_down),
        http_method: path.as_ref().map(|_| "GET"),
        expected_codes: path.as_ref().map(|_| codes.unwrap_or("200").to_owned()),
        url_path: path,
    };
    Some(Monitor { spec, port })
}

/// Port and path of the check that kube-proxy answers, where it can be asked.
fn kube_proxy(checked: &Checked<'_>) -> Option<(u16, String)> {
    let feature =
        if checked.transport == Protocol::Tcp { Feature::HttpMonitor } else { Feature::HttpMonitorOnUdp };
    let opened = checked.options.manage_security_groups && !checked.kept;
    let reached = checked.policy == TrafficPolicy::Local || opened;
    if checked.neutral.protocol != HealthProtocol::Http || !reached || !checked.capable.can(feature) {
        return None;
    }
    Some((checked.neutral.port?, checked.neutral.path.clone().unwrap_or_else(|| "/healthz".to_owned())))
}

fn traffic_port(checked: &Checked<'_>) -> Option<MonitorType> {
    match checked.transport {
        Protocol::Tcp => Some(MonitorType::Tcp),
        Protocol::Udp => Some(MonitorType::UdpConnect),
        Protocol::Sctp => (checked.capable.driver == Driver::Amphora).then_some(MonitorType::Sctp),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn local(port: u16) -> HealthCheck {
        HealthCheck { protocol: HealthProtocol::Http, port: Some(port), path: Some("/healthz".to_owned()) }
    }

    #[rstest]
    #[case::local(
        "amphora",
        27,
        Protocol::Tcp,
        TrafficPolicy::Local,
        false,
        Some(MonitorType::Http),
        Some(32000)
    )]
    #[case::local_udp(
        "amphora",
        27,
        Protocol::Udp,
        TrafficPolicy::Local,
        false,
        Some(MonitorType::Http),
        Some(32000)
    )]
    #[case::local_udp_old(
        "amphora",
        15,
        Protocol::Udp,
        TrafficPolicy::Local,
        false,
        Some(MonitorType::UdpConnect),
        None
    )]
    #[case::local_ovn("ovn", 27, Protocol::Tcp, TrafficPolicy::Local, false, Some(MonitorType::Tcp), None)]
    #[case::cluster(
        "amphora",
        27,
        Protocol::Tcp,
        TrafficPolicy::Cluster,
        false,
        Some(MonitorType::Tcp),
        None
    )]
    #[case::cluster_managed(
        "amphora",
        27,
        Protocol::Tcp,
        TrafficPolicy::Cluster,
        true,
        Some(MonitorType::Http),
        Some(32000)
    )]
    #[case::cluster_managed_ovn(
        "ovn",
        27,
        Protocol::Udp,
        TrafficPolicy::Cluster,
        true,
        Some(MonitorType::UdpConnect),
        None
    )]
    #[case::sctp("amphora", 27, Protocol::Sctp, TrafficPolicy::Cluster, false, Some(MonitorType::Sctp), None)]
    #[case::sctp_ovn("ovn", 27, Protocol::Sctp, TrafficPolicy::Cluster, false, None, None)]
    fn what_is_asked(
        #[case] provider: &str,
        #[case] minor: u32,
        #[case] transport: Protocol,
        #[case] policy: TrafficPolicy,
        #[case] managed: bool,
        #[case] kind: Option<MonitorType>,
        #[case] port: Option<u16>,
    ) {
        let options = Options { manage_security_groups: managed, ..Options::default() };
        let object = ObjectRef::service("shop", "web", "uid");
        let capable = Capable::new(provider, minor);
        let neutral = local(32000);
        let checked = Checked {
            object: &object,
            settings: None,
            options: &options,
            capable: &capable,
            transport,
            neutral: &neutral,
            policy,
            kept: false,
        };
        let mut problems = Vec::new();
        let found = monitor("TCP-80", "m".to_owned(), checked, &mut problems);
        assert_eq!(found.as_ref().map(|m| m.spec.kind), kind);
        assert_eq!(found.and_then(|m| m.port), port);
        assert_eq!(problems, []);
    }

    #[test]
    fn a_timeout_of_ours_never_outlasts_the_delay() {
        let options = Options { monitor_delay: 2, monitor_timeout: 3, ..Options::default() };
        let object = ObjectRef::service("shop", "web", "uid");
        let capable = Capable::new("amphora", 27);
        let neutral = HealthCheck { protocol: HealthProtocol::Tcp, port: None, path: None };
        let checked = Checked {
            object: &object,
            settings: None,
            options: &options,
            capable: &capable,
            transport: Protocol::Tcp,
            neutral: &neutral,
            policy: TrafficPolicy::Cluster,
            kept: false,
        };
        let spec = monitor("p", "m".to_owned(), checked, &mut Vec::new()).expect("a monitor").spec;
        assert_eq!((spec.delay, spec.timeout), (2, 2));
    }
}
