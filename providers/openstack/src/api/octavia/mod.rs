//! Octavia: load balancers and what belongs to them.
//!
//! Answers are for looking, bodies for making and changing. In a body for changing, what is `None` stays as it is.

use serde_json::{Value, json};

use super::collection::{Collection, read, segment};
use super::request::{Method, Request, Service};

mod answers;
mod bodies;
mod states;

pub use answers::*;
pub use bodies::*;
pub use states::{Operating, Provisioning};

const LB: Service = Service::LoadBalancer;

/// Load balancers.
pub const LOAD_BALANCERS: Collection<LoadBalancer> =
    Collection::at(LB, "/lbaas/loadbalancers", "loadbalancer", "loadbalancers");
/// Listeners.
pub const LISTENERS: Collection<Listener> = Collection::at(LB, "/lbaas/listeners", "listener", "listeners");
/// Pools.
pub const POOLS: Collection<Pool> = Collection::at(LB, "/lbaas/pools", "pool", "pools");
/// Health monitors.
pub const HEALTH_MONITORS: Collection<HealthMonitor> =
    Collection::at(LB, "/lbaas/healthmonitors", "healthmonitor", "healthmonitors");
/// L7 policies.
pub const L7_POLICIES: Collection<L7Policy> =
    Collection::at(LB, "/lbaas/l7policies", "l7policy", "l7policies");
/// Providers.
pub const PROVIDERS: Collection<Provider> = Collection::at(LB, "/lbaas/providers", "provider", "providers");
/// Flavors.
pub const FLAVORS: Collection<Flavor> = Collection::at(LB, "/lbaas/flavors", "flavor", "flavors");
/// Availability zones.
pub const AVAILABILITY_ZONES: Collection<AvailabilityZone> =
    Collection::at(LB, "/lbaas/availabilityzones", "availability_zone", "availability_zones");
/// Quotas of projects, by the project's id.
pub const QUOTAS: Collection<Quota> = Collection::at(LB, "/lbaas/quotas", "quota", "quotas");

/// Members of a pool.
#[must_use]
pub fn members(pool: &str) -> Collection<Member> {
    Collection::below(LB, format!("/lbaas/pools/{}/members", segment(pool)), "member", "members")
}

/// Rules of an L7 policy.
#[must_use]
pub fn l7_rules(policy: &str) -> Collection<L7Rule> {
    Collection::below(LB, format!("/lbaas/l7policies/{}/rules", segment(policy)), "rule", "rules")
}

/// Deletes a load balancer with everything that belongs to it.
#[must_use]
pub fn delete_cascade(load_balancer: &str) -> Request {
    LOAD_BALANCERS.delete(load_balancer).query([("cascade".to_owned(), "true".to_owned())])
}

/// The tree of states of a load balancer: one call for listeners, pools, members and health monitors.
#[must_use]
pub fn status(load_balancer: &str) -> Request {
    Request::get(LB, &format!("/lbaas/loadbalancers/{}/status", segment(load_balancer)))
}

/// Makes the members of a pool these, by address and port; with `additive` all others stay. An identical set is work for Octavia all the same.
#[must_use]
pub fn replace_members(pool: &str, members: &[NewMember], additive: bool) -> Request {
    let request = Request::new(LB, Method::Put, &format!("/lbaas/pools/{}/members", segment(pool)));
    let request = request.body(json!({ "members": members }));
    if additive { request.query([("additive_only".to_owned(), "true".to_owned())]) } else { request }
}

/// Reads the answer to [`status`].
///
/// # Errors
/// [`super::Failure::Garbled`].
pub fn read_status(mut answer: Value) -> Result<StatusTree, super::Failure> {
    let tree = answer.pointer_mut("/statuses/loadbalancer").map(Value::take).unwrap_or_default();
    read(tree, "statuses")
}

#[cfg(test)]
mod tests;
