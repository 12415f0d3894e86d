//! Golden cases of Ingresses on OpenStack: objects and inventory in, stacks and problems out, through the index, translation, provider and linter as in
//! `causeway plan -f`.
//!
//! `cases.yaml` holds the cases, one after another, each behind a line `# case: NAME`; further lines of comment may set `options` of `[LoadBalancer]`, or
//! have an answer left out (`without: PATH`) or be another (`with: PATH JSON`). All share `cluster.yaml`, and the inventory of the provider's own tests.

#![cfg(feature = "openstack")]

use std::sync::Arc;

use causeway::cli::documents;
use causeway::cli::plan::{OfflineSettings, PlanOutput, offline};
use causeway::translate::{ClassRules, ClusterHealth};
use causeway_openstack::{Inventory, OpenStack, Overrides};
use serde_json::{Value, json};

const CLUSTER: &str = include_str!("cluster.yaml");
const INVENTORY: &str = include_str!("../../providers/openstack/src/fixtures/inventory.yaml");
const CASES: &str = include_str!("cases.yaml");

struct Case<'a> {
    name: &'a str,
    text: &'a str,
}

fn cases() -> Vec<Case<'static>> {
    let blocks = CASES.split("# case: ").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let (name, text) = block.split_once('\n').expect("a name and a body");
            Case { name: name.trim(), text }
        })
        .collect()
}

fn inventory(text: &str) -> Inventory {
    let mut inventory: Value = serde_saphyr::from_str(INVENTORY).expect("an inventory");
    let setting = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
    if let Some(options) = setting("options") {
        inventory["options"]["LoadBalancer"] = serde_saphyr::from_str(options).expect("options");
    }
    if let Some(path) = setting("without") {
        inventory["openstack"].as_object_mut().expect("answers").remove(path).expect("an answer");
    }
    if let Some(with) = setting("with") {
        let (path, answer) = with.split_once(" {").expect("PATH JSON");
        inventory["openstack"][path] = serde_json::from_str(&format!("{{{answer}")).expect("JSON");
    }
    serde_json::from_value(inventory).expect("an inventory")
}

fn plan(documents: &str, inventory: &Inventory) -> PlanOutput {
    let provider = OpenStack::offline(Overrides::default());
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for (name, text) in [("cluster.yaml", CLUSTER), ("case.yaml", documents)] {
        let (found, wrong) = documents::objects(name, text);
        objects.extend(found);
        errors.extend(wrong);
    }
    let settings = OfflineSettings {
        classes: ClassRules::default(),
        cluster_health: ClusterHealth::KubeProxy,
        config_namespace: "kube-system".to_owned(),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O or clock");
    let mut output = runtime
        .block_on(offline(Arc::new(provider), &settings, objects, inventory, &mut |_| ()))
        .expect("offline");
    output.errors.extend(errors);
    output.sorted()
}

fn plan_case(case: &Case<'_>) -> PlanOutput {
    plan(case.text, &inventory(case.text))
}

#[test]
fn cases_as_json() {
    for case in cases() {
        let output = plan_case(&case);
        let refused: Vec<_> = output.errors.iter().filter(|e| e.reason == "PlanRefused").collect();
        assert!(refused.is_empty(), "{}: {refused:?}", case.name);
        assert!(
            output.errors.iter().all(|e| !e.field.is_empty() && e.message.len() > 20),
            "{:?}",
            output.errors
        );
        insta::assert_json_snapshot!(case.name, json!({ "stacks": output.stacks, "errors": output.errors }));
    }
}

#[test]
fn there_are_enough_cases_and_no_name_twice() {
    let mut names: Vec<&str> = cases().iter().map(|case| case.name).collect();
    assert!(names.len() >= 25, "{}", names.len());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases().len());
}

#[test]
fn the_order_of_objects_does_not_matter() {
    for case in cases() {
        let want = plan_case(&case);
        let mut documents: Vec<&str> = case.text.split("\n---\n").collect();
        documents.reverse();
        let got = plan(&documents.join("\n---\n"), &inventory(case.text));
        assert_eq!(got, want, "{}", case.name);
    }
}

/// Everything that a stack refers to is there.
#[test]
fn references_lead_somewhere() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let mut count = 0;
    for case in cases() {
        for stack in plan_case(&case).stacks {
            let mut found = Vec::new();
            walk(&json!(stack.resources), &mut found);
            for path in found.iter().filter_map(|p| p.strip_prefix("#/resources/")) {
                let (kind, rest) = path.split_once('/').expect("a type");
                let (id, _) = rest.rsplit_once('/').expect("a field");
                let there = stack.resources.get(kind).is_some_and(|all| all.contains_key(id));
                assert!(there, "{}: {path}", case.name);
                count += 1;
            }
        }
    }
    assert!(count > 100, "{count}");
}

/// One call makes a load balancer with everything, whatever it holds.
#[test]
fn a_load_balancer_is_made_by_one_post() {
    for case in cases() {
        let output = plan_case(&case);
        for stack in &output.stacks {
            let octavia = |c: &&causeway::cli::plan::PlanChange| {
                c.stack == stack.id
                    && c.info.target.kind.starts_with("OS::Octavia::")
                    && c.info.verb == causeway_api::Verb::Create
            };
            let count = output.changes.iter().filter(octavia).count();
            assert!(count <= 1, "{}: {count}", case.name);
        }
    }
}

#[test]
fn secrets_are_never_shown() {
    let case = cases().into_iter().find(|case| case.name == "tls").expect("the case");
    let text = format!("{:?}", plan_case(&case));
    assert!(text.contains("PKCS#12 of Secret shop/shop-tls") && !text.contains("a2V5LW9mLXNob3A"), "{text}");
}
