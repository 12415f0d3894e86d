//! The client against a small cloud on loopback, which does as each test says.

mod cloud;
mod tls;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_api::{CloudError, Fence, ObjectRef, Permit};
use cloud::{Cloud, Reply};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::api::octavia::{self, LOAD_BALANCERS};
use crate::api::{Calls, Priority, Query};
use crate::config::Secret;
use crate::config::credentials::{Identity, Interface, Scope, Tls, User};

fn credentials(url: &str, password: &str) -> Credentials {
    Credentials {
        auth_url: reqwest::Url::parse(&format!("{url}/v3")).expect("a URL"),
        identity: Identity::Password(User::Id("u".to_owned()), Secret::new(password)),
        scope: Scope::ProjectId("p".to_owned()),
        region: Some("R".to_owned()),
        interface: Interface::Public,
        tls: Tls::default(),
    }
}

/// As in use, but faster, and with any token old enough to be replaced.
fn settings() -> Settings {
    let rate = Rate { per_second: 2000.0, burst: 1000 };
    Settings {
        look: Duration::ZERO,
        call: Duration::from_secs(20),
        young: Duration::ZERO,
        rates: Service::ALL.into_iter().map(|service| (service, rate)).collect(),
        ..Settings::default()
    }
}

fn client_with(cloud: &Cloud, settings: Settings) -> Calls<Arc<Client>> {
    let client = Client::new(credentials(&cloud.url(), "hunter2"), settings).expect("no certificates");
    Calls::new(Arc::new(client))
}

fn client(cloud: &Cloud) -> Calls<Arc<Client>> {
    client_with(cloud, settings())
}

fn read() -> Request {
    Request::get(Service::LoadBalancer, "/x")
}

fn make() -> Request {
    Request::new(Service::LoadBalancer, Method::Post, "/x").body(json!({"a": 1}))
}

fn change() -> Request {
    Request::new(Service::LoadBalancer, Method::Put, "/x/1").body(json!({"a": 1}))
}

fn ok() -> Reply {
    Reply::json(200, &json!({"fine": true}))
}

