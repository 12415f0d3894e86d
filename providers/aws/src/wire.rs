//! The calls on the wire: AWS's own SDKs against moto, an emulator that knows AWS's formats, not its ways. What moto does otherwise than AWS is left out here; the
//! fake has AWS's ways.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_ec2::config::Credentials;
use causeway_api::{CloudError, Fence, LbKey, Outcome, PlannedChange};

use crate::calls::Patience;
use crate::cloud::sdk::{Connection, Sdk, loader};
use crate::cloud::{Answer, Api, Call, Cloud, Failure, Query, Which};
use crate::inventory::Cluster;
use crate::live::{Live, Pace, Settings};
use crate::plan::choose::serving;
use crate::plan::plan;
use crate::simulation::{CLUSTER, Front};
use crate::stack::{AwsStack, Scheme, Target, Token};

/// A server of moto's, which ends with the test.
struct Moto {
    server: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Moto {
    fn start() -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/bed/moto.sh");
        let installed = match std::env::var_os("CAUSEWAY_MOTO") {
            Some(folder) => PathBuf::from(folder),
            None => {
                let output = Command::new("sh").arg(&script).output().expect("sh runs");
                assert!(
                    output.status.success(),
                    "{} failed, or is not there; or name the folder of a Python environment with moto by CAUSEWAY_MOTO: {}",
                    script.display(),
                    String::from_utf8_lossy(&output.stderr)
                );
                PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
            }
        };
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        let server = Command::new(installed.join("bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("MOTO_ACM_VALIDATION_WAIT", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto starts");
        let moto = Self { server, url: format!("http://127.0.0.1:{port}") };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(120), "moto does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        moto
    }
}

/// An AWS with a VPC, subnets and nodes.
struct Site {
    sdk: Sdk,
    vpc: String,
    subnets: Vec<String>,
    node_group: String,
    instances: Vec<String>,
}

async fn site(moto: &Moto) -> Site {
    let connection = Connection { region: Some("eu-west-1".to_owned()), endpoint: Some(moto.url.clone()) };
    let credentials = Credentials::new("test", "test", None, None, "test");
    let config = loader(&connection).credentials_provider(credentials).load().await;
    let ec2 = aws_sdk_ec2::Client::new(&config);
    let vpc = ec2.create_vpc().cidr_block("10.0.0.0/16").send().await.expect("a VPC");
    let vpc = vpc.vpc().and_then(|v| v.vpc_id()).expect("its id").to_owned();
    let mut subnets = Vec::new();
    for (at, zone) in ["eu-west-1a", "eu-west-1b"].into_iter().enumerate() {
        let request = ec2.create_subnet().vpc_id(&vpc).cidr_block(format!("10.0.{at}.0/24"));
        let subnet = request.availability_zone(zone).send().await.expect("a subnet");
        subnets.push(subnet.subnet().and_then(|s| s.subnet_id()).expect("its id").to_owned());
    }
    let request = ec2.create_security_group().group_name("nodes").description("nodes").vpc_id(&vpc);
    let node_group = request.send().await.expect("a group").group_id().expect("its id").to_owned();
    let request = ec2.run_instances().image_id("ami-12345678").min_count(3).max_count(3);
    let run = request.subnet_id(&subnets[0]).security_group_ids(&node_group).send().await.expect("instances");
    let instances = run.instances().iter().filter_map(|i| i.instance_id()).map(str::to_owned).collect();
    Site { sdk: Sdk::of(&config), vpc, subnets, node_group, instances }
}

impl Site {
    fn live(&self) -> Live<Sdk> {
        let cluster = Cluster { id: CLUSTER.to_owned(), vpc_id: self.vpc.clone(), ..Cluster::default() };
        let quick = Duration::from_millis(50);
        let pace = Pace { active: quick, healthy: quick, in_use: quick, ..Pace::default() };
        let patience = Patience { line: Duration::from_secs(60), ..Patience::default() };
        Live::new(self.sdk.clone(), Settings { cluster, pace, patience, ..Settings::default() })
    }

