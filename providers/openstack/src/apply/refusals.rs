//! What a Service is told of each kind of refusal: the object, the field, a reason of its own, and what to do.

use std::sync::{Arc, Mutex};

use causeway_api::{CloudError, Fence, ObjectRef, Problem};
use rstest::rstest;
use serde_json::{Value, json};

use super::apply;
use crate::api::{Api, CallError, Failure, Fault, Pass, Request, Service};
use crate::certificates::{Read, Secrets};
use crate::instances::Place;
use crate::inventory::Cluster;
use crate::live::{CALL, Live, Settings};
use crate::options::Options;
use crate::plan::{Change, Op};
use crate::stack::ResourceType;

/// Refuses everything that is written; reads find nothing.
struct Refuses {
    refusal: Mutex<Option<Failure>>,
}

impl Api for Refuses {
    async fn call(&self, request: &Request, _pass: Pass<'_>) -> Result<Value, CallError> {
        let refusal = self.refusal.lock().expect("whole").clone();
        match refusal.filter(|_| request.writes()) {
            Some(failure) => Err(failure.into()),
            None if request.writes() => {
                Ok(json!({"listener": {"id": "l1", "protocol": "TCP", "protocol_port": 80}}))
            }
            None => Err(Failure::refused(request.service, 404, "not there").into()),
        }
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read<'a>(&'a self, _namespace: &'a str, _name: &'a str) -> Read<'a> {
        Box::pin(async { Ok(None) })
    }
}

fn live(refusal: Option<Failure>) -> Live<Refuses> {
    let settings = Settings {
        cluster: Cluster { id: "c".to_owned(), ..Cluster::default() },
        options: Options::default(),
        complaints: Vec::new(),
        call: CALL,
        servers: Place::default(),
    };
    Live::new(Refuses { refusal: Mutex::new(refusal) }, settings, Arc::new(NoSecrets))
}

fn change(kind: ResourceType, object: ObjectRef) -> Change {
    let body = json!({"loadbalancer_id": "lb", "protocol": "TCP", "protocol_port": 80, "listener_id": "l", "pool_id": "p"});
    let op = Op::Post { body, otherwise: Vec::new() };
    let mut change = Change::new(kind, "x", op, format!("make {}", kind.as_str()));
    change.owner = "service/uid-web".to_owned();
    change.blame = Some(object);
    change
}

fn refused(service: Service, status: u16, kind: &str, message: &str) -> Failure {
    let fault = Fault { kind: Some(kind.to_owned()).filter(|k| !k.is_empty()), message: message.to_owned() };
    Failure::Refused { service, status, fault, retry_after: None, request_id: None }
}

async fn told(kind: ResourceType, object: ObjectRef, refusal: Failure) -> CloudError {
    let live = live(Some(refusal));
    apply(&live, &change(kind, object), &Fence::open()).await.expect_err("a refusal")
}

fn web() -> ObjectRef {
    ObjectRef::service("shop", "web", "uid-web")
}

