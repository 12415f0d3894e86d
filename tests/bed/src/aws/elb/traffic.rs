//! The load balancers as the data plane has to serve them: one consistent picture of listeners, rules and targets. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::health::State;
use super::names::Arn;
use super::state::{HealthCheck, Kind, Listener, Rule};
use super::{Context, Elb, attributes};
use crate::aws::facts::Facts;
use crate::aws::firewall::{self, Sources};

/// All that is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Load balancers that are active.
    pub balancers: Vec<Balancer>,
    /// Target groups that they use, by ARN.
    pub groups: BTreeMap<Arn, Group>,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancer {
    /// ARN.
    pub arn: Arn,
    /// Type.
    pub kind: Kind,
    /// Host name.
    pub dns_name: String,
    /// Where clients reach it.
    pub address: Ipv4Addr,
    /// Whether that is an address of the nodes' segment.
    pub internal: bool,
    /// Where its connections to targets come from.
    pub private: Ipv4Addr,
    /// Who may connect, per listener port; none if it has no security groups.
    pub guarded: bool,
    /// Listeners.
    pub listeners: Vec<Served>,
    /// Seconds an HTTP connection may idle.
    pub idle_timeout: u64,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// ARN.
    pub arn: Arn,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: String,
    /// Default certificate first, then those for SNI.
    pub certificates: Vec<String>,
    /// Seconds a TCP flow may idle.
    pub idle_timeout: u64,
    /// Rules in the order in which they are looked at, the default one last.
    pub rules: Vec<ServedRule>,
    /// Addresses that may connect by TCP, if the load balancer is guarded.
    pub tcp_sources: Vec<ipnet::IpNet>,
    /// The same for UDP.
    pub udp_sources: Vec<ipnet::IpNet>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedRule {
    /// Its conditions, as AWS gives them back; none of a default rule.
    pub conditions: Vec<Value>,
    /// Its last action.
    pub action: Value,
    /// Its transforms.
    pub transforms: Vec<Value>,
}

/// A target group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Protocol.
    pub protocol: String,
    /// Type of the load balancer that uses it.
    pub kind: Kind,
    /// Health check.
    pub check: HealthCheck,
    /// Where its checks come from.
    pub private: Ipv4Addr,
    /// Attributes: all of those that change what is done with traffic.
    pub attributes: BTreeMap<&'static str, String>,
    /// Targets.
    pub targets: Vec<Reachable>,
}

impl Group {
    /// Whether an attribute is `true`.
    pub fn is(&self, attribute: &str) -> bool {
        self.attributes.get(attribute).is_some_and(|value| value == "true")
    }

    /// The targets that get new traffic: the healthy ones; if there is none, all that are not draining ("fail open").
    pub fn eligible(&self) -> Vec<&Reachable> {
        let live = || self.targets.iter().filter(|target| !target.draining && !target.unused);
        let healthy: Vec<&Reachable> = live().filter(|target| target.healthy).collect();
        if healthy.is_empty() { live().collect() } else { healthy }
    }
}

/// A target with where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Reachable {
    /// Id.
    pub id: String,
    /// Port.
    pub port: u16,
    /// Address; none if it cannot be had.
    pub address: Option<IpAddr>,
    /// Whether checks say that it works.
    pub healthy: bool,
    /// Whether checks say that it does not.
    pub unhealthy: bool,
    /// Whether it is being deregistered.
    pub draining: bool,
    /// Whether it cannot be used at all, and is not checked.
    pub unused: bool,
    /// Whether its security groups let the load balancer's traffic in.
    pub open: bool,
    /// Whether they let its health checks in.
    pub check_open: bool,
    /// Where clients must come from to be let in, if their addresses are kept and the load balancer itself is not let in.
    pub client_sources: Vec<ipnet::IpNet>,
}

const KEPT: [&str; 11] = [
    "deregistration_delay.connection_termination.enabled",
    "deregistration_delay.timeout_seconds",
    "preserve_client_ip.enabled",
    "proxy_protocol_v2.enabled",
    "stickiness.enabled",
    "stickiness.type",
    "stickiness.lb_cookie.duration_seconds",
    "stickiness.app_cookie.cookie_name",
    "stickiness.app_cookie.duration_seconds",
    "target_health_state.unhealthy.connection_termination.enabled",
    "load_balancing.algorithm.type",
];

