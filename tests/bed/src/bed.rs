//! A running bed: found, used, ended. I/O.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::addresses::NodeAddresses;
use crate::daemon::{self, Daemon, Running};
use crate::image::Image;
use crate::init::{Init, Life, STATE_DIR};
use crate::namespace::Namespace;
use crate::neighbours::Neighbours;
use crate::node::Node;
use crate::programs::Programs;
use crate::relay::Relay;
use crate::segment::Segment;
use crate::start::{Builder, build_network};
use crate::{topology, wait};

/// The node agents' table of images, which they read again when it changes.
pub(crate) const IMAGES: &str = "images.json";

/// What a bed consists of; kept in the bed as `bed.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) nodes: Vec<NodeAddresses>,
    /// None in a bare bed.
    pub(crate) cluster: Option<Access>,
}

/// How the owner reaches the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) programs: PathBuf,
    /// Port of the relay to the API server on the owner's loopback.
    pub(crate) port: u16,
}

/// A running bed. Its owner is whoever started it: when that value is dropped, or its process ends, the bed ends.
#[derive(Debug)]
pub struct Bed {
    pub(crate) init: Init,
    pub(crate) description: Description,
    /// `None` if another process owns the bed.
    pub(crate) life: Option<Own>,
}

/// What the owner holds; dropped in this order.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) _neighbours: Option<Neighbours>,
    pub(crate) _relay: Option<Relay>,
    pub(crate) _life: Life,
}

impl Bed {
    /// A bed of 3 nodes under a name of its own, unless told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
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
        ensure!(self.has_cluster(), "the bed {} is bare: it has no cluster", self.name());
        let path = self.kubeconfig();
        let kubeconfig = kube::config::Kubeconfig::read_from(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        config.read_timeout = None;
        kube::Client::try_from(config).context("making a client")
    }

    /// Whether there is a cluster; a bare bed has none.
    pub fn has_cluster(&self) -> bool {
        self.description.cluster.is_some()
    }

    /// `kubectl` with these arguments; the caller adds what else it needs and runs it.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        let cluster = self.description.cluster.as_ref();
        let cluster =
            cluster.with_context(|| format!("the bed {} is bare: it has no cluster", self.name()))?;
        let programs = Programs::open(cluster.programs.clone())?;
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
            "the bed has no namespace {name:?}; it has cp, lan, client, router, remote, e2e, one per node, router2 and far once a router was started there, and cloud or openstack once such a cloud was"
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

    /// A second router between the nodes' segment and the clients behind the first one; made when first asked for.
    pub fn second_router_ns(&self) -> Result<Namespace> {
        self.namespace_on_demand(topology::SECOND_ROUTER, topology::second_router)
    }

    /// A router two hops from the nodes, behind the first one; made when first asked for.
    pub fn far_router_ns(&self) -> Result<Namespace> {
        self.namespace_on_demand(topology::FAR_ROUTER, topology::far_router)
    }

    /// Where a cloud of the bed lives: its API and its load balancers; made when first asked for.
    pub fn cloud_ns(&self) -> Result<Namespace> {
        self.namespace_on_demand(topology::CLOUD_NAMESPACE, topology::cloud)
    }

    /// Where an OpenStack of the bed lives: its services and its load balancers; made when first asked for.
    pub fn openstack_ns(&self) -> Result<Namespace> {
        self.namespace_on_demand(topology::OPENSTACK_NAMESPACE, topology::openstack)
    }

    fn namespace_on_demand(&self, name: &str, script: fn() -> String) -> Result<Namespace> {
        if !self.init.path(&format!("/run/netns/{name}")).exists() {
            build_network(&self.init, name, script())?;
        }
        Ok(self.own_namespace(name))
    }

    /// Puts a link of its own between two namespaces, without addresses but link-local ones; returns the names of the NICs at its ends.
    pub fn cable(&self, left: &Namespace, right: &Namespace) -> Result<(String, String)> {
        build_network(&self.init, "cable", topology::cable(left.name(), right.name()))?;
        Ok(topology::cable_ends(left.name(), right.name()))
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
