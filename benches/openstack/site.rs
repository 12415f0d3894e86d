//! A bed with its OpenStack and a cluster in it. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::cloud::Record;
use causeway_bed::openstack::Cloud;
pub use causeway_bed::openstack::Service as Of;
use causeway_bed::{Bed, wait};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::bench::by_action;
use super::controller::Controller;

/// Longest wait for one load balancer.
pub const ONE: Duration = Duration::from_secs(300);
/// Between two looks at the cloud, which shares the machine.
pub const LOOK: Duration = Duration::from_millis(100);

/// Everything that rows share. The OpenStack ends before its bed.
pub struct Site {
    pub cloud: Cloud,
    pub files: TempDir,
    pub bed: Bed,
    pub services: Api<Service>,
    pub nodes: Api<Node>,
    /// Further lines of section `[LoadBalancer]` of cloud.conf.
    pub options: &'static str,
}

/// Whether a call changes nothing.
pub fn is_read(record: &Record) -> bool {
    record.action.starts_with("GET ") || record.action == "POST /v3/auth/tokens"
}

/// A field's text; empty if it has none.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

impl Site {
    /// One without Service. With a data plane load balancers serve; without, they become ACTIVE at once. `hollow` more instances are there for nodes that
    /// may come.
    pub async fn start(data_plane: bool, hollow: usize) -> Result<Site> {
        let bed = Bed::builder().nodes(3).start().await?;
        let cloud = Cloud::builder().data_plane(data_plane).hollow(hollow).start(&bed).await?;
        let client = bed.client().await?;
        let site = Site {
            cloud,
            files: tempfile::tempdir()?,
            services: Api::default_namespaced(client.clone()),
            nodes: Api::all(client),
            bed,
            options: "",
        };
        for node in site.bed.nodes() {
            let name = &node.addresses().name;
            site.nodes.patch(name, &PatchParams::default(), &Patch::Merge(site.identity(name)?)).await?;
        }
        Ok(site)
    }

    /// What a cloud controller says of a node.
    fn identity(&self, node: &str) -> Result<Value> {
        let all = self.cloud.instances();
        let instance = all.iter().find(|i| i.node == node).with_context(|| format!("no instance {node}"))?;
        Ok(json!({
            "metadata": {"labels": {"topology.kubernetes.io/zone": "az1", "topology.kubernetes.io/region": "RegionOne"}},
            "spec": {"providerID": instance.provider_id()},
        }))
    }

    /// Starts the controller.
    pub fn controller(&self, more: &[&str]) -> Result<Controller> {
        self.controller_of(&self.bed, more)
    }

