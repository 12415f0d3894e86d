//! Golden tests of `causeway plan --cloud-provider=aws`: one file for each case, run from the command line's text to the printed plan.
//!
//! A file begins with what is expected, reasoned from the rules and not from the output; the whole output is compared with a snapshot besides:
//! ```text
//! # What the case is about.
//! #: --compat=lbc                                further flags
//! #: option default-target-type=ip               an option of the inventory
//! #= errors 0                                    number of errors
//! #= error "Service shop/web" InvalidAnnotation  an error of this object with this reason, among others
//! #= Listener 80 spec.protocol "TCP"             type, id, path and value; "-" for what must be absent
//! ```

use std::path::{Path, PathBuf};

use causeway_aws::Inventory;
use rstest::rstest;

use super::args::OutputFormat;
use super::golden::{complaints, count, plan};
use super::plan::render;

const INVENTORY: &str = include_str!("../../providers/aws/src/fixtures/inventory.yaml");

/// The inventory of the tests with further options, in a file.
fn inventory(options: &[&str]) -> tempfile::NamedTempFile {
    let mut inventory: Inventory = serde_saphyr::from_str(INVENTORY).expect("the inventory of the tests");
    inventory.options = Default::default();
    for option in options {
        let (name, text) = option.split_once('=').expect("NAME=VALUE");
        inventory.options.set(name, text).expect("an option");
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    serde_json::to_writer(file.as_file(), &inventory).expect("written");
    file
}

fn kind(short: &str) -> String {
    match short {
        "SecurityGroup" => "AWS::EC2::SecurityGroup".to_owned(),
        "TargetGroupBinding" => "K8S::ElasticLoadBalancingV2::TargetGroupBinding".to_owned(),
        other => format!("AWS::ElasticLoadBalancingV2::{other}"),
    }
}

#[rstest]
fn cases(#[files("src/cli/aws_tests/*.yaml")] path: PathBuf) {
    let text = std::fs::read_to_string(&path).expect("the case");
    let lines = |mark: &'static str| text.lines().filter_map(move |line| line.strip_prefix(mark));
    let options: Vec<&str> = lines("#: option ").collect();
    let flags: Vec<&str> =
        lines("#: ").filter(|l| !l.starts_with("option ")).flat_map(str::split_whitespace).collect();
    let inventory = inventory(&options);
    let nodes = Path::new("src/cli/aws_tests/nodes.yml");
    let output = plan("aws", &[&path, nodes], Some(inventory.path()), &flags);
    assert_eq!(complaints(&output, &text, kind), Vec::<String>::new());
    let name = path.file_stem().and_then(|s| s.to_str()).expect("a name");
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "aws_tests/snapshots", omit_expression => true }, {
        insta::assert_snapshot!(name, render(&output, OutputFormat::Json));
    });
}

#[test]
fn what_the_peer_does_better_is_nowhere_left_out() {
    let count = count("src/cli/aws_tests");
    assert!(count >= 40, "{count}");
}

#[test]
fn a_plan_as_text_has_the_order_of_what_depends_on_what() {
    let inventory = inventory(&[]);
    let case = Path::new("src/cli/aws_tests/01-plain.yaml");
    let output = plan("aws", &[case, Path::new("src/cli/aws_tests/nodes.yml")], Some(inventory.path()), &[]);
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "aws_tests/snapshots", omit_expression => true }, {
        insta::assert_snapshot!("text", render(&output, OutputFormat::Text));
    });
}

#[test]
fn without_an_inventory_it_is_said_what_is_needed() {
    let output = plan("aws", &[Path::new("src/cli/aws_tests/01-plain.yaml")], None, &[]);
    let said: Vec<(&str, &str)> =
        output.errors.iter().map(|e| (e.object.as_str(), e.field.as_str())).collect();
    assert!(said.contains(&("Inventory aws", "cluster.id")), "{said:?}");
    assert!(said.iter().any(|(object, _)| *object == "Service shop/web"), "{said:?}");
    assert!(output.changes.is_empty());
}

#[rstest]
#[case("kind: Inventory\napiVersion: v2\n", "apiVersion: causeway.io/v1")]
#[case("apiVersion: causeway.io/v1\nkind: Inventory\noptions: {frobnicate: 1}\n", "frobnicate")]
#[case("apiVersion: causeway.io/v1\nkind: Inventory\naws: {DescribeNothing: {}}\n", "DescribeNothing")]
#[case("apiVersion: causeway.io/v1\nkind: Inventory\ncluster: {nmae: x}\n", "nmae")]
#[case(
    "apiVersion: causeway.io/v1\nkind: Inventory\noptions: {default-target-type: pods}\n",
    "instance or ip"
)]
fn a_wrong_inventory_is_an_error_that_names_the_key(#[case] text: &str, #[case] says: &str) {
    let error = serde_saphyr::from_str::<Inventory>(text).expect_err("a wrong file").to_string();
    assert!(error.contains(says), "{error}");
}

/// The page shows an inventory and objects; whoever copies them gets a plan without errors.
#[test]
fn the_example_of_the_page_works() {
    let page = std::fs::read_to_string("docs/aws.md").expect("the page");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (inventories, objects): (Vec<&str>, Vec<&str>) = blocks.partition(|b| b.contains("kind: Inventory"));
    let file = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    };
    let (inventory, objects) = (file(inventories[0]), file(&objects.join("---\n")));
    let output = plan("aws", &[objects.path()], Some(inventory.path()), &[]);
    assert_eq!((output.errors, output.stacks.len()), (vec![], 1));
    assert_eq!(output.stacks[0].resources["AWS::ElasticLoadBalancingV2::Listener"].len(), 2);
}

/// A few thousand Services: each costs its own stack, not the cluster.
#[test]
fn many_services_are_planned_quickly() {
    use std::fmt::Write as _;
    use std::io::Write as _;
    let mut text = String::new();
    for i in 0..2000 {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{i}, namespace: shop, uid: u{i}}}\nspec:\n  type: LoadBalancer\n  loadBalancerClass: service.k8s.aws/nlb\n  \
             ports: [{{port: 80, nodePort: {}}}]\n",
            30000 + i
        );
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let inventory = inventory(&[]);
    let begun = std::time::Instant::now();
    let output =
        plan("aws", &[file.path(), Path::new("src/cli/aws_tests/nodes.yml")], Some(inventory.path()), &[]);
    assert_eq!((output.stacks.len(), output.errors.len()), (2000, 0));
    // Without optimisation and on a busy machine; what grows with the square would take minutes.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
