//! Golden tests of `causeway plan --cloud-provider=openstack`: one file for each case, run from the command line's text to the printed plan.
//!
//! A file begins with what is expected, reasoned from the rules and not from the output; the whole output is compared with a snapshot besides:
//! ```text
//! # What the case is about.
//! #: option LoadBalancer.lb-provider=ovn         an option of the inventory
//! #: class dmz subnet-id=x …                     a class of load balancers
//! #: with GET /v2.0/… JSON                       an answer of the inventory is another
//! #: without GET /v2.0/…                         it is not there
//! #= errors 0                                    number of errors
//! #= error "Service shop/web" InvalidAnnotation  an error of this object with this reason, among others
//! #= Listener TCP-80 spec.protocol "TCP"         type, id, path and value; "-" for what must be absent
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use causeway_openstack::Inventory;
use rstest::rstest;
use serde_json::{Value, json};

use super::args::OutputFormat;
use super::config::validate;
use super::golden::{complaints, count, plan};
use super::plan::render;
use super::read;

const INVENTORY: &str = include_str!("../../providers/openstack/src/fixtures/inventory.yaml");

/// The inventory of the tests with the changes of a case, in a file.
fn inventory<'a>(changes: impl Iterator<Item = &'a str>) -> tempfile::NamedTempFile {
    let mut inventory: Value = serde_saphyr::from_str(INVENTORY).expect("the inventory of the tests");
    for change in changes {
        let (what, rest) = change.split_once(' ').expect("a change and its subject");
        match what {
            "option" => {
                let (name, value) = rest.split_once('=').expect("SECTION.NAME=VALUE");
                let (section, key) = name.split_once('.').expect("SECTION.NAME");
                inventory["options"][section][key] = json!(value);
            }
            "class" => {
                let mut words = rest.split(' ');
                let section = format!("LoadBalancerClass \"{}\"", words.next().expect("a name"));
                for word in words {
                    let (key, value) = word.split_once('=').expect("NAME=VALUE");
                    inventory["options"][&section][key] = json!(value);
                }
            }
            "with" => {
                let (path, answer) = rest.split_once(" {").expect("PATH JSON");
                inventory["openstack"][path] = serde_json::from_str(&format!("{{{answer}")).expect("JSON");
            }
            "without" => {
                let removed = inventory["openstack"].as_object_mut().expect("answers").remove(rest);
                assert!(removed.is_some(), "{rest}");
            }
            other => panic!("{other}"),
        }
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    serde_json::to_writer(file.as_file(), &inventory).expect("written");
    file
}

fn kind(short: &str) -> String {
    match short {
        "FloatingIP" | "SecurityGroup" | "SecurityGroupRule" => format!("OS::Neutron::{short}"),
        "Secret" => "OS::Barbican::Secret".to_owned(),
        other => format!("OS::Octavia::{other}"),
    }
}

#[rstest]
fn cases(#[files("src/cli/openstack_tests/*.yaml")] path: PathBuf) {
    let text = std::fs::read_to_string(&path).expect("the case");
    let lines = |mark: &'static str| text.lines().filter_map(move |line| line.strip_prefix(mark));
    let inventory = inventory(lines("#: "));
    let nodes = Path::new("src/cli/openstack_tests/nodes.yml");
    let output = plan("openstack", &[&path, nodes], Some(inventory.path()), &[]);
    assert_eq!(complaints(&output, &text, kind), Vec::<String>::new());
    let name = path.file_stem().and_then(|s| s.to_str()).expect("a name");
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "openstack_tests/snapshots", omit_expression => true }, {
        insta::assert_snapshot!(name, render(&output, OutputFormat::Json));
    });
}

#[test]
fn there_are_enough_cases() {
    let count = count("src/cli/openstack_tests");
    assert!(count >= 60, "{count}");
}

#[test]
fn a_plan_as_text_has_the_order_of_what_depends_on_what() {
    let inventory = inventory(["option LoadBalancer.manage-security-groups=true"].into_iter());
    let case = Path::new("src/cli/openstack_tests/01-plain.yaml");
    let output = plan(
        "openstack",
        &[case, Path::new("src/cli/openstack_tests/nodes.yml")],
        Some(inventory.path()),
        &[],
    );
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "openstack_tests/snapshots", omit_expression => true }, {
        insta::assert_snapshot!("text", render(&output, OutputFormat::Text));
    });
}

#[test]
fn without_an_inventory_it_is_said_what_is_needed() {
    let output = plan("openstack", &[Path::new("src/cli/openstack_tests/01-plain.yaml")], None, &[]);
    let said: Vec<(&str, &str)> =
        output.errors.iter().map(|e| (e.object.as_str(), e.field.as_str())).collect();
    assert!(said.contains(&("Inventory openstack", "cluster.id")), "{said:?}");
    assert!(output.changes.is_empty());
}

#[test]
fn a_controller_takes_a_configuration_of_the_cloud() {
    let argv =
        ["causeway", "controller", "--cloud-provider=openstack", "--cloud-config=/etc/causeway/cloud.conf"];
    let arguments = read::arguments(argv.map(OsString::from), |_| Ok(String::new())).expect("arguments");
    assert!(validate(arguments).is_ok());
}

/// The page shows an inventory and objects; whoever copies them gets a plan without errors.
#[test]
fn the_example_of_the_page_works() {
    let page = std::fs::read_to_string("docs/openstack.md").expect("the page");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (inventories, objects): (Vec<&str>, Vec<&str>) = blocks.partition(|b| b.contains("kind: Inventory"));
    let file = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    };
    let (inventory, objects) = (file(inventories[0]), file(&objects.join("---\n")));
    let output = plan("openstack", &[objects.path()], Some(inventory.path()), &[]);
    assert_eq!((output.errors, output.stacks.len()), (vec![], 1));
    assert_eq!(output.stacks[0].resources["OS::Octavia::Listener"].len(), 2);
    let inventory: Inventory = serde_saphyr::from_str(inventories[0]).expect("an inventory");
    let page_names_all =
        causeway_openstack::inventory::PATHS.iter().all(|path| page.contains(&format!("`{path}`")));
    assert!(page_names_all && !inventory.cluster.id.is_empty());
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
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{i}, namespace: shop, uid: u{i}}}\nspec:\n  type: LoadBalancer\n  \
             ports: [{{port: 80, nodePort: {}}}]\n",
            30000 + i
        );
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let inventory = inventory(std::iter::empty());
    let begun = std::time::Instant::now();
    let output = plan(
        "openstack",
        &[file.path(), Path::new("src/cli/openstack_tests/nodes.yml")],
        Some(inventory.path()),
        &[],
    );
    assert_eq!((output.stacks.len(), output.errors.len()), (2000, 0));
    // Without optimisation and on a busy machine; what grows with the square would take minutes.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
