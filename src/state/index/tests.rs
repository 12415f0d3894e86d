//! Which changes make which load balancers dirty, and who belongs where.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::{
    EndpointDetail, EndpointsPerNode, KindScope, Layer, LbKey, Member, MemberSpec, OwnKind, OwnObject,
    PathMatch, Wants, names,
};
use proptest::prelude::*;
use serde_json::json;

use super::{Effects, Index, Record, Rules};
use crate::engine::queue::Cause;
use crate::state::fixtures::capabilities;
use crate::state::records::*;
use crate::translate::{ClassRules, ClusterHealth};

fn index_with(wants: Wants, own_classless: bool) -> Index {
    let rules = Rules {
        classes: ClassRules { classes: vec!["ours/lb".into()], own_classless, ..ClassRules::default() },
        capabilities: capabilities(),
        wants,
        cluster_health: ClusterHealth::default(),
    };
    let key_of = |member: &Member| {
        let layer = if member.service().is_some() { Layer::L4 } else { Layer::L7 };
        match member.annotations.get(names::ANNOTATION_GROUP) {
            Some(group) => LbKey::group(layer, group.clone()),
            None => LbKey::object(layer, member.object.clone()),
        }
    };
    Index::new(rules, Arc::new(key_of))
}

fn index() -> Index {
    index_with(
        Wants { nodes: true, ingresses: true, endpoints: EndpointDetail::Local, ..Wants::default() },
        true,
    )
}

fn service(name: &str) -> ServiceRecord {
    let mut service = ServiceRecord::test().named("ns", name).port(80);
    service.meta.uid = format!("uid-{name}").into();
    service
}

fn key(name: &str) -> LbKey {
    LbKey::object(Layer::L4, causeway_api::ObjectRef::service("ns", name, format!("uid-{name}")))
}

fn apply(index: &mut Index, service: ServiceRecord) -> Effects {
    index.update(Update::Service(Delta::Apply(service)))
}

fn node(index: &mut Index, node: NodeRecord) -> Effects {
    index.update(Update::Node(Delta::Apply(node)))
}

fn path(name: &str) -> Path {
    Path { namespace: "ns".into(), name: name.into() }
}

#[test]
fn a_new_service_is_dirty_once_and_a_new_version_of_the_same_is_not() {
    let mut index = index();
    assert_eq!(apply(&mut index, service("a")).dirty, [(key("a"), Cause::User)]);
    let mut again = service("a");
    again.meta.resource_version = "77".into();
    assert!(apply(&mut index, again).dirty.is_empty());
    let snapshot = index.snapshot(&key("a"));
    assert_eq!(snapshot.members.len(), 1);
    assert_eq!(
        snapshot.members[0].record.meta().resource_version,
        "77",
        "the newest version is what writes go against"
    );
}

#[test]
fn an_index_is_behind_a_list_until_it_has_all_that_this_names() {
    let mut index = index();
    let list = |all: &[(&str, &str)]| -> Vec<(Path, String)> {
        all.iter().map(|(name, version)| (service(name).meta.path(), (*version).to_owned())).collect()
    };
    let mut seen = service("a");
    seen.meta.resource_version = "99".into();
    apply(&mut index, seen.clone());
    assert!(!index.is_behind(&list(&[])));
    assert!(!index.is_behind(&list(&[("a", "99")])));
    assert!(!index.is_behind(&list(&[("a", "98")])), "it changed since");
    assert!(index.is_behind(&list(&[("a", "100")])), "numbers, not texts");
    assert!(index.is_behind(&list(&[("a", "99"), ("b", "5")])));
    seen.meta.resource_version = "other".into();
    apply(&mut index, seen);
    assert!(index.is_behind(&list(&[("a", "99")])));
    assert!(!index.is_behind(&list(&[("a", "other")])));
}

