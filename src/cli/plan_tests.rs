//! Golden tests of `causeway plan` with the model cloud.

use causeway_model::{InMemory, Model, Options};
use rstest::rstest;

use super::*;
use crate::cli::documents;

fn plan_with(settings: &OfflineSettings, files: &[(&str, &str)]) -> PlanOutput {
    let provider = Arc::new(Model::new(InMemory::default(), Options::new("")));
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for (name, text) in files {
        let (found, wrong) = documents::objects(name, text);
        objects.extend(found);
        errors.extend(wrong);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O or clock");
    let mut output = runtime
        .block_on(offline(provider, settings, objects, &Default::default(), &mut |_| ()))
        .expect("offline");
    output.errors.extend(errors);
    output.sorted()
}

fn settings() -> OfflineSettings {
    OfflineSettings {
        classes: ClassRules { own_classless: true, ..ClassRules::default() },
        cluster_health: ClusterHealth::KubeProxy,
        config_namespace: "metallb-system".to_owned(),
    }
}

fn plan(files: &[(&str, &str)]) -> PlanOutput {
    plan_with(&settings(), files)
}

const CLUSTER: &str = include_str!("plan_tests/cluster.yaml");
const BAD: &str = include_str!("plan_tests/bad.yaml");

#[test]
fn a_cluster_as_json() {
    insta::assert_snapshot!("cluster_json", render(&plan(&[("cluster.yaml", CLUSTER)]), OutputFormat::Json));
}

#[test]
fn a_cluster_as_text() {
    insta::assert_snapshot!("cluster_text", render(&plan(&[("cluster.yaml", CLUSTER)]), OutputFormat::Text));
}

#[test]
fn one_bad_object_spares_the_others() {
    let good = plan(&[("cluster.yaml", CLUSTER)]);
    let output = plan(&[("bad.yaml", BAD), ("cluster.yaml", CLUSTER)]);
    assert_eq!(output.exit_status(), 2);
    for stack in &good.stacks {
        assert!(output.stacks.contains(stack), "{} changed", stack.id);
    }
    insta::assert_snapshot!("bad_text", render(&output, OutputFormat::Text));
}

#[test]
fn the_order_of_documents_does_not_matter() {
    let mut documents: Vec<&str> = CLUSTER.split("\n---\n").collect();
    let want = render(&plan(&[("f", CLUSTER)]), OutputFormat::Json);
    for _ in 0..documents.len() {
        documents.rotate_left(1);
        assert_eq!(render(&plan(&[("f", &documents.join("\n---\n"))]), OutputFormat::Json), want);
    }
    documents.reverse();
    assert_eq!(render(&plan(&[("f", &documents.join("\n---\n"))]), OutputFormat::Json), want);
}

#[test]
fn the_envelope_has_exactly_these_keys() {
    let json: serde_json::Value =
        serde_json::from_str(&render(&plan(&[("b", BAD), ("c", CLUSTER)]), OutputFormat::Json))
            .expect("JSON");
    let keys = |v: &serde_json::Value| {
        v.as_object().expect("an object").keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    let set = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
    assert_eq!(keys(&json), set(&["stacks", "changes", "errors"]));
    assert_eq!(keys(&json["stacks"][0]), set(&["id", "resources"]));
    assert_eq!(keys(&json["errors"][0]), set(&["object", "field", "reason", "message"]));
    for stack in json["stacks"].as_array().expect("a list") {
        for resources in stack["resources"].as_object().expect("types").values() {
            for resource in resources.as_object().expect("ids").values() {
                assert!(resource.get("spec").is_some(), "{resource}");
            }
        }
    }
}

#[test]
fn nothing_asked_for() {
    let output = plan(&[]);
    assert_eq!((output.exit_status(), output.stacks.len()), (0, 0));
    assert_eq!(render(&output, OutputFormat::Text), "No load balancer is asked for.\n\nNothing to change.\n");
    assert_eq!(
        render(&output, OutputFormat::Json),
        "{\n  \"stacks\": [],\n  \"changes\": [],\n  \"errors\": []\n}\n"
    );
}

const WEB: &str = "apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ports: [{port: 80, nodePort: 30080}]}
";

#[rstest]
#[case::classless(WEB, true, 1)]
#[case::classless_not_ours(WEB, false, 0)]
#[case::class(&WEB.replace("type:", "loadBalancerClass: a.example/b, type:"), false, 1)]
#[case::foreign_class(&WEB.replace("type:", "loadBalancerClass: x.example/y, type:"), true, 0)]
#[case::cluster_ip(&WEB.replace("LoadBalancer", "ClusterIP"), true, 0)]
fn only_what_is_ours(#[case] yaml: &str, #[case] own_classless: bool, #[case] stacks: usize) {
    let classes =
        ClassRules { classes: vec!["a.example/b".to_owned()], own_classless, ..ClassRules::default() };
    let output = plan_with(&OfflineSettings { classes, ..settings() }, &[("f", yaml)]);
    assert_eq!((output.stacks.len(), output.errors), (stacks, vec![]));
}

#[test]
fn a_paused_object_is_shown_but_not_changed() {
    let yaml = WEB.replace("{name: web}", "{name: web, annotations: {causeway.io/paused: 'true'}}");
    let output = plan(&[("f", &yaml)]);
    assert_eq!((output.stacks.len(), output.changes.len()), (1, 0));
    assert!(!plan(&[("f", WEB)]).changes.is_empty());
}

#[test]
fn a_service_on_its_way_out_is_not_asked_for() {
    let yaml = WEB.replace(
        "{name: web}",
        "{name: web, deletionTimestamp: '2026-01-02T03:04:05Z', finalizers: [service.kubernetes.io/load-balancer-cleanup]}",
    );
    assert_eq!(plan(&[("f", &yaml)]), PlanOutput::default());
}

#[test]
fn an_object_given_twice_is_said() {
    let (_, service) = WEB.split_once("---\n").expect("two documents");
    let second = service.replace("80", "81");
    let output = plan(&[("f", WEB), ("g", &second)]);
    assert_eq!(output.errors.len(), 1);
    assert_eq!(
        (output.errors[0].object.as_str(), output.errors[0].reason.as_str()),
        ("Service default/web", "GivenTwice")
    );
    let alone = plan(&[("f", &WEB.replace("80", "81"))]);
    assert_eq!(output.stacks, alone.stacks, "the last one counts, as with kubectl apply");
}

#[cfg(feature = "metal")]
#[test]
fn metal_from_files() {
    let (objects, errors) = documents::objects("metal.yaml", include_str!("plan_tests/metal.yaml"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let provider = Arc::new(causeway_metal::Metal::default());
    let mut output =
        runtime.block_on(offline(provider, &settings(), objects, &(), &mut |_| ())).expect("offline");
    output.errors.extend(errors);
    insta::assert_snapshot!("metal_text", render(&output.sorted(), OutputFormat::Text));
}

#[test]
fn a_plan_that_the_linter_refuses_is_an_error() {
    use causeway_api::{LbKey, LintContext, LoadBalancer, Mark, ObjectRef, Plan, Target};

    #[derive(Clone, Debug, PartialEq, Serialize)]
    struct Touch;
    impl PlannedChange for Touch {
        fn info(&self) -> ChangeInfo {
            ChangeInfo {
                verb: Verb::Delete,
                target: Target { kind: "Model::LoadBalancer".to_owned(), id: "lb".to_owned() },
                mark: Mark::Foreign,
                cascade: vec![],
                limits: vec![],
                default_action: None,
                summary: "delete somebody's load balancer".to_owned(),
            }
        }
    }
    #[derive(Clone, Debug, PartialEq)]
    struct Nothing;
    impl Stack for Nothing {
        fn resources(&self) -> Resources {
            Resources::new()
        }
    }
    let key = LbKey::object(causeway_api::Layer::L4, ObjectRef::service("a", "b", ""));
    let mut output = PlanOutput::default();
    let plan = Plan { changes: vec![Touch], problems: vec![], context: LintContext::default() };
    output.add(&LoadBalancer::unwanted(key), &Nothing, plan, vec![]);
    assert_eq!(output.exit_status(), 2);
    assert_eq!(output.errors[0].reason, "PlanRefused");
    assert!(output.errors[0].message.contains("our mark"), "{:?}", output.errors);
}

#[cfg(feature = "metal")]
mod who_announces {
    use super::*;
    use crate::cli::announcing::{Announcing, Now};

    const CLUSTER: &str = "
{apiVersion: v1, kind: Node, metadata: {name: node1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node2, labels: {LABEL: ''}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node3}}
---
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: lan, namespace: metallb-system}, spec: {addresses: [192.0.2.10-192.0.2.20]}}
---
{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: lan, namespace: metallb-system}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}},
 addressType: IPv4, endpoints: [{addresses: [10.0.0.1], nodeName: node1, conditions: {ready: READY}}], ports: [{port: 80}]}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: LoadBalancer, clusterIPs: [10.96.0.1], ports: [{port: 80}]},
 status: {loadBalancer: {ingress: [{ip: 192.0.2.10}]}}}