#[tokio::test]
async fn one_login_for_all() {
    let cloud = Cloud::start(|_, _| ok()).await;
    let calls = Arc::new(client(&cloud));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let calls = Arc::clone(&calls);
        tasks.spawn(async move { calls.read(&read(), Priority::Change).await });
    }
    while let Some(result) = tasks.join_next().await {
        assert_eq!(result.expect("no panic"), Ok(json!({"fine": true})));
    }
    assert_eq!((cloud.logins(), cloud.calls().len()), (1, 50));
    let login = &cloud.log()[0];
    assert!(login.body.to_string().contains("hunter2"));
    assert_eq!(cloud.calls()[0].token, "t1");
    assert_eq!(calls.api.project().await.as_deref(), Ok("p"));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all() {
    let cloud = Cloud::start(|got, _| if got.token == "t1" { Reply::text(401, "no") } else { ok() }).await;
    let calls = Arc::new(client(&cloud));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..30 {
        let calls = Arc::clone(&calls);
        tasks.spawn(async move {
            if i % 2 == 0 {
                calls.read(&read(), Priority::Change).await
            } else {
                calls.write(&make(), &Fence::open()).await
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        assert!(result.expect("no panic").is_ok());
    }
    assert_eq!(cloud.logins(), 2);
    let tokens: BTreeSet<String> = cloud.calls().into_iter().map(|got| got.token).collect();
    assert_eq!(tokens.into_iter().collect::<Vec<_>>(), ["t1", "t2"]);
}

#[tokio::test]
async fn a_service_that_accepts_no_token_is_not_asked_for_ever() {
    let cloud = Cloud::start(|_, _| Reply::text(401, "no")).await;
    let calls = client(&cloud);
    let error = calls.read(&read(), Priority::Change).await.expect_err("refused");
    assert_eq!((cloud.logins(), cloud.calls().len()), (2, 2));
    let object = ObjectRef::service("ns", "web", "u");
    assert!(matches!(error.classify(Some(&object), "x"), CloudError::Invalid(_)), "{error:?}");
    // A token that was just made is not replaced at all.
    let calls = client_with(&cloud, Settings { young: Duration::from_secs(60), ..settings() });
    calls.read(&read(), Priority::Change).await.expect_err("refused");
    assert_eq!((cloud.logins(), cloud.calls().len()), (3, 3));
}

#[tokio::test]
async fn bad_credentials_are_told_to_all_who_wait_and_to_the_watcher() {
    let cloud = Cloud::start(|_, _| ok()).await;
    cloud.keystone(|_| {
        Some(
            Reply::json(401, &json!({"error": {"message": "requires authentication", "code": 401}}))
                .after(200),
        )
    });
    let calls = Arc::new(client(&cloud));
    let refused = calls.api.refused();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let calls = Arc::clone(&calls);
        tasks.spawn(async move { calls.read(&read(), Priority::Change).await });
    }
    while let Some(result) = tasks.join_next().await {
        let error = result.expect("no panic").expect_err("refused");
        let CallError::Failed(Failure::Login { refused: true, text }) = &error else { panic!("{error:?}") };
        assert!(text.contains("requires authentication") && text.contains("check user"), "{text}");
        assert!(error.without_effect() && !format!("{error:?}").contains("hunter2"));
    }
    assert_eq!((cloud.logins(), cloud.calls().len()), (1, 0));
    tokio::time::timeout(Duration::from_secs(5), refused.notified()).await.expect("notified");
    // And once they are mended, it goes on.
    cloud.keystone(|got| (!got.body.to_string().contains("new one")).then(|| Reply::text(401, "no")));
    calls.api.rotate(credentials(&cloud.url(), "new one")).expect("no certificates");
    assert!(calls.read(&read(), Priority::Change).await.is_ok());
}

#[tokio::test]
async fn renewed_ahead_of_time_and_the_old_one_is_used_while_that_fails() {
    let cloud = Cloud::start(|_, _| ok()).await;
    cloud.life(2);
    let calls = client(&cloud);
    assert!(calls.read(&read(), Priority::Change).await.is_ok());
    cloud.keystone(|_| Some(Reply::text(503, "out")));
    // The token is good all the while: no call fails, whatever Keystone says, until another one is asked for.
    while cloud.logins() < 2 {
        assert!(calls.read(&read(), Priority::Change).await.is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(cloud.calls().last().expect("a call").token, "t1");
    cloud.keystone(|_| None);
    assert!(calls.read(&read(), Priority::Change).await.is_ok());
    let last = cloud.calls().last().expect("a call").token.clone();
    assert_ne!(last, "t1");
}

#[tokio::test]
async fn too_many_calls() {
    let cloud =
        Cloud::start(|_, n| if n == 0 { Reply::text(429, "slow").header("retry-after", "1") } else { ok() })
            .await;
    let calls = Arc::new(client(&cloud));
    let begin = Instant::now();
    assert!(calls.write(&make(), &Fence::open()).await.is_ok(), "made again: it had no effect");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(cloud.calls().len(), 2);

    let cloud = Cloud::start(|got, _| {
        if got.path.contains("network") { ok() } else { Reply::text(429, "slow").header("retry-after", "60") }
    })
    .await;
    let calls = client(&cloud);
    let error = calls.write(&change(), &Fence::open()).await.expect_err("throttled");
    assert_eq!(error.classify(None, "x"), CloudError::Throttled(Duration::from_secs(60)));
    // Nobody bothers that service until then; others are not concerned.
    let Err(CallError::Later(after)) = calls.write(&change(), &Fence::open()).await else { panic!("sent") };
    assert!(after > Duration::from_secs(55), "{after:?}");
    assert_eq!(cloud.calls().len(), 1);
    assert!(calls.read(&Request::get(Service::Network, "/networks"), Priority::Audit).await.is_ok());
}

#[tokio::test]
async fn pages() {
    let cloud = Cloud::start(|got, _| {
        let page = |ids: &[&str], next: Option<&str>| {
            let lbs: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
            let links: Vec<Value> = next
                .iter()
                .map(|n| json!({"rel": "next", "href": format!("https://elsewhere/v2/lbaas/loadbalancers?{n}")}))
                .collect();
            Reply::json(200, &json!({"loadbalancers": lbs, "loadbalancers_links": links}))
        };
        match got.path.split_once('?').map_or("", |(_, query)| query) {
            "tags=a%3Db" => page(&["1", "2"], Some("tags=a%3Db&limit=2&marker=2")),
            "tags=a%3Db&limit=2&marker=2" => page(&["3", "4"], Some("tags=a%3Db&limit=2&marker=4")),
            _ => page(&["5"], None),
        }
    })
    .await;
    let calls = client(&cloud);
    let all =
        calls.list(&LOAD_BALANCERS, Query::all().tags(&["a=b"]), Priority::Audit).await.expect("a list");
    assert_eq!(all.iter().map(|lb| lb.id.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    assert_eq!(cloud.calls().len(), 3);
    let query = Query::all().tags(&["a=b"]);
    let (key, answer) = calls.answer(&LOAD_BALANCERS, query, Priority::Audit).await.expect("a list");
    assert_eq!(key, "GET /v2.0/lbaas/loadbalancers");
    let ids = ["1", "2", "3", "4", "5"].map(|id| json!({ "id": id }));
    assert_eq!(answer, json!({ "loadbalancers": ids }));
    assert!(cloud.calls().iter().all(|got| got.path.starts_with("/load-balancer/v2.0/lbaas/loadbalancers?")));
}

#[tokio::test]
async fn links_in_a_circle_end() {
    let cloud = Cloud::start(|_, _| {
        Reply::json(
            200,
            &json!({"loadbalancers": [], "loadbalancers_links": [{"rel": "next", "href": "x?marker=1"}]}),
        )
    })
    .await;
    assert_eq!(client(&cloud).list(&LOAD_BALANCERS, Query::all(), Priority::Audit).await, Ok(vec![]));
    assert_eq!(cloud.calls().len(), 1);
}

#[tokio::test]
async fn lost_answers() {
    for (request, sendings, saved) in [(make(), 1, false), (change(), 2, true), (read(), 2, true)] {
        let cloud = Cloud::start(|_, n| if n == 0 { Reply::cut() } else { ok() }).await;
        let calls = client(&cloud);
        let result = match request.method {
            Method::Get => calls.read(&request, Priority::Change).await,
            _ => calls.write(&request, &Fence::open()).await,
        };
        assert_eq!((cloud.calls().len(), result.is_ok()), (sendings, saved), "{request:?}");
        if let Err(error) = result {
            assert!(!error.without_effect(), "{error:?}");
        }
    }
}

#[tokio::test]
async fn nobody_there() {
    let gone = Cloud::start(|_, _| ok()).await;
    let url = gone.url();
    drop(gone);
    let client = Calls::new(Client::new(credentials(&url, "pw"), settings()).expect("no certificates"));
    let error = client.write(&make(), &Fence::open()).await.expect_err("nobody there");
    assert!(matches!(&error, CallError::Failed(Failure::Login { refused: false, .. })), "{error:?}");
    // Keystone is there, Octavia is not: that nothing was sent is known.
    let cloud = Cloud::start(|_, _| ok()).await;
    cloud.catalog_at(&url);
    let calls = client_with(&cloud, settings());
    let error = calls.write(&make(), &Fence::open()).await.expect_err("nobody there");
    assert!(matches!(&error, CallError::Failed(Failure::NoAnswer { sent: false, .. })), "{error:?}");
    assert!(error.without_effect());
}

#[tokio::test]
async fn busy_projects_and_broken_gateways() {
    let busy = r#"{"faultcode": "Server", "faultstring": "Project busy.  Unable to lock the project.  Please try again."}"#;
    let cloud = Cloud::start(move |_, n| if n == 0 { Reply::text(503, busy) } else { ok() }).await;
    assert!(client(&cloud).write(&make(), &Fence::open()).await.is_ok(), "made again: it did nothing");
    for (request, sendings) in [(make(), 1), (change(), 4), (read(), 4)] {
        let cloud = Cloud::start(|_, _| Reply::text(502, "<html>bad gateway</html>")).await;
        let calls = client(&cloud);
        let error = match request.method {
            Method::Get => calls.read(&request, Priority::Change).await,
            _ => calls.write(&request, &Fence::open()).await,
        };
        let error = error.expect_err("broken");
        assert_eq!(cloud.calls().len(), sendings, "{request:?}");
        assert!(!error.without_effect());
    }
}

#[tokio::test]
async fn a_call_ends_within_its_deadline() {
    let cloud =
        Cloud::start(|got, _| if got.path.ends_with("/first") { ok() } else { ok().after(60_000) }).await;
    let calls = client_with(&cloud, Settings { call: Duration::from_millis(600), ..settings() });
    let first = Request::get(Service::LoadBalancer, "/first");
    // So that the token is there already; on a slow machine not even this may come in time.
    while calls.read(&first, Priority::Change).await.is_err() {}
    for request in [change(), make(), read()] {
        let begin = Instant::now();
        let error = match request.method {
            Method::Get => calls.read(&request, Priority::Change).await,
            _ => calls.write(&request, &Fence::open()).await,
        };
        assert!(error.as_ref().is_err_and(|error| !error.without_effect()), "{error:?}");
        // The machine may be slow, but not by as much as the cloud.
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_slow_keystone_counts_too() {
    let cloud = Cloud::start(|_, _| ok()).await;
    cloud.keystone(|_| Some(ok().after(60_000)));
    let calls = client_with(&cloud, Settings { call: Duration::from_millis(300), ..settings() });
    let begin = Instant::now();
    let error = calls.write(&make(), &Fence::open()).await.expect_err("too late");
    assert!(matches!(&error, CallError::Failed(Failure::Login { refused: false, .. })), "{error:?}");
    assert!(error.without_effect() && begin.elapsed() < Duration::from_secs(10));
    assert_eq!(cloud.calls().len(), 0);
}

/// Permits so many writes.
struct Count(AtomicU64);

impl Permit for Count {
    fn epoch(&self) -> u64 {
        0
    }

    fn remaining(&self) -> Duration {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if left.is_ok() { Duration::from_secs(1) } else { Duration::ZERO }
    }
}

#[tokio::test]
async fn no_write_starts_after_the_fence() {
    let cloud = Cloud::start(|_, _| Reply::text(503, "Project busy.")).await;
    let calls = client(&cloud);
    let closed = Fence::new(Count(AtomicU64::new(0)));
    assert_eq!(calls.write(&make(), &closed).await, Err(CallError::Fenced));
    assert_eq!(
        calls.api.call(&make(), Pass::read(Priority::Change)).await,
        Err(CallError::Fenced),
        "nobody allowed it"
    );
    assert_eq!(cloud.calls().len(), 0);
    // The fence closes between two sendings.
    let once = Fence::new(Count(AtomicU64::new(1)));
    assert_eq!(calls.write(&make(), &once).await, Err(CallError::Fenced));
    assert_eq!(cloud.calls().len(), 1);
    // And while a token is got.
    let cloud = Cloud::start(|_, _| Reply::text(401, "")).await;
    let once = Fence::new(Count(AtomicU64::new(1)));
    assert_eq!(client(&cloud).write(&make(), &once).await, Err(CallError::Fenced));
    assert_eq!(cloud.calls().len(), 1);
}

#[tokio::test]
async fn typed_calls() {
    let cloud = Cloud::start(|got, _| {
        match (got.method.as_str(), got.path.trim_start_matches("/load-balancer/v2.0/lbaas")) {
            ("GET", "/loadbalancers/1") => {
                Reply::json(200, &json!({"loadbalancer": {"id": "1", "provisioning_status": "ACTIVE"}}))
            }
            ("POST", "/loadbalancers") => Reply::json(201, &json!({"loadbalancer": {"id": "2"}})),
            ("PUT", "/loadbalancers/1") => Reply::json(200, &json!({"loadbalancer": {"id": "1"}})),
            ("PUT", "/pools/p/members") => Reply::text(202, ""),
            ("DELETE", "/loadbalancers/1?cascade=true") => Reply::text(204, ""),
            ("GET", "/load-balancer/") => Reply::json(300, &json!({"versions": [{"id": "v2.26"}]})),
            ("GET", "/pools/p") => Reply::text(200, "<html>"),
            ("GET", "/listeners/l") => Reply::text(301, "").header("location", "https://other/"),
            _ => Reply::json(404, &json!({"faultstring": "not found"})),
        }
    })
    .await;
    let calls = client(&cloud);
    let fence = Fence::open();
    let one = calls.get(&LOAD_BALANCERS, "1", Priority::Audit).await.expect("answered");
    assert_eq!(one.map(|lb| lb.provisioning_status), Some(octavia::Provisioning::Active));
    assert_eq!(calls.get(&LOAD_BALANCERS, "9", Priority::Audit).await, Ok(None));
    let body = octavia::NewLoadBalancer { name: "x".to_owned(), ..Default::default() };
    assert_eq!(calls.create(&LOAD_BALANCERS, &body, &fence).await.expect("made").id, "2");
    let body = octavia::LoadBalancerChanges { tags: Some(vec![]), ..Default::default() };
    assert_eq!(calls.update(&LOAD_BALANCERS, "1", &body, &fence).await.expect("changed").id, "1");
    assert_eq!(cloud.calls().last().expect("a call").body, json!({"loadbalancer": {"tags": []}}));
    assert_eq!(calls.write(&octavia::replace_members("p", &[], false), &fence).await, Ok(Value::Null));
    assert_eq!(calls.gone(&octavia::delete_cascade("1"), &fence).await, Ok(()));
    assert_eq!(calls.delete(&LOAD_BALANCERS, "9", &fence).await, Ok(()), "gone already");
    assert_eq!(calls.octavia_version().await.expect("a list").to_string(), "2.26");
    let garbled = calls.get(&octavia::POOLS, "p", Priority::Audit).await.expect_err("no JSON");
    assert!(matches!(garbled, CallError::Failed(Failure::Garbled { .. })), "{garbled:?}");
    let moved = calls.get(&octavia::LISTENERS, "l", Priority::Audit).await.expect_err("moved");
    assert!(format!("{moved:?}").contains("https://other/"), "{moved:?}");
    assert_eq!(calls.api.has(Service::LoadBalancer).await, Ok(true));
    assert_eq!(calls.api.has(Service::KeyManager).await, Ok(false));
    let none = calls.read(&Request::get(Service::KeyManager, "/secrets"), Priority::Change).await;
    assert!(matches!(none, Err(CallError::Failed(Failure::NoService { .. }))), "{none:?}");
}

#[tokio::test]
async fn revisions() {
    let cloud = Cloud::start(|got, _| match got.header("if-match") {
        Some("revision_number=7") => Reply::json(200, &json!({"port": {"id": "1", "revision_number": 8}})),
        _ => Reply::json(412, &json!({"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "no", "detail": ""}})),
    })
    .await;
    let calls = client(&cloud);
    let request = |revision| crate::api::neutron::update_port("1", &Default::default(), Some(revision));
    assert!(calls.write(&request(7), &Fence::open()).await.is_ok());
    let error = calls.write(&request(6), &Fence::open()).await.expect_err("changed");
    assert_eq!(error.state(), Some(crate::errors::State::Changed));
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let cloud = Cloud::start(|_, _| Reply::text(500, "broken")).await;
    let calls = client(&cloud);
    let error = calls.read(&read(), Priority::Change).await.expect_err("broken");
    let shown = format!("{:?} {error:?} {:?}", calls, make());
    assert!(!shown.contains("hunter2") && !shown.contains("t1"), "{shown}");
}
