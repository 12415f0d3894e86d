//! What Octavia is asked to make and to change.
//!
//! In a body for changing, `None` leaves a field as it is, and `Some(None)` clears it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::collection::{Changes, New};
use super::{
    AdditionalVip, HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, SessionPersistence,
};

macro_rules! body {
    ($(#[$doc:meta])* $name:ident: $($role:ident<$resource:ident>)+ { $($(#[$attr:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        #[allow(missing_docs, reason = "named as in Octavia's API reference, which says more")]
        pub struct $name {
            $($(#[$attr])* #[serde(skip_serializing_if = "absent")] pub $field: $type,)*
        }
        $(impl $role<$resource> for $name {})+
    };
}

/// What is not written into a body.
trait Absent {
    fn absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Absent for Vec<T> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Absent for BTreeMap<K, V> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl Absent for String {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl Absent for u16 {
    fn absent(&self) -> bool {
        false
    }
}

fn absent(value: &impl Absent) -> bool {
    value.absent()
}

body! {
    /// A load balancer to make, with all that belongs to it: one call.
    NewLoadBalancer: New<LoadBalancer> {
        name: String,
        description: String,
        project_id: Option<String>,
        vip_subnet_id: Option<String>,
        vip_network_id: Option<String>,
        vip_port_id: Option<String>,
        vip_address: Option<String>,
        additional_vips: Vec<AdditionalVip>,
        vip_sg_ids: Vec<String>,
        provider: Option<String>,
        flavor_id: Option<String>,
        availability_zone: Option<String>,
        admin_state_up: Option<bool>,
        tags: Vec<String>,
        listeners: Vec<NewListener>,
        pools: Vec<NewPool>,
    }
}

body! {
    /// A listener to make; within a load balancer without `loadbalancer_id`.
    NewListener: New<Listener> {
        name: String,
        description: String,
        loadbalancer_id: Option<String>,
        protocol: String,
        protocol_port: u16,
        admin_state_up: Option<bool>,
        connection_limit: Option<i64>,
        default_pool_id: Option<String>,
        /// Within a load balancer: a pool of its own, or the name of one of the load balancer's.
        default_pool: Option<NewPool>,
        default_tls_container_ref: Option<String>,
        sni_container_refs: Vec<String>,
        allowed_cidrs: Option<Vec<String>>,
        insert_headers: BTreeMap<String, String>,
        timeout_client_data: Option<u64>,
        timeout_member_connect: Option<u64>,
        timeout_member_data: Option<u64>,
        timeout_tcp_inspect: Option<u64>,
        tls_versions: Option<Vec<String>>,
        tls_ciphers: Option<String>,
        alpn_protocols: Option<Vec<String>>,
        l7policies: Vec<NewL7Policy>,
        tags: Vec<String>,
    }
}

body! {
    /// A pool to make; with nothing but its name, one that the same body describes elsewhere.
    NewPool: New<Pool> {
        name: String,
        description: String,
        loadbalancer_id: Option<String>,
        listener_id: Option<String>,
        protocol: String,
        lb_algorithm: String,
        admin_state_up: Option<bool>,
        session_persistence: Option<SessionPersistence>,
        tls_enabled: Option<bool>,
        healthmonitor: Option<NewHealthMonitor>,
        members: Vec<NewMember>,
        tags: Vec<String>,
    }
}

body! {
    /// A member to make, or to have in a pool.
    NewMember: New<Member> {
        name: String,
        address: String,
        protocol_port: u16,
        subnet_id: Option<String>,
        weight: Option<u32>,
        backup: Option<bool>,
        monitor_address: Option<String>,
        monitor_port: Option<u16>,
        admin_state_up: Option<bool>,
        tags: Vec<String>,
    }
}

body! {
    /// A health monitor to make; within a pool without `pool_id`.
    NewHealthMonitor: New<HealthMonitor> {
        name: String,
        pool_id: Option<String>,
        #[serde(rename = "type")] kind: String,
        delay: Option<u32>,
        timeout: Option<u32>,
        max_retries: Option<u32>,
        max_retries_down: Option<u32>,
        http_method: Option<String>,
        url_path: Option<String>,
        expected_codes: Option<String>,
        domain_name: Option<String>,
        admin_state_up: Option<bool>,
        tags: Vec<String>,
    }
}

body! {
    /// An L7 policy to make. Rules in it are only taken within a load balancer.
    NewL7Policy: New<L7Policy> {
        name: String,
        description: String,
        listener_id: Option<String>,
        action: String,
        position: Option<u32>,
        redirect_pool_id: Option<String>,
        /// Within a load balancer: the name of one of its pools.
        redirect_pool: Option<NewPool>,
        redirect_url: Option<String>,
        redirect_prefix: Option<String>,
        redirect_http_code: Option<u16>,
        admin_state_up: Option<bool>,
        rules: Vec<NewL7Rule>,
        tags: Vec<String>,
    }
}

body! {
    /// A rule to make, or one as it shall be: Octavia takes the same for both.
    NewL7Rule: New<L7Rule> Changes<L7Rule> {
        #[serde(rename = "type")] kind: String,
        compare_type: String,
        key: Option<String>,
        value: String,
        invert: Option<bool>,
        admin_state_up: Option<bool>,
        tags: Vec<String>,
    }
}

body! {
    /// Changes of a load balancer.
    LoadBalancerChanges: Changes<LoadBalancer> {
        name: Option<String>,
        description: Option<String>,
        admin_state_up: Option<bool>,
        vip_sg_ids: Option<Vec<String>>,
        tags: Option<Vec<String>>,
    }
}

body! {
    /// Changes of a listener.
    ListenerChanges: Changes<Listener> {
        name: Option<String>,
        description: Option<String>,
        admin_state_up: Option<bool>,
        connection_limit: Option<i64>,
        default_pool_id: Option<Option<String>>,
        default_tls_container_ref: Option<Option<String>>,
        sni_container_refs: Option<Vec<String>>,
        allowed_cidrs: Option<Option<Vec<String>>>,
        insert_headers: Option<BTreeMap<String, String>>,
        timeout_client_data: Option<u64>,
        timeout_member_connect: Option<u64>,
        timeout_member_data: Option<u64>,
        timeout_tcp_inspect: Option<u64>,
        tls_versions: Option<Vec<String>>,
        tls_ciphers: Option<String>,
        alpn_protocols: Option<Vec<String>>,
        tags: Option<Vec<String>>,
    }
}

body! {
    /// Changes of a pool.
    PoolChanges: Changes<Pool> {
        name: Option<String>,
        description: Option<String>,
        lb_algorithm: Option<String>,
        admin_state_up: Option<bool>,
        session_persistence: Option<Option<SessionPersistence>>,
        tls_enabled: Option<bool>,
        tags: Option<Vec<String>>,
    }
}

body! {
    /// Changes of a member.
    MemberChanges: Changes<Member> {
        name: Option<String>,
        weight: Option<u32>,
        backup: Option<bool>,
        monitor_address: Option<Option<String>>,
        monitor_port: Option<Option<u16>>,
        admin_state_up: Option<bool>,
        tags: Option<Vec<String>>,
    }
}

body! {
    /// Changes of a health monitor.
    HealthMonitorChanges: Changes<HealthMonitor> {
        name: Option<String>,
        delay: Option<u32>,
        timeout: Option<u32>,
        max_retries: Option<u32>,
        max_retries_down: Option<u32>,
        http_method: Option<String>,
        url_path: Option<String>,
        expected_codes: Option<String>,
        domain_name: Option<Option<String>>,
        admin_state_up: Option<bool>,
        tags: Option<Vec<String>>,
    }
}

body! {
    /// Changes of an L7 policy.
    L7PolicyChanges: Changes<L7Policy> {
        name: Option<String>,
        description: Option<String>,
        action: Option<String>,
        position: Option<u32>,
        redirect_pool_id: Option<Option<String>>,
        redirect_url: Option<Option<String>>,
        redirect_prefix: Option<Option<String>>,
        redirect_http_code: Option<Option<u16>>,
        admin_state_up: Option<bool>,
        tags: Option<Vec<String>>,
    }
}
