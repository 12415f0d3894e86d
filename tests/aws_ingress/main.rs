//! Golden cases of Ingresses on AWS: objects and inventory in, stacks and problems out, through the index, translation, provider and linter as in
//! `causeway plan -f`.
//!
//! `cases.yaml` holds the cases, one after another, each behind a line `# case: NAME`; further lines of comment may set `compat` and `options`. All share
//! `cluster.yaml` and `inventory.yaml`.

#![cfg(feature = "aws")]

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway::cli::documents;
use causeway::cli::plan::{OfflineSettings, PlanOutput, offline};
use causeway::translate::{ClassRules, ClusterHealth};
use causeway_aws::options::Compat;
use causeway_aws::{Aws, Inventory, Overrides};
use serde_json::{Value, json};

const CLUSTER: &str = include_str!("cluster.yaml");
const INVENTORY: &str = include_str!("inventory.yaml");
const CASES: &str = include_str!("cases.yaml");

struct Case<'a> {
    name: &'a str,
    text: &'a str,
    lbc: bool,
    options: BTreeMap<String, Value>,
}

fn cases() -> Vec<Case<'static>> {
    let blocks = CASES.split("# case: ").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let (name, text) = block.split_once('\n').expect("a name and a body");
            let setting = |key: &str| {
                text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: "))).map(str::to_owned)
            };
            let options =
                setting("options").map(|o| serde_saphyr::from_str(&o).expect("options")).unwrap_or_default();
            Case { name: name.trim(), text, lbc: setting("compat").as_deref() == Some("lbc"), options }
        })
        .collect()
}

fn plan(documents: &str, lbc: bool, options: &BTreeMap<String, Value>) -> PlanOutput {
    let mut inventory: Value = serde_saphyr::from_str(INVENTORY).expect("an inventory");
    inventory["options"] = json!(options);
    let inventory: Inventory = serde_json::from_value(inventory).expect("an inventory");
    let provider = Aws::offline(Overrides { compat: lbc.then_some(Compat::Lbc), ..Overrides::default() });
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
        .block_on(offline(Arc::new(provider), &settings, objects, &inventory, &mut |_| ()))
        .expect("offline");
    output.errors.extend(errors);
    output.sorted()
}

fn plan_case(case: &Case<'_>) -> PlanOutput {
    plan(case.text, case.lbc, &case.options)
}

#[test]
fn cases_as_json() {
    for case in cases() {
        let output = plan_case(&case);
        let refused: Vec<_> = output.errors.iter().filter(|e| e.reason == "PlanRefused").collect();
        assert!(refused.is_empty(), "{}: {refused:?}", case.name);
        insta::assert_json_snapshot!(case.name, json!({ "stacks": output.stacks, "errors": output.errors }));
    }
}

#[test]
fn there_are_enough_cases_and_no_name_twice() {
    let mut names: Vec<&str> = cases().iter().map(|case| case.name).collect();
    assert!(names.len() >= 40, "{}", names.len());
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
        let got = plan(&documents.join("\n---\n"), case.lbc, &case.options);
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
    for case in cases() {
        for stack in plan_case(&case).stacks {
            let mut found = Vec::new();
            walk(&json!(stack.resources), &mut found);
            for path in found.iter().filter_map(|p| p.strip_prefix("#/resources/")) {
                let (kind, rest) = path.split_once('/').expect("a type");
                let (id, _) = rest.rsplit_once("/status/").expect("a field");
                let there = stack.resources.get(kind).is_some_and(|all| all.contains_key(id));
                assert!(there, "{}: {path}", case.name);
            }
        }
    }
}

#[test]
fn secrets_are_never_shown() {
    let case = cases().into_iter().find(|case| case.name == "oidc").expect("the case");
    let text = format!("{:?}", plan_case(&case));
    assert!(text.contains("REDACTED") && !text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
}
