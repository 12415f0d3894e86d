//! An NLB in front of the ALB, for fixed addresses or PrivateLink. Pure.
//!
//! It passes connections on as they are. Its health check asks the ALB itself: any answer below 500 says that it is there, also that no rule matches.

use std::collections::BTreeMap;

use causeway_api::{LbKey, Problem};

use super::front::NO_SUBNETS;
use super::group::Group;
use super::health::protocol;
use super::listeners::Listeners;
use super::names;
use crate::annotations::{Annotation, ingress as table, reasons, value};
use crate::facts::Facts;
use crate::health::{port_of, timeout};
use crate::security;
use crate::stack::{
    Action, ElbProtocol, HealthCheckConfig, LOAD_BALANCER, ListenerSpec, LoadBalancerSpec, LoadBalancerType,
    Matcher, PortOrName, ResourceType, Scheme, SubnetMapping, Tags, Target, TargetFamily, TargetGroupSpec,
    TargetType, Token, attributes,
};
use crate::subnets::{self, Choice, Purpose};

/// Id of the NLB in its stack.
pub const FRONTEND: &str = "FrontendNlb";
/// Seconds between checks.
const INTERVAL: u32 = 15;
/// Seconds until a check has failed.
const TIMEOUT: u32 = 5;
/// Successes, and failures, that decide.
const THRESHOLD: u32 = 2;

/// The NLB and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frontend {
    /// The load balancer.
    pub load_balancer: Option<LoadBalancerSpec>,
    /// Listeners by id.
    pub listeners: BTreeMap<String, ListenerSpec>,
    /// Target groups by id.
    pub target_groups: BTreeMap<String, TargetGroupSpec>,
    /// Targets by the id of their group: the ALB.
    pub targets: BTreeMap<String, Target>,
}

/// Builds it; nothing where nobody asks for one. `None` where it must stay as it is, and with it the whole stack.
pub fn build(
    group: &mut Group<'_>,
    key: &LbKey,
    facts: &Facts,
    listeners: &Listeners,
    alb: &LoadBalancerSpec,
) -> Option<Frontend> {
    let all: Vec<usize> = group.served().collect();
    let on =
        group.exclusive(&table::FRONTEND_NLB, &all, |m| m.settings.bool(&table::FRONTEND_NLB), |_, _| false);
    let Some((holder, true)) = on else { return Some(Frontend::default()) };
    let spec = match load_balancer(group, facts, alb) {
        Ok(spec) => spec,
        Err((annotation, reason, why)) => {
            let problem = group.members[holder].error(annotation, why);
            group.block(Problem { reason: reason.to_owned(), ..problem });
            return None;
        }
    };
    let mut out = Frontend::default();
    for (port, to) in ports(group, listeners) {
        let Some(behind) = listeners.by_port.get(&to) else { continue };
        let health = health(group, behind.protocol, facts.options.like_lbc());
        let tcp = ElbProtocol::Tcp;
        let group_id = format!("{FRONTEND}-tg-TCP-{port}");
        let token = Token::of(ResourceType::TargetGroup, group_id.as_str());
        out.listeners.insert(
            format!("{FRONTEND}-ls-TCP-{port}"),
            ListenerSpec {
                load_balancer_arn: Token::of(ResourceType::LoadBalancer, FRONTEND),
                port,
                protocol: tcp,
                default_actions: vec![Action::forward(token)],
                certificates: Vec::new(),
                ssl_policy: None,
                alpn_policy: Vec::new(),
                mutual_authentication: None,
                tags: spec.tags.clone(),
                listener_attributes: Vec::new(),
            },
        );
        out.target_groups.insert(
            group_id.clone(),
            TargetGroupSpec {
                name: names::frontend_target_group(&facts.cluster.id, key, port, tcp, &health),
                target_type: TargetType::Alb,
                // AWS wants the port of one of the ALB's listeners.
                port: to,
                protocol: tcp,
                protocol_version: None,
                ip_address_type: Some(TargetFamily::Ipv4),
                health_check_config: health,
                target_group_attributes: Vec::new(),
                tags: spec.tags.clone(),
                target_control_port: None,
            },
        );
        let id = Token::of(ResourceType::LoadBalancer, LOAD_BALANCER);
        out.targets.insert(group_id, Target { id, port: to, availability_zone: None });
    }
    out.load_balancer = Some(spec);
    Some(out)
}

type Wrong = (&'static Annotation, &'static str, String);

