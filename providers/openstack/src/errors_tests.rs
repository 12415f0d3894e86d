use rstest::rstest;

use super::*;

use Service::{Compute, KeyManager, LoadBalancer, Network};

fn of(service: Service, status: u16, text: &str) -> Class {
    // `Type: text` is how Neutron's are written here.
    let (kind, message) = match text.split_once("::") {
        Some((kind, message)) => (Some(kind.to_owned()), message.to_owned()),
        None => (None, text.to_owned()),
    };
    class(service, status, &Fault { kind, message })
}

fn quota_of(text: &str) -> Class {
    Class::Quota(text.to_owned())
}

#[rstest]
// Octavia.
#[case(LoadBalancer, 400, "Validation failure: Pools must be named", Class::Invalid)]
#[case(LoadBalancer, 400, "Could not retrieve certificate: ['http://b/v1/secrets/x']", Class::Invalid)]
#[case(LoadBalancer, 400, "Flavor 'x' is not compatible with provider 'ovn'", Class::Invalid)]
#[case(LoadBalancer, 401, "The request you have made requires authentication.", Class::Unauthorized)]
#[case(LoadBalancer, 403, "Policy does not allow this request to be performed.", Class::Forbidden)]
#[case(
    LoadBalancer,
    403,
    "Quota has been met for resources: Load Balancer",
    quota_of("Octavia: Load Balancer")
)]
#[case(LoadBalancer, 403, "Quota has been met for resources: Listener", quota_of("Octavia: Listener"))]
#[case(LoadBalancer, 404, "Load Balancer 1 not found.", Class::State(State::NotFound))]
#[case(LoadBalancer, 405, "Method Not Allowed", Class::Unsupported)]
#[case(
    LoadBalancer,
    409,
    "Invalid state PENDING_CREATE of loadbalancer resource 1",
    Class::State(State::Immutable)
)]
#[case(LoadBalancer, 409, "Invalid state ERROR of loadbalancer resource 1", Class::State(State::Immutable))]
#[case(
    LoadBalancer,
    409,
    "Load Balancer 1 is immutable and cannot be updated.",
    Class::State(State::Immutable)
)]
#[case(LoadBalancer, 409, "Pool 1 is immutable and cannot be updated.", Class::State(State::Immutable))]
#[case(
    LoadBalancer,
    409,
    "Another Listener on this Load Balancer is already using protocol TCP and protocol_port 80",
    Class::State(State::Duplicate)
)]
#[case(
    LoadBalancer,
    409,
    "Another member on this pool is already using ip 10.0.0.1 on protocol_port 80",
    Class::State(State::Duplicate)
)]
#[case(LoadBalancer, 409, "This pool already has a health monitor", Class::State(State::Duplicate))]
#[case(LoadBalancer, 409, "This listener already has a default pool", Class::State(State::Duplicate))]
#[case(LoadBalancer, 409, "A name of x already exists.", Class::State(State::Duplicate))]
#[case(LoadBalancer, 409, "Already an entity with that specified id.", Class::Transient)]
#[case(LoadBalancer, 409, "Pool 1 is in use by L7 policy 2", Class::State(State::Referenced))]
#[case(LoadBalancer, 409, "Flavor 1 is in use and cannot be modified.", Class::State(State::Referenced))]
#[case(LoadBalancer, 409, "Too many rules on L7 policy 1", quota_of("Octavia: rules of one L7 policy"))]
#[case(
    LoadBalancer,
    409,
    "The VIP IP address is already in use: 10.0.0.1",
    Class::State(State::AddressTaken)
)]
#[case(LoadBalancer, 409, "", Class::Transient)]
#[case(LoadBalancer, 500, "Provider 'amphora' reports error: x", Class::Transient)]
#[case(LoadBalancer, 500, "'dict' object has no attribute '_sa_instance_state'", Class::Transient)]
#[case(LoadBalancer, 501, "Provider 'ovn' does not support a requested option: x", Class::Unsupported)]
#[case(LoadBalancer, 501, "Provider 'x' was not found.", Class::Unsupported)]
#[case(LoadBalancer, 503, "Project busy.  Unable to lock the project.  Please try again.", Class::Busy)]
#[case(LoadBalancer, 503, "Service Unavailable", Class::Transient)]
#[case(LoadBalancer, 429, "", Class::Throttled)]
#[case(LoadBalancer, 413, "", Class::Invalid)]
#[case(LoadBalancer, 502, "<html>Bad Gateway</html>", Class::Transient)]
#[case(LoadBalancer, 504, "", Class::Transient)]
#[case(LoadBalancer, 302, "", Class::Transient)]
// Neutron.
#[case(Network, 400, "HTTPBadRequest::Unrecognized attribute(s) 'tags'", Class::Invalid)]
#[case(Network, 400, "InvalidInput::x", Class::Invalid)]
#[case(
    Network,
    403,
    "PolicyNotAuthorized::(rule:create_floatingip:floating_ip_address) is disallowed by policy",
    Class::Forbidden
)]
#[case(Network, 403, "Quota has been met for resources: Load Balancer", Class::Forbidden)]
#[case(Network, 404, "FloatingIPNotFound::Floating IP 1 could not be found", Class::State(State::NotFound))]
#[case(
    Network,
    404,
    "ExternalGatewayForFloatingIPNotFound::External network x is not reachable",
    Class::Invalid
)]
#[case(
    Network,
    409,
    "OverQuota::Quota exceeded for resources: ['security_group'].",
    quota_of("Neutron: security_group")
)]
#[case(
    Network,
    409,
    "OverQuota::Quota exceeded for resources: ['floatingip']",
    quota_of("Neutron: floatingip")
)]
#[case(Network, 409, "OverQuota::", quota_of("Neutron: unknown"))]
#[case(
    Network,
    409,
    "IpAddressGenerationFailure::No more IP addresses available on network x.",
    quota_of("Neutron: free addresses of the network")
)]
#[case(Network, 409, "ExternalIpAddressExhausted::x", quota_of("Neutron: free addresses of the network"))]
#[case(Network, 409, "IpAddressInUse::x", Class::State(State::AddressTaken))]
#[case(Network, 409, "IpAddressAlreadyAllocated::x", Class::State(State::AddressTaken))]
#[case(
    Network,
    409,
    "SecurityGroupRuleExists::Security group rule already exists. Rule id is 1.",
    Class::State(State::Duplicate)
)]
#[case(Network, 409, "FloatingIPPortAlreadyAssociated::x", Class::State(State::Duplicate))]
#[case(Network, 409, "SecurityGroupInUse::Security Group 1 in use.", Class::State(State::InUse))]
#[case(Network, 409, "Mystery::x", Class::Transient)]
#[case(Network, 409, "HostNotConnectedToAnySegment", Class::Transient)]
#[case(
    Network,
    412,
    "RevisionNumberConstraintFailed::Constrained to 3, but current revision is 4",
    Class::State(State::Changed)
)]
#[case(Network, 503, "ServiceUnavailable::x", Class::Transient)]
// Barbican.
#[case(KeyManager, 400, "Provided object does not match schema 'Secret'", Class::Invalid)]
#[case(
    KeyManager,
    403,
    "Secret creation attempt not allowed - please review your user/project privileges",
    Class::Forbidden
)]
#[case(
    KeyManager,
    403,
    "Quota reached for project x. Only 5 secrets are allowed",
    quota_of("Barbican: secrets and containers")
)]
#[case(
    KeyManager,
    404,
    "Not Found. Sorry but your secret is in another castle.",
    Class::State(State::NotFound)
)]
#[case(KeyManager, 409, "x", Class::Transient)]
// Nova.
#[case(Compute, 404, "Instance 1 could not be found.", Class::State(State::NotFound))]
#[case(Compute, 413, "This request was rate-limited.", Class::Throttled)]
#[case(
    Compute,
    403,
    "Quota exceeded for cores: Requested 4, but already used 10",
    quota_of("Nova: cores: Requested 4, but already used 10")
)]
fn classes(#[case] service: Service, #[case] status: u16, #[case] text: &str, #[case] expected: Class) {
    assert_eq!(of(service, status, text), expected);
}

