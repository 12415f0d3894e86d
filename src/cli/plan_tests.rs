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
    let mut output =
        runtime.block_on(offline(provider, settings, objects, &Default::default())).expect("offline");
    output.errors.extend(errors);
    output.sorted()
}

fn settings() -> OfflineSettings {
    OfflineSettings {
        classes: ClassRules { classes: vec![], own_classless: true },
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
    let classes = ClassRules { classes: vec!["a.example/b".to_owned()], own_classless };
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
    let mut output = runtime.block_on(offline(provider, &settings(), objects, &())).expect("offline");
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
