//! Coming from openstack-cloud-controller-manager and octavia-ingress-controller and going back, against these controllers themselves: docs/migrate-from-occm.md walked
//! through, with traffic running all the time.

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::occm::Peer;
use causeway_bed::openstack::{Cloud, Service};
use causeway_bed::{Bed, wait};
use serde_json::{Value, json};
use support::PODS;
use support::controller::Controller;

/// Longest wait for what OpenStack takes its time for.
const MADE: Duration = Duration::from_secs(300);
/// Between two looks at the cloud.
const LOOK: Duration = Duration::from_millis(500);
/// What the peers call the cluster.
const CLUSTER: &str = "prod";

const OBJECTS: &str = r"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: hello, namespace: default}, spec: {
  replicas: 2, selector: {matchLabels: {app: hello}}, template: {metadata: {labels: {app: hello}}, spec: {
    topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule,
      labelSelector: {matchLabels: {app: hello}}}],
    containers: [{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080],
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: plain, namespace: default},
  spec: {type: LoadBalancer, selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}, {name: more, port: 81, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: local, namespace: default, annotations: {loadbalancer.openstack.org/enable-health-monitor: 'true',
    loadbalancer.openstack.org/timeout-client-data: '60000'}},
  spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: inner, namespace: default, annotations: {service.beta.kubernetes.io/openstack-internal-load-balancer: 'true'}},
  spec: {type: LoadBalancer, sessionAffinity: ClientIP, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: NodePort, selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shop, namespace: default, annotations: {
    kubernetes.io/ingress.class: openstack, octavia.ingress.kubernetes.io/internal: 'false'}},
  spec: {rules: [
    {host: shop.example, http: {paths: [{path: /hostname, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}]}},
    {host: other.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}}
";

/// With it the Ingresses of octavia-ingress-controller are ours too.
const CLASS: &str = "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: openstack}, spec: {controller: causeway.io/ingress}}";

/// A Service whose load balancer is another cluster's, by name.
const LATE: &str = "{apiVersion: v1, kind: Service, metadata: {name: late, namespace: default}, spec: {type: LoadBalancer, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}}";

/// Objects that have a load balancer, with the host to ask for.
const FRONTS: [(&str, &str); 4] =
    [("service/plain", ""), ("service/local", ""), ("service/inner", ""), ("ingress/shop", "shop.example")];

struct World {
    cloud: Cloud,
    bed: Bed,
    conf: tempfile::NamedTempFile,
}

impl World {
    async fn start() -> Result<World> {
        let bed = Bed::builder().nodes(2).start().await?;
        let cloud = Cloud::builder().compute(true).start(&bed).await?;
        cloud.label_nodes(&bed).await?;
        let conf = tempfile::NamedTempFile::new()?;
        std::fs::write(conf.path(), cloud.cloud_conf(false))?;
        bed.apply(OBJECTS)?;
        let timeout = format!("--timeout={}s", PODS.as_secs());
        bed.kubectl(&["rollout", "status", "deployment/hello", &timeout])?;
        Ok(World { cloud, bed, conf })
    }

    fn field(&self, object: &str, path: &str) -> Result<String> {
        self.bed.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    fn addresses(&self) -> Result<BTreeMap<&'static str, String>> {
        FRONTS
            .iter()
            .map(|(object, _)| Ok((*object, self.field(object, ".status.loadBalancer.ingress[0].ip")?)))
            .collect()
    }

    fn finalizers(&self, object: &str) -> Result<String> {
        self.field(object, ".metadata.finalizers")
    }

    /// One request; the internal load balancer is asked from inside the nodes' network.
    fn answers(&self, object: &str, address: &str, host: &str) -> Result<()> {
        let url = format!("http://{address}/hostname");
        let header = format!("Host: {}", if host.is_empty() { address } else { host });
        let from = if object.ends_with("inner") { self.bed.client_ns() } else { self.bed.remote_ns() };
        let said = from.run(&["curl", "-s", "-S", "-m", "5", "-H", &header, &url])?;
        ensure!(said.starts_with("hello-"), "{url} of {host}: {said}");
        Ok(())
    }

    /// Waits until everything is served; the addresses.
    async fn served(&self) -> Result<BTreeMap<&'static str, String>> {
        wait::until_every(LOOK, "all load balancers to serve", MADE, async || {
            let addresses = self.addresses()?;
            for (object, host) in FRONTS {
                let address = &addresses[object];
                ensure!(!address.is_empty(), "{object} has no address");
                self.answers(object, address, host)?;
            }
            Ok(addresses)
        })
        .await
    }

    async fn list(&self, path: &str, of: &str) -> Result<Vec<Value>> {
        let service = if path.contains("lbaas") { Service::LoadBalancer } else { Service::Network };
        let answer = self.cloud.client().look("k8s", service, path).await?;
        Ok(answer[of].as_array().cloned().unwrap_or_default())
    }

    /// Everything that OpenStack holds for the objects of the test, as a second client sees it, but our marks, times and states.
    async fn settings(&self) -> Result<BTreeMap<String, Value>> {
        let mut all = BTreeMap::new();
        for kind in ["loadbalancers", "listeners", "pools", "healthmonitors", "l7policies"] {
            for mut one in self.list(&format!("/v2.0/lbaas/{kind}"), kind).await? {
                let id = text(&one, "id").to_owned();
                if kind == "pools" {
                    one["members"] =
                        self.list(&format!("/v2.0/lbaas/pools/{id}/members"), "members").await?.into();
                }
                if kind == "l7policies" {
                    one["rules"] =
                        self.list(&format!("/v2.0/lbaas/l7policies/{id}/rules"), "rules").await?.into();
                }
                let ours = |tag: &Value| tag.as_str().is_some_and(|tag| tag.starts_with("causeway.io/"));
                if let Some(tags) = one["tags"].as_array_mut() {
                    tags.retain(|tag| !ours(tag));
                }
                all.insert(format!("{kind}/{id}"), timeless(one));
            }
        }
        for mut one in self.list("/v2.0/floatingips", "floatingips").await? {
            ["description", "tags", "revision_number"].iter().for_each(|field| one[*field] = Value::Null);
            all.insert(format!("floatingips/{}", text(&one, "id")), timeless(one));
        }
        Ok(all)
    }

    /// Waits until our marks on these load balancers say that all is applied.
    async fn applied(&self, names: &[&str]) -> Result<()> {
        wait::until_every(LOOK, &format!("{names:?} to be applied"), MADE, async || {
            let all = self.list("/v2.0/lbaas/loadbalancers", "loadbalancers").await?;
            for name in names {
                let tags = |lb: &Value| lb["tags"].as_array().cloned().unwrap_or_default();
                let clean = |lb: &&Value| {
                    tags(lb)
                        .iter()
                        .filter_map(Value::as_str)
                        .any(|t| t.starts_with("causeway.io/applied=v1:"))
                };
                let named = |lb: &&Value| text(lb, "name").ends_with(&format!("_default_{name}"));
                ensure!(all.iter().filter(named).any(|lb| clean(&lb)), "{name}: {all:?}");
            }
            Ok(())
        })
        .await
    }

    fn arguments(&self, peers: &[&str]) -> Vec<String> {
        let adopt = peers.iter().map(|peer| format!("--adopt={peer}"));
        [
            "--cloud-provider=openstack".to_owned(),
            format!("--kubeconfig={}", self.bed.kubeconfig().display()),
            format!("--cloud-config={}", self.conf.path().display()),
            format!("--cluster-name={CLUSTER}"),
        ]
        .into_iter()
        .chain(adopt)
        .collect()
    }

    /// A command of ours that ends; what it printed.
    fn causeway(&self, command: &str, more: &[&str]) -> Result<String> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_causeway"));
        process.arg(command).args(more).stdin(Stdio::null());
        let output = process.env("KUBECONFIG", self.bed.kubeconfig()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    fn plan(&self, peers: &[&str]) -> Result<String> {
        let arguments = self.arguments(peers);
        self.causeway("plan", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn controller(&self, peers: &[&str], more: &[&str]) -> Result<Controller> {
        let arguments = self.arguments(peers);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Controller::start_with(&arguments, &[])
    }

    /// A load balancer that somebody makes by hand.
    async fn by_hand(&self, name: &str) -> Result<String> {
        let client = self.cloud.client();
        let token = client.token("k8s").await?;
        let subnet = self.cloud.seed().subnet("nodes-subnet")?;
        let body = json!({"loadbalancer": {"name": name, "vip_subnet_id": subnet, "tags": [name]}});
        let answer = client
            .send(Service::LoadBalancer, "POST", "/v2.0/lbaas/loadbalancers", Some(&token), Some(body), true)
            .await?
            .ok()?;
        Ok(text(&answer["loadbalancer"], "id").to_owned())
    }

    /// Works while requests go on at everything that is served; all must be answered.
    async fn unbroken(
        &self,
        addresses: &BTreeMap<&'static str, String>,
        work: impl Future<Output = Result<()>>,
    ) -> Result<usize> {
        let stop = AtomicBool::new(false);
        let mut asked = 0_usize;
        let asking = async {
            while !stop.load(Ordering::Relaxed) {
                for (object, host) in FRONTS {
                    self.answers(object, &addresses[object], host)
                        .with_context(|| format!("after {asked} requests"))?;
                    asked += 1;
                }
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        let (done, answered) = tokio::join!(
            async {
                let outcome = work.await;
                stop.store(true, Ordering::Relaxed);
                outcome
            },
            asking
        );
        done?;
        answered?;
        Ok(asked)
    }

    async fn ours(&self, objects: &[&str]) -> Result<()> {
        for object in objects {
            wait::until_every(LOOK, &format!("{object} to be taken over"), MADE, async || {
                let name = object.rsplit('/').next().unwrap_or_default();
                let path = format!("jsonpath={{.items[?(@.involvedObject.name==\"{name}\")].reason}}");
                let reasons = self.bed.kubectl(&["get", "events", "-o", &path])?;
                ensure!(reasons.contains("AdoptedLoadBalancer"), "{reasons}");
                let finalizers = self.finalizers(object)?;
                ensure!(finalizers.contains("load-balancer-cleanup"), "{finalizers}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Without times and states, whatever lies in it.
fn timeless(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, _)| !key.ends_with("_at") && !key.ends_with("_status"))
            .map(|(key, value)| (key, timeless(value)))
            .collect(),
        Value::Array(all) => {
            let mut all: Vec<Value> = all.into_iter().map(timeless).collect();
            all.sort_by_key(Value::to_string);
            all.into()
        }
        other => other,
    }
}

/// Writes after a call, but our marks; and how many marks.
fn writes(world: &World, after: u64) -> (Vec<String>, usize) {
    let all: Vec<String> = world
        .cloud
        .mutations()
        .into_iter()
        .filter(|call| call.number > after)
        .map(|call| call.action)
        .filter(|action| !action.contains("auth/tokens"))
        .collect();
    let mark = |action: &String| {
        action.starts_with("PUT ")
            && (action.contains("lbaas/loadbalancers/") || action.contains("/floatingips/"))
    };
    let marks = all.iter().filter(|action| mark(action)).count();
    (all.into_iter().filter(|action| !mark(action)).collect(), marks)
}

const OCCM: &str = "openstack-cloud-controller-manager";
const OIC: &str = "octavia-ingress-controller";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_the_openstack_controllers_becomes_ours_and_theirs_again() {
    if let Err(error) = migrate().await {
        panic!("{error:?}");
    }
}

async fn migrate() -> Result<()> {
    let world = World::start().await?;
    let occm = Peer::start_occm(&world.bed, &world.cloud, CLUSTER, "")?;
    let oic = Peer::start_oic(&world.bed, &world.cloud, CLUSTER)?;
    let before = world.served().await.with_context(|| format!("{}\n{}", occm.log(), oic.log()))?;
    let foreign = world.by_hand(&format!("kube_service_{CLUSTER}_default_late")).await?;

    // What would happen is shown before; nothing happens while the peer works.
    let mut controller = world.controller(&[OCCM], &[])?;
    controller.says(&["openstack-cloud-controller-manager works: nothing is done"]).await?;
    let plan = world.plan(&[OCCM])?;
    println!("{plan}");
    ensure!(plan.matches("take over load balancer").count() == 3, "{plan}");
    ensure!(plan.matches("tags only").count() == 3 && !plan.contains("after that"), "{plan}");
    ensure!(!plan.contains(" make "), "{plan}");

    // The first peer goes; requests go on.
    let settings = world.settings().await?;
    occm.stop().await?;
    let mark = world.cloud.gate().calls.last();
    let asked = world
        .unbroken(&before, async {
            world.ours(&["service/plain", "service/local", "service/inner"]).await?;
            world.applied(&["plain", "local", "inner"]).await
        })
        .await
        .with_context(|| controller.log())?;
    controller.runs()?;
    let (others, marks) = writes(&world, mark);
    println!("{asked} requests, all answered; {marks} marks; other writes: {others:?}");
    ensure!(others.is_empty(), "{others:?}");
    let now = world.settings().await?;
    ensure!(now == settings, "settings changed:\n{settings:#?}\n{now:#?}");
    ensure!(world.addresses()? == before, "{:?}", world.addresses()?);

    // It is ours: changes are followed. What has the name of a Service and is not its own is left alone.
    let ports = r#"{"spec":{"ports":[{"name":"http","port":80,"targetPort":8080},{"name":"other","port":82,"targetPort":8080}]}}"#;
    world.bed.kubectl(&["patch", "service", "plain", "--type=merge", "-p", ports])?;
    world.bed.apply(LATE)?;
    let other = format!("{}:82", before["service/plain"]);
    wait::until_every(LOOK, "the new port", MADE, async || world.answers("service/plain", &other, ""))
        .await
        .with_context(|| controller.log())?;
    let late = wait::until_every(LOOK, "a load balancer beside the other", MADE, async || {
        let address = world.field("service/late", ".status.loadBalancer.ingress[0].ip")?;
        world.answers("service/late", &address, "")?;
        anyhow::Ok(address)
    })
    .await
    .with_context(|| controller.log())?;
    let path = "jsonpath={.items[?(@.involvedObject.name==\"late\")].reason}";
    let reasons = world.bed.kubectl(&["get", "events", "-o", path])?;
    ensure!(reasons.contains("LoadBalancerNotAdopted"), "{reasons}");
    let left = world.settings().await?;
    ensure!(
        left[&format!("loadbalancers/{foreign}")] == settings[&format!("loadbalancers/{foreign}")],
        "{left:#?}"
    );
    println!("late: {late}");
    world.bed.kubectl(&["delete", "service", "late", "--timeout=180s"])?;

    // The other peer, which has no Lease.
    controller.stop().await?;
    oic.stop().await?;
    world.bed.apply(CLASS)?;
    let plan = world.plan(&[OCCM, OIC])?;
    println!("{plan}");
    ensure!(plan.matches("take over load balancer").count() == 1 && plan.contains(OIC), "{plan}");
    ensure!(plan.contains("tags only") && !plan.contains("after that") && !plan.contains(" make "), "{plan}");
    let settings = world.settings().await?;
    let mark = world.cloud.gate().calls.last();
    let controller = world.controller(&[OCCM, OIC], &["--adopt-peer-stopped"])?;
    let asked = world
        .unbroken(&before, async {
            world.ours(&["ingress/shop"]).await?;
            world.applied(&["shop"]).await
        })
        .await
        .with_context(|| controller.log())?;
    let (others, marks) = writes(&world, mark);
    println!("{asked} requests, all answered; {marks} marks; other writes: {others:?}");
    ensure!(others.is_empty(), "{others:?}");
    let now = world.settings().await?;
    ensure!(now == settings, "settings changed:\n{settings:#?}\n{now:#?}");
    let more = r#"[{"op": "add", "path": "/spec/rules/-", "value": {"host": "more.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"name": "http"}}}}]}}}]"#;
    world.bed.kubectl(&["patch", "ingress", "shop", "--type=json", "-p", more])?;
    let shop = before["ingress/shop"].as_str();
    wait::until_every(LOOK, "the new host", MADE, async || {
        world.answers("ingress/shop", shop, "more.example")
    })
    .await
    .with_context(|| controller.log())?;
    world.applied(&["plain", "local", "inner", "shop"]).await?;

    // And back: the peers find everything as their own.
    let ids = |settings: &BTreeMap<String, Value>| -> Vec<String> {
        settings
            .keys()
            .filter(|id| id.starts_with("loadbalancers/") || id.starts_with("floatingips/"))
            .cloned()
            .collect()
    };
    let (settings, held) = (world.settings().await?, ids(&world.settings().await?));
    controller.stop().await?;
    let released = world.causeway("release", &["--cloud-provider=openstack", "--keep"])?;
    println!("{released}");
    let mark = world.cloud.gate().calls.last();
    let occm = Peer::start_occm(&world.bed, &world.cloud, CLUSTER, "")?;
    let oic = Peer::start_oic(&world.bed, &world.cloud, CLUSTER)?;
    world.bed.kubectl(&["patch", "service", "plain", "--type=merge", "-p", &ports.replace("82", "83")])?;
    let third = format!("{}:83", before["service/plain"]);
    wait::until_every(LOOK, "the port of the peer", MADE, async || {
        world.answers("service/plain", &third, "")
    })
    .await
    .with_context(|| occm.log())?;
    wait::until_every(LOOK, "the peer to have looked at the Ingress", MADE, async || {
        ensure!(oic.log().contains("openstack resources for ingress created"), "not yet");
        Ok(())
    })
    .await
    .with_context(|| oic.log())?;
    ensure!(world.served().await? == before, "{:?}", world.addresses()?);
    world.answers("ingress/shop", shop, "more.example")?;
    let now = wait::until_every(LOOK, "the peer to have taken the old port away", MADE, async || {
        let now = world.settings().await?;
        ensure!(!now.values().any(|one| one["protocol_port"] == 82), "not yet");
        anyhow::Ok(now)
    })
    .await
    .with_context(|| occm.log())?;
    ensure!(ids(&now) == held, "{held:?} {now:#?}");
    for (id, was) in &settings {
        let kept = ["listeners/", "pools/"].iter().any(|kind| id.starts_with(kind))
            && !was.to_string().contains("_1_");
        ensure!(!kept || now.contains_key(id), "{id} is gone: {was}");
    }
    println!("writes of the peers: {:?}", writes(&world, mark));
    occm.stop().await?;
    oic.stop().await
}
