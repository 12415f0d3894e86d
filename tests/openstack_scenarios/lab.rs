//! The bed with its OpenStack and the controller in it; what the test asks of both. I/O.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::cloud::Record;
use causeway_bed::openstack::{Cloud, Service};
use causeway_bed::{Bed, Signal, process, wait};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::Api;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::support::{self, PODS, SOON};

/// Longest wait for what OpenStack takes its time for, on a busy machine.
pub const MADE: Duration = Duration::from_secs(300);
/// Between two looks at the cloud.
pub const LOOK: Duration = Duration::from_millis(500);
/// Nodes of the bed.
const NODES: usize = 2;
/// Pods that say who they are, one on each node, on port 8080.
const APPLICATION: &str = r"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello}, spec: {
  replicas: 2, selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {
    terminationGracePeriodSeconds: 5,
    topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
      labelSelector: {matchLabels: {app: hello}}}],
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080, --udp-port=8081],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: hello}, spec: {type: NodePort, selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}]}}
";

/// What all tests share. The OpenStack ends before its bed.
pub struct World {
    pub cloud: Cloud,
    pub bed: Bed,
}

static WORLD: OnceCell<World> = OnceCell::const_new();
static TURN: RwLock<()> = RwLock::const_new(());

/// Who has the world: several at once, or one who stops controllers, adds faults, or counts calls.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// The world, for the time of one test.
pub struct Lab {
    pub world: &'static World,
    /// The test's own namespace.
    pub namespace: String,
    _turn: Turn,
}

/// Deploys the controller as people do.
async fn start() -> Result<World> {
    let bed = support::empty_bed(NODES).await?;
    let cloud = Cloud::builder().compute(true).start(&bed).await?;
    cloud.label_nodes(&bed).await?;
    let conf = cloud.cloud_conf(true);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cloud-config", "namespace": "kube-system"},
        "stringData": {"cloud.conf": conf}});
    bed.apply(&secret.to_string())?;
    let overlay = support::top().join("deploy/kustomize/openstack");
    bed.kubectl(&["apply", "--server-side", "-k", &overlay.display().to_string()])?;
    // What the component for node controllers adds.
    let rights = support::top().join("deploy/kustomize/node-controllers/rbac-nodes.yaml");
    bed.kubectl(&["apply", "-f", &rights.display().to_string()])?;
    let controllers =
        r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--controllers=*"}]"#;
    bed.kubectl(&["-n", "kube-system", "patch", "deployment", "causeway", "--type=json", "-p", controllers])?;
    wait_deployed(&bed)?;
    Ok(World { cloud, bed })
}

/// Waits until the controllers are ready.
pub fn wait_deployed(bed: &Bed) -> Result<()> {
    let timeout = format!("--timeout={}s", PODS.as_secs());
    bed.kubectl(&["-n", "kube-system", "rollout", "status", "deployment/causeway", &timeout])
        .map(drop)
        .with_context(|| support::causeway_logs(bed))
}

impl Lab {
    /// Runs the test's body, perhaps beside others; if it fails, its error has the state of cluster and cloud with it.
    pub async fn run(test: &str, body: impl AsyncFnOnce(&Lab) -> Result<()>) {
        Lab::take(test, Turn::Shared { _guard: TURN.read().await }, body).await;
    }

    /// Runs the test's body while no other one runs.
    pub async fn alone(test: &str, body: impl AsyncFnOnce(&Lab) -> Result<()>) {
        Lab::take(test, Turn::Alone { _guard: TURN.write().await }, body).await;
    }

    async fn take(test: &str, turn: Turn, body: impl AsyncFnOnce(&Lab) -> Result<()>) {
        let lab = match Lab::enter(test, turn).await {
            Ok(lab) => lab,
            Err(error) => panic!("starting: {error:#}"),
        };
        let (begun, before) = (Instant::now(), lab.last_call());
        if let Err(error) = body(&lab).await {
            panic!("{error:#}\n{}", lab.state(before));
        }
        println!("{test}: {:.0} s, {} calls", begun.elapsed().as_secs_f64(), lab.calls(before).len());
        lab.gate_clear();
        if let Err(error) = lab.world.bed.kubectl(&["delete", "namespace", test, "--wait=false"]) {
            panic!("cleaning up: {error:#}");
        }
    }

