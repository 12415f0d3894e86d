//! From what services answer to what a plan compares: fields as they are posted, ids for references, and which resource of the stack something is. Pure.

use std::net::IpAddr;

use causeway_api::names::{TAG_APPLIED, TAG_CLUSTER, TAG_OWNER, TAG_RESOURCE};
use causeway_api::{AppliedHash, Mark as Whose};
use serde_json::{Map, Value, json};

use super::{Part, SeenLoadBalancer, State};
use crate::adopt;
use crate::api::barbican::{self, Secret};
use crate::api::neutron::{FloatingIp, SecurityGroup, SecurityGroupRule};
use crate::api::octavia::{
    HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Provisioning,
};
use crate::inventory::ExistingLoadBalancer;
use crate::naming;
use crate::ownership::{Mark, resource, tag};
use crate::stack::{FLOATING_IP, MemberSpec, ResourceType, SECURITY_GROUP};

/// Value of the tag with this key.
#[must_use]
pub fn tag_value<'a>(tags: &'a [String], key: &str) -> Option<&'a str> {
    tags.iter().find_map(|t| t.strip_prefix(key)?.strip_prefix('='))
}

/// Which resource of the stack something of Octavia is; `None`: it is not of this stack.
fn of_tags(tags: &[String], mark: &Mark) -> Option<String> {
    let ours = tags.contains(&tag(TAG_CLUSTER, &mark.cluster)) && tags.contains(&tag(TAG_OWNER, &mark.owner));
    ours.then(|| tag_value(tags, TAG_RESOURCE).unwrap_or_default().to_owned())
}

/// Whose something of Neutron is, by its description; `None`: nobody's of this cluster.
#[must_use]
pub fn described_owner<'a>(description: &'a str, cluster: &str) -> Option<&'a str> {
    let rest = description.strip_prefix(TAG_OWNER)?.strip_prefix('=')?;
    let (owner, rest) = rest.split_once(' ')?;
    rest.strip_prefix(&tag(TAG_CLUSTER, cluster))?.starts_with(':').then_some(owner)
}

/// The owner that the tags of something of Octavia in this cluster name.
#[must_use]
pub fn tagged_owner<'a>(tags: &'a [String], cluster: &str) -> Option<&'a str> {
    tags.contains(&tag(TAG_CLUSTER, cluster)).then(|| tag_value(tags, TAG_OWNER)).flatten()
}

/// Without what is null or empty.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let some = |v: &Value| match v {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(all) => !all.is_empty(),
                Value::Object(all) => !all.is_empty(),
                Value::Bool(_) | Value::Number(_) => true,
            };
            map.into_iter()
                .map(|(k, v)| (k, pruned(v)))
                .filter(|(_, v)| some(v))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(all) => all.into_iter().map(pruned).collect(),
        other => other,
    }
}

/// As decisions of ownership know it.
#[must_use]
pub fn existing(lb: &LoadBalancer) -> ExistingLoadBalancer {
    ExistingLoadBalancer {
        id: lb.id.clone(),
        name: lb.name.clone(),
        description: lb.description.clone(),
        created_at: lb.created_at.clone(),
        provisioning_status: lb.provisioning_status.as_str().to_owned(),
        provider: lb.provider.clone(),
        vip_address: lb.vip_address.clone().unwrap_or_default(),
        vip_network_id: lb.vip_network_id.clone().unwrap_or_default(),
        vip_subnet_id: lb.vip_subnet_id.clone().unwrap_or_default(),
        vip_port_id: lb.vip_port_id.clone().unwrap_or_default(),
        flavor_id: lb.flavor_id.clone().unwrap_or_default(),
        availability_zone: lb.availability_zone.clone().unwrap_or_default(),
        tags: lb.tags.clone(),
    }
}

