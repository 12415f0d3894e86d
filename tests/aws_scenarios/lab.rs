//! The bed with its AWS and the controller in it; what tests ask of both. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::addresses::NodeAddresses;
use causeway_bed::aws::{Account, Aws};
use causeway_bed::cloud::Record;
use causeway_bed::{Bed, Signal, process, wait};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, ServiceAccount};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::support::{self, PODS, SOON};

/// Longest wait for what AWS takes its time for: a load balancer that is made, with targets that become healthy.
pub const MADE: Duration = Duration::from_secs(300);

/// Nodes of the bed.
pub const NODES: usize = 3;

/// Pods that say who they are, one on each node, on port 8080.
const APPLICATION: &str = r"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello, namespace: NAMESPACE}, spec: {
  replicas: 3, selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {
    terminationGracePeriodSeconds: 5,
    topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
      labelSelector: {matchLabels: {app: hello}}}],
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080, --udp-port=8081],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
";

/// What all tests share. The AWS ends before its bed.
pub struct World {
    pub aws: Aws,
    pub account: Account,
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
    pub client: kube::Client,
    /// The test's own namespace.
    pub namespace: String,
    _turn: Turn,
}

/// An overlay as it stands in the repository, with the bed's AWS in the controller's environment and further arguments.
pub fn manifests(world: &World, overlay: &str, arguments: &[String]) -> Result<Vec<Value>> {
    let folder = support::top().join("deploy/kustomize").join(overlay);
    let made = world.bed.kubectl(&["kustomize", &folder.display().to_string()])?;
    let mut objects = Vec::new();
    for text in made.split("\n---\n") {
        let mut object: Value = serde_saphyr::from_str(text).with_context(|| text.to_owned())?;
        if object["kind"] == "Deployment" {
            let container = &mut object["spec"]["template"]["spec"]["containers"][0];
            let args = container["args"].as_array_mut().context("no arguments")?;
            args.extend(arguments.iter().map(|argument| argument.as_str().into()));
            let env = container["env"].as_array_mut().context("no environment")?;
            for (name, value) in environment(world) {
                env.push(json!({"name": name, "value": value}));
            }
        }
        objects.push(object);
    }
    Ok(objects)
}

/// How programs in the bed reach its AWS.
pub fn environment(world: &World) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT_URL", world.aws.endpoint()),
        ("AWS_REGION", world.aws.region().to_owned()),
        ("AWS_ACCESS_KEY_ID", "bed".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "bed".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

/// The arguments that the bed's account needs.
pub fn arguments(world: &World) -> Vec<String> {
    vec![
        format!("--cluster-name={}", world.account.cluster),
        format!("--aws-vpc-id={}", world.account.vpc),
        "--controllers=*".to_owned(),
        "-v=4".to_owned(),
    ]
}

/// Applies objects.
pub fn apply_all(bed: &Bed, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    bed.apply(&list.to_string()).map(drop)
}

async fn start() -> Result<World> {
    let bed = support::empty_bed(NODES).await?;
    let aws = Aws::builder().start(&bed).await?;
    let account = Account::builder().create(&aws, &bed).await?;
    account.label_nodes(&bed).await?;
    // Where Pods are targets themselves, load balancers reach them as the VPC would let them.
    for NodeAddresses { v4, pods_v4, .. } in (1..=NODES).map(NodeAddresses::of) {
        bed.cloud_ns()?.run(&["ip", "route", "replace", &pods_v4.to_string(), "via", &v4.to_string()])?;
    }
    let world = World { aws, account, bed };
    let mut flags = arguments(&world);
    // As the component readiness-gates says.
    flags.push("--aws-option=pod-readiness-gates=true".to_owned());
    let objects = manifests(&world, "aws-eks", &flags)?;
    // Definitions first: objects of theirs are refused before they are known.
    let (definitions, others): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|o| o["kind"] == "CustomResourceDefinition");
    apply_all(&world.bed, &definitions)?;
    for definition in &definitions {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        world.bed.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", name])?;
    }
    apply_all(&world.bed, &others)?;
    for part in
        ["node-controllers/rbac-nodes.yaml", "readiness-gates/rbac-gates.yaml", "readiness-gates/policy.yaml"]
    {
        let part = support::top().join("deploy/kustomize").join(part);
        world.bed.kubectl(&["apply", "-f", &part.display().to_string()])?;
    }
    wait_deployed(&world.bed)?;
    Ok(world)
}