#[test]
fn a_wiped_status_is_dirty_but_no_new_input() {
    let mut index = index();
    apply(&mut index, service("a").status_ip("192.0.2.1"));
    let before = index.snapshot(&key("a")).inputs;
    assert_eq!(apply(&mut index, service("a")).dirty, [(key("a"), Cause::User)]);
    assert_eq!(index.snapshot(&key("a")).inputs, before);
}

#[test]
fn foreign_services_are_never_ours() {
    let mut index = index();
    let mut foreign = service("a").class("theirs/lb");
    foreign.meta.finalizers.push(names::FINALIZER.into());
    assert!(apply(&mut index, foreign.clone()).dirty.is_empty());
    foreign.meta.deleting = true;
    assert!(apply(&mut index, foreign).dirty.is_empty(), "not even when it leaves with the shared finalizer");
    assert_eq!(index.keys().count(), 0);
}

#[test]
fn a_service_that_turns_into_a_cluster_ip_still_has_its_load_balancer_to_clean() {
    // The API server wipes the class when the type changes: only memory, or the cloud's own mark, tells whose it was.
    let mut index = index_with(Wants::default(), false);
    let mut ours = service("a").class("ours/lb");
    ours.meta.finalizers.push(names::FINALIZER.into());
    apply(&mut index, ours);
    let mut flipped = service("a").not_load_balancer();
    flipped.meta.finalizers.push(names::FINALIZER.into());
    assert_eq!(apply(&mut index, flipped.clone()).dirty, [(key("a"), Cause::User)]);
    let snapshot = index.snapshot(&key("a"));
    assert!(snapshot.lb.members.is_empty());
    assert!(!snapshot.members[0].wanted);

    let mut restarted = index_with(Wants::default(), false);
    assert!(apply(&mut restarted, flipped).dirty.is_empty(), "nobody knows whose finalizer that is");
    assert_eq!(restarted.claim(["service/uid-a".to_owned()]).dirty, [(key("a"), Cause::Resync)]);
}

#[test]
fn a_service_deleted_without_our_finalizer_is_left_alone() {
    let mut index = index();
    let mut leaving = service("a");
    leaving.meta.deleting = true;
    leaving.meta.finalizers.push("example.com/other".into());
    assert!(apply(&mut index, leaving).dirty.is_empty());
}

#[test]
fn a_recreated_service_is_another_owner() {
    let mut index = index();
    apply(&mut index, service("a"));
    let mut reborn = service("a");
    reborn.meta.uid = "uid-new".into();
    let dirty = apply(&mut index, reborn).dirty;
    assert_eq!(dirty.len(), 2, "the old load balancer and the new one: {dirty:?}");
    assert!(index.snapshot(&key("a")).members.is_empty());
}

#[test]
fn moving_between_groups_makes_both_dirty() {
    let mut index = index();
    apply(&mut index, service("a").annotation(names::ANNOTATION_GROUP, "g"));
    apply(&mut index, service("b").annotation(names::ANNOTATION_GROUP, "g"));
    let dirty = apply(&mut index, service("a").annotation(names::ANNOTATION_GROUP, "h")).dirty;
    assert_eq!(
        dirty,
        [(LbKey::group(Layer::L4, "g"), Cause::User), (LbKey::group(Layer::L4, "h"), Cause::User)]
    );
    assert_eq!(index.snapshot(&LbKey::group(Layer::L4, "g")).lb.members.len(), 1);
}

#[test]
fn node_noise_is_silent_and_node_changes_reach_everyone() {
    let mut index = index();
    for name in ["a", "b"] {
        apply(&mut index, service(name));
    }
    assert_eq!(node(&mut index, NodeRecord::test("n1").address("10.0.0.1")).dirty.len(), 2);
    assert!(node(&mut index, NodeRecord::test("n1").address("10.0.0.1")).dirty.is_empty(), "heartbeat");
    assert!(
        node(&mut index, NodeRecord::test("n1").address("10.0.0.1").network_unavailable()).dirty.is_empty(),
        "not a rule for load balancers that check health"
    );
    assert_eq!(node(&mut index, NodeRecord::test("n1").address("10.0.0.1").leaving()).dirty.len(), 2);
    assert!(node(&mut index, NodeRecord::test("n2").deleting()).dirty.is_empty(), "never was eligible");
    let gone =
        index.update(Update::Node(Delta::Delete(Path { namespace: String::new(), name: "n1".into() })));
    assert!(gone.dirty.is_empty(), "it had been taken out before");
}