/// A load balancer.
#[must_use]
pub fn load_balancer(lb: &LoadBalancer, mark: &Mark, floating: Option<&FloatingIp>) -> SeenLoadBalancer {
    let address = |text: &String| text.parse::<IpAddr>().ok();
    let further = lb.additional_vips.iter().filter_map(|v| v.ip_address.as_ref());
    let applied = tag_value(&lb.tags, TAG_APPLIED).map_or(AppliedHash::Dirty, |t| {
        let Ok(applied) = t.parse::<AppliedHash>();
        applied
    });
    SeenLoadBalancer {
        id: lb.id.clone(),
        mark: if mark.owns(&existing(lb)) { Whose::Ours } else { Whose::UserNamed },
        state: match &lb.provisioning_status {
            Provisioning::Active => State::Active,
            Provisioning::Error => State::Error,
            _ => State::Pending,
        },
        addresses: lb.vip_address.iter().chain(further).filter_map(address).collect(),
        vip_port_id: lb.vip_port_id.clone().unwrap_or_default(),
        adopted: mark.owns(&existing(lb)) && adopt::is_adopted(&lb.tags),
        floating_address: floating.and_then(|f| address(&f.floating_ip_address)),
        applied,
        body: pruned(json!({
            "name": lb.name, "description": lb.description, "provider": lb.provider, "vip_subnet_id": lb.vip_subnet_id,
            "vip_network_id": lb.vip_network_id, "vip_port_id": lb.vip_port_id, "vip_address": lb.vip_address,
            "additional_vips": lb.additional_vips, "flavor_id": lb.flavor_id, "availability_zone": lb.availability_zone,
        })),
    }
}

/// A listener of this load balancer.
#[must_use]
pub fn listener(l: &Listener, lb: &str, mark: &Mark) -> Part {
    Part {
        kind: ResourceType::Listener,
        id: l.id.clone(),
        resource: of_tags(&l.tags, mark),
        body: pruned(json!({
            "loadbalancer_id": lb, "name": l.name, "protocol": l.protocol, "protocol_port": l.protocol_port,
            "default_pool_id": l.default_pool_id, "connection_limit": l.connection_limit, "allowed_cidrs": l.allowed_cidrs,
            "insert_headers": l.insert_headers, "timeout_client_data": l.timeout_client_data,
            "timeout_member_connect": l.timeout_member_connect, "timeout_member_data": l.timeout_member_data,
            "timeout_tcp_inspect": l.timeout_tcp_inspect, "default_tls_container_ref": l.default_tls_container_ref,
            "sni_container_refs": l.sni_container_refs,
        })),
    }
}

/// A pool of this load balancer.
#[must_use]
pub fn pool(p: &Pool, lb: &str, mark: &Mark) -> Part {
    Part {
        kind: ResourceType::Pool,
        id: p.id.clone(),
        resource: of_tags(&p.tags, mark),
        body: pruned(json!({
            "loadbalancer_id": lb, "name": p.name, "protocol": p.protocol, "lb_algorithm": p.lb_algorithm,
            "session_persistence": p.session_persistence,
        })),
    }
}

/// A health monitor.
#[must_use]
pub fn monitor(m: &HealthMonitor, mark: &Mark) -> Part {
    Part {
        kind: ResourceType::HealthMonitor,
        id: m.id.clone(),
        resource: of_tags(&m.tags, mark),
        body: pruned(json!({
            "pool_id": m.pools.first().map(|p| &p.id), "name": m.name, "type": m.kind, "delay": m.delay, "timeout": m.timeout,
            "max_retries": m.max_retries, "max_retries_down": m.max_retries_down, "http_method": m.http_method,
            "url_path": m.url_path, "expected_codes": m.expected_codes,
        })),
    }
}

/// An L7 policy. That it is switched on is not said, as bodies for making do not.
#[must_use]
pub fn policy(p: &L7Policy, mark: &Mark) -> Part {
    let off = (p.admin_state_up == Some(false)).then_some(false);
    Part {
        kind: ResourceType::L7Policy,
        id: p.id.clone(),
        resource: of_tags(&p.tags, mark),
        body: pruned(json!({
            "listener_id": p.listener_id, "name": p.name, "action": p.action, "position": p.position,
            "redirect_pool_id": p.redirect_pool_id, "redirect_prefix": p.redirect_prefix,
            "redirect_http_code": p.redirect_http_code, "admin_state_up": off,
        })),
    }
}

/// A rule of this policy.
#[must_use]
pub fn rule(r: &L7Rule, policy: &str, mark: &Mark) -> Part {
    Part {
        kind: ResourceType::L7Rule,
        id: r.id.clone(),
        resource: of_tags(&r.tags, mark),
        body: pruned(json!({
            "l7policy_id": policy, "type": r.kind, "compare_type": r.compare_type, "value": r.value,
            "invert": r.invert.filter(|i| *i),
        })),
    }
}

