//! The OpenStack of the bed: real Keystone, Neutron, Octavia and Barbican, faults as a test wants them, and load balancers that serve real traffic.
//!
//! ```text
//!   client --HTTP--> proxy (10.77.0.241, one port per service) --> gate (counts, faults)   crate::cloud
//!                      `--> Keystone, Neutron, Octavia, Barbican on loopback --> MariaDB
//!   Octavia's worker --> compute.py   no virtual machines: ports of amphorae are bound, and that is all
//!                    `-> amphora.py   haproxy with Octavia's own configuration, one per load balancer
//!   traffic.py: addresses, floating IPs, security groups, UDP and SCTP: what Neutron and Octavia have in their databases becomes true in the kernel
//! ```
//!
//! Everything runs in the namespace [`crate::topology::OPENSTACK_NAMESPACE`] of its bed and ends with it, or when [`Cloud`] is dropped. Clients outside the bed come through relays on the owner's
//! loopback; the proxy tells them URLs that lead there.

mod call;
mod client;
mod control;
mod credentials;
mod daemons;
mod errors;
mod overview;
mod pages;
mod proxy;
mod seed;
mod service;
mod shared;
mod tokens;
mod urls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::bed::Bed;
use crate::cloud::{Counts, Gate, Record};
use crate::namespace::Namespace;
use crate::process::Signal;
use crate::relay::Relay;
use crate::{addresses, programs};

pub use client::{Client, PASSWORD, Reply, password_login};
pub use credentials::REGION;
pub use errors::GATEWAY;
pub use pages::SMALL_PAGE;
pub use proxy::{Answer, CONTROL, LOOK};
pub use seed::{Instance, Seed, instance_id};
pub use service::Service;
pub use shared::Shared;
pub use tokens::EXPIRED_TOKEN;

/// How long a daemon may take to end.
const STOP: Duration = Duration::from_secs(30);

/// Who serves load balancers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Provider {
    /// Octavia's own provider, haproxy: real traffic.
    #[default]
    Amphora,
    /// OVN: the API and the rows of the northbound database, no traffic. The amphora provider is there too.
    Ovn,
}

impl Provider {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Amphora => "amphora",
            Provider::Ovn => "ovn",
        }
    }
}

/// What the bed's OpenStack shall be like.
#[derive(Clone, Debug)]
pub struct Builder {
    provider: Provider,
    data_plane: bool,
    token_seconds: u64,
    token_cache_seconds: i64,
    floating_ips: i64,
    security_groups: i64,
    load_balancers: i64,
    page: u64,
    hollow: usize,
    compute: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            provider: Provider::Amphora,
            data_plane: true,
            token_seconds: 3600,
            token_cache_seconds: 300,
            floating_ips: -1,
            security_groups: -1,
            load_balancers: -1,
            page: 0,
            hollow: 0,
            compute: false,
        }
    }
}

impl Builder {
    /// The default provider of load balancers; amphora by default.
    pub fn provider(mut self, provider: Provider) -> Builder {
        self.provider = provider;
        self
    }

    /// Whether load balancers of the amphora provider serve traffic; without, they become ACTIVE and stay OFFLINE, and are made sooner. With by default.
    pub fn data_plane(mut self, data_plane: bool) -> Builder {
        self.data_plane = data_plane;
        self
    }

    /// How long Keystone's tokens are good; an hour by default.
    pub fn token_seconds(mut self, seconds: u64) -> Builder {
        self.token_seconds = seconds;
        self
    }

    /// How long services believe a token that they have asked Keystone about; 300 s by default, as anywhere. -1: they ask every time.
    pub fn token_cache_seconds(mut self, seconds: i64) -> Builder {
        self.token_cache_seconds = seconds;
        self
    }

    /// Each project's quota of floating IPs; none (-1) by default.
    pub fn floating_ips(mut self, quota: i64) -> Builder {
        self.floating_ips = quota;
        self
    }

    /// Each project's quota of security groups; none (-1) by default.
    pub fn security_groups(mut self, quota: i64) -> Builder {
        self.security_groups = quota;
        self
    }

    /// Each project's quota of load balancers; none (-1) by default.
    pub fn load_balancers(mut self, quota: i64) -> Builder {
        self.load_balancers = quota;
        self
    }

    /// The longest page of a list, as an operator sets it; 0, the default, leaves what services have (1,000 in Octavia, no limit in Neutron).
    pub fn page(mut self, entries: u64) -> Builder {
        self.page = entries;
        self
    }

    /// Instances for so many hollow nodes more.
    pub fn hollow(mut self, nodes: usize) -> Builder {
        self.hollow = nodes;
        self
    }