#[test]
fn providers_without_nodes_do_not_hear_of_them() {
    let mut index = index_with(Wants::default(), true);
    apply(&mut index, service("a"));
    assert!(node(&mut index, NodeRecord::test("n1")).dirty.is_empty());
}

#[test]
fn endpoints_count_where_they_are_wanted() {
    let mut index = index();
    apply(&mut index, service("a").local_with(30_000));
    apply(&mut index, service("b"));
    let slice = |name: &str, service: &str, ready: u32| SliceRecord {
        path: path(name),
        service: service.into(),
        by_node: BTreeMap::from([(Arc::from("n1"), EndpointsPerNode { ready, serving: 0 })]),
        ready: Vec::new(),
        ports: Vec::new(),
        waiting: Vec::new(),
    };
    let update = |index: &mut Index, s| index.update(Update::Slice(Delta::Apply(s)));
    assert_eq!(update(&mut index, slice("a-1", "a", 1)).dirty, [(key("a"), Cause::Endpoints)]);
    update(&mut index, slice("a-2", "a", 2));
    assert!(update(&mut index, slice("a-2", "a", 2)).dirty.is_empty());
    let endpoints = |index: &Index, name: &str| {
        index.snapshot(&key(name)).lb.members[0]
            .service()
            .map(|s| s.endpoints.by_node.clone())
            .unwrap_or_default()
    };
    assert_eq!(endpoints(&index, "a")["n1"].ready, 3, "slices of one Service add up");
    update(&mut index, slice("b-1", "b", 1));
    assert!(endpoints(&index, "b").is_empty(), "policy Cluster, and only Local was wanted");
    index.update(Update::Slice(Delta::Delete(path("a-1"))));
    assert_eq!(endpoints(&index, "a")["n1"].ready, 2);
}

#[test]
fn an_ingress_hears_of_its_services() {
    let mut index = index();
    index.update(Update::Class(Delta::Apply(ClassRecord::test("ours"))));
    let mut ingress = IngressRecord::test().named("ns", "web").class("ours");
    ingress.default_backend = Some(BackendRef::Service { name: "a".into(), port: "80".into() });
    assert_eq!(index.update(Update::Ingress(Delta::Apply(ingress))).dirty.len(), 1);
    assert!(
        apply(&mut index, service("a").not_load_balancer()).dirty.iter().any(|(k, _)| k.layer == Layer::L7)
    );
    assert!(apply(&mut index, service("z").not_load_balancer()).dirty.is_empty());
}

/// Annotation `to` refers to port 80 of a Service, `secret` to a Secret.
fn referring() -> Index {
    let wants = Wants { endpoints: EndpointDetail::Addresses, ..Wants::default() };
    index_with(wants, true).with_references(Arc::new(|_, annotations| causeway_api::References {
        services: annotations.get("to").map(|name| (name.clone(), "80".to_owned())).into_iter().collect(),
        secrets: annotations.get("secret").cloned().into_iter().collect(),
        endpoints: annotations.contains_key("to"),
    }))
}

