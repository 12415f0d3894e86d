use kube::error::Status as ApiStatus;

use super::*;

fn answer(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Box::new(ApiStatus::failure(message, "").with_code(code)))
}

#[test]
fn streaming_is_given_up_only_where_the_server_cannot() {
    let refused = "the required storage feature RequestWatchProgress is disabled";
    assert!(refuses_streaming(&watcher::Error::WatchStartFailed(answer(500, refused))));
    assert!(refuses_streaming(&watcher::Error::WatchStartFailed(answer(
        422,
        "sendInitialEvents is forbidden"
    ))));
    for code in [401, 403, 404, 429, 503] {
        assert!(!refuses_streaming(&watcher::Error::WatchStartFailed(answer(code, "no"))), "{code}");
    }
    assert!(!refuses_streaming(&watcher::Error::InitialListFailed(answer(500, "etcd is away"))));
}

#[test]
fn a_missing_crd_is_named_with_its_remedy() {
    let p = judge(
        &watcher::Error::WatchStartFailed(answer(404, "404 page not found")),
        "ipaddresspools.metallb.io",
        true,
    );
    assert_eq!(p.cause, Cause::NotInstalled);
    assert!(
        p.message.starts_with("CRD ipaddresspools.metallb.io is not installed: kubectl apply"),
        "{}",
        p.message
    );
}

#[test]
fn a_missing_verb_is_named_with_its_remedy() {
    let p = judge(
        &watcher::Error::InitialListFailed(answer(403, "nodes is forbidden: User \"x\"")),
        "nodes",
        false,
    );
    assert_eq!(p.cause, Cause::Forbidden);
    assert!(p.message.contains("may not list nodes") && p.message.contains("ClusterRole"), "{}", p.message);
}

#[test]
fn a_lost_place_is_no_problem_and_a_refused_place_is_listed_anew() {
    let gone = watcher::Error::WatchError(Box::new(
        ApiStatus::failure("too old resource version", "Expired").with_code(410),
    ));
    assert!(too_old(&gone));
    let ahead = watcher::Error::WatchStartFailed(answer(504, "Too large resource version"));
    assert!(!too_old(&ahead) && !must_list(&ahead, 0) && must_list(&ahead, 3));
    let away = watcher::Error::WatchStartFailed(kube::Error::Service("connection refused".into()));
    assert!(!must_list(&away, 100));
}

#[test]
fn delays_grow_to_a_limit_and_start_again() {
    let mut pace = Pace::default();
    let delays: Vec<Duration> = (0..12).map(|_| pace.next(Cause::Unreachable)).collect();
    assert!(delays[0] <= Duration::from_millis(250));
    assert!(delays.iter().all(|d| *d <= Duration::from_secs(10)));
    assert!(delays[11] >= Duration::from_secs(5));
    pace.reset();
    assert!(pace.next(Cause::Unreachable) <= Duration::from_millis(250));
}

#[test]
fn the_api_server_going_away_is_one_problem_of_many_kinds() {
    let board = Board { states: Arc::new(watch::channel(KindStates::new()).0) };
    for r in ["a", "b"] {
        board.enter(r);
        board.problem(r, WatchProblem { cause: Cause::Unreachable, message: r.into() });
    }
    assert_eq!(missing(&board.states.borrow()), ["a", "b"]);
    board.synced("a", false);
    assert_eq!(missing(&board.states.borrow()), ["b"]);
    assert_eq!(board.states.borrow()["a"].problem, None);
    board.synced("b", true);
    assert!(board.states.borrow()["b"].problem.is_some());
}

#[test]
fn services_that_we_must_clean_up_stay_of_interest() {
    let parse = |value| records::service(serde_json::from_value(value).unwrap(), &mut Skipped::default());
    let plain = parse(serde_json::json!({"metadata": {"name": "a"}, "spec": {"type": "ClusterIP"}}));
    assert!(!of_interest(&plain));
    let balancer = parse(serde_json::json!({"metadata": {"name": "a"}, "spec": {"type": "LoadBalancer"}}));
    assert!(of_interest(&balancer));
    let flipped = parse(serde_json::json!({
        "metadata": {"name": "a", "finalizers": [names::FINALIZER]}, "spec": {"type": "ClusterIP"}
    }));
    assert!(of_interest(&flipped));
}