    async fn enter(test: &str, turn: Turn) -> Result<Lab> {
        let world = WORLD.get_or_try_init(start).await?;
        world.bed.kubectl(&["create", "namespace", test])?;
        let accounts: Api<ServiceAccount> = Api::namespaced(world.bed.client().await?, test);
        wait::until("the namespace's default ServiceAccount", SOON, async || accounts.get("default").await)
            .await?;
        let alone = matches!(turn, Turn::Alone { .. });
        let lab = Lab { world, namespace: test.to_owned(), _turn: turn };
        if alone {
            // Of a test that failed.
            lab.gate_clear();
        }
        lab.application()?;
        Ok(lab)
    }

    fn gate_clear(&self) {
        if matches!(self._turn, Turn::Alone { .. }) {
            self.cloud().gate().faults.clear(None);
        }
    }

    pub fn cloud(&self) -> &'static Cloud {
        &self.world.cloud
    }

    pub fn bed(&self) -> &'static Bed {
        &self.world.bed
    }

    /// Number of the last call so far.
    pub fn last_call(&self) -> u64 {
        self.cloud().gate().calls.last()
    }

    /// Calls after that one.
    pub fn calls(&self, after: u64) -> Vec<Record> {
        self.cloud().gate().calls.since(after)
    }

    /// What there is, for the message of a failed test.
    fn state(&self, before: u64) -> String {
        let objects = self.bed().kubectl(&["get", "services,ingresses,pods", "-A", "-o", "wide"]);
        let events = self.kubectl(&["get", "events"]).unwrap_or_default();
        let calls: Vec<String> =
            self.calls(before).iter().rev().take(80).rev().map(|c| format!("{c:?}")).collect();
        format!(
            "{}\n{events}\n{}\n{}",
            objects.unwrap_or_default(),
            calls.join("\n"),
            support::causeway_logs(self.bed())
        )
    }

    /// kubectl in the test's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        self.bed().kubectl(&all)
    }

    /// Applies objects in the test's namespace, which `---` parts.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        for text in yaml.split("\n---\n") {
            let mut object: Value = serde_saphyr::from_str(text)?;
            object["metadata"]["namespace"] = json!(self.namespace);
            self.bed().apply(&object.to_string())?;
        }
        Ok(())
    }

    /// Deploys the application and waits until its Pods are ready.
    fn application(&self) -> Result<()> {
        self.apply(APPLICATION)?;
        let timeout = format!("--timeout={}s", PODS.as_secs());
        self.kubectl(&["rollout", "status", "deployment/hello", &timeout]).map(drop)
    }

    /// A Service of type LoadBalancer; `annotations` and `spec` are the insides of flow mappings.
    pub fn service(&self, name: &str, annotations: &str, spec: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {{{annotations}}}}}, spec: {{type: LoadBalancer, selector: {{app: hello}}, {spec}}}}}"
        ))
    }

    /// An Ingress of our class that is reached from outside; `annotations` and `spec` are the insides of flow mappings.
    pub fn ingress(&self, name: &str, annotations: &str, spec: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}, annotations: {{octavia.ingress.kubernetes.io/internal: 'false', \
             {annotations}}}}}, spec: {{ingressClassName: causeway, {spec}}}}}"
        ))
    }

    /// Sets annotations of an object: `KEY=VALUE`, or `KEY-`.
    pub fn annotate(&self, object: &str, annotations: &[&str]) -> Result<()> {
        let mut all = vec!["annotate", "--overwrite", object];
        all.extend(annotations);
        self.kubectl(&all).map(drop)
    }

    /// Deletes an object, and waits until its finalizer is gone.
    pub async fn delete(&self, object: &str) -> Result<()> {
        self.kubectl(&["delete", object, "--wait=false"])?;
        self.gone(object).await
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, object: &str) -> Result<()> {
        wait::until_every(LOOK, &format!("{object} to be gone"), MADE, async || {
            let left = self.kubectl(&["get", object, "--ignore-not-found", "-o", "name"])?;
            ensure!(left.trim().is_empty(), "{left}");
            Ok(())
        })
        .await
    }

    /// Waits for the address in an object's status.
    pub async fn address(&self, object: &str) -> Result<String> {
        wait::until_every(LOOK, &format!("the address of {object}"), MADE, async || {
            let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
            let address = self.kubectl(&["get", object, "-o", path])?;
            ensure!(!address.is_empty(), "no address");
            Ok(address)
        })
        .await
    }

    /// Asks through curl from a client far from the cluster: `STATUS BODY`.
    pub fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["curl", "-s", "-S", "-m", "5", "-w", "\n%{http_code}"];
        all.extend_from_slice(arguments);
        let said = self.bed().remote_ns().run(&all)?;
        let (body, status) = said.rsplit_once('\n').context("no status")?;
        Ok(format!("{} {}", status.trim(), body.trim()))
    }

    /// Waits until curl's answer begins with this.
    pub async fn answers(&self, arguments: &[&str], expected: &str) -> Result<String> {
        wait::until_every(LOOK, &format!("{expected:?} of {arguments:?}"), MADE, async || {
            let answer = self.curl(arguments)?;
            ensure!(answer.starts_with(expected), "{answer:?}");
            Ok(answer)
        })
        .await
    }

    /// Waits until every Pod of the application has answered at this URL.
    pub async fn all_pods_answer(&self, url: &str) -> Result<()> {
        let mut seen = BTreeSet::new();
        wait::until_every(LOOK, &format!("answers of all Pods at {url}"), MADE, async || {
            let answer = self.curl(&[url])?;
            ensure!(answer.starts_with("200 hello-"), "{answer:?}");
            seen.insert(answer);
            ensure!(seen.len() == NODES, "only {seen:?} so far");
            Ok(())
        })
        .await
    }

    /// A list, or one of it, as the project's user sees it; not counted.
    pub async fn look(&self, service: Service, path: &str) -> Result<Value> {
        self.cloud().client().look("k8s", service, path).await
    }

    async fn list(&self, service: Service, path: &str, of: &str) -> Result<Vec<Value>> {
        Ok(self.look(service, path).await?[of].as_array().cloned().unwrap_or_default())
    }

    /// Load balancers of the test's namespace.
    pub async fn load_balancers(&self) -> Result<Vec<Value>> {
        let all = self.list(Service::LoadBalancer, "/v2.0/lbaas/loadbalancers", "loadbalancers").await?;
        let part = format!("_{}_", self.namespace);
        Ok(all.into_iter().filter(|lb| text(lb, "name").contains(&part)).collect())
    }

    /// The load balancer of an object of the test's, by its name.
    pub async fn load_balancer(&self, name: &str) -> Result<Value> {
        let all = self.load_balancers().await?;
        let end = format!("_{}_{name}", self.namespace);
        let mut own = all.into_iter().filter(|lb| text(lb, "name").ends_with(&end));
        let one = own.next().with_context(|| format!("no load balancer of {name}"))?;
        ensure!(own.next().is_none(), "{name} has two load balancers");
        Ok(one)
    }

    /// Floating IPs that were made for the test's objects.
    pub async fn floating_ips(&self) -> Result<Vec<Value>> {
        let all = self.list(Service::Network, "/v2.0/floatingips", "floatingips").await?;
        let part = format!(" {}/", self.namespace);
        Ok(all.into_iter().filter(|ip| text(ip, "description").contains(&part)).collect())
    }

    /// Names of secrets in Barbican that were made of Secrets of the test's namespace.
    pub async fn secrets(&self) -> Result<Vec<String>> {
        let all = self.list(Service::KeyManager, "/v1/secrets?limit=100", "secrets").await?;
        let part = format!(": {}/", self.namespace);
        Ok(all
            .iter()
            .map(|s| text(s, "name"))
            .filter(|name| name.contains(&part))
            .map(str::to_owned)
            .collect())
    }

    /// What a load balancer has of one kind, such as `listeners`.
    pub async fn parts(&self, lb: &Value, kind: &str) -> Result<Vec<Value>> {
        let all = self.list(Service::LoadBalancer, &format!("/v2.0/lbaas/{kind}"), kind).await?;
        let of = |part: &Value| part["loadbalancers"][0]["id"] == lb["id"];
        Ok(all.into_iter().filter(of).collect())
    }

    /// Does something to the cloud by hand; not counted.
    pub async fn by_hand(
        &self,
        service: Service,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let client = self.cloud().client();
        let token = client.token("k8s").await?;
        let answer = client.send(service, method, path, Some(&token), body, true).await?;
        answer.ok().with_context(|| format!("{method} {path}"))
    }

    /// Waits until this holds of the load balancer of an object.
    pub async fn settles(
        &self,
        name: &str,
        what: &str,
        holds: impl AsyncFn(&Value) -> Result<bool>,
    ) -> Result<()> {
        wait::until_every(LOOK, what, MADE, async || {
            let lb = self.load_balancer(name).await?;
            ensure!(holds(&lb).await?, "not yet: {lb}");
            Ok(())
        })
        .await
    }

    /// Waits until nothing of the test's is left in the cloud.
    pub async fn nothing_is_left(&self) -> Result<()> {
        wait::until_every(LOOK, "nothing to be left", MADE, async || {
            let (lbs, ips, secrets) =
                (self.load_balancers().await?, self.floating_ips().await?, self.secrets().await?);
            ensure!(lbs.is_empty() && ips.is_empty() && secrets.is_empty(), "{lbs:?} {ips:?} {secrets:?}");
            Ok(())
        })
        .await
    }

    /// Calls so far that a pattern covers.
    pub fn count(&self, calls: &str) -> u64 {
        self.cloud().count(calls).calls
    }

    /// Waits until an Event of an object has these words.
    pub async fn says(&self, object: &str, words: &str) -> Result<()> {
        wait::until_every(LOOK, &format!("an Event of {object} with {words:?}"), MADE, async || {
            let name = object.rsplit('/').next().unwrap_or_default();
            let selector = format!("involvedObject.name={name}");
            let said = self.kubectl(&[
                "get",
                "events",
                "--field-selector",
                &selector,
                "-o",
                "jsonpath={.items[*].message}",
            ])?;
            ensure!(said.contains(words), "{said}");
            Ok(())
        })
        .await
    }

    /// Waits until the load balancer of an object says that all is applied.
    pub async fn applied(&self, name: &str) -> Result<()> {
        self.settles(name, &format!("{name} to be applied whole"), async |lb| {
            let tags = lb["tags"].as_array().context("no tags")?;
            let clean =
                tags.iter().filter_map(Value::as_str).any(|t| t.starts_with("causeway.io/applied=v1:"));
            Ok(clean && text(lb, "provisioning_status") == "ACTIVE")
        })
        .await
    }

    /// Waits until the controller has made no call for `quiet`.
    pub async fn quiet(&self, quiet: Duration) -> Result<()> {
        let mut last = (self.count("*:*"), Instant::now());
        wait::until_every(LOOK, "the controller to be content", MADE, async || {
            let now = self.count("*:*");
            if now != last.0 {
                last = (now, Instant::now());
            }
            ensure!(last.1.elapsed() >= quiet, "call {now} was {:?} ago", last.1.elapsed());
            Ok(())
        })
        .await
    }

    /// Kills all controllers, without warning.
    pub fn kill_controllers(&self) -> Result<()> {
        let mut killed = 0;
        for node in self.bed().nodes() {
            for program in node.program("causeway")? {
                process::send(program.pid, Signal::KILL)?;
                killed += 1;
            }
        }
        ensure!(killed > 0, "no controller runs");
        Ok(())
    }
}

/// A field's text; empty if it has none.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