#[test]
fn a_service_hears_of_what_its_annotations_refer_to() {
    let mut index = referring();
    apply(&mut index, service("a").annotation("to", "b").annotation("secret", "s"));
    let member = |index: &Index| index.snapshot(&key("a")).lb.members[0].clone();
    let port = ("b".to_owned(), "80".to_owned());
    assert_eq!(member(&index).services[&port].service_port, None);

    let b = service("b").not_load_balancer();
    assert_eq!(apply(&mut index, b.clone()).dirty, [(key("a"), Cause::User)]);
    assert_eq!(member(&index).services[&port].service_port, Some(80));
    let secret = crate::state::records::SecretRecord { path: path("s"), version: "1".into() };
    assert_eq!(index.update(Update::Secret(Delta::Apply(secret))).dirty, [(key("a"), Cause::User)]);
    assert_eq!(member(&index).secrets["s"].as_deref(), Some("1"));

    let slice = |service: &str, address: &str| SliceRecord {
        path: path(&format!("{service}-1")),
        service: service.into(),
        by_node: BTreeMap::new(),
        ready: vec![(address.parse().expect("an address"), Arc::from("n1"))],
        ports: vec![("tcp-80".into(), 8080)],
        waiting: Vec::new(),
    };
    let dirty = index.update(Update::Slice(Delta::Apply(slice("b", "10.1.0.1")))).dirty;
    assert_eq!(dirty, [(key("a"), Cause::Endpoints)]);
    let found = &member(&index).services[&port].endpoints.ready;
    assert_eq!((found[0].port, found[0].node.as_deref()), (8080, Some("n1")));

    apply(&mut index, service("a"));
    assert!(member(&index).services.is_empty());
    assert!(apply(&mut index, b.label("x", "y")).dirty.is_empty(), "nobody names it any more");
    index.update(Update::Slice(Delta::Apply(slice("a", "10.1.0.2"))));
    let own = member(&index).service().map(|s| s.endpoints.ready.len());
    assert_eq!(own, Some(0), "its own addresses are not wanted without the annotation");
}

#[test]
fn objects_of_an_own_kind_can_be_members() {
    let kind = OwnKind {
        group: "example.com",
        version: "v1",
        also: &[],
        kind: "Binding",
        plural: "bindings",
        scope: KindScope::AllNamespaces,
        members: true,
        made_by_others: &["example.com/stack"],
        required: false,
    };
    let wants = Wants { kinds: vec![kind], ..Wants::default() };
    let mut index = index_with(wants, true).with_references(Arc::new(|kind, spec| {
        let service =
            spec.get(causeway_api::OWN_SPEC).map(|text| (text.trim_matches('"').to_owned(), "80".to_owned()));
        let services = service.filter(|_| matches!(kind, causeway_api::Kind::Own(_))).into_iter().collect();
        causeway_api::References { services, ..Default::default() }
    }));
    let binding =
        |spec: &str| Update::Own("Binding", Delta::Apply(OwnObject::new("Binding", "ns", "b", json!(spec))));
    let dirty = index.update(binding("web")).dirty;
    let [(key, Cause::User)] = &dirty[..] else { panic!("{dirty:?}") };
    let key = key.clone();
    let found = |index: &Index| {
        let members = index.snapshot(&key).lb.members;
        members.first().and_then(|m| m.services.values().next().cloned()).map(|b| b.node_port)
    };
    assert_eq!(found(&index), Some(None), "the Service is missing");
    assert!(index.update(binding("web")).dirty.is_empty());

    let web = service("web").not_load_balancer().no_ports().node_port(80, 30080);
    assert_eq!(apply(&mut index, web).dirty, [(key.clone(), Cause::User)]);
    assert_eq!(found(&index), Some(Some(30080)));
    assert_eq!(index.given().len(), 1);
    let snapshot = index.snapshot(&key);
    assert!(snapshot.members[0].wanted && matches!(snapshot.members[0].record, Record::Own(_)));

    index.update(binding("other"));
    assert!(
        apply(&mut index, service("web").not_load_balancer()).dirty.is_empty(),
        "it names another one now"
    );
    // While it leaves it says what is to be taken back, as long as it waits for us.
    let leaving = |finalizers: &[&str]| {
        let object = OwnObject {
            deleting: true,
            finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
            ..OwnObject::new("Binding", "ns", "b", json!("other"))
        };
        Update::Own("Binding", Delta::Apply(object))
    };
    index.update(leaving(&["example.com/theirs", names::INGRESS_FINALIZER]));
    let snapshot = index.snapshot(&key);
    assert!(!snapshot.members[0].wanted);
    let MemberSpec::Own(spec) = &snapshot.lb.members[0].spec else { panic!("{:?}", snapshot.lb) };
    assert!(spec.leaving && spec.spec.contains("other"));
    assert_eq!(index.update(leaving(&["example.com/theirs"])).dirty, [(key.clone(), Cause::User)]);
    assert!(index.keys().next().is_none(), "it waits for somebody else");

    index.update(binding("other"));
    let labels = [("example.com/stack".to_owned(), "s".to_owned())].into();
    let theirs = OwnObject { labels, ..OwnObject::new("Binding", "ns", "b", json!("web")) };
    index.update(Update::Own("Binding", Delta::Apply(theirs)));
    assert!(index.keys().next().is_none(), "another controller made it for itself");

    index.update(binding("other"));
    let gone = index.update(Update::Own("Binding", Delta::Reset(Vec::new())));
    assert_eq!(gone.dirty, [(key.clone(), Cause::User)]);
    assert!(!gone.facts && index.keys().next().is_none());
}