    /// Whether Nova is there: its API, with a server for each instance, and no hypervisor. Without by default: nobody but the node controllers asks it.
    pub fn compute(mut self, compute: bool) -> Builder {
        self.compute = compute;
        self
    }

    /// The services that it has.
    fn services(&self) -> impl Iterator<Item = Service> + use<> {
        let compute = self.compute;
        Service::ALL.into_iter().filter(move |service| compute || *service != Service::Compute)
    }

    /// Starts it in a bed: returns when all services answer and each node has its port. A bed has one at most.
    pub async fn start(mut self, bed: &Bed) -> Result<Cloud> {
        ensure!(self.token_cache_seconds >= -1, "tokens are not kept for {} s", self.token_cache_seconds);
        if self.provider == Provider::Ovn {
            // The amphorae of such a cloud serve nothing: its networks are OVN's, which has no counterpart in the bed.
            self.data_plane = false;
        }
        let installed = tokio::task::spawn_blocking(programs::ensure_openstack)
            .await
            .context("installing OpenStack")??;
        let seed = installed.join("state").join(self.provider.name()).join("seed.json");
        let seed = std::fs::read(&seed).with_context(|| format!("reading {}", seed.display()))?;
        let seed: Seed = serde_json::from_slice(&seed).context("what the cloud begins with")?;
        let namespace = bed.openstack_ns()?;
        for name in daemons::NAMES {
            if let Some(daemon) = bed.daemons()?.into_iter().find(|daemon| daemon.name() == name) {
                ensure!(daemon.process()?.is_none(), "the bed {} has an OpenStack already", bed.name());
            }
        }
        daemons::lay(bed, &installed, &self)?;
        let amphorae = bed.init().state(&format!("{}/run/amphorae", daemons::FOLDER));
        let shared = Arc::new(Shared::new(amphorae));
        let (stop, stopped) = oneshot::channel();
        let (told, started) = oneshot::channel();
        let thread = {
            let shared = shared.clone();
            namespace.spawn_inside(move || serve(&shared, stopped, told))?
        };
        started.await.context("the proxy's thread ended")??;
        let relays: Vec<Relay> = Service::ALL
            .iter()
            .map(|service| Relay::start(&namespace, (addresses::OPENSTACK, service.port()).into()))
            .collect::<Result<_>>()?;
        let ports = std::array::from_fn(|index| relays[index].port());
        let _ = shared.relays.set(ports);
        let mut cloud = Cloud {
            shared,
            seed,
            instances: Vec::new(),
            provider: self.provider,
            namespace: namespace.clone(),
            client: Client::new(ports),
            relays,
            installed,
            daemons: daemons::NAMES.map(|name| bed.daemon(name)).into(),
            stop: Some(stop),
            thread: Some(thread),
        };
        daemons::start(bed, &namespace, &cloud.installed, &self).await?;
        for node in bed.nodes() {
            let node = node.addresses();
            cloud.add_instance(&node.name, node.number, Some((node.v4, node.v6))).await?;
        }
        for number in 0..self.hollow {
            cloud.add_instance(&format!("hollow-{number}"), 1000 + number, None).await?;
        }
        if self.compute {
            cloud.set_servers(cloud.instances(), true)?;
        }
        cloud.gate().calls.forget();
        Ok(cloud)
    }
}