/// A member; `None`: its address is none, so that it is nobody's that we know. Members are made with no weight of their own and the like: one that has been given
/// some by hand is not as any that is wanted, see [`is_odd`].
#[must_use]
pub fn member(m: &Member) -> Option<MemberSpec> {
    let odd = m.weight.is_some_and(|w| w != 1) || m.backup == Some(true) || m.admin_state_up == Some(false);
    Some(MemberSpec {
        name: if odd { String::new() } else { m.name.clone() },
        address: m.address.parse().ok()?,
        protocol_port: m.protocol_port,
        subnet_id: m.subnet_id.clone(),
        monitor_port: m.monitor_port,
    })
}

/// Whether a member was given a weight, or another part than the others have, by hand: it counts as one without name, which we never make.
#[must_use]
pub fn is_odd(m: &MemberSpec) -> bool {
    m.name.is_empty()
}

/// A member as a plan wrote it.
#[must_use]
pub fn member_of_body(body: &Value) -> Option<MemberSpec> {
    member(&serde_json::from_value(body.clone()).ok()?)
}

/// A floating IP.
#[must_use]
pub fn floating_ip(f: &FloatingIp, mark: &Mark) -> Part {
    let ours = described_owner(&f.description, &mark.cluster) == Some(mark.owner.as_str());
    Part {
        kind: ResourceType::FloatingIp,
        id: f.id.clone(),
        resource: ours.then(|| resource(ResourceType::FloatingIp, FLOATING_IP)),
        body: pruned(json!({
            "floating_network_id": f.floating_network_id, "floating_ip_address": f.floating_ip_address,
            "port_id": f.port_id, "description": f.description,
        })),
    }
}

/// A secret in Barbican; `None`: it is not of this stack, or of no use.
#[must_use]
pub fn secret(s: &Secret, mark: &Mark) -> Option<Part> {
    if described_owner(&s.name, &mark.cluster) != Some(mark.owner.as_str()) {
        return None;
    }
    let (kind, id) = barbican::parse_ref(&s.secret_ref)?;
    let (source, _) = naming::of_secret(&s.name)?;
    (kind == barbican::Kind::Secret).then(|| Part {
        kind: ResourceType::Secret,
        id: id.to_owned(),
        resource: Some(resource(ResourceType::Secret, source)),
        body: json!({"name": s.name, "secret_ref": s.secret_ref}),
    })
}

/// Whether a secret has this id.
#[must_use]
pub fn is_secret(s: &Secret, id: &str) -> bool {
    barbican::parse_ref(&s.secret_ref) == Some((barbican::Kind::Secret, id))
}

/// A security group, and its rules.
#[must_use]
pub fn security_group(g: &SecurityGroup, mark: &Mark) -> Vec<Part> {
    group_parts(g, described_owner(&g.description, &mark.cluster) == Some(mark.owner.as_str()))
}

/// The same of one of which it is known whether it is ours.
#[must_use]
pub fn group_parts(g: &SecurityGroup, ours: bool) -> Vec<Part> {
    let group = Part {
        kind: ResourceType::SecurityGroup,
        id: g.id.clone(),
        resource: ours.then(|| resource(ResourceType::SecurityGroup, SECURITY_GROUP)),
        body: pruned(json!({"name": g.name, "description": g.description})),
    };
    std::iter::once(group).chain(g.security_group_rules.iter().map(|r| group_rule(r, ours))).collect()
}