#[test]
fn parameters_of_a_class_reach_its_ingresses_and_move_them() {
    let kind = OwnKind {
        group: "example.com",
        version: "v1",
        also: &[],
        kind: "Params",
        plural: "params",
        scope: KindScope::Cluster,
        members: false,
        made_by_others: &[],
        required: false,
    };
    let rules = Rules {
        classes: ClassRules::default(),
        capabilities: capabilities(),
        wants: Wants { ingresses: true, kinds: vec![kind], ..Wants::default() },
        cluster_health: ClusterHealth::default(),
    };
    let key_of = |member: &Member| {
        let spec = member.class_parameters.as_ref().and_then(|p| p.spec.clone());
        LbKey::group(Layer::L7, spec.unwrap_or_default())
    };
    let mut index = Index::new(rules, Arc::new(key_of));
    let class = ClassRecord::test("ours").parameters("example.com", "Params", "p");
    index.update(Update::Class(Delta::Apply(class)));
    let ingress = IngressRecord::test().class("ours").route("", "/", PathMatch::Prefix, "web", "80");
    index.update(Update::Ingress(Delta::Apply(ingress)));
    let group = |name: &str| LbKey::group(Layer::L7, name);
    assert_eq!(index.keys().collect::<Vec<_>>(), [&group("")], "there is no such object yet");

    let params = |spec| Update::Own("Params", Delta::Apply(OwnObject::new("Params", "", "p", spec)));
    let effects = index.update(params(json!({"group": 1})));
    assert_eq!(
        effects.dirty,
        [(group(""), Cause::Facts), (group("{\"group\":1}"), Cause::Facts)],
        "both the one that it leaves and the one that it joins"
    );
    assert!(effects.facts);
    assert!(index.update(params(json!({"group": 1}))).dirty.is_empty());
}

#[test]
fn what_a_reset_leaves_out_is_gone() {
    let mut index = index();
    for name in ["a", "b"] {
        apply(&mut index, service(name));
    }
    let dirty = index.update(Update::Service(Delta::Reset(vec![service("b"), service("c")]))).dirty;
    assert_eq!(dirty, [(key("a"), Cause::User), (key("c"), Cause::User)]);
}

