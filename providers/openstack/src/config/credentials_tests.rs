use rstest::rstest;

use super::super::fields::FIELDS;
use super::*;

fn no_files(_: &Path) -> io::Result<String> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

/// What `key=value` pairs of `[Global]`, and `clouds.yaml`'s own names, say.
fn given(pairs: &[(&str, &str)]) -> Given {
    let mut given = Given::default();
    for (key, value) in pairs {
        let row = FIELDS
            .iter()
            .find(|row| row.global.contains(key) || row.auth.contains(key) || row.cloud.contains(key))
            .expect("a known key");
        given.say(row.field, *value, Place { file: "f".to_owned(), line: 7, key: (*key).to_owned() });
    }
    given
}

fn resolved(pairs: &[(&str, &str)]) -> Result<Credentials, Vec<Problem>> {
    let mut all = vec![("auth-url", "https://k.example/v3")];
    all.extend(pairs);
    resolve(&given(&all), &Place::file("f"), &no_files)
}

fn id(text: &str) -> Domain {
    Domain::Id(text.to_owned())
}

fn name(text: &str) -> Domain {
    Domain::Name(text.to_owned())
}

fn named(user: &str, domain: Domain) -> User {
    User::Named(user.to_owned(), domain)
}

fn password(user: User) -> Identity {
    Identity::Password(user, Secret::new("pw"))
}

const BY_ID: &[(&str, &str)] = &[("user-id", "u"), ("password", "pw"), ("tenant-id", "p")];

#[rstest]
#[case::ids(BY_ID, password(User::Id("u".into())), Scope::ProjectId("p".into()))]
#[case::names_with_own_domains(
    &[("username", "u"), ("password", "pw"), ("user-domain-name", "ud"), ("tenant-name", "p"), ("tenant-domain-id", "pd")],
    password(named("u", name("ud"))), Scope::ProjectNamed("p".into(), id("pd")))]
#[case::one_domain(
    &[("username", "u"), ("password", "pw"), ("domain-name", "d"), ("tenant-name", "p")],
    password(named("u", name("d"))), Scope::ProjectNamed("p".into(), name("d")))]
#[case::one_domain_by_id(
    &[("username", "u"), ("password", "pw"), ("domain-id", "d"), ("tenant-name", "p")],
    password(named("u", id("d"))), Scope::ProjectNamed("p".into(), id("d")))]
#[case::own_domain_beats_common(
    &[("username", "u"), ("password", "pw"), ("domain-id", "d"), ("user-domain-id", "ud"), ("tenant-id", "p")],
    password(named("u", id("ud"))), Scope::ProjectId("p".into()))]
#[case::default_domain(
    &[("username", "u"), ("password", "pw"), ("default_domain", "d"), ("tenant-name", "p")],
    password(named("u", id("d"))), Scope::ProjectNamed("p".into(), id("d")))]
#[case::projects_domain_from_user(
    &[("username", "u"), ("password", "pw"), ("user-domain-id", "ud"), ("tenant-name", "p")],
    password(named("u", id("ud"))), Scope::ProjectNamed("p".into(), id("ud")))]
#[case::project_words(
    &[("username", "u"), ("password", "pw"), ("user-domain-id", "ud"), ("project-name", "p"), ("project-domain-name", "pd")],
    password(named("u", id("ud"))), Scope::ProjectNamed("p".into(), name("pd")))]
#[case::id_beats_name(
    &[("user-id", "u"), ("username", "n"), ("password", "pw"), ("tenant-id", "p"), ("tenant-name", "pn")],
    password(User::Id("u".into())), Scope::ProjectId("p".into()))]
#[case::trust(
    &[("user-id", "u"), ("password", "pw"), ("trust-id", "t")],
    password(User::Id("u".into())), Scope::Trust("t".into()))]
#[case::trust_with_trustee(
    &[("trustee-id", "te"), ("trustee-password", "pw"), ("trust-id", "t"), ("tenant-id", "p")],
    password(User::Id("te".into())), Scope::Trust("t".into()))]
#[case::trustee_without_trust(
    &[("trustee-id", "te"), ("trustee-password", "other"), ("user-id", "u"), ("password", "pw"), ("tenant-id", "p")],
    password(User::Id("u".into())), Scope::ProjectId("p".into()))]
#[case::application_credential(
    &[("application-credential-id", "a"), ("application-credential-secret", "s"), ("tenant-id", "p")],
    Identity::ApplicationCredential(ApplicationCredential::Id("a".into()), Secret::new("s")), Scope::Implied)]
#[case::application_credential_by_name(
    &[("application-credential-name", "a"), ("application-credential-secret", "s"), ("username", "u"), ("user-domain-id", "d")],
    Identity::ApplicationCredential(ApplicationCredential::Named("a".into(), named("u", id("d"))), Secret::new("s")),
    Scope::Implied)]
#[case::application_credential_beats_password(
    &[("application-credential-id", "a"), ("application-credential-secret", "s"), ("user-id", "u"), ("password", "pw")],
    Identity::ApplicationCredential(ApplicationCredential::Id("a".into()), Secret::new("s")), Scope::Implied)]
#[case::auth_type_beats_guess(
    &[("auth_type", "v3password"), ("application-credential-id", "a"), ("application-credential-secret", "s"),
      ("user-id", "u"), ("password", "pw"), ("tenant-id", "p")],
    password(User::Id("u".into())), Scope::ProjectId("p".into()))]
#[case::token(&[("token", "t")], Identity::Token(Secret::new("t")), Scope::Implied)]
#[case::token_of_project(
    &[("token", "t"), ("tenant-id", "p")], Identity::Token(Secret::new("t")), Scope::ProjectId("p".into()))]
