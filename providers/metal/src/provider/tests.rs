use super::*;
use causeway_api::{
    Body, CloudError, Endpoints, Family, FamilyPolicy, HealthCheck, HealthProtocol, IngressPoint,
    IngressSpec, IpMode, NodeSet, ObjectRef, OwnObject, PlannedChange as _, Protocol, ServicePort,
    ServiceSpec, Severity, Stack as _, TrafficPolicy, Verb,
};
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// No future here ever waits.
pub(super) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the provider waits for something"),
    }
}

pub(super) fn own(kind: &str, name: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, "metallb-system", name, spec)
}

pub(super) fn pool(name: &str, ranges: &[&str]) -> OwnObject {
    own("IPAddressPool", name, json!({"addresses": ranges}))
}

pub(super) fn facts(metal: &Metal, mut objects: Vec<OwnObject>) -> Facts {
    if !objects.iter().any(|o| o.object.kind.as_str() == "L2Advertisement") {
        objects.push(own("L2Advertisement", "all", json!({})));
    }
    metal.facts(&OwnObjects { objects, ..OwnObjects::default() }, &()).0
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A Service with one IPv4 cluster IP and port 80.
pub(super) fn service(name: &str, created: i64) -> Member {
    Member {
        object: ObjectRef::service("default", name, format!("uid-{name}")),
        created: Some(created),
        class: None,
        class_parameters: None,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        current: Vec::new(),
        services: BTreeMap::new(),
        secrets: BTreeMap::new(),
        spec: MemberSpec::Service(ServiceSpec {
            ports: vec![ServicePort {
                name: String::new(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: None,
                target_port: causeway_api::TargetPort::Number(80),
                app_protocol: None,
            }],
            families: vec![Family::V4],
            family_policy: FamilyPolicy::SingleStack,
            cluster_ips: vec![ip("10.96.0.1")],
            requested_address: None,
            source_ranges: Vec::new(),
            affinity_seconds: None,
            traffic_policy: TrafficPolicy::Cluster,
            health: HealthCheck { protocol: HealthProtocol::Http, port: Some(10256), path: None },
            selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            endpoints: Endpoints::default(),
        }),
    }
}

pub(super) fn spec(member: &mut Member) -> &mut ServiceSpec {
    match &mut member.spec {
        MemberSpec::Service(spec) => spec,
        MemberSpec::Ingress(_) | MemberSpec::Own(_) => panic!("a Service"),
    }
}

pub(super) fn annotate(member: &mut Member, key: &str, value: &str) {
    member.annotations.insert(key.into(), value.into());
}

pub(super) fn show(member: &mut Member, status: &MemberStatus) {
    member.current = status.ingress.clone().expect("an answer");
    for (key, value) in &status.annotations {
        match value {
            Some(value) => member.annotations.insert(key.clone(), value.clone()),
            None => member.annotations.remove(key),
        };
    }
}

pub(super) fn lb(metal: &Metal, members: &[Member]) -> LoadBalancer {
    LoadBalancer {
        key: metal.key(&members[0]),
        members: members.to_vec(),
        body: Body::L4(Vec::new()),
        nodes: Arc::new(NodeSet::default()),
    }
}

pub(super) struct Outcomes {
    pub(super) status: Option<MemberStatus>,
    pub(super) problems: Vec<Problem>,
    pub(super) verbs: Vec<Verb>,
    pub(super) woken: Vec<LbKey>,
}

impl Outcomes {
    pub(super) fn addresses(&self) -> Vec<String> {
        let points = self.status.as_ref().and_then(|s| s.ingress.clone()).unwrap_or_default();
        points.iter().filter_map(|p| p.ip).map(|ip| ip.to_string()).collect()
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.problems.iter().map(|p| p.reason.as_str()).collect()
    }
}

/// What the engine does for one load balancer, up to and including the write of the status into `member`.
fn sync_lb(metal: &Metal, lb: &LoadBalancer, facts: &Facts) -> Outcomes {
    let (stack, mut problems) = metal.desired(lb, facts);
    let mut verbs = Vec::new();
    for _ in 0..3 {
        let have = now(metal.observe(&lb.key)).expect("no call fails");
        let plan = metal.plan(&stack, &have);
        assert_eq!(metal.plan(&stack, &have), plan, "planning twice gives the same");
        if plan.is_empty() {
            let mut statuses = metal.status(&stack, &have);
            problems.extend(plan.problems);
            problems.extend(statuses.iter().flat_map(|s| s.problems.clone()));
            return Outcomes { status: statuses.pop(), problems, verbs, woken: metal.settled(&lb.key) };
        }
        for change in plan.changes {
            verbs.push(change.info().verb);
            assert_eq!(now(metal.apply(&change, &Fence::open())), Ok(Outcome::Done));
            assert_eq!(now(metal.apply(&change, &Fence::open())), Ok(Outcome::Done), "idempotent");
        }
    }
    panic!("planning does not come to an end");
}

pub(super) fn sync(metal: &Metal, member: &mut Member, facts: &Facts) -> Outcomes {
    let outcomes = sync_lb(metal, &lb(metal, std::slice::from_ref(member)), facts);
    if let Some(status) = &outcomes.status {
        show(member, status);
    }
    outcomes
}

pub(super) fn delete(metal: &Metal, member: &Member, facts: &Facts) -> Outcomes {
    sync_lb(metal, &LoadBalancer::unwanted(metal.key(member)), facts)
}

#[test]
fn a_service_gets_an_address_once_and_keeps_it() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.10-192.0.2.20"])]);
    let mut web = service("web", 1);
    let first = sync(&metal, &mut web, &facts);
    assert_eq!(first.verbs, [Verb::Create]);
    assert_eq!(first.problems, []);
    let status = first.status.expect("a status");
    let point =
        IngressPoint { ip: Some(ip("192.0.2.10")), ip_mode: Some(IpMode::Vip), ..IngressPoint::default() };
    assert_eq!(status.ingress, Some(vec![point]));
    assert_eq!(
        status.annotations,
        BTreeMap::from([("metallb.io/ip-allocated-from-pool".to_owned(), Some("p".to_owned()))])
    );
    let note = (status.notes[0].reason.as_str(), status.notes[0].message.as_str());
    assert_eq!(note, ("IPAllocated", "Assigned IP [\"192.0.2.10\"]"));
    // Again: nothing to do, and the same answer.
    let again = sync(&metal, &mut web, &facts);
    assert_eq!((again.verbs, again.status), (vec![], Some(status)));
    // A wiped status changes nothing: it is put back.
    web.current.clear();
    assert_eq!(sync(&metal, &mut web, &facts).addresses(), ["192.0.2.10"]);
    // And an edited one too.
    web.current = vec![IngressPoint { ip: Some(ip("192.0.2.11")), ..IngressPoint::default() }];
    assert_eq!(sync(&metal, &mut web, &facts).addresses(), ["192.0.2.10"]);
}

#[test]
fn exhaustion_is_a_problem_until_something_is_freed() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.10/32"])]);
    let (mut a, mut b) = (service("a", 1), service("b", 2));
    sync(&metal, &mut a, &facts);
    let denied = sync(&metal, &mut b, &facts);
    assert_eq!(denied.addresses(), Vec::<String>::new());
    assert_eq!(denied.status.and_then(|s| s.ingress), Some(vec![]));
    let problem = &denied.problems[0];
    assert_eq!((problem.reason.as_str(), problem.severity), ("AllocationFailed", Severity::Error));
    assert!(
        problem.message.starts_with("Failed to allocate IP for \"default/b\": no available IPs"),
        "{problem}"
    );
    let gone = delete(&metal, &a, &facts);
    assert_eq!(gone.verbs, [Verb::Delete]);
    assert_eq!(gone.woken, [metal.key(&b)]);
    assert_eq!(sync(&metal, &mut b, &facts).addresses(), ["192.0.2.10"]);
    assert_eq!(delete(&metal, &a, &facts).verbs, []);
}