#[test]
fn what_follows() {
    let object = ObjectRef::service("ns", "web", "u");
    let follows = |status, text: &str| {
        classify(&Failure::refused(LoadBalancer, status, text), Some(&object), "POST listeners")
    };
    assert_eq!(follows(429, ""), CloudError::Throttled(THROTTLED));
    assert_eq!(follows(503, "Project busy."), CloudError::Throttled(BUSY));
    assert_eq!(follows(409, "Pool 1 is immutable"), CloudError::Pending(SOON));
    assert!(matches!(follows(409, "This pool already has a health monitor"), CloudError::Conflict(_)));
    assert!(matches!(follows(404, "gone"), CloudError::Conflict(_)));
    assert!(matches!(follows(500, "oops"), CloudError::Transient(_)));
    assert!(matches!(
        follows(403, "Quota has been met for resources: Pool"),
        CloudError::Quota { limit, message } if limit == "Octavia: Pool" && message.contains("raised")
    ));
    for (status, text, remedy) in [
        (400, "bad", "mend the setting"),
        (401, "no", "credentials"),
        (403, "Policy does not allow", "load-balancer_member"),
        (409, "The VIP IP address is already in use", "another address"),
        (501, "cannot", "another provider"),
    ] {
        let CloudError::Invalid(problem) = follows(status, text) else { panic!("{status} is not invalid") };
        assert_eq!(problem.object, object);
        for word in ["POST listeners", text, remedy] {
            assert!(problem.message.contains(word), "{word}: {}", problem.message);
        }
        let nobody = classify(&Failure::refused(LoadBalancer, status, text), None, "reading");
        assert!(matches!(nobody, CloudError::Transient(_)));
    }
    let patient = Failure::Refused {
        service: LoadBalancer,
        status: 429,
        fault: Fault::default(),
        retry_after: Some(Duration::from_secs(17)),
        request_id: None,
    };
    assert_eq!(classify(&patient, None, "x"), CloudError::Throttled(Duration::from_secs(17)));
}

