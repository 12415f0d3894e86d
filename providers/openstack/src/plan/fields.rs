//! What of a resource can be changed, and what differs. Pure.

use serde_json::{Map, Value};

use crate::stack::ResourceType;

/// Fields that are fixed once a resource is there.
#[must_use]
pub fn fixed(kind: ResourceType) -> &'static [&'static str] {
    match kind {
        ResourceType::LoadBalancer => &[
            "provider",
            "vip_subnet_id",
            "vip_network_id",
            "vip_port_id",
            "vip_address",
            "additional_vips",
            "flavor_id",
            "availability_zone",
        ],
        ResourceType::Listener => &["loadbalancer_id", "protocol", "protocol_port"],
        ResourceType::Pool => &["loadbalancer_id", "protocol"],
        ResourceType::HealthMonitor => &["pool_id", "type"],
        ResourceType::L7Policy => &["listener_id"],
        ResourceType::L7Rule => &["l7policy_id"],
        ResourceType::FloatingIp => &["floating_network_id", "floating_ip_address"],
        ResourceType::SecurityGroupRule => &[
            "security_group_id",
            "direction",
            "ethertype",
            "protocol",
            "port_range_min",
            "port_range_max",
            "remote_ip_prefix",
        ],
        ResourceType::Secret => &["name"],
        ResourceType::SecurityGroup | ResourceType::Member => &[],
    }
}

/// Fields that are sent and not answered, or that only count when the resource is made.
fn unseen(kind: ResourceType) -> &'static [&'static str] {
    match kind {
        // Asked for once; which of several subnets had room nobody tells.
        ResourceType::FloatingIp => &["subnet_id"],
        ResourceType::Secret => {
            &["payload", "payload_content_type", "payload_content_encoding", "secret_type", "secret_ref"]
        }
        _ => &[],
    }
}

/// Whether a value is as good as absent.
fn absent(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(all)) => all.is_empty(),
        Some(Value::Object(all)) => all.is_empty(),
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    }
}

fn same(want: Option<&Value>, have: Option<&Value>) -> bool {
    match (want, have) {
        _ if want == have => true,
        // No list of theirs has an order.
        (Some(Value::Array(want)), Some(Value::Array(have))) => {
            want.len() == have.len() && want.iter().all(|w| have.iter().any(|h| holds(w, h)))
        }
        _ => absent(want) && absent(have),
    }
}

/// Whether an entry of a list is as asked for; what is not asked for (the address of a further VIP) is Octavia's choice.
fn holds(want: &Value, have: &Value) -> bool {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => want.iter().all(|(k, v)| have.get(k) == Some(v)),
        _ => want == have,
    }
}

/// What the services put where nothing is asked for: nothing that would have to be set back. Source: `octavia/common/constants.py`, and its options' defaults.
fn default(kind: ResourceType, field: &str, value: &Value) -> bool {
    let text = |word: &str| value.as_str() == Some(word);
    let number = |number: i64| value.as_i64() == Some(number);
    match (kind, field) {
        (ResourceType::Listener, "connection_limit") => number(-1),
        // Everybody, said: as good as nothing said.
        (ResourceType::Listener, "allowed_cidrs") => {
            let everybody = |net: &Value| matches!(net.as_str(), Some("0.0.0.0/0" | "::/0"));
            value.as_array().is_some_and(|nets| nets.iter().all(everybody))
        }
        (ResourceType::HealthMonitor, "http_method") => text("GET"),
        (ResourceType::HealthMonitor, "url_path") => text("/"),
        (ResourceType::HealthMonitor, "expected_codes") => text("200"),
        (ResourceType::L7Policy, "redirect_http_code") => number(302),
        (ResourceType::L7Rule, "invert") => value == &Value::Bool(false),
        _ => false,
    }
}