#[test]
fn restart_and_takeover_change_nothing() {
    let old = Metal::default();
    let objects = || vec![pool("p", &["192.0.2.0/29"])];
    let old_facts = facts(&old, objects());
    let mut services: Vec<_> = (0..6).map(|n| service(&format!("s{n}"), n)).collect();
    for member in &mut services {
        sync(&old, member, &old_facts);
    }
    delete(&old, &services.remove(0), &old_facts);
    let new = Metal::default();
    let new_facts = facts(&new, objects());
    let mut all: Vec<_> = services.iter().map(|m| lb(&new, std::slice::from_ref(m))).collect();
    all.reverse();
    now(new.start(&all, &new_facts)).expect("never fails");
    // Before anything is asked, a newcomer gets what nobody has.
    assert_eq!(sync(&new, &mut service("new", 9), &new_facts).addresses(), ["192.0.2.0"]);
    for member in &mut services {
        let before = member.clone();
        let outcomes = sync(&new, member, &new_facts);
        assert_eq!(outcomes.verbs, [], "{}", member.object);
        assert_eq!(*member, before);
    }
}

#[test]
fn of_two_services_with_one_address_the_older_keeps_it() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let (mut old, mut young) = (service("z-old", 1), service("a-young", 2));
    for member in [&mut old, &mut young] {
        member.current = vec![IngressPoint { ip: Some(ip("192.0.2.3")), ..IngressPoint::default() }];
    }
    let all = [lb(&metal, &[young.clone()]), lb(&metal, &[old.clone()])];
    now(metal.start(&all, &facts)).expect("never fails");
    let moved = sync(&metal, &mut young, &facts);
    assert_eq!(moved.addresses(), ["192.0.2.0"]);
    let notes = moved.status.expect("a status").notes;
    assert_eq!(notes[0].reason, "ClearAssignment");
    assert!(notes[0].message.contains("default/z-old"), "{}", notes[0].message);
    assert_eq!(sync(&metal, &mut old, &facts).addresses(), ["192.0.2.3"]);
}

