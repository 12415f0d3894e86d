//! Tables for [`super::load_balancer`].

use causeway_api::PathMatch::{Exact, ImplementationSpecific, Prefix};
use causeway_api::{Endpoints, Node, Protocol};
use rstest::rstest;

use super::*;
use crate::state::fixtures::capabilities;
use crate::state::records::{BackendRef, IngressRecord, ServiceRecord, Strings};
use crate::translate::{
    ClusterHealth, IngressContext, Referenced, ServiceContext, ingress_member, service_member,
};

fn member(record: &ServiceRecord) -> Member {
    let can = capabilities();
    let context = ServiceContext {
        capabilities: &can,
        cluster_health: ClusterHealth::KubeProxy,
        endpoints: Endpoints::default(),
        namespace_labels: Strings::default(),
        referenced: Referenced::default(),
    };
    service_member(record, &context).0
}

fn site(record: &IngressRecord) -> Member {
    let web = ServiceRecord::test();
    let lookup = |_: &_| Some(&web);
    let context = IngressContext::test(&lookup, true);
    ingress_member(record, &context).0
}

fn l4(records: &[ServiceRecord], can: &Capabilities) -> (Vec<(String, u16, Protocol)>, Vec<Problem>) {
    let context = LbContext { capabilities: can, nodes: Arc::default(), secrets: None };
    let (lb, problems) =
        load_balancer(LbKey::group(Layer::L4, "g"), records.iter().map(member).collect(), &context);
    let Body::L4(listeners) = &lb.body else { panic!("{:?}", lb.body) };
    let listeners = listeners
        .iter()
        .map(|l| (lb.members[l.member].object.name.clone(), l.port.port, l.port.protocol))
        .collect();
    (listeners, problems)
}

fn l7_with(
    records: &[IngressRecord],
    secrets: Option<SecretVersion<'_>>,
) -> (LoadBalancer, HttpBody, Vec<Problem>) {
    let can = capabilities();
    let context = LbContext { capabilities: &can, nodes: Arc::default(), secrets };
    let (lb, problems) =
        load_balancer(LbKey::group(Layer::L7, "g"), records.iter().map(site).collect(), &context);
    let Body::L7(http) = lb.body.clone() else { panic!("{:?}", lb.body) };
    (lb, http, problems)
}

fn l7(records: &[IngressRecord]) -> (LoadBalancer, HttpBody, Vec<Problem>) {
    l7_with(records, None)
}

/// `host path -> service` in order of precedence.
fn table(http: &HttpBody) -> Vec<String> {
    http.routes
        .iter()
        .map(|r| format!("{} {:?} {} -> {}", r.host, r.matching, r.path, r.backend.service))
        .collect()
}

fn service(name: &str, created: i64) -> ServiceRecord {
    ServiceRecord::test().named("default", name).created(created).no_ports()
}

fn ingress(name: &str, created: i64) -> IngressRecord {
    IngressRecord::test().named("default", name).created(created)
}

#[test]
fn one_service_has_its_listeners_in_order() {
    let (listeners, problems) = l4(&[service("a", 1).port(443).udp(53).port(53)], &capabilities());
    let a = || "a".to_owned();
    assert_eq!(listeners, [(a(), 443, Protocol::Tcp), (a(), 53, Protocol::Udp), (a(), 53, Protocol::Tcp)]);
    assert_eq!(problems, []);
}

#[test]
fn of_two_that_want_a_port_the_older_has_it_and_the_younger_keeps_the_rest() {
    let (listeners, problems) =
        l4(&[service("young", 2).port(80).port(81), service("old", 1).port(80)], &capabilities());
    assert_eq!(listeners, [("old".to_owned(), 80, Protocol::Tcp), ("young".to_owned(), 81, Protocol::Tcp)]);
    assert_eq!(problems.len(), 1);
    let problem = &problems[0];
    assert_eq!(
        (problem.object.name.as_str(), problem.field.as_str(), problem.severity),
        ("young", "spec.ports[0].port", Severity::Warning)
    );
    assert!(problem.message.contains("Service default/old"), "{}", problem.message);
}

#[test]
fn a_member_left_without_any_port_has_an_error() {
    let (_, problems) = l4(&[service("young", 2).port(80), service("old", 1).port(80)], &capabilities());
    assert_eq!(problems[0].severity, Severity::Error);
}

