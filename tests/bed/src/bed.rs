//! A whole bed: built, started, found again, ended. I/O.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node as NodeObject, ServiceAccount};
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use crate::addresses::{self, MAX_NODES, NodeAddresses};
use crate::controlplane::Cluster;
use crate::daemon::{self, Daemon, Running};
use crate::image::Image;
use crate::init::{Init, Life, STATE_DIR};
use crate::namespace::Namespace;
use crate::neighbours::Neighbours;
use crate::node::Node;
use crate::pki::{self, Authority};
use crate::programs::{self, Programs};
use crate::relay::Relay;
use crate::segment::Segment;
use crate::{topology, wait};

/// How long the parts of a bed may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The node agents' table of images, which they read again when it changes.
const IMAGES: &str = "images.json";

/// What a bed consists of; kept in the bed as `bed.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Description {
    nodes: Vec<NodeAddresses>,
    programs: PathBuf,
    /// Port of the relay to the API server on the owner's loopback.
    port: u16,
}

/// A running bed. Its owner is whoever started it: when that value is dropped, or its process ends, the bed ends.
#[derive(Debug)]
pub struct Bed {
    init: Init,
    description: Description,
    /// `None` if another process owns the bed.
    life: Option<Own>,
}

/// What the owner holds; dropped in this order.
#[derive(Debug)]
struct Own {
    _neighbours: Option<Neighbours>,
    _relay: Relay,
    _life: Life,
}

/// What a bed shall be like.
#[derive(Clone, Debug)]
pub struct Builder {
    name: Option<String>,
    nodes: usize,
    hollow: usize,
    images: Vec<Image>,
    addresses: usize,
}

impl Builder {
    /// The bed's name; by default one that no other bed has.
    pub fn name(mut self, name: &str) -> Builder {
        self.name = Some(name.to_owned());
        self
    }

    /// How many nodes with a data plane, at most [`MAX_NODES`]; 3 by default.
    pub fn nodes(mut self, nodes: usize) -> Builder {
        self.nodes = nodes;
        self
    }

    /// How many Node objects more, with heartbeats but nothing behind them; none by default.
    pub fn hollow(mut self, nodes: usize) -> Builder {
        self.hollow = nodes;
        self
    }

    /// One more image that Pods may use. agnhost is always there.
    pub fn image(mut self, image: Image) -> Builder {
        self.images.push(image);
        self
    }

    /// How many addresses will be in use on the bed's links. The kernel has one neighbour table for the whole machine, with room for 1,024 entries
    /// by default: for more than 500 addresses it is made larger while the bed lives. No other setting of the host is ever touched.
    pub fn addresses(mut self, addresses: usize) -> Builder {
        self.addresses = addresses;
        self
    }