#[test]
fn an_address_of_somebody_else_is_not_taken_over() {
    let metal = Metal::new(OutsidePools::Keep);
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let mut web = service("web", 1);
    web.current = vec![IngressPoint { ip: Some(ip("203.0.113.1")), ..IngressPoint::default() }];
    now(metal.start(&[lb(&metal, &[web.clone()])], &facts)).expect("never fails");
    assert_eq!(sync(&metal, &mut web, &facts).addresses(), ["192.0.2.0"]);
    // One that came from a pool which is gone stays, and the user is told.
    let mut kept = service("kept", 1);
    kept.current = vec![IngressPoint { ip: Some(ip("203.0.113.2")), ..IngressPoint::default() }];
    annotate(&mut kept, "metallb.io/ip-allocated-from-pool", "gone");
    let outcomes = sync(&metal, &mut kept, &facts);
    assert_eq!(outcomes.addresses(), ["203.0.113.2"]);
    assert_eq!(outcomes.reasons(), ["AddressOutsidePools"]);
    // Unless it is to be replaced.
    for outside in [OutsidePools::Move, OutsidePools::Reallocate] {
        let metal = Metal::new(outside);
        let mut moved = kept.clone();
        assert_eq!(sync(&metal, &mut moved, &facts).addresses(), ["192.0.2.0"]);
    }
    // By default it stays where there is nothing else.
    let metal = Metal::default();
    let none = self::facts(&metal, vec![]);
    assert_eq!(sync(&metal, &mut kept, &none).addresses(), ["203.0.113.2"]);
}