#[rstest]
#[case::tie_by_name(service("b", 1), service("a", 1), "a")]
#[case::no_timestamp_is_oldest(service("a", 1), ServiceRecord { meta: crate::state::records::Meta { created: None, ..service("b", 0).meta }, ..service("b", 0) }, "b")]
#[case::namespace_before_name(service("a", 1).named("z", "a"), service("b", 1).named("y", "b"), "b")]
fn ties(#[case] one: ServiceRecord, #[case] two: ServiceRecord, #[case] winner: &str) {
    for records in [[one.clone().port(80), two.clone().port(80)], [two.port(80), one.port(80)]] {
        let (listeners, _) = l4(&records, &capabilities());
        assert_eq!(listeners, [(winner.to_owned(), 80, Protocol::Tcp)]);
    }
}

#[test]
fn the_same_port_of_another_protocol_is_no_conflict() {
    let (listeners, problems) = l4(&[service("a", 1).port(53), service("b", 2).udp(53)], &capabilities());
    assert_eq!((listeners.len(), problems), (2, vec![]));
}

#[test]
fn a_port_twice_in_one_service_is_served_once() {
    let (listeners, problems) = l4(&[service("a", 1).port(80).port(80)], &capabilities());
    assert_eq!(listeners.len(), 1);
    assert_eq!(problems[0].field, "spec.ports[1].port");
}

#[test]
fn no_listener_of_a_protocol_that_the_provider_lacks_and_it_blocks_nobody() {
    let can = Capabilities { protocols: vec![Protocol::Tcp], ..capabilities() };
    let (listeners, problems) = l4(&[service("a", 1).udp(53).port(53)], &can);
    assert_eq!(listeners, [("a".to_owned(), 53, Protocol::Tcp)]);
    assert_eq!(problems, [], "reported with the member");
}

#[test]
fn no_members_is_the_unwanted_load_balancer() {
    let can = capabilities();
    for key in [LbKey::group(Layer::L4, "g"), LbKey::group(Layer::L7, "g")] {
        let context = LbContext { capabilities: &can, nodes: Arc::default(), secrets: None };
        assert_eq!(load_balancer(key.clone(), vec![], &context), (LoadBalancer::unwanted(key), vec![]));
    }
}

#[test]
fn the_node_set_is_shared_not_copied() {
    let can = capabilities();
    let node =
        Node { name: "n".to_owned(), provider_id: None, addresses: vec![], labels: Strings::default() };
    let nodes = Arc::new(NodeSet { nodes: vec![node] });
    let context = LbContext { capabilities: &can, nodes: nodes.clone(), secrets: None };
    let (lb, _) = load_balancer(LbKey::group(Layer::L4, "g"), vec![], &context);
    assert!(Arc::ptr_eq(&lb.nodes, &nodes));
}

#[test]
fn routes_in_order_of_precedence_over_all_members() {
    let (_, http, problems) = l7(&[
        ingress("a", 1)
            .route("", "/", Prefix, "all", "80")
            .route("*.example.com", "/deep/path", Prefix, "wild", "80")
            .route("www.example.com", "/", Prefix, "root", "80")
            .route("www.example.com", "/foo", Prefix, "foo", "80"),
        ingress("b", 2)
            .route("www.example.com", "/foo/bar/", Prefix, "bar", "80")
            .route("www.example.com", "/f", Exact, "exact", "80")
            .route("*.sub.example.com", "/", Prefix, "subwild", "80")
            .route("", "/exact", Exact, "allexact", "80")
            .route("www.example.com", "/foo/*", ImplementationSpecific, "own", "80"),
    ]);
    assert_eq!(problems, []);
    assert_eq!(
        table(&http),
        [
            "www.example.com Exact /f -> exact",
            "www.example.com Prefix /foo/bar/ -> bar",
            "www.example.com ImplementationSpecific /foo/* -> own",
            "www.example.com Prefix /foo -> foo",
            "www.example.com Prefix / -> root",
            "*.sub.example.com Prefix / -> subwild",
            "*.example.com Prefix /deep/path -> wild",
            " Exact /exact -> allexact",
            " Prefix / -> all",
        ]
    );
}

