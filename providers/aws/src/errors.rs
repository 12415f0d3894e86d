//! The one place that says what an error code of AWS means. Pure.
//!
//! Source: the service models of ELBv2, EC2, ACM, WAFv2, Shield and the tagging API, and their guides on throttling and quotas. A code is never looked at elsewhere, and a
//! message never at all.

use std::time::Duration;

use causeway_api::{CloudError, ObjectRef, Problem, names};

use crate::cloud::Failure;

/// What a refusal says about the world rather than about the call: a state, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not there (any more, or yet).
    NotFound,
    /// One of this name, port, priority or content is there already.
    Duplicate,
    /// Something else still uses it; that passes.
    InUse,
}

/// What must follow from a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Too many calls.
    Throttled,
    /// A state.
    State(State),
    /// The quota of this name is used up.
    Quota(&'static str),
    /// The user must act.
    Invalid,
    /// It may pass.
    Transient,
}

/// How long to wait where AWS is slower than we are.
const SOON: Duration = Duration::from_secs(5);
/// How long to wait after too many calls; the limiter slows down by itself besides.
const THROTTLED: Duration = Duration::from_secs(2);

/// The class of a code.
#[must_use]
pub fn class(code: &str) -> Class {
    use State::{Duplicate, InUse, NotFound};
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "PriorRequestNotComplete" => Class::Throttled,

        "LoadBalancerNotFound"
        | "ListenerNotFound"
        | "RuleNotFound"
        | "TargetGroupNotFound"
        | "InvalidGroup.NotFound"
        | "InvalidGroupId.NotFound"
        | "InvalidPermission.NotFound"
        | "InvalidSecurityGroupRuleId.NotFound"
        | "ResourceNotFoundException" => Class::State(NotFound),
        "DuplicateLoadBalancerName"
        | "DuplicateTargetGroupName"
        | "DuplicateListener"
        | "PriorityInUse"
        | "InvalidPermission.Duplicate"
        | "InvalidGroup.Duplicate"
        | "ResourceAlreadyExistsException" => Class::State(Duplicate),
        "ResourceInUse"
        | "DependencyViolation"
        | "InvalidGroup.InUse"
        | "CapacityReservationPending"
        // WAF does not know yet what ELB has just made.
        | "WAFUnavailableEntityException" => Class::State(InUse),

        "TooManyLoadBalancers" => Class::Quota("load-balancers"),
        "TooManyTargetGroups" => Class::Quota("target-groups"),
        "TooManyListeners" => Class::Quota("listeners-per-load-balancer"),
        "TooManyRules" => Class::Quota("rules-per-application-load-balancer"),
        "TooManyTargets" => Class::Quota("targets-per-load-balancer"),
        "TooManyRegistrationsForTargetId" => Class::Quota("registrations-per-target"),
        "TooManyCertificates" => Class::Quota("certificates-per-load-balancer"),
        "TooManyActions" => Class::Quota("actions-per-rule"),
        "TooManyUniqueTargetGroupsPerLoadBalancer" => {
            Class::Quota("target-groups-per-application-load-balancer")
        }
        "TargetGroupAssociationLimit" => Class::Quota("load-balancers-per-target-group"),
        "TooManyTags" => Class::Quota("tags-per-resource"),
        "RulesPerSecurityGroupLimitExceeded" => Class::Quota("rules-per-security-group"),
        "SecurityGroupLimitExceeded" => Class::Quota("security-groups-per-vpc"),
        "SecurityGroupsPerInterfaceLimitExceeded" => Class::Quota("security-groups-per-network-interface"),
        "InsufficientCapacity" => Class::Quota("capacity-units"),
        "TagLimitExceeded" => Class::Quota("tags-per-resource"),
        "WAFLimitsExceededException" => Class::Quota("resources-per-web-acl"),
        "LimitsExceededException" => Class::Quota("shield-protections"),

        "InvalidConfigurationRequest"
        | "ValidationError"
        | "SubnetNotFound"
        | "InvalidSubnet"
        | "InvalidSubnetID.NotFound"
        | "InvalidSecurityGroup"
        | "InvalidScheme"
        | "AllocationIdNotFound"
        | "InvalidAllocationID.NotFound"
        | "AvailabilityZoneNotSupported"
        | "CertificateNotFound"
        | "SSLPolicyNotFound"
        | "UnsupportedProtocol"
        | "IncompatibleProtocols"
        | "ALPNPolicyNotSupported"
        | "TrustStoreNotFound"
        | "TrustStoreNotReady"
        | "InvalidTarget"
        | "InvalidLoadBalancerAction"
        | "InvalidVpcID.NotFound"
        | "InvalidParameterValue"
        | "InvalidParameterCombination"
        | "DuplicateTagKeys"
        | "WAFNonexistentItemException"
        | "WAFInvalidParameterException"
        | "WAFInvalidOperationException"
        | "WAFInvalidResourceException"
        | "InvalidResourceException"
        | "InvalidParameterException"
        | "InvalidOperationException"
        | "OperationNotPermitted"
        | "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "OptInRequired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch" => Class::Invalid,

        _ => Class::Transient,
    }
}

/// Whether a right is missing.
#[must_use]
pub fn denied(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "UnauthorizedOperation"
    )
}

/// Whether it is not known who asks: AWS does not take the credentials.
#[must_use]
pub fn credentials_refused(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "OptInRequired"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
    )
}

/// Whether AWS refused a call for what it asks for, so that the right to it was there: rights are looked at first.
#[must_use]
pub fn permitted(failure: &Failure) -> bool {
    let of_aws = matches!(
        failure.code(),
        "" | "InternalError"
            | "InternalFailure"
            | "InternalServerError"
            | "InternalServiceError"
            | "RequestTimeout"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "Unavailable"
    );
    !of_aws && !denied(failure) && !credentials_refused(failure) && !throttled(failure)
}