#[rstest]
#[case::unsupported_by_the_provider(
    ResourceType::Listener,
    (Service::LoadBalancer, 501, "", "Provider 'ovn' does not support a requested option: x"),
    ("Unsupported", "spec.ports"),
    "choose another provider"
)]
#[case::role(
    ResourceType::Listener,
    (Service::LoadBalancer, 403, "", "Policy does not allow this request to be performed."),
    ("Forbidden", "spec.ports"),
    "load-balancer_member"
)]
#[case::address_of_a_floating_ip(
    ResourceType::FloatingIp,
    (Service::Network, 403, "PolicyNotAuthorized", "(rule:create_floatingip:floating_ip_address) is disallowed"),
    ("Forbidden", "spec.loadBalancerIP"),
    "administrator's policy"
)]
#[case::address_that_another_has(
    ResourceType::LoadBalancer,
    (Service::LoadBalancer, 409, "", "The VIP IP address is already in use: 10.6.0.9"),
    ("Conflict", "spec"),
    "ask for another address"
)]
#[case::wrong_setting(
    ResourceType::HealthMonitor,
    (Service::LoadBalancer, 400, "", "Validation failure: delay"),
    ("SyncLoadBalancerFailed", "spec.ports"),
    "mend the setting"
)]
#[tokio::test]
async fn each_refusal_has_its_own_reason_field_and_remedy(
    #[case] kind: ResourceType,
    #[case] (service, status, fault, message): (Service, u16, &str, &str),
    #[case] (reason, field): (&str, &str),
    #[case] remedy: &str,
) {
    let error = told(kind, web(), refused(service, status, fault, message)).await;
    let CloudError::Invalid(problem) = error else { panic!("{error:?}") };
    let Problem { object, field: at, reason: why, message: text, .. } = *problem;
    assert_eq!((object, at.as_str(), why.as_str()), (web(), field, reason), "{text}");
    assert!(text.contains(message) && text.contains(remedy), "{text}");
}

#[rstest]
#[case::octavia(
    ResourceType::Listener,
    Service::LoadBalancer,
    403,
    "",
    "Quota has been met for resources: Listener",
    "Octavia: Listener"
)]
#[case::neutron(
    ResourceType::FloatingIp,
    Service::Network,
    409,
    "OverQuota",
    "Quota exceeded for resources: ['floatingip'].",
    "Neutron: floatingip"
)]
#[case::addresses(
    ResourceType::FloatingIp,
    Service::Network,
    409,
    "IpAddressGenerationFailure",
    "No more IP addresses available",
    "Neutron: free addresses"
)]
#[tokio::test]
async fn a_quota_is_named_whatever_status_it_comes_with(
    #[case] kind: ResourceType,
    #[case] service: Service,
    #[case] status: u16,
    #[case] fault: &str,
    #[case] message: &str,
    #[case] limit: &str,
) {
    let error = told(kind, web(), refused(service, status, fault, message)).await;
    let CloudError::Quota { limit: named, message: text } = error else { panic!("{error:?}") };
    assert!(
        named.starts_with(limit) && text.contains(message) && text.contains("have it raised"),
        "{named}: {text}"
    );
}

#[rstest]
#[case::taken(
    "Another Listener on this Load Balancer is already using protocol TCP and protocol_port 80",
    "delete that by hand"
)]
#[case::used("Pool 1 is in use by L7 policy 2", "take that away by hand")]
#[tokio::test]
async fn a_conflict_that_looking_again_does_not_heal_is_told(#[case] message: &str, #[case] remedy: &str) {
    let live = live(Some(refused(Service::LoadBalancer, 409, "", message)));
    let ingress = ObjectRef::ingress("shop", "web", "uid-web");
    let change = change(ResourceType::Pool, ingress.clone());
    let again = async || {
        // Between two tries the stack is looked at.
        live.known().entry_mut(&change.owner, tokio::time::Instant::now()).depth =
            crate::observe::known::Depth::Whole;
        apply(&live, &change, &Fence::open()).await.expect_err("a refusal")
    };
    for _ in 0..2 {
        let error = again().await;
        assert!(matches!(error, CloudError::Conflict(_)), "{error:?}");
    }
    let CloudError::Invalid(problem) = again().await else { panic!("nobody is told") };
    assert_eq!(
        (&problem.object, problem.field.as_str(), problem.reason.as_str()),
        (&ingress, "spec.rules", "Conflict")
    );
    assert!(problem.message.contains(message) && problem.message.contains(remedy), "{}", problem.message);
    // One that is pending heals by itself, however often.
    *live.calls.api.refusal.lock().expect("whole") =
        Some(refused(Service::LoadBalancer, 409, "", "Load Balancer 1 is immutable and cannot be updated."));
    for _ in 0..5 {
        assert!(matches!(again().await, CloudError::Pending(_)));
    }
}