fn load_balancer(
    group: &mut Group<'_>,
    facts: &Facts,
    alb: &LoadBalancerSpec,
) -> Result<LoadBalancerSpec, Wrong> {
    let like_lbc = facts.options.like_lbc();
    let scheme = match group.exclusive_text(&table::FRONTEND_SCHEME) {
        Some((_, text)) if text == "internal" => Scheme::Internal,
        Some(_) => Scheme::InternetFacing,
        None if like_lbc => facts.options.default_scheme,
        None => alb.scheme,
    };
    let wrong = |annotation, reason, why: String| (annotation, reason, why);
    let purpose = Purpose { kind: LoadBalancerType::Network, scheme, ip_address_type: alb.ip_address_type };
    let named = group.exclusive_text(&table::FRONTEND_SUBNETS).map(|(_, text)| text);
    let mut subnet_mappings: Vec<SubnetMapping> = if named.is_none() && scheme == alb.scheme && !like_lbc {
        alb.subnet_mappings.clone()
    } else {
        let list = named.as_deref().map(value::list);
        let choice = list.as_deref().map_or(Choice::Discovered, Choice::Named);
        let found = subnets::resolve(facts, choice, &purpose);
        let found = found.map_err(|e| wrong(&table::FRONTEND_SUBNETS, NO_SUBNETS, e.to_string()))?;
        let mapping = |s: crate::inventory::Subnet| SubnetMapping {
            subnet_id: s.subnet_id,
            ..SubnetMapping::default()
        };
        found.into_iter().map(mapping).collect()
    };
    if let Some((_, text)) = group.exclusive_text(&table::FRONTEND_EIPS) {
        let list = value::list(&text);
        if scheme != Scheme::InternetFacing {
            let why = "elastic IPs are for internet-facing load balancers: set frontend-nlb-scheme to internet-facing, or take it away";
            return Err(wrong(&table::FRONTEND_EIPS, reasons::INVALID, why.to_owned()));
        }
        if list.len() != subnet_mappings.len() {
            let why = format!(
                "there are {} for {} subnets: give one for each, in the order of the subnets",
                list.len(),
                subnet_mappings.len()
            );
            return Err(wrong(&table::FRONTEND_EIPS, reasons::INVALID, why));
        }
        for (mapping, id) in subnet_mappings.iter_mut().zip(list) {
            mapping.allocation_id = Some(id.to_owned());
        }
    }
    let security_groups = match group.exclusive_text(&table::FRONTEND_SECURITY_GROUPS) {
        None => alb.security_groups.clone(),
        Some((_, text)) => security::resolve(facts, &value::list(&text))
            .map_err(|e| wrong(&table::FRONTEND_SECURITY_GROUPS, super::front::NO_GROUP, e.to_string()))?,
    };
    let attribute_map = group.exclusive_text(&table::FRONTEND_ATTRIBUTES);
    let attribute_map = attribute_map.and_then(|(_, text)| value::map(&text).ok()).unwrap_or_default();
    let tags = match group.exclusive_text(&table::FRONTEND_TAGS) {
        None => alb.tags.clone(),
        Some((holder, text)) => {
            let joined = &group.members[holder];
            let (object, field) = (joined.object(), joined.settings.field(&table::FRONTEND_TAGS));
            let tags: Tags = value::map(&text).unwrap_or_default();
            if like_lbc { tags } else { group.merged(&facts.options, &object, &field, tags) }
        }
    };
    Ok(LoadBalancerSpec {
        name: names::frontend(&alb.name),
        kind: LoadBalancerType::Network,
        scheme,
        ip_address_type: alb.ip_address_type,
        enable_prefix_for_ipv6_source_nat: None,
        subnet_mappings,
        security_groups,
        security_groups_inbound_rules_on_private_link: None,
        customer_owned_ipv4_pool: None,
        load_balancer_attributes: attributes(attribute_map),
        minimum_load_balancer_capacity: None,
        tags,
        ipv4_ipam_pool: None,
    })
}