proptest! {
    /// Whatever way the objects came, the same load balancers stand there.
    #[test]
    fn order_does_not_matter(order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(), detour in 0..6usize) {
        let updates: Vec<Update> = (0..6)
            .map(|i| match i {
                0 => Update::Service(Delta::Apply(service("a").annotation(names::ANNOTATION_GROUP, "g").created(2))),
                1 => Update::Service(Delta::Apply(service("b").annotation(names::ANNOTATION_GROUP, "g").created(1))),
                2 => Update::Service(Delta::Apply(service("c").local_with(30_000))),
                3 => Update::Node(Delta::Apply(NodeRecord::test("n1").address("10.0.0.1"))),
                4 => Update::Node(Delta::Apply(NodeRecord::test("n2").address("10.0.0.2"))),
                _ => Update::Slice(Delta::Apply(SliceRecord {
                    path: path("c-1"),
                    service: "c".into(),
                    by_node: BTreeMap::from([(Arc::from("n1"), EndpointsPerNode { ready: 1, serving: 0 })]),
                    ready: Vec::new(),
                    ports: Vec::new(),
                    waiting: Vec::new(),
                })),
            })
            .collect();
        let mut straight = index();
        for update in &updates {
            straight.update(update.clone());
        }
        let mut shuffled = index();
        for (step, i) in order.iter().enumerate() {
            if step == detour {
                shuffled.update(Update::Service(Delta::Apply(service("a"))));
                shuffled.update(Update::Service(Delta::Delete(path("a"))));
                shuffled.update(Update::Service(Delta::Delete(path("b"))));
                for earlier in order[..step].iter().filter(|i| **i < 2) {
                    shuffled.update(updates[*earlier].clone());
                }
            }
            shuffled.update(updates[*i].clone());
        }
        prop_assert_eq!(straight.given(), shuffled.given());
    }
}

#[test]
fn a_pod_with_a_gate_is_a_target_before_it_is_ready() {
    use crate::state::records::{PodRecord, WaitingEndpoint};
    let wants = Wants { endpoints: EndpointDetail::Addresses, pod_gates: Some("g/"), ..Wants::default() };
    let mut index = index_with(wants, true).with_references(Arc::new(|_, _| causeway_api::References {
        endpoints: true,
        ..causeway_api::References::default()
    }));
    apply(&mut index, service("a"));
    let condition = |status| causeway_api::Condition {
        kind: "g/x".into(),
        status,
        reason: String::new(),
        message: String::new(),
    };
    let pod = |containers_ready, open| PodRecord {
        path: path("p"),
        uid: "1".into(),
        version: "1".into(),
        deleting: false,
        labels: Arc::new([("app".to_owned(), "web".to_owned())].into()),
        containers_ready,
        gates: [("g/x".to_owned(), Some(condition(open)))].into(),
    };
    let addresses = |index: &Index| {
        let lb = index.snapshot(&key("a")).lb;
        lb.members[0].service().map(|s| s.endpoints.ready.len()).unwrap_or_default()
    };
    let put = |index: &mut Index, pod| index.update(Update::Pod(Delta::Apply(pod)));
    let keys = |index: &Index| index.gated()[0].keys.clone();

    assert!(put(&mut index, pod(true, false)).pods);
    assert_eq!(keys(&index), None, "its Service selects it, and has no endpoint of it yet");
    let slice = SliceRecord {
        path: path("a-1"),
        service: "a".into(),
        by_node: BTreeMap::new(),
        ready: Vec::new(),
        ports: vec![("tcp-80".into(), 8080)],
        waiting: vec![WaitingEndpoint {
            address: "10.1.0.1".parse().expect("an address"),
            node: Arc::from("n1"),
            pod: "p".into(),
        }],
    };
    index.update(Update::Slice(Delta::Apply(slice)));
    assert_eq!(addresses(&index), 1);
    assert_eq!(keys(&index), Some([key("a")].into()));
    assert_eq!(index.gated()[0].addresses.len(), 1);

    assert!(put(&mut index, pod(true, true)).dirty.is_empty(), "that its gate is open changes no target");
    assert_eq!(addresses(&index), 1);
    assert_eq!(put(&mut index, pod(false, true)).dirty, [(key("a"), Cause::Endpoints)]);
    assert_eq!(addresses(&index), 0, "its containers are not ready");
    put(&mut index, pod(true, false));
    assert_eq!(addresses(&index), 1);
    index.update(Update::Service(Delta::Delete(path("a"))));
    assert_eq!(keys(&index), Some([].into()), "nobody has it as a target any more");
    assert!(index.update(Update::Pod(Delta::Delete(path("p")))).pods);
    assert!(index.gated().is_empty());
}