#[test]
fn ties_of_routes_go_by_age() {
    // Equal length, both could match nothing in common: the older comes first.
    let (_, http, _) = l7(&[
        ingress("young", 2).route("h.example", "/aa", Prefix, "two", "80"),
        ingress("old", 1).route("h.example", "/bb", Prefix, "one", "80"),
    ]);
    assert_eq!(table(&http), ["h.example Prefix /bb -> one", "h.example Prefix /aa -> two"]);
}

#[rstest]
#[case::same_path("/foo", "/foo", true)]
#[case::slash_at_the_end_does_not_count("/foo", "/foo/", true)]
#[case::case_counts("/foo", "/Foo", false)]
#[case::root("/", "", true)]
fn duplicate_routes(#[case] first: &str, #[case] second: &str, #[case] conflict: bool) {
    let (_, http, problems) = l7(&[
        ingress("young", 2).route("h.example", "/other", Prefix, "two", "80").route(
            "h.example",
            second,
            Prefix,
            "two",
            "80",
        ),
        ingress("old", 1).route("h.example", first, Prefix, "one", "80"),
    ]);
    assert_eq!(http.routes.len(), if conflict { 2 } else { 3 });
    assert_eq!(problems.len(), usize::from(conflict));
    for problem in problems {
        assert_eq!(
            (problem.object.name.as_str(), problem.reason.as_str()),
            ("young", reasons::ROUTE_CONFLICT)
        );
        assert_eq!(problem.field, "spec.rules[1].http.paths[0]");
        assert!(problem.message.contains("Ingress default/old"), "{}", problem.message);
    }
}

#[test]
fn exact_and_prefix_of_one_path_are_two_routes() {
    let (_, http, problems) =
        l7(&[ingress("a", 1).route("h", "/foo", Prefix, "one", "80").route("h", "/foo", Exact, "two", "80")]);
    assert_eq!((table(&http)[0].as_str(), problems), ("h Exact /foo -> two", vec![]));
}

#[test]
fn saying_the_same_twice_is_no_conflict() {
    let (_, http, problems) = l7(&[ingress("a", 1)
        .route("h", "/foo", Prefix, "one", "80")
        .route("h", "/foo/", Prefix, "one", "80")]);
    assert_eq!((http.routes.len(), problems), (1, vec![]));
}

#[test]
fn a_resource_backend_makes_no_route_and_holds_no_path() {
    let (_, http, problems) = l7(&[
        ingress("a", 1).route_to("h", "/", Prefix, BackendRef::Resource("Bucket/b".to_owned())),
        ingress("b", 2).route("h", "/", Prefix, "one", "80"),
    ]);
    assert_eq!((table(&http), problems), (vec!["h Prefix / -> one".to_owned()], vec![]));
}

#[test]
fn the_default_backend_is_the_oldest_members() {
    let (lb, http, problems) = l7(&[
        ingress("young", 3).default_backend("late", "80"),
        ingress("old", 2).default_backend("first", "80"),
        ingress("same", 4).default_backend("first", "80"),
        ingress("oldest", 1),
    ]);
    let (member, backend) = http.default_backend.expect("a default backend");
    assert_eq!((lb.members[member].object.name.as_str(), backend.service.as_str()), ("old", "first"));
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].object.name.as_str(), problems[0].reason.as_str()),
        ("young", reasons::DEFAULT_BACKEND_CONFLICT)
    );
}

#[test]
fn certificates_with_versions_and_missing_ones_named() {
    let lookup = |path: &Path| (path.name == "here").then(|| "7".to_owned());
    let records = [ingress("a", 1)
        .tls(&["a.example"], Some("here"))
        .tls(&["b.example"], Some("gone"))
        .tls(&["c.example"], None)];
    let (_, http, problems) = l7_with(&records, Some(&lookup));
    let found: Vec<_> =
        http.certificates.iter().map(|c| (c.secret.as_deref(), c.secret_version.as_deref())).collect();
    assert_eq!(found, [(Some("default/here"), Some("7")), (Some("default/gone"), None), (None, None)]);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "spec.tls[1].secretName");

    let (_, http, problems) = l7(&records);
    assert_eq!((http.certificates.len(), problems), (3, vec![]), "who does not want Secrets misses none");
}
