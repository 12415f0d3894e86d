use rstest::rstest;

use super::super::fields::Field;
use super::*;

fn text(text: &str) -> Option<Text<'_>> {
    Some(Text { name: "x.yaml", text })
}

const ONE: &str = "clouds:\n  main:\n    auth:\n      auth_url: https://k/v3\n      username: u\n      password: pw\n      project_id: 0123\n    region_name: R1\n    interface: internal\n    verify: false\n    identity_api_version: 3\n    networks: [{name: x}]\n";

#[test]
fn a_cloud() {
    let given = read(&Files { clouds: text(ONE), ..Files::default() }, None).expect("one cloud");
    assert_eq!(given.text(Field::AuthUrl), Some("https://k/v3"));
    assert_eq!(given.text(Field::ProjectId), Some("0123"), "texts stay as they are written");
    assert_eq!(given.text(Field::Region), Some("R1"));
    assert_eq!(given.text(Field::Interface), Some("internal"));
    assert_eq!(given.text(Field::Verify), Some("false"));
    let place = &given.get(Field::Password).expect("said").place;
    assert_eq!((place.file.as_str(), place.key.as_str()), ("x.yaml", "clouds.main: password"));
}

#[test]
fn secure_wins_and_profiles_fill() {
    let clouds =
        "clouds:\n  a:\n    profile: vendor\n    auth: {username: u, password: old}\n    region_name: R1\n";
    let secure = "clouds:\n  a:\n    auth:\n      password: new\n  b:\n    auth: {password: other}\n";
    let public = "public-clouds:\n  vendor:\n    auth: {auth_url: 'https://v/v3', username: nobody}\n    region_name: R0\n    cacert: /ca\n";
    let files = Files { clouds: text(clouds), secure: text(secure), public: text(public) };
    let given = read(&files, Some("a")).expect("there");
    assert_eq!(given.text(Field::Password), Some("new"));
    assert_eq!(given.text(Field::Username), Some("u"));
    assert_eq!(given.text(Field::AuthUrl), Some("https://v/v3"));
    assert_eq!(given.text(Field::Region), Some("R1"));
    assert_eq!(given.text(Field::CaFile), Some("/ca"));
    // The older word for the same.
    let files = Files { clouds: text("clouds: {a: {cloud: vendor}}"), ..files };
    assert_eq!(read(&files, Some("a")).expect("there").text(Field::AuthUrl), Some("https://v/v3"));
}

#[rstest]
#[case::none("", None, "no cloud")]
#[case::no_clouds("clouds: {}", None, "no cloud")]
#[case::several("clouds: {a: {}, b: {}}", None, "several clouds (a, b)")]
#[case::unknown("clouds: {a: {}, b: {}}", Some("c"), "say one of a, b")]
#[case::profile("clouds: {a: {profile: acme}}", Some("a"), "profile \"acme\"")]
#[case::not_yaml("clouds: {a: [", None, "not YAML")]
#[case::other_shape("- a", None, "not YAML")]
fn refused(#[case] clouds: &str, #[case] name: Option<&str>, #[case] words: &str) {
    let problems = read(&Files { clouds: text(clouds), ..Files::default() }, name).expect_err("refused");
    assert!(problems[0].message.contains(words), "{problems:?}");
}

#[test]
fn problems_tell_no_secret_and_the_line() {
    let broken = "clouds:\n  a:\n    auth:\n      password: [hunter2]\n";
    let problems = read(&Files { clouds: text(broken), ..Files::default() }, None).expect_err("a list");
    assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    assert_eq!(problems[0].object.name, "x.yaml:4");
}

#[test]
fn null_is_nothing() {
    let given = read(
        &Files {
            clouds: text("clouds:\n  a:\n    auth: ~\n    region_name: ~\n    cert: ''\n"),
            ..Files::default()
        },
        None,
    );
    assert_eq!(given.expect("one"), Given::default());
    assert!(
        read(&Files { clouds: text("clouds:\n  a:\n"), ..Files::default() }, None).expect("one").is_empty()
    );
}

#[test]
fn every_name_of_the_table_is_read() {
    for row in FIELDS {
        for name in row.auth {
            let yaml = format!("clouds: {{a: {{auth: {{{name}: 'x y'}}}}}}");
            let given = read(&Files { clouds: text(&yaml), ..Files::default() }, None).expect("one");
            assert_eq!(given.text(row.field), Some("x y"), "{name}");
        }
        for name in row.cloud {
            let yaml = format!("clouds: {{a: {{{name}: 'x y'}}}}");
            let given = read(&Files { clouds: text(&yaml), ..Files::default() }, None).expect("one");
            assert_eq!(given.text(row.field), Some("x y"), "{name}");
        }
    }
}
