use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::config::fields;

/// Loads from files in memory and these variables.
fn load_from(
    conf: Option<&str>,
    files: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> Result<(CloudConf, Vec<Problem>), Vec<Problem>> {
    let mut all: BTreeMap<&str, &str> = files.iter().copied().collect();
    if let Some(text) = conf {
        all.insert("/cloud.conf", text);
    }
    let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let read = |path: &Path| match all.get(path.to_str().unwrap_or_default()) {
        Some(text) => Ok((*text).to_owned()),
        None => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    load(&Sources { conf: conf.map(|_| Path::new("/cloud.conf")), variable: &variable, read: &read })
}

const GLOBAL: &str = "[Global]\nauth-url = https://k/v3\nuser-id = u\npassword = \"p w\"\ntenant-id = p\n";
const CLOUDS: &str = "clouds:\n  one:\n    auth: {auth_url: 'https://c/v3', user_id: cu, password: cp, project_id: cproj}\n    region_name: R1\n";

#[test]
fn a_file() {
    let text = format!(
        "{GLOBAL}region = R\n[LoadBalancer]\nlb-provider = ovn\n[LoadBalancerClass \"gold\"]\nsubnet-id=s\n[Metadata]\nrequest-timeout = 90s\n[BlockStorage]\nbs-version=v3\n"
    );
    let (conf, warnings) = load_from(Some(&text), &[], &[("OS_PASSWORD", "not this")]).expect("whole");
    assert_eq!(warnings, []);
    assert_eq!(conf.credentials.region.as_deref(), Some("R"));
    assert_eq!(conf.request_timeout, Some(Duration::from_secs(90)));
    assert!(
        matches!(&conf.credentials.identity, credentials::Identity::Password(_, p) if p.reveal() == "p w")
    );
    let headers: Vec<String> = conf.load_balancer().map(Section::header).collect();
    assert_eq!(headers, ["[LoadBalancer]", "[LoadBalancerClass \"gold\"]"]);
}

#[test]
fn options_are_handed_on_and_found_again() {
    let text = format!(
        "{GLOBAL}[loadbalancer]\nsubnet-id = a\ninternal-lb\n\n[LoadBalancer]\nsubnet-id = b\n[LOADBALANCERCLASS \"Gold\"]\nnetwork-id = n\n"
    );
    let (conf, _) = load_from(Some(&text), &[], &[]).expect("whole");
    let options = conf.options();
    assert_eq!(options.keys().collect::<Vec<_>>(), ["LoadBalancer", "LoadBalancerClass \"Gold\""]);
    assert_eq!(options["LoadBalancer"]["subnet-id"], ["a", "b"]);
    assert_eq!(options["LoadBalancer"]["internal-lb"], ["true"]);
    let line = |field: &str| conf.place(field).line;
    assert_eq!(line("[LoadBalancer] subnet-id"), 11);
    assert_eq!(line("[LoadBalancerClass \"Gold\"] network-id"), 13);
    assert_eq!(line("[LoadBalancerClass \"Gold\"] subnet-id"), 12, "at least the section");
    assert_eq!((line("[LoadBalancerClass \"Silver\"] subnet-id"), line("x")), (0, 0));
    assert_eq!(conf.place("[LoadBalancer] subnet-id").key, "[LoadBalancer] subnet-id");
}

#[rstest]
#[case("pasword", Some("password is meant"))]
#[case("authurl", Some("auth-url is meant"))]
#[case("frobnicate", Some("remove it"))]
fn unknown_keys_are_told(#[case] key: &str, #[case] words: Option<&str>) {
    let (_, warnings) = load_from(Some(&format!("{GLOBAL}{key} = hunter2\n")), &[], &[]).expect("whole");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].object.name, "/cloud.conf:6");
    assert_eq!(warnings[0].field, format!("[Global] {key}"));
    assert!(words.is_none_or(|w| warnings[0].message.contains(w)), "{warnings:?}");
    assert!(!format!("{warnings:?}").contains("hunter2"));
}

#[test]
fn unknown_sections_are_told() {
    let (_, warnings) = load_from(Some(&format!("{GLOBAL}[LoadBalancers]\n")), &[], &[]).expect("whole");
    assert_eq!((warnings.len(), warnings[0].field.as_str()), (1, "[LoadBalancers]"));
}

#[test]
fn every_key_of_the_table_is_taken() {
    for row in fields::FIELDS {
        for key in row.global {
            let file =
                gcfg::parse("f", &format!("[Global]\n{} = x y\n", key.to_uppercase())).expect("well-formed");
            let mut warnings = Vec::new();
            assert_eq!(global(&file, &mut warnings).text(row.field), Some("x y"), "{key}");
            assert_eq!(warnings, []);
        }
        for name in row.variables {
            let given = environment::read(|n| (n == *name).then(|| "x y".to_owned()));
            assert_eq!(given.text(row.field), Some("x y"), "{name}");
        }
        assert_eq!(fields::row(row.field).field, row.field);
        assert!(!row.doc.is_empty());
    }
}

#[test]
fn the_reference_page_has_a_row_for_each_field() {
    let page = fields::reference_markdown();
    assert_eq!(page.lines().count(), fields::FIELDS.len() + 2);
    assert!(page.contains("| `ca-file` | `cacert` | `OS_CACERT` | file with"), "{page}");
    assert!(page.lines().all(|line| line.matches(" | ").count() == 3 || line.starts_with("|---")), "{page}");
}

#[test]
fn the_first_name_of_several_counts() {
    for text in ["[Global]\ntenant-id=a\nproject-id=b", "[Global]\nproject-id=b\ntenant-id=a"] {
        let file = gcfg::parse("f", text).expect("well-formed");
        assert_eq!(global(&file, &mut Vec::new()).text(Field::ProjectId), Some("a"));
    }
}

