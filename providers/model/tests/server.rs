//! The cloud as a process over HTTP: the provider drives it as it drives the one in memory; it counts, loses answers, holds calls back, and does
//! not care when its client goes away.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use causeway_api::{CloudError, CloudProvider, Fence, LbKey, Outcome};
use causeway_model::cloud::{Fault, Faults, ScriptedFault, Snapshot};
use causeway_model::provider::{Facts, ModelStack};
use causeway_model::transport::Counts;
use causeway_model::{Http, Model, Options};
use common::{CLUSTER, Svc, World, load_balancers};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

struct Process {
    child: Child,
    base: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_model-cloud"))
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = format!("http://{}", line.trim().strip_prefix("listening on ").unwrap());
        Self { child, base }
    }

    async fn ask(&self, method: &str, path: &str, body: impl serde::Serialize) -> serde_json::Value {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let body = Full::new(Bytes::from(serde_json::to_vec(&body).unwrap()));
        let uri = format!("{}{path}", self.base);
        let request = hyper::Request::builder().method(method).uri(uri).body(body).unwrap();
        let response = client.request(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{method} {path}: {status} {bytes:?}");
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn state(&self) -> Snapshot {
        serde_json::from_value(self.ask("GET", "/state", ()).await).unwrap()
    }

    async fn counts(&self) -> Counts {
        serde_json::from_value(self.ask("GET", "/calls", ()).await).unwrap()
    }

    async fn script(&self, action: &str, fault: Fault) {
        let entry = ScriptedFault { action: Some(action.into()), reads: false, skip: 0, fault };
        self.ask("PUT", "/faults", Faults { script: vec![entry], ..Faults::default() }).await;
    }

    fn provider(&self, deadline: Duration) -> Model<Http> {
        let options = Options { poll: Duration::from_millis(20), ..Options::new(CLUSTER) };
        Model::new(Http::new(&self.base, deadline).unwrap(), options)
    }
}

fn world(nodes: u8) -> World {
    use causeway_api::Protocol::{Tcp, Udp};
    let svc = Svc {
        group: None,
        created: None,
        ports: [((Tcp, 80), Some(30_001)), ((Udp, 80), Some(30_002))].into(),
        dual: true,
        internal: false,
        local: false,
        affinity: None,
        range: None,
    };
    World { services: [(0, svc.clone()), (1, svc)].into(), nodes: (1..=nodes).collect(), ..World::default() }
}

fn stacks(model: &Model<Http>, world: &World) -> Vec<(LbKey, ModelStack)> {
    let all = load_balancers(model, world);
    all.iter().map(|lb| (lb.key.clone(), model.desired(lb, &Facts::default()).0)).collect()
}

/// What the engine does until nothing is left to do; the number of errors on the way.
async fn settle(model: &Model<Http>, world: &World) -> usize {
    let mut errors = 0;
    for (key, stack) in stacks(model, world) {
        let mut rounds = 0;
        'rounds: loop {
            rounds += 1;
            assert!(rounds < 200, "{key} does not come to rest");
            let have = match model.observe(&key).await {
                Ok(have) => have,
                Err(CloudError::Pending(after)) => {
                    tokio::time::sleep(after).await;
                    continue;
                }
                Err(_) => {
                    errors += 1;
                    continue;
                }
            };
            let plan = model.plan(&stack, &have);
            common::lint(&plan);
            if plan.is_empty() {
                break;
            }
            for change in &plan.changes {
                match model.apply(change, &Fence::open()).await {
                    Ok(Outcome::Done) => {}
                    Ok(Outcome::Pending(after)) => {
                        tokio::time::sleep(after).await;
                        continue 'rounds;
                    }
                    Err(_) => {
                        errors += 1;
                        continue 'rounds;
                    }
                }
            }
        }
    }
    errors
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn one_call_makes_a_load_balancer_one_adds_a_node_none_does_nothing() {
    let cloud = Process::start(&["--latency", "2", "--page", "1"]);
    let model = cloud.provider(LONG);
    model.start(&[], &Facts::default()).await.unwrap();
    assert_eq!(settle(&model, &world(3)).await, 0);
    let counts = cloud.counts().await;
    assert_eq!(counts.calls, [("CreateLoadBalancer".into(), 2), ("ListLoadBalancers".into(), 1)].into());
    cloud.ask("POST", "/reset-calls", ()).await;
    assert_eq!(settle(&model, &world(3)).await, 0);
    assert_eq!(cloud.counts().await.calls, [].into());
    assert_eq!(settle(&model, &world(4)).await, 0);
    assert_eq!(cloud.counts().await.calls, [("RegisterTargets".into(), 2)].into());
    cloud.ask("POST", "/reset-calls", ()).await;
    let next = cloud.provider(LONG);
    next.start(&[], &Facts::default()).await.unwrap();
    assert_eq!(settle(&next, &world(4)).await, 0);
    let counts = cloud.counts().await;
    assert_eq!((counts.mutations, counts.reads), (0, 2), "two pages of one");
    assert_eq!(next.owned().await.unwrap().len(), 2);
}

#[tokio::test]
async fn one_in_five_calls_goes_wrong_and_it_converges() {
    let args = [
        "--style",
        "locking",
        "--pending",
        "30",
        "--pending-change",
        "10",
        "--fault-rate",
        "0.2",
        "--seed",
        "4",
    ];
    let cloud = Process::start(&args);
    let model = cloud.provider(LONG);
    let mut errors = 0;
    while model.start(&[], &Facts::default()).await.is_err() {
        errors += 1;
    }
    for nodes in [1, 3, 2, 5, 4] {
        errors += settle(&model, &world(nodes)).await;
    }
    let (state, counts) = (cloud.state().await, cloud.counts().await);
    assert_eq!(state.load_balancers.len(), 2);
    for lb in &state.load_balancers {
        let targets = lb.spec.targets.values().flat_map(|t| t.values());
        assert!(targets.map(|s| state.sets[s].len()).all(|n| n == 4), "{lb:#?}");
    }
    assert!(errors > 0 && counts.faults.values().sum::<u64>() > 0, "{errors} {counts:?}");
}

#[tokio::test]
async fn a_lost_answer_does_not_make_a_second_load_balancer() {
    let cloud = Process::start(&["--style", "locking"]);
    let model = cloud.provider(LONG);
    model.start(&[], &Facts::default()).await.unwrap();
    cloud.script("CreateLoadBalancer", Fault::LostAfter).await;
    assert_eq!(settle(&model, &world(1)).await, 1);
    assert_eq!(cloud.state().await.load_balancers.len(), 2);
    assert_eq!(cloud.counts().await.calls["CreateLoadBalancer"], 2);
}

#[tokio::test]
async fn a_held_call_goes_on_without_its_client() {
    let cloud = Process::start(&[]);
    let model = cloud.provider(Duration::from_millis(1500));
    model.start(&[], &Facts::default()).await.unwrap();
    cloud.script("CreateLoadBalancer", Fault::HoldBefore).await;
    let (key, stack) = stacks(&model, &world(1)).swap_remove(0);
    let plan = model.plan(&stack, &model.observe(&key).await.unwrap());
    // The deadline passes while the call is held: for the client there is no answer.
    let answer = model.apply(&plan.changes[0], &Fence::open()).await;
    assert!(matches!(answer, Err(CloudError::Transient(_))), "{answer:?}");
    assert_eq!(cloud.ask("GET", "/held", ()).await, 1);
    assert_eq!(cloud.state().await.load_balancers.len(), 0);
    cloud.ask("POST", "/release", ()).await;
    let made = async {
        while cloud.state().await.load_balancers.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, made).await.unwrap();
    assert!(model.plan(&stack, &model.observe(&key).await.unwrap()).is_empty());
}

#[tokio::test]
async fn refusals_have_their_class() {
    let cloud = Process::start(&["--quota", "load-balancers=1", "--rate", "1000", "--burst", "100"]);
    let model = cloud.provider(LONG);
    model.start(&[], &Facts::default()).await.unwrap();
    assert_eq!(model.inventory().await.unwrap().quotas["load-balancers"], 1);
    let mut results = Vec::new();
    for (key, stack) in stacks(&model, &world(1)) {
        let plan = model.plan(&stack, &model.observe(&key).await.unwrap());
        results.push(model.apply(&plan.changes[0], &Fence::open()).await);
    }
    assert_eq!(results[0], Ok(Outcome::Done));
    assert!(
        matches!(&results[1], Err(CloudError::Quota { limit, .. }) if limit == "load-balancers"),
        "{results:?}"
    );
    let gone = Http::new("http://127.0.0.1:1", LONG).unwrap();
    let gone = Model::new(gone, Options::new(CLUSTER));
    assert!(matches!(gone.inventory().await, Err(CloudError::Transient(_))));
}
