//! The engine over the model cloud and a cluster in memory, in virtual time.

mod fake;
#[cfg(feature = "metal")]
mod metal;

use std::sync::Arc;
use std::time::Duration;

use causeway_api::{CloudProvider, Fence, IngressPoint, LbKey, Permit, names};
use causeway_model::cloud::{Settings, Style, quota};
use causeway_model::transport::Death;
use causeway_model::{Cloud, InMemory, Model, Options};
use proptest::prelude::*;
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use self::fake::FakeCluster;
use super::{Engine, EngineConfig, lock};
use crate::engine::metrics::{ByResult, Metrics};
use crate::state::index::{Index, Rules};
use crate::state::records::{NodeRecord, ServiceRecord};
use crate::translate::{ClassRules, ClusterHealth};

/// A cluster and a cloud, which outlive controllers.
struct Rig {
    cluster: FakeCluster,
    cloud: InMemory,
}

/// One controller process.
struct Controller {
    engine: Arc<Engine<Model<InMemory>, FakeCluster>>,
    cloud: InMemory,
    stop: CancellationToken,
    leader: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let rig = Self { cluster: FakeCluster::default(), cloud: InMemory::new(Cloud::new(settings)) };
        for n in 1..=3 {
            rig.cluster.put_node(NodeRecord::test(&format!("n{n}")).address(&format!("10.0.0.{n}")));
        }
        rig
    }

    fn boot(&self) -> Controller {
        self.boot_with(EngineConfig::default(), Fence::open(), None)
    }

    fn boot_with(&self, config: EngineConfig, fence: Fence, death: Option<Death>) -> Controller {
        let cloud = self.cloud.reborn();
        if let Some(death) = death {
            cloud.die(death);
        }
        let provider = Arc::new(Model::new(cloud.clone(), Options::new("cluster")));
        let rules = Rules {
            classes: ClassRules { own_classless: true, ..ClassRules::default() },
            capabilities: provider.capabilities(),
            wants: provider.wants(),
            cluster_health: ClusterHealth::default(),
        };
        let keys = Arc::clone(&provider);
        let index = Index::new(rules, Arc::new(move |member| keys.key(member)));
        let kinds = ["Service".to_owned(), "Node".to_owned()];
        let engine =
            Arc::new(Engine::new(provider, self.cluster.clone(), index, kinds, config, Metrics::default()));
        let (tx, rx) = tokio::sync::mpsc::channel(1024);
        let mut watch = self.cluster.watch();
        tokio::spawn(async move {
            while let Some(update) = watch.recv().await {
                if tx.send(update).await.is_err() {
                    return;
                }
            }
        });
        let feeding = Arc::clone(&engine);
        tokio::spawn(async move { feeding.feed(rx).await });
        let stop = CancellationToken::new();
        let (leading, stopping) = (Arc::clone(&engine), stop.clone());
        let leader = tokio::spawn(async move { leading.lead(fence, stopping).await });
        Controller { engine, cloud, stop, leader }
    }

    fn service(&self, name: &str) {
        self.cluster.put(ServiceRecord::test().named("ns", name).no_ports().node_port(80, 30_080));
    }

    fn addresses(&self, name: &str) -> Vec<IngressPoint> {
        self.cluster.get("ns", name).map(|s| s.ingress).unwrap_or_default()
    }

    fn in_cloud(&self) -> usize {
        self.cloud.with(|cloud, now| cloud.snapshot(now).load_balancers.len())
    }

    /// Turns the cloud's clock with ours until something holds.
    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..100_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.cloud.advance(10);
        }
        panic!("never: {what}");
    }

    /// Lets time pass: for what must *not* happen.
    async fn pass(&self, time: Duration) {
        for _ in 0..time.as_millis() / 100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.cloud.advance(100);
        }
    }

    /// Until a controller has nothing more to do.
    async fn settle(&self, controller: &Controller) {
        let mut calm = 0;
        self.until("settled", || {
            let engine = &controller.engine;
            let idle = engine.working()
                && lock(&engine.queue).is_idle(engine.now())
                && lock(&engine.queue).depth() == (0, 0);
            calm = if idle { calm + 1 } else { 0 };
            calm > 5
        })
        .await;
    }
}