    /// The same for another cluster with this OpenStack.
    pub fn controller_of(&self, bed: &Bed, more: &[&str]) -> Result<Controller> {
        let conf = self.files.path().join("cloud.conf");
        std::fs::write(&conf, format!("{}{}", self.cloud.cloud_conf(false), self.options))?;
        let mut arguments = vec![
            "--cloud-provider=openstack".to_owned(),
            format!("--cloud-config={}", conf.display()),
            // A machine that is too busy for a moment is not what is measured: it must not end the leader.
            "--leader-elect-lease-duration=90s".to_owned(),
            "--leader-elect-renew-deadline=80s".to_owned(),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Controller::start(bed, &arguments, &[], &self.files.path().join("controller.log"))
    }

    /// Makes a Service of these ports.
    pub async fn create(&self, name: &str, ports: &[u16], annotations: Value) -> Result<()> {
        self.services.create(&PostParams::default(), &service(name, ports, annotations)?).await?;
        Ok(())
    }

    /// Makes many, at once.
    pub async fn create_many(&self, prefix: &str, count: usize, ports: &[u16]) -> Result<()> {
        stream::iter(0..count)
            .map(|i| async move { self.create(&format!("{prefix}-{i}"), ports, json!({})).await })
            .buffer_unordered(16)
            .try_collect()
            .await
    }

    /// Changes a Service by a merge patch.
    pub async fn change(&self, name: &str, patch: Value) -> Result<()> {
        self.services.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Deletes a Service; our finalizer holds it until its load balancer is gone.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.services.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until a Service is gone.
    pub async fn gone(&self, name: &str) -> Result<()> {
        wait::until(&format!("{name} to be gone"), ONE, async || {
            ensure!(self.services.get_opt(name).await?.is_none(), "{name} is there");
            Ok(())
        })
        .await
    }

    /// Waits until a Service has an address.
    pub async fn served(&self, name: &str) -> Result<String> {
        wait::until(&format!("the address of {name}"), ONE, async || {
            shown(&self.services.get(name).await?).context("none yet")
        })
        .await
    }

    /// Adds a Node object for a hollow instance.
    pub async fn add_node(&self, name: &str) -> Result<()> {
        let mut node = self.identity(name)?;
        node["metadata"]["name"] = json!(name);
        self.nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        let instance = self.cloud.instances().iter().find(|i| i.node == name).context("no instance")?;
        let addresses: Vec<Value> =
            instance.addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        let patch = Patch::Merge(json!({"status": {"addresses": addresses}}));
        self.nodes.patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Number of the last call.
    pub fn last(&self) -> u64 {
        self.cloud.gate().calls.last()
    }

    /// The calls after that number.
    pub fn calls(&self, after: u64) -> Vec<Record> {
        self.cloud.gate().calls.since(after)
    }

    /// Waits until no call was made for that long.
    pub async fn quiet(&self, quiet: Duration, within: Duration) -> Result<()> {
        let mut last = (self.last(), Instant::now());
        wait::until("a controller with nothing to do", within, async || {
            let now = self.last();
            if now != last.0 {
                last = (now, Instant::now());
            }
            ensure!(last.1.elapsed() >= quiet, "call {now} was {:?} ago", last.1.elapsed());
            Ok(())
        })
        .await
    }

    /// The calls while time passes that is shorter than that between two times at which the controller looks for drift, and in which it did not.
    pub async fn between_audits(
        &self,
        window: Duration,
        mut begin: impl AsyncFnMut() -> Result<()>,
    ) -> Result<Vec<Record>> {
        wait::until("a time between two looks for drift", ONE, async || {
            self.quiet(Duration::from_secs(2), ONE).await?;
            begin().await?;
            let before = self.last();
            tokio::time::sleep(window).await;
            let calls = self.calls(before);
            // It reads lists, and writes nothing.
            let audit = !calls.is_empty() && calls.iter().all(is_read);
            ensure!(!audit, "{}", by_action(&calls));
            Ok(calls)
        })
        .await
    }

    /// A list, as the project's user sees it; not counted.
    pub async fn list(&self, of: Of, path: &str, kind: &str) -> Result<Vec<Value>> {
        let answer = self.cloud.client().look("k8s", of, path).await?;
        Ok(answer[kind].as_array().cloned().unwrap_or_default())
    }

    /// Everything of a kind that Octavia has, such as `pools`.
    pub async fn octavia(&self, kind: &str) -> Result<Vec<Value>> {
        self.list(Of::LoadBalancer, &format!("/v2.0/lbaas/{kind}"), kind).await
    }

    /// All floating IPs.
    pub async fn floating_ips(&self) -> Result<Vec<Value>> {
        self.list(Of::Network, "/v2.0/floatingips", "floatingips").await
    }

    /// The load balancer of a Service, if there is one.
    pub async fn load_balancer(&self, name: &str) -> Result<Option<Value>> {
        let end = format!("_default_{name}");
        let mut own = self.octavia("loadbalancers").await?;
        own.retain(|lb| text(lb, "name").ends_with(&end) && text(lb, "description") != FOREIGN);
        ensure!(own.len() < 2, "{name} has {} load balancers", own.len());
        Ok(own.pop())
    }

    /// Waits until the load balancer of a Service is ACTIVE.
    pub async fn active(&self, name: &str) -> Result<Value> {
        wait::until_every(LOOK, &format!("the load balancer of {name}"), ONE, async || {
            let lb = self.load_balancer(name).await?.context("none yet")?;
            ensure!(text(&lb, "provisioning_status") == "ACTIVE", "{lb}");
            Ok(lb)
        })
        .await
    }

    /// Ports of the listeners of every ACTIVE load balancer, by its addresses.
    pub async fn listening(&self) -> Result<BTreeMap<String, BTreeSet<u64>>> {
        let mut ports: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for listener in self.octavia("listeners").await? {
            let of = text(&listener["loadbalancers"][0], "id").to_owned();
            ports.entry(of).or_default().extend(listener["protocol_port"].as_u64());
        }
        let mut all = BTreeMap::new();
        let floating = self.floating_ips().await?;
        for lb in self.octavia("loadbalancers").await? {
            if text(&lb, "provisioning_status") != "ACTIVE" {
                continue;
            }
            let own = ports.remove(text(&lb, "id")).unwrap_or_default();
            for ip in floating.iter().filter(|ip| ip["port_id"] == lb["vip_port_id"]) {
                all.insert(text(ip, "floating_ip_address").to_owned(), own.clone());
            }
            all.insert(text(&lb, "vip_address").to_owned(), own);
        }
        Ok(all)
    }

    /// Does something as a person would by hand; not counted.
    pub async fn by_hand(&self, of: Of, method: &str, path: &str, body: Value) -> Result<Value> {
        let client = self.cloud.client();
        let token = client.token("k8s").await?;
        let body = (!body.is_null()).then_some(body);
        let answer = client.send(of, method, path, Some(&token), body, true).await?;
        answer.ok().with_context(|| format!("{method} {path}"))
    }

    /// Ends everything; the controller's log is shown if something went wrong.
    pub fn end(self, outcome: Result<()>) -> Result<()> {
        let log = std::fs::read_to_string(self.files.path().join("controller.log")).unwrap_or_default();
        let Site { cloud, bed, .. } = self;
        drop(cloud);
        bed.down()?;
        if let Err(error) = outcome {
            let lines: Vec<&str> = log.lines().collect();
            bail!("{error:#}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        Ok(())
    }
}

/// What stands in the description of things that somebody else made.
pub const FOREIGN: &str = "somebody else's";
/// Annotation of Services that are not reached from outside.
pub const INTERNAL: &str = "service.beta.kubernetes.io/openstack-internal-load-balancer";

/// The address that a Service shows.
pub fn shown(service: &Service) -> Option<String> {
    let points = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    points.iter().find_map(|p| p.ip.clone())
}

/// A Service of these ports.
pub fn service(name: &str, ports: &[u16], annotations: Value) -> Result<Service> {
    let ports: Vec<Value> =
        ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
    let service = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {
        "type": "LoadBalancer", "selector": {"app": "none"}, "ports": ports}});
    Ok(serde_json::from_value(service)?)
}