#[test]
fn what_is_no_refusal() {
    let object = ObjectRef::service("ns", "web", "u");
    let follows = |failure: &Failure| classify(failure, Some(&object), "x");
    let lost = Failure::NoAnswer { sent: true, text: "cut".to_owned() };
    assert!(matches!(follows(&lost), CloudError::Transient(_)));
    assert!(!without_effect(&lost));
    assert!(without_effect(&Failure::NoAnswer { sent: false, text: String::new() }));
    let garbled = Failure::Garbled { text: String::new() };
    assert!(matches!(follows(&garbled), CloudError::Transient(_)) && !without_effect(&garbled));
    let login = |refused| Failure::Login { refused, text: String::new() };
    assert!(matches!(follows(&login(false)), CloudError::Transient(_)) && without_effect(&login(false)));
    assert!(matches!(follows(&login(true)), CloudError::Invalid(_)) && without_effect(&login(true)));
    let none = Failure::NoService { service: KeyManager, text: String::new() };
    assert!(matches!(follows(&none), CloudError::Invalid(_)) && without_effect(&none));
}

#[rstest]
#[case(400, "x", true)]
#[case(401, "x", true)]
#[case(403, "x", true)]
#[case(404, "x", true)]
#[case(409, "anything at all", true)]
#[case(429, "x", true)]
#[case(501, "x", true)]
#[case(503, "Project busy.", true)]
#[case(503, "x", false)]
#[case(500, "x", false)]
#[case(502, "x", false)]
#[case(504, "x", false)]
#[case(408, "x", false)]
#[case(301, "x", false)]
fn only_a_clear_refusal_is_without_effect(#[case] status: u16, #[case] text: &str, #[case] clear: bool) {
    assert_eq!(without_effect(&Failure::refused(LoadBalancer, status, text)), clear);
}