/// Fields in which the services put what their operator chose, where nothing is asked for: who does not ask leaves them alone.
fn chosen(kind: ResourceType, field: &str) -> bool {
    kind == ResourceType::Listener && field.starts_with("timeout_")
}

/// Fields that are fixed, asked for, and otherwise. What is not asked for is Octavia's choice.
#[must_use]
pub fn stuck(kind: ResourceType, want: &Value, have: &Value) -> Vec<&'static str> {
    let differs = |field: &&&'static str| {
        let wanted = want.get(**field);
        !absent(wanted) && !same(wanted, have.get(**field))
    };
    fixed(kind).iter().filter(differs).copied().collect()
}

/// What must be sent to have the rest as asked for; empty: nothing. A setting that is there and not asked for goes back to what holds without it.
#[must_use]
pub fn changed(kind: ResourceType, want: &Value, have: &Value) -> Map<String, Value> {
    let empty = Map::new();
    let (wanted, there) = (want.as_object().unwrap_or(&empty), have.as_object().unwrap_or(&empty));
    let skip = |field: &str| fixed(kind).contains(&field) || unseen(kind).contains(&field);
    let mut out = Map::new();
    for (field, value) in wanted {
        if !skip(field) && !same(Some(value), there.get(field)) {
            out.insert(field.clone(), value.clone());
        }
    }
    for (field, value) in there {
        let left = skip(field) || chosen(kind, field) || default(kind, field, value);
        if !left && !wanted.contains_key(field) && !absent(Some(value)) {
            out.insert(field.clone(), Value::Null);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_empty_is_absent_and_what_is_gone_is_set_back() {
        let kind = ResourceType::Listener;
        let have = json!({"name": "a", "allowed_cidrs": [], "insert_headers": {}, "default_pool_id": null});
        assert!(changed(kind, &json!({"name": "a"}), &have).is_empty());
        let have = json!({"name": "a", "allowed_cidrs": ["10.0.0.0/8"]});
        let want = json!({"name": "b"});
        assert_eq!(json!(changed(kind, &want, &have)), json!({"name": "b", "allowed_cidrs": null}));
    }

    #[test]
    fn lists_have_no_order_and_defaults_need_not_be_set_back() {
        let kind = ResourceType::Listener;
        let have = json!({"allowed_cidrs": ["10.0.0.0/8", "fd00::/8"], "timeout_client_data": 50000, "connection_limit": -1});
        assert!(changed(kind, &json!({"allowed_cidrs": ["fd00::/8", "10.0.0.0/8"]}), &have).is_empty());
        let want = json!({"allowed_cidrs": ["10.0.0.0/8"], "connection_limit": 5});
        assert_eq!(json!(changed(kind, &want, &have)), want);
        let have = json!({"timeout_client_data": 60000, "connection_limit": 5});
        assert_eq!(json!(changed(kind, &json!({}), &have)), json!({"connection_limit": null}));
        let want = json!({"timeout_client_data": 50000, "connection_limit": 5});
        assert_eq!(json!(changed(kind, &want, &have)), json!({"timeout_client_data": 50000}));
        let kind = ResourceType::LoadBalancer;
        let have = json!({"additional_vips": [{"subnet_id": "s", "ip_address": "fd00::9"}]});
        assert!(stuck(kind, &json!({"additional_vips": [{"subnet_id": "s"}]}), &have).is_empty());
        assert!(!stuck(kind, &json!({"additional_vips": [{"subnet_id": "t"}]}), &have).is_empty());
    }

    #[test]
    fn what_is_fixed_is_never_sent_and_only_counts_where_it_was_asked_for() {
        let kind = ResourceType::LoadBalancer;
        let have = json!({"flavor_id": "x", "vip_subnet_id": "s", "name": "a"});
        let want = json!({"flavor_id": "y", "name": "a"});
        assert!(changed(kind, &want, &have).is_empty());
        assert_eq!(stuck(kind, &want, &have), ["flavor_id"]);
    }
}