    /// Starts the bed: returns when all its nodes are Ready and Pods can be made.
    pub async fn start(self) -> Result<Bed> {
        programs::check_host()?;
        ensure!(self.nodes <= MAX_NODES, "a bed has at most {MAX_NODES} nodes; more can be hollow ones");
        let programs = tokio::task::spawn_blocking(Programs::ensure).await.context("building programs")??;
        let name = self.name.clone().unwrap_or_else(|| {
            static COUNT: AtomicU32 = AtomicU32::new(1);
            format!("bed-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
        });
        let neighbours = Neighbours::make_room(self.addresses)?;
        let (init, life) = Init::start(&name)?;
        let nodes: Vec<NodeAddresses> = (1..=self.nodes).map(NodeAddresses::of).collect();
        build_network(&init, &nodes)?;
        let cp = Namespace { init: init.clone(), name: "cp".to_owned() };
        let api = SocketAddr::from((addresses::CONTROL_PLANE, addresses::API_PORT));
        let relay = Relay::start(&cp, api)?;
        let description =
            Description { nodes, programs: programs.directory().to_owned(), port: relay.port() };
        init.write("bed.json", serde_json::to_vec_pretty(&description)?)?;
        let bed = Bed {
            init,
            description,
            life: Some(Own { _neighbours: neighbours, _relay: relay, _life: life }),
        };
        bed.write_credentials()?;
        bed.write_images(&self.images, &programs)?;
        if let Err(error) = bed.start_cluster(&programs, self.hollow).await {
            bail!("{error:#}\n{}", bed.log_tails(8));
        }
        Ok(bed)
    }
}

fn build_network(init: &Init, nodes: &[NodeAddresses]) -> Result<()> {
    let file = init.write("network.sh", topology::script(nodes))?;
    let output = init
        .command(None)
        .args(["sh", &file])
        .stdin(Stdio::null())
        .output()
        .context("building the network")?;
    ensure!(output.status.success(), "building the network: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Bed {
    /// A bed of 3 nodes under a name of its own, unless told otherwise.
    pub fn builder() -> Builder {
        Builder { name: None, nodes: 3, hollow: 0, images: Vec::new(), addresses: 0 }
    }

    /// The bed of that name, owned by another process.
    pub fn attach(name: &str) -> Result<Bed> {
        let init = Init::find(name)?
            .with_context(|| format!("no bed named {name} is running; `bed up --name {name}` starts one"))?;
        let path = init.state("bed.json");
        let text =
            fs::read(&path).with_context(|| format!("the bed {name} is not up yet: {}", path.display()))?;
        let description =
            serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
        Ok(Bed { init, description, life: None })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.init.name
    }

    /// The process the bed hangs on.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// Whether this value owns the bed: dropping it ends the bed.
    pub fn is_owner(&self) -> bool {
        self.life.is_some()
    }

    fn write_credentials(&self) -> Result<()> {
        let init = &self.init;
        let authority = Authority::new()?;
        init.write("pki/ca.crt", authority.certificate())?;
        let (sa_key, sa_pub) = pki::signing_pair()?;
        init.write("pki/sa.key", sa_key)?;
        init.write("pki/sa.pub", sa_pub)?;
        let mut names: Vec<String> =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).into();
        names.extend(["kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1"].map(str::to_owned));
        names.extend([
            addresses::CONTROL_PLANE.to_string(),
            addresses::CONTROL_PLANE_V6.to_string(),
            addresses::API_CLUSTER_IP.to_string(),
        ]);
        let server = authority.server("kube-apiserver", names)?;
        init.write("pki/apiserver.crt", server.certificate)?;
        init.write("pki/apiserver.key", server.key)?;
        let kubelet_client = authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
        init.write("pki/apiserver-kubelet.crt", kubelet_client.certificate)?;
        init.write("pki/apiserver-kubelet.key", kubelet_client.key)?;
        for node in &self.description.nodes {
            let names = vec![node.name.clone(), node.v4.to_string(), node.v6.to_string()];
            let identity = authority.server(&node.name, names)?;
            init.write(&format!("pki/{}.crt", node.name), identity.certificate)?;
            init.write(&format!("pki/{}.key", node.name), identity.key)?;
        }
        let inside = format!("https://{}:{}", addresses::CONTROL_PLANE, addresses::API_PORT);
        let outside = format!("https://127.0.0.1:{}", self.description.port);
        let masters = Some("system:masters");
        for (file, url, user, group) in [
            ("kube-controller-manager", &inside, "system:kube-controller-manager", None),
            ("kube-scheduler", &inside, "system:kube-scheduler", None),
            ("kube-proxy", &inside, "system:kube-proxy", None),
            ("node", &inside, "causeway-bed:node", masters),
            ("inside", &inside, "kubernetes-admin", masters),
            ("owner", &outside, "kubernetes-admin", masters),
        ] {
            let config = authority.kubeconfig(url, &authority.client(user, group)?);
            init.write(&format!("{file}.kubeconfig"), serde_json::to_vec_pretty(&config)?)?;
        }
        Ok(())
    }

    fn write_images(&self, images: &[Image], programs: &Programs) -> Result<()> {
        let mut table = images.to_vec();
        let agnhost = programs.path("agnhost")?;
        table.push(Image::host(r"(^|/)agnhost(:|@|$)", &agnhost));
        self.init.write(IMAGES, serde_json::to_vec_pretty(&table)?)?;
        Ok(())
    }

    async fn start_cluster(&self, programs: &Programs, hollow: usize) -> Result<()> {
        let kubernetes = programs.path("kubernetes")?;
        let node_agent = programs.path("node-agent")?;
        let cluster = Cluster { kubernetes: &kubernetes, node_agent: &node_agent };
        cluster.etcd().start(&self.init)?;
        cluster.api_server().start(&self.init)?;
        let client = self.client().await?;
        wait::until("the API server", START_TIMEOUT, async || {
            if let Err(dead) = self.daemon("kube-apiserver").pid() {
                return Ok(Err(dead));
            }
            let request = http_request("/readyz")?;
            client.request_text(request).await.context("/readyz").map(Ok)
        })
        .await??;
        cluster.controller_manager().start(&self.init)?;
        cluster.scheduler().start(&self.init)?;
        for node in &self.description.nodes {
            cluster.agent(node).start(&self.init)?;
            cluster.proxy(node).start(&self.init)?;
        }
        if hollow > 0 {
            self.start_hollow_nodes(programs, hollow)?;
        }
        wait::until("the default ServiceAccount", START_TIMEOUT, async || {
            Api::<ServiceAccount>::default_namespaced(client.clone()).get("default").await
        })
        .await?;
        let expected = self.description.nodes.len() + hollow;
        let patience = START_TIMEOUT + Duration::from_millis(50) * hollow as u32;
        wait::until("all nodes to be Ready", patience, async || {
            if let Some(dead) = self.daemons()?.iter().find_map(|daemon| daemon.pid().err()) {
                return Ok(Err(dead));
            }
            let params = ListParams::default().match_any();
            let nodes = Api::<NodeObject>::all(client.clone()).list(&params).await?.items;
            let ready = nodes.iter().filter(|node| is_usable(node)).count();
            ensure!(ready == expected, "{ready} of {expected} nodes are Ready");
            Ok(Ok(()))
        })
        .await??;
        for node in self.nodes() {
            wait::until("kube-proxy", START_TIMEOUT, async || {
                let health = node
                    .namespace()
                    .http_get(([127, 0, 0, 1], 10256), "/healthz", None, START_TIMEOUT)
                    .await?;
                ensure!(health.status == 200, "{}: {} {}", node.name(), health.status, health.body);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    fn start_hollow_nodes(&self, programs: &Programs, count: usize) -> Result<()> {
        let command = vec![
            programs.path("hollow-nodes")?,
            format!("--count={count}"),
            "--prefix=hollow".to_owned(),
            format!("--kubeconfig={STATE_DIR}/inside.kubeconfig"),
        ];
        Daemon::new("hollow-nodes", "cp", command).start(&self.init)
    }

    /// A kubeconfig of a cluster administrator, as the owner can open and use it while the bed lives.
    pub fn kubeconfig(&self) -> PathBuf {
        self.init.state("owner.kubeconfig")
    }

    /// Path, inside the bed's mounts, of a kubeconfig that works from the bed's network namespaces.
    pub fn inside_kubeconfig(&self) -> String {
        format!("{STATE_DIR}/inside.kubeconfig")
    }

    /// A client of the API server, a cluster administrator. Make one per runtime: it dies with the runtime that made it.
    pub async fn client(&self) -> Result<kube::Client> {
        let path = self.kubeconfig();
        let kubeconfig = kube::config::Kubeconfig::read_from(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        config.read_timeout = None;
        kube::Client::try_from(config).context("making a client")
    }

    /// `kubectl` with these arguments; the caller adds what else it needs and runs it.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        let programs = Programs::open(self.description.programs.clone())?;
        let mut command = Command::new(programs.path("kubernetes")?);
        command.arg("kubectl").args(arguments).env("KUBECONFIG", self.kubeconfig());
        Ok(command)
    }

    /// Runs `kubectl` and returns what it printed; a failure says what it complained about.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        checked(arguments, self.kubectl_command(arguments)?.stdin(Stdio::null()).output()?)
    }

    /// Applies manifests on the server's side.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        use std::io::Write;
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let mut child = self
            .kubectl_command(&arguments)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        let yaml = yaml.to_owned();
        // On a thread: kubectl may print before it has read everything.
        let writer = thread::spawn(move || input.write_all(yaml.as_bytes()));
        let output = child.wait_with_output()?;
        // If it did not read everything, its own message is the better one.
        let _ = writer.join();
        checked(&arguments, output)
    }

    /// Looks at a condition until it holds; see [`wait::until`].
    pub async fn wait<T, E: std::fmt::Display>(
        &self,
        what: &str,
        timeout: Duration,
        look: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T> {
        wait::until(what, timeout, look).await
    }

    /// Adds an image that Pods may use from now on; it comes before those there are.
    pub fn add_image(&self, image: Image) -> Result<()> {
        let path = self.init.state(IMAGES);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut table: Vec<Image> = serde_json::from_slice(&text).context("parsing the table of images")?;
        table.insert(0, image);
        self.init.write(IMAGES, serde_json::to_vec_pretty(&table)?)?;
        Ok(())
    }

    /// The network namespace of that name.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        let path = self.init.path(&format!("/run/netns/{name}"));
        let fits = !name.is_empty() && !name.contains('/') && path.exists();
        ensure!(
            fits,
            "the bed has no namespace {name:?}; it has cp, lan, client, router, remote, e2e and one per node"
        );
        Ok(Namespace { init: self.init.clone(), name: name.to_owned() })
    }

    fn own_namespace(&self, name: &str) -> Namespace {
        Namespace { init: self.init.clone(), name: name.to_owned() }
    }

    /// The client on the nodes' segment.
    pub fn client_ns(&self) -> Namespace {
        self.own_namespace("client")
    }

    /// The client behind the router.
    pub fn remote_ns(&self) -> Namespace {
        self.own_namespace("remote")
    }

    /// The router.
    pub fn router_ns(&self) -> Namespace {
        self.own_namespace("router")
    }

    /// Where the upstream suite runs.
    pub fn e2e_ns(&self) -> Namespace {
        self.own_namespace("e2e")
    }

    /// The control plane's namespace.
    pub fn control_plane_ns(&self) -> Namespace {
        self.own_namespace("cp")
    }

    /// The bridge that joins the nodes: where links fail.
    pub fn segment(&self) -> Segment {
        Segment { lan: self.own_namespace("lan") }
    }

    /// Node number `number`, counted from 1.
    pub fn node(&self, number: usize) -> Result<Node> {
        let count = self.description.nodes.len();
        ensure!((1..=count).contains(&number), "the bed has {count} nodes, none with number {number}");
        Ok(Node { init: self.init.clone(), all: self.description.nodes.clone(), index: number - 1 })
    }

    /// The node of that name.
    pub fn node_named(&self, name: &str) -> Result<Node> {
        let node = self.description.nodes.iter().find(|node| node.name == name);
        self.node(node.with_context(|| format!("the bed has no node {name:?}"))?.number)
    }

    /// All nodes with a data plane.
    pub fn nodes(&self) -> Vec<Node> {
        let all = &self.description.nodes;
        (0..all.len()).map(|index| Node { init: self.init.clone(), all: all.clone(), index }).collect()
    }

    /// A daemon of the bed: `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `node<i>-agent`, `node<i>-kube-proxy`,
    /// `hollow-nodes` or one the test started.
    pub fn daemon(&self, name: &str) -> Running {
        Running { init: self.init.clone(), name: name.to_owned() }
    }

    /// All daemons that were started.
    pub fn daemons(&self) -> Result<Vec<Running>> {
        daemon::list(&self.init)
    }

    /// Starts one more daemon.
    pub fn start_daemon(&self, daemon: Daemon) -> Result<Running> {
        let name = daemon.name.clone();
        daemon.start(&self.init)?;
        Ok(self.daemon(&name))
    }

    /// The API server's process.
    pub fn api_server(&self) -> Running {
        self.daemon("kube-apiserver")
    }

    /// The ends of all logs, for the message of a failed test.
    pub fn log_tails(&self, lines: usize) -> String {
        let Ok(daemons) = self.daemons() else { return String::new() };
        let tail = |daemon: &Running| format!("--- {} ---\n{}\n", daemon.name(), daemon.log_tail(lines));
        daemons.iter().map(tail).collect()
    }

    /// Ends the bed, whoever owns it, and returns when nothing of it is left.
    pub fn down(mut self) -> Result<()> {
        if let Some(own) = self.life.take() {
            drop(own);
            return Ok(());
        }
        let init = &self.init;
        init.kill()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while Init::find(&init.name)?.is_some_and(|other| other.pid == init.pid) {
            ensure!(Instant::now() < deadline, "the bed {} does not end", init.name);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.is_owner() && thread::panicking() {
            eprintln!("the bed {} at the time of the failure:\n{}", self.name(), self.log_tails(10));
        }
    }
}

fn checked(arguments: &[&str], output: Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "kubectl {}: {}: {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn http_request(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).context("a request")
}

/// Ready, and without the taint that keeps Pods away until the node controller has seen that.
fn is_usable(node: &NodeObject) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True");
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    ready && !taints.any(|taint| taint.key == "node.kubernetes.io/not-ready")
}
