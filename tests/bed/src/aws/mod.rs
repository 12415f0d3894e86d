//! The AWS of the bed: an API that its clients cannot tell from AWS's in what load balancer controllers depend on, with limits and faults as a
//! test wants them, and load balancers that serve real traffic.
//!
//! ```text
//!   client --HTTP--> proxy --> gate (counts, buckets, faults)   crate::cloud
//!                      |--> elb        load balancers: a state machine of ours
//!                      |--> tagging    GetResources over everything
//!                      |--> ec2, certificates   repairs of moto
//!                      `--> moto       EC2, ACM, IAM, STS, WAF, ...
//!   dataplane <-- elb::traffic: one picture of listeners, rules, targets --> checks tell elb who is healthy
//! ```
//!
//! The API is at [`addresses::CLOUD`], port [`PORT`], of the nodes' segment, and by a relay on the owner's loopback. Requests need no signature; whoever signs
//! may use any key. Everything ends with the bed, or when [`Aws`] is dropped.

pub mod account;
pub mod certificates;
mod cloud;
mod control;
mod dataplane;
mod ec2;
pub mod elb;
pub mod facts;
pub mod firewall;
mod hosts;
mod limits;
pub mod model;
pub mod moto;
mod overview;
pub mod protocol;
mod proxy;
mod tagging;
pub mod xml;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::oneshot;

use crate::bed::Bed;
use crate::cloud::{Counts, Gate, Record};
use crate::daemon::Running;
use crate::namespace::Namespace;
use crate::process::Signal;
use crate::relay::Relay;
use crate::start::build_network;
use crate::{addresses, programs, topology, wait};

pub use account::Account;
pub use cloud::Cloud;
pub use elb::Settings;
use hosts::Hosts;
pub use limits::documented;
pub use proxy::{Answer, CONTROL};

/// TCP port of the API.
pub const PORT: u16 = 4566;

/// How long moto may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// What the bed's AWS shall be like.
#[derive(Clone, Debug)]
pub struct Builder {
    region: String,
    settings: Settings,
    data_plane: bool,
    health_speed: f64,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            region: "us-east-1".to_owned(),
            settings: Settings::default(),
            data_plane: true,
            health_speed: 10.0,
        }
    }
}

impl Builder {
    /// The region that has a data plane; others have an API only. us-east-1 by default.
    pub fn region(mut self, region: &str) -> Builder {
        region.clone_into(&mut self.region);
        self
    }

    /// How long things take.
    pub fn settings(mut self, settings: Settings) -> Builder {
        self.settings = settings;
        self
    }

    /// Whether load balancers serve traffic and targets are checked; without, targets become healthy in time by themselves. With by default.
    pub fn data_plane(mut self, data_plane: bool) -> Builder {
        self.data_plane = data_plane;
        self
    }

    /// How many times faster than told targets are checked: 10 by default, so that a check every 10 s is one every second.
    pub fn health_speed(mut self, speed: f64) -> Builder {
        self.health_speed = speed;
        self
    }

    /// Starts it in a bed: returns when it answers. A bed has one at most.
    pub async fn start(mut self, bed: &Bed) -> Result<Aws> {
        ensure!(self.health_speed > 0.0 && self.health_speed.is_finite(), "checks have to come at some time");
        let installed =
            tokio::task::spawn_blocking(programs::ensure_moto).await.context("installing moto")??;
        let model =
            std::fs::read(installed.join("elbv2.json")).context("reading AWS's description of its API")?;
        let namespace = bed.cloud_ns()?;
        let mut daemons = bed.daemons()?.into_iter();
        if let Some(daemon) = daemons.find(|daemon| daemon.name() == moto::DAEMON) {
            ensure!(daemon.process()?.is_none(), "the bed {} has an AWS already", bed.name());
        }
        moto::daemon(&installed, namespace.name()).start(bed.init())?;
        self.settings.simulated_health = match self.data_plane {
            true => None,
            false => self.settings.simulated_health.or(Settings::default().simulated_health),
        };
        let cloud = Arc::new(Cloud::new(model::Model::parse(&model)?, self.settings.clone()));
        let hosts = Hosts::take_over(bed)?;
        if self.data_plane {
            for node in bed.nodes() {
                let script = topology::answers_through_cloud(node.addresses());
                build_network(bed.init(), &format!("{}-cloud", node.name()), script)?;
            }
        }
        let (stop, stopped) = oneshot::channel();
        let (told, started) = oneshot::channel();
        let thread = {
            let (cloud, router, builder) = (cloud.clone(), bed.router_ns(), self.clone());
            namespace.spawn_inside(move || serve(&cloud, builder, router, hosts, stopped, told))?
        };
        started.await.context("the proxy's thread ended")??;
        let relay = Relay::start(&namespace, (addresses::CLOUD, PORT).into())?;
        let aws = Aws {
            cloud,
            region: self.region,
            serves: self.data_plane,
            namespace,
            relay,
            installed,
            emulator: bed.daemon(moto::DAEMON),
            stop: Some(stop),
            thread: Some(thread),
        };
        wait::until("moto", START, async || {
            bed.daemon(moto::DAEMON).pid()?;
            aws.namespace.http_get(moto::ADDRESS, "/moto-api/", None, START).await
        })
        .await?;
        Ok(aws)
    }
}