#[test]
fn moving_says_that_there_is_a_gap() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let mut web = service("web", 1);
    sync(&metal, &mut web, &facts);
    annotate(&mut web, "metallb.io/loadBalancerIPs", "192.0.2.5");
    let moved = sync(&metal, &mut web, &facts);
    assert!(matches!(moved.verbs.as_slice(), [Verb::Replace { gap_seconds: 1, .. }]), "{:?}", moved.verbs);
    assert_eq!(moved.addresses(), ["192.0.2.5"]);
    assert!(moved.woken.is_empty());
    // Losing all, since the wish cannot be met.
    annotate(&mut web, "metallb.io/loadBalancerIPs", "203.0.113.5");
    let lost = sync(&metal, &mut web, &facts);
    assert_eq!(lost.verbs, [Verb::Delete]);
    assert!(lost.problems[0].message.contains("give back what it had"), "{}", lost.problems[0]);
    assert_eq!(lost.problems[0].field, "metadata.annotations[metallb.io/loadBalancerIPs]");
}

#[rstest]
#[case(
    "metallb.io/loadBalancerIPs",
    "web",
    "metadata.annotations[metallb.io/loadBalancerIPs]",
    "is not an IP address"
)]
#[case(
    "metallb.universe.tf/loadBalancerIPs",
    "192.0.2.1,",
    "metadata.annotations[metallb.io/loadBalancerIPs]",
    "is not an IP address"
)]
#[case(
    "metallb.io/loadBalancerIPs",
    "192.0.2.1,192.0.2.2,2001:db8::1",
    "metadata.annotations[metallb.io/loadBalancerIPs]",
    "at most one of each"
)]
#[case("", "999.0.0.1", "spec.loadBalancerIP", "is not an IP address")]
fn a_wish_that_cannot_be_read_keeps_what_there_is(
    #[case] annotation: &str,
    #[case] value: &str,
    #[case] field: &str,
    #[case] says: &str,
) {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let wish = |member: &mut Member| {
        if annotation.is_empty() {
            spec(member).requested_address = Some(value.into());
        } else {
            annotate(member, annotation, value);
        }
    };
    let mut web = service("web", 1);
    sync(&metal, &mut web, &facts);
    wish(&mut web);
    let kept = sync(&metal, &mut web, &facts);
    assert_eq!(kept.addresses(), ["192.0.2.0"]);
    let mut new = service("new", 2);
    wish(&mut new);
    let denied = sync(&metal, &mut new, &facts);
    assert_eq!(denied.addresses(), Vec::<String>::new());
    for outcomes in [kept, denied] {
        let problem = outcomes.problems.iter().find(|p| p.severity == Severity::Error).expect("an error");
        assert_eq!((problem.reason.as_str(), problem.field.as_str()), ("LoadBalancerFailed", field));
        assert!(problem.message.contains(says), "{problem}");
    }
}

#[rstest]
#[case("203.0.113.9", "no pool holds it")]
#[case("192.0.2.0", "also in use by default/first")]
#[case("2001:db8::1", "does not match the ipFamily")]
fn a_wish_that_cannot_be_met_names_field_and_remedy(#[case] address: &str, #[case] says: &str) {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29", "2001:db8::/64"])]);
    sync(&metal, &mut service("first", 1), &facts);
    let mut web = service("web", 2);
    spec(&mut web).requested_address = Some(address.into());
    let denied = sync(&metal, &mut web, &facts);
    let problem = &denied.problems[0];
    assert_eq!(
        (problem.object.path(), problem.field.as_str()),
        ("default/web".into(), "spec.loadBalancerIP")
    );
    assert!(problem.message.contains(says) && problem.message.contains(';'), "{problem}");
}

