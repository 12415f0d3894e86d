use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{ObjectRef, Severity};
use rstest::rstest;

use super::*;

fn read(scope: Scope, key: &str, text: &str) -> Settings {
    let annotations: BTreeMap<String, String> = [(key.to_owned(), text.to_owned())].into();
    Settings::read(scope, &ObjectRef::service("shop", "web", "uid"), &annotations)
}

#[test]
fn no_key_stands_twice_and_every_row_says_what_it_means() {
    for table in [service::TABLE, ingress::TABLE] {
        let keys: BTreeSet<&str> = table.iter().map(|a| a.key).collect();
        assert_eq!(keys.len(), table.len());
        assert!(table.iter().all(|a| a.doc.ends_with('.') && a.doc.len() > 15));
    }
}

#[rstest]
#[case(&service::INTERNAL, "yes", true)]
#[case(&service::PROXY_PROTOCOL, "v3", true)]
#[case(&service::METHOD, "RANDOM", false)]
#[case(&service::TIMEOUT_CLIENT_DATA, "-1", false)]
#[case(&service::CONNECTION_LIMIT, "-2", false)]
#[case(&service::MONITOR_RETRIES, "11", false)]
#[case(&service::TLS_CONTAINER, "secret-1", true)]
#[case(&service::HOSTNAME, "10.0.0.1", false)]
#[case(&service::HOSTNAME, "Shop.example", false)]
#[case(&service::NODE_SELECTOR, "=x", true)]
#[case(&service::FLOATING_SUBNET, "~(", true)]
#[case(&service::SUBNET, " ", true)]
#[case(&service::HEALTH_PATH, "healthz", false)]
#[case(&service::HEALTH_CODES, "204-200", false)]
#[case(&ingress::FLOATING_IP, "203.0.113", true)]
#[case(&ingress::SOURCE_RANGES, "10.0.0.0/33", true)]
fn wrong_values_say_what_to_write(
    #[case] annotation: &Annotation,
    #[case] text: &str,
    #[case] refused: bool,
) {
    let scope =
        if service::TABLE.iter().any(|a| a.key == annotation.key) { Scope::Service } else { Scope::Ingress };
    let settings = read(scope, annotation.key, text);
    assert_eq!(settings.refused, refused);
    assert_eq!(settings.text(annotation), None);
    let problem = &settings.problems[0];
    assert_eq!(problem.field, format!("metadata.annotations[{}]", annotation.key));
    assert_eq!(problem.reason, reasons::INVALID);
    assert_eq!(problem.severity == Severity::Error, refused);
    assert!(problem.message.len() > 30, "{}", problem.message);
}

#[rstest]
#[case(&service::INTERNAL, "T")]
#[case(&service::PROXY_PROTOCOL, "true")]
#[case(&service::PROXY_PROTOCOL, "v2")]
#[case(&service::METHOD, "least_connections")]
#[case(&service::CONNECTION_LIMIT, "-1")]
#[case(&service::NODE_SELECTOR, "pool=edge,gpu")]
#[case(&service::FLOATING_SUBNET, "!~public-.*")]
#[case(&service::HEALTH_CODES, "200,204")]
#[case(&service::HEALTH_CODES, "200-399")]
fn right_values_are_taken(#[case] annotation: &Annotation, #[case] text: &str) {
    let settings = read(Scope::Service, annotation.key, text);
    assert_eq!((settings.text(annotation), settings.problems.len()), (Some(text), 0));
}

#[test]
fn unknown_keys_of_our_prefixes_are_told_with_the_nearest_that_there_is() {
    let near = read(Scope::Service, "loadbalancer.openstack.org/subnet-ids", "x");
    assert!(
        near.problems[0].message.contains("loadbalancer.openstack.org/subnet-id?"),
        "{:?}",
        near.problems
    );
    let far = read(Scope::Ingress, "octavia.ingress.kubernetes.io/frobnicate-everything", "x");
    assert!(far.problems[0].message.contains("docs/openstack-annotations.md"));
    for quiet in ["loadbalancer.openstack.org/load-balancer-address", "example.com/x"] {
        assert!(read(Scope::Service, quiet, "x").problems.is_empty(), "{quiet}");
    }
}

#[test]
fn the_page_has_every_annotation() {
    let page = reference_markdown();
    for a in service::TABLE.iter().chain(ingress::TABLE) {
        assert!(page.contains(&format!("| `{}` |", a.key)), "{}", a.key);
    }
}