#[case::password_beats_token(
    &[("token", "t"), ("user-id", "u"), ("password", "pw"), ("tenant-id", "p")],
    password(User::Id("u".into())), Scope::ProjectId("p".into()))]
fn who(#[case] pairs: &[(&str, &str)], #[case] identity: Identity, #[case] scope: Scope) {
    let credentials = resolved(pairs).expect("whole");
    assert_eq!(credentials.identity, identity);
    assert_eq!(credentials.scope, scope);
    assert_eq!((credentials.region, credentials.interface), (None, Interface::Public));
}

#[rstest]
#[case::nothing(&[], "the user is missing", "user-id or username in [Global], or OS_USER_ID or OS_USERNAME")]
#[case::no_domain(&[("username", "u"), ("password", "pw"), ("tenant-id", "p")], "together with a domain", "user-domain-id")]
#[case::no_password(&[("user-id", "u"), ("tenant-id", "p")], "the password is missing", "OS_PASSWORD")]
#[case::no_project(&[("user-id", "u"), ("password", "pw")], "the project in which", "tenant-id or tenant-name")]
#[case::no_projects_domain(&[("user-id", "u"), ("password", "pw"), ("tenant-name", "p")], "project's name", "tenant-domain-id")]
#[case::no_secret(&[("application-credential-id", "a")], "secret is missing", "application-credential-secret")]
#[case::no_credential(&[("application-credential-secret", "a")], "which application credential", "application-credential-id")]
#[case::credential_without_user(
    &[("application-credential-name", "a"), ("application-credential-secret", "s")], "the user is missing", "user-id")]
#[case::credential_and_trust(
    &[("application-credential-id", "a"), ("application-credential-secret", "s"), ("trust-id", "t")], "together with a trust", "remove")]
#[case::no_token(&[("auth_type", "token")], "token is missing", "OS_TOKEN")]
#[case::strange_type(&[("auth_type", "v3oidcpassword")], "is not served", "v3applicationcredential")]
#[case::interface(&[("user-id", "u"), ("password", "pw"), ("tenant-id", "p"), ("os-endpoint-type", "outer")], "interface", "internal")]
#[case::url(&[("auth-url", "keystone:5000"), ("user-id", "u"), ("password", "pw"), ("tenant-id", "p")], "not a URL", "https://")]
#[case::relative(&[("auth-url", "/v3"), ("user-id", "u"), ("password", "pw"), ("tenant-id", "p")], "not a URL", "https://")]
#[case::user_in_url(
    &[("auth-url", "http://a:hunter2@k/v3"), ("user-id", "u"), ("password", "pw"), ("tenant-id", "p")], "do not belong", "username")]
#[case::insecure(&[("user-id", "u"), ("password", "pw"), ("tenant-id", "p"), ("tls-insecure", "maybe")], "neither", "true")]
#[case::cert_alone(&[("user-id", "u"), ("password", "pw"), ("tenant-id", "p"), ("cert-file", "/c")], "of no use", "key-file")]
#[case::ca_missing(&[("user-id", "u"), ("password", "pw"), ("tenant-id", "p"), ("ca-file", "/c")], "/c cannot be read", "mount")]
fn refused(#[case] pairs: &[(&str, &str)], #[case] words: &str, #[case] remedy: &str) {
    let problems = resolved(pairs).expect_err("not whole");
    let found = problems.iter().any(|p| p.message.contains(words) && p.message.contains(remedy));
    assert!(found, "{problems:?}");
    assert!(!format!("{problems:?}").contains("hunter2"));
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let problems = resolve(&Given::default(), &Place::file("f"), &no_files).expect_err("nothing said");
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[rstest]
#[case("public", Interface::Public)]
#[case("publicURL", Interface::Public)]
#[case("internal", Interface::Internal)]
#[case("internalURL", Interface::Internal)]
#[case("admin", Interface::Admin)]
#[case("adminURL", Interface::Admin)]
fn interfaces(#[case] text: &str, #[case] expected: Interface) {
    let mut pairs = BY_ID.to_vec();
    pairs.push(("os-endpoint-type", text));
    assert_eq!(resolved(&pairs).expect("whole").interface, expected);
}

#[test]
fn certificates_are_read() {
    let read = |path: &Path| match path.to_str() {
        Some("/ca") => Ok("-----BEGIN CERTIFICATE-----".to_owned()),
        Some("/cert") => Ok("-----BEGIN CERTIFICATE----- ours".to_owned()),
        Some("/key") => Ok("-----BEGIN PRIVATE KEY----- hunter2".to_owned()),
        Some("/empty") => Ok(String::new()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let mut pairs = vec![("auth-url", "https://k")];
    pairs.extend(BY_ID);
    pairs.extend([("ca-file", "/ca"), ("cert-file", "/cert"), ("key-file", "/key"), ("verify", "false")]);
    let credentials = resolve(&given(&pairs), &Place::file("f"), &read).expect("whole");
    assert!(credentials.tls.authorities.as_deref().is_some_and(|ca| ca.contains("CERTIFICATE")));
    assert!(credentials.tls.client.as_ref().is_some_and(|c| c.certificate.contains("ours")));
    assert!(credentials.tls.insecure);
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("pw"), "{shown}");
    let mut bad = pairs.clone();
    bad.push(("ca-file", "/empty"));
    let problems = resolve(&given(&bad), &Place::file("f"), &read).expect_err("no PEM");
    assert!(problems[0].message.contains("holds no PEM"));
}
