//! The bed that tests share, and an echo application as they need it.

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::{Bed, Namespace, Response};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod, Service};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Long enough for anything that should happen at once on a machine with other work to do.
pub const SOON: Duration = Duration::from_secs(30);
/// How long a connection may take that should work.
pub const CONNECT: Duration = Duration::from_secs(5);
/// How long one is tried that should not work.
pub const REFUSED: Duration = Duration::from_millis(700);

/// The bed of 3 nodes that tests share; it ends with this process.
pub async fn shared() -> Result<&'static Bed> {
    static BED: OnceCell<Bed> = OnceCell::const_new();
    BED.get_or_try_init(async || Bed::builder().nodes(3).start().await).await
}

/// Creates an object of a namespaced kind.
pub async fn create<K>(client: &Client, namespace: &str, object: Value) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object).context("the test's own object")?;
    Api::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &object)
        .await
        .context("creating")
}

/// The echo application in a Kubernetes namespace of its own.
pub struct Echo {
    pub bed: &'static Bed,
    pub client: Client,
    pub namespace: String,
}

impl Echo {
    /// One Pod on each of the nodes with these numbers, named after it, all Ready. A Pod is not ready while its `/tmp/unready` exists, and goes
    /// on serving for 10 s once it is told to end.
    pub async fn on(namespace: &str, nodes: &[usize]) -> Result<Echo> {
        let bed = shared().await?;
        let client = bed.client().await?;
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<NamespaceObject>::all(client.clone()).create(&PostParams::default(), &object).await?;
        let echo = Echo { bed, client, namespace: namespace.to_owned() };
        bed.wait("the default ServiceAccount", SOON, async || {
            Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(echo.client.clone(), namespace)
                .get("default")
                .await
        })
        .await?;
        for node in nodes {
            echo.add_pod(*node).await?;
        }
        for node in nodes {
            echo.wait_ready(*node).await?;
        }
        Ok(echo)
    }

    async fn add_pod(&self, node: usize) -> Result<()> {
        create::<Pod>(
            &self.client,
            &self.namespace,
            json!({
                "metadata": {"name": format!("echo-node{node}"), "labels": {"app": "echo"}},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": format!("node{node}")},
                    "terminationGracePeriodSeconds": 15,
                    "containers": [{
                        "name": "echo",
                        "image": "registry.k8s.io/e2e-test-images/agnhost:2.55",
                        "args": ["netexec", "--http-port=8080", "--udp-port=8081", "--delay-shutdown=10"],
                        "readinessProbe": {
                            "exec": {"command": ["/bin/sh", "-c", "! test -e /tmp/unready"]},
                            "periodSeconds": 1, "failureThreshold": 1,
                        },
                    }],
                },
            }),
        )
        .await?;
        Ok(())
    }

    /// Waits until the Pod on that node is Ready.
    pub async fn wait_ready(&self, node: usize) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = format!("echo-node{node}");
        self.bed
            .wait(&format!("Pod {name} to be Ready"), SOON, async || {
                let pod = pods.get(&name).await?;
                let status = pod.status.clone().unwrap_or_default();
                let ready =
                    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
                ensure!(ready, "{:?} {:?}", status.phase, status.container_statuses);
                Ok(pod)
            })
            .await
    }

    /// A Service for the Pods: TCP 80 and UDP 81, `spec` laid over it. Returned once it has its node ports.
    pub async fn service(&self, name: &str, spec: Value) -> Result<Service> {
        let mut object = json!({
            "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "selector": {"app": "echo"},
                "ports": [
                    {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                    {"name": "udp", "port": 81, "targetPort": 8081, "protocol": "UDP"},
                ],
            },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        create(&self.client, &self.namespace, object).await
    }

    /// Writes the Service's load balancer status, as a controller would.
    pub async fn set_ingress(&self, name: &str, ingress: Value) -> Result<Service> {
        let patch = json!({"status": {"loadBalancer": {"ingress": [ingress]}}});
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        services
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .context("writing the status")
    }

    /// Runs a shell command in the Pod on that node.
    pub fn exec(&self, node: usize, command: &str) -> Result<String> {
        let pod = format!("echo-node{node}");
        self.bed.kubectl(&["exec", "-n", &self.namespace, &pod, "--", "/bin/sh", "-c", command])
    }

    /// Gets `path` from the client on the segment.
    pub async fn get(&self, target: Ipv4Addr, port: u16, path: &str, timeout: Duration) -> Result<Response> {
        self.bed.client_ns().http_get((target, port), path, None, timeout).await
    }

    /// Waits until the node answers at that address, and returns the answer's body.
    pub async fn answer(&self, target: Ipv4Addr, port: u16, path: &str) -> Result<String> {
        let what = format!("an answer of {target}:{port}{path} in {}", self.namespace);
        let wait = self.bed.wait(&what, SOON, async || self.get(target, port, path, CONNECT).await);
        Ok(wait.await?.body)
    }

    /// Waits until nothing answers at that address.
    pub async fn silence(&self, target: Ipv4Addr, port: u16) -> Result<()> {
        let what = format!("silence of {target}:{port} in {}", self.namespace);
        self.bed
            .wait(&what, SOON, async || match self.get(target, port, "/hostname", REFUSED).await {
                Ok(response) => anyhow::bail!("an answer: {}", response.body),
                Err(_) => Ok(()),
            })
            .await
    }

    /// Waits until the health check node port of a node has that status, and returns the whole response.
    pub async fn health(&self, node: usize, port: u16, status: u16) -> Result<Response> {
        let target = self.address(node)?;
        self.bed
            .wait(&format!("node{node}'s health port {port} to say {status}"), SOON, async || {
                let response = self.get(target, port, "/healthz", CONNECT).await?;
                ensure!(response.status == status, "{} {}", response.status, response.body);
                Ok(response)
            })
            .await
    }

    /// The node's address.
    pub fn address(&self, node: usize) -> Result<Ipv4Addr> {
        Ok(self.bed.node(node)?.addresses().v4)
    }

    /// Routes an address from the client through a node.
    pub fn route(&self, client: &Namespace, address: Ipv4Addr, node: usize) -> Result<()> {
        client.run(&[
            "ip",
            "route",
            "replace",
            &format!("{address}/32"),
            "via",
            &self.address(node)?.to_string(),
        ])?;
        Ok(())
    }
}

/// The node port of the Service's port of that name.
pub fn node_port(service: &Service, name: &str) -> Result<u16> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.filter(|port| port.name.as_deref() == Some(name)).find_map(|port| port.node_port);
    u16::try_from(port.with_context(|| format!("no node port of {name}"))?).context("a port")
}

/// The health check node port.
pub fn health_port(service: &Service) -> Result<u16> {
    let port = service
        .spec
        .as_ref()
        .and_then(|spec| spec.health_check_node_port)
        .context("no health check node port")?;
    u16::try_from(port).context("a port")
}
