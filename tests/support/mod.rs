//! What the end-to-end tests share: one bed per test program with Causeway in it from `deploy/`, used by one test at a time. I/O.
//!
//! The bed ends with the test program. Each test works in a namespace of its own and leaves nodes and controllers as it found them.

// Each test program uses a part of it.
#![allow(dead_code, reason = "shared by several test programs, each of which uses a part")]

pub mod check;
pub mod controller;
pub mod traffic;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::{Bed, Image, Signal, process, wait};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Service, ServiceAccount};
use kube::api::{Api, ListParams};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// Longest wait for something that takes well under a second on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);
/// Longest wait for Pods to be ready.
pub const PODS: Duration = Duration::from_secs(90);

/// The sample application, and two Services in front of it. Its Pods answer on for ten seconds when they are to end, as those do that want no
/// request lost: by then each kube-proxy has heard of it, on a busy machine too.
const APPLICATION: &str = r"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello, namespace: NAMESPACE}, spec: {
  replicas: 3, selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {
    terminationGracePeriodSeconds: 15,
    topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
      labelSelector: {matchLabels: {app: hello}}}],
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080, --delay-shutdown=10],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: cluster, namespace: NAMESPACE}, spec: {
  type: LoadBalancer, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: local, namespace: NAMESPACE}, spec: {
  type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}
";

static BED: OnceCell<Bed> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// The bed, for the time of one test.
pub struct Lab {
    pub bed: &'static Bed,
    pub client: kube::Client,
    /// The test's own namespace.
    pub namespace: String,
    _turn: MutexGuard<'static, ()>,
}

/// The root of the repository.
pub fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Our image for a bed: what the environment says, else built now.
pub fn images() -> Result<Vec<Image>> {
    let file = match std::env::var_os("CAUSEWAY_BED_IMAGES") {
        Some(file) => PathBuf::from(file),
        None => {
            let script = top().join("tests/scripts/bed-image.sh");
            let output = Command::new(&script)
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()
                .with_context(|| format!("running {}", script.display()))?;
            ensure!(output.status.success(), "{} failed", script.display());
            let text = String::from_utf8(output.stdout)?;
            PathBuf::from(text.lines().last().unwrap_or_default())
        }
    };
    let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parsing {}", file.display()))
}

/// A bed with our image and nothing deployed.
pub async fn empty_bed(nodes: usize) -> Result<Bed> {
    let mut builder = Bed::builder().nodes(nodes);
    for image in tokio::task::spawn_blocking(images).await?? {
        builder = builder.image(image);
    }
    builder.start().await
}

/// Applies the overlay for bare metal as it stands in the repository.
pub fn deploy(bed: &Bed) -> Result<()> {
    let overlay = top().join("deploy/kustomize/metal");
    bed.kubectl(&["apply", "--server-side", "-k", &overlay.display().to_string()])?;
    Ok(())
}

/// Waits until controllers and speakers are ready.
pub fn wait_deployed(bed: &Bed) -> Result<()> {
    let timeout = format!("--timeout={}s", PODS.as_secs());
    for workload in ["deployment/causeway", "daemonset/causeway-speaker"] {
        bed.kubectl(&["-n", "kube-system", "rollout", "status", workload, &timeout])
            .with_context(|| causeway_logs(bed))?;
    }
    Ok(())
}

/// What our Pods said last, for the message of a failed test.
pub fn causeway_logs(bed: &Bed) -> String {
    let arguments =
        ["-n", "kube-system", "logs", "-l", "app.kubernetes.io/name=causeway", "--prefix", "--tail=60"];
    bed.kubectl(&arguments).unwrap_or_else(|error| format!("no logs: {error:#}"))
}

async fn start() -> Result<Bed> {
    let bed = empty_bed(3).await?;
    deploy(&bed)?;
    bed.kubectl(&["apply", "-f", &manifest("pool.yaml")])?;
    bed.kubectl(&["apply", "-f", &manifest("hello.yaml")])?;
    wait_deployed(&bed)?;
    bed.kubectl(&["rollout", "status", "deployment/hello", &format!("--timeout={}s", PODS.as_secs())])?;
    Ok(bed)
}

/// Path of a manifest of the tests.
pub fn manifest(name: &str) -> String {
    Path::new(&top()).join("tests/manifests").join(name).display().to_string()
}