impl Controller {
    /// SIGTERM: writes in flight end.
    async fn stop(self) {
        self.stop.cancel();
        self.leader.await.expect("it ended by itself");
    }

    /// kill -9.
    fn kill(self) {
        self.leader.abort();
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn own_objects_are_judged_when_all_lists_are_there_even_if_there_is_none() {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot();
    let mut judged = controller.engine.judged();
    assert_eq!(*judged.borrow(), None, "nothing is known yet");
    rig.settle(&controller).await;
    let now = judged.borrow_and_update().clone().expect("judged");
    assert_eq!((now.problems, now.working), (vec![], true));
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_gets_its_load_balancer_and_leaves_nothing() {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot();
    rig.service("a");
    rig.until("address", || !rig.addresses("a").is_empty()).await;
    let service = rig.cluster.get("ns", "a").expect("there");
    assert!(service.meta.finalizers.contains(&names::FINALIZER.to_owned()));
    let ready = service.conditions.iter().find(|c| c.kind == names::CONDITION_READY).expect("condition");
    assert!(ready.status, "{ready:?}");
    assert_eq!(rig.in_cloud(), 1);
    rig.settle(&controller).await;
    assert_eq!(rig.cluster.writes(), 2, "finalizer before, status after");
    assert_eq!(rig.cluster.reasons("a"), [names::events::ENSURING, names::events::ENSURED]);

    rig.cluster.delete("ns", "a");
    rig.until("gone", || rig.cluster.get("ns", "a").is_none()).await;
    assert_eq!(rig.in_cloud(), 0);
    assert_eq!(rig.cluster.reasons("a").last().map(String::as_str), Some(names::events::DELETED));
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_nothing_changed_does_nothing() {
    let rig = Rig::new(Settings::default());
    let first = rig.boot();
    for n in 0..50 {
        rig.service(&format!("s{n}"));
    }
    rig.until("all", || rig.cluster.all().iter().all(|s| !s.ingress.is_empty())).await;
    rig.settle(&first).await;
    first.stop().await;
    let (cloud, cluster) = (rig.cloud.writes(), rig.cluster.writes());
    let second = rig.boot();
    rig.settle(&second).await;
    rig.pass(Duration::from_secs(30)).await;
    assert_eq!((rig.cloud.writes(), rig.cluster.writes()), (cloud, cluster));
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_audit_names_by_owner_tags_alone_is_looked_at_again() {
    let rig = Rig::new(Settings::default());
    rig.service("web");
    let controller = rig.boot();
    rig.until("an address", || !rig.addresses("web").is_empty()).await;
    rig.settle(&controller).await;
    let engine = &controller.engine;
    let done = || engine.metrics.results.get_or_create(&ByResult { result: "done".to_owned() }).get();
    let before = done();
    let key = lock(&engine.index).keys().next().cloned().expect("one");
    let named = LbKey::of_owner_tag(&key.owner_tag()).expect("a key");
    assert_ne!(named, key, "a tag does not tell the object's name");
    engine.look_again(&[named]);
    rig.settle(&controller).await;
    assert_eq!(done(), before + 1);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn status_that_others_edit_is_put_back_without_asking_the_cloud() {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot();
    rig.service("a");
    rig.until("address", || !rig.addresses("a").is_empty()).await;
    rig.settle(&controller).await;
    let (given, calls) = (rig.addresses("a"), rig.cloud.writes());
    rig.cluster.edit("ns", "a", |s| s.ingress.clear());
    rig.until("back", || rig.addresses("a") == given).await;
    rig.cluster.edit("ns", "a", |s| s.ingress[0].ip = Some([192, 0, 2, 99].into()));
    rig.until("back", || rig.addresses("a") == given).await;
    rig.cluster.edit("ns", "a", |s| s.meta.finalizers.clear());
    rig.until("finalizer back", || rig.cluster.get("ns", "a").is_some_and(|s| !s.meta.finalizers.is_empty()))
        .await;
    assert_eq!(rig.cloud.writes(), calls);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_node_costs_one_call_per_load_balancer_and_noise_none() {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot();
    for n in 0..20 {
        rig.service(&format!("s{n}"));
    }
    rig.until("all", || rig.cluster.all().iter().all(|s| !s.ingress.is_empty())).await;
    rig.settle(&controller).await;
    let (cloud, cluster) = (rig.cloud.writes(), rig.cluster.writes());
    for n in 1..=3 {
        rig.cluster.put_node(
            NodeRecord::test(&format!("n{n}")).address(&format!("10.0.0.{n}")).network_unavailable(),
        );
    }
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!(rig.cloud.writes(), cloud, "noise");
    rig.cluster.put_node(NodeRecord::test("n4").address("10.0.0.4"));
    rig.until("20 calls", || rig.cloud.writes() == cloud + 20).await;
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!((rig.cloud.writes(), rig.cluster.writes()), (cloud + 20, cluster));
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_type_flip_cleans_up_and_takes_back_what_we_wrote() {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot();
    rig.service("a");
    rig.until("address", || !rig.addresses("a").is_empty()).await;
    rig.cluster
        .put(ServiceRecord::test().named("ns", "a").no_ports().node_port(80, 30_080).not_load_balancer());
    rig.until("clean", || rig.cluster.get("ns", "a").is_some_and(|s| s.meta.finalizers.is_empty())).await;
    let service = rig.cluster.get("ns", "a").expect("it stays");
    assert!(service.conditions.is_empty() && service.ingress.is_empty(), "{service:?}");
    assert_eq!(rig.in_cloud(), 0);
    rig.service("a");
    rig.until("address again", || !rig.addresses("a").is_empty()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_finalizer_keeps_the_object_but_not_the_load_balancer() {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot();
    rig.service("a");
    rig.until("address", || !rig.addresses("a").is_empty()).await;
    rig.cluster.edit("ns", "a", |s| s.meta.finalizers.push("example.com/other".into()));
    rig.cluster.delete("ns", "a");
    rig.until("ours gone", || {
        rig.cluster.get("ns", "a").is_some_and(|s| s.meta.finalizers == ["example.com/other"])
    })
    .await;
    rig.settle(&controller).await;
    let writes = rig.cluster.writes();
    rig.pass(Duration::from_secs(600)).await;
    assert_eq!(rig.cluster.writes(), writes, "no endless retry on an object that waits for somebody else");
    assert_eq!(rig.in_cloud(), 0);
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_stops_only_whom_it_hits_and_says_so() {
    let quotas = [(quota::LOAD_BALANCERS.to_owned(), 2)].into();
    let rig = Rig::new(Settings { quotas, ..Settings::default() });
    let controller = rig.boot();
    for name in ["a", "b", "c"] {
        rig.service(name);
        rig.pass(Duration::from_secs(2)).await;
    }
    assert_eq!(["a", "b", "c"].map(|n| rig.addresses(n).len()), [1, 1, 0]);
    let condition = |name: &str| {
        let service = rig.cluster.get("ns", name).expect("there");
        service.conditions.into_iter().find(|c| c.kind == names::CONDITION_READY)
    };
    rig.until("condition", || {
        condition("c").is_some_and(|c| !c.status && c.message.contains(quota::LOAD_BALANCERS))
    })
    .await;
    rig.cluster.delete("ns", "a");
    rig.until("freed, so c is served at once", || !rig.addresses("c").is_empty()).await;
    rig.until("condition", || condition("c").is_some_and(|c| c.status)).await;
    controller.stop().await;
}

#[rstest]
#[case::paused(EngineConfig { paused: true, ..EngineConfig::default() })]
#[case::dry_run(EngineConfig { dry_run: true, ..EngineConfig::default() })]
#[tokio::test(start_paused = true)]
async fn nothing_is_written(#[case] config: EngineConfig) {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot_with(config, Fence::open(), None);
    rig.service("a");
    rig.pass(Duration::from_secs(60)).await;
    assert_eq!((rig.cloud.writes(), rig.cluster.writes(), rig.cluster.reasons("a").len()), (0, 0, 0));
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_object_is_left_alone_and_served_once_it_is_not() {
    let rig = Rig::new(Settings::default());
    let controller = rig.boot();
    let service = ServiceRecord::test().named("ns", "a").no_ports().node_port(80, 30_080);
    rig.cluster.put(service.clone().annotation(names::ANNOTATION_PAUSED, "true"));
    rig.pass(Duration::from_secs(60)).await;
    assert_eq!((rig.cloud.writes(), rig.cluster.writes()), (0, 0));
    rig.cluster.put(service);
    rig.until("served", || !rig.addresses("a").is_empty()).await;
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_leader_writes_nothing() {
    struct Shut;
    impl Permit for Shut {
        fn epoch(&self) -> u64 {
            1
        }
        fn remaining(&self) -> Duration {
            Duration::ZERO
        }
    }
    let rig = Rig::new(Settings::default());
    rig.service("a");
    let controller = rig.boot_with(EngineConfig::default(), Fence::new(Shut), None);
    rig.pass(Duration::from_secs(60)).await;
    assert_eq!((rig.cloud.writes(), rig.cluster.writes()), (0, 0));
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn orphans_go_after_ten_minutes_and_never_many_at_once() {
    let rig = Rig::new(Settings::default());
    let first = rig.boot();
    for n in 0..20 {
        rig.service(&format!("s{n}"));
    }
    rig.until("all", || rig.cluster.all().iter().all(|s| !s.ingress.is_empty())).await;
    first.stop().await;
    // While nobody looks, ten objects go by force.
    for n in 0..10 {
        let name = format!("s{n}");
        rig.cluster.edit("ns", &name, |s| {
            s.meta.finalizers.clear();
            s.meta.deleting = true;
        });
        assert!(rig.cluster.get("ns", &name).is_none());
    }
    let second = rig.boot();
    rig.pass(Duration::from_secs(590)).await;
    assert_eq!(rig.in_cloud(), 20, "not before their time");
    rig.until("three are gone", || rig.in_cloud() == 17).await;
    rig.pass(Duration::from_secs(1800)).await;
    assert_eq!(rig.in_cloud(), 17, "no more in this hour");
    assert_eq!(second.engine.metrics.mass_delete_stopped.get(), 1);
    second.stop().await;
    let third = rig.boot_with(
        EngineConfig { confirm_mass_delete: true, ..EngineConfig::default() },
        Fence::open(),
        None,
    );
    rig.until("all are gone", || rig.in_cloud() == 10).await;
    third.stop().await;
}

#[rstest]
#[case::open(Style::Open)]
#[case::locking(Style::Locking)]
#[tokio::test(start_paused = true)]
async fn long_running_operations_hold_no_worker(#[case] style: Style) {
    let rig =
        Rig::new(Settings { style, create_pending: 60_000, change_pending: 5_000, ..Settings::default() });
    let controller =
        rig.boot_with(EngineConfig { workers: 1, ..EngineConfig::default() }, Fence::open(), None);
    for name in ["a", "b", "c"] {
        rig.service(name);
    }
    let began = tokio::time::Instant::now();
    rig.until("all three", || rig.cluster.all().iter().all(|s| !s.ingress.is_empty())).await;
    assert!(
        began.elapsed() < Duration::from_secs(90),
        "one worker made three at once: {:?}",
        began.elapsed()
    );
    for name in ["a", "b", "c"] {
        rig.cluster.delete("ns", name);
    }
    rig.until("gone", || rig.cluster.all().is_empty()).await;
    assert_eq!(rig.in_cloud(), 0);
    controller.stop().await;
}

/// One step of a user.
#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Delete(u8),
    Ports(u8, u16),
    Node(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4u8).prop_map(Step::Create),
        2 => (0..4u8).prop_map(Step::Delete),
        2 => ((0..4u8), (1000..1004u16)).prop_map(|(n, port)| Step::Ports(n, port)),
        1 => (4..8u8).prop_map(Step::Node),
    ];
    proptest::collection::vec(step, 1..8)
}

fn act(rig: &Rig, step: &Step) {
    let name = |n: &u8| format!("s{n}");
    match step {
        Step::Create(n) => {
            if rig.cluster.get("ns", &name(n)).is_none() {
                rig.service(&name(n));
            }
        }
        Step::Delete(n) => {
            if rig.cluster.get("ns", &name(n)).is_some() {
                rig.cluster.delete("ns", &name(n));
            }
        }
        Step::Ports(n, port) => {
            if rig.cluster.get("ns", &name(n)).is_some_and(|s| !s.meta.deleting) {
                rig.cluster.put(
                    ServiceRecord::test().named("ns", &name(n)).no_ports().node_port(*port, 30_000 + *port),
                );
            }
        }
        Step::Node(n) => {
            rig.cluster.put_node(NodeRecord::test(&format!("n{n}")).address(&format!("10.0.0.{n}")))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A controller dies at any call, before or after its effect, with the user still at work, on a cluster with conflicts and lost answers;
    /// the next one converges, leaks nothing and gives nobody's load balancer away.
    #[test]
    fn crash_anywhere_converges(
        steps in steps(),
        deaths in proptest::collection::vec((0..6u64, any::<bool>()), 1..3),
        conflicts in 0..3usize,
        lost in 0..2usize,
        locking in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        runtime.block_on(async {
            let settings = if locking {
                Settings { style: Style::Locking, create_pending: 2_000, change_pending: 500, ..Settings::default() }
            } else {
                Settings::default()
            };
            let rig = Rig::new(settings);
            let mut rest = steps.iter();
            for (writes, after_effect) in deaths {
                let controller = rig.boot_with(EngineConfig::default(), Fence::open(), Some(Death { writes, after_effect }));
                rig.cluster.conflict_next(conflicts);
                rig.cluster.lose_next(lost);
                for step in rest.by_ref().take(3) {
                    act(&rig, step);
                    rig.pass(Duration::from_millis(700)).await;
                }
                let cloud = controller.cloud.clone();
                for _ in 0..30 {
                    if cloud.is_dead() {
                        break;
                    }
                    rig.pass(Duration::from_millis(100)).await;
                }
                controller.kill();
            }
            for step in rest {
                act(&rig, step);
            }
            let last = rig.boot();
            rig.until("everybody served, everything cleaned", || {
                let services = rig.cluster.all();
                services.iter().all(|s| !s.meta.deleting && !s.ingress.is_empty()) && rig.in_cloud() == services.len()
            })
            .await;
            rig.settle(&last).await;
            let mut given: Vec<_> = rig.cluster.all().iter().map(|s| s.ingress[0].ip).collect();
            given.sort();
            given.dedup();
            assert_eq!(given.len(), rig.cluster.all().len(), "one address twice");
            assert!(rig.cloud.with(|cloud, _| cloud.check()).is_empty());
            let calm = rig.cloud.writes();
            last.stop().await;
            let again = rig.boot();
            rig.settle(&again).await;
            assert_eq!(rig.cloud.writes(), calm, "the plan after it all is empty");
            again.stop().await;
        });
    }
}
