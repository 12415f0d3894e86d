//! Starting a bed: what it shall be like, its network, its credentials, its cluster. I/O.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node as NodeObject, ServiceAccount};
use kube::api::{Api, ListParams};

use crate::addresses::{self, MAX_NODES, NodeAddresses};
use crate::bed::{Access, Bed, Description, IMAGES, Own};
use crate::controlplane::Cluster;
use crate::daemon::Daemon;
use crate::image::Image;
use crate::init::{Init, STATE_DIR};
use crate::namespace::Namespace;
use crate::neighbours::Neighbours;
use crate::pki::{self, Authority};
use crate::programs::{self, Programs};
use crate::relay::Relay;
use crate::{topology, wait};

/// How long the parts of a bed may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What a bed shall be like.
#[derive(Clone, Debug)]
pub struct Builder {
    name: Option<String>,
    nodes: usize,
    hollow: usize,
    images: Vec<Image>,
    addresses: usize,
    ipv4_only: bool,
    bare: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            name: None,
            nodes: 3,
            hollow: 0,
            images: Vec::new(),
            addresses: 0,
            ipv4_only: false,
            bare: false,
        }
    }
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

    /// Nodes and Pods without IPv6 addresses, as Kubernetes sees it. Upstream's suite asks every address of a node for the health of
    /// a Service, and kube-proxy answers only on those of the Service's own families.
    pub fn ipv4_only(mut self, ipv4_only: bool) -> Builder {
        self.ipv4_only = ipv4_only;
        self
    }

    /// Only the network: nodes are namespaces with nothing in them, and there is no cluster. Starts in well under a second, and needs no Go.
    pub fn bare(mut self, bare: bool) -> Builder {
        self.bare = bare;
        self
    }

    /// Starts the bed: returns when all its nodes are Ready (hollow ones: are there) and Pods can be made.
    pub async fn start(self) -> Result<Bed> {
        programs::check_host()?;
        ensure!(self.nodes <= MAX_NODES, "a bed has at most {MAX_NODES} nodes; more can be hollow ones");
        ensure!(
            !self.bare || self.hollow == 0 && self.images.is_empty(),
            "a bare bed has neither Node objects nor Pods"
        );
        let programs = match self.bare {
            true => None,
            false => Some(tokio::task::spawn_blocking(Programs::ensure).await.context("building programs")??),
        };
        let name = self.name.clone().unwrap_or_else(|| {
            static COUNT: AtomicU32 = AtomicU32::new(1);
            format!("bed-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
        });
        let neighbours = Neighbours::make_room(self.addresses)?;
        let (init, life) = Init::start(&name)?;
        let nodes: Vec<NodeAddresses> = (1..=self.nodes).map(NodeAddresses::of).collect();
        build_network(&init, "network", topology::script(&nodes))?;
        let cp = Namespace { init: init.clone(), name: "cp".to_owned() };
        let api = SocketAddr::from((addresses::CONTROL_PLANE, addresses::API_PORT));
        let relay = programs.as_ref().map(|_| Relay::start(&cp, api)).transpose()?;
        let access = |(programs, relay): (&Programs, &Relay)| Access {
            programs: programs.directory().to_owned(),
            port: relay.port(),
        };
        let cluster = programs.as_ref().zip(relay.as_ref()).map(access);
        let description = Description { nodes, cluster };
        init.write("bed.json", serde_json::to_vec_pretty(&description)?)?;
        let bed = Bed {
            init,
            description,
            life: Some(Own { _neighbours: neighbours, _relay: relay, _life: life }),
        };
        let Some(programs) = programs else { return Ok(bed) };
        bed.write_credentials()?;
        bed.write_images(&self.images, &programs)?;
        if let Err(error) = bed.start_cluster(&programs, self.hollow, self.ipv4_only).await {
            bail!("{error:#}\n{}", bed.log_tails(8));
        }
        Ok(bed)
    }
}

/// Runs a script of [`topology`] in the bed.
pub(crate) fn build_network(init: &Init, name: &str, script: String) -> Result<()> {
    let file = init.write(&format!("{name}.sh"), script)?;
    let output = init
        .command(None)
        .args(["sh", &file])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("building the {name}"))?;
    ensure!(output.status.success(), "building the {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Bed {
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
        let cluster = self.description.cluster.as_ref().context("a bare bed has no credentials")?;
        let outside = format!("https://127.0.0.1:{}", cluster.port);
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

    async fn start_cluster(&self, programs: &Programs, hollow: usize, ipv4_only: bool) -> Result<()> {
        let kubernetes = programs.path("kubernetes")?;
        let node_agent = programs.path("node-agent")?;
        let cluster = Cluster { kubernetes: &kubernetes, node_agent: &node_agent, ipv4_only };
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
        let nodes = Api::<NodeObject>::all(client.clone());
        wait::until("all nodes to be Ready", START_TIMEOUT, async || {
            if let Some(dead) = self.daemons()?.iter().find_map(|daemon| daemon.pid().err()) {
                return Ok(Err(dead));
            }
            for node in self.nodes() {
                let found = nodes.get(node.name()).await?;
                ensure!(is_usable(&found), "{} is not Ready", node.name());
            }
            Ok(Ok(()))
        })
        .await??;
        // Hollow nodes are targets of load balancers, no places for Pods: it is enough that they are there. The node controller takes
        // minutes to judge thousands of them.
        let patience = START_TIMEOUT + Duration::from_millis(100) * hollow as u32;
        let expected = self.description.nodes.len() + hollow;
        wait::until("all hollow nodes to be there", patience, async || {
            if hollow == 0 {
                return Ok(());
            }
            // The server counts them: thousands of nodes are not read to learn their number.
            let one = nodes.list_metadata(&ListParams::default().limit(1)).await?;
            let made = one.items.len() + one.metadata.remaining_item_count.unwrap_or(0) as usize;
            ensure!(made == expected, "{made} of {expected} nodes are there");
            Ok(())
        })
        .await?;
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
        // As a kubelet does, every 10 s; thousands on one machine do it less often, yet twice within the node controller's grace of 50 s, so that the
        // API server has time for what is tested.
        let lease_interval = (count / 250).clamp(10, 20);
        let command = vec![
            programs.path("hollow-nodes")?,
            format!("--count={count}"),
            "--prefix=hollow-".to_owned(),
            format!("--lease-interval={lease_interval}s"),
            format!("--kubeconfig={STATE_DIR}/inside.kubeconfig"),
        ];
        Daemon::new("hollow-nodes", "cp", command).start(&self.init)
    }
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
