//! What is there, in the form in which it would be made: the fields that are posted, references as ids, and without what a service adds by itself. Pure.
//!
//! A service answers more than it was given: states, times, lists of children, settings that nobody asked for with the values that hold then. What was made
//! and what is wanted can only be compared in one form, and this is that of POST. So:
//!
//! - only fields that decisions set are kept, each under the name it is posted with (a listener's load balancer is answered as `loadbalancers: [{id}]`
//!   and posted as `loadbalancer_id`);
//! - `null`, and a value that holds when nothing is said, are left away; so are empty lists, maps and texts;
//! - what was posted and read again is the same: there is nothing to do.
//!
//! Source of the values that hold: Octavia's API reference. An operator can choose other time-outs of listeners; these then count as asked for.

use serde_json::{Map, Value, json};

/// Kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "they are called so everywhere")]
pub enum Kind {
    LoadBalancer,
    Listener,
    Pool,
    HealthMonitor,
    L7Policy,
    L7Rule,
    Member,
    FloatingIp,
    SecurityGroup,
    SecurityGroupRule,
    Secret,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::LoadBalancer,
        Self::Listener,
        Self::Pool,
        Self::HealthMonitor,
        Self::L7Policy,
        Self::L7Rule,
        Self::Member,
        Self::FloatingIp,
        Self::SecurityGroup,
        Self::SecurityGroupRule,
        Self::Secret,
    ];

    /// Fields that are posted and answered under the same name.
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::LoadBalancer => &[
                "name",
                "description",
                "provider",
                "vip_subnet_id",
                "vip_network_id",
                "vip_port_id",
                "vip_address",
                "additional_vips",
                "flavor_id",
                "availability_zone",
                "admin_state_up",
            ],
            Self::Listener => &[
                "name",
                "protocol",
                "protocol_port",
                "default_pool_id",
                "connection_limit",
                "allowed_cidrs",
                "insert_headers",
                "timeout_client_data",
                "timeout_member_connect",
                "timeout_member_data",
                "timeout_tcp_inspect",
                "default_tls_container_ref",
                "sni_container_refs",
                "admin_state_up",
            ],
            Self::Pool => &["name", "protocol", "lb_algorithm", "session_persistence", "admin_state_up"],
            Self::HealthMonitor => &[
                "name",
                "type",
                "delay",
                "timeout",
                "max_retries",
                "max_retries_down",
                "http_method",
                "url_path",
                "expected_codes",
                "domain_name",
                "admin_state_up",
            ],
            Self::L7Policy => &[
                "listener_id",
                "name",
                "action",
                "position",
                "redirect_pool_id",
                "redirect_url",
                "redirect_prefix",
                "redirect_http_code",
                "admin_state_up",
            ],
            Self::L7Rule => &["type", "compare_type", "key", "value", "invert", "admin_state_up"],
            Self::Member => &[
                "name",
                "address",
                "protocol_port",
                "subnet_id",
                "weight",
                "backup",
                "monitor_address",
                "monitor_port",
                "admin_state_up",
            ],
            Self::FloatingIp => &["floating_network_id", "floating_ip_address", "port_id", "description"],
            Self::SecurityGroup => &["name", "description"],
            Self::SecurityGroupRule => &[
                "security_group_id",
                "direction",
                "ethertype",
                "protocol",
                "port_range_min",
                "port_range_max",
                "remote_ip_prefix",
                "remote_group_id",
            ],
            Self::Secret => &["name"],
        }
    }

    /// What the one that it belongs to is called in its POST, and in its answer: a list of ids.
    const fn parent(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Listener | Self::Pool => Some(("loadbalancer_id", "loadbalancers")),
            Self::HealthMonitor => Some(("pool_id", "pools")),
            _ => None,
        }
    }

    /// Whether a field has the value that holds when nothing is said.
    fn default(self, field: &str, value: &Value) -> bool {
        let holds = match (self, field) {
            (_, "admin_state_up") => json!(true),
            (Self::Listener, "connection_limit") => json!(-1),
            (Self::Listener, "timeout_client_data" | "timeout_member_data") => json!(50_000),
            (Self::Listener, "timeout_member_connect") => json!(5_000),
            (Self::Listener, "timeout_tcp_inspect") => json!(0),
            (Self::Member, "weight") => json!(1),
            (Self::Member, "backup") | (Self::L7Rule, "invert") => json!(false),
            _ => return false,
        };
        *value == holds
    }
}

/// An answer, or a body for POST, in that form. Ids and children are no part of it. `parent` is the policy of a rule, which its answer does not name.
#[must_use]
pub fn posted(kind: Kind, answer: &Value, parent: Option<&str>) -> Value {
    let mut out = Map::new();
    for field in kind.fields() {
        let Some(value) = answer.get(*field).and_then(bare) else { continue };
        if !kind.default(field, &value) {
            out.insert((*field).to_owned(), value);
        }
    }
    if let Some((name, list)) = kind.parent() {
        let listed = answer.get(list).and_then(|all| all.get(0)?.get("id"));
        if let Some(id) = answer.get(name).or(listed).and_then(bare) {
            out.insert(name.to_owned(), id);
        }
    }
    if let (Kind::L7Rule, Some(policy)) = (kind, parent) {
        out.insert("l7policy_id".to_owned(), policy.into());
    }
    Value::Object(out)
}