    /// The stack in this site.
    fn stack(&self, front: &Front) -> AwsStack {
        let mut stack = front.stack();
        for lb in stack.load_balancers.values_mut() {
            for (mapping, subnet) in lb.subnet_mappings.iter_mut().zip(&self.subnets) {
                mapping.subnet_id.clone_from(subnet);
            }
        }
        stack.shared.node_groups = BTreeSet::from([self.node_group.clone()]);
        for targets in stack.targets.values_mut() {
            *targets = std::mem::take(targets)
                .into_iter()
                .zip(&self.instances)
                .map(|(target, id)| Target { id: Token::literal(id.as_str()), ..target })
                .collect();
        }
        stack
    }
}

/// Brings a stack about; answers the changes that were made.
async fn converge(live: &Live<Sdk>, key: &LbKey, want: &AwsStack) -> Vec<String> {
    let mut made = Vec::new();
    for _ in 0..100 {
        let have = match live.observe(key).await {
            Ok(have) => have,
            Err(CloudError::Throttled(after) | CloudError::Pending(after)) => {
                tokio::time::sleep(after).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let plan = plan(want, &have);
        if plan.is_empty() {
            assert_eq!(plan.problems, []);
            return made;
        }
        for change in &plan.changes {
            match live.apply(change, &Fence::open()).await {
                Ok(Outcome::Done) => made.push(change.info().summary),
                Ok(Outcome::Pending(after))
                | Err(CloudError::Throttled(after) | CloudError::Pending(after)) => {
                    tokio::time::sleep(after).await;
                    break;
                }
                Err(CloudError::Conflict(why)) => {
                    made.push(format!("conflict: {why}"));
                    break;
                }
                Err(error) => panic!("{}: {error}", change.info().summary),
            }
        }
    }
    panic!("does not converge: {made:#?}");
}

async fn start(live: &Live<Sdk>, site: &Site) {
    live.inventory().await.expect("reads");
    live.start(&BTreeSet::from([site.node_group.clone()])).await.expect("starts");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_load_balancers_and_back() {
    let moto = Moto::start();
    let site = site(&moto).await;
    let live = site.live();
    let inventory = live.inventory().await.expect("reads");
    assert_eq!(inventory.aws.subnets().expect("known").len(), 2);
    assert_eq!(inventory.aws.describe_instances.as_ref().expect("known").instances().count(), 3);
    assert_eq!(crate::security::node_groups(&facts(&inventory)), BTreeSet::from([site.node_group.clone()]));
    start(&live, &site).await;

    let nlb = Front::nlb("web");
    let alb = Front::alb("shop");
    for front in [&nlb, &alb] {
        let (want, key) = (site.stack(front), front.key());
        let made = converge(&live, &key, &want).await;
        assert!(!made.iter().any(|m| m.starts_with("conflict")), "{made:#?}");
        let have = live.observe(&key).await.expect("known");
        assert!(serving(&want, &have, crate::stack::LOAD_BALANCER).is_some());
        assert_eq!(converge(&live, &key, &want).await, Vec::<String>::new());
        // What was kept of our own writes is what a look shows.
        live.known().doubt(&front.owner());
        assert_eq!(converge(&live, &key, &want).await, Vec::<String>::new(), "a look finds no difference");
    }
    // A new process finds everything by the tags, and has nothing to do.
    let live = site.live();
    start(&live, &site).await;
    for front in [&nlb, &alb] {
        assert_eq!(converge(&live, &front.key(), &site.stack(front)).await, Vec::<String>::new());
    }
    assert_eq!(live.owned().await.expect("answers").len(), 2);

    // Changes in place.
    let changed = Front {
        idle: Some(60),
        cross_zone: true,
        health_interval: 30,
        sources: vec!["10.0.0.0/8"],
        nodes: (0..2).collect(),
        ..nlb.clone()
    };
    // Moto cannot exchange priorities, as AWS can: the new rule comes last.
    let rules = Front {
        rules: vec![("a.example", 31001), ("b.example", 31002), ("c.example", 31003)],
        ..alb.clone()
    };
    for front in [&changed, &rules] {
        let want = site.stack(front);
        converge(&live, &front.key(), &want).await;
        live.known().doubt(&front.owner());
        assert_eq!(
            converge(&live, &front.key(), &want).await,
            Vec::<String>::new(),
            "a look finds no difference"
        );
    }
    // Another scheme: a second load balancer, and the first one is retired.
    let public = Front { scheme: Scheme::InternetFacing, ..changed };
    let want = site.stack(&public);
    converge(&live, &public.key(), &want).await;
    let have = live.observe(&public.key()).await.expect("known");
    assert_eq!((have.load_balancers.len(), have.retired.len()), (2, 1));

    for front in [&public, &alb] {
        converge(&live, &front.key(), &front.gone()).await;
    }
    assert_eq!(live.owned().await.expect("answers"), []);
    let left = live.calls.api.call(Call::DescribeLoadBalancers { which: Which::All, marker: None }).await;
    let Ok(Answer::LoadBalancers(left)) = left else { panic!("{left:?}") };
    assert_eq!(left.items, []);
}

fn facts(inventory: &crate::inventory::Inventory) -> crate::facts::Facts {
    crate::facts::facts(&Default::default(), &Default::default(), inventory).0
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_their_codes_and_no_answer_is_none() {
    let moto = Moto::start();
    let site = site(&moto).await;
    let code = |call| async { site.sdk.call(call).await.expect_err("refused").code().to_owned() };
    let arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/x/0123456789abcdef";
    let which = Which::Ids(vec![arn.to_owned()]);
    assert_eq!(code(Call::DescribeLoadBalancers { which, marker: None }).await, "LoadBalancerNotFound");
    let ids = vec!["sg-00000000".to_owned()];
    assert_eq!(code(Call::DescribeSecurityGroups { ids }).await, "InvalidGroup.NotFound");
    let query = Query::Certificate("arn:aws:acm:eu-west-1:123456789012:certificate/none".to_owned());
    assert_eq!(code(Call::Inventory { query, marker: None }).await, "ResourceNotFoundException");
    // Nobody listens there.
    let connection =
        Connection { region: Some("eu-west-1".to_owned()), endpoint: Some("http://127.0.0.1:9".to_owned()) };
    let credentials = Credentials::new("test", "test", None, None, "test");
    let nobody = Sdk::of(&loader(&connection).credentials_provider(credentials).load().await);
    let lost = nobody.call(Call::DescribeTags { arns: vec![arn.to_owned()] }).await;
    assert!(matches!(lost, Err(Failure::NoAnswer(_))), "{lost:?}");
}