/// Ports in front, and those behind. A member names pairs, or has its own ports in front too; of two that want one port, the older gets it.
fn ports(group: &mut Group<'_>, listeners: &Listeners) -> BTreeMap<u16, u16> {
    let mut out: BTreeMap<u16, (usize, u16)> = BTreeMap::new();
    for index in group.served().collect::<Vec<_>>() {
        let joined = &group.members[index];
        let own = listeners.by_port.iter().filter(|(_, l)| l.members.contains(&index)).map(|(port, _)| *port);
        let own: Vec<u16> = own.collect();
        let field = joined.settings.field(&table::FRONTEND_PORTS);
        let warn = |why: String| Problem::warning(joined.object(), field.clone(), reasons::INVALID, why);
        let mut found = Vec::new();
        let pairs: Vec<(u16, u16)> = match joined.settings.map(&table::FRONTEND_PORTS) {
            None => own.iter().map(|p| (*p, *p)).collect(),
            Some(map) => {
                let mut pairs = Vec::new();
                for (front, behind) in map {
                    let port = |text: &str| text.parse::<u16>().ok().filter(|p| *p > 0);
                    match (port(&front), port(&behind)) {
                        (Some(front), Some(behind)) if own.contains(&behind) => pairs.push((front, behind)),
                        (Some(_), Some(behind)) => {
                            found.push(warn(format!("{front}={behind} does not count: this object listens on no port {behind}; add it to listen-ports")));
                        }
                        _ => found.push(warn(format!(
                            "{front}={behind} does not count: write two ports, such as 80=443"
                        ))),
                    }
                }
                pairs
            }
        };
        for (front, behind) in pairs {
            match out.get(&front) {
                None => {
                    out.insert(front, (index, behind));
                }
                Some((holder, other)) if *other != behind => {
                    let who = &group.members[*holder].member.object;
                    found.push(Problem {
                        reason: reasons::CONFLICT.to_owned(),
                        ..warn(format!("{front}={behind} does not count: {who} is older and has {front}={other}; take another port"))
                    });
                }
                Some(_) => {}
            }
        }
        found.into_iter().for_each(|p| group.report(p));
    }
    out.into_iter().map(|(front, (_, behind))| (front, behind)).collect()
}

fn health(group: &mut Group<'_>, behind: ElbProtocol, like_lbc: bool) -> HealthCheckConfig {
    let mut text = |annotation| group.exclusive_text(annotation);
    let port = text(&table::FRONTEND_HEALTH_PORT);
    let scheme = text(&table::FRONTEND_HEALTH_PROTOCOL).map(|(_, t)| protocol(&t));
    let path = text(&table::FRONTEND_HEALTH_PATH).map(|(_, t)| t);
    let codes = text(&table::FRONTEND_SUCCESS_CODES).map(|(_, t)| t);
    let mut number = |annotation| text(annotation).and_then(|(_, t)| t.trim().parse::<u32>().ok());
    let interval = number(&table::FRONTEND_HEALTH_INTERVAL).unwrap_or(INTERVAL);
    let given = number(&table::FRONTEND_HEALTH_TIMEOUT);
    let healthy = number(&table::FRONTEND_HEALTHY_THRESHOLD).unwrap_or(THRESHOLD);
    let unhealthy = number(&table::FRONTEND_UNHEALTHY_THRESHOLD).unwrap_or(THRESHOLD);
    let told = |group: &mut Group<'_>, annotation: &'static Annotation, why: String| {
        let holder = group.served().find(|i| group.members[*i].settings.text(annotation).is_some());
        let about = holder.map_or_else(|| group.first(), |i| &group.members[i]);
        let problem = about.warn(annotation, format!("{why}; it counts as absent"));
        group.report(problem);
    };
    let port = match port
        .map(|(_, t)| port_of(&t, &|name| Err(format!("{name:?} is no number, nor traffic-port"))))
    {
        None => PortOrName::traffic(),
        Some(Ok(port)) => port,
        Some(Err(why)) => {
            told(group, &table::FRONTEND_HEALTH_PORT, why);
            PortOrName::traffic()
        }
    };
    let mut too_long = false;
    let timeout_seconds = timeout(given, TIMEOUT, interval, || too_long = true);
    if too_long {
        let why = format!("it is longer than the interval of {interval} seconds");
        told(group, &table::FRONTEND_HEALTH_TIMEOUT, why);
    }
    let (default_scheme, default_codes) =
        if like_lbc { (ElbProtocol::Http, "200") } else { (behind, "200-499") };
    HealthCheckConfig {
        port,
        protocol: scheme.unwrap_or(default_scheme),
        path: Some(path.unwrap_or_else(|| "/".to_owned())),
        matcher: Some(Matcher::Http(codes.unwrap_or_else(|| default_codes.to_owned()))),
        interval_seconds: interval,
        timeout_seconds,
        healthy_threshold_count: healthy,
        unhealthy_threshold_count: unhealthy,
    }
}