#[test]
fn annotation_and_field_together_are_refused() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let mut web = service("web", 1);
    spec(&mut web).requested_address = Some("192.0.2.1".into());
    annotate(&mut web, "metallb.io/loadBalancerIPs", "192.0.2.1");
    let denied = sync(&metal, &mut web, &facts);
    assert!(denied.problems[0].message.contains("service can not have both"), "{}", denied.problems[0]);
}

#[test]
fn families_are_those_of_the_cluster_ips() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29", "2001:db8::/64"])]);
    let mut web = service("web", 1);
    spec(&mut web).cluster_ips = vec![ip("fd00::1"), ip("10.96.0.1")];
    spec(&mut web).family_policy = FamilyPolicy::RequireDualStack;
    assert_eq!(sync(&metal, &mut web, &facts).addresses(), ["192.0.2.0", "2001:db8::"]);
    spec(&mut web).cluster_ips.truncate(1);
    let denied = sync(&metal, &mut web, &facts);
    assert_eq!((denied.reasons(), denied.addresses()), (vec!["NotEnoughClusterIPs"], vec![]));
    spec(&mut web).family_policy = FamilyPolicy::SingleStack;
    assert_eq!(sync(&metal, &mut web, &facts).addresses(), ["2001:db8::"]);
    spec(&mut web).cluster_ips.clear();
    let denied = sync(&metal, &mut web, &facts);
    assert_eq!((denied.reasons(), denied.addresses()), (vec!["noclusterIPsIPFamily"], vec![]));
    assert_eq!(denied.verbs, [Verb::Delete]);
}

#[test]
fn a_missing_second_family_is_a_warning() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let mut web = service("web", 1);
    spec(&mut web).cluster_ips = vec![ip("10.96.0.1"), ip("fd00::1")];
    spec(&mut web).family_policy = FamilyPolicy::PreferDualStack;
    let outcomes = sync(&metal, &mut web, &facts);
    assert_eq!(outcomes.addresses(), ["192.0.2.0"]);
    assert_eq!(outcomes.reasons(), ["AdditionalAssignFailed"]);
    assert!(outcomes.problems[0].message.contains("IPv6"), "{}", outcomes.problems[0]);
}

#[test]
fn an_address_that_nobody_announces_is_an_error() {
    let metal = Metal::default();
    let only = |spec| vec![pool("p", &["192.0.2.0/29"]), own("L2Advertisement", "ad", spec)];
    let other = facts(&metal, only(json!({"ipAddressPools": ["q"]})));
    let mut web = service("web", 1);
    let outcomes = sync(&metal, &mut web, &other);
    assert_eq!(
        (outcomes.addresses(), outcomes.reasons()),
        (vec!["192.0.2.0".to_owned()], vec!["NotAnnounced"])
    );
    let selecting = facts(&metal, only(json!({"serviceSelectors": [{}]})));
    assert_eq!(sync(&metal, &mut web, &selecting).reasons(), Vec::<&str>::new());
    annotate(&mut web, "metallb.io/allow-shared-ip", "");
    assert_eq!(sync(&metal, &mut web, &selecting).reasons(), ["NotAnnounced"]);
}

#[test]
fn a_deprecated_annotation_is_a_warning_and_works() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"]), pool("q", &["198.51.100.0/29"])]);
    let mut web = service("web", 1);
    annotate(&mut web, "metallb.universe.tf/address-pool", "q");
    let outcomes = sync(&metal, &mut web, &facts);
    assert_eq!(outcomes.addresses(), ["198.51.100.0"]);
    assert_eq!(outcomes.reasons(), ["deprecatedAnnotation"]);
    assert_eq!(outcomes.problems[0].severity, Severity::Warning);
}

