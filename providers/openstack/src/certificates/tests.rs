//! What Octavia is given is the pair that the Secret holds, and what it would break with is refused. That Octavia reads the bundles is seen with a real one.

use causeway_api::{Body, Certificate, HttpBody, Layer, LbKey, ObjectRef};
use rcgen::{CertificateParams, KeyPair};
use rstest::rstest;

use super::*;
use crate::fixtures::{ingress, of_ingresses, of_services, service};

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn pair_of(key: &KeyPair) -> Pair {
    let params = CertificateParams::new(vec!["shop.example".to_owned()]).expect("a name");
    let certificate = params.self_signed(key).expect("a certificate").pem().into_bytes();
    Pair { certificate, key: key.serialize_pem().into_bytes() }
}

fn pem(kind: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der)).into_bytes()
}

/// The same key in the form of SEC1, with or without its curve.
fn sec1(key: &KeyPair, with_curve: bool) -> Vec<u8> {
    let der = key.serialize_der();
    let (content, _) = take_as(SEQUENCE, &der).expect("PKCS #8");
    let (_, rest) = take_as(INTEGER, content).expect("a version");
    let (algorithm, rest) = take_as(SEQUENCE, rest).expect("an algorithm");
    let (_, curve) = take_as(OID, algorithm).expect("its name");
    let (inner, _) = take_as(OCTETS, rest).expect("a key");
    let (inner, _) = take_as(SEQUENCE, inner).expect("SEC1");
    let (version, rest) = take_as(INTEGER, inner).expect("a version");
    let (secret, public) = take_as(OCTETS, rest).expect("a number");
    let curve = if with_curve { element(FIRST, curve) } else { Vec::new() };
    of(SEQUENCE, &[&element(INTEGER, version), &element(OCTETS, secret), &curve, public])
}

#[test]
fn the_same_pair_is_the_same_bundle_and_another_is_another() {
    let (one, two) = (key(), key());
    let pair = pair_of(&one);
    let bundle = pair.bundle().expect("a bundle");
    assert_eq!(pair.bundle(), Ok(bundle.clone()));
    assert_ne!(pair_of(&two).bundle().expect("a bundle").digest, bundle.digest);
    // Another certificate of the same key: its signature is another.
    assert_ne!(pair_of(&one).bundle().expect("a bundle").digest, bundle.digest);
    let longer = Pair { certificate: [pair.certificate.clone(), pair_of(&two).certificate].concat(), ..pair };
    assert_ne!(longer.bundle().expect("a bundle").digest, bundle.digest);
}

#[test]
fn a_key_may_come_in_the_older_form() {
    let key = key();
    let pair = pair_of(&key);
    let older = Pair { key: pem("EC PRIVATE KEY", &sec1(&key, true)), ..pair.clone() };
    older.bundle().expect("a bundle");
    let no_curve = Pair { key: pem("EC PRIVATE KEY", &sec1(&key, false)), ..pair };
    assert!(no_curve.bundle().expect_err("it has no curve").contains("tls.key"));
}

#[rstest]
#[case::nothing(|pair: &mut Pair| pair.certificate.clear(), "tls.crt")]
#[case::no_pem(|pair: &mut Pair| pair.certificate = b"certificate".to_vec(), "tls.crt")]
#[case::broken(|pair: &mut Pair| pair.certificate = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec(), "tls.crt")]
#[case::no_certificate(|pair: &mut Pair| pair.certificate = pem("CERTIFICATE", b"\x30\x03abc"), "tls.crt")]
#[case::no_key(|pair: &mut Pair| pair.key.clear(), "tls.key")]
#[case::encrypted(|pair: &mut Pair| pair.key = pem("ENCRYPTED PRIVATE KEY", b"\x30\x03abc"), "not encrypted")]
#[case::of_another(|pair: &mut Pair| pair.key = key().serialize_pem().into_bytes(), "belongs together")]
#[case::ed25519(|pair: &mut Pair| *pair = pair_of(&KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key")), "RSA")]
fn what_octavia_would_break_with_is_refused(#[case] spoil: fn(&mut Pair), #[case] says: &str) {
    let mut pair = pair_of(&key());
    spoil(&mut pair);
    let why = pair.bundle().expect_err("it cannot be used");
    assert!(why.contains(says), "{why}");
}

#[test]
fn nothing_of_it_is_shown() {
    let pair = pair_of(&key());
    let bundle = pair.bundle().expect("a bundle");
    let shown = format!("{pair:?} {bundle:?}");
    assert!(!shown.contains("BEGIN") && !shown.contains(&bundle.base64.reveal()[..20]), "{shown}");
}

#[test]
fn digests_stand_for_versions_and_what_cannot_be_used_is_told() {
    let lb = of_ingresses(&[ingress("shop")
        .tls("a.example", "good")
        .tls("b.example", "bad")
        .tls("c.example", "stale")]);
    let content = |secret: &str, version: &str| match (secret, version) {
        ("shop/good", "1") => Content::Digest("d1".to_owned()),
        ("shop/bad", _) => Content::Useless { why: "x".to_owned(), before: None },
        ("shop/stale", _) => Content::Useless { why: "y".to_owned(), before: Some("d0".to_owned()) },
        _ => Content::Unread,
    };
    let found = settled(&lb, &content).expect("it names Secrets");
    let Body::L7(http) = &found.lb.body else { panic!("an Ingress") };
    let versions: Vec<_> = http.certificates.iter().filter_map(|c| c.secret_version.as_deref()).collect();
    assert_eq!(versions, ["d1", "1", "d0"]);
    assert_eq!(found.useless, [("shop/bad".to_owned(), "x".to_owned())].into());
    assert!(found.unread.is_empty());
    assert_eq!(found.problems.len(), 1);
    assert!(found.problems[0].message.contains("still served: y"), "{:?}", found.problems);

    let mut tls = service("web").port(443, 30443);
    tls.0.secrets.insert("new".to_owned(), Some("7".to_owned()));
    let found = settled(&of_services(&[tls], crate::fixtures::nodes(1)), &content).expect("a Secret");
    assert_eq!(found.unread, [("shop/new".to_owned(), "7".to_owned())].into());

    let key = LbKey::object(Layer::L7, ObjectRef::ingress("shop", "web", "1"));
    assert!(settled(&LoadBalancer::unwanted(key), &content).is_none());
    let missing =
        Certificate { member: 0, hosts: Vec::new(), secret: Some("shop/x".to_owned()), secret_version: None };
    let body = Body::L7(HttpBody { certificates: vec![missing], ..HttpBody::default() });
    assert!(settled(&LoadBalancer { body, ..lb }, &content).is_none(), "there is no Secret to read");
}

#[test]
fn what_was_read_holds_for_that_version_only() {
    let mut known = Known::default();
    let of = |known: &Known, version| known.content("shop/tls", version, || Some("before".to_owned()));
    assert_eq!(of(&known, "1"), Content::Unread);
    known.learn("shop/tls", "1", Ok("d".to_owned()));
    assert_eq!(of(&known, "1"), Content::Digest("d".to_owned()));
    assert_eq!(of(&known, "2"), Content::Unread);
    known.learn("shop/tls", "2", Err("broken".to_owned()));
    assert_eq!(
        of(&known, "2"),
        Content::Useless { why: "broken".to_owned(), before: Some("before".to_owned()) }
    );
}
