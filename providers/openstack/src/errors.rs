//! The one place that says what a refusal of a service of OpenStack means. Pure.
//!
//! Neutron types its errors; Octavia, Barbican and Nova do not, so that their texts must be read: here, and nowhere else. Sources: `octavia/common/exceptions.py`,
//! `neutron_lib/exceptions`, `barbican/common/exception.py`, and what the services were seen to answer.

use std::time::Duration;

use causeway_api::{CloudError, ObjectRef, Problem, names};

use crate::api::{Failure, Fault, Service};

/// What a refusal says about the world rather than about the call: a state, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not there (any more, or yet), or it is not ours to see.
    NotFound,
    /// Something is under way in its load balancer, or that has failed: nothing can be changed until it is ACTIVE, or deleted.
    Immutable,
    /// One of this port, address or content is there already.
    Duplicate,
    /// Something else still uses it; that passes.
    InUse,
    /// Something that the plan leaves in place uses it: waiting does not help, planning anew does.
    Referenced,
    /// Somebody changed it since it was read.
    Changed,
    /// Somebody else has the address.
    AddressTaken,
}

/// What must follow from a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Too many calls.
    Throttled,
    /// The service was busy with others of the project, and did nothing.
    Busy,
    /// A state.
    State(State),
    /// A quota of this name is used up.
    Quota(String),
    /// Our token is not accepted.
    Unauthorized,
    /// A role is missing.
    Forbidden,
    /// This cloud, or this provider of load balancers, cannot do it.
    Unsupported,
    /// The user must act.
    Invalid,
    /// It may pass.
    Transient,
}

/// Reason of a problem with what somebody else has, which waiting does not heal.
pub const CONFLICT: &str = "Conflict";
/// Reason of a problem with a right that is missing.
pub const FORBIDDEN: &str = "Forbidden";

/// How long to wait for a load balancer that is busy.
const SOON: Duration = Duration::from_secs(1);
/// How long to wait until something lets go of a resource.
const RELEASE: Duration = Duration::from_secs(5);
/// How long to wait after too many calls, if the service does not say.
const THROTTLED: Duration = Duration::from_secs(2);
/// How long to wait for a project's lock.
const BUSY: Duration = Duration::from_secs(1);

/// The class of a refusal.
#[must_use]
pub fn class(service: Service, status: u16, fault: &Fault) -> Class {
    match status {
        401 => Class::Unauthorized,
        403 => forbidden(service, &fault.message),
        404 | 410 => missing(fault),
        405 | 501 => Class::Unsupported,
        408 | 425 => Class::Transient,
        409 => conflict(service, fault),
        412 => Class::State(State::Changed),
        413 if service == Service::Compute => Class::Throttled,
        429 => Class::Throttled,
        503 if fault.message.contains("Project busy") => Class::Busy,
        400..=499 => Class::Invalid,
        _ => Class::Transient,
    }
}

/// 403: a role that is missing, or a quota.
fn forbidden(service: Service, message: &str) -> Class {
    let resource = match service {
        Service::LoadBalancer => message.split_once("Quota has been met for resources:").map(|(_, r)| r),
        Service::KeyManager => message.split_once("Quota reached").map(|_| "secrets and containers"),
        Service::Compute => message.split_once("Quota exceeded for").map(|(_, r)| r),
        Service::Network => None,
    };
    resource.map_or(Class::Forbidden, |resource| Class::Quota(quota(service, resource)))
}

/// 404: of what was asked for, or of what it refers to.
fn missing(fault: &Fault) -> Class {
    match fault.kind.as_deref() {
        // The floating IP's network is not reached by a router from the port's subnet: nothing but a router mends that.
        Some("ExternalGatewayForFloatingIPNotFound") => Class::Invalid,
        _ => Class::State(State::NotFound),
    }
}

/// 409.
fn conflict(service: Service, fault: &Fault) -> Class {
    let says = |words: &str| fault.message.contains(words);
    match (service, fault.kind.as_deref()) {
        (Service::Network, Some(kind)) => match kind {
            "OverQuota" => {
                Class::Quota(quota(service, fault.message.rsplit("resources:").next().unwrap_or("")))
            }
            "IpAddressGenerationFailure"
            | "IpAddressGenerationFailureForSubnet"
            | "IpAddressGenerationFailureNoMatchingSubnet"
            | "ExternalIpAddressExhausted" => Class::Quota(quota(service, "free addresses of the network")),
            "IpAddressInUse" | "IpAddressAlreadyAllocated" => Class::State(State::AddressTaken),
            "SecurityGroupRuleExists" | "FloatingIPPortAlreadyAssociated" | "MacAddressInUse" => {
                Class::State(State::Duplicate)
            }
            "SecurityGroupInUse" | "InUse" | "PortInUse" | "ServicePortInUse" | "NetworkInUse"
            | "SubnetInUse" => Class::State(State::InUse),
            _ => Class::Transient,
        },
        (Service::LoadBalancer, _) => {
            if says("is immutable") || says("Invalid state") {
                Class::State(State::Immutable)
            } else if says("VIP IP address is already in use") {
                Class::State(State::AddressTaken)
            } else if says("Too many rules on L7 policy") {
                Class::Quota(quota(service, "rules of one L7 policy"))
            } else if says("is in use") {
                Class::State(State::Referenced)
            } else if says("already") {
                Class::State(State::Duplicate)
            } else {
                Class::Transient
            }
        }
        _ => Class::Transient,
    }
}