#[test]
fn sharing_by_annotation_wakes_nobody_but_the_waiting() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/32"])]);
    let (mut a, mut b) = (service("a", 1), service("b", 2));
    annotate(&mut b, "metallb.io/allow-shared-ip", "k");
    spec(&mut b).ports[0].port = 443;
    sync(&metal, &mut a, &facts);
    assert_eq!(sync(&metal, &mut b, &facts).reasons(), ["AllocationFailed"]);
    annotate(&mut a, "metallb.io/allow-shared-ip", "k");
    let changed = sync(&metal, &mut a, &facts);
    assert_eq!((changed.verbs, changed.woken), (vec![Verb::Update], vec![metal.key(&b)]));
    assert_eq!(sync(&metal, &mut b, &facts).addresses(), ["192.0.2.0"]);
    // Local and Cluster do not go together.
    let mut c = service("c", 3);
    annotate(&mut c, "metallb.io/allow-shared-ip", "k");
    spec(&mut c).ports[0].port = 22;
    spec(&mut c).traffic_policy = TrafficPolicy::Local;
    assert_eq!(sync(&metal, &mut c, &facts).reasons(), ["AllocationFailed"]);
}

#[test]
fn an_ingress_is_not_served_and_nothing_is_written_on_it() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let mut ingress = service("web", 1);
    ingress.object = ObjectRef::ingress("default", "web", "uid");
    ingress.spec = MemberSpec::Ingress(IngressSpec::default());
    let outcomes = sync(&metal, &mut ingress, &facts);
    assert_eq!(outcomes.reasons(), ["Unsupported"]);
    assert_eq!((outcomes.status, outcomes.verbs), (None, vec![]));
    assert_eq!(metal.key(&ingress).layer, Layer::L7);
}

#[test]
fn facts_that_come_late_do_not_bring_old_pools_back() {
    let metal = Metal::default();
    let old = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let new = facts(&metal, vec![pool("p", &["198.51.100.0/29"])]);
    assert_eq!(sync(&metal, &mut service("a", 1), &new).addresses(), ["198.51.100.0"]);
    assert_eq!(sync(&metal, &mut service("b", 2), &old).addresses(), ["198.51.100.1"]);
}

#[test]
fn pools_report_their_counters() {
    let metal = Metal::default();
    let facts =
        facts(&metal, vec![pool("p", &["192.0.2.0/29", "2001:db8::/120"]), pool("bad", &["192.0.2.0/99"])]);
    sync(&metal, &mut service("a", 1), &facts);
    let statuses: BTreeMap<_, _> =
        metal.own_status(&facts).into_iter().map(|s| (s.object.name, s.status)).collect();
    assert_eq!(
        statuses["p"],
        json!({"assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 7, "availableIPv6": 256})
    );
    assert_eq!(statuses["bad"]["availableIPv4"], 0);
}

#[test]
fn the_stack_shows_what_planning_reserved() {
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let web = service("web", 1);
    let (stack, _) = metal.desired(&lb(&metal, &[web]), &facts);
    let plan = metal.plan(&stack, &Held::default());
    let resources = stack.resources();
    let spec = &resources["Metal::Address"]["default/web"]["spec"];
    assert_eq!((&spec["addresses"], &spec["pool"]), (&json!(["192.0.2.0"]), &json!("p")));
    assert_eq!(plan.changes[0].info().summary, "assign 192.0.2.0 of pool p to Service default/web");
}

#[test]
fn a_closed_fence_commits_nothing() {
    struct Closed;
    impl causeway_api::Permit for Closed {
        fn epoch(&self) -> u64 {
            1
        }
        fn remaining(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
    }
    let metal = Metal::default();
    let facts = facts(&metal, vec![pool("p", &["192.0.2.0/29"])]);
    let lb = lb(&metal, &[service("web", 1)]);
    let (stack, _) = metal.desired(&lb, &facts);
    let plan = metal.plan(&stack, &Held::default());
    let applied = now(metal.apply(&plan.changes[0], &Fence::new(Closed)));
    assert_eq!(applied, Err(CloudError::Fenced));
    assert_eq!(now(metal.observe(&lb.key)), Ok(Held::default()));
    assert_eq!(now(metal.owned()).map(|owned| owned.len()), Ok(0));
}