impl Lab {
    /// The bed, once it is this test's turn.
    pub async fn enter(test: &str) -> Result<Lab> {
        let turn = TURN.lock().await;
        let bed = BED.get_or_try_init(start).await?;
        let client = bed.client().await?;
        bed.kubectl(&["create", "namespace", test])?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), test);
        wait::until("the namespace's default ServiceAccount", SOON, async || accounts.get("default").await)
            .await?;
        Ok(Lab { bed, client, namespace: test.to_owned(), _turn: turn })
    }

    /// Runs the test's body; if it fails, its error has the state of the cluster with it.
    pub async fn run(test: &str, body: impl AsyncFnOnce(&Lab) -> Result<()>) {
        let lab = match Lab::enter(test).await {
            Ok(lab) => lab,
            Err(error) => panic!("starting: {error:#}"),
        };
        let outcome = body(&lab).await;
        if let Err(error) = outcome {
            let services = lab.bed.kubectl(&["get", "services,pods", "-A", "-o", "wide"]).unwrap_or_default();
            let events = lab.bed.kubectl(&["-n", &lab.namespace, "get", "events"]).unwrap_or_default();
            panic!("{error:#}\n{services}\n{events}\n{}", causeway_logs(lab.bed));
        }
        // Gives back what the test took; nobody waits for it.
        if let Err(error) = lab.bed.kubectl(&["delete", "namespace", test, "--wait=false"]) {
            panic!("cleaning up: {error:#}");
        }
    }

    /// Applies manifests in the test's namespace.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.bed.apply(&yaml.replace("NAMESPACE", &self.namespace)).map(drop)
    }

    /// Deploys the application, one Pod on each node, and waits until both its Services answer; their addresses, that with the policy Cluster first.
    pub async fn application(&self) -> Result<(Ipv4Addr, Ipv4Addr)> {
        self.apply(APPLICATION)?;
        self.kubectl(&["rollout", "status", "deployment/hello", &format!("--timeout={}s", PODS.as_secs())])?;
        let (cluster, local) = (self.address("cluster").await?, self.address("local").await?);
        self.answer(cluster, "/hostname", SOON).await?;
        self.answer(local, "/hostname", SOON).await?;
        Ok((cluster, local))
    }

    /// What the speaker of a node has logged.
    pub fn speaker_log(&self, node: usize) -> Result<String> {
        let field = format!("spec.nodeName=node{node}");
        let selector = "app.kubernetes.io/component=speaker";
        let arguments =
            ["-n", "kube-system", "get", "pods", "-l", selector, "--field-selector", &field, "-o", "name"];
        let pods = self.bed.kubectl(&arguments)?;
        let pod = pods.lines().next().with_context(|| format!("no speaker on node{node}"))?;
        self.bed.kubectl(&["-n", "kube-system", "logs", pod])
    }

    /// kubectl in the test's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        self.bed.kubectl(&all)
    }

    /// A Service of type LoadBalancer with one port and no endpoints; `spec` is more YAML of its spec, as a flow mapping's inside.
    pub fn create_service(&self, name: &str, metadata: &str, spec: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: NAMESPACE, {metadata}}}, \
             spec: {{type: LoadBalancer, selector: {{app: none}}, ports: [{{port: 80, targetPort: 8080}}], {spec}}}}}"
        ))
    }

    /// A Service of the test's namespace.
    pub async fn service(&self, name: &str) -> Result<Service> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        services.get(name).await.with_context(|| format!("service {name}"))
    }

    /// Waits for a Service's IPv4 address.
    pub async fn address(&self, name: &str) -> Result<Ipv4Addr> {
        self.address_within(name, SOON).await
    }

    /// Waits for a Service's IPv4 address.
    pub async fn address_within(&self, name: &str, timeout: Duration) -> Result<Ipv4Addr> {
        wait::until(&format!("the address of {name}"), timeout, async || {
            let service = self.service(name).await?;
            addresses(&service).first().copied().with_context(|| format!("no address: {:?}", service.status))
        })
        .await
    }

    /// Waits until a Service is as `holds` says.
    pub async fn until_service(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Service) -> bool,
    ) -> Result<Service> {
        wait::until(&format!("{name} to be {what}"), SOON, async || {
            let service = self.service(name).await?;
            ensure!(holds(&service), "metadata {:?}, status {:?}", service.metadata, service.status);
            Ok(service)
        })
        .await
    }

    /// All Events on an object: reason and message.
    pub async fn events(&self, namespace: &str, kind: &str, name: &str) -> Result<Vec<(String, String)>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let list = events.list(&ListParams::default().fields(&fields)).await?;
        Ok(list.into_iter().map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect())
    }

    /// Waits for an Event on an object whose message holds each of `parts`, and returns the message.
    pub async fn event(
        &self,
        (namespace, kind, name): (&str, &str, &str),
        reason: &str,
        parts: &[&str],
    ) -> Result<String> {
        wait::until(&format!("Event {reason} on {kind} {name}"), SOON, async || {
            let events = self.events(namespace, kind, name).await?;
            let fits = |m: &str| parts.iter().all(|part| m.contains(part));
            let found = events.iter().find(|(r, m)| r == reason && fits(m)).map(|(_, m)| m.clone());
            found.with_context(|| format!("{events:?}"))
        })
        .await
    }

    /// Asks by broadcast who has an address; the numbers of all nodes that answer within two requests.
    pub fn announcers(&self, address: Ipv4Addr) -> Result<BTreeSet<usize>> {
        announcers(self.bed, address)
    }

    /// Waits until exactly one node answers for an address, other than `not`.
    pub async fn announcer(&self, address: Ipv4Addr, not: Option<usize>) -> Result<usize> {
        wait::until(&format!("one node to answer for {address}"), SOON, async || {
            let nodes = self.announcers(address)?;
            match nodes.first() {
                Some(&node) if nodes.len() == 1 && Some(node) != not => Ok(node),
                _ => bail!("{nodes:?} answer"),
            }
        })
        .await
    }

    /// Waits until `GET path` at an address is answered from the client, and returns the body and the time it took.
    pub async fn answer(
        &self,
        address: Ipv4Addr,
        path: &str,
        timeout: Duration,
    ) -> Result<(String, Duration)> {
        let begin = Instant::now();
        let body = wait::until(&format!("an answer from {address}"), timeout, async || {
            let client = self.bed.client_ns();
            let response = client.http_get((address, 80), path, None, Duration::from_millis(500)).await?;
            ensure!(response.status == 200, "status {}", response.status);
            Ok(response.body)
        })
        .await?;
        Ok((body, begin.elapsed()))
    }

    /// Who holds the controller's Lease.
    pub async fn leader(&self) -> Result<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-system");
        let lease = leases.get("causeway-metal").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        ensure!(!holder.is_empty(), "nobody holds the Lease");
        Ok(holder)
    }

    /// Our processes on a node that run `command` (`controller` or `speaker`): outer pids.
    pub fn processes(&self, node: usize, command: &str) -> Result<Vec<i32>> {
        let found = self.bed.node(node)?.program("causeway")?;
        let runs = |pid: i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split('\0').nth(1) == Some(command)
        };
        Ok(found.iter().map(|p| p.pid).filter(|&pid| runs(pid)).collect())
    }

    /// Sends a signal to our processes of a node that run `command`; there must be one.
    pub fn signal(&self, node: usize, command: &str, signal: Signal) -> Result<()> {
        let pids = self.processes(node, command)?;
        ensure!(!pids.is_empty(), "no {command} runs on node{node}");
        pids.into_iter().try_for_each(|pid| process::send(pid, signal))
    }

    /// The node whose controller leads: the one whose log says that it stood for election under the name in the Lease.
    pub async fn leading_node(&self) -> Result<usize> {
        let holder = wait::until("a leader", SOON, async || self.leader().await).await?;
        let selector = "app.kubernetes.io/component=controller";
        let columns = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}";
        let pods = self.bed.kubectl(&["-n", "kube-system", "get", "pods", "-l", selector, "-o", columns])?;
        for line in pods.lines() {
            let (pod, node) = line.split_once(' ').context("a Pod without a node")?;
            let log = self.bed.kubectl(&["-n", "kube-system", "logs", pod])?;
            if log.contains(&holder) {
                return node.trim_start_matches("node").parse().context("the number of a node");
            }
        }
        bail!("the Lease's holder {holder} is none of\n{pods}")
    }
}