#[rstest]
#[case::usual_place("/etc/openstack/clouds.yaml", "[Global]\nuse-clouds = true\n", &[])]
#[case::blank_switch("/etc/openstack/clouds.yml", "[Global]\nuse-clouds\n", &[])]
#[case::home("/home/u/.config/openstack/clouds.yaml", "[Global]\nuse-clouds=1\n", &[("HOME", "/home/u")])]
#[case::xdg("/x/openstack/clouds.yaml", "[Global]\nuse-clouds=1\n", &[("XDG_CONFIG_HOME", "/x")])]
#[case::here("./clouds.yaml", "[Global]\nuse-clouds=1\n", &[])]
#[case::said("/s/c.yaml", "[Global]\nuse-clouds=1\nclouds-file=/s/c.yaml\ncloud=one\n", &[])]
#[case::variable("/s/c.yaml", "[Global]\nuse-clouds=1\n", &[("OS_CLIENT_CONFIG_FILE", "/s/c.yaml"), ("OS_CLOUD", "one")])]
fn clouds_are_found(#[case] path: &str, #[case] conf: &str, #[case] variables: &[(&str, &str)]) {
    let (conf, warnings) = load_from(Some(conf), &[(path, CLOUDS)], variables).expect("whole");
    assert_eq!(warnings, []);
    assert_eq!(conf.credentials.auth_url.as_str(), "https://c/v3");
    assert_eq!(conf.credentials.region.as_deref(), Some("R1"));
}

#[test]
fn global_beats_clouds_and_secure_is_next_to_them() {
    let secure = "clouds: {one: {auth: {password: sp}}}";
    let files = [("/s/c.yaml", CLOUDS), ("/s/secure.yaml", secure)];
    let text = "[Global]\nuse-clouds=1\nclouds-file=/s/c.yaml\nregion=R2\n";
    let (conf, _) = load_from(Some(text), &files, &[]).expect("whole");
    assert_eq!(conf.credentials.region.as_deref(), Some("R2"));
    assert!(
        matches!(&conf.credentials.identity, credentials::Identity::Password(_, p) if p.reveal() == "sp")
    );
}

#[test]
fn without_global_the_environment() {
    let variables = [
        ("OS_AUTH_URL", "http://e/v3"),
        ("OS_USERNAME", "u"),
        ("OS_PASSWORD", "pw"),
        ("OS_PROJECT_NAME", "p"),
        ("OS_USER_DOMAIN_ID", "default"),
        ("OS_REGION_NAME", "RegionOne"),
    ];
    for conf in [None, Some("[LoadBalancer]\nlb-provider=amphora\n"), Some("[Global]\n")] {
        let (conf, _) = load_from(conf, &[], &variables).expect("whole");
        assert_eq!(conf.credentials.auth_url.as_str(), "http://e/v3");
        assert_eq!(conf.credentials.region.as_deref(), Some("RegionOne"));
    }
    let (conf, _) = load_from(
        None,
        &[("/etc/openstack/clouds.yaml", CLOUDS)],
        &[("OS_CLOUD", "one"), ("OS_REGION_NAME", "R9")],
    )
    .expect("whole");
    assert_eq!(
        (conf.credentials.auth_url.as_str(), conf.credentials.region.as_deref()),
        ("https://c/v3", Some("R9"))
    );
}

#[rstest]
#[case::nothing("", &[], "Keystone's URL is missing")]
#[case::syntax("[Global\n", &[], "not closed")]
#[case::timeout("[Global]\nauth-url=http://k\n[Metadata]\nrequest-timeout = 60\n", &[], "not a time")]
#[case::use_clouds("[Global]\nuse-clouds = perhaps\n", &[], "neither true nor false")]
#[case::no_clouds("[Global]\nuse-clouds = true\n", &[], "there is none")]
#[case::clouds_gone("[Global]\nuse-clouds = true\nclouds-file=/c.yaml\n", &[], "cannot be read")]
#[case::clouds_broken("[Global]\nuse-clouds = true\nclouds-file=/c.yaml\n", &[("/c.yaml", "{")], "not YAML")]
fn refused(#[case] conf: &str, #[case] files: &[(&str, &str)], #[case] words: &str) {
    let problems = load_from(Some(conf), files, &[]).expect_err("refused");
    assert!(problems.iter().any(|p| p.message.contains(words)), "{problems:?}");
}

#[test]
fn a_file_that_is_not_there() {
    let none = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let sources = Sources { conf: Some(Path::new("/gone")), variable: &|_| None, read: &none };
    let problems = load(&sources).expect_err("gone");
    assert_eq!(problems[0].object.name, "/gone");
    // One that is found and may not be read is not passed over.
    let denied = |path: &Path| match path.to_str() {
        Some("/c") => Ok("[Global]\nuse-clouds\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
    };
    let problems = load(&Sources { conf: Some(Path::new("/c")), variable: &|_| None, read: &denied })
        .expect_err("denied");
    assert!(problems[0].message.contains("the right to read"), "{problems:?}");
}

#[rstest]
#[case("0", Some(0))]
#[case("5s", Some(5000))]
#[case("500ms", Some(500))]
#[case("1m30s", Some(90_000))]
#[case("1.5h", Some(5_400_000))]
#[case("+2s", Some(2000))]
#[case(".5s", Some(500))]
#[case("60", None)]
#[case("", None)]
#[case("s", None)]
#[case("-5s", None)]
#[case("5 s", None)]
#[case("5d", None)]
#[case("1..5s", None)]
#[case("99999999999999999999h", None)]
fn durations(#[case] text: &str, #[case] milliseconds: Option<u64>) {
    assert_eq!(go_duration(text), milliseconds.map(Duration::from_millis));
}