/// Name of a quota: the service, and the resource in its own words.
fn quota(service: Service, resource: &str) -> String {
    let resource = resource.trim_matches(|c: char| !c.is_alphanumeric());
    format!("{}: {}", service.product(), if resource.is_empty() { "unknown" } else { resource })
}

fn class_of(failure: &Failure) -> Class {
    match failure {
        Failure::Refused { service, status, fault, .. } => class(*service, *status, fault),
        Failure::NoAnswer { .. } | Failure::Garbled { .. } | Failure::Login { refused: false, .. } => {
            Class::Transient
        }
        Failure::Login { refused: true, .. } => Class::Unauthorized,
        Failure::NoService { .. } => Class::Unsupported,
    }
}

/// The state that a failure tells of, if it does.
#[must_use]
pub fn state(failure: &Failure) -> Option<State> {
    match class_of(failure) {
        Class::State(state) => Some(state),
        _ => None,
    }
}

/// Whether it was one call too many.
#[must_use]
pub fn throttled(failure: &Failure) -> bool {
    class_of(failure) == Class::Throttled
}

/// Whether our token was not accepted.
#[must_use]
pub fn unauthorized(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { status: 401, .. })
}

/// Whether the call surely did nothing.
#[must_use]
pub fn without_effect(failure: &Failure) -> bool {
    match failure {
        Failure::NoAnswer { sent, .. } => !sent,
        Failure::Login { .. } | Failure::NoService { .. } => true,
        // What succeeded and cannot be read took effect.
        Failure::Garbled { .. } => false,
        Failure::Refused { service, status, fault, .. } => {
            class(*service, *status, fault) != Class::Transient || *status == 409
        }
    }
}

/// A person must act: the problem of an object, or (of none) something that is tried again.
fn must_act(
    failure: &Failure,
    blame: Option<&ObjectRef>,
    doing: &str,
    reason: &str,
    remedy: &str,
) -> CloudError {
    let text = format!("{doing}: {failure}; {remedy}");
    match blame {
        Some(object) => CloudError::Invalid(Box::new(Problem::error(object.clone(), "", reason, text))),
        None => CloudError::Transient(text),
    }
}

/// What must follow from a conflict that another look did not heal, several times.
#[must_use]
pub fn stubborn(failure: &Failure, blame: Option<&ObjectRef>, doing: &str) -> CloudError {
    let remedy = match state(failure) {
        Some(State::Referenced) => {
            "what uses it is not Causeway's, and waiting does not help: take that away by hand (openstack loadbalancer status show)"
        }
        _ => {
            "what holds it is not Causeway's, and waiting does not help: delete that by hand, or ask for something else here"
        }
    };
    must_act(failure, blame, doing, CONFLICT, remedy)
}

/// What must follow. `blame` is whom to tell; `doing` is the action.
#[must_use]
pub fn classify(failure: &Failure, blame: Option<&ObjectRef>, doing: &str) -> CloudError {
    let retry_after = match failure {
        Failure::Refused { retry_after, .. } => *retry_after,
        _ => None,
    };
    let because = |reason: &str, remedy: String| must_act(failure, blame, doing, reason, &remedy);
    let act = |remedy: String| because(names::events::SYNC_FAILED, remedy);
    match class_of(failure) {
        Class::Throttled => CloudError::Throttled(retry_after.unwrap_or(THROTTLED)),
        Class::Busy => CloudError::Throttled(retry_after.unwrap_or(BUSY)),
        Class::State(State::Immutable) => CloudError::Pending(SOON),
        Class::State(State::InUse) => CloudError::Pending(RELEASE),
        Class::State(State::AddressTaken) => {
            because(CONFLICT, "ask for another address, or free this one".to_owned())
        }
        Class::State(_) => CloudError::Conflict(format!("{doing}: {failure}")),
        Class::Quota(limit) => CloudError::Quota {
            limit,
            message: format!("{doing}: {failure}; have it raised for this project, or use fewer"),
        },
        Class::Unauthorized => act(
            "mend the credentials in the cloud configuration; they are read again by themselves".to_owned(),
        ),
        Class::Forbidden => because(FORBIDDEN, forbidden_remedy(failure)),
        Class::Unsupported => because(
            names::events::UNSUPPORTED,
            "this cloud or this provider of load balancers cannot do it: leave the setting away, or choose another provider".to_owned(),
        ),
        Class::Invalid => act("mend the setting that it names".to_owned()),
        Class::Transient => CloudError::Transient(format!("{doing}: {failure}")),
    }
}

fn forbidden_remedy(failure: &Failure) -> String {
    let Failure::Refused { service, .. } = failure else { return "give this user the right".to_owned() };
    let roles = match service {
        Service::LoadBalancer => "member and load-balancer_member",
        Service::Network => {
            "member (some settings, such as a floating IP's address, need an administrator's policy)"
        }
        Service::KeyManager => "creator",
        Service::Compute => "reader",
    };
    format!(
        "{} asks for a right that this user lacks: give it the role {roles} in the project, or leave the setting away",
        service.product()
    )
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