/// A value without anything in it that says nothing; `None`: it says nothing itself.
fn bare(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(all) if all.is_empty() => None,
        Value::Array(all) => Some(Value::Array(all.iter().map(|v| bare(v).unwrap_or(Value::Null)).collect())),
        Value::Object(all) => {
            let kept: Map<String, Value> =
                all.iter().filter_map(|(k, v)| Some((k.clone(), bare(v)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::listener(
        Kind::Listener,
        json!({
            "id": "l", "name": "http", "description": "", "provisioning_status": "ACTIVE", "operating_status": "ONLINE", "admin_state_up": true,
            "protocol": "HTTP", "protocol_port": 80, "connection_limit": -1, "default_tls_container_ref": null, "sni_container_refs": [],
            "default_pool_id": "p", "insert_headers": {"X-Forwarded-For": "true"}, "timeout_client_data": 60_000, "timeout_member_connect": 5000,
            "timeout_member_data": 50_000, "timeout_tcp_inspect": 0, "tags": ["x"], "allowed_cidrs": ["10.0.0.0/8"], "l7policies": [{"id": "x"}],
            "loadbalancers": [{"id": "lb"}], "tls_versions": ["TLSv1.2"], "hsts_max_age": null}),
        json!({
            "name": "http", "protocol": "HTTP", "protocol_port": 80, "default_pool_id": "p", "insert_headers": {"X-Forwarded-For": "true"},
            "timeout_client_data": 60_000, "allowed_cidrs": ["10.0.0.0/8"], "loadbalancer_id": "lb"}))]
    #[case::off(
        Kind::Listener,
        json!({"name": "a", "admin_state_up": false, "connection_limit": 5, "allowed_cidrs": null, "insert_headers": {}}),
        json!({"name": "a", "admin_state_up": false, "connection_limit": 5}))]
    #[case::pool(
        Kind::Pool,
        json!({
            "id": "p", "name": "p", "protocol": "TCP", "lb_algorithm": "SOURCE_IP", "loadbalancers": [{"id": "lb"}], "listeners": [{"id": "l"}],
            "members": [{"id": "m"}], "healthmonitor_id": "h",
            "session_persistence": {"type": "SOURCE_IP", "cookie_name": null, "persistence_timeout": null, "persistence_granularity": null}}),
        json!({
            "name": "p", "protocol": "TCP", "lb_algorithm": "SOURCE_IP", "loadbalancer_id": "lb", "session_persistence": {"type": "SOURCE_IP"}}))]
    #[case::monitor(
        Kind::HealthMonitor,
        json!({
            "id": "h", "name": "h", "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 1, "max_retries_down": 3, "http_method": null,
            "url_path": null, "expected_codes": null, "pools": [{"id": "p"}], "admin_state_up": true}),
        json!({"name": "h", "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 1, "max_retries_down": 3, "pool_id": "p"}))]
    #[case::member(
        Kind::Member,
        json!({"id": "m", "name": "n", "address": "10.0.0.1", "protocol_port": 80, "weight": 1, "backup": false, "subnet_id": null, "monitor_port": 81}),
        json!({"name": "n", "address": "10.0.0.1", "protocol_port": 80, "monitor_port": 81}))]
    #[case::floating_ip(
        Kind::FloatingIp,
        json!({"id": "f", "floating_network_id": "n", "floating_ip_address": "1.2.3.4", "port_id": null, "description": "d", "status": "DOWN"}),
        json!({"floating_network_id": "n", "floating_ip_address": "1.2.3.4", "description": "d"}))]
    #[case::rule_of_a_group(
        Kind::SecurityGroupRule,
        json!({
            "id": "r", "security_group_id": "g", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 1,
            "port_range_max": 2, "remote_ip_prefix": "10.0.0.0/8", "remote_group_id": null, "description": ""}),
        json!({
            "security_group_id": "g", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 1, "port_range_max": 2,
            "remote_ip_prefix": "10.0.0.0/8"}))]
    #[case::no_answer(Kind::Secret, json!("text"), json!({}))]
    fn forms(#[case] kind: Kind, #[case] answer: Value, #[case] expected: Value) {
        assert_eq!(posted(kind, &answer, None), expected);
    }

    #[test]
    fn rules_belong_to_a_policy() {
        let answer = json!({"id": "r", "type": "PATH", "compare_type": "EQUAL_TO", "value": "/", "key": null, "invert": false});
        let expected = json!({"type": "PATH", "compare_type": "EQUAL_TO", "value": "/", "l7policy_id": "x"});
        assert_eq!(posted(Kind::L7Rule, &answer, Some("x")), expected);
    }

    proptest! {
        /// What was brought into that form stays as it is.
        #[test]
        fn twice_is_once(which in 0usize..11, values in proptest::collection::vec(0u8..6, 16)) {
            let kind = Kind::ALL[which];
            let some = [json!(null), json!(""), json!("x"), json!([]), json!({"a": null, "b": [null, {"c": 1}]}), json!(-1)];
            let fields = kind.fields().iter().chain(&["loadbalancer_id", "pool_id"]);
            let answer: Map<String, Value> = fields
                .zip(values)
                .map(|(f, v)| ((*f).to_owned(), some[usize::from(v)].clone()))
                .collect();
            let once = posted(kind, &Value::Object(answer), None);
            prop_assert_eq!(posted(kind, &once, None), once);
        }
    }
}