/// A rule of a security group. Those that Neutron puts into every group (everything may leave) are nobody's.
#[must_use]
pub fn group_rule(r: &SecurityGroupRule, ours: bool) -> Part {
    let id = match (&r.protocol, r.port_range_min, &r.remote_ip_prefix) {
        (Some(protocol), Some(port), Some(net)) if r.direction == "ingress" => {
            Some(format!("{protocol}-{port}-{net}"))
        }
        // Opened by somebody else, in a group of ours.
        _ if r.direction == "ingress" => Some(r.id.clone()),
        _ => None,
    };
    Part {
        kind: ResourceType::SecurityGroupRule,
        id: r.id.clone(),
        resource: id.filter(|_| ours).map(|id| resource(ResourceType::SecurityGroupRule, &id)),
        body: pruned(json!({
            "security_group_id": r.security_group_id, "direction": r.direction, "ethertype": r.ethertype, "protocol": r.protocol,
            "port_range_min": r.port_range_min, "port_range_max": r.port_range_max, "remote_ip_prefix": r.remote_ip_prefix,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fields_changed;

    fn mark() -> Mark {
        Mark { cluster: "c".to_owned(), owner: "service/1".to_owned() }
    }

    #[test]
    fn owners_are_read_from_tags_and_descriptions_of_this_cluster_only() {
        let ours = mark();
        assert_eq!(described_owner(&ours.description("x"), "c"), Some("service/1"));
        assert_eq!(described_owner(&ours.description("x"), "cc"), None);
        let longer = Mark { cluster: "cc".to_owned(), ..ours.clone() };
        assert_eq!(described_owner(&longer.description("x"), "c"), None);
        assert_eq!(described_owner("Floating IP for Kubernetes external service", "c"), None);
        let tags = ours.octavia_tags(ResourceType::Pool, "TCP-80");
        assert_eq!(tagged_owner(&tags, "c"), Some("service/1"));
        assert_eq!(tagged_owner(&tags, "cc"), None);
        assert_eq!(of_tags(&tags, &ours).as_deref(), Some("Pool/TCP-80"));
        assert_eq!(of_tags(&tags, &longer), None);
    }

    /// What Octavia adds of its own is no difference.
    #[test]
    fn what_was_posted_reads_as_it_was_posted() {
        let answer = json!({"id": "l1", "name": "a", "description": "", "protocol": "TCP", "protocol_port": 80, "connection_limit": -1,
            "default_pool_id": "p1", "timeout_client_data": 50000, "timeout_member_connect": 5000, "timeout_member_data": 50000,
            "timeout_tcp_inspect": 0, "allowed_cidrs": null, "insert_headers": {}, "sni_container_refs": [], "admin_state_up": true,
            "tags": mark().octavia_tags(ResourceType::Listener, "TCP-80")});
        let part = listener(&serde_json::from_value(answer).expect("a listener"), "lb", &mark());
        let want = json!({"loadbalancer_id": "lb", "name": "a", "protocol": "TCP", "protocol_port": 80, "default_pool_id": "p1"});
        assert!(fields_changed(part.kind, &want, &part.body).is_empty(), "{part:?}");
        let answer = json!({"id": "p1", "name": "p", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": {"type": "SOURCE_IP", "cookie_name": null, "persistence_timeout": null}, "healthmonitor_id": "m"});
        let part = pool(&serde_json::from_value(answer).expect("a pool"), "lb", &mark());
        let want = json!({"loadbalancer_id": "lb", "name": "p", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": {"type": "SOURCE_IP"}});
        assert!(fields_changed(part.kind, &want, &part.body).is_empty(), "{part:?}");
        assert_eq!(part.resource, None);
        let answer = json!({"id": "x", "type": "PATH", "compare_type": "EQUAL_TO", "value": "/a", "invert": false, "key": null});
        let part = rule(&serde_json::from_value(answer).expect("a rule"), "y", &mark());
        let want = json!({"l7policy_id": "y", "type": "PATH", "compare_type": "EQUAL_TO", "value": "/a"});
        assert!(fields_changed(part.kind, &want, &part.body).is_empty(), "{part:?}");
    }

    #[test]
    fn rules_of_groups_are_known_by_what_they_open() {
        let rule = |direction: &str, protocol: Option<&str>| SecurityGroupRule {
            id: "r".to_owned(),
            direction: direction.to_owned(),
            protocol: protocol.map(str::to_owned),
            port_range_min: protocol.map(|_| 30080),
            remote_ip_prefix: protocol.map(|_| "10.6.0.0/16".to_owned()),
            ..SecurityGroupRule::default()
        };
        let resource = |r: &SecurityGroupRule, ours| group_rule(r, ours).resource;
        let opened = "SecurityGroupRule/tcp-30080-10.6.0.0/16";
        assert_eq!(resource(&rule("ingress", Some("tcp")), true).as_deref(), Some(opened));
        assert_eq!(resource(&rule("ingress", None), true).as_deref(), Some("SecurityGroupRule/r"));
        assert_eq!(resource(&rule("egress", None), true), None);
        assert_eq!(resource(&rule("ingress", Some("tcp")), false), None);
    }
}