/// Which nodes answer an ARP request for an address, by the last byte of their MAC address.
pub fn announcers(bed: &Bed, address: Ipv4Addr) -> Result<BTreeSet<usize>> {
    let program = ["arping", "-b", "-c", "2", "-w", "1", "-I", "eth0", &address.to_string()];
    let output = bed.client_ns().output(&program, Duration::from_secs(5))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains("ARPING"), "arping: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines()
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0))
        .map(|mac| {
            let last = mac.rsplit(':').next().unwrap_or_default();
            usize::from_str_radix(last, 16).with_context(|| format!("MAC address {mac}"))
        })
        .collect()
}

/// The number of the node that sent a captured frame, by the last byte of its MAC address.
pub fn sender(line: &str) -> Option<usize> {
    let mac = line.split_whitespace().nth(1)?;
    usize::from_str_radix(mac.rsplit(':').next()?, 16).ok()
}

/// The IPv4 addresses in a Service's status.
pub fn addresses(service: &Service) -> Vec<Ipv4Addr> {
    let points =
        service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    points.into_iter().flatten().filter_map(|point| point.ip.as_deref()?.parse().ok()).collect()
}

/// Whether a Service has our finalizer.
pub fn has_finalizer(service: &Service) -> bool {
    let finalizers = service.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|f| f == "service.kubernetes.io/load-balancer-cleanup")
}

/// A condition of a Service: its status and message.
pub fn condition(service: &Service, kind: &str) -> Option<(String, String)> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == kind).map(|c| (c.status.clone(), c.message.clone()))
}

/// A program of tests/bed/tools, built the first time.
pub fn tool(name: &str) -> Result<PathBuf> {
    let script = top().join("tests/bed/tools/build.sh");
    let output = Command::new(&script).arg(name).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "{} {name} failed", script.display());
    let text = String::from_utf8(output.stdout)?;
    Ok(PathBuf::from(text.lines().last().unwrap_or_default()))
}
