use rstest::rstest;

use super::*;
use crate::config::credentials::{Interface, Tls};

pub(crate) fn credentials(identity: Identity, scope: Scope) -> Credentials {
    Credentials {
        auth_url: reqwest::Url::parse("http://k/v3").expect("a URL"),
        identity,
        scope,
        region: None,
        interface: Interface::Public,
        tls: Tls::default(),
    }
}

#[rstest]
#[case::password(
    Identity::Password(User::Id("u".into()), Secret::new("pw")),
    Scope::ProjectId("p".into()),
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"id": "u", "password": "pw"}}},
        "scope": {"project": {"id": "p"}}}}))]
#[case::names(
    Identity::Password(User::Named("n".into(), Domain::Name("d".into())), Secret::new("pw")),
    Scope::ProjectNamed("p".into(), Domain::Id("e".into())),
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"name": "n", "domain": {"name": "d"}, "password": "pw"}}},
        "scope": {"project": {"name": "p", "domain": {"id": "e"}}}}}))]
#[case::trust(
    Identity::Password(User::Id("u".into()), Secret::new("pw")),
    Scope::Trust("t".into()),
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {"id": "u", "password": "pw"}}},
        "scope": {"OS-TRUST:trust": {"id": "t"}}}}))]
#[case::token(
    Identity::Token(Secret::new("t")),
    Scope::Implied,
    json!({"auth": {"identity": {"methods": ["token"], "token": {"id": "t"}}}}))]
#[case::application_credential(
    Identity::ApplicationCredential(ApplicationCredential::Id("a".into()), Secret::new("s")),
    Scope::Implied,
    json!({"auth": {"identity": {
        "methods": ["application_credential"], "application_credential": {"id": "a", "secret": "s"}}}}))]
#[case::application_credential_by_name(
    Identity::ApplicationCredential(
        ApplicationCredential::Named("a".into(), User::Named("n".into(), Domain::Id("d".into()))), Secret::new("s")),
    Scope::Implied,
    json!({"auth": {"identity": {
        "methods": ["application_credential"],
        "application_credential": {"name": "a", "user": {"name": "n", "domain": {"id": "d"}}, "secret": "s"}}}}))]
fn bodies(#[case] identity: Identity, #[case] scope: Scope, #[case] expected: Value) {
    assert_eq!(body(&credentials(identity, scope)), expected);
}

#[test]
fn answers() {
    let answer = json!({"token": {
        "issued_at": "2026-11-20T10:00:00.000000Z", "expires_at": "2026-11-20T11:00:00.000000Z",
        "project": {"id": "p", "name": "k8s"}, "roles": [{"id": "r", "name": "member"}], "catalog": [], "methods": ["password"]}});
    let token = read(Some("secret"), answer.to_string().as_bytes()).expect("a token");
    assert_eq!((token.life, token.project.as_str()), (Some(Duration::from_secs(3600)), "p"));
    assert_eq!(token.roles, ["member"]);
    assert!(!format!("{token:?}").contains("\"secret\""), "{token:?}");
    let spare = json!({"token": {"catalog": [], "expires_at": null}});
    assert_eq!(read(Some("s"), spare.to_string().as_bytes()).expect("a token").life, None);
}

#[rstest]
#[case(None, "{\"token\": {\"catalog\": []}}", "no token")]
#[case(Some(""), "{\"token\": {\"catalog\": []}}", "no token")]
#[case(Some("x"), "<html>", "not one of its API")]
#[case(Some("x"), "{}", "not one of its API")]
#[case(Some("x"), "{\"token\": {}}", "no catalog")]
fn not_answers(#[case] header: Option<&str>, #[case] body: &str, #[case] words: &str) {
    let error = read(header, body.as_bytes()).expect_err("not a token");
    assert!(error.contains(words), "{error}");
}

#[rstest]
#[case(None, 1_000_000, Standing::Good)]
#[case(Some(60), 0, Standing::Good)]
#[case(Some(60), 53, Standing::Good)]
#[case(Some(60), 54, Standing::Late)]
#[case(Some(60), 59, Standing::Late)]
#[case(Some(60), 60, Standing::Ended)]
#[case(Some(86_400), 86_099, Standing::Good)]
#[case(Some(86_400), 86_100, Standing::Late)]
#[case(Some(0), 0, Standing::Ended)]
fn standings(#[case] life: Option<u64>, #[case] age: u64, #[case] expected: Standing) {
    assert_eq!(standing(life.map(Duration::from_secs), Duration::from_secs(age)), expected);
}