/// Whether a dry run says that the call is allowed.
#[must_use]
pub fn would_succeed(failure: &Failure) -> bool {
    failure.code() == "DryRunOperation"
}

/// The state that a failure tells of, if it does.
#[must_use]
pub fn state(failure: &Failure) -> Option<State> {
    match class(failure.code()) {
        Class::State(state) => Some(state),
        _ => None,
    }
}

/// Whether it was one call too many.
#[must_use]
pub fn throttled(failure: &Failure) -> bool {
    class(failure.code()) == Class::Throttled
}

/// Whether the same call may well succeed a moment later.
#[must_use]
pub fn passes(failure: &Failure) -> bool {
    match failure {
        Failure::NoAnswer(_) => true,
        Failure::Refused { code, .. } => matches!(class(code), Class::Throttled | Class::Transient),
    }
}

/// Whether the call surely did nothing.
#[must_use]
pub fn without_effect(failure: &Failure) -> bool {
    match failure {
        Failure::NoAnswer(_) => false,
        Failure::Refused { code, .. } => class(code) != Class::Transient,
    }
}

/// What must follow. `blame` is whom to tell; `doing` is the action.
#[must_use]
pub fn classify(failure: &Failure, blame: Option<&ObjectRef>, doing: &str) -> CloudError {
    let (code, message) = match failure {
        Failure::NoAnswer(text) => return CloudError::Transient(format!("{doing}: no answer: {text}")),
        Failure::Refused { code, message } => (code, message),
    };
    match class(code) {
        Class::Throttled => CloudError::Throttled(THROTTLED),
        Class::State(State::InUse) => CloudError::Pending(SOON),
        Class::State(_) => CloudError::Conflict(format!("{doing}: {code}: {message}")),
        Class::Quota(limit) => CloudError::Quota {
            limit: limit.to_owned(),
            message: format!("{doing}: {message} ({code}); have it raised in Service Quotas, or use fewer"),
        },
        Class::Invalid => match blame {
            Some(object) => CloudError::Invalid(Box::new(Problem::error(
                object.clone(),
                "",
                names::events::SYNC_FAILED,
                format!(
                    "AWS refuses {doing}: {code}: {message}; mend the setting or the right that it names"
                ),
            ))),
            None => CloudError::Transient(format!("{doing}: {code}: {message}")),
        },
        Class::Transient => CloudError::Transient(format!("{doing}: {code}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Throttling", Class::Throttled)]
    #[case("RequestLimitExceeded", Class::Throttled)]
    #[case("PriorRequestNotComplete", Class::Throttled)]
    #[case("TargetGroupNotFound", Class::State(State::NotFound))]
    #[case("InvalidPermission.NotFound", Class::State(State::NotFound))]
    #[case("DuplicateLoadBalancerName", Class::State(State::Duplicate))]
    #[case("PriorityInUse", Class::State(State::Duplicate))]
    #[case("ResourceInUse", Class::State(State::InUse))]
    #[case("DependencyViolation", Class::State(State::InUse))]
    #[case("TooManyTargets", Class::Quota("targets-per-load-balancer"))]
    #[case("RulesPerSecurityGroupLimitExceeded", Class::Quota("rules-per-security-group"))]
    #[case("CertificateNotFound", Class::Invalid)]
    #[case("OperationNotPermitted", Class::Invalid)]
    #[case("UnauthorizedOperation", Class::Invalid)]
    #[case("ServiceUnavailable", Class::Transient)]
    #[case("InternalFailure", Class::Transient)]
    #[case("NobodyKnowsThisOne", Class::Transient)]
    fn codes(#[case] code: &str, #[case] expected: Class) {
        assert_eq!(class(code), expected);
    }

    #[test]
    fn what_follows() {
        let object = ObjectRef::service("ns", "web", "u");
        let of = |code: &str| classify(&Failure::refused(code, "text"), Some(&object), "CreateListener");
        assert_eq!(of("Throttling"), CloudError::Throttled(THROTTLED));
        assert_eq!(of("ResourceInUse"), CloudError::Pending(SOON));
        assert!(matches!(of("DuplicateListener"), CloudError::Conflict(_)));
        assert!(matches!(of("TooManyRules"), CloudError::Quota { limit, .. } if limit.starts_with("rules-")));
        let CloudError::Invalid(problem) = of("CertificateNotFound") else { panic!("not invalid") };
        assert_eq!(problem.object, object);
        assert!(problem.message.contains("CreateListener") && problem.message.contains("text"));
        assert!(matches!(of("InternalFailure"), CloudError::Transient(_)));
        let lost = Failure::NoAnswer("cut".to_owned());
        assert!(matches!(classify(&lost, Some(&object), "x"), CloudError::Transient(_)));
    }

    #[test]
    fn what_passes() {
        for (code, passes_by) in [
            ("Throttling", true),
            ("InternalFailure", true),
            ("TargetGroupNotFound", false),
            ("AccessDenied", false),
        ] {
            assert_eq!(passes(&Failure::refused(code, "")), passes_by, "{code}");
        }
        assert!(passes(&Failure::NoAnswer(String::new())));
    }

    #[test]
    fn only_a_clear_refusal_is_without_effect() {
        for (code, clear) in [("Throttling", true), ("CertificateNotFound", true), ("InternalFailure", false)]
        {
            assert_eq!(without_effect(&Failure::refused(code, "")), clear, "{code}");
        }
        assert!(!without_effect(&Failure::NoAnswer(String::new())));
    }
}