impl Elb {
    /// The picture of now.
    pub fn traffic(&self, context: Context) -> Traffic {
        let mut traffic = Traffic::default();
        let active = self
            .load_balancers
            .values()
            .filter(|balancer| context.now >= balancer.created + self.settings.provisioning);
        let mut listeners_of: BTreeMap<&str, Vec<&Listener>> = BTreeMap::new();
        for listener in self.listeners.values() {
            listeners_of.entry(&listener.load_balancer).or_default().push(listener);
        }
        let mut rules_of: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        for rule in self.rules.values() {
            rules_of.entry(&rule.listener).or_default().push(rule);
        }
        for balancer in active {
            let Some(private) = balancer.zones.first().map(|zone| zone.private) else { continue };
            let mut listeners = Vec::new();
            for listener in listeners_of.remove(balancer.arn.as_str()).unwrap_or_default() {
                let mut rules = rules_of.remove(listener.arn.as_str()).unwrap_or_default();
                rules.sort_by_key(|rule| rule.priority);
                let served = |conditions: &Vec<Value>, actions: &Vec<Value>, transforms: &Vec<Value>| {
                    let action = super::actions::routing(actions)?.clone();
                    Some(ServedRule {
                        conditions: conditions.clone(),
                        action,
                        transforms: transforms.clone(),
                    })
                };
                let default = served(&Vec::new(), &listener.actions, &Vec::new());
                let rules =
                    rules.iter().filter_map(|rule| served(&rule.conditions, &rule.actions, &rule.transforms));
                let idle = attributes::listener(
                    &listener.protocol,
                    &listener.attributes,
                    "tcp.idle_timeout.seconds",
                );
                let sources = |protocol| {
                    firewall::sources(context.facts, balancer.security_groups.iter(), protocol, listener.port)
                };
                listeners.push(Served {
                    arn: listener.arn.clone(),
                    port: listener.port,
                    protocol: listener.protocol.clone(),
                    certificates: listener
                        .certificates
                        .iter()
                        .chain(&listener.more_certificates)
                        .cloned()
                        .collect(),
                    idle_timeout: idle.parse().unwrap_or(350),
                    rules: rules.chain(default).collect(),
                    tcp_sources: sources("tcp").addresses(context.facts),
                    udp_sources: sources("udp").addresses(context.facts),
                });
            }
            let idle = attributes::load_balancer(balancer, "idle_timeout.timeout_seconds");
            traffic.balancers.push(Balancer {
                arn: balancer.arn.clone(),
                kind: balancer.kind,
                dns_name: balancer.dns_name.clone(),
                address: balancer.address,
                internal: balancer.internal,
                private,
                guarded: !balancer.security_groups.is_empty(),
                listeners,
                idle_timeout: idle.parse().unwrap_or(60),
            });
        }
        for (arn, users) in self.users() {
            // One load balancer at most uses a group.
            let user = users.iter().find_map(|user| self.load_balancers.get(user));
            let (Some(group), Some(user)) = (self.target_groups.get(&arn), user) else { continue };
            let private: Vec<Ipv4Addr> = user.zones.iter().map(|zone| zone.private).collect();
            let Some(first) = private.first().copied() else { continue };
            let targets = group.targets.iter().map(|((id, port), target)| {
                let instance = context.facts.instances.get(id);
                let address = match group.target_type.as_str() {
                    "instance" => instance.and_then(|instance| instance.address),
                    _ => id.parse().ok(),
                };
                let check_port = group.check.port.parse().unwrap_or(*port);
                let protocol = if group.protocol == "UDP" { "udp" } else { "tcp" };
                let sources = |protocol: &str, port: u16| match instance {
                    Some(instance) => {
                        firewall::sources(context.facts, instance.security_groups.iter(), protocol, port)
                    }
                    // What an address belongs to is not known here; Pods have no security groups of their own.
                    None => Sources::anywhere(),
                };
                let lets_in = |sources: &Sources| {
                    let from_group = user.security_groups.iter().any(|own| sources.groups.contains(own));
                    from_group || private.iter().any(|own| sources.contain((*own).into()))
                };
                let to_port = sources(protocol, *port);
                let in_use = self.usable(&users, group, id, target, context).is_ok();
                Reachable {
                    id: id.clone(),
                    port: *port,
                    address,
                    healthy: target.health.state == State::Healthy,
                    unhealthy: matches!(target.health.state, State::Unhealthy(_)),
                    draining: target.draining_until.is_some(),
                    unused: !in_use,
                    open: lets_in(&to_port),
                    check_open: lets_in(&sources("tcp", check_port)),
                    client_sources: to_port.ranges,
                }
            });
            let kept = KEPT.map(|key| (key, attributes::target_group(group, key)));
            traffic.groups.insert(
                arn.clone(),
                Group {
                    protocol: group.protocol.clone(),
                    kind: user.kind,
                    check: group.check.clone(),
                    private: first,
                    attributes: BTreeMap::from(kept),
                    targets: targets.collect(),
                },
            );
        }
        traffic
    }

    /// Address and host name of every load balancer, active or not.
    pub fn hosts(&self) -> Vec<(Ipv4Addr, String)> {
        self.load_balancers.values().map(|balancer| (balancer.address, balancer.dns_name.clone())).collect()
    }

    /// Elastic IP addresses in use: load balancers are reached at them too.
    pub fn elastic_addresses(&self) -> Vec<Ipv4Addr> {
        let zones = self.load_balancers.values().flat_map(|balancer| balancer.zones.iter());
        zones.filter_map(|zone| zone.elastic.as_ref().map(|(_, address)| *address)).collect()
    }
}

impl Sources {
    /// Addresses: those of ranges, and those of the instances that have one of the groups.
    fn addresses(&self, facts: &Facts) -> Vec<ipnet::IpNet> {
        let of_groups = facts
            .instances
            .values()
            .filter(|instance| instance.security_groups.iter().any(|group| self.groups.contains(group)))
            .filter_map(|instance| instance.address.map(ipnet::IpNet::from));
        self.ranges.iter().copied().chain(of_groups).collect()
    }
}
