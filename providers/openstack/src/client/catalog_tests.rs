use rstest::rstest;
use serde_json::json;

use super::*;

const LB: Service = Service::LoadBalancer;

#[rstest]
#[case(LB, "https://lb.example", "https://lb.example/v2.0/lbaas/pools")]
#[case(LB, "https://lb.example/", "https://lb.example/v2.0/lbaas/pools")]
#[case(LB, "https://lb.example:9876/v2.0", "https://lb.example:9876/v2.0/lbaas/pools")]
#[case(LB, "https://lb.example/v2.0/", "https://lb.example/v2.0/lbaas/pools")]
#[case(LB, "https://lb.example/v2", "https://lb.example/v2.0/lbaas/pools")]
#[case(LB, "https://cloud/load-balancer", "https://cloud/load-balancer/v2.0/lbaas/pools")]
#[case(LB, "https://cloud/load-balancer/v2.0/", "https://cloud/load-balancer/v2.0/lbaas/pools")]
#[case(LB, "http://[2001:db8::1]:9876/", "http://[2001:db8::1]:9876/v2.0/lbaas/pools")]
#[case(LB, "https://cloud/vip", "https://cloud/vip/v2.0/lbaas/pools")]
#[case(LB, "https://cloud/x?y=1#z", "https://cloud/x/v2.0/lbaas/pools")]
#[case(Service::Network, "http://n:9696/v2.0/", "http://n:9696/v2.0/lbaas/pools")]
#[case(Service::Network, "http://n:9696", "http://n:9696/v2.0/lbaas/pools")]
#[case(Service::KeyManager, "http://b:9311/v1", "http://b:9311/v1/lbaas/pools")]
#[case(Service::KeyManager, "http://b:9311", "http://b:9311/v1/lbaas/pools")]
#[case(Service::Compute, "http://c:8774", "http://c:8774/v2.1/lbaas/pools")]
#[case(Service::Compute, "http://c:8774/v2.1", "http://c:8774/v2.1/lbaas/pools")]
#[case(Service::Compute, "http://c:8774/v2.1/0a1b", "http://c:8774/v2.1/0a1b/lbaas/pools")]
#[case(Service::Compute, "http://c/compute/v2/0a1b/", "http://c/compute/v2/0a1b/lbaas/pools")]
fn addresses(#[case] service: Service, #[case] address: &str, #[case] expected: &str) {
    let root = Root::new(service, address).expect("a URL");
    assert_eq!(root.url(&Request::get(service, "/lbaas/pools")).as_str(), expected);
}

#[test]
fn roots_and_queries() {
    let root = Root::new(LB, "https://cloud/lb/v2.0").expect("a URL");
    assert_eq!(root.url(&Request::versions(LB)).as_str(), "https://cloud/lb/");
    let request = Request::get(LB, "/x").query([
        ("tags".to_owned(), "causeway.io/owner=service/1,a b".to_owned()),
        ("name".to_owned(), "a&b=c#d".to_owned()),
    ]);
    let url = root.url(&request);
    assert_eq!(
        url.as_str(),
        "https://cloud/lb/v2.0/x?tags=causeway.io%2Fowner%3Dservice%2F1%2Ca+b&name=a%26b%3Dc%23d"
    );
    // What is encoded in a path stays so.
    let tag = Request::get(LB, "/floatingips/f/tags/causeway.io%2Fowner");
    assert!(root.url(&tag).path().ends_with("/tags/causeway.io%2Fowner"));
    for not in ["", "lb.example:9876", "/v2.0", "ftp://x"] {
        assert_eq!(Root::new(LB, not), None, "{not}");
    }
}

#[rstest]
#[case("https://k:5000")]
#[case("https://k:5000/")]
#[case("https://k:5000/v3")]
#[case("https://k:5000/v3/")]
#[case("https://k:5000/v2.0")]
#[case("https://k:5000/v3/auth/tokens")]
fn keystones(#[case] address: &str) {
    assert_eq!(tokens(&Url::parse(address).expect("a URL")).as_str(), "https://k:5000/v3/auth/tokens");
    let below = address.replace(":5000", "/identity");
    assert_eq!(tokens(&Url::parse(&below).expect("a URL")).as_str(), "https://k/identity/v3/auth/tokens");
}

fn catalog() -> Catalog {
    let endpoint = |interface: &str, region: &str| json!({"interface": interface, "region": region, "region_id": region, "url": format!("http://{interface}.{region}")});
    serde_json::from_value(json!([
        {"type": "load-balancer", "name": "octavia", "id": "1", "endpoints": [
            endpoint("public", "A"), endpoint("internal", "A"), endpoint("public", "B")]},
        {"type": "network", "endpoints": [endpoint("public", "A")]},
        {"type": "compute", "endpoints": []},
        {"endpoints": []}
    ]))
    .expect("a catalog")
}

#[rstest]
#[case(LB, Some("A"), Interface::Public, Ok("http://public.a/"))]
#[case(LB, Some("B"), Interface::Public, Ok("http://public.b/"))]
#[case(LB, Some("A"), Interface::Internal, Ok("http://internal.a/"))]
#[case(LB, None, Interface::Internal, Ok("http://internal.a/"))]
#[case(Service::Network, None, Interface::Public, Ok("http://public.a/"))]
#[case(LB, None, Interface::Public, Err("in several regions (A, B)"))]
#[case(LB, Some("C"), Interface::Public, Err("only in A, B"))]
#[case(LB, Some("a"), Interface::Public, Err("no Octavia in region \"a\""))]
#[case(LB, Some("A"), Interface::Admin, Err("only internal, public"))]
#[case(Service::KeyManager, None, Interface::Public, Err("no Barbican"))]
#[case(Service::Compute, None, Interface::Public, Err("no Nova"))]
fn choosing(
    #[case] service: Service,
    #[case] region: Option<&str>,
    #[case] interface: Interface,
    #[case] expected: Result<&str, &str>,
) {
    match (catalog().root(service, region, interface), expected) {
        (Ok(root), Ok(url)) => assert_eq!(root.url(&Request::versions(service)).as_str(), url),
        (Err(Failure::NoService { service: of, text }), Err(words)) => {
            assert_eq!(of, service);
            assert!(text.contains(words), "{text}");
        }
        (got, _) => panic!("{got:?}"),
    }
}

#[test]
fn older_words() {
    let old: Catalog = serde_json::from_value(json!([
        {"type": "load-balancer", "endpoints": [{"interface": "publicURL", "region": "A", "url": "http://x"}]}
    ]))
    .expect("a catalog");
    assert!(old.root(LB, Some("A"), Interface::Public).is_ok());
}