/// Runs proxy and data plane until told to stop, on a thread of the cloud's namespace and on workers that it starts there.
fn serve(
    cloud: &Arc<Cloud>,
    builder: Builder,
    router: Namespace,
    hosts: Hosts,
    stopped: oneshot::Receiver<()>,
    told: oneshot::Sender<Result<()>>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("aws")
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((addresses::CLOUD, PORT)).await;
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                let _ = told.send(Err(error).context("listening as AWS"));
                return Ok(());
            }
        };
        let _ = told.send(Ok(()));
        let answering = cloud.clone();
        let api =
            crate::cloud::http::serve(listener, move |request| proxy::handle(answering.clone(), request));
        let region = builder.region.clone();
        let plane = async {
            match builder.data_plane {
                true => dataplane::run(cloud.clone(), region.clone(), builder.health_speed, router).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            result = api => result,
            result = plane => result,
            result = hosts.follow(cloud.clone(), region.clone()) => result,
            _ = stopped => Ok(()),
        }
    });
    if let Err(error) = &result {
        eprintln!("the bed's AWS has ended: {error:#}");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// A running AWS. Dropping it ends proxy, data plane and moto; drop it before its bed, whose network its threads are in.
#[derive(Debug)]
pub struct Aws {
    cloud: Arc<Cloud>,
    region: String,
    serves: bool,
    namespace: Namespace,
    relay: Relay,
    installed: PathBuf,
    emulator: Running,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Aws {
    /// One with a data plane in us-east-1, unless told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// URL of the API for programs in the bed: what `AWS_ENDPOINT_URL` takes.
    pub fn endpoint(&self) -> String {
        format!("http://{}:{PORT}", addresses::CLOUD)
    }

    /// URL of the API for programs outside, on loopback.
    pub fn outside_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.relay.port())
    }

    /// Where [`Aws::outside_endpoint`] listens.
    pub fn outside_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.relay.port()))
    }

    /// The region with the data plane.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The shared state: load balancers, facts.
    pub fn cloud(&self) -> &Arc<Cloud> {
        &self.cloud
    }

    /// Counters, log, limits, planned faults, stale reads, the clock.
    pub fn gate(&self) -> MutexGuard<'_, Gate<Answer>> {
        self.cloud.gate()
    }

    /// The namespace in which it runs.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What was counted of an action, of whatever service.
    pub fn count(&self, action: &str) -> Counts {
        let gate = self.gate();
        let mut sum = Counts::default();
        for (name, counts) in gate.calls.counts() {
            if name.split_once(':').is_some_and(|(_, own)| own == action) {
                sum += *counts;
            }
        }
        sum
    }

    /// All calls so far.
    pub fn total(&self) -> Counts {
        let mut sum = Counts::default();
        self.gate().calls.counts().values().for_each(|counts| sum += *counts);
        sum
    }

    /// The calls that are no reads, in order.
    pub fn mutations(&self) -> Vec<Record> {
        let all = self.gate().calls.since(0);
        let read = |action: &str| ["Describe", "Get", "List"].iter().any(|start| action.starts_with(start));
        all.into_iter().filter(|record| !read(&record.action)).collect()
    }

    /// The address of a load balancer by its host name, as a DNS server would say.
    pub fn address_of(&self, dns_name: &str) -> Option<IpAddr> {
        let hosts = self.cloud.with(&self.region, |elb, _| elb.hosts());
        hosts
            .into_iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(dns_name))
            .map(|(address, _)| address.into())
    }

    /// Waits until the data plane serves what the API says now: AWS's takes its time too, and says nothing of it. Without a data plane it
    /// returns at once.
    pub async fn settled(&self) -> Result<()> {
        if !self.serves {
            return Ok(());
        }
        let mut looks = self.cloud.looks();
        let now = *looks.borrow_and_update();
        self.cloud.changed();
        // The look that is under way may have begun before; the one after it has not.
        let done = looks.wait_for(|count| *count >= now + 2);
        tokio::time::timeout(START, done)
            .await
            .context("the data plane does not look")?
            .context("the data plane is gone")?;
        Ok(())
    }

    /// Asks the API for an action of a query service, such as `elasticloadbalancing` or `ec2`; returns status and body, whatever they are.
    pub async fn ask(&self, service: &str, parameters: &[(&str, &str)]) -> Result<(u16, String)> {
        let version = match service {
            "elasticloadbalancing" => protocol::ELB_V2,
            "ec2" => "2016-11-15",
            "sts" => "2011-06-15",
            _ => "2010-05-08",
        };
        let mut all = vec![("Version", version)];
        all.extend_from_slice(parameters);
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&all).finish();
        let request = http::Request::post("/")
            .header("host", "aws.bed")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", moto::authorization(service, &self.region))
            .body(body.into())?;
        let answer = crate::cloud::http::send(self.outside_address(), request).await?;
        Ok((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
    }

    /// Asks the API for an action of a JSON service by its `X-Amz-Target`.
    pub async fn ask_json(
        &self,
        service: &str,
        target: &str,
        body: serde_json::Value,
    ) -> Result<serde_json::Value> {
        moto::json(self.outside_address(), service, &self.region, target, body).await
    }

    /// Runs a Python program in the cloud's namespace with boto3 at hand and AWS's variables set, and returns what it printed: a second opinion on the wire
    /// format.
    pub fn python(&self, program: &str) -> Result<String> {
        let python = self.installed.join("bin/python").display().to_string();
        let output = self
            .namespace
            .command()
            .args(["timeout", "--kill-after=1", "120", "env"])
            .args([
                format!("AWS_ENDPOINT_URL={}", self.endpoint()),
                format!("AWS_DEFAULT_REGION={}", self.region),
                "AWS_ACCESS_KEY_ID=bed".to_owned(),
                "AWS_SECRET_ACCESS_KEY=bed".to_owned(),
                "AWS_EC2_METADATA_DISABLED=true".to_owned(),
                "AWS_MAX_ATTEMPTS=1".to_owned(),
            ])
            .args([&python, "-c", program])
            .output()
            .context("running Python")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{}\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // The bed may be gone already, and with it moto.
        let _ = self.emulator.stop(Signal::KILL, START);
    }
}