/// Waits until the controllers are ready.
pub fn wait_deployed(bed: &Bed) -> Result<()> {
    let timeout = format!("--timeout={}s", PODS.as_secs());
    bed.kubectl(&["-n", "kube-system", "rollout", "status", "deployment/causeway", &timeout])
        .map(drop)
        .with_context(|| support::causeway_logs(bed))
}

impl Lab {
    /// Runs the test's body, perhaps beside others; if it fails, its error has the state of cluster and account with it.
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
        let before = lab.calls();
        if let Err(error) = body(&lab).await {
            let bed = &lab.world.bed;
            let objects =
                bed.kubectl(&["get", "services,ingresses,pods", "-A", "-o", "wide"]).unwrap_or_default();
            let events = bed.kubectl(&["-n", &lab.namespace, "get", "events"]).unwrap_or_default();
            let calls = lab.records(before);
            let calls: Vec<String> = calls.iter().rev().take(60).rev().map(|c| format!("{c:?}")).collect();
            let account = lab.world.aws.cloud().overview();
            panic!(
                "{error:#}\n{objects}\n{events}\n{account:#}\n{}\n{}",
                calls.join("\n"),
                support::causeway_logs(bed)
            );
        }
        lab.world.aws.gate().faults.clear(None);
        if let Err(error) = lab.world.bed.kubectl(&["delete", "namespace", test, "--wait=false"]) {
            panic!("cleaning up: {error:#}");
        }
    }

    async fn enter(test: &str, turn: Turn) -> Result<Lab> {
        let world = WORLD.get_or_try_init(start).await?;
        // Of a test that failed.
        world.aws.gate().faults.clear(None);
        let client = world.bed.client().await?;
        world.bed.kubectl(&["create", "namespace", test])?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), test);
        wait::until("the namespace's default ServiceAccount", SOON, async || accounts.get("default").await)
            .await?;
        Ok(Lab { world, client, namespace: test.to_owned(), _turn: turn })
    }

    pub fn bed(&self) -> &'static Bed {
        &self.world.bed
    }

    /// Applies manifests in the test's namespace.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.bed().apply(&yaml.replace("NAMESPACE", &self.namespace)).map(drop)
    }

    /// kubectl in the test's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        self.bed().kubectl(&all)
    }

    /// Deploys the application.
    pub fn deploy(&self) -> Result<()> {
        self.apply(APPLICATION)
    }

    /// Deploys the application and waits until its Pods are ready.
    pub fn application(&self) -> Result<()> {
        self.deploy()?;
        let timeout = format!("--timeout={}s", PODS.as_secs());
        self.kubectl(&["rollout", "status", "deployment/hello", &timeout]).map(drop)
    }

    /// A Service of our class for the application; `annotations` and `spec` are the insides of flow mappings.
    pub fn service(&self, name: &str, annotations: &str, spec: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: NAMESPACE, annotations: {{{annotations}}}}}, spec: {{type: LoadBalancer, \
             loadBalancerClass: service.k8s.aws/nlb, selector: {{app: hello}}, {spec}}}}}"
        ))
    }

    /// One field of an object, as kubectl prints it.
    pub fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Value of the owner tag of an object's load balancer.
    pub fn owner(&self, object: &str) -> Result<String> {
        let kind = object.split('/').next().unwrap_or_default();
        Ok(format!("{kind}/{}", self.field(object, ".metadata.uid")?))
    }

    /// Waits for the host name in an object's status.
    pub async fn hostname(&self, object: &str) -> Result<String> {
        wait::until(&format!("the host name of {object}"), MADE, async || {
            let name = self.field(object, ".status.loadBalancer.ingress[0].hostname")?;
            ensure!(!name.is_empty(), "no host name");
            Ok(name)
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
        wait::until(&format!("{expected:?} of {arguments:?}"), MADE, async || {
            let answer = self.curl(arguments)?;
            ensure!(answer.starts_with(expected), "{answer:?}");
            Ok(answer)
        })
        .await
    }

    /// Waits until every Pod of the application has answered at this URL.
    pub async fn all_pods_answer(&self, url: &str) -> Result<()> {
        let mut seen = BTreeSet::new();
        wait::until(&format!("answers of all Pods at {url}"), MADE, async || {
            let answer = self.curl(&[url])?;
            ensure!(answer.starts_with("200 hello-"), "{answer:?}");
            seen.insert(answer);
            ensure!(seen.len() == NODES, "only {seen:?} so far");
            Ok(())
        })
        .await
    }

    /// What is in the account with the mark of an owner, by ARN.
    pub async fn owned(&self, owner: &str) -> Result<BTreeMap<String, Value>> {
        let request = json!({"TagFilters": [{"Key": "causeway.io/owner", "Values": [owner]}]});
        let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
        let answer = self.world.aws.ask_json("tagging", target, request).await?;
        let all = answer["ResourceTagMappingList"].as_array().context("no list")?;
        Ok(all
            .iter()
            .map(|item| (item["ResourceARN"].as_str().unwrap_or_default().to_owned(), item["Tags"].clone()))
            .collect())
    }

    /// Waits until nothing in the account has the mark of an owner.
    pub async fn nothing_is_left(&self, owner: &str) -> Result<()> {
        wait::until(&format!("everything of {owner} to be gone"), MADE, async || {
            let left = self.owned(owner).await?;
            ensure!(left.is_empty(), "{:?}", left.keys());
            Ok(())
        })
        .await
    }

    /// Deletes an object, and waits until it and what was made for it are gone.
    pub async fn delete(&self, object: &str) -> Result<()> {
        let owner = self.owner(object)?;
        self.kubectl(&["delete", object, "--wait=false"])?;
        wait::until(&format!("{object} to be gone"), MADE, async || {
            let left = self.kubectl(&["get", object, "--ignore-not-found", "-o", "name"])?;
            ensure!(left.is_empty(), "{left} is there");
            Ok(())
        })
        .await?;
        self.nothing_is_left(&owner).await
    }

    /// Number of the last call to AWS.
    pub fn calls(&self) -> u64 {
        self.world.aws.gate().calls.last()
    }

    /// The calls after a number.
    pub fn records(&self, after: u64) -> Vec<Record> {
        self.world.aws.gate().calls.since(after)
    }

    /// Waits until the controller has made no call for `quiet`; the number of the last one.
    pub async fn quiet(&self, quiet: Duration) -> Result<u64> {
        let mut last = (self.calls(), std::time::Instant::now());
        wait::until("the controller to be content", MADE, async || {
            let now = self.calls();
            if now != last.0 {
                last = (now, std::time::Instant::now());
            }
            ensure!(last.1.elapsed() >= quiet, "call {now} was {:?} ago", last.1.elapsed());
            Ok(now)
        })
        .await
    }

    /// Waits for an Event on an object with this reason whose message holds each of `parts`; returns the message.
    pub async fn event(&self, (kind, name): (&str, &str), reason: &str, parts: &[&str]) -> Result<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        wait::until(&format!("Event {reason} on {kind} {name}"), MADE, async || {
            let list = events.list(&ListParams::default().fields(&fields)).await?;
            let said: Vec<(String, String)> = list
                .into_iter()
                .map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default()))
                .collect();
            let fits = |m: &str| parts.iter().all(|part| m.contains(part));
            let found = said.iter().find(|(r, m)| r == reason && fits(m)).map(|(_, m)| m.clone());
            found.with_context(|| format!("{said:?}"))
        })
        .await
    }

    /// An object of a kind of the peer, in the test's namespace.
    pub async fn binding(&self, name: &str) -> Result<DynamicObject> {
        let kind = GroupVersionKind::gvk("elbv2.k8s.aws", "v1beta1", "TargetGroupBinding");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind));
        Ok(api.get(name).await?)
    }

    /// The node whose controller leads.
    pub async fn leading_node(&self) -> Result<usize> {
        wait::until("a leader", PODS, async || {
            let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-system");
            let lease = leases.get("causeway-aws").await?;
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            ensure!(!holder.is_empty(), "nobody holds the Lease");
            let selector = "app.kubernetes.io/component=controller";
            let columns = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}";
            let pods =
                self.bed().kubectl(&["-n", "kube-system", "get", "pods", "-l", selector, "-o", columns])?;
            for line in pods.lines() {
                let (pod, node) = line.split_once(' ').context("a Pod without a node")?;
                let logs = self.bed().kubectl(&["-n", "kube-system", "logs", pod])?;
                if logs.contains(&holder) {
                    let number = node.trim_start_matches("node").parse();
                    return number.with_context(|| format!("the number of {node}"));
                }
            }
            bail!("the Lease's holder {holder} is none of\n{pods}")
        })
        .await
    }

    /// Kills the controller that leads, without warning.
    pub async fn kill_leader(&self) -> Result<()> {
        let node = self.leading_node().await?;
        let pids: Vec<i32> = self.bed().node(node)?.program("causeway")?.iter().map(|p| p.pid).collect();
        ensure!(!pids.is_empty(), "no controller runs on node{node}");
        pids.into_iter().try_for_each(|pid| process::send(pid, Signal::KILL))
    }
}