/// Runs the proxy until told to stop, on a thread of the cloud's namespace and on workers that it starts there.
fn serve(
    shared: &Arc<Shared>,
    stopped: oneshot::Receiver<()>,
    told: oneshot::Sender<Result<()>>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("openstack")
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let mut proxies = tokio::task::JoinSet::new();
        for service in Service::ALL {
            let listener = tokio::net::TcpListener::bind((addresses::OPENSTACK, service.port())).await;
            let listener = match listener {
                Ok(listener) => listener,
                Err(error) => {
                    let _ = told.send(Err(error).context("listening as OpenStack"));
                    return Ok(());
                }
            };
            let shared = shared.clone();
            proxies.spawn(crate::cloud::http::serve(listener, move |request| {
                proxy::handle(shared.clone(), service, request)
            }));
        }
        let _ = told.send(Ok(()));
        tokio::select! {
            Some(ended) = proxies.join_next() => ended.context("a proxy")?,
            _ = stopped => Ok(()),
        }
    });
    if let Err(error) = &result {
        eprintln!("the proxy of the bed's OpenStack has ended: {error:#}");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// A running OpenStack. Dropping it ends all of it; drop it before its bed, whose network its threads are in.
#[derive(Debug)]
pub struct Cloud {
    shared: Arc<Shared>,
    seed: Seed,
    instances: Vec<Instance>,
    provider: Provider,
    namespace: Namespace,
    client: Client,
    /// Held: they end with this value.
    relays: Vec<Relay>,
    installed: PathBuf,
    daemons: Vec<crate::daemon::Running>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Cloud {
    /// One with Octavia's own provider and real traffic, unless told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts one as it is by default.
    pub async fn start(bed: &Bed) -> Result<Cloud> {
        Cloud::builder().start(bed).await
    }

    /// Counters, log, limits, planned faults, stale reads, the clock.
    pub fn gate(&self) -> MutexGuard<'_, Gate<Answer>> {
        self.shared.gate()
    }

    /// What is in it from the start.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The nodes' instances.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// The provider of load balancers by default.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The namespace in which it runs.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Asks the APIs, through the proxy.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// URL of a service for programs in the bed. Keystone's is what `auth_url` begins with; the others are in the catalog.
    pub fn endpoint(&self, service: Service) -> String {
        service.inside()
    }

    /// URL of a service for programs outside, on loopback. Who asks Keystone there gets a catalog of such URLs.
    pub fn outside_endpoint(&self, service: Service) -> String {
        format!("http://{}", self.outside_address(service))
    }

    /// Where [`Cloud::outside_endpoint`] listens.
    pub fn outside_address(&self, service: Service) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.relays[service.index()].port()))
    }

    /// `clouds.yaml` with the clouds `k8s`, `other` and `admin`, for programs in the bed or outside.
    pub fn clouds_yaml(&self, inside: bool) -> String {
        credentials::clouds_yaml(&self.identity(inside))
    }

    /// The configuration of a cloud controller, for programs in the bed or outside.
    pub fn cloud_conf(&self, inside: bool) -> String {
        credentials::cloud_conf(&self.identity(inside), &self.seed, self.provider.name())
    }

    /// Lines by which a shell's OpenStack clients find it as that user.
    pub fn variables(&self, inside: bool, user: &str) -> String {
        credentials::variables(&self.identity(inside), user)
    }

    fn identity(&self, inside: bool) -> String {
        match inside {
            true => self.endpoint(Service::Identity),
            false => self.outside_endpoint(Service::Identity),
        }
    }

    /// What was counted of the calls that a pattern covers, such as `load-balancer:POST *`.
    pub fn count(&self, calls: &str) -> Counts {
        let pattern = crate::cloud::pattern::Pattern::from(calls);
        let gate = self.gate();
        let mut sum = Counts::default();
        for (name, counts) in gate.calls.counts() {
            if name.split_once(':').is_some_and(|(service, action)| pattern.covers(service, action)) {
                sum += *counts;
            }
        }
        sum
    }

    /// The calls that are no reads, in order.
    pub fn mutations(&self) -> Vec<Record> {
        let all = self.gate().calls.since(0);
        all.into_iter().filter(|record| !call::is_read(&record.action)).collect()
    }

    /// All tokens given out so far are refused from now on; says how many there were.
    pub fn expire_tokens(&self) -> usize {
        self.shared.tokens().expire_all()
    }

    /// From now on no host is found for new amphorae, or again one is: a load balancer that is made meanwhile goes to ERROR.
    pub fn fail_builds(&self, fail: bool) -> Result<()> {
        self.shared.fail_builds(fail)
    }

    /// How long new amphorae take to boot from now on.
    pub fn build_seconds(&self, seconds: f64) -> Result<()> {
        self.shared.build_seconds(seconds)
    }

    /// One more node's instance. Number `number` of the bed's nodes has its address there; others have addresses of the nodes' subnets.
    pub async fn add_instance(
        &mut self,
        node: &str,
        number: usize,
        addresses: Option<(std::net::Ipv4Addr, std::net::Ipv6Addr)>,
    ) -> Result<Instance> {
        let (v4, v6) = (self.seed.subnet("nodes-subnet")?, self.seed.subnet("nodes-subnet-v6")?);
        let fixed = match addresses {
            Some((own_v4, own_v6)) => {
                json!([{"subnet_id": v4, "ip_address": own_v4}, {"subnet_id": v6, "ip_address": own_v6}])
            }
            None => json!([{"subnet_id": v4}, {"subnet_id": v6}]),
        };
        let id = instance_id(number);
        let port = json!({"port": {
            "network_id": self.seed.nodes_network, "name": node, "project_id": self.seed.projects.get("k8s"),
            "device_id": id, "device_owner": "compute:nova", "fixed_ips": fixed,
            "security_groups": [self.seed.nodes_security_group],
        }});
        let made = self.client.set_up("admin", Service::Network, "POST", "/v2.0/ports", port).await?;
        let addresses = made["port"]["fixed_ips"].as_array().into_iter().flatten();
        let addresses = addresses.filter_map(|each| each["ip_address"].as_str()?.parse().ok()).collect();
        let port = made["port"]["id"].as_str().context("a port without an id")?.to_owned();
        let instance = Instance { node: node.to_owned(), id, port, addresses };
        self.instances.push(instance.clone());
        Ok(instance)
    }

    /// Gives the Node objects their provider ids and the labels of their places, as a cloud controller would have done.
    pub async fn label_nodes(&self, bed: &Bed) -> Result<()> {
        let nodes: Api<Node> = Api::all(bed.client().await?);
        for instance in &self.instances {
            let patch: Value = json!({
                "metadata": {"labels": {"topology.kubernetes.io/zone": "az1", "topology.kubernetes.io/region": REGION}},
                "spec": {"providerID": instance.provider_id()},
            });
            let patched = nodes.patch(&instance.node, &PatchParams::default(), &Patch::Merge(&patch)).await;
            patched.with_context(|| format!("giving {} its provider id", instance.node))?;
        }
        Ok(())
    }

    /// From now on these instances are servers that run, or are stopped.
    pub fn set_servers(&self, instances: &[Instance], running: bool) -> Result<()> {
        let state = if running { "active" } else { "stopped" };
        let servers: Vec<Value> = instances
            .iter()
            .map(|i| {
                json!({"id": i.id, "name": i.node, "project": self.seed.projects.get("k8s"), "state": state, "zone": "az1", "flavor": "m1.small",
                    "fixed": i.addresses})
            })
            .collect();
        self.machines(&json!({ "set": servers }))
    }

    /// From now on this instance is no server any more.
    pub fn delete_server(&self, instance: &Instance) -> Result<()> {
        self.machines(&json!({ "delete": [instance.id] }))
    }

    /// Changes servers in Nova's database.
    fn machines(&self, changes: &Value) -> Result<()> {
        let folder = format!("{}/{}", crate::init::STATE_DIR, daemons::FOLDER);
        let mut command = self.namespace.command();
        command.args(["timeout", "--kill-after=1", "120", "env", "PYTHONWARNINGS=ignore"]);
        command.arg(format!("OS_NOVA_CONFIG_DIR={folder}/etc"));
        command.arg(self.installed.join("bin/python")).arg(format!("{folder}/machines.py"));
        let output = command.arg(changes.to_string()).output().context("running machines.py")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "machines.py: {complaint}");
        Ok(())
    }

    /// Runs a Python program in the cloud's namespace with openstacksdk at hand and `OS_CLOUD=k8s`, and returns what it printed: a second opinion on the APIs.
    pub fn python(&self, program: &str) -> Result<String> {
        let python = self.installed.join("bin/python").display().to_string();
        let mut command = self.namespace.command();
        command.args(["timeout", "--kill-after=1", "300", "env", "PYTHONWARNINGS=ignore"]);
        let variables = self.variables(true, "k8s").replace("export ", " ");
        let output = command
            .args(variables.split_whitespace())
            .args([&python, "-c", program])
            .output()
            .context("running Python")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}\n{said}{complaint}", output.status);
        Ok(said)
    }

    /// Runs `ovn-nbctl` on the northbound database of a cloud with the OVN provider.
    pub fn ovn_nbctl(&self, arguments: &[&str]) -> Result<String> {
        ensure!(self.provider == Provider::Ovn, "this cloud has no OVN");
        let program = self.installed.join("debian/usr/bin/ovn-nbctl").display().to_string();
        let database = format!("--db=unix:{}/{}/ovn/nb.sock", crate::init::STATE_DIR, daemons::FOLDER);
        let mut command = vec![program.as_str(), database.as_str()];
        command.extend_from_slice(arguments);
        self.namespace.run(&command)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // The bed may be gone already, and with it all of them; those that a cloud of this kind has not were never started.
        for daemon in &self.daemons {
            let _ = daemon.stop(Signal::KILL, STOP);
        }
        // What daemons have started in the background is left: haproxies.
        let _ = self.namespace.run(&["sh", "-c", LEFT_OVER]);
    }
}

/// Ends the haproxies of load balancers, and takes what the kernel was told.
const LEFT_OVER: &str = "for pid in /run/bed/openstack/run/amphorae/*/pid; do [ -f \"$pid\" ] && kill -9 $(cat \"$pid\"); done; \
    nft 'add table inet openstack; delete table inet openstack'; \
    ip -o addr show dev eth0 | awk '$4 ~ \"/(32|128)$\" { print \"addr del\", $4, \"dev eth0\" }' | ip -force -batch -; true";