---
{apiVersion: metallb.io/v1beta1, kind: ServiceL2Status, metadata: {name: l2-x, namespace: metallb-system},
 status: {node: SAYS, serviceName: web, serviceNamespace: default}}
";

    fn plan(yaml: &str) -> PlanOutput {
        plan_with(yaml, Now::of_files)
    }

    fn plan_with(yaml: &str, now: impl Fn(&[Parsed]) -> Now) -> PlanOutput {
        let (objects, errors) = documents::objects("f.yaml", yaml);
        assert_eq!(errors, vec![]);
        let mut announcing = Announcing::new(settings().classes);
        let now = now(&objects);
        let provider = Arc::new(causeway_metal::Metal::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut output = runtime
            .block_on(offline(provider, &settings(), objects, &(), &mut |u| announcing.see(u)))
            .expect("offline");
        announcing.amend(&mut output, &now);
        output.sorted()
    }

    // By SHA-256 of node and address: node2, node1, node3; see the tests of the election.
    #[rstest]
    #[case::as_metallb_has_it("node2", "other", "true", &[])]
    #[case::elsewhere("node3", "other", "true",
        &["announce 192.0.2.10 from node2 instead of node3: by preferences and the hash of node and address the other one comes first"])]
    #[case::excluded("node2", "node.kubernetes.io/exclude-from-external-load-balancers", "true",
        &["announce 192.0.2.10 from node1 instead of node2: the Node is labelled node.kubernetes.io/exclude-from-external-load-balancers"])]
    #[case::no_endpoint("node2", "other", "false",
        &["announce 192.0.2.10 from no node any more, now from node2: the Service has no usable endpoint"])]
    fn what_differs_is_said_with_its_reason(
        #[case] says: &str,
        #[case] label: &str,
        #[case] ready: &str,
        #[case] expected: &[&str],
    ) {
        let output = plan(&CLUSTER.replace("SAYS", says).replace("LABEL", label).replace("READY", ready));
        let changes: Vec<&str> = output.changes.iter().map(|c| c.info.summary.as_str()).collect();
        assert_eq!(changes, expected);
        let resources = &output.stacks[0].resources;
        assert_eq!(resources.contains_key("Metal::Announcement"), ready == "true", "{resources:?}");
    }

    #[test]
    fn without_status_objects_nothing_is_compared() {
        let (cluster, _) = CLUSTER.rsplit_once("---").expect("documents");
        let cluster = cluster.replace("LABEL", "other").replace("READY", "true");
        let output = plan(&cluster);
        assert_eq!(output.changes, vec![]);
        let node = &output.stacks[0].resources["Metal::Announcement"]["default/web"]["spec"]["node"];
        assert_eq!(node, "node2");
    }

    #[test]
    fn a_service_that_moves_is_announced_under_its_new_address() {
        let yaml = CLUSTER
            .replace("SAYS", "node2")
            .replace("LABEL", "other")
            .replace("READY", "true")
            .replace("spec: {type: LoadBalancer,", "spec: {type: LoadBalancer, loadBalancerIP: 192.0.2.11,");
        let output = plan(&yaml);
        let text = render(&output, OutputFormat::Text);
        assert!(
            text.contains("assign 192.0.2.11 of pool lan to Service default/web instead of 192.0.2.10"),
            "{text}"
        );
        assert!(text.contains("announce 192.0.2.11 from node"), "{text}");
    }

    #[test]
    fn a_holder_of_ours_keeps_what_it_has() {
        use causeway_metal::candidates::LiveSet;
        let status = |kind: &str| {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status", "spec": {},
                "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": "x", "uid": "u"}]},
                "status": {"node": "node3", "serviceName": "web", "serviceNamespace": "default"},
            }))
            .expect("a status")
        };
        for (owner, changes) in [("Node", 0), ("Pod", 1)] {
            let now = Now::new(LiveSet::Everyone, Some(vec![status(owner)]));
            let yaml = CLUSTER.replace("LABEL", "other").replace("READY", "true");
            assert_eq!(plan_with(&yaml, |_| now.clone()).changes.len(), changes, "{owner}");
        }
    }
}
